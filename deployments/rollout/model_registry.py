"""Registered policies: folders named after the SHA-256 of their manifest, which names the hashes of everything in them.

So a policy that was registered cannot change, and whoever is given the hash needs nobody's word for what it holds.
On several nodes the folder must be one that all of them see.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deployments.errors import reason_of
from deployments.runtime.durable_file import owner_only
from env.errors import ArtefactError
from models.policy.artefact import MANIFEST_FILE, Manifest, read_manifest

_RESCAN_SECONDS = 1.0
_DRAFT = ".draft-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A registered policy: its id, such as "full_production@3", and the SHA-256 of its manifest."""

    model_id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One policy with its manifest; `is_published` for the one that the service was started with."""

    artefact: Artefact
    manifest: Manifest
    folder: Path
    is_published: bool = False


def written_at(folder: Path) -> float | None:
    """When the policy in `folder` was written, in seconds since 1970; None where that cannot be told."""
    with suppress(ArtefactError, ValueError):
        return datetime.fromisoformat(read_manifest(folder).created_at).timestamp()
    return None


class Registry:
    """The policies in `folder`, and the published one. Reads the disk at most once a second for an unknown id."""

    def __init__(self, folder: Path, published: Path, *, steady: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._published = published
        self._steady = steady
        self._known: dict[str, Artefact] = {}
        self._scanned_at = float("-inf")

    def find(self, model_id: str) -> Artefact | None:
        """The registered policy of that id, None when there is none."""
        if model_id not in self._known and self._steady() - self._scanned_at >= _RESCAN_SECONDS:
            self._scanned_at = self._steady()
            self._known = {entry.artefact.model_id: entry.artefact for entry in self._registered()}
        return self._known.get(model_id)

    def all(self) -> list[Registered]:
        """The published policy first, then the registered ones by id; folders that hold none are left out."""
        published = registered_in(self._published, is_published=True)
        return [published, *sorted(self._registered(), key=lambda entry: entry.artefact.model_id)]

    def register(self, source: Path) -> Registered:
        """Copies a verified policy into the folder; the same one twice is one. Raises `ArtefactError`.

        Another policy under a known id is refused: an id must mean the same for ever.
        """
        found = registered_in(source)
        known = next((each for each in self.all() if each.artefact.model_id == found.artefact.model_id), None)
        if known is not None and known.artefact.sha256 != found.artefact.sha256:
            raise ArtefactError(f"{found.artefact.model_id} must be a new id: another policy is registered under it")
        target = self._folder / found.artefact.sha256
        if not target.is_dir():
            self._copy(found, target)
        self._scanned_at = float("-inf")
        return registered_in(target)

    def _copy(self, found: Registered, target: Path) -> None:
        draft = self._folder / f"{_DRAFT}{uuid.uuid4().hex}"
        draft.mkdir(parents=True)
        try:
            for name in (MANIFEST_FILE, *found.manifest.files):
                with (found.folder / name).open("rb") as source, open(draft / name, "xb", opener=owner_only) as copy:
                    shutil.copyfileobj(source, copy)
            verified(draft, found.artefact)
            # Complete under its name, or not there at all.
            os.replace(draft, target)
        except OSError as error:
            if not target.is_dir():
                raise ArtefactError(f"{target} must be writable: {reason_of(error)}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _registered(self) -> list[Registered]:
        entries = []
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.is_dir() and not folder.name.startswith(_DRAFT):
                try:
                    entries.append(registered_in(folder))
                except ArtefactError:
                    continue
        return [entry for entry in entries if entry.artefact.sha256 == entry.folder.name]


def registered_in(folder: Path, *, is_published: bool = False) -> Registered:
    """The policy in a folder, its files checked against its manifest. Raises `ArtefactError`."""
    manifest = read_manifest(folder)
    artefact = Artefact(model_id=manifest.model_id, sha256=_digest(folder))
    return Registered(artefact=artefact, manifest=manifest, folder=folder, is_published=is_published)


def verified(folder: Path, artefact: Artefact) -> None:
    """Raises `ArtefactError` unless `folder` holds exactly that policy."""
    found = registered_in(folder).artefact
    if found != artefact:
        raise ArtefactError(f"{folder} must hold {artefact.model_id} ({artefact.sha256[:12]}…), held {found.model_id}")


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
