"""What the webhook has told, on disk: a notice neither dies with its controller nor is told again by the next one."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from datetime import datetime
from pathlib import Path

from deployments.steering.whole_file import write_whole

NAME = "told.json"
MOST_KEYS = 1_000
_log = logging.getLogger(__name__)


class Told:
    """Keys of what was told, the latest `MOST_KEYS` of them; what is older than all of those counts as told.

    So does what happened before `begun_at`, where nobody has told anything yet. Blocking, but for `knows`.
    """

    def __init__(self, folder: Path, *, begun_at: datetime) -> None:
        self._path = folder / NAME
        self._since = begun_at
        self._keys: OrderedDict[str, datetime] = OrderedDict()
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            self._keys.update((key, datetime.fromisoformat(at)) for key, at in document["told"])
            self._since = datetime.fromisoformat(document["since"])
        except FileNotFoundError:
            # On disk before the first news, which then survive the death of this controller.
            self._save()
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.error("%s cannot be read, so older news are not told: %s", self._path, error)

    def knows(self, key: str, at: datetime) -> bool:
        """Whether this was told, or is too old to be news."""
        return key in self._keys or at < self._since

    def add(self, key: str, at: datetime) -> None:
        """It was told, or given up. A disk that does not keep this may have it told twice."""
        self._keys[key] = at
        while len(self._keys) > MOST_KEYS:
            _, oldest = self._keys.popitem(last=False)
            self._since = max(self._since, oldest)
        self._save()

    def _save(self) -> None:
        told = [[name, when.isoformat()] for name, when in self._keys.items()]
        try:
            write_whole(self._path, json.dumps({"since": self._since.isoformat(), "told": told}))
        except OSError as error:
            _log.error("%s could not be written: %s", self._path, error)
