"""Who may do what: every route of the app as every role, and as nobody."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI

from app.core.settings import Config, Settings
from app.main import Tandem
from app.ops.access import permissions
from app.ops.access.permissions import ABOUT, ROLES, ROUTES, UNASKED, Permission, Role, Unlisted, check, needed
from app.ops.access.visitors import new_token

FAR = ("203.0.113.7", 50_000)
REFUSED = {401, 403}
P = Permission


@dataclass
class Walked:
    """The whole app as it is served, with a token of each role."""

    tandem: Tandem
    app: FastAPI
    served: Any
    tokens: dict[Role, str]
    loop: asyncio.AbstractEventLoop

    def ask(self, method: str, path: str, token: str | None = None, **headers: str) -> int:
        """The status of an answer, by ASGI itself: a thousand requests are made here."""
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        headers = {"host": "127.0.0.1:8000", "content-type": "application/json", **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "client": FAR,
            "server": ("127.0.0.1", 8000),
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}" if method == "POST" else b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        self.loop.run_until_complete(self.served(scope, receive, send))
        return statuses[0]


def walked(folder: Any, *, demo: bool) -> Iterator[Walked]:
    tandem = Tandem(Settings(database=f"sqlite:///{folder / 'tandem.db'}", demo=demo), Config(), {})
    tandem.prepare()
    served: Any = tandem.app(workers=False)
    tokens = {role: new_token(tandem.database, f"a {role}", role, None, None, "Kim")[1] for role in Role}
    loop = asyncio.new_event_loop()
    yield Walked(tandem, served.api, served, tokens, loop)
    loop.close()
    tandem.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    yield from walked(tmp_path_factory.mktemp("whole"), demo=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    yield from walked(tmp_path_factory.mktemp("demo"), demo=True)


def url_of(path: str) -> str:
    """A path with something in every place of it: numbers where an id stands."""
    filled = re.sub(r"\{\w*id\}", "999", path)
    return re.sub(r"\{\w+\}", "nobody", filled)


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    return sorted(permissions.routes(app))


def test_every_route_has_a_line_and_every_line_a_route(whole: Walked, demo: Walked) -> None:
    """100 % of the routes, in use and in a demo; an empty walk must not pass."""
    found = {(m if m != "HEAD" else "GET", p) for one in (whole, demo) for m, p in routes_of(one.app)}
    assert len(found) > 90
    assert {r for r in found if needed(*r) is None} == set()
    assert set(ROUTES) - found == set()


def walk(it: Walked, routes: list[tuple[str, str]]) -> list[str]:
    """What is wrong: a role that gets past the gate of a route and should not, or should and does not."""
    wrong = []
    seen: set[Permission] = set()
    for method, path in routes:
        permission = needed(method, path)
        assert permission is not None
        callers: list[tuple[str, bool, dict[str, str]]] = [
            (str(role), permission in UNASKED or permission in ROLES[role], {"authorization": f"Bearer {token}"})
            for role, token in it.tokens.items()
        ]
        opened = permission in UNASKED
        callers.append(("nobody", opened, {}))
        if permission not in seen:  # what is forged is looked at before the route is
            callers.append(("a forger", opened, {"authorization": "Bearer tandem_forged"}))
            callers.append(("a forger's browser", opened, {"cookie": "tandem=forged"}))
        seen.add(permission)
        for who, may, headers in callers:
            status = it.ask(method, url_of(path), None, **headers)
            if (status not in REFUSED) is not may:
                wrong.append(f"{who} {method} {path}: {status}")
    return wrong


def test_every_route_asks_every_role(whole: Walked) -> None:
    """Each role gets past the gate of each route that its line names, and past no other; nobody past the open ones."""
    routes = routes_of(whole.app)
    assert len(routes) > 90
    assert walk(whole, routes) == []


def test_the_demo_asks_too(whole: Walked, demo: Walked) -> None:
    """Its own routes answer whoever may and is on this machine, and nobody from elsewhere, whatever the token."""
    own = sorted(set(routes_of(demo.app)) - set(routes_of(whole.app)))
    assert len(own) == 3
    for method, path in own:
        for token in (None, demo.tokens[Role.VIEWER], demo.tokens[Role.ADMIN]):
            assert demo.ask(method, url_of(path), token) in REFUSED


def test_nobody_reaches_more_than_health_webhooks_and_login() -> None:
    """The list is short, and it is this."""
    opened = {path for (_, path), permission in ROUTES.items() if permission is P.OPEN}
    assert opened == {
        *("/health/live", "/health/ready", "/login", "/login/provider", "/login/callback"),
        *("/static/{name}", "/robots.txt"),
    }
    assert {path for (_, path), permission in ROUTES.items() if permission is P.RETURN} == {
        "/connections/{name}/callback"
    }


def test_webhooks_stand_beside_the_gate(whole: Walked) -> None:
    """The door answers strangers in its own words."""
    assert whole.ask("POST", "/webhooks/nobody") == 404


def test_who_looks_changes_nothing() -> None:
    """No route that changes something is open to a role that only looks."""
    acts = {
        route: permission
        for route, permission in ROUTES.items()
        if route[0] != "GET" and permission not in UNASKED | {P.SELF, P.BRIEF}
    }
    assert len(acts) > 25
    for role in (Role.VIEWER, Role.ANALYST):
        assert {route for route, permission in acts.items() if permission in ROLES[role]} == set()


def test_roles_are_nested_and_duties_apart() -> None:
    """A steward decides about data, an operator about the service; an admin may all there is."""
    assert ROLES[Role.VIEWER] < ROLES[Role.ANALYST] < ROLES[Role.STEWARD] < ROLES[Role.ADMIN]
    assert ROLES[Role.ANALYST] < ROLES[Role.OPERATOR] < ROLES[Role.ADMIN]
    assert P.OPERATE not in ROLES[Role.STEWARD]
    assert {P.DECIDE, P.CONSENT, P.ERASE}.isdisjoint(ROLES[Role.OPERATOR])
    assert ROLES[Role.ADMIN] == set(Permission) - UNASKED
    assert set(ABOUT) == set(Permission)
    assert {P.ACCESS, P.AUDIT, P.CONNECT}.isdisjoint(ROLES[Role.STEWARD] | ROLES[Role.OPERATOR])


def test_an_app_with_an_unlisted_route_does_not_start() -> None:
    """And says which."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_api_route("/health/live", lambda: None)
    check(app)
    app.add_api_route("/backdoor", lambda: None, methods=["DELETE"])
    with pytest.raises(Unlisted, match="DELETE /backdoor"):
        check(app)


@pytest.fixture
def unlisted(whole: Walked) -> Iterator[None]:
    """Guards the guard: a route that nobody listed, in a running app."""
    whole.app.add_api_route("/backdoor", lambda: "open")
    yield
    whole.app.router.routes.pop()


@pytest.mark.usefixtures("unlisted")
def test_an_unlisted_route_is_closed_to_everybody(whole: Walked) -> None:
    """Even if one slipped in after the start: it is refused, to admins too."""
    assert whole.ask("GET", "/backdoor", whole.tokens[Role.ADMIN]) == 403
    with pytest.raises(Unlisted, match="GET /backdoor"):
        check(whole.app)


def test_the_walk_finds_a_route_that_asks_for_too_little(whole: Walked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard: with a gate that lets in everybody it knows, the walk finds it."""
    monkeypatch.setattr("app.ops.access.principal.Principal.may", lambda *_: True)
    assert "viewer POST /undo: 422" in walk(whole, [("POST", "/undo")])
