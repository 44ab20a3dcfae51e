"""The cursor of a walk as text.  In: where a walk stands.  Out: a text for the store, and back.

A walk is a ``list``, the first reading of everything, or a ``poll`` for what changed since; the connector has a frozen
dataclass for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from connectors.contract import Refused

L = TypeVar("L")
P = TypeVar("P")
_NOT_OURS = "{}: this cursor was not made here; start again without one"


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
            raise Refused(_NOT_OURS.format(self._vendor), code="cursor") from None
        return state

    def dump(self, state: L | P) -> str:
        """The state as text."""
        name = "poll" if isinstance(state, self._poll) else "list"
        return json.dumps({name: asdict(state)}, separators=(",", ":"))  # type: ignore[call-overload]  # a dataclass


class Turns(Generic[P]):
    """The cursor of a walk over several kinds that take turns: whose turn it is, and where each of them stands."""

    def __init__(self, vendor: str, names: Iterable[str], poll: type[P]) -> None:
        """``names``: of the kinds, in their order.  ``poll``: where the walk over one of them stands."""
        self._vendor = vendor
        self._names = tuple(names)
        self._cursors = TypeAdapter(tuple[int, dict[str, poll]])  # type: ignore[valid-type]

    def load(self, cursor: str | None) -> tuple[str, dict[str, P]]:
        """Whose turn it is, and where each stands that was begun; Refused for a text that is not ours."""
        if cursor is None:
            return self._names[0], {}
        try:
            turn, states = self._cursors.validate_json(cursor)
            if turn not in range(len(self._names)):
                raise ValueError(cursor)
        except ValueError:
            raise Refused(_NOT_OURS.format(self._vendor), code="cursor") from None
        return self._names[turn], {name: state for name, state in states.items() if name in self._names}

    def dump(self, name: str, states: Mapping[str, P], *, more: bool, skip: Collection[str] = ()) -> tuple[str, bool]:
        """The cursor after a page of ``name``, of which there is ``more``; and whether there is more of any kind.

        ``skip``: kinds that are passed over this time; the first never is.
        """
        turn = self._names.index(name)
        while not more:
            turn = (turn + 1) % len(self._names)
            if turn == 0 or self._names[turn] not in skip:
                break
        return self._cursors.dump_json((turn, dict(states))).decode(), more or turn != 0
