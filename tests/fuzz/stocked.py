"""A store in which every list of the API has rows, so that numbers found there are asked for, and the API on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database
from app.core.words import Writes
from app.push import brake
from app.records import alarms, suspended, tombstones
from app.records.migrate import upgrade
from app.repair import erasing, runs
from app.repair.connecting import Connecting
from app.sync.connection import Connections
from connectors.contract import Doing, Kind, Tie
from tests.agreed import put_in_force
from tests.apihelp import Api, add, add_contacts, add_events, add_letters
from tests.around import Around
from tests.authority import PUBLIC, Acme

TOKEN = "fuzz-fuzz-fuzz-fuzz"
PEOPLE = ("ann@example.org", "bob@example.org", "cem@example.org", "dot@example.org")


def stock(database: Database) -> Connections:
    """Fill a database; the connections that it is about."""
    world = Around(database)
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    hub.have(Kind.COMPANY, "c1", {"title": "Acme", "web": "acme.example", "branch": "tools"})
    hub.have(Kind.COLLEAGUE, "k1", {"email": "kim@us.example", "name": "Kim"})
    for number, mail in enumerate(PEOPLE):
        side = hub if number % 2 else chimp
        side.put(None, {"mail": mail, "first": mail[:3].title(), "last": "Ek", "town": "Lund", "job": "Cook"})
        chimp.did(f"a{number}", Doing.CLICK, mail, campaign="Spring")
    world.rest(whole=True)
    holder = hub.holder(PEOPLE[0])
    if holder is None:
        raise AssertionError("nobody came over")
    ties = {Kind.CONTACT: [Tie(holder.id, main=True)], Kind.COMPANY: ["c1"]}
    hub.have(Kind.DEAL, "d1", {"title": "Mills", "stage": "open", "worth": "12.5", "money": "EUR", "owner": "k1"}, ties)
    world.rest(whole=True)
    _waiting(database, world.connections, [row.id for row in world.rows(t.contact)])
    return world.connections


def _waiting(database: Database, connections: Connections, contacts: list[int]) -> None:
    """Everything that waits for a person."""
    add_events(database, {"status": "dead"}, {"status": "pending"}, {"status": "parked", "error": "unreadable"})
    first, second, third, *_ = contacts
    add_letters(database, {"contact_id": first}, {"contact_id": second, "code": "conflict"}, {"station": "sync"})
    usual = {"score": 1.0, "reasons": [], "source": "record", "status": "open", "at": 1_000}
    add(database, t.proposal, {**usual, "older": first, "newer": second}, {**usual, "older": second, "newer": third})
    (loser,) = add_contacts(database, {"values": {"city": "Bonn"}, "merged_into": first})
    add(database, t.merge, {"winner": first, "loser": loser, "by": "hub", "before": {}, "links": [], "at": 1_000})
    conflict = {"field": "city", "connection": "chimp", "ours": None, "theirs": "Bonn", "at": 1_000}
    add(database, t.conflict, *({**conflict, "contact_id": number} for number in (first, second)))
    add(database, t.ruling, {"connection": "chimp", "field": "job_title", "choice": "ours", "by": "Kim", "at": 1_000})
    put_in_force(database, connections, first, second)
    run = {"kind": runs.KIND, "params": asdict(runs.Plan("chimp")), "status": "running", "started_at": 1}
    add(database, t.run, run)
    with database.write() as db:
        db.execute(update(t.connection_state).values(walked_at=1))
        suspended.suspend(db, "hub", {"first": "gone"})
        erasing.start(db, connections, "somebody@example.org", "Kim")
        tombstones.bury(db, reason="deleted", actor="hub", now=1, key_hash=None, connection="hub", remote_id="7")
        brake.put_on(db, "chimp", [brake.Stop(kind, 9, 9, "too many") for kind in (Writes.CREATES, Writes.DELETES)])
        alarms.raised(db, alarms.Kind.SILENCE, "hub", "", "nothing was heard of it")


class Shelf:
    """A stocked store, made once, and copies of it."""

    def __init__(self, folder: Path, postgres: str | None = None) -> None:
        """``postgres``: the URL of a server, without a database; None: SQLite."""
        self._folder, self._postgres = folder, postgres
        self._made = 0
        self._first = self._new()
        database = Database(self._first)
        upgrade(database)
        self._connections = stock(database)
        database.scrub()
        database.close()

    def _new(self, template: str | None = None) -> str:
        self._made += 1
        if self._postgres is None:
            file = self._folder / f"fuzz{self._made}.db"
            if template is not None:
                shutil.copy(template.removeprefix("sqlite:///"), file)
            return f"sqlite:///{file}"
        with psycopg.connect(f"{self._postgres}/postgres", autocommit=True) as db:
            source = "" if template is None else f' TEMPLATE "{template.rpartition("/")[2]}"'
            db.execute(f'CREATE DATABASE "fuzz{self._made}"{source}')
        return f"{self._postgres}/fuzz{self._made}"

    @contextmanager
    def take(self) -> Iterator[Api]:
        """The API on a copy of its own."""
        url = self._new(self._first)
        database = Database(url)
        acme = Acme(database)
        connecting = Connecting(database, {"hub": acme.access}, public_url=PUBLIC)
        options: dict[str, Any] = {"token": SecretStr(TOKEN), "connecting": connecting}
        try:
            yield Api(database, self._connections, **options)
        finally:
            acme.access.authority.close()
            database.close()
            if self._postgres is None:
                Path(url.removeprefix("sqlite:///")).unlink()
