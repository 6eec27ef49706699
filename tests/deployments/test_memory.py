"""Memory that is given back: the program goes on as if nothing had happened."""

from __future__ import annotations

import subprocess
import sys

from deployments.memory import release_compiler
from deployments.warming import compile_core


def test_core_works_after_the_compiler_was_released() -> None:
    """Pages that are needed after all are read again, so nothing but memory changes."""
    compile_core()
    release_compiler()
    compile_core()


def test_serve_does_without_pandas() -> None:
    """Ray Serve is whole when pandas is left out, and its import did not bring it in."""
    program = (
        "from deployments.memory import leave_out_pandas; leave_out_pandas(); import sys; from ray import serve;"
        "print(sys.modules['pandas'], hasattr(serve, 'run'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None True"
