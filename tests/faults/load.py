"""A steady load of sends, with repeats, new groups, comings and goings; then quiet, until everybody has everything."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from client import Client, Plan
from history import Recorder, now
from outbox import Send
from rest import Rest, RestError
from tokens import uuid7
from views import GroupView, view_group

#: Everything that was sent must be answered, and everybody be at the head, so long after the load has ended. It is
#: longer than what the checker allows, so that whoever is stuck is seen to be.
SETTLE_S = 75.0
#: A load is steady once no send has waited longer than `SOON_S` for `STEADY_S`.
SOON_S, STEADY_S = 0.5, 2.0
WORDS = ("tea", "rain", "harbour", "late", "yes", "no", "shall we", "the log", "naïve", "snow", "☕", "train", "seven")


class LoadError(Exception):
    """There is no load."""


@dataclass(frozen=True)
class LoadOptions:
    """How much, of what."""

    groups: int = 12
    users: int = 8
    members: int = 5
    #: Users with a second client on another edge.
    twins: int = 3
    late: int = 2
    sends_per_second: float = 40.0
    #: Of all sends, how many are repeated on purpose.
    repeated: float = 0.08
    new_group_every_s: float = 4.0
    coming_and_going_every_s: float = 3.0


@dataclass
class Load:
    """One round's clients, groups and sends; `name` keeps rounds apart."""

    name: str
    edges: list[str]
    token_of: Callable[[str], str]
    recorder: Recorder
    options: LoadOptions = field(default_factory=LoadOptions)
    #: group -> members who can send, the creator first
    groups: dict[str, list[str]] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list)
    #: Clients of a scenario, which need not come to the head.
    extra: list[Client] = field(default_factory=list)
    accepted: int = 0
    #: Nothing new is sent meanwhile.
    is_paused: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _random: random.Random = field(default_factory=random.Random)

    @property
    def late(self) -> list[str]:
        """Members of every group who aren't online before the end; the first one also looks at everything by REST."""
        return [f"{self.name}-late{n}" for n in range(self.options.late)]

    @property
    def users(self) -> list[str]:
        """Those who are online and send."""
        return [f"{self.name}-u{n}" for n in range(self.options.users)]

    @property
    def visitor(self) -> str:
        """Who is added to a group and removed again."""
        return f"{self.name}-visitor"

    def rest(self, user: str, edge: int = 0) -> Rest:
        """A user's REST, beginning at an edge."""
        turned = self.edges[edge % len(self.edges) :] + self.edges[: edge % len(self.edges)]
        return Rest(turned, self.token_of(user), user, self.recorder)

    def client(self, name: str, user: str, mode: str, edge: int, acknowledges: str = "read") -> Client:
        """A client that isn't started yet."""
        return Client(Plan(name, user, self.token_of(user), mode, acknowledges), self.edges, self.recorder, edge)

    async def setup(self) -> None:
        """Groups, and clients that are online."""
        await asyncio.gather(*(self.create(n) for n in range(self.options.groups)))
        for n, user in enumerate(self.users):
            # Two clients of one user store for themselves: `delivered_seq` is the member's.
            mode = "own" if n < self.options.twins or n % 2 else "auto"
            acknowledges = "delivered" if n % 3 == 2 else "read"
            self.clients.append(self.client(user, user, mode, n, acknowledges))
            if n < self.options.twins:
                self.clients.append(self.client(f"{user}+", user, "own", n + 1, acknowledges))
        self.clients.append(self.client(self.visitor, self.visitor, "own", 1))
        for client in self.clients:
            client.start()
        if not await self._until(lambda: all(client.is_up for client in self.clients)):
            raise LoadError("the clients can't connect, though nothing has been broken yet")

    async def create(self, n: int) -> str:
        """A new group, acknowledged by REST."""
        count = min(self.options.members, len(self.users))
        members = [self.users[(n + at) % len(self.users)] for at in range(count)]
        group, everybody = uuid7(), members[1:] + self.late
        body = {"name": f"{self.name} {n}", "members": everybody, "group_id": group}
        rest = self.rest(members[0], n)
        await rest.call("POST", "/groups", body, op="create_group", group=group, members=[members[0], *everybody])
        self.groups[group] = members
        return group

    def start(self) -> None:
        """Begins to send."""
        for work in (self._send_steadily, self._make_groups, self._come_and_go):
            self._start(work())

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Ends sending, and waits until every send is answered (or clearly won't be)."""
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._until(lambda: all(not client.outbox.pending for client in self.clients))

    async def steady(self, within_s: float) -> bool:
        """Waits until sends are answered soon, for a while; `False` if that doesn't come within so long.

        Engines that have just started are slow at first, and what stands open then would count as the fault's.
        """
        began = calm = now()
        while now() - calm < STEADY_S:
            if now() - began > within_s:
                return False
            if any(client.outbox.longest_s() > SOON_S for client in self.clients):
                calm = now()
            await asyncio.sleep(0.05)
        return True

    async def _while_paused(self) -> None:
        while self.is_paused:
            await asyncio.sleep(0.05)

    def text(self) -> str:
        """Some text that nobody else writes."""
        words = self._random.choices(WORDS, k=self._random.randint(1, 30))
        return f"{' '.join(words)} {self._random.getrandbits(48):x}"

    def senders(self, group: str) -> list[Client]:
        """Clients of the members of a group."""
        return [client for client in self.clients if client.plan.user in self.groups[group]]

    def send(self, group: str, client: Client | None = None) -> Send:
        """One message by some member."""
        client = client or self._random.choice(self.senders(group))
        send = client.send(group, str(uuid.uuid4()), self.text())
        send.done.add_done_callback(self._count)
        return send

    def _count(self, done: asyncio.Future[dict[str, object]]) -> None:
        if not done.cancelled() and done.result()["event"] == "group_message_accepted":
            self.accepted += 1

    async def _send_steadily(self) -> None:
        due = now()
        while True:
            await self._while_paused()
            group = self._random.choice(list(self.groups))
            client = self._random.choice(self.senders(group))
            send = self.send(group, client)
            if self._random.random() < self.options.repeated:
                self._start(self._repeat(client, send))
            due = max(due + 1 / self.options.sends_per_second, now() - 1.0)
            await asyncio.sleep(max(0.0, due - now()))

    async def _repeat(self, client: Client, send: Send) -> None:
        """The same again: at once, by the user's other client, later, or with another text."""
        how = self._random.choice(["at once", "twin", "later", "other text"])
        twins = [c for c in self.clients if c.plan.user == client.plan.user and c is not client]
        if how == "twin" and twins:
            if twins[0].is_up:
                twins[0].send_once(send.group, send.cmid, send.text)
            return
        if how in ("later", "other text"):
            answer = await asyncio.shield(send.done)
            if answer["event"] == "error":
                return
            await asyncio.sleep(self._random.uniform(0, 2))
        await self._while_paused()
        if client.is_up and how == "other text":
            client.send_once(send.group, send.cmid, self.text())
        elif client.is_up:
            client.repeat(send)

    async def _make_groups(self) -> None:
        """New groups while everybody is online; a member writes there as soon as its making was acknowledged."""
        for n in range(10_000):
            await asyncio.sleep(self.options.new_group_every_s)
            await self._while_paused()
            with contextlib.suppress(RestError):
                group = await self.create(n + self._random.randrange(100))
                first, *others = self.groups[group]
                for client in self.clients:
                    if client.plan.user == first:
                        client.join(group)
                self.send(group, self._random.choice([c for c in self.clients if c.plan.user in others]))
                if n % 2 == 0:
                    creator = next(c for c in self.clients if c.plan.user == first)
                    if creator.is_up:
                        creator.notify_created(group)

    async def _come_and_go(self) -> None:
        """The visitor is added, writes, is removed."""
        visitor = next(client for client in self.clients if client.plan.user == self.visitor)
        while True:
            await asyncio.sleep(self.options.coming_and_going_every_s)
            await self._while_paused()
            group = self._random.choice(list(self.groups))
            owner = self.rest(self.groups[group][0], self._random.randrange(len(self.edges)))
            with contextlib.suppress(RestError):
                users = {"user_ids": [self.visitor]}
                fact = {"group": group, "users": [self.visitor]}
                await owner.call("POST", f"/groups/{group}/members", users, op="add_members", **fact)
                send = self.send(group, visitor)
                await asyncio.wait([send.done], timeout=self.options.coming_and_going_every_s)
                path = f"/groups/{group}/members/{self.visitor}"
                # Recorded before, too: from here on the visitor may be out.
                self.recorder.add("api", op="remove_asked", u=owner.user, sent=now(), status=0, **fact)
                await owner.call("DELETE", path, op="remove_members", **fact)

    async def _until(self, is_so: Callable[[], bool], wait_s: float = SETTLE_S) -> bool:
        give_up = now() + wait_s
        while not is_so():
            if now() > give_up:
                return False
            await asyncio.sleep(0.05)
        return True

    async def quiet(self) -> None:
        """Waits until everybody has everything; then those read all of it who never were online."""
        heads = await self._heads()
        online = [client for client in self.clients if client.plan.user != self.visitor]
        await self._until(lambda: all(self._is_done(client, heads) for client in online))
        self._quiet(heads, online)
        late = []
        for n, user in enumerate(self.late):
            # The first stores for itself and acknowledges nothing, the others take the replay and read.
            late.append(self.client(user, user, "auto" if n else "own", n + 1, "read" if n else ""))
            late[-1].start()
        await self._until(lambda: all(self._is_done(client, heads) for client in late))
        self._quiet(heads, late)
        self.clients += late

    def _is_done(self, client: Client, heads: dict[str, int]) -> bool:
        return client.is_idle() and all(client.seen.get(g, 0) >= heads[g] for g in self._groups_of(client))

    def _groups_of(self, client: Client) -> list[str]:
        user = client.plan.user
        return [group for group, members in self.groups.items() if user in members or user in self.late]

    def _quiet(self, heads: dict[str, int], clients: list[Client]) -> None:
        due = {client.plan.name: {g: heads[g] for g in self._groups_of(client)} for client in clients}
        self.recorder.add("quiet", due=due)

    async def _heads(self) -> dict[str, int]:
        rest = self.rest(self.late[0])
        bodies = await asyncio.gather(*(rest.call("GET", f"/groups/{group}") for group in self.groups))
        return {body["group_id"]: body["head_seq"] for body in bodies}

    async def views(self) -> list[GroupView]:
        """What REST says of every group, by the edges in turn."""
        views = (view_group(self.rest(self.late[0], n), group) for n, group in enumerate(self.groups))
        return list(await asyncio.gather(*views))

    async def end(self) -> None:
        """Ends all clients."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(client.stop() for client in self.clients + self.extra))
