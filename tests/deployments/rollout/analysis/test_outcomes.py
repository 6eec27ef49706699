"""Outcomes and pairs: what counts, what is compared, and that nothing is lost on the way through JSON."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from datetime import datetime

import pytest

from deployments.rollout.analysis.outcomes import (
    DIFFERENCE_NAMES,
    Baseline,
    Effort,
    Evaluation,
    JobSketch,
    Outcome,
    PairedObservation,
    Pairing,
    Repetition,
    judged_outcome,
    paired,
    since_0_3,
)
from deployments.rollout.analysis.windows import ListInWindow
from deployments.rollout.assignment import ArmRole
from env.instances.generator import toy_problem
from env.judge.judge import judge
from env.judge.verdict import Verdict, Violation, ViolationCode
from env.schedule import KeyFigures, Schedule
from tests.deployments.rollout.events import evaluation, key_figures, pair

HIDDEN = ("figures", "jobs", "strata", "assigned", "effort", "changed_jobs")
MEASURES = judge(toy_problem(), Schedule(assignments=())).measures


def verdict(*codes: ViolationCode) -> Verdict:
    violations = tuple(Violation(code=code, message=code.value) for code in codes)
    return Verdict(violations=violations, anomalies=(), measures=MEASURES)


MISSING, LATE, OVERLAP = (
    ViolationCode.MISSING_OPERATION,
    ViolationCode.DEADLINE_MISSED,
    ViolationCode.MACHINE_OVERLAP,
)


@pytest.mark.parametrize(
    ("challenger", "champion", "outcome"),
    [
        ((), (), Outcome.OK),
        ((), (OVERLAP,), Outcome.OK),
        ((LATE,), (LATE,), Outcome.OK),
        ((MISSING, MISSING, LATE), (LATE,), Outcome.INCOMPLETE),
        ((MISSING, OVERLAP), (), Outcome.CRITICAL),
        ((OVERLAP,), (), Outcome.CRITICAL),
        ((OVERLAP,), (OVERLAP,), Outcome.INPUT),
        ((MISSING,), (MISSING,), Outcome.INPUT),
    ],
)
def test_outcome_follows_the_judge(
    challenger: tuple[ViolationCode, ...], champion: tuple[ViolationCode, ...], outcome: Outcome
) -> None:
    """Missing jobs alone are incomplete, anything else critical, and nothing counts when both are rejected."""
    assert judged_outcome(verdict(*challenger), verdict(*champion)) is outcome


def test_work_lost_to_load_and_bad_input_are_not_counted() -> None:
    """Back-pressure and impossible requests say nothing about the challenger."""
    assert {outcome for outcome in Outcome if not outcome.is_counted} == {Outcome.LATE, Outcome.SHED, Outcome.INPUT}


def test_kpis_come_from_the_verdict() -> None:
    """The measures that the judge reckoned are taken over by name."""
    found = verdict().measures.key_figures
    assert found.makespan_seconds == MEASURES.makespan_seconds
    assert found.completion_percent == MEASURES.completion_percent


def test_pair_is_ratio_of_makespans_and_differences_elsewhere() -> None:
    """The challenger ten per cent shorter and two points more on time: ln 0.9 and +2."""
    challenger = evaluation(figures=key_figures(90.0, on_time_percent=99.0))
    champion = evaluation(arm=ArmRole.MANUAL, figures=key_figures(100.0), baseline=Baseline.PLANNER)
    found = paired(challenger, champion)
    assert found is not None
    assert found.log_makespan_ratio == pytest.approx(math.log(0.9))
    assert dict(zip(DIFFERENCE_NAMES, found.differences, strict=True))["on_time_percent"] == pytest.approx(2.0)
    assert found.baseline is Baseline.PLANNER


@pytest.mark.parametrize(
    ("challenger", "champion"),
    [
        ({"outcome": Outcome.INCOMPLETE, "figures": key_figures()}, {}),
        ({"outcome": Outcome.CRASH}, {}),
        ({"is_forced": True}, {}),
        ({"budget_ms": 1000}, {}),
        ({}, {"outcome": Outcome.CRITICAL}),
        ({}, {"figures": None}),
        ({"figures": key_figures(0.0)}, {}),
    ],
)
def test_pair_needs_two_complete_plans_of_equal_budget(
    challenger: dict[str, object], champion: dict[str, object]
) -> None:
    """A plan without its last jobs, a forced arm or another budget is not compared."""
    assert paired(evaluation(**challenger), evaluation(**({"arm": ArmRole.MANUAL} | champion))) is None


def test_pair_refuses_two_decisions() -> None:
    """Only both arms of one request make a pair."""
    with pytest.raises(ValueError, match=r"must be ppo and manual of one decision, was ppo of decision-0 and manual"):
        paired(evaluation(0), evaluation(1, arm=ArmRole.MANUAL))
    with pytest.raises(ValueError, match="must be ppo and manual"):
        paired(evaluation(), evaluation())


def test_pair_refuses_what_is_no_number() -> None:
    """An endless ratio, or differences that are not all there, would poison every mean."""
    with pytest.raises(ValueError, match="must be finite"):
        pair(ratio=math.inf)
    with pytest.raises(ValueError, match="differences must be 5, were 1"):
        pair(differences=(1.0,))
    with pytest.raises(ValueError, match="an instant must have a time zone"):
        evaluation(at=datetime(2025, 7, 22))  # noqa: DTZ001 - that is the point


def test_evaluation_survives_json() -> None:
    """The evidence of an incident keeps every field, with the key figures under the name that 0.1.0 gave them."""
    sent = evaluation(3, model="full_production@3", source="replica", latency_ms=12.5, baseline=Baseline.PLANNER)
    document = json.loads(json.dumps(sent.as_json()))
    figures = document.pop("kpis")
    assert document == {field.name: getattr(sent, field.name) for field in fields(sent) if field.name not in HIDDEN} | {
        "at": sent.at.isoformat()
    }
    assert sent.figures == KeyFigures(**figures)
    assert evaluation(4, Outcome.CRASH).as_json()["kpis"] is None


@pytest.mark.parametrize("event", [evaluation(3), pair(3)])
def test_events_of_older_routers_are_read(event: Evaluation | PairedObservation) -> None:
    """What 0.2.0 pickled, before lists had a sketch, has none, and is a group by its digest."""
    old = type(event).__new__(type(event))
    # What `pickle` does with the fields of a version that had fewer.
    names = [field.name for field in fields(event)]
    old.__setstate__(event.__getstate__()[: names.index("jobs")])  # type: ignore[union-attr,operator,index]
    assert not any(hasattr(old, name) for name in names[names.index("jobs") :])
    assert (since_0_3(old, "strata", ()), since_0_3(old, "champion_seconds")) == ((), None)
    assert ListInWindow.of(old) == ListInWindow(window="p//2025-07-22", digest="jobs-3")


def test_pair_knows_what_its_window_asks() -> None:
    """The list's sketch and strata, the arm of its unit, and what both plans take travel on with the pair."""
    jobs = JobSketch.of(["a", "b"])
    challenger = evaluation(1, jobs=jobs, strata=("plant p",), assigned=ArmRole.PPO, figures=key_figures(90.0))
    found = paired(challenger, replace(challenger, arm=ArmRole.MANUAL, figures=key_figures(100.0)))
    assert found is not None
    assert (found.sketch, found.strata, found.assigned) == (jobs, ("plant p",), ArmRole.PPO)
    assert (found.challenger_seconds, found.champion_seconds) == (90.0, 100.0)


@pytest.mark.parametrize(
    ("mine", "theirs", "is_pair"),
    [
        (Effort(iterations=None, cpu_seconds=1.0), None, True),
        (Effort(iterations=None, cpu_seconds=1.0), Effort(iterations=None, cpu_seconds=1.09), True),
        (Effort(iterations=None, cpu_seconds=1.0), Effort(iterations=None, cpu_seconds=1.11), False),
        (Effort(iterations=None, cpu_seconds=1.2), Effort(iterations=None, cpu_seconds=1.0), False),
        (Effort(iterations=0, cpu_seconds=1.0), Effort(iterations=0, cpu_seconds=3.0), True),
        (Effort(iterations=0, cpu_seconds=1.0), Effort(iterations=None, cpu_seconds=3.0), False),
    ],
)
def test_two_policies_must_make_the_same_effort(mine: Effort, theirs: Effort | None, is_pair: bool) -> None:
    """The same iterations, or CPU seconds within ten per cent; a rule makes none and is compared with any."""
    challenger = evaluation(1, effort=mine)
    champion = replace(challenger, arm=ArmRole.MANUAL, effort=theirs)
    assert (paired(challenger, champion) is not None) == is_pair


@pytest.mark.parametrize(
    "effort", [None, Effort(iterations=None, cpu_seconds=0.25), Effort(iterations=7, cpu_seconds=1.0)]
)
@pytest.mark.parametrize("jobs", [None, JobSketch.of(["a", "b"])])
@pytest.mark.parametrize("again", [None, Repetition(arm=ArmRole.PPO, log_ratio=0.01, is_same=None)])
def test_pairing_survives_as_text(effort: Effort | None, jobs: JobSketch | None, again: Repetition | None) -> None:
    """What is stored with a row is what the statistics were told."""
    pairing = Pairing(
        jobs=jobs, strata=("plant p", "größer"), effort=effort, repetition=again, is_sampled=again is not None
    )
    assert Pairing.from_text(pairing.as_text()) == pairing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting"),
        ("[]", "damaged"),
        ('{"format": 2, "strata": []}', "format 1, had 2"),
        ('{"format": 1}', "damaged"),
        ('{"format": 1, "strata": [], "effort": [1]}', "damaged"),
        ('{"format": 1, "strata": [], "again": ["ppo", 0.1]}', "damaged"),
        ('{"format": 1, "strata": [], "jobs": "2.1.AAAA"}', "sketch must have format 1, had 2"),
    ],
)
def test_pairing_of_another_format_is_refused(text: str, message: str) -> None:
    """Never read as something else."""
    with pytest.raises(ValueError, match=message):
        Pairing.from_text(text)


def test_pairing_of_the_longest_list_stays_small() -> None:
    """A sketch has a fixed size, however many jobs there are."""
    assert len(Pairing(jobs=JobSketch.of(map(str, range(10_000)))).as_text()) < 1500
