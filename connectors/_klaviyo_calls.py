"""The endpoints of Klaviyo's API.  In: ids, addresses, bodies.  Out: records, or the answer of a write.

All requests of the connector go through ``Profiles.send``.  Source of paths, limits and rates: Klaviyo's OpenAPI
document of revision 2026-07-15 (github.com/klaviyo/openapi, ``openapi/stable.json``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
import orjson

from connectors._http import Http
from connectors._klaviyo_wire import EMAIL, PHONE, clock, faults, fold, following, is_id, record, rows
from connectors._receipts import together
from connectors.contract import NeedsHuman, Rate, Record, Refused, TryLater

REVISION: Final = "2026-07-15"  # lives a year, is deprecated for another, then answers 410 ("API versioning policy")
CONCURRENCY: Final = 10  # ours: no number of simultaneous calls is published
PAGE: Final = 100  # page[size] of profiles: at most 100
BATCH: Final = 100  # ids in one filter: keeps the URL below the 8 KB that web servers take; ours
JOB: Final = 100  # profiles of one unsubscribe or suppression job; of a subscribe job 1000 would do
_ROOM: Final = 3_000  # characters of addresses in one filter, for the same reason

REFUSALS: Final = frozenset({400, 404, 409})
_SHOWN: Final = {"additional-fields[profile]": "subscriptions"}  # costs no rate

# Each endpoint has rates of its own: burst a second, steady a minute ("Rate limits" in each description).  The page
# "Rate limits and error handling" says 700 a minute where the document says 750: the smaller one counts.
_LARGE: Final = (Rate(75, 1), Rate(700, 60))
_SMALL: Final = (Rate(3, 1), Rate(60, 60))
_SMALLEST: Final = (Rate(1, 1), Rate(15, 60))
RATES: Final[Mapping[str, tuple[Rate, ...]]] = {
    **dict.fromkeys(("list", "get", "create", "update", "subscribe", "unsubscribe", "suppress", "lists"), _LARGE),
    **dict.fromkeys(("events", "event"), (Rate(350, 1), Rate(3500, 60))),
    "metrics": (Rate(10, 1), Rate(150, 60)),
    "erase": _SMALL,
    **dict.fromkeys(("account", "hooks", "hook", "hook_change", "hook_drop", "topics"), _SMALLEST),
}


@dataclass(frozen=True, slots=True)
class Found:
    """One page.  ``following``: cursor of the next one.  ``at``: the server's clock."""

    records: tuple[Record, ...]
    following: str | None
    at: datetime | None


class Profiles:
    """The profiles of one account."""

    def __init__(self, http: Http, *, properties: Iterable[str] = (), secrets: Collection[str] = ()) -> None:
        """``properties``: custom ones that are kept.  ``secrets``: what no error may repeat."""
        self._http = http
        self.properties = tuple(properties)
        self.secrets = frozenset(secrets)

    def send(
        self,
        method: str,
        path: str,
        family: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        take: Collection[int] = (),
        safe: bool | None = None,
    ) -> httpx.Response:
        """As ``Http.send``.  NeedsHuman where the revision has ended.

        TryLater for an error that is no error document: then it is not Klaviyo that speaks, and a 404 would make a
        living profile look gone.
        """
        response = self._http.send(
            method, path, params=params, json=json, take={404, 410, *take}, family=family, safe=safe
        )
        if response.status_code == 410:
            raise NeedsHuman(f"klaviyo: 410, revision {REVISION} of the API has ended: update Tandem")
        if response.status_code >= 400 and not faults(response):
            raise TryLater(f"klaviyo: a {response.status_code} without an error document")
        if response.status_code == 404 and 404 not in take:
            raise Refused("klaviyo: 404, there is no such endpoint or object", code="http_404")
        return response

    def ask(self, path: str, family: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON that a GET answers."""
        return self.json(self.send("GET", path, family, params=params))

    def json(self, response: httpx.Response) -> Any:
        """The JSON of an answer."""
        return self._http.json(response)

    # --- reading ------------------------------------------------------------------------------------------------------

    def page(self, where: str | None, sort: str, cursor: str | None = None, size: int = PAGE) -> Found:
        """One page of profiles with their subscriptions."""
        params: dict[str, Any] = {"page[size]": size, "sort": sort, **_SHOWN}
        params |= {"filter": where} if where is not None else {}
        params |= {"page[cursor]": cursor} if cursor is not None else {}
        response = self.send("GET", "/api/profiles", "list", params=params)
        body = self._http.json(response)
        found = tuple(record(row, self.properties) for row in rows(body))
        return Found(found, following(body), clock(response))

    def raw(self) -> list[Mapping[str, Any]]:
        """The profiles that changed last, as they come."""
        return rows(self.ask("/api/profiles", "list", {"page[size]": PAGE, "sort": "-updated"}))

    def read(self, ids: Iterable[str]) -> dict[str, Record]:
        """The profiles of these ids, by id; one that the list does not know is asked for alone.

        What becomes of the id of a profile that was merged away is not documented: an answer that shows another
        profile is that one, with the id among its former ones.
        """
        asked = list(dict.fromkeys(filter(is_id, ids)))
        found: dict[str, Record] = {}
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            found |= {r.id: r for r in self._all(f"any(id,{_list(part)})") if r.id in part}
        for one in together(self.single, [id_ for id_ in asked if id_ not in found], CONCURRENCY):
            if one is not None:
                found.setdefault(one.id, one)
        return found

    def single(self, id_: str) -> Record | None:
        """One profile; None where there is none."""
        response = self.send("GET", f"/api/profiles/{id_}", "get", params=_SHOWN, take={404})
        return None if response.status_code == 404 else self.shown(response, asked=id_)

    def by_email(self, values: Iterable[str]) -> list[Record]:
        """The profiles with one of these addresses; case does not count."""
        return self._by(EMAIL, {form for v in values for form in (v.strip(), fold(v))})

    def by_phone(self, values: Iterable[str]) -> list[Record]:
        """The profiles with one of these numbers, E.164."""
        return self._by(PHONE, {v.strip() for v in values})

    def _by(self, name: str, asked: Collection[str]) -> list[Record]:
        # A quotation mark or backslash would end the text in the filter.
        wanted = sorted(v for v in asked if v and not set(v) & {'"', "\\"})
        found: dict[str, Record] = {}
        for part in _portions(wanted):
            folded = {fold(v) for v in part}
            every = self._all(f"any({name},{_list(part)})")
            found |= {r.id: r for r in every if fold(r.fields.get(name)) in folded}
        return list(found.values())

    def _all(self, where: str) -> Iterator[Record]:
        cursor = None
        while True:
            found = self.page(where, "id", cursor)
            yield from found.records
            if found.following is None:
                return
            if found.following == cursor:
                raise TryLater("klaviyo: the next page is this page")
            cursor = found.following

    def shown(self, response: httpx.Response, *, asked: str | None = None) -> Record:
        """The profile of an answer."""
        body = self._http.json(response)
        return record(body.get("data") if isinstance(body, Mapping) else None, self.properties, asked=asked)

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> httpx.Response:
        """One new profile."""
        return self.send("POST", "/api/profiles", "create", params=_SHOWN, json=body, take=REFUSALS)

    def update(self, id_: str, body: Mapping[str, Any]) -> httpx.Response:
        """Change what the body names; may be sent twice."""
        path = f"/api/profiles/{id_}"
        return self.send("PATCH", path, "update", params=_SHOWN, json=body, take=REFUSALS, safe=True)

    def erase(self, id_: str) -> httpx.Response:
        """Ask for the deletion of one profile, for good; it happens later.  May be sent twice."""
        profile = {"data": {"type": "profile", "id": id_, "attributes": {}}}
        data = {"type": "data-privacy-deletion-job", "attributes": {"profile": profile}}
        path = "/api/data-privacy-deletion-jobs"
        return self.send("POST", path, "erase", json={"data": data}, take=REFUSALS, safe=True)

    def job(self, kind: str, family: str, attributes: Mapping[str, Any], list_id: str | None = None) -> httpx.Response:
        """Start a job, such as ``profile-suppression-bulk-create-job``; may be sent twice."""
        data: dict[str, Any] = {"type": kind, "attributes": attributes}
        if list_id is not None:
            data["relationships"] = {"list": {"data": {"type": "list", "id": list_id}}}
        return self.send("POST", f"/api/{kind}s", family, json={"data": data}, take={400}, safe=True)

    def opt_in(self, list_id: str) -> str | None:
        """``single_opt_in`` or ``double_opt_in``, as the list is set.  NeedsHuman where there is no such list."""
        response = self.send("GET", f"/api/lists/{list_id}", "lists", take={404})
        if response.status_code == 404:
            raise NeedsHuman("klaviyo: there is no list of the configured list_id")
        body = self._http.json(response)
        data = body.get("data") if isinstance(body, Mapping) else None
        about = data.get("attributes") if isinstance(data, Mapping) else None
        found = about.get("opt_in_process") if isinstance(about, Mapping) else None
        return found if isinstance(found, str) else None


def _portions(addresses: Sequence[str]) -> Iterator[list[str]]:
    """Addresses in groups that fit into a filter."""
    part: list[str] = []
    size = 0
    for address in addresses:
        length = len(address.encode()) + 9  # the quotation marks and the comma, encoded
        if part and (len(part) == BATCH or size + length > _ROOM):
            yield part
            part, size = [], 0
        part.append(address)
        size += length
    if part:
        yield part


def _list(texts: Iterable[str]) -> str:
    return orjson.dumps(list(texts)).decode()
