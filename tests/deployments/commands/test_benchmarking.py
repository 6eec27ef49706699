from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.benchmarking import Timing, growth_exponent, plant_of


def _timing(operations: int, policy_ms: float) -> Timing:
    return Timing(operations=operations, machines=1, calendar=False, policy_ms=policy_ms, rule_ms=1.0, judge_ms=1.0)


def test_growth_exponent_is_the_slope() -> None:
    """Time that grows with the square of the size has exponent 2."""
    assert growth_exponent([_timing(10, 1.0), _timing(100, 100.0), _timing(1000, 10_000.0)]) == pytest.approx(2.0)


@pytest.mark.parametrize("operations", [170, 1_000])
def test_plants_have_the_size_that_was_asked(operations: int) -> None:
    """Exactly that many operations, the same ones each time."""
    assert len(plant_of(operations, calendar=True).operations) == operations
    assert plant_of(operations, calendar=False) == plant_of(operations, calendar=False)


def test_speed_prints_a_table_and_writes_figures(tmp_path: Path) -> None:
    """One row for continuous operation and one with the calendar."""
    output = tmp_path / "speed.json"
    result = CliRunner().invoke(app, ["bench", "speed", "--largest", "170", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert [row["calendar"] for row in json.loads(output.read_text())] == [False, True]
    assert "policy pass" in result.stdout
