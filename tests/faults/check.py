"""The independent checker.  In: what people did.  Out: what is wrong at the vendors, seen through their APIs alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.faults.people import CONTACTS, THEIRS, Expected
from tests.faults.plan import FIELDS, HUBSPOT, MAILCHIMP

WRONGS = ("lost", "doubled", "diverged", "resurrected")
# Nobody may be mailed in one of these; "transactional" is never mailed by a campaign, but says of no withdrawal.
STOPPED = frozenset({"unsubscribed", "cleaned"})


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that must not be."""

    kind: str  # one of WRONGS
    name: str
    what: str


class Vendors:
    """All that both vendors hold, by family name."""

    def __init__(self, hubspot: httpx.Client, mailchimp: httpx.Client, list_id: str) -> None:
        self._hubspot, self._mailchimp, self._list_id = hubspot, mailchimp, list_id

    def read(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """family name -> side -> its live records, in our words."""
        found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: {HUBSPOT: [], MAILCHIMP: []})
        for contact in self._contacts():
            said = contact["properties"]
            person = {ours: said.get(theirs) for ours, theirs in THEIRS[HUBSPOT].items()}
            more = {"email": said["email"], "stopped": said.get("hs_email_optout") == "true"}
            found[str(said["lastname"])][HUBSPOT].append({**_texts(person), **more})
        for member in self._members():
            said = member["merge_fields"]
            person = {ours: said.get(theirs) for ours, theirs in THEIRS[MAILCHIMP].items()}
            more = {"email": member["email_address"], "stopped": member["status"] in STOPPED}
            found[str(said["LNAME"])][MAILCHIMP].append({**_texts(person), **more})
        return found

    def _contacts(self) -> Iterable[dict[str, Any]]:
        names = ",".join([*THEIRS[HUBSPOT].values(), "email", "hs_email_optout"])
        after: str | None = "0"
        while after is not None:
            params = {"limit": 100, "properties": names, "after": after}
            page = self._hubspot.get(CONTACTS, params=params).raise_for_status().json()
            yield from page["results"]
            after = page["paging"]["next"]["after"] if "paging" in page else None

    def _members(self) -> Iterable[dict[str, Any]]:
        offset, total = 0, 1
        while offset < total:
            params = {"count": 1000, "offset": offset}
            page = self._mailchimp.get(f"/lists/{self._list_id}/members", params=params).raise_for_status().json()
            yield from page["members"]
            offset, total = offset + 1000, page["total_items"]


def _texts(person: dict[str, Any]) -> dict[str, Any]:
    """A blank is no value, and the spelling of a number is the vendor's."""
    shown = {f: (v if v else None) for f, v in person.items()}
    if shown["phone"] is not None:
        shown["phone"] = "+" + "".join(c for c in shown["phone"] if c.isdigit())
    return shown


def wrongs(expected: Iterable[Expected], found: dict[str, dict[str, list[dict[str, Any]]]]) -> list[Wrong]:
    """Everything that is wrong now.

    lost: the last edit of a field, or a whole person, is missing at some side.  diverged: the sides say different
    things of somebody.  doubled: a side has somebody twice.  resurrected: somebody who withdrew may be mailed, or
    somebody who was deleted is there.
    """
    out: list[Wrong] = []
    for who in expected:
        if not who.sides:
            continue
        sides = found.get(who.name, {HUBSPOT: [], MAILCHIMP: []})
        if who.deleted:
            out += [Wrong("resurrected", who.name, f"deleted, yet at {s}") for s, rows in sides.items() if rows]
            continue
        out += [Wrong("doubled", who.name, f"{len(r)} times at {s}") for s, r in sides.items() if len(r) > 1]
        out += [Wrong("lost", who.name, f"not at {s}") for s, rows in sides.items() if not rows]
        wanted = {**dict.fromkeys(FIELDS), **{f: (v if v else None) for f, v in who.values.items()}, "email": who.email}
        for side, rows in sides.items():
            for row in rows:
                out += [
                    Wrong("lost", who.name, f"{f} at {side}: {row[f]!r}, not {value!r}")
                    for f, value in wanted.items()
                    if row[f] != value
                ]
                if who.withdrawn and not row["stopped"]:
                    out.append(Wrong("resurrected", who.name, f"withdrawn, yet not at {side}"))
        if all(len(rows) == 1 for rows in sides.values()):
            one, other = sides[HUBSPOT][0], sides[MAILCHIMP][0]
            out += [
                Wrong("diverged", who.name, f"{f}: {one[f]!r} and {other[f]!r}")
                for f in (*wanted, "family_name", "stopped")
                if one[f] != other[f]
            ]
    return out
