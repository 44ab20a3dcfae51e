"""The only engine and the only commit.

SQLite: one file, WAL, ``synchronous=FULL``, every write transaction BEGIN IMMEDIATE and one after the other (a lock in
this process, the busy time-out between processes), reads beside it.  PostgreSQL: a pool, READ COMMITTED, rows locked
in the order of their keys.  Sources: https://www.sqlite.org/wal.html, https://www.sqlite.org/isolation.html,
https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import orjson
from sqlalchemy import BigInteger, Connection, Engine, Table, bindparam, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.functions import FunctionElement
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random,
    wait_random_exponential,
)

from app.core.errors import ConfigError
from app.core.turnstile import Turnstile
from app.core.words import Station

T = TypeVar("T")

STATEMENTS = 128  # that a connection to SQLite keeps prepared; one with 500 values takes 50 kB
BUSY_MS = 30_000  # how long SQLite waits for another process's write
# A connection of SQLite forgets its pages as soon as another one has written (https://www.sqlite.org/wal.html): only
# the one that writes profits from many, and there are some twenty that read.
WRITER_CACHE_KIB = 20_000
READER_CACHE_KIB = 1_500
MANY = 20  # rows from which it pays to prepare a statement by ourselves
TRIES = 6  # a transaction that lost a race is tried this often in a fresh transaction
# PostgreSQL error codes worth a fresh transaction: serialization_failure, deadlock_detected
# (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_AGAIN = {"40001", "40P01"}
_UNIQUE = "23505"
CHANNEL = "tandem_work"
_RUNG = "tandem.rung"  # in the info of a connection, which outlives the transaction
_NOTIFY = select(func.pg_notify(CHANNEL, bindparam("b_said")))
# A process that is stopped in the middle of a transaction would hold its rows for ever: PostgreSQL ends its session.
# https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT
_FROZEN = "SET idle_in_transaction_session_timeout = '300s'"
# Connection exception, transaction rolled back, insufficient resources, operator intervention, system error.
_UNWELL = {"08", "40", "53", "57", "58"}
_BROKEN = {"OperationalError", "InterfaceError"}  # the driver's own, without a code


class now_ms(FunctionElement[int]):  # noqa: N801 - reads as SQL
    """The database's clock in ms since 1970 UTC: replicas may disagree, the database does not.

    ``statement_timestamp()`` is stable within a statement, so that an index on a due time is used.
    """

    type = BigInteger()
    inherit_cache = True


BIGGEST: Final = 2**63 - 1  # the largest id: both databases keep ids in 64 bits with a sign
NOW_IN: Final = {  # the same in the words of each, for statements that are written by hand
    "postgresql": "(extract(epoch from statement_timestamp()) * 1000)::bigint",
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
}


@compiles(now_ms, "postgresql")
@compiles(now_ms, "sqlite")
def _now(_: now_ms, compiler: SQLCompiler, **__: Any) -> str:
    return NOW_IN[compiler.dialect.name]


_NOW: Final = select(now_ms())


def clock_of(db: Connection) -> int:
    """The database's time, ms since 1970; the one clock that all replicas share."""
    now: int = db.execute(_NOW).scalar_one()
    return now


def dumps(value: Any) -> str:
    """JSON text of a value; keys sorted, so that equal values are equal text.

    PostgreSQL keeps no NUL in text, nor in JSON: it becomes U+FFFD, as for any character that cannot be kept.
    """
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if "\\u0000" in text:
        text = orjson.dumps(_without_nul(value), option=orjson.OPT_SORT_KEYS).decode()
    return text


def loads(text: Any) -> Any:
    """The value of JSON text.  SQLite keeps a bare JSON number as a number, and hands it back as one."""
    return orjson.loads(text) if isinstance(text, (str, bytes)) else text


def without_nul(text: str) -> str:
    """The text as every database can keep it."""
    return text.replace("\x00", "\ufffd")


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return without_nul(value)
    if isinstance(value, dict):
        return {_without_nul(k): _without_nul(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nul(v) for v in value]
    return value


def ring(db: Connection, *stations: Station) -> None:
    """Wake the threads of these stations when the caller's transaction commits: something is there for them to do.

    Those of this process (``Database.heard``), and on PostgreSQL those of all others, by one NOTIFY in that transaction
    however often this is called.  On SQLite other processes look for themselves.
    """
    db.info.setdefault(_RUNG, set()).update(stations)


def upsert(dialect: str, table: Table) -> Any:
    """The dialect's INSERT, which knows ON CONFLICT; ``dialect`` is a connection's ``dialect.name``."""
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)


def execute_many(db: Connection, statement: UpdateBase, rows: Sequence[Mapping[str, Any]]) -> None:
    """Run a statement that returns nothing for each of the rows, which name the same values each.

    On SQLite past what SQLAlchemy does for each row, which takes longer than to write it.
    """
    if db.dialect.name != "sqlite" or len(rows) < MANY:
        db.execute(statement, rows)
        return
    compiled = statement.compile(dialect=db.dialect, column_keys=list(rows[0]))
    names = cast("list[str]", compiled.positiontup)
    parts = [(n, compiled.binds[n].type.dialect_impl(db.dialect).bind_processor(db.dialect)) for n in names]
    fixed = {name: value for name, value in compiled.params.items() if name not in rows[0]}
    db.exec_driver_sql(
        compiled.string,
        [
            tuple([row[n] if prepared is None else prepared(row[n]) for n, prepared in parts])
            for row in (({**fixed, **row} for row in rows) if fixed else rows)
        ],
    )


class Database:
    """The store.  ``url`` is an SQLAlchemy URL: ``sqlite:///tandem.db`` or ``postgresql+psycopg://…``."""

    def __init__(self, url: str, *, pool: int = 12) -> None:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.dialect = parsed.get_backend_name()
        if self.dialect not in {"sqlite", "postgresql"}:
            raise ConfigError(f"database: {self.dialect!r} is not supported; use sqlite:///FILE or postgresql://…")
        self.url = parsed
        self.sender = uuid.uuid4().hex  # by whom a NOTIFY is, so that nobody is woken by himself
        self.heard: Callable[[Collection[str]], object] = bool  # told after a commit for which stations it rang
        self._turnstile = Turnstile()
        self._kept: Connection | None = None
        if self.dialect == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ConfigError("database: an SQLite database needs a file (sqlite:///tandem.db)")
            Path(parsed.database).resolve().parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._sqlite("BEGIN IMMEDIATE", pool=1, cache_kib=WRITER_CACHE_KIB)
            self._reader = self._sqlite("BEGIN", pool=pool, cache_kib=READER_CACHE_KIB)
        else:
            self._writer = self._reader = create_engine(
                parsed,
                pool_size=pool,
                max_overflow=4,
                pool_pre_ping=True,
                hide_parameters=True,  # values of people never reach an error's text
                json_serializer=dumps,
                json_deserializer=loads,
            )
            event.listen(self._writer, "connect", _thaw)

    def __repr__(self) -> str:
        return f"<database {self.url.render_as_string(hide_password=True)}>"

    def _sqlite(self, begin: str, *, pool: int, cache_kib: int) -> Engine:
        engine = create_engine(
            self.url,
            pool_size=pool,
            max_overflow=8,
            connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False, "cached_statements": STATEMENTS},
            json_serializer=dumps,
            json_deserializer=loads,
            hide_parameters=True,  # values of people never reach an error's text
        )

        @event.listens_for(engine, "connect")
        def _connect(raw: Any, _record: Any) -> None:
            raw.isolation_level = None  # the driver must not begin on its own: we say BEGIN, and which
            cursor = raw.cursor()
            for pragma in (
                f"busy_timeout = {BUSY_MS}",
                "synchronous = FULL",
                "foreign_keys = ON",
                "temp_store = MEMORY",
                f"cache_size = -{cache_kib}",
                "journal_size_limit = 67108864",
                "secure_delete = ON",  # what is deleted is overwritten, https://www.sqlite.org/pragma.html
            ):
                cursor.execute(f"PRAGMA {pragma}")
            # Who switches a new file while another one does is turned away at once, whatever the busy time-out says.
            for attempt in _switching():
                with attempt:
                    cursor.execute("PRAGMA journal_mode = WAL")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    @property
    def engine(self) -> Engine:
        """The engine that writes, for migrations."""
        return self._writer

    @contextmanager
    def write(self, *, first: bool = False) -> Iterator[Connection]:
        """One write transaction: committed at the end of the block, rolled back when it raises.

        ``first``: on SQLite, before all others of this process that wait for theirs.
        """
        if self.dialect == "sqlite":
            # An application-side queue is fair; SQLite's busy handler sleeps, and its p99 is three times as long.
            # One connection, kept: to take it out of its pool and put it back takes as long as a small commit.
            with self._turnstile.through(first=first):
                connection = self._hold()
                connection.info.pop(_RUNG, None)
                with connection.begin():
                    yield connection
                rung = connection.info.pop(_RUNG, ())
        else:
            with self._writer.begin() as connection:
                connection.info.pop(_RUNG, None)
                yield connection
                rung = connection.info.pop(_RUNG, ())
                if rung:
                    connection.execute(_NOTIFY, {"b_said": " ".join([self.sender, *sorted(rung)])})
        if rung:
            self.heard(rung)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; sees one state of the store on SQLite, committed rows on PostgreSQL."""
        with self._reader.connect() as connection:
            yield connection

    def _hold(self) -> Connection:
        if self._kept is None:
            self._kept = self._writer.connect()
        return self._kept

    def transact(self, work: Callable[[Connection], T], *, first: bool = False) -> T:
        """Run ``work`` in one write transaction; after a lost race (unique key, deadlock) again in a fresh one.

        ``first``: as ``write`` has it.
        """
        try:  # nearly always the only try: the machinery for others costs as much as a row
            with self.write(first=first) as connection:
                return work(connection)
        except Exception as error:
            if not _lost_race(error):
                raise
        for attempt in Retrying(
            retry=retry_if_exception(_lost_race),
            stop=stop_after_attempt(TRIES - 1),
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            reraise=True,
        ):
            with attempt, self.write(first=first) as connection:
                return work(connection)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def scrub(self) -> bool:
        """Leave no bytes of deleted rows in the file of an SQLite database; False while a reader is in the way.

        The file is written anew (VACUUM) and the log cut to nothing; writers wait for as long.  PostgreSQL overwrites
        the room of deleted rows in its own time (autovacuum), which cannot be hurried without locking the tables.
        https://www.sqlite.org/lang_vacuum.html, https://www.sqlite.org/pragma.html#pragma_wal_checkpoint
        """
        if self.dialect != "sqlite":
            return True
        with self._turnstile.through():
            cursor = self._hold().connection.cursor()
            cursor.execute("PRAGMA temp_store = FILE")  # the copy may be larger than the memory
            try:
                cursor.execute("VACUUM")
                busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError:
                return False
            finally:
                cursor.execute("PRAGMA temp_store = MEMORY")
                cursor.close()
        return not busy

    @contextmanager
    def alone(self) -> Iterator[sqlite3.Connection]:
        """The driver's connection that writes to an SQLite file, outside a transaction and for one thread alone."""
        if self.dialect != "sqlite":
            raise TypeError("only SQLite has a file")
        with self._turnstile.through():
            raw = self._hold().connection.driver_connection
            if not isinstance(raw, sqlite3.Connection):
                raise TypeError("not an SQLite connection")
            yield raw

    def close(self) -> None:
        """Close every connection."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self._writer.dispose()
        self._reader.dispose()


def _thaw(raw: Any, _record: Any) -> None:
    raw.autocommit = True
    raw.execute(_FROZEN)
    raw.autocommit = False


def _busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _switching() -> Retrying:
    return Retrying(
        retry=retry_if_exception(_busy),
        stop=stop_after_delay(BUSY_MS / 1000),
        wait=wait_random(0.01, 0.1),
        reraise=True,
    )


def unwell(error: BaseException) -> bool:
    """Whether the database itself is in trouble (away, full, shutting down), so that no row is to blame.

    Classes 08, 40, 53, 57 and 58 of PostgreSQL's error codes, and what has none since the connection broke; of
    SQLite's, all that are operational.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.OperationalError):
        return True
    state = getattr(cause, "sqlstate", None)
    if state is None:
        return isinstance(error, DBAPIError) and (error.connection_invalidated or type(cause).__name__ in _BROKEN)
    return str(state)[:2] in _UNWELL


def _lost_race(error: BaseException) -> bool:
    """Also of the driver's own errors: the door speaks to it directly."""
    if isinstance(error, (IntegrityError, sqlite3.IntegrityError)):
        return True
    state = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)
    return state in _AGAIN or state == _UNIQUE
