"""Parley's processes: started, killed, frozen and drained."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

READY_S = 90.0
DRAIN_S = 30.0
READY_LINE = b"listening on "


class ProcessError(Exception):
    """A process doesn't do what it must."""


#: Ports that were given out: whoever got one may not listen there yet.
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody uses, and that no connection takes while a process is down: below the ephemeral ones."""
    for _ in range(1000):
        port = random.randrange(20_000, 28_000)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise ProcessError("no port is free between 20000 and 28000")


@dataclass
class Process:
    """One process of Parley, that can be started again with the same command."""

    name: str
    command: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    _process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None:
            raise ProcessError(f"{self.name} doesn't run")
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and hasn't ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts it, and waits until it says that it is ready."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command, stdout=asyncio.subprocess.PIPE, stderr=log, env={**os.environ, **self.env},
                start_new_session=True,
            )
        stdout = self._process.stdout
        try:
            line = await asyncio.wait_for(stdout.readline(), READY_S) if stdout else b""
        except TimeoutError:
            line = b""
        if not line.startswith(READY_LINE):
            await self.kill()
            raise ProcessError(f"{self.name} isn't ready after {READY_S:.0f} s, or ended: see {self.log}")

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()

    async def terminate(self) -> int:
        """SIGTERM; the exit code. Raises `ProcessError` if it doesn't end in time."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.terminate()
        try:
            return await asyncio.wait_for(self._process.wait(), DRAIN_S)
        except TimeoutError:
            await self.kill()
            raise ProcessError(f"{self.name} didn't end within {DRAIN_S:.0f} s of SIGTERM") from None
