"""The second stage of training: advantages from a group of sampled episodes of the same problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from env.instances.generator import random_problem
from env.simulator.arrays import Integers, ProblemArrays, compile_problem
from env.simulator.candidates import CANDIDATE_LIMIT, Candidates, find_candidates, new_candidates
from env.simulator.compilation import compiled
from env.simulator.episode import objective_bound, reward_norm
from env.simulator.observation import FEATURE_COUNT, encode
from env.simulator.simulation import dispatch, is_complete, new_state, operation_of, reset
from env.simulator.state import State
from models.network import CandidateScorer
from models.policy.predictor import Matrix, Predictor, Weights, Workspace, draw, new_workspace, score
from models.training.config import TrainingConfig
from models.training.validation import weights_of

GRADIENT_LIMIT = 1.0
TYPICAL_DEVIATION = 0.03
"""How far episodes of one problem lie apart early in training, per reward norm."""
MAX_ADVANTAGE = 4.0
MIN_LEARNING_RATE = 0.05
DECISIONS, ROWS = range(2)  # entries of Record.used


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
    decision, row = record.used[DECISIONS], record.used[ROWS]
    record.rows[row : row + count] = workspace.rows[:count]
    record.counts[decision] = count
    record.chosen[decision] = row + taken
    record.used[DECISIONS] = decision + 1
    record.used[ROWS] = row + count


class DecisionBatch(NamedTuple):
    """Decisions of many episodes; the axis `row` holds the candidates of all decisions."""

    rows: NDArray[np.float32]  # [row, feature]
    counts: NDArray[np.int64]  # [decision]
    chosen: NDArray[np.int64]  # [decision] row that was taken
    advantage: NDArray[np.float32]  # [decision]


def train_in_groups(
    scorer: CandidateScorer,
    config: TrainingConfig,
    rng: Generator,
    on_update: Callable[[CandidateScorer, int], None],
) -> None:
    """Improve `scorer` in place for `config.group_updates` updates.

    `on_update` hears the exponential average of the weights, which plays better greedily than the
    weights of any one update, and the number of the update.
    """
    average = get_ema_multi_avg_fn(config.group_average)  # type: ignore[no-untyped-call]
    averaged = AveragedModel(scorer, multi_avg_fn=average)
    optimizer = torch.optim.Adam(scorer.parameters(), lr=config.group_learning_rate)
    with ThreadPoolExecutor(config.threads) as threads:
        for update in range(config.group_updates):
            _anneal(optimizer, config, update / config.group_updates)
            episodes = _play(Predictor([weights_of(scorer)]).networks[0], config, rng, threads)
            if episodes:
                _learn(scorer, optimizer, _chunks(_batch(episodes), config, rng), config)
                averaged.update_parameters(scorer)
            on_update(cast("CandidateScorer", averaged.module), update + 1)


def _play(
    weights: Weights, config: TrainingConfig, rng: Generator, threads: ThreadPoolExecutor
) -> list[tuple[Sample, float]]:
    problems = [random_problem(rng, config.plant) for _ in range(config.group_problems)]
    seeds = rng.integers(0, 2**31, size=(config.group_problems, config.group_size)).tolist()
    groups = threads.map(
        lambda problem, own_seeds: sample_episodes(compile_problem(problem), weights, own_seeds, 1.0), problems, seeds
    )
    return [pair for group in groups for pair in _with_advantage(group)]


def _with_advantage(group: Sequence[Sample]) -> list[tuple[Sample, float]]:
    """Episodes with how much better each is than the mean of its group, in units of `TYPICAL_DEVIATION`.

    Not in units of the group's own deviation: that would give problems on which all episodes are nearly
    alike, and there is nothing to learn, the same weight as all others.
    """
    values = np.array([sample.value for sample in group])
    if np.ptp(values) == 0.0:
        return []
    advantages = np.clip((values.mean() - values) / (TYPICAL_DEVIATION * group[0].norm), -MAX_ADVANTAGE, MAX_ADVANTAGE)
    return [(sample, float(gain)) for sample, gain in zip(group, advantages, strict=True) if len(sample.counts) > 0]


def _batch(episodes: Sequence[tuple[Sample, float]]) -> DecisionBatch:
    """Each episode weighs the same, however many decisions it has."""
    first_row = np.cumsum([0, *(len(sample.rows) for sample, _ in episodes)])
    decisions = float(np.mean([len(sample.counts) for sample, _ in episodes]))
    return DecisionBatch(
        rows=np.concatenate([sample.rows for sample, _ in episodes]),
        counts=np.concatenate([sample.counts for sample, _ in episodes]),
        chosen=np.concatenate([sample.chosen + row for (sample, _), row in zip(episodes, first_row, strict=False)]),
        advantage=np.concatenate(
            [
                np.full(len(sample.counts), advantage * decisions / len(sample.counts), dtype=np.float32)
                for sample, advantage in episodes
            ]
        ),
    )


def _chunks(batch: DecisionBatch, config: TrainingConfig, rng: Generator) -> list[DecisionBatch]:
    """The decisions dealt at random into chunks of about `group_rows` rows, at most `group_steps` of them.

    What is left over is dropped; as every decision is equally likely to be, the gradient stays unbiased.
    """
    count = max(1, round(len(batch.rows) / config.group_rows))
    dealt = rng.integers(count, size=len(batch.counts))
    return [_subset(batch, dealt == chunk) for chunk in range(min(count, config.group_steps)) if (dealt == chunk).any()]


def _subset(batch: DecisionBatch, kept: NDArray[np.bool_]) -> DecisionBatch:
    kept_rows = np.repeat(kept, batch.counts)
    place = np.cumsum(kept_rows) - 1
    return DecisionBatch(batch.rows[kept_rows], batch.counts[kept], place[batch.chosen[kept]], batch.advantage[kept])


def _learn(
    scorer: CandidateScorer, optimizer: torch.optim.Optimizer, chunks: Sequence[DecisionBatch], config: TrainingConfig
) -> None:
    """One step of the clipped surrogate (Schulman et al. 2017) a chunk; probabilities before the first count as old."""
    with torch.no_grad():
        old = [_chosen(_log_probabilities(scorer, chunk), chunk) for chunk in chunks]
    for chunk, before in zip(chunks, old, strict=True):
        log_probabilities = _log_probabilities(scorer, chunk)
        ratio = (_chosen(log_probabilities, chunk) - before).exp()
        advantage = torch.from_numpy(chunk.advantage)
        clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
        gain = torch.minimum(ratio * advantage, clipped * advantage).mean()
        spread = -(log_probabilities.exp() * log_probabilities).sum() / len(chunk.counts)
        optimizer.zero_grad()
        (-gain - config.group_entropy * spread).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(scorer.parameters(), GRADIENT_LIMIT)
        optimizer.step()


def _log_probabilities(scorer: CandidateScorer, batch: DecisionBatch) -> torch.Tensor:
    counts = torch.from_numpy(batch.counts)
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return scorer.log_probabilities(torch.from_numpy(batch.rows), owner, counts)


def _chosen(log_probabilities: torch.Tensor, batch: DecisionBatch) -> torch.Tensor:
    return log_probabilities[torch.from_numpy(batch.chosen)]


def _anneal(optimizer: torch.optim.Optimizer, config: TrainingConfig, done: float) -> None:
    share = 0.5 * (1.0 + np.cos(np.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = config.group_learning_rate * max(MIN_LEARNING_RATE, share)
