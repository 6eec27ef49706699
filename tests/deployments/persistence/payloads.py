"""Decision records for the tests, alike but for what a test names."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.persistence.decisions.records import DecisionRecord, payload_digest
from env.schedule import KeyFigures

FIRST_INSTANT = datetime(2025, 7, 22, 6, 0, tzinfo=UTC)

FIGURES = KeyFigures(
    makespan_seconds=167_400,
    tardiness_seconds=3_600,
    setup_seconds=183_600,
    completion_percent=100.0,
    utilisation_percent=78.5,
    on_time_percent=97.0,
    important_on_time_percent=95.0,
)


def decision_id(number: int) -> str:
    """The UUID whose integer value is `number`."""
    return str(uuid.UUID(int=number))


def decision(number: int = 1, **changes: Any) -> DecisionRecord:
    """Decision `number`, made `number` seconds after `FIRST_INSTANT`, with small bodies of its own."""
    values: dict[str, Any] = {
        "decision_id": decision_id(number),
        "created_at": FIRST_INSTANT + timedelta(seconds=number),
        "client": "planner",
        "request_id": f"erp-{number}",
        "plant_id": "penang",
        "line_id": None,
        "unit": "penang/line-1/2025-07-22",
        "bucket": 0.25,
        "seed": "rollout-1",
        "hash_version": 2,
        "stage": "full",
        "share": 1.0,
        "arm": "ppo",
        "algorithm_used": "ppo",
        "model": "full_production@1",
        "fallback_reason": None,
        "objective": "makespan",
        "time_budget_ms": 0,
        "job_count": 170,
        "machine_count": 40,
        "figures": FIGURES,
        "safety_score": 100.0,
        "generation_ms": 19.5,
        "request": f'{{"jobs": [{number}]}}'.encode(),
        "answer": f'{{"schedule_id": "{number}"}}'.encode(),
    }
    values |= changes
    values.setdefault("payload_sha256", payload_digest(values["request"], values["answer"]))
    return DecisionRecord(**values)
