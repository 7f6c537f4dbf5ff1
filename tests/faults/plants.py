"""Planted faults: a binary that is wrong on purpose, and the scenario that must show it. All must be caught."""

from __future__ import annotations

from dataclasses import dataclass

from deployment import Environments
from rounds import RoundResult


@dataclass(frozen=True)
class Plant:
    """One of them."""

    name: str
    scenario: str
    #: One of these violations must be found.
    shows_as: frozenset[str]
    modes: frozenset[str] = frozenset({"cluster"})
    #: Whether the binary does it (by `PARLEY_PLANT`), or the scenario.
    is_in_binary: bool = True
    #: Whether edge-2 hears late of who owns what, as behind a bad network; that alone breaks no promise.
    needs_late_edge: bool = False

    @property
    def environments(self) -> Environments:
        """What the processes are told of it."""
        told = {role: {"PARLEY_PLANT": self.name} for role in ("server", "writer") if self.is_in_binary}
        return told | ({"edge-2": {"PARLEY_PLANT": "late_edge"}} if self.needs_late_edge else {})


#: What a plant leads to may come late: an attempt without a violation is repeated.
ATTEMPTS = 5

_NOT_DURABLE = frozenset({"lost", "wrong_result", "contradiction", "void_accepted"})

PLANTS = (
    Plant("ack_before_durable", "brokers-frozen", _NOT_DURABLE),
    Plant("no_dedupe", "none", frozenset({"doubled", "contradiction"}), frozenset({"cluster", "embedded"})),
    Plant("no_claim_check", "frozen-pair", _NOT_DURABLE),
    Plant("dup_in_flight", "brokers-frozen", _NOT_DURABLE),
    Plant("frozen_refusals", "late-edge", frozenset({"false_refusal", "unexpected_error"}), needs_late_edge=True),
    Plant("log_cut", "log-cut", _NOT_DURABLE, frozenset({"embedded"}), is_in_binary=False),
)


def is_caught(plant: Plant, result: RoundResult) -> bool:
    """Whether the checker found what was planted."""
    return any(violation.kind in plant.shows_as for violation in result.violations)
