"""Retention removes what is processed and old, in small batches, and nothing that somebody still needs."""

from __future__ import annotations

import pytest
from sqlalchemy import func, insert, select

from app.core import tables as t
from app.core.db import Database, clock_of
from app.repair import prune
from app.repair.prune import DAY_MS, Prune, Retention


def fill(database: Database, rows: list[tuple[str, int]]) -> None:
    """Events of these statuses, so many days old, each with its delivery."""
    with database.write() as db:
        now = clock_of(db)
        for n, (status, days) in enumerate(rows):
            at = now - days * DAY_MS
            delivery = (at << 20) + n
            event = {
                "connection": "hub",
                "dedupe": str(n),
                "delivery": delivery,
                "kind": "contact",
                "action": "changed",
                "ref_key": "id",
                "ref_value": str(n),
                "received_at": at,
                "status": status,
                "lane": 1,
                "due_at": at,
                "attempts": 0,
                "done_at": None if status == "pending" else at,
            }
            db.execute(insert(t.inbox).values(**event))
            raw = {
                "connection": "hub",
                "received_at": at,
                "method": "POST",
                "path": "/",
                "content_type": "",
                "body": b"x",
            }
            db.execute(insert(t.delivery).values(id=delivery, **raw))


def left(database: Database) -> tuple[int, int]:
    with database.read() as db:
        events = db.execute(select(func.count()).select_from(t.inbox)).scalar_one()
        return events, db.execute(select(func.count()).select_from(t.delivery)).scalar_one()


@pytest.mark.parametrize(
    ("status", "days", "kept"),
    [
        ("done", 31, False),
        ("ignored", 31, False),
        ("done", 29, True),
        ("pending", 400, True),
        ("parked", 400, True),
        ("dead", 400, True),
    ],
)
def test_what_goes_and_what_stays(database: Database, status: str, days: int, kept: bool) -> None:
    """Old and processed goes, with its bytes; everything else stays."""
    fill(database, [(status, days)])
    with database.write() as db:
        prune.prune(db, Retention(events=30))
    assert left(database) == ((1, 1) if kept else (0, 0))


def test_for_ever(database: Database) -> None:
    """Without a retention nothing is removed."""
    fill(database, [("done", 4000)])
    with database.write() as db:
        assert prune.prune(db, Retention(events=None)).total == 0
    assert left(database) == (1, 1)


def test_small_batches_until_nothing_is_left(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is a short transaction; then it rests, and another worker does not begin again."""
    monkeypatch.setattr(prune, "BATCH", 2)
    fill(database, [("done", 40)] * 5)
    station = Prune(database, Retention(events=30), "me", lease_ms=60_000)
    assert [station.step() for _ in range(4)] == [4, 4, 2, 0]
    assert left(database) == (0, 0)
    fill(database, [("done", 40)])
    assert Prune(database, Retention(events=30), "other", lease_ms=60_000).step() == 0
    assert left(database) == (1, 1)


def test_bytes_of_what_is_unprocessed_are_missed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a retention that only looks at age loses the bytes of a pending event."""
    fill(database, [("pending", 400)])
    monkeypatch.setattr(prune, "_deliveries", lambda db, cutoff: db.execute(t.delivery.delete()).rowcount)
    with database.write() as db:
        prune.prune(db, Retention(events=30))
    assert left(database) == (1, 0)
