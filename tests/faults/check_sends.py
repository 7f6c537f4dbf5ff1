"""What was answered to sends, against each other and against the log."""

from __future__ import annotations

from collections import defaultdict

from facts import Facts, Frame, Key, longest, meet
from history import Entry
from log import LogRecord
from violations import Case, short

STUCK_S = 30.0
#: Errors that say nothing about the state of a group, and may be answered at any time.
PASSING = {"busy", "unavailable", "outcome_unknown", "rate_limited"}
MEMBERSHIP = {"not_a_member", "group_not_found", "group_dissolved"}


def check_sends(case: Case) -> None:
    """All of it."""
    valid: dict[Key, list[LogRecord]] = defaultdict(list)
    for record in case.valid():
        if record.kind == "MessageSent":
            valid[record.value["sender"], record.group or "", record.value["client_message_id"]].append(record)
    for key, frames in case.facts.sends.items():
        accepted = [frame for frame in frames if frame.is_accepted]
        for frame in accepted:
            _in_log(case, key, frame, valid.get(key, []))
        _agree(case, key, accepted)
        _stuck(case, key, frames)
    _frame_order(case)
    for frame in case.facts.frames.values():
        if frame.answer is not None and frame.answer["event"] == "error":
            _refusal(case, frame)
        elif frame.answer is None:
            _unanswered(case, frame)
    for entry in case.facts.entries:
        if entry["k"] == "notice" and entry["event"] == "error" and entry["code"] not in PASSING:
            case.add("unexpected_error", f"{entry['c']}: {entry['code']} without a request")
        elif entry["k"] == "api" and entry.get("code"):
            _api(case, entry)


def _named(key: Key) -> str:
    return f"{key[0]} {short(key[2])} in {short(key[1])}"


def _in_log(case: Case, key: Key, frame: Frame, valid: list[LogRecord]) -> None:
    answer = frame.answer or {}
    place = (answer["position"]["partition"], answer["position"]["offset"])
    record = case.by_place.get(place)
    if not valid:
        case.add("lost", f"{_named(key)}, accepted as seq {answer['seq']} at {place}, isn't in the log")
    if record is None:
        if valid:
            case.add("wrong_result", f"{_named(key)}: accepted at {place}, where the log has nothing")
        return
    if record.kind == "MessageSent" and not record.is_valid:
        case.add("void_accepted", f"{_named(key)}: accepted as seq {answer['seq']} at {place}, which is void")
        return
    value = record.value
    logged = (record.group, record.seq, value.get("message_id"), value.get("client_message_id"), value.get("sender"))
    if logged != (answer["group"], answer["seq"], answer["mid"], answer["cmid"], key[0]):
        told = f"seq {answer['seq']} message {short(answer['mid'])}"
        case.add("wrong_result", f"{_named(key)}: {told} at {place}, but there is {record.kind} {record.seq}")


def _agree(case: Case, key: Key, accepted: list[Frame]) -> None:
    answers = [frame.answer for frame in accepted if frame.answer is not None]
    results = {
        (a["mid"], a["seq"], a["position"]["partition"], a["position"]["offset"], a["created_at"]) for a in answers
    }
    if len(results) > 1:
        case.add("contradiction", f"{_named(key)} has {len(results)} results: seq {sorted(r[1] for r in results)}")
    if sum(not answer["duplicate"] for answer in answers) > 1:
        case.add("duplicate_flag", f"{_named(key)}: accepted {len(answers)} times, several as the first")
    if len({frame.asked["h"] for frame in accepted}) > 1:
        case.add("conflict_accepted", f"{_named(key)}: two texts were accepted under one id")


def _stuck(case: Case, key: Key, frames: list[Frame]) -> None:
    """A send that stood open too long while everything ran and its client was connected."""
    ends = [
        frame.answer["t"]
        for frame in frames
        if frame.answer is not None and (frame.is_accepted or frame.refusal is not None)
    ]
    begin, end = frames[0].asked["t"], min(ends, default=case.facts.end)
    waited = longest(meet(meet([(begin, end)], case.facts.whole), case.facts.connected[frames[0].asked["c"]]))
    if waited > STUCK_S:
        case.add("stuck_send", f"{_named(key)}: open for {waited:.1f} s while all ran; {len(frames)} frames")


def _unanswered(case: Case, frame: Frame) -> None:
    asked = frame.asked
    connections = case.facts.connected[asked["c"]]
    same = [(max(begin, asked["t"]), end) for begin, end in connections if begin <= asked["t"] < end]
    waited = longest(meet(same, case.facts.whole))
    if waited > STUCK_S:
        case.add("stuck_request", f"{asked['c']}: {asked['event']} {asked['id']} unanswered for {waited:.1f} s")


def _frame_order(case: Case) -> None:
    """First sends of one connection to one group get `seq` in the order of their frames."""
    newest: dict[tuple[str, int, str], int] = {}
    for frame in case.facts.frames.values():
        if frame.is_accepted and frame.answer is not None and not frame.answer["duplicate"]:
            at = (frame.asked["c"], frame.asked["s"], frame.asked["group"])
            if frame.answer["seq"] < newest.get(at, 0):
                told = f"{short(at[2])}: seq {frame.answer['seq']} after {newest[at]}"
                case.add("frame_order", f"{at[0]}, connection {at[1]}, {told}")
            newest[at] = max(newest.get(at, 0), frame.answer["seq"])


def _refusal(case: Case, frame: Frame) -> None:
    asked, answer = frame.asked, frame.answer or {}
    code = answer["code"]
    if code in PASSING:
        return
    what = f"{asked['c']}: {code} to {asked['event']} {asked['id']} about {short(asked.get('group'))}"
    if code in MEMBERSHIP:
        if is_contradicted(case.facts, code, asked["u"], asked.get("group", ""), asked["t"], answer["t"]):
            case.add("false_refusal", what)
    elif code == "idempotency_conflict" and asked["event"] == "send_group_message":
        frames = case.facts.sends[asked["u"], asked["group"], asked["cmid"]]
        if len({f.asked["h"] for f in frames if f.asked["t"] <= answer["t"]}) == 1:
            case.add("false_refusal", f"{what}, though the content was always the same")
    else:
        case.add("unexpected_error", what)


def is_contradicted(facts: Facts, code: str, user: str, group: str, begin: float, end: float) -> bool:
    """Whether a refusal about membership can't be true, given what was acknowledged before it was asked for."""
    if code == "group_not_found":
        return group in facts.creates and facts.creates[group]["t"] <= begin
    if code == "group_dissolved":
        return not any(entry["k"] == "api" and entry["op"] == "dissolve" for entry in facts.entries)
    return facts.is_member(user, group, begin, end)


def _api(case: Case, entry: Entry) -> None:
    code, group = entry["code"], entry.get("group", "")
    if code in PASSING or code in ("member_not_found",):
        return
    what = f"{entry['u']}: {code} ({entry['status']}) to {entry['op']} of {short(group)}"
    if code not in MEMBERSHIP:
        case.add("unexpected_error", what)
    elif is_contradicted(case.facts, code, entry["u"], group, entry["sent"], entry["t"]):
        case.add("false_refusal", what)
