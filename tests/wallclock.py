"""Business time the slow way: minute by minute, by what the wall clock shows.  Shares no arithmetic with the app."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

MINUTE = 60_000
Hours = tuple[tuple[int, int], ...]  # minutes of the day


class Wall:
    """A calendar as people would explain it: seven days, own days, a country."""

    def __init__(
        self,
        zone: str,
        week: tuple[Hours, ...],
        own: Mapping[tuple[int | None, int, int], Hours | None] | None = None,
        country: str | None = None,
        subdivision: str | None = None,
    ) -> None:
        self.zone = ZoneInfo(zone)
        self.week, self.own = week, {} if own is None else own
        self.country, self.subdivision = country, subdivision
        self.open = lru_cache(maxsize=None)(self._open)
        self.public = lru_cache(maxsize=None)(self._public)

    def _public(self, day: date) -> bool:
        if self.country is None:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of years for which not all are known
            return day in holidays.country_holidays(self.country, subdiv=self.subdivision, years=day.year)

    def shown(self, moment: int) -> datetime:
        """What the wall clock shows."""
        return datetime.fromtimestamp(moment // 1000, UTC).astimezone(self.zone)

    def _open(self, moment: int) -> bool:
        """Is it open in the minute that begins now."""
        shown = self.shown(moment)
        minute = shown.hour * 60 + shown.minute
        return any(start <= minute < end for start, end in self.hours(shown.date()))

    def hours(self, day: date) -> Hours:
        """The windows of a day."""
        for key in ((day.year, day.month, day.day), (None, day.month, day.day)):
            if key in self.own:
                own = self.own[key]
                return self.week[day.weekday()] if own is None else own
        return () if self.public(day) else self.week[day.weekday()]

    def elapsed(self, a: int, b: int) -> int:
        """Open minutes from one full minute to a later one, in ms."""
        return sum(MINUTE for t in range(a, b, MINUTE) if self.open(t))

    def add(self, moment: int, duration: int) -> int:
        """The first full minute by which so many open ones have passed."""
        while duration > 0:
            duration -= MINUTE if self.open(moment) else 0
            moment += MINUTE
        return moment

    def worked(self, start: int, end: int) -> dict[date, int]:
        """Day → the end of its last open minute, for what lies between."""
        found: dict[date, int] = {}
        for t in range(start, end, MINUTE):
            if self.open(t):
                found[self.shown(t).date()] = t + MINUTE
        return found


def at(text: str, zone: str = "UTC") -> int:
    """Milliseconds of a wall time, as ``2026-03-27 15:00``; with a trailing ``*``: the second time that it comes."""
    fold = int(text.endswith("*"))
    local = datetime.strptime(text.rstrip("*"), "%Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo(zone), fold=fold)
    return (local.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def shown(moment: int | None, zone: str = "UTC") -> str | None:
    """The wall time of a moment, without its seconds."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment / 1000, UTC).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")
