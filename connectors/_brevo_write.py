"""Writing to Brevo.  In: orders.  Out: one receipt per order, in their order.

Brevo answers 204 without a word to a batch, and success where it ignored an attribute; a mark of its blocklist was seen
to be lost in an update.  So every write is read back, and only what Brevo shows is done.

A change of the address lifts the blocklist: the contact is subscribed again (reference, "Update a contact").  What was
marked before is therefore marked after, by a call of its own where Brevo does not show it; the same for a changed
telephone number, of which the reference says nothing.  Nobody is taken off the blocklist by an order that does not know
of the mark.

Sources: developers.brevo.com/reference/update-contact, create-contact, update-batch-contacts (one identifier each; no
result per contact); github.com/sendinblue/APIv3-php-library issues 149, 169 (an unchanged address is refused as taken),
173 (lost marks); PipedreamHQ/pipedream#15034 (``duplicate_identifiers``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from connectors._brevo_calls import CONCURRENCY, Contacts
from connectors._brevo_wire import (
    ATTRIBUTE,
    EMAIL,
    FLAGS,
    IDENTIFIERS,
    flag,
    fold,
    is_id,
    kept,
    problem,
    refusal,
    same,
    unknown,
    value_for,
)
from connectors._receipts import Run, rounds
from connectors._wording import values
from connectors.contract import (
    Done,
    Exists,
    Failed,
    Gone,
    NeedsHuman,
    Order,
    Problem,
    Receipt,
    Record,
    Ref,
    Refused,
    TryLater,
    Verb,
)

NOBODY: Final = "brevo: no contact of this id"
_T = TypeVar("_T")
_UNSUPPORTED: Final[Mapping[Verb, str]] = {
    Verb.ARCHIVE: "brevo: has no archive, only removal for good; leave the contact, or erase it",
    Verb.MERGE: "brevo: which of two contacts a merge keeps, and with which marks, Brevo decides: merge by hand",
}


def write(contacts: Contacts, orders: Sequence[Order]) -> list[Receipt]:
    """Carry out the orders; updates before creates before removals, since an update may free an address."""
    run = _Run(contacts, orders)
    jobs: list[_Job] = []
    for at, order in enumerate(orders):
        if order.verb in _UNSUPPORTED:
            run.receipts[at] = Failed(order.key, Refused(_UNSUPPORTED[order.verb], code="unsupported"))
        elif order.verb is not Verb.CREATE and not is_id(order.id):
            run.receipts[at] = Gone(order.key, NOBODY)
        else:
            jobs.append(_Job(at, order))
    run.prepare([j for j in jobs if j.order.verb in {Verb.CREATE, Verb.UPDATE}])
    ready = [j for j in jobs if j.at not in run.receipts]
    run.updates([j for j in ready if j.order.verb is Verb.UPDATE])
    run.creates([j for j in ready if j.order.verb is Verb.CREATE])
    for part in rounds([j for j in ready if j.order.verb is Verb.ERASE], lambda j: j.order.id):
        run.each(part, run.erased)
    return [run.receipts[at] for at in range(len(orders))]


@dataclass(slots=True)
class _Job:
    """An order, as it is sent."""

    at: int
    order: Order
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    flags: dict[str, bool] = field(default_factory=dict)
    email: str = field(default="", repr=False)  # the address that it gives to the contact, "" = none
    id: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """The contact, in a call of its own."""
        made: dict[str, Any] = dict(self.flags)
        attributes = dict(self.attributes)
        if self.order.verb is Verb.CREATE:
            made[EMAIL] = self.email
        elif self.email:
            attributes["EMAIL"] = self.email
        return {**made, "attributes": attributes} if attributes else made

    @property
    def stops(self) -> dict[str, bool]:
        """The marks that it sets."""
        return {name: True for name, on in self.flags.items() if on}

    @property
    def moves(self) -> bool:
        """Whether it changes what the contact is known by."""
        return bool(self.email or IDENTIFIERS & self.attributes.keys())

    @property
    def sent(self) -> dict[str, Any]:
        """What is to be seen afterwards, by field."""
        wanted = {ATTRIBUTE + name: value for name, value in self.attributes.items()}
        return {**wanted, **self.flags, **({EMAIL: self.email} if self.email else {})}

    def holds(self, found: Record) -> bool:
        """Whether the contact is just as this order makes it."""
        return self.lacking(found) is None and all(
            same(found.fields.get(n), v) for n, v in self.sent.items() if n != EMAIL
        )

    def lacking(self, found: Record) -> str | None:
        """The first field that Brevo does not show as it was sent."""
        for name, value in self.sent.items():
            if name in FLAGS:
                if found.fields.get(name) is not value:
                    return name
            elif not kept(name, value, self.order.known.get(name), found):
                return name
        return None


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, contacts: Contacts, orders: Sequence[Order]) -> None:
        super().__init__(CONCURRENCY)
        self.contacts = contacts
        said = {v for o in orders for v in values([o.fields, o.known]) if len(v) > 1}
        self._said = sorted(said, key=len, reverse=True)

    def _look(self, call: Callable[[], _T]) -> _T:
        """What a look at Brevo shows.  Its error may repeat what orders hold, which a look did not send."""
        try:
            return call()
        except Refused as refused:
            raise Refused(self._masked(refused), code=refused.code) from None
        except NeedsHuman as needs:
            raise NeedsHuman(self._masked(needs)) from None
        except TryLater as later:
            raise TryLater(self._masked(later), after=later.after) from None

    def _masked(self, error: Problem) -> str:
        text = str(error)
        for value in self._said:
            text = re.sub(re.escape(value), "***", text, flags=re.IGNORECASE)
        return text

    # --- what is sent -------------------------------------------------------------------------------------------------

    def prepare(self, jobs: Sequence[_Job]) -> None:
        """The orders as Brevo takes them; what it would ignore is refused, with its withdrawal sent all the same."""
        asked = {n.removeprefix(ATTRIBUTE) for j in jobs for n in j.order.fields if n.startswith(ATTRIBUTE)}
        known: Mapping[str, Any] = {}
        if asked:  # an order about marks alone does not wait for it
            named = [j for j in jobs if any(n.startswith(ATTRIBUTE) for n in j.order.fields)]
            found = self.call(named, lambda: self._look(lambda: self._attributes(asked)))
            known = found if found is not None else {}
            jobs = [j for j in jobs if j.at not in self.receipts]
        refused: list[tuple[_Job, Refused]] = []
        for job in jobs:
            try:
                self._fill(job, known)
            except Refused as error:
                refused.append((job, error))
        self.each([j for j, _ in refused if j.stops and j.order.verb is Verb.UPDATE], self._stopped_only)
        for job, why in refused:
            if job.at not in self.receipts:
                self.receipts[job.at] = Failed(job.order.key, why)

    def _attributes(self, asked: set[str]) -> Mapping[str, Any]:
        known = self.contacts.attributes(fresh=False)
        return known if asked <= known.keys() else self.contacts.attributes()

    def _fill(self, job: _Job, known: Mapping[str, Any]) -> None:
        """Refused for what cannot be written; flags are read first, so that those of a refused order are known."""
        order, fresh = job.order, job.order.verb is Verb.CREATE
        job.id = str(order.id)
        job.flags = {n: flag(n, v) for n, v in order.fields.items() if n in FLAGS and v is not None}
        for name, value in order.fields.items():
            if name == EMAIL:
                email = fold(value)
                if not email and not fresh:
                    raise Refused(f"brevo: {EMAIL} cannot be cleared", code="required", field=EMAIL)
                # An address that does not change was refused as another's.
                job.email = email if fresh or email != fold(order.known.get(EMAIL)) else ""
            elif name in FLAGS:
                continue
            else:
                about = known.get(name.removeprefix(ATTRIBUTE)) if name.startswith(ATTRIBUTE) else None
                if about is None or about.name == "EMAIL":
                    raise unknown(name, known)
                if not (fresh and value is None):  # a new contact has nothing to clear
                    job.attributes[about.name] = value_for(about, value)
        if fresh and not job.email:
            why = "brevo: without an address each try would make another contact"
            raise Refused(why, code="required", field=EMAIL)

    def _stopped_only(self, job: _Job) -> Receipt | None:
        """The withdrawals of an order that is refused for something else."""
        response = self.contacts.update(job.id, job.stops)
        return Gone(job.order.key, NOBODY) if response.status_code == 404 else None

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[_Job]) -> None:
        """Alone what speaks of consent or changes an identifier, in batches the rest."""
        for job in jobs:
            if not job.body:  # nothing to say, nothing to send
                self.receipts[job.at] = Done(job.order.key, job.id)
        for part in rounds([j for j in jobs if j.body], lambda j: j.id):
            plain = [j for j in part if not (j.flags or j.moves)]
            alone = [j for j in part if j.flags or j.moves]
            self.each(alone, self._changed)  # first: consent travels in it
            left = {fold(j.order.known.get(EMAIL)) for j in alone if j.email}
            self.each([j for j in alone if j.email in left and self._conflicts(j)], self._changed)
            if len(plain) > 1:
                self._batch(plain)
            else:
                self.each(plain, self._put)
                self._shown(plain)

    def _conflicts(self, job: _Job) -> bool:
        """Whether its address was another's, which may have left it in the same write."""
        receipt = self.receipts[job.at]
        return isinstance(receipt, Failed) and getattr(receipt.problem, "code", "") == "conflict"

    def creates(self, jobs: Sequence[_Job]) -> None:
        """Nobody who is there is changed."""
        for part in rounds(jobs, lambda j: j.email):
            self.each(part, self._created)
            self._shown([j for j in part if j.at not in self.receipts])

    def erased(self, job: _Job) -> Receipt:
        """Removal is for good; the marks go with the contact."""
        response = self.contacts.remove(str(job.order.id))
        if response.status_code == 204:
            return Done(job.order.key, str(job.order.id))
        if response.status_code == 404:
            return Gone(job.order.key, NOBODY)
        return Failed(job.order.key, refusal(response, {}, self.contacts.secrets))

    # --- single steps -------------------------------------------------------------------------------------------------

    def _changed(self, job: _Job) -> Receipt:
        """One update whose marks are looked at before and after."""
        frees = [name for name, on in job.flags.items() if not on]
        marked: list[str] = []
        if job.moves or frees:
            before = self._get(job)
            if before is None:
                return Gone(job.order.key, NOBODY)
            if job.email == fold(before.fields.get(EMAIL)):
                job.email = ""  # it has it already
            if not job.body:
                return self._judged(job, before)
            marked = [n for n in FLAGS if before.fields.get(n) is True and n not in frees]
            for name in frees:
                if before.fields.get(name) is True and str(job.order.known.get(name)).lower() != "true":
                    why = f"brevo: {name} was set there after what the order goes by"
                    return Failed(job.order.key, Refused(why, code="compliance", field=name))
        response = self.contacts.update(job.id, {**job.body, **dict.fromkeys(marked, True)})
        if response.status_code == 404:
            return Gone(job.order.key, NOBODY)
        if response.status_code != 204:
            if job.stops and job.stops != job.body:
                self.contacts.update(job.id, job.stops)  # refused too, or taken: the answer below stands
            return Failed(job.order.key, refusal(response, job.body, self.contacts.secrets))
        return self._marked(job, [*marked, *job.stops])

    def _marked(self, job: _Job, marked: Sequence[str]) -> Receipt:
        """The receipt by what Brevo shows; marks that it does not show are set once more."""
        found = self._get(job)
        if found is not None and (lost := [n for n in marked if found.fields.get(n) is not True]):
            self.contacts.update(job.id, dict.fromkeys(lost, True))
            found = self._get(job)
            if found is not None and any(found.fields.get(n) is not True for n in lost):
                return Failed(job.order.key, _later(job, lost[0]))
        return self._judged(job, found)

    def _get(self, job: _Job) -> Record | None:
        return self._look(lambda: self.contacts.get(job.id))

    def _put(self, job: _Job) -> Receipt | None:
        """One plain update; None where it was taken, which is still to be seen."""
        response = self.contacts.update(job.id, job.body)
        if response.status_code == 404:
            return Gone(job.order.key, NOBODY)
        if response.status_code != 204:
            return Failed(job.order.key, refusal(response, job.body, self.contacts.secrets))
        return None

    def _created(self, job: _Job) -> Receipt | None:
        """One new contact; None where it was made, which is still to be seen."""
        if job.order.again:
            there = self._look(lambda: self.contacts.by_email([job.email]))
            if there and job.holds(there[0]):
                return Done(job.order.key, there[0].id, there[0], there[0].modified)
            if there:
                return Exists(job.order.key, Ref(there[0].id))
        response = self.contacts.create(job.body)
        if response.status_code == 400:
            code, _, twice = problem(response)
            if code == "duplicate_parameter" and (not twice or EMAIL in map(str.lower, twice)):
                return Exists(job.order.key, Ref(job.email, key=EMAIL))
            return Failed(job.order.key, refusal(response, job.body, self.contacts.secrets))
        job.id = self.contacts.made(response)
        return self._marked(job, list(job.stops)) if job.stops else None

    def _batch(self, jobs: Sequence[_Job]) -> None:
        """Several plain updates; where it is refused, or somebody does not show it, each by itself."""
        body = [{"id": int(j.id), "attributes": j.attributes} for j in jobs]
        response = self.call(jobs, lambda: self.contacts.batch(body))
        if response is None:
            return
        if response.status_code == 204:
            self._shown(jobs, again=True)
        rest = [j for j in jobs if j.at not in self.receipts]
        self.each(rest, self._put)
        self._shown([j for j in rest if j.at not in self.receipts])

    def _shown(self, jobs: Sequence[_Job], *, again: bool = False) -> None:
        """The receipts by what Brevo shows.  ``again``: who does not show it gets none yet."""
        waiting = [j for j in jobs if j.at not in self.receipts]
        ids = [j.id for j in waiting]
        found = self.call(waiting, lambda: self._look(lambda: self.contacts.read(ids))) if waiting else None
        for job in waiting if found is not None else ():
            one = found.get(job.id) if found is not None else None
            if not (again and one is not None and job.lacking(one) is not None):
                self.receipts[job.at] = self._judged(job, one)

    def _judged(self, job: _Job, found: Record | None) -> Receipt:
        if found is None:
            if job.order.verb is Verb.CREATE:
                return Failed(job.order.key, TryLater("brevo: the new contact cannot be read yet", landed=True))
            return Gone(job.order.key, NOBODY)
        if (name := job.lacking(found)) is not None:
            self.contacts.forget()  # it may be an attribute that is no more, or of another type by now
            return Failed(job.order.key, _later(job, name))
        return Done(job.order.key, found.id, found, found.modified)


def _later(job: _Job, name: str) -> TryLater:
    says = f"brevo: took the call, but does not show {name} as sent"
    return TryLater(says, landed=job.order.verb is Verb.CREATE)
