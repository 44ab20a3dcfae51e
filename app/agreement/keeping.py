"""Retention: what is old goes, and each lead stands as before.

Before the old values of a contact's fields, what was said about its lead, or engagements are removed, the lead is
sealed: all that is known at that moment is kept with it, and later happenings go on from there
(``app.agreement.lifecycle.Seal``).
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection as Db
from sqlalchemy import delete, select

from app.agreement.leads import Known, seal
from app.core import tables as t
from app.core.db import clock_of
from app.records import clocks, leads, merges, programmes
from app.sync.connection import Connections

s, d = t.lead_step.c, t.disposition.c


def before(db: Db, connections: Connections, contacts: Collection[int], cutoff: int) -> None:
    """Seal the leads of these contacts, whose rows from before ``cutoff`` (ms since 1970) are about to be removed."""
    if not contacts or leads.governed_since(db) is None:
        return
    now = clock_of(db)
    ids = {merges.standing_for(db, i) for i in contacts}
    seal(db, connections, Known().versions(db), sorted(leads.load(db, ids)), cutoff, now)


def prune(db: Db, connections: Connections, cutoff: int, batch: int) -> int:
    """Remove some of what was said before ``cutoff``, of the steps that were void by then, and of the memberships that
    were over; how many rows.
    """
    where = (d.received_at < cutoff, d.at < cutoff, d.finding.is_not(None))
    said = db.execute(select(d.id, d.contact_id).where(*where).order_by(d.id).limit(batch)).all()
    before(db, connections, {row.contact_id for row in said}, cutoff)
    if said:
        db.execute(delete(t.disposition).where(d.id.in_([row.id for row in said])))
    void = list(db.execute(select(s.id).where(s.void_at < cutoff).order_by(s.id).limit(batch)).scalars())
    if void:
        db.execute(delete(t.lead_step).where(s.id.in_(void)))
    over = programmes.over(db, cutoff, batch)
    before(db, connections, set(over.values()), cutoff)
    programmes.save(db, [], over)
    return len(said) + len(void) + len(over) + clocks.prune(db, cutoff, batch)
