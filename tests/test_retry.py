"""The retry schedule: full jitter, the vendor's own wish, at least 28 hours."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.retry import Schedule

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("attempts", "most_seconds"),
    [(1, 4), (2, 8), (5, 64), (11, 3600), (1000, 3600)],
)
def test_the_ceiling_doubles_up_to_an_hour(attempts: int, most_seconds: int) -> None:
    """Exponential in the number of tries, capped."""
    assert Schedule(random=lambda _a, b: b).delay_ms(attempts, 0) == most_seconds * 1000


def test_the_whole_range_is_jitter() -> None:
    """Full jitter, but never a herd at once."""
    assert Schedule(random=lambda a, _b: a).delay_ms(9, 0) == 1000


@pytest.mark.parametrize(("failing", "gives_up"), [(0, False), (28 * HOUR - 1, False), (28 * HOUR, True)])
def test_gives_up_after_28_hours_not_before(failing: int, gives_up: bool) -> None:
    """A span of time, not a number of tries."""
    assert (Schedule().delay_ms(500, failing) is None) is gives_up


@given(st.integers(0, 60), st.floats(0, 86_400))
def test_never_sooner_than_the_vendor_asked(attempts: int, seconds: float) -> None:
    """Retry-After holds even where it is longer than ours."""
    delay = Schedule().delay_ms(attempts, 0, timedelta(seconds=seconds))
    assert delay is not None
    assert delay >= int(seconds * 1000)
