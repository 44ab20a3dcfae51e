"""The member endpoints of Mailchimp's Marketing API.  In: ids, addresses, bodies.  Out: records, or a write's answer.

All requests of the connector go through ``Audience.send``.  Sources: the API's contract 3.0.55; "Rate limits and
timeouts" and "Errors" in github.com/mailchimp/fern-marketing-api-docs (``pages/api-concepts``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx

from connectors import _mailchimp_topics as topics
from connectors._http import Http, retry_after
from connectors._mailchimp_errors import document, forbidden
from connectors._mailchimp_wire import (
    ASKED,
    number,
    record,
    rows,
    short_of_tags,
    subscriber_hash,
)
from connectors._receipts import together
from connectors.contract import NeedsHuman, Record, TryLater

CONCURRENCY = 8  # ten connections at once per user, whatever the key; two are left to others (Rate limits)
PAGE = 1000  # contract: the most that `count` may be
SECONDS = "%Y-%m-%dT%H:%M:%S+00:00"  # with fractions the filter was ignored (brandonseydel/MailChimp.Net#525)

# The CDN gave up on a call that may go on behind it and hold one of the ten connections: no second try at once.
_GAVE_UP = frozenset({502, 504})

_LAX = {"skip_merge_validation": "true"}  # a required merge field may be missing; what is sent is still checked

_BY_CHANGE = {"sort_field": "last_changed", "sort_dir": "ASC"}


@dataclass(frozen=True, slots=True)
class Members:
    """One page of members.  ``total``: how many match.  ``at``: the vendor's clock."""

    records: tuple[Record, ...]
    total: int | None
    at: datetime | None


class Audience:
    """The members of one audience ("list")."""

    def __init__(self, http: Http, list_id: str, *, secrets: Collection[str]) -> None:
        """See the module.  ``secrets``: what no error may repeat."""
        self._http = http
        self.secrets = frozenset(secrets)
        self._path = f"/lists/{quote(list_id, safe='')}"

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        take: Collection[int] = (),
        safe: bool | None = None,
    ) -> httpx.Response:
        """As ``Http.send``; a 403 is told apart by its body, and a call that may still be under way is left alone.

        TryLater for an error that is not a problem document: then it is not Mailchimp itself that speaks, and a 404
        would make a living member look gone.
        """
        response = self._http.send(method, path, params=params, json=json, take={403, *_GAVE_UP, *take}, safe=safe)
        if response.status_code in _GAVE_UP:
            landed = safe is not True and method != "GET"
            raise TryLater(f"mailchimp: {response.status_code}", after=retry_after(response), landed=landed)
        if response.status_code == 403:
            raise forbidden(response)
        if response.status_code >= 400 and not document(response):
            raise TryLater(f"mailchimp: a {response.status_code} without a problem document")
        return response

    # --- reading ------------------------------------------------------------------------------------------------------

    def account(self) -> Mapping[str, Any]:
        """The account that the key belongs to."""
        return self._object("/", {"fields": "account_name,role"})

    def about(self) -> Mapping[str, Any]:
        """The audience itself.  NeedsHuman where it does not exist."""
        return self._object(self._path, {"fields": "id,name,double_optin,stats.member_count"})

    def get(self, slot: str) -> Record | None:
        """One member by contact id or md5 hash; None where the audience has no such member."""
        params = {"fields": ",".join(ASKED)}
        response = self.send("GET", self._member(slot), params=params, take={404})
        return None if response.status_code == 404 else self._records([self._http.json(response)])[0]

    def many(self, slots: Iterable[str]) -> list[Record]:
        """Those of the members that exist; one request each, as Mailchimp has no batch read."""
        asked = [slot for slot in dict.fromkeys(slots) if slot]
        found = [r for r in together(self.get, asked, CONCURRENCY) if r is not None]
        if asked and not found:
            self.about()  # a wrong list id would make everybody look gone
        return found

    def by_email(self, addresses: Iterable[str]) -> list[Record]:
        """The members with these addresses."""
        return self.many(subscriber_hash(address) for address in addresses if address.strip())

    def page(self, *, since: datetime | None, before: datetime | None, offset: int) -> Members:
        """Members by their last change, oldest first.  Without ``status``, archived ones are left out."""
        params: dict[str, Any] = {
            "fields": ",".join(["total_items", *(f"members.{name}" for name in ASKED)]),
            **_BY_CHANGE,
            "count": PAGE,
            "offset": offset,
        }
        for name, bound in (("since_last_changed", since), ("before_last_changed", before)):
            if bound is not None:
                params[name] = bound.astimezone(UTC).strftime(SECONDS)
        response = self.send("GET", f"{self._path}/members", params=params, take={404})
        answer = self._http.json(self._there(response))
        return Members(tuple(self._records(rows(answer, "members"))), number(answer, "total_items"), clock(response))

    def merge_fields(self) -> list[Mapping[str, Any]]:
        """The merge fields."""
        return self._list("/merge-fields", "merge_fields", "tag,name,type,required,options")

    def interests(self) -> list[tuple[str, str]]:
        """The interests of all groups, as (id, "group: interest")."""
        found: list[tuple[str, str]] = []
        for group in self._list("/interest-categories", "categories", "id,title"):
            path = f"/interest-categories/{quote(str(group['id']), safe='')}/interests"
            found += [
                (str(row["id"]), f"{group.get('title', '')}: {row.get('name', '')}")
                for row in self._list(path, "interests", "id,name")
            ]
        return found

    def permissions(self) -> list[tuple[str, str]]:
        """The marketing permissions, as (id, text).  No endpoint lists them, any member shows them, archived ones too.

        None where the GDPR fields are switched off, or nobody has ever been in the audience.
        """
        for status in ({}, {"status": "archived"}):
            params = {**_BY_CHANGE, **status, "fields": f"members.{topics.PERMISSIONS}", "count": 1, "offset": 0}
            for row in rows(self._object(f"{self._path}/members", params), "members"):
                shown = row.get(topics.PERMISSIONS)
                return [
                    (str(one[topics.PERMISSION_ID]), f"Marketing permission: {one.get('text', '')}")
                    for one in (shown if isinstance(shown, list) else ())
                    if isinstance(one, Mapping) and one.get(topics.PERMISSION_ID)
                ]
        return []

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def webhooks(self) -> list[Mapping[str, Any]]:
        """The audience's webhooks.  Which of them Mailchimp switched off is not in the answer."""
        return self._list("/webhooks", "webhooks", "id,url,events,sources")

    def add_webhook(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one; the answer holds its signing secret, this once.  Each call makes another one."""
        answer = self._http.json(self._there(self.send("POST", f"{self._path}/webhooks", json=body, take={404})))
        return answer if isinstance(answer, Mapping) else {}

    def change_webhook(self, id_: str, body: Mapping[str, Any]) -> None:
        """Change one; Mailchimp asks its URL again, and sends to it again where it did not any more."""
        self._there(self.send("PATCH", self._webhook(id_), json=body, take={404}, safe=True))

    def drop_webhook(self, id_: str) -> None:
        """Remove one: 204 or 404."""
        self.send("DELETE", self._webhook(id_), take={404}, safe=True)

    def _webhook(self, id_: str) -> str:
        return f"{self._path}/webhooks/{quote(id_, safe='')}"

    # --- writing ------------------------------------------------------------------------------------------------------

    def batch(self, members: Sequence[Mapping[str, Any]], *, update: bool) -> httpx.Response:
        """Create, or update, up to 500 members: 200 with a result for each, or 400 for the whole."""
        body = {"members": list(members), "update_existing": update}
        return self._there(self.send("POST", self._path, params=_LAX, json=body, take={400, 404}, safe=update))

    def create(self, body: Mapping[str, Any]) -> httpx.Response:
        """Create one member: 200 or 400, also for one that is there already.  Never changes anybody."""
        path = f"{self._path}/members"
        return self._there(self.send("POST", path, params=_LAX, json=body, take={400, 404}))

    def patch(self, slot: str, body: Mapping[str, Any]) -> httpx.Response:
        """Change one member: 200, 400, 404, or 405 for an archived one.  Never creates one."""
        return self.send("PATCH", self._member(slot), params=_LAX, json=body, take={400, 404, 405}, safe=True)

    def tag(self, address_hash: str, tags: Mapping[str, bool]) -> httpx.Response:
        """Set (True) and take away (False) tags by name: 204, 400 or 404.  Starts no automation."""
        body = {
            "tags": [{"name": name, "status": "active" if on else "inactive"} for name, on in tags.items()],
            "is_syncing": True,
        }
        return self.send("POST", f"{self._member(address_hash)}/tags", json=body, take={400, 404}, safe=True)

    def archive(self, slot: str) -> httpx.Response:
        """Archive one member: 204, 404, or 405 for one who is bounced, pending or archived."""
        return self.send("DELETE", self._member(slot), take={404, 405}, safe=True)

    def erase(self, slot: str) -> httpx.Response:
        """Delete one member for good, also from the archive: 204, 404, or 400 or 405 where that cannot be done.

        The address cannot be imported again (mailchimp.com/developer/marketing/api/list-members, "Delete list member").
        """
        path = f"{self._member(slot)}/actions/delete-permanent"
        return self.send("POST", path, take={400, 404, 405}, safe=True)

    def json(self, response: httpx.Response) -> Any:
        """The body as JSON."""
        return self._http.json(response)

    def ask(self, path: str, params: Mapping[str, Any], *, gone: Any = None) -> Any:
        """What a GET answers; ``gone``: instead of a 404.  NeedsHuman where the key may not see reports."""
        response = self.send("GET", path, params=params, take=() if gone is None else {404})
        return gone if response.status_code == 404 and gone is not None else self._http.json(response)

    def now(self) -> datetime:
        """The vendor's clock."""
        at = clock(self.send("GET", "/ping", params={}))
        if at is None:
            raise TryLater("mailchimp: an answer without its date")
        return at

    def _member(self, slot: str) -> str:
        return f"{self._path}/members/{quote(slot, safe='')}"

    def _there(self, response: httpx.Response) -> httpx.Response:
        if response.status_code == 404:
            raise NeedsHuman("mailchimp: no audience of this list_id")
        return response

    def _object(self, path: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._http.json(self._there(self.send("GET", path, params=params, take={404})))
        if not isinstance(answer, Mapping):
            raise TryLater("mailchimp: an answer that is no object")
        return answer

    def _list(self, path: str, name: str, fields: str) -> list[Mapping[str, Any]]:
        """All rows of a small list."""
        params = {"count": PAGE, "fields": ",".join(f"{name}.{field}" for field in fields.split(","))}
        return rows(self._object(self._path + path, params), name)

    def _records(self, found: Sequence[Any]) -> list[Record]:
        """The rows as records, with all their tags."""
        members = [row for row in found if isinstance(row, Mapping)]
        if len(members) < len(found):
            raise TryLater("mailchimp: a member that is no object")
        short = [row for row in members if short_of_tags(row)]
        full = {id(row): tags for row, tags in zip(short, together(self._tags, short, CONCURRENCY), strict=True)}
        return [record({**row, "tags": full[id(row)]} if id(row) in full else row) for row in members]

    def _tags(self, row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """All tags of a member that shows only some; these again if it is gone by now."""
        path = f"{self._member(str(row.get('id')))}/tags"
        response = self.send("GET", path, params={"count": PAGE, "fields": "tags.name"}, take={404})
        return rows(row if response.status_code == 404 else self._http.json(response), "tags")


def clock(response: httpx.Response) -> datetime | None:
    """When the vendor answered."""
    try:
        at = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
