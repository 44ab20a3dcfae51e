"""Salesforce's accounts, opportunities and users, with who belongs to them.  In: ids, conditions.  Out: rows, records.

Which fields and objects an org has depends on its edition, its settings and the user: the describes say it, asked once.
Links to people are rows of their own (AccountContactRelation, OpportunityContactRole) and move nothing else when they
change, so polls walk them, too.  Sources: developer.salesforce.com, "Object Reference" (Account,
AccountContactRelation, Opportunity, OpportunityContactRole, User, CurrencyType), "Connect REST API" (organization).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from connectors._salesforce_calls import BATCH, PAGE, Found, Records, followed, portions
from connectors._salesforce_wire import (
    CONTACT,
    EMPLOYER,
    MODIFIED,
    Row,
    entity_of,
    full_id,
    id_of,
    listed,
    property_of,
    quoted,
    time,
)
from connectors.contract import Kind, NeedsHuman, Page, Property, Record, Refused, Schema, Tie, TryLater

ENTITIES: Final = {Kind.COMPANY: "Account", Kind.DEAL: "Opportunity"}
RELATION: Final = "AccountContactRelation"  # only where a contact may be related to several accounts
CURRENCY: Final = "CurrencyIsoCode"  # only in orgs with several currencies
OUTCOME: Final = "Outcome"
"""Ours: ``open``, ``won`` or ``lost``, by the flags that Salesforce keeps beside the stage, whatever it is called."""

_LINKS: Final = {"Account": RELATION, "Opportunity": "OpportunityContactRole"}
_OWNER: Final = {RELATION: EMPLOYER, "OpportunityContactRole": "OpportunityId"}
_LINK_FIELDS: Final = {
    RELATION: (EMPLOYER, "ContactId", "IsDirect", "IsActive", "Roles"),
    "OpportunityContactRole": ("OpportunityId", "ContactId", "IsPrimary", "Role"),
}
_ALWAYS: Final = ("Id", MODIFIED, "IsDeleted")
_PERSON: Final = "IsPersonAccount"  # an account that is a person; only where the org has such
_USER: Final = ("Id", "Name", "Email", "IsActive", "Department", "UserRole.Name")


class Objects:
    """All of an org but its people, as far as this user sees it."""

    def __init__(self, records: Records) -> None:
        """``records``: by which calls are made."""
        self._records = records
        self._known: dict[str, Mapping[str, Mapping[str, Any]] | None] = {}
        self._currency: str | None = None

    def described(self, entity: str) -> Mapping[str, Mapping[str, Any]] | None:
        """The fields of an object by name; None where the org, or this user, does not have it."""
        known = self._known
        if entity not in known:
            response = self._records.send("GET", f"/sobjects/{entity}/describe", take={404})
            known[entity] = None if response.status_code == 404 else _fields(entity, self._records.body(response))
        return known[entity]

    def forget(self) -> None:
        """Settings and rights may have changed: all is asked for again."""
        self._known = {}
        self._currency = None

    def there(self, entity: str) -> bool:
        """Whether the org has this object."""
        return self.described(entity) is not None

    def has(self, entity: str, names: Iterable[str]) -> list[str]:
        """Those of the names that the object has."""
        known = self.described(entity)
        return [] if known is None else [n for n in names if n in known]

    def employs(self) -> bool:
        """Whether a contact's own account is all that it belongs to, and is to be seen: people are read without it."""
        return not self.there(RELATION) and bool(self.has(CONTACT, [EMPLOYER]))

    def page(
        self, entity: str, names: Iterable[str], where: str, order: str, *, size: int = BATCH, removed: bool = False
    ) -> tuple[list[Mapping[str, Any]], bool, datetime | None]:
        """One page of rows as they are said; see ``Records.select``."""
        try:
            return self._records.select(entity, dict.fromkeys(names), where, order, size=size, removed=removed)
        except NeedsHuman:
            self.forget()
            raise

    def of(self, entity: str, names: Sequence[str], column: str, ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """All rows whose column names one of these ids."""
        for part in portions(list(ids), BATCH):
            where = f"{column} IN {listed(part)}"
            after = ""
            full = bool(part)
            while full:
                said, full, _ = self.page(entity, ("Id", *names), where + after, "Id", size=PAGE)
                yield from said
                if full:
                    after = f" AND Id > {quoted(id_of(said[-1]))}"

    def currency(self) -> str | None:
        """The org's only currency; None where it is not said.  The resource is known from use, not from its page."""
        if self._currency is None:
            try:
                response = self._records.send("GET", "/connect/organization", take={400, 404})
            except NeedsHuman:
                return None  # the right to ask is apart from that to read amounts
            said = self._records.body(response) if response.status_code == 200 else None
            features = said.get("features") if isinstance(said, Mapping) else None
            code = features.get("defaultCurrencyIsoCode") if isinstance(features, Mapping) else None
            self._currency = code if isinstance(code, str) and code else None
        return self._currency


class Around:
    """The accounts, or the opportunities, of one org: a source of pages."""

    def __init__(self, records: Records, objects: Objects, kind: Kind, fields: Iterable[str]) -> None:
        """``fields``: those to read; ``Owner.Email`` and the like lead over a relation."""
        self._records, self._objects = records, objects
        self.kind = kind
        self.entity = ENTITIES[kind]
        self.link = _LINKS[self.entity]
        self.fields = tuple(dict.fromkeys(fields))
        self.entities = (self.entity,)

    @property
    def order(self) -> Sequence[str]:
        """The objects of a poll: with the links, where the org has them."""
        return (self.entity, self.link) if self._objects.there(self.link) else (self.entity,)

    def query(self, entity: str, where: str, order: str, *, removed: bool = False) -> Found:
        """One page of records, or of links."""
        if entity == self.link:
            names = [*_ALWAYS, *_LINK_FIELDS[self.link]]
            said, full, at = self._objects.page(entity, names, where, order, removed=removed)
            return Found(tuple(_row(self.kind, r, names) for r in said), full, at)
        return self._found(" AND ".join(w for w in (where, self._companies()) if w), order, removed=removed)

    def count(self, entity: str, _where: str = "") -> int | None:
        """How many there are."""
        return self._records.count(entity, self._companies())

    def about(self, entity: str, rows: Sequence[Row]) -> Sequence[Row]:
        """Changed rows, or the records whose links changed; removed links count as well."""
        if entity != self.link:
            return rows
        owners = dict.fromkeys(o for r in rows if (o := _id(r.record.fields.get(_OWNER[self.link]))) is not None)
        return [row for row in self.rows(list(owners)).values() if not row.away]

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """The rows of these ids, removed ones too."""
        found: dict[str, Row] = {}
        for part in portions(list(ids), BATCH):
            after, full = "", True
            while full:
                page = self.query(self.entity, f"Id IN {listed(part)}{after}", "Id", removed=True)
                found |= {r.record.id: r for r in page.rows}
                full = page.full
                after = f" AND Id > {quoted(page.rows[-1].record.id)}" if full else ""
        return found

    def resolve(self, ids: Iterable[str]) -> tuple[list[Record], set[str]]:
        """The records that these ids lead to (an account may have been merged), and those that are removed."""
        return followed(ids, self.rows)

    def removals(self, entity: str, start: datetime, end: datetime) -> list[str]:
        """What the delete feed names; of links it names no record that they belong to."""
        return self._records.removals(entity, start, end) if entity == self.entity else []

    def first(self, records: Sequence[Record]) -> list[Record]:
        """As always."""
        return self.led(records)

    def led(self, records: Sequence[Record]) -> list[Record]:
        """The records with who belongs to them."""
        if not records:
            return []
        people = _employed if self.kind is Kind.COMPANY else _roles
        ties = people(self._objects, [r.id for r in records])
        return [
            r
            if ties is None
            else replace(r, ties={**r.ties, Kind.CONTACT: tuple(t for _, t in sorted(ties.get(r.id, {}).items()))})
            for r in records
        ]

    def read(self, ids: Sequence[str]) -> list[Record]:
        """The records of these ids; a merged account is answered by the one that it lives on in."""
        return self.led(self.resolve(ids)[0])

    def describe(self) -> Schema:
        """The fields that this user may see."""
        known = self._objects.described(self.entity)
        if known is None:
            raise NeedsHuman(f"salesforce: the user cannot see {self.entity}: allow it in its profile")
        found = {name: property_of(name, about) for name, about in known.items()}
        if self.kind is Kind.DEAL:
            found.setdefault(CURRENCY, Property(CURRENCY, "string", read_only=True))
            found[OUTCOME] = Property(OUTCOME, "picklist", read_only=True, options=("open", "won", "lost"))
        return Schema(self.kind, found)

    def _companies(self) -> str:
        """People who are accounts are contacts, no companies."""
        return f"{_PERSON} = false" if self._objects.has(self.entity, [_PERSON]) else ""

    def _found(self, where: str, order: str, *, removed: bool) -> Found:
        own = "MasterRecordId" if self.kind is Kind.COMPANY else EMPLOYER
        deal = self.kind is Kind.DEAL
        alone = deal and CURRENCY in self.fields and not self._objects.has(self.entity, [CURRENCY])
        ours = {name for name, is_ours in ((CURRENCY, alone), (OUTCOME, deal)) if is_ours}
        flags = ("IsClosed", "IsWon") if deal and OUTCOME in self.fields else ()
        names = [*_ALWAYS, own, *flags, *(n for n in self.fields if n not in ours)]
        said, full, at = self._objects.page(self.entity, names, where, order, removed=removed)
        only = self._objects.currency() if alone and said else None
        more = {} if only is None else {CURRENCY: only}
        if flags:
            said = [{**r, OUTCOME: _outcome(r)} for r in said]
        return Found(tuple(_row(self.kind, {**more, **r}, self.fields) for r in said), full, at)


def _outcome(said: Mapping[str, Any]) -> str:
    if said.get("IsClosed") is not True:
        return "open"
    return "won" if said.get("IsWon") is True else "lost"


def _row(kind: Kind, said: Mapping[str, Any], names: Iterable[str]) -> Row:
    fields = {n: _value(v) for n in names if (v := _at(said, n)) is not _UNSAID}
    ties: dict[Kind, tuple[Tie, ...]] = {}
    if kind is Kind.DEAL and EMPLOYER in said:
        account = _id(said[EMPLOYER])
        ties[Kind.COMPANY] = () if account is None else (Tie(account, main=True),)
    record = Record(kind, id_of(said), fields, time(said.get(MODIFIED)), ties=ties)
    deleted = said.get("IsDeleted") is True
    return Row(record, deleted, False, _id(said.get("MasterRecordId")) if deleted else None)


_UNSAID: Final = object()


def _at(said: Mapping[str, Any], name: str) -> Any:
    """A field, also over a relation; nobody there has none of it."""
    value: Any = said
    for part in name.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping) or part not in value:
            return _UNSAID
        value = value[part]
    return value


def _value(value: Any) -> Any:
    """Fractions as plain text, which keeps them exact: amounts may come as 1.0E7."""
    return f"{value:f}" if isinstance(value, Decimal) else value


def _id(value: object) -> str | None:
    return full_id(value) if isinstance(value, str) else None


def _fields(entity: str, about: object) -> Mapping[str, Mapping[str, Any]]:
    fields = about.get("fields") if isinstance(about, Mapping) else None
    if not isinstance(fields, list) or not fields:
        raise TryLater(f"salesforce: the describe of {entity} has no fields")
    return {f["name"]: f for f in fields if isinstance(f, Mapping) and isinstance(f.get("name"), str) and "type" in f}


# --- who belongs to them ----------------------------------------------------------------------------------------------


def _employed(objects: Objects, accounts: Sequence[str]) -> dict[str, dict[str, Tie]] | None:
    """The contacts of accounts: related ones, where the org has such; else those whose own account it is."""
    if not objects.there(RELATION):
        rows = objects.of(CONTACT, [EMPLOYER], EMPLOYER, accounts)
        return _by_owner(rows, EMPLOYER, "Id", lambda _: (True, None))
    links = objects.of(RELATION, _LINK_FIELDS[RELATION], EMPLOYER, accounts)
    # Who has left is kept as a relation that is not active.
    held = (r for r in links if r.get("IsDirect") is True or r.get("IsActive") is not False)
    return _by_owner(held, EMPLOYER, "ContactId", lambda r: (r.get("IsDirect") is True, r.get("Roles")))


def _roles(objects: Objects, deals: Sequence[str]) -> dict[str, dict[str, Tie]] | None:
    """The contacts of opportunities; None where their roles are not to be seen.  One that is alone is the main one."""
    entity = _LINKS["Opportunity"]
    if not objects.there(entity):
        return None
    rows = objects.of(entity, _LINK_FIELDS[entity], "OpportunityId", deals)
    found = _by_owner(rows, "OpportunityId", "ContactId", lambda r: (r.get("IsPrimary") is True, r.get("Role")))
    return {
        deal: {i: replace(t, main=True) for i, t in ties.items()} if len(ties) == 1 else ties
        for deal, ties in found.items()
    }


def _by_owner(
    rows: Iterable[Mapping[str, Any]],
    owner: str,
    person: str,
    said: Callable[[Mapping[str, Any]], tuple[bool, Any]],
) -> dict[str, dict[str, Tie]]:
    """The ties by record and person; somebody with two roles is told once."""
    found: dict[str, dict[str, Tie]] = {}
    for row in rows:
        of, who = _id(row.get(owner)), _id(row.get(person))
        if of is None or who is None or entity_of(who) != CONTACT:
            continue
        main, role = said(row)
        before = found.setdefault(of, {}).get(who, Tie(who))
        names = [] if before.role is None else before.role.split(", ")
        names += [r for r in (role.split(";") if isinstance(role, str) else []) if r and r not in names]
        found[of][who] = Tie(who, before.main or main, ", ".join(names) if names else None)
    return found


# --- users ------------------------------------------------------------------------------------------------------------


def users(objects: Objects, cursor: str | None) -> Page:
    """One page of the users by id; those of portals and of Salesforce's own processes are none of us."""
    where = "UserType = 'Standard'"
    if cursor:
        after = full_id(cursor)
        if after is None:
            raise Refused("salesforce: this cursor was not made here; start again without one", code="cursor")
        where += f" AND Id > {quoted(after)}"
    said, full, _ = objects.page("User", _USER, where, "Id", size=PAGE)
    return Page(tuple(map(_user, said)), id_of(said[-1]) if full else "", more=full)


def _user(said: Mapping[str, Any]) -> Record:
    role = _at(said, "UserRole.Name")
    fields = {
        "email": said.get("Email"),
        "name": said.get("Name"),
        "team": role if isinstance(role, str) else said.get("Department"),
        "active": said.get("IsActive") is True,
    }
    return Record(Kind.COLLEAGUE, id_of(said), fields)
