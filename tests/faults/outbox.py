"""The sends of a client that aren't over yet: repeated with the same id until they are accepted or refused for good."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from history import Entry, now

#: A frame that isn't answered for so long is sent again.
ANSWER_S = 8.0
RETRY_S_MAX = 3.0


@dataclass
class Send:
    """One message on its way."""

    group: str
    cmid: str
    text: str
    due: float
    tries: int = 0
    asked: float = field(default_factory=now)
    done: asyncio.Future[Entry] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def retry_in(self, least_s: float) -> None:
        """Sets when it is sent again, with jitter."""
        self.due = now() + least_s + random.uniform(0, min(RETRY_S_MAX, 0.1 * 2**self.tries))


class Outbox:
    """Pending sends in the order in which they were asked for."""

    def __init__(self) -> None:
        self.pending: dict[str, Send] = {}
        self._requests: dict[str, Send] = {}

    def add(self, group: str, cmid: str, text: str) -> Send:
        """A new one, due at once."""
        send = Send(group, cmid, text, due=now())
        self.pending[cmid] = send
        return send

    def longest_s(self) -> float:
        """How long the oldest of them has waited."""
        return max((now() - send.asked for send in self.pending.values()), default=0.0)

    def due(self) -> list[Send]:
        """Those to be sent now."""
        at = now()
        return [send for send in self.pending.values() if send.due <= at]

    def sent(self, request: str, send: Send) -> None:
        """It went out under this request id."""
        send.tries += 1
        send.due = now() + ANSWER_S
        self._requests[request] = send

    def disconnected(self) -> None:
        """No answer will come any more: all are due once there is a connection."""
        self._requests.clear()
        for send in self.pending.values():
            send.due = min(send.due, now())

    def answered(self, request: str, answer: Entry) -> bool:
        """Takes an answer; `False` if it isn't about a send."""
        send = self._requests.pop(request, None)
        if send is None:
            return False
        if answer["event"] == "error" and answer.get("retryable"):
            if send.cmid in self.pending:
                send.retry_in(answer.get("retry_after_ms", 0) / 1000)
        elif self.pending.pop(send.cmid, None) is not None and not send.done.done():
            send.done.set_result(answer)
        return True
