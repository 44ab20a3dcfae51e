"""Writing members to Mailchimp.  In: orders.  Out: one receipt per order, in their order, whatever happened.

Creates and plain updates travel in batch calls by address; what must not miss its member travels alone by contact id:
a change of the address, a change of consent (status, interests, permissions), and every update that the batch could not
place.  A new member with permissions travels alone too, in one call: a batch does not know them (contract).

A withdrawal is not held up by what else an order says: where the whole is refused, each withdrawal goes by itself, and
the refusal is answered all the same.

Why a batch update cannot bring a member back: it carries no ``status``, and Mailchimp refuses a new member without one
("could not be validated", in the answer's errors; seen in hull-mailchimp's tests against the live API, and in
VingtCinq/python-mailchimp#68; an archived member stays archived, mailchimp/mc-woocommerce#951).  The contract says
nothing of this, so a member that an update did create is archived at once, and the order is answered with Gone.

Sources: the API's contract 3.0.55; facts about refusals in ``_mailchimp_errors``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx

from connectors import _mailchimp_topics as topics
from connectors._mailchimp_calls import CONCURRENCY, Audience
from connectors._mailchimp_errors import EXISTS, blamed, document, fault, lacking, places, reason
from connectors._mailchimp_jobs import Job, Results, rounds, to_job, with_tags
from connectors._mailchimp_wire import EMAIL, STATUS, fold, holds, record, subscriber_hash
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

SPLITS = 32  # extra calls that isolating bad members may take in one write; the rest waits for the next one; ours

_NOBODY = "mailchimp: no member of this id"
_AWAY = "mailchimp: the member is archived, and cannot be changed there (405)"
_FINAL = frozenset({"merge_field", "throttled"})  # refusals of a batch update that are not about who it is


def write(audience: Audience, orders: Sequence[Order], *, new_status: str) -> list[Receipt]:
    """Carry out the orders; updates before creates before archives, since an update may free an address."""
    run = _Run(audience)
    jobs: list[Job] = []
    for at, order in enumerate(orders):
        try:
            jobs.append(to_job(at, order, new_status))
        except Refused as refused:
            run.receipts[at] = Failed(order.key, refused)
    run.updates([j for j in jobs if j.order.verb is Verb.UPDATE])
    run.creates([j for j in jobs if j.order.verb is Verb.CREATE])
    run.each([j for j in jobs if j.order.verb is Verb.ARCHIVE], run.archived)
    run.each([j for j in jobs if j.order.verb is Verb.ERASE], run.erased)
    return [run.receipts[at] for at in range(len(orders))]


class _Run(Run):
    """One call of ``write``."""

    def __init__(self, audience: Audience) -> None:
        super().__init__(CONCURRENCY)
        self.audience = audience
        self.splits = SPLITS

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[Job]) -> None:
        """In batches by address where that is safe, alone by contact id elsewhere."""
        for job in jobs:
            if not job.sent and job.moves is None:  # only tags, or nothing at all
                self.receipts[job.at] = Done(job.order.key, str(job.order.id))
        rest = [j for j in jobs if j.at not in self.receipts]
        self.each([j for j in rest if j.alone], self.patched)  # first: consent travels in it
        for batch in rounds(j for j in rest if not j.alone):
            self._batch(batch, update=True)
        self._tag(jobs)

    def creates(self, jobs: Sequence[Job]) -> None:
        """A create that may have been carried out before is looked up first."""
        self.each([j for j in jobs if j.order.again], self._looked_up)
        rest = [j for j in jobs if j.at not in self.receipts]
        self.each([j for j in rest if topics.PERMISSIONS in j.sent], self.created)
        for batch in rounds(j for j in rest if topics.PERMISSIONS not in j.sent):
            self._batch(batch, update=False)
        self._tag(jobs)

    def created(self, job: Job) -> Receipt:
        """One new member, with all that a batch cannot say."""
        response = self.audience.create({EMAIL: job.address, **job.sent})
        if response.status_code == 200:
            return _done(job, self.audience.json(response))
        problem = document(response)
        if reason(problem) is EXISTS:
            return Exists(job.order.key, Ref(fold(job.address), key="email"))
        return Failed(job.order.key, self._fault(problem, job))

    def archived(self, job: Job) -> Receipt:
        response = self.audience.archive(str(job.order.id))
        if response.status_code == 204:
            return Done(job.order.key, str(job.order.id))
        return self._stayed(job, response)

    def erased(self, job: Job) -> Receipt:
        response = self.audience.erase(str(job.order.id))
        if response.status_code == 204:
            return Done(job.order.key, str(job.order.id))
        if response.status_code == 400:
            return Failed(job.order.key, self._fault(document(response), job))
        return self._stayed(job, response)

    def patched(self, job: Job) -> Receipt:
        """One update by contact id: it changes the member whatever its address is by now, or nobody."""
        response = self.audience.patch(str(job.order.id), job.whole)
        if response.status_code == 200:
            return _done(job, self.audience.json(response))
        if response.status_code == 404:
            return Gone(job.order.key, _NOBODY)
        if response.status_code == 405:
            return Gone(job.order.key, _AWAY)
        for stop in job.stops():
            if stop != job.whole:
                self.audience.patch(str(job.order.id), stop)  # refused too, or taken: the answer below stands
        return Failed(job.order.key, self._fault(document(response), job))

    # --- batches ------------------------------------------------------------------------------------------------------

    def _batch(self, jobs: Sequence[Job], *, update: bool) -> None:
        """One batch call; a batch that is refused as a whole is cut until the bad member stands alone."""
        if self.stopped is not None:
            self.fail(jobs, self.stopped)
            return
        try:
            response = self.audience.batch([{EMAIL: j.address, **j.sent} for j in jobs], update=update)
            results = Results(self.audience.json(response)) if response.status_code == 200 else None
        except Refused as refused:  # a status of the whole, such as 413
            if len(jobs) == 1:
                self.fail(jobs, refused)
            else:
                self._cut(jobs, update=update)
        except (TryLater, NeedsHuman) as problem:
            self.stopped = problem
            self.fail(jobs, problem)
        else:
            if results is None:
                self._refused(jobs, document(response), update=update)
            elif update:
                self._updated(jobs, results)
            else:
                self._created(jobs, results)

    def _refused(self, jobs: Sequence[Job], problem: Mapping[str, Any], *, update: bool) -> None:
        """A 400: it may name the bad members by their place."""
        named = {0: problem} if len(jobs) == 1 else {}
        named |= {place: problem for place, job in enumerate(jobs) if blamed(problem, job.order.fields) is not None}
        named |= {place: error for place, error in places(problem).items() if place < len(jobs)}
        for place, error in named.items():
            self.receipts[jobs[place].at] = Failed(jobs[place].order.key, self._fault(error, jobs[place]))
        if named:
            self._again([j for place, j in enumerate(jobs) if place not in named], update=update)
        else:
            self._cut(jobs, update=update)

    def _cut(self, jobs: Sequence[Job], *, update: bool) -> None:
        half = len(jobs) // 2
        self._again(jobs[:half], update=update)
        self._again(jobs[half:], update=update)

    def _again(self, jobs: Sequence[Job], *, update: bool) -> None:
        """A smaller batch, as long as the extra calls last; these are innocent, so what is left waits."""
        if jobs and self.splits > 0:
            self.splits -= 1
            self._batch(jobs, update=update)
        else:
            self.fail(jobs, TryLater("mailchimp: too many refused at once, the rest goes next time"))

    def _updated(self, jobs: Sequence[Job], results: Results) -> None:
        doubtful: list[Job] = []
        made: list[Job] = []
        for job in jobs:
            address = fold(job.address)
            row, error = results.updated.get(address), results.errors.get(address)
            if address in results.new:
                made.append(job)
            elif row is not None and row.get("contact_id") in (None, "", job.order.id):
                self.receipts[job.at] = _done(job, row)
            elif error is not None and (why := reason(error)) is not None and why.code in _FINAL:
                self.receipts[job.at] = Failed(job.order.key, self._fault(error, job))
            else:  # no such member, the address is another's by now, or no word at all: the id knows
                doubtful.append(job)
        self.each(made, self._undone)
        self.each(doubtful, self.patched)

    def _created(self, jobs: Sequence[Job], results: Results) -> None:
        made: list[Job] = []
        silent: list[Job] = []
        for job in jobs:
            address = fold(job.address)
            row, error = results.new.get(address), results.errors.get(address)
            if row is not None and row.get("contact_id"):
                self.receipts[job.at] = _done(job, row)
            elif row is not None:
                made.append(job)
            elif address in results.updated or (error is not None and reason(error) is EXISTS):
                self.receipts[job.at] = Exists(job.order.key, Ref(address, key="email"))
            elif error is not None:
                self.receipts[job.at] = Failed(job.order.key, self._fault(error, job))
            else:
                silent.append(job)
        self.each(made, self._read_back)
        if len(jobs) == 1 and silent and len(results.strays) == 1:  # the answer may spell an address in another way
            self.receipts[silent[0].at] = Failed(jobs[0].order.key, self._fault(results.strays[0], jobs[0]))
            return
        self.each(silent, self._looked_up)
        unknown = [j for j in silent if j.at not in self.receipts]
        if len(jobs) == 1:
            self.fail(unknown, TryLater("mailchimp: no word about this member", landed=True))
        else:  # each alone: then any word in the answer is about it
            for job in unknown:
                self._again([job], update=False)

    # --- single steps -------------------------------------------------------------------------------------------------

    def _looked_up(self, job: Job) -> Receipt | None:
        """Whether an earlier try of this create took effect; None if there is no such member."""
        found = self.audience.get(subscriber_hash(job.address))
        if found is None:
            return None
        wanted = {STATUS: job.sent[STATUS], **{k: v for k, v in job.order.fields.items() if v is not None}}
        if holds(found, wanted):
            return Done(job.order.key, found.id, found, found.modified)
        return Exists(job.order.key, Ref(found.id))

    def _read_back(self, job: Job) -> Receipt:
        """The contact id of a new member, where the batch answer does not hold it (it does since 3.0.91)."""
        found = self.audience.get(subscriber_hash(job.address))
        if found is None:
            return Failed(job.order.key, TryLater("mailchimp: the new member cannot be read yet", landed=True))
        return _kept(job, found)

    def _stayed(self, job: Job, response: httpx.Response) -> Receipt:
        """Not removed.  404: nobody is there.  405: nobody, or one whose state forbids it, so that is looked at.

        Bounced and pending members are not archived (answers recorded in grouparoo/grouparoo's tests, 2022).
        """
        found = self.audience.get(str(job.order.id)) if response.status_code == 405 else None
        if found is None:
            return Gone(job.order.key, _NOBODY)
        if found.archived and job.order.verb is Verb.ARCHIVE:
            return Gone(job.order.key, "mailchimp: the member is archived already (405)")
        says = (
            f"mailchimp: a member of status {found.fields.get(STATUS)!r} is not removed by the API: do it in Mailchimp"
        )
        return Failed(job.order.key, Refused(says, code="state", field=STATUS))

    def _undone(self, job: Job) -> Receipt:
        """An update that made a new member: that must not stay."""
        self.audience.archive(subscriber_hash(job.address))
        return Gone(job.order.key, f"{_NOBODY}; a new one that the update had made was archived")

    def _tag(self, jobs: Iterable[Job]) -> None:
        """Tags have an endpoint of their own, per member; the batch would only add them, or replace all."""
        self.each([j for j in jobs if j.tags and isinstance(self.receipts[j.at], Done)], self._tagged)

    def _tagged(self, job: Job) -> Receipt:
        done = self.receipts[job.at]
        if not isinstance(done, Done):
            return done
        address = job.address if job.moves is None else job.moves
        response = self.audience.tag(subscriber_hash(address), job.tags) if address else None
        if response is None or response.status_code == 404:  # we do not know its address, or no longer
            found = self.audience.get(done.id)
            if found is None or not (now := fold(found.fields.get(EMAIL))):
                return Gone(job.order.key, _NOBODY)
            response = self.audience.tag(subscriber_hash(now), job.tags)
        if response.status_code == 404:
            return Gone(job.order.key, _NOBODY)
        if response.status_code == 400:
            return Failed(job.order.key, self._fault(document(response), job))
        return Done(done.key, done.id, with_tags(done.record, job), done.modified)

    def _fault(self, error: Mapping[str, Any], job: Job) -> Refused | TryLater:
        return fault(error, job.order.fields, self.audience.secrets)


def _done(job: Job, row: object) -> Receipt:
    if not isinstance(row, Mapping):
        raise TryLater("mailchimp: a member that is no object", landed=True)
    return _kept(job, record(row, known_as=job.order.id))


def _kept(job: Job, found: Record) -> Receipt:
    """Done, unless the answer does not show a topic that was sent."""
    if (name := topics.missing(job.topics, found)) is not None:
        return Failed(job.order.key, lacking(name))
    return Done(job.order.key, found.id, found, found.modified)
