"""A rollback on local disk: written before anybody is told of it, read when a router starts.

One file for all routers of a node, because a rollback by one of them must survive its replacement.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from deployments.rollout.errors import UnreadableState
from deployments.rollout.latch import Latch
from deployments.rollout.state import GUARDRAIL
from deployments.steering.whole_file import sync_folder, write_whole

NAME = "rollout.latch"
_log = logging.getLogger(__name__)


class LatchFile:
    """Blocking: call it in a thread. Raises `OSError` as the disk does."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def stamp(self) -> int:
        """Changes whenever the latch does; 0 without one."""
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0

    def read(self, now: datetime, router: str) -> Latch | None:
        """The latch that is set, None when none is. One that cannot be read is one all the same, of any ramp."""
        try:
            return Latch.from_json(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (UnreadableState, ValueError, TypeError, OSError) as error:
            _log.error("the latch %s cannot be read, so the router stays rolled back: %s", self._path, error)
            reason = f"the latch file cannot be read: {error}"
            return unknown_latch(now=now, router=router, actor=GUARDRAIL, reason=reason)

    def write(self, latch: Latch) -> None:
        """The latch is on the medium when this returns; an older one is replaced as a whole."""
        write_whole(self._path, json.dumps(latch.as_json()))

    def clear(self, below_ramp: int) -> None:
        """Removes the latch if it is of an earlier ramp than `below_ramp`: a person has started again."""
        try:
            latch = Latch.from_json(json.loads(self._path.read_text(encoding="utf-8")))
        except (FileNotFoundError, UnreadableState, ValueError, TypeError):
            latch = None
        if latch is None or latch.ramp < below_ramp:
            self._path.unlink(missing_ok=True)
            sync_folder(self._path.parent)


def unknown_latch(*, now: datetime, router: str, actor: str, reason: str) -> Latch:
    """A rollback by a router that knows no state: it holds against whichever it hears of first."""
    return Latch(ramp=0, version=0, at=now, router=router, actor=actor, reason=reason)


def of_ramp(latch: Latch, ramp: int, version: int) -> Latch:
    """A latch of unknown ramp, now that the ramp is known; any other as it is."""
    return latch if latch.ramp else replace(latch, ramp=ramp, version=version)
