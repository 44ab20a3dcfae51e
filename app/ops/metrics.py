"""Figures for Prometheus.  Labels are connections and outcomes, never people.

Counters and histograms are of this process; what lies in the store is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from app.core.db import Database
from app.ops._figures import Calling, Clients, Store
from app.repair import freshness

# What counts for an objection are minutes: within a second is good, beyond an hour somebody was written to meanwhile.
WITHDRAWAL_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)
# The door answers within milliseconds, and vendors wait for some seconds at most.
DOOR_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """The figures of this process and of the store."""

    def __init__(
        self,
        database: Database,
        connections: Iterable[str],
        *,
        promises: Mapping[str, float] | None = None,
        observed: Collection[str] = (),
    ) -> None:
        """``promises``: connection → how soon changes have to land there, in seconds, where somebody promised it.

        ``observed``: connections that nothing is written to.
        """
        self.registry = CollectorRegistry()
        self.recorder = freshness.Recorder()  # the same for all processes together, by way of the store
        self._doors: dict[tuple[str, int], Counter] = {}
        self.deliveries = Counter(
            "tandem_deliveries", "Deliveries at the door by answer", ["connection", "status"], registry=self.registry
        )
        self.door = Histogram(
            "tandem_door_seconds",
            "Last byte of a delivery until it may be acknowledged",
            ["connection"],
            buckets=DOOR_BUCKETS,
            registry=self.registry,
        )
        self._doors_seconds: dict[str, Histogram] = {}
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
        self.messages = Counter(
            "tandem_alarm_messages", "Messages about alarms, by outcome", ["sink", "outcome"], registry=self.registry
        )
        self.failures = Counter(
            "tandem_step_failures",
            "Steps of a station that ended in an error that nobody expected",
            ["station"],
            registry=self.registry,
        )
        self._clients = Clients()
        self.registry.register(self._clients)
        self.registry.register(Store(database, list(connections), promises if promises is not None else {}, observed))
        ProcessCollector(registry=self.registry)

    def calling(self, clients: Mapping[str, Calling]) -> None:
        """Show how these clients stand with their vendors: connection → client."""
        self._clients.of = clients

    def delivery(self, connection: str, status: int) -> None:
        """Count an answer of the door."""
        counter = self._doors.get((connection, status))
        if counter is None:  # looking a label up costs more than counting
            counter = self._doors[connection, status] = self.deliveries.labels(connection, str(status))
        counter.inc()

    def took(self, connection: str, seconds: float) -> None:
        """Measure how long the door took to store a delivery."""
        door = self._doors_seconds.get(connection)
        if door is None:  # see above
            door = self._doors_seconds[connection] = self.door.labels(connection)
        door.observe(seconds)

    def message(self, sink: str, outcome: str) -> None:
        """Count a message about alarms: ``sent`` or ``failed``."""
        self.messages.labels(sink, outcome).inc()

    def failed(self, station: str) -> None:
        """Count a step that failed."""
        self.failures.labels(station).inc()

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
