"""Traces for OpenTelemetry.  In: what stations say.  Out: spans to a collector (OTLP over HTTP), if one is configured.

No row carries a trace: a change's ids are computed from the number of its delivery, which the inbox keeps anyway, so
every process and every later try finds the same trace.  Spans hold connections, outcomes and numbers of ours.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from app.core import clock
from app.core._settings_traces import TracesConfig
from app.core.errors import ConfigError
from app.core.settings import secret_of
from app.core.trace import OFF, Origin, Said, Step, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, SpanKind

MS: Final = 1_000_000  # nanoseconds
SECONDS: Final = 5  # for one hand-over to the collector; so long the stop may wait for it
KEPT: Final = 2048  # spans that wait for it; more are dropped, never waited for


@dataclass(frozen=True, slots=True)
class _Ids:
    trace: int
    span: int


_forced: ContextVar[_Ids | None] = ContextVar("tandem_forced_ids", default=None)
_batch: ContextVar[tuple[Span, int] | None] = ContextVar("tandem_batch", default=None)


class Spans(Trace):
    """Listens.  Safe for threads."""

    on = True

    def __init__(self, provider: TracerProvider, where: str = "") -> None:
        """``where``: tells installations apart whose deliveries have the same number."""
        self._provider = provider
        self._tracer = provider.get_tracer("tandem", version("tandem-sync"))
        self._where = where

    def ids(self, origin: Origin) -> _Ids:
        """Of a change's trace and of its first span."""
        what = f"d{origin.delivery}" if origin.delivery is not None else f"e{origin.event}"
        # Not a secret, only spread evenly: samplers decide by its bits.
        made = hashlib.blake2b(f"{self._where} {origin.connection} {what}".encode(), digest_size=24).digest()
        return _Ids(int.from_bytes(made[:16], "big"), int.from_bytes(made[16:], "big"))

    def delivered(self, stored: Iterable[tuple[int, str, int]]) -> None:
        """The first span of each change: from the door to the disk."""
        from opentelemetry.trace import SpanKind

        for number, connection, received_at in stored:
            origin = Origin(connection, 0, number)
            said: Said = {"tandem.connection": connection, "tandem.delivery": number}
            self._first(origin, "delivery", SpanKind.SERVER, received_at * MS, _now(), said)

    def _first(self, origin: Origin, name: str, kind: SpanKind, start: int, end: int, said: Said) -> None:
        from opentelemetry.context import Context

        token = _forced.set(self.ids(origin))
        try:
            span = self._tracer.start_span(name, Context(), kind, dict(said), start_time=start)
        finally:
            _forced.reset(token)
        span.end(max(start, end))

    @contextmanager
    def batch(self, name: str, connection: str) -> Iterator[None]:
        """A trace of its own, which calls to vendors join."""
        from opentelemetry.context import Context

        start = _now()
        span = self._tracer.start_span(
            f"{name} batch", Context(), attributes={"tandem.connection": connection}, start_time=start
        )
        token = _batch.set((span, start))
        try:
            yield
        finally:
            _batch.reset(token)
            span.end(_now())

    def steps(self, name: str, connection: str, steps: Iterable[Step]) -> None:
        """A span in each change's trace, as long as the batch, linked to it and from it."""
        from opentelemetry import trace
        from opentelemetry.trace import SpanKind, Status, StatusCode

        under_way, end = _batch.get(), _now()
        start = under_way[1] if under_way is not None else end
        for step in steps:
            links = [trace.Link(self._context(other)) for other in step.others]
            if under_way is not None:
                links.append(trace.Link(under_way[0].get_span_context()))
            context = None
            if step.origin is not None:
                if step.origin.delivery is None and name == "fetch" and step.origin.received_at is not None:
                    # A poll found it: nobody delivered it, so its trace begins here.
                    at = step.origin.received_at * MS
                    found: Said = {"tandem.connection": step.origin.connection, "tandem.event": step.origin.event}
                    self._first(step.origin, "event", SpanKind.INTERNAL, at, at, found)
                parent = self._context(step.origin)
                context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
                if under_way is not None:
                    under_way[0].add_link(parent)
            said = {"tandem.connection": connection, **step.said}
            span = self._tracer.start_span(name, context, SpanKind.CONSUMER, said, links, start)
            if not step.good:
                span.set_status(Status(StatusCode.ERROR))
            span.end(end)

    def _context(self, origin: Origin) -> SpanContext:
        from opentelemetry.trace import SpanContext, TraceFlags

        ids = self.ids(origin)
        return SpanContext(ids.trace, ids.span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def call(self, connection: str, method: str, family: str, status: int, seconds: float) -> None:
        """A span in the batch that made the call.  Without the URL: vendors put addresses into paths."""
        from opentelemetry import trace
        from opentelemetry.trace import SpanKind, Status, StatusCode

        under_way, end = _batch.get(), _now()
        context = trace.set_span_in_context(under_way[0]) if under_way is not None else None
        said: dict[str, str | int | float] = {"tandem.connection": connection, "http.request.method": method}
        if family:
            said["tandem.family"] = family
        if status:
            said["http.response.status_code"] = status
        start = end - int(seconds * 1_000_000_000)
        span = self._tracer.start_span(method, context, SpanKind.CLIENT, said, start_time=start)
        if status == 0 or status >= 400:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def close(self) -> None:
        """Hand over what is left."""
        self._provider.shutdown()


def _now() -> int:
    return clock.to_ms(clock.now()) * MS


def provider_of(config: TracesConfig, instance: str) -> TracerProvider:
    """What makes spans; nobody is listening yet.  Raises ConfigError where OpenTelemetry is not installed."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
    except ImportError:
        raise ConfigError("traces: OpenTelemetry is not installed: pip install 'tandem-sync[otel]'") from None

    class Ids(RandomIdGenerator):
        """Random, but for the first span of a change."""

        def generate_span_id(self) -> int:
            forced = _forced.get()
            return super().generate_span_id() if forced is None else forced.span

        def generate_trace_id(self) -> int:
            forced = _forced.get()
            return super().generate_trace_id() if forced is None else forced.trace

    resource = Resource(
        {"service.name": "tandem", "service.version": version("tandem-sync"), "service.instance.id": instance}
    )
    # By the trace's own bits, not by the parent's flag: all processes decide alike about one change.
    sampler = TraceIdRatioBased(config.sample)
    return TracerProvider(sampler=sampler, resource=resource, id_generator=Ids(), shutdown_on_exit=False)


def of(config: TracesConfig | None, env: Mapping[str, str], instance: str, where: str | None) -> Trace:
    """The trace of a configuration.  Raises ConfigError.  No call goes out before there are spans."""
    if config is None:
        return OFF
    provider = provider_of(config, instance)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    token = secret_of("traces", "token", env)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    exporter = OTLPSpanExporter(endpoint=config.endpoint, headers=headers, timeout=SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=KEPT))
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # a collector that is away is no matter of ours
    return Spans(provider, where if where is not None else "")
