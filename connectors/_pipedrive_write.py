"""Writing to Pipedrive, one call a person, a few at once.  In: orders.  Out: one receipt per order, in their order.

Pipedrive has neither batches nor an upsert nor an idempotency key, and lets any number of persons have one address.  So
who holds an address is looked up before it is given to a person.  The search lags behind writes: whoever changed last
is looked at beside it.  Lists of addresses and numbers are replaced whole, so they are read before they are written.

Sources: the vendor's OpenAPI document of API v2 (``/persons``: consent, clearing, deletion); its page "Responses".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import httpx

from connectors._pipedrive_calls import CONCURRENCY, GONE, Persons
from connectors._pipedrive_wire import (
    CUSTOM,
    EMAIL,
    NAME,
    STATUS,
    SYNCED,
    addresses,
    fold,
    holds,
    is_id,
    lists,
    needs_types,
    record,
    refusal,
    touches_lists,
    wire,
)
from connectors._receipts import Run, rounds
from connectors.contract import (
    Done,
    Exists,
    Failed,
    Gone,
    NeedsHuman,
    Order,
    Receipt,
    Record,
    Ref,
    Refused,
    TryLater,
    Verb,
)

NOBODY: Final = "pipedrive: no person of this id"
ERASED: Final = "Erased"  # a person must have a name
RECENT: Final = timedelta(hours=6)  # how long after a time-out a person without address may pass for ours; ours

Row = Mapping[str, Any]


def write(persons: Persons, orders: Sequence[Order]) -> list[Receipt]:
    """Carry out the orders; updates before creates before removals, since an update may free an address."""
    run = _Run(persons)
    jobs = run.prepared(orders)
    run.updates([j for j in jobs if j.order.verb is Verb.UPDATE])
    run.creates([j for j in jobs if j.order.verb is Verb.CREATE])
    for verb, call in ((Verb.ARCHIVE, run.archived), (Verb.ERASE, run.erased)):
        for part in rounds([j for j in jobs if j.order.verb is verb], lambda j: j.order.id):
            run.each(part, call)
    return [run.receipts[at] for at in range(len(orders))]


@dataclass(frozen=True, slots=True)
class _Job:
    """An order.  ``sent``: its body without lists.  ``email``: the address that it gives to the person, "" = none."""

    at: int
    order: Order
    sent: dict[str, Any] = field(default_factory=dict, repr=False)
    email: str = field(default="", repr=False)


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, persons: Persons) -> None:
        super().__init__(CONCURRENCY)
        self.persons = persons
        self._rows: dict[str, Row] = {}  # persons as they are, by id
        self._last: tuple[Sequence[Row], datetime | None] = ((), None)  # who changed last, and the vendor's clock

    def prepared(self, orders: Sequence[Order]) -> list[_Job]:
        """The jobs of all orders that can be tried; the others have their receipts."""
        typed = [_Job(at, o) for at, o in enumerate(orders) if needs_types(o.fields)]
        types: Mapping[str, str] = {}
        if typed:
            keys = {n.removeprefix(CUSTOM) for j in typed for n in j.order.fields if n.startswith(CUSTOM)}
            known = self.call(typed, lambda: self.persons.types(keys))
            types = known if known is not None else {}
        jobs = []
        for at, order in enumerate(orders):
            if at in self.receipts:
                continue
            try:
                job = _job(at, order, types)
            except Refused as refused:
                self.receipts[at] = Failed(order.key, refused)
                continue
            if order.verb is not Verb.CREATE and not is_id(order.id):
                self.receipts[at] = Gone(order.key, NOBODY)
            else:
                jobs.append(job)
        return jobs

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[_Job]) -> None:
        """Order by order per person; an address that another person holds is not given to a second one."""
        for job in jobs:
            if not job.order.fields:  # nothing to say, nothing to send
                self.receipts[job.at] = Done(job.order.key, str(job.order.id))
        for part in rounds([j for j in jobs if j.order.fields], lambda j: j.order.id):
            # An address that two orders give away at once goes to the first; the second is looked up after it.
            for group in rounds(part, lambda j: j.email if j.email else None):
                holders = self._holders(group, recent=False)
                if holders is None:
                    continue
                free = [j for j in group if not self._taken(j, holders)]
                self.each(self._with_rows(free), self.updated)

    def creates(self, jobs: Sequence[_Job]) -> None:
        """Looked up first, all of them; who is there is left as they are."""
        for group in rounds(jobs, lambda j: j.email if j.email else None):
            holders = self._holders(group, recent=True)
            if holders is not None:
                self.each([j for j in group if not self._there(j, holders)], self.created)

    def updated(self, job: _Job) -> Receipt:
        id_ = str(job.order.id)
        body = {**job.sent, **lists(job.order.fields, self._rows.get(id_, {}))}
        response = self.persons.update(id_, body)
        return self._answered(job, response, body)

    def created(self, job: _Job) -> Receipt:
        if job.order.again and not job.email and (twin := self._twin(job)) is not None:
            return Done(job.order.key, twin.id, twin, twin.modified)
        body = {n: v for n, v in {**job.sent, **lists(job.order.fields, {})}.items() if v is not None and v != []}
        if NAME not in body and job.email:
            # Nobody is made without a name.  An address in its place is not read as a name, see ``record``.
            body[NAME] = body["emails"][0]["value"]
        return self._answered(job, self.persons.create(body), body)

    def archived(self, job: _Job) -> Receipt:
        response = self.persons.remove(str(job.order.id))
        if response.status_code in GONE:
            return self._missing(job)
        if response.status_code >= 400:
            return Failed(job.order.key, refusal(response, {}, self.persons.secrets))
        return Done(job.order.key, str(job.order.id))

    def erased(self, job: _Job) -> Receipt:
        """Overwritten before it is removed: a removed person keeps everything until Pipedrive purges it."""
        id_ = str(job.order.id)
        fields = self.persons.fields()
        custom = {str(f.get("field_code")): None for f in fields if f.get("is_custom_field") is True}
        there = {f.get("field_code") for f in fields}
        body: dict[str, Any] = {NAME: ERASED, "emails": [], "phones": [], "label_ids": []}
        body |= {n: [] if n == "im" else None for n in SYNCED if n in there}
        response = self.persons.update(id_, {**body, "custom_fields": custom} if custom else body)
        if response.status_code in GONE:
            return self._missing(job)
        if response.status_code >= 400:
            return Failed(job.order.key, refusal(response, {}, self.persons.secrets))
        receipt = self.archived(job)
        return Done(job.order.key, id_) if isinstance(receipt, Gone) else receipt

    def _answered(self, job: _Job, response: httpx.Response, body: Mapping[str, Any]) -> Receipt:
        if response.status_code in GONE and job.order.verb is Verb.UPDATE:
            return self._missing(job)
        if response.status_code >= 400:
            return Failed(job.order.key, refusal(response, body, self.persons.secrets))
        row = self.persons.shown(response)
        found = record(row, self.persons.names)
        if STATUS in body and (kept := self._status(row, found.id)) != body[STATUS]:
            # A forbidden change of the status is answered with 200 and left undone (OpenAPI v2).
            where = f"kept {STATUS} {kept!r}" if isinstance(kept, str) else f"shows no {STATUS} (is Campaigns on?)"
            why = f"pipedrive: the write was taken, but Pipedrive {where}: change the status there"
            return Failed(job.order.key, Refused(why, code="consent", field=STATUS))
        return Done(job.order.key, found.id, None, found.modified)

    def _status(self, row: Row, id_: str) -> object:
        """The person's marketing status as it is after a write; asked for where the answer does not show it."""
        return row[STATUS] if STATUS in row else self.persons.rows([id_]).get(id_, {}).get(STATUS)

    # --- who is there -------------------------------------------------------------------------------------------------

    def _with_rows(self, jobs: Sequence[_Job]) -> list[_Job]:
        """The jobs whose persons are known as far as they need it; the others have their receipts."""
        asking = [j for j in jobs if touches_lists(j.order.fields)]
        if not asking:
            return list(jobs)
        found = self.call(asking, lambda: self.persons.rows(str(j.order.id) for j in asking))
        if found is None:
            return [j for j in jobs if j not in asking]
        self._rows |= found
        for job in asking:
            if job.order.id not in found:
                self.receipts[job.at] = Gone(job.order.key, NOBODY)
        return [j for j in jobs if j.at not in self.receipts]

    def _holders(self, jobs: Sequence[_Job], *, recent: bool) -> dict[str, list[Row]] | None:
        """Who holds the addresses that these jobs give away; None where nobody could say, then all have receipts.

        ``recent``: look at who changed last, too.
        """
        wanted = {j.email for j in jobs if j.email}
        if self.stopped is not None or not (wanted or (recent and any(j.order.again for j in jobs))):
            return {}  # who has no receipt gets one where the call would be made
        try:
            found = {str(row.get("id")): row for row in self.persons.by_email(sorted(wanted))}
            if recent:
                last = self.persons.recent()
                self._last = (last.rows, last.at)
                found |= {str(r.get("id")): r for r in last.rows if r.get("is_deleted") is not True}
        except (TryLater, NeedsHuman) as stop:
            self.stopped = stop
            self.later(jobs, stop, sent=False)  # nothing was written
            return None
        except Refused as refused:  # of a look-up that is not about one of them; its words may name what they hold
            self.fail(jobs, Refused("pipedrive: refuses to look up who has an address", code=refused.code, field=EMAIL))
            return None
        holders: dict[str, list[Row]] = {}
        for row in found.values():
            for address in addresses(row) & wanted:
                holders.setdefault(address, []).append(row)
        return holders

    def _taken(self, job: _Job, holders: Mapping[str, Sequence[Row]]) -> bool:
        """Whether another person holds the address; then the job has its receipt."""
        others = [r for r in holders.get(job.email, ()) if str(r.get("id")) != job.order.id] if job.email else []
        if others:
            why = Refused("pipedrive: another person has this address", code="conflict", field=EMAIL)
            self.receipts[job.at] = Failed(job.order.key, why)
        return bool(others)

    def _there(self, job: _Job, holders: Mapping[str, Sequence[Row]]) -> bool:
        """Whether the person is there already; then the job has its receipt."""
        there = [record(r, job.order.fields) for r in holders.get(job.email, ())] if job.email else []
        if not there:
            return False
        # A status that was asked for and not taken is no success, so a create with one is looked at by the engine.
        mine = job.order.again and STATUS not in job.order.fields
        own = next((r for r in there if mine and holds(r, job.order.fields, job.sent)), None)
        if own is not None:
            self.receipts[job.at] = Done(job.order.key, own.id, None, own.modified)
        else:
            self.receipts[job.at] = Exists(job.order.key, Ref(there[0].id))
        return True

    def _missing(self, job: _Job) -> Receipt:
        """A 404 is also what persons get that the user may not see, and what a proxy says: a list is asked."""
        if self.persons.rows([str(job.order.id)]):
            raise TryLater("pipedrive: 404 for a person that is there")
        return Gone(job.order.key, NOBODY)

    def _twin(self, job: _Job) -> Record | None:
        """A person without address that was just made with exactly these values."""
        rows, at = self._last
        claimed = {r.id for r in self.receipts.values() if isinstance(r, Done)}
        for row in rows:
            found = record(row, job.order.fields)
            young = found.id not in claimed and self.persons.young(row, at, RECENT)
            if young and holds(found, job.order.fields, job.sent):
                return found
        return None


def _job(at: int, order: Order, types: Mapping[str, str]) -> _Job:
    if order.verb is Verb.MERGE:
        says = (
            "pipedrive: afterwards nothing leads from the lost id to the other, so Tandem does not merge: merge there"
        )
        raise Refused(says, code="unsupported")
    email = fold(order.fields.get(EMAIL))
    same = order.verb is Verb.UPDATE and email == fold(order.known.get(EMAIL))
    return _Job(at, order, wire(order.fields, types), "" if same else email)
