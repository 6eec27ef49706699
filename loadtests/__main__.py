"""`python -m loadtests [options of locust]`: a bounded run against a service of its own; the exit code is locust's."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from deployments.commands.demo import use_throwaway_settings
from deployments.commands.terminal import StepDisplay
from deployments.local_cluster.cluster import free_port
from deployments.local_cluster.service import DEFAULT_CONFIG, running
from deployments.settings.service import load_settings
from env.errors import GantryError

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
MAX_RUN_SECONDS = 3600


def main(options: list[str]) -> int:
    """Start the service on throwaway data, load it from a process of its own, stop it."""
    with tempfile.TemporaryDirectory(prefix="gantry-load-", ignore_cleanup_errors=True) as data_folder:
        use_throwaway_settings(Path(data_folder))
        with running(load_settings(), DEFAULT_CONFIG, free_port(), display=StepDisplay(_say)) as listener:
            command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", listener.url]
            return subprocess.run(  # noqa: S603
                [*command, "--only-summary", *options], check=False, timeout=MAX_RUN_SECONDS
            ).returncode


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except GantryError as error:
        sys.exit(f"loadtests: {error}")
