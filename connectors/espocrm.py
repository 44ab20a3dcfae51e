"""EspoCRM, the contacts or the leads of one installation, and what stands around them.

In: deliveries, ids, cursors and orders in its own words.  Out: events, records, receipts, acts.

Fields are EspoCRM's attributes, flat; ``emailAddressData.others`` is ours, the addresses beside the primary one.  The
parts: deliveries in ``_espocrm_hooks``, webhooks as subscriptions in ``_espocrm_hooking``, endpoints in
``_espocrm_calls``, the walk over changes in ``_espocrm_walk``, writing in ``_espocrm_write``, JSON in
``_espocrm_wire``; accounts, opportunities, users, activities and streams in ``_espocrm_around``.  How to
connect: docs/vendors/espocrm.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final
from urllib.parse import urlsplit

from connectors import _espocrm_around as around
from connectors import _espocrm_hooking as hooking
from connectors import _espocrm_hooks as hooks
from connectors import _espocrm_walk as walk
from connectors._espocrm_calls import BATCH, CONCURRENCY, PAGE, Records
from connectors._espocrm_wire import DATA, EMAIL, OTHERS, schema
from connectors._espocrm_write import write
from connectors._http import Http
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
    Receipt,
    Received,
    Record,
    Refused,
    Schema,
    Setting,
    Side,
)

_API: Final = "/api/v1"
ENTITIES: Final = ("Contact", "Lead")  # both are people with addresses; entityDefs of the CRM module
_ATTRIBUTE: Final = re.compile(r"[A-Za-z][0-9A-Za-z]{0,99}")


class EspoCrm(Connector):
    """EspoCRM: the people of one entity."""

    name = "espocrm"
    side = Side.CRM
    can: ClassVar[frozenset[Can]] = frozenset(
        # Not MERGE: after a merge nothing at EspoCRM leads from the lost id to the one that it lives on under.
        {
            *(Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ARCHIVE, Can.ERASE, Can.DESCRIBE),
            *(Can.COMPANIES, Can.DEALS, Can.COLLEAGUES, Can.ENGAGEMENT, Can.TIMELINE, Can.HOOKS),
        }
    )
    limits = Limits(
        read_batch=BATCH,
        find_batch=50,
        write_batch=50,  # ours: one call each
        # No rate is published; the web server in front sets what there is.
        concurrency=CONCURRENCY,
    )
    hosts: ClassVar[frozenset[str]] = frozenset()  # it stands where its owner put it: only base_url's host is called
    settings = (
        Setting("base_url", "Where EspoCRM is, such as https://crm.example.com"),
        Setting("api_key", "API key of the API user: Administration > API Users", secret=True),
        Setting(
            hooking.SETTING,
            "Secret keys of all its webhooks, separated by commas, as `tandem webhooks install` tells them",
            secret=True,
            required=False,  # EspoCRM makes them with the webhooks; until then deliveries are refused
        ),
        Setting("entity", f"Whose records: {' or '.join(ENTITIES)}; default {ENTITIES[0]}", required=False),
        Setting("attributes", "Attributes to read, separated by commas; default: by the mapping", required=False),
        Setting("company_attributes", "Attributes of accounts to read; default: by the mapping", required=False),
        Setting("deal_attributes", "Attributes of opportunities to read; default: by the mapping", required=False),
        Setting("company_object", "Entity that stands for companies; default Account", required=False),
        Setting("deal_object", "Entity that stands for deals; default Opportunity", required=False),
        Setting("page_size", f"Rows of a list, at most recordListMaxSizeLimit; default {PAGE}", required=False),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting, an unknown entity, or a page size that is none."""
        super().__init__(settings, http)
        self._secrets = [s for s in map(str.strip, _given(settings, hooking.SETTING, "").split(",")) if s]
        entity = _given(settings, "entity", ENTITIES[0])
        if entity not in ENTITIES:
            raise ValueError(f"espocrm: entity {entity!r} is none of {', '.join(ENTITIES)}")
        size = _given(settings, "page_size", str(PAGE))
        if not (size.isascii() and size.isdigit() and 2 <= int(size) <= PAGE):
            raise ValueError(f"espocrm: page_size must be a number from 2 to {PAGE}")
        names = _attributes(settings, "attributes")
        known = {settings["api_key"].strip(), *self._secrets}
        self._records = Records(http, entity, attributes=names, page=int(size), secrets=known)
        self._kinds = {Kind.CONTACT: self._records}
        self._told = {entity: Kind.CONTACT}  # what webhooks are to tell of

        def others(name: str, attributes: Sequence[str], kind: Kind = Kind.DEAL) -> Records:
            size_ = min(int(size), around.SIZE)
            always = around.ALWAYS
            return Records(http, name, attributes=attributes, page=size_, secrets=known, kind=kind, always=always)

        for kind, name in around.ENTITIES.items():
            own = [*_attributes(settings, f"{kind}_attributes"), *(["accountId"] if kind is Kind.DEAL else [])]
            self._kinds[kind] = others(_given(settings, f"{kind}_object", name), own, kind)
            if settings.get(f"{kind}_attributes", "").strip():  # somebody reads them: the role may not allow more
                self._told[self._kinds[kind].entity] = kind
        self._users = others("User", around.USERS, Kind.COLLEAGUE)
        self._activities = {name: others(name, own) for name, own in around.ACTIVITIES.items()}

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API is: ``/api/v1`` below the address of the product."""
        url = _given(settings, "base_url", "").rstrip("/")
        return url if url.endswith(_API) else url + _API

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries (api.md, "Authentication")."""
        return {"X-Api-Key": settings["api_key"].strip()}

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """The attributes to read."""
        return {"attributes": ",".join(sorted({DATA if name == OTHERS else name for name in theirs}))}

    @classmethod
    def from_objects(cls, theirs: Mapping[Kind, Collection[str]]) -> Mapping[str, str]:
        """The attributes of accounts and opportunities to read."""
        return {f"{kind}_attributes": ",".join(sorted(names)) for kind, names in theirs.items()}

    def receive(self, delivery: Delivery) -> Received:
        """Signature, then one event per row.  EspoCRM waits ten seconds and takes any 2xx."""
        webhook = hooks.verify(delivery, self._secrets)
        kinds = {records.entity: kind for kind, records in self._kinds.items()}
        return Received(hooks.events(delivery, webhook, kinds))

    def check(self) -> str:
        """Reads one record, which needs the scope that everything needs, then asks who we are."""
        found = self._records.page([], "id", size=1, count=True)
        about = self._records.ask("/App/user")
        user = about.get("user") if isinstance(about, Mapping) else None
        name = user.get("userName") if isinstance(user, Mapping) else None
        where = urlsplit(self.base_url(self._settings)).hostname
        count = "?" if found.total is None else found.total
        says = f"EspoCRM at {where} as {name!r}: {count} records of {self._records.entity} readable"
        return says if self._secrets else f"{says}; {hooking.SETTING} is not set: deliveries are refused"

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """In lists by id.  Removed records do not exist."""
        found = list(self._kinds[kind].read(ids).values())
        return found if kind is Kind.CONTACT else around.tied(self._kinds[kind], kind, found)

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """First all records by id, then lists by modified time.  Removed records are in neither."""
        if kind is Kind.COLLEAGUE:
            return around.users(self._users, cursor)
        records = self._kinds[kind]
        state = walk.Listing("") if cursor is None else walk.load(cursor)
        page = _listed(records, state) if isinstance(state, walk.Listing) else _polled(records, walk.begin(state))
        return page if kind is Kind.CONTACT else replace(page, records=tuple(around.tied(records, kind, page.records)))

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (any address of a record, case does not count) or ``id``.  Refused for another key."""
        if key in {"email", EMAIL}:
            return self._kinds[kind].by_email(values)
        if key == "id":
            return list(self._kinds[kind].read(values).values())
        raise Refused(f"espocrm: cannot find by {key!r}; can by email, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """One call each, a few at once; see ``_espocrm_write``."""
        return write(self._records, orders)

    def describe(self, kind: Kind) -> Schema:
        """The attributes of the entity, by the metadata."""
        return schema(self._kinds[kind].definitions(), kind)

    def acts(self, cursor: str | None) -> ActPage:
        """Calls, meetings and tasks."""
        return around.acts(self._activities, self._records.entity, cursor)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """As posts in the record's stream."""
        return around.write(self._records, notes)

    def hooks(self) -> Sequence[Hook]:
        """The webhooks of the API user; those that an administrator made for nobody are not shown."""
        return hooking.listed(self._records, self._told)

    def hook(self, url: str) -> Hooked:
        """One webhook for each event of what is read.  Its key reaches a person with ``secret``."""
        return hooking.install(self._records, url, self._told, self._secrets)

    def unhook(self, id: str) -> None:  # noqa: A002 - as the contract names it
        """Remove a webhook."""
        hooking.drop(self._records, id)


def _listed(records: Records, state: walk.Listing) -> Page:
    """One page of the first walk."""
    first = state.after is None
    found = records.page([] if state.after is None else [("greaterThan", "id", state.after)], "id", count=first)
    since = state.since
    if first:
        newest = max((r.modified for r in found.records if r.modified is not None), default=None)
        since = walk.stamp(found.at if found.at is not None else newest)
    total = found.total if first else state.total
    following: walk.Listing | walk.Poll = walk.Poll(since)
    if found.full:
        following = walk.Listing(since, walk.moved(state.after, found.records), total)
    return Page(found.records, walk.dump(following), more=found.full, total=total)


def _polled(records: Records, state: walk.Poll) -> Page:
    """One page of a poll."""
    where, order = walk.query(state)
    found = records.page(where, order)
    following, more = walk.advance(state, found.records, full=found.full, now=found.at)
    return Page(walk.fresh(state, found.records), walk.dump(following), more=more)


def _attributes(settings: Mapping[str, str], setting: str) -> list[str]:
    """Names of attributes; ValueError for what can be none."""
    names = [name for name in map(str.strip, settings.get(setting, "").split(",")) if name]
    if odd := [name for name in names if _ATTRIBUTE.fullmatch(name) is None]:
        raise ValueError(f"espocrm: {setting}: {', '.join(odd)}: no name of an attribute")
    return names


def _given(settings: Mapping[str, str], name: str, otherwise: str) -> str:
    """A setting; one that is missing or blank has its default."""
    value = settings.get(name, "").strip()
    return value if value else otherwise
