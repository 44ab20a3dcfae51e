"""Writing to Mautic, in batches.  In: orders.  Out: one receipt per order, in their order.

Mautic's create changes whoever holds a unique field already, and its update merges two contacts into one where the
update gives a unique field that another one holds.  Neither is an error there, so who holds such a value is looked up
first, for all orders together, and the answer is compared with what was meant.

Objections travel in the call that makes or changes the contact, and are looked for in its answer; one that is not
there is said again by a call of its own.  Nobody is made contactable against an objection that the order does not
know of: Mautic would take back for us what the person said.

Sources: github.com/mautic/mautic at 24271492 and 6.0.3, ``LeadBundle/Controller/Api/LeadApiController.php``
(merges, do-not-contact), ``CustomFieldsApiControllerTrait.php`` (0 is dropped), ``LeadBundle/Model/DoNotContact.php``,
``LeadBundle/Model/LeadModel.php`` (``checkForDuplicateContact``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from connectors._mautic_calls import COMMENT, CONCURRENCY, Contacts
from connectors._mautic_wire import (
    CONTACTABLE,
    DNC,
    EMAIL,
    REASONS,
    TAGS,
    alike,
    fault,
    fold,
    holds,
    is_id,
    keyed,
    names,
    record,
    refusal,
    same,
    states,
    wire,
    zeros,
)
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

NOBODY: Final = "mautic: no contact of this id"
_UNSUPPORTED: Final[Mapping[Verb, str]] = {
    Verb.ARCHIVE: "mautic: has no archive, only removal for good; leave the contact, or erase it",
    Verb.MERGE: "mautic: a merge there drops the objections of the contact that is lost: merge in Mautic, by hand",
}


def write(contacts: Contacts, orders: Sequence[Order]) -> list[Receipt]:
    """Carry out the orders; updates before creates before removals, since an update may free an address."""
    run = _Run(contacts)
    jobs: list[_Job] = []
    for at, order in enumerate(orders):
        try:
            job = _job(at, order)
        except Refused as refused:
            run.receipts[at] = Failed(order.key, refused)
            continue
        if order.verb is not Verb.CREATE and not is_id(order.id):
            run.receipts[at] = Gone(order.key, NOBODY)
        else:
            jobs.append(job)
    run.updates([j for j in jobs if j.order.verb is Verb.UPDATE])
    run.creates([j for j in jobs if j.order.verb is Verb.CREATE])
    for part in rounds([j for j in jobs if j.order.verb is Verb.ERASE], lambda j: j.order.id):
        run.erases(part)
    return [run.receipts[at] for at in range(len(orders))]


@dataclass(frozen=True, slots=True)
class _Job:
    """An order, as it is sent."""

    at: int
    order: Order
    sent: dict[str, Any] = field(repr=False)  # plain fields
    tags: tuple[str, ...] = ()  # as Mautic takes them: a dash removes
    stops: Mapping[str, str] = field(default_factory=dict)  # channel -> unsubscribed, bounced or manual
    frees: tuple[str, ...] = ()  # channels that are to be contactable again
    takes: Mapping[str, str] = field(default_factory=dict, repr=False)  # unique fields that it gives to the contact

    @property
    def body(self) -> dict[str, Any]:
        """The contact in a batch."""
        made: dict[str, Any] = dict(self.sent)
        if self.order.verb is Verb.UPDATE:
            made["id"] = int(str(self.order.id))
            if "" in self.sent.values():
                made["overwriteWithBlank"] = True
        if self.tags:
            made[TAGS] = list(self.tags)
        said = [(c, REASONS[s]) for c, s in self.stops.items()] + [(c, 0) for c in self.frees]
        if said:
            made["doNotContact"] = [{"channel": c, "reason": r, "comments": COMMENT} for c, r in sorted(said)]
        return made


def _job(at: int, order: Order) -> _Job:
    if order.verb in _UNSUPPORTED:
        raise Refused(_UNSUPPORTED[order.verb], code="unsupported")
    fresh = order.verb is Verb.CREATE
    sent = wire(order.fields)
    if fresh:
        sent = {name: value for name, value in sent.items() if value != ""}  # a new contact has nothing to clear
        if not fold(sent.get(EMAIL)):
            why = "mautic: without an address each try would make another contact"
            raise Refused(why, code="required", field=EMAIL)
    tags: list[str] = []
    if TAGS in order.fields:
        wanted, had = names(order.fields[TAGS]), names(order.known.get(TAGS)) if not fresh else []
        tags = [*(t for t in wanted if t not in had), *(f"-{t}" for t in had if t not in wanted)]
    said = states(order.fields)
    stops = {c: s for c, s in said.items() if s != CONTACTABLE}
    frees = tuple(c for c, s in said.items() if s == CONTACTABLE and not fresh)
    return _Job(at, order, sent, tuple(tags), stops, frees)


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, contacts: Contacts) -> None:
        super().__init__(CONCURRENCY)
        self.contacts = contacts

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[_Job]) -> None:
        """Order by order per contact; a value that another contact holds is not given to a second one."""
        for job in jobs:
            if job.body.keys() == {"id"}:  # nothing to say, nothing to send
                self.receipts[job.at] = Done(job.order.key, str(job.order.id))
        jobs = self._taking([j for j in jobs if j.at not in self.receipts])
        for part in rounds(jobs, lambda j: j.order.id):
            for group in _apart(part):
                now = self._current(group)
                holders = self._holders(group) if now is not None else None
                if now is None or holders is None:
                    continue
                ready = [j for j in group if not self._taken(j, holders) and not self._against(j, now)]
                self._sent(ready, self.contacts.update, self._updated)

    def creates(self, jobs: Sequence[_Job]) -> None:
        """Looked up first, all of them; who is there is left as they are."""
        for group in _apart(self._taking(jobs)):
            holders = self._holders(group)
            if holders is not None:
                self._sent([j for j in group if not self._there(j, holders)], self.contacts.create, self._created)

    def erases(self, jobs: Sequence[_Job]) -> None:
        """Removed for good.  A merged id would remove the contact that it lives on in, so lists are asked first."""
        there = self.call(jobs, lambda: self.contacts.read([str(j.order.id) for j in jobs])) if jobs else None
        if there is None:
            return
        for job in jobs:
            if job.order.id not in there:
                self.receipts[job.at] = Gone(job.order.key, NOBODY)
        self.each([j for j in jobs if j.at not in self.receipts], self._erased)

    def _erased(self, job: _Job) -> Receipt:
        id_ = str(job.order.id)
        response = self.contacts.remove(id_)
        if response.status_code == 403:
            raise NeedsHuman("mautic: 403, the API user's role does not let it delete contacts")
        if response.status_code == 404:
            if self.contacts.read([id_]):  # what stands before Mautic answers 404 as well
                raise TryLater("mautic: 404 for a contact that is there")
            return Gone(job.order.key, NOBODY)
        if response.status_code >= 400:
            return Failed(job.order.key, refusal(fault(response), {}, self.contacts.secrets))
        return Done(job.order.key, id_)

    # --- one batch ----------------------------------------------------------------------------------------------------

    def _sent(
        self,
        jobs: Sequence[_Job],
        send: Callable[[Sequence[Mapping[str, Any]]], Any],
        read: Callable[[_Job, int, Any], Receipt],
    ) -> None:
        """One batch, then what its answer says about each."""
        answer = self.call(jobs, lambda: send([j.body for j in jobs])) if jobs else None
        if answer is None:
            return
        codes, errors, found = (keyed(answer.get(name)) for name in ("statusCodes", "errors", "contacts"))
        for place, job in enumerate(jobs):
            code, trouble = codes.get(place), errors.get(place)
            if trouble is not None or not isinstance(code, int) or code >= 300:
                self.receipts[job.at] = self._refused(job, code, trouble)
        good = {job.at: place for place, job in enumerate(jobs) if job.at not in self.receipts}
        for job in [j for j in jobs if j.at in good]:
            self.receipts[job.at] = self._read(job, read, codes[good[job.at]], found.get(good[job.at]))

    def _read(self, job: _Job, read: Callable[[_Job, int, Any], Receipt], code: int, row: Any) -> Receipt:
        """What became of one of a batch that was carried out: a create that is in doubt from here on has landed."""
        try:
            return read(job, code, row)
        except Refused as refused:
            return Failed(job.order.key, refused)
        except NeedsHuman as stop:
            self.stopped = stop
            return Failed(job.order.key, stop)
        except TryLater as stop:
            self.stopped = stop
            return Failed(job.order.key, TryLater(str(stop), after=stop.after, landed=_once(job)))

    def _refused(self, job: _Job, code: Any, trouble: Any) -> Receipt:
        status = code if isinstance(code, int) else 0
        if status == 404:
            return Gone(job.order.key, NOBODY)
        if status == 429 or status >= 500 or (status < 300 and trouble is None):
            return Failed(job.order.key, TryLater(f"mautic: {status} for one of a batch", landed=_once(job)))
        told = trouble if isinstance(trouble, Mapping) else {}
        return Failed(job.order.key, refusal({**told, "code": status}, job.body, self.contacts.secrets))

    def _updated(self, job: _Job, _code: int, row: Any) -> Receipt:
        found = record(row)
        if found.id != job.order.id:
            raise TryLater("mautic: the answer is another contact than the one that was changed")
        for name in zeros(job.sent):
            if not same(job.sent[name], found.fields.get(name)):
                why = f"mautic: this version drops a 0 or no for {name}; set it in Mautic"
                return Failed(job.order.key, Refused(why, code="zero", field=name))
        return self._objected(job, found)

    def _created(self, job: _Job, code: int, row: Any) -> Receipt:
        found = record(row)
        if code == 200:  # came between the look-up and the call: what we said was added to who was there
            return Exists(job.order.key, Ref(found.id))
        return self._objected(job, found)

    def _objected(self, job: _Job, found: Record) -> Receipt:
        """Done, once the contact shows what was said about its channels; an objection is said again by itself."""
        for channel, state in job.stops.items():
            if found.fields.get(f"{DNC}{channel}", CONTACTABLE) == CONTACTABLE:
                answer = self.contacts.object_to(found.id, channel, REASONS[state])
                if answer.status_code >= 400:
                    raise TryLater(f"mautic: the contact does not show its do-not-contact for {channel}")
                found = Record(found.kind, found.id, {**found.fields, f"{DNC}{channel}": state}, found.modified)
        return Done(job.order.key, found.id, found, found.modified)

    # --- who is there -------------------------------------------------------------------------------------------------

    def _taking(self, jobs: Sequence[_Job]) -> list[_Job]:
        """The jobs with the unique fields that they give away; none where nobody could say which these are."""
        if not jobs:
            return []
        unique = self._looked(jobs, self.contacts.unique)
        if unique is None:
            return []
        made = []
        for job in jobs:
            takes = {
                name: str(job.sent[name])
                for name in sorted({EMAIL, *unique} & job.sent.keys())
                if alike(job.sent[name])
                and (job.order.verb is Verb.CREATE or alike(job.sent[name]) != alike(job.order.known.get(name)))
            }
            made.append(_Job(job.at, job.order, job.sent, job.tags, job.stops, job.frees, takes))
        return made

    def _holders(self, jobs: Sequence[_Job]) -> dict[tuple[str, str], list[Record]] | None:
        """Who holds the values that these jobs give away; None where nobody could say."""
        wanted: dict[str, list[str]] = {}
        for job in jobs:
            for name, value in job.takes.items():
                wanted.setdefault(name, []).append(value.strip())
        holders: dict[tuple[str, str], list[Record]] = {}
        for name, asked in sorted(wanted.items()):
            found = self._looked(jobs, partial(self.contacts.holding, name, asked))
            if found is None:
                return None
            for one in found:
                holders.setdefault((name, alike(one.fields.get(name))), []).append(one)
        return holders

    def _current(self, jobs: Sequence[_Job]) -> dict[str, Record] | None:
        """Those contacts as they are that a job would make contactable; None where nobody could say."""
        freed = [str(j.order.id) for j in jobs if j.frees]
        return self._looked(jobs, lambda: self.contacts.read(freed)) if freed else {}

    def _looked(self, jobs: Sequence[_Job], look: Callable[[], Any]) -> Any:
        """The outcome of a look-up before anything is sent; None where there is none, then the jobs have receipts."""
        unsaid = set(values([j.order.fields for j in jobs]))  # which the look-up's own error may repeat
        if self.stopped is None:
            try:
                return look()
            except TryLater as stop:
                self.stopped = TryLater(masked(str(stop), unsaid), after=stop.after)
            except NeedsHuman as stop:
                self.stopped = NeedsHuman(masked(str(stop), unsaid))
            except Refused as refused:  # not about one of them
                self.fail(jobs, Refused("mautic: refuses to look up who is there", code=refused.code))
                return None
        self.later(jobs, self.stopped, sent=False)
        return None

    def _taken(self, job: _Job, holders: Mapping[tuple[str, str], Sequence[Record]]) -> bool:
        """Whether another contact holds a value: Mautic would merge the two.  Then the job has its receipt."""
        for name, value in job.takes.items():
            if any(r.id != job.order.id for r in holders.get((name, alike(value)), ())):
                why = f"mautic: another contact has this {name}, and Mautic would merge the two"
                self.receipts[job.at] = Failed(job.order.key, Refused(why, code="conflict", field=name))
                return True
        return False

    def _there(self, job: _Job, holders: Mapping[tuple[str, str], Sequence[Record]]) -> bool:
        """Whether the contact is there already; then the job has its receipt."""
        found = [r for name, value in job.takes.items() for r in holders.get((name, alike(value)), ())]
        if not found:
            return False
        own = [r for r in found if fold(r.fields.get(EMAIL)) == fold(job.sent[EMAIL])]
        if not own:
            why = "mautic: takes this contact for another one, by a value that is alike"
            self.receipts[job.at] = Failed(job.order.key, Refused(why, code="conflict", field=EMAIL))
        elif job.order.again and holds(own[0], job.sent) and self._shows(own[0], job):
            self.receipts[job.at] = Done(job.order.key, own[0].id, own[0], own[0].modified)
        else:
            self.receipts[job.at] = Exists(job.order.key, Ref(own[0].id))
        return True

    def _shows(self, found: Record, job: _Job) -> bool:
        return all(found.fields.get(f"{DNC}{c}", CONTACTABLE) != CONTACTABLE for c in job.stops)

    def _against(self, job: _Job, now: Mapping[str, Record]) -> bool:
        """Whether the job would take back an objection that it does not know of.  Then it has its receipt."""
        there = now.get(str(job.order.id))
        for channel in job.frees if there is not None else ():
            name = f"{DNC}{channel}"
            stands = there.fields.get(name, CONTACTABLE) if there is not None else CONTACTABLE
            if stands not in {CONTACTABLE, job.order.known.get(name)}:
                why = f"mautic: the contact is {stands} there, which came later than what the order goes by"
                self.receipts[job.at] = Failed(job.order.key, Refused(why, code="compliance", field=name))
                return True
        return False


def _apart(jobs: Sequence[_Job]) -> list[list[_Job]]:
    """Groups in which no unique value is given away twice: the second is looked up after the first was sent."""
    groups: list[list[_Job]] = []
    seen: list[set[tuple[str, str]]] = []
    for job in jobs:
        own = {(name, alike(value)) for name, value in job.takes.items()}
        place = next((n for n in range(len(seen)) if not own & seen[n]), len(seen)) if own else 0
        if place >= len(groups):
            groups.append([])
            seen.append(set())
        groups[place].append(job)
        seen[place] |= own
    return groups


def _once(job: _Job) -> bool:
    return job.order.verb is Verb.CREATE
