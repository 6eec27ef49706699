from __future__ import annotations

import json

import pytest

from models.benchmark.speed import Speed, Timing, growth_exponent, plant_of, plants, speed_of_json


def _timing(operations: int, policy_ms: float, *, calendar: bool = False) -> Timing:
    return Timing(operations=operations, machines=1, calendar=calendar, policy_ms=policy_ms, rule_ms=1.0, judge_ms=1.0)


def test_growth_exponent_is_the_slope() -> None:
    """Time that grows with the square of the size has exponent 2; plants with a calendar do not count."""
    steady = [_timing(10, 1.0), _timing(100, 100.0), _timing(1000, 10_000.0)]
    assert growth_exponent([*steady, _timing(1000, 1.0, calendar=True)]) == pytest.approx(2.0)
    assert growth_exponent(steady[:1]) is None


@pytest.mark.parametrize("operations", [170, 1_000])
def test_plants_have_the_size_that_was_asked(operations: int) -> None:
    """Exactly that many operations, the same ones each time."""
    assert len(plant_of(operations, calendar=True).operations) == operations
    assert plant_of(operations, calendar=False) == plant_of(operations, calendar=False)


def test_sizes_grow_to_the_largest_request() -> None:
    """From the reference plant to as many operations as a request may have, with and without a calendar."""
    assert plants()[0] == (170, False)
    assert plants()[-1] == (20_000, True)
    assert plants(600) == [(170, False), (170, True), (500, False), (500, True)]


def test_document_survives_json() -> None:
    """What is kept as JSON is what was measured."""
    found = Speed(model="a@1", timings=(_timing(170, 5.0),), warm_process_ms=900.0, decodes_per_second=None)
    assert speed_of_json(json.loads(json.dumps(found.as_json()))) == found
