"""HubSpot's contact properties and what it refuses.  In: values as sent.  Out: values as kept, or HubSpot's errors.

Sources: developers.hubspot.com, "Properties", "CRM API | Contacts" and "Error handling" (mirrors of January 2025 and
April 2026); the shapes of hubspot-api-client 12.0.0 (``crm.properties.models``, ``crm.contacts.models.StandardError``);
wording of errors as quoted in public issues (HubSpot/hubspot-api-nodejs#545, community.hubspot.com 833439).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

_EPOCH = datetime.fromtimestamp(0, UTC)
_DAY = 86_400_000  # ms
# Addresses by RFC 5322 without quoted local parts, ending in a top-level domain (legacydocs "How does HubSpot validate
# email addresses"); whether the domain is a real one is not checked here, since ours are invented.
_EMAIL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@([\w-]+\.)+[^\W\d_][\w-]+")


class HubSpotError(Exception):
    """An error answer.  ``context``: lists of strings, as in the errors of a multi-status answer."""

    def __init__(
        self,
        status: int,
        category: str,
        message: str,
        *,
        errors: list[dict[str, Any]] | None = None,
        context: Mapping[str, list[str]] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """``more``: further keys of the body (``policyName``)."""
        super().__init__(message)
        self.status = status
        self.category = category
        self.message = message
        self.errors = errors
        self.context = context
        self.more = more

    def body(self) -> dict[str, Any]:
        """As the body of an answer of its own."""
        body: dict[str, Any] = {
            "status": "error",
            "message": self.message,
            "correlationId": str(uuid.uuid4()),
            "category": self.category,
        }
        if self.errors is not None:
            body["errors"] = self.errors
        if self.context is not None:
            body["context"] = self.context
        return body | dict(self.more or {})

    def entry(self, context: Mapping[str, list[str]]) -> dict[str, Any]:
        """As one of the errors of a multi-status answer."""
        return {
            "status": "error",
            "category": self.category,
            "message": self.message,
            "context": {**(self.context or {}), **context},
            "errors": self.errors or [],
            "links": {},
        }


def bad(message: str) -> HubSpotError:
    """A request that makes no sense."""
    return HubSpotError(400, "VALIDATION_ERROR", message)


def not_found() -> HubSpotError:
    """A record that is not there."""
    return HubSpotError(404, "OBJECT_NOT_FOUND", "resource not found")


def exists(id_: object) -> HubSpotError:
    """Another contact has this address or unique value."""
    return HubSpotError(409, "CONFLICT", f"Contact already exists. Existing ID: {id_}")


def iso(ms: int) -> str:
    """Epoch milliseconds as HubSpot writes times."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def millis(text: str) -> int | None:
    """A time as sent, ISO 8601 or epoch milliseconds, in milliseconds; None where it is neither."""
    if text.lstrip("-").isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - _EPOCH) // timedelta(milliseconds=1)


class _Invalid(Exception):
    """A value that the property does not take."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Property:
    """One property of contacts.  ``options``: valid values; empty = free, or kept elsewhere (owners)."""

    name: str
    label: str
    type: str = "string"
    field_type: str = "text"
    group: str = "contactinformation"
    options: tuple[str, ...] = ()
    read_only: bool = False
    unique: bool = False
    custom: bool = False

    @property
    def many(self) -> bool:
        """Whether it holds a ``;`` list."""
        return self.type == "enumeration" and self.field_type == "checkbox"

    def clean(self, text: str, current: str) -> str:
        """The value as kept.  Raises for one that is not valid.  ``""`` clears."""
        if text == "":
            return ""
        match self.type:
            case "number":
                try:
                    if not Decimal(text).is_finite():
                        raise InvalidOperation
                except InvalidOperation:
                    raise _Invalid("INVALID_LONG", f"{text} was not a valid long.") from None
            case "bool":
                _one_of(text, ("true", "false"))
            case "date":
                if (ms := millis(text)) is None:
                    raise _Invalid("INVALID_DATE", f"{text} was not a valid long.")
                if ms % _DAY:
                    raise _Invalid("INVALID_DATE", f"{text} is at {iso(ms)[11:-1]} UTC, not midnight!")
                return iso(ms)[:10]
            case "datetime":
                if (ms := millis(text)) is None:
                    raise _Invalid("INVALID_DATE", f"{text} was not a valid long.")
                return iso(ms)
            case "enumeration" if self.many:
                chosen = [v for v in text.split(";") if v]
                if text.startswith(";"):  # appends to what is there
                    chosen = [v for v in current.split(";") if v] + chosen
                for value in chosen:
                    _one_of(value, self.options)
                return ";".join(dict.fromkeys(chosen))
            case "enumeration":
                _one_of(text, self.options)
        return text

    def public(self) -> dict[str, Any]:
        """As the properties endpoint shows it."""
        return {
            "name": self.name,
            "label": self.label,
            "description": "",
            "type": self.type,
            "fieldType": self.field_type,
            "groupName": self.group,
            "options": [
                {"label": o.replace("_", " ").title(), "value": o, "displayOrder": i, "hidden": False}
                for i, o in enumerate(self.options)
            ],
            "displayOrder": -1,
            "calculated": False,
            "externalOptions": self.type == "enumeration" and not self.options,
            "archived": False,
            "hasUniqueValue": self.unique,
            "hidden": False,
            "hubspotDefined": not self.custom,
            "formField": not self.read_only,
            "modificationMetadata": {
                "archivable": self.custom,
                "readOnlyDefinition": not self.custom,
                "readOnlyOptions": not self.custom,
                "readOnlyValue": self.read_only,
            },
        }


def _one_of(value: str, options: tuple[str, ...]) -> None:
    if options and value not in options:
        raise _Invalid("INVALID_OPTION", f"{value} was not one of the allowed options: [{', '.join(options)}]")


STAGES = (
    "subscriber",
    "lead",
    "marketingqualifiedlead",
    "salesqualifiedlead",
    "opportunity",
    "customer",
    "evangelist",
    "other",
)

EMAIL, MORE_EMAILS, MERGED = "email", "hs_additional_emails", "hs_merged_object_ids"
CREATED, MODIFIED, ID, OPTOUT = "createdate", "lastmodifieddate", "hs_object_id", "hs_email_optout"

_LANGUAGES = (  # a part of HubSpot's list
    *("cs", "da", "de", "de-at", "el", "en", "en-gb", "en-us", "es", "es-mx", "fi", "fr", "fr-ca", "it", "nl", "pl"),
    *("pt", "pt-br", "pt-pt", "sv", "tr"),
)
_LEAD_STATUSES = ("NEW", "OPEN", "IN_PROGRESS", "OPEN_DEAL", "UNQUALIFIED", "ATTEMPTED_TO_CONTACT", "CONNECTED")

DEFAULTS = (  # "CRM API | Contacts", default properties; the last four stand for an account's own
    Property(EMAIL, "Email"),
    Property(MORE_EMAILS, "Additional email addresses", "enumeration", "checkbox"),
    Property("firstname", "First Name"),
    Property("lastname", "Last Name"),
    Property("salutation", "Salutation"),
    Property("phone", "Phone Number"),
    Property("mobilephone", "Mobile Phone Number"),
    Property("jobtitle", "Job Title"),
    Property("company", "Company Name"),
    Property("website", "Website URL"),
    Property("address", "Street Address"),
    Property("city", "City"),
    Property("state", "State/Region"),
    Property("zip", "Postal Code"),
    Property("country", "Country/Region"),
    Property("date_of_birth", "Date of birth"),
    Property("industry", "Industry"),
    Property("message", "Message", field_type="textarea"),
    Property("hs_language", "Preferred language", "enumeration", "select", options=_LANGUAGES),
    Property("hs_timezone", "Time Zone", "enumeration", "select"),
    Property("lifecyclestage", "Lifecycle Stage", "enumeration", "radio", options=STAGES),
    Property("hs_lead_status", "Lead Status", "enumeration", "radio", options=_LEAD_STATUSES),
    Property("hubspot_owner_id", "Contact owner", "enumeration", "select"),
    Property("hubspotscore", "HubSpot Score", "number", "number", read_only=True),
    Property("closedate", "Close Date", "datetime", "date"),
    Property("hs_marketable_status", "Marketing contact status", "enumeration", "select", read_only=True),
    Property(OPTOUT, "Unsubscribed from all email", "bool", "booleancheckbox", "emailinformation", read_only=True),
    Property(CREATED, "Create Date", "datetime", "date", read_only=True),
    Property(MODIFIED, "Last Modified Date", "datetime", "date", read_only=True),
    Property(ID, "Record ID", "number", "number", read_only=True),
    Property(MERGED, "Merged record IDs", "enumeration", "checkbox", read_only=True),
    Property(
        "customer_tier", "Customer tier", "enumeration", "select", options=("bronze", "silver", "gold"), custom=True
    ),
    Property(
        "topics", "Topics", "enumeration", "checkbox", options=("products", "events", "research", "offers"), custom=True
    ),
    Property("renewal_date", "Renewal date", "date", "date", custom=True),
    Property("member_number", "Member number", unique=True, custom=True),
)


def clean(schema: Mapping[str, Property], given: object, current: Mapping[str, str]) -> dict[str, str]:
    """All given properties as kept (``""`` = clear).  Raises one error that names every property that is not valid."""
    if not isinstance(given, Mapping):
        raise bad("Invalid input JSON: properties must be an object")
    cleaned: dict[str, str] = {}
    invalid: list[tuple[str, str, str]] = []
    for name, value in given.items():
        known = schema.get(name)
        if known is None:
            invalid.append((name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist'))
        elif known.read_only:
            invalid.append((name, "READ_ONLY_VALUE", f'"{name}" is a read only property; its value cannot be set.'))
        else:
            try:
                cleaned[name] = _value(known, _text(value), current.get(name, ""))
            except _Invalid as error:
                invalid.append((name, error.code, str(error)))
    if invalid:
        listed = [{"isValid": False, "message": m, "error": c, "name": n} for n, c, m in invalid]
        raise HubSpotError(
            400,
            "VALIDATION_ERROR",
            f"Property values were not valid: {json.dumps(listed)}",
            errors=[{"message": m, "code": c, "context": {"propertyName": [n]}} for n, c, m in invalid],
        )
    return cleaned


def addresses(values: Mapping[str, str]) -> list[str]:
    """All addresses of a contact, the primary one first."""
    listed = [values.get(EMAIL, ""), *values.get(MORE_EMAILS, "").split(";")]
    return [a for a in listed if a]


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
    raise _Invalid("INVALID_STRING", "a property value must be a string")


def _value(known: Property, text: str, current: str) -> str:
    if known.name in {EMAIL, MORE_EMAILS}:
        text = text.lower()
        for address in [text] if known.name == EMAIL else text.split(";"):
            if address and _EMAIL.fullmatch(address) is None:
                raise _Invalid("INVALID_EMAIL", f"Email address {address} is invalid")
    cleaned = known.clean(text, current)
    if known.name == "lifecyclestage" and cleaned and current and STAGES.index(cleaned) < STAGES.index(current):
        return current  # moves forward only; going back needs a "" first ("CRM API | Contacts")
    return cleaned
