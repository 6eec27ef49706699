"""What the use case needs from elsewhere: the arms, what they propose, the judge, the journal, the archive.

Knows nothing of the wire, so that replicas that propose need not either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from deployments.persistence.decisions.records import DecisionRecord, Record
from env.judge.anomalies import BoundedMakespan
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from models.policy.predictor import Predictor
from models.search.anytime import SearchProgress, search


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A schedule that nobody has judged yet.

    `method` names the stages that made it, in order. `model` is the policy's id, None when no policy
    had a part. `policy_makespan_seconds` is the makespan of the policy pass alone, before any search, and
    `gains` is by how many seconds each later stage lowered the objective, missed deadlines apart. `cpu_seconds` is
    what the policy and its search cost, and `iterations` of the search, None where a budget of time ended it.
    `replanned` is the schedule that was found where keeping places of an earlier one is worth nothing, None where there
    is none to keep.
    """

    schedule: Schedule
    method: tuple[str, ...]
    model: str | None = None
    policy_makespan_seconds: int | None = None
    gains: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: float | None = field(default=None, compare=False)
    iterations: int | None = None
    replanned: Schedule | None = None


@dataclass(slots=True, kw_only=True)
class ProposalCall:
    """One call for a proposal. `job_list` is the digest of what is to be planned.

    The arm sets `has_begun` while somebody works on it: what merely waits for a replica can be called off for nothing.
    """

    job_list: str = ""
    has_begun: bool = False


class Proposer(Protocol):
    """An arm."""

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        """A schedule for all of `problem`; `budget_ms` beyond the first pass may be spent on making it better.

        Raises `ProposalFailed` for whatever went wrong in the arm, `ProposalShed` when nobody of it began,
        `Overloaded` when it has no room for the request, and `HorizonExceeded` when the calendar cannot hold the work.
        """
        ...


class Judge(Protocol):
    """The only one who may call a schedule valid."""

    async def judge(self, problem: Problem, schedule: Schedule, recent: tuple[BoundedMakespan, ...]) -> Verdict:
        """All that is wrong, or unlike the plant's recent makespans. Raises `JudgeUnavailable` without a verdict.

        `JudgeFailed`, where it was asked and failed on this plan.
        """
        ...


class Journal(Protocol):
    """Where decisions become durable."""

    async def append(self, record: Record) -> None:
        """Returns when the record survives a crash. Raises `JournalUnavailable` when that cannot be promised."""
        ...


class Archive(Protocol):
    """Where earlier decisions are read back."""

    async def get(self, decision_id: str, client: str | None) -> DecisionRecord | None:
        """One decision with its payload, None when `client` (None: nobody) has it. Raises `DatabaseError`."""
        ...


def policy_proposal(
    predictor: Predictor,
    problem: Problem,
    budget_ms: int,
    *,
    threads: int | None = None,
    progress: SearchProgress | None = None,
) -> Proposal:
    """The best that the budget buys by a policy, on `threads` threads (None: as many as the search likes).

    `progress` is shown each better schedule, and may end the search. Raises `HorizonExceeded`.
    """
    options = {} if threads is None else {"threads": threads}
    found = search(predictor, problem, budget_ms, progress=progress, **options)
    return Proposal(
        schedule=found.schedule,
        method=found.method,
        model=predictor.model_id,
        policy_makespan_seconds=found.policy_makespan_seconds,
        gains=found.gains,
        cpu_seconds=found.cpu_seconds,
        # Without any time there is the pass alone, the same for every policy.
        iterations=None if budget_ms else 0,
        replanned=found.replanned,
    )


def planners_proposal(problem: Problem) -> Proposal:
    """What the planner's rule makes. Raises `HorizonExceeded`."""
    return Proposal(schedule=dispatch(problem, Rule.PLANNER), method=(Rule.PLANNER.name.lower(),))
