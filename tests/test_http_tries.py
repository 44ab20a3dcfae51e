"""The shared client: when it tries again, what may have landed, and when it stops waiting."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
import respx

from connectors._http import until
from connectors.contract import TryLater
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


# --- the time for the work that a call belongs to ---------------------------------------------------------------------


def test_no_call_begins_after_its_time(api: respx.MockRouter, connect: Connect, clock: Clock) -> None:
    """A worker that slept through its lease sends nothing more: somebody else may have sent something newer."""
    route = api.post(f"{BASE}/x").respond(200, json={})
    http = connect()
    with until(clock.now + 10):
        http.send("POST", "/x")
        clock.now += 11
        wait = problem(lambda: http.send("POST", "/x"))
    assert isinstance(wait, TryLater)
    assert not wait.landed
    assert route.call_count == 1
    http.send("POST", "/x")
    assert route.call_count == 2, "what is not part of such work goes on"


def test_no_second_try_begins_after_its_time(api: respx.MockRouter, connect: Connect, clock: Clock) -> None:
    """Nor does one of the quick tries."""
    route = api.get(f"{BASE}/x").respond(503)
    with until(clock.now):
        problem(lambda: connect().send("GET", "/x"))
    assert route.call_count == 1


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
    error: type[httpx.TransportError], safe: bool, unsafe: bool, api: respx.MockRouter, connect: Connect
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
    method: str, safe: bool | None, status: int, calls: int, api: respx.MockRouter, connect: Connect
) -> None:
    """502, 503 and 504 often pass; anything else is left to the schedule."""
    route = api.route(method=method, url=f"{BASE}/x").respond(status)
    problem(lambda: connect().send(method, "/x", safe=safe))
    assert route.call_count == calls


def test_a_second_try_may_succeed(api: respx.MockRouter, connect: Connect, clock: Clock) -> None:
    """After a moment's wait the answer is as good as any."""
    api.get(f"{BASE}/x").mock(side_effect=[httpx.ConnectError, httpx.Response(503), httpx.Response(200)])
    assert connect().send("GET", "/x").status_code == 200
    assert len(clock.slept) == 2
    assert sum(clock.slept) < 2


def test_a_503_that_asks_to_wait_is_not_tried_at_once(api: respx.MockRouter, connect: Connect) -> None:
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
    connect: Connect,
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
    method: str, status: int, landed: bool, api: respx.MockRouter, connect: Connect
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
def test_a_slow_answer_ends(seconds: int, passes: bool, connect: Connect, clock: Clock) -> None:
    """The whole call is bounded, however lively the line."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Dripping(clock, seconds)))
    http = connect(transport=transport, timeout=30)
    if passes:
        assert len(http.send("GET", "/x").content) == seconds * 10
    else:
        assert "ReadTimeout" in str(problem(lambda: http.send("GET", "/x")))


def test_an_endless_answer_is_cut(connect: Connect, clock: Clock) -> None:
    """What is larger than the limit is not read to its end."""
    stream = Dripping(clock, 1000, size=100)
    http = connect(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=stream)), max_bytes=1000)
    assert "1000 bytes" in str(problem(lambda: http.send("GET", "/x")))
    assert stream.left > 900


def test_a_compressed_answer_is_read_as_what_it_means(connect: Connect) -> None:
    """The body is decoded once; its length is that of the text."""
    body, headers = gzip.compress(b'{"a": 1}'), {"content-encoding": "gzip", "x-more": "kept"}
    http = connect(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body, headers=headers)))
    response = http.send("GET", "/x")
    assert http.json(response) == {"a": 1}
    assert response.headers["x-more"] == "kept"
    assert response.headers.get("content-length") == "8"


def test_all_tries_share_one_time(connect: Connect, clock: Clock) -> None:
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
