"""Windows: presses and replans are no observations, a day is one, and what comes late is said."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import UnreadableState
from deployments.rollout.analysis.outcomes import MAX_HASHES, Baseline, JobSketch
from deployments.rollout.analysis.windows import (
    MAX_LISTS,
    MAX_SKETCHES,
    MAX_WINDOWS,
    ListGroups,
    ListInWindow,
    SizeThirds,
    Trials,
    WindowLog,
    WindowPair,
    closes_at,
)
from tests.deployments.rollout.events import evaluation
from tests.deployments.rollout.events import pair as paired_event

START = datetime(2025, 7, 22, 6, tzinfo=UTC)
DAY = "p/l/2025-07-22"
JOBS = st.sets(st.integers(0, 40), min_size=1, max_size=30)


def sketch(first: int, count: int) -> JobSketch:
    return JobSketch.of(f"job-{number}" for number in range(first, first + count))


def item(first: int = 0, count: int = 20, window: str = DAY, digest: str | None = None) -> ListInWindow:
    return ListInWindow(window=window, digest=digest or f"{first}+{count}", jobs=sketch(first, count))


def pair(log_ratio: float, what: ListInWindow | None = None, **changes: Any) -> WindowPair:
    fields: dict[str, Any] = {"item": what or item(), "at": START, "stage": "shadow", "baseline": Baseline.RULE}
    return WindowPair(log_ratio=log_ratio, **(fields | changes))


@given(mine=JOBS, theirs=JOBS)
def test_overlap_of_short_lists_is_exact(mine: set[int], theirs: set[int]) -> None:
    """The Jaccard index of the sketches is that of the sets, whatever the order of the jobs."""
    first, second = (JobSketch.of(map(str, jobs)) for jobs in (sorted(mine), sorted(theirs, reverse=True)))
    assert first.overlap(second) == second.overlap(first) == len(mine & theirs) / len(mine | theirs)


@pytest.mark.parametrize("shift", [0, 500, 1000, 2000, 6000])
def test_overlap_of_long_lists_is_close(shift: int) -> None:
    """Five thousand jobs in a kilobyte: within four standard errors of 0.03."""
    exact = max(0, 5000 - shift) / (5000 + min(shift, 5000))
    found = sketch(0, 5000).overlap(sketch(shift, 5000))
    assert found == pytest.approx(exact, abs=0.12)
    assert len(sketch(0, 5000).hashes) == 4 * MAX_HASHES


def test_overlap_of_a_short_and_a_long_list_is_close() -> None:
    """A tenth of a long list is no half of it."""
    assert sketch(0, 300).overlap(sketch(0, 3000)) == pytest.approx(0.1, abs=0.04)
    assert sketch(0, 100).overlap(sketch(0, 3000)) < 0.5


@given(count=st.integers(1, 600))
def test_sketch_is_read_back(count: int) -> None:
    """As text and back, the same; a format that this version does not know is refused."""
    text = sketch(0, count).as_text()
    assert JobSketch.from_text(text) == sketch(0, count)
    with pytest.raises(ValueError, match="a sketch must have format 1, had 2"):
        JobSketch.from_text("2" + text[1:])


def test_rolling_lists_are_one_group() -> None:
    """Each list differs by one job from the last; at the end none of the first is left, and it is one group."""
    groups = ListGroups()
    assert {groups.group_of(item(first)) for first in range(100)} == {0}


def test_lists_that_share_less_than_half_are_groups_of_their_own() -> None:
    """Ten of thirty in common is a third; fifteen of twenty-five is more than half."""
    groups = ListGroups()
    assert [groups.group_of(item(first)) for first in (0, 10, 100, 5, 105)] == [0, 1, 2, 0, 2]


def test_lists_of_older_routers_are_told_by_their_digest() -> None:
    """Without a sketch equal digests are one group, any other is another."""
    groups = ListGroups()
    plain = [ListInWindow(window=DAY, digest=digest) for digest in ("a", "b", "a")]
    assert [groups.group_of(each) for each in plain] == [0, 1, 0]


def test_lists_that_are_remembered_are_few() -> None:
    """The first sketch of a group stays longest, digests stay longer; what is like none of them is a new group."""
    groups = ListGroups()
    for first in range(2 * MAX_SKETCHES):
        groups.group_of(item(first))
    assert len(groups.snapshot()["sketches"]) == MAX_SKETCHES
    assert groups.groups == 1
    assert groups.group_of(item(0, digest="the first jobs, by another name")) == 0
    many = ListGroups()
    lists = [ListInWindow(window=DAY, digest=str(number)) for number in range(MAX_LISTS + 1)]
    assert [many.group_of(each) for each in lists] == list(range(MAX_LISTS + 1))
    assert many.group_of(lists[1]) == 1
    assert many.group_of(lists[0]) == MAX_LISTS + 1


def test_lists_that_are_planned_in_turn_are_as_many_as_they_are() -> None:
    """Five hundred unlike lists of one day, ten times in turn: five hundred groups."""
    groups = ListGroups()
    lists = [item(20 * number) for number in range(500)]
    assert {groups.group_of(each) for _ in range(10) for each in lists} == set(range(500))


def test_first_pair_of_a_group_counts() -> None:
    """A planner presses four times until the plan looks good: one group, and its first pair."""
    log = WindowLog()
    for log_ratio in (0.4, 0.1, 0.0, -0.3):
        log.observe(pair(log_ratio))
    log.observe(pair(-0.2, item(100)))
    (found,) = log.partial()
    assert (found.groups, found.lists) == (2, 5)
    assert found.log_ratio == pytest.approx(0.1)


def test_window_speaks_once_and_when_it_is_over() -> None:
    """Not before the day has ended everywhere and six hours have passed, and never twice."""
    log = WindowLog()
    log.observe(pair(-0.1))
    end = datetime(2025, 7, 23, 12, tzinfo=UTC) + timedelta(hours=6)
    assert closes_at(DAY) == end
    assert log.close(end - timedelta(seconds=1)) == ()
    assert [found.window for found in log.close(end)] == [DAY]
    assert log.close(end + timedelta(days=1)) == log.partial() == ()


@pytest.mark.parametrize(("day", "closes"), [("9999-12-30", 31), ("9999-12-31", 31), ("9999-12-29", 30)])
def test_window_at_the_end_of_the_calendar_closes_at_its_end(day: str, closes: int) -> None:
    """A client may name any day: one whose close has no date hinders no other window, in evidence and in trials."""
    assert (closes_at(f"x//{day}").year, closes_at(f"x//{day}").day) == (9999, closes)
    log, trials = WindowLog(), Trials()
    for window in (f"x//{day}", DAY):
        log.observe(pair(-0.1, item(window=window)))
        trials.is_new(evaluation(0, unit=window))
    assert [found.window for found in log.close(START + timedelta(days=2))] == [DAY]
    assert trials.is_new(evaluation(2 * 1440, unit="0//2025-07-24"))
    assert list(trials.snapshot()["windows"]) == [f"x//{day}", "0//2025-07-24"]


def test_windows_are_told_in_the_order_of_their_days() -> None:
    """Whatever the order of arrival: what follows is a sequence."""
    log = WindowLog()
    for day in ("2025-07-24", "2025-07-22", "2025-07-23"):
        log.observe(pair(0.0, item(window=f"p//{day}")))
    assert [found.day.day for found in log.close(START + timedelta(days=9))] == [22, 23, 24]


def test_pair_after_the_close_counts_in_the_open_day() -> None:
    """A decision that was delayed by two days is late; it is counted in the day that is open, and said."""
    log = WindowLog()
    log.observe(pair(-0.1))
    log.close(START + timedelta(days=3))
    log.observe(pair(0.3))
    assert log.late == 1
    (found,) = log.partial()
    assert (found.window, found.log_ratio) == ("p/l/2025-07-24", 0.3)


def test_clock_that_steps_back_reopens_nothing() -> None:
    """A window that has closed stays closed, and its news are late."""
    log = WindowLog()
    log.observe(pair(-0.1))
    log.close(START + timedelta(days=3))
    assert log.close(START) == ()
    log.observe(pair(0.3))
    assert (log.late, log.partial()[0].window) == (1, "p/l/2025-07-24")


def test_clock_that_was_far_ahead_is_believed_again() -> None:
    """A year ahead for a moment: what closed stays closed, and what comes then counts in its own day."""
    log = WindowLog()
    log.observe(pair(-0.1))
    assert len(log.close(START + timedelta(days=365))) == 1
    assert log.close(START + timedelta(days=1)) == ()
    log.observe(pair(0.3, item(window="p//2025-07-23")))
    assert (log.late, log.partial()[0].window) == (0, "p//2025-07-23")


def test_open_windows_are_bounded_and_those_far_ahead_go_first() -> None:
    """A client that names days a hundred years ahead drives out its own, and it is said how many."""
    log = WindowLog()
    log.observe(pair(-0.1))
    for number in range(MAX_WINDOWS + 9):
        log.observe(pair(0.3, item(window=f"plant-{number}//2125-07-22")))
    assert (len(log.partial()), log.dropped) == (MAX_WINDOWS, 10)
    assert len(WindowLog.restored(json.loads(json.dumps(log.snapshot()))).partial()) == MAX_WINDOWS
    assert [found.log_ratio for found in log.close(START + timedelta(days=3))] == [-0.1]


def test_thirds_of_size_are_those_of_the_lists_before() -> None:
    """Of lists of 10, 50 and 200 jobs in turn each is a third of its own, once thirty are known."""
    thirds = SizeThirds()
    first = [thirds.of((10, 50, 200)[number % 3]) for number in range(30)]
    assert first == [None] * 30
    thirds = SizeThirds(json.loads(json.dumps(thirds.snapshot())))
    assert [thirds.of(jobs) for jobs in (10, 50, 200, 1, 5000)] == [
        "small lists",
        "middle lists",
        "large lists",
        "small lists",
        "large lists",
    ]


def test_hours_tail_and_strata_are_those_of_the_groups() -> None:
    """One long list and three short ones, one of them doubled: added up by hand."""
    log = WindowLog()
    log.observe(pair(math.log(1.15), item(0), hours=40.0, strata=("size large",)))
    log.observe(pair(math.log(0.95), item(100), hours=2.0, strata=("size small", "setups")))
    log.observe(pair(math.log(2.0), item(200), hours=2.0, strata=("size small",)))
    (found,) = log.partial()
    assert found.hours == 44.0
    assert found.change == pytest.approx((40 * 0.15 - 2 * 0.05 + 2 * 1.0) / 44)
    assert (found.tail, found.tail_total) == (1, pytest.approx(math.log(2.0)))
    assert found.strata == {
        "setups": pytest.approx(math.log(0.95)),
        "size large": pytest.approx(math.log(1.15)),
        "size small": pytest.approx((math.log(0.95) + math.log(2.0)) / 2),
    }


def test_kinds_of_baseline_are_told_apart() -> None:
    """The first pair of a group against each kind counts for that kind."""
    log = WindowLog()
    log.observe(pair(-0.1))
    log.observe(pair(0.3, baseline=Baseline.PLANNER))
    log.observe(pair(0.9, baseline=Baseline.PLANNER))
    assert {found.baseline: found.log_ratio for found in log.partial()} == {Baseline.RULE: -0.1, Baseline.PLANNER: 0.3}


def test_unit_that_a_client_chose_is_a_window_for_one_day() -> None:
    """An explicit unit has no day of its own: requests of two days are two windows, whatever it looks like."""
    units = [ListInWindow.of(evaluation(1440 * day, unit="trial/7")).window for day in (0, 0, 1)]
    assert units == ["trial%2F7//2025-07-22", "trial%2F7//2025-07-22", "trial%2F7//2025-07-23"]
    assert ListInWindow.of(evaluation(5 * 1440, unit=DAY)).window == DAY


def test_trials_are_the_first_of_each_group_of_a_window() -> None:
    """A second press is none, a list that is half another is one, and so is the same list on the next day."""
    trials = Trials()
    lists = [("a", 0), ("a", 0), ("b", 5), ("c", 100)]
    found = [trials.is_new(evaluation(0, job_list_digest=digest, jobs=sketch(first, 20))) for digest, first in lists]
    assert found == [True, False, False, True]
    assert trials.is_new(evaluation(0, job_list_digest="a", jobs=sketch(0, 20), unit="p//2025-07-23"))
    restored = Trials.restored(json.loads(json.dumps(trials.snapshot())))
    assert not restored.is_new(evaluation(60, job_list_digest="d", jobs=sketch(101, 20)))


def test_evaluations_and_pairs_of_each_baseline_are_tried_apart() -> None:
    """The first evaluation of a group, its first pair against the rule and its first against the planner's own plan."""
    trials = Trials()
    jobs = sketch(0, 20)
    events = [
        event
        for _ in range(2)
        for event in (
            evaluation(0, jobs=jobs),
            paired_event(0, jobs=jobs),
            paired_event(0, jobs=jobs, baseline=Baseline.PLANNER),
        )
    ]
    assert [trials.is_new(event) for event in events] == [True] * 3 + [False] * 3


def test_what_was_tried_is_bounded() -> None:
    """Five thousand unlike lists of one window are as many trials, and a part of them is remembered."""
    trials = Trials()
    assert all(trials.is_new(evaluation(0, job_list_digest=str(number))) for number in range(5000))
    (window,) = trials.snapshot()["windows"].values()
    assert len(window["lists"]) == MAX_LISTS
    assert len(window["tried"][""]) <= 2 * MAX_LISTS


def test_windows_that_have_closed_are_forgotten() -> None:
    """Memory is that of the open windows: two days after ten plants were planned, one is left."""
    trials = Trials()
    for plant in range(10):
        trials.is_new(evaluation(plant, unit=f"{plant}//2025-07-22"))
    trials.is_new(evaluation(2 * 1440, unit="0//2025-07-24"))
    assert list(trials.snapshot()["windows"]) == ["0//2025-07-24"]


def test_windows_that_are_remembered_are_few() -> None:
    """Plants by any name, a hundred years ahead: the least recently touched is dropped, also after a snapshot."""
    windows = [f"plant-{number}//2125-07-22" for number in range(MAX_WINDOWS + 1)]
    trials = Trials()
    assert all(trials.is_new(evaluation(0, unit=window, job_list_digest="a")) for window in windows[:-1])
    assert not trials.is_new(evaluation(0, unit=windows[0], job_list_digest="a"))
    trials = Trials.restored(json.loads(json.dumps(trials.snapshot())))
    assert trials.is_new(evaluation(0, unit=windows[-1], job_list_digest="a"))
    assert list(trials.snapshot()["windows"]) == [*windows[2:-1], windows[0], windows[-1]]


def test_snapshot_of_too_many_windows_is_cut() -> None:
    """An earlier version kept whatever came: the newest of it are read."""
    trials = Trials()
    trials.is_new(evaluation(0, job_list_digest="a"))
    document = trials.snapshot()
    (stored,) = document["windows"].values()
    windows = [f"plant-{number}//2125-07-22" for number in range(MAX_WINDOWS + 5)]
    restored = Trials.restored(document | {"windows": dict.fromkeys(windows, stored)})
    assert list(restored.snapshot()["windows"]) == windows[5:]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), st.floats(-1, 1), st.booleans()), max_size=30))
def test_snapshot_goes_on_where_it_stopped(stream: list[tuple[int, int, float, bool]]) -> None:
    """Through JSON and back after every pair, the same windows are told."""
    whole, halved = WindowLog(), WindowLog()
    for first, day, log_ratio, is_planner in stream:
        what = item(first, window=f"p//2025-07-2{day}")
        baseline = Baseline.PLANNER if is_planner else Baseline.RULE
        now = START + timedelta(hours=12 * first % 100)
        halved = WindowLog.restored(json.loads(json.dumps(halved.snapshot())))
        for log in (whole, halved):
            log.observe(pair(log_ratio, what, baseline=baseline, strata=("a", "b")))
        assert whole.close(now) == halved.close(now)
    assert whole.partial() == halved.partial()
    assert whole.late == halved.late


@pytest.mark.parametrize("damage", [{"format": 2}, {"format": 1}, {"format": 1, "now": "x"}])
def test_damaged_snapshot_is_refused(damage: dict[str, object]) -> None:
    """A snapshot of another version, or half of one, is no state."""
    with pytest.raises(UnreadableState, match="windows"):
        WindowLog.restored(damage)
