"""Look for doubles among everything that is stored, and propose them; nothing is linked by it.

Contacts are read in the order of their ids, filed under their keys, and compared with the older ones that share some:
so each pair is looked at once.  Cut off, it goes on behind the last batch, since position, keys and proposals move in
one transaction.  What was decided before is never asked again.

Memory does not grow with the store: what candidates say of themselves waits in a nameless temporary file, which is gone
with the process.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, delete, func, insert, select, update

from app.core import tables as t
from app.core.clock import monotonic
from app.core.db import Database, now_ms
from app.core.errors import NotPossible
from app.core.words import Fact
from app.match import keys
from app.match.choosing import rank
from app.match.clusters import Edge, clusters
from app.match.normalise import Evidence, evidence
from app.match.score import Band, Score, compare
from app.match.weights import Weights, shipped
from app.records import blocks, proposals
from app.records import contacts as people
from app.records.proposals import Proposal
from app.sync import identity
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

KIND: Final = "sweep"
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
    told: Callable[[State], None] = lambda _: None,
) -> State:
    """Go on with the sweep that is under way, or begin one.

    ``limit``: stop after so many contacts.  ``reindex``: begin anew, without the keys there are; until the end fewer
    people are found by likeness.  ``told`` is called after each batch.  Raises NotPossible where another process is at
    it.
    """
    state, cursor = database.transact(lambda db: _begun(db, reindex=reindex))
    started = monotonic()
    with _Known(database) as known:
        while not state.complete and (limit is None or state.here < limit):
            size = BATCH if limit is None else min(BATCH, limit - state.here)
            with database.read() as db:
                batch = _batch(db, cursor, size)
                found = _look(db, known, batch, connections.weights)
            at = batch.last if batch.rows else cursor
            ended = len(batch.rows) < size
            _store(database, state, cursor, at, batch, found, ended=ended)
            cursor = at
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


@dataclass(slots=True)
class _Batch:
    """Contacts in the order of their ids, with what they say and under which keys they stand."""

    rows: list[int]
    evidence: dict[int, Evidence] = field(repr=False)
    names: dict[int, tuple[str, ...]] = field(repr=False)
    hashed: dict[int, tuple[int, ...]] = field(repr=False)

    @property
    def last(self) -> int:
        return self.rows[-1]


def _batch(db: Db, cursor: int, size: int) -> _Batch:
    query = select(c.id, c.facts).where(c.id > cursor, c.merged_into.is_(None)).order_by(c.id).limit(size)
    said = {row["id"]: evidence(values_of(row)) for row in db.execute(query).mappings()}
    names = {number: keys.blocking(e) for number, e in said.items()}
    return _Batch(list(said), said, names, {n: tuple(map(blocks.hashed, of)) for n, of in names.items()})


def values_of(row: RowMapping | Mapping[str, Any]) -> dict[str, Any]:
    """What a row of contacts says about who it is."""
    return {name: Fact.from_json(data).value for name, data in row["facts"].items() if name in identity.READ}


class _Known:
    """What contacts say of themselves, by id: written once, read at random, and no larger in memory for being many."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._at = array("q")  # by id: where it stands, + 1; 0 = not there
        self._end = 0

    def __enter__(self) -> _Known:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, said: Mapping[int, Evidence]) -> None:
        """Keep these."""
        if not said:
            return
        short = max(said) + 1 - len(self._at)
        if short > 0:
            self._at.frombytes(bytes(self._at.itemsize * short))
        pieces = []
        for number, e in said.items():
            data = pickle.dumps(e, pickle.HIGHEST_PROTOCOL)
            self._at[number] = self._end + 1
            pieces.append(len(data).to_bytes(4, "big") + data)
            self._end += 4 + len(data)
        self._file.write(b"".join(pieces))
        self._file.flush()

    def of(self, db: Db, wanted: Collection[int]) -> dict[int, Evidence]:
        """What these say; those that this process has not seen are read from the store."""
        missing = [n for n in wanted if n >= len(self._at) or not self._at[n]]
        for chunk in people.chunks(sorted(missing)):
            query = select(c.id, c.facts).where(c.id.in_(chunk), c.merged_into.is_(None))
            self.add({row["id"]: evidence(values_of(row)) for row in db.execute(query).mappings()})
        return {n: self._one(self._at[n] - 1) for n in wanted if n < len(self._at) and self._at[n]}

    def _one(self, at: int) -> Evidence:
        head = os.pread(self._file.fileno(), 1_024, at)  # nearly always all of it
        size = int.from_bytes(head[:4], "big")
        data = head[4 : 4 + size] if size <= len(head) - 4 else os.pread(self._file.fileno(), size, at + 4)
        found: Evidence = pickle.loads(data)  # noqa: S301  written by this process, into a file that has no name
        return found


def _look(db: Db, known: _Known, batch: _Batch, weights: Weights | None) -> list[Proposal]:
    """The proposals that come of a batch: each of its contacts beside the older ones."""
    if not batch.rows:
        return []
    under = blocks.older(db, {key for of in batch.hashed.values() for key in of}, batch.rows[0], keys.BLOCK + 1)
    near, crowds = {}, {}
    for number in batch.rows:
        near[number] = _near(under, batch.hashed[number])
        pairs = zip(batch.names[number], batch.hashed[number], strict=True)
        crowds[number] = {name: len(under.get(key, ())) for name, key in pairs}
        for key in batch.hashed[number]:
            under.setdefault(key, []).insert(0, number)
    known.add(batch.evidence)
    said = known.of(db, {n for of in near.values() for n in of})
    apart = proposals.different(db, batch.rows)
    found: list[Proposal] = []
    for number in batch.rows:
        those = [n for n in near[number] if n in said]
        if not those:
            continue
        scores = rank(batch.evidence[number], [said[n] for n in those], weights, crowds[number])
        likely = {n: s for n, s in zip(those, scores, strict=True) if s.band is not Band.CREATE}
        kept = _one_person(number, {n: s for n, s in likely.items() if (n, number) not in apart}, said, weights)
        found += [identity.proposal(n, number, likely[n], KIND) for n in kept]
    return found


def _near(under: Mapping[int, Sequence[int]], hashes: Iterable[int]) -> list[int]:
    """The older contacts that share most keys.  One over-full key alone leads to nobody: chance says whom it shows."""
    times: Counter[int] = Counter()
    telling: set[int] = set()
    for key in hashes:
        having = under.get(key, ())
        times.update(having[: keys.BLOCK])
        if len(having) <= keys.BLOCK:
            telling.update(having)
    several = [(n, -times[n], -n) for n in times if times[n] > 1 or n in telling]
    return [n for n, *_ in sorted(several, key=lambda item: item[1:])[: identity.CANDIDATES]]


def _one_person(
    number: int, likely: Mapping[int, Score], said: Mapping[int, Evidence], weights: Weights | None
) -> list[int]:
    """Those that may be the same person as ``number`` and as each other: no chain of weak links leads to a stranger."""
    if len(likely) < 2:
        return list(likely)
    edges = [Edge(str(n), str(number), s.log_odds, contradicted=s.contradiction is not None) for n, s in likely.items()]
    others = sorted(likely)
    for i, one in enumerate(others):
        for other in others[i + 1 :]:
            score = compare(said[one], said[other], weights)
            edges.append(Edge(str(one), str(other), score.log_odds, contradicted=score.contradiction is not None))
    w = shipped() if weights is None else weights
    group = next((g for g in clusters(edges, w.review) if str(number) in g), ())
    return [n for n in likely if str(n) in group]


def _store(
    database: Database, state: State, cursor: int, at: int, batch: _Batch, found: Sequence[Proposal], *, ended: bool
) -> None:
    """Keys, proposals and position, in one transaction."""
    filed = {number: frozenset(of) for number, of in batch.hashed.items()}

    def work(db: Db) -> int:
        row = db.execute(select(r.status, r.params).where(r.id == state.run).with_for_update()).one()
        if row.status != "running" or row.params["cursor"] != cursor:
            raise NotPossible("another process is at this sweep; let it go on")
        blocks.refile(db, {}, filed)
        made = proposals.propose(db, found)
        values: dict[str, Any] = {
            "params": {"cursor": at, "proposed": state.proposed + made},
            "done": state.done + len(batch.rows),
        }
        if ended:
            values |= {"status": "done", "total": values["done"], "ended_at": now_ms()}
        db.execute(update(t.run).where(r.id == state.run).values(**values))
        return made

    state.proposed += database.transact(work)
    state.done += len(batch.rows)
    state.complete = ended
    state.total = state.done if ended else max(state.total, state.done)
    if ended:
        log.info("sweep.done", run=state.run, contacts=state.done, proposed=state.proposed)
