from __future__ import annotations

from contextlib import ExitStack

import pytest

from deployments.scheduling.time_budget import LoadShedding


def test_idle_router_grants_the_whole_budget() -> None:
    """One request, or two, get what they asked for."""
    budgets = LoadShedding(full_up_to=2, nothing_from=6)
    with budgets.request(), budgets.request():
        assert budgets.afforded_ms(100) == 100


@pytest.mark.parametrize(("in_flight", "expected"), [(3, 75), (4, 50), (5, 25), (6, 0), (9, 0)])
def test_budget_falls_to_nothing_as_requests_pile_up(in_flight: int, expected: int) -> None:
    """Between the two limits it falls linearly, and beyond the second nothing is left."""
    budgets = LoadShedding(full_up_to=2, nothing_from=6)
    with ExitStack() as stack:
        for _ in range(in_flight):
            stack.enter_context(budgets.request())
        assert budgets.afforded_ms(100) == expected


def test_finished_requests_do_not_count() -> None:
    """A request that failed gives its place back as well."""
    budgets = LoadShedding(full_up_to=1, nothing_from=2)
    with pytest.raises(RuntimeError), budgets.request():
        raise RuntimeError
    with budgets.request():
        assert budgets.afforded_ms(100) == 100


def test_limits_must_make_sense() -> None:
    """The error says what was required and what was found."""
    with pytest.raises(ValueError, match="full_up_to must be between 0 and nothing_from 2, was 2"):
        LoadShedding(full_up_to=2, nothing_from=2)
