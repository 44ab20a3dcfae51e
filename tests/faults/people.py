"""People who edit at both vendors, through the vendors' APIs, and what has to be true in the end.

Only what a vendor acknowledged counts; who is not there (yet) is not edited.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.plan import FIELDS, HUBSPOT, MAILCHIMP, SIDES, Act, Plan

AGENT = "person/1"  # by which the simulators know whom to leave in peace
CONTACTS = "/crm/v3/objects/contacts"
THEIRS = {
    HUBSPOT: {
        "given_name": "firstname",
        "family_name": "lastname",
        "job_title": "jobtitle",
        "company_name": "company",
        "city": "city",
        "phone": "phone",
    },
    MAILCHIMP: {
        "given_name": "FNAME",
        "family_name": "LNAME",
        "job_title": "JOBTITLE",
        "company_name": "COMPANY",
        "city": "CITY",
        "phone": "PHONE",
    },
}


@dataclass(slots=True)
class Expected:
    """What both sides have to show of one person.  ``name``: the family name, which nobody edits and nobody shares."""

    name: str
    email: str
    values: dict[str, str] = field(default_factory=dict)
    sides: set[str] = field(default_factory=set)  # where it was made
    withdrawn: bool = False
    deleted: bool = False
    moved: int = 0


def name_of(seed: int, number: int, person: int) -> str:
    """A family name that is like no other."""
    digest = hashlib.sha256(f"{seed}:{number}:{person}".encode()).hexdigest()[:12]
    return "".join(chr(ord("a") + int(c, 16)) for c in digest).capitalize()


def value_of(number: int, act: Act, field_: str) -> str:
    """What an act writes into a field; no two acts of a schedule write the same."""
    n = 0 if act.what == "create" else int(act.value)
    if field_ == "phone":
        return f"+49309{number % 100:02}{act.person:02}{n:02}"
    return f"{field_} {number}.{act.person}.{n}"


class People:
    """Everybody of one schedule.  ``done`` counts the acts that a vendor acknowledged, ``left`` those left out."""

    def __init__(self, seed: int, plan: Plan, hubspot: httpx.Client, mailchimp: httpx.Client, list_id: str) -> None:
        self._seed, self._plan = seed, plan
        self._hubspot, self._mailchimp = hubspot, mailchimp
        self._members = f"/lists/{list_id}/members"
        self.expected: dict[int, Expected] = {}
        self.done: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    def act(self, act: Act) -> None:
        """Carry one act out."""
        name = name_of(self._seed, self._plan.number, act.person)
        who = self.expected.setdefault(act.person, Expected(name, f"{name.lower()}@example.org"))
        if act.what == "create":
            done = self._create(act, who)
        elif not who.sides:
            done = False
        else:
            done = getattr(self, f"_{act.what}")(act, who)
        (self.done if done else self.left)[act.what] += 1

    def _create(self, act: Act, who: Expected) -> bool:
        owned = {f: value_of(self._plan.number, act, f) for f in FIELDS if self._plan.owner[act.person, f] == act.side}
        fields = {THEIRS[act.side][f]: v for f, v in {**owned, "family_name": who.name}.items()}
        if act.side == HUBSPOT:
            answer = self._hubspot.post(CONTACTS, json={"properties": {"email": who.email, **fields}})
            taken = answer.status_code == 409
        else:
            member = {"email_address": who.email, "status": "subscribed", "merge_fields": fields}
            answer = self._mailchimp.post(self._members, json=member)
            taken = answer.status_code == 400 and "exists" in answer.text.lower()
        if taken:  # it came from the other side meanwhile
            return False
        answer.raise_for_status()
        who.sides.add(act.side)
        who.values |= owned
        return True

    def _set(self, act: Act, who: Expected) -> bool:
        return self._put(act, who, value_of(self._plan.number, act, act.field))

    def _clear(self, act: Act, who: Expected) -> bool:
        return self._put(act, who, "")

    def _put(self, act: Act, who: Expected, value: str) -> bool:
        name = THEIRS[act.side][act.field]
        if act.side == HUBSPOT:
            done = self._patch(who, {name: value})
        else:
            done = self._member(who, {"merge_fields": {name: value}})
        if done:
            who.values[act.field] = value
        return done

    def _move(self, act: Act, who: Expected) -> bool:
        """HubSpot keeps an objection with the address: who objected moves once that was read, see ``_lift``."""
        if who.withdrawn and not self._stopped(who, MAILCHIMP):
            return False
        email = f"{who.name.lower()}.{who.moved + 1}@example.org"
        if not self._patch(who, {"email": email}):
            return False
        who.email, who.moved = email, who.moved + 1
        return True

    def _withdraw(self, act: Act, who: Expected) -> bool:
        if act.side == HUBSPOT:
            if self._contact(who) is None:
                return False
            url = f"/communication-preferences/v4/statuses/{who.email}/unsubscribe-all"
            self._hubspot.post(url, params={"channel": "EMAIL"}).raise_for_status()
        else:
            # Mailchimp tells of those who leave, not of those whom it never had as subscribers: that only a poll sees.
            status = self._status(who)
            if status is None or (status != "subscribed" and not self._plan.poll):
                return False
            self._member(who, {"status": "unsubscribed"})
        who.withdrawn = True
        return True

    def _lift(self, act: Act, who: Expected) -> bool:
        """Somebody sets the field back, without any evidence: nothing may follow from it.

        Not before the withdrawal has arrived at the other side: what was taken back before anybody read it was never
        seen by anybody.
        """
        if not who.withdrawn or not self._stopped(who, MAILCHIMP if act.side == HUBSPOT else HUBSPOT):
            return False
        if act.side == HUBSPOT:
            contact = self._contact(who)
            if contact is None or contact["properties"].get("hs_email_optout") != "true":
                return False
            edit = {"action": "subscribe", "id": contact["id"]}
            self._hubspot.post("/_sandbox/edit", json=edit).raise_for_status()
            return True
        return self._member(who, {"status": "subscribed"})

    def _stopped(self, who: Expected, side: str) -> bool:
        if side == HUBSPOT:
            contact = self._contact(who)
            return contact is not None and contact["properties"].get("hs_email_optout") == "true"
        return self._status(who) == "unsubscribed"

    def _status(self, who: Expected) -> str | None:
        """At Mailchimp."""
        for email in self._addresses(who):
            answer = self._mailchimp.get(f"{self._members}/{hashlib.md5(email.encode()).hexdigest()}")
            if answer.status_code == 200:
                return str(answer.json()["status"])
        return None

    def _delete(self, act: Act, who: Expected) -> bool:
        contact = self._contact(who)
        if contact is None:
            return False
        self._hubspot.delete(f"{CONTACTS}/{contact['id']}").raise_for_status()
        who.deleted = True
        return True

    # --- one call each ------------------------------------------------------------------------------------------------

    def _contact(self, who: Expected) -> dict[str, Any] | None:
        params = {"idProperty": "email", "properties": "email,hs_email_optout"}
        answer = self._hubspot.get(f"{CONTACTS}/{who.email}", params=params)
        if answer.status_code == 404:
            return None
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def _patch(self, who: Expected, properties: dict[str, str]) -> bool:
        contact = self._contact(who)
        if contact is None:
            return False
        self._hubspot.patch(f"{CONTACTS}/{contact['id']}", json={"properties": properties}).raise_for_status()
        return True

    def _member(self, who: Expected, fields: dict[str, Any]) -> bool:
        """By each address that the person had: the new one may not have arrived there."""
        for email in [*self._addresses(who)] * 2:  # it may arrive between our look and our edit
            url = f"{self._members}/{hashlib.md5(email.encode()).hexdigest()}"
            answer = self._mailchimp.get(url)
            if answer.status_code == 404 or answer.json()["status"] == "archived":
                continue
            done = self._mailchimp.patch(url, json=fields)
            if done.status_code == 404:
                continue
            done.raise_for_status()
            return True
        return False

    def _addresses(self, who: Expected) -> Iterator[str]:
        name = who.name.lower()
        yield from (f"{name}.{n}@example.org" for n in range(who.moved, 0, -1))
        yield f"{name}@example.org"


class Patient(httpx.Client):
    """A client that waits where the vendor has too much to do: Mailchimp answers ten connections at once."""

    def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        """The answer, asked for again after each 429."""
        for _ in range(100):
            answer = super().send(request, **how)
            if answer.status_code != 429:
                break
            time.sleep(0.1)
        return answer


@contextlib.contextmanager
def clients(urls: dict[str, str], token: str, key: str) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A person's own way to each vendor."""
    agent = {"user-agent": AGENT}
    with (
        Patient(
            base_url=urls[HUBSPOT],
            headers={**agent, "authorization": f"Bearer {token}", "x-sandbox-source": "CRM_UI"},
            timeout=30,
        ) as hubspot,
        Patient(
            base_url=urls[MAILCHIMP],
            headers={**agent, "authorization": f"Bearer {key}", "x-sandbox-source": "admin"},
            timeout=30,
        ) as mailchimp,
    ):
        yield hubspot, mailchimp


assert set(THEIRS) == set(SIDES)
