"""What stations say about single changes, for traces.  Here: the words for it, and the trace that is off.

One change is one trace, from its delivery to the vendor's answer.  Batches carry many changes, so a batch is a trace of
its own, with the calls to vendors in it; it and the changes are linked to each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeAlias

Said: TypeAlias = Mapping[str, str | int | float]
"""Attributes: connections, outcomes, numbers; never what somebody is called."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change came from: the delivery, or, where a poll found it, the event alone.  Ids of ours."""

    connection: str
    event: int
    delivery: int | None = None
    received_at: int | None = None  # ms since 1970


@dataclass(frozen=True, slots=True)
class Step:
    """What a batch did with one change.  ``others``: changes that the same order carries."""

    origin: Origin | None  # None: nobody knows any more
    said: Said = field(default_factory=dict)
    good: bool = True
    others: Sequence[Origin] = ()


class Trace:
    """Nobody listens: a call for each batch, and nothing for each change."""

    on: bool = False

    def delivered(self, stored: Iterable[tuple[int, str, int]]) -> None:
        """Deliveries are durable since just now: id, connection, when they came (ms since 1970)."""

    def batch(self, name: str, connection: str) -> AbstractContextManager[None]:  # noqa: ARG002 - for those who listen
        """What the thread does in here is one batch: ``fetch`` or ``push``."""
        return nullcontext()

    def steps(self, name: str, connection: str, steps: Iterable[Step]) -> None:
        """What the batch under way did with its changes, until now."""

    def call(self, connection: str, method: str, family: str, status: int, seconds: float) -> None:
        """A call to a vendor ended just now; status 0: no answer."""

    def close(self) -> None:
        """Hand over what is left."""


OFF = Trace()
