"""Settings: what is read from where, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from deployments.errors import InvalidSettings
from deployments.settings.near_misses import STRANGERS, unread_variables
from deployments.settings.policy_file import KEY_OF
from deployments.settings.service import (
    DEVELOPMENT_API_KEY,
    FILE_SUFFIX,
    Environment,
    Settings,
    hand_down,
    load_settings,
    secret_names,
    variable_names,
    variables,
)

EXAMPLE = Path(__file__).parents[3] / ".env.example"
SAFE_KEY = "k" * 32


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("GANTRY_", *STRANGERS)) or name == "ENVIRONMENT":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_settings_default_to_the_embedded_development_service(tmp_path: Path) -> None:
    """Without any variable the service runs on SQLite with the development key."""
    settings = load_settings()
    assert settings.environment is Environment.DEVELOPMENT
    assert settings.api_key.get_secret_value() == DEVELOPMENT_API_KEY
    assert settings.database_url.get_secret_value() == f"sqlite:///{tmp_path}/data/gantry.sqlite3"
    assert settings.spool_folder == Path("data/spool")
    assert (settings.max_jobs, settings.max_machines, settings.max_body_bytes) == (20_000, 5_000, 33_554_432)
    assert settings.initial_stage == "full"
    assert settings.zone.key == "UTC"


def test_replicas_get_the_settings_of_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever edits `.env` or the policy while the service runs changes the next start, and breaks no replica."""
    # What is set from here on ends with the test.
    monkeypatch.setattr(os, "environ", dict(os.environ))
    file, policy = tmp_path / ".env", tmp_path / "policy.toml"
    policy.write_text("[goals]\nmax_makespan_hours = 40.0\n", encoding="utf-8")
    file.write_text(f"GANTRY_PLANT_TIMEZONE=Asia/Tokyo\nGANTRY_POLICY_FILE={policy}\nOTHER=1\n", encoding="utf-8")
    hand_down(load_settings())
    file.write_text("GANTRY_PLANT_TIMEZONE=Asia/Tokio\nGANTRY_MAX_JOBZ=1\n", encoding="utf-8")
    policy.write_text("[goals", encoding="utf-8")
    settings = load_settings()
    assert (settings.plant_timezone, settings.policy.goals.max_makespan_hours) == ("Asia/Tokyo", 40.0)
    assert "OTHER" not in os.environ


NINE_TARGETS = " ".join(f"json://x{number}" for number in range(9))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rollout_initial_stage": "half"}, ("GANTRY_ROLLOUT_INITIAL_STAGE", "'shadow', 'limited'")),
        ({"webhook_url": "http://x", "webhook_secret": "short"}, ("GANTRY_WEBHOOK_SECRET", "at least 16 characters")),
        ({"notify_urls": "json://x, json://y"}, ("GANTRY_NOTIFY_URLS", "no commas, between them; number 1 is none")),
        ({"notify_urls": "json://x hunter2"}, ("GANTRY_NOTIFY_URLS", "number 2 is none")),
        (
            {"notify_urls": NINE_TARGETS},
            ("GANTRY_NOTIFY_URLS", "at most 8 URLs, were 9"),
        ),
        ({"webhook_url": "file:///x"}, ("GANTRY_WEBHOOK_URL", "match pattern")),
    ],
)
def test_settings_refuse_a_rollout_that_is_none(changes: dict[str, Any], reason: tuple[str, str]) -> None:
    """Stages that nobody knows, and notices that nobody could trust are named."""
    with pytest.raises(InvalidSettings) as refused:
        load_settings(**changes)
    name, message = refused.value.reasons[0]
    assert name == reason[0]
    assert reason[1] in message


def test_settings_begin_in_shadow_in_production() -> None:
    """A plant sees nothing of PPO until somebody promotes it."""
    safe = {"api_key": "k" * 40, "database_url": "mariadb+pymysql://u:p@h/d"}
    assert load_settings(environment="production", **safe).initial_stage == "shadow"
    assert load_settings(rollout_initial_stage="limited").initial_stage == "limited"


def test_secret_is_read_from_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the end of the line; replicas get the secret as it was, whatever the file holds later."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    rollout = ("GANTRY_WEBHOOK_SECRET", "GANTRY_NOTIFY_URLS")
    assert secret_names() == (*rollout, "GANTRY_API_KEY", "GANTRY_DATABASE_URL", "GANTRY_INTO_PASSWORD")
    for number, name in enumerate(secret_names()):
        file = tmp_path / name
        file.write_text(f"mariadb://secret-{number}{SAFE_KEY}\n", encoding="utf-8")
        os.environ[name + FILE_SUFFIX] = str(file)
        assert variables()[name] == (f"mariadb://secret-{number}{SAFE_KEY}", str(file))
    settings = load_settings()
    assert settings.own_key == f"mariadb://secret-2{SAFE_KEY}"
    hand_down(settings)
    for name in secret_names():
        (tmp_path / name).write_text("another", encoding="utf-8")
    assert load_settings().own_key == f"mariadb://secret-2{SAFE_KEY}"


def test_file_of_a_secret_that_holds_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Absent, a folder, empty, or beside the secret itself: what would open the service then nobody has meant."""
    empty = tmp_path / "empty"
    empty.write_text("\n", encoding="utf-8")
    for path in (tmp_path / "absent", tmp_path, empty):
        monkeypatch.setenv("GANTRY_API_KEY_FILE", str(path))
        with pytest.raises(InvalidSettings, match="GANTRY_API_KEY_FILE: must be a file with the secret, was"):
            load_settings()
    monkeypatch.setenv("GANTRY_API_KEY", SAFE_KEY)
    with pytest.raises(InvalidSettings, match="GANTRY_API_KEY_FILE: must not stand beside GANTRY_API_KEY"):
        load_settings()
    monkeypatch.delenv("GANTRY_API_KEY")
    monkeypatch.delenv("GANTRY_API_KEY_FILE")
    monkeypatch.setenv("GANTRY_PLANT_ID_FILE", str(empty))
    with pytest.raises(InvalidSettings, match="GANTRY_PLANT_ID_FILE: is not a setting"):
        load_settings()


def test_trusted_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """None by default; names are no addresses, and in production not everybody is a proxy."""
    assert load_settings().trusted_proxies == ()
    monkeypatch.setenv("GANTRY_TRUSTED_PROXIES", "127.0.0.1, 2001:db8::/64")
    assert [str(each) for each in load_settings().trusted_proxies] == ["127.0.0.1/32", "2001:db8::/64"]
    monkeypatch.setenv("GANTRY_TRUSTED_PROXIES", "proxy.example")
    with pytest.raises(InvalidSettings, match="GANTRY_TRUSTED_PROXIES"):
        load_settings()
    monkeypatch.setenv("GANTRY_TRUSTED_PROXIES", "::/0")
    safe = {"api_key": SAFE_KEY, "database_url": "mariadb+pymysql://u:p@h/d"}
    with pytest.raises(InvalidSettings, match="GANTRY_TRUSTED_PROXIES: must name the proxies in production"):
        load_settings(environment="production", **safe)


def test_settings_follow_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Database and spool move with the data folder unless they are set themselves."""
    monkeypatch.setenv("GANTRY_DATA_FOLDER", "/srv/gantry")
    settings = load_settings()
    assert settings.database_url.get_secret_value() == "sqlite:////srv/gantry/gantry.sqlite3"
    assert settings.spool_folder == Path("/srv/gantry/spool")


def test_settings_prefer_the_environment_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`.env` is read, and a variable of the environment wins over it."""
    (tmp_path / ".env").write_text("GANTRY_PLANT_ID=from-file\nGANTRY_MAX_JOBS=7\nPATH_OF_OTHERS=1\n")
    monkeypatch.setenv("GANTRY_PLANT_ID", "from-environment")
    settings = load_settings()
    assert (settings.plant_id, settings.max_jobs) == ("from-environment", 7)


def test_settings_take_an_empty_variable_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable leaves the default."""
    monkeypatch.setenv("GANTRY_MAX_JOBS", "")
    assert load_settings().max_jobs == 20_000


def test_variables_tell_where_they_are_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of each the value that counts and its place; one that is empty in the environment hides that of the file."""
    (tmp_path / ".env").write_text("GANTRY_PLANT_ID=from-file\nGANTRY_MAX_JOBS=7\nGANTRY_LOG_LEVEL=debug\n")
    monkeypatch.setenv("GANTRY_PLANT_ID", "from-environment")
    monkeypatch.setenv("GANTRY_LOG_LEVEL", "")
    found = variables()
    assert found["GANTRY_PLANT_ID"] == ("from-environment", "environment")
    assert found["GANTRY_MAX_JOBS"] == ("7", ".env")
    assert "GANTRY_LOG_LEVEL" not in found
    assert load_settings().log_level == "info"


def test_settings_refuse_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelled variable stops the start and names the nearest setting."""
    monkeypatch.setenv("GANTRY_PLANT_TIMEZON", "UTC")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert str(caught.value) == "GANTRY_PLANT_TIMEZON: is not a setting; did you mean GANTRY_PLANT_TIMEZONE?"


def _refusal(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    with monkeypatch.context() as patch:
        patch.setenv(name, "1")
        with pytest.raises(InvalidSettings) as caught:
            load_settings()
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATAFOLDER", "DATA_FOLDER"),
        ("DATABASEURL", "DATABASE_URL"),
        ("API_KYE", "API_KEY"),
        ("PLANTID", "PLANT_ID"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("MAX_BODY_BYTE", "MAX_BODY_BYTES"),
        ("WEBHOOK_ULR", "WEBHOOK_URL"),
    ],
)
def test_settings_guess_a_name_that_is_nearly_right(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    """A letter too few, too many or in the wrong place."""
    assert _refusal(monkeypatch, f"GANTRY_{name}") == f"GANTRY_{name}: is not a setting; did you mean GANTRY_{meant}?"


@pytest.mark.parametrize("name", ["FOO", "PORT", "HOST", "DEBUG", "WORKERS", "DATABASE", "GOAL"])
def test_settings_guess_nothing_far_off(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A wrong hint is worse than none: whoever follows it breaks a second setting."""
    assert (
        _refusal(monkeypatch, f"GANTRY_{name}")
        == f"GANTRY_{name}: is not a setting: unset it; .env.example lists all that are"
    )


def test_settings_guess_every_name_without_one_of_its_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the setting, and however short it is."""
    for name in (each.removeprefix("GANTRY_") for each in (*variable_names().values(), *KEY_OF)):
        for place in range(len(name)):
            short = f"GANTRY_{name[:place]}{name[place + 1 :]}"
            assert f"did you mean GANTRY_{name}?" in _refusal(monkeypatch, short)


def test_settings_refuse_an_unknown_name_in_the_file(tmp_path: Path) -> None:
    """The same holds for `.env`."""
    (tmp_path / ".env").write_text("GANTRY_NONSENSE=1\n")
    with pytest.raises(InvalidSettings, match="GANTRY_NONSENSE: is not a setting"):
        load_settings()


def test_settings_tell_every_fault_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Names that are none, values that are none, and what is unsafe in production: nobody mends them one by one."""
    (tmp_path / ".env").write_text("GANTRY_NONSENSE=1\n")
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("GANTRY_CORS_ORIGINS", "*")
    monkeypatch.setenv("GANTRY_LOG_LEVEL", "loud")
    with pytest.raises(InvalidSettings) as caught:
        load_settings(max_jobs=0)
    assert sorted(name for name, _ in caught.value.reasons) == [
        "GANTRY_API_KEY",
        "GANTRY_CORS_ORIGINS",
        "GANTRY_DATABASE_URL",
        "GANTRY_LOG_LEVEL",
        "GANTRY_MAX_JOBS",
        "GANTRY_NONSENSE",
    ]


def test_faulty_setting_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read is not judged by its default as well."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("GANTRY_API_KEY", SAFE_KEY)
    monkeypatch.setenv("GANTRY_DATABASE_URL", "mariadb+pymysql://u:p@h/d")
    monkeypatch.setenv("GANTRY_DATABASE_TLS", "never")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert [name for name, _ in caught.value.reasons] == ["GANTRY_DATABASE_TLS"]


@pytest.mark.parametrize(
    "name",
    ["GANTRY_REQUIRE", "GANTRY_TEST_MARIADB_URL", "GANTRY_BENCHMARKS", "GANTRY_MAIN", "GANTRY_URL", "GANTRY_KEY"],
)
def test_settings_leave_the_names_of_tests_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Variables that belong to the tests are no settings and not refused."""
    monkeypatch.setenv(name, "x")
    load_settings()


def test_environment_has_an_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ENVIRONMENT=production` means production."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(InvalidSettings, match="development key in production"):
        load_settings()


def test_environment_and_its_alias_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two different answers to one question refuse the start, beside what would be unsafe by the stricter one."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "development")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    message = "must agree with GANTRY_ENVIRONMENT 'development', was 'production'"
    assert caught.value.reasons[0] == ("ENVIRONMENT", message)
    assert [name for name, _ in caught.value.reasons[1:]] == ["GANTRY_API_KEY", "GANTRY_DATABASE_URL"]


def test_production_lists_all_unsafe_values_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator sees everything that is unsafe in one attempt."""
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "production")
    monkeypatch.setenv("GANTRY_CORS_ORIGINS", "https://plant.example, *")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert [name for name, _ in caught.value.reasons] == [
        "GANTRY_API_KEY",
        "GANTRY_CORS_ORIGINS",
        "GANTRY_DATABASE_URL",
    ]


@pytest.mark.parametrize(("key", "is_safe"), [("k" * 31, False), ("k" * 32, True)])
def test_production_wants_a_long_key(monkeypatch: pytest.MonkeyPatch, key: str, is_safe: bool) -> None:
    """A key of 31 characters is refused in production, one of 32 is not."""
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "production")
    monkeypatch.setenv("GANTRY_API_KEY", key)
    monkeypatch.setenv("GANTRY_DATABASE_URL", "mariadb+pymysql://gantry:secret@db/gantry")
    if is_safe:
        assert load_settings().environment is Environment.PRODUCTION
    else:
        with pytest.raises(InvalidSettings, match="must have at least 32 characters in production, had 31"):
            load_settings()


def test_production_may_do_without_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """GANTRY_API_KEY=off is safe: only stored keys open anything then."""
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "production")
    monkeypatch.setenv("GANTRY_API_KEY", "off")
    monkeypatch.setenv("GANTRY_DATABASE_URL", "mariadb+pymysql://gantry:secret@db/gantry")
    settings = load_settings()
    assert settings.own_key is None
    assert "off" not in settings.secrets


def test_settings_errors_never_quote_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused setting is named without its value, which may be a secret in the wrong place."""
    monkeypatch.setenv("GANTRY_MAX_JOBS", "hunter2")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert "GANTRY_MAX_JOBS" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_settings_hide_their_secrets() -> None:
    """Printing the settings shows neither key nor password."""
    settings = load_settings(api_key=SAFE_KEY, database_url="mariadb+pymysql://gantry:hunter2@db/gantry")
    assert SAFE_KEY not in repr(settings)
    assert "hunter2" not in repr(settings)
    assert set(settings.secrets) == {SAFE_KEY, "mariadb+pymysql://gantry:hunter2@db/gantry", "hunter2"}


def test_unencrypted_way_to_another_machine_is_refused_in_production() -> None:
    """TLS may be off for a database on the same machine only."""
    safe = {"environment": "production", "api_key": SAFE_KEY, "database_tls": "off"}
    load_settings(**safe, database_url="mariadb+pymysql://u:p@127.0.0.1:3306/gantry")
    with pytest.raises(InvalidSettings) as caught:
        load_settings(**safe, database_url="mariadb+pymysql://u:p@db.example/gantry")
    assert str(caught.value) == ("GANTRY_DATABASE_TLS: must not be off in production for a database on another machine")


def test_rate_limit_is_off_in_development_and_on_in_production() -> None:
    """A developer is not slowed down; production limits each key unless it is told otherwise."""
    safe = {"environment": "production", "api_key": SAFE_KEY, "database_url": "mariadb+pymysql://u:p@db/gantry"}
    assert load_settings().rate_limit is None
    assert load_settings(**safe).rate_limit == "1200/minute"
    assert load_settings(**safe, rate_limit="off").rate_limit is None
    assert load_settings(rate_limit="10 per 2 seconds").rate_limit == "10 per 2 seconds"


@pytest.mark.parametrize("rate", ["often", "0/minute", "1000000/minute"])
def test_rate_limit_must_mean_something(rate: str) -> None:
    """A rate that cannot be understood refuses the start."""
    with pytest.raises(InvalidSettings, match="GANTRY_RATE_LIMIT"):
        load_settings(rate_limit=rate)


def test_timezone_must_exist() -> None:
    """A zone that nobody knows refuses the start."""
    with pytest.raises(InvalidSettings, match="must be an IANA time zone, was 'Mars/Olympus'"):
        load_settings(plant_timezone="Mars/Olympus")


def test_example_file_names_every_setting() -> None:
    """`.env.example` shows each setting once, and nothing else; what the policy holds stands in its own file."""
    lines = [line.lstrip("# ") for line in EXAMPLE.read_text().splitlines()]
    shown = [line.split("=")[0] for line in lines if line.startswith("GANTRY_")]
    assert sorted(shown) == sorted(variable_names().values())
    assert not set(KEY_OF) & set(re.findall(r"GANTRY_\w+", EXAMPLE.read_text()))


def test_example_file_works(tmp_path: Path) -> None:
    """A copy of `.env.example` starts the embedded default."""
    (tmp_path / ".env").write_text(EXAMPLE.read_text())
    assert load_settings() == load_settings(_env_file=None)


def test_example_file_shows_the_defaults(tmp_path: Path) -> None:
    """Each value that the example shows commented out is the default."""
    text = EXAMPLE.read_text().replace("# GANTRY_", "GANTRY_").replace("GANTRY_CORS_ORIGINS=https", "# https")
    (tmp_path / ".env").write_text(text)
    assert load_settings() == load_settings(_env_file=None)


def test_variables_that_nothing_reads_are_named_with_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever writes them believes that they count; their values may be secrets."""
    for name in ("API_KEY", "DB_HOST", "DB_PASSWORD", "MARIADB_USER", "GANTRY_API_KEY", "DBX", "MY_API_KEY"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("MODEL_PATH", "")
    file = tmp_path / ".env"
    file.write_text("DATABASE_URL=mariadb://hunter2\n")
    assert unread_variables(file) == (
        "API_KEY is set and read by nothing: the setting is GANTRY_API_KEY",
        "DATABASE_URL, DB_HOST, DB_PASSWORD, MARIADB_USER are set and read by nothing: "
        "the setting is GANTRY_DATABASE_URL",
    )
    file.write_text("MODEL_PATH=models\n")
    assert "MODEL_PATH is set and read by nothing: the setting is GANTRY_MODEL_PATH" not in unread_variables(file)
    monkeypatch.delenv("MODEL_PATH")
    assert "MODEL_PATH is set and read by nothing: the setting is GANTRY_MODEL_PATH" in unread_variables(file)


@pytest.mark.parametrize(
    "name", ["gantry_data_folder", "GANTRYDATA_FOLDER", "GANTRY-DATA-FOLDER", "Gantry_Data_Folder"]
)
def test_name_that_is_only_written_otherwise_is_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It does not begin as our names do, so it is not refused; the folder that was meant would be another one."""
    monkeypatch.setenv(name, "/var/lib/gantry")
    assert unread_variables() == (f"{name} is set and read by nothing: the setting is GANTRY_DATA_FOLDER",)


def test_every_setting_that_is_named_instead_is_one() -> None:
    """A hint at a name that is refused would be worse than none."""
    assert {name.removeprefix("GANTRY_").lower() for name in STRANGERS.values()} <= set(Settings.model_fields)
