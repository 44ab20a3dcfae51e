"""What a vendor's authorization server is like: facts, no I/O.  In: the vendor's documents.  Out: frozen values.

A connector declares an ``OAuth``; ``_oauth`` speaks to the server by it; ``_http`` asks a ``Tokens`` for the header of
each request.  Words as in RFC 6749.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class Grant(StrEnum):
    """By what right a token is had; each value is the ``grant_type`` of the wire."""

    CODE = "authorization_code"  # a person agrees in a browser
    CLIENT = "client_credentials"  # the app's own secret is enough
    JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # the app signs who it acts for, RFC 7523


class ClientAuth(StrEnum):
    """How the app proves at the token endpoint who it is (RFC 6749 2.3.1)."""

    POST = "client_secret_post"  # id and secret in the form
    BASIC = "client_secret_basic"  # in the Authorization header


class Rotation(StrEnum):
    """Whether a refresh makes a new refresh token, so that the old one is worth nothing any more."""

    NEVER = "never"
    ALWAYS = "always"
    UNKNOWN = "unknown"  # not documented: the newest is kept, as with ALWAYS


@dataclass(frozen=True, slots=True)
class OAuth:
    """One vendor's authorization server.  The hosts of its URLs are called for tokens, and no other."""

    token_url: str
    authorize_url: str = ""  # needed for Grant.CODE
    revoke_url: str | None = None  # RFC 7009
    grants: tuple[Grant, ...] = (Grant.CODE,)  # the first is taken where nothing says otherwise
    scopes: tuple[str, ...] = ()
    client: ClientAuth = ClientAuth.POST
    # RFC 9700 2.1.1 wants it of every client; RFC 6749 3.1 and 3.2 have a server that does not know it pass over it.
    pkce: bool = True
    refreshes: bool = True  # Grant.CODE: whether it gives refresh tokens at all
    rotates: Rotation = Rotation.UNKNOWN
    lives: int | None = None  # seconds of an access token whose answer has no expires_in; None = it does not expire
    idle: int | None = None  # seconds after which an unused refresh token is worth nothing
    scheme: str = "Bearer"  # the word before the token in the Authorization header
    extra: Mapping[str, str] = field(default_factory=dict)  # more parameters of the authorize URL
    place: str | None = None  # key of the answer that says where the API is ("instance_url")
    account: str | None = None  # key of the answer that says whose account it is ("hub_id")
    audience: str | None = None  # ``aud`` of a JWT; None = the token URL
    # RFC 9110 15.5.2: what is answered with 401 was not carried out.  Only where the vendor says so itself is a write
    # repeated at once; elsewhere it is sent again as one that may have landed, after a look.
    undone: bool = False
    instead_of: str = "access_token"  # the setting of the static key: one or the other


@dataclass(frozen=True, slots=True)
class Client:
    """The app as it is registered with the vendor.  By settings: client_id, client_secret, private_key, username."""

    id: str
    secret: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)  # PEM of an RSA key, for Grant.JWT
    subject: str | None = None  # the user that the app acts for, for Grant.JWT

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Client:
        """From a connection's settings.  Of a secret that is being rotated (``new,old``) the new one."""
        secret = settings.get("client_secret", "").partition(",")[0].strip()
        key, subject = settings.get("private_key", "").strip(), settings.get("username", "").strip()
        return cls(settings["client_id"].strip(), secret or None, key or None, subject or None)


def grant_of(facts: OAuth, settings: Mapping[str, str]) -> Grant:
    """The grant of a connection: as its setting ``grant`` says, JWT where it has a key, else the vendor's usual one.

    ValueError for a grant that the vendor does not have.
    """
    said = settings.get("grant", "").strip()
    if said:
        names = {"jwt_bearer": Grant.JWT, **{str(g): g for g in facts.grants}}
        if names.get(said) not in facts.grants:
            known = ", ".join("jwt_bearer" if g is Grant.JWT else str(g) for g in facts.grants)
            raise ValueError(f"grant {said!r} is unknown; known: {known}")
        return names[said]
    if Grant.JWT in facts.grants and settings.get("private_key", "").strip():
        return Grant.JWT
    return facts.grants[0]


@dataclass(frozen=True, slots=True)
class Granted:
    """What a token endpoint gave."""

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)  # None: it gave none (a refresh: the old one stays)
    lives: int | None = None  # seconds; None = it does not expire
    scopes: tuple[str, ...] = ()
    place: str | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """What the next request is sent with."""

    header: str = field(repr=False)  # the whole Authorization header
    number: int = 0  # grows with every token of the connection
    place: str | None = None  # where the API is, as the vendor said; None = as configured


class Tokens(Protocol):
    """Where a client gets its tokens from."""

    undone: bool  # see ``OAuth.undone``

    def current(self, refused: Token | None = None) -> Token:
        """A token to send with; ``refused``: not this one, the vendor did not take it.

        Raises TryLater (none could be had now) and NeedsHuman (somebody has to connect again).
        """


def said(body: Any, key: str | None) -> str | None:
    """A text or number of an answer by its key, as text; None where there is none."""
    value = body.get(key) if key is not None and isinstance(body, Mapping) else None
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value) else None
