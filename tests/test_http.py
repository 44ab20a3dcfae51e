"""The shared client: what it lets out, how often, and what each answer leads to."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import respx

from connectors._answers import STEPS, step
from connectors._http import Http, Step, urgently
from connectors.contract import Limits, NeedsHuman, Problem, Rate, Refused, TryLater

BASE = "https://api.acme.test/v1"
KEY = "sk-live-0123456789abcdef"
FREE = Limits(concurrency=2)


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api() -> respx.MockRouter:
    return respx.MockRouter(assert_all_called=False)


@pytest.fixture
def connect(clock: Clock, api: respx.MockRouter) -> Iterator[Callable[..., Http]]:
    """Clients before ``api``, or before the transport that is asked for."""
    made: list[Http] = []

    def make(**how: Any) -> Http:
        defaults: dict[str, Any] = {
            "base_url": BASE,
            "hosts": (),
            "limits": FREE,
            "headers": {"Authorization": f"Bearer {KEY}"},
            "transport": httpx.MockTransport(api.handler),
            "now": clock,
            "sleep": clock.sleep,
        }
        made.append(Http(**{**defaults, **how}))
        return made[-1]

    yield make
    for http in made:
        http.close()


def problem(call: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        call()
    return caught.value


# --- the table --------------------------------------------------------------------------------------------------------

PROBLEMS: dict[Step, type[Problem]] = {
    Step.REFUSED: Refused,
    Step.TRY_LATER: TryLater,
    Step.NEEDS_HUMAN: NeedsHuman,
}
ROWS = [
    *((status, Step.TAKE) for status in (200, 201, 202, 204, 206, 207, 299)),
    *((status, Step.NEEDS_HUMAN) for status in (300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 407)),
    *((status, Step.REFUSED) for status in (400, 404, 405, 406, 409, 410, 413, 414, 415, 418, 422, 451, 499)),
    *((status, Step.TRY_LATER) for status in (408, 421, 423, 425, 429, 477, 500, 501, 502, 503, 504, 507, 520, 599)),
]


def test_every_row_of_the_table_is_tested() -> None:
    """A new row needs a new line here."""
    assert set(STEPS) <= {status for status, _ in ROWS}


@pytest.mark.parametrize(("status", "expected"), ROWS)
def test_each_status_leads_to_one_step(
    status: int, expected: Step, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """Whatever the vendor answers has one next step."""
    api.post(f"{BASE}/x").respond(status)
    if expected is Step.TAKE:
        assert connect().send("POST", "/x").status_code == status
    else:
        error = problem(lambda: connect().send("POST", "/x"))
        assert type(error) is PROBLEMS[expected]
        assert not isinstance(error, Refused) or error.code == f"http_{status}"


def test_a_status_that_no_table_knows_needs_a_human() -> None:
    """Outside 2xx to 5xx nothing is guessed."""
    assert step(999) is Step.NEEDS_HUMAN


@pytest.mark.parametrize("status", [304, 401, 404, 409, 429, 503])
def test_a_connector_may_take_a_status(status: int, api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """What is taken is handed over as it is, after one call."""
    route = api.get(f"{BASE}/x").respond(status)
    assert connect().send("get", "/x", take={status}).status_code == status
    assert route.call_count == 1


@pytest.mark.parametrize(
    ("steps", "status", "expected"),
    [
        ({409: Step.TRY_LATER}, 409, TryLater),
        ({403: Step.TRY_LATER}, 403, TryLater),
        ({404: Step.TAKE}, 404, None),
        ({202: Step.TRY_LATER}, 202, TryLater),
    ],
)
def test_a_connector_may_override_the_table(
    steps: dict[int, Step],
    status: int,
    expected: type[Problem] | None,
    api: respx.MockRouter,
    connect: Callable[..., Http],
) -> None:
    """A vendor that means something else by a status says so once."""
    api.post(f"{BASE}/x").respond(status)
    if expected is None:
        assert connect(steps=steps).send("POST", "/x").status_code == status
    else:
        assert type(problem(lambda: connect(steps=steps).send("POST", "/x"))) is expected


# --- Retry-After ------------------------------------------------------------------------------------------------------

DATE = "Tue, 03 Mar 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("1.5", 1.5),
        (" 7 ", 7),
        ("-5", 0),
        ("86401", 86400),
        ("999999999999", 86400),
        ("Tue, 03 Mar 2026 10:02:00 GMT", 120),
        ("Tuesday, 03-Mar-26 10:02:00 GMT", 120),
        ("Tue Mar  3 10:02:00 2026", 120),
        ("Tue, 03 Mar 2026 09:00:00 GMT", 0),
        ("Tue, 03 Mar 2037 09:00:00 GMT", 86400),
        ("soon", None),
        ("", None),
        ("１２", None),
        ("1e9", None),
        ("nan", None),
        ("Tue, 99 Mar 2026 10:02:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms(
    value: str, seconds: float | None, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """Seconds, or a date against the answer's own clock; capped at a day; nonsense is no wait."""
    api.get(f"{BASE}/x").respond(429, headers={"retry-after": value.encode(), "date": DATE})
    error = problem(lambda: connect().send("GET", "/x"))
    assert isinstance(error, TryLater)
    assert error.after == (None if seconds is None else timedelta(seconds=seconds))


def test_a_date_without_a_date_header_is_ignored(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """Our own clock is never asked."""
    api.get(f"{BASE}/x").respond(429, headers={"retry-after": "Tue, 03 Mar 2026 10:02:00 GMT"})
    error = problem(lambda: connect().send("GET", "/x"))
    assert isinstance(error, TryLater)
    assert error.after is None


@pytest.mark.parametrize(("status", "closes"), [(429, True), (503, True), (423, False), (500, False)])
def test_a_wait_closes_the_whole_connection(
    status: int, closes: bool, api: respx.MockRouter, connect: Callable[..., Http], clock: Clock
) -> None:
    """While the vendor asks to stay away, no other call goes out; after that it does."""
    http = connect()
    api.post(f"{BASE}/x").respond(status, headers={"retry-after": "60"})
    other = api.get(f"{BASE}/y").respond(200)
    problem(lambda: http.send("POST", "/x"))
    clock.now += 20
    if closes:
        error = problem(lambda: http.send("GET", "/y", urgent=True))
        assert isinstance(error, TryLater)
        assert error.after == timedelta(seconds=40) == http.paused_for
        assert not other.called
        assert clock.slept == []
        clock.now += 40
    assert http.send("GET", "/y").status_code == 200


def test_a_taken_429_closes_the_connection_too(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """A connector that reads the answer itself does not have to close the budget itself."""
    http = connect()
    api.get(f"{BASE}/x").respond(429, headers={"retry-after": "60"})
    http.send("GET", "/x", take={429})
    assert http.paused_for == timedelta(seconds=60)


def test_a_connector_may_pause_in_the_vendors_own_way(connect: Callable[..., Http]) -> None:
    """A wait that is not in Retry-After counts the same; the longer of two pauses stays; a day is the most."""
    http = connect()
    http.pause(timedelta(seconds=60))
    http.pause(timedelta(seconds=5))
    error = problem(lambda: http.send("GET", "/x"))
    assert isinstance(error, TryLater)
    assert error.after == timedelta(seconds=60)
    http.pause(timedelta(days=9))
    assert http.paused_for == timedelta(days=1)


# --- tries ------------------------------------------------------------------------------------------------------------

AGAIN = [
    (httpx.ConnectError, True, True),
    (httpx.ConnectTimeout, True, True),
    (httpx.ReadError, True, False),
    (httpx.RemoteProtocolError, True, False),
    (httpx.WriteError, True, False),
    (httpx.ReadTimeout, False, False),
    (httpx.PoolTimeout, True, True),
]


@pytest.mark.parametrize(("error", "safe", "unsafe"), AGAIN)
def test_a_broken_line_is_tried_again_where_that_is_safe(
    error: type[httpx.TransportError], safe: bool, unsafe: bool, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """Reading calls are tried thrice; writing ones only where nothing was sent."""
    for method, again in (("GET", safe), ("POST", unsafe)):
        route = api.route(method=method, url=f"{BASE}/x").mock(side_effect=error)
        problem(lambda m=method: connect().send(m, "/x"))  # type: ignore[misc]
        assert route.call_count == (3 if again else 1)


@pytest.mark.parametrize(
    ("method", "safe", "status", "calls"),
    [
        ("GET", None, 502, 3),
        ("HEAD", None, 503, 3),
        ("GET", None, 504, 3),
        ("GET", None, 500, 1),
        ("GET", None, 429, 1),
        ("GET", None, 404, 1),
        ("GET", False, 503, 1),
        ("POST", None, 503, 1),
        ("POST", True, 503, 3),
        ("PUT", None, 502, 1),
    ],
)
def test_a_gateway_error_is_tried_again_where_that_is_safe(
    method: str, safe: bool | None, status: int, calls: int, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """502, 503 and 504 often pass; anything else is left to the schedule."""
    route = api.route(method=method, url=f"{BASE}/x").respond(status)
    problem(lambda: connect().send(method, "/x", safe=safe))
    assert route.call_count == calls


def test_a_second_try_may_succeed(api: respx.MockRouter, connect: Callable[..., Http], clock: Clock) -> None:
    """After a moment's wait the answer is as good as any."""
    api.get(f"{BASE}/x").mock(side_effect=[httpx.ConnectError, httpx.Response(503), httpx.Response(200)])
    assert connect().send("GET", "/x").status_code == 200
    assert len(clock.slept) == 2
    assert sum(clock.slept) < 2


def test_a_503_that_asks_to_wait_is_not_tried_at_once(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """Retry-After goes before our own haste."""
    route = api.get(f"{BASE}/x").respond(503, headers={"retry-after": "30"})
    error = problem(lambda: connect().send("GET", "/x"))
    assert isinstance(error, TryLater)
    assert error.after == timedelta(seconds=30)
    assert route.call_count == 1


@pytest.mark.parametrize(
    ("method", "safe", "error", "landed"),
    [
        ("POST", None, httpx.ReadTimeout, True),
        ("POST", None, httpx.ReadError, True),
        ("POST", None, httpx.RemoteProtocolError, True),
        ("POST", None, httpx.WriteTimeout, True),
        ("PATCH", None, httpx.ReadTimeout, True),
        ("POST", None, httpx.ConnectError, False),
        ("POST", None, httpx.ConnectTimeout, False),
        ("POST", None, httpx.PoolTimeout, False),
        ("POST", None, httpx.ProxyError, False),
        ("POST", True, httpx.ReadTimeout, False),
        ("GET", None, httpx.ReadTimeout, False),
    ],
)
def test_landed_says_whether_it_may_have_happened(
    method: str,
    safe: bool | None,
    error: type[httpx.TransportError],
    landed: bool,
    api: respx.MockRouter,
    connect: Callable[..., Http],
) -> None:
    """What was sent, may not be sent twice and found no answer, may have taken effect."""
    api.route(method=method, url=f"{BASE}/x").mock(side_effect=error)
    caught = problem(lambda: connect().send(method, "/x", safe=safe))
    assert isinstance(caught, TryLater)
    assert caught.landed is landed


@pytest.mark.parametrize(
    ("method", "status", "landed"),
    [("POST", 500, True), ("POST", 504, True), ("POST", 429, False), ("POST", 408, False), ("GET", 500, False)],
)
def test_an_error_behind_a_gateway_may_have_landed(
    method: str, status: int, landed: bool, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """A 5xx does not say whether the write was carried out; a 429 does."""
    api.route(method=method, url=f"{BASE}/x").respond(status)
    caught = problem(lambda: connect().send(method, "/x"))
    assert isinstance(caught, TryLater)
    assert caught.landed is landed


# --- time and size ----------------------------------------------------------------------------------------------------


class Dripping(httpx.SyncByteStream):
    """A body that comes slowly: a second a chunk."""

    def __init__(self, clock: Clock, chunks: int, size: int = 10) -> None:
        self.clock, self.left, self.size = clock, chunks, size

    def __iter__(self) -> Iterator[bytes]:
        while self.left:
            self.left -= 1
            self.clock.now += 1
            yield b"x" * self.size


@pytest.mark.parametrize(("seconds", "passes"), [(29, True), (31, False)])
def test_a_slow_answer_ends(seconds: int, passes: bool, connect: Callable[..., Http], clock: Clock) -> None:
    """The whole call is bounded, however lively the line."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Dripping(clock, seconds)))
    http = connect(transport=transport, timeout=30)
    if passes:
        assert len(http.send("GET", "/x").content) == seconds * 10
    else:
        assert "ReadTimeout" in str(problem(lambda: http.send("GET", "/x")))


def test_an_endless_answer_is_cut(connect: Callable[..., Http], clock: Clock) -> None:
    """What is larger than the limit is not read to its end."""
    stream = Dripping(clock, 1000, size=100)
    http = connect(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=stream)), max_bytes=1000)
    assert "1000 bytes" in str(problem(lambda: http.send("GET", "/x")))
    assert stream.left > 900


def test_a_compressed_answer_is_read_as_what_it_means(connect: Callable[..., Http]) -> None:
    """The body is decoded once; its length is that of the text."""
    import gzip

    body, headers = gzip.compress(b'{"a": 1}'), {"content-encoding": "gzip", "x-more": "kept"}
    http = connect(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body, headers=headers)))
    response = http.send("GET", "/x")
    assert http.json(response) == {"a": 1}
    assert response.headers["x-more"] == "kept"
    assert response.headers.get("content-length") == "8"


def test_all_tries_share_one_time(connect: Callable[..., Http], clock: Clock) -> None:
    """A try that used up the time is the last one, and what is left bounds the next."""
    left: list[float] = []

    def handler(request: httpx.Request) -> httpx.Response:
        left.append(request.extensions["timeout"]["read"])
        clock.now += 20
        raise httpx.ConnectError("", request=request)

    problem(lambda: connect(transport=httpx.MockTransport(handler), timeout=30).send("GET", "/x"))
    assert len(left) == 2
    assert left[0] == 30
    assert left[1] < 10


# --- hosts ------------------------------------------------------------------------------------------------------------

HOSTS = ("files.acme.test", "*.acme.example")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("/x", True),
        ("https://api.acme.test/v1/next", True),
        ("https://API.acme.test/v1/next", True),
        ("https://files.acme.test/x", True),
        ("https://eu1.acme.example/x", True),
        ("https://a.b.acme.example/x", True),
        ("https://acme.example/x", False),
        ("https://evilacme.example/x", False),
        ("https://api.acme.test.evil.example/x", False),
        ("https://evil.example/api.acme.test", False),
        ("http://api.acme.test/v1/next", False),
        ("https://api.acme.test:8443/x", False),
        ("https://user@api.acme.test/x", False),
        ("https://api.acme.test@evil.example/x", False),
        ("https://127.0.0.1/x", False),
        ("https://169.254.169.254/latest", False),
        ("https://[::1]/x", False),
    ],
)
def test_only_allowed_hosts_are_called(
    url: str, allowed: bool, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """The base URL's host and those on the list; for any other nothing is sent."""
    route = api.route().respond(200)
    http = connect(hosts=HOSTS)
    if allowed:
        assert http.send("GET", url).status_code == 200
    else:
        assert isinstance(problem(lambda: http.send("GET", url)), NeedsHuman)
        assert not route.called


def test_what_auth_sends_is_held_to_the_list_too(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """A token endpoint elsewhere is not called."""

    class Tokens(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
            yield httpx.Request("POST", "https://tokens.evil.example/token")
            yield request

    route = api.route().respond(200)
    assert isinstance(problem(lambda: connect(auth=Tokens()).send("GET", "/x")), NeedsHuman)
    assert not route.called


@pytest.mark.parametrize("target", ["https://evil.example/?email=ann@b.example", "/login", "https://[bad", ""])
def test_a_redirect_is_never_followed(target: str, api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """It needs a human, who hears where it points to and nothing more."""
    api.get(f"{BASE}/x").respond(302, headers={"location": target})
    other = api.route().respond(200)
    error = problem(lambda: connect().send("GET", "/x"))
    assert isinstance(error, NeedsHuman)
    assert "ann@" not in str(error)
    assert not other.called


@pytest.mark.parametrize("path", ["x", "@evil.example/x", ".evil.example", "", "ftp://api.acme.test/x"])
def test_a_path_begins_with_a_slash(path: str, connect: Callable[..., Http]) -> None:
    """Anything else would change the host."""
    with pytest.raises(ValueError, match="begins with /"):
        connect().send("GET", path)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://api.acme.test", True),
        ("https://api.acme.test:8443/v1/", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080/v1", True),
        ("http://acme.localhost", True),
        ("http://[::1]:80", True),
        ("http://api.acme.test", False),
        ("http://10.0.0.1", False),
        ("http://127.0.0.1.evil.example", False),
        ("ftp://localhost", False),
        ("https://user:pass@api.acme.test", False),
        ("https://api.acme.test/?key=1", False),
        ("api.acme.test", False),
        ("", False),
    ],
)
def test_a_base_url_is_https_or_at_home(url: str, fine: bool, connect: Callable[..., Http]) -> None:
    """Credentials travel encrypted, and are not part of the URL."""
    if fine:
        connect(base_url=url)
    else:
        with pytest.raises(ValueError, match="base_url"):
            connect(base_url=url)


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
    connect: Callable[..., Http],
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
    rate: Rate, api: respx.MockRouter, connect: Callable[..., Http], clock: Clock
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


def test_urgent_calls_have_a_part_of_their_own(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
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


def test_urgent_calls_count_for_all(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """Both kinds together never exceed the share."""
    api.get(f"{BASE}/x").respond(200)
    http = connect(limits=Limits(rates=(Rate(20, 10),)), share=1.0, reserve=0.2, patience=0)
    for _ in range(20):
        http.send("GET", "/x", urgent=True)
    problem(lambda: http.send("GET", "/x"))


def test_a_family_has_its_narrower_rate(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
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
    patience: float, waits: bool, api: respx.MockRouter, connect: Callable[..., Http], clock: Clock
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


def test_waiting_ends_even_where_time_stands_still(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """A sleep that does not sleep leads to TryLater, not to an endless loop."""
    api.get(f"{BASE}/x").respond(200)
    http = connect(limits=Limits(rates=(Rate(1, 1),)), share=1.0, sleep=lambda _: None)
    http.send("GET", "/x")
    assert isinstance(problem(lambda: http.send("GET", "/x")), TryLater)


def test_each_try_counts(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """The vendor counts tries, so do we: the third finds the budget empty."""
    route = api.get(f"{BASE}/x").respond(503)
    http = connect(limits=Limits(rates=(Rate(2, 60),)), share=1.0, reserve=0.0, patience=0)
    error = problem(lambda: http.send("GET", "/x"))
    assert route.call_count == 2
    assert isinstance(error, TryLater)
    assert "budget" in str(error)


def test_no_more_calls_at_once_than_allowed(connect: Callable[..., Http]) -> None:
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
def test_a_share_is_a_share(share: float, reserve: float, connect: Callable[..., Http]) -> None:
    """A budget that makes no sense is refused at once."""
    with pytest.raises(ValueError, match="share"):
        connect(share=share, reserve=reserve)


# --- breaker ----------------------------------------------------------------------------------------------------------


def test_the_breaker_opens_tries_and_closes(api: respx.MockRouter, connect: Callable[..., Http], clock: Clock) -> None:
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
def test_only_a_vendor_in_trouble_opens_it(
    answer: Any, opens: bool, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """Broken lines and 5xx count; refusals, rate limits and locks do not."""
    api.post(f"{BASE}/x").mock(side_effect=[answer] * 9)
    http = connect(breaker_failures=3)
    for _ in range(3):
        problem(lambda: http.send("POST", "/x"))
    assert (http.breaker == "open") is opens


def test_a_success_between_starts_the_count_anew(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
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


def test_while_a_trial_is_under_way_nothing_else_goes_out(connect: Callable[..., Http], clock: Clock) -> None:
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


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"message": "Property score is read only"}, "Property score is read only"),
        ({"title": "Invalid Resource", "detail": "Please provide a valid list"}, "Please provide a valid list"),
        ({"error": {"message": "No such scope"}}, "No such scope"),
        ({"errors": [{"message": "first"}, {"message": "second"}]}, "first"),
        ({"message": "ann.lee+x@b.example is taken by ANN@B.EXAMPLE"}, "*** is taken by ***"),
        ({"message": f"key {KEY} is not valid"}, "key *** is not valid"),
        ({"message": "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc expired"}, "token *** expired"),
        ({"message": "call +44 20 7946 0958 now"}, "call *** now"),
        ({"message": "Ann Lee is no valid FNAME"}, "*** is no valid FNAME"),
        ({"message": "too\n many\t words"}, "too many words"),
        ({"message": ""}, ""),
        ({"message": {"a": 1}}, ""),
        ({"note": "unknown shape"}, ""),
        (["x"], ""),
        (None, ""),
    ],
)
def test_an_error_quotes_the_vendor_without_secrets_and_people(
    body: Any, expected: str, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """The vendor's own words, without addresses, numbers, keys, and what we had sent."""
    api.post(f"{BASE}/x").respond(400, json=body)
    error = problem(lambda: connect().send("POST", "/x", json={"properties": {"FNAME": "Ann Lee"}}))
    assert str(error) == f"api.acme.test: POST /v1/x: 400{': ' if expected else ''}{expected}"


def test_a_long_error_is_cut(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """An error fits in a line, and none of its ends shows half an address."""
    said = f"{'word ' * 398}ann.somebody@b.example {'x ' * 9000}"
    api.post(f"{BASE}/x").respond(400, json={"message": said})
    error = str(problem(lambda: connect().send("POST", "/x")))
    assert len(error) < 260
    assert "ann" not in error


@pytest.mark.parametrize(
    "body", [b"<html>Ann</html>", b"\xff\xfe", b"{", b"[" * 100_000, b'{"message": "' + b"a" * 70_000]
)
def test_an_error_that_makes_no_sense_is_not_quoted(
    body: bytes, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """The status is enough."""
    api.post(f"{BASE}/x").respond(422, content=body)
    assert str(problem(lambda: connect().send("POST", "/x"))) == "api.acme.test: POST /v1/x: 422"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/people/42", "/v1/people/42"),
        ("/people/ann@b.example", "/v1/people/***"),
        ("/people/ann%40b.example/tags", "/v1/people/***/tags"),
        ("/lists/a6b5da1054/members/b642b4217b34b1e8d3bd915fc65c4452", "/v1/lists/a6b5da1054/members/***"),
        ("/people/B642B4217B34B1E8D3BD915FC65C4452B642B4217B34B1E8", "/v1/people/***"),
        ("/people/+442079460958", "/v1/people/***"),
        ("/people?email=ann@b.example&key=secret", "/v1/people"),
    ],
)
@pytest.mark.parametrize("fault", [httpx.Response(404), httpx.ConnectError("ann@b.example"), httpx.Response(200)])
def test_an_error_names_the_path_without_people(
    path: str, shown: str, fault: Any, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """Method and path are told; the query, addresses and hashes of addresses are not."""
    side = fault if isinstance(fault, Exception) else None
    api.route(method="DELETE").mock(side_effect=side, return_value=None if side else fault)
    http = connect()
    error = problem(lambda: http.json(http.send("DELETE", path, params={"q": "ann@b.example"} if side else None)))
    assert f"DELETE {shown}: " in str(error)
    assert "ann" not in str(error)


def test_headers_never_show(
    api: respx.MockRouter, connect: Callable[..., Http], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither repr nor log nor a header that cannot be sent shows a credential or a query."""
    caplog.set_level(logging.DEBUG)
    api.get(f"{BASE}/x").respond(200)
    http = connect()
    http.send("GET", "/x", params={"email": "ann@b.example"})
    assert repr(http) == "<Http api.acme.test>"
    assert caplog.text == ""
    api.get(f"{BASE}/y").mock(side_effect=httpx.LocalProtocolError(f"Illegal header value b'Bearer {KEY}'"))
    assert KEY not in str(problem(lambda: http.send("GET", "/y")))


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"a": [1, null, "\xc3\xa9"]}', {"a": [1, None, "é"]}),
        (200, b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (200, b"null", None),
        (201, b'"x"', "x"),
        (204, b"", None),
    ],
)
def test_json_is_read(
    status: int, body: bytes, expected: Any, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """Whatever JSON holds, whatever the content type says."""
    api.get(f"{BASE}/x").respond(status, content=body)
    http = connect()
    assert http.json(http.send("GET", "/x")) == expected


@pytest.mark.parametrize(("method", "landed"), [("GET", False), ("POST", True)])
@pytest.mark.parametrize("body", [b"<!doctype html><p>Sign in, ann@b.example", b"", b"OK", b"\xff", b"NaN", b'{"a":'])
def test_a_page_in_the_way_is_try_later(
    method: str, landed: bool, body: bytes, api: respx.MockRouter, connect: Callable[..., Http]
) -> None:
    """A 200 without sense is no answer; what it stands for may have been done."""
    api.route(method=method, url=f"{BASE}/x").respond(200, content=body, content_type="text/html; charset=utf-8")
    http = connect()
    error = problem(lambda: http.json(http.send(method, "/x")))
    assert isinstance(error, TryLater)
    assert error.landed is landed
    assert str(error) == f"api.acme.test: {method} /v1/x: 200 whose body is not JSON, but text/html"


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_each_try_is_told(api: respx.MockRouter, connect: Callable[..., Http], clock: Clock) -> None:
    """Metrics hear of method, family, status and seconds: never of a path."""
    heard: list[tuple[str, str, int, float]] = []

    def slow(_: httpx.Request) -> httpx.Response:
        clock.now += 0.5
        return httpx.Response(200)

    api.get(f"{BASE}/people/42").mock(side_effect=[httpx.ConnectError, httpx.Response(503)])
    api.post(f"{BASE}/search").mock(side_effect=slow)
    http = connect(on_call=lambda *told: heard.append(told), retries=1)
    problem(lambda: http.send("GET", "/people/42"))
    http.send("post", "/search", family="search")
    assert heard == [("GET", "", 0, 0.0), ("GET", "", 503, 0.0), ("POST", "search", 200, 0.5)]


def test_a_closed_client_puts_off(connect: Callable[..., Http]) -> None:
    """At shutdown a late call is work for later."""
    http = connect()
    http.close()
    assert isinstance(problem(lambda: http.send("GET", "/x")), TryLater)


def test_nobody_there_is_try_later(connect: Callable[..., Http]) -> None:
    """A real refused connection: nothing was sent, and the proxy of the environment is not asked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = problem(lambda: connect(base_url=f"http://127.0.0.1:{port}", transport=None).send("POST", "/x", json={}))
    assert isinstance(error, TryLater)
    assert not error.landed
    assert "ConnectError" in str(error)


def test_headers_parameters_and_body_are_sent(api: respx.MockRouter, connect: Callable[..., Http]) -> None:
    """The request is as it was asked for, with the connection's own headers."""
    route = api.put(f"{BASE}/x").respond(200)
    connect().send("PUT", "/x", params={"a": "1"}, json={"n": None, "e": ""}, headers={"Idempotency-Key": "k"})
    request = route.calls.last.request
    assert request.url.query == b"a=1"
    assert request.content == b'{"n":null,"e":""}'
    assert request.headers["idempotency-key"] == "k"
    assert request.headers["authorization"] == f"Bearer {KEY}"
