"""The endpoints of ActiveCampaign's API v3.  In: ids, addresses, bodies.  Out: records, or the answer of a write.

All requests of the connector go through ``Contacts.send``.  A list of contacts brings along what stands beside them
(``include``): states on lists, custom fields, tags; one call for a hundred people, where each alone would take four.
Sources: as ``_activecampaign_wire``; developers.activecampaign.com/reference/rate-limits and /pagination.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx

from connectors import _activecampaign_consent as consent
from connectors._activecampaign_wire import (
    EMAIL,
    FIELD,
    TAGS,
    Definition,
    Wanted,
    beside,
    clock,
    definition,
    fold,
    is_id,
    number,
    record,
    rows,
    told,
    total,
    zone,
)
from connectors._http import Http
from connectors._receipts import together
from connectors.contract import Rate, Record, Refused, TryLater

PAGE: Final = 100  # limit: 20 unless asked, 100 at most ("Pagination")
CONCURRENCY: Final = 3  # none is published; ours
# Five a second for the whole account, whoever calls ("Rate limits"); two are left to the customer's other tools.
RATES: Final = (Rate(3, 1),)
REFUSALS: Final = frozenset({400, 404, 422})


@dataclass(frozen=True, slots=True)
class Found:
    """One page.  ``more``: there may be others.  ``at``: the server's clock.  ``zone``: the account's, in minutes."""

    records: tuple[Record, ...]
    last: int | None
    more: bool
    at: datetime | None
    zone: int | None
    total: int | None
    lists: tuple[Mapping[str, Any], ...] = ()  # their states on lists, as they stand beside them


@dataclass(frozen=True, slots=True)
class Cut:
    """One page of a list by offset.  ``total``: how many in all.  ``at``: the server's clock."""

    rows: tuple[Mapping[str, Any], ...]
    total: int | None
    at: datetime | None


class Contacts:
    """The contacts of one account."""

    def __init__(self, http: Http, list_id: str, *, named: Iterable[str] = (), secrets: Collection[str] = ()) -> None:
        """``named``: which custom fields, lists and tags are read.  ``secrets``: what no error may repeat."""
        self._http = http
        self.list_id = list_id
        named = list(named)
        self._fields = tuple(n.removeprefix(FIELD).upper() for n in named if n.startswith(FIELD))
        self._lists = tuple(n.removeprefix(consent.LIST) for n in named if n.startswith(consent.LIST))
        self._tags = TAGS in named
        self.secrets = frozenset(secrets)
        self._known: Mapping[str, Definition] | None = None
        self._lock = threading.Lock()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        json: Any = None,
        take: Collection[int] = (),
        safe: bool | None = None,
    ) -> httpx.Response:
        """As ``Http.send``.

        TryLater for a 404 that is not in the vendor's words: then a proxy speaks, and a living contact would look gone.
        """
        response = self._http.send(method, path, params=params, json=json, take={404, *take}, safe=safe)
        if response.status_code == 404:
            if not told(response):
                raise TryLater("activecampaign: a 404 that is not ActiveCampaign's: check base_url")
            if 404 not in take:
                raise Refused("activecampaign: 404, there is no such endpoint or object", code="http_404")
        return response

    def ask(self, path: str, params: Any = None) -> Any:
        """The JSON that a GET answers."""
        return self._http.json(self.send("GET", path, params=params))

    def json(self, response: httpx.Response) -> Any:
        """The body of an answer."""
        return self._http.json(response)

    # --- what the account has -----------------------------------------------------------------------------------------

    def definitions(self, *, fresh: bool = False) -> Mapping[str, Definition]:
        """The custom fields by name."""
        with self._lock:
            if self._known is None or fresh:
                found = []
                for body in self.pages("/fields"):
                    options = [o for o in body.get("fieldOptions", ()) if isinstance(o, Mapping)]
                    found += [definition(row, options) for row in rows(body, "fields")]
                self._known = {one.name: one for one in found if one.name}
            return self._known

    def lists(self) -> list[Mapping[str, Any]]:
        """The lists of the account."""
        return self.every("/lists")

    def every(self, path: str, where: Mapping[str, Any] | None = None) -> list[Mapping[str, Any]]:
        """All rows of a short list, whose path ends in the name that they have in its answer."""
        return [row for body in self.pages(path, where) for row in rows(body, path.rpartition("/")[2])]

    def pages(self, path: str, where: Mapping[str, Any] | None = None) -> Iterator[Mapping[str, Any]]:
        """The pages of a short list, by offset."""
        name, start = path.rpartition("/")[2], 0
        while True:
            body = self.ask(path, {**(where if where is not None else {}), "limit": PAGE, "offset": start})
            here = len(rows(body, name))
            yield body
            start += here
            every = total(body)
            if here == 0 or (here < PAGE if every is None else start >= every):
                return

    def known(self, names: Iterable[str]) -> Mapping[str, Definition]:
        """The custom fields, where one of these fields is one; asked for anew where one is not known yet."""
        wanted = {name.removeprefix(FIELD).upper() for name in names if name.startswith(FIELD)}
        if not wanted:
            return {}
        found = self.definitions()
        return found if wanted <= found.keys() else self.definitions(fresh=True)

    def wanted(self) -> Wanted:
        """What a record is to hold."""
        found = self.definitions() if self._fields else {}
        return Wanted(self.list_id, {n: found[n] for n in self._fields if n in found}, self._lists, self._tags)

    @property
    def _include(self) -> str:
        parts = [
            "contactLists",
            *(["fieldValues"] if self._fields else []),
            *(["contactTags.tag"] if self._tags else []),
        ]
        return ",".join(parts)

    # --- reading ------------------------------------------------------------------------------------------------------

    def page(self, where: Mapping[str, Any], after: int, *, size: int = PAGE) -> Found:
        """One page of contacts, upwards from an id.  TryLater where the order by id is not kept."""
        params = {**where, "orders[id]": "ASC", "id_greater": after, "limit": size, "include": self._include}
        wanted = self.wanted()
        response = self.send("GET", "/contacts", params=params)
        body = self._http.json(response)
        listed = rows(body, "contacts")
        found = tuple(record(row, body, wanted) for row in listed)
        ids = [int(one.id) for one in found]
        if ids != sorted(set(ids)) or (ids and ids[0] <= after):
            raise TryLater("activecampaign: a list of contacts is not in the order of ids, so some would be missed")
        every = total(body)
        # Whether the total counts what is behind id_greater is not said: then the last page is an empty one.
        more = bool(found) and (len(found) >= size or every is None or every > len(found))
        return Found(
            found,
            ids[-1] if ids else None,
            more,
            clock(response),
            next((off for row in reversed(listed) if (off := zone(row)) is not None), None),
            every,
            tuple(body["contactLists"]) if isinstance(body.get("contactLists"), list) else (),
        )

    def one(self, name: str, id_: str, *, hidden: Collection[int] = ()) -> Mapping[str, Any] | None:
        """One object by the plural of its name; None where there is none.  ``hidden``: statuses that count as none."""
        if not is_id(id_):
            return None
        response = self.send("GET", f"/{name}/{id_}", take={404, *hidden})
        if response.status_code == 404 or response.status_code in hidden:
            return None
        body = self._http.json(response)
        found = body.get(name.removesuffix("s")) if isinstance(body, Mapping) else None
        if not isinstance(found, Mapping):
            raise TryLater(f"activecampaign: the answer is none of {name}")
        return found

    def cut(self, name: str, where: Mapping[str, Any], start: int, size: int) -> Cut:
        """One page of a list by offset."""
        response = self.send("GET", f"/{name}", params={**where, "limit": size, "offset": start})
        body = self._http.json(response)
        return Cut(tuple(rows(body, name)), total(body), clock(response))

    def read(self, ids: Iterable[str]) -> dict[str, Record]:
        """The contacts of these ids; one that the list does not show is asked for alone."""
        asked = list(dict.fromkeys(filter(is_id, ids)))
        found: dict[str, Record] = {}
        for start in range(0, len(asked), PAGE):
            part = asked[start : start + PAGE]
            found |= {one.id: one for one in self._listed([("ids[]", id_) for id_ in part]) if one.id in part}
        for one in together(self.single, [id_ for id_ in asked if id_ not in found], CONCURRENCY):
            if one is not None:
                found[one.id] = one
        return found

    def single(self, id_: str) -> Record | None:
        """One contact; None where there is none."""
        wanted = self.wanted()
        response = self.send("GET", f"/contacts/{id_}", params={"include": self._include}, take={404})
        if response.status_code == 404:
            return None
        body = self._http.json(response)
        return record(body.get("contact") if isinstance(body, Mapping) else None, body, wanted)

    def standing(self, id_: str) -> consent.Standing | None:
        """Where a contact stands on its lists; None where there is none."""
        response = self.send("GET", f"/contacts/{id_}", params={"include": "contactLists"}, take={404})
        if response.status_code == 404:
            return None
        body = self._http.json(response)
        contact = body.get("contact") if isinstance(body, Mapping) else None
        listed = beside(body, "contactLists", id_) if isinstance(contact, Mapping) else None
        if not isinstance(contact, Mapping) or listed is None:
            raise TryLater("activecampaign: the answer is no contact with its lists")
        return consent.standing(listed, bounced=number(contact.get("bounced_hard")) > 0)

    def by_email(self, values: Iterable[str]) -> list[Record]:
        """The contacts with one of these addresses; case does not count.  One call each: there is no list of them."""
        asked = sorted({folded for value in values if (folded := fold(value))})
        found: dict[str, Record] = {}
        for some in together(lambda address: self._listed([(EMAIL, address)]), asked, CONCURRENCY):
            found |= {one.id: one for one in some if fold(one.fields.get(EMAIL)) in asked}
        return list(found.values())

    def _listed(self, where: list[tuple[str, str]]) -> list[Record]:
        wanted = self.wanted()
        # Without a status those who are on no list, or off all of them, might be left out.
        params = [*where, ("status", "-1"), ("limit", str(PAGE)), ("include", self._include)]
        body = self.ask("/contacts", params)
        return [record(row, body, wanted) for row in rows(body, "contacts")]

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> httpx.Response:
        """One new contact; 422 where the address is taken."""
        return self.send("POST", "/contacts", json={"contact": body}, take=REFUSALS)

    def update(self, id_: str, body: Mapping[str, Any]) -> httpx.Response:
        """Change what the body names; may be sent twice."""
        return self.send("PUT", f"/contacts/{id_}", json={"contact": body}, take=REFUSALS, safe=True)

    def erase(self, id_: str) -> httpx.Response:
        """Delete one contact, for good; may be sent twice."""
        return self.send("DELETE", f"/contacts/{id_}", take=REFUSALS, safe=True)

    def put_on(self, id_: str, step: consent.Step) -> httpx.Response:
        """Set the state of a contact on a list; may be sent twice."""
        said: dict[str, str] = {"list": step.list_id, "contact": id_, "status": step.status}
        if step.again:
            said["sourceid"] = consent.RESUBSCRIBED
        return self.send("POST", "/contactLists", json={"contactList": said}, take=REFUSALS, safe=True)
