"""The real engines, by `scripts/engines`: three brokers, one Cassandra, one S3 server."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "engines"
UP_S = 300.0
#: Beside the engines that people or other tests run at the default ports.
PORTS = {
    "ENGINES_KAFKA_PORT": "29092",
    "ENGINES_CASSANDRA_PORT": "29042",
    "ENGINES_CASSANDRA_STORAGE_PORT": "29000",
    "ENGINES_S3_PORT": "29070",
    # A busy machine is no fault.
    "ENGINES_LIMIT_S": "240",
    # What fails over here is Parley, not cold brokers whose better compiler takes most of two cores for minutes.
    "ENGINES_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1",
}


class EnginesError(Exception):
    """An engine doesn't start or stop."""


class Engines:
    """Kafka with three nodes in one directory; Cassandra and S3 with one each in another."""

    def __init__(self, data: Path) -> None:
        self._brokers, self._stores = data / "brokers", data / "stores"
        self.urls: dict[str, str] = {}

    def _of(self, engine: str) -> Path:
        return self._brokers if engine == "kafka" else self._stores

    async def up(self) -> None:
        """Starts what doesn't run yet."""
        self.urls = {}
        for data, nodes, only in ((self._brokers, "3", "kafka"), (self._stores, "1", "cassandra,s3")):
            said = await _run("up", "--nodes", nodes, "--only", only, "--data", str(data))
            for line in said.splitlines():
                name, is_url, value = line.partition("=")
                if is_url:
                    self.urls[name.strip()] = value.strip().strip("'\"")
        for name in ("log", "reads", "media"):
            if name not in self.urls:
                raise EnginesError(f"scripts/engines up gave no URL for {name}")

    @property
    def brokers(self) -> str:
        """host:port,host:port,..."""
        return self.urls["log"].removeprefix("kafka://")

    async def down(self) -> None:
        """Stops all."""
        for data, only in ((self._brokers, "kafka"), (self._stores, "cassandra,s3")):
            if data.exists():
                await _run("down", "--only", only, "--data", str(data))

    async def act(self, what: str, engine: str, node: int = 1) -> None:
        """`start`, `stop` or `kill` of one node."""
        await _run(what, engine, str(node), "--data", str(self._of(engine)))

    def signal(self, engine: str, node: int, number: signal.Signals) -> None:
        """A signal that the script doesn't send (SIGSTOP and SIGCONT)."""
        pid = (self._of(engine) / f"{engine}-{node}" / "pid").read_text(encoding="ascii")
        os.kill(int(pid), number)


async def _run(*args: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(SCRIPT), *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**PORTS, **os.environ}
    )
    out, err = await asyncio.wait_for(process.communicate(), UP_S)
    if process.returncode != 0:
        raise EnginesError(f"scripts/engines {' '.join(args)}: {err.decode(errors='replace')[-2000:]}")
    return out.decode()
