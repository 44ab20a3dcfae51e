"""Who is answered by the operations API.

With a token: whoever sends it as ``Authorization: Bearer`` (RFC 6750).  Without one: callers on this machine only, by
the connection's own address, never by what a header says, and only under a loopback name, so that a page whose name is
made to point here (DNS rebinding) reads nothing.  A browser's request that changes something has to come from our own
pages.  https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import hmac
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

import structlog
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

log = structlog.get_logger(__name__)

NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1: they change nothing
# One of these means that a proxy stands between: then the connection's address is the proxy's, not the caller's.
# RFC 7239, RFC 9110 7.6.3, https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
PROXIED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")

_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="The value of TANDEM_TOKEN.  Where none is set, callers on this machine are answered without it.",
)
_CONFIGURE: Final = (
    "set TANDEM_TOKEN to at least 16 random characters, restart Tandem, and send `Authorization: Bearer <token>`"
)


class Guard:
    """Decides about one request at a time."""

    def __init__(self, token: SecretStr | None) -> None:
        """``token`` None or blank: no token is configured."""
        text = token.get_secret_value().strip() if token is not None else ""
        self._token = text.encode() if text else None

    @property
    def asks_for_token(self) -> bool:
        """Whether a token is configured, so that everybody needs it."""
        return self._token is not None

    def refusal(self, request: Request) -> HTTPException | None:
        """Why the caller is not answered; None where it is."""
        refused = self._stranger(request) if self._token is None else self._unproven(request, self._token)
        return refused if refused is not None else _cross_site(request)

    def _unproven(self, request: Request, token: bytes) -> HTTPException | None:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            challenge = 'Bearer realm="tandem"'
            return HTTPException(401, "send `Authorization: Bearer <token>`", {"WWW-Authenticate": challenge})
        # Header values are latin-1 to the framework; this gives the bytes as they were sent.
        if not hmac.compare_digest(sent.strip().encode("latin-1"), token):
            challenge = 'Bearer realm="tandem", error="invalid_token"'
            return HTTPException(401, "this is not the token", {"WWW-Authenticate": challenge})
        return None

    def _stranger(self, request: Request) -> HTTPException | None:
        if not _on_this_machine(request):
            return HTTPException(403, f"without a token only this machine itself is answered: {_CONFIGURE}")
        if _host(request) not in NAMES:
            return HTTPException(
                403, f"without a token only the names localhost, 127.0.0.1 and [::1] are answered; or {_CONFIGURE}"
            )
        return None


def protect(api: FastAPI, token: SecretStr | None) -> None:
    """Give ``api`` its guard, which ``allowed`` asks."""
    api.state.guard = Guard(token)


def admits(request: Request) -> bool:
    """Whether the caller may see everything; for answers that say less to others."""
    guard: Guard = request.app.state.guard
    return guard.refusal(request) is None


async def allowed(
    request: Request, _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> None:
    """Dependency of every route that shows or changes something.  Raises HTTPException 401 or 403."""
    guard: Guard = request.app.state.guard
    refused = guard.refusal(request)
    if refused is not None:
        log.warning("api.refused", status=refused.status_code, method=request.method)
        raise refused


async def own_page(request: Request) -> None:
    """Dependency of a GET that changes something: no other site's page may send a browser there.  HTTPException 403."""
    if request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        raise HTTPException(403, "a browser may begin this from Tandem's own pages or its address bar only")


def _on_this_machine(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in PROXIED):
        return False
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def _host(request: Request) -> str | None:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return None


def _cross_site(request: Request) -> HTTPException | None:
    """A request that changes something and that another site's page sent.  No browser: neither header, so welcome."""
    if request.method in SAFE:
        return None
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = site is None or site in {"same-origin", "none"}
    if origin is not None:  # "null" where the browser does not want to say
        ours = ours and origin.lower().partition("://")[2] == request.headers.get("host", "").lower()
    return None if ours else HTTPException(403, "a browser may change something from Tandem's own pages only")
