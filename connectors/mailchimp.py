"""Mailchimp, the members of one audience.  In: deliveries, ids, cursors and orders in Mailchimp's words.  Out: events,
records, receipts.

Fields are flat: ``email_address``, ``status``, ``merge_fields.FNAME``, ``interests.<id>``,
``marketing_permissions.<id>``, ``tags`` (names).  A record is known by its ``contact_id``, which stays when the address
changes.  The parts: deliveries in ``_mailchimp_hooks``, endpoints in ``_mailchimp_calls``, writing in
``_mailchimp_write`` and ``_mailchimp_jobs``, JSON in ``_mailchimp_wire``, consent per topic in ``_mailchimp_topics``,
refusals in ``_mailchimp_errors``, campaigns in ``_mailchimp_acts``.  How to connect: docs/vendors/mailchimp.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import ClassVar
from urllib.parse import urlsplit

from connectors import _mailchimp_acts as acts
from connectors import _mailchimp_hooking as hooking
from connectors import _mailchimp_hooks as hooks
from connectors import _mailchimp_topics as topics
from connectors._http import Http
from connectors._mailchimp_calls import CONCURRENCY, Audience
from connectors._mailchimp_wire import schema, time
from connectors._mailchimp_write import write
from connectors._oauth_facts import OAuth
from connectors._oauth_vendors import MAILCHIMP_LOGIN, mailchimp
from connectors.contract import (
    ActPage,
    Can,
    Connector,
    Delivery,
    Hook,
    Hooked,
    Kind,
    Limits,
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

_HOST = "api.mailchimp.com"
_VERSION = "/3.0"
_OVERLAP = timedelta(minutes=5)  # each poll looks back so far: a change may become visible late; ours
_DATA_CENTRE = re.compile(r"[a-z]{2,4}[0-9]{1,4}")  # the part of a key after its last dash: us21
_NEW = ("transactional", "pending", "subscribed", "unsubscribed")


class Mailchimp(Connector):
    """Mailchimp Marketing: the members of one audience."""

    name = "mailchimp"
    side = Side.MARKETING
    can: ClassVar[frozenset[Can]] = frozenset(
        {
            *(Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ARCHIVE, Can.ERASE, Can.DESCRIBE, Can.HOOKS),
            Can.ENGAGEMENT,
        }
    )
    timeout = 120.0  # Mailchimp's own limit for a call; a large batch may take it
    limits = Limits(
        read_batch=50,  # ours: there is no batch read, each costs a request
        find_batch=50,
        write_batch=200,  # contract: 500 at most; fewer stay well inside the server's 120 seconds
        # No rate is published, and none can be read from an answer ("Rate limits and timeouts").
        concurrency=CONCURRENCY,
    )
    hosts: ClassVar[frozenset[str]] = frozenset({_HOST, f"*.{_HOST}"})
    settings = (
        Setting("api_key", "API key (ends in its data centre, -us21)", secret=True, unless="client_id"),
        Setting("client_id", "Client id of an OAuth app, in place of the API key", required=False),
        Setting("client_secret", "Client secret of the OAuth app", secret=True, required=False),
        Setting("list_id", "Audience id: Audience > Settings > Audience name and defaults"),
        Setting("webhook_secret", "What the webhook's URL ends in: ?secret=…", secret=True, required=False),
        Setting(
            "signing_secret",
            "The webhook's signing_secret, shown once when it is made; while rotating: new,old",
            secret=True,
            required=False,
        ),
        Setting("base_url", f"Where the API is; default: by the key, else https://{_HOST}{_VERSION}", required=False),
        Setting("login_url", f"Where people agree to OAuth; default {MAILCHIMP_LOGIN}", required=False),
        Setting("new_member_status", f"Status of new members: {', '.join(_NEW)}; default {_NEW[0]}", required=False),
        Setting(
            "topics", "Interests that speak of consent, by id, with commas; default: by the mapping", required=False
        ),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting or an unknown status."""
        super().__init__(settings, http)
        self._list_id = settings["list_id"].strip()
        self._url_secret = _given(settings, "webhook_secret", "")
        self._signing = [s for s in map(str.strip, _given(settings, "signing_secret", "").split(",")) if s]
        self._new_status = _given(settings, "new_member_status", _NEW[0])
        if self._new_status not in _NEW:
            raise ValueError(f"mailchimp: new_member_status {self._new_status!r} is none of {', '.join(_NEW)}")
        self._topics = len({t for t in map(str.strip, _given(settings, "topics", "").split(",")) if t})
        secrets = {settings.get("api_key", "").strip(), settings.get("client_secret", "").strip()} - {""}
        self._audience = Audience(http, self._list_id, secrets=secrets)
        self._kinds = {Kind.CONTACT: self._audience}

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API is: as set, else by the data centre in the key, else the global host."""
        key = settings.get("api_key", "").strip()
        dc = key.rpartition("-")[2]
        host = f"{dc}.{_HOST}" if "-" in key and _DATA_CENTRE.fullmatch(dc) else _HOST
        url = _given(settings, "base_url", f"https://{host}{_VERSION}").rstrip("/")
        return url if urlsplit(url).path else url + _VERSION

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries; keys and OAuth tokens are sent alike ("Authentication")."""
        key = settings.get("api_key", "").strip()
        return {"Authorization": f"Bearer {key}"} if key else {}

    @classmethod
    def oauth_for(cls, settings: Mapping[str, str]) -> OAuth | None:
        """Mailchimp's authorization server."""
        return mailchimp(_given(settings, "login_url", MAILCHIMP_LOGIN).rstrip("/"))

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """The interests that the mapping names: a profile that lacks one of them may be a withdrawal.

        What is read does not depend on the mapping: a member is always read with all its interests and permissions.
        """
        named = sorted(name.removeprefix(topics.INTEREST) for name in theirs if name.startswith(topics.INTEREST))
        return {"topics": ",".join(named)} if named else {}

    def receive(self, delivery: Delivery) -> Received:
        """Secret in the URL, signature, or both, as configured; then one event.  Mailchimp waits ten seconds."""
        hooks.verify(delivery, url_secret=self._url_secret, signing_secrets=self._signing)
        return hooks.received(delivery, list_id=self._list_id, topics=self._topics)

    def check(self) -> str:
        """Asks for the account, then for the audience."""
        account, audience = self._audience.account(), self._audience.about()
        stats = audience.get("stats")
        members = stats.get("member_count") if isinstance(stats, Mapping) else None
        return (
            f"Mailchimp account {account.get('account_name')!r} as {account.get('role', 'unknown role')}; "
            f"audience {audience.get('name')!r}, {'?' if members is None else members} subscribed, "
            f"double opt-in {'on' if audience.get('double_optin') is True else 'off'}"
        )

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """One request each, a few at once.  Archived members are read; purged ones do not exist."""
        return self._kinds[kind].many(ids)

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """Members by ``last_changed``.  Archived and purged ones are not in it; mere changes of tags may not be.

        Refused for a cursor that is not ours.
        """
        walk = _Walk() if cursor is None else _load(cursor)
        since = None if walk.since is None else walk.since - _OVERLAP
        found = self._kinds[kind].page(since=since, before=walk.before, offset=walk.offset)
        # The window is closed where the vendor's clock stood at its first page.
        before = found.at if walk.before is None else walk.before
        times = [r.modified for r in found.records if r.modified is not None]
        newest = max([*times, *([] if walk.newest is None else [walk.newest])], default=None)
        gone = 0 if walk.total is None or found.total is None else max(0, walk.total - found.total)
        # So many have changed since and left the window, which moved the rest forward: go back by as many, or the first
        # of the rest are never seen.  Those that left come with the next walk.
        offset = max(0, walk.offset - gone) if gone else walk.offset + len(found.records)
        more = (gone > 0 or bool(found.records)) and (found.total is None or offset < found.total)
        if more:
            following = _Walk(walk.since, before, offset, found.total, newest)
        else:
            resume = before if before is not None else newest
            following = _Walk(since=resume if resume is not None else walk.since)
        return Page(found.records, _dump(following), more=more, total=found.total)

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (case does not count) or ``id``.  Refused for another key: Mailchimp has no other unique one."""
        if key in {"email", "email_address"}:
            return self._kinds[kind].by_email(values)
        if key in {"id", "contact_id"}:
            return self._kinds[kind].many(values)
        raise Refused(f"mailchimp: cannot find by {key!r}; can by email, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """Batch calls and single ones; see ``_mailchimp_write``."""
        return write(self._audience, orders, new_status=self._new_status)

    def describe(self, kind: Kind) -> Schema:
        """The member's own fields, the audience's merge fields, interests and marketing permissions."""
        audience = self._kinds[kind]
        return schema(audience.merge_fields(), audience.interests(), audience.permissions())

    def acts(self, cursor: str | None) -> ActPage:
        """Opens, clicks, bounces and opt-outs, campaign by campaign."""
        return acts.acts(self._audience, self._list_id, cursor)

    def hooks(self) -> Sequence[Hook]:
        """The audience's webhooks; Mailchimp does not say which of them it switched off."""
        return hooking.listed(self._audience)

    def hook(self, url: str) -> Hooked:
        """One webhook; asking its URL again switches one on that Mailchimp had switched off."""
        return hooking.install(self._audience, url, self._url_secret)

    def unhook(self, id: str) -> None:  # noqa: A002
        """By its id."""
        self._audience.drop_webhook(id)


@dataclass(frozen=True, slots=True)
class _Walk:
    """Where a walk stands: the window [since, before), how far in it, how many it held, the newest change seen.

    Without ``since`` it is a walk over all: a ``since`` far in the past makes Mailchimp hang
    (docs.civicrm.org/mailchimpsync/en/latest/reference/api).
    """

    since: datetime | None = None
    before: datetime | None = None
    offset: int = 0
    total: int | None = None
    newest: datetime | None = None


def _dump(walk: _Walk) -> str:
    return json.dumps({k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(walk).items() if v})


def _load(cursor: str) -> _Walk:
    try:
        saved = json.loads(cursor)
        since, before, newest = (time(saved.get(name)) for name in ("since", "before", "newest"))
        return _Walk(since, before, int(saved.get("offset", 0)), saved.get("total"), newest)
    except (ValueError, TypeError, AttributeError):
        raise Refused("mailchimp: this is not a cursor of ours", code="cursor") from None


def _given(settings: Mapping[str, str], name: str, otherwise: str) -> str:
    """A setting; one that is missing or blank has its default."""
    value = settings.get(name, "").strip()
    return value if value else otherwise
