"""How long things took: fail-over, hand-over, resuming."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from facts import Facts
from log import EVENTS, LogRecord
from scenarios import Move

#: Sends that began later than so long after a SIGTERM don't tell of that hand-over.
HANDOVER_S = 4.0
#: What is promised, in milliseconds.
FAILOVER_MS, HANDOVER_MS = 10_000, 2_000


#: A send that waited so long for its answer waited for the partition to move,
WAITED_S = 0.5
#: if it began no later than so long after the fault, or the SIGTERM.
FAILOVER_BEGUN_S, HANDOVER_BEGUN_S = 10.0, 1.0


@dataclass
class Measures:
    """In milliseconds; `None` where there was nothing to measure."""

    accepted: int = 0
    duplicates: int = 0
    void: int = 0
    #: From the kill to the first accepted send under a new claim, for the first and the last partition.
    failover_first: float | None = None
    failover_last: float | None = None
    #: The same from the SIGTERM, for partitions that were handed over as planned.
    handover_first: float | None = None
    handover_last: float | None = None
    #: The longest wait of a send to one of them, begun before or a while after.
    handover_wait: float | None = None
    #: From connecting to the last event of the replay: median and worst.
    resume_median: float | None = None
    resume_worst: float | None = None
    resumes: int = 0
    longest_wait: float | None = None
    closes: dict[int, int] = field(default_factory=dict)

    def slow(self) -> list[str]:
        """What took longer than promised."""
        slow = []
        if self.failover_last is not None and self.failover_last > FAILOVER_MS:
            slow.append(f"fail-over {self.failover_last:.0f} ms")
        if self.handover_last is not None and self.handover_last > HANDOVER_MS:
            slow.append(f"planned hand-over {self.handover_last:.0f} ms")
        return slow


def measure(facts: Facts, log: list[LogRecord], moves: list[Move], since: float) -> Measures:
    """All of it; resumes only `since` the fault."""
    measures = Measures()
    accepted = [f.answer for f in facts.frames.values() if f.is_accepted and f.answer is not None]
    measures.accepted = sum(not answer["duplicate"] for answer in accepted)
    measures.duplicates = len(accepted) - measures.accepted
    measures.void = sum(record.topic == EVENTS and record.verdict.value == "void" for record in log)
    claims = _claims(log)
    planned = [move for move in moves if move.is_planned]
    killed = [move for move in moves if not move.is_planned]
    measures.failover_first, measures.failover_last = _ends(facts, killed, claims, FAILOVER_BEGUN_S)
    measures.handover_first, measures.handover_last = _ends(facts, planned, claims, HANDOVER_BEGUN_S)
    waits = [wait for move in planned for wait in _waits(facts, move)]
    if waits:
        measures.handover_wait = 1000 * max(waits)
    resumes = sorted(_resumes(facts, since))
    if resumes:
        measures.resume_median, measures.resume_worst = 1000 * resumes[len(resumes) // 2], 1000 * resumes[-1]
    measures.resumes = len(resumes)
    measures.longest_wait = 1000 * max(
        (end - begin for begin, end, _, _ in _open_sends(facts) if end >= since), default=0.0
    )
    welcomed = {(entry["c"], entry["s"]) for entry in facts.entries if entry["k"] == "welcome"}
    for entry in facts.entries:
        if entry["k"] == "closed" and entry["t"] >= since and (entry["c"], entry["s"]) in welcomed:
            measures.closes[entry["code"]] = measures.closes.get(entry["code"], 0) + 1
    return measures


def _claims(log: list[LogRecord]) -> dict[tuple[int, int], int]:
    """Place of an event -> offset of its claim."""
    return {record.place: record.claim for record in log if record.topic == EVENTS and record.claim is not None}


def _ends(
    facts: Facts, moves: list[Move], claims: dict[tuple[int, int], int], begun_s: float
) -> tuple[float | None, float | None]:
    """Of all partitions that moved: the first and the last that took sends again, in milliseconds."""
    firsts = [first for move in moves for first in _firsts(facts, move, claims, begun_s)]
    return (1000 * min(firsts), 1000 * max(firsts)) if firsts else (None, None)


def _firsts(facts: Facts, move: Move, claims: dict[tuple[int, int], int], begun_s: float) -> list[float]:
    """Of each moved partition for which a send waited: how long until the first was accepted under another claim."""
    old: dict[int, int] = {}
    first: dict[int, float] = {}
    for frames in facts.sends.values():
        for frame in frames:
            answer = frame.answer
            if not frame.is_accepted or answer is None or answer["duplicate"]:
                continue
            partition, at = answer["position"]["partition"], answer["t"]
            claim = claims.get((partition, answer["position"]["offset"]))
            if partition in move.partitions and claim is not None and at <= move.at:
                old[partition] = max(claim, old.get(partition, -1))
    for begin, end, partition, offset in sorted(_open_sends(facts), key=lambda span: span[1]):
        claim = claims.get((partition, offset))
        if partition not in move.partitions or end <= move.at or claim is None or claim <= old.get(partition, -1):
            continue
        # One that was answered at once, or began long after, says only that the partition had moved by then.
        waited = end - max(begin, move.at) >= WAITED_S and begin < move.at + begun_s
        first.setdefault(partition, end - move.at if waited else 0.0)
    return [seconds for seconds in first.values() if seconds]


def _open_sends(facts: Facts) -> list[tuple[float, float, int, int]]:
    """Of each accepted send: first frame, first answer, partition and offset."""
    spans = []
    for frames in facts.sends.values():
        answers = [f.answer for f in frames if f.is_accepted and f.answer is not None]
        if answers:
            first = min(answers, key=lambda answer: float(answer["t"]))
            position = first["position"]
            spans.append((frames[0].asked["t"], first["t"], position["partition"], position["offset"]))
    return spans


def _waits(facts: Facts, move: Move) -> list[float]:
    """How long sends to the moved partitions stood open that were open within seconds of the hand-over."""
    return [
        end - max(begin, move.at)
        for begin, end, partition, _ in _open_sends(facts)
        if partition in move.partitions and end > move.at and begin < move.at + HANDOVER_S
    ]


def _resumes(facts: Facts, since: float) -> list[float]:
    """From each connect after the fault to the last event of its replays."""
    done: dict[tuple[str, float], float] = defaultdict(float)
    for sub in facts.subscriptions:
        if sub.connected < since or "event" in sub.entry:
            continue  # A subscription of its own is no resume.
        replayed = [event["t"] for event in sub.events if event["seq"] <= sub.entry["to_seq"]]
        at = (sub.client, sub.connected)
        done[at] = max(done[at], sub.began, *replayed)
    return [end - connected for (_, connected), end in done.items()]
