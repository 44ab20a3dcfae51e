"""What strangers and broken senders put before the door: whatever it is, it is taken, refused or kept as unreadable."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import connectors
from app.core.db import dumps
from app.entry.commit import GroupCommit
from app.entry.door import Door
from app.entry.inbox import event_row
from connectors.contract import Connector, Delivery, Received, Unreadable, Untrusted
from tests import test_conformance
from tests.acme import ACME, Acme
from tests.conformance import Example
from tests.stage import SIGNED, Stage, seeds

Judged = tuple[type[Connector], Example]
JUDGED: dict[str, Judged] = {
    value.kind.name: (value.kind, value.example)
    for name, value in vars(test_conformance).items()
    if name.startswith("Test") and value.example.sign is not None
}
EXAMPLES = int(os.environ.get("TANDEM_TEST_EXAMPLES", "25"))  # of each test; `make fuzz` takes many more
FEW = settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck), deadline=None)

# What people find in bodies that a program wrote wrongly, or that somebody wrote on purpose.
TEXTS = st.sampled_from(
    [
        *("", " ", "\x00", "a\x00b", "\ud800", "\r\nX: y", "\x1b[2J", "\u202e", "null", "NaN", "-0", "1e999", "0x7f"),
        *("9" * 5_000, "a" * 70_000, "../../etc/passwd", "2026-02-30T25:61:61Z", "0000-00-00", "9999-12-31T23:59:59Z"),
        *("-9223372036854775809", "é" * 300, "१२", "@", "a@b", "{{", "%00", "=1+1"),
    ]
)
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 10**30, 1e308, -1e308, 5e-324, 0.1])
KEYS = st.sampled_from(["id", "", "\x00", "a"])
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def spoiled(draw: st.DrawFn, value: Any, chance: int = 5) -> Any:
    """A value with some of its parts replaced, left out or doubled."""
    if draw(st.integers(0, chance)) == 0:
        return draw(JUNK)
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if draw(st.integers(0, 9))}
        return {k: draw(spoiled(v, chance)) for k, v in kept.items()}
    if isinstance(value, list):
        several = value * draw(st.sampled_from([1, 1, 1, 2, 0]))
        return [draw(spoiled(v, chance)) for v in several]
    return value


@st.composite
def bodies(draw: st.DrawFn, good: bytes) -> bytes:
    """A body that is almost the good one, in JSON or as a form; or is anything at all."""
    if draw(st.integers(0, 6)) == 0:
        return draw(st.binary(max_size=200) | st.sampled_from([b"[" * 50_000, b'{"a":' * 50_000, gzip.compress(good)]))
    try:
        found = orjson.loads(good)
    except orjson.JSONDecodeError:
        pairs = parse_qsl(good.decode(), keep_blank_values=True)
        pairs = [(k, draw(TEXTS) if draw(st.integers(0, 3)) == 0 else v) for k, v in pairs if draw(st.integers(0, 9))]
        return urlencode([(k, v.encode("utf-8", "surrogatepass")) for k, v in pairs]).encode()
    return json.dumps(draw(spoiled(found))).encode("utf-8", "surrogatepass")


def storable(connection: str, received: Received) -> None:
    """Both databases take what it leads to: no number beyond 64 bits, no text that is none."""
    for event in received.events:
        row = event_row(connection, event, 1, 1)
        for name, value in row.items():
            if isinstance(value, int):
                assert -(2**63) <= value < 2**63, name
            elif isinstance(value, str):
                value.encode("utf-8")
                assert "\x00" not in value, name
            elif value is not None:
                assert "\\u0000" not in str(dumps(value)), name
        assert event.occurred_at is None or datetime(1, 1, 2, tzinfo=UTC) < event.occurred_at
    answer = received.answer
    assert 200 <= answer.status < 300 or answer.status == 410
    assert answer.content_type.isprintable()


def outcome(stage: Stage, delivery: Delivery) -> str:
    """How it ends; any other exception is the finding."""
    try:
        received = stage.it.receive(delivery)
    except Untrusted:
        return "untrusted"
    except Unreadable as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert len(said) < 500
        assert said.isprintable()
        return "unreadable"
    storable(stage.kind.name, received)
    return "taken"


def on_stage(judged: Judged) -> Stage:
    return Stage(*judged, seeds(1))


def test_every_connector_that_takes_webhooks_is_here() -> None:
    """Guards the guard."""
    assert set(JUDGED) == {*connectors.find(), Acme.name}


@pytest.mark.parametrize("name", JUDGED)
def test_whatever_is_signed_is_taken_or_unreadable(name: str) -> None:
    """A vendor's own mistakes, and what its customers may write into it, end at the door and never in an exception."""
    stage, example = on_stage(JUDGED[name]), JUDGED[name][1]
    found: set[str] = set()

    @FEW
    @given(body=bodies(example.body) | bodies(example.other if example.other else example.body))
    def receive(body: bytes) -> None:
        assert example.sign is not None
        found.add(outcome(stage, example.sign(body, SIGNED, stage.settings[example.secret])))

    receive()
    assert "unreadable" in found


HEADERS = st.sampled_from(
    [
        *("", " ", "\x00", "\xff\xfe", "é", "a" * 9_000, "=", "0" * 64, "%"),
        *("t=,v1=", "t=" + "9" * 400 + ",v1=x", "v1,a v1,b"),
    ]
)
QUERIES = st.sampled_from(
    ["", "?", "?&&&", "?secret=%00", "?" + "a=1&" * 500, "?secret=%FF", "?%", "?secret=a&secret=b", "#x", "?\xff"]
)


@pytest.mark.parametrize("name", JUDGED)
def test_whatever_a_stranger_sends_is_refused(name: str) -> None:
    """Without the secret nothing is believed, whatever stands in headers and query, and nothing breaks."""
    stage, example = on_stage(JUDGED[name]), JUDGED[name][1]
    assert example.sign is not None
    good = example.sign(example.body, SIGNED, "another-secret-than-ours")
    names = [*good.headers, *(one for one in example.proof if not one.startswith("?"))]

    @FEW
    @given(
        headers=st.dictionaries(st.sampled_from([*names, "content-type", "x"]), HEADERS),
        query=QUERIES,
        method=st.sampled_from(["POST", "GET", "HEAD"]),
        off=st.sampled_from([0, 10**6, -(10**6)]),
    )
    def receive(headers: dict[str, str], query: str, method: str, off: int) -> None:
        at = SIGNED + timedelta(seconds=off)
        url = good.url.partition("?")[0] + query
        said = {**good.headers, **headers}
        ended = outcome(stage, replace(good, method=method, url=url, headers=said, received_at=at))
        assert ended == "untrusted" or method != "POST", ended

    receive()


# --- the door itself --------------------------------------------------------------------------------------------------


class Hearer(Acme):
    """What the door lets through."""

    heard: list[Delivery]

    def receive(self, delivery: Delivery) -> Received:
        self.heard.append(delivery)
        return super().receive(delivery)


class Writer(GroupCommit):
    """Takes everything and keeps nothing."""

    def __init__(self) -> None:
        """No store."""

    async def store(self, arrived: Any) -> None:
        """Nothing."""


def knock(
    parts: Iterator[bytes], headers: list[tuple[bytes, bytes]], *, limit: int = 100_000, path: str = "/webhooks/acme"
) -> tuple[int, list[tuple[bytes, bytes]], Hearer, int]:
    """Status, headers, what got through, and how many pieces of the body were taken."""
    hearer: Any = Stage(Hearer, ACME, seeds(1)).it
    hearer.heard = []
    door = Door({"acme": hearer}, Writer(), lambda: SIGNED, body_limit=limit)
    sent: list[Any] = []
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        piece = next(parts, None)
        return {"type": "http.request", "body": piece if piece is not None else b"", "more_body": piece is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    asyncio.run(door(scope, receive, send))
    return sent[0]["status"], sent[0]["headers"], hearer, taken


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


@pytest.mark.parametrize(
    ("parts", "headers", "status"),
    [
        pytest.param(lambda: endless(b"x" * 65_536), [], 413, id="a body without end"),
        pytest.param(lambda: endless(b"x"), [(b"content-length", b"5")], 413, id="one that says it is short"),
        pytest.param(lambda: endless(b"x"), [(b"content-length", b"9" * 400)], 413, id="one that says it is long"),
        pytest.param(lambda: endless(b"x" * 9_000), [(b"content-length", b"-1")], 413, id="a length below nothing"),
        pytest.param(lambda: iter([gzip.compress(bytes(10**7))]), [(b"content-encoding", b"gzip")], 401, id="a bomb"),
        pytest.param(lambda: iter([b"{}"]), [(b"content-length", b"\xb2"), (b"x", b"\xff\xfe")], 401, id="odd headers"),
        pytest.param(lambda: iter([b"{}"]), [(b"x-acme-signature", b"a")] * 3, 401, id="one header three times"),
    ],
)
def test_the_door_reads_no_more_than_it_may(
    parts: Callable[[], Iterator[bytes]], headers: list[tuple[bytes, bytes]], status: int
) -> None:
    """It stops at its limit, unpacks nothing, and is never out of memory before that."""
    tracemalloc.start()
    try:
        answered, _, hearer, taken = knock(parts(), headers)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answered == status
    assert taken <= 100_002
    assert all(len(one.body) <= 100_000 for one in hearer.heard)
    assert most < 20_000_000


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/acme\r\nSet-Cookie: a=b",
        "/webhooks/../ops/connections",
        "/webhooks/..%2f..%2fetc/passwd",
        "/webhooks/\x00",
        "/webhooks/" + "a" * 9_000,
        "/webhooks/acme/../../x",
    ],
)
def test_a_path_names_a_connection_or_nothing(path: str) -> None:
    """No file, no other route, and nothing of it in the answer's headers."""
    status, headers, hearer, _ = knock(iter([b"{}"]), [], path=path)
    assert status == 404
    assert hearer.heard == []
    assert all(b"\r" not in value and b"\n" not in value for _, value in headers)


def test_a_connector_that_trusts_its_bodies_is_caught() -> None:
    """A saboteur: it takes for granted that a body holds what its document names."""

    class Trusting(Acme):
        def receive(self, delivery: Delivery) -> Received:
            received = super().receive(delivery)
            json.loads(delivery.body)["events"][0]["documented"].encode()
            return received

    JUDGED["trusting"] = (Trusting, ACME)
    try:
        with pytest.raises(Exception, match=r".") as caught:
            test_whatever_is_signed_is_taken_or_unreadable("trusting")
        assert not isinstance(caught.value, Untrusted | Unreadable)
    finally:
        del JUDGED["trusting"]
