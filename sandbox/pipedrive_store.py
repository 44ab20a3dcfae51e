"""Pipedrive's persons as they are kept: rules of writing, soft deletion, merges, marketing status.

In: bodies as sent.  Out: rows as shown, and what happened.  Sources: the vendor's OpenAPI documents of API v2 and v1
(``/persons``, merge, ``marketing_status``); its guide for webhooks v2 (what a merge tells).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox.pipedrive_events import happening
from sandbox.webhooks import Happening

STAMP = "%Y-%m-%dT%H:%M:%SZ"
USER = 12415231  # of the API token
SYNCED = ("postal_address", "notes", "im", "birthday", "job_title")  # only where contact sync is set up
STATUSES = ("no_consent", "unsubscribed", "subscribed", "archived")

LEVEL, TOPICS, NICK, SCORE, OPT_OUT = (c * 40 for c in "abcde")  # keys of custom fields
_KEPT = {"no_consent": STATUSES, "subscribed": ("unsubscribed", "archived"), "archived": ("subscribed", "unsubscribed")}
_LISTS = {"emails": "email", "phones": "phone", "im": "im"}
_WHOLE = ("owner_id", "org_id", "visible_to")


def field(name: str, code: str, type_: str, *, custom: bool = False, options: Iterable[int] = ()) -> dict[str, Any]:
    """The description of a field."""
    return {
        "field_name": name,
        "field_code": code,
        "field_type": type_,
        "options": [{"id": n, "label": f"Option {n}"} for n in options] if options else None,
        "subfields": None,
        "is_custom_field": custom,
        "is_optional_response_field": code in {"marketing_status", "doi_status"},
    }


FIELDS = (
    field("Name", "name", "varchar"),
    field("First name", "first_name", "varchar"),
    field("Last name", "last_name", "varchar"),
    field("Email", "email", "varchar"),
    field("Phone", "phone", "phone"),
    field("Owner", "owner_id", "user"),
    field("Organization", "org_id", "org"),
    field("Visible to", "visible_to", "visible_to", options=(1, 3, 5, 7)),
    field("Person created", "add_time", "date"),
    field("Update time", "update_time", "date"),
    field("Level", LEVEL, "enum", custom=True, options=(21, 22, 23)),
    field("Topics", TOPICS, "set", custom=True, options=(31, 32)),
    field("Nickname", NICK, "varchar", custom=True),
    field("Score", SCORE, "double", custom=True),
    field("Mailing", OPT_OUT, "enum", custom=True, options=(41, 42)),
)
CAMPAIGNS = (
    field("Marketing status", "marketing_status", "status"),
    field("Double opt-in status", "doi_status", "status"),
)
_CUSTOM = {f["field_code"]: f for f in FIELDS if f["is_custom_field"]}


class PipedriveError(Exception):
    """A refusal: status, words, code."""

    def __init__(self, status: int, error: str, code: str | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.code = code


class People:
    """All persons of one company."""

    def __init__(
        self,
        now: Callable[[], float],
        emit: Callable[[Iterable[Happening]], None],
        *,
        campaigns: bool = True,
        contact_sync: bool = False,
    ) -> None:
        """``now``: seconds since 1970.  ``campaigns``, ``contact_sync``: whether the company uses these."""
        self._now = now
        self._emit = emit
        self.campaigns = campaigns
        self.contact_sync = contact_sync
        self.orgs: dict[int, str] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all persons."""
        self.rows: dict[int, dict[str, Any]] = {}
        self.touched: dict[int, float] = {}  # when the search index heard of it
        self._next = 1

    @property
    def fields(self) -> list[dict[str, Any]]:
        """The descriptions of all fields."""
        synced = [field(n.replace("_", " ").title(), n, "text") for n in SYNCED] if self.contact_sync else []
        return [*FIELDS, *(CAMPAIGNS if self.campaigns else ()), *synced]

    def there(self) -> Iterator[dict[str, Any]]:
        """All that are not deleted."""
        return (row for row in self.rows.values() if not row["is_deleted"])

    def find(self, id_: object) -> dict[str, Any]:
        """A person that is there.  Raises 404."""
        row = self.rows.get(int(id_)) if isinstance(id_, (int, str)) and str(id_).isdigit() else None
        if row is None or row["is_deleted"]:
            raise PipedriveError(404, "Person not found")
        return row

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, given: Mapping[str, Any], source: str, *, at: float | None = None) -> dict[str, Any]:
        """A new person.  ``at``: seconds, for filling the sandbox with a past; then nothing is told."""
        if not isinstance(given.get("name"), str) or not given["name"].strip():
            raise _invalid("name", "name is a required field")
        self._check(given)
        stamp = self._stamp(at)
        row: dict[str, Any] = {
            "id": self._next,
            "owner_id": USER,
            "org_id": None,
            "emails": [],
            "phones": [],
            "visible_to": 3,
            "label_ids": [],
            "is_deleted": False,
            "marketing_status": "no_consent",
            "doi_status": None,
            "custom_fields": dict.fromkeys(_CUSTOM),
            "add_time": stamp,
            "update_time": stamp,
        }
        self._next += 1
        self.rows[row["id"]] = row
        self._set(row, given, at)
        if at is None:
            self._emit([happening("create", row, None, source)])
        return row

    def update(self, id_: object, given: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Change a person."""
        row = self.find(id_)
        if "name" in given and (not isinstance(given["name"], str) or not given["name"].strip()):
            raise _invalid("name", "name is not allowed to be empty")
        self._check(given)
        before = copy.deepcopy(row)
        self._set(row, given, None)
        self._emit([happening("change", row, before, source)])
        return row

    def remove(self, id_: object, source: str, *, into: int | None = None) -> dict[str, Any]:
        """Mark as deleted.  ``into``: the person that it was merged into."""
        row = self.find(id_)
        before = copy.deepcopy(row)
        row |= {"is_deleted": True, "update_time": self._stamp(None)}
        self._emit([happening("delete", None, before, source, into=into)])
        return row

    def merge(self, loser: object, winner: object, source: str) -> dict[str, Any]:
        """One into the other, whose data wins where both have some; addresses and numbers are put together."""
        lost, kept = self.find(loser), self.find(winner)
        if lost is kept:
            raise PipedriveError(400, "Cannot merge a person with itself")
        before = copy.deepcopy(kept)
        for name in ("emails", "phones"):
            own = {str(e["value"]).lower() for e in kept[name]}
            more = [{**e, "primary": not kept[name]} for e in lost[name] if str(e["value"]).lower() not in own]
            kept[name] = [*kept[name], *more]
        for key, value in lost["custom_fields"].items():
            if kept["custom_fields"].get(key) is None:
                kept["custom_fields"][key] = value
        self.remove(lost["id"], source, into=kept["id"])
        self._moved(kept, None)
        self._emit([happening("change", kept, before, source, taken=lost["id"])])
        return {**kept, "merge_what_id": lost["id"]}

    def touch(self, id_: int) -> None:
        """What moves a person's time though no field of theirs changed."""
        self._moved(self.find(id_), None)

    # --- rules --------------------------------------------------------------------------------------------------------

    def _check(self, given: Mapping[str, Any]) -> None:
        known = {"name", *_WHOLE, "label_ids", "add_time", "emails", "phones", "marketing_status", "custom_fields"}
        for name, value in given.items():
            if name in SYNCED and not self.contact_sync:
                raise PipedriveError(403, f"Field {name} is not available: contact sync is not enabled")
            if name not in known and name not in SYNCED:
                raise _invalid(name, "unknown field")
            if name in _WHOLE and not (value is None or (isinstance(value, int) and not isinstance(value, bool))):
                raise _invalid(name, "Expected number")
            if name in _LISTS and not _entries(value):
                raise _invalid(name, "Expected array of objects with a value")
            if name == "label_ids" and not (isinstance(value, list) and all(isinstance(n, int) for n in value)):
                raise _invalid(name, "Expected array of numbers")
            if name == "marketing_status" and value not in STATUSES:
                raise _invalid(name, "Invalid enum value")
        if given.get("org_id") is not None and given["org_id"] not in self.orgs:
            raise _invalid("org_id", "organization not found")
        custom = given.get("custom_fields", {})
        if not isinstance(custom, dict):
            raise _invalid("custom_fields", "Expected object")
        for key, value in custom.items():
            if key not in _CUSTOM or not _fits(_CUSTOM[key], value):
                raise _invalid(f"custom_fields.{key}", "Invalid value")

    def _set(self, row: dict[str, Any], given: Mapping[str, Any], at: float | None) -> None:
        plain = {n: v for n, v in given.items() if n not in {"custom_fields", "marketing_status", "emails", "phones"}}
        row |= plain
        for name in ("emails", "phones"):
            if name in given:
                first = next((n for n, e in enumerate(given[name]) if e.get("primary") is True), 0)
                entries = [{"label": "work", **e, "primary": n == first} for n, e in enumerate(given[name])]
                row[name] = entries
        row["custom_fields"] |= given.get("custom_fields", {})
        # A change that is not allowed is no error: the status stays.
        status = given.get("marketing_status")
        if self.campaigns and row["emails"] and status in _KEPT.get(row["marketing_status"], ()):
            row["marketing_status"] = status
        first_name, _, family = str(row["name"]).partition(" ")
        row |= {"first_name": first_name, "last_name": family if family else None}
        self._moved(row, at)

    def _moved(self, row: dict[str, Any], at: float | None) -> None:
        row["update_time"] = self._stamp(at)
        self.touched[row["id"]] = self._now() if at is None else at

    def _stamp(self, at: float | None) -> str:
        return datetime.fromtimestamp(int(self._now() if at is None else at), UTC).strftime(STAMP)


def _invalid(name: str, why: str) -> PipedriveError:
    return PipedriveError(400, f"Validation failed: {name}: {why}", "ERR_SCHEMA_VALIDATION_FAILED")


def _entries(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(e, dict) and isinstance(e.get("value"), str) for e in value)


def _fits(field: Mapping[str, Any], value: Any) -> bool:
    if value is None:
        return True
    ids = {o["id"] for o in field["options"]} if field["options"] else set()
    match field["field_type"]:
        case "enum":
            return isinstance(value, int) and value in ids
        case "set":  # an empty list is refused, null clears
            return isinstance(value, list) and bool(value) and all(isinstance(v, int) and v in ids for v in value)
        case "double":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str)
