"""Goals of a load test: each is missed exactly when its limit is crossed."""

from __future__ import annotations

import dataclasses

import pytest

from loadtests.goals import GOALS, Goals, Measured

GOOD = Measured(requests=10_000, failures=10, shed=0, p50_ms=40.0, p95_ms=1999.0, p99_ms=2500.0)


def test_goals_are_met_at_their_limits() -> None:
    """99.9 % success, under 1 % errors and a p95 just below two seconds miss nothing."""
    assert list(Goals().missed(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"failures": 11}, "success must be >= 99.9 %, was 99.890 %"),
        ({"p95_ms": 2000.0}, "p95 must be < 2000 ms, was 2000 ms"),
        ({"requests": 99, "failures": 0}, "requests must be >= 100, was 99"),
    ],
)
def test_goals_name_what_was_missed(change: dict[str, float], line: str) -> None:
    """One step beyond a limit is reported with what was required and what was found."""
    assert list(Goals().missed(dataclasses.replace(GOOD, **change))) == [line]


def test_goals_report_errors_beside_success() -> None:
    """One failure in a hundred misses both the success goal and the error goal."""
    missed = list(Goals().missed(dataclasses.replace(GOOD, failures=100)))
    assert missed == ["success must be >= 99.9 %, was 99.000 %", "errors must be < 1.0 %, was 1.000 %"]


def test_goals_are_missed_by_a_run_without_requests() -> None:
    """A service that was never reached does not pass for want of failures."""
    nothing = Measured(requests=0, failures=0, shed=0, p50_ms=0.0, p95_ms=0.0, p99_ms=0.0)
    assert len(list(Goals().missed(nothing))) == 3


def test_measured_counts_shed_requests_apart() -> None:
    """Shed requests lower neither success nor errors, and have a share of their own."""
    measured = dataclasses.replace(GOOD, requests=75, failures=0, shed=25)
    assert (measured.success_percent, measured.error_percent, measured.shed_percent) == (100.0, 0.0, 25.0)


def test_goals_of_constant_load_limit_shedding() -> None:
    """A constant load is what the service is sized for, so hardly anything may be shed; a burst may exceed it."""
    measured = dataclasses.replace(GOOD, requests=9_000, failures=0, shed=1_000)
    assert list(GOALS["constant"].missed(measured)) == ["shed must be <= 1.0 %, was 10.0 %"]
    assert list(GOALS["burst"].missed(measured)) == []
