"""What is stored: DBWriter writes it, and a router reads of it what costs seconds.

Small reads are made here, others in one process of low priority beside the router, whose interpreter lock is for
whoever wants a schedule.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from deployments.contracts.answers.planners import (
    ComparisonWork,
    ContinuedWork,
    ExplanationWork,
    PlanFile,
    PlanFileWork,
)
from deployments.errors import Overloaded, ServiceError, TemporarilyUnavailable, TimedOut
from deployments.persistence.decisions.records import DecisionRecord
from deployments.runtime.background import Threads
from deployments.runtime.worker_process import FailureKind, NoResult, WorkerProcess
from deployments.scheduling.ports import Archive
from deployments.scheduling.time_budget import LARGE_BODY_BYTES, run_blocking
from deployments.serve.serialization import decode, encode
from env.errors import GantryError

if TYPE_CHECKING:
    from deployments.persistence.delivery.batch_writer import WriteReport
    from deployments.serve.handles import RemoteMethod

MAX_LOCAL_BYTES = 256 * 1024
"""Of request and answer: some four hundred jobs, which take less time than the first start of a process."""
MAX_WAITING = 8
NICENESS = 10
"""A tenth of the time of whoever plans: somebody waits for this, too. At the lowest priority a start may never end."""
MAX_SECONDS = 100.0
_RETRY_AFTER_SECONDS = 5
Work = ContinuedWork | ComparisonWork


# Some time-outs of the database, and the time in which the writer finds out which of a whole batch is to blame.
_WRITE_SECONDS = 30.0
# How gRPC says so, whoever wraps it.
_MESSAGE_TOO_LARGE = ("RESOURCE_EXHAUSTED", "larger than max")


class DBWriter:
    """Batches of spooled decisions into the database, exactly once.

    Stateless over a lazily connected engine: it starts, and stays healthy, while the database is down.
    """

    def __init__(self) -> None:
        # Here, for the process of low priority needs neither Ray nor SQL.
        from deployments.persistence.database import create_delivery_engine, time_statements
        from deployments.persistence.delivery.batch_writer import DecisionWriter
        from deployments.serve.metrics import replica_meter
        from deployments.serve.process import configure_process, release_start_up_memory

        settings = configure_process()
        engine = create_delivery_engine(settings.database_url.get_secret_value())
        time_statements(engine, replica_meter())
        self._writer = DecisionWriter(engine)
        release_start_up_memory()

    def write(self, payloads: list[bytes]) -> WriteReport:
        """Commits every payload or reports it as poisoned. Raises `DatabaseError`: then all may be sent again."""
        return self._writer.write(payloads)


class ReadFailed(ServiceError):
    """The work failed as nobody expected, in the process; a note has its traceback, for the log."""


class WorkerReads:
    """One at a time; at most `MAX_WAITING` wait. The process runs `program`, from the first that needs it on."""

    program: tuple[str, ...] = (
        "deployments.runtime.worker_process",
        "deployments.serve.storage:prepared",
        str(NICENESS),
    )

    def __init__(self, decisions: Archive, zone: ZoneInfo, *, max_local_bytes: int = MAX_LOCAL_BYTES) -> None:
        self._decisions = decisions
        self._zone = zone
        self._max_local_bytes = max_local_bytes
        self._process = WorkerProcess(*self.program)
        # Always the same thread: the process dies with it.
        self._thread = Threads("costly reads", 1, max_waiting=MAX_WAITING)

    async def explanation(self, record: DecisionRecord) -> bytes:
        """Why jobs of the decision are late, as JSON.

        Raises `NotFound` for a decision that was not kept or cannot be read as it was made, `DatabaseError`,
        `Overloaded`, `TimedOut`, `TemporarilyUnavailable` when the process was lost, or `ReadFailed`.
        """
        return await self._continued(ExplanationWork(record=record, zone=self._zone))

    async def comparison(self, before: DecisionRecord, after: DecisionRecord) -> bytes:
        """What the one would change of the other, as JSON. Raises as `explanation` does."""
        found = await self._answer(ComparisonWork(before=before, after=after), before.stored_bytes + after.stored_bytes)
        assert isinstance(found, bytes), "nothing else is needed"
        return found

    async def file(self, record: DecisionRecord, file: PlanFile, machine_id: int | None = None) -> bytes:
        """The schedule as a file, of one machine where it is named. Raises as `explanation` does."""
        work = PlanFileWork(record=record, zone=self._zone, file=file, machine_id=machine_id)
        # Drawing takes a multiple of reading, so that it is never done in place.
        return await self._continued(work, LARGE_BODY_BYTES)

    def close(self) -> None:
        """Ends the process."""
        self._process.close()
        self._thread.close()

    async def _continued(self, work: ContinuedWork, min_size: int = 0) -> bytes:
        size = work.record.stored_bytes
        found = await self._answer(work, max(min_size, size))
        if isinstance(found, str):
            earlier = await self._decisions.get(found, work.record.client)
            work = replace(work, earlier=earlier, is_earlier_known=True)
            size += 0 if earlier is None else earlier.stored_bytes
            found = await self._answer(work, max(min_size, size))
        assert isinstance(found, bytes), "an earlier decision is looked for once"
        return found

    async def _answer(self, work: Work, size: int) -> bytes | str:
        if size <= self._max_local_bytes:
            return await run_blocking(size, work.answer)
        try:
            async with asyncio.timeout(MAX_SECONDS):
                reply = await self._thread.run(self._ask, work)
        except TimeoutError:
            message = f"explanations, comparisons and files must be there within {MAX_SECONDS:g} s, took longer"
            raise TimedOut(message, _RETRY_AFTER_SECONDS) from None
        if isinstance(reply, NoResult):
            raise _lost(reply)
        found: bytes | str | GantryError = decode(reply)
        if isinstance(found, GantryError):
            raise found
        return found

    def _ask(self, work: Work) -> bytes | NoResult:
        return self._process.ask(encode(work), MAX_SECONDS)


def _lost(reply: NoResult) -> TemporarilyUnavailable:
    message = f"explanations, comparisons and files of large plans cannot be had now: {reply.reason}"
    kind = Overloaded if reply.kind is FailureKind.ABSENT else TemporarilyUnavailable
    return kind(message, _RETRY_AFTER_SECONDS)


def prepared() -> Callable[[bytes], bytes]:
    """What the process does: an encoded `Work` -> what it comes to, or the `GantryError` that it raises, encoded."""

    def answered(question: bytes) -> bytes:
        try:
            work: Work = decode(question)
            return encode(work.answer())
        except GantryError as error:
            return encode(error)
        except Exception as error:
            # One decision that nobody can read must not take the process, and the pause after it, to everybody else.
            # As a type of ours, because others need not survive the way back.
            failure = ReadFailed(f"{type(error).__name__}: {error}")
            failure.add_note(traceback.format_exc())
            return encode(failure)

    return answered


def remote_write(
    write: RemoteMethod, timeout_seconds: float = _WRITE_SECONDS
) -> Callable[[list[bytes]], Awaitable[WriteReport]]:
    """DBWriter as the drain wants it. Not tried again here: the drain has its own patience.

    Raises `MessageTooLarge`; `DatabaseError` as the writer did, or for one that does not answer; whatever Ray raises.
    """

    # Here, for the process of low priority needs neither Ray nor SQL.
    from ray.exceptions import RayTaskError

    from deployments.persistence.errors import DatabaseUnavailable, MessageTooLarge

    async def written(payloads: list[bytes]) -> WriteReport:
        try:
            async with asyncio.timeout(timeout_seconds):
                report: WriteReport = await write.remote(payloads)
        except TimeoutError:
            raise DatabaseUnavailable(f"the writer must answer within {timeout_seconds:g} s, took longer") from None
        except Exception as error:  # the edge of this process: whatever was raised at the far side arrives here
            cause = error.cause if isinstance(error, RayTaskError) else error
            if all(words in str(cause) for words in _MESSAGE_TOO_LARGE):
                size = sum(map(len, payloads))
                raise MessageTooLarge(f"{size:,} bytes must fit into one message between deployments") from error
            if isinstance(cause, GantryError):
                raise cause from None
            raise
        return report

    return written
