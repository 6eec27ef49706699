"""`gantry rollout replay`: what was planted in stored decisions is found, and too few are said to be."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, insert
from typer.testing import CliRunner

from deployments.cli import app
from deployments.persistence.decisions.rollout_repository import insert_evaluations
from deployments.persistence.tables import ROLLOUT_TRANSITION
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.state import Action, Stage, Transition
from deployments.rollout.ramp.traffic import PUBLISHED
from deployments.rollout.simulation.window_worlds import WindowWorld
from deployments.rollout_control.transition_log import transition_row
from deployments.runtime.clock import utc_now
from tests.deployments.rollout_control.events import state
from tests.deployments.rollout_control.test_controller import _stored as stored_evaluation

URL = "sqlite:///gantry.sqlite3"


def _stored_plant(days: int, *, icc: float, lists: int = 4, lines: int = 1, every: int = 1, before: int = 0) -> None:
    """Both arms on all lists of these days, one `every` so many, up to yesterday, in the database of the settings.

    The first `before` of them were planned by the policy that was published before.
    """
    world = WindowWorld(icc=icc, lists=lists, plants=lines, deviation=0.1)
    ratios = world.lists_of(1, days, np.random.default_rng(5))[0][0]
    begun = utc_now() - timedelta(days=every * days + 3)
    rows = []
    for day, line, number in np.ndindex(ratios.shape):
        at = begun + timedelta(days=every * day, minutes=number)
        for arm, makespan in ((ArmRole.PPO, 1e5 * math.exp(ratios[day, line, number])), (ArmRole.MANUAL, 1e5)):
            published = "a@1" if day < before else "a@2"
            row = stored_evaluation(0, arm, makespan, published if arm is ArmRole.PPO else None)
            name = f"{day:03}-{line}-{number:02}"
            changes: dict[str, Any] = {"decision_id": name, "created_at": at, "unit": f"penang/{line}/{at.date()}"}
            rows.append(replace(row, **changes, job_list_sha256=name.rjust(64, "0")))
    first = state(version=1, ramp=1, stage=Stage.SHADOW, changed_at=begun, challenger=PUBLISHED)
    transition = Transition(action=Action.BEGIN, from_stage=None, state=first, actor="o", reason="r", evidence={})
    engine = create_engine(URL)
    with engine.begin() as connection:
        insert_evaluations(connection, rows)
        connection.execute(insert(ROLLOUT_TRANSITION), transition_row(transition))
    engine.dispose()


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "development")
    monkeypatch.setenv("GANTRY_DATABASE_URL", URL)
    shutil.copyfile(migrated_file, tmp_path / "gantry.sqlite3")


def replayed(*words: str) -> str:
    result = CliRunner().invoke(app, ["rollout", "replay", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_replay_finds_what_was_planted_and_tells_the_days(database: None) -> None:
    """By line and together; alike lists are worth fewer, and a smaller improvement takes longer."""
    _stored_plant(60, icc=0.5, lines=2)
    found = json.loads(replayed("--rollouts", "40", "--json"))["lines"]
    assert list(found) == ["all lines", "penang/0", "penang/1"]
    together = found["all lines"]
    assert (together["windows"], together["lines"], together["groups"]) == (120, 2, 4.0)
    assert together["icc"]["lower"] < 0.5 < together["icc"]["upper"]
    assert together["rho"]["lower"] < 0.0 < together["rho"]["upper"]
    for line in found.values():
        assert 1.0 < line["effective_lists"] < 2.2
        limited = [line["days"][name]["limited"] for name in ("-20 %", "-10 %", "-5 %")]
        assert limited == sorted(limited)
        assert 7 <= limited[0] <= 14
    printed = replayed("--rollouts", "20")
    assert "is shared by all lists of a day" in printed
    assert "leaves shadow after" in printed


def test_stages_last_days_of_the_calendar(database: None) -> None:
    """A line that plans once a week is not held for seven windows: there a stage needs evidence, not time."""
    _stored_plant(60, icc=0.5, every=7)
    (line,) = json.loads(replayed("--rollouts", "40", "--json"))["lines"].values()
    assert line["days_a_window"] == 7.0
    days = line["days"]["-20 %"]
    windows = [days[stage] / 7 for stage in ("limited", "expanded", "full")]
    assert 9 <= windows[0] <= 14
    assert windows[2] - windows[0] < 21


def test_stages_last_as_long_as_the_policy_file_asks(
    database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plant that asks for fifty days of shadow and none of limited is told its own days, not the shipped ones."""
    _stored_plant(60, icc=0.5)
    (tmp_path / "own.toml").write_text("[ramp]\nmin_shadow_hours = 1200\nmin_limited_hours = 0\n")
    monkeypatch.setenv("GANTRY_POLICY_FILE", str(tmp_path / "own.toml"))
    (line,) = json.loads(replayed("--rollouts", "20", "--json"))["lines"].values()
    days = line["days"]["-20 %"]
    assert days["limited"] == 50
    assert days["expanded"] < 57


def test_windows_are_those_of_the_policy_that_is_published_now(database: None) -> None:
    """An earlier version bore the same name, and says nothing of this one."""
    _stored_plant(60, icc=0.5, before=35)
    (line,) = json.loads(replayed("--rollouts", "20", "--json"))["lines"].values()
    assert line["windows"] == 25


def test_replay_says_where_there_are_too_few_windows(database: None) -> None:
    """Of none and of a few: how many there are, and how many it takes; nothing is made up."""
    assert "needs 20 days of a line" in replayed()
    _stored_plant(8, icc=0.2)
    assert "too few windows to tell: 8 are closed, and an estimate needs 20" in replayed()
    (line,) = json.loads(replayed("--json"))["lines"].values()
    assert (line["windows"], line["icc"], line["rho"], line["days"]) == (8, None, None, None)
