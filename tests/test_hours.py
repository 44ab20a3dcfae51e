"""Business hours: tables worked by hand, laws, and a second computation minute by minute by the wall clock."""

from __future__ import annotations

import struct
import zoneinfo
from datetime import date, datetime, timedelta
from importlib import resources
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from app.agreement import hours
from app.agreement.hours import ALWAYS, DAY, HOUR, MINUTE, Calendar, Holidays, OwnDay, Window
from tests.wallclock import Wall, at, shown

NINE = ((9 * 60, 17 * 60),)
OFFICE = (NINE,) * 5 + ((), ())
BERLIN, SPLIT = "Europe/Berlin", (((540, 750), (810, 1050)),) * 5 + ((), ())


def made(wall_week: tuple[tuple[tuple[int, int], ...], ...], zone: str, **more: object) -> Calendar:
    return Calendar("made", zone, tuple(tuple(Window(*w) for w in day) for day in wall_week), **more)  # type: ignore[arg-type]


CALENDARS = {
    "berlin": made(OFFICE, BERLIN, holidays=Holidays("DE", "BE")),
    "split": made(SPLIT, BERLIN, days=(OwnDay(12, 24, None, (Window(540, 720),)),)),
    "night": made((((0, 360), (1320, 1440)),) * 7, BERLIN),
    "two_am": made((((150, 600),),) * 7, BERLIN),  # begins in the hour that is skipped or comes twice
    "lisbon": made((((0, 1440),),) * 7, "Europe/Lisbon"),
    "sydney": made((((60, 240),),) * 7, "Australia/Sydney"),
    "kolkata": made(OFFICE, "Asia/Kolkata"),
    "samoa": made(OFFICE, "Pacific/Apia"),
}


@pytest.mark.parametrize(
    ("name", "start", "end", "minutes"),
    [
        ("berlin", "2026-11-27 16:00", "2026-11-30 10:00", 120),  # Friday to Monday
        ("berlin", "2026-11-28 11:00", "2026-11-29 23:00", 0),  # a weekend
        ("berlin", "2026-11-25 08:00", "2026-11-25 18:00", 480),
        ("berlin", "2026-11-25 17:00", "2026-11-26 09:00", 0),  # from closing to opening
        ("berlin", "2026-04-02 16:00", "2026-04-07 10:00", 120),  # over Good Friday and Easter Monday
        ("berlin", "2027-03-07 12:00", "2027-03-09 09:30", 30),  # Berlin alone is free on March 8
        ("berlin", "2026-12-31 16:00", "2027-01-04 09:15", 75),  # over New Year
        ("berlin", "2026-11-30 10:00", "2026-11-27 16:00", -120),  # backwards
        ("split", "2026-11-25 12:00", "2026-11-25 14:00", 60),  # the break does not count
        ("split", "2026-12-24 11:00", "2026-12-25 10:00", 120),  # half a day; the 25th is a usual Friday here
        ("night", "2026-03-28 21:00", "2026-03-29 12:00", 7 * 60),  # clocks go forward: 2 + 5 hours
        ("night", "2026-10-24 21:00", "2026-10-25 12:00", 9 * 60),  # and back: 2 + 7
        ("two_am", "2026-03-29 00:00", "2026-03-29 12:00", 7 * 60),  # no 02:30: from 03:00 on
        ("two_am", "2026-10-25 00:00", "2026-10-25 12:00", 8 * 60),  # 02:30 twice: half an hour, then from 02:30 on
        ("lisbon", "2026-03-29 00:00", "2026-03-30 00:00", 23 * 60),
        ("lisbon", "2026-10-25 00:00", "2026-10-26 00:00", 25 * 60),
        ("sydney", "2026-10-04 00:00", "2026-10-04 12:00", 2 * 60),  # their spring
        ("sydney", "2026-04-05 00:00", "2026-04-05 12:00", 4 * 60),  # their autumn
        ("kolkata", "2026-11-25 09:00", "2026-11-25 09:30", 30),
        ("samoa", "2011-12-29 16:00", "2012-01-02 10:00", 120),  # Friday the 30th never was
    ],
)
def test_business_time_between(name: str, start: str, end: str, minutes: int) -> None:
    """Worked by hand, in the zone of the calendar."""
    calendar = CALENDARS[name]
    assert minutes * MINUTE == calendar.elapsed(at(start, calendar.zone), at(end, calendar.zone))


@pytest.mark.parametrize(
    ("name", "start", "minutes", "due"),
    [
        ("berlin", "2026-11-27 16:00", 60, "2026-11-27 17:00"),  # the closing, not Monday's opening
        ("berlin", "2026-11-27 16:00", 61, "2026-11-30 09:01"),
        ("berlin", "2026-11-28 11:00", 60, "2026-11-30 10:00"),
        ("berlin", "2026-04-02 16:00", 120, "2026-04-07 10:00"),
        ("berlin", "2026-11-28 11:00", 0, "2026-11-28 11:00"),
        ("berlin", "2026-11-30 10:00", -120, "2026-11-27 16:00"),
        ("berlin", "2026-11-30 10:00", -60, "2026-11-30 09:00"),  # the last moment: Monday's opening
        ("split", "2026-12-24 11:00", 120, "2026-12-25 10:00"),
        ("night", "2026-03-28 22:00", 7 * 60, "2026-03-29 06:00"),
        ("two_am", "2026-03-29 00:00", 1, "2026-03-29 03:01"),
    ],
)
def test_due_moments(name: str, start: str, minutes: int, due: str) -> None:
    """Worked by hand, in the zone of the calendar."""
    calendar = CALENDARS[name]
    found = calendar.add(at(start, calendar.zone), minutes * MINUTE)
    assert due == shown(found, calendar.zone)
    assert minutes * MINUTE == calendar.elapsed(at(start, calendar.zone), found)


@pytest.mark.parametrize(
    ("name", "start", "days", "closing"),
    [
        ("berlin", "2026-11-25 10:00", 1, "2026-11-26 17:00"),
        ("berlin", "2026-11-25 22:00", 1, "2026-11-26 17:00"),  # after work is still that day
        ("berlin", "2026-11-27 10:00", 1, "2026-11-30 17:00"),  # Friday
        ("berlin", "2026-11-28 10:00", 1, "2026-11-30 17:00"),  # Saturday
        ("berlin", "2026-04-01 10:00", 3, "2026-04-08 17:00"),  # over Easter
        ("berlin", "2026-12-30 10:00", 2, "2027-01-04 17:00"),
        ("berlin", "2026-11-25 10:00", 0, "2026-11-25 17:00"),
        ("berlin", "2026-11-30 10:00", -1, "2026-11-27 17:00"),
        ("berlin", "2027-01-04 10:00", -2, "2026-12-30 17:00"),
        ("split", "2026-12-23 10:00", 1, "2026-12-24 12:00"),  # half a day is a working day
        ("samoa", "2011-12-29 10:00", 1, "2012-01-02 17:00"),
    ],
)
def test_working_days(name: str, start: str, days: int, closing: str) -> None:
    """The day itself is day 0, whatever the hour; and counting comes to the same."""
    calendar = CALENDARS[name]
    moment = at(start, calendar.zone)
    found = calendar.closing(moment, days)
    assert closing == shown(found, calendar.zone)
    assert days == calendar.working_days(moment, found)


def test_the_day_itself_may_be_free() -> None:
    """Nothing closes on a day without work."""
    with pytest.raises(ValueError, match="no working day"):
        CALENDARS["berlin"].closing(at("2026-11-28 10:00"), 0)


@pytest.mark.parametrize(
    ("day", "windows", "why"),
    [
        (date(2026, 11, 25), "09:00-17:00", "week"),
        (date(2026, 4, 3), "", "Good Friday"),
        (date(2026, 4, 6), "09:00-17:00", "own day"),  # usual, though a holiday
        (date(2026, 12, 24), "09:00-12:00", "own day"),
        (date(2027, 12, 24), "", "own day"),  # the year's own goes before every year's
    ],
)
def test_a_day_says_why(day: date, windows: str, why: str) -> None:
    """Own days before holidays before the week, one year before all."""
    own = (OwnDay(12, 24, None, (Window(540, 720),)), OwnDay(12, 24, 2027, ()), OwnDay(4, 6, 2026, None))
    calendar = made(OFFICE, BERLIN, holidays=Holidays("DE"), days=own)
    found = calendar.windows_of(day)
    assert (windows, why) == (", ".join(map(str, found[0])), found[1])
    assert calendar.works_on(day) == bool(windows)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Window(22 * 60, 6 * 60), "22:00-06:00; write one that crosses midnight as two"),
        (lambda: Window(540, 540), "ends after it starts"),
        (lambda: Window(540, 1441), "within one day"),
        (lambda: made(((),) * 7, BERLIN), "nothing would ever be due"),
        (lambda: made((NINE,), BERLIN), "a week has 7 days, not 1"),
        (lambda: made((((540, 720), (700, 800)), *OFFICE[1:]), BERLIN), "overlap"),
        (lambda: made(OFFICE, "Europe/Nowhere"), "IANA"),
        (lambda: made(OFFICE, "Europe"), "IANA"),
        (lambda: made(OFFICE, "../etc/passwd"), "IANA"),
        (lambda: Holidays("XX"), "no holidays are known for country 'XX'"),
        (lambda: Holidays("DE", "XX"), "there are BB, BE"),
        (lambda: ALWAYS.elapsed(0, 1), "1980 to 2099, not for 19"),
        (lambda: ALWAYS.add(at("2099-12-31 23:00"), 2 * HOUR), "not for 2100"),
    ],
)
def test_what_cannot_be_is_refused(make: object, message: str) -> None:
    """With what would be valid."""
    with pytest.raises(ValueError, match="(?s)" + message.replace("(", r"\(")):
        make()  # type: ignore[operator]


def test_the_edges_of_what_is_known() -> None:
    """The first and the last moment of the years that are known have an answer."""
    first, last = at("1980-01-01 00:00"), at("2099-12-31 23:59")
    assert last - first == ALWAYS.elapsed(first, last)


# --- the second computation -------------------------------------------------------------------------------------------

ZONES = [
    *("Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/St_Johns"),
    *("America/Sao_Paulo", "America/Santiago", "America/Havana", "Africa/Casablanca", "Africa/Cairo"),
    *("Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran", "Asia/Beirut", "Asia/Gaza"),
    *("Australia/Lord_Howe", "Australia/Adelaide", "Pacific/Chatham", "Pacific/Apia", "Pacific/Kiritimati"),
    *("Antarctica/Troll", "UTC"),
]
YEARS = (1985, 2060)


def changes(zone: str) -> list[int]:
    """Full hours near which the offset changes, found by looking at every day."""
    found, info = [], ZoneInfo(zone)
    moment = datetime(YEARS[0], 1, 2, tzinfo=zoneinfo.ZoneInfo("UTC"))
    before = moment.astimezone(info).utcoffset()
    while moment.year < YEARS[1]:
        moment += timedelta(days=1)
        offset = moment.astimezone(info).utcoffset()
        if offset != before:
            found.append(int(moment.timestamp()) * 1000)
        before = offset
    return found


CHANGES = {zone: changes(zone) for zone in ("UTC", *ZONES)}


@st.composite
def windows(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    edges = sorted(draw(st.lists(st.integers(0, 96), min_size=0, max_size=6, unique=True)))
    edges = edges[: len(edges) // 2 * 2]
    return tuple((15 * a, 15 * b) for a, b in zip(edges[::2], edges[1::2], strict=True))


@st.composite
def walls(draw: st.DrawFn) -> tuple[Wall, Calendar, int]:
    """A calendar in both computations, and a full minute to look at: often one near a change of the offset."""
    zone = draw(st.sampled_from(ZONES))
    week = tuple(draw(st.lists(windows(), min_size=7, max_size=7)))
    if not any(week):
        week = (*week[:-1], ((0, 1440),))
    near = CHANGES[zone]
    if near and draw(st.integers(0, 3)):
        moment = draw(st.sampled_from(near)) + draw(st.integers(-3 * 1440, 1440)) * MINUTE
    else:
        moment = at("1990-01-01 00:00") + draw(st.integers(0, 60 * 365 * 1440)) * MINUTE
    day = datetime.fromtimestamp(moment / 1000, ZoneInfo(zone)).date()
    own = draw(st.dictionaries(st.integers(-1, 4), st.none() | windows(), max_size=2))
    days = {day + timedelta(days=n): w for n, w in own.items()}
    country, part = draw(st.sampled_from([(None, None), ("DE", "BY"), ("US", None), ("IN", None)]))
    wall = Wall(zone, week, {(d.year, d.month, d.day): w for d, w in days.items()}, country, part)
    calendar = made(
        week,
        zone,
        holidays=None if country is None else Holidays(country, part),
        days=tuple(
            OwnDay(d.month, d.day, d.year, None if w is None else tuple(Window(*x) for x in w)) for d, w in days.items()
        ),
    )
    return wall, calendar, moment


def differences(wall: Wall, calendar: Calendar, moment: int, minutes: int) -> list[str]:
    """Where the two computations disagree within some minutes from a moment."""
    end = moment + minutes * MINUTE
    slow = wall.elapsed(moment, end)
    found = []
    if calendar.elapsed(moment, end) != slow:
        found.append(f"elapsed: {slow} by the wall clock")
    if slow and calendar.add(moment, slow) != wall.add(moment, slow):
        found.append("add")
    for t in range(moment, end + 1, 47 * MINUTE):
        if calendar.is_open(t) != wall.open(t) or calendar.elapsed(moment, t) != wall.elapsed(moment, t):
            found.append(f"at {t}")
    return found


@given(walls(), st.integers(0, 3 * 1440))
@settings(max_examples=150)
def test_minute_by_minute_comes_to_the_same(found: tuple[Wall, Calendar, int], minutes: int) -> None:
    """Over zones, changes of the clock, holidays, own days: the fast way and the slow one agree."""
    assert differences(*found, minutes) == []


@given(walls(), st.integers(1, 5))
@settings(max_examples=40)
def test_working_days_by_the_wall_clock(found: tuple[Wall, Calendar, int], days: int) -> None:
    """Which days have any work, and when each of them closes."""
    wall, calendar, moment = found
    first = wall.shown(moment).date()
    worked = wall.worked(moment - 2 * DAY, moment + 9 * DAY)
    later = [d for d in sorted(worked) if first < d < first + timedelta(days=7)]
    assert [calendar.works_on(d) for d in later] == [True] * len(later)
    if len(later) >= days:
        assert calendar.closing(moment, days) == worked[later[days - 1]]
        assert calendar.working_days(moment, worked[later[days - 1]] - 1) == days


def a_day_has_24_hours(zone: ZoneInfo, moment: int) -> int:
    """The offset of the year's beginning, all year: how a whole data warehouse once counted."""
    start = datetime.fromtimestamp(moment // 1000, zone).replace(month=1, day=10, hour=12)
    shift = start.utcoffset()
    assert shift is not None
    return shift // timedelta(milliseconds=1)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns"])
def test_a_fixed_offset_is_found(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """Saboteur: without the changes of the clock the two computations part."""
    week = (((60, 240), (540, 1020)),) * 7
    moments = [t for t in CHANGES[zone] if at("2026-01-01 00:00") < t < at("2027-01-01 00:00")]
    assert moments
    assert [differences(Wall(zone, week), made(week, zone), t - DAY, 2880) for t in moments] == [[]] * len(moments)
    monkeypatch.setattr(hours, "_offset", a_day_has_24_hours)
    assert any(differences(Wall(zone, week), made(week, zone), t - DAY, 2880) for t in moments)


def test_a_forgotten_holiday_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: without holidays the two computations part."""
    wall = Wall(BERLIN, OFFICE, None, "DE", "BE")
    monkeypatch.setattr(Holidays, "of", lambda self, year: {})
    assert differences(wall, made(OFFICE, BERLIN, holidays=Holidays("DE", "BE")), at("2026-04-02 00:00"), 2880)


# --- laws -------------------------------------------------------------------------------------------------------------

MOMENTS = st.integers(at("1985-01-01 00:00"), at("2055-01-01 00:00"))
SHORT = st.integers(0, 400 * DAY)


@given(st.sampled_from(sorted(CALENDARS)), MOMENTS, SHORT, SHORT)
@example("lisbon", at("2026-10-25 00:00"), DAY, DAY)
def test_time_adds_up(name: str, a: int, ab: int, bc: int) -> None:
    """Additive, never negative forwards, never more than real time, the opposite backwards."""
    calendar = CALENDARS[name]
    b, c = a + ab, a + ab + bc
    assert calendar.elapsed(a, c) == calendar.elapsed(a, b) + calendar.elapsed(b, c)
    assert 0 <= calendar.elapsed(a, b) <= ab
    assert calendar.elapsed(b, a) == -calendar.elapsed(a, b)


@given(st.sampled_from(sorted(CALENDARS)), MOMENTS, st.integers(1, 5_000 * HOUR))
def test_adding_is_the_inverse(name: str, moment: int, duration: int) -> None:
    """The due moment has exactly so much business time before it, and no earlier one has; backwards no later one."""
    calendar = CALENDARS[name]
    due = calendar.add(moment, duration)
    assert duration == calendar.elapsed(moment, due)
    assert calendar.elapsed(moment, due - 1) == duration - 1
    since = calendar.add(moment, -duration)
    assert duration == calendar.elapsed(since, moment)
    assert calendar.elapsed(since + 1, moment) == duration - 1


@given(st.sampled_from(sorted(CALENDARS)), MOMENTS, SHORT, st.integers(0, 500 * HOUR), st.integers(0, 500 * HOUR))
def test_later_and_longer_is_never_earlier(name: str, moment: int, later: int, duration: int, more: int) -> None:
    """Due moments keep the order of their starts and of their lengths; and two steps are one."""
    calendar = CALENDARS[name]
    due = calendar.add(moment, duration)
    assert due <= calendar.add(moment + later, duration)
    assert calendar.add(due, more) == calendar.add(moment, duration + more)


@given(st.sampled_from(sorted(CALENDARS)), MOMENTS, SHORT)
def test_working_days_add_up(name: str, a: int, ab: int) -> None:
    """Days between three moments add up, and the other way they are the opposite."""
    calendar = CALENDARS[name]
    b, c = a + ab, a + 2 * ab
    assert calendar.working_days(a, c) == calendar.working_days(a, b) + calendar.working_days(b, c)
    assert calendar.working_days(b, a) == -calendar.working_days(a, b)


@given(st.sampled_from(sorted(CALENDARS)), MOMENTS)
def test_opening(name: str, moment: int) -> None:
    """The next moment at which somebody works, without business time before it."""
    calendar = CALENDARS[name]
    opening = calendar.opening(moment)
    assert calendar.is_open(opening)
    assert calendar.elapsed(moment, opening) == 0
    assume(opening > moment)
    assert not calendar.is_open(moment)


def test_a_year_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many questions: as many years of work as years were asked about."""
    done = []
    real = Calendar._worked_out
    monkeypatch.setattr(Calendar, "_worked_out", lambda self, year: (done.append(year), real(self, year))[1])
    calendar = made(OFFICE, BERLIN)
    start = at("2020-06-01 00:00")
    for days in range(0, 3650, 10):
        calendar.elapsed(start, start + days * DAY)
        calendar.add(start, days * HOUR)
    assert sorted(done) == list(range(2020, 2031))


def transitions(zone: str) -> tuple[int, ...]:
    """When a zone's offset changes, from the time zone file itself (RFC 8536)."""
    for base in (*map(Path, zoneinfo.TZPATH), resources.files("tzdata") / "zoneinfo"):
        file = base.joinpath(*zone.split("/"))
        if file.is_file():
            data = file.read_bytes()
            break
    else:
        pytest.skip("no time zone files")
    leaps, times, types, chars = struct.unpack(">4l", data[28:44])
    second = 44 + times * 5 + types * 6 + chars + leaps * 8 + sum(struct.unpack(">2l", data[20:28]))
    count = struct.unpack(">l", data[second + 32 : second + 36])[0]
    return struct.unpack(f">{count}q", data[second + 44 : second + 44 + 8 * count])


def test_no_zone_changes_twice_within_the_step() -> None:
    """The search for changes looks every other day; were there two in between, it would miss both."""
    since = at("1980-01-01 00:00") // 1000
    gaps = []
    for zone in sorted(zoneinfo.available_timezones() - {"localtime"}):
        moments = [t for t in transitions(zone) if t > since]
        gaps += [(later - t, zone) for t, later in pairwise(moments)]
    assert len(gaps) > 10_000
    assert min(gaps)[0] > 6 * 86_400
