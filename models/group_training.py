"""The second stage of training: advantages from a group of episodes of the same problem.

Several episodes of one problem are sampled in the compiled core; how much better one is than their
mean is the advantage of all its decisions (Kwon et al. 2020, POMO; Shao et al. 2024, GRPO). That
needs no critic, has no bias from an unfinished episode, and costs a tenth of an environment step
through Python, so most of the training happens here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from env.generator import random_problem
from env.problem_arrays import compile_problem
from models.config import TrainingConfig
from models.network import CandidateScorer
from models.predictor import Predictor, Weights
from models.sampling import Sample, sample_episodes
from models.validation import weights_of

GRADIENT_LIMIT = 1.0
TYPICAL_DEVIATION = 0.03
"""How far episodes of one problem lie apart early in training, per reward norm."""
LARGEST_ADVANTAGE = 4.0
SHORTEST_LEARNING_RATE = 0.05


class Batch(NamedTuple):
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
        lambda drawn: sample_episodes(compile_problem(drawn[0]), weights, drawn[1], 1.0),
        zip(problems, seeds, strict=True),
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
    advantages = np.clip(
        (values.mean() - values) / (TYPICAL_DEVIATION * group[0].norm), -LARGEST_ADVANTAGE, LARGEST_ADVANTAGE
    )
    return [(sample, float(gain)) for sample, gain in zip(group, advantages, strict=True) if len(sample.counts) > 0]


def _batch(episodes: Sequence[tuple[Sample, float]]) -> Batch:
    """Each episode weighs the same, however many decisions it has."""
    first_row = np.cumsum([0, *(len(sample.rows) for sample, _ in episodes)])
    decisions = float(np.mean([len(sample.counts) for sample, _ in episodes]))
    return Batch(
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


def _chunks(batch: Batch, config: TrainingConfig, rng: Generator) -> list[Batch]:
    """The decisions dealt at random into chunks of about `group_rows` rows, at most `group_steps` of them.

    What is left over is dropped; as every decision is equally likely to be, the gradient stays unbiased.
    """
    count = max(1, round(len(batch.rows) / config.group_rows))
    dealt = rng.integers(count, size=len(batch.counts))
    return [_subset(batch, dealt == chunk) for chunk in range(min(count, config.group_steps)) if (dealt == chunk).any()]


def _subset(batch: Batch, kept: NDArray[np.bool_]) -> Batch:
    kept_rows = np.repeat(kept, batch.counts)
    place = np.cumsum(kept_rows) - 1
    return Batch(batch.rows[kept_rows], batch.counts[kept], place[batch.chosen[kept]], batch.advantage[kept])


def _learn(
    scorer: CandidateScorer, optimizer: torch.optim.Optimizer, chunks: Sequence[Batch], config: TrainingConfig
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


def _log_probabilities(scorer: CandidateScorer, batch: Batch) -> torch.Tensor:
    counts = torch.from_numpy(batch.counts)
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return scorer.log_probabilities(torch.from_numpy(batch.rows), owner, counts)


def _chosen(log_probabilities: torch.Tensor, batch: Batch) -> torch.Tensor:
    return log_probabilities[torch.from_numpy(batch.chosen)]


def _anneal(optimizer: torch.optim.Optimizer, config: TrainingConfig, done: float) -> None:
    share = 0.5 * (1.0 + np.cos(np.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = config.group_learning_rate * max(SHORTEST_LEARNING_RATE, share)
