"""The queries, on exports made by hand; and that the manifest decides what counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from export import QUERIES, ExportError, check_files, query

EVENTS = """
CREATE TABLE t ("at" TIMESTAMPTZ, group_id TEXT, seq BIGINT, event_id TEXT, type TEXT, name TEXT, member_count BIGINT,
                user_ids TEXT[], actor TEXT, sender TEXT, size_bytes BIGINT)
"""
ACKS = """
CREATE TABLE t ("at" TIMESTAMPTZ, group_id TEXT, user_id TEXT, delivered_seq BIGINT, read_seq BIGINT,
                read_before_seq BIGINT)
"""
CREATED, ADDED, REMOVED, SENT = (
    f"parley.events.v1.{name}" for name in ("GroupCreated", "MembersAdded", "MembersRemoved", "MessageSent")
)


def put(export: Path, table: str, date: str, schema: str, rows: Sequence[tuple[object, ...]]) -> None:
    """A file of some rows, listed in the manifest."""
    path = f"{table}/date={date}/part-000000.parquet"
    (export / path).parent.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(schema)
        connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.execute(f"COPY t TO '{export / path}'")
    data = (export / path).read_bytes()
    listed = json.loads((export / "manifest.json").read_text())["files"] if (export / "manifest.json").exists() else []
    listed.append({"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    (export / "manifest.json").write_text(json.dumps({"files": listed}))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Ann and Bob, then Cleo for a while; two days."""
    day = "2026-01-0{} {}"
    first = [
        (day.format(1, "10:00:00"), "g", 1, "a", CREATED, "Tea", 2, ["ann", "bob"], "ann", None, None),
        (day.format(1, "10:00:10"), "g", 2, "b", SENT, None, None, None, "ann", "ann", 5),
        (day.format(1, "11:30:00"), "g", 3, "c", SENT, None, None, None, "bob", "bob", 7),
        (day.format(1, "11:59:59"), "g", 4, "d", ADDED, None, 3, ["cleo"], "ann", None, None),
    ]
    second = [
        (
            day.format(2, "00:00:01"),
            "g",
            5,
            "e",
            "parley.events.v1.GroupUpdated",
            "Coffee",
            None,
            None,
            "ann",
            None,
            None,
        ),
        (day.format(2, "00:00:02"), "g", 6, "f", REMOVED, None, 2, ["cleo"], "ann", None, None),
    ]
    acks = [
        (day.format(1, "11:30:10"), "g", "ann", 3, 3, 1),
        (day.format(1, "10:00:30"), "g", "bob", 2, 2, 1),
        (day.format(1, "10:00:20"), "g", "bob", 2, 1, 1),
    ]
    put(tmp_path, "events", "2026-01-01", EVENTS, first)
    put(tmp_path, "events", "2026-01-02", EVENTS, second)
    put(tmp_path, "acks", "2026-01-01", ACKS, acks)
    return tmp_path


def rows(export: Path, name: str) -> list[dict[str, object]]:
    columns, found = query(export, name)
    return [dict(zip(columns, row, strict=True)) for row in found]


def test_groups(export: Path) -> None:
    (group,) = rows(export, "groups")
    shown = {name: group[name] for name in ("name", "events", "messages", "text_bytes", "members")}
    assert shown == {"name": "Coffee", "events": 6, "messages": 2, "text_bytes": 12, "members": 2}
    assert str(group["last_message_at"]).startswith("2026-01-01 11:30:00")


def test_messages_an_hour(export: Path) -> None:
    assert [(str(row["hour"]), row["messages"]) for row in rows(export, "messages_an_hour")] == [
        ("2026-01-01 10:00:00", 1),
        ("2026-01-01 11:00:00", 1),
    ]


def test_joins_and_leaves(export: Path) -> None:
    assert [(row["seq"], row["kind"], row["user_id"]) for row in rows(export, "joins_and_leaves")] == [
        (1, "joins", "ann"),
        (1, "joins", "bob"),
        (4, "joins", "cleo"),
        (6, "leaves", "cleo"),
    ]


def test_cursors_are_maxima(export: Path) -> None:
    found = [(row["user_id"], row["delivered_seq"], row["read_seq"]) for row in rows(export, "cursors")]
    assert found == [("ann", 3, 3), ("bob", 2, 2)]


def test_time_to_read_counts_nobodys_own(export: Path) -> None:
    (group,) = rows(export, "time_to_read")
    # Bob read Ann's message after 20 s, Ann read Bob's after 10 s; that Ann's cursor passed her own is no reading.
    assert (group["readings"], group["median_s"]) == (2, 15.0)


def test_check_finds_a_hole_and_a_repeat(export: Path) -> None:
    assert rows(export, "check") == []
    at = "2026-01-03 00:00:00"
    put(
        export,
        "events",
        "2026-01-03",
        EVENTS,
        [
            (at, "g", 8, "h", SENT, None, None, None, "ann", "ann", 1),
            (at, "h", 1, "a1", CREATED, "H", 1, ["ann"], "ann", None, None),
            (at, "h", 1, "a1", CREATED, "H", 1, ["ann"], "ann", None, None),
        ],
    )
    assert [row["group_id"] for row in sorted(rows(export, "check"), key=lambda row: str(row["group_id"]))] == [
        "g",
        "h",
    ]


def test_what_the_manifest_does_not_list_is_told(export: Path) -> None:
    assert check_files(export) == 3
    part = export / "events/date=2026-01-01/part-000000.parquet"
    stray = part.with_name("part-000009.parquet")
    stray.write_bytes(part.read_bytes())
    with pytest.raises(ExportError, match="part-000009"):
        check_files(export)
    stray.unlink()
    part.write_bytes(part.read_bytes()[:-1] + b"X")
    with pytest.raises(ExportError, match="isn't what"):
        check_files(export)


def test_every_query_has_a_test() -> None:
    source = Path(__file__).read_text()
    for path in QUERIES.glob("*.sql"):
        assert f'"{path.stem}"' in source, path
