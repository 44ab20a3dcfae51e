"""OpenID Connect: sign in by way of an identity provider (authorization code with PKCE, state and nonce).

In: a provider's issuer and what it calls us.  Out: who it vouches for.  Nothing is kept between leaving and coming
back: state, nonce and verifier are keyed hashes of one secret that only the browser has, in a cookie, together with
when it left and where it wanted to go.  So a code of somebody else's, a state of another browser and an ID token of
another login are all refused, on whichever replica the browser lands.
https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth (3.1.3.7: what to check of an ID token), RFC 7636,
RFC 9207 (``iss`` in the answer), https://www.rfc-editor.org/rfc/rfc9700 (current practice)
"""

from __future__ import annotations

import base64
import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
import orjson
import structlog
from pydantic import SecretStr

from app.core import clock
from app.core._settings_login import LOOPBACK, LoginConfig, OidcConfig
from app.ops.access.permissions import Role
from connectors import _decoding, _networks
from connectors.contract import NeedsHuman

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

log = structlog.get_logger(__name__)

# Asymmetric only: with HS256 a public key could pass for the secret (RFC 8725, 2.1), and `none` is nobody's signature.
ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
AWAY_SECONDS: Final = 600  # how long a person may take at the provider
LEEWAY_SECONDS: Final = 60  # by which the provider's clock may differ
KEPT_SECONDS: Final = 3600  # what the provider says of itself, and its keys
AGAIN_SECONDS: Final = 60  # an unknown key is looked for no more often, whoever makes up key ids
BYTES: Final = 512 * 1024
_ORDER: Final = list(Role)


class NotVouched(Exception):
    """The provider vouches for nobody, or not as it should; the text is ours and may be shown."""


@dataclass(frozen=True, slots=True)
class Left:
    """A browser that is sent to the provider."""

    url: str
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who came back."""

    subject: str
    name: str
    role: Role
    target: str  # where the person wanted to go


class Provider:
    """One provider."""

    def __init__(
        self,
        config: OidcConfig,
        secret: SecretStr | None,
        redirect_uri: str,
        *,
        now: Callable[[], float],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """``now``: seconds since 1970.  No call goes out before the first login."""
        self.config = config
        self._secret = secret
        self._redirect_uri = redirect_uri
        self._now = now
        # No redirect is followed: the provider's endpoints are what its own document says, and no others.
        if transport is None:
            issuer = urlsplit(config.issuer).hostname
            host = issuer if issuer is not None else ""
            transport = _networks.transport(host, internal=config.internal, connections=2)
        # Without one a proxy of the environment dials, which then has to know where calls may lead.
        self._http = httpx.Client(timeout=10, follow_redirects=False, transport=transport, trust_env=transport is None)
        self._lock = threading.Lock()
        self._about: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def leave(self, target: str) -> Left:
        """Where to send a browser that wants to get to ``target``.  Raises NotVouched."""
        secret = secrets.token_urlsafe(32)
        cookie = f"{int(self._now())}.{secret}.{_encoded(target.encode())}"
        asked = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self.config.scopes),
            "state": _derived(cookie, "state"),
            "nonce": _derived(cookie, "nonce"),
            "code_challenge": _encoded(sha256(_derived(cookie, "verifier").encode()).digest()),
            "code_challenge_method": "S256",
        }
        at = self._endpoint("authorization_endpoint")
        return Left(f"{at}{'&' if urlsplit(at).query else '?'}{urlencode(asked)}", cookie)

    def come_back(self, cookie: str | None, query: Mapping[str, str]) -> Vouched:
        """Who came back with these parameters.  Raises NotVouched."""
        left, _, rest = (cookie if cookie is not None else "").partition(".")
        _, _, target = rest.partition(".")
        state = query.get("state", "")
        if not cookie or not hmac.compare_digest(_derived(cookie, "state").encode(), state.encode()):
            raise NotVouched("this login was not begun in this browser: begin again")
        if not left.isdigit() or not 0 <= self._now() - int(left) <= AWAY_SECONDS:
            raise NotVouched("this login took too long: begin again")
        if not hmac.compare_digest(query.get("iss", self.config.issuer).encode(), self.config.issuer.encode()):
            raise NotVouched("the answer is from another provider: begin again")
        if not query.get("code"):
            raise NotVouched("the provider did not sign you in")
        claims = self._claims(self._token(query["code"], _derived(cookie, "verifier")), _derived(cookie, "nonce"))
        return Vouched(str(claims["sub"]), self._name(claims), self._role(claims), _decoded(target).decode())

    def _token(self, code: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": self.config.client_id,
            "code_verifier": verifier,
        }
        if self._secret is not None and self._secret.get_secret_value():
            form["client_secret"] = self._secret.get_secret_value()  # client_secret_post, OIDC Core 9
        token = self._call("POST", self._endpoint("token_endpoint"), data=form).get("id_token")
        if not isinstance(token, str):
            raise NotVouched("the provider sent no ID token: `openid` has to be among the scopes")
        return token

    def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """Everything that 3.1.3.7 asks for."""
        from joserfc import jwt  # loaded with the first login: most processes see none, and it weighs 10 MB
        from joserfc.errors import JoseError

        try:
            claims = jwt.decode(token, self._key_set(token), algorithms=ALGORITHMS).claims
        except (JoseError, ValueError) as error:
            log.warning("login.bad_id_token", error=type(error).__name__)
            raise NotVouched("the provider's ID token has no signature that fits") from None
        us, audience = self.config.client_id, claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        now = self._now()
        issued, expires = claims.get("iat"), claims.get("exp")
        wrong = [
            name
            for name, right in {
                "iss": claims.get("iss") == self.config.issuer,
                "aud": us in audiences,
                "azp": claims.get("azp", us) == us and (len(audiences) == 1 or "azp" in claims),
                "exp": isinstance(expires, int | float) and now < expires + LEEWAY_SECONDS,
                "iat": isinstance(issued, int | float) and issued - LEEWAY_SECONDS <= now,
                "nonce": hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()),
                "sub": isinstance(claims.get("sub"), str) and 0 < len(claims["sub"]) <= 255,
            }.items()
            if not right
        ]
        if wrong:
            log.warning("login.bad_id_token", claims=wrong)
            raise NotVouched(f"the provider's ID token is not for this login ({', '.join(wrong)})")
        return dict(claims)

    def _name(self, claims: Mapping[str, Any]) -> str:
        for claim in (self.config.name_claim, "email", "sub"):
            value = claims.get(claim)
            if isinstance(value, str) and value.strip():
                return value
        raise NotVouched("the provider does not say who you are")

    def _role(self, claims: Mapping[str, Any]) -> Role:
        groups = claims.get(self.config.groups_claim, ())
        names = {groups} if isinstance(groups, str) else {g for g in groups if isinstance(g, str)}
        found = [Role(role) for group, role in self.config.roles.items() if group in names]
        if found:
            return max(found, key=_ORDER.index)
        if self.config.default_role is None:
            raise NotVouched("you are signed in there, but none of your groups has a role here: ask an admin")
        return Role(self.config.default_role)

    def _key_set(self, token: str) -> KeySet:
        """The provider's keys; fetched anew where they have no key of the token's id."""
        from joserfc.jwk import KeySet

        with self._lock:
            now = self._now()
            kid = _kid(token)
            fresh = self._keys is not None and now - self._keys[0] < KEPT_SECONDS
            known = self._keys is not None and (kid is None or any(k.kid == kid for k in self._keys[1].keys))
            if self._keys is None or not fresh or (not known and now - self._keys[0] > AGAIN_SECONDS):
                found = self._call("GET", self._endpoint("jwks_uri", locked=True))
                self._keys = now, KeySet.import_key_set(found)  # type: ignore[arg-type]
            return self._keys[1]

    def _endpoint(self, name: str, *, locked: bool = False) -> str:
        if locked:
            return self._endpoint_of(name)
        with self._lock:
            return self._endpoint_of(name)

    def _endpoint_of(self, name: str) -> str:
        now = self._now()
        if self._about is None or now - self._about[0] > KEPT_SECONDS:
            found = self._call("GET", f"{self.config.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.config.issuer:  # OpenID Connect Discovery 4.3
                raise NotVouched(
                    "the provider names another issuer than tandem.yml: they have to be equal to the letter"
                )
            self._about = now, found
        at = self._about[1].get(name)
        if not isinstance(at, str) or not _safe(at, self.config.issuer):
            raise NotVouched(f"the provider names no {name} that can be used")
        return at

    def _call(self, method: str, url: str, **sent: Any) -> dict[str, Any]:
        """A JSON object; nothing sent and nothing received is repeated by an error."""
        try:
            headers = {"Accept": "application/json", "Accept-Encoding": _decoding.ACCEPTED}
            with self._http.stream(method, url, headers=headers, **sent) as answer:
                body = b""
                for part in _decoding.pieces(answer):
                    body += part
                    if len(body) > BYTES:
                        raise NotVouched("the provider's answer is too large")
                status = answer.status_code
        except (httpx.HTTPError, NeedsHuman) as error:
            log.warning("login.provider_away", error=type(error).__name__)
            raise NotVouched("the provider cannot be reached just now: try again") from None
        if status != 200:
            log.warning("login.provider_refused", status=status)
            raise NotVouched(f"the provider answered with status {status}: begin again")
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise NotVouched("the provider's answer is not JSON")
        return found


def provider_of(login: LoginConfig, secret: SecretStr | None, public_url: str) -> Provider | None:
    """The configured provider; None where none is.  ``public_url``: under which browsers reach us."""
    if login.oidc is None:
        return None
    back = f"{public_url.rstrip('/')}/login/callback"
    return Provider(login.oidc, secret, back, now=lambda: clock.to_ms(clock.now()) / 1000)


def _safe(url: str, issuer: str) -> bool:
    """https; or http on this machine, where the issuer is there too."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname) and parts.username is None
    return parts.scheme == "http" and parts.hostname in LOOPBACK and urlsplit(issuer).hostname in LOOPBACK


def _derived(cookie: str, what: str) -> str:
    return _encoded(hmac.new(cookie.encode(), what.encode(), sha256).digest())


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decoded(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


def _kid(token: str) -> str | None:
    try:
        header = orjson.loads(_decoded(token.partition(".")[0]))
    except ValueError:
        return None
    kid = header.get("kid") if isinstance(header, dict) else None
    return kid if isinstance(kid, str) else None
