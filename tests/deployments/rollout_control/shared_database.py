"""One database for several controllers, with a clock that the tests move; each may be cut off from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, StaticPool, create_engine, insert

from deployments.persistence.decisions.records import EvaluationRecord, RolloutLease
from deployments.persistence.decisions.rollout_repository import PAGE_SIZE, RolloutRows
from deployments.persistence.errors import DatabaseUnavailable
from deployments.persistence.tables import EVALUATION, INCIDENT, METADATA, ROLLOUT_LEASE, ROLLOUT_TRANSITION
from deployments.rollout.ramp.state import RolloutState
from deployments.rollout_control.database_sync import DatabaseSync
from deployments.runtime.background import Threads

TABLES = (ROLLOUT_LEASE, ROLLOUT_TRANSITION, INCIDENT, EVALUATION)


class Line(RolloutRows):
    """One service's way to the database: it may be cut, or lose the answers of what was committed."""

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        super().__init__(engine, now)
        self.is_cut = False
        self.loses_answers = False
        self.page_size = PAGE_SIZE
        self.before_append: Callable[[], None] = lambda: None
        """Whatever else happens just before a transition is stored."""

    def look(self, version: int | None) -> tuple[RolloutLease | None, list[dict[str, Any]]]:
        self._pass()
        return super().look(version)

    def take_lease(self, *owner: str, **changes: Any) -> int | None:
        self._pass()
        return super().take_lease(*owner, **changes)

    def renew_lease(self, token: int, lease_seconds: float) -> bool:
        self._pass()
        return super().renew_lease(token, lease_seconds)

    def release_lease(self, token: int) -> None:
        self._pass()
        super().release_lease(token)

    def evaluations_page(
        self, since: tuple[datetime, str], until: datetime, page_size: int = PAGE_SIZE
    ) -> tuple[list[EvaluationRecord], tuple[datetime, str] | None]:
        self._pass()
        return super().evaluations_page(since, until, min(page_size, self.page_size))

    def append_transition(self, transition: Mapping[str, Any], **changes: Any) -> bool:
        self._pass()
        self.before_append()
        is_stored = super().append_transition(transition, **changes)
        if self.loses_answers:
            raise DatabaseUnavailable("lost during the commit")
        return is_stored

    def _pass(self) -> None:
        if self.is_cut:
            raise DatabaseUnavailable("cut off")


class SharedDatabase:
    """In memory, unless another engine is given: what is tested are transactions and clocks, and not the disk."""

    def __init__(self, now: Callable[[], datetime], steady: Callable[[], float], engine: Engine | None = None) -> None:
        self.engine = engine or create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        self.now = now
        self.steady = steady
        self._threads: list[Threads] = []
        METADATA.create_all(self.engine, tables=list(TABLES))

    def line(self) -> Line:
        """A service's way to it."""
        return Line(self.engine, self.now)

    def sync(self, line: Line, owner_name: str = "a", **changes: Any) -> DatabaseSync:
        """What a controller speaks through."""
        threads, history_threads = Threads("the rows of the rollout", 1), Threads("the history of the rollout", 1)
        self._threads += [threads, history_threads]
        return DatabaseSync(
            line,
            threads,
            history=line,
            history_threads=history_threads,
            owner_name=owner_name,
            steady=self.steady,
            **changes,
        )

    def put(self, state: RolloutState, columns: Mapping[str, Any] | None = None) -> None:
        """A transition that somebody else has stored, with `columns` of it as they are given."""
        row = {
            "version": state.version,
            "created_at": state.changed_at,
            "from_stage": "",
            "to_stage": state.stage.value,
            "actor": "somebody else",
            "reason": "r",
            "evidence": json.dumps({"action": "pause", "is_forced": False}),
            "configuration_sha256": "0" * 64,
            "state": json.dumps(state.as_json()),
        }
        with self.engine.begin() as connection:
            connection.execute(insert(ROLLOUT_TRANSITION), row | dict(columns or {}))

    def rows(self) -> list[dict[str, Any]]:
        """All transitions, by version."""
        return list(reversed(RolloutRows(self.engine).transitions(10_000)))

    def close(self) -> None:
        """No more of it."""
        for threads in self._threads:
            threads.close(waits=True)
        self.engine.dispose()
