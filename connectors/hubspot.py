"""HubSpot CRM.  In: deliveries, ids, cursors and orders in HubSpot's words.  Out: events, records, receipts, acts.

Values are text, as HubSpot keeps them; ``""`` is read as None and None is written as ``""``.  The parts: deliveries in
``_hubspot_hooks``, endpoints in ``_hubspot_calls``, the walk over changes in ``_hubspot_walk``, writing in
``_hubspot_write``, merging in ``_hubspot_merge``, consent in ``_hubspot_consent``, JSON and errors in
``_hubspot_wire``; companies, deals and owners in ``_hubspot_around``, activities and notes in ``_hubspot_acts``.  How
to connect: docs/vendors/hubspot.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar
from urllib.parse import urlsplit

from connectors import _hubspot_acts as acts
from connectors import _hubspot_around as around
from connectors import _hubspot_consent as consent
from connectors import _hubspot_hooks as hooks
from connectors import _hubspot_walk as walk
from connectors._http import Http
from connectors._hubspot_calls import BATCH, SEARCH, Contacts, path
from connectors._hubspot_wire import MODIFIED, schema
from connectors._hubspot_write import write
from connectors._oauth_facts import OAuth
from connectors._oauth_vendors import HUBSPOT_LOGIN, hubspot
from connectors._signing import secrets
from connectors.contract import (
    ActPage,
    Can,
    Connector,
    Delivery,
    Kind,
    Limits,
    Note,
    Order,
    Page,
    Rate,
    Receipt,
    Received,
    Record,
    Schema,
    Setting,
    Side,
)

_BASE_URL = "https://api.hubapi.com"
_VERSION = "v3"

# Requests per ten seconds and per day, "Usage guidelines": private apps by the account's tier; "addon" is the API limit
# increase; an OAuth app has 110 per account and no published daily figure of its own.
_TIERS: Mapping[str, tuple[Rate, ...]] = {
    "free": (Rate(100, 10), Rate(250_000, 86_400)),
    "starter": (Rate(100, 10), Rate(250_000, 86_400)),
    "professional": (Rate(190, 10), Rate(625_000, 86_400)),
    "enterprise": (Rate(190, 10), Rate(1_000_000, 86_400)),
    "addon": (Rate(250, 10), Rate(1_000_000, 86_400)),
    "oauth": (Rate(110, 10),),
}


def _limits(tier: str) -> Limits:
    return Limits(
        read_batch=BATCH,  # "CRM API | Contacts": 100 inputs in a batch call
        find_batch=BATCH,
        write_batch=BATCH,
        rates=_TIERS[tier],
        concurrency=4,  # none is published; few at once keeps clear of the two-second record locks (423)
        keys={SEARCH: (Rate(5, 1),)},  # "CRM search": five a second per account
    )


class HubSpot(Connector):
    """HubSpot's CRM: contacts of one account."""

    name = "hubspot"
    side = Side.CRM
    can: ClassVar[frozenset[Can]] = frozenset(
        {
            *(Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ARCHIVE, Can.ERASE, Can.MERGE, Can.DESCRIBE),
            *(Can.COMPANIES, Can.DEALS, Can.COLLEAGUES, Can.ENGAGEMENT, Can.TIMELINE),
        }
    )
    limits = _limits("free")
    hosts: ClassVar[frozenset[str]] = frozenset({"api.hubapi.com"})
    settings = (
        Setting("access_token", "Access token of the private app", secret=True, unless="client_id"),
        Setting("client_id", "Client id of an OAuth app, in place of the access token", required=False),
        Setting("client_secret", "Client secret of the app, signs webhooks; while rotating: new,old", secret=True),
        Setting("base_url", f"Where the API is; default {_BASE_URL}", required=False),
        Setting("login_url", f"Where people agree to OAuth; default {HUBSPOT_LOGIN}", required=False),
        Setting("scopes", "OAuth scopes to ask for, with commas; default: what contacts need", required=False),
        Setting("version", f"Version in the paths, such as v3 or 2026-03; default {_VERSION}", required=False),
        Setting("properties", "Contact properties to read, separated by commas", required=False),
        Setting("company_properties", "Company properties to read, separated by commas", required=False),
        Setting("deal_properties", "Deal properties to read, separated by commas", required=False),
        Setting(
            "company_object", "Object that stands for companies, like 2-1234567; default companies", required=False
        ),
        Setting("deal_object", "Object that stands for deals, like 2-1234567; default deals", required=False),
        Setting("tier", f"Rate limits, one of {', '.join(_TIERS)}; default free, or oauth", required=False),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting or an unknown version or tier."""
        super().__init__(settings, http)
        self._secrets = secrets(settings["client_secret"])
        token = settings.get("access_token", "").strip()
        self.limits_for(settings)
        self._version = _given(settings, "version", _VERSION)
        self._contacts = Contacts(
            http, version=self._version, properties=_names(settings), secrets=[s for s in (token, *self._secrets) if s]
        )
        self._kinds = {Kind.CONTACT: self._contacts}

        def others(name: str, properties: Collection[str], kind: Kind = Kind.DEAL) -> Contacts:
            secrets_ = self._contacts.secrets
            return Contacts(http, version=self._version, properties=properties, secrets=secrets_, name=name, kind=kind)

        for kind, name in around.NAMES.items():
            own = _given(settings, f"{kind}_object", name)
            self._kinds[kind] = others(own, _names(settings, f"{kind}_properties"), kind)
        self._activities = {name: others(name, [*acts.COMMON, *own]) for name, own in acts.PROPERTIES.items()}

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API is."""
        return _given(settings, "base_url", _BASE_URL).rstrip("/")

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries; with OAuth the client adds the token."""
        token = settings.get("access_token", "").strip()
        return {"Authorization": f"Bearer {token}"} if token else {}

    @classmethod
    def oauth_for(cls, settings: Mapping[str, str]) -> OAuth | None:
        """HubSpot's authorization server, which is where the API is."""
        facts = hubspot(cls.base_url(settings), _given(settings, "login_url", HUBSPOT_LOGIN).rstrip("/"))
        scopes = tuple(s for s in map(str.strip, settings.get("scopes", "").split(",")) if s)
        return replace(facts, scopes=scopes) if scopes else facts

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """The properties to read."""
        return {"properties": ",".join(sorted(theirs))}

    @classmethod
    def from_objects(cls, theirs: Mapping[Kind, Collection[str]]) -> Mapping[str, str]:
        """The properties of companies and deals to read."""
        return {f"{kind}_properties": ",".join(sorted(names)) for kind, names in theirs.items()}

    @classmethod
    def limits_for(cls, settings: Mapping[str, str]) -> Limits:
        """The limits of the account's tier; ``limits`` are those of the lowest."""
        tier = _given(settings, "tier", "oauth" if settings.get("client_id", "").strip() else "free")
        if tier not in _TIERS:
            raise ValueError(f"hubspot: tier {tier!r} is unknown; known: {', '.join(_TIERS)}")
        return _limits(tier)

    def receive(self, delivery: Delivery) -> Received:
        """Signature v1, v2 or v3, then the events about contacts.  HubSpot expects any 2xx within five seconds."""
        hooks.verify(delivery, self._secrets)
        own = {self._kinds[kind].name: kind for kind in around.NAMES}
        return Received(hooks.events(delivery.body, own))

    def check(self) -> str:
        """Reads one contact, which needs the scope that everything needs, then asks for the account's name tag."""
        self._contacts.page(None, limit=1)
        where = urlsplit(self.base_url(self._settings)).hostname
        # Not every token may ask this; it only serves to show which account it is.
        url = f"/account-info/{self._version}/details"
        response = self._contacts.send("GET", url, take={400, 401, 403, 404})
        about = self._http.json(response) if response.status_code == 200 else None
        known = about if isinstance(about, Mapping) else {}
        words = [str(known[key]) for key in ("portalId", "accountType", "timeZone") if key in known]
        return f"HubSpot account {', '.join(words) if words else 'unknown'}: contacts readable at {where}"

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """In batches; ids that a batch call does not know are asked for one by one, as merged ids answer only so."""
        if kind is not Kind.CONTACT:
            return around.read(self._kinds, kind, ids)
        return self._contacts.read(ids)

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """First the list of all contacts, then searches by modified time.  Archived contacts are in neither."""
        if kind is Kind.COLLEAGUE:
            return around.owners(self._contacts, self._version, cursor)
        if kind is not Kind.CONTACT:
            return around.changed(self._kinds, kind, cursor)
        records = self._kinds[kind]
        state: walk.Listing | walk.Poll
        if cursor is None:
            order = {"propertyName": MODIFIED, "direction": "DESCENDING"}
            newest = records.search({"filterGroups": [], "sorts": [order]}, limit=1)
            since = next((s for r in newest.records if (s := walk.stamp(r)) is not None), 0)
            state = walk.Listing(since, clock=walk.clock(newest.at), total=newest.total)
        else:
            state = walk.load(cursor)
        return _listed(records, state) if isinstance(state, walk.Listing) else _polled(records, walk.begin(state))

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``id``, by ``email`` (primary or secondary, case does not count), or by a custom unique property.

        Raises Refused where HubSpot does not know the property or it is not unique.
        """
        records = self._kinds[kind]
        if key in {"id", "hs_object_id"}:
            return records.read(values)
        if key == "email":
            return records.by_email(values)
        return records.by(key, [v for v in values if v])

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """Batch calls, read row by row (``_hubspot_write``); opt-outs first, opt-ins last (``_hubspot_consent``)."""
        return consent.write(self._contacts, orders, write)

    def describe(self, kind: Kind) -> Schema:
        """All contact properties.  HubSpot marks none as required."""
        records = self._kinds[kind]
        return schema(records.ask("GET", f"{path('crm', 'properties', self._version)}/{records.name}"), kind)

    def acts(self, cursor: str | None) -> ActPage:
        """Calls, meetings, e-mails, notes and tasks."""
        return acts.acts(self._activities, cursor)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """As notes on the contact."""
        return acts.write(self._activities["notes"], notes)


def _listed(contacts: Contacts, state: walk.Listing) -> Page:
    """One page of the first walk."""
    records, after = contacts.page(state.after)
    following: walk.Listing | walk.Poll
    if after is None:
        following = walk.Poll(state.since, clock=state.clock)
    else:
        following = walk.Listing(state.since, state.clock, after, state.total)
    return Page(tuple(records), walk.dump(following), more=after is not None, total=state.total)


def _polled(contacts: Contacts, state: walk.Poll) -> Page:
    """One page of a poll."""
    found = contacts.search(walk.query(state), limit=walk.PAGE)
    following, more = walk.advance(state, found.records, full=found.full, now=found.at)
    records = contacts.filled(walk.fresh(state, found.records))
    return Page(tuple(records), walk.dump(following), more=more)


def _given(settings: Mapping[str, str], name: str, otherwise: str) -> str:
    """A setting; one that is missing or blank has its default."""
    value = settings.get(name, "").strip()
    return value if value else otherwise


def _names(settings: Mapping[str, str], of: str = "properties") -> list[str]:
    return [name for name in map(str.strip, settings.get(of, "").split(",")) if name]
