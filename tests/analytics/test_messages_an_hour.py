"""Counting, on records made by hand with the generated classes."""

from __future__ import annotations

import json
import uuid

from messages_an_hour import CREATED, SENT, count, table
from schema import decode, events_module
from topic import Record
from void_rule import CLAIM_TYPE

GROUP = "01a2140d-c80c-7342-ad00-f2f1c47ee02b"
HOUR_MS = 3_600_000
SECRET = b"what only members may read"


def record(offset: int, kind: str, value: bytes = b"", claim: int = 0, index: int = 0, event_id: str = "") -> Record:
    headers = {"ce_type": kind, "ce_id": event_id or str(uuid.uuid4()), "ce_subject": GROUP}
    if kind != CLAIM_TYPE:
        headers |= {"parley_claim": str(claim), "parley_index": str(index)}
    return Record("parley.events", 0, offset, GROUP, headers, value, begins_at=0)


def sent(sender: str, at_ms: int) -> bytes:
    header = events_module().EventHeader(at_ms=at_ms, seq=2)
    sealed = bytes(12) + bytes(byte ^ 0x5A for byte in SECRET) + bytes(16)
    message = events_module().MessageSent(header=header, sender=sender, sealed=sealed, text_bytes=len(SECRET))
    return bytes(message.SerializeToString())


def created(name: str) -> bytes:
    return bytes(events_module().GroupCreated(name=name, creator="ann").SerializeToString())


def test_hours_totals_void_and_repeats() -> None:
    records = [
        record(0, CLAIM_TYPE),
        record(1, CREATED, created("Tea"), 0, 0),
        record(2, SENT, sent("ann", 10), 0, 1, "same"),
        record(3, SENT, sent("bob", HOUR_MS - 1), 0, 2),
        record(4, CLAIM_TYPE),
        record(5, SENT, sent("zombie", 20), 0, 3),
        record(6, SENT, sent("ann", 10), 4, 0, "same"),
        record(7, SENT, sent("ann", HOUR_MS), 4, 1),
        record(8, "parley.events.v2.Unheard", b"\xff", 4, 2),
    ]
    report = count(records)
    assert report.hours == {(GROUP, "1970-01-01T00:00Z"): 2, (GROUP, "1970-01-01T01:00Z"): 1}
    assert report.records == {"claim": 2, "valid": 5, "void": 1, "repeated": 1}
    shown = json.loads(json.dumps(report.as_json()))
    assert shown["messages"] == 3
    (group,) = shown["groups"]
    assert (group["name"], group["messages"], group["senders"]) == ("Tea", 3, 2)


def test_the_text_stays_sealed() -> None:
    records = [record(0, CLAIM_TYPE), record(1, SENT, sent("ann", 0))]
    shown = table(count(records)) + str(count(records).as_json())
    assert SECRET.decode() not in shown
    assert "sealed (no key here)" in shown


def test_unknown_types_are_skipped() -> None:
    assert decode("parley.events.v1.NeverHeardOf", b"") is None
    assert decode("somebody.elses", b"") is None
