"""Writing to Odoo, one call a record, a few at once.  In: orders.  Out: one receipt per order, in their order.

Addresses are not unique in Odoo, so who has one is looked up before it is given to a record.  A new contact is made by
``load`` under an External ID that comes from the order: a second try after a lost answer meets the first.

An objection is an entry of the blacklist, which is by address and not a part of the contact.  It is said before
anything else of its order, so that nobody can be written to in between; a contact whose address we change keeps it.

Sources: github.com/odoo/documentation, ``applications/essentials/export_import_data.rst`` (External IDs);
github.com/odoo/odoo, ``addons/mail/models/mail_blacklist.py``, ``odoo/addons/base/models/res_partner.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors._odoo_calls import CONCURRENCY, Partners
from connectors._odoo_wire import COUNTRY, EMAIL, OPT_OUT, address, columns, fold, holds, is_id, marked, person, wire
from connectors._receipts import Run, rounds
from connectors._wording import masked, values
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

NOBODY: Final = "odoo: no contact of this id"
_NO_MERGE: Final = "odoo: merging over the API leaves no trace of the lost id, so Tandem does not do it: merge there"


def write(partners: Partners, orders: Sequence[Order]) -> list[Receipt]:
    """Carry out the orders; updates before creates before removals, since an update may free an address."""
    run = _Run(partners)
    jobs: list[_Job] = []
    for at, order in enumerate(orders):
        if order.verb is Verb.MERGE:
            run.receipts[at] = Failed(order.key, Refused(_NO_MERGE, code="unsupported"))
        elif order.verb is not Verb.CREATE and not is_id(order.id):
            run.receipts[at] = Gone(order.key, NOBODY)
        else:
            jobs.append(_Job(at, order, {}))
    said = [j for j in jobs if j.order.verb in {Verb.CREATE, Verb.UPDATE}]
    ready = run.prepared(said)
    run.updates([j for j in ready if j.order.verb is Verb.UPDATE])
    run.creates([j for j in ready if j.order.verb is Verb.CREATE])
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
    mark: bool | None = None  # blacklisted or not

    @property
    def keeps(self) -> bool:
        """Whether an objection is to be said: the order's, or that of the address which is given up."""
        return self.mark is True or (
            bool(self.email) and self.mark is None and marked(self.order.known.get(OPT_OUT)) is True
        )


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, partners: Partners) -> None:
        super().__init__(CONCURRENCY)
        self.partners = partners

    def prepared(self, jobs: Sequence[_Job]) -> list[_Job]:
        """The jobs with what is sent.  Which fields and countries there are has to be known for it."""
        if not jobs:
            return []
        try:
            types = self.partners.types()
            wanted = any(COUNTRY in j.order.fields for j in jobs)
            countries = {c: n for n, c in self.partners.countries().items()} if wanted else {}
        except (TryLater, NeedsHuman, Refused) as stop:
            self._unasked(jobs, stop)
            return []
        made = []
        for job in jobs:
            try:
                sent = wire(job.order, types, countries)
            except Refused as refused:
                self.receipts[job.at] = Failed(job.order.key, refused)
                continue
            email = fold(sent.get(EMAIL))
            same = job.order.verb is Verb.UPDATE and email == fold(job.order.known.get(EMAIL))
            made.append(_Job(job.at, job.order, sent, "" if same else email, marked(job.order.fields.get(OPT_OUT))))
        return made

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[_Job]) -> None:
        """Order by order per record; an address that another contact has is not given to a second one."""
        for job in jobs:
            if not job.sent and job.mark is None:  # nothing to say, nothing to send
                self.receipts[job.at] = Done(job.order.key, str(job.order.id))
        for part in rounds([j for j in jobs if j.at not in self.receipts], lambda j: j.order.id):
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
        if (job.keeps and not job.email) or job.mark is False:
            now = self.partners.read([id_]).get(id_)
            if now is None:
                return self._missing(job)
            self._mark(job, now)
        elif job.keeps:
            self.partners.object_to(job.email)
        if job.sent:
            try:
                self.partners.write(id_, job.sent)
            except Refused as refused:
                if refused.code == "missing":
                    return self._missing(job)
                raise
        return Done(job.order.key, id_)

    def created(self, job: _Job) -> Receipt:
        if job.mark is True:
            if not job.email:
                raise _unmarkable()
            self.partners.object_to(job.email)
        names, row = columns(job.sent, self.partners.types())
        external = "contact_" + hashlib.sha256(job.order.key.encode()).hexdigest()[:32]
        id_, where, why = self.partners.load(external, names, row)
        if id_ is not None:
            return Done(job.order.key, str(id_))
        known = where.partition("/")[0]
        known = known if known in job.sent else ""
        said = masked(" ".join(why.split()), set(values(job.sent)))
        text = "odoo: refused" + (f", {known}" if known else "") + (f": {said}" if said else "")
        return Failed(job.order.key, Refused(text, code="validation", field=known if known else None))

    def archived(self, job: _Job) -> Receipt:
        id_ = str(job.order.id)
        try:
            if not self.partners.there([id_]):
                return Gone(job.order.key, NOBODY)
            self.partners.write(id_, {"active": False})
        except Refused as refused:
            if refused.code == "missing":
                return self._missing(job)
            raise
        return Done(job.order.key, id_)

    def erased(self, job: _Job) -> Receipt:
        """Deleted for good; the address stays on the blacklist, where it stood there."""
        id_ = str(job.order.id)
        if not self.partners.there([id_]):
            return Gone(job.order.key, NOBODY)
        try:
            self.partners.remove(id_)
        except Refused as refused:
            if refused.code == "missing":
                return self._missing(job)
            says = "odoo: other documents rest on this contact, so Odoo does not delete it: Privacy Lookup there"
            return Failed(job.order.key, Refused(says, code="linked"))
        return Done(job.order.key, id_)

    # --- consent ------------------------------------------------------------------------------------------------------

    def _mark(self, job: _Job, now: Record) -> None:
        """Say what the order says about its address.  Refused against an objection that the order does not know."""
        mail = job.email if job.email else fold(now.fields.get(EMAIL))
        if not mail:
            raise _unmarkable()
        if job.keeps:
            self.partners.object_to(mail)
            return
        if now.fields.get(OPT_OUT) is True and marked(job.order.known.get(OPT_OUT)) is not True:
            why = "odoo: the address was blacklisted there after what the order goes by"
            raise Refused(why, code="compliance", field=OPT_OUT)
        self.partners.allow(mail)

    # --- who is there -------------------------------------------------------------------------------------------------

    def _holders(self, jobs: Sequence[_Job]) -> dict[str, list[Mapping[str, Any]]] | None:
        """Who has the addresses that these jobs give away; None where nobody could say, then all have receipts."""
        wanted = [j.email for j in jobs if j.email]
        if self.stopped is not None or not wanted:
            return {}  # who has no receipt gets one where the call would be made
        try:
            found = self.partners.holding(wanted)
        except (TryLater, NeedsHuman, Refused) as stop:
            self._unasked(jobs, stop)
            return None
        holders: dict[str, list[Mapping[str, Any]]] = {}
        for row in found:
            holders.setdefault(address(row), []).append(row)
        return holders

    def _unasked(self, jobs: Sequence[_Job], stop: TryLater | NeedsHuman | Refused) -> None:
        """A look-up without an answer: nothing was written."""
        if isinstance(stop, Refused):  # not about one of them
            self.fail(jobs, Refused("odoo: refuses to look up who is there", code=stop.code))
            return
        self.stopped = stop
        self.later(jobs, stop, sent=False)

    def _taken(self, job: _Job, holders: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
        """Whether another contact has the address; then the job has its receipt.  A company may share it."""
        others = [r for r in holders.get(job.email, ()) if person(r) and str(r["id"]) != job.order.id]
        if job.email and others:
            why = Refused("odoo: another contact has this address", code="conflict", field=EMAIL)
            self.receipts[job.at] = Failed(job.order.key, why)
        return bool(job.email and others)

    def _there(self, job: _Job, holders: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
        """Whether somebody has the address already; then the job has its receipt."""
        there = holders.get(job.email, ()) if job.email else ()
        people = self.partners.records(row for row in there if person(row))
        if people:
            own = next((r for r in people if job.order.again and holds(r, job.order)), None)
            if own is not None and job.mark is not True:
                self.receipts[job.at] = Done(job.order.key, own.id, own, own.modified)
            else:
                self.receipts[job.at] = Exists(job.order.key, Ref(people[0].id))
        elif there:
            says = "odoo: a company or a colleague has this address there, so no contact is made of it"
            self.receipts[job.at] = Failed(job.order.key, Refused(says, code="conflict", field=EMAIL))
        return bool(there)

    def _missing(self, job: _Job) -> Receipt:
        """A record that Odoo calls missing; one that a list still shows is not."""
        if self.partners.there([str(job.order.id)]):
            if job.order.verb is Verb.UPDATE and not self.partners.read([str(job.order.id)]):
                return Gone(job.order.key, "odoo: the partner of this id is no contact any more")
            raise TryLater("odoo: a record is missing that a list shows")
        return Gone(job.order.key, NOBODY)


def _unmarkable() -> Refused:
    return Refused("odoo: an objection is kept by address, and this contact has none", code="required", field=EMAIL)
