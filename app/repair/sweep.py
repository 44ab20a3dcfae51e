"""Look for doubles among everything that is stored, and propose them; nothing is linked by it.

Contacts are read in the order of their ids, filed under their keys, and compared with the older ones that share some
(``looking``): so each pair is looked at once.  Cut off, it goes on behind the last batch, since position and proposals
move in one transaction, and to file a contact twice changes nothing.  What was decided before is never asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import delete, func, insert, select, update

from app.core import tables as t
from app.core.clock import monotonic
from app.core.db import Database, now_ms
from app.core.errors import NotPossible
from app.match.normalise import evidence
from app.records import blocks, proposals
from app.records.proposals import Proposal
from app.repair.looking import KIND, Batch, Known, Lookers, processes_for
from app.sync import identity
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

BATCH: Final = 1_000  # contacts in one transaction

c, r = t.contact.c, t.run.c


@dataclass(slots=True)
class State:
    """How far a sweep is."""

    run: int
    total: int  # contacts there were when it began
    done: int
    proposed: int
    complete: bool = False
    seconds: float = 0.0  # of this process
    here: int = 0  # contacts looked at by this process

    @property
    def rate(self) -> float:
        """Contacts per second."""
        return self.here / self.seconds if self.seconds else 0.0


def sweep(
    database: Database,
    connections: Connections,
    *,
    limit: int | None = None,
    reindex: bool = False,
    processes: int | None = None,
    told: Callable[[State], None] = lambda _: None,
) -> State:
    """Go on with the sweep that is under way, or begin one.

    ``limit``: stop after so many contacts.  ``reindex``: begin anew, without the keys there are; until the end fewer
    people are found by likeness.  ``processes``: how many look beside this one, which reads and stores; 0 = this one
    does all; by default as many as are worth it.  ``told`` is called after each batch.  Raises NotPossible where
    another process is at it.
    """
    state, cursor = database.transact(lambda db: _begun(db, reindex=reindex))
    if processes is None:
        processes = processes_for(min(state.total - state.done, state.total if limit is None else limit), BATCH)
    started = monotonic()
    with Known() as known, Lookers(database, known, connections.weights, processes) as lookers:
        for batch, found in lookers.through(_batches(database, known, cursor, limit)):
            _store(database, state, cursor, batch, found)
            cursor = batch.last if batch.rows else cursor
            state.here += len(batch.rows)
            state.seconds = monotonic() - started
            told(state)
    return state


def _begun(db: Db, *, reindex: bool) -> tuple[State, int]:
    running = select(t.run).where(r.kind == KIND, r.status == "running").order_by(r.id.desc()).with_for_update()
    row = db.execute(running).mappings().first()
    if row is not None and not reindex:
        return State(row["id"], row["total"], row["done"], row["params"]["proposed"]), row["params"]["cursor"]
    if row is not None:
        values = {"status": "failed", "error": "begun anew", "ended_at": now_ms()}
        db.execute(update(t.run).where(r.kind == KIND, r.status == "running").values(**values))
    if reindex:
        db.execute(delete(t.block))
    total: int = db.execute(select(func.count()).select_from(t.contact).where(c.merged_into.is_(None))).scalar_one()
    new = {"kind": KIND, "params": {"cursor": 0, "proposed": 0}, "status": "running", "total": total, "done": 0}
    number: int = db.execute(insert(t.run).values(**new, started_at=now_ms()).returning(r.id)).scalar_one()
    log.info("sweep.started", run=number, contacts=total)
    return State(number, total, 0, 0), 0


def _batches(database: Database, known: Known, cursor: int, limit: int | None) -> Iterator[Batch]:
    """The contacts behind a position, filed and known; the last batch says that it is."""
    left = limit
    while left is None or left > 0:
        size = BATCH if left is None else min(BATCH, left)
        query = select(c.id, c.facts).where(c.id > cursor, c.merged_into.is_(None)).order_by(c.id).limit(size)
        with database.read() as db:
            said = {number: evidence(identity.read(facts)) for number, facts in db.execute(query)}
        batch = Batch(list(said), {n: identity.hashed(e) for n, e in said.items()}, ends=len(said) < size)
        known.add(said)
        _file(database, batch)
        yield batch
        if batch.ends:
            return
        cursor, left = batch.last, None if left is None else left - size


def _file(database: Database, batch: Batch) -> None:
    """The keys of a batch, before it is looked at: it and the next ones are found under them."""
    filed = {number: frozenset(of.values()) for number, of in batch.keyed.items()}
    database.transact(lambda db: blocks.refile(db, {}, filed))


def _store(database: Database, state: State, cursor: int, batch: Batch, found: Sequence[Proposal]) -> None:
    """Proposals and position, in one transaction."""
    at = batch.last if batch.rows else cursor

    def work(db: Db) -> int:
        row = db.execute(select(r.status, r.params).where(r.id == state.run).with_for_update()).one()
        if row.status != "running" or row.params["cursor"] != cursor:
            raise NotPossible("another process is at this sweep; let it go on")
        made = proposals.propose(db, found)
        values: dict[str, Any] = {
            "params": {"cursor": at, "proposed": state.proposed + made},
            "done": state.done + len(batch.rows),
        }
        if batch.ends:
            values |= {"status": "done", "total": values["done"], "ended_at": now_ms()}
        db.execute(update(t.run).where(r.id == state.run).values(**values))
        return made

    state.proposed += database.transact(work)
    state.done += len(batch.rows)
    state.complete = batch.ends
    state.total = state.done if batch.ends else max(state.total, state.done)
    if batch.ends:
        log.info("sweep.done", run=state.run, contacts=state.done, proposed=state.proposed)
