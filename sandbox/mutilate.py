"""Answers that are not whole.  In: an answer's JSON.  Out: the same, with half of its rows, or without a field.

A vendor that fails in these ways says 200: whoever believes it takes people for deleted, or values for cleared.
"""

from __future__ import annotations

from typing import Any

import orjson

_LISTS = ("results", "members", "contacts")  # where rows are
_NESTED = ("properties", "merge_fields", "interests")  # where a record keeps its fields


def cut(body: bytes) -> bytes:
    """The list ends after half of its rows, and says that it is the end; a total stays as it was."""
    data = _object(body)
    if data is None:
        return body
    for name in _LISTS:
        rows = data.get(name)
        if isinstance(rows, list):
            data[name] = rows[: len(rows) // 2]
            data.pop("paging", None)
    return orjson.dumps(data)


def hide(body: bytes, field: str) -> bytes:
    """No record shows a value in this field."""
    data = _object(body)
    if data is None:
        return body
    rows = [row for name in _LISTS for row in data.get(name, ()) if isinstance(row, dict)]
    for row in [data, *rows]:
        for holder in [row, *(row[name] for name in _NESTED if isinstance(row.get(name), dict))]:
            if field in holder:
                holder[field] = None
    return orjson.dumps(data)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None
