"""Rules of the judge about work beside other work: all of it once, one at a time, in sequence, by its deadline."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from env.judge_case import Case, Work
from env.judge_work import broken
from env.planner_words import amount, machine_words
from env.verdict import Violation, ViolationCode


def miscounted(case: Case) -> Iterator[Violation]:
    """Operations that are not there exactly once: the missing ones, then the repeated ones."""
    for operation in case.problem.operations:
        if operation.id not in case.of_operation:
            message = f"{operation.id} is not in the schedule; it must be there once."
            yield Violation(code=ViolationCode.MISSING_OPERATION, operation_id=operation.id, message=message)
    for operation_id, works in case.of_operation.items():
        if len(works) > 1:
            message = f"{operation_id} is in the schedule {len(works)} times; it must be there once."
            yield Violation(code=ViolationCode.DUPLICATE_OPERATION, operation_id=operation_id, message=message)


def overlaps(case: Case) -> Iterator[Violation]:
    """By machine, each work that starts before the machine is free, which names who has it."""
    holding: list[list[Work]] = [[] for _ in case.problem.machines]
    for work in case.works:
        for index in work.machines if work.end > work.start else ():
            holding[index].append(work)
    for machine, works in zip(case.problem.machines, holding, strict=True):
        holder: Work | None = None
        for work in works:
            if holder is not None and work.start < holder.end:
                shared = min(holder.end, work.end) - work.start
                text = f"shares {machine_words(machine)} with {holder.assignment.operation_id} for {amount(shared)} "
                text += f"from {case.moment(work.start)}; it must wait until the machine is free."
                yield broken(ViolationCode.MACHINE_OVERLAP, work, shared, text, machine.id)
            if holder is None or work.end > holder.end:
                holder = work


def out_of_sequence(case: Case) -> Iterator[Violation]:
    """Each placed operation against the placed one ahead of it; of repeated ones the latest end and the first start."""
    for job in case.problem.jobs:
        placed = [case.of_operation[operation.id] for operation in job.operations if operation.id in case.of_operation]
        for ahead, behind in pairwise(placed):
            last = max(ahead, key=lambda each: each.end)
            early = last.end - behind[0].start
            if early > 0:
                text = f"starts at {case.moment(behind[0].start)}, {amount(early)} before "
                text += f"{last.assignment.operation_id} ends, which comes ahead of it; it must wait for that."
                yield broken(ViolationCode.WRONG_SEQUENCE, behind[0], early, text)


def missed_deadlines(case: Case) -> Iterator[Violation]:
    """Work that ends after its deadline."""
    for operation in case.problem.operations:
        for work in case.of_operation.get(operation.id, ()):
            if operation.deadline_seconds is not None and work.end > operation.deadline_seconds:
                late = work.end - operation.deadline_seconds
                text = f"ends at {case.moment(work.end)}, {amount(late)} after its deadline "
                text += f"{case.moment(operation.deadline_seconds)}."
                yield broken(ViolationCode.DEADLINE_MISSED, work, late, text)
