"""Mautic's contact fields and what it does with values: which it takes, which it drops without a word, how it compares.

Sources: github.com/mautic/developer-documentation-new, ``docs/rest_api/contacts.rst``, ``fields.rst``; github.com/
mautic/mautic, ``LeadBundle/Controller/Api/CustomFieldsApiControllerTrait.php`` (blanks and zeros), ``CoreBundle/Assets/
json/countries.json`` (names of countries; the list here is the part that the sandbox's people live in).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

COUNTRIES = (
    *("Austria", "Belgium", "Brazil", "Canada", "Czech Republic", "Denmark", "France", "Germany", "Greece", "India"),
    *("Ireland", "Italy", "Japan", "Netherlands", "Norway", "Poland", "Portugal", "Spain", "Sweden", "Switzerland"),
    *("Turkey", "United Kingdom", "United States"),
)
TIERS = ("bronze", "silver", "gold")
_EMAIL = re.compile(r"[^\s@,]{1,64}@[^\s@,]+\.[^\s@,]{2,}")
_LONGEST = 191  # characters of a text column

_GROUPS: Mapping[str, Mapping[str, str]] = {  # group -> alias -> type, in the order of a new installation
    "core": {
        "title": "lookup",
        "firstname": "text",
        "lastname": "text",
        "company": "text",
        "position": "text",
        "email": "email",
        "mobile": "tel",
        "phone": "tel",
        "points": "number",
        "fax": "tel",
        "address1": "text",
        "address2": "text",
        "city": "text",
        "state": "region",
        "zipcode": "text",
        "country": "country",
        "preferred_locale": "locale",
        "timezone": "timezone",
        "last_active": "datetime",
        "attribution": "number",
        "website": "url",
        # made by the owner of this installation
        "tier": "select",
        "interests": "multiselect",
        "vip": "boolean",
        "customer_number": "text",
    },
    "social": {"facebook": "text", "linkedin": "text"},
    "personal": {},
    "professional": {},
}
GROUPS = tuple(_GROUPS)


def _properties(type_: str) -> Any:
    match type_:
        case "select":
            return {"list": [{"label": tier.title(), "value": tier} for tier in TIERS]}
        case "multiselect":
            return {"list": [{"label": w.title(), "value": w} for w in ("news", "events")]}
        case "lookup":
            return {"list": ["Mr", "Mrs", "Miss"]}
        case "boolean":
            return {"no": "No", "yes": "Yes"}
        case "number":
            return {"roundmode": 4, "scale": 2}
    return []


FIELDS: dict[str, dict[str, Any]] = {}
for _group, _fields in _GROUPS.items():
    for _alias, _type in _fields.items():
        FIELDS[_alias] = {
            "id": len(FIELDS) + 1,
            "isPublished": True,
            "label": _alias.replace("_", " ").title(),
            "alias": _alias,
            "type": _type,
            "group": _group,
            "object": "lead",
            "isRequired": False,
            "isUniqueIdentifer": _alias in {"email", "customer_number"},
            "properties": _properties(_type),
        }
UNIQUE = tuple(alias for alias, about in FIELDS.items() if about["isUniqueIdentifer"])


class MauticError(Exception):
    """A refusal: status, message, and what is wrong with which field."""

    def __init__(self, status: int, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = dict(details) if details is not None else {}


def collate(value: Any) -> str:
    """A value as the database compares it (utf8mb4_unicode_ci): neither case nor accents count."""
    spread = unicodedata.normalize("NFKD", str(value).strip())
    return "".join(c for c in spread if not unicodedata.combining(c)).casefold()


def check(values: Mapping[str, Any]) -> None:
    """Raises 400 for the first value that its field does not take."""
    for alias, value in values.items():
        if alias in FIELDS and value not in (None, "") and (wrong := _wrong(FIELDS[alias]["type"], value)):
            raise MauticError(400, f"{alias}: {wrong}", {alias: [wrong]})


def _wrong(type_: str, value: Any) -> str | None:
    match type_:
        case "email" if not (isinstance(value, str) and _EMAIL.fullmatch(value)):
            return "Please enter a valid email address."
        case "country" if value not in COUNTRIES:
            return "The selected choice is invalid."
        case "select" if value not in TIERS:
            return "The selected choice is invalid."
        case "number" if not re.fullmatch(r"-?\d+(\.\d+)?", str(value)):
            return "Please enter a number."
        case "text" if len(str(value)) > _LONGEST:
            return "This value is too long."
    return None


def set_values(row: dict[str, Any], given: Mapping[str, Any], *, replace: bool) -> None:
    """Set what is given; zeros are dropped, blanks too unless they are asked for.  ``replace``: as PUT does."""
    blanks = replace or bool(given.get("overwriteWithBlank"))
    for alias, about in FIELDS.items():
        if alias == "points" or (alias not in given and not replace):
            continue
        value = given.get(alias)
        if isinstance(value, bool):
            value = int(value)
        if not replace and _zero(value):
            continue
        if value is None or value == "":
            if blanks:
                row[alias] = None
            continue
        row[alias] = _kept(about["type"], value)


def _zero(value: Any) -> bool:
    return value is not None and re.fullmatch(r"-?\d+(\.\d+)?", str(value)) is not None and int(float(value)) == 0


def _kept(type_: str, value: Any) -> Any:
    if type_ == "multiselect" and isinstance(value, list):
        return "|".join(map(str, value))
    if type_ == "number":
        return float(value) if "." in str(value) else int(value)
    return int(value) if type_ == "boolean" else str(value).strip()
