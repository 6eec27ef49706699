"""The rotation of logs: a real logrotate moves them away while lines come."""

from __future__ import annotations

import gzip
import logging
import subprocess
import threading
import time
from pathlib import Path

import pytest

from deployments.local_cluster.processes import OWN_LOG, keep_lines
from tests.deployments.ops.test_prometheus import ROOT
from tests.deployments.ops.units import SERVICE, environment_of, logrotate_command

CONFIGURATION = ROOT / "deployments" / "ops" / "logrotate" / "gantry"
# Names of rotated files have the second in them.
PAUSE_SECONDS = 1.1


def rotate(run_folder: Path, state: Path) -> None:
    """logrotate by the shipped file, for this folder and this user, at once."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    place = f"{environment_of(SERVICE)['GANTRY_DATA_FOLDER']}/run"
    assert place in text
    own = state.with_suffix(".conf")
    text = text.replace(place, str(run_folder)).replace(
        "su gantry gantry", f"su {run_folder.owner()} {run_folder.group()}"
    )
    own.write_text(text, encoding="utf-8")
    own.chmod(0o600)
    done = subprocess.run(
        [logrotate_command(), "--force", "--state", str(state), str(own)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def lines_of(run_folder: Path) -> list[str]:
    """All lines of our log, whichever file they are in by now."""
    found = []
    for path in run_folder.glob(f"{OWN_LOG}*"):
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            found += file.read().splitlines()
    return found


@pytest.mark.system
def test_no_line_is_lost_while_logs_are_rotated(tmp_path: Path) -> None:
    """Each line is there once, and those that come after a rotation are in the new file."""
    run_folder = tmp_path / "run"
    run_folder.mkdir(mode=0o700)
    logger = logging.getLogger("gantry.rotated")
    keep_lines(logger, run_folder / OWN_LOG)
    is_over, count = threading.Event(), 0

    def write() -> None:
        nonlocal count
        while not is_over.is_set():
            logger.info("line %d", count)
            count += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            time.sleep(PAUSE_SECONDS)
            rotate(run_folder, tmp_path / "state")
    finally:
        time.sleep(0.1)
        is_over.set()
        thread.join()
    logger.info("line %d", count)
    assert (run_folder / OWN_LOG).read_text(encoding="utf-8").endswith(f"line {count}\n")
    assert (run_folder / OWN_LOG).stat().st_mode & 0o777 == 0o600
    assert len(list(run_folder.glob("*.gz"))) == 2
    assert sorted(lines_of(run_folder)) == sorted(f"line {number}" for number in range(count + 1))
    logger.handlers[0].close()


def test_log_goes_on_when_its_folder_was_away(tmp_path: Path) -> None:
    """As when the disk is full after a rotation: who logs meanwhile is not troubled, and the next line is there."""
    run_folder, away = tmp_path / "run", tmp_path / "away"
    run_folder.mkdir(mode=0o700)
    logger = logging.getLogger("gantry.away")
    keep_lines(logger, run_folder / OWN_LOG)
    logger.info("before")
    run_folder.rename(away)
    for line in ("lost", "lost too"):
        logger.info(line)
    run_folder.mkdir(mode=0o700)
    logger.info("after")
    assert (lines_of(away), lines_of(run_folder)) == (["before"], ["after"])
