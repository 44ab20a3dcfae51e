"""Companies at rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from app.core import tables as t
from app.core.words import Fact
from app.records.contacts import chunks

c = t.company.c


@dataclass(slots=True)
class Company:
    """A company in hand, inside one transaction.  ``id`` 0 = not stored yet."""

    id: int
    version: int
    facts: dict[str, Fact] = field(repr=False)
    domain: str | None = None
    gone_at: int | None = None

    def value(self, name: str) -> Any:
        """The field's value, None where there is none."""
        fact = self.facts.get(name)
        return None if fact is None else fact.value


_COLUMNS = (c.id, c.version, c.facts, c.domain, c.gone_at)


def load(db: Connection, ids: Collection[int]) -> dict[int, Company]:
    """The companies of these ids, locked in their order."""
    found: dict[int, Company] = {}
    for chunk in chunks(sorted(ids)):
        for row in db.execute(select(*_COLUMNS).where(c.id.in_(chunk)).order_by(c.id).with_for_update()):
            facts = {name: Fact.from_json(data) for name, data in row.facts.items()}
            found[row.id] = Company(row.id, row.version, facts, row.domain, row.gone_at)
    return found


def by_domain(db: Connection, domains: Collection[str], most: int) -> dict[str, list[int]]:
    """The companies with these domains; of each domain one more than ``most`` at most."""
    found: dict[str, list[int]] = defaultdict(list)
    for domain in sorted(domains):
        query = (
            select(c.id)
            .where(c.domain == domain, c.merged_into.is_(None), c.gone_at.is_(None))
            .order_by(c.id)
            .limit(most + 1)
        )
        found[domain] = list(db.execute(query).scalars())
    return found


def create(db: Connection, new: Sequence[Company], now: int) -> None:
    """Store new companies; sets their ids."""
    if not new:
        return
    rows = [{**_row(x), "created_at": now, "updated_at": now} for x in new]
    statement = insert(t.company).returning(c.id, sort_by_parameter_order=True)
    for company, number in zip(new, db.execute(statement, rows).scalars().all(), strict=True):
        company.id = number


_SAVE = (
    update(t.company)
    .where(c.id == bindparam("b_id"))
    .values({n: bindparam(f"b_{n}") for n in ("version", "facts", "domain", "gone_at", "updated_at")})
)


def save(db: Connection, changed: Iterable[Company], now: int) -> None:
    """Store changed companies, which their caller holds locked."""
    rows = [
        {"b_id": x.id, "b_updated_at": now, **{f"b_{n}": v for n, v in _row(x).items()}}
        for x in sorted(changed, key=lambda x: x.id)
    ]
    if rows:
        db.execute(_SAVE, rows)


def _row(company: Company) -> dict[str, Any]:
    return {
        "version": company.version,
        "facts": {name: fact.to_json() for name, fact in company.facts.items()},
        "domain": company.domain,
        "gone_at": company.gone_at,
    }


def stands_for(db: Connection, winner: int, loser: int, now: int) -> None:
    """The vendor merged the loser's record into the winner's."""
    db.execute(update(t.company).where(c.id == loser).values(merged_into=winner, updated_at=now))
