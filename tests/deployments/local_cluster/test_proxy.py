"""HAProxy's configuration as Ray writes it, corrected, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from deployments.local_cluster.proxy import RETRY_AFTER_SECONDS, UnknownConfiguration, corrected, error_answer

ERROR_FILE = Path("/somewhere/503.http")


def test_installed_template_is_corrected() -> None:
    """In the template of the Ray that is installed nothing answers 404, plain text or beside the point any more, and
    the socket is its owner's."""
    found = corrected(HAPROXY_CONFIG_TEMPLATE, ERROR_FILE)
    assert "return status 404" not in found
    assert (HAPROXY_CONFIG_TEMPLATE.count(" check backup\n"), found.count(" check backup\n")) == (2, 0)
    assert "mode 666" not in found
    assert found.count(f"errorfile 502 {ERROR_FILE}") == found.count(f"errorfile 503 {ERROR_FILE}") == 1
    assert "    timeout http-request 10s\n" in found
    default = found.split("\nbackend default_backend\n")[1].splitlines()[0]
    assert default.startswith("    http-request return status 503 content-type application/problem+json string '{")
    assert default.endswith(f"}}' hdr Retry-After {RETRY_AFTER_SECONDS}")


def test_nobody_but_a_trusted_proxy_says_who_the_client_is() -> None:
    """Without one the header is always that of the connection."""
    begin = (
        "frontend http_frontend\n    bind {{ config.frontend_host }}:{{ config.frontend_port }}\n    acl is_trusted "
    )
    assert f"{begin}always_false\n" in corrected(HAPROXY_CONFIG_TEMPLATE, ERROR_FILE)
    found = corrected(HAPROXY_CONFIG_TEMPLATE, ERROR_FILE, ["127.0.0.1/32", "2001:db8::/64"])
    assert f"{begin}src 127.0.0.1/32 2001:db8::/64\n" in found
    assert "    http-request del-header X-Forwarded-Proto unless is_trusted\n" in found


@pytest.mark.parametrize(
    "gone", ["frontend http_frontend", "return status 404", "errorfile 503", "mode 666 level admin", "option httplog"]
)
def test_unknown_configuration_is_refused(gone: str) -> None:
    """Whatever is not found there any more is named; nothing is left out in silence."""
    other = HAPROXY_CONFIG_TEMPLATE.replace("errorfile 50", "errorfile 40") if "errorfile" in gone else ""
    with pytest.raises(UnknownConfiguration, match="HAProxy's configuration must have"):
        corrected(other or HAPROXY_CONFIG_TEMPLATE.replace(gone, "something else"), ERROR_FILE)


def test_way_round_by_rays_proxy_is_kept_on_a_cluster() -> None:
    """There applications change, and meanwhile Ray names no router to HAProxy; all else is corrected."""
    found = corrected(HAPROXY_CONFIG_TEMPLATE, ERROR_FILE, has_fallback=True)
    assert found.count(" check backup\n") == 2
    assert "mode 666" not in found


def test_error_answer_is_whole_http() -> None:
    """Problem details with their length, and when to come back."""
    head, _, body = error_answer().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n")
    assert f"Content-Length: {len(body.encode())}" in head
    assert f"Retry-After: {RETRY_AFTER_SECONDS}" in head
    assert json.loads(body)["status"] == 503
