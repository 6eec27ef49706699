"""Log lines as JSON objects, one a line, with the id of the request that they belong to and no secret."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

REQUEST_ID: ContextVar[str | None] = ContextVar("gantry_request_id", default=None)
LINE_BEGINNING = '{"time":"'
"""By this a line of ours is told from those of the libraries."""
REQUESTS = "deployments.requests"
"""The logger of the one line that each request leaves; such a line does not name it."""
REDACTED = "***"
_MIN_SECRET_CHARACTERS = 6
_BUILT_IN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, request_id, then the fields of `extra`.

    Occurrences of `secrets` anywhere in the line are replaced, because an exception of a library may
    quote a connection string.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        # Replacing a very short secret would deface innocent text without hiding much.
        long_enough = {secret for secret in secrets if len(secret) >= _MIN_SECRET_CHARACTERS}
        self._secrets = sorted((json.dumps(secret)[1:-1] for secret in long_enough), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            **({} if record.name == REQUESTS else {"logger": record.name}),
            "message": record.getMessage(),
            "request_id": REQUEST_ID.get(),
        }
        # Ray's library notes its own time in each record, beneath an underscore.
        own = {name: value for name, value in vars(record).items() if not name.startswith("_")}
        fields |= {name: value for name, value in own.items() if name not in _BUILT_IN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        line = json.dumps(fields, default=str, separators=(",", ":"))
        for secret in self._secrets:
            line = line.replace(secret, REDACTED)
        return line

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback as Python writes it; the inherited way prints, and Ray Serve replaces `print` in a replica."""
        return "".join(traceback.format_exception(*ei)).rstrip()


def configure_logging(level: str, secrets: Iterable[str] = ()) -> logging.Handler:
    """Send the loggers of Gantry to stderr as JSON lines; calling it again replaces the handler.

    Only our own loggers are touched: Ray and its proxies configure theirs by themselves.
    """
    # Ray Serve replaces `sys.stderr` in a replica by a logger of its own, which drops what is below a warning there.
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(JsonFormatter(secrets))
    for floor in ("env", "models", "deployments"):
        logger = logging.getLogger(floor)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    return handler
