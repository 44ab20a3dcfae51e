"""One change is one trace: from its delivery, through the batch that read it, to the other vendor's answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy import event as sql_event

from app.core._settings_traces import TracesConfig
from app.core.db import Database
from app.core.trace import OFF, Origin, Trace
from app.entry.commit import GroupCommit
from app.entry.inbox import Arrived
from app.ops import tracing
from app.ops.tracing import Spans
from connectors.contract import Delivery, Side
from tests.test_consent_travels import ANN
from tests.test_consent_travels import world as consenting
from tests.world import World

PERSON = {"mail": "ann.lee@example.org", "first": "Ann", "last": "Lee", "town": "Berlin"}


class Heard:
    """Spans as a collector gets them."""

    def __init__(self, sample: float = 1.0) -> None:
        self.memory = InMemorySpanExporter()
        provider = tracing.provider_of(TracesConfig(endpoint="http://127.0.0.1:1/v1/traces", sample=sample), "test")
        provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.trace = Spans(provider, "here")

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        return [s for s in self.memory.get_finished_spans() if name in {None, s.name}]

    def text(self) -> str:
        return "\n".join(s.to_json() for s in self.memory.get_finished_spans())


def listening(world: World, trace: Trace) -> None:
    """The stations of a world speak to this trace, as ``app.main`` puts them together."""
    world.fetch._trace = world.push._trace = trace


def delivered(world: World, name: str, trace: Trace) -> None:
    """What happened at a vendor arrives as one delivery, through the door's own writer."""
    vendor = world.vendors[name]
    events, vendor.events = tuple(vendor.events), []
    writer = GroupCommit(world.database, trace=trace)

    async def store() -> None:
        writer.start()
        here = Delivery("POST", "https://t.example/webhooks/crm", {}, b"ann.lee@example.org", datetime.now(UTC))
        await writer.store(Arrived(name, here, events))

    asyncio.run(store())
    writer.stop()


@pytest.fixture
def world(database: Database) -> World:
    return World(database, {"crm": Side.CRM, "mail": Side.MARKETING})


def test_one_change_is_one_trace(world: World) -> None:
    """Delivery, reading and receipt share a trace and begin at the delivery; the batch's calls are one link away."""
    heard = Heard()
    listening(world, heard.trace)
    world.vendors["crm"].put(None, PERSON)
    delivered(world, "crm", heard.trace)
    world.settle(webhooks=False)
    (delivery,), (fetch,), (receipt,) = (heard.spans(name) for name in ("delivery", "fetch", "receipt"))
    assert delivery.parent is None
    assert fetch.parent is not None
    assert receipt.parent is not None
    assert fetch.parent.span_id == receipt.parent.span_id == delivery.context.span_id
    assert fetch.context.trace_id == receipt.context.trace_id == delivery.context.trace_id
    assert [dict(s.attributes or {})["tandem.connection"] for s in (delivery, fetch, receipt)] == ["crm", "crm", "mail"]
    assert dict(fetch.attributes or {})["tandem.end"] == "changed"
    assert dict(receipt.attributes or {})["tandem.receipt"] == "done"
    assert delivery.start_time <= fetch.start_time <= receipt.start_time <= receipt.end_time
    (push,) = heard.spans("push batch")
    assert [link.context.span_id for link in receipt.links] == [push.context.span_id]
    assert [link.context.trace_id for link in push.links] == [delivery.context.trace_id]


def test_many_changes_in_one_batch_stay_apart(world: World) -> None:
    """Each has its own trace; the batch is linked to all of them."""
    heard = Heard()
    listening(world, heard.trace)
    for number in range(3):
        world.vendors["crm"].put(None, {**PERSON, "mail": f"p{number}@example.org"})
        delivered(world, "crm", heard.trace)
    world.settle(webhooks=False)
    traces = {s.context.trace_id for s in heard.spans("delivery")}
    assert len(traces) == 3
    for name in ("fetch", "receipt"):
        assert {s.context.trace_id for s in heard.spans(name)} == traces
    assert {link.context.trace_id for s in heard.spans("push batch") for link in s.links} == traces


def test_what_was_refused_is_told_with_its_code(world: World) -> None:
    """Another try later is in the same trace; the vendor's words are not."""
    heard = Heard()
    listening(world, heard.trace)
    world.vendors["mail"].fail_next = ["before"]
    world.vendors["crm"].put(None, {**PERSON, "last": "REFUSE"})
    delivered(world, "crm", heard.trace)
    world.settle(webhooks=False)
    first, second = (dict(s.attributes or {}) for s in heard.spans("receipt"))
    assert (first["tandem.problem"], first["tandem.attempts"]) == ("TryLater", 1)
    assert (second["tandem.problem"], second["tandem.code"]) == ("Refused", "invalid")
    assert len({s.context.trace_id for s in heard.spans("receipt")}) == 1
    assert not any(s.status.is_ok for s in heard.spans("receipt"))


def test_what_a_poll_found_has_a_trace_too(world: World) -> None:
    """Nobody delivered it: it begins with the event."""
    heard = Heard()
    listening(world, heard.trace)
    world.vendors["crm"].put(None, PERSON)
    world.deliver("crm")
    world.settle(webhooks=False)
    (event,), (receipt,) = heard.spans("event"), heard.spans("receipt")
    assert receipt.parent is not None
    assert receipt.parent.span_id == event.context.span_id
    assert heard.spans("delivery") == []


def test_an_objection_is_found_by_the_ledger(database: Database) -> None:
    """It is no field of the contact; its trace leads from the delivery that told it to the other vendor."""
    w = consenting(database)
    heard = Heard()
    w.vendors["hub"].put(None, {**ANN, "mailing": "never"})
    w.settle()
    listening(w, heard.trace)
    w.vendors["hub"].put("hub1", {"mailing": "no"})
    delivered(w, "hub", heard.trace)
    w.settle(webhooks=False)
    (delivery,) = heard.spans("delivery")
    assert {s.context.trace_id for s in heard.spans("receipt")} == {delivery.context.trace_id}


def test_calls_are_in_their_batch() -> None:
    """With method and status, without the URL; one that nobody answered is an error."""
    heard = Heard()
    with heard.trace.batch("push", "mail"):
        heard.trace.call("mail", "PUT", "members", 200, 0.25)
        heard.trace.call("mail", "PUT", "", 0, 0.1)
    (batch,) = heard.spans("push batch")
    good, bad = heard.spans("PUT")
    assert good.parent is not None
    assert good.parent.span_id == batch.context.span_id
    assert dict(good.attributes or {}) == {
        "tandem.connection": "mail",
        "http.request.method": "PUT",
        "tandem.family": "members",
        "http.response.status_code": 200,
    }
    assert good.end_time - good.start_time == 250_000_000
    assert bad.status.status_code.name == "ERROR"


def test_spans_name_nobody(world: World) -> None:
    """Nothing of the person, nor of the record at the vendor, is in any of them."""
    heard = Heard()
    listening(world, heard.trace)
    world.vendors["crm"].put(None, PERSON)
    delivered(world, "crm", heard.trace)
    world.settle(webhooks=False)
    text = heard.text()
    assert len(heard.spans()) >= 5
    for value in (*PERSON.values(), *world.vendors["crm"].records, *world.vendors["mail"].records):
        assert value not in text
    known = {"tandem.connection", "tandem.delivery", "tandem.event", "tandem.action", "tandem.end", "tandem.receipt"}
    known |= {"tandem.verb", "tandem.attempts", "tandem.problem", "tandem.code"}
    assert {name for s in heard.spans() for name in (s.attributes or {})} <= known


def test_all_processes_decide_alike(world: World) -> None:
    """Of a change either everything is traced or nothing, whoever did it; and about as many as were asked for."""
    mine, yours = Heard(0.3), Heard(0.3)
    origins = [Origin("crm", 0, n) for n in range(500)]
    mine.trace.delivered([(o.delivery or 0, "crm", 1) for o in origins])
    from app.core.trace import Step

    yours.trace.steps("receipt", "mail", [Step(o) for o in origins])
    first = {s.context.trace_id for s in mine.spans("delivery")}
    assert first == {s.context.trace_id for s in yours.spans("receipt")}
    assert 100 < len(first) < 200
    assert Heard().trace.ids(origins[0]) != Spans(mine.trace._provider, "elsewhere").ids(origins[0])


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every statement that is run from now on."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sql_event.listen(Engine, "before_cursor_execute", note)  # readers have an engine of their own
    yield seen
    sql_event.remove(Engine, "before_cursor_execute", note)


def test_switched_off_it_costs_nothing(database: Database, statements: list[str]) -> None:
    """No statement more, and nothing for each change: what is called once for a batch does nothing."""

    class Counting(Trace):
        calls = 0

        def batch(self, name: str, connection: str) -> Any:
            Counting.calls += 1
            return super().batch(name, connection)

        def steps(self, *_: Any) -> None:
            raise AssertionError("nobody listens")

        def delivered(self, *_: Any) -> None:
            raise AssertionError("nobody listens")

    counts = {}
    world = World(database, {"crm": Side.CRM, "mail": Side.MARKETING})
    for name, trace in (("first", OFF), ("off", Counting()), ("on", Heard().trace)):
        listening(world, trace)
        for number in range(3):
            world.vendors["crm"].put(f"{name}{number}", {**PERSON, "mail": f"{name}{number}@example.org"})
        delivered(world, "crm", trace)
        statements.clear()
        world.settle(webhooks=False)
        counts[name] = len(statements)
        world.vendors["mail"].events.clear()
    assert 0 < Counting.calls <= 4
    assert counts["off"] < counts["on"]
    assert OFF.on is False


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("collector:4318", "an endpoint is like"),
        ("ftp://collector/v1", "an endpoint is like"),
        ("https://user:pw@collector/v1", "an endpoint is like"),
        ("https://collector/v1?key=s3cr3t", "an endpoint is like"),
        ("https://[::1/v1", "an endpoint is like"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_refused(endpoint: str, why: str) -> None:
    """When the file is read."""
    with pytest.raises(ValidationError, match=why):
        TracesConfig(endpoint=endpoint)


def test_a_collector_gets_them(database: Database) -> None:
    """Over HTTP, as OTLP, with the token; switched off there is none."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    got: list[tuple[str | None, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.headers.get("authorization"), body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    assert tracing.of(None, {}, "w", None) is OFF
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        trace = tracing.of(
            TracesConfig(endpoint=endpoint), {"TANDEM_TRACES_TOKEN": "s3cr3t"}, "w1", "https://t.example"
        )
        trace.delivered([(7, "crm", 1_767_225_600_000)])
        trace.close()
        server.shutdown()
        thread.join()
    ((authorization, body),) = got
    assert authorization == "Bearer s3cr3t"
    sent = ExportTraceServiceRequest.FromString(body)
    (resource,) = sent.resource_spans
    (span,) = resource.scope_spans[0].spans
    assert span.name == "delivery"
    assert {a.key: a.value.string_value for a in resource.resource.attributes}["service.instance.id"] == "w1"
    assert json.dumps(span.name)


def test_the_stations_of_a_service_speak_to_one_trace(tmp_path: Path) -> None:
    """Door, reading, writing and calls, put together as for a service; without a collector to none."""
    from app.core.settings import Config, Settings
    from app.main import Tandem

    settings = Settings(_env_file=None, database=f"sqlite:///{tmp_path / 'tandem.db'}")
    for config, on in (({}, False), ({"traces": {"endpoint": "http://127.0.0.1:1/v1/traces"}}, True)):
        tandem = Tandem(settings, Config.model_validate(config), {})
        assert tandem.trace.on is on
        assert tandem.writer._trace is tandem.fetch._trace is tandem.push._trace is tandem.trace
        assert tandem.door._took == tandem.metrics.took
        assert tandem.workers._failed == tandem.metrics.failed
        tandem.close()


@pytest.mark.parametrize("broken", ["of its own", "forgotten"])
def test_a_trace_that_breaks_is_caught(world: World, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard: ids that two processes compute differently, an order whose change nobody looks up."""
    if broken == "of its own":
        numbers = iter(range(1, 10_000))
        real = Spans.ids
        monkeypatch.setattr(Spans, "ids", lambda self, o: real(self, Origin(o.connection, 0, next(numbers))))
    else:
        from app.push import telling

        monkeypatch.setattr(telling, "_events", lambda _planned: iter(()))
    with pytest.raises(AssertionError):
        test_one_change_is_one_trace(world)
