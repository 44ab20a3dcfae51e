"""Timeline entries one by one: what the connectors that write notes share.

In: notes, and the call that writes one.  Out: one receipt each, in their order, whatever happens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from connectors._receipts import Run
from connectors.contract import Kind, Note, Order, Receipt, Verb

OURS: Final = "(Tandem "
"""What every ``mark`` begins with."""


def mark(key: str) -> str:
    """What an entry of ours ends in, so that it is known again; says nothing about anybody."""
    return f"{OURS}{hashlib.sha256(key.encode()).hexdigest()[:16]})"


@dataclass(frozen=True, slots=True)
class _Placed:
    """A note in its place, as an order that must not be carried out twice."""

    at: int
    note: Note

    @property
    def order(self) -> Order:
        return Order(self.note.key, Kind.CONTACT, Verb.CREATE, {}, again=self.note.again)


def write(notes: Sequence[Note], one: Callable[[Note], Receipt], concurrency: int = 1) -> list[Receipt]:
    """Write them with ``one``, which looks first where ``Note.again`` is set; at most ``concurrency`` at once.

    A refusal is that note's; once the connection as a whole has failed nothing more is sent, so nothing more can have
    landed.
    """
    run = Run(concurrency)
    run.each([_Placed(at, note) for at, note in enumerate(notes)], lambda placed: one(placed.note))
    return [run.receipts[at] for at in range(len(notes))]
