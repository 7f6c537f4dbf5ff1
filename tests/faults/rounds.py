"""One round: load, fault, load, quiet, check."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

from check_streams import GOING_AWAY
from checker import check
from deployment import Deployment
from facts import Facts
from history import Entry, Recorder, now
from load import Load, LoadOptions
from log import LogRecord
from measures import Measures, measure
from scenarios import SCENARIOS, Stage
from views import GroupView
from violations import Violation


@dataclass(frozen=True)
class RoundOptions:
    """What all rounds have in common."""

    load: LoadOptions
    before_s: float
    #: Engines that have just started may take so long until they answer as they always will.
    steady_within_s: float
    after_s: float
    cassandra_down_s: float
    is_quick: bool
    data: Path


@dataclass
class RoundResult:
    """What a round gave."""

    name: str
    fault: str
    what: str
    measures: Measures
    violations: list[Violation]
    seconds: float
    note: str = ""
    kept: list[Path] = field(default_factory=list)


async def run_round(deployment: Deployment, fault: str, number: int, name: str, options: RoundOptions) -> RoundResult:
    """Runs a round on a deployment that is up, and leaves it up."""
    begun, history = now(), options.data / f"{name}.history.jsonl"
    recorder = Recorder(history)
    load = Load(name, deployment.edges, deployment.token, recorder, options.load)
    stage = Stage(deployment, load, recorder, number, options.cassandra_down_s, options.is_quick)
    try:
        await load.setup()
        load.start()
        await asyncio.sleep(options.before_s)
        if not await load.steady(options.steady_within_s):
            stage.note("the cluster was slow before")
        since = now()
        recorder.add("service", whole=False, why=fault)
        await SCENARIOS[fault](stage)
        recorder.add("service", whole=True, why=fault)
        await asyncio.sleep(options.after_s)
        await load.stop()
        await load.quiet()
        views = await load.views()
    finally:
        await load.end()
        recorder.close()
    log = await deployment.read_log()
    await deployment.start()
    violations, measures = await asyncio.to_thread(_judge, recorder, log, views, stage, since)
    violations += _as_counted(await deployment.counts(), views)
    result = RoundResult(name, fault, stage.what, measures, violations, now() - begun)
    if violations or measures.slow():
        result.kept = [history, _keep(log, options.data / f"{name}.log.jsonl")]
    else:
        history.unlink()
    return result


def _as_counted(counts: dict[str, int] | None, views: list[GroupView]) -> list[Violation]:
    """What the analytics consumer counts equals what the read models hold."""
    if counts is None:
        return []
    return [
        Violation("analytics_differs", f"{view.group}: {counts.get(view.group, 0)}, REST has {len(view.messages)}")
        for view in views
        if counts.get(view.group, 0) != len(view.messages)
    ]


def _judge(
    recorder: Recorder, log: list[LogRecord], views: list[GroupView], stage: Stage, since: float
) -> tuple[list[Violation], Measures]:
    violations = check(recorder.entries, log, views, stage.deployment.partitions)
    violations += [Violation("process", fault) for fault in stage.faults]
    measures = measure(Facts(recorder.entries), log, stage.moves, since)
    if stage.load.accepted == 0:
        violations.append(Violation("no_load", "not one send was accepted"))
    violations += _abrupt(recorder.entries)
    return violations, measures


def _abrupt(entries: list[Entry]) -> list[Violation]:
    """Connections to an edge that was stopped as planned, and that weren't closed as the contract says."""
    edges = {(entry["c"], entry["s"]): entry["edge"] for entry in entries if entry["k"] == "connect"}
    opened = {(entry["c"], entry["s"]): entry["t"] for entry in entries if entry["k"] == "welcome"}
    found = []
    for stop in (entry for entry in entries if entry["k"] == "stopped"):
        for entry in entries:
            if entry["k"] != "closed" or not stop["begun"] <= entry["t"] <= stop["t"] + 0.2:
                continue
            at = (entry["c"], entry["s"])
            was_there = edges[at] == stop["edge"] and opened.get(at, stop["t"]) < stop["begun"]
            if was_there and entry["code"] != GOING_AWAY:
                found.append(Violation("abrupt_close", f"{entry['c']}: {entry['code']} by a planned stop"))
    return found


def _keep(log: list[LogRecord], path: Path) -> Path:
    """The log as text, for whoever looks into a violation or a slow round."""
    with path.open("w", encoding="utf-8") as file:
        for record in log:
            file.write(json.dumps({**record.__dict__, "verdict": record.verdict.value}) + "\n")
    return path
