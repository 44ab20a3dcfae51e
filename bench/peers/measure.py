"""The scenario, the same for all: edits at HubSpot have to land at Mailchimp.  In: a receiver.  Out: figures.

Single edits one after the other, then a burst, then a burst in the middle of which the receiver is killed and started
again.  What landed is read from the Mailchimp simulator's own notes, so that looking costs neither side much.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from bench.peers.check import Verdict, judge
from bench.peers.receivers import Receiver
from bench.peers.vendors import Vendors

QUIET: Final = 10.0  # seconds without a write, with nothing under way, after which no more is expected
LIMIT: Final = 420.0  # seconds after which a burst is judged as it is
LATE: Final = 30.0  # seconds that are waited for what comes twice, once all is there and HubSpot still tries
LANDS: Final = 30.0  # seconds for a single edit
MIDDLE: Final = 0.25  # of the changes that landed before the kill
REST: Final = 0.1  # seconds between single edits
LOOK: Final = 0.02  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Edits:
    """What was edited: town by address, when the first edit began, and how many writes there were before."""

    towns: Mapping[str, str]
    began: float
    written: int


class Progress:
    """What of some edits landed so far; each write is fetched once."""

    def __init__(self, vendors: Vendors, edits: Edits) -> None:
        """Nothing yet."""
        self._vendors = vendors
        self._edits = edits
        self._seen = edits.written
        self.missing = set(edits.towns)

    def look(self) -> int:
        """How many writes are new; ``missing`` is then what did not land yet."""
        new = self._vendors.writes(self._seen)
        self._seen += len(new)
        self.missing -= {w.email for w in new if self._edits.towns.get(w.email) == w.town}
        return len(new)


class Course:
    """One receiver's way through all of it."""

    def __init__(self, vendors: Vendors, receiver: Receiver) -> None:
        """``receiver`` runs."""
        self._vendors = vendors
        self._receiver = receiver
        self._people = {email: id_ for email, (id_, _) in vendors.contacts().items()}
        self._round = 0
        self._told: list[dict[str, Any]] = []  # HubSpot's deliveries of what was settled last

    def warm_up(self, changes: int) -> None:
        """A burst that nobody looks at."""
        self._settle(self._edit(changes))

    def single(self, edits: int) -> dict[str, Any]:
        """One edit at a time, the next once it landed."""
        took = []
        for n in range(edits):
            one = self._edit(1, first=n)
            progress, end = Progress(self._vendors, one), time.monotonic() + LANDS
            while progress.missing and time.monotonic() < end:
                time.sleep(LOOK)
                progress.look()
            if not progress.missing:
                # When it landed is what the simulator noted, not when it was seen.
                town = next(iter(one.towns.values()))
                landed = next(w.time for w in self._vendors.writes(one.written) if w.town == town)
                took.append(landed - one.began)
            time.sleep(REST)
        self._settle(None)
        return {"edits": edits, "not_landed": edits - len(took), **percentiles(took, "ms")}

    def burst(self, changes: int) -> dict[str, Any]:
        """Many edits at once."""
        self._vendors.calls()
        self._receiver.most = 0.0
        with self._weighed():
            edits = self._edit(changes)
            verdict = self._settle(edits)
        calls = self._vendors.calls()
        heard = [d for d in self._told if d["status"] == "delivered"]
        answers = [d["finished"] - d["queued"] for d in heard]
        return {
            "changes": changes,
            **_speed(verdict, edits),
            "answered": sum(d["events"] for d in heard),
            **{f"calls_{name}": n for name, n in calls.items()},
            "calls_of_one_change": round(sum(calls.values()) / changes, 3),
            **{f"answer_{k}": v for k, v in percentiles(answers, "ms").items()},
            "memory_mb": round(self._receiver.most),
        }

    def killed(self, changes: int) -> dict[str, Any]:
        """Many edits at once; SIGKILL once a part of them landed, and a new start at once."""
        edits = self._edit(changes)
        progress, end = Progress(self._vendors, edits), time.monotonic() + LIMIT
        while len(progress.missing) > (1 - MIDDLE) * changes and time.monotonic() < end:
            time.sleep(LOOK / 4)
            progress.look()
        self._receiver.kill()
        progress.look()
        before = changes - len(progress.missing)
        down = time.monotonic()
        self._receiver.start()
        back = time.monotonic() - down
        verdict = self._settle(edits)
        return {
            "changes": changes,
            "landed_before_the_kill": before,
            "back_after_seconds": round(back, 1),
            **_speed(verdict, edits),
        }

    def _edit(self, changes: int, first: int = 0) -> Edits:
        """Give as many contacts, from number ``first`` on, a town that no one had before."""
        self._round += 1
        emails = sorted(self._people)
        chosen = [emails[(first + i) % len(emails)] for i in range(changes)]
        towns = {email: f"Town {self._round}.{i}" for i, email in enumerate(chosen)}
        written = self._vendors.written()
        began = time.time()
        self._vendors.edit({self._people[email]: town for email, town in towns.items()})
        return Edits(towns, began, written)

    def _settle(self, edits: Edits | None) -> Verdict:
        """Wait until everything landed or no more is expected; then judge."""
        if edits is None:
            edits = Edits({}, time.time(), self._vendors.written())
        progress = Progress(self._vendors, edits)
        quiet_since, end = time.monotonic(), time.monotonic() + LIMIT
        whole_since: float | None = None
        while time.monotonic() < end:
            busy = self._receiver.busy()
            if progress.look() or busy or self._vendors.deliveries(0)["pending"] > 0:
                quiet_since = time.monotonic()
            if edits.towns and not progress.missing and whole_since is None:
                whole_since = time.monotonic()
            # Once all is there, what comes twice still has to come: a shorter while, for nothing is waited for.
            if time.monotonic() - quiet_since > (QUIET if progress.missing else QUIET / 4):
                break
            if whole_since is not None and time.monotonic() - whole_since > LATE and not busy:
                break
            time.sleep(0.1)
        self._told = self._vendors.deliveries()["deliveries"]
        self._vendors.forget()
        # What is in the middle of a delivery goes on without its sender; it must not be counted with what comes next.
        quiet_since, end = time.monotonic(), time.monotonic() + LATE
        while time.monotonic() < min(end, quiet_since + QUIET / 4):
            if progress.look():
                quiet_since = time.monotonic()
            time.sleep(LOOK)
        wanted = {email: town for email, (_, town) in self._vendors.contacts().items()}
        times = dict.fromkeys(edits.towns, 1)
        return judge(wanted, self._vendors.towns(), times, self._vendors.writes(edits.written))

    @contextmanager
    def _weighed(self) -> Iterator[None]:
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.2):
                self._receiver.weigh()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._receiver.weigh()


def percentiles(seconds: list[float], unit: str) -> dict[str, float | None]:
    """The median and the 95th of a hundred, in milliseconds."""
    ordered = sorted(seconds)
    return {
        f"p{p}_{unit}": round(1000 * ordered[int(p / 100 * (len(ordered) - 1))], 1) if ordered else None
        for p in (50, 95)
    }


def _speed(verdict: Verdict, edits: Edits) -> dict[str, Any]:
    seconds = None if verdict.landed_at is None else verdict.landed_at - edits.began
    return {
        "seconds": None if seconds is None else round(seconds, 2),
        "per_second": None if seconds is None else round(len(edits.towns) / seconds, 1),
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "unasked": verdict.unasked,
    }
