"""The way to MariaDB, in the words of a database URL."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from deployments.errors import InvalidSettings
from deployments.settings.service import load_settings

URL = "mariadb+pymysql://gantry:hunter%402@db:3306/gantry?charset=utf8mb4"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Paths of files that are there."""
    made = {}
    for name in ("ca", "certificate", "key"):
        path = tmp_path / f"{name}.pem"
        path.write_text("PEM")
        made[f"database_tls_{name}"] = str(path)
    return made


def url_of(**changes: str) -> str:
    """The database URL that the rest of the program sees."""
    return load_settings(_env_file=None, **{"database_url": URL} | changes).database_url.get_secret_value()


def test_url_stays_as_it_is_by_default() -> None:
    """Preferred is what the driver does by itself."""
    assert url_of() == url_of(database_tls="preferred") == URL


def test_modes_become_words_of_the_driver(files: dict[str, str]) -> None:
    """Each mode adds what makes the driver do it, and nothing of the URL is lost."""
    off, required = make_url(url_of(database_tls="off")), make_url(url_of(database_tls="required"))
    verified = make_url(url_of(database_tls="verified", **files))
    assert dict(off.query) == {"charset": "utf8mb4", "ssl_disabled": "true"}
    assert dict(required.query) == {"charset": "utf8mb4", "ssl_check_hostname": "false"}
    assert dict(verified.query) == {
        "charset": "utf8mb4",
        "ssl_check_hostname": "true",
        "ssl_ca": files["database_tls_ca"],
        "ssl_cert": files["database_tls_certificate"],
        "ssl_key": files["database_tls_key"],
    }
    assert {url.password for url in (off, required, verified)} == {"hunter@2"}


@pytest.mark.parametrize(
    ("mode", "given", "message"),
    [
        ("verified", (), "needs GANTRY_DATABASE_TLS=verified and GANTRY_DATABASE_TLS_CA together"),
        ("required", ("ca",), "needs GANTRY_DATABASE_TLS=verified and GANTRY_DATABASE_TLS_CA together"),
        ("required", ("key",), "GANTRY_DATABASE_TLS_CERTIFICATE and GANTRY_DATABASE_TLS_KEY together"),
        ("preferred", ("certificate", "key"), "required or verified for a certificate, was preferred"),
    ],
)
def test_half_a_wish_refuses_the_start(files: dict[str, str], mode: str, given: tuple[str, ...], message: str) -> None:
    """A certificate without its key, or an authority that nobody asks, was not meant."""
    chosen = {name: files[name] for name in (f"database_tls_{each}" for each in given)}
    with pytest.raises(InvalidSettings, match=message) as caught:
        url_of(database_tls=mode, **chosen)
    assert "hunter" not in str(caught.value)


def test_tls_is_said_once() -> None:
    """Words of TLS in the URL beside the settings would contradict each other one day."""
    with pytest.raises(InvalidSettings, match="must leave TLS to GANTRY_DATABASE_TLS, had ssl_ca as well"):
        url_of(database_tls="required", database_url=f"{URL}&ssl_ca=/x.pem")
    assert "ssl_ca" in url_of(database_url=f"{URL}&ssl_ca=/x.pem")


def test_embedded_database_has_no_way_to_protect() -> None:
    """TLS for SQLite was not meant."""
    with pytest.raises(InvalidSettings, match="must be a MariaDB URL for GANTRY_DATABASE_TLS, was SQLite"):
        url_of(database_tls="required", database_url="sqlite:////x.sqlite3")


def test_file_that_is_absent_refuses_the_start(tmp_path: Path) -> None:
    """A path with a typing error is named before anything starts."""
    with pytest.raises(InvalidSettings, match="GANTRY_DATABASE_TLS_CA: Path does not point to a file"):
        url_of(database_tls="verified", database_tls_ca=str(tmp_path / "absent.pem"))
