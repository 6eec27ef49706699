"""Warnings: nothing that a client wrote vanishes without a word."""

from __future__ import annotations

from deployments.contracts.translation.problem import unknown_field_warnings
from tests.deployments.fakes import job, machine, request_of


def test_known_request_has_no_warnings() -> None:
    """A request in the words of the contract passes in silence."""
    assert unknown_field_warnings(request_of()) == ()


def test_unknown_field_is_named() -> None:
    """A typo at any depth is named by its path."""
    request = request_of(shedule_start="x", machines=[machine(colour="red")], calendar={"breaks": [], "holliday": []})
    assert set(unknown_field_warnings(request)) == {
        "unknown field shedule_start was ignored",
        "unknown field machines[].colour was ignored",
        "unknown field calendar.holliday was ignored",
    }


def test_unknown_field_of_many_jobs_is_one_warning() -> None:
    """170 jobs with the same extra column give one sentence, with the count and the first place."""
    request = request_of(jobs=[job("A"), job("B", colour=1), job("C", colour=2)])
    assert unknown_field_warnings(request) == (
        "unknown field jobs[].colour was ignored (2 times, first at jobs[1].colour)",
    )


def test_warnings_are_bounded() -> None:
    """Sixty made-up names give fifty sentences and a count; a long name is cut."""
    request = request_of(**{f"field_{index}": 1 for index in range(59)}, **{"x" * 200: 1})
    warnings = unknown_field_warnings(request)
    assert len(warnings) == 51
    assert warnings[-1] == "10 further unknown fields were ignored"
    assert unknown_field_warnings(request_of(**{"x" * 200: 1})) == (f"unknown field {'x' * 80} was ignored",)
