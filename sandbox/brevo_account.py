"""One Brevo account: contacts, attributes, lists, webhooks.  In: calls as sent.  Out: answers as Brevo words them.

What the documents say and users report: unknown attributes and values of another type are ignored with success; a
changed address lifts the blocklist; identifiers belong to one contact; a batch says nothing about its contacts; lists
are in the order of creation only.  Sources: developers.brevo.com/reference (contacts, attributes, lists, webhooks,
account) and its contract in github.com/getbrevo/brevo-python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from sandbox.brevo_crm import Crm
from sandbox.brevo_events import NAMES, campaign, contact
from sandbox.brevo_rules import (
    ABOUT,
    ATTRIBUTES,
    HOOKS,
    IDENTIFIERS,
    MARKS,
    OWNER,
    PHONE,
    BrevoError,
    address,
    as_object,
    fits,
    iso,
    since,
    whole,
)
from sandbox.webhooks import Happening


@dataclass(slots=True)
class Row:
    """One contact."""

    id: int
    email: str | None = field(repr=False)
    created: float
    modified: float
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    marks: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(MARKS, False))
    lists: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)

    def holds(self, name: str, value: str) -> bool:
        """Whether this identifier is its own."""
        own = self.email if name == "EMAIL" else self.attributes.get(name)
        return own is not None and str(own).lower() == value.lower()


class Account:
    """See the module.  ``forgets``: how many of the next marks are lost (issue 173).  ``deaf``: ignores ``ids``."""

    def __init__(self, now: Callable[[], float], emit: Callable[[Iterable[Happening]], None], most: int = 1000) -> None:
        """``now``: seconds since 1970.  ``most``: contacts in a page."""
        self._now = now
        self._emit = emit
        self._most = most
        self.hooks: dict[int, dict[str, Any]] = {}
        self.hooks_changed: Callable[[], None] = lambda: None
        self.lists = {2: "Newsletter", 7: "Events"}
        self.attributes = {str(one["name"]): dict(one) for one in ATTRIBUTES}
        self.forgets = 0
        self.deaf = False
        self.crm = Crm(now, lambda id_: id_ in self.rows)
        self.clear()

    def clear(self) -> None:
        """Forget all contacts, and all around them."""
        self.rows: dict[int, Row] = {}
        self.crm.clear()
        self._next = 1

    def answer(self, method: str, path: str, query: Sequence[tuple[str, str]], body: Any, source: str) -> Any:
        """(status, JSON or None) of a call; raises BrevoError."""
        asked = dict(query)
        match [method, *map(unquote, path.strip("/").split("/"))]:
            case ["GET", "account"]:
                return 200, ABOUT
            case ["GET", "contacts"]:
                return 200, self._list(query)
            case ["POST", "contacts"]:
                return self._create(as_object(body), source)
            case ["POST", "contacts", "batch"]:
                return self._batch(as_object(body), source)
            case ["GET", "contacts", "attributes"]:
                return 200, {"attributes": list(self.attributes.values())}
            case ["POST", "contacts", "attributes", category, name]:
                return self._attribute(category, name, as_object(body))
            case ["GET", "contacts", "lists"]:
                return 200, self._lists(asked)
            case ["GET", "contacts", identifier]:
                return 200, {**self.show(self._who(identifier, asked)), "statistics": {}}
            case ["GET", "contacts", identifier, "campaignStats"]:
                return 200, self.crm.campaign_stats(self._who(identifier, asked).id)
            case [_, "companies" | "crm" | "emailCampaigns" as first, *rest]:
                return self.crm.answer(method, [first, *rest], asked, body)
            case ["PUT", "contacts", identifier]:
                self.update(self._who(identifier, asked), as_object(body), source)
                return 204, None
            case ["DELETE", "contacts", identifier]:
                self.delete(self._who(identifier, asked), source)
                return 204, None
            case ["GET", "webhooks"]:
                return 200, {"webhooks": [h for h in self.hooks.values() if h["type"] == asked.get("type", h["type"])]}
            case ["POST", "webhooks"]:
                return 201, {"id": self._hook(None, as_object(body))}
            case ["PUT", "webhooks", number] if number.isdigit() and int(number) in self.hooks:
                self._hook(int(number), as_object(body))
                return 204, None
            case ["DELETE", "webhooks", number] if number.isdigit() and int(number) in self.hooks:
                del self.hooks[int(number)]
                self.hooks_changed()
                return 204, None
        raise BrevoError(404, "document_not_found", f"{path.strip('/').partition('/')[0]} does not exist")

    # --- contacts -----------------------------------------------------------------------------------------------------

    def show(self, row: Row) -> dict[str, Any]:
        """As JSON."""
        shown: dict[str, Any] = {"email": row.email} if row.email is not None else {}
        left = {"listUnsubscribed": list(row.left)} if row.left else {}
        return {
            "id": row.id,
            **shown,
            **row.marks,
            "createdAt": iso(row.created),
            "modifiedAt": iso(row.modified),
            "listIds": list(row.lists),
            **left,
            "attributes": dict(row.attributes),
        }

    def update(self, row: Row, body: Mapping[str, Any], source: str) -> None:
        """Change what the body names."""
        given = self._clean(body.get("attributes", {}))
        self._unique(given, row)
        lists, leaves = self._known_lists(body.get("listIds")), self._known_lists(body.get("unlinkListIds"))
        before = (row.email, dict(row.attributes), dict(row.marks))
        email = given.pop("EMAIL", row.email)
        row.attributes |= given
        row.attributes = {name: value for name, value in row.attributes.items() if value not in ("", [])}
        self._mark(row, body)
        if email != row.email:
            row.email = email
            row.marks["emailBlacklisted"] = False  # a changed address lifts the blocklist (reference)
        if "SMS" in given and given["SMS"] != before[1].get("SMS"):
            row.marks["smsBlacklisted"] = False  # not documented: the worse of the two
        added = [n for n in lists if n not in row.lists]
        row.lists = [n for n in [*row.lists, *added] if n not in leaves]
        changed = {n: v for n, v in row.attributes.items() if before[1].get(n) != v}
        changed |= dict.fromkeys([n for n in before[1] if n not in row.attributes], "")
        self._tell(row, before, changed, added, source)

    def delete(self, row: Row, source: str) -> None:
        """For good."""
        if row.email == OWNER:
            raise BrevoError(405, "method_not_allowed", "Contact is the account's own and cannot be deleted")
        del self.rows[row.id]
        self._emit([contact("contactDeleted", source, self._now(), email=row.email)])

    def objects(self, row: Row, kind: str) -> None:
        """The person unsubscribes, complains, or the address bounces: ``unsubscribed``, ``spam``, ``hardBounce``."""
        row.marks["emailBlacklisted"] = True
        row.modified = self._now()
        self._emit([campaign(kind, self._now(), str(row.email))])

    def leave(self, row: Row, number: int) -> None:
        """The person leaves one list by the link in a mail.  No webhook of its own is documented."""
        row.lists = [n for n in row.lists if n != number]
        row.left = [*row.left, number] if number not in row.left else row.left
        row.modified = self._now()

    def _create(self, body: Mapping[str, Any], source: str) -> tuple[int, Any]:
        email = body.get("email")
        given = self._clean(body.get("attributes", {}))
        if email is None and not {"SMS", "EXT_ID"} & given.keys():
            raise BrevoError(400, "missing_parameter", "email is missing")
        if email is not None:
            given["EMAIL"] = address(email)
        lists = self._known_lists(body.get("listIds"))
        if body.get("updateEnabled") is True and (there := self._holding("EMAIL", str(given.get("EMAIL")))):
            self.update(there, body, source)
            return 204, None
        self._unique(given, None)
        now = self._now()
        row = Row(self._next, given.pop("EMAIL", None), now, now, {n: v for n, v in given.items() if v not in ("", [])})
        self._next += 1
        self.rows[row.id] = row
        self._mark(row, body)
        row.lists = lists
        if lists:  # whoever is on no list comes unannounced
            self._emit([contact("listAddition", source, now, email=row.email, list_id=lists)])
        return 201, {"id": row.id}

    def _batch(self, body: Mapping[str, Any], source: str) -> tuple[int, Any]:
        given = body.get("contacts")
        if not isinstance(given, list) or not given:
            raise BrevoError(400, "missing_parameter", "contacts is missing")
        found: list[tuple[Row, Mapping[str, Any]]] = []
        for one in map(as_object, given):
            keys = [k for k in ("id", "email", "sms") if k in one]
            if len(keys) != 1:
                raise BrevoError(400, "invalid_parameter", "Pass one identifier for each contact")
            name = {"email": "EMAIL", "sms": "SMS"}.get(keys[0])
            row = self.rows.get(one["id"]) if name is None else self._holding(name, str(one[keys[0]]))
            if row is not None:  # whom nobody knows is passed over
                self._unique(self._clean(one.get("attributes", {})), row)
                found.append((row, one))
        for row, one in found:
            self.update(row, one, source)
        return 204, None

    def _list(self, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        asked = dict(query)
        limit, offset = whole(asked, "limit", 50), whole(asked, "offset", 0)
        if not 1 <= limit <= 1000:
            raise BrevoError(400, "out_of_range", "Limit exceeds max value")
        rows = sorted(self.rows.values(), key=lambda r: (r.created, r.id), reverse=asked.get("sort", "desc") == "desc")
        ids = [part for name, value in query if name == "ids" for part in value.split(",")]
        if len(ids) > 20 or not all(one.isdigit() for one in ids):
            raise BrevoError(400, "invalid_parameter", "ids must be at most 20 integers")
        if ids and not self.deaf:
            rows = [r for r in rows if str(r.id) in ids]
        for name in ("modifiedSince", "createdSince"):
            if name in asked:
                bound = since(asked[name])
                rows = [r for r in rows if (r.modified if name == "modifiedSince" else r.created) >= bound]
        page = rows[offset : offset + min(limit, self._most)]
        return {"contacts": [self.show(r) for r in page], "count": len(rows)}

    def _who(self, identifier: str, asked: Mapping[str, str]) -> Row:
        kinds = {"email_id": "EMAIL", "phone_id": "SMS", "ext_id": "EXT_ID", "whatsapp_id": "WHATSAPP"}
        kinds |= {"landline_number_id": "LANDLINE_NUMBER"}
        kind = asked.get("identifierType", "contact_id" if identifier.isdigit() else "email_id")
        if kind != "contact_id" and kind not in kinds:
            raise BrevoError(400, "invalid_parameter", "identifierType is not valid")
        if kind == "contact_id":
            row = self.rows.get(int(identifier)) if identifier.isdigit() else None
        else:
            row = self._holding(kinds[kind], identifier)
        if row is None:
            raise BrevoError(404, "document_not_found", "Contact does not exist")
        return row

    def _clean(self, given: Any) -> dict[str, Any]:
        """Attributes as they are kept: unknown ones and values of another type are passed over."""
        kept: dict[str, Any] = {}
        for name, value in given.items() if isinstance(given, Mapping) else ():
            about = self.attributes.get(name)
            if about is None or about["category"] not in {"normal", "category", "transactional"}:
                continue
            if name == "EMAIL":
                kept[name] = address(value)
            elif name in {"SMS", "WHATSAPP", "LANDLINE_NUMBER"} and value != "":
                digits = PHONE.fullmatch(re.sub(r"[ ()./-]", "", str(value)))
                if digits is None:
                    raise BrevoError(400, "invalid_parameter", "Invalid phone number")
                kept[name] = digits[1]  # without the plus
            elif value in ("", []) or fits(about, value):
                kept[name] = value
        return kept

    def _unique(self, given: Mapping[str, Any], own: Row | None) -> None:
        twice = [
            IDENTIFIERS[name]
            for name, value in given.items()
            if name in IDENTIFIERS and value and (other := self._holding(name, str(value))) and other is not own
        ]
        if twice:
            what = "create" if own is None else "update"
            message = f"Unable to {what} contact, {', '.join(twice)} is already associated with another Contact"
            raise BrevoError(400, "duplicate_parameter", message, twice)

    def _holding(self, name: str, value: str) -> Row | None:
        digits = PHONE.fullmatch(value) if name in {"SMS", "WHATSAPP", "LANDLINE_NUMBER"} else None
        wanted = digits[1] if digits is not None else value
        return next((row for row in self.rows.values() if row.holds(name, wanted)), None)

    def _mark(self, row: Row, body: Mapping[str, Any]) -> None:
        for name in MARKS[:2]:
            if isinstance(body.get(name), bool):
                if body[name] is True and self.forgets > 0:
                    self.forgets -= 1
                else:
                    row.marks[name] = body[name]

    def _known_lists(self, given: Any) -> list[int]:
        asked = list(dict.fromkeys(given)) if isinstance(given, list) else []
        if unknown := [n for n in asked if n not in self.lists]:
            raise BrevoError(400, "invalid_parameter", f"List ID does not exist: {unknown[0]}")
        return asked

    def _tell(self, row: Row, before: Any, changed: Mapping[str, Any], added: list[int], source: str) -> None:
        """One event for each kind of difference, as seen; nothing where nothing changed."""
        now = self._now()
        told: list[Happening] = []
        if changed or before[0] != row.email:
            moved = {"EMAIL": row.email} if before[0] != row.email else {}
            attributes = {**changed, **moved}
            told.append(contact("contactUpdated", source, now, email=row.email, list={}, attributes=attributes))
        if before[2]["emailBlacklisted"] != row.marks["emailBlacklisted"]:
            said = row.marks["emailBlacklisted"]
            told.append(contact("contactUpdated", source, now, email=row.email, emailBlacklist=said))
        if added:
            told.append(contact("contactUpdated", source, now, email=row.email, list={"addition": added}))
            told.append(contact("listAddition", source, now, email=row.email, list_id=added))
        if told or before[2] != row.marks:
            row.modified = now
        self._emit(told)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _lists(self, asked: Mapping[str, str]) -> dict[str, Any]:
        limit, offset = whole(asked, "limit", 10), whole(asked, "offset", 0)
        if not 1 <= limit <= 50:
            raise BrevoError(400, "out_of_range", "Limit exceeds max value")
        every = [
            {
                "id": n,
                "name": name,
                "folderId": 1,
                "totalBlacklisted": 0,
                "uniqueSubscribers": 0,
                "totalSubscribers": sum(n in row.lists for row in self.rows.values()),
            }
            for n, name in self.lists.items()
        ]
        return {"lists": every[offset : offset + limit], "count": len(every)}

    def _attribute(self, category: str, name: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        if name in self.attributes:
            raise BrevoError(400, "invalid_parameter", "Attribute name must be unique")
        self.attributes[name] = {"name": name, "category": category, **body}
        return 201, None

    def _hook(self, number: int | None, body: Mapping[str, Any]) -> int:
        own = dict(self.hooks[number]) if number is not None else {"type": "transactional", "description": ""}
        known = ("url", "type", "events", "description", "auth", "headers", "batched", "channel")
        own |= {name: body[name] for name in known if name in body}
        if not str(own.get("url", "")).startswith(("http://", "https://")):
            raise BrevoError(400, "invalid_parameter", "url is not valid")
        if not own.get("events") or (own["type"] == "marketing" and not set(own["events"]) <= NAMES.keys()):
            raise BrevoError(400, "invalid_parameter", "events are not valid for this type of webhook")
        if number is None and len(self.hooks) >= HOOKS:
            raise BrevoError(400, "bad_request", f"An account may have {HOOKS} webhooks")
        made = number if number is not None else max(self.hooks, default=0) + 1
        now = iso(self._now())
        self.hooks[made] = {"createdAt": now, **own, "id": made, "modifiedAt": now}
        self.hooks_changed()
        return made
