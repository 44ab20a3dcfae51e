"""The plan as a file, and its approval by a named person: exactly what it shows is written then.

The file is JSON lines: a header, then one line for each order.  An order is approved where the contact, what the vendor
is known to hold and what would be written are still what the plan showed; the others are listed.  Approved orders go
through the ordinary push, which looks once more.  What was approved is remembered, so the same file goes on where it
was cut off.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Any, Final

import orjson
from sqlalchemy import Connection as Db
from sqlalchemy import func, select

from app.core import tables as t
from app.core.db import Database, dumps
from app.core.errors import NotPossible
from app.core.words import Mode
from app.push import trust
from app.push.survey import Change, Line, lines
from app.push.work import FAR
from app.records.contacts import chunks
from app.sync.connection import Connections

VERSION: Final = 1
STEP: Final = 200  # orders approved in one transaction

a, w, s = t.approval.c, t.work.c, t.connection_state.c


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a plan."""

    made_at: str  # ISO 8601, UTC
    orders: int
    mappings: Mapping[str, str]  # connection → digest of the mapping that it was made with
    version: int = VERSION


@dataclass(slots=True)
class Approved:
    """What became of a plan's orders when it was approved."""

    plan: str
    orders: int = 0
    approved: int = 0  # now, or before and not written yet
    written: int = 0  # by an earlier run
    moved: list[tuple[str, int]] = field(default_factory=list)  # connection, contact: not what the plan showed


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an approved plan is."""

    waiting: int  # to be written
    stuck: int  # of those: wait for a person, since a brake is on or the connection rests
    written: int
    moved: int
    failed: int


def write(file: IO[bytes], header: Header, orders: Iterable[Line]) -> None:
    """Write a plan.  It holds values of people."""
    file.write(_json({"tandem_plan": header.version, **_header(header)}))
    for line in orders:
        file.write(to_json(line))


def _header(header: Header) -> dict[str, Any]:
    return {"made_at": header.made_at, "orders": header.orders, "mappings": dict(sorted(header.mappings.items()))}


def to_json(line: Line) -> bytes:
    """A line of the plan, its line end included."""
    shown: dict[str, Any] = {"connection": line.connection, "contact": line.contact, "what": line.what}
    if line.fingerprint is not None:
        shown["fingerprint"] = line.fingerprint
    if line.code is not None:
        shown |= {"code": line.code, "reason": line.reason}
    if line.changes:
        shown["changes"] = [[change.name, change.old, change.new] for change in line.changes]
    return _json(shown)


def of_json(shown: Mapping[str, Any]) -> Line:
    """The other way round."""
    changes = tuple(Change(*change) for change in shown.get("changes", ()))
    return Line(
        shown["connection"],
        shown["contact"],
        shown["what"],
        changes,
        shown.get("fingerprint"),
        code=shown.get("code"),
        reason=shown.get("reason"),
    )


def _json(value: Any) -> bytes:
    return dumps(value).encode() + b"\n"


def read(path: Path) -> tuple[str, Header]:
    """The id of a plan's file and its header, after a look at every line.  Raises NotPossible where it is no plan."""
    digest = hashlib.sha256()
    count = -1
    with path.open("rb") as file:
        for line in file:
            digest.update(line)
            count += 1
            if count == 0:
                header = _read_header(path, line)
    if count < 0:
        raise NotPossible(f"{path}: empty; make a plan with `tandem plan --out {path}`")
    if count != header.orders:
        raise NotPossible(f"{path}: {count:,} of {header.orders:,} orders: it was cut off; make a new plan")
    return digest.hexdigest()[:32], header


def _read_header(path: Path, line: bytes) -> Header:
    try:
        head = orjson.loads(line)
        version = head["tandem_plan"]
        header = Header(head["made_at"], head["orders"], head["mappings"], version)
    except (ValueError, KeyError, TypeError):
        raise NotPossible(f"{path}: not a plan; `tandem plan --out FILE` makes one") from None
    if version != VERSION:
        raise NotPossible(f"{path}: a plan of version {version}; this is Tandem with {VERSION}: make a new plan")
    return header


def _orders(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        next(file, None)
        for line in file:
            yield of_json(orjson.loads(line))


def approve(
    database: Database,
    connections: Connections,
    path: Path,
    by: str,
    progress: Callable[[int], None] = lambda _orders: None,
) -> Approved:
    """Approve what a plan's file shows, some orders at a time.  The same file again goes on where it was cut off.

    Raises NotPossible for a file that is no whole plan, a mapping that is another one by now, or a connection that does
    not write as a canary: one that observes writes nothing, one that is live writes without asking.
    """
    plan_id, header = read(path)
    for name, digest in header.mappings.items():
        one = connections[name]
        if one.mode is not Mode.CANARY:
            raise NotPossible(
                f"{name}: its mode is {one.mode}; set `mode: canary` in tandem.yml, with `canary: {{records: 0}}` for "
                "nothing but this plan"
            )
        if one.map.digest != digest:
            raise NotPossible(f"{name}: its mapping has changed since the plan was made; make a new plan")
    found = Approved(plan_id)
    # A plan is ordered by contact: what belongs to one connection is put together within a few thousand lines only.
    orders = _orders(path)
    while block := list(islice(orders, STEP * 5)):
        block.sort(key=lambda line: (line.connection, line.contact))
        for name, group in groupby(block, key=lambda line: line.connection):
            for some in chunks(list(group), STEP):
                _some(database, connections, found, name, {line.contact: line for line in some}, by)
        progress(found.orders)
    return found


def _some(
    database: Database,
    connections: Connections,
    found: Approved,
    name: str,
    wanted: Mapping[int, Line],
    by: str,
) -> None:
    found.orders += len(wanted)

    def work(db: Db) -> tuple[set[int], set[int], set[int]]:
        query = select(a.contact_id, a.status).where(
            a.connection == name, a.plan == found.plan, a.contact_id.in_(sorted(wanted))
        )
        before = {row.contact_id: row.status for row in db.execute(query)}
        # What was written, or refused by the vendor, is done; what moved may have moved back.
        done = {n for n, status in before.items() if status in {trust.WRITTEN, trust.FAILED}}
        there = {n for n, status in before.items() if status == trust.APPROVED}
        fresh = sorted(set(wanted) - done - there)
        now = {
            line.contact: line.fingerprint
            for line in lines(db, connections[name], connections, fresh)
            if line.fingerprint is not None
        }
        same = {n: mark for n in fresh if (mark := wanted[n].fingerprint) is not None and now.get(n) == mark}
        trust.approve(db, name, found.plan, same, by)
        return done, there | set(same), set(fresh) - set(same)

    done, approved, moved = database.transact(work)
    found.written += len(done)
    found.approved += len(approved)
    found.moved += [(name, n) for n in sorted(moved)]


def standing(db: Db, plan_id: str) -> Standing:
    """How far the plan is."""
    query = select(a.status, func.count()).where(a.plan == plan_id).group_by(a.status)
    counted: Counter[str] = Counter({row[0]: row[1] for row in db.execute(query)})
    waiting = counted[trust.APPROVED]
    stuck = 0
    if waiting:
        parked = (
            select(func.count())
            .select_from(t.approval.join(t.work, (w.connection == a.connection) & (w.contact_id == a.contact_id)))
            .join(t.connection_state, s.name == a.connection)
            .where(a.plan == plan_id, a.status == trust.APPROVED, (w.due_at == FAR) | (s.paused == 1))
        )
        stuck = db.execute(parked).scalar_one()
    return Standing(waiting, stuck, counted[trust.WRITTEN], counted[trust.MOVED], counted[trust.FAILED])


def moved(db: Db, plan_id: str, limit: int) -> list[tuple[str, int, str]]:
    """Orders that were approved and not written after all: connection, contact, why; at most ``limit``."""
    query = (
        select(a.connection, a.contact_id, a.status)
        .where(a.plan == plan_id, a.status.in_((trust.MOVED, trust.FAILED)))
        .order_by(a.connection, a.contact_id)
        .limit(limit)
    )
    return [(row[0], row[1], row[2]) for row in db.execute(query)]
