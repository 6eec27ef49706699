"""Keeps the event loop free of work that grows with the request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

LARGE_BODY_BYTES = 64 * 1024
"""Bodies below this are worked on in place: some hundred jobs take less time than a change of thread is worth."""


async def off_loop(body_bytes: int, work: Callable[[], Result]) -> Result:
    """The result of `work`, which takes time in proportion to a body of `body_bytes`."""
    return work() if body_bytes < LARGE_BODY_BYTES else await asyncio.to_thread(work)
