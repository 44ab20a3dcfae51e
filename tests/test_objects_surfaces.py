"""What stands around contacts as people ask for it: the API and the commands."""

from __future__ import annotations

from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.push import readable
from tests.apihelp import Api, add, add_contacts
from tests.test_cli import Shell, shell, store

__all__ = ["shell", "store"]

ANN = {"email": "ann@example.org", "given_name": "Ann"}
ACT = {
    "connection": "mailchimp",
    "who_key": "id",
    "who": "abc",
    "kind": "click",
    "received_at": 1,
    "campaign": "Spring",
}


def filled(database: Database) -> tuple[int, int]:
    """Ann, and Bea who was merged into her; a company, a won deal, three acts, a colleague; Ann's and Bea's numbers."""
    ann, bea = add_contacts(database, {"values": ANN}, {"values": {"email": "bea@example.org"}})
    with database.write() as db:
        db.execute(t.contact.update().where(t.contact.c.id == bea).values(merged_into=ann))
    key = {"key": "email", "value": "ann@example.org", "contact_id": ann, "strong": 1}
    add(database, t.contact_key, key)
    fact = {"v": "Acme", "s": "hubspot", "t": 1_000, "r": "newest", "e": None}
    stamps = {"version": 1, "facts": {"name": fact}, "created_at": 1_000, "updated_at": 2_000}
    (company,) = add(database, t.company, {**stamps, "domain": "acme.example"})
    won = {"status": "won", "stage": "closed", "amount": "1200.5", "currency": "EUR", "closed_at": 3_000}
    (deal,) = add(database, t.deal, {**stamps, **won, "company_id": company})
    add(database, t.deal, {**stamps, "status": "open"})
    add(database, t.deal_step, *({"deal_id": deal, "at": n, "status": s} for n, s in ((1_000, "open"), (3_000, "won"))))
    said = {"connection": "hubspot", "who": "101", "contact_id": ann, "since": 1, "main": 1}
    for kind, number in (("company", company), ("deal", deal)):
        add(database, t.belonging, {**said, "kind": kind, "remote_id": "9", "object_id": number})
    record = {"connection": "hubspot", "kind": "company", "remote_id": "9", "object_id": company, "shadow": {}}
    add(database, t.object_link, {**record, "seen_at": 1})
    acts = ({"at": n * 1_000, "remote_id": f"a{n}", "contact_id": ann} for n in range(1, 4))
    add(database, t.engagement, *({**ACT, **a} for a in acts))
    add(database, t.colleague, {"connection": "hubspot", "remote_id": "7", "email": "kim@us.example", "seen_at": 1})
    failing = {"failing_since": 5_000, "failure": "scope missing"}
    add(database, t.survey, {"connection": "hubspot", "kind": "deal", "due_at": 9_000, **failing})
    return ann, bea


def test_the_api_shows_it(store: Database) -> None:
    """Companies by domain, deals by status, with people, history and records; each list in pages."""
    api = Api(store)
    ann, bea = filled(store)
    (company,) = api.get("/companies", domain="ACME.example")["items"]
    assert (company["values"], company["domain"]) == ({"name": "Acme"}, "acme.example")
    assert api.get("/companies", domain="other.example")["items"] == []
    shown = api.get(f"/companies/{company['id']}")
    assert shown["people"] == [{"contact": ann, "main": True, "role": None, "connection": "hubspot"}]
    assert [r["remote_id"] for r in shown["records"]] == ["9"]
    (deal,) = api.get("/deals", status="won")["items"]
    assert shown["deals"] == [deal["id"]]
    assert (deal["amount"], deal["currency"], deal["company"]) == ("1200.5", "EUR", company["id"])
    assert [s["status"] for s in api.get(f"/deals/{deal['id']}")["steps"]] == ["open", "won"]
    assert [len(page) for page in api.walk("/deals", 1)] == [1, 1]
    for who in (ann, bea):
        pages = api.walk("/engagements", 2, contact=who)
        assert [e["line"] for page in pages for e in page] == ["Clicked in a mail: campaign Spring"] * 3
        assert [e["at"][17:19] for page in pages for e in page] == ["03", "02", "01"]
    assert [c["email"] for c in api.get("/colleagues")["items"]] == ["kim@us.example"]
    (so_far,) = api.get("/ops/rounds")
    assert (so_far["kind"], so_far["failure"], so_far["walked_at"]) == ("deal", "scope missing", None)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/companies/99", 404), ("/deals/99", 404), ("/engagements?contact=99", 404), ("/engagements", 422)],
)
def test_what_is_not_there_is_said(store: Database, path: str, status: int) -> None:
    """And a list of acts needs to be told whose."""
    Api(store).get(path, status)


def test_the_commands_show_it(shell: Shell, store: Database) -> None:
    """In a line each, and as JSON."""
    assert "no company" in shell("companies")
    filled(store)
    assert "Clicked in a mail: campaign Spring" in shell("timeline", "ann@example.org")
    assert len(shell.json("timeline", "ann@example.org", "--limit", "2")) == 2
    assert "acme.example" in shell("companies", "--domain", "acme.example")
    (deal,) = shell.json("deals", "--status", "won")
    assert deal["amount"] == "1200.5"
    assert "1200.5" in shell("deals")
    assert "scope missing" in shell("rounds")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"kind": "open", "human": 0}, "Opened a mail: campaign Spring, by a machine, not the person"),
        (
            {"kind": "click", "variant": "B", "detail": {"url": "https://x.example"}},
            "Clicked in a mail: campaign Spring (variant B), https://x.example",
        ),
        ({"kind": "call", "campaign": None, "outcome": "no_answer"}, "Call: no answer"),
        (
            {"kind": "meeting", "campaign": None, "outcome": "held", "detail": {"title": " A\n demo "}},
            "Meeting: held, A demo",
        ),
        ({"kind": "note", "campaign": None}, "Note"),
        ({"kind": "somersault", "campaign": None}, "somersault"),
    ],
)
def test_a_line_is_readable(said: dict[str, Any], line: str) -> None:
    """Whatever is missing leaves no gap."""
    act = {**ACT, "variant": None, "outcome": None, "detail": None, "human": None, **said}
    assert readable.line(act) == line
    assert len(readable.entry({**act, "detail": {"title": "x" * 900}})) == readable.LONGEST
