"""API keys: who calls, and what that caller may do.

Only SHA-256 digests of keys are kept, every comparison takes the same time whatever was sent, and no key
is ever written to a log.

| module | what it holds |
|---|---|
| key_ring | the keys that are valid now, what a caller may do, in which plants, and how often; sessions of browsers |
| key_keeper | keeps the ring of one router in step with the database, and on local disk for starts without it |
"""

from deployments.access.key_ring import ALL_SCOPES, DEFAULT_CLIENT, Client, KeyRing, Scope, StoredKey, key_digest

__all__ = ["ALL_SCOPES", "DEFAULT_CLIENT", "Client", "KeyRing", "Scope", "StoredKey", "key_digest"]
