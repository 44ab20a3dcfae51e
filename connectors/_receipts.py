"""One receipt per order, whatever happens: what the writing halves of connectors share.

In: jobs, each with its order and its place.  Out: receipts by place.  Once the connection as a whole has failed, no
further call is made.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Final, Protocol, TypeVar

from connectors.contract import Failed, NeedsHuman, Order, Receipt, Refused, TryLater, Verb

ONCE: Final = frozenset({Verb.CREATE, Verb.MERGE})
"""What must not be done a second time, so is looked up first."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Placed(Protocol):
    """An order in its place among those of one write."""

    @property
    def at(self) -> int:
        """Its place."""

    @property
    def order(self) -> Order:
        """What is asked."""


_Job = TypeVar("_Job", bound=Placed)


def together(call: Callable[[_In], _Out], items: Sequence[_In], most: int) -> list[_Out]:
    """The call for each of them, at most ``most`` at once, results in order; raises the first problem."""
    if len(items) < 2:
        return [call(item) for item in items]
    contexts = [copy_context() for _ in items]  # whether calls are urgent is known to this thread only
    with ThreadPoolExecutor(min(most, len(items)), thread_name_prefix="vendor") as pool:
        return list(pool.map(lambda context, item: context.run(call, item), contexts, items))


def rounds(jobs: Iterable[_Job], key: Callable[[_Job], Hashable | None]) -> list[list[_Job]]:
    """The jobs in groups in which no key occurs twice, in their order per key; None is nobody's key."""
    found: list[list[_Job]] = []
    seen: dict[Hashable, int] = {}
    for job in jobs:
        own = key(job)
        place = 0 if own is None else seen.get(own, 0)
        if own is not None:
            seen[own] = place + 1
        if place == len(found):
            found.append([])
        found[place].append(job)
    return found


class Run:
    """One call of ``write``: the receipts so far, and why no further call is made."""

    def __init__(self, concurrency: int = 1) -> None:
        """``concurrency``: calls at once in ``each``."""
        self.receipts: dict[int, Receipt] = {}
        self.stopped: TryLater | NeedsHuman | None = None
        self._concurrency = concurrency

    def each(self, jobs: Sequence[_Job], call: Callable[[_Job], Receipt | None]) -> None:
        """One call per job, a few at once; a refusal is that job's, a problem of the connection stops the run."""
        done = together(partial(self._guarded, call), jobs, self._concurrency)
        for job, receipt in zip(jobs, done, strict=True):
            if receipt is not None:
                self.receipts[job.at] = receipt

    def call(self, jobs: Sequence[Placed], send: Callable[[], _Out]) -> _Out | None:
        """The answer to one call for all of these; None where there is none, then the jobs have their receipts."""
        if self.stopped is not None:
            self.later(jobs, self.stopped, sent=False)
            return None
        try:
            return send()
        except (TryLater, NeedsHuman) as stop:
            self.stopped = stop
            self.later(jobs, stop)
        except Refused as refused:
            self.fail(jobs, refused)
        return None

    def later(self, jobs: Iterable[Placed], why: TryLater | NeedsHuman, *, sent: bool = True) -> None:
        """Nothing certain about these jobs.  What may have landed once stays so until it is looked up."""
        for job in jobs:
            self.receipts[job.at] = _later(job.order, why, sent=sent)

    def fail(self, jobs: Iterable[Placed], problem: Refused | TryLater | NeedsHuman) -> None:
        """The same problem for all of these."""
        for job in jobs:
            self.receipts[job.at] = Failed(job.order.key, problem)

    def _guarded(self, call: Callable[[_Job], Receipt | None], job: _Job) -> Receipt | None:
        if self.stopped is not None:
            return _later(job.order, self.stopped, sent=False)
        try:
            return call(job)
        except Refused as refused:
            return Failed(job.order.key, refused)
        except (TryLater, NeedsHuman) as problem:
            self.stopped = problem
            return _later(job.order, problem, sent=True)


def _later(order: Order, why: TryLater | NeedsHuman, *, sent: bool) -> Failed:
    stop: TryLater | NeedsHuman = why
    if isinstance(why, TryLater):
        landed = order.verb in ONCE and (order.again or (sent and why.landed))
        stop = TryLater(str(why), after=why.after, landed=landed)
    return Failed(order.key, stop)
