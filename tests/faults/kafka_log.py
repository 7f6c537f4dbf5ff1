"""The log, read from Kafka with the checker's own decoder: the published schema, and nothing else of Parley's."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from log import ACKS, EVENTS, PACKAGE, LogRecord, Rules
from schema import decode
from topic import Record, read_topic
from void_rule import CLAIM_TYPE, stamp_of


def read_kafka(brokers: str, prefix: str) -> list[LogRecord]:
    """Everything in both topics, oldest first in each partition."""
    rules, records = Rules(), []
    for name in (EVENTS, ACKS):
        for record in read_topic(brokers, f"{prefix}.{name}" if prefix else name):
            records.append(_record(name, record, rules))
    return records


def _record(topic: str, record: Record, rules: Rules) -> LogRecord:
    headers, stamp = record.headers, stamp_of(record.headers)
    ce_type = headers.get("ce_type", "")
    kind = "WriterClaimed" if ce_type == CLAIM_TYPE else ce_type.removeprefix(PACKAGE)
    verdict = rules.admit(topic, record.partition, record.offset, stamp)
    event = None if stamp.is_claim else decode(ce_type, record.value)
    return LogRecord(
        topic, record.partition, record.offset, kind, headers.get("ce_id", ""), headers.get("ce_time", ""),
        headers.get("ce_source", ""), record.key, stamp.claim, stamp.index,
        {} if event is None else _value(kind, event), verdict,
    )


def _id(value: bytes) -> str:
    return str(uuid.UUID(bytes=value))


def _time(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03}Z"


def _value(kind: str, event: Any) -> dict[str, Any]:  # noqa: ANN401 - generated classes have no types
    if kind == "CursorsAdvanced":
        names = ("user", "delivered_seq", "read_seq", "notified_seq")
        advances = [{name: getattr(advance, name) for name in names} for advance in event.advances]
        return {"advances": advances, "group": _id(event.group_id)}
    header = event.header
    value: dict[str, Any] = {
        "seq": header.seq,
        "group": _id(header.group_id),
        "event_id": _id(header.event_id),
        "time": _time(header.at_ms),
    }
    for name in ("creator", "actor", "owner", "user", "sender", "client_message_id", "text_bytes", "member_count"):
        if name in event.DESCRIPTOR.fields_by_name:
            value[name] = getattr(event, name)
    for name in ("members", "users"):
        if name in event.DESCRIPTOR.fields_by_name:
            value[name] = list(getattr(event, name))
    if kind == "MessageSent":
        value["message_id"] = value["event_id"]
    elif kind == "MessageRolledBack":
        value["message_id"], value["message_seq"] = _id(event.message_id), event.message_seq
    return value
