"""Whose stage would be another one under a draft, before anybody signs.  Reads only, in bounded pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from app.agreement import enrolling
from app.agreement.leads import Judges, Known, fold_all
from app.agreement.load import Agreement
from app.agreement.versions import Version, Versions
from app.agreement.words import Lead
from app.core.db import Database, clock_of
from app.core.fields import Type
from app.records import contacts as people
from app.records import leads
from app.sync.connection import Connections

BATCH: Final = 100
EXAMPLES: Final = 5  # contacts named for each change


@dataclass(slots=True)
class Simulated:
    """What a draft would change.  Stages by name; None = no stage."""

    contacts: int = 0
    now: Counter[str | None] = field(default_factory=Counter)
    then: Counter[str | None] = field(default_factory=Counter)
    moves: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    examples: dict[tuple[str | None, str | None], list[int]] = field(default_factory=dict)
    handed_over: int = 0  # more leads for sales, at once
    members: Counter[str] = field(default_factory=Counter)  # of programmes, as it is
    enrolled: Counter[str] = field(default_factory=Counter)  # the same under the draft

    @property
    def changed(self) -> int:
        """How many contacts would be at another stage."""
        return sum(self.moves.values())


def simulate(
    database: Database,
    connections: Connections,
    draft: Agreement,
    customs: Mapping[str, Type],
    *,
    told: Callable[[int], None] = lambda _: None,
    most: int | None = None,
) -> Simulated:
    """What would be, if the draft came into force now; where there is no agreement yet, if it had always held.

    ``told``: how many contacts were looked at so far.  ``most``: only the first so many.
    """
    with database.read() as db:
        now = clock_of(db)
        held = Known().versions(db)
    present = list(held.versions)
    since = now if present else 0
    others = [v for v in present if v.since <= now]
    drafted = Judges(Versions([*others, Version(draft, since)]), customs)
    found = Simulated()
    after = 0
    while most is None or found.contacts < most:
        with database.read() as db:
            ids = leads.some_contacts(db, after, BATCH)
            if not ids:
                break
            contacts = {i: c for i, c in people.load(db, ids).items() if c.merged_into is None}
            before = fold_all(db, connections, held, contacts, now)
            then = fold_all(db, connections, drafted, contacts, now)
        for number in contacts:
            _compare(found, number, before[number], then[number])
            found.members.update(enrolling.getting(held.versions, before[number], number))
            found.enrolled.update(enrolling.getting(drafted.versions, then[number], number))
        after = ids[-1]
        told(found.contacts)
    return found


def _compare(found: Simulated, number: int, before: Lead, then: Lead) -> None:
    found.contacts += 1
    found.now[before.stage] += 1
    found.then[then.stage] += 1
    found.handed_over += then.status is not before.status and then.status == "new"
    if before.stage != then.stage:
        move = (before.stage, then.stage)
        found.moves[move] += 1
        named = found.examples.setdefault(move, [])
        if len(named) < EXAMPLES:
            named.append(number)
