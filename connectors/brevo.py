"""Brevo, the contacts, companies and deals of one account.

In: deliveries, ids, cursors, orders and notes in its own words.  Out: events, records, acts, receipts.

Fields are flat: ``email``, ``emailBlacklisted``, ``smsBlacklisted``, ``attributes.FIRSTNAME``;
``listUnsubscribed.<id>`` is ours, whether somebody has left that list.  The parts: deliveries in ``_brevo_hooks``,
webhooks as subscriptions in ``_brevo_hooking``, endpoints in ``_brevo_calls``, the walk over changes in
``_brevo_walk``, writing in ``_brevo_write``, companies and deals in ``_brevo_around``, what contacts did in
``_brevo_acts``, notes in ``_brevo_notes``, JSON in ``_brevo_wire``.  How to connect: docs/vendors/brevo.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar, Final
from urllib.parse import urlsplit

from connectors import _brevo_acts as engagement
from connectors import _brevo_hooking as hooking
from connectors import _brevo_hooks as hooks
from connectors import _brevo_notes as notes_
from connectors import _brevo_walk as walk
from connectors._brevo_around import Around
from connectors._brevo_calls import CONCURRENCY, MOST, OTHER, Contacts
from connectors._brevo_wire import EMAIL, schema
from connectors._brevo_write import write
from connectors._http import Http
from connectors._signing import secrets
from connectors.contract import (
    ActPage,
    Can,
    Connector,
    Delivery,
    Hook,
    Hooked,
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

_HOST: Final = "api.brevo.com"
_VERSION: Final = "/v3"
_SIZE: Final = 500  # contacts in a page: ours, half of what is allowed keeps an answer below a few megabytes
# "Rate limits" (developers.brevo.com/docs/api-limits), /v3/contacts: a second, an hour.
_PLANS: Final[Mapping[str, tuple[Rate, Rate]]] = MappingProxyType(
    {
        "general": (Rate(10, 1), Rate(36_000, 3600)),
        "professional": (Rate(20, 1), Rate(72_000, 3600)),
        "enterprise": (Rate(20, 1), Rate(72_000, 3600)),
    }
)


class Brevo(Connector):
    """Brevo (once Sendinblue): the contacts of one account."""

    name = "brevo"
    side = Side.MARKETING
    can: ClassVar[frozenset[Can]] = frozenset(
        # Not ARCHIVE: there is none.  Not MERGE: forceMerge keeps whichever changed last, with which marks is not said.
        # Not COLLEAGUES: owners are ids, and the list of users has neither ids nor names.
        {Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ERASE, Can.DESCRIBE, Can.HOOKS}
        | {Can.COMPANIES, Can.DEALS, Can.ENGAGEMENT, Can.TIMELINE}
    )
    busy = 429  # any other 4xx and every 5xx discards the event ("Retry mechanism")
    limits = Limits(
        read_batch=100,  # ours: five lists of twenty
        find_batch=50,  # ours: one call each
        write_batch=50,  # ours: no limit of a batch is published, 100 was seen in use
        rates=_PLANS["general"],
        concurrency=CONCURRENCY,
        keys=MappingProxyType({OTHER: (Rate(100, 3600),)}),  # "All other endpoints"
    )
    hosts: ClassVar[frozenset[str]] = frozenset({_HOST})
    settings = (
        Setting("api_key", "API key: SMTP & API > API keys; begins with xkeysib-", secret=True),
        Setting(
            "webhook_secrets", "Bearer token of the webhook: invent one; while it is changed: new,old", secret=True
        ),
        Setting("plan", f"Whose rates count: {', '.join(_PLANS)}; default general", required=False),
        Setting("page_size", f"Contacts in a page, 10 to {MOST}; default {_SIZE}", required=False),
        Setting("base_url", f"Where the API is; default https://{_HOST}{_VERSION}", required=False),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting, an unknown plan, or a page size that is none."""
        super().__init__(settings, http)
        self._secrets = secrets(settings["webhook_secrets"])
        self.limits_for(settings)
        size = _given(settings, "page_size", str(_SIZE))
        if not (size.isascii() and size.isdigit() and 10 <= int(size) <= MOST):
            raise ValueError(f"brevo: page_size must be a number from 10 to {MOST}")
        self._size = int(size)
        self._contacts = Contacts(http, secrets={settings["api_key"].strip(), *self._secrets})
        self._around = Around(self._contacts)

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API is: as set, else Brevo's own host."""
        url = _given(settings, "base_url", f"https://{_HOST}{_VERSION}").rstrip("/")
        return url if urlsplit(url).path else url + _VERSION

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries."""
        return {"api-key": settings["api_key"].strip(), "accept": "application/json"}

    @classmethod
    def limits_for(cls, settings: Mapping[str, str]) -> Limits:
        """The rates of the account's plan."""
        plan = _given(settings, "plan", "general").lower()
        if plan not in _PLANS:
            raise ValueError(f"brevo: plan {plan!r} is none of {', '.join(_PLANS)}")
        return replace(cls.limits, rates=_PLANS[plan])

    def receive(self, delivery: Delivery) -> Received:
        """The bearer token, then the events."""
        hooks.verify(delivery, self._secrets)
        return Received(hooks.events(delivery))

    def check(self) -> str:
        """Asks for the account, then counts its contacts."""
        account, found = self._contacts.account(), self._contacts.page(size=1)
        count = "?" if found.count is None else found.count
        return f"Brevo account {account.get('companyName')!r}: {count} contacts readable"

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """In lists of twenty; whom no list shows is asked for alone before he counts as gone."""
        if kind is not Kind.CONTACT:
            return self._around.read(kind, ids)
        return list(self._contacts.read(ids).values())

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """By ``modifiedSince``, in the order of creation.  Deleted contacts are not in it: there is no feed of them."""
        if kind is not Kind.CONTACT:
            return self._around.changed(kind, cursor)
        state = walk.Walk() if cursor is None else walk.load(cursor)
        found = self._contacts.page(since=state.bound, offset=state.offset, size=self._size)
        following, more = walk.advance(state, found.records, size=self._size, count=found.count, now=found.at)
        return Page(found.records, walk.dump(following), more=more, total=found.count)

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (case does not count) or ``id``.  Refused for another key."""
        if key == EMAIL:
            return self._contacts.by_email(values)
        if key == "id":
            return self.read(kind, values)
        raise Refused(f"brevo: cannot find by {key!r}; can by email, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """In batches where that is safe, all of it read back; see ``_brevo_write``."""
        return write(self._contacts, orders)

    def describe(self, kind: Kind) -> Schema:
        """The contact's own fields, the account's attributes, and its lists."""
        if kind is not Kind.CONTACT:
            return self._around.describe(kind)
        return schema(self._contacts.attributes().values(), self._contacts.lists())

    def acts(self, cursor: str | None) -> ActPage:
        """The campaign statistics of some contacts, one call each; the next poll goes on with others."""
        return engagement.acts(self._contacts, cursor)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """A note each on the contact, in Brevo's CRM."""
        return notes_.write(self._contacts, notes)

    def hooks(self) -> Sequence[Hook]:
        """The marketing webhooks of the account."""
        return hooking.listed(self._contacts)

    def hook(self, url: str) -> Hooked:
        """One webhook with our token; Brevo allows forty of an account."""
        return hooking.install(self._contacts, url, self._secrets[0])

    def unhook(self, id: str) -> None:  # noqa: A002
        """By its id."""
        self._contacts.drop_webhook(id)


def _given(settings: Mapping[str, str], name: str, otherwise: str) -> str:
    """A setting; one that is missing or blank has its default."""
    value = settings.get(name, "").strip()
    return value if value else otherwise
