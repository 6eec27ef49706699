"""What a database error means."""

from __future__ import annotations

import pickle
import ssl

import pymysql
import pytest
from sqlalchemy import exc

from deployments.persistence.errors import (
    DatabaseAccessDenied,
    DatabaseError,
    DatabaseUnavailable,
    DataRejected,
    InvalidDatabaseUrl,
    SchemaMismatch,
    SpoolFull,
)
from deployments.persistence.failures import MEANINGS, advice_for, database_errors


def _meaning(error: Exception) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught, database_errors("here"):
        raise error
    return caught.value


def _driver_error(code: int) -> exc.DBAPIError:
    return exc.OperationalError("SELECT secret", {"p": "secret"}, pymysql.OperationalError(code, "first\nsecond"))


@pytest.mark.parametrize("code", [1213, 1205, 1020, 2002, 2003, 2006, 2013, 1040, 1290, 1927, 1969])
def test_codes_that_may_pass_are_unavailable(code: int) -> None:
    """These are worth another attempt."""
    assert type(_meaning(_driver_error(code))) is DatabaseUnavailable


@pytest.mark.parametrize("code", [1062, 1406, 1048, 1264])
def test_codes_that_blame_the_row_are_rejections(code: int) -> None:
    """These never pass, however often they are tried."""
    assert type(_meaning(_driver_error(code))) is DataRejected


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (1045, DatabaseAccessDenied),
        (1142, DatabaseAccessDenied),
        (1049, InvalidDatabaseUrl),
        (1146, SchemaMismatch),
        (1054, SchemaMismatch),
        (1105, DatabaseError),
    ],
)
def test_other_codes_are_for_a_person(code: int, meaning: type[DatabaseError]) -> None:
    """Neither a retry nor a dead letter would help."""
    assert type(_meaning(_driver_error(code))) is meaning


def test_message_is_one_line_without_statement_or_parameters() -> None:
    """It may be shown and logged."""
    assert str(_meaning(_driver_error(1146))) == "here: 1146 first second"


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (exc.InterfaceError("", {}, pymysql.InterfaceError(0, "")), DatabaseUnavailable),
        (exc.ProgrammingError("", {}, pymysql.ProgrammingError("nan can not be used with MySQL")), DataRejected),
        (exc.TimeoutError("no connection free"), DatabaseUnavailable),
        (exc.StatementError("naive", "", {}, ValueError("naive")), DataRejected),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), DataRejected),
        (OverflowError("int too large"), DataRejected),
        (exc.OperationalError("", {}, pymysql.Error(), connection_invalidated=True), DatabaseUnavailable),
    ],
)
def test_errors_without_a_code_have_a_meaning_too(error: Exception, meaning: type[DatabaseError]) -> None:
    """Drivers and SQLAlchemy raise some of their own."""
    assert type(_meaning(error)) is meaning


def test_own_errors_pass_through() -> None:
    """What this room raises inside is not wrapped again."""
    with pytest.raises(ValueError, match="limit"), database_errors("here"):
        raise ValueError("limit")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (DatabaseUnavailable("db.example: gone"), "it is unreachable, read-only or busy"),
        (DatabaseAccessDenied("db.example: user gantry"), "user, password or grants are wrong"),
        (DatabaseError("db.example: no such table"), "run `gantry db check`"),
        (SpoolFull("/srv/spool"), "the disk of the spool fails"),
        (RuntimeError("db.example"), "the log of the writer has the cause"),
    ],
)
def test_advice_tells_what_to_do_and_no_address(error: Exception, advice: str) -> None:
    """It is shown to whoever asks for the health of the service."""
    assert advice_for(error).startswith(advice)
    assert "db.example" not in advice_for(error)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1040, "connections"),
        (1203, "connections"),
        (1226, "connections"),
        (1021, "disk is full"),
        (1114, "disk is full"),
        (1054, "column is missing"),
        (1142, "lacks a grant"),
        (1045, "password"),
        (1205, "lock"),
        (1969, "slow statement"),
        (1290, "read-only"),
        (1153, "max_allowed_packet"),
        (1406, "does not fit"),
        (4025, "constraint"),
    ],
)
def test_advice_names_the_cause(code: int, words: str) -> None:
    """Also after the error has travelled from the writer to the router, and never where the database is."""
    travelled = pickle.loads(pickle.dumps(_meaning(_driver_error(code))))
    assert words in advice_for(travelled)
    assert "here" not in advice_for(travelled).split()


def test_full_disk_and_exhausted_connections_pass() -> None:
    """They are no fault of the record that meets them."""
    for number in (3, 1021, 1026, 1114, 1203, 1226):
        assert type(_meaning(_driver_error(number))) is DatabaseUnavailable
    storage = exc.OperationalError("", {}, pymysql.OperationalError(1030, 'Got error 28 "No space left on device"'))
    assert "disk is full" in advice_for(_meaning(storage))


def test_certificate_of_another_authority_is_said() -> None:
    """For the driver it is one of many reasons why it cannot connect."""
    refused = pymysql.OperationalError(2003, "Can't connect to MySQL server on 'db.example'")
    refused.original_exception = ssl.SSLCertVerificationError("certificate verify failed")
    error = _meaning(exc.OperationalError("", {}, refused))
    assert type(error) is DatabaseUnavailable
    assert "GANTRY_DATABASE_TLS_CA" in advice_for(error)


def test_each_number_means_one_thing() -> None:
    """No number stands in two groups."""
    numbers = [code for meaning in MEANINGS for code in meaning.codes]
    assert sorted(numbers) == sorted(set(numbers))
