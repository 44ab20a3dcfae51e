"""Leads and the agreement that judges them: ``/leads``, ``/agreement``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.agreement import acting
from app.agreement.acting import Spoken
from app.agreement.leads import Known
from app.agreement.words import Finding, Standing, Team, What, Word
from app.core.clock import from_ms
from app.core.db import Database
from app.core.errors import NotFound
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, Id, Moment, Reason, Shape, Text, moment
from app.records import leads, merges
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

ByStage = Annotated[Text | None, Query(max_length=60, description="Only at this stage.", examples=["mql"])]
ByStatus = Annotated[Standing | None, Query(description="Only those that stand so.")]
ByOwner = Annotated[Text | None, Query(max_length=320, description="Only of this colleague, by address.")]
Flagged = Annotated[bool, Query(description="Only those of which something is not as agreed.")]


class LeadShown(Shape):
    """How a contact stands under the agreement."""

    contact_id: int = Field(description="See /contacts/{contact_id}.", examples=[42])
    stage: str | None = Field(examples=["mql"])
    since: Moment | None = Field(description="When it came to this stage.")
    reason: str | None = Field(description="Why it came to this stage.", examples=["lead score: 72"])
    status: Standing | None = Field(description="How it stands since it was handed over; null: it never was.")
    status_since: Moment | None
    team: Team = Field(description="Who has to act.")
    version: str = Field(description="Digest of the version by which the last step was judged.")
    owner: str | None = Field(description="The colleague in charge, by address.")
    handed_at: Moment | None = Field(description="When marketing handed it over last.")
    accepted_at: Moment | None
    attempts: int = Field(description="Of sales to reach the person since the handover.", examples=[2])
    by_machine: int = Field(description="Attempts that a machine made; they count for nothing.")
    channels: list[str] = Field(description="Those on which it was tried.", examples=[["email", "phone"]])
    flag: str | None = Field(description="Code of what is not as agreed.", examples=["no_reason"])
    flag_why: str | None = Field(description="The same in a sentence.")
    given_reason: str | None = Field(description="Why sales gave it back last.", examples=["no_need"])
    recycled: int = Field(description="How often it was given back.", examples=[1])
    requalified: int = Field(description="How often it came again after that.", examples=[0])
    rest_until: Moment | None = Field(description="It is not handed over again before.")
    persona: str | None
    profile: str | None


class StepShown(Shape):
    """One step of a lead."""

    at: Moment
    what: What
    before: str | None
    after: str | None
    why: str
    facts: dict[str, Any] = Field(description="The facts that made it true, by name; moments in ms since 1970.")
    by: str | None = Field(description="The person or the connection that said it; null: a condition came true.")
    version: str = Field(description="Digest of the version by which it was judged.")
    void: bool = Field(description="Whether what arrived later showed it to be wrong.")


class WordShown(Shape):
    """Something that was said about a lead, and what the agreement made of it."""

    at: Moment
    word: Word
    value: str | None
    reason: str | None
    team: Team | None
    source: str = Field(description="The connection whose field said it, or `operator`.")
    by: str | None
    finding: Finding | None = Field(description="null: not judged yet.")
    why: str | None


class LeadWhole(LeadShown):
    """A lead with its history."""

    steps: list[StepShown] = Field(description="The oldest first.")
    said: list[WordShown] = Field(description="The oldest first.")


class WordAsked(Asked):
    """What a named person says about a lead."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    team: Team = Field(default=Team.SALES, description="For whom the person speaks.")
    reason: Reason | None = Field(default=None, description="A reason of the agreement.", examples=["no_need"])
    stage: Reason | None = Field(default=None, description="For `stage`: which one.", examples=["sql"])


class WordTaken(Shape):
    """What became of a word."""

    finding: Finding
    why: str
    lead: LeadShown


class VersionShown(Shape):
    """A version of the agreement."""

    id: int = Field(examples=[3])
    digest: str = Field(examples=["18d100e017cb4a54"])
    title: str
    entered_at: Moment
    sales_by: str | None
    sales_at: Moment | None
    marketing_by: str | None
    marketing_at: Moment | None
    in_force: Moment | None = Field(description="From when on it holds; null: not signed by both.")


class StageShown(Shape):
    """A stage of the agreement."""

    name: str = Field(examples=["mql"])
    means: str
    team: Team
    when: str | None = Field(description="The condition that makes it true, in CEL.")
    said: list[Team] = Field(description="Whose word makes it true.")
    leads: int = Field(description="How many are at this stage.", examples=[12])


class VersionWhole(VersionShown):
    """A version with what it says."""

    glossary: dict[str, str]
    stages: list[StageShown]
    reasons: dict[str, str] = Field(description="For giving a lead back: name, and what it means.")
    text: str = Field(description="The file as it was signed.")


class SignatureAsked(Asked):
    """Who signs, for whom."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    team: Team


def shown(row: RowMapping) -> LeadShown:
    """A row of ``lead`` for people."""
    return LeadShown(**_lead(row))


def _lead(row: RowMapping) -> dict[str, Any]:
    moments = ("since", "status_since", "handed_at", "accepted_at", "rest_until")
    data = {name: moment(row[name]) if name in moments else row[name] for name in row}
    standing = Standing(row["status"]) if row["status"] is not None else None
    team = Team.SALES if standing in {Standing.NEW, Standing.ACCEPTED, Standing.QUALIFIED} else Team.MARKETING
    channels = row["channels"] if row["channels"] is not None else []
    kept = {n: v for n, v in data.items() if n in LeadShown.model_fields}
    return {**kept, "team": team, "owner": row["owner_email"], "channels": channels}


def listed(
    db: Db,
    *,
    stage: str | None = None,
    status: Standing | None = None,
    owner: str | None = None,
    flagged: bool = False,
    after: int = 0,
    limit: int = 50,
) -> tuple[list[LeadShown], int | None]:
    """A page of leads by contact number, and behind which contact to go on; None at the end."""
    rows = leads.listed(db, stage=stage, status=status, owner=owner, flagged=flagged, after=after, limit=paging.MOST)

    def fits(row: RowMapping) -> bool:
        return (
            stage in {None, row["stage"]}
            and status in {None, row["status"]}
            and owner in {None, row["owner_email"]}
            and (row["flag"] is not None or not flagged)
        )

    kept, following = paging.cut(rows, lambda row: (row["contact_id"],), fits, limit=limit, looked_at=paging.MOST)
    return [shown(row) for row in kept], following[0] if following is not None else None


def one(db: Db, contact: int) -> LeadWhole:
    """A lead with its history.  Raises NotFound."""
    number = merges.standing_for(db, contact)
    row = leads.load(db, [number]).get(number)
    if row is None:
        raise NotFound(f"contact {contact} is no lead: no stage of the agreement is true of them, or there is none yet")
    steps = [
        StepShown(
            **{n: row[n] for n in ("what", "before", "after", "why", "by", "version")},
            at=from_ms(row["at"]),
            facts=row["facts"] if row["facts"] is not None else {},
            void=row["void_at"] is not None,
        )
        for row in leads.steps(db, [number], void=True)[number]
    ]
    said = [
        WordShown(
            **{n: row[n] for n in ("word", "value", "reason", "team", "source", "by", "finding", "why")},
            at=from_ms(row["at"]),
        )
        for row in leads.said(db, {number, *merges.absorbed(db, [number])})
    ]
    return LeadWhole(**_lead(row), steps=steps, said=said)


def version(row: RowMapping) -> VersionShown:
    """A row of ``agreement_version`` for people."""
    moments = ("sales_at", "marketing_at", "in_force")
    data = {n: moment(row[n]) if n in moments else row[n] for n in row if n in VersionShown.model_fields}
    return VersionShown(**{**data, "entered_at": from_ms(row["entered_at"])})


def whole(db: Db, known: Known, number: int) -> VersionWhole:
    """A version with what it says.  Raises NotFound."""
    row = next((row for row in leads.versions(db) if row["id"] == number), None)
    if row is None:
        raise NotFound(f"there is no version {number}; /agreement/versions lists them")
    agreement, counts = known.agreement(dict(row)), leads.counts(db)
    stages = [
        StageShown(
            name=s.name,
            means=s.means,
            team=s.team,
            when=s.when.text if s.when is not None else None,
            said=sorted(s.said),
            leads=counts.get(s.name, 0),
        )
        for s in agreement.stages
    ]
    return VersionWhole(
        **version(row).model_dump(),
        glossary=dict(agreement.spec.glossary),
        stages=stages,
        reasons={r.name: r.means for r in agreement.reasons.values()},
        text=row["text"],
    )


def leads_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["leads"], dependencies=[Depends(allowed), Depends(known_query)])
    known = Known()

    def say(contact: int, word: Word, asked: WordAsked) -> WordTaken:
        def work(db: Db) -> tuple[Spoken, LeadShown]:
            spoken = acting.say(
                db, connections, known, contact, word, asked.team, asked.by, value=asked.stage, reason=asked.reason
            )
            return spoken, shown(leads.load(db, [spoken.contact])[spoken.contact])

        spoken, lead = database.transact(work)
        log.info("operator.lead", contact=spoken.contact, word=str(word), finding=str(spoken.judgement.finding))
        wake()
        return WordTaken(finding=spoken.judgement.finding, why=spoken.judgement.why, lead=lead)

    @router.get("/leads")
    def list_leads(
        stage: ByStage = None,
        status: ByStatus = None,
        owner: ByOwner = None,
        flagged: Flagged = False,
        limit: Limit = 50,
        after: After = None,
    ) -> Page[LeadShown]:
        """List leads in the order of their contacts."""
        position = paging.decode("leads", after, 1)
        with database.read() as db:
            found, following = listed(
                db,
                stage=stage,
                status=status,
                owner=owner,
                flagged=flagged,
                after=position[0] if position is not None else 0,
                limit=limit,
            )
        cursor = (following,) if following is not None else None
        return Page(items=found, next=paging.encode("leads", cursor))

    @router.get("/leads/{contact_id}")
    def show_lead(contact_id: Id) -> LeadWhole:
        """Show how a contact stands, every step on the way with its reason, and what was said."""
        with database.read() as db:
            return one(db, contact_id)

    @router.post("/leads/{contact_id}/accept", responses={409: {}})
    def accept_lead(contact_id: Id, asked: WordAsked) -> WordTaken:
        """Accept a lead that was handed over."""
        return say(contact_id, Word.ACCEPT, asked)

    @router.post("/leads/{contact_id}/reject", responses={409: {}})
    def reject_lead(contact_id: Id, asked: WordAsked) -> WordTaken:
        """Give a lead back, with a reason.  `flagged` in the answer: not as agreed, so it stays, and both are told."""
        return say(contact_id, Word.REJECT, asked)

    @router.post("/leads/{contact_id}/recycle", responses={409: {}})
    def recycle_lead(contact_id: Id, asked: WordAsked) -> WordTaken:
        """Take a lead back for marketing."""
        return say(contact_id, Word.RECYCLE, asked)

    @router.post("/leads/{contact_id}/stage", responses={409: {}})
    def stage_lead(contact_id: Id, asked: WordAsked) -> WordTaken:
        """Say that a lead is at a stage; the agreement judges whether that team's word makes it so."""
        return say(contact_id, Word.STAGE, asked)

    @router.get("/agreement/versions")
    def list_versions(limit: Limit = 50, after: After = None) -> Page[VersionShown]:
        """List the versions of the agreement, the newest first."""
        position = paging.decode("versions", after, 1)
        with database.read() as db:
            rows = [row for row in reversed(leads.versions(db)) if position is None or row["id"] < position[0]]
        following = (rows[limit - 1]["id"],) if len(rows) > limit else None
        return Page(items=[version(row) for row in rows[:limit]], next=paging.encode("versions", following))

    @router.get("/agreement/versions/{version_id}")
    def show_version(version_id: Id) -> VersionWhole:
        """Show what a version says: glossary, stages and their conditions, reasons, and the text that was signed."""
        with database.read() as db:
            return whole(db, known, version_id)

    @router.post("/agreement/versions/{version_id}/sign", responses={409: {}})
    def sign_version(version_id: Id, asked: SignatureAsked) -> VersionShown:
        """Sign a version that the other team has signed; it holds from then on, or from the day that was agreed."""

        def work(db: Db) -> VersionShown:
            row = next((row for row in leads.versions(db) if row["id"] == version_id), None)
            if row is None:
                raise NotFound(f"there is no version {version_id}; /agreement/versions lists them")
            acting.sign(db, known.agreement(dict(row)), row["customs"], asked.team, asked.by)
            return version(leads.version(db, version_id))

        found = database.transact(work)
        log.info("operator.signed", version=version_id, team=str(asked.team))
        wake()
        return found

    return router
