"""ActiveCampaign, one account.  In: deliveries, ids, cursors, orders and notes in its own words.  Out: events, records,
receipts, acts.

Fields are flat: ``firstName``, ``fields.<PERSTAG>``, ``tags``; ``consent.email``, ``consent.sms`` and ``lists.<id>``
are ours.  The parts, each after ``_activecampaign_``: deliveries in ``hooks``, subscriptions in ``hooking``, endpoints
in ``calls``, the walk over changes in ``walk``, writing in ``write``, consent in ``consent``, JSON in ``wire``;
accounts, deals, users and notes in ``around``, acts in ``acts``.  How to connect: docs/vendors/activecampaign.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import urlsplit

from connectors import _activecampaign_acts as acts
from connectors import _activecampaign_around as around
from connectors import _activecampaign_hooking as hooking
from connectors import _activecampaign_hooks as deliveries
from connectors import _activecampaign_walk as walk
from connectors import _timeline as timeline
from connectors._activecampaign_calls import CONCURRENCY, PAGE, RATES, Contacts
from connectors._activecampaign_consent import LIST
from connectors._activecampaign_wire import EMAIL, FIELD, TAGS, is_id, schema
from connectors._activecampaign_write import write
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
    NeedsHuman,
    Note,
    Order,
    Page,
    Receipt,
    Received,
    Record,
    Refused,
    Schema,
    Setting,
    Side,
)

_API: Final = "/api/3"


class ActiveCampaign(Connector):
    """ActiveCampaign: one account."""

    name = "activecampaign"
    side = Side.MARKETING
    can: ClassVar[frozenset[Can]] = frozenset(
        # Not ARCHIVE, not MERGE: its API has neither.
        {
            *(Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ERASE, Can.DESCRIBE, Can.HOOKS),
            *(Can.COMPANIES, Can.DEALS, Can.COLLEAGUES, Can.ENGAGEMENT, Can.TIMELINE),
        }
    )
    limits = Limits(
        read_batch=PAGE,
        find_batch=20,  # ours: one call each
        write_batch=20,  # ours: one to five calls each, at three a second
        rates=RATES,
        concurrency=CONCURRENCY,
    )
    hosts: ClassVar[frozenset[str]] = frozenset()  # the vendor names each account's URL: only its host is called
    settings = (
        Setting("base_url", "API URL: Settings > Developer, such as https://you.api-us1.com"),
        Setting("api_key", "API key: Settings > Developer, of a user who may see and change contacts", secret=True),
        Setting("list_id", "Id of the list that speaks for e-mail consent: the number in the list's address"),
        Setting("webhook_secret", "What the webhooks' URL ends in: invent one; while rotating: new,old", secret=True),
        Setting(
            "read", "fields.<TAG>, lists.<id> and tags to read, with commas; default: by the mapping", required=False
        ),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting, or a list_id that is none."""
        super().__init__(settings, http)
        list_id = settings["list_id"].strip()
        if not is_id(list_id):
            raise ValueError("activecampaign: list_id is a number, such as 3: it stands in the list's address")
        self._secrets = secrets(settings["webhook_secret"])
        named = [name for name in map(str.strip, settings.get("read", "").split(",")) if name]
        hidden = {settings["api_key"].strip(), *self._secrets}
        self._contacts = Contacts(http, list_id, named=named, secrets=hidden)
        self._stages = around.Stages(self._contacts)
        self._names = acts.Names(self._contacts)
        self._kinds = {Kind.CONTACT: self._contacts}

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API is: ``/api/3`` below the account's URL."""
        url = settings.get("base_url", "").strip().rstrip("/")
        return url if url.endswith(_API) else url + _API

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries ("Authentication")."""
        return {"Api-Token": settings["api_key"].strip(), "Accept": "application/json"}

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """The custom fields, lists and tags that the mapping names; all others stay where they are."""
        named = sorted(name for name in theirs if name.startswith((FIELD, LIST)) or name == TAGS)
        return {"read": ",".join(named)} if named else {}

    def receive(self, delivery: Delivery) -> Received:
        """The secret in the URL, then one event.  The vendor never tries a delivery again."""
        deliveries.verify(delivery, self._secrets)
        return Received(deliveries.events(delivery))

    def check(self) -> str:
        """Asks who we are, reads one contact, and whether there is the list that speaks for consent."""
        body = self._contacts.ask("/users/me")
        user = body.get("user") if isinstance(body, Mapping) else None
        found = self._contacts.page({"status": -1}, 0, size=1)
        named = {str(row.get("id")): str(row.get("name", "")) for row in self._contacts.lists()}
        if self._contacts.list_id not in named:
            raise NeedsHuman(f"activecampaign: there is no list {self._contacts.list_id}: correct list_id")
        name = user.get("username") if isinstance(user, Mapping) else None
        where = urlsplit(self.base_url(self._settings)).hostname
        count = "?" if found.total is None else found.total
        return (
            f"ActiveCampaign at {where} as {name!r}: {count} contacts readable, list {self._contacts.list_id} "
            f"({named[self._contacts.list_id]!r}) speaks for e-mail consent"
        )

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """Contacts in lists by id, and one that the list does not show alone; accounts and deals one by one."""
        if kind in around.NAMES:
            return around.read(self._contacts, self._stages, kind, ids)
        return list(self._kinds[kind].read(ids).values())

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """First all contacts by id, then those of a window of time, and now and then all who were stopped.

        Accounts and deals by offset.  Deleted ones are in none of them.
        """
        if kind is Kind.COLLEAGUE:
            return around.users(self._contacts, cursor)
        if kind in around.NAMES:
            return around.changed(self._contacts, self._stages, kind, cursor)
        contacts = self._kinds[kind]
        state = walk.load(cursor)
        found = contacts.page(walk.query(state, contacts.list_id), state.after)
        following, more = walk.advance(state, found.records, found.last, more=found.more, now=found.at, zone=found.zone)
        return Page(found.records, walk.dump(following), more=more, total=found.total if cursor is None else None)

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (case does not count) or ``id``.  Refused for another key."""
        if key == EMAIL:
            return self._kinds[kind].by_email(values)
        if key == "id":
            return self.read(kind, values)
        raise Refused(f"activecampaign: cannot find by {key!r}; can by email, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """One contact after the other; see ``_activecampaign_write``."""
        return write(self._contacts, orders)

    def describe(self, kind: Kind) -> Schema:
        """Of contacts their own fields, the account's custom fields, and its lists; of others what is read."""
        if kind in around.NAMES:
            return around.schema(kind)
        contacts = self._kinds[kind]
        return schema(contacts.definitions(fresh=True).values(), contacts.lists())

    def acts(self, cursor: str | None) -> ActPage:
        """Forms, opt-outs and bounces by the lists, and the tasks of sales."""
        return acts.acts(self._contacts, self._names, cursor)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """As notes on the contact."""
        return timeline.write(notes, lambda one: around.note(self._contacts, one))

    def hooks(self) -> Sequence[Hook]:
        """All webhooks of the account."""
        return hooking.listed(self._contacts)

    def hook(self, url: str) -> Hooked:
        """Two webhooks, what stops and what changes; one that the vendor switched off is made anew."""
        return hooking.install(self._contacts, url, self._secrets[0])

    def unhook(self, id: str) -> None:  # noqa: A002
        """By its id."""
        hooking.drop(self._contacts, id)
