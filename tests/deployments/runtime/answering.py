"""`python -m tests.deployments.runtime.answering`: a process that answers with its id, or as asked."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deployments.runtime.worker_process import answer_parent

DIE = b"die"
DIE_ONCE = b"die once: "
HANG = b"hang"
PRIORITY = b"priority"


def counting() -> Callable[[bytes], bytes]:
    """Each start appends a line to the file that the first argument names."""
    with Path(sys.argv[1]).open("a", encoding="utf-8") as starts:
        starts.write(f"{os.getpid()}\n")
    return _answer


def failing() -> Callable[[bytes], bytes]:
    """Never gets ready."""
    sys.exit(3)


def silent() -> Callable[[bytes], bytes]:
    """Ready, and never heard of again; a program for `deployments.runtime.worker_process`."""

    def wait(_: bytes) -> bytes:
        time.sleep(3600)
        return b""

    return wait


def _answer(question: bytes) -> bytes:
    if question == DIE:
        os._exit(7)
    if question.startswith(DIE_ONCE):
        mark = Path(question.removeprefix(DIE_ONCE).decode())
        if not mark.exists():
            mark.touch()
            os._exit(7)
    if question == HANG:
        time.sleep(3600)
    if question == PRIORITY:
        return f"{os.getpriority(os.PRIO_PROCESS, 0)} {os.sched_getscheduler(0)}".encode()
    return str(os.getpid()).encode()


if __name__ == "__main__":
    answer_parent(failing if sys.argv[1] == "failing" else counting)
