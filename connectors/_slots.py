"""How many calls are under way at a time.  In: the most of an account, and who shares it.  Out: a slot, or none."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Slots:
    """Of ``most`` slots this process has its part.  Safe for threads."""

    def __init__(self, most: int, sharers: Callable[[], int]) -> None:
        """``sharers``: how many processes use the account now, this one included; each has one slot at least."""
        self._most = most
        self._sharers = sharers
        self._taken = 0
        self._freed = threading.Condition()

    def acquire(self, seconds: float) -> bool:
        """Take a slot, after a wait where one is needed; False where none came free in so many seconds."""
        with self._freed:
            if not self._freed.wait_for(self._free, seconds):
                return False
            self._taken += 1
            return True

    def release(self) -> None:
        """Give a slot back."""
        with self._freed:
            self._taken -= 1
            self._freed.notify()

    def _free(self) -> bool:
        return self._taken < max(1, self._most // self._sharers())
