"""The endpoints of Salesforce's REST API.  In: ids, addresses, bodies.  Out: rows and records, or a write's results.

All requests of the connector go through ``Records.send``.  Sources: developer.salesforce.com, "REST API Developer
Guide": query, queryAll, sObject collections, getDeleted, status codes; "SOQL and SOSL Reference".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

import httpx

from connectors._http import Http
from connectors._salesforce_walk import ORDER
from connectors._salesforce_wire import (
    CONTACT,
    EMAIL,
    ENTITIES,
    LEAD,
    Row,
    clock,
    codes,
    column_of,
    columns,
    entity_of,
    fold,
    full_id,
    listed,
    quoted,
    row,
    stamp,
)
from connectors.contract import NeedsHuman, Record, Refused, TryLater

BATCH: Final = 200  # records of a collection, "sObject Collections"; ids in one condition: ours, a URL ends at 16,384
PAGE: Final = 1000  # rows of a page, ours; a batch of a query is 2,000 at most
_ROOM: Final = 8_000  # characters of addresses in one condition; ours
_HOPS: Final = 8  # merges and conversions that are followed one after another; ours
# The quota counts the last 24 hours, so it comes back little by little; ours.
_EXHAUSTED: Final = timedelta(minutes=15)
_QUOTA: Final = "REQUEST_LIMIT_EXCEEDED"
_NO_FEED: Final = frozenset({"INVALID_REPLICATION_DATE", "EXCEEDED_ID_LIMIT"})
_UNSEEN: Final = frozenset({"INVALID_FIELD", "INVALID_TYPE"})
# Alerts of duplicate rules are for people at a screen; rules that block do so all the same.
_SAVE: Final = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a query.  ``full``: there may be more.  ``at``: the server's clock."""

    rows: tuple[Row, ...]
    full: bool
    at: datetime | None


class Records:
    """The people of one org: contacts and leads."""

    entities = ENTITIES
    order = ORDER

    def __init__(self, http: Http, *, version: str, fields: Iterable[str], page: int = PAGE) -> None:
        """See the module.  ``version``: such as 67.0."""
        self._http = http
        self._data = f"/services/data/v{version}"
        self._size = page
        self.employed: Callable[[], bool] = lambda: False  # whether a contact's account is all that it belongs to
        self.fields = tuple(dict.fromkeys([EMAIL, *fields]))

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        take: Collection[int] = (),
        safe: bool | None = None,
    ) -> httpx.Response:
        """As ``Http.send``, below the API's version.  A 403 for a used-up quota is TryLater."""
        response = self._http.send(
            method, self._data + path, params=params, json=json, headers=headers, take={403, 420, *take}, safe=safe
        )
        if response.status_code == 403:
            code, _ = codes(response)
            if code == _QUOTA:
                self._http.pause(_EXHAUSTED)
                raise TryLater(f"salesforce: 403, {code}: the org's calls of 24 hours are used up", after=_EXHAUSTED)
            raise NeedsHuman(f"salesforce: 403, {code}: the user may not do this; look at its profile")
        if response.status_code == 420:  # the edge in front could not route it ("Status Codes")
            raise TryLater("salesforce: 420, the request could not be routed")
        return response

    def ask(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON that a GET answers."""
        return self._http.json(self.send("GET", path, params=params))

    def body(self, response: httpx.Response) -> Any:
        """The JSON of an answer."""
        return self._http.json(response)

    # --- reading ------------------------------------------------------------------------------------------------------

    def query(
        self,
        entity: str,
        where: str,
        order: str,
        *,
        removed: bool = False,
        more: Iterable[str] = (),
        size: int | None = None,
    ) -> Found:
        """One page.  ``removed``: with the rows in the recycle bin.  ``more``: further fields."""
        size = self._size if size is None else size
        names = tuple(dict.fromkeys([*self.fields, *more]))
        employer = entity == CONTACT and self.employed()
        what = columns(entity, names, employer=employer)
        said, full, at = self.select(entity, what, where, order, size=size, removed=removed, exact=False)
        return Found(tuple(row(entity, r, names, employer=employer) for r in said), full, at)

    def select(
        self,
        entity: str,
        what: Iterable[str],
        where: str,
        order: str,
        *,
        size: int,
        removed: bool = False,
        exact: bool = True,
    ) -> tuple[list[Mapping[str, Any]], bool, datetime | None]:
        """One page of any object: its rows as they are said, whether there may be more, the server's clock.

        ``exact``: fractions are Decimals.
        """
        condition = f" WHERE {where}" if where else ""
        # Names are checked against a pattern, values are quoted by ``_salesforce_wire``.
        soql = f"SELECT {','.join(what)} FROM {entity}{condition} ORDER BY {order} LIMIT {size}"  # noqa: S608
        response, body = self._queried(entity, soql, removed=removed, exact=exact)
        said = body.get("records")
        if not isinstance(said, list) or not all(isinstance(r, Mapping) for r in said):
            raise TryLater("salesforce: the answer to a query has no rows")
        full = body.get("done") is not True or len(said) >= size
        if full and not said:
            raise TryLater("salesforce: a page without rows that is not the last one")
        return said, full, clock(response)

    def count(self, entity: str, where: str = "") -> int | None:
        """How many there are."""
        condition = f" WHERE {where}" if where else ""
        _, body = self._queried(entity, f"SELECT COUNT() FROM {entity}{condition}", removed=False)  # noqa: S608
        total = body.get("totalSize")
        return total if isinstance(total, int) else None

    def read(self, ids: Iterable[str], *, more: Iterable[str] = ()) -> list[Record]:
        """The records of these ids; one that was merged or converted is answered by the record that it lives on in."""
        return self.resolve(ids, more=more)[0]

    def resolve(self, ids: Iterable[str], *, more: Iterable[str] = ()) -> tuple[list[Record], set[str]]:
        """The records, each with the ids that lead to it, and the ids whose way ends at a removed row."""
        records, removed = followed(ids, partial(self.rows, more=more))
        return self.led(records), removed

    def about(self, _entity: str, rows: Sequence[Row]) -> Sequence[Row]:
        """The people whom changed rows are about: they are those."""
        return rows

    def first(self, records: Sequence[Record]) -> list[Record]:
        """The people of the first walk: no lead that became one of them is known to anybody yet."""
        return list(records)

    def led(self, records: Sequence[Record]) -> list[Record]:
        """The records, the contacts among them with the leads that became them.

        Whoever reads a contact must learn it then: read as somebody new, it would be one record too many for the
        person whom the lead stands for.
        """
        leads: dict[str, list[str]] = {}
        for lead, contact in self.converted_into([r.id for r in records if entity_of(r.id) == CONTACT]):
            leads.setdefault(contact, []).append(lead)
        return [
            dataclasses.replace(r, former_ids=tuple(dict.fromkeys([*r.former_ids, *leads[r.id]])))
            if r.id in leads
            else r
            for r in records
        ]

    def rows(self, ids: Sequence[str], *, more: Iterable[str] = ()) -> dict[str, Row]:
        """The rows of these ids, removed ones too."""
        found: dict[str, Row] = {}
        for entity in ENTITIES:
            own = [i for i in ids if entity_of(i) == entity]
            for part in portions(own, BATCH):
                found |= {r.record.id: r for r in self._all(entity, f"Id IN {listed(part)}", more, removed=True)}
        return {i: r for i, r in found.items() if i in set(ids)}

    def by_email(self, values: Iterable[str], *, more: Iterable[str] = ()) -> list[Record]:
        """The contacts, then the leads, that have one of these addresses.  Case does not count."""
        wanted = list(dict.fromkeys(a for a in map(fold, values) if a))
        found: dict[str, Record] = {}
        for entity in ENTITIES:
            for part in portions(wanted, BATCH):
                where = f"{EMAIL} IN {listed(part)}"
                where += " AND IsConverted = false" if entity == LEAD else ""
                rows = self._all(entity, where, more)
                found |= {r.record.id: r.record for r in rows if fold(r.record.fields.get(EMAIL)) in part}
        return list(found.values())

    def converted_into(self, contacts: Sequence[str]) -> list[tuple[str, str]]:
        """The leads that were converted into these contacts: (lead, contact)."""
        found: list[tuple[str, str]] = []
        for part in portions(list(contacts), BATCH):
            rows = self._all(LEAD, f"ConvertedContactId IN {listed(part)}")
            found += [(r.record.id, r.into) for r in rows if r.into is not None]
        return found

    def removals(self, entity: str, start: datetime, end: datetime) -> list[str]:
        """The ids that the delete feed names; none where it does not go back so far.

        At least a minute and at most 15 days; the log is purged when it grows ("Get Deleted").
        """
        params = {"start": stamp(start), "end": stamp(end)}
        response = self.send("GET", f"/sobjects/{entity}/deleted/", params=params, take={400})
        if response.status_code == 400:
            code, _ = codes(response)
            if code in _NO_FEED:
                return []
            raise Refused(f"salesforce: 400, {code}, to the delete feed", code="feed")
        body = self._http.json(response)
        said = body.get("deletedRecords") if isinstance(body, Mapping) else None
        if not isinstance(said, list):
            raise TryLater("salesforce: the delete feed is no list")
        ids = (full_id(one["id"]) for one in said if isinstance(one, Mapping) and isinstance(one.get("id"), str))
        return [i for i in ids if i is not None]

    def _all(self, entity: str, where: str, more: Iterable[str] = (), *, removed: bool = False) -> Iterator[Row]:
        """All that match, page by page, by id."""
        more, here = tuple(more), where
        while True:
            found = self.query(entity, here, "Id", removed=removed, more=more)
            yield from found.rows
            if not found.full:
                return
            here = f"{where} AND Id > {quoted(found.rows[-1].record.id)}"

    def _queried(
        self, entity: str, soql: str, *, removed: bool, exact: bool = False
    ) -> tuple[httpx.Response, Mapping[str, Any]]:
        response = self.send("GET", "/queryAll" if removed else "/query", params={"q": soql}, take={400})
        if response.status_code == 400:
            code, message = codes(response)
            if code in _UNSEEN:
                what = column_of(message)
                raise NeedsHuman(
                    f"salesforce: {code}: the user cannot see {what} of {entity}: allow it by field-level security "
                    "(profile or permission set), or take it out of the mapping"
                )
            raise Refused(f"salesforce: 400, {code}, to a query of {entity}", code="query")
        body = self._http.json(response)
        if exact:
            body = json.loads(response.content, parse_float=Decimal)
        if not isinstance(body, Mapping):
            raise TryLater("salesforce: the answer to a query is no object")
        return response, body

    # --- writing ------------------------------------------------------------------------------------------------------

    def save(self, method: str, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Create (POST) or update (PATCH) up to 200 records, each for itself; a result per record, in their order."""
        body = {"allOrNone": False, "records": list(rows)}
        response = self.send(
            method, "/composite/sobjects", json=body, headers=_SAVE, take={400}, safe=method == "PATCH"
        )
        return self._results(response, len(rows))

    def remove(self, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """Into the recycle bin; a result per record."""
        params = {"ids": ",".join(ids), "allOrNone": "false"}
        response = self.send("DELETE", "/composite/sobjects", params=params, take={400}, safe=True)
        return self._results(response, len(ids))

    def _results(self, response: httpx.Response, count: int) -> list[Mapping[str, Any]]:
        if response.status_code == 400:
            code, message = codes(response)
            field = column_of(message) if code in _UNSEEN else None
            text = f"salesforce: 400, {code}" + (f": {field}" if field is not None else "")
            raise Refused(text, code="validation" if field is not None else "refused", field=field)
        results = self._http.json(response)
        if not isinstance(results, list) or len(results) != count or not all(isinstance(r, Mapping) for r in results):
            raise TryLater("salesforce: not one result per record", landed=response.request.method == "POST")
        return results


def followed(ids: Iterable[str], rows: Callable[[Sequence[str]], dict[str, Row]]) -> tuple[list[Record], set[str]]:
    """The records that these ids lead to, each with the ids that do, and the ids whose way ends at a removed row."""
    asked = list(dict.fromkeys(i for i in map(full_id, ids) if i is not None))
    known = rows(asked)
    for _ in range(_HOPS):
        onward = {r.into for r in known.values() if r.into is not None} - known.keys()
        if not onward:
            break
        found = rows(sorted(onward))
        known |= found
        if not found:
            break
    ends: dict[str, list[str]] = {}
    removed: set[str] = set()
    for first in asked:
        path = [first]
        while path[-1] in known and (into := known[path[-1]].into) is not None and into not in path:
            path.append(into)
        last = known.get(path[-1])
        if last is not None and not last.away:
            ends.setdefault(path[-1], []).extend(path[:-1])
        elif last is not None and last.deleted:
            removed.add(first)
    return [
        dataclasses.replace(known[id_].record, former_ids=tuple(dict.fromkeys(before))) for id_, before in ends.items()
    ], removed


def portions(values: Sequence[str], most: int) -> Iterator[list[str]]:
    part: list[str] = []
    room = _ROOM
    for value in values:
        cost = len(value) + 8  # quotes and comma, percent-encoded
        if part and (cost > room or len(part) >= most):
            yield part
            part, room = [], _ROOM
        part.append(value)
        room -= cost
    if part:
        yield part
