"""Conditions: what is refused when they are loaded, what the rest mean, and that a second implementation agrees."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import celpy
import pytest
from celpy import celtypes
from hypothesis import given, settings
from hypothesis import strategies as st

from app.agreement import facts
from app.agreement._conditions_parse import parse, spelled
from app.agreement.conditions import Flip, Kind, Wrong, compiled
from tests.agreed import DAY, HOUR, shipped

NAMES = facts.names()
KNOWN: dict[str, Any] = {
    **facts.beginning(),
    "contact.lead_score": 50.0,
    "contact.city": "Bonn",
    "contact.tags": ["demo", "trade fair"],
    "engagement.last": 10 * DAY,
    "lead.since": 9 * DAY,
    "engagement.call.count": 2,
    "consent.email.stops": False,
}
NOW = 100 * DAY


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("contact.lead_score >= 50", True),
        ("contact.lead_score == 50", True),
        ("contact.lead_score > 50", False),
        ("'demo' in contact.tags && contact.city != 'Berlin'", True),
        ("contact.tags.exists(tag, tag.startsWith('trade'))", True),
        ("contact.tags.all(tag, tag.size() > 4)", False),
        ("size(contact.tags) == 2", True),
        ("engagement.call.count * 2 + 1 == 5", True),
        ("engagement.call.count % 2 == 0 ? true : false", True),
        ("!consent.email.stops", True),
        ("contact.city.matches('^B(onn|erlin)$')", True),
        ("has(contact.city) && !has(contact.country)", True),
        ("contact.city in ['Bonn', \"Köln\"]", True),
        ("engagement.last - lead.since >= days(1)", True),
        ("engagement.last > timestamp('1970-01-02T00:00:00Z')", True),
        ("now - engagement.last > days(89)", True),
        ("now - engagement.last > days(90)", False),
        ("now - engagement.last >= days(90)", True),
        ("now < engagement.last + duration('2160h0m1s')", True),
        ("engagement.last + days(90) <= now", True),
        # A fact that is not known makes nothing true by itself, and hides nothing that is.
        ("contact.country == 'DE'", False),
        ("contact.country != 'DE'", False),
        ("!(contact.country == 'DE')", False),
        ("contact.country == 'DE' || contact.lead_score > 1", True),
        ("contact.lead_score > 1 || contact.country == 'DE'", True),
        ("contact.country == 'DE' && contact.lead_score > 99", False),
        ("contact.lead_score / 0.0 > 1 || contact.city == 'Bonn'", True),
    ],
)
def test_what_a_condition_means(text: str, true: bool) -> None:
    """CEL's own meaning; what is not known makes no condition true."""
    assert compiled(text, NAMES).holds(KNOWN, NOW) is true


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("contact.lead_scor > 2", 0, "did you mean 'contact.lead_score'?"),
        ("deal.open > 0", 0, "did you mean 'deals.open'?"),
        ("contact.lead_score >= '50'", 0, "numbers stand without quotes"),
        ("contact.city", 0, "this is a text"),
        ("contact.city && true", 0, "has(contact.city) asks whether it is known"),
        ("contact.tags == 'demo'", 0, "ask with `in`"),
        ("contact.lead_score + 1 > 2", 0, "write 2.0"),
        ("contact.city = 'Bonn'", 13, "`==` compares"),
        ("contact.city == 'Bonn' and true", 23, "`&&` is and"),
        ("contact.city == null", 16, "has(…)"),
        ("contact.tags[0] == 'a'", 12, "no element is picked out"),
        ("contact.city.matches('(')", 21, "RE2"),
        ("contact.city.matches(contact.country)", 21, "between quotes"),
        ("now > timestamp('2026-01-01T00:00:00Z')", 6, "compared with a fact"),
        ("now - engagement.last - lead.since > days(1)", 0, "compared with a fact"),
        ("contact.tags.exists(t, contact.tags.exists(u, u == t))", 23, "within another"),
        ("contact.tags.exists(now, true)", 0, "the name of facts"),
        ("duration('3d') > duration('1h')", 9, "days(30)"),
        ("timestamp('yesterday') < engagement.last", 10, "2026-01-31"),
        ("contact.lead_score >=", 21, "a value is expected here, not the end"),
        ("(contact.lead_score > 2", 23, "')' is expected"),
        ("contact.city == 'Bonn", 16, "ends on its line"),
        ("--contact.lead_score > 1", 1, "one sign"),
        ("f(contact.city)", 0, "there is no f"),
        ("(" * 60 + "true" + ")" * 60, 24, "deep"),
        ("true || " * 400 + "true", 0, "at most 2000"),
    ],
)
def test_what_is_refused_when_it_is_loaded(text: str, at: int, message: str) -> None:
    """Each with its place and what to write instead."""
    with pytest.raises(Wrong) as wrong:
        compiled(text, NAMES)
    assert message in wrong.value.message
    assert wrong.value.at == at


@pytest.mark.parametrize(
    ("text", "flip", "before", "after"),
    [
        ("now - engagement.last > days(3)", 3 * DAY + 1, False, True),
        ("now - engagement.last >= days(3)", 3 * DAY, False, True),
        ("now - engagement.last < days(3)", 3 * DAY, True, False),
        ("now - engagement.last <= days(3)", 3 * DAY + 1, True, False),
        ("engagement.last < now", 1, False, True),
        ("now >= engagement.last", 0, False, True),
        ("now > engagement.last - duration('2h')", -2 * HOUR + 1, False, True),
        ("engagement.last + duration('2h') < now", 2 * HOUR + 1, False, True),
    ],
)
def test_when_time_alone_turns_a_condition(text: str, flip: int, before: bool, after: bool) -> None:
    """To the millisecond; so that nobody has to look in between."""
    condition = compiled(text, NAMES)
    assert condition.flips == {Flip("engagement.last", flip)}
    moment = KNOWN["engagement.last"] + flip
    assert condition.turns(KNOWN, moment - 1) == moment
    assert condition.turns(KNOWN, moment) is None
    assert [condition.holds(KNOWN, moment - 1), condition.holds(KNOWN, moment)] == [before, after]


def test_only_the_alternative_that_is_true_gives_its_reasons() -> None:
    """Of two ways to a stage the other one explains nothing."""
    condition = compiled("contact.lead_score >= 90 || 'demo' in contact.tags || has(contact.country)", NAMES)
    assert condition.because(KNOWN, NOW) == {"contact.tags": ["demo", "trade fair"]}


# --- a second implementation ------------------------------------------------------------------------------------------


def second(text: str, known: dict[str, Any]) -> bool:
    """The same condition by cel-python, which shares no line with the engine; an error is not true."""
    env: dict[str, Any] = {"now": celtypes.TimestampType(datetime.fromtimestamp(NOW / 1000, UTC))}
    for name in {path.split(".", 1)[0] for path in NAMES}:
        env[name] = celtypes.MapType()
    for path, value in known.items():
        if path in NAMES:
            *roots, last = path.split(".")
            at = env
            for root in roots:
                key = root if at is env else celtypes.StringType(root)
                at = at.setdefault(key, celtypes.MapType())
            moment = NAMES[path] is Kind.MOMENT
            shown = datetime.fromtimestamp(value / 1000, UTC) if moment else value
            at[celtypes.StringType(last)] = celtypes.TimestampType(shown) if moment else celpy.json_to_cel(shown)
    program = celpy.Environment().program(celpy.Environment().compile(spelled(parse(text), engine=True)))
    try:
        return bool(program.evaluate(env))
    except celpy.CELEvalError:
        return False


def test_a_second_implementation_agrees_about_the_shipped_conditions() -> None:
    """With the same facts, each condition of the shipped agreement is as true by cel-python."""
    lives = [
        KNOWN,
        {**KNOWN, "contact.email": "a@example.org", "engagement.form.count": 1, "engagement.forms": ["Get a quote"]},
        {**KNOWN, "deals.won": 1, "deals.last_won": NOW - 600 * DAY, "lead.stage": "lapsed"},
        {**KNOWN, "company.employees": 50.0, "contact.job_title": "Head of Sales", "lead.recycled_at": 9 * DAY},
    ]
    seen = set()
    for condition in shipped().conditions():
        for known in lives:
            assert condition.holds(known, NOW) is second(condition.text, known), condition.text
            seen.add(condition.holds(known, NOW))
    assert seen == {True, False}


NUMBERS = st.sampled_from(["contact.lead_score", "0.0", "49.5", "50.0", "-1.5", "contact.lead_score * 2.0 - 1.0"])
TEXTS = st.sampled_from(["contact.city", "contact.country", "'Bonn'", "'a' + contact.city", "''"])
WHOLES = st.sampled_from(["engagement.call.count", "deals.open", "0", "2", "engagement.call.count * 3 % 4"])
COMPARED = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
ATOMS = st.one_of(
    st.tuples(NUMBERS, COMPARED, NUMBERS).map(" ".join),
    st.tuples(WHOLES, COMPARED, WHOLES).map(" ".join),
    st.tuples(TEXTS, COMPARED, TEXTS).map(" ".join),
    st.tuples(TEXTS, st.sampled_from(["contact.tags", "['Bonn', 'x']"])).map(" in ".join),
    st.sampled_from(["has(contact.country)", "has(contact.city)", "consent.email.stops", "true", "false"]),
    st.tuples(TEXTS, TEXTS).map(lambda t: f"contact.tags.exists(t, t == {t[0]} || t.contains({t[1]}))"),
)
FORMULAS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda t: f"({t[0]}) && ({t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]}) || ({t[1]})"),
        inner.map(lambda text: f"!({text})"),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(FORMULAS)
def test_two_implementations_agree_about_what_was_checked(text: str) -> None:
    """Whatever passes the check means the same to both, and is read back from its own spelling."""
    condition = compiled(text, NAMES)
    assert condition.holds(KNOWN, NOW) is second(text, KNOWN)
    assert compiled(condition.text, NAMES).text == condition.text


def test_a_moment_has_milliseconds() -> None:
    """As the store keeps them."""
    one = compiled("engagement.last > lead.since", NAMES)
    assert one.holds({"engagement.last": 5, "lead.since": 4}, NOW)
    assert not one.holds({"engagement.last": 4, "lead.since": 4}, NOW)
