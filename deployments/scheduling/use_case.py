"""THE USE CASE: a request becomes a safe and durable schedule, or a typed reason why not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from uuid6 import uuid7

from deployments.contracts.answers.schedule import ScheduleAnswer
from deployments.contracts.answers.validation import ValidateAnswer, ValidateRequest, claimed_schedule, validate_answer
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.translation.problem import Question
from deployments.errors import ENDED, JournalUnavailable, NoSafeSchedule, Overloaded, TimedOut
from deployments.persistence.decisions.records import DecisionRecord, EvaluationRecord, EvaluationStatus
from deployments.rollout.analysis.outcomes import ASKED_FOR_ARM, Evaluation, LossCause, MissingPair
from deployments.rollout.assignment import ArmRole
from deployments.rollout.model_registry import Artefact
from deployments.rollout.ramp.traffic import RULE, Arm, Rollout
from deployments.runtime.background import DetachedTasks
from deployments.runtime.clock import Clock
from deployments.runtime.metrics import PLAN_BUDGET, PLAN_OPERATIONS, PLAN_SECONDS, PLANS, SHED, Meter
from deployments.scheduling.arms import ArmRunner, Attempt, Attempts, Turn, shortened
from deployments.scheduling.decision import Decision, job_list_of, strata_of
from deployments.scheduling.evaluations import (
    EarlierPlan,
    EvaluationContext,
    ShadowPort,
    ShadowTask,
    count_changes,
    dropped_record,
    evaluation_events,
    evaluation_records,
    missing_pair,
    outcome_of,
    pair_events,
)
from deployments.scheduling.idempotency import Lease, under_claim
from deployments.scheduling.ports import Archive, Journal, Judge, Proposer
from deployments.scheduling.question import QuestionBuilder
from deployments.scheduling.time_budget import BudgetLimit, LoadShedding, RecentLosses, WorkInFlight, run_blocking
from env.errors import InvalidProblem
from env.judge.anomalies import BoundedMakespan

STAGES = ("translate", "arms", "answer", "append")
"""Of the way of a plan; `arms` holds the served arm's `propose` and `judge`, and whatever failed before it."""
NO_FALLBACK = "none"
MAX_MAKESPANS = 20
MAX_PLANTS = 1000
__all__ = ["Answered", "Archive", "Journal", "Judge", "Proposer", "Scheduling"]
_log = logging.getLogger(__name__)
# A disk that hangs for so long holds up nobody who has stopped waiting.
_APPEND_SECONDS = 1.0
WITHDRAWN = "withdrawn by the rollout while the request was under way"


class RecentMakespans:
    """Begins empty with each router, and shares nothing with the others.

    Of each plant the last `max_makespans` are kept; with more than `max_plants`, the plant that was
    served least recently is forgotten, because clients name plants as they like.
    """

    def __init__(self, *, max_makespans: int = MAX_MAKESPANS, max_plants: int = MAX_PLANTS) -> None:
        self._max_makespans = max_makespans
        self._max_plants = max_plants
        self._plants: OrderedDict[str, deque[BoundedMakespan]] = OrderedDict()

    def of(self, plant_id: str) -> tuple[BoundedMakespan, ...]:
        """Those of the plant, oldest first; none for a plant that is not known."""
        return tuple(self._plants.get(plant_id, ()))

    def remember(self, plant_id: str, makespan: BoundedMakespan) -> None:
        """A schedule of the plant was served."""
        self._plants.setdefault(plant_id, deque(maxlen=self._max_makespans)).append(makespan)
        self._plants.move_to_end(plant_id)
        if len(self._plants) > self._max_plants:
            self._plants.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A durable decision: the answer, and its JSON exactly as it was stored."""

    answer: ScheduleAnswer
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Accepted:
    """A request that has got its arm, and whose turn it is to answer it."""

    context: EvaluationContext
    turn: Turn


class Scheduling:
    """Assigns an arm, has it propose, has the proposal judged, falls back to the manual rule, records, answers.

    Unless `is_compared`, its decisions are marked as those of a forced arm are: no statistics count them.
    """

    def __init__(
        self,
        *,
        arms: ArmRunner,
        judge: Judge,
        journal: Journal,
        question_builder: QuestionBuilder,
        rollout: Rollout,
        shadow: ShadowPort,
        find_model: Callable[[str], Artefact | None],
        request_seconds: float,
        budget_limit: BudgetLimit,
        load: LoadShedding,
        meter: Meter,
        clock: Clock,
        is_compared: bool = True,
        stopwatch: Callable[[], float] = time.perf_counter,
        new_id: Callable[[], object] = uuid7,
    ) -> None:
        self._arms = arms
        self._judge = judge
        self._journal = journal
        self._question_builder = question_builder
        self._rollout = rollout
        self._shadow = shadow
        self._find_model = find_model
        self._request_seconds = request_seconds
        self._budget_limit = budget_limit
        self._clock = clock
        self._is_compared = is_compared
        self._stopwatch = stopwatch
        self._new_id = new_id
        self._recent_makespans = RecentMakespans()
        self._load = load
        self._meter = meter
        self._losses = RecentLosses()
        self._late = DetachedTasks()
        self._last_decided_at: datetime | None = None

    @property
    def stage(self) -> str:
        """How far PPO is rolled out, as far as this router knows."""
        return self._rollout.traffic_split().stage

    @property
    def last_decided_at(self) -> datetime | None:
        """When the newest durable decision was asked for, None before the first."""
        return self._last_decided_at

    def policy_losses(self) -> tuple[int, int]:
        """How many of its latest requests the policy had no room or time for, of how many; 0 while they are few."""
        return self._losses.counts()

    def require_room(self, body_bytes: int) -> None:
        """Raises `Overloaded` when a request with so large a body would have to wait too long beside the others."""
        try:
            self._load.require_room(body_bytes)
        except Overloaded:
            self._meter.count(SHED)
            raise

    async def close(self, seconds: float) -> None:
        """Waits so long for arms that were late, to tell what became of them."""
        await self._late.finish(timeout_seconds=seconds)

    async def schedule(
        self,
        request: ScheduleRequest,
        *,
        client: str,
        raw_body: bytes,
        warnings: tuple[str, ...] = (),
        lease: Lease | None = None,
    ) -> Answered:
        """A schedule that is complete, judged safe and on disk; under `lease` when an idempotency key was claimed.

        `warnings` of whoever read the request come first in the answer.

        Raises `InvalidProblem` when nobody could schedule the request, `NoSafeSchedule` when no arm
        did, and a `TemporarilyUnavailable`, or a `DatabaseError` where an earlier schedule is needed, when
        asking again later may help.
        """
        # Once more: those that came together were all let in before the first of them was read and counted.
        self.require_room(len(raw_body))
        limit = self._request_seconds
        accepted: list[_Accepted] = []
        try:
            with self._load.request(len(raw_body)) as work:
                async with asyncio.timeout(limit):
                    return await self._decide(request, client, raw_body, warnings, lease, accepted, work)
        except TimeoutError:
            message = f"the request must be answered within {limit:g} s, took longer"
            self._lose_to_arm(accepted, EvaluationStatus.TIMED_OUT, message)
            raise TimedOut(message, 5) from None
        except asyncio.CancelledError as error:
            if error.args == (ENDED,):
                self._lose(accepted, EvaluationStatus.UNANSWERED, LossCause.UNANSWERED, ENDED)
            else:
                self._lose(accepted, EvaluationStatus.CLIENT_GONE, LossCause.CLIENT_GONE, "the client has hung up")
            raise
        except InvalidProblem:
            raise
        except Exception as error:  # whatever it is, it is passed on
            if isinstance(error, NoSafeSchedule) and error.is_of_input:
                raise
            text = shortened(f"{type(error).__name__}: {error}")
            if isinstance(error, Overloaded):
                self._lose_to_arm(accepted, EvaluationStatus.FAILED, text)
            else:
                self._lose(accepted, EvaluationStatus.UNANSWERED, LossCause.UNANSWERED, text)
            raise

    def _lose(self, accepted: list[_Accepted], status: EvaluationStatus, cause: LossCause, reason: str) -> None:
        """Tells the experiment, and keeps as a row, that a request which had got its arm was not answered."""
        for each in accepted:
            lost = self._unanswered(each.context)
            self._tell_lost(lost, dropped_record(lost, lost.assigned.arm, status, reason), cause, reason)

    def _lose_to_arm(self, accepted: list[_Accepted], status: EvaluationStatus, reason: str) -> None:
        """The same of a request that got no answer in time or no room: a crash, where the challenger held it up."""
        for each in accepted:
            arm, lost = each.turn.arm, self._unanswered(each.context)
            attempts = () if arm is None else (Attempt(arm=arm, status=status, reason=shortened(reason)),)
            events = [e for e in evaluation_events(lost, attempts, None) if e.arm is ArmRole.PPO]
            if not events:
                self._lose([each], EvaluationStatus.UNANSWERED, LossCause.UNANSWERED, reason)
                continue
            for event in events:
                self._rollout.observe(event)
            (row,) = evaluation_records(lost, attempts, None)
            self._tell_lost(lost, replace(row, status=EvaluationStatus.UNANSWERED.value), LossCause.CRASH, reason)

    def _unanswered(self, context: EvaluationContext) -> EvaluationContext:
        """Under an id of its own: with an idempotency key the next attempt has the same one, and rows of its own."""
        return replace(context, decision_id=str(self._new_id()))

    def _tell_lost(self, lost: EvaluationContext, row: EvaluationRecord, cause: LossCause, reason: str) -> None:
        if not lost.assigned.ramp or not self._rollout.traffic_split().is_comparing:
            return
        if lost.is_sampled:
            self._rollout.observe(missing_pair(lost, cause, reason, self._clock()))
        elif row.outcome is None:
            # Neither a lost pair nor anything that a guardrail has heard of.
            return
        self._late.start(self._keep(row), "unanswered request")

    async def _append(self, record: DecisionRecord) -> None:
        """Makes the decision durable. Raises `JournalUnavailable`.

        Whoever calls the request off meanwhile is heard when that is done, for then it may be kept: it is answered, and
        counts, like any other.
        """
        appending = asyncio.create_task(self._journal.append(record))
        try:
            await asyncio.shield(appending)
        except asyncio.CancelledError:
            await asyncio.wait({appending}, timeout=_APPEND_SECONDS)
            if not appending.done():
                raise
            await appending

    async def _keep(self, row: EvaluationRecord) -> None:
        try:
            await self._journal.append(row)
        except JournalUnavailable as failure:
            _log.warning("what became of %s is not kept: %s", row.decision_id, failure)

    async def validate(
        self, request: ValidateRequest, *, client: str, body_bytes: int, warnings: tuple[str, ...] = ()
    ) -> ValidateAnswer:
        """The verdict on somebody's schedule, with `warnings` of whoever read it, and of the plant's data.

        Raises `InvalidProblem`, `JudgeUnavailable` or `DatabaseError`.
        """
        complete = await self._question_builder.completed(request.request, b"")
        completed, body_bytes = complete.request, body_bytes + len(complete.body)
        question = await self.question(completed, client, self._clock(), body_bytes)
        schedule = await run_blocking(body_bytes, claimed_schedule, request.scheduled_jobs)
        recent = self._recent_makespans.of(self._question_builder.plant_of(completed))
        verdict = await self._judge.judge(question.problem, schedule, recent)
        warnings += complete.warnings
        return await run_blocking(
            body_bytes, validate_answer, request.scheduled_jobs, question, verdict, warnings=warnings
        )

    async def require_possible(self, request: ScheduleRequest, *, client: str, body_bytes: int) -> str:
        """Refuses what `schedule` would refuse before it asks any arm; the plant that the request is about.

        Raises `InvalidProblem`, or as `validate` does.
        """
        complete = await self._question_builder.completed(request, b"")
        if request.arm is not None:
            self._named(request.arm)
        await self.question(complete.request, client, self._clock(), body_bytes + len(complete.body))
        return self._question_builder.plant_of(request)

    async def question(self, request: ScheduleRequest, client: str, now: datetime, body_bytes: int) -> Question:
        """What `request` asks when it arrives at `now`. Raises `InvalidProblem` or `DatabaseError`."""
        return await self._question_builder.question(request, client, now, body_bytes)

    async def _decide(
        self,
        request: ScheduleRequest,
        client: str,
        raw_body: bytes,
        warnings: tuple[str, ...],
        lease: Lease | None,
        accepted: list[_Accepted],
        work: WorkInFlight,
    ) -> Answered:
        """As `schedule`; what has got its arm is appended to `accepted`, and `work` is told what it came to."""
        created_at, started, begun = self._clock(), self._stopwatch(), time.perf_counter()
        asked = request
        complete = await self._question_builder.completed(asked, raw_body)
        request, raw_body = complete.request, complete.body
        work.body_bytes = len(raw_body)
        question = await self._question_builder.question(request, client, created_at, len(raw_body))
        plant_id = self._question_builder.plant_of(request)
        unit = self._question_builder.unit_of(request, question)
        split = self._rollout.traffic_split()
        strata = strata_of(plant_id, question.problem)
        forced = None if request.arm is None else self._named(request.arm)
        assigned = split.assign(unit, strata) if forced is None else split.force(unit, forced, strata)
        # A rollback ends what was assigned by the share, whether it counts or not; what was asked for by name stays.
        permitted = assigned
        if not self._is_compared:
            assigned = replace(assigned, is_forced=True)
        recent = self._recent_makespans.of(plant_id)
        budget_ms = self._load.afforded_ms(self._budget_limit.cut(request.time_budget_ms))
        is_budget_named = "time_budget_ms" in request.model_fields_set
        cuts = self._budget_limit.warnings(request.time_budget_ms, is_named=is_budget_named)
        job_list, jobs = await run_blocking(len(raw_body), job_list_of, request.jobs)
        decision_id = str(self._new_id()) if lease is None else lease.decision_id
        context = EvaluationContext(
            decision_id=decision_id,
            created_at=created_at,
            plant_id=plant_id,
            assigned=assigned,
            budget_ms=budget_ms,
            job_count=len(request.jobs),
            job_list_sha256=job_list,
            jobs=jobs,
            strata=strata,
            is_sampled=self._shadow.is_sampled(decision_id),
            earlier=None if question.earlier is None else EarlierPlan(question.earlier),
            body_bytes=len(raw_body),
        )
        turn = Turn()
        accepted.append(_Accepted(context=context, turn=turn))
        translated = time.perf_counter()
        attempts = await self._arms.first_safe(question, assigned.order, budget_ms, recent, job_list, turn)
        work.searched_seconds = attempts.searched_seconds(budget_ms)
        work.is_typical = all(attempt.proposal is not None for attempt in attempts.all)

        async def settled() -> tuple[ScheduleAnswer, bytes, DecisionRecord]:
            decision = Decision(
                context=context,
                client=client,
                asked=asked,
                request=request,
                question=question,
                attempts=attempts,
                generation_seconds=self._stopwatch() - started,
                warnings=(*warnings, *cuts, *complete.warnings, *question.warnings, *attempts.warnings),
            )
            await count_changes(context, attempts.settled)
            return await run_blocking(len(raw_body), decision.written, raw_body)

        proposed = time.perf_counter()
        try:
            answer, body, record = await settled()
            # Once more just before the promise: a rollback must not have to wait for slow requests.
            if not self._rollout.traffic_split().permits(permitted, attempts.served.arm):
                attempts = await self._arms.replaced(question, attempts, WITHDRAWN, recent)
                answer, body, record = await settled()
            if lease is not None:
                record = under_claim(record, lease, body)
                lease.begin_append()
            written = time.perf_counter()
            await self._append(record)
        except BaseException:
            attempts.call_off()
            raise
        self._recent_makespans.remember(plant_id, attempts.served.bounded_makespan)
        self._last_decided_at = created_at
        marks = begun, translated, proposed, written, time.perf_counter()
        self._measure(
            context, len(question.problem.operations), attempts, dict(zip(STAGES, pairwise(marks), strict=True))
        )
        self._report(context, question, recent, attempts)
        return Answered(answer=answer, body=body)

    def _measure(
        self,
        context: EvaluationContext,
        operations: int,
        attempts: Attempts,
        stages: Mapping[str, tuple[float, float]],
    ) -> None:
        """Tells what a plan that was made took, and who made it."""
        first, served = attempts.all[0], attempts.served
        fallback = NO_FALLBACK if served is first else outcome_of(first, attempts.all).value
        if attempts.withdrawn is not None:
            fallback = "withdrawn"
        self._meter.count(PLANS, arm=first.arm.role.value, by=served.arm.role.value, fallback=fallback)
        self._meter.observe(PLAN_OPERATIONS, operations)
        self._meter.observe(PLAN_BUDGET, context.budget_ms)
        for stage, (begun, ended) in stages.items():
            self._meter.observe(PLAN_SECONDS, ended - begun, stage=stage)
        for stage, seconds in (("propose", served.proposal_seconds), ("judge", served.judge_seconds)):
            if seconds is not None:
                self._meter.observe(PLAN_SECONDS, seconds, stage=stage)

    def _named(self, arm: str) -> Arm:
        """The arm that a request asks for. Raises `InvalidProblem` when there is none of that name."""
        if arm == ArmRole.MANUAL.value:
            return RULE
        if arm == ArmRole.PPO.value:
            return self._rollout.traffic_split().challenger
        artefact = self._find_model(arm)
        if artefact is None:
            raise InvalidProblem([("arm", f"must be ppo, manual or the id of a registered model, was {arm!r}")])
        return Arm(name=arm, role=ArmRole.PPO, artefact=artefact)

    def _report(
        self, context: EvaluationContext, question: Question, recent: tuple[BoundedMakespan, ...], attempts: Attempts
    ) -> None:
        """Tells the guardrails what happened, and has the arm computed that did not come to be asked."""
        events = evaluation_events(context, attempts.settled, attempts.served)
        self._observe(context, events, told=events)
        for attempt in attempts.all:
            if attempt.pending is not None:
                self._late.start(self._settle(context, attempts, attempt, attempt.pending), "late proposal")
            if attempt.arm.role is ArmRole.PPO:
                self._losses.note(is_lost=outcome_of(attempt, attempts.all).loses_pair)
        assigned = context.assigned
        was_asked = any(attempt.arm == assigned.rival for attempt in attempts.all)
        is_comparing = context.is_sampled and self._rollout.traffic_split().is_comparing
        if assigned.is_forced and assigned.ramp and is_comparing:
            self._rollout.observe(missing_pair(context, LossCause.FORCED, ASKED_FOR_ARM, context.created_at))
        if assigned.is_forced or was_asked or not is_comparing:
            return
        self._shadow.offer(
            ShadowTask(context=context, question=question, recent=recent, attempts=attempts, arm=assigned.rival)
        )

    def _observe(self, context: EvaluationContext, events: list[Evaluation], *, told: list[Evaluation]) -> None:
        """Passes on those of the request's `events` that are `told` now, and the pair that all of them make."""
        for event in (*told, *pair_events(context, events)):
            if not isinstance(event, MissingPair) or self._rollout.traffic_split().is_comparing:
                self._rollout.observe(event)

    async def _settle(
        self, context: EvaluationContext, attempts: Attempts, late: Attempt, pending: asyncio.Task[Attempt]
    ) -> None:
        """Tells of an arm that was late what became of it in the end: the guardrails, and as a row."""
        settled = await pending
        await count_changes(context, (settled,))
        found = tuple(settled if attempt is late else attempt for attempt in attempts.all)
        events = evaluation_events(context, found, attempts.served)
        self._observe(context, events, told=[event for event in events if event.arm is settled.arm.role])
        (row,) = evaluation_records(context, (settled,), attempts.served)
        await self._keep(row)
