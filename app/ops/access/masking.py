"""Values of people as those see them who may not see them: names, addresses and numbers become dots.

In: an answer as JSON, or text.  Out: the same shape.  What a canonical field holds is masked unless the field is known
to say little about who it is (``OPEN``), so that fields of your own are masked; apart from that, whatever looks like an
e-mail address or an international phone number is masked wherever it stands.  Towns, employers and job titles stay:
they are what figures are made of, and few of them together can still point at somebody.
"""

from __future__ import annotations

import re
from typing import Any, Final

from app.core.fields import FIELDS

DOTS: Final = "•••"
_WORDS: Final = (
    "email email_alternates given_name middle_name family_name full_name phone mobile_phone website "
    "street postal_code birthday owner_email deal_owner_email deal_name lead_flag"
)
PERSONAL: Final = frozenset(_WORDS.split())
OPEN: Final = frozenset(FIELDS) - PERSONAL
# Of companies and deals, where they are not named as those of contacts are.
_OF_OBJECTS: Final = frozenset(
    ["domain", "industry", "size", "employees", "country", "city", "region", "currency", "amount", "stage", "status"]
)
_MAPS: Final = frozenset(["values", "facts", "shadow", "altered", "detail", "evidence", "fields"])  # keyed by field
_KEYS: Final = frozenset({"address", "remote_id", "record"}) | PERSONAL
# What stands beside a field's values and says nothing of them.
_BESIDE: Final = (
    "id field connection source actor run rule event at stored_at since contact_id version by code status "
    "kind level weight choice waiting compared mismatched state next_step channel purpose file line way "
    "winner clear read write theirs_name decided_by"
)
_STRUCTURE: Final = frozenset(_BESIDE.split())
_MAIL: Final = re.compile(r"[^\s@<>\"'(),:;&=/?]+@([^\s@<>\"'(),:;&=/?]+)")
_PHONE: Final = re.compile(r"(?<![\w+])\+\d(?:[ ()./-]{0,2}\d){6,14}")


def text(value: str) -> str:
    """A text without the addresses and numbers in it; the part of an address behind the @ stays."""
    return _PHONE.sub(DOTS, _MAIL.sub(rf"{DOTS}@\1", value))


def document(value: Any) -> Any:
    """A JSON answer, masked."""
    return _walk(value, hidden=False)


def _walk(value: Any, *, hidden: bool) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [_walk(one, hidden=hidden) for one in value]
    if not isinstance(value, dict):
        return value
    name = value.get("field")
    if isinstance(name, str):
        hidden = name not in OPEN
    return {key: _entry(key, inner, value, hidden=hidden) for key, inner in value.items()}


def _entry(key: str, value: Any, around: dict[str, Any], *, hidden: bool) -> Any:
    if key in _MAPS and isinstance(value, dict):
        company = "domain" in around
        return {field: _of_field(field, inner, company=company) for field, inner in value.items()}
    if key in _KEYS or (hidden and key not in _STRUCTURE and not isinstance(value, dict)):
        return _hide(value)
    return _walk(value, hidden=hidden)


def _of_field(field: str, value: Any, *, company: bool) -> Any:
    if field in OPEN or field in _OF_OBJECTS or (company and field == "name"):
        return _walk(value, hidden=False)
    return _walk(value, hidden=True) if isinstance(value, dict) else _hide(value)


def _hide(value: Any) -> Any:
    """Numbers and truths stay, as a schema may want them; no canonical field keeps a person's name or address so."""
    if isinstance(value, str):
        return text(value) if _MAIL.fullmatch(value) else DOTS if value else value
    if isinstance(value, list):
        return [_hide(one) for one in value]
    if isinstance(value, dict):
        return {key: _hide(one) for key, one in value.items()}
    return value
