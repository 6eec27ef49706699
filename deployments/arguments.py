"""What `serve_config.yaml` may say about the application itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AppArgs(BaseModel):
    """The `args` of the application. Ray refuses the deployment when one is unknown or out of range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempts: int = Field(3, ge=1, le=10, description="calls of policy or judge before a lost replica is a failure")
    judge_timeout_seconds: float = Field(30.0, gt=0, le=600, description="longest wait for a verdict")
    manual_threads: int = Field(2, ge=1, le=64, description="manual schedules that one router makes at a time")
    drain_seconds: float = Field(3.0, ge=0, le=60, description="for the spool to empty when a router is stopped")
