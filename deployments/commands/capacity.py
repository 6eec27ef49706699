"""`gantry cluster size`: how many replicas, nodes and bytes a rate of plans needs, computed from measured costs.

A linear model: each stage costs so much processor time per plan, and a replica is one process that keeps one core busy
at most. It knows nothing of queues but the share of a core that is kept free for them.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from deployments.commands.terminal import plain_console

MAX_PLANS_PER_SECOND = 10_000.0
MIN_REPLICAS = 2
"""Of each stage but the writer, as in `serve_config.yaml`: while one is started anew, the other serves."""
MIN_NODES = 2
SPARE_NODES = 1
"""A node may die, and the others still carry the whole rate."""
WRITER = "DBWriter"
_OTHER_REPLICAS = 2
"""Counterfactual and RolloutController, one each."""
# docs/SERVING_PERFORMANCE.md, commit f6b62867f: sixteen clients, 170 jobs, time_budget_ms 0, a busy machine.
_ROUTER_MS, _POLICY_MS, _JUDGE_MS, _WRITER_MS, _HAPROXY_MS = 19.6, 24.5, 9.2, 2.9, 0.3
_IDLE_CORES_PER_NODE = 0.2607
# The same page, one client, commit dabd523: the whole service, Ray's processes too, shared by its nine replicas.
_MIB_PER_REPLICA = 1915.5 / 9
# docs/DURABILITY.md, "How the database grows": MariaDB, and what the challenger's row may have on top since.
_BYTES_PER_DECISION = 11_469 + 1_500
_ROWS_PER_DECISION = 3
"""The decision, and an evaluation for each of the two arms."""
_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCosts:
    """Processor milliseconds of each stage for one plan."""

    router_ms: float = _ROUTER_MS
    policy_ms: float = _POLICY_MS
    judge_ms: float = _JUDGE_MS
    writer_ms: float = _WRITER_MS

    def by_deployment(self) -> dict[str, float]:
        """Milliseconds by the name that the deployment has in `serve_config.yaml`."""
        return {
            "RequestRouter": self.router_ms,
            "PPOPolicy": self.policy_ms,
            "SafetyValidator": self.judge_ms,
            WRITER: self.writer_ms,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSize:
    """What a rate of plans needs; computed, not measured."""

    plans_per_second: float
    replicas: dict[str, int]
    cores: float
    """For the plans alone, with the share that is kept free."""
    nodes: int
    """The one that may die included."""
    memory_gib: float
    """Proportional set size of all replicas together, without what requests under way hold."""
    database_rows_per_second: float
    database_gb_per_day: float
    """At this rate all day long."""
    max_stored_per_second: float
    """What one writer stores; above it the spools fill."""

    @property
    def is_stored(self) -> bool:
        """Whether the one writer keeps up."""
        return self.plans_per_second <= self.max_stored_per_second


def size_of(plans_per_second: float, costs: StageCosts, *, cores_per_node: int, busy_share: float) -> ClusterSize:
    """The least cluster on which no stage, and no node when one is dead, is busier than `busy_share`."""
    stages = costs.by_deployment()
    busy = {name: plans_per_second * milliseconds / 1000 / busy_share for name, milliseconds in stages.items()}
    replicas = {name: 1 if name == WRITER else max(MIN_REPLICAS, math.ceil(cores)) for name, cores in busy.items()}
    cores = sum(busy.values()) + plans_per_second * _HAPROXY_MS / 1000 / busy_share
    return ClusterSize(
        plans_per_second=plans_per_second,
        replicas=replicas,
        cores=cores,
        nodes=max(MIN_NODES, math.ceil(cores / (cores_per_node - _IDLE_CORES_PER_NODE)) + SPARE_NODES),
        memory_gib=(sum(replicas.values()) + _OTHER_REPLICAS) * _MIB_PER_REPLICA / 1024,
        database_rows_per_second=plans_per_second * _ROWS_PER_DECISION,
        database_gb_per_day=plans_per_second * _BYTES_PER_DECISION * _SECONDS_PER_DAY / 1e9,
        max_stored_per_second=busy_share * 1000 / costs.writer_ms,
    )


Cost = Annotated[float, typer.Option(min=0.01, max=60_000, help="Processor milliseconds of this stage per plan.")]


def size(
    plans_per_second: Annotated[
        list[float], typer.Option(min=0.01, max=MAX_PLANS_PER_SECOND, help="Rate; may be given several times.")
    ],
    cores_per_node: Annotated[int, typer.Option(min=1, max=1024, help="Cores of each node.")] = 16,
    busy_share: Annotated[float, typer.Option(min=0.1, max=0.95, help="Share of a core that plans may use.")] = 0.7,
    router_ms: Cost = _ROUTER_MS,
    policy_ms: Cost = _POLICY_MS,
    judge_ms: Cost = _JUDGE_MS,
    writer_ms: Cost = _WRITER_MS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
) -> None:
    """Compute replicas, nodes, memory and database growth for a rate of plans; nothing is asked or measured.

    For plans of 170 jobs without a search. The costs by default are those of docs/SERVING_PERFORMANCE.md, from a busy
    machine; measure your own by `make compare`. Exit 1 when the one writer of the database could not keep up.

    Example: gantry cluster size --plans-per-second 10 --plans-per-second 100
    """
    costs = StageCosts(router_ms=router_ms, policy_ms=policy_ms, judge_ms=judge_ms, writer_ms=writer_ms)
    found = [size_of(rate, costs, cores_per_node=cores_per_node, busy_share=busy_share) for rate in plans_per_second]
    if as_json:
        print(json.dumps([asdict(each) | {"is_stored": each.is_stored} for each in found], indent=2))
    else:
        _show(found)
    raise typer.Exit(0 if all(each.is_stored for each in found) else 1)


def _show(found: list[ClusterSize]) -> None:
    console = plain_console(file_width=200)
    console.print("Computed from processor time per plan, not measured.")
    console.print(f"| plans/s | {' | '.join(found[0].replicas)} | cores | nodes | GiB | rows/s | GB a day | stored |")
    console.print("|---" * (len(found[0].replicas) + 7) + "|")
    for each in found:
        figures = f"{each.cores:.1f} | {each.nodes} | {each.memory_gib:.1f} | {each.database_rows_per_second:g}"
        stored = "yes" if each.is_stored else f"at most {each.max_stored_per_second:.0f}/s"
        counts = " | ".join(map(str, each.replicas.values()))
        console.print(
            f"| {each.plans_per_second:g} | {counts} | {figures} | {each.database_gb_per_day:.1f} | {stored} |"
        )
