"""Faults under load: starts engines and processes, runs the rounds, writes the report. `scripts/faults --help`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from checker import summary
from deployment import Cluster, Deployment, Embedded, Environments
from engines import Engines, EnginesError
from history import now
from load import LoadError, LoadOptions
from plants import ATTEMPTS, PLANTS, Plant, is_caught
from processes import ProcessError
from report import markdown, row, too_slow
from rest import RestError
from rounds import RoundOptions, RoundResult, run_round
from scenarios import OF_MODE, SCENARIOS

ROOT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--mode", choices=["cluster", "embedded"], default="cluster")
    parser.add_argument("--rounds", type=int, default=10, help="of each fault (10)")
    parser.add_argument("--only", default="", help=f"of {','.join(SCENARIOS)}")
    parser.add_argument("--planted", action="store_true", help="with a binary built with the feature `planted`")
    parser.add_argument("--plants", default="", help="only these of the planted faults")
    parser.add_argument("--report", type=Path, help="where the Markdown goes")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "parley")
    parser.add_argument("--data", type=Path, help="data, logs and histories; a fresh directory under /tmp")
    parser.add_argument("--engines", type=Path, help="the engines' directory; left running if it is given")
    parser.add_argument("--quick", action="store_true", help="shorter waits, Cassandra away for 15 s")
    parser.add_argument("--cassandra-down", type=float, metavar="S")
    parser.add_argument("--rate", type=float, default=40.0, help="sends a second (40)")
    parser.add_argument("--groups", type=int, default=12)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for each process of Parley")
    parser.add_argument("--times", action="store_true", help="fail too if a fail-over or hand-over was too slow")
    return parser.parse_args()


class Run:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.begun = args, now()
        self.data: Path = args.data or Path(tempfile.mkdtemp(prefix="parley-faults-"))
        self.data.mkdir(parents=True, exist_ok=True)
        self.engines = Engines(args.engines or self.data / "engines")
        down = args.cassandra_down or (15.0 if args.quick else 60.0)
        load = LoadOptions(sends_per_second=args.rate, groups=args.groups, users=args.users)
        before, steady, after = (4.0, 5.0, 3.0) if args.quick else (6.0, 90.0, 6.0)
        self.options = RoundOptions(load, before, steady, after, down, args.quick, self.data)
        self.results: list[RoundResult] = []
        self.shown: dict[str, str] = {}

    def deployment(self, name: str, env: Environments) -> Deployment:
        """A fresh one: own data, own topics, own keyspace."""
        data, settings = self.data / name, list(self.args.set)
        if self.args.mode == "embedded":
            return Embedded(self.args.binary.resolve(), data, settings, env)
        return Cluster(self.args.binary.resolve(), data, self.engines, settings, env, self.args.partitions)

    async def rounds(self) -> bool:
        """All rounds of all faults, on one deployment; whether all is well."""
        faults = [name for name in self.args.only.split(",") if name] or OF_MODE[self.args.mode]
        deployment = self.deployment("run", {})
        try:
            self.shown = await deployment.settings()
            await deployment.start()
            for fault in faults:
                for number in range(self.args.rounds):
                    name = f"{fault}-{number + 1}"
                    await self._round(deployment, fault, number, name)
        finally:
            await deployment.stop()
        slow = too_slow(self.results) if self.args.times else []
        return not any(result.violations for result in self.results) and not slow

    async def _round(self, deployment: Deployment, fault: str, number: int, name: str) -> RoundResult:
        result = await run_round(deployment, fault, number, name, self.options)
        self.results.append(result)
        print(f"{row(result)} {result.seconds:.0f} s", flush=True)
        if result.violations:
            print(summary(result.violations), flush=True)
        return result

    async def planted(self) -> bool:
        """Every planted fault on a deployment of its own; whether each was caught."""
        wanted = [name for name in self.args.plants.split(",") if name]
        plants = [p for p in PLANTS if self.args.mode in p.modes and (p.name in wanted or not wanted)]
        missed = [plant.name for plant in plants if not await self._plant(plant)]
        print(f"planted faults: {len(plants)}, not caught: {', '.join(missed) or 'none'}", flush=True)
        return bool(plants) and not missed

    async def _plant(self, plant: Plant) -> bool:
        for attempt in range(ATTEMPTS):
            name = f"{plant.name}-{attempt + 1}"
            deployment = self.deployment(name, plant.environments)
            try:
                await deployment.start()
                result = await self._round(deployment, plant.scenario, attempt, name)
            finally:
                await deployment.stop()
            result.note = "planted"
            if is_caught(plant, result):
                print(f"caught: {plant.name}", flush=True)
                return True
        return False

    def settings(self) -> dict[str, str]:
        """What decides the figures."""
        load = self.options.load
        shown = {
            "mode": self.args.mode,
            "load": f"{load.sends_per_second:.0f} sends/s, {load.groups} groups (and one more every "
            f"{load.new_group_every_s:.0f} s) of {load.members} members and {load.late} late readers, "
            f"{load.users} users, {load.twins} of them with two clients, {load.repeated:.0%} repeated on purpose",
            "set": ", ".join(self.args.set) or "defaults",
        }
        if self.args.mode == "cluster":
            shown |= {
                "processes": "2 writers, 2 projectors, 2 edges",
                "engines": "3 Kafka brokers (replication 3, min.insync 2), 1 Cassandra, 1 S3; "
                "JVMs with -XX:TieredStopAtLevel=1",
                "partitions": str(self.args.partitions),
                "Cassandra away": f"{self.options.cassandra_down_s:.0f} s",
            }
        return shown | self.shown

    async def main(self) -> int:
        """Runs it; the exit code."""
        loop, whole = asyncio.get_running_loop(), asyncio.current_task()
        loop.set_default_executor(ThreadPoolExecutor(32))
        if whole is not None:
            # Whoever ends us wants our processes ended too.
            loop.add_signal_handler(signal.SIGTERM, whole.cancel)
        if not os.access(self.args.binary, os.X_OK):
            print(f"error: there is no {self.args.binary}; build it, or name one with --binary", file=sys.stderr)
            return 2
        print(f"data and logs: {self.data}", flush=True)
        is_well = False
        try:
            if self.args.mode == "cluster":
                await self.engines.up()
            is_well = await (self.planted() if self.args.planted else self.rounds())
        except (EnginesError, LoadError, ProcessError, RestError) as error:
            print(f"error: {error}", file=sys.stderr)
        finally:
            if self.args.mode == "cluster" and not self.args.engines:
                await self.engines.down()
            text = markdown(self.results, self.settings(), now() - self.begun)
            if self.args.report:
                self.args.report.write_text(text, encoding="utf-8")
        kept = [path for result in self.results for path in result.kept]
        if kept:
            print(f"kept: {', '.join(str(path) for path in kept)}", flush=True)
        if is_well and not self.args.data and not kept:
            shutil.rmtree(self.data, ignore_errors=True)
        print("all is well" if is_well else "NOT well", flush=True)
        return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(Run(arguments()).main()))
