"""The agreement and its leads through the API and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.core import tables as t
from app.core.db import Database
from tests import migrated
from tests.agreed import SHIPPED, put_in_force, shipped
from tests.apihelp import Api, add, add_contacts

PEOPLE = 7


@pytest.fixture
def api(database: Database) -> Api:
    """Contacts 1 to 7 with addresses; the first three are MQLs."""
    made = Api(database)
    add_contacts(database, *({"values": {"email": f"p{n}@example.org"}} for n in range(PEOPLE)))
    put_in_force(database, made.connections, 1, 2, 3)
    return made


def test_leads_are_listed_page_by_page(api: Api) -> None:
    """Each once, by stage, standing, owner and flag."""
    pages = api.walk("/leads", 2, stage="mql")
    assert [lead["contact_id"] for page in pages for lead in page] == [1, 2, 3]
    assert api.get("/leads?status=accepted")["items"] == []
    assert api.get("/leads?owner=kim@example.org")["items"] == []
    assert [lead["team"] for lead in api.get("/leads?status=new&stage=mql")["items"]] == ["sales"] * 3


def test_a_lead_tells_its_story(api: Api) -> None:
    """Stage, why, who said it, and what the agreement made of it."""
    lead = api.get("/leads/1")
    assert (lead["stage"], lead["status"], lead["version"]) == ("mql", "new", shipped().digest)
    assert [(s["what"], s["after"], s["by"]) for s in lead["steps"]][-2:] == [
        ("stage", "mql", "Lou"),
        ("status", "new", "Lou"),
    ]
    assert [(w["word"], w["finding"]) for w in lead["said"]] == [("stage", "taken")]
    assert api("GET", "/leads/9999").status_code == 404


def test_a_lead_is_accepted_given_back_and_flagged(api: Api) -> None:
    """What is refused is a 409 with the reason, and kept nowhere."""

    def say(contact: int, what: str, **more: str) -> httpx.Response:
        return api("POST", f"/leads/{contact}/{what}", json={"by": "Kim", **more})

    assert say(1, "accept").json()["finding"] == "taken"
    flagged = say(1, "reject", reason="no_need").json()
    assert (flagged["finding"], flagged["lead"]["status"], flagged["lead"]["flag"]) == (
        "flagged",
        "accepted",
        "too_early",
    )
    assert [lead["contact_id"] for lead in api.get("/leads?flagged=true")["items"]] == [1]
    assert say(1, "reject", reason="no_fit").json()["lead"]["status"] == "rejected"
    again = say(1, "accept")
    assert (again.status_code, "not handed over" in again.json()["detail"]) == (409, True)
    assert len(api.get("/leads/1")["said"]) == 4
    assert say(2, "stage", stage="sql", team="sales").json()["lead"]["status"] == "qualified"
    assert say(3, "recycle", team="marketing").json()["lead"]["status"] == "recycled"
    assert api.woken > 0


def test_versions_are_shown_and_signed(api: Api) -> None:
    """The text as it was signed; the second signature puts one in force."""
    newest, first = api.get("/agreement/versions")["items"]
    assert (first["sales_by"], newest["marketing_by"], newest["in_force"]) == ("Kim of sales", None, None)
    whole = api.get(f"/agreement/versions/{first['id']}")
    assert whole["text"] == SHIPPED.read_text(encoding="utf-8")
    assert {s["name"]: s["leads"] for s in whole["stages"]}["mql"] == 3
    assert "SQL" in whole["glossary"]
    path = f"/agreement/versions/{newest['id']}/sign"
    assert api("POST", path, json={"by": "Lou", "team": "sales"}).status_code == 409
    assert api("POST", path, json={"by": "Lou", "team": "marketing"}).json()["in_force"] is not None
    assert api("POST", "/agreement/versions/99/sign", json={"by": "Lou", "team": "sales"}).status_code == 404


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration without connections, a store with two people, and the shipped agreement as a file."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'tandem.db'}"
    monkeypatch.setenv("TANDEM_DATABASE", url)
    (tmp_path / "tandem.yml").write_text("agreement: agreement.yaml\n")
    (tmp_path / "agreement.yaml").write_text(SHIPPED.read_text(encoding="utf-8"))
    database = migrated.new(tmp_path / "tandem.db")
    usual = {"version": 1, "created_at": 1, "updated_at": 1}
    fact = {"v": "ann@example.org", "s": "hub", "t": 1, "r": "first", "e": None}
    score = {**fact, "v": "72"}
    add(database, t.contact, {**usual, "id": 1, "facts": {"email": fact}})
    add(database, t.contact, {**usual, "id": 2, "facts": {"email": fact, "lead_score": score}})
    database.close()
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def data(*words: str) -> Any:
    found = run(*words, "--json")
    assert found.exit_code == 0, found.output
    return orjson.loads(found.stdout)


def test_the_file_is_checked_with_line_and_place(folder: Path) -> None:
    """Exit code 2, and what would be valid."""
    assert "no problem found" in run("agreement", "check").output
    text = (folder / "agreement.yaml").read_text().replace("deals.open > 0", "deal.open > 0")
    (folder / "agreement.yaml").write_text(text)
    found = run("agreement", "check")
    assert found.exit_code == 2
    assert "agreement.yaml:" in found.output
    assert "did you mean 'deals.open'?" in found.output


def test_an_agreement_to_begin_with(folder: Path) -> None:
    """Written once, never over another file; without it the message says how to get one."""
    (folder / "agreement.yaml").unlink()
    assert "tandem agreement init" in run("agreement", "check").output
    assert run("agreement", "init", "agreement.yaml").exit_code == 0
    assert (folder / "agreement.yaml").read_bytes() == SHIPPED.read_bytes()
    assert run("agreement", "init", "agreement.yaml").exit_code == 2


def test_simulated_before_it_is_signed(folder: Path) -> None:
    """How many would come to which stage, and nothing is changed."""
    found = data("agreement", "simulate")
    assert (found["contacts"], found["changed"], found["handed_over"]) == (2, 2, 1)
    assert found["programmes"] == []
    assert {m["to"]: m["examples"] for m in found["moves"]} == {"prospect": [1], "mql": [2]}
    assert data("agreement", "show") == {"versions": [], "leads": {}}
    assert run("lead", "show", "2").exit_code == 2


def test_signed_by_both_and_compared(folder: Path) -> None:
    """In force with the second signature; a later draft is compared with it."""
    first = data("agreement", "sign", "--for", "sales", "--by", "Kim", "--from", "2026-01-01")
    assert (first["in_force"], first["missing"]) == (None, "marketing")
    again = run("agreement", "sign", "--for", "sales", "--by", "Kim")
    assert (again.exit_code, "signed version 1" in again.output) == (1, True)
    both = data("agreement", "sign", "--for", "marketing", "--by", "Lou")
    assert both["in_force"] == "2026-01-01T00:00:00Z"
    assert data("agreement", "diff") == []
    text = (folder / "agreement.yaml").read_text().replace("rest: 14d", "rest: 15d")
    (folder / "agreement.yaml").write_text(text)
    assert [d["path"] for d in data("agreement", "diff")] == ["reasons.not_reached.rest"]
    accepted = data("lead", "stage", "2", "sql", "--for", "sales", "--by", "Kim")
    assert (accepted["stage"], accepted["status"]) == ("sql", "qualified")
    assert [lead["contact_id"] for lead in data("lead", "list", "--status", "qualified")] == [2]
    assert run("lead", "reject", "2", "--by", "Kim").exit_code == 1
    assert [lead["flag"] for lead in data("lead", "list", "--flagged")] == ["no_reason"]
    assert "given back without a reason" in run("lead", "show", "2").output


def test_the_board_of_the_command_line(folder: Path) -> None:
    """Both sides once both have signed; who is no lead has no clocks."""
    assert data("sla", "board") == {"clocks": [], "promises": []}
    for team in ("sales", "marketing"):
        assert run("agreement", "sign", "--for", team, "--by", "Kim").exit_code == 0
    assert [p["promise"] for p in data("sla", "board")["promises"]] == ["leads", "quality"]
    assert "leads" in run("sla", "board", "--state", "breached").output
    for words in (("show", "1"), ("pause", "1", "--reason", "x", "--by", "Kim"), ("resume", "1", "--by", "Kim")):
        found = run("sla", *words)
        assert (found.exit_code, "is no lead" in found.output) == (2, True), found.output


def test_the_brief_of_the_command_line(folder: Path) -> None:
    """Written, kept, and compared with; a day is a day."""
    assert run("brief", "--form", "html", "--out", "b.html", "--keep", "--by", "Kim").exit_code == 0
    assert (folder / "b.html").read_text().startswith("<!doctype html>")
    assert data("brief", "--to", "2050-01-01")["since"] is not None
    assert run("brief", "--from", "yesterday").exit_code == 2
    assert run("brief", "--keep").exit_code == 2
