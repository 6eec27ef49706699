"""One row of the audit trail, as it travels through the spool."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar

LONGEST_DETAIL = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One act of one actor: `action` names the route or command, `target` what it was done to.

    `status` is what the actor was answered, None for a command; `detail` is what the actor gave as well.
    """

    kind: ClassVar[str] = "audit"

    event_id: str
    occurred_at: datetime
    actor: str
    client: str | None
    key_id: str | None
    action: str
    target: str
    status: int | None
    request_id: str | None
    detail: str | None

    def to_bytes(self) -> bytes:
        """The event as one spool payload; `from_fields` gives it back unchanged."""
        return json.dumps(self.to_fields() | {"kind": self.kind}).encode()

    def to_fields(self) -> dict[str, Any]:
        """The event as a JSON object."""
        return asdict(self) | {"occurred_at": self.occurred_at.isoformat()}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> AuditEvent:
        """The event from its JSON object. Raises `ValueError` or `TypeError` if it is not one."""
        values = {name: value for name, value in fields.items() if name != "kind"}
        return cls(**values | {"occurred_at": datetime.fromisoformat(values["occurred_at"])})
