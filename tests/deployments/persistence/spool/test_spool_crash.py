"""A process that dies with a spool in its hands."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.persistence.spool.spool import Spool, SpoolConfig

_APPEND_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from deployments.persistence.spool.spool import Spool, SpoolConfig

async def promise_for_ever():
    spool = Spool(Path(sys.argv[1]), SpoolConfig(segment_bytes=1_000))
    await spool.start()
    for number in range(1_000_000):
        await spool.append(b"%d" % number)
        print(number, flush=True)

asyncio.run(promise_for_ever())
"""


async def _adopted(folder: Path) -> list[bytes]:
    spool = Spool(folder, SpoolConfig(segment_bytes=1_000))
    await spool.start()
    payloads = []
    while batch := await spool.read_batch():
        payloads += batch.payloads
        await spool.acknowledge(batch)
    await spool.close()
    return payloads


@pytest.mark.system
def test_killed_process_keeps_every_promise(tmp_path: Path) -> None:
    """Whatever it said was appended before kill -9 is adopted afterwards, once, over several segments."""
    command = [sys.executable, "-c", _APPEND_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        promised = [process.stdout.readline() for _ in range(120)]
        assert asyncio.run(_adopted(tmp_path)) == []
        process.kill()
        promised += process.stdout.readlines()
    found = [int(payload) for payload in asyncio.run(_adopted(tmp_path))]
    # The last line may be torn by the kill, and the last record may have missed its line.
    said = [int(line) for line in promised if line.endswith(b"\n")]
    assert found[: len(said)] == said
    assert found == list(range(len(found)))
    assert len(found) - len(said) <= 1
