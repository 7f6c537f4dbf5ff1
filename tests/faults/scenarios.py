"""The faults: what is done to the processes and engines while the load goes on, until everything runs again."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from client import Client
from deployment import Cluster, Deployment
from history import Recorder, now
from load import Load
from log import murmur2
from processes import Process, ProcessError

MOVED_S = 60.0


@dataclass(frozen=True)
class Move:
    """Partitions went from one writer to another."""

    at: float
    writer: str
    partitions: frozenset[int]
    is_planned: bool


@dataclass
class Stage:
    """What a scenario works with, and what it leaves for the measurements."""

    deployment: Deployment
    load: Load
    recorder: Recorder
    number: int
    cassandra_down_s: float
    is_quick: bool
    moves: list[Move] = field(default_factory=list)
    #: What was wrong with the processes themselves.
    faults: list[str] = field(default_factory=list)
    what: str = ""

    @property
    def cluster(self) -> Cluster:
        """The deployment, if it is one of many processes."""
        if not isinstance(self.deployment, Cluster):
            raise ProcessError("this fault needs --mode cluster")
        return self.deployment

    def note(self, what: str) -> None:
        """Says in the history and in the report what was done."""
        self.recorder.add("note", what=what)
        self.what = f"{self.what}; {what}" if self.what else what

    async def rest(self, full_s: float, quick_s: float) -> None:
        """Lets the load go on for a while."""
        await asyncio.sleep(quick_s if self.is_quick else full_s)

    async def busiest_writer(self) -> tuple[Process, frozenset[int]]:
        """A writer that owns partitions of this round's groups, and all that it owns; another one each round."""
        owners = await self.cluster.owners()
        used = {partition_of(group, self.deployment.partitions) for group in self.load.groups}
        names = sorted({owners[partition] for partition in used if partition in owners})
        if not names:
            raise ProcessError(f"no writer is known to own a partition of {sorted(used)}: {owners}")
        name = names[self.number % len(names)]
        partitions = frozenset(partition for partition, owner in owners.items() if owner == name)
        return self.deployment.processes[name], partitions

    async def until_moved(self, move: Move) -> None:
        """Until somebody else owns the partitions and, if anything is sent, sends to them are accepted."""
        used = {partition_of(group, self.deployment.partitions) for group in self.load.groups} & move.partitions
        give_up = now() + MOVED_S
        while now() < give_up:
            owners = await self.cluster.owners()
            answered = {
                entry["position"]["partition"]
                for entry in reversed(self.recorder.entries)
                if entry["t"] > move.at + 0.5 and entry.get("event") == "group_message_accepted"
            }
            is_answered = self.load.is_paused or used <= answered
            if is_answered and all(owners.get(p, move.writer) != move.writer for p in move.partitions):
                return
            await asyncio.sleep(0.2)
        self.faults.append(f"{move.writer}: its partitions hadn't moved after {MOVED_S:.0f} s")


def partition_of(group: str, partitions: int) -> int:
    """Where a group lies."""
    return murmur2(group.encode()) % partitions


async def none(stage: Stage) -> None:
    """No fault: the load alone."""
    await stage.rest(10, 5)


async def server(stage: Stage) -> None:
    """kill -9 of the one process."""
    process = stage.deployment.processes["server"]
    await process.kill()
    stage.note("kill -9 the server")
    await process.start()


async def log_cut(stage: Stage) -> None:
    """kill -9 of the one process, and the end of its log is gone: as if it had acknowledged what wasn't durable."""
    process = stage.deployment.processes["server"]
    await process.kill()
    stage.note("kill -9 the server, the last 4 KB of the log cut off")
    newest = max((stage.deployment.data / "parley" / "log").glob("events-*.log"))
    os.truncate(newest, newest.stat().st_size - 4096)
    await process.start()


async def writer(stage: Stage) -> None:
    """kill -9 a writer; the other one takes over; it comes back."""
    process, partitions = await stage.busiest_writer()
    stage.note(f"kill -9 {process.name} ({len(partitions)} partitions)")
    move = Move(now(), process.name, partitions, is_planned=False)
    await process.kill()
    stage.moves.append(move)
    await stage.until_moved(move)
    await stage.rest(3, 1)
    await process.start()


async def projector(stage: Stage) -> None:
    """kill -9 a projector."""
    await _kill_one(stage, "projector")


async def edge(stage: Stage) -> None:
    """kill -9 an edge."""
    await _kill_one(stage, "edge")


async def _kill_one(stage: Stage, role: str) -> None:
    processes = stage.deployment.of(role)
    process = processes[stage.number % len(processes)]
    stage.note(f"kill -9 {process.name}")
    await process.kill()
    await stage.rest(8, 4)
    await process.start()


async def broker(stage: Stage) -> None:
    """kill -9 one broker of three."""
    node, engines = stage.number % 3 + 1, stage.cluster.engines
    stage.note(f"kill -9 broker {node}")
    await engines.act("kill", "kafka", node)
    await stage.rest(12, 8)
    await engines.act("start", "kafka", node)


async def cassandra(stage: Stage) -> None:
    """Cassandra is away for a while."""
    engines = stage.cluster.engines
    stage.note(f"Cassandra stopped for {stage.cassandra_down_s:.0f} s")
    await engines.act("stop", "cassandra")
    await asyncio.sleep(stage.cassandra_down_s)
    await engines.act("start", "cassandra")


async def sigstop(stage: Stage) -> None:
    """A writer is frozen until its partitions have moved, and then goes on, while clients send through both edges."""
    process, partitions = await stage.busiest_writer()
    stage.note(f"SIGSTOP {process.name} ({len(partitions)} partitions), SIGCONT once they had moved")
    move = Move(now(), process.name, partitions, is_planned=False)
    process.signal(signal.SIGSTOP)
    try:
        stage.moves.append(move)
        await stage.until_moved(move)
    finally:
        process.signal(signal.SIGCONT)
    await stage.rest(5, 3)


async def rolling(stage: Stage) -> None:
    """All processes are restarted by SIGTERM, one after the other."""
    stage.note("SIGTERM and restart of each process")
    for process in stage.deployment.processes.values():
        owners = await stage.deployment.owners()
        partitions = frozenset(partition for partition, owner in owners.items() if owner == process.name)
        begun = now()
        if partitions:
            stage.moves.append(Move(begun, process.name, partitions, is_planned=True))
        code = await process.terminate()
        if code != 0 or now() - begun > 10:
            stage.faults.append(f"{process.name} ended with {code} after {now() - begun:.1f} s of SIGTERM")
        edge = stage.deployment.edge_of(process.name)
        if edge is not None:
            stage.recorder.add("stopped", edge=edge, begun=begun)
        await stage.rest(2, 1)
        await process.start()
        if not await stage.deployment.until_ready(process.name):
            stage.faults.append(f"{process.name} isn't ready after its restart")
        # A writer that comes back gets partitions back: that is over before the next one goes.
        await stage.rest(6, 4)


async def rebuild(stage: Stage) -> None:
    """The read models are built anew beside the live ones, compared, switched, and switched back; reads go on."""
    stage.note("parley rebuild, then --back")
    reading = asyncio.ensure_future(_read_on(stage))
    try:
        for back in ([], ["--back"]):
            code, said = await stage.deployment.rebuild(*back)
            is_equal = bool(back) or json.loads(said).get("equal") is True if code == 0 else False
            if not is_equal:
                stage.faults.append(f"parley rebuild {' '.join(back)} ended with {code}: {said[:500]}")
            await stage.rest(4, 2)
    finally:
        reading.cancel()
        reads = await asyncio.gather(reading, return_exceptions=True)
    if isinstance(reads[0], Exception):
        raise reads[0]


async def _read_on(stage: Stage) -> None:
    """Reads lists, histories and statuses until it is cancelled; not one may fail."""
    for number in itertools.count():
        group, members = random.choice(list(stage.load.groups.items()))
        rest = stage.load.rest(members[0], number)
        history = await rest.once("GET", f"/groups/{group}/messages?limit=20")
        answers = [history, await rest.once("GET", "/groups?limit=20")]
        if history.status == 200 and history.body["messages"]:
            message = history.body["messages"][-1]["message_id"]
            answers.append(await rest.once("GET", f"/groups/{group}/messages/{message}/status"))
        failed = [f"{answer.status} {answer.code}" for answer in answers if answer.status != 200]
        stage.faults += [f"a read failed during the rebuild: {what}" for what in failed]
        await asyncio.sleep(0.02)


async def brokers_frozen(stage: Stage) -> None:
    """All brokers stand still with sends in flight, then the writers die: what wasn't durable is gone."""
    engines = stage.cluster.engines
    stage.note("SIGSTOP all brokers, kill -9 all writers, SIGCONT")
    for node in (1, 2, 3):
        engines.signal("kafka", node, signal.SIGSTOP)
    try:
        # Several bursts: only so many requests fit into sockets, the rest waits in the writer.
        for _ in range(30):
            for group in stage.load.groups:
                client = next(iter(stage.load.senders(group)))
                send = stage.load.send(group, client)
                if client.is_up:
                    client.repeat(send)
            await asyncio.sleep(0.1)
        for process in stage.deployment.of("writer"):
            await process.kill()
    finally:
        for node in (1, 2, 3):
            engines.signal("kafka", node, signal.SIGCONT)
    await asyncio.sleep(2)
    for process in stage.deployment.of("writer"):
        await process.start()


@dataclass
class _Frozen:
    """A writer that stands still, and what those wish of it who believe in it."""

    process: Process
    groups: list[str]
    newcomer: Client
    member: Client


async def _freeze_and_move(stage: Stage, *with_it: str) -> _Frozen:
    """Freezes a writer, and what is named, until the partitions have moved; and adds somebody whom it can't know.

    Two clients at edge-2 send to it then: somebody new, added through the new owner, whom the frozen writer must not
    refuse, and an old member, whose sends it must not accept. Nothing else is sent meanwhile: from other sends the
    writer would learn what happened before it comes to these.
    """
    process, partitions = await stage.busiest_writer()
    load, edges = stage.load, stage.load.edges
    groups = [g for g in load.groups if partition_of(g, stage.deployment.partitions) in partitions]
    newcomer = load.client(f"{load.name}-newcomer", f"{load.name}-newcomer", "own", 1)
    member = load.client(f"{load.name}-patient", load.users[0], "own", 1)
    for client in (newcomer, member):
        client.is_patient = True
        client.start()
    load.extra += [newcomer, member]
    await asyncio.sleep(2)
    load.is_paused = True
    await asyncio.sleep(1)
    stage.note(f"SIGSTOP {' and '.join([process.name, *with_it])}, SIGCONT once the partitions had moved")
    move = Move(now(), process.name, partitions, is_planned=False)
    for frozen in (*(stage.deployment.processes[name] for name in with_it), process):
        frozen.signal(signal.SIGSTOP)
    stage.moves.append(move)
    await stage.until_moved(move)
    for group in groups:
        owner = load.rest(load.groups[group][0], 0)
        owner.edges = [edges[0]]
        users = {"user_ids": [newcomer.plan.user]}
        await owner.call(
            "POST", f"/groups/{group}/members", users, op="add_members", group=group, users=[newcomer.plan.user]
        )
    return _Frozen(process, groups, newcomer, member)


async def _ask_the_frozen(stage: Stage, frozen: _Frozen, is_member_too: bool) -> None:
    for group in frozen.groups:
        frozen.newcomer.send_once(group, f"new-{group}", stage.load.text())
        if is_member_too and stage.load.users[0] in stage.load.groups[group]:
            frozen.member.send_once(group, f"old-{group}", stage.load.text())
    await asyncio.sleep(0.5)


async def _thaw(stage: Stage, *names: str) -> None:
    for name in names:
        stage.deployment.processes[name].signal(signal.SIGCONT)
        await asyncio.sleep(0.02)


async def frozen_pair(stage: Stage) -> None:
    """A writer and an edge that believes in it are frozen until the partitions have moved, and wake up together.

    Then the edge finds the clients' frames in its sockets, and the writer what the edge makes of them.
    """
    writers = [process.name for process in stage.deployment.of("writer")]
    try:
        frozen = await _freeze_and_move(stage, "edge-2")
        await _ask_the_frozen(stage, frozen, is_member_too=True)
    finally:
        await _thaw(stage, "edge-2", *writers)
    await asyncio.sleep(3)
    stage.load.is_paused = False
    await asyncio.sleep(3)


async def late_edge(stage: Stage) -> None:
    """A writer is frozen until its partitions have moved; an edge hears of that late, and asks it when it wakes up.

    For binaries with planted faults, of which edge-2 is told to hear of everything late.
    """
    writers = [process.name for process in stage.deployment.of("writer")]
    try:
        frozen = await _freeze_and_move(stage)
        # Of a send that it takes for good, the frozen writer would learn that its place in the log is another's.
        await _ask_the_frozen(stage, frozen, is_member_too=False)
    finally:
        await _thaw(stage, *writers)
    # Until the edge has heard of it, and of what it heard since.
    await asyncio.sleep(30)
    stage.load.is_paused = False
    await asyncio.sleep(10)


Scenario = Callable[[Stage], Awaitable[None]]

#: Those of `--only`, in the order in which they run.
SCENARIOS: dict[str, Scenario] = {
    "server": server,
    "writer": writer,
    "projector": projector,
    "edge": edge,
    "broker": broker,
    "cassandra": cassandra,
    "sigstop": sigstop,
    "rolling": rolling,
    "rebuild": rebuild,
    "brokers-frozen": brokers_frozen,
    "frozen-pair": frozen_pair,
    "late-edge": late_edge,
    "log-cut": log_cut,
    "none": none,
}
#: Those that each mode runs by itself. The rebuild comes first: it reads and compares all that earlier rounds left.
OF_MODE = {
    "embedded": ["server", "rolling"],
    "cluster": ["rebuild", "writer", "projector", "edge", "broker", "cassandra", "sigstop", "rolling"],
}
