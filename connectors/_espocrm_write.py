"""Writing to EspoCRM, one call a record, a few at once.  In: orders.  Out: one receipt per order, in their order.

EspoCRM has neither a batch of unlike records nor an upsert, and lets any number of records have one address.  So who
holds an address is looked up before it is given to a record, for all orders together; EspoCRM's own look for duplicates
is a second net, but also answers 409 for another person of the same name.

Sources: github.com/espocrm/documentation, ``docs/api/spec.json`` (409, ``X-Skip-Duplicate-Check``);
github.com/espocrm/espocrm, ``Espo/Core/FieldProcessing/EmailAddress/Saver.php`` (opt-out and change of address) and
``Espo/Tools/DataPrivacy/Erasor.php``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import httpx
import orjson

from connectors._espocrm_calls import CONCURRENCY, Records
from connectors._espocrm_wire import CREATED, EMAIL, addresses, fold, holds, is_id, refusal, time, wire
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

NOBODY: Final = "espocrm: no record of this id"
RECENT: Final = timedelta(hours=6)  # how long after a time-out a record without address may pass for ours; ours

# Fields that are about a person, whatever the instance marks as such; entityDefs of Contact and Lead.
PERSONAL: Final = (
    *("salutationName", "firstName", "middleName", "lastName", "emailAddress", "phoneNumber", "address"),
    *("title", "description", "website", "accountName"),
)


def write(records: Records, orders: Sequence[Order]) -> list[Receipt]:
    """Carry out the orders; updates before creates before removals, since an update may free an address."""
    run = _Run(records)
    jobs: list[_Job] = []
    for at, order in enumerate(orders):
        try:
            jobs.append(_job(at, order))
        except Refused as refused:
            run.receipts[at] = Failed(order.key, refused)
        else:
            if order.verb is not Verb.CREATE and not is_id(order.id):
                run.receipts[at] = Gone(order.key, NOBODY)
                jobs.pop()
    run.updates([j for j in jobs if j.order.verb is Verb.UPDATE])
    run.creates([j for j in jobs if j.order.verb is Verb.CREATE])
    for verb, call in ((Verb.ARCHIVE, run.archived), (Verb.ERASE, run.erased)):
        for part in rounds([j for j in jobs if j.order.verb is verb], lambda j: j.order.id):
            run.each(part, call)
    return [run.receipts[at] for at in range(len(orders))]


@dataclass(frozen=True, slots=True)
class _Job:
    """An order, as it is sent.  ``email``: the address that it gives to the record, "" = none."""

    at: int
    order: Order
    sent: dict[str, Any] = field(repr=False)
    email: str = field(default="", repr=False)


def _job(at: int, order: Order) -> _Job:
    if order.verb is Verb.MERGE:
        says = "espocrm: merging over the API leaves no trace of the lost id, so Tandem does not do it: merge there"
        raise Refused(says, code="unsupported")
    sent = wire(order.fields)
    email = fold(sent.get(EMAIL))
    same = order.verb is Verb.UPDATE and email == fold(order.known.get(EMAIL))
    return _Job(at, order, sent, "" if same else email)


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, records: Records) -> None:
        super().__init__(CONCURRENCY)
        self.records = records

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[_Job]) -> None:
        """Order by order per record; an address that another record holds is not given to a second one."""
        for job in jobs:
            if not job.sent:  # nothing to say, nothing to send
                self.receipts[job.at] = Done(job.order.key, str(job.order.id))
        for part in rounds([j for j in jobs if j.sent], lambda j: j.order.id):
            # An address that two orders give away at once goes to the first; the second is looked up after it.
            for group in rounds(part, lambda j: j.email if j.email else None):
                holders = self._holders(group)
                if holders is not None:
                    self.each([j for j in group if not self._taken(j, holders)], self.updated)

    def creates(self, jobs: Sequence[_Job]) -> None:
        """Looked up first, all of them; who is there is left as they are."""
        for group in rounds(jobs, lambda j: j.email if j.email else None):
            holders = self._holders(group)
            if holders is not None:
                self.each([j for j in group if not self._there(j, holders)], self.created)

    def updated(self, job: _Job) -> Receipt:
        id_ = str(job.order.id)
        response = self.records.update(id_, job.sent)
        if response.status_code == 409 and not self._alike(job, response):
            response = self.records.update(id_, job.sent, skip=True)
        if response.status_code == 404:
            return self._missing(job)
        if response.status_code == 409:
            return Failed(job.order.key, self._conflict(job))
        if response.status_code == 400:
            return Failed(job.order.key, refusal(response, job.sent, self.records.secrets))
        return _done(job, self.records.shown(response))

    def created(self, job: _Job) -> Receipt:
        if job.order.again and not job.email and (twin := self._twin(job)) is not None:
            return Done(job.order.key, twin.id, twin, twin.modified)
        response = self.records.create(job.sent)
        if response.status_code == 409:
            alike = self._alike(job, response)
            if alike:
                return Exists(job.order.key, Ref(alike[0].id))
            response = self.records.create(job.sent, skip=True)  # somebody else of that name
        if response.status_code == 200:
            return _done(job, self.records.shown(response))
        if response.status_code == 409:
            return Failed(job.order.key, self._conflict(job))
        return Failed(job.order.key, refusal(response, job.sent, self.records.secrets))

    def archived(self, job: _Job) -> Receipt:
        response = self.records.remove(str(job.order.id))
        if response.status_code == 404:
            return self._missing(job)
        if response.status_code in {400, 409}:
            return Failed(job.order.key, refusal(response, {}, self.records.secrets))
        return Done(job.order.key, str(job.order.id))

    def erased(self, job: _Job) -> Receipt:
        """EspoCRM's own erasure of personal data, then the removal: removed alone, the row keeps all of it."""
        id_ = str(job.order.id)
        response = self.records.erase(id_, self._personal())
        if response.status_code == 404:
            if not self.records.read([id_]):
                return Gone(job.order.key, NOBODY)
            says = "espocrm: the server does not know DataPrivacy/action/erase: erase the record there"
            return Failed(job.order.key, Refused(says, code="erase"))
        if response.status_code in {400, 409}:
            return Failed(job.order.key, refusal(response, {}, self.records.secrets))
        receipt = self.archived(job)
        return Done(job.order.key, id_) if isinstance(receipt, Gone) else receipt

    # --- who is there -------------------------------------------------------------------------------------------------

    def _holders(self, jobs: Sequence[_Job]) -> dict[str, list[Record]] | None:
        """Who holds the addresses that these jobs give away; None where nobody could say, then all have receipts."""
        wanted = [j.email for j in jobs if j.email]
        if self.stopped is not None or not wanted:
            return {}  # who has no receipt gets one where the call would be made
        names = list(dict.fromkeys(name for j in jobs if j.order.again for name in j.sent))
        try:
            found = self.records.by_email(wanted, more=names)
        except (TryLater, NeedsHuman) as stop:
            self.stopped = stop
            self.later(jobs, stop, sent=False)  # nothing was written
            return None
        except Refused as refused:  # of a look-up that is not about one of them; its words may name what they hold
            self.fail(jobs, Refused("espocrm: refuses to look up who has an address", code=refused.code, field=EMAIL))
            return None
        holders: dict[str, list[Record]] = {}
        for record in found:
            for address in addresses(record):
                holders.setdefault(address, []).append(record)
        return holders

    def _taken(self, job: _Job, holders: Mapping[str, Sequence[Record]]) -> bool:
        """Whether another record holds the address; then the job has its receipt."""
        others = [r for r in holders.get(job.email, ()) if r.id != job.order.id] if job.email else []
        if others:
            self.receipts[job.at] = Failed(job.order.key, self._conflict(job))
        return bool(others)

    def _there(self, job: _Job, holders: Mapping[str, Sequence[Record]]) -> bool:
        """Whether the record is there already; then the job has its receipt."""
        there = holders.get(job.email, ()) if job.email else ()
        if not there:
            return False
        own = next((r for r in there if job.order.again and holds(r, job.sent)), None)
        if own is not None:
            self.receipts[job.at] = Done(job.order.key, own.id, own, own.modified)
        else:
            self.receipts[job.at] = Exists(job.order.key, Ref(there[0].id))
        return True

    def _alike(self, job: _Job, response: httpx.Response) -> list[Record]:
        """Of the duplicates that a 409 names, those that hold the job's address and are not the job's own record."""
        try:
            body = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            return []
        rows = body.get("list") if isinstance(body, Mapping) else body
        ids = (
            [r["id"] for r in rows if isinstance(r, Mapping) and isinstance(r.get("id"), str)]
            if isinstance(rows, list)
            else []
        )
        if not ids or not job.email:
            return []
        return [r for r in self.records.read(ids).values() if r.id != job.order.id and job.email in addresses(r)]

    def _missing(self, job: _Job) -> Receipt:
        """A 404 may also come from what stands before EspoCRM: a list is asked, which then would not answer."""
        if self.records.read([str(job.order.id)]):
            raise TryLater("espocrm: 404 for a record that is there")
        return Gone(job.order.key, NOBODY)

    def _twin(self, job: _Job) -> Record | None:
        """A record without address that was just made with exactly these values."""
        name = job.sent.get("lastName")
        if not isinstance(name, str):
            return None
        found = self.records.page([("equals", "lastName", name)], CREATED, more=job.sent)
        claimed = {r.id for r in self.receipts.values() if isinstance(r, Done)}
        for record in reversed(found.records):
            made = time(record.fields.get(CREATED))
            young = made is not None and found.at is not None and made >= found.at - RECENT
            if young and record.id not in claimed and holds(record, job.sent):
                return record
        return None

    def _personal(self) -> list[str]:
        """The fields to erase: ours, and what the instance marks as personal data."""
        fields = self.records.definitions().get("fields")
        if not isinstance(fields, Mapping):
            raise TryLater("espocrm: the metadata describes no fields")
        marked = [
            n for n, about in fields.items() if isinstance(about, Mapping) and about.get("isPersonalData") is True
        ]
        return list(dict.fromkeys([*(n for n in PERSONAL if n in fields), *marked]))

    def _conflict(self, job: _Job) -> Refused:
        if job.email:
            return Refused("espocrm: another record has this emailAddress", code="conflict", field=EMAIL)
        return Refused("espocrm: in conflict with another record", code="conflict")


def _done(job: _Job, found: Record) -> Done:
    return Done(job.order.key, found.id, found, found.modified)
