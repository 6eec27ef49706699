"""Shapes of the load: pure functions from the progress of a run to a number of clients."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtests.goals import GOALS, SHAPES, burst, constant, day


def test_constant_never_changes() -> None:
    """The same number of clients from start to end."""
    assert {constant(step / 10, 7) for step in range(11)} == {7}


def test_burst_is_twelvefold_in_the_middle() -> None:
    """Ten clients become 120 in the middle of the run, and ten again after it."""
    assert [burst(progress, 10) for progress in (0.0, 0.34, 0.35, 0.5, 0.64, 0.65, 1.0)] == [
        10,
        10,
        120,
        120,
        120,
        10,
        10,
    ]


def test_day_has_its_peaks_at_the_shifts() -> None:
    """Half past six, noon and half past two are busier than the hours around them; one client watches at night."""
    hours = [day(hour / 24, 1) for hour in range(24)]
    assert [hour for hour in range(24) if hours[hour] == max(hours)] == [6, 12, 14]
    assert min(hours) == 1


@given(name=st.sampled_from(sorted(SHAPES)), progress=st.floats(0, 1), clients=st.integers(1, 50))
def test_shapes_always_have_a_client(name: str, progress: float, clients: int) -> None:
    """No shape ever stops asking, and none exceeds twelve times the clients that were wanted."""
    assert 1 <= SHAPES[name](progress, clients) <= 12 * clients


def test_shapes_have_goals() -> None:
    """Every shape has goals, and every goal has a shape."""
    assert SHAPES.keys() == GOALS.keys()
