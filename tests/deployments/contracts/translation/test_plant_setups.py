"""Setup groups and the setup matrix: changeovers, and every way to write them wrongly."""

from __future__ import annotations

from typing import Any

from env.problem import Changeover
from tests.deployments.contracts.problems import question_of, reasons_of
from tests.deployments.fakes import job

JOBS = [job("A", setup_group="red"), job("B", setup_group="blue")]


def _entry(before: str, after: str, hours: float = 0.5) -> dict[str, Any]:
    return {"from": before, "to": after, "hours": hours}


def test_setup_matrix_becomes_changeovers() -> None:
    """Half an hour from red to blue is a changeover of 1,800 s, and the jobs carry their groups."""
    problem = question_of(jobs=JOBS, setup_matrix=[_entry("red", "blue"), _entry("blue", "red", 0)]).problem
    assert problem.changeovers == (
        Changeover(before="red", after="blue", setup_seconds=1800),
        Changeover(before="blue", after="red", setup_seconds=0),
    )
    assert [operation.setup_group for operation in problem.operations] == ["red", "blue"]
    assert problem.operations[0].alternatives[0].setup_seconds == 1080


def test_unknown_group_is_named_once() -> None:
    """A group that no job has is one reason, where it first stands, however often it is used."""
    matrix = [_entry("red", "green"), _entry("green", "blue"), _entry("black", "green")]
    assert reasons_of(jobs=JOBS, setup_matrix=matrix) == [
        ("setup_matrix[0].to", "must be the setup_group of a job, was 'green'"),
        ("setup_matrix[2].from", "must be the setup_group of a job, was 'black'"),
    ]


def test_repeated_pair_is_named() -> None:
    """Two setups for one changeover contradict each other; the way back is another changeover."""
    matrix = [_entry("red", "blue"), _entry("blue", "red"), _entry("red", "blue", 1)]
    message = "must be unique, 'red' to 'blue' is also setup_matrix[0]"
    assert reasons_of(jobs=JOBS, setup_matrix=matrix) == [("setup_matrix[2]", message)]


def test_group_without_changeovers_is_warned_of() -> None:
    """A group that the matrix does not know may be a misspelling, so the answer says so."""
    sentence = "setup_group of {} is not in setup_matrix: changing over to them takes setup_time; first is {}"
    assert question_of(jobs=JOBS).warnings == (sentence.format("2 jobs", "A (red)"),)
    warnings = question_of(jobs=JOBS, setup_matrix=[_entry("red", "red", 0)]).warnings
    assert warnings == (sentence.format("1 job", "B (blue)"),)
