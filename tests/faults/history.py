"""What clients did and saw, one JSON object a line, in the order in which it happened.

Every entry has `t` (seconds since 1970 on a clock that never goes back) and `k`, its kind; those of a client also `c`
(client), `u` (user) and `s` (how many-th connection of the client):

    connect {edge, mode}                 the handshake begins; refused {status}: it failed; closed {code}
    welcome {epoch, groups: {id: [head, delivered, read]}}
    request {id, event, ...}             a frame of the client; texts only as length `n` and hash `h`
    reply   {id, event, ...}             its one answer; an `error` has `code`
    event   {event, group, seq, ...}     group_message and group_event
    notice  {event, ...}                 everything else without an id; `resumed` has `entries`
    api     {op, group, sent, status, code?, ...}   a REST call, `t` is when it was answered
    service {whole, why}                 whether everything runs (the orchestrator says so)
    quiet   {due: {client: {group: seq}}}   by now these clients must have come to these heads
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

_STARTED = time.time() - time.monotonic()


def now() -> float:
    """Seconds since 1970, on a clock that never goes back."""
    return _STARTED + time.monotonic()


def text_hash(text: str) -> str:
    """Enough to tell texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Recorder:
    """Keeps a history, and writes it to a file as it grows, so that a crash of the tests leaves it."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._file = path.open("w", encoding="utf-8", buffering=1) if path else None

    def add(self, kind: str, /, **fields: Any) -> Entry:  # noqa: ANN401 - JSON
        """Adds an entry with the present time."""
        entry: Entry = {"t": round(now(), 6), "k": kind, **fields}
        self.entries.append(entry)
        if self._file:
            self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
        return entry

    def close(self) -> None:
        """Flushes the file."""
        if self._file:
            self._file.close()
            self._file = None


def load(lines: Iterable[str]) -> list[Entry]:
    """A history from its lines."""
    return [json.loads(line) for line in lines if line.strip()]


REQUEST_FIELDS = ("group_id", "client_message_id", "seq", "status", "after_seq", "epoch", "notification_id", "all")
REPLY_FIELDS = (
    "group_id", "client_message_id", "message_id", "seq", "epoch", "position", "created_at", "duplicate", "code",
    "retryable", "retry_after_ms", "delivered_seq", "read_seq", "head_seq", "from_seq", "to_seq", "complete",
    "reset_reason", "notification_id", "sender", "type", "withheld", "kind", "actor", "user_ids", "count", "reason",
    "reconnect_after_ms",
)
RENAMED = {"group_id": "group", "client_message_id": "cmid", "message_id": "mid", "groups": "entries"}


def condense(data: Entry, fields: tuple[str, ...]) -> Entry:
    """The fields of a frame that a check needs, under their short names."""
    short = {RENAMED.get(name, name): data[name] for name in fields if name in data}
    if isinstance(text := data.get("text"), str):
        short["h"], short["n"] = text_hash(text), len(text.encode())
    return short
