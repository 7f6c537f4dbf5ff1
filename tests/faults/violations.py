"""What a check finds, and what the checks share."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from facts import Facts
from log import ACKS, EVENTS, LogRecord
from views import GroupView


@dataclass(frozen=True)
class Violation:
    """Something that must never be."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass
class Case:
    """All that is known of a run."""

    facts: Facts
    #: The events of this run's groups, void ones too.
    log: list[LogRecord]
    acks: list[LogRecord]
    views: list[GroupView]
    partitions: int | None
    found: list[Violation] = field(default_factory=list)
    #: (group, seq) -> the valid events there; one each, if all is well
    at: dict[tuple[str, int], list[LogRecord]] = field(default_factory=lambda: defaultdict(list))
    by_place: dict[tuple[int, int], LogRecord] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Facts, log: list[LogRecord], views: list[GroupView], partitions: int | None) -> Case:
        """Sorts a log."""
        # All that a client of this run named or saw, those too whose making was never answered.
        ours = {entry["group"] for entry in facts.entries if "group" in entry}
        events = [record for record in log if record.topic == EVENTS and record.group in ours]
        acks = [record for record in log if record.topic == ACKS and record.group in ours and record.is_valid]
        case = cls(facts, events, acks, views, partitions)
        for record in log:
            if record.topic == EVENTS:
                case.by_place[record.place] = record
        for record in events:
            if record.is_valid:
                case.at[record.group or "", record.seq].append(record)
        return case

    def valid(self) -> list[LogRecord]:
        """The events that count, a partition after the other, in order."""
        return [record for record in self.log if record.is_valid]

    def add(self, kind: str, detail: str) -> None:
        """A violation."""
        self.found.append(Violation(kind, detail))

    def members_at(self, group: str) -> list[tuple[int, set[str]]]:
        """Who was in after each event that changed it, as the log says."""
        members: set[str] = set()
        history: list[tuple[int, set[str]]] = []
        for record in self.valid():
            if record.group != group:
                continue
            if record.kind == "GroupCreated":
                members = set(record.value.get("members") or self.facts.creates.get(group, {}).get("members", []))
            elif record.kind == "MembersAdded":
                members = members | set(record.value["users"])
            elif record.kind == "MembersRemoved":
                members = members - set(record.value["users"])
            else:
                continue
            history.append((record.seq, members))
        return history


def members_when(history: list[tuple[int, set[str]]], seq: int) -> set[str]:
    """Who was in just before an event."""
    before = [members for at, members in history if at < seq]
    return before[-1] if before else set()


def short(text: str | None) -> str:
    """An id as a person can read it."""
    return "?" if text is None else text if len(text) <= 20 else f"{text[:8]}..{text[-6:]}"
