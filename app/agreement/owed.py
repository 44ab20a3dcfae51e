"""From what happened to a lead to what its clocks are given.  Pure: no database, no clock.

In: the stages that it entered, the acts, the dispositions, and what only clocks know (pauses, reassignments …).  Out:
happenings for ``app.agreement.clocks.read``.  Each is made of what happened, never of the order in which it was told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.agreement.attempts import Touch, ended_at, worked
from app.agreement.clocks import Happening, What
from app.agreement.promises import Promises
from app.agreement.terms import ATTEMPTS, CONTACT, DISPOSITION, FIRST_TOUCH, Clock

_DONE = frozenset({FIRST_TOUCH, CONTACT, ATTEMPTS, DISPOSITION})


@dataclass(frozen=True, slots=True)
class Entry:
    """A stage that the lead entered.  ``clocks``: those whose condition held then; None: all that begin there."""

    at: int
    id: str
    stage: str
    version: str  # of the agreement, in force then
    team: str | None = None
    owner: str | None = None
    clocks: Collection[str] | None = None


def happenings(
    versions: Mapping[str, Promises],
    entries: Iterable[Entry],
    touches: Sequence[Touch],
    dispositions: Iterable[int],
    others: Iterable[Happening],
    until: int,
) -> list[Happening]:
    """All that the clocks of a lead are given, as known at ``until``.

    ``dispositions``: moments of those that the agreement takes as one.  What was done before a clock was taken back
    does not count for its next round.  Raises LookupError for a version that is not there.
    """
    given = list(others)
    entered = sorted(set(entries), key=lambda e: (e.at, e.id))
    decided = sorted(dispositions)
    for entry in entered:
        if entry.version not in versions:
            raise LookupError(f"no version {entry.version!r} of the agreement; there are {', '.join(versions)}")
        sla = versions[entry.version].sla
        for clock in _begun(sla.clocks.values(), entry):
            given.append(
                Happening(
                    entry.at,
                    What.STARTED,
                    f"{entry.id}:{clock.name}",
                    clock=clock.name,
                    version=entry.version,
                    calendar=sla.calendar_of(entry.team),
                    owner=entry.owner,
                )
            )
            done = _done(clock, entry, entered, touches, decided, _taken_back(given, clock.name, entry.at, until))
            if done is not None:
                given.append(Happening(done, What.SATISFIED, f"{entry.id}:{clock.name}:done", clock=clock.name))
    return given


def _begun(clocks: Iterable[Clock], entry: Entry) -> Iterator[Clock]:
    for clock in clocks:
        if clock.begins == entry.stage and (entry.clocks is None or clock.name in entry.clocks):
            yield clock


def _taken_back(given: Iterable[Happening], name: str, since: int, until: int) -> int:
    """Until when acts count for the round that began then."""
    return min(
        (h.at for h in given if h.what is What.CANCELLED and h.clock in {None, name} and h.at >= since), default=until
    )


def _done(
    clock: Clock, entry: Entry, entered: Iterable[Entry], touches: Sequence[Touch], decided: Iterable[int], until: int
) -> int | None:
    if clock.ends not in _DONE:
        return next((e.at for e in entered if e.stage == clock.ends and entry.at <= e.at <= until), None)
    if clock.ends == DISPOSITION:
        return next((at for at in decided if entry.at <= at <= until), None)
    return ended_at(clock, worked(touches, entry.at, until, clock.need), None)
