"""Pipedrive, the persons of one account and what stands around them.  In: deliveries, ids, cursors and orders in its
own words.  Out: events, records, receipts, acts.

Fields are those of API v2; ``emails.primary``, ``emails.others``, ``phones.primary``, ``phones.mobile``, ``org_name``
and ``custom_fields.<key>`` are ours, see ``_pipedrive_wire``.  The parts: deliveries and subscriptions in
``_pipedrive_hooks``, endpoints in ``_pipedrive_calls``, the walk over changes in ``_pipedrive_walk``, writing in
``_pipedrive_write``, JSON in ``_pipedrive_wire``; organizations, deals and users in ``_pipedrive_around``, activities
and notes in ``_pipedrive_acts``.  How to connect: docs/vendors/pipedrive.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final
from urllib.parse import urlsplit

from connectors import _pipedrive_acts as acts
from connectors import _pipedrive_around as around
from connectors import _pipedrive_hooks as hooks
from connectors import _pipedrive_walk as walk
from connectors._http import Http
from connectors._oauth_facts import OAuth
from connectors._oauth_vendors import PIPEDRIVE
from connectors._pipedrive_calls import BATCH, CONCURRENCY, SEARCH, Persons, walked
from connectors._pipedrive_wire import EMAIL, UPDATED, id_of, is_id, schema, time
from connectors._pipedrive_write import write
from connectors._signing import secrets
from connectors.contract import (
    ActPage,
    Can,
    Connector,
    Delivery,
    Doing,
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

_API: Final = "/api"
# Calls of one user's token in two seconds, by plan; four times as many of an app.  "Rate limiting", pipedrive.readme.io
PLANS: Final[Mapping[str, int]] = {"lite": 20, "growth": 40, "premium": 100, "ultimate": 120}
_APP: Final = 4
_SMALLEST: Final = "lite"
_FIELD: Final = re.compile(r"[a-z][a-z_]{0,60}(\.[0-9A-Za-z_]{1,64})?")


def _limits(plan: str, times: int = 1) -> Limits:
    return Limits(
        read_batch=BATCH,
        find_batch=10,  # ours: one search each
        write_batch=50,  # ours: one call each
        rates=(Rate(times * PLANS[plan], 2),),
        concurrency=CONCURRENCY,
        keys={SEARCH: (Rate(10, 2),)},  # "Rate limiting", pipedrive.readme.io
    )


class Pipedrive(Connector):
    """Pipedrive: its persons, organizations, deals, users, activities and notes."""

    name = "pipedrive"
    side = Side.CRM
    can: ClassVar[frozenset[Can]] = frozenset(
        # Not MERGE: after a merge nothing that can be read leads from the lost id to the one that it lives on under.
        {
            *(Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ARCHIVE, Can.ERASE, Can.DESCRIBE, Can.HOOKS),
            *(Can.COMPANIES, Can.DEALS, Can.COLLEAGUES, Can.ENGAGEMENT, Can.TIMELINE),
        }
    )
    limits = _limits(_SMALLEST)
    # With OAuth Pipedrive says where the account is; else only base_url's host is called.
    hosts: ClassVar[frozenset[str]] = frozenset({"*.pipedrive.com"})
    settings = (
        Setting("base_url", "Where your Pipedrive is, such as https://example.pipedrive.com"),
        Setting(
            "api_token",
            "API token of an administrator: profile > Personal preferences > API",
            secret=True,
            unless="client_id",
        ),
        Setting("client_id", "Client id of an OAuth app, in place of the API token", required=False),
        Setting("client_secret", "Client secret of the OAuth app", secret=True, required=False),
        Setting("login_url", "Where people agree to OAuth; default https://oauth.pipedrive.com", required=False),
        Setting(
            "webhook_password",
            f"Password that its webhooks bring (user {hooks.USER}), invented by you; several, separated by commas",
            secret=True,
        ),
        Setting("plan", f"Plan, for its rate of calls: {', '.join(PLANS)}; default {_SMALLEST}", required=False),
        Setting("fields", "Fields to read, separated by commas; default: by the mapping", required=False),
        Setting("company_fields", "Fields of organizations to read; default: by the mapping", required=False),
        Setting("deal_fields", "Fields of deals to read; default: by the mapping", required=False),
        Setting(
            "activity_types",
            f"What activity types of your own are ({', '.join(acts.OWN)}), such as demo=meeting",
            required=False,
        ),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting, an unknown plan or what is no name of a field."""
        super().__init__(settings, http)
        self._passwords = secrets(settings["webhook_password"])
        self.limits_for(settings)
        names = {kind: _names(settings, f"{kind}_fields") for kind in around.LISTS}
        self._types = _types(settings)
        proofs = {hooks.proof(p).partition(" ")[2] for p in self._passwords}
        token = settings.get("api_token", "").strip()
        known = {*([token] if token else []), *self._passwords, *proofs}
        # A kind is read where the mapping names fields of it.
        self._read = frozenset(kind for kind, own in names.items() if own)
        employers = Kind.COMPANY in self._read
        self._persons = Persons(http, _names(settings, "fields"), secrets=known, employers=employers)
        self._around = around.Around(self._persons, names)

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API is: ``/api`` below the address of the account; the version follows in each path."""
        url = settings.get("base_url", "").strip().rstrip("/")
        return url if url.endswith(_API) else url + _API

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries (OpenAPI v2, securitySchemes).  As a parameter the token would be in logs.

        With OAuth the client adds the token.
        """
        token = settings.get("api_token", "").strip()
        return {"x-api-token": token} if token else {}

    @classmethod
    def oauth_for(cls, settings: Mapping[str, str]) -> OAuth | None:
        """Pipedrive's authorization server, the same for all accounts."""
        login = settings.get("login_url", "").strip().rstrip("/")
        if not login:
            return PIPEDRIVE
        paths = {name: f"{login}/oauth/{name}" for name in ("authorize", "token", "revoke")}
        return replace(
            PIPEDRIVE, authorize_url=paths["authorize"], token_url=paths["token"], revoke_url=paths["revoke"]
        )

    @classmethod
    def limits_for(cls, settings: Mapping[str, str]) -> Limits:
        """The rate of the account's plan, of a token or of an app.  ValueError for another word."""
        plan = settings.get("plan", "").strip().lower()
        plan = plan if plan else _SMALLEST
        if plan not in PLANS:
            raise ValueError(f"pipedrive: plan {plan!r} is none of {', '.join(PLANS)}")
        return _limits(plan, _APP if settings.get("client_id", "").strip() else 1)

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """The fields to read."""
        return {"fields": ",".join(sorted(set(theirs)))}

    @classmethod
    def from_objects(cls, theirs: Mapping[Kind, Collection[str]]) -> Mapping[str, str]:
        """The fields of organizations and deals to read."""
        return {f"{kind}_fields": ",".join(sorted(set(names))) for kind, names in theirs.items()}

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
        """In lists by id.  Removed records do not exist."""
        if kind is not Kind.CONTACT:
            return self._around.read(kind, ids)
        return list(self._persons.read(ids).values())

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """First all persons by id, then lists by the time of their change."""
        if kind is Kind.COLLEAGUE:
            return self._around.users()
        if kind is not Kind.CONTACT:
            return self._around.changed(kind, cursor)
        persons = self._persons
        found, state = walked(persons.page, walk.load(cursor))
        here = persons.records([row for row in found.rows if row.get("is_deleted") is not True])
        gone = [id_of(row.get("id")) for row in found.rows if row.get("is_deleted") is True]
        # Of all rows: a removed one moves the time forward as well.
        times = [at for row in found.rows if (at := time(row.get(UPDATED))) is not None]
        state, more = walk.advance(state, times, found.following, found.at)
        return Page(tuple(here), walk.dump(state), more=more, deleted=tuple(i for i in gone if i is not None))

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (any address of a person, case does not count) or ``id``.  Refused for another key."""
        persons = self._persons
        if kind is not Kind.CONTACT:
            raise Refused("pipedrive: finds persons only", code="key", field=key)
        if key in {"email", EMAIL}:
            return persons.records(persons.by_email(values))
        if key == "id":
            return list(persons.read(values).values())
        raise Refused(f"pipedrive: cannot find by {key!r}; can by email, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """One call each, a few at once; see ``_pipedrive_write``."""
        return write(self._persons, orders)

    def describe(self, kind: Kind) -> Schema:
        """The fields, custom ones by their keys."""
        return schema(self._persons.fields()) if kind is Kind.CONTACT else self._around.describe(kind)

    def acts(self, cursor: str | None) -> ActPage:
        """Activities, notes, and when the last mails came and went."""
        return acts.acts(self._persons, self._types, cursor)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """As notes on the person."""
        return acts.write(self._persons, notes)

    def hooks(self) -> Sequence[Hook]:
        """All webhooks of the account that the token may see."""
        return hooks.subscriptions(self._persons)

    def hook(self, url: str) -> Hooked:
        """One webhook for each kind that is read; what was there and lacks something is made anew."""
        return hooks.install(self._persons, url, self._passwords[0], {Kind.CONTACT, *self._read})

    def unhook(self, id: str) -> None:  # noqa: A002 - as the contract names it
        """Remove a webhook."""
        if is_id(id):
            self._persons.drop_webhook(id)


def _names(settings: Mapping[str, str], setting: str) -> list[str]:
    """Names of fields; ValueError for what can be none."""
    names = [name for name in map(str.strip, settings.get(setting, "").split(",")) if name]
    if odd := [name for name in names if _FIELD.fullmatch(name) is None]:
        raise ValueError(f"pipedrive: {setting}: {', '.join(odd)}: no name of a field")
    return names


def _types(settings: Mapping[str, str]) -> dict[str, Doing]:
    """What types of activities are, as the setting says.  ValueError for a word that is none of those allowed."""
    found: dict[str, Doing] = {}
    for pair in filter(None, map(str.strip, settings.get("activity_types", "").split(","))):
        name, _, what = (part.strip() for part in pair.partition("="))
        if not name or what not in acts.OWN:
            raise ValueError(f"pipedrive: activity_types: {pair!r}: say <type>=<one of {', '.join(acts.OWN)}>")
        found[name] = acts.OWN[what]
    return found
