"""The scorecard: how long it takes to answer, whether it equals counting everything anew, what one more event costs.

Invented leads (``bench.agreement_data``) are stored and worked out as the service does it.  Then each question is asked
many times, all counters are counted again from the beginning and compared, and single leads are worked out anew after
one more click each, in a small store and in the full one: the cost of an event must not grow with the store.

``python -m bench.scorecard [--leads 50000] [--acts 38] [--runs 40]``; processor's time is told beside the clock's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from sqlalchemy import func, insert, select

from app.agreement import acting, flow, leads, load, scorecard, scores
from app.agreement.versions import Versions
from app.agreement.words import Team
from app.core import tables as t
from app.core.db import Database
from app.records.migrate import upgrade
from app.sync.connection import Connections
from bench.agreement_data import BEGIN, DAY, END, Invented, invent, store

AGREEMENT = Path(__file__).parents[1] / "mappings" / "agreement.yaml"
BAR_MS = 300.0  # 95th percentile of each answer
GROWTH = 1.5  # of the median cost of an event, from a tenth of the store to all of it
NOBODY = Connections({})
BATCH = 500


def signed(database: Database) -> leads.Known:
    """Both sign the shipped agreement, to hold from before the first lead."""
    agreement = load.load(AGREEMENT)
    with database.write() as db:
        for team in Team:
            acting.sign(db, agreement, {}, team, "Kim", since=BEGIN - DAY)
    return leads.Known()


def enter(database: Database, known: leads.Known, some: list[Invented]) -> None:
    """Store leads and work them out."""
    with database.write() as db:
        db.execute(insert(t.contact), [one.contact for one in some])
        store(db, [row for one in some for row in one.rows])
    for i in range(0, len(some), leads.BATCH):
        ids = [one.contact["id"] for one in some[i : i + leads.BATCH]]
        with database.write() as db:
            leads.refold(db, NOBODY, known.versions(db), ids, END + DAY)


def one_more(database: Database, known: leads.Known, count: int, times: int, mark: str) -> dict[str, float]:
    """What it costs to work out a lead that clicked once more, in ms of the processor."""
    chance = random.Random(mark)
    whole, own = [], []
    keep = scores.keep
    spent = 0.0

    def timed(*args: Any) -> None:
        nonlocal spent
        begin = time.process_time()
        keep(*args)
        spent += time.process_time() - begin

    scores.keep = timed  # type: ignore[assignment]
    try:
        for n in range(times):
            contact = chance.randrange(1, count + 1)
            click = {"connection": "mkt", "kind": "click", "at": END - n, "remote_id": f"{mark}-{n}", "human": 1}
            click |= {"contact_id": contact, "received_at": END, "campaign": "spring a", "channel": "email"}
            with database.write() as db:
                store(db, [("engagement", click)])
                spent, begin = 0.0, time.process_time()
                leads.refold(db, NOBODY, known.versions(db), [contact], END + DAY)
                whole.append(time.process_time() - begin)
                own.append(spent)
    finally:
        scores.keep = keep
    return {"whole_ms": median(whole) * 1000, "scorecard_ms": median(own) * 1000}


def questions(versions: Versions) -> dict[str, Callable[[Any], Any]]:
    """What is asked, over two years."""
    span = scorecard.Span(BEGIN // DAY, END // DAY + 1)
    return {
        "scorecard": lambda db: scorecard.card(db, versions, span, "month", END // DAY),
        "moves by campaign": lambda db: scorecard.moves(db, "campaign", span),
        "moves by channel": lambda db: scorecard.moves(db, "channel", span),
        "moves by variant": lambda db: scorecard.moves(db, "variant", span),
        "moves by persona": lambda db: scorecard.moves(db, "persona", span),
        "moves by what was done": lambda db: scorecard.moves(db, "did", span),
        "attribution": lambda db: scorecard.credited(db, "w", "campaign", span),
        "cohorts": lambda db: scorecard.cohorts(db, "mql", span, "month"),
        "speed": lambda db: scorecard.speed(db, span),
        "flow": lambda db: flow.flow(db, span, END),
    }


def asked(database: Database, versions: Versions, runs: int) -> dict[str, dict[str, float]]:
    """Each question so many times: ms by the clock and by the processor."""
    found = {}
    for name, ask in questions(versions).items():
        walls, cpus = [], []
        for _ in range(runs):
            with database.read() as db:
                wall, cpu = time.perf_counter(), time.process_time()
                ask(db)
                walls.append((time.perf_counter() - wall) * 1000)
                cpus.append((time.process_time() - cpu) * 1000)
        found[name] = {
            "p50_ms": median(walls),
            "p95_ms": quantiles(walls, n=20)[18],
            "cpu_p95_ms": quantiles(cpus, n=20)[18],
        }
    return found


def measure(count: int, acts: float, runs: int, folder: Path) -> dict[str, Any]:
    """Everything, in a store of its own."""
    database = Database(f"sqlite:///{folder / 'scorecard.db'}")
    upgrade(database)
    known = signed(database)
    made = invent(count, acts=acts)
    result: dict[str, Any] = {"leads": count}
    begin = time.process_time()
    done = 0
    while some := list(itertools.islice(made, BATCH)):
        enter(database, known, some)
        done += len(some)
        if done == min(count, max(BATCH, count // 10 // BATCH * BATCH)):
            result["event in a tenth"] = one_more(database, known, done, 300, "small")
    result["cpu_ms_per_lead"] = (time.process_time() - begin) * 1000 / count
    result["event in the whole"] = one_more(database, known, count, 300, "large")
    with database.read() as db:
        versions = known.versions(db).versions
        for name, table in {"engagements": t.engagement, "counters": t.score}.items():
            result[name] = db.execute(select(func.count()).select_from(table)).scalar_one()
    result["answers"] = asked(database, versions, runs)
    begin = time.process_time()
    result["wrong"] = len(scores.check(database, versions))
    result["recount_cpu_s"] = time.process_time() - begin
    result["mb"] = (folder / "scorecard.db").stat().st_size / 1e6
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    database.close()
    small, large = result["event in a tenth"], result["event in the whole"]
    result["growth"] = large["scorecard_ms"] / small["scorecard_ms"]
    slowest = max(answer["p95_ms"] for answer in result["answers"].values())
    result["bars"] = {
        f"every answer at most {BAR_MS:.0f} ms": slowest <= BAR_MS,
        f"an event at most {GROWTH} times what it costs in a tenth": result["growth"] <= GROWTH,
        "no counter is wrong": result["wrong"] == 0,
    }
    return result


def main() -> None:
    """Measure and tell; ends with 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leads", type=int, default=50_000)
    parser.add_argument("--acts", type=float, default=38.0)
    parser.add_argument("--runs", type=int, default=40)
    asked_for = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(asked_for.leads, asked_for.acts, asked_for.runs, Path(folder))
    print(json.dumps(result, indent=2))
    raise SystemExit(0 if all(result["bars"].values()) else 1)


if __name__ == "__main__":
    main()
