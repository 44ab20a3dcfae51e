"""What a change costs does not depend on how many people are known.

A day's work is done in a small and in a large store, every statement watched: its plan must read no growing table from
end to end, and it must touch as much in the one as in the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pytest
from sqlalchemy import Connection, bindparam, delete, insert, literal, select

from app.core import leases
from app.core import tables as t
from app.core.clock import now
from app.core.db import Database, now_ms
from app.core.words import Limit
from app.entry import inbox
from app.push import brake
from app.records import tombstones
from app.repair import prune
from connectors.contract import Delivery
from tests.conftest import fresh
from tests.crowd import GROWING, Crowd, counts
from tests.watch import Watch, watching

i = t.inbox.c
SMALL, LARGE, HUGE = 1_000, 20_000, 200_000
# A balanced tree grows by a level for some hundredfold of rows; what a store of one size has in one page lies on two
# in another.  What reads all rows grows by the ratio of the sizes, 20 and 200.
TIMES, MORE = 2.0, {"sqlite": 300, "postgresql": 12}


def day(crowd: Crowd) -> None:
    """Edits at both sides, withdrawals, somebody new, another address, a deletion, a merge, a doubt, an idle look."""
    w, s = crowd.world, crowd.sample
    hub, chimp = w.vendors["hub"], w.vendors["chimp"]
    for n in s[:5]:
        crowd.put("hub", n, {"first": "Bea", "town": "Ulm"})
    for n in s[5:8]:
        crowd.put("chimp", n, {"town": "Kiel"})
    crowd.put("hub", s[8], {"mail": f"new{s[8]}@example.net"})
    hub.put(None, {"mail": "somebody@example.com", "first": "Cleo", "last": "New", "firm": "Acme"})
    hub.put(None, {"mail": "cleo@example.net", "first": "Cleo", "last": "New", "firm": "Acme"})
    chimp.put(None, {"mail": "other@example.com", "first": "Dan", "last": "Old", "mailing": "no"})
    settle(crowd)
    hub.remove(f"hub{s[9]}")
    hub.merge(f"hub{s[10]}", f"hub{s[11]}")
    for n in s[12:15]:
        crowd.put("hub", n, {"mailing": "bounced"})
    settle(crowd)
    with crowd.database.write() as db:
        leases.beat(db, "test")
        leases.renew(db, "test", 60_000)
        tombstones.bury(db, reason="deleted", actor="hub", now=1, key_hash=None, connection="hub", remote_id="nobody")
        long_ago = 1  # nothing is that old; deliveries are left out, which need to know all that waits
        assert prune._events(db, long_ago) == prune._history(db, prune.NOBODY, long_ago) == 0
    w.poll.step()
    assert (w.fetch.step(), w.push.step(), w.erase.step()) == (0, 0, 0), "an idle look finds nothing, and is no work"


def settle(crowd: Crowd) -> None:
    """As processes would: deliveries through the door's writer, then every station until nothing is left."""
    w = crowd.world
    for round_ in range(60):
        crowd.make_due()
        for name, vendor in w.vendors.items():
            events, vendor.events = vendor.events, []
            arrived = inbox.Arrived(name, Delivery("POST", "https://x.example/", {}, b"{}", now()), tuple(events))
            with crowd.database.write() as db:
                inbox.accept(db, [arrived])
        if not (w.fetch.step() or w.push.step()):
            assert round_ > 3
            return
    raise AssertionError("it does not come to rest")


def watched(database: Database, many: int, spoil: str | None = None) -> Watch:
    """A day in a store of so many people; ``spoil``: a statement that makes it a worse one."""
    crowd = Crowd(database, many)
    if spoil is not None:
        with database.write() as db:
            db.exec_driver_sql(spoil)
    with database.read() as db:
        before = counts(db)
    assert before["contact"] == many
    make_due = crowd.make_due  # the tests' own shortcut may read everything: unseen
    with watching(database) as watch:

        def unseen() -> None:
            with watch.paused():
                make_due()

        crowd.make_due = unseen  # type: ignore[method-assign]
        day(crowd)
    assert crowd.town("chimp", crowd.sample[0]) == "Ulm"
    assert crowd.town("hub", crowd.sample[5]) == "Kiel"
    assert f"chimp{crowd.sample[9]}" not in crowd.world.vendors["chimp"].records
    with database.read() as db:
        after = counts(db)
    for table in ("contact", "history", "consent", "inbox", "link", "delivery", "tombstone", "merge"):
        assert after[table] > before[table], table
    return watch


def grown(small: Watch, large: Watch, dialect: str) -> dict[str, str]:
    """Statements that touch more in the larger store: how much in each."""
    found = {}
    few, many = small.each(), large.each()
    for statement in sorted(set(few) & set(many)):
        if many[statement] > TIMES * few[statement] + MORE[dialect]:
            found[statement] = f"{few[statement]:.0f} -> {many[statement]:.0f}"
    return found


@pytest.fixture
def other(database: Database, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A second empty store of the same kind."""
    with fresh(database.dialect, request) as made:
        yield made


def compared(database: Database, other: Database, many: int) -> None:
    small, large = watched(other, SMALL), watched(database, many)
    assert dict(large.scans) == {}, "read from end to end"
    assert grown(small, large, database.dialect) == {}
    assert len(large.times) > 40
    tables = {name for name in GROWING for statement in large.times if f" {name} " in f"{statement} "}
    assert tables >= {"work", "link", "contact", "contact_key", "block", "consent", "history", "inbox", "tombstone"}


def test_a_change_costs_the_same_in_a_larger_store(database: Database, other: Database) -> None:
    """With twenty times the people, each statement goes by an index and touches as much as before."""
    compared(database, other, LARGE)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_change_costs_the_same_in_a_huge_store(database: Database, other: Database) -> None:
    """With two hundred times the people, too."""
    compared(database, other, HUGE)


def judged(database: Database, other: Database, spoil: str | None = None) -> bool:
    """Whether a store of several thousand is found to be as good as a small one."""
    small, large = watched(other, 500, spoil), watched(database, 8_000, spoil)
    return not large.scans and not grown(small, large, database.dialect)


@pytest.mark.heavy
@pytest.mark.parametrize("index", ["ix_work_due", "ix_inbox_pending", "ix_consent_address"])
def test_a_missing_index_is_seen(database: Database, other: Database, index: str) -> None:
    """Guards the guard: without one of the indexes of the hot path the comparison fails."""
    assert not judged(database, other, f"DROP INDEX {index}")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_lane_left_open_is_seen(database: Database, other: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: an idle look that reads all that is not due yet, although its plan names an index."""
    due = select(literal(1)).where(i.connection == bindparam("c"), i.status == "pending", i.due_at <= now_ms()).limit(1)

    def waiting(db: Connection, names: Collection[str]) -> list[str]:
        return [name for name in sorted(names) if db.execute(due, {"c": name}).first() is not None]

    monkeypatch.setattr(inbox, "waiting", waiting)
    assert not judged(database, other)


@pytest.mark.parametrize(
    ("seen", "share", "enough"), [(5, 0.5, True), (6, 0.5, False), (1, 0.1, True), (2, 0.1, False), (1, 0, False)]
)
def test_a_brake_counts_no_more_than_it_has_to(database: Database, seen: int, share: float, enough: bool) -> None:
    """Ten records are known; a further look in the same slice of the window, for no more, counts nothing."""
    with database.write() as db:
        row = {"connection": "hub", "kind": "contact", "shadow": {}, "rev": 1, "written_at": 0, "created_at": 1}
        db.execute(insert(t.link), [{**row, "remote_id": f"r{n}", "contact_id": n} for n in range(10)])
        headcount = brake.Headcount()
        assert headcount.enough(db, "hub", 7, Limit(0, share), seen) is enough
        db.execute(delete(t.link))
        assert headcount.enough(db, "hub", 7, Limit(0, share), seen) is enough
        assert not headcount.enough(db, "hub", 8, Limit(0, share), seen), "another slice counts anew"
