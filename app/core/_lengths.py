"""Lengths of time as people write them in a file."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)")
_UNITS = {"ms": 1, "s": 1_000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _span(value: Any) -> Any:
    """``90s``, ``15min``, ``24h``, ``7d`` as ms; a bare number is seconds; ``off`` is None."""
    if value is None or value is False or value == "off":
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value * 1000)
    found = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("a time is written like 90s, 15min, 24h or 7d; off for never")
    return int(float(found[1]) * _UNITS[found[2]])


Span = Annotated[Annotated[int, Field(ge=1_000, le=366 * 86_400_000)] | None, BeforeValidator(_span)]
"""A length of time, in ms."""
