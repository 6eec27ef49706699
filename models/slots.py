"""`VectorEpisodes` as the VecEnv that MaskablePPO trains on."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from env.candidates import CANDIDATE_LIMIT
from env.observation import FEATURE_COUNT, FEATURE_LIMIT
from env.vector_env import VectorEpisodes


class Slots(VecEnv):
    """One slot an environment; observations are flat, as `FlexibleJobShopEnv` gives them."""

    def __init__(self, episodes: VectorEpisodes) -> None:
        count = len(episodes.episodes)
        self.episodes = episodes
        self.actions: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self.lengths: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self.returns: NDArray[np.float64] = np.zeros(count)
        super().__init__(count, observation_space(episodes.limit), spaces.Discrete(episodes.limit))

    def reset(self) -> NDArray[np.float32]:
        return self._flat()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self.actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        rewards, dones, endings = self.episodes.step(self.actions)
        self.lengths += 1
        self.returns += rewards
        infos: list[dict[str, Any]] = [dict(ending) for ending in endings]
        for slot in np.flatnonzero(dones):
            infos[slot]["episode"] = {"r": float(self.returns[slot]), "l": int(self.lengths[slot])}
        self.lengths[dones] = 0
        self.returns[dones] = 0.0
        return self._flat(), rewards, dones, infos

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        if method_name != "action_masks":
            raise AttributeError(f"slots can only be asked for action_masks, not for {method_name}")
        return list(self.episodes.masks)

    def has_attr(self, attr_name: str) -> bool:
        return attr_name == "action_masks"

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name != "render_mode":
            raise AttributeError(f"slots have no attribute {attr_name}")
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"slots have no attribute {attr_name} to set")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def close(self) -> None:
        """Nothing is held open."""

    def _flat(self) -> NDArray[np.float32]:
        return self.episodes.observations.reshape(self.num_envs, -1).copy()


def observation_space(limit: int = CANDIDATE_LIMIT) -> spaces.Box:
    """Candidate rows and their validity, flat: shape [limit * (features + 1)]."""
    return spaces.Box(-FEATURE_LIMIT, FEATURE_LIMIT, (limit * (FEATURE_COUNT + 1),), np.float32)
