"""Which records of a partition count: section 5 of the contract, and nothing else.

A record is void, and to be skipped, unless the claim that it names is the latest before it in its partition and its
index is that claim's next (0, 1, 2 ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

CLAIM_TYPE = "parley.writer.claimed.v1"
CLAIM_HEADER = "parley_claim"
INDEX_HEADER = "parley_index"


class Verdict(Enum):
    """What a record is to a reader."""

    CLAIM = "claim"
    VALID = "valid"
    VOID = "void"
    #: The reader began in the middle and hasn't seen a claim yet: it can't tell. Begin at an earlier claim to know.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Stamp:
    """What a record says about its claim; all `None` if it says nothing (or nonsense)."""

    is_claim: bool
    claim: int | None
    index: int | None


def decimal(text: str | None) -> int | None:
    """Decimal text of a header; `None` for anything else (a sign, blanks, other digits)."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def stamp_of(headers: Mapping[str, str]) -> Stamp:
    """The stamp in a record's headers."""
    is_claim = headers.get("ce_type") == CLAIM_TYPE
    return Stamp(is_claim, decimal(headers.get(CLAIM_HEADER)), decimal(headers.get(INDEX_HEADER)))


class VoidRule:
    """Takes the records of one partition in the order of their offsets."""

    def __init__(self, *, from_start: bool = True) -> None:
        self._claim: int | None = None
        self._next_index = 0
        self._from_start = from_start

    def admit(self, offset: int, stamp: Stamp) -> Verdict:
        """Says what the next record is."""
        if stamp.is_claim:
            self._claim, self._next_index = offset, 0
            return Verdict.CLAIM
        if self._claim is None and not self._from_start:
            return Verdict.UNKNOWN
        if self._claim is None or stamp.claim != self._claim or stamp.index != self._next_index:
            return Verdict.VOID
        self._next_index += 1
        return Verdict.VALID
