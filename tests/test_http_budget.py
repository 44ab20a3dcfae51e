"""The shared client: how often it calls, and when it stops calling."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest
import respx

from connectors._http import urgently
from connectors.contract import Limits, Problem, Rate, TryLater
from tests.client import BASE, Clock, Connect, connecting, problem


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api() -> respx.MockRouter:
    return respx.MockRouter(assert_all_called=False)


@pytest.fixture
def connect(clock: Clock, api: respx.MockRouter) -> Connect:
    return connecting(clock, api)


# --- budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "share", "reserve", "at_once"),
    [
        ((Rate(100, 10),), 0.8, 0.1, 72),
        ((Rate(100, 10),), 1.0, 0.0, 100),
        ((Rate(100, 10), Rate(30, 60)), 1.0, 0.0, 30),
        ((Rate(5, 1),), 0.8, 0.0, 4),
        ((Rate(1, 1),), 0.5, 0.0, 1),
        ((Rate(1_000_000, 86_400), Rate(10, 1)), 1.0, 0.0, 10),
    ],
)
def test_no_more_than_our_share_goes_out_at_once(
    rates: tuple[Rate, ...],
    share: float,
    reserve: float,
    at_once: int,
    api: respx.MockRouter,
    connect: Connect,
    clock: Clock,
) -> None:
    """The share of the narrowest window, less what is kept for urgent calls; then TryLater, with the wait."""
    route = api.get(f"{BASE}/x").respond(200)
    http = connect(limits=Limits(rates=rates), share=share, reserve=reserve, patience=0)
    for _ in range(at_once):
        http.send("GET", "/x")
    error = problem(lambda: http.send("GET", "/x"))
    assert isinstance(error, TryLater)
    assert error.after is not None
    assert error.after > timedelta(0)
    assert route.call_count == at_once
    clock.now += error.after.total_seconds()
    http.send("GET", "/x")


@pytest.mark.parametrize("rate", [Rate(5, 1), Rate(1, 1), Rate(7, 2.5), Rate(40, 10)])
def test_no_window_ever_holds_more_than_the_rate(
    rate: Rate, api: respx.MockRouter, connect: Connect, clock: Clock
) -> None:
    """However the calls fall, any window of the vendor's length holds at most our share."""
    times: list[float] = []

    def note(_: httpx.Request) -> httpx.Response:
        times.append(clock.now)
        return httpx.Response(200)

    api.get(f"{BASE}/x").mock(side_effect=note)
    http = connect(limits=Limits(rates=(rate,)), share=0.8, reserve=0.0, patience=60)
    for n in range(100):
        http.send("GET", "/x")
        clock.now += 0.013 * (n % 7)
    for start in times:
        assert sum(start <= t < start + rate.seconds for t in times) <= max(1, rate.calls * 0.8)
    assert times[-1] - times[0] < 110 * rate.seconds / (rate.calls * 0.8), "slower than the share allows"


def test_urgent_calls_have_a_part_of_their_own(api: respx.MockRouter, connect: Connect) -> None:
    """Where ordinary calls are used up, urgent ones still go out, up to the whole share."""
    api.get(f"{BASE}/x").respond(200)
    http = connect(limits=Limits(rates=(Rate(20, 10),)), share=1.0, reserve=0.2, patience=0)
    for _ in range(16):
        http.send("GET", "/x")
    problem(lambda: http.send("GET", "/x"))
    http.send("GET", "/x", urgent=True)
    with urgently():
        for _ in range(3):
            http.send("GET", "/x")
        problem(lambda: http.send("GET", "/x"))
    problem(lambda: http.send("GET", "/x", urgent=True))


def test_urgent_calls_count_for_all(api: respx.MockRouter, connect: Connect) -> None:
    """Both kinds together never exceed the share."""
    api.get(f"{BASE}/x").respond(200)
    http = connect(limits=Limits(rates=(Rate(20, 10),)), share=1.0, reserve=0.2, patience=0)
    for _ in range(20):
        http.send("GET", "/x", urgent=True)
    problem(lambda: http.send("GET", "/x"))


def test_a_family_has_its_narrower_rate(api: respx.MockRouter, connect: Connect) -> None:
    """Searches wait for searches, all else goes on; and searches count for all."""
    api.get(f"{BASE}/x").respond(200)
    limits = Limits(rates=(Rate(10, 10),), keys={"search": (Rate(3, 1),)})
    http = connect(limits=limits, share=1.0, reserve=0.0, patience=0)
    for _ in range(3):
        http.send("GET", "/x", family="search")
    problem(lambda: http.send("GET", "/x", family="search"))
    for _ in range(7):
        http.send("GET", "/x", family="unknown")
    problem(lambda: http.send("GET", "/x"))


@pytest.mark.parametrize(("patience", "waits"), [(2.0, True), (0.5, False)])
def test_a_short_wait_is_waited_for(
    patience: float, waits: bool, api: respx.MockRouter, connect: Connect, clock: Clock
) -> None:
    """Up to ``patience`` seconds the call is held back, beyond them it is put off."""
    route = api.get(f"{BASE}/x").respond(200)
    http = connect(limits=Limits(rates=(Rate(1, 1),)), share=1.0, reserve=0.0, patience=patience)
    http.send("GET", "/x")
    if waits:
        http.send("GET", "/x")
        assert sum(clock.slept) == pytest.approx(1, abs=0.01)
    else:
        problem(lambda: http.send("GET", "/x"))
    assert route.call_count == (2 if waits else 1)


def test_waiting_ends_even_where_time_stands_still(api: respx.MockRouter, connect: Connect) -> None:
    """A sleep that does not sleep leads to TryLater, not to an endless loop."""
    api.get(f"{BASE}/x").respond(200)
    http = connect(limits=Limits(rates=(Rate(1, 1),)), share=1.0, sleep=lambda _: None)
    http.send("GET", "/x")
    assert isinstance(problem(lambda: http.send("GET", "/x")), TryLater)


def test_each_try_counts(api: respx.MockRouter, connect: Connect) -> None:
    """The vendor counts tries, so do we: the third finds the budget empty."""
    route = api.get(f"{BASE}/x").respond(503)
    http = connect(limits=Limits(rates=(Rate(2, 60),)), share=1.0, reserve=0.0, patience=0)
    error = problem(lambda: http.send("GET", "/x"))
    assert route.call_count == 2
    assert isinstance(error, TryLater)
    assert "budget" in str(error)


def test_no_more_calls_at_once_than_allowed(connect: Connect) -> None:
    """The next one waits for a place; what does not get one in time is put off."""
    inside, go = threading.Semaphore(0), threading.Event()

    def handler(_: httpx.Request) -> httpx.Response:
        inside.release()
        assert go.wait(20)
        return httpx.Response(200)

    http = connect(limits=Limits(concurrency=2), transport=httpx.MockTransport(handler), patience=0.01)
    threads = [threading.Thread(target=http.send, args=("GET", "/x")) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=20)
    assert inside.acquire(timeout=20)
    error = problem(lambda: http.send("GET", "/x"))
    go.set()
    for thread in threads:
        thread.join(20)
    assert "under way" in str(error)
    assert http.send("GET", "/x").status_code == 200


@pytest.mark.parametrize(("share", "reserve"), [(0.0, 0.1), (1.1, 0.1), (0.8, 1.0), (0.8, -0.1)])
def test_a_share_is_a_share(share: float, reserve: float, connect: Connect) -> None:
    """A budget that makes no sense is refused at once."""
    with pytest.raises(ValueError, match="share"):
        connect(share=share, reserve=reserve)


# --- breaker ----------------------------------------------------------------------------------------------------------


def test_the_breaker_opens_tries_and_closes(api: respx.MockRouter, connect: Connect, clock: Clock) -> None:
    """After failures in a row nothing is sent for a while; then one trial decides."""
    route = api.post(f"{BASE}/x").respond(500)
    http = connect(breaker_failures=3, breaker_seconds=30)
    for _ in range(3):
        problem(lambda: http.send("POST", "/x"))
    assert http.breaker == "open"
    clock.now += 10
    error = problem(lambda: http.send("POST", "/x"))
    assert isinstance(error, TryLater)
    assert error.after == timedelta(seconds=20)
    assert not error.landed
    assert route.call_count == 3
    clock.now += 20
    problem(lambda: http.send("POST", "/x"))  # the trial fails: open for as long again
    assert route.call_count == 4
    assert http.breaker == "open"
    clock.now += 29
    problem(lambda: http.send("POST", "/x"))
    assert route.call_count == 4
    clock.now += 1
    route.respond(200)
    http.send("POST", "/x")
    assert http.breaker == "closed"


@pytest.mark.parametrize(
    ("answer", "opens"),
    [
        (httpx.Response(500), True),
        (httpx.Response(503), True),
        (httpx.ConnectError("no"), True),
        (httpx.ReadTimeout("no"), True),
        (httpx.Response(429), False),
        (httpx.Response(400), False),
        (httpx.Response(401), False),
        (httpx.Response(404), False),
        (httpx.Response(423), False),
    ],
)
def test_only_a_vendor_in_trouble_opens_it(answer: Any, opens: bool, api: respx.MockRouter, connect: Connect) -> None:
    """Broken lines and 5xx count; refusals, rate limits and locks do not."""
    api.post(f"{BASE}/x").mock(side_effect=[answer] * 9)
    http = connect(breaker_failures=3)
    for _ in range(3):
        problem(lambda: http.send("POST", "/x"))
    assert (http.breaker == "open") is opens


def test_a_success_between_starts_the_count_anew(api: respx.MockRouter, connect: Connect) -> None:
    """Only failures in a row open it."""
    bad, good = httpx.Response(500), httpx.Response(200)
    api.post(f"{BASE}/x").mock(side_effect=[bad, bad, good, bad, bad])
    http = connect(breaker_failures=3)
    for fine in (False, False, True, False, False):
        if fine:
            http.send("POST", "/x")
        else:
            problem(lambda: http.send("POST", "/x"))
    assert http.breaker == "closed"


def test_while_a_trial_is_under_way_nothing_else_goes_out(connect: Connect, clock: Clock) -> None:
    """A vendor that comes back is not met by everybody at once; a trial that is not made lets the next one try."""
    calls: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request.url.path)
        if request.url.path.endswith("/fail"):
            return httpx.Response(500)
        inner = problem(lambda: http.send("GET", "/inner"))
        assert "trial" in str(inner)
        return httpx.Response(200)

    limits = Limits(rates=(Rate(1, 5),), concurrency=5)
    transport = httpx.MockTransport(handler)
    http = connect(transport=transport, breaker_failures=1, breaker_seconds=1, limits=limits, share=1.0, patience=0)
    problem(lambda: http.send("POST", "/fail"))
    clock.now += 1
    assert "budget" in str(problem(lambda: http.send("GET", "/trial")))  # the trial was not made
    clock.now += 5
    http.send("GET", "/trial")
    assert calls == ["/v1/fail", "/v1/trial"]
    assert http.breaker == "closed"


def test_a_call_that_was_begun_before_decides_nothing(connect: Connect, clock: Clock) -> None:
    """What ends while the breaker is open was begun before: its end neither closes it nor keeps it open longer."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/slow"):
            problem(lambda: http.send("POST", "/fail"))
            assert http.breaker == "open"
            clock.now += 10
            return httpx.Response(int(request.url.params["status"]))
        return httpx.Response(500)

    for status in (200, 404, 500):
        http = connect(transport=httpx.MockTransport(handler), breaker_failures=1, breaker_seconds=30)
        with contextlib.suppress(Problem):
            http.send("POST", "/slow", params={"status": status})
        error = problem(lambda h=http: h.send("GET", "/x"))  # type: ignore[misc]
        assert isinstance(error, TryLater)
        assert error.after == timedelta(seconds=20)
