"""A backup is whole although the store is in use, and an old one, put back, catches up without harm."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, select, update

from app.core import leases
from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import Database
from app.core.errors import ConfigError
from app.records import migrate, state
from app.repair import backup
from connectors.contract import Side
from tests import postgres
from tests.test_consent_travels import CONSENT
from tests.world import MAPPING, START, Vendor, World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize(
    "database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)


def world(database: Database) -> World:
    made = World(database, TWO, mapping_text=MAPPING + CONSENT)
    made.grant("chimp")
    made.deletes(hub=("archive", "archive"), chimp=("archive", "archive"))
    return made


class Kept:
    """A backup of a store of either kind, which can be put back into the same place."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.file = database, folder / "kept"
        if database.dialect == "sqlite":
            backup.back_up(database, self.file)
        else:
            self._run("pg_dump", "--format=custom", f"--file={self.file}", self._url())

    def put_back(self) -> None:
        if self.database.dialect == "sqlite":
            backup.restore(self.database, self.file)
        else:
            self._run(
                "pg_restore", "--clean", "--if-exists", "--exit-on-error", f"--dbname={self._url()}", str(self.file)
            )
            backup.done(self.database)

    def _url(self) -> str:
        return self.database.url.set(drivername="postgresql").render_as_string(hide_password=False)

    @staticmethod
    def _run(program: str, *words: str) -> None:
        path = postgres.binaries() / program
        found = str(path) if path.exists() else shutil.which(program)
        if found is None:
            pytest.skip(f"{program} is not here")
        subprocess.run([found, *words], check=True, capture_output=True, timeout=60)


def read_up(w: World) -> None:
    """Poll from the cursor in the store on, and read what came, as processes do after a restore."""
    while w.poll.step() or w.fetch.step():
        pass
    with w.database.read() as db:
        assert state.behind(db, TWO)[0] == []


def written(vendor: Vendor, since: int) -> list[Any]:
    """The towns that were written there after so many calls."""
    return [order.fields["town"] for call in vendor.calls[since:] for order in call if "town" in order.fields]


def told(w: World) -> dict[str, dict[str, Any]]:
    """What each vendor holds about mailing, by address."""
    return {n: {r.fields["mail"]: r.fields.get("mailing") for r in v.records.values()} for n, v in w.vendors.items()}


def live(w: World) -> dict[str, Any]:
    """What people do before and after the backup; the state that all of it leads to."""
    hub, chimp = w.vendors["hub"], w.vendors["chimp"]
    for n, name in enumerate(("ann", "bo", "cleo", "dan"), 1):
        hub.put(None, {"mail": f"{name}@example.org", "first": name.title(), "last": f"L{n}", "town": "Bonn"})
    w.settle()
    return {"hub": hub, "chimp": chimp}


@pytest.mark.parametrize("gate", [True, False], ids=["ours", "saboteur"])
def test_an_old_backup_catches_up_without_harm(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: bool
) -> None:
    """Made before edits, creations, a withdrawal and a write that waited: all sides end as they were before.

    The saboteur writes before it reads, and so overwrites what was newer there.
    """
    w = world(database)
    both = live(w)
    hub, chimp = both["hub"], both["chimp"]
    hub.put("hub1", {"town": "Ulm"})  # waits for its write while the backup is made
    w.deliver("hub")
    while w.fetch.step():
        pass
    kept = Kept(database, tmp_path)
    w.settle()
    chimp.put("chimp1", {"town": "Kiel"})  # newer than what waited
    hub.put("hub2", {"last": "Changed"})
    chimp.put("chimp3", {"mailing": "no"})  # objects after the backup
    hub.put(None, {"mail": "eve@example.org", "first": "Eve", "last": "L5", "town": "Rome"})  # created there by us
    w.settle()
    for vendor in w.vendors.values():
        vendor.events.clear()
    before = {name: w.people(name) for name in TWO}
    mailing = told(w)
    assert before["hub"] == before["chimp"]
    assert before["hub"]["ann@example.org"]["town"] == "Kiel"
    calls = {name: len(v.calls) for name, v in w.vendors.items()}

    kept.put_back()
    w.start()  # as new processes would
    if not gate:
        monkeypatch.setattr(state, "behind", lambda *_: ([], False))
    w.due()
    for _ in range(5):
        w.push.step()
    if gate:
        assert {name: len(v.calls) for name, v in w.vendors.items()} == calls, "nothing is written before all is read"
    read_up(w)
    w.settle()

    after = {name: w.people(name) for name in TWO}
    if not gate:
        assert "Ulm" in written(chimp, calls["chimp"])
        return
    assert "Ulm" not in written(chimp, calls["chimp"])
    assert after == before
    assert [v.fields["mail"] for v in chimp.records.values()].count("eve@example.org") == 1
    assert told(w) == mailing
    with database.read() as db:
        held = db.execute(select(t.consent.c.status).where(t.consent.c.address == "cleo@example.org")).scalars().all()
    assert "withdrawn" in held
    assert w.settle() == 0
    hub.put("hub4", {"town": "Oslo"})  # and it goes on as usual
    w.settle()
    assert w.people("chimp")["dan@example.org"]["town"] == "Oslo"


@SQLITE
def test_a_withdrawal_is_not_lost_by_a_backup_that_does_not_know_it(database: Database, tmp_path: Path) -> None:
    """The vendor that was told keeps it, and a restore makes nobody mailable; a later grant needs evidence."""
    w = world(database)
    live(w)
    moment = "2026-01-01T01:00:00+00:00"
    for _ in range(3600):
        next(w.clock)
    chimp = w.vendors["chimp"]
    chimp.put("chimp1", {"mailing": "yes", "signed_up_from": "192.0.2.1", "signed_up_at": moment})
    w.settle()
    kept = Kept(database, tmp_path)
    w.vendors["hub"].put("hub1", {"mailing": "no"})
    w.settle()
    assert chimp.records["chimp1"].fields["mailing"] == "no"
    kept.put_back()
    w.start()
    read_up(w)
    w.settle()
    assert {v.records[f"{n}1"].fields["mailing"] for n, v in w.vendors.items()} == {"no"}


@SQLITE
def test_a_backup_is_whole_while_others_write(database: Database, tmp_path: Path) -> None:
    """Rows that belong together are in it together or not at all, though every step of the copy sees a newer store."""
    with database.write() as db:
        db.execute(insert(t.meta).values(key="filler", value="x" * 9_000_000))
        db.execute(insert(t.meta), [{"key": k, "value": "0"} for k in ("one", "other")])
    m, steps = t.meta.c, []

    def meanwhile(done: int, all_: int) -> None:
        steps.append(done)
        with database.write() as db:
            db.execute(update(t.meta).where(m.key.in_(["one", "other"])).values(value=str(len(steps))))

    found = backup.back_up(database, tmp_path / "copy.db", meanwhile)
    assert len(steps) > 1, "it was not begun anew by each write"
    assert steps == sorted(steps)
    assert len(steps) < 10
    assert (found.contacts, found.revision) == (0, migrate.head())
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("copy")) == ["copy.db"]
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT value FROM meta WHERE key IN ('one', 'other')").fetchall() == [("0",), ("0",)]


@SQLITE
def test_a_damaged_backup_is_refused(database: Database, tmp_path: Path) -> None:
    """Cut off, overwritten in the middle, something else, not there: the store stays as it is."""
    world(database)
    whole = tmp_path / "whole.db"
    backup.back_up(database, whole)
    data = whole.read_bytes()
    (tmp_path / "cut.db").write_bytes(data[: len(data) // 2])
    (tmp_path / "torn.db").write_bytes(data[:8192] + os.urandom(16384) + data[24576:])
    (tmp_path / "other.db").write_bytes(b"not a database at all" * 400)
    with contextlib.closing(sqlite3.connect(tmp_path / "strange.db")) as strange:
        strange.execute("CREATE TABLE x (y)")
    for name in ("cut.db", "torn.db", "other.db", "strange.db", "nowhere.db"):
        with pytest.raises(ConfigError, match=name):
            backup.restore(database, tmp_path / name)
    with pytest.raises(ConfigError, match="is there already"):
        backup.back_up(database, whole)
    assert backup.check(whole).revision == migrate.head()


@SQLITE
def test_nothing_is_restored_under_a_running_process(database: Database, tmp_path: Path) -> None:
    """It is named; where it is gone, what it held is free at once."""
    world(database)
    kept = tmp_path / "kept.db"
    with database.write() as db:
        leases.register(db, "somebody")
    backup.back_up(database, kept)
    with pytest.raises(ConfigError, match=rf"process {os.getpid()} on .* works on this database: stop it first"):
        backup.restore(database, kept)
    with database.write() as db:
        leases.sign_off(db, "somebody")
    backup.restore(database, kept)
    with database.read() as db:
        assert db.execute(select(t.worker)).all() == [], "the worker that the backup knew runs no more"


def test_a_connection_that_rests_holds_up_itself_only(database: Database) -> None:
    """Others go on once they were read; when it goes on, it is read first, and everybody waits for it."""
    world(database)
    with database.write() as db:
        state.restored(db)
        state.pause(db, "hub", "moving", by="Kim")
        assert state.behind(db, TWO) == (["chimp"], True)
        db.execute(update(t.connection_state).where(t.connection_state.c.name == "chimp").values(walked_at=1))
        assert state.behind(db, TWO) == ([], True)
        state.resume(db, "hub")
        assert state.behind(db, TWO) == (["hub"], True)
        db.execute(update(t.connection_state).values(walked_at=to_ms(START)))
        assert state.behind(db, TWO) == ([], False)
        state.caught_up(db)
        assert state.behind(db, TWO) == ([], False)


@POSTGRESQL
def test_postgresql_is_left_to_its_own_tools(database: Database, tmp_path: Path) -> None:
    """And the message names them."""
    with pytest.raises(ConfigError, match="pg_dump --format=custom"):
        backup.back_up(database, tmp_path / "x")
    with pytest.raises(ConfigError, match="tandem restore --done"):
        backup.restore(database, tmp_path / "x")
    assert psycopg.__version__
