"""`python -m loadtests.faulty_arm hanging` or `dying`: starts as the shadow process does, then fails."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from deployments.serve.shadow import prepared
from deployments.shadow.worker_process import answer_parent

LONGER_THAN_ANYBODY_WAITS_SECONDS = 3600.0


def hanging() -> Callable[[bytes], bytes]:
    """Ready like the real one, and never answers."""
    prepared()

    def hang(_: bytes) -> bytes:
        time.sleep(LONGER_THAN_ANYBODY_WAITS_SECONDS)
        return b""

    return hang


def dying() -> Callable[[bytes], bytes]:
    """Ready like the real one, and dies of every question."""
    prepared()

    def die(_: bytes) -> bytes:
        os._exit(1)

    return die


if __name__ == "__main__":
    answer_parent({"hanging": hanging, "dying": dying}[sys.argv[1]])
