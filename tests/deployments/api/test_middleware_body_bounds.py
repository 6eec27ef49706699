"""Bodies that are too large, too deep, too slow or compressed."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from functools import partial

import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from deployments.api import create_api, middleware
from deployments.api.middleware import MEMORY_OF_BODIES, BodyBounds, BodyMemory, BodyRemainder, BodyShare, inflate
from deployments.errors import BodyTooDense, BodyTooLarge, NoRoomForBody
from deployments.scheduling.time_budget import OFFLOAD
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import NOW, MemoryJournal, body, development_settings, scheduling_over, services_over

LIMIT_BYTES = 2000


async def _in_pieces(*pieces: bytes, pause_seconds: float = 0.0) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(pause_seconds)
        yield piece


@pytest.mark.parametrize("path", ["/schedule", "/v1/schedules", "/v1/validate"])
async def test_large_body_is_refused_whether_announced_or_not(path: str) -> None:
    """413, before more than the limit is held."""
    services = services_over(settings=development_settings(max_body_bytes=LIMIT_BYTES))
    for content in (b"x" * (LIMIT_BYTES + 1), _in_pieces(*[b"x" * 500] * 5)):
        answer = await call("POST", path, services=services, content=content)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/schedule", "/v1/validate"])
async def test_slow_body_is_given_up(path: str) -> None:
    """408 when the body is not there in time, however small and steady its pieces are."""
    services = services_over(settings=development_settings(body_timeout_seconds=0.05))
    answer = await call("POST", path, services=services, content=_in_pieces(*[b" "] * 100, pause_seconds=0.02))
    assert (answer.status_code, answer.json()["error"]) == (408, "too_slow")
    assert answer.json()["detail"] == "the body must arrive within 0.05 s (GANTRY_BODY_TIMEOUT_SECONDS)"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"jobs":['])
async def test_deep_body_is_refused(opening: bytes) -> None:
    """400 for a document of half a million levels, in an instant and without a trace of recursion."""
    answer = await call("POST", "/schedule", content=opening * 500_000)
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed_json")
    assert len(answer.content) < 2000


async def test_bounds_hold_for_bodies_that_the_framework_reads() -> None:
    """A route that declares its body is bounded like one that reads it."""
    services = services_over(settings=development_settings(max_body_bytes=LIMIT_BYTES, body_timeout_seconds=0.5))
    app = create_api(lambda: services, clock=lambda: NOW)
    _add_declared(app)
    large = await call("POST", "/declared", app=app, json={"text": "x" * LIMIT_BYTES})
    pieces = _in_pieces(*[b" "] * 100, pause_seconds=0.05)
    slow = await call("POST", "/declared", app=app, content=pieces, headers=KEY | {"content-type": "application/json"})
    assert (large.status_code, slow.status_code) == (413, 408)
    assert (large.json()["error"], slow.json()["error"]) == ("too_large", "too_slow")


def _add_declared(app: FastAPI) -> None:
    async def declared(body: dict[str, str]) -> dict[str, str]:
        return body

    # The annotation is text here, and the framework would look for it in this module.
    declared.__annotations__ = {"body": dict[str, str], "return": dict[str, str]}
    app.add_api_route("/declared", declared, methods=["POST"])


def _gzip(document: object) -> bytes:
    return gzip.compress(json.dumps(document).encode(), mtime=0)


def _encoded(encoding: str = "gzip") -> dict[str, str]:
    return KEY | {"Content-Encoding": encoding}


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " x-gzip "])
async def test_compressed_body_is_read(encoding: str) -> None:
    """Whole or in pieces; what is stored and what a key stands for is the body, not its packing."""
    journal = MemoryJournal()
    services = services_over(journal=journal, scheduling=scheduling_over(journal=journal))
    packed = _gzip(body())
    for content in (packed, _in_pieces(packed[:10], packed[10:]), _in_members(packed)):
        answer = await call("POST", "/schedule", services=services, content=content, headers=_encoded(encoding))
        assert answer.status_code == 200, answer.text
    assert {record.request for record in journal.records} == {json.dumps(body()).encode()}
    key = {"Idempotency-Key": "key-1"}
    await call("POST", "/schedule", services=services, content=packed, headers=_encoded() | key)
    raw = json.dumps(body()).encode()
    again = await call("POST", "/schedule", services=services, content=raw, headers=KEY | key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")


def _in_members(packed: bytes) -> bytes:
    """The same body in two members, which RFC 1952 allows."""
    raw = gzip.decompress(packed)
    return gzip.compress(raw[:20]) + gzip.compress(raw[20:])


async def test_body_is_bounded_after_inflation() -> None:
    """A few bytes that would become many are refused before they have."""
    services = services_over(settings=development_settings(max_body_bytes=LIMIT_BYTES))
    bomb = gzip.compress(b" " * 100_000_000)
    for content in (gzip.compress(b" " * (LIMIT_BYTES + 1)), _in_members(gzip.compress(b" " * (LIMIT_BYTES + 1)))):
        answer = await call("POST", "/schedule", services=services, content=content, headers=_encoded())
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        inflate(bomb, LIMIT_BYTES)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert inflate(gzip.compress(b" " * LIMIT_BYTES), LIMIT_BYTES) == b" " * LIMIT_BYTES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "the body must be gzip, as its Content-Encoding says: Error -3"),
        (_gzip({})[:-1], "the body must be gzip, as its Content-Encoding says: it ends too early"),
        (_gzip({}) + b"{}", "the body must be gzip, as its Content-Encoding says: Error -3"),
        (gzip.compress(b"") * 101, "the body must have at most 100 gzip members, had more"),
        (b"", "the body must be JSON"),
    ],
)
async def test_body_that_is_not_what_it_says_is_malformed(content: bytes, message: str) -> None:
    """400 with the reason, however it is broken."""
    answer = await call("POST", "/schedule", content=content, headers=_encoded())
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed_json")
    assert answer.json()["detail"].startswith(message)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
async def test_unknown_encoding_is_refused_with_what_is_read(encoding: str) -> None:
    """415, as RFC 9110 says, and only of who may send a body at all."""
    answer = await call("POST", "/schedule", content=b"?", headers=_encoded(encoding))
    assert (answer.status_code, answer.json()["error"]) == (415, "unknown_encoding")
    assert answer.headers["accept-encoding"] == "gzip"
    stranger = await call("POST", "/schedule", content=b"?", headers={"Content-Encoding": encoding})
    assert stranger.status_code == 401


async def test_inflation_does_not_hold_up_the_event_loop() -> None:
    """A body of some kilobytes that becomes megabytes is inflated beside the loop, which goes round meanwhile."""
    packed, rounds = gzip.compress(b" " * 30_000_000), 0
    lengths: list[int] = []

    async def go_round() -> None:
        nonlocal rounds
        while not lengths:
            rounds += 1
            await asyncio.sleep(0)

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        lengths.append(len((await receive())["body"]))

    async def receive() -> Message:
        return {"type": "http.request", "body": packed, "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-encoding", b"gzip")]}
    bounds = BodyBounds(read, services=services_over)
    await asyncio.gather(bounds(scope, receive, send), go_round())
    assert lengths == [30_000_000]
    assert rounds > 3


@pytest.mark.parametrize("unit", [b"{}", b"[]", b'{"":0}', b"[[]]", b'{"a":{}}'])
@pytest.mark.parametrize("is_packed", [False, True])
async def test_body_of_nothing_is_refused_before_it_is_read(unit: bytes, is_packed: bool) -> None:
    """413 and not a hundred bytes of memory for each that was sent, in an unknown field or in `jobs`, packed or not."""
    settings = development_settings(max_body_bytes=2**20)
    services = services_over(settings=settings)
    for field in ("junk", "jobs"):
        raw = json.dumps(body()).encode()[:-1] + f', "{field}": ['.encode() + unit + (b"," + unit) * 110_000 + b"]}"
        assert len(raw) <= settings.max_body_bytes
        headers = _encoded() if is_packed else KEY
        content = gzip.compress(raw) if is_packed else raw
        tracemalloc.start()
        answer = await call("POST", "/schedule", services=services, content=content, headers=headers)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
        assert f"at most {14 * 2**20:,} bytes of memory once it is read" in answer.json()["detail"]
        assert peak_bytes < MEMORY_OF_BODIES * 2**20


async def test_bodies_together_are_bounded() -> None:
    """While others take the memory, a large body is 503 with Retry-After, before it is sent by whoever asks whether to;
    a small one is served."""
    services = services_over(settings=development_settings(max_body_bytes=300_000))
    app = create_api(lambda: services, clock=lambda: NOW)
    release = asyncio.Event()
    padding = b" " * 290_000

    async def waiting() -> AsyncIterator[bytes]:
        yield json.dumps(body()).encode() + padding
        await release.wait()
        yield b" "

    held = [asyncio.create_task(call("POST", "/schedule", app=app, content=waiting())) for _ in range(8)]
    await asyncio.sleep(0.1)

    async def unwanted() -> AsyncIterator[bytes]:
        raise AssertionError("nobody asked for this")
        yield b""

    noise = gzip.compress(random.Random(7).randbytes(200_000))
    announced = KEY | {"content-length": "290000", "expect": "100-continue"}
    for content, headers in ((unwanted(), announced), (padding, KEY), (_in_pieces(padding), KEY), (noise, _encoded())):
        refused = await call("POST", "/schedule", app=app, content=content, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (503, "overloaded")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("2", "close")
        assert refused.headers["content-type"] == "application/problem+json"
    rollback = await call("POST", "/v1/rollout/rollback", app=app, json={"reason": "try"})
    assert rollback.status_code == 200
    assert (await call("POST", "/schedule", app=app, json=body())).status_code == 200
    release.set()
    assert {(await each).status_code for each in held} == {200}
    assert (await call("POST", "/schedule", app=app, content=json.dumps(body()).encode() + padding)).status_code == 200


def test_share_is_given_back_as_it_was_taken() -> None:
    """Whatever a body came to, and however often its end is told."""
    memory, limit = BodyMemory(), 100_000
    share, other = BodyShare(memory, limit), BodyShare(memory, limit)
    share.announce(limit)
    share.add(b"[" * 8_000, is_json=True)
    with pytest.raises(BodyTooDense, match="14 times GANTRY_MAX_BODY_BYTES"):
        share.add(b"[" * 8_000, is_json=True)
    with pytest.raises(NoRoomForBody):
        BodyShare(memory, limit).announce(7 * limit + 1)
    other.announce(7 * limit)
    share.close()
    share.close()
    other.close()
    assert memory.taken_bytes == 0


def test_body_alone_may_take_more() -> None:
    """A full body of jobs does; others wait until it is read."""
    memory, limit = BodyMemory(), 100_000
    alone, other = BodyShare(memory, limit), BodyShare(memory, limit)
    alone.announce(14 * limit)
    with pytest.raises(NoRoomForBody):
        other.announce(limit)
    alone.close()
    BodyShare(memory, limit).announce(limit)


async def test_client_that_leaves_while_its_body_is_unpacked_gives_everything_back() -> None:
    """The thread that unpacks it takes nothing any more, and ends."""
    memory, begun = BodyMemory(), threading.Event()
    packed = gzip.compress(b'{"a": [' + b"1.5," * 2_000_000 + b"1]}")

    class Slow(BodyShare):
        def add(self, part: bytes, *, is_json: bool) -> None:
            super().add(part, is_json=is_json)
            begun.set()
            time.sleep(0.05)

    share = Slow(memory, 2**25)
    unpacking = OFFLOAD.submit(inflate, packed, 2**25, partial(share.add, is_json=True))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    assert memory.taken_bytes > 0
    share.close()
    with pytest.raises(NoRoomForBody, match="nobody waits for this body any more"):
        await asyncio.wrap_future(unpacking)
    assert memory.taken_bytes == 0


def test_of_bodies_that_do_not_fit_together_one_goes_on() -> None:
    """Whoever is refused takes nothing any more, so not all of them are refused."""
    memory, limit = BodyMemory(), 100_000
    shares, refused = [BodyShare(memory, limit) for _ in range(4)], set()
    for _ in range(60):
        for number, share in enumerate(shares):
            try:
                if number not in refused:
                    share.add(b"x" * 10_000, is_json=True)
            except NoRoomForBody:
                refused.add(number)
    assert len(refused) == 3


def test_packed_body_whose_output_comes_in_parts_is_whole() -> None:
    """What the library still has when all input is read comes as well."""
    raw = b" " * (3 * 2**20) + random.Random(7).randbytes(2**20) + b" " * (2 * 2**20 + 1)
    parts: list[int] = []
    assert inflate(gzip.compress(raw), len(raw), lambda part: parts.append(len(part))) == raw
    assert max(parts) <= 2**20
    assert inflate(gzip.compress(b""), 0) == b""


async def _seen_at_answer(
    parts: list[bytes], *, headers: dict[str, str] | None = None, asks: int = 1, pause_seconds: float = 0.0
) -> int:
    """How many parts of a body have been read when an application that reads `asks` of them answers."""
    read, answered_at = 0, -1

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(asks):
            await receive()
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body"})

    async def receive() -> Message:
        nonlocal read
        await asyncio.sleep(pause_seconds)
        read += 1
        return {"type": "http.request", "body": parts[read - 1], "more_body": read < len(parts)}

    async def send(message: Message) -> None:
        nonlocal answered_at
        if message["type"] == "http.response.start":
            answered_at = read

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await BodyRemainder(app)({"type": "http", "method": "POST", "headers": raw}, receive, send)
    return answered_at


@pytest.mark.parametrize("asks", [0, 1, 2])
async def test_refusal_waits_for_the_rest_of_the_body(asks: int) -> None:
    """Whoever still sends when the connection closes may never see the answer."""
    assert await _seen_at_answer([b"x"] * 5, asks=asks) == 5


async def test_remainder_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes, in a pause, and as a whole: nobody holds an answer up by sending for ever."""
    monkeypatch.setattr(middleware, "REMAINDER_BYTES", 20)
    assert await _seen_at_answer([b"x" * 10] * 9) == 3
    monkeypatch.setattr(middleware, "REMAINDER_SECONDS", 0.05)
    assert await _seen_at_answer([b""] * 99, pause_seconds=0.02) < 9
    monkeypatch.setattr(middleware, "_PAUSE_IN_REMAINDER_SECONDS", 0.01)
    assert await _seen_at_answer([b""] * 99, pause_seconds=0.02) == 1


async def test_who_asks_before_sending_is_answered_at_once() -> None:
    """A body that was never asked for does not come (RFC 9110, 10.1.1)."""
    assert await _seen_at_answer([b"x"] * 5, headers={"expect": "100-Continue"}, asks=0) == 0
    assert await _seen_at_answer([b"x"] * 5, headers={"expect": "100-Continue"}, asks=1) == 5
