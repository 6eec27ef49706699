"""What commands on a terminal share: a console that shows words as they are, signs of life, rows that pass or fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PATIENCE_SECONDS = 2.0
NOTE_SECONDS = 15.0
"""How often a file or a pipe, which shows no display, gets a line while something lasts."""
_REFRESH_SECONDS = 0.5


def plain_console(file_width: int | None = None) -> Console:
    """A console on stdout, as wide as its terminal; `file_width` columns where that is none.

    Names and reasons are other people's words: brackets and colons in them are neither style nor emoji.
    """
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if file_width is not None and not console.is_terminal:
        console.width = file_width
    return console


def number_of(count: int, thing: str) -> str:
    """ "1 decision", "1,200 decisions"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


@contextmanager
def progress_bar(
    console: Console | None = None, *, is_kept: bool = False, patience_seconds: float = PATIENCE_SECONDS
) -> Iterator[Progress]:
    """A bar for each task that is added, on a terminal alone, and once the work takes longer than the patience.

    On stderr, unless another console is given. It goes when the work is done, unless `is_kept`.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = console or Console(stderr=True)
    columns = (BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        *columns,
        console=console,
        transient=not is_kept,
        disable=not console.is_interactive,
    )
    begin = threading.Timer(patience_seconds, bar.start)
    begin.start()
    try:
        yield bar
    finally:
        begin.cancel()
        begin.join()
        bar.stop()


@contextmanager
def counted(words: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar for one task; gives what moves it on, by one unless told by how many."""
    with progress_bar() as bar:
        task = bar.add_task(words, total=total)
        yield lambda count=1: bar.advance(task, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One thing that was looked at: what was seen, and what to do where it is not as it must be."""

    subject: str
    passes: bool
    seen: str
    remedy: str = ""


def report_checks(rows: Sequence[CheckRow], *, as_json: bool) -> None:
    """Prints a line for each row, or one JSON object. Exits with 1 when a row fails."""
    import typer

    failed = [row for row in rows if not row.passes]
    if as_json:
        print(json.dumps({"passes": not failed, "checks": [asdict(row) for row in rows]}, indent=2))
    else:
        width = max(len(row.subject) for row in rows)
        for row in rows:
            print(f"{'PASS' if row.passes else 'FAIL'}  {row.subject:<{width}}  {row.seen}")
            if not row.passes and row.remedy:
                print(f"      {'':<{width}}  -> {row.remedy}")
        print(f"{number_of(len(rows), 'check')}, {len(failed)} failed")
    if failed:
        raise typer.Exit(1)


class StepDisplay:
    """The steps of something that may take minutes, each a line with the seconds since the beginning in front.

    While a step lasts, `console`, where it is a terminal, shows its seconds running; where it is none, or None, there
    is a line every `note_seconds`. `print_line` prints a line.
    """

    def __init__(
        self,
        print_line: Callable[[str], None],
        console: Console | None = None,
        *,
        note_seconds: float = NOTE_SECONDS,
    ) -> None:
        self._print_line = print_line
        self._console = console
        self._note_seconds = note_seconds
        self._begun = time.monotonic()

    def say(self, line: str) -> None:
        """Tell what has happened."""
        self._print_line(f"[{time.monotonic() - self._begun:5.1f} s] {line}")

    @contextmanager
    def lasting(self, words: str, detail: Callable[[], str] = str) -> Iterator[None]:
        """Around one step; `detail` says how far it is, and is asked again and again."""
        self.say(f"{words} ...")
        begun = time.monotonic()

        def note() -> None:
            far = f", {said}" if (said := detail()) else ""
            self.say(f"{words}: {time.monotonic() - begun:.0f} s so far{far}")

        with _signs_of_life(
            lambda: f"{words} {detail()}", note, self._console, patience_seconds=0.0, note_seconds=self._note_seconds
        ):
            yield


@contextmanager
def compilation_shown(
    console: Console | None = None,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    note_seconds: float = NOTE_SECONDS,
) -> Iterator[None]:
    """Around what may have to compile the core: says how far that is; nothing where the cache has it. On stderr."""
    from rich.console import Console

    from env.simulator.compilation import watched_compilation

    shown = console or Console(stderr=True)
    words = ""

    def on_function(count: int, total: int) -> None:
        nonlocal words
        words = f"compiling the core (the first time only, some minutes): {count} functions of at most {total}"

    def note() -> None:
        if words:
            shown.print(words, markup=False, emoji=False, soft_wrap=True)

    with (
        watched_compilation(on_function),
        _signs_of_life(lambda: words, note, shown, patience_seconds=patience_seconds, note_seconds=note_seconds),
    ):
        yield


@contextmanager
def _signs_of_life(
    words: Callable[[], str],
    note: Callable[[], None],
    console: Console | None,
    *,
    patience_seconds: float,
    note_seconds: float,
) -> Iterator[None]:
    """On a terminal `words` with running seconds, once there are any; elsewhere a `note` every so many seconds."""
    is_over = threading.Event()

    def take_notes() -> None:
        while not is_over.wait(note_seconds):
            note()

    def run_seconds(terminal: Console) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        pause = patience_seconds
        while not is_over.wait(pause) and not words():
            pause = _REFRESH_SECONDS
        if is_over.is_set():
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=terminal, transient=True) as bar:
            task = bar.add_task(words(), total=None)
            while not is_over.wait(_REFRESH_SECONDS):
                bar.update(task, description=words())

    is_terminal = console is not None and console.is_interactive
    thread = threading.Thread(
        target=run_seconds if is_terminal else take_notes,
        args=(console,) if is_terminal else (),
        daemon=True,
        name="signs of life",
    )
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
