"""What all commands share: exit codes, the configuration, the store, and how data is printed.

Exit codes: 0 all is well; 1 a problem was found; 2 the call or the configuration is wrong, and the message says what to
do.  Data goes to stdout, everything else to stderr.  No command ends in a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import orjson
import structlog
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection as Db
from sqlalchemy import select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from typer.core import TyperGroup

from app import logs
from app.core.clock import from_ms
from app.core.db import Database
from app.core.errors import ConfigError, NotFound, NotPossible
from app.core.settings import Config, Settings, database_url, load_config
from app.core.tables import connection_state
from app.ops.access.auditing import ids
from app.records import audit, migrate, state, suspended

try:  # typer has carried a click of its own since 0.20
    from typer._click.globals import get_current_context
except ImportError:
    from click import get_current_context  # type: ignore[no-redef,assignment,unused-ignore]

if TYPE_CHECKING:
    from app.main import Tandem

log = structlog.get_logger(__name__)

PROBLEM: Final = 1
WRONG: Final = 2

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration file.  Default: TANDEM_CONFIG, else tandem.yml."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
_NAMED: Final[ContextVar[str | None]] = ContextVar("tandem_named", default=None)  # who acts by this command
By = Annotated[str, typer.Option("--by", help="Your name; it is kept.", metavar="NAME")]


class Root(TyperGroup):
    """The group of all commands: turns every error into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        _NAMED.set(None)
        try:
            return super().invoke(ctx)
        except (ConfigError, NotFound) as error:
            wrong(str(error))
        except NotPossible as error:
            say(str(error))
            raise typer.Exit(PROBLEM) from None
        except ValidationError as error:
            wrong(explain(error))
        except (DBAPIError, ArgumentError) as error:
            wrong(unreachable(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            wrong(f"{where}{error.strerror if error.strerror is not None else type(error).__name__}")
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if type(error).__module__.startswith(("typer", "click")):  # usage errors: it prints them itself
                raise
            log.debug("cli.defect", exc_info=error)
            say(
                f"this is a defect of Tandem: {type(error).__name__}: {logs.clean(str(error))}\n"
                "Please report it.  TANDEM_LOG_LEVEL=DEBUG shows where it happened."
            )
            raise typer.Exit(PROBLEM) from None


def wrong(message: str) -> NoReturn:
    """End with exit code 2 and a message that says what to do."""
    say(message)
    raise typer.Exit(WRONG)


def say(message: str) -> None:
    """Tell the person something that is not data: on stderr."""
    for line in logs.clean(message).splitlines():
        typer.echo(f"tandem: {line}", err=True)


def explain(error: ValidationError) -> str:
    """Settings that cannot be used, by their environment variable; never their values."""
    lines = []
    for one in error.errors(include_input=False, include_url=False):
        name = "_".join(str(part) for part in one["loc"]).upper()
        lines.append(f"TANDEM_{name}: {one['msg']}")
    return "\n".join(lines)


def unreachable(error: SQLAlchemyError) -> str:
    """What a database error means for the person at the keyboard; without the statement and its values."""
    if isinstance(error, DBAPIError):
        first = str(error.orig).strip().splitlines()
        return f"database: {first[0] if first else type(error).__name__}; `tandem doctor` looks closer"
    return "database: the URL makes no sense; use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"


def settings_of(config: Path | None, *, quiet: bool = True) -> Settings:
    """The settings, and logging set up accordingly; ``quiet``: warnings at least, for commands that print data."""
    settings = Settings() if config is None else Settings(config=config)
    level = settings.log_level.upper()
    if level not in logs.LEVELS:
        raise ConfigError(f"TANDEM_LOG_LEVEL: {settings.log_level!r} is unknown; known: {', '.join(logs.LEVELS)}")
    if quiet and level == "INFO":
        level = "WARNING"
    logs.set_up(level, json=settings.log_json)
    return settings


def configuration(config: Path | None) -> tuple[Settings, Config]:
    """The settings and ``tandem.yml``."""
    settings = settings_of(config)
    return settings, load_config(settings.config)


def built(settings: Settings, config: Config | None = None) -> Tandem:
    """Everything, built but not started.  Raises ConfigError, also for what a connector says of its settings."""
    from app.main import Tandem  # loads all there is, which most commands do not need

    try:
        return Tandem(settings, load_config(settings.config) if config is None else config)
    except ValueError as error:
        raise ConfigError(str(error)) from None


@contextmanager
def whole(config: Path | None) -> Iterator[Tandem]:
    """Everything, built but not started, on a store that is up to date."""
    tandem = built(settings_of(config))
    try:
        require_current(tandem.database)
        with tandem.database.read() as db:
            tandem.connections.suspend(suspended.fields(db))
        with audited(tandem.database):
            yield tandem
    finally:
        tandem.close()


@contextmanager
def store(settings: Settings, config: Config) -> Iterator[Database]:
    """The store, up to date and with every configured connection entered.  Raises ConfigError where it is not."""
    database = Database(database_url(settings, config), pool=2)
    try:
        require_current(database)
        with database.read() as db:
            entered = set(db.execute(select(connection_state.c.name)).scalars())
        new = [c.name for c in config.connections if c.name not in entered]
        if new:  # only the new ones: entering a connection lifts the pause that Tandem gave it
            with database.write() as db:
                state.ensure(db, new)
        with audited(database):
            yield database
    finally:
        database.close()


@contextmanager
def audited(database: Database) -> Iterator[None]:
    """Enter the command into the audit log, where somebody gave their name (``named``) for what it did.

    Afterwards, as it is known only then: a command holds several acts, or none but a look.
    """
    outcome = "failed"
    try:
        yield
        outcome = "done"
    except typer.Exit:
        outcome = "ended early"
        raise
    finally:
        who, context = _NAMED.get(), get_current_context(silent=True)
        if who is not None and context is not None and not context.params.get("dry_run"):
            what, target = context.command_path, ids(context.params)

            def enter(db: Db) -> None:
                audit.end(db, audit.act(db, "shell", who, None, "command", what, target), outcome)

            database.transact(enter)
            _NAMED.set(None)


def require_current(database: Database) -> None:
    """Raise ConfigError where the store is missing or of another version."""
    file = sqlite_file(database)
    if file is not None and not file.exists():
        raise ConfigError(f"database: there is no {file} yet; `tandem migrate` makes it, and so does `tandem serve`")
    found = migrate.standing(database)
    if not found.usable:
        raise ConfigError(f"database: {found.why}")


def sqlite_file(database: Database) -> Path | None:
    """The file of an SQLite store."""
    if database.dialect != "sqlite" or database.url.database is None:
        return None
    return Path(database.url.database)


def known(config: Config, name: str) -> str:
    """The name, if a connection has it.  Raises ConfigError that lists the names there are."""
    names = [c.name for c in config.connections]
    if name not in names:
        raise ConfigError(f"no connection {name!r}; there are: {', '.join(names) if names else 'none'}")
    return name


def named(by: str) -> str:
    """The name of whoever decides.  Raises BadParameter for a blank one."""
    if not by.strip():
        raise typer.BadParameter("say who you are", param_hint="--by")
    _NAMED.set(by.strip())
    return by.strip()


def print_json(value: Any) -> None:
    """Data for programs: one JSON document on stdout."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str, err: bool = False
) -> None:
    """Data for people; ``err``: what they are to know before they decide.  Cells are never read as markup."""
    if not rows:
        typer.echo(empty, err=err)
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(shown(cell)) for cell in row))
    # Without a terminal nothing is cut to a width that nobody asked for.
    file = sys.stderr if err else sys.stdout
    console = Console(file=file, width=None if file.isatty() else 160)
    console.print(table)


def shown(value: Any) -> str:
    """A value as text; nothing for None."""
    return "" if value is None else str(value)


def moment(ms: int | None) -> str | None:
    """A time of the store in ISO 8601, UTC, whole seconds."""
    return None if ms is None else from_ms(ms).isoformat(timespec="seconds").replace("+00:00", "Z")


def age(ms: int | None) -> str:
    """A duration in words: ``3 s``, ``5 min``, ``2 h``, ``4 d``."""
    if ms is None:
        return ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= 2 * size:
            return f"{ms // size} {unit}"
    return f"{max(0, ms) / 1000:.0f} s"


def listed(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[list[Any]]:
    """The cells of these columns."""
    return [[row[c] for c in columns] for row in rows]
