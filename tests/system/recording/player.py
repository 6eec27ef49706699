"""Sends the recorded requests, one after the other, and takes down what is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from tests.system.recording.normal_form import Answer, normal_form
from tests.system.recording.request import Holder, Request, Taken

ASKING_SECONDS = 0.25
BESIDE_SECONDS = 1.0
SETTLING_SECONDS = 2.0
WAITING_SECONDS = 120.0

Say = Callable[[str], None]


def play(
    base_url: str,
    keys: Mapping[Holder, str],
    requests: Sequence[Request],
    *,
    is_whole: bool = False,
    say: Say = lambda _: None,
) -> dict[str, Answer]:
    """The answer to each request, by its name; long bodies are shortened unless `is_whole`.

    What needs a key that is not among `keys` is left out. Raises `TimeoutError` when something does not become as a
    request wants to find it.
    """
    # Compression is not what is recorded: it makes no difference to what is answered.
    plain = {"Accept-Encoding": "identity"}
    with httpx.Client(base_url=base_url, timeout=WAITING_SECONDS, trust_env=False, headers=plain) as client:
        player = _Player(client, keys, is_whole=is_whole)
        for number, request in enumerate(requests, start=1):
            is_possible = player.can_play(request)
            say(f"{number} of {len(requests)}: {request.name}{'' if is_possible else ' is left out'}")
            if is_possible:
                player.play(request)
        return player.answers


class _Player:
    """Remembers what was answered, so that later requests can take values from it."""

    def __init__(self, client: httpx.Client, keys: Mapping[Holder, str], *, is_whole: bool) -> None:
        self.answers: dict[str, Answer] = {}
        self._client = client
        self._keys = keys
        self._is_whole = is_whole
        self._documents: dict[str, Any] = {}
        self._holders: dict[str, Holder] = {}
        self._names_of_ids: dict[str, str] = {}
        self._stored: set[str] = set()

    def can_play(self, request: Request) -> bool:
        has_key = request.holder is Holder.NOBODY or request.holder in self._keys
        return has_key and request.earlier <= self._documents.keys()

    def play(self, request: Request) -> None:
        if request.stored is not None:
            self._await_stored(request.stored)
        beside = None if request.beside is None else threading.Thread(target=self._send, args=(request.beside,))
        if beside is not None:
            beside.start()
            time.sleep(BESIDE_SECONDS)
        response = self._settled(request) if request.is_settled else self._asked(request)
        self._remember(request, response)
        if beside is not None:
            beside.join()

    def _asked(self, request: Request) -> httpx.Response:
        for _ in range(request.repeats - 1):
            self._send(request)
        response = self._send(request)
        if request.until is None:
            return response
        deadline = time.monotonic() + WAITING_SECONDS
        while not (response.is_success and request.until(response.json())):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{request.name!r} did not come true, was {response.text[:2000]}")
            time.sleep(ASKING_SECONDS)
            response = self._send(request)
        return response

    def _settled(self, request: Request) -> httpx.Response:
        """What is answered once nothing has changed for as long as background work may take to be heard of."""
        deadline = time.monotonic() + WAITING_SECONDS
        known, since, response = self._normal(request, self._asked(request)), time.monotonic(), None
        while response is None or time.monotonic() - since < SETTLING_SECONDS:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{request.name!r} does not settle")
            time.sleep(ASKING_SECONDS)
            response = self._asked(request)
            found = self._normal(request, response)
            if found != known:
                known, since = found, time.monotonic()
        return response

    def _send(self, request: Request) -> httpx.Response:
        path = request.route
        for place, value in request.places.items():
            path = path.replace(f"{{{place}}}", str(self._filled(value)))
        key = {} if request.holder is Holder.NOBODY else {"X-API-Key": self._keys[request.holder]}
        return self._client.request(
            request.method,
            path,
            params={name: self._filled(value) for name, value in request.query.items()},
            headers=key | dict(request.headers),
            json=self._filled(request.body),
            content=request.content() if callable(request.content) else request.content,
        )

    def _filled(self, value: Any) -> Any:
        """`value` with everything that it takes from earlier answers."""
        match value:
            case Taken():
                return self._taken(value)
            case dict():
                return {name: self._filled(each) for name, each in value.items()}
            case list():
                return [self._filled(each) for each in value]
            case _:
                return value

    def _taken(self, wanted: Taken) -> Any:
        if wanted.path == "schedule_id":
            self._await_stored(wanted.answer)
        found = self._documents[wanted.answer]
        for step in wanted.path.split("."):
            found = found[int(step)] if isinstance(found, list) else found[step]
        return found

    def _await_stored(self, name: str) -> None:
        """Returns when the decision of that name is in the database, and with it all that were made before."""
        if name in self._stored:
            return
        path = f"/v1/schedules/{self._documents[name]['schedule_id']}"
        headers = {"X-API-Key": self._keys[self._holders[name]]}
        deadline = time.monotonic() + WAITING_SECONDS
        while self._client.get(path, headers=headers).status_code != httpx.codes.OK:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the decision of {name!r} cannot be read")
            time.sleep(ASKING_SECONDS)
        self._stored.add(name)

    def _remember(self, request: Request, response: httpx.Response) -> None:
        if response.is_success and response.content and response.headers.get("content-type") == "application/json":
            document = response.json()
            self._documents[request.name], self._holders[request.name] = document, request.holder
            if request.method == "POST" and "scheduled_jobs" in document:
                self._names_of_ids.setdefault(document["schedule_id"], request.name)
        self.answers[request.name] = self._normal(request, response)

    def _normal(self, request: Request, response: httpx.Response) -> Answer:
        asked = f"{request.method} {request.route}"
        return normal_form(response, asked, self._names_of_ids, is_whole=self._is_whole)
