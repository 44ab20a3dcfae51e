"""Pipedrive's endpoints.  In: method, path, query, body.  Out: status and body, or a PipedriveError.

Sources: the vendor's OpenAPI documents of API v2 and v1; its page "Rate limiting" for what a call costs.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sandbox.pipedrive_events import COMPANY
from sandbox.pipedrive_objects import FIELDS, Objects, pipelines, stages
from sandbox.pipedrive_store import STAMP, USER, People, PipedriveError
from sandbox.webhooks import Target

MOST = 500  # rows of a list
IDS = 100
KEYS = 15
HOOKS = 40  # webhooks of a user
_ACTIONS = ("create", "change", "delete")
_DAY = "2026-01-01T00:00:00.000Z"

COSTS: Mapping[tuple[str, str], int] = {  # x-token-cost of the documents; by method and path without ids
    ("GET", "/v2/persons"): 10,
    ("POST", "/v2/persons"): 5,
    ("GET", "/v2/persons/id"): 1,
    ("PATCH", "/v2/persons/id"): 5,
    ("DELETE", "/v2/persons/id"): 3,
    ("GET", "/v2/persons/search"): 20,
    ("GET", "/v2/personFields"): 10,
    ("GET", "/v2/organizations"): 10,
    ("GET", "/v2/organizationFields"): 10,
    ("GET", "/v2/deals"): 10,
    ("GET", "/v2/deals/archived"): 20,
    ("GET", "/v2/dealFields"): 10,
    ("GET", "/v2/activities"): 10,
    ("GET", "/v2/stages"): 5,
    ("GET", "/v2/pipelines"): 5,
    ("GET", "/v1/deals/id/participants"): 10,
    ("GET", "/v1/notes"): 20,
    ("POST", "/v1/notes"): 10,
    ("GET", "/v1/users"): 20,
    ("PUT", "/v1/persons/id/merge"): 40,
    ("GET", "/v1/users/me"): 2,
    ("GET", "/v1/webhooks"): 10,
    ("POST", "/v1/webhooks"): 10,
    ("DELETE", "/v1/webhooks/id"): 6,
}


def cost(method: str, path: str) -> int:
    """How many tokens a call takes."""
    parts = ["id" if part.isdigit() else part for part in path.split("/")]
    return COSTS.get((method, "/".join(parts)), 0)


class Api:
    """The endpoints over the persons of one company."""

    def __init__(
        self,
        people: People,
        now: Callable[[], float],
        *,
        objects: Objects | None = None,
        lag: float = 1.0,
        most: int = MOST,
        admin: bool = True,
    ) -> None:
        """``lag``: seconds until the search shows a change.  ``most``: rows of a page, whatever is asked for."""
        self.people = people
        self.objects = Objects(people, now) if objects is None else objects
        self.hooks: dict[int, dict[str, Any]] = {}
        self.targets: dict[str, Target] = {}
        self._now = now
        self._lag = lag
        self._most = most
        self._admin = admin
        self._next_hook = 1

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any], source: str = "api"
    ) -> tuple[int, dict[str, Any]]:
        """One call.  ``path``: below ``/api``.  ``source``: ``api`` or ``user``, who is to be seen as the author."""
        match [method, *path.strip("/").split("/")]:
            case ["GET", "v2", "persons"]:
                return 200, self._list(query)
            case ["POST", "v2", "persons"]:
                return 200, _good(self._shown(self.people.create(body, source), self._after_write))
            case ["GET", "v2", "persons", "search"]:
                return 200, self._search(query)
            case ["GET", "v2", "persons", id_]:
                row = self.people.rows.get(int(id_)) if id_.isdigit() else None
                if row is None:
                    raise PipedriveError(404, "Person not found")
                return 200, _good(self._shown(row, query))
            case ["PATCH", "v2", "persons", id_]:
                row = self.people.update(id_, body, source)
                return 200, _good(self._shown(row, self._after_write))
            case ["DELETE", "v2", "persons", id_]:
                return 200, _good({"id": self.people.remove(id_, source)["id"]})
            case ["GET", "v2", "personFields"]:
                return 200, {**_good(self.people.fields), "additional_data": {"next_cursor": None}}
            case ["GET", "v2", "organizations"]:
                rows = self.objects.rows["organizations"]
                bare = [{"id": i, "name": n, "update_time": _DAY} for i, n in self.people.orgs.items() if i not in rows]
                here = [r for r in rows.values() if not r["is_deleted"]]
                return 200, self._rows([*here, *bare], query, lambda row: self._cut("organizations", row, query))
            case ["GET", "v2", "deals"]:
                return 200, self._deals(query, archived=False)
            case ["GET", "v2", "deals", "archived"]:
                return 200, self._deals(query, archived=True)
            case ["GET", "v2", "activities"]:
                return 200, self._rows(self.objects.rows["activities"].values(), query, dict)
            case ["GET", "v2", ("organizationFields" | "dealFields") as name]:
                return 200, {**_good(FIELDS[name]), "additional_data": {"next_cursor": None}}
            case ["GET", "v2", "stages"]:
                return 200, {**_good(stages()), "additional_data": {"next_cursor": None}}
            case ["GET", "v2", "pipelines"]:
                return 200, {**_good(pipelines()), "additional_data": {"next_cursor": None}}
            case ["GET", "v1", "deals", id_, "participants"]:
                return 200, self._old(self.objects.taking_part(id_), query)
            case ["GET", "v1", "notes"]:
                return 200, self._old(self._notes(query), query)
            case ["POST", "v1", "notes"]:
                return 200, _good(self.objects.note(body))
            case ["GET", "v1", "users"]:
                return 200, _good(self.objects.users)
            case ["PUT", "v1", "persons", id_, "merge"]:
                return 200, _good(self.people.merge(id_, body.get("merge_with_id"), source))
            case ["GET", "v1", "users", "me"]:
                access = [{"app": "sales", "admin": self._admin, "permission_set_id": "a"}]
                return 200, _good({"id": USER, "name": "Tandem", "company_id": COMPANY, "access": access})
            case ["GET", "v1", "webhooks"]:
                return 200, {"status": "ok", **_good(list(self.hooks.values()))}
            case ["POST", "v1", "webhooks"]:
                return 201, {"status": "ok", **_good(self._hook(body))}
            case ["DELETE", "v1", "webhooks", id_]:
                if not id_.isdigit() or self.hooks.pop(int(id_), None) is None:
                    raise PipedriveError(404, "not found")
                self.targets.pop(id_, None)
                return 200, {"status": "ok", "success": True}
        raise PipedriveError(404, "Unknown method .")

    @property
    def _after_write(self) -> Mapping[str, str]:
        """A write answers with the marketing status where there is one."""
        return {"include_fields": _OPTIONAL} if self.people.campaigns else {}

    # --- lists --------------------------------------------------------------------------------------------------------

    def _list(self, query: Mapping[str, str]) -> dict[str, Any]:
        self._picked(query)
        return self._rows(self.people.there(), query, lambda row: self._shown(row, query))

    def _deals(self, query: Mapping[str, str], *, archived: bool) -> dict[str, Any]:
        statuses = list(filter(None, query.get("status", "").split(",")))
        if unknown := set(statuses) - {"open", "won", "lost", "deleted"}:
            raise PipedriveError(400, f"Validation failed: status: {min(unknown)}")
        found = self.objects.deals(archived=archived, statuses=statuses)
        return self._rows(found, query, lambda row: self._cut("deals", row, query))

    def _cut(self, name: str, row: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
        """A row with what is asked for beside the usual."""
        optional = list(filter(None, query.get("include_fields", "").split(",")))
        keys = list(filter(None, query.get("custom_fields", "").split(",")))
        shown = self.objects.shown(name, row, optional)
        return {
            **shown,
            "custom_fields": {k: v for k, v in row.get("custom_fields", {}).items() if not keys or k in keys},
        }

    def _notes(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        name, _, direction = query.get("sort", "id ASC").partition(" ")
        if name not in {"id", "add_time", "update_time"} or direction not in {"ASC", "DESC"}:
            raise PipedriveError(400, "Validation failed: sort")
        since = _time(query, "updated_since").replace("T", " ").rstrip("Z")
        person = int(query["person_id"]) if "person_id" in query else None
        found = [r for r in self.objects.rows["notes"].values() if person is None or r["person_id"] == person]
        found = [r for r in found if r["update_time"] >= since]
        return sorted(found, key=lambda r: (r[name], r["id"]), reverse=direction == "DESC")

    def _old(self, found: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
        """A page as API v1 has it."""
        start, size = int(query.get("start", "0")), min(int(query.get("limit", "100")), self._most)
        more = len(found) > start + size
        page = {"start": start, "limit": size, "more_items_in_collection": more}
        return {**_good(found[start : start + size]), "additional_data": {"pagination": page}}

    def _rows(
        self, rows: Iterable[dict[str, Any]], query: Mapping[str, str], show: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """A page as API v2 has it."""
        limit = _limit(query)
        order, direction = query.get("sort_by", "id"), query.get("sort_direction", "asc")
        if order not in {"id", "update_time", "add_time"} or direction not in {"asc", "desc"}:
            raise PipedriveError(400, "Validation failed: sort_by: Invalid enum value")
        if (ids := _ids(query)) is not None:
            rows = [r for r in rows if r["id"] in ids]
        since, until = _time(query, "updated_since"), _time(query, "updated_until")
        rows = [r for r in rows if (not since or r["update_time"] >= since) and (not until or r["update_time"] < until)]

        def key(row: Mapping[str, Any]) -> tuple[Any, int]:
            return row[order], row["id"]

        found = sorted(rows, key=key, reverse=direction == "desc")
        if "cursor" in query:
            mark = _opened(query["cursor"], order, direction)
            found = [r for r in found if (key(r) > mark if direction == "asc" else key(r) < mark)]
        page = found[: min(limit, self._most)]
        more = len(found) > len(page)
        following = _closed(order, direction, *key(page[-1])) if more else None
        return {**_good([show(r) for r in page]), "additional_data": {"next_cursor": following}}

    def _search(self, query: Mapping[str, str]) -> dict[str, Any]:
        term, exact = query.get("term", ""), query.get("exact_match") == "true"
        if len(term) < (1 if exact else 2):
            raise PipedriveError(400, 'Invalid input: "term" is not allowed to be empty')
        limit, lower = _limit(query), term.lower()
        start = int(_opened(query["cursor"], "id", "asc")[1]) if "cursor" in query else 0
        found = []
        for row in self.people.there():
            if row["id"] <= start or self.people.touched[row["id"]] > self._now() - self._lag:
                continue
            texts = [e["value"] for e in row["emails"]] if query.get("fields") == "email" else [row["name"]]
            if any(t.lower() == lower if exact else lower in t.lower() for t in texts):
                found.append(row)
        page = found[:limit]
        items = [{"result_score": 0.5, "item": _item(row)} for row in page]
        following = _closed("id", "asc", page[-1]["id"], page[-1]["id"]) if len(found) > len(page) else None
        return {**_good({"items": items}), "additional_data": {"next_cursor": following}}

    def _shown(self, row: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
        optional, keys = self._picked(query)
        shown = {n: v for n, v in row.items() if n not in _OPTIONAL.split(",") or n in optional}
        if _MAILS & optional:
            mails = self.objects.mails.get(row["id"], {})
            shown |= {n: mails.get(n) for n in sorted(_MAILS & optional)}
        if keys:
            shown["custom_fields"] = {k: v for k, v in row["custom_fields"].items() if k in keys}
        return shown

    def _picked(self, query: Mapping[str, str]) -> tuple[set[str], list[str]]:
        """The optional fields, and the custom ones (none: all), that are asked for."""
        optional = set(filter(None, query.get("include_fields", "").split(",")))
        if optional & set(_OPTIONAL.split(",")) and not self.people.campaigns:
            raise PipedriveError(400, "Validation failed: include_fields: Campaigns is not enabled")
        keys = list(filter(None, query.get("custom_fields", "").split(",")))
        if len(keys) > KEYS:
            raise PipedriveError(400, f"Validation failed: custom_fields: at most {KEYS} keys")
        return optional, keys

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def _hook(self, given: Mapping[str, Any]) -> dict[str, Any]:
        missing = [n for n in ("subscription_url", "event_action", "event_object", "name") if not given.get(n)]
        if missing:
            raise PipedriveError(400, f"Validation failed: {missing[0]}: is required")
        action, about, url = given["event_action"], given["event_object"], str(given["subscription_url"])
        if action not in {*_ACTIONS, "*"} or not url.startswith(("https://", "http://127.0.0.1")):
            raise PipedriveError(400, "Validation failed: subscription_url: invalid or non-reachable URL")
        if len(self.hooks) >= HOOKS:
            raise PipedriveError(400, "Webhooks limit reached")
        id_ = self._next_hook
        self._next_hook += 1
        user, password = given.get("http_auth_user"), given.get("http_auth_password")
        row = {
            "id": id_,
            "company_id": COMPANY,
            "owner_id": USER,
            "user_id": given.get("user_id", USER),
            "event_action": action,
            "event_object": about,
            "subscription_url": url,
            "version": given.get("version", "2.0"),
            "is_active": 1,
            "add_time": _DAY,
            "remove_time": None,
            "type": "general",
            "http_auth_user": user,
            "http_auth_password": None,
            "remove_reason": None,
            "last_delivery_time": None,
            "last_http_status": None,
            "admin_id": USER,
            "name": given["name"],
        }
        self.hooks[id_] = row
        wanted = _ACTIONS if action == "*" else (action,)
        secret = f"{user}:{password}" if user is not None else ""
        events = {f"{o}.{a}": True for o in (_TOLD if about == "*" else {about} & set(_TOLD)) for a in wanted}
        if events:
            self.targets[str(id_)] = Target(str(id_), url, secret, events=events)
        return row


_OPTIONAL = "marketing_status,doi_status"
_MAILS = {"last_incoming_mail_time", "last_outgoing_mail_time"}
_TOLD = ("person", "organization", "deal")  # of what webhooks tell here


def _good(data: Any) -> dict[str, Any]:
    return {"success": True, "data": data}


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "type": "person",
        "name": row["name"],
        "phones": [e["value"] for e in row["phones"]],
        "emails": [e["value"] for e in row["emails"]],
        "visible_to": row["visible_to"],
        "owner": {"id": row["owner_id"]},
        "custom_fields": [],
        "notes": [],
    }


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", "100")
    if not text.isdigit() or not 0 < int(text) <= MOST:
        raise PipedriveError(400, f"Validation failed: limit: must be at most {MOST}")
    return int(text)


def _ids(query: Mapping[str, str]) -> set[int] | None:
    if "ids" not in query:
        return None
    parts = query["ids"].split(",")
    if len(parts) > IDS or not all(p.isdigit() for p in parts):
        raise PipedriveError(400, f"Validation failed: ids: at most {IDS} numbers")
    return {int(p) for p in parts}


def _time(query: Mapping[str, str], name: str) -> str:
    if name not in query:
        return ""
    try:
        at = datetime.fromisoformat(query[name])
    except ValueError:
        raise PipedriveError(400, f"Validation failed: {name}: must be in RFC3339 format") from None
    return at.strftime(STAMP)


def _closed(order: str, direction: str, value: Any, id_: int) -> str:
    mark = {"field": order, "fieldValue": value, "sortDirection": direction, "id": id_}
    return base64.urlsafe_b64encode(json.dumps(mark).encode()).decode().rstrip("=")


def _opened(cursor: str, order: str, direction: str) -> tuple[Any, int]:
    try:
        mark = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if (mark["field"], mark["sortDirection"]) == (order, direction):
            return mark["fieldValue"], mark["id"]
    except (ValueError, KeyError, TypeError, binascii.Error):
        pass
    raise PipedriveError(400, "Validation failed: cursor: invalid cursor")
