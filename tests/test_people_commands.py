"""The commands about brakes, merges, consent and retention: what they print, ask and end with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from rich.progress import Progress
from typer.testing import CliRunner

from app.cli import app
from app.core import tables as t
from app.core.db import Database
from app.core.words import Channel, Entry, Reason, Status, Writes
from app.push import brake, ending
from app.push.work import FAR
from app.records import ledger
from app.repair import prune
from app.repair.prune import DAY_MS
from app.sync import uniting
from tests.apihelp import add, add_contacts, add_events, now, rows_of
from tests.test_cli import Shell, shell, store

__all__ = ["shell", "store"]

ANN = {"email": "ann@example.org", "given_name": "Ann", "city": "Bonn"}


def link(database: Database, contact: int, connection: str, remote_id: str, **shadow: Any) -> None:
    row = {"connection": connection, "kind": "contact", "remote_id": remote_id, "contact_id": contact}
    add(database, t.link, {**row, "shadow": shadow, "rev": 1, "written_at": 0, "created_at": 0})


def key(database: Database, contact: int, value: str, name: str = "email") -> None:
    strong = int(name == "email")
    add(database, t.contact_key, {"key": name, "value": value, "contact_id": contact, "strong": strong})


def ann(database: Database) -> int:
    """A contact with an address, a record at each vendor, and a city that HubSpot does not have yet."""
    (number,) = add_contacts(database, {"values": ANN})
    key(database, number, "ann@example.org")
    link(database, number, "hubspot", "101", **{**ANN, "city": "Ulm"})
    link(database, number, "mailchimp", "abc", **ANN)
    return number


def stopped(database: Database, *contacts: int, kind: str = "overwrites") -> None:
    """A brake at hubspot for which these contacts wait."""
    with database.write() as db:
        brake.put_on(db, "hubspot", [brake.Stop(Writes(kind), 1_200, 4_000, "1,200 are too many")])
    row = {"connection": "hubspot", "gen": 1, "due_at": FAR, "since": 1_000, "held": kind}
    add(database, t.work, *({**row, "contact_id": n} for n in contacts))


# --- brake ------------------------------------------------------------------------------------------------------------


def test_brakes_are_listed_and_shown(shell: Shell, store: Database) -> None:
    """Where, what, why, how many; and contact by contact what would be written."""
    assert shell("brake", "list") == "no brake is on\n"
    assert shell("brake", "show", "hubspot", "overwrites") == "nothing waits\n"
    number = ann(store)
    stopped(store, number)
    (on,) = shell.json("brake", "list")
    assert (on["connection"], on["kind"], on["waiting"], on["why"]) == (
        "hubspot",
        "overwrites",
        1,
        "1,200 are too many",
    )
    assert "1,200 are too many" in shell("brake", "list")
    (one,) = shell.json("brake", "show", "hubspot", "overwrites")
    assert (one["contact_id"], one["action"]) == (number, "update")
    assert one["fields"] == [{"field": "city", "old": "Ulm", "new": "Bonn"}]
    shown = shell("brake", "show", "hubspot", "overwrites")
    assert re.search(r"1970-01-01T00:00:01Z.*update.*city.*Ulm.*Bonn", shown)
    assert shell.json("brake", "show", "hubspot", "overwrites", "--after", str(number)) == []


@pytest.mark.parametrize(("how", "ending"), [("release", "released"), ("discard", "discarded")])
def test_a_brake_is_ended_by_name(shell: Shell, store: Database, how: str, ending: str) -> None:
    """How many waited; the list says who did it; a second time there is none."""
    number = ann(store)
    stopped(store, number)
    shell("brake", how, "hubspot", "overwrites", code=2)
    shell("brake", how, "hubspot", "overwrites", "--by", " ", code=2)
    expected = {"connection": "hubspot", "kind": "overwrites", "ending": ending, "links": 1}
    assert shell.json("brake", how, "hubspot", "overwrites", "--by", "Kim") == expected
    assert shell.json("brake", "list") == []
    (ended,) = shell.json("brake", "list", "--ended")
    assert (ended["ended_by"], ended["ending"]) == ("Kim", ending)
    assert [row["value"] for row in rows_of(store, t.withheld)] == (["Bonn"] if how == "discard" else [])
    shell("brake", how, "hubspot", "overwrites", "--by", "Kim", code=2)
    assert "no brake is on for overwrites at hubspot" in shell.told


@pytest.mark.parametrize("command", ["show", "release", "discard"])
def test_a_misspelt_kind_is_answered_with_the_right_ones(shell: Shell, store: Database, command: str) -> None:
    """Exit code 2, and nothing is ended."""
    words = ["brake", command, "hubspot", "everything", *([] if command == "show" else ["--by", "Kim"])]
    shell(*words, code=2)
    assert "'creates', 'overwrites', 'opt_ins', 'deletes'" in re.sub(r"[\s│]+", " ", shell.told)


def test_discarding_shows_how_far_it_is(shell: Shell, store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step, of all that wait."""
    monkeypatch.setattr(ending, "STEP", 1)
    first = ann(store)
    stopped(store, first, *add_contacts(store, {}, {}))
    seen: list[float] = []
    real = Progress.update

    def update(self: Progress, task_id: Any, **what: Any) -> None:
        real(self, task_id, **what)
        (task,) = self.tasks
        seen.append(task.percentage)

    monkeypatch.setattr(Progress, "update", update)
    said = shell("brake", "discard", "hubspot", "overwrites", "--by", "Kim")
    assert said == "the brake for overwrites at hubspot is off: 3 links are not written\n"
    assert [round(percent) for percent in seen] == [33, 67, 100, 100]


def test_status_and_doctor_tell_of_a_brake(shell: Shell, store: Database) -> None:
    """A person has to decide: status ends with 1, the doctor warns with what to do."""
    stopped(store, ann(store))
    found = shell.json("status", code=1)
    assert found["connections"][0]["links"] == 0
    (on,) = found["connections"][0]["brakes"]
    assert (on["kind"], on["waiting"]) == ("overwrites", 1)
    assert "`tandem brake show hubspot overwrites`" in shell("status", code=1)
    said = [f for f in shell.json("doctor", "--offline")["findings"] if f["area"] == "brake"]
    assert [(f["subject"], f["level"]) for f in said] == [("hubspot", "warn")]
    assert "`tandem brake release hubspot overwrites --by NAME`" in said[0]["advice"]


# --- contact, merges, split -------------------------------------------------------------------------------------------


def merged(database: Database) -> tuple[int, int, int]:
    """Two contacts that became one: the one that stays, the other, the number of the merge."""
    stays = ann(database)
    (leaves,) = add_contacts(
        database, {"values": {"email": "anna@example.org", "given_name": "Anna", "job_title": "Cook"}}
    )
    key(database, leaves, "anna@example.org")
    from app.main import build

    tandem = build()
    with database.write() as db:
        number = uniting.unite(db, tandem.connections, stays, leaves, by="hubspot", now=now(database))
    tandem.database.close()
    for client in tandem.clients.values():
        client.close()
    assert number is not None
    return stays, leaves, number


@pytest.mark.parametrize("who", ["1", "ann@example.org", "Ann@Example.org", "+491511"])
def test_a_contact_is_shown(shell: Shell, store: Database, who: str) -> None:
    """By number, address or phone: values with their origin, records, what waits, consent."""
    number = ann(store)
    key(store, number, "+491511", "phone")
    stopped(store, number)
    found = shell.json("contact", who)
    assert (found["id"], found["facts"]["city"]["value"], found["merged_into"]) == (number, "Bonn", None)
    assert found["pending"]["hubspot"]["brake"] == "overwrites"
    assert [(h["channel"], h["status"]) for h in found["consent"]["holds"]] == [("email", "none")]
    shown = shell("contact", who)
    assert re.search(r"city\W+Bonn\W+hub", shown)
    assert "waits for a brake: `tandem brake show hubspot overwrites`" in shown


@pytest.mark.parametrize(
    ("who", "said"),
    [("99", "there is no contact 99"), ("no@example.org", "nobody here has this address"), ("+49", "several contacts")],
)
def test_a_contact_that_is_not_there(shell: Shell, store: Database, who: str, said: str) -> None:
    """Or not one alone."""
    for number in add_contacts(store, {}, {}):
        key(store, number, "+49", "phone")
    shell("contact", who, code=2)
    assert said in shell.told


def test_a_merged_contact_leads_on(shell: Shell, store: Database) -> None:
    """To the one that stands for it, and from there back to the merge."""
    stays, leaves, number = merged(store)
    assert f"contact {stays} stands for it now; `tandem contact {stays}`" in shell("contact", str(leaves))
    assert f"stands for: {leaves}; `tandem merges --contact {stays}`" in shell("contact", str(stays))
    (one,) = shell.json("merges", "--contact", str(leaves))
    assert (one["id"], one["winner"], one["loser"], one["by"], one["split_at"]) == (
        number,
        stays,
        leaves,
        "hubspot",
        None,
    )
    assert shell("merges", "--contact", "99") == "no merge\n"
    assert "hubspot" in shell("merges")


def test_a_split_is_shown_before_it_is_asked_for(shell: Shell, store: Database) -> None:
    """What would become of both; nobody says yes, nothing happens; data stay apart from the question."""
    stays, leaves, number = merged(store)
    words = ("split", str(stays), "--merge", str(number), "--by", "Kim")
    assert shell(*words, code=1).strip() == ""
    for said in (r"stays\W+1\W+job_title\W+Cook", r"leaves\W+2\W+as it is", "Split them?"):
        assert re.search(said, shell.told), said
    assert [m["split_at"] for m in rows_of(store, t.merge)] == [None]
    result = CliRunner().invoke(app, [*words, "--json"], input="y\n")
    assert result.exit_code == 0
    # What was typed is echoed before it.
    assert json.loads(result.stdout[result.stdout.index("{") :]) == {"stays": stays, "leaves": leaves}
    assert [m["split_by"] for m in rows_of(store, t.merge)] == ["Kim"]
    shell(*words, "--yes", code=1)
    assert f"merge {number} was split before, by Kim" in shell.told


def test_a_record_is_taken_off(shell: Shell, store: Database) -> None:
    """With --yes nothing is asked; a record that the contact began with is refused with 1."""
    number = ann(store)
    with store.write() as db:
        db.execute(t.link.update().where(t.link.c.remote_id == "abc").values(origin={"given_name": "Bob"}))
    shell("split", str(number), "--off", "hubspot", "--by", "Kim", "--yes", code=1)
    assert "split off mailchimp instead" in shell.told
    apart = shell.json("split", str(number), "--off", "mailchimp", "--by", "Kim", "--yes")
    assert apart["stays"] == number
    assert shell.json("contact", str(apart["leaves"]))["values"]["given_name"] == "Bob"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("split 1 --by Kim", 2),
        ("split 1 --by Kim --merge 1 --off hubspot", 2),
        ("split 1 --merge 1", 2),
        ("split 1 --merge 7 --by Kim --yes", 2),
        ("split 99 --off hubspot --by Kim", 2),
    ],
)
def test_a_split_that_makes_no_sense(shell: Shell, store: Database, words: str, code: int) -> None:
    """Is a usage error, or names what is not there."""
    ann(store)
    shell(*words.split(), code=code)
    assert rows_of(store, t.merge) == []


# --- consent ----------------------------------------------------------------------------------------------------------


def test_consent_is_shown_with_or_without_the_word(shell: Shell, store: Database) -> None:
    """What holds and why; an address that nobody has is shown by itself."""
    number = ann(store)
    entry = Entry("ann@example.org", Channel.EMAIL, "", Status.WITHDRAWN, Reason.UNSUBSCRIBE, "mailchimp", 1_000)
    old = Entry("old@example.org", Channel.EMAIL, "", Status.GRANTED, Reason.SYNC, "mailchimp", 1_000)
    with store.write() as db:
        ledger.append(db, [(entry, None), (old, None)], 2_000)
    found = shell.json("consent", "show", "ann@example.org")
    assert (found["contact_id"], found["holds"][0]["status"], len(found["lines"])) == (number, "withdrawn", 1)
    assert shell.json("consent", "Ann@Example.org") == found
    assert re.search(
        r"email\W+everything\W+ann@example.org\W+withdrawn\W+no\W+unsubscribe",
        shell("consent", "show", "ann@example.org"),
    )
    alone = shell.json("consent", "old@example.org")
    assert (alone["contact_id"], alone["holds"][0]["status"]) == (None, "granted")
    assert shell("consent", "new@example.org").startswith("consent") is False
    shell("consent", "shwo", code=2)


def test_an_operator_withdraws_and_grants(shell: Shell, store: Database) -> None:
    """Each with a name; the line is kept, the links are marked, the first lane for an objection."""
    number = ann(store)
    words = ("ann@example.org", "--channel", "email", "--by", "Kim")
    (held,) = shell.json("consent", "withdraw", *words)
    assert (held["address"], held["status"]) == ("ann@example.org", "withdrawn")
    assert {(r["connection"], r["contact_id"], r["lane"]) for r in rows_of(store, t.work)} == {
        ("hubspot", number, 0),
        ("mailchimp", number, 0),
    }
    shell("consent", "grant", *words, code=2)
    shell("consent", "grant", *words, "--evidence", " ", code=2)
    said = shell("consent", "grant", *words, "--evidence", "signed form")
    assert said == "email, everything, ann@example.org: granted\n"
    lines = [(n["status"], n["actor"], n["evidence"]) for n in rows_of(store, t.consent)]
    assert lines == [("withdrawn", "Kim", None), ("granted", "Kim", {"operator": "signed form"})]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("withdraw ann@example.org", 2, "--by"),
        ("withdraw ann@example.org --by Kim --purpose newz", 1, "nobody knows this purpose of email; known: none"),
        ("withdraw ann@example.org --by Kim --channel sms", 1, "there is no address for sms"),
        ("withdraw ann@example.org --by Kim --channel fax", 2, "fax"),
        ("withdraw ann --by Kim", 2, "give an e-mail address"),
        ("withdraw 42 --by Kim", 2, "give an e-mail address"),
    ],
)
def test_a_word_that_cannot_be_taken(shell: Shell, store: Database, words: str, code: int, said: str) -> None:
    """Is said, and not written down."""
    ann(store)
    shell("consent", *words.split(), code=code)
    assert said in shell.told
    assert rows_of(store, t.consent) == []


# --- prune ------------------------------------------------------------------------------------------------------------


def old(database: Database, count: int) -> None:
    """Events with their deliveries, of all statuses and ages, and history of two ages."""
    moment = now(database)
    for n in range(count):
        at = moment - (2 - 3 * n // count) * 20 * DAY_MS  # as they come: the oldest first
        number = (at << 20) + n
        raw: Mapping[str, Any] = {"connection": "hubspot", "received_at": at, "method": "POST", "path": "/"}
        add(database, t.delivery, {**raw, "id": number, "content_type": "", "body": b"x"})
        status = ("done", "ignored", "pending", "parked", "dead")[n % 5]
        done = None if status == "pending" else at
        add_events(database, {"status": status, "delivery": number, "received_at": at, "done_at": done})
        change = {"contact_id": 1, "version": n, "field": "city", "source": "hubspot", "rule": "new", "at": at}
        add(database, t.history, {**change, "stored_at": at})
        refused = {"connection": "hubspot", "contact_id": n, "field": "city", "code": "blank", "at": at}
        add(database, t.refusal, {**refused, "stored_at": at})


@pytest.mark.parametrize("history", ["", "30"], ids=["history for ever", "history for a while"])
def test_what_a_dry_run_counts_is_what_goes(
    shell: Shell, store: Database, monkeypatch: pytest.MonkeyPatch, history: str
) -> None:
    """To the end, however many batches it takes; a dry run removes nothing; a second run finds nothing."""
    monkeypatch.setattr(prune, "BATCH", 3)
    if history:
        monkeypatch.setenv("TANDEM_KEEP_HISTORY_DAYS", history)
    old(store, 60)
    tables = (t.inbox, t.delivery, t.history, t.refusal)
    before = [len(rows_of(store, table)) for table in tables]
    counted = shell.json("prune", "--dry-run")
    assert [len(rows_of(store, table)) for table in tables] == before
    removed = shell.json("prune")
    assert {**counted, "dry_run": False} == removed
    gone = [b - len(rows_of(store, table)) for b, table in zip(before, tables, strict=True)]
    assert gone == [removed["events"], removed["deliveries"], removed["history"], removed["refusals"]]
    assert removed["events"] > 3
    assert bool(removed["history"]) == bool(history)
    nothing = dict.fromkeys(("events", "deliveries", "history", "refusals", "engagements"), 0)
    assert shell.json("prune") == {"dry_run": False, **nothing}
    assert re.search(r"events\W+30 days\W+0", shell("prune"))
