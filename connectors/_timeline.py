"""Timeline entries, one after the other: what the connectors that write notes share.

In: notes, and the call that writes one.  Out: one receipt each, in their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from connectors.contract import Failed, NeedsHuman, Note, Receipt, Refused, TryLater

OURS: Final = "(Tandem "
"""What every ``mark`` begins with."""


def mark(key: str) -> str:
    """What an entry of ours ends in, so that it is known again; says nothing about anybody."""
    return f"{OURS}{hashlib.sha256(key.encode()).hexdigest()[:16]})"


def write(notes: Sequence[Note], one: Callable[[Note], Receipt]) -> list[Receipt]:
    """Write them with ``one``, which looks first where ``Note.again`` is set.

    A refusal is that note's; once the connection as a whole has failed nothing more is sent, so nothing more can have
    landed.
    """
    receipts: list[Receipt] = []
    stop: TryLater | NeedsHuman | None = None
    for note in notes:
        try:
            receipts.append(Failed(note.key, stop) if stop is not None else one(note))
        except Refused as refused:
            receipts.append(Failed(note.key, refused))
        except (TryLater, NeedsHuman) as trouble:
            receipts.append(Failed(note.key, trouble))
            stop = TryLater(str(trouble), after=trouble.after) if isinstance(trouble, TryLater) else trouble
    return receipts
