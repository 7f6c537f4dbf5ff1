"""What a send costs as groups, members and history grow: CPU of the server a message, in microseconds."""

from __future__ import annotations

import asyncio
import statistics
import time
from functools import partial
from pathlib import Path

from websockets.asyncio.client import ClientConnection

from fill import fill
from plot import Line, lines
from server import BenchError, Server, at_once, send_many

#: Messages that are measured, after some that aren't, and how often.
MEASURED, WARM, ROUNDS = 2_000, 500, 3
IN_FLIGHT = 16
#: A group with many members online needs fewer, as each is delivered to all of them.
DELIVERIES = 100_000
#: Groups that one user makes here; the limit is 2,000.
GROUPS_A_USER = 100
#: How long readers may take for what they have yet to get.
WAIT_S = 120.0

Point = tuple[float, float]


class _Readers:
    """Members who read all that they get. They share this machine and are slow: what they have yet to get is waited for."""

    def __init__(self, sockets: list[ClientConnection]) -> None:
        self._reading = [asyncio.ensure_future(self._read(socket)) for socket in sockets]
        self._got, self._wanted = 0, 0

    async def _read(self, socket: ClientConnection) -> None:
        async for text in socket:
            self._got += '"event":"group_message"' in text[:40]

    async def have(self, more: int) -> None:
        """Waits until each of them got so many more messages."""
        self._wanted += more * len(self._reading)
        deadline = time.monotonic() + WAIT_S
        while self._got < self._wanted:
            if time.monotonic() > deadline:
                raise BenchError(f"{self._got} deliveries instead of {self._wanted}")
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        """They read no more."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)


async def _cost(server: Server, sender: str, groups: list[str], count: int, readers: _Readers | None = None) -> float:
    """CPU a message in microseconds: the median of some rounds."""
    readers = readers or _Readers([])
    socket = await server.connect(sender, "?replay=none")
    warm = min(WARM, count)
    await send_many(socket, groups, warm, IN_FLIGHT)
    await readers.have(warm)
    await server.settle()
    costs = []
    for _ in range(ROUNDS):
        before = server.cpu_s()
        await send_many(socket, groups, count, IN_FLIGHT)
        await readers.have(count)
        await asyncio.sleep(0.5)  # the read models catch up: that is part of it
        costs.append((server.cpu_s() - before) / count * 1e6)
    await socket.close()
    return statistics.median(costs)


async def _members(binary: Path, most: int) -> tuple[list[Point], list[Point]]:
    """Against members: with nobody else online, and with 1 % of them."""
    alone: list[Point] = []
    some: list[Point] = []
    for count in (10**power for power in range(1, 7)):
        if count > most:
            break
        with Server(binary) as server:
            users = [f"u{number}" for number in range(1, count)]
            group = server.group("ann", users)
            alone.append((count, await _cost(server, "ann", [group], MEASURED)))
            online = max(1, count // 100)
            sockets = [await server.connect(user, "?replay=none") for user in users[:online]]
            subscribe = f'{{"event":"subscribe_to_group","id":"1","data":{{"group_id":"{group}"}}}}'
            for socket in sockets:
                await socket.send(subscribe)
            readers = _Readers(sockets)
            await asyncio.sleep(1)
            sends = max(100, min(MEASURED, DELIVERIES // online))
            some.append((count, await _cost(server, "ann", [group], sends, readers)))
            await readers.end()
        print(f"members {count}: {alone[-1][1]:.0f} us a message, {some[-1][1]:.0f} with {online} online", flush=True)
    return alone, some


async def _groups(binary: Path, most: int) -> list[Point]:
    """Against groups that exist, sending to ten of them."""
    points: list[Point] = []
    with Server(binary) as server:
        used = [server.group("ann", ["bob"]) for _ in range(10)]
        there = len(used)
        for count in (10**power for power in range(1, 7)):
            if count > most:
                break
            begun = time.monotonic()
            more = range(there, count)
            users = ((f"c{number // GROUPS_A_USER}", f"d{number // GROUPS_A_USER}") for number in more)
            at_once(partial(server.group, creator, [member]) for creator, member in users)
            there = count
            cost = await _cost(server, "ann", used, MEASURED)
            points.append((count, cost))
            print(
                f"groups {count}: {cost:.0f} us a message, {server.resident_mib():.0f} MiB "
                f"(made in {time.monotonic() - begun:.0f} s)",
                flush=True,
            )
    return points


async def _history(binary: Path, most: int) -> tuple[list[Point], list[Point]]:
    """Against messages that a group has: of a send, and of a page of history from its middle, in milliseconds."""
    sends: list[Point] = []
    pages: list[Point] = []
    with Server(binary) as server:
        group, there = server.group("ann", ["bob"]), 0
        for count in (10**power for power in range(3, 8)):
            if count > most:
                break
            await asyncio.to_thread(fill, server, "ann", group, count - there, "x" * 200)
            cost = await _cost(server, "ann", [group], MEASURED)
            there = count + WARM + ROUNDS * MEASURED
            sends.append((count, cost))
            waits = []
            for _ in range(50):
                begun = time.monotonic()
                page = server.call("bob", "GET", f"/groups/{group}/messages?limit=50&before_seq={count // 2}")
                waits.append(time.monotonic() - begun)
                if len(page["messages"]) != 50:
                    raise BenchError("a page isn't full")
            pages.append((count, statistics.median(waits) * 1e3))
            print(f"history {count}: {cost:.0f} us a message, a page {pages[-1][1]:.2f} ms", flush=True)
    return sends, pages


async def grow(binary: Path, into: Path, members: int, groups: int, history: int) -> None:
    """Measures all of it, and writes the plots of a part once that has been measured; none of one that goes up to 0."""

    def plot(name: str, title: str, x: str, y: str, curves: list[Line]) -> None:
        if all(line.points for line in curves):
            (into / name).write_text(lines(title, x, y, curves), encoding="utf-8")

    unit = "CPU a message, microseconds"
    alone, some = await _members(binary, members)
    curves = [Line("nobody online", alone), Line("1 % online", some)]
    plot("members.svg", "A send, by members of the group", "members", unit, curves)
    by_groups = await _groups(binary, groups)
    plot("groups.svg", "A send, by groups that there are", "groups", unit, [Line("a send", by_groups)])
    sends, pages = await _history(binary, history)
    plot("history.svg", "A send, by messages in the group", "messages", unit, [Line("a send", sends)])
    plot("pages.svg", "A page of 50 from the middle", "messages", "milliseconds", [Line("median", pages)])
    print("\n| | " + " | ".join(f"{10**power:,}" for power in range(1, 8)) + " |")
    print("| --- |" + " --- |" * 7)
    for name, points in (
        ("members, nobody online, us", alone),
        ("members, 1 % online, us", some),
        ("groups, us", by_groups),
        ("messages in the group, us", sends),
        ("a page from the middle, ms", pages),
    ):
        by_x = dict(points)
        cells = [f"{by_x[10.0**power]:.3g}" if 10**power in by_x else "" for power in range(1, 8)]
        print(f"| {name} | " + " | ".join(cells) + " |")
