"""Pipedrive's organizations, deals, activities, notes and users as they are kept.  In: fields.  Out: rows as shown.

Sources: the vendor's OpenAPI documents of API v2 (``/organizations``, ``/deals``, ``/deals/archived``,
``/activities``, ``/stages``, ``/pipelines``, fields) and v1 (``/notes``, ``/deals/{id}/participants``, ``/users``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sandbox.pipedrive_events import happening
from sandbox.pipedrive_store import STAMP, USER, People, PipedriveError, field
from sandbox.webhooks import Happening

OLD: Final = "%Y-%m-%d %H:%M:%S"  # how API v1 writes a time, in UTC


def _blank(*empty: str, **said: Any) -> dict[str, Any]:
    return {**dict.fromkeys(empty), **said}


BLANK: Final[Mapping[str, Mapping[str, Any]]] = {
    "organizations": _blank(
        *("address", "website", "linkedin", "industry", "annual_revenue", "employee_count"),
        name="",
        owner_id=USER,
        visible_to=3,
        label_ids=[],
        is_deleted=False,
        custom_fields={},
    ),
    "deals": _blank(
        *("person_id", "org_id", "stage_change_time", "probability", "lost_reason", "close_time", "won_time"),
        *("lost_time", "local_close_date", "expected_close_date", "origin_id", "channel"),
        title="",
        owner_id=USER,
        pipeline_id=1,
        stage_id=1,
        value=0,
        currency="EUR",
        status="open",
        is_archived=False,
        is_deleted=False,
        visible_to=3,
        label_ids=[],
        origin="ManuallyCreated",
        custom_fields={},
    ),
    "activities": _blank(
        *("deal_id", "lead_id", "person_id", "org_id", "due_date", "due_time", "marked_as_done_time"),
        subject="",
        type="call",
        owner_id=USER,
        is_deleted=False,
        done=False,
        participants=[],
    ),
    "notes": _blank("person_id", "deal_id", "org_id", "lead_id", content="", user_id=USER, active_flag=True),
}
_ENTITIES: Final = {"organizations": "organization", "deals": "deal"}  # of which webhooks tell here
STAGES: Final = ((1, "Qualified", 1), (2, "Proposal Made", 1), (3, "won", 2))  # the last one is a trap
PIPELINES: Final = ((1, "Sales"), (2, "Partners"))
_DAY: Final = "2026-01-01T00:00:00Z"
_PARTS: Final = ("value", "route", "street_number", "locality", "postal_code", "admin_area_level_1", "country")
FIELDS: Final[Mapping[str, list[dict[str, Any]]]] = {
    "organizationFields": [
        field("Name", "name", "varchar"),
        {**field("Address", "address", "address"), "subfields": [field(p, p, "varchar") for p in _PARTS]},
        field("Website", "website", "varchar"),
        field("Industry", "industry", "enum", options=(11, 12)),
        field("Annual revenue", "annual_revenue", "int"),
        field("Number of employees", "employee_count", "int"),
        field("Owner", "owner_id", "user"),
        field("Tier", "f" * 40, "enum", custom=True, options=(51, 52)),
    ],
    "dealFields": [
        field("Title", "title", "varchar"),
        field("Value", "value", "monetary"),
        field("Currency", "currency", "varchar"),
        field("Deal created", "add_time", "date"),
        field("Stage", "stage_id", "stage"),
        field("Status", "status", "status"),
        field("Lost reason", "lost_reason", "varchar"),
        field("Source channel", "channel", "enum", options=(61, 62)),
        field("Owner", "owner_id", "user"),
    ],
}


class Objects:
    """All of one company but its persons."""

    def __init__(
        self, people: People, now: Callable[[], float], emit: Callable[[Iterable[Happening]], None] = lambda _: None
    ) -> None:
        self._people = people
        self._now = now
        self._emit = emit
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.rows: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in BLANK}
        self.participants: dict[int, list[int]] = {}  # deal -> persons, its own one included
        self.users: list[dict[str, Any]] = []
        self.mails: dict[int, dict[str, str]] = {}  # person -> when the last mail came and went
        self._next = 100

    def put(self, name: str, id_: int | None = None, /, *, source: str = "user", **fields: Any) -> int:
        """Create a record, or change one; its id."""
        if unknown := set(fields) - set(BLANK[name]) - {"add_time"}:
            raise PipedriveError(400, f"Validation failed: {min(unknown)}: unknown field")
        before = copy.deepcopy(self.rows[name].get(id_)) if id_ is not None else None
        stamp = self._stamp(STAMP if name != "notes" else OLD)
        if id_ is None:
            self._next += 1
            id_ = self._next
        row = self.rows[name].setdefault(id_, {"id": id_, "add_time": stamp, **copy.deepcopy(dict(BLANK[name]))})
        row |= {**fields, "update_time": stamp}
        if name == "organizations":
            self._people.orgs[id_] = row["name"]
        if name == "deals":
            self._closed(row)
            own = [] if row["person_id"] is None else [row["person_id"]]
            self.participants[id_] = list(dict.fromkeys([*own, *self.participants.get(id_, [])]))
        if name in _ENTITIES:
            action = "create" if before is None else "delete" if row["is_deleted"] else "change"
            shown = None if action == "delete" else row
            self._emit([happening(action, shown, before, source, entity=_ENTITIES[name])])
        return id_

    def take_part(self, deal: int, *persons: int) -> None:
        """These persons take part in the deal."""
        self.participants[deal] = list(dict.fromkeys([*self.participants[deal], *persons]))

    def user(self, name: str, email: str, *, active: bool = True) -> int:
        """A user; its id."""
        id_ = USER + len(self.users) + 1
        self.users.append({"id": id_, "name": name, "email": email, "active_flag": active, "is_deleted": False})
        return id_

    def mailed(self, person: int, *, out: bool) -> None:
        """A mail goes to a person, or comes from them."""
        name = "last_outgoing_mail_time" if out else "last_incoming_mail_time"
        self.mails.setdefault(person, {})[name] = self._stamp(STAMP)
        self._people.touch(person)

    def shown(self, name: str, row: Mapping[str, Any], optional: Iterable[str] = ()) -> dict[str, Any]:
        """A row of a list, with what is shown only to who asks for it."""
        more = {"participants_count": len(self.participants.get(row["id"], []))} if name == "deals" else {}
        return {**row, **{n: v for n, v in more.items() if n in set(optional)}}

    def deals(self, *, archived: bool, statuses: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Deals that are in the archive, or not; deleted ones only where they are asked for."""
        wanted = set(statuses)

        def fits(row: Mapping[str, Any]) -> bool:
            status = "deleted" if row["is_deleted"] else row["status"]
            return row["is_archived"] is archived and (status in wanted if wanted else status != "deleted")

        return [row for row in self.rows["deals"].values() if fits(row)]

    def note(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A new note on a person, a deal or an organization."""
        known = {"content", "person_id", "deal_id", "org_id", "add_time", "user_id"}
        if unknown := set(given) - known:
            raise PipedriveError(400, f"Validation failed: {min(unknown)}: unknown field")
        if not given.get("content") or not any(given.get(n) for n in ("person_id", "deal_id", "org_id")):
            raise PipedriveError(400, "Validation failed: content: a note is on something")
        if given.get("person_id") is not None:
            self._people.find(given["person_id"])
        return self.rows["notes"][self.put("notes", source="api", **given)]

    def taking_part(self, deal: object) -> list[dict[str, Any]]:
        """The people of a deal, as API v1 shows them."""
        id_ = int(deal) if isinstance(deal, (int, str)) and str(deal).isdigit() else 0
        if id_ not in self.rows["deals"]:
            raise PipedriveError(404, "Deal not found")
        return [
            {"id": n, "person_id": {"value": p, "name": "Somebody"}} for n, p in enumerate(self.participants[id_], 1)
        ]

    def _closed(self, row: dict[str, Any]) -> None:
        """What an end brings with it."""
        stamp = self._stamp(STAMP)
        if row["status"] in {"won", "lost"} and row["close_time"] is None:
            row |= {"close_time": stamp, "local_close_date": stamp[:10], f"{row['status']}_time": stamp}
        if row["status"] == "open":
            row |= dict.fromkeys(("close_time", "local_close_date", "won_time", "lost_time", "lost_reason"))

    def _stamp(self, form: str) -> str:
        return datetime.fromtimestamp(int(self._now()), UTC).strftime(form)


def stages() -> list[dict[str, Any]]:
    """The stages of both pipelines."""
    blank = {"order_nr": 1, "is_deleted": False, "add_time": _DAY, "update_time": _DAY}
    return [{**blank, "id": i, "name": name, "pipeline_id": of} for i, name, of in STAGES]


def pipelines() -> list[dict[str, Any]]:
    """The pipelines."""
    blank = {"order_nr": 1, "is_deleted": False, "add_time": _DAY, "update_time": _DAY}
    return [{**blank, "id": i, "name": name} for i, name in PIPELINES]
