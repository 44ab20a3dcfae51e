"""Companies, deals, owners: read, matched, tied to people, summarised, and never a reason to delete anybody."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import event

from app.core import tables as t
from app.core.db import Database
from app.core.words import Fact
from app.ops import provenance
from app.sync import objects
from app.sync.connection import Connection
from connectors.contract import Doing, Kind, NeedsHuman, Ref, Tie, TryLater
from tests.around import AROUND, Around

ANN = {"mail": "ann@x.org", "first": "Ann", "last": "Lee"}
BEN = {"mail": "ben@x.org", "first": "Ben", "last": "Boggs"}


@pytest.fixture
def world(database: Database) -> Around:
    """Ann (hub1) and Ben (hub2) in both systems; Acme with both, its deal with Ann."""
    made = Around(database)
    hub = made.vendors["hub"]
    hub.put(None, ANN)
    hub.put(None, BEN)
    hub.have(Kind.COLLEAGUE, "u1", {"email": "kim@us.example", "name": "Kim", "active": True})
    hub.have(
        Kind.COMPANY,
        "c1",
        {"title": "Acme", "web": "https://www.acme.co.uk/about", "branch": "steel"},
        {Kind.CONTACT: [Tie("hub1", main=True, role="boss"), "hub2"]},
    )
    hub.have(
        Kind.DEAL,
        "d1",
        {"title": "Rails", "stage": "talks", "worth": "1200.50", "owner": "u1"},
        {Kind.CONTACT: [Tie("hub1", main=True)], Kind.COMPANY: [Tie("c1", main=True)]},
    )
    made.rest()
    return made


def chimp(world: Around, mail: str = ANN["mail"]) -> dict[str, object]:
    """What the marketing side holds of somebody."""
    (record,) = [r for r in world.vendors["chimp"].records.values() if r.fields["mail"] == mail]
    return dict(record.fields)


def test_company_and_deal_reach_the_other_side(world: Around) -> None:
    """The registrable domain, the deal's status and amount are facts of the contact, written through its mapping."""
    assert {k: v for k, v in chimp(world).items() if k in {"domain", "deal", "worth"}} == {
        "domain": "acme.co.uk",
        "deal": "open",
        "worth": "1200.5",
    }
    assert chimp(world, BEN["mail"])["domain"] == "acme.co.uk"
    assert chimp(world, BEN["mail"]).get("deal") is None
    (deal,) = world.rows(t.deal)
    (company,) = world.rows(t.company)
    assert (deal.company_id, deal.owner_email, deal.currency) == (company.id, "kim@us.example", "EUR")
    ann, _ = world.facts_of(ANN["mail"])
    (mine,) = [b for b in world.rows(t.belonging) if b.contact_id == ann and b.kind == "company"]
    assert (mine.main, mine.role, mine.object_id) == (1, "boss", company.id)
    facts = next(c.facts for c in world.rows(t.contact) if c.id == ann)
    assert Fact.from_json(facts["company_domain"]).source == "tandem"
    with world.database.read() as db:
        (field,) = provenance.why(db, world.connections, ann, "company_domain").fields
    assert field.words == "made of the company, the deals and the engagement of the contact"
    assert field.cause is not None
    assert field.cause.words == "Tandem made it of what stands around the contact"


def test_a_deal_has_its_history(world: Around) -> None:
    """Each stage, status and amount is a step with its time; what closed has a closing time, lost a reason."""
    hub = world.vendors["hub"]
    hub.have(Kind.DEAL, "d1", {"stage": "offer", "worth": "900"})
    world.rest()
    hub.have(Kind.DEAL, "d1", {"stage": "dropped", "why": "price"})
    world.rest()
    world.rest(whole=True)
    steps = [(s.status, s.stage, s.amount) for s in world.rows(t.deal_step)]
    assert steps == [("open", "talks", "1200.5"), ("open", "offer", "900"), ("lost", "dropped", "900")]
    (deal,) = world.rows(t.deal)
    assert (deal.status, deal.lost_reason, deal.closed_at is not None) == ("lost", "price", True)
    assert chimp(world)["deal"] == "lost"


def test_a_colleague_who_is_new_owns_what_was_theirs(world: Around) -> None:
    """A deal, or an act, may name somebody whom the directory shows later."""
    hub = world.vendors["hub"]
    hub.have(Kind.DEAL, "d1", {"owner": "u2"})
    hub.did("m1", Doing.MEETING, "hub1", by=Ref("u2"))
    world.rest()
    assert [d.owner_email for d in world.rows(t.deal)] == [None]
    hub.have(Kind.COLLEAGUE, "u2", {"email": "Lou@us.example", "name": "Lou", "active": True})
    world.rest()
    assert [d.owner_email for d in world.rows(t.deal)] == ["lou@us.example"]
    assert [e.by for e in world.rows(t.engagement)] == ["lou@us.example"]
    del hub.others[Kind.COLLEAGUE]["u1"]
    world.rest()
    assert {c.remote_id: c.active for c in world.rows(t.colleague)} == {"u1": 0, "u2": 1}


@pytest.mark.parametrize("how", ["event", "walk"])
def test_an_association_alone_is_seen(world: Around, how: str) -> None:
    """A change of ties that moves no modified time comes by its event, or else with the next whole walk."""
    hub = world.vendors["hub"]
    hub.have(Kind.COMPANY, "c1", ties={Kind.CONTACT: ["hub2"]}, quiet=how == "walk")
    world.rest(whole=how == "walk")
    assert "domain" not in world.contact(ANN["mail"])
    assert world.contact(ANN["mail"])["company_domain"] is None
    assert chimp(world)["domain"] is None
    assert world.contact(BEN["mail"])["company_domain"] == "acme.co.uk"


def test_a_record_of_a_person_may_say_where_it_belongs(world: Around) -> None:
    """Some vendors keep the tie with the person: it counts alike, and its end too."""
    hub = world.vendors["hub"]
    hub.have(Kind.COMPANY, "c2", {"title": "Bolts", "web": "bolts.example"})
    for ties, domain in (({Kind.COMPANY: (Tie("c2", main=True),)}, "bolts.example"), ({Kind.COMPANY: ()}, None)):
        record = hub.records[hub.put("hub2", {"first": f"Ben {len(ties[Kind.COMPANY])}"})]
        object.__setattr__(record, "ties", ties)
        world.rest()
        assert world.contact(BEN["mail"])["company_domain"] == domain


@pytest.mark.parametrize("kind", [Kind.COMPANY, Kind.DEAL])
def test_what_the_vendor_deletes_is_gone_and_nobody_with_it(world: Around, kind: Kind) -> None:
    """The row stays with its history, what contacts held of it is emptied, and no contact is touched otherwise."""
    hub = world.vendors["hub"]
    hub.lose(kind, "c1" if kind is Kind.COMPANY else "d1")
    world.rest()
    (row,) = world.rows(t.company if kind is Kind.COMPANY else t.deal)
    assert row.gone_at is not None
    assert chimp(world)["domain" if kind is Kind.COMPANY else "deal"] is None
    assert len(world.people("chimp")) == len(world.people("hub")) == 2
    assert world.rows(t.tombstone) == []


def test_the_company_may_come_before_its_people_and_its_deal(database: Database) -> None:
    """Whatever order they are read in, everybody belongs in the end."""
    world = Around(database)
    hub = world.vendors["hub"]
    tie = {Kind.CONTACT: [Tie("hub1", main=True)]}
    hub.have(Kind.DEAL, "d1", {"title": "Rails", "stage": "closed", "owner": "u9"}, {**tie, Kind.COMPANY: ["c1"]})
    world.rest()
    hub.have(Kind.COMPANY, "c1", {"title": "Acme", "web": "acme.example"}, tie)
    world.rest()
    hub.have(Kind.COLLEAGUE, "u9", {"email": "kim@us.example", "name": "Kim", "active": True})
    assert world.rows(t.contact) == []
    hub.put(None, ANN)
    world.rest(whole=True)
    assert chimp(world)["domain"] == "acme.example"
    assert chimp(world)["deal"] == "won"
    (deal,) = world.rows(t.deal)
    assert (deal.company_id, deal.owner_email) == (world.rows(t.company)[0].id, "kim@us.example")


@pytest.mark.parametrize(
    ("web", "count"),
    [("acme.example", 1), ("https://shop.acme.example/x", 1), ("gmail.com", 2), (None, 2), ("co.uk", 2)],
)
def test_companies_of_two_vendors_are_one_by_their_domain(database: Database, web: str | None, count: int) -> None:
    """By the registrable domain; never by that of a mail provider, nor by none."""
    world = Around(database)
    for name in ("hub", "chimp"):
        world.vendors[name].have(Kind.COMPANY, "c1", {"title": f"Acme of {name}", "web": web})
        world.vendors[name].have(Kind.COMPANY, "c2", {"title": "Bolts", "web": "bolts.example"})
    world.vendors["hub"].have(Kind.COMPANY, "c1", {"web": "acme.example" if count == 1 else web})
    world.rest()
    world.rest()
    rows = [c for c in world.rows(t.company) if c.domain != "bolts.example"]
    assert len(rows) == count
    assert len(world.rows(t.object_link)) == 4
    assert sum(c.domain == "bolts.example" for c in world.rows(t.company)) == 1


def test_two_companies_of_one_vendor_stay_two(database: Database) -> None:
    """What a vendor keeps apart is apart, and an over-full domain tells nobody's company."""
    world = Around(database)
    for n in range(objects.OVERFULL + 1):
        world.vendors["hub"].have(Kind.COMPANY, f"c{n}", {"title": f"Shop {n}", "web": "chain.example"})
    world.rest()
    world.vendors["chimp"].have(Kind.COMPANY, "x", {"title": "Chain", "web": "chain.example"})
    world.rest()
    assert len(world.rows(t.company)) == objects.OVERFULL + 2


def test_a_domain_that_always_matches_is_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: where nobody asks whether the company has a record there already, two of one vendor become one."""
    monkeypatch.setattr(objects.objects, "known_at", lambda *_: set())
    world = Around(database)
    for n in range(2):
        world.vendors["hub"].have(Kind.COMPANY, f"c{n}", {"title": f"Shop {n}", "web": "chain.example"})
        world.rest()
    assert len(world.rows(t.company)) == 1


def test_the_newest_word_on_a_field_counts_in_any_order(database: Database) -> None:
    """Two vendors say something of one company: what is read later does not win by that."""
    world = Around(database)
    hub, chimp_ = world.vendors["hub"], world.vendors["chimp"]
    hub.have(Kind.COMPANY, "c1", {"title": "Acme", "web": "acme.example", "branch": "steel"})
    chimp_.have(Kind.COMPANY, "c1", {"title": "Acme", "web": "acme.example", "branch": "metal"})
    hub.have(Kind.COMPANY, "c1", {"branch": "iron"})
    for names in (("hub", "chimp"), ("chimp", "hub")):
        for name in names:
            world.deliver(name)
            world.rest()
        (company,) = world.rows(t.company)
        assert Fact.from_json(company.facts["industry"]).value == "iron"


def test_companies_that_a_vendor_merges_are_one(world: Around) -> None:
    """The loser's people and deals are the winner's."""
    hub = world.vendors["hub"]
    hub.have(Kind.COMPANY, "c2", {"title": "Acme Ltd", "web": "acme-ltd.example"})
    world.rest()
    hub.have(Kind.COMPANY, "c2", ties={Kind.CONTACT: ["hub1", "hub2"]}, former=["c1"])
    hub.have(Kind.DEAL, "d1", ties={Kind.COMPANY: ["c2"]})
    world.rest()
    old, new = sorted(world.rows(t.company), key=lambda c: c.id)
    assert old.merged_into == new.id
    assert {b.object_id for b in world.rows(t.belonging) if b.kind == "company"} == {new.id}
    assert [d.company_id for d in world.rows(t.deal)] == [new.id]
    assert chimp(world)["domain"] == "acme-ltd.example"


@pytest.mark.parametrize("problem", [NeedsHuman("scope missing"), TryLater("busy")])
def test_a_kind_that_is_refused_rests_alone(world: Around, problem: Exception) -> None:
    """Contacts go on, the reason is kept, and the kind is asked for again later."""
    hub = world.vendors["hub"]
    hub.trouble = [problem] * 3
    hub.put("hub1", {"town": "Bonn"})
    world.rest()
    assert world.people("chimp")["ann@x.org"]["town"] == "Bonn"
    assert [c.paused for c in world.rows(t.connection_state)] == [0, 0]
    failing = [s for s in world.rows(t.survey) if s.failure is not None]
    assert {s.connection for s in failing} == {"hub"}
    raised = {a.subject: a.words for a in world.rows(t.alarm)}
    if isinstance(problem, NeedsHuman):
        assert "take `company` out of the mapping" in raised["company"]
    else:
        assert raised == {}
    hub.trouble = []
    hub.have(Kind.COMPANY, "c1", {"web": "new.example"}, quiet=True)
    world.rest(whole=True)
    assert chimp(world)["domain"] == "new.example"
    assert [s.failure for s in world.rows(t.survey)] == [None] * len(world.rows(t.survey))
    assert all(a.cleared_at is not None for a in world.rows(t.alarm))


def test_reading_again_what_did_not_change_changes_nothing(world: Around) -> None:
    """A whole walk over all kinds marks nobody, writes nothing, and adds no history."""
    history = len(world.rows(t.history))
    assert world.rest(whole=True) == 0
    assert world.rows(t.summary_due) == []
    assert len(world.rows(t.history)) == history


def test_a_company_of_many_costs_a_bounded_number_of_statements(database: Database) -> None:
    """A page of companies is stored with as many statements, however many people there are already."""
    world = Around(database)
    hub = world.vendors["hub"]
    said = []
    for size in (5, 60):
        for n in range(size):
            hub.put(None, {"mail": f"p{size}.{n}@x.org", "first": "P", "last": f"{n}"})
        world.rest()
        for n in range(3):
            hub.have(
                Kind.COMPANY, f"c{size}.{n}", {"title": "C", "web": f"c{size}-{n}.example"}, {Kind.CONTACT: ["hub1"]}
            )
        hub.events.clear()
        records = [r for i, r in hub.others[Kind.COMPANY].items() if i.startswith(f"c{size}.")]
        count = 0

        def counted(*_: object) -> None:
            nonlocal count
            count += 1

        event.listen(database.engine, "before_cursor_execute", counted)
        with database.write() as db:
            objects.absorb(db, world.connections["hub"], world.connections, Kind.COMPANY, records)
        event.remove(database.engine, "before_cursor_execute", counted)
        said.append(count)
    assert said[0] == said[1]


def test_a_mapping_that_sends_nothing_derived_makes_none(database: Database) -> None:
    """Facts that nobody is told are not made, so an act writes no history."""
    plain = AROUND
    for name in ("engagement_score", "last_touch_at", "emails_opened", "company_domain", "deal_status", "deal_amount"):
        plain = "\n".join(line for line in plain.split("\n") if not line.strip().startswith(f"{name}:"))
    world = Around(database, mapping_text=plain)
    hub = world.vendors["hub"]
    hub.put(None, ANN)
    hub.have(Kind.COMPANY, "c1", {"title": "Acme", "web": "acme.example"}, {Kind.CONTACT: ["hub1"]})
    world.rest()
    assert "company_domain" not in world.contact(ANN["mail"])
    assert world.rows(t.summary_due) == []


def test_a_mapping_that_sends_more_is_caught_up_with(database: Database) -> None:
    """Who was there before a field was mapped gets it, too."""
    world = Around(database)
    sending = world.connections
    hub = world.vendors["hub"]
    world.replaced({n: _without_derived(c) for n, c in sending.items()})
    hub.put(None, ANN)
    hub.have(Kind.COMPANY, "c1", {"title": "Acme", "web": "acme.example"}, {Kind.CONTACT: ["hub1"]})
    world.rest()
    assert "company_domain" not in world.contact(ANN["mail"])
    world.replaced(dict(sending))
    world.rest()
    assert chimp(world)["domain"] == "acme.example"


def _without_derived(connection: Connection) -> Connection:
    lost = {"points", "touched", "opens", "domain", "deal", "worth"}
    return dataclasses.replace(connection, map=connection.map.without(lost))
