"""The door: stored before acknowledged, duplicates stored once, bad input named and never a 500."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text

from app.core import tables as t
from app.core.db import Database
from app.core.words import Station
from app.entry import inbox
from app.entry.commit import GroupCommit
from app.entry.door import Door
from app.records import state
from connectors.contract import (
    Action,
    Answer,
    Can,
    Connector,
    Delivery,
    Event,
    Kind,
    Limits,
    Received,
    Ref,
    Side,
    Unreadable,
    Untrusted,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Echo(Connector):
    """Takes lines of ids; the first line is the secret."""

    name = "echo"
    side = Side.CRM
    can = frozenset({Can.WEBHOOK})
    limits = Limits()
    settings = ()
    hosts = frozenset()

    def receive(self, delivery: Delivery) -> Received:
        if delivery.method == "GET":
            return Received(answer=Answer(200, b"hello"))
        secret, _, rest = delivery.body.partition(b"\n")
        if secret != b"s3cret":
            raise Untrusted("wrong secret")
        try:
            ids = rest.decode().split()
        except UnicodeDecodeError:
            raise Unreadable("not UTF-8") from None
        events = tuple(Event(Kind.CONTACT, Action.CHANGED, Ref(i), f"d:{i}", NOW) for i in ids)
        return Received(events, Answer(204))


class Silent(Connector):
    """Takes no webhooks."""

    name = "silent"
    side = Side.CRM
    can = frozenset[Can]()
    limits = Limits()
    settings = ()
    hosts = frozenset()


class AtTheDoor:
    """A door with its store, and a clock that stands still."""

    def __init__(self, database: Database, now: datetime = NOW, **options: Any) -> None:
        self.database = database
        with database.write() as db:
            state.ensure(db, ["echo"])
        self.woken = 0
        database.heard = self._wake
        self.writer = GroupCommit(database)
        http: Any = None
        connectors = {"echo": Echo({}, http), "silent": Silent({}, http)}
        self.door = Door(connectors, self.writer, lambda: now, **options)

    def _wake(self, stations: Collection[str]) -> None:
        assert set(stations) == {Station.FETCH}
        self.woken += 1

    def call(self, *requests: tuple[str, str, bytes], headers: dict[str, str] | None = None) -> list[httpx.Response]:
        """Answers to requests that are sent at once."""

        async def all_of_them() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.door)
            async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
                calls = [client.request(m, p, content=b, headers=headers) for m, p, b in requests]
                return await asyncio.gather(*calls)

        self.writer.start()
        try:
            return asyncio.run(all_of_them())
        finally:
            self.writer.stop()

    def count(self, table: Any) -> int:
        with self.database.read() as db:
            return db.execute(select(func.count()).select_from(table)).scalar_one()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "events", "deliveries"),
    [
        pytest.param("POST", "/webhooks/echo", b"s3cret\n1 2 3", 204, 3, 1, id="three events"),
        pytest.param("POST", "/webhooks/echo/", b"s3cret\n1", 204, 1, 1, id="a trailing slash"),
        pytest.param("POST", "/webhooks/echo", b"s3cret\n", 204, 0, 0, id="nothing in it: nothing is stored"),
        pytest.param("GET", "/webhooks/echo", b"", 200, 0, 0, id="a handshake"),
        pytest.param("POST", "/webhooks/echo", b"wrong\n1", 401, 0, 0, id="forged"),
        pytest.param("POST", "/webhooks/echo", b"", 401, 0, 0, id="empty"),
        pytest.param("POST", "/webhooks/echo", b"s3cr", 401, 0, 0, id="truncated"),
        pytest.param("POST", "/webhooks/echo", b"s3cret\n\xff\xfe", 400, 1, 1, id="trusted but unreadable: kept"),
        pytest.param("POST", "/webhooks/nobody", b"s3cret\n1", 404, 0, 0, id="no such connection"),
        pytest.param("POST", "/webhooks/", b"s3cret\n1", 404, 0, 0, id="no name"),
        pytest.param("POST", "/webhooks/silent", b"s3cret\n1", 404, 0, 0, id="takes no webhooks"),
        pytest.param("DELETE", "/webhooks/echo", b"", 405, 0, 0, id="another method"),
        pytest.param("POST", "/webhooks/echo", b"s3cret\n" + b"9" * 3000, 413, 0, 0, id="too large"),
    ],
)
def test_answers(
    database: Database, method: str, path: str, body: bytes, status: int, events: int, deliveries: int
) -> None:
    """Each kind of request has its answer and leaves just what it should."""
    door = AtTheDoor(database, body_limit=2048)
    (answer,) = door.call((method, path, body))
    assert (answer.status_code, door.count(t.inbox), door.count(t.delivery)) == (status, events, deliveries)
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


def test_twenty_copies_at_once_are_one_row(database: Database) -> None:
    """A duplicate delivery stores nothing, not even its bytes."""
    door = AtTheDoor(database)
    answers = door.call(*[("POST", "/webhooks/echo", b"s3cret\n1")] * 20)
    assert {a.status_code for a in answers} == {204}
    assert (door.count(t.inbox), door.count(t.delivery)) == (1, 1)


def test_a_copy_with_something_new_keeps_its_bytes(database: Database) -> None:
    """Half known, half new: the new event is stored with its delivery."""
    door = AtTheDoor(database)
    door.call(("POST", "/webhooks/echo", b"s3cret\n1"))
    door = AtTheDoor(database)
    door.call(("POST", "/webhooks/echo", b"s3cret\n1 2"))
    assert (door.count(t.inbox), door.count(t.delivery)) == (2, 2)


def test_raw_bytes_are_kept_as_they_came(database: Database) -> None:
    """What was sent can be looked at later, byte by byte."""
    door = AtTheDoor(database)
    body = b"s3cret\n1 \xc3\xa9\x00"
    door.call(("POST", "/webhooks/echo", body))
    with database.read() as db:
        assert db.execute(select(t.delivery.c.body)).scalar() == body


@pytest.mark.parametrize("ahead", [timedelta(minutes=-10), timedelta(0), timedelta(minutes=10)])
def test_a_door_whose_clock_is_wrong_holds_nothing_back(database: Database, ahead: timedelta) -> None:
    """What it took in is due at once, by the database's clock."""
    AtTheDoor(database, datetime.now(UTC) + ahead).call(("POST", "/webhooks/echo", b"s3cret\n1"))
    with database.read() as db:
        assert [row["ref_value"] for row in inbox.pending(db, "echo", 10)] == ["1"]


def test_concurrent_deliveries_share_a_commit(database: Database) -> None:
    """Group commit: fewer commits than deliveries, every one durable before its answer."""
    door = AtTheDoor(database)
    answers = door.call(*[("POST", "/webhooks/echo", b"s3cret\n%d" % n) for n in range(200)])
    assert {a.status_code for a in answers} == {204}
    assert door.count(t.inbox) == 200
    assert door.woken < 200


@pytest.mark.parametrize("busy", [503, 429])
def test_what_cannot_be_stored_is_not_acknowledged(
    database: Database, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails means 503, or what this vendor tries again after; the door lives on."""
    monkeypatch.setattr(Echo, "busy", busy)
    door = AtTheDoor(database)
    with database.write() as db:
        db.execute(text("ALTER TABLE inbox RENAME TO inbox_away"))
    (answer,) = door.call(("POST", "/webhooks/echo", b"s3cret\n1"))
    assert (answer.status_code, answer.headers["retry-after"]) == (busy, "30")
    with database.write() as db:
        db.execute(text("ALTER TABLE inbox_away RENAME TO inbox"))
    door = AtTheDoor(database)
    assert door.call(("POST", "/webhooks/echo", b"s3cret\n1"))[0].status_code == 204


def test_a_flood_is_answered_with_503_not_with_memory(database: Database) -> None:
    """Beyond the queue's depth nothing is taken in."""
    door = AtTheDoor(database)
    door.writer._depth = 1
    answers = door.call(*[("POST", "/webhooks/echo", b"s3cret\n%d" % n) for n in range(50)])
    stored = sum(a.status_code == 204 for a in answers)
    assert {a.status_code for a in answers} <= {204, 503}
    assert door.count(t.inbox) == stored


def test_the_public_url_is_what_vendors_signed(database: Database) -> None:
    """Behind a proxy the URL in the signature is the public one, query included."""
    seen: list[str] = []

    class Spy(Echo):
        def receive(self, delivery: Delivery) -> Received:
            seen.append(delivery.url)
            return Received()

    http: Any = None
    writer = GroupCommit(database)
    for public, url in [
        ("https://t.example.com/", "https://t.example.com/webhooks/echo?a=%20b"),
        (None, "http://door/webhooks/echo?a=%20b"),
    ]:
        at = AtTheDoor(database)
        at.door = Door({"echo": Spy({}, http)}, writer, lambda: NOW, public_url=public)
        at.call(("POST", "/webhooks/echo?a=%20b", b""))
        assert seen.pop() == url


def test_an_answer_before_the_commit_is_caught(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a writer that answers before it stores acknowledges what a failing store loses."""

    async def careless(self: GroupCommit, arrived: Any) -> None:
        self._queue.put(None)

    monkeypatch.setattr(GroupCommit, "store", careless)
    door = AtTheDoor(database)
    (answer,) = door.call(("POST", "/webhooks/echo", b"s3cret\n1"))
    assert answer.status_code == 204
    assert door.count(t.inbox) == 0
