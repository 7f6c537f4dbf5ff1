"""What 1, 10 and 100 million connected users need, from what one message costs. `scripts/bench capacity`."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """CPU in microseconds a message with its 10 deliveries and acks."""

    edge_us: float
    writer_us: float
    projector_us: float
    kafka_us: float
    cassandra_us: float
    #: Resident memory of an idle connection, kB.
    connection_kb: float
    #: A message and the acknowledgements of its members in the log, with headers, before replication.
    log_bytes: float
    #: The same as rows, before replication, compressed as Cassandra does.
    rows_bytes: float


#: CPU: `scripts/bench roles`, 300 messages a second in groups of 10 on a machine that this fills, so batches are small and the
#: costs an upper bound. Kafka's is that of one of three brokers. `connection_kb`: the independent generator's idle-10k. The two
#: sizes are estimates: texts of 200 bytes, and acknowledgements that are gathered little.
MEASURED = Costs(
    edge_us=743,
    writer_us=1_066,
    projector_us=257,
    kafka_us=4_727 / 3,
    cassandra_us=2_121,
    connection_kb=5.0,
    log_bytes=4_000,
    rows_bytes=3_000,
)


@dataclass(frozen=True)
class Activity:
    """What people do."""

    #: A connected user sends so often at the busiest time.
    sends_a_minute: float = 0.2
    #: How much less the average of a day is.
    day_share: float = 0.4
    #: Members of the group who are connected.
    deliveries: float = 10.0


#: As much of a core as is planned for, and what one process or node is given.
LOAD, CORES = 0.5, 4
SOCKETS_AN_EDGE = 200_000
EDGE_GIB = 16.0
PARTITIONS_MAX = 4_096
#: One partition is one shard, which is one task: a core.
REPLICAS = 3
NODE_CORES, NODE_TIB = 16, 4.0


def _up(value: float, least: int = 2) -> int:
    return max(least, math.ceil(value))


def rows(costs: Costs, activity: Activity) -> list[str]:
    """The table, as Markdown."""
    said = [
        "| connected users | sends/s | deliveries/s | edges | writers | projectors | partitions | brokers | Cassandra nodes | "
        "log a day | rows a day |",
        "| --- |" + " --- |" * 10,
    ]
    for users in (1_000_000, 10_000_000, 100_000_000):
        sends = users * activity.sends_a_minute / 60
        cores = {name: sends * us / 1e6 / LOAD for name, us in vars(costs).items() if name.endswith("_us")}
        by_memory = users * costs.connection_kb / 1e6 / (EDGE_GIB * LOAD)
        edges = _up(max(cores["edge_us"] / CORES, users / SOCKETS_AN_EDGE, by_memory))
        writers, projectors = _up(cores["writer_us"] / CORES), _up(cores["projector_us"] / CORES)
        # A power of two with room to grow: the number is fixed once there are topics.
        partitions = 2 ** math.ceil(math.log2(max(64, 4 * max(writers, projectors) * CORES)))
        a_day = sends * activity.day_share * 86_400
        log, stored = (a_day * size * REPLICAS / 1e12 for size in (costs.log_bytes, costs.rows_bytes))
        brokers = _up(cores["kafka_us"] * REPLICAS / NODE_CORES, 3)
        nodes = _up(cores["cassandra_us"] * REPLICAS / NODE_CORES, 3)
        over = " (!)" if partitions > PARTITIONS_MAX else ""
        said.append(
            f"| {users / 1e6:.0f} M | {sends:,.0f} | {sends * activity.deliveries:,.0f} | {edges} | {writers} | {projectors} | "
            f"{partitions:,}{over} | {brokers} | {nodes} | {log:.2f} TB | {stored:.2f} TB |"
        )
    return said
