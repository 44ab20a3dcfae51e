"""What a page costs does not depend on how many rows it shows: as many statements for five rows as for fifty."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection as Db
from sqlalchemy import insert

from app.console.pages import PAGES
from app.core import tables as t
from app.core.db import Database
from app.records import contacts as people
from tests import migrated
from tests.agreed import DAY, SHIPPED
from tests.agreedpages import Pages
from tests.apihelp import new_connections
from tests.counting import Cost, counting
from tests.scoring import NOW, Store, invented

FEW, MANY = 5, 50
OBJECTS = 100_000  # behind the deals of the invented leads
MORE = 2  # statements that may come with rows at all: a list that is long enough asks for what is behind it


def rows(n: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """What there is to show of the person with this number."""
    a = {"contact_id": n, "connection": "hub", "at": 1}
    fact = {"v": f"Acme {n}", "s": "hub", "t": 1, "r": "new", "e": None}
    object_ = {"version": 1, "facts": {"name": fact}, "created_at": n, "updated_at": n}
    yield t.contact_key, {"contact_id": n, "key": "email", "value": f"p{n}@example.org", "strong": 1}
    for name in ("hub", "chimp"):
        pair = {"connection": name, "kind": "contact", "remote_id": f"{name}{n}", "contact_id": n}
        yield t.link, {**pair, "shadow": {}, "rev": 1, "written_at": 1, "created_at": 1}
        todo = {"connection": name, "contact_id": n, "lane": 1, "gen": 1}
        yield t.work, {**todo, "due_at": 2_000_000_000_000, "since": 1, "attempts": 1}
    yield t.conflict, {**a, "field": "city", "ours": "Bonn", "theirs": "Ulm"}
    letter = {"station": "push", "code": "refused", "reason": "no", "next_step": "mend it", "attempts": 1}
    yield t.dead, {**a, **letter}
    pair = {"older": n, "newer": n + 1, "score": 3.0, "reasons": [], "source": "sweep"}
    yield t.proposal, {**pair, "status": "open", "at": n}
    yield t.merge, {"winner": n, "loser": n + 1_000, "by": "Kim", "before": {}, "links": [], "at": 1}
    yield t.tombstone, {"connection": "hub", "remote_id": f"gone{n}", "reason": "deleted", "actor": "hub", "at": 1}
    yield t.audit, {"at": n, "kind": "person", "act": "undo", "what": "undid", "target": {"contact": n}}
    yield t.run, {"kind": "poll", "params": {}, "status": "done", "total": 1, "done": 1, "started_at": n}
    yield t.refusal, {**a, "field": "city", "code": "older", "stored_at": 1}
    yield (
        t.consent,
        {
            "address": f"p{n}@example.org",
            "channel": "email",
            "purpose": "marketing",
            "status": "withdrawn",
            "reason": "unsubscribe",
            "source": "hub",
            "at": 1,
            "received_at": 1,
            "digest": f"d{n}",
        },
    )
    yield t.company, {"id": OBJECTS + n, **object_}
    yield t.deal, {"id": OBJECTS + n, **object_, "status": "open"}
    yield t.colleague, {"connection": "hub", "remote_id": f"u{n}", "active": 1, "seen_at": 1}
    for kind in ("company", "deal"):
        tie = {"connection": "hub", "kind": kind, "remote_id": f"{kind}{n}"}
        yield t.object_link, {**tie, "object_id": OBJECTS + n, "shadow": {}, "seen_at": 1}
        yield t.belonging, {**tie, "who": f"hub{n}", "main": 1, "since": 1, "contact_id": n, "object_id": OBJECTS + n}
    act = {"who_key": "id", "who": f"hub{n}", "kind": "call", "received_at": 1, "human": 1, "contact_id": n}
    yield t.engagement, {**a, **act, "remote_id": f"act{n}"}
    yield (
        t.alarm,
        {"kind": "field", "connection": "hub", "subject": f"f{n}", "since": n, "last_seen": n, "words": "gone"},
    )
    event = {"connection": "hub", "dedupe": f"e{n}", "kind": "contact", "action": "changed", "ref_key": "id"}
    done = {"ref_value": f"hub{n}", "received_at": n, "status": "dead", "lane": 1, "due_at": 1, "attempts": 1}
    yield t.inbox, {**event, **done}
    wrong = {"connection": "hub", "remote_id": f"hub{n}", "field": "city", "why": "unseen"}
    yield t.disagreement, {**wrong, "first_seen": 1, "last_seen": 1, "run": 1, "contact_id": n}
    member = {"programme": "warm_up", "round": 1, "why": "lead stage: prospect", "version": "v", "stored_at": NOW}
    yield t.programme_member, {**member, "contact_id": n, "enrolled_at": NOW - n * DAY, "held_out": n % 2}


class Shown:
    """The API and the pages over a store that is filled with more and more people."""

    def __init__(self, file: Path) -> None:
        self.database = Database(f"sqlite:///{file}")
        self.store = Store(self.database)
        draft = file.with_name("agreement.yaml")
        draft.write_text(SHIPPED.read_text(encoding="utf-8"), encoding="utf-8")
        self.pages = Pages(self.database, draft, new_connections())
        self.paths = sorted({one.ENTRY.path for one in PAGES} | set(self._api()))

    def _api(self) -> Iterator[str]:
        """What can be asked of all, of person 1, of the programme that is shown, and of a connection."""
        for path, verbs in self.pages.api("GET", "/openapi.json").json()["paths"].items():
            name = "hub" if path.startswith("/connections/") else "warm_up"
            whole = path.replace("{contact_id}", "1").replace("{name}", name)
            if "get" in verbs and "{" not in whole:
                asks = {
                    one["name"]: MANY if one["name"] == "limit" else 1 for one in verbs["get"].get("parameters", ())
                }
                said = "&".join(f"{one}={value}" for one, value in asks.items() if one in {"limit", "contact"})
                yield f"{whole}?{said}" if said else whole

    def fill(self, first: int, last: int) -> None:
        """People of these numbers, as leads and with everything there is of them."""
        self.store.enter(invented(MANY)[first - 1 : last])
        by_table: dict[str, list[dict[str, Any]]] = {}
        for n in range(first, last + 1):
            for table, row in rows(n):
                by_table.setdefault(table.name, []).append(row)
        with self.database.write() as db:
            for name, some in by_table.items():
                db.execute(insert(t.metadata.tables[name]), some)

    def asked(self, *paths: str) -> dict[str, tuple[Cost, int]]:
        """Path → what it cost, and how long the answer is."""
        found = {}
        for path in paths if paths else self.paths:
            with counting(self.database) as cost:
                answer = self.pages.api("GET", path)
            assert answer.status_code < 500, f"{path}: {answer.text}"
            found[path] = cost, len(answer.content)
        return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shown, Any, Any]]:
    """The store with many, and what everything cost with few and with many."""
    file = tmp_path_factory.mktemp("pages") / "tandem.db"
    migrated.put(file)
    made = Shown(file)
    made.fill(1, FEW)
    few = made.asked()
    made.fill(FEW + 1, MANY)
    yield made, few, made.asked()
    made.database.close()


def dearer(few: Mapping[str, tuple[Cost, int]], many: Mapping[str, tuple[Cost, int]]) -> dict[str, list[str]]:
    """The paths that cost more statements with many rows, and which they are."""
    return {
        path: [f"{n} more of: {s[:240]}" for s, n in (cost.statements - few[path][0].statements).items()]
        for path, (cost, _) in many.items()
        if cost.statements.total() > few[path][0].statements.total() + MORE
    }


def test_a_page_costs_the_same_whatever_it_shows(shown: tuple[Shown, Any, Any]) -> None:
    """Every list of the API, every page, and what is shown of one person: no statement for each row."""
    _, few, many = shown
    assert dearer(few, many) == {}
    longer = [path for path, (_, length) in many.items() if length > 2 * few[path][1]]
    assert len(longer) > 20, f"only these show more: {longer}"
    assert {"/contacts?limit=50", "/leads?limit=50", "/deals?limit=50", "/console/leads", "/console/review"} <= {
        *longer
    }


def test_a_statement_for_each_row_is_seen(shown: tuple[Shown, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: contacts are loaded one at a time, and the page that shows clocks of leads asks for each of them."""
    made, few, _ = shown
    real = people.load

    def one_by_one(db: Db, ids: Collection[int], *, lock: bool = False) -> dict[int, people.Contact]:
        return {number: contact for i in ids for number, contact in real(db, [i], lock=lock).items()}

    monkeypatch.setattr(people, "load", one_by_one)
    found = dearer(few, made.asked("/console/sla", "/contacts?limit=50"))
    assert set(found) == {"/console/sla"}
    assert "FROM contact" in str(found)
