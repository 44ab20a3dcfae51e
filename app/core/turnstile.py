"""A lock with a fast lane, for the one writer that SQLite has.

Whoever waits is served in the order of arrival; who comes ``first`` goes before all others, but never twice in a row
while another waits.  So the door waits for one transaction of the workers at most, and they for one of the door's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turnstile:
    """Lets one thread through at a time; not reentrant."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()  # held for a few instructions only
        self._taken = False
        self._was_first = False  # whoever is in, or was last, came by the fast lane
        self._first: deque[threading.Lock] = deque()
        self._rest: deque[threading.Lock] = deque()

    @contextmanager
    def through(self, *, first: bool = False) -> Iterator[None]:
        """The block runs alone."""
        self._acquire(first)
        try:
            yield
        finally:
            self._release()

    def _acquire(self, first: bool) -> None:
        lane = self._first if first else self._rest
        with self._mutex:
            if not self._taken:
                self._taken, self._was_first = True, first
                return
            ticket = threading.Lock()
            ticket.acquire()
            lane.append(ticket)
        try:
            ticket.acquire()
        except BaseException:  # interrupted while waiting: the place in the lane is given up
            with self._mutex:
                waiting = ticket in lane
                if waiting:
                    lane.remove(ticket)
            if not waiting:  # it was let through already
                self._release()
            raise

    def _release(self) -> None:
        with self._mutex:
            fast = bool(self._first) and not (self._was_first and self._rest)
            lane = self._first if fast else self._rest
            if lane:
                self._was_first = fast
                lane.popleft().release()  # it stays taken: handed over, so that nobody slips in between
            else:
                self._taken = False
