"""Mautic's contacts: unique fields that make one of two without a word, do-not-contact, deletions for good, logs.

In: contacts as sent.  Out: contacts as shown.  Sources: github.com/mautic/mautic at 24271492 and 6.0.3,
``LeadBundle/Controller/Api/LeadApiController.php``, ``LeadBundle/Deduplicate/ContactMerger.php``,
``LeadBundle/Model/DoNotContact.php``, ``LeadBundle/Model/LeadModel.php`` (merged ids),
``LeadBundle/EventListener/LeadSubscriber.php`` (audit log), ``WebhookSubscriber.php``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox import mautic_events as events
from sandbox.mautic_rules import FIELDS, GROUPS, UNIQUE, MauticError, check, collate, set_values
from sandbox.webhooks import Happening

STATES = ("contactable", "unsubscribed", "bounced", "manual")  # by the number of the reason
_API, _PERSON = (2, "Api User"), (1, "Ad Min")


@dataclass(slots=True)
class Contact:
    """One contact.  Times: seconds since 1970.  ``dnc``: channel -> id, reason, comments, when."""

    id: int
    added: float
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    points: int = 0
    stage: str | None = None
    tags: list[str] = field(default_factory=list)
    dnc: dict[str, tuple[int, int, str, float]] = field(default_factory=dict)
    modified: float | None = None
    identified: float | None = None
    by: tuple[int, str] = _PERSON


class Contacts:
    """All contacts of one installation."""

    def __init__(self, now: Callable[[], float], emit: Callable[[Iterable[Happening]], None]) -> None:
        """``now``: seconds since 1970."""
        self._now = now
        self._emit = emit
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.rows: dict[int, Contact] = {}
        self.merged: dict[int, int] = {}
        self.audit: list[dict[str, Any]] = []
        self._tags: dict[str, int] = {}
        self._next = 1
        self._next_dnc = 1

    # --- showing ------------------------------------------------------------------------------------------------------

    def show(self, one: Contact) -> dict[str, Any]:
        """As JSON."""
        groups: dict[str, Any] = {name: {} for name in GROUPS}
        for alias, about in FIELDS.items():
            value = one.values.get(alias)
            parts = ("id", "group", "label", "alias", "type", "properties")
            shown = {name: about[name] for name in parts}
            groups[about["group"]][alias] = {**shown, "value": value, "normalizedValue": "" if value is None else value}
        every = {"id": one.id, "points": one.points, **{a: one.values.get(a) for a in FIELDS if a != "points"}}
        stage = None if one.stage is None else {"id": 1, "name": one.stage, "weight": 10}
        dnc = [
            {"id": n, "reason": r, "comments": c, "channel": channel, "channelId": None}
            for channel, (n, r, c, _) in one.dnc.items()
        ]
        return {
            "isPublished": True,
            "dateAdded": self.iso(one.added),
            "dateModified": self.iso(one.modified),
            "createdBy": _PERSON[0],
            "createdByUser": _PERSON[1],
            "modifiedBy": one.by[0] if one.modified is not None else None,
            "modifiedByUser": one.by[1] if one.modified is not None else None,
            "id": one.id,
            "points": one.points,
            "color": None,
            "fields": {**{name: group if group else [] for name, group in groups.items()}, "all": every},
            "lastActive": None,
            "owner": None,
            "ipAddresses": [],
            "tags": [{"id": self._tags[tag], "tag": tag} for tag in one.tags],
            "utmtags": None,
            "stage": stage,
            "dateIdentified": self.iso(one.identified),
            "preferredProfileImage": None,
            "doNotContact": dnc,
            "frequencyRules": [],
        }

    def table(self) -> Iterator[dict[str, Any]]:
        """The contacts as conditions see them."""
        for one in self.rows.values():
            times = {"date_added": one.added, "date_modified": one.modified, "date_identified": one.identified}
            own = {alias: one.values.get(alias) for alias in FIELDS}
            yield {**own, "points": one.points, "id": one.id, **{n: self.stamp(at) for n, at in times.items()}}

    def objections(self) -> list[dict[str, Any]]:
        """The table ``lead_donotcontact``."""
        found = [
            {"id": n, "lead_id": one.id, "date_added": self.stamp(at), "reason": r, "channel": ch, "comments": comments}
            for one in self.rows.values()
            for ch, (n, r, comments, at) in one.dnc.items()
        ]
        return sorted(found, key=lambda row: row["id"])

    def stamp(self, at: float | None) -> str | None:
        """As the database shows a time."""
        return None if at is None else datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%d %H:%M:%S")

    def iso(self, at: float | None) -> str | None:
        """As the API shows a time."""
        return None if at is None else datetime.fromtimestamp(int(at), UTC).isoformat()

    # --- finding ------------------------------------------------------------------------------------------------------

    def entity(self, id_: int) -> Contact | None:
        """The contact of an id, or the one that it was merged into."""
        while id_ not in self.rows and id_ in self.merged:
            id_ = self.merged[id_]
        return self.rows.get(id_)

    def duplicate(self, given: Mapping[str, Any]) -> Contact | None:
        """The first contact that shares one of the unique fields."""
        keys = {name: collate(given[name]) for name in UNIQUE if given.get(name) not in (None, "")}
        for one in self.rows.values():
            if any(one.values.get(n) is not None and collate(one.values[n]) == key for n, key in keys.items()):
                return one
        return None

    # --- writing ------------------------------------------------------------------------------------------------------

    def new(self, given: Mapping[str, Any], source: str, *, at: float | None = None) -> tuple[Contact, bool]:
        """As ``POST /contacts/new``: who is there by a unique field is changed.  The contact, and whether it is new."""
        found = self.duplicate(given)
        if found is not None:
            return self.edit(found, given, source), False
        check(given)
        one = Contact(self._next, self._now() if at is None else at)
        self._next += 1
        self.rows[one.id] = one
        self._set(one, given, source, replace=False, fresh=True, quiet=at is not None)
        return one, True

    def edit(self, one: Contact, given: Mapping[str, Any], source: str, *, replace: bool = False) -> Contact:
        """Change a contact; another one that holds a unique field that is given is merged into it first."""
        check(given)
        other = self.duplicate(given)
        if other is not None and other.id != one.id:
            self.merge(one, other, source)
        self._set(one, given, source, replace=replace)
        return one

    def merge(self, winner: Contact, loser: Contact, source: str) -> None:
        """The newest value of each field stays; points are added; do-not-contact goes with the loser."""
        before = self.show(winner)
        newest, oldest = sorted((winner, loser), key=lambda c: c.modified or c.added, reverse=True)
        filled = {a: v for a, v in newest.values.items() if v is not None}
        winner.values = {**oldest.values, **filled}
        winner.points += loser.points
        winner.tags = list(dict.fromkeys([*winner.tags, *loser.tags]))
        self.merged[loser.id] = winner.id
        self._log(loser, "merge")
        self._changed(winner, before, source)
        self.delete(loser, source)

    def delete(self, one: Contact, source: str) -> None:
        """For good."""
        del self.rows[one.id]
        self._log(one, "delete")
        shown = {**self.show(one), "id": None}
        self._emit([events.happening(events.DELETE, source, str(self.iso(self._now())), shown, id=one.id)])

    def add_points(self, one: Contact, delta: int, source: str) -> None:
        """Add to the score."""
        before, old = self.show(one), one.points
        one.points += delta
        self._changed(one, before, source)
        points = {"old_points": old, "new_points": one.points}
        at = str(self.iso(self._now()))
        self._emit([events.happening(events.POINTS, source, at, self.show(one), points=points)])

    def object(self, one: Contact, channel: str, reason: int, comments: str, source: str) -> bool:
        """Set do-not-contact (0 removes it); what the person said is not overwritten.  Whether something changed."""
        old = one.dnc.get(channel)
        if (old is None and reason == 0) or (old is not None and reason in {1, 2, 3} and old[1] in {1, reason}):
            return False
        before = self.show(one)
        if reason == 0:
            del one.dnc[channel]
        else:
            one.dnc[channel] = (self._next_dnc, reason, comments, self._now())
            self._next_dnc += 1
        at = str(self.iso(self._now()))
        told = {"channel": channel, "old_status": STATES[0 if old is None else old[1]], "new_status": STATES[reason]}
        self._changed(one, before, source)
        self._emit([events.happening(events.CHANNEL, source, at, self.show(one), **told)])
        return True

    # --- keeping order ------------------------------------------------------------------------------------------------

    def _set(
        self,
        one: Contact,
        given: Mapping[str, Any],
        source: str,
        *,
        replace: bool,
        fresh: bool = False,
        quiet: bool = False,
    ) -> None:
        before = self.show(one)
        for dnc in given.get("doNotContact") or []:
            reason = int(dnc.get("reason", 3))
            if reason not in range(len(STATES)):
                raise MauticError(400, "Invalid reason code given")
            self.object(one, dnc.get("channel", "email"), reason, dnc.get("comments", ""), source)
        set_values(one.values, given, replace=replace)
        for tag in given.get("tags") or []:
            self._tag(one, tag)
        if one.identified is None and any(one.values.get(n) is not None for n in ("email", "firstname", "lastname")):
            one.identified = self._now() if not quiet else one.added
        if not quiet:
            self._changed(one, before, source, fresh=fresh)

    def _tag(self, one: Contact, tag: str) -> None:
        if tag.startswith("-"):
            one.tags = [t for t in one.tags if t != tag[1:]]
        else:
            self._tags.setdefault(tag, len(self._tags) + 1)
            one.tags = list(dict.fromkeys([*one.tags, tag]))

    def _changed(self, one: Contact, before: Mapping[str, Any], source: str, *, fresh: bool = False) -> None:
        """Stamp and tell, where something changed; visitors whom nobody knows tell nothing."""
        after = self.show(one)
        if after == before and not fresh:
            return
        if not fresh:
            one.modified, one.by = self._now(), _PERSON if source == "user" else _API
            after = self.show(one)
        if one.identified is not None:
            known = before["dateIdentified"] is not None
            kind = events.UPDATE if known else events.NEW
            self._emit([events.happening(kind, source, str(self.iso(self._now())), copy.deepcopy(after))])

    def _log(self, one: Contact, action: str) -> None:
        row = {"id": len(self.audit) + 1, "bundle": "lead", "object": "lead", "object_id": str(one.id)}
        self.audit.append({**row, "action": action, "date_added": self.stamp(self._now())})
