"""What clients were given: every `seq` once, in order, the same for everybody and as in the log."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from facts import Subscription, longest, meet, outside
from history import Entry
from violations import Case, short

STUCK_CLIENT_S = 60.0
GOING_AWAY = 3001
#: So many sessions sent away can't all be told the same time by chance.
CROWD = 4
KINDS = {
    "group_created": "GroupCreated",
    "member_added": "MembersAdded",
    "member_removed": "MembersRemoved",
    "role_changed": "RoleChanged",
    "owner_transferred": "OwnerTransferred",
    "group_updated": "GroupUpdated",
    "group_dissolved": "GroupDissolved",
    "message_rolled_back": "MessageRolledBack",
}


def check_streams(case: Case) -> None:
    """All of it."""
    for subscription in case.facts.subscriptions:
        _start(case, subscription)
        _rising(case, subscription)
    for stray in case.facts.strays:
        case.add("unsubscribed_event", f"{stray['c']}: {short(stray['group'])} {stray['seq']}")
    _same_for_all(case)
    _epochs(case)
    _reached(case)
    _alive(case)
    _spread(case)


def _start(case: Case, sub: Subscription) -> None:
    entry, where = sub.entry, f"{sub.client}, {short(sub.group)}"
    begin, is_steady = entry["from_seq"], case.facts.is_steady(sub.user, sub.group)
    if not entry["complete"]:
        reason = entry.get("reset_reason", "no reason")
        if is_steady or reason not in ("not_a_member",):
            case.add("incomplete_resume", f"{where}: {reason}, after {sub.after}")
        return
    if sub.after is not None and begin != sub.after + 1:
        case.add("wrong_start", f"{where}: from {begin}, asked for what is after {sub.after}")
    if entry["to_seq"] < begin - 1:
        case.add("wrong_start", f"{where}: from {begin} to {entry['to_seq']}")
    # Who takes the replay from the server begins after the joining event.
    had = max(sub.seen_before, 1 if sub.is_auto else 0)
    if is_steady and sub.after is None and begin > had + 1:
        case.add("gap", f"{where}: the replay begins at {begin}, the client has {sub.seen_before}")


def _rising(case: Case, sub: Subscription) -> None:
    expected = sub.entry["from_seq"]
    for event in sub.events:
        if event["seq"] != expected:
            kind = "gap" if event["seq"] > expected else "repeat"
            case.add(kind, f"{sub.client}, {short(sub.group)}: {event['seq']} where {expected} was due")
        expected = event["seq"] + 1


def _content(event: Entry) -> tuple[Any, ...]:
    place = (event["position"]["partition"], event["position"]["offset"])
    if event["event"] == "group_event":
        return ("group_event", event["kind"], event.get("actor"), place, event["created_at"])
    return (
        "group_message", event["mid"], event["cmid"], event["sender"], event["type"], event.get("h"),
        event.get("withheld"), place, event["created_at"],
    )


def _same_for_all(case: Case) -> None:
    contents: dict[tuple[str, int], dict[tuple[Any, ...], str]] = defaultdict(dict)
    for event in case.facts.events:
        contents[event["group"], event["seq"]].setdefault(_content(event), event["c"])
    for (group, seq), different in contents.items():
        if len(different) > 1:
            clients = " and ".join(different.values())
            case.add("content_differs", f"{short(group)} {seq}: {clients} saw different events")
        for content, client in different.items():
            _as_logged(case, group, seq, content, client)


def _as_logged(case: Case, group: str, seq: int, content: tuple[Any, ...], client: str) -> None:
    where, place = f"{short(group)} {seq}, seen by {client}", content[-2]
    record = case.by_place.get(place)
    if record is None:
        case.add("lost", f"{where}: it was delivered from {place}, where the log has nothing")
        return
    if not record.is_valid:
        case.add("void_delivered", f"{where}: it was delivered from {place}, which is void")
        return
    value = record.value
    if content[0] == "group_event":
        is_same = KINDS.get(content[1]) == record.kind and content[2] == value.get("actor", value.get("creator"))
    else:
        named = (value.get("message_id"), value.get("client_message_id"), value.get("sender"))
        is_same = record.kind == "MessageSent" and content[1:4] == named
        sent = case.facts.sends.get((content[3], group, content[2]), [])
        if sent and content[5] not in {frame.asked["h"] for frame in sent}:
            case.add("wrong_text", f"{where}: not the text that was sent")
    if not is_same or record.group != group or record.seq != seq or content[-1] != value.get("time", record.time):
        case.add("log_differs", f"{where}: {content[:3]}, but the log has {record.kind} {record.seq} at {place}")


def _epochs(case: Case) -> None:
    epochs = {entry["epoch"] for entry in case.facts.entries if entry.get("epoch") and entry["k"] != "request"}
    if len(epochs) > 1:
        case.add("epoch_changed", ", ".join(sorted(epochs)))


def _reached(case: Case) -> None:
    """By each time of quiet, everybody had come to the head."""
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for entry in case.facts.entries:
        if entry["k"] == "event":
            at = (entry["c"], entry["group"])
            seen[at] = max(seen[at], entry["seq"])
        elif entry["k"] == "quiet":
            for client, groups in entry["due"].items():
                for group, head in groups.items():
                    if seen[client, group] < head:
                        case.add("stuck_reader", f"{client}, {short(group)}: at {seen[client, group]} of {head}")


def _alive(case: Case) -> None:
    for client, entries in case.facts.clients.items():
        closed = [entry["code"] for entry in entries if entry["k"] == "closed"]
        for code in closed:
            if code >= 3500 or code == 1009:
                case.add("kicked", f"{client}: close code {code}")
        # `go_away`, or why it can't be welcomed: an edge that is asked for what no store can tell it now.
        told = {entry["s"] for entry in entries if entry["k"] == "notice" and _says_why(entry)}
        for entry in entries:
            if entry["k"] == "closed" and entry["code"] == GOING_AWAY and entry["s"] not in told:
                case.add("no_go_away", f"{client}, connection {entry['s']}: closed with {GOING_AWAY} without a word")
        begin, end = entries[0]["t"], case.facts.end
        away = longest(meet(outside(case.facts.connected[client], begin, end), case.facts.whole))
        if away > STUCK_CLIENT_S:
            case.add("stuck_client", f"{client}: not connected for {away:.1f} s while all ran")


def _says_why(notice: Entry) -> bool:
    return notice["event"] == "go_away" or (notice["event"] == "error" and notice.get("code") == "unavailable")


def _spread(case: Case) -> None:
    """Sessions that are sent away come back at different times."""
    times = [
        entry["reconnect_after_ms"]
        for entry in case.facts.entries
        if entry["k"] == "notice" and entry["event"] == "go_away"
    ]
    if len(times) >= CROWD and len(set(times)) == 1:
        case.add("no_jitter", f"{len(times)} sessions were all told to come back after {times[0]} ms")
