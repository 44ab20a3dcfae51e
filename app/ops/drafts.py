"""A draft of the agreement beside what is signed: what it says differently, and whose stage would be another one.

For the command line and the pages alike.  Reads one file and the store; changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import Field
from sqlalchemy import Connection as Db

from app.agreement import looking, simulating
from app.agreement.leads import Known
from app.agreement.load import Agreement, MappingError, load
from app.core.db import Database
from app.core.errors import ConfigError, NotFound
from app.core.fields import Type
from app.ops.shapes import Shape
from app.records import leads
from app.sync.connection import Connections

HOUR_MS: Final = 3_600_000
LENGTHS: Final = frozenset({"rest", "within"})  # keys of the file that hold lengths of time


@dataclass(frozen=True, slots=True)
class Draft:
    """An agreement and the custom fields that its conditions may ask for.  ``number``: of its row, where it has one."""

    agreement: Agreement
    customs: Mapping[str, Type] = field(repr=False)
    number: int | None = None


class DifferenceShown(Shape):
    """One thing that two versions say differently.  null: only the other one has it."""

    path: str = Field(examples=["reasons.no_need.rest"])
    before: Any
    after: Any


class StageCount(Shape):
    """How many are at a stage, and how many would be."""

    stage: str = Field(examples=["mql"])
    now: int
    then: int


class ProgrammeCount(Shape):
    """How many have a programme, and how many would have it."""

    programme: str = Field(examples=["warm_up"])
    now: int
    then: int


class MoveShown(Shape):
    """Contacts that would be at another stage."""

    start: str | None = Field(description="Stage now; null: none.")
    to: str | None = Field(description="Stage then; null: none.")
    contacts: int
    examples: list[int] = Field(description="Numbers of some of them.")


class SimulationShown(Shape):
    """What a draft would change."""

    contacts: int = Field(description="How many were looked at.")
    changed: int = Field(description="How many would be at another stage.")
    handed_over: int = Field(description="More leads for sales, at once.")
    stages: list[StageCount]
    moves: list[MoveShown] = Field(description="The most contacts first.")
    programmes: list[ProgrammeCount]


def customs_of(connections: Connections) -> dict[str, Type]:
    """The custom fields of all mappings."""
    found: dict[str, Type] = {}
    for one in connections.values():
        found |= looking.customs_of(one.map)
    return found


def of_file(path: Path, connections: Connections) -> Draft:
    """The draft in a file.  Raises MappingError with every problem, ConfigError where it cannot be read."""
    customs = customs_of(connections)
    return Draft(load(path, customs), customs)


def of_version(db: Db, known: Known, number: int) -> Draft:
    """A version of the store.  Raises NotFound."""
    row = next((row for row in leads.versions(db) if row["id"] == number), None)
    if row is None:
        raise NotFound(f"there is no version {number}; `tandem agreement show` lists them")
    customs = {name: Type(kind) for name, kind in row["customs"].items()}
    return Draft(known.agreement(dict(row)), customs, number)


def latest(db: Db, known: Known) -> Draft | None:
    """The version that came into force last, or else was signed last; None where nobody has signed anything."""
    rows = leads.versions(db)
    signed = [row for row in rows if row["in_force"] is not None]
    row = max(signed, key=lambda row: int(row["in_force"])) if signed else (rows[-1] if rows else None)
    return of_version(db, known, row["id"]) if row is not None else None


def differences_shown(before: Agreement, after: Agreement) -> list[DifferenceShown]:
    """What the second says that the first does not, and the other way round, in the order of the file."""
    return [
        DifferenceShown(path=d.path, before=_written(d.path, d.before), after=_written(d.path, d.after))
        for d in looking.differences(before, after)
    ]


def _written(path: str, value: Any) -> Any:
    """A value as the file writes it: a length of time is kept as ms and written as ``36h`` or ``30d``."""
    if path.rpartition(".")[2] not in LENGTHS or not isinstance(value, int):
        return value
    days, rest = divmod(value, 24 * HOUR_MS)
    return f"{value // HOUR_MS}h" if rest else f"{days}d"


def simulated(database: Database, connections: Connections, draft: Draft, most: int | None) -> SimulationShown:
    """What would be if the draft came into force now; see ``app.agreement.simulating``."""
    found = simulating.simulate(database, connections, draft.agreement, draft.customs, most=most)
    return simulation_shown(draft.agreement, found)


def simulation_shown(draft: Agreement, found: simulating.Simulated) -> SimulationShown:
    """What a draft would change, for people."""
    moves = sorted(found.moves.items(), key=lambda move: -move[1])
    return SimulationShown(
        contacts=found.contacts,
        changed=found.changed,
        handed_over=found.handed_over,
        stages=[StageCount(stage=s.name, now=found.now[s.name], then=found.then[s.name]) for s in draft.stages],
        moves=[
            MoveShown(start=start, to=to, contacts=n, examples=found.examples[(start, to)]) for (start, to), n in moves
        ],
        programmes=[
            ProgrammeCount(programme=name, now=found.members[name], then=found.enrolled[name])
            for name in sorted(found.members.keys() | found.enrolled.keys())
        ],
    )


def problems_of(error: MappingError | ConfigError) -> list[str]:
    """Each problem of a file that cannot be used, one sentence each."""
    return [str(p) for p in error.problems] if isinstance(error, MappingError) else [str(error)]
