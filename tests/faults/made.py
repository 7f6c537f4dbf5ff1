"""A small run in which all is well, made by hand: what the tests of the checker spoil in one place each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from history import Entry, text_hash
from log import ACKS, EVENTS, LogRecord
from views import GroupView
from void_rule import Verdict

EPOCH = "01a2140d-0000-7000-8000-000000000001"
GROUP = "01a2140d-c80c-7342-ad00-f2f1c47ee02b"
PARTITION, PARTITIONS = 35, 64
MEMBERS = ["ann", "bob", "late"]


def time_of(offset: int) -> str:
    """When a record of the log was made."""
    return f"2026-11-25T18:52:57.{offset:03}Z"


class Story:
    """A history, a log and a view that fit together. Clients: ann (own), bob (auto), late (own)."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.log: list[LogRecord] = []
        self.views: list[GroupView] = []
        self._t, self._request = 1000.0, 0

    # --- parts -------------------------------------------------------------------------------------------------------

    def add(self, k: str, c: str = "", **fields: Any) -> Entry:  # noqa: ANN401 - JSON
        """The next entry, 10 ms later."""
        self._t += 0.01
        of_client = {"c": c, "u": c.rstrip("+"), "s": 1} if c else {}
        self.entries.append({"t": self._t, "k": k, **of_client, **fields})
        return self.entries[-1]

    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self._t += seconds

    def record(self, kind: str, value: Entry, verdict: Verdict = Verdict.VALID, topic: str = EVENTS) -> LogRecord:
        """The next record of the partition."""
        offset = sum(record.topic == topic for record in self.log)
        claim = None if verdict is Verdict.CLAIM else 0
        group = None if claim is None else GROUP
        at = (topic, PARTITION, offset, kind, f"id{offset}", time_of(offset), "w")
        made = LogRecord(*at, group, claim, offset - 1, value, verdict)
        self.log.append(made)
        return made

    def change(self, index: int, **fields: Any) -> None:  # noqa: ANN401 - JSON
        """Another record in its place."""
        self.log[index] = replace(self.log[index], **fields)

    def ask(self, c: str, event: str, **fields: Any) -> str:  # noqa: ANN401 - JSON
        """A request."""
        self._request += 1
        self.add("request", c, id=f"{c}-{self._request}", event=event, **fields)
        return f"{c}-{self._request}"

    def connect(self, c: str, mode: str, cursor: int = 1, head: int = 1) -> None:
        """A connection of a client."""
        self.add("connect", c, edge="e", mode=mode)
        self.add("welcome", c, epoch=EPOCH, groups={GROUP: [head, cursor, cursor]})

    def resume(self, c: str, after: int | None, begin: int, to: int) -> None:
        """`resumed`: asked for after a `seq`, or by the server itself."""
        entry = {"group": GROUP, "from_seq": begin, "to_seq": to, "complete": True}
        if after is None:
            self.add("notice", c, event="resumed", entries=[entry])
        else:
            request = self.ask(c, "resume", entries={GROUP: after})
            self.add("reply", c, id=request, event="resumed", entries=[entry])

    def send(self, c: str, cmid: str, text: str) -> str:
        """A frame."""
        fields = {"group": GROUP, "cmid": cmid, "h": text_hash(text), "n": len(text)}
        return self.ask(c, "send_group_message", **fields)

    def accept(self, c: str, request: str, record: LogRecord, duplicate: bool = False) -> None:
        """Its answer."""
        self.add(
            "reply", c, id=request, event="group_message_accepted", group=GROUP, cmid=record.value["client_message_id"],
            mid=record.value["message_id"], seq=record.seq, epoch=EPOCH, created_at=record.time, duplicate=duplicate,
            position={"partition": PARTITION, "offset": record.offset},
        )

    def message(self, sender: str, cmid: str, text: str, seq: int) -> LogRecord:
        """A message in the log."""
        value = {"seq": seq, "message_id": f"m-{cmid}", "client_message_id": cmid, "sender": sender}
        return self.record("MessageSent", {**value, "text_bytes": len(text)})

    def deliver(self, c: str, record: LogRecord, text: str = "") -> None:
        """An event that a client gets."""
        common = {"group": GROUP, "seq": record.seq, "epoch": EPOCH, "created_at": record.time}
        common["position"] = {"partition": PARTITION, "offset": record.offset}
        if record.kind == "GroupCreated":
            self.add("event", c, event="group_event", kind="group_created", actor="ann", **common)
            return
        value = record.value
        named = {"mid": value["message_id"], "cmid": value["client_message_id"], "sender": value["sender"]}
        content = {"type": "text", "h": text_hash(text), "n": len(text)}
        self.add("event", c, event="group_message", **common, **named, **content)

    def acknowledge(self, c: str, seq: int) -> None:
        """A read acknowledgement, confirmed and in the log."""
        request = self.ask(c, "acknowledge_group_message", group=GROUP, seq=seq, status="read")
        advance = {"user": c, "delivered_seq": seq, "read_seq": seq, "notified_seq": 0}
        self.record("CursorsAdvanced", {"advances": [advance]}, topic=ACKS)
        told = {"group": GROUP, "delivered_seq": seq, "read_seq": seq}
        self.add("reply", c, id=request, event="group_message_acknowledged", **told)

    def find(self, k: str, c: str | None = None, nth: int = 0, **fields: Any) -> Entry:  # noqa: ANN401 - JSON
        """The nth entry with these fields."""
        found = [
            e for e in self.entries
            if e["k"] == k and c in (None, e.get("c")) and all(e.get(name) == v for name, v in fields.items())
        ]
        return found[nth]

    def drop(self, entry: Entry) -> None:
        """Without an entry."""
        self.entries.remove(entry)


def good() -> Story:
    """Ann and Bob talk; Bob reconnects once; one send is repeated; one who was never there reads it all."""
    story = Story()
    story.record("WriterClaimed", {}, Verdict.CLAIM)
    story.record("WriterClaimed", {}, Verdict.CLAIM, ACKS)
    sent = story.entries[-1]["t"] if story.entries else 1000.0
    created = story.record("GroupCreated", {"seq": 1, "creator": "ann", "member_count": 3})
    story.add("api", u="ann", op="create_group", group=GROUP, members=MEMBERS, sent=sent, status=201)
    story.connect("ann", "own")
    story.resume("ann", 0, 1, 1)
    story.deliver("ann", created)
    story.connect("bob", "auto")
    story.resume("bob", None, 2, 1)
    for n, (sender, text) in enumerate([("ann", "tea?"), ("bob", "yes"), ("ann", "now")]):
        request = story.send(sender, f"c{n}", text)
        record = story.message(sender, f"c{n}", text, n + 2)
        story.accept(sender, request, record)
        for client in ("ann", "bob"):
            story.deliver(client, record, text)
    story.acknowledge("bob", 4)
    story.add("closed", "bob", code=1006)
    request = story.send("ann", "c2", "now")
    story.accept("ann", request, story.log[-2], duplicate=True)
    last = story.message("ann", "c3", "late one", 5)
    story.accept("ann", story.send("ann", "c3", "late one"), last)
    story.deliver("ann", last, "late one")
    story.connect("bob", "auto", cursor=4, head=5)
    story.resume("bob", None, 5, 5)
    story.deliver("bob", last, "late one")
    story.acknowledge("ann", 5)
    story.acknowledge("bob", 5)
    story.add("quiet", due={"ann": {GROUP: 5}, "bob": {GROUP: 5}})
    story.connect("late", "own", head=5)
    story.resume("late", 0, 1, 5)
    texts = {2: "tea?", 3: "yes", 4: "now", 5: "late one"}
    for record in [record for record in story.log if record.topic == EVENTS and record.is_valid]:
        story.deliver("late", record, texts.get(record.seq, ""))
    story.add("quiet", due={"late": {GROUP: 5}})
    story.views = [_view(story, texts)]
    return story


def _view(story: Story, texts: dict[int, str]) -> GroupView:
    cursors = {"ann": 5, "bob": 5, "late": 1}
    members = [{"user_id": user, "delivered_seq": seq, "read_seq": seq} for user, seq in cursors.items()]
    messages, statuses = [], {}
    for record in story.log:
        if record.kind != "MessageSent":
            continue
        value = record.value
        messages.append(
            {
                "seq": record.seq, "message_id": value["message_id"], "sender": value["sender"],
                "client_message_id": value["client_message_id"], "created_at": record.time,
                "position": {"partition": PARTITION, "offset": record.offset}, "h": text_hash(texts[record.seq]),
            }
        )
        rows: list[Entry] = [
            {"user_id": user, "delivered": seq >= record.seq, "read": seq >= record.seq}
            for user, seq in cursors.items()
            if user != value["sender"]
        ]
        counts = {"delivered_count": sum(r["delivered"] for r in rows), "read_count": sum(r["read"] for r in rows)}
        statuses[value["message_id"]] = {"statuses": rows, **counts, "member_count": 3}
    body = {"head_seq": 5, "member_count": 3}
    return GroupView(GROUP, "e", body, members, messages, statuses)
