"""Messages an hour a group, from the log's topic: what an analytics consumer that nobody at Parley wrote would do.

It knows the published schema and section 5 of the contract, and has no keys: of a message it sees who wrote when to
which group, what kind and how long, but not the text.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schema import decode
from topic import Record, TopicError, read_topic
from void_rule import Verdict, VoidRule, stamp_of

SENT = "parley.events.v1.MessageSent"
CREATED = "parley.events.v1.GroupCreated"
NONCE_BYTES, TAG_BYTES = 12, 16


@dataclass
class Report:
    """What was counted."""

    #: (group, hour) -> messages
    hours: Counter[tuple[str, str]] = field(default_factory=Counter)
    names: dict[str, str] = field(default_factory=dict)
    senders: dict[str, set[str]] = field(default_factory=dict)
    text_bytes: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    #: Length in bytes and the first bytes of one sealed content: all that can be seen of it.
    sealed_sample: tuple[int, str] | None = None

    def totals(self) -> Counter[str]:
        """Messages a group."""
        totals: Counter[str] = Counter()
        for (group, _), count in self.hours.items():
            totals[group] += count
        return totals

    def as_json(self) -> dict[str, object]:
        """For programs."""
        totals = self.totals()
        return {
            "groups": [
                {
                    "group_id": group,
                    "name": self.names.get(group, ""),
                    "messages": totals[group],
                    "senders": len(self.senders.get(group, ())),
                    "text_bytes": self.text_bytes[group],
                    "hours": {hour: n for (of, hour), n in sorted(self.hours.items()) if of == group},
                }
                for group in sorted(set(self.names) | set(totals))
            ],
            "messages": sum(totals.values()),
            "records": dict(sorted(self.records.items())),
        }


def count(records: Iterable[Record]) -> Report:
    """Counts the valid messages of a topic; each event once, by its `ce_id`."""
    report, rules, seen = Report(), dict[int, VoidRule](), set[str]()
    for record in records:
        rule = rules.setdefault(record.partition, VoidRule(from_start=record.begins_at == 0))
        verdict = rule.admit(record.offset, stamp_of(record.headers))
        if verdict is not Verdict.VALID:
            report.records[verdict.value] += 1
            continue
        event_id = record.headers.get("ce_id", "")
        if event_id in seen:
            report.records["repeated"] += 1
            continue
        seen.add(event_id)
        report.records["valid"] += 1
        _take(report, record)
    return report


def _take(report: Report, record: Record) -> None:
    kind, group = record.headers.get("ce_type", ""), record.headers.get("ce_subject", record.key or "")
    if kind not in (SENT, CREATED):
        return
    event = decode(kind, record.value)
    if event is None:
        return
    if kind == CREATED:
        report.names[group] = event.name
        return
    hour = datetime.fromtimestamp(event.header.at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:00Z")
    report.hours[group, hour] += 1
    report.senders.setdefault(group, set()).add(event.sender)
    report.text_bytes[group] += event.text_bytes
    # Nonce, as many bytes as the content, tag: nothing that a reader without the data key could open.
    if report.sealed_sample is None and len(event.sealed) > NONCE_BYTES + TAG_BYTES:
        report.sealed_sample = (len(event.sealed), event.sealed[:8].hex())


def table(report: Report) -> str:
    """For people."""
    totals = report.totals()
    lines = [f"{'group':<36}  {'hour (UTC)':<17}  {'messages':>8}  name"]
    for group in sorted(totals):
        name = report.names.get(group, "")
        of_group = sorted((hour, n) for (of, hour), n in report.hours.items() if of == group)
        lines += [f"{group}  {hour:<17}  {n:>8}  {name}" for hour, n in of_group]
        senders = f"{len(report.senders[group])} senders, {report.text_bytes[group]} bytes of text"
        lines.append(f"{group}  {'total':<17}  {totals[group]:>8}  {senders}")
    records = ", ".join(f"{count} {kind}" for kind, count in sorted(report.records.items()))
    lines.append(f"{len(totals)} groups, {sum(totals.values())} messages; records: {records or 'none'}")
    if report.sealed_sample is not None:
        size, begin = report.sealed_sample
        lines.append(f"texts: sealed (no key here); the first is {size} bytes that begin with {begin}")
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="messages an hour a group, read from Kafka as an outsider")
    parser.add_argument("--brokers", required=True, metavar="HOST:PORT,...")
    parser.add_argument("--prefix", default="", help="what stands before `.parley.events`, if anything")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args()
    topic = f"{args.prefix}.parley.events" if args.prefix else "parley.events"
    try:
        report = count(read_topic(args.brokers, topic))
    except TopicError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report.as_json()) if args.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
