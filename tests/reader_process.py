"""One of several replicas: a process with a database of its own and a fetch station, before vendors that know the same.

``python -m tests.reader_process URL CONNECTION MANY [blind]``.  Says ``ready``, waits for a line, delivers all that
happened at its connection, and fetches for whichever connection has something until nothing waits.  ``blind``: it does
not ask who owns an address.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select

from app.core import tables as t
from app.core.db import Database
from app.core.retry import Schedule
from app.core.words import Likeness
from app.sync import matching
from app.sync.fetch import Fetch
from app.sync.matching import Match
from connectors.contract import Side
from tests.world import World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}


def persons(many: int) -> Iterator[dict[str, Any]]:
    """New persons, whom both vendors know."""
    for n in range(many):
        yield {"mail": f"p{n}@x{n % 7}.example", "first": f"Given{n}", "last": f"Family{n}", "town": "Lund"}


def fetch(url: str, name: str, many: int, *, blind: bool) -> None:
    if blind:
        matching.choose = lambda *_: Match(None, "new")
        matching.keys_of = lambda *_: ()
    database = Database(url, pool=2)
    w = World(database, TWO, likeness=Likeness.OFF if blind else Likeness.LINK)
    for vendor in w.vendors.values():
        for fields in persons(many):
            vendor.put(None, fields)
    station = Fetch(database, w.connections, f"replica-{os.getpid()}", lease_ms=60_000, schedule=Schedule())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    w.deliver(name)
    i = t.inbox.c
    while True:
        station.step()
        with database.read() as db:
            if not db.execute(select(func.count()).where(i.status == "pending")).scalar_one():
                break
    database.close()


if __name__ == "__main__":
    fetch(sys.argv[1], sys.argv[2], int(sys.argv[3]), blind="blind" in sys.argv[4:])
