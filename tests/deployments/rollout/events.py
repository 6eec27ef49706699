"""Builders of events: one healthy request a minute, and whatever a test changes about it."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

from deployments.rollout.analysis.outcomes import (
    DIFFERENCE_NAMES,
    Alarm,
    Baseline,
    CorruptionKind,
    Evaluation,
    MissingPair,
    Outcome,
    PairedObservation,
)
from deployments.rollout.analysis.windows import WindowObservation
from deployments.rollout.assignment import ArmRole
from env.schedule import KeyFigures

START = datetime(2025, 7, 22, 6, tzinfo=UTC)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def key_figures(makespan_seconds: float = 160_000.0, **changes: float) -> KeyFigures:
    values = {
        "tardiness_seconds": 0.0,
        "setup_seconds": 0,
        "utilisation_percent": 80.0,
        "on_time_percent": 97.0,
        "important_on_time_percent": 100.0,
        "completion_percent": 100.0,
    }
    return KeyFigures(makespan_seconds=makespan_seconds, **(values | changes))


def evaluation(minute: float = 0, outcome: Outcome = Outcome.OK, **changes: Any) -> Evaluation:
    fields: dict[str, Any] = {
        "decision_id": f"decision-{minute}",
        "at": at(minute),
        "ramp": 1,
        "stage": "limited",
        "unit": "p//2025-07-22",
        "job_list_digest": f"jobs-{minute}",
        "arm": ArmRole.PPO,
        "outcome": outcome,
        "is_served": True,
        "figures": key_figures() if outcome is Outcome.OK else None,
        "budget_ms": 500,
    }
    return Evaluation(**(fields | changes))


def pair(minute: float = 0, ratio: float = 0.0, **changes: Any) -> PairedObservation:
    fields: dict[str, Any] = {
        "decision_id": f"decision-{minute}",
        "at": at(minute),
        "ramp": 1,
        "stage": "limited",
        "unit": "p//2025-07-22",
        "job_list_digest": f"jobs-{minute}",
        "baseline": Baseline.RULE,
        "budget_ms": 500,
        "log_makespan_ratio": ratio,
        "differences": (0.0,) * len(DIFFERENCE_NAMES),
    }
    return PairedObservation(**(fields | changes))


def missing(minute: float = 0, stage: str = "limited", ramp: int = 1) -> MissingPair:
    return MissingPair(decision_id=f"decision-{minute}", at=at(minute), ramp=ramp, stage=stage, reason="queue full")


def alarm(minute: float = 0, corruption: CorruptionKind | None = None, **changes: Any) -> Alarm:
    fields: dict[str, Any] = {
        "decision_id": f"decision-{minute}",
        "at": at(minute),
        "ramp": 1,
        "stage": "limited",
        "corruption": corruption,
    }
    return Alarm(**(fields | changes))


def closed_window(number: int, log_ratio: float, plant: str = "p", **changes: Any) -> WindowObservation:
    """A window of ten lists on one day more for each number."""
    fields: dict[str, Any] = {
        "window": f"{plant}//{date(2025, 1, 1) + timedelta(days=number)}",
        "stage": "shadow",
        "baseline": Baseline.RULE,
        "groups": 10,
        "lists": 30,
        "log_ratio": log_ratio,
        "hours": 400.0,
        "change": math.expm1(log_ratio),
        "tail": 0,
        "tail_total": 0.0,
        "strata": {},
    }
    return WindowObservation(**(fields | changes))
