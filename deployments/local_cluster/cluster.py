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
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import psutil

from deployments.errors import ServiceError
from deployments.local_cluster.processes import (
    CoreCompiler,
    ProcessRecord,
    SessionRecord,
    descendants,
    diverted_lines,
    end,
    is_alive,
    name_of,
    own_signals,
    tell_supervisor,
)
from deployments.serve.environment import LOOPBACK
from deployments.serve.process import DrainNotice, leave_out_unused
from deployments.settings.serve_config import one_of_each

if TYPE_CHECKING:
    from ray.serve._private.application_state import StatusOverview
    from ray.serve._private.client import ServeControllerClient
    from ray.serve.schema import ServeDeploySchema

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
# For Ray to take its leave of replicas that have nothing left to do.
FAREWELL_SECONDS = 12.0
# A router looks ten times a second, and its refusals are short.
_CALLING_OFF_SECONDS = 2.0
# An idle connection is closed at once, and an answer that is under way needs no longer.
_CLOSING_SECONDS = 2.0
# Ray replaces a proxy that it finds dead three times in a row, and that takes its time to start.
PROXY_PATIENCE_SECONDS = 40.0
_CONNECT_SECONDS = 1.0
_PROBE_SECONDS = 2.0
_WATCH_SECONDS = 0.5
_KNOCK_SECONDS = 2.0
# Without these two Ray is dead, and neither comes back.
_VITAL = ("gcs_server", "raylet")
_PROXY = "haproxy"
_START_ATTEMPTS = 2
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
        return f"http://{self._reachable_host}:{self.port}"

    @property
    def _reachable_host(self) -> str:
        return LOOPBACK if self.host == "0.0.0.0" else self.host  # noqa: S104

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Nobody else can claim the same port of this machine meanwhile. Raises `PortTaken`.

        The port itself is bound much later, by another process. The name goes with the last process that has it.
        """
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                if sys.platform.startswith("linux"):
                    claim.bind(f"\0gantry-port-{self.port}")
            except OSError as error:
                raise PortTaken(
                    f"port {self.port} must be free, was claimed by another gantry; choose another with --port"
                ) from error
            yield

    def is_refused(self) -> bool:
        """Whether nobody listens there now; somebody too busy to answer listens."""
        with socket.socket() as client:
            client.settimeout(_CONNECT_SECONDS)
            try:
                client.connect((self._reachable_host, self.port))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return False

    def readiness(self) -> str:
        """The status that `/readyz` answers, or why there is none.

        By the library of Python: any other would stay in the memory of whoever waits.
        """
        client = HTTPConnection(self._reachable_host, self.port, timeout=_PROBE_SECONDS)
        try:
            client.request("GET", "/readyz")
            return str(client.getresponse().status)
        except (OSError, HTTPException) as error:
            return type(error).__name__
        finally:
            client.close()

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


class Display(Protocol):
    """Shows whoever watches what happens, and that something does."""

    def say(self, line: str) -> None:
        """Tell what has happened."""
        ...

    def lasting(self, words: str, detail: Callable[[], str] = ...) -> AbstractContextManager[None]:
        """Around one step; `detail` says how far it is, and is asked again and again."""
        ...


class LocalCluster:
    """Ray and Serve as children of this process. `start` and `stop` are called once each.

    `compiler` fills the cache that replicas need; nothing is deployed before it has ended. `record` is told of every
    process, `sessions` of temporary folders, `notice` gives word to the routers when the end comes, `display` to
    whoever watches. Ray's own lines go to `log_path`.
    """

    def __init__(
        self,
        config: ServeDeploySchema,
        listener: Address,
        *,
        compiler: CoreCompiler,
        record: ProcessRecord,
        sessions: SessionRecord,
        notice: DrainNotice,
        display: Display,
        log_path: Path,
        stop_asked: threading.Event,
        quiet: bool = False,
    ) -> None:
        self._config = config.model_copy(
            update={
                "http_options": config.http_options.model_copy(update={"host": listener.host, "port": listener.port})
            }
        )
        self.listener = listener
        self._compiler = compiler
        self._record = record
        self._sessions = sessions
        self._notice = notice
        self._display = display
        self._log_path = log_path
        self._stop_asked = stop_asked
        self._quiet = quiet
        self._vital: dict[str, psutil.Process] = {}
        self._farewell = threading.Thread(target=self._take_leave, daemon=True, name="farewell")

    def start(self, timeout_seconds: float) -> None:
        """Returns when `/readyz` says yes: one replica of each deployment serves then.

        Raises `NotReady` when it does not in `timeout_seconds` after Ray and the core are there, or one of them fails.
        """
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                with self._display.lasting("starting Ray Serve"):
                    self._start_ray()
                self._heed_stop()
                self._await_core()
                deadline = time.monotonic() + timeout_seconds
                self._start_serve()
                _deploy(one_of_each(self._config))
                break
            except NotReady:
                raise
            except Exception as error:  # the edge to Ray, which raises whatever it likes on a busy machine
                self._abandon_start(attempt, error)
        with self._display.lasting("waiting for the replicas"):
            self._await_running(deadline)
            self._await_ready(deadline)

    def start_others(self, timeout_seconds: float) -> None:
        """Starts all other replicas: together with the first ones they would only have made those wait.

        Returns when all are there. Raises `NotReady` when they are not after `timeout_seconds`.
        """
        _deploy(self._config)
        self._await_running(time.monotonic() + timeout_seconds)

    def fault(self) -> str | None:
        """What of Ray has died that Ray itself does not replace; None while nothing has."""
        dead = [name for name, process in self._vital.items() if not is_alive(process)]
        return f"Ray's {' and '.join(dead)} died" if dead else None

    def await_fault(self) -> str:
        """Returns when Ray is dead, or nobody has listened on the port for longer than Ray needs to mend that.

        Raises `KeyboardInterrupt` when this process is told to end.
        """
        heard_at = asked_at = time.monotonic()
        while (fault := self.fault()) is None:
            self._heed_stop()
            tell_supervisor("WATCHDOG=1")
            now = time.monotonic()
            if now - asked_at >= _KNOCK_SECONDS:
                asked_at = now
                heard_at = heard_at if self.listener.is_refused() else now
            if now - heard_at > PROXY_PATIENCE_SECONDS:
                return f"nobody has listened on port {self.listener.port} for {PROXY_PATIENCE_SECONDS:.0f} s"
            time.sleep(_WATCH_SECONDS)
        return fault

    def stop(self, grace_seconds: float) -> None:
        """Let requests finish within the grace, close the port, let the replicas close, then end every process.

        Newcomers are refused from the first moment. Callers go before those whom they call: first there is nothing
        under way any more, then nobody comes in, and only then Ray takes the replicas down. Where Ray is dead itself,
        its processes are ended without it.
        """
        self._drain(time.monotonic() + grace_seconds)
        self._close_port()
        deadline = time.monotonic() + FAREWELL_SECONDS
        # Half started, Ray takes no leave: it waits for what will never be there, or falls down with this process.
        if self._vital and self.fault() is None:
            self._farewell.start()
            while self._farewell.is_alive() and self.fault() is None and time.monotonic() < deadline:
                self._farewell.join(_POLL_SECONDS)
        if self._farewell.is_alive() and self.fault() is None:
            _LOGGER.warning("Ray did not take its leave within %.0f s: its processes are ended", FAREWELL_SECONDS)
        if self.has_left:
            end(self._processes(), max(_MIN_GRACE_SECONDS, deadline - time.monotonic()))
        else:
            self._end_without_ray()

    @property
    def has_left(self) -> bool:
        """Whether Ray took its leave of this process; if not, what is left of it here waits for what is dead."""
        return self._farewell.ident is not None and not self._farewell.is_alive()

    def leave(self, code: int) -> NoReturn:
        """Ends this process and what `stop` has left of Ray, at once: the library would wait for it for minutes."""
        sys.stdout.flush()
        sys.stderr.flush()
        for process in self._vital.values():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        os._exit(code)

    def _end_without_ray(self) -> None:
        """Ray's own two stand still, and so begin nothing anew; without them the library might end this process."""
        standing = tuple(filter(is_alive, self._vital.values()))
        for process in standing:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        end(tuple(process for process in self._processes() if process not in standing), 0.0)

    def _processes(self) -> tuple[psutil.Process, ...]:
        """Every process of this run: those below this one, and those noted that have another parent by now."""
        noted = (process for each in self._record.noted if (process := each.living()) is not None)
        return tuple({process: None for process in (*descendants(os.getpid()), *noted) if process.pid != os.getpid()})

    def _drain(self, deadline: float) -> None:
        """Returns when no router has anything under way; what is at the deadline is called off then."""
        try:
            self._notice.give()
            if left := self._left_under_way(deadline):
                _LOGGER.warning("%s requests were still under way at the end of the grace: told to come again", left)
                self._notice.end_grace()
                self._left_under_way(time.monotonic() + _CALLING_OFF_SECONDS)
        except OSError as error:
            _LOGGER.warning("the routers could not be told that the end comes: %s", error)

    def _left_under_way(self, deadline: float) -> int | str:
        """0 as soon as no router has anything under way; at the deadline how many requests are, as far as is known."""
        while (left := self._notice.in_flight({each.pid for each in self._processes() if is_alive(each)})) != 0:
            if time.monotonic() > deadline:
                return left or "unknown"
            time.sleep(_POLL_SECONDS)
        return 0

    def _close_port(self) -> None:
        """Nobody comes in any more; the routers refuse until then."""
        for ending in (signal.SIGUSR1, signal.SIGTERM):
            deadline = time.monotonic() + _CLOSING_SECONDS
            told: set[psutil.Process] = set()
            # Looked for again and again: Ray renews its proxy while replicas come, and a new one listens as well.
            while (proxies := self._proxies()) and time.monotonic() < deadline:
                for process in proxies - told:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(ending)
                told |= proxies
                time.sleep(_POLL_SECONDS)

    def _proxies(self) -> set[psutil.Process]:
        return {process for process in self._processes() if name_of(process) == _PROXY and is_alive(process)}

    def _take_leave(self) -> None:
        import ray
        from ray import serve

        try:
            if ray.is_initialized():
                serve.shutdown()  # type: ignore[no-untyped-call]
        except Exception:
            # The edge of a background thread; what is left of Ray is ended all the same.
            _LOGGER.debug("Ray could not be asked to end", exc_info=True)
        finally:
            ray.shutdown()

    def _abandon_start(self, attempt: int, error: Exception) -> None:
        """What the attempt has begun is ended. Raises `NotReady` after the last one."""
        import ray

        with suppress(Exception):
            ray.shutdown()
        end(tuple(each for each in self._processes() if each.pid != self._compiler.pid), 0.0)
        self._vital = {}
        reason = last_line(str(error))
        if attempt == _START_ATTEMPTS:
            raise NotReady(
                f"Ray must start on this machine, failed {attempt} times, at last with: {reason}; see {self._log_path}"
            ) from error
        self._display.say(f"Ray failed to start ({reason}); trying once more ...")

    def _heed_stop(self) -> None:
        """Raises `KeyboardInterrupt` once this process was told to end: what the signal's handler raised may have been
        lost in Ray's library, in code that passes no exception on."""
        if self._stop_asked.is_set():
            raise KeyboardInterrupt

    def _await_core(self) -> None:
        if self._compiler.exit_code is None:
            words = "compiling the core (the first start only, some minutes)"
            with self._display.lasting(words, self._compiler.progress):
                while self._compiler.exit_code is None:
                    self._heed_stop()
                    time.sleep(_POLL_SECONDS)
        if code := self._compiler.exit_code:
            raise NotReady(f"the core must be compiled before anything is served, its compiler ended with {code}")

    def _start_ray(self) -> None:
        leave_out_unused()
        import ray

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        with own_signals(), diverted_lines(self._log_path, is_printed=not self._quiet):
            ray.init(
                address="local",
                num_cpus=max(_MIN_LOGICAL_CPUS, 4 * (os.cpu_count() or 1)),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=not self._quiet,
                logging_level=logging.ERROR if self._quiet else logging.WARNING,
                _node_ip_address=LOOPBACK,
            )
        self._sessions.note_present()
        named = {name_of(process): process for process in descendants(os.getpid())}
        self._vital = {name: named[name] for name in _VITAL if name in named}

    def _start_serve(self) -> None:
        from ray import serve

        serve.start(
            proxy_location=self._config.proxy_location,
            http_options=self._config.http_options.model_dump(),
            logging_config=self._config.logging_config,
        )

    def _await_running(self, deadline: float) -> None:
        while waiting := self._not_running():
            self._heed_stop()
            _pause(deadline, f"applications must be running, were not: {', '.join(waiting)}", _STATUS_SECONDS)

    def _not_running(self) -> list[str]:
        """Names of the applications in which a replica is missing. Raises `NotReady` for one that cannot run."""
        from ray.serve.schema import ApplicationStatus

        found = _applications()
        names = [application.name for application in self._config.applications]
        states = {name: found[name].app_status.status if name in found else None for name in names}
        for name, state in states.items():
            if state == ApplicationStatus.DEPLOY_FAILED:
                raise NotReady(f"application {name} could not be deployed: {_complaints(found[name])}")
        return [name for name, state in states.items() if state != ApplicationStatus.RUNNING]

    def _await_ready(self, deadline: float) -> None:
        while (answer := self.listener.readiness()) != f"{HTTPStatus.OK.value}":
            self._heed_stop()
            _pause(deadline, f"/readyz must answer {HTTPStatus.OK.value}, was {answer}")


def _applications() -> dict[str, StatusOverview]:
    """What Serve knows of each application, by name.

    Ray's `serve.status` tells the same, but pickles a class by value for each deployment each time, in the
    controller and here: a third of a second of CPU in which nothing starts.
    """
    return {application.name: application for application in _client().list_serve_statuses()}


def _deploy(config: ServeDeploySchema) -> None:
    # Ray offers a configuration file only through its dashboard, which stays off here, or its own
    # command; this is the call that both of them make.
    _client().deploy_apps(config)


def _client() -> ServeControllerClient:
    from ray.serve.context import _get_global_client

    client = _get_global_client()
    assert client is not None
    return client


def _complaints(application: StatusOverview) -> str:
    """What Serve says about an application that failed: the cause stands with the deployment, if anywhere."""
    causes = {found.name: found.message for found in application.deployment_statuses if found.message}
    return "; ".join(f"{name}: {last_line(message)}" for name, message in causes.items()) or last_line(
        application.app_status.message
    )


def last_line(message: str) -> str:
    """The error without its traceback, all of which is in the logs of Ray."""
    return (message.strip().splitlines() or ["for an unknown reason"])[-1].strip()


def _pause(deadline: float, waiting_for: str, seconds: float = _POLL_SECONDS) -> None:
    if time.monotonic() > deadline:
        raise NotReady(waiting_for)
    time.sleep(seconds)
