"""Odoo, the people among the partners of one database, and what stands around them.  In: deliveries, ids, cursors and
orders in its own words.  Out: events, records, receipts, acts.

Fields are those of ``res.partner``; names with a dot are ours (``_odoo_wire``).  The parts: deliveries in
``_odoo_hooks``, calls of methods in ``_odoo_rpc``, which methods in ``_odoo_calls``, the walk over changes in
``_odoo_walk``, writing in ``_odoo_write``; companies, opportunities and users in ``_odoo_around``, messages, meetings
and notes in ``_odoo_acts``.  How to connect: docs/vendors/odoo.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final
from urllib.parse import urlsplit

from connectors import _odoo_acts as acts
from connectors import _odoo_around as around
from connectors import _odoo_hooks as hooks
from connectors import _odoo_walk as walk
from connectors._http import Http
from connectors._odoo_calls import BLACKLIST, CONCURRENCY, PAGE, Partners
from connectors._odoo_rpc import Rpc
from connectors._odoo_wire import EMAIL, MODIFIED, PEOPLE, address, is_field, person, schema
from connectors._odoo_write import write
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
    Receipt,
    Received,
    Record,
    Refused,
    Schema,
    Setting,
    Side,
)

JSON2, JSONRPC = "json2", "jsonrpc"
_ARCHIVED: Final = ["active", "in", [True, False]]


class Odoo(Connector):
    """Odoo 16 and later: the people of one database."""

    name = "odoo"
    side = Side.CRM
    can: ClassVar[frozenset[Can]] = frozenset(
        # Not MERGE: nothing leads from the lost id to the one that it lives on under.  Not HOOKS: making automation
        # rules takes an administrator's key, which the connection should not have.
        {
            *(Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ARCHIVE, Can.ERASE, Can.DESCRIBE),
            *(Can.COMPANIES, Can.DEALS, Can.COLLEAGUES, Can.ENGAGEMENT, Can.TIMELINE),
        }
    )
    timeout = 120.0  # limit_time_real: by then a worker is stopped (Odoo's default)
    limits = Limits(
        read_batch=PAGE,
        find_batch=100,
        write_batch=50,  # ours: one call each
        # No rate is published.
        concurrency=CONCURRENCY,
    )
    hosts: ClassVar[frozenset[str]] = frozenset()  # it stands where its owner put it: only base_url's host is called
    settings = (
        Setting("base_url", "Where Odoo is, such as https://example.odoo.com"),
        Setting("api_key", "API key of a user of its own: Preferences > Account Security", secret=True),
        Setting(
            "webhook_secrets", "Secret in the URL of the webhooks: invent one; while rotating: new,old", secret=True
        ),
        Setting("database", "Name of the database; needed for jsonrpc, or where the host has several", required=False),
        Setting("api", f"{JSON2} (Odoo 19 and later, default) or {JSONRPC} (16 to 18)", required=False),
        Setting("login", "Login of the user, for jsonrpc", required=False),
        Setting("fields", "Fields to read, separated by commas; default: by the mapping", required=False),
        Setting("company_fields", "Fields of companies to read; default: by the mapping", required=False),
        Setting("deal_fields", "Fields of opportunities to read; default: by the mapping", required=False),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting, an unknown ``api``, or a field that is none."""
        super().__init__(settings, http)
        self._secrets = secrets(settings["webhook_secrets"])
        api, database, login = (_given(settings, name) for name in ("api", "database", "login"))
        if api not in {"", JSON2, JSONRPC}:
            raise ValueError(f"odoo: api {api!r} is none of {JSON2}, {JSONRPC}")
        if api == JSONRPC and not (database and login):
            raise ValueError("odoo: api jsonrpc needs the settings database and login")
        names = {kind: _names(settings, f"{kind}_fields", around.is_field) for kind in around.MODELS}
        rpc = Rpc(http, key=settings["api_key"].strip(), database=database, login=login, json2=api != JSONRPC)
        self._rpc = rpc
        # Whom people belong to is said where the mapping reads companies.
        employers = bool(names[Kind.COMPANY])
        self._partners = Partners(rpc, _names(settings, "fields", is_field), employers=employers)
        self._around = around.Around(self._partners, names)

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """The address of the server."""
        return _given(settings, "base_url").rstrip("/")

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries; over JSON-RPC the key is in the body."""
        if _given(settings, "api") == JSONRPC:
            return {}
        database = _given(settings, "database")
        key = {"Authorization": f"bearer {settings['api_key'].strip()}"}
        return {**key, "X-Odoo-Database": database} if database else key

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """The fields to read."""
        return {"fields": ",".join(sorted(theirs))}

    @classmethod
    def from_objects(cls, theirs: Mapping[Kind, Collection[str]]) -> Mapping[str, str]:
        """The fields of companies and opportunities to read."""
        return {f"{kind}_fields": ",".join(sorted(set(names))) for kind, names in theirs.items()}

    def receive(self, delivery: Delivery) -> Received:
        """Secret, then one event.  Odoo waits one second and never tries again."""
        hooks.verify(delivery, self._secrets)
        return Received(hooks.events(delivery))

    def check(self) -> str:
        """Counts the contacts, and reads the blacklist, without which no objection would be seen."""
        self._partners.facts()
        count = self._partners.count()
        self._partners.listed(BLACKLIST, [["id", "<", 0]], 0, [EMAIL])
        where = urlsplit(self.base_url(self._settings)).hostname
        return f"Odoo at {where}: {'?' if count is None else count} contacts readable, blacklist readable"

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """In lists by id, archived ones too.  A partner that is no person (any more) does not exist."""
        if kind is not Kind.CONTACT:
            return self._around.read(kind, ids)
        return list(self._partners.read(ids).values())

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """First all contacts by id, then those of a window of time, then those whose address was blacklisted in it."""
        if kind is Kind.COLLEAGUE:
            return self._around.users(cursor)
        if kind is not Kind.CONTACT:
            return self._around.changed(kind, cursor)
        partners = self._partners
        state = walk.Listing("") if cursor is None else walk.load(cursor)
        return _listed(partners, state) if isinstance(state, walk.Listing) else _polled(partners, walk.begin(state))

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (case does not count) or ``id``.  Refused for another key."""
        if kind is not Kind.CONTACT:
            raise Refused("odoo: finds contacts only", code="key", field=key)
        if key == EMAIL:
            return self._partners.by_email(values)
        if key == "id":
            return self.read(kind, values)
        raise Refused(f"odoo: cannot find by {key!r}; can by email, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """One call each, a few at once; see ``_odoo_write``."""
        return write(self._partners, orders)

    def describe(self, kind: Kind) -> Schema:
        """The fields of the model, and ours."""
        return schema(self._partners.facts()) if kind is Kind.CONTACT else self._around.describe(kind)

    def acts(self, cursor: str | None) -> ActPage:
        """Messages and meetings."""
        return acts.acts(self._partners, self._around, cursor)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """As internal notes among the messages of the contact."""
        return acts.write(self._partners, notes)


def _listed(partners: Partners, state: walk.Listing) -> Page:
    """One page of the first walk."""
    total = state.total if state.begun else partners.count()
    found = partners.page([*PEOPLE, ["active", "=", True], *walk.query(state)], state.after)
    records = partners.records(found.rows)
    since = state.since
    if not state.begun:
        since = walk.stamp(found.at if found.at is not None else _newest(records))
    following: walk.Listing | walk.Poll = walk.Poll(since)
    if found.full and found.last is not None:
        following = walk.Listing(since, found.last, total, begun=True)
    return Page(records, walk.dump(following), more=found.full, total=total)


def _polled(partners: Partners, state: walk.Poll) -> Page:
    """One page of one phase of a poll."""
    if state.phase == walk.WRITTEN:
        found = partners.page([*PEOPLE, _ARCHIVED, *walk.query(state)], state.after)
        records = partners.records(found.rows)
        following = walk.advance(state, found.last, full=found.full, now=found.at, newest=_newest(records))
        return Page(records, walk.dump(following), more=True)
    found = partners.listed(BLACKLIST, [_ARCHIVED, *walk.query(state)], state.after, [EMAIL, MODIFIED])
    told = [row[EMAIL] for row in found.rows if isinstance(row.get(EMAIL), str)]
    records = partners.records(row for row in partners.holding(told, archived=True) if person(row) and address(row))
    following = walk.advance(state, found.last, full=found.full, now=found.at, newest=None)
    return Page(records, walk.dump(following), more=following.start is not None)


def _newest(records: Sequence[Record]) -> datetime | None:
    return max((r.modified for r in records if r.modified is not None), default=None)


def _names(settings: Mapping[str, str], setting: str, valid: Callable[[str], bool]) -> list[str]:
    """Names of fields; ValueError for what can be none."""
    names = [name for name in map(str.strip, settings.get(setting, "").split(",")) if name]
    if odd := [name for name in names if not valid(name)]:
        raise ValueError(f"odoo: {setting}: {', '.join(odd)}: no name of a field")
    return names


def _given(settings: Mapping[str, str], name: str) -> str:
    """A setting; one that is missing has none."""
    return settings.get(name, "").strip()
