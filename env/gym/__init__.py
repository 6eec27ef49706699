"""Gymnasium: one episode as an environment, and many at once for training.

`gymnasium.make("env.gym:gantry/FlexibleJobShop-v0")` imports this room, and so registers the environment: gymnasium 1.0
and later has no entry points for environments, a package registers what it has when it is imported.

| module | what it holds |
|---|---|
| adapters | FlexibleJobShopEnv, and `VectorEpisodes` for training |
"""

from gymnasium.envs.registration import register, registry

ENVIRONMENT_ID = "gantry/FlexibleJobShop-v0"

if ENVIRONMENT_ID not in registry:
    register(id=ENVIRONMENT_ID, entry_point="env.gym.adapters:FlexibleJobShopEnv")
