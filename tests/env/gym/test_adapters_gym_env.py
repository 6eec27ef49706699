from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from env.gym.adapters import FlexibleJobShopEnv
from env.instances.generator import toy_problem
from env.judge.judge import violations
from env.simulator.episode import ILLEGAL_ACTION_REWARD
from env.simulator.observation import FEATURE_COUNT

ENVIRONMENT = "env.gym:gantry/FlexibleJobShop-v0"


@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_environment_passes_the_checker_of_gymnasium(render_mode: str) -> None:
    """gymnasium finds nothing to object to, in either render mode."""
    made = gymnasium.make(ENVIRONMENT, render_mode=render_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped)


def test_environment_passes_the_checker_of_stable_baselines3() -> None:
    """Stable-Baselines3 finds nothing to object to, although it samples illegal actions."""
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(gymnasium.make(ENVIRONMENT).unwrapped)


def test_toy_episode_adds_up_to_its_makespan() -> None:
    """Four dispatches schedule the toy problem; the rewards sum to bound minus makespan, in norms: zero here."""
    shop = FlexibleJobShopEnv(problem=toy_problem())
    shop.reset(seed=0)
    rewards, complete = [], False
    while not complete:
        _, reward, complete, truncated, info = shop.step(np.int64(0))
        rewards.append(reward)
        assert not truncated
    assert len(rewards) == 4
    assert sum(rewards) == pytest.approx(0.0)
    assert info["objective_bound_seconds"] == shop.schedule.makespan_seconds == 5
    assert violations(toy_problem(), shop.schedule) == ()


def test_same_seed_gives_the_same_episode() -> None:
    """Two environments with one seed and one action sequence see the same observations."""
    first, second = FlexibleJobShopEnv(), FlexibleJobShopEnv()
    assert (first.reset(seed=9)[0] == second.reset(seed=9)[0]).all()
    for _ in range(10):
        one, two = first.step(np.int64(0)), second.step(np.int64(0))
        assert (one[0] == two[0]).all()
        assert one[1:4] == two[1:4]


def test_illegal_action_ends_the_episode() -> None:
    """An action outside the mask costs the documented penalty and ends the episode."""
    shop = FlexibleJobShopEnv()
    _, info = shop.reset(seed=1)
    illegal = int(np.flatnonzero(~info["action_mask"])[0])
    observation, reward, terminated, truncated, info = shop.step(np.int64(illegal))
    assert (reward, terminated, truncated) == (ILLEGAL_ACTION_REWARD, True, False)
    assert info["illegal_action"]
    assert not observation.any()


def test_mask_marks_the_rows_that_are_candidates() -> None:
    """The last column of each row is the mask."""
    shop = FlexibleJobShopEnv()
    observation, info = shop.reset(seed=2)
    assert (observation.reshape(-1, FEATURE_COUNT + 1)[:, -1] == info["action_mask"]).all()


def test_partial_schedule_can_be_rendered() -> None:
    """Half-way through, the chart has a row for each machine and shows only what was dispatched."""
    shop = FlexibleJobShopEnv(problem=toy_problem(), render_mode="ansi")
    shop.reset()
    shop.step(np.int64(0))
    assert len(shop.schedule.assignments) == 1
    assert "left" in shop.render()


def test_unknown_render_mode_is_refused() -> None:
    """A render mode that does not exist is named."""
    with pytest.raises(ValueError, match="was 'human'"):
        FlexibleJobShopEnv(render_mode="human")
