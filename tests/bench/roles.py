"""What each role of a cluster costs, and each engine: CPU a message under a steady load, for the capacity model."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from deployment import Cluster
from engines import Engines

from server import BenchError, cpu_s

SCENARIO, RATE, SECONDS = "groups-100x10", 300.0, 20.0
PARTITIONS = 16


async def costs(binary: Path, data: Path) -> None:
    """Starts engines and six processes on them, gives them a load, and prints who used how much."""
    engines = Engines(data / "engines")
    await engines.up()
    try:
        await _costs(binary, data, engines)
    finally:
        await engines.down()


async def _costs(binary: Path, data: Path, engines: Engines) -> None:
    cluster = Cluster(binary, data / "cluster", engines, ["limits.sends_per_second=0"], {}, PARTITIONS)
    await cluster.start()
    try:
        pids = {name: process.pid for name, process in cluster.processes.items()}
        for file in sorted((data / "engines").glob("*/*/pid")):
            pids[file.parent.name] = int(file.read_text(encoding="ascii"))
        env = {**os.environ, "PARLEY_AUTH__HS256_SECRET": cluster.secret}
        runs = []
        for edge in cluster.edges:
            command = [str(binary), "bench", SCENARIO, "--mode", "open", "--rate", str(RATE / len(cluster.edges))]
            command += ["--secs", str(SECONDS), "--warm", "3", "--url", edge, "--data", str(data / "bench"), "--json"]
            runs.append((command, env))
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        outcomes = await asyncio.gather(*(asyncio.to_thread(run_json, command, env) for command, env in runs))
        used = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    finally:
        await cluster.stop()
    messages = sum(float(outcome["sends_per_s"]) for outcome in outcomes) * (SECONDS + 3)
    print(f"about {messages:,.0f} messages, each to 10 members, who acknowledge every 200 ms; set-up included")
    roles: dict[str, float] = {}
    for name, cpu in used.items():
        role = name.rpartition("-")[0]
        roles[role] = roles.get(role, 0.0) + cpu
    for role, cpu in roles.items():
        print(f"{role}: {cpu:.2f} s of CPU, {cpu / messages * 1e6:.0f} us a message")


def run_json(command: list[str], env: dict[str, str]) -> dict[str, Any]:
    """Runs `parley bench --json` and gives what it found."""
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise BenchError(f"parley bench ended with {run.returncode}: {run.stderr[-500:]}")
    outcome: dict[str, Any] = json.loads(run.stdout)
    return outcome
