"""Reads `serve_config.yaml`, and refuses what Ray Serve would silently overlook."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field

from deployments.errors import ServiceError

if TYPE_CHECKING:
    from ray.serve.schema import ServeDeploySchema


_FIRST_COUNTS = ("min_replicas", "initial_replicas")


class AppArgs(BaseModel):
    """The `args` of the application. Ray refuses the deployment when one is unknown or out of range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempts: int = Field(2, ge=1, le=10, description="calls of policy or judge before a lost replica is a failure")
    judge_timeout_seconds: float = Field(30.0, gt=0, le=600, description="longest wait for a verdict")
    manual_threads: int = Field(2, ge=1, le=64, description="manual schedules that one router makes at a time")
    drain_seconds: float = Field(3.0, ge=0, le=60, description="for the spool to empty when a router is stopped")


class InvalidServeConfig(ServiceError):
    """The Serve configuration is missing, or says what Ray Serve does not understand."""


def read_serve_config(path: Path) -> ServeDeploySchema:
    """The file in Ray's own schema. Raises `InvalidServeConfig`, also for keys that Ray would overlook."""
    from ray.serve.schema import ServeDeploySchema

    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        with warnings.catch_warnings():
            # Ray deprecates every metrics_interval_s but its default, and warns of a short look-back without one.
            warnings.simplefilter("ignore", DeprecationWarning)
            config = ServeDeploySchema.model_validate(written)
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise InvalidServeConfig(f"{path} must be a Serve configuration: {error}") from error
    overlooked = [*_overlooked(written, config.model_dump(warnings="none"), ""), *_overlooked_autoscaling(config)]
    if overlooked:
        raise InvalidServeConfig(f"{path} must hold only keys that Ray Serve reads, had {', '.join(overlooked)}")
    return config


def one_of_each(config: ServeDeploySchema) -> ServeDeploySchema:
    """The same configuration with no more than one replica of each deployment to begin with."""
    first = config.model_copy(deep=True)
    for application in first.applications:
        for deployment in application.deployments:
            if isinstance(count := deployment.num_replicas, int):
                deployment.num_replicas = min(count, 1)
            if isinstance(scaling := deployment.autoscaling_config, dict):
                begins = {name: min(scaling[name], 1) for name in _FIRST_COUNTS if scaling.get(name) is not None}
                deployment.autoscaling_config = scaling | begins
    return first


def _overlooked(written: object, understood: object, where: str) -> Iterator[str]:
    if isinstance(written, dict) and isinstance(understood, dict):
        for key, value in written.items():
            path = f"{where}.{key}" if where else str(key)
            if key in understood:
                yield from _overlooked(value, understood[key], path)
            else:
                yield path
    elif isinstance(written, list) and isinstance(understood, list):
        for index, (value, known) in enumerate(zip(written, understood, strict=False)):
            yield from _overlooked(value, known, f"{where}[{index}]")


def _overlooked_autoscaling(config: ServeDeploySchema) -> Iterator[str]:
    """The schema keeps this part as it was written, so it is compared with the class that reads it later."""
    from ray.serve.config import AutoscalingConfig

    for application in config.applications:
        for deployment in application.deployments:
            if isinstance(deployment.autoscaling_config, dict):
                unknown = deployment.autoscaling_config.keys() - AutoscalingConfig.model_fields.keys()
                yield from (f"{deployment.name}.autoscaling_config.{key}" for key in sorted(unknown))
