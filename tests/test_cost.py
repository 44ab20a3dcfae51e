"""What a change costs is counted, not timed: statements, commits and rows written, for each kind of batch.

Both the fixed part of a batch and the part for each record are held to what was counted when ``tests/costs.json`` was
written.  Who changes a cost on purpose writes that file anew (``python -m tests.costs``), and its difference says what
changed.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection as Db

from app.core.db import Database
from app.entry import inbox
from app.records import contacts as people
from app.records import links as pairs
from app.records.contacts import Contact
from app.sync import chain, fetch
from connectors.contract import Side
from tests import costs
from tests.costs import WORLDS, kept, person
from tests.counting import doing
from tests.world import World


def differences(database: Database, world: str) -> list[str]:
    """Where a batch costs something else than was kept, and the statements behind it."""
    found, table = WORLDS[world](database), kept(world, database.dialect)
    lines = [f"{kind}: counted no more" for kind in table if kind not in found]
    for kind, growth in found.items():
        was, now = table.get(kind, {}), growth.parts()
        for part in sorted(was.keys() | now.keys(), key=lambda name: (name != "all", name)):
            before, after = was.get(part, "0"), now.get(part, "0")
            if before != after:
                lines.append(f"{kind}: {part}: {before} -> {after}")
                lines += growth.told(part)
    return lines


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in {"changes", "acknowledged"} else pytest.mark.heavy) for n in WORLDS]
)
def test_a_batch_costs_what_it_did(database: Database, name: str) -> None:
    """No statement, commit or row more, for the batch or for each of its records; what is cheaper is written down."""
    lines = differences(database, name)
    assert not lines, (
        "\n".join(["statements/rows of a batch of n records changed:", *lines])
        + "\nWhere that is meant: python -m tests.costs, and say why in the commit."
    )


def test_an_echo_writes_nothing_but_that_it_came() -> None:
    """Of our own write that comes back, only the event is closed; nothing is marked, nothing is sent."""
    for dialect in ("sqlite", "postgresql"):
        kinds = kept("changes", dialect)
        read = kinds["echo: read"]
        rows = {part: value.split("/")[1] for part, value in read.items() if "/" in value}
        assert {part for part, n in rows.items() if "n" in n} == {"update inbox"}
        assert not [part for part in kinds["echo: written"] if "/" in part]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT inbox.id FROM inbox WHERE 1", "select inbox"),
        ('SELECT a FROM "conflict" JOIN link ON 1', "select conflict"),
        ("SELECT link.id FROM link WHERE 1 FOR UPDATE", "select link"),
        ("WITH chosen AS (SELECT a FROM work) UPDATE work SET a = ? RETURNING a", "update work"),
        ("INSERT INTO block (key) SELECT x FROM unnest(?) AS x ON CONFLICT (key) DO UPDATE SET a = 1", "insert block"),
        ("SELECT k FROM unnest(?) AS k CROSS JOIN LATERAL (SELECT 1 FROM block WHERE 1) x", "select block"),
        ("DELETE FROM work WHERE a IN (SELECT 1 FROM link)", "delete work"),
        ("SELECT pg_notify(?, ?)", "notify"),
        ("SELECT CAST((julianday('now')) AS INTEGER)", "clock"),
    ],
)
def test_what_a_statement_does_is_read_from_it(statement: str, expected: str) -> None:
    """Its verb and its table."""
    assert doing(statement) == expected


# --- saboteurs --------------------------------------------------------------------------------------------------------


def one_by_one(db: Db, ids: Sequence[int], *, lock: bool = False) -> dict[int, Contact]:
    """Contacts loaded one at a time."""
    return {number: contact for i in ids for number, contact in _load(db, [i], lock=lock).items()}


def each_line(db: Db, contacts: Sequence[Contact], now: int) -> None:
    """History written contact by contact."""
    for contact in contacts:
        _write_history(db, [contact], now)


def twice(*args: Any, **more: Any) -> Any:
    """The same rows read twice in one batch."""
    _of_records(*args, **more)
    return _of_records(*args, **more)


_load, _write_history, _of_records = people.load, people.write_history, pairs.of_records


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_makes_a_batch_dearer_is_seen(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure names the batch, what is done to which table, and the statements themselves."""
    for module, name, sabotage in (
        (people, "load", one_by_one),
        (people, "write_history", each_line),
        (pairs, "of_records", twice),
    ):
        monkeypatch.setattr(module, name, sabotage)
    lines = differences(database, "judged")
    assert {
        "another score: read: select contact: 1 -> n",
        "another score: read: insert history: 1/n -> n/n",
        "another score: read: select link: 1 -> 2",
    } <= set(lines)
    assert any("10, 20 x SELECT contact.id" in line for line in lines)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_acknowledgement_for_each_delivery_is_seen(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: the door stores each delivery by itself, past SQLAlchemy."""
    real = inbox.accept
    monkeypatch.setattr(inbox, "accept", lambda db, arrived: [row for one in arrived for row in real(db, [one])])
    assert "delivery: all: 3 -> 3n" in differences(database, "acknowledged")


# --- memory -----------------------------------------------------------------------------------------------------------


def peak(world: World, numbers: range) -> int:
    """How many bytes more than before a run over these new people needs at most, batch by batch."""
    for n in numbers:
        world.vendors["hub"].put(f"hub{n + 1}", person(n))
    world.deliver("hub")
    world.due()
    tracemalloc.start()
    try:
        while world.fetch.step():
            gc.collect()  # what waits for the collector is not held on to
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def grows(database: Database, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a run of six batches needs notably more memory than one of two."""
    monkeypatch.setattr(fetch, "BATCH", 10)
    world = World(database, {"hub": Side.CRM, "chimp": Side.MARKETING})
    for vendor in world.vendors.values():
        vendor.limits = costs.ROOMY  # type: ignore[misc]
    gc.freeze()  # what was there before is not looked through again and again
    try:
        peak(world, range(10))  # what is compiled and cached once
        short, long = peak(world, range(100, 120)), peak(world, range(200, 260))
    finally:
        gc.unfreeze()
    return long > 1.3 * short


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_memory_does_not_grow_with_the_length_of_a_run(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one batch needs is given back before the next."""
    assert not grows(database, monkeypatch)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_batch_that_is_held_on_to_is_seen(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: the chain keeps what it has walked."""
    kept_on: list[Any] = []
    real = chain.absorb

    def absorb(db: Db, connection: Any, connections: Any, arrivals: Any) -> Any:
        kept_on.extend(dict(a.record.fields) | {"more": bytes(4_000)} for a in arrivals)
        return real(db, connection, connections, arrivals)

    monkeypatch.setattr(chain, "absorb", absorb)
    assert grows(database, monkeypatch)
