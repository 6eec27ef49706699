from __future__ import annotations

from pathlib import Path

import pytest

from env.errors import BenchmarkFormatError
from env.instances.readers import read_benchmark

FLEXIBLE = "2 3 1.5\n2 1 0 5 2 1 3 2 4\n1 3 0 1 1 2 2 3\n"
FIXED = "2 2\n0 3 1 2\n1 4 0 1\n"


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_fjs_file_gives_its_problem(tmp_path: Path) -> None:
    """Operations, machines and times are those of the file, all from 0."""
    problem = read_benchmark(_file(tmp_path, "a.fjs", FLEXIBLE))
    pairs = {
        step.id: [(pair.machine, pair.processing_seconds) for pair in step.alternatives] for step in problem.operations
    }
    assert pairs == {"0-0": [(0, 5)], "0-1": [(1, 3), (2, 4)], "1-0": [(0, 1), (1, 2), (2, 3)]}
    assert [machine.id for machine in problem.machines] == [0, 1, 2]


def test_jsp_file_gives_its_problem(tmp_path: Path) -> None:
    """A job shop operation has exactly the machine that the file names."""
    problem = read_benchmark(_file(tmp_path, "a.jsp", FIXED))
    assert [step.alternatives[0].machine for step in problem.operations] == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", FIXED, "suffix must be .fjs or .jsp, was '.txt'"),
        ("a.fjs", "", "must begin with 'jobs machines', was empty"),
        ("a.fjs", "2\n", "line 1: must be 'jobs machines', was '2'"),
        ("a.fjs", "3 3\n1 1 0 5\n", "must have 3 job lines, had 1"),
        ("a.fjs", "1 3\n2 1 0 5\n", "a.fjs"),
        ("a.fjs", "1 3\n1 2 0 5\n", "must have 2 'machine time' pairs"),
        ("a.fjs", "1 3\n1 1 0 x\n", "line 2: must be a number, was 'x'"),
        ("a.fjs", "1 3\n1 1 0 2.5\n", "line 2: must be a whole number, was '2.5'"),
        ("a.fjs", "1 3\n1 1 0 -1\n", "processing_seconds must be >= 0, was -1"),
        ("a.jsp", "1 2\n0 3 1\n", "a.jsp"),
    ],
)
def test_unreadable_file_names_its_fault(tmp_path: Path, name: str, text: str, message: str) -> None:
    """Whatever is wrong, the error names the file and what was expected."""
    with pytest.raises(BenchmarkFormatError, match=message):
        read_benchmark(_file(tmp_path, name, text))


def test_unknown_machine_is_refused(tmp_path: Path) -> None:
    """A machine beyond the heading's count contradicts the file."""
    with pytest.raises(BenchmarkFormatError, match="machine index must be < 1, was 4"):
        read_benchmark(_file(tmp_path, "a.fjs", "1 1\n1 1 4 5\n"))
