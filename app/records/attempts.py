"""Failed logins, counted in the store so that all replicas count together.

Three counts, each within a window: of a name from one address, of a name from anywhere, of an address.  The first is
low and stops whoever guesses; the second is higher, so that a stranger does not lock a colleague out by a handful of
tries; the third is higher still, since a proxy gives everybody its own address.
https://cheatsheetseries.owasp.org/cheatsheets/Authentication_Cheat_Sheet.html#login-throttling
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from sqlalchemy import Connection as Db
from sqlalchemy import case, delete, select

from app.core import tables as t
from app.core.db import clock_of, now_ms, upsert

f = t.login_attempt.c
WINDOW_MS: Final = 15 * 60_000
PAIR, NAME, ADDRESS = 5, 30, 100
BATCH: Final = 500


def _keys(name: str, address: str) -> list[tuple[str, int]]:
    """Key and limit; in one order for everybody, so that nobody waits in a ring."""
    texts = [(f"address\n{address}", ADDRESS), (f"name\n{name}", NAME), (f"pair\n{name}\n{address}", PAIR)]
    return [(sha256(text.encode("utf-8", "replace")).hexdigest(), most) for text, most in texts]


def count(db: Db, name: str, address: str) -> int:
    """Count a try before it is made, and say how many ms to wait before another; 0 = this one may be made.

    Counted first and taken back by ``clear``: tries at the same moment cannot all slip through before the first fails.
    """
    now = clock_of(db)
    for key, most in _keys(name, address):
        row = upsert(db.dialect.name, t.login_attempt).values(key=key, failures=1, since=now)
        stale = f.since <= now - WINDOW_MS
        row = row.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "failures": case((stale, 1), else_=f.failures + 1),
                "since": case((stale, now), else_=f.since),
            },
        )
        failures, since = db.execute(row.returning(f.failures, f.since)).one()
        if failures > most:  # and nothing narrower is counted: who floods makes no rows
            return int(since + WINDOW_MS - now)
    return 0


def clear(db: Db, name: str, address: str) -> None:
    """The person proved who it is: nothing is counted against the name, nor this try against the address."""
    (place, _), (whole, _), (pair, _) = _keys(name, address)
    db.execute(delete(t.login_attempt).where(f.key.in_([pair, whole])))
    row = t.login_attempt.update().where(f.key == place, f.failures > 0)
    db.execute(row.values(failures=f.failures - 1))


def forget(db: Db) -> int:
    """Remove a batch of counts whose window is over; how many."""
    old = select(f.key).where(f.since < now_ms() - WINDOW_MS).limit(BATCH)
    return db.execute(delete(t.login_attempt).where(f.key.in_(old))).rowcount
