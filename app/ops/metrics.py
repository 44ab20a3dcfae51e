"""Figures for Prometheus.  Labels are connections and outcomes, never people.

Counters and histograms are of this process; what lies in the store is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import select

from app.core import tables as t
from app.core.db import Database, now_ms
from app.core.words import Writes
from app.entry import inbox
from app.push import brake, work
from app.records import alarms, drift, proposals, suspended
from app.records import dead as dead_letters
from app.repair import freshness

# What counts for an objection are minutes: within a second is good, beyond an hour somebody was written to meanwhile.
WITHDRAWAL_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)


class Metrics:
    """The figures of this process and of the store."""

    def __init__(self, database: Database, connections: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        self.recorder = freshness.Recorder()  # the same for all processes together, by way of the store
        self._doors: dict[tuple[str, int], Counter] = {}
        self.deliveries = Counter(
            "tandem_deliveries", "Deliveries at the door by answer", ["connection", "status"], registry=self.registry
        )
        self.records = Counter(
            "tandem_records", "Records read, by what became of them", ["connection", "end"], registry=self.registry
        )
        self.receipts = Counter(
            "tandem_receipts", "Orders written, by receipt", ["connection", "receipt"], registry=self.registry
        )
        self.calls = Counter(
            "tandem_calls",
            "Calls to vendors by status (0: no answer)",
            ["connection", "method", "status"],
            registry=self.registry,
        )
        self.call_seconds = Histogram(
            "tandem_call_seconds", "How long vendors take to answer", ["connection"], registry=self.registry
        )
        self.freshness = Histogram(
            "tandem_freshness_seconds",
            "Change at one side until it landed at this one",
            ["connection"],
            buckets=freshness.BUCKETS,
            registry=self.registry,
        )
        self.withdrawals = Histogram(
            "tandem_withdrawal_seconds",
            "Withdrawal of consent, from when it was made until it landed at this connection",
            ["connection"],
            buckets=WITHDRAWAL_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Store(database, list(connections)))

    def delivery(self, connection: str, status: int) -> None:
        """Count an answer of the door."""
        counter = self._doors.get((connection, status))
        if counter is None:  # looking a label up costs more than counting
            counter = self._doors[connection, status] = self.deliveries.labels(connection, str(status))
        counter.inc()

    def record(self, connection: str, end: str, n: int) -> None:
        """Count records by what became of them."""
        self.records.labels(connection, end).inc(n)

    def receipt(self, connection: str, outcome: str) -> None:
        """Count a receipt."""
        self.receipts.labels(connection, outcome).inc()

    def landed(self, connection: str, seconds: float) -> None:
        """Measure how old a change was when it landed."""
        self.freshness.labels(connection).observe(seconds)
        self.recorder(connection, seconds)

    def withdrawn(self, connection: str, seconds: float) -> None:
        """Measure how old a withdrawal was when it landed."""
        self.withdrawals.labels(connection).observe(seconds)
        self.recorder(freshness.WITHDRAWN + connection, seconds)

    def call(self, connection: str, method: str, status: int, seconds: float) -> None:
        """Count and measure a call to a vendor."""
        self.calls.labels(connection, method, str(status)).inc()
        self.call_seconds.labels(connection).observe(seconds)


class _Store(Collector):
    """Figures that are read from the store when they are asked for."""

    def __init__(self, database: Database, connections: list[str]) -> None:
        self._database = database
        self._connections = connections

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        dirty = GaugeMetricFamily("tandem_work_links", "Links with something to write", labels=["connection"])
        oldest = GaugeMetricFamily(
            "tandem_work_oldest_seconds", "Age of the oldest unwritten change", labels=["connection"]
        )
        pending = GaugeMetricFamily("tandem_inbox_pending", "Events not processed yet", labels=["connection"])
        waits = GaugeMetricFamily(
            "tandem_inbox_oldest_seconds", "Age of the oldest pending event", labels=["connection"]
        )
        dead = GaugeMetricFamily("tandem_dead_letters", "Dead letters", labels=["connection"])
        paused = GaugeMetricFamily("tandem_connection_paused", "1 while a connection rests", labels=["connection"])
        failing = GaugeMetricFamily("tandem_connection_failing", "1 while a vendor fails", labels=["connection"])
        brakes = GaugeMetricFamily(
            "tandem_brake_on", "1 while a kind of write is stopped", labels=["connection", "kind"]
        )
        held = GaugeMetricFamily(
            "tandem_brake_links", "Links that wait for a brake to end", labels=["connection", "kind"]
        )
        matches = GaugeMetricFamily(
            "tandem_matches_waiting", "Proposals that two contacts are one person, undecided", labels=["status"]
        )
        with self._database.read() as db:
            now = db.execute(select(now_ms())).scalar_one()
            backlog = work.backlog(db, self._connections)
            events, letters, s = inbox.backlog(db), dead_letters.counts(db), t.connection_state.c
            states = {row.name: row for row in db.execute(select(s.name, s.paused, s.failing_since))}
            on = {(row["connection"], row["kind"]) for row in brake.listed(db)}
            waiting = brake.held_back(db)
            asked = proposals.waiting(db)
        for name in self._connections:
            links, since = backlog[name]
            count, received = events.get(name, (0, None))
            dirty.add_metric([name], links)
            oldest.add_metric([name], 0 if since is None else max(0, now - since) / 1000)
            pending.add_metric([name], count)
            waits.add_metric([name], 0 if received is None else max(0, now - received) / 1000)
            dead.add_metric([name], letters.get(name, 0))
            row = states.get(name)
            paused.add_metric([name], int(row is not None and row.paused == 1))
            failing.add_metric([name], int(row is not None and row.failing_since is not None))
            for kind in Writes:
                brakes.add_metric([name, kind], int((name, kind) in on))
                held.add_metric([name, kind], waiting.get((name, kind), 0))
        for status, count in asked.items():
            matches.add_metric([status], count)
        yield from (dirty, oldest, pending, waits, dead, paused, failing, brakes, held, matches)
        yield from self._watched()

    def _watched(self) -> Iterator[GaugeMetricFamily]:
        """What the safety nets found."""
        share = GaugeMetricFamily(
            "tandem_drift",
            "Mismatched by compared values, at the last complete compare",
            labels=["connection", "field"],
        )
        wrong = GaugeMetricFamily(
            "tandem_drift_values", "Values that disagree, at the last complete compare", labels=["connection", "field"]
        )
        since = GaugeMetricFamily(
            "tandem_drift_oldest_seconds", "Age of the oldest disagreement", labels=["connection", "field"]
        )
        records = GaugeMetricFamily(
            "tandem_drift_records", "Records that one side lacks: missing or extra", labels=["connection", "why"]
        )
        compared = GaugeMetricFamily(
            "tandem_drift_compared_seconds", "Age of the last complete compare", labels=["connection"]
        )
        raised = GaugeMetricFamily("tandem_alarms", "Alarms that are open", labels=["kind", "connection"])
        left = GaugeMetricFamily("tandem_fields_suspended", "Fields neither read nor written", labels=["connection"])
        fresh = GaugeMetricFamily(
            "tandem_freshness_quantile_seconds",
            "Age of changes when they landed here within the last hour, from all processes",
            labels=["connection", "quantile"],
        )
        missed = GaugeMetricFamily(
            "tandem_poll_missed", "Changes that polls found and no webhook had told, in all", labels=["connection"]
        )
        with self._database.read() as db:
            now = db.execute(select(now_ms())).scalar_one()
            ages = freshness.ages(db, self._connections)
            for row in drift.measured(db):
                names = [row["connection"], row["field"]]
                share.add_metric(names, row["mismatched"] / row["compared"] if row["compared"] else 0)
                wrong.add_metric(names, row["mismatched"])
                since.add_metric(names, 0 if row["oldest"] is None else max(0, now - row["oldest"]) / 1000)
            for name, of in drift.of_records(db).items():
                for why, n in of.items():
                    records.add_metric([name, why], n)
            for name, at in drift.compared_at(db).items():
                compared.add_metric([name], max(0, now - at) / 1000)
            for (kind, name), n in alarms.counts(db).items():
                raised.add_metric([kind, name], n)
            suspensions = suspended.fields(db)
            h = t.rhythm.c
            counted = {row.connection: row.missed for row in db.execute(select(h.connection, h.missed))}
        for name in self._connections:
            left.add_metric([name], len(suspensions.get(name, ())))
            missed.add_metric([name], counted.get(name, 0))
            for quantile, value in (("0.5", ages[name].p50), ("0.95", ages[name].p95), ("0.99", ages[name].p99)):
                if value is not None:
                    fresh.add_metric([name, quantile], value)
        yield from (share, wrong, since, records, compared, raised, left, fresh, missed)
