"""When which record changed last, in order.  In: (time, id).  Out: ids by their last change, oldest first.

Both vendors are polled by modified time, so that order has to be at hand without sorting all records at each call.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

_SLACK = 1000  # stale entries that are not worth a clean-up


class Journal:
    """A sorted list of (time, id) in which each id's newest entry counts."""

    def __init__(self) -> None:
        """Empty."""
        self._entries: list[tuple[int, int]] = []
        self._latest: dict[int, int] = {}

    def note(self, id_: int, at: int) -> None:
        """``id_`` changed at ``at`` (any unit, as long as it is always the same)."""
        if self._latest.get(id_) == at:
            return
        self._latest[id_] = at
        entry = (at, id_)
        if not self._entries or self._entries[-1] <= entry:
            self._entries.append(entry)
        else:  # filling with past times, or the clock stepped back
            insort(self._entries, entry)
        if len(self._entries) > 2 * len(self._latest) + _SLACK:
            self._entries = [e for e in self._entries if self._latest.get(e[1]) == e[0]]

    def forget(self, id_: int) -> None:
        """``id_`` is no more."""
        self._latest.pop(id_, None)

    def since(self, at: int | None = None) -> Iterator[int]:
        """Ids whose last change was at or after ``at``, oldest change first, equal times by id."""
        start = 0 if at is None else bisect_left(self._entries, (at, -1))
        latest = self._latest
        for index in range(start, len(self._entries)):
            when, id_ = self._entries[index]
            if latest.get(id_) == when:
                yield id_
