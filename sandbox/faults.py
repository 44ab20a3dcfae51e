"""Trouble on demand.  In: rules such as "every fifth write times out".  Out: which rule strikes this call or event.

Randomness is seeded: the same rules and the same calls in the same order give the same trouble.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

CALL_KINDS = frozenset({"status", "html", "slow", "reset", "timeout_before", "timeout_after", "cut_list", "hide_field"})
"""Trouble with calls to the API.

``status`` and ``html`` (an HTML page, as from a proxy) answer without effect.  ``slow`` answers after ``delay``.
``timeout_before`` has no effect and no answer, ``timeout_after`` takes effect and then never answers; both hold the
connection for ``delay`` seconds or until the client hangs up.  ``reset`` closes the connection without an answer,
with ``after`` only once the call took effect.  ``cut_list`` answers half of the rows as if they were all,
``hide_field`` answers with no value in ``field``.
"""

EVENT_KINDS = frozenset({"drop_webhook", "duplicate_webhook", "delay_webhook", "reorder_webhooks"})
"""Trouble with single events on their way out; ``match`` is then searched in the event's type."""

DEAF = "deaf_webhook"
"""Trouble with a whole delivery: the receiver's 2xx is not heard, so that the delivery is tried again."""

WEBHOOK_KINDS = EVENT_KINDS | {DEAF}

_HOLD = 60.0  # seconds that a time-out holds the connection, where the rule does not say
_DEFAULT_DELAY = {"slow": 0.2, "delay_webhook": 1.0}


class BadFault(ValueError):
    """The rule makes no sense; the message says why."""


@dataclass(slots=True)
class Fault:
    """One rule.  ``left``: how often it may still strike, None = always.  ``delay``, ``retry_after``: seconds.

    ``agent``: searched in the caller's User-Agent, so that trouble can be kept from whoever prepares or checks a test.
    """

    id: int
    kind: str
    match: re.Pattern[str]
    method: str | None
    rate: float
    left: int | None
    status: int
    retry_after: float | None
    delay: float
    after: bool
    agent: re.Pattern[str]
    field: str = ""
    struck: int = 0

    def public(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "match": self.match.pattern,
            "method": self.method,
            "rate": self.rate,
            "left": self.left,
            "status": self.status,
            "retry_after": self.retry_after,
            "delay": self.delay,
            "after": self.after,
            "agent": self.agent.pattern,
            "field": self.field,
            "struck": self.struck,
        }


class Faults:
    """The rules of one simulator, in the order in which they were added; the first that strikes wins."""

    def __init__(self, seed: int = 0) -> None:
        """``seed``: of the dice."""
        self._random = Random(seed)
        self._rules: dict[int, Fault] = {}
        self._next = 1

    def add(self, given: Mapping[str, Any]) -> Fault:
        """Add a rule as the control endpoint takes it.  Raises BadFault."""
        known = {
            "kind",
            "match",
            "method",
            "rate",
            "count",
            "status",
            "retry_after",
            "delay",
            "after",
            "agent",
            "field",
        }
        if unknown := set(given) - known:
            raise BadFault(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
        kind = given.get("kind")
        if kind not in CALL_KINDS | WEBHOOK_KINDS:
            raise BadFault(f"kind must be one of {', '.join(sorted(CALL_KINDS | WEBHOOK_KINDS))}")
        try:
            fault = Fault(
                id=self._next,
                kind=kind,
                match=re.compile(str(given.get("match", ""))),
                method=None if given.get("method") is None else str(given["method"]).upper(),
                rate=float(given.get("rate", 1.0)),
                left=None if given.get("count") is None else int(given["count"]),
                status=int(given.get("status", 502 if kind == "html" else 503)),
                retry_after=None if given.get("retry_after") is None else float(given["retry_after"]),
                delay=float(given.get("delay", _DEFAULT_DELAY.get(kind, _HOLD))),
                after=bool(given.get("after", False)),
                agent=re.compile(str(given.get("agent", ""))),
                field=str(given.get("field", "")),
            )
        except (re.error, TypeError, ValueError) as error:
            raise BadFault(str(error)) from None
        self._next += 1
        self._rules[fault.id] = fault
        return fault

    def clear(self, id_: int | None = None) -> None:
        """Drop one rule, or all."""
        if id_ is None:
            self._rules.clear()
        else:
            self._rules.pop(id_, None)

    def listing(self) -> list[dict[str, Any]]:
        """All rules as JSON."""
        return [fault.public() for fault in self._rules.values()]

    def of_call(self, method: str, path: str, agent: str = "") -> Fault | None:
        """The rule that strikes this call.  ``agent``: the caller's User-Agent."""
        return self._pick(CALL_KINDS, path, method, agent) if self._rules else None

    def of_event(self, type_: str) -> Fault | None:
        """The rule that strikes this event."""
        return self._pick(EVENT_KINDS, type_, None) if self._rules else None

    def unheard(self, types: Collection[str]) -> bool:
        """Whether the answer to a delivery of events of these types is not heard."""
        return bool(self._rules) and self._pick({DEAF}, " ".join(sorted(types)), None) is not None

    def shuffle(self, items: list[Any]) -> None:
        """Shuffle in place, with the same seed."""
        self._random.shuffle(items)

    def _pick(self, kinds: Collection[str], text: str, method: str | None, agent: str = "") -> Fault | None:
        for fault in self._rules.values():
            if (
                fault.kind in kinds
                and fault.left != 0
                and (fault.method is None or fault.method == method)
                and fault.match.search(text) is not None
                and fault.agent.search(agent) is not None
                and (fault.rate >= 1 or self._random.random() < fault.rate)
            ):
                fault.struck += 1
                if fault.left is not None:
                    fault.left -= 1
                return fault
        return None
