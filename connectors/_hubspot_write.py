"""Writing contacts to HubSpot.  In: orders.  Out: one receipt per order, in their order, whatever happened.

Orders travel in batch calls of unlike records.  A batch that HubSpot refuses as a whole is cut until the bad record
stands alone; a batch that it carries out in part (207) is read row by row.  A create that may have been carried out
before is looked up first.

Sources: developers.hubspot.com, "Error handling" (multi-status errors) and "CRM API | Contacts" (mirror of April
2026); github.com/HubSpot/hubspot-api-python/issues/51 (duplicate answered with the existing id);
github.com/mitodl/mitxpro/issues/3927 (one duplicate fails a whole batch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import httpx

from connectors._hubspot_calls import BATCH, REFUSALS, Contacts
from connectors._hubspot_merge import Merging
from connectors._hubspot_wire import (
    EMAIL,
    NOT_FOUND,
    PROPERTY_CODES,
    Fault,
    addresses,
    fault_of,
    faults,
    holds,
    is_id,
    problem,
    record,
    rows,
    time,
    wire,
)
from connectors._receipts import Run
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

SPLITS = 100  # extra calls that isolating bad records may take in one write; the rest waits for the next one; ours
RECENT = timedelta(hours=6)  # how long after a time-out a record without address may pass for ours; ours
NOBODY = "hubspot: no contact of this id"
_LOOK = 6  # filters in one group of a search, "CRM search"
_TELLING = ("firstname", "lastname", "phone", "mobilephone", "company", "jobtitle")  # best first, to look someone up


@dataclass(frozen=True, slots=True)
class _Job:
    """One order on its way."""

    at: int  # its place among the orders
    order: Order
    sent: Mapping[str, str] = field(repr=False)

    @property
    def email(self) -> str:
        return self.sent.get(EMAIL, "").strip().lower()


def write(contacts: Contacts, orders: Sequence[Order]) -> list[Receipt]:
    """Carry out the orders; updates before creates before archives, since an update may free an address.

    Merges come between: what is said of a record that is merged away, or archived, is said while it is there.
    """
    run = _Run(contacts)
    jobs: list[_Job] = []
    for at, order in enumerate(orders):
        try:
            sent = wire(order.fields)
            if order.verb is not Verb.CREATE and order.id is None:
                raise Refused(f"hubspot: cannot {order.verb} without an id", code="id")
        except Refused as refused:
            run.receipts[at] = Failed(order.key, refused)
            continue
        if order.id is not None and not is_id(order.id):  # ids are numbers: nothing can be there
            run.receipts[at] = Gone(order.key, NOBODY)
            continue
        if order.verb is Verb.CREATE:
            sent = {name: value for name, value in sent.items() if value != ""}  # nothing to clear yet
        jobs.append(_Job(at, order, sent))
    run.updates([j for j in jobs if j.order.verb is Verb.UPDATE])
    run.creates([j for j in jobs if j.order.verb is Verb.CREATE])
    run.merges([j for j in jobs if j.order.verb is Verb.MERGE])
    run.archives([j for j in jobs if j.order.verb is Verb.ARCHIVE])
    run.erasures([j for j in jobs if j.order.verb is Verb.ERASE])
    return [run.receipts[at] for at in range(len(orders))]


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, contacts: Contacts) -> None:
        super().__init__()
        self.contacts = contacts
        self.splits = SPLITS

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            if not job.sent:  # nothing to say, nothing to send
                self.receipts[job.at] = Done(job.order.key, str(job.order.id))
        for batch in _batches([j for j in jobs if j.sent], lambda j: (j.order.key, j.order.id, j.email)):
            self._update(batch)

    def creates(self, jobs: Sequence[_Job]) -> None:
        unknown = self._look([j for j in jobs if j.order.again])
        fresh = [j for j in jobs if not j.order.again or j in unknown]
        for batch in _batches(fresh, lambda j: (j.order.key, j.email)):
            self._create(batch)

    def merges(self, jobs: Sequence[_Job]) -> None:
        merging = Merging(self.contacts, [j.order for j in jobs])
        for job in jobs:
            receipt = self.call([job], partial(merging.one, job.order))
            if receipt is not None:
                self.receipts[job.at] = receipt

    def archives(self, jobs: Sequence[_Job]) -> None:
        for batch in _batches(jobs, lambda j: (j.order.id,)):
            response = self.call(batch, partial(self.contacts.archive, [str(j.order.id) for j in batch]))
            if response is None:
                continue
            if response.status_code in REFUSALS:
                self._cut(batch, response, self.archives)
                continue
            # 204 names nobody, a 207 names those that failed.
            bad = faults(_body(response))
            for job in batch:
                fault = next((f for f in bad if job.order.id in f.ids), None)
                done = Done(job.order.key, str(job.order.id))
                self.receipts[job.at] = done if fault is None else self._refusal(job, fault)

    def erasures(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            response = self.call([job], partial(self.contacts.erase, str(job.order.id)))
            if response is None:
                continue
            if response.status_code in REFUSALS:
                self.receipts[job.at] = self._refusal(job, fault_of(_body(response)), response.status_code)
            else:
                self.receipts[job.at] = Done(job.order.key, str(job.order.id))

    def _update(self, jobs: Sequence[_Job]) -> None:
        if len(jobs) == 1:
            self._update_one(jobs[0])
            return
        inputs = [(j.order.key, str(j.order.id), j.sent) for j in jobs]
        response = self.call(jobs, lambda: self.contacts.update(inputs))
        if response is None:
            return
        if response.status_code in REFUSALS:
            self._cut(jobs, response, self._update)
            return
        left = self._sort_out(jobs, response)[0]
        # Unknown to the batch call, or left out of its answer in silence (so seen by the batch/update handler of
        # github.com/rudderlabs/rudder-transformer): perhaps merged away, which only the single call resolves.
        self._singly(left, self._update)

    def _update_one(self, job: _Job) -> None:
        response = self.call([job], lambda: self.contacts.update_one(str(job.order.id), job.sent))
        if response is None:
            return
        if response.status_code in REFUSALS:
            self.receipts[job.at] = self._refusal(job, fault_of(response), response.status_code)
            return
        row = _body(response)
        if isinstance(row, Mapping) and row.get("id") is not None:
            self.receipts[job.at] = _done(job, row)
        else:
            self.later([job], TryLater("hubspot: the answer to an update is not a contact"))

    def _create(self, jobs: Sequence[_Job]) -> None:
        response = self.call(jobs, lambda: self.contacts.create([(j.order.key, j.sent) for j in jobs]))
        if response is None:
            return
        if response.status_code in REFUSALS:
            if len(jobs) == 1:
                self.receipts[jobs[0].at] = self._refusal(jobs[0], fault_of(response), response.status_code)
            else:
                self._cut(jobs, response, self._create)
            return
        left, spare, nameless = self._sort_out(jobs, response)
        if not left:
            return
        if len(left) == 1 and nameless and not spare:
            self.receipts[left[0].at] = self._refusal(left[0], nameless[0])
        elif nameless and not spare and len(jobs) > 1:  # all that was made is accounted for: safe to ask one by one
            self._singly(left, self._create)
        else:
            self.later(left, TryLater("hubspot: the answer leaves out what became of this create", landed=True))

    # --- what became of a batch ---------------------------------------------------------------------------------------

    def _sort_out(
        self, jobs: Sequence[_Job], response: httpx.Response
    ) -> tuple[list[_Job], list[Mapping[str, Any]], list[Fault]]:
        """Give out receipts by row.  Back: the jobs without one, the rows without a job, the faults without a job."""
        body = _body(response)
        left = list(jobs)
        spare: list[Mapping[str, Any]] = []
        try:
            results = rows(body)
        except TryLater as later:
            self.later(jobs, TryLater(str(later), landed=True))
            return [], [], []
        for row in results:
            job = _owner(left, row)
            if job is None:
                spare.append(row)
            else:
                self.receipts[job.at] = _done(job, row)
                left.remove(job)
        nameless: list[Fault] = []
        for fault in faults(body):
            about = [j for j in left if j.order.key in fault.traces or j.order.id in fault.ids]
            for job in about if fault.category != NOT_FOUND else ():  # not yet believed, see `_update`
                self.receipts[job.at] = self._refusal(job, fault)
                left.remove(job)
            if not about:
                nameless.append(fault)
        if len(left) == 1 and len(spare) == 1 and not nameless:
            self.receipts[left[0].at] = _done(left[0], spare[0])
            return [], [], []
        return left, spare, nameless

    def _cut(self, jobs: Sequence[_Job], response: httpx.Response, again: Callable[[Sequence[_Job]], None]) -> None:
        """The batch was refused as a whole and nothing of it was done: find out for whom."""
        fault = fault_of(response)
        if len(jobs) == 1:
            self.receipts[jobs[0].at] = self._refusal(jobs[0], fault, response.status_code)
            return
        culprits = [j for j in jobs if fault.code in PROPERTY_CODES and fault.field in j.sent]
        for job in culprits:
            self.receipts[job.at] = self._refusal(job, fault, response.status_code)
        rest = [j for j in jobs if j not in culprits]
        half = len(rest) if culprits else (len(rest) + 1) // 2
        for part in (rest[:half], rest[half:]):
            if part:
                self._more(part, again)

    def _singly(self, jobs: Sequence[_Job], again: Callable[[Sequence[_Job]], None]) -> None:
        for job in jobs:
            self._more([job], again)

    def _more(self, jobs: Sequence[_Job], again: Callable[[Sequence[_Job]], None]) -> None:
        if self.splits <= 0:
            self.later(jobs, TryLater("hubspot: isolating bad records took too many calls"))
            return
        self.splits -= 1
        again(jobs)

    def _refusal(self, job: _Job, fault: Fault, status: int | None = None) -> Receipt:
        """The receipt for one error."""
        key, verb = job.order.key, job.order.verb
        if verb is not Verb.CREATE and (status == 404 or fault.category == NOT_FOUND):
            return Gone(key, NOBODY)
        if status == 409 or fault.category == "CONFLICT":
            if verb is Verb.CREATE and fault.existing is not None:
                return Exists(key, Ref(fault.existing))
            if verb is Verb.CREATE and job.email and fault.field in {None, EMAIL}:
                return Exists(key, Ref(job.email, EMAIL))
            where = fault.field if fault.field is not None else (EMAIL if job.email else None)
            why = f"hubspot: another contact has this {where}" if where else "hubspot: in conflict with another contact"
            return Failed(key, Refused(why, code="conflict", field=where))
        return Failed(key, problem(fault, [*self.contacts.secrets, *job.sent.values()], status=status))

    # --- creates that may have landed ---------------------------------------------------------------------------------

    def _look(self, jobs: Sequence[_Job]) -> list[_Job]:
        """Give receipts to those that are there already; back come those that are not."""
        if self.stopped is not None:
            self.later(jobs, self.stopped, sent=False)
            return []
        names = list(dict.fromkeys(name for j in jobs for name in j.sent))
        unknown: list[_Job] = []
        try:
            found = self.contacts.by_email([j.email for j in jobs if j.email], more=names)
            for job in jobs:
                if job.email:
                    there = next((r for r in found if job.email in addresses(r)), None)
                else:
                    there = self._twin(job)
                if there is None:
                    unknown.append(job)
                elif holds(there, job.sent):
                    self.receipts[job.at] = Done(job.order.key, there.id, there, there.modified)
                else:
                    self.receipts[job.at] = Exists(job.order.key, Ref(there.id))
        except (TryLater, NeedsHuman) as stop:
            self.stopped = stop
            self.later([j for j in jobs if j.at not in self.receipts], stop, sent=False)
            return []
        return unknown

    def _twin(self, job: _Job) -> Record | None:
        """A record without address that was just made with exactly these values.

        Searches lag behind by moments, so a very recent one may be missed.
        """
        by = [n for n in (*_TELLING, *(n for n in job.sent if n not in _TELLING)) if 0 < len(job.sent.get(n, "")) < 200]
        if not by:
            return None
        filters = [{"propertyName": n, "operator": "EQ", "value": job.sent[n]} for n in by[:_LOOK]]
        newest = {"propertyName": "createdate", "direction": "DESCENDING"}
        found = self.contacts.search({"filterGroups": [{"filters": filters}], "sorts": [newest]}, limit=10)
        if found.at is None:
            return None
        since = found.at - RECENT
        made = {r.id: time(r.fields.get("createdate")) for r in found.records}
        young = [id_ for id_, at in made.items() if at is not None and at >= since and id_ not in self._claimed()]
        twins = [r for r in self.contacts.by(None, young, more=job.sent) if holds(r, job.sent)]
        return twins[0] if twins else None

    def _claimed(self) -> set[str]:
        """Ids that orders of this call have met already."""
        return {r.id for r in self.receipts.values() if isinstance(r, Done)}


def _batches(jobs: Sequence[_Job], keys: Callable[[_Job], Sequence[object]]) -> Iterator[list[_Job]]:
    """Batches in which no key occurs twice: HubSpot refuses repeated ids and addresses within one call."""
    batches: list[tuple[list[_Job], set[tuple[int, object]]]] = []
    for job in jobs:
        own = {(n, key) for n, key in enumerate(keys(job)) if key}
        # Behind the last batch that knows one of its keys, so that the order per record is kept.
        first = max((n + 1 for n, (_, taken) in enumerate(batches) if taken & own), default=0)
        for batch, taken in batches[first:]:
            if len(batch) < BATCH:
                batch.append(job)
                taken.update(own)
                break
        else:
            batches.append(([job], own))
    return (batch for batch, _ in batches)


def _owner(jobs: Sequence[_Job], row: Mapping[str, Any]) -> _Job | None:
    """Whose row this is: by trace id, record id or address; the answer's order is not promised."""
    trace, id_ = row.get("objectWriteTraceId"), str(row["id"])
    found = record(row)
    email = found.fields.get(EMAIL)
    tests: tuple[Callable[[_Job], bool], ...] = (
        lambda j: trace is not None and j.order.key == trace,
        lambda j: j.order.id is not None and j.order.id == id_,
        lambda j: j.order.id is None and bool(j.email) and isinstance(email, str) and j.email == email.lower(),
    )
    for test in tests:
        if (job := next((j for j in jobs if test(j)), None)) is not None:
            return job
    alike = [j for j in jobs if j.order.id is None and not j.email and holds(found, j.sent)]
    return alike[0] if len(alike) == 1 else None


def _done(job: _Job, row: Mapping[str, Any]) -> Done:
    found = record(row, asked=job.order.id)
    return Done(job.order.key, found.id, found, found.modified)


def _body(response: httpx.Response) -> Any:
    """JSON, or None where there is none (204)."""
    try:
        return response.json()
    except ValueError:
        return None
