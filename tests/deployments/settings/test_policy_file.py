"""The policy file: what is read from where, what is refused, and what whoever set it in the old way is told."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from deployments.errors import InvalidSettings
from deployments.rollout.analysis.margins import CostRates, Margins
from deployments.settings import service
from deployments.settings.policy_file import (
    KEY_OF,
    RETIRED,
    SHIPPED,
    OperatingPolicy,
    read_policy,
    shipped_policy,
    toml_value,
)
from deployments.settings.service import load_settings, variable_names
from env.judge.anomalies import AnomalyLimits

TEXT = SHIPPED.read_text(encoding="utf-8")
KEYS = shipped_policy().values_by_key
UNITS = {"hours", "minutes", "percent", "points", "seconds", "ratio"}
SINCE_0_3 = ("margins.", "costs.")
"""Sections that were never variables."""
# Of each key another value than the shipped one that the bounds allow.
OTHERS = {key: 77.5 if key == "guardrails.min_completion_percent" else 20 for key in KEYS} | {
    "ramp.expanded_share_percent": 99,
    "ramp.limited_share_percent": 0.5,
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("GANTRY_") or name == "ENVIRONMENT":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    service._warn_once.cache_clear()


def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> Path:
    """A policy file that the settings name."""
    path = tmp_path / "plant.toml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("GANTRY_POLICY_FILE", str(path))
    return path


def refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> tuple[tuple[str, str], ...]:
    """Why a file is refused; names without its path."""
    path = written(monkeypatch, tmp_path, text)
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    return tuple((name.removeprefix(f"{path}: "), message) for name, message in refused.value.reasons)


def test_shipped_file_has_every_key() -> None:
    """The sections that are validated and the file know the same keys, and without a file these are in force."""
    sections = {name: field.annotation for name, field in OperatingPolicy.model_fields.items()}
    known = {f"{name}.{key}" for name, section in sections.items() for key in section.model_fields}  # type: ignore[union-attr]
    assert KEYS.keys() == known
    assert len(KEYS) == 32
    assert not set(KEYS) & set(RETIRED)
    assert load_settings().policy == shipped_policy()


def test_shipped_file_is_what_the_plan_asks_for() -> None:
    """A week in shadow, a week at ten per cent, two at fifty; and what rolls back."""
    ramp = shipped_policy().ramp_configuration
    assert [step.share for step in (ramp.shadow, ramp.limited, ramp.expanded, ramp.full)] == [0.0, 0.1, 0.5, 1.0]
    days = [step.min_seconds / 86_400 for step in (ramp.shadow, ramp.limited, ramp.expanded)]
    assert days == [7, 7, 14]
    assert (ramp.limits.completion, ramp.limits.crash_rate) == (0.95, 0.01)
    assert (ramp.limits.makespan_increase, ramp.limits.cusum_complete) == (0.1, -0.111)


def test_bounds_are_called_max_and_min_and_units_stand_last() -> None:
    """One word for one kind of bound: each key is a maximum, a minimum, a share or a rate, and says of what."""
    rates = [key for key in KEYS if key.startswith("costs.")]
    assert [key for key in rates if not key.startswith("costs.per_")] == []
    names = [key.partition(".")[2] for key in KEYS if key not in rates]
    assert [name for name in names if not re.match("(max|min)_|(limited|expanded)_share_", name)] == []
    assert [name for name in names if name.rpartition("_")[2] not in UNITS] == []
    words = re.compile("most|least|lowest|highest|minimum|maximum|largest|longest")
    assert [field for field in (*variable_names(), *names) if words.search(field)] == []


def test_shipped_file_tells_of_each_key_what_it_was_called() -> None:
    """The comment above a key ends with its environment variable, so that nobody has to search for it."""
    shown: dict[str, str] = {}
    section = comment = ""
    for line in TEXT.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("#"):
            comment = line
        elif " = " in line:
            key = f"{section}.{line.partition(' = ')[0]}"
            names = re.findall(r"\((GANTRY_\w+)\)$", comment)
            assert len(names) == (0 if key.startswith(SINCE_0_3) else 1)
            shown |= dict.fromkeys(names, key)
    newest = {key: name for name, key in reversed(KEY_OF.items())}
    assert {key: name for name, key in shown.items()} == newest


def test_every_old_name_stands_for_a_key() -> None:
    """Each key was one variable in 0.2.0, and none of the variables is a setting now."""
    old = {key for key in KEYS if not key.startswith(SINCE_0_3)}
    assert set(KEY_OF.values()) == old
    assert len([name for name in KEY_OF if not re.search("MINIMUM|MOST|LEAST|LOWEST", name)]) == len(old)
    assert not set(KEY_OF) & set(variable_names().values())


def test_file_wins_over_the_shipped_one_key_by_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever wants another goal writes that goal; the rest stays."""
    path = written(
        monkeypatch, tmp_path, "\ufeff[goals]\nmax_makespan_hours = 36\nmin_uptime_percent = 'off'\n[ramp]\n"
    )
    settings = load_settings()
    assert settings.policy.values_by_key == KEYS | {"goals.max_makespan_hours": 36.0, "goals.min_uptime_percent": None}
    assert settings.policy_reading.origins == dict.fromkeys(
        ("goals.max_makespan_hours", "goals.min_uptime_percent"), str(path)
    )
    assert load_settings(policy_file=SHIPPED).policy == shipped_policy()


def test_every_key_can_be_set_in_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And reaches the goals, the judge and the ramp."""
    lines = [f"{key} = {value}" for key, value in OTHERS.items()]
    written(monkeypatch, tmp_path, "\n".join(lines))
    policy = load_settings().policy
    assert policy.values_by_key == OTHERS
    assert all(value != KEYS[key] for key, value in OTHERS.items())
    assert policy.anomaly_limits == AnomalyLimits(**{field.name: 20.0 for field in fields(AnomalyLimits)})
    assert {goal.target for goal in policy.report_goals} == {20.0, 0.0}
    ramp = policy.ramp_configuration
    assert (ramp.limited.share, ramp.expanded.share) == (0.005, 0.99)
    assert {step.min_seconds for step in (ramp.shadow, ramp.limited, ramp.expanded)} == {72_000.0}
    assert (ramp.limits.completion, ramp.limits.crash_rate, ramp.limits.makespan_increase) == (0.775, 0.2, 0.2)


@pytest.mark.parametrize("name", KEY_OF)
def test_old_name_counts(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whoever configured an earlier version starts as before."""
    key = KEY_OF[name]
    value = 12 if key == "ramp.limited_share_percent" else OTHERS[key]
    monkeypatch.setenv(name, str(value))
    assert load_settings().policy.values_by_key == KEYS | {key: value}


def test_off_in_an_old_name_switches_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A threshold and a goal can be left out, as ever."""
    monkeypatch.setenv("GANTRY_ANOMALY_MIN_UTILISATION_PERCENT", "off")
    monkeypatch.setenv("GANTRY_GOAL_UPTIME_PERCENT", "off")
    policy = load_settings().policy
    assert policy.anomaly_limits.min_utilisation_percent is None
    assert "uptime_percent" not in {goal.name for goal in policy.report_goals}


def test_old_names_are_told_of_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From `.env` and the environment alike; replicas say nothing, because whoever starts them has."""
    (tmp_path / ".env").write_text("GANTRY_GOAL_MAKESPAN_HOURS=36\n")
    monkeypatch.setenv("GANTRY_ROLLOUT_MOST_CRASH_PERCENT", "0.5")
    load_settings(warns=False)
    assert caplog.messages == []
    load_settings()
    policy = load_settings().policy
    assert (policy.goals.max_makespan_hours, policy.guardrails.max_crash_percent) == (36, 0.5)
    assert caplog.messages == [
        "these belong in the file of GANTRY_POLICY_FILE now and will not be known for ever: "
        "GANTRY_GOAL_MAKESPAN_HOURS is goals.max_makespan_hours, "
        "GANTRY_ROLLOUT_MOST_CRASH_PERCENT is guardrails.max_crash_percent"
    ]


def test_old_name_wins_over_the_file_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two different answers: the environment's counts. Twice the same is no conflict."""
    path = written(monkeypatch, tmp_path, "[goals]\nmax_makespan_hours = 40\nmax_error_percent = 2\n")
    monkeypatch.setenv("GANTRY_GOAL_MAKESPAN_HOURS", "36")
    monkeypatch.setenv("GANTRY_GOAL_ERROR_PERCENT", "2.0")
    settings = load_settings()
    assert (settings.policy.goals.max_makespan_hours, settings.policy.goals.max_error_percent) == (36, 2)
    assert settings.policy_reading.origins["goals.max_makespan_hours"] == "GANTRY_GOAL_MAKESPAN_HOURS"
    (message,) = caplog.messages
    assert message.endswith(
        f"GANTRY_GOAL_MAKESPAN_HOURS is goals.max_makespan_hours, and its 36 wins over 40 in {path}, "
        "GANTRY_GOAL_ERROR_PERCENT is goals.max_error_percent"
    )


def test_policy_without_old_names_is_silent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file is the right way to say it."""
    written(monkeypatch, tmp_path, TEXT)
    load_settings()
    assert caplog.messages == []


def test_two_old_names_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two answers nobody can tell which one was meant; twice the same is one."""
    monkeypatch.setenv("GANTRY_ROLLOUT_SHADOW_MIN_HOURS", "50")
    monkeypatch.setenv("GANTRY_ROLLOUT_SHADOW_MINIMUM_HOURS", "50")
    assert load_settings().policy.ramp.min_shadow_hours == 50
    monkeypatch.setenv("GANTRY_ROLLOUT_SHADOW_MINIMUM_HOURS", "60")
    with pytest.raises(InvalidSettings, match="must agree with GANTRY_ROLLOUT_SHADOW_MIN_HOURS '50', was '60'"):
        load_settings()


def test_keys_that_no_longer_act_are_said_and_refuse_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of 0.2.0 starts the service as ever, and a warning names what in it, or in a variable, does nothing."""
    path = written(monkeypatch, tmp_path, "[ramp]\n" + "".join(f"{key[5:]} = 50\n" for key in RETIRED))
    monkeypatch.setenv("GANTRY_ROLLOUT_MAX_MISSING_PERCENT", "5")
    assert load_settings().policy == shipped_policy()
    (message,) = caplog.messages
    for name in (*(f"{key} in {path}" for key in RETIRED), "GANTRY_ROLLOUT_MAX_MISSING_PERCENT"):
        assert name in message
    assert "these no longer act, because evidence over windows decides" in message


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("[goals]\nmax_makespan_hour = 1", "goals.max_makespan_hour", "goals.max_makespan_hours"),
        ("[goal]\nmax_error_percent = 1", "goal.max_error_percent", "goals.max_error_percent"),
        ("[guardrails]\nmin_crash_percent = 1", "guardrails.min_crash_percent", "guardrails.max_crash_percent"),
        (
            "[anomalies]\nmin_utilization_percent = 1",
            "anomalies.min_utilization_percent",
            "anomalies.min_utilisation_percent",
        ),
        ("[ramp.limited]\nshare_percent = 1", "ramp.limited", ""),
        ("max_jobs = 1", "max_jobs", ""),
        ("goals = 1", "goals", ""),
        ("[plant]\nid = 'penang'", "plant.id", ""),
    ],
)
def test_unknown_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, key: str, message: str
) -> None:
    """With its file, its name and, where one is near, the key that may have been meant."""
    hint = f"; did you mean {message}?" if message else ""
    assert refusal(monkeypatch, tmp_path, text) == ((key, f"is no key of the policy{hint}"),)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("goals.min_on_time_percent", "101", "must be at most 100, was 101"),
        ("goals.max_makespan_hours", "-1", "must be at least 0, was -1"),
        ("goals.max_makespan_hours", "'45'", "must be a number, was '45'"),
        ("goals.max_makespan_hours", "true", "must be a number, was True"),
        ("anomalies.max_load_over_mean_ratio", "inf", "finite number, was inf"),
        ("anomalies.min_completion_percent", "'of'", "must be a number, was 'of'"),
        ("ramp.limited_share_percent", "0", "greater than 0, was 0"),
        ("ramp.limited_share_percent", "'off'", "must be a number, was 'off'"),
        ("ramp.expanded_share_percent", "5", "must be at least limited_share_percent 10, was 5"),
        ("ramp.min_shadow_hours", "nan", "finite number, was nan"),
        ("guardrails.min_completion_percent", "100", "less than 100, was 100"),
        ("guardrails.min_completion_percent", "60", "must be at least 70, was 60"),
        ("guardrails.max_crash_percent", "51", "must be at most 50, was 51"),
    ],
)
def test_value_out_of_bounds_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, value: str, message: str
) -> None:
    """With its file, its key, the bound and what was found; from a variable by the name of the variable."""
    ((name, told),) = refusal(monkeypatch, tmp_path, f"{key} = {value}")
    assert name == key
    assert told.endswith(message)


def test_share_that_leaves_the_other_behind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares only rise; the key that was not set is named by itself."""
    monkeypatch.setenv("GANTRY_ROLLOUT_LIMITED_PERCENT", "60")
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    assert str(refused.value) == "ramp.expanded_share_percent: must be at least limited_share_percent 60, was 50"


def test_value_of_a_variable_is_told_only_where_it_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else may be a secret in the wrong place."""
    monkeypatch.setenv("GANTRY_GOAL_ON_TIME_PERCENT", "101")
    monkeypatch.setenv("GANTRY_GOAL_ERROR_PERCENT", "hunter2")
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    assert refused.value.reasons == (
        ("GANTRY_GOAL_ON_TIME_PERCENT", "must be at most 100, was 101"),
        ("GANTRY_GOAL_ERROR_PERCENT", "must be a number"),
    )


def test_every_fault_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of the file beside those of the settings."""
    monkeypatch.setenv("GANTRY_LOG_LEVEL", "loud")
    monkeypatch.setenv("GANTRY_NONSENSE", "1")
    monkeypatch.setenv("GANTRY_ANOMALY_MAKESPAN_HOURS", "-1")
    names = {name for name, _ in refusal(monkeypatch, tmp_path, "[goals]\nx = 1\nmax_error_percent = 200\n")}
    assert names == {
        "GANTRY_LOG_LEVEL",
        "GANTRY_NONSENSE",
        "GANTRY_ANOMALY_MAKESPAN_HOURS",
        "goals.x",
        "goals.max_error_percent",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "plant.toml cannot be read: No such file or directory"),
        (b"[goals\n", "plant.toml must be a TOML file: "),
        (
            b"[goals]\nmax_error_percent = 1\nmax_error_percent = 2\n",
            "plant.toml must be a TOML file: Cannot overwrite",
        ),
        (b"\xff\xfe", "plant.toml must be a TOML file: "),
    ],
)
def test_file_that_cannot_be_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """A missing file is no reason to start with the shipped one, and neither is one that is not TOML."""
    path = tmp_path / "plant.toml"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("GANTRY_POLICY_FILE", str(path))
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    ((name, message),) = refused.value.reasons
    assert name == "GANTRY_POLICY_FILE"
    assert reason in message


@pytest.mark.parametrize("values", [{}, OTHERS, {"goals.max_makespan_hours": None, "ramp.min_shadow_hours": 0.25}])
def test_policy_as_toml_is_a_file_of_the_same_policy(tmp_path: Path, values: dict[str, float | None]) -> None:
    """Written, read and written again it is the same; the comments stay, and the shipped one is the shipped file."""
    path = tmp_path / "first.toml"
    path.write_text("\n".join(f"{key} = {toml_value(value)}" for key, value in values.items()))
    policy = read_policy(path, {})[0].policy
    assert policy.values_by_key == KEYS | values
    path.write_text(policy.as_toml())
    again = read_policy(path, {})[0].policy
    assert again == policy
    assert again.as_toml() == policy.as_toml()
    assert re.findall("^#.*", policy.as_toml(), re.MULTILINE) == re.findall("^#.*", TEXT, re.MULTILINE)
    assert (policy.as_toml() == TEXT) == (not values)


def test_completion_of_the_guardrail_moves_the_cumulative_sum(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It looks for three times the incomplete plans that are allowed; other numbers are another configuration."""
    written(monkeypatch, tmp_path, "[guardrails]\nmin_completion_percent = 98\n")
    strict = load_settings().policy.ramp_configuration
    # Logarithms of 6 % over 2 % and of 94 % over 98 %.
    assert (strict.limits.cusum_incomplete, strict.limits.cusum_complete) == (1.1, -0.0417)
    assert strict.hash != shipped_policy().ramp_configuration.hash


def test_goal_is_a_maximum_where_less_is_better() -> None:
    """The word before the name of a goal is the side of the target that is good; nobody may soften the criticals."""
    goals = {goal.name: goal for goal in shipped_policy().report_goals}
    words = {
        key.partition(".")[2].partition("_")[2]: key.partition(".")[2][:3] for key in KEYS if key.startswith("goals.")
    }
    assert words == {
        name: "min" if goal.is_more_better else "max" for name, goal in goals.items() if name != "critical_violations"
    }
    assert goals["critical_violations"].target == 0.0


def test_judge_knows_no_threshold_that_the_policy_leaves_out() -> None:
    """The keys of the section are the fields of the judge's limits."""
    keys = {key.partition(".")[2] for key in KEYS if key.startswith("anomalies.")}
    assert keys == {threshold.name for threshold in fields(AnomalyLimits)}


def test_shipped_file_is_toml_of_numbers_and_off() -> None:
    """What is not a number is the word off."""
    values = [value for section in tomllib.loads(TEXT).values() for value in section.values()]
    assert {value for value in values if not isinstance(value, int | float)} == {"off"}


def test_margins_and_rates_reach_the_rollout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a plant may lose, and what an hour costs it; a margin that is off is not asked."""
    usual = shipped_policy().ramp_configuration
    assert usual.limits.margins == Margins()
    text = '[margins]\nmax_on_time_loss_points = 2.5\nmax_utilisation_loss_points = "off"\n'
    written(monkeypatch, tmp_path, f"{text}[costs]\nper_setup_hour = 80\n")
    found = load_settings().policy.ramp_configuration
    assert found.limits.margins == Margins(
        on_time_points=2.5, utilisation_points=None, rates=CostRates(setup_hour=80.0)
    )
    assert found.hash != usual.hash
    assert found.as_json()["limits"]["margins"]["rates"]["setup_hour"] == 80.0


def test_margins_that_cannot_mean_anything_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A share of the champion's tardiness needs an amount beside it, for a champion that is never late."""
    text = '[margins]\nmax_tardiness_increase_minutes = "off"\nmax_cost_increase_percent = 0\n'
    found = refusal(monkeypatch, tmp_path, f"{text}[costs]\nper_setup_hour = -1\n")
    reason = "may be \"off\" only where max_tardiness_increase_percent is, was 'off'"
    assert found == (
        ("margins.max_tardiness_increase_minutes", reason),
        ("margins.max_cost_increase_percent", "must be greater than 0, was 0"),
        ("costs.per_setup_hour", "must be at least 0, was -1"),
    )
