"""Settings.  In: environment, ``.env``, ``tandem.yml``.  Out: checked values; every secret a SecretStr.

Secrets never stand in ``tandem.yml``: a connection's secret ``access_token`` of the connection ``hubspot`` is read from
``TANDEM_HUBSPOT_ACCESS_TOKEN``, or from the file that ``TANDEM_HUBSPOT_ACCESS_TOKEN_FILE`` names (Docker and Kubernetes
secrets).  So can our own be given: ``TANDEM_DATABASE_FILE``, ``TANDEM_DATABASE_PASSWORD_FILE``,
``TANDEM_TOKEN_FILE``, ``TANDEM_ERASURE_KEY_FILE``, ``TANDEM_ENCRYPTION_KEYS_FILE``.  Or a whole folder of them, each
file named as the variable that it stands for: ``TANDEM_SECRETS_DIR``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.core import bounded_yaml
from app.core._lengths import Span
from app.core._settings_alarms import AlarmsConfig
from app.core._settings_login import LoginConfig
from app.core._settings_traces import TracesConfig
from app.core.errors import ConfigError
from app.core.words import Brake, Canary, Deletes, Duplicates, Likeness, Limit, Mode, Only, Watch, Writes

NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")


class DeletesConfig(BaseModel):
    """What deletions lead to: those that this vendor tells (``in``), and those told by others (``out``)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    in_: Deletes = Field(default=Deletes.IGNORE, alias="in")
    out: Deletes = Deletes.IGNORE


class LimitConfig(BaseModel):
    """Both have to be exceeded: so many writes within the window, and such a share of the known records."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(ge=0)
    share: float = Field(ge=0, le=1)


class BrakeConfig(BaseModel):
    """When mass changes stop at this vendor; ``off`` for a kind that never does.

    The figures are ours: a team's ordinary hour stays below them, a mistaken import or filter does not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_minutes: float = Field(default=60, gt=0, le=7 * 24 * 60)
    creates: LimitConfig | None = LimitConfig(count=1000, share=0.2)
    overwrites: LimitConfig | None = LimitConfig(count=1000, share=0.2)
    opt_ins: LimitConfig | None = LimitConfig(count=100, share=0.02)
    deletes: LimitConfig | None = LimitConfig(count=50, share=0.02)

    @field_validator("creates", "overwrites", "opt_ins", "deletes", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return None if value is False or value == "off" else value  # YAML reads a bare ``off`` as false

    def value(self) -> Brake:
        """As the stations see it."""
        limits = {kind: getattr(self, kind) for kind in Writes}
        return Brake(
            int(self.window_minutes * 60_000), {k: Limit(c.count, c.share) for k, c in limits.items() if c is not None}
        )


class EveryConfig(BaseModel):
    """How often something is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: Span


class CanaryConfig(BaseModel):
    """To whom mode canary writes: the first ``records`` contacts, of those that fit ``where``, or of a sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    records: int = Field(default=50, ge=0)
    where: dict[str, str] = Field(default_factory=dict)  # canonical field: its value
    sample: float = Field(default=1.0, gt=0, le=1)

    @field_validator("where", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return {k: str(v) for k, v in value.items()} if isinstance(value, dict) else value

    def value(self) -> Canary:
        """As the stations see it."""
        return Canary(self.records, tuple(sorted(self.where.items())), self.sample)


def _wanted(value: Any) -> Any:
    """One value, or several of which one has to hold; as texts."""
    if not isinstance(value, dict):
        return value
    several = {k: v if isinstance(v, list) else [v] for k, v in value.items()}
    return {
        k: ["" if x is None else str(x).lower() if isinstance(x, bool) else str(x) for x in v]
        for k, v in several.items()
    }


Wanted = Annotated[dict[str, list[str]], BeforeValidator(_wanted)]


class OnlyConfig(BaseModel):
    """Whom a connection is about: canonical field → its value, or several; for each direction.

    Who leaves is neither deleted nor archived: nothing but objections travels any more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    in_: Wanted = Field(default_factory=dict, alias="in")
    out: Wanted = Field(default_factory=dict)

    def value(self, way: str) -> Only:
        """As the stations see it; ``way``: in or out."""
        chosen = self.in_ if way == "in" else self.out
        return Only(tuple((name, frozenset(values)) for name, values in sorted(chosen.items())))


class ConnectionConfig(BaseModel):
    """One configured account at a vendor, as ``tandem.yml`` says it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    connector: str
    side: str | None = None  # crm or marketing; None = the connector's usual side
    mode: Mode = Mode.OBSERVE
    canary: CanaryConfig = CanaryConfig()  # to whom mode canary writes
    mapping: Path | None = None  # None = the shipped mappings/<connector>.yaml
    settings: dict[str, str] = Field(default_factory=dict)
    internal: bool = False  # its names may mean addresses of a private network
    call_share: float = Field(default=0.8, gt=0, le=1)  # our part of the vendor's published rate; the rest is humans'
    poll_seconds: float = Field(default=300, ge=1)  # between polls while they find nothing new
    poll_least_seconds: float = Field(default=60, ge=1)  # between polls while they find what no webhook told
    reconcile: EveryConfig = EveryConfig(every="24h")
    describe: EveryConfig = EveryConfig(every="1h")
    freshness: Span = None  # how soon 95 of 100 changes have to land here; None = no promise
    may_grant: bool | None = None  # may evidence from here lift a withdrawal; None = where the side is marketing
    default_country: str | None = None
    deletes: DeletesConfig = DeletesConfig()
    duplicates: Duplicates = Duplicates.REPORT  # records that are one too many here, since another vendor merged
    brake: BrakeConfig = BrakeConfig()
    only: OnlyConfig = OnlyConfig()  # whom the connection is about

    def watch(self) -> Watch:
        """As the stations see it."""
        return Watch(
            self.reconcile.every,
            self.describe.every,
            int(min(self.poll_least_seconds, self.poll_seconds) * 1000),
            self.freshness,
        )

    @field_validator("reconcile", "describe", mode="before")
    @classmethod
    def _every(cls, value: Any) -> Any:
        return {"every": None} if value is False or value == "off" else value  # YAML reads a bare ``off`` as false

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("a connection's name is lower-case letters, digits, - and _, and begins with a letter")
        return value

    @field_validator("side")
    @classmethod
    def _side(cls, value: str | None) -> str | None:
        if value not in {None, "crm", "marketing"}:
            raise ValueError("side is crm or marketing")
        return value

    @field_validator("settings", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return {k: str(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


class MatchingConfig(BaseModel):
    """How it is found out who somebody is where no address says it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    likeness: Likeness = Likeness.LINK
    weights: Path | None = None  # of `tandem match train`; None = the shipped ones

    @field_validator("likeness", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return "off" if value is False else value  # YAML reads a bare ``off`` as false


class Config(BaseModel):
    """``tandem.yml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    public_url: str | None = None
    database: str | None = None
    matching: MatchingConfig = MatchingConfig()
    agreement: Path | None = None  # what sales and marketing agreed; None = the shipped mappings/agreement.yaml
    alarms: AlarmsConfig = AlarmsConfig()  # whom alarms are told
    traces: TracesConfig | None = None  # where they go; None = nowhere, at no cost
    login: LoginConfig = LoginConfig()  # of people into the console
    connections: tuple[ConnectionConfig, ...] = ()

    @field_validator("connections")
    @classmethod
    def _unique(cls, value: tuple[ConnectionConfig, ...]) -> tuple[ConnectionConfig, ...]:
        names = [c.name for c in value]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"each connection needs its own name; used twice: {', '.join(twice)}")
        return value


class Settings(BaseSettings):
    """What the environment says.  Each is ``TANDEM_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="TANDEM_", env_file=".env", extra="ignore", frozen=True)

    config: Path = Path("tandem.yml")
    database: str = "sqlite:///tandem.db"
    database_password: SecretStr | None = None  # where the URL names a user and no password
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str | None = None  # how vendors reach the door, when a proxy stands before it
    token: SecretStr | None = None  # of the operations API; None = it answers on loopback only
    erasure_key: SecretStr | None = None  # keys the hashes of removed addresses; None = one is made and kept
    oidc_client_secret: SecretStr | None = None  # of the identity provider, see `login` in tandem.yml
    encryption_keys: SecretStr | None = None  # seal OAuth tokens in the store; several while rotating, newest first
    secrets_dir: Path | None = None  # files named as variables, e.g. /run/secrets
    body_limit: int = Field(default=2 * 1024 * 1024, ge=1024)  # bytes of one delivery
    workers: int = Field(default=2, ge=1, le=64)  # threads for reading, and as many for writing
    shared_budget: bool | None = None  # count calls with the other processes; None = on PostgreSQL only
    lease_seconds: float = Field(default=180, ge=5)  # longer than the longest vendor call
    retry_hours: float = Field(default=28, ge=0)  # how long a write is tried before it becomes a dead letter
    retry_base_seconds: float = Field(default=2, gt=0)
    retry_cap_seconds: float = Field(default=3600, gt=0)
    keep_events_days: int | None = Field(default=30, ge=1)  # processed events and their bytes; empty = for ever
    keep_history_days: int | None = Field(default=None, ge=1)  # what each field was before; empty = for ever
    keep_engagements_days: int | None = Field(default=None, ge=1)  # opens, calls …; how often stays; empty = for ever
    keep_audit_days: int | None = Field(default=None, ge=1)  # who did what; empty = for ever
    http_timeout: float = Field(default=30, gt=0, le=600)
    log_level: str = "INFO"
    log_json: bool = False
    demo: bool = False  # mounts the demo page's edit forms

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the name is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[Any, ...]:
        """A file that a variable names comes before the variable itself, as for the secrets of connections."""
        return init_settings, _from_files, env_settings, _from_folder, dotenv_settings, file_secret_settings


# May be given as a file.
FILES: Final = ("database", "database_password", "token", "erasure_key", "encryption_keys", "oidc_client_secret")
FOLDER: Final = "TANDEM_SECRETS_DIR"


def _from_files() -> dict[str, Any]:
    """Settings whose text stands in a file that ``TANDEM_<NAME>_FILE`` names.  Raises ConfigError."""
    env = environment()
    names = {name: f"TANDEM_{name}_FILE".upper() for name in FILES}
    return {name: _secret_file(variable, env[variable]) for name, variable in names.items() if env.get(variable)}


def _from_folder() -> dict[str, Any]:
    """Settings that stand as files in the folder of secrets.  Raises ConfigError."""
    found = _folder(environment(folder=False))
    names = {f"TANDEM_{name}".upper(): name for name in FILES}
    return {names[variable]: value for variable, value in found.items() if variable in names}


def _folder(env: Mapping[str, str]) -> dict[str, str]:
    """Variable → text of the file of that name, in capitals or small letters.

    Kubernetes keeps the files of a mounted secret behind links whose names begin with two dots; only names that begin
    with ``TANDEM_`` are looked at.
    """
    if not env.get(FOLDER):
        return {}
    folder = Path(env[FOLDER])
    if not folder.is_dir():
        raise ConfigError(f"{FOLDER}: there is no folder {folder}")
    files = sorted(f for f in folder.iterdir() if f.name.upper().startswith("TANDEM_") and f.is_file())
    return {file.name.upper(): _secret_file(f"{FOLDER}: {file.name}", str(file)) for file in files}


def _secret_file(variable: str, path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{variable}: cannot be read: {type(error).__name__}") from None
    if not text:
        raise ConfigError(f"{variable}: is empty")
    return text


def database_url(settings: Settings, config: Config) -> str:
    """Where the store is: the file's word before the environment's, with the password that is given apart from it."""
    url = config.database if config.database is not None else settings.database
    if settings.database_password is None:
        return url
    try:
        parsed = make_url(url)
    except ArgumentError:
        return url  # whoever opens it says what is wrong with it
    if parsed.get_backend_name() == "sqlite" or parsed.password is not None:
        return url
    return parsed.set(password=settings.database_password.get_secret_value()).render_as_string(hide_password=False)


def load_config(path: Path) -> Config:
    """The configuration of a file.  Raises ConfigError with file, place and what would be valid."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; `tandem init` writes one, or set TANDEM_CONFIG") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    data = bounded_yaml.load(text, str(path))
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values; valid keys: {', '.join(Config.model_fields)}")
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, text, e) for e in error.errors())) from None


def _explain(path: Path, text: str, error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    line = _line(text, error["loc"])
    message = f"{path}{f':{line}' if line else ''}: {where}: {error['msg']}"
    if error["type"] == "extra_forbidden":
        model = ConnectionConfig if error["loc"] and error["loc"][0] == "connections" else Config
        message += f"; valid keys: {', '.join(model.model_fields)}"
    return message


def _line(text: str, loc: tuple[Any, ...]) -> int | None:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    line: int | None = None
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    node, line = value, key.start_mark.line + 1
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def environment(env_file: Path | None = Path(".env"), *, folder: bool = True) -> dict[str, str]:
    """What the process, the folder of secrets and ``.env`` say, in this order.  Raises ConfigError for the folder."""
    values: dict[str, str] = {}
    if env_file is not None and env_file.is_file():
        values.update({k: v for k, v in dotenv_values(env_file).items() if v is not None})
    found = _folder({**values, **os.environ}) if folder else {}
    return {**values, **found, **os.environ}


def connection_settings(config: ConnectionConfig, names: Mapping[str, bool], env: Mapping[str, str]) -> dict[str, str]:
    """A connection's settings, secrets from the environment.  ``names``: setting name → is it secret.

    Raises ConfigError for an unknown setting, for a secret written into the file, and for an unreadable secret file.
    """
    unknown = sorted(set(config.settings) - set(names))
    if unknown:
        raise ConfigError(
            f"connection {config.name}: unknown setting(s) {', '.join(unknown)}; valid: {', '.join(sorted(names))}"
        )
    values = dict(config.settings)
    for name, secret in names.items():
        variable = variable_of(config.name, name)
        if secret and name in values:
            raise ConfigError(
                f"connection {config.name}: {name} is a secret; put it into {variable}, not into the file"
            )
        if f"{variable}_FILE" in env:
            values[name] = _secret_file(f"{variable}_FILE", env[f"{variable}_FILE"])
        elif variable in env:
            values[name] = env[variable]
    return values


def secret_of(owner: str, name: str, env: Mapping[str, str]) -> str | None:
    """A secret that the environment, or a file it names, may hold; None where it does not.  Raises ConfigError."""
    variable = variable_of(owner, name)
    if f"{variable}_FILE" in env:
        return _secret_file(f"{variable}_FILE", env[f"{variable}_FILE"])
    return env.get(variable) or None  # set to nothing is not set


def variable_of(connection: str, setting: str) -> str:
    """The environment variable of one setting of one connection."""
    return f"TANDEM_{connection}_{setting}".upper().replace("-", "_")
