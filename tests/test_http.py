"""The shared client: what each answer leads to, and how it is read."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
import respx

from connectors._answers import STEPS, step
from connectors._http import Step
from connectors.contract import NeedsHuman, Problem, Refused, TryLater
from tests.client import BASE, KEY, Clock, Connect, connecting, problem


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api() -> respx.MockRouter:
    return respx.MockRouter(assert_all_called=False)


@pytest.fixture
def connect(clock: Clock, api: respx.MockRouter) -> Connect:
    return connecting(clock, api)


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
def test_each_status_leads_to_one_step(status: int, expected: Step, api: respx.MockRouter, connect: Connect) -> None:
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
def test_a_connector_may_take_a_status(status: int, api: respx.MockRouter, connect: Connect) -> None:
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
    connect: Connect,
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
    value: str, seconds: float | None, api: respx.MockRouter, connect: Connect
) -> None:
    """Seconds, or a date against the answer's own clock; capped at a day; nonsense is no wait."""
    api.get(f"{BASE}/x").respond(429, headers={"retry-after": value.encode(), "date": DATE})
    error = problem(lambda: connect().send("GET", "/x"))
    assert isinstance(error, TryLater)
    assert error.after == (None if seconds is None else timedelta(seconds=seconds))


def test_a_date_without_a_date_header_is_ignored(api: respx.MockRouter, connect: Connect) -> None:
    """Our own clock is never asked."""
    api.get(f"{BASE}/x").respond(429, headers={"retry-after": "Tue, 03 Mar 2026 10:02:00 GMT"})
    error = problem(lambda: connect().send("GET", "/x"))
    assert isinstance(error, TryLater)
    assert error.after is None


@pytest.mark.parametrize(("status", "closes"), [(429, True), (503, True), (423, False), (500, False)])
def test_a_wait_closes_the_whole_connection(
    status: int, closes: bool, api: respx.MockRouter, connect: Connect, clock: Clock
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


def test_a_taken_429_closes_the_connection_too(api: respx.MockRouter, connect: Connect) -> None:
    """A connector that reads the answer itself does not have to close the budget itself."""
    http = connect()
    api.get(f"{BASE}/x").respond(429, headers={"retry-after": "60"})
    http.send("GET", "/x", take={429})
    assert http.paused_for == timedelta(seconds=60)


def test_a_connector_may_pause_in_the_vendors_own_way(connect: Connect) -> None:
    """A wait that is not in Retry-After counts the same; the longer of two pauses stays; a day is the most."""
    http = connect()
    http.pause(timedelta(seconds=60))
    http.pause(timedelta(seconds=5))
    error = problem(lambda: http.send("GET", "/x"))
    assert isinstance(error, TryLater)
    assert error.after == timedelta(seconds=60)
    http.pause(timedelta(days=9))
    assert http.paused_for == timedelta(days=1)


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
def test_json_is_read(status: int, body: bytes, expected: Any, api: respx.MockRouter, connect: Connect) -> None:
    """Whatever JSON holds, whatever the content type says."""
    api.get(f"{BASE}/x").respond(status, content=body)
    http = connect()
    assert http.json(http.send("GET", "/x")) == expected


@pytest.mark.parametrize(("method", "landed"), [("GET", False), ("POST", True)])
@pytest.mark.parametrize("body", [b"<!doctype html><p>Sign in, ann@b.example", b"", b"OK", b"\xff", b"NaN", b'{"a":'])
def test_a_page_in_the_way_is_try_later(
    method: str, landed: bool, body: bytes, api: respx.MockRouter, connect: Connect
) -> None:
    """A 200 without sense is no answer; what it stands for may have been done."""
    api.route(method=method, url=f"{BASE}/x").respond(200, content=body, content_type="text/html; charset=utf-8")
    http = connect()
    error = problem(lambda: http.json(http.send(method, "/x")))
    assert isinstance(error, TryLater)
    assert error.landed is landed
    assert str(error) == f"api.acme.test: {method} /v1/x: 200 whose body is not JSON, but text/html"


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_each_try_is_told(api: respx.MockRouter, connect: Connect, clock: Clock) -> None:
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


def test_a_closed_client_puts_off(connect: Connect) -> None:
    """At shutdown a late call is work for later."""
    http = connect()
    http.close()
    assert isinstance(problem(lambda: http.send("GET", "/x")), TryLater)


def test_nobody_there_is_try_later(connect: Connect) -> None:
    """A real refused connection: nothing was sent."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = problem(lambda: connect(base_url=f"http://127.0.0.1:{port}", transport=None).send("POST", "/x", json={}))
    assert isinstance(error, TryLater)
    assert not error.landed
    assert "ConnectError" in str(error)


def test_the_loopback_is_reached_without_a_proxy(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment has no way to this machine's own ports: the simulators are called directly."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        http = connect(base_url=f"http://127.0.0.1:{server.server_port}", transport=None, headers={}, retries=0)
        answered = http.send("GET", "/x").status_code
        thread.join(20)
    assert answered == 204


def test_headers_parameters_and_body_are_sent(api: respx.MockRouter, connect: Connect) -> None:
    """The request is as it was asked for, with the connection's own headers."""
    route = api.put(f"{BASE}/x").respond(200)
    connect().send("PUT", "/x", params={"a": "1"}, json={"n": None, "e": ""}, headers={"Idempotency-Key": "k"})
    request = route.calls.last.request
    assert request.url.query == b"a=1"
    assert request.content == b'{"n":null,"e":""}'
    assert request.headers["idempotency-key"] == "k"
    assert request.headers["authorization"] == f"Bearer {KEY}"
