"""Where the service runs: settings from environment variables and `.env`, checked before anything starts.

Environment variables win over `.env`. Everything is refused that could not have been meant: a
`GANTRY_` name that is no setting, two names that contradict each other, and in production every
value that is only safe on a developer's machine. What the plant asks for is in `policy_file`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    FilePath,
    IPvAnyNetwork,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from deployments.errors import InvalidSettings, Reasons, requirement_of
from deployments.runtime.durable_file import write_durably
from deployments.settings.connections import DatabaseTls, NotifyUrls, is_local, tls_of, urls_of, with_tls
from deployments.settings.policy_file import (
    KEY_OF,
    OFF,
    POLICY_VARIABLE,
    RETIRED,
    OperatingPolicy,
    PolicyReading,
    did_you_mean,
    none_when_off,
    read_policy,
)

PREFIX = "GANTRY_"
_log = logging.getLogger(__name__)
ENVIRONMENT_ALIAS = "ENVIRONMENT"
DEVELOPMENT_API_KEY = "dev-api-key-change-in-production"
MIN_KEY_CHARACTERS = 32
MIN_SECRET_CHARACTERS = 16
MEBIBYTE = 2**20
PRODUCTION_RATE = "1200/minute"
PUBLISHED_MODEL = Path(__file__).resolve().parents[2] / "models" / "full_production"
FILE_SUFFIX = "_FILE"
# Names that belong to the tests and their machines, and the last two to clients; not to the service.
FOREIGN_NAMES = frozenset({"GANTRY_REQUIRE", "GANTRY_BENCHMARKS", "GANTRY_MAIN", "GANTRY_URL", "GANTRY_KEY"})
FOREIGN_PREFIX = "GANTRY_TEST_"
# Under this name, which no setting can have, the reader of the environment passes on what it found wrong itself.
_FAULTS = " faults"
_POLICY_READING = "policy_reading"
ENV_FILE, IN_ENVIRONMENT = ".env", "environment"
_HANDED_DOWN = "_GANTRY_SETTINGS_ARE_HANDED_DOWN"


class Environment(StrEnum):
    """How much is at stake."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


def _understood_rate(value: str | None) -> str | None:
    if value is not None:
        # Imported here, because most processes need no rate and its library is not small.
        from deployments.access.key_ring import rate_of

        rate_of(value)
    return value


Rate = Annotated[str | None, BeforeValidator(none_when_off), AfterValidator(_understood_rate)]


def _embedded_database(earlier: dict[str, Any]) -> SecretStr:
    return SecretStr(f"sqlite:///{earlier['data_folder'].resolve() / 'gantry.sqlite3'}")


def _rate_of_environment(earlier: dict[str, Any]) -> str | None:
    return PRODUCTION_RATE if earlier["environment"] is Environment.PRODUCTION else None


def _in_data_folder(name: str) -> Callable[[dict[str, Any]], Path]:
    return lambda earlier: Path(earlier["data_folder"], name)


class RolloutSettings(BaseModel):
    """Part of `Settings`. Percentages run from 0 to 100."""

    assignment_seed: str = Field("gantry", min_length=1, max_length=64, description="seed of the split by hash")
    rollout_initial_stage: Literal["shadow", "limited", "expanded", "full"] | None = Field(
        None, description="first stage of a new database; default: full in development, shadow in production"
    )
    rollout_dry_run: bool = Field(False, description="guardrails that fire open an incident and roll nothing back")
    counterfactual_percent: float = Field(100.0, ge=0, le=100, description="requests on which both arms are computed")
    counterfactual_queue: int = Field(64, ge=1, le=10_000, description="requests that may wait for their other arm")
    webhook_url: str | None = Field(None, pattern="^https?://", description="is told of transitions and incidents")
    webhook_secret: SecretStr | None = Field(None, validate_default=True, description="signs what the webhook is told")
    notify_urls: NotifyUrls = Field(None, description="URLs of Apprise, by spaces: told the same in words")

    @field_validator("webhook_secret")
    @classmethod
    def _signs_what_it_tells(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        length = 0 if value is None else len(value.get_secret_value())
        if info.data.get("webhook_url") is not None and length < MIN_SECRET_CHARACTERS:
            needed = f"must have at least {MIN_SECRET_CHARACTERS} characters when there is a webhook_url"
            raise ValueError(f"{needed}, had {length}")
        return value


class Settings(RolloutSettings, BaseSettings):
    """Every setting; the name of its environment variable is `GANTRY_` and the field in capitals. And the policy.

    Raises `InvalidSettings` with every reason at once.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    environment: Environment = Field(Environment.DEVELOPMENT, description="development or production")
    api_key: SecretStr = Field(
        SecretStr(DEVELOPMENT_API_KEY),
        description="the key that clients send as X-API-Key; in production only until the first admin key is stored",
    )
    first_start: bool = Field(
        False, description="refuse to start without a verified backup of the last day, as the first start always does"
    )
    data_folder: Path = Field(Path("data"), description="where the embedded default keeps its files")
    database_tls: DatabaseTls = Field(
        DatabaseTls.PREFERRED,
        description="off, preferred (encrypted if offered), required, or verified (and the server is known)",
    )
    database_tls_ca: FilePath | None = Field(None, description="certificates of who signed that of the server, PEM")
    database_tls_certificate: FilePath | None = Field(None, description="our own certificate for the server, PEM")
    database_tls_key: FilePath | None = Field(None, description="private key of our own certificate, PEM")
    database_url: SecretStr = Field(
        default_factory=_embedded_database, description="SQLAlchemy URL; default: SQLite in the data folder"
    )
    into_password: SecretStr | None = Field(
        None, description="password of the database that `gantry db restore --into` and `verify --into` name"
    )
    spool_folder: Path = Field(
        default_factory=_in_data_folder("spool"),
        description="decisions on their way to the database; default: in data folder",
    )
    acknowledge_on: Literal["disk", "volume", "database"] = Field(
        "disk", description="where a decision is before its 200: disk, volume (outlives its node) or database"
    )
    rollout_folder: Path = Field(
        default_factory=_in_data_folder("rollout"),
        description="the rollout controller's journal; default: in data folder",
    )
    models_folder: Path = Field(
        default_factory=_in_data_folder("models"),
        description="policies registered while running; default: in data folder",
    )
    model_path: Path = Field(PUBLISHED_MODEL, description="folder of the published policy")
    plant_timezone: str = Field("UTC", description="IANA zone of naive datetimes, of calendars and of answers")
    plant_id: str = Field("default", min_length=1, max_length=128, description="plant of requests that name none")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins that browsers may call from, separated by commas"
    )
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = Field(
        (), description="addresses of proxies, separated by commas, that may say by X-Forwarded-For who the client is"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    max_jobs: int = Field(20_000, ge=1, description="jobs in one request")
    max_machines: int = Field(5_000, ge=1, description="machines in one request")
    max_body_bytes: int = Field(32 * MEBIBYTE, ge=1024, le=1024 * MEBIBYTE, description="bytes of one request body")
    max_spool_bytes: int = Field(1024 * MEBIBYTE, ge=MEBIBYTE, description="bytes that may wait for the database")
    integrity_interval_seconds: float = Field(
        60.0, gt=0, le=86_400, description="pause between background samples of stored decisions"
    )
    body_timeout_seconds: float = Field(60.0, gt=0, le=3600, description="limit for one body to arrive in full")
    rate_limit: Rate = Field(
        default_factory=_rate_of_environment,
        description="requests of one key, such as 1200/minute, or off; default: off in development",
    )
    request_timeout_seconds: float = Field(120.0, gt=0, le=3600, description="limit for one whole request")
    max_budget_seconds: float = Field(
        60.0, gt=0, le=86_400, description="longest time budget of a request; while its client waits never above 10 s"
    )
    proposal_timeout_seconds: float = Field(
        45.0, gt=0, le=3600, description="on top of a request's time budget: when a silent arm counts as crashed"
    )
    policy_file: Path | None = Field(None, description="goals, anomaly limits, the ramp's numbers; default: shipped")
    policy_reading: PolicyReading

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then our own reading of the environment, which refuses what it does not know."""
        file = getattr(dotenv_settings, "env_file", None)
        return init_settings, _Environment(settings_cls, file if isinstance(file, str | Path) else None)

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _with_tls(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        """The URL says all that there is to know about the way to the database, so nobody can forget half of it."""
        query = tls_of(info.data)
        return SecretStr(with_tls(value.get_secret_value(), query)) if query else value

    def reaching(self, url: str) -> str:
        """The URL of another database, reached as that of the settings is: SQLite as it is. Raises `ValueError`."""
        query = tls_of(self.__dict__)
        return with_tls(url, query) if query and not url.startswith("sqlite") else url

    @field_validator("plant_timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"must be an IANA time zone, was {value!r}") from error
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _tells_every_reason(cls, values: dict[str, Any], validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Whoever mends one setting should not meet the next fault at the next start."""
        reasons: list[tuple[str, str]] = list(values.pop(_FAULTS, ()))
        settings = None
        try:
            settings = validate(values)
            reasons += _production_faults(settings)
        except ValidationError as error:
            found = _reasons_of(error)
            reasons += [*found, *_further_faults(values, found, validate)]
        if settings is None or reasons:
            raise InvalidSettings(tuple(reasons))
        return settings

    @property
    def initial_stage(self) -> str:
        """Where the rollout of a new database begins: a newcomer sees PPO at once, a plant sees it in shadow."""
        by_environment = "full" if self.environment is Environment.DEVELOPMENT else "shadow"
        return self.rollout_initial_stage or by_environment

    @property
    def zone(self) -> ZoneInfo:
        """The plant's time zone."""
        return ZoneInfo(self.plant_timezone)

    @property
    def own_key(self) -> str | None:
        """`GANTRY_API_KEY`, None when it is off: then only stored keys open anything."""
        key = self.api_key.get_secret_value()
        return None if key == OFF else key

    @property
    def key_snapshot_path(self) -> Path:
        """Where a router keeps the digests of the stored keys for a start without the database."""
        return self.data_folder / "api_keys.json"

    @property
    def run_folder(self) -> Path:
        """What one run of the service keeps about itself: its processes, its lock, the notice that it is about to end.

        Whole, because every process of the service must mean the same folder.
        """
        return self.data_folder.absolute() / "run"

    @property
    def policy(self) -> OperatingPolicy:
        """What the plant asks of its schedules and of the rollout."""
        return self.policy_reading.policy

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never appear in a log line."""
        url = self.database_url.get_secret_value()
        password = urlsplit(url).password
        key = (self.own_key,) if self.own_key is not None else ()
        others = [each.get_secret_value() for each in (self.webhook_secret, self.into_password) if each is not None]
        # Whoever knows the address of a webhook may post to it.
        others += [] if self.webhook_url is None else [str(self.webhook_url)]
        others += urls_of(self.notify_urls)
        return (*key, url, *others, *([unquote(password)] if password else []))


def load_settings(*, warns: bool = True, **overrides: Any) -> Settings:
    """Settings of this process; `overrides` win over the environment. Raises `InvalidSettings`.

    One line of warning tells which of the names are old, once in a process.
    """
    settings = Settings(**overrides)
    if warns and settings.policy_reading.notice:
        _warn_once(settings.policy_reading.notice)
    return settings


@cache
def _warn_once(notice: str) -> None:
    _log.warning(notice)


def caller_key() -> str:
    """What a command sends to a service as X-API-Key: GANTRY_API_KEY alone, since who asks needs no database."""
    return variables().get(_name("api_key"), (DEVELOPMENT_API_KEY, ""))[0]


def variable_names() -> dict[str, str]:
    """Each setting with the name of its environment variable."""
    return {field: _name(field) for field in Settings.model_fields if field != _POLICY_READING}


def variables(file: str | Path | None = ENV_FILE) -> dict[str, tuple[str, str]]:
    """What `file` and the environment hold, by name: the value, and which of the two it is from.

    An empty variable is how shells and compose files spell "not set". A secret that is in a file is from there.
    """
    in_file = dotenv_values(file) if file is not None and _HANDED_DOWN not in os.environ else {}
    found = {name: (value, str(file)) for name, value in in_file.items() if value is not None}
    found |= {name: (value, IN_ENVIRONMENT) for name, value in os.environ.items()}
    return _with_files_of_secrets({name: (value, place) for name, (value, place) in found.items() if value})


def secret_names() -> tuple[str, ...]:
    """Variables whose value a file may hold instead, named by the same variable with `FILE_SUFFIX`."""
    fields = Settings.model_fields.items()
    return tuple(_name(field) for field, info in fields if SecretStr in (info.annotation, *get_args(info.annotation)))


def _with_files_of_secrets(found: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Secrets as their files hold them, without the end of the line; the names of files of no use stay."""
    for name in secret_names():
        path, _ = found.get(name + FILE_SUFFIX, ("", ""))
        with suppress(OSError, UnicodeDecodeError):
            if path and name not in found and (value := Path(path).read_text(encoding="utf-8").rstrip("\r\n")):
                found[name] = (value, path)
                del found[name + FILE_SUFFIX]
    return found


def hand_down(settings: Settings) -> None:
    """Every process that this one starts gets the settings that it has itself: no file is read for them again.

    Replicas begin at any time, and what somebody is editing meanwhile is not what the service was started with.
    Raises `OSError`.
    """
    found = variables()
    for name in secret_names():
        os.environ.pop(name + FILE_SUFFIX, None)
    for name, (value, _) in found.items():
        if name.startswith(PREFIX) or name == ENVIRONMENT_ALIAS:
            os.environ[name] = value
    if settings.policy_file is not None:
        kept = settings.data_folder / "policy-of-service.toml"
        write_durably(kept, settings.policy_file.read_text(encoding="utf-8"))
        os.environ[POLICY_VARIABLE] = str(kept.absolute())
    os.environ[_HANDED_DOWN] = "1"


def is_handed_down() -> bool:
    """Whether this process was started by one that has checked its settings, folders and database."""
    return _HANDED_DOWN in os.environ


def _reasons_of(error: ValidationError) -> Reasons:
    faults = [fault for fault in error.errors(include_url=False) if fault["type"] != "default_factory_not_called"]
    return tuple(
        (_name(str(fault["loc"][0])), requirement_of(fault["type"], fault["msg"], fault.get("ctx", {})))
        for fault in faults
    )


def _further_faults(values: dict[str, Any], found: Reasons, validate: Callable[[Any], Settings]) -> Reasons:
    """What else would be unsafe in production if the settings that were `found` faulty were at their defaults."""
    faulty = {name for name, _ in found}
    try:
        settings = validate({field: value for field, value in values.items() if _name(field) not in faulty})
    except ValidationError as error:
        return tuple(reason for reason in _reasons_of(error) if reason[0] not in faulty)
    return tuple(reason for reason in _production_faults(settings) if reason[0] not in faulty)


def _production_faults(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.environment is not Environment.PRODUCTION:
        return
    key = settings.api_key.get_secret_value()
    if settings.own_key is None:
        pass
    elif key == DEVELOPMENT_API_KEY:
        yield _name("api_key"), "must not be the development key in production"
    elif len(key) < MIN_KEY_CHARACTERS:
        yield _name("api_key"), f"must have at least {MIN_KEY_CHARACTERS} characters in production, had {len(key)}"
    if any("*" in origin for origin in settings.cors_origins):
        yield _name("cors_origins"), "must name each origin in production, had a wildcard"
    if any(network.prefixlen == 0 for network in settings.trusted_proxies):
        yield _name("trusted_proxies"), "must name the proxies in production, had the whole internet"
    if settings.database_url.get_secret_value().startswith("sqlite"):
        yield _name("database_url"), "must be a MariaDB URL in production, was SQLite"
    elif settings.database_tls is DatabaseTls.OFF and not is_local(settings.database_url.get_secret_value()):
        yield _name("database_tls"), "must not be off in production for a database on another machine"


class _Environment(PydanticBaseSettingsSource):
    """Reads `.env` and the environment, and refuses names that nobody would act upon."""

    def __init__(self, settings_cls: type[BaseSettings], file: str | Path | None) -> None:
        super().__init__(settings_cls)
        self._file = file

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError("all fields are read at once")  # pragma: no cover

    def __call__(self) -> dict[str, Any]:
        values = {name: value for name, (value, _) in variables(self._file).items()}
        names = variable_names()
        settings = {field: values[name] for field, name in names.items() if name in values}
        environment, contradictions = _aliased_environment(values)
        policy_file = {**settings, **self.current_state}.get("policy_file")
        policy, faults = read_policy(None if policy_file is None else Path(policy_file), values)
        files = {name + FILE_SUFFIX for name in secret_names()}
        faults = (
            *_unknown_names(values, {*names.values(), *files, *KEY_OF, *chain.from_iterable(RETIRED.values())}),
            *_useless_files(values),
            *contradictions,
            *faults,
        )
        return settings | environment | {_POLICY_READING: policy} | ({_FAULTS: faults} if faults else {})


def _unknown_names(values: Mapping[str, str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    # Without what all of them begin with, which would make any two names alike.
    fields = [each.removeprefix(PREFIX) for each in known]
    for name in sorted(values):
        if name.startswith(PREFIX) and not name.startswith(FOREIGN_PREFIX) and name not in {*known, *FOREIGN_NAMES}:
            guess = did_you_mean(name.removeprefix(PREFIX), fields, PREFIX)
            yield name, f"is not a setting{guess or ': unset it; .env.example lists all that are'}"


def _useless_files(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Of two sources of a secret nobody can tell which one counts, and a file without one opens what it should not."""
    for name in secret_names():
        if (path := values.get(name + FILE_SUFFIX)) is not None:
            is_double = name in values
            reason = f"must not stand beside {name}" if is_double else f"must be a file with the secret, was {path!r}"
            yield name + FILE_SUFFIX, reason


def _aliased_environment(values: Mapping[str, str]) -> tuple[dict[str, str], Reasons]:
    """`ENVIRONMENT` means the same as `GANTRY_ENVIRONMENT`; of two different answers the stricter is looked at, too."""
    alias, ours = values.get(ENVIRONMENT_ALIAS), values.get(_name("environment"))
    if alias is None or ours == alias:
        return {}, ()
    if ours is None:
        return {"environment": alias}, ()
    stricter = Environment.PRODUCTION.value if Environment.PRODUCTION in {alias, ours} else ours
    message = f"must agree with {_name('environment')} {ours!r}, was {alias!r}"
    return {"environment": stricter}, ((ENVIRONMENT_ALIAS, message),)


def _name(field: str) -> str:
    return PREFIX + field.upper()
