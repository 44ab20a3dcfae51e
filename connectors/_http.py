"""The HTTP client that all connectors share.  In: one request.  Out: one answer, or the name of the next step.

The order of the guards: host allow-list, circuit breaker, call budget, concurrency, the request itself, and the one
table from status to next step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

import httpx

from connectors.contract import Limits


class Step(StrEnum):
    """What an answer leads to."""

    TAKE = "take"  # hand it to the connector
    REFUSED = "refused"
    TRY_LATER = "try_later"
    NEEDS_HUMAN = "needs_human"


class Http:
    """A vendor's API as one connection sees it."""

    def __init__(
        self,
        *,
        base_url: str,
        hosts: Collection[str],
        limits: Limits,
        share: float = 0.8,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        steps: Mapping[int, Step] | None = None,
    ) -> None:
        """See the class.  ``share``: the part of the published rate that we use; the rest is left for humans."""

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        take: Collection[int] = (),
        family: str = "",
        safe: bool | None = None,
    ) -> httpx.Response:
        """Send and return the answer if its status is 2xx or in ``take``; otherwise raise what happens next."""
        raise AssertionError("replaced by the implementation")

    def json(self, response: httpx.Response) -> Any:
        """The body as JSON; TryLater where a 2xx answer is not JSON (an HTML page in the way)."""
        raise AssertionError("replaced by the implementation")
