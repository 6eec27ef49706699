"""Makes `gymnasium.make("gantry/FlexibleJobShop-v0")` work once `env` has been imported."""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

ENVIRONMENT_ID = "gantry/FlexibleJobShop-v0"


def register_environments() -> None:
    """Register the environment by name; the module that holds it is imported when one is made."""
    if ENVIRONMENT_ID not in registry:
        register(id=ENVIRONMENT_ID, entry_point="env.gym_env:FlexibleJobShopEnv")
