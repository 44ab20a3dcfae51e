"""Answers that are not whole, over the wire: simulators cut their lists and hide their fields, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.core import tables as t
from app.main import Tandem
from app.ops.drift import RunShown, drift_of, run_shown
from app.records import alarms, suspended
from app.repair import runs
from app.repair.schema import Describe
from sandbox.serve import Sandbox
from tests import sandboxed, test_erasure_sandbox
from tests.test_erasure_sandbox import settle

running, sandbox, hs, mc, members = (
    sandboxed.running,
    sandboxed.sandbox,
    sandboxed.hs,
    sandboxed.mc,
    sandboxed.members,
)
tandem = test_erasure_sandbox.tandem

PEOPLE = 30


def compare(tandem: Tandem, name: str, *, repair: bool = False) -> RunShown:
    tandem.reconcile.recent_ms = tandem.reconcile.patience_ms = 0
    number = tandem.database.transact(lambda db: runs.start(db, tandem.connections, name, repair=repair))[0]
    for _ in range(100):
        tandem.reconcile.step()
        with tandem.database.read() as db:
            run = run_shown(runs.one(db, number))
        if run.status != "running":
            return run
        if run.phase == runs.AGAIN:
            settle(tandem)
            with tandem.database.write() as db:
                plan = {**runs.one(db, number)["params"], "wait_until": 0}
                db.execute(update(t.run).where(t.run.c.id == number).values(params=plan))
    raise AssertionError("it does not end")


@pytest.fixture
def people(hs: httpx.Client, mc: httpx.Client, tandem: Tandem, members: str) -> Callable[[], dict[str, Any]]:
    """So many people at both vendors, in step; how Mailchimp shows them."""
    inputs = [{"properties": {"email": f"p{n}@example.org", "firstname": f"Ann{n}"}} for n in range(PEOPLE)]
    hs.post(f"{sandboxed.CONTACTS}/batch/create", json={"inputs": inputs})
    settle(tandem)
    settle(tandem)

    def shown() -> dict[str, Any]:
        rows = mc.get(members, params={"count": 1000}).json()["members"]
        return {row["email_address"]: row["merge_fields"]["FNAME"] for row in rows}

    assert len(shown()) == PEOPLE
    return shown


def kinds(tandem: Tandem) -> set[str]:
    with tandem.database.read() as db:
        return {row["kind"] for row in alarms.listed(db)}


@pytest.mark.parametrize(("name", "path"), [("hubspot", "objects/contacts$"), ("mailchimp", "members$")])
def test_half_a_list_deletes_nobody(
    hs: httpx.Client, mc: httpx.Client, tandem: Tandem, people: Callable[[], dict[str, Any]], name: str, path: str
) -> None:
    """Both vendors' lists, cut in half: an alarm, nobody missing, nobody gone, and whole again all is in step."""
    assert compare(tandem, name).doubt is None
    before = people()
    client = hs if name == "hubspot" else mc
    fault = client.post("/_sandbox/faults", json={"kind": "cut_list", "match": path, "method": "GET"})
    assert fault.status_code == 201
    run = compare(tandem, name, repair=True)
    assert run.doubt is not None
    assert (run.missing, run.repaired) == (0, 0)
    assert "read" in kinds(tandem)
    with tandem.database.read() as db:
        assert all(row.gone_at is None for row in db.execute(t.link.select()))
        assert all(one.missing == 0 for one in drift_of(db, tandem.connections))
    client.delete("/_sandbox/faults")
    assert people() == before
    assert compare(tandem, name).doubt is None
    assert "read" not in kinds(tandem)


def test_a_field_that_hubspot_hides_is_not_cleared(
    hs: httpx.Client, tandem: Tandem, people: Callable[[], dict[str, Any]], sandbox: Sandbox
) -> None:
    """One contact is edited while the key may not see first names: Mailchimp keeps them all, also after a compare."""
    before = people()
    hs.post("/_sandbox/faults", json={"kind": "hide_field", "field": "firstname"})
    found = hs.get(sandboxed.CONTACTS, params={"limit": 5, "properties": "firstname"}).json()["results"]
    assert [row["properties"]["firstname"] for row in found] == [None] * 5
    hs.patch(f"{sandboxed.CONTACTS}/{found[0]['id']}", json={"properties": {"lastname": "Lee"}})
    settle(tandem)
    assert people() == before
    compare(tandem, "hubspot", repair=True)
    settle(tandem)
    assert people() == before
    assert "field" in kinds(tandem)
    with tandem.database.read() as db:
        assert [row.field for row in db.execute(t.suspended.select())] == ["firstname"]


def test_a_fetch_that_asks_nobody_is_caught(
    monkeypatch: pytest.MonkeyPatch,
    hs: httpx.Client,
    tandem: Tandem,
    people: Callable[[], dict[str, Any]],
    sandbox: Sandbox,
) -> None:
    """Saboteur: the guard before clearing, left out."""
    monkeypatch.setattr("app.sync.hiding.Guard.look", lambda *_: [])
    monkeypatch.setattr("app.repair.verified.hidden", lambda *_: {})
    with pytest.raises(AssertionError):
        test_a_field_that_hubspot_hides_is_not_cleared(hs, tandem, people, sandbox)


def test_both_vendors_are_asked_for_their_fields(
    hs: httpx.Client, tandem: Tandem, people: Callable[[], dict[str, Any]], sandbox: Sandbox
) -> None:
    """Nothing to say while they stay; a merge field that is deleted is suspended, and back with the field."""
    describe = Describe(tandem.database, tandem.connections)

    def look() -> list[tuple[str, str]]:
        with tandem.database.write() as db:
            db.execute(update(t.described).values(due_at=0))
        assert [describe.step() for _ in range(3)] == [1, 1, 0]
        with tandem.database.read() as db:
            assert {row["subject"] for row in alarms.listed(db)} == {f for _, f in _suspended(db)}
            return _suspended(db)

    assert look() == []
    assert look() == []
    schema = sandbox.mailchimp.audience.schema
    field = schema.pop("FNAME")
    assert look() == [("mailchimp", "merge_fields.FNAME")]
    assert "given_name" not in tandem.connections["mailchimp"].map.out_fields
    schema["FNAME"] = field
    assert look() == []
    assert "given_name" in tandem.connections["mailchimp"].map.out_fields


def _suspended(db: Any) -> list[tuple[str, str]]:
    return [(row["connection"], row["field"]) for row in suspended.listed(db)]
