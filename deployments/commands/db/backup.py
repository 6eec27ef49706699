"""`gantry db check, backup, backup-key, restore, verify, drill`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.database import event_of, named_url, other_url
from deployments.commands.db.schema import database
from deployments.commands.terminal import counted, number_of
from deployments.runtime.clock import utc_now

if TYPE_CHECKING:
    from deployments.persistence.maintenance.backup import BackupComparison
    from deployments.persistence.maintenance.backup_history import BackupProof

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A backup.")]
Identity = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, readable=True, help="File with the key that opens an encrypted backup."),
]
Into = Annotated[str | None, typer.Option(help="URL of an empty database, without its password.")]
PasswordFile = Annotated[
    Path | None, typer.Option(help="File with the password for --into, - for stdin; else GANTRY_INTO_PASSWORD.")
]
_MAX_WORDS = 500
_MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def register(_app: typer.Typer) -> None:
    """Add the commands to the group `db`."""
    for command in (check, backup, backup_key, restore, verify, drill):
        database.command()(command)


def check(
    volume: Annotated[
        bool, typer.Option("--volume", help="Run each query of the API as well, read only and within 30 s.")
    ] = False,
) -> None:
    """Look for what may lose data or time in GANTRY_DATABASE_URL; exit 1 when there is an error.

    Server settings, version, schema, character set, clock, indexes, and how each query is answered. With --volume also
    how long each takes on the rows that are there, for the busiest client of late.

    Example: gantry db check --volume
    """
    from deployments.persistence.maintenance.checks import Level
    from deployments.persistence.maintenance.checks import check as look

    findings = look(named_url(), by_volume=volume)
    for finding in findings:
        print(f"{_MARKS[finding.level.value]}  {finding.subject}: {finding.message}")
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def backup(
    file: Annotated[Path | None, typer.Argument(help="New file; default: a name with the time in it.")] = None,
    folder: Annotated[
        Path | None, typer.Option(file_okay=False, exists=True, help="Where the file goes that has no name of its own.")
    ] = None,
    recipient: Annotated[
        list[str] | None, typer.Option(help="Public key that the file is encrypted for (age1...); several times.")
    ] = None,
    verified: Annotated[bool, typer.Option("--verify", help="Restore it into a throwaway database as well.")] = False,
    identity: Identity = None,
    copy: Annotated[
        str, typer.Option(help="Command that takes the file elsewhere; the path is its last argument.")
    ] = "",
    copy_seconds: Annotated[float, typer.Option(min=1, help="How long that may take.")] = 3_600,
    keep_daily: Annotated[int, typer.Option(min=0, help="Remove older ones but the last of so many days.")] = 0,
    keep_weekly: Annotated[int, typer.Option(min=0, help="And the last of so many weeks.")] = 0,
) -> None:
    """Write all tables into one file, as they are at one instant, while the service goes on.

    Decisions that still wait in a spool are not in it: see `gantry db spool status`. One line says all that was done,
    for a timer: exit 0; 75 when the database could not be reached and may be soon; 1 for whatever a person must look
    at. Older files go only when all else went well; the newest, and the newest that was verified, never go.

    Example: gantry db backup gantry.backup

    Example: gantry db backup --folder /srv/backup --verify --copy /usr/local/bin/off-site --keep-daily 7
    """
    from deployments.persistence.maintenance.backup import back_up, row_counts
    from deployments.persistence.maintenance.backup_history import BACKED_UP, VERIFIED, BackupProof, name_of

    if file is not None and (folder is not None or keep_daily or keep_weekly):
        raise typer.BadParameter("--folder, --keep-daily and --keep-weekly are for files that get their name here")
    now, recipients = utc_now(), recipient or []
    if verified and recipients and identity is None:
        raise typer.BadParameter("--verify needs --identity for an encrypted file: else leave it to `gantry db drill`")
    path = file or (folder or Path()) / name_of(now, is_encrypted=bool(recipients))
    with _for_a_timer():
        url = named_url()
        with counted("backing up", sum(row_counts(url).values())) as on_row:
            header, counts = back_up(url, path, on_row, now, recipients=recipients)
        rows = sum(counts.values())
        said = [f"{number_of(rows, 'row')}, {counts['decision']:,} of them decisions, {path.stat().st_size:,} bytes"]
        if header.binary_log is not None:
            said.append(f"binary log {header.binary_log['file']}:{header.binary_log['position']}")
        proof = BackupProof(file=path.name, created_at=now, rows=rows, decisions=counts["decision"], at=now)
        _record(BACKED_UP, proof)
        if verified:
            seconds = _proven(path, identity)
            _record(VERIFIED, replace(proof, restore_seconds=seconds))
            said.append(f"verified in {seconds:.1f} s")
        if copy:
            _copy(path, copy, copy_seconds)
            said.append("copied")
        if keep_daily or keep_weekly:
            removed = _remove_older(folder or Path(), keep_daily, keep_weekly)
            said.append(f"removed {number_of(removed, 'older file')}")
    print(f"{path}: {'; '.join(said)}")


def backup_key(
    file: Annotated[Path, typer.Argument(help="New file for the identity, readable by its owner only.")],
) -> None:
    """Make a key pair for backups: the identity goes into a file, the recipient, which is no secret, is printed.

    Keep the identity away from the machine that backs up, and where a fire does not take both: without it no encrypted
    backup can be read. `age-keygen` makes the same.

    Example: gantry db backup-key backup-identity.txt
    """
    from deployments.persistence.errors import InvalidBackup
    from deployments.persistence.maintenance.archive import new_identity
    from deployments.runtime.durable_file import owner_only

    identity, public = new_identity()
    try:
        with open(file, "x", encoding="utf-8", opener=owner_only) as target:
            target.write(f"# created: {utc_now():%Y-%m-%dT%H:%M:%SZ}\n# public key: {public}\n{identity}\n")
    except FileExistsError as error:
        raise InvalidBackup(f"{file} must not exist yet: a key never replaces another") from error
    print(public)


def restore(
    file: File,
    into: Into = None,
    password_file: PasswordFile = None,
    identity: Identity = None,
) -> None:
    """Fill the empty database of GANTRY_DATABASE_URL (or --into) from a backup, and compare both.

    Example: gantry db restore gantry.backup --into mariadb+pymysql://gantry@localhost/gantry_new
    """
    from deployments.persistence.decisions.audit_repository import audit_work
    from deployments.persistence.maintenance.backup import restore as fill
    from deployments.persistence.maintenance.backup import using

    url = named_url() if into is None else other_url(into, password_file)
    with counted("restoring") as on_row:
        comparisons = fill(url, file, on_row, identity)
    _show(file, comparisons)
    # After the comparison: the row is not of the backup.
    with using(url) as engine, audit_work(engine) as trail:
        trail.insert([event_of("db.restore", file.name)])


def verify(
    file: File,
    into: Into = None,
    password_file: PasswordFile = None,
    identity: Identity = None,
) -> None:
    """Prove a backup: restore it into an empty database, by default a throwaway one, and compare rows and checksums.

    The audit trail of GANTRY_DATABASE_URL, where there is one, says so afterwards.

    Example: gantry db verify gantry.backup
    """
    from deployments.persistence.maintenance.archive import read_header
    from deployments.persistence.maintenance.backup import verify as prove
    from deployments.persistence.maintenance.backup_history import VERIFIED

    url = None if into is None else other_url(into, password_file)
    began = time.monotonic()
    with counted("verifying") as on_row:
        comparisons = prove(file, on_row, url, identity=identity)
    seconds = time.monotonic() - began
    _show(file, comparisons)
    _record(VERIFIED, _proof_of(file, read_header(file, identity).created_at, comparisons, seconds))


def drill(
    folder: Annotated[
        Path, typer.Option(file_okay=False, exists=True, help="Where `gantry db backup --folder` puts backups.")
    ] = Path(),
    into: Annotated[
        str | None, typer.Option(help="URL of an empty database, which is empty again afterwards; default: a file.")
    ] = None,
    password_file: PasswordFile = None,
    identity: Identity = None,
    max_age_hours: Annotated[float, typer.Option(min=0, help="How old the newest backup may be.")] = 26,
) -> None:
    """Restore the newest backup elsewhere, compare, and say what a loss of the database would cost now.

    How old the backup is (RPO: what was decided since would be lost, but for what is in a spool), and how long it took
    to have it back (RTO). What was restored is removed again; the audit trail of GANTRY_DATABASE_URL keeps the result.
    Exit 1 when it is not equal, or too old; 75 when the database could not be reached and may be soon.

    Example: gantry db drill --folder /srv/backup --identity backup-identity.txt
    """
    from deployments.persistence.errors import BackupMissing
    from deployments.persistence.maintenance.archive import read_header
    from deployments.persistence.maintenance.backup import scratch
    from deployments.persistence.maintenance.backup import verify as prove
    from deployments.persistence.maintenance.backup_history import DRILLED, age_in_words, backups_in

    found = backups_in(folder)
    if not found:
        raise BackupMissing(f"{folder} must have a backup as `gantry db backup --folder {folder}` makes it, had none")
    file = found[0]
    with _for_a_timer():
        url = None if into is None else other_url(into, password_file)
        began = time.monotonic()
        created_at = read_header(file, identity).created_at
        with nullcontext() if url is None else scratch(url), counted("drilling") as on_row:
            comparisons = prove(file, on_row, url, identity=identity)
            seconds = time.monotonic() - began
        _require_equal(file, comparisons)
        proof, age = _proof_of(file, created_at, comparisons, seconds), utc_now() - created_at
        _record(DRILLED, proof)
        print(
            f"{file}: {number_of(proof.rows, 'row')} equal, {proof.decisions:,} of them decisions; "
            f"{age_in_words(age)} old (RPO); restored in {seconds:.1f} s (RTO)"
        )
        if age > timedelta(hours=max_age_hours):
            needed = f"must be at most {max_age_hours:g} h old"
            raise BackupMissing(f"the newest backup {needed}, was {age_in_words(age)}: {file}")


@contextmanager
def _for_a_timer() -> Iterator[None]:
    """What may go well by itself when it is tried again ends with 75, as sysexits.h has it."""
    from deployments.persistence.errors import DatabaseUnavailable

    try:
        yield
    except DatabaseUnavailable as error:
        print(f"gantry: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(os.EX_TEMPFAIL) from error


def _proven(path: Path, identity: Path | None) -> float:
    """Seconds that it took to restore the backup and find it equal. Raises `InvalidBackup`."""
    from deployments.persistence.maintenance.backup import verify as prove

    began = time.monotonic()
    with counted("verifying") as on_row:
        comparisons = prove(path, on_row, identity=identity)
    _require_equal(path, comparisons)
    return time.monotonic() - began


def _require_equal(path: Path, comparisons: list[BackupComparison]) -> None:
    from deployments.persistence.errors import InvalidBackup

    if bad := [comparison.table for comparison in comparisons if not comparison.is_equal]:
        raise InvalidBackup(f"{path} is not what was backed up: {', '.join(bad)} came out otherwise")


def _proof_of(file: Path, created_at: datetime, comparisons: list[BackupComparison], seconds: float) -> BackupProof:
    from deployments.persistence.maintenance.backup_history import BackupProof

    rows = {comparison.table: comparison.found_rows for comparison in comparisons}
    return BackupProof(
        file=file.name,
        created_at=created_at,
        rows=sum(rows.values()),
        decisions=rows["decision"],
        at=utc_now(),
        restore_seconds=round(seconds, 1),
    )


def _record(action: str, proof: BackupProof) -> None:
    """In the audit trail; where there is none to be had, a line says that nobody will know of it."""
    from deployments.errors import InvalidSettings
    from deployments.persistence.database import require_current_schema, sqlite_files
    from deployments.persistence.errors import DatabaseError
    from deployments.persistence.maintenance.backup import using
    from deployments.persistence.maintenance.backup_history import record
    from deployments.settings.service import load_settings

    try:
        url = load_settings().database_url.get_secret_value()
        if any(not file.exists() for file in sqlite_files(url)[:1]):
            reason = "GANTRY_DATABASE_URL names a file that is not there"
        else:
            with using(url) as engine:
                require_current_schema(engine)
                record(engine, event_of(action, proof.file), proof)
            return
    except (InvalidSettings, DatabaseError) as error:
        reason = " ".join(str(error).split())
    print(f"not recorded in the audit trail: {reason}", file=sys.stderr)


def _copy(path: Path, command: str, seconds: float) -> None:
    """Raises `InvalidBackup`, with the command's own words, when it fails or takes too long."""
    from deployments.persistence.errors import InvalidBackup

    kept = f"the backup itself is at {path}"
    try:
        copy = subprocess.Popen(  # noqa: S603 - the operator's own command, without a shell
            [*shlex.split(command), str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise InvalidBackup(f"the copy by `{command}` cannot be started: {error}; {kept}") from error
    with copy:
        try:
            said, complaints = copy.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise InvalidBackup(f"the copy by `{command}` took more than {seconds:g} s and was ended; {kept}") from None
        finally:
            # With whatever it has started: else that would go on beside the copy of the next backup.
            with suppress(ProcessLookupError):
                os.killpg(copy.pid, signal.SIGKILL)
    if copy.returncode:
        words = " ".join((complaints or said).split())[-_MAX_WORDS:] or "it said nothing"
        raise InvalidBackup(f"the copy by `{command}` failed with {copy.returncode}: {words}; {kept}")


def _remove_older(folder: Path, daily: int, weekly: int) -> int:
    from deployments.persistence.maintenance.backup import using
    from deployments.persistence.maintenance.backup_history import backups_in, kept, proven_names
    from deployments.settings.service import load_settings

    with using(load_settings().database_url.get_secret_value()) as engine:
        proven = proven_names(engine)
    backups = backups_in(folder)
    going = set(backups) - kept(backups, daily=daily, weekly=weekly, proven=proven)
    for path in going:
        path.unlink(missing_ok=True)
    return len(going)


def _show(file: Path, comparisons: list[BackupComparison]) -> None:
    for comparison in comparisons:
        if comparison.wanted_rows or not comparison.is_equal:
            verdict = "equal" if comparison.is_equal else f"NOT EQUAL, found {comparison.found_rows:,}"
            print(f"{comparison.table}: {number_of(comparison.wanted_rows, 'row')}, {verdict}")
    if not all(comparison.is_equal for comparison in comparisons):
        print(f"{file}: the database is not what was backed up")
        raise typer.Exit(1)
    print(f"{file}: all tables equal, {number_of(sum(comparison.found_rows for comparison in comparisons), 'row')}")
