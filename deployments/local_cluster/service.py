"""What `gantry serve` does, in order: check, compile, start, say where, wait, drain, end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deployments.local_cluster.cluster import LOOPBACK, STOP_SIGNALS, Address, LocalCluster, ray_variables
from deployments.local_cluster.processes import descendants, listening_sockets
from deployments.persistence.database import create_engine, require_current_schema, upgrade
from deployments.persistence.errors import SpoolError, SpoolFailed
from deployments.persistence.spool.segment_folder import require_writable
from deployments.settings.serve_config import read_serve_config
from deployments.settings.service import Environment, Settings, hand_down
from models.policy.artefact import read_manifest
from models.search.warm_up import compile_core

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "serve_config.yaml"
FIREWALL = Path(__file__).resolve().parents[1] / "ops" / "nftables" / "gantry.nft"
START_SECONDS = 90.0
# The promise is 30 s from the signal to the last process.
STOP_SECONDS = 25.0

Say = Callable[[str], None]


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


def prepare_spool(settings: Settings) -> None:
    """The folder of the spool is there and takes files. Raises `SpoolError`, with what to do."""
    try:
        require_writable(settings.spool_folder)
    except SpoolError as error:
        raise SpoolFailed(f"{error}; mend it or set GANTRY_SPOOL_FOLDER") from error


@contextmanager
def running(settings: Settings, config_path: Path, port: int, *, say: Say, quiet: bool = False) -> Iterator[Address]:
    """The service, from before the first check to after its last process; yields when `/readyz` says yes.

    Raises `InvalidServeConfig`, `PortTaken`, `ArtefactError`, `SpoolError`, `DatabaseError` or `NotReady`.
    Must be entered before anything imports Ray, which reads its variables only once.
    """
    for name, value in ray_variables(port).items():
        os.environ.setdefault(name, value)
    config = read_serve_config(config_path)
    host = LOOPBACK if settings.environment is Environment.DEVELOPMENT else config.http_options.host
    listener = Address(host=host, port=port)
    listener.require_free()
    read_manifest(settings.model_path)
    prepare_spool(settings)
    prepare_database(settings)
    hand_down(settings)
    say("compiling the core (only the first start takes long) ...")
    compile_core()
    say("starting Ray Serve ...")
    cluster = LocalCluster(config, listener, quiet=quiet)
    try:
        cluster.start(START_SECONDS)
        yield listener
    finally:
        with _undisturbed():
            say("draining ...")
            cluster.stop(STOP_SECONDS)


def serve(settings: Settings, config_path: Path, port: int, *, say: Say) -> None:
    """Run the service until SIGINT or SIGTERM. Raises as `running` does."""
    _interrupt_on_signals()
    with suppress(KeyboardInterrupt), running(settings, config_path, port, say=say) as listener:
        _warn_of_side_doors(listener.port, say)
        say(f"Gantry is ready on {listener.url} (documentation: {listener.url}/docs). Stop it with Ctrl-C.")
        threading.Event().wait()
    say("stopped")


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
