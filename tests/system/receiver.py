"""Somebody outside who is told by webhook: a server on this machine, unwell at first, that remembers what it hears."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "between plant and pager"


@dataclass
class Receiver:
    """The notices so far; the first `unwell` calls were answered by 500."""

    url: str = ""
    unwell: int = 1
    calls: int = 0
    bodies: list[bytes] = field(default_factory=list)
    unsigned: int = 0

    def notices(self, kind: str) -> list[dict[str, Any]]:
        """What was told of that kind, in order; each once, however often it was tried."""
        documents = (json.loads(body) for body in dict.fromkeys(self.bodies))
        return [document[kind] for document in documents if document["kind"] == kind]

    def take(self, timestamp: str, signature: str, body: bytes) -> int:
        """The status that a call is answered by."""
        self.calls += 1
        self.bodies.append(body)
        expected = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        self.unsigned += not hmac.compare_digest(signature, f"sha256={expected}")
        return 500 if self.calls <= self.unwell else 204


@contextmanager
def listening() -> Iterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take(self.headers["X-Gantry-Timestamp"], self.headers["X-Gantry-Signature"], body)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: the receiver remembers."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        server.shutdown()
