"""Reads the body of a request without ever holding more of it than is allowed."""

from __future__ import annotations

from starlette.requests import Request

from deployments.errors import BodyTooLarge


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge` as soon as it is known to have more than `limit_bytes`."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    body = bytearray()
    async for chunk in request.stream():
        # The announcement may be absent or a lie, so what arrives is counted too.
        if len(body) + len(chunk) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        body += chunk
    return bytes(body)
