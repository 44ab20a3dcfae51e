"""Lists of profiles as Klaviyo asks for them: filters, orders, pages.  In: query parameters.  Out: profiles, a cursor.

A cursor counts rows: whether Klaviyo's does is not documented, and this is the worse of the two.  Source: Klaviyo's
OpenAPI document 2026-07-15, ``GET /api/profiles``; "API overview", filtering and pagination.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from sandbox.klaviyo_store import KlaviyoError, Profile

_SUPPRESSION = "subscriptions.email.marketing.suppression"
_KEYS = frozenset({"any", "equals"})
_TIMES = frozenset({"greater-than", "less-than"})
OPERATORS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("id", "email", "phone_number", "external_id"), _KEYS),
    **dict.fromkeys(("created", "updated"), _TIMES),
    f"{_SUPPRESSION}.timestamp": _TIMES | {"greater-or-equal", "less-or-equal"},
    f"{_SUPPRESSION}.reason": frozenset({"equals"}),
}
SORTS = ("id", "created", "updated", "email", f"{_SUPPRESSION}.timestamp")
_ONE = re.compile(r"(?P<op>[a-z-]+)\((?P<name>[\w.]+),(?P<value>\[.*?\]|\"(?:[^\"\\]|\\.)*\"|[^,()\"]+)\)")
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z")


def page(profiles: Iterable[Profile], query: Mapping[str, str]) -> tuple[list[Profile], str | None]:
    """The profiles of one page, and the cursor of the next."""
    size = query.get("page[size]", "20")
    if not size.isdigit() or not 1 <= int(size) <= 100:
        raise KlaviyoError(400, detail="page size must be from 1 to 100", parameter="page[size]")
    sort = query.get("sort", "-created")
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise KlaviyoError(400, detail=f"{name} cannot be sorted by", parameter="sort")
    found = [p for p in profiles if all(_fits(p, *one) for one in conditions(query.get("filter", "")))]
    found.sort(key=lambda p: (_value(p, name), p.id), reverse=sort.startswith("-"))
    start = place(query)
    end = start + int(size)
    return found[start:end], following(end, len(found))


def following(end: int, count: int) -> str | None:
    """The cursor of what comes after so many of ``count`` rows."""
    return base64.urlsafe_b64encode(f"next::{end}".encode()).decode() if count > end else None


def conditions(text: str, operators: Mapping[str, frozenset[str]] = OPERATORS) -> list[tuple[str, str, Any]]:
    """(operator, field, value) of each.  Raises 400."""
    if text.startswith("and(") and text.endswith(")"):
        text = text[4:-1]
    found: list[tuple[str, str, Any]] = []
    place = 0
    while place < len(text):
        one = _ONE.match(text, place)
        if one is None or one["name"] not in operators or one["op"] not in operators[one["name"]]:
            raise KlaviyoError(400, detail="Invalid filter provided", parameter="filter")
        found.append((one["op"], one["name"], _read(one["op"], one["value"])))
        place = one.end() + (one.end() < len(text) and text[one.end()] == ",")
    return found


def _read(op: str, text: str) -> Any:
    if text.startswith(("[", '"')):
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = None
        if value is not None and isinstance(value, list) == (op == "any"):
            return value
    elif op != "any" and _STAMP.fullmatch(text):
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    raise KlaviyoError(400, detail="Invalid filter provided", parameter="filter")


def _fits(found: Profile, op: str, name: str, wanted: Any) -> bool:
    if name == f"{_SUPPRESSION}.reason":
        return wanted in found.suppressed
    own = _value(found, name)
    if name == "email" and op in _KEYS:
        asked: Sequence[str] = wanted if isinstance(wanted, list) else [wanted]
        return own in {a.lower() for a in asked}
    match op:
        case "any":
            return own in wanted
        case "equals":
            return bool(own == wanted)
    if name == f"{_SUPPRESSION}.timestamp" and not found.suppressed:
        return False
    match op:
        case "greater-than":
            return bool(int(own) > wanted)
        case "greater-or-equal":
            return bool(int(own) >= wanted)
        case "less-than":
            return bool(int(own) < wanted)
    return bool(int(own) <= wanted)


def _value(found: Profile, name: str) -> Any:
    if name == f"{_SUPPRESSION}.timestamp":
        return max(found.suppressed.values(), default=0.0)
    if name in {"created", "updated"}:
        return int(getattr(found, name))
    return found.id if name == "id" else str(found.about.get(name) or "")


def place(query: Mapping[str, str]) -> int:
    """How many rows a cursor has behind it.  Raises 400."""
    if "page[cursor]" not in query:
        return 0
    try:
        head, _, rows = base64.urlsafe_b64decode(query["page[cursor]"]).decode().partition("::")
        if head == "next":
            return int(rows)
    except ValueError:
        pass
    raise KlaviyoError(400, detail="Invalid page cursor", parameter="page[cursor]")
