"""What Prometheus and Grafana are given: every figure exists, every expression parses, nothing grows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client import generate_latest

from app.core import tables as t
from app.core.db import Database
from app.core.words import Station
from app.ops.metrics import Metrics
from app.worker import Wake, Workers
from connectors._http import Http
from connectors.contract import Limits, Rate, TryLater
from tests.apihelp import add, now

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "tandem.json"
ADDED = {"le", "instance"}  # by a histogram, and by Prometheus


@pytest.fixture
def labels(database: Database) -> dict[str, set[str]]:
    """Every figure, as Prometheus names it, with its labels."""
    metrics = Metrics(database, ["hub"], promises={"hub": 60})
    found: dict[str, set[str]] = {}
    own = {m._name: m._labelnames for m in vars(metrics).values() if hasattr(m, "_labelnames")}
    for family in metrics.registry.collect():
        names = set(own.get(family.name, getattr(family, "_labelnames", ())))
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        found |= {family.name + ending: names for ending in endings}
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> list[str]:
    """All of them; a dashboard's variable stands for a value."""
    asked = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    return [rule["expr"] for rule in rules()] + [expr.replace("$connection", "hub") for expr in asked]


def selectors(expr: Any) -> list[promql.VectorSelector]:
    """Each place where an expression asks for a figure."""
    found: list[promql.VectorSelector] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        if isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)

    promql.walk(expr, visit)
    return list({id(node): node for node in found}.values())


def mistakes(expr: str, labels: Mapping[str, set[str]]) -> list[str]:
    """Why this expression would find nothing, or not be taken at all."""
    try:
        parsed = promql.parse(expr)
    except ValueError as error:
        return [str(error)]
    wrong: list[str] = []
    for one in selectors(parsed):
        if one.name not in labels:
            wrong.append(f"no figure {one.name}")
            continue
        asked = {m.name for m in one.matchers.matchers}
        wrong += [f"{one.name} has no {name}" for name in sorted(asked - labels[one.name] - ADDED)]

    def visit(node: Any) -> None:
        if not isinstance(node, promql.AggregateExpr) or node.modifier is None:
            return
        below = {label for one in selectors(node.expr) for label in labels.get(str(one.name), ())} | ADDED
        wrong.extend(f"nothing below has {name}" for name in node.modifier.labels if name not in below)

    promql.walk(parsed, visit)
    return wrong


def test_every_expression_finds_what_it_asks_for(labels: dict[str, set[str]]) -> None:
    """Rules and dashboard: each parses, each figure exists and has the labels; and each figure of ours is used."""
    asked = expressions()
    assert len(asked) > 50
    assert {expr: why for expr in asked if (why := mistakes(expr, labels))} == {}
    used = {str(one.name) for expr in asked for one in selectors(promql.parse(expr))}
    ours = {re.sub(r"_(bucket|sum|count)$", "_bucket", name) for name in labels if name.startswith("tandem_")}
    assert ours - used == set(), "shown nowhere"


@pytest.mark.parametrize(
    "expr",
    [
        "sum(tandem_work_link) > 0",
        'tandem_work_links{conection="hub"}',
        "max by (kind) (tandem_work_links) == 1",
        "rate(tandem_deliveries_total[5m]",
        "tandem_deliveries > 1",
        "rate(tandem_work_links)",
    ],
)
def test_a_wrong_expression_is_found(expr: str, labels: dict[str, set[str]]) -> None:
    """Guards the guard: a name, a label, a grouping, a bracket, a type."""
    assert mistakes(expr, labels)


def test_rules_say_how_bad_it_is_and_what_to_do() -> None:
    """Each has its own name, a severity, a sentence and a next step, and names only labels that its result has."""
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found) > 20
    for rule in found:
        assert rule["alert"].startswith("Tandem")
        assert rule["labels"] in [{"severity": "page"}, {"severity": "ticket"}]
        assert set(rule["annotations"]) == {"summary", "action"}
        named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"(?:by|on) \(([^)]*)\)", rule["expr"]))))
        assert named <= kept, rule["alert"]


def test_promtool_takes_the_rules() -> None:
    """Prometheus's own tool, where it is installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here; the expressions were parsed by promql-parser")
    subprocess.run([promtool, "check", "rules", str(RULES)], check=True, capture_output=True)


def test_the_dashboard_can_be_read() -> None:
    """Panels have their own ids and places, a title and something to show; nothing overlaps."""
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]
        assert panel["type"] == "row" or panel["targets"]


NAME = re.compile(r"tandem_[a-z_]+")
BASE_UNITS = ("seconds", "bytes", "ratio")


def test_names_are_as_prometheus_wants_them(database: Database) -> None:
    """https://prometheus.io/docs/practices/naming/: base units, no unit in another, totals for counters only."""
    for family in Metrics(database, ["hub"]).registry.collect():
        if family.name.startswith("process_"):
            continue
        assert NAME.fullmatch(family.name)
        assert family.documentation
        assert not re.search(r"_(ms|millis|minutes|hours|days|percent|kb|mb|total|count)(_|$)", family.name)
        if family.type == "histogram":
            assert family.name.endswith(BASE_UNITS)


def test_no_label_can_grow_without_end(labels: dict[str, set[str]]) -> None:
    """Labels are of closed sets: connections, fields of mappings, sinks, clocks, and words of ours; never a person."""
    known = {"connection", "status", "end", "receipt", "method", "kind", "field", "why", "quantile", "state", "version"}
    known |= {"station", "sink", "outcome", "clock"}
    assert {label for names in labels.values() for label in names} == known


def test_what_somebody_sends_to_the_door_names_no_figure(database: Database) -> None:
    """A stranger who tries names of connections adds one line, not one for each name."""
    metrics = Metrics(database, ["hub"])
    counts = []
    for _ in range(3):
        metrics.delivery("-", 404)  # so the door says it, whatever the name was
        counts.append(len(generate_latest(metrics.registry).splitlines()))
    assert len(set(counts)) == 1


def test_a_store_that_is_away_takes_no_other_figure_along(database: Database) -> None:
    """The figures of the process can be read, and say that it is away."""
    metrics = Metrics(database, ["hub"], promises={"hub": 60})
    metrics.delivery("hub", 503)
    assert "tandem_store_up 1.0" in generate_latest(metrics.registry).decode()
    with database.write() as db:
        db.exec_driver_sql("ALTER TABLE alarm RENAME TO elsewhere")
    try:
        text = generate_latest(metrics.registry).decode()
    finally:
        with database.write() as db:
            db.exec_driver_sql("ALTER TABLE elsewhere RENAME TO alarm")
    assert "tandem_store_up 0.0" in text
    assert 'tandem_deliveries_total{connection="hub",status="503"} 1.0' in text
    assert 'tandem_freshness_promise_seconds{connection="hub"} 60.0' in text


def test_withdrawals_that_wait_workers_and_clocks(database: Database) -> None:
    """The oldest withdrawal that has not landed, not the oldest change; who is alive; what leads wait for."""
    at = now(database)
    row = {"connection": "hub", "gen": 1, "due_at": 0}
    add(database, t.work, {**row, "contact_id": 1, "lane": 1, "since": at - 900_000})
    add(database, t.work, {**row, "contact_id": 2, "lane": 0, "since": at - 400_000})
    worker = {"host": "h", "pid": 1, "started_at": 0}
    add(database, t.worker, {**worker, "id": "a", "beat_at": at}, {**worker, "id": "b", "beat_at": at - 60_000})
    metrics = Metrics(database, ["hub", "chimp"])
    text = generate_latest(metrics.registry).decode()
    waits = re.search(r'tandem_withdrawal_oldest_seconds\{connection="hub"\} (\S+)', text)
    assert waits is not None
    assert 400 <= float(waits[1]) < 460
    assert 'tandem_withdrawal_oldest_seconds{connection="chimp"} 0.0' in text
    assert 'tandem_workers{state="alive"} 1.0' in text
    assert 'tandem_workers{state="silent"} 1.0' in text


def test_how_a_client_stands_with_its_vendor(database: Database) -> None:
    """Calls that wait for the budget, those put off, and a circuit that is open."""
    ticks = count()
    http = Http(
        base_url="http://127.0.0.1:9",
        hosts=(),
        limits=Limits(rates=(Rate(2, 60.0),)),
        share=1.0,
        reserve=0.0,
        retries=0,
        breaker_failures=2,
        patience=1.0,
        now=lambda: float(next(ticks)) / 1000,
        sleep=lambda _: None,
    )
    metrics = Metrics(database, ["hub"])
    metrics.calling({"hub": http})

    def figures() -> dict[str, str]:
        found = re.findall(r'^(tandem_\w+)\{connection="hub"\} (\S+)', generate_latest(metrics.registry).decode(), re.M)
        return dict(found)

    assert figures()["tandem_circuit_open"] == "0.0"
    for _ in range(2):
        with pytest.raises(TryLater):
            http.send("GET", "/")
    assert figures()["tandem_circuit_open"] == "1.0"
    http._breaker._circuit.close()
    with pytest.raises(TryLater, match="budget"):
        http.send("GET", "/")
    assert figures()["tandem_budget_refusals_total"] == "1.0"
    http.pause(http.paused_for.__class__(seconds=30))
    assert 29 < float(figures()["tandem_vendor_wait_seconds"]) <= 30
    http.close()


def test_a_station_that_fails_is_counted(database: Database) -> None:
    """By its name, each time."""
    metrics = Metrics(database, [])
    stopped: list[Callable[[], Any]] = []

    def step() -> int:
        stopped[0]()
        raise RuntimeError("somebody@example.com")

    workers = Workers(database, "w", {Station.FETCH: (step, 1)}, Wake(), lease_ms=60_000, failed=metrics.failed)
    stopped.append(workers._stop.set)
    workers._run("fetch", step)
    text = generate_latest(metrics.registry).decode()
    assert 'tandem_step_failures_total{station="fetch"} 1.0' in text
    assert "example.com" not in text


def test_the_door_is_measured(database: Database) -> None:
    """In buckets of milliseconds up to what vendors wait for."""
    metrics = Metrics(database, ["hub"])
    for seconds in (0.0004, 0.004, 3.0):
        metrics.took("hub", seconds)
    text = generate_latest(metrics.registry).decode()
    for bound, n in (("0.001", 1), ("0.005", 2), ("5.0", 3)):
        assert f'tandem_door_seconds_bucket{{connection="hub",le="{bound}"}} {n}.0' in text


def lines(path: Path) -> Iterator[str]:
    yield from path.read_text(encoding="utf-8").splitlines()


def test_commands_in_the_rules_exist() -> None:
    """Whoever is woken by a rule types what it says."""
    from tests.test_docs import unknown

    said = [
        found for line in lines(RULES) for found in re.findall(r"tandem [a-z][a-z ]+", line.partition("action:")[2])
    ]
    assert len(said) > 10
    first = {" ".join(words.split()[:2]) for words in said}
    assert {call for call in first if unknown(call.split()) is not None} == set()
