"""The Gantt chart as a file: well-formed, complete, and harmless whatever the names are."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given, settings

from env.insight.gantt import gantt_svg
from env.instances.generator import toy_problem
from env.problem import Problem
from env.schedule import Assignment, Schedule
from tests.problems import one_machine, operation, schedule_of, solved_problems

SVG = "{http://www.w3.org/2000/svg}"


def bars(problem: Problem, schedule: Schedule) -> list[ElementTree.Element]:
    """The rectangles that tell what they are."""
    root = ElementTree.fromstring(gantt_svg(problem, schedule))
    return [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]


def test_chart_tells_operation_and_hours() -> None:
    """A bar of an hour and a half says so when it is pointed at."""
    problem = one_machine(operation("cut"))
    (bar,) = bars(problem, schedule_of(("cut", 1, 0, 5400)))
    title = bar.find(f"{SVG}title")
    assert title is not None
    assert title.text == "cut: 0.00 h to 1.50 h"


def test_chart_escapes_names() -> None:
    """Names come from clients, and a name is never markup."""
    problem = one_machine(operation("<script>"))
    assert "<script>" not in gantt_svg(problem, schedule_of(("<script>", 1, 0, 60)))


def test_chart_of_nothing_is_a_chart() -> None:
    """An empty schedule has machines and no bars."""
    assert bars(toy_problem(), Schedule(assignments=())) == []


@settings(max_examples=20)
@given(solved=solved_problems())
def test_chart_has_a_bar_for_each_assignment(solved: tuple[Problem, Schedule]) -> None:
    """Nothing is left out, whatever the plant."""
    problem, schedule = solved
    assert len(bars(problem, schedule)) == len(schedule.assignments)


def test_chart_stays_small_for_long_schedules() -> None:
    """A schedule of a year has no more grid lines than one of a day could need."""
    year = Schedule(
        assignments=(Assignment(operation_id="A1", machine_id=1, start_seconds=0, end_seconds=365 * 86_400),)
    )
    problem = one_machine(operation("A1"))
    assert gantt_svg(problem, year).count("<line") <= 26
