"""The figures that are read when somebody asks for them: of the store, and of the clients that call vendors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from importlib.metadata import version
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.words import Writes
from app.entry import inbox
from app.push import brake, work
from app.records import alarms, clocks, drift, notices, proposals, suspended
from app.records import dead as dead_letters
from app.repair import freshness
from app.worker import SILENT_MS


class Calling(Protocol):
    """What is asked of a client of a vendor (``connectors._http.Http``)."""

    @property
    def breaker(self) -> str:
        """``closed``, ``open`` or ``half-open``."""

    @property
    def paused_for(self) -> timedelta:
        """How long the vendor has asked us to stay away."""

    @property
    def held_back(self) -> tuple[float, int]:
        """Seconds that calls waited for the budget, and how many found no room."""


class Clients(Collector):
    """How the clients of this process stand with their vendors."""

    def __init__(self) -> None:
        self.of: Mapping[str, Calling] = {}

    def describe(self) -> Iterator[Metric]:
        """Nothing: they come later."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """One sample for each connection."""
        circuit = GaugeMetricFamily(
            "tandem_circuit_open", "1 while calls are stopped after failures in a row", labels=["connection"]
        )
        asked = GaugeMetricFamily(
            "tandem_vendor_wait_seconds", "For how long the vendor has asked us to stay away", labels=["connection"]
        )
        waited = CounterMetricFamily(
            "tandem_budget_wait_seconds", "How long calls were held back by the budget", labels=["connection"]
        )
        refused = CounterMetricFamily(
            "tandem_budget_refusals", "Calls that were put off since the budget was used up", labels=["connection"]
        )
        for name, client in self.of.items():
            seconds, calls = client.held_back
            circuit.add_metric([name], int(client.breaker != "closed"))
            asked.add_metric([name], client.paused_for.total_seconds())
            waited.add_metric([name], seconds)
            refused.add_metric([name], calls)
        yield from (circuit, asked, waited, refused)


class Store(Collector):
    """Figures that are read from the store when they are asked for."""

    def __init__(
        self, database: Database, connections: list[str], promises: Mapping[str, float], observed: Collection[str]
    ) -> None:
        """``observed``: connections that nothing is written to, so that nothing is late there."""
        self._database = database
        self._observed = observed
        self._connections = connections
        self._promises = promises

    def describe(self) -> Iterator[Metric]:
        """Nothing: whoever registers it does not have to wait for the store."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """What the store says; only that it is away where it is, so that the figures of the process can be had."""
        build = GaugeMetricFamily("tandem_build_info", "1, with the version that runs", labels=["version"])
        build.add_metric([version("tandem-sync")], 1)
        promised = GaugeMetricFamily(
            "tandem_freshness_promise_seconds", "How soon 95 of 100 changes have to land here", labels=["connection"]
        )
        for name, seconds in self._promises.items():
            promised.add_metric([name], seconds)
        up = GaugeMetricFamily("tandem_store_up", "1 while the database answers")
        try:
            found = [*self._waiting(), *self._workers(), *self._watched()]
        except (DBAPIError, PoolTimeout):
            found = []
        up.add_metric([], 1 if found else 0)
        yield from (build, promised, up, *found)

    def _workers(self) -> Iterator[Metric]:
        workers = GaugeMetricFamily("tandem_workers", "Worker processes: alive, or silent", labels=["state"])
        late = GaugeMetricFamily("tandem_sla_breached", "Clocks of leads that are over and not done", labels=["clock"])
        deaf = GaugeMetricFamily(
            "tandem_alarm_sink_failing", "1 while messages about alarms do not reach it", labels=["sink"]
        )
        with self._database.read() as db:
            for sink, (_, tries, _) in notices.standing(db).items():
                deaf.add_metric([sink], int(tries > 0))
            w, now = t.worker.c, clock_of(db)
            beats = db.execute(select(w.beat_at)).scalars().all()
            for clock, n in clocks.breached(db).items():
                late.add_metric([clock], n)
        alive = sum(now - beat <= SILENT_MS for beat in beats)
        workers.add_metric(["alive"], alive)
        workers.add_metric(["silent"], len(beats) - alive)
        yield from (workers, late, deaf)

    def _waiting(self) -> Iterator[Metric]:
        dirty = GaugeMetricFamily("tandem_work_links", "Links with something to write", labels=["connection"])
        oldest = GaugeMetricFamily(
            "tandem_work_oldest_seconds", "Age of the oldest unwritten change", labels=["connection"]
        )
        objections = GaugeMetricFamily(
            "tandem_withdrawal_oldest_seconds",
            "Age of the oldest withdrawal of consent that has not landed here",
            labels=["connection"],
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
            now = clock_of(db)
            backlog, objected = work.backlog(db, self._connections), work.objections(db)
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
            if name not in self._observed:
                objections.add_metric([name], max(0, now - objected.get(name, now)) / 1000)
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
        yield from (dirty, oldest, objections, pending, waits, dead, paused, failing, brakes, held, matches)

    def _watched(self) -> Iterator[Metric]:
        """What the safety nets found."""
        share = GaugeMetricFamily(
            "tandem_drift_ratio",
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
        missed = CounterMetricFamily(
            "tandem_poll_missed", "Changes that polls found and no webhook had told, in all", labels=["connection"]
        )
        with self._database.read() as db:
            now = clock_of(db)
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
