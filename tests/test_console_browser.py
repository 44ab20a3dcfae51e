"""The console in a real browser, on the journey of made-up people between two simulated vendors."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import select

from app.core import tables as t
from app.ops import matches
from app.records import dead
from app.repair import runs
from tests.browser import HEAVIEST, Browser, Served, browser, console

__all__ = ["browser", "console"]

# Path → the picture that is made of it for the documents.
PAGES = {
    "/console": "overview",
    "/console/flow": "flow",
    "/console/contacts": None,
    "/console/contacts/{contact}": "contact",
    "/console/review": None,
    "/console/review?what=conflicts": None,
    "/console/review/matches/{match}": "match",
    "/console/review/conflicts/{conflict}": "conflict",
    "/console/dead": "dead",
    "/console/dead?connection=mailchimp": None,
    "/console/connections": None,
    "/console/connections/hubspot": "connection",
    "/console/plan": "plan",
    "/console/mapping": None,
    "/console/mapping/hubspot": "mapping",
    "/console/mapping/hubspot/problems": None,
    "/console/audit": None,
}
OTHERS = {("dark", "overview"), ("phone", "contact")}  # looks of which there is a picture, too


# What another look can break; the rest is the same HTML.
LOOKS = {"light": (), "dark": ("color-contrast",), "phone": ("target-size", "scrollable-region-focusable")}


class Story:
    """What there is to decide: a double edit, a pair that may be one person, a dead letter."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.database = served.tandem.database
        with self.database.read() as db:
            both = db.execute(select(t.link.c.contact_id, t.link.c.remote_id).where(t.link.c.connection == "mailchimp"))
            self.members = {row.contact_id: row.remote_id for row in both}
            both = db.execute(select(t.link.c.contact_id, t.link.c.remote_id).where(t.link.c.connection == "hubspot"))
            self.records = {row.contact_id: row.remote_id for row in both}
        self.pairs = sorted(set(self.members) & set(self.records))
        self.used = 0

    def contact(self) -> int:
        """Somebody new who is on both sides."""
        self.used += 1
        return self.pairs[self.used]

    def change(self, contact: int, *, crm: str | None = None, marketing: str | None = None) -> None:
        """Somebody there changes the city."""
        with self.database.read() as db:
            facts = db.execute(select(t.contact.c.facts).where(t.contact.c.id == contact)).scalar_one()
        if crm is not None:
            path = f"/crm/v3/objects/contacts/{self.records[contact]}"
            self.served.hubspot.patch(path, json={"properties": {"city": crm}}).raise_for_status()
        if marketing is not None:
            member = hashlib.md5(facts["email"]["v"].encode()).hexdigest()
            path = f"/lists/{self.served.sandbox.mailchimp.audience.id}/members/{member}"
            self.served.mailchimp.patch(path, json={"merge_fields": {"CITY": marketing}}).raise_for_status()

    def conflict(self, ours: str, theirs: str) -> int:
        """Both sides change a city; the number of what a person has to decide."""
        contact = self.contact()
        self.change(contact, crm=ours, marketing=theirs)
        self.served.poll()
        rows = self.rows(t.conflict, contact_id=contact)
        assert len(rows) == 1, rows
        return int(rows[0]["id"])

    def match(self) -> int:
        """Two who may be one person: the CRM has somebody twice, under another address."""
        contact = self.contact()
        facts = self.rows(t.contact, id=contact)[0]["facts"]
        words = {"firstname": "given_name", "lastname": "family_name", "company": "company_name", "city": "city"}
        known = {theirs: facts[ours]["v"] for theirs, ours in words.items() if ours in facts and facts[ours]["v"]}
        twin = {**known, "email": f"twin{contact}@example.org"}
        answer = self.served.hubspot.post("/crm/v3/objects/contacts", json={"properties": twin}).raise_for_status()
        self.served.poll()
        (link,) = self.rows(t.link, connection="hubspot", remote_id=answer.json()["id"])
        made = [row["id"] for row in self.rows(t.proposal, older=contact, newer=link["contact_id"])]
        if made:
            return int(made[0])
        connections = self.served.tandem.connections
        return self.database.transact(lambda db: matches.propose(db, connections, contact, link["contact_id"], "Kim"))

    def letter(self) -> int:
        """A write that was given up."""
        contact = self.contact()
        letter = dead.Letter("push", "mailchimp", "invalid", "CITY is too long", contact_id=contact, field="CITY")
        with self.database.write() as db:
            dead.write(db, [letter])
        return int(self.rows(t.dead, contact_id=contact)[0]["id"])

    def rows(self, table: Any, **wanted: Any) -> list[dict[str, Any]]:
        """The rows of a table that hold these values."""
        query = select(table).where(*(table.c[name] == value for name, value in wanted.items()))
        with self.database.read() as db:
            return [dict(row) for row in db.execute(query).mappings()]

    def city(self, contact: int) -> Any:
        """What the contact holds."""
        return self.rows(t.contact, id=contact)[0]["facts"]["city"]["v"]


@pytest.fixture(scope="module")
def story(console: Served) -> Story:
    return Story(console)


@pytest.fixture(scope="module")
def paths(story: Story) -> dict[str, str]:
    """Every page, with something on it."""
    conflict = story.conflict("Ulm", "Bonn")
    of = {"match": story.match(), "conflict": conflict, "contact": story.rows(t.conflict, id=conflict)[0]["contact_id"]}
    story.letter()
    served = story.served
    with story.database.write() as db:
        served.tandem.metrics.recorder.flush(db)
        runs.start(db, served.tandem.connections, None, repair=False, by="Kim")
    while served.tandem.reconcile.step():
        pass
    return {path: path.format(**of) for path in PAGES}


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_accessible_and_quiet(
    console: Served, browser: Browser, paths: dict[str, str], look: str
) -> None:
    """No error on the browser's console and no serious violation, light, dark and on a phone; nothing stands out."""
    with browser.visit(console.url, width=390 if look == "phone" else 1200, dark=look == "dark") as visit:
        for asked, path in paths.items():
            visit.go(path)
            visit.check(*LOOKS[look])
            wide = visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{path}: {wide} px stand out at the side"
            name = PAGES[asked]
            if name is not None and (look == "light" or (look, name) in OTHERS):
                visit.shoot(name if look == "light" else f"{name}-{look}")


def test_every_page_reads_without_a_script(console: Served, browser: Browser, paths: dict[str, str]) -> None:
    """What a page says, it says in HTML: headings, tables and links are there without JavaScript."""
    with browser.visit(console.url, script=False) as visit:
        for path in paths.values():
            page = visit.go(path)
            assert page.locator("h1").count() == 1
            assert page.locator("nav.menu a").count() >= 8


def test_the_first_page_is_light(console: Served, browser: Browser) -> None:
    """With everything that it loads."""
    loaded: list[Any] = []
    with browser.visit(console.url) as visit:
        visit.page.on("response", lambda one: loaded.append(one))
        visit.go("/console")
        visit.page.wait_for_load_state("networkidle")
        sizes = [len(one.body()) for one in loaded]  # not before: the page has to go on meanwhile
    assert 20_000 < sum(sizes) <= HEAVIEST


def test_a_person_decides_a_double_edit(console: Served, browser: Browser, story: Story) -> None:
    """With the mouse; the value that was chosen lands at the other side, and the name is kept for the next time."""
    number = story.conflict("Graz", "Linz")
    contact = story.rows(t.conflict, id=number)[0]["contact_id"]
    with browser.visit(console.url) as visit:
        page = visit.go(f"/console/review/conflicts/{number}")
        page.get_by_label("Your name").fill("Kim")
        page.get_by_role("button", name="Take theirs").click()
        page.wait_for_load_state()
        assert "Decided" in page.locator("#said").inner_text()
        assert "Kim" in page.locator(".who").inner_text()
        visit.check()
    theirs = story.city(contact)
    console.settle()
    assert theirs in {"Graz", "Linz"}
    record = console.hubspot.get(f"/crm/v3/objects/contacts/{story.records[contact]}", params={"properties": "city"})
    assert record.json()["properties"]["city"] == theirs
    assert story.rows(t.conflict, id=number) == []


def test_a_person_decides_always_by_keys(console: Served, browser: Browser, story: Story) -> None:
    """a, then o: nobody is asked again about the field; and the ruling can be taken back."""
    number = story.conflict("Kiel", "Jena")
    with browser.visit(console.url) as visit:
        page = visit.go(f"/console/review/conflicts/{number}")
        page.get_by_label("Your name").fill("Kim")
        page.locator("h1").click()
        page.keyboard.press("a")
        page.keyboard.press("o")
        page.wait_for_url("**said=always*")
        page = visit.go("/console/review?what=conflicts")
        visit.check()
        assert len(story.rows(t.ruling, field="city")) == 1
        page.get_by_label("Your name").fill("Kim")
        page.get_by_role("button", name="Ask again").click()
        page.wait_for_url("**said=unruled*")
    assert story.rows(t.ruling, field="city") == []


def test_a_person_says_that_two_are_one(console: Served, browser: Browser, story: Story) -> None:
    """By the key s; the other contact is merged into the older one."""
    number = story.match()
    row = story.rows(t.proposal, id=number)[0]
    with browser.visit(console.url) as visit:
        page = visit.go(f"/console/review/matches/{number}")
        page.get_by_label("Your name").fill("Kim")
        page.locator("h1").click()
        page.keyboard.press("s")
        page.wait_for_url("**said=same*")
        visit.check()
    (newer,) = story.rows(t.contact, id=row["newer"])
    assert newer["merged_into"] == row["older"]
    assert story.rows(t.proposal, id=number)[0]["decided_by"] == "Kim"
    console.settle()


def test_a_person_tries_a_dead_letter_again(console: Served, browser: Browser, story: Story) -> None:
    """A whole cause at once; the letter goes, and the write is marked."""
    number = story.letter()
    contact = story.rows(t.dead, id=number)[0]["contact_id"]
    with browser.visit(console.url) as visit:
        page = visit.go("/console/dead")
        page.get_by_role("button", name="Try all again").first.click()
        page.wait_for_url("**said=retried*")
        assert "tried again" in page.locator("#said").inner_text()
        visit.check()
    assert story.rows(t.dead, id=number) == []
    assert len(story.rows(t.work, contact_id=contact)) == 1
    console.settle()
    assert story.rows(t.work, contact_id=contact) == []


def test_a_person_puts_a_value_back(console: Served, browser: Browser, story: Story) -> None:
    """It is shown first; then it goes back, on both sides."""
    contact = story.contact()
    before = story.city(contact)
    story.change(contact, crm="Wrongtown")
    console.poll()
    assert story.city(contact) == "Wrongtown"
    with browser.visit(console.url) as visit:
        page = visit.go(f"/console/contacts/{contact}")
        row = page.locator("tr", has=page.locator("th", has_text="city"))
        row.get_by_text("Explain").click()
        row.get_by_label("Your name").fill("Kim")
        row.get_by_role("button", name="Put city back").click()
        page.wait_for_load_state()
        visit.check()
        assert "Wrongtown" in page.locator("main").inner_text()
        assert story.city(contact) == "Wrongtown"
        page.get_by_role("button", name="Put it back").click()
        page.wait_for_url("**said=undone*")
    console.settle()
    assert story.city(contact) == before


def test_the_flow_moves_by_itself(console: Served, browser: Browser, story: Story) -> None:
    """What comes in shows up without a reload: the event, what was decided, where it went."""
    contact = story.contact()
    with browser.visit(console.url) as visit:
        page = visit.go("/console/flow")
        assert page.get_by_text("Movedtown").count() == 0
        story.change(contact, crm="Movedtown")
        console.poll()
        page.locator("ins", has_text="Movedtown").wait_for()
        assert page.locator("#went + ol li, #went ~ ol li").first.inner_text().startswith("landed")
        visit.check()


def test_keys_lead_to_pages(console: Served, browser: Browser) -> None:
    """g and a letter; j goes down a list; ? says which keys there are."""
    with browser.visit(console.url) as visit:
        page = visit.go("/console")
        page.keyboard.press("g")
        page.keyboard.press("c")
        page.wait_for_url("**/console/contacts")
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.closest('[data-item]') !== null")
        page.keyboard.press("?")
        assert page.get_by_role("heading", name="Keys").is_visible()
        visit.check()


def test_a_changed_mapping_is_tried_on_a_real_record(console: Served, browser: Browser) -> None:
    """A mistake is told with its line; nothing is kept."""
    with browser.visit(console.url) as visit:
        page = visit.go("/console/mapping/hubspot")
        page.get_by_text("Try a changed mapping").click()
        box = page.get_by_label("The whole mapping")
        text = box.input_value()
        box.fill(text.replace("theirs: firstname", "their: firstname"))
        page.get_by_role("button", name="Try it").click()
        page.wait_for_load_state()
        assert "line " in page.get_by_role("alert").inner_text()
        visit.check()
        page.get_by_label("The whole mapping").fill(text)
        page.get_by_role("button", name="Try it").click()
        page.wait_for_load_state()
        assert "would work" in page.locator("#said").inner_text()


def test_a_script_of_somebody_else_is_found(console: Served, browser: Browser) -> None:
    """Guards the guard: what the pages must not have is seen where it is put in."""
    with browser.visit(console.url) as visit:
        page = visit.go("/console")
        page.evaluate(
            "document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=\"/static/icon.svg\">')"
        )
        page.evaluate("setTimeout(() => { throw new Error('broken') })")
        with pytest.raises(AssertionError, match=r"broken.*image-alt"):
            visit.check()
