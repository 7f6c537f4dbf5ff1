"""Cursors: what was confirmed stays, what nobody acknowledged isn't there, and the log has it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from history import Entry
from violations import Case, short

CURSORS = ("delivered_seq", "read_seq")


@dataclass
class Cursor:
    """What a member's cursors can be: not less than was confirmed, not more than was asked for."""

    confirmed: dict[str, int]
    asked: dict[str, int]

    def now(self) -> tuple[int, int]:
        """What was confirmed up to now."""
        return self.confirmed["delivered_seq"], self.confirmed["read_seq"]


#: By user and group.
Cursors = dict[tuple[str, str], Cursor]


def check_cursors(case: Case) -> Cursors:
    """Goes through all reports of cursors in the order of time; what they must be in the end."""
    follower = Follower(case)
    for entry in case.facts.entries:
        follower.take(entry)
    _acks_logged(case, follower.cursors, follower.joined)
    return follower.cursors


def _raise_to(cursor: dict[str, int], seqs: tuple[int, int]) -> None:
    for name, seq in zip(CURSORS, seqs, strict=True):
        cursor[name] = max(cursor[name], seq)


def _joined(case: Case) -> dict[tuple[str, str], int]:
    """The event that added a user last, by (user, group)."""
    joined: dict[tuple[str, str], int] = defaultdict(int)
    for record in case.valid():
        group = record.group or ""
        if record.kind == "GroupCreated":
            users = record.value.get("members") or case.facts.creates.get(group, {}).get("members", [])
        else:
            users = record.value["users"] if record.kind == "MembersAdded" else []
        for user in users:
            joined[user, group] = record.seq
    return joined


class Follower:
    """Knows at each moment what was confirmed and asked for."""

    def __init__(self, case: Case) -> None:
        self.case, self.joined = case, _joined(case)
        self.cursors: Cursors = {}
        #: What was confirmed before a request went out, or a client connected.
        self._before: dict[tuple[str, str], tuple[int, int]] = {}
        #: (user, group) -> the newest event that the user was told of
        self._told: dict[tuple[str, str], int] = defaultdict(int)
        self._told_before: dict[tuple[str, str], int] = {}

    def _cursor(self, user: str, group: str) -> Cursor:
        if (user, group) not in self.cursors:
            asked = dict.fromkeys(CURSORS, self.joined[user, group])
            self.cursors[user, group] = Cursor(dict.fromkeys(CURSORS, 0), asked)
        return self.cursors[user, group]

    def take(self, entry: Entry) -> None:
        """The next entry of the history."""
        kind, event, group = entry["k"], entry.get("event"), entry.get("group", "")
        if kind == "connect":
            self._connect(entry)
        elif kind == "welcome":
            for of_group, (head, delivered, read) in entry["groups"].items():
                self._report(entry, entry["c"], of_group, (delivered, read))
                known = self._told_before.get((entry["c"], of_group), 0)
                if head < known:
                    what = f"head {head}, {known} was told before"
                    self.case.add("stale_head", f"{entry['c']}, {short(of_group)}: {what}")
        elif kind == "request" and event in ("acknowledge_group_message", "subscribe_to_group"):
            cursor = self._cursor(entry["u"], group)
            self._before[entry["id"], group] = cursor.now()
            if event == "acknowledge_group_message":
                _raise_to(cursor.asked, (entry["seq"], entry["seq"] if entry.get("status") == "read" else 0))
        elif kind == "reply" and event in ("subscribed_to_group", "group_message_acknowledged"):
            seqs = (entry["delivered_seq"], entry["read_seq"])
            self._report(entry, entry["id"], group, seqs)
            if event == "group_message_acknowledged":
                _raise_to(self._cursor(entry["u"], group).confirmed, seqs)
        if kind == "event" or event == "group_message_accepted":
            at = (entry["u"], group)
            self._told[at] = max(self._told[at], entry["seq"])

    def _connect(self, entry: Entry) -> None:
        for (user, group), cursor in self.cursors.items():
            if user == entry["u"]:
                self._before[entry["c"], group] = cursor.now()
        for (user, group), head in self._told.items():
            if user == entry["u"]:
                self._told_before[entry["c"], group] = head

    def _report(self, entry: Entry, mark: str, group: str, seqs: tuple[int, int]) -> None:
        user, where = entry["u"], f"{entry['c']}, {short(group)}, {entry.get('event', entry['k'])}"
        cursor, least = self._cursor(user, group), self._before.get((mark, group), (0, 0))
        for name, seq, floor in zip(CURSORS, seqs, least, strict=True):
            if seq < floor:
                self.case.add("cursor_back", f"{where}: {name} {seq}, but {floor} was confirmed before")
            if seq > cursor.asked[name] and self.case.facts.is_steady(user, group):
                what = f"{name} {seq}, but only {cursor.asked[name]} was ever acknowledged"
                self.case.add("cursor_ahead", f"{where}: {what}")
        if seqs[1] > seqs[0]:
            self.case.add("cursor_back", f"{where}: read {seqs[1]} beyond delivered {seqs[0]}")


def _acks_logged(case: Case, cursors: Cursors, joined: dict[tuple[str, str], int]) -> None:
    """Every acknowledgement that was confirmed is in the log, and nothing that nobody asked for."""
    logged: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(CURSORS, 0))
    for record in case.acks:
        for advance in record.value["advances"]:
            read = advance["read_seq"]
            _raise_to(logged[advance["user"], record.group or ""], (max(advance["delivered_seq"], read), read))
    for (user, group), cursor in cursors.items():
        for name in CURSORS:
            known = max(logged[user, group][name], joined[user, group])
            if known < cursor.confirmed[name]:
                what = f"{name} {cursor.confirmed[name]} was confirmed, the log has {known}"
                case.add("ack_lost", f"{user}, {short(group)}: {what}")
            if known > cursor.asked[name] and case.facts.is_steady(user, group):
                what = f"{name} {known} in the log, asked for was {cursor.asked[name]}"
                case.add("cursor_ahead", f"{user}, {short(group)}: {what}")
