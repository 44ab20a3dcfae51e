"""Weights from the contacts of this store, without labels.  In: a random sample.  Out: weights, and what changed.

What is estimated and how is ``app.match.training``'s.
"""

from __future__ import annotations

import random
from typing import Any, Final

from sqlalchemy import select

from app.core import tables as t
from app.core.db import Database
from app.match.normalise import Evidence, evidence
from app.match.training import train
from app.match.weights import Weights, shipped
from app.records import contacts as people
from app.sync import identity
from app.sync.connection import Connections

STEP: Final = 10_000  # ids read at a time
TELLING: Final = 0.1  # bits by which a weight has to move to be worth a line

c = t.contact.c


def weights_of(connections: Connections) -> Weights:
    """The weights that are in use."""
    return shipped() if connections.weights is None else connections.weights


def trained(database: Database, connections: Connections, most: int, seed: int = 0) -> tuple[int, Weights]:
    """How many contacts were looked at, and the weights they suggest, beginning with those in use.

    At most ``most`` contacts are in memory, each as likely as any other (reservoir sampling, Vitter 1985: algorithm R).
    """
    chance = random.Random(seed)  # noqa: S311  a sample, no secret
    chosen: list[int] = []
    seen, last = 0, 0
    said: list[Evidence] = []
    with database.read() as db:
        query = select(c.id).where(c.merged_into.is_(None)).order_by(c.id).limit(STEP)
        while ids := db.execute(query.where(c.id > last)).scalars().all():
            last = ids[-1]
            for number in ids:
                seen += 1
                if len(chosen) < most:
                    chosen.append(number)
                elif (place := chance.randrange(seen)) < most:
                    chosen[place] = number
        for chunk in people.chunks(sorted(chosen)):
            rows = select(c.id, c.facts).where(c.id.in_(chunk)).order_by(c.id)
            said += [evidence(identity.read(row["facts"])) for row in db.execute(rows).mappings()]
    return len(said), train(said, weights_of(connections), seed=seed)


def changes(before: Weights, after: Weights) -> list[dict[str, Any]]:
    """The weights that moved, in bits, the most first."""
    found = [
        {
            "field": name,
            "level": level,
            "before": round(before.bits[name][level], 2),
            "after": round(bits, 2),
        }
        for name, levels in after.bits.items()
        for level, bits in levels.items()
        if level in before.bits.get(name, {}) and abs(bits - before.bits[name][level]) >= TELLING
    ]
    return sorted(found, key=lambda one: (-abs(one["after"] - one["before"]), one["field"], one["level"]))
