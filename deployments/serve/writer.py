"""DBWriter: batches of spooled decisions into the database, exactly once."""

from __future__ import annotations

from deployments.persistence.database import create_delivery_engine, time_statements
from deployments.persistence.delivery.batch_writer import DecisionWriter, WriteReport
from deployments.serve.metrics import replica_meter
from deployments.serve.process import configure_process, release_start_up_memory


class DBWriter:
    """Stateless over a lazily connected engine: it starts, and stays healthy, while the database is down."""

    def __init__(self) -> None:
        settings = configure_process()
        engine = create_delivery_engine(settings.database_url.get_secret_value())
        time_statements(engine, replica_meter())
        self._writer = DecisionWriter(engine)
        release_start_up_memory()

    def write(self, payloads: list[bytes]) -> WriteReport:
        """Commits every payload or reports it as poisoned. Raises `DatabaseError`: then all may be sent again."""
        return self._writer.write(payloads)
