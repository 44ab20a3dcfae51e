"""Timeline entries, one call each: what connectors share whose vendor has no key that keeps one from standing twice.

In: notes and the vendor's own way to write one.  Out: receipts in their order.  Each entry ends in a mark, by which
a second try knows the first, and by which entries of ours are left out of what people did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from connectors.contract import Failed, NeedsHuman, Note, Receipt, Refused, TryLater

MARK: Final = "(Tandem "
"""What every mark begins with."""


def mark(key: str) -> str:
    """What an entry of ours ends in, so that it is known again; says nothing about anybody."""
    return f"{MARK}{hashlib.sha256(key.encode()).hexdigest()[:16]})"


def each(wanted: Sequence[Note], call: Callable[[Note], Receipt]) -> list[Receipt]:
    """One call per note; a refusal is that note's, after a problem of the connection nothing more is sent."""
    receipts: list[Receipt] = []
    stop: TryLater | NeedsHuman | None = None
    for note in wanted:
        try:
            receipts.append(Failed(note.key, stop) if stop is not None else call(note))
        except Refused as refused:
            receipts.append(Failed(note.key, refused))
        except (TryLater, NeedsHuman) as trouble:
            receipts.append(Failed(note.key, trouble))
            # Nothing more is sent, so nothing more can have landed.
            stop = TryLater(str(trouble), after=trouble.after) if isinstance(trouble, TryLater) else trouble
    return receipts
