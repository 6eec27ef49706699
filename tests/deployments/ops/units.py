"""The shipped units of systemd, as a test reads them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.deployments.ops.test_prometheus import ROOT
from tests.requirements import not_run

FOLDER = ROOT / "deployments" / "ops" / "systemd"
SERVICE = FOLDER / "gantry.service"
SERVICES = sorted(FOLDER.glob("*.service"))
CREDENTIALS = "/run/credentials/gantry.service"
"""Where systemd puts what `LoadCredential` names; `%d` in a unit."""
_SECONDS = {"s": 1, "min": 60, "h": 3600}


def values_of(path: Path, key: str) -> list[str]:
    """What the unit says of `key`, in order."""
    return re.findall(rf"^{key}=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)


def seconds_of(path: Path, key: str) -> int:
    """A span of time that the unit names once."""
    (text,) = values_of(path, key)
    number, unit = re.fullmatch(r"(\d+)(s|min|h)", text).groups()  # type: ignore[union-attr]
    return int(number) * _SECONDS[unit]


def environment_of(path: Path) -> dict[str, str]:
    """The variables that the unit sets, with the place of its credentials filled in."""
    pairs = (text.replace("%d", CREDENTIALS).partition("=") for text in values_of(path, "Environment"))
    return {name: value for name, _, value in pairs}


def analyze_command() -> str:
    """The program that reads units; without it the calling test does not run."""
    return shutil.which("systemd-analyze") or not_run("systemd", "systemd-analyze is not installed")


def sandbox_command() -> str:
    """bubblewrap; without it the calling test does not run."""
    return shutil.which("bwrap") or not_run("bubblewrap", "bwrap is not installed")


def logrotate_command() -> str:
    """logrotate; without it the calling test does not run."""
    return shutil.which("logrotate", path="/usr/sbin:/usr/bin") or not_run("logrotate", "logrotate is not installed")
