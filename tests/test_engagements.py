"""Acts: stored once, counted once, claimed whenever their contact comes, and gone with the person."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import Database, clock_of, dumps
from app.core.words import Only
from app.push import timeline
from app.records import engagements, merges
from app.repair import erasing, prune, subject
from app.repair.prune import Retention
from app.sync import engaging, splitting, uniting
from connectors.contract import Act, Doing, Ending, Kind, Note, Ref, TryLater
from tests.around import AROUND, Around
from tests.world import START

ANN = {"mail": "ann@x.org", "first": "Ann", "last": "Lee"}
BEN = {"mail": "ben@x.org", "first": "Ben", "last": "Boggs"}


@pytest.fixture
def world(database: Database) -> Around:
    """Ann and Ben in both systems: hub1 and hub2, chimp1 and chimp2."""
    made = Around(database)
    made.vendors["hub"].put(None, ANN)
    made.vendors["hub"].put(None, BEN)
    made.rest()
    return made


def recent(world: Around, hours: int = 1) -> datetime:
    """Some hours ago, by the database's clock."""
    with world.database.read() as db:
        now = clock_of(db)
    return datetime.fromtimestamp(now // 1000, UTC) - timedelta(hours=hours)


def test_acts_of_both_sides_are_told_to_the_other(world: Around) -> None:
    """Machine's opens do not count as the person's, a touch is a human's, and what mappings send is sent."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    hub.have(Kind.COLLEAGUE, "u1", {"email": "kim@us.example", "name": "Kim", "active": True})
    chimp.did("o1", Doing.OPEN, "chimp1", campaign="Spring", human=False)
    chimp.did("o2", Doing.OPEN, "ANN@x.org", campaign="Spring", variant="B")
    chimp.did("k1", Doing.CLICK, "chimp1", campaign="Spring")
    call = hub.did("c1", Doing.CALL, "hub1", human=True, outcome=Ending.NO_ANSWER, by=Ref("u1"))
    hub.did("m1", Doing.MAIL, "hub1", human=False, outcome=Ending.SENT)
    world.rest()
    assert world.sums(ANN["mail"]) == {
        ("open", 0): 1,
        ("open", -1): 1,
        ("click", -1): 1,
        ("call", 1): 1,
        ("mail", 0): 1,
    }
    values = world.contact(ANN["mail"])
    assert values["engagement_score"] == "4"
    assert values["emails_opened"] == "1"
    assert values["last_touch_at"] == call.at.isoformat().replace("+00:00", "Z")
    for name in ("hub", "chimp"):
        (record,) = [r for r in world.vendors[name].records.values() if r.fields["mail"] == ANN["mail"]]
        assert record.fields["points"] == "4"
    (row,) = [r for r in world.rows(t.engagement) if r.remote_id == "c1"]
    assert (row.by, row.outcome, row.channel) == ("kim@us.example", "no_answer", None)
    assert world.kept_sums() == world.counted_anew()


def test_an_act_that_is_told_otherwise_changes(world: Around) -> None:
    """A planned meeting does not count until it is held; told again it counts once."""
    hub = world.vendors["hub"]
    at = START + timedelta(days=3)
    hub.did("m1", Doing.MEETING, "hub1", at, outcome=Ending.PLANNED)
    world.rest()
    assert world.sums(ANN["mail"]) == {}
    hub.did("m1", Doing.MEETING, "hub1", at, outcome=Ending.HELD)
    world.rest()
    hub.did("m1", Doing.MEETING, "hub1", at, outcome=Ending.HELD)
    world.rest()
    assert world.sums(ANN["mail"]) == {("meeting", -1): 1}
    hub.did("m1", Doing.MEETING, "hub1", at, outcome=Ending.CANCELLED)
    world.rest()
    assert world.sums(ANN["mail"]) == {}
    assert len(world.rows(t.engagement)) == 1


ACTS = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.sampled_from([Doing.OPEN, Doing.CLICK, Doing.CALL]),
        st.sampled_from(["chimp1", "chimp2", "ann@x.org"]),
        st.sampled_from([None, True, False]),
        st.sampled_from([None, Ending.PLANNED, Ending.HELD]),
    ),
    max_size=12,
)


def shuffled_end(world: Around, acts: Sequence[Act], order: Sequence[int]) -> list[list[int]]:
    for n in order:
        with world.database.write() as db:
            engaging.engage(db, world.connections["chimp"], world.connections, [acts[n]])
    return sorted([*key, *value] for key, value in world.kept_sums().items())  # type: ignore[misc]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=ACTS, seed=st.integers(0, 9))
def test_sums_are_what_the_rows_say(
    database: Database, said: list[tuple[int, Doing, str, bool | None, Ending | None]], seed: int
) -> None:
    """Whatever is told, told twice or told otherwise, in whatever order, before or after the contact comes."""
    with database.write() as db:
        for table in reversed(t.metadata.sorted_tables):
            if table.name != "alembic_version":
                db.execute(table.delete())
    world = Around(database)
    dice = random.Random(seed)
    acts = [
        Act(
            f"a{n}", Ref(who, "email") if "@" in who else Ref(who), kind, START + timedelta(hours=n), human, outcome=end
        )
        for n, kind, who, human, end in said
    ]
    order = [*range(len(acts)), *range(len(acts))]
    dice.shuffle(order)
    half = len(order) // 2
    shuffled_end(world, acts, order[:half])
    world.vendors["chimp"].put(None, ANN)
    world.vendors["chimp"].put(None, BEN)
    world.settle()
    shuffled_end(world, acts, order[half:])
    assert world.kept_sums() == world.counted_anew()
    assert len(world.rows(t.engagement)) == len({a.id for a in acts})
    assert all(row.contact_id is not None for row in world.rows(t.engagement))


@pytest.mark.parametrize("who", ["hub1", "ann@x.org", "Ann@X.org"])
def test_an_act_may_come_before_its_contact(database: Database, who: str) -> None:
    """It waits by id or by address, and is the contact's as soon as the record is read."""
    world = Around(database)
    world.vendors["hub"].did("k1", Doing.CLICK, who)
    world.rest()
    assert [r.contact_id for r in world.rows(t.engagement)] == [None]
    world.vendors["chimp" if "@" in who else "hub"].put(None, ANN)
    world.rest()
    assert world.sums(ANN["mail"]) == {("click", -1): 1}
    assert world.contact(ANN["mail"])["engagement_score"] == "3"


def test_a_claim_that_is_forgotten_is_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: where the chain does not claim, the act stays nobody's."""
    monkeypatch.setattr(engaging, "claimed", lambda *_: set())
    world = Around(database)
    world.vendors["hub"].did("k1", Doing.CLICK, "hub1")
    world.rest()
    world.vendors["hub"].put(None, ANN)
    world.rest()
    assert [r.contact_id for r in world.rows(t.engagement)] == [None]


def test_counting_what_was_stored_before_is_found(world: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: where a known act counts again, the sums are not what the rows say."""
    real = engagements.store

    def store(db, name, acts, now):  # type: ignore[no-untyped-def]
        engagements.add(db, [(a.contact_id, a.kind, -1, a.at) for a in acts if a.contact_id is not None])
        return real(db, name, acts, now)

    monkeypatch.setattr(engagements, "store", store)
    world.vendors["chimp"].did("k1", Doing.CLICK, "chimp1")
    world.rest()
    assert world.kept_sums() != world.counted_anew()


def test_kinds_that_are_not_taken_are_left(database: Database) -> None:
    """The mapping's ``take`` says which kinds are stored; without the section nothing is asked."""
    world = Around(database, mapping_text=AROUND.replace("engagement:\n", "engagement:\n  take: [click]\n"))
    world.vendors["hub"].put(None, ANN)
    world.rest()
    world.vendors["chimp"].did("o1", Doing.OPEN, "chimp1")
    world.vendors["chimp"].did("k1", Doing.CLICK, "chimp1")
    world.rest()
    assert [r.kind for r in world.rows(t.engagement)] == ["click"]


# --- people become one, two, none -------------------------------------------------------------------------------------


def test_a_merge_unites_acts_and_a_split_gives_them_back(world: Around) -> None:
    """The sums of both are those of the one; after a split each has their own, also of acts that came since."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    hub.have(Kind.COMPANY, "c1", {"title": "Acme", "web": "acme.example"}, {Kind.CONTACT: ["hub2"]})
    chimp.did("a", Doing.CLICK, "chimp1")
    chimp.did("b", Doing.CLICK, "chimp2")
    chimp.did("b2", Doing.OPEN, "chimp2")
    world.rest()
    ann, ben = world.facts_of(ANN["mail"])[0], world.facts_of(BEN["mail"])[0]
    before = world.kept_sums()
    with world.database.write() as db:
        number = uniting.unite(db, world.connections, ann, ben, by="Kim", now=to_ms(START))
    world.rest()
    assert world.sums(ANN["mail"]) == {("click", -1): 2, ("open", -1): 1}
    assert world.contact(ANN["mail"])["company_domain"] == "acme.example"
    assert world.kept_sums() == world.counted_anew()
    chimp.did("b3", Doing.FORM, "chimp2")
    world.rest()
    assert world.sums(ANN["mail"])[("form", -1)] == 1
    assert number is not None
    with world.database.write() as db:
        splitting.merge(db, world.connections, number, "Kim")
    world.rest()
    form = (ben, "form", -1)
    assert {k: v for k, v in world.kept_sums().items() if k != form} == before
    assert form in world.kept_sums()
    assert world.contact(ANN["mail"])["company_domain"] is None
    assert world.contact(BEN["mail"])["company_domain"] == "acme.example"
    with world.database.read() as db:
        assert merges.standing_for(db, ben) == ben


def test_an_erasure_takes_acts_along_and_lets_none_in_again(world: Around) -> None:
    """Known and waiting ones, belongings and sums; what is told of the person later is not stored."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    hub.have(Kind.COMPANY, "c1", {"title": "Acme", "web": "acme.example"}, {Kind.CONTACT: ["hub1", "hub2"]})
    chimp.did("a", Doing.CLICK, "chimp1", detail={"url": "https://x.example/ann"})
    chimp.did("b", Doing.CLICK, "chimp2")
    world.rest()
    with world.database.write() as db:
        number = erasing.start(db, world.connections, ANN["mail"], "Kim")
    world.settle()
    chimp.did("c", Doing.CLICK, "chimp1")
    chimp.did("d", Doing.OPEN, ANN["mail"])
    hub.did("e", Doing.CALL, "hub1")
    world.rest()
    assert [r.remote_id for r in world.rows(t.engagement)] == ["b"]
    assert [b.who for b in world.rows(t.belonging)] == ["hub2"]
    ben, _ = world.facts_of(BEN["mail"])
    for table in (t.engagement_sum, t.timeline_entry):
        assert {row.contact_id for row in world.rows(table)} <= {ben}
    with world.database.read() as db:
        shown = erasing.shown(db, number)
    assert shown["proof"]["document"]["removed_here"]["engagement"] == 1


def test_a_person_is_told_all_of_it(world: Around) -> None:
    """Subject access holds acts, belongings, sums, company and deal; of others nothing."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    tie = {Kind.CONTACT: ["hub1"]}
    hub.have(Kind.COMPANY, "c1", {"title": "Acme", "web": "acme.example"}, tie)
    hub.have(Kind.DEAL, "d1", {"title": "Rails", "stage": "talks"}, tie)
    chimp.did("a", Doing.CLICK, "chimp1", campaign="Spring")
    chimp.did("b", Doing.CLICK, "chimp2", campaign="Secret")
    world.rest()
    found = subject.everything(world.database, world.connections, ANN["mail"])
    assert [row["campaign"] for row in found["engagement"]] == ["Spring"]
    assert {row["kind"] for row in found["belonging"]} == {"company", "deal"}
    assert [row["domain"] for row in found["company"]] == ["acme.example"]
    assert [row["status"] for row in found["deal"]] == ["open"]
    assert found["engagement_sum"][0]["number"] == 1
    assert "Secret" not in dumps(found)


def test_old_acts_are_pruned_and_how_often_stays(world: Around) -> None:
    """Retention removes rows; unclaimed ones go as events do; the sums are no more than numbers and stay."""
    chimp = world.vendors["chimp"]
    chimp.did("old", Doing.CLICK, "chimp1", START)
    chimp.did("new", Doing.CLICK, "chimp1", recent(world))
    chimp.did("lost", Doing.CLICK, "nobody9", recent(world))
    world.rest()
    with world.database.write() as db:
        db.execute(t.engagement.update().where(t.engagement.c.contact_id.is_(None)).values(received_at=1))
    with world.database.read() as db:
        assert prune.due(db, Retention(events=30, engagements=30)).engagements == 2
    assert prune.everything(world.database, Retention(events=30, engagements=30)).engagements == 2
    assert [r.remote_id for r in world.rows(t.engagement)] == ["new"]
    assert world.sums(ANN["mail"]) == {("click", -1): 2}


# --- cost -------------------------------------------------------------------------------------------------------------


def test_a_campaign_is_no_storm(world: Around) -> None:
    """A hundred opens of one person are a handful of writes: counts are coarse and the day is told, not the moment."""
    chimp = world.vendors["chimp"]
    calls = 0
    for n in range(100):
        chimp.did(f"o{n}", Doing.OPEN, "chimp1", START + timedelta(minutes=n))
        with world.database.write() as db:
            engaging.engage(db, world.connections["chimp"], world.connections, chimp.done[-1:])
        world.summed()
        calls += world.settle()
    assert world.contact(ANN["mail"])["emails_opened"] == "100"
    assert calls <= 2 * 12
    assert len([h for h in world.rows(t.history) if h.field == "emails_opened"]) <= 12


def test_a_batch_is_one_transaction_of_few_statements(world: Around) -> None:
    """Four hundred acts take as many statements as fifty."""
    chimp = world.vendors["chimp"]
    counts = []
    for size in (50, 400):
        acts = [chimp.did(f"s{size}.{n}", Doing.OPEN, f"chimp{n % 2 + 1}") for n in range(size)]
        said: list[str] = []
        with world.database.write() as db, heard(said, database=world.database):
            engaging.engage(db, world.connections["chimp"], world.connections, acts)
        counts.append(len(said))
    assert counts[0] == counts[1]
    with world.database.read() as db:
        assert db.execute(select(func.count()).select_from(t.engagement)).scalar_one() == 450


@contextlib.contextmanager
def heard(said: list[str], *, database: Database) -> Iterator[None]:
    """The statements that are executed meanwhile."""

    def hear(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    event.listen(database.engine, "before_cursor_execute", hear)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", hear)


# --- the timeline -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["ok", "before", "after"])
def test_a_click_is_an_entry_in_the_other_timeline_once(world: Around, ending: str) -> None:
    """What the mapping names, readable, also where an answer is lost; opens and the vendor's own acts are none."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    hub.note_next = [ending]
    at = recent(world)
    chimp.did("k1", Doing.CLICK, "chimp1", at, campaign="Spring", variant="B", detail={"url": "https://x.example/p"})
    chimp.did("o1", Doing.OPEN, "chimp1", at)
    hub.did("k2", Doing.CALL, "hub1", at)
    world.rest()
    world.rest()
    world.rest(whole=True)
    assert list(hub.entries.values()) == [
        ("hub1", "Clicked in a mail: campaign Spring (variant B), https://x.example/p [chimp]")
    ]
    assert chimp.entries == {}
    (entry,) = world.rows(t.timeline_entry)
    assert (entry.due_at, entry.error) == (None, None)


def test_entries_are_written_where_there_is_a_record_and_not_of_the_past(world: Around) -> None:
    """An act of last year is none; one whose contact has no record there waits."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    chimp.did("old", Doing.CLICK, "chimp1", START)
    chimp.did("new", Doing.CLICK, "chimp1", recent(world))
    hub.remove("hub1")
    world.rest()
    assert hub.entries == {}
    (entry,) = world.rows(t.timeline_entry)
    assert entry.due_at is not None
    assert entry.error == "the contact has no record there"


def test_nothing_is_written_about_whom_the_connection_is_not_about(world: Around) -> None:
    """A filter keeps entries back, too."""
    only = Only((("city", frozenset({"Ulm"})),))
    hub = dataclasses.replace(world.connections["hub"], only_out=only)
    world.replaced({**world.connections, "hub": hub})
    world.vendors["chimp"].did("k1", Doing.CLICK, "chimp1", recent(world))
    world.rest()
    assert world.vendors["hub"].entries == {}
    (entry,) = world.rows(t.timeline_entry)
    assert (entry.due_at, entry.error) == (None, "the connection is not about such contacts (only: out)")


def test_a_note_written_twice_is_found(world: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a timeline that does not say that it tried before writes two entries."""
    monkeypatch.setattr(timeline, "Note", lambda **said: Note(**{**said, "again": False}))
    hub = world.vendors["hub"]
    hub.note_next = ["after"]
    world.vendors["chimp"].did("k1", Doing.CLICK, "chimp1", recent(world))
    world.rest()
    world.rest()
    assert len(hub.entries) == 2


def test_a_busy_vendor_is_tried_again(world: Around) -> None:
    """Acts that could not be read are read at the next round, from where it was."""
    chimp = world.vendors["chimp"]
    chimp.did("k1", Doing.CLICK, "chimp1")
    chimp.trouble = [TryLater("busy")] * 4
    world.rest()
    chimp.trouble = []
    world.rest()
    assert world.sums(ANN["mail"]) == {("click", -1): 1}
