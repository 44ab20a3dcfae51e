"""Claims that were not let in, at rest: the newest of each connection about each field of a contact."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, select

from app.core import tables as t
from app.core.db import upsert

STALE: Final = "stale"  # read, or said, before what is known of the record
TOMBSTONE: Final = "tombstone"  # of somebody whose record was deleted: not taken in again
OTHERS: Final = "belongs_to_another"  # an address that is another contact's
WHOLE: Final = ""
"""The field of a refusal of the whole record."""

r = t.refusal.c


@dataclass(frozen=True, slots=True)
class Refusal:
    """One claim that was not let in.  ``code``: the rule of merging that kept ours, or one of the above."""

    contact_id: int
    field: str
    code: str
    at: int  # ms since 1970, by the source's clock
    event: int | None = None
    value: Any = dataclasses.field(default=None, repr=False)


def keep(db: Connection, connection: str, refused: Iterable[Refusal], now: int) -> None:
    """Remember them; of one field the last counts."""
    rows = {
        (one.contact_id, one.field): {
            "connection": connection,
            "contact_id": one.contact_id,
            "field": one.field,
            "value": one.value,
            "code": one.code,
            "event": one.event,
            "at": one.at,
            "stored_at": now,
        }
        for one in refused
    }
    if not rows:
        return
    statement = upsert(db.dialect.name, t.refusal)
    new = statement.excluded
    db.execute(
        statement.on_conflict_do_update(
            index_elements=["connection", "contact_id", "field"],
            set_={name: new[name] for name in ("value", "code", "event", "at", "stored_at")},
        ),
        [rows[key] for key in sorted(rows)],
    )


def of_contact(db: Connection, contact: int) -> list[RowMapping]:
    """What was refused about a contact, by field and connection."""
    query = select(t.refusal).where(r.contact_id == contact).order_by(r.field, r.connection)
    return list(db.execute(query).mappings())
