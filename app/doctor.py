"""Look at an installation and say what is wrong with it and what to do.

In: settings, environment, the configuration file.  Out: findings, each ok, warn or problem, the last two with advice.
Nothing is changed: the probe of the store is rolled back, vendors are only asked who we are and what fields they have.
"""

from __future__ import annotations

import contextlib
import difflib
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

import connectors
from app import logs
from app.core import clock, leases
from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.errors import ConfigError
from app.core.settings import (
    FILES,
    Config,
    ConnectionConfig,
    Settings,
    connection_settings,
    database_url,
    load_config,
    variable_of,
)
from app.core.words import Mode
from app.main import Tandem
from app.push import brake
from app.records import migrate, tokens
from app.repair import connecting
from app.sync import mapping
from app.sync.connection import Connection
from connectors._networks import transport
from connectors.contract import Can, NeedsHuman, Problem, TryLater

# Vendors refuse, and so do we, what was signed more than 300 s ago (HubSpot, "Validating requests", v3).  A fifth of it
# leaves room for the way and for drift until the next look.
CLOCK_SECONDS: Final = 60
DISK_PROBLEM: Final = 200 * 1024**2  # bytes free: the journal of a busy hour
DISK_WARN: Final = 1024**3
TOKEN_LEAST: Final = 16  # characters
TIMEOUT: Final = 10.0  # seconds for each look outside
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.  ``advice``: what to do, for all that is not ok."""

    area: str
    subject: str
    level: Level
    message: str
    advice: str | None = None


class _Undo(Exception):
    """Ends the probe's transaction without a trace."""


def examine(settings: Settings, env: Mapping[str, str], *, offline: bool = False) -> list[Finding]:
    """Everything, in the order in which one would mend it.  ``offline``: nothing outside this machine is asked."""
    found: list[Finding] = []
    config = _configuration(found, settings)
    _environment(found, settings, config, env)
    _store(found, settings, config)
    for one in config.connections:
        _connection(found, settings, config, one, env, offline=offline)
    _webhooks(found, settings, config, offline=offline)
    return [_clean(finding) for finding in found]


def _clean(finding: Finding) -> Finding:
    advice = None if finding.advice is None else logs.clean(finding.advice)
    return Finding(finding.area, finding.subject, finding.level, logs.clean(finding.message), advice)


def _configuration(found: list[Finding], settings: Settings) -> Config:
    area, subject = "configuration", str(settings.config)
    try:
        config = load_config(settings.config)
    except ConfigError as error:
        advice = "correct the file; docs/operate.md lists its keys"
        found += [Finding(area, subject, Level.PROBLEM, line, advice) for line in str(error).splitlines()]
        return Config()
    if not config.connections:
        found.append(
            Finding(area, subject, Level.WARN, "no connection", "add one under connections, or see `tandem init`")
        )
        return config
    names = ", ".join(c.name for c in config.connections)
    found.append(Finding(area, subject, Level.OK, f"{len(config.connections)} connection(s): {names}"))
    if len({_side(c) for c in config.connections} - {None}) < 2:
        found.append(
            Finding(
                area,
                subject,
                Level.WARN,
                "all connections stand on one side",
                "connect a CRM and a marketing platform: with one alone there is nobody to keep in step",
            )
        )
    return config


def _side(config: ConnectionConfig) -> str | None:
    if config.side is not None:
        return config.side
    kind = connectors.named(config.connector)
    return None if kind is None else str(kind.side)


def _environment(found: list[Finding], settings: Settings, config: Config, env: Mapping[str, str]) -> None:
    area = "environment"
    file = Path(".env")
    if file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        found.append(
            Finding(area, ".env", Level.WARN, "others on this machine can read its secrets", "run `chmod 600 .env`")
        )
    token = None if settings.token is None else settings.token.get_secret_value()
    if token is not None and len(token) < TOKEN_LEAST:
        found.append(
            Finding(
                area,
                "TANDEM_TOKEN",
                Level.PROBLEM,
                f"shorter than {TOKEN_LEAST} characters",
                'make a long one: python -c "import secrets; print(secrets.token_urlsafe(32))"',
            )
        )
    elif token is None and settings.host not in LOOPBACK:
        found.append(
            Finding(
                area,
                "TANDEM_TOKEN",
                Level.WARN,
                "not set: the operations API answers on this machine only",
                "set TANDEM_TOKEN to use it from elsewhere",
            )
        )
    known = _variables(config)
    for name in sorted(n for n in env if n.startswith("TANDEM_") and n not in known):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if near:  # others may share the prefix; only what looks like a slip is told
            found.append(Finding(area, name, Level.WARN, "nothing reads this variable", f"did you mean {near[0]}?"))
    if not any(f.area == area for f in found):
        found.append(Finding(area, "variables", Level.OK, "token and names make sense"))


def _variables(config: Config) -> list[str]:
    names = [f"TANDEM_{name.upper()}" for name in Settings.model_fields]
    names += [f"TANDEM_{name.upper()}_FILE" for name in FILES]
    kinds = connectors.find()
    for one in config.connections:
        for setting in kinds[one.connector].settings if one.connector in kinds else ():
            variable = variable_of(one.name, setting.name)
            names += [variable, f"{variable}_FILE"]
    return names


def _store(found: list[Finding], settings: Settings, config: Config) -> None:
    area = "database"
    url = database_url(settings, config)
    try:
        database = Database(url, pool=1)
    except (ConfigError, SQLAlchemyError, OSError, ImportError) as error:
        message = str(error) if isinstance(error, ConfigError) else f"the URL cannot be used ({type(error).__name__})"
        advice = "use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME (with the extra `postgres` installed)"
        found.append(Finding(area, "url", Level.PROBLEM, message, advice))
        return
    subject = repr(database).removeprefix("<database ").removesuffix(">")
    try:
        file = Path(str(database.url.database)).resolve() if database.dialect == "sqlite" else None
        if file is not None:
            _disk(found, file)
            if not file.exists():
                advice = "`tandem migrate` or `tandem serve` makes it"
                found.append(Finding(area, subject, Level.WARN, "not there yet", advice))
                return
        _tables(found, database, subject)
    except SQLAlchemyError as error:
        original = getattr(error, "orig", None)
        lines = str(original).strip().splitlines() if original is not None else []
        message = lines[0] if lines else type(error).__name__
        advice = "start the database, or correct `database` in tandem.yml or TANDEM_DATABASE"
        found.append(Finding(area, subject, Level.PROBLEM, message, advice))
    finally:
        database.close()


def _tables(found: list[Finding], database: Database, subject: str) -> None:
    area = "database"
    tables = migrate.standing(database)
    if tables.current is None:
        found.append(Finding(area, subject, Level.WARN, "empty", "`tandem migrate` or `tandem serve` makes its tables"))
        return
    if not tables.usable:
        message = f"its tables are at version {tables.current}, this Tandem needs {tables.head}"
        found.append(Finding(area, subject, Level.PROBLEM, message, tables.why))
        return
    if tables.why is not None:
        message = f"its tables are at version {tables.current}, this Tandem is at {tables.head}"
        found.append(Finding(area, subject, Level.WARN, message, tables.why))
    with contextlib.suppress(_Undo), database.write() as db:
        leases.acquire(db, "doctor", "doctor", 1)
        raise _Undo
    found.append(Finding(area, subject, Level.OK, f"reachable, writable, at version {tables.current}"))
    with database.read() as db:
        before = clock.now()
        theirs = clock.from_ms(clock_of(db))
        _clock(found, "database", theirs, before)
        state = t.connection_state.c
        for row in db.execute(select(state.name, state.paused_why, state.paused_by).where(state.paused == 1)):
            message = f"paused by {row.paused_by}: {row.paused_why}"
            found.append(
                Finding("connection", row.name, Level.WARN, message, f"mend that, then `tandem resume {row.name}`")
            )
        for on in brake.listed(db):
            message = f"a brake is on for {on['kind']}, {on['waiting']} wait: {on['why']}"
            this = f"{on['connection']} {on['kind']}"
            advice = f"look with `tandem brake show {this}`, then `tandem brake release {this} --by NAME`, or discard"
            found.append(Finding("brake", on["connection"], Level.WARN, message, advice))


def _disk(found: list[Finding], file: Path) -> None:
    parent = next(p for p in file.parents if p.exists())
    free = shutil.disk_usage(parent).free
    level = Level.PROBLEM if free < DISK_PROBLEM else Level.WARN if free < DISK_WARN else Level.OK
    advice = None if level is Level.OK else "make room: a full disk means that no webhook can be stored"
    found.append(Finding("database", "disk", level, f"{free / 1024**3:.1f} GiB free", advice))


def _clock(found: list[Finding], whose: str, theirs: datetime, asked: datetime) -> None:
    """Compare a clock with ours, which stood between ``asked`` and now when theirs was read."""
    ours = asked + (clock.now() - asked) / 2
    off = abs((theirs - ours).total_seconds())
    if off > CLOCK_SECONDS:
        message = f"{off:.0f} s away from this machine's clock"
        advice = "synchronise the clocks (NTP): signatures older than 300 s are refused"
        found.append(Finding("clock", whose, Level.PROBLEM, message, advice))
    else:
        found.append(Finding("clock", whose, Level.OK, f"within {CLOCK_SECONDS} s of this machine's clock"))


def _connection(
    found: list[Finding],
    settings: Settings,
    config: Config,
    one: ConnectionConfig,
    env: Mapping[str, str],
    *,
    offline: bool,
) -> None:
    alone = config.model_copy(update={"connections": (one,)})
    try:
        tandem = Tandem(settings, alone, env)
    except (ConfigError, mapping.MappingError, ValueError) as error:
        area = "mapping" if isinstance(error, mapping.MappingError) else "connection"
        advice = "correct the mapping" if area == "mapping" else "set it in tandem.yml, or a secret in .env"
        found += [Finding(area, one.name, Level.PROBLEM, line, advice) for line in str(error).splitlines()]
        return
    try:
        connection = tandem.connections[one.name]
        mode = "observe: reads, writes nothing" if connection.mode is Mode.OBSERVE else str(connection.mode)
        found.append(Finding("connection", one.name, Level.OK, f"{one.connector}, {connection.side}, {mode}"))
        if one.name in tandem.access and not _tokens(found, tandem, one.name):
            return
        if not offline and _account(found, connection):
            _fields(found, connection)
            _vendor_clock(found, one, env)
    finally:
        tandem.close()


def _tokens(found: list[Finding], tandem: Tandem, name: str) -> bool:
    """Where the vendor is to send people back to, and what is about to end; whether there may be a token to try."""
    area, words = "oauth", None
    back = tandem.connecting.redirect_uri(name)
    found.append(Finding(area, name, Level.OK, f"the vendor sends people back to {back}"))
    file = tandem.database.url.database
    if tandem.database.dialect == "sqlite" and file is not None and not Path(file).exists():
        return False  # to look into it would make it
    with contextlib.suppress(SQLAlchemyError):  # the store has its own findings
        with tandem.database.read() as db:
            row = next((r for r in tokens.listed(db) if r["connection"] == name), None)
        words = connecting.endings(row, tandem.access[name])
        if words is None and row is not None and row["lost_at"] is not None:
            words = f"{name}: the vendor takes its tokens no more: `tandem connect {name}`"
        if words is not None:
            what, _, act = words.removeprefix(f"{name}: ").partition(": ")
            found.append(Finding(area, name, Level.PROBLEM, what, f"run {act}"))
    return words is None


def _account(found: list[Finding], connection: Connection) -> bool:
    try:
        who = connection.connector.check()
    except Problem as problem:
        advice = {
            NeedsHuman: "renew the credentials, or give them the scopes that docs/vendors lists",
            TryLater: "look at the vendor's status page and at the way out of this network, then try again",
        }.get(type(problem), "compare the settings with docs/vendors")
        found.append(Finding("credentials", connection.name, Level.PROBLEM, str(problem), advice))
        return False
    found.append(Finding("credentials", connection.name, Level.OK, who))
    return True


def _fields(found: list[Finding], connection: Connection) -> None:
    if Can.DESCRIBE not in connection.connector.can:
        return
    try:
        schema = connection.connector.describe(connection.kind)
    except Problem as problem:
        found.append(Finding("fields", connection.name, Level.WARN, str(problem), "try again later"))
        return
    misfits = mapping.check_against(connection.map, schema)
    for misfit in misfits:
        level = Level.PROBLEM if misfit.level == "error" else Level.WARN
        advice = "correct the mapping, or make the field at the vendor"
        found.append(Finding("fields", connection.name, level, str(misfit), advice))
    if not misfits:
        found.append(Finding("fields", connection.name, Level.OK, "the account has every field of the mapping"))


def _vendor_clock(found: list[Finding], one: ConnectionConfig, env: Mapping[str, str]) -> None:
    kind = connectors.find()[one.connector]
    url = kind.base_url(connection_settings(one, {s.name: s.secret for s in kind.settings}, env))
    asked = clock.now()
    try:
        answer = _asked("HEAD", url, internal=one.internal)  # without credentials: whatever it answers, it says when
        theirs = parsedate_to_datetime(answer.headers["date"])  # RFC 9110, 6.6.1
    except (httpx.HTTPError, NeedsHuman, KeyError, ValueError):
        return
    if theirs.tzinfo is not None:
        _clock(found, one.name, theirs, asked)


def _asked(method: str, url: str, *, internal: bool) -> httpx.Response:
    """An answer, by the way that calls to vendors go.  httpx.HTTPError, NeedsHuman for where none may lead."""
    way = transport(httpx.URL(url).host, internal=internal, connections=1)
    with httpx.Client(transport=way, timeout=TIMEOUT) as client:
        return client.request(method, url)


def _webhooks(found: list[Finding], settings: Settings, config: Config, *, offline: bool) -> None:
    area = "webhooks"
    public = config.public_url if config.public_url is not None else settings.public_url
    taking = [c.name for c in config.connections if _takes(c)]
    if not taking:
        return
    if public is None:
        message = "public_url is not set: vendors cannot be told where to send webhooks"
        advice = "set public_url in tandem.yml; until then changes are found by polling only"
        found.append(Finding(area, "public_url", Level.WARN, message, advice))
        return
    parts = urlsplit(public)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        advice = "write it as https://tandem.example.com"
        found.append(Finding(area, "public_url", Level.PROBLEM, "not scheme and host alone", advice))
        return
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        advice = "put a proxy with a certificate before Tandem; vendors insist on https"
        found.append(Finding(area, "public_url", Level.PROBLEM, "not https", advice))
    if not offline and not _reachable(found, public.rstrip("/")):
        return
    base = public.rstrip("/")
    found += [Finding(area, n, Level.OK, f"the vendor sends to {base}/webhooks/{n}") for n in taking]


def _takes(config: ConnectionConfig) -> bool:
    kind = connectors.named(config.connector)
    return kind is not None and Can.WEBHOOK in kind.can


def _reachable(found: list[Finding], public: str) -> bool:
    try:
        answer = _asked("GET", f"{public}/health/live", internal=True)
        message = None if answer.status_code == 200 else f"answers {answer.status_code} at /health/live"
    except NeedsHuman as error:
        message = str(error)
    except httpx.HTTPError as error:
        message = f"cannot be reached from here ({type(error).__name__})"
    if message is not None:
        advice = "start `tandem serve`, and check DNS, the proxy and the firewall in between"
        found.append(Finding("webhooks", "public_url", Level.PROBLEM, message, advice))
    return message is None


def worst(findings: list[Finding]) -> Level:
    """The worst level among them."""
    order = list(Level)
    return max((f.level for f in findings), key=order.index, default=Level.OK)


def lines(findings: list[Finding]) -> Iterator[dict[str, str | None]]:
    """The findings as JSON values."""
    for f in findings:
        yield {"area": f.area, "subject": f.subject, "level": f.level, "message": f.message, "advice": f.advice}
