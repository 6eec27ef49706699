"""The judge against the definitions, told second by second: it accepts exactly what they allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from env.judge.judge import judge
from env.problem import Alternative, Changeover, Operation, Problem
from env.schedule import Assignment, Schedule
from tests.open_time import worked_seconds
from tests.problems import WITH_INSTANTS, open_mask, solved_problems


def is_allowed(problem: Problem, schedule: Schedule) -> bool:
    """Whether a schedule of known operations, each once on some machine of the plant, keeps every rule."""
    rows = schedule.by_operation
    chosen = {each.id: _chosen(problem, each, rows[each.id]) for each in problem.operations}
    if None in chosen.values():
        return False
    return (
        all(_keeps_its_place(problem, each, rows, chosen) for each in problem.operations)
        and all(_is_held_by_one(problem, rows, chosen, machine) for machine in range(len(problem.machines)))
        and all(
            rows[ahead.id].end_seconds <= rows[behind.id].start_seconds or (_has_begun(ahead) and _has_begun(behind))
            for job in problem.jobs
            for ahead, behind in zip(job.operations, job.operations[1:], strict=False)
        )
    )


def _has_begun(operation: Operation) -> bool:
    return operation.pin is not None and operation.pin.end_seconds is not None


def _chosen(problem: Problem, operation: Operation, row: Assignment) -> Alternative | None:
    return next((each for each in operation.alternatives if problem.machines[each.machine].id == row.machine_id), None)


def _keeps_its_place(
    problem: Problem, operation: Operation, rows: dict[str, Assignment], chosen: dict[str, Alternative]
) -> bool:
    start, end = rows[operation.id].start_seconds, rows[operation.id].end_seconds
    pin, mine = operation.pin, chosen[operation.id]
    if end < start or (pin is not None and start != pin.start_seconds):
        return False
    if pin is not None and pin.end_seconds is not None:
        if end != pin.end_seconds or end <= 0:
            return end == pin.end_seconds
        worked = worked_seconds(problem, mine.machines, start, end)
        last_is_open = worked_seconds(problem, mine.machines, end - 1, end) == 1
        return last_is_open and worked == mine.duration_seconds
    if start < max(0, operation.release_seconds) or any(
        _has_load(problem, machine, start) for machine in mine.machines
    ):
        return False
    setup = max(_setup(problem, operation, machine, rows, chosen) for machine in mine.machines)
    if start == end:
        return setup + mine.processing_seconds == 0 and bool(open_mask(problem, *mine.machines)[start])
    opened = open_mask(problem, *mine.machines)[start:end]
    works = bool(opened[0] and opened[-1]) and int(opened.sum()) == setup + mine.processing_seconds
    return works and (operation.interruptible or bool(opened.all()))


def _has_load(problem: Problem, machine: int, start: int) -> bool:
    return int(open_mask(problem, machine)[:start].sum()) < problem.machines[machine].busy_seconds


def _setup(
    problem: Problem, operation: Operation, machine: int, rows: dict[str, Assignment], chosen: dict[str, Alternative]
) -> int:
    own = chosen[operation.id].setup_seconds
    groups = {each.id: each.setup_group for each in problem.operations}
    place_of = {each: _place(row, listed) for listed, (each, row) in enumerate(rows.items())}
    start = rows[operation.id].start_seconds
    # Ahead of work that begins now is all that has ended by now; of what takes no time, what is listed before it.
    mine = place_of[operation.id] if rows[operation.id].end_seconds == start else (start, 1, len(rows))
    ahead = [each for each in rows if machine in chosen[each].machines and place_of[each] < mine]
    group = operation.setup_group
    before = groups[max(ahead, key=lambda each: place_of[each])] if ahead else None
    if operation.pin is not None or not problem.changeovers or before is None or group is None:
        return own
    here = sorted((each for each in problem.changeovers if each.machine in {None, machine}), key=_is_for_all)
    listed = [each.setup_seconds for each in here if (each.before, each.after) == (before, group)]
    return listed[0] if listed else (0 if before == group else own)


def _place(row: Assignment, listed: int) -> tuple[int, int, int]:
    """Behind what ends when it is done comes work that takes no time, in the order of the schedule."""
    return (row.end_seconds, 1, listed) if row.start_seconds == row.end_seconds else (row.end_seconds, 0, 0)


def _is_for_all(change: Changeover) -> bool:
    return change.machine is None


def _is_held_by_one(
    problem: Problem, rows: dict[str, Assignment], chosen: dict[str, Alternative], machine: int
) -> bool:
    """Counts the holders of each second; finished work holds nothing, and no instant lies in anybody's midst."""
    first = min(row.start_seconds for row in rows.values())
    held = np.zeros(max(row.end_seconds for row in rows.values()) - first, dtype=int)
    spans = []
    for each in problem.operations:
        finished = each.pin is not None and each.pin.end_seconds is not None and each.pin.end_seconds <= 0
        if machine in chosen[each.id].machines and not finished:
            start, end = rows[each.id].start_seconds, rows[each.id].end_seconds
            held[start - first : end - first] += 1
            spans.append((start, end))
    instants = [start for start, end in spans if start == end]
    midst = any(start < each < end for each in instants for start, end in spans)
    return bool(held.max(initial=0) <= 1) and not midst


@st.composite
def disturbed(draw: st.DrawFn) -> tuple[Problem, Schedule]:
    """A valid schedule with some of its work nudged, sent to another machine, or exchanged with other work."""
    problem, schedule = draw(solved_problems(WITH_INSTANTS))
    rows = list(schedule.assignments)
    nudge = st.sampled_from((0, 0, -1, 1, -60, 60, 3600))
    for _ in range(draw(st.integers(0, 2))):
        one, other = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(rows) - 1))
        if draw(st.booleans()):
            machine = draw(st.sampled_from(problem.machines)).id
            rows[one] = replace(rows[one], machine_id=draw(st.sampled_from((rows[one].machine_id, machine))))
        else:
            first, second = rows[one].operation_id, rows[other].operation_id
            rows[one] = replace(rows[one], operation_id=second)
            rows[other] = replace(rows[other], operation_id=first)
        start, by = rows[one].start_seconds + draw(nudge), draw(nudge)
        length = rows[one].end_seconds - rows[one].start_seconds
        rows[one] = replace(rows[one], start_seconds=start, end_seconds=start + length + by)
    return problem, Schedule(assignments=tuple(rows))


@given(disturbed())
@settings(max_examples=200)
def test_judge_accepts_exactly_what_the_definitions_allow(case: tuple[Problem, Schedule]) -> None:
    """Neither does anything slip past, nor is anything refused that keeps every rule."""
    assert judge(*case).valid == is_allowed(*case)
