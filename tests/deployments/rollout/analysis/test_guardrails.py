"""Each trigger fires where it must, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from deployments.errors import UnreadableState
from deployments.rollout.analysis.guardrail_rules import recent_error
from deployments.rollout.analysis.guardrails import Event, Guardrails, one_event_trigger
from deployments.rollout.analysis.outcomes import Baseline, CorruptionKind, JobSketch, Outcome, PairedObservation
from deployments.rollout.analysis.triggers import Condition, Guardrail, GuardrailReading, GuardrailRule, Trigger
from deployments.rollout.analysis.windows import MAX_WINDOWS
from deployments.rollout.assignment import ArmRole
from tests.deployments.rollout.events import alarm, at, evaluation, missing, pair
from tests.deployments.shipped_policy import LIMITS


def first(events: Iterable[Event], guardrails: Guardrails | None = None) -> tuple[int, Trigger] | None:
    """Number of the event, from 1, that fires, and its trigger."""
    guardrails = guardrails or Guardrails(ramp=1, limits=LIMITS)
    for number, event in enumerate(events, start=1):
        trigger = guardrails.observe(event)
        if trigger is not None:
            return number, trigger
    return None


def reading(
    guardrails: Guardrails, guardrail: Guardrail, rule: GuardrailRule, baseline: Baseline | None = None
) -> GuardrailReading:
    return next(
        found
        for found in guardrails.readings()
        if (found.guardrail, found.rule, found.baseline) == (guardrail, rule, baseline)
    )


def healthy(count: int) -> Guardrails:
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    assert first((evaluation(minute) for minute in range(count)), guardrails) is None
    return guardrails


def test_one_critical_violation_fires_at_once() -> None:
    """A single critical outcome rolls back, and a router sees it without any history."""
    event = evaluation(0, Outcome.CRITICAL, detail="machine_overlap")
    found = first([event])
    assert found is not None
    assert found == (1, one_event_trigger(event))
    assert found[1].guardrail is Guardrail.CRITICAL
    assert "machine_overlap" in found[1].reason


@pytest.mark.parametrize(
    ("corruption", "guardrail"),
    [
        (None, Guardrail.CRITICAL),
        (CorruptionKind.CHECKSUM, Guardrail.CORRUPTION),
        (CorruptionKind.TWO_PAYLOADS, Guardrail.CORRUPTION),
    ],
)
def test_one_alarm_fires_at_once(corruption: CorruptionKind | None, guardrail: Guardrail) -> None:
    """Corrupt data, or a served schedule that fails re-validation, rolls back by itself."""
    event = alarm(corruption=corruption, detail="decision 7")
    trigger = one_event_trigger(event)
    assert trigger is not None
    assert trigger.guardrail is guardrail
    assert first([event]) == (1, trigger)
    assert "decision 7" in trigger.reason


@pytest.mark.parametrize(
    "event",
    [
        evaluation(0, Outcome.CRITICAL, arm=ArmRole.MANUAL),
        evaluation(0, Outcome.CRITICAL, is_forced=True),
        evaluation(0, Outcome.CRASH),
        evaluation(0, Outcome.INCOMPLETE),
        evaluation(0, Outcome.INPUT),
        evaluation(0, Outcome.SHED),
        pair(0, 9.0),
        missing(),
    ],
)
def test_nothing_else_fires_at_once(event: Event) -> None:
    """The champion, forced requests and single failures of other kinds do not roll back."""
    assert one_event_trigger(event) is None
    assert first([event]) is None


def test_crash_rate_fires_at_three_early_events() -> None:
    """Two crashes are not enough, three in a row are."""
    found = first(evaluation(minute, Outcome.CRASH) for minute in range(9))
    assert found is not None
    assert (found[0], found[1].guardrail, found[1].rule) == (3, Guardrail.CRASH, GuardrailRule.BOUND)
    assert found[1].value > found[1].limit == 0.01


def test_crashes_of_one_replica_at_one_moment_are_one_event() -> None:
    """Ten requests lost with one replica count once; the same replica a minute later counts again."""
    lost = [evaluation(minute / 1000, Outcome.CRASH, source="replica-1") for minute in range(10)]
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    assert first(lost, guardrails) is None
    crashes = reading(guardrails, Guardrail.CRASH, GuardrailRule.BOUND)
    assert crashes.n == 1
    assert first([evaluation(5, Outcome.CRASH, source="replica-1")], guardrails) is None
    assert first([evaluation(5, Outcome.CRASH, source="replica-2", job_list_digest="another")], guardrails) is not None


def test_plans_that_the_judge_fails_on_are_a_guardrail_of_their_own() -> None:
    """Three early ones fire, no crash among them; a thousand that were late or shed fire nothing and count nowhere."""
    lost = [evaluation(minute, Outcome.UNJUDGED, source=f"judge-{minute}") for minute in range(3)]
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    found = first(lost, guardrails)
    assert found is not None
    assert (found[0], found[1].guardrail, found[1].rule) == (3, Guardrail.UNJUDGED, GuardrailRule.BOUND)
    assert reading(guardrails, Guardrail.CRASH, GuardrailRule.BOUND).condition is Condition.HEALTHY
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    of_load = [evaluation(minute, outcome) for minute in range(500) for outcome in (Outcome.LATE, Outcome.SHED)]
    assert first(of_load, guardrails) is None
    assert reading(guardrails, Guardrail.CRASH, GuardrailRule.BOUND).n == 0


def test_snapshot_of_an_earlier_version_knows_no_unjudged_plans() -> None:
    """What v0.2 wrote is read, and what it did not know begins empty."""
    earlier = healthy(5).snapshot()
    del earlier["unjudged"]
    restored = Guardrails.restored(json.loads(json.dumps(earlier)), limits=LIMITS)
    assert reading(restored, Guardrail.CRASH, GuardrailRule.BOUND).n == 5
    assert reading(restored, Guardrail.UNJUDGED, GuardrailRule.BOUND).n == 0


OF_FORMAT_1 = (
    '{"format": 1, "ramp": 1, "triggers": [], "events": {"critical_violation": 0, "data_corruption": 0}, '
    '"crashes": {"rate": {"trials": 5, "events": 1}, "recent": [0, 0, 0, 0, 1], '
    '"latest": [["replica-1", "2025-07-22T06:09:00+00:00"]], "has_fired": false}, '
    '"completion": {"incomplete": {"trials": 4, "events": 1}, "recent": [0, 0, 0, 1], "sum": 1.1, "fired": null}, '
    '"makespans": {"rule": {"replans": {"observations": 4, "groups": [["61", 1, 0, 0.0], ["62", 1, 3, 0.3]]}, '
    '"all": {"n": 4, "total": 0.6, "squares": 0.14}, "recent": [0.0, 0.1, 0.2, 0.3], "fired": null}, '
    '"planner": {"replans": {"observations": 0, "groups": []}, "all": {"n": 0, "total": 0.0, "squares": 0.0}, '
    '"recent": [], "fired": null}}}'
)


def test_snapshot_of_format_1_keeps_its_counts() -> None:
    """What 0.2.0 wrote is read: rates and means stay, its pairs are of one window, and groups begin anew."""
    restored = Guardrails.restored(json.loads(OF_FORMAT_1), limits=LIMITS)
    crash = reading(restored, Guardrail.CRASH, GuardrailRule.BOUND)
    assert (crash.n, crash.condition) == (5, Condition.HEALTHY)
    assert reading(restored, Guardrail.CRASH, GuardrailRule.CUSUM).value == 0.0
    assert reading(restored, Guardrail.COMPLETION, GuardrailRule.CUSUM).value == pytest.approx(1.1)
    assert reading(restored, Guardrail.MAKESPAN, GuardrailRule.WINDOW, Baseline.RULE).n == 4
    again = Guardrails.restored(json.loads(json.dumps(restored.snapshot())), limits=LIMITS)
    assert again.readings() == restored.readings()
    found = first((evaluation(minute, Outcome.CRASH) for minute in range(20, 30)), restored)
    assert found is not None
    assert found[0] == 2


def test_crashes_of_one_moment_are_seen_through_a_clock_that_steps_back() -> None:
    """A later loss with an earlier time is another loss, one within the moment is not."""
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    for minute in (60, 60 - 0.001, 0):
        guardrails.observe(evaluation(minute, Outcome.CRASH, source="replica-1"))
    assert reading(guardrails, Guardrail.CRASH, GuardrailRule.BOUND).n == 2


@pytest.mark.parametrize(("outcome", "count"), [(Outcome.INCOMPLETE, 8), (Outcome.CRASH, 5), (Outcome.UNJUDGED, 5)])
def test_total_failure_is_seen_within_eight_requests_whatever_came_before(outcome: Outcome, count: int) -> None:
    """After two thousand healthy requests the bounds are blind, and the cumulative sums are not."""
    found = first((evaluation(minute, outcome) for minute in range(5000, 5020)), healthy(2000))
    assert found is not None
    assert (found[0], found[1].rule) == (count, GuardrailRule.CUSUM)


@pytest.mark.parametrize("outcome", [Outcome.INCOMPLETE, Outcome.CRASH, Outcome.UNJUDGED])
def test_total_failure_of_one_group_is_seen_within_eight_requests(outcome: Outcome) -> None:
    """One plant's list, changed by a job each time, is one trial: that nothing succeeds is seen all the same."""
    guardrails = healthy(200)
    jobs = [JobSketch.of(f"job-{number}" for number in range(change, change + 50)) for change in range(20)]
    assert first([evaluation(999, jobs=jobs[0], job_list_digest="before")], guardrails) is None
    later = (evaluation(1000 + n, outcome, jobs=each, job_list_digest=str(n)) for n, each in enumerate(jobs))
    found = first(later, guardrails)
    assert found is not None
    assert (found[0], found[1].rule, found[1].value, found[1].limit) == (8, GuardrailRule.RUN, 8, 8)


@pytest.mark.parametrize("outcome", [Outcome.INCOMPLETE, Outcome.CRASH, Outcome.UNJUDGED])
def test_one_bad_list_is_one_trial_however_often_it_is_pressed(outcome: Outcome) -> None:
    """Fifty presses of one list that fails, and of a second one: two trials, and nothing rolls back."""
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    pressed = [evaluation(n, outcome, job_list_digest=f"list-{n % 2}") for n in range(50)]
    assert first(pressed, guardrails) is None
    assert reading(guardrails, Guardrail.CRASH, GuardrailRule.BOUND).n == 2


@pytest.mark.parametrize("outcome", [Outcome.INCOMPLETE, Outcome.CRASH])
def test_bad_lists_at_two_presses_rarely_roll_back(outcome: Outcome) -> None:
    """Half a per cent of bad lists, each pressed twice, 5,000 requests: at most one of forty rollouts is stopped."""
    stopped = 0
    for seed in range(40):
        is_bad = np.random.default_rng(seed).random(2500) < 0.005
        events = (
            evaluation(2 * n + press, outcome if bad else Outcome.OK, job_list_digest=f"list-{n}")
            for n, bad in enumerate(is_bad)
            for press in (0, 1)
        )
        stopped += first(events) is not None
    assert stopped <= 1


def test_total_failure_from_the_start_is_seen_by_the_bound() -> None:
    """Without history four incomplete plans refute a completion of 95 %."""
    found = first(evaluation(minute, Outcome.INCOMPLETE) for minute in range(9))
    assert found is not None
    assert (found[0], found[1].rule) == (4, GuardrailRule.BOUND)
    assert found[1].value < found[1].limit == 0.95


def test_makespan_is_seen_at_the_hundredth_pair() -> None:
    """Twenty per cent longer with a deviation of 0.1: the window fires as soon as it is full."""
    noise = np.random.default_rng(0).normal(np.log(1.2), 0.1, size=200)
    found = first(pair(minute, ratio) for minute, ratio in enumerate(noise))
    assert found is not None
    assert (found[0], found[1].guardrail, found[1].rule) == (100, Guardrail.MAKESPAN, GuardrailRule.WINDOW)
    assert found[1].value > found[1].limit == 0.10


def test_makespan_slightly_above_the_limit_is_seen_by_the_bound() -> None:
    """The window with its wide margin stays quiet at +12 %; the bound does not."""
    noise = np.random.default_rng(1).normal(np.log(1.12), 0.05, size=2000)
    found = first(pair(minute, ratio) for minute, ratio in enumerate(noise))
    assert found is not None
    assert found[1].rule is GuardrailRule.BOUND


def test_identical_plans_far_above_the_limit_fire_and_near_it_do_not() -> None:
    """Pairs without any spread get the deviation floor: +10.1 % is no proof after a hundred, +20 % is."""
    assert first(pair(minute, float(np.log(1.101))) for minute in range(150)) is None
    assert first(pair(minute, float(np.log(1.2))) for minute in range(150)) is not None


def test_replans_of_one_list_are_one_pair() -> None:
    """Five hundred replans of one bad list are one observation, not a reason to roll back."""
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    assert first((pair(minute, 0.5, job_list_digest="same") for minute in range(500)), guardrails) is None
    bound = reading(guardrails, Guardrail.MAKESPAN, GuardrailRule.BOUND, Baseline.RULE)
    assert (bound.n, bound.condition) == (1, Condition.NOT_ENOUGH_DATA)


def test_first_pair_of_a_group_stands() -> None:
    """Who plans a list again changes no mean, neither of all pairs nor of the last ones."""
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    for minute in range(150):
        guardrails.observe(pair(minute, 0.01))
    before = guardrails.readings()
    guardrails.observe(pair(149, 0.4))
    guardrails.observe(pair(100, 0.4))
    assert guardrails.readings() == before


def harmed_days(increase: float, days: int, pairs: int = 3) -> Iterator[PairedObservation]:
    """Some pairs on each of many days, longer than the champion's by about `increase`."""
    rng = np.random.default_rng(10)
    for day in range(days):
        unit = f"p//{at(1440 * day).date()}"
        for press in range(pairs):
            yield pair(1440 * day + press, float(rng.normal(np.log1p(increase), 0.05)), unit=unit)


def test_harm_of_few_pairs_is_seen_by_the_evidence_over_windows() -> None:
    """Three pairs a day at +20 %: the windows that have closed say it before there are a hundred pairs."""
    found = first(harmed_days(0.20, 33))
    assert found is not None
    assert (found[1].guardrail, found[1].rule) == (Guardrail.MAKESPAN, GuardrailRule.EVIDENCE)
    assert found[1].value >= found[1].limit == 200.0
    assert 10 < found[1].n < 25
    # Told on the day on which the last of its windows has closed: a day and eighteen hours after that day began.
    assert (found[0] - 1) // 3 == found[1].n + 1
    assert first(harmed_days(0.05, 33)) is None


def test_open_windows_of_the_evidence_are_few() -> None:
    """Windows a hundred years ahead push out the least recently touched, also after a snapshot; the others are told."""
    windows = [f"plant-{number}//2125-07-22" for number in range(MAX_WINDOWS)]
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    for number, window in enumerate((*windows, windows[0])):
        guardrails.observe(pair(number / 1000, unit=window))
    document = json.loads(json.dumps(guardrails.snapshot()))
    document["makespans"][Baseline.RULE]["open"].insert(0, ["plant//2125-07-22", 1, 0.5])
    restored = Guardrails.restored(document, limits=LIMITS)
    restored.observe(pair(2, unit="p//2025-07-22"))
    kept = [window for window, _, _ in restored.snapshot()["makespans"][Baseline.RULE]["open"]]
    assert kept == [*windows[2:], windows[0], "p//2025-07-22"]
    restored.observe(pair(2 * 1440))
    assert reading(restored, Guardrail.MAKESPAN, GuardrailRule.EVIDENCE, Baseline.RULE).n == 1


def test_evidence_goes_on_where_it_stopped() -> None:
    """Through JSON and back on each day, it fires on the same pair; a clock that steps back closes nothing twice."""
    whole = first(harmed_days(0.20, 33))
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    for number, event in enumerate(harmed_days(0.20, 33), start=1):
        guardrails = Guardrails.restored(json.loads(json.dumps(guardrails.snapshot())), limits=LIMITS)
        if number % 10 == 0:
            guardrails.observe(pair(-5000 - number, 2.0, unit="p//2025-07-01"))
        if guardrails.observe(event) is not None:
            assert whole is not None
            assert number == whole[0]
            return
    pytest.fail("the evidence must fire")


def test_window_s_error_is_that_of_windows_that_have_ended_before() -> None:
    """A window of which some pairs are among the last hundred says nothing yet of the spread between windows."""
    ratios = np.random.default_rng(8).normal(0.0, 0.1, size=170) + np.repeat(np.linspace(-0.3, 0.3, 9), 20)[:170]
    windows = [f"p//2025-06-{1 + n // 20:02}" for n in range(170)]
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    for n, window in enumerate(windows):
        guardrails.observe(pair(n, float(ratios[n]), unit=window))
    earlier = [float(ratios[20 * number : 20 * number + 20].mean()) for number in range(3)]
    error = recent_error(ratios[70:].tolist(), windows[70:], earlier)
    found = reading(guardrails, Guardrail.MAKESPAN, GuardrailRule.WINDOW, Baseline.RULE)
    assert found.value == pytest.approx(np.expm1(ratios[70:].mean() - 3.0 * error))


def test_hundred_pairs_of_one_bad_day_are_one_day() -> None:
    """Twenty days at +7 %, then a hundred pairs at +17 %: of one day they do not roll back, of ten days they do."""
    rng = np.random.default_rng(6)
    days = np.log(1.07) + rng.normal(0.0, 0.05, size=20)
    for bad_days, rule in ((1, None), (10, GuardrailRule.WINDOW)):
        guardrails = Guardrails(ramp=1, limits=replace(LIMITS, makespan_alpha=1e-12))
        before = (
            pair(n, float(days[n // 10] + rng.normal(0.0, 0.02)), unit=f"p//2025-06-{1 + n // 10:02}")
            for n in range(200)
        )
        assert first(before, guardrails) is None
        bad = (
            pair(1000 + n, float(np.log(1.17) + rng.normal(0.0, 0.02)), unit=f"p//2025-07-{1 + n % bad_days:02}")
            for n in range(100)
        )
        found = first(bad, guardrails)
        assert (None if found is None else found[1].rule) == rule


def test_kinds_of_baseline_are_judged_apart() -> None:
    """Being better than the rule does not hide being worse than the planners."""
    stream = []
    for minute in range(100):
        stream += [pair(minute, -0.2), pair(minute + 0.5, 0.25, baseline=Baseline.PLANNER)]
    found = first(stream)
    assert found is not None
    assert found[1].baseline is Baseline.PLANNER


def test_point_breach_shows_and_clears_itself() -> None:
    """Six incomplete of the last hundred are a breach; once they have left the window it is gone."""
    guardrails = healthy(300)
    for minute in range(300, 405):
        guardrails.observe(evaluation(minute, Outcome.INCOMPLETE if minute % 17 == 0 else Outcome.OK))
    assert guardrails.triggers == ()
    assert [(found.guardrail, found.value) for found in guardrails.breaches()] == [(Guardrail.COMPLETION, 0.94)]
    for minute in range(500, 600):
        guardrails.observe(evaluation(minute))
    assert guardrails.breaches() == ()


def test_five_of_a_hundred_are_no_breach() -> None:
    """Exactly 95 % complete is within the limit, whatever binary fractions say."""
    guardrails = healthy(95)
    for minute in range(100, 105):
        guardrails.observe(evaluation(minute, Outcome.INCOMPLETE))
    point = reading(guardrails, Guardrail.COMPLETION, GuardrailRule.POINT)
    assert (point.value, point.condition) == (0.95, Condition.HEALTHY)


def test_other_ramps_forced_and_uncounted_events_leave_no_trace() -> None:
    """Late news of an earlier ramp does not count against this one."""
    guardrails = Guardrails(ramp=2, limits=LIMITS)
    before = guardrails.snapshot()
    strays = [
        evaluation(0, Outcome.CRITICAL, ramp=1),
        alarm(0, ramp=1),
        pair(0, 1.0, ramp=1),
        evaluation(0, Outcome.CRASH, ramp=2, is_forced=True),
        evaluation(0, Outcome.SHED, ramp=2),
        evaluation(0, Outcome.INPUT, ramp=2),
        evaluation(0, Outcome.CRASH, ramp=2, arm=ArmRole.MANUAL),
    ]
    assert first(strays, guardrails) is None
    assert guardrails.snapshot() == before


def test_each_guardrail_fires_once() -> None:
    """The first trigger of a guardrail stands; another guardrail still fires."""
    guardrails = Guardrails(ramp=1, limits=LIMITS)
    fired = [guardrails.observe(evaluation(minute, Outcome.CRITICAL)) for minute in range(3)]
    assert [trigger is not None for trigger in fired] == [True, False, False]
    assert guardrails.observe(alarm(9, CorruptionKind.CHECKSUM)) is not None
    assert [trigger.guardrail for trigger in guardrails.triggers] == [Guardrail.CRITICAL, Guardrail.CORRUPTION]
    assert reading(guardrails, Guardrail.CRITICAL, GuardrailRule.EVENT).value == 3


def test_new_guardrails_say_that_they_know_nothing() -> None:
    """Without data no rule shows a tick, except those that one event decides."""
    conditions = {found.rule: found.condition for found in Guardrails(ramp=1, limits=LIMITS).readings()}
    assert conditions.pop(GuardrailRule.EVENT) is Condition.HEALTHY
    assert set(conditions.values()) == {Condition.NOT_ENOUGH_DATA}


def random_events(seed: int, count: int) -> list[Event]:
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    for minute in range(count):
        outcome = rng.choice(list(Outcome), p=[0.88, 0.06, 0.002, 0.02, 0.01, 0.01, 0.009, 0.009])
        events.append(evaluation(minute, Outcome(outcome), source=str(rng.choice(["a", "b"]))))
        baseline = Baseline.RULE if rng.random() < 0.7 else Baseline.PLANNER
        digest = f"jobs-{rng.integers(count // 2)}"
        events.append(pair(minute, float(rng.normal(0.1, 0.1)), baseline=baseline, job_list_digest=digest))
    return events


def test_snapshot_goes_on_exactly_where_it_stopped() -> None:
    """Through JSON and back at any point, the same triggers and readings follow."""
    events = random_events(3, 400)
    whole, halved = Guardrails(ramp=1, limits=LIMITS), Guardrails(ramp=1, limits=LIMITS)
    for number, event in enumerate(events):
        if number % 97 == 0:
            halved = Guardrails.restored(json.loads(json.dumps(halved.snapshot())), limits=LIMITS)
        assert whole.observe(event) == halved.observe(event)
    assert whole.readings() == halved.readings()
    assert whole.triggers == halved.triggers != ()


@pytest.mark.parametrize("damage", [{"format": 3}, {"format": 1}, {"format": 2, "ramp": "x"}])
def test_damaged_snapshot_is_refused(damage: dict[str, object]) -> None:
    """A snapshot of another version, or half of one, is no state."""
    with pytest.raises(UnreadableState, match="guardrail snapshot"):
        Guardrails.restored(damage, limits=LIMITS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"completion": 95.0}, "completion must lie strictly between 0 and 1, was 95.0"),
        ({"cusum_complete": 0.1}, "cusum_complete must be < 0"),
        ({"makespan_increase": 0.0}, "makespan_increase must be > 0"),
        ({"window": 1}, "window must be >= 2, was 1"),
    ],
)
def test_limits_refuse_nonsense(change: dict[str, float], message: str) -> None:
    """A limit in per cent, or a rule that can never fire, is a mistake."""
    with pytest.raises(ValueError, match=message):
        replace(LIMITS, **change)  # type: ignore[arg-type]
