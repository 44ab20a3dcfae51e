"""Whom alarms are told, and the button that tries it: ``/ops/alarms/sinks``, ``/ops/alarms/test``."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import Field

from app.core.db import Database
from app.ops.auth import allowed
from app.ops.problems import known_query
from app.ops.shapes import Asked, NameText, Shape
from app.ops.telling import Telling
from app.records import notices


class SinkShown(Shape):
    """One place where alarms are told."""

    name: str = Field(examples=["ops"])
    kind: str = Field(description="webhook, slack or email", examples=["slack"])
    host: str = Field(description="The only host that is called.", examples=["hooks.slack.com"])
    kinds: list[str] = Field(description="Of the alarms that are told here; none: all.", examples=[["sla"]])
    knows: int = Field(description="Alarms that it was told about, or is to be told about, and that are not over.")
    failing: bool = Field(description="Whether the last message did not get through.")
    why: str | None = Field(description="Why it did not.")


class SinkList(Shape):
    """All of them.  They are as many as the configuration names, so they are not paged."""

    items: list[SinkShown]


class TrialAsked(Asked):
    """Which sink is tried."""

    sink: NameText | None = Field(
        default=None, max_length=50, description="Its name; null: all of them.", examples=["ops"]
    )


class Heard(Shape):
    """What came of a test."""

    sink: str = Field(examples=["ops"])
    kind: str = Field(examples=["slack"])
    sent: bool = Field(description="Whether it was taken there.")
    why: str | None = Field(description="Why not.")


class HeardList(Shape):
    """Of each sink that was tried."""

    items: list[Heard]


def sinks_of(database: Database, telling: Telling | None) -> list[SinkShown]:
    """The configured sinks, and how they do."""
    with database.read() as db:
        known = notices.standing(db)
    return [
        SinkShown(
            name=s.name,
            kind=s.kind,
            host=s.host,
            kinds=list(s.kinds),
            knows=known.get(s.name, (0, 0, None))[0],
            failing=known.get(s.name, (0, 0, None))[1] > 0,
            why=known.get(s.name, (0, 0, None))[2],
        )
        for s in (telling.sinks if telling is not None else ())
    ]


def tried(telling: Telling | None, name: str | None) -> list[Heard]:
    """Send a test.  Raises NotFound for a sink that is not configured."""
    found = telling.test(name) if telling is not None else []
    return [Heard(sink=one.sink.name, kind=one.sink.kind, sent=one.why is None, why=one.why) for one in found]


def sinks_api(database: Database, telling: Telling | None) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/ops/alarms", tags=["alarms"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/sinks")
    def list_sinks() -> SinkList:
        """List where alarms are told, and whether messages get through."""
        return SinkList(items=sinks_of(database, telling))

    @router.post("/test", responses={404: {}})
    def test_sinks(asked: TrialAsked) -> HeardList:
        """Send a test to a sink, or to all of them, and say whether it got through.

        Takes as long as the sinks do, ten seconds each at most.  What could not be told before is told at once where
        the test got through.
        """
        return HeardList(items=tried(telling, asked.sink))

    return router
