"""`gantry settings`: what is in force, where it is from, and nothing that is secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.errors import InvalidSettings
from deployments.settings import service
from deployments.settings.policy_file import KEY_OF, SHIPPED, shipped_policy
from deployments.settings.service import load_settings, variable_names

KEY = "k" * 40
SECRETS = {
    "GANTRY_API_KEY": KEY,
    "GANTRY_DATABASE_URL": "mariadb+pymysql://gantry:hunter2@db.example/plant",
    "GANTRY_WEBHOOK_URL": "https://user:hunter2@hooks.example/services/hunter2",
    "GANTRY_NOTIFY_URLS": "mailto://me:hunter2@mail.example json://hooks.example/services",
    "GANTRY_WEBHOOK_SECRET": "hunter2hunter2hunter2",
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("GANTRY_") or name == "ENVIRONMENT":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    service._warn_once.cache_clear()


def printed(*words: str) -> str:
    result = CliRunner().invoke(app, ["settings", *words])
    assert result.exit_code == 0, result.exception
    return result.stdout


def test_every_setting_and_every_key_has_a_value_and_an_origin() -> None:
    """Without any variable all of them are defaults, shown as they act."""
    found = json.loads(printed("--json"))
    assert list(found["settings"]) == list(variable_names().values())
    assert list(found["policy"]) == list(shipped_policy().values_by_key)
    assert {row["from"] for row in (*found["settings"].values(), *found["policy"].values())} == {"default"}
    values = {name: row["value"] for name, row in {**found["settings"], **found["policy"]}.items()}
    assert (values["GANTRY_MAX_JOBS"], values["GANTRY_RATE_LIMIT"]) == (20_000, "off")
    assert values["GANTRY_ROLLOUT_INITIAL_STAGE"] == "full"
    assert (values["goals.min_uptime_percent"], values["anomalies.max_makespan_hours"]) == (99.9, "off")


def test_origin_is_where_the_value_was_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment, `.env`, the policy file, or a variable that belongs there now."""
    (tmp_path / ".env").write_text("GANTRY_PLANT_ID=penang\nGANTRY_ROLLOUT_MOST_CRASH_PERCENT=2\nGANTRY_MAX_JOBS=7\n")
    (tmp_path / "plant.toml").write_text("[goals]\nmax_makespan_hours = 40\nmax_error_percent = 2\n")
    for name, value in {
        "ENVIRONMENT": "development",
        "GANTRY_MAX_JOBS": "8",
        "GANTRY_POLICY_FILE": "plant.toml",
        "GANTRY_GOAL_ERROR_PERCENT": "3",
    }.items():
        monkeypatch.setenv(name, value)
    found = json.loads(printed("--json"))
    rows = {name: (row["value"], row["from"]) for name, row in {**found["settings"], **found["policy"]}.items()}
    assert {name: row for name, row in rows.items() if row[1] != "default"} == {
        "GANTRY_ENVIRONMENT": ("development", "environment"),
        "GANTRY_PLANT_ID": ("penang", ".env"),
        "GANTRY_MAX_JOBS": (8, "environment"),
        "GANTRY_POLICY_FILE": ("plant.toml", "environment"),
        "goals.max_makespan_hours": (40, "plant.toml"),
        "goals.max_error_percent": (3, "environment, GANTRY_GOAL_ERROR_PERCENT"),
        "guardrails.max_crash_percent": (2, ".env, GANTRY_ROLLOUT_MOST_CRASH_PERCENT"),
    }


@pytest.mark.parametrize("words", [(), ("--json",), ("--policy",)])
def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """Neither key nor password nor the path of a webhook, whatever is printed; the hosts are."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    text = printed(*words)
    assert not any(secret in text for secret in (KEY, "hunter2", "services"))
    if "--policy" not in words:
        assert "schema plant on db.example" in text
        assert "https://hooks.example/***" in text


def test_table_is_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each setting and each key, with where it is from."""
    monkeypatch.setenv("GANTRY_PLANT_ID", "penang")
    lines = {line.split()[0]: line.split()[1:] for line in printed().splitlines()}
    assert lines["GANTRY_PLANT_ID"] == ["penang", "environment"]
    assert lines["ramp.min_shadow_hours"] == ["168", "default"]
    assert lines["goals.min_uptime_percent"] == ["99.9", "default"]
    assert set(lines) == {"name", *variable_names().values(), *shipped_policy().values_by_key}


def test_policy_is_printed_as_the_file_that_it_could_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Old variables become a file that says the same without them; without any it is the shipped one."""
    assert printed("--policy") == SHIPPED.read_text(encoding="utf-8")
    old = {"GANTRY_GOAL_MAKESPAN_HOURS": "36.5", "GANTRY_ANOMALY_LOAD_OVER_MEAN": "off"}
    for name, value in old.items():
        monkeypatch.setenv(name, value)
    policy = load_settings().policy
    (tmp_path / "plant.toml").write_text(printed("--policy"), encoding="utf-8")
    for name in old:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GANTRY_POLICY_FILE", "plant.toml")
    assert load_settings().policy == policy != shipped_policy()
    assert printed("--policy") == (tmp_path / "plant.toml").read_text(encoding="utf-8")


def test_old_variables_are_told_of_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """However many there are."""
    for name in KEY_OF:
        if "COMPLETION" not in name and "EXPANDED" not in name:
            monkeypatch.setenv(name, "40")
    printed()
    assert len(caplog.messages) == 1


def test_what_would_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says what the service would."""
    monkeypatch.setenv("GANTRY_POLICY_FILE", "nowhere.toml")
    result = CliRunner().invoke(app, ["settings"])
    assert isinstance(result.exception, InvalidSettings)
    assert str(result.exception) == "GANTRY_POLICY_FILE: nowhere.toml cannot be read: No such file or directory"


def test_help_has_an_example() -> None:
    """Both ways to use it are shown."""
    text = CliRunner().invoke(app, ["settings", "--help"]).output
    assert "Example: gantry settings" in text
    assert "gantry settings --policy > policy.toml" in text
