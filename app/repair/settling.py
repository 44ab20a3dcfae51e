"""A person decides a double edit: one of the two values, or a third one, holds on all sides from now on.

What is decided is said by the operator (``app.sync.saying``), so it stands in the history with its rule and their name,
and travels to every vendor.  With ``always`` the choice is remembered for the field at that connection, and merging
follows it instead of asking.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.core.db import clock_of
from app.core.errors import NotPossible
from app.core.fields import Unfit
from app.core.words import MISSING, Value
from app.records import conflicts
from app.records import contacts as people
from app.records.contacts import Contact
from app.sync import saying
from app.sync.connection import Connections
from app.sync.merging import OURS, THEIRS
from app.sync.saying import Said

RULE: Final = "decided"
OWN: Final = "value"  # neither of the two

Choice = Literal["ours", "theirs", "value"]


@dataclass(frozen=True, slots=True)
class Decided:
    """What holds now, and how many double edits of the same kind still wait."""

    contact: int
    field: str
    value: Value = dataclasses.field(repr=False)
    waiting: int


def decide(
    db: Db,
    connections: Connections,
    number: int,
    choose: Choice,
    by: str,
    *,
    value: Value = MISSING,
    always: bool = False,
) -> Decided:
    """Decide a conflict.  ``value``: what holds where ``choose`` is ``value``; None: it is emptied.

    Raises NotFound, and NotPossible for a value that cannot be kept, or where the contact is not what it was.
    """
    row = conflicts.one(db, number, lock=True)
    if row["connection"] not in connections:
        raise NotPossible(f"its connection {row['connection']} is not configured any more")
    if choose == OWN and always:
        raise NotPossible("a value of your own holds for one contact; `always` goes with ours or theirs")
    if (choose == OWN) is (value is MISSING):
        raise NotPossible("a value goes with the choice `value`, and only with it")
    contact = people.load(db, [row["contact_id"]], lock=True).get(row["contact_id"])
    if contact is None or contact.merged_into is not None:
        raise NotPossible(f"contact {row['contact_id']} was merged into another one")
    chosen = _chosen(connections, row, contact, choose, value)
    wanted = {contact.id: {row["field"]: chosen}}
    owned = saying.taken(db, connections, wanted)
    if owned:
        raise NotPossible(f"contact {owned[contact.id, row['field']]} has this address: merge the two, or correct one")
    now = clock_of(db)
    conflicts.close(db, number)
    for other in conflicts.of_contact(db, contact.id):
        if other["field"] == row["field"] and other["theirs"] == chosen:
            conflicts.close(db, other["id"])  # that side agrees now
    if always:
        conflicts.rule(db, row["connection"], row["field"], choose, by, now)
    saying.say(db, connections, {contact.id: contact}, Said(by, RULE, now, values=wanted))
    return Decided(contact.id, row["field"], chosen, conflicts.waiting(db, row["connection"], row["field"]))


def _chosen(connections: Connections, row: RowMapping, contact: Contact, choose: Choice, value: Value) -> Value:
    name, connection = row["field"], connections[row["connection"]]
    chosen = contact.value(name) if choose == OURS else row["theirs"] if choose == THEIRS else value
    if choose == OWN and chosen is not None:
        entry = connection.map.entries.get(name)
        if entry is None:
            raise NotPossible(f"{connection.name} has no field {name} any more")
        try:
            chosen = entry.normal(chosen)
        except (Unfit, TypeError, AttributeError):
            raise NotPossible(f"this is no value for {name}, which is a {entry.field.type}") from None
        if connection.map.project(name, chosen) is MISSING:
            raise NotPossible(f"{connection.name} cannot hold this value for {name}; its mapping says what it can")
    if chosen is None:
        keeping = [
            c.name for c in connections.values() if name in c.map.out_fields and not c.map.policy(name).clearable
        ]
        if keeping:
            raise NotPossible(f"{name} cannot be emptied at {', '.join(keeping)} (clear: ignored)")
    return chosen
