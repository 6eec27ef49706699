"""How long arms and judge are waited for: an answer is there in time, whoever is silent, and the rest is told later."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from deployments.errors import (
    ENDED,
    JournalUnavailable,
    JudgeFailed,
    JudgeUnavailable,
    Overloaded,
    ProposalFailed,
    ProposalShed,
    TimedOut,
)
from deployments.persistence.decisions.records import DecisionRecord, EvaluationRecord
from deployments.rollout.analysis.guardrails import Event, Guardrails
from deployments.rollout.analysis.outcomes import Evaluation, LossCause, MissingPair, Outcome
from deployments.rollout.assignment import ArmRole
from deployments.rollout_control.database_sync import paired_rows
from deployments.scheduling.arms import (
    ANSWER_SECONDS,
    ANSWER_SECONDS_PER_OPERATION,
    MAX_REPEATS,
    Patience,
    RepeatAllowance,
    first_answer,
)
from deployments.scheduling.ports import Proposal, ProposalCall
from deployments.scheduling.time_budget import RecentLosses
from deployments.scheduling.use_case import Scheduling
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
    NoShadow,
    PlannedProposer,
    body,
    fixed_traffic_split,
    job,
    request_of,
    scheduling_over,
)
from tests.deployments.shipped_policy import LIMITS

# What an answer without a budget may take, and what this machine may be busy with besides.
IN_TIME = ANSWER_SECONDS + 0.5


class SlowPolicy(PlannedProposer):
    """A replica begins at once (or never), and answers or fails when it is told to."""

    def __init__(self, *, begins: bool = True, error: Exception | None = None) -> None:
        super().__init__(model="m@1")
        self.may_end = asyncio.Event()
        self.is_called_off = False
        self._begins = begins
        self._error = error

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        call.has_begun = self._begins
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.is_called_off = True
            raise
        if self._error is not None:
            raise self._error
        return await super().propose(problem, budget_ms, call)


class ScriptedJudge(LocalJudge):
    """The real judge; each call first awaits the next step of the script, the last one over and over."""

    def __init__(self, *steps: Callable[[], Any]) -> None:
        self._steps = list(steps)
        self.calls = 0

    async def judge(self, problem: Problem, schedule: Schedule, recent: tuple[BoundedMakespan, ...]) -> Verdict:
        step = self._steps[min(self.calls, len(self._steps) - 1)]
        self.calls += 1
        await step()
        return await super().judge(problem, schedule, recent)


async def answers() -> None:
    """At once."""


async def hangs() -> None:
    await asyncio.Event().wait()


def fails(error: Exception) -> Callable[[], Any]:
    async def fail() -> None:
        raise error

    return fail


class Kept:
    """Everything that leaves the use case, and the guardrails that hear of it."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.events: list[Event] = []
        self.guardrails = Guardrails(ramp=1, limits=LIMITS)
        self.rollout = FixedRollout(fixed_traffic_split(1.0, "gantry"), on_event=self._observe)

    def _observe(self, event: Event) -> None:
        self.events.append(event)
        self.guardrails.observe(event)

    def scheduling(self, **parts: Any) -> Scheduling:
        return scheduling_over(**({"journal": self.journal, "rollout": self.rollout} | parts))

    @property
    def outcomes(self) -> list[Outcome]:
        """Of the policy."""
        return [event.outcome for event in self.events if isinstance(event, Evaluation) and event.arm is ArmRole.PPO]

    @property
    def missing(self) -> int:
        return len(self.causes)

    @property
    def causes(self) -> list[LossCause]:
        """Why requests have no pair."""
        return [event.cause for event in self.events if isinstance(event, MissingPair)]

    @property
    def stored_causes(self) -> list[LossCause]:
        """The same by the rows that are kept."""
        rows = [row for row in self.journal.others if isinstance(row, EvaluationRecord)]
        rows += [row for record in self.journal.records for row in record.evaluations]
        return [event.cause for event in paired_rows(rows) if isinstance(event, MissingPair)]

    @property
    def later_rows(self) -> list[tuple[str, str | None]]:
        return [(row.status, row.outcome) for row in self.journal.others if isinstance(row, EvaluationRecord)]


async def answered(scheduling: Scheduling, **changes: Any) -> tuple[Any, float]:
    """The answer, and the seconds that it took."""
    changes = {"time_budget_ms": 0} | changes
    begun_at = time.monotonic()
    found = await scheduling.schedule(
        request_of(**changes), client="default", raw_body=json.dumps(body(**changes)).encode()
    )
    return found.answer, time.monotonic() - begun_at


async def test_policy_that_is_late_is_replaced_in_time_and_told_later() -> None:
    """Manual serves; the row and the event come when the policy has ended, as a pair that was lost and no crash."""
    kept, ppo = Kept(), SlowPolicy()
    scheduling = kept.scheduling(ppo=ppo)
    answer, seconds = await answered(scheduling)
    assert (answer.algorithm_used, answer.decision.fallback_reason) == ("manual", "no proposal in time")
    assert seconds < IN_TIME
    assert [row.arm for row in kept.journal.records[0].evaluations] == ["manual"]
    assert kept.outcomes == []
    ppo.may_end.set()
    await scheduling.close(5.0)
    assert (kept.outcomes, kept.missing, kept.later_rows) == ([Outcome.LATE], 1, [("late", "late")])
    assert kept.stored_causes == [LossCause.LATE]
    assert not ppo.is_called_off


async def test_request_that_no_replica_has_begun_is_called_off() -> None:
    """What still waits for a replica would be work for nobody, and says nothing about the policy."""
    kept, ppo = Kept(), SlowPolicy(begins=False)
    answer, seconds = await answered(kept.scheduling(ppo=ppo))
    assert (answer.algorithm_used, seconds < IN_TIME) == ("manual", True)
    await asyncio.sleep(0)
    assert ppo.is_called_off
    assert (kept.outcomes, kept.missing) == ([Outcome.SHED], 1)
    assert kept.stored_causes == [LossCause.LATE]
    assert [(row.arm, row.status) for row in kept.journal.records[0].evaluations] == [
        ("ppo", "shed"),
        ("manual", "valid"),
    ]


@pytest.mark.parametrize(
    ("error", "causes"),
    [
        (JournalUnavailable("full", 7), [LossCause.UNANSWERED]),
        (InvalidProblem([("jobs", "no")]), []),
    ],
)
async def test_request_that_is_not_answered_leaves_a_trace(error: Exception, causes: list[LossCause]) -> None:
    """A 503 is a lost pair of the arm that was assigned, told and kept; bad input is none."""

    class Broken(MemoryJournal):
        async def append(self, record: Any) -> None:
            if isinstance(record, DecisionRecord):
                raise error
            await super().append(record)

    kept = Kept()
    kept.journal = Broken()
    scheduling = kept.scheduling()
    with pytest.raises(type(error)):
        await answered(scheduling)
    await scheduling.close(5.0)
    assert kept.causes == causes
    rows = [row for row in kept.journal.others if isinstance(row, EvaluationRecord)]
    assert [(row.arm, row.status, row.outcome) for row in rows] == [("ppo", "unanswered", None)] * len(causes)
    assert kept.stored_causes == causes


@pytest.mark.parametrize(
    ("ppo", "error"),
    [
        (SlowPolicy(), TimedOut),
        (SlowPolicy(begins=False), TimedOut),
        (FailingProposer(Overloaded("its queue is full")), Overloaded),
    ],
)
async def test_request_that_the_challenger_holds_up_is_a_crash(ppo: Any, error: type[Exception]) -> None:
    """Its own time, or its own queue, is why nobody was answered: the guardrail counts it, and the pair is lost."""
    kept = Kept()
    scheduling = kept.scheduling(ppo=ppo, request_seconds=0.05)
    with pytest.raises(error):
        await answered(scheduling)
    await scheduling.close(5.0)
    assert (kept.outcomes, kept.causes, kept.stored_causes) == ([Outcome.CRASH], [LossCause.CRASH], [LossCause.CRASH])
    assert kept.later_rows == [("unanswered", "crash")]


async def test_request_that_the_judge_holds_up_is_no_crash() -> None:
    """The challenger has answered: that nobody judges its plan is not its fault."""
    kept = Kept()
    scheduling = kept.scheduling(judge=ScriptedJudge(hangs), request_seconds=0.05)
    with pytest.raises(TimedOut):
        await answered(scheduling)
    await scheduling.close(5.0)
    assert (kept.outcomes, kept.causes, kept.stored_causes) == ([], [LossCause.UNANSWERED], [LossCause.UNANSWERED])


async def test_total_failure_by_time_out_rolls_back() -> None:
    """Ten requests in turn that time out behind the challenger: its guardrail fires, as for any other crash."""
    kept = Kept()
    scheduling = kept.scheduling(ppo=SlowPolicy(), request_seconds=0.01)
    for number in range(10):
        with pytest.raises(TimedOut):
            await answered(scheduling, jobs=[job(f"job-{number}")])
    await scheduling.close(5.0)
    assert [trigger.guardrail.value for trigger in kept.guardrails.triggers] == ["crash_rate"]


@pytest.mark.parametrize(
    ("words", "cause", "status"),
    [((), LossCause.CLIENT_GONE, "client_gone"), ((ENDED,), LossCause.UNANSWERED, "unanswered")],
)
async def test_request_that_is_called_off_is_a_lost_pair(words: tuple[str, ...], cause: LossCause, status: str) -> None:
    """Nobody learns what would have become of it; whether its client or our own end called it off is told apart."""
    kept, ppo = Kept(), SlowPolicy()
    scheduling = kept.scheduling(ppo=ppo)
    asking = asyncio.create_task(answered(scheduling))
    await asyncio.sleep(0.05)
    asking.cancel(*words)
    with pytest.raises(asyncio.CancelledError):
        await asking
    await scheduling.close(5.0)
    assert kept.causes == kept.stored_causes == [cause]
    assert kept.later_rows == [(status, None)]


@pytest.mark.parametrize("is_timeout", [False, True])
async def test_request_is_not_called_off_while_it_becomes_durable(is_timeout: bool) -> None:
    """By then it may be kept: it is answered, and counts once, as an answer."""

    class Slow(MemoryJournal):
        async def append(self, record: Any) -> None:
            await asyncio.sleep(0.3)
            await super().append(record)

    kept = Kept()
    kept.journal = Slow()
    scheduling = kept.scheduling(**({"request_seconds": 0.15} if is_timeout else {}))
    asking = asyncio.create_task(answered(scheduling))
    await asyncio.sleep(0.15)
    if not is_timeout:
        asking.cancel(ENDED)
    await asking
    assert len(kept.journal.records) == 1
    await scheduling.close(5.0)
    assert kept.causes == []


async def test_request_that_asked_for_its_arm_is_a_lost_pair() -> None:
    """It counts in no statistic of the arms, and whoever asks for arms may choose the lists: so it is said."""
    kept = Kept()
    answer, _ = await answered(kept.scheduling(), arm="manual")
    assert answer.algorithm_used == "manual"
    assert (kept.outcomes, kept.causes, kept.stored_causes) == ([], [LossCause.FORCED], [LossCause.FORCED])
    (lost,) = kept.events
    assert isinstance(lost, MissingPair)
    assert lost.assigned is ArmRole.PPO


class Unsampled(NoShadow):
    """Compares nothing."""

    def is_sampled(self, decision_id: str) -> bool:
        return False


@pytest.mark.parametrize(("changes", "is_answered"), [({}, True), ({"arm": "manual"}, True), ({}, False)])
async def test_request_that_is_not_sampled_is_no_lost_pair(changes: dict[str, Any], is_answered: bool) -> None:
    """Failed, forced or unanswered: what was not to be compared is not lost, else losses alone would be counted.

    What the guardrails have heard of is kept all the same, so that who counts the rows finds as many crashes.
    """
    kept = Kept()
    ppo = FailingProposer(ProposalFailed("no", "replica-1")) if is_answered else SlowPolicy()
    scheduling = kept.scheduling(ppo=ppo, shadow=Unsampled(), request_seconds=30.0 if is_answered else 0.05)
    if is_answered:
        await answered(scheduling, **changes)
    else:
        with pytest.raises(TimedOut):
            await answered(scheduling)
    await scheduling.close(5.0)
    assert (kept.causes, kept.stored_causes) == ([], [])
    assert kept.later_rows == ([] if is_answered else [("unanswered", "crash")])
    # The guardrails are no comparison: they hear of every arm that was asked.
    assert kept.outcomes == ([] if changes else [Outcome.CRASH])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ProposalFailed("replica lost in each of 2 attempts", "replica-1"), Outcome.CRASH),
        (ProposalShed("withheld"), Outcome.SHED),
        (Overloaded("full"), Outcome.SHED),
    ],
)
async def test_policy_that_is_late_and_fails_is_what_it_failed_of(error: Exception, outcome: Outcome) -> None:
    """Being late excuses nothing that comes of it."""
    kept, ppo = Kept(), SlowPolicy(error=error)
    scheduling = kept.scheduling(ppo=ppo)
    await answered(scheduling)
    ppo.may_end.set()
    await scheduling.close(5.0)
    assert kept.outcomes == [outcome]


async def test_policy_that_never_ends_has_crashed_when_its_own_limit_is_over() -> None:
    """The answer left long before; that is when the policy has crashed."""
    kept, ppo = Kept(), SlowPolicy()
    scheduling = kept.scheduling(ppo=ppo, proposal_seconds=ANSWER_SECONDS)
    await answered(scheduling)
    assert kept.outcomes == []
    await scheduling.close(30.0)
    assert (kept.outcomes, kept.later_rows) == ([Outcome.CRASH], [("timed_out", "crash")])
    assert ppo.is_called_off


async def test_load_and_restarts_never_roll_back() -> None:
    """However many are late or shed, no guardrail fires; crashes on three different lists do, one of them often."""
    kept = Kept()
    for ppo in (SlowPolicy(begins=False), SlowPolicy()):
        scheduling = kept.scheduling(ppo=ppo)
        await asyncio.gather(*(answered(scheduling) for _ in range(20)))
        ppo.may_end.set()
        await scheduling.close(5.0)
    assert kept.outcomes == [Outcome.SHED] * 20 + [Outcome.LATE] * 20
    assert kept.guardrails.triggers == ()
    lost, asked = scheduling.policy_losses()
    assert (lost, asked) == (20, 20)
    crashing = kept.scheduling(ppo=FailingProposer(ProposalFailed("died")))
    for _ in range(3):
        await answered(crashing)
    assert kept.guardrails.triggers == ()
    for name in ("A", "B"):
        await answered(crashing, jobs=[job(name)])
    assert kept.guardrails.triggers != ()


async def test_late_policy_is_called_off_with_the_request() -> None:
    """A client that hangs up while manual plans leaves nothing running behind."""
    ppo = SlowPolicy()
    task = asyncio.create_task(answered(scheduling_over(ppo=ppo, judge=ScriptedJudge(hangs), journal=MemoryJournal())))
    await asyncio.sleep(0.7)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert ppo.is_called_off


async def test_silent_judge_is_asked_again_beside_the_first_call() -> None:
    """One judge that hangs costs a moment: another one's verdict on the policy's plan is as good."""
    judge = ScriptedJudge(hangs, answers)
    answer, seconds = await answered(scheduling_over(judge=judge))
    assert (answer.algorithm_used, judge.calls) == ("ppo", 2)
    assert seconds < IN_TIME


async def test_plan_of_manual_is_judged_when_the_judge_fails_on_that_of_the_policy() -> None:
    """Whoever has no verdict on the policy's plan asks for one on the rule's; that loss has a name of its own."""
    kept = Kept()
    judge = ScriptedJudge(fails(JudgeFailed("no verdict: replica lost in each of 2 attempts", 2, "judge-1")), answers)
    answer, _ = await answered(kept.scheduling(judge=judge))
    assert (answer.algorithm_used, answer.safety.valid) == ("manual", True)
    assert answer.decision.fallback_reason == "no verdict: replica lost in each of 2 attempts"
    ppo, manual = kept.journal.records[0].evaluations
    assert (ppo.status, ppo.outcome, ppo.source, manual.outcome) == ("unjudged", "unjudged", "judge-1", "ok")
    assert (kept.outcomes, kept.missing) == ([Outcome.UNJUDGED], 1)


async def test_judge_that_is_away_for_the_policys_plan_alone_is_nobodys_crash() -> None:
    """No verdict in time on the one, a verdict on the other: served, and late."""
    kept = Kept()
    answer, seconds = await answered(kept.scheduling(judge=ScriptedJudge(hangs, hangs, answers)))
    assert (answer.algorithm_used, kept.outcomes, seconds < IN_TIME + 0.5) == ("manual", [Outcome.LATE], True)


async def test_judge_that_nobody_reaches_is_told_in_time() -> None:
    """Without any verdict there is no schedule, and no longer wait than for one."""
    begun_at = time.monotonic()
    with pytest.raises(JudgeUnavailable, match="must answer within"):
        await answered(scheduling_over(judge=ScriptedJudge(hangs)))
    assert time.monotonic() - begun_at < IN_TIME


async def test_judge_that_answers_others_is_waited_for() -> None:
    """Busy is not away: the last verdict comes late rather than never."""
    judged_at = [0.0]

    async def busy() -> None:
        for _ in range(30):
            await asyncio.sleep(0.05)
            judged_at[0] = asyncio.get_running_loop().time()

    scheduling = scheduling_over(judge=ScriptedJudge(busy), judge_answered_at=lambda: judged_at[0])
    answer, seconds = await answered(scheduling, arm="manual")
    assert answer.safety.valid
    assert seconds > ANSWER_SECONDS


async def test_first_answer_raises_what_was_raised() -> None:
    """An error is an answer, too: nobody else is asked the same."""
    asked = []

    async def ask() -> int:
        asked.append(1)
        raise JudgeFailed("no")

    with pytest.raises(JudgeFailed):
        await first_answer(ask, 5.0, is_worth_waiting=lambda: False, allowance=RepeatAllowance())
    assert len(asked) == 1


async def test_overloaded_judge_is_not_asked_everything_twice() -> None:
    """Ten silent questions are asked again, the next ones are not; answers earn further ones."""
    asked, allowance = [], RepeatAllowance()

    async def ask() -> int:
        asked.append(1)
        await asyncio.Event().wait()
        return 1

    for _ in range(30):
        with pytest.raises(TimeoutError):
            await first_answer(ask, 0.01, is_worth_waiting=lambda: False, allowance=allowance)
    assert len(asked) == 30 + MAX_REPEATS
    for _ in range(11):
        allowance.earn()
    assert (allowance.spend(), allowance.spend()) == (True, False)


@pytest.mark.parametrize(("operations", "budget_ms", "most"), [(170, 750, 2.0), (170, 100, 2.0), (5000, 0, 6.0)])
def test_patience_is_bounded(operations: int, budget_ms: int, most: float) -> None:
    """A policy that takes all its time, a verdict that never comes and the last one are in time together."""
    now = [0.0]
    patience = Patience(budget_ms, operations, lambda: now[0])
    now[0] += patience.proposal_seconds()
    assert now[0] >= budget_ms / 1000 + ANSWER_SECONDS / 2
    now[0] += patience.verdict_seconds(is_last=False)
    now[0] += patience.verdict_seconds(is_last=True)
    limit = budget_ms / 1000 + ANSWER_SECONDS + ANSWER_SECONDS_PER_OPERATION * operations
    assert now[0] == pytest.approx(limit)
    assert now[0] <= most


def test_few_losses_are_not_worth_a_word() -> None:
    """Nor are those of a while ago."""
    now = [0.0]
    losses = RecentLosses(lambda: now[0])
    for is_lost in (True, True, False):
        losses.note(is_lost=is_lost)
    assert losses.counts() == (0, 3)
    losses.note(is_lost=True)
    assert losses.counts() == (3, 4)
    now[0] += 60.0
    assert losses.counts() == (0, 0)
