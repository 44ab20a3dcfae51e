"""Who is answered: by token, or by being on this machine; never by what a header claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.db import Database
from tests.apihelp import HERE, Api, new_database, token

SECRET = "a-token-of-some-length"
FAR = ("203.0.113.7", 50_000)
OPEN = {"/health/live", "/health/ready"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    yield from new_database(tmp_path)


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


@pytest.mark.parametrize(
    ("client", "base", "headers", "status"),
    [
        pytest.param(HERE, "http://127.0.0.1:8000", {}, 200, id="loopback"),
        pytest.param(("127.8.9.1", 1), "http://localhost", {}, 200, id="all of 127/8"),
        pytest.param(("::1", 1), "http://[::1]:8000", {}, 200, id="IPv6 loopback"),
        pytest.param(("::ffff:127.0.0.1", 1), "http://localhost", {}, 200, id="IPv4 in IPv6"),
        pytest.param(FAR, "http://127.0.0.1", {}, 403, id="another machine"),
        pytest.param(("192.168.0.9", 1), "http://127.0.0.1", {}, 403, id="a neighbour"),
        pytest.param(("::ffff:203.0.113.7", 1), "http://127.0.0.1", {}, 403, id="another machine, IPv4 in IPv6"),
        pytest.param(("somewhere", 1), "http://127.0.0.1", {}, 403, id="no address"),
        pytest.param(None, "http://127.0.0.1", {}, 403, id="client unknown"),
        pytest.param(HERE, "http://127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, 403, id="through a proxy"),
        pytest.param(HERE, "http://127.0.0.1", {"forwarded": "for=127.0.0.1"}, 403, id="through a proxy, RFC 7239"),
        pytest.param(HERE, "http://127.0.0.1", {"x-real-ip": "127.0.0.1"}, 403, id="through nginx"),
        pytest.param(FAR, "http://127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, 403, id="claims to be local"),
        pytest.param(HERE, "http://evil.example", {}, 403, id="name made to point here"),
        pytest.param(HERE, "http://127.0.0.1.evil.example", {}, 403, id="name that looks local"),
        pytest.param(HERE, "http://127.0.0.1", {"host": "["}, 403, id="no name at all"),
        pytest.param(HERE, "http://127.0.0.1", bearer("anything"), 200, id="a token nobody asked for"),
    ],
)
def test_without_a_token_only_this_machine_is_answered(
    database: Database, client: Any, base: str, headers: dict[str, str], status: int
) -> None:
    """The connection's own address and the name decide, and who is refused reads what to configure."""
    answer = Api(database)("GET", "/ops/runs", client=client, base=base, headers=headers)
    assert answer.status_code == status
    assert (status == 403) == ("TANDEM_TOKEN" in answer.text)


@pytest.mark.parametrize("blank", ["", "  "])
@pytest.mark.parametrize(("client", "status"), [(HERE, 200), (FAR, 403)], ids=["here", "far"])
def test_a_blank_token_is_none(database: Database, blank: str, client: Any, status: int) -> None:
    """An empty variable is no token that anybody knows: it opens nothing to other machines."""
    api = Api(database, token=token(blank))
    assert api("GET", "/ops/runs", client=client, headers=bearer(blank)).status_code == status


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        pytest.param(bearer(SECRET), 200, None, id="the token"),
        pytest.param({"authorization": f"bearer  {SECRET} "}, 200, None, id="scheme in lower case, spaces"),
        pytest.param({}, 401, 'Bearer realm="tandem"', id="none"),
        pytest.param({"authorization": f"Basic {SECRET}"}, 401, 'Bearer realm="tandem"', id="another scheme"),
        pytest.param({"authorization": SECRET}, 401, 'Bearer realm="tandem"', id="no scheme"),
        pytest.param(bearer(""), 401, 'Bearer realm="tandem", error="invalid_token"', id="empty"),
        pytest.param(bearer(SECRET[:-1]), 401, 'Bearer realm="tandem", error="invalid_token"', id="shorter"),
        pytest.param(bearer(SECRET + "x"), 401, 'Bearer realm="tandem", error="invalid_token"', id="longer"),
        pytest.param(
            {"authorization": "Bearer gr\u00fcn".encode("latin-1")},  # noqa: RUF100
            401,
            'Bearer realm="tandem", error="invalid_token"',
            id="not ASCII",
        ),
    ],
)
@pytest.mark.parametrize("client", [HERE, FAR], ids=["here", "far"])
def test_with_a_token_everybody_needs_it(
    database: Database, headers: Any, status: int, challenge: str | None, client: Any
) -> None:
    """Being on this machine helps nobody then."""
    answer = Api(database, token=token(SECRET))("GET", "/ops/runs", client=client, headers=headers)
    assert (answer.status_code, answer.headers.get("www-authenticate")) == (status, challenge)


def test_a_token_may_be_any_text(database: Database) -> None:
    """A token that is not ASCII is compared byte by byte."""
    api = Api(database, token=token("grün-und-lang-genug"))
    headers: Any = {"authorization": "Bearer grün-und-lang-genug".encode()}
    assert api("GET", "/ops/runs", headers=headers).status_code == 200


def operations(api: Api) -> list[tuple[str, str]]:
    paths = api.app.openapi()["paths"]
    return [(method.upper(), path) for path, found in paths.items() for method in found]


def test_every_operation_asks_who_is_there(database: Database) -> None:
    """Nothing but the health checks answers a stranger; an empty search must not pass."""
    api = Api(database, token=token(SECRET))
    found = operations(api)
    assert len(found) > 15
    for method, path in found:
        url = path.replace("{name}", "hub")
        for part in ("event_id", "letter_id", "contact_id", "run_id"):
            url = url.replace(f"{{{part}}}", "1")
        status = api(method, url, json={} if method == "POST" else None).status_code
        assert (status == 401) == (path not in OPEN), f"{method} {path}: {status}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="no browser"),
        pytest.param({"origin": "http://127.0.0.1:8000"}, 200, id="our own page"),
        pytest.param({"sec-fetch-site": "same-origin"}, 200, id="our own page, by fetch metadata"),
        pytest.param({"sec-fetch-site": "none"}, 200, id="typed by a person"),
        pytest.param({"origin": "http://evil.example"}, 403, id="another site"),
        pytest.param({"origin": "http://127.0.0.1:9000"}, 403, id="another port"),
        pytest.param({"origin": "null"}, 403, id="a sandboxed page"),
        pytest.param({"origin": ""}, 403, id="empty"),
        pytest.param({"sec-fetch-site": "cross-site"}, 403, id="another site, by fetch metadata"),
        pytest.param({"sec-fetch-site": "same-site"}, 403, id="a sibling"),
        pytest.param({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"}, 403, id="contradicting"),
    ],
)
@pytest.mark.parametrize("secret", [None, SECRET], ids=["open", "token"])
def test_another_sites_page_changes_nothing(
    database: Database, headers: dict[str, str], status: int, secret: str | None
) -> None:
    """A browser's request that changes something has to come from our own pages; reading is not asked."""
    api = Api(database, token=token(secret) if secret is not None else None)
    known = bearer(secret) if secret is not None else {}
    answer = api("POST", "/ops/connections/hub/pause", headers={**headers, **known})
    assert answer.status_code == status
    states = {c["name"]: c["state"] for c in api("GET", "/ops/connections", headers=known).json()["items"]}
    assert states["hub"] == ("paused" if status == 200 else "ok")
    assert api("GET", "/ops/runs", headers={**headers, **known}).status_code == 200


def test_the_token_stays_unsaid(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither answers nor logs name the token, ours or the one sent."""
    api = Api(database, token=token(SECRET))
    answers: list[httpx.Response] = [api("GET", "/ops/runs", headers=bearer("guess-4711"))]
    answers.append(api("GET", "/openapi.json"))
    said = "".join(a.text + str(a.headers) for a in answers) + "".join(capsys.readouterr())
    assert "api.refused" in said
    assert SECRET not in said
    assert "guess-4711" not in said
