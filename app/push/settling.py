"""What each order led to, by its receipt: landed, to be looked at, again later, or given up with a letter.

Success moves the shadow to what the vendor holds now; failure says what happens next, per record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection as Db

from app.core.clock import from_ms, to_ms
from app.core.retry import Schedule
from app.core.words import EVERYTHING, STOPPING, Channel, Entry, Reason, Status, Waits, Writes
from app.push import work
from app.push.plan import Planned, held_now
from app.push.work import Retry
from app.records import dead, ledger
from app.records.links import Link
from app.sync import consent
from app.sync.connection import Connection, Connections
from connectors.contract import (
    Action,
    Done,
    Event,
    Exists,
    Failed,
    Gone,
    NeedsHuman,
    Receipt,
    Ref,
    Refused,
    TryLater,
    Verb,
)

COMPLIANCE = frozenset({"compliance", "forgotten"})  # codes by which a vendor says that it may not mail somebody
EXISTS_TRIES = 5
EXISTS_DELAY_MS = 3_000


@dataclass(slots=True)
class Outcome:
    """What the receipts of one batch lead to."""

    done: list[int] = field(default_factory=list)
    held: dict[int, Writes | Waits] = field(default_factory=dict)
    failed: dict[int, Retry] = field(default_factory=dict)
    letters: list[dead.Letter] = field(default_factory=list)
    looks: list[Event] = field(default_factory=list)
    there: dict[str, Link] = field(default_factory=dict)  # links of records that the vendor answered with, by record
    created: dict[str, Link] = field(default_factory=dict)
    changed: dict[str, Link] = field(default_factory=dict)
    human: str | None = None
    trouble: str | None = None


class Settle:
    """Turns receipts into outcomes."""

    def __init__(self, connections: Connections, schedule: Schedule) -> None:
        """``schedule``: when a failed write is tried again."""
        self._connections = connections
        self._schedule = schedule

    def one(
        self,
        db: Db,
        connection: Connection,
        planned: Planned,
        receipt: Receipt,
        link: Link | None,
        out: Outcome,
        now: int,
        mine: Collection[int],
    ) -> None:
        """What one receipt leads to.  ``mine``: the contacts whose lease still holds."""
        contact_id = planned.contact.id
        match receipt:
            case Done() | Gone() if planned.order.verb is Verb.ARCHIVE:
                self._left(link, out, now)
                out.done.append(contact_id)
            case Done(id=survivor) if planned.order.verb is Verb.MERGE:
                self._left(link, out, now)
                out.looks.append(_look(connection, Ref(survivor), f"merged:{contact_id}:{now}", now))
                out.done.append(contact_id)
            case Done():
                noted = self.landed_at(connection, planned, receipt, link, out, now, late=contact_id not in mine)
                if not noted:
                    out.failed[contact_id] = Retry(EXISTS_DELAY_MS, "a reading crossed the write: looking first")
                elif planned.held is not None:
                    out.held[contact_id] = planned.held
                else:
                    out.done.append(contact_id)
            case Exists(ref=ref):
                # Somebody is there already: look, so that the two are paired and merged before anything is written.
                out.looks.append(_look(connection, ref, f"exists:{contact_id}:{planned.row.attempts}:{now}", now))
                if planned.row.attempts < EXISTS_TRIES:
                    out.failed[contact_id] = Retry(
                        EXISTS_DELAY_MS * planned.row.attempts, "already there: looking first"
                    )
                else:
                    self._give_up(
                        out,
                        connection,
                        planned,
                        "conflict",
                        "a record with this key is there, but is not this contact's",
                    )
            case Gone() if link is not None and link.gone_at is not None:
                out.done.append(contact_id)  # the vendor told of the deletion meanwhile
            case Gone() if planned.row.attempts == 1:
                # It may live on under another id (merged, a lead that was converted): look there, then once more.
                if planned.order.id is not None:
                    out.looks.append(_look(connection, Ref(planned.order.id), f"gone:{contact_id}:{now}", now))
                out.failed[contact_id] = Retry(EXISTS_DELAY_MS, "the record is not there: looking where it went")
            case Gone(reason=reason):
                # Not where the lease was lost: nobody would be told, and the vendor's own word would be no news then.
                if link is not None and contact_id in mine:
                    link.gone_at = now
                    out.changed[link.remote_id] = link
                self._give_up(out, connection, planned, "gone", reason)
            case Failed(problem=Refused() as problem):
                if problem.code in COMPLIANCE:
                    self._suppress(db, connection, planned, problem.field, now)
                self._give_up(out, connection, planned, problem.code, str(problem), problem.field)
            case Failed(problem=NeedsHuman() as problem):
                out.human = str(problem)
                out.failed[contact_id] = Retry(1_000, str(problem))
            case Failed(problem=TryLater() as problem):
                out.trouble = str(problem)
                first = planned.row.first_failed_at
                failing = now - first if first is not None else 0
                delay = self._schedule.delay_ms(planned.row.attempts, failing, problem.after)
                if delay is None:
                    self._give_up(out, connection, planned, "exhausted", str(problem))
                else:
                    out.failed[contact_id] = Retry(delay, str(problem))

    def doubtful(self, doubts: Mapping[int, Event | None], out: Outcome) -> None:
        """Look at these contacts' records, and let their rows wait for that, whatever else was written to them."""
        for contact_id, look in doubts.items():
            if look is not None:
                out.looks.append(look)
            if contact_id in out.done:
                out.done.remove(contact_id)
            out.held.pop(contact_id, None)
            out.failed.setdefault(contact_id, Retry(EXISTS_DELAY_MS, "an earlier write may have landed: looking first"))

    def _left(self, link: Link | None, out: Outcome, now: int) -> None:
        """The record is no more there, as we wanted."""
        if link is not None and link.gone_at is None:
            link.gone_at, link.written_at = now, now
            out.changed[link.remote_id] = link

    def _suppress(self, db: Db, connection: Connection, planned: Planned, name: str | None, now: int) -> None:
        """The vendor keeps this address from being mailed: the other sides have to know.

        ``name``: the vendor's field that it refused; where it is that of one topic, the rest stays as it was.
        """
        rule = next((r for r in connection.map.consents if r.theirs == name), None)
        channel, purpose = (rule.channel, rule.purpose) if rule is not None else (Channel.EMAIL, EVERYTHING)
        address = consent.address(planned.contact.values(), channel)
        if address is None:
            return
        entry = Entry(address, channel, purpose, Status.SUPPRESSED, Reason.COMPLIANCE, connection.name, now)
        ledger.append(db, [(entry, None)], now)
        others = [c.name for c in self._connections.values() if c.name != connection.name and c.map.consents]
        work.mark_at(db, others, (planned.contact.id,), now, lane=0)

    def _give_up(
        self,
        out: Outcome,
        connection: Connection,
        planned: Planned,
        code: str,
        reason: str,
        name: str | None = None,
    ) -> None:
        out.failed[planned.contact.id] = Retry(None, reason)
        out.letters.append(
            dead.Letter(
                "push",
                connection.name,
                code,
                reason,
                contact_id=planned.contact.id,
                field=name,
                attempts=planned.row.attempts,
            )
        )

    def landed_at(
        self,
        connection: Connection,
        planned: Planned,
        receipt: Done,
        link: Link | None,
        out: Outcome,
        now: int,
        *,
        late: bool,
    ) -> bool:
        """Move the shadow to what the vendor holds now; False where only a look can say what that is.

        ``late``: the lease was lost, so that another worker may have written something newer before this landed.  What
        landed is then believed to stand there all the same: it is ours and no edit of theirs, and since the link is
        dirty again, the newest is brought once more.
        """
        modified = to_ms(receipt.modified) if receipt.modified is not None else None
        held, altered = held_now(connection, planned, receipt)
        if link is None:
            if receipt.id not in out.there and receipt.id not in out.created:
                link = Link(connection.name, connection.kind, receipt.id, planned.contact.id, held, 1, modified, now)
                link.altered = altered if altered else None
                link.landed = dict.fromkeys(planned.sent, now)
                out.created[receipt.id] = link
            else:
                # The vendor answered with a record that belongs to another contact: look at it, a person may decide.
                out.looks.append(_look(connection, Ref(receipt.id), f"taken:{planned.contact.id}:{now}", now))
            return True
        moved_meanwhile = planned.link is None or planned.link.rev != link.rev
        link.written_at = now
        if modified is not None:
            link.modified = modified if link.modified is None else max(modified, link.modified)
        out.changed[link.remote_id] = link
        if moved_meanwhile and not late:
            # A reading moved the shadow while our call was under way: only a look can say which came first there.  What
            # we said is not noted until then: coming back, it is no edit, though the contact may say another thing now.
            out.looks.append(_look(connection, Ref(link.remote_id), f"crossed:{link.rev}:{now}", now))
            return False
        link.landed = {**(link.landed if link.landed is not None else {}), **dict.fromkeys(planned.sent, now)}
        held = _of_the_address(connection, planned, link, held)
        link.shadow = {**_without_former(connection, link.shadow, held), **held}
        kept = {n: v for n, v in (link.altered if link.altered is not None else {}).items() if n not in held}
        link.altered = {**kept, **altered} if kept or altered else None
        link.rev += 1
        return True


def _of_the_address(connection: Connection, planned: Planned, link: Link, held: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, without what was said of an address that the record has no more: it landed after it had moved."""
    if planned.link is None:
        return dict(held)
    before, now = {**planned.link.shadow, **planned.sent}, {**link.shadow, **held}
    moved = {channel for channel, name in consent.FIELDS.items() if before.get(name) != now.get(name)}
    return {n: v for n, v in held.items() if n not in {r.name for r in connection.map.consents if r.channel in moved}}


def _without_former(connection: Connection, shadow: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """The shadow without the objections that were shown of an address which the record has no more.

    The vendor keeps them for the new one.  When it shows them again, they are the new address's.
    """
    moved = {c for c, name in consent.FIELDS.items() if name in held and held[name] != shadow.get(name)}
    said = {r.name for r in connection.map.consents if r.channel in moved and shadow.get(r.name) in STOPPING}
    return {n: v for n, v in shadow.items() if n not in said}


def _look(connection: Connection, ref: Ref, why: str, now: int) -> Event:
    return Event(connection.kind, Action.CHANGED, ref, f"look:{why}", from_ms(now))
