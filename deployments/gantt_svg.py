"""A schedule as a Gantt chart in SVG, a file that every browser shows and that needs nothing else."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from html import escape

from env.problem import SECONDS_PER_HOUR, Problem
from env.schedule import Assignment, Schedule

_ROW, _BAR, _LEFT, _TOP, _WIDTH = 22, 16, 110, 28, 1200
_GOLDEN_ANGLE = 0.618034
_MOST_GRID_LINES = 24
_GRID_HOURS = (1, 2, 4, 6, 12, 24, 48, 96, 168)


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
    step = next((step for step in _GRID_HOURS if hours / step <= _MOST_GRID_LINES), int(hours / _MOST_GRID_LINES) + 1)
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
