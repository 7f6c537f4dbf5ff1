"""What REST says in the end: history, members and statuses, against the log and what was acknowledged."""

from __future__ import annotations

from check_cursors import CURSORS, Cursors, check_cursors
from history import Entry
from log import LogRecord
from views import GroupView
from violations import Case, members_when, short


def check_ends(case: Case) -> None:
    """All of it."""
    cursors = check_cursors(case)
    for view in case.views:
        history = case.members_at(view.group)
        _group(case, view, history)
        _history(case, view)
        _members(case, view, cursors)
        for message in view.messages:
            status = view.statuses.get(message["message_id"])
            if status is not None:
                _status(case, view, message, status, members_when(history, message["seq"]), cursors)


def _group(case: Case, view: GroupView, history: list[tuple[int, set[str]]]) -> None:
    where = f"{short(view.group)} at {view.edge}"
    head = max((seq for group, seq in case.at if group == view.group), default=0)
    if view.body["head_seq"] != head:
        case.add("history_differs", f"{where}: head {view.body['head_seq']}, the log's is {head}")
    expected = history[-1][1] if history else set()
    if {member["user_id"] for member in view.members} != expected or view.body["member_count"] != len(expected):
        case.add("history_differs", f"{where}: {view.body['member_count']} members, by the log {len(expected)}")


def _history(case: Case, view: GroupView) -> None:
    logged: dict[int, LogRecord] = {
        seq: records[0]
        for (group, seq), records in case.at.items()
        if group == view.group and records[0].kind == "MessageSent"
    }
    shown = [message["seq"] for message in view.messages]
    where = f"{short(view.group)} at {view.edge}"
    if shown != sorted(logged):
        missing, more = sorted(set(logged) - set(shown)), sorted(set(shown) - set(logged))
        case.add("history_differs", f"{where}: missing {missing[:5]}, too many {more[:5]}, or out of order")
    for message in view.messages:
        record = logged.get(message["seq"])
        if record is None:
            continue
        value, place = record.value, message["position"]
        told = (message["message_id"], message["client_message_id"], message["sender"], message["created_at"])
        is_same = told == (
            value["message_id"], value["client_message_id"], value["sender"], value.get("time", record.time),
        )
        sent = case.facts.sends.get((message["sender"], view.group, message["client_message_id"]), [])
        is_text = message["h"] in {frame.asked["h"] for frame in sent}
        if not is_same or not is_text or (place["partition"], place["offset"]) != record.place:
            case.add("history_differs", f"{where}: {message['seq']} isn't what the log or the sender has")


def _members(case: Case, view: GroupView, cursors: Cursors) -> None:
    for member in view.members:
        user = member["user_id"]
        cursor = cursors.get((user, view.group))
        if cursor is None or not case.facts.is_steady(user, view.group):
            continue
        for name in CURSORS:
            told = member.get(name, -1)
            if not cursor.confirmed[name] <= told <= cursor.asked[name]:
                bounds = f"confirmed {cursor.confirmed[name]}, asked {cursor.asked[name]}"
                case.add("status_differs", f"{user}, {short(view.group)}: {name} {told}; {bounds}")


def _status(
    case: Case,
    view: GroupView,
    message: Entry,
    status: Entry,
    members: set[str],
    cursors: Cursors,
) -> None:
    where, rows = f"{short(view.group)} {message['seq']} at {view.edge}", status["statuses"]
    if {row["user_id"] for row in rows} != members - {message["sender"]} or len(rows) != len(members) - 1:
        case.add("status_differs", f"{where}: statuses of {len(rows)} users, {len(members)} were members")
    for name, count in (("delivered", "delivered_count"), ("read", "read_count")):
        if status[count] != sum(row[name] for row in rows):
            case.add("status_differs", f"{where}: {count} {status[count]} isn't the number of rows")
    for row in rows:
        if not case.facts.is_steady(row["user_id"], view.group):
            continue
        cursor = cursors.get((row["user_id"], view.group))
        for flag, name in (("delivered", "delivered_seq"), ("read", "read_seq")):
            confirmed, asked = (cursor.confirmed[name], cursor.asked[name]) if cursor else (0, 0)
            if row[flag] and asked < message["seq"]:
                case.add("status_differs", f"{where}: {flag} for {row['user_id']}, who acknowledged only {asked}")
            if not row[flag] and confirmed >= message["seq"]:
                case.add("status_differs", f"{where}: not {flag} for {row['user_id']}, who acknowledged {confirmed}")
