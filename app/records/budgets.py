"""Where the processes that use one connection count their calls together: one row per connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection as Db
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from app.core import tables as t
from app.core.db import Database, now_ms, upsert
from connectors import _shared_budget
from connectors._shared_budget import Used
from connectors.contract import TryLater

T = TypeVar("T")
NOW = now_ms()
b = t.call_budget.c

# A process that is stopped while it holds the row would stop all others: PostgreSQL ends its session instead.
# https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT
_FROZEN = func.set_config("idle_in_transaction_session_timeout", "5000", True)
_ROW = select(b.state, NOW.label("now")).where(b.connection == bindparam("b_connection"))
_LOCKED = _ROW.add_columns(_FROZEN).with_for_update()
_KEEP = (
    update(t.call_budget)
    .where(b.connection == bindparam("b_connection"))
    .values(state=bindparam("b_state"), at=bindparam("b_now"))
)


class Budgets:
    """The ledger of one connection, see ``connectors._shared_budget.Ledger``."""

    def __init__(self, database: Database, connection: str) -> None:
        self._database = database
        self._connection = connection

    def change(self, work: Callable[[str, int], tuple[str, T]]) -> T:
        """Run ``work(state, now)`` alone and keep the state it returns.  TryLater where the database does not let us.

        Short: the row is locked for one statement and the commit, and no call to a vendor happens meanwhile.
        """
        try:
            return self._database.transact(lambda db: self._change(db, work))
        except SQLAlchemyError as error:
            raise TryLater(f"the shared call budget cannot be read: {type(error).__name__}") from None

    def _change(self, db: Db, work: Callable[[str, int], tuple[str, T]]) -> T:
        query = _LOCKED if db.dialect.name == "postgresql" else _ROW
        key = {"b_connection": self._connection}
        row = db.execute(query, key).first()
        if row is None:
            new = upsert(db.dialect.name, t.call_budget).values(connection=self._connection, state="", at=NOW)
            db.execute(new.on_conflict_do_nothing(index_elements=["connection"]))
            row = db.execute(query, key).one()
        state, result = work(row.state, row.now)
        db.execute(_KEEP, {**key, "b_state": state, "b_now": row.now})
        return result


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a connection's rates is taken now."""

    connection: str
    used: list[Used]
    closed_until: int | None  # the vendor asked all to stay away until then
    at: int  # when it was counted last


def standings(db: Db) -> list[Standing]:
    """All connections that are counted together, by name."""
    rows = db.execute(select(b.connection, b.state, b.at, NOW.label("now")).order_by(b.connection)).all()
    found = []
    for row in rows:
        used, closed = _shared_budget.used(row.state, row.now)
        found.append(Standing(row.connection, used, closed, row.at))
    return found
