from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from env.instances.generator import toy_problem
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from models.benchmark.benchmark import (
    CellJournal,
    Competitor,
    CompetitorResult,
    Instance,
    OtherConditions,
    meet,
    missing,
)

TOY = Instance(problem=toy_problem(), best_known_seconds=5.0)
TWICE = [TOY, Instance(problem=replace(toy_problem(), name="again"), best_known_seconds=None)]


def _contestant(name: str, schedule: Schedule | None) -> Competitor:
    def attempt(problem: Problem) -> Sequence[CompetitorResult]:
        return [CompetitorResult(competitor=name, schedule=schedule, seconds=0.25)]

    return Competitor(competitors=(name,), expected_seconds=1.0, attempt=attempt)


FIFO = _contestant("fifo", dispatch(TOY.problem, Rule.FIFO))


def test_cell_holds_what_the_judge_measured() -> None:
    """The toy's optimum: valid, no gap, both machines busy all the time."""
    (cell,) = meet(TOY, FIFO)
    assert (cell.instance, cell.competitor, cell.operations, cell.seconds) == ("toy", "fifo", 4, 0.25)
    assert (cell.valid, cell.makespan_seconds, cell.gap_percent) == (True, 5, pytest.approx(0.0))
    assert cell.utilisation_percent == pytest.approx(100.0)


def test_incomplete_schedule_is_invalid_and_none_is_unsolved() -> None:
    """Leaving work out is invalid; having nothing yet is not, but has no value."""
    (lazy,) = meet(TOY, _contestant("lazy", Schedule(assignments=())))
    (none,) = meet(TOY, _contestant("none", None))
    assert not lazy.valid
    assert (none.valid, none.objective_seconds, none.gap_percent) == (True, None, None)


def test_contest_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Finished cells are not asked for again, cells of a line that was cut off are."""
    slow = _contestant("slow", None)
    journal = CellJournal(tmp_path / "set.jsonl", {"seed": 0})
    assert len(missing(TWICE, [FIFO, slow], journal.cells())) == 4
    journal.append(meet(TWICE[0], FIFO))
    journal.append(meet(TWICE[0], slow))
    text = journal.path.read_text(encoding="utf-8")
    journal.path.write_text(text[:-9], encoding="utf-8")
    left = missing(TWICE, [FIFO, slow], CellJournal(journal.path, {"seed": 0}).cells())
    assert [(instance.name, each.competitors[0]) for instance, each in left] == [
        ("toy", "slow"),
        ("again", "fifo"),
        ("again", "slow"),
    ]


def test_cut_line_does_not_spoil_the_next_cell(tmp_path: Path) -> None:
    """What is appended after a line that was cut off is read back whole."""
    journal = CellJournal(tmp_path / "set.jsonl", {"seed": 0})
    journal.append(meet(TWICE[0], FIFO))
    journal.path.write_text(journal.path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    again = CellJournal(journal.path, {"seed": 0})
    again.append(meet(TWICE[1], FIFO))
    assert [cell.instance for cell in again.cells()] == ["again"]


def test_journal_of_another_contest_is_refused(tmp_path: Path) -> None:
    """Cells measured under other conditions do not mix; the error names what differs."""
    CellJournal(tmp_path / "set.jsonl", {"seed": 0, "model": "a@1"})
    with pytest.raises(OtherConditions, match=r"model must be 'a@1', was 'a@2'"):
        CellJournal(tmp_path / "set.jsonl", {"seed": 0, "model": "a@2"})
