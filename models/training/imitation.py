"""The first stage of training: what good schedules choose, decision by decision, and to choose likewise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from env.instances.generator import Plant, random_problem
from env.problem import Problem
from env.simulator.arrays import Booleans, Integers, ProblemArrays, compile_problem
from env.simulator.calendar import NEVER
from env.simulator.candidates import CANDIDATE_LIMIT, Candidates, find_candidates, new_candidates
from env.simulator.compilation import compiled
from env.simulator.episode import objective_bound
from env.simulator.observation import FEATURE_COUNT, TALLIES, Rows, encode
from env.simulator.rules import Rule, follow_rule, mean_times
from env.simulator.simulation import dispatch, is_complete, new_state, reset
from env.simulator.state import NOBODY, State
from models.network import CandidateScorer
from models.search.local_search import local_search
from models.training.config import TrainingConfig

TEACHER_RULES = (Rule.COMPOSITE, Rule.MWKR, Rule.ATCS)
AVERAGE = 0.995
GRADIENT_LIMIT = 1.0
MIN_LEARNING_RATE = 0.02
MIN_PROBABILITY = 1e-6


class Demonstration(NamedTuple):
    """The decisions of one problem that had a choice; the axis `row` holds the candidates of all of them."""

    rows: Rows  # [row, feature]
    counts: Integers  # [decision]
    is_right: Booleans  # [row]


def demonstration(rng: Generator, plant: Plant, moves: int) -> Demonstration:
    """One problem of the given kind, solved with so many moves of local search per operation."""
    problem = random_problem(rng, plant)
    arrays = compile_problem(problem)
    expert = good_state(problem, arrays, moves, int(rng.integers(2**31)))
    return decisions_towards(arrays, expert, int(rng.integers(2**31)))


def good_state(problem: Problem, arrays: ProblemArrays, moves: int, seed: int) -> State:
    """A complete state that the teacher found: the best of its rules, improved."""
    best, state = new_state(arrays), new_state(arrays)
    means, least = mean_times(arrays), np.inf
    for rule in TEACHER_RULES:
        reset(arrays, state)
        follow_rule(arrays, state, int(rule), means)
        if objective_bound(arrays, state) < least:
            least = objective_bound(arrays, state)
            best, state = state, best
    search = local_search(problem, arrays, best, seed)
    if search is None or best.end.max() >= NEVER:
        return best
    steps = 50
    for step in range(steps):
        search.run(max(1, moves * len(best.start) // steps), step / steps)
    search.realise(state)
    return state if objective_bound(arrays, state) < least else best


def decisions_towards(arrays: ProblemArrays, expert: State, seed: int) -> Demonstration:
    """The decisions that lead to the schedule of `expert`, a complete state."""
    operations = len(expert.start)
    rows = np.empty((operations * CANDIDATE_LIMIT, FEATURE_COUNT), dtype=np.float32)
    counts = np.empty(operations, dtype=np.int64)
    is_right = np.empty(operations * CANDIDATE_LIMIT, dtype=np.bool_)
    turn, order = _turns(arrays, expert)
    row_count, decision_count = follow(
        arrays, new_state(arrays), new_candidates(arrays), expert.chosen_pair, turn, order, rows, counts, is_right, seed
    )
    return Demonstration(rows[:row_count].copy(), counts[:decision_count].copy(), is_right[:row_count].copy())


def _turns(arrays: ProblemArrays, expert: State) -> tuple[Integers, Integers]:
    """Place of each operation in the sequence of each machine that it holds, shape [held], and operations by start."""
    turn = np.full(len(arrays.held_machine), NOBODY, dtype=np.int64)
    order = np.lexsort((np.arange(len(expert.start)), expert.end, expert.start))
    taken = np.zeros(len(arrays.machine_busy), dtype=np.int64)
    for operation in order[~arrays.operation_pinned[order]]:
        pair = expert.chosen_pair[operation]
        for place in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
            machine = arrays.held_machine[place]
            turn[place] = taken[machine]
            taken[machine] += 1
    return turn, order


@compiled
def follow(
    arrays: ProblemArrays,
    state: State,
    found: Candidates,
    chosen: Integers,
    turn: Integers,
    order: Integers,
    rows: Rows,
    counts: Integers,
    is_right: Booleans,
    seed: int,
) -> tuple[int, int]:
    """Dispatch towards the schedule of `chosen` and `turn`, recording every decision that has wrong choices.

    Which of several right candidates is dispatched is drawn, so that the decisions are as varied as
    those of a policy. Gives the number of rows and of decisions.
    """
    np.random.seed(seed)
    machine_turn = np.zeros(len(state.machine_ready), dtype=np.int64)
    tallies = np.zeros((TALLIES, len(state.machine_ready)), dtype=np.int64)
    row, decision, next_in_order = 0, 0, 0
    while not is_complete(state):
        find_candidates(arrays, state, found)
        count = found.filled[0]
        right, taken = 0, NOBODY
        for index in range(count):
            pair = found.pair[index]
            good = chosen[arrays.pair_operation[pair]] == pair and is_its_turn(arrays, turn, machine_turn, pair)
            is_right[row + index] = good
            if good:
                right += 1
                if np.random.random() * right < 1.0:
                    taken = pair
        if right == 0:
            while state.chosen_pair[order[next_in_order]] != NOBODY or arrays.operation_pinned[order[next_in_order]]:
                next_in_order += 1
            taken = chosen[order[next_in_order]]
        elif right < count:
            encode(arrays, state, found, tallies, rows[row : row + count])
            counts[decision] = count
            decision += 1
            row += count
        for place in range(arrays.held_first[taken], arrays.held_first[taken + 1]):
            machine_turn[arrays.held_machine[place]] += 1
        dispatch(arrays, state, taken, arrays.pair_operation[taken])
    return row, decision


@compiled
def is_its_turn(arrays: ProblemArrays, turn: Integers, machine_turn: Integers, pair: int) -> bool:
    """Whether a pair is what comes next on all machines that it holds."""
    for place in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        if turn[place] != machine_turn[arrays.held_machine[place]]:
            return False
    return True


class Lessons(NamedTuple):
    """All decisions of all demonstrations; half precision keeps the features' three significant digits."""

    rows: NDArray[np.float16]  # [row, feature]
    is_right: NDArray[np.bool_]  # [row]
    first_row: NDArray[np.int64]  # [decision + 1]


def prepare(config: TrainingConfig, seed: np.random.SeedSequence, on_problem: Callable[[int], None]) -> Lessons:
    """`config.demonstrations` solved problems; hears how many there are as they come."""
    children = seed.spawn(config.demonstrations)
    found: list[Demonstration] = []
    with ThreadPoolExecutor(config.threads) as threads:
        for lesson in threads.map(
            lambda child: demonstration(np.random.default_rng(child), config.plant, config.demonstration_moves),
            children,
        ):
            found.append(lesson._replace(rows=lesson.rows.astype(np.float16)))
            on_problem(len(found))
    return Lessons(
        rows=np.concatenate([lesson.rows for lesson in found]).astype(np.float16, copy=False),
        is_right=np.concatenate([lesson.is_right for lesson in found]),
        first_row=np.cumsum([0, *np.concatenate([lesson.counts for lesson in found]).tolist()]),
    )


def imitate(
    scorer: CandidateScorer,
    lessons: Lessons,
    config: TrainingConfig,
    rng: Generator,
    on_epoch: Callable[[CandidateScorer, int], None],
) -> None:
    """Train `scorer` in place; `on_epoch` hears the exponential average of the weights, which `scorer` ends as."""
    averaged = AveragedModel(scorer, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))  # type: ignore[no-untyped-call]
    optimizer = torch.optim.Adam(scorer.parameters(), lr=config.imitation_learning_rate)
    decisions = len(lessons.first_row) - 1
    steps = config.imitation_epochs * -(-decisions // config.imitation_decisions)
    step = 0
    for epoch in range(config.imitation_epochs):
        for batch in _batches(rng.permutation(decisions), config.imitation_decisions):
            share = 0.5 * (1.0 + np.cos(np.pi * step / steps))
            for group in optimizer.param_groups:
                group["lr"] = config.imitation_learning_rate * max(MIN_LEARNING_RATE, share)
            _learn(scorer, optimizer, lessons, batch)
            averaged.update_parameters(scorer)
            step += 1
        on_epoch(cast("CandidateScorer", averaged.module), epoch + 1)
    scorer.load_state_dict(averaged.module.state_dict())


def _batches(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    return (order[first : first + size] for first in range(0, len(order), size))


def _learn(
    scorer: CandidateScorer, optimizer: torch.optim.Optimizer, lessons: Lessons, decisions: NDArray[np.int64]
) -> None:
    first, counts = lessons.first_row[decisions], np.diff(lessons.first_row)[decisions]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.repeat(first, counts) + within
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.from_numpy(counts))
    chances = scorer.log_probabilities(
        torch.from_numpy(lessons.rows[rows].astype(np.float32)), owner, torch.from_numpy(counts)
    ).exp()
    right = chances * torch.from_numpy(lessons.is_right[rows])
    chance = torch.zeros(len(counts)).index_add(0, owner, right)
    loss = -(chance + MIN_PROBABILITY).log().mean()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(scorer.parameters(), GRADIENT_LIMIT)
    optimizer.step()
