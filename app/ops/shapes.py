"""What the answers of the API share: times, bounded counts, and the forms of what callers may say."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from sqlalchemy import Connection as Db
from sqlalchemy import Select, func, select

from app.core.clock import from_ms
from app.core.db import BIGGEST, now_ms
from app.ops.access.principal import own_name

COUNTED: Final = 10_000  # rows that a count looks at: an exact count of a large table costs as much as reading it

# Neither database takes every text: PostgreSQL stores no NUL (https://www.postgresql.org/docs/current/datatype-character.html).
_NO_NUL: Final = r"^[^\x00]*$"


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


Moment = Annotated[
    datetime,  # aware, UTC
    PlainSerializer(_iso, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T08:00:00.000Z"]}),
]
"""A time as answered: always with milliseconds, so that texts sort as times do."""

FIRST_YEAR, LAST_YEAR = 1900, 2999  # whatever is added or taken away, it stays within the calendar


def _in_calendar(at: Any) -> Any:
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"a year from {FIRST_YEAR} to {LAST_YEAR}")
    return at


Day = Annotated[date, AfterValidator(_in_calendar)]
Time = Annotated[AwareDatetime, AfterValidator(_in_calendar)]
LooseTime = Annotated[datetime, AfterValidator(_in_calendar)]
"""A moment, or one in UTC that does not say so."""

Station = Literal["sync", "push"]
Status = Literal["pending", "done", "ignored", "parked", "dead"]

Id = Annotated[int, Path(ge=1, le=BIGGEST, description="Its number.")]
NameText = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,40}$")]
Text = Annotated[str, StringConstraints(pattern=_NO_NUL)]
CodeText = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_NO_NUL)]
Name = Annotated[NameText, Path(description="The connection's name, as tandem.yml says it.")]
ByConnection = Annotated[NameText | None, Query(description="Only of this connection.", examples=["hubspot"])]
ByCode = Annotated[CodeText | None, Query(description="Only with this code.", examples=["conflict"])]
Email = Annotated[
    str | None,
    Query(min_length=1, max_length=320, pattern=_NO_NUL, description="Only with this address, in any spelling of it."),
]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=_NO_NUL)]
By = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, strip_whitespace=True, pattern=_NO_NUL),
    BeforeValidator(own_name),
]
"""Who decides something; kept with the decision.  A caller with a name of its own acts under it, whatever is sent."""
Since = Annotated[Time | None, Query(description="From this moment on.", examples=["2026-01-31T08:00:00Z"])]
Until = Annotated[Time | None, Query(description="Before this moment.", examples=["2026-02-01T08:00:00Z"])]


class Shape(BaseModel):
    """Base of what is answered."""

    model_config = ConfigDict(frozen=True)


class Asked(BaseModel):
    """Base of what callers send: a misspelt key is an error, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Count(Shape):
    """How many there are, counted up to a bound."""

    count: int = Field(description=f"How many; counting stops at {COUNTED}.", examples=[12])
    at_least: bool = Field(description="Whether counting stopped, so that there may be more.", examples=[False])


def moment(ms: int | None) -> datetime | None:
    """A time of the store, ms since 1970, as an aware UTC datetime; None for None."""
    return None if ms is None else from_ms(ms)


def count(db: Db, rows: Select[Any]) -> Count:
    """Count the rows of a query, at most ``COUNTED`` of them."""
    some = rows.limit(COUNTED + 1).subquery()
    found: int = db.execute(select(func.count()).select_from(some)).scalar_one()
    return counted(found)


def counted(found: int) -> Count:
    """The count of a query that was cut after ``COUNTED + 1`` rows."""
    return Count(count=min(found, COUNTED), at_least=found > COUNTED)


def clock(db: Db) -> int:
    """The database's time, ms since 1970."""
    now: int = db.execute(select(now_ms())).scalar_one()
    return now
