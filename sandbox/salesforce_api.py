"""Salesforce's REST API on the wire.  In: method, path, query, body.  Out: status and JSON.  No network, no event loop.

Below ``/services/data/v67.0``; any version is answered alike.  Sources: developer.salesforce.com, "REST API Developer
Guide": query, queryAll, sObject rows and collections, upsert, getUpdated, getDeleted, describe, limits, status codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

import orjson

from sandbox.salesforce_fields import ALL
from sandbox.salesforce_org import Org, SfError, full_id, stamp
from sandbox.salesforce_soql import Query, SoqlError, moment, parse

BATCH = 2000  # rows of one answer to a query
COLLECTION = 200  # records of one collection
CHUNKS = 10  # runs of one object in a collection
URI = 16_384  # bytes of an address
LOG = timedelta(days=15)  # how far back the delete log goes
WINDOW = timedelta(days=30)  # how far back getUpdated goes

_VERSION = re.compile(r"/services/data/v(\d\d\.0)")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.  ``body`` None: no body."""

    status: int
    body: Any = field(default=None, repr=False)


def error(status: int, code: str, message: str, fields: Sequence[str] = ()) -> Reply:
    """An error as Salesforce words it: always a list."""
    one = {"message": message, "errorCode": code, **({"fields": list(fields)} if fields else {})}
    return Reply(status, [one])


class Api:
    """One org's endpoints."""

    def __init__(self, org: Org) -> None:
        """``org``: whose records."""
        self.org = org
        self.page = BATCH
        self._cursors: dict[str, tuple[str, list[dict[str, Any]]]] = {}

    def call(
        self, method: str, target: str, query: Mapping[str, str], content: bytes, headers: Mapping[str, str], who: str
    ) -> Reply:
        """One request that has the right token.  ``target``: its path.  ``who``: as whose the change is seen."""
        found = _VERSION.match(target)
        if found is None:
            if target.rstrip("/") == "/services/data":
                return Reply(200, [{"label": "Summer '26", "url": "/services/data/v67.0", "version": "67.0"}])
            return error(404, "NOT_FOUND", "The requested resource does not exist")
        save = "allowsave=true" in headers.get("sforce-duplicate-rule-header", "").replace(" ", "").lower()
        try:
            body = orjson.loads(content) if content else None
        except orjson.JSONDecodeError:
            return error(400, "JSON_PARSER_ERROR", "Unexpected character")
        parts = [p for p in target[found.end() :].split("/") if p]
        try:
            return self._route(method, parts, query, body, _Change(found[0], who, save))
        except SfError as no:
            code = "NOT_FOUND" if no.code == "INVALID_CROSS_REFERENCE_KEY" else no.code
            return error(no.status, code, no.message, no.fields)
        except SoqlError as no:
            return error(400, "MALFORMED_QUERY", str(no))

    def _route(self, method: str, parts: Sequence[str], query: Mapping[str, str], body: Any, on: _Change) -> Reply:
        match [method, *parts]:
            case ["GET", "query" | "queryAll" as which]:
                return self._query(query.get("q", ""), on, removed=which == "queryAll")
            case ["GET", "query", locator]:
                return self._further(locator, on)
            case ["GET", "connect", "organization"] if self.org.currency is not None:
                several = "CurrencyIsoCode" not in self.org.hidden
                return Reply(200, {"features": {"multiCurrency": several, "defaultCurrencyIsoCode": self.org.currency}})
            case ["GET", "limits"]:
                return Reply(200, {"DailyApiRequests": {"Max": 15000, "Remaining": 14998}})
            case ["GET", "sobjects"]:
                return Reply(
                    200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": [{"name": e} for e in self._objects()]}
                )
            case ["POST" | "PATCH", "composite", "sobjects"]:
                return self._collection(body, on, new=method == "POST")
            case ["DELETE", "composite", "sobjects"]:
                return self._removals(query)
            case ["POST", "composite", "sobjects", entity] if entity in self._objects() and isinstance(body, Mapping):
                return Reply(200, [self._picked(entity, i, body.get("fields", [])) for i in body.get("ids", [])])
            case [_, "sobjects", entity, *rest] if entity in self._objects():
                return self._object(method, entity, rest, query, body, on)
        return error(404, "NOT_FOUND", "The requested resource does not exist")

    def _object(
        self, method: str, entity: str, rest: Sequence[str], query: Mapping[str, str], body: Any, on: _Change
    ) -> Reply:
        match [method, *rest]:
            case ["GET", "describe"]:
                return Reply(200, {"name": entity, "fields": [_described(n, a) for n, a in self._seen(entity)]})
            case ["GET", "deleted" | "updated" as which]:
                return self._feed(entity, query, removed=which == "deleted")
            case ["POST"]:
                made = self.org.create(entity, _object(body), on.who, save=on.save)
                return Reply(201, {"id": made["Id"], "success": True, "errors": []})
            case ["GET", id_]:
                row = self.org.show(entity, self.org.find(entity, id_))
                names = query.get("fields", "")
                return Reply(200, self._shown(entity, row, names.split(",") if names else self._names(entity), on))
            case ["PATCH", id_]:
                self.org.update(entity, id_, _object(body), on.who, save=on.save)
                return Reply(204)
            case ["DELETE", id_]:
                self.org.remove(entity, id_)
                return Reply(204)
            case ["PATCH" | "GET", "Email", value]:
                return self._by_address(method, entity, value, body, on)
        return error(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed")

    # --- reading ------------------------------------------------------------------------------------------------------

    def _query(self, text: str, on: _Change, *, removed: bool) -> Reply:
        if len(quote(text)) > URI:
            return error(414, "URI_TOO_LONG", "URI Too Long")
        asked = parse(text, datetime.fromtimestamp(self.org.now(), UTC))
        if asked.entity not in self._objects():
            return error(400, "INVALID_TYPE", f"sObject type '{asked.entity}' is not supported.")
        known = {*self._names(asked.entity), *(["Account.Name"] if asked.entity == "Contact" else [])}
        known |= {name for name in ALL[asked.entity] if "." in name}
        for name in (*asked.names, *asked.used):
            if name not in known:
                says = f"No such column '{name}' on entity '{asked.entity}'."
                return error(400, "INVALID_FIELD", says)
        if asked.entity == "ContentDocumentLink" and not {"ContentDocumentId", "LinkedEntityId"} & set(asked.used):
            says = "Implementation restriction: ContentDocumentLink requires a filter by a single Id"
            return error(400, "MALFORMED_QUERY", says)
        rows = self._matching(asked, removed=removed)
        if not asked.names:
            return Reply(200, {"totalSize": len(rows), "done": True, "records": []})
        shown = [self._shown(asked.entity, row, asked.names, on) for row in rows]
        if len(shown) <= self.page:
            return Reply(200, {"totalSize": len(shown), "done": True, "records": shown})
        locator = f"01g5f00000{len(self._cursors):05d}AAA"
        self._cursors[locator] = (asked.entity, shown)
        return self._part(locator, 0, on)

    def _matching(self, asked: Query, *, removed: bool) -> list[dict[str, Any]]:
        rows = [r for r in self.org.all(asked.entity, removed=removed) if asked.test(r)]
        for name, descending in reversed(asked.order):
            rows.sort(key=partial(_rank, name), reverse=descending)
        return rows if asked.limit is None else rows[: asked.limit]

    def _further(self, locator: str, on: _Change) -> Reply:
        name, _, start = locator.rpartition("-")
        if name not in self._cursors or not start.isdigit():
            return error(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._part(name, int(start), on)

    def _part(self, locator: str, start: int, on: _Change) -> Reply:
        _, rows = self._cursors[locator]
        end = start + self.page
        body: dict[str, Any] = {"totalSize": len(rows), "done": end >= len(rows), "records": rows[start:end]}
        if end < len(rows):
            body["nextRecordsUrl"] = f"{on.base}/query/{locator}-{end}"
        return Reply(200, body)

    def _feed(self, entity: str, query: Mapping[str, str], *, removed: bool) -> Reply:
        start, end = moment(query.get("start", "")), moment(query.get("end", ""))
        now = datetime.fromtimestamp(self.org.now(), UTC)
        if end - start < timedelta(minutes=1) or start < now - (LOG if removed else WINDOW):
            says = "start and end must be a minute apart, and start not too far back"
            return error(400, "INVALID_REPLICATION_DATE", says)
        covered = {"latestDateCovered": stamp(min(end, now).timestamp())}
        if removed:
            # Seconds are not looked at.
            first = start.replace(second=0, microsecond=0).timestamp()
            found = [
                {"id": i, "deletedDate": stamp(at)}
                for e, i, at in self.org.removals
                if e == entity and first <= at <= end.timestamp()
            ]
            return Reply(
                200, {"deletedRecords": found, "earliestDateAvailable": stamp((now - LOG).timestamp()), **covered}
            )
        ids = [r["Id"] for r in self.org.all(entity) if start <= moment(r["SystemModstamp"]) <= end]
        return Reply(200, {"ids": ids, **covered})

    def _by_address(self, method: str, entity: str, value: str, body: Any, on: _Change) -> Reply:
        """By an idLookup field: one hit is meant, several are shown."""
        hits = [r for r in self.org.all(entity) if str(r["Email"]).lower() == value.lower()]
        if len(hits) > 1:
            return Reply(300, [f"{on.base}/sobjects/{entity}/{r['Id']}" for r in hits])
        if method == "GET":
            if not hits:
                return error(404, "NOT_FOUND", "The requested resource does not exist")
            return Reply(200, self._shown(entity, hits[0], self._names(entity), on))
        if hits:
            self.org.update(entity, hits[0]["Id"], _object(body), on.who, save=on.save)
            return Reply(204)
        made = self.org.create(entity, {**_object(body), "Email": value}, on.who, save=on.save)
        return Reply(201, {"id": made["Id"], "success": True, "created": True, "errors": []})

    def _picked(self, entity: str, id_: str, names: Iterable[str]) -> dict[str, Any] | None:
        try:
            row = self.org.show(entity, self.org.find(entity, id_))
        except SfError:
            return None
        return {"attributes": _attributes(entity, row["Id"], "/services/data/v67.0"), **{n: row.get(n) for n in names}}

    # --- collections --------------------------------------------------------------------------------------------------

    def _collection(self, body: Any, on: _Change, *, new: bool) -> Reply:
        rows = body.get("records") if isinstance(body, Mapping) else None
        if not isinstance(rows, list) or not all(isinstance(r, Mapping) for r in rows):
            return error(400, "JSON_PARSER_ERROR", "records is missing")
        if len(rows) > COLLECTION:
            return error(
                400, "EXCEEDED_ID_LIMIT", f"record limit reached: cannot submit more than {COLLECTION} records"
            )
        abouts = [r.get("attributes") for r in rows]
        kinds = [str(a.get("type")) if isinstance(a, Mapping) else "" for a in abouts]
        if any(kind not in self._objects() for kind in kinds):
            return error(400, "INVALID_TYPE", "attributes.type is missing or no object")
        if sum(n == 0 or kinds[n] != kinds[n - 1] for n in range(len(kinds))) > CHUNKS:
            return error(400, "INVALID_INPUT", f"no more than {CHUNKS} chunks")
        given = [{k: v for k, v in r.items() if k not in {"attributes", "id", "Id"}} for r in rows]
        for kind, fields in zip(kinds, given, strict=True):
            for name, value in fields.items():
                if name not in self._names(kind):
                    says = f"No such column '{name}' on sobject of type {kind}"
                    return error(400, "INVALID_FIELD", says)
                if (ALL[kind][name]["type"] == "boolean") is not isinstance(value, bool):
                    return error(400, "JSON_PARSER_ERROR", f"Cannot deserialize the value of {name}")
        results = []
        for row, kind, fields in zip(rows, kinds, given, strict=True):
            try:
                if new:
                    done = self.org.create(kind, fields, on.who, save=on.save)
                else:
                    done = self.org.update(kind, str(row.get("id", row.get("Id"))), fields, on.who, save=on.save)
            except SfError as no:
                results.append(_failed(no))
            else:
                results.append({"id": done["Id"], "success": True, "errors": []})
        return Reply(200, results)

    def _removals(self, query: Mapping[str, str]) -> Reply:
        ids = [i for i in query.get("ids", "").split(",") if i]
        if not ids or len(ids) > COLLECTION:
            return error(400, "EXCEEDED_ID_LIMIT", f"from 1 to {COLLECTION} ids")
        results = []
        for id_ in ids:
            try:
                self.org.remove(self.org.entity(id_), id_)
            except SfError as no:
                results.append(_failed(no))
            else:
                results.append({"id": full_id(id_), "success": True, "errors": []})
        return Reply(200, results)

    # --- showing ------------------------------------------------------------------------------------------------------

    def _objects(self) -> list[str]:
        return [entity for entity in ALL if entity not in self.org.absent]

    def _seen(self, entity: str) -> list[tuple[str, dict[str, Any]]]:
        return [(n, about) for n, about in ALL[entity].items() if n not in self.org.hidden and "." not in n]

    def _names(self, entity: str) -> list[str]:
        return [name for name, _ in self._seen(entity)]

    def _shown(self, entity: str, row: Mapping[str, Any], names: Iterable[str], on: _Change) -> dict[str, Any]:
        shown: dict[str, Any] = {"attributes": _attributes(entity, row["Id"], on.base)}
        for name in names:
            relation, dot, field = name.partition(".")
            if dot:
                value = row.get(name)
                about = _attributes(relation, str(row.get(f"{relation}Id")), on.base)
                shown[relation] = None if value is None else {"attributes": about, field: value}
            else:
                shown[name] = row.get(name)
        return shown


@dataclass(frozen=True, slots=True)
class _Change:
    """Where and as whom a call is made."""

    base: str
    who: str
    save: bool


def _rank(name: str, row: Mapping[str, Any]) -> str:
    """Nulls come first ("ORDER BY")."""
    return "" if row.get(name) is None else str(row[name])


def _attributes(entity: str, id_: str, base: str) -> dict[str, str]:
    return {"type": entity, "url": f"{base}/sobjects/{entity}/{id_}"}


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise SfError("JSON_PARSER_ERROR", "The HTTP entity body is required, but this request has no entity body.")
    return body


def _failed(no: SfError) -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": no.code, "message": no.message, "fields": no.fields}]}


def _described(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    options = about.get("options", ())
    return {
        "name": name,
        "label": name,
        "type": about["type"],
        "length": about.get("length", 0),
        "nillable": about["nillable"],
        "createable": about["updateable"],
        "updateable": about["updateable"],
        "defaultedOnCreate": "default" in about,
        "restrictedPicklist": about.get("restricted", False),
        "picklistValues": [{"active": True, "label": o, "value": o} for o in options],
    }
