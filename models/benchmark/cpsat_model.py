"""A problem as a model of OR-Tools CP-SAT; only `cpsat` imports this module, because it needs ortools.

Operations are optional intervals, one for each alternative, which may not overlap on a machine. Where
setups depend on the sequence each machine is also a circuit through its work, in which the arc into an
operation decides its setup. Time is open time where machines close: an axis without pauses, which makes
interruptible work rigid for a solver. Where all machines share one calendar, work that pauses over breaks is
work without a pause on it. What a due date asks is then told by steps: each break that an end lies behind
makes it later by the length of the break.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from ortools.sat.python import cp_model

from env.problem import Alternative, Operation, Problem
from env.schedule import Schedule
from env.simulator.calendar import Intervals, openings

MAX_ARCS = 2_000
MAX_STEPS = 500

_Arcs = dict[tuple[int, int], cp_model.BoolVarT]  # (node before, node behind) -> whether that follows that


@dataclass(frozen=True, slots=True)
class _Held:
    """An operation, by its index, on a machine that it may hold."""

    index: int
    operation: Operation
    alternative: Alternative
    present: cp_model.BoolVarT


@dataclass
class ExactModel:
    """Minimises `makespan_weight * makespan + sum of tardiness_weight_i * L_i`, one weight for each operation.

    L_i is the tardiness and, for being late at all, `late_seconds`.
    A large model is lean, because the solver finds far better schedules with a lean model than with an exact
    one that it cannot digest: beyond `MAX_ARCS` each operation takes its own setup, beyond `MAX_STEPS` a
    break does not make work later. `timed_as` is the problem whose setups it counts, `is_exact` says
    whether neither bound was met.
    """

    problem: Problem
    axis: OpenTimeAxis | None
    horizon: int
    makespan_weight: int
    tardiness_weights: Sequence[int]
    late_seconds: int = 0
    model: cp_model.CpModel = field(default_factory=cp_model.CpModel)
    start: list[cp_model.IntVar] = field(default_factory=list)
    end: list[cp_model.LinearExpr] = field(default_factory=list)
    present: list[list[cp_model.IntVar]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._held: list[list[_Held]] = [[] for _ in self.problem.machines]
        self._intervals: list[list[cp_model.IntervalVar]] = [[] for _ in self.problem.machines]
        self._arcs: list[_Arcs] = []
        self._by_sequence = bool(self.problem.changeovers) and self._arc_count() <= MAX_ARCS
        self._counts_breaks = self._step_count() <= MAX_STEPS
        for index, operation in enumerate(self.problem.operations):
            self._add_operation(index, operation)
        self._add_precedences()
        for machine, works in enumerate(self._held):
            self._add_machine(machine, works)
        self._add_objective()

    @property
    def timed_as(self) -> Problem:
        """The problem with the setups that the model counts."""
        return self.problem if self._by_sequence else replace(self.problem, changeovers=())

    @property
    def is_exact(self) -> bool:
        """Whether every setup and every break counts."""
        return self._counts_breaks and (self._by_sequence or not self.problem.changeovers)

    def hint(self, schedule: Schedule) -> None:
        """Begin the search at a schedule of `timed_as`."""
        order: list[list[tuple[int, int]]] = [[] for _ in self.problem.machines]
        for index, operation in enumerate(self.problem.operations):
            row = schedule.by_operation[operation.id]
            start = self._on_axis(row.start_seconds)
            self.model.add_hint(self.start[index], start)
            end = self.end[index]
            if isinstance(end, cp_model.IntVar):
                self.model.add_hint(end, self._on_axis(row.end_seconds))
            for chosen, alternative in zip(self.present[index], operation.alternatives, strict=True):
                is_chosen = self.problem.machines[alternative.machine].id == row.machine_id
                self.model.add_hint(chosen, is_chosen)
                for machine in alternative.machines if is_chosen else ():
                    order[machine].append((start, index))
        for machine, rows in enumerate(order if self._by_sequence else ()):
            self._hint_circuit(machine, [index for _, index in sorted(rows)])

    def _on_axis(self, seconds: int) -> int:
        return seconds if self.axis is None else self.axis.open_seconds(seconds)

    def _arc_count(self) -> int:
        counts = [0] * len(self.problem.machines)
        for operation in self.problem.operations:
            for alternative in operation.alternatives:
                for machine in alternative.machines:
                    counts[machine] += 1
        return sum(count * count for count in counts)

    def _step_count(self) -> int:
        if self.axis is None:
            return 0
        of_each = self.axis.break_count
        return of_each * (1 + sum(weight > 0 for weight in self.tardiness_weights))

    def _add_operation(self, index: int, operation: Operation) -> None:
        model = self.model
        start = model.new_int_var(self._on_axis(operation.release_seconds), self.horizon, "")
        chosen = [model.new_bool_var("") for _ in operation.alternatives]
        model.add_exactly_one(chosen)
        durations = {alternative.duration_seconds for alternative in operation.alternatives}
        is_rigid = len(durations) == 1 and not self._by_sequence
        end = start + durations.pop() if is_rigid else model.new_int_var(0, self.horizon, "")
        self.start.append(start)
        self.end.append(end)
        self.present.append(chosen)
        longer = model.new_int_var(1, self.horizon, "") if self._by_sequence else None
        for alternative, present in zip(operation.alternatives, chosen, strict=True):
            size = alternative.duration_seconds if longer is None else longer
            interval = model.new_optional_interval_var(start, size, end, present, "")
            for machine in alternative.machines:
                self._held[machine].append(_Held(index, operation, alternative, present))
                self._intervals[machine].append(interval)

    def _add_precedences(self) -> None:
        first = 0
        for job in self.problem.jobs:
            for before, after in pairwise(range(first, first + len(job.operations))):
                self.model.add(self.start[after] >= self.end[before])
            first += len(job.operations)

    def _add_machine(self, machine: int, works: list[_Held]) -> None:
        model, busy = self.model, self.problem.machines[machine].busy_seconds
        model.add_no_overlap(self._intervals[machine])
        if busy:
            for work in works:
                model.add(self.start[work.index] >= busy).only_enforce_if(work.present)
        if self._by_sequence:
            self._arcs.append(self._add_circuit(machine, works))
        if self.axis is None:
            self._add_closures(machine, works)

    def _add_circuit(self, machine: int, works: list[_Held]) -> _Arcs:
        """Node 0 is the rest of the machine; work that is done elsewhere loops onto itself.

        An operation that may hold the machine in two alternatives is two nodes.
        """
        model = self.model
        arcs: _Arcs = {(0, 0): model.new_bool_var("")}
        for node, work in enumerate(works, start=1):
            arcs[node, node] = ~work.present
            first = arcs[0, node] = model.new_bool_var("")
            arcs[node, 0] = model.new_bool_var("")
            self._require(work, work.alternative.setup_seconds, first)
            for other_node, other in enumerate(works, start=1):
                if other.index != work.index:
                    follows = arcs[other_node, node] = model.new_bool_var("")
                    model.add(self.start[work.index] >= self.end[other.index]).only_enforce_if(follows)
                    self._require(work, _setup(self.problem, machine, other.operation, work), follows)
        model.add_circuit([(tail, head, literal) for (tail, head), literal in arcs.items()])
        return arcs

    def _require(self, work: _Held, setup_seconds: int, literal: cp_model.BoolVarT) -> None:
        """Working time that includes the setup; more is allowed, but no regular objective rewards it."""
        seconds = setup_seconds + work.alternative.processing_seconds
        self.model.add(self.end[work.index] >= self.start[work.index] + seconds).only_enforce_if(literal)

    def _add_closures(self, machine: int, works: list[_Held]) -> None:
        """Work on a machine lies wholly before or wholly behind each of its closures."""
        for closure in self.problem.machines[machine].closures:
            for work in works:
                before = self.model.new_bool_var("")
                self.model.add(self.end[work.index] <= closure.start_seconds).only_enforce_if(work.present, before)
                self.model.add(self.start[work.index] >= closure.end_seconds).only_enforce_if(work.present, ~before)

    def _add_objective(self) -> None:
        terms = [self.makespan_weight * self._makespan()] if self.makespan_weight else []
        for index, weight in enumerate(self.tardiness_weights):
            due = self.problem.operations[index].due_seconds
            if weight and due is not None:
                terms.append(weight * self._counted(self._lateness(self.end[index], due)))
        self.model.minimize(cp_model.LinearExpr.sum(terms))

    def _makespan(self) -> cp_model.LinearExpr:
        makespan = self.model.new_int_var(0, self.horizon, "")
        last = 0
        for job in self.problem.jobs:
            last += len(job.operations)
            self.model.add(makespan >= self.end[last - 1])
        return makespan if self.axis is None else self._lateness(makespan, 0)

    def _lateness(self, end: cp_model.LinearExpr, due_seconds: int) -> cp_model.LinearExpr:
        """How long after `due_seconds` work is done that ends at `end` on the axis, never below 0."""
        model = self.model
        steps = self.axis.steps_after(due_seconds) if self.axis and self._counts_breaks else []
        closed = sum(step.closed_seconds for step in steps)
        late = model.new_int_var(0, self.horizon + closed + abs(due_seconds), "")
        due = due_seconds if self.axis is None else self.axis.open_seconds(due_seconds) + min(0, due_seconds)
        model.add(late >= end - due + cp_model.LinearExpr.sum([self._passed(end, step) for step in steps]))
        return late

    def _counted(self, late: cp_model.LinearExpr) -> cp_model.LinearExpr:
        """What the objective counts of lateness."""
        if not self.late_seconds:
            return late
        is_late = self.model.new_bool_var("")
        self.model.add(late == 0).only_enforce_if(~is_late)
        return late + self.late_seconds * is_late

    def _passed(self, end: cp_model.LinearExpr, step: OpenStep) -> cp_model.LinearExpr:
        """What a break adds to an end that lies behind it."""
        is_behind = self.model.new_bool_var("")
        self.model.add(end <= step.open_second).only_enforce_if(~is_behind)
        return step.closed_seconds * is_behind

    def _hint_circuit(self, machine: int, order: list[int]) -> None:
        node_of = {work.index: node for node, work in enumerate(self._held[machine], start=1)}
        tour = [0, *(node_of[index] for index in order), 0]
        taken = set(pairwise(tour))
        for (tail, head), literal in self._arcs[machine].items():
            if tail != head or tail == 0:
                self.model.add_hint(literal, (tail, head) in taken)


def _setup(problem: Problem, machine: int, before: Operation, work: _Held) -> int:
    """Setup of work that follows `before` on a machine, by the rule that `Problem` states."""
    own, group = work.alternative.setup_seconds, work.operation.setup_group
    if group is None or before.setup_group is None:
        return own
    listed = problem.changeover_seconds(machine, before.setup_group, group)
    unlisted = 0 if before.setup_group == group else own
    return unlisted if listed is None else listed


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStep:
    """Work that ends after `open_second` ends later by `closed_seconds` than the open time says."""

    open_second: int
    closed_seconds: int


class OpenTimeAxis:
    """Openings of one calendar, shape [opening, 2], sorted."""

    def __init__(self, intervals: Intervals) -> None:
        self.starts, self.ends = intervals.T
        self.before = np.concatenate([[0], np.cumsum(self.ends - self.starts)[:-1]])

    @property
    def break_count(self) -> int:
        """Breaks before and between the openings."""
        return len(self.starts)

    def open_seconds(self, instant: int) -> int:
        """Open seconds in [0, instant)."""
        opening = int(np.searchsorted(self.starts, instant, side="right")) - 1
        if opening < 0:
            return 0
        return int(self.before[opening] + min(instant, int(self.ends[opening])) - self.starts[opening])

    def steps_after(self, instant: int) -> list[OpenStep]:
        """The closed time after `instant`, break by break."""
        closed_from = np.concatenate([[0], self.ends[:-1]])
        late = np.flatnonzero((self.starts > instant) & (self.starts > closed_from))
        return [
            OpenStep(open_second=int(self.before[k]), closed_seconds=int(self.starts[k] - max(instant, closed_from[k])))
            for k in late
        ]


def shared_axis(problem: Problem, until_seconds: int) -> OpenTimeAxis | None:
    """The axis of a plant whose machines share one calendar with breaks, up to an instant.

    None where nothing ever closes or machines close at different times.
    """
    closures = {machine.closures for machine in problem.machines}
    if len(closures) > 1 or (problem.hours is None and closures == {()}):
        return None
    return OpenTimeAxis(openings(problem.hours, closures.pop(), until_seconds))
