"""A call budget that several processes keep together.  In: the vendor's rates and a ledger.  Out: as ``_budget``.

A process draws a block of calls from the ledger and may make them until the block's short time is over; so a round
trip to the ledger serves several calls.  A block counts against every window in which one of its calls could fall: from
when it was drawn until its time is over.  So no window of the vendor's length holds more than the rate, however the
calls of all processes fall.  What that costs is the part of the window that a block lasts: one twentieth of the rate.

This is the sliding-window counter that keeps its counts by slices, as rate limiters at gateways do, with the slice
rounded up instead of weighted: an estimate may exceed a rate, an upper bound may not.
"""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import orjson

from connectors._budget import Counting, checked
from connectors.contract import Limits, Rate, TryLater

T = TypeVar("T")

_BLOCKS = 20  # blocks in a window at least: what a block lasts is lost to the rate
_SLICES = 40  # slices in which a window's calls are kept
_LONGEST = 1.0  # seconds that a block lasts at most: so late a process hears that the vendor asked all to wait
_SHARES = 60_000  # ms for which a process that drew counts as one that calls: longer than most calls last
_UNBOUNDED = 1_000_000  # calls of a block where no rate is published


class Ledger(Protocol):
    """Where the processes that use one connection count together.  ``app`` implements it on its database."""

    def change(self, work: Callable[[str, int], tuple[str, T]]) -> T:
        """Run ``work(state, now)`` while no other process does, keep the state it returns, return the rest.

        ``state``: what was kept last, "" at first.  ``now``: milliseconds by a clock that all processes share.  Raises
        TryLater where the state cannot be had now; then no call goes out.
        """


@dataclass(frozen=True, slots=True)
class _Window:
    """One rate, or the part of it that ordinary calls may use."""

    name: str  # family, lane, which of its rates, span: what counts together
    limit: int
    span: int  # ms
    grain: int  # ms of a slice

    def room(self, kept: Sequence[int], now: int) -> tuple[int, int]:
        """How many more calls fit, and after how many ms one does.  ``kept``: the first slice's number, then counts."""
        left = room = self.limit - sum(kept[1:])
        wait = 0
        for n, count in enumerate(kept[1:]):
            if left >= 1:
                break
            left += count
            wait = max(1, (kept[0] + n) * self.grain + self.span + 1 - now)
        return room, wait

    def tidied(self, kept: Sequence[int], now: int) -> list[int]:
        """Without the slices that no window reaches any more."""
        first, counts = (kept[0], list(kept[1:])) if kept else (0, [])
        # Later than any block of now ends: the shared clock was set back, and would not come there for that long.
        ahead = first + len(counts) - 1 + (now + int(_LONGEST * 1000)) // -self.grain
        first -= max(0, ahead)
        while counts and (counts[0] == 0 or first * self.grain + self.span + 1 <= now):
            first, counts = first + 1, counts[1:]
        return [first, *counts] if counts else []

    def added(self, kept: Sequence[int], calls: int, drawn: int, ttl: int) -> list[int]:
        """With the calls of a block that was drawn then; negative: they were not made."""
        slot = -(-(drawn + ttl) // self.grain)
        first, counts = (kept[0], list(kept[1:])) if kept else (slot, [])
        if calls < 0 and not 0 <= slot - first < len(counts):
            return list(kept)  # so old that nobody counts it any more
        slot = max(slot, first)  # later is the safe side
        counts += [0] * (slot - first + 1 - len(counts))
        counts[slot - first] = max(0, counts[slot - first] + calls)
        return [first, *counts]


@dataclass(slots=True)
class _Block:
    """Calls that this process may still make."""

    size: int
    left: int
    until: float  # monotonic seconds
    drawn: int  # ms by the shared clock
    asked: int = 0  # of the ledger when it was drawn


@dataclass(frozen=True, slots=True)
class _Drawn:
    calls: int  # 0 = none now
    at: int  # ms by the shared clock
    wait: int  # ms until one may be had
    closed: int  # ms for which the vendor asked all to stay away
    sharers: int


class SharedBudget(Counting):
    """The rates of one connection, kept together with the other processes that use it.  See ``Budget``."""

    def __init__(
        self,
        limits: Limits,
        *,
        share: float,
        reserve: float,
        patience: float,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        ledger: Ledger,
    ) -> None:
        """See ``Budget``.  ``ledger``: where all count."""
        super().__init__(patience=patience, now=now, sleep=sleep)
        checked(share, reserve)
        self._ledger = ledger
        self._name = uuid.uuid4().hex[:12]
        families = {"": limits.rates, **{family: own for family, own in limits.keys.items() if family}}
        self._windows: dict[tuple[str, bool], tuple[_Window, ...]] = {}
        for family in families:
            rates = {name: families[name] for name in ("", family)}
            alls = [w for name, own in rates.items() for w in _windows(f"{name}|all", own, share)]
            few = [w for name, own in rates.items() for w in _windows(f"{name}|ordinary", own, share * (1 - reserve))]
            self._windows[family, True] = tuple(alls)
            self._windows[family, False] = tuple(alls + few)
        self._blocks: dict[tuple[str, bool], _Block] = {}

    def pause(self, span: timedelta) -> None:
        """No call of any process for so long; a longer pause that is already in force stays."""
        super().pause(span)
        wanted = math.ceil(span.total_seconds() * 1000)

        def closed(text: str, now: int) -> tuple[str, None]:
            state = _loaded(text)
            state["closed"] = max(state.get("closed", 0), now + wanted)
            return _dumped(state), None

        with contextlib.suppress(TryLater):  # the vendor will tell the others itself
            self._ledger.change(closed)

    def _try(self, family: str, *, urgent: bool) -> float:
        with self._lock:
            now = self._open()
            if (family, False) not in self._windows:
                family = ""
            # An urgent call may use what ordinary ones may, and what is kept for it.
            for key in ((family, False), (family, True))[: 1 + urgent]:
                block = self._blocks.get(key)
                if block is not None and block.left and now < block.until:
                    block.left -= 1
                    return 0
            return self._draw((family, urgent))

    def _draw(self, key: tuple[str, bool]) -> float:
        """Take a block from the ledger and a call from it (0), else say after how many seconds there may be one."""
        windows = self._windows[key]
        ttl = min([int(_LONGEST * 1000), *(w.span // _BLOCKS for w in windows)])
        most = min([_UNBOUNDED, *(max(1, w.limit // _BLOCKS) for w in windows)])
        last = self._blocks.pop(key, None)
        began = self._now()
        asked = most if not windows else _asked(last, most, began)
        drawn = self._ledger.change(lambda text, now: _drawn(text, now, windows, asked, ttl, last, self._name))
        self.sharers = drawn.sharers
        if drawn.closed:
            self._closed_until = max(self._closed_until, began + drawn.closed / 1000)
            self._open()
        if not drawn.calls:
            return drawn.wait / 1000
        # From before the round trip on: by the shared clock the block then ends no later than it is counted.
        self._blocks[key] = _Block(drawn.calls, drawn.calls - 1, began + ttl / 1000, drawn.at, asked)
        return 0


def _asked(last: _Block | None, most: int, now: float) -> int:
    """As many as the block before was good for: twice where it did not last, what it was used for where it did."""
    if last is None:
        return 1
    if last.left == 0 and now < last.until:
        return min(most, 2 * last.size)
    return min(most, max(1, last.size - last.left))


def _drawn(
    text: str, now: int, windows: Sequence[_Window], asked: int, ttl: int, last: _Block | None, name: str
) -> tuple[str, _Drawn]:
    """Take a block from what is kept, and give back what is left of the last one."""
    state = _loaded(text)
    closed = max(0, state.get("closed", 0) - now)
    seen = {who: at for who, at in state.get("who", {}).items() if now - _SHARES < at <= now}
    state["who"] = {**seen, name: now}
    logs: dict[str, list[int]] = state.setdefault("calls", {})
    for window in windows:
        kept = logs.get(window.name, [])
        if last is not None and last.left:
            kept = window.added(kept, -last.left, last.drawn, ttl)
        logs[window.name] = window.tidied(kept, now)
    rooms = [w.room(logs[w.name], now) for w in windows]
    calls = 0 if closed else max(0, min([asked, *(room for room, _ in rooms)]))
    wait = max((wait for _, wait in rooms), default=0)
    if calls:
        for window in windows:
            logs[window.name] = window.added(logs[window.name], calls, now, ttl)
    for name in [name for name, kept in logs.items() if not kept]:
        del logs[name]
    return _dumped(state), _Drawn(calls, now, wait, closed, len(state["who"]))


def _windows(lane: str, rates: Sequence[Rate], share: float) -> list[_Window]:
    """Our share of these rates; less than one call in a window is one in a longer window."""
    found = []
    for n, rate in enumerate(rates):
        calls = rate.calls * share
        whole = math.floor(calls + 1e-9)
        span = math.ceil(rate.seconds * 1000 / (calls if whole < 1 else 1))
        found.append(_Window(f"{lane}|{n}|{span}", max(1, whole), span, max(1, span // _SLICES)))
    return found


@dataclass(frozen=True, slots=True)
class Used:
    """How much of one rate is taken now, by all processes together."""

    family: str  # "" = all calls
    lane: str  # all, or ordinary: without what is kept for urgent calls
    seconds: float  # the rate's window
    calls: int


def used(text: str, now: int) -> tuple[list[Used], int | None]:
    """What a ledger's state says at ``now``: the rates in use, and until when the vendor asked all to stay away."""
    state, found = _loaded(text), []
    for name, kept in sorted(state.get("calls", {}).items()):
        family, lane, _, span = name.split("|")
        left = _Window(name, 0, int(span), max(1, int(span) // _SLICES)).tidied(kept, now)
        found.append(Used(family, lane, int(span) / 1000, sum(left[1:])))
    closed: int = state.get("closed", 0)
    return found, closed if closed > now else None


def _loaded(text: str) -> dict[str, Any]:
    state = orjson.loads(text) if text else {}
    return state if isinstance(state, dict) else {}


def _dumped(state: dict[str, Any]) -> str:
    return orjson.dumps(state).decode()
