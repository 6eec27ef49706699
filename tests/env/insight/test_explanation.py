"""Why late work is late: known accounts first, then the law that no second is lost or counted twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time

import numpy as np
from hypothesis import given, settings

from env.insight.explanation import MAX_NAMED, Ahead, ExplainedStep, Explanation, LateOperation, explain, sentence
from env.problem import Alternative, Closure, Job, Machine, Operation, Pin, Problem, WeeklyBreak, WorkingHours
from env.schedule import Schedule
from tests.problems import HOUR, one_machine, open_mask, operation, schedule_of, solved_problems

MIDDAY = WorkingHours(
    origin=datetime(2025, 7, 22, 8, 0, tzinfo=UTC),
    breaks=(WeeklyBreak(name="lunch", start=time(12, 0), end=time(13, 0)),),
)


def _late(problem: Problem, schedule: Schedule) -> LateOperation:
    (late,) = explain(problem, schedule).late
    return late


def test_work_on_time_needs_no_explanation() -> None:
    """Ending at the due date, or having none, is not late."""
    problem = one_machine(operation("A", due_seconds=HOUR), operation("B"))
    on_time = schedule_of(("A", 1, 0, HOUR), ("B", 1, HOUR, 2 * HOUR))
    assert explain(problem, on_time) == Explanation(late=(), ahead=())


def test_wait_for_a_machine_names_who_was_ahead() -> None:
    """C waits 3 h behind A and B and is 1 s late."""
    problem = one_machine(operation("A"), operation("B", seconds=2 * HOUR), operation("C", due_seconds=4 * HOUR - 1))
    late = _late(problem, schedule_of(("A", 1, 0, HOUR), ("B", 1, HOUR, 3 * HOUR), ("C", 1, 3 * HOUR, 4 * HOUR)))
    assert late.step.ahead == (Ahead(operation_id="A", seconds=HOUR), Ahead(operation_id="B", seconds=2 * HOUR))
    assert (late.step.behind_seconds, late.step.processing_seconds, late.lateness_seconds) == (3 * HOUR, HOUR, 1)


def test_wait_is_told_apart_by_its_first_cause() -> None:
    """One wait of 9 h: material until 9:00, load until 10:00, A until 11:30, free until noon, lunch, B until 17:00."""
    problem = one_machine(
        operation("A", seconds=HOUR + HOUR // 2),
        operation("B", seconds=4 * HOUR),
        operation("C", due_seconds=0, release_seconds=HOUR),
        hours=MIDDAY,
        busy_seconds=2 * HOUR,
    )
    placed = schedule_of(
        ("A", 1, 2 * HOUR, 3 * HOUR + HOUR // 2), ("B", 1, 5 * HOUR, 9 * HOUR), ("C", 1, 9 * HOUR, 10 * HOUR)
    )
    step = _late(problem, placed).step
    assert (step.material_seconds, step.load_seconds, step.closed_seconds) == (HOUR, HOUR, HOUR)
    assert (step.behind_seconds, step.idle_seconds) == (5 * HOUR + HOUR // 2, HOUR // 2)


def test_own_work_is_setup_processing_and_pause() -> None:
    """A starts at 11:30 with 30 min of setup, pauses over lunch and works another hour."""
    step = Operation(
        id="A",
        alternatives=(Alternative(machine=0, processing_seconds=HOUR, setup_seconds=HOUR // 2),),
        release_seconds=7 * HOUR // 2,
        due_seconds=HOUR,
    )
    found = _late(one_machine(step, hours=MIDDAY), schedule_of(("A", 1, 7 * HOUR // 2, 6 * HOUR))).step
    assert (found.setup_seconds, found.processing_seconds, found.paused_seconds) == (HOUR // 2, HOUR, HOUR)


def test_setup_is_what_was_worked_beyond_processing() -> None:
    """Whatever a changeover made of the setup, the account follows the schedule."""
    problem = one_machine(operation("A", seconds=HOUR, due_seconds=0))
    found = _late(problem, schedule_of(("A", 1, 0, HOUR + 600))).step
    assert (found.setup_seconds, found.processing_seconds) == (600, HOUR)


def test_previous_sequence_has_an_account_of_its_own() -> None:
    """J2 is late because J1 ahead of it waited behind X, which the steps ahead tell."""
    chained = Job(id="J", operations=(operation("J1"), operation("J2", 1, due_seconds=2 * HOUR)))
    problem = Problem(
        jobs=(Job(id="X", operations=(operation("X"),)), chained), machines=(Machine(id=1), Machine(id=2))
    )
    placed = schedule_of(("X", 1, 0, HOUR), ("J1", 1, HOUR, 2 * HOUR), ("J2", 2, 2 * HOUR, 3 * HOUR))
    late, explanation = _late(problem, placed), explain(problem, placed)
    assert (late.previous_id, late.previous_seconds, late.step.machine_seconds) == ("J1", 2 * HOUR, 0)
    (ahead,) = explanation.ahead
    assert (ahead.operation_id, ahead.behind_seconds, ahead.processing_seconds) == ("J1", HOUR, HOUR)


def test_several_machines_are_waited_for_together() -> None:
    """C needs machines 1 and 2, which A and B free at 1 h and 2 h: one hour behind each, none twice."""
    both = Alternative(machine=0, processing_seconds=HOUR, also_holds=(1,))
    problem = Problem(
        jobs=(
            Job(id="A", operations=(operation("A"),)),
            Job(id="B", operations=(operation("B", 1, seconds=2 * HOUR),)),
            Job(id="C", operations=(Operation(id="C", alternatives=(both,), due_seconds=HOUR),)),
        ),
        machines=(Machine(id=1), Machine(id=2, closures=(Closure(start_seconds=2 * HOUR, end_seconds=3 * HOUR),))),
    )
    placed = schedule_of(("A", 1, 0, HOUR), ("B", 2, 0, 2 * HOUR), ("C", 1, 3 * HOUR, 4 * HOUR))
    step = _late(problem, placed).step
    assert step.ahead == (Ahead(operation_id="A", seconds=HOUR), Ahead(operation_id="B", seconds=HOUR))
    assert (step.behind_seconds, step.closed_seconds, step.idle_seconds) == (2 * HOUR, HOUR, 0)


def test_breakdown_is_named_with_its_times() -> None:
    """A waits from 8:00 to 10:00 because its machine is down, and pauses over the second breakdown; a later one is not
    its affair."""
    down = [(0, 2), (3, 4), (9, 12)]
    closures = tuple(
        Closure(start_seconds=start * HOUR, end_seconds=end * HOUR, reason="spindle") for start, end in down
    )
    step = operation("A", seconds=2 * HOUR, due_seconds=HOUR)
    problem = replace(one_machine(step, hours=MIDDAY), machines=(Machine(id=1, closures=closures),))
    late = _late(problem, schedule_of(("A", 1, 2 * HOUR, 6 * HOUR)))
    assert [outage.closure for outage in late.step.outages] == list(closures[:2])
    assert (
        "in closed hours (machine 1 was unavailable from Tue 2025-07-22 08:00:00 to Tue 2025-07-22 10:00:00: spindle; "
        "machine 1 was unavailable from Tue 2025-07-22 11:00:00 to Tue 2025-07-22 12:00:00: spindle)"
    ) in sentence(late, problem.machines[0], problem.hours)


def test_running_work_begins_the_account_before_the_schedule() -> None:
    """Work that was running for an hour already counts that hour; nothing was waited for."""
    running = operation("A", seconds=2 * HOUR, due_seconds=0, pin=Pin(start_seconds=-HOUR, end_seconds=HOUR))
    late = _late(one_machine(running), schedule_of(("A", 1, -HOUR, HOUR)))
    assert (late.begin_seconds, late.available_seconds, late.lateness_seconds) == (-HOUR, HOUR, HOUR)
    assert late.step.total_seconds == late.step.processing_seconds == 2 * HOUR


def test_long_queues_are_named_in_part_and_counted_whole() -> None:
    """Of twelve works ahead the last ten are named, and the hours of all count."""
    queue = [operation(f"Q{index}", seconds=60) for index in range(MAX_NAMED + 2)]
    rows = [(each.id, 1, 60 * index, 60 * index + 60) for index, each in enumerate(queue)]
    problem = one_machine(*queue, operation("Z", seconds=60, due_seconds=0))
    late = _late(problem, schedule_of(*rows, ("Z", 1, 720, 780)))
    assert ([each.operation_id for each in late.step.ahead], late.step.ahead_count) == (
        [f"Q{index}" for index in range(2, 12)],
        12,
    )
    assert late.step.behind_seconds == 720
    assert " behind 2 others, Q2 (1 min), Q3 (1 min)," in sentence(late, problem.machines[0], None)


def test_sentence_tells_the_whole_account() -> None:
    """A planner reads how late, why, and how much time there was."""
    problem = one_machine(operation("A"), operation("B", due_seconds=HOUR, release_seconds=600), hours=MIDDAY)
    late = _late(problem, schedule_of(("A", 1, 0, HOUR), ("B", 1, HOUR, 2 * HOUR)))
    assert sentence(late, replace(problem.machines[0], name="CM03"), problem.hours) == (
        "B ends 1 h after its due date (Tue 2025-07-22 09:00:00): 10 min waiting for material, 50 min waiting for "
        "machine 1 (CM03) behind A (50 min), 1 h of processing; 1 h of this lay before the due date."
    )


def test_sentence_says_when_the_due_date_was_past_already() -> None:
    """No schedule could have met a due date before its start."""
    problem = one_machine(operation("A", due_seconds=-HOUR))
    assert sentence(_late(problem, schedule_of(("A", 1, 0, HOUR))), problem.machines[0], None).endswith(
        "1 h of processing; it was due 1 h before it could begin."
    )


@given(solved=solved_problems())
@settings(max_examples=150, deadline=None)
def test_account_adds_up_to_the_lateness(solved: tuple[Problem, Schedule]) -> None:
    """What was spent, less what was available, is the lateness to the second; no amount is negative."""
    explanation = explain(*solved)
    steps = {step.operation_id: step for step in (*explanation.ahead, *(late.step for late in explanation.late))}
    jobs = {job.id: job for job in solved[0].jobs}
    for late in explanation.late:
        spent = late.previous_seconds + late.step.total_seconds
        assert spent - late.available_seconds == late.lateness_seconds > 0
        ids = [each.id for each in jobs[late.step.job_id].operations]
        chain = [steps[each] for each in ids[: ids.index(late.step.operation_id)]]
        assert sum(step.total_seconds for step in chain) == late.previous_seconds
    for step in steps.values():
        assert step.total_seconds == step.end_seconds - step.ready_seconds
        assert min(_amounts(step)) >= 0
        assert sum(each.seconds for each in step.ahead) <= step.behind_seconds


@given(solved=solved_problems())
@settings(max_examples=100, deadline=None)
def test_account_agrees_with_every_single_second(solved: tuple[Problem, Schedule]) -> None:
    """Asking the definitions about each second of a wait, one by one, gives the same amounts."""
    problem, schedule = solved
    explanation = explain(problem, schedule)
    for step in (*explanation.ahead, *(late.step for late in explanation.late)):
        assert _amounts(step) == _counted(problem, schedule, step)


def _amounts(step: ExplainedStep) -> tuple[int, ...]:
    names = ("material", "closed", "load", "behind", "idle", "paused", "setup", "processing")
    return tuple(getattr(step, f"{name}_seconds") for name in names)


def _counted(problem: Problem, schedule: Schedule, step: ExplainedStep) -> tuple[int, ...]:
    """The amounts from masks of seconds; each second of the wait goes to the first cause whose mask holds."""
    held = {each.id: _chosen(problem, schedule, each) for each in problem.operations}
    chosen = held[step.operation_id]
    masks = [open_mask(problem, machine) for machine in chosen.machines]
    opened = np.logical_and.reduce(masks)
    loads = [problem.machines[machine].busy_seconds for machine in chosen.machines]
    loaded = np.logical_or.reduce([np.cumsum(mask) <= load for mask, load in zip(masks, loads, strict=True)])
    taken = np.zeros(opened.size, dtype=bool)
    for row in schedule.assignments:
        if not set(held[row.operation_id].machines).isdisjoint(chosen.machines):
            taken[row.start_seconds : row.end_seconds] = True
    (release,) = [each.release_seconds for each in problem.operations if each.id == step.operation_id]
    causes = [np.arange(opened.size) < release, ~opened, loaded, taken, np.ones(opened.size, dtype=bool)]
    first = np.argmax(np.stack(causes)[:, step.ready_seconds : step.start_seconds], axis=0)
    worked = int(opened[step.start_seconds : step.end_seconds].sum())
    paused = step.end_seconds - step.start_seconds - worked
    waits = [int((first == cause).sum()) for cause in range(len(causes))]
    return (*waits, paused, worked - chosen.processing_seconds, chosen.processing_seconds)


def _chosen(problem: Problem, schedule: Schedule, own: Operation) -> Alternative:
    ids = [machine.id for machine in problem.machines]
    machine = ids.index(schedule.by_operation[own.id].machine_id)
    (chosen,) = [each for each in own.alternatives if each.machine == machine]
    return chosen
