"""Who is asked, who serves, and what is kept of those that did not: forced arms, planners' plans, withdrawals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from deployments.errors import JudgeUnavailable, NoSafeSchedule, ProposalFailed
from deployments.persistence.decisions.records import DecisionRecord
from deployments.rollout.analysis.guardrails import Event
from deployments.rollout.analysis.outcomes import Baseline, Evaluation, JobSketch, LossCause, MissingPair, Outcome
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.state import Stage
from deployments.rollout.ramp.traffic import Arm, TrafficSplit
from deployments.scheduling.decision import ROLLED_BACK_WARNING
from deployments.scheduling.evaluations import ShadowTask
from deployments.scheduling.use_case import Answered, Scheduling
from env.errors import InvalidProblem
from env.judge.anomalies import BoundedMakespan
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Schedule
from tests.deployments.fakes import (
    FailingProposer,
    FixedRollout,
    LocalJudge,
    MemoryJournal,
    PlannedProposer,
    body,
    fixed_traffic_split,
    job,
    machine,
    nothing,
    request_of,
    scheduling_over,
)

PLAN = [{"job_id": "JOAW001", "machine_id": 42, "start_datetime": "2025-07-22T15:00:00"}]
BROKEN = [{"job_id": "JOAW001", "machine_id": 7, "start_datetime": "2025-07-22T15:00:00"}]


class Kept:
    """Everything that leaves the use case."""

    def __init__(self, share: float = 1.0) -> None:
        self.journal = MemoryJournal()
        self.events: list[Event] = []
        self.shadow_tasks: list[ShadowTask] = []
        self.rollout = FixedRollout(fixed_traffic_split(share, "gantry"), on_event=self.events.append)

    def is_sampled(self, decision_id: str) -> bool:
        return True

    def offer(self, shadow_task: ShadowTask) -> None:
        self.shadow_tasks.append(shadow_task)

    def scheduling(self, **parts: Any) -> Scheduling:
        parts = {"journal": self.journal, "rollout": self.rollout, "shadow": self} | parts
        return scheduling_over(**parts)

    @property
    def record(self) -> DecisionRecord:
        (record,) = self.journal.records
        return record

    @property
    def evaluations(self) -> dict[ArmRole, Evaluation]:
        return {event.arm: event for event in self.events if isinstance(event, Evaluation)}


async def _answered(scheduling: Scheduling, **changes: Any) -> Answered:
    raw = json.dumps(body(**changes)).encode()
    return await scheduling.schedule(request_of(**changes), client="default", raw_body=raw)


async def test_served_arm_is_a_row_and_the_other_is_offered() -> None:
    """The row has figures, outcome and timings; what is still to be computed is the rival on the same question."""
    kept = Kept()
    await _answered(kept.scheduling())
    (row,) = kept.record.evaluations
    assert (row.arm, row.role, row.is_served, row.status, row.outcome) == ("ppo", "ppo", True, "valid", "ok")
    assert (row.figures.makespan_seconds, row.model, row.ramp) == (10_080, "full_production@1", 1)
    assert row.proposal_ms is not None
    assert row.judge_ms is not None
    assert kept.record.job_list_sha256 == row.job_list_sha256
    (shadow_task,) = kept.shadow_tasks
    assert (shadow_task.arm.name, shadow_task.attempts.served.arm.name) == ("manual", "ppo")
    assert kept.evaluations[ArmRole.PPO].outcome is Outcome.OK


async def test_same_jobs_have_the_same_digest() -> None:
    """A replan of one list is known as such, whatever else differs; another list is another."""
    kept = Kept()
    for changes in ({}, {"request_id": "again"}, {"jobs": [body()["jobs"][0] | {"processing_time": 3.0}]}):
        await _answered(kept.scheduling(), **changes)
    first, again, other = (record.job_list_sha256 for record in kept.journal.records)
    assert first == again
    assert first != other
    # The jobs are the same ones, so to the statistics it is still a replan.
    job_ids = [each["job_id"] for each in body()["jobs"]]
    assert {event.sketch for event in kept.events if isinstance(event, Evaluation)} == {JobSketch.of(job_ids)}


@pytest.mark.parametrize(
    ("proposer", "outcome", "status"),
    [
        (FailingProposer(ProposalFailed("replica lost")), Outcome.CRASH, "failed"),
        (PlannedProposer(nothing, model="m@1"), Outcome.INCOMPLETE, "rejected"),
    ],
)
async def test_failure_of_the_challenger_is_kept_and_told(proposer: Any, outcome: Outcome, status: str) -> None:
    """Both arms were asked, so both are rows and events, and nothing is left to compute."""
    kept = Kept()
    await _answered(kept.scheduling(ppo=proposer))
    ppo, manual = kept.record.evaluations
    assert (ppo.arm, ppo.status, ppo.outcome, ppo.is_served) == ("ppo", status, outcome.value, False)
    assert (manual.arm, manual.outcome, manual.is_served) == ("manual", "ok", True)
    assert {arm: event.outcome for arm, event in kept.evaluations.items()} == {
        ArmRole.PPO: outcome,
        ArmRole.MANUAL: Outcome.OK,
    }
    assert kept.shadow_tasks == []


@pytest.mark.parametrize(
    ("arm", "served", "model"), [("manual", "manual", None), ("ppo", "ppo", "m@1"), ("full_production@7", "ppo", "m@1")]
)
async def test_forced_arm_serves_and_counts_for_nothing(arm: str, served: str, model: str | None) -> None:
    """The arm that the request names serves, marked as forced, without a shadow task; it is told as a lost pair."""
    kept = Kept(share=0.0 if served == "ppo" else 1.0)
    scheduling = kept.scheduling(ppo=PlannedProposer(model="m@1"))
    answer = (await _answered(scheduling, arm=arm)).answer
    assert (answer.decision.arm, answer.algorithm_used, answer.decision.model) == (arm, served, model)
    assert (kept.record.is_forced, kept.record.evaluations[0].is_forced) == (True, True)
    (event,) = kept.events
    assert isinstance(event, MissingPair)
    assert (event.cause, kept.shadow_tasks) == (LossCause.FORCED, [])


async def test_arm_of_nobody_is_refused() -> None:
    """A misspelled arm is named, not replaced by another."""
    with pytest.raises(InvalidProblem, match="must be ppo, manual or the id of a registered model, was 'pop'"):
        await _answered(scheduling_over(), arm="pop")


async def test_planners_own_plan_is_the_manual_arm() -> None:
    """A plan that the judge accepts is served as manual, at the planner's time, and known as such."""
    kept = Kept(share=0.0)
    answer = (await _answered(kept.scheduling(), manual_schedule=PLAN)).answer
    assert (answer.algorithm_used, answer.decision.method) == ("manual", ["planner's own plan"])
    assert [row.start_time for row in answer.scheduled_jobs] == [1.0]
    assert kept.record.evaluations[0].baseline == kept.evaluations[ArmRole.MANUAL].baseline == Baseline.PLANNER


async def test_planners_plan_that_is_rejected_is_replaced_and_named() -> None:
    """The rule serves instead, and the answer says why the plan did not."""
    kept = Kept(share=0.0)
    answer = (await _answered(kept.scheduling(), manual_schedule=BROKEN)).answer
    assert answer.decision.method == ["planned"]
    assert answer.warnings[-1].startswith("manual_schedule was not used: rejected by the judge: 1 critical violation")
    assert kept.record.evaluations[0].baseline == Baseline.RULE


class CountingJudge(LocalJudge):
    """The real judge, which has no time for schedules that begin at `busy_at`."""

    def __init__(self, busy_at: int | None = None) -> None:
        self.judged = 0
        self._busy_at = busy_at

    async def judge(self, problem: Problem, schedule: Schedule, recent: tuple[BoundedMakespan, ...]) -> Verdict:
        self.judged += 1
        if schedule.assignments[0].start_seconds == self._busy_at:
            raise JudgeUnavailable("the judge is busy")
        return await super().judge(problem, schedule, recent)


async def test_planners_plan_that_breaks_a_rule_is_named_where_ppo_serves() -> None:
    """B begins before A has ended: the answer is PPO's, and says what is wrong with the plan, and how much more."""
    jobs = [job(name, family_id="F", sequence=step, processing_time=1.7) for step, name in enumerate("ABC")]
    plan = [
        {"job_id": name, "machine_id": machine_id, "start_datetime": f"2025-07-22T{hour}:00:00"}
        for name, machine_id, hour in (("A", 42, 14), ("B", 43, 15), ("C", 42, 16))
    ]
    judge = CountingJudge()
    changes = {"jobs": jobs, "machines": [machine(42), machine(43)], "manual_schedule": plan}
    answer = (await _answered(Kept().scheduling(judge=judge), **changes)).answer
    assert (answer.algorithm_used, answer.safety.valid) == ("ppo", True)
    assert answer.warnings == [
        "manual_schedule was not used: rejected by the judge: 2 critical violations, first wrong_sequence: B starts at "
        "1 h after the start of the schedule, 1 h before A ends, which comes ahead of it; it must wait for that."
    ]
    assert judge.judged == 2


async def test_planners_plan_is_judged_once_whoever_serves() -> None:
    """A plan that keeps every rule is no warning, and the arm that it is takes the verdict that there is already."""
    for ppo in (PlannedProposer(model="m@1"), FailingProposer(ProposalFailed("down"))):
        judge = CountingJudge()
        answer = (await _answered(Kept().scheduling(ppo=ppo, judge=judge), manual_schedule=PLAN)).answer
        assert answer.warnings == []
        assert judge.judged == (2 if answer.algorithm_used == "ppo" else 1)


async def test_planners_plan_that_nobody_could_judge_is_no_reason_not_to_serve() -> None:
    """The schedule of PPO is judged and served; the warning says why nothing is known about the plan."""
    answer = (await _answered(Kept().scheduling(judge=CountingJudge(busy_at=3600)), manual_schedule=PLAN)).answer
    assert answer.algorithm_used == "ppo"
    assert answer.warnings == ["manual_schedule was not used: the judge is busy"]


async def test_planners_own_plan_backs_up_the_policy() -> None:
    """When PPO fails, the plan that the planner sent is what manual means."""
    kept = Kept()
    scheduling = kept.scheduling(ppo=FailingProposer(ProposalFailed("down")), manual=PlannedProposer(nothing))
    answer = (await _answered(scheduling, manual_schedule=PLAN)).answer
    assert answer.decision.method == ["planner's own plan"]
    assert answer.decision.fallback_reason == "no proposal: down"


class Withdrawing:
    """A rollout that is rolled back between assignment and promise."""

    def __init__(self) -> None:
        self._splits = [fixed_traffic_split(1.0, "gantry")]
        state = self._splits[0].state
        assert state is not None
        self._later = TrafficSplit(state=replace(state, stage=Stage.ROLLED_BACK, share=0.0, version=2), seed="gantry")

    def traffic_split(self) -> TrafficSplit:
        return self._splits.pop() if self._splits else self._later

    def observe(self, event: Event) -> None:
        raise AssertionError


async def test_rollback_reaches_requests_that_are_under_way() -> None:
    """A schedule of PPO that is ready when the rollback comes is not served; the rule's is, and says why."""
    kept = Kept()
    answer = (await _answered(kept.scheduling(rollout=_Deaf(Withdrawing())))).answer
    assert (answer.decision.arm, answer.algorithm_used) == ("ppo", "manual")
    assert answer.decision.fallback_reason == "withdrawn by the rollout while the request was under way"
    assert [(row.arm, row.is_served) for row in kept.record.evaluations] == [("ppo", False), ("manual", True)]
    assert kept.shadow_tasks == []


async def test_answer_after_a_rollback_says_so() -> None:
    """Nothing failed, so there is no reason for a fallback; a planner learns from the answer why there is no policy."""
    state = fixed_traffic_split(1.0, "gantry").state
    assert state is not None
    after = TrafficSplit(state=replace(state, stage=Stage.ROLLED_BACK, share=0.0, version=2), seed="gantry")
    answer = (await _answered(Kept().scheduling(rollout=FixedRollout(after)))).answer
    assert (answer.algorithm_used, answer.decision.arm, answer.decision.stage) == ("manual", "manual", "rolled_back")
    assert (answer.decision.fallback_reason, answer.warnings) == (None, [ROLLED_BACK_WARNING])
    in_order = (await _answered(Kept().scheduling())).answer
    assert in_order.warnings == []


class _Deaf:
    """A rollout that nobody can tell anything."""

    def __init__(self, inner: Withdrawing) -> None:
        self.traffic_split = inner.traffic_split

    def observe(self, event: Event) -> None:
        """Nothing."""


async def test_without_a_state_the_rule_serves() -> None:
    """A router that knows nothing of the rollout serves manual, counts nothing and computes nothing beside it."""
    kept = Kept()
    unknown = FixedRollout(TrafficSplit(state=None, seed="gantry"), on_event=kept.events.append)
    answer = (await _answered(kept.scheduling(rollout=unknown))).answer
    assert (answer.algorithm_used, answer.decision.stage) == ("manual", "unknown")
    assert (kept.events, kept.shadow_tasks) == ([], [])


async def test_champion_that_is_a_model_stands_before_the_rule() -> None:
    """Two models: the challenger fails, the champion serves under its own id, and the rule is not asked."""
    champion = Arm(name="old@1", role=ArmRole.MANUAL)
    challenger = Arm(name="new@2", role=ArmRole.PPO)
    split = replace(fixed_traffic_split(1.0, "gantry"), challenger=challenger, champion=champion)
    kept = Kept()
    kept.rollout = FixedRollout(split, on_event=kept.events.append)

    class Champion(PlannedProposer):
        async def propose(self, problem: Any, budget_ms: int, call: Any) -> Any:
            self.budgets_ms.append(budget_ms)
            if len(self.budgets_ms) == 1:
                raise ProposalFailed("too new")
            return await super().propose(problem, budget_ms, call)

    answer = (await _answered(kept.scheduling(ppo=Champion(model="old@1")))).answer
    assert (answer.decision.arm, answer.algorithm_used, answer.decision.model) == ("new@2", "ppo", "old@1")
    assert [(row.arm, row.role) for row in kept.record.evaluations] == [("new@2", "ppo"), ("old@1", "manual")]


async def test_input_that_both_arms_reject_is_nobodys_fault() -> None:
    """Nothing is decided, so nothing is counted."""
    kept = Kept()
    with pytest.raises(NoSafeSchedule):
        await _answered(kept.scheduling(ppo=PlannedProposer(nothing), manual=PlannedProposer(nothing)))
    assert (kept.events, kept.shadow_tasks, kept.journal.records) == ([], [], [])
