"""What commands on a terminal share."""

from __future__ import annotations

import io
import time

from rich.console import Console

from deployments.commands.terminal import progress_bar


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
