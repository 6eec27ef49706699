"""Benchmark files as found in the wild, read as the one format that fits the whole of them.

A suffix that names a text format decides; without one, exactly one format must fit. JSON is told by its fields:
that of job_shop_lib, and two of the ScheduleOpt benchmarks. Operation ids are `<job>-<operation>` from 0, machine
ids the file's own numbers, from 1 where no operation names machine 0. The file's unit of time becomes one second.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env.errors import BenchmarkFormatError
from env.instances.formats import MAX_NUMBER, TEXT_READERS, Misfit, Shop, Step, assembled, numbered_lines
from env.problem import Problem

MAX_FILE_BYTES = 64 * 2**20
MAX_MACHINES = 5_000
LIMITS = {
    "release_dates_matrix": "release_seconds",
    "due_dates_matrix": "due_seconds",
    "deadlines_matrix": "deadline_seconds",
}
"""Fields of job_shop_lib for single operations."""
JOB_SHOP_LIB = {"name", "metadata", "duration_matrix", "machines_matrix", *LIMITS}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkFile:
    """What a file holds, and in one line how it was understood."""

    problem: Problem
    understood: str


def read_benchmark(path: Path, max_machines: int = MAX_MACHINES) -> BenchmarkFile | None:
    """The problem in a benchmark file, None when it is JSON of another kind, or should be by its suffix.

    Raises `BenchmarkFormatError`, which names file and line and what was expected there, or what no schedule can
    be made for yet.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BenchmarkFormatError(f"{path.name}: must have at most {MAX_FILE_BYTES // 2**20} MiB")
    try:
        text = _decoded(path.read_bytes())
        if text.lstrip()[:1] in {"{", "["}:
            shop = _from_json(text, max_machines)
            return None if shop is None else _benchmark_file(path, shop)
        if path.suffix.casefold() == ".json":
            return None
        return _benchmark_file(path, _from_text(text, path, max_machines))
    except Misfit as misfit:
        raise BenchmarkFormatError(f"{path.name}{_at(misfit)}: {misfit.message}") from misfit


def _benchmark_file(path: Path, shop: Shop) -> BenchmarkFile:
    if shop.refused:
        raise Misfit(f"is {shop.refused}")
    return BenchmarkFile(problem=shop.problem(path.stem), understood=f"{path.name}: {shop.summary}")


def _at(misfit: Misfit) -> str:
    return "" if misfit.line is None else f", line {misfit.line}"


def _decoded(content: bytes) -> str:
    """Text in UTF-8, in UTF-16 with its byte order mark, or else in Latin-1, in which every byte is a character."""
    encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _from_text(text: str, path: Path, max_machines: int) -> Shop:
    named = path.suffix.casefold().removeprefix(".")
    try:
        lines = numbered_lines(text)
    except Misfit as misfit:
        if named in TEXT_READERS:
            raise
        raise _no_fit({"any": misfit}) from misfit
    fits: dict[str, Shop] = {}
    misfits: dict[str, Misfit] = {}
    # The others are tried as well when the one of the suffix does not fit, only to say so.
    for name in sorted(TEXT_READERS, key=lambda each: each != named):
        try:
            shop = TEXT_READERS[name](lines, max_machines)
            if not shop.refused:
                shop.problem(path.stem)
            fits[name] = shop
        except Misfit as misfit:
            misfits[name] = misfit
        if name == named and name in fits:
            return shop
    if named in misfits:
        hint = f"; it would fit {_either(fits)}" if fits else ""
        raise Misfit(misfits[named].message + hint, misfits[named].line)
    if len(fits) == 1:
        return next(iter(fits.values()))
    if fits:
        raise Misfit(f"fits {' and '.join(fits)}: the suffix must say which, {_either(fits)}")
    raise _no_fit(misfits)


def _no_fit(misfits: Mapping[str, Misfit]) -> Misfit:
    """What no format makes anything of; when all stumble on the same, that."""
    said = {(misfit.line, misfit.message) for misfit in misfits.values()}
    if len(said) == 1:
        ((line, message),) = said
        return Misfit(f"is neither JSON nor a benchmark file that is known here: {message}", line)
    return Misfit(
        "is neither JSON nor a benchmark file that is known here"
        + "".join(f"; {name}{_at(each)}: {each.message}" for name, each in misfits.items())
    )


def _either(fits: Mapping[str, Shop]) -> str:
    return " or ".join(f".{name}" for name in fits)


def _from_json(text: str, max_machines: int) -> Shop | None:
    """The shop in a JSON text, None when its fields are of no benchmark format."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    shop = None
    for marks, read in _JSON_READERS:
        if marks <= document.keys():
            shop = read(document)
    if shop is None:
        several = sum(isinstance(each, dict) and "duration_matrix" in each for each in document.values())
        if several:
            raise Misfit(f"must hold one instance of job_shop_lib, holds {several}")
        return None
    if shop.machines > max_machines:
        raise Misfit(f"machines must be 1 to {max_machines:,}, was {shop.machines:,}")
    return shop


def _job_shop_lib(document: Mapping[str, Any]) -> Shop:
    unknown = sorted(document.keys() - JOB_SHOP_LIB)
    if unknown:
        raise Misfit(f"{unknown[0]!r:.60} is no field of job_shop_lib that is known here")
    durations = _matrix(document, "duration_matrix")
    machines = _matrix(document, "machines_matrix", durations)
    limits = {name: _matrix(document, name, durations) for name in LIMITS if document.get(name) is not None}
    jobs = [
        [
            Step(
                options=[(machine, _whole(time, f"duration_matrix[{job}][{place}]")) for machine in options],
                limits={
                    LIMITS[name]: _whole(matrix[job][place], f"{name}[{job}][{place}]")
                    for name, matrix in limits.items()
                    if matrix[job][place] is not None
                },
            )
            for place, (time, options) in enumerate(
                zip(times, (_machines(each, f"machines_matrix[{job}]") for each in machines[job]), strict=True)
            )
        ]
        for job, times in enumerate(durations)
    ]
    return _shop("job shop (JSON of job_shop_lib)", jobs)


def _schedule_opt(document: Mapping[str, Any]) -> Shop:
    """Operations by job: `data` is a list of objects with job, operation, machine and duration."""
    found: dict[int, dict[int, list[tuple[int, int]]]] = {}
    for place, row in enumerate(_list(document["data"], "data")):
        job, operation = (_field(row, name, f"data[{place}]") for name in ("job", "operation"))
        found.setdefault(job, {}).setdefault(operation, []).append(_option(row, f"data[{place}]"))
    jobs = [
        [Step(options=steps[number]) for number in _from_zero(steps, "operation")]
        for steps in (found[number] for number in _from_zero(found, "job"))
    ]
    if document.get("jobs", len(jobs)) != len(jobs):
        raise Misfit(f"jobs must be {len(jobs)}, the number of those in data, was {document['jobs']!r:.40}")
    return _shop("job shop (JSON of ScheduleOpt)", jobs, document.get("machines"))


def _schedule_opt_assembly(document: Mapping[str, Any]) -> Shop:
    """`operations` is a list of their options, `precedences` says who comes before whom."""
    found: dict[int, list[tuple[int, int]]] = {}
    for place, row in enumerate(_list(document["operations"], "operations")):
        where = f"operations[{place}]"
        found.setdefault(_field(row, "operation", where), []).append(_option(row, where))
    steps = [Step(options=found[number]) for number in _from_zero(found, "operation")]
    arcs = []
    for place, row in enumerate(_list(document["precedences"], "precedences")):
        before, after = (_field(row, name, f"precedences[{place}]") for name in ("before", "after"))
        if max(before, after) >= len(steps) or before == after:
            raise Misfit(f"precedences[{place}] must name two operations below {len(steps)}, was {before} and {after}")
        arcs.append((before, after))
    kind = "flexible assembly job shop (fajsp, JSON of ScheduleOpt)"
    chains = assembled(kind, steps, arcs, 1)
    return chains if chains.refused else _shop(kind, chains.jobs, document.get("machines"))


_JSON_READERS: Sequence[tuple[set[str], Callable[[Mapping[str, Any]], Shop]]] = (
    ({"duration_matrix"}, _job_shop_lib),
    ({"machines_matrix"}, _job_shop_lib),
    ({"instance", "data"}, _schedule_opt),
    ({"operations", "precedences"}, _schedule_opt_assembly),
)
"""Which fields tell a format, and its reader."""


def _shop(kind: str, jobs: Sequence[Sequence[Step]], machines: object = None) -> Shop:
    """The shop with as many machines as it says, or as the highest number makes."""
    if not all(jobs) or not jobs:
        raise Misfit("must have at least one job, and one operation in each")
    numbers = [machine for route in jobs for step in route for machine, _ in step.options]
    counted = max(numbers) + 1 - min(1, *numbers, 1)
    return Shop(kind=kind, jobs=jobs, machines=counted if machines is None else _whole(machines, "machines"))


def _matrix(document: Mapping[str, Any], name: str, like: Sequence[Sequence[Any]] | None = None) -> list[list[Any]]:
    rows = [_list(row, f"{name}[{place}]") for place, row in enumerate(_list(document.get(name), name))]
    if like is not None and [len(row) for row in rows] != [len(row) for row in like]:
        raise Misfit(f"{name} must have an entry for each of duration_matrix")
    return rows


def _machines(value: object, where: str) -> list[int]:
    return [_whole(each, where) for each in (_list(value, where) if isinstance(value, list) else [value])]


def _option(row: object, where: str) -> tuple[int, int]:
    return _field(row, "machine", where), _field(row, "duration", where)


def _field(row: object, name: str, where: str) -> int:
    if not isinstance(row, dict) or name not in row:
        raise Misfit(f"{where} must have {name!r}")
    return _whole(row[name], f"{where}.{name}")


def _from_zero(numbers: Mapping[int, object], what: str) -> list[int]:
    if sorted(numbers) != list(range(len(numbers))):
        raise Misfit(f"{what} must be numbered from 0 without a gap")
    return sorted(numbers)


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise Misfit(f"{where} must be a list that is not empty")
    return value


def _whole(value: object, where: str) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= MAX_NUMBER or value != int(value):  # type: ignore[operator, call-overload]
        raise Misfit(f"{where} must be a whole number from 0 to {MAX_NUMBER:,}, was {value!r:.40}")
    return int(value)  # type: ignore[call-overload, no-any-return]
