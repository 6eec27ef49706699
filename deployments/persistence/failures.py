"""What a database error means: may it pass, is the row to blame, or must a person look? And what that person should do.

MariaDB error numbers are those of its reference manual; the 2000s are the client's own.
"""

from __future__ import annotations

import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import exc

from deployments.persistence.errors import (
    DatabaseAccessDenied,
    DatabaseError,
    DatabaseUnavailable,
    DataRejected,
    InvalidDatabaseUrl,
    PersistenceError,
    SchemaMismatch,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What some error numbers mean: the error that they become, and in public words what to do about it."""

    codes: frozenset[int]
    error: type[DatabaseError]
    advice: str


_AGAIN = "and is tried again by itself"
_UNREACHABLE = Meaning(
    codes=frozenset(
        {
            1053,  # server shutdown in progress
            1927,  # connection was killed
            2002,  # cannot connect by socket
            2003,  # cannot connect by TCP
            2006,  # server has gone away
            2013,  # connection lost during a statement; during COMMIT the outcome is unknown
        }
    ),
    error=DatabaseUnavailable,
    advice=f"it is unreachable, {_AGAIN}",
)
_BUSY = Meaning(
    codes=frozenset(
        {
            1020,  # row changed since read (snapshot isolation, MariaDB >= 11.6.2)
            1205,  # lock wait time-out, of rows and of whole tables
            1206,  # more locks than the lock table holds
            1213,  # deadlock
            1317,  # statement was killed
            1969,  # max_statement_time exceeded
        }
    ),
    error=DatabaseUnavailable,
    advice=f"it is busy: a lock or a slow statement holds it up (SHOW FULL PROCESSLIST tells whose), {_AGAIN}",
)
_EXHAUSTED = Meaning(
    codes=frozenset(
        {
            1040,  # max_connections of the server
            1203,  # max_user_connections of the server
            1226,  # what its user may have: MAX_USER_CONNECTIONS, MAX_QUERIES_PER_HOUR and their like
        }
    ),
    error=DatabaseUnavailable,
    advice="its connections, or what its user may ask, are used up: raise max_connections or the user's limits",
)
_FULL = Meaning(
    codes=frozenset(
        {
            3,  # error writing a file
            1021,  # disk full, the server waits for room
            1026,  # error writing a file
            1114,  # the table is full: InnoDB finds no room
        }
    ),
    error=DatabaseUnavailable,
    advice="its disk is full: make room there",
)
_OUT_OF_MEMORY = Meaning(
    codes=frozenset({1037, 1038, 1041}), error=DatabaseUnavailable, advice=f"it is out of memory, {_AGAIN}"
)
_READ_ONLY = Meaning(
    codes=frozenset(
        {
            1290,  # --read-only, as during a failover
            1792,  # read-only transaction
            1836,  # read-only mode
        }
    ),
    error=DatabaseUnavailable,
    advice=f"it is read-only, {_AGAIN}",
)
_UNTRUSTED = Meaning(
    codes=frozenset({2026}),
    error=DatabaseUnavailable,
    advice="no trusted encryption: its certificate is not the one that GANTRY_DATABASE_TLS and "
    "GANTRY_DATABASE_TLS_CA ask for",
)
_NO_ENTRY = Meaning(
    codes=frozenset(
        {
            1045,  # wrong user or password
            1129,  # the server blocks this machine
            1130,  # this machine is not allowed
            1698,  # wrong user or password, or another plugin
            1820,  # the password must be set first
            1862,  # the password has expired
            4151,  # the account is locked
        }
    ),
    error=DatabaseAccessDenied,
    advice="user or password are wrong, expired or locked, or this machine may not connect: mend GANTRY_DATABASE_URL",
)
_NO_GRANT = Meaning(
    codes=frozenset({1044, 1142, 1143, 1227, 1345, 1370}),
    error=DatabaseAccessDenied,
    advice="its user lacks a grant: `gantry db grants` prints what is needed",
)
_OLD_SCHEMA = Meaning(
    codes=frozenset(
        {
            1054,  # unknown column
            1136,  # another number of columns
            1146,  # no such table
            1364,  # a column that this program does not know wants a value
        }
    ),
    error=SchemaMismatch,
    advice="a table or column is missing, or one too many is there: run `gantry db upgrade`, then `gantry db check`",
)
_TOO_LARGE = Meaning(
    codes=frozenset(
        {
            1118,  # row too large for a page or the redo log
            1153,  # packet larger than max_allowed_packet
            1301,  # result of a function larger than max_allowed_packet
        }
    ),
    error=DataRejected,
    advice="it is larger than the database takes: raise max_allowed_packet",
)
_DOES_NOT_FIT = Meaning(
    codes=frozenset(
        {
            1264,  # number out of range
            1265,  # data truncated
            1292,  # wrong value for a type
            1366,  # wrong value for a character set
            1406,  # text too long
        }
    ),
    error=DataRejected,
    advice="a value does not fit into its column",
)
_BREAKS_A_CONSTRAINT = Meaning(
    codes=frozenset(
        {
            1048,  # column must not be null
            1062,  # duplicate key
            1451,  # foreign key: others refer to it
            1452,  # foreign key: nothing to refer to
            4025,  # CHECK
        }
    ),
    error=DataRejected,
    advice="it breaks a constraint of the database",
)
_NO_DATABASE = Meaning(
    codes=frozenset({1049}),
    error=InvalidDatabaseUrl,
    advice="GANTRY_DATABASE_URL names no database that can be used",
)
_NO_STATEMENT = Meaning(codes=frozenset(), error=DataRejected, advice="a value is none that a database can hold")
_UNKNOWN = Meaning(codes=frozenset(), error=DatabaseError, advice=DatabaseError.advice)
MEANINGS = (
    _UNREACHABLE,
    _BUSY,
    _EXHAUSTED,
    _FULL,
    _OUT_OF_MEMORY,
    _READ_ONLY,
    _UNTRUSTED,
    _NO_ENTRY,
    _NO_GRANT,
    _OLD_SCHEMA,
    _TOO_LARGE,
    _DOES_NOT_FIT,
    _BREAKS_A_CONSTRAINT,
    _NO_DATABASE,
)
_BY_CODE = {code: meaning for meaning in MEANINGS for code in meaning.codes}
_STORAGE_ENGINE = 1030
_SQLITE = {sqlite3.SQLITE_BUSY: _BUSY, sqlite3.SQLITE_LOCKED: _BUSY, sqlite3.SQLITE_FULL: _FULL}
_MAX_MESSAGE_LENGTH = 300


@contextmanager
def database_errors(where: str) -> Iterator[None]:
    """Turns what SQLAlchemy and the drivers raise into one of our `DatabaseError`s; `where` begins its message."""
    try:
        yield
    except (exc.SQLAlchemyError, UnicodeError, OverflowError) as error:
        meaning = _meaning(error)
        ours = meaning.error(f"{where}: {_one_line(error)}")
        ours.advice = meaning.advice
        raise ours from error


def advice_for(error: Exception) -> str:
    """What to do about an error, in words that name no host, user or file: anybody may read them."""
    return error.advice if isinstance(error, PersistenceError) else PersistenceError.advice


def _meaning(error: Exception) -> Meaning:
    if isinstance(error, exc.DBAPIError):
        return _meaning_of_driver_error(error)
    if isinstance(error, exc.TimeoutError):
        return _BUSY
    if isinstance(error, exc.StatementError | UnicodeError | OverflowError):
        # The row could not even be turned into a statement.
        return _NO_STATEMENT
    return _UNKNOWN


def _meaning_of_driver_error(error: exc.DBAPIError) -> Meaning:
    code = _code(error)
    if isinstance(getattr(error.orig, "original_exception", None), ssl.SSLError):
        return _UNTRUSTED
    # The low byte of SQLite's own code is the primary one, the rest says more about it.
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None and (meaning := _SQLITE.get(sqlite_code & 0xFF)):
        return meaning
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code == _STORAGE_ENGINE and "No space left" in str(error.orig):
        return _FULL
    if error.connection_invalidated or _is_lost_interface(error):
        return _UNREACHABLE
    # Without a number it was raised while binding: NaN for PyMySQL, an unknown type for sqlite3.
    if code is None and isinstance(error, exc.ProgrammingError | exc.InterfaceError):
        return _NO_STATEMENT
    if isinstance(error, exc.IntegrityError):
        return _BREAKS_A_CONSTRAINT
    return _DOES_NOT_FIT if isinstance(error, exc.DataError) else _UNKNOWN


def _code(error: exc.DBAPIError) -> int | None:
    arguments = error.orig.args if error.orig is not None else ()
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def _is_lost_interface(error: exc.DBAPIError) -> bool:
    # PyMySQL says (0, "") when it is used on a connection that it has already closed.
    return isinstance(error, exc.InterfaceError) and _code(error) == 0


def _one_line(error: Exception) -> str:
    """The driver's own words: neither the statement nor its parameters, which may be a client's data."""
    cause = error.orig if isinstance(error, exc.StatementError) and error.orig is not None else error
    words = " ".join(str(part) for part in cause.args) or type(cause).__name__
    return " ".join(words.split())[:_MAX_MESSAGE_LENGTH]
