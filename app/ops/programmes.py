"""Programmes: whom both teams look after together, and what that brings about: ``/programmes``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.agreement.effects import Verdict, effect
from app.agreement.leads import Known
from app.agreement.load import Programme
from app.core.db import Database, clock_of
from app.core.errors import NotFound
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Moment, Shape, moment
from app.records import programmes
from app.records.programmes import Arm
from app.sync.connection import Connections

DAY_MS = 86_400_000
Named = Annotated[
    str,
    Path(
        max_length=41, pattern=r"^[a-z][a-z0-9_]{0,40}$", description="As the agreement calls it.", examples=["warm_up"]
    ),
]
Current = Annotated[bool, Query(description="Only those who are in it now; false: also those who were.")]


class ArmShown(Shape):
    """One of the two groups.  Each person counts once, with the first enrolment."""

    enrolled: int = Field(description="Ever.", examples=[240])
    now: int = Field(description="At present.", examples=[180])
    measured: int = Field(description="Whose time to come to the stage is over.", examples=[120])
    reached: int = Field(description="Of those: came to it in time.", examples=[18])
    waiting: int = Field(description="Whose time is not over.", examples=[110])
    late: int = Field(description="Enrolled in hindsight, so that nothing can be measured.", examples=[10])


class EffectShown(Shape):
    """What the programme brought about: those who got it beside those left without it."""

    stage: str | None = Field(description="To be reached; null: nothing is measured.", examples=["lead"])
    within_days: float | None = Field(description="Of the enrolment.", examples=[180])
    with_it: ArmShown
    without_it: ArmShown
    difference: float | None = Field(description="Of the shares that reached it, from -1 to 1.", examples=[0.08])
    low: float | None = Field(description="95 % interval of the difference (Newcombe).", examples=[-0.01])
    high: float | None = Field(examples=[0.15])
    verdict: Verdict = Field(description="few: too few people in one of the groups to say anything.")
    says: str = Field(description="The same in a sentence.")


class ProgrammeShown(Shape):
    """A programme of the agreement in force, or one that was."""

    name: str = Field(examples=["warm_up"])
    in_force: bool = Field(description="false: no longer in the agreement.")
    means: str | None = Field(examples=["Cold prospects whom a series of mails may warm up"])
    when: str | None = Field(description="Condition that enrols somebody, in CEL.")
    ends: str | None = Field(description="Condition that ends it.")
    days: int | None = Field(description="It ends after so many.")
    tag: str | None = Field(description="By which the platforms know the members.", examples=["warm-up"])
    hold_out: float = Field(description="Share of the enrolled that is left without it.", examples=[0.1])
    members: int = Field(description="Who have it now.", examples=[162])
    delivered_by: list[str] = Field(description="Connections whose mapping writes tags, and takes them away.")
    stuck_at: list[str] = Field(description="Connections whose mapping writes tags, and never takes the last one away.")
    effect: EffectShown


class Programmes(Shape):
    """All of them: they are as many as the agreement names."""

    items: list[ProgrammeShown]


class MemberShown(Shape):
    """A time that somebody was enrolled in a programme."""

    contact_id: int = Field(description="See /contacts/{contact_id}.", examples=[42])
    round: int = Field(description="1, and one more each time that the person came again.")
    enrolled_at: Moment
    why: str = Field(examples=["lead stage: prospect"])
    ended_at: Moment | None
    ended_why: str | None = Field(examples=["consent to e-mail: withdrawn"])
    held_out: bool = Field(description="Left without it, to compare with.")
    reached_at: Moment | None = Field(description="When the person came to the stage that it is to bring about.")
    version: str = Field(description="Digest of the version in force when it began.")


def listed(db: Db, connections: Connections, known: Known) -> list[ProgrammeShown]:
    """All programmes of the agreement in force, and those that it no longer has but that had members."""
    now = clock_of(db)
    held, arms = _held(db, known, now), programmes.arms(db, now)
    names = [*held, *sorted({name for name, _ in arms} - set(held))]
    return [_shown(connections, name, held.get(name), arms) for name in names]


def one(db: Db, connections: Connections, known: Known, name: str) -> ProgrammeShown:
    """One of them.  Raises NotFound."""
    now = clock_of(db)
    programme = required(db, known, name)
    return _shown(connections, name, programme, programmes.arms(db, now, name))


def required(db: Db, known: Known, name: str) -> Programme | None:
    """The programme of a name; None where the agreement in force no longer has it.  Raises NotFound."""
    now = clock_of(db)
    held = _held(db, known, now)
    if name not in held and not programmes.known(db, name):
        names = ", ".join(held)
        raise NotFound(
            f"there is no programme {name!r}; there are: {names if names else 'none, in the agreement in force'}"
        )
    return held.get(name)


def _held(db: Db, known: Known, now: int) -> dict[str, Programme]:
    version = known.versions(db).versions.at(now)
    return {p.name: p for p in version.agreement.programmes} if version is not None else {}


def _shown(
    connections: Connections, name: str, one: Programme | None, arms: Mapping[tuple[str, bool], Arm]
) -> ProgrammeShown:
    got, left = arms.get((name, False), Arm()), arms.get((name, True), Arm())
    takes, keeps = _delivering(connections) if one is not None and one.tag is not None else ([], [])
    return ProgrammeShown(
        name=name,
        in_force=one is not None,
        means=one.means if one is not None else None,
        when=one.when.text if one is not None else None,
        ends=one.ends.text if one is not None and one.ends is not None else None,
        days=one.days if one is not None else None,
        tag=one.tag if one is not None else None,
        hold_out=one.hold_out if one is not None else 0.0,
        members=got.now,
        delivered_by=takes,
        stuck_at=keeps,
        effect=_effect(one, got, left),
    )


def members(
    db: Db, name: str, *, current: bool = True, before: int | None = None, limit: int = 50
) -> tuple[list[MemberShown], int | None]:
    """A page of the members of a programme, the newest first, and behind which row to go on; None at the end."""
    rows = programmes.members(db, name, current=current, before=before, limit=limit + 1)
    following = rows[limit - 1]["id"] if len(rows) > limit else None
    return [_member(row) for row in rows[:limit]], following


def _member(row: RowMapping) -> MemberShown:
    moments = ("enrolled_at", "ended_at", "reached_at")
    data = {n: moment(row[n]) if n in moments else row[n] for n in row if n in MemberShown.model_fields}
    return MemberShown(**{**data, "held_out": bool(row["held_out"])})


def _delivering(connections: Connections) -> tuple[list[str], list[str]]:
    """The connections that write tags: those that take them away, too, and those that never take the last one away."""
    writing = [c for c in connections.values() if "tags" in c.map.out_fields]
    takes = [c.name for c in writing if "tags" in c.map.differs({"tags": None}, {"tags": ["one"]})]
    return takes, [c.name for c in writing if c.name not in takes]


def _effect(programme: Programme | None, got: Arm, left: Arm) -> EffectShown:
    found = effect(got.reached, got.measured, left.reached, left.measured)
    stage = programme.stage if programme is not None else None
    days = programme.within / DAY_MS if programme is not None and programme.stage is not None else None
    return EffectShown(
        stage=stage,
        within_days=days,
        with_it=_arm(got),
        without_it=_arm(left),
        difference=found.difference,
        low=found.low,
        high=found.high,
        verdict=found.verdict,
        says=_says(got, left, found.verdict),
    )


def _arm(arm: Arm) -> ArmShown:
    return ArmShown(**{n: getattr(arm, n) for n in ArmShown.model_fields})


_SAYS = {
    Verdict.MORE: "more came to the stage than without it",
    Verdict.LESS: "fewer came to the stage than without it",
    Verdict.OPEN: "the difference may be chance",
    Verdict.FEW: "too few to say anything yet",
}


def _says(got: Arm, left: Arm, verdict: Verdict) -> str:
    if verdict is Verdict.NOTHING and left.enrolled == 0:
        return "nobody is left without it, so there is nothing to compare with"
    if verdict is Verdict.NOTHING:
        return "nothing to compare with yet: the time of nobody who was left without it is over"
    return f"{got.reached} of {got.measured} with it, {left.reached} of {left.measured} without: {_SAYS[verdict]}"


def programmes_api(database: Database, connections: Connections) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["programmes"], dependencies=[Depends(allowed), Depends(known_query)])
    known = Known()

    @router.get("/programmes")
    def list_programmes() -> Programmes:
        """List the programmes, how many are in each, and what each brought about."""
        with database.read() as db:
            return Programmes(items=listed(db, connections, known))

    @router.get("/programmes/{name}")
    def show_programme(name: Named) -> ProgrammeShown:
        """Show one programme."""
        with database.read() as db:
            return one(db, connections, known, name)

    @router.get("/programmes/{name}/members")
    def list_members(name: Named, current: Current = True, limit: Limit = 50, after: After = None) -> Page[MemberShown]:
        """List who is in a programme, the newest first, and why."""
        position = paging.decode("members", after, 1)
        with database.read() as db:
            required(db, known, name)
            found, following = members(
                db, name, current=current, before=position[0] if position is not None else None, limit=limit
            )
        cursor = (following,) if following is not None else None
        return Page(items=found, next=paging.encode("members", cursor))

    return router
