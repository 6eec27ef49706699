from __future__ import annotations

from pathlib import Path

import pytest

from models.benchmark.performance_report import NoRuns, ResultFiles, read_runs, write_runs
from tests.models.benchmark.measured import quality_of, speed_of


def test_runs_survive_the_disk_with_six_digits(tmp_path: Path) -> None:
    """What was written is read back; figures beyond the sixth digit are gone, and writing again changes nothing."""
    runs = ResultFiles(qualities={"toys": quality_of("toys", policy_gap=1.23456789)}, speed=speed_of())
    write_runs(tmp_path, runs)
    kept = read_runs(tmp_path)
    policy = kept.qualities["toys"].standing("policy pass")
    assert policy is not None
    assert policy.mean_gap_percent == 1.23457
    assert kept.speed is not None
    assert kept.speed.growth_exponent == pytest.approx(1.0, abs=1e-5)
    write_runs(tmp_path / "again", kept)
    assert read_runs(tmp_path / "again") == kept


def test_newer_runs_replace_their_own_sets_only() -> None:
    """A run of one set leaves the others, and the speed, as they were."""
    old = ResultFiles(qualities={name: quality_of(name, policy_gap=9.0) for name in ("a", "b")}, speed=speed_of())
    new = old.updated(ResultFiles(qualities={"b": quality_of("b", policy_gap=2.0)}, speed=None))
    gaps = {name: found.standing("policy pass").mean_gap_percent for name, found in new.qualities.items()}  # type: ignore[union-attr]
    assert gaps == {"a": 9.0, "b": 2.0}
    assert new.speed == old.speed


def test_file_that_is_no_run_is_named(tmp_path: Path) -> None:
    """Other JSON in the folder is an error that names the file."""
    (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    with pytest.raises(NoRuns, match=r"other\.json must hold the figures of a benchmark"):
        read_runs(tmp_path)
