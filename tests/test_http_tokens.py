"""The shared client with tokens that end: each request carries one, and one that is refused is renewed once."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import respx

from connectors._oauth_facts import Token
from connectors.contract import NeedsHuman, TryLater
from tests.client import BASE, Clock, Connect, connecting, problem


class Source:
    """Gives out tokens by their number; ``NeedsHuman`` once there are no more."""

    def __init__(self, *, most: int = 9, undone: bool = False, place: str | None = None) -> None:
        self.undone = undone
        self.number, self.most, self.place = 1, most, place
        self.refused: list[int] = []

    def current(self, refused: Token | None = None) -> Token:
        if refused is not None:
            self.refused.append(refused.number)
            self.number += 1
        if self.number > self.most:
            raise NeedsHuman("connect again")
        return Token(f"Bearer token-number-{self.number}", self.number, self.place)


@pytest.fixture
def api() -> respx.MockRouter:
    return respx.MockRouter(assert_all_called=False)


@pytest.fixture
def connect(api: respx.MockRouter) -> Connect:
    clock = Clock()
    make = connecting(clock, api)
    return lambda **how: make(**{"headers": {}, **how})


def taking(api: respx.MockRouter, good: int, *, method: str = "GET") -> respx.Route:
    """The vendor takes this token and later ones."""

    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.headers["authorization"].rpartition("-")[2])
        return httpx.Response(200 if number >= good else 401, json={})

    return api.route(method=method, url__startswith=BASE).mock(side_effect=answer)


def test_each_request_carries_the_token_of_its_time(api: respx.MockRouter, connect: Connect) -> None:
    """Not the one of when the client was made."""
    route, source = taking(api, 1), Source()
    http = connect(tokens=source)
    for number in (1, 2):
        source.number = number
        http.send("GET", "/x")
    assert [c.request.headers["authorization"][-1] for c in route.calls] == ["1", "2"]


def test_a_read_that_is_refused_is_sent_again_once(api: respx.MockRouter, connect: Connect) -> None:
    """With the next token; a second refusal needs a human."""
    source = Source()
    taking(api, 2)
    assert connect(tokens=source).send("GET", "/x").status_code == 200
    assert source.refused == [1]
    source, route = Source(), taking(api, 9)
    assert isinstance(problem(lambda: connect(tokens=source).send("GET", "/x")), NeedsHuman)
    assert source.refused == [1]
    assert len(route.calls) == 4


@pytest.mark.parametrize("undone", [False, True])
def test_a_write_is_repeated_only_where_the_vendor_says_that_it_was_not_done(
    undone: bool, api: respx.MockRouter, connect: Connect
) -> None:
    """Elsewhere the token is renewed, and the write goes back to those who look before they send it again."""
    source, route = Source(undone=undone), taking(api, 2, method="POST")
    http = connect(tokens=source)
    if undone:
        assert http.send("POST", "/x", json={"a": 1}).status_code == 200
        assert [c.request.content for c in route.calls] == [b'{"a":1}'] * 2
    else:
        error = problem(lambda: http.send("POST", "/x", json={"a": 1}))
        assert isinstance(error, TryLater)
        assert error.landed
        assert len(route.calls) == 1
    assert source.refused == [1]


def test_a_refusal_that_the_connector_takes_is_its_own(api: respx.MockRouter, connect: Connect) -> None:
    """It asked for the 401: no token is renewed for it."""
    taking(api, 9)
    source = Source()
    assert connect(tokens=source).send("GET", "/x", take={401}).status_code == 401
    assert source.refused == []


def test_without_a_token_nothing_is_sent(api: respx.MockRouter, connect: Connect) -> None:
    """Nobody has connected."""
    route = taking(api, 1)
    assert "connect again" in str(problem(lambda: connect(tokens=Source(most=0)).send("GET", "/x")))
    assert not route.called


@pytest.mark.parametrize(
    ("place", "called"),
    [
        (None, f"{BASE}/x"),
        ("https://eu.acme.example", "https://eu.acme.example/v1/x"),
        ("https://eu.acme.example/", "https://eu.acme.example/v1/x"),
        ("https://evil.example", None),
        ("http://eu.acme.example", None),
        ("https://eu.acme.example@evil.example", None),
    ],
)
def test_where_the_vendor_says_its_api_is(
    place: str | None, called: str | None, api: respx.MockRouter, connect: Connect
) -> None:
    """Is called if it is one of the connector's hosts; the token goes nowhere else."""
    route = api.route().respond(200)
    http = connect(tokens=Source(place=place), hosts=("*.acme.example",))
    if called is None:
        assert isinstance(problem(lambda: http.send("GET", "/x")), NeedsHuman)
        assert not route.called
    else:
        http.send("GET", "/x")
        assert str(route.calls.last.request.url) == called


def test_no_error_repeats_the_token(api: respx.MockRouter, connect: Connect) -> None:
    """Though the vendor quotes it."""
    api.route().respond(400, json={"message": "bad: token-number-1"})
    assert "token-number" not in str(problem(lambda: connect(tokens=Source()).send("GET", "/x")))


def test_a_form_is_sent_as_one_and_not_quoted(api: respx.MockRouter, connect: Connect) -> None:
    """As token endpoints take it."""
    route = api.route().respond(400, json={"message": "no geheim here"})
    http = connect()
    form: dict[str, Any] = {"a": "geheim", "b": "x y"}
    assert "geheim" not in str(problem(lambda: http.send("POST", "/x", form=form)))
    assert route.calls.last.request.content == b"a=geheim&b=x+y"
    assert route.calls.last.request.headers["content-type"] == "application/x-www-form-urlencoded"
