"""What an acknowledgement costs: on the disk of this node, or by the commit in a MariaDB of its own.

`python -m tests.system.acknowledging` prints a row for each number of clients that wait at a time. Spool, drain and
writer are those of a router; the call from replica to replica between them is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import tempfile
import time
from itertools import count
from pathlib import Path

import numpy as np

from deployments.persistence.database import create_delivery_engine, upgrade
from deployments.persistence.delivery.batch_writer import DecisionWriter, WriteReport
from deployments.persistence.delivery.drain import SpoolDrain
from deployments.persistence.spool.spool import Spool
from deployments.serve.handles import CommittedJournal, SpoolJournal
from tests.deployments.persistence.payloads import decision
from tests.system.mariadb import private_mariadb

_CLIENTS = (1, 8, 32)
_BODY_BYTES = 4_500
_LINGER_SECONDS = 0.25


async def _latencies(journal: SpoolJournal, clients: int, decisions: int, numbers: count[int]) -> tuple[float, ...]:
    """Median and 99th percentile in ms, and acknowledgements a second."""
    found: list[float] = []

    async def client() -> None:
        for _ in range(decisions // clients):
            record = decision(next(numbers), request=os.urandom(_BODY_BYTES), answer=os.urandom(_BODY_BYTES))
            begun = time.perf_counter()
            await journal.append(record)
            found.append(1e3 * (time.perf_counter() - begun))

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - begun
    return float(np.percentile(found, 50)), float(np.percentile(found, 99)), len(found) / seconds


async def _measure(url: str, folder: Path, decisions: int) -> None:
    writer = DecisionWriter(create_delivery_engine(url))

    async def write(payloads: list[bytes]) -> WriteReport:
        return await asyncio.to_thread(writer.write, payloads)

    spool = Spool(folder)
    await spool.start()
    drain = SpoolDrain(spool, write, linger_seconds=_LINGER_SECONDS)
    drain.start()
    journals = {
        "disk": SpoolJournal(spool),
        "database": CommittedJournal(spool, expecting=drain.expecting, is_away=lambda: False),
    }
    numbers = count(1)
    print("| acknowledged on | clients | median | 99th percentile | acknowledged a second |\n|---|---|---|---|---|")
    for clients in _CLIENTS:
        for place, journal in journals.items():
            median, late, rate = await _latencies(journal, clients, decisions, numbers)
            print(f"| {place} | {clients} | {median:.1f} ms | {late:.1f} ms | {rate:.0f} |")
            while spool.depth.records:
                await asyncio.sleep(0.05)
    await drain.stop()
    await spool.close()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=480, help="in each row")
    decisions = parser.parse_args().decisions
    # Bodies of noise, which compress no better than they are, are no plans, and the writer says so of each.
    logging.disable(logging.ERROR)
    with private_mariadb() as server, server.schema() as url, tempfile.TemporaryDirectory() as folder:
        upgrade(url)
        asyncio.run(_measure(url, Path(folder), decisions))


if __name__ == "__main__":
    main()
