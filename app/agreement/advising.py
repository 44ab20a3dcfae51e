"""What sales may do next with a lead, by the rules of the agreement, and what followed where it was done before.

Nothing is guessed: an action is shown because the agreement names it, its condition is true and consent allows it.
First comes what a clock waits for, then by the lower end of the interval of what followed with similar leads: the
first of these groups in which enough are decided: those of the same persona, those from the same source, all.  What
followed is no proof of a cause: who is called was promising before.  The counts are kept with the scorecard
(``app.agreement.counting``), so nothing here grows with the number of leads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection as Db

from app.agreement import timing
from app.agreement.clocks import Reading, State
from app.agreement.counting import AIMS, ALL, NONE, day
from app.agreement.facts import OURS
from app.agreement.leads import Known, looked
from app.agreement.load import Action
from app.agreement.rates import Rate
from app.agreement.terms import ATTEMPTS, CONTACT, FIRST_TOUCH
from app.agreement.versions import Versions
from app.agreement.words import OPEN, Lead, Standing
from app.core.clock import from_ms
from app.core.db import clock_of
from app.core.errors import NotFound, NotPossible
from app.records import contacts as people
from app.records import leads, merges, scores
from app.records.clocks import NEVER
from app.sync.connection import Connections

DAYS: Final = 730  # what happened longer ago says little about today
_RUNNING: Final = frozenset({State.RUNNING, State.AT_RISK, State.BREACHED})
_TOUCHES: Final = frozenset({FIRST_TOUCH, CONTACT, ATTEMPTS})


@dataclass(frozen=True, slots=True)
class Followed:
    """How far similar leads came with whom it was done before they were decided, and those with whom it was not."""

    group: str  # "persona decides", "source email", "all leads"
    done: Rate
    without: Rate


@dataclass(frozen=True, slots=True)
class Suggested:
    """An action that is allowed now."""

    action: Action
    why: str
    followed: Followed
    fulfils: tuple[str, ...]  # clocks that wait for it


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An action that is not allowed now."""

    action: Action
    why: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What may come next, the best first."""

    contact: int
    lead: Lead
    aim: str  # the milestone that is to come next: sql, won
    due: tuple[Reading, ...]  # what sales owes, the earliest due first
    steps: tuple[Suggested, ...]
    left_out: tuple[LeftOut, ...]


def advise(db: Db, connections: Connections, known: Known, contact: int) -> Advice:
    """What sales may do next.  Raises NotFound for who is no lead, NotPossible for a lead that is not with sales."""
    number = merges.standing_for(db, contact)
    if number not in leads.load(db, [number]):
        raise NotFound(f"contact {contact} is no lead: no stage of the agreement is true of them, or there is none yet")
    now = clock_of(db)
    judges = known.versions(db)
    lead, facts, happened = looked(db, connections, judges, people.load(db, [number])[number], now)
    if lead.status not in OPEN:
        raise NotPossible(f"lead {number} is not with sales at present, so there is no next step of sales")
    readings = timing.live(db, judges.versions, lead, happened, number)
    due = sorted(
        (r for r in readings if r.state in _RUNNING),
        key=lambda r: (r.due_at if r.due_at is not None else NEVER, r.clock),
    )
    begin, aim = ("sql", "won") if lead.status is Standing.QUALIFIED else ("mql", "sql")
    version = judges.versions.at(now)
    actions = version.agreement.actions if version is not None else ()
    allowed = [a for a in actions if _against(a, facts, now) is None]
    left_out = [LeftOut(a, why) for a in actions if (why := _against(a, facts, now)) is not None]
    followed = _followed(db, allowed, lead, number, begin, now)
    touching = [r for r in due if _ends(judges.versions, r) in _TOUCHES]
    steps = [_suggested(a, followed[a.name], touching if a.did in OURS else (), aim) for a in allowed]
    tried = set(lead.channels)
    steps.sort(key=lambda s: (not s.fulfils, s.action.channel in tried, s.followed.done.small, -_low(s.followed.done)))
    return Advice(number, lead, aim, tuple(due), tuple(steps), tuple(left_out))


def _against(action: Action, facts: Mapping[str, Any], now: int) -> str | None:
    """Why an action is not allowed now; None: it is."""
    if action.channel is not None:
        stem = f"consent.{action.channel}"
        status = facts.get(f"{stem}.status", "none")
        if facts.get(f"{stem}.stops") is True or (action.granted and status != "granted"):
            return f"consent to {action.channel}: {status}"
    if action.when is not None and not action.when.holds(facts, now):
        return f"its condition is not true: {action.when.text}"
    return None


def _ends(versions: Versions, reading: Reading) -> str | None:
    """By what a clock ends, in the version that it goes by."""
    for version in versions:
        promises = version.agreement.promises
        if version.agreement.digest == reading.version and promises is not None:
            return promises.sla.clocks[reading.clock].ends
    return None


def _followed(db: Db, actions: Sequence[Action], lead: Lead, contact: int, begin: str, now: int) -> dict[str, Followed]:
    journey = scores.load(db, [contact]).get(contact)
    source = journey["channel"] if journey is not None else None
    groups = [("persona", lead.persona), ("channel", source)]
    kinds = {a.did for a in actions}
    values = {ALL, *kinds, *(v for _, v in groups if v is not None)}
    values |= {f"{kind} {v}" for kind in kinds for _, v in groups if v is not None}
    counter = AIMS[begin]
    indicators = (begin, counter, f"{counter}?")
    found = scores.named(db, _DIMENSIONS, values, indicators, day(now) - DAYS)

    def rate(dimension: str, value: str) -> Rate:
        of, hits, undecided = (found.get((dimension, value, name), 0) for name in indicators)
        return Rate(hits, of, undecided)

    made = {}
    for action in actions:
        tries = [
            (f"{_NAMES[by]} {value}", rate(f"did+{by}", f"{action.did} {value}"), rate(by, value))
            for by, value in groups
            if value is not None and value != NONE
        ]
        tries.append(("all leads", rate("did", action.did), rate(ALL, ALL)))
        label, having, whole = next((one for one in tries if not one[1].small), tries[-1])
        rest = Rate(whole.hits - having.hits, whole.of - having.of, whole.undecided - having.undecided)
        made[action.name] = Followed(label, having, rest)
    return made


_DIMENSIONS: Final = (ALL, "did", "persona", "channel", "did+persona", "did+channel")
_NAMES: Final[Mapping[str, str]] = {"persona": "persona", "channel": "source"}


def _suggested(action: Action, followed: Followed, waiting: Sequence[Reading], aim: str) -> Suggested:
    why = [_owed(r) for r in waiting]
    done, rest = followed.done, followed.without
    if done.interval is None:
        why.append(f"{action.did} was done with no lead that is decided, so nothing is known of what follows")
    else:
        low, high = done.interval
        told = (
            f"{followed.group}: with {action.did}, {done.hits} of {done.decided} came to {aim} "
            f"({low:.0%} to {high:.0%}); without, {rest.hits} of {rest.decided}"
        )
        why.append(f"{told}; too few to say much" if done.small else told)
    return Suggested(action, "; ".join(why), followed, tuple(r.clock for r in waiting))


def _owed(r: Reading) -> str:
    if r.breached_at is not None:
        return f"{r.clock} is overdue since {from_ms(r.breached_at):%Y-%m-%d %H:%M} UTC"
    return f"{r.clock} is due {from_ms(r.due_at):%Y-%m-%d %H:%M} UTC" if r.due_at is not None else f"{r.clock} runs"


def _low(rate: Rate) -> float:
    return rate.interval[0] if rate.interval is not None and not rate.small else 0.0
