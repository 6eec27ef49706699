"""Best known makespans: one reader for a file of one set and of several, and one line for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.commands.bench.benchmark_sets import NoBestKnown, best_known


def _file(folder: Path, text: str) -> Path:
    path = folder / "best_known.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_file_of_one_set_is_read_whatever_the_set_is_called(tmp_path: Path) -> None:
    """The upper of both bounds counts."""
    path = _file(tmp_path, '{"01": [38.5, 40.25], "02": [1, 2]}')
    assert best_known(path, "reference-170") == {"01": 40.25, "02": 2.0}


def test_file_of_several_sets_is_read_for_one(tmp_path: Path) -> None:
    """la01 is another problem in each of the sets of Hurink."""
    path = _file(tmp_path, '{"hurink-edata": {"la01": [609, 609]}, "hurink-rdata": {"la01": [570, 571]}}')
    assert best_known(path, "hurink-rdata") == {"la01": 571.0}
    with pytest.raises(NoBestKnown, match="must have the set 'mine', but has hurink-edata, hurink-rdata"):
        best_known(path, "mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON, problem -> .*, but cannot be read"),
        ("[]", "must be a JSON object, was list"),
        ('{"a": 5}', r"must have \[lower bound, best\] for 'a', had 5"),
        ('{"a": [5]}', r"must have \[lower bound, best\] for 'a', had \[5\]"),
        ('{"a": [0, 0]}', r"must have \[lower bound, best\] for 'a', had \[0, 0\]"),
        ('{"a": [5, null]}', r"must have \[lower bound, best\] for 'a', had \[5, None\]"),
        ('{"s": {"a": [5, true]}}', r"must have \[lower bound, best\] for 'a', had \[5, True\]"),
        ('{"s": [5, 5], "t": {}}', r"must have problems for each set, had \[5, 5\]"),
    ],
)
def test_other_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    """It names the file, what it must have and what it has."""
    path = _file(tmp_path, text)
    with pytest.raises(NoBestKnown, match=message) as caught:
        best_known(path, "s")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
