"""Who calls, and what that caller may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from deployments.errors import Forbidden

DEFAULT_CLIENT = "default"


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    SCHEDULE = "schedule"
    ROLLBACK = "rollback"
    OPERATE = "operate"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who calls. Decisions belong to the client by its name, whichever of its keys was used.

    `plants` are the plants that the key may name and see, None: all. `key_id` and `key_name` tell which key
    was used; they are None for the key of the settings.
    """

    name: str
    scopes: frozenset[Scope]
    plants: frozenset[str] | None = None
    key_id: str | None = None
    key_name: str | None = None

    @property
    def actor(self) -> str:
        """Whom an audit trail names: the key, or the client when the key has no name."""
        return self.key_name or self.name

    def require(self, *scopes: Scope) -> None:
        """Raises `Forbidden` unless the client holds at least one of `scopes`."""
        if self.scopes.isdisjoint(scopes):
            wanted = " or ".join(scopes)
            raise Forbidden(f"the key must have the scope {wanted}, had {', '.join(sorted(self.scopes)) or 'none'}")

    def may_see(self, plant_id: str | None) -> bool:
        """Whether something of this plant exists for the client at all."""
        return self.plants is None or plant_id in self.plants

    def require_plant(self, plant_id: str) -> None:
        """Raises `Forbidden` for a plant that is not the key's; a plant that nobody has gets the same answer."""
        if not self.may_see(plant_id):
            raise Forbidden(f"the key is not for plant {plant_id!r}")
