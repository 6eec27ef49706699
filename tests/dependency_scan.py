"""Part of `make check`: known holes in the installed packages, where whoever knows them can be reached.

Offline, or behind a mirror that has no advisories, nothing is checked, and this says so; it never fails for that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import httpx

PROBE = f"https://pypi.org/pypi/fastapi/{version('fastapi')}/json"
_PROBE_SECONDS = 5.0
_SCAN_SECONDS = 300.0
# Fixed in no release yet, or not in what we use: each with its reason.
IGNORED: dict[str, str] = {}


def knows_advisories(client: httpx.Client) -> bool:
    """Whether advisories can be had at all: one question instead of one for each package."""
    try:
        answer = client.get(PROBE, timeout=_PROBE_SECONDS)
        return answer.status_code == 200 and "vulnerabilities" in answer.json()
    except (httpx.HTTPError, ValueError):
        return False


def holes(report: dict[str, Any]) -> list[str]:
    """One line for each known hole of a pip-audit report that is not ignored."""
    return [
        f"{package['name']} {package['version']}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'none'}"
        for package in report["dependencies"]
        for hole in package.get("vulns", ())
        if hole["id"] not in IGNORED
    ]


def counts(report: dict[str, Any]) -> tuple[int, int]:
    """How many packages were checked, and how many are unknown to whoever was asked."""
    skipped = sum("skip_reason" in package for package in report["dependencies"])
    return len(report["dependencies"]) - skipped, skipped


def main() -> int:
    """1 when there is a hole."""
    with httpx.Client(follow_redirects=True) as client:
        if not knows_advisories(client):
            print("dependency scan: advisories cannot be reached, nothing was checked")
            return 0
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SCAN_SECONDS)
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        print("dependency scan: gave no report, nothing was checked")
        return 0
    found, scanned, skipped = holes(report), *counts(report)
    print("\n".join([*found, f"dependency scan: {len(found)} holes in {scanned} packages, {skipped} not checked"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
