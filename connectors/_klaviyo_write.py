"""Writing to Klaviyo, one call a profile, a few at once; consent in jobs.  In: orders.  Out: one receipt per order.

Why neither ``profile-import`` nor the bulk import: both overwrite whoever has one of the identifiers, which a create
must never do, and the bulk job answers before anything has happened, for all profiles together.  One call per profile
is answered with the profile as it is afterwards, so each order has a receipt of its own.

E-mail **and** phone number are identifiers: a 409 may be about either.  Whoever has the number only is somebody else,
who shares a telephone: the order is carried out without the number.

Order of things: withdrawals, updates, creates, then the rest of consent and what is certain of it, then deletions.
Source: Klaviyo's OpenAPI document 2026-07-15; ``duplicate_profile`` as in ``_klaviyo_wire``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

import httpx

from connectors._klaviyo_calls import CONCURRENCY, Profiles
from connectors._klaviyo_consent import Act, Ask, Jobs, acts, pending
from connectors._klaviyo_wire import CONSENT, EMAIL, PHONE, body, duplicate, fold, holds, is_id, refusal
from connectors._receipts import Run, rounds
from connectors.contract import (
    Done,
    Exists,
    Failed,
    Gone,
    Order,
    Receipt,
    Record,
    Ref,
    Refused,
    TryLater,
    Verb,
)

NOBODY: Final = "klaviyo: no profile of this id"
LATER: Final = timedelta(minutes=1)  # until a deletion is; ours

_Out = TypeVar("_Out")

_CANNOT: Final[Mapping[Verb, str]] = {
    Verb.ARCHIVE: "klaviyo: has no archive; a profile can only be deleted for good, which is an erasure",
    Verb.MERGE: "klaviyo: a merge is queued and leaves no documented trace of the lost id: merge there",
}


def write(profiles: Profiles, jobs: Jobs, orders: Sequence[Order]) -> list[Receipt]:
    """Carry out the orders; see the module."""
    run = _Run(profiles, jobs)
    found: list[_Job] = []
    for at, order in enumerate(orders):
        try:
            job = _job(at, order)
        except Refused as refused:
            run.receipts[at] = Failed(order.key, refused)
        else:
            if order.verb is not Verb.CREATE and not is_id(order.id):
                run.receipts[at] = Gone(order.key, NOBODY)
            else:
                found.append(job)
    updates = [j for j in found if j.order.verb is Verb.UPDATE]
    creates = [j for j in found if j.order.verb is Verb.CREATE]
    run.withdraw([j for j in updates if any(a.stops for a in j.acts)])
    run.updates(updates)
    run.creates(creates)
    run.withdraw([j for j in creates if isinstance(run.receipts.get(j.at), Done) and any(a.stops for a in j.acts)])
    run.settle([*updates, *creates])
    for part in rounds([j for j in found if j.order.verb is Verb.ERASE], lambda j: j.order.id):
        run.each(part, run.erased)
    return [run.receipts[at] for at in range(len(orders))]


@dataclass(frozen=True, slots=True)
class _Job:
    """An order, as it is sent."""

    at: int
    order: Order
    sent: Mapping[str, Any] = field(repr=False)  # the fields without consent
    acts: tuple[Act, ...] = ()

    @property
    def email(self) -> str:
        """The address that it gives, as it is compared; "" where it gives none."""
        return fold(self.sent.get(EMAIL))

    @property
    def phone(self) -> str:
        """The number that it gives; "" where it gives none."""
        value = self.sent.get(PHONE)
        return value.strip() if isinstance(value, str) else ""

    def without(self, name: str) -> _Job:
        """The same without a field."""
        return dataclasses.replace(self, sent={n: v for n, v in self.sent.items() if n != name})


def _job(at: int, order: Order) -> _Job:
    if order.verb in _CANNOT:
        raise Refused(_CANNOT[order.verb], code="unsupported")
    if order.verb is Verb.ERASE:
        return _Job(at, order, {})
    sent = {n: v for n, v in order.fields.items() if not n.startswith(CONSENT)}
    if order.verb is Verb.CREATE:
        sent = {n: v for n, v in sent.items() if v is not None}
    elif EMAIL in sent and sent[EMAIL] == order.known.get(EMAIL):
        del sent[EMAIL]  # an address that stays is not sent: others that differ in case would answer 409
    body(sent)  # what is read only is refused before anything is sent
    return _Job(at, order, sent, acts(order))


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, profiles: Profiles, jobs: Jobs) -> None:
        super().__init__(CONCURRENCY)
        self.profiles = profiles
        self.jobs = jobs
        self.told: dict[tuple[str, str], str] = {}  # (profile, field) → the address of which a job was accepted

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[_Job]) -> None:
        """Order by order per profile; an order about consent alone changes no profile."""
        for job in jobs:
            if job.at not in self.receipts and not job.sent and not job.acts:
                self.receipts[job.at] = Done(job.order.key, str(job.order.id))
        for part in rounds([j for j in jobs if j.at not in self.receipts and j.sent], lambda j: j.order.id):
            self.each(part, self.updated)

    def updated(self, job: _Job) -> Receipt:
        """One profile."""
        response = self._patched(job)
        if response.status_code == 409 and job.phone and self._is_phone(job, response):
            job = job.without(PHONE)
            if not job.sent:
                return self._as_is(job)
            response = self._patched(job)
        if response.status_code == 404:
            return Gone(job.order.key, NOBODY)
        if response.status_code == 409:
            return Failed(job.order.key, self._conflict(job))
        if response.status_code == 400:
            problem = self._refusal(job, response)
            rest = job.without(PHONE)
            if problem.field == PHONE and PHONE in job.sent and rest.sent:
                self._patched(rest)  # a bad number holds up nothing else; the answer below stands
            return Failed(job.order.key, problem)
        return self._done(job, response)

    def creates(self, jobs: Sequence[_Job]) -> None:
        """Looked up first, all of them; who is there is left as they are."""
        for group in rounds(jobs, lambda j: j.email if j.email else None):
            found = self.call(group, lambda g=group: _looked_up(lambda: self._holders(g)))  # type: ignore[misc]
            if found is not None:
                self.each([j for j in group if not self._there(j, found)], self.created)

    def created(self, job: _Job) -> Receipt:
        """One new profile."""
        response = self.profiles.create(body(job.sent))
        if response.status_code == 409:
            other = self._other(response)
            if other is not None and (not job.email or fold(other.fields.get(EMAIL)) == job.email):
                return self._met(job, other)
            if other is None or not job.phone:
                return Failed(job.order.key, self._conflict(job))
            job = job.without(PHONE)
            response = self.profiles.create(body(job.sent))
        if response.status_code == 409:
            return Failed(job.order.key, self._conflict(job))
        if response.status_code in {400, 404}:
            return Failed(job.order.key, self._refusal(job, response))
        return self._done(job, response)

    def erased(self, job: _Job) -> Receipt:
        """Asked for until the profile is not there any more: Klaviyo deletes in its own time and tells nobody."""
        id_ = str(job.order.id)
        if self.profiles.single(id_) is None:
            return Gone(job.order.key, NOBODY)
        response = self.profiles.erase(id_)
        if response.status_code in {400, 409}:
            return Failed(job.order.key, self._refusal(job, response))
        if self.profiles.single(id_) is None:
            return Done(job.order.key, id_)
        return Failed(job.order.key, TryLater("klaviyo: the deletion was asked for and is not done yet", after=LATER))

    # --- consent ------------------------------------------------------------------------------------------------------

    def withdraw(self, jobs: Sequence[_Job]) -> None:
        """What stops, before anything else: what an order says besides may be refused."""
        self._tell(jobs, stops=True)

    def settle(self, jobs: Sequence[_Job]) -> None:
        """What is left of consent; then each order is done whose profile shows all that it says."""
        jobs = [j for j in jobs if j.acts]
        found = self._tell(self._unsettled(jobs), stops=None)
        left = self._unsettled(jobs)
        if found is None:  # something was sent just now
            found = self._now(left)
        if found is not None:
            self.receipts |= {j.at: self._settled(j, found.get(self._id(j))) for j in left}

    def _unsettled(self, jobs: Sequence[_Job]) -> list[_Job]:
        return [j for j in jobs if isinstance(self.receipts.get(j.at), Done | None)]

    def _settled(self, job: _Job, now: Record | None) -> Receipt:
        if now is None:
            # A profile that was just made may be listed a moment later.
            late = isinstance(self.receipts.get(job.at), Done)
            return self._wait(job) if late else Gone(job.order.key, NOBODY)
        try:
            waits = pending(job.order, job.acts, now, self.told)
        except Refused as problem:
            return Failed(job.order.key, problem)
        return self._wait(job) if waits else Done(job.order.key, now.id, now, now.modified)

    def _wait(self, job: _Job) -> Receipt:
        says = "klaviyo: the change of consent was taken on and does not show yet"
        # Without a time: one would let the whole connection rest, where this order is alone.
        return Failed(job.order.key, TryLater(says, landed=job.order.verb is Verb.CREATE))

    def _tell(self, jobs: Sequence[_Job], *, stops: bool | None) -> dict[str, Record] | None:
        """Start jobs for what the profiles do not show.  ``stops``: only what stops; None: everything.

        The profiles as they were looked at; None where they may have changed since, or nobody could say.
        """
        found = self._now(jobs)
        if found is None:
            return None
        asks: list[Ask] = []
        for job in jobs:
            now = found.get(self._id(job))
            if now is None:
                continue
            wanted = [a for a in job.acts if stops is None or a.stops]
            try:
                open_ = pending(job.order, wanted, now, self.told)
            except Refused as problem:
                self.receipts[job.at] = Failed(job.order.key, problem)
                continue
            for act in open_:
                address = act.address(now)
                if address is not None and self.told.get((now.id, act.name)) != address:
                    asks.append(Ask(job.at, act, now.id, address))
        if not asks:
            return found
        own = {j.at: j for j in jobs}

        def spoilt(ask: Ask, problem: Refused) -> None:
            self.receipts[ask.at] = Failed(own[ask.at].order.key, problem)

        asking = [own[at] for at in dict.fromkeys(a.at for a in asks)]
        sent = self._sure(asking, lambda: self.jobs.send(asks, spoilt))
        self.told |= {(a.id, a.act.name): a.address for a in (sent if sent is not None else ())}
        return None

    def _now(self, jobs: Sequence[_Job]) -> dict[str, Record] | None:
        """The profiles of these jobs as they are; None where nobody could say, then all have receipts."""
        if not jobs:
            return {}
        found = self._sure(jobs, lambda: self.profiles.read([self._id(j) for j in jobs]))
        if found is None:
            return None
        return {**found, **{former: r for r in found.values() for former in r.former_ids}}

    def _sure(self, jobs: Sequence[_Job], send: Callable[[], _Out]) -> _Out | None:
        """As ``call``; but a profile that this write has made is there, whatever fails after it."""
        made = [j for j in jobs if j.order.verb is Verb.CREATE and isinstance(self.receipts.get(j.at), Done)]
        found = self.call(jobs, lambda: _looked_up(send))
        for job in made if found is None else ():
            failed = self.receipts[job.at]
            if isinstance(failed, Failed) and isinstance(failed.problem, TryLater):
                problem = TryLater(str(failed.problem), after=failed.problem.after, landed=True)
                self.receipts[job.at] = Failed(job.order.key, problem)
        return found

    def _id(self, job: _Job) -> str:
        done = self.receipts.get(job.at)
        return done.id if isinstance(done, Done) else str(job.order.id)

    # --- who is there -------------------------------------------------------------------------------------------------

    def _holders(self, jobs: Sequence[_Job]) -> dict[str, Record]:
        """Who holds the addresses, or for want of one the numbers, that these jobs give."""
        found = self.profiles.by_email([j.email for j in jobs if j.email])
        found += self.profiles.by_phone([j.phone for j in jobs if j.phone and not j.email])
        mails = {fold(r.fields.get(EMAIL)): r for r in found}
        return {**mails, **{str(r.fields.get(PHONE)): r for r in found}}

    def _there(self, job: _Job, holders: Mapping[str, Record]) -> bool:
        """Whether the profile is there already; then the job has its receipt."""
        key = job.email if job.email else job.phone
        found = holders.get(key) if key else None
        if found is not None:
            self.receipts[job.at] = self._met(job, found)
        return found is not None

    def _met(self, job: _Job, found: Record) -> Receipt:
        """An earlier try of this very order made it, or it is somebody who was there."""
        mine = job.order.again and (holds(found, job.sent) or holds(found, job.without(PHONE).sent))
        return Done(job.order.key, found.id, found, found.modified) if mine else Exists(job.order.key, Ref(found.id))

    def _other(self, response: httpx.Response) -> Record | None:
        """The profile that a 409 names."""
        id_ = duplicate(response)
        return self.profiles.single(id_) if id_ is not None else None

    def _is_phone(self, job: _Job, response: httpx.Response) -> bool:
        """Whether the 409 is about the number and not about the address."""
        other = self._other(response)
        return other is not None and (not job.email or fold(other.fields.get(EMAIL)) != job.email)

    # --- answers ------------------------------------------------------------------------------------------------------

    def _patched(self, job: _Job) -> httpx.Response:
        id_ = str(job.order.id)
        return self.profiles.update(id_, body(job.sent, id_))

    def _done(self, job: _Job, response: httpx.Response) -> Receipt:
        asked = None if job.order.verb is Verb.CREATE else job.order.id
        try:
            found = self.profiles.shown(response, asked=asked)
        except TryLater as senseless:
            raise TryLater(str(senseless), landed=True) from None
        return Done(job.order.key, found.id, found, found.modified)

    def _as_is(self, job: _Job) -> Receipt:
        """Nothing is left to write: what the profile shows is what there is."""
        found = self.profiles.single(str(job.order.id))
        if found is None:
            return Gone(job.order.key, NOBODY)
        return Done(job.order.key, found.id, found, found.modified)

    def _refusal(self, job: _Job, response: httpx.Response) -> Refused:
        return refusal(response, job.sent, self.profiles.secrets)

    def _conflict(self, job: _Job) -> Refused:
        name = EMAIL if job.email else PHONE if job.phone else None
        what = f"this {name}" if name is not None else "one of these identifiers"
        return Refused(f"klaviyo: another profile has {what}", code="conflict", field=name)


def _looked_up(look: Callable[[], _Out]) -> _Out:
    """A refusal of a look-up is about none of the orders, and its words may name what they hold."""
    try:
        return look()
    except Refused as refused:
        raise Refused("klaviyo: refuses to look up profiles, or to take on a job", code=refused.code) from None
