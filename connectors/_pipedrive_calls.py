"""The endpoints of Pipedrive's API.  In: ids, addresses, bodies.  Out: rows and records, or the answer of a write.

All requests of the connector go through ``Persons.send``.  Sources: the vendor's OpenAPI documents of API v2 and v1;
its page "Rate limiting": a day's budget of tokens for the whole company, a burst per user, 10 searches in 2 seconds,
and a block page (403, HTML) for who goes on after the budget is used up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import httpx

from connectors import _pipedrive_walk as walk
from connectors._http import Http, retry_after
from connectors._pipedrive_wire import (
    ADDED,
    CUSTOM,
    OPTIONAL,
    ORG,
    addresses,
    after,
    clock,
    custom_types,
    fold,
    id_of,
    is_id,
    record,
    refusal,
    rows,
    said,
    time,
)
from connectors.contract import Kind, NeedsHuman, Record, Refused, Tie, TryLater

CONCURRENCY: Final = 4  # none is published; ours
PAGE: Final = 500  # rows of a list; OpenAPI v2
BATCH: Final = 100  # ids of one list; OpenAPI v2
KEYS: Final = 15  # custom fields that can be picked; OpenAPI v2.  With more, all of them come
SEARCH: Final = "search"  # family with a rate of its own
RECENT: Final = 200  # of those who changed last, how many are looked at beside the search, whose index lags; ours
REST: Final = timedelta(hours=1)  # once the day's budget is used up: nothing says when exactly it is reset; ours

REFUSALS: Final = frozenset({400, 404, 409, 410, 422})
GONE: Final = frozenset({404, 410})
_PERSONS: Final = "/v2/persons"
_LEFT: Final = ("x-daily-ratelimit-token-remaining", "x-daily-requests-left")  # not on every answer


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a list.  ``following``: the vendor's cursor.  ``at``: its clock."""

    rows: tuple[Mapping[str, Any], ...]
    following: str | None
    at: datetime | None


def walked(
    ask: Callable[[Mapping[str, Any]], Found], state: walk.Listing | walk.Poll
) -> tuple[Found, walk.Listing | walk.Poll]:
    """One page of a walk; where the vendor refuses its own cursor, the first one of the walk that starts again."""
    try:
        return ask(walk.query(state)), state
    except Refused:
        again = walk.again(state)
        if again is None:
            raise
        return ask(walk.query(again)), again


def _every(ask: Callable[[Mapping[str, Any]], Found], params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All rows of a list, page by page."""
    asked = dict(params)
    while True:
        page = ask(asked)
        yield from page.rows
        if page.following is None or page.following == asked.get("cursor"):
            return
        asked["cursor"] = page.following


def picked(names: Iterable[str]) -> dict[str, str]:
    """The parameter that picks custom fields; none where all of them come."""
    keys = [n.removeprefix(CUSTOM) for n in names if n.startswith(CUSTOM)]
    return {"custom_fields": ",".join(keys)} if 0 < len(keys) <= KEYS else {}


class Persons:
    """The persons of one account, and the line to all else of it."""

    def __init__(
        self, http: Http, names: Iterable[str], *, secrets: Collection[str] = (), employers: bool = False
    ) -> None:
        """``names``: fields to read beside those that are always read.  ``secrets``: what no error may repeat.

        ``employers``: whether records say which organization the person belongs to.
        """
        self._http = http
        self._employers = employers
        self.names = tuple(dict.fromkeys(names))
        self.secrets = frozenset(secrets)
        more = [n for n in OPTIONAL if n in self.names]
        self._picked = picked(self.names)
        if more:
            self._picked["include_fields"] = ",".join(more)
        self._optional = bool(more)
        self._types: dict[str, str] = {}
        self._lock = threading.Lock()

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
        """As ``Http.send``, with what only Pipedrive means by 403 and 429."""
        taken = {*take, 403, 429}
        response = self._http.send(method, path, params=params, json=json, take=taken, family=family, safe=safe)
        if response.status_code == 429:
            raise self._limited(response)
        if response.status_code == 403:
            raise self._forbidden(response)
        return response

    def ask(self, path: str, params: Mapping[str, Any] | None = None, *, family: str = "") -> Mapping[str, Any]:
        """The JSON object that a GET answers."""
        return self.asked(path, params, family=family)[0]

    def asked(
        self, path: str, params: Mapping[str, Any] | None = None, *, family: str = ""
    ) -> tuple[Mapping[str, Any], datetime | None]:
        """The JSON object that a GET answers, and the server's clock."""
        response = self.send("GET", path, params=params, family=family)
        body = self._http.json(response)
        if not isinstance(body, Mapping):
            raise TryLater("pipedrive: the answer is no object")
        return body, clock(response)

    def _limited(self, response: httpx.Response) -> TryLater:
        """Too many calls: within seconds, or for today."""
        reset = response.headers.get("x-ratelimit-reset", "")  # seconds, for the burst
        wait = retry_after(response)
        if wait is None and reset.isascii() and reset.isdigit() and len(reset) < 6:
            wait = timedelta(seconds=int(reset))
        spent = any(response.headers.get(name, "").strip() == "0" for name in _LEFT)
        if spent:
            wait = max(REST, wait if wait is not None else REST)
        if wait is not None:
            self._http.pause(wait)
        why = "the day's budget of the company is used up" if spent else "too many calls"
        return TryLater(f"pipedrive: 429, {why}", after=wait)

    def _forbidden(self, response: httpx.Response) -> Refused | TryLater | NeedsHuman:
        """A plan's limit, the block page, or a right that is missing."""
        if response.headers.get("content-type", "").startswith("text/html"):
            self._http.pause(REST)
            return TryLater("pipedrive: 403, a block page: calls went on after the limit", after=REST)
        if (code := said(response)[1]).startswith("feature_capping"):
            return Refused(f"pipedrive: 403, the plan's limit is reached ({code}): see the plan", code="plan")
        return NeedsHuman(
            "pipedrive: 403: the user of the token may not do this, or a field of contact sync is written"
        )

    def _unlisted(self, response: httpx.Response, *, optional: bool) -> Refused:
        """A list that is refused, with the vendor's reason."""
        why = refusal(response, {}, self.secrets)
        asked = "; without Campaigns take a mapping that names no marketing_status" if optional else ""
        return Refused(f"{why}{asked}", code=why.code, field=why.field)

    # --- reading ------------------------------------------------------------------------------------------------------

    def page(self, params: Mapping[str, Any], *, size: int = PAGE) -> Found:
        """One page of persons."""
        return self.listed(_PERSONS, {**params, **self._picked}, size=size)

    def listed(self, path: str, params: Mapping[str, Any], *, size: int = PAGE) -> Found:
        """One page of a list.  Refused with the vendor's reason, such as a cursor that it does not take any more."""
        response = self.send("GET", path, params={**params, "limit": size}, take={400})
        if response.status_code == 400:
            raise self._unlisted(response, optional=self._optional and path == _PERSONS)
        body = self._http.json(response)
        return Found(tuple(rows(body)), after(body), clock(response))

    def whole(self, path: str) -> list[Mapping[str, Any]]:
        """All rows of a list that describes something: fields, stages, pipelines."""

        def ask(
            params: Mapping[str, Any],
        ) -> Found:  # a refusal does not repeat the vendor's words: it may be a write's
            body, at = self.asked(path, {**params, "limit": PAGE})
            return Found(tuple(rows(body)), after(body), at)

        return list(_every(ask, {}))

    def rows(self, ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """The persons of these ids, as rows; removed ones are left out."""
        return self.of(_PERSONS, ids, self._picked)

    def of(self, path: str, ids: Iterable[str], params: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """Of a list the rows of these ids; removed ones are left out."""
        asked = list(dict.fromkeys(filter(is_id, ids)))
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            asked_for = {**params, "ids": ",".join(part)}
            for row in _every(lambda query: self.listed(path, query, size=BATCH), asked_for):
                id_ = id_of(row.get("id"))
                if id_ in part and row.get("is_deleted") is not True:
                    found[str(id_)] = row
        return found

    def read(self, ids: Iterable[str]) -> dict[str, Record]:
        """The records of these ids."""
        return {r.id: r for r in self.records(list(self.rows(ids).values()))}

    def records(self, found: Sequence[Mapping[str, Any]]) -> list[Record]:
        """Rows as records, with the names of their organizations where these are read."""
        if ORG not in self.names:
            return [self._tied(row, record(row, self.names)) for row in found]
        ids = list(dict.fromkeys(i for row in found if (i := id_of(row.get("org_id"))) is not None))
        named: dict[str, Any] = {}
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH]
            answer = self.ask("/v2/organizations", {"ids": ",".join(part), "limit": BATCH})
            named |= {str(row.get("id")): row.get("name") for row in rows(answer)}
        made = []
        for row in found:
            id_ = id_of(row.get("org_id"))
            # An organization that the user may not see has no name for us: that says nothing.
            known = {ORG: None} if id_ is None and "org_id" in row else {ORG: named[id_]} if id_ in named else {}
            made.append(self._tied(row, record({**row, **known}, self.names)))
        return made

    def _tied(self, row: Mapping[str, Any], made: Record) -> Record:
        """The record with its one organization, where that is read."""
        if not self._employers or "org_id" not in row:
            return made
        employer = id_of(row["org_id"])
        return replace(made, ties={Kind.COMPANY: () if employer is None else (Tie(employer, main=True),)})

    def by_email(self, values: Iterable[str]) -> list[Mapping[str, Any]]:
        """The rows of those who show one of these addresses; case does not count.  One search for each address."""
        wanted = list(dict.fromkeys(a for a in map(fold, values) if a))
        ids = [id_ for address in wanted for id_ in self._search(address)]
        return [row for row in self.rows(ids).values() if addresses(row) & set(wanted)]

    def _search(self, address: str) -> Iterator[str]:
        params: dict[str, Any] = {"term": address, "fields": "email", "exact_match": "true", "limit": 100}
        while True:
            body = self.ask(f"{_PERSONS}/search", params, family=SEARCH)
            data = body.get("data")
            items = data.get("items") if isinstance(data, Mapping) else None
            if not isinstance(items, list):
                raise TryLater("pipedrive: the answer to a search is no list")
            inner = (i.get("item") for i in items if isinstance(i, Mapping))
            yield from (id_ for i in inner if isinstance(i, Mapping) and (id_ := id_of(i.get("id"))) is not None)
            following = after(body)
            if following is None or following == params.get("cursor"):
                return
            params["cursor"] = following

    def recent(self) -> Found:
        """Who changed last: the search does not show them yet."""
        return self.page({"sort_by": "update_time", "sort_direction": "desc"}, size=RECENT)

    def young(self, row: Mapping[str, Any], at: datetime | None, span: timedelta) -> bool:
        """Whether the person was made within ``span`` before ``at``."""
        made = time(row.get(ADDED))
        return at is not None and made is not None and made >= at - span

    def fields(self) -> list[Mapping[str, Any]]:
        """The descriptions of all fields of persons."""
        return self.whole("/v2/personFields")

    def types(self, keys: Collection[str]) -> Mapping[str, str]:
        """The types of custom fields; asked for once, and again for a key that was not there then."""
        with self._lock:
            if not set(keys) <= self._types.keys():
                self._types = custom_types(self.fields())
            return self._types

    def me(self) -> Mapping[str, Any]:
        """The user of the token."""
        data = self.ask("/v1/users/me").get("data")
        if not isinstance(data, Mapping):
            raise TryLater("pipedrive: the answer about the user is no object")
        return data

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> httpx.Response:
        """One new person."""
        return self.send("POST", _PERSONS, json=body, take=REFUSALS)

    def update(self, id_: str, body: Mapping[str, Any]) -> httpx.Response:
        """Change what the body names; may be sent twice."""
        return self.send("PATCH", f"{_PERSONS}/{id_}", json=body, take=REFUSALS, safe=True)

    def remove(self, id_: str) -> httpx.Response:
        """Out of sight, and purged by Pipedrive after 30 days."""
        return self.send("DELETE", f"{_PERSONS}/{id_}", take=REFUSALS, safe=True)

    def shown(self, response: httpx.Response) -> Mapping[str, Any]:
        """The row that a write answers with."""
        body = self._http.json(response)
        row = body.get("data") if isinstance(body, Mapping) else None
        if not isinstance(row, Mapping) or id_of(row.get("id")) is None:
            raise TryLater("pipedrive: the answer to a write holds no record", landed=True)
        return row

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def webhooks(self) -> list[Mapping[str, Any]]:
        """All webhooks of the account that the token may see."""
        return rows(self.ask("/v1/webhooks"))

    def add_webhook(self, body: Mapping[str, Any]) -> httpx.Response:
        """A new webhook."""
        return self.send("POST", "/v1/webhooks", json=body, take=REFUSALS)

    def drop_webhook(self, id_: str) -> None:
        """Remove a webhook; one that is not there is removed already."""
        self.send("DELETE", f"/v1/webhooks/{id_}", take={404, 410}, safe=True)
