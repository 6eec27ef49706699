"""What every replica does first."""

from __future__ import annotations

from deployments.logs import configure_logging
from deployments.settings import Settings, load_settings


def settle_in() -> Settings:
    """The settings of this process, with its log lines as they want them. Raises `InvalidSettings`."""
    settings = load_settings()
    configure_logging(settings.log_level.upper(), settings.secrets)
    return settings


def router_count() -> int:
    """How many replicas share the work of the one that asks, as Serve knows it; one outside of Serve."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        return serve.get_replica_context().world_size or 1
    except RayServeException:
        return 1
