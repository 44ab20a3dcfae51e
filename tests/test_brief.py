"""The brief: what is in it for a hand-worked period, how it compares with the last one, how it is written."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from app.agreement import pages
from app.agreement.briefing import Body, brief
from app.agreement.leads import Known
from app.core import tables as t
from app.core.db import Database
from app.records import briefs
from tests.agreed import DAY, put_in_force
from tests.apihelp import Api, add_contacts

START = 1_790_000_000_000
END = START + 28 * DAY
CLOCK = {
    "name": "first_touch",
    "round": 1,
    "version": "v",
    "calendar": "office",
    "elapsed": 0,
    "target": 1,
    "paused": 0,
}


@pytest.fixture
def api(database: Database) -> Api:
    """Three contacts; what happened to them in two periods."""
    made = Api(database)
    add_contacts(database, *({"values": {"email": f"p{n}@example.org"}} for n in range(3)))
    put_in_force(database, made.connections)
    with database.write() as db:
        for at, count in ((START + DAY, 2), (END + DAY, 1)):
            for contact in range(1, count + 1):
                step = {"contact_id": contact, "what": "stage", "after": "mql", "why": "w", "version": "v"}
                db.execute(insert(t.lead_step).values(**step, at=at, stored_at=at))
        due = (("met", None), ("met", None), ("breached", START + 2 * DAY), ("met_late", START + 2 * DAY))
        for n, (state, late) in enumerate(due):
            row = {**CLOCK, "contact_id": 1, "started_at": START + n, "state": state, "owner": "kim@example.org"}
            ended = None if state == "breached" else END
            when = {"due_at": START + 2 * DAY, "rank_at": START + 2 * DAY, "breached_at": late, "ended_at": ended}
            db.execute(insert(t.clock).values(**row, **when))
        said = {"contact_id": 1, "at": START + DAY, "received_at": START, "source": "hub"}
        for word, value, reason, finding in (
            ("stage", "client|x", None, "refused"),
            ("stage", "client|x", None, "refused"),
            ("reject", None, "no_need", "taken"),
        ):
            db.execute(insert(t.disposition).values(**said, word=word, value=value, reason=reason, finding=finding))
        for n, (currency, campaign) in enumerate((("EUR", "spring"), ("EUR", "spring"), ("USD", None)), 1):
            deal = {"version": 1, "facts": {}, "status": "won", "amount": "100.50", "currency": currency}
            db.execute(
                insert(t.deal).values(**deal, id=n, created_at=START, closed_at=START + 5 * DAY, updated_at=START)
            )
            tie = {"connection": "hub", "kind": "deal", "object_id": n, "contact_id": n, "since": START}
            db.execute(insert(t.belonging).values(**tie, remote_id=str(n), who=str(n)))
            for k, name in enumerate((campaign, "late one")):
                act = {"connection": "hub", "remote_id": f"{n}{k}", "contact_id": n, "who_key": "id", "who": str(n)}
                at = START + DAY if k == 0 else START + 9 * DAY
                db.execute(insert(t.engagement).values(**act, kind="click", campaign=name, at=at, received_at=START))
    return made


def rows(body: Body, name: str) -> list[list[Any]]:
    (section,) = [s for s in body["sections"] if s["name"] == name]
    found: list[list[Any]] = section["rows"]
    return found


def test_the_figures_of_a_period(api: Api) -> None:
    """Counted by hand; a second one has them beside its own, and a line that is gone is 0."""
    with api.database.write() as db:
        versions = Known().versions(db).versions
        first = brief(db, versions, START, END)
        briefs.keep(db, START, END, "Kim", first, END)
        second = brief(db, versions, END, END + 28 * DAY)
    assert rows(first, "moved") == [["came to mql", 2]]
    assert rows(first, "sales") == [["first_touch", 2, 2, "50%", "15% to 85%"]]
    assert rows(first, "late") == [["kim@example.org", 2]]
    assert rows(first, "claims") == [["hub: stage client|x", 2, "refused"]]
    assert rows(first, "back") == [["no_need", 1, "Spoke to them and they have no need now"]]
    assert rows(first, "wins") == [["spring (EUR)", 2, "201.00"], ["no campaign (USD)", 1, "100.50"]]
    assert any("'client|x'" in q for q in first["questions"])
    assert (first["since"], second["since"]) == (None, second["start"])
    assert rows(second, "moved") == [["came to mql", 1, 2]]
    assert rows(second, "wins") == [["spring (EUR)", 0, 2, None], ["no campaign (USD)", 0, 1, None]]


def test_it_is_written_for_people(api: Api) -> None:
    """What a vendor says breaks neither the table nor the page."""
    with api.database.read() as db:
        body = brief(db, Known().versions(db).versions, START, END)
    text = pages.markdown(body)
    assert "| hub: stage client\\|x | 2 | refused |" in text
    body["sections"][0]["empty"] = "<script>"
    page = pages.html(body)
    assert "<script>" not in page
    assert "@media print" in page


def test_the_api_makes_keeps_and_lists_it(api: Api) -> None:
    """A period that ends before it starts is refused."""
    got = api("GET", "/brief?form=html")
    assert (got.status_code, got.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert api("GET", "/brief?form=markdown").text.startswith("# Sales and marketing")
    assert api("GET", "/brief?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z").status_code == 422
    asked = {"by": "Kim", "since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}
    assert api("POST", "/brief", json=asked).json()["end"] == "2026-01-31"
    (kept,) = api.get("/briefs")["items"]
    assert kept["by"] == "Kim"
    assert api.get(f"/briefs/{kept['id']}")["start"] == "2026-01-01"
    assert api("GET", "/briefs/999").status_code == 404
