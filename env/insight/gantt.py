"""A schedule as a Gantt chart: in characters for a terminal, in pixels for a video, as SVG for a browser."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from html import escape
from math import ceil

import numpy as np
from numpy.typing import NDArray

from env.problem import SECONDS_PER_HOUR, Problem
from env.schedule import Assignment, Schedule

_SYMBOLS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_IDLE = "·"
_GOLDEN_ANGLE = 0.618034
_ROW, _BAR, _LEFT, _TOP, _WIDTH = 22, 16, 110, 28, 1200
_MAX_GRID_LINES = 24
_GRID_HOURS = (1, 2, 4, 6, 12, 24, 48, 96, 168)


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


def gantt_svg(problem: Problem, schedule: Schedule) -> str:
    """One row a machine, one colour a job; each bar tells its operation, machine and hours when pointed at."""
    height = _TOP + _ROW * len(problem.machines) + 8
    scale = (_WIDTH - _LEFT - 10) / max(1, schedule.makespan_seconds)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">',
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
            *_grid(schedule.makespan_seconds, scale, height),
            *_machines(problem),
            *_bars(problem, schedule, scale),
            "</svg>",
        ]
    )


def _grid(makespan_seconds: int, scale: float, height: int) -> list[str]:
    hours = makespan_seconds / SECONDS_PER_HOUR
    step = next((step for step in _GRID_HOURS if hours / step <= _MAX_GRID_LINES), int(hours / _MAX_GRID_LINES) + 1)
    lines = []
    for hour in range(0, int(hours) + 1, step):
        x = _LEFT + hour * SECONDS_PER_HOUR * scale
        lines.append(f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{height}" stroke="#ddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{_TOP - 10}" font-size="11" text-anchor="middle">{hour} h</text>')
    return lines


def _machines(problem: Problem) -> list[str]:
    return [
        f'<text x="{_LEFT - 8}" y="{_TOP + _ROW * row + _BAR - 3}" font-size="12" text-anchor="end">'
        f"{escape(machine.name or str(machine.id))}</text>"
        for row, machine in enumerate(problem.machines)
    ]


def _bars(problem: Problem, schedule: Schedule, scale: float) -> list[str]:
    row_of = {machine.id: row for row, machine in enumerate(problem.machines)}
    job_of = {operation.id: index for index, job in enumerate(problem.jobs) for operation in job.operations}
    return [_bar(work, row_of[work.machine_id], job_of[work.operation_id], scale) for work in schedule.assignments]


def _bar(work: Assignment, row: int, job: int, scale: float) -> str:
    red, green, blue = (round(255 * part) for part in hsv_to_rgb(job * _GOLDEN_ANGLE % 1.0, 0.5, 0.88))
    begin, end = work.start_seconds / SECONDS_PER_HOUR, work.end_seconds / SECONDS_PER_HOUR
    title = escape(f"{work.operation_id}: {begin:.2f} h to {end:.2f} h")
    return (
        f'<rect x="{_LEFT + work.start_seconds * scale:.1f}" y="{_TOP + _ROW * row}" '
        f'width="{max(1.0, (work.end_seconds - work.start_seconds) * scale - 0.5):.1f}" height="{_BAR}" '
        f'fill="rgb({red},{green},{blue})"><title>{title}</title></rect>'
    )
