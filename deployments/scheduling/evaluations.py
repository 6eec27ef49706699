"""What the arms made of one request, as rows and events, and the task of computing the arm that did not serve."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from deployments.contracts.translation.problem import Question
from deployments.errors import Overloaded
from deployments.persistence.decisions.records import EvaluationRecord, EvaluationStatus
from deployments.rollout.analysis.guardrails import Event
from deployments.rollout.analysis.outcomes import (
    Effort,
    Evaluation,
    JobSketch,
    LossCause,
    MissingPair,
    Outcome,
    Pairing,
    judged_outcome,
    pair_or_loss,
)
from deployments.rollout.analysis.recomputations import Recomputation, schedule_hash
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.traffic import Arm, ArmAssignment
from deployments.scheduling.arms import Attempt, Attempts
from deployments.scheduling.time_budget import run_blocking
from env.judge.anomalies import BoundedMakespan
from env.judge.verdict import Violation
from env.schedule import Schedule, compare

MAX_VIOLATIONS = 20
FALLBACK = "fallback"
_WITHOUT_VERDICT = {
    EvaluationStatus.FAILED: Outcome.CRASH,
    EvaluationStatus.TIMED_OUT: Outcome.CRASH,
    EvaluationStatus.UNJUDGED: Outcome.UNJUDGED,
    EvaluationStatus.LATE: Outcome.LATE,
}


class EarlierPlan:
    """The schedule that a request continues, and how many jobs each plan moves, adds or removes: counted once."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._counted: list[tuple[Schedule, int]] = []

    def changes_of(self, plan: Schedule) -> int:
        """Takes some microseconds for each operation the first time: `count_changes` does that beside the loop."""
        for counted, changes in self._counted:
            if counted is plan:
                return changes
        changes = compare(self._schedule, plan).change_count
        self._counted.append((plan, changes))
        return changes


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationContext:
    """One decision's request, as far as its evaluations repeat it.

    `is_sampled` says whether its arms are to be compared, decided before any was asked: else it is neither a pair nor
    lost. `earlier` is the plan that it continues, None where it continues none, and `body_bytes` how large it is.
    """

    decision_id: str
    created_at: datetime
    plant_id: str
    assigned: ArmAssignment
    budget_ms: int
    job_count: int
    job_list_sha256: str
    jobs: JobSketch | None = None
    strata: tuple[str, ...] = ()
    is_sampled: bool = True
    earlier: EarlierPlan | None = None
    body_bytes: int = 0


def evaluation_records(
    context: EvaluationContext, attempts: Iterable[Attempt], served: Attempt | None
) -> list[EvaluationRecord]:
    """One row for each attempt; `served` is the one among them that was answered, None: none of them."""
    found = tuple(attempts)
    return [_record(context, attempt, outcome_of(attempt, found), attempt is served) for attempt in found]


def dropped_record(context: EvaluationContext, arm: Arm, status: EvaluationStatus, reason: str) -> EvaluationRecord:
    """The row of an arm that was to be computed and was not."""
    return _record(context, Attempt(arm=arm, status=status, reason=reason), None, False)


def with_repetition(record: EvaluationRecord, again: Recomputation) -> EvaluationRecord:
    """The row of the arm that did not serve, and with it what the served one came to where this one was computed."""
    pairing = Pairing() if record.pairing is None else Pairing.from_text(record.pairing)
    return replace(record, pairing=replace(pairing, repetition=again.repetition).as_text())


def outcome_of(attempt: Attempt, attempts: Iterable[Attempt]) -> Outcome:
    """The outcome of one attempt, given what became of the others on the same request."""
    if attempt.verdict is None:
        return _WITHOUT_VERDICT.get(attempt.status, Outcome.SHED)
    if attempt.verdict.valid:
        return Outcome.OK
    others = [other.verdict for other in attempts if other is not attempt and other.verdict is not None]
    # With nobody to say otherwise the input is at fault; a valid plan of any other arm says otherwise.
    witness = next((verdict for verdict in others if verdict.valid), attempt.verdict)
    return judged_outcome(attempt.verdict, witness)


async def count_changes(context: EvaluationContext, attempts: Iterable[Attempt]) -> None:
    """Before the events of these attempts are made: those of a large request must not hold up the event loop."""
    earlier = context.earlier
    plans = [attempt.proposal.schedule for attempt in attempts if attempt.proposal is not None]
    if earlier is None:
        return
    # Where no thread is free they are counted when they are asked for.
    with suppress(Overloaded):
        for plan in plans:
            await run_blocking(context.body_bytes, earlier.changes_of, plan)


def evaluation_events(
    context: EvaluationContext, attempts: Iterable[Attempt], served: Attempt | None
) -> list[Evaluation]:
    """What the guardrails hear of the two arms. Forced requests are no news, nor is the rule behind two models."""
    found = tuple(attempts)
    if context.assigned.is_forced or not context.assigned.ramp:
        return []
    names = {context.assigned.arm.name, context.assigned.rival.name}
    return [
        _event(context, attempt, outcome_of(attempt, found), attempt is served)
        for attempt in found
        if attempt.arm.name in names
    ]


def pair_events(context: EvaluationContext, events: Iterable[Evaluation]) -> Iterator[Event]:
    """The pair that a challenger and a champion on the same request are, or why they are none.

    Nothing while one of them is still to come, where the input was at fault, and of requests that are not sampled.
    """
    by_arm = {event.arm: event for event in events}
    if not context.is_sampled or len(by_arm) < len(ArmRole):
        return
    found = pair_or_loss(by_arm[ArmRole.PPO], by_arm[ArmRole.MANUAL])
    if found is not None:
        yield found


def missing_pair(context: EvaluationContext, cause: LossCause, reason: str, at: datetime) -> MissingPair:
    """The news that a comparison was to be made and was not."""
    assigned = context.assigned
    return MissingPair(
        decision_id=context.decision_id,
        at=at,
        ramp=assigned.ramp,
        stage=assigned.assignment.stage,
        reason=reason,
        cause=cause,
        assigned=assigned.by_hash,
        unit=assigned.assignment.unit,
        job_list_digest=context.job_list_sha256,
    )


def recomputation(context: EvaluationContext, served: Attempt, again: Attempt) -> Recomputation | None:
    """What the served plan came to when its arm was asked once more; None where it came to none that is valid."""
    assigned, first, second = context.assigned, served.proposal, again.proposal
    if not again.is_valid or first is None or second is None:
        return None
    makespans = [each.schedule.makespan_seconds for each in (first, second)]
    if not all(makespans):
        return None
    # A rule searches for nothing, and iterations are counted where no time ended them.
    is_counted = first.cpu_seconds is None or first.iterations is not None
    return Recomputation(
        decision_id=context.decision_id,
        at=context.created_at,
        ramp=assigned.ramp,
        stage=assigned.assignment.stage,
        arm=served.arm.role,
        log_ratio=math.log(makespans[1] / makespans[0]),
        is_same=schedule_hash(first.schedule) == schedule_hash(second.schedule) if is_counted else None,
    )


def _event(context: EvaluationContext, attempt: Attempt, outcome: Outcome, is_served: bool) -> Evaluation:
    proposal, effort = attempt.proposal, _effort(attempt)
    seconds = attempt.proposal_seconds
    return Evaluation(
        decision_id=context.decision_id,
        at=context.created_at,
        ramp=context.assigned.ramp,
        stage=context.assigned.assignment.stage,
        unit=context.assigned.assignment.unit,
        job_list_digest=context.job_list_sha256,
        arm=attempt.arm.role,
        outcome=outcome,
        is_served=is_served,
        baseline=attempt.baseline,
        model=None if proposal is None else proposal.model,
        source=attempt.source,
        budget_ms=context.budget_ms,
        latency_ms=None if seconds is None else 1000 * seconds,
        figures=None if attempt.verdict is None else attempt.verdict.measures.key_figures,
        is_forced=context.assigned.is_forced,
        detail=attempt.reason or "",
        jobs=context.jobs,
        strata=context.strata,
        assigned=context.assigned.by_hash,
        effort=effort,
        changed_jobs=_changed_jobs(context, attempt),
    )


def _changed_jobs(context: EvaluationContext, attempt: Attempt) -> int:
    if context.earlier is None or attempt.proposal is None:
        return 0
    return context.earlier.changes_of(attempt.proposal.schedule)


def _effort(attempt: Attempt) -> Effort | None:
    made = attempt.proposal
    if made is None or made.cpu_seconds is None:
        return None
    return Effort(iterations=made.iterations, cpu_seconds=made.cpu_seconds)


def _record(context: EvaluationContext, attempt: Attempt, outcome: Outcome | None, is_served: bool) -> EvaluationRecord:
    assigned, proposal, verdict = context.assigned, attempt.proposal, attempt.verdict
    known = {assigned.arm.name, assigned.rival.name}
    violations = () if verdict is None else verdict.violations
    return EvaluationRecord(
        decision_id=context.decision_id,
        arm=attempt.arm.name,
        role=attempt.arm.role.value if attempt.arm.name in known else FALLBACK,
        created_at=context.created_at,
        plant_id=context.plant_id,
        unit=assigned.assignment.unit,
        stage=assigned.assignment.stage,
        share=assigned.assignment.share,
        rollout_version=assigned.version,
        ramp=assigned.ramp,
        is_forced=assigned.is_forced,
        job_list_sha256=context.job_list_sha256,
        is_served=is_served,
        status=attempt.status.value,
        outcome=None if outcome is None else outcome.value,
        reason=attempt.reason,
        model=None if proposal is None else proposal.model,
        source=attempt.source,
        baseline=attempt.baseline.value,
        time_budget_ms=context.budget_ms,
        job_count=context.job_count,
        proposal_ms=_milliseconds(attempt.proposal_seconds),
        judge_ms=_milliseconds(attempt.judge_seconds),
        figures=None if verdict is None else verdict.measures.key_figures,
        safety_score=None if verdict is None else verdict.safety_score,
        violation_count=len(violations),
        violations=json.dumps([_violation(each) for each in violations[:MAX_VIOLATIONS]]),
        # Which jobs there are is told once for a decision: a pair is grouped by its challenger's.
        pairing=Pairing(
            jobs=context.jobs if attempt.arm.role is ArmRole.PPO else None,
            strata=context.strata,
            effort=_effort(attempt),
            is_sampled=context.is_sampled,
        ).as_text(),
    )


def _violation(violation: Violation) -> dict[str, Any]:
    return {
        "code": violation.code.value,
        "job_id": violation.operation_id,
        "machine_id": violation.machine_id,
        "by_seconds": violation.by_seconds,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTask:
    """`arm` is still to be computed on `question`; `attempts` is what was made of it for the answer."""

    context: EvaluationContext
    question: Question
    recent: tuple[BoundedMakespan, ...]
    attempts: Attempts
    arm: Arm


class ShadowPort(Protocol):
    """Whoever computes them."""

    def is_sampled(self, decision_id: str) -> bool:
        """Whether the arms of this decision are to be compared at all."""
        ...

    def offer(self, shadow_task: ShadowTask) -> None:
        """Take it, or drop it and count; never waits, never raises."""
        ...
