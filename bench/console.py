"""The console: how long each page takes with many contacts, against the same page with few.

A store is filled with contacts that have a record on both sides, a history, dead letters, double edits, proposals,
events, work and leads; then every page is asked for again and again through the whole app (routing, rendering and
all), in turn, in a small store and in the full one.  Prints the median and the 95th percentile in ms, by the clock and
of the processor.

``python -m bench.console [--contacts 200000] [--runs 40]``; 0 where the 95th percentile of every page is within the
bar, 1 where it is not.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
from sqlalchemy import insert

from app import serving
from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.settings import BrakeConfig, Config, ConnectionConfig, Settings, variable_of
from app.core.words import Mode
from app.main import Tandem
from app.match import keys
from app.match.normalise import evidence
from app.records import blocks, dead
from bench import console_leads

BAR_MS = 150.0  # 95th percentile of each page
FEW = 1_000
BATCH = 5_000
NAMES = ("Ann", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gil", "Hal", "Ida", "Jo")
FAMILIES = ("Lee", "Moss", "North", "Orr", "Park", "Quist", "Reed", "Stone", "Thorn", "Unger")
PAGES = (
    "/console",
    "/console/flow",
    "/console/contacts",
    "/console/contacts?after={deep}",
    "/console/contacts?q=p{middle}@example.com",
    "/console/contacts?q=Ann+Lee{middle}",
    "/console/contacts/{middle}",
    "/console/review",
    "/console/review?what=conflicts",
    "/console/review/matches/1",
    "/console/review/conflicts/1",
    "/console/dead",
    "/console/dead?connection=mailchimp&code=invalid",
    "/console/connections",
    "/console/connections/mailchimp",
    "/console/plan",
    "/console/plan?connection=mailchimp",
    "/console/mapping",
    *console_leads.PAGES,
)


def tandem(folder: Path) -> Tandem:
    """Tandem between two vendors that nobody asks here."""
    off = BrakeConfig(creates=None, overwrites=None)
    nowhere = "http://127.0.0.1:9"
    about = {"hubspot": {"base_url": nowhere}, "mailchimp": {"base_url": nowhere, "list_id": "a1"}}
    config = Config(
        connections=tuple(
            ConnectionConfig(name=name, connector=name, mode=Mode.LIVE, settings=settings, brake=off)
            for name, settings in about.items()
        )
    )
    secrets = {("hubspot", "access_token"), ("hubspot", "client_secret"), ("mailchimp", "webhook_secret")}
    env = {variable_of(*one): "x" * 20 for one in secrets} | {variable_of("mailchimp", "api_key"): "x" * 32 + "-us1"}
    made = Settings(_env_file=None, config=folder / "tandem.yml", database=f"sqlite:///{folder / 'bench.db'}")
    return Tandem(made, config, env)


def rows(first: int, count: int, now: int) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """The rows of these contacts, by table."""
    numbers = range(first, first + count)
    values = {
        n: {
            "email": f"p{n}@example.com",
            "given_name": NAMES[n % 10],
            "family_name": f"{FAMILIES[n // 10 % 10]}{n}",
            "city": f"Town {n % 997}",
            "company_name": f"Firm {n % 4999}",
            "job_title": "Clerk",
        }
        for n in numbers
    }

    def fact(value: str) -> dict[str, Any]:
        return {"v": value, "s": "hubspot", "t": now - 1000, "r": "first", "e": None}

    yield (
        t.contact,
        [
            {"id": n, "version": 2, "facts": {f: fact(v) for f, v in of.items()}, "created_at": now, "updated_at": now}
            for n, of in values.items()
        ],
    )
    yield t.contact_key, [{"contact_id": n, "key": "email", "value": of["email"]} for n, of in values.items()]
    yield (
        t.link,
        [
            {
                "connection": name, "kind": "contact", "remote_id": f"{name[0]}{n}", "contact_id": n, "rev": 1,
                "shadow": {**of, "city": "Elsewhere"} if n % 3 == 0 and name == "mailchimp" else of,
                "written_at": 0, "created_at": now, "landed": {"city": now},
            }
            for n, of in values.items() for name in ("hubspot", "mailchimp")
        ],
    )  # fmt: skip
    yield (
        t.block,
        [
            {"key": blocks.hashed(key), "contact_id": n}
            for n, of in values.items()
            if n % 50 == 0  # the others' keys cost a minute and change nothing: each is looked up under an index
            for key in keys.blocking(evidence(of))
        ],
    )
    yield (
        t.history,
        [
            {
                "contact_id": n, "version": v, "field": "city", "old": None, "new": f"Town {v}", "source": "hubspot",
                "rule": "changed", "event": None, "at": now, "stored_at": now,
            }
            for n in numbers for v in (1, 2)
        ],
    )  # fmt: skip
    yield (
        t.inbox,
        [
            {
                "connection": "hubspot", "kind": "contact", "action": "changed", "ref_key": "id", "ref_value": f"h{n}",
                "received_at": now, "due_at": now, "attempts": 0, "dedupe": f"d{n}",
                "status": "pending" if n % 10 == 0 else "done", "done_at": None if n % 10 == 0 else now,
            }
            for n in numbers
        ],
    )  # fmt: skip
    yield (
        t.work,
        [
            {"connection": "mailchimp", "contact_id": n, "gen": 1, "due_at": now, "since": now, "attempts": 0}
            for n in numbers if n % 5 == 0
        ],
    )  # fmt: skip
    yield (
        t.conflict,
        [
            {
                "contact_id": n, "field": "city", "connection": "mailchimp", "ours": "A", "theirs": "B",
                "event": None, "at": now,
            }
            for n in numbers if n % 10 == 1
        ],
    )  # fmt: skip
    yield (
        t.proposal,
        [
            {
                "older": n, "newer": n + 1, "score": 5.0, "contradiction": None, "source": "sweep", "status": "open",
                "reasons": [{"field": "city", "level": "exact", "weight": 4.0, "words": "city: the same (4.0 for)"}],
                "at": now,
            }
            for n in numbers if n % 10 == 2
        ],
    )  # fmt: skip
    yield (
        t.dead,
        [
            {
                "station": "push", "connection": "mailchimp", "contact_id": n, "event": None, "field": "city",
                "code": "invalid" if n % 20 else "conflict", "reason": "no", "next_step": dead.NEXT_STEP["invalid"],
                "attempts": 1, "at": now,
            }
            for n in numbers if n % 10 == 3
        ],
    )  # fmt: skip


def fill(database: Database, count: int) -> None:
    """Store so many contacts with all that hangs on them."""
    console_leads.begin(database, count)
    for first in range(1, count + 1, BATCH):
        with database.write() as db:
            now = clock_of(db)
            size = min(BATCH, count + 1 - first)
            for table, some in itertools.chain(rows(first, size, now), console_leads.rows(first, size, now, count)):
                if some:
                    db.execute(insert(table), some)


class Site:
    """The app over a store of so many contacts."""

    def __init__(self, folder: Path, contacts: int) -> None:
        folder.mkdir()
        self.tandem = tandem(folder)
        self.tandem.prepare()
        begin = time.perf_counter()
        fill(self.tandem.database, contacts)
        self.filled = time.perf_counter() - begin
        self.app: Any = self.tandem.app(workers=False)
        self.contacts = contacts
        self.ms: dict[str, list[float]] = {page: [] for page in PAGES}
        self.cpu: dict[str, list[float]] = {page: [] for page in PAGES}  # of the processor, whatever else it does

    def path(self, page: str) -> str:
        """The page's path; a cursor deep inside the list."""
        from app.ops import paging

        return page.format(middle=self.contacts // 2, deep=paging.encode("contacts", (self.contacts * 9 // 10,)))

    async def ask(self, page: str) -> None:
        """Ask once."""
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            begin, spent = time.perf_counter(), time.process_time()
            answer = await http.get(self.path(page))
            self.ms[page].append((time.perf_counter() - begin) * 1000)
            self.cpu[page].append((time.process_time() - spent) * 1000)
        assert answer.status_code == 200, f"{page}: {answer.status_code}: {answer.text[-500:]}"


def main(contacts: int, runs: int) -> int:
    """Fill, ask, print."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = Site(Path(folder) / "few", min(FEW, contacts)), Site(Path(folder) / "many", contacts)

        async def all_of_them() -> None:
            for page, site in itertools.product(PAGES, (few, many)):  # what is made once, at the first request
                await site.ask(page)
                site.ms[page].clear()
                site.cpu[page].clear()
            serving.look_past()  # as the service does once it is built
            for _ in range(runs):
                for page, site in itertools.product(PAGES, (few, many)):
                    await site.ask(page)

        asyncio.run(all_of_them())
        found = {
            page: {
                "few_p50": round(median(few.ms[page]), 1),
                "p50": round(median(many.ms[page]), 1),
                "p95": round(quantiles(many.ms[page], n=20)[-1], 1),
                "cpu_p50": round(median(many.cpu[page]), 1),
                "cpu_p95": round(quantiles(many.cpu[page], n=20)[-1], 1),
            }
            for page in PAGES
        }
        worst, cpu = (max(one[what] for one in found.values()) for what in ("p95", "cpu_p95"))
        print(
            json.dumps(
                {
                    "contacts": contacts, "runs": runs, "worst_p95": worst, "worst_cpu_p95": cpu,
                    "pages": found,
                    "filled_seconds": round(many.filled, 1),
                    "bars": {f"p95 of each page at most {BAR_MS:.0f} ms": worst <= BAR_MS},
                },
                indent=2,
            )
        )  # fmt: skip
        for site in (few, many):
            site.tandem.close()
        return 0 if worst <= BAR_MS else 1


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--contacts", type=int, default=200_000)
    asked.add_argument("--runs", type=int, default=40)
    given = asked.parse_args()
    raise SystemExit(main(given.contacts, given.runs))
