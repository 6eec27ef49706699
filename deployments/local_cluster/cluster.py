"""One Ray Serve instance on this machine: from nothing to answering, and back to nothing.

On a cluster that somebody else runs, Ray's own `serve deploy serve_config.yaml` takes this room's place.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import psutil

from deployments.errors import ServiceError
from deployments.local_cluster.processes import descendants, end, is_alive
from deployments.serve.process import leave_out_unused

if TYPE_CHECKING:
    from ray.serve._private.application_state import StatusOverview
    from ray.serve._private.client import ServeControllerClient
    from ray.serve.schema import ServeDeploySchema

LOOPBACK = "127.0.0.1"
# Between the ports of Ray's workers and those of Serve's replicas, and below those of outgoing connections: whoever
# listens seconds after choosing must not find that a connection has taken the port meanwhile.
SIDE_PORTS = range(20_000, 30_000)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOGGER = logging.getLogger(__name__)
_MEBIBYTE = 2**20
_POLL_SECONDS = 0.1
# Asking costs the controller more than waiting costs us: it is busy starting what we wait for.
_STATUS_SECONDS = 0.4
_MIN_GRACE_SECONDS = 1.0
_HTTP_OK = 200
# Replicas ask for fractions of a CPU; a box of two cores must still have room for all of them.
_MIN_LOGICAL_CPUS = 8
# Requests and schedules travel inside messages, so the store of large objects stays small.
_OBJECT_STORE_BYTES = 128 * _MEBIBYTE


class PortTaken(ServiceError):
    """Another process listens where the service should."""


class NotReady(ServiceError):
    """The service did not become ready; the message says what it was waiting for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the service listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Where a client on this machine reaches it."""
        return f"http://{LOOPBACK if self.host == '0.0.0.0' else self.host}:{self.port}"  # noqa: S104

    def require_free(self) -> None:
        """Raises `PortTaken` when somebody listens there already."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                raise PortTaken(f"port {self.port} must be free, was taken; choose another with --port") from error


def free_port() -> int:
    """A loopback port that nobody listens on at the moment. Raises `PortTaken` when there is none."""
    return free_ports(1)[0]


def free_ports(count: int, promised: Collection[int] = ()) -> list[int]:
    """So many different loopback ports that nobody listens on at the moment, none of them `promised` to anyone.

    Raises `PortTaken` when there are not as many.
    """
    found: list[int] = []
    for port in secrets.SystemRandom().sample(SIDE_PORTS, len(SIDE_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            if port not in promised:
                found.append(port)
        if len(found) == count:
            return found
    raise PortTaken(f"one of the ports {SIDE_PORTS[0]} to {SIDE_PORTS[-1]} must be free, all were taken")


def ray_variables(service_port: int) -> dict[str, str]:
    """What Ray reads from the environment while it is imported: throughput mode, one thread each, free side ports."""
    stats, metrics, http, grpc = map(str, free_ports(4, promised=(service_port,)))
    variables = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # Longer than any answer may take; a client that is silent for as long holds no connection any more.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "180",
        # Behind this proxy nobody else balances, so there is no one to tell half a minute in advance.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        # Each turn of the controller copies the configuration of every deployment: ten a second cost 7 % of a core.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.3",
        "RAY_SERVE_HAPROXY_STATS_PORT": stats,
        "RAY_SERVE_HAPROXY_METRICS_PORT": metrics,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": http,
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": grpc,
        "RAY_USAGE_STATS_ENABLED": "0",
        # The replicas' own ports listen on every interface: nobody without the token of this run is heard there.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # The switch for "this node is alone": its address is then the loopback one, and so is what Ray binds.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Ray would have its workers step back behind every other process of the machine: they are the service.
        "RAY_worker_niceness": "0",
        # What each worker does first. Said as a runtime environment, it would cost every worker two processes more,
        # and all of them would wait for the agent that prepares such environments.
        "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "deployments.serve.process.leave_out_unused",
        "RAY_DEDUP_LOGS": "0",
        "RAY_COLOR_PREFIX": "0",
        "OMP_NUM_THREADS": "1",
        # Each thread of a replica would otherwise keep a heap of its own.
        "MALLOC_ARENA_MAX": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    # The proxy's binary comes with Ray on Linux only.
    return variables | ({"RAY_SERVE_ENABLE_HA_PROXY": "1"} if sys.platform == "linux" else {})


class LocalCluster:
    """Ray and Serve as children of this process. `start` and `stop` are called once each."""

    def __init__(self, config: ServeDeploySchema, listener: Address, *, quiet: bool = False) -> None:
        self._config = config.model_copy(
            update={
                "http_options": config.http_options.model_copy(update={"host": listener.host, "port": listener.port})
            }
        )
        self._listener = listener
        self._quiet = quiet
        self._children: tuple[psutil.Process, ...] = ()

    def start(self, timeout_seconds: float) -> None:
        """Returns when `/readyz` says yes. Raises `NotReady` when it does not in time."""
        deadline = time.monotonic() + timeout_seconds
        self._start_ray()
        self._deploy()
        self._await_running(deadline)
        self._await_ready(deadline)
        self._children = descendants(os.getpid())

    def stop(self, grace_seconds: float) -> None:
        """Let requests finish and replicas close, then end every process; those that outlive the grace are killed.

        Where Ray itself is gone, as when a whole process group was told to end, nobody answers any more: its
        processes are then ended without it.
        """
        deadline = time.monotonic() + grace_seconds
        # Replicas whose node is gone have another parent, so they are told by what there was after the start.
        children = {*self._children, *descendants(os.getpid())}
        farewell = threading.Thread(target=self._take_leave, args=(deadline,), daemon=True, name="farewell")
        farewell.start()
        farewell.join(grace_seconds)
        if farewell.is_alive():
            _LOGGER.warning("Ray did not answer within %.0f s: its processes are ended without it", grace_seconds)
            # Whoever lost its parent may have begun another since, as the proxy does when replicas leave.
            children |= {each for child in tuple(children) if is_alive(child) for each in descendants(child.pid)}
        killed = end(tuple(children), max(_MIN_GRACE_SECONDS, deadline - time.monotonic()))
        if killed:
            _LOGGER.warning("%d processes had to be killed", killed)

    def _take_leave(self, deadline: float) -> None:
        import ray

        try:
            if ray.is_initialized():
                self._delete(deadline)
        except Exception:
            # The edge of a background thread; what is left of Ray is ended all the same.
            _LOGGER.exception("Ray could not be asked to end")
        finally:
            ray.shutdown()

    def _delete(self, deadline: float) -> None:
        from ray import serve

        for application in _applications():
            serve.delete(application, _blocking=False)
        while _applications() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _start_ray(self) -> None:
        leave_out_unused()
        import ray

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        ray.init(
            address="local",
            num_cpus=max(_MIN_LOGICAL_CPUS, 4 * (os.cpu_count() or 1)),
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=not self._quiet,
            logging_level=logging.ERROR if self._quiet else logging.WARNING,
            _node_ip_address=LOOPBACK,
        )
        # Ray's own handler would end the process where it stands, before anything is drained.
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def _deploy(self) -> None:
        from ray import serve

        serve.start(
            proxy_location=self._config.proxy_location,
            http_options=self._config.http_options.model_dump(),
            logging_config=self._config.logging_config,
        )
        # Ray offers a configuration file only through its dashboard, which stays off here, or its own
        # command; this is the call that both of them make.
        _client().deploy_apps(self._config)

    def _await_running(self, deadline: float) -> None:
        from ray.serve.schema import ApplicationStatus

        names = [application.name for application in self._config.applications]
        while True:
            found = _applications()
            states = {name: found[name].app_status.status if name in found else None for name in names}
            for name, state in states.items():
                if state == ApplicationStatus.DEPLOY_FAILED:
                    raise NotReady(f"application {name} could not be deployed: {_complaints(found[name])}")
            waiting = [name for name, state in states.items() if state != ApplicationStatus.RUNNING]
            if not waiting:
                return
            _pause(deadline, f"applications must be running, were not: {', '.join(waiting)}", _STATUS_SECONDS)

    def _await_ready(self, deadline: float) -> None:
        with httpx.Client(base_url=self._listener.url, timeout=2.0, trust_env=False) as client:
            while (answer := _probe(client)) != f"{_HTTP_OK}":
                _pause(deadline, f"/readyz must answer {_HTTP_OK}, was {answer}")


def _applications() -> dict[str, StatusOverview]:
    """What Serve knows of each application, by name.

    Ray's `serve.status` tells the same, but pickles a class by value for each deployment each time, in the
    controller and here: a third of a second of CPU in which nothing starts.
    """
    return {application.name: application for application in _client().list_serve_statuses()}


def _client() -> ServeControllerClient:
    from ray.serve.context import _get_global_client

    client = _get_global_client()
    assert client is not None
    return client


def _complaints(application: StatusOverview) -> str:
    """What Serve says about an application that failed: the cause stands with the deployment, if anywhere."""
    causes = {found.name: found.message for found in application.deployment_statuses if found.message}
    return "; ".join(f"{name}: {_last_line(message)}" for name, message in causes.items()) or _last_line(
        application.app_status.message
    )


def _last_line(message: str) -> str:
    """The error without its traceback, all of which is in the logs of Ray."""
    return (message.strip().splitlines() or ["for an unknown reason"])[-1].strip()


def _probe(client: httpx.Client) -> str:
    try:
        return str(client.get("/readyz").status_code)
    except httpx.TransportError as error:
        return type(error).__name__


def _pause(deadline: float, waiting_for: str, seconds: float = _POLL_SECONDS) -> None:
    if time.monotonic() > deadline:
        raise NotReady(waiting_for)
    time.sleep(seconds)
