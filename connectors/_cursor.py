"""The cursor of a walk as text.  In: where a walk stands.  Out: a text for the store, and back.

A walk is a ``list``, the first reading of everything, or a ``poll`` for what changed since; the connector has a frozen
dataclass for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from connectors.contract import Refused

L = TypeVar("L")
P = TypeVar("P")


class Cursor(Generic[L, P]):
    """Reads and writes the cursors of one connector."""

    def __init__(
        self, vendor: str, listing: type[L], poll: type[P], valid: Callable[[Any], bool] = lambda _state: True
    ) -> None:
        """``valid``: whether a state, right by its types, is one that this connector makes."""
        self._vendor = vendor
        self._listing, self._poll = listing, poll
        self._lists, self._polls = TypeAdapter(listing), TypeAdapter(poll)
        self._valid = valid

    def load(self, cursor: str) -> L | P:
        """A cursor's text back into its state; Refused for a text that is not ours."""
        state: L | P
        try:
            said = json.loads(cursor)
            state = (
                self._polls.validate_python(said["poll"])
                if "poll" in said
                else self._lists.validate_python(said["list"])
            )
            if not self._valid(state):
                raise ValueError(cursor)
        except (ValueError, TypeError, KeyError):
            says = f"{self._vendor}: this cursor was not made here; start again without one"
            raise Refused(says, code="cursor") from None
        return state

    def dump(self, state: L | P) -> str:
        """The state as text."""
        name = "poll" if isinstance(state, self._poll) else "list"
        return json.dumps({name: asdict(state)}, separators=(",", ":"))  # type: ignore[call-overload]  # a dataclass
