"""Many rows at once are written as one after the other are, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.core import tables as t
from app.core.db import MANY, Database, execute_many, now_ms, upsert

VALUES: list[Any] = [None, "", "Zoë", 0, 12.5, True, [], ["a", None], {"b": {"c": "\N{SNOWMAN}"}}, "null"]


def lines(many: int) -> list[dict[str, Any]]:
    same = {"version": 1, "source": "crm", "rule": "first", "actor": None, "run": None, "stored_at": 9}
    return [
        {
            **same,
            "contact_id": n,
            "field": "city",
            "old": VALUES[n % len(VALUES)],
            "new": VALUES[-n % len(VALUES)],
            "event": n if n % 2 else None,
            "at": n,
        }
        for n in range(many)
    ]


def test_values_of_all_kinds(database: Database) -> None:
    """Objects, nothing, texts that look like JSON: the same as SQLAlchemy writes them."""
    h = t.history.c
    columns = (h.contact_id, h.field, h.old, h.new, h.event, h.at)
    with database.write() as db:
        for line in lines(MANY + 5):
            db.execute(insert(t.history), line)
        one_by_one = db.execute(select(*columns).order_by(h.id)).all()
        db.execute(t.history.delete())
        execute_many(db, insert(t.history), lines(MANY + 5))
        assert db.execute(select(*columns).order_by(h.id)).all() == one_by_one


def test_values_that_the_statement_says_itself(database: Database) -> None:
    """Constants, functions of the database and sums with a value of the row are the same for all."""
    w = t.work.c
    statement = upsert(database.dialect, t.work).values(
        connection=bindparam("b_connection"), contact_id=bindparam("b_contact"), lane=1, gen=1, attempts=0, since=7,
        due_at=now_ms() * 0 + bindparam("b_delay"),
    )  # fmt: skip
    statement = statement.on_conflict_do_update(
        index_elements=["connection", "contact_id"], set_={"gen": w.gen + 4, "since": statement.excluded.since + w.gen}
    )
    rows = [{"b_connection": "crm", "b_contact": n, "b_delay": n} for n in range(MANY)]
    with database.write() as db:
        execute_many(db, statement, rows)
        execute_many(db, statement, rows)
        found = db.execute(select(w.contact_id, w.gen, w.since, w.due_at).order_by(w.contact_id)).all()
    assert found == [(n, 5, 8, n) for n in range(MANY)]


def test_a_change_of_many_rows(database: Database) -> None:
    """By names of one's own for what is looked for and what is written."""
    with database.write() as db:
        execute_many(db, insert(t.history), lines(MANY))
        h = t.history.c
        statement = update(t.history).where(h.contact_id == bindparam("b_id")).values(new=bindparam("b_new"), rule="x")
        execute_many(db, statement, [{"b_id": n, "b_new": {"n": n}} for n in range(MANY)])
        assert db.execute(select(h.new, h.rule).order_by(h.contact_id)).all() == [({"n": n}, "x") for n in range(MANY)]


def test_a_row_that_is_there_already(database: Database) -> None:
    """Is refused as it would be alone, and nothing of the transaction stays."""
    keys = [{"key": "email", "value": f"{n}@x.de", "contact_id": n, "strong": 1} for n in range(MANY)]
    with pytest.raises(IntegrityError), database.write() as db:
        execute_many(db, insert(t.contact_key), [*keys, keys[0]])
    with database.read() as db:
        assert db.execute(select(t.contact_key)).all() == []
