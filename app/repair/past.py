"""The history of values, as an undo looks at it: which changes fit, in which order, and what stands in their way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy import Connection as Db

from app.core import tables as t
from app.core.words import STOPPING
from app.records.contacts import chunks

LOOK: Final = 5_000  # rows looked at in one statement
SLACK_MS: Final = 3_600_000  # transactions that ran side by side stored their changes in another order than by time

h, r, n = t.history.c, t.run.c, t.consent.c


@dataclass(frozen=True, slots=True)
class Which:
    """Which changes: all that fit everything that is said."""

    run: int | None = None
    contact: int | None = None
    field: str | None = None
    since: int | None = None  # stored here at this moment or later (ms since 1970)
    connection: str | None = None  # only what came from there

    @property
    def several(self) -> bool:
        """Whether all such changes of a field are meant, not only its last one."""
        return self.run is not None or self.since is not None or self.connection is not None


def making(change: Mapping[str, Any]) -> bool:
    """Whether the contact was made by it."""
    return bool(change["version"] == 1 and change["old"] is None)


def newest(db: Db) -> int:
    """The number of the last change; 0 = there is none."""
    return int(db.execute(select(func.coalesce(func.max(h.id), 0))).scalar_one())


def marked(db: Db, run: int) -> bool:
    """Whether the run's changes carry its number; those of a replay are known by their events."""
    return db.execute(select(r.kind).where(r.id == run)).scalar() != "replay"


def conditions(db: Db, which: Which) -> list[ColumnElement[bool]]:
    """The conditions for a change."""
    found: list[ColumnElement[bool]] = []
    if which.contact is not None:
        found.append(h.contact_id == which.contact)
    if which.field is not None:
        found.append(h.field == which.field)
    if which.since is not None:
        found.append(h.stored_at >= which.since)
    if which.connection is not None:
        found.append(h.source == which.connection)
    if which.run is not None and marked(db, which.run):
        found.append(h.run == which.run)
    elif which.run is not None:
        row = db.execute(select(r.params, r.started_at).where(r.id == which.run)).one()
        found += [h.event >= row.params["first"], h.event < row.params["last"], h.stored_at >= row.started_at]
        if row.params.get("connection") is not None:
            found.append(h.source == row.params["connection"])
    return found


def of_fields(
    db: Db, ids: Sequence[int], names: Collection[str], fits: Sequence[ColumnElement[bool]]
) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """All changes of these fields of these contacts, the newest first; ``fits``: one of those to undo."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    columns = (h.id, h.contact_id, h.version, h.field, h.old, h.new, h.source, h.run)
    for chunk in chunks(ids):
        mine = (h.contact_id.in_(chunk), h.field.in_(sorted(names)))
        those = set(db.execute(select(h.id).where(*mine, *fits)).scalars())
        query = select(*columns).where(*mine).order_by(h.version.desc(), h.id.desc())
        for row in db.execute(query).mappings():
            found[row["contact_id"], row["field"]].append({**row, "fits": row["id"] in those})
    return found


def holding(db: Db, ids: Collection[int]) -> dict[int, dict[str, Mapping[str, Any]]]:
    """What each vendor's record of these contacts is known to hold."""
    k = t.link.c
    found: dict[int, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for chunk in chunks(sorted(ids)):
        query = select(k.contact_id, k.connection, k.shadow).where(k.contact_id.in_(chunk), k.gone_at.is_(None))
        for row in db.execute(query):
            found[row.contact_id][row.connection] = row.shadow
    return found


def asked(db: Db, ids: Collection[int]) -> set[tuple[int, str]]:
    """Contact and field of the conflicts that wait."""
    q = t.conflict.c
    return {
        (row.contact_id, row.field)
        for chunk in chunks(sorted(ids))
        for row in db.execute(select(q.contact_id, q.field).where(q.contact_id.in_(chunk)))
    }


def first(db: Db, since: int | None, last: int) -> int:
    """An id below which every change was stored before ``since``: ids grow with time, but for the span of a step."""
    if since is None:
        return 0
    below, least = -1, last + 1
    while least - below > 1:
        middle = (below + least) // 2
        query = select(h.id, h.stored_at).where(h.id >= middle, h.id < least).order_by(h.id).limit(1)
        row = db.execute(query).one_or_none()
        if row is None or row.stored_at >= since - SLACK_MS:
            least = middle
        else:
            below = row.id
    return max(0, least - 1)


def consents(db: Db, which: Which) -> int:
    """How many words about consent came in the same way, at most ``LOOK``; they are told, not undone."""
    if which.field is not None or which.run is not None:
        return 0
    query = select(n.id).where(n.status.in_([*map(str, STOPPING), "granted"]))
    if which.contact is not None:
        key = t.contact_key.c
        query = query.where(n.address.in_(select(key.value).where(key.contact_id == which.contact)))
    if which.since is not None:
        query = query.where(n.received_at >= which.since)
    if which.connection is not None:
        query = query.where(n.source == which.connection)
    return int(db.execute(select(func.count()).select_from(query.limit(LOOK).subquery())).scalar_one())
