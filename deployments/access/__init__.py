"""API keys: who calls, and what that caller may do.

Only SHA-256 digests of keys are kept, every comparison takes the same time whatever was sent, and no key
is ever written to a log.

| room | what it holds |
|---|---|
| client | Client and its scopes: what a caller may do, and in which plants |
| key_text | a key as its holder has it: made, and told from a typing error |
| key_ring | the keys that are valid now: a key -> its client |
| key_snapshot | the key ring on local disk, for a start while the database is away |
| rate_limit | how often a key may ask |
| key_keeper | keeps the ring of one router in step with the database |
"""

from deployments.access.client import ALL_SCOPES, DEFAULT_CLIENT, Client, Scope
from deployments.access.key_ring import KeyRing, StoredKey
from deployments.access.key_text import key_digest

__all__ = ["ALL_SCOPES", "DEFAULT_CLIENT", "Client", "KeyRing", "Scope", "StoredKey", "key_digest"]
