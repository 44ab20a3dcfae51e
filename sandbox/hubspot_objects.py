"""HubSpot's companies, deals and activities on the wire, and what is associated with what.

Sources: developers.hubspot.com, "CRM API | Objects", "CRM search", "Associations v4", "Associate records" (type ids),
"Calls", "Meetings", "Email", "Notes", "Tasks" (mirror of April 2026).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from sandbox.front import Json
from sandbox.hubspot_http import Routes
from sandbox.hubspot_http import body as sent
from sandbox.hubspot_rules import HubSpotError, bad, iso, millis, not_found

NAMES: Final = ("companies", "deals", "calls", "meetings", "emails", "notes", "tasks")
SINGULAR: Final = {"contacts": "contact", "companies": "company", "deals": "deal"}
MODIFIED: Final = "hs_lastmodifieddate"
ASSOCIATED: Final = 500  # associations of one object in one page of a batch read; the contract gives no figure

# "Associate records": (from, to) -> (plain, primary)
TYPES: Final[Mapping[tuple[str, str], tuple[int, int | None]]] = {
    ("contacts", "companies"): (279, 1),
    ("companies", "contacts"): (280, 2),
    ("contacts", "deals"): (4, None),
    ("deals", "contacts"): (3, None),
    ("deals", "companies"): (341, 5),
    ("companies", "deals"): (342, 6),
    ("contacts", "calls"): (193, None),
    ("contacts", "emails"): (197, None),
    ("contacts", "meetings"): (199, None),
    ("contacts", "notes"): (201, None),
    ("contacts", "tasks"): (203, None),
    ("calls", "contacts"): (194, None),
    ("emails", "contacts"): (198, None),
    ("meetings", "contacts"): (200, None),
    ("notes", "contacts"): (202, None),
    ("tasks", "contacts"): (204, None),
}
_REQUIRED: Final = dict.fromkeys(("calls", "meetings", "emails", "notes", "tasks"), "hs_timestamp")

Key = tuple[str, int]


class Objects:
    """All objects of one account but its contacts."""

    def __init__(
        self,
        now: Callable[[], int],
        knows: Callable[[int], bool],
        tell: Callable[[str, int, int, dict[str, Any]], None] = lambda *_: None,
    ) -> None:
        """``now``: ms since 1970.  ``knows``: whether a contact is there.  ``tell``: (type, object, moment, more)."""
        self._now = now
        self._knows = knows
        self._tell = tell
        self.rows: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in NAMES}
        self.ties: dict[Key, dict[Key, set[int]]] = {}
        self._next = 20_000_000_000

    def clear(self) -> None:
        """Forget everything."""
        for rows in self.rows.values():
            rows.clear()
        self.ties.clear()

    # --- what happens there -------------------------------------------------------------------------------------------

    def put(self, name: str, properties: Mapping[str, Any], id_: int | None = None) -> int:
        """Create an object, or change one; its id."""
        new = id_ is None
        if id_ is None:
            self._next += 1
            id_ = self._next
        at = self._now()
        row = self.rows[name].setdefault(id_, {"created": at, "properties": {}, "archived": False})
        row["properties"] |= {n: str(v) for n, v in properties.items()}
        row["updated"] = at
        if name in SINGULAR:
            self._tell(f"{SINGULAR[name]}.{'creation' if new else 'propertyChange'}", id_, at, {})
        return id_

    def archive(self, name: str, id_: int) -> None:
        """Delete an object, as far as HubSpot does."""
        self.rows[name][id_]["archived"] = True
        if name in SINGULAR:
            self._tell(f"{SINGULAR[name]}.deletion", id_, self._now(), {})

    def associate(self, one: Key, other: Key, *, main: bool = False) -> None:
        """Both ways; moves no modified time."""
        for a, b in ((one, other), (other, one)):
            plain, primary = TYPES[a[0], b[0]]
            types = self.ties.setdefault(a, {}).setdefault(b, set())
            types |= {plain, *((primary,) if main and primary is not None else ())}
        self._associated(one, other, removed=False, main=main)

    def dissociate(self, one: Key, other: Key) -> None:
        """Both ways."""
        for a, b in ((one, other), (other, one)):
            self.ties.get(a, {}).pop(b, None)
        self._associated(one, other, removed=True, main=False)

    def _associated(self, one: Key, other: Key, *, removed: bool, main: bool) -> None:
        if one[0] in SINGULAR and other[0] in SINGULAR:
            kind = f"{SINGULAR[one[0]]}_TO_{SINGULAR[other[0]]}".upper()
            more = {
                "associationType": kind,
                "fromObjectId": one[1],
                "toObjectId": other[1],
                "associationRemoved": removed,
                "isPrimaryAssociation": main,
            }
            self._tell(f"{SINGULAR[one[0]]}.associationChange", one[1], self._now(), more)

    # --- the wire -----------------------------------------------------------------------------------------------------

    def routes(self) -> Routes:
        """(method, path, endpoint)."""
        made: Routes = [("POST", "/crm/v4/associations/{of}/{to}/batch/read", self._read_ties)]
        for name in NAMES:
            url = f"/crm/v3/objects/{name}"
            made += [
                ("POST", f"{url}/search", partial(self._call, name, self.search)),
                ("POST", f"{url}/batch/read", partial(self._call, name, self.batch_read)),
                ("POST", url, partial(self._call, name, self.create)),
                ("GET", f"{url}/{{id}}", partial(self._get, name)),
            ]
        return made

    async def _call(
        self, name: str, what: Callable[[str, Mapping[str, Any]], tuple[int, Any]], request: Request
    ) -> Response:
        status, said = what(name, await sent(request))
        return Json(said, status_code=status)

    async def _get(self, name: str, request: Request) -> Response:
        asked = [n for n in request.query_params.get("properties", "").split(",") if n]
        return Json(self.show(name, self.number(request.path_params["id"], name), asked))

    async def _read_ties(self, request: Request) -> Response:
        of, to = request.path_params["of"], request.path_params["to"]
        status, said = self.associations(of, to, await sent(request))
        return Json(said, status_code=status)

    def number(self, text: str, name: str) -> int:
        """The id of an object that is there.  Raises 404."""
        if not re.fullmatch(r"[0-9]+", text) or int(text) not in self.rows[name]:
            raise not_found()
        if self.rows[name][int(text)]["archived"]:
            raise not_found()
        return int(text)

    def show(self, name: str, id_: int, asked: Sequence[str]) -> dict[str, Any]:
        """An object in an answer: what was asked for, null where it has no value."""
        row = self.rows[name][id_]
        stamps = {"hs_object_id": str(id_), "createdate": iso(row["created"]), MODIFIED: iso(row["updated"])}
        values = {n: row["properties"].get(n) for n in asked} | stamps
        return {
            "id": str(id_),
            "properties": values,
            "createdAt": iso(row["created"]),
            "updatedAt": iso(row["updated"]),
            "archived": row["archived"],
        }

    def create(self, name: str, given: Mapping[str, Any]) -> tuple[int, Any]:
        """One object, with what it is associated with; nothing is made where one of these is not there."""
        properties = given.get("properties", {})
        needed = _REQUIRED.get(name)
        if needed is not None and needed not in properties:
            raise bad(f"Some required properties were not set: [{needed}]")
        ties: list[Key] = []
        for one in given.get("associations", ()):
            (type_,) = one["types"]
            fits = [to for (of, to), (plain, _) in TYPES.items() if of == name and plain == type_["associationTypeId"]]
            if not fits or type_["associationCategory"] != "HUBSPOT_DEFINED":
                raise bad("associationTypeId is not valid for these objects")
            other = int(one["to"]["id"])
            if not (self._knows(other) if fits[0] == "contacts" else other in self.rows[fits[0]]):
                raise HubSpotError(404, "OBJECT_NOT_FOUND", "One or more associations are not valid")
            ties.append((fits[0], other))
        id_ = self.put(name, properties)
        for key in ties:
            self.associate((name, id_), key)
        return 201, self.show(name, id_, list(properties))

    def batch_read(self, name: str, given: Mapping[str, Any]) -> tuple[int, Any]:
        """By id."""
        asked = [str(i["id"]) for i in given["inputs"]]
        if len(asked) > 100:
            raise bad("at most 100 inputs")
        there = [int(i) for i in asked if i.isdigit() and int(i) in self.rows[name]]
        ids = [i for i in there if not self.rows[name][i]["archived"]]
        said: dict[str, Any] = {"status": "COMPLETE", "results": [self.show(name, i, given["properties"]) for i in ids]}
        if len(ids) == len(asked):
            return 200, said
        error = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "Could not get some objects"}
        return 207, {**said, "numErrors": 1, "errors": [error]}

    def search(self, name: str, given: Mapping[str, Any]) -> tuple[int, Any]:
        """Filters on the modified time and on ids, one order."""
        if missing := [k for k in ("after", "limit", "sorts", "properties", "filterGroups") if k not in given]:
            raise bad(f"Some required fields were not set: [{', '.join(missing)}]")
        limit, offset = int(given["limit"]), int(given["after"] or 0)
        if not 0 < limit <= 200 or offset + limit > 10_000:
            raise bad("limit or after is out of range")
        ids = [i for i, row in self.rows[name].items() if not row["archived"]]
        for group in given["filterGroups"]:
            ids = [i for i in ids if all(self._fits(name, i, f) for f in group["filters"])]
        for sort in given["sorts"]:
            by = sort["propertyName"]
            ids.sort(key=partial(self._value, name, by), reverse=sort["direction"] == "DESCENDING")
        page = ids[offset : offset + limit]
        said: dict[str, Any] = {"total": len(ids), "results": [self.show(name, i, given["properties"]) for i in page]}
        if len(ids) > offset + limit:
            said["paging"] = {"next": {"after": str(offset + limit)}}
        return 200, said

    def _value(self, name: str, by: str, id_: int) -> int:
        if by == "hs_object_id":
            return id_
        if by != MODIFIED:
            raise bad(f"this simulator sorts and filters {name} by {MODIFIED} and hs_object_id")
        return int(self.rows[name][id_]["updated"])

    def _fits(self, name: str, id_: int, rule: Mapping[str, Any]) -> bool:
        value, text = self._value(name, rule["propertyName"], id_), str(rule["value"])
        wanted = int(text) if text.isdigit() else millis(text)
        if wanted is None:
            raise bad("the value of a filter is no number and no time")
        match rule["operator"]:
            case "GTE":
                return value >= wanted
            case "LTE":
                return value <= wanted
            case "GT":
                return value > wanted
        raise bad(f"operator {rule['operator']} is not simulated for {name}")

    def associations(self, of: str, to: str, given: Mapping[str, Any]) -> tuple[int, Any]:
        """What is associated with each of the inputs; those without any are errors of their own (207)."""
        if (of, to) not in TYPES:
            raise bad(f"no associations from {of} to {to}")
        if len(given["inputs"]) > 1_000:
            raise bad("at most 1000 inputs")
        if not all(re.fullmatch(r"[0-9]+", str(one.get("id"))) for one in given["inputs"]):
            raise bad("each input needs an id")
        results, errors = [], []
        for one in given["inputs"]:
            ties = self.ties.get((of, int(one["id"])), {})
            found = sorted((key[1], types) for key, types in ties.items() if key[0] == to)
            start = int(one.get("after", 0))
            page = found[start : start + ASSOCIATED]
            if not page:
                message = f"No {to} is associated with {one['id']}"
                errors.append({"status": "error", "category": "OBJECT_NOT_FOUND", "message": message})
                continue
            row: dict[str, Any] = {"from": {"id": one["id"]}, "to": [self._tie(id_, of, to, t) for id_, t in page]}
            if len(found) > start + ASSOCIATED:
                row["paging"] = {"next": {"after": str(start + ASSOCIATED)}}
            results.append(row)
        said = {"status": "COMPLETE", "results": results}
        return (207, {**said, "numErrors": len(errors), "errors": errors}) if errors else (200, said)

    def _tie(self, id_: int, of: str, to: str, types: set[int]) -> dict[str, Any]:
        _, primary = TYPES[of, to]
        told = [
            {"category": "HUBSPOT_DEFINED", "typeId": t, "label": "Primary" if t == primary else None}
            for t in sorted(types)
        ]
        return {"toObjectId": id_, "associationTypes": told}
