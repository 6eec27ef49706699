"""One service at a time: in a data folder, and on a port from the first check on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployments.local_cluster.cluster import LOOPBACK, Address, PortTaken, free_port
from deployments.local_cluster.service import DataFolderTaken, owning_data_folder, require_rollout_folder
from deployments.rollout_control.transition_log import ControllerJournal
from deployments.settings.service import load_settings


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
