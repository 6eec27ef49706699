"""The gymnasium adapter: one episode schedules one problem, one action dispatches one candidate."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from env.candidates import CANDIDATE_LIMIT
from env.episode import Episode, begin, observe, play
from env.gantt import gantt_pixels, gantt_text
from env.generator import Plant, random_problem
from env.observation import FEATURE_COUNT, FEATURE_LIMIT
from env.problem import Problem
from env.problem_arrays import schedule_of
from env.reward import ILLEGAL_ACTION_REWARD, objective_bound
from env.schedule import Schedule


class FlexibleJobShopEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Schedule a flexible job shop, operation by operation.

    Observation: [limit, FEATURE_COUNT + 1] flattened, one row a candidate (see `env.observation`), the
    last column 1 where the row is one. Action: the row to dispatch. `action_masks()` and
    `info["action_mask"]`, shape [limit], say which actions are legal; an illegal one ends the episode
    with reward `ILLEGAL_ACTION_REWARD` and `info["illegal_action"]`. Rewards are those of
    `env.reward`: they add up to minus the objective, per problem-specific norm.

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
        if state.chosen_pair.min() >= 0:
            return schedule_of(self.problem, state.chosen_pair, state.start, state.end)
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
    placeholder = np.where(state.chosen_pair < 0, episode.arrays.pair_first[:-1], state.chosen_pair)
    everything = schedule_of(problem, placeholder, state.start, state.end).assignments
    return Schedule(
        assignments=tuple(
            assignment for assignment, pair in zip(everything, state.chosen_pair.tolist(), strict=True) if pair >= 0
        )
    )
