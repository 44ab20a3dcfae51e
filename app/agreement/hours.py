"""Business hours: a calendar in, business time and due moments out.  Pure: no database, no clock.

Moments are milliseconds since 1970 UTC, durations milliseconds, as everywhere inside.  **A moment is open exactly while
the wall clock of the zone shows a time within a window of its day.**  So durations are real ones: 00:00-06:00 lasts
five hours in the night when clocks go forward and seven when they go back; a window that begins in the hour that is
skipped begins when that hour is over; one that lies in the hour that comes twice is open twice.

Windows of a year are worked out once, in the order of time; every question is then a binary search (two over years).
"""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from threading import Lock
from typing import Final
from zoneinfo import ZoneInfo

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
FIRST_YEAR: Final = 1980  # before, zones hold oddities of seconds, and nobody has leads
LAST_YEAR: Final = 2099  # the holidays of later years are not known

_QUIET: Final = Lock()
_EPOCH: Final = date(1970, 1, 1).toordinal()
_YEAR_MS: Final = 31_556_952_000  # of the mean Gregorian year, for a first guess


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Open from ``start`` to before ``end``: minutes of the day by the wall clock, 1440 the midnight that ends it."""

    start: int
    end: int

    def __post_init__(self) -> None:
        """Refuse what is no part of one day."""
        if not 0 <= self.start < self.end <= 1440:
            raise ValueError(
                f"a window lies within one day and ends after it starts, not {self}; write one that crosses midnight "
                "as two: until 24:00, and from 00:00 on the next day"
            )

    def __str__(self) -> str:
        return "-".join(f"{m // 60:02}:{m % 60:02}" for m in (self.start, self.end))


@dataclass(frozen=True, slots=True)
class OwnDay:
    """A day on which other hours hold.  ``year`` None: every year.  ``windows`` None: the usual ones of its weekday,
    even on a public holiday; none at all: closed; others: a half day, or a longer one.
    """

    month: int
    day: int
    year: int | None = None
    windows: tuple[Window, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Holidays:
    """Public holidays of a country (alpha-2), and of a part of it, as the ``holidays`` package knows them.

    Raises ValueError for what it does not know, saying what it does.
    """

    country: str
    subdivision: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would only fail when somebody waits."""
        import holidays  # loaded with the first calendar that names a country: most processes hold none

        known: Mapping[str, list[str]] = holidays.list_supported_countries()
        if self.country not in known:
            raise ValueError(f"no holidays are known for country {self.country!r}; it has two capital letters")
        if self.subdivision is not None and self.subdivision not in known[self.country]:
            raise ValueError(
                f"no subdivision {self.subdivision!r} of {self.country}; there are "
                f"{', '.join(known[self.country]) if known[self.country] else 'none'}"
            )

    def of(self, year: int) -> dict[date, str]:
        """Date → name of each public holiday of a year, observed ones included.

        Where a country's are not known that far (those by the moon, mostly), the year has the ones that are.
        """
        import holidays

        with _QUIET, warnings.catch_warnings():  # which is for one thread at a time
            warnings.simplefilter("ignore", UserWarning)
            return dict(holidays.country_holidays(self.country, subdiv=self.subdivision, years=[year]))


@dataclass(frozen=True, slots=True)
class _Year:
    """One year of the zone: when it begins and ends, its open stretches, and its working days."""

    begin: int
    finish: int
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    before: tuple[int, ...]  # open time of the year before each stretch
    after: tuple[int, ...]  # the same with the stretch
    total: int
    days: tuple[int, ...]  # ordinals of days with any open time
    closings: tuple[int, ...]  # when each of them closes for good

    def at(self, moment: int) -> int:
        """Open time of the year until a moment."""
        i = bisect_right(self.starts, moment) - 1
        return 0 if i < 0 else self.before[i] + min(moment, self.ends[i]) - self.starts[i]


@dataclass(frozen=True)
class Calendar:
    """When a team works.  ``week``: the windows of Monday to Sunday, apart and in order.

    Raises ValueError for a zone that does not exist, a week without a window, or windows that overlap.
    """

    name: str
    zone: str
    week: tuple[tuple[Window, ...], ...]
    holidays: Holidays | None = None
    days: tuple[OwnDay, ...] = ()
    _years: dict[int, _Year] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a calendar by which nothing would ever be due."""
        zone_of(self.zone)
        if len(self.week) != 7:
            raise ValueError(f"a week has 7 days, not {len(self.week)}")
        if not any(self.week):
            raise ValueError("a calendar without a window: nothing would ever be due")
        for windows in (*self.week, *(d.windows for d in self.days if d.windows is not None)):
            for one, other in pairwise(windows):
                if other.start < one.end:
                    raise ValueError(f"windows {one} and {other} overlap or are not in order")

    @cached_property
    def _zone(self) -> ZoneInfo:
        return zone_of(self.zone)

    @cached_property
    def _own(self) -> Mapping[tuple[int | None, int, int], OwnDay]:
        return {(d.year, d.month, d.day): d for d in self.days}

    # --- questions ----------------------------------------------------------------------------------------------------

    def elapsed(self, a: int, b: int) -> int:
        """Business time from one moment to another; negative where ``b`` is earlier.

        Raises ValueError outside the years 1980 to 2099, as all questions do.
        """
        if b < a:
            return -self.elapsed(b, a)
        first, last = self._year_of(a), self._year_of(b)
        if first == last:
            year = self._year(first)
            return year.at(b) - year.at(a)
        start = self._year(first)
        between = sum(self._year(y).total for y in range(first + 1, last))
        return start.total - start.at(a) + between + self._year(last).at(b)

    def add(self, moment: int, duration: int) -> int:
        """The first moment by which so much business time has passed; for a negative one, the last before which.

        ``elapsed(m, add(m, d)) == d``.  An hour from Friday 16:00, where Friday ends at 17:00, is Friday 17:00.
        """
        if duration == 0:
            return moment
        number = self._year_of(moment)
        year = self._year(number)
        wanted = year.at(moment) + duration
        if duration > 0:
            while wanted > year.total:
                wanted -= year.total
                number += 1
                year = self._year(number)
            i = bisect_left(year.after, wanted)
        else:
            while wanted < 0:
                number -= 1
                year = self._year(number)
                wanted += year.total
            i = bisect_right(year.before, wanted) - 1
        return year.starts[i] + wanted - year.before[i]

    def is_open(self, moment: int) -> bool:
        """Whether somebody works at this moment; not any more at the one of closing."""
        year = self._year(self._year_of(moment))
        i = bisect_right(year.starts, moment) - 1
        return i >= 0 and moment < year.ends[i]

    def opening(self, moment: int) -> int:
        """The moment itself where it is open, else when it opens next."""
        return moment if self.is_open(moment) else self.add(moment, 1) - 1

    def day_of(self, moment: int) -> date:
        """The day that the zone's calendar shows."""
        return datetime.fromtimestamp(moment // 1000, self._zone).date()

    def midnight(self, day: date) -> int:
        """When a day of the zone begins."""
        return int(datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp()) * 1000

    def works_on(self, day: date) -> bool:
        """Whether a day has any open time.  A half day is a working day."""
        days = self._year(_checked(day.year)).days
        i = bisect_left(days, day.toordinal())
        return i < len(days) and days[i] == day.toordinal()

    def working_days(self, a: int, b: int) -> int:
        """How many working days lie after the day of ``a`` up to and with the day of ``b``; negative the other way.

        What happens on the same day, or on the free days that follow it, is 0 working days later.
        """
        first, last = self.day_of(a), self.day_of(b)
        if last < first:
            return -self.working_days(b, a)
        years = [self._year(_checked(y)).days for y in range(first.year, last.year + 1)]
        skipped = bisect_right(years[0], first.toordinal())
        return sum(len(days) for days in years[:-1]) + bisect_right(years[-1], last.toordinal()) - skipped

    def closing(self, moment: int, days: int) -> int:
        """When the ``days``-th working day after the day of a moment closes (0: that day, where it works).

        A negative number counts back: -1 is the closing of the last working day before that day.
        """
        day = self.day_of(moment)
        number = _checked(day.year)
        year = self._year(number)
        if days > 0:
            wanted = bisect_right(year.days, day.toordinal()) + days - 1
        else:
            wanted = bisect_left(year.days, day.toordinal()) + days
            if days == 0 and not self.works_on(day):
                raise ValueError(f"{day} is no working day")
        while wanted >= len(year.days):
            wanted -= len(year.days)
            number += 1
            year = self._year(number)
        while wanted < 0:
            number -= 1
            year = self._year(number)
            wanted += len(year.days)
        return year.closings[wanted]

    def windows_of(self, day: date) -> tuple[tuple[Window, ...], str]:
        """The windows of a day by the wall clock, and why these: ``week``, ``own day`` or the holiday's name."""
        return self._windows_of(day, self._holidays_of(day.year))

    # --- a year -------------------------------------------------------------------------------------------------------

    def _holidays_of(self, year: int) -> dict[date, str]:
        return {} if self.holidays is None else self.holidays.of(year)

    def _windows_of(self, day: date, public: Mapping[date, str]) -> tuple[tuple[Window, ...], str]:
        own = self._own.get((day.year, day.month, day.day))
        if own is None:
            own = self._own.get((None, day.month, day.day))
        usual = self.week[day.weekday()]
        if own is not None:
            return usual if own.windows is None else own.windows, "own day"
        if day in public:
            return (), public[day]
        return usual, "week"

    def _year_of(self, moment: int) -> int:
        guess = min(max(1970 + moment // _YEAR_MS, FIRST_YEAR), LAST_YEAR)
        while moment < self._year(guess).begin:
            guess -= 1
        while moment >= self._year(guess).finish:
            guess += 1
        return guess

    def _year(self, number: int) -> _Year:
        found = self._years.get(number)
        if found is None:
            # Two threads may both work it out; they come to the same.
            found = self._years[number] = self._worked_out(_checked(number))
        return found

    def _worked_out(self, number: int) -> _Year:
        begin, finish = (self.midnight(date(y, 1, 1)) for y in (number, number + 1))
        public = self._holidays_of(number)
        day = date(number, 1, 1)
        week = {}
        while day.year == number:
            week[day.toordinal()] = self._windows_of(day, public)[0]
            day += timedelta(days=1)
        stretches: list[list[int]] = []
        closings: dict[int, int] = {}
        for start, end, offset in _steady(self._zone, begin, finish):
            for ordinal in range((start + offset) // DAY + _EPOCH, (end + offset - 1) // DAY + _EPOCH + 1):
                base = (ordinal - _EPOCH) * DAY - offset
                for window in week.get(ordinal, ()):
                    opens, closes = max(start, base + window.start * MINUTE), min(end, base + window.end * MINUTE)
                    if opens >= closes:
                        continue
                    if stretches and stretches[-1][1] == opens:
                        stretches[-1][1] = closes
                    else:
                        stretches.append([opens, closes])
                    closings[ordinal] = closes
        before, after, total = [], [], 0
        for opens, closes in stretches:
            before.append(total)
            total += closes - opens
            after.append(total)
        days = sorted(closings)
        return _Year(
            begin,
            finish,
            starts=tuple(s[0] for s in stretches),
            ends=tuple(s[1] for s in stretches),
            before=tuple(before),
            after=tuple(after),
            total=total,
            days=tuple(days),
            closings=tuple(closings[d] for d in days),
        )


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name.  Raises ValueError for what is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; a path; a directory such as "Europe"
        raise ValueError(f"no time zone {name!r}; write its IANA name, such as Europe/Berlin") from None


def reach(moment: int) -> bool:
    """Whether business hours are known around a moment (ms), with a year to spare for the period that it lies in."""
    year = 1970 + moment // _YEAR_MS
    return FIRST_YEAR < year < LAST_YEAR


def _checked(year: int) -> int:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"business hours are known for {FIRST_YEAR} to {LAST_YEAR}, not for {year}")
    return year


def _steady(zone: ZoneInfo, begin: int, finish: int) -> Iterator[tuple[int, int, int]]:
    """(from, to, offset) of each stretch in which the offset from UTC does not change; milliseconds.

    Looks every other day and searches between: since 1980 no zone has changed twice within 6 days (its test counts).
    """
    start, offset = begin, _offset(zone, begin)
    probe = begin
    while probe < finish:
        later = min(probe + 2 * DAY, finish)
        changed = _offset(zone, later)
        if changed != offset:
            low, high = probe, later  # the offset is still the old one at low, and the new one at high
            while high - low > 1000:
                middle = (low + high) // 2000 * 1000
                if _offset(zone, middle) == offset:
                    low = middle
                else:
                    high = middle
            yield start, high, offset
            start, offset = high, changed
        probe = later
    if start < finish:
        yield start, finish, offset


def _offset(zone: ZoneInfo, moment: int) -> int:
    shift = datetime.fromtimestamp(moment // 1000, UTC).astimezone(zone).utcoffset()
    return 0 if shift is None else shift // timedelta(milliseconds=1)


ALWAYS: Final = Calendar("always", "UTC", ((Window(0, 1440),),) * 7)
"""Around the clock: for what is promised in hours of any kind."""
