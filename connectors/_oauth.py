"""The wire of OAuth 2.  In: a vendor's facts and an app.  Out: an authorize URL, and tokens.  Knows no store.

All calls go through the shared client, so that only the token endpoint's own host is called, redirects are not
followed, and no error repeats what was sent.  Sources: RFC 6749 (framework), 7636 (PKCE), 7523 (JWT), 7009 (revoke),
9700 (what became of all that in practice).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import httpx
import orjson

from connectors._http import Http, Step, step
from connectors._oauth_facts import Client, ClientAuth, Grant, Granted, OAuth, said
from connectors._wording import masked
from connectors.contract import Limits, NeedsHuman, TryLater

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

JWT_SECONDS: Final = 150  # Salesforce takes at most three minutes; less leaves room for clocks that differ
TIMEOUT: Final = 30.0  # seconds for one call of a token endpoint; ours
_LONGEST: Final = 10 * 366 * 86_400  # seconds; what says more does not know what it says

# What a token endpoint may call an error (RFC 6749 5.2, and vendors beside it), as the next step.
_GRANT: Final = frozenset({"invalid_grant", "bad_refresh_token", "invalid_code", "access_denied", "expired_token"})
_LATER: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down", "too_many_requests"})


class GrantLost(NeedsHuman):
    """The server takes this code or refresh token no more: only a person's new consent helps."""


def new_secret() -> str:
    """A state or a code verifier: 256 random bits in 43 characters (RFC 7636 4.1)."""
    return secrets.token_urlsafe(32)


def challenge(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636 4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


class Authority:
    """A vendor's authorization server as one app sees it.  Safe for threads.

    Calls raise TryLater (``landed`` where it may have been carried out), GrantLost (code or refresh token) and
    NeedsHuman (the app itself is refused).
    """

    def __init__(
        self,
        facts: OAuth,
        grant: Grant,
        client: Client,
        *,
        now: Callable[[], float],
        timeout: float = TIMEOUT,
        internal: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """``now``: seconds since 1970, for JWTs.  ``internal``: as of ``Http``.  No I/O.

        ValueError where the app lacks what its grant needs, and for an address that may not be called.
        """
        self.facts, self.grant, self._client, self._now = facts, grant, client, now
        if grant is Grant.JWT and (client.key is None or client.subject is None):
            raise ValueError("JWT needs private_key and username")
        if grant is not Grant.JWT and client.secret is None:
            raise ValueError("client_secret is not set")
        self._key = _key(client.key) if grant is Grant.JWT and client.key is not None else None
        self._http = _client(facts.token_url, timeout, transport, internal=internal)
        revoke = facts.revoke_url
        self._revoking = _client(revoke, timeout, transport, internal=internal) if revoke is not None else None

    def __repr__(self) -> str:
        return f"<Authority {urlsplit(self.facts.token_url).hostname}>"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        if self._revoking is not None:
            self._revoking.close()

    def url(self, *, state: str, verifier: str, redirect_uri: str) -> str:
        """Where a person agrees.  Holds the state, which is secret until it comes back."""
        query = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": redirect_uri,
            **({"scope": " ".join(self.facts.scopes)} if self.facts.scopes else {}),
            "state": state,
            **({"code_challenge": challenge(verifier), "code_challenge_method": "S256"} if self.facts.pkce else {}),
            **self.facts.extra,
        }
        return f"{self.facts.authorize_url}?{urlencode(query, quote_via=quote)}"

    def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Granted:
        """The tokens for a code, which can be used once."""
        form = {"grant_type": str(Grant.CODE), "code": code, "redirect_uri": redirect_uri}
        if self.facts.pkce:
            form["code_verifier"] = verifier
        return self._ask(form)

    def refresh(self, refresh_token: str) -> Granted:
        """New tokens for a refresh token, which may be worth nothing afterwards."""
        return self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def obtain(self) -> Granted:
        """A token without a person: by the app's secret or by a JWT that it signs."""
        form = {"grant_type": str(self.grant)}
        if self.grant is Grant.JWT:
            return self._ask({**form, "assertion": self._assertion()}, bare=True)
        return self._ask({**form, **({"scope": " ".join(self.facts.scopes)} if self.facts.scopes else {})})

    def revoke(self, token: str) -> bool:
        """Ask the vendor to forget a token (RFC 7009); False where it has no way for that."""
        if self._revoking is None or self.facts.revoke_url is None:
            return False
        headers, form = self._proof({"token": token})
        self._revoking.send("POST", urlsplit(self.facts.revoke_url).path, form=form, headers=headers, take={400, 404})
        return True

    def _ask(self, form: Mapping[str, str], *, bare: bool = False) -> Granted:
        """``bare``: the form itself proves who we are."""
        headers, whole = ({}, dict(form)) if bare else self._proof(form)
        path = urlsplit(self.facts.token_url).path
        headers = {"Accept": "application/json", **headers}
        response = self._http.send("POST", path, form=whole, headers=headers, take=range(400, 500), safe=False)
        body = _object(response)
        error = said(body, "error") if not isinstance(body.get("error"), Mapping) else "error"
        access = said(body, "access_token")
        # Zoho and others say no with a 200: what counts is whether there is a token.
        if response.status_code >= 300 or error is not None or access is None:
            raise self._refusal(response, body, whole)
        lives = body.get("expires_in")
        try:
            seconds = min(int(lives), _LONGEST) if lives is not None else self.facts.lives
        except (TypeError, ValueError):
            seconds = self.facts.lives
        scope = body.get("scope", body.get("scopes"))
        return Granted(
            access,
            said(body, "refresh_token"),
            None if seconds is None or seconds <= 0 else seconds,  # 0 is said of tokens that do not expire
            tuple(scope.replace(",", " ").split()) if isinstance(scope, str) else tuple(map(str, scope or ())),
            said(body, self.facts.place),
            said(body, self.facts.account),
        )

    def _refusal(self, response: httpx.Response, body: Mapping[str, Any], sent: Mapping[str, str]) -> Exception:
        words = {w.lower() for key in ("error", "status", "errorCode") if (w := said(body, key)) is not None}
        host = urlsplit(self.facts.token_url).hostname
        first = said(body, "error")
        what = f"{host}: no token: {response.status_code}"
        if first is not None:  # a word of the protocol; its description may repeat what was sent
            what += f", {masked(first[:80], list(sent.values()))}"
        if words & _GRANT:
            return GrantLost(what)
        if words & _LATER or step(response.status_code) is Step.TRY_LATER:
            return TryLater(what, landed=False)
        if response.status_code < 300 and first is None:
            return TryLater(f"{what}, an answer without a token", landed=True)
        return NeedsHuman(f"{what}; look at the app's id, secret, redirect URL and scopes")

    def _proof(self, form: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Headers and form that say who we are."""
        secret = self._client.secret if self._client.secret is not None else ""
        if self.facts.client is ClientAuth.BASIC:
            pair = f"{quote(self._client.id, safe='')}:{quote(secret, safe='')}"  # RFC 6749 2.3.1: encoded first
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, dict(form)
        whole = {**form, "client_id": self._client.id}
        return {}, {**whole, "client_secret": secret} if secret else whole

    def _assertion(self) -> str:
        """A JWT that says for whom we act (RFC 7523 3), good for a moment."""
        if self._key is None:
            raise ValueError("JWT needs private_key")
        from joserfc import jwt  # loaded by who signs: few accounts do, and it weighs 10 MB with its ciphers

        now = int(self._now())
        audience = self.facts.audience if self.facts.audience is not None else self.facts.token_url
        claims = {
            "iss": self._client.id,
            "sub": self._client.subject,
            "aud": audience,
            "iat": now,
            "exp": now + JWT_SECONDS,
            "jti": secrets.token_urlsafe(12),
        }
        return jwt.encode({"alg": "RS256"}, claims, self._key)


def _key(pem: str) -> RSAKey:
    """A PEM; its line ends may be written as a backslash and an n, as an environment variable has one line."""
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    try:
        return RSAKey.import_key(pem.replace("\\n", "\n"))
    except (JoseError, ValueError, TypeError):
        raise ValueError("private_key is no RSA key in PEM form") from None


def _client(url: str, timeout: float, transport: httpx.BaseTransport | None, *, internal: bool) -> Http:
    parts = urlsplit(url)
    base = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    return Http(
        base_url=base,
        hosts=(),
        limits=Limits(),
        share=1.0,
        reserve=0.0,
        timeout=timeout,
        internal=internal,
        transport=transport,
    )


def _object(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, Mapping) else {}
