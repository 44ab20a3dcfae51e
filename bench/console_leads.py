"""What the console's bench adds for the pages of the agreement: leads, steps, rounds, clocks, counters of two years.

The rows are as many and as wide as the service would keep; what they say is made up, so their figures mean nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from app.agreement import acting, load
from app.agreement.rates import FORMULAS
from app.agreement.scorecard import MARKETING, SALES
from app.agreement.words import Team
from app.core import tables as t
from app.core.db import Database, clock_of

AGREEMENT = Path(__file__).parents[1] / "mappings" / "agreement.yaml"
DAY = 86_400_000
DAYS = 730
FULL = 200_000  # contacts with which every counter is there on every day
BATCH = 50_000
VALUES = {"": 1, "channel": 5, "campaign": 24, "variant": 48, "persona": 3, "profile": 2, "team": 3, "did": 6}
COUNTED = [name for name, _ in FORMULAS.values()]
INDICATORS = (
    *MARKETING, *SALES, *COUNTED, *(f"{name}?" for name in COUNTED), "stage:mql", "stage:sql", "deal:opened",
    "deal:won",
    "deal:lost", "deal:days", "opened:EUR", "won:EUR", "lost:EUR", "deal:won:EUR", "sourced:EUR", "influenced:EUR",
    "by:w", "by:w:EUR",
)  # fmt: skip
STAGES = ("prospect", "lead", "mql", "sql", "opportunity", "client")
PAGES = (
    "/console/scorecard",
    "/console/scorecard?by=campaign&model=first&among=campaign",
    "/console/scorecard?by=did",
    "/console/scorecard?by=channel&value=channel+2",
    "/console/supply-chain",
    "/console/supply-chain?segment=campaign",
    "/console/sla",
    "/console/sla?state=breached",
    "/console/sla?owner=colleague3%40example.com",
    "/console/sla/{middle}",
    "/console/leads",
    "/console/leads?stage=mql",
    "/console/leads?flagged=true",
    "/console/leads/{middle}",
    "/console/programmes",
    "/console/programmes/warm_up",
    "/console/agreement",
    "/console/agreement/versions/1",
    "/console/agreement/draft",
    "/console/agreement/compare",
    "/console/brief",
)
"""Trying a draft is not among them: it works out as many leads as it is asked to, by its nature."""


def rows(first: int, count: int, now: int, contacts: int) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """What hangs on these of so many contacts: two of three are leads."""
    numbers = [n for n in range(first, first + count) if n % 3]

    def at(n: int, later: int = 0) -> int:
        """Who has a higher number came later, give or take thirty days."""
        since = (contacts - n) * DAYS * DAY // contacts + n * 104_729 % (30 * DAY)
        return now - since + later * 3_600_000

    yield (
        t.lead,
        [
            {
                "contact_id": n, "stage": STAGES[n % 6], "since": at(n), "reason": "engagement form count: 1",
                "status": "new" if n % 6 == 2 else None, "status_since": at(n) if n % 6 == 2 else None, "version": "v",
                "handed_at": at(n) if n % 6 > 1 else None, "flag": "too_early" if n % 400 == 2 else None,
                "flag_why": "given back before it was tried" if n % 400 == 2 else None, "recycled": 0, "requalified": 0,
                "attempts": n % 4, "by_machine": 0, "owner_email": f"colleague{n % 40}@example.com", "judged_at": now,
            }
            for n in numbers
        ],
    )  # fmt: skip
    yield (
        t.lead_step,
        [
            {
                "contact_id": n, "at": at(n, i), "what": "stage", "before": before, "after": after,
                "why": "engagement form count: 1", "facts": {"engagement.form.count": 1}, "version": "v",
                "stored_at": now,
            }
            for n in numbers for i, (before, after) in enumerate(itertools.pairwise((None, *STAGES[:3])))
        ],
    )  # fmt: skip
    milestones = ("lead_at", "mql_at", "sal_at", "sql_at", "opportunity_at", "won_at")
    yield (
        t.lead_round,
        [
            {
                "contact_id": n, "number": 1, "begins": "lead", "tries": n % 4, "channels": 1, "kept": n % 2,
                "tried_at": at(n, 30) if n % 6 > 1 else None, "ended_at": at(n, 90) if n % 11 == 0 else None,
                "ended": "recycled" if n % 11 == 0 else None, "why": "no_need" if n % 11 == 0 else None,
                **{name: at(n, i * 12) if i <= n % 6 else None for i, name in enumerate(milestones)},
            }
            for n in numbers
        ],
    )  # fmt: skip
    yield (
        t.clock,
        [
            {
                "contact_id": n, "name": name, "started_at": at(n), "round": 1,
                "owner": f"colleague{n % 40}@example.com",
                "team": "north" if n % 2 else "south", "state": state, "version": "v", "calendar": "office",
                "due_at": at(n, 4), "rank_at": at(n, 4), "breached_at": at(n, 4) if state == "breached" else None,
                "ended_at": at(n, 3) if state == "met" else None, "elapsed": 0, "target": 14_400_000, "paused": 0,
            }
            for n in numbers if n % 6 > 1 for name in ("first_touch", "attempts", "decision")
            for state in ("met" if n % 5 else "breached",)
        ],
    )  # fmt: skip


def counters(contacts: int, today: int) -> Iterator[list[dict[str, Any]]]:
    """Counters, in batches; ``today``: days since 1970.  The fewer contacts, the more of them are missing."""
    of_thousand = max(1, min(1000, contacts * 1000 // FULL))
    batch: list[dict[str, Any]] = []
    values = [(of, f"{of} {n}" if of else "", n) for of, count in VALUES.items() for n in range(count)]
    for (dimension, value, number), indicator in itertools.product(values, INDICATORS):
        n = 1 if ">" in indicator else 4  # of a cohort no more go on than came
        batch += [
            {"dimension": dimension, "value": value, "indicator": indicator, "day": today - day, "n": n}
            for day in range(DAYS)
            if (number * 31 + day * 17) % 1000 < of_thousand
        ]
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def begin(database: Database, contacts: int) -> None:
    """Both sign the shipped agreement, to hold for two years; counters are there.  Nobody has to be judged anew."""
    agreement = load.load(AGREEMENT)
    with database.write() as db:
        now = clock_of(db)
        for team in Team:
            acting.sign(db, agreement, {}, team, "Kim", since=now - DAYS * DAY)
    for some in counters(contacts, now // DAY):
        with database.write() as db:
            db.execute(insert(t.score), some)
