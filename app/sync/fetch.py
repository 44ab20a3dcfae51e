"""Fetch: take a connection's due events together, read their records back in batches, and hand them to the chain.

One worker fetches for a connection at a time, under a named lease that is checked again in the transaction that
stores: so two readings of one record cannot overtake each other, and order and duplicates of webhooks cannot matter.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.core import leases
from app.core.clock import from_ms, monotonic
from app.core.db import Database, clock_of, unwell
from app.core.errors import LeaseLost
from app.core.retry import Schedule
from app.core.trace import OFF, Origin, Step, Trace
from app.entry import inbox
from app.records import contacts as people
from app.records import dead, merges, state, tombstones
from app.records import links as pairs
from app.records.contacts import chunks
from app.sync import about, chain, deleting, matching
from app.sync.batch import Arrival, End, Result
from app.sync.connection import Connection, Connections
from app.sync.hiding import Guard
from connectors.contract import Action, Kind, NeedsHuman, Record, Refused, Tie, TryLater

log = structlog.get_logger(__name__)

BATCH = 500  # events taken together
PIECE = 200  # records stored in one transaction: SQLite's one writer is not held longer, which deliveries wait for
# A record that an event names but the vendor does not show yet: read-after-write is not promised by any of them, and
# some send their webhook before they commit.
MISSING_DELAYS_MS = (2_000, 15_000, 60_000)
_UNSEEN = "the vendor does not show this record"


@dataclass(slots=True)
class Taken:
    """What one fetch has in hand."""

    read_at: int
    token: str
    events: Sequence[RowMapping]
    moved: Mapping[str, str] = field(default_factory=dict)  # ids of merged records -> those they live on under
    others: Sequence[RowMapping] = ()  # events about companies and deals
    arrivals: list[Arrival] = field(default_factory=list)
    of: dict[str, list[RowMapping]] = field(default_factory=lambda: defaultdict(list))  # record id -> its events
    missing: list[RowMapping] = field(default_factory=list)


class Fetch:
    """The station.  ``observe(end, n)`` counts what became of records."""

    def __init__(
        self,
        database: Database,
        connections: Connections,
        worker: str,
        *,
        lease_ms: int,
        schedule: Schedule,
        observe: Callable[[str, str, int], None] = lambda _connection, _end, _n: None,
        trace: Trace = OFF,
    ) -> None:
        self._trace = trace
        self._database = database
        self._connections = connections
        self._worker = worker
        self._lease_ms = lease_ms
        self._schedule = schedule
        self._observe = observe
        self._guard = Guard(database, connections, lambda: monotonic() * 1000)

    def step(self) -> int:
        """Process one batch of one connection that has due events; how many events were taken, 0 = nothing to do."""
        with self._database.read() as db:
            # Whose right another worker has is looked at without the lock that writers wait for.
            waiting = [n for n in inbox.waiting(db, self._connections) if not leases.held(db, f"sync:{n}")]
        for name in waiting:
            taken = self._take(self._connections[name])
            if taken is None:
                continue
            right = leases.holding(self._database, f"sync:{name}", taken.token)
            with right, self._trace.batch("fetch", name):
                self._process(self._connections[name], taken)
            if taken.events or taken.others:
                return len(taken.events) + len(taken.others)
        return 0

    def _take(self, connection: Connection) -> Taken | None:
        with self._database.write() as db:
            token = leases.acquire(db, f"sync:{connection.name}", self._worker, self._lease_ms)
            if token is None:
                return None
            read_at = clock_of(db)
            state.served(db, connection.name)
            events = inbox.pending(db, connection.name, BATCH)
            mine = [row for row in events if row["kind"] == connection.kind]
            ids = {row["ref_value"] for row in mine if row["ref_key"] == "id" and row["record"] is None}
            moved = merges.aliases(db, connection.name, connection.kind, ids)
            others = [row for row in events if row["kind"] != connection.kind]
            return Taken(read_at, token, mine, moved, others=others)

    def _process(self, connection: Connection, taken: Taken) -> None:
        if taken.others:
            self._fetch_around(connection, taken)
        if not taken.events:
            return
        try:
            self._read(connection, taken)
            if self._guard.look(connection, [a.record for a in taken.arrivals]):
                connection = self._connections[connection.name]  # without the fields that are suspended now
        except (TryLater, NeedsHuman, Refused) as problem:
            self._fail(connection, taken, problem)
            return
        pieces = _pieces(taken.arrivals)
        for number, piece in enumerate(pieces, 1):
            rest = number == len(pieces)
            try:
                self._absorb(connection, taken, piece, rest=rest)
            except LeaseLost:
                log.warning("sync.lease_lost", connection=connection.name)
                return
            except Exception as error:  # one bad record must not hold the others: take them one by one
                if unwell(error):
                    raise  # no record is to blame: all of them wait
                log.error("sync.batch_failed", connection=connection.name, error=type(error).__name__)
                self._one_by_one(connection, taken, piece, rest=rest)

    def _fetch_around(self, connection: Connection, taken: Taken) -> None:
        """Companies and deals: read again and stored, or, where the vendor does not have them any more, gone."""
        for kind in (Kind.COMPANY, Kind.DEAL):
            rows = [row for row in taken.others if row["kind"] == kind]
            if not rows:
                continue
            try:
                about.fetch(self._database, connection, self._connections, kind, rows, taken.token)
            except LeaseLost:
                log.warning("sync.lease_lost", connection=connection.name)
            except (TryLater, NeedsHuman, Refused) as problem:
                # Such rights are apart from those for contacts: a connection does not pause for want of them.
                log.warning("sync.around_failed", connection=connection.name, kind=kind, reason=str(problem))
                about.failed(self._database, rows, problem)
        known = {Kind.COMPANY, Kind.DEAL}
        odd = [r["id"] for r in taken.others if r["kind"] not in known]
        if odd:
            with self._database.write() as db:
                inbox.finish(db, odd, "ignored", "of no known kind")

    def _read(self, connection: Connection, taken: Taken) -> None:
        """Fill ``arrivals``: what the events carry, and what has to be read back."""
        carried: dict[str, tuple[RowMapping, Record]] = {}
        shown: dict[str, list[Record]] = defaultdict(list)
        by_key: dict[str, dict[str, list[RowMapping]]] = defaultdict(lambda: defaultdict(list))
        for row in taken.events:
            if row["record"] is not None:
                record = _record(row)
                earlier = carried.get(record.id)
                if earlier is None or _time(earlier[1]) <= _time(record):
                    carried[record.id] = (row, record)
                shown[record.id].append(record)
                taken.of[record.id].append(row)
            else:
                value = row["ref_value"]
                by_key[row["ref_key"]][taken.moved.get(value, value) if row["ref_key"] == "id" else value].append(row)
        read: dict[str, Record] = {}
        connector, kind = connection.connector, connection.kind
        for key, wanted in sorted(by_key.items()):
            limit = connector.limits.read_batch if key == "id" else connector.limits.find_batch
            for values in chunks(sorted(wanted), limit):
                records = connector.read(kind, values) if key == "id" else connector.find(kind, key, values)
                self._sort_in(connection, taken, key, {v: wanted[v] for v in values}, records, read)
        for record_id, record in read.items():
            carried.pop(record_id, None)
            rows = taken.of[record_id]
            now = Arrival(_with_losers(record, rows), taken.read_at, rows[-1]["id"], _since(rows))
            taken.arrivals.append(dataclasses.replace(now, earlier=tuple(shown[record_id])))
        for record_id, (row, record) in carried.items():
            rows = taken.of[record_id]
            now = Arrival(record, row["received_at"], row["id"], _since(rows), carried=True)
            older = tuple(r for r in shown[record_id] if r is not record)
            taken.arrivals.append(dataclasses.replace(now, earlier=older))

    def _sort_in(
        self,
        connection: Connection,
        taken: Taken,
        key: str,
        wanted: Mapping[str, list[RowMapping]],
        records: Iterable[Record],
        read: dict[str, Record],
    ) -> None:
        """Give each record read the events that asked for it; events without a record are missing."""
        left = dict(wanted)
        for record in records:
            if record.archived:
                continue
            read[record.id] = record
            names = (
                {record.id, *record.former_ids}
                if key == "id"
                else {k.value for k in _keys(connection, record) if k.key == key}
            )
            for name in names & set(left):
                taken.of[record.id].extend(left.pop(name))
        for rows in left.values():
            taken.missing.extend(rows)

    def _absorb(self, connection: Connection, taken: Taken, arrivals: Sequence[Arrival], *, rest: bool) -> None:
        """Store some of a batch: chain and events in one transaction, fenced by the lease.

        ``rest``: with these, also what the vendor did not show.
        """

        def work(db: Db) -> list[Result]:
            leases.verify(db, f"sync:{connection.name}", taken.token)
            results = self._in_order(db, connection, arrivals)
            self._finish(db, connection, taken, arrivals, results)
            if rest:
                self._gone(db, connection, taken)
                state.recovered(db, connection.name)
            return results

        results = self._database.transact(work)
        for end in End:
            n = sum(1 for r in results if r.end is end)
            if n:
                self._observe(connection.name, end, n)
        if self._trace.on:
            self._traced(connection, taken, arrivals, results)

    def _traced(
        self, connection: Connection, taken: Taken, arrivals: Sequence[Arrival], results: Sequence[Result]
    ) -> None:
        ended = [
            (row, str(result.end))
            for arrival, result in zip(arrivals, results, strict=True)
            for row in taken.of[arrival.record.id]
        ]
        name = connection.name
        self._trace.steps(
            "fetch",
            name,
            [
                Step(
                    Origin(name, row["id"], row["delivery"], row["received_at"]),
                    {"tandem.event": row["id"], "tandem.action": row["action"], "tandem.end": end},
                )
                for row, end in ended
            ],
        )

    def _in_order(self, db: Db, connection: Connection, arrivals: Sequence[Arrival]) -> list[Result]:
        """Through the chain, what was merged into another record of the batch before that one; results as arrived."""
        into = {former for a in arrivals for former in a.record.former_ids if former != a.record.id}
        first = [a for a in arrivals if a.record.id in into]
        if not first or len(first) == len(arrivals):
            return chain.absorb(db, connection, self._connections, arrivals)
        rest = [a for a in arrivals if a.record.id not in into]
        results = dict(zip([a.record.id for a in first], self._in_order(db, connection, first), strict=True))
        ended = chain.absorb(db, connection, self._connections, rest)
        results |= zip([a.record.id for a in rest], ended, strict=True)
        return [results[a.record.id] for a in arrivals]

    def _finish(
        self,
        db: Db,
        connection: Connection,
        taken: Taken,
        arrivals: Sequence[Arrival],
        results: Sequence[Result],
    ) -> None:
        closed: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        again: list[int] = []
        erased: list[int] = []
        letters = []
        for arrival, result in zip(arrivals, results, strict=True):
            ids = [row["id"] for row in taken.of[arrival.record.id]]
            if result.end is End.UNSURE:
                again += ids
            elif result.end is End.REVIEW:
                closed[("dead", None)] += ids
                letters.append(
                    dead.Letter(
                        "sync",
                        connection.name,
                        result.code if result.code is not None else "ambiguous",
                        result.reason if result.reason is not None else "",
                        contact_id=result.contact_id,
                        event=ids[-1],
                    )
                )
            elif result.end is End.BLOCKED:
                closed[("ignored", result.reason)] += ids
                if result.code == tombstones.ERASED:
                    erased += ids
            else:
                closed[("done" if result.end is not End.STALE else "ignored", None)] += ids
        for (status, reason), ids in closed.items():
            inbox.finish(db, ids, status, reason)
        inbox.forget(db, erased)
        inbox.postpone(db, again, 0, "read before our last write ended: reading again", failed=False)
        dead.write(db, letters)

    def _gone(self, db: Db, connection: Connection, taken: Taken) -> None:
        """Events whose record the vendor does not show: deleted if it said so, otherwise looked for again."""
        deleted = [r for r in taken.missing if r["action"] in {Action.DELETED, Action.ERASED}]
        losers = {loser for r in taken.events for loser in (r["losers"] if r["losers"] is not None else ())}
        ids = {r["ref_value"] for r in deleted if r["ref_key"] == "id"}
        keyed = [(r["ref_key"], r["ref_value"]) for r in deleted if r["ref_key"] != "id"]
        if keyed:
            owners = {c for having in people.owners(db, keyed).values() for c, strong in having if strong}
            ids |= {k.remote_id for k in pairs.of_contacts(db, connection.name, connection.kind, owners).values()}
        self._merged_away(db, connection, losers)
        deleting.deleted(db, connection, self._connections, ids - losers)
        inbox.finish(db, [r["id"] for r in deleted], "done", "deleted at the vendor")
        unseen = [r for r in taken.missing if r["action"] not in {Action.DELETED, Action.ERASED}]
        again = {r["id"]: MISSING_DELAYS_MS[r["attempts"]] for r in unseen if r["attempts"] < len(MISSING_DELAYS_MS)}
        inbox.postpone_each(db, again, _UNSEEN)
        inbox.finish(db, [r["id"] for r in unseen if r["id"] not in again], "ignored", _UNSEEN)
        self._forget(db, connection, taken.missing)

    def _forget(self, db: Db, connection: Connection, rows: Sequence[RowMapping]) -> None:
        """Keep nothing of events about somebody who was erased, such as the vendor's own word of it."""
        refs = {
            r["id"]: r["ref_value"] if r["ref_key"] != "id" else f"{connection.name}:{r['ref_value']}" for r in rows
        }
        stones = tombstones.standing(db, set(refs.values()), self._connections.erasure_key)
        erased = [i for i, ref in refs.items() if stones.get(ref) == tombstones.ERASED]
        inbox.finish(db, erased, "ignored", "the person was erased: a tombstone stands")
        inbox.forget(db, erased)
        if erased:
            self._observe(connection.name, End.BLOCKED, len(erased))

    def _merged_away(self, db: Db, connection: Connection, losers: Collection[str]) -> None:
        """Records that the vendor merged into others.  Where two contacts are one person there, somebody is told."""
        left = pairs.of_records(db, connection.name, connection.kind, losers)
        chain.gone(db, connection, left)
        reason = "the vendor merged its record into that of another contact; the other vendors still have both"
        dead.write(
            db,
            [dead.Letter("sync", connection.name, "merged", reason, contact_id=k.contact_id) for k in left.values()],
        )

    def _one_by_one(self, connection: Connection, taken: Taken, arrivals: Sequence[Arrival], *, rest: bool) -> None:
        for arrival in arrivals:
            try:
                self._absorb(connection, taken, [arrival], rest=False)
            except LeaseLost:
                return
            except Exception as error:  # this record is set aside with its reason, the others go on
                if unwell(error):
                    raise
                reason = f"{type(error).__name__} while it was stored"
                ids = [row["id"] for row in taken.of[arrival.record.id]]
                log.error("sync.record_failed", connection=connection.name, events=ids, error=type(error).__name__)
                with self._database.write() as db:
                    inbox.finish(db, ids, "dead", reason)
                    dead.write(db, [dead.Letter("sync", connection.name, "error", reason, event=ids[-1])])
        if rest:
            self._absorb(connection, taken, [], rest=True)

    def _fail(self, connection: Connection, taken: Taken, problem: TryLater | NeedsHuman | Refused) -> None:
        """The vendor did not answer a read: nothing is lost, the events wait."""
        log.warning("sync.read_failed", connection=connection.name, problem=type(problem).__name__, reason=str(problem))
        with self._database.write() as db:
            if isinstance(problem, NeedsHuman):
                state.pause(db, connection.name, str(problem))
                inbox.postpone(db, [r["id"] for r in taken.events], 1_000, str(problem), failed=False)
                return
            now = clock_of(db)
            state.failing(db, connection.name, str(problem))
            after = problem.after if isinstance(problem, TryLater) else None
            delays: dict[int, int] = {}
            letters = []
            for row in taken.events:
                since = row["first_failed_at"] if row["first_failed_at"] is not None else now
                delay = self._schedule.delay_ms(row["attempts"] + 1, now - since, after)
                if delay is not None:
                    delays[row["id"]] = delay
                    continue
                tries = row["attempts"] + 1
                letter = dead.Letter(
                    "sync", connection.name, "exhausted", str(problem), event=row["id"], attempts=tries
                )
                letters.append(letter)
            inbox.postpone_each(db, delays, str(problem))
            inbox.finish(db, [r["id"] for r in taken.events if r["id"] not in delays], "dead", str(problem))
            dead.write(db, letters)


def _pieces(arrivals: Sequence[Arrival]) -> Sequence[Sequence[Arrival]]:
    """What is stored together; at least one piece.  Records that were merged are not parted from each other."""
    if any(arrival.record.former_ids for arrival in arrivals):
        return [arrivals]
    return list(chunks(arrivals, PIECE)) if arrivals else [arrivals]


def _record(row: RowMapping) -> Record:
    data = row["record"]
    return Record(
        kind=Kind(row["kind"]),
        id=data["id"],
        fields=data["fields"],
        modified=from_ms(data["modified"]) if data["modified"] is not None else None,
        archived=data["archived"],
        former_ids=tuple(data["former"]),
        ties={Kind(kind): tuple(Tie(*tie) for tie in ties) for kind, ties in data.get("ties", {}).items()},
    )


def _with_losers(record: Record, rows: Sequence[RowMapping]) -> Record:
    """The record with the ids that its events say were merged into it; not every vendor lists them on the record."""
    losers = {i for row in rows for i in (row["losers"] if row["losers"] is not None else ())}
    new = losers - {record.id, *record.former_ids}
    return dataclasses.replace(record, former_ids=(*record.former_ids, *sorted(new))) if new else record


def _time(record: Record) -> float:
    return record.modified.timestamp() if record.modified is not None else 0.0


def _since(rows: Sequence[RowMapping]) -> int:
    moments: list[int] = [r["occurred_at"] if r["occurred_at"] is not None else r["received_at"] for r in rows]
    return min(moments)


def _keys(connection: Connection, record: Record) -> Iterable[matching.Key]:
    return matching.keys_of(connection.map.read(record.fields).claim, connection.map.keys)
