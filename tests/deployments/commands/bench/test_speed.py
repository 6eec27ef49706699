from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from models.benchmark.speed import speed_of_json


@pytest.mark.system
def test_speed_prints_a_table_and_writes_figures(tmp_path: Path) -> None:
    """One row for continuous operation and one with the calendar; how long a process takes to be warm."""
    output = tmp_path / "figures" / "speed.json"
    result = CliRunner().invoke(app, ["bench", "speed", "--largest", "170", "--output", str(output)])
    assert result.exit_code == 0, result.output
    found = speed_of_json(json.loads(output.read_text(encoding="utf-8")))
    assert [timing.calendar for timing in found.timings] == [False, True]
    assert all(timing.policy_ms > 0 for timing in found.timings)
    assert found.growth_exponent is None
    assert found.warm_process_ms is not None
    assert found.warm_process_ms > 0
    assert "policy pass" in result.stdout
    assert "A new process has its first schedule after" in result.stdout
