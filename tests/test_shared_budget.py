"""The budget that several processes keep together: no window of the vendor's ever holds more than it allows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import httpx
import pytest
import respx
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.core.db import Database
from app.records import budgets
from app.records.budgets import Budgets
from connectors import _shared_budget
from connectors._shared_budget import SharedBudget
from connectors._slots import Slots
from connectors.contract import Limits, Rate, TryLater
from tests.client import BASE, Clock, connecting, problem

T = TypeVar("T")


class Ledger:
    """Kept in memory, by the test's clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.state = ""
        self.trips = 0
        self.away = False

    def change(self, work: Callable[[str, int], tuple[str, T]]) -> T:
        if self.away:
            raise TryLater("the ledger is away")
        self.trips += 1
        self.state, result = work(self.state, int(self.clock() * 1000))
        return result


def budget(ledger: Ledger, limits: Limits, **how: Any) -> SharedBudget:
    given = {"share": 1.0, "reserve": 0.0, "patience": 0.0, **how}
    return SharedBudget(limits, now=ledger.clock, sleep=ledger.clock.sleep, ledger=ledger, **given)


def most(times: list[float], seconds: float) -> int:
    """The fullest window of this length."""
    return max((sum(start <= t < start + seconds for t in times) for start in times), default=0)


def drive(budgets_: list[SharedBudget], clock: Clock, moves: list[tuple[int, float]], *, urgent: bool) -> list[float]:
    """Let a budget take a call where it may, then let time pass; when calls went out."""
    times = []
    for who, passes in moves:
        try:
            budgets_[who % len(budgets_)].take("", urgent=urgent)
            times.append(clock.now)
        except TryLater:
            pass
        clock.now += passes
    return times


MOVES = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.0, 0.01, 0.07, 0.3, 0.9, 4.0])), max_size=150)


@settings(max_examples=60)
@given(moves=MOVES, rate=st.sampled_from([Rate(20, 10), Rate(60, 10), Rate(3, 1), Rate(40, 2.5)]))
def test_no_window_holds_more_than_the_rate(moves: list[tuple[int, float]], rate: Rate) -> None:
    """Three processes, calls whenever they like: no window of the vendor's length holds more than the rate."""
    clock = Clock()
    ledger = Ledger(clock)
    three = [budget(ledger, Limits(rates=(rate,))) for _ in range(3)]
    times = drive(three, clock, moves, urgent=False)
    assert most(times, rate.seconds) <= rate.calls


def test_each_for_itself_is_too_much() -> None:
    """Saboteur: three processes with a ledger of their own each exceed the rate, and the count above finds it."""
    clock, rate = Clock(), Rate(20, 10)
    alone = [budget(Ledger(clock), Limits(rates=(rate,))) for _ in range(3)]
    times = drive(alone, clock, [(n, 0.01) for n in range(90)], urgent=False)
    assert most(times, rate.seconds) > 2 * rate.calls


@pytest.mark.parametrize("honest", [True, False])
def test_a_block_counts_until_it_ends(honest: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call at the end of a block's time is in the window that begins there.

    Saboteur: counted from when the block was drawn, that window holds too many.
    """
    if not honest:
        real = _shared_budget._Window.added
        broken = lambda w, kept, n, at, ttl: real(w, kept, n, at, -w.grain)  # noqa: E731
        monkeypatch.setattr(_shared_budget._Window, "added", broken)
    clock, rate = Clock(), Rate(400, 10)
    ledger = Ledger(clock)
    one, other = (budget(ledger, Limits(rates=(rate,))) for _ in range(2))
    times = drive([one], clock, [(0, 0)] * 32, urgent=False)  # blocks of 1, 2, 4, 8, 16 and the first of 20
    times += drive([other], clock, [(0, 0)] * 400, urgent=False)
    clock.now += 0.49
    times += drive([one], clock, [(0, 0)] * 19, urgent=False)
    clock.now += 9.8
    times += drive([other], clock, [(0, 0)] * 400, urgent=False)
    assert (most(times, rate.seconds) <= rate.calls) is honest


@pytest.mark.parametrize("rate", [Rate(80, 10), Rate(400, 10), Rate(5, 1), Rate(1000, 100)])
def test_nearly_all_of_the_rate_is_used(rate: Rate) -> None:
    """What blocks cost is about a twentieth of the rate, and a round trip serves several calls where there are many."""
    clock = Clock()
    ledger = Ledger(clock)
    two = [budget(ledger, Limits(rates=(rate,)), patience=1e9) for _ in range(2)]
    began, calls = clock.now, rate.calls * 10
    for n in range(calls):
        two[n % 2].take("", urgent=False)
    windows = (clock.now - began) / rate.seconds
    assert windows < 10 * 1.12
    if rate.calls >= 80:
        assert ledger.trips < calls * 0.75


def test_bursts_need_few_round_trips() -> None:
    """A process that makes many calls at once draws larger and larger blocks."""
    clock = Clock()
    ledger = Ledger(clock)
    one = budget(ledger, Limits(rates=(Rate(2000, 10),)))
    for _ in range(1000):
        one.take("", urgent=False)
    assert ledger.trips < 20


def test_what_is_not_used_is_given_back() -> None:
    """A block that ran out of time costs the others nothing once its holder is back."""
    clock = Clock()
    ledger = Ledger(clock)
    limits = Limits(rates=(Rate(100, 10),))
    one, other = budget(ledger, limits), budget(ledger, limits)
    for _ in range(4):
        one.take("", urgent=False)  # blocks of 1, 2, 4: three are left
    clock.now += 2
    one.take("", urgent=False)
    assert drive([other], clock, [(0, 0)] * 120, urgent=False) == [clock.now] * 95


def test_urgent_calls_keep_their_reserve() -> None:
    """Where the ordinary calls of all processes are used up, urgent ones of each still go out; never more than all."""
    clock = Clock()
    ledger = Ledger(clock)
    two = [budget(ledger, Limits(rates=(Rate(20, 10),)), reserve=0.2) for _ in range(2)]
    assert len(drive(two, clock, [(n, 0) for n in range(40)], urgent=False)) == 16
    assert len(drive(two, clock, [(n, 0) for n in range(40)], urgent=True)) == 4


def test_a_family_has_its_narrower_rate() -> None:
    """Searches wait for the searches of all, and count for all; a family without a rate is one of all."""
    clock = Clock()
    ledger = Ledger(clock)
    limits = Limits(rates=(Rate(10, 10),), keys={"search": (Rate(3, 1),)})
    two = [budget(ledger, limits) for _ in range(2)]

    def taken(family: str) -> int:
        went = 0
        for n in range(20):
            try:
                two[n % 2].take(family, urgent=False)
                went += 1
            except TryLater:
                continue
        return went

    assert (taken("search"), taken("unknown"), taken("")) == (3, 7, 0)


def test_the_vendors_word_to_wait_stops_all() -> None:
    """Retry-After at one process: the others make no call either, but for what they had drawn; all go on afterwards."""
    clock = Clock()
    ledger = Ledger(clock)
    three = [budget(ledger, Limits(rates=(Rate(100, 10),))) for _ in range(3)]
    three[0].pause(timedelta(seconds=40))
    for one in three:
        with pytest.raises(TryLater) as caught:
            one.take("", urgent=True)
        assert caught.value.after == timedelta(seconds=40) == one.paused_for
    clock.now += 40.001
    for one in three:
        one.take("", urgent=False)


def test_without_a_rate_the_vendors_word_still_counts() -> None:
    """A vendor that publishes none is asked for once a second whether it wants all to wait."""
    clock = Clock()
    ledger = Ledger(clock)
    one, other = budget(ledger, Limits()), budget(ledger, Limits())
    for _ in range(500):
        one.take("", urgent=False)
    assert ledger.trips == 1
    other.pause(timedelta(seconds=30))
    clock.now += 1
    with pytest.raises(TryLater):
        one.take("", urgent=False)


def test_who_shares_an_account_is_known() -> None:
    """By who drew calls of late; who makes none any more is forgotten."""
    clock = Clock()
    ledger = Ledger(clock)
    three = [budget(ledger, Limits(rates=(Rate(100, 10),))) for _ in range(3)]
    for one in [*three, *three]:
        clock.now += 1
        one.take("", urgent=False)
    assert [one.sharers for one in three] == [3, 3, 3]
    clock.now += 61
    three[0].take("", urgent=False)
    assert three[0].sharers == 1


@pytest.mark.parametrize(("most", "sharers", "slots"), [(8, 1, 8), (8, 3, 2), (8, 9, 1), (0, 1, 1)])
def test_calls_at_a_time_are_divided(most: int, sharers: int, slots: int) -> None:
    """Each process has its part of what the vendor allows at a time, one at least; a slot given back is free."""
    mine = Slots(most, lambda: sharers)
    assert [mine.acquire(0) for _ in range(slots + 1)] == [True] * slots + [False]
    mine.release()
    assert mine.acquire(0)


def test_a_ledger_that_is_away_stops_calls() -> None:
    """Uncounted calls are not made; a pause is kept by the process that heard it."""
    clock = Clock()
    ledger = Ledger(clock)
    ledger.away = True
    one = budget(ledger, Limits(rates=(Rate(10, 1),)))
    with pytest.raises(TryLater):
        one.take("", urgent=True)
    one.pause(timedelta(seconds=5))
    assert one.paused_for == timedelta(seconds=5)


def test_a_clock_that_is_set_back_stops_nobody_for_long() -> None:
    """An hour back is not an hour of silence, and no more than the rate either."""
    clock = Clock()
    clock.now = 10_000.0
    ledger = Ledger(clock)
    limits = Limits(rates=(Rate(20, 10),))
    assert len(drive([budget(ledger, limits)], clock, [(0, 0)] * 30, urgent=False)) == 20
    clock.now -= 3600
    late = budget(ledger, limits)
    assert drive([late], clock, [(0, 0)], urgent=False) == []
    clock.now += 12
    assert len(drive([late], clock, [(0, 0)] * 30, urgent=False)) == 20


def test_a_client_counts_with_the_ledger(database: Database) -> None:
    """Two clients on one database share the rate; what is taken can be looked at."""
    clock, api = Clock(), respx.MockRouter(assert_all_called=False)
    api.get(f"{BASE}/x").respond(200)
    api.get(f"{BASE}/wait").mock(side_effect=[httpx.Response(429, headers={"retry-after": "60"})])
    how = {"limits": Limits(rates=(Rate(10, 3600),)), "share": 1.0, "reserve": 0.0, "patience": 0}
    one, other = (connecting(clock, api)(ledger=Budgets(database, "acme"), **how) for _ in range(2))
    for n in range(10):
        (one, other)[n % 2].send("GET", "/x")
    for http in (one, other):
        assert isinstance(problem(lambda: http.send("GET", "/x")), TryLater)  # noqa: B023 - called at once
    with database.read() as db:
        (standing,) = budgets.standings(db)
    assert [(u.family, u.seconds, u.calls) for u in standing.used if u.lane == "all"] == [("", 3600, 10)]
    assert (standing.connection, standing.closed_until) == ("acme", None)


def test_one_connections_calls_are_no_others(database: Database) -> None:
    """Each connection has a row, and rates, of its own."""
    clock, limits = Clock(), Limits(rates=(Rate(1, 3600),))
    for name in ("a", "b"):
        ledger = Budgets(database, name)
        given: dict[str, Any] = {"share": 1.0, "reserve": 0.0, "patience": 0.0, "now": clock, "sleep": clock.sleep}
        one = SharedBudget(limits, ledger=ledger, **given)
        one.take("", urgent=False)
        with pytest.raises(TryLater):
            one.take("", urgent=False)


def test_a_database_that_is_away_is_a_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is the connector's kind of error, so that no row is believed written, or lost."""
    monkeypatch.setattr(budgets, "_LOCKED", budgets._LOCKED.with_only_columns(text("no_such_column")))
    monkeypatch.setattr(budgets, "_ROW", budgets._ROW.with_only_columns(text("no_such_column")))
    with pytest.raises(TryLater, match="cannot be read"):
        Budgets(database, "a").change(lambda state, _now: (state, None))
