"""An authorization server as vendors run them: RFC 6749, 6750, 7009, 7523 and 7636, and what their documents add.

``GET`` of the authorize path shows a page with two buttons; each leads back to the app, with a code or with an error.
The token path takes codes, refresh tokens, client credentials and signed JWTs.  A code is good once and for a moment; a
refresh token that is used a second time after a newer one was made revokes all that came from the same consent, as
RFC 9700 4.14.2 has it.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from html import escape
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.front import Json

CLIENT = "sandbox-app"
CLIENT_SECRET = "sandbox-client-secret"  # noqa: S105 - opens nothing but this simulator
CODE_SECONDS = 300  # Klaviyo's; HubSpot's and others' are shorter
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LONGEST_JWT = 180  # seconds that a JWT may be good for, Salesforce

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{vendor}: allow access</title>
<h1>{vendor}</h1><p>{client} wants to use this account: {scope}</p>
<form method="post"><button name="choice" value="allow">Allow</button>
<button name="choice" value="deny">Deny</button></form></html>
"""


@dataclass(slots=True)
class Consent:
    """What one person allowed; all tokens that came from it."""

    scope: str
    refresh: str | None = None  # the one that is good now
    revoked: bool = False
    used_at: float = 0.0  # when the refresh token was used last
    spent: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Code:
    redirect_uri: str
    challenge: str | None
    scope: str
    until: float


class Refused(Exception):
    """A token endpoint's no."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


@dataclass
class Server:
    """One vendor's authorization server.  Seconds everywhere."""

    vendor: str
    authorize: str = "/oauth/authorize"  # paths
    token: str = "/oauth/token"  # noqa: S105 - a path
    revoke: str | None = "/oauth/revoke"
    client_id: str = CLIENT
    client_secret: str = CLIENT_SECRET
    basic: bool | None = None  # the client's proof in the header (True), in the form (False), either (None)
    lives: int | None = 1800  # of an access token; None = it does not expire, and nothing is said of it
    tells: bool = True  # whether it says how long
    refreshes: bool = True
    rotates: bool = True
    idle: int | None = None  # after which an unused refresh token ends
    extra: Mapping[str, Any] = field(default_factory=dict)  # more that it says with a token
    invalid: Mapping[str, Any] = field(default_factory=dict)  # more that it says with invalid_grant
    agrees: bool = False  # no page: at once back with a code
    public_key: str | None = None  # PEM, of JWTs
    audience: str | None = None
    clock: Callable[[], float] = time.time
    asked: list[str] = field(default_factory=list)  # every grant that was asked for at the token path, in order

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, tuple[Consent, float | None]] = {}
        self._refresh: dict[str, Consent] = {}
        self.consents: list[Consent] = []

    def routes(self) -> list[BaseRoute]:
        """The endpoints."""
        found = [
            Route(self.authorize, self._authorize, methods=["GET", "POST"]),
            Route(self.token, self._token, methods=["POST"]),
        ]
        return [*found, *([Route(self.revoke, self._revoked, methods=["POST"])] if self.revoke is not None else [])]

    def serves(self, path: str) -> bool:
        """Whether a path is one of the endpoints, which need no token."""
        return path in {self.authorize, self.token, self.revoke}

    def opens(self, token: str) -> bool:
        """Whether an access token is good now."""
        consent, until = self._access.get(token, (None, None))
        return consent is not None and not consent.revoked and (until is None or until > self.clock())

    # --- what happens at the vendor ---------------------------------------------------------------------------------

    def expire(self) -> None:
        """All access tokens end now."""
        self._access = {token: (consent, 0.0) for token, (consent, _) in self._access.items()}

    def uninstall(self) -> None:
        """A person takes back all that was allowed."""
        for consent in self.consents:
            consent.revoked = True

    # --- the pages ----------------------------------------------------------------------------------------------------

    async def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        back = query.get("redirect_uri", "")
        if query.get("client_id") != self.client_id or urlsplit(back).scheme not in {"http", "https"}:
            return HTMLResponse("<h1>This app is not known here</h1>", 400)  # never back to an address nobody knows
        choice = dict(parse_qsl((await request.body()).decode())).get("choice", "allow" if self.agrees else None)
        if choice is None:
            named = {"vendor": escape(self.vendor), "client": escape(self.client_id)}
            return HTMLResponse(_PAGE.format(**named, scope=escape(query.get("scope", ""))))
        return RedirectResponse(self.answer(query, allow=choice == "allow"), 303)

    def answer(self, query: Mapping[str, str], *, allow: bool) -> str:
        """Where a person's choice leads: back to the app.  ``query``: of the authorize URL."""
        said = {"state": query["state"]} if "state" in query else {}
        challenge = query.get("code_challenge")
        if query.get("response_type", "code") != "code":
            said["error"] = "unsupported_response_type"
        elif challenge is not None and query.get("code_challenge_method") != "S256":
            said["error"] = "invalid_request"
        elif not allow:
            said["error"] = "access_denied"
        else:
            said["code"] = self._new("code")
            until = self.clock() + CODE_SECONDS
            self._codes[said["code"]] = _Code(query["redirect_uri"], challenge, query.get("scope", ""), until)
        return f"{query['redirect_uri']}{'&' if '?' in query['redirect_uri'] else '?'}{urlencode(said)}"

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        grant = form.get("grant_type", "")
        self.asked.append(grant)
        try:
            return Json(self._granted(grant, form, request.headers.get("authorization", "")))
        except Refused as refusal:
            more = dict(self.invalid) if refusal.error == "invalid_grant" else {}
            return Json({"error": refusal.error, "error_description": "sandbox", **more}, status_code=refusal.status)

    def _granted(self, grant: str, form: Mapping[str, str], header: str) -> dict[str, Any]:
        if grant == JWT_GRANT:
            self._check_assertion(form.get("assertion", ""))
            return self._give(Consent(form.get("scope", "")), refresh=False)
        self._check_client(form, header)
        match grant:
            case "authorization_code":
                return self._give(self._redeem(form), refresh=self.refreshes)
            case "refresh_token":
                return self._give(self._again(form.get("refresh_token", "")), refresh=self.rotates)
            case "client_credentials":
                return self._give(Consent(form.get("scope", "")), refresh=False)
        raise Refused("unsupported_grant_type")

    def _check_client(self, form: Mapping[str, str], header: str) -> None:
        given = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, coded = header.partition(" ")
        if self.basic is not False and scheme.lower() == "basic":
            user, _, password = base64.b64decode(coded).decode().partition(":")
            given = unquote(user), unquote(password)
        elif self.basic is True:
            raise Refused("invalid_client", 401)
        known = self.client_id, self.client_secret
        if not all(compare_digest(a.encode(), b.encode()) for a, b in zip(given, known, strict=True)):
            raise Refused("invalid_client", 401)

    def _redeem(self, form: Mapping[str, str]) -> Consent:
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.until <= self.clock() or code.redirect_uri != form.get("redirect_uri"):
            raise Refused("invalid_grant")
        if code.challenge is not None:
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != code.challenge:
                raise Refused("invalid_grant")
        consent = Consent(code.scope, used_at=self.clock())
        self.consents.append(consent)
        return consent

    def _again(self, token: str) -> Consent:
        consent = self._refresh.get(token)
        if consent is None or consent.revoked:
            raise Refused("invalid_grant")
        if self.idle is not None and consent.used_at + self.idle <= self.clock():
            raise Refused("invalid_grant")
        if token in consent.spent:
            consent.revoked = True
            raise Refused("invalid_grant")
        if self.rotates:
            consent.spent.add(token)
        consent.used_at = self.clock()
        return consent

    def _check_assertion(self, assertion: str) -> None:
        if self.public_key is None:
            raise Refused("unsupported_grant_type")
        try:
            claims = jwt.decode(assertion, RSAKey.import_key(self.public_key), algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            raise Refused("invalid_grant") from None
        left = claims.get("exp", 0) - self.clock()
        audience = self.audience is None or claims.get("aud") == self.audience
        if claims.get("iss") != self.client_id or not claims.get("sub") or not audience or not 0 < left <= _LONGEST_JWT:
            raise Refused("invalid_grant")

    def _give(self, consent: Consent, *, refresh: bool) -> dict[str, Any]:
        access = self._new("access")
        self._access[access] = (consent, self.clock() + self.lives if self.lives is not None else None)
        said: dict[str, Any] = {"access_token": access, "token_type": "bearer", **self.extra}
        if self.lives is not None and self.tells:
            said["expires_in"] = self.lives
        if consent.scope:
            said["scope"] = consent.scope
        if refresh:
            consent.refresh = self._new("refresh")
            self._refresh[consent.refresh] = consent
            said["refresh_token"] = consent.refresh
        return said

    async def _revoked(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        try:
            self._check_client(form, request.headers.get("authorization", ""))
        except Refused as refusal:
            return Json({"error": refusal.error}, status_code=refusal.status)
        token = form.get("token", "")
        consent = self._refresh.get(token, self._access.get(token, (None, None))[0])
        if consent is not None:
            consent.revoked = True
        return Json({})

    def _new(self, kind: str) -> str:
        """Text that looks like a secret of its kind, the same in each run."""
        number = next(self._numbers)
        return f"{kind}-{number}-{hashlib.sha256(f'{self.vendor}{kind}{number}'.encode()).hexdigest()[:32]}"


def hubspot(secret: str, portal_id: int, clock: Callable[[], float]) -> Server:
    """As HubSpot's documents have it; that refresh tokens rotate is the harder of what is possible."""
    return Server(
        "HubSpot",
        token="/oauth/v3/token",  # noqa: S106 - a path
        revoke="/oauth/v3/token/revoke",
        client_secret=secret,
        basic=False,
        extra={"hub_id": portal_id},
        invalid={"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token"},
        clock=clock,
    )


def mailchimp(clock: Callable[[], float]) -> Server:
    """As Mailchimp's documents have it: a token for good, and nothing to renew it by."""
    return Server(
        "Mailchimp",
        authorize="/oauth2/authorize",
        token="/oauth2/token",  # noqa: S106 - a path
        revoke=None,
        basic=False,
        lives=None,
        refreshes=False,
        rotates=False,
        clock=clock,
    )


def pipedrive(clock: Callable[[], float]) -> Server:
    """As Pipedrive's documents have it: the app proves itself in the header; that refresh tokens rotate is ours."""
    return Server("Pipedrive", basic=True, lives=3600, idle=60 * 86_400, clock=clock)
