"""A schedule as a Gantt chart: in characters for a terminal, in pixels for a video."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from math import ceil

import numpy as np
from numpy.typing import NDArray

from env.problem import SECONDS_PER_HOUR, Problem
from env.schedule import Assignment, Schedule

_SYMBOLS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_IDLE = "·"
_GOLDEN_ANGLE = 0.618034


def gantt_text(
    problem: Problem, schedule: Schedule, width: int = 96, max_machines: int = 40, *, in_hours: bool = True
) -> str:
    """One line a machine, one symbol a job; each column is an equal share of the makespan.

    A column shows the work that fills most of it. Machines beyond `max_machines` are counted, not drawn. The
    scale is in hours, or in seconds, which are the units of a benchmark file.
    """
    names = [machine.name or str(machine.id) for machine in problem.machines[:max_machines]]
    margin = max(map(len, names), default=0)
    columns = max(1, width - margin - 1)
    share = max(1, schedule.makespan_seconds) / columns
    lines = [f"{name:>{margin}} " for name in names]
    for row, machine in enumerate(problem.machines[:max_machines]):
        lines[row] += _text_row(_symbols(problem), _on_machine(schedule, machine.id), share, columns)
    first, last = "0", f"{schedule.makespan_seconds:,}"
    if in_hours:
        first, last = "0 h", f"{schedule.makespan_seconds / SECONDS_PER_HOUR:.1f} h"
    scale = f"{first}{last:>{columns - len(first)}}"
    hidden = len(problem.machines) - len(names)
    note = [f"… and {hidden} machines more"] if hidden else []
    return "\n".join([*lines, " " * (margin + 1) + scale, *note])


def gantt_pixels(problem: Problem, schedule: Schedule, width: int = 640, row_height: int = 12) -> NDArray[np.uint8]:
    """RGB picture, shape [machines * row_height, width, 3]: one row a machine, one colour a job, white where idle."""
    picture = np.full((len(problem.machines) * row_height, width, 3), 255, dtype=np.uint8)
    span = max(1, schedule.makespan_seconds)
    job_of = _job_indices(problem)
    row_of = {machine.id: row for row, machine in enumerate(problem.machines)}
    for assignment in schedule.assignments:
        top = row_of[assignment.machine_id] * row_height
        left = assignment.start_seconds * width // span
        right = max(left + 1, assignment.end_seconds * width // span)
        picture[top + 1 : top + row_height - 1, left:right] = _colour(job_of[assignment.operation_id])
    return picture


def _text_row(symbols: dict[str, str], work: list[Assignment], share: float, columns: int) -> str:
    filled = np.zeros(columns)
    row = [_IDLE] * columns
    for assignment in work:
        first = int(assignment.start_seconds / share)
        last = min(columns, ceil(assignment.end_seconds / share)) - 1
        for column in range(first, last + 1):
            begin, end = column * share, (column + 1) * share
            overlap = min(end, assignment.end_seconds) - max(begin, assignment.start_seconds)
            if overlap > filled[column]:
                filled[column] = overlap
                row[column] = symbols[assignment.operation_id]
    return "".join(row)


def _on_machine(schedule: Schedule, machine_id: int) -> list[Assignment]:
    return [assignment for assignment in schedule.assignments if assignment.machine_id == machine_id]


def _job_indices(problem: Problem) -> dict[str, int]:
    return {operation.id: index for index, job in enumerate(problem.jobs) for operation in job.operations}


def _symbols(problem: Problem) -> dict[str, str]:
    return {operation: _SYMBOLS[index % len(_SYMBOLS)] for operation, index in _job_indices(problem).items()}


def _colour(job: int) -> list[int]:
    red, green, blue = hsv_to_rgb(job * _GOLDEN_ANGLE % 1.0, 0.55, 0.85)
    return [round(255 * red), round(255 * green), round(255 * blue)]
