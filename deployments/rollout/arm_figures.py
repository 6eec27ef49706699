"""Planned KPIs by arm, in one stage or week: means over valid schedules, and how its evaluations ended."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from deployments.rollout.assignment import Arm
from deployments.rollout.configuration import Stage
from deployments.rollout.outcomes import KPI_NAMES, Evaluation, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFigures:
    """Planned KPIs of one arm in one stage or week: means over valid schedules, and how its evaluations ended."""

    group: str
    arm: Arm
    evaluations: int
    served: int
    outcomes: dict[str, int]
    kpis: dict[str, float] | None
    latency_ms: dict[str, float] | None


def week_of(at: datetime) -> str:
    """The ISO week of an instant."""
    year, week, _ = at.isocalendar()
    return f"{year}-W{week:02}"


def figures_of(evaluations: Iterable[Evaluation], group_of: Callable[[Evaluation], str]) -> tuple[ArmFigures, ...]:
    """For each group and arm, stages in the order of the ramp; forced requests are left out."""
    groups: dict[tuple[str, Arm], list[Evaluation]] = defaultdict(list)
    for evaluation in evaluations:
        if not evaluation.is_forced:
            groups[(group_of(evaluation), evaluation.arm)].append(evaluation)
    order = {stage.value: place for place, stage in enumerate(Stage)}
    ordered = sorted(groups.items(), key=lambda item: (order.get(item[0][0], 0), item[0]))
    return tuple(_arm_figures(group, arm, members) for (group, arm), members in ordered)


def _arm_figures(group: str, arm: Arm, members: Sequence[Evaluation]) -> ArmFigures:
    kpis = [member.kpis for member in members if member.outcome is Outcome.OK and member.kpis is not None]
    latencies = sorted(member.latency_ms for member in members if member.latency_ms is not None)
    return ArmFigures(
        group=group,
        arm=arm,
        evaluations=len(members),
        served=sum(member.is_served for member in members),
        outcomes=dict(Counter(member.outcome.value for member in members)),
        kpis={name: sum(getattr(kpi, name) for kpi in kpis) / len(kpis) for name in KPI_NAMES} if kpis else None,
        latency_ms={"p50": _quantile(latencies, 0.5), "p95": _quantile(latencies, 0.95)} if latencies else None,
    )


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(quantile * len(ordered)) - 1)]
