"""Puts routes, errors and documentation together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from deployments.api import audit, models, probes, rollout, schedules
from deployments.api.dependencies import API_KEY_HEADER
from deployments.api.documentation import install_documentation
from deployments.api.middleware import REQUEST_ID_HEADER, Auditing, BodyBounds, RequestIdentity, SecurityHeaders
from deployments.api.problems import Clock, install_problems
from deployments.api.services import Services
from deployments.runtime.clock import utc_now

DESCRIPTION = "Turns a plant's list of jobs into a safe production schedule."
ROUTERS = (schedules.router, rollout.router, models.router, probes.router, audit.router)


def create_api(
    services: Callable[[], Services], *, cors_origins: Sequence[str] = (), clock: Clock = utc_now
) -> FastAPI:
    """The whole API. `services` is called for each request, so it may be bound after the app exists.

    `clock` gives the timestamps of problem details, which must work before there are services.
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
    install_problems(app, clock)
    # The last one added is the outermost.
    app.add_middleware(Auditing, services=services)
    app.add_middleware(BodyBounds, services=services)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=[API_KEY_HEADER, "Content-Type", schedules.IDEMPOTENCY_HEADER, REQUEST_ID_HEADER],
            expose_headers=[REQUEST_ID_HEADER, schedules.REPLAYED_HEADER, "Retry-After"],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestIdentity, clock=clock)
    return app
