"""What the process tells its collector and its allocator about itself, once."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from typing import Final

_M_ARENA_MAX: Final = -8  # glibc, malloc.h


def look_past() -> None:
    """Tell the collector that what was built until now lives as long as the process.

    Looking through all of it stops every thread for a tenth of a second, again and again.
    https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.collect()
    gc.freeze()


def one_heap() -> None:
    """Let all threads take memory from the same heap; before they are started, and only where nobody set a number.

    The C library gives each of our twenty threads one of its own, and what one has freed no other can use: 18 of
    242 MB after a reading of 20,000 records.  They rarely ask at the same time, since they share the interpreter.
    https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html
    """
    if not sys.platform.startswith("linux") or "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another C library has none, or ignores it
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
