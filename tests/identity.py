"""An OpenID Connect provider that lives in a transport: discovery, keys, authorization, token.

It checks what a provider checks (client, redirect URL, PKCE by Authlib's own function, a code good once) and lets a
test change what it says.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from app.core.clock import now, to_ms

ISSUER = "https://login.example/realms/acme"
KEY, OTHER = (RSAKey.generate_key(2048, {"kid": "one"}) for _ in range(2))  # once: it takes long
CLIENT, SECRET = "tandem", "a-client-secret-of-some-length"


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def part(value: dict[str, Any]) -> str:
    return encoded(json.dumps(value).encode())


class Provider:
    """``people``: what the provider knows of whoever signs in there; ``change``: a last word on what it says."""

    def __init__(self) -> None:
        self.key = KEY
        self.claims: dict[str, Any] = {"sub": "u-1", "preferred_username": "Ann", "groups": ["crm-admins", "all"]}
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.about: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.down = False
        self.said: dict[str, Any] = {}  # claims that are put into every ID token, whatever is right

    def signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key, algorithms=["RS256"])

    def signed_by_secret(self, claims: dict[str, Any]) -> str:
        """With the public key as if it were a shared secret (RFC 8725, 2.1)."""
        text = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(claims)}"
        return f"{text}.{encoded(hmac.digest(self.key.as_pem(private=False), text.encode(), 'sha256'))}"

    def signed_by_other(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, OTHER, algorithms=["RS256"])

    def unsigned(self, claims: dict[str, Any]) -> str:
        return f"{part({'alg': 'none'})}.{part(claims)}."

    def authorize(self, url: str) -> dict[str, str]:
        """A person signs in there: what the browser is sent back with."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": ISSUER}

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.down:
            raise httpx.ConnectError("away")
        match request.url.path:
            case "/realms/acme/.well-known/openid-configuration":
                usual = {
                    "issuer": ISSUER,
                    "authorization_endpoint": "https://login.example/authorize?realm=acme",
                    "token_endpoint": "https://login.example/token",
                    "jwks_uri": "https://login.example/keys",
                }
                return httpx.Response(200, json=usual | self.about)
            case "/keys":
                return httpx.Response(200, json=KeySet([self.key]).as_dict(private=False))
            case "/token":
                return self._token({k: v[0] for k, v in parse_qs(request.content.decode()).items()})
        return httpx.Response(302, headers={"location": "http://169.254.169.254/latest/meta-data"})

    def _token(self, form: dict[str, str]) -> httpx.Response:
        asked = self.codes.pop(form.get("code", ""), None)
        right = asked is not None and (
            form["client_id"] == CLIENT
            and form["client_secret"] == SECRET
            and form["redirect_uri"] == asked["redirect_uri"]
            and create_s256_code_challenge(form["code_verifier"]) == asked["code_challenge"]
        )
        if asked is None or not right:
            return httpx.Response(400, json={"error": "invalid_grant"})
        seconds = to_ms(now()) // 1000
        claims = {
            "iss": ISSUER,
            "aud": CLIENT,
            "iat": seconds,
            "exp": seconds + 300,
            "nonce": asked["nonce"],
            **self.claims,
            **self.said,
        }
        token = self.sign({name: value for name, value in claims.items() if value is not None})
        return httpx.Response(200, json={"access_token": "x", "token_type": "Bearer", "id_token": token})
