"""A process of low priority that answers one question at a time, and is replaced when it hangs or dies.

It steps back before it imports anything of weight, so that neither its work nor its start holds up anybody else.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import Pipe
from multiprocessing.connection import Connection

LOWEST_PRIORITY = 19
# A start takes seconds of CPU, so a question that is deadly each time must not start a process each time.
FIRST_PAUSE_SECONDS = 5.0
MAX_PAUSE_SECONDS = 80.0
# At the lowest priority a start takes very long on a busy machine, and begun anew it would take longer.
MAX_START_SECONDS = 600.0
LAST_WORDS_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_READY = b"ready"
_log = logging.getLogger(__name__)


class FailureKind(StrEnum):
    """Why there is no answer: the process hung or died of the question, or there was none to ask."""

    HUNG = "hung"
    DIED = "died"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoResult:
    """What is there in place of an answer."""

    kind: FailureKind
    reason: str


def started_module(*program: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """`python -m` with `program`; it finds modules where this process does, and none in the working folder besides.

    In a group of its own: what is said to everyone in a terminal, as Ctrl-C, is for this process to pass on.
    """
    return subprocess.Popen(  # noqa: S603
        (sys.executable, "-P", "-m", *program),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        stdin=subprocess.DEVNULL,
        pass_fds=pass_fds,
        process_group=0,
    )


class WorkerProcess:
    """`python -m` with `program`, whose module calls `answer_parent`; started by the first question.

    This module is such a program: it prepares by what its argument `module:function` names, after it has stepped back
    as far as its second argument says.

    One thread asks, always the same: the process dies with it. A question that is lost is followed by a pause without
    answers, twice as long after each further loss until a question is answered.
    """

    def __init__(self, *program: str, steady: Callable[[], float] = time.monotonic) -> None:
        self._program = program
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._steady = steady
        self._absent_until = -math.inf
        self._child: _Child | None = None

    def ask(self, question: bytes, limit_seconds: float) -> bytes | NoResult:
        """The answer, if the process is ready within the limit and then answers within the limit."""
        try:
            return self._answer(question, limit_seconds)
        except _Lost as lost:
            if self._absent_until == math.inf:
                # Ended by `close`, from another thread, while it was asked: nothing that anybody should look at.
                return NoResult(kind=FailureKind.ABSENT, reason="the process was closed")
            _log.warning("%s; no other process for %g s", lost.no_result.reason, self._pause_seconds)
            self._absent_until = max(self._absent_until, self._steady() + self._pause_seconds)
            self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
            return lost.no_result

    def close(self) -> None:
        """End the process for good, from any thread; a question that waits for it is unanswered."""
        self._absent_until = math.inf
        if (child := self._child) is not None:
            child.kill()

    def _answer(self, question: bytes, limit_seconds: float) -> bytes | NoResult:
        try:
            return self._exchange(question, limit_seconds)
        except _Lost as lost:
            # One death may be an accident, so the question is asked again. If nobody is left to ask, the death counts.
            if lost.no_result.kind is not FailureKind.DIED:
                raise
            again = self._exchange(question, limit_seconds)
            is_closed = self._absent_until == math.inf
            if isinstance(again, NoResult) and not is_closed:
                raise
            return again

    def _exchange(self, question: bytes, limit_seconds: float) -> bytes | NoResult:
        if self._steady() < self._absent_until:
            return NoResult(kind=FailureKind.ABSENT, reason="the process was lost and is not replaced yet")
        try:
            child = self._child = self._child or _Child(self._program)
        except OSError as failure:
            raise _Lost(FailureKind.ABSENT, f"the process did not start: {failure}") from None
        if self._absent_until == math.inf:
            # Closed by another thread before there was anything to kill.
            child.kill()
        try:
            if not child.is_ready(limit_seconds):
                return NoResult(kind=FailureKind.ABSENT, reason="the process is still starting")
            answer = child.ask(question, limit_seconds)
        except _Lost:
            self._child = None
            raise
        self._pause_seconds = FIRST_PAUSE_SECONDS
        return answer


def answer_parent(prepare: Callable[[], Callable[[bytes], bytes]], niceness: int = LOWEST_PRIORITY) -> None:
    """What the program of a `WorkerProcess` does: step back, `prepare`, answer; ends with its parent.

    `prepare` imports and loads what answering takes, and returns what answers.
    """
    # Nobody but root may take back what a whole service was niced by.
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    if niceness == LOWEST_PRIORITY and sys.platform == "linux":
        # It still keeps a core to the end of its slice when a request wakes; an idle task yields at once.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    _die_with_parent()
    parent = Connection(int(sys.argv[-1]))
    answer = prepare()
    parent.send_bytes(_READY)
    with suppress(EOFError):
        while True:
            parent.send_bytes(answer(parent.recv_bytes()))


def _prepare() -> Callable[[bytes], bytes]:
    """What the first argument, `module:function`, says; the module is imported only now."""
    module, _, function = sys.argv[1].partition(":")
    prepare: Callable[[], Callable[[bytes], bytes]] = getattr(importlib.import_module(module), function)
    return prepare()


def _die_with_parent() -> None:
    """Also in the middle of an answer; elsewhere than on Linux it takes until the next look at the connection."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Lost(Exception):
    """The process is no more, and what that means for the question."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.no_result = NoResult(kind=kind, reason=reason)


class _Child:
    """One process, from its birth on."""

    def __init__(self, program: tuple[str, ...]) -> None:
        self._connection, theirs = Pipe()
        self._born = time.monotonic()
        self._is_ready = False
        with theirs:
            self._process = started_module(*program, str(theirs.fileno()), pass_fds=(theirs.fileno(),))

    def is_ready(self, patience_seconds: float) -> bool:
        """Whether it can be asked, now or soon. Raises `_Lost` if it never will."""
        try:
            if not self._is_ready and self._connection.poll(patience_seconds):
                self._is_ready = self._connection.recv_bytes() == _READY
        except (EOFError, OSError):
            raise _Lost(FailureKind.ABSENT, f"the process did not start: {self._end()}") from None
        if not self._is_ready and time.monotonic() - self._born > MAX_START_SECONDS:
            self.kill()
            raise _Lost(FailureKind.ABSENT, f"the process did not start within {MAX_START_SECONDS:g} s")
        return self._is_ready

    def ask(self, question: bytes, limit_seconds: float) -> bytes:
        """The answer. Raises `_Lost` if the process dies, or is killed because it takes longer."""
        is_late = threading.Event()

        def give_up() -> None:
            is_late.set()
            self.kill()

        watchdog = threading.Timer(limit_seconds, give_up)
        watchdog.daemon = True
        watchdog.start()
        try:
            self._connection.send_bytes(question)
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            end = self._end()
            if is_late.is_set():
                raise _Lost(FailureKind.HUNG, f"took longer than {limit_seconds:g} s") from None
            raise _Lost(FailureKind.DIED, f"the process died: {end}") from None
        finally:
            watchdog.cancel()

    def kill(self) -> int:
        """From any thread. Returns the exit code: its own, if it is dead already."""
        self._process.kill()
        return self._process.wait()

    def _end(self) -> str:
        """Leave nothing of it behind; says how it ended. It may still be printing the traceback that tells why."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_SECONDS)
        return f"exit code {self.kill()}"


if __name__ == "__main__":
    answer_parent(_prepare, int(sys.argv[2]))
