"""What Parley costs: comparisons, growth, stalled readers, rebuilds. `scripts/bench --help`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from capacity import MEASURED, Activity, rows
from edges import compare
from growth import grow
from instructions import instructions
from plot import bars
from roles import costs
from server import BenchError, Server
from stalled import stall

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TRANSCRIPT = ROOT / "tests" / "data" / "ubuntu-irc.jsonl.gz"
NONE: dict[str, float] = {"p50": float("nan"), "p99": float("nan")}
SCENARIOS = ("fanout-1x1000", "groups-100x10", "pair-1000x2")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "parley")
    commands = parser.add_subparsers(dest="command", required=True)
    ours = commands.add_parser("ours", help="`parley bench`, closed and open loop, median of 3 with least and most")
    ours.add_argument("--rounds", type=int, default=3)
    table = commands.add_parser("table", help="a table and a plot of what the independent generator's compare.sh wrote")
    table.add_argument("results", type=Path, help="its OUT")
    growth = commands.add_parser("growth", help="a send, against members, groups and history")
    growth.add_argument("--members", type=int, default=100_000)
    growth.add_argument("--groups", type=int, default=100_000)
    growth.add_argument("--history", type=int, default=1_000_000)
    commands.add_parser("stalled", help="1,000 readers that stop reading")
    commands.add_parser("roles", help="CPU a message of each role of a cluster, and of its engines")
    commands.add_parser("edges", help="a delivery at an edge of a cluster, beside one embedded process")
    commands.add_parser("capacity", help="what 1, 10 and 100 million connected users need")
    counted = commands.add_parser("instructions", help="instructions and allocations a send, counted by valgrind")
    counted.add_argument("scenario", choices=SCENARIOS, nargs="?", default="pair-1000x2")
    commands.add_parser("rebuild", help="events a second of a rebuild of real chat")
    return parser.parse_args()


def spread(values: list[float]) -> tuple[float, float, float]:
    """Least, median, most."""
    return min(values), statistics.median(values), max(values)


def shown(values: list[float]) -> str:
    """The median, with the least and the most."""
    least, median, most = (f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}" for value in spread(values))
    return f"{median} ({least} to {most})"


def _pinned(cpu: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(cpu), *command] if (os.cpu_count() or 1) > 1 else command


def ours(binary: Path, rounds: int) -> None:
    """Our own generator on one core, the server on the other."""
    found: dict[tuple[str, str], list[dict[str, object]]] = {}
    for _ in range(rounds):
        for scenario in (*SCENARIOS, "idle-10k", "catchup-10k"):
            for mode in ("closed", "open") if scenario in SCENARIOS else ("open",):
                with Server(binary) as server:
                    os.sched_setaffinity(server.process.pid, {0})
                    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
                        os.sched_setaffinity(int(task.name), {0})
                    command = [
                        str(binary),
                        "bench",
                        scenario,
                        "--mode",
                        mode,
                        "--url",
                        server.url,
                        "--data",
                        str(server.data),
                        "--pid",
                        str(server.process.pid),
                        "--json",
                    ]
                    env = {**os.environ, "PARLEY_AUTH__HS256_SECRET": server.secret}
                    run = subprocess.run(_pinned(1, command), env=env, capture_output=True, text=True, check=False)
                    if run.returncode != 0:
                        raise BenchError(f"{scenario} {mode} ended with {run.returncode}: {run.stderr[-500:]}")
                    found.setdefault((scenario, mode), []).append(json.loads(run.stdout))
    for (scenario, mode), results in found.items():
        print(f"\n{scenario}, {mode} loop")
        for name in sorted(results[0]):
            values = [float(v) for result in results if isinstance(v := result.get(name), (int, float))]
            if len(values) == len(results) and not isinstance(results[0][name], bool):
                print(f"  {name}: {shown(values)}")


def table(results: Path) -> None:
    """Medians of compare.sh's rounds, as Markdown, and deliveries of a full core as a plot beside it."""
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    peers = list(dict.fromkeys(row["peer"] for row in rows))

    def cell(peer: str, scenario: str, mode: str, what: Callable[[dict[str, Any]], float]) -> list[float]:
        wanted = (peer, scenario, mode)
        return [what(row) for row in rows if (row["peer"], row["scenario"], row["mode"]) == wanted]

    def line(name: str, scenario: str, mode: str, what: Callable[[dict[str, Any]], float]) -> None:
        values = {peer: cell(peer, scenario, mode, what) for peer in peers}
        shown_values = [shown(values[peer]) if values[peer] else "" for peer in peers]
        ratio = ""
        if values.get("parley") and values.get("centrifugo"):
            ratio = f"{statistics.median(values['parley']) / statistics.median(values['centrifugo']):.2f}"
        print(f"| {name} | " + " | ".join(shown_values) + f" | {ratio} |")

    print("| | " + " | ".join(peers) + " | parley / centrifugo |")
    print("| --- |" + " --- |" * (len(peers) + 1))
    series: dict[str, list[tuple[float, float, float]]] = {peer: [] for peer in peers}
    for scenario in SCENARIOS:
        line(f"{scenario}, deliveries/s of a full core", scenario, "closed", of_a_core)
        line(f"{scenario}, CPU us a delivery", scenario, "closed", lambda row: row["cpu_s_per_1m_deliveries"])
        for peer in peers:
            series[peer].append(spread(cell(peer, scenario, "closed", of_a_core)))
    for scenario in SCENARIOS:
        for part in ("p50", "p99", "p999"):
            line(f"{scenario}, open loop, delivered {part}, ms", scenario, "open", of_latency(part))
        line(f"{scenario}, open loop, accepted p50, ms", scenario, "open", lambda row: (row["acceptance_ms"] or NONE)["p50"])
        line(f"{scenario}, open loop, accepted p99, ms", scenario, "open", lambda row: (row["acceptance_ms"] or NONE)["p99"])
    line("kB a idle connection", "idle-10k", "idle", lambda row: row["rss_kb_per_connection"])
    line("catch-up of 10,000, ms", "catchup-10k", "catchup", lambda row: row["catchup_ms"])
    plot = bars("Deliveries a second of a full server core", "deliveries a second", list(SCENARIOS), series)
    (HERE / "compare.svg").write_text(plot, encoding="utf-8")


def of_latency(part: str) -> Callable[[dict[str, Any]], float]:
    """A percentile of the deliveries, in milliseconds."""
    return lambda row: float(row["delivery_ms"][part])


def of_a_core(row: dict[str, Any]) -> float:
    """Deliveries a second, had the server a whole core."""
    return float(row["deliveries_per_s"]) / float(row["server_cores"])


def rebuild(binary: Path) -> None:
    """The whole transcript in, and its read models built anew, three times."""
    with Server(binary) as server:
        env = {**os.environ, "PARLEY_AUTH__HS256_SECRET": server.secret}
        where = ["--url", server.url, "--data", str(server.data)]
        subprocess.run([str(binary), "import", str(TRANSCRIPT), *where], env=env, check=True, capture_output=True)
        rates = []
        for _ in range(3):
            before, begun = server.cpu_s(), time.monotonic()
            run = subprocess.run(
                [str(binary), "rebuild", "--json", "--data", str(server.data)], env=env, check=True, capture_output=True
            )
            done, cpu, took = json.loads(run.stdout), server.cpu_s() - before, time.monotonic() - begun
            rates.append(done["records"] / cpu)
            print(f"{done['records']:,} records, equal {done['equal']}, {took:.1f} s with the comparison, {cpu:.1f} s of CPU")
        print(f"records a second of a core, the comparison included: {shown(rates)}")


def main() -> int:
    """Runs one of them."""
    args = arguments()
    try:
        match args.command:
            case "ours":
                ours(args.binary, args.rounds)
            case "table":
                table(args.results)
            case "growth":
                asyncio.run(grow(args.binary, HERE, args.members, args.groups, args.history))
            case "stalled":
                asyncio.run(stall(args.binary))
            case "roles":
                with tempfile.TemporaryDirectory(prefix="parley-roles-") as data:
                    asyncio.run(costs(args.binary, Path(data)))
            case "edges":
                with tempfile.TemporaryDirectory(prefix="parley-edges-") as data:
                    asyncio.run(compare(args.binary, Path(data)))
            case "capacity":
                print("Of costs measured at a low load, an upper bound; bytes in log and rows are estimated.\n")
                print("\n".join(rows(MEASURED, Activity())))
            case "instructions":
                instructions(args.binary, args.scenario)
            case "rebuild":
                rebuild(args.binary)
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
