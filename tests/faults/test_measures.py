"""Fail-over and hand-over, of a story made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from facts import Facts
from made import PARTITION, Story
from measures import Measures, measure
from scenarios import Move
from void_rule import Verdict


def measured(*, is_planned: bool) -> Measures:
    """Ann's first send is accepted at once; the partition moves; the next one waits 1 s, and one more 1.5 s."""
    story = Story()
    story.record("WriterClaimed", {}, Verdict.CLAIM)
    before = story.send("ann", "c0", "before")
    story.accept("ann", before, story.message("ann", "c0", "before", 2))
    at = story.entries[-1]["t"]
    claim = story.record("WriterClaimed", {}, Verdict.CLAIM)
    first, last = story.send("ann", "c1", "first"), story.send("ann", "c2", "last")
    for wait, request, cmid, seq in ((1.0, first, "c1", 3), (0.5, last, "c2", 4)):
        story.wait(wait)
        record = replace(story.message("ann", cmid, cmid, seq), claim=claim.offset)
        story.log[-1] = record
        story.accept("ann", request, record)
    move = Move(at, "writer-1", frozenset({PARTITION}), is_planned=is_planned)
    return measure(Facts(story.entries), story.log, [move], at)


def test_a_fail_over_ends_with_the_first_send_that_is_accepted_under_a_new_claim() -> None:
    found = measured(is_planned=False)
    assert found.failover_first == found.failover_last == pytest.approx(1_030, abs=1)
    assert found.handover_last is found.handover_wait is None


def test_so_does_a_hand_over_and_the_longest_wait_stands_beside_it() -> None:
    found = measured(is_planned=True)
    assert found.handover_first == found.handover_last == pytest.approx(1_030, abs=1)
    assert found.handover_wait == pytest.approx(1_520, abs=1)
    assert found.failover_last is None
    assert found.slow() == []
    assert replace(found, handover_last=2_001.0).slow() == ["planned hand-over 2001 ms"]
