"""Calls the API in process, over ASGI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from fastapi import FastAPI

from deployments.api import Services, create_api
from deployments.settings.service import DEVELOPMENT_API_KEY
from tests.deployments.fakes import NOW, services_over

KEY = {"X-API-Key": DEVELOPMENT_API_KEY}


async def call(
    method: str,
    path: str,
    *,
    services: Services | None = None,
    app: FastAPI | None = None,
    headers: Mapping[str, str] | None = None,
    cors_origins: Sequence[str] = (),
    **sent: Any,
) -> httpx.Response:
    """One answer of `app`, else of the API over `services`; with the development key unless given other headers."""
    bound = services or services_over()
    app = app or create_api(lambda: bound, cors_origins=cors_origins, clock=lambda: NOW)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gantry") as client:
        return await client.request(method, path, headers=KEY if headers is None else dict(headers), **sent)
