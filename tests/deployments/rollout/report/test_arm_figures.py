"""Realised KPIs: only what the serving arm is to blame for, and silence until there is enough of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from deployments.rollout.assignment import ArmRole
from deployments.rollout.report.arm_figures import (
    Rating,
    RealisedJob,
    planned_figures,
    realised_arms,
    realised_effects,
    satisfaction,
)
from tests.deployments.rollout.events import START, at, key_figures, pair

DAY = 1440


def job(window: int = 0, arm: ArmRole = ArmRole.PPO, delay_hours: float = 0.0, share: float = 0.5) -> RealisedJob:
    end = at(window * DAY)
    return RealisedJob(
        unit=f"window-{window}",
        at=end,
        stage="expanded",
        share=share,
        arm=arm,
        job_id="job",
        completed_at=end + timedelta(hours=delay_hours),
        planned_end_at=end,
        due_at=end,
        begun_under=arm,
    )


def switchback(windows: int, effect_hours: float, share: float = 0.5, drift_hours: float = 0.0) -> list[RealisedJob]:
    """Windows that PPO serves by chance, `effect_hours` later than manual would, on top of a drift of the plant."""
    rng = np.random.default_rng(0)
    jobs = []
    for window in range(windows):
        arm = ArmRole.PPO if rng.random() < share else ArmRole.MANUAL
        delay = rng.normal(5.0 + drift_hours * window / windows, 0.5) + (effect_hours if arm is ArmRole.PPO else 0.0)
        jobs.append(job(window, arm, float(delay), share))
    return jobs


def test_jobs_begun_under_the_other_arm_are_excluded() -> None:
    """What manual began, PPO is not blamed for; an unknown beginning is taken as its own."""
    jobs = [job(), job(delay_hours=2.0), replace(job(delay_hours=99.0), begun_under=ArmRole.MANUAL)]
    jobs.append(replace(job(delay_hours=4.0), begun_under=None))
    (found,) = realised_arms(jobs)
    assert (found.jobs, found.excluded, found.windows) == (3, 1, 1)
    assert found.delay_hours == found.lead_time_hours == pytest.approx(2.0)
    assert found.on_time_percent == pytest.approx(100 / 3)


def test_arms_are_told_by_stage() -> None:
    """One row for each stage and served arm; without due dates there is no on-time rate."""
    jobs = [job(), job(arm=ArmRole.MANUAL), replace(job(), stage="limited", due_at=None)]
    found = realised_arms(jobs)
    assert [(row.stage, row.arm.value) for row in found] == [
        ("expanded", "manual"),
        ("expanded", "ppo"),
        ("limited", "ppo"),
    ]
    assert found[2].on_time_percent is None
    assert realised_arms([replace(job(), begun_under=ArmRole.MANUAL)])[0].delay_hours is None


@pytest.mark.parametrize("drift", [0.0, 20.0])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_switchback_finds_the_effect_in_spite_of_drift(share: float, drift: float) -> None:
    """Two hours later on average, over a year of windows, while the plant itself drifts."""
    effect = next(
        found for found in realised_effects(switchback(1500, 2.0, share, drift)) if found.name == "lead_time_hours"
    )
    assert effect.windows == 1500
    assert effect.interval is not None
    assert effect.interval.lower < 2.0 < effect.interval.upper


def test_switchback_sees_a_large_effect() -> None:
    """Ten hours more delay at an even split: the interval lies above zero."""
    found = next(found for found in realised_effects(switchback(400, 10.0)) if found.name == "lead_time_hours")
    assert found.interval is not None
    assert found.interval.lower > 0


def test_plan_is_no_yardstick() -> None:
    """An arm that promises late ends and keeps them is no better for it: completions count, not promises."""
    jobs = [replace(each, planned_end_at=each.completed_at + timedelta(days=9)) for each in switchback(120, 2.0)]
    assert realised_effects(jobs) == realised_effects(switchback(120, 2.0))
    assert {effect.name for effect in realised_effects(jobs)} == {"on_time_percent", "lead_time_hours"}


def test_lead_time_begins_when_the_job_is_there() -> None:
    """When it was asked for, or where its material came later, then."""
    assert job(delay_hours=5.0).lead_time_hours == 5.0
    assert replace(job(delay_hours=5.0), released_at=at(60)).lead_time_hours == 4.0
    assert replace(job(delay_hours=5.0), released_at=at(-60)).lead_time_hours == 5.0


@pytest.mark.parametrize("hours", [(2.0, 20.0), (8.0, 16.0)], ids=["around the clock", "by day"])
def test_what_begins_just_after_a_switch_is_left_out(hours: tuple[float, float]) -> None:
    """One hour that each arm leaves to the other: without the first third of the windows after a switch it is gone.

    A third of the hours in which the line begins work, which a plant that works by day has none of before eight.
    """
    rng, jobs, before = np.random.default_rng(0), [], ArmRole.MANUAL
    for day in range(1500):
        arm = ArmRole.PPO if rng.random() < 0.5 else ArmRole.MANUAL
        unit = f"p//{(START + timedelta(days=day)).date()}"
        for hour in hours:
            carried = 1.0 if hour == hours[0] and arm is ArmRole.PPO and before is ArmRole.MANUAL else 0.0
            each = job(day, arm, float(rng.normal(5.0, 0.1)) + carried)
            jobs.append(replace(each, unit=unit, begins_after_hours=hour))
        before = arm
    without, with_them = (found for found in realised_effects(jobs) if found.name == "lead_time_hours")
    assert (without.with_switches, with_them.with_switches) == (False, True)
    assert without.interval is not None
    assert with_them.interval is not None
    assert without.interval.lower < 0.0 < without.interval.upper
    assert with_them.interval.lower < 0.25 < with_them.interval.upper
    assert with_them.interval.lower > 0.0


def test_planned_figures_are_those_of_the_first_list() -> None:
    """What both arms planned of it, challenger first; pairs of older routers tell nothing."""
    both = key_figures(90.0, tardiness_seconds=1.0), key_figures(100.0, tardiness_seconds=2.0)
    pairs = [pair(5, unit="a", figures=both[::-1]), pair(1, unit="a", figures=both), pair(0, unit="b")]
    assert planned_figures(pairs) == {"a": (90.0, 1.0, 97.0, 100.0, 2.0, 97.0)}


def test_planned_figures_make_the_interval_narrower() -> None:
    """Windows whose hardness both arms have planned are compared with what that makes one expect."""
    jobs, planned = [], {}
    rng = np.random.default_rng(1)
    for each in switchback(300, 0.0):
        hard = float(rng.normal(0.0, 20.0))
        jobs.append(replace(each, completed_at=each.completed_at + timedelta(hours=hard)))
        planned[each.unit] = (hard, 1.0, 97.0, hard + 1.0, 1.0, 97.0)
    widths = []
    for known in (None, planned):
        interval = realised_effects(jobs, known)[-1].interval
        assert interval is not None
        widths.append(interval.upper - interval.lower)
    assert widths[1] < widths[0] / 4


def test_few_windows_are_not_enough_data() -> None:
    """Ninety-nine windows say nothing, and stages in which one arm serves everything never do."""
    assert all(effect.interval is None for effect in realised_effects(switchback(99, 2.0)))
    alone = [job(window, ArmRole.PPO, share=1.0) for window in range(500)]
    assert [effect.windows for effect in realised_effects(alone)] == [0] * 4


def test_ratings_are_told_by_arm() -> None:
    """Mean and rate of satisfied planners, with an interval that two ratings leave wide."""
    ratings = [Rating(at=at(0), stage="limited", arm=ArmRole.PPO, rating=rating) for rating in (5, 4)]
    ratings.append(Rating(at=at(0), stage="limited", arm=ArmRole.MANUAL, rating=2))
    manual, ppo = satisfaction(ratings)
    assert (ppo.mean, ppo.ratings, ppo.satisfied.estimate) == (4.5, 2, 1.0)
    assert ppo.satisfied.lower < 0.2
    assert manual.satisfied.estimate == 0.0
    assert satisfaction([]) == ()


@pytest.mark.parametrize("rating", [0, 6])
def test_rating_outside_one_to_five_is_refused(rating: int) -> None:
    """The scale of the feedback route."""
    with pytest.raises(ValueError, match=f"rating must be between 1 and 5, was {rating}"):
        Rating(at=at(0), stage="limited", arm=ArmRole.PPO, rating=rating)
