"""The service's database user on a real MariaDB: it can do its work and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, make_url, text

from deployments.access.key_ring import new_key
from deployments.persistence.database import create_engine, require_current_schema, upgrade
from deployments.persistence.decisions.audit_repository import audit_work
from deployments.persistence.decisions.key_repository import DatabaseKeys, key_work
from deployments.persistence.decisions.plant_repository import plant_work
from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import DatabaseAccessDenied
from deployments.persistence.failures import database_errors
from deployments.persistence.maintenance.checks import Level, check
from deployments.persistence.maintenance.query_plans import API_QUERIES
from deployments.persistence.tables import METADATA, service_grants
from deployments.rollout_control.transition_log import transition_row
from tests.deployments.persistence.decisions.test_audit_repository import event
from tests.deployments.persistence.decisions.test_key_repository import entry_of
from tests.deployments.persistence.decisions.test_latest_plan import plan
from tests.deployments.persistence.decisions.test_releases import order, race, release, undo, write
from tests.deployments.persistence.payloads import decision, decision_id
from tests.deployments.rollout_control.test_database_sync import transition
from tests.deployments.rollout_control.test_webhook import INCIDENT
from tests.system.mariadb import MariaDbServer

pytestmark = pytest.mark.system


@pytest.fixture
def service_url(mariadb: MariaDbServer, mariadb_url: str) -> Iterator[str]:
    """The URL of the service's own user on a migrated schema."""
    upgrade(mariadb_url)
    url = make_url(mariadb_url)
    user = f"service_{(url.database or '')[-8:]}"
    mariadb.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'hunter2'")
    try:
        for statement in service_grants(url.database or "", user, "%"):
            mariadb.execute(statement)
        yield url.set(username=user, password="hunter2").render_as_string(hide_password=False)
    finally:
        mariadb.execute(f"DROP USER '{user}'@'%'")


@pytest.fixture
def service(service_url: str) -> Iterator[Engine]:
    """An engine of the service's own user."""
    engine = create_engine(service_url)
    yield engine
    engine.dispose()


def test_service_can_do_its_work(service: Engine, mariadb_url: str) -> None:
    """Write decisions and audit rows, twice for good measure, read them back, know keys and plants, own the rollout."""
    owner, key = create_engine(mariadb_url), new_key()
    with key_work(owner) as keys:
        keys.insert(entry_of(key), key.digest)
    owner.dispose()
    require_current_schema(service)
    for _ in range(2):
        report = DecisionWriter(service).write([decision(1).to_bytes(), event(1).to_bytes()])
        assert (report.accepted, report.poisoned) == (2, ())
    with unit_of_work(service) as decisions:
        assert decisions.get(decision_id(1), "planner") is not None
    with audit_work(service) as trail:
        assert trail.page() == [event(1)]
    (known,) = DatabaseKeys(service).known_keys().keys
    DatabaseKeys(service).note_uses({key.key_id: datetime(2025, 7, 22, tzinfo=UTC)})
    assert known.digest == key.digest
    rollout = RolloutRows(service)
    token = rollout.take_lease("a", "host", seen_token=0, lease_seconds=10.0)
    assert (token, rollout.renew_lease(1, 10.0)) == (1, True)
    row = transition_row(transition(1))
    assert rollout.append_transition(row, token=1, expected_version=0, is_for_all=False)
    assert not rollout.append_transition(row, token=1, expected_version=0, is_for_all=False)
    for _ in range(2):
        rollout.save_incidents([INCIDENT.as_row()])
    rollout.release_lease(1)
    assert rollout.take_lease("b", "other host", seen_token=1, lease_seconds=10.0) == 2
    with plant_work(service) as plants:
        assert plants.jobs("penang", 10) == []
    write(service, plan(3, "J3"))
    assert release(service, order(3)).version == 1
    assert undo(service, order(3)).version == 2


def test_of_two_planners_at_once_exactly_one_wins(service: Engine) -> None:
    """On MariaDB as on SQLite, by connections of their own."""
    race(service)


def test_service_can_look_whether_all_is_well(service_url: str, mariadb_url: str) -> None:
    """`gantry db check --volume` by the service's own user, on enough decisions for plans: no query is warned of."""
    owner = create_engine(mariadb_url)
    records = [decision(number, client=f"client-{number % 7}").to_bytes() for number in range(1, 2_001)]
    assert not DecisionWriter(owner).write(records).poisoned
    with owner.connect() as connection:
        connection.execute(text(f"ANALYZE TABLE {', '.join(METADATA.tables)}")).all()
    owner.dispose()
    findings = {each.subject: each for each in check(service_url, by_volume=True)}
    looked_at = [each for subject, each in findings.items() if subject.startswith(("query: ", "time: "))]
    assert len(looked_at) == 2 * len(API_QUERIES)
    # Where nobody has rated anything, an optimiser may join as it likes.
    assert [each for each in looked_at if each.level is not Level.OK and "feedback" not in each.subject] == []
    assert findings["time: newest of a client"].message.startswith("101 rows in ")


def test_check_says_when_a_grant_is_missing(service_url: str, mariadb: MariaDbServer) -> None:
    """As after an upgrade by whose grants were not printed anew: the other queries are explained all the same."""
    url = make_url(service_url)
    owner = create_engine(mariadb.url.set(database=url.database).render_as_string(hide_password=False))
    assert not DecisionWriter(owner).write([decision(number).to_bytes() for number in range(1, 1_101)]).poisoned
    owner.dispose()
    mariadb.execute(f"REVOKE SHOW VIEW ON {url.database}.machine_source FROM '{url.username}'@'%'")
    findings = {each.subject: each for each in check(service_url)}
    found = findings["query: machines of a plant"]
    assert found.level is Level.WARNING
    assert found.message.endswith("`gantry db grants` prints what its user needs")
    assert findings["query: pending jobs of a plant"].level is Level.OK


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE decision",
        "DROP VIEW latest_plan",
        "TRUNCATE TABLE decision",
        "ALTER TABLE decision ADD COLUMN x INT",
        "CREATE TABLE mine (x INT)",
        "CREATE INDEX mine ON decision (arm)",
        "DELETE FROM decision",
        "DELETE FROM audit_event",
        "DELETE FROM rollout_lease",
        "DELETE FROM rollout_transition",
        "DELETE FROM incident",
        "DELETE FROM plan_release",
        "UPDATE plan_release SET actor = 'somebody else'",
        "UPDATE rollout_transition SET actor = 'somebody else'",
        "UPDATE audit_event SET actor = 'somebody else'",
        "INSERT INTO api_key (key_id) VALUES ('0123456789ab')",
        "UPDATE api_key SET revoked_at = NULL",
        "UPDATE api_key SET scopes = '[\"admin\"]'",
        "DELETE FROM plant_job",
        "UPDATE alembic_version SET version_num = '9999'",
        "GRANT SELECT ON decision TO 'somebody'@'%'",
    ],
)
def test_service_can_do_nothing_else(service: Engine, statement: str) -> None:
    """Whoever has the service's password can neither destroy nor forge what was decided, nor let himself in."""
    with pytest.raises(DatabaseAccessDenied), database_errors("mariadb"), service.begin() as connection:
        connection.execute(text(statement))
