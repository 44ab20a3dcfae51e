"""Processes of the service that are forked from one that has imported it: importing takes a second or two of CPU.

Each has a process number, a memory, connections and an end of its own, as one that was started anew; signals end it as
ever.  In: the function to run and its whole environment.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext
from typing import Any


class Forked:
    """A process that runs ``function`` of a module; used as one of ``subprocess`` is."""

    def __init__(self, function: Callable[..., object], *arguments: Any, env: Mapping[str, str]) -> None:
        forks: ForkServerContext = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload([function.__module__])
        self._it = forks.Process(target=_run, args=(dict(env), function, *arguments))
        self._it.start()

    def poll(self) -> int | None:
        """Its exit code: minus the signal that ended it, None while it runs."""
        return self._it.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code, once it has ended.  TimeoutExpired where it has not by then."""
        self._it.join(seconds)
        code = self._it.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self._it.pid), seconds or 0)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._it.terminate()

    def kill(self) -> None:
        """End it."""
        self._it.kill()


def _run(env: dict[str, str], function: Callable[..., object], *arguments: Any) -> None:
    os.environ.clear()
    os.environ.update(env)
    function(*arguments)
