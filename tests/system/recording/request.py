"""One recorded request: who sends what, and which values it takes from earlier answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Holder(StrEnum):
    """Whose key a request is sent with; the service of the recording knows what each may do."""

    OPERATOR = "operator"
    READER = "reader"
    PLANNER = "planner"
    RESPONDER = "responder"
    STRANGER = "stranger"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What the answer to the earlier request `answer` has under `path`, such as "models.0.model_id".

    May stand for any value of a body.
    """

    answer: str
    path: str


def taken(answer: str, path: str = "schedule_id") -> Taken:
    """The id, or another value, of an earlier answer."""
    return Taken(answer=answer, path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`route` is a path as the OpenAPI document writes it, `places` and `query` fill it in.

    `body` is sent as JSON; `content` are bytes, or what makes them chunk by chunk. The request is sent `repeats` times
    and the last answer counts; with `until` it is sent again and again until the JSON of its answer holds, with
    `is_settled` until its answer stays the same for a while. `stored` names the request whose decision must be readable
    before. `beside` is sent a moment earlier and still under way.
    """

    name: str
    method: str
    route: str
    places: Mapping[str, str | Taken] = field(default_factory=dict)
    query: Mapping[str, str | Taken] = field(default_factory=dict)
    body: Any = None
    content: bytes | Callable[[], Iterable[bytes]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    holder: Holder = Holder.OPERATOR
    repeats: int = 1
    until: Callable[[Any], bool] | None = None
    is_settled: bool = False
    stored: str | None = None
    beside: Request | None = None

    @property
    def earlier(self) -> frozenset[str]:
        """The names of all requests whose answers this one needs."""
        named = () if self.stored is None else (self.stored,)
        return frozenset((*named, *_taken_names([self.places, self.query, self.body])))


def _taken_names(value: Any) -> Iterator[str]:
    if isinstance(value, Taken):
        yield value.answer
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _taken_names(each)


def get(name: str, route: str, **fields: Any) -> Request:
    """A question."""
    return Request(name=name, method="GET", route=route, **fields)


def post(name: str, route: str, body: Any = None, **fields: Any) -> Request:
    """An order or a body to work on."""
    return Request(name=name, method="POST", route=route, body=body, **fields)


def schedule(name: str, body: Any, **fields: Any) -> Request:
    """A plant to be scheduled."""
    return post(name, "/schedule", body, **fields)
