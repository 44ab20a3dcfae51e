"""HubSpot as it behaves on the wire: contacts, properties, owners, communication preferences, webhooks.

Answers to both path families, ``/crm/v3/objects/contacts`` and the dated ``/crm/objects/2026-03/contacts``.  Sources:
developers.hubspot.com (mirrors of January 2025 and April 2026) and the shapes of hubspot-api-client 12.0.0; each module
``hubspot_*`` names its pages.
"""

from __future__ import annotations

import re
import uuid
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import partial
from hmac import compare_digest
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox import oauth
from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.front import Json, header, operations
from sandbox.hubspot_batch import Batch, inputs_of
from sandbox.hubspot_consent import MIRRORS, Consent
from sandbox.hubspot_events import POLICY, SUBSCRIBED, Events, Version, encoder
from sandbox.hubspot_http import Routes, answer, body, flag, names, required, source
from sandbox.hubspot_objects import Objects
from sandbox.hubspot_preferences import Preferences
from sandbox.hubspot_properties import Owners, Properties
from sandbox.hubspot_rules import HubSpotError, bad, not_found
from sandbox.hubspot_search import Search
from sandbox.hubspot_store import Contact, Portal
from sandbox.webhooks import Target

TOKEN = "pat-na1-sandbox-0000-0000"  # noqa: S105 - opens nothing but this simulator
SECRET = "sandbox-client-secret"  # noqa: S105 - as above
RATE = 190  # calls per ten seconds of a private app, "Usage guidelines"
SEARCH_RATE = 5  # searches per second, "CRM search"
PAGE = 100  # rows of a listing at most

_DATED = re.compile(r"^/(crm/objects|crm/properties|crm/owners|communication-preferences)/[0-9]{4}-[0-9]{2}(?=/|$)")
_PREFIX = {
    "crm/objects": "/crm/v3/objects",
    "crm/properties": "/crm/v3/properties",
    "crm/owners": "/crm/v3/owners",
    "communication-preferences": "/communication-preferences/v4",
}
_CONTACTS = "/crm/v3/objects/contacts"
_TYPE = re.compile(r"^(/crm/v3/(?:objects|properties)/)(?:0-1|contact)(?=/|$)")
_READS = re.compile(r"/search$|/batch/read$|/unsubscribe-all/read$|^/oauth/")
_AUTH = "Authentication credentials not found. This API supports OAuth 2.0 authentication"


class HubSpotSim(Simulator):
    """One HubSpot account."""

    def __init__(
        self,
        *,
        token: str = TOKEN,
        secret: str = SECRET,
        webhook: str | None = None,
        signature: Version = "v3",
        portal_id: int = 62515,
        app_id: int = 54321,
        subscribed: Collection[str] = (*SUBSCRIBED, *MIRRORS),
        rate: int | None = None,
        search_rate: int | None = None,
        strict_search: bool = True,
        search_lag: float = 0.0,
        merge_makes_new: bool = False,
        data_privacy: bool = False,
        resubscribes: bool = True,
        retry_span: float = SPAN,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """An empty account.

        ``webhook``: where events go.  ``signature``: of deliveries.  ``subscribed``: properties whose changes are told.
        ``rate``: calls per 10 s (published: ``RATE``), ``search_rate``: searches per second (``SEARCH_RATE``); None is
        no limit.  ``search_lag``: seconds until a change shows in searches.  ``merge_makes_new``: a merge gives the
        record a new id.  ``data_privacy``: changes of consent need a legal basis.  ``resubscribes``: v4 takes back an
        opt-out of one subscription.  ``retry_span``: seconds for all retries of a webhook.
        """
        super().__init__(POLICY, encoder(signature), seed=seed, span=retry_span, clock=clock)
        self.token = token
        self.secret = secret
        self.portal_id = portal_id
        self.oauth = oauth.hubspot(secret, portal_id, self.clock)
        self._limits = {False: (rate, 10.0), True: (search_rate, 1.0)}  # by "is it a search"
        self._recent: dict[bool, deque[float]] = {False: deque(), True: deque()}
        events = Events(self.webhooks.emit, portal_id=portal_id, app_id=app_id, subscribed=subscribed)
        self.portal = Portal(self._ms, events, merge_makes_new=merge_makes_new)
        self.consent = Consent(self.portal, self._ms, data_privacy=data_privacy, resubscribes=resubscribes)
        self.objects = Objects(self._ms, lambda id_: id_ in self.portal.contacts, events.told)
        self._batch = Batch(self.portal, self._ms)
        self._search = Search(self.portal, self._ms, strict=strict_search, lag=search_lag)
        self.app = self.build()
        self.deliver_to(webhook)

    def _ms(self) -> int:
        return int(self.clock() * 1000)

    # --- what the vendor does with every call -------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """Dated paths, the type id of contacts and a trailing slash lead to the same endpoints."""
        path = path.rstrip("/")
        if (dated := _DATED.match(path)) is not None:
            path = _PREFIX[dated[1]] + path[dated.end() :]
        return _TYPE.sub(r"\1contacts", path)

    def is_read(self, _method: str, path: str, /) -> bool:
        """Searches and batch reads are POSTs."""
        return _READS.search(path) is not None

    def gate(self, scope: Scope, path: str, _in_flight: int, /) -> Response | None:
        """Token, then rate limit."""
        scheme, _, given = header(scope, b"authorization").partition(" ")
        ours = scheme.lower() == "bearer" and compare_digest(given.strip().encode(), self.token.encode())
        if not ours and not self.lets_in(path, given.strip()):
            return answer(HubSpotError(401, "INVALID_AUTHENTICATION", _AUTH))
        is_search = path.endswith("/search")
        limit, window = self._limits[is_search]
        if limit is None:
            return None
        recent, now = self._recent[is_search], self.clock()
        while recent and recent[0] <= now - window:
            recent.popleft()
        if len(recent) >= limit:
            return answer(_too_many("SECONDLY" if is_search else "TEN_SECONDLY_ROLLING"))
        recent.append(now)
        return None

    def more_headers(self, path: str, /) -> list[tuple[bytes, bytes]]:
        """The state of the rate limit; searches do not carry it ("Usage guidelines")."""
        limit, window = self._limits[False]
        if limit is None or path.endswith("/search"):
            return []
        left = max(0, limit - len(self._recent[False]))
        return [
            (b"x-hubspot-ratelimit-max", str(limit).encode()),
            (b"x-hubspot-ratelimit-remaining", str(left).encode()),
            (b"x-hubspot-ratelimit-interval-milliseconds", str(int(window * 1000)).encode()),
        ]

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error of HubSpot's own."""
        error = _too_many("TEN_SECONDLY_ROLLING") if status == 429 else HubSpotError(status, "INTERNAL_ERROR", "Error")
        said = answer(error)
        if retry_after is not None:
            said.headers["retry-after"] = str(int(retry_after))
        return said

    def errors(self) -> dict[Any, ExceptionHandler]:
        """HubSpot's error bodies."""

        async def ours(_request: Request, error: Exception) -> Response:
            assert isinstance(error, HubSpotError)  # noqa: S101 - registered for this class
            return answer(error)

        async def theirs(_request: Request, error: Exception) -> Response:
            status = error.status_code if isinstance(error, HTTPException) else 500
            return answer(HubSpotError(status, "OBJECT_NOT_FOUND" if status == 404 else "BAD_REQUEST", "not found"))

        return {HubSpotError: ours, HTTPException: theirs}

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def routes(self) -> list[BaseRoute]:
        """See the class."""
        routes: Routes = [
            ("POST", f"{_CONTACTS}/batch/{{verb}}", self._batched),
            ("POST", f"{_CONTACTS}/search", self._searched),
            ("POST", f"{_CONTACTS}/merge", self._merged),
            ("POST", f"{_CONTACTS}/gdpr-delete", self._erased),
            ("GET", _CONTACTS, self._listed),
            ("POST", _CONTACTS, self._created),
            ("GET", f"{_CONTACTS}/{{id}}", self._got),
            ("PATCH", f"{_CONTACTS}/{{id}}", self._patched),
            ("DELETE", f"{_CONTACTS}/{{id}}", self._archived),
            *Properties(self.portal).routes(),
            *Owners().routes(),
            *self.objects.routes(),
            ("GET", "/account-info/v3/details", self._account),
            *Preferences(self.consent, self.portal.stamp).routes(),
        ]
        return [Route(path, endpoint, methods=[method]) for method, path, endpoint in routes]

    async def _listed(self, request: Request) -> Response:
        query = request.query_params
        try:
            limit, after = int(query.get("limit", "10")), int(query.get("after", "0"))
        except ValueError:
            raise bad("limit and after must be numbers") from None
        if not 0 < limit <= PAGE:
            raise bad(f"limit must be between 1 and {PAGE}")
        found, next_ = self.portal.page(after, limit, archived=flag(request, "archived"))
        said: dict[str, Any] = {"results": [self.portal.show(c, *names(request)) for c in found]}
        if next_ is not None:
            link = f"{request.url.path}?limit={limit}&after={next_}"
            said["paging"] = {"next": {"after": str(next_), "link": link}}
        return Json(said)

    async def _got(self, request: Request) -> Response:
        return Json(self.portal.show(self._named(request), *names(request)))

    async def _created(self, request: Request) -> Response:
        values = self.portal.check(required(await body(request), "properties"))
        contact = self.portal.create(values, source(request))
        return Json(self.portal.show(contact, list(values)), status_code=201)

    async def _patched(self, request: Request) -> Response:
        contact = self._named(request)
        values = self.portal.clean_update(contact, required(await body(request), "properties"))
        self.portal.update(contact, values, source(request))
        return Json(self.portal.show(contact, list(values)))

    async def _archived(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        try:
            contact = self.portal.by_id(id_)
        except HubSpotError:  # archived or unknown: the answer is the same
            return Response(status_code=204)
        self.portal.archive(contact, source(request))
        return Response(status_code=204)

    async def _batched(self, request: Request) -> Response:
        verb = request.path_params["verb"]
        call = self._batch.calls.get(verb)
        if call is None:
            raise not_found()
        given = await body(request)
        inputs = inputs_of(given, verb)
        operations(request, len(inputs))
        status, said = call(inputs, given, source(request))
        return Response(status_code=status) if said is None else Json(said, status_code=status)

    async def _searched(self, request: Request) -> Response:
        given = await body(request)
        return Json(self._search.run(given, len((await request.body()).decode("utf-8", "replace"))))

    async def _merged(self, request: Request) -> Response:
        given = await body(request)
        winner = self.portal.by_id(str(required(given, "primaryObjectId")))
        loser = self.portal.by_id(str(required(given, "objectIdToMerge")))
        return Json(self.portal.show(self.portal.merge(winner, loser, source(request))))

    async def _erased(self, request: Request) -> Response:
        given = await body(request)
        value, key = str(required(given, "objectId")), given.get("idProperty")
        contact = self._anywhere(value) if key is None else self.portal.by_key(str(key), value)
        if contact is not None:
            self.portal.erase(contact, source(request))
        return Response(status_code=204)

    async def _account(self, _request: Request) -> Response:
        return Json(
            {
                "portalId": self.portal_id,
                "accountType": "SANDBOX",
                "timeZone": "Europe/Berlin",
                "companyCurrency": "EUR",
                "additionalCurrencies": [],
                "utcOffset": "+01:00",
                "utcOffsetMilliseconds": 3_600_000,
                "uiDomain": "app.hubspot.com",
                "dataHostingLocation": "eu1",
            }
        )

    def _named(self, request: Request) -> Contact:
        """The contact in the path; by id a merged one is followed to where it lives on."""
        id_, key = request.path_params["id"], request.query_params.get("idProperty")
        if key is None:
            return self.portal.by_id(id_, archived=flag(request, "archived"))
        contact = self.portal.by_key(key, id_)
        if contact is None:
            raise not_found()
        return contact

    def _anywhere(self, id_: str) -> Contact | None:
        for archived in (False, True):
            try:
                return self.portal.by_id(id_, archived=archived)
            except HubSpotError:
                continue
        return None

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget all contacts and preferences."""
        self.portal.clear()
        self.consent.clear()
        self.objects.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Contacts by id with all their values, archived ones too."""
        rows = sorted(i for i in self.portal.contacts if i > after)
        shown = [self.portal.show(self.portal.contacts[i], list(self.portal.schema)) for i in rows[:limit]]
        for row in shown:
            row["properties"] = {n: v for n, v in row["properties"].items() if v is not None}
        return shown, rows[limit - 1] if len(rows) > limit else None

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """``secret``: the app's client secret, if another than the account's."""
        return Target("", url, given.get("secret", self.secret))

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What somebody does in HubSpot.

        ``action``: ``update`` (default), ``create``, ``archive``, ``restore``, ``merge`` (``loser``), ``erase``, or
        ``unsubscribe`` / ``subscribe`` (by the person: all mail, or one ``subscription`` by its id).  ``id`` or
        ``email``: whom.  ``properties``: values.  ``source``: the change source, by default ``CRM_UI``.
        """
        action, source = given.get("action", "update"), str(given.get("source", "CRM_UI"))
        properties = given.get("properties", {})
        try:
            if action == "create":
                contact = self.portal.create(self.portal.check(properties), source)
                return self.portal.show(contact, list(self.portal.schema))
            if (contact_ := self._whom(given)) is None:
                raise BadEdit("no such contact")
            contact = contact_
            actions: dict[str, Callable[[], object]] = {
                "update": lambda: self.portal.update(contact, self.portal.clean_update(contact, properties), source),
                "archive": partial(self.portal.archive, contact, source),
                "restore": partial(self.portal.restore, contact, source),
                "erase": partial(self.portal.erase, contact, source),
                "merge": lambda: self.portal.merge(contact, self.portal.by_id(str(given["loser"])), source),
                "unsubscribe": lambda: self._chosen(contact, given, source, opted_in=False),
                "subscribe": lambda: self._chosen(contact, given, source, opted_in=True),
            }
            if action not in actions:
                raise BadEdit(f"action must be create or one of {', '.join(actions)}")
            result = actions[action]()
        except HubSpotError as error:
            raise BadEdit(error.message) from None
        except KeyError as error:
            raise BadEdit(f"missing: {error}") from None
        return self.portal.show(result if isinstance(result, Contact) else contact, list(self.portal.schema))

    def _chosen(self, contact: Contact, given: Mapping[str, Any], source: str, *, opted_in: bool) -> None:
        email = contact.values["email"]
        if "subscription" in given:
            self.consent.choose(email, given["subscription"], "SUBSCRIBED" if opted_in else "UNSUBSCRIBED", source)
        elif opted_in:
            self.consent.resubscribe_all(email, source)
        else:
            self.consent.unsubscribe_all(email, source)

    def _whom(self, given: Mapping[str, Any]) -> Contact | None:
        if "email" in given:
            return self.portal.holder(str(given["email"]))
        return self._anywhere(str(given.get("id", "")))


def _too_many(policy: str) -> HubSpotError:
    more = {"errorType": "RATE_LIMIT", "policyName": policy, "requestId": str(uuid.uuid4())}
    return HubSpotError(429, "RATE_LIMITS", f"You have reached your {policy.lower()} limit.", more=more)
