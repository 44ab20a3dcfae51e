"""Writing members to Mailchimp.  In: orders.  Out: one receipt per order, in their order, whatever happened.

Creates and plain updates travel in batch calls by address; what must not miss its member travels alone by contact id:
a change of the address, a change of the status (consent), and every update that the batch could not place.

Why a batch update cannot bring a member back: it carries no ``status``, and Mailchimp refuses a new member without one
("could not be validated", in the answer's errors; seen in hull-mailchimp's tests against the live API, and in
VingtCinq/python-mailchimp#68; an archived member stays archived, mailchimp/mc-woocommerce#951).  The contract says
nothing of this, so a member that an update did create is archived at once, and the order is answered with Gone.

Sources: the API's contract 3.0.55; facts about refusals in ``_mailchimp_wire``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from connectors._mailchimp_calls import Audience, together
from connectors._mailchimp_wire import (
    CREATABLE,
    EMAIL,
    EXISTS,
    SETTABLE,
    STATUS,
    TAGS,
    body,
    document,
    fault,
    fold,
    holds,
    places,
    reason,
    record,
    rows,
    subscriber_hash,
    tag_names,
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

SPLITS = 32  # extra calls that isolating bad members may take in one write; the rest waits for the next one; ours

_NOBODY = "mailchimp: no member of this id"
_FINAL = frozenset({"merge_field", "interest", "throttled"})  # refusals of a batch update that are not about who it is


@dataclass(frozen=True, slots=True)
class _Job:
    """One order on its way."""

    at: int  # its place among the orders
    order: Order
    address: str = field(repr=False)  # under which the member is known now; "" if we do not know it
    sent: Mapping[str, Any] = field(repr=False)  # the member in the request, without its address
    moves: str | None = field(default=None, repr=False)  # the new address
    tags: Mapping[str, bool] = field(default_factory=dict)


_Step = Callable[[_Job], Receipt | None]


def write(audience: Audience, orders: Sequence[Order], *, new_status: str) -> list[Receipt]:
    """Carry out the orders; updates before creates before archives, since an update may free an address."""
    run = _Run(audience)
    jobs: list[_Job] = []
    for at, order in enumerate(orders):
        try:
            jobs.append(_job(at, order, new_status))
        except Refused as refused:
            run.receipts[at] = Failed(order.key, refused)
    run.updates([j for j in jobs if j.order.verb is Verb.UPDATE])
    run.creates([j for j in jobs if j.order.verb is Verb.CREATE])
    run.each([j for j in jobs if j.order.verb is Verb.ARCHIVE], run.archived)
    run.each([j for j in jobs if j.order.verb is Verb.ERASE], run.erased)
    return [run.receipts[at] for at in range(len(orders))]


def _job(at: int, order: Order, new_status: str) -> _Job:
    """Refused for an order that cannot be said to Mailchimp."""
    fresh = order.verb is Verb.CREATE
    if not fresh and not order.id:
        raise Refused(f"mailchimp: cannot {order.verb} without an id", code="id")
    if order.verb in {Verb.ARCHIVE, Verb.ERASE}:
        return _Job(at, order, "", {})
    sent = body(order.fields, fresh=fresh)
    given = sent.pop(EMAIL, None)
    if given is not None and not fold(given):
        raise Refused("mailchimp: the address is empty", code="required", field=EMAIL)
    if fresh:
        if given is None:
            raise Refused("mailchimp: a member needs an address", code="required", field=EMAIL)
        sent.setdefault(STATUS, new_status)
    allowed = CREATABLE if fresh else SETTABLE
    if STATUS in sent and sent[STATUS] not in allowed:
        raise Refused(f"mailchimp: the status can be {', '.join(sorted(allowed))}", code="status", field=STATUS)
    tags: dict[str, bool] = {}
    if TAGS in order.fields:
        wanted, had = tag_names(order.fields[TAGS]), tag_names(order.known.get(TAGS))
        tags = {name: False for name in had if name not in wanted} | {n: True for n in wanted if n not in had}
    if fresh:
        return _Job(at, order, str(given).strip(), sent, tags=tags)
    known = order.known.get(EMAIL)
    current = known.strip() if isinstance(known, str) else ""
    moves = str(given).strip() if given is not None and fold(given) != fold(current) else None
    return _Job(at, order, current, sent, moves, tags)


class _Run:
    """One call of ``write``: the receipts so far, and why no further call is made."""

    def __init__(self, audience: Audience) -> None:
        self.audience = audience
        self.receipts: dict[int, Receipt] = {}
        self.stopped: TryLater | NeedsHuman | None = None
        self.splits = SPLITS

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def updates(self, jobs: Sequence[_Job]) -> None:
        """In batches by address where that is safe, alone by contact id elsewhere."""
        for job in jobs:
            if not job.sent and job.moves is None:  # only tags, or nothing at all
                self.receipts[job.at] = Done(job.order.key, str(job.order.id))
        rest = [j for j in jobs if j.at not in self.receipts]
        alone = [j for j in rest if j.moves is not None or STATUS in j.sent or not j.address]
        plain = [j for j in rest if j not in alone]
        self.each(alone, self.patched)  # first: consent travels in it
        for batch in _rounds(plain):
            self._batch(batch, update=True)
        self._tag(jobs)

    def creates(self, jobs: Sequence[_Job]) -> None:
        """A create that may have been carried out before is looked up first."""
        self.each([j for j in jobs if j.order.again], self._looked_up)
        for batch in _rounds([j for j in jobs if j.at not in self.receipts]):
            self._batch(batch, update=False)
        self._tag(jobs)

    def archived(self, job: _Job) -> Receipt:
        """404 and 405 ("cannot be removed") both mean that there is no member to archive."""
        response = self.audience.archive(str(job.order.id))
        if response.status_code == 204:
            return Done(job.order.key, str(job.order.id))
        return Gone(job.order.key, _NOBODY if response.status_code == 404 else "mailchimp: cannot be archived (405)")

    def erased(self, job: _Job) -> Receipt:
        response = self.audience.erase(str(job.order.id))
        if response.status_code == 204:
            return Done(job.order.key, str(job.order.id))
        if response.status_code == 400:
            return Failed(job.order.key, self._fault(document(response), job))
        return Gone(job.order.key, _NOBODY)

    def patched(self, job: _Job) -> Receipt:
        """One update by contact id: it changes the member whatever its address is by now, or nobody."""
        sent = dict(job.sent) if job.moves is None else {**job.sent, EMAIL: job.moves}
        response = self.audience.patch(str(job.order.id), sent)
        if response.status_code == 200:
            return _done(job, self.audience.json(response))
        if response.status_code in {404, 405}:
            return Gone(job.order.key, _NOBODY)
        return Failed(job.order.key, self._fault(document(response), job))

    def each(self, jobs: Sequence[_Job], call: _Step) -> None:
        """One call per job, a few at once; a problem is that job's, and one of the connection stops the run."""
        for job, receipt in zip(jobs, together(partial(self._guarded, call), jobs), strict=True):
            if receipt is not None:
                self.receipts[job.at] = receipt

    # --- batches ------------------------------------------------------------------------------------------------------

    def _batch(self, jobs: Sequence[_Job], *, update: bool) -> None:
        """One batch call; a batch that is refused as a whole is cut until the bad member stands alone."""
        if self.stopped is not None:
            self._fail(jobs, self.stopped)
            return
        try:
            response = self.audience.batch([{EMAIL: j.address, **j.sent} for j in jobs], update=update)
            results = _Results(self.audience.json(response)) if response.status_code == 200 else None
        except Refused as refused:  # a status of the whole, such as 413
            if len(jobs) == 1:
                self._fail(jobs, refused)
            else:
                self._cut(jobs, update=update)
        except (TryLater, NeedsHuman) as problem:
            self.stopped = problem
            self._fail(jobs, problem)
        else:
            if results is None:
                self._refused(jobs, document(response), update=update)
            elif update:
                self._updated(jobs, results)
            else:
                self._created(jobs, results)

    def _refused(self, jobs: Sequence[_Job], problem: Mapping[str, Any], *, update: bool) -> None:
        """A 400: it may name the bad members by their place."""
        named = {0: problem} if len(jobs) == 1 else {}
        named |= {place: error for place, error in places(problem).items() if place < len(jobs)}
        for place, error in named.items():
            self.receipts[jobs[place].at] = Failed(jobs[place].order.key, self._fault(error, jobs[place]))
        if named:
            self._again([j for place, j in enumerate(jobs) if place not in named], update=update)
        else:
            self._cut(jobs, update=update)

    def _cut(self, jobs: Sequence[_Job], *, update: bool) -> None:
        half = len(jobs) // 2
        self._again(jobs[:half], update=update)
        self._again(jobs[half:], update=update)

    def _again(self, jobs: Sequence[_Job], *, update: bool) -> None:
        """A smaller batch, as long as the extra calls last; these are innocent, so what is left waits."""
        if jobs and self.splits > 0:
            self.splits -= 1
            self._batch(jobs, update=update)
        else:
            self._fail(jobs, TryLater("mailchimp: too many refused at once, the rest goes next time"))

    def _updated(self, jobs: Sequence[_Job], results: _Results) -> None:
        doubtful: list[_Job] = []
        made: list[_Job] = []
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

    def _created(self, jobs: Sequence[_Job], results: _Results) -> None:
        made: list[_Job] = []
        silent: list[_Job] = []
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
            self._fail(unknown, TryLater("mailchimp: no word about this member", landed=True))
        else:  # each alone: then any word in the answer is about it
            for job in unknown:
                self._again([job], update=False)

    # --- single steps -------------------------------------------------------------------------------------------------

    def _looked_up(self, job: _Job) -> Receipt | None:
        """Whether an earlier try of this create took effect; None if there is no such member."""
        found = self.audience.get(subscriber_hash(job.address))
        if found is None:
            return None
        wanted = {STATUS: job.sent[STATUS], **{k: v for k, v in job.order.fields.items() if v is not None}}
        if holds(found, wanted):
            return Done(job.order.key, found.id, found, found.modified)
        return Exists(job.order.key, Ref(found.id))

    def _read_back(self, job: _Job) -> Receipt:
        """The contact id of a new member, where the batch answer does not hold it (it does since 3.0.91)."""
        found = self.audience.get(subscriber_hash(job.address))
        if found is None:
            return Failed(job.order.key, TryLater("mailchimp: the new member cannot be read yet", landed=True))
        return Done(job.order.key, found.id, found, found.modified)

    def _undone(self, job: _Job) -> Receipt:
        """An update that made a new member: that must not stay."""
        self.audience.archive(subscriber_hash(job.address))
        return Gone(job.order.key, f"{_NOBODY}; a new one that the update had made was archived")

    def _tag(self, jobs: Iterable[_Job]) -> None:
        """Tags have an endpoint of their own, per member; the batch would only add them, or replace all."""
        self.each([j for j in jobs if j.tags and isinstance(self.receipts[j.at], Done)], self._tagged)

    def _tagged(self, job: _Job) -> Receipt:
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
        return Done(done.key, done.id, _with_tags(done.record, job), done.modified)

    def _guarded(self, call: _Step, job: _Job) -> Receipt | None:
        if self.stopped is not None:
            return Failed(job.order.key, self.stopped)
        try:
            return call(job)
        except Refused as refused:
            return Failed(job.order.key, refused)
        except (TryLater, NeedsHuman) as problem:
            self.stopped = problem
            return Failed(job.order.key, problem)

    def _fault(self, error: Mapping[str, Any], job: _Job) -> Refused | TryLater:
        return fault(error, job.order.fields, self.audience.secrets)

    def _fail(self, jobs: Iterable[_Job], problem: Refused | TryLater | NeedsHuman) -> None:
        for job in jobs:
            self.receipts[job.at] = Failed(job.order.key, problem)


class _Results:
    """A batch answer by address.  TryLater where it is none."""

    def __init__(self, answer: object) -> None:
        try:
            new, updated, self.strays = (rows(answer, n) for n in ("new_members", "updated_members", "errors"))
        except TryLater as senseless:
            raise TryLater(str(senseless), landed=True) from None
        self.new = {fold(row.get(EMAIL)): row for row in new}
        self.updated = {fold(row.get(EMAIL)): row for row in updated}
        self.errors = {fold(row.get(EMAIL)): row for row in self.strays}


def _rounds(jobs: Iterable[_Job]) -> list[list[_Job]]:
    """Batches in which no address comes twice: Mailchimp refuses the whole batch for one that does."""
    rounds: list[list[_Job]] = []
    seen: dict[str, int] = {}
    for job in jobs:
        address = fold(job.address)
        turn = seen.get(address, 0)
        seen[address] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(job)
    return rounds


def _done(job: _Job, row: object) -> Receipt:
    if not isinstance(row, Mapping):
        raise TryLater("mailchimp: a member that is no object", landed=True)
    found = record(row, known_as=job.order.id)
    return Done(job.order.key, found.id, found, found.modified)


def _with_tags(found: Record | None, job: _Job) -> Record | None:
    """The record as it is after the tags were set."""
    if found is None:
        return None
    tags = found.fields.get(TAGS)
    kept = [name for name in (tags if isinstance(tags, list) else []) if job.tags.get(name, True)]
    after = [*kept, *(name for name, on in job.tags.items() if on and name not in kept)]
    return Record(found.kind, found.id, {**found.fields, TAGS: after}, found.modified, found.archived, found.former_ids)
