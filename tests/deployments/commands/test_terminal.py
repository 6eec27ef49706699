"""What commands on a terminal share."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from deployments.commands.terminal import StepDisplay, progress_bar

# One function, and a moment in which it is told of.
_COMPILES = """
import time
import numpy as np
from deployments.commands.terminal import compilation_shown
from env.simulator.calendar_fit import setup_between
with compilation_shown(note_seconds=0.1):
    setup_between(np.zeros((1, 1, 1), dtype=np.int64), 0, 0, 0, 5)
    time.sleep(0.5)
"""


def terminal() -> tuple[Console, io.StringIO]:
    """A terminal, and what is on it."""
    screen = io.StringIO()
    return Console(file=screen, force_terminal=True, width=120), screen


def test_quick_work_shows_no_bar() -> None:
    """Nothing flickers, and no empty line is left, whether or not the bar would stay."""
    for is_kept in (False, True):
        console, screen = terminal()
        with progress_bar(console, is_kept=is_kept) as bar:
            bar.advance(bar.add_task("quick", total=1))
        assert screen.getvalue() == ""


def test_work_that_takes_longer_shows_a_bar() -> None:
    """With the words as they are, and how much is done."""
    console, screen = terminal()
    with progress_bar(console, patience_seconds=0.0) as bar:
        bar.advance(bar.add_task("[red] jobs :smile:", total=4))
        deadline = time.monotonic() + 20
        while "[red] jobs :smile:" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        bar.refresh()
    assert "25% 1/4" in " ".join(_plain(screen.getvalue()).split())


def test_bar_goes_when_the_work_is_done_unless_it_is_kept() -> None:
    """A bar that says how good a training was stays to be read."""
    for is_kept in (False, True):
        console, screen = terminal()
        with progress_bar(console, is_kept=is_kept, patience_seconds=0.0) as bar:
            bar.add_task("training", total=4)
            while "training" not in screen.getvalue():
                time.sleep(0.01)
        erases_at_the_end = screen.getvalue().endswith("\x1b[2K")
        assert erases_at_the_end is not is_kept


def test_file_gets_no_bar() -> None:
    """However long it takes: a log is read later."""
    file = io.StringIO()
    with progress_bar(Console(file=file), patience_seconds=0.0) as bar:
        bar.add_task("words", total=1)
        time.sleep(0.05)
    assert file.getvalue() == ""


def _plain(text: str) -> str:
    """Without colours."""
    return "".join(part.partition("m")[2] if number else part for number, part in enumerate(text.split("\x1b[")))


def test_step_that_lasts_is_a_line_every_while_where_nobody_watches() -> None:
    """With the seconds of the step, and how far it is; a step that is over says nothing more."""
    lines: list[str] = []
    display = StepDisplay(lines.append, note_seconds=0.02)
    with display.lasting("compiling", lambda: "57 of 170 functions"):
        _await(lambda: len(lines) >= 3)
    told = len(lines)
    time.sleep(0.06)
    assert len(lines) == told
    assert [line.partition("] ")[2] for line in lines[:2]] == [
        "compiling ...",
        "compiling: 0 s so far, 57 of 170 functions",
    ]


def test_step_that_lasts_runs_on_a_terminal() -> None:
    """Its seconds stand beside it, and go with it; the lines stay as they are."""
    console, screen = terminal()
    lines: list[str] = []
    with StepDisplay(lines.append, console, note_seconds=0.02).lasting("compiling", lambda: "57 of 170 functions"):
        _await(lambda: "compiling 57 of 170 functions" in _plain(screen.getvalue()))
    assert "0:00:00" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")
    assert len(lines) == 1


@pytest.mark.system
def test_first_command_says_that_it_compiles(tmp_path: Path) -> None:
    """How many functions of how many, every while; where the cache has them nothing is said."""

    def said() -> str:
        done = subprocess.run(
            [sys.executable, "-c", _COMPILES],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stderr

    assert "compiling the core (the first time only, some minutes): " in said()
    assert said() == ""


def _await(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holds()
