"""What travels between replicas, as bytes.

A plant has hundreds of operations and thousands of alternatives. Pickling such objects one by one takes as
long as planning them does, so problems and schedules travel as columns: a list of values for each field.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import Any, TypeVar

from env.problem import Alternative, Job, Operation, Problem
from env.schedule import Assignment, Schedule

# The last byte is the version: it goes up with any field of what travels.
_FORMAT = b"gantry\x01"
_HEADER = struct.Struct(f">{len(_FORMAT)}sQ")
_ENCODED = "_encoded"
Item = TypeVar("Item")
Columns = dict[str, list[Any]]
Parts = tuple[Callable[..., object], tuple[object, ...]]


def encode(value: object) -> bytes:
    """`value` as bytes for another process of the same cluster."""
    payload = io.BytesIO()
    payload.write(_HEADER.pack(_FORMAT, 0))
    pickler = pickle.Pickler(payload, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = copyreg.dispatch_table | {Problem: _parts_of_problem, Schedule: _parts_of_schedule}
    pickler.dump(value)
    size = payload.tell()
    payload.seek(0)
    payload.write(_HEADER.pack(_FORMAT, size))
    return payload.getvalue()


def encode_problem(problem: Problem) -> bytes:
    """The problem alone, encoded once for all who are asked about it, and kept as long as itself."""
    payload: bytes | None = vars(problem).get(_ENCODED)
    if payload is None:
        # As a cached property would keep it, of which the domain must not know.
        payload = vars(problem)[_ENCODED] = encode(problem)
    return payload


def decode(payload: bytes) -> Any:
    """What was encoded. Only for bytes from our own replicas, as for every argument of a remote call.

    Raises `ValueError` for what another version of this service has encoded, or nobody, or what is cut off, before
    anything of it is read.
    """
    if not payload.startswith(_FORMAT):
        raise ValueError(f"payload must begin with {_FORMAT!r}, began with {payload[: len(_FORMAT)]!r}")
    size = _HEADER.unpack_from(payload)[1] if len(payload) >= _HEADER.size else _HEADER.size
    if size != len(payload):
        raise ValueError(f"payload must have {size:,} bytes, as its header says, had {len(payload):,}")
    return pickle.loads(memoryview(payload)[_HEADER.size :])  # noqa: S301


def _parts_of_schedule(schedule: Schedule) -> Parts:
    return _schedule, (_columns(Assignment, schedule.assignments),)


def _schedule(assignments: Columns) -> Schedule:
    return Schedule(assignments=tuple(_rows(Assignment, assignments)))


def _parts_of_problem(problem: Problem) -> Parts:
    # Jobs that agree share one tuple of alternatives; without that, large plants would not fit into memory.
    shared = {id(operation.alternatives): operation.alternatives for operation in problem.operations}
    place_of = {identity: place for place, identity in enumerate(shared)}
    operations = _columns(Operation, problem.operations)
    operations["alternatives"] = [place_of[id(alternatives)] for alternatives in operations["alternatives"]]
    jobs = _columns(Job, problem.jobs)
    jobs["operations"] = list(map(len, jobs["operations"]))
    plant = {field.name: getattr(problem, field.name) for field in fields(Problem) if field.name != "jobs"}
    choices = list(chain.from_iterable(shared.values()))
    return _problem, (plant, jobs, operations, list(map(len, shared.values())), _columns(Alternative, choices))


def _problem(
    plant: dict[str, object], jobs: Columns, operations: Columns, choice_counts: list[int], choices: Columns
) -> Problem:
    shared = list(_split(_rows(Alternative, choices), choice_counts))
    operations["alternatives"] = [shared[place] for place in operations["alternatives"]]
    jobs["operations"] = list(_split(_rows(Operation, operations), jobs["operations"]))
    # It was checked when it was made, so it is not checked again.
    problem = object.__new__(Problem)
    vars(problem).update(plant, jobs=tuple(_rows(Job, jobs)))
    return problem


def _columns(kind: type[Item], items: Sequence[Item]) -> Columns:
    return {field.name: list(map(attrgetter(field.name), items)) for field in fields(kind)}  # type: ignore[arg-type]


def _rows(kind: type[Item], columns: Columns) -> list[Item]:
    """Objects of `kind`, field by field: as frozen as ever, and filled without a line of Python for each."""
    rows: list[Item] = list(map(object.__new__, repeat(kind, len(next(iter(columns.values()))))))
    for name, values in columns.items():
        deque(map(getattr(kind, name).__set__, rows, values), maxlen=0)
    return rows


def _split(items: list[Item], sizes: list[int]) -> Iterator[tuple[Item, ...]]:
    left = iter(items)
    return (tuple(islice(left, size)) for size in sizes)
