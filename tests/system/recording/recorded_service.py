"""The service that is recorded: fresh, with a plant in its database, keys, a second policy, and faults on demand.

Its policy is the published one, but for requests whose name begins with a fault.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system.recording.catalogue import ASKED_PER_DAY
from tests.system.recording.plants import project_file
from tests.system.recording.request import Holder
from tests.system.recording.schedules import CANDIDATE, PENANG
from tests.system.serving import COMMAND, HEADERS, config_with, environment, running_service

VARIABLES = {
    # Its clocks go forward and back within the year.
    "GANTRY_PLANT_TIMEZONE": "Europe/Berlin",
    "GANTRY_CORS_ORIGINS": "https://planner.example",
    "GANTRY_RATE_LIMIT": f"{ASKED_PER_DAY}/day",
    "GANTRY_BODY_TIMEOUT_SECONDS": "4",
    # Nothing of what is compared in the background may be dropped, however busy the machine is.
    "GANTRY_COUNTERFACTUAL_QUEUE": "10000",
}
_KEYS: Mapping[Holder, tuple[str, ...]] = {
    Holder.READER: ("--client", "default", "--all-plants", "--scope", "read"),
    Holder.PLANNER: ("--client", "default", "--plant", PENANG, "--scope", "schedule"),
    Holder.RESPONDER: ("--client", "responder", "--all-plants", "--scope", "rollback"),
    Holder.STRANGER: ("--client", "stranger", "--all-plants", "--scope", "schedule", "--scope", "read"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedService:
    """Where it listens, and whose key is which."""

    url: str
    keys: Mapping[Holder, str]


@contextmanager
def recorded_service(folder: Path) -> Iterator[RecordedService]:
    """A service in an empty folder, ended with the block."""
    for kind in ("machines", "jobs", "calendar"):
        _run(folder, "db", "import", kind, str(project_file(f"{kind}.csv")), "--plant", PENANG)
    keys = {holder: _created_key(folder, holder) for holder in _KEYS} | {Holder.OPERATOR: HEADERS["X-API-Key"]}
    _lay_out_candidate(folder / "data" / "models")
    # One router: each has its own part of a rate, and its own history of a plant.
    config = config_with(folder, "tests.system.faults:build_alone", {"RequestRouter": 1})
    with running_service(folder, variables=VARIABLES, config=config) as service:
        yield RecordedService(url=service.url, keys=keys)


def _created_key(folder: Path, holder: Holder) -> str:
    key: str = json.loads(_run(folder, "keys", "create", "--name", holder, *_KEYS[holder], "--json"))["key"]
    return key


def _lay_out_candidate(models: Path) -> None:
    """The published policy under another name, so under another id and hash."""
    name, version = CANDIDATE.split("@")
    target = models / name
    shutil.copytree(project_file("full_production/manifest.json").parent, target)
    manifest: dict[str, Any] = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    text = json.dumps(manifest | {"name": name, "version": int(version)})
    (target / "manifest.json").write_text(text, encoding="utf-8")


def _run(folder: Path, *words: str) -> str:
    """What a command of `gantry` says, in the surroundings of the service."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=folder,
        env=environment(folder, VARIABLES),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
