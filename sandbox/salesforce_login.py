"""Salesforce's token endpoint.  In: a form.  Out: a token, or the error.  JWT bearer, and refresh with rotation.

A refresh token that is used a second time revokes all tokens of its family.  Sources: developer.salesforce.com, "OAuth
2.0 JWT Bearer Flow", "OAuth 2.0 Refresh Token Flow"; github.com/restforce/restforce/issues/957 (rotation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

LONGEST = 180  # seconds that a JWT may be good for
JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Login:
    """The tokens of one connected app."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        token: str,
        client_id: str,
        client_secret: str,
        user: str,
        certificate: str | None,
        rotates: bool,
    ) -> None:
        """``token``: one that is good from the start.  ``certificate``: the app's public key in PEM, for JWTs."""
        self._now = now
        self._secret = client_secret
        self._client_id, self._user = client_id, user
        self._key = None if certificate is None else RSAKey.import_key(certificate)
        self._rotates = rotates
        self._next = 1
        self.audience = "https://login.salesforce.com"
        self.good = {token}
        self.refresh = {f"refresh-0-{client_id}"}
        self.used: set[str] = set()
        self.asked = 0  # calls of the endpoint

    def expire(self) -> None:
        """All sessions end; refresh tokens stay."""
        self.good.clear()

    def takes(self, header: str) -> bool:
        """Whether an Authorization header opens the org."""
        return any(compare_digest(header.encode(), f"Bearer {token}".encode()) for token in self.good)

    def answer(self, form: Mapping[str, str], instance: str) -> tuple[int, dict[str, Any]]:
        """Status and body.  ``instance``: where the org is."""
        self.asked += 1
        match form.get("grant_type"):
            case "refresh_token":
                return self._refreshed(form, instance)
            case str(grant) if grant == JWT:
                wrong = self._wrong(form.get("assertion", ""))
                return (400, _error("invalid_grant", wrong)) if wrong else (200, self._granted(instance))
        return 400, _error("unsupported_grant_type", "grant type not supported")

    def _refreshed(self, form: Mapping[str, str], instance: str) -> tuple[int, dict[str, Any]]:
        if form.get("client_id") != self._client_id or not compare_digest(form.get("client_secret", ""), self._secret):
            return 400, _error("invalid_client_id", "client identifier invalid")
        given = form.get("refresh_token", "")
        if given in self.used:  # somebody stole it, or two refreshed at once
            self.good.clear()
            self.refresh.clear()
        if given not in self.refresh:
            return 400, _error("invalid_grant", "expired access/refresh token")
        body = self._granted(instance)
        if self._rotates:
            self.refresh.discard(given)
            self.used.add(given)
            body["refresh_token"] = f"refresh-{self._next}-{self._client_id}"
            self.refresh.add(body["refresh_token"])
        return 200, body

    def _wrong(self, assertion: str) -> str:
        if self._key is None:
            return "no certificate is registered"
        try:
            claims = jwt.decode(assertion, self._key, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return "invalid assertion"
        expires, now = claims.get("exp"), self._now()
        if not isinstance(expires, int) or not now < expires <= now + LONGEST:
            return "invalid assertion: exp"
        if (claims.get("iss"), claims.get("sub")) != (self._client_id, self._user):
            return "user hasn't approved this consumer"
        return "" if claims.get("aud") == self.audience else "audience is invalid"

    def _granted(self, instance: str) -> dict[str, Any]:
        token = f"00D5f000000ABCD!sandbox-{self._next:06d}"
        self._next += 1
        self.good.add(token)
        return {
            "access_token": token,
            "instance_url": instance,
            "id": "https://login.salesforce.com/id/00D5f000000ABCDEA4/0055f000000BBBBBB2",
            "token_type": "Bearer",
            "issued_at": str(int(self._now() * 1000)),
            "signature": "c2FuZGJveA==",
            "scope": "api refresh_token",
        }


def _error(code: str, description: str) -> dict[str, Any]:
    return {"error": code, "error_description": description}
