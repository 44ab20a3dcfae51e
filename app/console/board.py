"""The board of what each team owes the other: clocks of leads, promises of marketing; a clock is paused or given on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection as Db

from app.agreement import pausing
from app.agreement.clocks import Reading, State
from app.agreement.leads import Known
from app.console.agreeing import Asked, business, names_of
from app.console.menu import Entry
from app.console.shell import PAGE, ROOT, Sent, Shell, shape
from app.core.db import clock_of
from app.ops import paging, sla
from app.ops.shapes import Id

log = structlog.get_logger(__name__)

PATH: Final = f"{ROOT}/sla"
ENTRY: Final = Entry("SLA board", PATH, "Agreement", "b")
KINDS: Final = {
    State.RUNNING: "plain",
    State.AT_RISK: "busy",
    State.PAUSED: "plain",
    State.BREACHED: "bad",
    State.MET: "good",
    State.MET_LATE: "busy",
    State.CANCELLED: "plain",
}


class BoardAsked(Asked):
    """What the board is asked."""

    state: State | None = None
    owner: Annotated[str | None, Query(max_length=320, pattern=r"^[^\x00]*$")] = None
    team: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None
    after: Annotated[str | None, Query(max_length=200)] = None


class ClocksAsked(Asked):
    """What the page of one lead's clocks is asked."""


def reasons_of(db: Db, known: Known) -> list[str]:
    """For which reasons the agreement in force lets a clock stand."""
    version = known.versions(db).versions.at(clock_of(db))
    promises = version.agreement.promises if version is not None else None
    clocks = promises.sla.clocks.values() if promises is not None else ()
    return sorted({reason for one in clocks for reason in one.pause_for})


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()
    known = Known()

    @router.get("/sla")
    def show_board(request: Request, asked: Annotated[BoardAsked, Query()]) -> Response:
        position = paging.decode("sla", asked.after, 2)
        with shell.database.read() as db:
            found, following = sla.listed(
                db, state=asked.state, owner=asked.owner, team=asked.team, after=position, limit=PAGE
            )
            names = names_of(db, [one.contact_id for one in found])
            promises = sla.promises(db, known)
        return shell.page(
            request,
            "board.html",
            asked=asked,
            path=PATH,
            clocks=found,
            names=names,
            next=paging.encode("sla", following),
            promises=promises,
            states=list(State),
            kinds=KINDS,
        )

    @router.get("/sla/{contact_id}")
    def show_clocks(request: Request, contact_id: Id, asked: Annotated[ClocksAsked, Query()]) -> Response:
        with shell.database.read() as db:
            found = sla.of_lead(*pausing.shown(db, shell.connections, known, contact_id))
            name = names_of(db, [found.contact_id])[found.contact_id]
            reasons = reasons_of(db, known)
        return shell.page(
            request, "clocks.html", asked=asked, found=found, name=name, reasons=reasons, kinds=KINDS, business=business
        )

    def act(what: str, contact: int, by: str, do: Callable[[Db], tuple[Reading, ...]]) -> Response:
        shell.database.transact(do)
        log.info("operator.clock", contact=contact, what=what)
        shell.wake()
        return shell.done(f"{PATH}/{contact}", what, by=by)

    @router.post("/sla/{contact_id}/pause")
    def pause_clocks(contact_id: Id, sent: Sent) -> Response:
        asked: sla.PauseAsked = shape(
            sla.PauseAsked, by=sent.get("by"), reason=sent.get("reason"), clock=sent.get("clock")
        )
        return act(
            "paused",
            contact_id,
            asked.by,
            lambda db: pausing.pause(
                db, shell.connections, known, contact_id, asked.reason, asked.by, clock=asked.clock
            ),
        )

    @router.post("/sla/{contact_id}/resume")
    def resume_clocks(contact_id: Id, sent: Sent) -> Response:
        asked: sla.ResumeAsked = shape(sla.ResumeAsked, by=sent.get("by"), reason=sent.get("reason"))
        return act(
            "resumed",
            contact_id,
            asked.by,
            lambda db: pausing.resume(db, shell.connections, known, contact_id, asked.by, reason=asked.reason),
        )

    @router.post("/sla/{contact_id}/reassign")
    def reassign_lead(contact_id: Id, sent: Sent) -> Response:
        asked: sla.ReassignAsked = shape(
            sla.ReassignAsked, by=sent.get("by"), owner=sent.get("owner"), reason=sent.get("reason")
        )
        return act(
            "reassigned",
            contact_id,
            asked.by,
            lambda db: pausing.reassign(db, shell.connections, known, contact_id, asked.owner, asked.reason, asked.by),
        )

    return router
