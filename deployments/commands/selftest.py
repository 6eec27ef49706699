"""`gantry selftest`: one shot against a running service, each promise of it a row that passes or fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.terminal import CheckRow, counted, number_of, report_checks

if TYPE_CHECKING:
    import httpx

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "plant-170.json"
DEFAULT_URL = "http://127.0.0.1:8000"
PLANT = "gantry-selftest"
CHECKS = 9
READ_BACK_SECONDS = 10.0
_TIMEOUT_SECONDS = 60.0
_PAUSE_SECONDS = 0.25
_OK, _BAD_REQUEST, _FORBIDDEN, _NOT_FOUND, _INVALID, _UNAVAILABLE = 200, 400, 403, 404, 422, 503
_PROBLEM = "application/problem+json"
_SHOWN_CHARACTERS = 160
Look = Callable[[], tuple[bool, str]]


class _Unusable(Exception):
    """There was no answer, or one that Gantry would not give; the words say which."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(selftest)


def selftest(
    url: Annotated[str, typer.Option(envvar="GANTRY_URL", help="Where the service listens.")] = DEFAULT_URL,
    key: Annotated[
        str | None, typer.Option(envvar="GANTRY_KEY", help="A key with the scope schedule; default: GANTRY_API_KEY.")
    ] = None,
    plant: Annotated[str, typer.Option(help="The plant that it plans; a key for some plants only needs one.")] = PLANT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Try a running service once: probes, model, database, 170 jobs, judge, refusals and the fallback to manual.

    Exit 1 when a row fails; each says what was seen and what to do. It stores two decisions of a plant of its own.
    They are left out of the rollout's statistics where the key may force an arm (scope operate); else the first counts.

    Example: gantry selftest

    Example: gantry selftest --url https://planning.example.com --key "$KEY" --json
    """
    import httpx

    from deployments.settings.service import caller_key

    secret = key or caller_key()
    try:
        client = httpx.Client(
            base_url=url,
            headers={"X-API-Key": secret},
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
            follow_redirects=False,
        )
    except (httpx.InvalidURL, ValueError) as error:
        row = CheckRow(subject="service", passes=False, seen=f"{url}: {error}", remedy="--url http://HOST:PORT")
        report_checks([row], as_json=as_json)
        return
    rows = []
    with client, counted("self-test", CHECKS) as on_row:
        for row in SelfTest(client, plant).rows():
            rows.append(row)
            on_row()
    report_checks(rows, as_json=as_json)


class SelfTest:
    """One run over `client`; `rows` may be asked once. What one check needs of another is not tried without it."""

    def __init__(
        self, client: httpx.Client, plant: str = PLANT, stopwatch: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._stopwatch = stopwatch
        self._request = json.loads(EXAMPLE.read_bytes()) | {"plant_id": plant}
        self._health: dict[str, Any] = {}
        self._plan: dict[str, Any] | None = None

    def rows(self) -> Iterator[CheckRow]:
        """A row for each check, in order; only the first where no Gantry answers. Never raises for an answer."""
        first = self._row("service", self._service, "start it (`gantry serve`), or name it with --url or GANTRY_URL")
        yield first
        if not first.passes and not self._health:
            return
        yield self._row("version", self._version, "the same version here as there: gantry --version")
        yield self._row("ready", self._ready, "do what the answer says; `gantry cluster check` on a cluster")
        yield self._row("model", self._model, "`gantry settings` for GANTRY_MODEL_PATH, and the log of PPOPolicy")
        planned = self._row("schedule", self._schedule, "a key with the scope schedule for the plant: --key, --plant")
        yield planned
        yield self._row("database", self._database, "gantry db check, gantry db upgrade, gantry db spool status")
        yield self._row("judge", self._judge, "the log of SafetyValidator; nothing is served without it")
        yield self._row("refusal", self._refusal, "what stands before the service must pass its answers on")
        yield self._row("fallback", self._fallback, "the log of RequestRouter: manual is planned there")

    def _row(self, subject: str, look: Look, remedy: str) -> CheckRow:
        try:
            passes, seen = look()
        except _Unusable as failure:
            passes, seen = False, str(failure)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            passes, seen = False, f"an answer that is not as documented: {type(error).__name__} {error}"
        return CheckRow(subject=subject, passes=passes, seen=seen, remedy=remedy)

    def _service(self) -> tuple[bool, str]:
        """Whether Gantry answers there, and says that it is well."""
        status, found = self._asked("GET", "/health")
        if "status" not in found or "model_loaded" not in found:
            raise _Unusable(f"answered {status} by JSON that is none of Gantry's: {_short(json.dumps(found))}")
        self._health = found
        reasons = "; ".join(found.get("reasons") or ())
        words = f"{found['status']}, {found.get('environment', 'unknown environment')}"
        serves = status == _OK and found["status"] in ("healthy", "degraded")
        return serves, f"{words}: {reasons}" if reasons else words

    def _version(self) -> tuple[bool, str]:
        theirs, ours = str(self._health["version"]), version("gantry")
        return theirs == ours, f"{theirs} there, {ours} here"

    def _ready(self) -> tuple[bool, str]:
        status, found = self._asked("GET", "/readyz")
        return status == _OK and found["status"] == "ready", str(found["status" if status == _OK else "detail"])

    def _model(self) -> tuple[bool, str]:
        is_loaded = self._health["model_loaded"] is True
        return is_loaded, "loaded" if is_loaded else "not loaded: manual serves"

    def _schedule(self) -> tuple[bool, str]:
        """170 jobs by the policy, or by whatever arm is assigned where the key may force none."""
        begun = self._stopwatch()
        status, found = self._asked("POST", "/v1/schedules", self._request | {"arm": "ppo"})
        if status == _FORBIDDEN:
            begun = self._stopwatch()
            status, found = self._asked("POST", "/v1/schedules", self._request)
        seconds = self._stopwatch() - begun
        if status != _OK:
            return False, _refused(status, found)
        jobs, placed = len(self._request["jobs"]), len(found["scheduled_jobs"])
        self._plan = found
        by, reason = found["algorithm_used"], found["decision"]["fallback_reason"]
        words = f"{placed} of {number_of(jobs, 'job')} by {by}, makespan {found['metrics']['makespan']:.1f} h"
        is_safe = found["safety"]["valid"] is True
        lost = f", {reason}" if reason else ""
        return placed == jobs and is_safe and not reason, f"{words}, safe: {is_safe}, in {seconds:.2f} s{lost}"

    def _database(self) -> tuple[bool, str]:
        """Connected, and the plan can be read back from it."""
        if self._health["database_connected"] is not True:
            return False, "not connected; decisions wait in the spool"
        if self._plan is None:
            return False, "connected; nothing to read back without a schedule"
        decision, begun = self._plan["schedule_id"], self._stopwatch()
        while True:
            status, found = self._asked("GET", f"/v1/schedules/{decision}")
            seconds = self._stopwatch() - begun
            if status == _OK:
                return True, f"connected, decision {decision} read back after {seconds:.1f} s"
            if status not in (_NOT_FOUND, _UNAVAILABLE) or seconds > READ_BACK_SECONDS:
                return False, f"decision {decision} not read back in {seconds:.0f} s: {_refused(status, found)}"
            time.sleep(_PAUSE_SECONDS)

    def _judge(self) -> tuple[bool, str]:
        """The plan is valid, and no longer when two jobs hold one machine at once."""
        if self._plan is None:
            return False, "nothing to judge without a schedule"
        rows = self._plan["scheduled_jobs"]
        verdicts = []
        for claimed in (rows, spoilt(rows)):
            status, found = self._asked("POST", "/v1/validate", {"request": self._request, "scheduled_jobs": claimed})
            if status != _OK:
                return False, _refused(status, found)
            verdicts.append((found["valid"], sorted({each["code"] for each in found["violations"]})))
        (valid, why), (spoilt_valid, codes) = verdicts
        if valid is not True:
            return False, f"refused the plan that was served: {', '.join(why)}"
        if spoilt_valid is not False or not codes:
            return False, "accepted two jobs on one machine at once"
        return True, f"accepted the plan, and refused it spoilt: {', '.join(codes)}"

    def _refusal(self) -> tuple[bool, str]:
        """A job of negative length, and half a document."""
        first, *others = self._request["jobs"]
        bad = self._request | {"jobs": [first | {"processing_time": -1.0}, *others]}
        invalid, found = self._asked("POST", "/v1/schedules", bad)
        fields = [each["field"] for each in found["errors"]] if invalid == _INVALID else []
        malformed, _ = self._asked("POST", "/v1/schedules", None, content=b'{"jobs": [')
        is_named = any("processing_time" in field for field in fields)
        words = f"a negative length: {invalid} {', '.join(fields)}; half a document: {malformed}"
        return is_named and malformed == _BAD_REQUEST, words

    def _fallback(self) -> tuple[bool, str]:
        """The arm manual, where the key may force it."""
        status, found = self._asked("POST", "/v1/schedules", self._request | {"arm": "manual"})
        if status == _FORBIDDEN:
            return True, "not tried: the key may not force an arm (scope operate)"
        if status != _OK:
            return False, _refused(status, found)
        is_safe = found["safety"]["valid"] is True
        words = f"{len(found['scheduled_jobs'])} jobs by {found['algorithm_used']}, safe: {is_safe}"
        return found["algorithm_used"] == "manual" and is_safe, words

    def _asked(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, content: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and document of the answer. Raises `_Unusable`."""
        import httpx

        if body is not None:
            content = json.dumps(body).encode()
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            answer = self._client.request(method, path, content=content, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = str(error) or type(error).__name__
            raise _Unusable(f"{self._client.base_url} does not answer {method} {path}: {words}") from error
        if answer.is_redirect:
            raise _Unusable(f"{method} {path} leads to {answer.headers.get('location')}: name that with --url")
        media_type = answer.headers.get("content-type", "nothing").partition(";")[0]
        try:
            found = answer.json()
        except ValueError:
            raise _Unusable(f"{method} {path} answered {answer.status_code} by {media_type}, not by JSON") from None
        if not isinstance(found, dict):
            raise _Unusable(f"{method} {path} answered {answer.status_code} by JSON that is no object")
        return answer.status_code, found


def spoilt(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a plan with two jobs on one machine at once; with one row less where each machine has only one."""
    first_on: dict[Any, dict[str, Any]] = {}
    for index, row in enumerate(rows):
        first = first_on.setdefault(row["machine_id"], row)
        if first is not row:
            end = first["start_time"] + row["end_time"] - row["start_time"]
            moved = {"job_id": row["job_id"], "machine_id": row["machine_id"]}
            return [*rows[:index], moved | {"start_time": first["start_time"], "end_time": end}, *rows[index + 1 :]]
    return rows[:-1]


def _refused(status: int, found: dict[str, Any]) -> str:
    return f"{status} {_short(str(found.get('detail') or found.get('message') or found))}"


def _short(words: str) -> str:
    return words if len(words) <= _SHOWN_CHARACTERS else f"{words[:_SHOWN_CHARACTERS]} ..."
