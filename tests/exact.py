"""Optima of tiny problems by two independent ways: every dispatch sequence, and a model for CP-SAT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ortools.sat.python import cp_model

from env.problem import Alternative, Operation, Problem
from env.problem_arrays import ProblemArrays, compile_problem, schedule_of
from env.schedule import Schedule
from env.simulation import State, dispatch, is_complete, new_state

SOLVER_SECONDS = 30.0


def weighted_tardiness(problem: Problem, schedule: Schedule) -> float:
    """Sum of w_i * T_i over the operations with a due date."""
    done = schedule.by_operation
    return sum(
        operation.weight * max(0, done[operation.id].end_seconds - operation.due_seconds)
        for operation in problem.operations
        if operation.due_seconds is not None
    )


def every_schedule(problem: Problem) -> Iterator[Schedule]:
    """Every schedule that some dispatch sequence of the simulator leads to, each once."""
    arrays = compile_problem(problem)
    waiting = [new_state(arrays)]
    seen: set[bytes] = set()
    while waiting:
        state = waiting.pop()
        if is_complete(state):
            yield schedule_of(problem, state.chosen_pair, state.start, state.end)
            continue
        for pair, operation in _ready(arrays, state):
            following = State(*(each.copy() for each in state))
            dispatch(arrays, following, pair, operation)
            # Orders that agree on all work done so far go on alike, so one of them is enough.
            work = following.chosen_pair.tobytes() + following.start.tobytes() + following.end.tobytes()
            if work not in seen:
                seen.add(work)
                waiting.append(following)


def _ready(arrays: ProblemArrays, state: State) -> Iterator[tuple[int, int]]:
    """Each pair of the next operation of each open job, with that operation."""
    for job in state.open_jobs[: state.job_count[0]].tolist():
        operation = int(state.job_next[job])
        for pair in range(int(arrays.pair_first[operation]), int(arrays.pair_first[operation + 1])):
            yield pair, operation


def least_makespan(problem: Problem) -> int:
    """Optimal makespan by CP-SAT."""
    model = _Model(problem)
    makespan = model.solver_model.new_int_var(0, model.horizon, "makespan")
    for end in model.end.values():
        model.solver_model.add(makespan >= end)
    return model.minimum(makespan)


def least_weighted_tardiness(problem: Problem) -> int:
    """Optimal sum of w_i * T_i by CP-SAT; weights must be whole numbers."""
    model = _Model(problem)
    terms = []
    for operation in problem.operations:
        assert operation.weight == int(operation.weight)
        if operation.due_seconds is not None:
            late = model.solver_model.new_int_var(0, model.horizon + abs(operation.due_seconds), "late")
            model.solver_model.add(late >= model.end[operation.id] - operation.due_seconds)
            terms.append(int(operation.weight) * late)
    return model.minimum(cp_model.LinearExpr.sum(terms))


@dataclass
class _Held:
    """An operation on a machine that it may hold."""

    operation: Operation
    alternative: Alternative
    present: cp_model.IntVar


@dataclass
class _Model:
    """Continuous hours, no pins, and closures only around work that cannot be interrupted.

    Each machine is a circuit through the work it does; the arc into an operation decides its setup. An
    operation may last longer than it must, which no regular objective rewards.
    """

    problem: Problem
    solver_model: cp_model.CpModel = field(default_factory=cp_model.CpModel)
    start: dict[str, cp_model.IntVar] = field(default_factory=dict)
    end: dict[str, cp_model.IntVar] = field(default_factory=dict)
    horizon: int = 0

    def __post_init__(self) -> None:
        problem = self.problem
        assert problem.hours is None
        assert all(operation.pin is None for operation in problem.operations)
        assert all(not machine.closures or not machine.busy_seconds for machine in problem.machines)
        has_closures = any(machine.closures for machine in problem.machines)
        assert not has_closures or not any(operation.interruptible for operation in problem.operations)
        self.horizon = _horizon(problem)
        held: list[list[_Held]] = [[] for _ in problem.machines]
        for operation in problem.operations:
            self._add_operation(operation, held)
        for job in problem.jobs:
            for before, after in zip(job.operations, job.operations[1:], strict=False):
                self.solver_model.add(self.start[after.id] >= self.end[before.id])
        for machine, works in enumerate(held):
            self._add_sequence(machine, works)
            self._add_closures(machine, works)

    def minimum(self, value: cp_model.LinearExprT) -> int:
        """The proven minimum of a whole-numbered expression."""
        self.solver_model.minimize(value)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 0
        solver.parameters.max_time_in_seconds = SOLVER_SECONDS
        status = solver.solve(self.solver_model)
        assert status == cp_model.OPTIMAL, solver.status_name(status)
        return round(solver.objective_value)

    def _add_operation(self, operation: Operation, held: list[list[_Held]]) -> None:
        model = self.solver_model
        self.start[operation.id] = model.new_int_var(operation.release_seconds, self.horizon, "start")
        self.end[operation.id] = model.new_int_var(0, self.horizon, "end")
        chosen = [model.new_bool_var("chosen") for _ in operation.alternatives]
        model.add_exactly_one(chosen)
        for alternative, present in zip(operation.alternatives, chosen, strict=True):
            for machine in alternative.machines:
                held[machine].append(_Held(operation, alternative, present))

    def _add_sequence(self, machine: int, works: list[_Held]) -> None:
        """The circuit of a machine: node 0 is its rest, work skipped on it loops onto itself.

        An operation that may hold the machine in two alternatives is two nodes.
        """
        model = self.solver_model
        idle = model.new_bool_var("idle")
        arcs: list[tuple[int, int, cp_model.LiteralT]] = [(0, 0, idle)]
        for node, work in enumerate(works, start=1):
            first, last = model.new_bool_var("first"), model.new_bool_var("last")
            arcs += [(node, node, ~work.present), (0, node, first), (node, 0, last)]
            model.add(self.start[work.operation.id] >= self.problem.machines[machine].busy_seconds).only_enforce_if(
                first
            )
            self._require(work, work.alternative.setup_seconds, first)
            for other_node, other in enumerate(works, start=1):
                if other.operation is not work.operation:
                    follows = model.new_bool_var("follows")
                    arcs.append((other_node, node, follows))
                    model.add(self.start[work.operation.id] >= self.end[other.operation.id]).only_enforce_if(follows)
                    self._require(work, _setup(self.problem, other.operation, work), follows)
        model.add_circuit(arcs)

    def _require(self, work: _Held, setup_seconds: int, literal: cp_model.IntVar) -> None:
        duration = self.end[work.operation.id] - self.start[work.operation.id]
        self.solver_model.add(duration >= setup_seconds + work.alternative.processing_seconds).only_enforce_if(literal)

    def _add_closures(self, machine: int, works: list[_Held]) -> None:
        """Work on a machine lies wholly before or wholly behind each of its closures."""
        model = self.solver_model
        for closure in self.problem.machines[machine].closures:
            for work in works:
                before = model.new_bool_var("before")
                model.add(self.end[work.operation.id] <= closure.start_seconds).only_enforce_if(work.present, before)
                model.add(self.start[work.operation.id] >= closure.end_seconds).only_enforce_if(work.present, ~before)


def _setup(problem: Problem, before: Operation, work: _Held) -> int:
    """Setup of work that follows `before` on a machine, by the rule that `Problem` states."""
    own, group = work.alternative.setup_seconds, work.operation.setup_group
    if not problem.changeovers or group is None or before.setup_group is None:
        return own
    listed = {(change.before, change.after): change.setup_seconds for change in problem.changeovers}
    return listed.get((before.setup_group, group), 0 if before.setup_group == group else own)


def _horizon(problem: Problem) -> int:
    """An end by which all work is done if it waits for every release and closure and then goes one by one."""
    changeover = max((change.setup_seconds for change in problem.changeovers), default=0)
    work = sum(
        max(each.processing_seconds + max(each.setup_seconds, changeover) for each in operation.alternatives)
        for operation in problem.operations
    )
    waits = [operation.release_seconds for operation in problem.operations]
    waits += [machine.busy_seconds for machine in problem.machines]
    waits += [closure.end_seconds for machine in problem.machines for closure in machine.closures]
    return max(waits) + work
