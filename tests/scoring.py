"""Invented leads in a store, worked out as the service does it, for the tests of the scorecard."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import insert, select

from app.agreement import acting, leads
from app.agreement.leads import Known
from app.agreement.scorecard import Span
from app.agreement.versions import Versions
from app.agreement.words import Team
from app.core import tables as t
from app.core.db import Database
from app.records.migrate import upgrade
from app.sync.connection import Connections
from bench.agreement_data import BEGIN, DAY, END, Invented, invent, store
from tests.agreed import shipped

NOBODY = Connections({})
NOW = END + DAY
WHOLE = Span(BEGIN // DAY, END // DAY + 1)


@functools.cache
def invented(count: int, seed: int = 7, acts: float = 4.0) -> tuple[Invented, ...]:
    """So many leads, the same each time."""
    return tuple(invent(count, seed, acts))


class Store:
    """A store under the shipped agreement."""

    def __init__(self, database: Database) -> None:
        self.database = database
        upgrade(database)
        self.known = Known()
        with database.write() as db:
            for team in Team:
                acting.sign(db, shipped(), {}, team, "Kim", since=BEGIN - DAY)

    @property
    def versions(self) -> Versions:
        with self.database.read() as db:
            return self.known.versions(db).versions

    def people(self, some: Iterable[Invented]) -> None:
        """The contacts alone."""
        with self.database.write() as db:
            db.execute(insert(t.contact), [one.contact for one in some])

    def rows(self, rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """What happened to them."""
        with self.database.write() as db:
            store(db, rows)

    def refold(self, ids: Collection[int]) -> None:
        """Work them out, and whoever is marked by that."""
        todo = sorted(ids)
        while todo:
            with self.database.write() as db:
                leads.refold(db, NOBODY, self.known.versions(db), todo[:100], NOW)
                todo = todo[100:]
                if not todo:
                    todo = sorted(db.execute(select(t.refold.c.contact_id)).scalars())
                    db.execute(t.refold.delete())

    def enter(self, some: Sequence[Invented]) -> None:
        """All at once."""
        self.people(some)
        self.rows([row for one in some for row in one.rows])
        self.refold([one.contact["id"] for one in some])

    def counters(self) -> dict[tuple[str, str, str, int], int]:
        """All of them."""
        with self.database.read() as db:
            return {tuple(row[:4]): row.n for row in db.execute(select(t.score))}

    def rounds(self) -> list[tuple[Any, ...]]:
        """All of them, in their order."""
        with self.database.read() as db:
            return sorted(map(tuple, db.execute(select(t.lead_round))))
