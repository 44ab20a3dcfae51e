"""The scorecard: what counters hold against the truth that leads were made from, in any order, after any change."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from sqlalchemy import delete, insert, select, update

from app.agreement import flow, leads, scorecard, scores
from app.agreement.attribution import PARTS
from app.agreement.counting import ALL
from app.agreement.scorecard import Span
from app.core import tables as t
from app.core.db import Database
from app.records import leads as rows
from app.records import scores as kept
from bench.agreement_data import BEGIN, DAY, END, Invented
from tests.scoring import NOBODY, NOW, WHOLE, Store, invented

pytestmark = pytest.mark.heavy

TODAY = NOW // DAY
COUNT = 150


@pytest.fixture
def store(database: Database) -> Store:
    made = Store(database)
    made.enter(invented(COUNT))
    return made


@pytest.fixture(scope="module")
def truth() -> Iterator[duckdb.DuckDBPyConnection]:
    """The truth of the invented leads as tables of another database, for plain SQL."""
    duck = duckdb.connect()
    duck.execute("""
        CREATE TABLE round (contact INT, n INT, lead_at BIGINT, mql_at BIGINT, sal_at BIGINT, sql_at BIGINT,
            opened_at BIGINT, closed_at BIGINT, won INT, amount INT, back_at BIGINT, tries INT, tried_at BIGINT,
            campaign TEXT, channel TEXT, variant TEXT, persona TEXT);
        CREATE TABLE act (contact INT, kind TEXT, tm BIGINT, human INT, channel TEXT);
        CREATE TABLE touch (contact INT, tm BIGINT, team TEXT, channel TEXT);
    """)
    for one in invented(COUNT):
        who = (one.campaign or "(none)", one.channel, one.variant or "(none)", one.persona or "(none)")
        for r in one.truth:
            values = (r.contact, r.round, r.lead_at, r.mql_at, r.sal_at, r.sql_at, r.opened_at, r.closed_at, r.won)
            rest = (r.amount, r.given_back_at, r.tries, r.tried_at)
            duck.execute("INSERT INTO round VALUES (" + ",".join("?" * 17) + ")", [*values, *rest, *who])
        for table, row in one.rows:
            if table == "engagement":
                shown = (row["contact_id"], row["kind"], row["at"], row["human"], row.get("channel"))
                duck.execute("INSERT INTO act VALUES (?, ?, ?, ?, ?)", shown)
        for at, team, channel, _ in one.touches:
            duck.execute("INSERT INTO touch VALUES (?, ?, ?, ?)", [one.contact["id"], at, team, channel])
    # What a later milestone says of an earlier one that was skipped, in the words of SQL.
    duck.execute("""
        CREATE VIEW way AS SELECT *,
            CASE WHEN won = 1 THEN closed_at END AS won_at,
            CASE WHEN mql_at IS NOT NULL THEN least(sql_at, opened_at) END AS sql2,
            CASE WHEN mql_at IS NOT NULL THEN least(sal_at, sql_at, opened_at) END AS sal2,
            coalesce(lead_at, CASE WHEN n = 1 THEN coalesce(mql_at, opened_at) END) AS lead2,
            (back_at IS NOT NULL OR coalesce(won = 0, false)) AS ended
        FROM round
    """)
    yield duck
    duck.close()


def one(duck: duckdb.DuckDBPyConnection, query: str) -> Any:
    return (duck.execute(query).fetchone() or (None,))[0]


def test_leads_are_made_as_the_truth_says(store: Store) -> None:
    """Guards the rest: enough of everything happens to these leads for a figure to be wrong."""
    of = [r for one in invented(COUNT) for r in one.truth]
    enough = {
        "mql": sum(r.mql_at is not None for r in of),
        "won": sum(r.won == 1 for r in of),
        "lost": sum(r.won == 0 for r in of),
        "back": sum(r.given_back_at is not None for r in of),
        "again": sum(r.round > 1 for r in of),
        "skipped": sum(r.sal_at is None and r.opened_at is not None and r.mql_at is not None for r in of),
        "cold": sum(r.mql_at is None and r.opened_at is not None for r in of),
    }
    assert min(enough.values()) >= 3, enough


def test_numbers_are_the_truths(store: Store, truth: duckdb.DuckDBPyConnection) -> None:
    """Every number of both teams equals plain SQL over the truth."""
    with store.database.read() as db:
        card = scorecard.card(db, store.versions, WHOLE, "month", TODAY)
    numbers = {name: n for name, (n, _) in card.numbers.items()}
    acts = "SELECT count(*) FROM act WHERE coalesce(human, 1) = 1 AND kind = "
    assert numbers == {
        "page_visit": one(truth, f"{acts} 'page_visit'"),
        "open": one(truth, f"{acts} 'open'"),
        "click": one(truth, f"{acts} 'click' AND channel <> 'ads'"),
        "paid_click": one(truth, f"{acts} 'click' AND channel = 'ads'"),
        "form": one(truth, f"{acts} 'form'"),
        "survey": 0,
        "reply": 0,
        "event": 0,
        "call": one(truth, f"{acts} 'call'"),
        "mail": one(truth, f"{acts} 'mail'"),
        "message": 0,
        "meeting": 0,
        "lead": one(truth, "SELECT count(lead2) FROM way"),
        "mql": one(truth, "SELECT count(mql_at) FROM way"),
        "sal": one(truth, "SELECT count(sal2) FROM way"),
        "sql": one(truth, "SELECT count(sql2) FROM way"),
        "opportunity": one(truth, "SELECT count(opened_at) FROM way"),
        "won": one(truth, "SELECT count(won_at) FROM way"),
        "recycled": one(truth, "SELECT count(back_at) FROM way"),
        "rejected": 0,
        "recycled>again": one(
            truth,
            "SELECT count(*) FROM way a JOIN way b ON a.contact = b.contact AND b.n = a.n + 1 "
            "WHERE a.back_at IS NOT NULL AND b.mql_at - a.back_at <= 180 * 86400000::BIGINT",
        ),
    }
    for name, by in card.trend.items():
        assert sum(by.values()) == numbers[name], name


COHORTS = {
    "acceptance": ("mql_at", "sal2", "mql_at"),
    "mql_to_sql": ("mql_at", "sql2", "mql_at"),
    "mql_to_won": ("mql_at", "won_at", "mql_at"),
    "sal_to_sql": ("sal2", "sql2", "mql_at"),
    "sql_to_opportunity": ("sql2", "opened_at", "mql_at"),
    "sql_to_won": ("sql2", "won_at", "mql_at"),
    "opportunity_to_won": ("opened_at", "won_at", "opened_at"),
    "lead_to_mql": ("lead2", "mql_at", "lead2"),
}


@pytest.mark.parametrize(("since", "until"), [(0, 731), (100, 200), (400, 731)])
def test_rates_are_the_truths(store: Store, truth: duckdb.DuckDBPyConnection, since: int, until: int) -> None:
    """Every rate: hits, cohort and those undecided, by the day on which the cohort was formed."""
    first = BEGIN // DAY
    with store.database.read() as db:
        card = scorecard.card(db, store.versions, Span(first + since, first + until), "week", TODAY)
    for name, (a, b, _) in COHORTS.items():
        where = f"{a} >= {BEGIN + since * DAY} AND {a} < {BEGIN + until * DAY}"
        later = f"count(*) FILTER ({b} IS NULL AND NOT ended AND won_at IS NULL)"
        expected = truth.execute(f"SELECT count({b}), count(*), {later} FROM way WHERE {where}").fetchone()
        rate = card.rates[name]
        assert (rate.hits, rate.of, rate.undecided) == expected, name
    where = f"mql_at >= {BEGIN + since * DAY} AND mql_at < {BEGIN + until * DAY}"
    back, handed, tries, tried = (
        truth.execute(f"SELECT count(back_at), count(*), sum(tries), count(tried_at) FROM way WHERE {where}").fetchone()
        or ()
    )
    assert (card.rates["rejection"].hits, card.rates["rejection"].of) == (back, handed)
    assert card.rates["attempted"].hits == tried
    assert card.attempts_per_lead == pytest.approx(tries / handed)


def test_money_is_the_truths(store: Store, truth: duckdb.DuckDBPyConnection) -> None:
    """Won, lost, sourced, influenced, mean amount, win rate, cycle and velocity."""
    with store.database.read() as db:
        card = scorecard.card(db, store.versions, WHOLE, "quarter", TODAY)
    (money,) = card.money
    first = "(SELECT team FROM touch t WHERE t.contact = w.contact AND t.tm <= opened_at ORDER BY tm LIMIT 1)"
    any_ = "EXISTS (FROM touch t WHERE t.contact = w.contact AND t.tm <= opened_at AND team = 'marketing')"
    won, lost, opened, sourced, influenced, deals, decided, days = (
        truth.execute(f"""
        SELECT sum(amount) FILTER (won = 1), sum(amount) FILTER (won = 0), sum(amount),
            sum(amount) FILTER (won = 1 AND {first} = 'marketing'), sum(amount) FILTER (won = 1 AND {any_}),
            count(*) FILTER (won = 1), count(won), avg((closed_at - opened_at) / 86400000) FILTER (won = 1)
        FROM way w WHERE opened_at IS NOT NULL""").fetchone()
        or ()
    )
    assert (money.won, money.lost, money.opened) == (won, lost, opened)
    assert (money.sourced, money.influenced) == (sourced, influenced)
    assert money.mean_amount == pytest.approx(won / deals)
    assert card.win_rate.rate == pytest.approx(deals / decided)
    assert card.cycle_days == pytest.approx(days, abs=1e-3)
    total = one(truth, "SELECT count(opened_at) FROM way")
    assert money.velocity == pytest.approx(total * (deals / decided) * (won / deals) / days, rel=1e-4)
    assert money.influenced <= money.won
    assert not {"total", "marketing"} & set(dir(money)), "sourced and influenced are never added"


def test_sourced_and_influenced_added_is_found(store: Store) -> None:
    """Guards the guard: whoever adds the two claims more than was won."""
    with store.database.read() as db:
        (money,) = scorecard.card(db, store.versions, WHOLE, "month", TODAY).money
    assert money.sourced + money.influenced > money.won > max(money.sourced, money.influenced)


MODELS = {
    "first": "CASE WHEN i = 1 THEN 1.0 ELSE 0 END",
    "last": "CASE WHEN i = n THEN 1.0 ELSE 0 END",
    "linear": "1.0",
    "u": "CASE WHEN i IN (1, n) THEN 40.0 ELSE 20.0 / (n - 2) END",
    "w": "CASE WHEN i = 1 THEN 30.0 ELSE 0 END + CASE WHEN i = l THEN 30.0 ELSE 0 END"
    " + CASE WHEN i = n THEN 30.0 ELSE 0 END + CASE WHEN i NOT IN (1, l, n) THEN 10.0 / r ELSE 0 END",
    "decay": "pow(2.0, -(opened_at - tm) / (7 * 86400000.0))",
}


@pytest.mark.parametrize("model", MODELS)
def test_credit_is_the_truths(store: Store, truth: duckdb.DuckDBPyConnection, model: str) -> None:
    """What each model credits to each channel, against window functions in SQL."""
    with store.database.read() as db:
        found = {c.value: c for c in scorecard.credited(db, model, "channel", WHOLE)}
    expected = truth.execute(f"""
        WITH deal AS (
            SELECT contact, opened_at, amount,
                (SELECT min(lead2) FROM way v WHERE v.contact = w.contact) AS lead
            FROM way w WHERE won = 1
        ), seen AS (
            SELECT d.*, t.tm, t.channel,
                row_number() OVER (PARTITION BY d.contact ORDER BY t.tm) AS i,
                count(*) OVER (PARTITION BY d.contact) AS n,
                greatest(1, count(*) FILTER (t.tm <= lead) OVER (PARTITION BY d.contact)) AS l
            FROM deal d JOIN touch t ON t.contact = d.contact AND t.tm <= d.opened_at
        ), counted AS (SELECT *, n - (1 + (n > 1)::INT + (l NOT IN (1, n))::INT) AS r FROM seen),
        weighed AS (SELECT *, {MODELS[model]} AS weight FROM counted),
        shared AS (SELECT *, weight / sum(weight) OVER (PARTITION BY contact) AS share FROM weighed)
        SELECT channel, sum(share), sum(share * amount) FROM shared GROUP BY channel
    """).fetchall()
    assert len(expected) >= 3
    for channel, deals, money in expected:
        if deals > 0:
            assert found[channel].deals == pytest.approx(deals, abs=0.01), channel
            assert found[channel].money["EUR"] == pytest.approx(money, abs=0.5), channel
    assert sum(c.deals for c in found.values()) == pytest.approx(one(truth, "SELECT count(*) FROM way WHERE won = 1"))


@pytest.mark.parametrize("dimension", ["channel", "campaign", "variant", "persona"])
def test_moves_are_the_truths(store: Store, truth: duckdb.DuckDBPyConnection, dimension: str) -> None:
    """How it went on by each value of a dimension; values add up to all."""
    with store.database.read() as db:
        found = {m.value: m for m in scorecard.moves(db, dimension, WHOLE)}
        whole = scorecard.card(db, store.versions, WHOLE, "month", TODAY)
    query = f"""SELECT {dimension}, count(mql_at), count(won_at) FILTER (mql_at IS NOT NULL), count(won_at),
        sum(amount) FILTER (won = 1) FROM way GROUP BY 1"""
    for value, handed, won, wins, money in truth.execute(query).fetchall():
        rate = found[value].rates["mql_to_won"]
        assert (rate.of, rate.hits, found[value].numbers["won"]) == (handed, won, wins), value
        assert found[value].won.get("EUR") == money, value
    for name, rate in whole.rates.items():
        assert sum(m.rates[name].hits for m in found.values()) == rate.hits


def test_what_was_done_divides_the_leads(store: Store) -> None:
    """Those of whom something was done, and the rest, are all."""
    with store.database.read() as db:
        whole = scorecard.card(db, store.versions, WHOLE, "month", TODAY).rates
        (calls,) = [m for m in scorecard.moves(db, "did", WHOLE) if m.value == "call"]
    rest = scorecard.without(whole, calls.rates)
    one = rest["mql_to_won"]
    assert (one.of + calls.rates["mql_to_won"].of, one.hits) == (whole["mql_to_won"].of, 0)


def test_the_chain_is_the_truths(store: Store, truth: duckdb.DuckDBPyConnection) -> None:
    """Per step: how many came, passed, left, wait; the median of those who passed."""
    with store.database.read() as db:
        found = {(s.start, s.to): s for s in flow.flow(db, WHOLE, NOW).steps}
        speed = scorecard.speed(db, WHOLE)
    for pair, (a, b) in {("mql", "sal"): ("mql_at", "sal2"), ("opportunity", "won"): ("opened_at", "won_at")}.items():
        came, passed, lost, waits, median = (
            truth.execute(f"""
            SELECT count({a}), count({b}), count(*) FILTER ({b} IS NULL AND ended),
                count(*) FILTER ({b} IS NULL AND NOT ended), quantile_disc(({b} - {a}) // 3600000, 0.5)
            FROM way WHERE {a} IS NOT NULL""").fetchone()
            or ()
        )
        step = found[pair]
        assert (step.came, step.passed, step.lost, step.waiting) == (came, passed, lost, waits)
        assert step.median_passed == median
        assert step.came == step.passed + step.around + step.lost + step.waiting
    back, again, median = (
        truth.execute("""SELECT count(a.back_at), count(b.mql_at),
        quantile_disc((b.mql_at - a.back_at) // 3600000, 0.5) FROM way a
        LEFT JOIN way b ON a.contact = b.contact AND b.n = a.n + 1 WHERE a.back_at IS NOT NULL""").fetchone()
        or ()
    )
    step = found["given_back", "mql"]
    assert (step.came, step.passed, step.waiting, step.median_passed) == (back, again, back - again, median)
    minutes = "(tried_at - mql_at) // 60000"
    handed, tried, median, most = (
        truth.execute(f"""SELECT count(mql_at), count(tried_at),
        quantile_disc({minutes}, 0.5), quantile_disc({minutes}, 0.9) FROM way WHERE mql_at IS NOT NULL""").fetchone()
        or ()
    )
    assert (speed.handed, speed.tried) == (handed, tried)
    assert (speed.median, speed.p90) == (pytest.approx(median / 60), pytest.approx(most / 60))


def test_counting_everything_anew_finds_nothing_wrong(store: Store) -> None:
    """The counters equal the recomputation; building them anew changes nothing; a wrong one is found."""
    assert scores.check(store.database, store.versions) == []
    before = store.counters()
    assert scores.rebuild(store.database, store.versions) == COUNT
    assert store.counters() == before
    with store.database.write() as db:
        cell = db.execute(select(t.score).limit(1)).one()
        where = (getattr(t.score.c, n) == getattr(cell, n) for n in ("dimension", "value", "indicator", "day"))
        db.execute(update(t.score).where(*where).values(n=cell.n + 1))
    (wrong,) = scores.check(store.database, store.versions)
    assert (wrong.kept, wrong.right) == (cell.n + 1, cell.n)


FEW = 30


def arrival(some: tuple[Invented, ...], seed: int) -> list[list[tuple[str, dict[str, Any]]]]:
    """All that happened, in an order of arrival of its own, in a few portions."""
    everything = [row for one in some for row in one.rows]
    random.Random(seed).shuffle(everything)
    return [everything[i::5] for i in range(5)]


def whose(row: tuple[str, dict[str, Any]]) -> int:
    table, values = row
    numbers = {"deal": values.get("id", 0) // 10, "deal_step": values.get("deal_id", 0) // 10}
    return int(numbers[table] if table in numbers else values["contact_id"])


def replay(database: Database, seed: int) -> Store:
    made = Store(database)
    some = invented(FEW, 11, 3.0)
    made.people(some)
    for portion in arrival(some, seed):
        made.rows(portion)
        made.refold({whose(row) for row in portion})
    return made


def test_two_years_in_any_order_of_arrival_give_the_same_scorecard(database: Database, tmp_path: Any) -> None:
    """Portions of shuffled happenings, each worked out as it comes, end in the counters of all at once."""
    found = replay(database, 1)
    orders = []
    for seed in (2, 3):
        other = Database(f"sqlite:///{tmp_path / f'{seed}.db'}")
        orders.append(replay(other, seed))
    straight = Store(other := Database(f"sqlite:///{tmp_path / 'straight.db'}"))
    straight.enter(invented(FEW, 11, 3.0))
    assert len(straight.counters()) > 500
    for store in [found, *orders]:
        assert store.counters() == straight.counters()
        assert store.rounds() == straight.rounds()
    for store in [*orders, straight]:
        store.database.close()
    assert other is straight.database


def test_counters_that_are_only_added_to_are_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard: where what a lead added before is not taken away, the order of arrival shows."""
    monkeypatch.setattr(scores, "unpacked", lambda data: {})
    store = replay(database, 1)
    monkeypatch.undo()
    assert scores.check(store.database, store.versions)


def test_a_crowd_counts_for_one_deal_once(database: Database) -> None:
    """A deal is counted with its main contact; what another of its people did first makes it marketing's."""
    store = Store(database)
    store.people(invented(3, 5, 0.0))
    at = BEGIN + 50 * DAY
    deal = {"id": 7, "version": 1, "facts": {}, "status": "won", "amount": "100.5", "currency": "EUR"}
    deal |= {"created_at": at, "closed_at": at + DAY, "updated_at": at + DAY}
    belongs = {"kind": "deal", "object_id": 7, "connection": "crm", "remote_id": "7", "since": at}
    people = [belongs | {"contact_id": n, "who": str(n), "main": int(n == 2)} for n in (1, 2, 3)]
    act = {"connection": "x", "received_at": at, "human": 1}
    acts = [
        act | {"remote_id": "a", "contact_id": 2, "kind": "call", "at": at - 3},
        act | {"remote_id": "b", "contact_id": 3, "kind": "form", "at": at + 5},
    ]
    step = {"deal_id": 7, "at": at, "status": "open"}
    store.rows([("deal", deal), ("deal_step", step), *(("belonging", b) for b in people)])
    store.rows([("engagement", a) for a in acts])
    store.refold([1, 2, 3])
    found = Counter({i: n for (d, _, i, _), n in store.counters().items() if d == ALL})
    assert (found["deal:won"], found["won:EUR"], found["sourced:EUR"]) == (1, 100.5 * PARTS, 0)
    late = act | {"remote_id": "c", "contact_id": 3, "kind": "click", "at": at - 9, "channel": "ads"}
    store.rows([("engagement", late)])
    store.refold([3])
    found = Counter({i: n for (d, _, i, _), n in store.counters().items() if d == ALL})
    assert (found["deal:won"], found["sourced:EUR"], found["by:first"]) == (1, 100.5 * PARTS, PARTS)
    assert scores.check(store.database, store.versions) == []


def test_who_is_no_lead_any_more_takes_its_counts_along(store: Store) -> None:
    """A contact that another one stands for, and one that is erased, leave nothing in any counter."""
    before = store.counters()
    with store.database.write() as db:
        held = kept.load(db, [1])[1]
        scores.remove(db, [1])
    gone = Counter(before)
    gone.subtract(store.counters())
    assert {c: n for c, n in gone.items() if n} == scores.unpacked(held["counted"])
    store.refold([1])
    assert store.counters() == before


def test_retention_of_acts_changes_no_figure(store: Store) -> None:
    """Engagements that are removed stay counted, by their shortest form; those that come later are added."""
    before, rounds = store.counters(), store.rounds()
    cutoff = BEGIN + 300 * DAY
    ids = list(range(1, COUNT + 1))
    with store.database.write() as db:
        scores.shorten(db, ids, cutoff)
        db.execute(delete(t.engagement).where(t.engagement.c.at < cutoff))
        rows.mark(db, [])
        scores.keep(db, store.known.versions(db).versions, ids)
    assert (store.counters(), store.rounds()) == (before, rounds)
    assert scores.check(store.database, store.versions) == []
    with store.database.write() as db:  # a second time, with a later bound
        scores.shorten(db, ids, cutoff + 200 * DAY)
        db.execute(delete(t.engagement).where(t.engagement.c.at < cutoff + 200 * DAY))
        scores.keep(db, store.known.versions(db).versions, ids)
    assert store.counters() == before
    with store.database.write() as db:
        click = {"connection": "z", "remote_id": "z", "contact_id": 1, "kind": "click", "at": END, "received_at": END}
        extra = {n: "1" for n in ("who", "who_key") if n in t.engagement.c}
        db.execute(insert(t.engagement).values(**click, **extra, human=1))
        leads.refold(db, NOBODY, store.known.versions(db), [1], NOW)
    assert store.counters()[(ALL, ALL, "click", END // DAY)] == before.get((ALL, ALL, "click", END // DAY), 0) + 1
