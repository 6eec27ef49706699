"""States and events of a rollout for the tests, alike but for what a test names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.rollout.analysis.outcomes import Evaluation, Outcome
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.state import MANUAL, RolloutState, Stage, StageStep
from deployments.rollout.ramp.traffic import PUBLISHED
from deployments.rollout_control.protocol import RouterReport
from env.schedule import KeyFigures
from tests.deployments.shipped_policy import CONFIGURATION

NOW = datetime(2025, 7, 22, 6, 0, tzinfo=UTC)
QUICK = replace(
    CONFIGURATION,
    shadow=StageStep(share=0.0, min_seconds=0.0),
    limited=StageStep(share=0.1, min_seconds=0.0),
    expanded=StageStep(share=0.5, min_seconds=0.0),
)


class Clock:
    """Stands still until it is moved; as instants and as seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def steady(self) -> float:
        return self.seconds


def state(**changes: Any) -> RolloutState:
    """Half of the units to PPO, in the first ramp."""
    values: dict[str, Any] = {
        "version": 3,
        "ramp": 1,
        "stage": Stage.EXPANDED,
        "share": 0.5,
        "seed": "gantry",
        "challenger": PUBLISHED,
        "champion": MANUAL,
        "configuration_hash": QUICK.hash,
        "changed_at": NOW,
        "stage_since": NOW,
    }
    return RolloutState(**values | changes)


def evaluation(number: int = 1, outcome: Outcome = Outcome.OK, **changes: Any) -> Evaluation:
    """One evaluation of PPO, on a request of its own."""
    figures = KeyFigures(
        makespan_seconds=1000.0,
        setup_seconds=0,
        tardiness_seconds=0.0,
        utilisation_percent=80.0,
        on_time_percent=100.0,
        important_on_time_percent=100.0,
        completion_percent=100.0,
    )
    values: dict[str, Any] = {
        "decision_id": f"decision-{number}",
        "at": NOW + timedelta(seconds=5 * number),
        "ramp": 1,
        "stage": "expanded",
        "unit": f"penang//{number}",
        "job_list_digest": f"{number:064}",
        "arm": ArmRole.PPO,
        "outcome": outcome,
        "is_served": True,
        "figures": figures,
    }
    return Evaluation(**values | changes)


def report(*events: Any, router: str = "r1", first: int = 0, **changes: Any) -> RouterReport:
    """What a router tells."""
    values: dict[str, Any] = {"oldest": first, "latch": None}
    return RouterReport(router=router, first=first, events=tuple(events), **values | changes)
