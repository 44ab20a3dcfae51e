"""SIGTERM and SIGINT: the end in good order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """The process was told to stop.  Not an Exception: nothing on the way may swallow it."""


@contextmanager
def stoppable() -> Iterator[None]:
    """A block that the first SIGTERM or SIGINT ends, as if it had come to its end; its clean-up is not interrupted.

    uvicorn takes the signals over while it serves, and raises them again when it has stopped: they arrive here then.
    """
    told = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
