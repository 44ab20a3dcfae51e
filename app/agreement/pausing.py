"""What named people do to the clocks of a lead: let them stand, let them go on, give the lead to somebody else."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection as Db

from app.agreement import timing
from app.agreement.clocks import Reading, What
from app.agreement.leads import Judges, Known, fold_all, gathered, refold
from app.agreement.running import ENDED
from app.core.db import clock_of
from app.core.errors import NotFound, NotPossible
from app.core.words import OPERATOR, Decision, Fact, Outcome
from app.push import work
from app.records import clocks, leads, merges
from app.records import contacts as people
from app.sync.connection import Connections

RULE: Final = "reassigned"


def shown(db: Db, connections: Connections, known: Known, contact: int) -> tuple[int, tuple[Reading, ...]]:
    """The contact that stands for this one, and the clocks of its lead at this moment.  Raises NotFound."""
    number, judges = _lead(db, known, contact)
    return number, _readings(db, connections, judges, number)


def pause(
    db: Db, connections: Connections, known: Known, contact: int, reason: str, by: str, *, clock: str | None = None
) -> tuple[Reading, ...]:
    """Let the clocks of a lead stand that may stand for this reason; how they stand now.

    ``clock``: this one only.  Raises NotFound, NotPossible where none may, saying for which reasons they may.
    """
    number, judges = _lead(db, known, contact)
    running = [r for r in _readings(db, connections, judges, number) if r.state not in ENDED]
    running = [r for r in running if clock in {None, r.clock}]
    if not running:
        raise NotPossible(f"no clock {'' if clock is None else repr(clock) + ' '}runs for contact {number}")
    terms = {v.agreement.digest: v.agreement.promises for v in judges.versions}
    allowed: dict[str, tuple[str, ...]] = {}
    for r in running:
        promises = terms[r.version]
        allowed[r.clock] = promises.sla.clocks[r.clock].pause_for if promises is not None else ()
    if not any(reason in reasons for reasons in allowed.values()):
        valid = sorted({r for reasons in allowed.values() for r in reasons})
        raise NotPossible(
            f"the agreement lets no clock of this lead stand for {reason!r}; it does for: "
            f"{', '.join(valid) if valid else 'nothing'}"
        )
    if any(p.reason == reason and p.until is None for r in running for p in r.pauses):
        raise NotPossible(f"it stands for {reason!r} already")
    return _said(db, connections, judges, number, What.PAUSED, by, clock=clock, reason=reason)


def resume(
    db: Db, connections: Connections, known: Known, contact: int, by: str, *, reason: str | None = None
) -> tuple[Reading, ...]:
    """Let the clocks of a lead go on.  ``reason``: what they stand for; None: all of it.  Raises as ``pause``."""
    number, judges = _lead(db, known, contact)
    held = {p.reason for r in _readings(db, connections, judges, number) for p in r.pauses if p.until is None}
    if not held or (reason is not None and reason not in held):
        raise NotPossible(f"it does not stand for {reason!r}" if held else "no clock of this lead stands")
    return _said(db, connections, judges, number, What.RESUMED, by, reason=reason)


def reassign(
    db: Db, connections: Connections, known: Known, contact: int, owner: str, reason: str, by: str
) -> tuple[Reading, ...]:
    """Give a lead to another colleague: the owner of the contact changes, here and where the mappings write it."""
    number, judges = _lead(db, known, contact)
    now = clock_of(db)
    held = people.load(db, [number], lock=True)[number]
    before = held.value("owner_email")
    if before == owner:
        raise NotPossible(f"it is {owner}'s already")
    fact = Fact(owner, OPERATOR, now, RULE)
    held.changes.append((Decision("owner_email", Outcome.TAKEN, RULE, before, owner), fact))
    held.facts["owner_email"] = fact
    held.version += 1
    people.save(db, [held], now)
    people.write_history(db, [held], now)
    held.changes.clear()
    for one in connections.values():
        if "owner_email" in one.map.out_fields:
            work.mark(db, one.name, {number: now})
    return _said(db, connections, judges, number, What.REASSIGNED, by, reason=reason, owner=owner)


def _lead(db: Db, known: Known, contact: int) -> tuple[int, Judges]:
    number = merges.standing_for(db, contact)
    if number not in leads.load(db, [number]):
        raise NotFound(f"contact {contact} is no lead: no stage of the agreement is true of them, or there is none yet")
    return number, known.versions(db)


def _readings(db: Db, connections: Connections, judges: Judges, contact: int) -> tuple[Reading, ...]:
    now = clock_of(db)
    held = people.load(db, [contact])
    lead = fold_all(db, connections, judges, held, now)[contact]
    return timing.live(db, judges.versions, lead, gathered(db, connections, judges, held)[contact], contact)


def _said(
    db: Db,
    connections: Connections,
    judges: Judges,
    contact: int,
    what: What,
    by: str,
    *,
    clock: str | None = None,
    reason: str | None = None,
    owner: str | None = None,
) -> tuple[Reading, ...]:
    now = clock_of(db)
    clocks.say(db, contact_id=contact, at=now, what=str(what), clock=clock, reason=reason, owner=owner, by=by)
    refold(db, connections, judges, [contact], now)
    return _readings(db, connections, judges, contact)
