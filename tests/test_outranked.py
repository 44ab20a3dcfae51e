"""An address outranks likeness: it does not matter which of the records of two likely people came first."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.sync import second
from tests.test_identity import ANN, world
from tests.world import World

HERS = ANN["mail"]
OTHER = "ann.lindqvist@acme-turbines.org"
RECORDS = {
    "hub": ("hub", ANN),
    "same": ("chimp", {**ANN, "town": None, "zip": None, "road": None}),
    "like": ("chimp", {**ANN, "mail": OTHER, "zip": None, "road": None}),
}
ORDERS = list(itertools.permutations(RECORDS))


def come(w: World, order: tuple[str, ...]) -> None:
    """The records, one after the other; each is taken in before the next comes, and nothing is written meanwhile."""
    for name in order:
        connection, said = RECORDS[name]
        w.vendors[connection].put(None, {k: v for k, v in said.items() if v is not None})
        w.deliver(connection)
        w.fetch.step()


def pairs(w: World) -> list[tuple[str, ...]]:
    """Of each contact the records, by what they say of the address."""
    found: dict[int, list[str]] = {}
    for link in w.rows(t.link):
        address = w.vendors[link.connection].records[link.remote_id].fields["mail"]
        found.setdefault(link.contact_id, []).append(f"{link.connection} {address}")
    return sorted(tuple(sorted(of)) for of in found.values())


@pytest.mark.parametrize("order", ORDERS, ids=[" ".join(order) for order in ORDERS])
def test_the_pairs_are_the_same_in_every_order(database: Database, order: tuple[str, ...]) -> None:
    """One address, one contact; of whoever is only like it, a person is asked."""
    w = world(database)
    come(w, order)
    assert pairs(w) == [(f"chimp {HERS}", f"hub {HERS}"), (f"chimp {OTHER}",)]
    assert [(p.status, p.source) for p in w.rows(t.proposal)] == [("open", "record")]
    assert w.rows(t.dead) == []


@pytest.mark.parametrize("order", ORDERS, ids=[" ".join(order) for order in ORDERS])
def test_what_each_said_stays_its_own(database: Database, order: tuple[str, ...]) -> None:
    """Values that came by the pair that did not hold go back to whom they came from, on every side."""
    w = world(database)
    come(w, order)
    w.settle()
    mine = {r.fields["mail"]: r.fields for r in w.vendors["chimp"].records.values()}
    assert mine[OTHER] == {k: v for k, v in RECORDS["like"][1].items() if v is not None}
    assert mine[HERS]["road"] == ANN["road"]
    older = {c.facts["email"]["v"] for c in w.rows(t.contact) if c.id == 1}
    assert {r.fields["mail"] for r in w.vendors["hub"].records.values()} == {HERS} | older, "the older goes on"
    assert w.settle() == 0


def test_all_in_one_batch(database: Database) -> None:
    """The pair that is taken apart may be of the same batch."""
    w = world(database)
    for name in ("hub", "like", "same", "same"):
        connection, said = RECORDS[name]
        w.vendors[connection].put(
            "chimp9" if name == "same" else None, {k: v for k, v in said.items() if v is not None}
        )
    w.deliver("hub")
    w.fetch.step()
    w.settle()
    assert pairs(w) == [(f"chimp {HERS}", f"hub {HERS}"), (f"chimp {OTHER}",)]
    assert w.rows(t.dead) == []


def test_two_records_with_one_address_are_no_pair_to_take_apart(database: Database) -> None:
    """Likeness paired it, but it has the address by now: the other is a second record, as ever."""
    w = world(database)
    come(w, ("hub", "like"))
    w.settle()
    assert pairs(w) == [(f"chimp {HERS}", f"hub {HERS}")], "the pair has one address now"
    bits = {link.connection: link.likeness for link in w.rows(t.link)}
    assert bits["hub"] is None
    assert bits["chimp"] > 0, "and is still known to be one by likeness"
    w.vendors["chimp"].put(None, {k: v for k, v in RECORDS["same"][1].items() if v is not None})
    w.settle()
    assert [d.code for d in w.rows(t.dead)] == ["second_record"]
    assert len([c for c in w.rows(t.contact) if c.merged_into is None]) == 1


def test_without_it_the_order_decides(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail."""

    def never(*args: Any) -> bool:
        return False

    monkeypatch.setattr(second, "outranked", never)
    w = world(database)
    come(w, ("hub", "like", "same"))
    assert [d.code for d in w.rows(t.dead)] == ["second_record"]
