"""What commands on a terminal share: a console that shows words as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def plain_console(file_width: int | None = None) -> Console:
    """A console on stdout, as wide as its terminal; `file_width` columns where that is none.

    Names and reasons are other people's words: brackets and colons in them are neither style nor emoji.
    """
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if file_width is not None and not console.is_terminal:
        console.width = file_width
    return console
