"""The stage that makes the greedy policy better: what choices lead to, and more of those that lead to less."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from env.instances.generator import random_problem
from env.simulator.arrays import MAKESPAN_WEIGHT, Floats, Integers, ProblemArrays, compile_problem
from env.simulator.candidates import CANDIDATE_LIMIT, Candidates, find_candidates, new_candidates
from env.simulator.compilation import compiled
from env.simulator.episode import objective_bound, reward_norm
from env.simulator.observation import FEATURE_COUNT, Rows, encode
from env.simulator.simulation import dispatch, is_complete, new_state, operation_of
from env.simulator.state import MAKESPAN_BOUND, State
from models.network import CandidateScorer
from models.policy.predictor import Predictor, Weights, Workspace, draw, new_workspace, play_on, score
from models.training.config import TrainingConfig
from models.training.validation import weights_of

GREEDILY = 0.0
"""A temperature at which nothing is drawn."""
MIN_NORM = 0.05
"""The least objective that losses are counted in, in norms of the reward: next to no tardiness has no shares."""
SOFTNESS = 0.02
"""How far from the makespan, as a share of it, the end of a machine still counts for something."""
GRADIENT_LIMIT = 1.0
MIN_LEARNING_RATE = 0.05
MAX_REGRET = 0.05
"""Larger regrets count as this."""


class Choices(NamedTuple):
    """Some decisions of one problem; the axis `row` holds all candidates of all of them."""

    rows: Rows  # [row, feature]
    counts: Integers  # [decision]
    regret: NDArray[np.float32]  # [row] share of the objective lost against the decision's best, NaN where not tried


def look_ahead(
    arrays: ProblemArrays, weights: Weights, decisions: int, tries: int, wander: float, seed: int
) -> Choices:
    """About so many decisions of one episode, with up to `tries` of the candidates of each followed to the end.

    The episode takes the best candidate, but with the chance `wander` one drawn by its probability, so
    that states beside the greedy path are seen as well.
    """
    state, ahead = new_state(arrays), new_state(arrays)
    min_norm = MIN_NORM * reward_norm(arrays, state)
    operations = len(state.start)
    most = min(operations, 4 * decisions)
    rows = np.empty((most * CANDIDATE_LIMIT, FEATURE_COUNT), dtype=np.float32)
    counts = np.empty(most, dtype=np.int64)
    value = np.full(most * CANDIDATE_LIMIT, np.nan)
    machines = len(arrays.machine_busy)
    row_count, decision_count = play_and_branch(
        arrays,
        state,
        ahead,
        new_candidates(arrays),
        new_candidates(arrays),
        weights,
        new_workspace(weights, machines),
        new_workspace(weights, machines),
        rows,
        counts,
        value,
        decisions / operations,
        wander,
        tries,
        seed,
    )
    counts = counts[:decision_count].copy()
    return Choices(rows[:row_count].copy(), counts, regrets(value[:row_count], counts, min_norm))


def regrets(value: Floats, counts: Integers, min_norm: float) -> NDArray[np.float32]:
    """How much more than the best of its decision each row, shape [row], leads to, as a share of the least of all.

    Shares of the objective, so that plants with little tardiness teach as much as those with long makespans.
    """
    if len(counts) == 0:
        return np.zeros(0, dtype=np.float32)
    first = np.cumsum(counts) - counts
    loss = value - np.repeat(np.fmin.reduceat(value, first), counts)
    return (loss / max(float(np.nanmin(value)), min_norm)).astype(np.float32)  # type: ignore[no-any-return]


@compiled
def play_and_branch(
    arrays: ProblemArrays,
    state: State,
    ahead: State,
    found: Candidates,
    found_ahead: Candidates,
    weights: Weights,
    workspace: Workspace,
    workspace_ahead: Workspace,
    rows: Rows,
    counts: Integers,
    value: Floats,
    share: float,
    wander: float,
    tries: int,
    seed: int,
) -> tuple[int, int]:
    """Play one episode; at a `share` of the decisions follow some of the candidates to the end in `ahead`.

    Gives the number of rows and of decisions.
    """
    np.random.seed(seed)
    row, decision = 0, 0
    while not is_complete(state):
        find_candidates(arrays, state, found)
        count = found.filled[0]
        taken = 0
        if count > 1:
            encode(arrays, state, found, workspace.tallies, workspace.rows)
            taken = score(weights, workspace, count)
            if decision < len(counts) and np.random.random() < share:
                rows[row : row + count] = workspace.rows[:count]
                counts[decision] = count
                for _ in range(min(tries, count)):
                    index = next_to_try(workspace, value[row : row + count], count)
                    copy_state(state, ahead)
                    dispatch(arrays, ahead, found.pair[index], operation_of(arrays, found.pair[index]))
                    play_on(arrays, ahead, found_ahead, weights, workspace_ahead, GREEDILY)
                    value[row + index] = softened_objective(arrays, ahead)
                decision += 1
                row += count
            if np.random.random() < wander:
                taken = draw(workspace.logits, count, 1.0)
        dispatch(arrays, state, found.pair[taken], operation_of(arrays, found.pair[taken]))
    return row, decision


@compiled
def softened_objective(arrays: ProblemArrays, state: State) -> float:
    """Objective of a complete state with the makespan as a softened maximum over the machines, in seconds.

    Which machine ends last is luck where many end at nearly the same time, and greedy play multiplies
    luck: the softened maximum tells with fewer episodes which of two choices is better.
    """
    makespan = state.totals[MAKESPAN_BOUND]
    softness = SOFTNESS * makespan
    crowd = 0.0
    for machine in range(len(state.machine_ready)):
        crowd += np.exp((state.machine_ready[machine] - makespan) / softness)
    return objective_bound(arrays, state) + arrays.objective[MAKESPAN_WEIGHT] * softness * np.log(crowd)  # type: ignore[no-any-return]


@compiled
def next_to_try(workspace: Workspace, value: Floats, count: int) -> int:
    """A candidate that has not been tried, drawn by its probability."""
    best, best_value = 0, -np.inf
    for index in range(count):
        if np.isnan(value[index]):
            noisy = workspace.logits[index] - np.log(-np.log(np.random.random() + 1e-12) + 1e-12)
            if noisy > best_value:
                best, best_value = index, noisy
    return best


@compiled
def copy_state(source: State, target: State) -> None:
    """Make `target` equal to `source`."""
    target.machine_ready[:] = source.machine_ready
    target.machine_load[:] = source.machine_load
    target.machine_queue[:] = source.machine_queue
    target.job_next[:] = source.job_next
    target.job_start[:] = source.job_start
    target.job_end[:] = source.job_end
    target.job_ready[:] = source.job_ready
    target.job_bound[:] = source.job_bound
    target.job_tardiness_bound[:] = source.job_tardiness_bound
    target.job_missed_bound[:] = source.job_missed_bound
    target.block_start[:] = source.block_start
    target.block_end[:] = source.block_end
    target.machine_group[:] = source.machine_group
    target.machine_waiting[:] = source.machine_waiting
    target.waiting_before[:] = source.waiting_before
    target.waiting_after[:] = source.waiting_after
    target.list_limit[:] = source.list_limit
    target.machine_listed[:] = source.machine_listed
    target.machine_urgent[:] = source.machine_urgent
    target.machine_latest[:] = source.machine_latest
    target.backlog[:] = source.backlog
    target.backlog_key[:] = source.backlog_key
    target.backlog_ready[:] = source.backlog_ready
    target.backlog_later[:] = source.backlog_later
    target.pair_start[:] = source.pair_start
    target.pair_end[:] = source.pair_end
    target.pair_work[:] = source.pair_work
    target.chosen_pair[:] = source.chosen_pair
    target.start[:] = source.start
    target.end[:] = source.end
    target.sequence[:] = source.sequence
    target.totals[:] = source.totals
    target.tardiness_bound[:] = source.tardiness_bound
    target.missed_bound[:] = source.missed_bound
    target.job_count[:] = source.job_count


def train_by_lookahead(
    scorer: CandidateScorer,
    config: TrainingConfig,
    rng: Generator,
    on_update: Callable[[CandidateScorer, int], None],
) -> None:
    """Improve `scorer` in place for `config.lookahead_updates` updates.

    `on_update` hears the exponential average of the weights and the number of the update.
    """
    averaged = AveragedModel(scorer, multi_avg_fn=get_ema_multi_avg_fn(config.lookahead_average))  # type: ignore[no-untyped-call]
    optimizer = torch.optim.Adam(scorer.parameters(), lr=config.lookahead_learning_rate)
    memory: deque[list[Choices]] = deque(maxlen=config.lookahead_memory)
    with ThreadPoolExecutor(config.threads) as threads:
        for update in range(config.lookahead_updates):
            share = 0.5 * (1.0 + np.cos(np.pi * update / config.lookahead_updates))
            for group in optimizer.param_groups:
                group["lr"] = config.lookahead_learning_rate * max(MIN_LEARNING_RATE, share)
            weights = Predictor([weights_of(cast("CandidateScorer", averaged.module))]).networks[0]
            memory.append(_look(weights, config, rng, threads))
            for _ in range(config.lookahead_steps):
                drawn = rng.integers(len(memory), size=config.lookahead_replayed)
                _learn(scorer, optimizer, [choices for place in drawn for choices in memory[place]], config)
                averaged.update_parameters(scorer)
            on_update(cast("CandidateScorer", averaged.module), update + 1)


def _look(weights: Weights, config: TrainingConfig, rng: Generator, threads: ThreadPoolExecutor) -> list[Choices]:
    problems = [random_problem(rng, config.plant) for _ in range(config.lookahead_problems)]
    seeds = rng.integers(2**31, size=len(problems)).tolist()
    found = threads.map(
        lambda problem, seed: look_ahead(
            compile_problem(problem),
            weights,
            config.lookahead_decisions,
            config.lookahead_tries,
            config.lookahead_wander,
            seed,
        ),
        problems,
        seeds,
    )
    return [choices for choices in found if len(choices.counts)]


def _learn(
    scorer: CandidateScorer, optimizer: torch.optim.Optimizer, drawn: Sequence[Choices], config: TrainingConfig
) -> None:
    """One step down the expected regret of what was tried."""
    counts = torch.from_numpy(np.concatenate([choices.counts for choices in drawn]))
    regret = torch.from_numpy(np.concatenate([choices.regret for choices in drawn]))
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    rows = torch.from_numpy(np.concatenate([choices.rows for choices in drawn]))
    tried = ~torch.isnan(regret)
    chances = scorer.log_probabilities(rows, owner, counts).exp()[tried]
    owner, regret = owner[tried], regret[tried].clamp(max=MAX_REGRET)
    total = torch.zeros(len(counts)).index_add(0, owner, chances)
    share = chances / total[owner]
    expected = (share * regret).sum() / len(counts)
    spread = -(share * (share + 1e-9).log()).sum() / len(counts)
    optimizer.zero_grad()
    (expected / MAX_REGRET - config.lookahead_entropy * spread).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(scorer.parameters(), GRADIENT_LIMIT)
    optimizer.step()
