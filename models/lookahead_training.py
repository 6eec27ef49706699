"""The stage of training that makes the greedy policy better: raise the chance of what leads to less.

Each update looks ahead from some decisions of some fresh problems (`lookahead`), keeps them for a
while, and takes a gradient step on the expected regret of the choices that were tried: the policy
gradient over all of them, with no critic and nothing sampled but the decisions themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import torch
from numpy.random import Generator
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from env.generator import random_problem
from env.problem_arrays import compile_problem
from models.config import TrainingConfig
from models.lookahead import Choices, look_ahead
from models.network import CandidateScorer
from models.predictor import Predictor, Weights
from models.validation import weights_of

GRADIENT_LIMIT = 1.0
SHORTEST_LEARNING_RATE = 0.05
LARGEST_REGRET = 0.05
"""Larger regrets count as this."""


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
                group["lr"] = config.lookahead_learning_rate * max(SHORTEST_LEARNING_RATE, share)
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
    owner, regret = owner[tried], regret[tried].clamp(max=LARGEST_REGRET)
    total = torch.zeros(len(counts)).index_add(0, owner, chances)
    share = chances / total[owner]
    expected = (share * regret).sum() / len(counts)
    spread = -(share * (share + 1e-9).log()).sum() / len(counts)
    optimizer.zero_grad()
    (expected / LARGEST_REGRET - config.lookahead_entropy * spread).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(scorer.parameters(), GRADIENT_LIMIT)
    optimizer.step()
