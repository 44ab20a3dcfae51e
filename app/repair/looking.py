"""The looking of a sweep: a batch of contacts beside the older ones that share keys with them.

In: a batch whose keys are filed, and so are those of all before it.  Out: proposals, of which nothing is stored here.
So batches do not wait for each other, and several processes look at once: ``Lookers``.

Memory does not grow with the store: what contacts say of themselves waits in nameless temporary files, which are gone
with the process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Any, Final

import orjson
from sqlalchemy import Connection as Db

from app.core.db import Database
from app.core.errors import NotPossible
from app.match import keys
from app.match.choosing import rank
from app.match.clusters import Edge, clusters
from app.match.normalise import Evidence, evidence
from app.match.people import Birth, Name
from app.match.places import Street
from app.match.reach import Email, Phone
from app.match.score import Band, Score, compare
from app.match.weights import Weights, shipped
from app.records import blocks, proposals
from app.records.proposals import Proposal
from app.sync import identity

KIND: Final = "sweep"
MOST: Final = 4  # processes beside the first: more would wait for the database


@dataclass(slots=True)
class Batch:
    """Contacts in the order of their ids, and under which keys they stand."""

    rows: list[int]
    keyed: dict[int, dict[str, int]] = field(repr=False)  # contact -> key -> as it is filed
    ends: bool = False  # nobody comes behind

    @property
    def last(self) -> int:
        """The last contact of a batch that has some."""
        return self.rows[-1]


class Known:
    """What contacts say of themselves, by id: written once, read at random, and no larger in memory for being many.

    ``shared``: another process's, which is only read.
    """

    def __init__(self, shared: Known | None = None) -> None:
        self._shared = shared
        self._data = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._index = tempfile.TemporaryFile()  # noqa: SIM115  by id, eight bytes each: where it stands, + 1
        self._end = 0

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *_: object) -> None:
        self._data.close()
        self._index.close()

    def add(self, said: Mapping[int, Evidence]) -> None:
        """Keep these."""
        pieces = []
        at = self._end
        for number, e in said.items():
            data = packed(e)
            pieces.append(len(data).to_bytes(4, "big") + data)
            os.pwrite(self._index.fileno(), (at + 1).to_bytes(8, "big"), 8 * number)
            at += 4 + len(data)
        os.pwrite(self._data.fileno(), b"".join(pieces), self._end)
        self._end = at

    def of(self, db: Db, wanted: Collection[int]) -> dict[int, Evidence]:
        """What these say; those that this sweep has not seen, being cut off before, are read from the store."""
        found, missing = {}, []
        for number in wanted:
            e = self.one(number)
            if e is not None:
                found[number] = e
            else:
                missing.append(number)
        if missing:
            values, _ = blocks.known(db, missing, identity.READ)
            read = {number: evidence(said) for number, said in values.items()}
            self.add(read)
            found |= read
        return found

    def one(self, number: int) -> Evidence | None:
        """What one contact says; None where this sweep has not seen it."""
        at = int.from_bytes(os.pread(self._index.fileno(), 8, 8 * number), "big") - 1
        if at < 0:
            return None if self._shared is None else self._shared.one(number)
        head = os.pread(self._data.fileno(), 1_024, at)  # nearly always all of it
        size = int.from_bytes(head[:4], "big")
        return unpacked(head[4 : 4 + size] if size <= len(head) - 4 else os.pread(self._data.fileno(), size, at + 4))


def packed(e: Evidence) -> bytes:
    """Evidence as few bytes; ten times as fast as the way that works for everything (pickle)."""
    name, birth, street = e.name, e.birth, e.street
    return orjson.dumps(
        (
            (name.first, name.middle, name.last, name.generation),
            [(m.local, m.domain, m.mailbox, m.valid, m.masked) for m in e.emails],
            [(m.local, m.domain, m.mailbox, m.valid, m.masked) for m in e.shared],
            [(p.digits, p.number, p.extension) for p in e.phones],
            None if birth is None else (birth.year, birth.month, birth.day),
            None if street is None else (street.words, street.numbers),
            (e.city, e.region, e.postcode, e.country, e.company, e.site),
        )
    )


def unpacked(data: bytes) -> Evidence:
    """The evidence of ``packed``."""
    (first, middle, last, generation), emails, shared, phones, birth, street, rest = orjson.loads(data)
    return Evidence(
        Name(first, tuple(middle), last, generation),
        tuple(Email(*m) for m in emails),
        tuple(Email(*m) for m in shared),
        tuple(Phone(*p) for p in phones),
        None if birth is None else Birth(*birth),
        None if street is None else Street(street[0], tuple(street[1])),
        *rest,
    )


def look(db: Db, known: Known, batch: Batch, weights: Weights | None) -> list[Proposal]:
    """The proposals that come of a batch: each of its contacts beside the older ones."""
    if not batch.rows:
        return []
    wanted = {key for of in batch.keyed.values() for key in of.values()}
    under = blocks.older(db, wanted, batch.rows[0], keys.BLOCK + 1)
    near, crowds = {}, {}
    for number in batch.rows:
        keyed = batch.keyed[number]
        near[number] = identity.nearest(under, keyed.values())
        crowds[number] = {name: len(under.get(key, ())) for name, key in keyed.items()}
        for key in keyed.values():
            under.setdefault(key, []).insert(0, number)
    said = known.of(db, {n for number, of in near.items() for n in (number, *of) if of})
    apart = proposals.different(db, batch.rows)
    found: list[Proposal] = []
    for number in batch.rows:
        those = [n for n in near[number] if n in said]
        if not those or number not in said:
            continue
        scores = rank(said[number], [said[n] for n in those], weights, crowds[number])
        likely = {n: s for n, s in zip(those, scores, strict=True) if s.band is not Band.CREATE}
        kept = _one_person(number, {n: s for n, s in likely.items() if (n, number) not in apart}, said, weights)
        found += [identity.proposal(n, number, likely[n], KIND) for n in kept]
    return found


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


class Lookers:
    """Looks at batches, in other processes where there are any, and says what was found in the order of the batches.

    ``processes``: how many beside this one; 0 looks here.
    """

    def __init__(self, database: Database, known: Known, weights: Weights | None, processes: int) -> None:
        self._database, self._known, self._weights = database, known, weights
        self._processes = processes
        self._pipes: list[Pipe[Any, Any]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Lookers:
        for _ in range(self._processes):
            context = multiprocessing.get_context("fork")  # the nameless files are reached by their open descriptors
            ours, theirs = context.Pipe()
            process = context.Process(target=self._serve, args=(theirs, ours), daemon=True)
            process.start()
            theirs.close()
            self._stack.callback(process.join)
            self._pipes.append(ours)
        for pipe in self._pipes:
            self._stack.callback(pipe.close)  # which ends the process, and so comes before it is waited for
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def through(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Proposal]]]:
        """Each batch with what came of it; its contacts are known, and their keys are committed.

        While batches are looked at the next ones are asked for.  Raises NotPossible where a process ended.
        """
        if not self._pipes:
            for batch in batches:
                with self._database.read() as db:
                    found = look(db, self._known, batch, self._weights)
                yield batch, found
            return
        waiting: deque[tuple[Batch, Pipe[Any, Any]]] = deque()
        for n, batch in enumerate(batches):
            if len(waiting) == len(self._pipes):  # one batch at a time for each: neither side can wait to be heard
                yield self._answer(*waiting.popleft())
            pipe = self._pipes[n % len(self._pipes)]
            with _alive():
                pipe.send(batch)
            waiting.append((batch, pipe))
        while waiting:
            yield self._answer(*waiting.popleft())

    def _answer(self, batch: Batch, pipe: Pipe[Any, Any]) -> tuple[Batch, list[Proposal]]:
        with _alive():
            found: list[Proposal] = pipe.recv()
        return batch, found

    def _serve(self, pipe: Pipe[Any, Any], theirs: Pipe[Any, Any]) -> None:
        """In the other process: look until nobody asks any more."""
        for other in (*self._pipes, theirs):  # or it would keep itself and its sisters alive
            other.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides
        # Connections do not survive a fork: this process has its own, and never touches the other's.
        database = Database(self._database.url.render_as_string(hide_password=False), pool=1)
        with Known(self._known) as known, suppress(EOFError, ConnectionError):  # the first process ended
            while True:
                batch = pipe.recv()
                with database.read() as db:
                    found = look(db, known, batch, self._weights)
                pipe.send(found)
        database.close()


@contextmanager
def _alive() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError):
        raise NotPossible("a process of this sweep ended before its time; the same command goes on") from None


def processes_for(contacts: int, batch: int) -> int:
    """How many processes are worth it: one for each core where there is much to do."""
    if sys.platform != "linux" or contacts < 20 * batch:
        return 0
    cores = len(os.sched_getaffinity(0))
    return min(cores, MOST) if cores > 1 else 0
