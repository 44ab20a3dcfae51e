"""How many calls a connection may make.  In: the vendor's published rates.  Out: go, a short wait, or TryLater.

The counting is a sliding log of pyrate-limiter, one per rate, fed with our own clock.  Its ``Limiter`` is not used: it
sleeps without a bound that a caller can test, and cleans up in a thread of its own.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta

from pyrate_limiter import InMemoryBucket, RateItem
from pyrate_limiter import Rate as Window

from connectors.contract import Limits, Rate, TryLater

_GRAINS = 1000  # an entry's time is rounded up to a thousandth of its window: a day's calls then share few objects


class _Log:
    """The calls of one window.  ``calls`` may be a fraction: less than one a window is one in a longer window."""

    def __init__(self, calls: float, seconds: float) -> None:
        whole = math.floor(calls + 1e-9)
        self._limit = max(1, whole)
        self._span = math.ceil(seconds * 1000 / (calls if whole < 1 else 1))
        self._grain = max(1, self._span // _GRAINS)
        self._bucket = InMemoryBucket([Window(self._limit, self._span)])
        self._last = RateItem("call", 0)

    def wait(self, at: int) -> int:
        """Milliseconds until one more call fits."""
        oldest = self._bucket.peek(self._limit - 1)
        return 0 if oldest is None else max(0, oldest.timestamp + self._span + 1 - at)

    def put(self, at: int) -> None:
        """Count a call for which ``wait`` was 0."""
        stamp = -(-at // self._grain) * self._grain
        if stamp > self._last.timestamp:
            self._last = RateItem("call", stamp)
            self._bucket.leak(at)
        self._bucket.put(self._last)


class Counting(ABC):
    """What the client asks before each call.  Safe for threads."""

    def __init__(self, *, patience: float, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """``patience``: seconds that a call may be held back.  ``now``: monotonic seconds."""
        self._patience = patience
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._closed_until = -math.inf
        self.sharers = 1  # processes that call this account now, this one included, as far as it is known
        self.waited = 0.0  # seconds that calls were held back, in all
        self.refused = 0  # calls that found no room in time, in all

    def pause(self, span: timedelta) -> None:
        """No call for so long; a longer pause that is already in force stays."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._now() + span.total_seconds())

    @property
    def paused_for(self) -> timedelta:
        """How long the vendor has asked us to stay away from now on."""
        return timedelta(seconds=max(0.0, self._closed_until - self._now()))

    def take(self, family: str, *, urgent: bool) -> None:
        """Count one call, after a wait where one is needed.  TryLater where it would be longer than ``patience``."""
        waited = 0.0
        while wait := self._try(family, urgent=urgent):
            # Waits are summed up, not read from the clock: with a sleep that does not sleep this still ends.
            waited += wait
            if waited > self._patience:
                with self._lock:
                    self.refused += 1
                raise TryLater("call budget used up", after=timedelta(seconds=wait))
            self._sleep(wait)
            with self._lock:
                self.waited += wait

    @abstractmethod
    def _try(self, family: str, *, urgent: bool) -> float:
        """Count one call where it fits (0), else say after how many seconds it may."""

    def _open(self) -> float:
        """The time.  TryLater while the vendor has asked us to stay away."""
        now = self._now()
        if now < self._closed_until:
            raise TryLater("the vendor asked to wait", after=timedelta(seconds=self._closed_until - now))
        return now


class Budget(Counting):
    """The rates of one connection, in general and per endpoint family, and the vendor's own word to wait.

    Of each published rate ``share`` is used.  Ordinary calls get ``1 - reserve`` of that, urgent ones all of it.
    Counted in this process alone; ``_shared_budget`` counts for several.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        share: float,
        reserve: float,
        patience: float,
        now: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        """See the class.  ``patience``: seconds that a call may be held back.  ``now``: monotonic seconds."""
        super().__init__(patience=patience, now=now, sleep=sleep)
        checked(share, reserve)
        rates = {"": limits.rates, **{family: own for family, own in limits.keys.items() if family}}
        self._all = {family: _logs(own, share) for family, own in rates.items()}
        self._ordinary = {family: _logs(own, share * (1 - reserve)) for family, own in rates.items()}

    def _try(self, family: str, *, urgent: bool) -> float:
        with self._lock:
            at = int(self._open() * 1000)
            lanes = [self._all] if urgent else [self._all, self._ordinary]
            logs = [log for lane in lanes for name in {"", family} for log in lane.get(name, ())]
            wait = max((log.wait(at) for log in logs), default=0)
            if wait == 0:
                for log in logs:
                    log.put(at)
            return wait / 1000


def checked(share: float, reserve: float) -> None:
    """Raise ValueError for parts of a rate that make no sense."""
    if not (0 < share <= 1 and 0 <= reserve < 1):
        raise ValueError(f"share {share} is not in (0, 1], or reserve {reserve} not in [0, 1)")


def _logs(rates: tuple[Rate, ...], share: float) -> tuple[_Log, ...]:
    return tuple(_Log(rate.calls * share, rate.seconds) for rate in rates)
