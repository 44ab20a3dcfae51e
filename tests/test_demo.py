"""The demo as a whole, in processes of its own; and the pages by themselves, on a small store."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.console.pages import console
from app.console.shell import HEADERS
from app.console.view import PAGE
from app.console.words import ago, text
from app.core import tables as t
from app.core.db import Database
from app.core.words import Mode
from app.sync import mapping
from app.sync.connection import Connection, Connections
from connectors.contract import (
    Can,
    Connector,
    Done,
    Failed,
    Gone,
    Kind,
    Limits,
    NeedsHuman,
    Order,
    Property,
    Receipt,
    Record,
    Refused,
    Schema,
    Side,
    TryLater,
)
from tests import migrated
from tests.apihelp import MAPPING, Api, add, add_contacts, token

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60  # seconds until a wait for another process is given up


# --- the whole, in processes of its own -------------------------------------------------------------------------------


@contextmanager
def demo(tmp_path: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A running demo and the line that it printed; it is ended in the end, whatever happened."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
    env |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "app.cli", "demo", "--json", "--port", "0", *words]
    process = subprocess.Popen(
        command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def until(look: Callable[[], bool]) -> None:
    """Look again and again until it is so; fails after ``PATIENCE`` seconds."""
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_an_edit_on_either_side_lands_on_the_other_and_sigterm_ends_all(tmp_path: Path) -> None:
    """One line when all is ready; edits through the vendors' own APIs; exit code 0, and nothing is left behind."""
    with demo(tmp_path, "--people", "20") as (process, said):
        assert set(said) == {"api", "token", "connections"}
        crm, marketing = said["connections"]
        assert (crm["name"], crm["connector"], crm["side"]) == ("hubspot", "hubspot", "crm")
        assert (marketing["name"], marketing["connector"], marketing["side"]) == ("mailchimp", "mailchimp", "marketing")
        assert set(crm["credentials"]) == {"access_token", "client_secret"}
        assert set(marketing["credentials"]) == {"api_key", "list_id"}
        bearer = {"authorization": f"Bearer {crm['credentials']['access_token']}"}
        key = ("anybody", marketing["credentials"]["api_key"])
        with (
            httpx.Client(base_url=crm["base_url"], headers=bearer) as hubspot,
            httpx.Client(base_url=marketing["base_url"], auth=key) as mailchimp,
        ):
            listed = hubspot.get("/crm/v3/objects/contacts", params={"limit": 100}).json()["results"]
            assert len(listed) == 20
            contact = next(c for c in listed if c["properties"]["email"])
            record = f"/crm/v3/objects/contacts/{contact['id']}"
            digest = hashlib.md5(contact["properties"]["email"].lower().encode()).hexdigest()
            member = f"/lists/{marketing['credentials']['list_id']}/members/{digest}"

            assert hubspot.patch(record, json={"properties": {"firstname": "Zoltán"}}).status_code == 200
            until(lambda: mailchimp.get(member).json()["merge_fields"]["FNAME"] == "Zoltán")
            assert mailchimp.patch(member, json={"merge_fields": {"LNAME": "O'Quux"}}).status_code == 200
            last = {"properties": "lastname"}
            until(lambda: hubspot.get(record, params=last).json()["properties"]["lastname"] == "O'Quux")

        page = httpx.get(said["api"], params={"q": "quux"}).text
        assert "Zoltán O&#39;Quux" in page
        children = psutil.Process(process.pid).children()
        assert children
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "", "")
        assert not any(child.is_running() for child in children)
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith("tandem-demo")] == []


def test_the_simulators_end_with_a_killed_demo_and_given_data_is_kept(tmp_path: Path) -> None:
    """A demo that cannot clean up leaves no process; --data-dir stays, and does not serve twice; --empty is empty."""
    data = tmp_path / "data"
    with demo(tmp_path, "--empty", "--data-dir", str(data)) as (process, said):
        api = {"authorization": f"Bearer {said['token']}"}
        assert httpx.get(f"{said['api']}/contacts", headers=api).json()["items"] == []
        children = psutil.Process(process.pid).children()
        assert children
        process.kill()
        process.wait(PATIENCE)
        until(lambda: not any(child.is_running() for child in children))
    assert (data / "demo.db").is_file()
    again = subprocess.run(
        [sys.executable, "-m", "app.cli", "demo", "--port", "0", "--data-dir", str(data)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (again.returncode, again.stdout) == (2, "")
    assert "from an earlier demo" in again.stderr


# --- the pages, on a small store --------------------------------------------------------------------------------------

CONSENT = """
consent:
  email: {theirs: mailing, read: {"in": granted, "out": withdrawn}, write: {withdrawn: "out"}}
"""
PROPERTIES = {
    "mail": Property("mail", "email", "E-mail"),
    "first": Property("first", "string", "First name"),
    "town": Property("town", "enumeration", "Town", options=("Ulm", "Bonn")),
}


class Vendor(Connector):
    """Holds records in a dict; ``answer`` says what becomes of a write."""

    name = "vendor"
    side = Side.CRM
    can = frozenset({Can.READ, Can.WRITE, Can.DESCRIBE})
    limits = Limits()
    settings = ()
    hosts = frozenset()

    def __init__(self) -> None:
        super().__init__({}, None)  # type: ignore[arg-type]
        self.records: dict[str, dict[str, Any]] = {}
        self.orders: list[Order] = []
        self.answer: Callable[[Order], Receipt] = lambda order: Done(order.key, str(order.id))
        self.trouble: Exception | None = None

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        if self.trouble is not None:
            raise self.trouble
        return [Record(kind, i, self.records[i]) for i in ids if i in self.records]

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        self.orders += orders
        return [self.answer(order) for order in orders]

    def describe(self, kind: Kind) -> Schema:
        return Schema(kind, PROPERTIES)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A SQLite database as the migrations leave it."""
    store = migrated.new(tmp_path / "tandem.db")
    yield store
    store.close()


class Site:
    """The pages and two vendors: ``hub`` (crm) and ``chimp`` (marketing)."""

    def __init__(self, store: Database, *, demo: bool, **options: Any) -> None:
        self.hub, self.chimp = Vendor(), Vendor()
        map_ = mapping.loads(MAPPING.format(name="vendor", email="lower_email") + CONSENT)
        connections = Connections(
            {
                "hub": Connection("hub", Side.CRM, Mode.LIVE, self.hub, map_),
                "chimp": Connection("chimp", Side.MARKETING, Mode.LIVE, self.chimp, map_),
            }
        )
        self.store = store
        self.api = Api(store, connections, **options)
        self.api.app.include_router(console(store, connections, demo=demo))

    def link(self, contact_id: int, connection: str, remote_id: str, **shadow: Any) -> None:
        more = {"rev": 1, "written_at": 0, "created_at": 0}
        row = {"connection": connection, "kind": "contact", "remote_id": remote_id, "contact_id": contact_id}
        add(self.store, t.link, {**row, **more, "shadow": shadow})

    def page(self, path: str, expected: int = 200, **request: Any) -> str:
        answer = self.api("GET", path, **request)
        assert answer.status_code == expected, answer.text
        return answer.text

    def state(self, **params: Any) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.page("/demo/state", params=params))
        return found

    def edit(self, expected: int, **request: Any) -> Any:
        answer = self.api("POST", "/demo/edit", **request)
        assert answer.status_code == expected, answer.text
        return answer


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database, demo=True)


@pytest.fixture
def ann(site: Site) -> Site:
    """A site where contact 1 has a record on each side, of which the marketing side's differs."""
    add_contacts(site.store, {"values": {"email": "ann@example.com", "given_name": "Ann", "city": "Ulm"}})
    site.hub.records["h1"] = {"mail": "ann@example.com", "first": "Ann", "town": "Ulm", "tags": ["a"]}
    site.chimp.records["c1"] = {"mail": "ann@example.com", "first": "Anne", "town": None}
    site.link(1, "hub", "h1", email="ann@example.com", given_name="Ann", city="Ulm")
    site.link(1, "chimp", "c1", email="ann@example.com", given_name="Anne", city=None)
    return site


def test_a_contact_is_shown_between_its_records(ann: Site) -> None:
    """Field by field: crm, contact, marketing, and who said it; what differs is marked."""
    rows = re.findall(r"<tr>\n(.*?)</tr>", ann.state(person=1)["detail"], re.DOTALL)
    shown = {}
    for row in rows:
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        shown[cells[0]] = [re.sub(r"<[^>]+>", " ", c).split() for c in cells[1:4]]
        assert "hub" in cells[4]
    assert shown == {
        "email": [["ann@example.com"]] * 3,
        "given name": [["Ann"], ["Ann"], ["Anne", "(differs)"]],
        "city": [["Ulm"], ["Ulm"], ["(differs)"]],
    }


def test_consent_and_what_could_not_be_read_are_shown(ann: Site) -> None:
    """What holds by the ledger, beside what each side says of it; and why a field of a record was left out."""
    entry = {"address": "ann@example.com", "channel": "email", "purpose": "", "basis": None, "actor": None}
    said = {"status": "withdrawn", "reason": "unsubscribe", "source": "chimp", "at": 0, "received_at": 0}
    add(ann.store, t.consent, {**entry, **said, "digest": "d"})
    warnings = [{"field": "phone", "code": "unreadable", "message": "no country is known"}]
    with ann.store.write() as db:
        shadow = {"given_name": "Anne", "consent:email": "withdrawn"}
        chimp = t.link.update().where(t.link.c.remote_id == "c1")
        db.execute(chimp.values(shadow=shadow, warnings=warnings))
    page = re.sub(r"<[^>]+>", " ", ann.state(person=1)["detail"])
    assert re.search(r"consent email\s+withdrawn\s+withdrawn\s+chimp\s.*unsubscribe", page)
    assert "phone of chimp was left out: no country is known" in page


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        ("", ""),
        (0, "0"),
        (2.0, "2"),
        (True, "yes"),
        (["a", "b"], "a, b"),
        ({"b": 1, "a": "x", "c": None}, "a x, b 1"),
    ],
)
def test_values_are_shown_as_people_write_them(value: Any, expected: str) -> None:
    """Nothing is shown for None only, never for 0."""
    assert text(value) == expected


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (None, "never"),
        (9_999, "just now"),
        (59_999, "50 s ago"),
        (60_000, "1 min ago"),
        (7_200_000, "2 h ago"),
        (86_400_000, "1 d ago"),
    ],
)
def test_durations_are_in_words(ms: int | None, expected: str) -> None:
    """Coarse, so that a page does not change every second."""
    assert ago(ms) == expected


def test_the_list_says_which_sides_are_in_step(ann: Site) -> None:
    """In step, on its way, missing, deleted there."""
    add_contacts(ann.store, {"values": {"email": "bob@example.com"}})
    ann.link(2, "hub", "h2", email="bob@example.com")
    with ann.store.write() as db:
        db.execute(t.link.update().where(t.link.c.remote_id == "h2").values(gone_at=1))
    add(ann.store, t.work, {"connection": "chimp", "contact_id": 1, "lane": 1, "gen": 1, "due_at": 0, "since": 0})
    steps = re.findall(r'<span class="step [a-z-]+">([a-z ]+)</span>', ann.state()["people"])
    assert steps == ["in step", "on its way", "deleted there", "missing"]


def test_everything_is_escaped(site: Site) -> None:
    """Values of people and of callers are text, never markup."""
    nasty = "<script>alert(1)</script>\"'"
    add_contacts(site.store, {"values": {"email": nasty, "given_name": nasty}})
    site.hub.records["h1"] = {"mail": nasty, "first": nasty}
    site.link(1, "hub", "h1", email=nasty, given_name=nasty)
    add(
        site.store,
        t.history,
        {
            "contact_id": 1,
            "version": 1,
            "field": nasty,
            "old": nasty,
            "new": nasty,
            "source": nasty,
            "rule": nasty,
            "at": 0,
            "stored_at": 0,
        },
    )
    pages = [site.page("/", params={"q": "alert", "said": nasty, "person": 1}), *site.state(q=nasty).values()]
    assert all("<script>alert" not in page for page in pages)
    assert all("&lt;script&gt;alert" in page for page in pages[:1])


def test_people_are_paged_by_key_and_found_by_words(site: Site) -> None:
    """25 a page, the next behind the last; words have to fit together, in any field, in any case."""
    add_contacts(
        site.store,
        *({"values": {"email": f"p{n}@example.com", "given_name": f"Given{n}"}} for n in range(1, 31)),
        {"values": {"email": "x@example.com", "given_name": "Anna", "family_name": "50%_Off"}},
    )

    def ids(**params: Any) -> list[int]:
        return [int(n) for n in re.findall(r'id="person-(\d+)"', site.state(**params)["people"])]

    assert PAGE == 25
    assert ids() == list(range(1, 26))
    assert f"/?after={PAGE}" in site.state()["people"]
    assert ids(after=25) == [26, 27, 28, 29, 30, 31]
    assert "Next page" not in site.state(after=25)["people"]
    assert ids(q="ANNA off") == [31]
    assert ids(q="given30") == [30]
    assert ids(q="%") == [31]
    assert ids(q="anna given3") == []


def test_the_state_answers_304_while_nothing_changed(ann: Site) -> None:
    """And tells the news once something did."""
    first = ann.api("GET", "/demo/state")
    tag = {"if-none-match": first.headers["etag"]}
    assert ann.api("GET", "/demo/state", headers=tag).status_code == 304
    add_contacts(ann.store, {"values": {"email": "new@example.com"}})
    news = ann.api("GET", "/demo/state", headers=tag)
    assert (news.status_code, "new@example.com" in news.text) == (200, True)


def test_pages_allow_no_foreign_and_no_inline_code(ann: Site) -> None:
    """A strict policy, and pages that keep to it; scripts and styles are our own files."""
    answer = ann.api("GET", "/")
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert re.findall(r"<script[^>]*>", answer.text) == ['<script src="/static/demo.js" defer>']
    assert re.search(r"<style|\son[a-z]+=|style=|https?://", answer.text) is None
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert ann.api("GET", path).status_code == 200
    assert ann.page("/static/../pages.py", 404)


def test_forms_are_in_the_vendors_words(ann: Site) -> None:
    """Mapped fields, consent included, with the vendor's labels and options, as the vendor holds them now."""
    form = json.loads(ann.page("/demo/forms", params={"person": 1}))["chimp"]
    names = re.findall(r'name="field\.([^"]+)"', form)
    assert names == ["mail", "first", "town", "mailing"]
    assert 'name="field.first" value="Anne"' in form
    assert "First name</label>" in form
    assert re.findall(r"<option[^>]*>([^<]*)</option>", form) == ["", "Ulm", "Bonn"]


@pytest.mark.parametrize(
    ("trouble", "said"), [(TryLater("busy"), "cannot be read just now (TryLater)"), (None, "the record is gone")]
)
def test_a_record_that_cannot_be_read_leaves_the_page_alive(ann: Site, trouble: Exception | None, said: str) -> None:
    """The other side is shown all the same."""
    ann.hub.records.clear()
    ann.hub.trouble = trouble
    page = ann.page("/")
    assert said in page
    assert 'name="field.first" value="Anne"' in page


FORM = {
    "connection": "chimp",
    "remote_id": "c1",
    "person": "1",
    "field.mail": "ann@example.com",
    "was.mail": "ann@example.com",
    "field.first": "Annika",
    "was.first": "Anne",
    "field.town": "",
    "was.town": "Ulm",
}


def test_an_edit_sends_what_was_changed_and_leads_back(ann: Site) -> None:
    """Only the difference; an emptied field is cleared; a browser goes back to the person."""
    answer = ann.edit(303, data=FORM)
    assert answer.headers["location"].startswith("/?person=1&said=saved+at+chimp")
    (order,) = ann.chimp.orders
    assert (order.id, dict(order.fields)) == ("c1", {"first": "Annika", "town": None})
    assert dict(order.known) == ann.chimp.records["c1"]
    assert ann.hub.orders == []


def test_an_edit_by_script_is_answered_in_json(ann: Site) -> None:
    """The same form, and the plain JSON call."""
    assert ann.edit(200, data=FORM, headers={"accept": "application/json"}).json() == {
        "done": "saved at chimp: first, town"
    }
    asked = {"connection": "hub", "remote_id": "h1", "fields": {"town": "Bonn"}}
    assert ann.edit(200, json=asked).json() == {"done": "saved at hub: town"}
    assert dict(ann.hub.orders[0].fields) == {"town": "Bonn"}


def test_an_edit_without_a_change_sends_nothing(ann: Site) -> None:
    """Saving what was there calls nobody."""
    same = {name: value.replace("Annika", "Anne") for name, value in FORM.items()} | {"field.town": "Ulm"}
    assert "nothing+was+changed" in ann.edit(303, data=same).headers["location"]
    assert ann.chimp.orders == []


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"connection": "nobody", "remote_id": "c1", "fields": {"first": "A"}}, 404),
        ({"connection": "chimp", "remote_id": "c9", "fields": {"first": "A"}}, 404),
        ({"connection": "chimp", "remote_id": "c1", "fields": {"unmapped": "A"}}, 422),
        ({"connection": "chimp", "remote_id": 1, "fields": {"first": "A"}}, 422),
        ({"connection": "chimp"}, 422),
        ([], 422),
    ],
)
def test_a_senseless_edit_is_refused(ann: Site, asked: Any, status: int) -> None:
    """Nothing is written."""
    ann.edit(status, json=asked)
    assert ann.chimp.orders == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"data": {"connection": "chimp"}}, 422),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 422),
        ({"content": b"x=1", "headers": {"content-type": "text/plain"}}, 415),
        ({"data": {**FORM, "field.first": "x" * 100_000}}, 413),
        ({"data": FORM, "headers": {"origin": "https://evil.example.com"}}, 403),
        ({"data": FORM, "headers": {"sec-fetch-site": "cross-site"}}, 403),
        ({"data": FORM, "client": ("192.0.2.1", 5)}, 403),
        ({"data": FORM, "base": "http://rebound.example.com"}, 403),
    ],
)
def test_an_edit_that_did_not_come_from_the_page_is_refused(ann: Site, request_: Any, status: int) -> None:
    """Other forms, other sites, other machines, other names."""
    ann.edit(status, **request_)
    assert ann.chimp.orders == []


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (lambda o: Failed(o.key, Refused("too long")), 409, "chimp refused it: too long"),
        (lambda o: Failed(o.key, NeedsHuman("no scope")), 409, "chimp refused it: no scope"),
        (lambda o: Gone(o.key, "no such record"), 409, "gone"),
    ],
)
def test_the_person_hears_what_the_vendor_said(ann: Site, answer: Any, status: int, said: str) -> None:
    """A refusal is a sentence, not a crash."""
    ann.chimp.answer = answer
    assert said in ann.edit(status, data=FORM).json()["detail"]


@pytest.mark.parametrize("path", ["/", "/demo/state", "/demo/forms?person=1"])
@pytest.mark.parametrize(
    "request_", [{"client": ("192.0.2.1", 5)}, {"base": "http://rebound.example.com"}], ids=["far away", "rebound"]
)
def test_people_are_shown_on_this_machine_only(ann: Site, path: str, request_: Any) -> None:
    """Even in a demo."""
    assert "ann@example.com" not in ann.page(path, 403, **request_)


# --- the page of a service in use -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "request_", "status"),
    [
        ({}, {}, 200),
        ({}, {"client": ("192.0.2.1", 5)}, 403),
        ({"token": token("a-long-enough-token")}, {}, 401),
        ({"token": token("a-long-enough-token")}, {"headers": {"authorization": "Bearer a-long-enough-token"}}, 200),
    ],
    ids=["here", "far away", "no token", "token"],
)
def test_the_overview_is_for_operators(database: Database, options: Any, request_: Any, status: int) -> None:
    """Connections for those whom the API answers; others learn nothing, not even names."""
    site = Site(database, demo=False, **options)
    assert ("chimp" in site.page("/console", status, **request_)) is (status == 200)
    front = site.api("GET", "/", **request_)
    assert (front.status_code, front.headers.get("location")) == (
        (303, "/console") if status == 200 else (status, None)
    )
    assert "chimp" not in front.text


def test_a_service_in_use_shows_and_edits_no_people(database: Database) -> None:
    """The demo's paths are not there."""
    site = Site(database, demo=False)
    add_contacts(database, {"values": {"email": "ann@example.com"}})
    assert "ann@example.com" not in site.page("/console")
    for path in ("/demo/state", "/demo/forms?person=1"):
        site.page(path, 404)
    site.edit(404, data=FORM)
