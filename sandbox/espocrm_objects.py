"""EspoCRM's accounts, opportunities, users, activities and streams on the wire.

Sources: github.com/espocrm/documentation, ``docs/development/api/crud.md`` (related records), ``stream.md``; entity
definitions of github.com/espocrm/espocrm.  Lists hold no links to many: those are asked for record by record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sandbox.espocrm_store import EspoError

NAMES: Final = ("Account", "Opportunity", "User", "Call", "Meeting", "Task")
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Account": ("name", "website", "type", "industry", "billingAddressCity", "billingAddressCountry", "assignedUserId"),
    "Opportunity": (
        "name",
        "amount",
        "amountCurrency",
        "stage",
        "closeDate",
        "accountId",
        "leadSource",
        "assignedUserId",
    ),
    "User": ("name", "userName", "emailAddress", "isActive", "type", "defaultTeamName"),
    "Call": ("name", "status", "direction", "dateStart", "dateEnd", "parentType", "parentId", "assignedUserId"),
    "Meeting": ("name", "status", "dateStart", "dateEnd", "parentType", "parentId", "assignedUserId"),
    "Task": (*("name", "status", "dateEnd", "dateCompleted", "parentType", "parentId", "contactId", "assignedUserId"),),
}


class Objects:
    """All of one installation but its people."""

    def __init__(self, now: Callable[[], str], people: Callable[[str], dict[str, Any] | None]) -> None:
        """``now``: as EspoCRM writes a time.  ``people``: a contact or lead as shown, None where it is not there."""
        self._now = now
        self._people = people
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in NAMES}
        self.links: dict[tuple[str, str], list[str]] = {}  # (entity, id) -> the people it is linked with
        self.stream: dict[str, list[dict[str, Any]]] = {}
        self._next = 0

    def put(self, entity: str, id_: str | None = None, people: Iterable[str] = (), **fields: Any) -> str:
        """Create a record, or change one; its id.  ``people``: whom it is linked with from then on."""
        if unknown := set(fields) - set(FIELDS[entity]):
            raise EspoError(400, f"unknown: {', '.join(sorted(unknown))}")
        if id_ is None:
            self._next += 1
            id_ = hashlib.sha1(f"{entity}:{self._next}".encode()).hexdigest()[:17]
        stamp = self._now()
        blank = {**dict.fromkeys(FIELDS[entity]), "createdAt": stamp, "deleted": False}
        row = self.rows[entity].setdefault(id_, {**blank, "id": id_})
        row |= {**fields, "modifiedAt": stamp}
        self.links.setdefault((entity, id_), [])
        self.links[entity, id_] += [p for p in people if p not in self.links[entity, id_]]
        return id_

    def all(self, entity: str) -> list[dict[str, Any]]:
        """All rows of a list."""
        return [{k: v for k, v in row.items() if k != "deleted"} for row in self.rows[entity].values()]

    def related(self, entity: str, id_: str, link: str) -> list[dict[str, Any]]:
        """The people that a record is linked with.  Raises 404 where it is not there."""
        if id_ not in self.rows.get(entity, {}) or link not in {"contacts", "leads"}:
            raise EspoError(404)
        found = [self._people(p) for p in self.links[entity, id_]]
        return [p for p in found if p is not None]

    def posts(self, id_: str) -> list[dict[str, Any]]:
        """The stream of a contact or lead, the newest first.  Raises 404."""
        if self._people(id_) is None:
            raise EspoError(404)
        return self.stream.get(id_, [])[::-1]

    def post(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A post to a stream.  Raises 400."""
        if given.get("type") != "Post" or not given.get("post") or not given.get("parentType"):
            raise EspoError(400, "Field validation failure; entityType: Note, field: post, type: required.")
        self._next += 1
        id_ = hashlib.sha1(f"Note:{self._next}".encode()).hexdigest()[:17]
        row = {**given, "id": id_, "createdAt": self._now()}
        self.stream.setdefault(str(given["parentId"]), []).append(row)
        return row
