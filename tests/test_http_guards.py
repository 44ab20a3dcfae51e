"""The shared client: whom it calls, and what it says about that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import respx

from connectors.contract import Limits, NeedsHuman, Rate
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
        ("http://files.acme.test/x", False),
        ("https://files.acme.test:8443/x", False),
    ],
)
def test_only_allowed_hosts_are_called(url: str, allowed: bool, api: respx.MockRouter, connect: Connect) -> None:
    """The base URL's host and those on the list; for any other nothing is sent."""
    route = api.route().respond(200)
    http = connect(hosts=HOSTS)
    if allowed:
        assert http.send("GET", url).status_code == 200
    else:
        assert isinstance(problem(lambda: http.send("GET", url)), NeedsHuman)
        assert not route.called


def test_what_is_not_allowed_costs_nothing(api: respx.MockRouter, connect: Connect) -> None:
    """A foreign host uses up no budget, and metrics hear of no call."""
    heard: list[object] = []
    api.get(f"{BASE}/x").respond(200)
    limits = Limits(rates=(Rate(1, 60),))
    http = connect(limits=limits, share=1.0, reserve=0.0, patience=0, on_call=lambda *told: heard.append(told))
    problem(lambda: http.send("GET", "https://evil.example/"))
    assert heard == []
    http.send("GET", "/x")


def test_what_auth_sends_is_held_to_the_list_too(api: respx.MockRouter, connect: Connect) -> None:
    """A token endpoint elsewhere is not called."""

    class Tokens(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
            yield httpx.Request("POST", "https://tokens.evil.example/token")
            yield request

    route = api.route().respond(200)
    assert isinstance(problem(lambda: connect(auth=Tokens()).send("GET", "/x")), NeedsHuman)
    assert not route.called


@pytest.mark.parametrize("target", ["https://evil.example/?email=ann@b.example", "/login", "https://[bad", ""])
def test_a_redirect_is_never_followed(target: str, api: respx.MockRouter, connect: Connect) -> None:
    """It needs a human, who hears where it points to and nothing more."""
    api.get(f"{BASE}/x").respond(302, headers={"location": target})
    other = api.route().respond(200)
    error = problem(lambda: connect().send("GET", "/x"))
    assert isinstance(error, NeedsHuman)
    assert "ann@" not in str(error)
    assert not other.called


@pytest.mark.parametrize("path", ["x", "@evil.example/x", ".evil.example", "", "ftp://api.acme.test/x"])
def test_a_path_begins_with_a_slash(path: str, connect: Connect) -> None:
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
def test_a_base_url_is_https_or_at_home(url: str, fine: bool, connect: Connect) -> None:
    """Credentials travel encrypted, and are not part of the URL."""
    if fine:
        connect(base_url=url)
    else:
        with pytest.raises(ValueError, match="base_url"):
            connect(base_url=url)


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
        ({"message": "ANN LEE is no valid FNAME"}, "*** is no valid FNAME"),
        ({"message": "correct-horse is no valid key"}, "*** is no valid key"),
        ({"message": "too\n many\t words"}, "too many words"),
        ({"message": ""}, ""),
        ({"message": {"a": 1}}, ""),
        ({"note": "unknown shape"}, ""),
        (["x"], ""),
        (None, ""),
    ],
)
def test_an_error_quotes_the_vendor_without_secrets_and_people(
    body: Any, expected: str, api: respx.MockRouter, connect: Connect
) -> None:
    """The vendor's own words, without addresses, numbers, keys, and what we had sent."""
    api.post(f"{BASE}/x").respond(400, json=body)
    http = connect(headers={"Authorization": f"Bearer {KEY}", "X-Key": "correct-horse"})
    error = problem(lambda: http.send("POST", "/x", json={"properties": {"FNAME": "Ann Lee"}}))
    assert str(error) == f"api.acme.test: POST /v1/x: 400{': ' if expected else ''}{expected}"


def test_a_long_error_is_cut(api: respx.MockRouter, connect: Connect) -> None:
    """An error fits in a line, and none of its ends shows half an address."""
    said = f"{'word ' * 398}ann.somebody@b.example {'x ' * 9000}"
    api.post(f"{BASE}/x").respond(400, json={"message": said})
    error = str(problem(lambda: connect().send("POST", "/x")))
    assert len(error) < 260
    api.post(f"{BASE}/y").respond(400, json={"message": f"{'ab1' * 330} {'cd2' * 330} is. ann.somebody@b.example"})
    assert str(problem(lambda: connect().send("POST", "/y"))).endswith("400: *** *** is.")


@pytest.mark.parametrize(
    "body", [b"<html>Ann</html>", b"\xff\xfe", b"{", b"[" * 100_000, b'{"message": "' + b"a" * 70_000]
)
def test_an_error_that_makes_no_sense_is_not_quoted(body: bytes, api: respx.MockRouter, connect: Connect) -> None:
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
    path: str, shown: str, fault: Any, api: respx.MockRouter, connect: Connect
) -> None:
    """Method and path are told; the query, addresses and hashes of addresses are not."""
    side = fault if isinstance(fault, Exception) else None
    api.route(method="DELETE").mock(side_effect=side, return_value=None if side else fault)
    http = connect()
    error = problem(lambda: http.json(http.send("DELETE", path, params={"q": "ann@b.example"} if side else None)))
    assert f"DELETE {shown}: " in str(error)
    assert "ann" not in str(error)


def test_headers_never_show(api: respx.MockRouter, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Neither repr nor log nor a header that cannot be sent shows a credential or a query."""
    caplog.set_level(logging.DEBUG)
    api.get(f"{BASE}/x").respond(200)
    http = connect()
    http.send("GET", "/x", params={"email": "ann@b.example"})
    assert repr(http) == "<Http api.acme.test>"
    assert caplog.text == ""
    api.get(f"{BASE}/y").mock(side_effect=httpx.LocalProtocolError(f"Illegal header value b'Bearer {KEY}'"))
    assert KEY not in str(problem(lambda: http.send("GET", "/y")))
