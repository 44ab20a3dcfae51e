"""Odoo's simulator over real sockets: what it answers, what it refuses, what it tells by webhook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import odoorpc
import pytest

from sandbox.control import BadEdit
from sandbox.odoo import DATABASE, KEY, LOGIN, SECRET, OdooSim, fill
from sandbox.odoo_store import BLACKLIST, LEAD, PARTNER
from sandbox.people import people
from sandbox.serve import Sandbox
from tests.sandboxed import PLAIN, Receiver


@pytest.fixture
def sim() -> OdooSim:
    return OdooSim()


@pytest.fixture
def sandbox(sim: OdooSim) -> Iterator[Sandbox]:
    with Sandbox(odoo=sim) as running:
        yield running


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[httpx.Client]:
    headers = {"authorization": f"bearer {KEY}"}
    with httpx.Client(base_url=f"{sandbox.url('odoo')}/json/2", headers=headers, verify=PLAIN) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def ask(api: httpx.Client, method: str, **named: Any) -> Any:
    return api.post(method, json=named).raise_for_status().json()


def test_the_vendors_words_from_another_client(sandbox: Sandbox) -> None:
    """OdooRPC, written by others for the real thing, logs in, makes, finds, reads, changes and deletes."""
    odoo = odoorpc.ODOO("127.0.0.1", port=urlsplit(sandbox.url("odoo")).port, timeout=20)
    with pytest.raises(odoorpc.error.RPCError):
        odoo.login(DATABASE, LOGIN, "wrong")
    odoo.login(DATABASE, LOGIN, KEY)
    partners = odoo.env[PARTNER]
    id_ = partners.create({"name": "Ada Lovelace", "email": "Ada <Ada@one.example>", "country_id": 231})
    assert partners.search([("email_normalized", "=", "ada@one.example")]) == [id_]
    ada = partners.browse(id_)
    assert (ada.name, ada.email_normalized, ada.phone) == ("Ada Lovelace", "ada@one.example", False)
    partners.write([id_], {"function": "Countess"})
    (row,) = partners.read([id_], ["function", "country_id"])
    assert row == {"id": id_, "function": "Countess", "country_id": [231, "United Kingdom"]}
    with pytest.raises(odoorpc.error.RPCError, match="does not exist"):
        partners.write([999], {"function": "x"})
    with pytest.raises(odoorpc.error.RPCError, match="require a name"):
        partners.write([id_], {"name": False})
    partners.unlink([id_])
    assert partners.search([]) == []
    odoo._connector.proxy_json._opener.close()


@pytest.mark.parametrize(
    ("method", "named", "status", "name"),
    [
        ("res.partner/search_read", {"domain": [], "limits": 5}, 422, "UnprocessableEntity"),  # a wrong name
        ("res.partner/search_read", {"domain": [["mail", "=", "x"]]}, 500, "ValueError"),
        ("res.partner/search_read", {"fields": ["mobile"]}, 500, "ValueError"),
        ("res.partner/write", {"ids": [999], "vals": {}}, 404, "MissingError"),
        ("res.partner/create", {"vals_list": [{"email": "a@b.example"}]}, 422, "ValidationError"),
        ("res.partner/create", {"vals_list": [{"name": "A", "lang": "xx"}]}, 500, "ValueError"),
        ("res.partner/nothing", {}, 404, "NotFound"),
        ("no.model/read", {"ids": [1]}, 404, "NotFound"),
    ],
)
def test_mistakes_are_refused(api: httpx.Client, method: str, named: dict[str, Any], status: int, name: str) -> None:
    """So that a connector that says something wrong does not pass here."""
    answer = api.post(method, json=named)
    assert (answer.status_code, answer.json()["name"].rpartition(".")[2]) == (status, name)


def test_the_key_is_looked_at(api: httpx.Client, sandbox: Sandbox, sim: OdooSim) -> None:
    """None, another one, another database; a body that is not said to be JSON."""
    method = f"{sandbox.url('odoo')}/json/2/res.partner/search_count"
    for headers in ({}, {"authorization": "bearer no"}, {"authorization": f"basic {KEY}"}):
        assert httpx.post(method, json={}, headers=headers, verify=PLAIN).status_code == 401
    assert api.post("res.partner/search_count", json={}, headers={"x-odoo-database": "other"}).status_code == 404
    assert api.post("res.partner/search_count", content=b"{}").status_code == 415
    sim.store.hidden.add(BLACKLIST)
    assert api.post(f"{BLACKLIST}/search_read", json={}).status_code == 403


def test_archived_rows_are_hidden_unless_asked_for(api: httpx.Client) -> None:
    """By the context, or by a condition on it."""
    ask(api, f"{PARTNER}/create", vals_list=[{"name": "A", "active": False}, {"name": "B"}])
    assert ask(api, f"{PARTNER}/search_count") == 1
    assert ask(api, f"{PARTNER}/search_count", context={"active_test": False}) == 2
    assert ask(api, f"{PARTNER}/search_count", domain=[["active", "in", [True, False]]]) == 2


def test_the_blacklist_is_by_address(api: httpx.Client) -> None:
    """An address that is there is answered with its entry, which a create does not switch on again."""
    ask(api, f"{PARTNER}/create", vals_list=[{"name": n, "email": "Ada@one.example"} for n in "AB"])
    (entry,) = ask(api, f"{BLACKLIST}/create", vals_list=[{"email": "ADA@one.example", "active": True}])

    def marks() -> list[bool]:
        return [r["is_blacklisted"] for r in ask(api, f"{PARTNER}/search_read", fields=["is_blacklisted"])]

    assert marks() == [True, True]
    ask(api, f"{BLACKLIST}/write", ids=[entry], vals={"active": False})
    assert ask(api, f"{BLACKLIST}/create", vals_list=[{"email": "ada@one.example"}]) == [entry]
    assert marks() == [False, False]


def test_load_knows_external_ids_and_rejects_all_for_one(api: httpx.Client) -> None:
    """Known ones are changed, unknown ones made; one bad row makes nothing."""
    fields = ["id", "name", "country_id/.id", "lang"]
    said = ask(api, f"{PARTNER}/load", fields=fields, data=[["t.a", "A", "56", "en_US"], ["t.b", "B", "75", "en_US"]])
    again = ask(api, f"{PARTNER}/load", fields=fields, data=[["t.a", "A2", "56", "English (US)"]])
    assert again["ids"] == said["ids"][:1]
    for bad in (["t.d", "D", "99999", "en_US"], ["t.d", "D", "56", "xx"], ["t.d", "", "56", "en_US"]):
        refused = ask(api, f"{PARTNER}/load", fields=fields, data=[["t.c", "C", "56", "en_US"], bad])
        assert (refused["ids"], [m["record"] for m in refused["messages"]]) == (False, [1])
    assert [r["name"] for r in ask(api, f"{PARTNER}/search_read", fields=["name"])] == ["A2", "B"]


def test_a_rule_posts_each_record_once(api: httpx.Client, sandbox: Sandbox, sim: OdooSim, receiver: Receiver) -> None:
    """Keys sorted, times with microseconds, the secret in the URL and nothing signed; no answer is asked again."""
    receiver.answers = [500]
    sandbox.call(lambda: sim.deliver_to(receiver.url))
    (id_,) = ask(api, f"{PARTNER}/create", vals_list=[{"name": "A", "email": "a@b.example"}])
    first = receiver.inbox.get(timeout=10)
    ask(api, f"{BLACKLIST}/create", vals_list=[{"email": "a@b.example", "active": True}])
    second = receiver.inbox.get(timeout=10)
    ask(api, f"{PARTNER}/unlink", ids=[id_])
    third = receiver.inbox.get(timeout=10)
    body = json.loads(first.body)
    assert list(body) == sorted(body)
    assert (body["_model"], body["_id"], body["email"], body["is_blacklisted"]) == (PARTNER, id_, "a@b.example", False)
    assert len(body["write_date"]) == len("2026-01-02 03:04:05.678901")
    assert urlsplit(first.url).query == f"secret={SECRET}"
    assert json.loads(second.body)["_model"] == BLACKLIST
    assert urlsplit(third.url).query == f"secret={SECRET}&event=deleted"
    assert sim.webhooks.state()["failed"] == 1, "it was tried again"


def test_a_crowd_and_what_people_do_with_it(sandbox: Sandbox, sim: OdooSim) -> None:
    """Filled without a word to anybody; edits by a person, a merge that leaves no trace of the lost id."""
    sandbox.call(lambda: fill(sim, [p for p, _ in people(30, seed=1) if p is not None]))
    assert sim.webhooks.state()["pending"] == 0
    rows, after = sim.records(0, 5)
    assert (len(rows), after) == (5, 5)
    first, second = (row["id"] for row in rows[:2])
    edit = httpx.Client(base_url=f"{sandbox.url('odoo')}/_sandbox", verify=PLAIN)
    with edit:
        assert edit.post("edit", json={"id": first, "fields": {"city": "Bonn"}}).json()["city"] == "Bonn"
        shown = edit.post("edit", json={"action": "merge", "id": first, "loser": second}).json()
        assert (shown["id"], shown["city"]) == (first, "Bonn")
        assert edit.post("edit", json={"action": "blacklist", "email": "a@b.example"}).json()["email"] == "a@b.example"
        for wrong in ({"action": "dance"}, {"id": second, "fields": {}}, {"id": first, "fields": {"mail": "x"}}):
            assert edit.post("edit", json=wrong).status_code == 400
    assert second not in sim.store.tables[PARTNER]


def test_a_person_makes_an_opportunity_and_loses_it() -> None:
    """By the sandbox's own edits: archived, without a chance, with the day on which it closed."""
    sim = OdooSim(clock=lambda: 1_800_000_000.0)
    made = sim.edit({"action": "create", "model": LEAD, "fields": {"name": "Big"}})
    assert made["won_status"] == "pending"
    lost = sim.edit({"model": LEAD, "id": made["id"], "fields": {"active": False, "lost_reason_id": 1}})
    assert (lost["won_status"], lost["probability"], lost["date_closed"]) == ("lost", 0.0, "2027-01-15 08:00:00")
    assert lost["lost_reason_id"] == [1, "Too expensive"]
    with pytest.raises(BadEdit, match="model"):
        sim.edit({"model": "sale.order"})
