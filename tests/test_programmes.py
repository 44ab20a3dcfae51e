"""Programmes: who is enrolled and until when, in any order of arrival, with consent before everything; their effect."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, update
from typer.testing import CliRunner

from app.agreement import acting, enrolling, leads
from app.agreement.effects import Verdict, difference, effect
from app.agreement.enrolling import final, held_out
from app.agreement.leads import Known
from app.agreement.lifecycle import Seal, fold, sealed
from app.agreement.load import MappingError, loads
from app.agreement.words import Happening, Kind, Membership, Team, Word
from app.cli import app
from app.core import tables as t
from app.core.db import Database, clock_of
from app.records import leads as rows
from app.records import programmes
from app.repair import erasing, subject
from app.repair.prune import DAY_MS, Retention, everything
from app.sync import uniting
from connectors.contract import Side
from tests import migrated
from tests.agreed import DAY, SHIPPED, act, at, changed, deal, fact, said, shipped, untimed, versions
from tests.apihelp import Api, add, add_contacts
from tests.test_agreement_lifecycle import BASE, BOTH, TRIED, examples, happenings
from tests.world import MAPPING, World

COLD = [fact(0, email="ann@example.org", created_on=at(-100))]
BACK = [*BASE, *TRIED, said(3, Word.REJECT, reason="no_need")]


def consent(day: float, status: str) -> Happening:
    """The consent ledger says something else of the address."""
    stops = status not in {"granted", "none", "pending"}
    values = {"consent.email.status": status, "consent.email.stops": stops}
    return Happening(at(day), Kind.CONSENT, ("email", status, str(day)), values)


def days(of: Sequence[Membership]) -> list[tuple[str, float, float | None]]:
    return [(m.programme, _day(m.at), _day(m.ended_at) if m.ended_at is not None else None) for m in of]


def _day(moment: int) -> float:
    return round((moment - at(0)) / DAY, 3)


@pytest.mark.parametrize(
    ("of", "until", "expected"),
    [
        pytest.param(COLD, 5, [("warm_up", 0, None)], id="enrolled by its condition"),
        pytest.param(COLD, 200, [("warm_up", 0, 180)], id="its days are over, and it does not begin again"),
        pytest.param([*COLD, act(9, "form")], 20, [("warm_up", 0, 9)], id="ended by its condition"),
        pytest.param([consent(0, "withdrawn"), *COLD], 5, [], id="never with consent withdrawn"),
        pytest.param([consent(0, "hard_bounce"), *COLD], 5, [], id="never with a dead address"),
        pytest.param([*COLD, consent(7, "withdrawn")], 20, [("warm_up", 0, 7)], id="who withdraws leaves at once"),
        pytest.param(
            [*COLD, consent(7, "withdrawn"), consent(9, "granted")],
            20,
            [("warm_up", 0, 7), ("warm_up", 9, None)],
            id="who agrees again comes again",
        ),
        pytest.param([fact(0, email="a@x.org", created_on=at(-80))], 11, [("warm_up", 10, None)], id="by time"),
        pytest.param(BACK, 20, [("nurture", 3, None)], id="given back"),
        pytest.param(
            [*BACK, act(100, "form", form="demo")], 120, [("nurture", 3, 100)], id="given back, and handed over again"
        ),
        pytest.param([*BASE, deal(3, "won")], 600, [("win_back", 551, None)], id="lapsed by time alone"),
    ],
)
def test_who_is_in_which_programme(
    of: list[Happening], until: float, expected: list[tuple[str, float, float | None]]
) -> None:
    """Enrolled when the condition becomes true; out by its end, its days, or a withdrawal."""
    assert days(fold(of, versions(), at(until)).memberships) == expected


def test_nobody_is_enrolled_before_they_are_known_here() -> None:
    """What nobody could deliver was no programme: an old record begins when it arrives, and has all its days."""
    lead = fold(COLD, versions(), at(1), since=at(300))
    assert (lead.memberships, lead.turns_at) == ((), at(300))
    assert days(fold(COLD, versions(), at(500), since=at(300)).memberships) == [("warm_up", 300, 480)]


def test_every_membership_says_why() -> None:
    """Why it began, why it ended, what it brought about."""
    (one,) = fold([*COLD, act(9, "form")], versions(), at(20)).memberships
    assert (one.why, one.ended_why) == ("created on: 2024-09-23; lead stage: prospect", "lead stage: lead")
    assert (one.stage, one.reached_at, one.until) == ("lead", at(9), at(180))
    (gone,) = fold([*COLD, consent(7, "complaint")], versions(), at(20)).memberships
    assert gone.ended_why == "consent to e-mail: complaint"


def test_time_alone_is_foreseen() -> None:
    """The next moment at which somebody comes or goes by time is known."""
    assert fold([fact(0, created_on=at(-80), email="a@x.org")], versions(), at(1)).turns_at == at(10) + 1
    assert fold(COLD, versions(), at(1)).turns_at == at(180)


def test_a_programme_that_is_no_longer_agreed_ends() -> None:
    """With the version that leaves it out; one that is agreed anew takes those who fit."""
    text = SHIPPED.read_text(encoding="utf-8")
    start = text.index("  warm_up:\n")
    without = changed((text[start : text.index("  win_back:\n")], ""))
    (one,) = fold(COLD, versions((shipped(), 0), (without, 4)), at(9)).memberships
    assert (_day(one.at), one.ended_at, one.ended_why) == (0, at(4), enrolling.GONE)
    (later,) = fold(COLD, versions((without, 0), (shipped(), 4)), at(9)).memberships
    assert (later.at, later.version) == (at(4), shipped().digest)


STATES = st.sampled_from(["granted", "withdrawn", "hard_bounce", "none"])
CONSENTS = st.builds(consent, st.integers(0, 700), STATES)
CREATED = st.builds(lambda day: fact(0, email="a@x.org", created_on=at(day)), st.integers(-200, 600))
LIVES = st.lists(st.one_of(happenings(), CONSENTS, CREATED), max_size=30)


def test_any_order_of_arrival_gives_the_same_membership() -> None:
    """And going on from a seal gives the same as starting over."""

    @examples(60)
    @given(LIVES, st.randoms(use_true_random=False), st.integers(1, 730))
    def check(lives: list[Happening], chance: random.Random, day: int) -> None:
        whole = fold(lives, BOTH, at(731)).memberships
        mixed = list(lives)
        chance.shuffle(mixed)
        assert fold(mixed, BOTH, at(731)).memberships == whole
        moment = at(day + 0.25)
        seal = Seal.from_json(orjson.loads(orjson.dumps(sealed(lives, BOTH, moment, moment).to_json())))
        rest = fold([h for h in lives if h.at > moment], BOTH, at(731), seal).memberships
        left = [m for m in whole if m.at > moment or not final(m.ended_at, m.until, m.reached_at, moment)]
        assert list(rest) == left

    check()


def never_without_consent(tries: int) -> None:
    """At no moment of a membership is consent withdrawn."""

    @examples(tries)
    @given(LIVES)
    def check(lives: list[Happening]) -> None:
        news = sorted((h for h in lives if h.kind is Kind.CONSENT), key=lambda h: h.order)
        for one in fold(lives, BOTH, at(731)).memberships:
            end = one.ended_at if one.ended_at is not None else at(731)
            moments = [one.at, *(h.at for h in news if one.at < h.at < end)]
            for moment in moments:
                held = [h.values["consent.email.stops"] for h in news if h.at <= moment]
                assert not (held and held[-1])

    check()


def test_nobody_is_in_a_programme_against_their_will() -> None:
    """Whatever happens around it."""
    never_without_consent(60)


def test_a_fold_that_ignores_consent_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard."""
    monkeypatch.setattr(enrolling, "forbidden", lambda _: False)
    with pytest.raises(AssertionError):
        never_without_consent(300)


def test_a_withdrawal_that_arrives_after_its_time_was_sealed_counts() -> None:
    """What consent says is never lost, however late it becomes known."""
    seal = sealed(COLD, versions(), at(9), at(9))
    (one,) = fold([*COLD, consent(4, "withdrawn")], versions(), at(20), seal).memberships
    assert one.ended_at == at(9) + 1


def test_who_is_left_out_is_chance_and_stays() -> None:
    """About the share, another choice for each programme, the same at each asking."""
    chosen = {name: [i for i in range(20_000) if held_out(name, i, 0.1)] for name in ("warm_up", "nurture")}
    assert all(1_850 < len(found) < 2_150 for found in chosen.values())
    assert len(set(chosen["warm_up"]) & set(chosen["nurture"])) < 300
    assert set(chosen["warm_up"]) <= {i for i in range(20_000) if held_out("warm_up", i, 0.2)}
    assert not any(held_out("warm_up", i, 0.0) for i in range(1_000))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("tag: win-back", "tag: Warm-Up", "is the tag of warm_up"),
        ("stage: client, within: 365d", "stage: clint, within: 365d", "did you mean 'client'?"),
        ("    hold_out: 10%\n    measure: {stage: lead, within: 180d}", "    hold_out: 10%", "add `measure`"),
        ("hold_out: 10%\n    measure: {stage: lead", "hold_out: 80%\n    measure: {stage: lead", "from 1% to 50%"),
        ("days: 180", "days: 0", "greater than or equal to 1"),
        ("within: 180d}", "within: 180d, by: 1}", "unknown key"),
        ("tag: win-back", "tag: 'a;b'", "form"),
        ("ends: lead.stage != 'prospect'", "ends: lead.stag != 'prospect'", "lead.stag"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, problem: str) -> None:
    """In the file, before anybody signs."""
    with pytest.raises(MappingError) as wrong:
        changed((old, new))
    (one,) = wrong.value.problems
    assert problem in str(one)
    assert "programmes" in str(one)
    assert one.line > 100


# --- what it brings about ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # The examples of Newcombe's paper, table II, method 10.
        ((56, 70, 48, 80), (0.2000, 0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.6000, 0.1705, 0.8090)),
        ((5, 56, 0, 29), (0.0893, -0.0381, 0.1926)),
        ((10, 10, 0, 10), (1.0, 0.6075, 1.0)),
    ],
)
def test_the_interval_is_newcombes(counts: tuple[int, int, int, int], expected: tuple[float, ...]) -> None:
    """As published."""
    assert difference(*counts) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((90, 200, 20, 100), Verdict.MORE),
        ((20, 200, 40, 100), Verdict.LESS),
        ((60, 200, 28, 100), Verdict.OPEN),
        ((9, 200, 0, 29), Verdict.FEW),
        ((0, 0, 5, 40), Verdict.FEW),
        ((9, 200, 0, 0), Verdict.NOTHING),
    ],
)
def test_small_numbers_say_so(counts: tuple[int, int, int, int], verdict: Verdict) -> None:
    """Below thirty in a group nothing is claimed."""
    assert effect(*counts).verdict is verdict


# --- in the store, and at the vendors ---------------------------------------------------------------------------------

SIDES = {"crm": Side.CRM, "mkt": Side.MARKETING}
MAPPED = (
    MAPPING.rstrip()
    + """
  tags: {{theirs: labels, winner: union, clear: allowed}}
  created_on: {{theirs: since, way: in}}
  lifecycle_stage: {{theirs: stage, winner: crm, clear: allowed}}
consent:
  email:
    theirs: mailing
    read: {{"yes": granted, "no": withdrawn, never: none}}
    write: {{withdrawn: "no"}}
"""
)
LONG_AGO = 1_700_000_000_000
CHOSEN = next(i for i in range(1, 100) if held_out("warm_up", i, 0.1))


@pytest.fixture
def world(database: Database) -> World:
    made = World(database, SIDES, mapping_text=MAPPED)
    endless = loads(untimed().text.replace("    days: 180\n", ""))
    with database.write() as db:
        for team in Team:
            acting.sign(db, endless, {}, team, f"Kim of {team}", since=LONG_AGO)
        db.execute(update(t.agreement_version).values(sales_at=LONG_AGO, marketing_at=LONG_AGO))
    return made


def cold(world: World, **fields: Any) -> None:
    """Somebody who has been known here for long, and shows no interest."""
    world.vendors["mkt"].put(None, {"mail": "ann@example.org", "last": "Lee", "since": "2024-01-01", **fields})
    world.settle()
    with world.database.write() as db:
        db.execute(update(t.contact).values(created_at=LONG_AGO))
        rows.mark(db, [1])
    world.settle()


def labels(world: World) -> list[Any]:
    """The tags of the only person at both vendors."""
    return [record.fields.get("labels") for v in world.vendors.values() for record in v.records.values()]


def ended(world: World) -> list[tuple[str, str | None]]:
    return [(m.programme, m.ended_why) for m in world.rows(t.programme_member)]


def test_members_have_the_tag_at_both_vendors_until_it_ends(world: World) -> None:
    """Own tags stay; one that somebody takes away comes back, and is gone when the programme is over."""
    cold(world, labels=["fair"])
    assert labels(world) == [["fair", "warm-up"]] * 2
    world.vendors["mkt"].put("mkt1", {"labels": ["fair", "vip"]})
    world.settle()
    assert labels(world) == [["fair", "vip", "warm-up"]] * 2
    with world.database.read() as db:
        sources = db.execute(select(t.history.c.source).where(t.history.c.field == "tags")).scalars().all()
    assert "agreement" in sources
    world.vendors["crm"].put("crm1", {"stage": "sql"})
    world.settle()
    assert labels(world) == [["fair", "vip"]] * 2
    assert ended(world) == [("warm_up", "lead stage: sql")]
    assert world.settle() == 0


def test_who_withdraws_loses_the_tag_at_once(world: World) -> None:
    """And whoever puts it there by hand enrols nobody."""
    cold(world)
    world.vendors["crm"].put("crm1", {"mailing": "no"})
    world.settle()
    assert labels(world) == [None, None]
    assert ended(world) == [("warm_up", "consent to e-mail: withdrawn")]
    world.vendors["mkt"].put("mkt1", {"labels": ["warm-up"]})
    world.settle()
    assert labels(world) == [None, None]
    assert len(world.rows(t.programme_member)) == 1


def test_who_has_withdrawn_is_never_enrolled(world: World) -> None:
    """Not for a moment: no call ever carries the tag."""
    cold(world, mailing="no")
    assert world.rows(t.programme_member) == []
    assert "warm-up" not in str([call for v in world.vendors.values() for call in v.calls])


def test_who_is_left_out_gets_no_tag(world: World) -> None:
    """The row is there, to compare with."""
    with world.database.write() as db:
        db.execute(insert(t.contact).values(id=CHOSEN, version=1, facts={}, created_at=1, updated_at=1))
        made = {"v": "ann@example.org", "s": "mkt", "t": LONG_AGO, "r": "first", "e": None}
        facts = {"email": made, "created_on": {**made, "v": "2024-01-01"}}
        db.execute(update(t.contact).where(t.contact.c.id == CHOSEN).values(facts=facts))
        rows.mark(db, [CHOSEN])
    world.settle()
    (one,) = world.rows(t.programme_member)
    assert (one.programme, one.held_out, one.contact_id) == ("warm_up", 1, CHOSEN)
    assert [c for c in world.rows(t.contact) if "tags" in c.facts] == []


def test_a_merge_retention_an_export_and_an_erasure_cover_it(world: World) -> None:
    """One person is a member once; history that goes takes no membership along; nothing is left of an erased person."""
    cold(world)
    world.vendors["mkt"].put(None, {"mail": "bob@example.org", "last": "Ray", "since": "2024-01-01"})
    world.settle()
    assert len(world.rows(t.programme_member)) == 2
    with world.database.write() as db:
        now = clock_of(db)
        assert uniting.unite(db, world.connections, 1, 2, by="Kim", now=now) is not None
    world.settle()
    (before,) = world.rows(t.programme_member)
    with world.database.write() as db:
        db.execute(update(t.history).values(stored_at=1))
    everything(world.database, Retention(history=30), world.connections)
    with world.database.write() as db:
        rows.mark(db, [1])
    world.settle()
    assert world.rows(t.programme_member) == [before]
    shown = subject.everything(world.database, world.connections, "ann@example.org")["programme_member"]
    assert [(m["programme"], m["enrolled_at"][-1]) for m in shown] == [("warm_up", "Z")]

    world.vendors["mkt"].put("mkt1", {"mailing": "no"})
    world.settle()
    assert ended(world) == [("warm_up", "consent to e-mail: withdrawn")]
    for _ in range(2):  # what was over long ago goes, and does not come back
        everything(world.database, Retention(history=30), world.connections)
        with world.database.write() as db:
            rows.mark(db, [1])
        world.settle()
        assert world.rows(t.programme_member) == []
    with world.database.write() as db:
        db.execute(insert(t.programme_member).values(**member(1, out=False, reached=True, began=1, known=1)))
        erasing.start(db, world.connections, "ann@example.org", "Kim")
    world.settle()
    assert world.rows(t.programme_member) == []


def test_a_condition_never_reads_the_tag_that_it_gives(world: World) -> None:
    """Or enrolling somebody would be a reason to enrol them."""
    tagged = changed(("when: lead.stage == 'lapsed'", "when: \"'warm-up' in contact.tags\""))
    cold(world)
    with world.database.write() as db:
        for team in Team:
            acting.sign(db, tagged, {}, team, f"Kim of {team}")
    world.settle()
    assert {m.programme for m in world.rows(t.programme_member)} == {"warm_up"}


# --- what people see --------------------------------------------------------------------------------------------------


def member(contact: int, *, out: bool, reached: bool, began: int, known: int) -> dict[str, Any]:
    """A membership whose time is over."""
    return {
        "contact_id": contact,
        "programme": "warm_up",
        "round": 1,
        "version": shipped().digest,
        "enrolled_at": began,
        "why": "lead stage: prospect",
        "held_out": int(out),
        "stage": "lead",
        "until": began + DAY_MS,
        "reached_at": began + 1 if reached else None,
        "stored_at": known,
    }


def test_the_effect_is_shown_with_its_interval(database: Database) -> None:
    """Those enrolled in hindsight are not measured; each page follows the one before."""
    api = Api(database)
    add_contacts(database, {"values": {"email": "p@example.org"}})
    with database.write() as db:
        for team in Team:
            acting.sign(db, shipped(), {}, team, "Kim", since=LONG_AGO)
        leads.refold(db, api.connections, Known().versions(db), [1], LONG_AGO)
        made = [member(i, out=i >= 200, reached=i % 10 < 4, began=LONG_AGO, known=LONG_AGO) for i in range(2, 300)]
        made.append(member(900, out=False, reached=True, began=LONG_AGO, known=LONG_AGO + 9 * DAY_MS))
        programmes.save(db, made, [])
    one = api.get("/programmes/warm_up")
    found = one["effect"]
    assert (found["with_it"]["measured"], found["with_it"]["late"], found["without_it"]["measured"]) == (198, 1, 100)
    assert found["difference"] == pytest.approx(78 / 198 - 0.4)
    assert found["low"] < found["difference"] < found["high"]
    assert (found["verdict"], one["members"]) == ("open", 199)
    assert found["says"] == "78 of 198 with it, 40 of 100 without: the difference may be chance"
    assert [p["name"] for p in api.get("/programmes")["items"]] == ["warm_up", "win_back", "nurture"]
    pages = api.walk("/programmes/warm_up/members", 150)
    assert [m["contact_id"] for page in pages for m in page] == [900, *range(299, 1, -1)]
    assert api("GET", "/programmes/warm_down").status_code == 404
    assert api("GET", "/programmes/warm_down/members").status_code == 404


def test_programmes_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """List, one of them, its members."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'tandem.db'}"
    monkeypatch.setenv("TANDEM_DATABASE", url)
    (tmp_path / "tandem.yml").write_text("{}\n")
    database = migrated.new(tmp_path / "tandem.db")
    add(database, t.programme_member, member(1, out=False, reached=True, began=LONG_AGO, known=LONG_AGO))
    with database.write() as db:
        for team in Team:
            acting.sign(db, shipped(), {}, team, "Kim")
    database.close()

    def run(*words: str) -> str:
        found = CliRunner().invoke(app, ["programmes", *words])
        assert found.exit_code == 0, found.output
        return found.output

    assert "warm_up" in run("list")
    assert "Cold prospects" in run("show", "warm_up")
    assert "lead stage: prospect" in run("members", "warm_up")
    page = orjson.loads(run("members", "warm_up", "--json"))
    assert ([m["contact_id"] for m in page["items"]], page["next"]) == ([1], None)
    assert CliRunner().invoke(app, ["programmes", "show", "nothing"]).exit_code != 0
