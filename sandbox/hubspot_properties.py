"""HubSpot's property definitions and owners.  In: requests.  Out: answers.

Sources: developers.hubspot.com, "Properties" and "Owners" (mirror of April 2026); shapes as in hubspot-api-client
12.0.0 (``crm.properties.models``, ``crm.owners.models``).
"""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sandbox.front import Json
from sandbox.hubspot_http import Routes, body, flag
from sandbox.hubspot_rules import HubSpotError, Property, bad, not_found
from sandbox.hubspot_store import Portal

_TYPES = ("string", "number", "date", "datetime", "enumeration", "bool")
_REQUIRED = ("name", "label", "type", "fieldType", "groupName")
_PROPERTIES = "/crm/v3/properties/contacts"
_OWNERS = "/crm/v3/owners"


class Properties:
    """The property endpoints of one account."""

    def __init__(self, portal: Portal) -> None:
        """``portal``: whose schema it is."""
        self._schema = portal.schema

    def routes(self) -> Routes:
        """(method, path, endpoint)."""
        return [
            ("GET", _PROPERTIES, self._list),
            ("POST", _PROPERTIES, self._create),
            ("GET", f"{_PROPERTIES}/{{name}}", self._get),
            ("DELETE", f"{_PROPERTIES}/{{name}}", self._archive),
        ]

    async def _list(self, _request: Request) -> Response:
        return Json({"results": [p.public() for p in self._schema.values()]})

    async def _get(self, request: Request) -> Response:
        return Json(self._named(request).public())

    async def _create(self, request: Request) -> Response:
        given = await body(request)
        if missing := [k for k in _REQUIRED if not isinstance(given.get(k), str)]:
            raise bad(f"Some required fields were not set: [{', '.join(missing)}]")
        name = given["name"]
        if re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name) is None:
            raise bad("A property name may only contain lowercase letters, numbers and underscores")
        if given["type"] not in _TYPES:
            raise bad(f"type must be one of {list(_TYPES)}")
        if name in self._schema:
            raise HubSpotError(409, "OBJECT_ALREADY_EXISTS", f"A property named '{name}' already exists.")
        options = tuple(str(o["value"]) for o in given.get("options") or [] if isinstance(o, dict) and "value" in o)
        if given["type"] == "enumeration" and not options and not given.get("externalOptions"):
            raise bad("An enumeration needs options")
        made = self._schema[name] = Property(
            name,
            given["label"],
            given["type"],
            given["fieldType"],
            given["groupName"],
            options=options,
            unique=given.get("hasUniqueValue") is True,
            custom=True,
        )
        return Json(made.public(), status_code=201)

    async def _archive(self, request: Request) -> Response:
        known = self._named(request)
        if not known.custom:
            raise bad("HubSpot's own properties cannot be archived")
        del self._schema[known.name]
        return Response(status_code=204)

    def _named(self, request: Request) -> Property:
        known = self._schema.get(request.path_params["name"])
        if known is None:
            raise not_found()
        return known


class Owners:
    """The three people who own contacts."""

    def __init__(self) -> None:
        """Always the same."""
        people = (("Ines", "Ferreira"), ("Tom", "Okafor"), ("Mia", "Lindqvist"))
        self._owners: list[dict[str, Any]] = [
            {
                "id": str(7001 + i),
                "userId": 9001 + i,
                "userIdIncludingInactive": 9001 + i,
                "type": "PERSON",
                "email": f"{first}.{last}@sales.example.com".lower(),
                "firstName": first,
                "lastName": last,
                "teams": [],
                "createdAt": "2024-01-15T09:00:00.000Z",
                "updatedAt": "2024-01-15T09:00:00.000Z",
                "archived": False,
            }
            for i, (first, last) in enumerate(people)
        ]

    def routes(self) -> Routes:
        """(method, path, endpoint)."""
        return [("GET", _OWNERS, self._list), ("GET", f"{_OWNERS}/{{id}}", self._get)]

    async def _list(self, request: Request) -> Response:
        email = request.query_params.get("email")
        found = [o for o in self._owners if email is None or o["email"] == email.lower()]
        return Json({"results": [] if flag(request, "archived") else found})

    async def _get(self, request: Request) -> Response:
        for owner in self._owners:
            if owner["id"] == request.path_params["id"]:
                return Json(owner)
        raise not_found()
