"""Finding people by what somebody types: a number, an address, a phone, a name, a record's id at a vendor.

Each is looked up under an index, so that it costs the same however many contacts there are.  A name is found whole,
given and family name in either order, as matching finds it; not by a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.db import BIGGEST
from app.match import keys
from app.match.normalise import evidence
from app.ops.contacts import ContactSummary, chosen
from app.records import blocks
from app.records import contacts as people
from app.sync.connection import Connections, spellings

MOST: Final = 25
k = t.link.c


def found(db: Db, connections: Connections, words: str) -> list[ContactSummary]:
    """The contacts that these words name, at most ``MOST``, in the order of their numbers."""
    words = " ".join(words.split())
    if not words or "\x00" in words:
        return []
    numbers: dict[int, None] = {}
    for one in _numbers(db, connections, words):
        numbers[one] = None
        if len(numbers) == MOST:
            break
    return chosen(db, sorted(numbers))


def _numbers(db: Db, connections: Connections, words: str) -> Iterator[int]:
    if re.fullmatch(r"\d{1,19}", words) and int(words) <= BIGGEST:
        yield int(words)
    if "@" in words:
        having = people.owners(db, [("email", spelled) for spelled in spellings(connections, words)])
        yield from (contact for of in having.values() for contact, _ in sorted(of))
    elif not re.search(r"\s", words):
        own = (k.connection.in_(sorted(connections)), k.kind == "contact", k.remote_id == words)
        yield from db.execute(select(k.contact_id).where(*own).limit(MOST)).scalars()
    wanted = [{"full_name": words}]
    if re.search(r"\d{5}", re.sub(r"[\s()/.-]", "", words)):
        wanted.append({"phone": words})
    for values in wanted:
        marks = {blocks.hashed(key) for key in keys.blocking(evidence(values))}
        for contacts in blocks.of(db, marks, MOST).values():
            yield from contacts
