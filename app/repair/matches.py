"""What a person decides about two contacts that may be one: the same, different, or later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection as Db

from app.core.db import clock_of
from app.core.errors import NotPossible
from app.core.words import Value
from app.push import work
from app.records import contacts as people
from app.records import merges, proposals
from app.records.proposals import Decision
from app.sync import saying, uniting
from app.sync.connection import Connections
from app.sync.saying import Said

Side = Literal["older", "newer"]
RULE: Final = "chosen"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a decision led to: the contact that stands for both, and the number of the merge, where they are one now."""

    decision: Decision
    contact: int | None = None
    merge: int | None = None


def decide(
    db: Db,
    connections: Connections,
    number: int,
    decision: Decision,
    by: str,
    choices: Mapping[str, Side] | None = None,
) -> Answer:
    """Decide a proposal.  ``choices``: field → whose value holds from now on, where the two differ; else the older's.

    ``different`` binds every sync for ever, and not the people: a named person may say later that they were one after
    all.  Raises NotFound, NotPossible where it was decided before otherwise (a merge is taken back by a split),
    ValueError for a choice of a field that neither has.
    """
    row = proposals.one(db, number)
    corrected = row["status"] == Decision.DIFFERENT and decision is Decision.SAME
    if row["status"] not in proposals.WAITING and not corrected:
        hint = "; split the two with `tandem split`" if row["status"] == Decision.SAME else ""
        raise NotPossible(f"proposal {number} was decided before: {row['status']}, by {row['decided_by']}{hint}")
    older, newer = row["older"], row["newer"]
    proposals.decided(db, number, decision, by)
    now = clock_of(db)
    if decision is Decision.LATER:
        return Answer(decision)
    if decision is Decision.DIFFERENT:
        work.mark_at(db, connections, (older, newer), now)  # what waited for the answer may be made now
        return Answer(decision)
    both = people.load(db, {older, newer})
    chosen = {
        name: both[older if side == "older" else newer].value(name) for name, side in sorted((choices or {}).items())
    }
    unknown = sorted(n for n in chosen if not any(n in c.facts for c in both.values()))
    if unknown:
        raise ValueError(f"neither of the two has: {', '.join(unknown)}")
    merge = uniting.unite(db, connections, older, newer, by=by, now=now)
    winner = merges.standing_for(db, older)
    if chosen:
        _hold(db, connections, winner, chosen, by, now)
    return Answer(decision, winner, merge)


def _hold(db: Db, connections: Connections, winner: int, chosen: Mapping[str, Value], by: str, now: int) -> None:
    """Let these values hold, as a named person said, whatever the winner had."""
    contact = people.load(db, {winner}, lock=True)[winner]
    other = {name: value for name, value in chosen.items() if contact.value(name) != value}
    if other:
        saying.say(db, connections, {winner: contact}, Said(by, RULE, now, values={winner: other}))
