"""Delivering webhooks as a vendor does.  In: happenings.  Out: signed POSTs, tried again on the vendor's schedule.

Happenings are gathered for a moment, packed (HubSpot up to 100 in a POST, Mailchimp one), sent with at most ten POSTs
in flight, and tried again after every answer outside 2xx.  The schedule is the vendor's, compressed: ``span`` seconds
stand for all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sandbox.faults import Faults
from sandbox.poster import Poster

_KEPT = 10_000  # deliveries that are remembered


@dataclass(frozen=True, slots=True)
class Happening:
    """One event.  ``source``: who caused it, in the vendor's word.  ``data``: the payload, in the vendor's words."""

    type: str
    source: str
    data: Mapping[str, Any] = field(repr=False)


@dataclass(slots=True)
class Target:
    """Where deliveries go.  ``secret``: what signs them, empty = unsigned."""

    id: str
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    events: Mapping[str, bool] | None = None  # wanted types; None = all
    sources: Mapping[str, bool] | None = None  # wanted sources; None = all
    enabled: bool = True

    def wants(self, happening: Happening) -> bool:
        """Whether this happening is to be sent here."""
        return (
            self.enabled
            and (self.events is None or self.events.get(happening.type, False))
            and (self.sources is None or self.sources.get(happening.source, False))
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """How a vendor delivers.

    ``batch``: happenings in one POST.  ``window``: seconds of gathering.  ``timeout``: seconds for the answer.
    ``waits``: seconds between the tries at the real vendor.  ``final``: statuses that disable the webhook at once.
    ``retried``: the only statuses after which there is another try; None = after every one outside 2xx.
    """

    batch: int
    window: float
    timeout: float
    waits: tuple[float, ...]
    in_flight: int = 10
    final: frozenset[int] = frozenset()
    retried: frozenset[int] | None = None


Encode = Callable[[Target, Sequence[Happening], int], tuple[bytes, dict[str, str]]]
"""(target, happenings, attempt from 0) -> (body, headers)."""


class Webhooks:
    """The sending side of one vendor."""

    def __init__(self, policy: Policy, encode: Encode, faults: Faults, *, span: float, seed: int = 0) -> None:
        """``span``: seconds into which the whole schedule of retries is compressed."""
        self.targets: dict[str, Target] = {}
        self._policy = policy
        self._encode = encode
        self._faults = faults
        self._random = Random(seed)
        self._scale = span / sum(policy.waits) if policy.waits else 0.0  # some vendors never try again
        self._queues: dict[str, list[Happening]] = {}
        self._flush_due = False
        self._later = 0  # held back by a fault
        self._unsent = 0  # happenings in deliveries that are neither delivered nor given up
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(policy.in_flight)
        self._poster = Poster(policy.timeout)
        self._deliveries: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._totals: Counter[str] = Counter()
        self._next = 1

    def emit(self, happenings: Iterable[Happening]) -> None:
        """Queue for every target that wants them.  Needs a running event loop once there is a target."""
        queued = False
        for happening in happenings:
            for target in self.targets.values():
                if target.wants(happening):
                    self._queues.setdefault(target.id, []).append(happening)
                    queued = True
        if queued and not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_later(self._policy.window, self._flush)

    def state(self, last: int = 100) -> dict[str, Any]:
        """What was delivered and what is under way, in happenings; the ``last`` deliveries one by one."""
        pending = sum(map(len, self._queues.values())) + self._later + self._unsent
        totals = {name: self._totals[name] for name in ("delivered", "failed", "dropped")}
        urls = [t.url.partition("?")[0] for t in self.targets.values() if t.enabled]
        deliveries = list(self._deliveries)[-last:] if last else []
        return {"targets": urls, "pending": pending, **totals, "deliveries": deliveries}

    def forget(self) -> None:
        """Drop what is under way and the record of what was delivered."""
        for task in self._tasks:
            task.cancel()
        self._queues.clear()
        self._deliveries.clear()
        self._totals.clear()
        self._later = 0

    async def close(self) -> None:
        """Stop delivering."""
        self.forget()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._poster.close()

    async def validate(self, url: str, user_agent: str) -> bool:
        """Whether the URL answers a GET with 200."""
        return await self._poster.send("GET", url, b"", {"user-agent": user_agent}) == 200

    def _flush(self) -> None:
        self._flush_due = False
        queues, self._queues = self._queues, {}
        for target_id, queued in queues.items():
            if (target := self.targets.get(target_id)) is None:
                continue
            ready = self._troubled(target_id, queued)
            for start in range(0, len(ready), self._policy.batch):
                self._send(target, ready[start : start + self._policy.batch])

    def _troubled(self, target_id: str, queued: Sequence[Happening]) -> list[Happening]:
        """What is left to send now, after faults struck single happenings."""
        ready: list[Happening] = []
        again: list[Happening] = []
        shuffle = False
        for happening in queued:
            fault = self._faults.of_event(happening.type)
            match None if fault is None else fault.kind:
                case "drop_webhook":
                    self._totals["dropped"] += 1
                case "delay_webhook":
                    self._later += 1
                    delay = fault.delay if fault is not None else 0
                    asyncio.get_running_loop().call_later(delay, self._late, target_id, happening)
                case "duplicate_webhook":
                    ready.append(happening)
                    again.append(happening)
                case "reorder_webhooks":
                    ready.append(happening)
                    shuffle = True
                case None:
                    ready.append(happening)
        ready += again
        if shuffle:
            self._faults.shuffle(ready)
        return ready

    def _late(self, target_id: str, happening: Happening) -> None:
        if self._later == 0:  # forgotten meanwhile
            return
        self._later -= 1
        if (target := self.targets.get(target_id)) is not None:
            self._send(target, [happening])

    def _send(self, target: Target, happenings: Sequence[Happening]) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(target, happenings))
        self._unsent += len(happenings)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._unsent -= len(happenings)

        task.add_done_callback(done)

    async def _deliver(self, target: Target, happenings: Sequence[Happening]) -> None:
        delivery: dict[str, Any] = {
            "id": self._next,
            "url": target.url.partition("?")[0],
            "types": sorted({h.type for h in happenings}),
            "events": len(happenings),
            "status": "pending",
            "attempts": 0,
            "answers": [],
            "queued": time.time(),
            "finished": None,
        }
        self._next += 1
        self._deliveries.append(delivery)
        status = "failed"
        for attempt in range(len(self._policy.waits) + 1):
            if attempt:
                wait = self._policy.waits[attempt - 1] * self._scale * self._random.uniform(0.8, 1.2)
                await asyncio.sleep(wait)
            if not target.enabled:
                break
            async with self._slots:
                body, headers = self._encode(target, happenings, attempt)
                answer = await self._poster.send("POST", target.url, body, headers)
            if answer is not None and self._faults.unheard(delivery["types"]):
                answer = None
            delivery["attempts"] = attempt + 1
            delivery["answers"].append(answer)
            if answer is not None and 200 <= answer < 300:
                status = "delivered"
                break
            if answer in self._policy.final:
                target.enabled = False
                break
            if answer is not None and self._policy.retried is not None and answer not in self._policy.retried:
                break  # lost
        delivery |= {"status": status, "finished": time.time()}
        self._totals[status] += len(happenings)
