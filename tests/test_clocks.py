"""Clocks of the agreement: tables worked by hand, laws, and a second computation minute by minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.agreement import clocks
from app.agreement.clocks import Happening, Mark, Reading, State, What, compliance, next_change, read, read_all
from app.agreement.hours import DAY, HOUR, MINUTE, Calendar, Window
from app.agreement.terms import Clock, Escalation, Span, Terms
from tests.slowclock import Slow, slow
from tests.wallclock import Wall, at, shown

BERLIN = "Europe/Berlin"
NINE = ((540, 1020),)
WALLS = {
    "berlin": Wall(BERLIN, (NINE,) * 5 + ((), ())),
    "denver": Wall("America/Denver", (((480, 720), (780, 1020)),) * 5 + (((540, 600),), ())),
    "shifts": Wall("Europe/London", (((0, 150), (600, 1440)),) * 7),
}
ZONES = {"berlin": BERLIN, "denver": "America/Denver", "shifts": "Europe/London"}
CALENDARS = {
    name: Calendar(name, ZONES[name], tuple(tuple(Window(*w) for w in day) for day in wall.week))
    for name, wall in WALLS.items()
}
TOUCH = Clock(
    name="touch",
    begins="mql",
    ends="first_touch",
    within=Span(4 * HOUR),
    at_risk=75,
    remind=(HOUR,),
    escalate=(Escalation("lead"), Escalation("head", 8 * HOUR, reassign=True)),
    pause_for=("holiday", "asked to wait"),
)


def terms(*clocks_: Clock) -> Terms:
    return Terms({c.name: c for c in clocks_}, CALENDARS)


def happened(*lines: str) -> list[Happening]:
    """``2026-03-27 15:00 paused reason=holiday``, in Berlin's time."""
    found = []
    for number, line in enumerate(lines):
        day, time, what, *more = line.split(" ", 3)
        fields: dict[str, Any] = dict(m.split("=") for m in more[0].split(", ")) if more else {}
        if what == "started":
            fields.setdefault("version", "v1")
        found.append(Happening(at(f"{day} {time}", BERLIN), What(what), f"h{number}", **fields))
    return found


def reading(lines: Iterable[str], now: str, clock: Clock = TOUCH, **versions: Clock) -> Reading:
    known = {"v1": terms(clock), **{v: terms(c) for v, c in versions.items()}}
    return read(clock.name, happened(*lines), known, at(now, BERLIN), team="berlin")[-1]


START = "2026-11-27 15:00 started owner=ann"  # a Friday, two hours before closing
EARLY = ["reminder", "at_risk"]
LATE = [*EARLY, "breach", "lead"]


@pytest.mark.parametrize(
    ("lines", "now", "state", "left", "due", "alerts"),
    [
        ([], "2026-11-27 15:00", "running", 240, "2026-11-30 11:00", []),
        ([], "2026-11-28 12:00", "running", 120, "2026-11-30 11:00", []),
        ([], "2026-11-30 09:59", "running", 61, "2026-11-30 11:00", []),
        ([], "2026-11-30 10:00", "at_risk", 60, "2026-11-30 11:00", EARLY),
        ([], "2026-11-30 10:59", "at_risk", 1, "2026-11-30 11:00", EARLY),
        ([], "2026-11-30 11:00", "breached", 0, "2026-11-30 11:00", LATE),
        ([], "2026-12-01 11:00", "breached", -480, "2026-11-30 11:00", [*LATE, "head"]),
        (["2026-11-30 10:59 satisfied"], "2026-12-24 12:00", "met", 1, "2026-11-30 11:00", EARLY),
        # Done when it is due is done in time; nobody hears of a breach.
        (["2026-11-30 11:00 satisfied"], "2026-12-24 12:00", "met", 0, "2026-11-30 11:00", EARLY),
        (
            ["2026-11-30 11:01 satisfied"],
            "2026-12-24 12:00",
            "met_late",
            -1,
            "2026-11-30 11:00",
            LATE,
        ),
        (["2026-11-27 15:30 cancelled reason=merged"], "2026-12-24 12:00", "cancelled", 210, "2026-11-30 11:00", []),
        # While it stands, nobody knows when it is due; afterwards all of it comes later.
        (["2026-11-27 16:00 paused reason=holiday"], "2026-12-24 12:00", "paused", 180, None, []),
        (
            ["2026-11-27 16:00 paused reason=holiday", "2026-12-02 09:00 resumed"],
            "2026-12-02 10:00",
            "running",
            120,
            "2026-12-02 12:00",
            [],
        ),
        # Two reasons: it goes on when neither holds.
        (
            [
                "2026-11-27 16:00 paused reason=holiday",
                "2026-11-30 09:00 paused reason=asked to wait",
                "2026-12-01 09:00 resumed reason=holiday",
            ],
            "2026-12-01 12:00",
            "paused",
            180,
            None,
            [],
        ),
        # A reason that nobody agreed on does not stop it.
        (["2026-11-27 16:00 paused reason=busy"], "2026-11-30 10:00", "at_risk", 60, "2026-11-30 11:00", EARLY),
        # A pause after the breach does not make it better.
        (
            ["2026-11-30 12:00 paused reason=holiday"],
            "2026-12-24 12:00",
            "breached",
            -60,
            "2026-11-30 11:00",
            LATE,
        ),
        # To Denver at 16:00 in Berlin, 08:00 there, with an hour on the clock: three more hours of theirs.
        (["2026-11-27 16:00 reassigned calendar=denver"], "2026-11-27 17:00", "running", 120, "2026-11-27 19:00", []),
        (["2026-11-27 16:00 calendar calendar=denver"], "2026-11-27 17:00", "running", 120, "2026-11-27 19:00", []),
    ],
)  # fmt: skip
def test_a_clock_stands(lines: list[str], now: str, state: str, left: int, due: str | None, alerts: list[str]) -> None:
    """Four business hours from Friday 15:00, at risk after three quarters, a reminder an hour before."""
    found = reading([START, *lines], now)
    assert (state, left * MINUTE, due) == (found.state, found.remaining, shown(found.due_at, BERLIN))
    assert alerts == [a.to if a.to is not None else a.mark for a in found.alerts]


def test_alerts_have_their_moments() -> None:
    """Who hears of what, and when; the one who had the lead then."""
    lines = [START, "2026-11-30 12:00 reassigned owner=bob"]
    found = reading(lines, "2026-12-01 11:00")
    assert [(shown(a.at, BERLIN), a.mark, a.owner, a.to, a.reassign) for a in found.alerts] == [
        ("2026-11-30 10:00", Mark.REMINDER, "ann", None, False),
        ("2026-11-30 10:00", Mark.AT_RISK, "ann", None, False),
        ("2026-11-30 11:00", Mark.BREACH, "ann", None, False),
        ("2026-11-30 11:00", Mark.ESCALATION, "ann", "lead", False),
        ("2026-12-01 11:00", Mark.ESCALATION, "bob", "head", True),
    ]
    early = reading(lines, "2026-11-27 16:30")
    assert [(a.at, a.mark, a.to) for a in early.upcoming] == [(a.at, a.mark, a.to) for a in found.alerts]
    assert early.next_at == at("2026-11-30 10:00", BERLIN)
    assert found.next_at is None


def test_a_restart_gives_time_and_forgets_no_breach() -> None:
    """A new owner has the whole time; what was breached before stays breached."""
    clock = replace(TOUCH, on_reassign="restart")
    lines = [START, "2026-11-30 12:00 reassigned owner=bob"]
    found = reading(lines, "2026-11-30 13:00", clock)
    assert (found.state, found.remaining, found.owner) == (State.RUNNING, 3 * HOUR, "bob")
    assert (shown(found.started_at, BERLIN), shown(found.breached_at, BERLIN)) == (
        "2026-11-27 15:00",
        "2026-11-30 11:00",
    )
    done = reading([*lines, "2026-11-30 13:30 satisfied"], "2026-12-24 12:00", clock)
    assert (done.state, done.kept) == (State.MET_LATE, False)
    in_time = reading(
        [START, "2026-11-27 16:00 reassigned owner=bob", "2026-11-30 11:30 satisfied"], "2026-12-24 12:00", clock
    )
    assert (in_time.state, in_time.kept) == (State.MET, True)


@pytest.mark.parametrize(
    ("adopt", "hours", "now", "state", "left", "version"),
    [
        ("keep", 2, "2026-11-30 10:30", "at_risk", 30, "v1"),
        ("adopt", 2, "2026-11-30 09:30", "breached", -30, "v2"),  # in force on Monday 09:00 with two hours on the clock
        ("adopt", 3, "2026-11-30 09:30", "at_risk", 30, "v2"),
        ("adopt", 8, "2026-11-30 10:30", "running", 270, "v2"),
    ],
)
def test_a_new_version(adopt: Any, hours: int, now: str, state: str, left: int, version: str) -> None:
    """A lead is judged by the version in force when its clock started, unless the new one says otherwise."""
    new = replace(TOUCH, within=Span(hours * HOUR), on_new_version=adopt)
    found = reading([START, "2026-11-30 09:00 version version=v2"], now, v2=new)
    assert (state, left * MINUTE, version) == (found.state, found.remaining, found.version)
    assert found.breached_at is None or found.breached_at == at("2026-11-30 09:00", BERLIN)


def test_a_new_version_undoes_no_breach() -> None:
    """Who was too late by the terms of the day stays too late."""
    new = replace(TOUCH, within=Span(40 * HOUR), on_new_version="adopt")
    found = reading([START, "2026-11-30 12:00 version version=v2"], "2026-11-30 13:00", v2=new)
    assert (found.state, found.remaining, found.version) == (State.BREACHED, -2 * HOUR, "v2")


def test_working_days_end_with_the_day() -> None:
    """Two working days from Friday noon end on Tuesday at closing; a pause moves that by the working time it took."""
    clock = replace(TOUCH, within=Span(working_days=2), remind=(8 * HOUR,))
    start = "2026-11-27 12:00 started"
    assert shown(reading([start], "2026-11-27 13:00", clock).due_at, BERLIN) == "2026-12-01 17:00"
    paused = [start, "2026-11-30 09:00 paused reason=holiday", "2026-11-30 13:00 resumed"]
    found = reading(paused, "2026-11-30 14:00", clock)
    assert (shown(found.due_at, BERLIN), found.paused) == ("2026-12-02 13:00", 4 * HOUR)
    assert [(p.reason, p.business) for p in found.pauses] == [("holiday", 4 * HOUR)]


def test_always_counts_the_night() -> None:
    """A clock that always runs knows no weekend."""
    found = reading([START], "2026-11-27 16:00", replace(TOUCH, hours="always"))
    assert (found.calendar, shown(found.due_at, BERLIN)) == ("always", "2026-11-27 19:00")


def test_rounds() -> None:
    """A lead that comes again has the clock again; each round is judged of its own, and a running one goes on."""
    lines = [
        START,
        "2026-11-27 15:20 started",  # it runs already
        "2026-11-27 15:30 satisfied",
        "2026-11-27 15:40 satisfied",  # again: nothing is left to satisfy
        "2026-12-07 09:00 started",
        "2026-12-07 14:00 satisfied",
        "2026-12-08 09:00 started",
    ]
    rounds = read("touch", happened(*lines), {"v1": terms(TOUCH)}, at("2026-12-08 10:00", BERLIN), team="berlin")
    assert [(r.round, r.state, r.elapsed, r.kept) for r in rounds] == [
        (1, State.MET, 30 * MINUTE, True),
        (2, State.MET_LATE, 5 * HOUR, False),
        (3, State.RUNNING, HOUR, None),
    ]
    assert compliance(rounds) == (1, 2)


def test_raw_time_is_by_the_wall_clock() -> None:
    """Speed is told both ways: business time without pauses, and all the time that went by."""
    found = reading([START, "2026-11-30 09:30 satisfied"], "2026-12-24 12:00")
    assert (found.elapsed, found.raw) == (150 * MINUTE, 2 * DAY + 18 * HOUR + 30 * MINUTE)


def test_several_clocks_of_a_lead() -> None:
    """Each by its own happenings and those of all; the scheduler looks when the first of them changes."""
    slower = replace(TOUCH, name="disposition", ends="disposition", within=Span(working_days=10), escalate=())
    lines = [
        "2026-11-27 15:00 started clock=touch",
        "2026-11-27 16:00 started clock=disposition",
        "2026-11-27 16:30 satisfied clock=touch",
    ]
    found = read_all(
        ["touch", "disposition", "other"],
        happened(*lines),
        {"v1": terms(TOUCH, slower)},
        at("2026-11-27 16:45", BERLIN),
        team="berlin",
    )
    assert {name: rounds[-1].state for name, rounds in found.items()} == {"touch": "met", "disposition": "running"}
    assert next_change(r for rounds in found.values() for r in rounds) == found["disposition"][-1].upcoming[0].at


def test_a_planned_end_of_a_pause_is_waited_for() -> None:
    """What lies ahead does not count yet, but a scheduler is told to look then."""
    lines = [START, "2026-11-27 16:00 paused reason=holiday", "2026-12-07 09:00 resumed reason=holiday"]
    found = reading(lines, "2026-12-01 12:00")
    assert (found.state, shown(found.next_at, BERLIN)) == (State.PAUSED, "2026-12-07 09:00")


def test_refused_pauses_are_told() -> None:
    """By id, so that both teams see who tried."""
    assert reading([START, "2026-11-27 16:00 paused reason=busy"], "2026-11-30 10:00").refused == ("h1",)


@pytest.mark.parametrize(
    ("lines", "team", "message"),
    [
        (["2026-11-27 15:00 started version=v9"], "berlin", "no version 'v9' of the agreement; there are v1"),
        (["2026-11-27 15:00 started"], "paris", "has no calendar 'paris'"),
        (["2026-11-27 15:00 started"], None, "has no calendar None"),
    ],
)
def test_names_that_mean_nothing(lines: list[str], team: str | None, message: str) -> None:
    """Are said, not guessed at."""
    with pytest.raises(LookupError, match=message):
        read("touch", happened(*lines), {"v1": terms(TOUCH)}, at("2026-11-27 16:00"), team=team)


# --- the second computation, and laws ---------------------------------------------------------------------------------

BASE = at("2026-03-27 12:00")  # before the clocks of Europe go forward; America did so before
REASONS = ("holiday", "asked to wait", "busy")


@st.composite
def clock_terms(draw: st.DrawFn) -> Clock:
    third = st.integers(1, 45).map(lambda n: n * 20 * MINUTE)
    within = draw(third.map(Span) | st.integers(1, 2).map(lambda n: Span(working_days=n)))
    return replace(
        TOUCH,
        within=within,
        at_risk=None if within.working_days else draw(st.none() | st.sampled_from([25, 50, 75])),  # in full minutes
        remind=tuple(draw(st.lists(third, max_size=2, unique=True))),
        escalate=tuple(
            Escalation(to, after)
            for after, to in draw(st.dictionaries(third, st.sampled_from("ab"), max_size=2)).items()
        ),
        on_reassign=draw(st.sampled_from(["continue", "restart"])),
        on_new_version=draw(st.sampled_from(["keep", "adopt"])),
    )


@st.composite
def lives(draw: st.DrawFn) -> tuple[dict[str, Clock], list[Happening], int]:
    """Two versions of the terms, what happened to a lead in five days, and a moment to look at it."""
    versions = {"v1": draw(clock_terms()), "v2": draw(clock_terms())}
    minutes = st.integers(0, 5 * 96).map(lambda n: n * 15) | st.integers(0, 5 * 1440)
    kinds = [What.STARTED, *What]
    happenings = [Happening(BASE, What.STARTED, "first", version="v1", owner="ann")] if draw(st.booleans()) else []
    for number in range(draw(st.integers(0, 9))):
        what = draw(st.sampled_from(kinds))
        fields: dict[str, Any] = {}
        if what in {What.STARTED, What.VERSION}:
            fields["version"] = draw(st.sampled_from(["v1", "v2"]))
        if what in {What.STARTED, What.REASSIGNED}:
            fields["owner"] = draw(st.sampled_from(["ann", "bob"]))
        if what is What.CALENDAR or (what is What.REASSIGNED and draw(st.booleans())):
            fields["calendar"] = draw(st.sampled_from(sorted(CALENDARS)))
        if what is What.PAUSED or (what is What.RESUMED and draw(st.booleans())):
            fields["reason"] = draw(st.sampled_from(REASONS))
        happenings.append(Happening(BASE + draw(minutes) * MINUTE, what, f"h{number}", **fields))
    return versions, happenings, BASE + draw(minutes) * MINUTE


def compared(found: Reading) -> Slow:
    """A reading as the second computation tells it."""
    return Slow(
        state=str(found.state),
        shown=found.elapsed,
        target=found.target,
        owner=found.owner,
        breached=found.breached_at,
        ended=found.ended_at,
        alerts=[(a.at, str(a.mark), a.planned, a.to, a.leg) for a in found.alerts],
        paused=found.paused,
        round=found.round,
    )


def fast(life: tuple[dict[str, Clock], list[Happening], int]) -> tuple[Reading, ...]:
    versions, happenings, now = life
    return read("touch", happenings, {v: terms(c) for v, c in versions.items()}, now, team="berlin")


@given(lives())
@settings(max_examples=120)
def test_minute_by_minute_comes_to_the_same(life: tuple[dict[str, Clock], list[Happening], int]) -> None:
    """State, time on the clock, every alert with its moment: over pauses, restarts, zones and new terms."""
    versions, happenings, now = life
    assert slow(happenings, versions, WALLS, now, "berlin") == [compared(r) for r in fast(life)]


def unordered(life: tuple[dict[str, Clock], list[Happening], int], seed: Any) -> bool:
    """Whether the order of arrival, or a double, changes the outcome."""
    versions, happenings, now = life
    mixed = [*happenings, *happenings[:2]]
    seed.shuffle(mixed)
    return fast(life) != fast((versions, mixed, now))


@given(lives(), st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(life: tuple[dict[str, Clock], list[Happening], int], seed: Any) -> None:
    """Shuffled, with some of them twice: the same readings."""
    assert not unordered(life, seed)


def by_moment_only(happenings: Iterable[Happening]) -> list[Happening]:
    return sorted(happenings, key=lambda h: h.at)


def as_they_come(happenings: Iterable[Happening]) -> list[Happening]:
    return list(happenings)


@pytest.mark.parametrize("order", [as_they_come, by_moment_only])
def test_a_partial_order_is_found(monkeypatch: pytest.MonkeyPatch, order: Callable[..., list[Happening]]) -> None:
    """Saboteur: an order that leaves anything open lets the outcome depend on arrival."""
    lines = [START, "2026-11-30 10:00 paused reason=holiday", "2026-11-30 10:00 resumed", "2026-11-30 12:00 satisfied"]
    life = ({"v1": TOUCH}, happened(*lines), at("2026-11-30 13:00", BERLIN))
    turned = ({"v1": TOUCH}, life[1][::-1], life[2])
    assert fast(life) == fast(turned)
    monkeypatch.setattr(clocks, "in_order", order)
    assert fast(life) != fast(turned)


@given(lives(), st.integers(0, 4 * 1440))
def test_nothing_changes_before_it_is_said_to(
    life: tuple[dict[str, Clock], list[Happening], int], minutes: int
) -> None:
    """Until ``next_at`` a reading stays as it is; at ``next_at`` it does not."""
    versions, happenings, now = life
    rounds = fast(life)
    if not rounds:
        return
    following = next_change(rounds[-1:])
    starts = [h.at for h in happenings if h.at > now and rounds[-1].ended_at is not None]
    until = min([now + minutes * MINUTE, *([following - 1] if following is not None else []), *(s - 1 for s in starts)])
    said = [(r.state, r.alerts, r.due_at, r.breached_at, r.owner) for r in rounds]
    later = fast((versions, happenings, max(now, until)))
    assert [(r.state, r.alerts, r.due_at, r.breached_at, r.owner) for r in later] == said
    if following is not None and all(h.at != following for h in happenings):
        assert len(fast((versions, happenings, following))[-1].alerts) > len(rounds[-1].alerts)


@given(lives(), st.integers(0, 1440))
def test_what_came_stays(life: tuple[dict[str, Clock], list[Happening], int], minutes: int) -> None:
    """Later readings tell all alerts of earlier ones; with no news, time on the clock never runs back."""
    versions, happenings, now = life
    known = [h for h in happenings if h.at <= now]
    before, after = (fast((versions, known, t)) for t in (now, now + minutes * MINUTE))
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert other.alerts[: len(one.alerts)] == one.alerts
        assert other.elapsed >= one.elapsed
