"""What commands on a terminal share: a console that shows words as they are, and a progress bar."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PATIENCE_SECONDS = 2.0


def plain_console(file_width: int | None = None) -> Console:
    """A console on stdout, as wide as its terminal; `file_width` columns where that is none.

    Names and reasons are other people's words: brackets and colons in them are neither style nor emoji.
    """
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if file_width is not None and not console.is_terminal:
        console.width = file_width
    return console


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
