"""The setup matrix of a request: changeovers between setup groups, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator

from deployments.contracts.amounts import seconds_of
from deployments.contracts.request import ScheduleRequest
from env.problem import Changeover

Reason = tuple[str, str]


def changeovers(request: ScheduleRequest) -> tuple[Changeover, ...]:
    """The setup matrix in the words of the domain."""
    return tuple(
        Changeover(before=entry.from_, after=entry.to, setup_seconds=seconds_of(entry.hours))
        for entry in request.setup_matrix or ()
    )


def setup_reasons(request: ScheduleRequest) -> Iterator[Reason]:
    """(field, message) of each group that no job has, where it is named first, and of each pair that repeats."""
    groups = {job.setup_group for job in request.jobs}
    unknown: set[str] = set()
    first: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(request.setup_matrix or ()):
        for field, group in (("from", entry.from_), ("to", entry.to)):
            if group not in groups and group not in unknown:
                unknown.add(group)
                yield f"setup_matrix[{index}].{field}", f"must be the setup_group of a job, was {group!r}"
        pair = (entry.from_, entry.to)
        if pair in first:
            message = f"must be unique, {entry.from_!r} to {entry.to!r} is also setup_matrix[{first[pair]}]"
            yield f"setup_matrix[{index}]", message
        first.setdefault(pair, index)


def setup_warnings(request: ScheduleRequest) -> tuple[str, ...]:
    """One sentence when jobs have a setup group that changes nothing, because no changeover names it."""
    listed = {group for entry in request.setup_matrix or () for group in (entry.from_, entry.to)}
    silent = [job for job in request.jobs if job.setup_group is not None and job.setup_group not in listed]
    if not silent:
        return ()
    count = f"{len(silent):,} job{'s' if len(silent) > 1 else ''}"
    example = f"{silent[0].job_id} ({silent[0].setup_group})"
    return (
        f"setup_group of {count} is not in setup_matrix: changing over to them takes setup_time; first is {example}",
    )
