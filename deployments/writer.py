"""DBWriter: batches of spooled decisions into the database, exactly once."""

from __future__ import annotations

from deployments.memory import release_start_up_memory
from deployments.persistence.database import create_engine
from deployments.persistence.writing import DecisionWriter, WriteReport
from deployments.replica import settle_in


class DBWriter:
    """Stateless over a lazily connected engine: it starts, and stays healthy, while the database is down."""

    def __init__(self) -> None:
        settings = settle_in()
        self._writer = DecisionWriter(create_engine(settings.database_url.get_secret_value()))
        release_start_up_memory()

    def write(self, payloads: list[bytes]) -> WriteReport:
        """Commits every payload or reports it as poisoned. Raises `DatabaseError`: then all may be sent again."""
        return self._writer.write(payloads)
