"""Mautic, one installation.  In: deliveries, ids, cursors, orders and notes in its own words.  Out: events, records,
receipts, acts.

Fields are Mautic's aliases, flat; ``tags`` (names), ``points`` and ``stage`` stand beside them, and
``doNotContact.<channel>`` is ours, the state of one channel.  The parts: deliveries in ``_mautic_hooks``, webhooks as
subscriptions in ``_mautic_hooking``, credentials in ``_mautic_login``, endpoints in ``_mautic_calls``, the walk over
changes in ``_mautic_walk``, writing in ``_mautic_write``, JSON in ``_mautic_wire``; companies, users and notes in
``_mautic_around``, acts in ``_mautic_acts``.  How to connect: docs/vendors/mautic.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, Final
from urllib.parse import urlsplit

from connectors import _mautic_acts as acts
from connectors import _mautic_around as around
from connectors import _mautic_hooking as hooking
from connectors import _mautic_hooks as hooks
from connectors import _mautic_login as login
from connectors import _mautic_walk as walk
from connectors import _timeline as timeline
from connectors._http import Http
from connectors._mautic_calls import BATCH, CONCURRENCY, Contacts
from connectors._mautic_wire import EMAIL, number, record, schema
from connectors._mautic_write import write
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
    Receipt,
    Received,
    Record,
    Refused,
    Schema,
    Setting,
    Side,
)

_API: Final = "/api"
_TABLES: Final = ("audit_log", "lead_donotcontact", "lead_companies_change_log", "email_stats", "page_hits")


class Mautic(Connector):
    """Mautic 5 and 6: one installation."""

    name = "mautic"
    side = Side.MARKETING
    can: ClassVar[frozenset[Can]] = frozenset(
        # Not ARCHIVE: there is none.  Not MERGE: Mautic's own drops the objections of the contact that is lost, and can
        # only be had by giving one contact the other's address.
        # Not DEALS: it knows none.
        {
            *(Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ERASE, Can.DESCRIBE, Can.HOOKS),
            *(Can.COMPANIES, Can.COLLEAGUES, Can.ENGAGEMENT, Can.TIMELINE),
        }
    )
    timeout = 60.0  # a batch of 50 was seen to take 4 s on two idle cores; ours
    limits = Limits(
        read_batch=BATCH,
        find_batch=50,
        write_batch=50,  # api_batch_max_limit is 200 (ApiBundle/Config/config.php); fewer, as batches are slow: ours
        # No rate is published: api_rate_limiter_limit is 0, which is none, until an administrator sets one.
        concurrency=CONCURRENCY,
    )
    hosts: ClassVar[frozenset[str]] = frozenset()  # it stands where its owner put it: only base_url's host is called
    settings = (
        Setting("base_url", "Where Mautic is, such as https://mautic.example.com"),
        Setting("webhook_secrets", "What signs webhooks: invent one; while rotating: new,old", secret=True),
        Setting("username", "User for the API, where basic authentication is allowed", required=False),
        Setting("password", "Password of this user", secret=True, required=False),
        Setting("client_id", "OAuth 2 public key: Settings > API Credentials", required=False),
        Setting("client_secret", "OAuth 2 secret key, for client credentials", secret=True, required=False),
        Setting("access_token", "OAuth 2 access token, where something else renews it", secret=True, required=False),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting, or credentials that are none or of two kinds."""
        super().__init__(settings, http)
        self._secrets = secrets(settings["webhook_secrets"])
        named = {settings.get(s.name, "").strip() for s in self.settings if s.secret}
        token = login.Login(http, settings, self.base_url(settings).removesuffix(_API))
        self._contacts = Contacts(http, token, secrets={*named, *self._secrets} - {""})
        self._names = acts.Names(self._contacts)
        self._kinds = {Kind.CONTACT: self._contacts}

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API is: ``/api`` below the address of the product."""
        url = settings.get("base_url", "").strip().rstrip("/")
        return url if url.endswith(_API) else url + _API

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries; with client credentials each call adds its token."""
        return login.headers(settings)

    def receive(self, delivery: Delivery) -> Received:
        """Signature, then one event per item.  Mautic waits 15 seconds, and never tries again after an answer."""
        hooks.verify(delivery, self._secrets)
        return Received(hooks.events(delivery))

    def check(self) -> str:
        """Counts the contacts, asks who we are, and which of the tables that polls read are to be seen."""
        found = self._contacts.page([], 0, known=True, size=1)
        user, version = self._contacts.who()
        hidden = [t for t in _TABLES if self._contacts.stats(t, [], 0, size=1) is None]
        where = urlsplit(self.base_url(self._settings)).hostname
        count = "?" if found.total is None else found.total
        said = f"Mautic {version} at {where} as {user!r}: {count} contacts readable"
        return said + (f"; not readable: {', '.join(hidden)} (docs/vendors/mautic.md)" if hidden else "")

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """In lists by id; a contact's id that is in none is followed to the contact that it was merged into."""
        if kind is Kind.COMPANY:
            return around.read(self._contacts, ids)
        contacts = self._kinds[kind]
        found = contacts.read(ids)
        lost = [i for i in dict.fromkeys(ids) if i not in found and i.isascii() and i.isdigit()]
        for one in contacts.follow(lost):
            there = found.get(one.id)
            former = (*(there.former_ids if there is not None else ()), *one.former_ids)
            found[one.id] = replace(one, former_ids=tuple(dict.fromkeys(former)))
        return list(found.values())

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """First all by id, then those of a window of time; deletions by the audit log, where it is readable.

        Visitors whom nobody knows are left out.
        """
        if kind is Kind.COMPANY:
            return around.changed(self._contacts, cursor)
        if kind is Kind.COLLEAGUE:
            return around.users(self._contacts, cursor)
        contacts = self._kinds[kind]
        state = walk.Listing("") if cursor is None else walk.load(cursor)
        return _listed(contacts, state) if isinstance(state, walk.Listing) else _polled(contacts, walk.begin(state))

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (case does not count) or ``id``.  Refused for another key."""
        if key == EMAIL:
            return self._kinds[kind].by_email(values)
        if key == "id":
            return self.read(kind, values)
        raise Refused(f"mautic: cannot find by {key!r}; can by email, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """In batches; see ``_mautic_write``."""
        return write(self._contacts, orders)

    def describe(self, kind: Kind) -> Schema:
        """The fields; of contacts also tags, the channels of do-not-contact, and what Mautic alone decides."""
        if kind is Kind.COMPANY:
            return around.schema(self._contacts)
        return schema(self._kinds[kind].definitions())

    def acts(self, cursor: str | None) -> ActPage:
        """Mails sent and read, clicks, bounces, opt-outs, replies, forms, visits, texts."""
        return acts.acts(self._contacts, self._names, cursor)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """As notes on the contact."""
        return timeline.write(notes, lambda one: around.note(self._contacts, one))

    def hooks(self) -> Sequence[Hook]:
        """The webhooks that the user may see."""
        return hooking.listed(self._contacts)

    def hook(self, url: str) -> Hooked:
        """One webhook, switched on, with our secret; Mautic switches one off after a hundred failures, or one 410."""
        return hooking.install(self._contacts, url, self._secrets[0])

    def unhook(self, id: str) -> None:  # noqa: A002
        """By its id."""
        self._contacts.drop_hook(id)


def _listed(contacts: Contacts, state: walk.Listing) -> Page:
    """One page of the first walk."""
    found = contacts.page([], state.after, known=True)
    records = tuple(record(row) for row in found.rows)
    newest = _newest(records)
    following = walk.on(state, found.last, full=found.full, now=found.at, newest=newest, total=found.total)
    total = state.total if state.begun else found.total
    return Page(records, walk.dump(following), more=found.full, total=total)


def _polled(contacts: Contacts, state: walk.Poll) -> Page:
    """One page of one phase of a poll."""
    where = walk.query(state)
    if state.phase == walk.CHANGED:
        found = contacts.page(where, state.after, known=True)
        records = tuple(record(row) for row in found.rows)
        newest = _newest(records)
        following = walk.advance(state, found.last, full=found.full, now=found.at, newest=newest)
        return Page(records, walk.dump(following), more=True)
    table = "lead_donotcontact" if state.phase == walk.OBJECTED else "audit_log"
    stats = contacts.stats(table, where, state.after)
    if stats is None:  # not for this user: what is told by webhook has to do
        following = walk.advance(state, None, full=False, now=None, newest=None)
        return Page((), walk.dump(following), more=following.start is not None)
    following = walk.advance(state, stats.last, full=stats.full, now=stats.at, newest=None)
    name = "lead_id" if state.phase == walk.OBJECTED else "object_id"
    ids = list(dict.fromkeys(str(i) for row in stats.rows if (i := number(row, name)) is not None))
    more = following.start is not None
    if state.phase == walk.OBJECTED:
        return Page(tuple(contacts.read(ids).values()), walk.dump(following), more=more)
    return Page((), walk.dump(following), more=more, deleted=tuple(ids))


def _newest(records: Sequence[Record]) -> datetime | None:
    return max((r.modified for r in records if r.modified is not None), default=None)
