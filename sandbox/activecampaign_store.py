"""ActiveCampaign's contacts: what is kept of a person, how states on lists move, what is told.

Sources: developers.activecampaign.com/reference (contacts, contactLists); errors as its examples have them.
What is not documented is here as is worst: a state on a list moves no contact's time, and filters overlook an offset.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from sandbox.activecampaign_events import happening
from sandbox.webhooks import Happening

ZONE = timezone(timedelta(hours=-5))  # of the account
TEXTS = ("email", "firstName", "lastName", "phone")
ZERO = "0000-00-00 00:00:00"
_EMAIL = re.compile(r"[^\s@,\"]{1,64}@[^\s@,]+\.[^\s@,.]{2,}")


class CampaignError(Exception):
    """A refusal: status and body."""

    def __init__(self, status: int, title: str = "", code: str | None = None, name: str | None = None) -> None:
        super().__init__(title)
        self.status = status
        self.body: dict[str, Any] = {"message": title}
        if code is not None:
            pointer = {"pointer": f"/data/attributes/{name}"}
            self.body = {"errors": [{"title": title, "detail": "", "code": code, "source": pointer}]}


@dataclass(slots=True)
class Contact:
    """One person.  Times: seconds since 1970.  ``lists``: list → status; ``tags``: tag ids."""

    id: int
    created: float
    updated: float
    about: dict[str, str] = field(default_factory=dict, repr=False)
    values: dict[str, str] = field(default_factory=dict, repr=False)  # custom field → value
    lists: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    bounced_hard: int = 0
    came: dict[str, dict[str, Any]] = field(default_factory=dict)  # list → when and by what a state came about


class People:
    """All contacts of one account, its lists, custom fields and tags."""

    def __init__(self, now: Callable[[], float], emit: Callable[[Iterable[Happening]], None]) -> None:
        """``now``: seconds since 1970."""
        self.now = now
        self._emit = emit
        self._next = 1
        self.contacts: dict[int, Contact] = {}
        self.lists = {"1": ("Newsletter", "email"), "2": ("Events", "email"), "3": ("Texts", "sms")}
        # id → (personalization tag, type, title, options)
        self.fields: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
            "1": ("JOB_TITLE", "text", "Job title", ()),
            "2": ("SCORE", "text", "Score", ()),
            "3": ("INTERESTS", "checkbox", "Interests", ("bread", "cake")),
        }
        self.tags: dict[str, str] = {}

    def clear(self) -> None:
        """Forget all people; ids go on."""
        self.contacts.clear()

    def find(self, id_: str) -> Contact:
        """The contact.  Raises 404."""
        found = self.contacts.get(int(id_)) if id_.isdigit() else None
        if found is None:
            raise CampaignError(404, f"No Result found for Subscriber with id {id_}")
        return found

    def by_email(self, address: str) -> Contact | None:
        """The contact with this address."""
        wanted = address.strip().lower()
        return next((c for c in self.contacts.values() if c.about["email"] == wanted), None)

    # --- what happens to them -----------------------------------------------------------------------------------------

    def create(self, given: Mapping[str, Any], *, source: str = "api", at: float | None = None) -> Contact:
        """A new contact.  Raises 422."""
        self._check(given, None)
        if "email" not in given:
            raise CampaignError(422, "The contact email was not provided.", "field_missing", "email")
        when = self.now() if at is None else at
        made = self.contacts[self._next] = Contact(self._next, when, when, dict.fromkeys(TEXTS, ""))
        self._next += 1
        self._set(made, given)
        if at is None:
            self._tell("update", source, made)
        return made

    def update(self, found: Contact, given: Mapping[str, Any], *, source: str = "api") -> None:
        """What is given; an empty text clears, the rest stays.  Raises 422."""
        self._check(given, found)
        self._set(found, given)
        found.updated = self.now()
        self._tell("update", source, found)

    def delete(self, found: Contact) -> None:
        """For good; nobody is told."""
        del self.contacts[found.id]

    def put_on(
        self, found: Contact, list_id: str, status: str, *, source: str = "api", **by: str | None
    ) -> dict[str, Any]:
        """Set a state on a list, whatever it was.  ``by``: form, campaign, message, unsubreason.  Raises 400."""
        if list_id not in self.lists or status not in {"1", "2"}:
            raise CampaignError(400, "The list or status is not valid.")
        found.lists[list_id] = status
        came = found.came.setdefault(list_id, {})
        came |= {"udate": local(self.now()), **({"sdate": local(self.now())} if status == "1" else {}), **by}
        self._tell("subscribe" if status == "1" else "unsubscribe", source, found, list=list_id)
        return self.state(found, list_id)

    def bounce(self, found: Contact) -> None:
        """The address does not work: all lists show it."""
        found.bounced_hard += 1
        found.lists = dict.fromkeys(found.lists, "3")
        for one in found.lists:
            found.came.setdefault(one, {})["udate"] = local(self.now())
        self._tell("bounce", "system", found, **{"bounce[type]": "hard"})

    def tag(self, found: Contact, name: str) -> None:
        """Give a tag, made where there is none of this name."""
        id_ = next((i for i, own in self.tags.items() if own.lower() == name.lower()), None)
        if id_ is None:
            id_ = str(len(self.tags) + 1)
            self.tags[id_] = name
        if id_ not in found.tags:
            found.tags.append(id_)
            self._tell("contact_tag_added", "admin", found, tag=name)

    def _check(self, given: Mapping[str, Any], own: Contact | None) -> None:
        for name in TEXTS:
            if name in given and not isinstance(given[name], str):
                raise CampaignError(422, f"The {name} is not valid.", "field_invalid", name)
        if "email" in given:
            if _EMAIL.fullmatch(given["email"].strip()) is None:
                raise CampaignError(422, "Contact Email Address is not valid.", "email_invalid", "email")
            other = self.by_email(given["email"])
            if other is not None and other is not own:
                raise CampaignError(422, "Email address already exists in the system", "duplicate", "email")
        for value in given.get("fieldValues", ()):
            if str(value.get("field")) not in self.fields:
                raise CampaignError(422, "The field does not exist.", "related_missing", "field")

    def _set(self, found: Contact, given: Mapping[str, Any]) -> None:
        for name in TEXTS:
            if name in given:
                found.about[name] = given[name].strip().lower() if name == "email" else given[name]
        for value in given.get("fieldValues", ()):
            found.values[str(value["field"])] = str(value["value"])

    def _tell(self, kind: str, source: str, found: Contact, **more: str) -> None:
        self._emit([happening(kind, source, local(self.now()), self.show(found), **more)])

    # --- as JSON ------------------------------------------------------------------------------------------------------

    def show(self, found: Contact) -> dict[str, Any]:
        """As an object; all numbers are texts."""
        return {
            "id": str(found.id),
            **found.about,
            "orgid": "0",
            "cdate": local(found.created),
            "udate": local(found.updated),
            "adate": None,
            "created_utc_timestamp": utc(found.created),
            "updated_utc_timestamp": utc(found.updated),
            "bounced_hard": str(found.bounced_hard),
            "bounced_soft": "0",
            "bounced_date": ZERO,
            "deleted": "0",
            "deleted_at": ZERO,
            "anonymized": "0",
            "hash": "0123456789abcdef",
            "links": {},
        }

    def beside(self, found: Iterable[Contact], include: Iterable[str]) -> dict[str, Any]:
        """What was asked to be brought along."""
        found, wanted = list(found), set(include)
        more: dict[str, Any] = {}
        if "contactLists" in wanted:
            more["contactLists"] = [self.state(c, one) for c in found for one in c.lists]
        if "fieldValues" in wanted:
            more["fieldValues"] = [
                {"contact": str(c.id), "field": one, "value": value, "id": f"{c.id}{one}"}
                for c in found
                for one, value in c.values.items()
            ]
        if "contactTags.tag" in wanted:
            more["contactTags"] = [
                {"contact": str(c.id), "tag": one, "id": f"{c.id}{one}"} for c in found for one in c.tags
            ]
            more["tags"] = [{"id": id_, "tag": name, "tagType": "contact"} for id_, name in self.tags.items()]
        return more

    def state(self, found: Contact, list_id: str) -> dict[str, Any]:
        """A state on a list."""
        return {
            "id": f"{found.id}{list_id}",
            "contact": str(found.id),
            "list": list_id,
            "status": found.lists[list_id],
            "channel": self.lists[list_id][1],
            "sourceid": "0",
            **dict.fromkeys(("sdate", "udate", "form", "campaign", "message")),
            "unsubreason": "",
            **found.came.get(list_id, {}),
        }


def utc(at: float) -> str:
    """A time in UTC, as the vendor writes it: without saying so."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%d %H:%M:%S")


def local(at: float) -> str:
    """A time in the account's zone."""
    return datetime.fromtimestamp(int(at), ZONE).isoformat()
