"""The rules of the judge: what one piece of work can break alone, and what work beside other work."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from operator import attrgetter

from env.judge.case import Case, Work
from env.judge.verdict import Violation, ViolationCode, amount, machine_words
from env.problem import Operation, Pin

NAMED_MACHINES = 5


def violations_of(case: Case) -> Iterator[Violation]:
    """Every broken rule: operations that are not there once, each work by start, then works beside other works."""
    yield from _miscounted(case)
    yield from _of_works(case)
    yield from _overlaps(case)
    yield from _out_of_sequence(case)
    yield from _missed_deadlines(case)


def _of_works(case: Case) -> Iterator[Violation]:
    """Every rule that a work breaks whatever else is in the schedule, but for the setup that goes before it."""
    loaded = frozenset([index for index, machine in enumerate(case.problem.machines) if machine.busy_seconds])
    # Thousands of works break nothing, so that a rule is only asked where it could say anything.
    for work in case.works:
        if work.operation is None:
            yield broken(ViolationCode.UNKNOWN_OPERATION, work, 0, "is not part of the request.")
        else:
            if work.operation.release_seconds > work.start:
                yield from _material(case, work, work.operation)
            if work.operation.pin is not None:
                yield from _pin(case, work, work.operation.pin)
        if work.start < 0 or work.end <= work.start:
            yield from _span(work)
        if work.alternative is None:
            yield from _placement(case, work)
        if not work.is_timed:
            yield _untimed(case, work)
        elif work.machines and not work.is_finished:
            if not work.has_begun and not loaded.isdisjoint(work.machines):
                yield from _earlier_load(case, work)
            # What is open from start to end, and has its working time by that, breaks no rule of openings.
            is_right = 0 < work.end - work.start == work.opened.seconds == work.seconds
            if not is_right and (work.end > work.start or work.is_instant):
                yield from _openings(case, work)


def _untimed(case: Case, work: Work) -> Violation:
    reach = case.reach
    beyond = max(reach.first - work.start, reach.first - work.end, work.start - reach.last, work.end - reach.last)
    text = "is placed at a time that cannot be judged; it must lie within 250 years of the start of the schedule."
    return broken(ViolationCode.OUT_OF_RANGE, work, beyond, text)


def broken(code: ViolationCode, work: Work, by_seconds: int, text: str, machine_id: int | None = None) -> Violation:
    """The violation of `code` by `work`, on the machine that it names unless another one is given."""
    return Violation(
        code=code,
        operation_id=work.assignment.operation_id,
        machine_id=work.assignment.machine_id if machine_id is None else machine_id,
        message=f"{work.assignment.operation_id} {text}",
        by_seconds=by_seconds,
    )


def _material(case: Case, work: Work, operation: Operation) -> Iterator[Violation]:
    early = operation.release_seconds - max(0, work.start)
    # Work that has begun has its material, whatever is said about its arrival.
    if early > 0 and not work.has_begun:
        text = f"starts {amount(early)} before its material arrives at {case.moment(operation.release_seconds)}."
        yield broken(ViolationCode.BEFORE_RELEASE, work, early, text)


def _pin(case: Case, work: Work, pin: Pin) -> Iterator[Violation]:
    moved = work.start - pin.start_seconds
    if moved:
        text = f"starts {_apart(case, moved, pin.start_seconds)}, where it is pinned; it must not move."
        yield broken(ViolationCode.PIN_MOVED, work, abs(moved), text)
    if pin.end_seconds is None:
        return
    moved = work.end - pin.end_seconds
    if moved:
        text = f"ends {_apart(case, moved, pin.end_seconds)}, when work that has begun then ends."
        yield broken(ViolationCode.PIN_END_MOVED, work, abs(moved), text)


def _apart(case: Case, moved: int, second: int) -> str:
    return f"{amount(abs(moved))} {'after' if moved > 0 else 'before'} {case.moment(second)}"


def _span(work: Work) -> Iterator[Violation]:
    # When work that has begun did so is the rule of its pin.
    if work.start < 0 and not work.has_begun:
        text = f"starts {amount(-work.start)} before the schedule does; it must start at or after its beginning."
        yield broken(ViolationCode.BEFORE_START, work, -work.start, text)
    if work.end <= work.start and not work.is_instant:
        text = f"ends {amount(work.start - work.end)} before its own start; it must end at least 1 s after it."
        yield broken(ViolationCode.EMPTY_SPAN, work, work.start - work.end + 1, text)


def _placement(case: Case, work: Work) -> Iterator[Violation]:
    if not work.machines:
        text = f"is on a machine that is not part of the request{_eligible(case, work.operation)}."
        yield broken(ViolationCode.UNKNOWN_MACHINE, work, 0, text)
    elif work.operation is not None and work.alternative is None:
        text = f"is on {case.where(work)}, which cannot do it{_eligible(case, work.operation)}."
        yield broken(ViolationCode.INELIGIBLE_MACHINE, work, 0, text)


def _eligible(case: Case, operation: Operation | None) -> str:
    """Which machines it must be on, ready to be appended to a sentence."""
    if operation is None:
        return ""
    ids = [str(case.problem.machines[alternative.machine].id) for alternative in operation.alternatives]
    more = f" or {len(ids) - NAMED_MACHINES} others" if len(ids) > NAMED_MACHINES else ""
    named = "one of the machines" if len(ids) > 1 else "machine"
    return f"; it must be on {named} {', '.join(ids[:NAMED_MACHINES])}{more}"


def _earlier_load(case: Case, work: Work) -> Iterator[Violation]:
    for index in work.machines:
        machine = case.problem.machines[index]
        if not machine.busy_seconds:
            continue
        load = machine.busy_seconds - max(0, case.hours.of_each[index].between(0, work.start))
        if load > 0:
            text = f"starts on {machine_words(machine)} at {case.moment(work.start)}, {amount(load)} of open time "
            text += "too early: it must wait for the machine's earlier load."
            yield broken(ViolationCode.MACHINE_BUSY, work, load, text, machine.id)


def _openings(case: Case, work: Work) -> Iterator[Violation]:
    start, end, alone = work.start, work.end, len(work.machines) == 1
    worked = work.opened.seconds
    # Running work pauses where its machine is closed by now, also where that was not known when it began.
    if not work.opened.opens and not work.has_begun:
        closed = case.hours.of(work.machines).closed_from(start, end)
        state = "is closed" if alone else "are not all open"
        more = "" if work.is_instant else f" for {amount(closed)} more"
        text = f"starts on {case.where(work)} at {case.moment(start)}, which {state}{more}; "
        yield broken(ViolationCode.STARTS_WHILE_CLOSED, work, closed, text + "it must start in open time.")
    if work.is_instant:
        return
    if not work.opened.closes:
        closed = case.hours.of(work.machines).closed_before(start, end)
        state = "has been closed" if alone else "have not all been open"
        text = f"ends on {case.where(work)} at {case.moment(end)}, which {state} for {amount(closed)}; "
        yield broken(ViolationCode.ENDS_WHILE_CLOSED, work, closed, text + "its last second must be open.")
    yield from _working_time(case, work, worked)
    paused = 0 if work.has_begun else end - start - worked
    if work.alternative is not None and work.operation is not None and not work.operation.interruptible and paused:
        state = "is closed" if alone else "are not all open"
        text = f"pauses for {amount(paused)} while {case.where(work)} {state}; "
        text += "it must not pause, so it must fit inside one opening."
        yield broken(ViolationCode.INTERRUPTED, work, paused, text)


def _working_time(case: Case, work: Work, worked: int) -> Iterator[Violation]:
    if work.alternative is None:
        return
    duration = work.setup_seconds + work.alternative.processing_seconds
    if worked == duration:
        return
    takes = "setup and processing take"
    if work.setup_seconds != work.alternative.setup_seconds:
        takes = f"processing and {amount(work.setup_seconds)} of changeover take"
    held, must = (
        f"has {amount(worked)} of open time on {case.where(work)}, ",
        f"the {amount(duration)} that its {takes}",
    )
    if worked < duration:
        text = f"{held}{amount(duration - worked)} less than {must}."
        yield broken(ViolationCode.WORKING_TIME_SHORT, work, duration - worked, text)
    else:
        text = f"{held}{amount(worked - duration)} more than {must}."
        yield broken(ViolationCode.WORKING_TIME_LONG, work, worked - duration, text)


def _miscounted(case: Case) -> Iterator[Violation]:
    """Operations that are not there exactly once: the missing ones, then the repeated ones."""
    for operation in case.problem.operations:
        if operation.id not in case.of_operation:
            message = f"{operation.id} is not in the schedule; it must be there once."
            yield Violation(code=ViolationCode.MISSING_OPERATION, operation_id=operation.id, message=message)
    for operation_id, works in case.of_operation.items():
        if len(works) > 1:
            message = f"{operation_id} is in the schedule {len(works)} times; it must be there once."
            yield Violation(code=ViolationCode.DUPLICATE_OPERATION, operation_id=operation_id, message=message)


def _overlaps(case: Case) -> Iterator[Violation]:
    """By machine, each work that starts before the machine is free, which names who has it; finished work has none.

    Work that takes no time may lie where other work begins or ends, but not in its midst.
    """
    holding: list[list[Work]] = [[] for _ in case.problem.machines]
    for work in case.works:
        takes_place = (work.end > work.start or work.is_instant) and not work.is_finished
        for index in work.machines if takes_place else ():
            holding[index].append(work)
    for machine, works in zip(case.problem.machines, holding, strict=True):
        holder: Work | None = None
        for work in works:
            if holder is not None and work.start < holder.end:
                shared = min(holder.end, work.end) - work.start
                having = f"{machine_words(machine)} with {holder.assignment.operation_id}"
                text = f"shares {having} for {amount(shared)} from {case.moment(work.start)}"
                if work.is_instant:
                    shared = holder.end - work.start
                    text = f"shares {having} at {case.moment(work.start)}, {amount(shared)} before that ends"
                text += "; it must wait until the machine is free."
                yield broken(ViolationCode.MACHINE_OVERLAP, work, shared, text, machine.id)
            if holder is None or work.end > holder.end:
                holder = work


def _out_of_sequence(case: Case) -> Iterator[Violation]:
    """Each placed operation against the placed one ahead of it; of repeated ones the latest end and the first start.

    Of two that have begun nobody can change the order any more.
    """
    for job in case.problem.jobs:
        placed = [case.of_operation[operation.id] for operation in job.operations if operation.id in case.of_operation]
        for ahead, behind in pairwise(placed):
            last = ahead[0] if len(ahead) == 1 else max(ahead, key=attrgetter("end"))
            early = last.end - behind[0].start
            if early > 0 and not (last.has_begun and behind[0].has_begun):
                text = f"starts at {case.moment(behind[0].start)}, {amount(early)} before "
                text += f"{last.assignment.operation_id} ends, which comes ahead of it; it must wait for that."
                yield broken(ViolationCode.WRONG_SEQUENCE, behind[0], early, text)


def _missed_deadlines(case: Case) -> Iterator[Violation]:
    """Work that ends after its deadline."""
    for operation in case.problem.operations:
        if operation.deadline_seconds is None:
            continue
        for work in case.of_operation.get(operation.id, ()):
            if work.end > operation.deadline_seconds:
                late = work.end - operation.deadline_seconds
                text = f"ends at {case.moment(work.end)}, {amount(late)} after its deadline "
                text += f"{case.moment(operation.deadline_seconds)}."
                yield broken(ViolationCode.DEADLINE_MISSED, work, late, text)
