"""ActiveCampaign's accounts, deals, tasks, users, notes, campaigns and forms.  In: requests.  Out: status, JSON.

Sources: developers.activecampaign.com/reference (accounts, accountContacts, deals, contactDeals, dealStages, dealTasks,
users, notes, campaigns, forms), examples in the OpenAPI form of github.com/api-evangelist/activecampaign.  What is not
documented is here as is worst: filters by time count whole days, links come in no order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from sandbox.activecampaign_store import ZONE, CampaignError, People, local

PAGE, MOST = 20, 100
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "accounts": ("name", "accountUrl", "owner"),
    "accountContacts": ("account", "contact", "jobTitle"),
    "deals": (
        *("title", "description", "contact", "account", "group", "stage", "owner", "value", "currency", "status"),
    ),
    "contactDeals": ("deal", "contact"),
    "dealStages": ("title", "group"),
    "dealTasks": (*("title", "reltype", "relid", "dealTasktype", "status", "duedate", "assignee", "user"),),
    "dealTasktypes": ("title",),
    "users": ("username", "firstName", "lastName", "email"),
    "notes": ("note", "reltype", "relid"),
    "campaigns": ("name", "split_type"),
    "forms": ("name",),
}
_TIMES: Final = {
    "accounts": ("createdTimestamp", "updatedTimestamp"),
    "deals": ("cdate", "mdate"),
    "dealTasks": ("cdate", "udate"),
    "notes": ("cdate", "mdate"),
}
_FILTERS: Final = {"filters[account]": "account", "filters[deal]": "deal", "filters[contact]": "contact"}


class Query(Protocol):
    """The query of a request; names may come several times."""

    @property
    def get(self) -> Callable[..., Any]:
        """The value of a name, or what is given for none."""

    def multi_items(self) -> list[tuple[str, str]]:
        """All of it."""


class Crm:
    """All of one account but its contacts and webhooks."""

    def __init__(self, now: Callable[[], float], people: People) -> None:
        """``now``: seconds since 1970."""
        self._now = now
        self._people = people
        self.clear()

    def clear(self) -> None:
        """Forget everything but the users, stages and task types that there are from the start."""
        self.rows: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in KINDS}
        self.put("users", username="sandbox", firstName="Sand", lastName="Box", email="sandbox@example.com")
        for title in ("To Contact", "In Contact"):
            self.put("dealStages", title=title, group="1")
        for title in ("Call", "Email", "To-do"):
            self.put("dealTasktypes", title=title)

    def put(self, kind: str, id_: str | None = None, **fields: Any) -> str:
        """Create an object, or change one; its id.  Raises 400 for a field that it does not have."""
        if unknown := set(fields) - set(KINDS[kind]):
            raise CampaignError(400, f"unknown: {', '.join(sorted(unknown))}")
        rows = self.rows[kind]
        number = str(max(map(int, rows), default=0) + 1) if id_ is None else id_
        created, changed = _TIMES.get(kind, ("", ""))
        stamp = local(self._now())
        row = rows.setdefault(
            number, {**dict.fromkeys(KINDS[kind]), "id": number, **({created: stamp} if created else {})}
        )
        row |= {**fields, **({changed: stamp} if changed else {})}
        return number

    # --- the wire -----------------------------------------------------------------------------------------------------

    def answer(
        self, method: str, path: list[str], body: Mapping[str, Any], query: Query
    ) -> tuple[int, dict[str, Any]] | None:
        """Status and body; None for what is not here.  Raises CampaignError."""
        match [method, *path]:
            case ["GET", kind] if kind in KINDS:
                return 200, cut(kind, list(self._listed(kind, query)), query)
            case ["GET", kind, id_] if kind in KINDS:
                if id_ not in self.rows[kind]:
                    raise CampaignError(404, f"No Result found for {kind} with id {id_}")
                return 200, {kind.removesuffix("s"): self.rows[kind][id_]}
            case ["GET", "contacts", id_, "notes"]:
                self._people.find(id_)
                own = [n for n in self.rows["notes"].values() if (n["reltype"], str(n["relid"])) == ("Subscriber", id_)]
                return 200, cut("notes", own, query)
            case ["POST", "notes"]:
                given = body.get("note")
                if not isinstance(given, Mapping) or not given.get("note") or given.get("reltype") != "Subscriber":
                    raise CampaignError(422, "The note was not provided.", "field_missing", "note")
                number = self.put("notes", note=given["note"], reltype="Subscriber", relid=str(given.get("relid")))
                return 201, {"note": self.rows["notes"][number]}
        return None

    def _listed(self, kind: str, query: Query) -> Iterable[dict[str, Any]]:
        rows = list(self.rows[kind].values())
        if kind in {"accountContacts", "contactDeals"}:
            rows.reverse()
        for name, column in _FILTERS.items():
            if (wanted := query.get(name)) is not None:
                rows = [row for row in rows if str(row.get(column)) == wanted]
        if (after := query.get("filters[updated_after]")) is not None and kind == "deals":
            rows = [row for row in rows if _day(row["mdate"]) >= _day(after)]
        if (after := query.get("filters[due_after]")) is not None and kind == "dealTasks":
            rows = [row for row in rows if row["duedate"] and _day(row["duedate"]) >= _day(after)]
        return rows


def _day(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(ZONE).date().isoformat()


def cut(name: str, rows: list[dict[str, Any]], query: Query) -> dict[str, Any]:
    """One page of a list by offset; the total is a text."""
    start, size = int(query.get("offset", "0")), min(int(query.get("limit", str(PAGE))), MOST)
    return {name: rows[start : start + size], "meta": {"total": str(len(rows))}}
