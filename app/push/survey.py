"""What would be written if every connection were live: the plan of all contacts, by the function that the push uses.

Walks the contacts by their numbers, some at a time, so that memory does not grow with them; writes nothing.  A brake
and the mode hold nothing back here: the plan shows what they would hold, and says which brakes would go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import func, select

from app.core import tables as t
from app.core.db import Database
from app.core.words import STOPPING, Status, Writes
from app.push import trust
from app.push.gather import gather
from app.push.plan import Planned, plan, uncreated
from app.push.work import Leased
from app.records.contacts import Contact
from app.records.links import Link
from app.sync._mapping_consent import PREFIX
from app.sync.connection import Connection, Connections
from connectors.contract import Can, Verb

STEP: Final = 200  # contacts looked at together


@dataclass(frozen=True, slots=True)
class Change:
    """One field of an order, in canonical words: what the vendor is known to hold, and what it would hold."""

    name: str
    old: Any = field(repr=False)
    new: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Line:
    """What would become of one contact at one connection: an order, a rejection, or a conflict that waits."""

    connection: str
    contact: int
    what: str  # create, update, archive, merge; reject, conflict
    changes: tuple[Change, ...] = ()
    fingerprint: str | None = None  # of an order
    kinds: frozenset[Writes] = frozenset()
    code: str | None = None  # of a rejection
    reason: str | None = None


@dataclass(slots=True)
class Tally:
    """The plan of one connection in figures."""

    connection: str
    contacts: int = 0  # looked at
    orders: Counter[str] = field(default_factory=Counter)  # by verb
    fields: Counter[str] = field(default_factory=Counter)  # updates, by field
    kinds: Counter[Writes] = field(default_factory=Counter)  # as a brake counts them
    conflicts: int = 0  # fields that wait for a person
    rejects: Counter[str] = field(default_factory=Counter)  # by code
    reasons: dict[str, str] = field(default_factory=dict)  # code → one of its sentences
    consent: Counter[str] = field(default_factory=Counter)  # withdrawals, grants, pending
    unread: tuple[str, ...] = ()  # connections not read completely yet: the plan is not final
    known: int = 0  # records known there
    alone: int = 0  # orders that say something about consent

    def add(self, line: Line) -> None:
        """Count a line."""
        if line.what == "reject" and line.code is not None:
            self.rejects[line.code] += 1
            self.reasons.setdefault(line.code, line.reason if line.reason is not None else "")
        elif line.what == "conflict":
            self.conflicts += len(line.changes)
        else:
            self.orders[line.what] += 1
            self.kinds.update(line.kinds)
            self.alone += any(change.name.startswith(PREFIX) for change in line.changes)
            if line.what == Verb.UPDATE:
                self.fields.update(change.name for change in line.changes)
            for change in line.changes:
                if change.name.startswith(PREFIX):
                    self.consent[_effect(change.new)] += 1

    @property
    def total(self) -> int:
        """All orders."""
        return self.orders.total()

    def brakes(self, connection: Connection) -> dict[Writes, str]:
        """The kinds that would stop, were all of it written within the window of the brake."""
        limits = connection.brake.limits if connection.brake is not None else {}
        return {
            kind: f"{self.kinds[kind]:,} {kind} are more than {limit.count:,} and more than {limit.share:.0%} "
            f"of the {self.known:,} records known there"
            for kind, limit in sorted(limits.items())
            if limit.exceeded(self.kinds[kind], self.known)
        }

    def calls(self, connection: Connection) -> int:
        """About how many calls it takes: full batches of each kind of order, and one for each word about consent."""
        size = connection.connector.limits.write_batch
        return sum(-(-n // size) for n in self.orders.values()) + self.alone

    def seconds(self, connection: Connection) -> float | None:
        """How long that takes within our part of the vendor's rate; None where the vendor publishes none."""
        rates = connection.connector.limits.rates
        calls = self.calls(connection)
        if not rates:
            return None
        return max(calls * rate.seconds / (rate.calls * connection.call_share) for rate in rates)


def _effect(new: Any) -> str:
    if new in STOPPING:
        return "withdrawals"
    return "grants" if new == Status.GRANTED else "pending"


def lines(db: Db, connection: Connection, connections: Connections, ids: Collection[int]) -> Iterator[Line]:
    """The plan of these contacts at one connection, in the order of their numbers."""
    if Can.WRITE not in connection.connector.can:
        return
    found = gather(db, connection, connections, ids)
    for number in sorted(found.contacts):
        contact, known, link = found.contacts[number], found.known[number], found.links.get(number)
        if number in found.erased:
            yield Line(connection.name, number, "reject", code="erased", reason="the person was erased")
            continue
        planned = plan(connection, Leased(number, 1, 0, None), contact, link, known)
        if isinstance(planned, Planned):
            yield order_line(planned, contact, link)
        elif link is None and (why := uncreated(connection, contact, known)) is not None:
            yield Line(connection.name, number, "reject", code=why[0], reason=why[1])
        for warning in link.warnings if link is not None and link.warnings is not None else ():
            reason = f"{warning.get('field')}: {warning.get('message')}"
            yield Line(connection.name, number, "reject", code=f"field_{warning.get('code')}", reason=reason)
        if known.asked:
            shadow = link.shadow if link is not None else {}
            asked = tuple(Change(n, shadow.get(n), contact.value(n)) for n in sorted(known.asked))
            yield Line(connection.name, number, "conflict", asked)


def order_line(planned: Planned, contact: Contact, link: Link | None) -> Line:
    """An order as the plan shows it."""
    shadow = link.shadow if link is not None else {}
    order = planned.order
    return Line(
        order.key.split(":", 1)[0],
        contact.id,
        str(order.verb),
        tuple(Change(n, shadow.get(n), new) for n, new in sorted(planned.sent.items())),
        trust.fingerprint(contact, link, order),
        planned.kinds,
    )


def numbers(db: Db, after: int, limit: int) -> list[int]:
    """The numbers of the next contacts."""
    c = t.contact.c
    return list(db.execute(select(c.id).where(c.id > after).order_by(c.id).limit(limit)).scalars())


def survey(
    database: Database,
    connections: Connections,
    names: Collection[str],
    tell: Callable[[Line], None] = lambda _line: None,
    progress: Callable[[int], None] = lambda _contacts: None,
) -> dict[str, Tally]:
    """The plan of all contacts: every line to ``tell``, the figures back; ``progress`` is told how many are through."""
    tallies = {name: Tally(name) for name in sorted(names)}
    k = t.link.c
    with database.read() as db:
        unread = tuple(sorted(trust.unread(db, connections)))
        for name, tally in tallies.items():
            tally.unread = unread
            there = select(func.count()).where(k.connection == name, k.gone_at.is_(None))
            tally.known = db.execute(there).scalar_one()
    after = 0
    while True:
        with database.read() as db:
            ids = numbers(db, after, STEP)
            for name, tally in tallies.items():
                tally.contacts += len(ids)
                for line in lines(db, connections[name], connections, ids):
                    tally.add(line)
                    tell(line)
        if not ids:
            return tallies
        after = ids[-1]
        progress(tallies[next(iter(tallies))].contacts if tallies else 0)
