"""Undo: put back what fields held before certain changes, on all sides.

In: which changes, by run, contact, field, time or connection.  Out: a plan that says what would be put back and what
cannot be and why; or the same done, as a run in small batches that goes on where it was after a crash.

What is put back is said anew by the operator (``app.sync.saying``): it wins now, stands in the history with the rule
``undo`` and the run, and travels to every vendor, so it can be undone itself.  A field goes back to what it was before
the last unbroken row of such changes (where only a contact or a field is named: before its last change), and only
where nobody has changed it since.  Consent is not a field: no undo raises it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy import Connection as Db

from app.core import tables as t
from app.core.db import Database, clock_of, now_ms
from app.core.errors import NotFound, NotPossible
from app.core.words import Value, Writes
from app.push import work
from app.records import contacts as people
from app.records import tombstones
from app.records.contacts import Contact
from app.repair import past
from app.repair.past import LOOK, Which
from app.sync import matching, saying
from app.sync._mapping_consent import PREFIX
from app.sync.connection import Connections
from app.sync.saying import Said

log = structlog.get_logger(__name__)

KIND: Final = "undo"
RULE: Final = "undo"
BATCH: Final = 200  # changes put back in one transaction
SAMPLE: Final = 20  # of what is put back, and of what is not, in a plan
NOW = now_ms()

h, r, i, n = t.history.c, t.run.c, t.inbox.c, t.consent.c

WHY_NOT: Final[Mapping[str, str]] = {
    "changed_since": "it was changed again since; undo that change too, or correct the value at its source",
    "made_then": "the contact was made by it, so there is nothing before it; delete the record at its source",
    "merged": "the contact was merged into another one since; `tandem split` takes them apart",
    "address_taken": "the address that it had is another contact's now; merge the two, or correct one",
    "tombstone": "a tombstone stands for the address that it had; `tandem tombstone list --address ADDRESS`",
    "cannot_be_emptied": "it was empty before, and a vendor that has the value keeps it (clear: ignored)",
    "asked": "both sides changed it and a person has to decide: `tandem conflict list`, then undo what is left",
    "already": "it is as it was already",
    "consent": (
        "a word about consent: an undo never raises it, nor takes back a grant; `tandem consent` says what a person "
        "wants, with evidence"
    ),
}
"""Why a change is not undone → the same in plain words, with what would help."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field that goes back, or why it does not."""

    contact: int
    field: str
    now: Value = dataclasses.field(repr=False)
    then: Value = dataclasses.field(default=None, repr=False)
    why_not: str | None = None  # a key of WHY_NOT
    by: str | None = None  # who changed it since


@dataclass(slots=True)
class Plan:
    """What an undo would do.  ``samples`` are some of the changes, the first ones."""

    fields: Counter[str] = dataclasses.field(default_factory=Counter)  # field → how many go back
    not_possible: Counter[str] = dataclasses.field(default_factory=Counter)  # a key of WHY_NOT → how many do not
    contacts: int = 0  # at most: one with changes far apart counts more than once
    samples: list[Change] = dataclasses.field(default_factory=list, repr=False)
    stuck: list[Change] = dataclasses.field(default_factory=list, repr=False)
    not_written: Counter[tuple[str, str]] = dataclasses.field(
        default_factory=Counter
    )  # (connection, field) that stay there

    @property
    def total(self) -> int:
        """How many fields go back."""
        return sum(self.fields.values())

    def add(self, changes: Collection[Change], connections: Connections) -> None:
        """Count some more."""
        self.contacts += len({c.contact for c in changes if c.why_not is None})
        for change in changes:
            kept = self.samples if change.why_not is None else self.stuck
            if len(kept) < SAMPLE:
                kept.append(change)
            if change.why_not is not None:
                self.not_possible[change.why_not] += 1
                continue
            self.fields[change.field] += 1
            for name, one in connections.items():
                mapped = change.field in one.map.in_fields | one.map.out_fields
                if mapped and not (one.writes and change.field in one.map.out_fields):
                    self.not_written[name, change.field] += 1


@dataclass(frozen=True, slots=True)
class Position:
    """A run's place: what it looks for among the changes (``at``, ``last``], and who asked."""

    which: Which
    by: str
    last: int
    at: int = 0

    def to_json(self) -> dict[str, Any]:
        """The form at rest."""
        return {**asdict(self.which), "by": self.by, "last": self.last, "at": self.at, "counted": False}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Position:
        """Raises KeyError for what another version wrote."""
        which = Which(**{name: data[name] for name in Which.__dataclass_fields__})
        return cls(which, data["by"], data["last"], data["at"])


class Undo:
    """The station."""

    def __init__(self, database: Database, connections: Connections) -> None:
        self._database = database
        self._connections = connections

    def plan(self, which: Which) -> Plan:
        """What ``start`` would lead to.  Writes nothing.  Raises NotFound and NotPossible."""
        found = Plan()
        with self._database.read() as db:
            self._check(db, which)
            last = past.newest(db)
            position = Position(which, "", last, past.first(db, which.since, last))
        while True:
            with self._database.read() as db:
                changes, position = self._next(db, position, None, lock=False)
            found.add(changes, self._connections)
            if position.at >= position.last:
                break
        with self._database.read() as db:
            words = past.consents(db, which)
        if words:
            found.not_possible["consent"] += words
        return found

    def start(self, which: Which, by: str, total: int = 0) -> int:
        """Begin a run; its id.  ``total``: what a plan counted, for the progress.  Raises NotFound and NotPossible."""

        def work(db: Db) -> int:
            self._check(db, which)
            last = past.newest(db)
            position = Position(which, by, last, past.first(db, which.since, last))
            values = {"kind": KIND, "params": position.to_json(), "status": "running", "total": total, "done": 0}
            number: int = db.execute(insert(t.run).values(**values, started_at=NOW).returning(r.id)).scalar_one()
            return number

        number = self._database.transact(work)
        log.info("undo.started", run=number)
        return number

    def step(self) -> int:
        """Take the next batch of the oldest run; how much was done, 0 = nothing to do."""
        query = select(r.id).where(r.kind == KIND, r.status == "running").order_by(r.id).limit(20)
        with self._database.read() as db:
            running = db.execute(query).scalars().all()
        for number in running:
            did = self._database.transact(partial(self._batch, number))
            if did:
                return did
        return 0

    def _batch(self, number: int, db: Db) -> int:
        query = select(r.params, r.done, r.total).where(r.id == number, r.status == "running")
        row = db.execute(query.with_for_update(skip_locked=True)).one_or_none()
        if row is None:
            return 0
        try:
            position = Position.from_json(row.params)
        except (KeyError, TypeError) as error:
            log.error("undo.unreadable", run=number, error=type(error).__name__)
            failed = {"status": "failed", "error": "written by another version of Tandem", "ended_at": NOW}
            db.execute(update(t.run).where(r.id == number).values(**failed))
            return 1
        changes, position = self._next(db, position, number, lock=True)
        able = [c for c in changes if c.why_not is None]
        self._put_back(db, able, position, number)
        values: dict[str, Any] = {"params": position.to_json(), "done": row.done + len(able)}
        values["total"] = max(row.total, values["done"])
        if position.at >= position.last:
            values |= {"status": "done", "total": values["done"], "ended_at": NOW}
            log.info("undo.done", run=number, fields=values["done"])
        db.execute(update(t.run).where(r.id == number).values(**values))
        return max(1, len(changes))

    def _put_back(self, db: Db, changes: Sequence[Change], position: Position, number: int) -> None:
        values: dict[int, dict[str, Value]] = defaultdict(dict)
        for change in changes:
            values[change.contact][change.field] = change.then
        if not values:
            return
        now = clock_of(db)
        contacts = people.load(db, values, lock=True)
        saying.say(db, self._connections, contacts, Said(position.by, RULE, now, number, values))
        # A person looked at the plan and gave their name: that many writes are meant, so they put no brake on.
        for name in sorted(self._connections):
            work.let(db, name, sorted(values), Writes.OVERWRITES)

    def _check(self, db: Db, which: Which) -> None:
        if which.run is None and which.contact is None and which.field is None and which.since is None:
            raise NotPossible("say which changes: a run, a contact, a field or a time")
        if which.connection is not None:
            self._connections[which.connection]  # raises NotFound
        if which.contact is not None and which.contact not in people.load(db, [which.contact]):
            raise NotFound(f"there is no contact {which.contact}")
        if which.field is not None:
            if which.field.startswith(PREFIX) or which.field == "consent":
                raise NotPossible(f"consent is not undone: {WHY_NOT['consent']}")
            known = {f for c in self._connections.values() for f in c.map.in_fields | c.map.out_fields}
            if which.field not in known:
                raise NotFound(f"no field {which.field!r}; there are: {', '.join(sorted(known))}")
        if which.run is not None:
            row = db.execute(select(r.kind, r.status).where(r.id == which.run)).one_or_none()
            if row is None:
                raise NotFound(f"there is no run {which.run}")
            if row.status == "running":
                raise NotPossible(f"run {which.run} is not through yet: wait for it, then undo it")

    # --- which changes, and what they go back to ----------------------------------------------------------------------

    def _next(self, db: Db, position: Position, run: int | None, *, lock: bool) -> tuple[list[Change], Position]:
        """The next fields, each with what it goes back to or why it does not; and the place behind them."""
        fits = past.conditions(db, position.which)
        inner = select(h.id).where(h.id > position.at, h.id <= position.last).order_by(h.id).limit(LOOK)
        if position.which.contact is not None:
            inner = inner.where(h.contact_id == position.which.contact)
        if position.which.run is not None and past.marked(db, position.which.run):
            inner = inner.where(h.run == position.which.run)
        looked = db.execute(inner).scalars().all()
        end = looked[-1] if len(looked) == LOOK else position.last
        query = select(h.id, h.contact_id, h.field).where(h.id > position.at, h.id <= end, *fits)
        rows = db.execute(query.order_by(h.id).limit(BATCH)).all()
        if len(rows) == BATCH:
            end = rows[-1].id
        changes = self._judge(db, position, rows, fits, run, lock=lock) if rows else []
        return changes, replace(position, at=end)

    def _judge(
        self,
        db: Db,
        position: Position,
        rows: Sequence[Any],
        fits: Sequence[ColumnElement[bool]],
        run: int | None,
        *,
        lock: bool,
    ) -> list[Change]:
        ids = sorted({row.contact_id for row in rows})
        contacts = people.load(db, ids, lock=lock)
        history = past.of_fields(db, ids, {row.field for row in rows}, fits)
        found: list[Change] = []
        for row in rows:
            of = history[row.contact_id, row.field]  # the newest first
            matching = [one for one in of if one["fits"] and one["id"] <= position.last]
            if not matching or matching[0]["id"] != row.id:
                continue  # an older one of the same field: it counts where its newest stands
            if run is not None and of[0]["run"] == run:
                continue  # put back by this run before it was interrupted
            contact = contacts.get(row.contact_id)
            if contact is not None:
                found.append(self._one(position.which, contact, row.field, of, matching))
        return self._possible(db, found)

    def _one(
        self,
        which: Which,
        contact: Contact,
        name: str,
        of: Sequence[Mapping[str, Any]],
        matching: Sequence[Mapping[str, Any]],
    ) -> Change:
        value = contact.value(name)
        if contact.merged_into is not None:
            return Change(contact.id, name, value, why_not="merged")
        if of[0]["id"] != matching[0]["id"] or of[0]["new"] != value:
            return Change(contact.id, name, value, why_not="changed_since", by=of[0]["source"])
        first = of[0]
        if past.making(first):
            return Change(contact.id, name, value, why_not="made_then")
        mine = {m["id"] for m in matching} if which.several else {first["id"]}
        for one in of:  # the unbroken row of such changes that ends now; what the contact was made with stands before
            if one["id"] not in mine or past.making(one):
                break
            first = one
        if first["old"] == value:
            return Change(contact.id, name, value, why_not="already")
        return Change(contact.id, name, value, first["old"])

    def _possible(self, db: Db, changes: Sequence[Change]) -> list[Change]:
        """What cannot go back: addresses that are taken or buried, and emptiness that would not travel."""
        wanted: dict[int, dict[str, Value]] = defaultdict(dict)
        for change in changes:
            if change.why_not is None:
                wanted[change.contact][change.field] = change.then
        owned = saying.taken(db, self._connections, wanted)
        emails = {a for of in wanted.values() for a in matching.addresses(of)}
        stones = tombstones.standing(db, emails, self._connections.erasure_key) if emails else {}
        asked = past.asked(db, wanted)
        emptied = [c for c in changes if c.why_not is None and c.then is None]
        holding = past.holding(db, {c.contact for c in emptied})
        found = []
        for change in changes:
            why = change.why_not
            if why is None and (change.contact, change.field) in asked:
                why = "asked"
            elif why is None and (change.contact, change.field) in owned:
                why = "address_taken"
            elif why is None and matching.addresses({change.field: change.then}) & set(stones):
                why = "tombstone"
            elif why is None and change.then is None and self._keeps(holding, change):
                why = "cannot_be_emptied"
            found.append(replace(change, why_not=why))
        return found

    def _keeps(self, holding: Mapping[int, Mapping[str, Mapping[str, Any]]], change: Change) -> bool:
        """Whether a vendor that has a value there would keep it, though it is empty here."""
        return any(
            shadow.get(change.field) is not None
            and name in self._connections
            and change.field in self._connections[name].map.out_fields
            and not self._connections[name].map.policy(change.field).clearable
            for name, shadow in holding.get(change.contact, {}).items()
        )
