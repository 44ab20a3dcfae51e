"""Attempts of sales: what counts, what is one, when enough was done; and a second computation at every moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agreement import attempts
from app.agreement.attempts import Meaning, Tally, Touch, ended_at, meaning, worked
from app.agreement.hours import HOUR, MINUTE
from app.agreement.terms import Clock, Need, Span

SINCE = 1_000_000 * MINUTE
UNTIL = SINCE + 100 * HOUR


def touches(*lines: str) -> list[Touch]:
    """``5 call human ann no_answer``: minutes after the handover, and what it was."""
    found = []
    for number, line in enumerate(lines):
        minute, kind, who, by, outcome, *channel = line.split()
        human = {"human": True, "machine": False, "unknown": None}[who]
        found.append(
            Touch(
                id=f"t{number}",
                at=SINCE + int(float(minute) * MINUTE),
                kind=kind,
                human=human,
                by=None if by == "-" else by,
                channel=channel[0] if channel else None,
                outcome=None if outcome == "-" else outcome,
            )
        )
    return found


@pytest.mark.parametrize(
    ("kind", "outcome", "means"),
    [
        ("call", "connected", Meaning.SPOKEN),
        ("call", "no_answer", Meaning.ATTEMPT),
        ("call", "busy", Meaning.ATTEMPT),
        ("call", "left_message", Meaning.ATTEMPT),
        ("call", "wrong_number", Meaning.ATTEMPT),
        ("call", None, Meaning.ATTEMPT),
        ("call", "held", Meaning.ATTEMPT),  # took place; who answered is not said
        ("call", "something new", Meaning.ATTEMPT),
        ("call", "failed", Meaning.NOTHING),
        ("call", "planned", Meaning.NOTHING),
        ("call", "received", Meaning.CALLED_US),
        ("mail", "sent", Meaning.ATTEMPT),
        ("mail", "received", Meaning.WROTE_US),
        ("reply", None, Meaning.WROTE_US),
        ("message", "sent", Meaning.ATTEMPT),
        ("meeting", "held", Meaning.SPOKEN),
        ("meeting", "no_show", Meaning.ATTEMPT),
        ("meeting", "cancelled", Meaning.NOTHING),
        ("send", "sent", Meaning.NOTHING),  # a campaign's
        ("note", None, Meaning.NOTHING),
        ("task", "done", Meaning.NOTHING),
        ("open", None, Meaning.NOTHING),
        ("bounce", "hard", Meaning.NOTHING),
    ],
)
def test_what_an_act_means(kind: str, outcome: str | None, means: Meaning) -> None:
    """The table that both teams read in docs/sla.md."""
    assert means == meaning(kind, outcome)


FIVE_ON_TWO = Need(5, 2)


@pytest.mark.parametrize(
    ("lines", "person", "first", "contact", "fulfilled", "missing"),
    [
        ([], 0, None, None, None, (5, 2)),
        (["-5 call human ann no_answer"], 0, None, None, None, (5, 2)),  # before the handover
        (["0 call human ann no_answer"], 1, 0, None, None, (4, 1)),
        (["5 mail machine ann sent"], 0, None, None, None, (5, 2)),
        (["5 mail unknown - sent"], 0, None, None, None, (5, 2)),
        # A call that was dialled twice, and the same one in another system.
        (["5 call human ann no_answer", "5.5 call human ann busy", "5.9 call human ann -"], 1, 5, None, None, (4, 1)),
        (["5 call human ann no_answer", "6 call human ann no_answer"], 2, 5, None, None, (3, 1)),
        (["5 call human ann no_answer", "5 call human bob no_answer"], 2, 5, None, None, (3, 1)),
        (["5 call human ann no_answer", "5 mail human ann sent"], 2, 5, None, None, (3, 0)),
        # Not two minutes by links of less than one: the third is a minute after the one that counts.
        (["5 call human ann -", "5.6 call human ann -", "6.1 call human ann -"], 2, 5, None, None, (3, 1)),
        # Five on one channel are not enough; the mail makes it two.
        ([f"{n}0 call human ann no_answer" for n in range(1, 6)], 5, 10, None, None, (0, 1)),
        ([*(f"{n}0 call human ann no_answer" for n in range(1, 6)), "70 mail human ann sent"], 6, 10, None, 70, (0, 0)),
        # Who was reached need not be chased.
        (["5 call human ann no_answer", "50 call human ann connected"], 2, 5, 50, 50, (0, 0)),
        (["5 call human ann no_answer", "5.5 call human ann connected"], 1, 5, 5.5, 5.5, (0, 0)),
        (["30 meeting human ann held"], 1, 30, 30, 30, (0, 0)),
        # The lead rings, and a person answers: they spoke, but it was no attempt of ours.
        (["5 call human ann received"], 0, 5, 5, 5, (0, 0)),
        # An answer to a campaign does not excuse sales; one to a person does.
        (["5 reply unknown - -"], 0, None, None, None, (5, 2)),
        (["5 mail human ann sent", "90 mail unknown - received"], 1, 5, 90, 90, (0, 0)),
        (["5 call human ann planned", "6 call human ann failed", "7 note human ann -"], 0, None, None, None, (5, 2)),
        (["5 call human ann no_answer PHONE", "9 call human ann no_answer Phone"], 2, 5, None, None, (3, 1)),
        (["7000 call human ann connected"], 0, None, None, None, (5, 2)),  # after the moment
    ],
)  # fmt: skip
def test_how_a_lead_was_worked_on(
    lines: list[str],
    person: int,
    first: float | None,
    contact: float | None,
    fulfilled: float | None,
    missing: tuple[int, int],
) -> None:
    """Five attempts on two channels are owed."""
    found = worked(touches(*lines), SINCE, UNTIL, FIVE_ON_TWO)
    moments = [None if m is None else SINCE + int(m * MINUTE) for m in (first, contact, fulfilled)]
    assert [person, *moments, missing] == [
        found.person.number,
        found.first_touch_at,
        found.contact_at,
        found.fulfilled_at,
        (found.missing_attempts, found.missing_channels),
    ]


def test_what_is_missing_in_words() -> None:
    """As it stands on the joint list."""
    done = touches(*(f"{n}0 call human ann no_answer" for n in range(1, 6)))
    assert worked(done[:1], SINCE, UNTIL, FIVE_ON_TWO).missing() == "4 more attempts, 1 more channel"
    assert worked(done, SINCE, UNTIL, FIVE_ON_TWO).missing() == "1 more channel"
    assert worked(done, SINCE, UNTIL, Need(5)).missing() == ""


def test_people_and_machines_are_counted_apart() -> None:
    """Each with its channels; a person's same mail and a machine's are two."""
    found = worked(
        touches(
            "5 mail machine ann sent",
            "5 mail human ann sent",
            "9 call human ann no_answer",
            "11 mail unknown - sent",
            "12 mail machine ann sent",
        ),
        SINCE,
        UNTIL,
    )
    assert Tally(2, ("email", "phone"), SINCE + 5 * MINUTE, SINCE + 9 * MINUTE) == found.person
    assert Tally(2, ("email",), SINCE + 5 * MINUTE, SINCE + 12 * MINUTE) == found.machine
    assert Tally(1, ("email",), SINCE + 11 * MINUTE, SINCE + 11 * MINUTE) == found.unknown


def test_who_is_not_said_may_be_taken_for_a_person() -> None:
    """Where the agreement says so, for a CRM that does not tell."""
    lines = ("5 call unknown - no_answer", "9 call unknown - connected")
    assert worked(touches(*lines), SINCE, UNTIL, Need(2)).first_touch_at is None
    found = worked(touches(*lines), SINCE, UNTIL, Need(2, unknown=True))
    assert [found.first_touch_at, found.contact_at] == [SINCE + 5 * MINUTE, SINCE + 9 * MINUTE]


def test_attempts_up_to_contact() -> None:
    """The one that made contact included, those after it not."""
    lines = ("5 call human ann no_answer", "9 call human ann connected", "99 mail human ann sent")
    assert worked(touches(*lines), SINCE, UNTIL).until_contact == 2


@pytest.mark.parametrize(
    ("ends", "minute"), [("first_touch", 5), ("contact", 9), ("attempts", 9), ("disposition", 77), ("sql", None)]
)
def test_what_ends_a_clock(ends: str, minute: int | None) -> None:
    """Each clock of sales by what was done; those that end by a stage are the lifecycle's."""
    done = worked(touches("5 call human ann no_answer", "9 call human ann connected"), SINCE, UNTIL, FIVE_ON_TWO)
    clock = Clock("c", "mql", ends, Span(HOUR))
    assert ended_at(clock, done, SINCE + 77 * MINUTE) == (None if minute is None else SINCE + minute * MINUTE)


# --- the second computation, and laws ---------------------------------------------------------------------------------


@st.composite
def rows(draw: st.DrawFn) -> list[Touch]:
    found = []
    for number in range(draw(st.integers(0, 12))):
        found.append(
            Touch(
                id=f"t{number}",
                at=SINCE + draw(st.integers(-3, 20)) * 20_000,
                kind=draw(st.sampled_from(["call", "mail", "meeting", "reply", "note"])),
                human=draw(st.sampled_from([True, True, False, None])),
                by=draw(st.sampled_from(["ann", "bob", None])),
                channel=draw(st.sampled_from([None, "phone", "sms"])),
                outcome=draw(st.sampled_from([None, "connected", "no_answer", "received", "planned", "held"])),
            )
        )
    return found


def enough_by(found: list[Touch], moment: int, need: Need) -> bool:
    """Whether enough was done by a moment: the earliest act counts, its doubles go, until none is left."""
    left = [t for t in found if SINCE <= t.at <= moment]
    ours = [t for t in left if t.human is True or (t.human is None and need.unknown)]
    acted = [t for t in ours if meaning(t.kind, t.outcome) in {"attempt", "spoken", "called_us"}]
    if any(meaning(t.kind, t.outcome) in {"spoken", "called_us"} for t in ours):
        return True
    wrote = [t for t in left if meaning(t.kind, t.outcome) == "wrote_us"]
    if any((a.at, a.id) < (w.at, w.id) for a in acted for w in wrote):
        return True
    counted, tried = [], [t for t in acted if meaning(t.kind, t.outcome) != "called_us"]
    while tried:
        first = min(tried, key=lambda t: (t.at, t.id))
        counted.append(first)
        who = (first.human, first.by, attempts.channel_of(first))
        tried = [
            t
            for t in tried
            if t is not first and not ((t.human, t.by, attempts.channel_of(t)) == who and t.at - first.at < MINUTE)
        ]
    return len(counted) >= need.attempts and len({attempts.channel_of(t) for t in counted}) >= need.channels


NEEDS = st.builds(Need, st.integers(1, 4), st.integers(1, 3), st.booleans())


@given(rows(), NEEDS)
def test_looking_at_every_moment_comes_to_the_same(found: list[Touch], need: Need) -> None:
    """The first moment by which enough was done."""
    moments = sorted({t.at for t in found if t.at >= SINCE})
    first = next((m for m in moments if enough_by(found, m, need)), None)
    assert first == worked(found, SINCE, UNTIL, need).fulfilled_at


@given(rows(), NEEDS, st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(found: list[Touch], need: Need, seed: Any) -> None:
    """Shuffled, with some of them twice."""
    mixed = [*found, *found[:3]]
    seed.shuffle(mixed)
    assert worked(mixed, SINCE, UNTIL, need) == worked(found, SINCE, UNTIL, need)


@given(rows(), NEEDS)
def test_what_was_done_stays_done(found: list[Touch], need: Need) -> None:
    """A later look finds no other first touch, contact or moment of enough, only missing ones."""
    whole = worked(found, SINCE, UNTIL, need)
    for moment in {t.at for t in found if t.at >= SINCE}:
        part = worked(found, SINCE, moment, need)
        for name in ("first_touch_at", "contact_at", "fulfilled_at"):
            late = getattr(whole, name)
            assert getattr(part, name) == (late if late is not None and late <= moment else None)


def saboteur_counts_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "SAME_ACT", 0)


def saboteur_counts_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_OUTCOMES", {})


def saboteur_takes_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_key", lambda touch: 0)


@pytest.mark.parametrize("break_it", [saboteur_counts_doubles, saboteur_counts_plans, saboteur_takes_any_order])
def test_broken_counting_is_found(monkeypatch: pytest.MonkeyPatch, break_it: Any) -> None:
    """Saboteurs: each gives another outcome for acts that the tables above decide."""
    found = touches(
        "10 call human ann no_answer",
        "10.5 call human ann no_answer",
        "3 mail human ann planned",
        "1 mail human ann sent",
    )
    right = worked(found, SINCE, UNTIL, FIVE_ON_TWO)
    break_it(monkeypatch)
    assert worked(found, SINCE, UNTIL, FIVE_ON_TWO) != right
