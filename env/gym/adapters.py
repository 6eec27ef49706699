"""The gymnasium adapters: one episode as an environment, and many at once for training."""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.random import Generator
from numpy.typing import NDArray

from env.insight.gantt import gantt_pixels, gantt_text
from env.instances.generator import Plant, random_problem
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.arrays import schedule_of
from env.simulator.candidates import CANDIDATE_LIMIT
from env.simulator.compilation import compiled
from env.simulator.episode import ILLEGAL_ACTION_REWARD, Episode, begin, objective_bound, observe, play, play_forced
from env.simulator.observation import FEATURE_COUNT, FEATURE_LIMIT, Rows
from env.simulator.simulation import is_complete
from env.simulator.state import NOBODY


class FlexibleJobShopEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Schedule a flexible job shop, operation by operation.

    Observation: [limit, FEATURE_COUNT + 1] flattened, one row a candidate (see `env.simulator.observation`), the
    last column 1 where the row is one. Action: the row to dispatch. `action_masks()` and
    `info["action_mask"]`, shape [limit], say which actions are legal; an illegal one ends the episode
    with reward `ILLEGAL_ACTION_REWARD` and `info["illegal_action"]`. Rewards are those of
    `env.simulator.episode`: they add up to minus the objective, per problem-specific norm.

    `reset(options={"problem": ...})` plays that problem; else the one given at construction; else a
    new one of kind `plant`, drawn from the seeded generator.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - gymnasium declares it as an instance variable
        "render_modes": ["rgb_array", "ansi"],
        "render_fps": 4,
    }

    def __init__(
        self,
        problem: Problem | None = None,
        plant: Plant | None = None,
        limit: int = CANDIDATE_LIMIT,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be one of {self.metadata['render_modes']}, was {render_mode!r}")
        self.fixed_problem = problem
        self.plant = plant
        self.limit = limit
        self.render_mode = render_mode
        self.observation_space = spaces.Box(-FEATURE_LIMIT, FEATURE_LIMIT, (limit * (FEATURE_COUNT + 1),), np.float32)
        self.action_space = spaces.Discrete(limit)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        chosen = (options or {}).get("problem", self.fixed_problem)
        self.problem: Problem = chosen or random_problem(self.np_random, self.plant)
        self.episode = begin(self.problem, self.limit)
        self.rows = np.zeros((self.limit, FEATURE_COUNT + 1), dtype=np.float32)
        observe(self.episode, self.rows)
        return self.rows.flatten(), self._info()

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if not self.action_masks()[int(action)]:
            self.rows[:] = 0.0
            return self.rows.flatten(), ILLEGAL_ACTION_REWARD, True, False, {**self._info(), "illegal_action": True}
        reward, complete = play(self.episode, int(action))
        observe(self.episode, self.rows)
        return self.rows.flatten(), float(reward), bool(complete), False, self._info()

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are legal, shape [limit]."""
        return self.rows[:, FEATURE_COUNT] > 0.5

    @property
    def schedule(self) -> Schedule:
        """What has been dispatched so far."""
        state = self.episode.state
        if (state.chosen_pair != NOBODY).all():
            return schedule_of(self.problem, state.chosen_pair, state.start, state.end, state.sequence)
        return _partial_schedule(self.problem, self.episode)

    def render(self) -> Any:
        if self.render_mode == "ansi":
            return gantt_text(self.problem, self.schedule)
        if self.render_mode == "rgb_array":
            return gantt_pixels(self.problem, self.schedule)
        return None

    def _info(self) -> dict[str, Any]:
        bound = float(objective_bound(self.episode.arrays, self.episode.state))
        return {"action_mask": self.action_masks(), "objective_bound_seconds": bound}


def _partial_schedule(problem: Problem, episode: Episode) -> Schedule:
    state = episode.state
    placeholder = np.where(state.chosen_pair == NOBODY, episode.arrays.pair_first[:-1], state.chosen_pair)
    everything = schedule_of(problem, placeholder, state.start, state.end).assignments
    return Schedule(assignments=tuple(compress(everything, state.chosen_pair != NOBODY)))


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
