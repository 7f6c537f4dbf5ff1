"""The log by itself: dense, nothing twice, nobody who may not, nothing that nobody sent."""

from __future__ import annotations

from collections import defaultdict

from facts import Key
from log import LogRecord, murmur2
from violations import Case, members_when, short


def check_log(case: Case) -> None:
    """All of it."""
    by_group: dict[str, list[LogRecord]] = defaultdict(list)
    for record in case.valid():
        by_group[record.group or ""].append(record)
    for group, records in by_group.items():
        _dense(case, group, records)
        _partition(case, group, records)
        _members(case, group, records)
    _once(case)
    _changes(case, by_group)
    for record in case.log:
        if record.said_void is not None and record.said_void == record.is_valid:
            case.add("void_disagrees", f"{record.place} {record.kind}: Parley says void={record.said_void}")


def _dense(case: Case, group: str, records: list[LogRecord]) -> None:
    expected = 1
    for record in records:
        if record.seq > expected:
            case.add("seq_hole", f"{short(group)}: {record.seq} after {expected - 1} at {record.place}")
        elif record.seq < expected:
            case.add("seq_repeated", f"{short(group)}: {record.seq} again at {record.place}")
        if (record.kind == "GroupCreated") != (record.seq == 1):
            case.add("creation_misplaced", f"{short(group)}: {record.kind} has seq {record.seq}")
        expected = max(expected, record.seq + 1)


def _partition(case: Case, group: str, records: list[LogRecord]) -> None:
    used = {record.partition for record in records}
    if len(used) > 1:
        case.add("stray_partition", f"{short(group)} lies in {sorted(used)}")
    if case.partitions and used != {murmur2(group.encode()) % case.partitions}:
        case.add("stray_partition", f"{short(group)} lies in {sorted(used)}, which its key isn't hashed to")


def _members(case: Case, group: str, records: list[LogRecord]) -> None:
    history = case.members_at(group)
    for record in records:
        if record.kind == "MessageSent" and record.value["sender"] not in members_when(history, record.seq):
            case.add("stranger_wrote", f"{record.value['sender']} at {short(group)} {record.seq}, not a member then")


def _once(case: Case) -> None:
    valid: dict[Key, list[LogRecord]] = defaultdict(list)
    for record in case.valid():
        if record.kind == "MessageSent":
            value = record.value
            valid[value["sender"], record.group or "", value["client_message_id"]].append(record)
    for key, records in valid.items():
        if len(records) > 1:
            seqs = [record.seq for record in records]
            case.add("doubled", f"{key[0]} {short(key[2])} in {short(key[1])} has seq {seqs}")
        frames = case.facts.sends.get(key)
        if not frames:
            case.add("phantom", f"{key[0]} {short(key[2])} in {short(key[1])} was never sent")
        elif records[0].value["text_bytes"] not in {frame.asked["n"] for frame in frames}:
            case.add("wrong_text", f"{key[0]} {short(key[2])}: {records[0].value['text_bytes']} bytes in the log")


def _changes(case: Case, by_group: dict[str, list[LogRecord]]) -> None:
    for group in case.facts.creates:
        if not any(record.kind == "GroupCreated" for record in by_group.get(group, [])):
            case.add("lost", f"group {short(group)} was acknowledged, but isn't in the log")
    for (user, group), count in case.facts.additions.items():
        logged = sum(
            record.kind == "MembersAdded" and user in record.value["users"] for record in by_group.get(group, [])
        )
        if logged < count:
            case.add("lost", f"{user} was added to {short(group)} {count} times, but {logged} times in the log")
