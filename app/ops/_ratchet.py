"""Why a consent stands as it does: the word that decides, and each later or contrary word that did not count."""

from __future__ import annotations

from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.core.clock import from_ms
from app.core.words import STOPPING, Channel, Entry, Reason, Status
from app.ops.shapes import Moment, Shape
from app.records import ledger
from app.records.contacts import Contact
from app.sync import consent
from app.sync.connection import Connections

LINES = 200  # of the ledger are looked at


class Uncounted(Shape):
    """A word that did not count."""

    line: int = Field(description="Its number in the ledger.", examples=[12])
    status: Status
    source: str = Field(examples=["mailchimp"])
    event: int | None
    at: Moment
    words: str = Field(description="Why it did not count.")


class ConsentWhy(Shape):
    """What holds for one channel and purpose, and through which word."""

    channel: Channel
    purpose: str = Field(description="Empty: everything.", examples=["newsletter"])
    status: Status
    line: int | None = Field(description="The line of the ledger that decides; null: nobody has said anything.")
    reason: str | None = Field(examples=["unsubscribe"])
    source: str | None = Field(examples=["mailchimp"])
    actor: str | None = Field(description="The operator.", examples=["Kim"])
    event: int | None = Field(description="See /ops/events/{event_id}.")
    at: Moment | None
    uncounted: list[Uncounted]


def consents_of(db: Db, connections: Connections, contact: Contact) -> list[ConsentWhy]:
    """For every address in use, by channel and purpose."""
    found = []
    for channel in Channel:
        address = consent.address(contact.values(), channel)
        if address is None:
            continue
        rows = [r for r in ledger.newest(db, [address], LINES) if r["channel"] == channel]
        lines = [e for e in ledger.of_addresses(db, [address]).get(address, ()) if e.channel is channel]
        for purpose in sorted({e.purpose for e in lines} | connections.purposes(channel)):
            held = consent.state(lines, connections.may_grant, purpose)
            found.append(_why(connections, channel, purpose, held, rows))
    return found


def _why(
    connections: Connections, channel: Channel, purpose: str, held: consent.State, rows: list[RowMapping]
) -> ConsentWhy:
    entry = held.entry
    own = next((r for r in rows if entry is not None and _is(r, entry)), None)
    return ConsentWhy(
        channel=channel,
        purpose=purpose,
        status=held.status,
        line=own["id"] if own is not None else None,
        reason=str(entry.reason) if entry is not None else None,
        source=entry.source if entry is not None else None,
        actor=entry.actor if entry is not None else None,
        event=own["event"] if own is not None else None,
        at=from_ms(entry.at) if entry is not None else None,
        uncounted=[
            Uncounted(
                line=r["id"],
                status=r["status"],
                source=r["source"],
                event=r["event"],
                at=from_ms(r["at"]),
                words=_why_not(connections, r, entry),
            )
            for r in rows
            if entry is not None
            and held.stops
            and r["status"] not in STOPPING
            and r["purpose"] in {purpose, entry.purpose}
        ],
    )


def _is(row: RowMapping, entry: Entry) -> bool:
    said = (row["purpose"], row["status"], row["reason"], row["source"], row["at"], row["actor"])
    return said == (entry.purpose, entry.status, entry.reason, entry.source, entry.at, entry.actor)


def _why_not(connections: Connections, row: RowMapping, stop: Entry) -> str:
    """Why a word does not lift the withdrawal that stands."""
    if row["status"] != Status.GRANTED:
        return "only a newer consent with evidence lifts a withdrawal; this is none"
    if row["purpose"] != stop.purpose:
        return "it is about another purpose than the withdrawal"
    if row["at"] <= stop.at:
        return "it is older than the withdrawal"
    if not connections.may_grant(row["source"]):
        return f"{row['source']} may not grant (may_grant in tandem.yml)"
    if stop.reason is Reason.ERASURE:
        return "an erasure is never lifted"
    if not row["evidence"]:
        return "it has no evidence: a field that says so, an import or a first sync lifts nothing"
    return f"a withdrawal for {stop.reason} takes stronger evidence"
