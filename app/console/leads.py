"""Leads: how each stands under the agreement, its history with reasons and facts, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import structlog
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection as Db

from app.agreement import acting
from app.agreement.leads import Known
from app.agreement.load import Agreement
from app.agreement.words import Finding, Standing, Team, Word
from app.console.agreeing import Asked, names_of
from app.console.menu import Entry
from app.console.shell import PAGE, ROOT, Sent, Shell, shape
from app.core.db import clock_of
from app.core.errors import NotPossible
from app.ops import advice, leads, paging
from app.ops.shapes import Id

log = structlog.get_logger(__name__)

PATH: Final = f"{ROOT}/leads"
ENTRY: Final = Entry("Leads", PATH, "Agreement", "l")
Act = Literal["accept", "reject", "recycle", "stage"]
ACTS: Final[Mapping[Act, Word]] = {
    "accept": Word.ACCEPT,
    "reject": Word.REJECT,
    "recycle": Word.RECYCLE,
    "stage": Word.STAGE,
}
FOR: Final[Mapping[Word, Team]] = {Word.ACCEPT: Team.SALES, Word.REJECT: Team.SALES, Word.RECYCLE: Team.MARKETING}
"""For whom a word is said; a stage is said for either."""


class ListAsked(Asked):
    """What the list is asked."""

    stage: Annotated[str | None, Query(max_length=60, pattern=r"^[^\x00]*$")] = None
    status: Standing | None = None
    owner: Annotated[str | None, Query(max_length=320, pattern=r"^[^\x00]*$")] = None
    flagged: bool = False
    after: Annotated[str | None, Query(max_length=200)] = None


class LeadAsked(Asked):
    """What the page of one lead is asked."""


def in_force(db: Db, known: Known) -> Agreement | None:
    """The agreement that holds now."""
    version = known.versions(db).versions.at(clock_of(db))
    return version.agreement if version is not None else None


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()
    known = Known()

    @router.get("/leads")
    def show_leads(request: Request, asked: Annotated[ListAsked, Query()]) -> Response:
        position = paging.decode("leads", asked.after, 1)
        with shell.database.read() as db:
            found, following = leads.listed(
                db,
                stage=asked.stage,
                status=asked.status,
                owner=asked.owner,
                flagged=asked.flagged,
                after=position[0] if position is not None else 0,
                limit=PAGE,
            )
            names = names_of(db, [lead.contact_id for lead in found])
            agreement = in_force(db, known)
        return shell.page(
            request,
            "leads.html",
            asked=asked,
            path=PATH,
            leads=found,
            names=names,
            next=paging.encode("leads", (following,) if following is not None else None),
            stages=agreement.stages if agreement is not None else (),
            standings=list(Standing),
        )

    @router.get("/leads/{contact_id}")
    def show_lead(request: Request, contact_id: Id, asked: Annotated[LeadAsked, Query()]) -> Response:
        with shell.database.read() as db:
            lead = leads.one(db, contact_id)
            name = names_of(db, [lead.contact_id])[lead.contact_id]
            agreement = in_force(db, known)
            advised: advice.NextShown | None = None
            why = ""
            try:
                advised = advice.of_lead(db, shell.connections, known, lead.contact_id)
            except NotPossible as error:  # it is not with sales
                why = str(error)
        return shell.page(
            request, "lead.html", asked=asked, lead=lead, name=name, agreement=agreement, advised=advised, why=why
        )

    @router.post("/leads/{contact_id}/{act}")
    def say(contact_id: Id, act: Act, sent: Sent) -> Response:
        word = ACTS[act]
        team = FOR.get(word, sent.get("team"))
        asked: leads.WordAsked = shape(
            leads.WordAsked, by=sent.get("by"), team=team, reason=sent.get("reason"), stage=sent.get("stage")
        )
        spoken = shell.database.transact(
            lambda db: acting.say(
                db,
                shell.connections,
                known,
                contact_id,
                word,
                asked.team,
                asked.by,
                value=asked.stage,
                reason=asked.reason,
            )
        )
        finding = spoken.judgement.finding
        log.info("operator.lead", contact=spoken.contact, word=str(word), finding=str(finding))
        shell.wake()
        said = "flagged" if finding is Finding.FLAGGED else act
        return shell.done(f"{PATH}/{spoken.contact}", said, by=asked.by)

    return router
