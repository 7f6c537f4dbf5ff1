"""What a delivery costs an edge of a cluster, beside the whole of one embedded process, in turn in one run."""

from __future__ import annotations

import asyncio
import os
import statistics
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from deployment import Cluster
from engines import Engines

from roles import run_json
from server import BenchError, Server, cpu_s

#: Scenarios and sends a second: an open loop, since a delivery costs the less the more of them there are at once.
LOADS = (("fanout-1x1000", 50), ("groups-100x10", 400))
ROUNDS, SECONDS = 3, 8.0
#: What must be reached of that, for the loads to be the same.
RATE_MIN = 0.9
PARTITIONS = 16
DELIVERIES = "parley_deliveries_total"


def deliveries(url: str) -> float:
    """Frames of events that a process has queued for sockets so far."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(DELIVERIES))


@dataclass(frozen=True)
class Process:
    """One that serves clients."""

    #: For clients, and for operators.
    url: str
    metrics: str
    secret: str
    pid: int

    def cost_us(self, binary: Path, data: Path, scenario: str, rate: int) -> float:
        """Its CPU a delivery, microseconds; connecting included."""
        command = [str(binary), "bench", scenario, "--mode", "open", "--rate", str(rate)]
        command += ["--secs", str(SECONDS), "--warm", "1"]
        command += ["--url", self.url, "--data", str(data / "bench"), "--json"]
        cpu, count = cpu_s(self.pid), deliveries(self.metrics)
        outcome = run_json(command, {**os.environ, "PARLEY_AUTH__HS256_SECRET": self.secret})
        if outcome["sends_per_s"] < rate * RATE_MIN:
            raise BenchError(f"{outcome['sends_per_s']:.0f} sends a second instead of {rate}: the loads differ")
        count = deliveries(self.metrics) - count
        if count <= 0:
            raise BenchError(f"{self.url} delivered nothing")
        return (cpu_s(self.pid) - cpu) / count * 1e6


async def compare(binary: Path, data: Path) -> None:
    """Starts engines, a cluster and an embedded server, gives each the same loads in turn, and prints the ratios."""
    engines = Engines(data / "engines")
    await engines.up()
    cluster = Cluster(binary, data / "cluster", engines, ["limits.sends_per_second=0"], {}, PARTITIONS)
    try:
        await cluster.start()
        for name in cluster.processes:
            await cluster.until_ready(name)
        with Server(binary) as server:
            alone = Process(server.url, server.url, server.secret, server.process.pid)
            edge = Process(cluster.edges[0], cluster.operators("edge-1"), cluster.secret, cluster.processes["edge-1"].pid)
            for scenario, rate in LOADS:
                found: list[tuple[float, float]] = []
                for _ in range(ROUNDS):
                    costs = [await asyncio.to_thread(one.cost_us, binary, data, scenario, rate) for one in (alone, edge)]
                    found.append((costs[0], costs[1]))
                ratios = sorted(e / a for a, e in found)
                print(
                    f"{scenario}, {rate} sends/s: {statistics.median(e for _, e in found):.2f} us a delivery "
                    f"at an edge of the cluster, "
                    f"{statistics.median(a for a, _ in found):.2f} in one embedded process (all of it); "
                    f"{statistics.median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"
                )
    finally:
        await cluster.stop()
        await engines.down()
