"""Orders as they go to Mailchimp.  In: orders, answers of a batch.  Out: jobs, rounds, results by address.  No I/O.

Which part of an order is a withdrawal of consent is said here: a status that stops, a topic taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors import _mailchimp_topics as topics
from connectors._mailchimp_wire import (
    CREATABLE,
    EMAIL,
    SETTABLE,
    STATUS,
    TAGS,
    body,
    fold,
    rows,
    tag_names,
)
from connectors.contract import Order, Record, Refused, TryLater, Verb

_STOPS = frozenset({"unsubscribed", "cleaned"})


@dataclass(frozen=True, slots=True)
class Job:
    """One order on its way."""

    at: int  # its place among the orders
    order: Order
    address: str = field(repr=False)  # under which the member is known now; "" if we do not know it
    sent: Mapping[str, Any] = field(repr=False)  # the member in the request, without its address
    moves: str | None = field(default=None, repr=False)  # the new address
    tags: Mapping[str, bool] = field(default_factory=dict)

    @property
    def whole(self) -> dict[str, Any]:
        """The member in a request of its own."""
        return dict(self.sent) if self.moves is None else {**self.sent, EMAIL: self.moves}

    @property
    def alone(self) -> bool:
        """Whether an update must not miss its member: it changes the address or consent, or we know no address."""
        consents = STATUS in self.sent or topics.INTERESTS in self.sent or topics.PERMISSIONS in self.sent
        return consents or self.moves is not None or not self.address

    @property
    def topics(self) -> list[str]:
        """The interests and permissions that it says something about; for a new member there is nothing to clear."""
        fresh = self.order.verb is Verb.CREATE
        return [n for n, v in self.order.fields.items() if topics.is_topic(n) and not (fresh and v is None)]

    def stops(self) -> list[dict[str, Any]]:
        """What withdraws consent in it, each as a request of its own."""
        status = self.sent.get(STATUS)
        return [*([{STATUS: status}] if status in _STOPS else []), *topics.withdrawals(self.sent)]


def to_job(at: int, order: Order, new_status: str) -> Job:
    """Refused for an order that cannot be said to Mailchimp."""
    if order.verb is Verb.MERGE:
        raise Refused("mailchimp: has no call that merges members", code="unsupported")
    fresh = order.verb is Verb.CREATE
    if not fresh and not order.id:
        raise Refused(f"mailchimp: cannot {order.verb} without an id", code="id")
    if order.verb in {Verb.ARCHIVE, Verb.ERASE}:
        return Job(at, order, "", {})
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
        return Job(at, order, str(given).strip(), sent, tags=tags)
    known = order.known.get(EMAIL)
    current = known.strip() if isinstance(known, str) else ""
    moves = str(given).strip() if given is not None and fold(given) != fold(current) else None
    return Job(at, order, current, sent, moves, tags)


class Results:
    """A batch answer by address.  TryLater where it is none."""

    def __init__(self, answer: object) -> None:
        try:
            new, updated, self.strays = (rows(answer, n) for n in ("new_members", "updated_members", "errors"))
        except TryLater as senseless:
            raise TryLater(str(senseless), landed=True) from None
        self.new = {fold(row.get(EMAIL)): row for row in new}
        self.updated = {fold(row.get(EMAIL)): row for row in updated}
        self.errors = {fold(row.get(EMAIL)): row for row in self.strays}


def rounds(jobs: Iterable[Job]) -> list[list[Job]]:
    """Batches in which no address comes twice: Mailchimp refuses the whole batch for one that does."""
    found: list[list[Job]] = []
    seen: dict[str, int] = {}
    for job in jobs:
        address = fold(job.address)
        turn = seen.get(address, 0)
        seen[address] = turn + 1
        if turn == len(found):
            found.append([])
        found[turn].append(job)
    return found


def with_tags(found: Record | None, job: Job) -> Record | None:
    """The record as it is after the tags were set."""
    if found is None:
        return None
    tags = found.fields.get(TAGS)
    kept = [name for name in (tags if isinstance(tags, list) else []) if job.tags.get(name, True)]
    after = [*kept, *(name for name, on in job.tags.items() if on and name not in kept)]
    return Record(found.kind, found.id, {**found.fields, TAGS: after}, found.modified, found.archived, found.former_ids)
