"""What follows from violations and anomalies."""

from __future__ import annotations

import pickle

import pytest

from env.judge.verdict import Anomaly, AnomalyCode, Verdict, Violation, ViolationCode, quantity
from env.schedule import Measures

NO_MEASURES = Measures(
    makespan_seconds=0,
    operations=0,
    scheduled_operations=0,
    setup_seconds=0,
    working_seconds=0,
    open_seconds=0,
    tardiness_seconds=0,
    weighted_tardiness_seconds=0.0,
    jobs=0,
    jobs_on_time=0,
    important_jobs=0,
    important_jobs_on_time=0,
)
CRITICAL = Violation(code=ViolationCode.MACHINE_OVERLAP, message="A shares a machine.", by_seconds=1)
LATE = Violation(code=ViolationCode.DEADLINE_MISSED, message="A ends late.", by_seconds=1)
STRANGE = Anomaly(code=AnomalyCode.LOW_UTILISATION, message="Machines idle.", value=10.0, limit=50.0)


@pytest.mark.parametrize(
    ("violations", "anomalies", "valid", "score"),
    [
        ((), (), True, 100.0),
        ((LATE,), (), True, 90.0),
        ((LATE,), (STRANGE, STRANGE), True, 70.0),
        ((LATE,) * 50, (), True, 1.0),
        ((CRITICAL,), (), False, 0.0),
        ((LATE, CRITICAL), (STRANGE,), False, 0.0),
    ],
)
def test_safety_score_follows_its_formula(
    violations: tuple[Violation, ...], anomalies: tuple[Anomaly, ...], valid: bool, score: float
) -> None:
    """Ten points for each remark, never below 1 while valid, and 0 with anything critical."""
    verdict = Verdict(violations=violations, anomalies=anomalies, measures=NO_MEASURES)
    assert (verdict.valid, verdict.safety_score) == (valid, score)


def test_verdict_survives_the_way_between_processes() -> None:
    """The judge answers from another process, so a verdict must pickle, codes and sentences included."""
    verdict = Verdict(violations=(LATE,), anomalies=(STRANGE,), measures=NO_MEASURES)
    assert pickle.loads(pickle.dumps(verdict)) == verdict


def test_code_is_its_wire_text_and_carries_a_sentence() -> None:
    """Codes compare with plain text, and each describes itself in one sentence."""
    assert ViolationCode("machine_overlap") is ViolationCode.MACHINE_OVERLAP
    assert f"{AnomalyCode.INCOMPLETE}" == "incomplete"
    assert all(code.description.endswith(".") for code in (*ViolationCode, *AnomalyCode))


def test_only_a_missed_deadline_is_not_critical() -> None:
    """Every other broken rule keeps a schedule from being served."""
    assert [code for code in ViolationCode if not code.is_critical] == [ViolationCode.DEADLINE_MISSED]


def test_quantity_is_singular_for_one() -> None:
    """One of a thing is no plural, whatever its plural is."""
    assert [quantity(count, "job") for count in (0, 1, 2_000)] == ["0 jobs", "1 job", "2,000 jobs"]
    assert quantity(1, "family", "families") == "1 family"
    assert quantity(3, "family", "families") == "3 families"
