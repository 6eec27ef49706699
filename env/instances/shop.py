"""What a benchmark file says, before it is a problem: routes, machines by the file's numbers, times in its unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from env.errors import InvalidProblem
from env.problem import Alternative, Changeover, Job, Machine, Operation, Problem

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
