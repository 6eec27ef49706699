"""What an arm hands in. A room of its own: replicas that propose know nothing of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from env.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A schedule that nobody has judged yet.

    `method` names the stages that made it, in order. `model` is the policy's id, None when no policy
    had a part. `policy_makespan_seconds` is the makespan of the policy pass alone, before any search, and
    `gains` is by how many seconds each later stage lowered the objective.
    """

    schedule: Schedule
    method: tuple[str, ...]
    model: str | None = None
    policy_makespan_seconds: int | None = None
    gains: Mapping[str, float] = field(default_factory=dict)
