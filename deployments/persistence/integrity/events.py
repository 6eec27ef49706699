"""Corruption: a payload that is not what its digest says, or a second one under a decision's id.

Whoever finds one reports it here. The log counts it, raises the alarm and tells its listeners, of which
the guardrail of the rollout is one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

_log = logging.getLogger(__name__)


class FoundBy(StrEnum):
    """Who found it: a reader of the decision, the background sample, the writer, or the spool."""

    READ = "read"
    SAMPLE = "sample"
    WRITE = "write"
    SPOOL = "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionEvent:
    """One finding; `detail` names the decision and both digests, or the damaged place."""

    found_by: FoundBy
    detail: str


CorruptionListener = Callable[[CorruptionEvent], None]


class CorruptionLog:
    """All events of this process. `report` is for the event loop's thread and never blocks."""

    def __init__(self) -> None:
        self.count = 0
        self.last: CorruptionEvent | None = None
        self._listeners: list[CorruptionListener] = []

    def listen(self, listener: CorruptionListener) -> None:
        """`listener` is told each further event; it must neither block nor raise."""
        self._listeners.append(listener)

    def report(self, event: CorruptionEvent) -> None:
        """Count it, log it as an alarm and pass it on."""
        self.count += 1
        self.last = event
        _log.error("corruption found by %s: %s", event.found_by.value, event.detail, extra={"alarm": "corruption"})
        for listener in self._listeners:
            listener(event)

    def found_by_writer(self, detail: str) -> None:
        """Report a second payload under a decision's id."""
        self.report(CorruptionEvent(found_by=FoundBy.WRITE, detail=detail))
