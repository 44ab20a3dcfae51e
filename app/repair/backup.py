"""Backups of an SQLite store: made while it is in use, looked at, and put back.  PostgreSQL has tools of its own.

After a restore the vendors are ahead of the store.  So nothing is written to any of them until every connection was
read up to the present (``app.records.state.behind``): what was still to be written when the backup was made may be
long outdated.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select, text

from app.core import tables as t
from app.core.db import Database, clock_of, now_ms
from app.core.errors import ConfigError
from app.records import migrate, state

PAGES: Final = 1_000  # copied between two calls of ``progress``: 4 MB
SILENT_MS: Final = 30_000  # a worker that was heard of since runs

Progress = Callable[[int, int], None]
"""Is told pages done and pages in all."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What a backup holds."""

    path: Path
    bytes: int
    revision: str
    contacts: int
    newest_event_at: int | None  # ms since 1970: about when it was made, for a store in use


def back_up(database: Database, target: Path, progress: Progress = lambda _done, _all: None) -> Copy:
    """Copy the store as it is at this moment; the file is checked, and not there before it is whole.

    Others go on reading and writing meanwhile.  Raises ConfigError for PostgreSQL, and where the file is there already.
    """
    _only_sqlite(database, "pg_dump --format=custom --file=FILE DATABASE")
    if target.exists():
        raise ConfigError(f"{target}: is there already; choose another name")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # people's data: for nobody else to read
    try:
        with database.read() as db, closing(sqlite3.connect(part)) as copy:
            # The first read fixes what this connection sees; without it each write of others would begin the copy anew.
            # https://www.sqlite.org/backup.html
            db.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one()
            raw = db.connection.driver_connection
            if not isinstance(raw, sqlite3.Connection):
                raise TypeError("not an SQLite connection")
            raw.backup(copy, pages=PAGES, progress=lambda _status, left, all_: progress(all_ - left, all_))
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, which can be moved
        found = check(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return Copy(target, found.bytes, found.revision, found.contacts, found.newest_event_at)


def check(path: Path) -> Copy:
    """Look whether a file is a whole backup with which this version can work.  Raises ConfigError."""
    with _opened(path) as copy:
        try:
            (result,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
            if result != "ok":
                raise ConfigError(f"{path}: is damaged: {str(result).splitlines()[0]}")
            (revision,) = copy.execute("SELECT version_num FROM alembic_version").fetchone()
            (contacts,) = copy.execute("SELECT count(*) FROM contact").fetchone()
            (newest,) = copy.execute("SELECT max(last_event_at) FROM connection_state").fetchone()
        except (sqlite3.DatabaseError, TypeError) as error:
            raise ConfigError(f"{path}: is no backup of Tandem: {error}") from None
    return Copy(path, path.stat().st_size, revision, contacts, newest)


def restore(database: Database, source: Path, progress: Progress = lambda _done, _all: None) -> Copy:
    """Put a backup in the place of the store, bring its tables up to date, and let every connection be read first.

    One transaction of SQLite: cut off in the middle, the store is as it was.  Raises ConfigError where a worker runs,
    for PostgreSQL, and for a file that is no good.
    """
    _only_sqlite(database, "pg_restore --clean --if-exists --dbname=DATABASE FILE, then `tandem restore --done`")
    found = check(source)
    require_rest(database)
    with _opened(source) as copy, database.alone() as raw:
        copy.backup(raw, pages=-1, progress=lambda _status, left, all_: progress(all_ - left, all_))
    migrate.upgrade(database)
    done(database)
    return found


def done(database: Database) -> None:
    """The store was restored: nothing is written anywhere before every connection was read up to the present.

    Also lets go what was in hand when the backup was made.
    """
    with database.write() as db:
        db.execute(t.worker.delete())
        db.execute(t.lease.delete())
        db.execute(t.work.update().where(t.work.c.lease.is_not(None)).values(lease=None, due_at=now_ms()))
        state.restored(db)


def require_rest(database: Database) -> None:
    """Raise ConfigError where a process works on the store."""
    if migrate.current(database) is None:
        return
    with database.read() as db:
        now = clock_of(db)
        alive = db.execute(select(t.worker.c.host, t.worker.c.pid).where(t.worker.c.beat_at > now - SILENT_MS)).first()
    if alive is not None:
        raise ConfigError(
            f"process {alive.pid} on {alive.host} works on this database: stop it first (or wait "
            f"{SILENT_MS // 1000} s, where it was killed)"
        )


def _only_sqlite(database: Database, instead: str) -> None:
    if database.dialect != "sqlite":
        raise ConfigError(
            f"PostgreSQL is backed up and restored with its own tools: {instead}; see docs/operate.md, Backup"
        )


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise ConfigError(f"{path}: is not there")
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as copy:
        yield copy
