"""Writing to ActiveCampaign, one contact after the other.  In: orders.  Out: one receipt per order, in their order.

Why neither ``contact/sync`` nor the bulk import: both overwrite whoever has the address, which a create must never do,
and the first makes a second contact where an address changes.  The import also answers before anything has happened,
and tells by address who failed.  ``POST /contacts`` refuses an address that is there.

Withdrawals go before all else that an order says, so that nothing that is refused holds them up; subscriptions come
last.  What was set is read back.  Source: as ``_activecampaign_wire``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx

from connectors._activecampaign_calls import CONCURRENCY, Contacts
from connectors._activecampaign_consent import Act, Standing, acts, speaks, steps
from connectors._activecampaign_wire import EMAIL, TEXTS, Wanted, body, fold, holds, is_id, number, record, refusal
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

NOBODY: Final = "activecampaign: no contact of this id"
_CANNOT: Final[Mapping[Verb, str]] = {
    Verb.ARCHIVE: "activecampaign: has no archive; a contact can only be deleted for good, which is an erasure",
    Verb.MERGE: "activecampaign: its API cannot merge contacts: merge there, by hand",
}

_Out = TypeVar("_Out")


def write(contacts: Contacts, orders: Sequence[Order]) -> list[Receipt]:
    """Carry out the orders; updates before creates before deletions, since an update may free an address."""
    run = _Run(contacts)
    jobs: list[_Job] = []
    for at, order in enumerate(orders):
        if order.verb is not Verb.CREATE and order.verb not in _CANNOT and not is_id(order.id):
            run.receipts[at] = Gone(order.key, NOBODY)
            continue
        try:
            jobs.append(_job(at, order))
        except Refused as refused:
            run.receipts[at] = Failed(order.key, refused)
    for verb, call in ((Verb.UPDATE, run.updated), (Verb.CREATE, run.created), (Verb.ERASE, run.erased)):
        for part in rounds([j for j in jobs if j.order.verb is verb], lambda j: j.who):
            run.each(part, call)
    return [run.receipts[at] for at in range(len(orders))]


@dataclass(frozen=True, slots=True)
class _Job:
    """An order, as it is sent."""

    at: int
    order: Order
    fields: Mapping[str, Any] = field(repr=False)  # without consent
    acts: tuple[Act, ...] = ()

    @property
    def who(self) -> str:
        """Whom it is about: an id, or a folded address."""
        return fold(self.order.fields.get(EMAIL)) if self.order.verb is Verb.CREATE else str(self.order.id)


def _job(at: int, order: Order) -> _Job:
    if order.verb in _CANNOT:
        raise Refused(_CANNOT[order.verb], code="unsupported")
    fields = {name: value for name, value in order.fields.items() if not speaks(name)}
    if order.verb is Verb.CREATE:
        fields = {name: value for name, value in fields.items() if value is not None}
        if not fold(fields.get(EMAIL)):
            raise Refused("activecampaign: a contact without an address cannot be made", code="required", field=EMAIL)
    return _Job(at, order, fields, acts(order))


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, contacts: Contacts) -> None:
        super().__init__(CONCURRENCY)
        self.contacts = contacts

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updated(self, job: _Job) -> Receipt:
        """One contact: withdrawals, fields, subscriptions."""
        id_ = str(job.order.id)
        if not job.fields and not job.acts:
            return Done(job.order.key, id_)
        sent = self._body(job)
        stands = self.contacts.standing(id_) if job.acts else Standing({})
        if stands is None:
            return Gone(job.order.key, NOBODY)
        self._tell(job, id_, stands, stops=True)
        found = None
        if sent:
            response = self.contacts.update(id_, sent)
            if response.status_code == 404:
                return Gone(job.order.key, NOBODY)
            if response.status_code >= 400:
                return Failed(job.order.key, self._refused(job, response))
            found = self._shown(response)
            self._cleared(job, found)
        return self._settled(job, id_, stands, found)

    def created(self, job: _Job) -> Receipt:
        """One new contact; whoever is there already is left as they are."""
        found = self._there(job) if job.order.again else None
        if found is not None and not holds(found, job.fields):
            return Exists(job.order.key, Ref(found.id))
        if found is None:
            response = self.contacts.create(self._body(job))
            if response.status_code >= 400:
                refused = self._refused(job, response)
                other = self._there(job)  # how the code for a taken address is spelled is not said: the address knows
                return Failed(job.order.key, refused) if other is None else Exists(job.order.key, Ref(other.id))
            found = self._landed(lambda: self._shown(response))
        made = found
        return self._landed(lambda: self._consented(job, made))

    def erased(self, job: _Job) -> Receipt:
        """Deleted for good.  The vendor may answer 200 and yet have deleted nobody: its body says so."""
        id_ = str(job.order.id)
        response = self.contacts.erase(id_)
        if response.status_code == 404:
            return Gone(job.order.key, NOBODY)
        if response.status_code >= 400:
            return Failed(job.order.key, self._refused(job, response))
        said = self.contacts.json(response) if response.content.strip() else None
        if isinstance(said, Mapping) and "succeeded" in said and number(said["succeeded"]) == 0:
            return Failed(job.order.key, Refused("activecampaign: it deleted nobody, without saying why", code="kept"))
        return Done(job.order.key, id_)

    # --- consent ------------------------------------------------------------------------------------------------------

    def _consented(self, job: _Job, made: Record) -> Receipt:
        """What a new contact's order says about consent."""
        if not job.acts:
            return Done(job.order.key, made.id, made, made.modified)
        stands = self.contacts.standing(made.id)
        if stands is None:
            raise TryLater("activecampaign: the new contact cannot be read yet")
        self._tell(job, made.id, stands, stops=True)
        return self._settled(job, made.id, stands, made)

    def _settled(self, job: _Job, id_: str, stands: Standing, found: Record | None) -> Receipt:
        """The subscriptions, then the contact as it is once consent was spoken of."""
        self._tell(job, id_, stands, stops=False)
        if job.acts:
            found = self.contacts.single(id_)
            if found is None:
                return Gone(job.order.key, NOBODY)
        return Done(job.order.key, id_, found, found.modified if found is not None else None)

    def _tell(self, job: _Job, id_: str, stands: Standing, *, stops: bool) -> None:
        """Set what is left of what the order says.  Refused where the vendor does not take it."""
        for act in job.acts:
            if act.stops is not stops:
                continue
            for step in steps(act, stands, self.contacts.list_id, job.order.known):
                response = self.contacts.put_on(id_, step)
                if response.status_code >= 400:
                    why = refusal(response, job.order.fields, self.contacts.secrets)
                    raise Refused(str(why), code=why.code, field=act.name)
                said = self.contacts.json(response)
                row = said.get("contactList") if isinstance(said, Mapping) else None
                if isinstance(row, Mapping) and str(row.get("status", step.status)) != step.status:
                    raise Refused(
                        "activecampaign: it left the state on the list as it was", code="kept", field=act.name
                    )

    # --- answers ------------------------------------------------------------------------------------------------------

    def _body(self, job: _Job) -> dict[str, Any]:
        return body(job.fields, self._unsaid(job, lambda: self.contacts.known(job.fields)))

    def _shown(self, response: httpx.Response) -> Record:
        said = self.contacts.json(response)
        row = said.get("contact") if isinstance(said, Mapping) else None
        # Without what stands beside it: in a write's answer that need not be all.
        return record(row, {}, Wanted(self.contacts.list_id, {}), whole=False)

    def _cleared(self, job: _Job, found: Record) -> None:
        """Refused where a field that was to be cleared is not: that an empty text clears is not documented."""
        for name, value in job.fields.items():
            if name in TEXTS and value is None and found.fields.get(name) is not None:
                raise Refused(f"activecampaign: {name} was not cleared there", code="kept", field=name)

    def _there(self, job: _Job) -> Record | None:
        """Who has the address of this job."""
        found = self._unsaid(job, lambda: self.contacts.by_email([job.who]))
        return found[0] if found else None

    def _refused(self, job: _Job, response: httpx.Response) -> Refused:
        why = refusal(response, job.order.fields, self.contacts.secrets)
        if job.order.verb is Verb.UPDATE and EMAIL in job.fields and why.field == EMAIL and why.code == "duplicate":
            return Refused("activecampaign: another contact has this email", code="conflict", field=EMAIL)
        return why

    def _unsaid(self, job: _Job, look: Callable[[], _Out]) -> _Out:
        """A look-up whose error repeats nothing of what the order holds."""
        hidden = set(values(job.order.fields))
        try:
            return look()
        except Refused as why:
            raise Refused(masked(str(why), hidden), code=why.code) from None
        except NeedsHuman as why:
            raise NeedsHuman(masked(str(why), hidden)) from None
        except TryLater as why:
            raise TryLater(masked(str(why), hidden), after=why.after) from None

    def _landed(self, go_on: Callable[[], _Out]) -> _Out:
        """What follows on a contact that was made: whatever fails now, it is there."""
        try:
            return go_on()
        except TryLater as why:
            raise TryLater(str(why), after=why.after, landed=True) from None
