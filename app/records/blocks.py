"""Blocks at rest: under which hashed keys a contact is found when no address says who it is.

A key is the first eight bytes of BLAKE2b (RFC 7693) of its text, as a signed number: narrow rows, and no names in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, delete, text

from app.core import tables as t
from app.core.db import dumps, loads
from app.core.words import Value
from app.records.contacts import chunks

b = t.block.c

# One statement for a whole batch; each key reads at most so many rows of the index, the newest contacts first.
_SQLITE = text(
    "SELECT j.value AS key, (SELECT json_group_array(contact_id) FROM (SELECT contact_id FROM block "
    "WHERE key = j.value ORDER BY contact_id DESC LIMIT :most)) AS contacts FROM json_each(:keys) AS j"
)
_SQLITE_OLDER = text(
    "SELECT j.value AS key, (SELECT json_group_array(contact_id) FROM (SELECT contact_id FROM block "
    "WHERE key = j.value AND contact_id < :below ORDER BY contact_id DESC LIMIT :most)) AS contacts "
    "FROM json_each(:keys) AS j"
)
_POSTGRESQL = text(
    "SELECT k.key, array_agg(x.contact_id) AS contacts FROM unnest(CAST(:keys AS bigint[])) AS k(key) "
    "CROSS JOIN LATERAL (SELECT contact_id FROM block WHERE block.key = k.key "
    "ORDER BY contact_id DESC LIMIT :most) AS x GROUP BY k.key"
)

_POSTGRESQL_OLDER = text(
    "SELECT k.key, array_agg(x.contact_id) AS contacts FROM unnest(CAST(:keys AS bigint[])) AS k(key) "
    "CROSS JOIN LATERAL (SELECT contact_id FROM block WHERE block.key = k.key AND contact_id < :below "
    "ORDER BY contact_id DESC LIMIT :most) AS x GROUP BY k.key"
)


# What candidates say, and of whom each was told apart: one statement, since each costs a lookup a tenth of its time.
_SQLITE_KNOWN = text(
    "SELECT contact.id, contact.facts, (SELECT json_group_array(json_array(p.older, p.newer)) FROM proposal AS p "
    "WHERE (p.older = contact.id OR p.newer = contact.id) AND p.status = 'different') AS apart "
    "FROM json_each(:ids) AS j JOIN contact ON contact.id = j.value AND contact.merged_into IS NULL"
)
_POSTGRESQL_KNOWN = text(
    "SELECT contact.id, contact.facts, ARRAY(SELECT ARRAY[p.older, p.newer] FROM proposal AS p "
    "WHERE (p.older = contact.id OR p.newer = contact.id) AND p.status = 'different') AS apart "
    "FROM unnest(CAST(:ids AS bigint[])) AS j(id) JOIN contact ON contact.id = j.id AND contact.merged_into IS NULL"
)


_POSTGRESQL_FILE = text(
    "INSERT INTO block (key, contact_id) SELECT x.key, x.contact_id FROM "
    "unnest(CAST(:keys AS bigint[]), CAST(:contacts AS bigint[])) AS x(key, contact_id) ON CONFLICT DO NOTHING"
)
_SQLITE_FILE = "INSERT INTO block (key, contact_id) VALUES (?, ?) ON CONFLICT DO NOTHING"


def hashed(key: str) -> int:
    """The number of a key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)


def of(db: Connection, keys: Collection[int], most: int) -> dict[int, list[int]]:
    """Contacts under each of the keys, at most ``most``, the newest first; keys without any are left out."""
    return _found(db, _POSTGRESQL if db.dialect.name == "postgresql" else _SQLITE, keys, {"most": most})


def older(db: Connection, keys: Collection[int], below: int, most: int) -> dict[int, list[int]]:
    """As ``of``, but only contacts with a lower number than ``below``."""
    statement = _POSTGRESQL_OLDER if db.dialect.name == "postgresql" else _SQLITE_OLDER
    return _found(db, statement, keys, {"most": most, "below": below})


def _found(db: Connection, statement: TextClause, keys: Collection[int], said: dict[str, int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for chunk in chunks(sorted(keys), 5_000):
        if db.dialect.name == "postgresql":
            rows = db.execute(statement, {**said, "keys": list(chunk)}).all()
            found.update((key, sorted(contacts, reverse=True)) for key, contacts in rows)
        else:
            rows = db.execute(statement, {**said, "keys": dumps(list(chunk))}).all()
            found.update((key, loads(contacts)) for key, contacts in rows)
    return {key: contacts for key, contacts in found.items() if contacts}


def known(
    db: Connection, contacts: Collection[int], fields: Collection[str]
) -> tuple[dict[int, dict[str, Value]], set[tuple[int, int]]]:
    """The values of contacts, of these fields; and the pairs (older, newer) with one of them that are two people.

    Contacts for which another one stands are left out.
    """
    values: dict[int, dict[str, Value]] = {}
    apart: set[tuple[int, int]] = set()
    postgresql = db.dialect.name == "postgresql"
    for chunk in chunks(sorted(contacts)):
        ids: Any = list(chunk) if postgresql else dumps(list(chunk))
        for number, facts, pairs in db.execute(_POSTGRESQL_KNOWN if postgresql else _SQLITE_KNOWN, {"ids": ids}).all():
            values[number] = {name: fact["v"] for name, fact in loads(facts).items() if name in fields}
            apart.update((older, newer) for older, newer in loads(pairs))
    return values, apart


def refile(db: Connection, before: Mapping[int, Iterable[int]], after: Mapping[int, Iterable[int]]) -> None:
    """File contacts under other keys: contact → keys, as they were and as they are."""
    gone, new = [], []
    for contact in sorted({*before, *after}):
        old, now = set(before.get(contact, ())), set(after.get(contact, ()))
        gone += [{"b_key": key, "b_contact": contact} for key in sorted(old - now)]
        new += [(key, contact) for key in now - old]
    new.sort()  # in the order of the keys, or two writers wait for each other
    if gone:
        where = (b.key == bindparam("b_key"), b.contact_id == bindparam("b_contact"))
        db.execute(delete(t.block).where(*where), gone)
    if new:
        _file(db, new)


def _file(db: Connection, rows: Sequence[tuple[int, int]]) -> None:
    if db.dialect.name == "postgresql":  # one statement: row by row the server takes ten times as long
        keys, contacts = zip(*rows, strict=True)
        db.execute(_POSTGRESQL_FILE, {"keys": list(keys), "contacts": list(contacts)})
    else:
        db.exec_driver_sql(_SQLITE_FILE, list(rows))


def remove(db: Connection, contacts: Collection[int]) -> int:
    """Take these contacts out of every block; reads them all, so it is for what happens rarely."""
    return db.execute(delete(t.block).where(b.contact_id.in_(sorted(contacts)))).rowcount
