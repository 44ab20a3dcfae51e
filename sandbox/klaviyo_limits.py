"""Klaviyo's published rates.  In: calls.  Out: how many seconds to stay away, where a window is full.

Every endpoint has two windows of its own, a second and a minute, fixed and not sliding.  Figures: "Rate limits" in the
descriptions of Klaviyo's OpenAPI document 2026-07-15.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

# First part of the path below /api → calls a second, calls a minute.
_TIERS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("accounts", "webhooks", "webhook-topics"), (1, 15)),
    "data-privacy-deletion-jobs": (3, 60),
    **dict.fromkeys(("profile-merge", "profile-bulk-import-jobs", "metrics"), (10, 150)),
    "events": (350, 3500),
}
_USUAL = (75, 750)


class Windows:
    """The calls of each endpoint in its windows."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, bool, str, int], tuple[int, int]] = {}

    def take(self, method: str, path: str, now: float) -> int:
        """Count a call; 0, or after how many seconds it may come again."""
        first, *rest = path.strip("/").split("/")[1:] or [""]
        for seconds, most in zip((1, 60), _TIERS.get(first, _USUAL), strict=True):
            key, window = (method, bool(rest), first, seconds), int(now // seconds)
            began, calls = self._calls.get(key, (window, 0))
            calls = calls if began == window else 0
            if calls >= most:
                return max(1, math.ceil((window + 1) * seconds - now))
            self._calls[key] = (window, calls + 1)
        return 0
