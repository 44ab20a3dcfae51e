"""The commands and endpoints about one person's data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core import tables as t
from app.core.db import Database
from app.records import tombstones
from tests.apihelp import Api, new_database


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
