"""What a database error means: may it pass, is the row to blame, or must a person look?

MariaDB error numbers are those of its reference manual; the 2000s are the client's own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from deployments.persistence.errors import (
    DatabaseAccessDenied,
    DatabaseError,
    DatabaseUnavailable,
    DataRejected,
    InvalidDatabaseUrl,
    SpoolError,
)

TRANSIENT_CODES = frozenset(
    {
        1020,  # row changed since read (snapshot isolation, MariaDB >= 11.6.2)
        1040,  # too many connections
        1053,  # server shutdown in progress
        1205,  # lock wait time-out
        1213,  # deadlock
        1290,  # server is read-only, as during a failover
        1927,  # connection was killed
        2002,  # cannot connect by socket
        2003,  # cannot connect by TCP
        2006,  # server has gone away
        2013,  # connection lost during a statement; during COMMIT the outcome is unknown
    }
)
DATA_CODES = frozenset(
    {
        1048,  # column must not be null
        1062,  # duplicate key
        1153,  # packet larger than max_allowed_packet
        1264,  # number out of range
        1265,  # data truncated
        1292,  # wrong value for a type
        1366,  # wrong value for a character set
        1406,  # text too long
    }
)
_ACCESS_CODES = frozenset({1044, 1045, 1142, 1143, 1227, 1698})
_MEANINGS: tuple[tuple[frozenset[int], type[DatabaseError]], ...] = (
    (TRANSIENT_CODES, DatabaseUnavailable),
    (DATA_CODES, DataRejected),
    (_ACCESS_CODES, DatabaseAccessDenied),
    (frozenset({1049}), InvalidDatabaseUrl),
)
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (DatabaseUnavailable, "it is unreachable, read-only or busy, and is tried again by itself"),
    (DatabaseAccessDenied, "user, password or grants are wrong: mend GANTRY_DATABASE_URL or the grants"),
    (InvalidDatabaseUrl, "GANTRY_DATABASE_URL names no database that can be used"),
    (DatabaseError, "run `gantry db check`, which says what is wrong with it"),
    (SpoolError, "the disk of the spool fails: look at `gantry db spool status`"),
)
_SQLITE_TRANSIENT = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_MAX_MESSAGE_LENGTH = 300


@contextmanager
def database_errors(where: str) -> Iterator[None]:
    """Turns what SQLAlchemy and the drivers raise into one of our `DatabaseError`s; `where` begins its message."""
    try:
        yield
    except (exc.SQLAlchemyError, UnicodeError, OverflowError) as error:
        raise _meaning(error)(f"{where}: {_one_line(error)}") from error


def advice_for(error: Exception) -> str:
    """What to do about an error, in words that name no host, user or file: anybody may read them."""
    return next((words for kind, words in _ADVICE if isinstance(error, kind)), "the log of the writer has the cause")


def _meaning(error: Exception) -> type[DatabaseError]:
    if isinstance(error, exc.DBAPIError):
        return _meaning_of_driver_error(error)
    if isinstance(error, exc.TimeoutError):
        return DatabaseUnavailable
    if isinstance(error, exc.StatementError | UnicodeError | OverflowError):
        # The row could not even be turned into a statement.
        return DataRejected
    return DatabaseError


def _meaning_of_driver_error(error: exc.DBAPIError) -> type[DatabaseError]:
    code = _code(error)
    if error.connection_invalidated or _is_sqlite_busy(error) or _is_lost_interface(error):
        return DatabaseUnavailable
    for codes, meaning in _MEANINGS:
        if code in codes:
            return meaning
    # Without a number it was raised while binding: NaN for PyMySQL, an unknown type for sqlite3.
    is_binding = code is None and isinstance(error, exc.ProgrammingError | exc.InterfaceError)
    return DataRejected if is_binding or isinstance(error, exc.DataError | exc.IntegrityError) else DatabaseError


def _code(error: exc.DBAPIError) -> int | None:
    arguments = error.orig.args if error.orig is not None else ()
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def _is_lost_interface(error: exc.DBAPIError) -> bool:
    # PyMySQL says (0, "") when it is used on a connection that it has already closed.
    return isinstance(error, exc.InterfaceError) and _code(error) == 0


def _is_sqlite_busy(error: exc.DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    # The low byte is the primary code, the rest says more about it.
    return code is not None and code & 0xFF in _SQLITE_TRANSIENT


def _one_line(error: Exception) -> str:
    """The driver's own words: neither the statement nor its parameters, which may be a client's data."""
    cause = error.orig if isinstance(error, exc.StatementError) and error.orig is not None else error
    words = " ".join(str(part) for part in cause.args) or type(cause).__name__
    return " ".join(words.split())[:_MAX_MESSAGE_LENGTH]
