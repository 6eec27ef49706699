"""What the use case needs from elsewhere: the arms that propose, the judge, the journal, the archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deployments.persistence.decisions.records import DecisionRecord, Record
from deployments.scheduling.proposals import Proposal
from env.judge.anomalies import BoundedMakespan
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Schedule


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
