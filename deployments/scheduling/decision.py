"""One decision: who was asked, who served and what the judge said; as an answer and as a record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

from pydantic import TypeAdapter

from deployments.contracts.answers.calendar import calendar_answer, far_future_warnings
from deployments.contracts.answers.figures import metrics_of
from deployments.contracts.answers.schedule import (
    DecisionAnswer,
    ScheduleAnswer,
    changes_of,
    importance_warnings,
    safety_of,
    scheduled_jobs_of,
    stability_warnings,
)
from deployments.contracts.requests.schedule_request import JobRequest, ScheduleRequest
from deployments.contracts.requests.wire import hours_of, instant
from deployments.contracts.translation.plant import holiday_warnings
from deployments.contracts.translation.problem import Question
from deployments.persistence.decisions.records import DecisionRecord, payload_digest
from deployments.rollout.analysis.outcomes import JobSketch
from deployments.rollout.ramp.state import Stage
from deployments.rollout.ramp.traffic import ArmAssignment
from deployments.scheduling.arms import Attempt, Attempts
from deployments.scheduling.evaluations import EvaluationContext, evaluation_records
from deployments.scheduling.proposals import Proposal
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Schedule

ROLLED_BACK_WARNING = (
    "the rollout was rolled back: the planner's rule made this plan, no policy serves until the next ramp"
)
_JOB_LIST = TypeAdapter(list[JobRequest])


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Everything that is answered and stored about one request: as it was `asked`, and with all plant data."""

    context: EvaluationContext
    client: str
    asked: ScheduleRequest
    request: ScheduleRequest
    question: Question
    attempts: Attempts
    generation_seconds: float
    warnings: tuple[str, ...]

    def answer(self) -> ScheduleAnswer:
        """The decision in the words of the wire."""
        served, context, problem = self.attempts.served, self.context, self.question.problem
        proposal, verdict = _judged(served)
        policy_makespan = proposal.policy_makespan_seconds
        return ScheduleAnswer(
            schedule_id=context.decision_id,
            request_id=self.request.request_id,
            scheduled_jobs=scheduled_jobs_of(self.request, self.question, proposal.schedule),
            metrics=metrics_of(verdict.measures),
            generation_time=self.generation_seconds,
            algorithm_used=served.arm.algorithm.value,
            timestamp=context.created_at,
            optimization_objective=problem.objective.value,
            zone=self.question.zone.key,
            calendar_used=calendar_answer(self.asked, self.request, problem.hours, self._last_day(proposal.schedule)),
            warnings=[
                *self.warnings,
                *self._rollout_warnings(),
                *importance_warnings(problem, proposal.schedule),
                *stability_warnings(problem, proposal.schedule, proposal.replanned),
                *self._calendar_warnings(proposal.schedule),
            ],
            changes=changes_of(self.request, self.question, proposal.schedule),
            decision=DecisionAnswer(
                arm=context.assigned.arm.name,
                stage=context.assigned.assignment.stage,
                model=proposal.model,
                method=list(proposal.method),
                fallback_reason=self.attempts.fallback_reason,
                policy_makespan=None if policy_makespan is None else hours_of(policy_makespan),
                time_budget_ms=context.budget_ms,
                gains={stage: hours_of(seconds) for stage, seconds in proposal.gains.items()},
            ),
            safety=safety_of(verdict),
        )

    def _rollout_warnings(self) -> tuple[str, ...]:
        """That nobody asked for manual: `fallback_reason` is None where manual is the arm that was assigned."""
        assigned = self.context.assigned
        is_rolled_back = assigned.assignment.stage == Stage.ROLLED_BACK
        return (ROLLED_BACK_WARNING,) if is_rolled_back and not assigned.is_forced else ()

    def _calendar_warnings(self, schedule: Schedule) -> tuple[str, ...]:
        question = self.question
        return (
            *holiday_warnings(self.request, question.start, self._last_day(schedule)),
            *far_future_warnings(question.problem, schedule, question.start, question.zone),
        )

    def _last_day(self, schedule: Schedule) -> date:
        return instant(self.question.start, schedule.makespan_seconds, self.question.zone).date()

    def record(self, request_body: bytes, answer_body: bytes) -> DecisionRecord:
        """The decision as it is stored; without the bodies when the client asked for that.

        What is still to come of an arm that was late is a row of its own, later.
        """
        keeps_payload = self.request.save_to_database
        request, answer = (request_body, answer_body) if keeps_payload else (None, None)
        context, served = self.context, self.attempts.served
        proposal, verdict = _judged(served)
        assigned, assignment = context.assigned, context.assigned.assignment
        return DecisionRecord(
            decision_id=context.decision_id,
            created_at=context.created_at,
            client=self.client,
            request_id=self.request.request_id,
            plant_id=context.plant_id,
            line_id=self.request.line_id,
            unit=assignment.unit,
            bucket=assignment.bucket,
            seed=assignment.seed,
            hash_version=assignment.hash_version,
            stage=assignment.stage,
            share=assignment.share,
            arm=assigned.arm.name,
            algorithm_used=served.arm.algorithm.value,
            model=proposal.model,
            fallback_reason=self.attempts.fallback_reason,
            objective=self.question.problem.objective.value,
            time_budget_ms=context.budget_ms,
            job_count=verdict.measures.operations,
            machine_count=len(self.question.problem.machines),
            figures=verdict.measures.key_figures,
            safety_score=verdict.safety_score,
            generation_ms=self.generation_seconds * 1000,
            request=request,
            answer=answer,
            payload_sha256=payload_digest(request, answer),
            rollout_version=assigned.version,
            is_forced=assigned.is_forced,
            job_list_sha256=context.job_list_sha256,
            evaluations=tuple(evaluation_records(context, self.attempts.settled, served)),
        )


def _judged(served: Attempt) -> tuple[Proposal, Verdict]:
    assert served.proposal is not None, "what is served was proposed"
    assert served.verdict is not None, "what is served was judged"
    return served.proposal, served.verdict


def context_of(
    request: ScheduleRequest,
    decision_id: str,
    created_at: datetime,
    plant_id: str,
    assigned: ArmAssignment,
    budget_ms: int,
    job_list: str,
    jobs: JobSketch,
    strata: tuple[str, ...],
) -> EvaluationContext:
    """What the evaluations of a request repeat of it.

    `created_at` is when it arrived, `budget_ms` what it was given, `job_list` the digest of its jobs.
    `jobs` says which they are, `strata` what kinds of lists theirs belongs to.
    """
    return EvaluationContext(
        decision_id=decision_id,
        created_at=created_at,
        plant_id=plant_id,
        assigned=assigned,
        budget_ms=budget_ms,
        job_count=len(request.jobs),
        job_list_sha256=job_list,
        jobs=jobs,
        strata=strata,
    )


def strata_of(plant_id: str, problem: Problem) -> tuple[str, ...]:
    """The kinds of lists that one belongs to, but for its size, of which the thirds are known later."""
    choices = (choice for operation in problem.operations for choice in operation.alternatives)
    has_setups = bool(problem.changeovers) or any(choice.setup_seconds for choice in choices)
    return (
        f"plant {plant_id}",
        "lists with setups" if has_setups else "lists without setups",
        "work around the clock" if problem.hours is None else "work by a calendar",
    )


def job_sketch(request: ScheduleRequest) -> JobSketch:
    """Which jobs are asked for, to tell how far two lists are the same one."""
    return JobSketch.of(job.job_id for job in request.jobs)


def job_list_digest(request: ScheduleRequest) -> str:
    """The same for the same jobs, whatever else is asked."""
    return hashlib.sha256(_JOB_LIST.dump_json(request.jobs)).hexdigest()
