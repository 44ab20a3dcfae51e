"""Subject access: everything held about one person, nothing about anybody else, as data and as a page."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from app.commands.person import page
from app.core import tables as t
from app.core.db import Database, dumps
from app.core.errors import NotFound
from app.repair import subject
from connectors.contract import Side
from tests.world import World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
ANN = {"mail": "ann@x.org", "first": "Annabella", "last": "<script>alert(1)</script>"}
BEN = {"mail": "ben@x.org", "first": "Benedict", "last": "REFUSE"}


@pytest.fixture
def world(database: Database) -> World:
    made = World(database, TWO)
    made.vendors["hub"].put(None, ANN)
    made.vendors["hub"].put(None, BEN)
    made.settle()
    made.vendors["chimp"].put("chimp1", {"town": "Bonn"})
    made.settle()
    body = b'[{"id": "hub1", "first": "Annabella"}]'
    with database.write() as db:
        row = {"connection": "hub", "received_at": 1, "method": "POST", "path": "/webhooks/hub", "content_type": ""}
        db.execute(insert(t.delivery), [{"id": n, **row, "body": body} for n in (1, 2)])
        event: dict[str, Any] = {"connection": "hub", "kind": "contact", "action": "changed", "ref_key": "id"}
        event |= {"received_at": 1, "due_at": 1, "status": "done", "attempts": 0, "lane": 1}
        for n, (ref, delivery) in enumerate([("hub1", 1), ("hub1", 2), ("hub2", 2)]):
            db.execute(insert(t.inbox).values(**event, dedupe=f"raw {n}", ref_value=ref, delivery=delivery))
    return made


@pytest.mark.parametrize("address", ["ann@x.org", " ANN@X.org "])
def test_everything_is_there(world: World, address: str) -> None:
    """Each part, in any spelling of the address; of others nothing."""
    found = subject.everything(world.database, world.connections, address)
    (contact,) = found["contacts"]
    assert {n: f["value"] for n, f in contact["facts"].items() if n in {"given_name", "city"}} == {
        "given_name": "Annabella",
        "city": "Bonn",
    }
    assert {(link["connection"], link["remote_id"]) for link in found["link"]} == {("hub", "hub1"), ("chimp", "chimp1")}
    assert "city" in {change["field"] for change in found["history"]}
    assert {"hub1", "chimp1"} <= {event["ref_value"] for event in found["inbox"]}
    assert [("body" in one, one["id"]) for one in found["delivery"]] == [(True, 1), (False, 2)]
    assert not any(mark in dumps(found) for mark in ("Benedict", "hub2", "ben@x.org"))


def test_dead_letters_are_there(world: World) -> None:
    """What could not be processed is held too."""
    found = subject.everything(world.database, world.connections, "ben@x.org")
    assert [letter["code"] for letter in found["dead"]] == ["invalid"]


def test_of_a_stranger_there_is_nothing(world: World) -> None:
    """An address that is not known: every part is there, and empty."""
    found = subject.everything(world.database, world.connections, "nobody@x.org")
    assert {name for name, rows in found.items() if rows} == {"addresses"}


def test_an_address_of_several_people_names_nobody(world: World) -> None:
    """A further address that two people share: each has to be named by their own."""
    with world.database.write() as db:
        ids = [c.id for c in world.rows(t.contact)]
        rows = [{"key": "email", "value": "info@x.org", "contact_id": i, "strong": 0} for i in ids]
        db.execute(insert(t.contact_key), rows)
    with pytest.raises(NotFound, match="2 people"):
        subject.everything(world.database, world.connections, "info@x.org")


def test_the_page_is_readable_and_runs_nothing(world: World) -> None:
    """Values are escaped; each part has its heading."""
    text = page(subject.everything(world.database, world.connections, "ann@x.org"))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "Annabella (from hub, " in text
    assert text.count("<h2>") == 16
