"""RequestRouter: the ingress. HTTP comes in here, and the answer leaves when its decision is on disk."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api import Services, create_api
from deployments.api.application import LOCAL_ORIGINS
from deployments.api.middleware import REQUEST_ID_HEADER
from deployments.persistence.spool.disk import LocalDisk
from deployments.serve.environment import require_few_nodes
from deployments.serve.metrics import replica_meter
from deployments.serve.process import (
    DrainNotice,
    NewcomersGate,
    configure_process,
    release_start_up_memory,
    require_message_room,
    router_count,
)
from deployments.settings.near_misses import unread_variables
from deployments.settings.serve_config import AppArgs
from deployments.settings.service import Environment

_log = logging.getLogger(__name__)


class RequestRouter:
    """Runs on one event loop that nothing may block: large bodies and the manual rule go to threads.

    `disk` is where its spool lies; the auditor replaces it by one that fills up.
    """

    disk = LocalDisk()

    async def __init__(  # type: ignore[misc]
        self,
        policy: Any,
        validator: Any,
        writer: Any,
        counterfactual: Any,
        controller: Any,
        args: AppArgs,
        open_services: Callable[..., Awaitable[Services]],
    ) -> None:
        """Takes handles of the other deployments; Ray awaits this. Raises `InvalidSettings` or `SpoolError`."""
        self._settings = configure_process()
        self._meter = replica_meter()
        require_message_room(self._settings)
        require_few_nodes(self._settings)
        for sentence in unread_variables():
            _log.warning(sentence)
        async with AsyncExitStack() as stack:
            self._services = await open_services(
                stack,
                self._settings,
                args,
                policy=policy,
                validator=validator,
                writer=writer,
                counterfactual=counterfactual,
                controller=controller,
                router_count=router_count,
                disk=self.disk,
                meter=self._meter,
            )
            self._gate = NewcomersGate(DrainNotice(self._settings.run_folder))
            self._gate.start()
            self._services.runs.count_in(self._gate)
            stack.push_async_callback(self._gate.stop)
            self._resources = stack.pop_all()
        release_start_up_memory()

    def __serve_build_asgi_app__(self) -> FastAPI:
        is_development = self._settings.environment is Environment.DEVELOPMENT
        api = create_api(
            lambda: self._services,
            cors_origins=self._settings.cors_origins,
            cors_pattern=LOCAL_ORIGINS if is_development else None,
            gate=self._gate,
            meter=self._meter,
        )
        api.add_middleware(_WithoutRequestId)
        return api

    async def __del__(self) -> None:
        # The spool gets a moment to empty; what is left waits on disk for the next owner.
        await self._resources.aclose()


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
