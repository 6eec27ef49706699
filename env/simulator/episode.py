"""One problem being played: the state, its current choices, what an action does to them and what it is worth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.problem import Problem
from env.simulator.arrays import (
    MAKESPAN_WEIGHT,
    MISSED,
    TARDINESS_WEIGHT,
    TIE,
    Integers,
    ProblemArrays,
    compile_problem,
)
from env.simulator.candidates import CANDIDATE_LIMIT, Candidates, find_candidates, new_candidates
from env.simulator.compilation import compiled
from env.simulator.observation import FEATURE_COUNT, TALLIES, Rows, encode
from env.simulator.simulation import dispatch, is_complete, new_state, operation_of
from env.simulator.state import MAKESPAN_BOUND, State

ILLEGAL_ACTION_REWARD = -2.0
"""Reward of an action outside the mask, which ends the episode."""


@compiled
def objective_bound(arrays: ProblemArrays, state: State) -> float:
    """Lower bound of the objective in seconds; its exact value once everything is dispatched."""
    bound = arrays.objective[MAKESPAN_WEIGHT] * state.totals[MAKESPAN_BOUND]
    bound += (arrays.objective[TARDINESS_WEIGHT] + arrays.objective[TIE]) * state.tardiness_bound[0]
    return bound + arrays.objective[MISSED] * state.missed_bound[0]  # type: ignore[no-any-return]


@compiled
def reward_norm(arrays: ProblemArrays, state: State) -> float:
    """Seconds that one unit of reward stands for: the makespan no schedule of a fresh state can beat.

    The larger of the longest job and the mean load of a machine, at least 1, scaled to the weight of the objective.
    """
    load = arrays.operation_shortest.sum() / len(state.machine_ready)
    weight = max(arrays.objective[MAKESPAN_WEIGHT], 1.0)
    return max(float(state.totals[MAKESPAN_BOUND]), load, 1.0) * weight  # type: ignore[no-any-return]


class Episode(NamedTuple):
    """A problem, where it stands and what may be chosen next."""

    arrays: ProblemArrays
    state: State
    found: Candidates
    tallies: Integers  # [TALLIES, machine] room for the encoder
    norm: float  # seconds that one unit of reward stands for


def begin(problem: Problem, limit: int = CANDIDATE_LIMIT) -> Episode:
    """A fresh episode with its first candidates found."""
    arrays = compile_problem(problem)
    state = new_state(arrays)
    found = new_candidates(arrays, limit)
    find_candidates(arrays, state, found)
    tallies = np.zeros((TALLIES, len(arrays.machine_busy)), dtype=np.int64)
    return Episode(arrays=arrays, state=state, found=found, tallies=tallies, norm=reward_norm(arrays, state))


@compiled
def play(episode: Episode, action: int) -> tuple[float, bool]:
    """Dispatch candidate `action` and find the next ones; gives the reward and whether the episode is over."""
    arrays, state, found = episode.arrays, episode.state, episode.found
    if action < 0 or action >= found.filled[0]:
        return ILLEGAL_ACTION_REWARD, True
    before = objective_bound(arrays, state)
    dispatch_candidate(episode, action)
    return (before - objective_bound(arrays, state)) / episode.norm, is_complete(state)


@compiled
def play_forced(episode: Episode) -> float:
    """Dispatch for as long as there is exactly one candidate; gives the reward of that."""
    before = objective_bound(episode.arrays, episode.state)
    while not is_complete(episode.state) and episode.found.filled[0] == 1:
        dispatch_candidate(episode, 0)
    return (before - objective_bound(episode.arrays, episode.state)) / episode.norm


@compiled
def dispatch_candidate(episode: Episode, action: int) -> None:
    """Dispatch a candidate and, unless that was the last operation, find the next ones."""
    pair = episode.found.pair[action]
    dispatch(episode.arrays, episode.state, pair, operation_of(episode.arrays, pair))
    episode.found.filled[0] = 0
    if not is_complete(episode.state):
        find_candidates(episode.arrays, episode.state, episode.found)


@compiled
def observe(episode: Episode, rows: Rows) -> None:
    """Write candidate rows and, in the last column, 1 for each; shape [limit, FEATURE_COUNT + 1].

    Rows that are no candidates are zero; so is everything once the episode is over.
    """
    rows[:] = 0.0
    count = episode.found.filled[0]
    if count > 0:
        encode(episode.arrays, episode.state, episode.found, episode.tallies, rows[:, :FEATURE_COUNT])
        rows[:count, FEATURE_COUNT] = 1.0
