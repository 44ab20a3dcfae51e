"""The life of a lead, as a pure fold: what moves it, what does not, and that the order of arrival does not matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.agreement import judging, lifecycle
from app.agreement.lifecycle import Seal, fold, sealed
from app.agreement.words import Finding, Happening, Kind, Lead, Standing, Team, What, Word
from tests.agreed import DAY, act, at, changed, deal, fact, said, shipped, versions

BASE = [fact(0, email="ann@example.org"), act(1, "form", form="newsletter"), fact(2, lead_score=72.0)]
TRIED = [act(2.1, "call", outcome="no_answer", human=True), act(2.2, "call", human=True), act(2.3, "mail", human=True)]
RANKS = {stage.name: stage.rank for stage in shipped().stages}


def examples(number: int) -> settings:
    """The same ones each time, and one failure at a time."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def stages(lead: Lead) -> list[str | None]:
    return [step.after for step in lead.steps if step.what is What.STAGE]


def life(*happenings: Happening, until: float = 900) -> Lead:
    return fold([*BASE, *happenings], versions(), at(until))


@pytest.mark.parametrize(
    ("happenings", "until", "way", "status"),
    [
        pytest.param([], 3, ["prospect", "lead", "mql"], "new", id="handed over by its score"),
        pytest.param([said(3, Word.ACCEPT)], 4, ["prospect", "lead", "mql"], "accepted", id="accepted"),
        pytest.param([said(3, Word.STAGE, "sql")], 4, ["prospect", "lead", "mql", "sql"], "qualified", id="qualified"),
        pytest.param(
            [deal(3, "open"), deal(4, "won")],
            5,
            ["prospect", "lead", "mql", "opportunity", "client"],
            "qualified",
            id="bought without a word from sales",
        ),
        pytest.param(
            [deal(3, "won")], 600, ["prospect", "lead", "mql", "client", "lapsed"], "done", id="lapsed by time alone"
        ),
        pytest.param(
            [deal(3, "won"), deal(600, "lost", 2)],
            700,
            ["prospect", "lead", "mql", "client", "lapsed"],
            "done",
            id="a lost deal wins nobody back",
        ),
        pytest.param(
            [deal(3, "won"), deal(600, "won", 2)],
            700,
            ["prospect", "lead", "mql", "client", "lapsed", "client"],
            "qualified",
            id="won back",
        ),
        pytest.param(
            [*TRIED, said(3, Word.REJECT, reason="no_need")],
            4,
            ["prospect", "lead", "mql", "lead"],
            "recycled",
            id="given back as agreed",
        ),
        pytest.param(
            [said(3, Word.REJECT, reason="competitor"), act(200, "form", form="demo", human=True)],
            300,
            ["prospect", "lead", "mql", "lead"],
            "rejected",
            id="given back for good",
        ),
        pytest.param(
            [*TRIED, said(3, Word.REJECT, reason="no_need"), act(50, "form", form="demo", human=True)],
            92,
            ["prospect", "lead", "mql", "lead"],
            "recycled",
            id="it rests",
        ),
        pytest.param(
            [*TRIED, said(3, Word.REJECT, reason="no_need"), act(50, "form", form="demo", human=True)],
            93.5,
            ["prospect", "lead", "mql", "lead", "mql"],
            "new",
            id="it comes again when it has rested",
        ),
        pytest.param(
            [*TRIED, said(3, Word.REJECT, reason="no_need")],
            900,
            ["prospect", "lead", "mql", "lead"],
            "recycled",
            id="an old score alone does not bring it back",
        ),
        pytest.param([fact(3, lead_score=3.0)], 9, ["prospect", "lead", "mql"], "new", id="a falling score"),
    ],
)
def test_the_way_of_a_lead(happenings: list[Happening], until: float, way: list[str], status: str) -> None:
    """Each happening leads to the stages that the agreement names, and to no other."""
    lead = life(*happenings, until=until)
    assert (stages(lead), lead.status) == (way, status)


@pytest.mark.parametrize(
    ("one", "finding", "flag"),
    [
        pytest.param(said(3, Word.STAGE, "lead", number=1), Finding.FLAGGED, "no_reason", id="back by the CRM's field"),
        pytest.param(said(3, Word.STAGE, "prospect", number=1), Finding.REFUSED, None, id="further back"),
        pytest.param(said(3, Word.STAGE, None, number=1), Finding.REFUSED, None, id="emptied"),
        pytest.param(said(3, Word.STAGE, "wizard", number=1), Finding.REFUSED, None, id="no such stage"),
        pytest.param(said(3, Word.STAGE, "mql", number=1), Finding.AGREED, None, id="where it is"),
        pytest.param(
            said(3, Word.STAGE, "sql", Team.MARKETING, number=1), Finding.REFUSED, None, id="not theirs to say"
        ),
        pytest.param(said(3, Word.STAGE, "client", number=1), Finding.TAKEN, None, id="the CRM knows clients"),
        pytest.param(said(3, Word.STATUS, "new", number=1), Finding.AGREED, None, id="status as it is"),
        pytest.param(said(3, Word.STATUS, "accepted", number=1), Finding.TAKEN, None, id="accepted by a field"),
        pytest.param(said(3, Word.STATUS, "rejected", number=1), Finding.FLAGGED, "no_reason", id="no reason"),
        pytest.param(
            said(3, Word.STATUS, "rejected", number=1, reason="dunno"),
            Finding.FLAGGED,
            "unknown_reason",
            id="own reason",
        ),
        pytest.param(said(3, Word.REJECT, number=1, reason="no_need"), Finding.FLAGGED, "too_early", id="not tried"),
        pytest.param(
            said(3, Word.REJECT, number=1, reason="wrong_data"), Finding.TAKEN, None, id="shows without a call"
        ),
        pytest.param(
            said(3, Word.REJECT, team=Team.MARKETING, number=1, reason="no_fit"), Finding.REFUSED, None, id="not theirs"
        ),
        pytest.param(said(3, Word.RECYCLE, team=Team.MARKETING, number=1), Finding.TAKEN, None, id="taken back"),
        pytest.param(said(3, Word.REASON, "no_need", number=1), Finding.TAKEN, None, id="a reason beforehand"),
        pytest.param(said(3, Word.REASON, "dunno", number=1), Finding.REFUSED, None, id="no such reason"),
    ],
)
def test_a_word_is_judged(one: Happening, finding: Finding, flag: str | None) -> None:
    """What a person or a field says of a lead that is handed over; every answer says why."""
    lead = life(one, until=4)
    assert (lead.judgements[1].finding, lead.flag) == (finding, flag)
    assert lead.judgements[1].why
    if finding is not Finding.TAKEN:
        assert (lead.stage, lead.status) == ("mql", Standing.NEW)


def test_giving_back_without_a_reason_is_mended_by_the_reason() -> None:
    """The flag stays until the reason is said; then the lead goes back, and rests."""
    flagged = life(*TRIED, said(3, Word.STATUS, "rejected"), until=3.5)
    assert (flagged.flag, flagged.status, flagged.stage) == ("no_reason", Standing.NEW, "mql")
    mended = life(*TRIED, said(3, Word.STATUS, "rejected"), said(4, Word.REASON, "no_budget"), until=5)
    assert (mended.flag, mended.status, mended.given_reason) == (None, Standing.RECYCLED, "no_budget")
    assert mended.rest_until == at(4 + 180)


def test_a_reason_that_is_said_again_with_the_rejection_counts() -> None:
    """Status and reason come in one record after a rejection without one: what is missing now are the attempts."""
    again = [said(4, Word.REASON, "no_need"), said(4, Word.STATUS, "rejected")]
    assert life(said(3, Word.STATUS, "rejected"), *again, until=5).flag == "too_early"


def test_machines_do_not_try_for_people() -> None:
    """What a sequence sent by itself is no attempt; nor is a meeting that was called off, nor what came before."""
    none = [
        act(1.5, "call", human=True),
        act(2.1, "mail", human=False),
        act(2.2, "meeting", human=True, outcome="cancelled"),
        act(2.3, "note", human=True),
        act(2.4, "call", human=True, outcome="received"),
        act(2.5, "mail", human=True, outcome="failed"),
    ]
    assert life(*none, until=3).attempts == 0
    assert (life(*TRIED, until=3).attempts, life(*TRIED, until=3).channels) == (3, ("email", "phone"))


def test_a_lead_is_judged_by_the_version_in_force_on_its_date() -> None:
    """What the old version made an MQL stays one; the new one asks for more from then on."""
    strict = changed(("contact.lead_score >= 50\n", "contact.lead_score >= 90\n"))
    both = versions((shipped(), 0), (strict, 10))
    early = fold(BASE, both, at(20))
    late = fold([BASE[0], BASE[1], fact(11, lead_score=72.0)], both, at(20))
    later = fold([BASE[0], BASE[1], fact(11, lead_score=95.0)], both, at(20))
    assert (early.stage, early.version) == ("mql", shipped().digest)
    assert late.stage == "lead"
    assert (later.stage, later.version) == ("mql", strict.digest)


def test_a_new_version_moves_those_who_fit_it_when_it_comes_into_force() -> None:
    """Who was not enough for the old version is handed over on the day of the new one."""
    mild = changed(("contact.lead_score >= 50\n", "contact.lead_score >= 20\n"))
    lead = fold([fact(0, email="a@example.org", lead_score=30.0)], versions((shipped(), 0), (mild, 10)), at(20))
    assert [(s.after, s.at, s.version) for s in lead.steps if s.what is What.STAGE] == [
        ("prospect", at(0), shipped().digest),
        ("mql", at(10), mild.digest),
    ]


def test_time_alone_is_foreseen() -> None:
    """The fold says when it has to be looked at again, and is right about it."""
    lead = life(deal(3, "won"), until=10)
    assert lead.turns_at == at(3) + 548 * DAY + 1
    moment = lead.turns_at
    assert fold([*BASE, deal(3, "won")], versions(), moment - 1).stage == "client"
    assert fold([*BASE, deal(3, "won")], versions(), moment).stage == "lapsed"


def test_every_step_says_why() -> None:
    """The facts that made a stage true are kept with it; an address is not repeated where it only had to be known."""
    by_stage = {s.after: s for s in life(until=3).steps}
    assert by_stage["mql"].facts == {"contact.lead_score": 72.0}
    assert by_stage["prospect"].facts == {"contact.email": True}
    assert by_stage["mql"].why == "lead score: 72"


# --- two years in any order -------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [(w, v) for w in (Word.STAGE,) for v in (*RANKS, "wizard", None)]
    + [(Word.STATUS, v) for v in (*Standing, "wizard", None)]
    + [(Word.REASON, v) for v in (*shipped().reasons, "dunno")]
    + [(Word.ACCEPT, None), (Word.REJECT, None), (Word.RECYCLE, None)]
)
DAYS = st.integers(0, 2 * 730).map(lambda n: n / 2)


@st.composite
def happenings(draw: st.DrawFn) -> Happening:
    day = draw(DAYS)
    match draw(st.sampled_from(["fact", "act", "deal", "said", "said"])):
        case "fact":
            return fact(day, **draw(st.sampled_from([{"lead_score": 10.0}, {"lead_score": 60.0}, {"email": None}])))
        case "act":
            kind = draw(st.sampled_from(["call", "mail", "open", "form", "meeting"]))
            return act(day, kind, human=draw(st.booleans()), form="demo" if kind == "form" else None)
        case "deal":
            number = draw(st.integers(1, 3))
            return deal(day, draw(st.sampled_from(["open", "won", "lost"])), number)
    word, value = draw(WORDS)
    reason = draw(st.sampled_from([None, "no_need", "competitor"]))
    team = draw(st.sampled_from(list(Team)))
    source = draw(st.sampled_from(["hubspot", "mailchimp"]))
    return said(day, word, value, team, reason=reason, source=source)


LIVES = st.lists(happenings(), max_size=40)
BOTH = versions((shipped(), 0), (changed(("contact.lead_score >= 50\n", "contact.lead_score >= 55\n")), 200))


def state(lead: Lead) -> Any:
    return lead.standing(), lead.steps


Fold = Callable[[Sequence[Happening]], Lead]


def agreed_fold(of: Sequence[Happening]) -> Lead:
    return fold(of, BOTH, at(731))


def as_they_come(of: Sequence[Happening]) -> Lead:
    """Sabotage: in the order of arrival."""
    return lifecycle._Fold(BOTH).run(list(of), at(731))


def by_time_only(of: Sequence[Happening]) -> Lead:
    """Sabotage: what happened at the same moment stays in the order of its arrival."""
    return lifecycle._Fold(BOTH).run(sorted(of, key=lambda h: h.at), at(731))


def order_does_not_matter(folded: Fold, tries: int) -> None:
    @examples(tries)
    @given(LIVES.flatmap(lambda life: st.tuples(st.just(life), st.permutations(life))))
    def check(both: tuple[list[Happening], list[Happening]]) -> None:
        assert state(folded(both[0])) == state(folded(both[1]))

    check()


def test_two_years_in_any_order_give_the_same_stages() -> None:
    """Stages, standings, flags, counters and every step are the same in whatever order things arrive."""
    order_does_not_matter(agreed_fold, 150)


@pytest.mark.parametrize("sabotage", [as_they_come, by_time_only])
def test_a_fold_that_minds_the_order_is_found(sabotage: Fold) -> None:
    """Guards the guard."""
    with pytest.raises(AssertionError):
        order_does_not_matter(sabotage, 400)


def test_a_seal_changes_nothing() -> None:
    """A fold that goes on from what was known at any moment ends as one over everything."""

    @examples(80)
    @given(LIVES, st.integers(0, 730))
    def check(lives: list[Happening], day: int) -> None:
        moment = at(day + 0.25)
        whole = fold(lives, BOTH, at(731))
        seal = Seal.from_json(sealed(lives, BOTH, moment, moment).to_json())
        rest = fold([h for h in lives if h.at > moment], BOTH, at(731), seal)
        assert rest.standing() == whole.standing()
        assert rest.steps == [s for s in whole.steps if s.at > moment]

    check()


# --- never back by a field --------------------------------------------------------------------------------------------


def never_back(tries: int) -> None:
    """Whatever fields say, without a reason for giving back nobody comes to an earlier stage."""

    def by_field(one: Happening) -> bool:
        if one.said is None:
            return one.kind is Kind.FACT
        return one.said.word in {Word.STAGE, Word.STATUS} and one.said.reason is None

    @examples(tries)
    @given(st.lists(happenings().filter(by_field), max_size=30))
    def check(lives: list[Happening]) -> None:
        lead = fold([*BASE, *lives], versions(), at(731))
        way = [RANKS[stage] for stage in stages(lead) if stage is not None]
        assert way == sorted(way)

    check()


def test_no_field_moves_a_lead_back() -> None:
    """Stages, standings and scores that a sync overwrites never lead back."""
    never_back(150)


def test_a_judge_that_lets_fields_lead_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard: a stage that says of itself that it follows every other."""

    def lenient(self: Any, name: str | None) -> judging.Ruling:
        stage = self._agreement.stage(name)
        if stage is None or stage is self._here:
            return judging.refused("no")
        return self._move(stage, "a field says so")  # type: ignore[no-any-return]

    monkeypatch.setattr(judging._Judge, "_stage", lenient)
    with pytest.raises(AssertionError):
        never_back(300)


def test_the_order_is_made_of_what_happened() -> None:
    """The number of a row, which grows with arrival, is no part of it."""
    one = said(3, Word.REJECT, number=1)
    assert one.said is not None
    other = dataclasses.replace(one, said=dataclasses.replace(one.said, number=99))
    assert one.order == other.order
