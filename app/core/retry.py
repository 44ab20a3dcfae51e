"""When a failed piece of work is tried again.

Full-jitter exponential (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), never sooner than
the vendor asked, given up only after a span of time (28 h by default: a vendor's bad night and the morning after it,
and longer than any of its peers: Svix gives up after 27.6 h).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds and hours of the schedule.  ``random``: uniform between two floats; tests give their own."""

    base_seconds: float = 2
    cap_seconds: float = 3600
    span_hours: float = 28
    random: Callable[[float, float], float] = random.uniform

    def delay_ms(self, attempts: int, failing_ms: int, after: timedelta | None = None) -> int | None:
        """Milliseconds until the next try, or None to give up.

        ``attempts``: tries so far.  ``failing_ms``: since when it has been failing, as a duration.  ``after``: the
        vendor's own wish, which holds even where it is longer than ours.
        """
        if failing_ms >= self.span_hours * 3_600_000:
            return None
        ceiling = min(self.cap_seconds, self.base_seconds * 2 ** min(max(attempts, 1), 32))
        # At least half a base: a herd of immediate retries would help nobody.
        delay = max(self.random(0, ceiling), self.base_seconds / 2)
        if after is not None:
            delay = max(delay, after.total_seconds() + self.random(0, min(self.base_seconds, 1)))
        return int(delay * 1000)
