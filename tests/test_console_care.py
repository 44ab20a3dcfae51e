"""What the pages tell of brakes, merges and consent."""

from __future__ import annotations

import re

import pytest

from app.core import tables as t
from app.core.words import Channel, Entry, Reason, Status, Writes
from app.push import brake
from app.push.work import FAR
from app.records import ledger
from tests.apihelp import add, add_contacts
from tests.test_demo import Site, ann, database, site

__all__ = ["ann", "database", "site"]


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def stopped(site: Site, held: str) -> None:
    """A brake at chimp, and contact 1 that waits for it, or is let through."""
    with site.store.write() as db:
        brake.put_on(db, "chimp", [brake.Stop(Writes.OPT_INS, 120, 900, "120 opt-ins are <too> many")])
    row = {"connection": "chimp", "contact_id": 1, "gen": 1, "due_at": FAR, "since": 0, "held": held}
    add(site.store, t.work, row)


@pytest.mark.parametrize("demo", [True, False], ids=["demo", "a service in use"])
def test_the_overview_names_a_brake(ann: Site, demo: bool) -> None:
    """One line at its connection: what, how many, why, and the command to look."""
    stopped(ann, "opt_ins")
    page = Site(ann.store, demo=demo).page("/" if demo else "/console")
    cards = re.findall(r'<li class="card ([^"]+)">(.*?)</li>', page, re.DOTALL)
    assert ["braked" in classes for classes, _ in cards] == [False, True]
    said = text(cards[1][1])
    assert "Brake on for opt-ins, 1 wait: 120 opt-ins are &lt;too&gt; many. " in said
    assert ("tandem brake show chimp opt_ins" in said) is demo
    assert "Brake on" not in cards[0][1]


@pytest.mark.parametrize(("held", "step"), [("opt_ins", "waits for a brake"), ("+opt_ins", "on its way")])
def test_a_write_that_waits_for_a_brake_is_not_on_its_way(ann: Site, held: str, step: str) -> None:
    """In the list and with the contact; once it is let through it is."""
    stopped(ann, held)
    shown = ann.state(person=1)
    for region in ("people", "detail"):
        assert re.findall(r'<span class="step [a-z-]+">([a-z ]+)</span>', shown[region]) == ["in step", step]


def test_a_merged_contact_leads_to_the_one_that_stands_for_it(ann: Site) -> None:
    """In the list and on its own page; and that one leads back."""
    (other,) = add_contacts(ann.store, {"values": {"email": "anna@example.com"}})
    with ann.store.write() as db:
        db.execute(t.contact.update().where(t.contact.c.id == other).values(merged_into=1))
    people = ann.state()["people"]
    assert re.findall(r'id="stand-in-(\d+)" href="([^"]+)"', people) == [(str(other), "/?person=1")]
    page = ann.state(person=other)["detail"]
    assert re.search(r'href="/\?person=1">contact 1</a> stands for it now', page)
    assert re.search(rf'Stands for <a [^>]*href="/\?person={other}">contact {other}</a>', ann.state(person=1)["detail"])


def test_every_word_about_consent_is_shown(ann: Site) -> None:
    """With the contact, the last first: what, for which address, why, by whom; nobody else's."""
    lines = [
        Entry("ann@example.com", Channel.EMAIL, "news", Status.GRANTED, Reason.DOUBLE_OPT_IN, "chimp", 1_000),
        Entry("ann@example.com", Channel.EMAIL, "", Status.WITHDRAWN, Reason.MANUAL, "operator", 2_000, actor="<Kim>"),
        Entry("bob@example.com", Channel.EMAIL, "", Status.WITHDRAWN, Reason.COMPLAINT, "chimp", 3_000),
    ]
    with ann.store.write() as db:
        for entry in lines:
            ledger.append(db, [(entry, None)], 5_000)
    page = ann.state(person=1)["detail"]
    found = [text(line) for line in re.findall(r"<li>(.*?)</li>", page.split('class="ledger"')[1], re.DOTALL)]
    assert [line.split(" said by")[0].strip() for line in found] == [
        "email: withdrawn for ann@example.com manual,",
        "email news: granted for ann@example.com double opt in,",
    ]
    assert "said by operator &lt;Kim&gt;" in found[0]
