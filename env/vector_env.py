"""Many episodes at once for training: each slot plays its own problem in the compiled core.

The interface is what Stable-Baselines3's `VecEnv` needs, without importing it; `models.training`
gives it that type.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from env.candidates import CANDIDATE_LIMIT
from env.compilation import compiled
from env.episode import Episode, begin, observe, play, play_forced
from env.observation import FEATURE_COUNT, Rows
from env.problem import Problem
from env.reward import objective_bound
from env.simulation import is_complete


class VectorEpisodes:
    """`count` slots of episodes with problems from `draw`, one Generator per slot.

    Observations have shape [slot, limit, FEATURE_COUNT + 1]: candidate rows, then 1 where the row is
    a choice. Masks have shape [slot, limit]. Decisions with a single candidate are played at once:
    they teach nothing, and about half of all decisions are such.
    """

    def __init__(
        self, draw: Callable[[Generator], Problem], count: int, seed: int, limit: int = CANDIDATE_LIMIT
    ) -> None:
        self.draw = draw
        self.limit = limit
        self.rngs = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
        self.observations = np.zeros((count, limit, FEATURE_COUNT + 1), dtype=np.float32)
        self.episodes = [self._begin(slot) for slot in range(count)]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Which actions are legal, shape [slot, limit]."""
        return self.observations[:, :, FEATURE_COUNT] > 0.5

    def step(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[dict[str, float]]]:
        """Play one action in each slot; a finished slot begins its next problem at once.

        Returns rewards and dones, both shape [slot], and per slot what an episode ended with.
        """
        count = len(self.episodes)
        rewards = np.zeros(count, dtype=np.float32)
        dones = np.zeros(count, dtype=np.bool_)
        infos: list[dict[str, float]] = [{} for _ in range(count)]
        for slot, action in enumerate(actions.tolist()):
            episode = self.episodes[slot]
            rewards[slot], dones[slot] = advance(episode, action, self.observations[slot])
            if dones[slot]:
                infos[slot] = {"objective_per_norm": objective_bound(episode.arrays, episode.state) / episode.norm}
                self.episodes[slot] = self._begin(slot)
        return rewards, dones, infos

    def _begin(self, slot: int) -> Episode:
        """The next problem of this slot that leaves something to choose, played up to that choice."""
        while True:
            episode = begin(self.draw(self.rngs[slot]), self.limit)
            play_forced(episode)
            if not is_complete(episode.state):
                observe(episode, self.observations[slot])
                return episode


@compiled
def advance(episode: Episode, action: int, rows: Rows) -> tuple[float, bool]:
    """Play an action and whatever is forced after it, then observe."""
    reward, is_over = play(episode, action)
    if not is_over:
        reward += play_forced(episode)
        is_over = is_complete(episode.state)
    observe(episode, rows)
    return reward, is_over
