"""What is known around a contact, made into facts that mappings can send: engagement, main company, deals.

A change of any of these marks the contact; a duty makes the summary anew, in batches.  Only values that some mapping
writes are made, and only those that differ mark links: counts are coarse (``app.core.objects.coarse``) and the last
engagement is told by the day, so that a campaign's opens are not as many writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import Row, select

from app.core import tables as t
from app.core.clock import from_ms
from app.core.db import Database, clock_of, dumps, loads, upsert
from app.core.duties import Duty
from app.core.fields import normal_number, utc_text
from app.core.objects import DealStatus, coarse
from app.core.words import Decision, Fact, Outcome, Value
from app.push import work
from app.records import contacts as people
from app.records import leads, summaries
from app.records.contacts import Contact
from app.sync.connection import Connections
from connectors.contract import Doing

BATCH: Final = 200
EVERY_MS: Final = 1_000
DAY_MS: Final = 86_400_000
SOURCE: Final = "tandem"
RULE: Final = "summary"

TOUCHES: Final = frozenset({Doing.CALL, Doing.MEETING, Doing.MAIL, Doing.MESSAGE})
"""What one of us does with a contact; by a machine it is no touch."""

WEIGHTS: Final[Mapping[Doing, int]] = {
    Doing.OPEN: 1,
    Doing.CLICK: 3,
    Doing.PAGE_VISIT: 2,
    Doing.SURVEY: 8,
    Doing.EVENT: 8,
    Doing.FORM: 10,
    Doing.REPLY: 10,
    Doing.MEETING: 15,
}
"""Points of one act in ``engagement_score``; ours: a conversation tells more than a form, a form more than a click."""

MOST: Final = 5  # acts of one kind that count
COUNTED: Final[Mapping[str, Doing]] = {
    "emails_sent": Doing.SEND,
    "emails_opened": Doing.OPEN,
    "emails_clicked": Doing.CLICK,
    "forms_filled": Doing.FORM,
    "page_visits": Doing.PAGE_VISIT,
    "surveys_answered": Doing.SURVEY,
    "calls": Doing.CALL,
    "meetings": Doing.MEETING,
}
_OURS: Final = frozenset({Doing.SEND, *TOUCHES})  # which are no engagement of the person's


def touched(db: Db, connections: Connections, contacts: Iterable[int], now: int) -> None:
    """Something around these contacts is otherwise now."""
    whom = list(contacts)
    leads.mark(db, whom)
    if connections.derived:
        summaries.mark(db, whom, now)


class Summarise:
    """The station.  One worker at a time."""

    def __init__(self, database: Database, connections: Connections, worker: str, *, lease_ms: int) -> None:
        self._connections = connections
        self._duty = Duty(database, "summarise", worker, self._batch, every_ms=EVERY_MS, lease_ms=lease_ms)

    def step(self) -> int:
        """Summarise one batch; how many contacts were due, 0 = none."""
        return self._duty.step()

    def _batch(self, db: Db) -> int:
        return summarise(db, self._connections)


def summarise(db: Db, connections: Connections, limit: int = BATCH) -> int:
    """Make the summaries of contacts that are due, in the caller's transaction; how many were due."""
    _widened(db, connections)
    taken = summaries.due(db, limit)
    if not taken:
        return 0
    now = clock_of(db)
    contacts = {i: c for i, c in people.load(db, taken, lock=True).items() if c.merged_into is None}
    made = derive(db, contacts)
    changed: dict[int, frozenset[str]] = {}
    for i, contact in sorted(contacts.items()):
        if fields := _take(contact, {f: made[i].get(f) for f in connections.derived}, now):
            changed[i] = fields
    people.save(db, [contacts[i] for i in changed], now)
    people.write_history(db, [contacts[i] for i in changed], now)
    for name in sorted(connections):
        cares = connections[name].cares
        work.mark(db, name, {i: now for i, fields in changed.items() if fields & cares})
    summaries.done(db, taken)
    return len(taken)


def _take(contact: Contact, values: Mapping[str, Value], now: int) -> frozenset[str]:
    new = {f: v for f, v in sorted(values.items()) if contact.value(f) != v}
    for name, value in new.items():
        fact = Fact(value, SOURCE, now, RULE)
        contact.changes.append((Decision(name, Outcome.TAKEN, RULE, contact.value(name), value), fact))
        contact.facts[name] = fact
    contact.version += bool(new)
    return frozenset(new)


def derive(db: Db, contacts: Collection[int]) -> dict[int, dict[str, Value]]:
    """All derived values of these contacts, in a bounded number of statements."""
    sums = summaries.sums(db, contacts)
    companies = summaries.companies(db, contacts)
    deals = summaries.deals(db, contacts)
    return {
        i: {**engaged(sums.get(i, ())), **_company(companies.get(i, {})), **_deals(deals.get(i, ()))} for i in contacts
    }


def engaged(sums: Sequence[Row[Any]]) -> dict[str, Value]:
    """What the counts say; what a machine did is counted apart, and does not count here."""
    people_did = [row for row in sums if row.human != 0]
    number: dict[str, int] = {}
    for row in people_did:
        number[row.kind] = number.get(row.kind, 0) + row.number
    last = max((row.last_at for row in people_did if row.kind not in _OURS), default=None)
    touch = max((row.last_at for row in people_did if row.kind in TOUCHES), default=None)
    found: dict[str, Value] = {
        "last_engaged_at": None if last is None else utc_text(from_ms(last - last % DAY_MS)),
        "last_touch_at": None if touch is None else utc_text(from_ms(touch)),
        "engagement_score": None,
    }
    if people_did:
        score = sum(points * min(MOST, number.get(kind, 0)) for kind, points in WEIGHTS.items())
        found["engagement_score"] = str(min(100, score))
    # That a machine sends campaigns is in their nature.
    number[Doing.SEND] = sum(row.number for row in sums if row.kind == Doing.SEND)
    for name, kind in COUNTED.items():
        found[name] = str(coarse(number[kind])) if number.get(kind) else None
    return found


def _company(facts: Mapping[str, Fact]) -> dict[str, Value]:
    names = {
        "company_domain": "domain",
        "company_industry": "industry",
        "company_size": "employees",
        "company_country": "country",
    }
    return {ours: facts[theirs].value if theirs in facts else None for ours, theirs in names.items()}


def _deals(deals: Sequence[Row[Any]]) -> dict[str, Value]:
    """``deals``: the newest first."""
    open_ = [d for d in deals if d.status == DealStatus.OPEN]
    closed = sorted(
        (d for d in deals if d.status != DealStatus.OPEN),
        key=lambda d: (d.closed_at if d.closed_at is not None else d.created_at, d.id),
    )
    won = sum(d.status == DealStatus.WON for d in deals)
    counts = {"deals_open": str(len(open_)), "deals_won": str(won)} if deals else {}
    chosen = open_[0] if open_ else closed[-1] if closed else None
    if chosen is None:
        return counts
    name = chosen.facts.get("name")
    return {
        **counts,
        "deal_name": None if name is None else name["v"],
        "deal_stage": chosen.stage,
        "deal_status": chosen.status,
        "deal_amount": None if chosen.amount is None else normal_number(chosen.amount),
        "deal_currency": chosen.currency,
        "deal_owner_email": chosen.owner_email,
        "deal_lost_reason": chosen.lost_reason,
    }


# --- a mapping that sends more than before ----------------------------------------------------------------------------

_KEY: Final = "derived"  # in ``meta``: which fields were made so far, and where the walk over all contacts is
m, c = t.meta.c, t.contact.c


def _widened(db: Db, connections: Connections) -> None:
    """Where a mapping sends fields that were not made before, every contact becomes due, a page at each step."""
    kept = db.execute(select(m.value).where(m.key == _KEY)).scalar()
    state = {"fields": [], "after": None} if kept is None else loads(kept)
    fields = sorted(connections.derived)
    if not set(fields) <= set(state["fields"]):
        state = {"fields": sorted({*fields, *state["fields"]}), "after": 0}
    elif state["after"] is None:
        return
    query = select(c.id).where(c.id > state["after"]).order_by(c.id).limit(BATCH)
    ids = db.execute(query).scalars().all()
    now = clock_of(db)
    summaries.mark(db, ids, now)
    state["after"] = ids[-1] if len(ids) == BATCH else None
    statement = upsert(db.dialect.name, t.meta).values(key=_KEY, value=dumps(state))
    db.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"value": statement.excluded.value}))
