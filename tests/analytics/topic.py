"""Reads one topic from its beginning to where it ended when the reading began."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

WAIT_S = 30.0
BATCH_RECORDS, BATCH_S = 1000, 0.1


@dataclass(frozen=True)
class Record:
    """One record as it lies in Kafka; headers as text."""

    topic: str
    partition: int
    offset: int
    key: str | None
    headers: dict[str, str]
    value: bytes
    begins_at: int


class TopicError(Exception):
    """The topic can't be read."""


def _headers(pairs: list[tuple[str, bytes]] | None) -> dict[str, str]:
    return {name: (value or b"").decode("utf-8", "replace") for name, value in pairs or []}


def read_topic(brokers: str, topic: str) -> Iterator[Record]:
    """All records, of each partition in the order of offsets. Joins no group and commits nothing.

    Raises `TopicError` if the topic isn't there or the brokers don't answer.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": f"outsider-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            # What is wrong is said once, by the error.
            "log_level": 2,
        }
    )
    try:
        yield from _read(consumer, topic)
    except KafkaException as error:
        raise TopicError(f"{topic}: {error}") from error
    finally:
        consumer.close()


def _read(consumer: Any, topic: str) -> Iterator[Record]:  # noqa: ANN401 - the client is untyped
    described = consumer.list_topics(topic, timeout=WAIT_S).topics.get(topic)
    if described is None or described.error is not None or not described.partitions:
        raise TopicError(f"there is no topic {topic}")
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    for partition in sorted(described.partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=WAIT_S, cached=False)
        if high > low:
            begins[partition], ends[partition] = low, high
    open_partitions = set(ends)
    if open_partitions:
        consumer.assign([TopicPartition(topic, partition, begins[partition]) for partition in sorted(ends)])
    last = time.monotonic()
    while open_partitions:
        # It waits until so many are there, or the time is up: a short time, so that the rest isn't waited for.
        messages = consumer.consume(BATCH_RECORDS, timeout=BATCH_S)
        if messages:
            last = time.monotonic()
        elif time.monotonic() - last > WAIT_S:
            raise TopicError(f"{topic}: no record came for {WAIT_S:.0f} s; open: {sorted(open_partitions)}")
        for message in messages:
            partition, error = message.partition(), message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise TopicError(f"{topic}: {error}")
                open_partitions.discard(partition)
                continue
            if message.offset() < ends[partition]:
                yield _record(message, begins[partition])
            if message.offset() >= ends[partition] - 1:
                open_partitions.discard(partition)


def _record(message: Any, begins_at: int) -> Record:  # noqa: ANN401 - the client is untyped
    key = message.key()
    return Record(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=None if key is None else key.decode("utf-8", "replace"),
        headers=_headers(message.headers()),
        value=message.value() or b"",
        begins_at=begins_at,
    )
