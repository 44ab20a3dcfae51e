"""What the pages of the agreement share: what they are asked, who people are, values in words."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from sqlalchemy import Connection as Db

from app.console.people import name_of
from app.records import contacts as people

FIRST, LAST = date(1970, 1, 1), date(2999, 12, 31)


def _day(value: Any) -> Any:
    """``2026-01-31`` as a date.  Raises ValueError that says how a day is written."""
    if not isinstance(value, str):
        return value
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise ValueError("a day is written like 2026-01-31") from None
    if not FIRST <= day <= LAST:
        raise ValueError(f"a day from {FIRST} to {LAST} is meant")
    return day


Day = Annotated[date, BeforeValidator(_day)]


class Asked(BaseModel):
    """Base of what a page is asked: what a form leaves blank was not said, a misspelt name is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    said: str | None = None  # what was done just now; see ``Shell.done``

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None and value != ""}

    def query(self, **changes: Any) -> dict[str, Any]:
        """What was said, with these changes, for the address of another page of the same list; None takes away."""
        held = self.model_dump(mode="json", exclude_defaults=True, exclude={"said", "after"})
        return {**held, **changes}


def names_of(db: Db, contacts: Collection[int]) -> dict[int, str]:
    """How these contacts are called."""
    return {number: name_of(one.values()) for number, one in people.load(db, sorted(set(contacts))).items()}


def business(minutes: float) -> str:
    """A length of business time in words: ``5 h 20 min``, ``1 h 5 min over``.  A day has no fixed length there."""
    hours, rest = divmod(round(abs(minutes)), 60)
    words = f"{hours:,} h {rest} min" if hours else f"{rest} min"
    return f"{words} over" if minutes < 0 else words


def hours(value: float | None) -> str:
    """Hours of the clock in words; a dash for None."""
    if value is None:
        return "–"
    if value >= 48:
        return f"{value / 24:.1f} d"
    return f"{value:.1f} h" if value >= 1 else f"{value * 60:.0f} min"
