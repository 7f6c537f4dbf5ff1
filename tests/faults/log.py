"""The log as the checker wants it: records with their verdict, whatever they were read from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from void_rule import CLAIM_TYPE, Stamp, Verdict, VoidRule

EVENTS, ACKS = "parley.events", "parley.acks"
PACKAGE = "parley.events.v1."


@dataclass(frozen=True)
class LogRecord:
    """One record of a topic under the void rule."""

    topic: str
    partition: int
    offset: int
    #: The message's name without its package; `WriterClaimed` for a claim.
    kind: str
    id: str
    time: str
    source: str
    group: str | None
    claim: int | None
    index: int | None
    #: The fields by their names in the schema, as far as a check needs them.
    value: dict[str, Any]
    verdict: Verdict
    #: What Parley's own reader says, if it was asked.
    said_void: bool | None = None

    @property
    def is_valid(self) -> bool:
        """Whether it counts."""
        return self.verdict is Verdict.VALID

    @property
    def seq(self) -> int:
        """Of an event of a group."""
        return int(self.value.get("seq", 0))

    @property
    def place(self) -> tuple[int, int]:
        """Its position."""
        return self.partition, self.offset


class Rules:
    """A void rule for each partition of each topic."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, int], VoidRule] = {}

    def admit(self, topic: str, partition: int, offset: int, stamp: Stamp) -> Verdict:
        """The next record of a partition."""
        return self._rules.setdefault((topic, partition), VoidRule()).admit(offset, stamp)


def from_cat(lines: Iterable[str]) -> list[LogRecord]:
    """From the output of `parley log cat --json`. The verdict is our own."""
    rules, records = Rules(), []
    for line in lines:
        found = json.loads(line)
        topic = found["topic"]
        if topic not in (EVENTS, ACKS):
            continue
        is_claim = found["type"] == CLAIM_TYPE
        stamp = Stamp(is_claim, found["claim"], found["index"])
        verdict = rules.admit(topic, found["partition"], found["offset"], stamp)
        kind = "WriterClaimed" if is_claim else found["type"].removeprefix(PACKAGE)
        value = found["value"]
        if kind == "GroupCreated":
            # It shows how many, not who: the histories know.
            value["member_count"] = value.pop("members")
        at = (topic, found["partition"], found["offset"], kind, found["id"], found["time"], found["source"])
        claim, index = stamp.claim, stamp.index
        records.append(LogRecord(*at, found["subject"], claim, index, value, verdict, found["void"]))
    return records


def murmur2(data: bytes) -> int:
    """Kafka's hash of a key, positive."""
    mask, m, h = 0xFFFFFFFF, 0x5BD1E995, 0x9747B28C ^ len(data)
    for at in range(0, len(data) - len(data) % 4, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = data[len(data) - len(data) % 4 :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF
