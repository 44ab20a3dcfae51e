"""The usual rhythm of a connection's webhooks, and when it has been quiet for too long.  Pure: times come in as ms.

For each hour of the week the usual number of deliveries is learned (an exponentially weighted mean over the weeks).  A
gap is measured in deliveries that were to be expected in it, so a quiet weekend counts for nothing where weekends are
quiet.  What is usual of gaps is learned too, as their 95 % quantile in that measure: vendors send in bursts, so the
mean gap says little.  Silent for three such intervals: an alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

HOUR: Final = 3_600_000
WEEK: Final = 168  # hours
WEIGHT: Final = 0.3  # of the latest week, against all before
QUANTILE: Final = 0.95
STEP: Final = 0.05  # how far one gap moves the quantile, in shares of it
LEAST: Final = 1.0  # a usual interval is never shorter than one delivery that was to be expected
TIMES: Final = 3  # so many usual intervals without a word are too many
LEARNED: Final = 48  # hours of the week with deliveries known before any silence is judged


@dataclass(slots=True)
class Rhythm:
    """What is known of one connection.  ``rates``: hour of the week → deliveries in it."""

    rates: dict[int, float] = field(default_factory=dict)
    usual: float = LEAST  # expected deliveries in a long but usual gap
    hour: int | None = None  # the hour that is being counted, since 1970
    count: int = 0
    last: int | None = None  # the last delivery, or since when somebody listens again
    looked: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rhythm:
        """The rhythm of a form at rest."""
        rates = {int(hour): float(rate) for hour, rate in data.get("rates", {}).items()}
        return cls(rates, *(data.get(name, default) for name, default in _REST))

    def to_json(self) -> dict[str, Any]:
        """The form at rest."""
        rates = {str(hour): round(rate, 4) for hour, rate in sorted(self.rates.items())}
        return {"rates": rates, **{name: getattr(self, name) for name, _ in _REST}}

    def feed(self, times: Iterable[int], now: int, *, away_ms: int = HOUR) -> None:
        """Deliveries that came since the last look.  Where nobody looked for ``away_ms``, that time says nothing."""
        if self.looked is not None and now - self.looked > away_ms:
            self.hour, self.count, self.last = None, 0, None
        for at in sorted(times):
            self._close(at // HOUR)
            if self.last is not None and at > self.last:
                self._learn(self.expected(self.last, at))
            self.count += 1
            self.last = at if self.last is None else max(self.last, at)
        # Hours since the last delivery are learned from at the next one: silence must not make itself usual.
        self.last = now if self.last is None else self.last
        self.looked = now

    def _close(self, hour: int) -> None:
        """Learn from the hours that are over, the empty ones too."""
        if self.hour is None:
            self.hour, self.count = hour, 0
            return
        while self.hour < hour:
            of = self.hour % WEEK
            before = self.rates.get(of)
            self.rates[of] = self.count if before is None else before + WEIGHT * (self.count - before)
            self.hour, self.count = self.hour + 1, 0

    def _learn(self, gap: float) -> None:
        """Move the quantile: up where a gap was longer, down by as much less often (Robbins and Monro, 1951)."""
        self.usual += STEP * self.usual * (QUANTILE if gap > self.usual else QUANTILE - 1)
        self.usual = max(LEAST, self.usual)

    def expected(self, since: int, until: int) -> float:
        """How many deliveries were to be expected between two times; of hours that are not known yet, none."""
        total = 0.0
        hour = since // HOUR
        while hour * HOUR < until:
            span = min(until, (hour + 1) * HOUR) - max(since, hour * HOUR)
            total += self.rates.get(hour % WEEK, 0.0) * span / HOUR
            hour += 1
        return total

    @property
    def learned(self) -> bool:
        """Whether enough is known to call it silent."""
        return sum(rate > 0 for rate in self.rates.values()) >= LEARNED

    def silent(self, now: int) -> float | None:
        """For how many usual intervals nothing came, where those are too many; None: all is as usual."""
        if self.last is None or not self.learned:
            return None
        intervals = self.expected(self.last, now) / self.usual
        return intervals if intervals >= TIMES else None


_REST: Final = (("usual", LEAST), ("hour", None), ("count", 0), ("last", None), ("looked", None))
