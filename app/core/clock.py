"""The only reader of this machine's time.

Engine times (due, lease, read and written) come from the database's clock instead (``app.core.db.now_ms``), since
replicas may disagree.  Both are integers of milliseconds since 1970-01-01 UTC inside, aware datetimes at the rims.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

Now: TypeAlias = Callable[[], datetime]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """This machine's time, aware, UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that never run backwards, for measuring durations."""
    return time.monotonic()


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 UTC of an aware datetime.  Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("naive datetime: every time here is aware")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int) -> datetime:
    """The aware UTC datetime of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=ms)
