"""Statistics of a ramp: whatever a router tells, what can be counted counts, and what is stored counts the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from deployments.persistence.decisions.records import EvaluationRecord, EvaluationStatus, record_of
from deployments.persistence.decisions.rollout_repository import insert_evaluations
from deployments.rollout.analysis.guardrails import Event
from deployments.rollout.analysis.outcomes import JobSketch, LossCause, Outcome, PairedObservation
from deployments.rollout.analysis.recomputations import Recomputation
from deployments.rollout.analysis.triggers import Guardrail
from deployments.rollout.assignment import ArmRole, PlanningWindow
from deployments.rollout.ramp.comparison import WindowComparison, replay
from deployments.rollout.ramp.state import Action, Stage, Transition
from deployments.rollout.ramp.traffic import Arm, TrafficSplit
from deployments.rollout_control.database_sync import compared_events
from deployments.rollout_control.ramp_statistics import RampStatistics
from deployments.scheduling.arms import Attempt
from deployments.scheduling.evaluations import (
    EvaluationContext,
    dropped_record,
    evaluation_events,
    evaluation_records,
    missing_pair,
    pair_events,
    with_repetition,
)
from deployments.scheduling.ports import Proposal
from env.judge.verdict import Verdict
from env.schedule import Schedule
from tests.deployments.rollout.analysis.test_outcomes import MEASURES
from tests.deployments.rollout_control.events import NOW, Clock, evaluation, report, state
from tests.deployments.rollout_control.shared_database import SharedDatabase
from tests.deployments.shipped_policy import LIMITS

LAST_DAY = "x//9999-12-31"
HALF_A_CHARACTER = "\ud800"
"""No text in UTF-8, hence no window can be named after it."""


@pytest.mark.parametrize("unit", [LAST_DAY, HALF_A_CHARACTER])
def test_event_of_a_strange_unit_blinds_nothing(unit: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nine crashes an hour after it are counted and roll back, and the router is told that all was taken."""
    statistics = RampStatistics(ramp=1, limits=LIMITS)
    strange = evaluation(0, unit=unit)
    lost = [evaluation(720 + number, Outcome.CRASH, unit="penang//2025-07-22") for number in range(9)]
    with caplog.at_level(logging.ERROR):
        triggers = statistics.take(report(strange, *lost))
    assert [trigger.guardrail for trigger in triggers] == [Guardrail.CRASH]
    assert statistics.received("r1") == 10
    skipped = ["event 0 of router r1 cannot be counted and is skipped"] if unit == HALF_A_CHARACTER else []
    assert [record.getMessage() for record in caplog.records] == skipped
    assert statistics.take(report(strange, *lost)) == []


def other_plan() -> Recomputation:
    """A served plan that comes out otherwise where the other arm is computed."""
    return Recomputation(
        decision_id="d", at=NOW, ramp=1, stage="limited", arm=ArmRole.PPO, log_ratio=0.0, is_same=False
    )


def entered() -> RampStatistics:
    """Of arms that are known, before what is stored of them is counted."""
    statistics = RampStatistics(ramp=1, limits=LIMITS)
    statistics.enter(state(stage=Stage.LIMITED), ("b", "a"))
    return statistics


def restarted(statistics: RampStatistics) -> RampStatistics:
    """As the next controller reads and enters them."""
    again = RampStatistics.restored(json.loads(json.dumps(statistics.snapshot())), limits=LIMITS)
    again.enter(state(stage=Stage.LIMITED), ("b", "a"))
    return again


@pytest.mark.parametrize("is_counted", [False, True])
def test_recomputations_outlive_a_recount_and_a_restart(is_counted: bool) -> None:
    """Where rows tell none, what the routers have told goes on, also where the recount is still to come."""
    statistics = entered()
    statistics.take(report(other_plan()))
    if is_counted:
        statistics.adopt(WindowComparison(challenger="b", champion="a", limits=LIMITS), [])
    findings = statistics.evidence(Stage.LIMITED).integrity
    assert findings == ("1 of 1 served plans come out otherwise where the other arm is computed",)
    again = restarted(statistics)
    assert again.evidence(Stage.LIMITED).integrity == findings
    assert (again.uncounted is None) == is_counted
    again.adopt(WindowComparison(challenger="b", champion="a", limits=LIMITS), [])
    assert again.evidence(Stage.LIMITED).integrity == findings
    again.enter(state(stage=Stage.EXPANDED), ("b", "a"))
    assert again.evidence(Stage.EXPANDED).integrity == ()


def test_recomputation_of_the_stage_before_says_nothing_of_this_one() -> None:
    """A request of `limited` may be computed again while `expanded` has begun, where all is asked anew."""
    statistics = entered()
    statistics.enter(state(stage=Stage.EXPANDED), ("b", "a"))
    statistics.take(report(other_plan()))
    assert statistics.evidence(Stage.EXPANDED).integrity == ()
    statistics.take(report(other_plan(), replace(other_plan(), stage="expanded")))
    assert statistics.evidence(Stage.EXPANDED).integrity != ()


def test_takeover_goes_on_with_the_recomputations_that_rows_tell() -> None:
    """A controller that has heard of none takes those of the database, once, and those that it is told besides."""
    statistics = entered()
    first, second = other_plan(), replace(other_plan(), decision_id="e", is_same=True)
    statistics.take(report(first))
    counted = WindowComparison(challenger="b", champion="a", limits=LIMITS)
    begun = Transition(
        action=Action.PAUSE, from_stage=None, state=state(stage=Stage.LIMITED), actor="o", reason="r", evidence={}
    )
    replay(counted, [first, second, replace(first, decision_id="f", stage="shadow")], [begun], now=NOW)
    statistics.adopt(counted, [first, second])
    statistics.take(report(first, second, replace(second, decision_id="g")))
    (finding,) = statistics.evidence(Stage.LIMITED).integrity
    assert finding.startswith("1 of 3 served plans come out otherwise")


def test_statistics_of_before_margins_are_read() -> None:
    """Format 2 knew neither margins nor recomputations: all else goes on, and these begin anew."""
    statistics = entered()
    statistics.adopt(WindowComparison(challenger="b", champion="a", limits=LIMITS), [])
    old = json.loads(json.dumps(statistics.snapshot())) | {"format": 2}
    old["comparison"] |= {"format": 2, "differences": {}}
    for name in ("margins", "recomputations"):
        del old["comparison"][name]
    old = {name: value for name, value in old.items() if name not in ("arms", "recomputations")}
    restored = RampStatistics.restored(old, limits=LIMITS)
    assert restored.uncounted is None
    assert restored.arms == ("b", "a")
    assert restored.snapshot() == statistics.snapshot()


CHALLENGER, CHAMPION = Arm(name="a@2", role=ArmRole.PPO), Arm(name="b@1", role=ArmRole.MANUAL)
STATE = state(challenger="a@2", champion="b@1")
SPLIT = TrafficSplit(state=STATE, seed="gantry", challenger=CHALLENGER, champion=CHAMPION)
SCHEDULE = Schedule(assignments=())


def _attempt(arm: Arm, makespan: int, cpu_seconds: float, status: EvaluationStatus) -> Attempt:
    if status is not EvaluationStatus.VALID:
        return Attempt(arm=arm, status=status, reason="it died")
    verdict = Verdict(violations=(), anomalies=(), measures=replace(MEASURES, makespan_seconds=makespan))
    proposal = Proposal(schedule=SCHEDULE, method=("policy",), model=arm.name, cpu_seconds=cpu_seconds)
    return Attempt(arm=arm, status=status, proposal=proposal, verdict=verdict)


def _mixed_requests(rng: np.random.Generator) -> Iterator[tuple[EvaluationContext, list[Attempt]]]:
    """Forty days of two lines: lists that overlap, presses, kinds of lists, crashes, and unequal effort in a sixth."""
    for number in range(400):
        at = NOW + timedelta(hours=2.4 * number)
        line = rng.integers(2)
        size = int(rng.integers(4, 60))
        # Of neighbours on one line about two thirds share half of their jobs or more; each fifth is pressed again.
        begin = number // 5 * 7 + int(rng.integers(12))
        context = EvaluationContext(
            decision_id=f"d{number:04}",
            created_at=at,
            plant_id="p",
            assigned=SPLIT.assign(PlanningWindow(plant_id="p", line_id=str(line), day=at.date())),
            budget_ms=1000,
            job_count=size,
            job_list_sha256=f"{number // 5 * 5 if number % 5 == 4 else number:064}",
            jobs=JobSketch.of(f"job {job}" for job in range(begin, begin + size)),
            strata=("plant p", "lists with setups" if number % 3 else "lists without setups"),
        )
        died = rng.random() < 0.05
        yield (
            context,
            [
                _attempt(
                    CHALLENGER,
                    int(rng.normal(9000, 900)),
                    float(rng.choice([1.0, 1.05, 1.0, 1.5, 0.95, 1.0])),
                    EvaluationStatus.FAILED if died else EvaluationStatus.VALID,
                ),
                _attempt(CHAMPION, 10_000, 1.0, EvaluationStatus.VALID),
            ],
        )


def test_recount_from_rows_is_the_live_count() -> None:
    """Groups, kinds of lists, losses, what was computed again: rows tell the comparison what the routers told it."""
    clock = Clock()
    database = SharedDatabase(clock.now, clock.steady)
    live = RampStatistics(ramp=1, limits=LIMITS)
    events: list[Event] = []
    rows: list[EvaluationRecord] = []
    live.enter(STATE, ("h2", "h1"))
    live.adopt(WindowComparison(challenger="h2", champion="h1", limits=LIMITS), [])
    for number, (context, attempts) in enumerate(_mixed_requests(np.random.default_rng(7))):
        if number % 29 == 7:
            lost = replace(context, decision_id=f"lost{number}")
            status, cause = EvaluationStatus.UNANSWERED, LossCause.UNANSWERED
            rows.append(dropped_record(lost, lost.assigned.arm, status, "timed out"))
            events.append(missing_pair(lost, cause, "timed out", lost.created_at))
            continue
        is_challengers = context.assigned.arm is CHALLENGER and attempts[0].is_valid
        served = attempts[0] if is_challengers else attempts[1]
        told = evaluation_events(context, attempts, served)
        events += [*told, *pair_events(context, told)]
        rows += evaluation_records(context, attempts, served)
        if number % 20 == 3:
            again = Recomputation(
                decision_id=context.decision_id,
                at=context.created_at,
                ramp=1,
                stage=STATE.stage.value,
                arm=served.arm.role,
                log_ratio=0.001 * (number % 3),
                is_same=None if number % 40 == 3 else number > 30,
            )
            events.append(again)
            rows[-1 if is_challengers else -2] = with_repetition(rows[-1 if is_challengers else -2], again)
    live.take(report(*events))
    now = NOW + timedelta(days=50)
    live.close(now)
    with database.engine.begin() as connection:
        read_back = (record_of(row.to_bytes()) for row in rows)
        insert_evaluations(connection, [row for row in read_back if isinstance(row, EvaluationRecord)])
    stored, place = database.line().evaluations_page((NOW, ""), now, page_size=10_000)
    assert place is None
    counted = WindowComparison(challenger="h2", champion="h1", limits=LIMITS)
    again = compared_events(stored, challenger="a@2", champion="b@1", seed="gantry")
    begun = Transition(action=Action.PAUSE, from_stage=None, state=STATE, actor="o", reason="r", evidence={})
    replay(counted, again, [begun], now=now)
    assert counted.snapshot() == live.snapshot()["comparison"]
    assert counted.recomputations.count > 10
    assert counted.recomputations.findings == live.evidence(Stage.EXPANDED).integrity != ()
    lost = counted.losses(Stage.EXPANDED).lost
    assert {cause for of_arm in lost.values() for cause, count in of_arm.items() if count} == {
        LossCause.EFFORT,
        LossCause.CRASH,
        LossCause.UNANSWERED,
    }
    groups = counted.windows.snapshot()["sums"][1]
    assert counted.windows.windows < groups < 0.9 * counted.lists
    assert "large lists" in counted.windows.snapshot()["strata"]
    old = [replace(row, pairing=None) for row in stored]
    assert compared_events(old, challenger="a@2", champion="b@1", seed="gantry") == []
    without_budget = [replace(row, time_budget_ms=0) for row in old]
    found = compared_events(without_budget, challenger="a@2", champion="b@1")
    assert {(e.jobs, e.strata) for e in found if isinstance(e, PairedObservation)} == {(None, ())}
