"""A WebSocket client as section 4 of the contract wants it, which records everything that it sent and saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from history import RENAMED, REPLY_FIELDS, REQUEST_FIELDS, Entry, Recorder, condense, now
from outbox import Outbox, Send

TICK_S = 0.05
ACK_EVERY_S = 0.25
#: Own requests other than sends are asked again if no answer came for so long.
ANSWER_S = 8.0
OPEN_S = 5.0
#: Close codes from here on say: don't come back.
FINAL_CODES = 3500
GROUP_EVENTS = ("group_message", "group_event")


@dataclass(frozen=True)
class Plan:
    """Who a client is."""

    name: str
    user: str
    token: str
    #: `own`: stores messages itself and resumes from its own `seq`; `auto`: takes the replay from `delivered_seq`.
    mode: str
    #: `read`, `delivered`, or empty: acknowledges nothing.
    acknowledges: str = "read"


def _report(task: asyncio.Task[None]) -> None:
    """A mistake of the tests must not look like silence of the server."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logging.error("a client's task broke", exc_info=error)


class Client:
    """Lives until it is stopped: connects, resumes, reconnects to the next edge."""

    def __init__(self, plan: Plan, edges: list[str], recorder: Recorder, first_edge: int = 0) -> None:
        self.plan, self.outbox = plan, Outbox()
        #: The newest `seq` that was seen, by group: what a client that stores messages would store.
        self.seen: dict[str, int] = {}
        self.acked: dict[str, int] = {}
        self.is_kicked, self.is_up = False, False
        #: Doesn't ask whether the server is there: its connection outlives a frozen edge.
        self.is_patient = False
        self.epoch: str | None = None
        self._edges, self._edge, self._recorder = edges, first_edge, recorder
        self._session, self._failures, self._next_id = 0, 0, 0
        self._asked: dict[str, tuple[str, str, float]] = {}
        self._to_join: dict[str, float] = {}
        self._joined: set[str] = set()
        self._next_ack, self._away_s = 0.0, 0.0
        self._frames: asyncio.Queue[str] = asyncio.Queue(maxsize=10_000)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to connect."""
        self._task = asyncio.create_task(self._live())
        self._task.add_done_callback(_report)

    async def stop(self) -> None:
        """Ends at once."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def send(self, group: str, cmid: str, text: str) -> Send:
        """Sends a message, for as long as it takes."""
        send = self.outbox.add(group, cmid, text)
        if self.is_up:
            self.outbox.sent(self._request(self._of_send(send)), send)
        return send

    def repeat(self, send: Send) -> None:
        """Sends the same once more at once, whatever became of the first; nothing waits for this answer."""
        self._request(self._of_send(send))

    def send_once(self, group: str, cmid: str, text: str) -> None:
        """One frame, without any repeat."""
        self._request(self._of_send(Send(group, cmid, text, due=now())))

    def notify_created(self, group: str) -> None:
        """Has the members told of a new group."""
        self._request({"event": "notify_create_group", "data": {"group_id": group}})

    def join(self, group: str) -> None:
        """The user made a group: nobody tells its maker."""
        if self.is_up and group not in self._joined:
            self._join(group)

    def is_idle(self) -> bool:
        """Whether nothing is pending, and all that was seen is acknowledged."""
        acked = not self.plan.acknowledges or all(self.acked.get(g, 0) >= seq for g, seq in self.seen.items())
        return not self.outbox.pending and acked

    def _record(self, kind: str, /, **fields: Any) -> None:  # noqa: ANN401 - JSON
        self._recorder.add(kind, c=self.plan.name, u=self.plan.user, s=self._session, **fields)

    async def _live(self) -> None:
        while not self.is_kicked:
            self._session += 1
            edge = self._edges[self._edge % len(self._edges)]
            code, least_s = await self._connection(edge)
            self._record("closed", code=code)
            self.is_kicked = code >= FINAL_CODES or code == 1009
            self.outbox.disconnected()
            self._edge += 1
            await asyncio.sleep(least_s + random.uniform(0, min(30.0, 0.5 * 2**self._failures)))
            self._failures += 1

    async def _connection(self, edge: str) -> tuple[int, float]:
        """One connection from handshake to end: close code (1006 for none), least wait before the next."""
        query = "?replay=none" if self.plan.mode == "own" else ""
        url = f"{edge.replace('http://', 'ws://')}/v1/ws{query}"
        self._record("connect", edge=edge, mode=self.plan.mode)
        headers = {"Authorization": f"Bearer {self.plan.token}"}
        ping_s = None if self.is_patient else 5
        try:
            async with connect(
                url, additional_headers=headers, open_timeout=OPEN_S, close_timeout=1, ping_interval=ping_s,
                ping_timeout=10, max_size=None, compression=None, proxy=None,
            ) as socket:
                return await self._serve(socket), self._away_s
        except InvalidStatus as error:
            self._record("refused", status=error.response.status_code)
            after = error.response.headers.get("Retry-After", "0")
            return 1006, min(5.0, float(after) if after.isdigit() else 0.0)
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException):
            return 1006, 0.0

    async def _serve(self, socket: ClientConnection) -> int:
        self._frames = asyncio.Queue(maxsize=10_000)
        self._asked.clear()
        self._joined.clear()
        self._to_join.clear()
        self._next_ack, self._away_s = 0.0, 0.0
        tasks = [asyncio.create_task(self._write(socket))]
        try:
            async for text in socket:
                frame = json.loads(text)
                if frame["event"] == "welcome":
                    self._failures = 0
                    self._welcome(frame["data"])
                    tasks.append(asyncio.create_task(self._tick()))
                    tasks[-1].add_done_callback(_report)
                else:
                    self._take(frame)
        except WebSocketException:
            pass
        finally:
            self.is_up = False
            for task in tasks:
                task.cancel()
        return int(socket.close_code or 1006)

    async def _write(self, socket: ClientConnection) -> None:
        with contextlib.suppress(WebSocketException):
            while True:
                await socket.send(await self._frames.get())

    async def _tick(self) -> None:
        while True:
            for send in self.outbox.due():
                self.outbox.sent(self._request(self._of_send(send)), send)
            for group in [group for group, at in self._to_join.items() if at <= now()]:
                self._join(group)
            self._acknowledge()
            self._ask_again()
            await asyncio.sleep(TICK_S)

    def _of_send(self, send: Send) -> Entry:
        data = {"group_id": send.group, "client_message_id": send.cmid, "type": "text", "text": send.text}
        return {"event": "send_group_message", "data": data}

    def _request(self, frame: Entry) -> str:
        """Queues a frame under a fresh id."""
        self._next_id += 1
        request = f"{self.plan.name}-{self._next_id}"
        frame["id"] = request
        fields = condense(frame["data"], REQUEST_FIELDS)
        if "groups" in frame["data"]:
            fields["entries"] = {entry["group_id"]: entry["after_seq"] for entry in frame["data"]["groups"]}
        self._record("request", id=request, event=frame["event"], **fields)
        self._frames.put_nowait(json.dumps(frame))
        return request

    def _ask(self, what: str, group: str, event: str, **data: Any) -> None:  # noqa: ANN401 - JSON
        request = self._request({"event": event, "data": data})
        self._asked[request] = (what, group, now() + ANSWER_S)

    def _welcome(self, data: Entry) -> None:
        groups = {g["group_id"]: [g["head_seq"], g["delivered_seq"], g["read_seq"]] for g in data["groups"]}
        self._record("welcome", epoch=data["epoch"], groups=groups)
        self.epoch, self.is_up = data["epoch"], True
        self._joined = set(groups) if self.plan.mode == "auto" else set()
        if self.plan.mode == "own":
            self._resume(set(groups) | set(self.seen))

    def _resume(self, groups: set[str]) -> None:
        after = [{"group_id": g, "epoch": self.epoch, "after_seq": self.seen.get(g, 0)} for g in sorted(groups)]
        self._joined |= groups
        for start in range(0, len(after), 500):
            self._ask("resume", "", "resume", groups=after[start : start + 500])

    def _join(self, group: str) -> None:
        """Subscribes to a group by itself: it is new, or its replay was broken off."""
        self._to_join.pop(group, None)
        self._joined.add(group)
        after = self.seen.get(group, 0)
        self._ask("join", group, "subscribe_to_group", group_id=group, after_seq=after, epoch=self.epoch)

    def _acknowledge(self) -> None:
        if not self.plan.acknowledges or now() < self._next_ack:
            return
        self._next_ack = now() + ACK_EVERY_S
        under_way = {group for what, group, _ in self._asked.values() if what == "ack"}
        for group, seq in self.seen.items():
            if self.acked.get(group, 0) < seq and group not in under_way:
                status = self.plan.acknowledges
                self._ask("ack", group, "acknowledge_group_message", group_id=group, seq=seq, status=status)

    def _ask_again(self) -> None:
        for request in [request for request, (_, _, until) in self._asked.items() if until <= now()]:
            self._undone(*self._asked.pop(request)[:2], wait_s=0.0)

    def _undone(self, what: str, group: str, wait_s: float) -> None:
        """Something wasn't done, but may be: what is acknowledged comes round by itself."""
        if what == "resume":
            self._to_join.update(dict.fromkeys(self._joined, now() + wait_s))
        elif what == "join":
            self._to_join[group] = now() + wait_s

    def _take(self, frame: Entry) -> None:
        event, data, request = frame["event"], frame.get("data", {}), frame.get("id")
        fields = condense(data, REPLY_FIELDS)
        if event == "resumed":
            entries = data.get("groups", [])
            fields["entries"] = [{RENAMED.get(name, name): value for name, value in e.items()} for e in entries]
        if event in GROUP_EVENTS:
            self._record("event", event=event, **fields)
            group = fields["group"]
            self.seen[group] = max(self.seen.get(group, 0), fields["seq"])
            if fields.get("kind") == "member_removed" and self.plan.user in fields.get("user_ids", []):
                self._joined.discard(group)
        elif request is not None:
            self._record("reply", id=request, event=event, **fields)
            self._reply(request, {"event": event, **fields})
        else:
            self._record("notice", event=event, **fields)
            self._notice({"event": event, **fields}, data)

    def _reply(self, request: str, answer: Entry) -> None:
        if self.outbox.answered(request, answer) or request not in self._asked:
            return
        what, group, _ = self._asked.pop(request)
        if answer["event"] == "error":
            if answer.get("retryable"):
                self._undone(what, group, answer.get("retry_after_ms", 500) / 1000)
        elif what == "ack":
            self.acked[group] = max(self.acked.get(group, 0), answer["delivered_seq"])

    def _notice(self, notice: Entry, data: Entry) -> None:
        if notice["event"] in ("a_group_created", "added_to_group"):
            group = data["group"]["group_id"]
            if group in self._joined:
                self._ask("seen", group, "acknowledge_notification", notification_id=notice["notification_id"])
            else:
                self._join(group)
        elif notice["event"] == "go_away":
            self._away_s = notice.get("reconnect_after_ms", 0) / 1000
        elif notice["event"] == "error" and notice.get("group") in self._joined and notice.get("retryable"):
            self._to_join[notice["group"]] = now() + notice.get("retry_after_ms", 500) / 1000
        elif notice["event"] == "group_message_acknowledged" and notice["group"] not in self._joined:
            # There is one notification for each member: the user's other client had it, and knows the group.
            self._join(notice["group"])
