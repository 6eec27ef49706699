"""The way to a real MariaDB that speaks TLS, and to one that does not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from deployments.persistence.database import create_engine
from deployments.persistence.errors import DatabaseError
from deployments.persistence.failures import advice_for, database_errors
from deployments.settings.service import load_settings
from tests.system.mariadb import PrivateMariaDb, private_mariadb

pytestmark = pytest.mark.system


@dataclass(frozen=True, slots=True, kw_only=True)
class Encrypted:
    """A server that speaks TLS with a certificate for 127.0.0.1, and who signed it."""

    server: PrivateMariaDb
    ca: Path
    other_ca: Path


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _authority(folder: Path, name: str) -> Path:
    subject = ("-subj", f"/CN={name}", "-days", "2", "-newkey", "rsa:2048", "-nodes")
    _openssl(folder, "req", "-x509", *subject, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return folder / f"{name}.pem"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    """One server for the tests of this module."""
    folder = tmp_path_factory.mktemp("tls")
    ca, other = _authority(folder, "ca"), _authority(folder, "other")
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-subj", "/CN=db")
    _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "db.key", "-out", "db.csr", *names)
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copy")
    _openssl(folder, "x509", "-req", "-in", "db.csr", *signing, "-out", "db.pem")
    options = (f"--ssl-cert={folder / 'db.pem'}", f"--ssl-key={folder / 'db.key'}", f"--ssl-ca={ca}")
    with private_mariadb(options) as server:
        yield Encrypted(server=server, ca=ca, other_ca=other)


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


def test_every_mode_does_what_it_says(encrypted: Encrypted) -> None:
    """Off is plain; the others are encrypted; verified also when the server proves who it is."""
    assert _cipher(encrypted.server, database_tls="off") == ""
    assert _cipher(encrypted.server, database_tls="preferred")
    assert _cipher(encrypted.server, database_tls="required")
    assert _cipher(encrypted.server, database_tls="verified", database_tls_ca=str(encrypted.ca))


def test_server_that_is_not_the_one_we_know_is_refused(encrypted: Encrypted) -> None:
    """Signed by somebody else, or for another host: no connection, and the password is not sent."""
    with pytest.raises(DatabaseError, match="certificate verify failed") as caught:
        _cipher(encrypted.server, database_tls="verified", database_tls_ca=str(encrypted.other_ca))
    assert "GANTRY_DATABASE_TLS_CA" in advice_for(caught.value)
    with pytest.raises(DatabaseError, match=r"certificate verify failed|doesn't match|mismatch"):
        _cipher(encrypted.server, "localhost", database_tls="verified", database_tls_ca=str(encrypted.ca))


def test_server_without_tls_is_refused_where_it_must_be_encrypted() -> None:
    """Required means required: a server, or somebody in between, that offers no TLS gets no password."""
    with private_mariadb(("--skip-ssl",)) as server:
        assert make_url(str(server.url)).host == "127.0.0.1"
        assert _cipher(server, database_tls="preferred") == ""
        with pytest.raises(DatabaseError, match="SSL is required"):
            _cipher(server, database_tls="required")
