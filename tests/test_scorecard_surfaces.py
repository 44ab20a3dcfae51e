"""The scorecard as people and programs see it: over HTTP, on the command line, as files; and journeys by hand."""

from __future__ import annotations

import csv
import io
import json
import zlib
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import insert, select

from app.agreement import exporting, scores
from app.agreement.attribution import PARTS, Touch
from app.agreement.counting import ALL, counts
from app.agreement.journey import Done, Owed, Passed, Round, Sale, travel
from app.agreement.words import Team
from app.core import tables as t
from app.core.db import Database
from app.core.objects import NOT_YET
from app.records import scores as kept
from app.repair import freshness
from bench.agreement_data import BEGIN
from connectors.contract import Ending
from tests.apihelp import Api
from tests.scoring import Store, invented
from tests.test_cli import Shell, shell, store

pytestmark = pytest.mark.heavy

__all__ = ["shell", "store"]
DAY = 86_400_000
SINCE, UNTIL = "2024-11-01", "2026-10-31"
SPAN = f"since={SINCE}&until={UNTIL}"


@pytest.fixture
def filled(database: Database) -> Store:
    made = Store(database)
    made.enter(invented(40))
    return made


def passed(day: float, what: str, name: str = "") -> Passed:
    rank = {"lead": 0, "stage": 1, "mql": 2, "sal": 3, "sql": 4}.get(what, 5)
    return Passed(int(day * DAY), rank, what, name, "no need" if rank == 5 else "")


def sale(opened: float, status: str = "open", closed: float | None = None, *touches: Touch) -> Sale:
    return Sale(
        int(opened * DAY), 1, status, int(closed * DAY) if closed is not None else None, 5 * PARTS, "EUR", touches
    )


def days(one: Round) -> dict[str, float]:
    return {name: at / DAY for name, at in sorted(one.at.items(), key=lambda x: x[1])}


@pytest.mark.parametrize(
    ("steps", "sales", "expected"),
    [
        ([], [], []),
        ([passed(1, "lead")], [], [("lead", {"lead": 1}, None)]),
        ([passed(1, "lead"), passed(3, "mql")], [], [("mql", {"lead": 1, "mql": 3}, None)]),
        (
            [passed(1, "lead"), passed(3, "mql"), passed(9, "sql")],
            [],
            [("mql", {"lead": 1, "mql": 3, "sal": 9, "sql": 9}, None)],  # who qualifies it took it on
        ),
        (
            [passed(1, "lead"), passed(3, "mql"), passed(5, "recycled"), passed(99, "mql"), passed(100, "sal")],
            [],
            [("mql", {"lead": 1, "mql": 3}, "recycled"), ("mql", {"mql": 99, "sal": 100}, None)],
        ),
        (
            [passed(3, "mql"), passed(4, "mql")],
            [],
            [("mql", {"lead": 3, "mql": 3}, "again"), ("mql", {"mql": 4}, None)],
        ),
        (
            [passed(3, "mql")],
            [sale(5, "won", 8)],
            [("mql", {"lead": 3, "mql": 3, "sal": 5, "sql": 5, "opportunity": 5, "won": 8}, None)],
        ),
        (
            [passed(3, "mql"), passed(4, "sal")],
            [sale(5, "lost", 8)],
            [("mql", {"lead": 3, "mql": 3, "sal": 4, "sql": 5, "opportunity": 5}, "lost")],
        ),
        ([passed(2, "lead")], [sale(2, "won", 8)], [("opportunity", {"lead": 2, "opportunity": 2, "won": 8}, None)]),
        ([passed(2, "lead"), passed(6, "sql")], [], [("sql", {"lead": 2, "sql": 6}, None)]),  # sales found it
        (
            [passed(3, "mql"), passed(5, "rejected")],
            [sale(50)],
            [("mql", {"lead": 3, "mql": 3}, "rejected"), ("opportunity", {"opportunity": 50}, None)],
        ),
    ],
)
def test_rounds_by_hand(
    steps: list[Passed], sales: list[Sale], expected: list[tuple[str, dict[str, float], str | None]]
) -> None:
    """What each kind of way is, on paper; the order in which it is told does not matter."""
    for told in (steps, steps[::-1]):
        rounds = travel(told, [], sales).rounds
        assert [(one.begins, days(one), one.ended) for one in rounds] == [
            (begins, dict(sorted(at.items(), key=lambda x: x[1])), ended) for begins, at, ended in expected
        ]


def test_attempts_and_feedback_by_hand() -> None:
    """People's attempts since the handover until it was decided; machines, plans and what the person did are none."""
    acts = [
        Done(1 * DAY, "call", 1),  # before
        Done(4 * DAY, "mail", 0),  # a sequence
        Done(5 * DAY, "call", 1, outcome="no_answer"),
        Done(5 * DAY + 1, "meeting", 1, outcome="planned"),
        Done(6 * DAY, "mail"),
        Done(6 * DAY + 1, "call", 1, outcome="received"),
        Done(30 * DAY, "call", 1),  # after it was won
        Done(31 * DAY, "survey", 1),
    ]
    (one,) = travel([passed(3, "mql")], acts, [sale(8, "won", 20)], Owed(2, 2)).rounds
    assert (one.tries, one.channels, one.tried_at, one.kept, one.feedback_at) == (2, 2, 5 * DAY, True, 31 * DAY)
    (one,) = travel([passed(3, "mql")], acts, [sale(8, "won", 20)], Owed(3, 2)).rounds
    assert one.kept is False


def test_counts_by_hand() -> None:
    """One lead from an ad to a won deal, each counter that is not about a dimension."""
    touches = (Touch(0, Team.MARKETING, "ads", "spring"), Touch(4 * DAY, Team.SALES, "phone"))
    acts = [Done(0, "click", 1, "ads", "spring", "B"), Done(1, "open", 0), Done(4 * DAY, "call", 1)]
    steps = [passed(1, "lead"), passed(1, "stage", "lead"), passed(3, "mql"), passed(3, "stage", "mql")]
    made = counts(travel(steps, acts, [sale(6, "won", 10, *touches)]), "decides", None)
    whole = {(i, on): n for (d, _, i, on), n in made.items() if d == ALL and ">" not in i and not i.startswith("by:")}
    assert whole == {
        ("paid_click", 0): 1,
        ("call", 4): 1,
        ("stage:lead", 1): 1,
        ("stage:mql", 3): 1,
        ("lead", 1): 1,
        ("mql", 3): 1,
        ("sal", 6): 1,
        ("sql", 6): 1,
        ("opportunity", 6): 1,
        ("won", 10): 1,
        ("mql:tries", 3): 1,
        ("deal:opened", 6): 1,
        ("opened:EUR", 6): 5 * PARTS,
        ("deal:won", 10): 1,
        ("won:EUR", 10): 5 * PARTS,
        ("deal:won:EUR", 10): 1,
        ("deal:days", 10): 4 * PARTS,
        ("sourced:EUR", 10): 5 * PARTS,
        ("influenced:EUR", 10): 5 * PARTS,
    }
    assert {i for (d, v, i, _), n in made.items() if (d, v) == ("variant", "spring · B")} >= {"paid_click", "mql>won"}
    assert made[("channel", "phone", "by:linear", 10)] == PARTS // 2
    assert made[("did", "call", "mql>won", 3)] == 1


def test_over_http(filled: Store) -> None:
    """Both teams beside targets and goal; rates with intervals; and what a caller may get wrong."""
    api = Api(filled.database)
    recorder = freshness.Recorder()
    recorder(freshness.WITHDRAWN + "hub", 3.0)
    recorder("hub", 0.2)
    with filled.database.write() as db:
        recorder.flush(db)
    card = api.get(f"/scorecard?{SPAN}&per=quarter")
    assert {n["team"] for n in card["numbers"]} == {"marketing", "sales"}
    assert next(n["n"] for n in card["numbers"] if n["name"] == "mql") > 5
    assert [(x["name"], x["at_least"]) for x in card["targets"]] == [("mql_month", 40), ("sql_month", 12)]
    assert card["goal"]["so_far"] == card["money"][0]["won"]
    (health,) = [h for h in card["health"] if h["connection"] == "hub"]
    assert (health["opt_outs"], health["freshness_p95"] < 1, 2 < health["opt_out_lag_p99"] <= 5) == (1, True, True)
    rate = next(r for r in card["rates"] if r["name"] == "acceptance")
    assert rate["low"] < rate["of_decided"] < rate["high"]
    assert rate["usual"] == [0.4, 0.6]
    values = {m["value"] for m in api.get(f"/scorecard/moves?by=channel&{SPAN}")["items"]}
    assert values <= {"ads", "email", "web", "phone"}
    assert len(values) > 2
    did = api.get(f"/scorecard/moves?by=did&{SPAN}")["items"]
    assert all(m["without"] for m in did)
    credit = api.get(f"/scorecard/attribution?model=u&by=team&{SPAN}")
    assert {c["value"] for c in credit["items"]} == {"marketing", "sales"}
    assert api.get(f"/scorecard/cohorts?milestone=lead&{SPAN}")["items"][0]["of"] > 0
    steps = api.get(f"/flow?{SPAN}&segment=channel")["steps"]
    assert [f"{s['start']}>{s['to']}" for s in steps][:2] == ["lead>mql", "mql>sal"]
    assert len(api.get("/scorecard/definitions")["items"]) > 20
    assert api.get("/scorecard?until=1970-01-01")["owed_by_marketing"] == [], "no business hours are known of then"


@pytest.mark.parametrize(
    "query",
    [
        "/scorecard?since=2026-02-01&until=2026-01-01",
        "/scorecard?by=nose",
        "/scorecard?sinse=2026-01-01",
        "/scorecard/attribution?model=x",
        "/scorecard/attribution?by=persona",
        "/scorecard/cohorts?milestone=won",
        "/scorecard/export/secrets",
        "/flow?segment=x",
    ],
)
def test_what_makes_no_sense_is_refused(database: Database, query: str) -> None:
    """With a problem that says which parameter."""
    assert Api(database)("GET", query).status_code == 422


def test_exports_hold_what_is_stored(filled: Store, tmp_path: Path) -> None:
    """CSV over HTTP and from the function are the same; Parquet keeps types and values; no address is in any."""
    with filled.database.write() as db:
        member = {"contact_id": 1, "programme": "warm_up", "version": "1", "why": "", "enrolled_at": 1, "stored_at": 1}
        db.execute(insert(t.programme_member).values(**member, until=2))
    with filled.database.read() as db:
        found = exporting.export(db, tmp_path / "csv", "csv")
        again = exporting.export(db, tmp_path / "parquet", "parquet")
    assert found == again
    assert min(found.values()) > 0
    answer = Api(filled.database)("GET", "/scorecard/export/lead_rounds")
    assert answer.headers["content-type"].startswith("text/csv")
    text = (tmp_path / "csv" / "lead_rounds.csv").read_text(encoding="utf-8")
    assert list(csv.reader(io.StringIO(answer.text))) == list(csv.reader(io.StringIO(text)))
    with duckdb.connect() as duck:
        for name, count in found.items():
            file = str(tmp_path / "parquet" / f"{name}.parquet")
            assert duck.execute("SELECT count(*) FROM read_parquet(?)", [file]).fetchone() == (count,)
        rounds = str(tmp_path / "parquet" / "lead_rounds.parquet")
        types = dict(
            duck.execute("SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(?))", [rounds]).fetchall()
        )
        handed = duck.execute("SELECT count(mql_at) FROM read_parquet(?)", [rounds]).fetchone()
    assert (types["mql_at"], types["contact_id"], types["ended"]) == ("TIMESTAMP WITH TIME ZONE", "BIGINT", "VARCHAR")
    with filled.database.read() as db:
        rows = db.execute(t.lead_round.select()).mappings().all()
    assert handed == (sum(r["mql_at"] is not None for r in rows),)
    assert "example.org" not in "".join(p.read_text("utf-8") for p in (tmp_path / "csv").iterdir())


def test_on_the_command_line(shell: Shell, store: Database, tmp_path: Path) -> None:
    """Empty, then filled; what is wrong is found and mended; files."""
    assert "handed over" in shell("scorecard", "show")
    assert "nothing yet" in shell("scorecard", "moves")
    made = Store(store)
    made.enter(invented(25))
    when = ("--since", SINCE, "--until", UNTIL)
    assert "few" in shell("scorecard", "show", *when)
    assert shell.json("scorecard", "show", *when)["numbers"][0]["name"] == "page_visit"
    assert shell.json("scorecard", "moves", "--by", "did", *when)["items"]
    assert "sales" in shell("scorecard", "attribution", "--by", "team", *when)
    assert "%" in shell("scorecard", "cohorts", "--per", "quarter", *when)
    assert "longest wait" in shell("flow", *when)
    assert "velocity" in shell("scorecard", "define")
    assert shell.json("scorecard", "check") == {"ok": True, "wrong": [], "counted": 0}
    with store.write() as db:
        db.execute(t.score.update().where(t.score.c.dimension == ALL, t.score.c.indicator == "lead").values(n=9))
    assert shell.json("scorecard", "check", code=1)["ok"] is False
    shell("scorecard", "check", "--repair")
    assert "every counter is right" in shell("scorecard", "check")
    shell("scorecard", "export", "--to", str(tmp_path / "out"), "--only", "scores")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["scores.csv"]
    shell("scorecard", "export", "--to", str(tmp_path / "out"), "--only", "nothing", code=1)
    shell("scorecard", "show", "--value", "ads", code=2)
    shell("flow", "--since", "2026-02-01", "--until", "2026-01-01", code=2)


def test_what_did_not_happen_counts_nowhere(database: Database) -> None:
    """A planned call, a cancelled meeting, a mailing that failed: no attempt, no variant, nothing that is kept."""
    assert frozenset(str(Ending(outcome)) for outcome in NOT_YET) == NOT_YET
    made = Store(database)
    day_ = BEGIN + 3 * DAY
    email = {"email": {"v": "ann@example.org", "s": "hub", "t": BEGIN, "r": "first", "e": None}}
    with database.write() as db:
        db.execute(insert(t.contact).values(id=1, version=1, facts=email, created_at=BEGIN, updated_at=BEGIN))
        usual = {"connection": "hub", "contact_id": 1, "who_key": "id", "who": "1", "human": 1, "received_at": BEGIN}
        ends = [("call", "planned"), ("meeting", "cancelled"), ("send", "failed"), ("call", "no_answer")]
        for n, (kind, outcome) in enumerate(ends):
            act = {"remote_id": str(n), "kind": kind, "outcome": outcome, "at": day_ + n, "campaign": "spring"}
            variant = "B" if kind == "send" else None
            db.execute(insert(t.engagement).values(**usual, **act, variant=variant))
    made.refold([1])
    with database.write() as db:
        (row,) = db.execute(select(t.journey)).all()
        assert (row.variant, row.campaign) == (None, "spring")
        assert [act["outcome"] for act in kept.acts(db, [1])] == ["no_answer"]
        scores.shorten(db, [1], day_ + DAY)
        (row,) = db.execute(select(t.journey)).all()
        assert [one[6] for one in json.loads(zlib.decompress(row.kept))] == ["no_answer"]
    assert {cell[2] for cell in made.counters() if cell[0] == ""} == {"call", "stage:prospect"}
