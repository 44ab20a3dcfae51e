"""What Brevo's simulator knows by heart: attributes, forms, refusals.  Pure.

Sources: developers.brevo.com/reference, and its contract in github.com/getbrevo/brevo-python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

ZONE = timezone(timedelta(hours=2))  # the account's own: times come with its offset
OWNER = "owner@account.example"  # cannot be deleted
IDENTIFIERS = {
    "EMAIL": "email",
    "SMS": "SMS",
    "WHATSAPP": "whatsapp",
    "LANDLINE_NUMBER": "landline",
    "EXT_ID": "ext_id",
}
MARKS = ("emailBlacklisted", "smsBlacklisted", "whatsappBlacklisted")
HOOKS = 40

_EMAIL = re.compile(r"[^\s@,]{1,64}@[^\s@,]+\.[^\s@,]{2,}")
PHONE = re.compile(r"(?:\+|00)?([1-9][0-9]{6,16})")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_TEXTS = ("FIRSTNAME", "LASTNAME", "SMS", "WHATSAPP", "LANDLINE_NUMBER", "EXT_ID", "JOB_TITLE", "LINKEDIN")
_EXTRA = ("PHONE", "COMPANY", "CITY", "COUNTRY", "LANGUAGE", "TAGS")  # made by this account's people
ATTRIBUTES: tuple[dict[str, Any], ...] = (
    *({"name": name, "category": "normal", "type": "text"} for name in ("EMAIL", *_TEXTS, *_EXTRA)),
    {"name": "AGE", "category": "normal", "type": "float"},
    {"name": "BIRTHDAY", "category": "normal", "type": "date"},
    {"name": "VIP", "category": "normal", "type": "boolean"},
    {
        "name": "TIER",
        "category": "category",
        "enumeration": [{"value": 1, "valueStr": "1", "label": "Gold"}, {"value": 2, "valueStr": "2", "label": "Iron"}],
    },
    {
        "name": "TOPICS",
        "category": "normal",
        "type": "multiple-choice",
        "multiCategoryOptions": ["Fairs", "News", "Offers"],
    },
    {"name": "SPENT", "category": "calculated", "calculatedValue": "SUM[AMOUNT]"},
)


class BrevoError(Exception):
    """A refusal in Brevo's words."""

    def __init__(self, status: int, code: str, message: str, twice: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"code": code, "message": message}
        if twice:
            self.body["metadata"] = {"duplicate_identifiers": list(twice)}


ABOUT: dict[str, Any] = {
    "organization_id": "64f1c2d3e4a5b6c7d8e9f001",
    "user_id": 1,
    "enterprise": False,
    "email": OWNER,
    "companyName": "Sandbox Ltd",
    "firstName": "Kim",
    "lastName": "Owner",
    "plan": [{"type": "free", "creditsType": "sendLimit", "credits": 300}],
    "planVerticals": [],
    "address": {"street": "1 Sand Street", "city": "Berlin", "zipCode": "10117", "country": "Germany"},
    "relay": {
        "enabled": True,
        "data": {"userName": OWNER, "relay": "smtp-relay.sandbox.example", "port": 587},
    },
}


def fits(about: Mapping[str, Any], value: Any) -> bool:
    """Whether a value is of the attribute's type."""
    match about.get("type"):
        case "float":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "date":
            return isinstance(value, str) and _DAY.fullmatch(value) is not None
        case "multiple-choice":
            return isinstance(value, list) and set(value) <= set(about["multiCategoryOptions"])
        case None:
            return any(str(value) in {str(one["value"]), one["label"]} for one in about["enumeration"])
    return isinstance(value, str)


def address(value: Any) -> str:
    """An address as it is kept."""
    if not isinstance(value, str) or _EMAIL.fullmatch(value.strip()) is None:
        raise BrevoError(400, "invalid_parameter", "email is not valid in body")
    return value.strip().lower()


def as_object(body: Any) -> Mapping[str, Any]:
    """The body as an object."""
    if not isinstance(body, Mapping):
        raise BrevoError(400, "bad_request", "Input must be a valid JSON object")
    return body


def whole(asked: Mapping[str, str], name: str, otherwise: int) -> int:
    """A whole number in the query."""
    try:
        return int(asked.get(name, otherwise))
    except ValueError:
        raise BrevoError(400, "invalid_parameter", f"{name} should be an integer") from None


def since(text: str) -> float:
    """A time in the query, seconds since 1970."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BrevoError(400, "invalid_parameter", "Invalid date-time") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def iso(at: float) -> str:
    """A time as Brevo shows it: milliseconds, the account's own offset."""
    return datetime.fromtimestamp(at, ZONE).isoformat(timespec="milliseconds")
