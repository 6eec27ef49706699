from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.bench.quality import UnusableBudgets
from models.benchmark.benchmark import OtherConditions
from tests.deployments.commands.bench.test_benchmark_sets import shelf as shelf  # noqa: PLC0414  # a fixture


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", "quality", *arguments], catch_exceptions=False)


def test_quality_compares_everyone_and_goes_on(shelf: Path) -> None:
    """Two instances, then the third: only what is missing is measured, and the table has all of them."""
    output = shelf / "quality"
    options = ("--set", "brandimarte", "--budgets", "0.02,0.3", "--samples", "2", "--output", str(output))
    assert _run(*options, "--limit", "2").exit_code == 0
    journal = (output / "brandimarte.jsonl").read_text(encoding="utf-8")
    result = _run(*options)
    assert result.exit_code == 0, result.output
    assert (output / "brandimarte.jsonl").read_text(encoding="utf-8").startswith(journal)
    document = json.loads((output / "brandimarte.json").read_text(encoding="utf-8"))
    rows = {row["competitor"]: row for row in document["standings"]}
    assert {"rule mwkr", "policy pass", "best of 2", "search 0.3 s", "CP-SAT 0.3 s", "CP-SAT hinted 0.02 s"} <= set(
        rows
    )
    assert all(row["instances"] == 3 and row["invalid"] == 0 for row in rows.values())
    assert rows["CP-SAT hinted 0.3 s"]["mean_gap_percent"] == pytest.approx(0.0)
    assert rows["CP-SAT hinted 0.02 s"]["solved"] == 3
    assert "| policy pass | 3 of 3 |" in (output / "brandimarte.md").read_text(encoding="utf-8")
    assert "policy pass" in result.stdout


def test_solver_can_be_left_out(shelf: Path) -> None:
    """Without the solver nobody of its name competes, and the conditions say so."""
    options = ("--budgets", "0.05", "--samples", "0", "--limit", "1", "--output", str(shelf / "quality"))
    assert _run("--set", "brandimarte", "--without-solver", *options).exit_code == 0
    document = json.loads((shelf / "quality" / "brandimarte.json").read_text(encoding="utf-8"))
    assert document["conditions"]["solver"] is None
    assert not any("CP-SAT" in row["competitor"] for row in document["standings"])
    with pytest.raises(OtherConditions, match="solver must be None, was 'CP-SAT"):
        _run("--set", "brandimarte", *options)


@pytest.mark.parametrize("budgets", ["soon", "0", "1,-2", "inf", ""])
def test_budgets_must_be_seconds(shelf: Path, budgets: str) -> None:
    """What is no list of positive seconds is refused before anything runs."""
    with pytest.raises(UnusableBudgets, match="budgets must be"):
        _run("--set", "brandimarte", "--budgets", budgets)
