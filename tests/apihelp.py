"""The operations API as its callers see it: an app on a real database, two small vendors, and rows to look at."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import insert, select

from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.words import Mode
from app.ops.api import build_api
from app.ops.metrics import Metrics
from app.ops.replay import Replay
from app.records import state
from app.sync import mapping
from app.sync.connection import Connection, Connections
from connectors.contract import Can, Connector, Limits, Rate, Side

HOUR = 3_600_000
HERE = ("127.0.0.1", 50_000)
LOCAL = "http://127.0.0.1:8000"

MAPPING = """
version: 1
connector: {name}
keys: [email]
fields:
  email: {{theirs: mail, winner: crm, clear: ignored, required: true, read: [{email}], write: [lower_email]}}
  given_name: {{theirs: first, winner: crm, clear: ignored}}
  city: {{theirs: town, winner: marketing, clear: allowed}}
"""


class Reader(Connector):
    """Claims to read and write."""

    name = "reader"
    side = Side.CRM
    can = frozenset({Can.READ, Can.FIND, Can.WRITE})
    limits = Limits(read_batch=100, write_batch=50, rates=(Rate(10, 1.0),), keys={"search": (Rate(4, 1.0),)})
    settings = ()
    hosts = frozenset()


class Deaf(Reader):
    """Claims nothing."""

    name = "deaf"
    side = Side.MARKETING
    can = frozenset()


def new_database(tmp_path: Path) -> Iterator[Database]:
    """An empty SQLite database with all tables."""
    file = tmp_path / "tandem.db"
    file.write_bytes(_empty())
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


@cache
def _empty() -> bytes:
    """The file of such a database: making its tables takes thirty times as long as copying them does."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tandem.db"
        database = Database(f"sqlite:///{file}")
        t.metadata.create_all(database.engine)
        database.scrub()
        database.close()
        return file.read_bytes()


def new_connections() -> Connections:
    """``hub`` can do all, ``chimp`` folds Gmail addresses, ``deaf`` can do nothing."""
    http: Any = None

    def one(name: str, kind: type[Connector], email: str, mode: Mode = Mode.LIVE) -> Connection:
        map_ = mapping.loads(MAPPING.format(name=kind.name, email=email), name)
        return Connection(name, kind.side, mode, kind({}, http), map_)

    return Connections(
        {
            "hub": one("hub", Reader, "lower_email"),
            "chimp": one("chimp", Reader, "gmail_email"),
            "deaf": one("deaf", Deaf, "lower_email", Mode.OBSERVE),
        }
    )


class Api:
    """The app, and a client of it.  ``woken`` counts the wake-ups of the workers."""

    def __init__(self, database: Database, connections: Connections | None = None, **options: Any) -> None:
        self.database = database
        self.connections = new_connections() if connections is None else connections
        self.replay = Replay(database, self.connections)
        self.woken = 0
        with database.write() as db:
            state.ensure(db, self.connections)
        options = {"token": None, "worker_expected": False, **options}
        metrics = Metrics(database, list(self.connections))
        self.app = build_api(database, self.connections, metrics, self.replay, self._wake, **options)

    def _wake(self) -> None:
        self.woken += 1

    def __call__(
        self,
        method: str,
        path: str,
        *,
        client: tuple[str, int] | None = HERE,
        base: str = LOCAL,
        **request: Any,
    ) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=client)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url=base) as http:
                return await http.request(method, path, **request)

        return asyncio.run(send())

    def get(self, path: str, expected: int = 200, /, **params: Any) -> Any:
        """The JSON of an answer that has to have the status ``expected``."""
        answer = self("GET", path, params={k: v for k, v in params.items() if v is not None} or None)
        assert answer.status_code == expected, answer.text
        return answer.json()

    def post(self, path: str, json: Any = None, expected: int = 202, /, **params: Any) -> Any:
        """The JSON of an answer that has to have the status ``expected``."""
        answer = self("POST", path, json=json, params=params)
        assert answer.status_code == expected, answer.text
        return answer.json()

    def walk(self, path: str, limit: int, **params: Any) -> list[list[Any]]:
        """Every page of a list."""
        pages: list[list[Any]] = []
        after = None
        for _ in range(1_000):
            page = self.get(path, limit=limit, after=after, **params)
            pages.append(page["items"])
            after = page["next"]
            if after is None:
                return pages
        raise AssertionError("it does not end")


def token(text: str) -> SecretStr:
    return SecretStr(text)


_numbers = itertools.count(1)

EVENT: Mapping[str, Any] = {
    "connection": "hub",
    "kind": "contact",
    "action": "changed",
    "ref_key": "id",
    "ref_value": "r1",
    "received_at": 1_000,
    "status": "done",
    "due_at": 1_000,
    "attempts": 0,
    "done_at": 2_000,
}


def add(database: Database, table: Any, *rows: Mapping[str, Any]) -> list[Any]:
    """Store rows; their ids where they have one."""
    found = []
    with database.write() as db:
        for row in rows:
            statement = insert(table).values(**row)
            if "id" in table.c:
                found.append(db.execute(statement.returning(table.c.id)).scalar_one())
            else:
                db.execute(statement)
    return found


def add_events(database: Database, *rows: Mapping[str, Any]) -> list[int]:
    """Store events; what is not said is as in ``EVENT``."""
    return add(database, t.inbox, *({**EVENT, "dedupe": f"d{next(_numbers)}", **row} for row in rows))


def add_letters(database: Database, *rows: Mapping[str, Any]) -> list[int]:
    """Store dead letters."""
    usual = {
        "station": "push",
        "connection": "hub",
        "contact_id": 1,
        "code": "refused",
        "reason": "no",
        "next_step": "correct it",
        "attempts": 1,
        "at": 1_000,
    }
    return add(database, t.dead, *({**usual, **row} for row in rows))


def add_contacts(database: Database, *rows: Mapping[str, Any]) -> list[int]:
    """Store contacts; ``values`` become facts."""
    made = []
    for row in rows:
        facts = {
            name: {"v": value, "s": "hub", "t": 1_000, "r": "new", "e": None}
            for name, value in row.get("values", {}).items()
        }
        rest = {name: value for name, value in row.items() if name != "values"}
        made.append({"version": 1, "facts": facts, "created_at": 1_000, "updated_at": 1_000, **rest})
    return add(database, t.contact, *made)


def rows_of(database: Database, table: Any) -> list[dict[str, Any]]:
    """All rows of a table, by id where there is one."""
    with database.read() as db:
        found = [dict(row) for row in db.execute(select(table)).mappings()]
    return sorted(found, key=lambda row: row.get("id", 0))


def now(database: Database) -> int:
    """The database's time."""
    with database.read() as db:
        return clock_of(db)
