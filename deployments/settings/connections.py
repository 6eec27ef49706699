"""Whom the service connects to: the way to MariaDB and its protection, and who is told in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

MAX_NOTIFY_TARGETS = 8
_NOTIFY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*[^,]")


def urls_of(secret: SecretStr | None) -> tuple[str, ...]:
    """Each URL by itself."""
    return () if secret is None else tuple(dict.fromkeys(secret.get_secret_value().split()))


def _can_be_told(secret: SecretStr | None) -> SecretStr | None:
    urls = urls_of(secret)
    if len(urls) > MAX_NOTIFY_TARGETS:
        raise ValueError(f"must be at most {MAX_NOTIFY_TARGETS} URLs, were {len(urls)}")
    for number, url in enumerate(urls, 1):
        # Not by `urlsplit`, whose complaints quote the URL.
        if not _NOTIFY_URL.fullmatch(url):
            raise ValueError(f"must be URLs with spaces, and no commas, between them; number {number} is none")
    return secret


NotifyUrls = Annotated[SecretStr | None, AfterValidator(_can_be_told)]


# Where no wire lies between us and the database that somebody could listen to.
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", ""})
_WORDS = {"ca": "ssl_ca", "certificate": "ssl_cert", "key": "ssl_key"}


class DatabaseTls(StrEnum):
    """Never encrypted; encrypted if the server offers it; or always; or always and only to the server we know."""

    OFF = "off"
    PREFERRED = "preferred"
    REQUIRED = "required"
    VERIFIED = "verified"


_CHECKS_HOST = {DatabaseTls.REQUIRED: "false", DatabaseTls.VERIFIED: "true"}


def tls_query(mode: DatabaseTls, files: Mapping[str, Path]) -> dict[str, str]:
    """What `with_tls` adds to a URL; `files` may name "ca", "certificate" and "key". Raises `ValueError`."""
    if ("certificate" in files) != ("key" in files):
        raise ValueError("needs GANTRY_DATABASE_TLS_CERTIFICATE and GANTRY_DATABASE_TLS_KEY together, had one of them")
    if (mode is DatabaseTls.VERIFIED) != ("ca" in files):
        raise ValueError("needs GANTRY_DATABASE_TLS=verified and GANTRY_DATABASE_TLS_CA together, had one of them")
    if "certificate" in files and mode not in _CHECKS_HOST:
        raise ValueError(f"needs GANTRY_DATABASE_TLS required or verified for a certificate, was {mode}")
    if mode is DatabaseTls.OFF:
        return {"ssl_disabled": "true"}
    if mode is DatabaseTls.PREFERRED:
        return {}
    # For the driver this word is also what makes encryption a must.
    return {_WORDS[name]: str(path.resolve()) for name, path in files.items()} | {
        "ssl_check_hostname": _CHECKS_HOST[mode]
    }


def tls_of(values: Mapping[str, Any]) -> dict[str, str]:
    """As `tls_query`, of the settings by their names."""
    files = {name: path for name in ("ca", "certificate", "key") if (path := values.get(f"database_tls_{name}"))}
    return tls_query(values.get("database_tls", DatabaseTls.PREFERRED), files)


def with_tls(url: str, query: Mapping[str, str]) -> str:
    """The URL with `query`; one that nobody understands stays as it is. Raises `ValueError`."""
    # Imported here, because most processes neither ask for TLS nor for the database.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Whoever opens it will say what a URL must look like.
        return url
    if parsed.drivername.startswith("sqlite"):
        raise ValueError("must be a MariaDB URL for GANTRY_DATABASE_TLS, was SQLite")
    if twice := sorted(name for name in parsed.query if name.startswith("ssl")):
        raise ValueError(f"must leave TLS to GANTRY_DATABASE_TLS, had {', '.join(twice)} as well")
    return parsed.update_query_dict(dict(query)).render_as_string(hide_password=False)


def is_local(url: str) -> bool:
    """Whether the database is on this machine."""
    return (urlsplit(url).hostname or "") in _LOCAL_HOSTS
