"""THE USE CASE: a request becomes a safe and durable schedule, or a typed reason why not.

Plain asyncio. Everything that lives elsewhere comes in through a port: the arms that propose, the
judge, and the journal. Each arm is asked in turn, each proposal meets the same judge, and whatever
was not served is named in the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self
from zoneinfo import ZoneInfo

from uuid6 import uuid7

from deployments.completing import Plants, complete
from deployments.contracts.answer import ScheduleAnswer
from deployments.contracts.freezing import EarlierRow, earlier_rows
from deployments.contracts.notices import unknown_field_warnings
from deployments.contracts.request import ScheduleRequest
from deployments.contracts.translation import Question, translate
from deployments.contracts.validation import ValidateAnswer, ValidateRequest, claimed_schedule, validate_answer
from deployments.decision import Decision, Served
from deployments.errors import NoSafeSchedule, ProposalFailed, Rejection, TimedOut
from deployments.history import History
from deployments.off_loop import off_loop
from deployments.persistence.records import DecisionRecord, Record
from deployments.proposal import Proposal
from deployments.rollout.assignment import Arm, Assignment, FixedSplit, PlanningWindow
from deployments.settings import Settings
from env.errors import HorizonExceeded, InvalidProblem
from env.problem import Problem
from env.schedule import Schedule
from env.verdict import Verdict

__all__ = ["Answered", "Archive", "Journal", "Judge", "Proposal", "Proposer", "Scheduling", "SchedulingLimits"]

LONGEST_REASON = 500
Clock = Callable[[], datetime]

_log = logging.getLogger(__name__)


class Proposer(Protocol):
    """An arm."""

    async def propose(self, problem: Problem, budget_ms: int) -> Proposal:
        """A schedule for all of `problem`; `budget_ms` beyond the first pass may be spent on making it better.

        Raises `ProposalFailed` for whatever went wrong in the arm, `Overloaded` when it has no room
        for the request, and `HorizonExceeded` when the calendar cannot hold the work.
        """
        ...


class Judge(Protocol):
    """The only one who may call a schedule valid."""

    async def judge(self, problem: Problem, schedule: Schedule, recent_makespans_seconds: tuple[int, ...]) -> Verdict:
        """All that is wrong, or unlike the plant's recent makespans. Raises `JudgeUnavailable` without a verdict."""
        ...


class Journal(Protocol):
    """Where decisions become durable."""

    async def append(self, record: Record) -> None:
        """Returns when the record survives a crash. Raises `JournalUnavailable` when that cannot be promised."""
        ...


class Archive(Protocol):
    """Where earlier decisions are read back."""

    async def get(self, decision_id: str, client: str) -> DecisionRecord | None:
        """One decision with its payload, None when `client` has none of that id. Raises `DatabaseError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingLimits:
    """How long to wait: for a whole request, and for one arm beyond the request's own time budget."""

    request_seconds: float
    proposal_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A durable decision: the answer, and its JSON exactly as it was stored."""

    answer: ScheduleAnswer
    body: bytes


class Scheduling:
    """Assigns an arm, has it propose, has the proposal judged, falls back to the manual rule, records, answers."""

    def __init__(
        self,
        *,
        proposers: Mapping[Arm, Proposer],
        judge: Judge,
        journal: Journal,
        archive: Archive,
        plants: Plants,
        split: FixedSplit,
        zone: ZoneInfo,
        plant_id: str,
        limits: SchedulingLimits,
        clock: Clock,
        stopwatch: Callable[[], float] = time.perf_counter,
        new_id: Callable[[], object] = uuid7,
    ) -> None:
        self._proposers = proposers
        self._judge = judge
        self._journal = journal
        self._archive = archive
        self._plants = plants
        self._split = split
        self._zone = zone
        self._plant_id = plant_id
        self._limits = limits
        self._clock = clock
        self._stopwatch = stopwatch
        self._new_id = new_id
        self._history = History()
        self._last_decided_at: datetime | None = None

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        proposers: Mapping[Arm, Proposer],
        judge: Judge,
        journal: Journal,
        archive: Archive,
        plants: Plants,
        clock: Clock,
    ) -> Self:
        """The use case as the settings want it."""
        return cls(
            proposers=proposers,
            judge=judge,
            journal=journal,
            archive=archive,
            plants=plants,
            split=FixedSplit(share=settings.ppo_share, seed=settings.assignment_seed),
            zone=settings.zone,
            plant_id=settings.plant_id,
            limits=SchedulingLimits(
                request_seconds=settings.request_timeout_seconds, proposal_seconds=settings.proposal_timeout_seconds
            ),
            clock=clock,
        )

    @property
    def stage(self) -> str:
        """How far PPO is rolled out."""
        return self._split.stage

    @property
    def last_decided_at(self) -> datetime | None:
        """When the newest durable decision was asked for, None before the first."""
        return self._last_decided_at

    async def schedule(
        self, request: ScheduleRequest, *, client: str, raw_body: bytes, warnings: tuple[str, ...] = ()
    ) -> Answered:
        """A schedule that is complete, judged safe and on disk.

        Raises `InvalidProblem` when nobody could schedule the request, `NoSafeSchedule` when no arm
        did, and a `TemporarilyUnavailable`, or a `DatabaseError` where an earlier schedule is needed, when
        asking again later may help.
        """
        limit = self._limits.request_seconds
        try:
            async with asyncio.timeout(limit):
                return await self._decide(request, client, raw_body, warnings)
        except TimeoutError:
            raise TimedOut(f"the request must be answered within {limit:g} s, took longer", 5) from None

    async def validate(self, request: ValidateRequest, *, client: str, body_bytes: int) -> ValidateAnswer:
        """The verdict on somebody's schedule. Raises `InvalidProblem`, `JudgeUnavailable` or `DatabaseError`."""
        asked, body = await self._completed(request.request, b"")
        body_bytes += len(body)
        question = await self.question(asked, client, self._clock(), body_bytes)
        schedule = await off_loop(body_bytes, lambda: claimed_schedule(request.scheduled_jobs))
        recent = self._history.recent_makespans_seconds(asked.plant_id or self._plant_id)
        verdict = await self._judge.judge(question.problem, schedule, recent)
        warnings = unknown_field_warnings(request)
        return await off_loop(
            body_bytes, lambda: validate_answer(request.scheduled_jobs, question, verdict, warnings=warnings)
        )

    async def _decide(
        self, request: ScheduleRequest, client: str, raw_body: bytes, warnings: tuple[str, ...]
    ) -> Answered:
        created_at, started = self._clock(), self._stopwatch()
        request, raw_body = await self._completed(request, raw_body)
        question = await self.question(request, client, created_at, len(raw_body))
        assignment = self._assign(request, question)
        recent = self._history.recent_makespans_seconds(request.plant_id or self._plant_id)
        served = await self._first_safe(question.problem, assignment.arm, request.time_budget_ms, recent)
        decision = Decision(
            decision_id=str(self._new_id()),
            created_at=created_at,
            client=client,
            plant_id=request.plant_id or self._plant_id,
            request=request,
            question=question,
            assignment=assignment,
            served=served,
            generation_seconds=self._stopwatch() - started,
            warnings=(*warnings, *question.warnings),
        )
        answered, record = await off_loop(len(raw_body), lambda: _written(decision, raw_body))
        await self._journal.append(record)
        self._history.remember(decision.plant_id, record.makespan_seconds)
        self._last_decided_at = created_at
        return answered

    async def _completed(self, request: ScheduleRequest, body: bytes) -> tuple[ScheduleRequest, bytes]:
        return await complete(request, body, plants=self._plants, plant_id=request.plant_id or self._plant_id)

    async def question(self, request: ScheduleRequest, client: str, now: datetime, body_bytes: int) -> Question:
        """What `request` asks when it arrives at `now`. Raises `InvalidProblem` or `DatabaseError`."""
        earlier = await self._earlier(request, client)
        return await off_loop(body_bytes, lambda: translate(request, zone=self._zone, now=now, earlier=earlier))

    async def _earlier(self, request: ScheduleRequest, client: str) -> tuple[EarlierRow, ...] | None:
        """The rows of the schedule that the request continues, None when there are none to be had."""
        if request.previous_schedule_id is None:
            return None
        record = await self._archive.get(request.previous_schedule_id, client)
        answer = None if record is None else record.answer
        return None if answer is None else await off_loop(len(answer), lambda: earlier_rows(answer))

    def _assign(self, request: ScheduleRequest, question: Question) -> Assignment:
        if request.experiment_unit is not None:
            return self._split.assign(request.experiment_unit)
        plant_id = request.plant_id or self._plant_id
        return self._split.assign(PlanningWindow(plant_id=plant_id, line_id=request.line_id, day=question.start.date()))

    async def _first_safe(self, problem: Problem, assigned: Arm, budget_ms: int, recent: tuple[int, ...]) -> Served:
        rejections: list[Rejection] = []
        for arm in dict.fromkeys((assigned, Arm.MANUAL)):
            outcome = await self._attempt(arm, problem, budget_ms, recent, rejections)
            if isinstance(outcome, Served):
                return outcome
            _log.warning("arm %s did not serve: %s", arm.value, outcome.reason)
            rejections.append(outcome)
        raise NoSafeSchedule(tuple(rejections))

    async def _attempt(
        self, arm: Arm, problem: Problem, budget_ms: int, recent: tuple[int, ...], earlier: list[Rejection]
    ) -> Served | Rejection:
        try:
            proposal = await self._proposal(arm, problem, budget_ms)
        except ProposalFailed as failure:
            return Rejection(arm=arm.value, reason=_shortened(f"no proposal: {failure}"))
        except HorizonExceeded as failure:
            if arm is Arm.MANUAL:
                raise InvalidProblem([("jobs", str(failure))]) from failure
            return Rejection(arm=arm.value, reason=_shortened(f"no proposal: {failure}"))
        verdict = await self._judge.judge(problem, proposal.schedule, recent)
        if not verdict.valid:
            return Rejection(arm=arm.value, reason=_objection(verdict), violations=verdict.violations)
        fallback_reason = earlier[0].reason if earlier else None
        return Served(arm=arm, proposal=proposal, verdict=verdict, fallback_reason=fallback_reason)

    async def _proposal(self, arm: Arm, problem: Problem, budget_ms: int) -> Proposal:
        limit = self._limits.proposal_seconds + budget_ms / 1000
        try:
            async with asyncio.timeout(limit):
                return await self._proposers[arm].propose(problem, budget_ms)
        except TimeoutError:
            raise ProposalFailed(f"took longer than {limit:g} s") from None


def _written(decision: Decision, raw_body: bytes) -> tuple[Answered, DecisionRecord]:
    answer = decision.answer()
    body = answer.model_dump_json().encode()
    return Answered(answer=answer, body=body), decision.record(raw_body, body)


def _objection(verdict: Verdict) -> str:
    critical = [violation for violation in verdict.violations if violation.is_critical]
    count = f"{len(critical):,} critical violation{'s' if len(critical) > 1 else ''}"
    return _shortened(f"rejected by the judge: {count}, first {critical[0].code.value}: {critical[0].message}")


def _shortened(reason: str) -> str:
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + "…"
