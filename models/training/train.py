"""TrainingConfig -> trained MaskablePPO: seeded, on many episodes at once, with progress and TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, configure
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from env.gym.adapters import VectorEpisodes
from env.instances.generator import random_problem
from env.simulator.candidates import CANDIDATE_LIMIT
from env.simulator.observation import FEATURE_COUNT, FEATURE_LIMIT
from models.network import CandidatePolicy, CandidateScorer
from models.training.config import TrainingConfig
from models.training.groups import train_in_groups
from models.training.imitation import imitate, prepare
from models.training.lookahead import train_by_lookahead
from models.training.validation import BestCheckpoint, Validation


class EpisodeSlots(VecEnv):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands: steps done of all steps, and the mean gain over the composite rule at the last validation.

    A step is a decision, a demonstration, an epoch or an update, as the stage has it. Gains are shares of the
    objective: 0.05 is five per cent better.
    """

    stage: str
    done: int
    total: int
    gain: float
    best_gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model with its best validated weights, and how good they were."""

    model: MaskablePPO
    gain: float


def train(
    config: TrainingConfig,
    *,
    log_folder: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Train from scratch. Equal configs give equal weights on equal machines."""
    torch.set_num_threads(config.threads)
    set_random_seed(config.seed)
    of_slots, of_lessons, of_imitation, of_lookahead, of_groups = np.random.SeedSequence(config.seed).spawn(5)
    seed = int(of_slots.generate_state(1)[0])
    slots = EpisodeSlots(VectorEpisodes(lambda rng: random_problem(rng, config.plant), config.slots, seed))
    model = _new_model(slots, config)
    logger = configure(None if log_folder is None else str(log_folder), [] if log_folder is None else ["tensorboard"])
    model.set_logger(logger)
    checkpoint = None if log_folder is None else log_folder / "best.pt"
    best = BestCheckpoint(Validation(config.plant, config.validation_problems), checkpoint)
    watch = _Watch(best, logger, on_progress)
    scorer = scorer_of(model)
    watch.validate(scorer)
    if config.decisions:
        model.learn(config.decisions, callback=_EachRollout(watch, config.decisions))
        watch.validate(scorer)
    if config.imitation_epochs:
        lessons = prepare(config, of_lessons, watch.steps("demonstrations", config.demonstrations))
        imitate(scorer, lessons, config, np.random.default_rng(of_imitation), watch.stage("imitation", config, 1))
    every = config.validate_every
    train_by_lookahead(scorer, config, np.random.default_rng(of_lookahead), watch.stage("lookahead", config, every))
    scorer.load_state_dict(watch.best.state)
    train_in_groups(scorer, config, np.random.default_rng(of_groups), watch.stage("groups", config, every))
    scorer.load_state_dict(watch.best.state)
    return Trained(model=model, gain=watch.best.gain)


def _new_model(slots: EpisodeSlots, config: TrainingConfig) -> MaskablePPO:
    return MaskablePPO(
        CandidatePolicy,
        slots,
        learning_rate=config.learning_rate,
        n_steps=config.rollout,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        gamma=1.0,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip,
        ent_coef=config.entropy,
        seed=config.seed,
        device="cpu",
    )


def scorer_of(model: MaskablePPO) -> CandidateScorer:
    """The network inside a model that this module trained."""
    assert isinstance(model.policy, CandidatePolicy)
    return model.policy.mlp_extractor


class _Watch:
    """Validates, logs and reports; knows nothing of how a stage learns."""

    def __init__(self, best: BestCheckpoint, logger: Logger, on_progress: Callable[[Progress], None]) -> None:
        self.best = best
        self.logger = logger
        self.on_progress = on_progress
        self.gain = -np.inf
        self.validations = 0

    def validate(self, scorer: CandidateScorer) -> None:
        self.gain = self.best.offer(scorer)
        self.validations += 1
        self.logger.record("validation/gain", self.gain)
        self.logger.dump(self.validations)

    def steps(self, stage: str, total: int) -> Callable[[int], None]:
        """Hears the steps of a stage that leaves the weights alone."""
        return lambda done: self._report(stage, done, total)

    def stage(self, stage: str, config: TrainingConfig, every: int) -> Callable[[CandidateScorer, int], None]:
        """Hears the weights after each step of a stage; validates every so many steps and at the end."""
        total = config.steps_of(stage)

        def hear(scorer: CandidateScorer, done: int) -> None:
            if done % every == 0 or done == total:
                self.validate(scorer)
            self._report(stage, done, total)

        return hear

    def _report(self, stage: str, done: int, total: int) -> None:
        self.on_progress(Progress(stage=stage, done=done, total=total, gain=self.gain, best_gain=self.best.gain))


class _EachRollout(BaseCallback):
    """Tells the watch how far Stable-Baselines3 is."""

    def __init__(self, watch: _Watch, decisions: int) -> None:
        super().__init__()
        self.hear = watch.steps("ppo", decisions)
        self.decisions = decisions

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.hear(min(self.num_timesteps, self.decisions))
