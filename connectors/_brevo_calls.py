"""The endpoints of Brevo's API.  In: ids, addresses, bodies.  Out: records, or the answer of a write.

All requests of the connector go through ``Contacts.send``.  Sources: developers.brevo.com/reference and the contract
(see ``_brevo_wire``); developers.brevo.com/docs/api-limits and limit-headers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx

from connectors._brevo_wire import Attribute, attribute, clock, fold, is_id, number, problem, record, rows
from connectors._http import Http, retry_after
from connectors._receipts import together
from connectors.contract import Record, TryLater

CONCURRENCY: Final = 4  # none is published; the rate per second is what binds: ours
MOST: Final = 1000  # contacts in a page (contract, get_contacts)
IDS: Final = 20  # ids in one list (contract, get_contacts)
LISTS: Final = 50  # lists in a page (contract, get_lists)
OTHER: Final = "other"  # the family of all endpoints that have no rate of their own: 100 an hour

_RESET: Final = "x-sib-ratelimit-reset"  # seconds; there is no Retry-After ("Rate limit headers")
_LONGEST: Final = 3600  # seconds: the longest window there is; a larger number is in another unit
_OTHERWISE: Final = timedelta(minutes=1)  # ours
_BY_ID: Final = {"identifierType": "contact_id"}  # always said: a number may be a telephone number, too
_BY_EMAIL: Final = {"identifierType": "email_id"}


@dataclass(frozen=True, slots=True)
class Found:
    """One page.  ``count``: how many match, as Brevo says.  ``at``: its clock."""

    records: tuple[Record, ...]
    count: int | None
    at: datetime | None


class Contacts:
    """The contacts of one account."""

    def __init__(self, http: Http, *, secrets: Collection[str]) -> None:
        """See the module.  ``secrets``: what no error may repeat."""
        self._http = http
        self._attributes: dict[str, Attribute] | None = None
        self.secrets = frozenset(secrets)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        take: Collection[int] = (),
        family: str = "",
        safe: bool | None = None,
    ) -> httpx.Response:
        """As ``Http.send``; 429 waits as Brevo says it.

        TryLater for a 404 without Brevo's own code: what stands before it would make a living contact look gone.
        """
        taken = {429, *take}
        response = self._http.send(method, path, params=params, json=json, take=taken, family=family, safe=safe)
        if response.status_code == 429:
            wait = _wait(response)
            if not family:
                self._http.pause(wait)
            raise TryLater("brevo: 429, too many calls", after=wait)
        if response.status_code == 404 and not problem(response)[0]:
            raise TryLater("brevo: a 404 that is not Brevo's own")
        return response

    def json(self, response: httpx.Response) -> Any:
        """The JSON of an answer."""
        return self._http.json(response)

    # --- reading ------------------------------------------------------------------------------------------------------

    def account(self) -> Mapping[str, Any]:
        """The account that the key belongs to."""
        answer = self._http.json(self.send("GET", "/account", family=OTHER))
        return answer if isinstance(answer, Mapping) else {}

    def page(self, *, since: datetime | None = None, offset: int = 0, size: int = MOST) -> Found:
        """Contacts changed since then, in the order of their creation: there is no other order."""
        params: dict[str, Any] = {"limit": size, "offset": offset, "sort": "asc"}
        if since is not None:
            params["modifiedSince"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        response = self.send("GET", "/contacts", params=params)
        answer = self._http.json(response)
        return Found(tuple(map(record, rows(answer, "contacts"))), number(answer, "count"), clock(response))

    def read(self, ids: Iterable[str]) -> dict[str, Record]:
        """The contacts of these ids, by id, in lists of twenty; whom no list shows is asked for alone."""
        asked = list(dict.fromkeys(filter(is_id, ids)))
        parts = [asked[start : start + IDS] for start in range(0, len(asked), IDS)]
        listed = {r.id: r for part in together(self._listed, parts, CONCURRENCY) for r in part}
        lost = [id_ for id_ in asked if id_ not in listed]
        alone = {r.id: r for r in together(self.get, lost, CONCURRENCY) if r is not None}
        return {id_: r for id_ in asked if (r := listed.get(id_, alone.get(id_))) is not None}

    def get(self, id_: str) -> Record | None:
        """One contact by its id; None where there is none."""
        return self._one(id_, _BY_ID)

    def by_email(self, addresses: Iterable[str]) -> list[Record]:
        """The contacts with these addresses; one request each."""
        asked = list(dict.fromkeys(a for a in map(fold, addresses) if a))
        found = together(lambda address: self._one(address, _BY_EMAIL), asked, CONCURRENCY)
        return [r for r, a in zip(found, asked, strict=True) if r is not None and fold(r.fields.get("email")) == a]

    def attributes(self, *, fresh: bool = True) -> dict[str, Attribute]:
        """The attributes of the account by name; with ``fresh`` asked for again."""
        if fresh or self._attributes is None:
            answer = self._http.json(self.send("GET", "/contacts/attributes"))
            made = [attribute(row) for row in rows(answer, "attributes") if isinstance(row, Mapping)]
            self._attributes = {one.name: one for one in made}
        return self._attributes

    def forget(self) -> None:
        """The attributes may have changed: ask for them again before the next write."""
        self._attributes = None

    def lists(self) -> list[tuple[int, str]]:
        """The lists, as (id, name)."""
        found: dict[int, str] = {}
        while True:
            params = {"limit": LISTS, "offset": len(found), "sort": "asc"}
            answer = self._http.json(self.send("GET", "/contacts/lists", params=params))
            before = len(found)
            part = [row for row in rows(answer, "lists") if isinstance(row, Mapping)] if answer else []
            found |= {n: str(row.get("name", "")) for row in part if (n := number(row, "id")) is not None}
            if len(part) < LISTS or len(found) == before:
                return list(found.items())

    def _listed(self, ids: Sequence[str]) -> list[Record]:
        answer = self._http.json(self.send("GET", "/contacts", params={"ids": list(ids), "limit": IDS}))
        # Where the filter were ignored, anybody would come.
        return [r for r in map(record, rows(answer, "contacts")) if r.id in ids]

    def _one(self, identifier: str, kind: Mapping[str, str]) -> Record | None:
        path = f"/contacts/{quote(identifier, safe='')}"
        response = self.send("GET", path, params=kind, take={404})
        return None if response.status_code == 404 else record(self._http.json(response))

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> httpx.Response:
        """One new contact: 201 or 400.  Never changes anybody, as ``updateEnabled`` is not said."""
        return self.send("POST", "/contacts", json=body, take={400})

    def update(self, id_: str, body: Mapping[str, Any]) -> httpx.Response:
        """Change what the body names: 204, 400 or 404."""
        return self.send("PUT", f"/contacts/{id_}", params=_BY_ID, json=body, take={400, 404}, safe=True)

    def batch(self, contacts: Sequence[Mapping[str, Any]]) -> httpx.Response:
        """Change several: 204 without a word on each of them, or 400."""
        return self.send("POST", "/contacts/batch", json={"contacts": list(contacts)}, take={400, 404}, safe=True)

    def remove(self, id_: str) -> httpx.Response:
        """For good: 204, 404, or 400 and 405 where that may not be."""
        return self.send("DELETE", f"/contacts/{id_}", params=_BY_ID, take={400, 404, 405}, safe=True)

    def made(self, response: httpx.Response) -> str:
        """The id of a new contact."""
        id_ = number(self._http.json(response), "id")
        if id_ is None:
            raise TryLater("brevo: a new contact without an id", landed=True)
        return str(id_)

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def webhooks(self) -> list[Mapping[str, Any]]:
        """The marketing webhooks; none is a 404 at some accounts (unconfirmed)."""
        response = self.send("GET", "/webhooks", params={"type": "marketing"}, take={404}, family=OTHER)
        answer = self._http.json(response) if response.status_code != 404 else None
        return [row for row in rows(answer, "webhooks") if isinstance(row, Mapping)] if answer else []

    def add_webhook(self, body: Mapping[str, Any]) -> None:
        """Make one; each call makes another one."""
        self.send("POST", "/webhooks", json=body, family=OTHER)

    def change_webhook(self, id_: str, body: Mapping[str, Any]) -> None:
        """Change one."""
        self.send("PUT", f"/webhooks/{quote(id_, safe='')}", json=body, family=OTHER, safe=True)

    def drop_webhook(self, id_: str) -> None:
        """Remove one: 204 or 404."""
        self.send("DELETE", f"/webhooks/{quote(id_, safe='')}", take={404}, family=OTHER, safe=True)


def _wait(response: httpx.Response) -> timedelta:
    given = retry_after(response)
    if given is not None:
        return given
    told = response.headers.get(_RESET, "")
    seconds = int(told) if told.isascii() and told.isdigit() and len(told) < 6 else 0
    return timedelta(seconds=seconds) if 0 < seconds <= _LONGEST else _OTHERWISE
