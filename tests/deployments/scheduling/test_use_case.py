"""The use case over fakes: who serves, what is promised, and what is said when nothing can be."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from deployments.contracts.requests.schedule_request import DEFAULT_BUDGET_MS
from deployments.errors import (
    JournalUnavailable,
    JudgeUnavailable,
    NoSafeSchedule,
    Overloaded,
    ProposalFailed,
    TimedOut,
)
from deployments.persistence.decisions.records import DecisionRecord, payload_digest
from deployments.scheduling.evaluations import EarlierPlan, ShadowTask, count_changes, evaluation_events
from deployments.scheduling.ports import Proposal, ProposalCall
from deployments.scheduling.time_budget import LARGE_BODY_BYTES
from deployments.scheduling.use_case import Answered, Scheduling
from env.errors import HorizonExceeded, InvalidProblem
from env.problem import Problem
from env.schedule import Assignment, Schedule
from tests.deployments.fakes import (
    NOW,
    AbsentJudge,
    FailingProposer,
    FixedRollout,
    FullJournal,
    JournalDecisions,
    MemoryJournal,
    NoShadow,
    PlannedProposer,
    SilentProposer,
    body,
    fixed_traffic_split,
    job,
    nothing,
    one_after_another,
    request_of,
    scheduling_over,
)


async def _answered(scheduling: Scheduling, **changes: Any) -> Answered:
    raw = json.dumps(body(**changes)).encode()
    return await scheduling.schedule(request_of(**changes), client="default", raw_body=raw)


async def test_assigned_arm_serves() -> None:
    """A safe proposal of PPO is answered as PPO, with its model and without a fallback."""
    answer = (await _answered(scheduling_over(), request_id="erp-4711")).answer
    assert (answer.schedule_id, answer.request_id, answer.algorithm_used) == ("decision-1", "erp-4711", "ppo")
    assert answer.decision.model_dump() == {
        "arm": "ppo",
        "stage": "full",
        "model": "full_production@1",
        "method": ["planned"],
        "fallback_reason": None,
        "policy_makespan": 2.8,
        "gains": {},
        "time_budget_ms": DEFAULT_BUDGET_MS,
    }
    assert (answer.safety.valid, answer.generation_time, answer.timestamp) == (True, 0.25, NOW)
    assert [row.job_id for row in answer.scheduled_jobs] == ["JOAW001"]


async def test_failed_arm_is_replaced_and_named() -> None:
    """When PPO has no proposal manual serves, under its own name and with the reason."""
    scheduling = scheduling_over(ppo=FailingProposer(ProposalFailed("replica lost in each of 3 attempts")))
    answer = (await _answered(scheduling)).answer
    assert (answer.decision.arm, answer.algorithm_used, answer.decision.model) == ("ppo", "manual", None)
    assert answer.decision.fallback_reason == "no proposal: replica lost in each of 3 attempts"


async def test_rejected_arm_is_replaced_and_named() -> None:
    """A proposal that the judge rejects is never served; the fallback meets the same judge."""
    answer = (await _answered(scheduling_over(ppo=PlannedProposer(nothing, model="m@1")))).answer
    assert answer.algorithm_used == "manual"
    assert answer.decision.fallback_reason is not None
    assert answer.decision.fallback_reason.startswith(
        "rejected by the judge: 1 critical violation, first missing_operation: "
    )


async def test_silent_arm_is_given_up() -> None:
    """An arm that hangs is left behind after its limit."""
    answer = (await _answered(scheduling_over(ppo=SilentProposer(), proposal_seconds=0.01))).answer
    assert answer.algorithm_used == "manual"
    assert answer.decision.fallback_reason == f"no proposal: took longer than {0.01 + DEFAULT_BUDGET_MS / 1000:g} s"


class SlowRule(PlannedProposer):
    """Has its schedule after fifty milliseconds."""

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        await asyncio.sleep(0.05)
        return await super().propose(problem, budget_ms, call)


async def test_rule_has_all_the_time_of_the_request() -> None:
    """Nobody takes over from it, so the limit of an arm is none of its; beyond the request's own, asking again may
    help."""
    scheduling = scheduling_over(share=0.0, manual=SlowRule(), proposal_seconds=0.001)
    assert (await _answered(scheduling, time_budget_ms=0)).answer.algorithm_used == "manual"
    scheduling = scheduling_over(share=0.0, manual=SlowRule(), request_seconds=0.01)
    with pytest.raises(TimedOut) as caught:
        await _answered(scheduling, time_budget_ms=0)
    assert caught.value.retry_after_seconds == 5


async def test_no_safe_schedule_names_both_arms() -> None:
    """When every arm failed or was rejected nothing is answered, stored or left out."""
    journal = MemoryJournal()
    scheduling = scheduling_over(
        ppo=FailingProposer(ProposalFailed("no artefact")), manual=PlannedProposer(nothing), journal=journal
    )
    with pytest.raises(NoSafeSchedule) as caught:
        await _answered(scheduling)
    ppo, manual = caught.value.rejections
    assert (ppo.arm, ppo.reason, ppo.violations) == ("ppo", "no proposal: no artefact", ())
    assert (manual.arm, manual.violations[0].code.value) == ("manual", "missing_operation")
    assert journal.records == []


async def test_manual_arm_is_not_asked_twice() -> None:
    """Where manual is assigned and fails there is nobody else to ask."""
    scheduling = scheduling_over(share=0.0, manual=FailingProposer(ProposalFailed("broken")))
    with pytest.raises(NoSafeSchedule) as caught:
        await _answered(scheduling)
    assert [rejection.arm for rejection in caught.value.rejections] == ["manual"]


async def test_overload_is_not_answered_by_the_fallback() -> None:
    """Back-pressure is passed on: falling back would move the load to the arm that must survive."""
    scheduling = scheduling_over(ppo=FailingProposer(Overloaded("the queue is full", 2)))
    with pytest.raises(Overloaded, match="the queue is full"):
        await _answered(scheduling)


async def test_no_verdict_means_no_schedule() -> None:
    """Without the judge nothing is served."""
    scheduling = scheduling_over(judge=AbsentJudge(JudgeUnavailable("no replica")))
    with pytest.raises(JudgeUnavailable, match="no replica"):
        await _answered(scheduling)


async def test_undurable_decision_is_not_answered() -> None:
    """A decision that is not on disk is not promised, and does not count as made."""
    scheduling = scheduling_over(journal=FullJournal())
    with pytest.raises(JournalUnavailable, match="must have room, had none"):
        await _answered(scheduling)
    assert scheduling.last_decided_at is None


async def test_hanging_request_is_given_up() -> None:
    """The whole request has a limit, whoever is slow."""
    scheduling = scheduling_over(ppo=SilentProposer(), request_seconds=0.01)
    with pytest.raises(TimedOut, match=r"must be answered within 0\.01 s, took longer"):
        await _answered(scheduling)


async def test_work_that_no_calendar_holds_is_the_requests_fault() -> None:
    """When even the manual rule finds no opening the request is infeasible, not the service broken."""
    error = HorizonExceeded("operation 'A' must fit into the openings of its machines, but fits into none")
    scheduling = scheduling_over(ppo=FailingProposer(error), manual=FailingProposer(error))
    with pytest.raises(InvalidProblem, match="jobs: operation 'A' must fit into the openings"):
        await _answered(scheduling)


async def test_record_holds_the_decision_and_both_bodies() -> None:
    """What is stored is what was received and answered, with the figures beside it."""
    journal = MemoryJournal()
    answered = await _answered(scheduling_over(journal=journal), plant_id="ipoh", line_id="7", time_budget_ms=50)
    (record,) = journal.records
    assert record.request == json.dumps(body(plant_id="ipoh", line_id="7", time_budget_ms=50)).encode()
    assert record.answer == answered.body
    assert record.payload_sha256 == payload_digest(record.request, record.answer)
    assert json.loads(answered.body)["schedule_id"] == record.decision_id == "decision-1"
    assert (record.created_at, record.client, record.plant_id, record.line_id) == (NOW, "default", "ipoh", "7")
    assert (record.unit, record.stage, record.share) == ("ipoh/7/2025-07-22", "full", 1.0)
    assert (record.arm, record.algorithm_used, record.model) == ("ppo", "ppo", "full_production@1")
    assert (record.figures.makespan_seconds, record.figures.setup_seconds, record.figures.tardiness_seconds) == (
        10_080,
        1080,
        0,
    )
    assert (record.job_count, record.machine_count, record.time_budget_ms) == (1, 1, 50)
    assert record.generation_ms == 250.0


async def test_record_without_payload_keeps_the_figures() -> None:
    """`save_to_database: false` drops the bodies from the store, not the decision and not the answer."""
    journal = MemoryJournal()
    answered = await _answered(scheduling_over(journal=journal), save_to_database=False)
    (record,) = journal.records
    assert (record.request, record.answer) == (None, None)
    assert record.payload_sha256 == payload_digest(None, None)
    assert record.figures.makespan_seconds == 10_080
    assert len(answered.answer.scheduled_jobs) == 1


async def test_explicit_unit_decides_the_arm() -> None:
    """An experiment unit is hashed as it stands, and the record tells how the arm came about."""
    journal = MemoryJournal()
    await _answered(scheduling_over(journal=journal, share=0.5), experiment_unit="a")
    (record,) = journal.records
    assert (record.unit, record.seed) == ("a", "gantry")
    assert record.arm == ("ppo" if record.bucket < 0.5 else "manual")


async def test_production_day_is_that_of_the_plant() -> None:
    """A start late on the 22nd in UTC is the 23rd in the plant."""
    journal = MemoryJournal()
    await _answered(scheduling_over(journal=journal), schedule_start="2025-07-22T20:00:00Z")
    assert journal.records[0].unit == "penang//2025-07-23"


async def test_same_request_gives_the_same_schedule() -> None:
    """Nothing but the id tells two answers apart."""
    scheduling = scheduling_over()
    first, second = [(await _answered(scheduling)).answer for _ in range(2)]
    assert first.model_copy(update={"schedule_id": second.schedule_id}) == second


async def test_budget_reaches_the_arm() -> None:
    """The time budget of the request is what the arm may spend."""
    ppo = PlannedProposer(model="m@1")
    await _answered(scheduling_over(ppo=ppo), time_budget_ms=700)
    assert ppo.budgets_ms == [700]


@pytest.mark.parametrize(
    ("asked", "limits", "granted", "warning"),
    [
        (10_000, {}, 10_000, None),
        (60_000, {}, 10_000, "from 60,000 to 10,000: an answer that is waited for gets at most 10 s"),
        (10**12, {}, 10_000, "from 1,000,000,000,000 to 10,000: an answer that is waited for gets at most 10 s"),
        (3000, {"max_budget_seconds": 2.5}, 2500, "from 3,000 to 2,500: GANTRY_MAX_BUDGET_SECONDS is 2.5"),
        (60_000, {"max_budget_seconds": 600.0}, 10_000, "from 60,000 to 10,000: an answer that is waited for gets"),
        (
            3000,
            {"request_seconds": 4.0},
            2000,
            "from 3,000 to 2,000: GANTRY_REQUEST_TIMEOUT_SECONDS is 4, of which half",
        ),
    ],
)
async def test_budget_beyond_the_longest_is_cut_and_said(
    asked: int, limits: dict[str, float], granted: int, warning: str | None
) -> None:
    """Never refused; the answer and the record tell what was given, and what was asked for stands as it was."""
    ppo, journal = PlannedProposer(model="m@1"), MemoryJournal()
    answer = (await _answered(scheduling_over(ppo=ppo, journal=journal, **limits), time_budget_ms=asked)).answer
    assert ppo.budgets_ms == [granted]
    assert (answer.decision.time_budget_ms, journal.records[0].time_budget_ms) == (granted, granted)
    told = [each for each in answer.warnings if "time_budget_ms" in each]
    assert (told == []) == (warning is None)
    assert all(f"time_budget_ms was cut {warning}" in each for each in told)


async def test_default_budget_is_cut_without_a_word() -> None:
    """Nobody has asked for it."""
    ppo = PlannedProposer(model="m@1")
    answer = (await _answered(scheduling_over(ppo=ppo, max_budget_seconds=0.2))).answer
    assert (ppo.budgets_ms, answer.warnings) == ([200], [])


async def test_large_request_is_answered_like_a_small_one() -> None:
    """Bodies that are worked on in threads lead to the same kind of answer."""
    jobs = [job(f"J{index}") for index in range(1000)]
    assert len(json.dumps(jobs)) > LARGE_BODY_BYTES
    answer = (await _answered(scheduling_over(), jobs=jobs)).answer
    assert [row.job_id for row in answer.scheduled_jobs] == [f"J{index}" for index in range(1000)]


async def test_missed_deadline_is_served_and_reported() -> None:
    """A deadline that the plan misses is a violation in the answer, not a reason to fall back."""

    def late(problem: Problem) -> Schedule:
        moved = (
            Assignment(
                operation_id=row.operation_id,
                machine_id=row.machine_id,
                start_seconds=row.start_seconds + 3600,
                end_seconds=row.end_seconds + 3600,
            )
            for row in one_after_another(problem).assignments
        )
        return Schedule(assignments=tuple(moved))

    scheduling = scheduling_over(ppo=PlannedProposer(late, model="m@1"))
    answer = (await _answered(scheduling, jobs=[job(deadline_at="2025-07-22T17:00:00")])).answer
    assert (answer.algorithm_used, answer.safety.valid) == ("ppo", True)
    assert [violation.code for violation in answer.safety.violations] == ["deadline_missed"]


async def _anomalies(scheduling: Scheduling, **changes: Any) -> list[str]:
    return [anomaly.code for anomaly in (await _answered(scheduling, **changes)).answer.safety.anomalies]


class _Idler:
    """Plans like the fake arm, but begins `delay_seconds` late."""

    delay_seconds = 0

    def __call__(self, problem: Problem) -> Schedule:
        late = (
            replace(
                each,
                start_seconds=each.start_seconds + self.delay_seconds,
                end_seconds=each.end_seconds + self.delay_seconds,
            )
            for each in one_after_another(problem).assignments
        )
        return Schedule(assignments=tuple(late))


async def test_makespan_unlike_the_history_of_the_plant_is_reported() -> None:
    """After five schedules of 2.8 h the same work is suspicious when it takes 5 h, yet served; more work is not."""
    idler = _Idler()
    scheduling = scheduling_over(ppo=PlannedProposer(idler, model="m@1"))
    assert [await _anomalies(scheduling) for _ in range(5)] == [[]] * 5
    idler.delay_seconds = 7920
    (anomaly,) = (await _answered(scheduling)).answer.safety.anomalies
    assert (anomaly.code, anomaly.value) == ("makespan_unlike_history", pytest.approx(100.0 * 2.2 / 2.8))
    assert anomaly.limit == 50.0
    idler.delay_seconds = 0
    assert await _anomalies(scheduling, jobs=[job(processing_time=27.7)]) == []


async def test_history_of_another_plant_does_not_matter() -> None:
    """What is usual in Penang, named or meant, says nothing about Ipoh."""
    idler = _Idler()
    scheduling = scheduling_over(ppo=PlannedProposer(idler, model="m@1"))
    for plant_id in (None, "penang", None, "penang", None):
        await _answered(scheduling, plant_id=plant_id)
    idler.delay_seconds = 7920
    assert await _anomalies(scheduling, plant_id="ipoh") == []
    assert await _anomalies(scheduling, plant_id="penang") == ["makespan_unlike_history"]


async def test_only_served_schedules_make_history() -> None:
    """A schedule that is not durable was not served, and a rejected proposal even less."""
    journal = _SometimesFullJournal()
    idler = _Idler()
    scheduling = scheduling_over(
        ppo=PlannedProposer(nothing, model="m@1"), manual=PlannedProposer(idler), journal=journal
    )
    for journal.is_full in (False, False, False, False, True):
        with suppress(JournalUnavailable):
            await _answered(scheduling)
    journal.is_full, idler.delay_seconds = False, 7920
    assert await _anomalies(scheduling) == []
    idler.delay_seconds = 0
    await _answered(scheduling)
    idler.delay_seconds = 7920
    assert await _anomalies(scheduling) == ["makespan_unlike_history"]


class _SometimesFullJournal(MemoryJournal):
    """Has room when it is told so."""

    is_full = False

    async def append(self, record: DecisionRecord) -> None:
        await (FullJournal() if self.is_full else super()).append(record)


async def test_warnings_of_edge_and_request_come_together() -> None:
    """The answer warns of what the edge ignored and of what the request says in vain."""
    request = request_of(jobs=[job(lcd_date="2025-07-01")])
    answered = await scheduling_over().schedule(request, client="default", raw_body=b"{}", warnings=("from the edge",))
    late = "lcd_date of 1 job lies before schedule_start: late in any schedule; first is JOAW001"
    assert answered.answer.warnings == ["from the edge", late]


@pytest.mark.system
def test_use_case_loads_neither_ray_nor_torch() -> None:
    """The use case runs where neither Ray nor torch is installed."""
    program = "import sys, deployments.scheduling.use_case; print(sorted({'ray', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class _AskedArchive:
    """Remembers who asked for what, and has nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def get(self, decision_id: str, client: str) -> DecisionRecord | None:
        self.asked.append((decision_id, client))
        return None


async def test_earlier_schedule_is_asked_for_only_when_named() -> None:
    """A request that continues nothing never waits for the database."""
    archive = _AskedArchive()
    await _answered(scheduling_over(archive=archive))
    assert archive.asked == []


async def test_earlier_schedule_that_the_client_does_not_have_is_named() -> None:
    """The archive is asked as that client, and its ignorance is the request's fault."""
    archive = _AskedArchive()
    changes = {"previous_schedule_id": "decision-9", "freeze_until": "2025-07-22T15:00:00"}
    with pytest.raises(InvalidProblem) as caught:
        await _answered(scheduling_over(archive=archive), **changes)
    message = "must be one of your schedules whose payload was kept, was 'decision-9'"
    assert ("previous_schedule_id", message) in caught.value.reasons
    assert archive.asked == [("decision-9", "default")]


async def test_earlier_schedule_without_payload_cannot_be_continued() -> None:
    """Nobody knows the rows of a schedule that was not to be kept."""
    journal = MemoryJournal()
    scheduling = scheduling_over(journal=journal, archive=JournalDecisions(journal))
    await _answered(scheduling, save_to_database=False)
    changes = {"previous_schedule_id": "decision-1", "freeze_until": "2025-07-22T15:00:00"}
    with pytest.raises(InvalidProblem, match="must be one of your schedules whose payload was kept"):
        await _answered(scheduling, **changes)


@pytest.mark.parametrize("answer", [b"{}", b"not JSON", b'{"scheduled_jobs": [{"job_id": "JOAW001"}]}'])
async def test_earlier_schedule_that_cannot_be_read_is_refused_with_the_remedy(answer: bytes) -> None:
    """What an older version or a damaged disk left is no fault of the service: 422, and what to do instead."""
    journal = MemoryJournal()
    scheduling = scheduling_over(journal=journal, archive=JournalDecisions(journal))
    await _answered(scheduling)
    journal.records[0] = replace(journal.records[0], answer=answer)
    with pytest.raises(InvalidProblem, match="must have rows that can be read") as caught:
        await _answered(scheduling, previous_schedule_id=journal.records[0].decision_id)
    ((field, message),) = caught.value.reasons
    assert field == "previous_schedule_id"
    assert message.endswith("leave it out to plan anew, or continue a later one")


class KeptShadow(NoShadow):
    """Keeps what is offered to it."""

    def __init__(self, offered: list[ShadowTask]) -> None:
        self._offered = offered

    def offer(self, shadow_task: ShadowTask) -> None:
        self._offered.append(shadow_task)


class WatchedSchedule:
    """Notes the threads in which somebody compares it."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    @property
    def by_operation(self) -> dict[str, Assignment]:
        self.threads.append(threading.get_ident())
        return {}


@pytest.mark.parametrize(("body_bytes", "is_beside"), [(LARGE_BODY_BYTES, True), (LARGE_BODY_BYTES - 1, False)])
async def test_changes_of_a_large_request_are_counted_beside_the_event_loop(body_bytes: int, is_beside: bool) -> None:
    """Once for each plan: five thousand operations take milliseconds, in which no other request would go on."""
    kept: list[ShadowTask] = []
    journal, rollout = MemoryJournal(), FixedRollout(fixed_traffic_split(1.0, "gantry"))
    scheduling = scheduling_over(
        journal=journal, archive=JournalDecisions(journal), rollout=rollout, shadow=KeptShadow(kept)
    )
    await _answered(scheduling)
    await _answered(scheduling, previous_schedule_id=journal.records[0].decision_id)
    task, earlier = kept[-1], WatchedSchedule()
    assert task.context.earlier is not None
    plan: Any = earlier
    context = replace(task.context, earlier=EarlierPlan(plan), body_bytes=body_bytes)
    await count_changes(context, task.attempts.all)
    (event,) = evaluation_events(context, task.attempts.all, task.attempts.served)
    assert event.changed_jobs == 1
    (thread,) = earlier.threads
    assert (thread != threading.get_ident()) == is_beside
