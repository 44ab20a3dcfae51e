"""``login`` of ``tandem.yml``: how long a session lasts, and the identity provider."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

RoleName = Literal["viewer", "analyst", "steward", "operator", "admin"]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class OidcConfig(BaseModel):
    """An OpenID Connect provider.  Its client secret is ``TANDEM_OIDC_CLIENT_SECRET``; without: a public client."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str  # as the provider writes it in its tokens, to the letter
    client_id: str = Field(min_length=1)
    label: str = "your company's login"  # on the button
    internal: bool = False  # it is in a private network: addresses there may be called
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"  # else email, else sub
    groups_claim: str = "groups"
    roles: dict[str, RoleName] = Field(default_factory=dict)  # group -> role; of several the one that may most
    default_role: RoleName | None = None  # of who is in none of the groups; None = is not let in

    @field_validator("issuer")
    @classmethod
    def _issuer(cls, value: str) -> str:
        parts = urlsplit(value)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        if not safe or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("issuer is an https URL without a query, as the provider's tokens name it")
        return value

    @field_validator("scopes")
    @classmethod
    def _scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return value if "openid" in value else ("openid", *value)


class LoginConfig(BaseModel):
    """Sessions of the console.  OWASP's session cheat sheet: 15 to 30 min idle for what matters, 4 to 8 h in all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    idle_minutes: float = Field(default=30, ge=1, le=24 * 60)
    hours: float = Field(default=8, gt=0, le=24 * 30)
    oidc: OidcConfig | None = None
