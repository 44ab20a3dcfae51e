"""What has to be written for one dirty link: the difference between the contact and the shadow, as one order.

Pure but for what it is handed: no call goes out from here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.core.words import Deletes, Status
from app.push.work import Leased
from app.records.contacts import Contact
from app.records.links import Link
from app.sync._mapping_consent import PREFIX
from app.sync.connection import Connection
from app.sync.consent import State, proven
from app.sync.mapping import differences
from connectors.contract import Can, Done, Order, Verb

STOPPED: Final = frozenset({Status.WITHDRAWN, Status.SUPPRESSED})


@dataclass(frozen=True, slots=True)
class Planned:
    """One row's order, with what is needed to finish it."""

    row: Leased
    contact: Contact
    link: Link | None
    order: Order
    sent: Mapping[str, Any] = field(repr=False)  # canonical fields in the order, as the vendor says them

    @property
    def consents(self) -> bool:
        """Whether it says something about consent."""
        return any(name.startswith(PREFIX) for name in self.sent)


def plan(
    connection: Connection,
    row: Leased,
    contact: Contact,
    link: Link | None,
    *,
    asked: Collection[str] = frozenset(),
    consents: Mapping[str, State],
    buried: bool = False,
) -> Planned | None:
    """The order that makes the vendor's record equal to the contact, or None where nothing has to be written.

    ``asked``: fields with an open conflict, which are left alone until a person decided.  ``consents``: what holds, by
    the name of the mapping's consent rule.  ``buried``: a vendor said that the person's record is deleted, and the
    policy says that this counts: nothing is created, and where this connection's policy says so, archived.
    """
    mapping, values = connection.map, contact.values()
    key = f"{connection.name}:{contact.id}:{contact.version}"
    again = row.attempts > 1
    if buried and link is None:
        return None
    if link is None:
        if any(values.get(name) is None for name in mapping.required):
            return None  # the vendor takes no record without these
        names = [n for n in sorted(mapping.out_fields) if values.get(n) is not None]
        written = mapping.write(values, names)
        fields = {n: v for n, v in written.fields.items() if v is not None}
        if not fields:
            return None
        # Who has objected is created objecting, in the same order: no mail can leave in between.
        consent_fields, consent_said = _consent(connection, {}, consents)
        order = Order(key, connection.kind, Verb.CREATE, {**fields, **consent_fields}, again=again)
        return Planned(row, contact, None, order, {**written.said, **consent_said})
    if link.gone_at is not None:
        return None
    if buried and connection.deletes_out is not Deletes.IGNORE and Can.ARCHIVE in connection.connector.can:
        known = mapping.write(link.shadow, [n for n in mapping.out_fields if n in link.shadow]).fields
        order = Order(key, connection.kind, Verb.ARCHIVE, {}, id=link.remote_id, known=known, again=again)
        return Planned(row, contact, link, order, {})
    altered = link.altered if link.altered is not None else {}
    names = [
        n
        for n in sorted(differences(mapping, values, link.shadow))
        if n not in asked and not (n in altered and altered[n] == mapping.project(n, values.get(n)))
    ]
    written = mapping.write(values, names)
    consent_fields, consent_said = _consent(connection, link.shadow, consents)
    fields = {**written.fields, **consent_fields}
    if not fields:
        return None
    known = mapping.write(link.shadow, [n for n in mapping.out_fields if n in link.shadow]).fields
    order = Order(key, connection.kind, Verb.UPDATE, fields, id=link.remote_id, known=known, again=again)
    return Planned(row, contact, link, order, {**written.said, **consent_said})


def _consent(
    connection: Connection, shadow: Mapping[str, Any], consents: Mapping[str, State]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Consent that the vendor does not know yet: in its words, and as it reads back.

    A stop is said unless the vendor stops already; a grant only where it rests on evidence.
    """
    fields: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for rule in connection.map.consents:
        held = consents.get(rule.name)
        before = shadow.get(rule.name)
        if held is None or (held.stops and before in STOPPED):
            continue
        if not held.stops and (not proven(held) or before == Status.GRANTED):
            continue
        word = rule.said(held.status)
        if word is not None:
            fields[rule.theirs], said[rule.name] = word[0], str(word[1])
    return fields, said


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
