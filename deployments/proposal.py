"""What an arm hands in. A room of its own: replicas that propose know nothing of the wire."""

from __future__ import annotations

from dataclasses import dataclass

from env.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A schedule that nobody has judged yet.

    `method` names the stages that made it, in order. `model` is the policy's id, None when no policy
    had a part. `policy_makespan_seconds` is the makespan of the policy pass alone, before any search.
    """

    schedule: Schedule
    method: tuple[str, ...]
    model: str | None = None
    policy_makespan_seconds: int | None = None
