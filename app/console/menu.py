"""The navigation of the console: what a page says of itself, and the order in which people see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

GROUPS: Final = ("Now", "People", "Agreement", "Service")
"""Headings of the navigation, in this order."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One page in the navigation."""

    name: str  # as people read it
    path: str  # below which all of the page's paths stand
    group: str  # one of GROUPS
    key: str = ""  # g, then this letter, leads there; empty: no shortcut


def grouped(entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """The entries under their headings; a heading without a page is left out.  Raises ValueError for a wrong one."""
    strange = sorted({entry.group for entry in entries} - set(GROUPS))
    if strange:
        raise ValueError(f"no group of the navigation: {', '.join(strange)}")
    found = [(group, [entry for entry in entries if entry.group == group]) for group in GROUPS]
    return [(group, of) for group, of in found if of]
