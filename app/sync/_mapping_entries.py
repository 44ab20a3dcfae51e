"""One canonical field at one vendor, compiled: what the rest of the mapping room works with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.core.fields import NORMAL, Field, Unfit
from app.core.words import Value, Winner
from app.sync.transforms import Function


class Way(StrEnum):
    """Which way a field travels between the vendor and us."""

    IN = "in"
    OUT = "out"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Policy:
    """How a field travels and who wins."""

    way: Way
    winner: Winner
    clearable: bool  # whether an emptied field travels, in either direction


@dataclass(frozen=True, slots=True)
class Entry:
    """One canonical field at this vendor, ready for use.

    ``read``: the vendor's value, not blank, to ours; None where nothing is left of it.  ``write``: our value, not None,
    to the vendor's.  Both raise Unfit.
    """

    field: Field
    theirs: str  # the key in a record's fields
    part: str | None  # the key inside it, where that is an object
    policy: Policy
    required: bool
    read: Function
    write: Function
    words: frozenset[str] | None = None  # the vendor's words that `values` lists
    keeps: bool = False  # words that `values` does not list pass as they are
    converted: bool = False  # the mapping names transforms for it
    reads: tuple[str, ...] = ()  # the transforms by name, those that the field has of itself included
    writes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The canonical name."""
        return self.field.name

    @property
    def normal(self) -> Function:
        """Our value in its normal form.  Raises Unfit."""
        return NORMAL[self.field.type]

    def say(self, value: Value) -> tuple[Any, Value]:
        """Our value, not None, in the vendor's words, and what would be read back of it.  Raises Unfit.

        What would not be read back is not said: neither placeholders nor what the vendor's spelling loses altogether.
        """
        said = self.write(value)
        back = self.read(said)
        if back is None:
            raise Unfit("unreadable", "what would be written reads as nothing")
        return said, back
