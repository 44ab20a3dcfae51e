"""ActiveCampaign's endpoints without sockets.  In: method, path, query, headers, body.  Out: status, JSON.

Source: developers.activecampaign.com/reference, in the OpenAPI form of github.com/api-evangelist/activecampaign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson

from sandbox.activecampaign_crm import MOST, PAGE, Crm, Query, cut
from sandbox.activecampaign_events import EVENTS, SOURCES
from sandbox.activecampaign_store import ZONE, CampaignError, Contact, People
from sandbox.webhooks import Happening, Target

KEY = "activecampaign-sandbox-key"


class Account:
    """One account."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        emit: Callable[[Iterable[Happening]], None],
        targets: dict[str, Target],
        key: str = KEY,
    ) -> None:
        """Without people.  ``targets``: where webhooks go; those that are made are put there."""
        self.key = key
        self.people = People(now, emit)
        self.crm = Crm(now, self.people)
        self._targets = targets
        self.webhooks: dict[str, dict[str, Any]] = {}
        self._next = 1

    def answer(
        self, method: str, path: str, query: Query, headers: Mapping[str, str], content: bytes
    ) -> tuple[int, dict[str, Any]]:
        """Status and body.  Raises CampaignError."""
        if headers.get("api-token") != self.key:
            raise CampaignError(403, "You do not have permission to do that. Contact your administrator.")
        name, *rest = path.strip("/").split("/")
        id_ = rest[0] if rest else None
        body = _object(content) if method in {"POST", "PUT"} else {}
        match method, name, id_:
            case "GET", "users", "me":
                return 200, {"user": {"username": "sandbox", "email": "sandbox@example.com", "id": "1"}}
            case "GET", "contacts", None:
                return 200, self._listed(query)
            case "POST", "contacts", None:
                return 201, self._one(self.people.create(_part(body, "contact")))
            case "POST", "contact", "sync":
                return self._synced(_part(body, "contact"))
            case "GET" | "PUT" | "DELETE", "contacts", str() if len(rest) == 1:
                return 200, self._contact(method, self.people.find(id_), body, query)
            case "POST", "contactLists", None:
                said = _part(body, "contactList")
                found = self.people.find(str(said.get("contact", "")))
                state = self.people.put_on(found, str(said.get("list", "")), str(said.get("status", "")))
                return 201, {"contacts": [self.people.show(found)], "contactList": state}
            case "GET", "lists", None:
                rows = [{"id": i, "name": n, "channel": c} for i, (n, c) in self.people.lists.items()]
                return 200, cut("lists", rows, query)
            case "GET", "fields", None:
                return 200, self._fields(query)
            case "GET", "webhook", "events":
                return 200, {"webhookEvents": list(EVENTS)}
            case _, "webhooks", _:
                return self._webhooks(method, id_, body, query)
        if (told := self.crm.answer(method, [name, *rest], body, query)) is not None:
            return told
        raise CampaignError(404, f"No route for {name}")

    # --- contacts -----------------------------------------------------------------------------------------------------

    def _one(self, found: Contact) -> dict[str, Any]:
        values = self.people.beside([found], ["fieldValues"])
        return {**values, "contact": self.people.show(found)}

    def _contact(self, method: str, found: Contact, body: Mapping[str, Any], query: Query) -> dict[str, Any]:
        if method == "PUT":
            self.people.update(found, _part(body, "contact"))
            return self._one(found)
        if method == "DELETE":
            self.people.delete(found)
            return {}
        return {**self.people.beside([found], _include(query)), "contact": self.people.show(found)}

    def _synced(self, given: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        found = self.people.by_email(str(given.get("email", "")))
        if found is None:
            return 201, self._one(self.people.create(given))
        self.people.update(found, given)
        return 200, self._one(found)

    def _listed(self, query: Query) -> dict[str, Any]:
        wanted = {int(v) for n, v in query.multi_items() if n == "ids[]" and v.isdigit()}
        email, list_id = query.get("email"), query.get("listid")
        status = query.get("status")
        after = query.get("filters[updated_after]")
        # The offset is overlooked: the text is taken for the account's own time.
        since = datetime.fromisoformat(after).replace(tzinfo=ZONE).timestamp() if after else None
        found = [
            c
            for c in self.people.contacts.values()
            if c.id > int(query.get("id_greater", "0"))
            and (not wanted or c.id in wanted)
            and (email is None or c.about["email"] == email.strip().lower())
            and (
                list_id is None
                or c.lists.get(list_id) == (status if status not in {None, "-1"} else c.lists.get(list_id, ""))
            )
            and (since is None or c.updated > since)
        ]
        # Only those who are on a list, unless all are asked for.
        if status is None:
            found = [c for c in found if "1" in c.lists.values()]
        ascending = query.get("orders[id]", "DESC").upper() == "ASC"
        found.sort(key=lambda c: c.id, reverse=not ascending)
        start, size = int(query.get("offset", "0")), min(int(query.get("limit", str(PAGE))), MOST)
        page = found[start : start + size]
        shown = [self.people.show(c) for c in page]
        more = self.people.beside(page, _include(query))
        return {**more, "contacts": shown, "meta": {"total": str(len(found)), "page_input": {}}}

    def _fields(self, query: Query) -> dict[str, Any]:
        fields, options = [], []
        for id_, (tag, kind, title, choices) in self.people.fields.items():
            fields.append({"id": id_, "title": title, "type": kind, "perstag": tag})
            options += [{"field": id_, "value": choice, "label": choice} for choice in choices]
        return {**cut("fields", fields, query), "fieldOptions": options}

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def _webhooks(
        self, method: str, id_: str | None, body: Mapping[str, Any], query: Query
    ) -> tuple[int, dict[str, Any]]:
        if method == "GET" and id_ is None:
            for one, row in self.webhooks.items():
                row["state"] = "1" if self._targets[one].enabled else "0"
            return 200, cut("webhooks", list(self.webhooks.values()), query)
        if method != "POST" and id_ not in self.webhooks:
            raise CampaignError(404, f"No Result found for Webhook with id {id_}")
        if method == "DELETE" and id_ is not None:
            del self.webhooks[id_], self._targets[id_]
            return 200, {}
        given = _part(body, "webhook")
        url = str(given.get("url", ""))
        if not url.startswith("https://"):
            raise CampaignError(422, "The url must use https on port 443.", "field_invalid", "url")
        events, sources = given.get("events", []), given.get("sources", [])
        if not events or set(events) - set(EVENTS) or set(sources) - set(SOURCES):
            raise CampaignError(422, "The events are not valid.", "field_invalid", "events")
        if id_ is None:
            id_ = str(self._next)
            self._next += 1
        # A change leaves one switched off that is.
        on = self._targets[id_].enabled if id_ in self._targets else True
        self._targets[id_] = Target(
            id_, url, events=dict.fromkeys(events, True), sources=dict.fromkeys(sources, True), enabled=on
        )
        row = {"id": id_, "name": str(given.get("name", "")), "url": url, "events": events, "sources": sources}
        self.webhooks[id_] = {**row, "listid": given.get("listid"), "state": "1" if on else "0"}
        return 201 if method == "POST" else 200, {"webhook": self.webhooks[id_]}


def _include(query: Query) -> list[str]:
    return [part for part in query.get("include", "").split(",") if part]


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise CampaignError(400, "The request could not be read.")
    return found


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    if not isinstance(found, Mapping):
        raise CampaignError(400, f"The request holds no {name}.")
    return found
