"""A `parley serve` of its own for each measurement, what it costs, and clients that know nothing but the contract."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import websockets
from websockets.asyncio.client import ClientConnection

from tokens import token, uuid7

READY = "listening on "
START_S = 60.0
#: Members that one call may add.
ADD_MAX = 1_000
#: Calls on their way at once.
CALLS_AT_ONCE = 16
#: What a server that has nothing to do may use of a core, and how long to wait for that.
IDLE_SHARE, IDLE_WAIT_S = 0.02, 300.0


class BenchError(Exception):
    """A measurement can't be made, or what was seen is wrong."""


def cpu_s(pid: int) -> float:
    """User and system time that a process has used, in seconds: by its own clock, to the nanosecond.

    The number of another process's clock is made of its id as `clock_getcpuclockid(3)` does it on Linux; `/proc` tells no more
    than hundredths of a second.
    """
    return time.clock_gettime((~pid << 3) | 2)


class Server:
    """A running server on a fresh directory."""

    def __init__(self, binary: Path, *settings: str, under: tuple[str, ...] = ()) -> None:
        """`under`: a command that runs the server's, such as a profiler's."""
        self.secret = secrets.token_hex(32)
        self._dir = tempfile.TemporaryDirectory(prefix="parley-bench-")
        self.data = Path(self._dir.name) / "data"
        command = [*under, str(binary), "serve", "--data", str(self.data), "--listen", "127.0.0.1:0"]
        for setting in ("limits.sends_per_second=0", *settings):
            command += ["--set", setting]
        env = {**os.environ, "PARLEY_AUTH__HS256_SECRET": self.secret}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True)
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line.startswith(READY):
            raise BenchError(f"{binary} didn't start: {line!r}")
        self.url = line.removeprefix(READY).strip()
        self._local = threading.local()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._dir.cleanup()

    def cpu_s(self) -> float:
        """What the process has used."""
        return cpu_s(self.process.pid)

    async def settle(self) -> None:
        """Waits until it has nothing to do: what was made before is flushed and compacted."""
        deadline = time.monotonic() + IDLE_WAIT_S
        used = self.cpu_s()
        while time.monotonic() < deadline:
            await asyncio.sleep(1)
            before, used = used, self.cpu_s()
            if used - before < IDLE_SHARE:
                return
        raise BenchError("the server doesn't come to rest")

    def resident_mib(self) -> float:
        """Resident memory in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise BenchError("the server is gone")

    def call(self, user: str, method: str, path: str, body: object | None = None) -> Any:  # noqa: ANN401
        """REST as a user, over a connection that the calling thread keeps."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
            self._local.connection = connection
        headers = {"Authorization": f"Bearer {token(self.secret, user)}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)

        def ask() -> http.client.HTTPResponse:
            connection.request(method, f"/v1{path}", body=data, headers=headers)
            return connection.getresponse()

        try:
            answer = ask()
        except http.client.RemoteDisconnected:
            # The server closes a connection that was idle for long: `connection` opens a new one, once.
            answer = ask()
        text = answer.read()
        if answer.status >= 300:
            raise BenchError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else None

    def group(self, owner: str, members: list[str]) -> str:
        """A group, however many members."""
        made = self.call(owner, "POST", "/groups", {"name": "g", "members": members[:ADD_MAX]})
        group: str = made["group_id"]
        for at in range(ADD_MAX, len(members), ADD_MAX):
            self.call(owner, "POST", f"/groups/{group}/members", {"user_ids": members[at : at + ADD_MAX]})
        return group

    async def connect(self, user: str, query: str = "") -> ClientConnection:
        """A socket that has read its welcome."""
        headers = {"Authorization": f"Bearer {token(self.secret, user)}"}
        url = f"{self.url.replace('http', 'ws', 1)}/v1/ws{query}"
        socket = await websockets.connect(url, additional_headers=headers, max_size=None, compression=None)
        await socket.recv()
        return socket


def at_once(calls: Iterable[Callable[[], object]]) -> None:
    """Makes calls, some at a time."""
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        for outcome in [pool.submit(call) for call in calls]:
            outcome.result()


def send_frame(group: str, text: str) -> str:
    """A `send_group_message`."""
    data = {"group_id": group, "client_message_id": uuid7(), "type": "text", "text": text}
    return json.dumps({"event": "send_group_message", "id": "s", "data": data})


async def send_many(socket: ClientConnection, groups: list[str], count: int, in_flight: int) -> None:
    """Sends so many messages, over some groups in turn, and waits until each is accepted."""
    free, accepted = asyncio.Semaphore(in_flight), 0

    async def read() -> None:
        nonlocal accepted
        while accepted < count:
            frame = json.loads(await socket.recv())
            if frame["event"] == "group_message_accepted":
                accepted += 1
                free.release()
            elif frame["event"] == "error":
                raise BenchError(f"refused: {frame}")

    reading = asyncio.ensure_future(read())
    text = "x" * 200
    for number in range(count):
        await free.acquire()
        if reading.done():
            break
        await socket.send(send_frame(groups[number % len(groups)], text))
    await reading
