"""How Parley runs under test: one process on embedded engines, or six on real ones."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import tokens
from engines import Engines
from log import EVENTS, LogRecord, from_cat
from processes import Process, ProcessError, free_port

#: Sections of the configuration that the report shows.
SHOWN = ("cluster", "kafka", "writer")
CLUSTER = ("writer-1", "writer-2", "projector-1", "projector-2", "edge-1", "edge-2")

#: What is set for some processes beside all else: role or name -> variable -> value.
Environments = Mapping[str, Mapping[str, str]]


class Deployment(ABC):
    """What the rounds need of it."""

    partitions: int

    def __init__(self, binary: Path, data: Path) -> None:
        self.binary, self.data = binary, data
        self.secret = secrets.token_hex(32)
        self.processes: dict[str, Process] = {}
        self.edges: list[str] = []
        data.mkdir(parents=True, exist_ok=True)

    def token(self, user: str) -> str:
        """A user's token."""
        return tokens.token(self.secret, user)

    def of(self, role: str) -> list[Process]:
        """The processes of a role."""
        return [process for name, process in self.processes.items() if name.split("-")[0] == role]

    async def start(self) -> None:
        """Starts all that doesn't run."""
        for process in self.processes.values():
            if not process.runs:
                await process.start()

    async def stop(self) -> None:
        """Ends everything, whatever its state."""
        for process in self.processes.values():
            await process.kill()

    @abstractmethod
    async def read_log(self) -> list[LogRecord]:
        """All of the log, by a reader that isn't Parley's writer."""

    async def owners(self) -> dict[int, str]:
        """Partition -> name of the process that owns it."""
        return {}

    def edge_of(self, name: str) -> str | None:
        """The URL at which a process serves clients, if it does."""
        return self.edges[0] if name == "server" else None

    async def until_ready(self, name: str) -> bool:
        """Waits until a process says that it is ready; `False` if it doesn't."""
        return True

    async def counts(self) -> dict[str, int] | None:
        """Messages a group as tests/analytics counts them; `None` where it can't."""
        return None

    async def settings(self) -> dict[str, str]:
        """What decides the figures, for the report."""
        return {}

    @property
    @abstractmethod
    def flags(self) -> list[str]:
        """Flags by which a command finds this deployment."""

    async def rebuild(self, *more: str) -> tuple[int, str]:
        """`parley rebuild`: its exit code, and what it printed."""
        env = {**os.environ, **next(iter(self.processes.values())).env}
        process = await asyncio.create_subprocess_exec(
            str(self.binary), "rebuild", "--json", *more, *self.flags, env=env,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        return process.returncode or 0, (out or error).decode().strip()


class Embedded(Deployment):
    """One `parley serve`."""

    def __init__(self, binary: Path, data: Path, settings: list[str], env: Environments) -> None:
        super().__init__(binary, data)
        self.partitions = 64
        port = free_port()
        self.edges = [f"http://127.0.0.1:{port}"]
        sets = ["limits.sends_per_second=0", *settings]
        command = [str(binary), "serve", "--data", str(data / "parley"), "--listen", f"127.0.0.1:{port}"]
        command += [word for setting in sets for word in ("--set", setting)]
        own = {**env.get("server", {}), "PARLEY_AUTH__HS256_SECRET": self.secret}
        self.processes["server"] = Process("server", command, data / "server.log", own)

    @property
    def flags(self) -> list[str]:
        return ["--data", str(self.data / "parley")]

    async def read_log(self) -> list[LogRecord]:
        server = self.processes["server"]
        await server.terminate()
        process = await asyncio.create_subprocess_exec(
            str(self.binary), "log", "cat", "--json", "--data", str(self.data / "parley"),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        if process.returncode != 0:
            raise ProcessError(f"parley log cat ended with {process.returncode}")
        return await asyncio.to_thread(from_cat, out.decode().splitlines())


class Cluster(Deployment):
    """Two writers, two projectors and two edges."""

    def __init__(
        self, binary: Path, data: Path, engines: Engines, settings: list[str], env: Environments, partitions: int
    ) -> None:
        super().__init__(binary, data)
        self.partitions, self.engines = partitions, engines
        self.prefix = f"faults{secrets.token_hex(4)}"
        self._admin: dict[str, int] = {}
        self._sets = [word for setting in settings for word in ("--set", setting)]
        config = data / "parley.toml"
        config.write_text(self._config(), encoding="utf-8")
        aws = {name: value for name, value in engines.urls.items() if name.startswith("AWS_")}
        for name in CLUSTER:
            role, rpc, admin = name.split("-")[0], free_port(), free_port()
            self._admin[name] = admin
            command = [str(binary), role, "--config", str(config), "--data", str(data / name)]
            if role == "edge":
                listen = f"127.0.0.1:{free_port()}"
                self.edges.append(f"http://{listen}")
                command += ["--listen", listen]
            own = [f"rpc.listen=127.0.0.1:{rpc}", f"http.admin_listen=127.0.0.1:{admin}", *settings]
            command += [word for setting in own for word in ("--set", setting)]
            planted = {**env.get(role, {}), **env.get(name, {})}
            self.processes[name] = Process(name, command, data / f"{name}.log", {**aws, **planted})

    @property
    def flags(self) -> list[str]:
        return ["--config", str(self.data / "parley.toml"), "--data", str(self.data / "rebuild"), *self._sets]

    def _config(self) -> str:
        ring = self.data / "ring.json"
        key = base64.b64encode(os.urandom(32)).decode()
        ring.write_text(json.dumps({"active": "k1", "keys": {"k1": key}}), encoding="utf-8")
        ring.chmod(0o600)
        urls = self.engines.urls
        return (
            f'log = "{urls["log"]}/{self.prefix}"\nreads = "{urls["reads"]}/{self.prefix}"\n'
            f'media = "{urls["media"]}"\npartitions = {self.partitions}\n'
            f'[auth]\nhs256_secret = "{self.secret}"\n[keys]\nring = "{ring}"\n[limits]\nsends_per_second = 0\n'
            "[cassandra]\nreplication = 1\n[cluster]\nsession_timeout_ms = 3000\n"
        )

    async def settings(self) -> dict[str, str]:
        """Those that decide how fast things move, as the binary understands them."""
        process = await asyncio.create_subprocess_exec(
            str(self.binary), "config", "--config", str(self.data / "parley.toml"), *self._sets,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        shown, section = {}, ""
        for line in out.decode().splitlines():
            name, is_setting, value = line.partition(" = ")
            if line.startswith("["):
                section = line.strip("[]")
            elif is_setting and section in SHOWN:
                shown[f"{section}.{name}"] = value.partition("  #")[0]
        return shown

    async def read_log(self) -> list[LogRecord]:
        from kafka_log import read_kafka

        return await asyncio.to_thread(read_kafka, self.engines.brokers, self.prefix)

    def edge_of(self, name: str) -> str | None:
        return self.edges[int(name.removeprefix("edge-")) - 1] if name.startswith("edge-") else None

    def operators(self, name: str) -> str:
        """Where operators ask a process."""
        return f"http://127.0.0.1:{self._admin[name]}"

    async def until_ready(self, name: str) -> bool:
        for _ in range(60):
            try:
                await asyncio.to_thread(_get, f"{self.operators(name)}/readyz")
            except (OSError, ValueError):
                await asyncio.sleep(0.5)
                continue
            return True
        return False

    async def counts(self) -> dict[str, int] | None:
        from messages_an_hour import count
        from topic import read_topic

        topic = f"{self.prefix}.{EVENTS}"
        return dict((await asyncio.to_thread(lambda: count(read_topic(self.engines.brokers, topic)))).totals())

    async def owners(self) -> dict[int, str]:
        """As the roles publish it. An instance's name holds its process id or its rpc address."""
        names: dict[int, str] = {}
        for role, admin in self._admin.items():
            if not self.processes[role].runs:
                continue
            try:
                shown = await asyncio.to_thread(_get, f"http://127.0.0.1:{admin}/owners")
            except (OSError, ValueError):
                continue
            for partition, instance in shown.get("partitions", {}).items():
                owner = self._named(instance)
                if owner is not None:
                    names[int(partition)] = owner
            if len(names) == self.partitions:
                break
        return names

    def _named(self, instance: str) -> str | None:
        for process in self.of("writer"):
            rpc = next(word for word in process.command if word.startswith("rpc.listen=")).rpartition(":")[2]
            words = instance.replace(":", "-").split("-")
            if instance == process.name or str(process.pid) in words or rpc in words:
                return process.name
        return None


def _get(url: str) -> dict[str, dict[str, str]]:
    with urllib.request.urlopen(url, timeout=2) as answer:
        shown: dict[str, dict[str, str]] = json.loads(answer.read())
        return shown
