"""The service as a process that kills itself, once, between two stations.

``python -m tests.crash PORT STATION``; the rest comes from the environment, as for ``tandem serve``.  SIGKILL leaves no
time for anything: no handler, no ``finally``, no commit.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from app import main
from app.entry.commit import GroupCommit
from app.push.push import Push
from app.sync.fetch import Fetch


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: type, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    """Die where ``owner.name`` is about to be called."""
    real = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            die()
        return real(*args, **kwargs)

    setattr(owner, name, dying)


def after(owner: type, name: str, when: Callable[[Any], bool] = lambda _: True) -> None:
    """Die where ``owner.name`` has returned."""
    real = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        if when(result):
            die()
        return result

    setattr(owner, name, dying)


STATIONS: dict[str, Callable[[], None]] = {
    "nowhere": lambda: None,
    "before the delivery is stored": lambda: before(GroupCommit, "_commit"),
    "stored, not acknowledged": lambda: None,  # see serve
    "events taken, nothing read": lambda: before(Fetch, "_read", lambda _self, _c, taken: bool(taken.events)),
    "records read, nothing stored": lambda: before(Fetch, "_absorb"),
    "contact stored, lease not given back": lambda: after(Fetch, "_absorb"),
    "links leased, nothing sent": lambda: before(Push, "_send", lambda _self, batch: bool(batch.planned)),
    "sent, nothing noted": lambda: after(Push, "_send", bool),
    "noted": lambda: after(Push, "_finish"),
}


def serve(port: int, station: str) -> None:
    if station == "stored, not acknowledged":
        real = GroupCommit._commit

        def stored(self: GroupCommit, group: Any) -> None:
            transact = self._database.transact

            def then_die(work: Any) -> Any:
                transact(work)
                die()

            self._database.transact = then_die  # type: ignore[method-assign]
            real(self, group)

        GroupCommit._commit = stored  # type: ignore[method-assign]
    else:
        STATIONS[station]()
    uvicorn.run(main.create_app(), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
