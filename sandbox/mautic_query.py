"""Mautic's lists: queries as PHP reads them, conditions as its repositories do.  Pure.

Sources: github.com/mautic/mautic, ``CoreBundle/Entity/CommonRepository.php``; github.com/mautic/
developer-documentation-new, ``docs/rest_api/stats.rst``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sandbox.mautic_rules import MauticError, collate

_PART = re.compile(r"\[([^\]]*)\]")
_ORM = {"dateAdded": "date_added", "dateModified": "date_modified", "dateIdentified": "date_identified"}


def nested(items: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``a[0][b]=1`` as nested dictionaries."""
    found: dict[str, Any] = {}
    for name, value in items:
        head, bracket, rest = name.partition("[")
        keys = [head, *_PART.findall(bracket + rest)]
        place = found
        for key in keys[:-1]:
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                inner = place[key] = {}
            place = inner
        place[keys[-1] if keys[-1] else str(len(place))] = value
    return found


def php(found: Mapping[Any, Any]) -> Any:
    """A PHP array as JSON: a list where its keys are 0, 1, 2, and so an empty one too."""
    return list(found.values()) if list(found) == list(range(len(found))) else {str(k): v for k, v in found.items()}


def whole(query: Mapping[str, Any], name: str, otherwise: int) -> int:
    """A number of the query."""
    value = str(query.get(name, otherwise))
    return int(value) if value.isdigit() else otherwise


def listed(rows: Iterable[dict[str, Any]], where: Any) -> list[dict[str, Any]]:
    """The rows that meet all conditions."""
    clauses = list(where.values()) if isinstance(where, dict) else []
    return [row for row in rows if all(_fits(row, clause) for clause in clauses)]


def ordered(rows: Iterable[dict[str, Any]], column: str, direction: str) -> list[dict[str, Any]]:
    """In the order of a column; rows without a value first, as MySQL does."""
    name = _column(column)
    return sorted(rows, key=lambda row: _key(row.get(name)), reverse=direction.lower() == "desc")


def _fits(row: Mapping[str, Any], clause: Mapping[str, Any]) -> bool:
    expression, value = clause.get("expr"), clause.get("val")
    if expression in {"orX", "andX"}:
        inner = [_fits(row, one) for one in (value.values() if isinstance(value, dict) else [])]
        return any(inner) if expression == "orX" else all(inner)
    name = _column(str(clause.get("col", "")))
    if name not in row:
        raise MauticError(500, "An exception occurred while executing a query: Unknown column.")
    return _compares(str(expression), row[name], str(value))


def _compares(expression: str, own: Any, value: str) -> bool:
    if expression in {"isNull", "isNotNull"}:
        return (own is None) is (expression == "isNull")
    if own is None:
        return False
    mine = _key(own)
    match expression:
        case "eq":
            return bool(mine == _like(own, value))
        case "neq":
            return bool(mine != _like(own, value))
        case "in":
            return mine in [_like(own, v) for v in next(csv.reader([value]))]
        case "gt":
            return bool(mine > _like(own, value))
        case "gte":
            return bool(mine >= _like(own, value))
        case "lt":
            return bool(mine < _like(own, value))
        case "lte":
            return bool(mine <= _like(own, value))
    return True  # an expression that it does not know is left out


def _column(name: str) -> str:
    column = name.partition(".")[2] if "." in name else name
    return _ORM.get(column, column)


def _key(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (1, value) if isinstance(value, (int, float)) else (2, collate(value))


def _like(own: Any, value: str) -> tuple[int, Any]:
    if isinstance(own, (int, float)) and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return (1, float(value))
    return (2, collate(value))


def paged(rows: Sequence[dict[str, Any]], query: Mapping[str, Any], size: int) -> Sequence[dict[str, Any]]:
    """The rows of one page."""
    start = whole(query, "start", 0)
    return rows[start : start + whole(query, "limit", size)]
