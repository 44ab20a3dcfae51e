"""Who is answered, and with what: the gate before every route.

A caller is known by a token (``Authorization: Bearer``, RFC 6750): the installation's, or a program's own; by the
cookie of a session; or, where no token is configured and nobody has an account, by being on this machine: by the
connection's own address, never by what a header says, and only under a loopback name, so that a page whose name is
made to point here (DNS rebinding) reads nothing.  What the caller may is ``app.ops.access.permissions``'s word.  A
browser's request that changes something has to come from our own pages, and with a session also to carry the session's
form token.
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import hmac
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

import structlog
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool

from app.ops.access.around import FORM, Around
from app.ops.access.auditing import HOLDER, Auditing, document
from app.ops.access.permissions import UNASKED, needed
from app.ops.access.principal import CALLER, INSTALLATION, LOCAL, Principal
from app.ops.access.visitors import Visitors, form_token

log = structlog.get_logger(__name__)

NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1: they change nothing
# One of these means that a proxy stands between: then the connection's address is the proxy's, not the caller's.
# RFC 7239, RFC 9110 7.6.3, https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
PROXIED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
FORM_HEADER: Final = "x-csrf-token"

_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="An API token of `tandem token new`, or the value of TANDEM_TOKEN.  Where neither a token nor an "
    "account is set up, callers on this machine are answered without it.",
)
_CONFIGURE: Final = (
    "set TANDEM_TOKEN to at least 16 random characters, restart Tandem, and send `Authorization: Bearer <token>`"
)


class Unknown(HTTPException):
    """It is not known who the caller is; who is known and may not is a plain HTTPException."""


class Guard:
    """Decides about one request at a time."""

    def __init__(
        self,
        token: SecretStr | None,
        visitors: Visitors | None = None,
        auditing: Auditing | None = None,
        *,
        demo: bool = False,
    ) -> None:
        """``token`` None or blank: none is configured.  ``visitors`` None: the store knows nobody.

        ``demo``: its pages show made-up people to any browser on this machine, whatever else is configured.
        """
        text = token.get_secret_value().strip() if token is not None else ""
        self._token = text.encode() if text else None
        self.visitors = visitors
        self.auditing = auditing
        self._demo = demo

    @property
    def asks_for_token(self) -> bool:
        """Whether a token is configured, so that everybody needs one."""
        return self._token is not None

    @property
    def people(self) -> bool:
        """Whether there is a login to send a browser to."""
        return self.visitors is not None and not self._demo

    def refusal(self, request: Request) -> HTTPException | None:
        """Why the caller is not answered at all; None where it is."""
        try:
            self.identify(request)
        except HTTPException as refused:
            return refused
        return None

    def identify(self, request: Request) -> Principal:
        """Who it is.  Raises HTTPException 401 or 403, also for a change that another site's page asks for."""
        caller = self._known(request)
        refused = _cross_site(request)
        if refused is None and caller.session is not None:
            refused = _without_form_token(request, caller.session)
        if refused is not None:
            raise refused
        return caller

    def _known(self, request: Request) -> Principal:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        # Header values are latin-1 to the framework; this gives the bytes as they were sent.
        sent_bytes = sent.strip().encode("latin-1") if scheme.lower() == "bearer" else None
        if sent_bytes is not None:
            if self._token is not None and hmac.compare_digest(sent_bytes, self._token):
                return INSTALLATION
            found = self.visitors.program(sent_bytes.decode("latin-1")) if self.visitors is not None else None
            if found is not None:
                return found
        elif self.visitors is not None and (secret := request.cookies.get(self.visitors.cookie)):
            found = self.visitors.browser(secret)
            if found is not None:
                return found
        if self._demo and _on_a_page(request) and self._stranger(request) is None:
            return LOCAL
        asked = self._token is not None or (self.visitors is not None and self.visitors.anybody())
        refused = _unproven(sent_bytes) if asked else self._stranger(request)
        if refused is not None:
            raise refused
        return LOCAL

    def _stranger(self, request: Request) -> Unknown | None:
        if not _on_this_machine(request):
            return Unknown(403, f"without a token only this machine itself is answered: {_CONFIGURE}")
        if _host(request) not in NAMES:
            return Unknown(
                403, f"without a token only the names localhost, 127.0.0.1 and [::1] are answered; or {_CONFIGURE}"
            )
        return None


def _unproven(sent: bytes | None) -> Unknown:
    if sent is None:
        return Unknown(401, "send `Authorization: Bearer <token>`", {"WWW-Authenticate": 'Bearer realm="tandem"'})
    challenge = 'Bearer realm="tandem", error="invalid_token"'
    return Unknown(401, "this is not the token, or it is good no more", {"WWW-Authenticate": challenge})


def protect(
    api: FastAPI,
    token: SecretStr | None,
    visitors: Visitors | None = None,
    auditing: Auditing | None = None,
    *,
    demo: bool = False,
) -> None:
    """Give ``api`` its guard, which ``gate`` asks, and what stands around its answers."""
    api.state.guard = Guard(token, visitors, auditing, demo=demo)
    api.add_middleware(Around, auditing=auditing, secure=visitors is not None and visitors.secure)


def admits(request: Request) -> bool:
    """Whether the caller is known; for answers that say less to others."""
    guard: Guard = request.app.state.guard
    try:
        return guard.refusal(request) is None
    except (OperationalError, InterfaceError, PoolTimeout):  # the store cannot say whom it knows
        return not guard.asks_for_token and Guard(None).refusal(request) is None


def caller() -> Principal:
    """Who the present request is from.  Only where the route asks for somebody."""
    found = CALLER.get()
    if found is None:
        raise HTTPException(401, "this asks who you are")
    return found


async def gate(request: Request) -> None:
    """Dependency of the whole app: every route passes here.  Raises HTTPException 401 or 403, or 303 to the login.

    Sets who the request is from for all that is done for it.
    """
    path = getattr(request.scope.get("route"), "path", "")
    permission = needed(request.method, path)
    if permission in UNASKED:
        CALLER.set(None)
        return
    guard: Guard = request.app.state.guard
    try:
        found = await run_in_threadpool(guard.identify, request)
        CALLER.set(found)  # also for the page that tells somebody what they may not
        if permission is None:
            raise HTTPException(403, "this route has no permission, so nobody may use it: a defect of Tandem")
        if not found.may(permission):
            detail = f"this needs the permission {permission}, which {_whose(found)} does not have"
            raise HTTPException(403, detail)
    except HTTPException as refused:
        log.warning("api.refused", status=refused.status_code, method=request.method)
        if isinstance(refused, Unknown) and guard.people and _wants_page(request):
            raise HTTPException(303, "sign in first", {"Location": _login(request)}) from None
        raise
    holder = request.scope.get(HOLDER)
    if holder is None or guard.auditing is None:
        return
    holder["caller"] = found
    if guard.auditing.is_act(request.method, permission):
        sent = holder.get("form", {})
        if request.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
            sent = document(await request.body())  # read once, and kept by the framework
        await run_in_threadpool(guard.auditing.begin, request, found, permission, path, sent)


async def allowed(
    _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> None:
    """Dependency of every route of the API: says in its description that a token is needed; ``gate`` asks for it."""


async def own_page(request: Request) -> None:
    """Dependency of a GET that changes something: no other site's page may send a browser there.  HTTPException 403."""
    if request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        raise HTTPException(403, "a browser may begin this from Tandem's own pages or its address bar only")


def _whose(found: Principal) -> str:
    scoped = " with these scopes" if found.scopes is not None else ""
    return f"the role {found.role}{scoped}"


def _wants_page(request: Request) -> bool:
    accepts = "text/html" in request.headers.get("accept", "")
    return request.method == "GET" and accepts and "authorization" not in request.headers


def _login(request: Request) -> str:
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/login" if target == "/" else f"/login?next={quote(target, safe='')}"


def _on_a_page(request: Request) -> bool:
    """Whether the route belongs to the console, not to the described API."""
    return not getattr(request.scope.get("route"), "include_in_schema", True)


def foreign(request: Request) -> bool:
    """Whether a browser says that another site's page sent this."""
    return _cross_site(request) is not None


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


def _without_form_token(request: Request, secret: str) -> HTTPException | None:
    """A change that a session's cookie opens the door for, and that does not carry the session's form token."""
    if request.method in SAFE:
        return None
    sent = request.headers.get(FORM_HEADER, request.scope.get(FORM, ""))
    if hmac.compare_digest(sent.encode("utf-8", "replace"), form_token(secret).encode()):
        return None
    return HTTPException(403, "the form is not from this session: load the page again, and send it once more")


def _cross_site(request: Request) -> HTTPException | None:
    """A request that changes something and that another site's page sent.  No browser: neither header, so welcome."""
    if request.method in SAFE:
        return None
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = site is None or site in {"same-origin", "none"}
    if origin is not None:  # "null" where the browser does not want to say
        ours = ours and origin.lower().partition("://")[2] == request.headers.get("host", "").lower()
    return None if ours else HTTPException(403, "a browser may change something from Tandem's own pages only")
