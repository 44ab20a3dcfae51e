"""SIGTERM and SIGINT: the end in good order."""

from __future__ import annotations

import contextlib
import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """The process was told to stop.  Not an Exception: nothing on the way may swallow it."""


@contextmanager
def stoppable() -> Iterator[None]:
    """A block that the first SIGTERM or SIGINT ends, as if it had come to its end; its clean-up is not interrupted.

    uvicorn takes the signals over while it serves, and raises them again when it has stopped: they arrive here then.
    """
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def told() -> Iterator[Callable[[], None]]:
    """A block that SIGTERM and SIGINT do not interrupt; the function that it gets returns at the first of them."""
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()  # its put may interrupt its get, unlike an Event's set

    def note(number: int, _frame: FrameType | None) -> None:
        signals.put(number)

    def wait() -> None:
        while True:
            # Where another thread was interrupted, nothing wakes this one, which alone runs what a signal leads to.
            with contextlib.suppress(queue.Empty):
                signals.get(timeout=1)
                return

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
