"""What becomes of requests when the service is told to stop, and of the next start when something was killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments.local_cluster.cluster import free_port
from deployments.local_cluster.processes import is_alive
from deployments.local_cluster.service import EXIT_RAY_LOST
from tests.system.serving import REFUSED, await_ready, eventually, is_free, kind_of, starting_service
from tests.system.stopping import EXAMPLE_BODY, Moment, run

pytestmark = pytest.mark.system

SEED = 20261130


def test_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    """Two stops of the drill, in searches with their keys held and during a start: nobody is cut, nothing is lost."""
    assert run(tmp_path, 2, random.Random(SEED), (Moment.KEY, Moment.START))


def test_request_that_outlives_the_grace_is_told_to_come_back(tmp_path: Path) -> None:
    """A search of eight seconds and one second of grace: 503 problem details, and a line of the log that names it."""
    with starting_service(tmp_path, grace=1.0) as service:
        await_ready(service)
        with service.client() as client, ThreadPoolExecutor(1) as thread:
            headers = {"x-request-id": "outlives-the-grace"}
            asking = thread.submit(
                client.post, "/schedule", json=EXAMPLE_BODY | {"time_budget_ms": 8000}, headers=headers
            )
            time.sleep(1.5)
            service.process.send_signal(signal.SIGTERM)
            answer = asking.result(30)
        assert (kind_of(answer), answer.json()["error"]) == (REFUSED, "stopping")
        assert service.process.wait(timeout=60) == 0
        (line,) = (json.loads(each) for each in service.output.splitlines() if "when the grace ended" in each)
        assert (line["request_id"], line["level"]) == ("outlives-the-grace", "warning")
        assert re.fullmatch(r"POST /schedule was under way for \d\.\d s when the grace ended", line["message"])


def test_next_start_follows_any_death(tmp_path: Path) -> None:
    """SIGKILL of HAProxy is mended by Ray; of the service it is ended by the next start on the same port; of the GCS
    and of the raylet the service ends with the code that a supervisor restarts. Nothing is ever left, neither processes
    nor folders, but for the logs of the last run."""
    port, folders = free_port(), list[Path]()
    draft = tmp_path / "data" / f".api_keys.json.{'0' * 32}.draft"
    with starting_service(tmp_path, port=port) as service:
        await_ready(service)
        os.kill(service.named("haproxy"), signal.SIGKILL)
        assert eventually(lambda: not is_free(port), 60)
        left = service.processes()
        folders += _temporary(tmp_path)
        draft.touch()
        os.utime(draft, (0, 0))
        service.process.kill()
        service.process.wait(timeout=20)
    for vital in ("gcs_server", "raylet"):
        with starting_service(tmp_path, port=port) as service:
            await_ready(service)
            assert [process for process in left if is_alive(process)] == []
            assert "removed" in service.output
            assert not draft.exists()
            left = service.processes()
            folders += [each for each in _temporary(tmp_path) if each not in folders]
            os.kill(service.named(vital), signal.SIGKILL)
            assert service.process.wait(timeout=60) == EXIT_RAY_LOST, service.output
            assert f"gantry: Ray's {vital} died" in service.output
    assert eventually(lambda: [process for process in left if is_alive(process)] == [])
    assert is_free(port)
    assert len(folders) == 6
    assert [each.parent.name for each in folders if each.exists()] == ["ray", "ray", "haproxy-serve"]


def _temporary(folder: Path) -> list[Path]:
    """The folders in the temporary directory that the runs of this data folder have noted."""
    return [Path(line) for line in (folder / "data" / "run" / "sessions").read_text(encoding="utf-8").splitlines()]
