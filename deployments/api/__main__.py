"""`python -m deployments.api > docs/openapi.json` writes the checked-in OpenAPI document."""

from __future__ import annotations

import sys

from deployments.api.application import create_api
from deployments.api.documentation import document_text
from deployments.api.services import Services
from deployments.errors import TemporarilyUnavailable


def _no_services() -> Services:
    raise TemporarilyUnavailable("there is no service behind the document")


if __name__ == "__main__":
    sys.stdout.write(document_text(create_api(_no_services)))
