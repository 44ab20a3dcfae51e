"""What sales may do next with a lead: ``/leads/{contact_id}/next``."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import Field
from sqlalchemy import Connection as Db

from app.agreement.advising import Advice, Suggested, advise
from app.agreement.clocks import State
from app.agreement.leads import Known
from app.agreement.rates import Rate
from app.agreement.words import Standing
from app.core.db import Database
from app.core.words import Channel
from app.ops.auth import allowed
from app.ops.problems import known_query
from app.ops.shapes import Id, Moment, Shape, moment
from app.sync.connection import Connections


class RateShown(Shape):
    """How many came to the next milestone."""

    hits: int = Field(description="Came to it.", examples=[18])
    decided: int = Field(description="Of so many that can change no more.", examples=[40])
    low: float | None = Field(description="95 % interval of the rate (Wilson).", examples=[0.31])
    high: float | None = Field(examples=[0.6])
    few: bool = Field(description="Too few decided to say much.")


class FollowedShown(Shape):
    """What followed with similar leads, of the last two years."""

    group: str = Field(description="Which leads are meant.", examples=["persona decides"])
    done: RateShown = Field(description="With whom it was done before they were decided.")
    without: RateShown = Field(description="With whom it was not.")


class StepNext(Shape):
    """Something that the agreement lets sales do now."""

    name: str = Field(examples=["call"])
    means: str = Field(examples=["Call them"])
    did: str = Field(description="The kind of engagement by which it shows that it was done.", examples=["call"])
    channel: Channel | None
    fulfils: list[str] = Field(description="Clocks that wait for it.", examples=[["first_touch"]])
    why: str = Field(description="Why it stands here, with the figures.")
    followed: FollowedShown


class StepLeftOut(Shape):
    """Something that is not allowed now."""

    name: str
    why: str = Field(examples=["consent to email: withdrawn"])


class OwedShown(Shape):
    """A clock of sales that runs."""

    clock: str = Field(examples=["first_touch"])
    state: State
    due_at: Moment | None


class NextShown(Shape):
    """What may come next with a lead, the best first."""

    contact_id: int
    stage: str | None = Field(examples=["mql"])
    status: Standing | None
    owner_owes: list[OwedShown] = Field(description="What sales owes, the earliest due first.")
    aim: str = Field(description="The milestone that is to come next: sql or won.", examples=["sql"])
    steps: list[StepNext]
    left_out: list[StepLeftOut]


def shown(advice: Advice) -> NextShown:
    """Advice for people."""
    return NextShown(
        contact_id=advice.contact,
        stage=advice.lead.stage,
        status=advice.lead.status,
        owner_owes=[OwedShown(clock=r.clock, state=r.state, due_at=moment(r.due_at)) for r in advice.due],
        aim=advice.aim,
        steps=[_step(one) for one in advice.steps],
        left_out=[StepLeftOut(name=one.action.name, why=one.why) for one in advice.left_out],
    )


def _step(one: Suggested) -> StepNext:
    followed = FollowedShown(
        group=one.followed.group, done=_rate(one.followed.done), without=_rate(one.followed.without)
    )
    named = {name: getattr(one.action, name) for name in ("name", "means", "did", "channel")}
    return StepNext(**named, fulfils=list(one.fulfils), why=one.why, followed=followed)


def _rate(rate: Rate) -> RateShown:
    low, high = rate.interval if rate.interval is not None else (None, None)
    return RateShown(hits=rate.hits, decided=rate.decided, low=low, high=high, few=rate.small)


def of_lead(db: Db, connections: Connections, known: Known, contact: int) -> NextShown:
    """What may come next.  Raises NotFound, NotPossible."""
    return shown(advise(db, connections, known, contact))


def advice_api(database: Database, connections: Connections) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["leads"], dependencies=[Depends(allowed), Depends(known_query)])
    known = Known()

    @router.get("/leads/{contact_id}/next", responses={409: {}})
    def show_next(contact_id: Id) -> NextShown:
        """Show what sales may do next with a lead, why, and what followed with similar leads.  409: not with sales."""
        with database.read() as db:
            return of_lead(db, connections, known, contact_id)

    return router
