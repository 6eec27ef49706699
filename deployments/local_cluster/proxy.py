"""HAProxy as Ray Serve starts it, corrected: Ray offers no setting for what this changes, only the binary's path.

Run as a program, this stands where the binary should: `proxy.py BINARY RECORD TRUSTED -db -f CONFIGURATION ...`. It
edits the file that Ray has just written, notes its own process id in RECORD, and becomes the real binary. A file in
which it does not find what it must change is refused, so that another version of Ray is noticed at the start.

Imports nothing but the standard library: it runs before every reload, without site packages.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

RETRY_AFTER_SECONDS = 5
HEADER_SECONDS = 10
# In place of a record: on a cluster somebody else ends what is left.
_NOWHERE = "-"
_PROBLEM = "application/problem+json"
_PR_SET_PDEATHSIG = 1
_WRAPPER_MODE = 0o700
_FALLBACK = re.compile(r"^ *server .* check backup\n", re.MULTILINE)
_REASON = "no router answers: the service starts, is about to end, or replaces one that died"


class UnknownConfiguration(Exception):
    """Ray writes HAProxy's configuration otherwise than the version that this was made for."""


def wrapper_script(binary: str, record: Path | None, trusted: Sequence[str] = ()) -> str:
    """The program that Ray is told to start as HAProxy; `trusted` as in `corrected`."""
    words = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), binary, str(record or _NOWHERE)]
    return f'#!/bin/sh\nexec {shlex.join([*words, " ".join(trusted)])} "$@"\n'


def install_wrapper(path: Path, binary: str, record: Path | None, trusted: Sequence[str] = ()) -> None:
    """Writes the program to `path`. Raises `OSError`."""
    path.write_text(wrapper_script(binary, record, trusted), encoding="utf-8")
    path.chmod(_WRAPPER_MODE)


def corrected(configuration: str, error_file: Path, trusted: Sequence[str] = (), *, has_fallback: bool = False) -> str:
    """What Ray wrote, with problem details instead of plain text, a socket for its owner alone, and no endless headers.

    `error_file` is answered at once where no router is there, or one dies with a request: Ray's own way out, a proxy
    that keeps a request until there is a router, is closed unless `has_fallback`. Who the client is says the
    connection, or the header of a proxy among the networks `trusted`. Raises `UnknownConfiguration`.
    """
    refusal = f"http-request return status 503 content-type {_PROBLEM} string '{json.dumps(_problem())}'"
    changes = (
        # While there is no application yet, or none any more, nothing can be said about a path.
        (
            r"http-request return status 404 content-type text/plain lf-string .*",
            f"{refusal} hdr Retry-After {RETRY_AFTER_SECONDS}",
        ),
        (r"(errorfile 50[234]) .*", rf"\1 {error_file}"),
        (r"mode 666 level admin", "mode 600 level admin"),
        (r"( *)option httplog\n", rf"\g<0>\1timeout http-request {HEADER_SECONDS}s\n"),
        (r"(frontend http_frontend\n *bind .*\n)", rf"\g<1>{_client_rules(trusted)}"),
    )
    for pattern, replacement in changes:
        configuration, count = re.subn(pattern, replacement, configuration)
        if not count:
            raise UnknownConfiguration(f"HAProxy's configuration must have {pattern!r}, had it nowhere")
    # Not there before there is an application.
    return configuration if has_fallback else _FALLBACK.sub("", configuration)


def _client_rules(trusted: Sequence[str]) -> str:
    """The routers believe the header that comes from here, so nobody's word gets into it but that of `trusted`."""
    lines = [
        *([f"acl is_trusted src {' '.join(trusted)}"] if trusted else ["acl is_trusted always_false"]),
        "http-request del-header X-Forwarded-Proto unless is_trusted",
        "http-request set-header X-Forwarded-For %[src] unless is_trusted { req.hdr(X-Forwarded-For) -m found }",
    ]
    return "".join(f"    {line}\n" for line in lines)


def error_answer() -> str:
    """The answer of HAProxy itself, as an error file has it."""
    body = json.dumps(_problem())
    head = (
        "HTTP/1.1 503 Service Unavailable",
        f"Content-Type: {_PROBLEM}",
        f"Content-Length: {len(body)}",
        f"Retry-After: {RETRY_AFTER_SECONDS}",
        "Cache-Control: no-store",
    )
    return "\r\n".join((*head, "", body))


def _problem() -> dict[str, object]:
    """Without what HAProxy would have to take from the request."""
    return {
        "type": "urn:gantry:problem:unavailable",
        "title": "The service cannot answer now",
        "status": 503,
        "detail": _REASON,
        "error": "unavailable",
        "message": _REASON,
    }


def main(arguments: list[str]) -> None:
    """Becomes the binary; never returns."""
    binary, record, trusted, *own = arguments
    _end_with_parent()
    if record != _NOWHERE:
        _note(Path(record))
    if "-f" in own:
        path = Path(own[own.index("-f") + 1])
        error_file = path.with_name("503.http")
        error_file.write_text(error_answer(), encoding="utf-8", newline="")
        try:
            # While Ray reads a changed application it names no router here, though all of them are there: on a cluster,
            # where applications change, the way round by its own proxy is what keeps answering.
            read, has_fallback = path.read_text(encoding="utf-8"), record == _NOWHERE
            changed = corrected(read, error_file, trusted.split(), has_fallback=has_fallback)
            path.write_text(changed, encoding="utf-8")
        except UnknownConfiguration as error:
            sys.exit(str(error))
    os.execv(binary, [binary, *own])  # noqa: S606 - it is the program that Ray would start


def _note(record: Path) -> None:
    """One line of the record that `deployments.local_cluster.processes` reads, on the medium before anything is bound.

    Without a record HAProxy serves all the same.
    """
    try:
        started = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        descriptor = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{os.getpid()} {started}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        print(f"could not note a process in {record}: {error}", file=sys.stderr)


def _end_with_parent() -> None:
    """HAProxy without its manager would hold the port, with a list of routers that nobody renews."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the manager of HAProxy has ended meanwhile")


if __name__ == "__main__":
    main(sys.argv[1:])
