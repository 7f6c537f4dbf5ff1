"""A history, sorted by what the checks ask for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from history import Entry

#: user, group, client_message_id
Key = tuple[str, str, str]
Span = tuple[float, float]
FOREVER = float("inf")


@dataclass
class Frame:
    """A request of a client, and its answer if there was one."""

    asked: Entry
    answer: Entry | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether it was a send that was accepted."""
        return self.answer is not None and self.answer["event"] == "group_message_accepted"

    @property
    def refusal(self) -> str | None:
        """The code of an error that isn't worth a retry."""
        answer = self.answer
        return None if answer is None or answer["event"] != "error" or answer.get("retryable") else answer["code"]


@dataclass
class Subscription:
    """One subscription of a connection to a group, with what came under it."""

    client: str
    user: str
    group: str
    began: float
    entry: Entry
    #: After which `seq` the client asked to go on; `None`: after what it had acknowledged.
    after: int | None
    #: The newest `seq` that the client had seen before.
    seen_before: int
    is_auto: bool
    connected: float
    events: list[Entry] = field(default_factory=list)


class Facts:
    """Everything of a history, indexed."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.end = entries[-1]["t"] if entries else 0.0
        self.frames: dict[str, Frame] = {}
        self.sends: dict[Key, list[Frame]] = defaultdict(list)
        self.subscriptions: list[Subscription] = []
        #: Events that came without any subscription.
        self.strays: list[Entry] = []
        self.events: list[Entry] = []
        self.creates: dict[str, Entry] = {}
        #: (user, group) -> when the user was a member for certain
        self.member: dict[tuple[str, str], list[Span]] = defaultdict(list)
        #: (user, group) -> additions that were acknowledged while the user was certainly not in
        self.additions: dict[tuple[str, str], int] = defaultdict(int)
        self._removed: set[tuple[str, str]] = set()
        self.connected: dict[str, list[Span]] = defaultdict(list)
        self.clients: dict[str, list[Entry]] = defaultdict(list)
        self.whole = _whole(entries, self.end)
        for entry in entries:
            if "c" in entry:
                self.clients[entry["c"]].append(entry)
            if entry["k"] == "api":
                self._api(entry)
        for of_client in self.clients.values():
            self._client(of_client)

    def is_steady(self, user: str, group: str) -> bool:
        """Whether the user was in from the creation on and never left."""
        spans = self.member.get((user, group), [])
        return user in self.creates.get(group, {}).get("members", []) and spans[-1:] != [] and spans[-1][1] == FOREVER

    def is_member(self, user: str, group: str, begin: float, end: float) -> bool:
        """Whether the user was a member throughout, for certain."""
        return any(since <= begin and end < until for since, until in self.member.get((user, group), []))

    def _api(self, entry: Entry) -> None:
        op, group, is_done = entry["op"], entry.get("group", ""), 200 <= entry["status"] < 300
        if op == "create_group" and is_done and group not in self.creates:
            self.creates[group] = entry
            for user in entry["members"]:
                self.member[user, group].append((entry["t"], FOREVER))
        elif op == "add_members" and is_done:
            for user in entry["users"]:
                spans = self.member[user, group]
                if not spans or spans[-1][1] != FOREVER:
                    spans.append((entry["t"], FOREVER))
                    if len(spans) == 1 or self._removed_for_certain(user, group):
                        self.additions[user, group] += 1
        elif op == "remove_asked" or (op == "remove_members" and is_done):
            for user in entry["users"]:
                spans = self.member[user, group]
                if spans and spans[-1][1] == FOREVER:
                    spans[-1] = (spans[-1][0], entry["sent"])
                if is_done:
                    self._removed.add((user, group))

    def _removed_for_certain(self, user: str, group: str) -> bool:
        was = (user, group) in self._removed
        self._removed.discard((user, group))
        return was

    def _client(self, entries: list[Entry]) -> None:
        seen: dict[str, int] = {}
        current: dict[str, Subscription] = {}
        mode, connected, opened = "", 0.0, None
        for entry in entries:
            kind, event = entry["k"], entry.get("event")
            if kind == "connect":
                mode, connected = entry["mode"], entry["t"]
                current = {}
            elif kind == "welcome":
                opened = entry["t"]
            elif kind == "closed":
                if opened is not None:
                    self.connected[entry["c"]].append((opened, entry["t"]))
                opened = None
            elif kind == "request":
                frame = self.frames[entry["id"]] = Frame(entry)
                if event == "send_group_message":
                    self.sends[entry["u"], entry["group"], entry["cmid"]].append(frame)
            elif kind == "event":
                self.events.append(entry)
                if entry["group"] in current:
                    current[entry["group"]].events.append(entry)
                else:
                    self.strays.append(entry)
                seen[entry["group"]] = max(seen.get(entry["group"], 0), entry["seq"])
            else:
                frame = self.frames.get(entry.get("id", ""))  # type: ignore[assignment]
                if frame is not None and frame.answer is None:
                    frame.answer = entry
                asked = frame.asked if frame is not None else None
                for begun in _begun(entry):
                    after = None
                    if asked is not None:
                        after = asked.get("entries", {}).get(begun["group"], asked.get("after_seq"))
                    current[begun["group"]] = Subscription(
                        entry["c"], entry["u"], begun["group"], entry["t"], begun, after,
                        seen.get(begun["group"], 0), mode == "auto", connected,
                    )
                    self.subscriptions.append(current[begun["group"]])
        if opened is not None:
            self.connected[entries[0]["c"]].append((opened, self.end))


def _begun(entry: Entry) -> list[Entry]:
    """The subscriptions that a frame of the server begins."""
    if entry.get("event") == "resumed":
        return list(entry["entries"])
    return [entry] if entry.get("event") == "subscribed_to_group" else []


def _whole(entries: list[Entry], end: float) -> list[Span]:
    """When everything ran; all of the time, if nobody said anything."""
    spans: list[Span] = []
    since: float | None = entries[0]["t"] if entries else 0.0
    for entry in entries:
        if entry["k"] == "service":
            if entry["whole"] and since is None:
                since = entry["t"]
            elif not entry["whole"] and since is not None:
                spans.append((since, entry["t"]))
                since = None
    if since is not None:
        spans.append((since, end))
    return spans


def meet(one: list[Span], other: list[Span]) -> list[Span]:
    """Where both are."""
    both = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return [(begin, end) for begin, end in both if begin < end]


def longest(spans: list[Span]) -> float:
    """The longest of them, in seconds."""
    return max((end - begin for begin, end in spans), default=0.0)


def outside(spans: list[Span], begin: float, end: float) -> list[Span]:
    """What of a time they leave."""
    left, at = [], begin
    for since, until in sorted(spans):
        if since > at:
            left.append((at, min(since, end)))
        at = max(at, until)
    return [*left, (at, end)] if at < end else left
