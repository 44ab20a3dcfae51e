"""Why each value is here: ``/contacts/{contact_id}/explain``.

Field by field: the event and the record that brought the value, the rule of the mapping that translated it, what
merging decided against which other claims, how it stands at each connection, and what was refused and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, select

from app.agreement.leads import RULE as AGREED
from app.agreement.words import SOURCE as AGREEMENT
from app.core import tables as t
from app.core.clock import from_ms
from app.core.db import Database
from app.core.errors import NotFound
from app.core.words import OPERATOR, Fact
from app.ops._ratchet import ConsentWhy, consents_of
from app.ops._standings import Around, Standing, around, standing
from app.ops.auth import allowed
from app.ops.problems import known_query
from app.ops.shapes import Id, Moment, Shape, Text, moment
from app.records import contacts as people
from app.records import refusals
from app.records.contacts import Contact
from app.sync.connection import Connection, Connections
from app.sync.summarising import SOURCE

h, i, d = t.history.c, t.inbox.c, t.dead.c

WORDS: Final[Mapping[str, str]] = {
    "summary": "made of the company, the deals and the engagement of the contact",
    AGREED: "worked out from what happened, by the version of the agreement that was in force",
    "first": "nobody had said anything about it before",
    "changed": "only they had changed it",
    "blank": "a record that is seen for the first time states nothing by an empty field",
    "clearing not allowed": "the mapping does not let this field be cleared (clear: ignored)",
    "always ours": "both had changed it; a person decided: always ours",
    "always theirs": "both had changed it; a person decided: always theirs",
    "merge": "it came with another contact that was merged into this one",
    "split": "two people were taken apart, and it went back to whom it came from",
    "undo": "a person put it back",
    "decided": "both had changed it; a person decided",
    refusals.STALE: "the record was older than what is known of it",
    refusals.TOMBSTONE: "a record of the person was deleted: a tombstone stands, so it was not taken in again",
    refusals.OTHERS: "another contact has this address",
}
"""Rule, or code of a refusal → the same in plain words."""

NEXT: Final[Mapping[str, str]] = {
    "blank": "to empty it, give it a value at the vendor and clear it then",
    "clearing not allowed": "`clear: allowed` in the mapping lets it be emptied",
    refusals.TOMBSTONE: "`tandem tombstone list --address ADDRESS`, then lift it, if the person is to come back",
    refusals.OTHERS: "merge the two at their vendor, or correct the address",
}
"""Code of a refusal → what would let the value in."""


class Cause(Shape):
    """What brought a value."""

    words: str = Field(examples=["event 12: hubspot said that record 501 changed"])
    source: str = Field(description="The connection, or whoever said it.", examples=["hubspot"])
    actor: str | None = Field(description="The operator.", examples=["Kim"])
    run: int | None = Field(description="The operator's run that it was part of, see /ops/runs/{run_id}.")
    at: Moment = Field(description="When it was said, by the source's clock.")
    event: int | None = Field(description="See /ops/events/{event_id}.")
    action: str | None = Field(examples=["changed"])
    record: str | None = Field(description="The record that it came with, as its vendor names it.")
    received_at: Moment | None
    delivery: int | None = Field(description="The request that brought the event; null: a poll found it.")
    kept: bool = Field(description="False: the event is no longer kept; what is said here is all that is left.")


class RuleShown(Shape):
    """The rule of a mapping, as the file says it now."""

    connection: str = Field(examples=["hubspot"])
    file: str = Field(examples=["mappings/hubspot.yaml"])
    line: int | None = Field(examples=[31])
    theirs: str = Field(description="The vendor's field.", examples=["firstname"])
    way: str = Field(examples=["both"])
    winner: str = Field(examples=["newest"])
    clear: str = Field(examples=["allowed"])
    read: list[str] = Field(description="The transforms that it was read with, in their order.")
    write: list[str]


class Refused(Shape):
    """A claim that was not let in."""

    connection: str = Field(examples=["mailchimp"])
    value: Any
    code: str = Field(examples=["double edit: crm"])
    words: str = Field(description="Why.")
    at: Moment | None = Field(description="When it was said, by the source's clock.")
    event: int | None
    next_step: str | None = Field(description="What would let it in; null: nothing has to be done.")


class FieldWhy(Shape):
    """Why one field has its value."""

    field: str = Field(examples=["city"])
    value: Any
    before: Any = Field(description="What it was before; null: nothing.")
    before_by: str | None = Field(description="Who had said that.", examples=["mailchimp"])
    cause: Cause | None = Field(description="null: nobody has said anything about it.")
    rule: RuleShown | None = Field(description="null: it comes from no vendor.")
    decision: str | None = Field(description="The rule that let it in.", examples=["changed"])
    words: str = Field(description="The same for people.")
    sides: list[Standing] = Field(description="At each connection that has the field.")
    refused: list[Refused] = Field(description="Other claims about it, and why each was not let in.")


class Why(Shape):
    """Why a contact is as it is."""

    contact_id: int = Field(examples=[42])
    merged_into: int | None
    fields: list[FieldWhy]
    records: list[Refused] = Field(description="Whole records that were refused.")
    consent: list[ConsentWhy] = Field(description="What holds, through which word, and what did not count.")


def words_of(rule: str) -> str:
    """A rule of merging, or the code of a refusal, in plain words."""
    if rule in WORDS:
        return WORDS[rule]
    kind, _, winner = rule.partition(": ")
    who = {
        "crm": "the CRM wins this field",
        "marketing": "the marketing platform wins this field",
        "newest": "the newest wins this field",
        "fill": "the value that was there first stays",
        "max": "the greatest wins this field",
        "union": "all values are kept",
    }.get(winner)
    if who is None:
        return rule
    return f"{'both had a value when the record was first seen' if kind == 'first' else 'both had changed it'}; {who}"


def why(db: Db, connections: Connections, number: int, name: str | None = None) -> Why:
    """Why a contact's values, or the value of one field, are as they are.  Raises NotFound."""
    contact = people.load(db, [number]).get(number)
    if contact is None:
        raise NotFound(f"there is no contact {number}")
    mapped = sorted({f for c in connections.values() for f in c.map.in_fields | c.map.out_fields} | set(contact.facts))
    if name is not None and name not in mapped:
        raise NotFound(f"no field {name!r}; there are: {', '.join(mapped)}")
    names = [name] if name is not None else [n for n in mapped if n in contact.facts]
    known = around(db, connections, number)
    refused = refusals.of_contact(db, number)
    if name is None:
        names = sorted({*names, *(r["field"] for r in refused if r["field"] != refusals.WHOLE), *_warned(known)})
    causes = _events(db, [f.event for f in contact.facts.values() if f.event is not None])
    befores = _befores(db, number, names)
    return Why(
        contact_id=number,
        merged_into=contact.merged_into,
        fields=[_field(connections, contact, n, known, refused, causes, befores) for n in names],
        records=_records(db, number, refused),
        consent=consents_of(db, connections, contact) if name is None else [],
    )


def _warned(known: Around) -> set[str]:
    return {w["field"] for link in known.links.values() if link.warnings is not None for w in link.warnings}


def _field(
    connections: Connections,
    contact: Contact,
    name: str,
    known: Around,
    refused: list[RowMapping],
    causes: Mapping[int, RowMapping],
    befores: Mapping[str, tuple[Any, str | None]],
) -> FieldWhy:
    fact = contact.facts.get(name)
    source = connections[fact.source] if fact is not None and fact.source in connections else None
    before, before_by = befores.get(name, (None, None))
    sides = [standing(connections[c], contact, name, known) for c in sorted(connections)]
    return FieldWhy(
        field=name,
        value=fact.value if fact is not None else None,
        before=before,
        before_by=before_by,
        cause=_cause(fact, causes, known) if fact is not None else None,
        rule=rule_of(source, name) if source is not None else None,
        decision=fact.rule if fact is not None else None,
        words=words_of(fact.rule) if fact is not None else "nobody has said anything about it",
        sides=[one for one in sides if one is not None],
        refused=[*(_refused(r) for r in refused if r["field"] == name), *_dropped(known, name)],
    )


def _cause(fact: Fact, causes: Mapping[int, RowMapping], known: Around) -> Cause:
    row = causes.get(fact.event) if fact.event is not None else None
    link = known.links.get(fact.source)
    record = row["ref_value"] if row is not None and row["ref_key"] == "id" else link.remote_id if link else None
    if row is not None:
        how = f"delivery {row['delivery']}" if row["delivery"] is not None else "a poll"
        words = f"event {row['id']}: {fact.source} said that a record was {row['action']} ({how})"
    elif fact.event is not None:
        words = f"event {fact.event} of {fact.source}, which is no longer kept"
    elif fact.actor is not None:
        words = f"{fact.actor} said so here" + (f" (run {fact.run})" if fact.run is not None else "")
    elif fact.source == AGREEMENT:
        words = "the agreement between sales and marketing decided so; `tandem lead show` has the steps and why"
    else:
        ours = {OPERATOR: "an operator said so here", SOURCE: "Tandem made it of what stands around the contact"}
        words = ours.get(fact.source, f"a reading of {fact.source}")
    return Cause(
        words=words,
        source=fact.source,
        actor=fact.actor,
        run=fact.run,
        at=from_ms(fact.at),
        event=fact.event,
        action=row["action"] if row is not None else None,
        record=record if fact.source != OPERATOR else None,
        received_at=moment(row["received_at"]) if row is not None else None,
        delivery=row["delivery"] if row is not None else None,
        kept=row is not None or fact.event is None,
    )


def rule_of(connection: Connection, name: str) -> RuleShown | None:
    """What a connection's mapping says of a field; None where it has none of its own."""
    entry = connection.map.entries.get(name)
    if entry is None:
        return None
    return RuleShown(
        connection=connection.name,
        file=connection.map.file,
        line=connection.map.lines.get(f"fields.{name}"),
        theirs=entry.theirs if entry.part is None else f"{entry.theirs}.{entry.part}",
        way=entry.policy.way,
        winner=entry.policy.winner,
        clear="allowed" if entry.policy.clearable else "ignored",
        read=list(entry.reads),
        write=list(entry.writes),
    )


def _refused(row: RowMapping) -> Refused:
    return Refused(
        connection=row["connection"],
        value=row["value"],
        code=row["code"],
        words=words_of(row["code"]),
        at=from_ms(row["at"]),
        event=row["event"],
        next_step=NEXT.get(row["code"]),
    )


def _dropped(known: Around, name: str) -> list[Refused]:
    """Values that the mapping could not translate."""
    return [
        Refused(
            connection=link.connection,
            value=None,
            code=warning["code"],
            words=f"the mapping could not use what the record says: {warning['message']}",
            at=moment(link.modified),
            event=None,
            next_step="correct the value at its source, or the field's mapping",
        )
        for link in known.links.values()
        for warning in (link.warnings if link.warnings is not None else ())
        if warning["field"] == name and warning["code"] != refusals.OTHERS
    ]


def _records(db: Db, contact: int, refused: list[RowMapping]) -> list[Refused]:
    letters = select(t.dead).where(d.contact_id == contact, d.station == "sync").order_by(d.id)
    return [
        *(_refused(row) for row in refused if row["field"] == refusals.WHOLE),
        *(
            Refused(
                connection=row["connection"],
                value=None,
                code=row["code"],
                words=row["reason"],
                at=from_ms(row["at"]),
                event=row["event"],
                next_step=f"{row['next_step']}; `tandem dead retry {row['id']}`",
            )
            for row in db.execute(letters).mappings()
        ),
    ]


def _events(db: Db, ids: list[int]) -> dict[int, RowMapping]:
    columns = (i.id, i.action, i.ref_key, i.ref_value, i.received_at, i.delivery)
    rows = db.execute(select(*columns).where(i.id.in_(sorted(set(ids))))).mappings() if ids else ()
    return {row["id"]: row for row in rows}


def _befores(db: Db, contact: int, names: list[str]) -> dict[str, tuple[Any, str | None]]:
    """What each field was before its last change, and who had said that."""
    found: dict[str, tuple[Any, str | None]] = {}
    last: dict[str, str] = {}
    query = select(h.field, h.old, h.source).where(h.contact_id == contact, h.field.in_(names))
    for row in db.execute(query.order_by(h.version, h.id)):
        found[row.field] = (row.old, last.get(row.field))
        last[row.field] = row.source
    return found


OneField = Annotated[Text | None, Query(max_length=100, description="Only this field.", examples=["city"])]


def provenance_api(database: Database, connections: Connections) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["contacts"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/contacts/{contact_id}/explain")
    def explain_contact(contact_id: Id, field: OneField = None) -> Why:
        """Say why each value is here: what brought it, what decided, how it stands everywhere, what was refused."""
        with database.read() as db:
            return why(db, connections, contact_id, field)

    return router
