"""Accounts, sessions, tokens, failed logins and acts in the store, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core import tables as t
from app.core.db import Database, now_ms
from app.core.errors import NotFound, NotPossible
from app.records import accounts, apitokens, attempts, audit, sessions

HOUR = 3_600_000


def test_accounts(database: Database) -> None:
    """Found by name however it is typed; a name is one account's; a change signs out."""
    with database.write() as db:
        assert not accounts.there_are(db)
        ann = accounts.add(db, " Ann ", "viewer", "hash", "Kim")
        sessions.begin(db, "secret", HOUR, account=ann)
        for taken in ("ANN", "", " ", "x" * 101, "a\nb"):
            with pytest.raises(NotPossible):
                accounts.add(db, taken, "viewer", None, "Kim")
        with pytest.raises(NotFound):
            accounts.known(db, "bo")
    found = sessions.found(database, "secret", HOUR)
    assert found is not None
    assert (found["name"], found["role"], found["account_id"]) == ("ann", "viewer", ann)
    assert sessions.found(database, "another", HOUR) is None
    with database.write() as db:
        accounts.change(db, ann, role="admin")
    assert sessions.found(database, "secret", HOUR) is None
    with database.read() as db:
        assert [row["role"] for row in accounts.listed(db, 10)] == ["admin"]
        assert accounts.listed(db, 10, after=ann) == []


def test_who_a_provider_vouches_for(database: Database) -> None:
    """One account for one subject, whatever it is called; at the same moment, too."""

    def enter(_: int) -> Any:
        return database.transact(lambda db: accounts.provided(db, "https://i.example", "s-1", "Ann", "viewer"))["id"]

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(enter, range(8)))) == 1
    with database.write() as db:
        again = accounts.provided(db, "https://i.example", "s-1", "Ann Smith", "admin")
        other = accounts.provided(db, "https://i.example", "s-2", "ann smith", "viewer")
        odd = accounts.provided(db, "https://i.example", "s-3", "\x00", "viewer")
    assert (again["name"], again["role"], other["name"], odd["name"]) == (
        "ann smith",
        "admin",
        "ann smith (s-2)",
        "s-3",
    )


def test_sessions_end(database: Database) -> None:
    """Idle, in all, by hand, with the account; and are removed."""
    with database.write() as db:
        ann = accounts.add(db, "ann", "viewer", None, "Kim")
        for name, lasts in (("a", HOUR), ("b", HOUR), ("c", -1), ("d", HOUR)):
            sessions.begin(db, name, lasts, account=ann)
        sessions.begin(db, "t", HOUR, account=None, token_hash="hash")
        db.execute(
            update(t.session).where(t.session.c.id == sessions.hashed("b")).values(seen_at=t.session.c.seen_at - HOUR)
        )
        sessions.end(db, "d")
    standing = {name for name in "abcdt" if sessions.found(database, name, HOUR // 2) is not None}
    assert standing == {"a", "t"}
    with database.write() as db:
        assert sessions.forget(db) == 1
        sessions.end_all(db, ann)
        assert len(db.execute(select(t.session.c.id)).all()) == 1


def test_that_a_session_is_used_is_noted(database: Database) -> None:
    """Once a minute, so that looking is not writing."""
    with database.write() as db:
        sessions.begin(db, "a", HOUR, account=None, token_hash="hash")

    def seen(ago: int | None = None) -> Any:
        if ago is not None:
            with database.write() as db:
                db.execute(update(t.session).values(seen_at=now_ms() - ago))
        with database.read() as db:
            before = db.execute(select(t.session.c.seen_at)).scalar_one()
        assert sessions.found(database, "a", HOUR) is not None
        with database.read() as db:
            return db.execute(select(t.session.c.seen_at)).scalar_one() != before

    assert (seen(30_000), seen(90_000)) == (False, True)


def test_tokens_of_programs(database: Database) -> None:
    """Found while they are good; a name is free again once it was revoked."""
    with database.write() as db:
        one = apitokens.add(db, "n8n", "secret", "viewer", ["status"], HOUR, "Kim")
        apitokens.add(db, "old", "late", "viewer", None, -1, "Kim")
        apitokens.add(db, "always", "ever", "viewer", None, None, "Kim")
        with pytest.raises(NotPossible):
            apitokens.add(db, "n8n", "x", "viewer", None, None, "Kim")
    found = apitokens.found(database, "secret")
    assert found is not None
    assert found["scopes"] == ["status"]
    assert [apitokens.found(database, s) is not None for s in ("late", "ever", "none")] == [False, True, False]
    with database.write() as db:
        assert apitokens.revoke(db, one["id"], "Kim")["revoked_by"] == "Kim"
        assert apitokens.revoke(db, one["id"], "Bo")["revoked_by"] == "Kim"
        apitokens.add(db, "n8n", "y", "viewer", None, None, "Kim")
        with pytest.raises(NotFound):
            apitokens.revoke(db, 99, "Kim")
        assert [row["name"] for row in apitokens.listed(db, 2)] == ["n8n", "always"]
    assert apitokens.found(database, "secret") is None


def test_tries_at_the_same_moment_are_all_counted(database: Database) -> None:
    """Each is counted before it is looked at: a burst gets no more than one after the other."""

    def attempt(_: int) -> int:
        return database.transact(lambda db: attempts.count(db, "ann", "192.0.2.1"))

    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(attempt, range(16)))
    assert sum(wait == 0 for wait in waits) == attempts.PAIR
    with database.write() as db:
        attempts.clear(db, "ann", "192.0.2.1")
        assert attempts.count(db, "ann", "192.0.2.1") == 0


def test_acts_and_how_they_ended(database: Database) -> None:
    """The newest first, by pages and by who; one that was cut off has no end."""
    with database.write() as db:
        first = audit.act(db, "person", "ann", 1, "undo", "POST /undo", {"contact": 7})
        audit.end(db, first, "200", {"run": 3})
        second = audit.act(db, "token", "n8n", 2, "operate", "POST /ops/replay", {})
        found = audit.listed(db, 10)
        assert [(a["id"], a["who"], a["target"], a["made"], a["ended"]) for a in found] == [
            (second, "n8n", {}, None, None),
            (first, "ann", {"contact": 7}, {"run": 3}, "200"),
        ]
        assert [a["id"] for a in audit.listed(db, 10, second)] == [first]
        assert [a["id"] for a in audit.listed(db, 10, who="ann", act="undo")] == [first]
        db.execute(update(t.audit).where(t.audit.c.id <= first + 1).values(at=1))
        assert audit.forget(db, 2, 10) == 2
        assert [a["id"] for a in audit.listed(db, 10)] == [second]
