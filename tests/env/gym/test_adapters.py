from __future__ import annotations

import numpy as np
import pytest

from env.gym.adapters import VectorEpisodes
from env.instances.generator import Plant, random_problem
from env.simulator.observation import FEATURE_COUNT, FEATURE_LIMIT

SMALL = Plant(operations=(8, 20))


def _episodes(count: int, seed: int) -> VectorEpisodes:
    return VectorEpisodes(lambda rng: random_problem(rng, SMALL), count, seed)


def test_slots_play_on_after_an_episode() -> None:
    """Every slot always has at least two legal actions, whatever ended before."""
    slots = _episodes(4, 0)
    ended = 0
    for _ in range(120):
        assert (slots.masks.sum(1) >= 2).all()
        rewards, dones, infos = slots.step(np.zeros(4, dtype=np.int64))
        ended += int(dones.sum())
        assert rewards.shape == dones.shape == (4,)
        assert all(("objective_per_norm" in info) == bool(done) for info, done in zip(infos, dones, strict=True))
    assert ended > 4


def test_same_seed_gives_the_same_slots() -> None:
    """Equal seeds and actions give equal rewards and observations."""
    first, second = _episodes(3, 7), _episodes(3, 7)
    for _ in range(30):
        one, two = first.step(np.zeros(3, dtype=np.int64)), second.step(np.zeros(3, dtype=np.int64))
        assert (one[0] == two[0]).all()
        assert (first.observations == second.observations).all()


def test_rewards_of_an_episode_add_up_to_its_objective() -> None:
    """Return plus final objective is the first bound, which does not depend on the actions."""
    sums = []
    for action in (0, 1):
        slots = _episodes(1, 11)
        total, done = 0.0, np.array([False])
        while not done[0]:
            rewards, done, infos = slots.step(np.array([action]))
            total += float(rewards[0])
        sums.append(total + infos[0]["objective_per_norm"])
    assert sums[0] == pytest.approx(sums[1], abs=1e-4)


def test_observations_stay_within_their_limits() -> None:
    """Features are finite and clipped, also for plants with calendars and due dates."""
    slots = VectorEpisodes(lambda rng: random_problem(rng, Plant(operations=(20, 60), calendar_share=1.0)), 4, 3)
    for _ in range(60):
        slots.step(np.ones(4, dtype=np.int64))
        assert np.isfinite(slots.observations).all()
        assert np.abs(slots.observations[:, :, :FEATURE_COUNT]).max() <= FEATURE_LIMIT


def test_illegal_action_ends_the_episode_of_its_slot() -> None:
    """The other slots play on."""
    slots = _episodes(2, 5)
    _, dones, _ = slots.step(np.array([127, 0]))
    assert dones.tolist() == [True, False]
