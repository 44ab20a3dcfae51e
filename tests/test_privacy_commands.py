"""The commands and endpoints about one person's data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core import tables as t
from app.core.db import Database
from app.records import tombstones
from tests.apihelp import Api, add, add_contacts, new_database
from tests.test_cli import Shell, shell, store

__all__ = ["shell", "store"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    yield from new_database(tmp_path)


def bury(database: Database, count: int) -> None:
    with database.write() as db:
        for n in range(count):
            tombstones.bury(
                db, reason="deleted", actor="hub", now=n, key_hash=f"{n}", connection="hub", remote_id=str(n)
            )


def test_tombstones_are_listed_page_by_page(database: Database) -> None:
    """The newest first, each once, without the hash."""
    bury(database, 5)
    api = Api(database)
    page, found = api.get("/ops/tombstones?limit=2"), []
    while True:
        found += page["items"]
        if page["next"] is None:
            break
        page = api.get(f"/ops/tombstones?limit=2&after={page['next']}")
    assert [one["remote_id"] for one in found] == ["4", "3", "2", "1", "0"]
    assert all("key_hash" not in one for one in found)


@pytest.mark.parametrize(
    ("number", "body", "status"),
    [(1, {"by": "Kim"}, 200), (9, {"by": "Kim"}, 404), (1, {"by": "  "}, 422), (1, {}, 422), (1, {"who": "Kim"}, 422)],
)
def test_lifting_takes_a_name(database: Database, number: int, body: dict[str, str], status: int) -> None:
    """A tombstone that is there, and somebody who says who they are; a second time is a conflict."""
    bury(database, 1)
    api = Api(database)
    answer = api("POST", f"/ops/tombstones/{number}/lift", json=body)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert (answer.json()["lifted_by"], answer.json()["lifted_at"] is not None) == ("Kim", True)
        assert api("POST", f"/ops/tombstones/{number}/lift", json=body).status_code == 409
    with database.read() as db:
        assert db.execute(t.tombstone.select()).one().lifted_by == ("Kim" if status == 200 else None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"address": "p1@example.com", "by": "Kim"}, 202),
        ({"address": "nobody@example.com", "by": "Kim"}, 202),
        ({"address": "nobody", "by": "Kim"}, 422),
        ({"address": "p1@example.com"}, 422),
        ({"address": "p1@example.com", "by": ""}, 422),
    ],
)
def test_an_erasure_is_asked_for(database: Database, body: dict[str, str], status: int) -> None:
    """By an address and a name; asked twice it is one, and no answer repeats the address."""
    api = Api(database)
    answer = api("POST", "/erasures", json=body)
    assert answer.status_code == status, answer.text
    assert body["address"] not in answer.text
    if status == 202:
        again = api("POST", "/erasures", json={**body, "by": "Lou"}).json()
        assert (again["id"], again["by"], again["status"]) == (answer.json()["id"], "Kim", "calling")
        assert api.get(f"/erasures/{again['id']}") == again
    assert api("GET", "/erasures/99").status_code == 404


def test_commands(shell: Shell, store: Database) -> None:
    """List, lift, erase, look, export; each asks for a name where it is kept, and for a yes where it is final."""
    assert shell.json("tombstone", "list") == []
    number = shell.json("erase", "somebody@example.org", "--by", "Kim", "--yes")["erasure"]
    shell("erase", "somebody@example.org", "--yes", code=2)
    shell("erase", "somebody", "--by", "Kim", "--yes", code=2)
    shell("erase", "somebody@example.org", "--by", "Kim", code=1)  # nobody says yes
    shown = json.loads(shell("erasure", str(number)))
    assert (shown["by"], shown["status"], shown["proof"]) == ("Kim", "calling", None)
    shell("erasure", "99", code=2)
    assert shell.json("tombstone", "list", "--address", "other@example.org") == []
    (stone,) = shell.json("tombstone", "list", "--address", "Somebody@example.org")
    assert shell.json("tombstone", "list") == [stone]
    assert (stone["reason"], stone["actor"]) == ("erased", "Kim")
    shell("tombstone", "lift", str(stone["id"]), "--by", " ", code=2)
    assert shell.json("tombstone", "lift", str(stone["id"]), "--by", "Lou")["lifted"] is True
    shell("tombstone", "lift", str(stone["id"]), "--by", "Lou", code=1)
    shell("tombstone", "lift", "99", "--by", "Lou", code=2)


def test_a_person_is_exported(shell: Shell, store: Database) -> None:
    """As JSON on stdout, or as a page that only its owner may read."""
    (number,) = add_contacts(store, {"values": {"email": "ann@example.org"}})
    add(store, t.contact_key, {"key": "email", "value": "ann@example.org", "contact_id": number, "strong": 1})
    found = json.loads(shell("export-person", "ann@example.org"))
    assert len(found["contacts"]) == 1
    assert shell("export-person", "ann@example.org", "--html", "ann.html") == ""
    assert "ann@example.org" in Path("ann.html").read_text(encoding="utf-8")
    assert Path("ann.html").stat().st_mode & 0o777 == 0o600
    shell("export-person", "ann", code=2)
