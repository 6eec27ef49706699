"""Events of corruption reach whoever must act on them."""

from __future__ import annotations

import logging

import pytest

from deployments.persistence.errors import CorruptionEvent, CorruptionLog, FoundBy

EVENT = CorruptionEvent(found_by=FoundBy.SAMPLE, detail="payload of decision 7 must have SHA-256 a, was b")


def test_event_is_counted_logged_and_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    """Each listener hears each event that comes after it began to listen."""
    log, heard = CorruptionLog(), []
    log.report(EVENT)
    log.listen(heard.append)
    with caplog.at_level(logging.ERROR):
        log.report(EVENT)
    assert (log.count, log.last, heard) == (2, EVENT, [EVENT])
    assert "corruption found by sample: payload of decision 7" in caplog.text
