"""The HTTP client that all connectors share.  In: one request.  Out: one answer, or the name of the next step.

The order of the guards: host allow-list, circuit breaker, call budget, concurrency, the request itself, and the one
table from status to next step.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import tenacity

from connectors._answers import GATEWAY, LONGEST_WAIT, PAUSES, SAFE, STEPS, Step, retry_after, step
from connectors._breaker import Breaker
from connectors._budget import Budget
from connectors._decoding import ACCEPTED, pieces
from connectors._networks import loopback, refusal
from connectors._networks import transport as guarded
from connectors._oauth_facts import Token, Tokens
from connectors._shared_budget import Ledger, SharedBudget
from connectors._slots import Slots
from connectors._wording import excerpt, masked_path
from connectors.contract import Limits, NeedsHuman, Refused, TryLater

__all__ = ["STEPS", "Http", "Step", "retry_after", "step", "until", "urgently"]

_CONNECT_SECONDS = 10.0  # ours: a host that does not answer a handshake by then is down

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_RESET = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)

_SAFE = "tandem.safe"  # request extension: whether the request may be sent twice
_DECODED = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})  # untrue of a body that was read

_urgent: ContextVar[bool] = ContextVar("tandem_urgent_calls", default=False)
_until: ContextVar[float | None] = ContextVar("tandem_calls_until", default=None)

# Both libraries log whole URLs and answer headers: nothing of a person or a secret belongs in a log.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@contextlib.contextmanager
def urgently() -> Iterator[None]:
    """Calls of this thread in here may use the reserved part of the rate: for withdrawals of consent."""
    token = _urgent.set(True)
    try:
        yield
    finally:
        _urgent.reset(token)


@contextlib.contextmanager
def until(moment: float) -> Iterator[None]:
    """No call of this thread in here begins after ``moment`` (monotonic seconds): what it says may be outdated by then.

    A worker that was suspended does not know it; whoever took over its work has written something newer meanwhile.
    """
    token = _until.set(moment)
    try:
        yield
    finally:
        _until.reset(token)


class _MissError(Exception):
    """One try that went wrong.  ``again``: worth another at once.  ``response``: the answer, where there was one."""

    def __init__(self, *, again: bool, problem: TryLater | None = None, response: httpx.Response | None = None) -> None:
        super().__init__()
        self.again = again
        self.problem = problem
        self.response = response


class _TooLargeError(Exception):
    """The answer is larger than we read."""


class Http:
    """A vendor's API as one connection sees it.  Safe for threads.

    Raises TryLater (no answer, or one that says so), Refused, NeedsHuman.  No error, log or repr holds a header, a
    query, a body, or what looks like a secret or an address.
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
        tokens: Tokens | None = None,
        timeout: float = 30.0,
        internal: bool = False,
        transport: httpx.BaseTransport | None = None,
        steps: Mapping[int, Step] | None = None,
        reserve: float = 0.1,
        patience: float = 10.0,
        retries: int = 2,
        max_bytes: int = 32 * 1024 * 1024,
        breaker_failures: int = 5,
        breaker_seconds: float = 30.0,
        ledger: Ledger | None = None,
        on_call: Callable[[str, str, int, float], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """See the class.  ValueError for a base URL that is not https (http on the loopback is fine), or that leads to
        an address which may not be called.

        ``hosts``: names that may be called, ``*.example.com`` for all below example.com; the base URL's own host and
        port always may.  ``share``: the part of the published rate that we use; the rest is left for humans.
        ``reserve``: the part of our share that only urgent calls get.  ``patience``: seconds that a call may be held
        back by budget, and by concurrency.  ``timeout``: seconds that all tries of a call may take together.
        ``ledger``: where several processes count their calls together; None: this one is alone.
        ``internal``: the vendor's names may mean addresses of a private network; those of this machine only where the
        base URL says so, link-local ones never (``connectors/_networks.py``).
        ``tokens``: gives each request its Authorization; a token that is not taken (401) is renewed once.
        ``steps``: overrides of STEPS, by status.  ``on_call(method, family, status, seconds)`` hears of each try; the
        status is 0 where no answer came.  ``now``: monotonic seconds.
        """
        self._base = httpx.URL(base_url.rstrip("/"))
        if not self._base.host or self._base.userinfo or self._base.query or self._base.fragment:
            raise ValueError("base_url is not like https://host/path, without user, query and fragment")
        at_home = loopback(self._base.host)
        if self._base.scheme != "https" and not (self._base.scheme == "http" and at_home):
            raise ValueError(f"base_url must be https (http only on the loopback): {self._base.host}")
        why = refusal(self._base.host, internal=internal)
        if why is not None:
            raise ValueError(f"base_url: {self._base.host} is {why}")
        self._hosts = frozenset(host.lower() for host in hosts)
        self._steps = {**STEPS, **(steps if steps is not None else {})}
        self._tokens = tokens
        self._timeout = timeout
        self._patience = patience
        self._max_bytes = max_bytes
        self._on_call = on_call
        self._now = now
        self._secrets = frozenset(_secrets(headers if headers is not None else {}))
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(retries + 1),
            wait=tenacity.wait_random_exponential(multiplier=0.25, max=2),
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, _MissError) and error.again),
            sleep=sleep,
            reraise=True,
        )
        counted = Budget if ledger is None else partial(SharedBudget, ledger=ledger)
        self._budget = counted(limits, share=share, reserve=reserve, patience=patience, now=now, sleep=sleep)
        self._breaker = Breaker(failures=breaker_failures, seconds=breaker_seconds, now=now)
        self._slots = Slots(limits.concurrency, lambda: self._budget.sharers)
        most = max(1, limits.concurrency)
        if transport is None:
            transport = guarded(self._base.host, internal=internal, connections=most)
        self._client = httpx.Client(
            auth=auth,
            headers={"Accept-Encoding": ACCEPTED, **(headers if headers is not None else {})},
            transport=transport,
            follow_redirects=False,
            trust_env=not at_home,  # a proxy has no way to our loopback
            limits=httpx.Limits(max_connections=most),
            event_hooks={"request": [lambda request: self._allow(request.url)]},  # also what `auth` sends by itself
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

    @property
    def held_back(self) -> tuple[float, int]:
        """Seconds for which the budget held calls back, and how many calls found no room in time; both in all."""
        return self._budget.waited, self._budget.refused

    def pause(self, span: timedelta) -> None:
        """Let no call out for so long: where the vendor says it in its own way.  Retry-After is heeded without this."""
        self._budget.pause(min(span, LONGEST_WAIT))

    def close(self) -> None:
        """Close the connections; later calls raise TryLater."""
        self._client.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        take: Collection[int] = (),
        family: str = "",
        safe: bool | None = None,
        urgent: bool | None = None,
    ) -> httpx.Response:
        """Send and return the answer if its status is 2xx or in ``take``; otherwise raise what happens next.

        ``path`` follows the base URL, or is a whole URL of an allowed host.  ``json`` or ``form``: the body.
        ``family``: the narrower rate that counts too.  ``safe``: may be sent twice (None: GET and HEAD may); what may
        not has ``landed`` set on a TryLater that came after sending.  ``urgent``: may use the reserved part of the rate
        (None: as ``urgently`` says).
        """
        method = method.upper()
        token = self._tokens.current() if self._tokens is not None else None
        url = self._url(path, token)
        self._allow(url)
        if self._client.is_closed:
            raise TryLater(f"{self._base.host}: the client is closed")
        request = self._client.build_request(method, url, params=params, json=json, data=form, headers=headers)
        request.extensions[_SAFE] = method in SAFE if safe is None else safe
        urgent = _urgent.get() if urgent is None else urgent
        response = self._answered(_signed(request, token), take, family, urgent=urgent)
        if response.status_code == 401 and self._tokens is not None and 401 not in take:
            token = self._tokens.current(refused=token)
            if _unsafe(request) and not self._tokens.undone:
                raise TryLater(f"{_what(request)}: 401, the token was renewed since", landed=True)
            response = self._answered(_signed(request, token), take, family, urgent=urgent)
        if response.status_code in take or step(response.status_code, self._steps) is Step.TAKE:
            return response
        raise self._problem(response, sent=[json, form, params], token=token)

    def _answered(self, request: httpx.Request, take: Collection[int], family: str, *, urgent: bool) -> httpx.Response:
        with _named(request):
            trial = self._breaker.enter()
        failed: bool | None = None
        try:
            response = self._tried(request, take, family, urgent=urgent)
            failed = response.status_code >= 500
        except _MissError as miss:
            failed = True
            raise (miss.problem if miss.problem is not None else TryLater(_what(request))) from None
        finally:
            self._breaker.leave(trial=trial, failed=failed)
        return response

    def json(self, response: httpx.Response) -> Any:
        """The body as JSON; None for a 204.  TryLater where it is not JSON (an HTML page is in the way)."""
        if response.status_code == 204:
            return None
        try:
            return orjson.loads(response.content.removeprefix(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError:
            kind = response.headers.get("content-type", "").partition(";")[0]
            kind = kind if re.fullmatch(r"[\w.+-]{1,40}/[\w.+-]{1,60}", kind) else "of no type"
            message = f"{_what(response.request)}: {response.status_code} whose body is not JSON, but {kind}"
            raise TryLater(message, landed=_unsafe(response.request)) from None

    def _url(self, path: str, token: Token | None) -> httpx.URL:
        if re.match(r"https?://", path, re.IGNORECASE):
            return httpx.URL(path)
        if not path.startswith("/"):  # "@elsewhere.example" behind a host name is another host
            raise ValueError("a path begins with / or is a whole URL")
        place = token.place if token is not None else None
        return httpx.URL((str(self._base) if place is None else place.rstrip("/") + self._base.path.rstrip("/")) + path)

    def _allow(self, url: httpx.URL) -> None:
        """NeedsHuman unless this host may be called."""
        ours = (url.scheme, url.host, url.port) == (self._base.scheme, self._base.host, self._base.port)
        listed = url.scheme == "https" and url.port is None and _listed(url.host, self._hosts)
        if url.userinfo or not (ours or listed):
            raise NeedsHuman(f"{self._base.host}: may not call {url.scheme}://{url.host}; nothing was sent")

    def _tried(self, request: httpx.Request, take: Collection[int], family: str, *, urgent: bool) -> httpx.Response:
        """The answer, after a few quick tries.  _MissError where none came, TryLater where none may be asked for."""
        deadline: float | None = None

        def once() -> httpx.Response:
            nonlocal deadline
            with self._slot(request, family, urgent=urgent):
                if (moment := _until.get()) is not None and self._now() > moment:
                    raise TryLater(f"{_what(request)}: not sent, the time for this work is over")
                deadline = self._now() + self._timeout if deadline is None else deadline
                response = self._timed(request, family, deadline)
            wait = retry_after(response)
            if response.status_code in PAUSES and wait:
                self._budget.pause(wait)
            elif response.status_code in GATEWAY.difference(take) and not _unsafe(request) and self._now() < deadline:
                raise _MissError(again=True, response=response)
            return response

        try:
            return self._retrying.copy()(once)
        except _MissError as miss:
            if miss.response is None:
                raise
            return miss.response

    @contextlib.contextmanager
    def _slot(self, request: httpx.Request, family: str, *, urgent: bool) -> Iterator[None]:
        with _named(request):
            self._budget.take(family, urgent=urgent)
            if not self._slots.acquire(self._patience):
                raise TryLater("as many calls as allowed are under way")
        try:
            yield
        finally:
            self._slots.release()

    def _timed(self, request: httpx.Request, family: str, deadline: float) -> httpx.Response:
        """One try, of which ``on_call`` hears."""
        started, status = self._now(), 0
        try:
            response = self._exchange(request, deadline)
            status = response.status_code
        except _NOT_SENT as error:
            problem = TryLater(f"{_what(request)}: {type(error).__name__}, nothing was sent")
            raise _MissError(again=self._now() < deadline, problem=problem) from None
        except (httpx.HTTPError, _TooLargeError) as error:
            why = f"more than {self._max_bytes} bytes" if isinstance(error, _TooLargeError) else type(error).__name__
            problem = TryLater(f"{_what(request)}: {why}, no whole answer", landed=_unsafe(request))
            again = isinstance(error, _RESET) and not _unsafe(request) and self._now() < deadline
            raise _MissError(again=again, problem=problem) from None
        finally:
            if self._on_call is not None:
                self._on_call(request.method, family, status, self._now() - started)
        return response

    def _exchange(self, request: httpx.Request, deadline: float) -> httpx.Response:
        """The whole answer, read within time and size; httpx's own time-outs bound only the gaps."""
        left = max(0.001, deadline - self._now())
        timeout = httpx.Timeout(left, connect=min(_CONNECT_SECONDS, left), pool=self._patience)
        request.extensions["timeout"] = timeout.as_dict()
        response = self._client.send(request, stream=True)
        body = bytearray()
        try:
            for chunk in pieces(response):
                body += chunk
                if len(body) > self._max_bytes:
                    raise _TooLargeError
                if self._now() > deadline:
                    raise httpx.ReadTimeout("the answer takes too long", request=request)
        finally:
            response.close()
        return httpx.Response(
            response.status_code,
            headers=[(name, value) for name, value in response.headers.raw if name.lower() not in _DECODED],
            content=bytes(body),
            request=request,
        )

    def _problem(
        self, response: httpx.Response, *, sent: object, token: Token | None
    ) -> Refused | TryLater | NeedsHuman:
        """The error for an answer that is not taken."""
        status = response.status_code
        what = f"{_what(response.request)}: {status}"
        if 300 <= status < 400:
            what += f", a redirect to {_target(response)} that is not followed"
        own = frozenset(_secrets({"": token.header})) if token is not None else frozenset()
        said = excerpt(response, secrets=self._secrets | own, sent=sent)
        message = f"{what}: {said}" if said else what
        match step(status, self._steps):
            case Step.REFUSED:
                return Refused(message, code=f"http_{status}")
            case Step.TRY_LATER:
                # An error of a server or gateway does not say whether the request was carried out behind it.
                landed = status >= 500 and _unsafe(response.request)
                return TryLater(message, after=retry_after(response), landed=landed)
            case Step.NEEDS_HUMAN | Step.TAKE:
                return NeedsHuman(message)


@contextlib.contextmanager
def _named(request: httpx.Request) -> Iterator[None]:
    """A TryLater from inside says which request it is about."""
    try:
        yield
    except TryLater as wait:
        raise TryLater(f"{_what(request)}: {wait}", after=wait.after) from None


def _signed(request: httpx.Request, token: Token | None) -> httpx.Request:
    if token is not None:
        request.headers["Authorization"] = token.header
    return request


def _what(request: httpx.Request) -> str:
    return f"{request.url.host}: {request.method} {masked_path(str(request.url))}"


def _target(response: httpx.Response) -> str:
    try:
        host = urlsplit(response.headers.get("location", "")).hostname
    except ValueError:
        return "nowhere"
    return host if host else "the same host"


def _unsafe(request: httpx.Request) -> bool:
    return request.extensions.get(_SAFE, request.method in SAFE) is not True


def _secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """Header values and their words: a vendor may quote the key without its scheme."""
    for value in headers.values():
        yield from (part for part in (value, *value.split()) if len(part) >= 8)


def _listed(host: str, hosts: Collection[str]) -> bool:
    """``*.example.com`` stands for all names below example.com, not for itself."""
    parts = host.split(".")
    return host in hosts or any("*." + ".".join(parts[i:]) in hosts for i in range(1, len(parts)))
