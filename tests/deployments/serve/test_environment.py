"""The environment of a node: one list for the launcher and for clusters, and what is refused on more than one node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr

from deployments.errors import InvalidSettings
from deployments.local_cluster.service import ray_variables
from deployments.serve.environment import (
    PROXY_VARIABLE,
    SECRET_FIELDS,
    cluster_variables,
    faults_of,
    gantry_variables,
    has_token,
    lone_disk_fault,
    node_facts,
    require_shareable,
    shared_variables,
)
from deployments.settings.service import Settings, load_settings

MARIADB = "mariadb+pymysql://gantry:very-secret@db.example/gantry"
OWN_KEY = "a-key-of-the-plant-that-is-long-enough"


@pytest.fixture
def proxy(tmp_path: Path) -> Path:
    """A program in place of HAProxy's."""
    path = tmp_path / "gantry-haproxy"
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o700)
    return path


def test_launcher_and_cluster_have_one_list(proxy: Path) -> None:
    """What they share is equal to the last value; each other name is one that only the one of them can have."""
    launcher, cluster = ray_variables(8000), cluster_variables(proxy)
    shared = shared_variables()
    assert launcher.items() >= shared.items()
    assert cluster.items() >= shared.items()
    assert launcher.keys() - cluster.keys() == {
        "RAY_AUTH_TOKEN",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
        "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR",
    }
    assert {name for name in cluster.keys() - launcher.keys() if "_PORT" not in name} == {PROXY_VARIABLE}


def test_node_with_the_list_lacks_nothing(proxy: Path) -> None:
    """Other bounds and ports than ours are no fault."""
    wanted = cluster_variables(proxy)
    assert list(faults_of(wanted, wanted)) == []
    others = wanted | {"RAY_SERVE_HAPROXY_STATS_PORT": "8405", "RAY_SERVE_HAPROXY_MAXCONN": "300"}
    assert list(faults_of(others, wanted)) == []


def test_node_without_any_of_it_lacks_all(proxy: Path) -> None:
    """Each variable is named, with what it must be."""
    wanted = cluster_variables(proxy)
    assert list(faults_of({}, wanted)) == [(name, "nothing", value) for name, value in wanted.items()]


def test_values_that_make_another_service_are_faults(proxy: Path, tmp_path: Path) -> None:
    """Without throughput mode, without a token, with all routers on one node, or with a proxy that is not there."""
    wanted = cluster_variables(proxy)
    wrong = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "0",
        "RAY_SERVE_USE_PACK_SCHEDULING_STRATEGY": "1",
        "RAY_AUTH_MODE": "disabled",
        PROXY_VARIABLE: str(tmp_path / "nothing"),
    }
    assert {name for name, _, _ in faults_of(wanted | wrong, wanted)} == wrong.keys()


def test_every_secret_setting_is_known_as_one() -> None:
    """A value that must not be printed is not: the fields that hide theirs, and the address of the webhook."""
    hidden = {
        name
        for name, field in Settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    }
    assert hidden | {"webhook_url"} == SECRET_FIELDS


def test_settings_are_handed_to_nodes_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets by name, folders whole, and the folder of the data even if nobody set it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_DATABASE_URL", MARIADB)
    monkeypatch.setenv("GANTRY_API_KEY", OWN_KEY)
    monkeypatch.setenv("GANTRY_PLANT_TIMEZONE", "Asia/Kuala_Lumpur")
    monkeypatch.setenv("GANTRY_SPOOL_FOLDER", "spool")
    monkeypatch.setenv("GANTRY_KEY", "a key of a client")
    monkeypatch.delenv("GANTRY_BENCHMARKS", raising=False)
    monkeypatch.delenv("GANTRY_DATA_FOLDER", raising=False)
    assert gantry_variables(load_settings()) == {
        "GANTRY_API_KEY": None,
        "GANTRY_DATABASE_URL": None,
        "GANTRY_DATA_FOLDER": str(tmp_path / "data"),
        "GANTRY_ENVIRONMENT": "development",
        "GANTRY_PLANT_TIMEZONE": "Asia/Kuala_Lumpur",
        "GANTRY_SPOOL_FOLDER": str(tmp_path / "spool"),
    }


def test_file_of_a_secret_is_named_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica starts in another folder, and there the name of a file alone leads nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GANTRY_API_KEY", raising=False)
    Path("key").write_text(OWN_KEY, encoding="utf-8")
    monkeypatch.setenv("GANTRY_API_KEY_FILE", "key")
    found = gantry_variables(load_settings())
    assert (found["GANTRY_API_KEY_FILE"], "GANTRY_API_KEY" in found) == (str(tmp_path / "key"), False)


def test_facts_tell_no_secret_and_that_nodes_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest stands for each setting, another one for another value, and another one for another nonce."""
    monkeypatch.setenv("GANTRY_DATABASE_URL", MARIADB)
    monkeypatch.setenv("GANTRY_API_KEY", OWN_KEY)
    first, again, other_nonce = node_facts(b"n"), node_facts(b"n"), node_facts(b"m")
    monkeypatch.setenv("GANTRY_API_KEY", OWN_KEY[::-1])
    other_key = node_facts(b"n")
    words = json.dumps(first)
    assert "very-secret" not in words
    assert OWN_KEY not in words
    digests = [each["settings_digests"]["GANTRY_API_KEY"] for each in (first, again, other_nonce, other_key)]
    assert digests[0] == digests[1]
    assert len({*digests}) == 3


def test_facts_name_unusable_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """In production with what is only safe on a developer's machine: every reason, as a start would tell it."""
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "production")
    faults = node_facts(b"")["settings_faults"]
    assert "GANTRY_API_KEY: must not be the development key in production" in faults
    assert "GANTRY_DATABASE_URL: must be a MariaDB URL in production, was SQLite" in faults


def test_token_is_found_where_ray_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, in the file that it names, or in the home of the user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_token({})
    assert has_token({"RAY_AUTH_TOKEN": "word"})
    (tmp_path / "token").write_text("word", encoding="ascii")
    assert has_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("word", encoding="ascii")
    assert has_token({})


@pytest.mark.parametrize(
    ("url", "key", "nodes", "host", "faults"),
    [
        (None, None, 1, "127.0.0.1", ()),
        (MARIADB, OWN_KEY, 3, "0.0.0.0", ()),
        (None, OWN_KEY, 1, "0.0.0.0", ()),
        (
            None,
            OWN_KEY,
            2,
            "0.0.0.0",
            (("GANTRY_DATABASE_URL", "must be a MariaDB URL on 2 nodes, was SQLite, a file of one of them"),),
        ),
        (
            MARIADB,
            None,
            2,
            "127.0.0.1",
            (("GANTRY_API_KEY", "must not be the development key on 2 nodes: set a key of your own"),),
        ),
        (
            None,
            None,
            1,
            "0.0.0.0",
            (
                (
                    "GANTRY_API_KEY",
                    "must not be the development key where the service listens on 0.0.0.0: "
                    "set a key of your own, or http_options.host to 127.0.0.1",
                ),
            ),
        ),
    ],
)
def test_what_is_safe_on_one_machine_only_is_refused(
    url: str | None, key: str | None, nodes: int, host: str, faults: tuple[tuple[str, str], ...]
) -> None:
    """SQLite and the development key on more than one node, and the key wherever strangers can connect."""
    given = {"database_url": url, "api_key": key}
    settings = load_settings(_env_file=None, **{name: value for name, value in given.items() if value is not None})
    if not faults:
        require_shareable(settings, node_count=nodes, host=host)
        return
    with pytest.raises(InvalidSettings) as refused:
        require_shareable(settings, node_count=nodes, host=host)
    assert refused.value.reasons == faults


@pytest.mark.parametrize(("nodes", "place", "is_lost"), [(1, "disk", False), (2, "disk", True), (2, "volume", False)])
def test_disk_of_one_node_promises_nothing_on_several(nodes: int, place: str, is_lost: bool) -> None:
    """A development cluster is told so by `/readyz`, one in production is refused."""
    given = {"database_url": MARIADB, "api_key": OWN_KEY, "acknowledge_on": place}
    settings = load_settings(_env_file=None, **given)
    production = load_settings(_env_file=None, environment="production", **given)
    require_shareable(settings, node_count=nodes, host="127.0.0.1")
    if not is_lost:
        assert lone_disk_fault(settings, nodes) is None
        require_shareable(production, node_count=nodes, host="127.0.0.1")
        return
    fault = (
        "GANTRY_ACKNOWLEDGE_ON",
        "must be database on 2 nodes, or volume where GANTRY_SPOOL_FOLDER outlives its node, was disk",
    )
    assert lone_disk_fault(settings, nodes) == fault
    with pytest.raises(InvalidSettings) as refused:
        require_shareable(production, node_count=nodes, host="127.0.0.1")
    assert refused.value.reasons == (fault,)
