"""`gantry cluster`: what nodes need, as a shell takes it, and what they lack, row by row."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.serve import rows_of_nodes, rows_of_routers
from deployments.local_cluster.service import DataFolderTaken, owning_data_folder
from deployments.persistence.database import upgrade
from deployments.serve.environment import PROXY_VARIABLE, cluster_variables
from deployments.serve.process import DrainNotice
from deployments.settings.service import load_settings

OWN_KEY = "a-key-of-the-plant-that-is-long-enough"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node with a data folder of its own and none of our variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GANTRY_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("GANTRY_API_KEY", OWN_KEY)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in cluster_variables(tmp_path):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.system
def test_environment_is_what_a_shell_takes(node: Path) -> None:
    """Sourced, the lines give what `--json` says; the proxy's program is there, and no secret is."""
    lines = CliRunner().invoke(app, ["cluster", "env"])
    assert lines.exit_code == 0, lines.output
    assert OWN_KEY not in lines.output
    assert "# GANTRY_API_KEY: a secret: set it on each node" in lines.output
    done = subprocess.run(["env", "-i", "sh", "-c", f"{lines.output}\nenv"], capture_output=True, text=True, check=True)
    sourced = dict(line.split("=", 1) for line in done.stdout.splitlines())
    document = json.loads(CliRunner().invoke(app, ["cluster", "env", "--json"]).stdout)
    assert document["environment"].items() <= sourced.items()
    assert document["environment"]["GANTRY_DATA_FOLDER"] == str(node / "data")
    assert document["secrets"] == ["GANTRY_API_KEY"]
    program = Path(sourced[PROXY_VARIABLE])
    assert program.parent == node / "data" / "run"
    assert program.stat().st_mode & 0o777 == 0o700
    assert f"ray start --head --port={document['ray_start']['head']['port']} " in lines.output


def test_data_folder_is_a_clusters_or_a_services(node: Path) -> None:
    """What a service that has ended left stops no router of a cluster; beside a living one nothing is printed."""
    settings = load_settings()
    notice = DrainNotice(settings.run_folder)
    with owning_data_folder(settings):
        notice.give()
        refused = CliRunner().invoke(app, ["cluster", "env"])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert isinstance(refused.exception, DataFolderTaken)
    assert notice.is_given
    assert CliRunner().invoke(app, ["cluster", "env"]).exit_code == 0
    assert not notice.is_given


def test_node_that_lacks_everything_is_told_so(node: Path) -> None:
    """Exit 1, and a row with a remedy for each variable, the token and the schema."""
    found = CliRunner().invoke(app, ["cluster", "check", "--json"])
    assert found.exit_code == 1
    rows = {row["subject"].partition(": ")[2] or row["subject"]: row for row in json.loads(found.stdout)["checks"]}
    failed = {name for name, row in rows.items() if not row["passes"]}
    assert failed - {"compiled core"} == {*cluster_variables(node), "token", "database"}
    assert "`gantry db upgrade`" in rows["database"]["seen"]
    assert all(row["remedy"] for row in rows.values() if not row["passes"])


def test_node_that_has_everything_passes(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the printed environment, a token, and the schema."""
    document = json.loads(CliRunner().invoke(app, ["cluster", "env", "--json"]).stdout)
    for name, value in document["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "word")
    upgrade(load_settings().database_url.get_secret_value())
    found = CliRunner().invoke(app, ["cluster", "check", "--json"])
    rows = json.loads(found.stdout)["checks"]
    # Whether the core is compiled is of the machine.
    assert [row for row in rows if not row["passes"] and row["subject"] != "compiled core"] == []


def facts(host: str, **changes: Any) -> dict[str, Any]:
    """What a node in order says of itself."""
    return {
        "version": 1,
        "host": host,
        "python": "3.11.9",
        "ray": "2.60.0",
        "gantry": "0.2.0",
        "lacks": [],
        "has_token": True,
        "settings_faults": [],
        "settings_digests": {"GANTRY_API_KEY": "1", "GANTRY_PLANT_ID": "2"},
        "data_folder": "/var/lib/gantry",
        "is_sqlite": False,
        "is_development_key": False,
    } | changes


def test_nodes_in_order_pass() -> None:
    """Each has its rows, and the cluster those of what more than one node must not have."""
    rows = list(rows_of_nodes([facts("one"), facts("two")]))
    assert [row for row in rows if not row.passes] == []
    assert "two: same settings" in {row.subject for row in rows}


@pytest.mark.parametrize(
    ("changes", "subject", "seen"),
    [
        ({"gantry": "0.1.0"}, "two: versions", "Gantry 0.1.0, Python 3.11.9, Ray 2.60.0"),
        ({"lacks": [("RAY_AUTH_MODE", "nothing", "token")]}, "two: RAY_AUTH_MODE", "must be token, was nothing"),
        ({"has_token": False}, "two: token", "none"),
        ({"settings_faults": ["GANTRY_API_KEY: bad"], "settings_digests": {}}, "two: settings", "GANTRY_API_KEY: bad"),
        (
            {"settings_digests": {"GANTRY_API_KEY": "3", "GANTRY_PLANT_ID": "2"}},
            "two: same settings",
            "GANTRY_API_KEY unlike one",
        ),
        ({"is_sqlite": True}, "GANTRY_DATABASE_URL", "SQLite, which is a file of one node, on two"),
        ({"is_development_key": True}, "GANTRY_API_KEY", "the development key, on two"),
    ],
)
def test_node_that_is_unlike_the_others_is_named(changes: dict[str, Any], subject: str, seen: str) -> None:
    """One row fails, and says what was seen and what to do."""
    (row,) = [row for row in rows_of_nodes([facts("one"), facts("two", **changes)]) if not row.passes]
    assert (row.subject, row.seen) == (subject, seen)
    assert row.remedy


def test_one_node_may_have_what_several_must_not() -> None:
    """SQLite and the development key are for a machine of one's own."""
    assert all(row.passes for row in rows_of_nodes([facts("one", is_sqlite=True, is_development_key=True)]))


@pytest.mark.parametrize(
    ("nodes", "count", "passes", "seen"),
    [
        (["a", "b"], 2, True, "2 routers on 2 nodes of 2"),
        (["a", "a"], 2, False, "2 routers on 1 node of 2"),
        (["a", "a"], 1, True, "2 routers on 1 node of 1"),
        ([], 1, False, "0 routers on 0 nodes of 1"),
    ],
)
def test_routers_must_be_on_as_many_nodes_as_they_can(nodes: list[str], count: int, passes: bool, seen: str) -> None:
    """Two on one node of two would die together."""
    routers = [{"node_id": node} for node in nodes]
    application = {"status": "RUNNING", "message": "", "deployments": {"RequestRouter": {"replicas": routers}}}
    state, spread = rows_of_routers({"applications": {"gantry": application}}, count)
    assert (state.passes, state.seen) == (True, "RUNNING")
    assert (spread.passes, spread.seen) == (passes, seen)


def test_application_that_was_refused_tells_why() -> None:
    """The row has the sentence of the refusal."""
    application = {
        "status": "DEPLOY_FAILED",
        "message": "failed with exception:\nGANTRY_API_KEY: bad",
        "deployments": {},
    }
    state, _ = rows_of_routers({"applications": {"gantry": application}}, 1)
    assert (state.passes, state.seen) == (False, "DEPLOY_FAILED failed with exception: GANTRY_API_KEY: bad")
