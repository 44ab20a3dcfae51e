"""The contacts of one HubSpot account.  In: values that passed the rules.  Out: contacts, and events of what changed.

Sources: developers.hubspot.com, "CRM API | Contacts" (unique addresses, merge, archive, privacy deletion; mirror of
April 2026); secondary addresses are unique across contacts too: github.com/mitodl/mitxpro/issues/2653.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.hubspot_events import Events
from sandbox.hubspot_rules import (
    CREATED,
    DEFAULTS,
    EMAIL,
    ID,
    MERGED,
    MODIFIED,
    MORE_EMAILS,
    OPTOUT,
    HubSpotError,
    Property,
    addresses,
    bad,
    clean,
    exists,
    iso,
    not_found,
)
from sandbox.journal import Journal

FIRST_ID = 10_001
SHOWN = (CREATED, EMAIL, "firstname", ID, MODIFIED, "lastname")  # where a call names no properties
_ALWAYS = (CREATED, ID, MODIFIED)
_NAMING = (EMAIL, "firstname", "lastname")  # a contact needs one of these
_REMEMBERED = 200  # changes of one contact that its history holds; ours
_MERGES = 250  # "Merge": records that one record can take in


def _history() -> deque[tuple[int, str, str, str]]:
    return deque(maxlen=_REMEMBERED)


@dataclass(slots=True)
class Contact:
    """One contact.  ``values``: what it has, as text; a property without a value is missing."""

    id: int
    created: int  # ms
    updated: int  # ms
    values: dict[str, str] = field(repr=False)
    archived: int | None = None  # ms
    history: deque[tuple[int, str, str, str]] = field(default_factory=_history, repr=False)  # (ms, source, name, value)

    def get(self, name: str) -> str | None:
        """The value of a property."""
        return self.values.get(name)


class Portal:
    """All contacts, live and archived, and the properties that they can have."""

    def __init__(self, now: Callable[[], int], events: Events, *, merge_makes_new: bool = False) -> None:
        """``now``: milliseconds since 1970.  ``merge_makes_new``: a merge gives the record a new id."""
        self.schema: dict[str, Property] = {p.name: p for p in DEFAULTS}
        self.moved: Callable[[Contact, str], None] = lambda _contact, _source: None  # called when addresses change
        self._now = now
        self._events = events
        self._merge_makes_new = merge_makes_new
        self.clear()

    def clear(self) -> None:
        """Forget all contacts; ids go on from the first."""
        self.contacts: dict[int, Contact] = {}
        self.journal = Journal()  # live contacts by their last change
        self._ids: list[int] = []  # all ids ever given, ascending
        self._keys: dict[tuple[str, str], int] = {}  # (unique property, value) of live contacts; all addresses as email
        self._into: dict[int, int] = {}  # merged id -> the id it lives on in
        self._next = FIRST_ID

    def stamp(self) -> str:
        """The present as HubSpot writes it."""
        return iso(self._now())

    # --- reading ------------------------------------------------------------------------------------------------------

    def exact(self, id_: str) -> Contact | None:
        """The live contact of exactly this id: batch calls do not follow merges."""
        contact = self.contacts.get(_number(id_))
        return None if contact is None or contact.archived is not None else contact

    def by_id(self, id_: str, *, archived: bool = False) -> Contact:
        """The contact of this id, or the one that it was merged into.  Raises 404."""
        number = _number(id_)
        while number in self._into:
            number = self._into[number]
        contact = self.contacts.get(number)
        if contact is None or (contact.archived is not None) != archived:
            raise not_found()
        return contact

    def by_key(self, name: str, value: str) -> Contact | None:
        """The live contact with this value of a unique property.  Raises 400 where the property is not unique."""
        if name == ID:
            return self.exact(value)
        if name != EMAIL and not (name in self.schema and self.schema[name].unique):
            raise bad(f"Unable to look up by the property {name}: it has no unique values")
        value = value.lower() if name == EMAIL else value
        contact = self.contacts.get(self._keys.get((name, value), -1))
        if contact is not None and name == EMAIL and contact.get(EMAIL) != value:
            return None  # a secondary address holds its place but is not looked up
        return contact

    def holder(self, address: str) -> Contact | None:
        """The live contact with this address, primary or secondary."""
        return self.contacts.get(self._keys.get((EMAIL, address.lower()), -1))

    def live(self) -> Iterator[Contact]:
        """All live contacts by id."""
        return (c for c in self.contacts.values() if c.archived is None)

    def page(self, after: int, limit: int, *, archived: bool) -> tuple[list[Contact], int | None]:
        """Contacts with an id beyond ``after`` in order of id; the place to go on from, None at the end."""
        found: list[Contact] = []
        for index in range(bisect_right(self._ids, after), len(self._ids)):
            contact = self.contacts.get(self._ids[index])
            if contact is not None and (contact.archived is not None) == archived:
                if len(found) == limit:
                    return found, found[-1].id
                found.append(contact)
        return found, None

    def show(
        self, contact: Contact, names: Sequence[str] | None = None, histories: Sequence[str] = ()
    ) -> dict[str, Any]:
        """As JSON.  ``names``: properties asked for; None = the default set; unknown ones are left out silently."""
        if names is None:
            names = SHOWN
        values = contact.values
        shown = {name: values.get(name) for name in names if name in self.schema}
        shown |= {name: values[name] for name in _ALWAYS}
        row: dict[str, Any] = {
            "id": str(contact.id),
            "properties": shown,
            "createdAt": values[CREATED],
            "updatedAt": values[MODIFIED],
            "archived": contact.archived is not None,
        }
        if contact.archived is not None:
            row["archivedAt"] = iso(contact.archived)
        if histories:
            row["propertiesWithHistory"] = {
                name: [
                    {"value": v, "timestamp": iso(at), "sourceType": source}
                    for at, source, n, v in reversed(contact.history)
                    if n == name
                ]
                for name in histories
                if name in self.schema
            }
        return row

    # --- writing ------------------------------------------------------------------------------------------------------

    def check(self, given: object) -> dict[str, str]:
        """The values of a new contact, or the reason why there can be none."""
        values = {n: v for n, v in clean(self.schema, given, {}).items() if v}
        if not any(name in values for name in _NAMING):
            raise bad("A contact needs at least one of email, firstname or lastname")
        self._check_keys(values, None)
        return values

    def create(self, values: Mapping[str, str], source: str, *, at: int | None = None) -> Contact:
        """A new contact with values that were checked.  ``at``: ms, for filling the sandbox with a past."""
        quiet = at is not None
        at = self._now() if at is None else at
        contact = Contact(self._next, at, at, {**values, CREATED: iso(at), MODIFIED: iso(at), ID: str(self._next)})
        self._next += 1
        contact.history.extend((at, source, n, v) for n, v in values.items())
        self.contacts[contact.id] = contact
        self._ids.append(contact.id)
        self._enter(contact)
        self.journal.note(contact.id, at)
        if not quiet:
            self._events.created(contact.id, at, source, values.items())
        if EMAIL in values:
            self.moved(contact, source)
        return contact

    def clean_update(self, contact: Contact, given: object) -> dict[str, str]:
        """The values that this update would set, or the reason why it cannot."""
        values = clean(self.schema, given, contact.values)
        email = values.get(EMAIL)
        if email and MORE_EMAILS not in values and email in (more := contact.values.get(MORE_EMAILS, "").split(";")):
            # A secondary address becomes the primary one: the two change places.
            swapped = [a for a in [contact.values.get(EMAIL, ""), *more] if a not in {"", email}]
            values[MORE_EMAILS] = ";".join(swapped)
        self._check_keys(values, contact)
        return values

    def update(self, contact: Contact, values: Mapping[str, str], source: str, *, at: int | None = None) -> None:
        """Set values that were cleaned (``""`` = clear).  What does not change is no change."""
        changed = {n: v for n, v in values.items() if contact.values.get(n, "") != v}
        if not changed:
            return
        quiet = at is not None
        at = self._now() if at is None else at
        self._leave(contact)
        for name, value in changed.items():
            if value:
                contact.values[name] = value
            else:
                contact.values.pop(name, None)
            contact.history.append((at, source, name, value))
        self._enter(contact)
        self._touch(contact, at)
        if not quiet:
            self._events.changed(contact.id, at, source, changed.items())
        if EMAIL in changed:
            self.moved(contact, source)

    def archive(self, contact: Contact, source: str) -> None:
        """To the archive: its addresses are free again."""
        self._leave(contact)
        contact.archived = self._now()
        self.journal.forget(contact.id)
        self._events.deleted(contact.id, contact.archived, source)

    def restore(self, contact: Contact, source: str) -> None:
        """Back from the archive.  Raises 409 where an address was given to another contact meanwhile."""
        self._check_keys(contact.values, contact)
        contact.archived = None
        self._enter(contact)
        self._touch(contact, self._now())
        self._events.restored(contact.id, contact.updated, source)

    def merge(self, winner: Contact, loser: Contact, source: str) -> Contact:
        """Merge ``loser`` into ``winner``: the winner's values stay, gaps are filled, addresses are kept.

        What mirrors consent goes by the address that is the primary one afterwards (community.hubspot.com 824366).
        """
        if winner.id == loser.id:
            raise bad("Cannot merge a contact with itself")
        merged = [i for i in winner.values.get(MERGED, "").split(";") if i]
        if len(merged) >= _MERGES:
            raise HubSpotError(414, "VALIDATION_ERROR", "This record was merged too often")
        at = self._now()
        keep = set(_ALWAYS) | {MERGED, MORE_EMAILS}
        filled = {
            n: v
            for n, v in loser.values.items()
            if n not in keep and n not in winner.values and not n.startswith(OPTOUT)
        }
        others = [a for a in [*addresses(winner.values), *addresses(loser.values)] if a != winner.values.get(EMAIL)]
        others = [a for a in dict.fromkeys(others) if a != filled.get(EMAIL)]
        former = [str(loser.id), *(i for i in loser.values.get(MERGED, "").split(";") if i)]
        self._remove(loser)
        survivor = winner
        if self._merge_makes_new:
            self._remove(winner)
            survivor = Contact(self._next, winner.created, at, {**winner.values, ID: str(self._next)})
            self._next += 1
            self.contacts[survivor.id] = survivor
            self._ids.append(survivor.id)
            self._into[winner.id] = survivor.id
            former.append(str(winner.id))
        self._into[loser.id] = survivor.id
        changes = {**filled, MERGED: ";".join([*merged, *former])}
        if others:
            changes[MORE_EMAILS] = ";".join(others)
        self._enter(survivor)
        self._events.merged(winner.id, loser.id, survivor.id, at, source, len(filled))
        self.update(survivor, changes, source)
        return survivor

    def erase(self, contact: Contact, source: str) -> None:
        """Privacy deletion: nothing remains."""
        self._remove(contact)
        self._events.erased(contact.id, self._now(), source)

    # --- keeping order ------------------------------------------------------------------------------------------------

    def _touch(self, contact: Contact, at: int) -> None:
        contact.updated = at
        contact.values[MODIFIED] = iso(at)
        self.journal.note(contact.id, at)

    def _remove(self, contact: Contact) -> None:
        self._leave(contact)
        self.contacts.pop(contact.id, None)
        self.journal.forget(contact.id)

    def _unique(self, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        yield from ((EMAIL, address) for address in addresses(values))
        yield from ((n, v) for n, v in values.items() if n != EMAIL and v and self.schema[n].unique)

    def _check_keys(self, values: Mapping[str, str], contact: Contact | None) -> None:
        for key in self._unique(values):
            holder = self._keys.get(key)
            if holder is not None and (contact is None or holder != contact.id):
                raise exists(holder)

    def _enter(self, contact: Contact) -> None:
        if contact.archived is None:
            for key in self._unique(contact.values):
                self._keys[key] = contact.id

    def _leave(self, contact: Contact) -> None:
        for key in self._unique(contact.values):
            if self._keys.get(key) == contact.id:
                del self._keys[key]


def _number(id_: str) -> int:
    return int(id_) if id_.isascii() and id_.isdigit() else -1
