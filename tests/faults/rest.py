"""REST calls that are recorded."""

from __future__ import annotations

import asyncio
import json
import random
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from history import Recorder, now

CALL_S = 20.0
TRY_S = 90.0
RETRYABLE = {429, 500, 503, 504}


class RestError(Exception):
    """A call was refused for good, or never answered."""


@dataclass(frozen=True)
class Answer:
    """An answer: 0 for none."""

    status: int
    body: Any

    @property
    def code(self) -> str | None:
        """The error's code."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        return error.get("code") if isinstance(error, dict) else None


def _call(method: str, url: str, token: str, body: object | None, wait_s: float) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=wait_s) as response:
            text = response.read()
            return Answer(response.status, json.loads(text) if text else None)
    except urllib.error.HTTPError as error:
        try:
            return Answer(error.code, json.loads(error.read()))
        except ValueError:
            return Answer(error.code, None)
    except (OSError, ValueError):
        return Answer(0, None)


class Rest:
    """One user's calls, over a list of edges: whoever doesn't answer is left for the next one."""

    def __init__(self, edges: list[str], token: str, user: str, recorder: Recorder) -> None:
        self.edges, self._token, self.user, self._recorder = edges, token, user, recorder
        self._edge = 0

    async def once(self, method: str, path: str, body: object | None = None, **fact: Any) -> Answer:  # noqa: ANN401
        """One call of the present edge. `fact` (with its `op`) goes into the history with the answer."""
        sent, edge = now(), self.edges[self._edge % len(self.edges)]
        answer = await asyncio.to_thread(_call, method, f"{edge}/v1{path}", self._token, body, CALL_S)
        if fact:
            code = {"code": answer.code} if answer.code else {}
            self._recorder.add("api", u=self.user, edge=edge, sent=sent, status=answer.status, **code, **fact)
        return answer

    async def call(self, method: str, path: str, body: object | None = None, **fact: Any) -> Any:  # noqa: ANN401
        """A call that is repeated while the answer is a retryable one; the body.

        Raises `RestError` on a refusal for good, or if there was no answer for long.
        """
        give_up, wait_s = now() + TRY_S, 0.2
        while True:
            answer = await self.once(method, path, body, **fact)
            if 200 <= answer.status < 300:
                return answer.body
            if answer.status not in RETRYABLE | {0} or now() > give_up:
                raise RestError(f"{method} {path} as {self.user}: {answer.status} {answer.code}")
            self._edge += 1
            await asyncio.sleep(random.uniform(0, wait_s))
            wait_s = min(2 * wait_s, 3.0)
