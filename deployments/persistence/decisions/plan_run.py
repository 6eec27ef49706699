"""A plan that nobody waits for: a request with a long time budget, how far it is, and what was found so far."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands. `STOPPED` has a decision where it had begun; `FAILED` has none."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self not in (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class BestSoFar:
    """The best plan that a run has found: no plan has a makespan below `bound_seconds`.

    `found_seconds` is how long after the search began, `improvements` how many plans before it were worse.
    """

    makespan_seconds: int
    bound_seconds: int
    tardiness_seconds: int
    found_seconds: float
    improvements: int

    @property
    def gap(self) -> float:
        """By which share the makespan is above its lower bound, at least 0: what is left to be gained at most."""
        if self.bound_seconds <= 0:
            return 0.0
        return max(0.0, self.makespan_seconds / self.bound_seconds - 1.0)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> BestSoFar:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What is to be planned. `key` is the client's Idempotency-Key, None where it sent none."""

    run_id: str
    client: str
    plant_id: str
    key: str | None
    request_sha256: str
    request: bytes
    is_strict: bool
    budget_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRun:
    """How a run stands. `reason` says why it failed, or why it was stopped without a plan."""

    run_id: str
    client: str
    plant_id: str
    budget_ms: int
    state: RunState
    created_at: datetime
    changed_at: datetime
    best: BestSoFar | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A run that stands for a request; `is_replayed` where it was there before."""

    run: PlanRun
    is_replayed: bool
