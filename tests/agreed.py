"""An agreement, and short ways to say what happened, for the tests of the lifecycle."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.agreement import acting, leads
from app.agreement.load import Agreement, load, loads
from app.agreement.versions import Version, Versions
from app.agreement.words import Act, Happening, Kind, Said, Team, Word
from app.core.clock import to_ms
from app.core.db import Database, clock_of
from app.records import leads as rows
from app.sync.connection import Connections

SHIPPED = Path(__file__).parents[1] / "mappings" / "agreement.yaml"
DAY = 86_400_000
HOUR = 3_600_000
BEGIN = to_ms(datetime(2025, 1, 1, tzinfo=UTC))


@functools.cache
def shipped() -> Agreement:
    """The agreement that is shipped."""
    return load(SHIPPED)


@functools.cache
def untimed() -> Agreement:
    """The shipped agreement without clocks, for tests whose leads are old: nothing is overdue."""
    before, _, rest = SHIPPED.read_text(encoding="utf-8").partition("\ncalendars:\n")
    return loads(before + "\ntargets:\n" + rest.partition("\ntargets:\n")[2])


@functools.cache
def changed(*replacements: tuple[str, str]) -> Agreement:
    """The shipped agreement with these pieces of text replaced; each has to be there."""
    text = SHIPPED.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    return loads(text)


def versions(*of: tuple[Agreement, float]) -> Versions:
    """Versions, each with the day from which it holds; none: the shipped one, from the beginning."""
    if not of:
        return Versions([Version(shipped(), BEGIN)])
    return Versions([Version(agreement, BEGIN + int(day * DAY), n) for n, (agreement, day) in enumerate(of, 1)])


def at(day: float) -> int:
    """The moment so many days after the beginning."""
    return BEGIN + int(day * DAY)


def fact(day: float, **values: Any) -> Happening:
    """Fields of the contact have these values now."""
    key = tuple(f"{n}={v}" for n, v in sorted(values.items()))
    return Happening(at(day), Kind.FACT, key, {f"contact.{n}": v for n, v in values.items()})


def act(day: float, kind: str, **more: Any) -> Happening:
    """An engagement."""
    return Happening(at(day), Kind.ACT, (kind, str(sorted(more.items()))), act=Act(kind, **more))


def deal(day: float, status: str, number: int = 1, reason: str | None = None) -> Happening:
    """A deal came to a status."""
    values = {"deal": number, "status": status, "lost_reason": reason}
    return Happening(at(day), Kind.DEAL, (status, str(number)), values)


def said(
    day: float, word: Word, value: str | None = None, team: Team = Team.SALES, number: int = 0, **more: Any
) -> Happening:
    """Somebody said something."""
    one = Said(word, value, team, more.pop("source", "crm"), number=number, **more)
    return Happening(at(day), Kind.SAID, (one.source, str(one.value), str(one.reason)), said=one)


def put_in_force(database: Database, connections: Connections, *mqls: int) -> None:
    """Both have signed the shipped agreement, and marketing calls these contacts MQLs; sales signed another version."""
    with database.write() as db:
        now = clock_of(db)
        for team in Team:
            acting.sign(db, shipped(), {}, team, f"Kim of {team}", since=BEGIN)
        acting.sign(db, changed(("rest: 14d", "rest: 15d")), {}, Team.SALES, "Kim")
        line = {"word": "stage", "value": "mql", "team": "marketing", "source": "operator", "by": "Lou", "at": now}
        rows.say(db, [{**line, "contact_id": contact} for contact in mqls], now)
        leads.refold(db, connections, leads.Known().versions(db), mqls, now)
