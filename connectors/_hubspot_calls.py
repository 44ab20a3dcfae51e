"""The contact endpoints of HubSpot's CRM API.  In: ids, addresses, properties.  Out: records, or the answer of a write.

All requests of the connector go through ``Contacts.send``.  Sources: developers.hubspot.com, "CRM API | Contacts",
"CRM search", "Error handling" (mirror of April 2026).
"""

from __future__ import annotations

import json as json_text
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from connectors._http import Http
from connectors._hubspot_wire import (
    EMAIL,
    LOCKED,
    MERGED_IDS,
    MODIFIED,
    MORE_EMAILS,
    OTHERS_MODIFIED,
    WAITS,
    addresses,
    after,
    answered_at,
    is_id,
    record,
    rows,
    wait,
)
from connectors.contract import Kind, Record, TryLater

BATCH = 100  # inputs of one batch call, "CRM API | Contacts"
SEARCH_BODY = 3000  # characters of a search body, "CRM search"
WIDE = 2000  # characters: a longer property list fits neither a search body nor, safely, a URL (414); ours

ALWAYS = (EMAIL, MORE_EMAILS, MODIFIED, "createdate", "hs_object_id", MERGED_IDS)

SEARCH = "search"  # endpoint family with a rate of its own

# What a write may answer besides success, to be taken apart by the caller ("Error handling").
REFUSALS = frozenset({400, 404, 409, 413, 414, 422})

_LEGACY = re.compile(r"v[0-9]+")
_DATED = re.compile(r"[0-9]{4}-[0-9]{2}(-beta)?")


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a search.  ``full``: there may be more.  ``at``: HubSpot's clock.  ``total``: matches in all."""

    records: tuple[Record, ...]
    full: bool
    at: datetime | None
    total: int | None


class Contacts:
    """Contacts of one account; or, by ``name``, another of its kinds of object, which answer alike."""

    def __init__(
        self,
        http: Http,
        *,
        version: str,
        properties: Iterable[str],
        secrets: Iterable[str] = (),
        name: str = "contacts",
        kind: Kind = Kind.CONTACT,
    ) -> None:
        """See the module.  ``version``: ``v3`` (legacy paths) or a dated one such as ``2026-03``.

        ``secrets``: what no error may repeat.
        """
        self._http = http
        self.secrets = tuple(secrets)
        self.name = name
        self._kind = kind
        self._objects = path("crm", "objects", version) + f"/{name}"
        self.modified = MODIFIED if kind is Kind.CONTACT else OTHERS_MODIFIED
        self._always = ALWAYS if kind is Kind.CONTACT else (OTHERS_MODIFIED, "hs_object_id", MERGED_IDS)
        self.properties = tuple(dict.fromkeys([*self._always, *properties]))
        self._wide = len(json_text.dumps(self.properties)) > WIDE

    def send(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        take: Collection[int] = (),
        family: str = "",
        safe: bool | None = None,
    ) -> httpx.Response:
        """As ``Http.send``; the waits that HubSpot words in its own way are raised as TryLater.

        Those that speak about the account keep all further calls back for as long.
        """
        response = self._http.send(
            method, url, json=json, params=params, take={*take, *WAITS}, family=family, safe=safe
        )
        if response.status_code in WAITS:
            later = wait(response)
            if response.status_code != LOCKED and later.after is not None:
                self._http.pause(later.after)
            raise later
        return response

    def ask(self, method: str, url: str, **how: Any) -> Any:
        """Send and give the body as JSON."""
        return self.json(self.send(method, url, **how))

    def json(self, response: httpx.Response) -> Any:
        """The body as JSON; None where there is none (204), TryLater where it is something else."""
        return self._http.json(response)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, ids: Iterable[str]) -> list[Record]:
        """The records of these ids; one that was merged away is answered by the record that it lives on in."""
        asked = list(dict.fromkeys(filter(is_id, ids)))
        found = {r.id: r for r in self._batch_read(asked)}
        known = {*found, *(former for r in found.values() for former in r.former_ids)}
        # Batch calls do not resolve merged ids, a single GET does ("CRM API | Contacts").
        moved: dict[str, list[str]] = {}
        for old in (i for i in asked if i not in known):
            if (now := self.resolve(old)) is not None:
                moved.setdefault(now, []).append(old)
        found |= {r.id: r for r in self._batch_read([i for i in moved if i not in found])}
        return [_also(r, moved.get(r.id, ())) for r in found.values() if not r.archived]

    def resolve(self, old: str) -> str | None:
        """The id under which this id answers now, its own or that of the record it lives on in; None: it does not."""
        response = self.send("GET", f"{self._objects}/{old}", params={"properties": MERGED_IDS}, take={404})
        if response.status_code == 404:
            return None
        row = self._http.json(response)
        if not isinstance(row, Mapping) or row.get("id") is None:
            raise TryLater("hubspot: a contact without an id")
        return str(row["id"])

    def by(self, key: str | None, values: Iterable[str], *, more: Iterable[str] = ()) -> list[Record]:
        """The records whose unique property (None: id) has one of these values.  ``more``: further properties."""
        found = self._batch_read(list(dict.fromkeys(values)), key=key, more=more)
        return [r for r in {r.id: r for r in found}.values() if not r.archived]

    def by_email(self, values: Iterable[str], *, more: Iterable[str] = ()) -> list[Record]:
        """The records that have one of these addresses, as primary or as secondary one.  Case does not count."""
        wanted = list(dict.fromkeys(v.strip().lower() for v in values if v.strip()))
        found = self.by(EMAIL, wanted, more=more)
        missing = set(wanted).difference(*(addresses(r) for r in found))
        found += self._by_secondary([v for v in wanted if v in missing], more)
        return list({r.id: r for r in found}.values())

    def _by_secondary(self, values: Sequence[str], more: Iterable[str]) -> list[Record]:
        """Secondary addresses are an enumeration: searched with case ("CRM search").  Hits are checked here."""
        found: list[Record] = []
        for part in _chunks(values, SEARCH_BODY - 800):  # the rest of such a body takes less than 800
            group = {"filters": [{"propertyName": MORE_EMAILS, "operator": "IN", "values": part}]}
            answer = self.search({"filterGroups": [group], "sorts": []}, limit=BATCH, names=ALWAYS)
            found += self._batch_read([r.id for r in answer.records if addresses(r) & set(part)], more=more)
        return [r for r in found if not r.archived]

    def search(self, query: Mapping[str, Any], *, limit: int, names: Sequence[str] | None = None) -> Found:
        """The first page of one search.  The API's contract asks for all five keys of the body, always."""
        names = names if names is not None else (self._always if self._wide else self.properties)
        body = {**query, "properties": list(names), "limit": limit, "after": "0"}
        response = self.send("POST", f"{self._objects}/search", json=body, family=SEARCH, safe=True)
        answer = self._http.json(response)
        records = tuple(map(self._record, rows(answer)))
        total = answer.get("total")
        return Found(
            records=records,
            full=after(answer) is not None or len(records) >= limit,
            at=answered_at(response),
            total=total if isinstance(total, int) else None,
        )

    def page(self, start: str | None, *, limit: int = BATCH) -> tuple[list[Record], str | None]:
        """One page of the list of all contacts, by id, and where the next one starts."""
        names = self._always if self._wide else self.properties
        params: dict[str, Any] = {"limit": limit, "archived": "false", "properties": ",".join(names)}
        if start is not None:
            params["after"] = start
        answer = self.ask("GET", self._objects, params=params)
        return self.filled([self._record(row) for row in rows(answer)]), after(answer)

    def filled(self, found: Sequence[Record]) -> list[Record]:
        """The same records with all properties, where the list was too long to ask for them at once."""
        return self._batch_read([r.id for r in found]) if self._wide else list(found)

    def _batch_read(self, ids: Sequence[str], *, key: str | None = None, more: Iterable[str] = ()) -> list[Record]:
        found: list[Record] = []
        names = list(dict.fromkeys([*self.properties, *more]))
        for start in range(0, len(ids), BATCH):
            body: dict[str, Any] = {"properties": names, "inputs": [{"id": i} for i in ids[start : start + BATCH]]}
            if key is not None:
                body["idProperty"] = key
            # 207: some are missing.  404: all are.
            response = self.send("POST", f"{self._objects}/batch/read", json=body, take={404}, safe=True)
            if response.status_code != 404:
                found += map(self._record, rows(self._http.json(response)))
        return found

    def _record(self, row: Mapping[str, Any]) -> Record:
        return record(row, kind=self._kind, by=self.modified)

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, inputs: Sequence[tuple[str, Mapping[str, str]]]) -> httpx.Response:
        """Create from (trace id, properties).  With a trace id each, one bad row does not fail the rest (207)."""
        body = [{"objectWriteTraceId": t, "properties": dict(p), "associations": []} for t, p in inputs]
        return self._batch("create", body, safe=False)

    def create_one(self, properties: Mapping[str, str], associations: Sequence[Mapping[str, Any]]) -> httpx.Response:
        """Create one object with what it belongs to."""
        body = {"properties": dict(properties), "associations": list(associations)}
        return self.send("POST", self._objects, json=body, take=REFUSALS, safe=False)

    def update(self, inputs: Sequence[tuple[str, str, Mapping[str, str]]]) -> httpx.Response:
        """Update from (trace id, record id, properties)."""
        return self._batch("update", [{"objectWriteTraceId": t, "id": i, "properties": dict(p)} for t, i, p in inputs])

    def update_one(self, id_: str, properties: Mapping[str, str]) -> httpx.Response:
        """Update one record; unlike the batch call this resolves ids that were merged away."""
        body = {"properties": dict(properties)}
        return self.send("PATCH", f"{self._objects}/{id_}", json=body, take=REFUSALS, safe=True)

    def archive(self, ids: Sequence[str]) -> httpx.Response:
        """Archive; HubSpot does not say which of the ids it knew."""
        return self._batch("archive", [{"id": i} for i in ids])

    def erase(self, id_: str) -> httpx.Response:
        """Delete for good, as privacy laws ask: 204.  "CRM API | Contacts", GDPR delete: one at a time."""
        return self.send("POST", f"{self._objects}/gdpr-delete", json={"objectId": id_}, take=REFUSALS, safe=True)

    def merge(self, winner: str, loser: str) -> httpx.Response:
        """Merge ``loser`` into ``winner``; the answer is the record that they live on in."""
        body = {"primaryObjectId": winner, "objectIdToMerge": loser}
        return self.send("POST", f"{self._objects}/merge", json=body, take=REFUSALS, safe=False)

    def _batch(self, verb: str, inputs: Sequence[Mapping[str, Any]], *, safe: bool = True) -> httpx.Response:
        body = {"inputs": list(inputs)}
        return self.send("POST", f"{self._objects}/batch/{verb}", json=body, take=REFUSALS, safe=safe)


def path(area: str, name: str, version: str) -> str:
    """``/crm/v3/objects`` or, dated, ``/crm/objects/2026-03``."""
    if _LEGACY.fullmatch(version):
        return f"/{area}/{version}/{name}"
    if _DATED.fullmatch(version):
        return f"/{area}/{name}/{version}"
    raise ValueError(f"hubspot: version {version!r} is neither like 'v3' nor like '2026-03'")


def _also(found: Record, former: Sequence[str]) -> Record:
    ids = tuple(dict.fromkeys([*found.former_ids, *(i for i in former if i != found.id)]))
    return Record(found.kind, found.id, found.fields, found.modified, found.archived, ids, found.ties)


def _chunks(values: Sequence[str], room: int) -> Iterator[list[str]]:
    """Lists of values whose JSON stays below ``room`` characters."""
    part: list[str] = []
    used = 0
    for value in values:
        size = len(json_text.dumps(value)) + 2
        if part and (used + size > room or len(part) == BATCH):
            yield part
            part, used = [], 0
        part.append(value)
        used += size
    if part:
        yield part
