"""Deals at rest, and how each came to where it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select, update

from app.core import tables as t
from app.core.words import Fact
from app.records.contacts import chunks

c = t.deal.c


@dataclass(slots=True)
class Deal:
    """A deal in hand, inside one transaction.  ``id`` 0 = not stored yet."""

    id: int
    version: int
    facts: dict[str, Fact] = field(repr=False)
    created_at: int
    status: str = "open"
    stage: str | None = None
    amount: str | None = None
    currency: str | None = None
    owner_email: str | None = None
    lost_reason: str | None = None
    company_id: int | None = None
    closed_at: int | None = None
    gone_at: int | None = None

    def value(self, name: str) -> Any:
        """The field's value, None where there is none."""
        fact = self.facts.get(name)
        return None if fact is None else fact.value

    @property
    def step(self) -> tuple[Any, ...]:
        """What a step of its history is about."""
        return (self.status, self.stage, self.amount, self.currency)


_PLAIN: Final = (
    *("version", "created_at", "status", "stage", "amount", "currency", "owner_email", "lost_reason"),
    *("company_id", "closed_at", "gone_at"),
)


def load(db: Connection, ids: Collection[int]) -> dict[int, Deal]:
    """The deals of these ids, locked in their order."""
    found: dict[int, Deal] = {}
    for chunk in chunks(sorted(ids)):
        query = select(t.deal).where(c.id.in_(chunk)).order_by(c.id).with_for_update()
        for row in db.execute(query).mappings():
            facts = {name: Fact.from_json(data) for name, data in row["facts"].items()}
            found[row["id"]] = Deal(id=row["id"], facts=facts, **{name: row[name] for name in _PLAIN})
    return found


def create(db: Connection, new: Sequence[Deal], now: int) -> None:
    """Store new deals; sets their ids."""
    if not new:
        return
    statement = insert(t.deal).returning(c.id, sort_by_parameter_order=True)
    rows = [{**_row(x), "updated_at": now} for x in new]
    for deal, number in zip(new, db.execute(statement, rows).scalars().all(), strict=True):
        deal.id = number


_SAVE = (
    update(t.deal)
    .where(c.id == bindparam("b_id"))
    .values({n: bindparam(f"b_{n}") for n in (*_PLAIN, "facts", "updated_at")})
)


def save(db: Connection, changed: Iterable[Deal], now: int) -> None:
    """Store changed deals, which their caller holds locked."""
    rows = [
        {"b_id": x.id, "b_updated_at": now, **{f"b_{n}": v for n, v in _row(x).items()}}
        for x in sorted(changed, key=lambda x: x.id)
    ]
    if rows:
        db.execute(_SAVE, rows)


def _row(deal: Deal) -> dict[str, Any]:
    facts = {name: fact.to_json() for name, fact in deal.facts.items()}
    return {**{name: getattr(deal, name) for name in _PLAIN}, "facts": facts}


def write_steps(db: Connection, steps: Sequence[tuple[Deal, int, int | None]]) -> None:
    """Where these deals are from this moment on: (deal, moment, event)."""
    rows = [
        {
            "deal_id": deal.id,
            "at": at,
            "status": deal.status,
            "stage": deal.stage,
            "amount": deal.amount,
            "currency": deal.currency,
            "event": event,
        }
        for deal, at, event in steps
    ]
    if rows:
        db.execute(insert(t.deal_step), rows)


def gone(db: Connection, ids: Collection[int], now: int) -> None:
    """The vendor has them no more; they stay for the history."""
    for chunk in chunks(sorted(ids)):
        db.execute(update(t.deal).where(c.id.in_(chunk)).values(gone_at=now, updated_at=now))


def set_company(db: Connection, deals: Collection[int], company: int | None) -> None:
    """These deals are of this company."""
    for chunk in chunks(sorted(deals)):
        db.execute(update(t.deal).where(c.id.in_(chunk)).values(company_id=company))
