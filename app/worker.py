"""The workers: threads that step the stations until they are told to stop.

Each station has its own threads, never the door's event loop.  A thread with nothing to do waits to be woken, since
something was stored for its station (``app.core.db.ring``), or for its poll, which slows down while idle.  Only whose
work it is is woken: all threads, at each step of any other, would look for nothing most of the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping

import structlog

from app.core import clock, leases
from app.core.db import Database
from app.core.words import Station
from app.push import work

log = structlog.get_logger(__name__)

IDLE_LEAST = 0.02  # seconds between looks right after work was found
IDLE_MOST = 0.5  # seconds between looks after a while of nothing: other processes cannot wake us
TROUBLE = 1.0  # seconds after an unexpected error, e.g. a database that is away
BEAT = 5.0  # seconds between signs of life
SILENT_MS = int(6 * BEAT * 1000)  # a worker that missed this many of them is taken for dead
# For what the threads have in hand at the stop.  With the server's own grace before it (``app.serving``) it stays below
# the 60 s that docs/operate.md, compose.yaml and deploy/kubernetes give a process before it is killed.
STOP_SECONDS = 30.0


class Call:
    """The wake-up call of one station."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._calls = 0

    def __call__(self) -> None:
        """Wake all threads that wait on it."""
        with self._condition:
            self._calls += 1
            self._condition.notify_all()

    @property
    def calls(self) -> int:
        """How often it was called: read it before looking for work, so that a call in between is not missed."""
        return self._calls

    def wait(self, seen: int, seconds: float) -> bool:
        """Return True at the next call since ``seen``, or False after ``seconds``."""
        with self._condition:
            return self._calls != seen or self._condition.wait(seconds)


class Wake:
    """The wake-up calls of all stations."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {station: Call() for station in Station}

    def __call__(self, stations: Collection[str] = tuple(Station)) -> None:
        """Wake the threads of these stations; of those that there are no more or not yet, nobody."""
        for station in stations:
            call = self._calls.get(station)
            if call is not None:
                call()

    def of(self, station: Station) -> Call:
        """The call of one."""
        return self._calls[station]


class Workers:
    """All worker threads of this process."""

    def __init__(
        self,
        database: Database,
        worker: str,
        stations: Mapping[Station, tuple[Callable[[], int], int]],
        wake: Wake,
        *,
        lease_ms: int,
        failed: Callable[[str], None] = lambda _station: None,
    ) -> None:
        """``stations``: name → (its step, how many threads); a step answers how much it did.

        ``failed`` hears of a station whose step ended in an error that nobody expected.
        """
        self._database = database
        self._worker = worker
        self._wake = wake
        self._lease_ms = lease_ms
        self._failed = failed
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, step), name=f"{name}-{n}", daemon=True)
            for name, (step, threads) in stations.items()
            for n in range(threads)
        ]
        self._heart = threading.Thread(target=self._beat, name="heart", daemon=True)

    def start(self) -> None:
        """Enter the worker, take back what dead workers of this machine held, start the threads."""
        with self._database.write() as db:
            for dead in leases.register(db, self._worker):
                log.info("worker.took_over", worker=dead, links=work.release(db, dead))
        self._heart.start()
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Let the threads finish what they have in hand (``seconds`` for all together), then give back the rest.

        What a thread still holds then is due at once for others; should its call come through after all, its completion
        finds the lease lost and marks the link dirty again.
        """
        self._stop.set()
        self._wake()
        end = clock.monotonic() + seconds
        for thread in (*self._threads, self._heart):
            thread.join(max(0.0, end - clock.monotonic()))
        late = [thread.name for thread in self._threads if thread.is_alive()]
        if late:
            log.warning("worker.stopped_late", threads=late)
        with self._database.write() as db:
            work.release(db, self._worker)
            leases.sign_off(db, self._worker)

    def _run(self, name: Station, step: Callable[[], int]) -> None:
        idle, call = IDLE_LEAST, self._wake.of(name)
        while not self._stop.is_set():
            seen = call.calls
            try:
                did = step()
            except Exception as error:  # noqa: BLE001 - the database may be away; the thread must live to see it return
                log.error("worker.step_failed", station=name, error=type(error).__name__)
                self._failed(name)
                self._stop.wait(TROUBLE)
                continue
            if did:
                idle = IDLE_LEAST
                continue
            called = call.wait(seen, idle)
            idle = IDLE_LEAST if called else min(IDLE_MOST, idle * 2)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                with self._database.write() as db:
                    leases.beat(db, self._worker)
                    leases.renew(db, self._worker, self._lease_ms)
            except Exception as error:  # noqa: BLE001 - see above
                log.error("worker.beat_failed", error=type(error).__name__)
