"""Writing to Salesforce, up to 200 records a call, each for itself.  In: orders.  Out: a receipt per order, in order.

Nothing keeps two records from having one address, and no idempotency key exists: who holds an address is looked up
before it is given away.  An opt-out belongs to the record, so that of an address is set on all who have it.

Sources: developer.salesforce.com, "REST API Developer Guide" (sObject collections, status codes), "SOAP API Developer
Guide" (StatusCode); locks under load: github.com/datacite/datacite/issues/1461.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from connectors._receipts import Run, rounds
from connectors._salesforce_calls import BATCH, Records
from connectors._salesforce_wire import (
    COMPANY,
    EMAIL,
    ENTITIES,
    LEAD,
    OPT_OUT,
    UNSAID,
    entity_of,
    fault,
    fold,
    full_id,
    ours,
    refusal,
    theirs,
    wire,
)
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

NOBODY: Final = "salesforce: no record of this id"
ERASED: Final = "Erased"  # the last name, which a record cannot be without
MOVED: Final = timedelta(minutes=1)  # ours: the next poll follows it meanwhile

# Per record, nothing was done; worth another try ("StatusCode").
LATER: Final = frozenset(
    {"UNABLE_TO_LOCK_ROW", "REQUEST_RUNNING_TOO_LONG", "SERVER_UNAVAILABLE", "CONCURRENT_REQUESTS_LIMIT_EXCEEDED"}
)
AWAY: Final = frozenset(
    {
        *("ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND", "MALFORMED_ID"),
        *("INVALID_ID_FIELD", "CANNOT_UPDATE_CONVERTED_LEAD"),
    }
)
ALIKE: Final = frozenset({"DUPLICATES_DETECTED", "DUPLICATE_VALUE"})

# What is about a person; "Object Reference".  Not every org shows all of them: those that the connection reads or
# describes are taken.
PERSONAL: Final = (
    *("Salutation", "FirstName", "MiddleName", "Suffix", EMAIL, "Phone", "MobilePhone", "HomePhone", "OtherPhone"),
    *("AssistantPhone", "AssistantName", "Fax", "Title", "Department", "Birthdate", "Description", "Website"),
    *(
        f"{kind}{part}"
        for kind in ("Mailing", "Other")
        for part in ("Street", "City", "State", "PostalCode", "Country")
    ),
)


@dataclass(frozen=True, slots=True)
class _Job:
    """An order, as it is sent.  ``email``: the address that it gives to the record, "" = none."""

    at: int
    order: Order
    entity: str
    sent: dict[str, Any] = field(repr=False)
    email: str = field(default="", repr=False)

    @property
    def id(self) -> str:
        """The record; empty for a new one."""
        found = full_id(self.order.id) if self.order.id is not None else None
        return found if found is not None else ""

    @property
    def body(self) -> dict[str, Any]:
        """As an element of a collection."""
        return {"attributes": {"type": self.entity}, **({"id": self.id} if self.id else {}), **self.sent}


def write(records: Records, orders: Sequence[Order], *, create_as: str) -> list[Receipt]:
    """Carry out the orders; updates before creates before removals, since an update may free an address."""
    run = _Run(records)
    jobs: dict[Verb, list[_Job]] = {}
    for at, order in enumerate(orders):
        entity = create_as if order.verb is Verb.CREATE else entity_of(order.id)
        if order.verb is Verb.MERGE:
            says = "salesforce: only its screens, SOAP and Apex merge records, so Tandem does not: merge there"
            run.receipts[at] = Failed(order.key, Refused(says, code="unsupported"))
        elif entity is None:
            run.receipts[at] = Gone(order.key, NOBODY)
        else:
            jobs.setdefault(order.verb, []).append(_job(at, order, entity))
    run.updates(jobs.get(Verb.UPDATE, []))
    run.creates(jobs.get(Verb.CREATE, []))
    for part in rounds(jobs.get(Verb.ARCHIVE, []), lambda j: j.id):
        run.archives(part)
    for part in rounds(jobs.get(Verb.ERASE, []), lambda j: j.id):
        run.erasures(part)
    return [run.receipts[at] for at in range(len(orders))]


def _job(at: int, order: Order, entity: str) -> _Job:
    sent = wire(entity, order.fields)
    if order.verb is Verb.CREATE:
        sent = {name: value for name, value in sent.items() if value is not None}
        if entity == LEAD:
            sent.setdefault(COMPANY, UNSAID)
    email = fold(sent.get(EMAIL))
    same = order.verb is Verb.UPDATE and email == fold(order.known.get(EMAIL))
    return _Job(at, order, entity, sent, "" if same else email)


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, records: Records) -> None:
        super().__init__()
        self.records = records
        self._erasable: dict[str, dict[str, Any]] | None = None

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[_Job]) -> None:
        """Order by order per record; an address that another record holds is not given to a second one."""
        for job in jobs:
            if not job.sent:  # nothing to say, nothing to send
                self.receipts[job.at] = Done(job.order.key, job.id)
        for part in rounds([j for j in jobs if j.sent], lambda j: j.id):
            # An address that two orders give away at once goes to the first; the second is looked up after it.
            for group in rounds(part, lambda j: j.email if j.email else None):
                holders = self._holders(group)
                if holders is not None:
                    free = [j for j in group if not self._taken(j, holders)]
                    self._save("PATCH", free)
                    self._spread([j for j in free if isinstance(self.receipts.get(j.at), Done)])

    def creates(self, jobs: Sequence[_Job]) -> None:
        """Looked up first, all of them; who is there is left as they are."""
        for group in rounds(jobs, lambda j: j.email if j.email else None):
            holders = self._holders(group)
            if holders is not None:
                self._save("POST", [j for j in group if not self._there(j, holders)])

    def archives(self, jobs: Sequence[_Job]) -> None:
        """Into the recycle bin."""
        for part in _parts(jobs):
            self._removed(part, [])

    def erasures(self, jobs: Sequence[_Job]) -> None:
        """Overwritten, then removed: the recycle bin would keep all of it.  Leads that became this contact go too."""
        for part in _parts(jobs):
            blank = self.call(part, self._blanks)
            if blank is None:
                continue
            rows = [{"attributes": {"type": j.entity}, "id": j.id, **blank[j.entity]} for j in part]
            results = self.call(part, partial(self.records.save, "PATCH", rows))
            if results is None:
                continue
            ready: list[_Job] = []
            for job, result in zip(part, results, strict=True):
                code, fields = fault(result)
                if result.get("success") is True or code == "CANNOT_UPDATE_CONVERTED_LEAD":
                    ready.append(job)
                elif code in AWAY:
                    self._erased_before(job)
                else:
                    self.receipts[job.at] = self._refused(job, code, fields)
            leads = self.call(ready, partial(self.records.converted_into, [j.id for j in ready]))
            if ready and leads is not None:
                self._removed(ready, leads)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _save(self, method: str, jobs: Sequence[_Job]) -> None:
        # By object: a collection of both in turn counts as many chunks, of which ten are allowed.
        for part in _parts(sorted(jobs, key=lambda j: j.entity)):
            self._saved(method, part)

    def _saved(self, method: str, jobs: Sequence[_Job]) -> None:
        """A refusal of the whole call is of one of them: nothing was done, so halves are tried."""
        if not jobs:
            return
        refused: list[Refused] = []

        def send() -> list[Mapping[str, Any]]:
            try:
                return self.records.save(method, [j.body for j in jobs])
            except Refused as one:
                refused.append(one)
                return []

        results = self.call(jobs, send)
        if results is None:
            return
        if refused and len(jobs) > 1:
            middle = len(jobs) // 2
            self._saved(method, jobs[:middle])
            self._saved(method, jobs[middle:])
        elif refused:
            self.fail(jobs, refused[0])
        else:
            unclear: list[tuple[_Job, Mapping[str, Any]]] = []
            for job, result in zip(jobs, results, strict=True):
                id_ = result.get("id")
                made = full_id(id_) if isinstance(id_, str) else None
                if result.get("success") is True and made is not None:
                    self.receipts[job.at] = Done(job.order.key, made)
                else:
                    unclear.append((job, result))
            for job, result in unclear:  # after what is certain, since a look may fail
                receipt = self.call([job], partial(self._receipt, job, result))
                if receipt is not None:
                    self.receipts[job.at] = receipt

    def _receipt(self, job: _Job, result: Mapping[str, Any]) -> Receipt:
        code, fields = fault(result)
        if code in AWAY and job.id:
            return self._away(job, code, fields)
        if code in ALIKE:
            return self._alike(job, code, fields)
        return self._refused(job, code, fields)

    def _refused(self, job: _Job, code: str, fields: Sequence[str]) -> Failed:
        if code in LATER:
            return Failed(job.order.key, TryLater(f"salesforce: {code}"))
        return Failed(job.order.key, refusal(job.entity, code, fields))

    def _removed(self, jobs: Sequence[_Job], leads: Sequence[tuple[str, str]]) -> None:
        """``leads``: of whom (lead, contact), that go with them."""
        also = [lead for lead, _ in leads]
        results: dict[str, Mapping[str, Any]] = {}
        ids = [*also, *(j.id for j in jobs)]  # the person's own record last: it stands for all
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH]
            found = self.call(jobs, partial(self.records.remove, part))
            if found is None:
                return
            results |= dict(zip(part, found, strict=True))
        for job in jobs:
            own = [job.id, *(lead for lead, contact in leads if contact == job.id)]
            faults = {i: fault(results[i]) for i in own if results[i].get("success") is not True}
            left = {i: f for i, f in faults.items() if f[0] not in AWAY}
            if left:
                self.receipts[job.at] = self._refused(job, *next(iter(left.values())))
            elif job.id in faults and job.order.verb is Verb.ARCHIVE:
                self.receipts[job.at] = Gone(job.order.key, NOBODY)
            else:
                self.receipts[job.at] = Done(job.order.key, job.id)

    # --- who is there -------------------------------------------------------------------------------------------------

    def _holders(self, jobs: Sequence[_Job]) -> dict[str, list[Record]] | None:
        """Who holds the addresses that these jobs give away; None where nobody could say, then all have receipts."""
        wanted = [j.email for j in jobs if j.email]
        if not wanted or self.stopped is not None:
            return {}  # who has no receipt gets one where the call would be made
        names = list(dict.fromkeys(ours(j.entity, n) for j in jobs if j.order.again for n in j.sent))
        found = self._looked(jobs, lambda: self.records.by_email(wanted, more=names))
        if found is None:
            return None
        holders: dict[str, list[Record]] = {}
        for record in found:
            holders.setdefault(fold(record.fields.get(EMAIL)), []).append(record)
        return holders

    def _looked(self, jobs: Sequence[_Job], look: Callable[[], list[Record]]) -> list[Record] | None:
        """The outcome of a look before anything is written: what goes wrong in it has not landed."""
        try:
            return look()
        except Refused as refused:
            self.fail(
                jobs, Refused("salesforce: refuses to look up who has an address", code=refused.code, field=EMAIL)
            )
        except (TryLater, NeedsHuman) as stop:
            self.stopped = stop
            self.later(jobs, stop, sent=False)
        return None

    def _taken(self, job: _Job, holders: Mapping[str, Sequence[Record]]) -> bool:
        """Whether another record holds the address; then the job has its receipt."""
        if not job.email or all(r.id == job.id for r in holders.get(job.email, ())):
            return False
        refused = Refused("salesforce: another record has this Email", code="conflict", field=EMAIL)
        self.receipts[job.at] = Failed(job.order.key, refused)
        return True

    def _there(self, job: _Job, holders: Mapping[str, Sequence[Record]]) -> bool:
        """Whether the record is there already, or may be; then the job has its receipt."""
        there = holders.get(job.email, ()) if job.email else ()
        if not there:
            if job.order.again and not job.email:
                says = "salesforce: an earlier try may have made this record, and it has no Email to look for it by"
                self.receipts[job.at] = Failed(job.order.key, Refused(says, code="unsure", field=EMAIL))
            return job.at in self.receipts
        own = next((r for r in there if job.order.again and _holds(r, job)), None)
        if own is not None:
            self.receipts[job.at] = Done(job.order.key, own.id, own, own.modified)
        else:
            self.receipts[job.at] = Exists(job.order.key, Ref(there[0].id))
        return True

    def _alike(self, job: _Job, code: str, fields: Sequence[str]) -> Receipt:
        """A duplicate rule, or a unique field: somebody with the address may have come meanwhile."""
        if job.order.verb is Verb.CREATE and job.email:
            there = self.records.by_email([job.email])
            if there:
                return Exists(job.order.key, Ref(there[0].id))
        names = ", ".join(ours(job.entity, f) for f in fields)
        says = f"salesforce: {code}: a duplicate rule or a unique field forbids it{': ' + names if names else ''}"
        return Failed(job.order.key, Refused(says, code="conflict", field=names if len(fields) == 1 else None))

    def _away(self, job: _Job, code: str, fields: Sequence[str]) -> Receipt:
        """Removed, never there, merged into another, a lead that was converted, or another id that is wrong."""
        found, _ = self.records.resolve([job.id])
        if not found:
            return Gone(job.order.key, NOBODY)
        if found[0].id == job.id:
            return self._refused(job, code, fields)
        return Failed(
            job.order.key, TryLater("salesforce: lives on as another record, which is read first", after=MOVED)
        )

    # --- opt-outs and erasure -----------------------------------------------------------------------------------------

    def _spread(self, jobs: Sequence[_Job]) -> None:
        """Who has the address of somebody that opts out is opted out as well."""
        out = [j for j in jobs if j.sent.get(OPT_OUT) is True]
        if not out:
            return
        others: dict[str, list[_Job]] = {}

        def look() -> dict[int, list[str]]:
            own = {r.id: fold(r.fields.get(EMAIL)) for r in self.records.read([j.id for j in out])}
            held: dict[str, list[str]] = {}
            for record in self.records.by_email([a for a in own.values() if a], more=[OPT_OUT]):
                if record.fields.get(OPT_OUT) is not True:
                    held.setdefault(fold(record.fields.get(EMAIL)), []).append(record.id)
            return {j.at: held.get(own.get(j.id, ""), []) for j in out}

        found = self.call(out, look)
        if found is None:
            return
        for job in out:
            for id_ in found[job.at]:
                others.setdefault(id_, []).append(job)
        ids = sorted(others)
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH]
            rows = [{"attributes": {"type": entity_of(i)}, "id": i, OPT_OUT: True} for i in part]
            asked = [j for i in part for j in others[i]]
            results = self.call(asked, partial(self.records.save, "PATCH", rows))
            if results is None:
                return
            for id_, result in zip(part, results, strict=True):
                code, fields = fault(result)
                if result.get("success") is not True and code not in AWAY:
                    for job in others[id_]:
                        self.receipts[job.at] = self._refused(job, code, fields)

    def _blanks(self) -> dict[str, dict[str, Any]]:
        """What overwrites a record, by object: the personal fields that this org has and lets us write."""
        if self._erasable is None:
            made: dict[str, dict[str, Any]] = {}
            for entity in ENTITIES:
                about = self.records.ask(f"/sobjects/{entity}/describe")
                fields = about.get("fields") if isinstance(about, Mapping) else None
                if not isinstance(fields, list):
                    raise TryLater(f"salesforce: the describe of {entity} has no fields")
                there = {f["name"] for f in fields if isinstance(f, Mapping) and f.get("updateable") is True}
                names = {t for n in PERSONAL if (t := theirs(entity, n)) is not None}
                made[entity] = dict.fromkeys(sorted(names & there)) | {"LastName": ERASED}
                if entity == LEAD:
                    made[entity][COMPANY] = UNSAID
            self._erasable = made
        return self._erasable

    def _erased_before(self, job: _Job) -> None:
        """Not there, or in the recycle bin: emptied already by an earlier try, or with all that it had."""
        rows = self.call([job], lambda: self.records.rows([job.id], more=["LastName"]))
        if rows is None:
            return
        row = rows.get(job.id)
        if row is None:
            self.receipts[job.at] = Gone(job.order.key, NOBODY)
        elif row.record.fields.get("LastName") == ERASED and row.record.fields.get(EMAIL) is None:
            self.receipts[job.at] = Done(job.order.key, job.id)
        else:
            says = "salesforce: the record is in the recycle bin: delete it there for good"
            self.receipts[job.at] = Failed(job.order.key, Refused(says, code="erase"))


def _parts(jobs: Sequence[_Job]) -> list[Sequence[_Job]]:
    return [jobs[n : n + BATCH] for n in range(0, len(jobs), BATCH)]


def _holds(found: Record, job: _Job) -> bool:
    """Whether the record has all the values of the job, so that it may be the one that an earlier try made."""
    for name, value in job.sent.items():
        own = found.fields.get(ours(job.entity, name))
        if name == EMAIL:
            same = fold(own) == fold(value)
        else:
            same = own == value or (name == COMPANY and own is None and value == UNSAID)
        if not same:
            return False
    return entity_of(found.id) == job.entity
