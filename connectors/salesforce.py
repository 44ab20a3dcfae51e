"""Salesforce, the contacts and leads of one org as one kind of person.  In: deliveries, ids, cursors and orders in its
own words.  Out: events, records, receipts.

Fields bear the names of Contact's; ``Company`` and what Lead calls otherwise: ``_salesforce_wire``.  A lead that was
converted is answered by its contact, which names it among its former ids; so is a merged record.  The parts:
deliveries in ``_salesforce_hooks``, endpoints in ``_salesforce_calls``, the walk in ``_salesforce_walk``, its pages in
``_salesforce_pages``, writing in ``_salesforce_write``; accounts, opportunities and users in ``_salesforce_around``,
activities and notes in ``_salesforce_acts``.  How to connect: docs/vendors/salesforce.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import urlsplit

from connectors import _salesforce_acts as acts
from connectors import _salesforce_around as around
from connectors import _salesforce_hooks as hooks
from connectors._http import Http
from connectors._oauth_facts import OAuth
from connectors._oauth_vendors import SALESFORCE_LOGIN, salesforce
from connectors._salesforce_calls import BATCH, PAGE, Records
from connectors._salesforce_pages import page
from connectors._salesforce_wire import CONTACT, EMAIL, ENTITIES, NAME, OBJECT_NAME, full_id, schema
from connectors._salesforce_write import write
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
    Refused,
    Schema,
    Setting,
    Side,
)

VERSION: Final = "67.0"  # Summer '26
_DAILY: Final = 15_000  # calls in 24 hours of a Developer org, the smallest quota ("API Request Limits")
_DAY: Final = 86_400
# Long calls (over 20 s) under way at once: 5 in Developer and trial orgs, 25 elsewhere ("API Request Limits").
_CONCURRENCY: Final = 4


def _limits(daily: int) -> Limits:
    return Limits(
        read_batch=BATCH,
        find_batch=100,  # ours: an address may take 80 characters of a URL that ends at 16,384
        write_batch=BATCH,  # "sObject Collections"
        rates=(Rate(daily, _DAY),),
        concurrency=_CONCURRENCY,
    )


class Salesforce(Connector):
    """Salesforce: the people of one org."""

    name = "salesforce"
    side = Side.CRM
    can: ClassVar[frozenset[Can]] = frozenset(
        # Not MERGE and HOOKS: only SOAP, Apex and the screens merge; outbound messages are made in Setup.
        {
            *(Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ARCHIVE, Can.ERASE, Can.DESCRIBE),
            *(Can.COMPANIES, Can.DEALS, Can.COLLEAGUES, Can.ENGAGEMENT, Can.TIMELINE),
        }
    )
    limits = _limits(_DAILY)
    hosts: ClassVar[frozenset[str]] = frozenset({"*.my.salesforce.com"})
    settings = (
        Setting("base_url", "My Domain of the org: Setup > My Domain, such as https://acme.my.salesforce.com"),
        Setting("access_token", "Access token of the connected app, or a session id", secret=True, unless="client_id"),
        Setting("client_id", "Consumer key of the connected app (OAuth), in place of the access token", required=False),
        Setting("client_secret", "Consumer secret of the connected app", secret=True, required=False),
        Setting("private_key", "Key in PEM whose certificate the app holds: JWT bearer", secret=True, required=False),
        Setting("username", "User that the app acts for: JWT bearer", required=False),
        Setting("login_url", f"Where tokens come from; default {SALESFORCE_LOGIN}", required=False),
        Setting("webhook_secrets", "?secret= of the outbound messages' URL, while rotating: new,old", secret=True),
        Setting("org_id", "Organization ID: Setup > Company Information; outbound messages of others are refused"),
        Setting("create_as", f"What new people become: {' or '.join(ENTITIES)}; default {CONTACT}", required=False),
        Setting("fields", "Fields to read, separated by commas; default: by the mapping", required=False),
        Setting("company_fields", "Fields of accounts to read, with commas; default: by the mapping", required=False),
        Setting("deal_fields", "Fields of opportunities to read, with commas; default: by the mapping", required=False),
        Setting("daily_calls", f"API calls that the org may make in 24 hours; default {_DAILY}", required=False),
        Setting("page_size", f"Rows of a page, 2 to {PAGE} (default)", required=False),
        Setting("version", f"API version; default {VERSION}", required=False),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting or one that makes no sense."""
        super().__init__(settings, http)
        self._secrets = secrets(settings["webhook_secrets"])
        org = full_id(settings["org_id"].strip())
        if org is None or not org.startswith("00D"):
            raise ValueError("salesforce: org_id is not like 00D000000000001EAA (15 or 18 characters)")
        self._org = org
        self._create_as = _given(settings, "create_as", CONTACT)
        if self._create_as not in ENTITIES:
            raise ValueError(f"salesforce: create_as {self._create_as!r} is none of {', '.join(ENTITIES)}")
        version = _given(settings, "version", VERSION)
        if re.fullmatch(r"[0-9]{2,3}\.0", version) is None:
            raise ValueError(f"salesforce: version {version!r} is not like {VERSION}")
        names = _names(settings, "fields", NAME)
        self.limits_for(settings)
        size = _number(settings, "page_size", PAGE, 2, PAGE)
        self._records = Records(http, version=version, fields=names, page=size)
        self._objects = around.Objects(self._records)
        self._notes = acts.Notes(self._records, self._objects)
        self._others = {
            kind: around.Around(self._records, self._objects, kind, _names(settings, f"{kind}_fields", OBJECT_NAME))
            for kind in around.ENTITIES
        }
        if self._others[Kind.COMPANY].fields:
            self._records.employed = self._objects.employs

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the org is."""
        return _given(settings, "base_url", "").rstrip("/")

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries; without a token of its own the client has a source of them."""
        token = settings.get("access_token", "").strip()
        return {"Authorization": f"Bearer {token}"} if token else {}

    @classmethod
    def oauth_for(cls, settings: Mapping[str, str]) -> OAuth | None:
        """Salesforce's authorization server: login, test for a sandbox, or My Domain."""
        return salesforce(_given(settings, "login_url", SALESFORCE_LOGIN).rstrip("/"))

    @classmethod
    def limits_for(cls, settings: Mapping[str, str]) -> Limits:
        """The quota depends on edition and licences."""
        return _limits(_number(settings, "daily_calls", _DAILY, 1, 100_000_000))

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """The fields to read."""
        return {"fields": ",".join(sorted(theirs))}

    @classmethod
    def from_objects(cls, theirs: Mapping[Kind, Collection[str]]) -> Mapping[str, str]:
        """The fields of accounts and opportunities to read."""
        return {f"{kind}_fields": ",".join(sorted(names)) for kind, names in theirs.items()}

    def receive(self, delivery: Delivery) -> Received:
        """The secret in the URL, the org, then an event per notification; without the Ack it comes again."""
        hooks.verify(delivery, self._secrets)
        return Received(hooks.events(delivery.body, self._org), hooks.ACK)

    def check(self) -> str:
        """Counts contacts and leads, which needs the right to see them."""
        counts = {entity: self._records.count(entity) for entity in ENTITIES}
        said = ", ".join(f"{'?' if n is None else n} {entity}s" for entity, n in counts.items())
        return f"Salesforce at {urlsplit(self.base_url(self._settings)).hostname}: {said} readable"

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """In queries by id.  A merged record or converted lead is answered by the one that it lives on in."""
        return self._others[kind].read(ids) if kind in self._others else self._records.read(ids)

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """First all by id, then changes by time, removals, conversions and changed links among them."""
        if kind is Kind.COLLEAGUE:
            return around.users(self._objects, cursor)
        if cursor is None and kind in self._others:
            self._objects.forget()
        return page(self._others.get(kind, self._records), cursor)

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (case does not count) or ``id``.  Refused for another key."""
        if key in {"email", EMAIL}:
            return self._records.led(self._records.by_email(values))
        if key == "id":
            return self.read(kind, values)
        raise Refused(f"salesforce: cannot find by {key!r}; can by email, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """Up to 200 records a call, each for itself; see ``_salesforce_write``."""
        return write(self._records, orders, create_as=self._create_as)

    def describe(self, kind: Kind) -> Schema:
        """The fields that this user may see; of people those of both objects."""
        if kind in self._others:
            return self._others[kind].describe()
        return schema({entity: self._records.ask(f"/sobjects/{entity}/describe") for entity in ENTITIES})

    def acts(self, cursor: str | None) -> ActPage:
        """Tasks, calls, events and e-mails."""
        return acts.acts(self._objects, cursor)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """As completed tasks of the person."""
        return self._notes.write(notes)


def _names(settings: Mapping[str, str], of: str, like: re.Pattern[str]) -> list[str]:
    """Names of fields; ValueError for what can be none."""
    names = [name for name in map(str.strip, settings.get(of, "").split(",")) if name]
    if odd := [name for name in names if like.fullmatch(name) is None]:
        raise ValueError(f"salesforce: {of}: {', '.join(odd)}: no name of a field")
    return names


def _number(settings: Mapping[str, str], name: str, otherwise: int, least: int, most: int) -> int:
    text = _given(settings, name, str(otherwise))
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ValueError(f"salesforce: {name} must be a number from {least} to {most}")
    return int(text)


def _given(settings: Mapping[str, str], name: str, otherwise: str) -> str:
    """A setting; one that is missing or blank has its default."""
    value = settings.get(name, "").strip()
    return value if value else otherwise
