"""Every reference plant over HTTP, with and without the calendar of the plant."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

import pytest

from deployments.commands.validate import judge_files
from deployments.settings.service import load_settings
from tests.benchmark_data import reference_files
from tests.system.serving import Service

pytestmark = pytest.mark.system

MAX_MEAN_MAKESPAN_HOURS = 46.5
MIN_MEAN_ON_TIME_PERCENT = 90.0
"""The manual rule has 60.2 h and 82.8 %; PPO under 45 h and over 96 % where nothing else runs."""


@pytest.mark.parametrize("respect_break_times", [False, True])
def test_service_schedules_every_reference_plant(service: Service, tmp_path: Path, respect_break_times: bool) -> None:
    """170 of 170 jobs by PPO, valid for the judge; well ahead of manual where nothing ever closes, by default."""
    makespans, on_time = [], []
    for path in reference_files():
        request = json.loads(path.read_text(encoding="utf-8"))
        request |= {"respect_break_times": respect_break_times}
        with service.client() as client:
            answer = client.post("/schedule", json=request).raise_for_status().json()
        assert (answer["algorithm_used"], answer["metrics"]["scheduled_jobs"]) == ("ppo", 170)
        (tmp_path / "request.json").write_text(json.dumps(request), encoding="utf-8")
        (tmp_path / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
        assert judge_files(tmp_path / "request.json", tmp_path / "answer.json", load_settings()).valid
        makespans.append(answer["metrics"]["makespan"])
        on_time.append(answer["metrics"]["jobs_on_time"])
    assert len(makespans) == 10
    if not respect_break_times:
        assert mean(makespans) <= MAX_MEAN_MAKESPAN_HOURS
        assert mean(on_time) >= MIN_MEAN_ON_TIME_PERCENT
