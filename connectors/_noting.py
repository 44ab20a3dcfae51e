"""Timeline entries one by one: one receipt per note, whatever happens.  In: notes, a call.  Out: receipts in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from connectors._receipts import Run
from connectors.contract import Kind, Note, Order, Receipt, Verb


@dataclass(frozen=True, slots=True)
class _Placed:
    """A note in its place, as an order that must not be carried out twice."""

    at: int
    note: Note

    @property
    def order(self) -> Order:
        return Order(self.note.key, Kind.CONTACT, Verb.CREATE, {}, again=self.note.again)


def each(notes: Sequence[Note], call: Callable[[Note], Receipt], concurrency: int = 1) -> list[Receipt]:
    """The call for each note, at most ``concurrency`` at once; once the connection has failed none is made any more."""
    run = Run(concurrency)
    run.each([_Placed(at, note) for at, note in enumerate(notes)], lambda placed: call(placed.note))
    return [run.receipts[at] for at in range(len(notes))]
