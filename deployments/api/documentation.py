"""The OpenAPI document, the page that shows it, and the console: pages without anything from another host."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from deployments.api.dependencies import model_of
from deployments.contracts.answers.service import MEDIA_TYPE, ProblemDetails
from deployments.contracts.requests.wire import WireModel
from deployments.errors import NotFound

STATIC_FOLDER = Path(__file__).resolve().parent.parent / "static"
CONSOLE_FOLDER = STATIC_FOLDER.parent / "console"
_COMPONENTS = "#/components/schemas/{model}"
# Nothing but our own files: a page that cannot reach another host needs none.
_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"
# Stricter still: the console needs no inline style either, and whatever might interpret a name as markup is refused.
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
CONSOLE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_CONSOLE_PAGE = "index.html"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gantry API</title>
<link rel="icon" href="static/favicon-32x32.png">
<link rel="stylesheet" href="static/swagger-ui.css">
<script src="static/swagger-ui-bundle.js"></script>
<script src="static/docs.js"></script>
</head>
<body>
<div id="swagger-ui"></div>
<noscript>The document itself is <a href="openapi.json">openapi.json</a>.</noscript>
</body>
</html>
"""
_PROBLEMS = {
    400: "The body is not JSON",
    401: "No key, or one that nobody holds",
    403: "The key lacks the scope",
    404: "No such decision of this client",
    408: "The body did not arrive in time",
    409: "Not now: a request with this `Idempotency-Key` runs, the rollout refuses, or another plan is in force",
    413: "The body is too large",
    415: "The body has a Content-Encoding other than gzip",
    422: "The request is invalid or cannot be scheduled; `errors` says why",
    429: "The key has asked too often; ask again after `Retry-After` seconds",
    500: "No arm produced a safe schedule; `rejections` says why",
    503: "Ask again after `Retry-After` seconds",
}

KEY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Same key and body within 24 h: the first answer again, with `Idempotency-Replayed: true`",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}

PREFER_PARAMETER: dict[str, Any] = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`handling=strict` (RFC 7240): refused is what else would be understood, or ignored, with a "
    "warning. `respond-async` on `POST /v1/schedules`: 202 at once, and a time budget up to GANTRY_MAX_BUDGET_SECONDS",
    "schema": {"type": "string"},
}


def install_documentation(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Serve `/docs` and its files, and have `/openapi.json` describe bodies that `routers` read themselves."""
    app.mount("/static", StaticFiles(directory=STATIC_FOLDER))
    app.add_api_route("/docs", _docs, methods=["GET"], include_in_schema=False)
    setattr(app, "openapi", _cached(lambda: _document(app, dict(_bodies(routers)))))  # noqa: B010 - FastAPI's documented way of extension


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleFile:
    """One file of the console, as it is sent: read and compressed once, and asked for anew by its `etag` each time."""

    media_type: str
    content: bytes
    compressed: bytes
    etag: str

    @classmethod
    def read(cls, path: Path) -> ConsoleFile:
        """The file at `path`. Raises `OSError`."""
        content = path.read_bytes()
        return cls(
            media_type=CONSOLE_TYPES[path.suffix],
            content=content,
            compressed=gzip.compress(content, mtime=0),
            etag=f'W/"{sha256(content).hexdigest()[:20]}"',
        )

    def answer(self, request: Request) -> Response:
        """The whole of it, or 304 for a browser that has it already."""
        headers = {
            "Content-Security-Policy": CONSOLE_POLICY,
            "Cache-Control": "no-cache",
            "ETag": self.etag,
            "Vary": "Accept-Encoding",
        }
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(self.compressed, headers=headers, media_type=self.media_type)
        return Response(self.content, headers=headers, media_type=self.media_type)


def install_console(app: FastAPI) -> None:
    """Serve the console at `/`, and its files below `/console/`; all of them are read now."""
    files = {
        path.relative_to(CONSOLE_FOLDER).as_posix(): ConsoleFile.read(path)
        for path in sorted(CONSOLE_FOLDER.rglob("*"))
        if path.suffix in CONSOLE_TYPES
    }

    async def page(request: Request) -> Response:
        return files[_CONSOLE_PAGE].answer(request)

    async def file(request: Request, name: str) -> Response:
        found = files.get(name)
        if found is None:
            raise NotFound(f"the console has no file {name[:100]!r}")
        return found.answer(request)

    app.add_api_route("/", page, methods=["GET"], include_in_schema=False)
    app.add_api_route("/console/{name:path}", file, methods=["GET"], include_in_schema=False)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI for the errors that a route may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _COMPONENTS.format(model=ProblemDetails.__name__)}}}
    return {status: {"description": _PROBLEMS[status], "content": content} for status in statuses}


async def _docs() -> Response:
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


def _document(app: FastAPI, bodies: dict[tuple[str, str], type[WireModel]]) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for (path, method), model in bodies.items():
        schema = {"$ref": _COMPONENTS.format(model=model.__name__)}
        content = {"application/json": {"schema": schema}}
        document["paths"][path][method]["requestBody"] = {"required": True, "content": content}
    _, read_here = models_json_schema(
        [*((model, "validation") for model in dict.fromkeys(bodies.values())), (ProblemDetails, "serialization")],
        ref_template=_COMPONENTS,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= read_here["$defs"]
    # FastAPI describes its own error body for parameters; ours are problem details everywhere.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    _add_answers_of_all_routes(document)
    return document


def _bodies(routers: Iterable[APIRouter]) -> Iterator[tuple[tuple[str, str], type[WireModel]]]:
    """Path and method of each route that reads its body itself, and the model that describes the body."""
    for route in (route for router in routers for route in router.routes if isinstance(route, APIRoute)):
        for dependency in route.dependant.dependencies:
            if (model := model_of(dependency.call)) is not None:
                yield from (((route.path, method.lower()), model) for method in route.methods or ())


def _add_answers_of_all_routes(document: dict[str, Any]) -> None:
    """What the layers around the routes answer: any key may ask too often, any body may be slow or large."""
    for methods in document["paths"].values():
        for operation in methods.values():
            common = [429] if "security" in operation else []
            common += [408, 413, 415] if "requestBody" in operation else []
            for status, answer in problems(*common).items():
                operation["responses"].setdefault(str(status), answer)


def _cached(build: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    built: list[dict[str, Any]] = []

    def document() -> dict[str, Any]:
        if not built:
            built.append(build())
        return built[0]

    return document


def document_text(app: FastAPI) -> str:
    """The document as it is checked in."""
    return json.dumps(app.openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
