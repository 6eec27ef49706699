"""One service at a time: in a data folder, and on a port from the first check on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local_cluster.cluster import Address, PortTaken, free_port
from deployments.local_cluster.service import DataFolderTaken, checking, owning_data_folder, require_rollout_folder
from deployments.rollout_control.transition_log import ControllerJournal
from deployments.serve.environment import LOOPBACK
from deployments.settings.service import load_settings
from models.policy.artefact import ArtefactError

_IMPORTS = """
import sys
import deployments.local_cluster.service, deployments.local_cluster.cluster, deployments.commands.serve
print(sorted({"alembic", "numba", "numpy", "pymysql", "ray", "scipy", "sqlalchemy"} & sys.modules.keys()))
"""


def test_data_folder_has_one_owner(tmp_path: Path) -> None:
    """A second one is told who has it and what to do; when the first has gone, it is free."""
    settings = load_settings(data_folder=tmp_path / "data")
    with owning_data_folder(settings):
        assert settings.run_folder.stat().st_mode & 0o077 == 0
        with (
            pytest.raises(DataFolderTaken, match=f"process id {os.getpid()}: end that one, or set GANTRY_DATA_FOLDER"),
            owning_data_folder(settings),
        ):
            pass
    with owning_data_folder(settings):
        pass


def test_rollout_folder_has_one_owner(tmp_path: Path) -> None:
    """Two data folders and one folder of the rollout: the second service says so, instead of waiting for its stage."""
    shared = tmp_path / "rollout"
    settings = load_settings(data_folder=tmp_path / "data", rollout_folder=shared)
    require_rollout_folder(settings)
    journal = ControllerJournal(shared)
    journal.open()
    wanted = f"{shared} must belong to one rollout controller, another one lives: set GANTRY_ROLLOUT_FOLDER"
    with pytest.raises(DataFolderTaken, match=wanted):
        require_rollout_folder(settings)
    journal.close()
    require_rollout_folder(settings)


def test_port_is_claimed_before_it_is_bound() -> None:
    """Whoever comes second is told at once, though nobody listens there yet; another port may be claimed beside it."""
    first, second = free_port(), free_port()
    with Address(host=LOOPBACK, port=first).claimed(), Address(host=LOOPBACK, port=second).claimed():
        Address(host=LOOPBACK, port=first).require_free()
        with (
            pytest.raises(PortTaken, match=f"port {first} must be free, was claimed by another gantry"),
            Address(host=LOOPBACK, port=first).claimed(),
        ):
            pass
    with Address(host=LOOPBACK, port=first).claimed():
        pass


@pytest.mark.system
def test_launcher_imports_nothing_of_weight() -> None:
    """It waits for as long as the service lives, and what it imported stays in its memory."""
    done = subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.system
def test_checks_say_and_raise_what_a_process_of_their_own_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentences come as they are, and an error as its own class, with its words."""
    monkeypatch.setenv("GANTRY_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("GANTRY_MAX_SPOOL_BYTES", "40000000")
    said: list[str] = []
    with checking() as checked:
        checked(said.append)
    (sentence,) = said
    assert sentence.startswith("GANTRY_MAX_SPOOL_BYTES, 40,000,000, is less than twice GANTRY_MAX_BODY_BYTES")
    monkeypatch.setenv("GANTRY_MODEL_PATH", str(tmp_path / "no policy"))
    with checking() as checked, pytest.raises(ArtefactError, match="no policy"):
        checked(said.append)
