"""Companies, deals, our own people, and what contacts did.

Reads only.  What is asked for by contact includes the contacts that were merged into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, select

from app.core import tables as t
from app.core.clock import from_ms
from app.core.db import BIGGEST, Database
from app.core.errors import NotFound
from app.core.objects import DealStatus
from app.core.words import Fact
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Id, Moment, Shape, Text, moment
from app.push import readable
from app.records import engagements as acts
from app.records import merges, objects, surveys

PEOPLE: Final = 200  # of a company or a deal, shown with it
STEPS: Final = 200

co, d, b, s = t.company.c, t.deal.c, t.belonging.c, t.deal_step.c

ByContact = Annotated[int, Query(ge=1, le=BIGGEST, description="Whose.", examples=[42])]
ByDomain = Annotated[Text | None, Query(min_length=1, max_length=253, description="Only with this registrable domain.")]
ByStatus = Annotated[DealStatus | None, Query(description="Only those that stand so.")]


class CompanySummary(Shape):
    """One company."""

    id: int = Field(examples=[7])
    domain: str | None = Field(description="The registrable one; null where it is that of a mail provider.")
    values: dict[str, Any] = Field(description="By canonical field.", examples=[{"name": "Example Ltd"}])
    updated_at: Moment
    gone_at: Moment | None = Field(description="When the last vendor that had it deleted it.")
    merged_into: int | None = Field(description="The company that stands for it since a vendor merged the two.")


class Member(Shape):
    """Somebody who belongs to it."""

    contact: int
    main: bool = Field(description="The person's main company; the deal's main contact.")
    role: str | None
    connection: str = Field(description="Who says so.", examples=["hubspot"])


class RecordOf(Shape):
    """Its record at one connection."""

    connection: str = Field(examples=["hubspot"])
    remote_id: str
    modified_at: Moment | None = Field(description="By the vendor's clock.")
    gone_at: Moment | None


class CompanyDetail(CompanySummary):
    """One company with who belongs to it."""

    people: list[Member] = Field(description=f"At most {PEOPLE}.")
    deals: list[int] = Field(description=f"Its deals, the newest first; at most {PEOPLE}.")
    records: list[RecordOf]


class DealSummary(Shape):
    """One deal."""

    id: int = Field(examples=[9])
    status: DealStatus
    stage: str | None = Field(description="As the vendor calls it.")
    amount: str | None = Field(description="Exact decimal.", examples=["1200.5"])
    currency: str | None = Field(description="ISO 4217.", examples=["EUR"])
    owner_email: str | None
    lost_reason: str | None
    company: int | None
    values: dict[str, Any] = Field(description="By canonical field.", examples=[{"name": "Rails"}])
    created_at: Moment
    closed_at: Moment | None
    gone_at: Moment | None


class Step(Shape):
    """Where a deal was from a moment on."""

    at: Moment
    status: DealStatus
    stage: str | None
    amount: str | None
    currency: str | None


class DealDetail(DealSummary):
    """One deal with its people and how it came to where it is."""

    people: list[Member]
    steps: list[Step] = Field(description=f"The oldest first; at most {STEPS}.")
    records: list[RecordOf]


class Colleague(Shape):
    """One of our own people, as one vendor's directory knows them."""

    id: int
    connection: str = Field(examples=["hubspot"])
    remote_id: str
    email: str | None
    name: str | None
    team: str | None
    active: bool


class Engagement(Shape):
    """One act of or with a contact."""

    id: int
    at: Moment = Field(description="By the vendor's clock.")
    kind: str = Field(examples=["click"])
    line: str = Field(description="The same in words.", examples=["Clicked in a mail: campaign Spring"])
    connection: str = Field(examples=["mailchimp"])
    human: bool | None = Field(description="Whether a person did it, not a machine; null: the vendor does not say.")
    by: str | None = Field(description="The colleague who acted.")
    campaign: str | None
    variant: str | None = Field(description="Of an A/B test.")
    channel: str | None = Field(examples=["email"])
    outcome: str | None = Field(examples=["no_answer"])
    deal: int | None
    detail: dict[str, Any]


class SurveyShown(Shape):
    """How far one kind of object of a connection is read."""

    connection: str = Field(examples=["hubspot"])
    kind: str = Field(description="company, deal, colleague or act.", examples=["deal"])
    walked_at: Moment | None = Field(description="When the first complete reading ended; null: it has not.")
    due_at: Moment = Field(description="It is read again from then on.")
    failing_since: Moment | None
    failure: str | None = Field(description="Why it could not be read.")


def _values(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Fact.from_json(data).value for name, data in facts.items()}


def _company(row: RowMapping) -> dict[str, Any]:
    return {
        "id": row["id"],
        "domain": row["domain"],
        "values": _values(row["facts"]),
        "updated_at": from_ms(row["updated_at"]),
        "gone_at": moment(row["gone_at"]),
        "merged_into": row["merged_into"],
    }


def _deal(row: RowMapping) -> dict[str, Any]:
    plain = ("id", "status", "stage", "amount", "currency", "owner_email", "lost_reason")
    return {
        **{name: row[name] for name in plain},
        "company": row["company_id"],
        "values": _values(row["facts"]),
        "created_at": from_ms(row["created_at"]),
        "closed_at": moment(row["closed_at"]),
        "gone_at": moment(row["gone_at"]),
    }


def _people(db: Db, kind: str, number: int) -> list[Member]:
    query = (
        select(b.contact_id, b.main, b.role, b.connection)
        .where(b.kind == kind, b.object_id == number, b.contact_id.is_not(None))
        .order_by(b.main.desc(), b.contact_id, b.connection)
        .limit(PEOPLE)
    )
    return [
        Member(contact=r.contact_id, main=bool(r.main), role=r.role, connection=r.connection) for r in db.execute(query)
    ]


def _records(db: Db, kind: str, number: int) -> list[RecordOf]:
    k = t.object_link.c
    query = select(t.object_link).where(k.kind == kind, k.object_id == number).order_by(k.connection, k.remote_id)
    return [
        RecordOf(
            connection=r["connection"],
            remote_id=r["remote_id"],
            modified_at=moment(r["modified"]),
            gone_at=moment(r["gone_at"]),
        )
        for r in db.execute(query).mappings()
    ]


def listed_companies(db: Db, domain: str | None, after: str | None, limit: int) -> Page[CompanySummary]:
    """One page in the order of ids."""
    position = paging.decode("companies", after, 1)
    query = select(t.company).order_by(co.id).limit(limit + 1)
    if domain is not None:
        query = query.where(co.domain == domain.strip().lower())
    if position is not None:
        query = query.where(co.id > position[0])
    rows, following = _cut(db.execute(query).mappings().all(), limit)
    return Page(items=[CompanySummary(**_company(r)) for r in rows], next=paging.encode("companies", following))


def _cut(rows: Sequence[RowMapping], limit: int) -> tuple[list[RowMapping], paging.Position | None]:
    return paging.cut(rows, key=lambda row: (row["id"],), keep=lambda _row: True, limit=limit, looked_at=limit + 1)


def company(db: Db, number: int) -> CompanyDetail:
    """One company.  Raises NotFound."""
    row = db.execute(select(t.company).where(co.id == number)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no company {number}")
    deals = select(d.id).where(d.company_id == number).order_by(d.id.desc()).limit(PEOPLE)
    return CompanyDetail(
        **_company(row),
        people=_people(db, "company", number),
        deals=list(db.execute(deals).scalars()),
        records=_records(db, "company", number),
    )


def listed_deals(db: Db, status: DealStatus | None, after: str | None, limit: int) -> Page[DealSummary]:
    """One page in the order of ids.  A status has no index: rows are looked at up to a bound."""
    position = paging.decode("deals", after, 1)
    looked_at = limit + 1 if status is None else paging.MOST
    query = select(t.deal).order_by(d.id).limit(looked_at)
    if position is not None:
        query = query.where(d.id > position[0])
    rows, following = paging.cut(
        db.execute(query).mappings().all(),
        key=lambda row: (row["id"],),
        keep=lambda row: status is None or row["status"] == status,
        limit=limit,
        looked_at=looked_at,
    )
    return Page(items=[DealSummary(**_deal(r)) for r in rows], next=paging.encode("deals", following))


def deal(db: Db, number: int) -> DealDetail:
    """One deal.  Raises NotFound."""
    row = db.execute(select(t.deal).where(d.id == number)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no deal {number}")
    steps = select(t.deal_step).where(s.deal_id == number).order_by(s.at, s.id).limit(STEPS)
    names = ("status", "stage", "amount", "currency")
    return DealDetail(
        **_deal(row),
        people=_people(db, "deal", number),
        steps=[Step(at=from_ms(r["at"]), **{n: r[n] for n in names}) for r in db.execute(steps).mappings()],
        records=_records(db, "deal", number),
    )


def engaged(db: Db, contact: int, after: str | None, limit: int) -> Page[Engagement]:
    """What a contact did and what was done with it, the newest first.  Raises NotFound."""
    if db.execute(select(t.contact.c.id).where(t.contact.c.id == contact)).first() is None:
        raise NotFound(f"there is no contact {contact}")
    position = paging.decode("engagements", after, 2)
    before = None if position is None else (position[0], position[1])
    rows, following = paging.cut(
        acts.shown(db, merges.standing_for(db, contact), before, limit + 1),
        key=lambda row: (row["at"], row["id"]),
        keep=lambda _row: True,
        limit=limit,
        looked_at=limit + 1,
    )
    return Page(items=[_engagement(r) for r in rows], next=paging.encode("engagements", following))


def _engagement(row: RowMapping) -> Engagement:
    plain = ("id", "kind", "connection", "by", "campaign", "variant", "channel", "outcome")
    return Engagement(
        **{name: row[name] for name in plain},
        at=from_ms(row["at"]),
        line=readable.line(dict(row)),
        human=None if row["human"] is None else bool(row["human"]),
        deal=row["deal_id"],
        detail=row["detail"] if row["detail"] is not None else {},
    )


def listed_colleagues(db: Db, after: str | None, limit: int) -> Page[Colleague]:
    """One page in the order of ids."""
    position = paging.decode("colleagues", after, 1)
    rows, following = _cut(objects.directory(db, 0 if position is None else position[0], limit + 1), limit)
    plain = ("id", "connection", "remote_id", "email", "name", "team")
    items = [Colleague(**{n: r[n] for n in plain}, active=bool(r["active"])) for r in rows]
    return Page(items=items, next=paging.encode("colleagues", following))


def read_so_far(db: Db) -> list[SurveyShown]:
    """How far everything is read."""
    return [
        SurveyShown(
            connection=r["connection"],
            kind=r["kind"],
            walked_at=moment(r["walked_at"]),
            due_at=from_ms(r["due_at"]),
            failing_since=moment(r["failing_since"]),
            failure=r["failure"],
        )
        for r in surveys.listed(db)
    ]


def objects_api(database: Database) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["around contacts"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/companies")
    def list_companies(domain: ByDomain = None, limit: Limit = 50, after: After = None) -> Page[CompanySummary]:
        """List companies in the order of their ids."""
        with database.read() as db:
            return listed_companies(db, domain, after, limit)

    @router.get("/companies/{company_id}")
    def get_company(company_id: Id) -> CompanyDetail:
        """Show one company with its people, its deals and its records at the vendors."""
        with database.read() as db:
            return company(db, company_id)

    @router.get("/deals")
    def list_deals(status: ByStatus = None, limit: Limit = 50, after: After = None) -> Page[DealSummary]:
        """List deals in the order of their ids."""
        with database.read() as db:
            return listed_deals(db, status, after, limit)

    @router.get("/deals/{deal_id}")
    def get_deal(deal_id: Id) -> DealDetail:
        """Show one deal with its people and its history."""
        with database.read() as db:
            return deal(db, deal_id)

    @router.get("/engagements", responses={404: {}})
    def list_engagements(contact: ByContact, limit: Limit = 50, after: After = None) -> Page[Engagement]:
        """List what a contact did and what was done with it, the newest first."""
        with database.read() as db:
            return engaged(db, contact, after, limit)

    @router.get("/colleagues")
    def list_colleagues(limit: Limit = 50, after: After = None) -> Page[Colleague]:
        """List our own people, as the vendors' directories know them."""
        with database.read() as db:
            return listed_colleagues(db, after, limit)

    @router.get("/ops/rounds")
    def list_rounds() -> list[SurveyShown]:
        """Show how far companies, deals, colleagues and acts of each connection are read."""
        with database.read() as db:
            return read_so_far(db)

    return router
