"""The plan, its approval and the first reading as people and programs see them: API, command line, report."""

from __future__ import annotations

import html.parser
import json
import stat
from pathlib import Path

import pytest

from app.core import tables as t
from app.core.db import Database
from connectors.contract import Side
from tests.apihelp import Api, add, rows_of
from tests.test_cli import Shell, shell, store
from tests.test_people_commands import ann
from tests.test_plan_apply import mixed
from tests.test_trust import world
from tests.world import World

__all__ = ["shell", "store"]


# --- API --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_the_plan_is_listed_page_by_page(database: Database, limit: int) -> None:
    """Each line once, in the order of contacts, whatever the size of a page; old and new said."""
    w = world(database)
    mixed(w)
    api = Api(database, w.connections)
    rows = [row for page in api.walk("/ops/plan", limit, connection="chimp") for row in page]
    assert [row["what"] for row in rows] == ["update", "update", "create", "create", "create", "reject"]
    assert [row["contact_id"] for row in rows] == sorted(row["contact_id"] for row in rows)
    shown = {field["field"]: (field["old"], field["new"]) for field in rows[0]["changes"]}
    assert shown == {"given_name": ("Ann", "Eve"), "job_title": (None, "Cook")}
    assert rows[-1]["code"] == "incomplete"


def test_the_plan_in_figures(database: Database) -> None:
    """One connection or all; nothing is written; an unknown one is 404."""
    w = world(database)
    mixed(w)
    api = Api(database, w.connections)
    (chimp,) = api.post("/ops/plan", {"connection": "chimp"}, 200)["items"]
    assert (chimp["creates"], chimp["updates"], chimp["withdrawals"], chimp["mode"]) == (3, 2, 1, "observe")
    assert chimp["rejects"] == [
        {"code": "incomplete", "reason": "the vendor takes no record without email", "count": 1}
    ]
    assert [one["connection"] for one in api.post("/ops/plan", None, 200)["items"]] == ["chimp", "hub"]
    api.post("/ops/plan", {"connection": "nobody"}, 404)
    assert w.vendors["chimp"].calls == []


def test_the_first_reading_is_shown(database: Database) -> None:
    """From waiting to done: records, their total, and when it was through."""
    w = World(database, {"hub": Side.CRM, "chimp": Side.MARKETING}, first_read=False)
    api = Api(database, w.connections)
    for i in range(12):
        w.vendors["hub"].put(None, {"mail": f"p{i}@x.org"})
    w.vendors["hub"].events.clear()
    assert {one["state"] for one in api.get("/ops/backfill")["items"]} == {"waiting"}
    while w.poll.step() != 5:
        pass
    (hub,) = api.get("/ops/backfill", connection="hub")["items"]
    assert (hub["state"], hub["read"], hub["total"]) == ("reading", 5, 12)
    assert hub["rate"] > 0
    assert hub["ends_at"] is not None
    w.start()  # a new process goes on where the old one was
    w.walk()
    (hub,) = api.get("/ops/backfill", connection="hub")["items"]
    assert (hub["state"], hub["pending"]) == ("storing", 12)
    w.settle()
    assert {one["state"] for one in api.get("/ops/backfill")["items"]} == {"done"}


# --- command line -----------------------------------------------------------------------------------------------------


def read_once(database: Database) -> None:
    rows = [{"name": name, "next_at": 0, "poll_due_at": 0} for name in ("hubspot", "mailchimp")]
    with database.write() as db:
        db.execute(t.connection_state.delete())
    add(database, t.connection_state, *({**row, "walk_read": 1, "walked_at": 1, "first_read_at": 1} for row in rows))


class Page(html.parser.HTMLParser):
    """What a report has in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_plan_prints_figures_and_examples(shell: Shell, store: Database) -> None:
    """The text, the JSON lines and the report say the same; the files are their owner's alone."""
    read_once(store)
    number = ann(store)
    text = shell("plan")
    assert "city" in text
    assert "Ulm" in text
    lines = [json.loads(line) for line in shell("plan", "--connection", "hubspot", "--json").splitlines()]
    assert (lines[0]["what"], lines[0]["updates"], lines[0]["fields"]) == ("summary", 1, {"city": 1})
    assert [(line["contact"], line["what"], line["changes"]) for line in lines[1:]] == [
        (number, "update", [["city", "Ulm", "Bonn"]])
    ]
    shell("plan", "--html", "plan.html", "--out", "all.plan")
    for name in ("plan.html", "all.plan"):
        assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    page = Page(Path("plan.html").read_text(encoding="utf-8"))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    assert tags.count("caption") == tags.count("table") >= 2
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    assert not [
        tag for tag, attrs in page.tags if tag in {"script", "link", "img"} or "src" in attrs or "href" in attrs
    ]


def test_values_are_never_markup(shell: Shell, store: Database) -> None:
    """A name with tags in it is shown as it is."""
    read_once(store)
    ann(store)
    with store.write() as db:
        facts = {**rows_of(store, t.contact)[0]["facts"]}
        facts["city"] = {**facts["city"], "v": "<b>Bonn</b>"}
        db.execute(t.contact.update().values(facts=facts))
    shell("plan", "--html", "plan.html")
    text = Path("plan.html").read_text(encoding="utf-8")
    assert "<b>Bonn" not in text
    assert "&lt;b&gt;Bonn" in text


def canary() -> None:
    path = Path("tandem.yml")
    text = path.read_text(encoding="utf-8")
    changed = text.replace("mode: observe", "mode: canary").replace("mode: live", "mode: canary")
    if changed == text:
        changed = text.replace("connector: hubspot", "connector: hubspot\n    mode: canary")
    path.write_text(changed, encoding="utf-8")


def test_apply_approves_and_says_how_far(shell: Shell, store: Database) -> None:
    """By name; the same command shows it again; what moved is listed and ends with 1."""
    read_once(store)
    number = ann(store)
    canary()
    shell("plan", "--connection", "hubspot", "--out", "hub.plan")
    shell("apply", "hub.plan", code=2)  # nobody's name
    said = shell.json("apply", "hub.plan", "--by", "Kim", "--no-wait")
    assert (said["orders"], said["written"], said["waiting"], said["not_written"]) == (1, 0, 1, [])
    (row,) = rows_of(store, t.approval)
    assert (row["contact_id"], row["by"], row["status"]) == (number, "Kim", "approved")
    assert "1 wait" in shell("apply", "hub.plan", "--by", "Kim", "--no-wait")
    with store.write() as db:
        db.execute(t.approval.delete())
        db.execute(t.contact.update().values(version=9))
    shell("apply", "hub.plan", "--by", "Kim", "--no-wait", code=1)
    assert "make a new plan" in shell.told


def test_backfill_shows_how_far(shell: Shell, store: Database) -> None:
    """As a table and as data."""
    read_once(store)
    assert "done" in shell("backfill", "--follow")
    assert {one["state"] for one in shell.json("backfill")} == {"done"}
    shell("backfill", "--connection", "nobody", code=2)
