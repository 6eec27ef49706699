"""The first stage of training: choose what leads to good schedules.

Behaviour cloning of the searched schedules of `demonstrations`, with the whole set of right candidates
as the label: what is maximised is the probability of choosing any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.config import TrainingConfig
from models.demonstrations import Demonstration, demonstration
from models.network import CandidateScorer

AVERAGE = 0.995
GRADIENT_LIMIT = 1.0
SHORTEST_LEARNING_RATE = 0.02
LEAST_PROBABILITY = 1e-6


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
                group["lr"] = config.imitation_learning_rate * max(SHORTEST_LEARNING_RATE, share)
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
    loss = -(chance + LEAST_PROBABILITY).log().mean()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(scorer.parameters(), GRADIENT_LIMIT)
    optimizer.step()
