"""The endpoints of EspoCRM's API.  In: ids, addresses, bodies.  Out: records, or the answer of a write.

All requests of the connector go through ``Records.send``.  Sources: github.com/espocrm/documentation,
``docs/development/api/crud.md``, ``api-search-params.md`` and ``docs/api/spec.json``; erasing personal data:
``docs/administration/data-privacy.md`` and the controller ``DataPrivacy`` of github.com/espocrm/espocrm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx

from connectors._espocrm_walk import Where, moved
from connectors._espocrm_wire import ALWAYS, EMAIL, OTHERS, addresses, clock, fold, is_id, record, rows
from connectors._http import Http
from connectors.contract import Kind, NeedsHuman, Record, TryLater

CONCURRENCY: Final = 4  # none is published; a small installation answered some 40 writes a second to four; ours
PAGE: Final = 200  # rows of one list, spec.json: maxSize; recordListMaxSizeLimit of the instance may be less
BATCH: Final = 100  # ids in one condition: keeps the URL below the 8 KB that web servers take; ours
_ROOM: Final = 3_500  # characters of addresses in one condition, for the same reason

REFUSALS: Final = frozenset({400, 404, 409})
SKIP: Final = {"X-Skip-Duplicate-Check": "true"}  # spec.json
_NO_TOTAL: Final = {"X-No-Total": "true"}  # spec.json: spares the server the count


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a list.  ``full``: there may be more.  ``at``: the server's clock.  ``total``: how many in all."""

    records: tuple[Record, ...]
    full: bool
    at: datetime | None
    total: int | None


class Records:
    """The records of one entity: contacts, or leads; or others, which answer alike."""

    def __init__(
        self,
        http: Http,
        entity: str,
        *,
        attributes: Iterable[str],
        page: int = PAGE,
        secrets: Collection[str] = (),
        kind: Kind = Kind.CONTACT,
        always: Iterable[str] = ALWAYS,
    ) -> None:
        """See the module.  ``secrets``: what no error may repeat.  ``always``: attributes that are always read."""
        self._kind = kind
        self._http = http
        self.size = page
        self.entity = entity
        self.secrets = frozenset(secrets)
        self.attributes = tuple(dict.fromkeys([*always, *(a for a in attributes if a not in {"id", OTHERS})]))

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
        """As ``Http.send``."""
        return self._http.send(method, path, params=params, json=json, headers=headers, take=take, safe=safe)

    def json(self, response: httpx.Response) -> Any:
        """As ``Http.json``."""
        return self._http.json(response)

    def ask(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON that a GET answers."""
        return self._http.json(self.send("GET", path, params=params))

    # --- reading ------------------------------------------------------------------------------------------------------

    def page(
        self,
        where: Sequence[Where],
        order: str,
        *,
        size: int | None = None,
        more: Iterable[str] = (),
        count: bool = False,
    ) -> Found:
        """One page, ascending.  ``more``: further attributes.  ``count``: ask for the total, which costs the server."""
        size = self.size if size is None else size
        names = tuple(dict.fromkeys([*self.attributes, *(m for m in more if m != "id")]))
        params: dict[str, Any] = {"maxSize": size, "orderBy": order, "order": "asc", "attributeSelect": ",".join(names)}
        for place, (type_, attribute, value) in enumerate(where):
            at = f"whereGroup[{place}]"
            params |= {f"{at}[type]": type_, f"{at}[attribute]": attribute}
            params[f"{at}[value][]" if isinstance(value, list) else f"{at}[value]"] = value
        response = self.send("GET", f"/{self.entity}", params=params, headers=None if count else _NO_TOTAL, take={403})
        if response.status_code == 403:
            raise NeedsHuman(forbidden(response, self.entity, size))
        body = self._http.json(response)
        found = tuple(record(row, names, self._kind) for row in rows(body))
        total = body.get("total")
        known = total if isinstance(total, int) and total >= 0 else None
        return Found(found, len(found) >= size, clock(response), known)

    def read(self, ids: Iterable[str], *, more: Iterable[str] = ()) -> dict[str, Record]:
        """The records of these ids."""
        asked = list(dict.fromkeys(filter(is_id, ids)))
        found: dict[str, Record] = {}
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            found |= {r.id: r for r in self._all([("in", "id", part)], more) if r.id in part}
        return found

    def by_email(self, values: Iterable[str], *, more: Iterable[str] = ()) -> list[Record]:
        """The records that show one of these addresses, as primary or as another one.  Case does not count.

        A record that does not show the address is left out: a server that ignores the condition answers everybody.
        """
        wanted = list(dict.fromkeys(a for a in map(fold, values) if a))
        found: dict[str, Record] = {}
        for part in _portions(wanted):
            found |= {r.id: r for r in self._all([("in", EMAIL, part)], more) if addresses(r) & set(part)}
        return list(found.values())

    def _all(self, where: Sequence[Where], more: Iterable[str] = ()) -> Iterator[Record]:
        """All that match, page by page, by id."""
        more, after = tuple(more), None
        while True:
            here = [*where, *([("greaterThan", "id", after)] if after is not None else [])]
            found = self.page(here, "id", more=more)
            yield from found.records
            if not found.full:
                return
            after = moved(after, found.records)

    def related(self, id_: str, link: str, attributes: Sequence[str]) -> list[Mapping[str, Any]]:
        """All rows that one record is linked with; none where it is gone by now."""
        return self.listed(f"/{self.entity}/{id_}/{link}", attributes, ends={404})[0]

    def listed(
        self, path: str, attributes: Sequence[str], *, ends: Collection[int]
    ) -> tuple[list[Mapping[str, Any]], httpx.Response | None]:
        """All rows of a short list, and the answer that ended it before its end: one with a status in ``ends``."""
        found: list[Mapping[str, Any]] = []
        while True:
            params = {"maxSize": self.size, "offset": len(found), "attributeSelect": ",".join(attributes)}
            params |= {"orderBy": "id", "order": "asc"}
            response = self.send("GET", path, params=params, headers=_NO_TOTAL, take=ends)
            if response.status_code in ends:
                return found, response
            page = rows(self._http.json(response))
            found += page
            if len(page) < self.size:
                return found, None

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any], *, skip: bool = False) -> httpx.Response:
        """One new record.  ``skip``: without EspoCRM's own look for duplicates."""
        headers = SKIP if skip else None
        return self.send("POST", f"/{self.entity}", json=body, headers=headers, take=REFUSALS)

    def update(self, id_: str, body: Mapping[str, Any], *, skip: bool = False) -> httpx.Response:
        """Change what the body names; may be sent twice."""
        headers = SKIP if skip else None
        return self.send("PATCH", f"/{self.entity}/{id_}", json=body, headers=headers, take=REFUSALS, safe=True)

    def remove(self, id_: str) -> httpx.Response:
        """Out of sight; an administrator can restore it until EspoCRM's clean-up."""
        return self.send("DELETE", f"/{self.entity}/{id_}", take=REFUSALS, safe=True)

    def erase(self, id_: str, fields: Sequence[str]) -> httpx.Response:
        """Overwrite these fields of a record for good, its addresses and numbers too; may be sent twice."""
        body = {"entityType": self.entity, "id": id_, "fieldList": list(fields)}
        return self.send("POST", "/DataPrivacy/action/erase", json=body, take=REFUSALS, safe=True)

    def definitions(self) -> Mapping[str, Any]:
        """``entityDefs`` of the entity, from the metadata."""
        found = self.ask("/Metadata", {"key": f"entityDefs.{self.entity}"})
        if not isinstance(found, Mapping):
            raise TryLater("espocrm: the metadata is no object")
        return found

    def shown(self, response: httpx.Response) -> Record:
        """The record that a write answers with."""
        row = self._http.json(response)
        if not isinstance(row, Mapping) or not isinstance(row.get("id"), str):
            raise TryLater("espocrm: the answer to a write is not a record", landed=True)
        return record(row, self.attributes)


def forbidden(response: httpx.Response, entity: str, size: int) -> str:
    """What to do about a list that is refused; the server's words hold nothing but its own limit."""
    if "max size" in response.headers.get("x-status-reason", "").lower():
        return f"espocrm: lists of {size} rows are refused: set page_size to the instance's recordListMaxSizeLimit"
    return f"espocrm: 403, the API user's role does not let it read {entity}"


def _portions(values: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    room = _ROOM
    for value in values:
        cost = len(value) + 40  # with the condition's name, percent-encoded
        if part and (cost > room or len(part) >= BATCH):
            yield part
            part, room = [], _ROOM
        part.append(value)
        room -= cost
    if part:
        yield part
