"""Signing in and out: ``/login`` with a password, the installation's token or an identity provider, and ``/logout``.

Plain pages that need no script.  A form carries what the browser's own cookie says twice, so that no other site signs a
person in as somebody else (login CSRF); a session begins under a new secret, whatever the browser brought along
(session fixation); and nobody is sent to another site afterwards (open redirect).
https://cheatsheetseries.owasp.org/cheatsheets/Unvalidated_Redirects_and_Forwards_Cheat_Sheet.html
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

import jinja2
import structlog
from fastapi import APIRouter, Depends, Query, Request, Response

from app.console.shell import HEADERS, Form, form
from app.ops.access.auditing import Auditing
from app.ops.access.oidc import AWAY_SECONDS, NotVouched, Provider
from app.ops.access.principal import Kind
from app.ops.access.visitors import TooMany, Visitors, form_token, new_secret
from app.ops.auth import foreign

log = structlog.get_logger(__name__)

FORM_SECONDS: Final = 3600  # how long a login page may stay open
_PATH: Final = "/?:@!$&'()*+,;=-._~%#[]"  # what stands for itself in a path and a query, RFC 3986
_SHOWN: Final = 2000  # characters of a parameter that a provider's redirect may have

Next = Annotated[str, Query(max_length=2000)]


def safe(target: str | None) -> str:
    r"""Where to go after the login: a path of ours, else ``/``.

    Browsers take ``//host`` and ``/\host`` for another site, and drop tabs and line ends before they look.
    """
    if target is None or not target.startswith("/") or any(c in "\\" or not c.isprintable() for c in target):
        return "/"
    parts = urlsplit(target)
    if target.startswith("//") or parts.scheme or parts.netloc or parts.path.startswith(("/login", "/logout")):
        return "/"
    return quote(target, safe=_PATH)  # a header is ASCII


def address_of(request: Request) -> str:
    """By which address tries are counted: the last one that a proxy added, else the connection's.

    It can be made up by whoever reaches us without a proxy, so nothing but a count goes by it; the count by name holds.
    """
    added = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()[:64]
    return added if added else request.client.host if request.client is not None else ""


class Login:
    """The pages of one installation."""

    def __init__(
        self, visitors: Visitors, auditing: Auditing, provider: Provider | None, templates: jinja2.Environment
    ) -> None:
        self._visitors = visitors
        self._auditing = auditing
        self._provider = provider
        self._templates = templates
        prefix = "__Host-" if visitors.secure else ""
        self._form_cookie, self._away_cookie = f"{prefix}tandem-form", f"{prefix}tandem-away"

    def page(self, request: Request, target: str, *, status: int = 200, said: str | None = None) -> Response:
        """The login page; ``said``: what went wrong."""
        secret = request.cookies.get(self._form_cookie) or new_secret()
        body = self._templates.get_template("login.html").render(
            csrf=form_token(secret),
            target=target,
            said=said,
            people=self._visitors.anybody(),
            token=self._visitors.has_token,
            provider=self._provider.config.label if self._provider is not None else None,
        )
        response = Response(body, status, media_type="text/html", headers=HEADERS)
        self._set(response, self._form_cookie, secret, FORM_SECONDS)
        return response

    def enter(self, request: Request, sent: Form) -> Response:
        """Sign in with what a form says."""
        target = safe(sent.get("next"))
        secret = request.cookies.get(self._form_cookie, "")
        given = sent.fields.get("csrf", "")
        if foreign(request) or not secret or not hmac.compare_digest(given.encode(), form_token(secret).encode()):
            return self.page(request, target, status=403, said="This form is too old: please try again.")
        address = address_of(request)
        former = request.cookies.get(self._visitors.cookie)
        try:
            if sent.fields.get("token"):
                session = self._visitors.sign_in_by_token(sent.fields["token"], address, former)
            else:
                name, password = sent.fields.get("name", ""), sent.fields.get("password", "")
                session = self._visitors.sign_in(name, password, address, former)
        except TooMany as wait:  # not entered as an act: who floods must not fill the log
            minutes = -(-wait.seconds // 60)
            again = self.page(
                request, target, status=429, said=f"Too many failed logins: try again in {minutes} minutes."
            )
            again.headers["Retry-After"] = str(wait.seconds)
            return again
        if session is None:
            self._auditing.login("refused")
            return self.page(request, target, status=401, said="Name and password, or the token, do not fit.")
        return self._entered(session, target)

    def leave_for_provider(self, target: str) -> Response:
        """Send the browser to the identity provider."""
        if self._provider is None:
            return Response(status_code=303, headers={**HEADERS, "Location": "/login"})
        left = self._provider.leave(target)
        response = Response(status_code=303, headers={**HEADERS, "Location": left.url})
        self._set(response, self._away_cookie, left.cookie, AWAY_SECONDS)
        return response

    def back_from_provider(self, request: Request, query: Mapping[str, str]) -> Response:
        """Sign in whom the provider vouches for.  Raises NotVouched."""
        if self._provider is None:
            raise NotVouched("no identity provider is configured")
        found = self._provider.come_back(request.cookies.get(self._away_cookie), query)
        former = request.cookies.get(self._visitors.cookie)
        issuer = self._provider.config.issuer
        session = self._visitors.sign_in_by_provider(issuer, found.subject, found.name, found.role, former)
        if session is None:
            raise NotVouched("this account is disabled here: ask an admin")
        response = self._entered(session, safe(found.target))
        self._drop(response, self._away_cookie)
        return response

    def unvouched(self, request: Request, problem: NotVouched) -> Response:
        """Tell why the provider's word was not taken."""
        self._auditing.login("refused")
        response = self.page(request, "/", status=400, said=f"Not signed in: {problem}.")
        self._drop(response, self._away_cookie)
        return response

    def leave(self, request: Request) -> Response:
        """Sign out."""
        secret = request.cookies.get(self._visitors.cookie)
        if secret:
            self._visitors.sign_out(secret)
        response = Response(status_code=303, headers={**HEADERS, "Location": "/login"})
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        self._drop(response, self._visitors.cookie)
        return response

    def _entered(self, session: str, target: str) -> Response:
        caller = self._visitors.browser(session)
        if caller is not None:
            self._auditing.login("signed in", kind=Kind(caller.kind), name=caller.name, key=caller.key)
        response = Response(status_code=303, headers={**HEADERS, "Location": target})
        self._set(response, self._visitors.cookie, session, None)
        self._drop(response, self._form_cookie)
        return response

    def _set(self, response: Response, name: str, value: str, seconds: int | None) -> None:
        """Lax, not Strict: a provider's redirect and a link in a mail have to arrive signed in; changes carry more."""
        how: dict[str, Any] = {"path": "/", "httponly": True, "samesite": "lax", "secure": self._visitors.secure}
        response.set_cookie(name, value, max_age=seconds, **how)

    def _drop(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", httponly=True, samesite="lax", secure=self._visitors.secure)


def login_routes(
    visitors: Visitors, auditing: Auditing, provider: Provider | None, templates: jinja2.Environment
) -> APIRouter:
    """Their paths."""
    router = APIRouter(include_in_schema=False)
    login = Login(visitors, auditing, provider, templates)

    @router.get("/login")
    def show_login(request: Request, next: Next = "") -> Response:  # noqa: A002 - the parameter's name
        return login.page(request, safe(next))

    @router.post("/login")
    def enter(request: Request, sent: Annotated[Form, Depends(form)]) -> Response:
        return login.enter(request, sent)

    @router.get("/login/provider")
    def leave_for_provider(request: Request, next: Next = "") -> Response:  # noqa: A002
        try:
            return login.leave_for_provider(safe(next))
        except NotVouched as problem:
            return login.unvouched(request, problem)

    @router.get("/login/callback")
    def back_from_provider(request: Request) -> Response:
        query = {key: value for key, value in request.query_params.items() if len(value) <= _SHOWN}
        try:
            return login.back_from_provider(request, query)
        except NotVouched as problem:
            return login.unvouched(request, problem)

    @router.post("/logout")
    def leave(request: Request) -> Response:
        return login.leave(request)

    return router
