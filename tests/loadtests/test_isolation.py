"""The isolation goal: what the served path may notice, and what it may not."""

from __future__ import annotations

import pytest

from loadtests.isolation import Latencies, missed, quantile


def _latencies(mode: str, p99_ms: float, failures: int = 0, cpu_percent: float = 20.0) -> Latencies:
    return Latencies(mode=mode, taken_ms=[p99_ms] * 100, failures=failures, cpu_percent=cpu_percent)


def test_runs_of_one_mode_are_one_sample() -> None:
    """Its p99 is that of all requests; failures add up, and the share of the machine is the mean."""
    both = _latencies("on", 20.0, failures=1, cpu_percent=10.0) + _latencies("on", 40.0, cpu_percent=20.0)
    assert (len(both.taken_ms), both.p99_ms, both.failures, both.cpu_percent) == (200, 40.0, 1, 15.0)


@pytest.mark.parametrize(("off", "on", "is_missed"), [(20.0, 24.9, False), (20.0, 25.1, True), (200.0, 219.0, False)])
def test_served_p99_may_differ_by_ten_per_cent_or_five_milliseconds(off: float, on: float, is_missed: bool) -> None:
    """Whichever is more."""
    assert bool(list(missed([_latencies("off", off), _latencies("on", on)]))) is is_missed


def test_failed_request_misses_the_goal() -> None:
    """However fast the others were."""
    (line,) = missed([_latencies("off", 20.0), _latencies("hung", 20.0, failures=2)])
    assert line == "hung: no request must fail, 2 of 100 did"


def test_busy_machine_misses_the_goal() -> None:
    """What was measured beside too much other work says nothing."""
    (line,) = missed([_latencies("off", 20.0, cpu_percent=40.0)])
    assert line == "off: the service must use <= 30 % of the machine, was 40 %: lower --rate"


def test_quantile_is_a_value_that_was_measured() -> None:
    """Known answers."""
    assert (quantile([3.0, 1.0, 2.0], 0.5), quantile([1.0], 0.99)) == (2.0, 1.0)
