"""The way to a real MariaDB that speaks TLS, and to one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from typer.testing import CliRunner

from deployments import cli
from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import DatabaseError
from deployments.persistence.failures import advice_for, database_errors
from deployments.persistence.maintenance.backup_history import name_of
from deployments.runtime.clock import utc_now
from deployments.settings.service import load_settings
from tests.deployments.persistence.payloads import decision
from tests.system.mariadb import EncryptedMariaDb, PrivateMariaDb, encrypted_mariadb, private_mariadb

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncryptedMariaDb]:
    """One server for the tests of this module."""
    with encrypted_mariadb(tmp_path_factory.mktemp("tls")) as encrypted:
        yield encrypted


def _cipher(server: PrivateMariaDb, host: str = "127.0.0.1", **tls: str) -> str:
    """The cipher of a connection as the settings have it made; empty when it is not encrypted."""
    url = server.url.set(database="mysql", host=host).render_as_string(hide_password=False)
    settings = load_settings(_env_file=None, database_url=url, **tls)
    engine = create_engine(settings.database_url.get_secret_value())
    try:
        with database_errors("mariadb"), engine.connect() as connection:
            return str(connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1])
    finally:
        engine.dispose()


def test_every_mode_does_what_it_says(encrypted: EncryptedMariaDb) -> None:
    """Off is plain; the others are encrypted; verified also when the server proves who it is."""
    assert _cipher(encrypted.server, database_tls="off") == ""
    assert _cipher(encrypted.server, database_tls="preferred")
    assert _cipher(encrypted.server, database_tls="required")
    assert _cipher(encrypted.server, database_tls="verified", database_tls_ca=str(encrypted.ca))


def test_server_that_is_not_the_one_we_know_is_refused(encrypted: EncryptedMariaDb) -> None:
    """Signed by somebody else, or for another host: no connection, and the password is not sent."""
    with pytest.raises(DatabaseError, match="certificate verify failed") as caught:
        _cipher(encrypted.server, database_tls="verified", database_tls_ca=str(encrypted.other_ca))
    assert "GANTRY_DATABASE_TLS_CA" in advice_for(caught.value)
    with pytest.raises(DatabaseError, match=r"certificate verify failed|doesn't match|mismatch"):
        _cipher(encrypted.server, "localhost", database_tls="verified", database_tls_ca=str(encrypted.ca))


def test_backup_goes_to_no_server_that_is_not_the_one_we_know(
    encrypted: EncryptedMariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With somebody else's CA not a row is sent to the database of --into, by restore, verify or drill; with the right
    one it is filled, by the password of a file, and emptied again after a drill."""
    monkeypatch.chdir(tmp_path)
    source = f"sqlite:///{tmp_path / 'gantry.sqlite3'}"
    upgrade(source)
    engine = create_engine(source)
    assert not DecisionWriter(engine).write([decision(number).to_bytes() for number in range(1, 51)]).poisoned
    engine.dispose()
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "development")
    monkeypatch.setenv("GANTRY_DATABASE_URL", source)
    file, password = name_of(utc_now(), is_encrypted=False), tmp_path / "password.txt"
    _gantry("db", "backup", file)
    password.write_text("hunter2\n")
    server = encrypted.server
    server.execute("CREATE USER owner@'%' IDENTIFIED BY 'hunter2' REQUIRE SSL")
    server.execute("GRANT ALL PRIVILEGES ON *.* TO owner@'%'")
    # Where the service's own database is; the other one is reached in the same way.
    monkeypatch.setenv("GANTRY_DATABASE_URL", server.url.set(database="mysql").render_as_string(hide_password=False))
    monkeypatch.setenv("GANTRY_DATABASE_TLS", "verified")
    with server.schema() as url:
        into = make_url(url).set(username="owner").render_as_string()
        words = ("--into", into, "--password-file", str(password))
        monkeypatch.setenv("GANTRY_DATABASE_TLS_CA", str(encrypted.other_ca))
        for command in ("restore", "verify"):
            with pytest.raises(DatabaseError, match="certificate verify failed"):
                _gantry("db", command, file, *words)
        refused = CliRunner().invoke(cli.app, ["db", "drill", "--folder", ".", *words])
        assert refused.exit_code != 0
        assert "certificate verify failed" in refused.stderr
        assert _tables(server, url) == 0
        monkeypatch.setenv("GANTRY_DATABASE_TLS_CA", str(encrypted.ca))
        assert "50 of them decisions" in _gantry("db", "drill", "--folder", ".", *words)
        _gantry("db", "restore", file, *words)
        assert server.execute(f"SELECT count(*) FROM {make_url(url).database}.decision") == [(50,)]


def _gantry(*words: str) -> str:
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def _tables(server: PrivateMariaDb, url: str) -> int:
    query = f"SELECT count(*) FROM information_schema.tables WHERE table_schema = '{make_url(url).database}'"
    return int(str(server.execute(query)[0][0]))


def test_server_without_tls_is_refused_where_it_must_be_encrypted() -> None:
    """Required means required: a server, or somebody in between, that offers no TLS gets no password."""
    with private_mariadb(("--skip-ssl",)) as server:
        assert make_url(str(server.url)).host == "127.0.0.1"
        assert _cipher(server, database_tls="preferred") == ""
        with pytest.raises(DatabaseError, match="SSL is required"):
            _cipher(server, database_tls="required")
