"""What stands around Mautic's contacts on the wire: companies, users, notes, mails, forms, and who did what.

Sources: github.com/mautic/developer-documentation-new, ``docs/rest_api/companies.rst``, ``users.rst``, ``notes.rst``,
``emails.rst``, ``stats.rst`` (tables and their columns); github.com/mautic/mautic, ``LeadBundle/Controller/Api``.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from sandbox import mautic_query as query
from sandbox.front import Json
from sandbox.mautic_rules import MauticError

COMPANY_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "companyname": ("core", "text"),
    "companyemail": ("core", "email"),
    "companyphone": ("core", "tel"),
    "companywebsite": ("core", "url"),
    "companycity": ("core", "text"),
    "companystate": ("core", "region"),
    "companyzipcode": ("core", "text"),
    "companycountry": ("core", "country"),
    "companynumber_of_employees": ("professional", "number"),
    "companyannual_revenue": ("professional", "number"),
    "companyindustry": ("professional", "select"),
}
TABLES: Final = {
    "email_stats": ("email_id", "lead_id", "email_address", "date_sent", "is_read", "is_failed", "date_read", "source"),
    "page_hits": ("lead_id", "email_id", "redirect_id", "page_id", "date_hit", "url", "url_title", "source"),
    "form_submissions": ("lead_id", "form_id", "date_submitted", "referer"),
    "email_stat_replies": ("stat_id", "date_replied", "message_id"),
    "sms_message_stats": ("lead_id", "sms_id", "date_sent"),
    "campaign_lead_event_log": ("event_id", "campaign_id", "lead_id"),
    "lead_companies_change_log": ("lead_id", "company_id", "action_name", "date_added"),
}
_USERS: Final = (
    {"id": 1, "username": "admin", "firstName": "Ad", "lastName": "Min", "email": "admin@mautic.sandbox.example"},
    {"id": 2, "username": "tandem", "firstName": "Api", "lastName": "User", "email": "api@mautic.sandbox.example"},
)
_TYPES: Final = frozenset({"general", "email", "call", "meeting"})

Endpoint = Callable[[Request], Awaitable[Response]]


class Around:
    """All of one installation but its contacts."""

    def __init__(self, stamp: Callable[[], str], contact: Callable[[int], int | None]) -> None:
        """``stamp``: the database's time.  ``contact``: the id that a contact lives on under; None: gone."""
        self._stamp = stamp
        self._contact = contact
        self.clear()

    def clear(self) -> None:
        """Forget everything but the users that there are from the start."""
        self.companies: dict[int, dict[str, Any]] = {}
        self.members: dict[tuple[int, int], bool] = {}  # (company, contact) → whether it is the contact's main one
        self.users: list[dict[str, Any]] = [{"isPublished": True, **user} for user in copy.deepcopy(_USERS)]
        self.notes: list[dict[str, Any]] = []
        self.named: dict[str, dict[int, dict[str, Any]]] = {"emails": {}, "forms": {}, "campaigns": {}}
        self.did: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}

    # --- what people do -----------------------------------------------------------------------------------------------

    def company(self, id_: int | None = None, **fields: Any) -> int:
        """Create a company, or change one; its id."""
        number = max(self.companies, default=0) + 1 if id_ is None else id_
        row = self.companies.setdefault(number, {"id": number, "date_added": self._stamp(), "date_modified": None})
        if id_ is not None:
            row["date_modified"] = self._stamp()
        row |= fields
        return number

    def joins(self, company: int, contact: int, *, main: bool = False) -> None:
        """A contact belongs to a company from now on; the company does not count as changed."""
        if main:
            self.members |= {key: False for key in self.members if key[1] == contact}
        self.members[company, contact] = main
        self.happens("lead_companies_change_log", lead_id=contact, company_id=company, date_added=self._stamp())

    def leaves(self, company: int, contact: int) -> None:
        """A contact belongs to a company no more."""
        del self.members[company, contact]
        self.happens("lead_companies_change_log", lead_id=contact, company_id=company, date_added=self._stamp())

    def happens(self, table: str, **columns: Any) -> int:
        """A row of a table; its number.  Raises 400 for a column that the table does not have."""
        if unknown := set(columns) - {*TABLES[table], "source_id"}:
            raise MauticError(400, f"unknown: {', '.join(sorted(unknown))}")
        number = len(self.did[table]) + 1
        self.did[table].append({**dict.fromkeys(TABLES[table]), **columns, "id": number})
        return number

    def name(self, kind: str, id_: int, name: str, **more: Any) -> None:
        """A mail, a form or a campaign."""
        self.named[kind][id_] = {"id": id_, "name": name, "isPublished": True, **more}

    # --- tables -------------------------------------------------------------------------------------------------------

    def tables(self) -> dict[str, Callable[[], Iterable[dict[str, Any]]]]:
        """The tables of statistics, beside those of contacts."""
        return {**{name: partial(self._rows, name) for name in TABLES}, "companies_leads": self._members}

    def _rows(self, table: str) -> list[dict[str, Any]]:
        return self.did[table]

    def _members(self) -> list[dict[str, Any]]:
        flags = {"manually_added": 1, "manually_removed": 0}
        return [{"company_id": c, "lead_id": p, "is_primary": int(m), **flags} for (c, p), m in self.members.items()]

    # --- the wire -----------------------------------------------------------------------------------------------------

    def routes(self) -> list[tuple[str, str, Endpoint]]:
        """(method, path, endpoint)."""
        return [
            ("GET", "/companies", self._companies),
            ("GET", "/fields/company", self._fields),
            ("GET", "/users", self._list("users", lambda: self.users)),
            *(("GET", f"/{kind}", self._list(kind, partial(self._names, kind))) for kind in self.named),
            ("GET", "/contacts/{id:int}/notes", self._noted),
            ("POST", "/notes/new", self._note),
        ]

    def _names(self, kind: str) -> Iterable[dict[str, Any]]:
        return self.named[kind].values()

    def _list(self, name: str, rows: Callable[[], Iterable[dict[str, Any]]]) -> Endpoint:
        async def answer(request: Request) -> Response:
            return Json(_paged(request, name, rows()))

        return answer

    async def _companies(self, request: Request) -> Response:
        answer = _paged(request, "companies", self.companies.values())
        shown = {key: self._shown(row) for key, row in answer["companies"].items()} if answer["companies"] else []
        return Json({**answer, "companies": shown})

    def _shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        groups: dict[str, Any] = {"core": {}, "professional": {}, "other": []}
        for place, (alias, (group, type_)) in enumerate(COMPANY_FIELDS.items()):
            about = {"id": str(place + 100), "label": alias, "alias": alias, "type": type_, "group": group}
            groups[group][alias] = {**about, "object": "company", "value": row.get(alias)}
        every = {"id": row["id"], **{alias: row.get(alias) for alias in COMPANY_FIELDS}}
        owner = next((user for user in self.users if user["id"] == row.get("owner_id")), None)
        return {"id": row["id"], "score": 0, "owner": owner, "fields": {**groups, "all": every}}

    async def _fields(self, request: Request) -> Response:
        found = [
            {"id": place + 100, "alias": alias, "label": alias, "type": type_, "group": group, "isPublished": True}
            for place, (alias, (group, type_)) in enumerate(COMPANY_FIELDS.items())
        ]
        return Json(_paged(request, "fields", found))

    async def _noted(self, request: Request) -> Response:
        whose = self._contact(request.path_params["id"])
        if whose is None:
            raise MauticError(404, "Item was not found.")
        asked = query.nested(request.query_params.multi_items())
        found = [note for note in reversed(self.notes) if self._contact(note["lead"]["id"]) == whose]
        return Json({"total": len(found), "notes": list(query.paged(found, asked, 30))})

    async def _note(self, request: Request) -> Response:
        given = await request.json()
        whose = self._contact(int(given.get("lead", 0)))
        if whose is None:
            raise MauticError(404, "Item was not found.")
        if not given.get("text") or given.get("type", "general") not in _TYPES:
            raise MauticError(400, "text: A note is required.", {"text": ["A note is required."]})
        note = {"id": len(self.notes) + 1, "text": given["text"], "type": given.get("type", "general")}
        self.notes.append({**note, "dateTime": given.get("dateTime"), "lead": {"id": whose}})
        return Json({"note": self.notes[-1]}, status_code=201)


def _paged(request: Request, name: str, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    asked = query.nested(request.query_params.multi_items())
    found = query.listed(rows, asked.get("where"))
    found = query.ordered(found, str(asked.get("orderBy", "id")), str(asked.get("orderByDir", "asc")))
    page = query.paged(found, asked, 30)
    return {"total": len(found), name: {str(row["id"]): row for row in page} if page else []}
