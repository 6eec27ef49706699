"""The text formats of job shops, each a reader of numbered lines that must use up all of them.

| format | its first line | the others |
|---|---|---|
| fjs | `jobs machines [flexibility]` | for each job `operations (options (machine time)*)*`; for each machine setups |
| jsp | `jobs machines` | for each job `(machine time)*` |
| jsp by Taillard | `jobs machines [seeds and bounds]` | `Times`, a row for each job; `Machines`, likewise |
| fajsp | `operations precedences machines` | `before after [job]` each; for each operation `options (machine time)*` |

Setups are optional: matrices of jobs x jobs or of operations x operations, told apart by the number of their rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from env.errors import InvalidProblem
from env.problem import Alternative, Changeover, Job, Machine, Operation, Problem

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,4})?")
_MAX_SHOWN = 40
_TIMES, _MACHINES = "times", "machines"


MAX_NUMBER = 10**12
"""Of a file; sums of times must stay far below the end of time."""
MAX_SETUPS = 2_000_000
Setups = Sequence[Sequence[Sequence[int]]]


class Misfit(Exception):
    """The file does not follow a format: what is wrong, and on which line if the format has lines."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation: (machine, time) pairs by the file's numbers, where they stand, and limits on single operations."""

    options: Sequence[tuple[int, int]]
    line: int | None = None
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A whole file. Each job is a route of steps; `refused` says what of it cannot be scheduled, and by which name.

    `setups` has shape [machine, before, after], whose last two count jobs, or operations when `by_operation`.
    """

    kind: str
    jobs: Sequence[Sequence[Step]]
    machines: int
    setups: Setups = ()
    by_operation: bool = False
    refused: str = ""

    @property
    def first_machine(self) -> int:
        """Machines are numbered from 1 where no operation names machine 0."""
        return min(1, min((machine for step in self._steps() for machine, _ in step.options), default=0))

    @property
    def summary(self) -> str:
        """How the file was understood, in a few words."""
        operations = sum(map(len, self.jobs))
        counts = f"{len(self.jobs):,} jobs, {operations:,} operations, {self.machines:,} machines"
        behind = "operation and machine" if self.by_operation else "job and machine"
        setups = f", setups by {behind}" if self.setups else ""
        return f"{self.kind}: {counts} numbered from {self.first_machine}{setups}"

    def problem(self, name: str) -> Problem:
        """The problem, one unit of time being one second. Raises `Misfit`."""
        first = self.first_machine
        for step in self._steps():
            self._check(step, first)
        try:
            return Problem(
                name=name,
                jobs=tuple(self._job(number, route, first) for number, route in enumerate(self.jobs)),
                machines=tuple(Machine(id=number, name=f"M{number}") for number in range(first, first + self.machines)),
                changeovers=tuple(self._changeovers(first)),
            )
        except (ValueError, InvalidProblem) as error:
            raise Misfit(str(error)) from error

    def _steps(self) -> Iterator[Step]:
        return (step for route in self.jobs for step in route)

    def _check(self, step: Step, first: int) -> None:
        machines = [machine for machine, _ in step.options]
        last = first + self.machines - 1
        if max(machines) > last:
            raise Misfit(f"machines must be numbered from {first} to {last}, was {max(machines)}", step.line)
        if len(set(machines)) < len(machines):
            raise Misfit(f"an operation must name each machine once, was {_few(machines)}", step.line)

    def _job(self, number: int, route: Sequence[Step], first: int) -> Job:
        return Job(
            id=str(number),
            operations=tuple(
                Operation(
                    id=f"{number}-{place}",
                    alternatives=tuple(
                        Alternative(machine=machine - first, processing_seconds=time) for machine, time in step.options
                    ),
                    setup_group=self._group(number, place),
                    **step.limits,  # type: ignore[arg-type]
                )
                for place, step in enumerate(route)
            ),
        )

    def _group(self, job: int, place: int) -> str | None:
        if not self.setups:
            return None
        return f"{job}-{place}" if self.by_operation else str(job)

    def _changeovers(self, first: int) -> Iterator[Changeover]:
        """Those of groups that meet on the machine; none is as good as one of no time."""
        groups = [self._group(job, place) for job, route in enumerate(self.jobs) for place in range(len(route))]
        meeting: list[dict[str, None]] = [{} for _ in range(self.machines)]
        for group, step in zip(groups, self._steps(), strict=True):
            for machine, _ in step.options:
                meeting[machine - first][str(group)] = None
        row_of = {group: row for row, group in enumerate(dict.fromkeys(groups))}
        for machine, matrix in enumerate(self.setups):
            for before in meeting[machine]:
                row = matrix[row_of[before]]
                for after in meeting[machine]:
                    if seconds := row[row_of[after]]:
                        yield Changeover(before=before, after=after, setup_seconds=seconds, machine=machine)


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown}, ..."


class Line(NamedTuple):
    """The words of a line that is not empty, and its number in the file."""

    number: int
    words: list[str]


class Lines(NamedTuple):
    """All lines of a file without comments, and which header went before them."""

    lines: Sequence[Line]
    header: str = ""


def numbered_lines(text: str) -> Lines:
    """The lines of a text. Comments go from # or // to the end of a line; OR-Library's header is taken off."""
    split = (re.split(r"#|//", line, maxsplit=1)[0].split() for line in text.splitlines())
    lines = [Line(number, words) for number, words in enumerate(split, 1) if words]
    if not lines:
        raise Misfit("must begin with 'jobs machines', was empty")
    body, header = _without_header(lines)
    for line in body:
        if line.words[0].casefold() not in {_TIMES, _MACHINES}:
            for word in line.words:
                _check_number(word, line.number)
    return Lines(body, header)


def _without_header(lines: Sequence[Line]) -> tuple[Sequence[Line], str]:
    if lines[0].words[0].casefold() in {"nb", "number"}:
        return lines[1:], ""  # Taillard's names of the columns
    if lines[0].words[0].casefold() != "instance":
        return lines, ""
    further = [line.number for line in lines[1:] if line.words[0].casefold() == "instance"]
    if further:
        raise Misfit("must hold one instance, begins another one", further[0])
    body = [line for line in lines[1:] if set(line.words[0]) != {"+"}]
    if body and body[0].words[0][0].isalpha():
        body = body[1:]  # the name of the instance in words
    return body, "OR-Library's header"


def flexible(found: Lines, max_machines: int) -> Shop:
    """A flexible job shop (.fjs), with or without setups."""
    lines = found.lines
    heading = _heading(lines, 2, 3, "jobs machines")
    jobs, machines = _counts(heading, max_machines)
    _check_count(lines, jobs)
    routes = [_flexible_route(line) for line in lines[1 : jobs + 1]]
    rows = lines[jobs + 1 :]
    operations = sum(map(len, routes))
    width = {machines * jobs: jobs, machines * operations: operations, 0: 0}.get(len(rows))
    if width is None:
        raise Misfit(
            f"must have {jobs} job lines, and none behind them or {machines * jobs} or {machines * operations} rows of "
            f"setups, had {len(rows)}",
            rows[0].number,
        )
    if len(rows) * width > MAX_SETUPS:
        raise Misfit(f"must have at most {MAX_SETUPS:,} setups, had {len(rows) * width:,}", rows[0].number)
    matrix = [_row(line, width, "setups") for line in rows]
    return Shop(
        kind=_kind("flexible job shop (fjs)", found.header),
        jobs=routes,
        machines=machines,
        setups=[matrix[first : first + width] for first in range(0, len(matrix), width or 1)],
        by_operation=bool(rows) and width != jobs,
    )


def fixed(found: Lines, max_machines: int) -> Shop:
    """A job shop (.jsp), in the standard format or in Taillard's."""
    words = [line.words[0].casefold() for line in found.lines if len(line.words) == 1]
    if _TIMES in words or _MACHINES in words:
        return _by_taillard(found, max_machines)
    heading = _heading(found.lines, 2, 2, "jobs machines")
    jobs, machines = _counts(heading, max_machines)
    _check_count(found.lines, jobs)
    if len(found.lines) > jobs + 1:
        raise Misfit(f"must have {jobs} job lines, had {len(found.lines) - 1}", found.lines[jobs + 1].number)
    routes = [_fixed_route(line) for line in found.lines[1:]]
    return Shop(kind=_kind("job shop (jsp)", found.header), jobs=routes, machines=machines)


def assembly(found: Lines, max_machines: int) -> Shop:
    """A flexible assembly job shop (fajsp). One whose precedences make up no chains is refused."""
    lines = found.lines
    heading = _heading(lines, 3, 3, "operations precedences machines")
    operations, precedences = (_whole(word, heading.number) for word in heading.words[:2])
    machines = _machine_count(heading.words[2], heading.number, max_machines)
    if len(lines) != 1 + precedences + operations or not operations:
        raise Misfit(
            f"must have {precedences} lines of precedences and {operations} of operations, had {len(lines) - 1}",
            heading.number,
        )
    arcs = [_arc(line, operations) for line in lines[1 : 1 + precedences]]
    steps = [_only_step(line) for line in lines[1 + precedences :]]
    return assembled(_kind("flexible assembly job shop (fajsp)", found.header), steps, arcs, machines)


TEXT_READERS: Mapping[str, Callable[[Lines, int], Shop]] = {"fjs": flexible, "jsp": fixed, "fajsp": assembly}


def assembled(kind: str, steps: Sequence[Step], arcs: Iterable[tuple[int, int]], machines: int) -> Shop:
    """The shop of operations and of who precedes whom, by number; each chain of them is a job."""
    after: dict[int, int] = {}
    before: dict[int, int] = {}
    is_chain = True
    for first, second in arcs:
        is_chain = is_chain and first not in after and second not in before
        after[first], before[second] = second, first
    routes = []
    for start in range(len(steps)):
        if start not in before:
            route = [start]
            while is_chain and route[-1] in after:
                route.append(after[route[-1]])
            routes.append([steps[operation] for operation in route])
    refused = "" if is_chain else f"a {kind} with precedence graphs, which are not supported yet"
    if is_chain and sum(map(len, routes)) < len(steps):
        raise Misfit("precedences must not form a cycle")
    return Shop(kind=kind, jobs=routes, machines=machines, refused=refused)


def _by_taillard(found: Lines, max_machines: int) -> Shop:
    lines = found.lines
    heading = _heading(lines, 2, 6, "jobs machines")
    jobs, machines = _counts(heading, max_machines)
    expected = 3 + 2 * jobs
    if len(lines) != expected:
        far = lines[min(expected, len(lines) - 1)].number
        raise Misfit(f"must have {expected - 1} lines behind the first, had {len(lines) - 1}", far)
    parts = []
    for part, first in ((_TIMES, 1), (_MACHINES, 2 + jobs)):
        title = lines[first]
        if [word.casefold() for word in title.words] != [part]:
            raise Misfit(f"must be {part.capitalize()!r}, was {_shown(' '.join(title.words))}", title.number)
        parts.append([_row(line, machines, part) for line in lines[first + 1 : first + 1 + jobs]])
    routes = [
        [Step(options=[pair], line=line.number) for pair in zip(where, times, strict=True)]
        for times, where, line in zip(*parts, lines[3 + jobs :], strict=True)
    ]
    return Shop(kind=_kind("job shop (jsp)", "Taillard's matrices"), jobs=routes, machines=machines)


def _kind(kind: str, header: str) -> str:
    return f"{kind} with {header}" if header else kind


def _heading(lines: Sequence[Line], fewest: int, most: int, what: str) -> Line:
    if not lines:
        raise Misfit(f"must begin with {what!r}, was empty")
    line = lines[0]
    if not fewest <= len(line.words) <= most:
        raise Misfit(f"must be {what!r}, was {_shown(' '.join(line.words))}", line.number)
    return line


def _counts(heading: Line, max_machines: int) -> tuple[int, int]:
    jobs = _whole(heading.words[0], heading.number)
    if not jobs:
        raise Misfit("jobs must be at least 1, was 0", heading.number)
    return jobs, _machine_count(heading.words[1], heading.number, max_machines)


def _machine_count(word: str, line: int, max_machines: int) -> int:
    machines = _whole(word, line)
    if not 1 <= machines <= max_machines:
        raise Misfit(f"machines must be 1 to {max_machines:,}, was {machines:,}", line)
    return machines


def _check_count(lines: Sequence[Line], jobs: int) -> None:
    if len(lines) - 1 < jobs:
        raise Misfit(f"must have {jobs:,} job lines, had {len(lines) - 1:,}", lines[-1].number)


def _row(line: Line, width: int, what: str) -> list[int]:
    if len(line.words) != width:
        raise Misfit(f"must be a row of {width} {what}, had {len(line.words)}", line.number)
    return [_whole(word, line.number) for word in line.words]


def _flexible_route(line: Line) -> list[Step]:
    numbers = [_whole(word, line.number) for word in line.words]
    route, place = [], 1
    for step in range(numbers[0]):
        options, place = _options(numbers, place, f"operation {step + 1} of {numbers[0]}", line.number)
        route.append(Step(options=options, line=line.number))
    if not route:
        raise Misfit("a job must have at least 1 operation, had 0", line.number)
    if place < len(numbers):
        raise Misfit(f"must end after operation {len(route)}, but has {len(numbers) - place} numbers more", line.number)
    return route


def _fixed_route(line: Line) -> list[Step]:
    numbers = [_whole(word, line.number) for word in line.words]
    if len(numbers) % 2:
        raise Misfit(f"must be pairs of machine and time, had {len(numbers)} numbers", line.number)
    return [Step(options=[pair], line=line.number) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


def _only_step(line: Line) -> Step:
    numbers = [_whole(word, line.number) for word in line.words]
    options, place = _options(numbers, 0, "the operation", line.number)
    if place < len(numbers):
        raise Misfit(f"must end after the operation, but has {len(numbers) - place} numbers more", line.number)
    return Step(options=options, line=line.number)


def _options(numbers: Sequence[int], place: int, what: str, line: int) -> tuple[list[tuple[int, int]], int]:
    """The (machine, time) pairs whose number stands at `place`, and the place behind them."""
    if place == len(numbers):
        raise Misfit(f"must say how {what} is done, but ends", line)
    count = numbers[place]
    pairs = numbers[place + 1 : place + 1 + 2 * count]
    if not count:
        raise Misfit(f"{what} must have at least 1 machine, had 0", line)
    if len(pairs) < 2 * count:
        raise Misfit(f"{what} must have {count} 'machine time' pairs, but the line ends too early", line)
    return list(zip(pairs[::2], pairs[1::2], strict=True)), place + 1 + 2 * count


def _arc(line: Line, operations: int) -> tuple[int, int]:
    numbers = [_whole(word, line.number) for word in line.words]
    if not 2 <= len(numbers) <= 3:
        raise Misfit(f"must be 'before after [job]', had {len(numbers)} numbers", line.number)
    if max(numbers[:2]) >= operations or numbers[0] == numbers[1]:
        raise Misfit(f"must name two operations below {operations}, was {numbers[0]} and {numbers[1]}", line.number)
    return numbers[0], numbers[1]


def _check_number(word: str, line: int) -> None:
    if not _NUMBER.fullmatch(word):
        raise Misfit(f"must be a number, was {_shown(word)}", line)


def _whole(word: str, line: int) -> int:
    """A whole number from 0 on."""
    if word.isascii() and word.isdigit() and len(word) <= len(str(MAX_NUMBER)) - 1:
        return int(word)
    _check_number(word, line)
    number = float(word)
    if not 0 <= number <= MAX_NUMBER:
        raise Misfit(f"must be 0 to {MAX_NUMBER:,}, was {_shown(word)}", line)
    if number != int(number):
        raise Misfit(f"must be a whole number, was {_shown(word)}", line)
    return int(number)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")
