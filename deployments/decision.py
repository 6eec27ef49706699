"""One decision: who was asked, who served and what the judge said; as an answer and as a record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from deployments.contracts.amounts import hours_of
from deployments.contracts.answer import (
    DecisionAnswer,
    ScheduleAnswer,
    changes_of,
    metrics_of,
    safety_of,
    scheduled_jobs_of,
)
from deployments.contracts.request import ScheduleRequest
from deployments.contracts.translation import Question
from deployments.persistence.records import DecisionRecord, payload_digest
from deployments.proposal import Proposal
from deployments.rollout.assignment import Arm, Assignment
from env.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A judged proposal, the arm it came from, and why the assigned arm did not serve (None: it did)."""

    arm: Arm
    proposal: Proposal
    verdict: Verdict
    fallback_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Everything that is answered and stored; `created_at` is when the request arrived."""

    decision_id: str
    created_at: datetime
    client: str
    plant_id: str
    request: ScheduleRequest
    question: Question
    assignment: Assignment
    served: Served
    generation_seconds: float
    warnings: tuple[str, ...]

    def answer(self) -> ScheduleAnswer:
        """The decision in the words of the wire."""
        proposal, verdict = self.served.proposal, self.served.verdict
        policy_makespan = proposal.policy_makespan_seconds
        return ScheduleAnswer(
            schedule_id=self.decision_id,
            request_id=self.request.request_id,
            scheduled_jobs=scheduled_jobs_of(self.request, self.question, proposal.schedule),
            metrics=metrics_of(verdict.measures),
            generation_time=self.generation_seconds,
            algorithm_used=self.served.arm.value,
            timestamp=self.created_at,
            warnings=list(self.warnings),
            changes=changes_of(self.request, self.question, proposal.schedule),
            decision=DecisionAnswer(
                arm=self.assignment.arm.value,
                stage=self.assignment.stage,
                model=proposal.model,
                method=list(proposal.method),
                fallback_reason=self.served.fallback_reason,
                policy_makespan=None if policy_makespan is None else hours_of(policy_makespan),
            ),
            safety=safety_of(verdict),
        )

    def record(self, request_body: bytes, answer_body: bytes) -> DecisionRecord:
        """The decision as it is stored; without the bodies when the client asked for that."""
        keeps_payload = self.request.save_to_database
        request, answer = (request_body, answer_body) if keeps_payload else (None, None)
        measures, assignment = self.served.verdict.measures, self.assignment
        return DecisionRecord(
            decision_id=self.decision_id,
            created_at=self.created_at,
            client=self.client,
            request_id=self.request.request_id,
            plant_id=self.plant_id,
            line_id=self.request.line_id,
            unit=assignment.unit,
            bucket=assignment.bucket,
            seed=assignment.seed,
            hash_version=assignment.hash_version,
            stage=assignment.stage,
            share=assignment.share,
            arm=assignment.arm.value,
            algorithm_used=self.served.arm.value,
            model=self.served.proposal.model,
            fallback_reason=self.served.fallback_reason,
            objective=self.request.optimization_objective.value,
            time_budget_ms=self.request.time_budget_ms,
            job_count=measures.operations,
            machine_count=len(self.question.problem.machines),
            makespan_seconds=measures.makespan_seconds,
            tardiness_seconds=measures.tardiness_seconds,
            setup_seconds=measures.setup_seconds,
            completion_percent=measures.completion_percent,
            utilisation_percent=measures.utilisation_percent,
            on_time_percent=measures.on_time_percent,
            important_on_time_percent=measures.important_on_time_percent,
            safety_score=self.served.verdict.safety_score,
            generation_ms=self.generation_seconds * 1000,
            request=request,
            answer=answer,
            payload_sha256=payload_digest(request, answer),
        )
