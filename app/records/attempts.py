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
from app.core.db import now_ms, upsert

f = t.login_attempt.c
WINDOW_MS: Final = 15 * 60_000
PAIR, NAME, ADDRESS = 5, 30, 100
BATCH: Final = 500


def _keys(name: str, address: str) -> dict[str, int]:
    texts = {f"pair\n{name}\n{address}": PAIR, f"name\n{name}": NAME, f"address\n{address}": ADDRESS}
    return {sha256(text.encode()).hexdigest(): most for text, most in texts.items()}


def count(db: Db, name: str, address: str) -> int:
    """Count a try before it is made, and say how many ms to wait before another; 0 = this one may be made.

    Counted first and taken back by ``clear``: tries at the same moment cannot all slip through before the first fails.
    """
    now: int = db.execute(select(now_ms())).scalar_one()
    wait = 0
    for key, most in sorted(_keys(name, address).items()):
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
        if failures > most:
            wait = max(wait, since + WINDOW_MS - now)
    return wait


def clear(db: Db, name: str, address: str) -> None:
    """The person proved who it is: nothing is counted against the name, nor this try against the address."""
    pair, whole, place = _keys(name, address)
    db.execute(delete(t.login_attempt).where(f.key.in_([pair, whole])))
    row = t.login_attempt.update().where(f.key == place, f.failures > 0)
    db.execute(row.values(failures=f.failures - 1))


def forget(db: Db) -> int:
    """Remove a batch of counts whose window is over; how many."""
    old = select(f.key).where(f.since < now_ms() - WINDOW_MS).limit(BATCH)
    return db.execute(delete(t.login_attempt).where(f.key.in_(old))).rowcount
