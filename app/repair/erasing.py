"""What an erasure does to the store: begin, remove, sweep, prove.  The calls to vendors are ``app.repair.erase``'s."""

from __future__ import annotations

import hmac
from collections import Counter
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import Table, delete, insert, select, update

from app.agreement import scores
from app.core import tables as t
from app.core.clock import from_ms
from app.core.db import Database, clock_of, dumps, now_ms, ring
from app.core.errors import NotFound
from app.core.words import Station
from app.records import belongings, blocks, drift, engagements, proposals, tombstones
from app.records import links as pairs
from app.repair import subject
from app.repair.subject import Subject
from app.sync.connection import Connection, Connections
from connectors.contract import Can

NOW = now_ms()
CALLING, SWEEPING, SCRUBBING, DONE, PARTLY = "calling", "sweeping", "scrubbing", "done", "partly"
OPEN: Final = (CALLING, SWEEPING, SCRUBBING)
PENDING, STEP_DONE, BY_HAND, REFUSED = "pending", "done", "by_hand", "refused"

e, p = t.erasure.c, t.erasure_step.c


def able(connection: Connection) -> bool:
    """Whether Tandem may erase there: live, and the connector can."""
    return connection.writes and Can.ERASE in connection.connector.can


def start(db: Db, connections: Connections, address: str, by: str) -> int:
    """Start the erasure of a person; its number.  From now on nobody with the address is made anywhere.

    An erasure of the same address that is not through yet is gone on with.  Raises NotFound as ``subject.find``.
    """
    secret = tombstones.secret(db, connections.erasure_key)
    key_hash = tombstones.digest(secret, address)
    running = db.execute(select(e.id).where(e.key_hash == key_hash, e.status.in_(OPEN))).scalar()
    if running is not None:
        return int(running)
    found = subject.find(db, connections, address)
    now = clock_of(db)
    number: int = db.execute(
        insert(t.erasure)
        .values(
            key_hash=key_hash, requested_at=now, by=by, status=CALLING, due_at=now, subject=found.to_json(), removed={}
        )
        .returning(e.id)
    ).scalar_one()
    for one in sorted(found.addresses):
        _bury(db, tombstones.digest(secret, one), by, now)
    for connection in connections.values():
        if not able(connection):
            why = "only observed: erase there by hand" if Can.ERASE in connection.connector.can else "no such call"
            _step(db, number, connection.name, None, now, BY_HAND, why)
        elif Can.FIND in connection.connector.can:
            _step(db, number, connection.name, None, now)
    for name in sorted(set(found.records) - set(connections)):
        _step(db, number, name, None, now, BY_HAND, "not configured any more: erase there by hand")
    add_records(db, connections, number, found.records)
    ring(db, Station.ERASE)
    return number


def _bury(db: Db, key_hash: str, by: str, now: int) -> None:
    tombstones.bury(db, reason=tombstones.ERASED, actor=by, now=now, key_hash=key_hash)


def _step(
    db: Db,
    number: int,
    connection: str,
    remote_id: str | None,
    now: int,
    status: str = PENDING,
    answer: str | None = None,
) -> None:
    db.execute(
        insert(t.erasure_step).values(
            erasure_id=number,
            connection=connection,
            remote_id=remote_id,
            status=status,
            due_at=now,
            answer=answer,
            answered_at=None if status == PENDING else now,
        )
    )


def add_records(db: Db, connections: Connections, number: int, records: dict[str, list[str]]) -> int:
    """A call for each record that has none yet; how many there are now more.  Its id is refused from now on."""
    now = clock_of(db)
    secret = tombstones.secret(db, connections.erasure_key)
    rows = db.execute(select(p.connection, p.remote_id).where(p.erasure_id == number)).all()
    known = {(row.connection, row.remote_id) for row in rows}
    added = 0
    for name, ids in sorted(records.items()):
        for remote_id in sorted(set(ids)):
            _bury(db, tombstones.digest(secret, f"{name}:{remote_id}"), "erasure", now)
            if name in connections and able(connections[name]) and (name, remote_id) not in known:
                _step(db, number, name, remote_id, now)
                added += 1
    return added


def remove(db: Db, connections: Connections, number: int) -> bool:
    """Every vendor answered: remove the person's rows.  False where there is more to call, or a write is under way."""
    row = db.execute(select(e.subject).where(e.id == number, e.status == CALLING).with_for_update()).one_or_none()
    if row is None:
        return False
    who = Subject.from_json(row.subject)
    ids = sorted(who.contacts)
    w, k = t.work.c, t.link.c
    if db.execute(select(w.contact_id).where(w.contact_id.in_(ids), w.lease.is_not(None), w.due_at > NOW)).first():
        return False
    records = {name: list(found) for name, found in who.records.items()}
    for link in db.execute(select(k.connection, k.remote_id).where(k.contact_id.in_(ids)).with_for_update()):
        records.setdefault(link.connection, []).append(link.remote_id)
    for step in db.execute(select(p.connection, p.remote_id).where(p.erasure_id == number, p.remote_id.is_not(None))):
        records.setdefault(step.connection, []).append(step.remote_id)
    if add_records(db, connections, number, records):
        return False
    removed: Counter[str] = Counter()
    removed["merge"] += _gone(db, t.merge, t.merge.c.winner.in_(ids) | t.merge.c.loser.in_(ids))
    removed["block"] += blocks.remove(db, ids)
    removed["proposal"] += proposals.forget(db, ids)
    removed["disagreement"] += drift.forget(db, ids, records)
    for name, of in records.items():
        removed["alias"] += _gone(db, t.alias, subject.aliases_of(name, of))
    for contact in ids:
        pairs.address_is_of(db, contact, None)
    scores.remove(db, ids)  # counters are about nobody, but a small one would tell
    trusted = (t.canary_contact, t.approval)
    removed["engagement"] += engagements.forget(db, ids, records, who.addresses)
    removed["belonging"] += belongings.forget(db, ids, records)
    around = (t.engagement_sum, t.summary_due, t.timeline_entry)
    agreed = (t.refold, t.disposition, t.lead_step, t.lead, t.clock, t.clock_notice, t.clock_word, t.programme_member)
    by_contact = (
        t.work,
        t.withheld,
        *trusted,
        *agreed,
        t.dead,
        t.conflict,
        t.refusal,
        t.history,
        t.link,
        t.contact_key,
        *around,
    )
    for table in by_contact:
        removed[str(table.name)] += _gone(db, table, table.c.contact_id.in_(ids))
    removed["contact"] += _gone(db, t.contact, t.contact.c.id.in_(ids))
    secret = tombstones.secret(db, connections.erasure_key)
    hashes = [tombstones.digest(secret, a) for a in who.addresses]
    stones = t.tombstone.c  # those of a deletion name the record; those of the erasure do not
    _gone(db, t.tombstone, stones.key_hash.in_(hashes) & (stones.reason == tombstones.DELETED))
    addresses = sorted(who.addresses | who.phones)
    removed["consent"] += _gone(db, t.consent, t.consent.c.address.in_(addresses))
    subject_now = Subject(who.addresses, who.contacts, {n: sorted(set(i)) for n, i in records.items()}, who.phones)
    db.execute(
        update(t.erasure)
        .where(e.id == number)
        .values(status=SWEEPING, subject=subject_now.to_json(), removed=dict(removed))
    )
    return True


def _gone(db: Db, table: Table, where: Any) -> int:
    return db.execute(delete(table).where(where)).rowcount


def sweep(database: Database, number: int) -> None:
    """Remove events and raw deliveries that hold the person's addresses or record ids, some at a time.

    A delivery that speaks of others too goes as a whole: events are read again from the vendor, never from these bytes.
    """
    with database.read() as db:
        row = db.execute(select(e.subject, e.removed).where(e.id == number)).one()
    who = Subject.from_json(row.subject)
    removed = Counter(row.removed)
    for table, hits in subject.mentions(database, who):
        with database.write() as db:
            if table is t.inbox:
                removed["dead"] += _gone(db, t.dead, t.dead.c.event.in_(hits))
            removed[str(table.name)] += _gone(db, table, table.c.id.in_(hits))
    with database.write() as db:
        db.execute(update(t.erasure_step).where(p.erasure_id == number).values(remote_id=None))
        db.execute(
            update(t.erasure).where(e.id == number).values(status=SCRUBBING, subject=None, removed=dict(removed))
        )


def prove(db: Db, connections: Connections, number: int) -> None:
    """Close the erasure with a document of what was done where, and its signature (HMAC-SHA256, hex, detached).

    The document holds no personal data: the address is in it as the keyed hash only.
    """
    row = db.execute(select(t.erasure).where(e.id == number)).mappings().one()
    now = clock_of(db)
    steps = db.execute(select(t.erasure_step).where(p.erasure_id == number).order_by(p.connection, p.id)).mappings()
    systems = [
        {
            "connection": step["connection"],
            "status": step["status"],
            "answer": step["answer"],
            "attempts": step["attempts"],
            "at": _iso(step["answered_at"]),
        }
        for step in steps.all()
    ]
    document = {
        "what": "erasure of one person",
        "erasure": number,
        "key_hash": row["key_hash"],
        "requested_at": _iso(row["requested_at"]),
        "done_at": _iso(now),
        "systems": systems,
        "removed_here": {name: count for name, count in sorted(row["removed"].items()) if count},
        "kept_here": "a keyed hash of the address, so that it is not taken in again",
    }
    whole = all(step["status"] == STEP_DONE for step in systems)
    signature = sign(tombstones.secret(db, connections.erasure_key), document)
    values = {"status": DONE if whole else PARTLY, "proof": {"document": document, "signature": signature}}
    db.execute(update(t.erasure).where(e.id == number).values(**values, done_at=now))


def sign(secret: bytes, document: dict[str, Any]) -> str:
    """The signature of a document: over its JSON with sorted keys and no spaces."""
    return hmac.new(secret, dumps(document).encode(), "sha256").hexdigest()


def _iso(ms: int | None) -> str | None:
    return None if ms is None else from_ms(ms).isoformat(timespec="seconds").replace("+00:00", "Z")


def shown(db: Db, number: int) -> dict[str, Any]:
    """How an erasure stands, without personal data.  Raises NotFound."""
    row = db.execute(select(t.erasure).where(e.id == number)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no erasure {number}")
    steps = db.execute(select(t.erasure_step).where(p.erasure_id == number).order_by(p.id)).mappings().all()
    return {
        "id": number,
        "status": row["status"],
        "by": row["by"],
        "requested_at": from_ms(row["requested_at"]),
        "done_at": from_ms(row["done_at"]) if row["done_at"] is not None else None,
        "systems": [{n: step[n] for n in ("connection", "status", "attempts", "answer")} for step in steps],
        "proof": row["proof"],
    }
