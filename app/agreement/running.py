"""The clocks of one lead: what happened to it in, how each of its clocks stands out.  Pure.

Clocks begin by the stages that the lead entered, and end by acts, answers and stages (``app.agreement.owed``).  A lead
that is given back, or decided, owes nothing more: what still runs then is taken back, a breach stays one.  When sales
found a need, it has spoken to the person: what waits for a touch is taken back, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.agreement import clocks, facts
from app.agreement.clocks import Reading, State, What
from app.agreement.lifecycle import touch_of
from app.agreement.owed import Entry, happenings
from app.agreement.promises import Promises
from app.agreement.terms import ATTEMPTS, CONTACT, FIRST_TOUCH, Terms
from app.agreement.versions import Versions
from app.agreement.words import Happening, Lead, Standing
from app.agreement.words import What as Step
from app.core.clock import from_ms

OWNER: Final = "contact.owner_email"
ENDED: Final = frozenset({State.MET, State.MET_LATE, State.CANCELLED})
_TOUCHES: Final = frozenset({FIRST_TOUCH, CONTACT, ATTEMPTS})
_BACK: Final = frozenset({Standing.RECYCLED, Standing.REJECTED, Standing.DONE})
_ANSWERS: Final = _BACK | {Standing.ACCEPTED, Standing.QUALIFIED}


@dataclass(frozen=True, slots=True)
class Word:
    """What a named person did to clocks."""

    at: int
    what: What
    clock: str | None = None
    reason: str | None = None
    by: str = ""


def readings(
    lead: Lead,
    happened: Iterable[Happening],
    versions: Versions,
    teams: Mapping[str, str],
    words: Iterable[Word],
    now: int,
) -> tuple[Reading, ...]:
    """Every round of every clock of the lead, in the order of their names; none where the agreement has no clocks.

    ``happened``: all that happened to the lead, in any order; ``teams``: address of a colleague → team.
    """
    promised = {v.agreement.digest: v.agreement.promises for v in versions if v.agreement.promises is not None}
    stages = [e for e in lead.entries if e.what is Step.STAGE and e.version in promised and e.clocks]
    if not stages:
        return ()
    known = [h for h in happened if h.at <= now]
    entries = [
        Entry(
            e.at,
            f"{e.at}:{e.name}",
            e.name,
            e.version,
            teams.get(e.owner) if e.owner is not None else None,
            e.owner,
            e.clocks,
        )
        for e in lead.entries
        if e.what is Step.STAGE and e.version in promised
    ]
    touches = [touch_of(h) for h in known if h.act is not None and h.act.kind in facts.OURS | {"reply"}]
    answers = [e.at for e in lead.entries if e.what is Step.STATUS and e.name in _ANSWERS]
    others = [
        *(clocks.Happening(v.since, What.VERSION, v.agreement.digest, version=v.agreement.digest) for v in versions),
        *_owners(known, entries, versions, promised, teams),
        *_taken_back(lead, entries, promised),
        *(clocks.Happening(w.at, w.what, f"{w.at}:{w.by}:{w.clock}", clock=w.clock, reason=w.reason) for w in words),
    ]
    given = happenings(promised, entries, touches, answers, others, now)
    terms = {v.agreement.digest: _terms(v.agreement.promises) for v in versions}
    names = sorted({name for e in stages for name in e.clocks})
    found = clocks.read_all(names, given, terms, now)
    return tuple(reading for name in names for reading in found.get(name, ()))


def overdue(of: Iterable[Reading]) -> str | None:
    """What is breached and not done yet, in words that both teams read; None for nothing."""
    late = sorted((r.breached_at, r.clock) for r in of if r.state is State.BREACHED and r.breached_at is not None)
    return "; ".join(f"{name} overdue since {_minute(at)}" for at, name in late) if late else None


def _minute(at: int) -> str:
    return from_ms(at).strftime("%Y-%m-%d %H:%M UTC")


def _terms(promises: Promises | None) -> Terms:
    return promises.terms if promises is not None else Terms({}, {})


def _owners(
    known: Sequence[Happening],
    entries: Sequence[Entry],
    versions: Versions,
    promised: Mapping[str, Promises],
    teams: Mapping[str, str],
) -> Iterator[clocks.Happening]:
    """The lead went to another colleague, and maybe to a team with other hours."""
    began = {e.at for e in entries}
    before: Any = None
    for one in sorted((h for h in known if OWNER in h.values), key=lambda h: h.order):
        owner = one.values[OWNER]
        if owner != before and one.at not in began:  # who is in charge when a clock starts is said by its start
            version = versions.at(one.at)
            held = promised.get(version.agreement.digest) if version is not None else None
            calendar = held.sla.calendar_of(teams.get(owner) if owner is not None else None) if held else None
            digest = version.agreement.digest if version is not None and held is not None else None
            key = "\0".join(one.key)
            yield clocks.Happening(one.at, What.REASSIGNED, key, version=digest, calendar=calendar, owner=owner)
        before = owner


def _taken_back(lead: Lead, entries: Sequence[Entry], promised: Mapping[str, Promises]) -> Iterator[clocks.Happening]:
    """What nobody owes any more, from the moment of a standing on."""
    for one in lead.entries:
        if one.what is not Step.STATUS or one.name not in _BACK | {Standing.QUALIFIED}:
            continue
        begun: dict[str, int] = {}
        for entry in entries:
            if entry.at <= one.at:
                names = entry.clocks if entry.clocks is not None else ()
                begun |= {n: entry.at for n in names if _ends(promised[entry.version], n, one.name)}
        for name in sorted(n for n, at in begun.items() if at < one.at):
            yield clocks.Happening(one.at, What.CANCELLED, f"{one.at}:{one.name}", clock=name, reason=one.name)


def _ends(promises: Promises, name: str, standing: str) -> bool:
    return standing in _BACK or promises.sla.clocks[name].ends in _TOUCHES
