"""What is said about claims of idempotency keys; knows no database."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimKey:
    """What is claimed: the key as the client chose it, one namespace for each client and route."""

    client: str
    route: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A claim that somebody wants: the id its decision will have, the owner of the spool it will go to."""

    claim: ClaimKey
    request_sha256: str
    decision_id: str
    owner_id: str
    lease_seconds: float
    kept_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The claim is the asker's, until its lease ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """There is an answer; `body` is exactly what was answered."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Somebody is at it, or left something that is not stored yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherBody:
    """The key belongs to another request."""


Outcome = Granted | Finished | Running | OtherBody
