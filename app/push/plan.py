"""What has to be written for one dirty link: the difference between the contact and the shadow, as one order.

Pure but for what it is handed: no call goes out from here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.core.words import STOPPING, Deletes, Duplicates, Status, Waits, Writes
from app.push.work import Leased
from app.records.contacts import Contact
from app.records.links import Link
from app.sync._mapping_consent import PREFIX
from app.sync.connection import Connection
from app.sync.consent import State, proven
from app.sync.mapping import differences
from connectors.contract import Can, Done, Order, Verb

CREATION, ARCHIVING = "+", "-"  # names among what is withheld that are no field


@dataclass(frozen=True, slots=True)
class Planned:
    """One row's order, with what is needed to finish it."""

    row: Leased
    contact: Contact
    link: Link | None
    order: Order
    sent: Mapping[str, Any] = field(repr=False)  # canonical fields in the order, as the vendor says them
    kinds: frozenset[Writes] = frozenset()  # what a brake counts in it
    held: Writes | Waits | None = None  # a part was left out: a brake stops it, or it is not trusted yet
    skipped: Mapping[str, Any] = field(default_factory=dict, repr=False)  # what ``discard`` has to remember of that
    withdrawn: tuple[int, ...] = ()  # when the withdrawals that it says were made (ms since 1970)

    @property
    def consents(self) -> bool:
        """Whether it says something about consent."""
        return any(name.startswith(PREFIX) for name in self.sent)


@dataclass(frozen=True, slots=True)
class Held:
    """All that would be written is stopped by a brake, or waits for trust."""

    row: Leased
    kind: Writes | Waits
    withheld: Mapping[str, Any] = field(repr=False)  # what ``discard`` has to remember, by field


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about one contact at one connection besides its link."""

    asked: Collection[str] = frozenset()  # fields with an open conflict, left alone until a person decided
    consents: Mapping[str, State] = field(default_factory=dict, repr=False)  # by the name of the consent rule
    buried: bool = False  # a vendor said that the person's record is deleted, and the policy says that this counts
    withheld: Mapping[str, Any] = field(default_factory=dict, repr=False)  # what a person decided not to write
    stand_in: str | None = field(default=None, repr=False)  # merged: the record here of the contact that stands for it
    refused: bool = False  # made nowhere: a tombstone stands for the address, or a person has to say who it is


NOTHING: Final = Known()


def plan(
    connection: Connection,
    row: Leased,
    contact: Contact,
    link: Link | None,
    known: Known = NOTHING,
    stopped: Collection[Writes] = frozenset(),
    waits: Collection[Waits] = frozenset(),
) -> Planned | Held | None:
    """The order that makes the vendor's record equal to the contact, or None where nothing has to be written.

    ``stopped``: kinds of write that a brake stops; they are left out, and what is left goes.  ``waits``: what is not
    trusted yet: with ``Waits.READ`` nobody is created, with ``Waits.MODE`` nothing goes but withdrawals of consent.
    """
    if not connection.only_out.fits(contact.values()):
        return _outside(connection, row, contact, link, known)
    if Waits.MODE in waits:
        return _untrusted(connection, row, plan(connection, row, contact, link, known), known)
    planned = _trusted(connection, row, contact, link, known, stopped)
    if Waits.READ in waits and isinstance(planned, Planned) and planned.order.verb is Verb.CREATE:
        return Held(row, Waits.READ, {})
    return planned


def _outside(connection: Connection, row: Leased, contact: Contact, link: Link | None, known: Known) -> Planned | None:
    """The connection is not about this contact: a record that is there is told objections, and nothing else."""
    if link is None or link.gone_at is not None:
        return None
    said = _consent(connection, link.shadow, known, {Writes.OPT_INS})
    if not said.fields:
        return None
    order = _order(connection, row, contact, Verb.UPDATE, said.fields, link)
    return Planned(row, contact, link, order, said.said, withdrawn=said.withdrawn)


def _untrusted(connection: Connection, row: Leased, free: Planned | Held | None, known: Known) -> Planned | Held | None:
    """Of an order what protects the person: objections, to a record that is there."""
    if not isinstance(free, Planned):
        return free
    if free.link is None or free.order.verb is not Verb.UPDATE:
        return Held(row, Waits.MODE, {})
    said = _consent(connection, free.link.shadow, known, {Writes.OPT_INS})
    if not said.fields:
        return Held(row, Waits.MODE, {})
    held = None if said.fields == dict(free.order.fields) else Waits.MODE
    order = replace(free.order, fields=said.fields)
    return Planned(row, free.contact, free.link, order, said.said, held=held, withdrawn=said.withdrawn)


def _trusted(
    connection: Connection,
    row: Leased,
    contact: Contact,
    link: Link | None,
    known: Known,
    stopped: Collection[Writes],
) -> Planned | Held | None:
    stopped = frozenset(stopped) - ({row.let} if row.let is not None else frozenset())
    if link is None:
        return _create(connection, row, contact, known, stopped)
    if link.gone_at is not None:
        return None
    if contact.merged_into is not None:
        return _duplicate(connection, row, contact, link, known, stopped)
    if known.buried and connection.deletes_out is not Deletes.IGNORE and Can.ARCHIVE in connection.connector.can:
        return _remove(row, contact, link, _order(connection, row, contact, Verb.ARCHIVE, {}, link), known, stopped)
    return _update(connection, row, contact, link, known, stopped)


def _create(
    connection: Connection, row: Leased, contact: Contact, known: Known, stopped: Collection[Writes]
) -> Planned | Held | None:
    mapping, values = connection.map, contact.values()
    if uncreated(connection, contact, known) is not None:
        return None
    names = [n for n in sorted(mapping.out_fields) if values.get(n) is not None]
    written = mapping.write(values, names)
    fields = {n: v for n, v in written.fields.items() if v is not None}
    if not fields:
        return None
    if Writes.CREATES in stopped:
        return Held(row, Writes.CREATES, {CREATION: None})
    # Who has objected is created objecting, in the same order: no mail can leave in between.
    said = _consent(connection, {}, known, stopped)
    order = _order(connection, row, contact, Verb.CREATE, {**fields, **said.fields})
    kinds = frozenset({Writes.CREATES, *said.kinds})
    return Planned(row, contact, None, order, {**written.said, **said.said}, kinds, said.held, said.skipped)


def uncreated(connection: Connection, contact: Contact, known: Known) -> tuple[str, str] | None:
    """Why no record is made of a contact that has none there: a code and a sentence; None where one is."""
    if not connection.only_out.fits(contact.values()):
        return "outside", "the connection is not about such contacts: `only: out` in tandem.yml"
    if contact.merged_into is not None:
        return "merged", "another contact stands for it"
    if known.buried:
        return "deleted", "a vendor said that the person's record is deleted"
    if known.refused:
        return "refused", "a tombstone stands for the address, or a person has to say who it is: `tandem match list`"
    if CREATION in known.withheld:
        return "withheld", "a person decided that it is not created there"
    values = contact.values()
    missing = sorted(name for name in connection.map.required if values.get(name) is None)
    if missing:
        return "incomplete", f"the vendor takes no record without {', '.join(missing)}"
    return None


def _remove(
    row: Leased, contact: Contact, link: Link, order: Order, known: Known, stopped: Collection[Writes]
) -> Planned | Held | None:
    """The order that takes the record away there, unless a person decided otherwise or a brake stops it."""
    if ARCHIVING in known.withheld:
        return None
    if Writes.DELETES in stopped:
        return Held(row, Writes.DELETES, {ARCHIVING: None})
    return Planned(row, contact, link, order, {}, frozenset({Writes.DELETES}))


def _duplicate(
    connection: Connection, row: Leased, contact: Contact, link: Link, known: Known, stopped: Collection[Writes]
) -> Planned | Held | None:
    """The record of a contact that another one stands for, at a vendor that still has both.

    Nothing of the contact is written there any more but an objection, which always is.
    """
    can = connection.connector.can
    # A second record is one of two that the vendor holds of one person: which of them is kept is a person's to say.
    policy = connection.duplicates if link.second_at is None else None
    match policy:
        case Duplicates.ARCHIVE if Can.ARCHIVE in can and known.stand_in is not None:
            return _remove(row, contact, link, _order(connection, row, contact, Verb.ARCHIVE, {}, link), known, stopped)
        case Duplicates.MERGE if Can.MERGE in can and known.stand_in is not None:
            order = replace(_order(connection, row, contact, Verb.MERGE, {}), id=known.stand_in, loser=link.remote_id)
            return _remove(row, contact, link, order, known, stopped)
    said = _consent(connection, link.shadow, known, {*stopped, Writes.OPT_INS})
    if not said.fields:
        return None
    order = _order(connection, row, contact, Verb.UPDATE, said.fields, link)
    return Planned(row, contact, link, order, said.said, withdrawn=said.withdrawn)


def _update(
    connection: Connection, row: Leased, contact: Contact, link: Link, known: Known, stopped: Collection[Writes]
) -> Planned | Held | None:
    mapping, values = connection.map, contact.values()
    projected = _unwritten(connection, values, link, known)
    names = list(projected)
    over = [n for n in names if link.shadow.get(n) is not None]
    held = Writes.OVERWRITES if over and Writes.OVERWRITES in stopped else None
    if held is not None:
        names = [n for n in names if n not in over]
    written = mapping.write(values, names)
    said = _consent(connection, link.shadow, known, stopped)
    fields = {**written.fields, **said.fields}
    waits = held if held is not None else said.held
    skipped = {n: projected[n] for n in over} if held is not None else said.skipped
    if not fields:
        if waits is None:
            return None
        return Held(row, waits, skipped)
    order = _order(connection, row, contact, Verb.UPDATE, fields, link)
    kinds = frozenset({*said.kinds, *((Writes.OVERWRITES,) if over and held is None else ())})
    return Planned(row, contact, link, order, {**written.said, **said.said}, kinds, waits, skipped, said.withdrawn)


def lacking(connection: Connection, contact: Contact, link: Link, known: Known) -> frozenset[str]:
    """What the record would have to be told if nothing stopped it: canonical fields, and names of consent rules.

    The comparison of ``plan``, for whoever measures how far the two are apart.
    """
    if link.gone_at is not None or (known.buried and connection.deletes_out is not Deletes.IGNORE):
        return frozenset()
    if contact.merged_into is not None or not connection.only_out.fits(contact.values()):
        return frozenset(_consent(connection, link.shadow, known, {Writes.OPT_INS}).said)
    said = _consent(connection, link.shadow, known, ()).said
    return frozenset(_unwritten(connection, contact.values(), link, known)) | frozenset(said)


def _unwritten(connection: Connection, values: Mapping[str, Any], link: Link, known: Known) -> dict[str, Any]:
    """The fields to write, and what the vendor will say back: what a person has to decide, or decided, aside."""
    names = [n for n in _different(connection, values, link) if n not in known.asked]
    projected = {n: connection.map.project(n, values.get(n)) for n in names}
    return {n: v for n, v in projected.items() if not (n in known.withheld and known.withheld[n] == v)}


def _different(connection: Connection, values: Mapping[str, Any], link: Link) -> list[str]:
    altered = link.altered if link.altered is not None else {}
    return [
        n
        for n in sorted(differences(connection.map, values, link.shadow))
        if not (n in altered and altered[n] == connection.map.project(n, values.get(n)))
    ]


def _order(
    connection: Connection,
    row: Leased,
    contact: Contact,
    verb: Verb,
    fields: Mapping[str, Any],
    link: Link | None = None,
) -> Order:
    """``link``: the record that it is about, where there is one."""
    key, again = f"{connection.name}:{contact.id}:{contact.version}", row.attempts > 1
    if link is None:
        return Order(key, connection.kind, verb, fields, again=again)
    known = _held(connection, link)
    return Order(key, connection.kind, verb, fields, id=link.remote_id, known=known, again=again)


def _held(connection: Connection, link: Link) -> Mapping[str, Any]:
    """What the vendor's record holds as far as we know, in the vendor's words; objections included."""
    mapping = connection.map
    fields = dict(mapping.write(link.shadow, [n for n in mapping.out_fields if n in link.shadow]).fields)
    for rule in mapping.consents:
        if link.shadow.get(rule.name) in STOPPING and Status.WITHDRAWN in rule.write:
            fields[rule.theirs] = rule.write[Status.WITHDRAWN]
    return fields


@dataclass(frozen=True, slots=True)
class _Said:
    """Consent that the vendor does not know yet: in its words, and as it reads back."""

    fields: dict[str, Any]
    said: dict[str, Any]
    kinds: frozenset[Writes]
    held: Writes | None
    skipped: dict[str, Any]
    withdrawn: tuple[int, ...]


def _consent(connection: Connection, shadow: Mapping[str, Any], known: Known, stopped: Collection[Writes]) -> _Said:
    """A stop is said unless the vendor stops already, whatever brake is on; a grant only where it rests on evidence."""
    fields: dict[str, Any] = {}
    said: dict[str, Any] = {}
    skipped: dict[str, Any] = {}
    granted = False
    withdrawn: list[int] = []
    for rule in connection.map.consents:
        held = known.consents.get(rule.name)
        before = shadow.get(rule.name)
        if held is None or (held.stops and before in STOPPING):
            continue
        if not held.stops and (not proven(held) or before == Status.GRANTED):
            continue
        word = rule.said(held.status)
        if word is None or before == str(word[1]):
            continue  # no word for it, or the vendor holds that word already
        if not held.stops:
            if known.withheld.get(rule.name) == str(word[1]):
                continue
            if Writes.OPT_INS in stopped:
                skipped[rule.name] = str(word[1])
                continue
            granted = True
        elif held.entry is not None:
            withdrawn.append(held.entry.at)
        fields[rule.theirs], said[rule.name] = word[0], str(word[1])
    return _Said(
        fields,
        said,
        frozenset({Writes.OPT_INS} if granted else ()),
        Writes.OPT_INS if skipped else None,
        skipped,
        tuple(withdrawn),
    )


def objections(connection: Connection, refused: Planned) -> Planned | None:
    """Of an order that the vendor refused, what protects the person, as an order of its own.

    None where that was all of it, or nothing of it: whatever is wrong with a name or an address, who has objected is
    not written to meanwhile.
    """
    order = refused.order
    stops = {r.theirs: r.name for r in connection.map.consents if refused.sent.get(r.name) in STOPPING}
    fields = {name: value for name, value in order.fields.items() if name in stops}
    if order.verb is not Verb.UPDATE or not fields or len(fields) == len(order.fields):
        return None
    said = {stops[name]: refused.sent[stops[name]] for name in fields}
    alone = replace(order, key=f"{order.key}:objection", fields=fields)
    return replace(refused, order=alone, sent=said, kinds=frozenset(), held=None, skipped={})


def held_now(connection: Connection, planned: Planned, receipt: Done) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the vendor holds now of what was sent, and which of it the vendor keeps otherwise than we said it."""
    held = dict(planned.sent)
    if receipt.record is None:
        return held, {}
    answered = dict(connection.map.read(receipt.record.fields, all=True).claim)
    answered |= {c.name: str(c.status) for c in connection.map.read_consent(receipt.record.fields)}
    altered = {}
    for name, sent in planned.sent.items():
        if name in answered and answered[name] != sent:
            held[name] = answered[name]
            altered[name] = sent
    return held, altered
