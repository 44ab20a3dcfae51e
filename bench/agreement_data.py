"""Leads with a known truth: two years of what happened to them, the same for the same seed, and what became of each.

``invent`` makes leads one after the other in bounded memory.  Each holds the rows that a store would have (contact,
engagements, words of sales, deals), and, apart from them, the truth from which they were made: the dates of its
milestones, its touches, its deal.  Truth is never worked out from the rows, so it can be compared with what is.

The shipped agreement makes these rows what the truth says: an address makes a prospect, a form a lead, a form that asks
for a demo an MQL; sales accepts, says ``sql``, gives back after three attempts on two channels; deals do the rest.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, insert

from app.core import tables as t
from app.core.clock import to_ms
from app.core.words import Fact

DAY: Final = 86_400_000
HOUR: Final = 3_600_000
BEGIN: Final = to_ms(datetime(2024, 11, 1, tzinfo=UTC))
END: Final = BEGIN + 730 * DAY
CAMPAIGNS: Final = tuple(f"{when} {what}" for when in ("spring", "summer", "autumn", "winter") for what in "abcdef")
TITLES: Final = {"decides": "Head of Purchasing", "uses": "Clerk", None: None}
WAYS: Final = {"ads": ("click", "ads"), "email": ("click", "email"), "web": ("page_visit", None)}


@dataclass
class Truth:
    """What became of one round of a lead, as it was invented."""

    contact: int
    round: int
    lead_at: int | None = None
    mql_at: int | None = None
    sal_at: int | None = None
    sql_at: int | None = None
    opened_at: int | None = None
    closed_at: int | None = None
    won: int | None = None
    amount: int | None = None  # whole euros
    given_back_at: int | None = None
    tries: int = 0
    tried_at: int | None = None


@dataclass
class Invented:
    """One lead: the rows of it, by table, and the truth."""

    contact: dict[str, Any]
    rows: list[tuple[str, dict[str, Any]]]  # in the order of time
    truth: list[Truth]
    channel: str
    campaign: str
    variant: str
    persona: str | None
    touches: list[tuple[int, str, str, str]] = field(default_factory=list)  # moment, team, channel, campaign


class _One:
    def __init__(self, number: int, chance: random.Random, acts: float) -> None:
        self.number = number
        self.chance = chance
        self.acts = acts
        self.rows: list[tuple[str, dict[str, Any]]] = []
        self.touches: list[tuple[int, str, str, str]] = []
        self.count = 0

    def act(self, at: int, kind: str, *, touch: str | None = None, **more: Any) -> None:
        self.count += 1
        row = {"connection": "crm" if kind in {"call", "mail", "meeting"} else "mkt", "kind": kind, "at": at}
        row |= {"remote_id": f"{self.number}-{self.count}", "contact_id": self.number, "received_at": at, "human": 1}
        self.rows.append(("engagement", row | more))
        if touch is not None:
            channel = more.get("channel") or {"click": "email", "call": "phone", "mail": "email"}.get(kind, "web")
            self.touches.append((at, touch, channel, more.get("campaign") or ""))

    def said(self, at: int, word: str, **more: Any) -> None:
        row = {"contact_id": self.number, "at": at, "received_at": at, "word": word, "team": "sales", "source": "crm"}
        self.rows.append(("disposition", row | more))

    def within(self, low: float, high: float) -> int:
        """So many days, as a length; never a whole minute, so that two things rarely meet."""
        return int(self.chance.uniform(low, high) * DAY) + 1

    def background(self, begin: int, campaign: str, variant: str) -> None:
        """Sends, opens by machines and people, clicks and visits spread over the time that is left."""
        for _ in range(int(self.chance.expovariate(1 / self.acts)) if self.acts else 0):
            at = self.chance.randrange(begin + 1, END)
            kind = self.chance.choices(("send", "open", "click", "page_visit"), (5, 6, 2, 3))[0]
            if kind in {"send", "open"}:
                human = None if kind == "send" else int(self.chance.random() < 0.7)
                self.act(at, kind, campaign=campaign, variant=variant, channel="email", human=human)
            elif kind == "click":
                self.act(at, "click", touch="marketing", campaign=campaign, variant=variant, channel="email")
            else:
                self.act(at, "page_visit", touch="marketing")


def invent(count: int, seed: int = 7, acts: float = 8.0) -> Iterator[Invented]:
    """So many leads.  ``acts``: how many sends, opens, clicks and visits each has besides, on average."""
    chance = random.Random(seed)
    for number in range(1, count + 1):
        yield _lead(_One(number, random.Random(chance.getrandbits(64)), acts))


def _lead(one: _One) -> Invented:
    chance = one.chance
    begin = chance.randrange(BEGIN, END - 5 * DAY)
    persona = chance.choices(("decides", "uses", None), (3, 4, 3))[0]
    channel = chance.choices(tuple(WAYS), (3, 4, 3))[0]
    campaign = chance.choice(CAMPAIGNS) if channel != "web" else ""
    variant = chance.choice("AB") if campaign else ""
    truth: list[Truth] = []
    cold = chance.random() < 0.05  # sales found them
    if cold:
        channel, campaign, variant = "phone", "", ""
        one.act(begin, "call", touch="sales", outcome="connected")
        _deal(one, Truth(one.number, 1), truth, begin + one.within(2, 20), persona)
    else:
        kind, way = WAYS[channel]
        named = {"campaign": campaign or None, "variant": variant or None}
        one.act(begin, kind, touch="marketing", channel=way, **named)
        one.background(begin, campaign or "newsletter", variant or "A")
        if chance.random() < 0.85:
            _marketing(one, truth, begin + one.within(0.1, 40), persona, variant)
    held = {"email": f"p{one.number}@example.org"}
    if TITLES[persona] is not None:
        held["job_title"] = str(TITLES[persona])
    facts = {name: Fact(value, "crm", begin, "only").to_json() for name, value in held.items()}
    contact = {"id": one.number, "version": 1, "facts": facts, "created_at": begin, "updated_at": begin}
    rows = [(table, row) for table, row in one.rows if row.get("at", row.get("created_at", 0)) <= END]
    rows.sort(key=lambda r: (r[1].get("at", r[1].get("created_at", r[1].get("since", 0))), r[0]))
    first = min((r[1] for r in rows if r[0] == "engagement" and r[1].get("variant")), default=None, key=_moment)
    seen = f"{first['campaign']} · {first['variant']}" if first is not None else ""
    touches = sorted(one.touches)
    source = next((c for _, _, _, c in touches if c), "")
    return Invented(contact, rows, truth, channel, source, seen, persona, touches)


def _moment(row: dict[str, Any]) -> int:
    return int(row["at"])


def _marketing(one: _One, truth: list[Truth], lead: int, persona: str | None, variant: str) -> None:
    chance = one.chance
    if lead >= END:
        return
    one.act(lead, "form", touch="marketing", detail={"form": "Newsletter"})
    this = Truth(one.number, 1, lead_at=lead)
    truth.append(this)
    again = 0.6 * (1.4 if variant == "B" else 1.0)
    at = lead + one.within(1, 60)
    while chance.random() < again and at < END:
        if this.mql_at is not None:
            this = Truth(one.number, len(truth) + 1)
            truth.append(this)
        one.act(at, "form", touch="marketing", detail={"form": "Demo request"})
        this.mql_at = at
        back = _sales(one, this, truth, persona)
        if back is None:
            return
        at = back + one.within(100, 160)  # the longest rest of these is 90 days


def _sales(one: _One, this: Truth, truth: list[Truth], persona: str | None) -> int | None:
    """What sales does with a lead that was handed over; when it gave it back, None where it did not."""
    chance, at = one.chance, int(this.mql_at or 0)
    if chance.random() < 0.1:  # nobody ever looks at it
        return None
    for n in range(chance.choice((1, 3, 3, 4))):
        at += one.within(0.02, 2)
        if at >= END:
            return None
        one.act(at, ("call", "mail")[n % 2], touch="sales", outcome="no_answer" if n % 2 == 0 else None)
        this.tries += 1
        this.tried_at = at if this.tried_at is None else this.tried_at
    if chance.random() < 0.75:
        at += one.within(0.01, 1)
        if at < END:
            one.said(at, "accept")
            this.sal_at = at
    at += one.within(1, 20)
    if at >= END:
        return None
    if this.tries >= 3 and chance.random() < 0.4:
        one.said(at, "reject", reason="no_need")
        this.given_back_at = at
        return at
    if chance.random() < 0.6 * (1.3 if persona == "decides" else 0.8):
        if chance.random() < 0.9:
            one.said(at, "stage", value="sql")
            this.sql_at = at
        _deal(one, this, truth, at + one.within(1, 30), persona)
    return None


def _deal(one: _One, this: Truth, truth: list[Truth], at: int, persona: str | None) -> None:
    chance = one.chance
    if this not in truth:
        truth.append(this)
    if at >= END or (this.mql_at is not None and chance.random() < 0.15):
        if this.mql_at is None:
            truth.remove(this)
        return
    this.opened_at, this.amount = at, chance.randrange(10, 400) * 100
    closing = at + one.within(5, 120)
    status = "open"
    if closing < END:
        this.won = int(chance.random() < (0.6 if persona == "decides" else 0.45))
        this.closed_at, status = closing, "won" if this.won else "lost"
    number = one.number * 10
    closed = this.closed_at
    deal = {"id": number, "version": 1, "facts": {}, "status": status, "amount": str(this.amount), "currency": "EUR"}
    deal |= {"created_at": at, "closed_at": closed, "updated_at": closed if closed is not None else at}
    one.rows.append(("deal", deal))
    one.rows.append(("deal_step", {"deal_id": number, "at": at, "status": "open"}))
    if closed is not None:
        one.rows.append(("deal_step", {"deal_id": number, "at": closed, "status": status}))
    belongs = {"contact_id": one.number, "kind": "deal", "object_id": number, "connection": "crm", "main": 1}
    one.rows.append(("belonging", belongs | {"remote_id": str(number), "who": str(one.number), "since": at}))


_ALWAYS: Final = {"who_key": "id", "who": "1"}
_TABLES: Final[dict[str, Table]] = {
    "engagement": t.engagement,
    "disposition": t.disposition,
    "deal": t.deal,
    "deal_step": t.deal_step,
    "belonging": t.belonging,
}


def store(db: Connection, rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Write rows as they are, in their order within each table."""
    for name, table in _TABLES.items():
        columns = {c.name for c in table.c}
        some = [{k: v for k, v in (_ALWAYS | row).items() if k in columns} for of, row in rows if of == name]
        keys = {k for row in some for k in row}
        if some:
            db.execute(insert(table), [{k: row.get(k) for k in sorted(keys)} for row in some])
