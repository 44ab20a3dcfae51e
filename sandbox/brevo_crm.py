"""Brevo's CRM and its campaigns: companies, deals, pipelines, notes, and what each contact did.

In: calls as sent.  Out: answers as Brevo words them.  Lists are in the order of creation; companies are paged by
number, deals by offset.  Sources: developers.brevo.com/reference and its contract in github.com/getbrevo/brevo-python
(``companies``, ``deals``, ``notes``, ``email_campaigns``, ``contacts.get_contact_stats``); attributes as others saw
them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.brevo_rules import BrevoError, as_object, since, whole

STAGES = {"New": "s-new", "Won": "s-won", "Lost": "s-lost"}
PIPELINE = "68762ec1047717b48eab7e73"
OWNER_ID = "68762ec05fb5e5f4de0e6806"
_PAGE = 1000  # of a list; not published
_STATS = ("messagesSent", "delivered", "opened", "hardBounces", "softBounces", "complaints")
_COMPANY = {"name": "text", "owner": "user", "domain": "text", "phone_number": "number", "industry": "single-select"}
_DEAL = {"deal_name": "text", "deal_owner": "user", "amount": "number", "deal_stage": "single-select"}


@dataclass(slots=True)
class Item:
    """A company or a deal.  Times: seconds since 1970."""

    id: str
    created: float
    modified: float
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    people: list[int] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # deals of a company, companies of a deal


class Crm:
    """Everything around the contacts of one account."""

    def __init__(self, now: Callable[[], float], known: Callable[[int], bool]) -> None:
        """``known``: whether there is a contact of this id."""
        self._now = now
        self._known = known
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.items: dict[str, dict[str, Item]] = {"companies": {}, "deals": {}}
        self.notes: list[dict[str, Any]] = []
        self.campaigns: list[dict[str, Any]] = []
        self.stats: dict[int, dict[str, list[dict[str, Any]]]] = {}
        self._next = 1

    # --- what people do -----------------------------------------------------------------------------------------------

    def put(self, kind: str, attributes: Mapping[str, Any], people: Sequence[int], others: Sequence[str] = ()) -> str:
        """A company or a deal is made; its id."""
        id_ = hashlib.sha1(f"{kind}:{self._next}".encode()).hexdigest()[:24]
        self._next += 1
        now = self._now()
        self.items[kind][id_] = Item(id_, now, now, dict(attributes), list(people), list(others))
        return id_

    def campaign(self, id_: int, name: str, status: str = "sent") -> None:
        """There is a campaign."""
        self.campaigns.append({"id": id_, "name": name, "status": status, "type": "classic"})

    def did(self, contact: int, name: str, campaign: int, at: float, **more: Any) -> None:
        """Something happened with a campaign: ``name`` as in the statistics, or ``clicked`` with a ``url``."""
        mine = self.stats.setdefault(contact, {})
        said: dict[str, Any] = {"eventTime": iso(at)}
        if name == "clicked":
            link = {"count": 1, "ip": "192.0.2.1", **said, **more}
            mine.setdefault("clicked", []).append({"campaignId": campaign, "links": [link]})
        else:
            said |= {"count": 1, "ip": "192.0.2.1"} if name == "opened" else {}
            mine.setdefault(name, []).append({"campaignId": campaign, **said, **more})

    # --- the wire -----------------------------------------------------------------------------------------------------

    def answer(self, method: str, parts: Sequence[str], asked: Mapping[str, str], body: Any) -> Any:
        """(status, JSON) of a call; raises BrevoError."""
        match [method, *parts]:
            case ["GET", "companies"]:
                limit = self._limit(asked)
                return 200, self._list("companies", asked, (whole(asked, "page", 1) - 1) * limit, limit)
            case ["GET", "crm", "deals"]:
                return 200, self._list("deals", asked, whole(asked, "offset", 0), self._limit(asked))
            case ["GET", "companies", id_] if id_ in self.items["companies"]:
                return 200, self._show("companies", self.items["companies"][id_])
            case ["GET", "crm", "deals", id_] if id_ in self.items["deals"]:
                return 200, self._show("deals", self.items["deals"][id_])
            case ["GET", "crm", "attributes", "companies"]:
                return 200, [_attribute(*one) for one in _COMPANY.items()]
            case ["GET", "crm", "attributes", "deals"]:
                return 200, [_attribute(*one) for one in _DEAL.items()]
            case ["GET", "crm", "pipeline", "details", "all"]:
                stages = [{"id": id_, "name": name} for name, id_ in STAGES.items()]
                return 200, [{"pipeline": PIPELINE, "pipeline_name": "Sales Pipeline", "stages": stages}]
            case ["GET", "crm", "notes"]:
                return 200, self._notes(asked)
            case ["POST", "crm", "notes"]:
                return 200, {"id": self._note(as_object(body))}
            case ["GET", "emailCampaigns"]:
                limit, offset = whole(asked, "limit", 50), whole(asked, "offset", 0)
                if not 1 <= limit <= 100:
                    raise BrevoError(400, "out_of_range", "Limit exceeds max value")
                found = self.campaigns[::-1] if asked.get("sort", "desc") == "desc" else self.campaigns
                rows = [_campaign(one) for one in found[offset : offset + limit]]
                return 200, {"campaigns": rows, "count": len(found)}
        raise BrevoError(404, "document_not_found", f"{parts[0]} does not exist")

    def campaign_stats(self, contact: int) -> dict[str, Any]:
        """What is told of one contact; kinds without anything are left out."""
        mine = self.stats.get(contact, {})
        said: dict[str, Any] = {name: mine[name] for name in (*_STATS, "clicked") if name in mine}
        if "userUnsubscription" in mine:
            said["unsubscriptions"] = {"userUnsubscription": mine["userUnsubscription"], "adminUnsubscription": []}
        return said

    def _limit(self, asked: Mapping[str, str]) -> int:
        limit = whole(asked, "limit", 50)
        if not 1 <= limit <= _PAGE:
            raise BrevoError(400, "invalid_parameter", "limit is not valid")
        return limit

    def _list(self, kind: str, asked: Mapping[str, str], offset: int, limit: int) -> dict[str, Any]:
        found = sorted(self.items[kind].values(), key=lambda i: i.created, reverse=asked.get("sort", "desc") == "desc")
        if "modifiedSince" in asked:
            bound = since(asked["modifiedSince"])
            found = [i for i in found if i.modified >= bound]
        page = found[offset : offset + limit]
        return {"items": [self._show(kind, i) for i in page], "pager": {"limit": limit, "total": len(found)}}

    def _show(self, kind: str, item: Item) -> dict[str, Any]:
        changed = "last_updated_at" if kind == "companies" else "last_updated_date"
        about = {**item.attributes, "created_at": iso(item.created), changed: iso(item.modified)}
        others = "linkedDealsIds" if kind == "companies" else "linkedCompaniesIds"
        return {"id": item.id, "attributes": about, "linkedContactsIds": list(item.people), others: list(item.others)}

    def _notes(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        if asked.get("entity", "contacts") not in {"contacts", "companies", "deals"}:
            raise BrevoError(400, "invalid_parameter", "entity is not valid")
        ids = set(filter(None, asked.get("entityIds", "").split(",")))
        found = [n for n in self.notes if not ids or ids & {str(i) for i in n["contactIds"]}]
        found = found[::-1] if asked.get("sort", "desc") == "desc" else found
        offset, limit = whole(asked, "offset", 0), whole(asked, "limit", 50)
        return found[offset : offset + limit]

    def _note(self, body: Mapping[str, Any]) -> str:
        people = body.get("contactIds", [])
        if not isinstance(body.get("text"), str) or not body["text"]:
            raise BrevoError(400, "missing_parameter", "text is required")
        if not all(isinstance(one, int) and self._known(one) for one in people):
            raise BrevoError(400, "invalid_parameter", "contactIds are not valid")
        id_ = hashlib.sha1(f"note:{self._next}".encode()).hexdigest()[:24]
        self._next += 1
        author = {"id": OWNER_ID, "name": {"givenName": "Kim", "familyName": "Owner", "fullName": "Kim Owner"}}
        made = {"id": id_, "text": body["text"], "contactIds": list(people), "dealIds": [], "companyIds": []}
        self.notes.append({**made, "authorId": author, "createdAt": iso(self._now()), "updatedAt": iso(self._now())})
        return id_


def iso(at: float) -> str:
    """A time as the CRM writes it."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _attribute(name: str, type_: str) -> dict[str, Any]:
    options = [{"key": id_, "value": label} for label, id_ in STAGES.items()] if name == "deal_stage" else []
    return {
        "internalName": name,
        "label": name.replace("_", " ").capitalize(),
        "attributeTypeName": type_,
        "attributeOptions": options,
        "isRequired": name in {"name", "deal_name"},
    }


def _campaign(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **one,
        "createdAt": "2026-01-01T08:00:00.000Z",
        "modifiedAt": "2026-01-01T08:00:00.000Z",
        "header": "",
        "footer": "",
        "htmlContent": "",
        "mirrorActive": False,
        "replyTo": "news@sandbox.example",
        "sender": {"name": "Sandbox", "email": "news@sandbox.example"},
        "tag": "",
        "testSent": False,
        "toField": "",
        "inlineImageActivation": False,
        "recipients": {"lists": [2], "exclusionLists": []},
        # Figures come where they are asked for (changelog 2023-02-07).
        "statistics": {"campaignStats": [], "globalStats": {}, "linksStats": {}, "mirrorClick": 0, "remaining": 0},
    }
