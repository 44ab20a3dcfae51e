"""Leads in the store: worked out from what happened, kept with their history, told to every vendor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from app.agreement import acting, leads
from app.agreement.leads import Known
from app.agreement.words import Finding, Team, Word
from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.errors import NotPossible
from app.ops import provenance
from app.records import leads as rows
from app.repair import erasing, subject
from app.repair.prune import DAY_MS, Retention, everything
from app.sync import governing, splitting, uniting
from connectors.contract import Side
from tests.agreed import changed
from tests.agreed import untimed as shipped
from tests.world import MAPPING, World

SIDES = {"crm": Side.CRM, "mkt": Side.MARKETING}
GOVERNED = """
  lead_score: {{theirs: score, winner: marketing, clear: allowed}}
  lifecycle_stage: {{theirs: stage, winner: crm, clear: allowed}}
  lifecycle_reason: {{theirs: why, way: out, clear: allowed}}
  lead_status: {{theirs: status, winner: crm, clear: allowed}}
  lead_reason: {{theirs: because, winner: crm, clear: allowed}}
  lead_flag: {{theirs: flag, way: out, clear: allowed}}
"""
LONG_AGO = 1_700_000_000_000  # the tests' vendors date their records from the beginning of 2026 on


def sign(world: World, *teams: Team) -> None:
    """Both sign the shipped agreement, to hold from long ago."""
    with world.database.write() as db:
        for team in teams if teams else Team:
            acting.sign(db, shipped(), {}, team, f"Kim of {team}", since=LONG_AGO)


@pytest.fixture
def world(database: Database) -> World:
    made = World(database, SIDES, mapping_text=MAPPING.rstrip() + GOVERNED)
    sign(made)
    return made


def ann(world: World, **fields: Any) -> str:
    """An MQL, by her score."""
    record = world.vendors["mkt"].put(None, {"mail": "ann@example.org", "last": "Lee", "score": 72, **fields})
    world.settle()
    return record


def held(world: World, vendor: str) -> dict[str, Any]:
    """What a vendor shows of the only person there."""
    (record,) = world.vendors[vendor].records.values()
    return {n: record.fields.get(n) for n in ("stage", "status", "because", "flag", "why")}


def say(world: World, vendor: str = "crm", **fields: Any) -> None:
    """Somebody edits the only record there."""
    (number,) = world.vendors[vendor].records
    world.vendors[vendor].put(number, fields)
    world.settle()


def tried(world: World, *, contact: int = 1, count: int = 3) -> None:
    """Sales tried to reach the person, after all that was said so far (by the clock of the vendors here)."""
    last = max([lead.handed_at for lead in world.rows(t.lead)] + [d.at for d in world.rows(t.disposition)])
    with world.database.write() as db:
        for n, kind in zip(range(count), itertools.cycle(("call", "mail")), strict=False):
            act = {
                "connection": "crm",
                "remote_id": f"{kind}{n}",
                "contact_id": contact,
                "who_key": "id",
                "who": f"of {contact}",
                "kind": kind,
                "human": 1,
                "by": f"k{n}",
            }
            db.execute(insert(t.engagement).values(**act, at=last + 1 + n, received_at=last))


def test_both_vendors_see_stage_status_and_reason(world: World) -> None:
    """A score makes an MQL; both sides show it, and why."""
    ann(world)
    for vendor in SIDES:
        assert held(world, vendor) == {
            "stage": "mql",
            "status": "new",
            "because": None,
            "flag": None,
            "why": "lead score: 72",
        }
    (lead,) = world.rows(t.lead)
    assert (lead.stage, lead.status, lead.version) == ("mql", "new", shipped().digest)
    steps = [(s.what, s.before, s.after) for s in world.rows(t.lead_step)]
    assert steps == [("stage", None, "prospect"), ("stage", "prospect", "mql"), ("status", None, "new")]
    assert {(h.field, h.source) for h in world.rows(t.history) if h.field == "lifecycle_stage"} == {
        ("lifecycle_stage", "agreement")
    }


def test_a_governed_field_explains_itself(world: World) -> None:
    """That the agreement decided it, and where the steps are."""
    ann(world)
    with world.database.read() as db:
        (field,) = provenance.why(db, world.connections, 1, "lifecycle_stage").fields
    assert (field.value, field.cause.source if field.cause is not None else None) == ("mql", "agreement")
    assert field.cause is not None
    assert "tandem lead show" in field.cause.words


@pytest.mark.parametrize(
    ("vendor", "claimed", "shown", "finding"),
    [
        pytest.param("crm", {"stage": "sql"}, ("sql", "qualified"), "taken", id="sales says so"),
        pytest.param("mkt", {"stage": "sql"}, ("mql", "new"), "refused", id="not marketing's to say"),
        pytest.param("crm", {"stage": "prospect"}, ("mql", "new"), "refused", id="back by a field"),
        pytest.param("crm", {"stage": "wizard"}, ("mql", "new"), "refused", id="no such stage"),
        pytest.param("crm", {"stage": None}, ("mql", "new"), "refused", id="emptied"),
        pytest.param("crm", {"status": "accepted"}, ("mql", "accepted"), "taken", id="accepted"),
        pytest.param("mkt", {"status": "accepted"}, ("mql", "new"), "refused", id="accepted by the wrong side"),
    ],
)
def test_a_vendors_word_is_judged_and_answered(
    world: World, vendor: str, claimed: Mapping[str, Any], shown: tuple[str, str], finding: str
) -> None:
    """What the agreement allows holds everywhere; what it does not is written back there, and the reason is kept."""
    ann(world)
    say(world, vendor, **claimed)
    assert [(held(world, v)["stage"], held(world, v)["status"]) for v in SIDES] == [shown, shown]
    (line,) = world.rows(t.disposition)
    assert (line.source, line.finding) == (vendor, finding)
    assert line.why
    assert world.settle() == 0


def test_a_rejection_without_a_reason_is_flagged_and_written_back(world: World) -> None:
    """The lead stays with sales; both sides read what is missing; a reason and the attempts let it go."""
    ann(world)
    say(world, status="rejected")
    for vendor in SIDES:
        shown = held(world, vendor)
        assert (shown["stage"], shown["status"]) == ("mql", "new")
        assert shown["flag"].startswith("given back without a reason")
    assert [lead.flag for lead in world.rows(t.lead)] == ["no_reason"]
    say(world, status="rejected", because="no_need")
    assert held(world, "crm")["flag"].startswith("given back (no_need) after 0 attempts")
    tried(world)
    say(world, status="rejected", because="no_need")
    for vendor in SIDES:
        shown = held(world, vendor)
        assert (shown["stage"], shown["status"], shown["because"], shown["flag"]) == (
            "lead",
            "recycled",
            "no_need",
            None,
        )
    (lead,) = world.rows(t.lead)
    assert (lead.recycled, lead.requalified, lead.rest_until - lead.recycled_at) == (1, 0, 90 * DAY_MS)


def test_a_person_here_accepts_and_gives_back(world: World) -> None:
    """The same by name; what the agreement refuses is not kept."""
    ann(world)
    known = Known()

    def word(what: Word, **more: Any) -> Finding:
        with world.database.write() as db:
            return acting.say(db, world.connections, known, 1, what, Team.SALES, "Kim", **more).judgement.finding

    assert word(Word.ACCEPT) is Finding.TAKEN
    with pytest.raises(NotPossible, match="from mql to prospect"):
        word(Word.STAGE, value="prospect")
    assert word(Word.REJECT, reason="no_need") is Finding.FLAGGED
    assert word(Word.REJECT, reason="no_fit") is Finding.TAKEN
    world.settle()
    assert [(held(world, v)["stage"], held(world, v)["status"]) for v in SIDES] == [("lead", "rejected")] * 2
    assert [d.word for d in world.rows(t.disposition)] == ["accept", "reject", "reject"]
    assert {s.by for s in world.rows(t.lead_step) if s.what == "status" and s.after != "new"} == {"Kim"}


def test_without_an_agreement_nothing_is_governed(database: Database) -> None:
    """Stage and status are fields like any other until both have signed."""
    world = World(database, SIDES, mapping_text=MAPPING.rstrip() + GOVERNED)
    ann(world)
    say(world, "mkt", stage="whatever")
    assert (held(world, "mkt")["stage"], world.rows(t.lead), world.rows(t.refold)) == ("whatever", [], [])
    sign(world, Team.SALES)
    say(world, "mkt", stage="else")
    assert held(world, "mkt")["stage"] == "else"
    sign(world, Team.MARKETING)
    world.settle()
    assert [lead.stage for lead in world.rows(t.lead)] == ["mql"], "all contacts are judged once it is in force"
    assert held(world, "mkt")["stage"] == "mql"
    assert [v.swept for v in world.rows(t.agreement_version)] == [None]


def test_what_arrives_late_is_folded_in_at_its_place(world: World) -> None:
    """Whatever order rows arrive in, the same stages; steps that turn out wrong are void and stay to be seen."""
    ann(world)
    tried(world)
    say(world, status="rejected", because="no_need")
    first = [(s.what, s.after) for s in world.rows(t.lead_step)]
    with world.database.write() as db:  # sales had accepted it before, which a slow vendor tells only now
        row = db.execute(select(t.disposition).where(t.disposition.c.word == "status")).mappings().one()
        handed = db.execute(select(t.lead_step.c.at).where(t.lead_step.c.after == "new")).scalar_one()
        told = {"contact_id": 1, "word": "accept", "team": "sales", "source": "crm", "at": handed + 1}
        assert row["at"] > handed + 1
        rows.say(db, [told], row["received_at"])
        rows.mark(db, [1])
    world.settle()
    steps = world.rows(t.lead_step)
    assert [(s.what, s.after) for s in steps if s.void_at is None][:4] == [*first[:3], ("status", "accepted")]
    assert [(s.what, s.after) for s in steps if s.void_at is not None] == first[3:]


def orders() -> Iterator[tuple[int, ...]]:
    return iter([(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])


def test_the_store_gives_the_same_lead_in_any_order_of_arrival(world: World) -> None:
    """Acts, words and deals that are stored in other orders, refolded after each, end in the same steps."""
    ann(world)
    (lead,) = world.rows(t.lead)
    begin, ends = lead.handed_at, []
    for order in orders():
        with world.database.write() as db:
            for table in (t.disposition, t.engagement, t.deal, t.deal_step, t.belonging, t.lead_step, t.lead):
                db.execute(table.delete())
        for n in order:
            with world.database.write() as db:
                _arrive(db, n, begin)
                rows.mark(db, [1])
            world.settle()
        live = [s for s in world.rows(t.lead_step) if s.void_at is None]
        ends.append([(s.at, s.what, s.before, s.after, s.why) for s in sorted(live, key=lambda s: (s.at, s.id))])
    assert len(ends[0]) > 5
    assert ends == [ends[0]] * len(ends)


def _arrive(db: Any, n: int, begin: int) -> None:
    said = {"contact_id": 1, "team": "sales", "source": "crm"}
    match n:
        case 0:
            rows.say(db, [{**said, "word": "status", "value": "rejected", "at": begin + 10}], begin)
        case 1:
            for k, kind in enumerate(("call", "mail", "call")):
                act = {
                    "connection": "crm",
                    "remote_id": str(k),
                    "contact_id": 1,
                    "who_key": "id",
                    "who": "of 1",
                    "kind": kind,
                    "human": 1,
                    "by": f"k{k}",
                }
                db.execute(insert(t.engagement).values(**act, at=begin + 5 + k, received_at=begin))
        case 2:
            rows.say(db, [{**said, "word": "reason", "value": "no_need", "at": begin + 20}], begin)
        case 3:
            deal = {"version": 1, "facts": {}, "status": "open", "created_at": begin + 30, "updated_at": begin}
            number = db.execute(insert(t.deal).values(**deal).returning(t.deal.c.id)).scalar_one()
            db.execute(insert(t.deal_step).values(deal_id=number, at=begin + 30, status="open"))
            belongs = {"contact_id": 1, "kind": "deal", "object_id": number, "connection": "crm", "main": 1}
            belongs |= {"remote_id": "d1", "who": "of 1"}
            db.execute(insert(t.belonging).values(**belongs, since=begin))


def test_a_merge_and_a_split_move_the_lead(world: World) -> None:
    """What was said about either was said about the one that stands for both; a split gives it back."""
    ann(world)
    world.vendors["mkt"].put(None, {"mail": "bob@example.org", "last": "Ray"})
    world.settle()
    with world.database.write() as db:
        now = clock_of(db)
        rows.say(
            db, [{"contact_id": 2, "word": "stage", "value": "sql", "team": "sales", "source": "crm", "at": now}], now
        )
        number = uniting.unite(db, world.connections, 1, 2, by="Kim", now=now)
        assert number is not None
    world.settle()
    assert [(lead.contact_id, lead.stage) for lead in world.rows(t.lead)] == [(1, "sql")]
    with world.database.write() as db:
        splitting.merge(db, world.connections, number, "Kim")
    world.settle()
    assert [(lead.contact_id, lead.stage) for lead in sorted(world.rows(t.lead))] == [(1, "mql"), (2, "sql")]


def test_retention_takes_history_and_leaves_stages(world: World) -> None:
    """When the old values of fields are removed, the lead keeps its stage, its steps and its count."""
    ann(world)
    say(world, "mkt", score=3)
    before = (held(world, "mkt"), world.rows(t.lead_step))
    with world.database.write() as db:
        db.execute(update(t.history).values(stored_at=1))
    everything(world.database, Retention(history=30), world.connections)
    assert world.rows(t.history) == []
    with world.database.write() as db:
        rows.mark(db, [1])
    world.settle()
    assert (held(world, "mkt"), world.rows(t.lead_step)) == before


def test_a_second_version_needs_both_and_never_reaches_back(world: World) -> None:
    """Once one is in force, the next one holds from its second signature on."""
    mild = changed(("contact.lead_score >= 50\n", "contact.lead_score >= 20\n"))
    with world.database.write() as db:
        now = clock_of(db)
        with pytest.raises(NotPossible, match="second signature"):
            acting.sign(db, mild, {}, Team.SALES, "Kim", since=now - DAY_MS)
        first = acting.sign(db, mild, {}, Team.SALES, "Kim")
        assert (first.since, first.missing) == (None, Team.MARKETING)
        with pytest.raises(NotPossible, match=r"signed version \d+ for sales before"):
            acting.sign(db, mild, {}, Team.SALES, "Kim")
        second = acting.sign(db, mild, {}, Team.MARKETING, "Lou")
        assert second.since is not None
        assert second.since >= now


def test_a_claim_that_becomes_a_fact_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard: without the diversion a field sync moves the lead, and the other vendor shows it."""
    ann(world)
    monkeypatch.setattr(governing, "apart", lambda claim: (claim, {}))
    monkeypatch.setattr(leads, "WRITTEN", ())
    (number,) = world.vendors["crm"].records
    world.vendors["crm"].put(number, {"stage": "prospect"})
    world.due()
    world.deliver("crm")
    world.fetch.step()
    assert {h.source for h in world.rows(t.history) if h.field == "lifecycle_stage"} == {"agreement", "crm"}


def about(world: World, contact: int) -> dict[str, int]:
    """How many rows each table has that names this contact."""
    found = {}
    with world.database.read() as db:
        for table in t.metadata.sorted_tables:
            if "contact_id" in table.c:
                count = len(db.execute(select(table.c.contact_id).where(table.c.contact_id == contact)).all())
                found[str(table.name)] = count
    return found


OURS = {"lead", "lead_step", "disposition", "refold"}


def test_an_erasure_takes_the_lead_along_and_an_export_shows_it(world: World) -> None:
    """Its standing, its steps, what was said of it; afterwards no table names the person."""
    ann(world)
    say(world, status="rejected")
    with world.database.write() as db:
        rows.mark(db, [1])
    assert {name for name, count in about(world, 1).items() if count} >= OURS
    shown = subject.everything(world.database, world.connections, "ann@example.org")
    assert all(shown[name] for name in OURS)
    assert shown["lead"][0]["handed_at"].endswith("Z")
    with world.database.write() as db:
        erasing.start(db, world.connections, "ann@example.org", "Kim")
    world.settle()
    assert {name: count for name, count in about(world, 1).items() if count} == {}


def test_what_a_wrong_pairing_said_goes_with_the_record(world: World) -> None:
    """A split takes along what that connection had said; the one who stays is judged without it."""
    world.vendors["crm"].put(None, {"mail": "ann@example.org", "last": "Lee"})
    ann(world)
    say(world, "mkt", stage="sql")
    assert [d.contact_id for d in world.rows(t.disposition)] == [1]
    with world.database.write() as db:
        splitting.pairing(db, world.connections, 1, "mkt", "Kim")
    assert [d.contact_id for d in world.rows(t.disposition)] == [2]
