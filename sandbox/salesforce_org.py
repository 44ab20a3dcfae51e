"""The records of a Salesforce org: their rules, the recycle bin, merges, the conversion of leads.

In: records as sent.  Out: rows, or a refusal by its status code.  Texts that are empty are null; addresses are not
unique; an opt-out belongs to its record; a contact's own account is a relation, too.  Sources:
developer.salesforce.com, "Object Reference" (Contact, Lead, AccountContactRelation, Task), "SOAP API Developer Guide"
(StatusCode), "Apex Developer Guide" (merge, lead conversion).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sandbox.salesforce_fields import ALL, FIELDS, PREFIXES, STAGES
from sandbox.webhooks import Happening

ORG = "00D5f000000ABCDEA4"

_EMAIL = re.compile(r"[^\s@,;<>()]{1,64}@[^\s@,;<>()]+\.[A-Za-z]{2,}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


class SfError(Exception):
    """A refusal of one record."""

    def __init__(self, code: str, message: str, fields: Sequence[str] = (), status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = list(fields)
        self.status = status


def full_id(text: str) -> str:
    """An id of 15 characters as 18."""
    parts = (text[n : n + 5] for n in (0, 5, 10))
    return text[:15] + "".join(_LETTERS[sum(c.isupper() << n for n, c in enumerate(p))] for p in parts)


def stamp(at: float) -> str:
    """A time as records show it; seconds are all it has."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


class Org:
    """All records of one org."""

    def __init__(
        self, now: Callable[[], float], emit: Callable[[Iterable[Happening]], None], *, duplicates: str = "off"
    ) -> None:
        """``now``: seconds since 1970.  ``duplicates``: the rule by name, ``off``, ``alert`` or ``block``."""
        self.now = now
        self._emit = emit
        self.duplicates = duplicates
        # Fields that field-level security hides from the user, or that the org does not have.
        self.hidden: set[str] = {"CurrencyIsoCode", "IsPersonAccount"}
        self.absent: set[str] = set()  # objects that the org does not have
        self.currency: str | None = "EUR"  # the only one
        self.messages = set(FIELDS)  # objects whose changes send an outbound message
        self.locked: set[str] = set()  # ids that somebody else is writing just now
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.rows: dict[str, dict[str, dict[str, Any]]] = {entity: {} for entity in ALL}
        self.removals: list[tuple[str, str, float]] = []  # (entity, id, when): the delete log
        self._next = 1
        self._told = 1
        for order, (name, closed) in enumerate((("Not Started", False), ("In Progress", False), ("Completed", True))):
            self.create("TaskStatus", {"ApiName": name, "IsClosed": closed, "SortOrder": order}, "user", at=0)

    def all(self, entity: str, *, removed: bool = False) -> list[dict[str, Any]]:
        """All rows; those in the recycle bin too where asked."""
        return [self.show(entity, r) for r in self.rows[entity].values() if removed or not r["IsDeleted"]]

    def show(self, entity: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """With the name of a contact's account."""
        account = self.rows["Account"].get(str(row.get("AccountId")))
        name = None if account is None else account["Name"]
        return {**row, "Account.Name": name} if entity == "Contact" else dict(row)

    def find(self, entity: str, id_: str, *, removed: bool = False) -> dict[str, Any]:
        """A row by an id of 15 or 18 characters."""
        row = self.rows[entity].get(full_id(id_)) if len(id_) in {15, 18} else None
        if row is None:
            raise SfError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", status=404)
        if row["IsDeleted"] and not removed:
            raise SfError("ENTITY_IS_DELETED", "entity is deleted", status=404)
        return row

    def entity(self, id_: str) -> str:
        """The object of an id."""
        return next((e for e, prefix in PREFIXES.items() if id_.startswith(prefix)), "Contact")

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(
        self, entity: str, given: Mapping[str, Any], source: str, *, save: bool = False, at: float | None = None
    ) -> dict[str, Any]:
        """A new record.  ``save``: past alerts of duplicate rules.  ``at``: seconds, for a past without messages."""
        body = self._checked(entity, given, new=True)
        self._rule(entity, body, save=save)
        id_ = full_id(f"{PREFIXES[entity]}5f00000{self._next:05d}")
        self._next += 1
        moment = stamp(self.now() if at is None else at)
        blank = {name: about.get("default") for name, about in ALL[entity].items()}
        row = {**blank, **body, "Id": id_, "CreatedDate": moment, "LastModifiedDate": moment, "SystemModstamp": moment}
        self._consistent(entity, row, moment)
        self.rows[entity][id_] = row
        self._employ(entity, row, at)
        if at is None:
            self._tell(entity, id_, source)
        return row

    def update(
        self, entity: str, id_: str, given: Mapping[str, Any], source: str, *, save: bool = False
    ) -> dict[str, Any]:
        """Change a record."""
        row = self.find(entity, id_)
        if row.get("IsConverted"):
            raise SfError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        body = self._checked(entity, given, new=False)
        if row["Id"] in self.locked:
            raise SfError("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record")
        self._rule(entity, {**row, **body}, save=save, but=row["Id"])
        row |= body
        self._moved(row)
        self._consistent(entity, row, row["SystemModstamp"])
        if "AccountId" in body:
            self._employ(entity, row, None)
        self._tell(entity, row["Id"], source)
        return row

    def remove(self, entity: str, id_: str, *, master: str | None = None) -> None:
        """Into the recycle bin, without a message."""
        row = self.find(entity, id_)
        row |= {"IsDeleted": True, "MasterRecordId": master}
        self._moved(row)
        self.removals.append((entity, row["Id"], self.now()))

    def restore(self, entity: str, id_: str, source: str) -> dict[str, Any]:
        """Out of the recycle bin."""
        row = self.find(entity, id_, removed=True)
        row |= {"IsDeleted": False, "MasterRecordId": None}
        self._moved(row)
        self._tell(entity, row["Id"], source)
        return row

    def purge(self, entity: str, id_: str) -> None:
        """Out of the recycle bin for good; the delete log keeps the id."""
        del self.rows[entity][full_id(id_)]

    def merge(self, entity: str, master: str, losers: Sequence[str], source: str) -> dict[str, Any]:
        """The losers are removed and name their master, which is updated once."""
        row = self.find(entity, master)
        for loser in losers:
            self.remove(entity, loser, master=row["Id"])
        self._moved(row)
        self._tell(entity, row["Id"], source)
        return row

    def convert(self, lead: str, source: str, *, into: str | None = None) -> dict[str, Any]:
        """A lead becomes a contact, a new one or ``into``; opt-outs are not carried over.  The contact afterwards."""
        row = self.find("Lead", lead)
        if row["IsConverted"]:
            raise SfError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        account = str(self.create("Account", {"Name": row["Company"]}, source)["Id"])
        if into is None:
            own = ("Salutation", "FirstName", "LastName", "Email", "Phone", "MobilePhone", "Title", "LeadSource")
            body = {name: row[name] for name in own if row[name] is not None}
            body |= {f"Mailing{p}": row[p] for p in ("Street", "City", "State", "PostalCode", "Country") if row[p]}
            contact = self.create("Contact", {**body, "AccountId": account}, source, save=True)
        else:
            contact = self.find("Contact", into)
        row |= {
            "IsConverted": True,
            "Status": "Closed",
            "ConvertedDate": stamp(self.now())[:10],
            "ConvertedAccountId": account,
            "ConvertedContactId": contact["Id"],
        }
        self._moved(row)
        self._tell("Lead", row["Id"], source)
        return contact

    # --- keeping order ------------------------------------------------------------------------------------------------

    def _moved(self, row: dict[str, Any]) -> None:
        row |= dict.fromkeys(("LastModifiedDate", "SystemModstamp"), stamp(self.now()))

    def _tell(self, entity: str, id_: str, source: str) -> None:
        """A message names the record; it holds the values of when it is sent."""
        if entity not in self.messages:
            return
        name = full_id(f"04l5f00000{self._told:05d}")
        self._told += 1
        self._emit([Happening(f"{entity}.saved", source, {"entity": entity, "id": id_, "notification": name})])

    def _consistent(self, entity: str, row: dict[str, Any], moment: str) -> None:
        """What follows from a stage, a status, a person."""
        if entity == "Opportunity":
            won = STAGES.get(row["StageName"])
            row |= {"IsClosed": won is not None, "IsWon": won is True}
        elif entity == "Task":
            closed = row["Status"] == "Completed"
            done = row["CompletedDateTime"]
            row |= {"IsClosed": closed, "CompletedDateTime": (done if done else moment) if closed else None}
            if row["WhoId"] is not None:
                self.find(self.entity(row["WhoId"]), row["WhoId"])

    def _employ(self, entity: str, row: Mapping[str, Any], at: float | None) -> None:
        """A contact's account is its direct relation; one that was, is none any more."""
        if entity != "Contact":
            return
        name = "AccountContactRelation"
        own = [r for r in self.all(name) if r["ContactId"] == row["Id"]]
        for one in own:
            if one["IsDirect"] and one["AccountId"] != row["AccountId"]:
                self.remove(name, one["Id"])
        if row["AccountId"] is None:
            return
        here = next((r for r in own if r["AccountId"] == row["AccountId"]), None)
        if here is None:
            here = self.create(name, {"AccountId": row["AccountId"], "ContactId": row["Id"]}, "user", at=at)
        here = self.rows[name][here["Id"]]
        here |= {"IsDirect": True}
        if at is None:
            self._moved(here)

    def _checked(self, entity: str, given: Mapping[str, Any], *, new: bool) -> dict[str, Any]:
        """The values as they are kept.  Raises what breaks a rule."""
        body: dict[str, Any] = {}
        for name, value in given.items():
            about = ALL[entity].get(name)
            if about is None or name in self.hidden:
                says = f"No such column '{name}' on sobject of type {entity}"
                raise SfError("INVALID_FIELD", says)
            if not about["updateable"]:
                raise SfError("INVALID_FIELD_FOR_INSERT_UPDATE", f"Unable to create/update fields: {name}.", [name])
            body[name] = _kept(name, about, value)
        for name, about in ALL[entity].items():
            needed = not about["nillable"] and about["updateable"] and "default" not in about
            if needed and (new or name in body) and body.get(name) is None:
                raise SfError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{name}]", [name])
        return body

    def _rule(self, entity: str, body: Mapping[str, Any], *, save: bool, but: str = "") -> None:
        if entity not in FIELDS or self.duplicates == "off" or (self.duplicates == "alert" and save):
            return
        name = (body.get("FirstName"), body.get("LastName"))
        for row in self.all(entity):
            if row["Id"] != but and (row["FirstName"], row["LastName"]) == name:
                raise SfError("DUPLICATES_DETECTED", "Use one of these records?")


def _kept(name: str, about: Mapping[str, Any], value: Any) -> Any:
    if about["type"] == "boolean":
        if not isinstance(value, bool):
            raise SfError("JSON_PARSER_ERROR", f"Cannot deserialize instance of boolean from {name}")
        return value
    if value is None or value == "":
        return None
    if about["type"] in {"currency", "int"}:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SfError("JSON_PARSER_ERROR", f"Cannot deserialize instance of {about['type']} from {name}")
        return value
    if not isinstance(value, str):
        raise SfError("JSON_PARSER_ERROR", f"Cannot deserialize instance of string from {name}")
    if len(value) > about.get("length", 18):
        says = f"{name}: data value too large: {value} (max length={about['length']})"
        raise SfError("STRING_TOO_LONG", says, [name])
    if about["type"] == "email" and _EMAIL.fullmatch(value) is None:
        raise SfError("INVALID_EMAIL_ADDRESS", f"{name}: invalid email address: {value}", [name])
    if about.get("restricted") and value not in about["options"]:
        says = f"{name}: bad value for restricted picklist field: {value}"
        raise SfError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", says, [name])
    return value
