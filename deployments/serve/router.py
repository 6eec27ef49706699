"""RequestRouter: the ingress. HTTP comes in here, and the answer leaves when its decision is on disk."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api import create_api
from deployments.api.middleware import REQUEST_ID_HEADER
from deployments.persistence.spool.disk import LocalDisk
from deployments.serve.process import configure_process, release_start_up_memory, router_count
from deployments.serve.rollout_services import RolloutMethods
from deployments.serve.router_services import Neighbours, RouterServices
from deployments.settings.serve_config import AppArgs


class RequestRouter:
    """Runs on one event loop that nothing may block: large bodies and the manual rule go to threads.

    `disk` is where its spool lies; the auditor replaces it by one that fills up.
    """

    disk = LocalDisk()

    async def __init__(  # type: ignore[misc]
        self, policy: Any, validator: Any, writer: Any, counterfactual: Any, controller: Any, args: AppArgs
    ) -> None:
        """Takes handles of the other deployments; Ray awaits this. Raises `InvalidSettings` or `SpoolError`."""
        self._settings = configure_process()
        neighbours = Neighbours(
            propose=policy.propose,
            model_id=policy.model_id,
            judge=validator.judge,
            ping=validator.ping,
            write=writer.write,
            rollout=RolloutMethods(
                exchange=controller.exchange,
                command=controller.command,
                overview=controller.overview,
                compute=counterfactual.compute,
            ),
        )
        self._services = await RouterServices.open(
            neighbours, args, self._settings, router_count=router_count, disk=self.disk
        )
        release_start_up_memory()

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = create_api(lambda: self._services.services, cors_origins=self._settings.cors_origins)
        api.add_middleware(_WithoutRequestId)
        return api

    async def __del__(self) -> None:
        await self._services.close()


class _WithoutRequestId:
    """Takes the request id off the answer: Serve adds the same one, and two of them are no id any more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)[REQUEST_ID_HEADER]
            await send(message)

        await self._app(scope, receive, send_without_id)
