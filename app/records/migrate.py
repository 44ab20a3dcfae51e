"""Bring the database up to date, and say whether this code works with it.  One chain of migrations for both databases.

Processes of two versions work on one database while a new version is rolled out.  So a migration only adds (expands)
what the older code does not mind; one that takes away (contracts) says so by ``contract``, the oldest revision whose
code works without what it takes, and is applied only where somebody asks for it.  ``migrations/lint.py`` checks that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

import migrations
from app.core import tables as t
from app.core.db import Database, upsert
from app.core.errors import ConfigError

if TYPE_CHECKING:
    from alembic.config import Config

log = structlog.get_logger(__name__)

# Replicas that start together take turns (PostgreSQL's advisory lock; SQLite has one writer anyway).
_LOCK = 0x7A4D_0001
FOLDER: Path = Path(migrations.__file__).resolve().parent
_VERSIONS: Final = "alembic_version"  # Alembic's own table: one row
NEEDS: Final = "schema_needs"  # key in ``meta``: the oldest revision whose code works with these tables
# An ALTER TABLE that waits for a long query holds up everybody behind it: rather give way, and try again.
# https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-LOCK-TIMEOUT
LOCK_TIMEOUT: Final = "3s"
LOCK_TRIES: Final = 20
_LOCK_NOT_AVAILABLE: Final = "55P03"  # https://www.postgresql.org/docs/current/errcodes-appendix.html


@dataclass(frozen=True, slots=True)
class Standing:
    """How the tables stand to this code."""

    current: str | None  # None: an empty database
    head: str
    usable: bool
    why: str | None = None  # what is remarkable, and what to do about it
    waiting: tuple[str, ...] = ()  # contracting migrations that are not applied yet


# Alembic is loaded where something has to be applied, or the tables are not those of this code: most starts have
# nothing to do, and loading it takes a tenth of a second and a dozen megabytes.


def _config(folder: Path) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


@functools.cache
def _chain(folder: Path) -> tuple[tuple[str, str | None], ...]:
    """All revisions, the first first, each with what it says of ``contract``.  They do not change while we run."""
    from alembic.script import ScriptDirectory

    scripts = reversed(list(ScriptDirectory.from_config(_config(folder)).walk_revisions()))
    return tuple((s.revision, getattr(s.module, "contract", None)) for s in scripts)


def head() -> str:
    """The newest revision of the code: migrations are one chain, and their files are numbered and named by them."""
    return _newest(FOLDER)


@functools.cache
def _newest(folder: Path) -> str:
    names = [path.stem for path in (folder / "versions").glob("[0-9]*.py")]
    if not names:
        raise RuntimeError("no migration found: the installation is incomplete")
    return max(names)


def current(database: Database) -> str | None:
    """The revision of the database; None for an empty one."""
    with database.read() as db:
        return _current(db)


def _current(db: Connection) -> str | None:
    if not inspect(db).has_table(_VERSIONS):
        return None
    revision: str | None = db.execute(text(f"SELECT version_num FROM {_VERSIONS}")).scalar()  # noqa: S608 - a constant
    return revision


def _pending(at: str | None) -> Sequence[tuple[str, str | None]]:
    chain = _chain(FOLDER)
    known = [revision for revision, _ in chain]
    return chain if at is None else chain[known.index(at) + 1 :]


def _number(revision: str) -> int:
    number = revision.split("_", 1)[0]
    return int(number) if number.isdecimal() else 0


def standing(database: Database) -> Standing:
    """Whether this code can work with the tables as they are."""
    with database.read() as db:
        at = _current(db)
        if at is None:
            return Standing(None, head(), usable=False, why="it has no tables yet: run `tandem migrate`")
        if at == head():
            return Standing(at, head(), usable=True)
        if at not in dict(_chain(FOLDER)):
            m = t.meta.c
            needs = db.execute(select(m.value).where(m.key == NEEDS)).scalar()
            return _newer(at, needs)
    pending = _pending(at)
    waiting = tuple(revision for revision, contract in pending if contract is not None)
    if len(waiting) < len(pending):
        why = f"its tables are of an older version ({at}; this one needs {head()}): run `tandem migrate`"
        return Standing(at, head(), usable=False, why=why, waiting=waiting)
    why = "nothing older runs any more?  Then `tandem migrate --contract` takes away what is not used any longer"
    return Standing(at, head(), usable=True, why=why if waiting else None, waiting=waiting)


def _newer(at: str, needs: str | None) -> Standing:
    if _number(at) <= _number(head()):
        why = f"its tables are of a version that this one does not know ({at}): is it Tandem's database?"
        return Standing(at, head(), usable=False, why=why)
    if needs is not None and _number(needs) > _number(head()):
        why = (
            f"its tables are of a newer version ({at}), and this one ({head()}) cannot work with them any more: "
            "install the newer Tandem here, or restore the backup that was made before the upgrade"
        )
        return Standing(at, head(), usable=False, why=why)
    why = f"its tables are of a newer version ({at}), with which this one ({head()}) still works: install the newer one"
    return Standing(at, head(), usable=True, why=why)


def upgrade(database: Database, *, contract: bool = False) -> Standing:
    """Apply what is missing, in one transaction: all or nothing; how the tables stand then.

    What takes away is left out, unless ``contract`` says that no older process runs any more, or the database is empty.
    Raises ConfigError where the tables are too new for this code, or where what takes away has to come first.
    """
    if current(database) == head():
        return Standing(head(), head(), usable=True)
    for attempt in Retrying(
        retry=retry_if_exception(_locked_out),
        stop=stop_after_attempt(LOCK_TRIES),
        wait=wait_random(0.5, 2),
        reraise=True,
    ):
        with attempt, database.write() as db:
            if database.dialect == "postgresql":
                db.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                db.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            _apply(db, contract=contract)
    found = standing(database)
    if not found.usable:
        raise ConfigError(f"database: {found.why}")
    if found.current != found.head:
        log.warning("database.version", database=found.current, code=found.head, why=found.why)
    return found


def _apply(db: Connection, *, contract: bool) -> None:
    at = _current(db)
    if at is not None and at not in dict(_chain(FOLDER)):
        return
    todo = list(_pending(at))
    if at is not None and not contract:
        first = next((n for n, (_, needs) in enumerate(todo) if needs is not None), len(todo))
        if any(needs is None for _, needs in todo[first:]):
            raise ConfigError(
                f"database: {todo[first][0]} takes away what older versions use, and comes before what this one needs: "
                "stop every older process, then run `tandem migrate --contract`"
            )
        todo = todo[:first]
    if not todo:
        return
    from alembic import command

    config = _config(FOLDER)
    config.attributes["connection"] = db
    command.upgrade(config, todo[-1][0])
    needs = max((needs for _, needs in todo if needs is not None), key=_number, default=None)
    if needs is not None:
        statement = upsert(db.dialect.name, t.meta).values(key=NEEDS, value=needs)
        db.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"value": statement.excluded.value}))


def _locked_out(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE
