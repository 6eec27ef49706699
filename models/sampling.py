"""Sampled episodes in the compiled core, with what a gradient needs of each decision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.candidates import CANDIDATE_LIMIT, Candidates, find_candidates, new_candidates
from env.compilation import compiled
from env.observation import FEATURE_COUNT, encode
from env.problem_arrays import Integers, ProblemArrays
from env.reward import objective_bound, reward_norm
from env.simulation import State, dispatch, is_complete, new_state, operation_of, reset
from models.predictor import Matrix, Weights, Workspace, draw, new_workspace, score


class Record(NamedTuple):
    """Decisions with a choice, one after the other; `used` holds [decisions, rows] written so far."""

    rows: Matrix  # [row, feature] candidates of all decisions
    counts: Integers  # [decision] candidates of each decision
    chosen: Integers  # [decision] row of the candidate that was taken
    used: Integers  # [2]


class Sample(NamedTuple):
    """One sampled episode."""

    rows: Matrix  # [row, feature]
    counts: Integers  # [decision]
    chosen: Integers  # [decision]
    value: float  # final objective, seconds
    norm: float  # seconds that one unit of reward stands for


def sample_episodes(arrays: ProblemArrays, weights: Weights, seeds: list[int], temperature: float) -> list[Sample]:
    """One episode for each seed; equal seeds give equal episodes."""
    state, found = new_state(arrays), new_candidates(arrays)
    workspace = new_workspace(weights, len(arrays.machine_busy))
    operations = len(state.start)
    record = Record(
        rows=np.empty((operations * CANDIDATE_LIMIT, FEATURE_COUNT), dtype=np.float32),
        counts=np.empty(operations, dtype=np.int64),
        chosen=np.empty(operations, dtype=np.int64),
        used=np.zeros(2, dtype=np.int64),
    )
    norm = reward_norm(arrays, state)
    samples = []
    for seed in seeds:
        reset(arrays, state)
        value = sample_one(arrays, state, found, weights, workspace, record, seed, temperature)
        decisions, rows = record.used
        samples.append(
            Sample(
                rows=record.rows[:rows].copy(),
                counts=record.counts[:decisions].copy(),
                chosen=record.chosen[:decisions].copy(),
                value=value,
                norm=norm,
            )
        )
    return samples


@compiled
def sample_one(
    arrays: ProblemArrays,
    state: State,
    found: Candidates,
    weights: Weights,
    workspace: Workspace,
    record: Record,
    seed: int,
    temperature: float,
) -> float:
    """Play one episode from `state`, recording every decision that had a choice; gives its objective."""
    np.random.seed(seed)
    record.used[:] = 0
    while not is_complete(state):
        find_candidates(arrays, state, found)
        count = found.filled[0]
        taken = 0
        if count > 1:
            encode(arrays, state, found, workspace.tallies, workspace.rows)
            score(weights, workspace, count)
            taken = draw(workspace.logits, count, temperature)
            remember(record, workspace, count, taken)
        pair = found.pair[taken]
        dispatch(arrays, state, pair, operation_of(arrays, pair))
    return objective_bound(arrays, state)


@compiled
def remember(record: Record, workspace: Workspace, count: int, taken: int) -> None:
    """Append one decision."""
    decision, row = record.used[0], record.used[1]
    record.rows[row : row + count] = workspace.rows[:count]
    record.counts[decision] = count
    record.chosen[decision] = row + taken
    record.used[0] = decision + 1
    record.used[1] = row + count
