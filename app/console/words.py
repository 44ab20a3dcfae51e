"""Values as people read them on the pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

from app.ops.shapes import Count


def text(value: Any) -> str:
    """A canonical value for people; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if isinstance(value, list):
        return ", ".join(text(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text(v)}" for name, v in sorted(value.items()) if v is not None)
    return str(value)


def ago(ms: int | None) -> str:
    """How long ago, in words; in steps that do not change every second."""
    if ms is None:
        return "never"
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= size:
            return f"{ms // size} {unit} ago"
    return "just now" if ms < 10_000 else f"{ms // 10_000 * 10} s ago"


def coded(words: str) -> Markup:
    """Words in which commands stand between backticks, with each command as code; everything is escaped."""
    parts = words.split("`")
    whole = len(parts) % 2 == 1  # else a backtick is one too many, and means itself
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if whole and n % 2 else escape(part if whole or not n else f"`{part}")
        for n, part in enumerate(parts)
    )


def label(name: str) -> str:
    """A canonical name as words: ``job_title`` → ``job title``."""
    return name.replace("_", " ").replace(":", " ")


def moment(at: datetime | None) -> str:
    """A time (UTC) to the minute; nothing for None."""
    return "" if at is None else f"{at.day} {at:%b %Y, %H:%M} UTC"


def number(value: float | None) -> str:
    """A figure with thousands apart; a dash for None."""
    return "–" if value is None else f"{value:,.0f}"


def count(found: Count) -> str:
    """A bounded count."""
    return f"{found.count:,}{'+' if found.at_least else ''}"


def seconds(value: float | None) -> str:
    """A duration in seconds in words; a dash for None."""
    if value is None:
        return "–"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def share(value: float | None) -> str:
    """A part of one in percent; a dash for None, and neither a false zero nor a false whole."""
    if value is None:
        return "–"
    percent = value * 100
    if percent == 0:
        return "0 %"
    if percent < 0.01:
        return "< 0.01 %"
    if 99.99 < percent < 100:
        return "> 99.99 %"
    return f"{percent:.2f} %" if percent < 10 or 99.5 <= percent < 100 else f"{percent:.0f} %"
