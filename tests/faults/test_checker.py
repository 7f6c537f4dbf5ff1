"""The checker finds each kind of violation, and nothing in a run where all is well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from checker import check
from history import text_hash
from log import murmur2
from made import EPOCH, GROUP, PARTITION, PARTITIONS, Story, good
from void_rule import Verdict

#: Places in the log of the good story: claim, claim of acks, creation, c0, c1, c2, acknowledgement, c3, ...
CREATED, C0, C1, C2, ACK, C3 = 2, 3, 4, 5, 6, 7


def kinds(story: Story) -> set[str]:
    return {violation.kind for violation in check(story.entries, story.log, story.views, PARTITIONS)}


def test_all_is_well() -> None:
    story = good()
    assert check(story.entries, story.log, story.views, PARTITIONS) == []


def lost(story: Story) -> None:
    del story.log[C3]


def lost_group(story: Story) -> None:
    del story.log[CREATED]


def void_accepted(story: Story) -> None:
    story.change(C3, verdict=Verdict.VOID)


def void_delivered(story: Story) -> None:
    story.change(C3, verdict=Verdict.VOID)


def wrong_seq(story: Story) -> None:
    story.find("reply", "ann", event="group_message_accepted", seq=5)["seq"] = 6


def nothing_there(story: Story) -> None:
    story.find("reply", "ann", event="group_message_accepted", seq=5)["position"]["offset"] = 99


def doubled(story: Story) -> None:
    story.message("ann", "c3", "late one", 6)


def hole(story: Story) -> None:
    story.change(C3, value={**story.log[C3].value, "seq": 6})


def seq_twice(story: Story) -> None:
    story.change(C3, value={**story.log[C3].value, "seq": 4})


def creation_in_the_middle(story: Story) -> None:
    story.record("GroupCreated", {"seq": 6, "creator": "ann", "member_count": 3})


def other_partition(story: Story) -> None:
    story.change(C3, partition=PARTITION + 1)


def parley_disagrees(story: Story) -> None:
    story.change(C3, said_void=True)


def stranger(story: Story) -> None:
    story.change(C3, value={**story.log[C3].value, "sender": "eve"})


def nobody_sent_it(story: Story) -> None:
    story.message("bob", "c9", "boo", 6)


def other_length(story: Story) -> None:
    story.change(C3, value={**story.log[C3].value, "text_bytes": 3})


def other_text(story: Story) -> None:
    story.find("event", "bob", cmid="c3")["h"] = text_hash("something else")


def gap(story: Story) -> None:
    story.drop(story.find("event", "ann", seq=3))


def repeat(story: Story) -> None:
    story.entries.insert(story.entries.index(story.find("event", "ann", seq=3)) + 1, story.find("event", "ann", seq=3))


def gap_over_a_reconnect(story: Story) -> None:
    story.find("notice", "bob", 1, event="resumed")["entries"][0]["from_seq"] = 6
    story.drop(story.find("event", "bob", seq=5))


def resumed_too_early(story: Story) -> None:
    story.find("reply", "late", event="resumed")["entries"][0]["from_seq"] = 2


def not_complete(story: Story) -> None:
    story.find("reply", "late", event="resumed")["entries"][0].update(complete=False, reset_reason="limit")


def without_subscription(story: Story) -> None:
    story.drop(story.find("notice", "bob", event="resumed"))


def different_content(story: Story) -> None:
    story.find("event", "bob", cmid="c3")["sender"] = "bob"


def other_order_than_the_log(story: Story) -> None:
    for client in ("ann", "bob", "late"):
        two, three = story.find("event", client, seq=2), story.find("event", client, seq=3)
        for name in ("mid", "cmid", "sender", "h", "n"):
            two[name], three[name] = three[name], two[name]


def two_results(story: Story) -> None:
    story.find("reply", "ann", event="group_message_accepted", duplicate=True)["seq"] = 9


def twice_the_first(story: Story) -> None:
    story.find("reply", "ann", event="group_message_accepted", duplicate=True)["duplicate"] = False


def two_texts_under_one_id(story: Story) -> None:
    story.find("request", "ann", 1, cmid="c2")["h"] = text_hash("another text")


def against_the_order_of_frames(story: Story) -> None:
    later = story.find("request", "ann", cmid="c2")
    story.drop(later)
    story.entries.insert(story.entries.index(story.find("request", "ann", cmid="c0")), later)


def refuse(story: Story, code: str) -> None:
    request = story.send("bob", "c8", "hello?")
    error = {"event": "error", "code": code, "retryable": False, "group": GROUP, "cmid": "c8"}
    story.add("reply", "bob", id=request, **error)


def refused_as_stranger(story: Story) -> None:
    refuse(story, "not_a_member")


def refused_as_unknown(story: Story) -> None:
    refuse(story, "group_not_found")


def refused_as_dissolved(story: Story) -> None:
    refuse(story, "group_dissolved")


def refused_as_conflict(story: Story) -> None:
    refuse(story, "idempotency_conflict")


def refused_by_rest(story: Story) -> None:
    refused: dict[str, Any] = {"status": 404, "code": "group_not_found"}
    story.add("api", u="ann", sent=2000.0, op="add_members", group=GROUP, users=["x"], **refused)


def internal(story: Story) -> None:
    refuse(story, "internal")


def stuck_send(story: Story) -> None:
    story.send("bob", "c8", "hello?")
    story.wait(31)
    story.add("service", whole=True, why="")


def stuck_request(story: Story) -> None:
    story.ask("bob", "ping")
    story.wait(31)
    story.add("service", whole=True, why="")


def stuck_reader(story: Story) -> None:
    story.find("quiet")["due"]["bob"][GROUP] = 6


def stuck_client(story: Story) -> None:
    story.add("closed", "bob", code=1006)
    story.wait(61)
    story.add("service", whole=True, why="")


def kicked(story: Story) -> None:
    story.add("closed", "bob", code=3500)


def closed_without_a_word(story: Story) -> None:
    story.add("closed", "bob", code=3001)


def all_come_back_at_once(story: Story) -> None:
    for client in ("ann", "bob", "late", "eve"):
        story.add("notice", client, event="go_away", reconnect_after_ms=100)


def other_epoch(story: Story) -> None:
    story.find("welcome", "late")["epoch"] = EPOCH[:-1] + "2"


def cursor_back(story: Story) -> None:
    story.find("welcome", "bob", 1)["groups"][GROUP] = [5, 3, 3]


def read_beyond_delivered(story: Story) -> None:
    story.find("reply", "bob", event="group_message_acknowledged")["delivered_seq"] = 3


def cursor_ahead(story: Story) -> None:
    story.find("welcome", "bob", 1)["groups"][GROUP] = [5, 5, 5]


def ack_lost(story: Story) -> None:
    for record in [record for record in story.log if record.kind == "CursorsAdvanced"]:
        story.log.remove(record)


def ack_of_nobody(story: Story) -> None:
    story.log[ACK].value["advances"].append({"user": "late", "delivered_seq": 5, "read_seq": 5, "notified_seq": 0})
    story.resume("late", 5, 6, 5)
    request = story.ask("late", "acknowledge_group_message", group=GROUP, seq=2, status="read")
    told = {"group": GROUP, "delivered_seq": 2, "read_seq": 2}
    story.add("reply", "late", id=request, event="group_message_acknowledged", **told)


def old_head(story: Story) -> None:
    story.find("welcome", "bob", 1)["groups"][GROUP] = [3, 4, 4]


def history_lacks_one(story: Story) -> None:
    del story.views[0].messages[1]


def history_has_another(story: Story) -> None:
    story.views[0].messages[1]["h"] = text_hash("never said")


def history_at_another_place(story: Story) -> None:
    story.views[0].messages[1]["position"]["offset"] = 1


def wrong_head(story: Story) -> None:
    story.views[0].body["head_seq"] = 4


def wrong_members(story: Story) -> None:
    story.views[0].members.pop()


def status_too_little(story: Story) -> None:
    rows = story.views[0].statuses["m-c0"]["statuses"]
    rows[0]["read"] = False


def status_too_much(story: Story) -> None:
    rows = story.views[0].statuses["m-c0"]["statuses"]
    rows[1]["delivered"] = True


def status_of_too_few(story: Story) -> None:
    story.views[0].statuses["m-c0"]["statuses"].pop()


def member_cursor(story: Story) -> None:
    story.views[0].members[1]["read_seq"] = 4


SPOILED: list[tuple[str, Callable[[Story], None]]] = [
    ("lost", lost), ("lost", lost_group), ("void_accepted", void_accepted), ("void_delivered", void_delivered),
    ("wrong_result", wrong_seq), ("wrong_result", nothing_there), ("doubled", doubled), ("seq_hole", hole),
    ("seq_repeated", seq_twice), ("creation_misplaced", creation_in_the_middle), ("stray_partition", other_partition),
    ("void_disagrees", parley_disagrees), ("stranger_wrote", stranger), ("phantom", nobody_sent_it),
    ("wrong_text", other_length), ("wrong_text", other_text), ("gap", gap), ("repeat", repeat),
    ("gap", gap_over_a_reconnect), ("wrong_start", resumed_too_early), ("incomplete_resume", not_complete),
    ("unsubscribed_event", without_subscription), ("content_differs", different_content),
    ("log_differs", other_order_than_the_log), ("contradiction", two_results), ("duplicate_flag", twice_the_first),
    ("conflict_accepted", two_texts_under_one_id), ("frame_order", against_the_order_of_frames),
    ("false_refusal", refused_as_stranger), ("false_refusal", refused_as_unknown),
    ("false_refusal", refused_as_dissolved), ("false_refusal", refused_as_conflict), ("false_refusal", refused_by_rest),
    ("unexpected_error", internal), ("stuck_send", stuck_send), ("stuck_request", stuck_request),
    ("stuck_reader", stuck_reader), ("stuck_client", stuck_client), ("kicked", kicked),
    ("no_go_away", closed_without_a_word), ("no_jitter", all_come_back_at_once), ("epoch_changed", other_epoch),
    ("cursor_back", cursor_back), ("cursor_back", read_beyond_delivered), ("cursor_ahead", cursor_ahead),
    ("ack_lost", ack_lost), ("cursor_ahead", ack_of_nobody), ("stale_head", old_head),
    ("history_differs", history_lacks_one), ("history_differs", history_has_another),
    ("history_differs", history_at_another_place), ("history_differs", wrong_head), ("history_differs", wrong_members),
    ("status_differs", status_too_little), ("status_differs", status_too_much), ("status_differs", status_of_too_few),
    ("status_differs", member_cursor),
]


@pytest.mark.parametrize(("kind", "spoil"), SPOILED, ids=[spoil.__name__ for _, spoil in SPOILED])
def test_what_is_spoiled_is_found(kind: str, spoil: Callable[[Story], None]) -> None:
    story = good()
    spoil(story)
    assert kind in kinds(story)


def passing_error(story: Story) -> None:
    request = story.send("bob", "c8", "hello?")
    error = {"event": "error", "code": "unavailable", "retryable": True, "group": GROUP, "cmid": "c8"}
    story.add("reply", "bob", id=request, **error)


def open_while_broken(story: Story) -> None:
    story.add("service", whole=False, why="a fault")
    story.send("bob", "c8", "hello?")
    story.wait(60)
    story.add("service", whole=True, why="")
    story.wait(20)
    story.add("note", what="the end")


def stranger_is_refused(story: Story) -> None:
    story.connect("eve", "own")
    story.send("eve", "c8", "let me in")
    request = story.entries[-1]["id"]
    error = {"event": "error", "code": "not_a_member", "retryable": False, "group": GROUP, "cmid": "c8"}
    story.add("reply", "eve", id=request, **error)


def void_and_unseen(story: Story) -> None:
    story.record("MessageSent", {**story.log[C3].value, "seq": 6, "client_message_id": "z"}, Verdict.VOID)


@pytest.mark.parametrize("allowed", [passing_error, open_while_broken, stranger_is_refused, void_and_unseen])
def test_what_is_allowed_is_no_violation(allowed: Callable[[Story], None]) -> None:
    story = good()
    allowed(story)
    assert check(story.entries, story.log, story.views, PARTITIONS) == []


def test_the_partition_of_a_key() -> None:
    assert murmur2(GROUP.encode()) % PARTITIONS == PARTITION
    assert murmur2(b"21") == -973932308 & 0x7FFFFFFF
    assert murmur2(b"foobar") == -790332482 & 0x7FFFFFFF
