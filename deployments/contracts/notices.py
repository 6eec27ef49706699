"""What a request's sender should know although the request is valid: the `warnings` of an answer."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

from deployments.contracts.amounts import in_zone, seconds_after
from deployments.contracts.request import ScheduleRequest
from deployments.contracts.wire import WireModel, unknown_fields
from env.problem import Problem

MOST_WARNINGS = 50
LONGEST_NAME = 80


def unknown_field_warnings(model: WireModel) -> tuple[str, ...]:
    """One sentence for each unknown field, however many jobs carry it."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for general, exact in unknown_fields(model):
        counts[general] += 1
        first.setdefault(general, exact)
    sentences = [_unknown(general, count, first[general]) for general, count in counts.most_common(MOST_WARNINGS)]
    omitted = len(counts) - len(sentences)
    return (*sentences, *([f"{omitted:,} further unknown fields were ignored"] if omitted else []))


def lateness_warnings(problem: Problem) -> tuple[str, ...]:
    """One sentence when due dates lie before the start, where no schedule can meet them."""
    late = [operation for operation in problem.operations if (operation.due_seconds or 0) < 0]
    if not late:
        return ()
    count = f"{len(late):,} job{'s' if len(late) > 1 else ''}"
    return (f"lcd_date of {count} lies before schedule_start: late in any schedule; first is {late[0].id}",)


def release_warnings(request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> tuple[str, ...]:
    """One sentence when material arrived before the start, where it changes nothing."""
    releases = ((job.job_id, job.release_at) for job in request.jobs if job.release_at is not None)
    early = [name for name, release in releases if seconds_after(start, in_zone(release, zone)) < 0]
    if not early:
        return ()
    count = f"{len(early):,} job{'s' if len(early) > 1 else ''}"
    return (f"release_at of {count} lies before schedule_start: the material is there; first is {early[0]}",)


def _unknown(general: str, count: int, first: str) -> str:
    times = f" ({count:,} times, first at {_shortened(first)})" if count > 1 else ""
    return f"unknown field {_shortened(general)} was ignored{times}"


def _shortened(name: str) -> str:
    return json.dumps(name[:LONGEST_NAME], ensure_ascii=False)[1:-1]
