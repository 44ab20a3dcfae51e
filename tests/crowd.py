"""A store as full as one wants: one person goes through the real chain, all others are copies of their rows, by SQL.

Also what a busy store holds besides people: links that wait for a brake, events of a vendor that is away, dead letters,
tombstones, proposals.  So a statement that reads more the more there is shows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import JSON, Connection, Table, select, text, update

from app.core import tables as t
from app.core.db import Database, dumps
from app.core.words import Brake, Likeness, Limit, Writes
from app.push.work import FAR
from connectors.contract import Limits, Record, Side
from tests.test_consent_travels import CONSENT
from tests.world import MAPPED, MAPPING, World

SIDES = {"hub": Side.CRM, "chimp": Side.MARKETING}
MARK = "0000000"  # seven digits that stand for the number of a copy, wherever they stand
AWAY = 2**60  # when what waits for a vendor that is away is due
SOME = 10  # one copy in ten has what few people have
MERGED = 9  # and one in ten was merged into another, those whose number ends so
PLAIN = 7  # who is looked at closely has nothing of that: those whose number ends with 1 to 7
STEP = 100_000  # copies in one statement

# Tables whose rows grow with people and with time.  The others hold a few rows for each connection or process.
GROWING = (
    *("alias", "block", "conflict", "consent", "contact", "contact_key", "dead", "delivery", "history", "inbox"),
    *("link", "merge", "proposal", "tombstone", "withheld", "work"),
)

_FEW: tuple[tuple[Table, dict[str, Any]], ...] = (
    (
        t.work,
        {"connection": "chimp", "lane": 1, "gen": 1, "due_at": FAR, "since": 1, "attempts": 0, "held": "overwrites"},
    ),
    (
        t.work,
        {"connection": "hub", "lane": 0, "gen": 1, "due_at": AWAY, "since": 1, "attempts": 3, "error": "no answer"},
    ),
    (
        t.dead,
        {
            "station": "push",
            "connection": "chimp",
            "event": -1,
            "code": "invalid",
            "reason": "r",
            "next_step": "n",
            "attempts": 1,
            "at": 1,
        },
    ),
    (
        t.tombstone,
        {
            "connection": "hub",
            "remote_id": f"gone{MARK}",
            "key_hash": MARK,
            "reason": "deleted",
            "actor": "hub",
            "at": 1,
        },
    ),
    (t.alias, {"connection": "hub", "kind": "contact", "former": f"old{MARK}", "remote_id": f"hub{MARK}", "at": 1}),
    (t.conflict, {"field": "city", "connection": "hub", "ours": "a", "theirs": "b", "at": 1}),
    (t.withheld, {"connection": "hub", "field": "city", "value": "Ulm", "by": "Kim", "at": 1}),
    (t.proposal, {"score": 3.0, "reasons": [], "source": "sweep", "at": 1}),
    (t.merge, {"by": "hub", "before": {}, "links": [], "at": 1}),
)


class Crowd:
    """A world whose store holds ``many`` people, of whom ``sample`` (numbers) are in the vendors' hands, too."""

    def __init__(self, database: Database, many: int, *, sample: int = 20, waiting: bool = True) -> None:
        """``waiting``: with what waits for a brake and for a vendor that is away."""
        self.database = database
        self.many = many
        self.world = World(database, SIDES, mapping_text=MAPPING + CONSENT, likeness=Likeness.LINK)
        self.world.grant("chimp")
        self.world.deletes(hub=("archive", "archive"), chimp=("archive", "archive"))
        self.world.brake(chimp=Brake(3_600_000, {Writes.OVERWRITES: Limit(1, 0.9), Writes.CREATES: Limit(1, 0.9)}))
        for vendor in self.world.vendors.values():
            vendor.limits = Limits(read_batch=100, find_batch=100, write_batch=100)  # type: ignore[misc]
        self._first()
        self._copies(waiting=waiting)
        plain = many * PLAIN // SOME
        self.sample = [
            k // PLAIN * SOME + k % PLAIN + 1 for k in (1 + n * (plain - 2) // sample for n in range(sample))
        ]
        self._hand_over()

    def _first(self) -> None:
        somebody = {"mail": f"p{MARK}@example.org", "first": "Ann", "last": f"Lee{MARK}", "town": "Bonn"}
        hub = self.world.vendors["hub"]
        hub.put(None, {**somebody, "job": "Cook", "firm": f"F{MARK}"})
        self.world.settle()
        hub.put("hub1", {"mailing": "no"})
        self.world.settle()
        self.records = {name: v.records[f"{name}1"] for name, v in self.world.vendors.items()}

    def _copies(self, *, waiting: bool) -> None:
        with self.database.write() as db:
            if self.database.dialect == "sqlite":
                db.exec_driver_sql("PRAGMA cache_size = -400000")
            tables = (t.contact, t.contact_key, t.block, t.link, t.history, t.consent, t.inbox)
            originals = [(table, dict(row)) for table in tables for row in db.execute(select(table)).mappings()]
        for first in range(2, self.many + 1, STEP):
            last = min(first + STEP - 1, self.many)
            with self.database.write() as db:
                for number, (table, row) in enumerate(originals):
                    copy(db, table, row, first, last, salt=number)
                for number, (table, row) in enumerate(_FEW if waiting else ()):
                    copy(db, table, row, first, last, salt=number, every=SOME)
                if waiting:
                    event = next(row for table, row in originals if table is t.inbox and row["connection"] == "hub")
                    away = {**event, "status": "pending", "due_at": AWAY, "ref_value": f"away{MARK}", "attempts": 2}
                    copy(db, t.inbox, away, first, last, salt=1_000, every=SOME)
        with self.database.write() as db:
            if self.database.dialect == "postgresql":
                db.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('contact', 'id'), {self.many})")
                db.exec_driver_sql("ANALYZE")
            else:
                db.exec_driver_sql("PRAGMA cache_size = -32000")

    def _hand_over(self) -> None:
        for name, vendor in self.world.vendors.items():
            vendor.ids = itertools.count(self.many + 1)
            vendor.events.clear()
            for number in self.sample:
                first = self.records[name]
                fields = {k: numbered(v, number) for k, v in first.fields.items()}
                vendor.records[f"{name}{number}"] = Record(first.kind, f"{name}{number}", fields, first.modified)

    def put(self, name: str, number: int, fields: Mapping[str, Any]) -> None:
        """Change the record of one of the sample at a vendor."""
        self.world.vendors[name].put(f"{name}{number}", fields)

    def make_due(self) -> None:
        """Let what the stations put off be due; what waits for a vendor that is away, or for a person, is not."""
        with self.database.write() as db:
            db.execute(update(t.connection_state).values(next_at=0, poll_due_at=AWAY))
            db.execute(update(t.work).where(t.work.c.due_at < AWAY).values(due_at=0))
            db.execute(update(t.inbox).where(t.inbox.c.status == "pending", t.inbox.c.due_at < AWAY).values(due_at=0))

    def town(self, name: str, number: int) -> Any:
        """Where a vendor thinks that somebody lives."""
        record = self.world.vendors[name].records[f"{name}{number}"]
        return {k: record.fields.get(k) for k in MAPPED}["town"]


def numbered(value: Any, number: int) -> Any:
    """A value of the first person as the copy has it."""
    return value.replace(MARK, f"{number:07d}") if isinstance(value, str) else value


def copy(
    db: Connection, table: Table, row: Mapping[str, Any], first: int, last: int, *, salt: int, every: int = 1
) -> None:
    """Copies ``first`` to ``last`` of a row.  Whatever tells rows apart is made of the copy's number and ``salt``."""
    postgres = db.dialect.name == "postgresql"
    digits = "lpad(n::text, 7, '0')" if postgres else "printf('%07d', n)"
    own = {
        ("contact", "id"): "n",
        ("contact", "merged_into"): f"CASE WHEN n % {SOME} = {MERGED} THEN n - 1 END",
        ("block", "key"): "CAST(:key AS bigint) / 4 + n * 1000003" if postgres else ":key / 4 + n * 1000003",
        ("link", "remote_id"): "CAST(:connection AS text) || n",
        ("inbox", "dedupe"): f"'copy ' || {salt} || ':' || n",
        ("consent", "digest"): f"{salt} || ':' || n",
        ("merge", "winner"): "n",
        ("merge", "loser"): "n - 1",
        ("proposal", "older"): "n - 1",
        ("proposal", "newer"): "n",
        ("proposal", "status"): f"CASE WHEN n % {2 * SOME} = 0 THEN 'open' ELSE 'different' END",
        **{(name, "contact_id"): "n" for name in GROWING},
    }
    said: dict[str, Any] = {}
    chosen: dict[str, str] = {}
    for column in table.columns:
        mine = own.get((table.name, column.name))
        if mine is not None:
            chosen[column.name] = mine
            if f":{column.name}" in mine or ":connection" in mine:
                said |= {k: row[k] for k in (column.name, "connection") if k in row and f":{k}" in mine}
            continue
        value = row.get(column.name)
        if value is None or column.name == "id":
            continue
        chosen[column.name], said[column.name] = _expression(column.type, column.name, value, digits, postgres=postgres)
    series = (
        "generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS s(n)"
        if postgres
        else "(WITH RECURSIVE s(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM s WHERE n < :last) SELECT n FROM s)"
    )
    names = ", ".join(f'"{name}"' for name in chosen)
    statement = f"INSERT INTO {table.name} ({names}) SELECT {', '.join(chosen.values())} FROM {series}"
    if every > 1:
        statement += f" WHERE n % {every} = 0"
    db.execute(text(statement), {**said, "first": first, "last": last})


def _expression(type_: Any, name: str, value: Any, digits: str, *, postgres: bool) -> tuple[str, Any]:
    if isinstance(type_, JSON):
        expression = f"replace(CAST(:{name} AS text), '{MARK}', {digits})"
        return (f"CAST({expression} AS jsonb)" if postgres else expression), dumps(value)
    if isinstance(value, str):
        return f"replace(CAST(:{name} AS text), '{MARK}', {digits})", value
    return f":{name}", value


def counts(db: Connection, tables: Iterable[str] = GROWING) -> dict[str, int]:
    """How many rows there are."""
    return {name: db.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in tables}
