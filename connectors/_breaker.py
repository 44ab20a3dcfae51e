"""The circuit breaker of one connection.  In: how calls ended.  Out: whether the next may be tried.

pybreaker counts and keeps the state.  It is told the outcome afterwards instead of making the call itself, because its
``call`` holds its lock meanwhile, which would leave one call at a time; and it is told the time by ``now``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pybreaker

from connectors.contract import TryLater


class _DownError(Exception):
    """What pybreaker is told when a call failed."""


class Breaker:
    """Opens after ``failures`` failed calls in a row; after ``seconds`` one call is let through as a trial."""

    def __init__(self, *, failures: int, seconds: float, now: Callable[[], float]) -> None:
        """See the class.  ``now``: monotonic seconds."""
        # Half-opening by the library's own wall clock is never reached: `enter` does it by `now`.
        self._circuit = pybreaker.CircuitBreaker(
            fail_max=failures, reset_timeout=seconds, throw_new_error_on_trip=False
        )
        self._seconds = seconds
        self._now = now
        self._lock = threading.Lock()
        self._opened_at = 0.0
        self._trial = False

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return str(self._circuit.current_state)

    def enter(self) -> bool:
        """Ask to make a call.  True: it is the trial, and must be handed back to ``leave``.  TryLater while open."""
        with self._lock:
            if self.state == pybreaker.STATE_CLOSED:
                return False
            left = self._opened_at + self._seconds - self._now()
            if left > 0:
                raise TryLater("circuit breaker open after failures in a row", after=timedelta(seconds=left))
            if self._trial:
                raise TryLater("circuit breaker half-open: a trial call is under way", after=timedelta(seconds=1))
            self._circuit.half_open()
            self._trial = True
            return True

    def leave(self, *, trial: bool, failed: bool | None) -> None:
        """Say how a call ended; None: it was not made."""
        with self._lock:
            if trial:
                self._trial = False
            # While it is not closed, only the trial decides: other calls that end now were begun before.
            if failed is None or not (trial or self.state == pybreaker.STATE_CLOSED):
                return
            try:
                self._circuit.call(_end, failed)
            except _DownError:
                if self.state == pybreaker.STATE_OPEN:
                    self._opened_at = self._now()


def _end(failed: bool) -> None:
    if failed:
        raise _DownError
