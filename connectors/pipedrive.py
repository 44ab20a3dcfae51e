"""Pipedrive, the persons of one account.  In: deliveries, ids, cursors and orders in its own words.  Out: events,
records, receipts.

Fields are those of API v2; ``emails.primary``, ``emails.others``, ``phones.primary``, ``phones.mobile``, ``org_name``
and ``custom_fields.<key>`` are ours, see ``_pipedrive_wire``.  The parts: deliveries and subscriptions in
``_pipedrive_hooks``, endpoints in ``_pipedrive_calls``, the walk over changes in ``_pipedrive_walk``, writing in
``_pipedrive_write``, JSON in ``_pipedrive_wire``.  How to connect: docs/vendors/pipedrive.md.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import urlsplit

from connectors import _pipedrive_hooks as hooks
from connectors import _pipedrive_walk as walk
from connectors._http import Http
from connectors._pipedrive_calls import BATCH, CONCURRENCY, SEARCH, Found, Persons
from connectors._pipedrive_wire import EMAIL, UPDATED, id_of, is_id, schema, time
from connectors._pipedrive_write import write
from connectors._signing import secrets
from connectors.contract import (
    Can,
    Connector,
    Delivery,
    Hook,
    Hooked,
    Kind,
    Limits,
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

_API: Final = "/api"
# Calls of one user's token in two seconds, by plan; "Rate limiting", pipedrive.readme.io
PLANS: Final[Mapping[str, int]] = {"lite": 20, "growth": 40, "premium": 100, "ultimate": 120}
_SMALLEST: Final = "lite"
_FIELD: Final = re.compile(r"[a-z][a-z_]{0,60}(\.[0-9A-Za-z_]{1,64})?")


def _limits(plan: str) -> Limits:
    return Limits(
        read_batch=BATCH,
        find_batch=10,  # ours: one search each
        write_batch=50,  # ours: one call each
        rates=(Rate(PLANS[plan], 2),),
        concurrency=CONCURRENCY,
        keys={SEARCH: (Rate(10, 2),)},  # "Rate limiting", pipedrive.readme.io
    )


class Pipedrive(Connector):
    """Pipedrive: its persons."""

    name = "pipedrive"
    side = Side.CRM
    can: ClassVar[frozenset[Can]] = frozenset(
        # Not MERGE: after a merge nothing that can be read leads from the lost id to the one that it lives on under.
        {Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ARCHIVE, Can.ERASE, Can.DESCRIBE, Can.HOOKS}
    )
    limits = _limits(_SMALLEST)
    hosts: ClassVar[frozenset[str]] = frozenset()  # only base_url's host is called
    settings = (
        Setting("base_url", "Where your Pipedrive is, such as https://example.pipedrive.com"),
        Setting("api_token", "API token of an administrator: profile > Personal preferences > API", secret=True),
        Setting(
            "webhook_password",
            f"Password that its webhooks bring (user {hooks.USER}), invented by you; several, separated by commas",
            secret=True,
        ),
        Setting("plan", f"Plan, for its rate of calls: {', '.join(PLANS)}; default {_SMALLEST}", required=False),
        Setting("fields", "Fields to read, separated by commas; default: by the mapping", required=False),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting, an unknown plan or what is no name of a field."""
        super().__init__(settings, http)
        self._passwords = secrets(settings["webhook_password"])
        self.limits_for(settings)
        names = [name for name in map(str.strip, settings.get("fields", "").split(",")) if name]
        if odd := [name for name in names if _FIELD.fullmatch(name) is None]:
            raise ValueError(f"pipedrive: fields: {', '.join(odd)}: no name of a field")
        proofs = {hooks.proof(p).partition(" ")[2] for p in self._passwords}
        known = {settings["api_token"].strip(), *self._passwords, *proofs}
        self._persons = Persons(http, names, secrets=known)
        self._kinds = {Kind.CONTACT: self._persons}

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API is: ``/api`` below the address of the account; the version follows in each path."""
        url = settings.get("base_url", "").strip().rstrip("/")
        return url if url.endswith(_API) else url + _API

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries (OpenAPI v2, securitySchemes).  As a parameter the token would be in logs."""
        return {"x-api-token": settings["api_token"].strip()}

    @classmethod
    def limits_for(cls, settings: Mapping[str, str]) -> Limits:
        """The rate of the account's plan.  ValueError for another word."""
        plan = settings.get("plan", "").strip().lower()
        plan = plan if plan else _SMALLEST
        if plan not in PLANS:
            raise ValueError(f"pipedrive: plan {plan!r} is none of {', '.join(PLANS)}")
        return _limits(plan)

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """The fields to read."""
        return {"fields": ",".join(sorted(set(theirs)))}

    def receive(self, delivery: Delivery) -> Received:
        """User and password, then the one event.  Pipedrive waits ten seconds and takes any 2xx."""
        hooks.verify(delivery, self._passwords)
        return Received(hooks.events(delivery, self._persons.names))

    def check(self) -> str:
        """Asks who we are, then reads one person, which needs the right that everything needs."""
        me = self._persons.me()
        self._persons.page({"sort_by": "id"}, size=1)
        access = me.get("access")
        admin = any(
            isinstance(a, Mapping) and a.get("admin") is True and a.get("app") in {"global", "sales"}
            for a in (access if isinstance(access, list) else [])
        )
        hint = "" if admin else "; no administrator: persons that this user may not see are missing without a word"
        where = urlsplit(self.base_url(self._settings)).hostname
        return f"Pipedrive at {where}, company {me.get('company_id')} as user {me.get('id')}: persons readable{hint}"

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """In lists by id.  Removed persons do not exist."""
        return list(self._kinds[kind].read(ids).values())

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """First all persons by id, then lists by the time of their change."""
        persons, state = self._kinds[kind], walk.load(cursor)
        found, state = _listed(persons, state)
        here = persons.records([row for row in found.rows if row.get("is_deleted") is not True])
        gone = [id_of(row.get("id")) for row in found.rows if row.get("is_deleted") is True]
        # Of all rows: a removed one moves the time forward as well.
        times = [at for row in found.rows if (at := time(row.get(UPDATED))) is not None]
        state, more = walk.advance(state, times, found.following, found.at)
        return Page(tuple(here), walk.dump(state), more=more, deleted=tuple(i for i in gone if i is not None))

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (any address of a person, case does not count) or ``id``.  Refused for another key."""
        persons = self._kinds[kind]
        if key in {"email", EMAIL}:
            return persons.records(persons.by_email(values))
        if key == "id":
            return list(persons.read(values).values())
        raise Refused(f"pipedrive: cannot find by {key!r}; can by email, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """One call each, a few at once; see ``_pipedrive_write``."""
        return write(self._persons, orders)

    def describe(self, kind: Kind) -> Schema:
        """The fields of persons, custom ones by their keys."""
        return dataclasses.replace(schema(self._kinds[kind].fields()), kind=kind)

    def hooks(self) -> Sequence[Hook]:
        """All webhooks of the account that the token may see."""
        return hooks.subscriptions(self._persons)

    def hook(self, url: str) -> Hooked:
        """One webhook for all that happens to persons; what was there and lacks something is made anew."""
        return hooks.install(self._persons, url, self._passwords[0])

    def unhook(self, id: str) -> None:  # noqa: A002 - as the contract names it
        """Remove a webhook."""
        if is_id(id):
            self._persons.drop_webhook(id)


def _listed(persons: Persons, state: walk.Listing | walk.Poll) -> tuple[Found, walk.Listing | walk.Poll]:
    """One page of the walk; where the vendor refuses its own cursor, the first one of the walk that starts again."""
    try:
        return persons.page(walk.query(state)), state
    except Refused:
        again = walk.again(state)
        if again is None:
            raise
        return persons.page(walk.query(again)), again
