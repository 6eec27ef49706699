"""The units: understood by systemd, closed as far as they can be, with time for all that the service does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.commands.serve import DEFAULT_GRACE_SECONDS, DEFAULT_PORT
from deployments.local_cluster.cluster import FAREWELL_SECONDS
from deployments.local_cluster.service import EXIT_RAY_LOST, START_SECONDS
from deployments.settings.policy_file import OFF
from deployments.settings.service import FILE_SUFFIX, secret_names, variable_names
from tests.deployments.ops.units import (
    FOLDER,
    SERVICE,
    SERVICES,
    analyze_command,
    environment_of,
    seconds_of,
    values_of,
)

MAX_EXPOSURE = 3.0


@pytest.mark.system
@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_unit_is_hardly_exposed(path: Path) -> None:
    """By systemd's own measure, from 0 to 10."""
    done = subprocess.run(
        [analyze_command(), "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(exposure) <= MAX_EXPOSURE


@pytest.mark.system
def test_units_are_understood_by_systemd(tmp_path: Path) -> None:
    """No line that it would overlook, and each timer has its service; for our program stands another."""
    copies = []
    for path in sorted(FOLDER.iterdir()):
        copies.append(tmp_path / path.name)
        text = path.read_text(encoding="utf-8").replace("/opt/gantry/bin/gantry", sys.executable)
        copies[-1].write_text(text, encoding="utf-8")
    done = subprocess.run(
        [analyze_command(), "verify", "--man=no", *map(str, copies)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert {path.stem for path in FOLDER.glob("*.timer")} == {path.stem for path in SERVICES} - {SERVICE.stem}


def test_service_has_time_to_start_and_to_end() -> None:
    """The graces of the service fit into those of the unit, and it is restarted unless a person must look first."""
    (command,) = values_of(SERVICE, "ExecStart")
    assert command.endswith(f"gantry serve --port {DEFAULT_PORT} --grace {DEFAULT_GRACE_SECONDS:.0f}")
    assert seconds_of(SERVICE, "TimeoutStopSec") >= 2 * (DEFAULT_GRACE_SECONDS + FAREWELL_SECONDS)
    # Ray, and the replicas; the core is compiled before.
    assert seconds_of(SERVICE, "TimeoutStartSec") >= 2 * START_SECONDS
    assert values_of(SERVICE, "Restart") == ["on-failure"]
    assert values_of(SERVICE, "RestartPreventExitStatus") == ["1"] != [str(EXIT_RAY_LOST)]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_secrets_come_from_files(path: Path) -> None:
    """Each credential is the file of a setting, and no secret stands in the unit itself."""
    environment = environment_of(path)
    settings = {*variable_names().values(), *(name + FILE_SUFFIX for name in secret_names())}
    assert {name for name in environment if name.startswith("GANTRY_")} <= settings
    assert {environment[name] for name in secret_names() if name in environment} <= {OFF}
    named = {Path(value).name for name, value in environment.items() if name.endswith(FILE_SUFFIX)}
    assert named == {text.partition(":")[0] for text in values_of(path, "LoadCredential")}
