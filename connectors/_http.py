"""The HTTP client that all connectors share.  In: one request.  Out: one answer, or the name of the next step.

The order of the guards: host allow-list, circuit breaker, call budget, concurrency, the request itself, and the one
table from status to next step.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import tenacity

from connectors._breaker import Breaker
from connectors._budget import Budget
from connectors._wording import excerpt, masked_path
from connectors.contract import Limits, NeedsHuman, Refused, TryLater


class Step(StrEnum):
    """What an answer leads to."""

    TAKE = "take"  # hand it to the connector
    REFUSED = "refused"
    TRY_LATER = "try_later"
    NEEDS_HUMAN = "needs_human"


# Status -> next step: an exact status first, then its hundred.  Meanings: RFC 9110, section 15, unless noted.
STEPS: Mapping[int, Step] = {
    200: Step.TAKE,  # and every other 2xx
    300: Step.NEEDS_HUMAN,  # 3xx: never followed; the base URL is wrong, or a login page is in the way
    400: Step.REFUSED,  # what the request says is wrong; also every 4xx that is not listed (15.5: treat as 400)
    401: Step.NEEDS_HUMAN,  # credentials missing, expired or revoked
    402: Step.NEEDS_HUMAN,  # reserved by the RFC; vendors use it for an account that is not paid for
    403: Step.NEEDS_HUMAN,  # known, but not allowed: a scope is missing
    404: Step.REFUSED,
    405: Step.REFUSED,
    407: Step.NEEDS_HUMAN,  # our own proxy wants credentials
    408: Step.TRY_LATER,  # the server tired of waiting for the request
    409: Step.REFUSED,  # conflict: what it means the vendor's connector knows, which may `take` it
    410: Step.REFUSED,
    413: Step.REFUSED,
    414: Step.REFUSED,
    415: Step.REFUSED,
    421: Step.TRY_LATER,  # sent to a server that is not responsible: another connection may be right
    422: Step.REFUSED,
    423: Step.TRY_LATER,  # locked, RFC 4918 11.3: somebody else is writing
    425: Step.TRY_LATER,  # too early, RFC 8470 5.2
    429: Step.TRY_LATER,  # too many requests, RFC 6585 4
    477: Step.TRY_LATER,  # HubSpot, "Error handling": the account moves between data centres
    500: Step.TRY_LATER,  # and every other 5xx
}

QUICK = frozenset({502, 503, 504})  # gateways: a second try a moment later often succeeds
SAFE = frozenset({"GET", "HEAD"})  # RFC 9110 9.2.1
RETRY_AFTER_CAP = timedelta(hours=24)  # ours: a longer wait is a mistake or a matter for people

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_RESET = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)

_urgent: ContextVar[bool] = ContextVar("tandem_urgent_calls", default=False)

# Both libraries log whole URLs, queries and answer headers included: nothing of a person or a secret belongs in a log.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class _MissError(Exception):
    """One try without a usable answer.  ``quick``: worth another at once."""

    def __init__(self, problem: TryLater, *, quick: bool) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.quick = quick


class Http:
    """A vendor's API as one connection sees it.  Safe for threads.

    Raises TryLater (no answer, or one that says so), Refused, NeedsHuman.  No error, log or repr holds a header, a
    query, a body, or anything that looks like an address or a secret.
    """

    def __init__(
        self,
        *,
        base_url: str,
        hosts: Collection[str],
        limits: Limits,
        share: float = 0.8,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        steps: Mapping[int, Step] | None = None,
        reserve: float = 0.1,
        patience: float = 10.0,
        retries: int = 2,
        max_bytes: int = 32 * 1024 * 1024,
        breaker_failures: int = 5,
        breaker_seconds: float = 30.0,
        on_call: Callable[[str, str, int, float], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """See the class.  ValueError for a base URL that is not https (http on the loopback is fine).

        ``hosts``: names that may be called, ``*.example.com`` for all below example.com; the base URL's own host and
        port always may.  ``share``: the part of the published rate that we use; the rest is left for humans.
        ``reserve``: the part of our share that only urgent calls get.  ``patience``: seconds that a call may be held
        back by budget and concurrency.  ``timeout``: seconds that all tries of one call may take together.
        ``steps``: overrides of STEPS, by status.  ``on_call(method, family, status, seconds)`` hears of each try; the
        status is 0 where no answer came.
        """
        self._base = httpx.URL(base_url.rstrip("/"))
        self._hosts = frozenset(host.lower() for host in hosts)
        if not self._base.host or self._base.userinfo or self._base.query or self._base.fragment:
            raise ValueError("base_url is not like https://host/path, without user, query and fragment")
        if self._base.scheme != "https" and not (self._base.scheme == "http" and _loopback(self._base.host)):
            raise ValueError(f"base_url must be https (http only on the loopback): {self._base.host}")
        self._steps = {**STEPS, **(steps if steps is not None else {})}
        self._timeout = timeout
        self._patience = patience
        self._retries = retries
        self._max_bytes = max_bytes
        self._on_call = on_call
        self._sleep = sleep
        self._now = now
        self._secrets = frozenset(_secrets(headers if headers is not None else {}))
        self._budget = Budget(limits, share=share, reserve=reserve, patience=patience, now=now, sleep=sleep)
        self._breaker = Breaker(failures=breaker_failures, seconds=breaker_seconds, now=now)
        self._slots = threading.BoundedSemaphore(max(1, limits.concurrency))
        self._client = httpx.Client(
            auth=auth,
            headers=dict(headers) if headers is not None else None,
            transport=transport,
            follow_redirects=False,
            trust_env=not _loopback(self._base.host),  # a proxy has no way to our loopback
            limits=httpx.Limits(max_connections=max(1, limits.concurrency)),
            event_hooks={"request": [lambda request: self._allow(request.url)]},  # what `auth` sends by itself, too
        )

    def __repr__(self) -> str:
        return f"<Http {self._base.host}>"

    @property
    def breaker(self) -> str:
        """The circuit breaker's state: ``closed``, ``open`` or ``half-open``."""
        return self._breaker.state

    @property
    def paused_for(self) -> timedelta:
        """How long the vendor has asked us to stay away, from now on."""
        return self._budget.paused_for

    def pause(self, span: timedelta) -> None:
        """Let no call out for so long: for vendors that say how long in their own way.  429 and 503 do it by header."""
        self._budget.pause(min(span, RETRY_AFTER_CAP))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        take: Collection[int] = (),
        family: str = "",
        safe: bool | None = None,
        urgent: bool | None = None,
    ) -> httpx.Response:
        """Send and return the answer if its status is 2xx or in ``take``; otherwise raise what happens next.

        ``path`` follows the base URL, or is a whole URL of an allowed host.  ``family``: which narrower rate counts
        too.  ``safe``: may be sent twice (None: GET and HEAD may); all others have ``landed`` set on a TryLater that
        came after sending.  ``urgent``: may use the reserved part of the rate (None: as in ``urgently``).
        """
        method = method.upper()
        safe = method in SAFE if safe is None else safe
        urgent = _urgent.get() if urgent is None else urgent
        url = self._url(path)
        self._allow(url)
        if self._client.is_closed:
            raise TryLater(f"{self._base.host}: the client is closed")
        request = self._client.build_request(method, url, params=params, json=json, headers=headers)
        request.extensions["tandem.safe"] = safe
        what = f"{url.host}: {method} {masked_path(str(url.copy_with(query=None)))}"
        trial = self._enter(what)
        failed: bool | None = None
        try:
            response = self._tried(request, what, take, family, urgent=urgent)
            failed = response.status_code >= 500
        except _MissError as miss:
            failed = True
            raise miss.problem from None
        finally:
            self._breaker.leave(trial=trial, failed=failed)
        if response.is_success or response.status_code in take:
            return response
        raise self._problem(response, what, sent=(json, params))

    def json(self, response: httpx.Response) -> Any:
        """The body as JSON; None where a 204 or 205 has none.  TryLater where it is not JSON (an HTML page in the way)."""
        if response.status_code in {204, 205} and not response.content:
            return None
        try:
            return orjson.loads(response.content.removeprefix(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError:
            kind = response.headers.get("content-type", "").partition(";")[0].strip()
            kind = kind if re.fullmatch(r"[\w.+-]{1,40}/[\w.+-]{1,60}", kind) else "unknown type"
            message = f"{self._what(response)}: {response.status_code}, but the body is not JSON ({kind})"
            raise TryLater(message, landed=not _safe(response.request)) from None

    # --- one call -----------------------------------------------------------------------------------------------------

    def _url(self, path: str) -> httpx.URL:
        if re.match(r"https?://", path, re.IGNORECASE):
            return httpx.URL(path)
        if not path.startswith("/"):  # "@elsewhere.example" after a host would be another host
            raise ValueError("a path begins with / or is a whole URL")
        return httpx.URL(str(self._base) + path)

    def _allow(self, url: httpx.URL) -> None:
        """NeedsHuman unless this host may be called."""
        own = (self._base.scheme, self._base.host, self._base.port)
        if url.userinfo or (
            (url.scheme, url.host, url.port) != own
            and not (url.scheme == "https" and url.port is None and _allowed(url.host, self._hosts))
        ):
            raise NeedsHuman(f"{self._base.host}: not allowed to call {url.scheme}://{url.host}; nothing was sent")

    def _enter(self, what: str) -> bool:
        try:
            return self._breaker.enter()
        except TryLater as wait:
            raise TryLater(f"{what}: {wait}", after=wait.after) from None

    def _tried(
        self, request: httpx.Request, what: str, take: Collection[int], family: str, *, urgent: bool
    ) -> httpx.Response:
        """The answer of the last try.  _MissError without one; TryLater where the budget has none left."""
        started: float | None = None

        def once() -> httpx.Response:
            nonlocal started
            with self._slot(what, family, urgent=urgent):
                started = self._now() if started is None else started
                response = self._exchange(request, what, family, deadline=started + self._timeout)
            wait = retry_after(response)
            if response.status_code in {429, 503} and wait is not None:
                self._budget.pause(wait)
            quick = response.status_code in QUICK and response.status_code not in take and _safe(request)
            if quick and not wait and self._now() - started < self._timeout:
                answer = self._problem(response, what, sent=None)
                raise _AnswerError(response, answer)
            return response

        try:
            return tenacity.Retrying(
                stop=tenacity.stop_after_attempt(self._retries + 1),
                wait=tenacity.wait_random_exponential(multiplier=0.25, max=2),
                retry=tenacity.retry_if_exception(lambda e: isinstance(e, _MissError) and e.quick),
                sleep=self._sleep,
                reraise=True,
            )(once)
        except _AnswerError as last:
            return last.response
