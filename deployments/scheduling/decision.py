"""One decision: who was asked, who served and what the judge said; as an answer and as a record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date

from pydantic import TypeAdapter

from deployments.contracts.answers.calendar import calendar_answer, far_future_warnings
from deployments.contracts.answers.figures import metrics_of, to_the_millisecond
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
from deployments.contracts.requests.wire import SECONDS_PER_HOUR, instant
from deployments.contracts.translation.plant import holiday_warnings
from deployments.contracts.translation.problem import Question
from deployments.persistence.decisions.records import DecisionRecord, payload_digest
from deployments.rollout.analysis.outcomes import JobSketch
from deployments.rollout.ramp.state import Stage
from deployments.scheduling.arms import Attempts
from deployments.scheduling.evaluations import EvaluationContext, evaluation_records
from deployments.scheduling.ports import Proposal
from env.judge.verdict import Verdict
from env.problem import Problem

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

    def written(self, request_body: bytes) -> tuple[ScheduleAnswer, bytes, DecisionRecord]:
        """The decision in the words of the wire, the same as JSON, and as it is stored.

        Without the bodies when the client asked for that. What is still to come of an arm that was late is a row of
        its own, later.
        """
        proposal, verdict = self.attempts.served.proposal, self.attempts.served.verdict
        assert proposal is not None, "what is served was proposed"
        assert verdict is not None, "what is served was judged"
        answer = self._answer(proposal, verdict)
        body = answer.model_dump_json().encode()
        return answer, body, self._record(answer, proposal, verdict, request_body, body)

    def _answer(self, proposal: Proposal, verdict: Verdict) -> ScheduleAnswer:
        context, question, schedule = self.context, self.question, proposal.schedule
        problem = question.problem
        end = instant(question.start, schedule.makespan_seconds, question.zone)
        policy_makespan = proposal.policy_makespan_seconds
        rows = scheduled_jobs_of(self.request, question, schedule)
        own_warnings = (
            *self._rollout_warnings(),
            *importance_warnings(problem, schedule),
            *stability_warnings(problem, schedule, proposal.replanned),
        )
        changes, safety = changes_of(self.request, question, schedule), safety_of(verdict)
        calendar = calendar_answer(self.asked, self.request, problem.hours, end.date())
        far = far_future_warnings(problem, schedule, question.start, question.zone)
        return ScheduleAnswer(
            schedule_id=context.decision_id,
            request_id=self.request.request_id,
            scheduled_jobs=rows,
            metrics=metrics_of(verdict.measures),
            generation_time=self.generation_seconds,
            algorithm_used=self.attempts.served.arm.algorithm.value,
            timestamp=context.created_at,
            optimization_objective=problem.objective.value,
            zone=question.zone.key,
            calendar_used=calendar,
            warnings=[*self.warnings, *own_warnings, *self._holiday_warnings(end.date()), *far],
            changes=changes,
            decision=DecisionAnswer(
                arm=context.assigned.arm.name,
                stage=context.assigned.assignment.stage,
                model=proposal.model,
                method=list(proposal.method),
                fallback_reason=self.attempts.fallback_reason,
                policy_makespan=None if policy_makespan is None else policy_makespan / SECONDS_PER_HOUR,
                time_budget_ms=context.budget_ms,
                gains={
                    stage: to_the_millisecond(seconds / SECONDS_PER_HOUR) for stage, seconds in proposal.gains.items()
                },
            ),
            safety=safety,
        )

    def _rollout_warnings(self) -> tuple[str, ...]:
        """That nobody asked for manual: `fallback_reason` is None where manual is the arm that was assigned."""
        assigned = self.context.assigned
        is_rolled_back = assigned.assignment.stage == Stage.ROLLED_BACK
        return (ROLLED_BACK_WARNING,) if is_rolled_back and not assigned.is_forced else ()

    def _holiday_warnings(self, last: date) -> tuple[str, ...]:
        if self.request.calendar is None:
            return ()
        return holiday_warnings(self.request, self.question.start, last)

    def _record(
        self, answer: ScheduleAnswer, proposal: Proposal, verdict: Verdict, request_body: bytes, answer_body: bytes
    ) -> DecisionRecord:
        keeps_payload = self.request.save_to_database
        kept_request, kept_answer = (request_body, answer_body) if keeps_payload else (None, None)
        context, attempts = self.context, self.attempts
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
            algorithm_used=answer.algorithm_used,
            model=proposal.model,
            fallback_reason=attempts.fallback_reason,
            objective=answer.optimization_objective,
            time_budget_ms=context.budget_ms,
            job_count=verdict.measures.operations,
            machine_count=len(self.question.problem.machines),
            figures=verdict.measures.key_figures,
            safety_score=verdict.safety_score,
            generation_ms=self.generation_seconds * 1000,
            request=kept_request,
            answer=kept_answer,
            payload_sha256=payload_digest(kept_request, kept_answer),
            rollout_version=assigned.version,
            is_forced=assigned.is_forced,
            job_list_sha256=context.job_list_sha256,
            evaluations=tuple(evaluation_records(context, attempts.settled, attempts.served)),
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


def job_list_of(jobs: list[JobRequest]) -> tuple[str, JobSketch]:
    """A digest that is the same for the same jobs, whatever else is asked, and which they are.

    By the sketches of two lists it can be told how far they are the same one.
    """
    digest = hashlib.sha256(_JOB_LIST.dump_json(jobs)).hexdigest()
    return digest, JobSketch.of([job.job_id for job in jobs])
