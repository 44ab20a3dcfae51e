"""Hear what other processes marked or stored.  In: PostgreSQL's NOTIFY (``db.ring``).  Out: a wake-up of our workers.

A connection of its own in a thread of its own.  It is a hint only: whatever is not heard (a lost connection, a pooler
that does not pass LISTEN on, SQLite) the workers' own look finds a little later.
https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection
from typing import Any

import structlog

from app.core.db import CHANNEL, Database
from app.core.words import Station

log = structlog.get_logger(__name__)

_LISTEN = 0.5  # seconds of listening between two looks at whether to stop
_BACK_LEAST, _BACK_MOST = 0.5, 30.0  # seconds until a lost connection is made again
# A line that is dead without a word is noticed within a minute (libpq: keepalives).
_ALIVE: dict[str, Any] = {"keepalives": 1, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3}


class Listener:
    """Calls ``wake`` when another process rings, with the stations it rang for.  Does nothing on SQLite."""

    def __init__(self, database: Database, wake: Callable[[Collection[str]], None]) -> None:
        self._database = database
        self._wake = wake
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.hears = threading.Event()  # set while the connection stands

    def start(self) -> None:
        """Listen, from a thread of its own."""
        if self._database.dialect == "postgresql":
            self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
            self._thread.start()

    def stop(self, seconds: float = 5) -> None:
        """End it; harmless where it was not started."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        import psycopg  # only there where PostgreSQL is used

        back = _BACK_LEAST
        where = self._database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while not self._stop.is_set():
            try:
                with psycopg.connect(where, autocommit=True, connect_timeout=10, **_ALIVE) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self.hears.set()
                    self._wake(tuple(Station))  # for whatever was said while nobody listened
                    back = _BACK_LEAST
                    self._listen(connection)
            except psycopg.Error as error:
                log.warning("listener.lost", error=type(error).__name__, again_in_seconds=round(back, 1))
            finally:
                self.hears.clear()
            self._stop.wait(back * random.uniform(0.5, 1))  # noqa: S311 - replicas come back one by one
            back = min(_BACK_MOST, back * 2)

    def _listen(self, connection: Any) -> None:
        while not self._stop.is_set():
            for notice in connection.notifies(timeout=_LISTEN, stop_after=1):
                sender, *stations = notice.payload.split(" ")
                if sender != self._database.sender:
                    self._wake(stations)
