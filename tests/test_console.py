"""The console's pages without a browser: who is answered, forms, errors, paging, search, charts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import SecretStr

from app.console import charts, planned, who, words
from app.console.menu import Entry, grouped
from app.console.pages import PAGES, console
from app.core import tables as t
from app.core.db import Database
from app.core.words import Writes
from app.match import keys
from app.match.normalise import evidence
from app.ops import problems, searching
from app.ops.auth import protect
from app.ops.shapes import Count
from app.push import brake
from app.push.work import FAR
from app.records import audit, blocks, state
from tests.apihelp import HERE, LOCAL, add, add_contacts, add_letters, new_connections, rows_of, token

FORM = {"content-type": "application/x-www-form-urlencoded"}
TOKEN = "a-long-enough-token"


class Console:
    """The pages alone on a small store.  ``woken`` counts the wake-ups of the workers."""

    def __init__(self, store: Database, *, demo: bool = False, token: SecretStr | None = None) -> None:
        self.store = store
        self.woken = 0
        self.connections = new_connections()
        with store.write() as db:
            state.ensure(db, self.connections)
        self.app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        protect(self.app, token)
        problems.install(self.app)
        self.app.include_router(console(store, self.connections, demo=demo, wake=self._wake))

    def _wake(self) -> None:
        self.woken += 1

    def ask(self, method: str, path: str, *, client: tuple[str, int] = HERE, **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=client)
            async with httpx.AsyncClient(transport=transport, base_url=LOCAL) as http:
                return await http.request(method, path, **request)

        return asyncio.run(send())

    def get(self, path: str, expected: int = 200, **request: Any) -> str:
        answer = self.ask("GET", path, **request)
        assert answer.status_code == expected, answer.text
        return answer.text

    def post(self, path: str, expected: int = 303, /, **fields: str) -> str:
        """Send a form; where it leads, or what it says."""
        answer = self.ask("POST", path, data=fields, headers=FORM)
        assert answer.status_code == expected, answer.text
        return answer.headers.get("location", answer.text)


@pytest.fixture
def pages(database: Database) -> Console:
    return Console(database)


def person(pages: Console, **values: str) -> int:
    """A contact with a record at ``hub``; filed as matching files it."""
    (number,) = add_contacts(pages.store, {"values": values})
    more = {"kind": "contact", "remote_id": f"r{number}", "rev": 1, "written_at": 0, "created_at": 0}
    add(pages.store, t.link, {"connection": "hub", "contact_id": number, "shadow": dict(values), **more})
    if "email" in values:
        add(pages.store, t.contact_key, {"contact_id": number, "key": "email", "value": values["email"]})
    marks = keys.blocking(evidence(values))
    add(pages.store, t.block, *({"key": blocks.hashed(key), "contact_id": number} for key in marks))
    return int(number)


PATHS = sorted({entry.ENTRY.path for entry in PAGES})


@pytest.mark.parametrize(
    ("options", "request_", "status"),
    [
        ({}, {}, 200),
        ({}, {"client": ("192.0.2.1", 5)}, 401),
        ({"token": token(TOKEN)}, {}, 401),
        ({"token": token(TOKEN)}, {"headers": {"authorization": f"Bearer {TOKEN}"}}, 200),
    ],
    ids=["here", "far away", "no token", "token"],
)
def test_pages_are_for_operators(database: Database, options: Any, request_: Any, status: int) -> None:
    """Each page answers whom the API answers, and tells nobody else even a name."""
    pages = Console(database, **options)
    for path in PATHS:
        page = pages.get(path, status, **request_)
        assert ("chimp" in page or "Contacts" in page) is (status == 200), path


def test_a_form_of_another_site_changes_nothing(pages: Console) -> None:
    """A browser sent from elsewhere is refused, whatever it carries."""
    (letter,) = add_letters(pages.store, {})
    headers = {**FORM, "sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    answer = pages.ask("POST", f"/console/dead/{letter}/retry", data={}, headers=headers)
    assert answer.status_code in {401, 403}
    assert [row["id"] for row in rows_of(pages.store, t.dead)] == [letter]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/console/contacts/99", 404, "there is no contact 99"),
        ("/console/review/conflicts/99", 404, "99"),
        ("/console/connections/nobody", 404, "no connection &#39;nobody&#39;"),
        ("/console/contacts/0", 422, "contact_id"),
        ("/console/contacts?after=strange", 422, "not a cursor of this list"),
    ],
)
def test_an_error_is_a_page(pages: Console, path: str, status: int, said: str) -> None:
    """With what is wrong in words, the navigation, and nothing of the framework's."""
    page = pages.get(path, status)
    assert said in page
    assert '<nav class="menu"' in page
    assert 'role="alert"' in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"decision": "same"}, "by"),
        ({"by": "Kim"}, "decision"),
        ({"by": "Kim", "decision": "perhaps"}, "decision"),
    ],
)
def test_an_incomplete_decision_is_refused(pages: Console, fields: Mapping[str, str], said: str) -> None:
    """It names what is missing, and decides nothing."""
    a, b = person(pages, email="a@example.com"), person(pages, email="b@example.com")
    row = {"older": a, "newer": b, "score": 5.0, "reasons": [], "source": "sweep", "status": "open", "at": 1}
    (number,) = add(pages.store, t.proposal, row)
    assert said in pages.post(f"/console/review/matches/{number}", 422, **fields)
    assert rows_of(pages.store, t.proposal)[0]["status"] == "open"
    assert pages.woken == 0


def test_a_decision_wakes_the_workers_and_leads_to_the_next(pages: Console) -> None:
    """Three pairs: after the first is put off the next one comes up; the name is kept in a cookie."""
    numbers = []
    for _ in range(2):
        a, b = person(pages, city="Ulm"), person(pages, city="Ulm")
        row = {"older": a, "newer": b, "score": 5.0, "reasons": [], "source": "sweep", "status": "open", "at": 1}
        numbers += add(pages.store, t.proposal, row)
    fields = {"by": "Kim Łø", "decision": "different"}
    answer = pages.ask("POST", f"/console/review/matches/{numbers[1]}", data=fields, headers=FORM)
    assert answer.headers["location"] == f"/console/review/matches/{numbers[0]}?said=different"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = pages.get("/console", headers={"cookie": cookie.partition(";")[0]})
    assert "Kim Łø" in page
    assert pages.woken == 1


def test_a_message_is_one_of_ours(pages: Console) -> None:
    """What a link says was done is looked up, never shown: nobody can put words into the page."""
    assert "Remembered: two people." in pages.get("/console/review?said=different")
    assert "Pay here" not in pages.get("/console/review?said=Pay+here")


def test_every_value_is_escaped(pages: Console) -> None:
    """Wherever values of people are shown."""
    evil = "<script>alert(1)</script>"
    number = person(pages, email="a@example.com", given_name=evil, city=evil)
    add(
        pages.store,
        t.conflict,
        {"contact_id": number, "field": "city", "connection": "chimp", "ours": evil, "theirs": evil, "at": 1},
    )
    add_letters(pages.store, {"reason": evil, "contact_id": number})
    shown = ("contacts", f"contacts/{number}", "contacts?q=%3Cscript%3E", "review?what=conflicts", "dead", "plan")
    for path in shown:
        page = pages.get(f"/console/{path}")
        assert "<script>alert" not in page
        assert re.search(r"<style|\son[a-z]+=|style=", page) is None
    assert sum("&lt;script&gt;" in pages.get(f"/console/{path}") for path in shown) >= 5


class Ids(HTMLParser):
    """The ids of a page, and what its labels and headings point at."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.named: set[str] = set()
        self.forms: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value for name, value in attrs if value is not None}
        if "id" in said:
            self.ids.append(said["id"])
        for name in ("for", "aria-labelledby"):
            self.named |= set(said.get(name, "").split())
        if tag == "form":
            self.forms.append([said.get("method", "get")])


def everything(pages: Console) -> Iterator[str]:
    """Every page with something on it."""
    number = person(pages, email="a@example.com", city="Ulm")
    other = person(pages, email="b@example.com", city="Ulm")
    conflict = {"contact_id": number, "field": "city", "connection": "chimp", "ours": "A", "theirs": "B", "at": 1}
    proposal = {"older": number, "newer": other, "score": 5.0, "reasons": [], "source": "sweep", "status": "open"}
    (asked,) = add(pages.store, t.conflict, conflict)
    (proposed,) = add(pages.store, t.proposal, {**proposal, "at": 1})
    add_letters(pages.store, {"contact_id": number})
    with pages.store.write() as db:
        brake.put_on(db, "chimp", [brake.Stop(Writes.OPT_INS, 120, 900, "too many")])
    held = {"connection": "chimp", "contact_id": number, "gen": 1, "due_at": FAR, "since": 0, "held": "opt_ins"}
    add(pages.store, t.work, held)
    more = (f"contacts/{number}", "review?what=conflicts", f"review/matches/{proposed}", f"review/conflicts/{asked}")
    for path in (*PATHS, *(f"/console/{one}" for one in (*more, "dead?connection=hub", "connections/chimp"))):
        yield pages.get(path)


def test_ids_are_unique_and_labels_point_somewhere(pages: Console) -> None:
    """On every page, so that labels and headings belong to one thing each."""
    for page in everything(pages):
        found = Ids(page)
        assert len(found.ids) == len(set(found.ids)), sorted(i for i in found.ids if found.ids.count(i) > 1)
        assert found.named <= set(found.ids)


def test_every_form_that_changes_something_has_the_place_of_the_token(
    pages: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a session gives one, every form carries it: there is one place where a form begins."""
    monkeypatch.setattr(who, "csrf", lambda _request: "the-token")
    forms = [form for page in everything(pages) for form in re.findall(r'<form method="post".*?</form>', page, re.S)]
    assert len(forms) >= 8
    assert all('<input type="hidden" name="csrf" value="the-token">' in form for form in forms)


def test_a_brake_is_ended_from_its_connection(pages: Console) -> None:
    """What waits is shown with the brake; released, it may go; something else is no answer."""
    list(everything(pages))
    assert "Let all 1 through" in pages.get("/console/connections/chimp")
    pages.post("/console/connections/chimp/brakes/opt_ins", 422, by="Kim", ending="perhaps")
    where = pages.post("/console/connections/chimp/brakes/opt_ins", by="Kim", ending="release")
    assert where == "/console/connections/chimp?said=released&n=1"
    assert "Brakes that are on" not in pages.get("/console/connections/chimp")


def test_a_connection_rests_and_goes_on(pages: Console) -> None:
    """With the reason for everybody who wonders."""
    pages.post("/console/connections/hub/pause", reason="moving house")
    assert "moving house" in pages.get("/console/connections")
    pages.post("/console/connections/hub/resume")
    assert "moving house" not in pages.get("/console/connections")


def test_a_letter_that_cannot_be_tried_says_why(pages: Console) -> None:
    """And stays."""
    (letter,) = add_letters(pages.store, {"station": "sync", "event": 77, "contact_id": None})
    assert "no longer kept" in pages.post(f"/console/dead/{letter}/retry", 409)
    assert "1 cannot be" in pages.get(pages.post("/console/dead/retry", connection="hub", code="refused"))
    assert len(rows_of(pages.store, t.dead)) == 1


@pytest.mark.parametrize(
    ("fields", "status", "lines"),
    [
        ({"status": "withdrawn"}, 303, ["withdrawn"]),
        ({"status": "granted", "evidence": "signed form, 4 May"}, 303, ["granted"]),
        ({"status": "granted"}, 422, []),
        ({}, 422, []),
    ],
)
def test_a_word_about_consent_goes_into_the_ledger(
    pages: Console, fields: Mapping[str, str], status: int, lines: list[str]
) -> None:
    """With the name; a grant without evidence is refused."""
    number = person(pages, email="ann@example.com")
    pages.post(f"/console/contacts/{number}/consent", status, by="Kim", channel="email", **fields)
    kept = rows_of(pages.store, t.consent)
    assert [(row["status"], row["actor"]) for row in kept] == [(line, "Kim") for line in lines]
    assert pages.woken == len(lines)
    if lines:
        assert f"<strong>{lines[0]}</strong> for ann@example.com" in pages.get(f"/console/contacts/{number}")


def test_the_plan_is_counted_where_it_is_small(pages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """In figures, with nothing written; a large store is left to the command line."""
    person(pages, email="ann@example.com", given_name="Ann")
    page = pages.post("/console/plan", 200, connection="chimp")
    assert re.search(r'chimp <span[^>]*>live</span></th><td class="n">1</td>', page)
    assert rows_of(pages.store, t.work) == []
    monkeypatch.setattr(planned, "COUNTED", 0)
    assert "tandem plan" in pages.post("/console/plan", 409)


def test_acts_are_shown_with_who_what_and_how_they_ended(pages: Console) -> None:
    """Newest first, by name and by act, with contacts to open; an act that has not ended says so."""
    number = person(pages, email="ann@example.com")
    with pages.store.write() as db:
        audit.end(db, audit.act(db, "person", "kim", 1, "decide", "POST /undo", {"contact_id": number}), "200")
        audit.end(db, audit.act(db, "nobody", None, None, "login", "POST /login", {}), "refused")
        audit.act(db, "token", "n8n", 7, "operate", "POST /replay", {"connection": "hub", "field": "<b>"})
    page = pages.get("/console/audit")
    assert re.findall(r'<th scope="row">(\d+)</th>', page) == ["5", "3", "1"]
    assert f'<a href="/console/contacts/{number}">contact {number}</a>' in page
    assert "cut off, or not ended" in page
    assert "&lt;b&gt;" in page
    assert re.findall(r'<th scope="row">(\d+)</th>', pages.get("/console/audit?who=kim&act=")) == ["1"]
    assert re.findall(r'<th scope="row">(\d+)</th>', pages.get("/console/audit?act=login")) == ["3"]
    assert "No such act" in pages.get("/console/audit?who=nobody")


def test_letters_are_grouped_by_cause(pages: Console) -> None:
    """The largest group first, each with its newest reason."""
    add_letters(
        pages.store, {"code": "invalid", "reason": "old"}, {"code": "invalid", "reason": "new"}, {"code": "gone"}
    )
    page = pages.get("/console/dead")
    assert re.findall(r"(\d+) at hub: (\w+)", page) == [("2", "invalid"), ("1", "gone")]
    assert "new" in page
    assert "old</p>" not in page


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ann@example.com", {1}),
        (" ANN@Example.com ", {1}),
        ("Ann Lee", {1}),
        ("lee ann", {1}),
        ("r2", {2}),
        ("2", {2}),
        ("+49 30 901820", {2}),
        ("An", set()),
        ("", set()),
        ("\x00", set()),
        ("99999999999999999999999", set()),
    ],
)
def test_people_are_found_by_what_names_them(pages: Console, typed: str, found: set[int]) -> None:
    """An address, a whole name in either order, a phone, a number, a record's id; nothing by a part."""
    person(pages, email="ann@example.com", given_name="Ann", family_name="Lee")
    person(pages, email="bob@example.com", given_name="Bob", phone="+4930901820")
    with pages.store.read() as db:
        assert {one.id for one in searching.found(db, pages.connections, typed)} == found


def test_contacts_are_paged_by_key(pages: Console) -> None:
    """Everybody once, however many pages, also when somebody is added meanwhile."""
    add_contacts(pages.store, *({"values": {"email": f"p{n}@example.com"}} for n in range(60)))
    seen: list[str] = []
    path = "/console/contacts"
    while path:
        page = pages.get(path)
        seen += re.findall(r'<a href="/console/contacts/(\d+)"', page)
        add_contacts(pages.store, {"values": {}})
        following = re.search(r'<a href="([^"]+)" rel="next"', page)
        path = following.group(1).replace("&amp;", "&") if following else ""
    assert [int(one) for one in seen] == sorted({int(one) for one in seen})
    assert len(seen) >= 60


def test_pages_keep_to_the_policy(pages: Console) -> None:
    """Scripts and styles are files of this service, with a version, so that a browser may keep them."""
    answer = pages.ask("GET", "/console")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    # With no-referrer a browser would say "null" as the origin of our own forms, which the guard refuses.
    assert answer.headers["referrer-policy"] == "same-origin"
    found = re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text)
    assert len(found) >= 4
    for path in found:
        file = pages.ask("GET", path)
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]


def test_the_navigation_is_one_list() -> None:
    """Every page once, with a key of its own, below a known heading; a wrong heading is an error."""
    entries = [page.ENTRY for page in PAGES]
    assert len({entry.path for entry in entries}) == len(entries)
    assert len({entry.key for entry in entries}) == len(entries)
    assert [name for name, _ in grouped(entries)][:2] == ["Now", "People"]
    with pytest.raises(ValueError, match="Elsewhere"):
        grouped([Entry("X", "/console/x", "Elsewhere")])


def test_every_page_is_in_the_document() -> None:
    """docs/console.md and docs/console-agreement.md name each page with its path."""
    pages = ("console.md", "console-agreement.md")
    text = "".join((Path(__file__).parents[1] / "docs" / name).read_text(encoding="utf-8") for name in pages)
    assert [page.ENTRY.path for page in PAGES if f"**{page.ENTRY.name}** `{page.ENTRY.path}`" not in text] == []


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.number(1234.0), "1,234"),
        (words.number(None), "–"),
        (words.count(Count(count=10_000, at_least=True)), "10,000+"),
        (words.seconds(0.25), "250 ms"),
        (words.seconds(90), "1.5 min"),
        (words.seconds(None), "–"),
        (words.share(0), "0 %"),
        (words.share(0.00001), "< 0.01 %"),
        (words.share(0.005), "0.50 %"),
        (words.share(0.456), "46 %"),
        (words.share(0.9985), "99.85 %"),
        (words.share(0.999999), "> 99.99 %"),
        (words.share(1), "100 %"),
        (words.label("consent:email"), "consent email"),
        (words.coded("ask `tandem <x>` now"), "ask <code>tandem &lt;x&gt;</code> now"),
        (words.coded("a ` <b>"), "a ` &lt;b&gt;"),
        (words.coded(""), ""),
    ],
)
def test_figures_are_shown_as_people_read_them(shown: str, expected: str) -> None:
    """No false zero, no figure where nothing is known."""
    assert shown == expected


def test_charts_say_what_they_show() -> None:
    """Title, description and each bar in words; a gap in a line stays one; nothing where nothing is known."""
    bars = str(charts.bars("Landed <now>", [("a", 0), ("b", 5)]))
    assert "Landed &lt;now&gt;" in bars
    assert "most, b: 5" in bars
    assert bars.count("<rect") == 2
    assert 'height="0.0"' in bars
    line = str(charts.line("Drift", [("a", 1.0), ("b", 2.0), ("c", None), ("d", 3.0)]))
    assert line.count("<polyline") == 1
    assert line.count("<circle") == 1
    assert charts.line("Drift", [("a", None)]) == ""
    assert "style=" not in bars + line


@pytest.mark.parametrize(
    ("cookie", "name"), [("Kim", "Kim"), ("Kim%20Lee", "Kim Lee"), ("a%0Ab", ""), ("x" * 101, ""), (None, "")]
)
def test_a_name_is_kept_only_if_it_is_one(cookie: str | None, name: str) -> None:
    """What a browser sends back is not believed blindly."""
    headers = [(b"cookie", f"{who.COOKIE}={cookie}".encode())] if cookie is not None else []
    assert who.person(Request({"type": "http", "headers": headers})) == name
