"""Companies, deals and the directory on their way into the store.

In: records as read from one connection, inside the caller's transaction and under its lease.  Out: companies and deals
with their facts and history, who belongs to them, and the contacts marked for whom that matters.  Companies that two
connections have are one by their registrable domain; deals are each vendor's own.  Nothing is ever deleted here: what
the vendor removed is gone, and stays for the history.

A field goes by the newest word on it; only what a record says otherwise than before counts as a word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import func, select

from app.core.clock import to_ms
from app.core.db import clock_of
from app.core.objects import DealStatus
from app.core.words import MISSING, Claim, Fact, Value
from app.match.employers import site_of
from app.match.lists import FREE_PROVIDERS
from app.records import belongings, companies, deals, engagements, objects
from app.records.companies import Company
from app.records.deals import Deal
from app.records.objects import ObjectLink
from app.sync.connection import Connection, Connections
from app.sync.mapping import ObjectMap
from app.sync.summarising import touched
from connectors.contract import Kind, Record, Tie

OVERFULL: Final = 5
"""Companies of one domain above which it tells none of them apart: a holding, a franchise, a web host.  Ours."""

_ONE_BY_ONE: Final = 0x7A9D_0001  # names a lock of PostgreSQL's; any number that nobody else uses
RULE: Final = "newest"
TOLD: Final = frozenset({"domain", "industry", "employees", "country"})
"""Fields of a company that contacts' summaries hold."""


def absorb(
    db: Db,
    connection: Connection,
    connections: Connections,
    kind: Kind,
    records: Sequence[Record],
    events: Mapping[str, int] | None = None,
) -> int:
    """Store companies or deals of one connection; how many were news.  ``events``: record → the event that told it."""
    map_ = connection.map.objects.company if kind is Kind.COMPANY else connection.map.objects.deal
    if map_ is None or not records:
        return 0
    now = clock_of(db)
    latest = {r.id: r for r in records if not r.archived}
    merged = {former: r.id for r in latest.values() for former in r.former_ids if former != r.id}
    links = objects.links(db, connection.name, kind, {*latest, *merged})
    people = _follow(db, connection, kind, links, merged, now)
    fresh = [r for r in latest.values() if not _stale(r, links.get(r.id))]
    claims = {r.id: _claim(map_, r) for r in fresh}
    told = events if events is not None else {}
    if kind is Kind.COMPANY:
        changed = _companies(db, connection, fresh, claims, links, now)
    else:
        changed = _deals(db, connection, map_, fresh, claims, links, told, now)
    people |= belongings.people_of(db, kind, changed)
    people |= _ties(db, connection, kind, fresh, merged, now)
    touched(db, connections, people, now)
    return len(changed)


def gone(db: Db, connection: Connection, connections: Connections, kind: Kind, ids: Iterable[str]) -> int:
    """The vendor says that these companies or deals are deleted: they are marked so, and count no more."""
    now = clock_of(db)
    links = [x for x in objects.links(db, connection.name, kind, list(ids)).values() if x.gone_at is None]
    for link in links:
        link.gone_at = now
    objects.save(db, links)
    lost = {x.object_id for x in links} - objects.left(db, kind, {x.object_id for x in links})
    if kind is Kind.COMPANY:
        for company in (held := companies.load(db, lost)).values():
            company.gone_at = now
        companies.save(db, held.values(), now)
    else:
        deals.gone(db, lost, now)
    touched(db, connections, belongings.people_of(db, kind, lost), now)
    return len(links)


def tied(db: Db, connection: Connection, connections: Connections, records: Iterable[Record], now: int) -> None:
    """What records of people say about where they belong."""
    people: set[int] = set()
    for kind in (Kind.COMPANY, Kind.DEAL):
        said = {r.id: r.ties[kind] for r in records if kind in r.ties}
        if said:
            people |= belongings.of_people(db, connection.name, kind, said, {}, now)
    touched(db, connections, people, now)


def directory(db: Db, connection: Connection, connections: Connections, records: Sequence[Record]) -> None:
    """Store people of the user directory; what waited for their address gets it."""
    now = clock_of(db)
    rows = [
        {
            "remote_id": r.id,
            "email": _lower(r.fields.get("email")),
            "name": r.fields.get("name"),
            "team": r.fields.get("team"),
            "active": int(r.fields.get("active") is not False and not r.archived),
        }
        for r in records
    ]
    named = objects.keep_colleagues(db, connection.name, rows, now)
    engagements.named(db, connection.name, named)
    owned = objects.owned(db, connection.name, named)
    held = deals.load(db, owned)
    for number, deal in held.items():
        deal.owner_email = named[owned[number]]
    deals.save(db, held.values(), now)
    touched(db, connections, belongings.people_of(db, Kind.DEAL, owned), now)


def _lower(address: object) -> str | None:
    return address.strip().lower() if isinstance(address, str) and address.strip() else None


def _claim(map_: ObjectMap, record: Record) -> dict[str, Value]:
    claim = map_.read(record.fields)
    if claim.get("domain") is None and isinstance(site := claim.get("website"), str) and (domain := site_of(site)):
        claim["domain"] = domain
    if claim.get("domain") in FREE_PROVIDERS:
        del claim["domain"]
    return claim


def _stale(record: Record, link: ObjectLink | None) -> bool:
    if link is None or link.modified is None or record.modified is None:
        return False
    return to_ms(record.modified) < link.modified


def _at(record: Record, now: int) -> int:
    return min(to_ms(record.modified), now) if record.modified is not None else now


def _follow(
    db: Db, connection: Connection, kind: Kind, links: dict[str, ObjectLink], merged: Mapping[str, str], now: int
) -> set[int]:
    """The vendor merged records: what was the loser's is the winner's.  The contacts concerned."""
    people: set[int] = set()
    for former, record_id in sorted(merged.items()):
        old = links.get(former)
        if old is None or old.gone_at is not None:
            continue
        old.gone_at = now
        winner = links.get(record_id)
        if winner is None:
            winner = ObjectLink(connection.name, str(kind), record_id, old.object_id, old.shadow, seen_at=now)
            objects.create(db, [winner])
            links[record_id] = winner
        objects.save(db, [old])
        if winner.object_id != old.object_id and not objects.left(db, kind, {old.object_id}):
            if kind is Kind.COMPANY:
                companies.stands_for(db, winner.object_id, old.object_id, now)
            else:
                deals.gone(db, [old.object_id], now)
        people |= belongings.found(db, connection.name, kind, {former: winner.object_id})
        lone = {} if kind is not Kind.COMPANY else objects.of_company(db, connection.name, {former})
        for of in lone.values():
            deals.set_company(db, of, winner.object_id)
    return people


def _merge(facts: dict[str, Fact], shadow: Claim, claim: Claim, source: str, at: int, event: int | None) -> set[str]:
    """Let in what the record says otherwise than before, where nobody said something newer; fields that changed."""
    changed = set()
    for name, value in sorted(claim.items()):
        if shadow.get(name, MISSING) == value or (value is None and name not in facts):
            continue
        old = facts.get(name)
        if old is not None and (old.at, old.source) > (at, source):
            continue
        facts[name] = Fact(value, source, at, RULE, event)
        if old is None or old.value != value:
            changed.add(name)
    return changed


def _companies(
    db: Db,
    connection: Connection,
    records: Sequence[Record],
    claims: Mapping[str, Claim],
    links: dict[str, ObjectLink],
    now: int,
) -> set[int]:
    """Companies whose facts that contacts hold changed."""
    known = companies.load(db, {links[r.id].object_id for r in records if r.id in links})
    unknown = [claims[r.id] for r in records if r.id not in links]
    if unknown and db.dialect.name == "postgresql":  # two connections must not make one company each at the same time
        db.execute(select(func.pg_advisory_xact_lock(_ONE_BY_ONE)))
    matched = _matched(db, connection, unknown, known)
    created: list[Company] = []
    new: list[tuple[ObjectLink, Company]] = []
    told: set[int] = set()
    changed: dict[int, Company] = {}
    for record in records:
        claim, link = claims[record.id], links.get(record.id)
        if link is None:
            domain = claim.get("domain")
            other = matched.pop(domain, None) if isinstance(domain, str) else None
            company = other if other is not None else Company(0, 0, {})
            if other is None:
                created.append(company)
            link = ObjectLink(connection.name, str(Kind.COMPANY), record.id, company.id, {})
            new.append((link, company))
        else:
            company = known[link.object_id]
        fields = _merge(company.facts, link.shadow, claim, connection.name, _at(record, now), None)
        if fields or company.gone_at is not None or company.version == 0:
            company.version += 1
            company.gone_at = None
            value = company.value("domain")
            company.domain = value if isinstance(value, str) else None
            if company.id:
                changed[company.id] = company
                told |= {company.id} if fields & TOLD else set()
        _seen(link, record, claim, now)
    companies.create(db, created, now)
    companies.save(db, changed.values(), now)
    for link, company in new:
        link.object_id = company.id
    objects.create(db, [link for link, _ in new])
    objects.save(db, [links[r.id] for r in records if r.id in links])
    linked = {link.remote_id: company.id for link, company in new}
    for ref, of in sorted(objects.of_company(db, connection.name, set(linked)).items()):
        deals.set_company(db, of, linked[ref])
    return told | set(linked.values())


def _matched(db: Db, connection: Connection, claims: Iterable[Claim], known: dict[int, Company]) -> dict[str, Company]:
    """The company that each new record's domain leads to, where it leads to one alone.

    Never where the company has a record at this connection already: there the vendor keeps two apart.
    """
    domains = {d for c in claims if isinstance(d := c.get("domain"), str)}
    having = companies.by_domain(db, domains, OVERFULL)
    ids = {i for found in having.values() if len(found) <= OVERFULL for i in found}
    taken = objects.known_at(db, connection.name, Kind.COMPANY, ids)
    chosen = {d: free[0] for d, found in having.items() if len(free := [i for i in found if i in ids - taken]) == 1}
    known |= companies.load(db, set(chosen.values()) - set(known))
    return {domain: known[i] for domain, i in chosen.items()}


def _seen(link: ObjectLink, record: Record, claim: Claim, now: int) -> None:
    link.shadow = {**link.shadow, **claim}
    link.seen_at, link.gone_at = now, None
    if record.modified is not None:
        link.modified = to_ms(record.modified)


def _deals(
    db: Db,
    connection: Connection,
    map_: ObjectMap,
    records: Sequence[Record],
    claims: Mapping[str, Claim],
    links: dict[str, ObjectLink],
    events: Mapping[str, int],
    now: int,
) -> set[int]:
    """Deals that changed."""
    known = deals.load(db, {links[r.id].object_id for r in records if r.id in links})
    owners = {str(o) for c in claims.values() if (o := c.get("owner")) is not None}
    addresses = objects.colleagues(db, connection.name, owners)
    refs = {ref for r in records if (ref := _company_ref(r)) is not None}
    employers = objects.links(db, connection.name, Kind.COMPANY, refs)
    created: list[tuple[ObjectLink, Deal]] = []
    steps: list[tuple[Deal, int, int | None]] = []
    changed: dict[int, Deal] = {}
    for record in records:
        claim, link, at = claims[record.id], links.get(record.id), _at(record, now)
        if link is None:
            deal = Deal(0, 0, {}, at)
            link = ObjectLink(connection.name, str(Kind.DEAL), record.id, 0, {})
            created.append((link, deal))
        else:
            deal = known[link.object_id]
        before = (deal.step, deal.owner_email, deal.company_id, deal.gone_at)
        fields = _merge(deal.facts, link.shadow, claim, connection.name, at, events.get(record.id))
        _columns(deal, map_, addresses, at)
        if Kind.COMPANY in record.ties:
            ref = _company_ref(record)
            link.company_ref = ref
            deal.company_id = employers[ref].object_id if ref is not None and ref in employers else None
        deal.gone_at = None
        _seen(link, record, claim, now)
        if fields or before != (deal.step, deal.owner_email, deal.company_id, None) or deal.version == 0:
            deal.version += 1
            if deal.id:
                changed[deal.id] = deal
            if before[0] != deal.step or deal.version == 1:
                steps.append((deal, at, events.get(record.id)))
    deals.create(db, [deal for _, deal in created], now)
    deals.save(db, changed.values(), now)
    for link, deal in created:
        link.object_id = deal.id
    objects.create(db, [link for link, _ in created])
    objects.save(db, [links[r.id] for r in records if r.id in links])
    deals.write_steps(db, steps)
    return {*changed, *(deal.id for _, deal in created)}


def _company_ref(record: Record) -> str | None:
    ties = record.ties.get(Kind.COMPANY, ())
    return next((tie.id for tie in ties if tie.main), ties[0].id if ties else None)


def _columns(deal: Deal, map_: ObjectMap, addresses: Mapping[str, str], at: int) -> None:
    """What reports group by, beside the facts."""
    was_open = deal.status == DealStatus.OPEN
    stage, amount, currency = (deal.value(n) for n in ("stage", "amount", "currency"))
    deal.stage = stage if isinstance(stage, str) else None
    deal.status = str(map_.status(stage))
    deal.amount = amount
    deal.currency = None if amount is None else currency if currency is not None else map_.currency
    owner = deal.value("owner")
    deal.owner_email = None if owner is None else _lower(owner) if "@" in str(owner) else addresses.get(str(owner))
    deal.lost_reason = deal.value("lost_reason") if deal.status == DealStatus.LOST else None
    made = _moment(deal.value("created_at"))
    deal.created_at = made if made is not None else deal.created_at
    if deal.status == DealStatus.OPEN:
        deal.closed_at = None
    elif was_open or deal.closed_at is None:
        closed = _moment(deal.value("close_date"))
        deal.closed_at = min(closed, at) if closed is not None else at


def _moment(value: Any) -> int | None:
    """A canonical date or datetime as ms."""
    if not isinstance(value, str):
        return None
    parsed = datetime.fromisoformat(value)
    return to_ms(parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC))


def _ties(
    db: Db, connection: Connection, kind: Kind, records: Collection[Record], merged: Mapping[str, str], now: int
) -> set[int]:
    """Who belongs to them; of a record that was merged away nobody does."""
    said: dict[str, Sequence[Tie]] = {r.id: r.ties[Kind.CONTACT] for r in records if Kind.CONTACT in r.ties}
    at = {r.id: _at(r, now) for r in records}
    said |= {former: () for former, record_id in merged.items() if record_id in said}
    people = belongings.of_object(db, connection.name, kind, said, at, now) if said else set()
    links = objects.links(db, connection.name, kind, {r.id for r in records})
    return people | belongings.found(db, connection.name, kind, {i: link.object_id for i, link in links.items()})
