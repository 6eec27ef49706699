"""Who is told in words: URLs of Apprise, spaces between them, each of them a secret."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

MAX_NOTIFY_TARGETS = 8


def urls_of(secret: SecretStr | None) -> tuple[str, ...]:
    """Each URL by itself."""
    return () if secret is None else tuple(secret.get_secret_value().split())


def _can_be_told(secret: SecretStr | None) -> SecretStr | None:
    urls = urls_of(secret)
    if len(urls) > MAX_NOTIFY_TARGETS:
        raise ValueError(f"must be at most {MAX_NOTIFY_TARGETS} URLs, were {len(urls)}")
    for number, url in enumerate(urls, 1):
        if "://" not in url or not urlsplit(url).scheme:
            raise ValueError(f"must be URLs with spaces between them; number {number} is none")
    return secret


NotifyUrls = Annotated[SecretStr | None, AfterValidator(_can_be_told)]
