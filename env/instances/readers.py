"""Readers of the public benchmark formats: .fjs (flexible job shop) and .jsp (job shop).

Operation ids are `<job>-<operation>` and machine ids the file's own, all from 0. The file's unit of
time becomes one second.
"""

from __future__ import annotations

from pathlib import Path

from env.errors import BenchmarkFormatError, InvalidProblem
from env.problem import Alternative, Job, Machine, Operation, Problem


def read_benchmark(path: Path) -> Problem:
    """The problem in a .fjs or .jsp file. Raises `BenchmarkFormatError` naming file and line."""
    readers = {".fjs": _flexible_route, ".jsp": _fixed_route}
    if path.suffix not in readers:
        raise BenchmarkFormatError(f"{path.name}: the suffix must be .fjs or .jsp, was {path.suffix!r}")
    lines = [
        (number, line.split())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.strip()
    ]
    if not lines:
        raise BenchmarkFormatError(f"{path.name}: must begin with 'jobs machines', was empty")
    job_count, machine_count = (int(_number(path, lines[0][0], word)) for word in _heading(path, lines[0]))
    if len(lines) - 1 != job_count:
        raise BenchmarkFormatError(f"{path.name}: must have {job_count} job lines, had {len(lines) - 1}")
    read_route = readers[path.suffix]
    try:
        jobs = tuple(
            _job(index, read_route([_whole(path, number, word) for word in words]))
            for index, (number, words) in enumerate(lines[1:])
        )
        machines = tuple(Machine(id=index, name=f"M{index}") for index in range(machine_count))
        return Problem(name=path.stem, jobs=jobs, machines=machines)
    except (ValueError, IndexError, InvalidProblem) as error:
        raise BenchmarkFormatError(f"{path.name}: {error or 'a line ends too early'}") from error


def _heading(path: Path, line: tuple[int, list[str]]) -> list[str]:
    number, words = line
    if len(words) < 2:
        raise BenchmarkFormatError(f"{path.name}, line {number}: must be 'jobs machines', was {' '.join(words)!r}")
    return words[:2]


def _number(path: Path, line: int, word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise BenchmarkFormatError(f"{path.name}, line {line}: must be a number, was {word!r}") from error


def _whole(path: Path, line: int, word: str) -> int:
    number = _number(path, line, word)
    if number != int(number):
        raise BenchmarkFormatError(f"{path.name}, line {line}: must be a whole number, was {word!r}")
    return int(number)


def _job(index: int, route: list[list[tuple[int, int]]]) -> Job:
    return Job(
        id=str(index),
        operations=tuple(
            Operation(
                id=f"{index}-{step}",
                alternatives=tuple(
                    Alternative(machine=machine, processing_seconds=seconds) for machine, seconds in pairs
                ),
            )
            for step, pairs in enumerate(route)
        ),
    )


def _flexible_route(numbers: list[int]) -> list[list[tuple[int, int]]]:
    """`count (alternatives (machine time)*)*`"""
    route, position = [], 1
    for _ in range(numbers[0]):
        count = numbers[position]
        pairs = numbers[position + 1 : position + 1 + 2 * count]
        if len(pairs) != 2 * count:
            raise IndexError(f"an operation must have {count} 'machine time' pairs, the line ends too early")
        route.append(list(zip(pairs[::2], pairs[1::2], strict=True)))
        position += 1 + 2 * count
    return route


def _fixed_route(numbers: list[int]) -> list[list[tuple[int, int]]]:
    """`(machine time)*`"""
    return [[pair] for pair in zip(numbers[::2], numbers[1::2], strict=True)]
