"""A client before an API of the test's making, with a clock that passes only in sleep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx

from connectors._http import Http
from connectors.contract import Limits, Problem

BASE = "https://api.acme.test/v1"
KEY = "sk-live-0123456789abcdef"

Connect = Callable[..., Http]
"""Makes a client; what is given replaces what ``connecting`` takes otherwise."""


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def connecting(clock: Clock, api: respx.MockRouter) -> Connect:
    """Clients before ``api``, or before the transport that is asked for."""

    def make(**how: Any) -> Http:
        defaults: dict[str, Any] = {
            "base_url": BASE,
            "hosts": (),
            "limits": Limits(concurrency=2),
            "headers": {"Authorization": f"Bearer {KEY}"},
            "transport": httpx.MockTransport(api.handler),
            "now": clock,
            "sleep": clock.sleep,
        }
        return Http(**{**defaults, **how})

    return make


def problem(call: Callable[[], object]) -> Problem:
    """The problem that this call leads to."""
    with pytest.raises(Problem) as caught:
        call()
    return caught.value
