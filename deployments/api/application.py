"""Puts routes, errors and documentation together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from deployments.api import access, plans, probes, rollout, schedules
from deployments.api.dependencies import API_KEY_HEADER, PREFER_HEADER
from deployments.api.documentation import install_console, install_documentation
from deployments.api.middleware import (
    REQUEST_ID_HEADER,
    Auditing,
    BodyBounds,
    BodyRemainder,
    HeadAsGet,
    RequestIdentity,
    SecurityHeaders,
)
from deployments.api.probes import EndOfService, Gate
from deployments.api.problems import install_problems
from deployments.api.services import Services
from deployments.runtime.clock import Clock, utc_now
from deployments.runtime.metrics import Meter
from deployments.scheduling.time_budget import LARGE_BODY_BYTES

DESCRIPTION = "Turns a plant's list of jobs into a safe production schedule."
LOCAL_ORIGINS = r"http://(localhost|127\.0\.0\.1)(:\d{1,5})?"
"""Pages of this machine, whatever their port: what developers open their front ends by."""
MIN_COMPRESSED_BYTES = 1000
COMPRESSION_LEVEL = 5
ROUTERS = (
    plans.files_router,
    schedules.router,
    plans.router,
    rollout.router,
    rollout.models_router,
    probes.router,
    access.router,
    schedules.demo_data,
)


def create_api(
    services: Callable[[], Services],
    *,
    cors_origins: Sequence[str] = (),
    cors_pattern: str | None = None,
    clock: Clock = utc_now,
    gate: Gate | None = None,
    meter: Meter | None = None,
) -> FastAPI:
    """The whole API. `services` is called for each request, so it may be bound after the app exists.

    Browsers may call from `cors_origins`, and from those that match `cors_pattern` as a whole.
    `clock` gives the timestamps of problem details, which must work before there are services. `gate` turns newcomers
    away when the service is about to end. `meter` is told of every answer.
    """
    app = FastAPI(
        title="Gantry",
        version=version("gantry"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        # A trailing slash is another path: a redirect would make clients send a large body twice.
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router)
    install_documentation(app, ROUTERS)
    install_console(app)
    install_problems(app, clock)
    # The last one added is the outermost.
    app.add_middleware(Auditing, services=services)
    app.add_middleware(BodyBounds, services=services)
    app.add_middleware(
        GZipMiddleware,
        minimum_size=MIN_COMPRESSED_BYTES,
        compresslevel=COMPRESSION_LEVEL,
        thread_minimum_size=LARGE_BODY_BYTES,
    )
    app.add_middleware(HeadAsGet)
    if gate is not None:
        app.add_middleware(EndOfService, gate=gate, clock=clock)
    if cors_origins or cors_pattern:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_origin_regex=cors_pattern,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=[
                API_KEY_HEADER,
                "Authorization",
                "Content-Type",
                "Content-Encoding",
                PREFER_HEADER,
                schedules.IDEMPOTENCY_HEADER,
                REQUEST_ID_HEADER,
            ],
            expose_headers=[REQUEST_ID_HEADER, schedules.REPLAYED_HEADER, "Retry-After", "Location"],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestIdentity, clock=clock, meter=meter)
    app.add_middleware(BodyRemainder)
    return app
