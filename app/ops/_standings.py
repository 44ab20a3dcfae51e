"""How one field of a contact stands at each connection: there since when, waiting for what, or refused and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, select

from app.core import tables as t
from app.core.words import MISSING, Fact
from app.ops.shapes import Moment, Shape, moment
from app.push import withheld, work
from app.push.plan import CREATION
from app.records import conflicts, state, tombstones
from app.records import links as pairs
from app.records.contacts import Contact
from app.records.links import Link
from app.sync.connection import Connection, Connections

State = Literal[
    "said_it",
    "landed",
    "equal",
    "waiting",
    "braked",
    "paused",
    "refused",
    "asked",
    "withheld",
    "altered",
    "unsayable",
    "not_cleared",
    "read_only",
    "observed",
    "gone",
    "not_made",
    "different",
]


class Standing(Shape):
    """A field at one connection."""

    connection: str = Field(examples=["mailchimp"])
    state: State = Field(examples=["landed"])
    words: str = Field(description="The same for people.", examples=["written there"])
    remote_id: str | None = Field(description="The contact's record there.")
    at: Moment | None = Field(description="When it landed, was said or was refused; or since when it waits.")
    holds: Any = Field(description="What the record is known to hold, in canonical words.")
    next_step: str | None = Field(description="What would help; null: nothing has to be done.")


@dataclass(frozen=True, slots=True)
class Around:
    """What is known of one contact at all connections."""

    links: Mapping[str, Link]
    pending: Mapping[str, RowMapping]
    dead: Mapping[str, RowMapping]  # the newest letter of a push
    withheld: Mapping[str, Mapping[str, Any]] = field(repr=False)
    asked: Mapping[tuple[str, str], int]  # (connection, field) → conflict
    paused: frozenset[str]
    buried: bool


def around(db: Db, connections: Connections, contact: int) -> Around:
    """Everything that a standing depends on, in a bounded number of statements."""
    w, d = t.work.c, t.dead.c
    names = sorted(connections)
    pending = db.execute(select(t.work).where(w.connection.in_(names), w.contact_id == contact)).mappings()
    letters = select(t.dead).where(d.contact_id == contact, d.station == "push").order_by(d.id)
    return Around(
        {k.connection: k for k in pairs.of_contact(db, contact)},
        {row["connection"]: row for row in pending},
        {row["connection"]: row for row in db.execute(letters).mappings()},
        {name: withheld.of(db, name, [contact]).get(contact, {}) for name in names},
        {(row["connection"], row["field"]): row["id"] for row in conflicts.of_contact(db, contact)},
        frozenset(state.paused(db)),
        contact in tombstones.buried(db, [contact]),
    )


def standing(connection: Connection, contact: Contact, name: str, around: Around) -> Standing | None:
    """How a field stands there; None where it is not mapped there."""
    mapping = connection.map
    if name not in mapping.in_fields | mapping.out_fields:
        return None
    fact, link = contact.facts.get(name), around.links.get(connection.name)
    found = _state(connection, contact, name, fact, link, around)
    return Standing(
        connection=connection.name,
        state=found[0],
        words=found[1],
        at=moment(found[2]),
        next_step=found[3],
        remote_id=link.remote_id if link is not None else None,
        holds=link.shadow.get(name) if link is not None else None,
    )


Found = tuple[State, str, int | None, str | None]


def _state(
    connection: Connection, contact: Contact, name: str, fact: Fact | None, link: Link | None, around: Around
) -> Found:
    if link is None:
        return _without_record(connection, contact, around)
    if link.gone_at is not None:
        return "gone", "its record there was deleted or archived", link.gone_at, None
    landed = link.landed.get(name) if link.landed is not None else None
    value = fact.value if fact is not None else None
    holds = link.shadow.get(name, MISSING)
    here = connection.map.project(name, value)
    if holds is not MISSING and any(holds == one for one in (value, here)):
        if fact is not None and fact.source == connection.name:
            return "said_it", "it comes from there", fact.at, None
        if landed is not None:
            return "landed", "written there", landed, None
        return "equal", "the record said the same already", None, None
    if name not in connection.map.out_fields:
        return "read_only", "the mapping only reads this field there (way: in)", None, None
    if value is None and (fact is None or holds is MISSING):
        return "equal", "neither side has a value", None, None
    asked = around.asked.get((connection.name, name))
    if asked is not None:
        return "asked", "both sides changed it: a person has to decide", None, f"`tandem conflict show {asked}`"
    altered = link.altered if link.altered is not None else {}
    if here is not MISSING and name in altered and altered[name] == here:
        return "altered", "the vendor keeps what was written otherwise than it was sent", landed, None
    if here is MISSING:
        return "unsayable", "the vendor cannot hold this value", None, "change the value, or the field's mapping"
    if value is None and not connection.map.policy(name).clearable:
        return "not_cleared", "the mapping does not let this field be cleared there (clear: ignored)", None, None
    if name in around.withheld.get(connection.name, {}) and around.withheld[connection.name][name] == here:
        return "withheld", "a person decided not to write this value there", None, "a new value is written again"
    return _not_yet(connection, name, around)


def _without_record(connection: Connection, contact: Contact, around: Around) -> Found:
    missing = [n for n in connection.map.required if contact.value(n) is None]
    if contact.merged_into is not None:
        return "not_made", f"contact {contact.merged_into} stands for it now", None, None
    if around.buried:
        return (
            "not_made",
            "a vendor said that the person's record was deleted: a tombstone stands",
            None,
            "`tandem tombstone list --address ADDRESS`, then lift it, if the person is to come back",
        )
    if CREATION in around.withheld.get(connection.name, {}):
        return "withheld", "a person decided not to make the record there", None, "a new value is written again"
    if missing:
        return "not_made", f"the vendor takes no record without {', '.join(missing)}", None, "add it at its source"
    state, words, at, step = _not_yet(connection, None, around)
    if state == "different":
        return "not_made", "there is no record there, and nothing waits", None, None
    return state, f"no record there yet; {words}", at, step


def _not_yet(connection: Connection, name: str | None, around: Around) -> Found:
    """Why a difference is still one."""
    row, letter = around.pending.get(connection.name), around.dead.get(connection.name)
    if not connection.writes:
        return "observed", "nothing is written there (mode: observe)", None, "`mode: live` in tandem.yml"
    if letter is not None and (name is None or letter["field"] in {None, name} or row is None):
        return (
            "refused",
            f"{letter['reason']} ({letter['code']})",
            letter["at"],
            f"{letter['next_step']}; `tandem dead retry {letter['id']}`",
        )
    if row is None:
        return "different", "it differs, and nothing waits", None, "change the value once more, or replay its event"
    if row["held"] is not None and not row["held"].startswith(work.LET):
        kind = row["held"]
        return "braked", f"a brake stopped {kind}", row["since"], f"`tandem brake show {connection.name} {kind}`"
    if connection.name in around.paused:
        return "paused", "the connection rests", row["since"], f"`tandem resume {connection.name}`"
    words = "is being written" if row["lease"] is not None else "waits for its turn"
    if row["error"] is not None and row["lease"] is None:
        words = f"waits to be tried again: {row['error']}"
    return "waiting", words, row["since"], None
