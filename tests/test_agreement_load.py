"""The agreement's file: strict, every problem with its line; what the shipped one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.agreement import facts, looking
from app.agreement.load import MappingError, load, loads
from app.agreement.versions import Version, Versions, in_force
from app.core.errors import ConfigError
from app.core.fields import Type
from tests.agreed import SHIPPED, changed, shipped

TEXT = SHIPPED.read_text(encoding="utf-8")


def line_of(text: str, piece: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if piece in line)


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("    when: deals.open > 0", "    when: deal.open > 0", "when: deal.open", "did you mean 'deals.open'?"),
        ("    means: Bought.", "    meens: Bought.", "meens", "did you mean 'means'?"),
        ("  to: lead", "  to: leed", "to: leed", "did you mean 'lead'?"),
        ("  at: mql", "  at: sql", "qualified: sql", "has to come after sql"),
        ("    from: [client]", "    from: [klient]", "from: [klient]", "no other stage"),
        ("    said: [marketing]\n    provided", "    provided", "provided: has(contact.email)", "nobody says"),
        ("rest: 14d", "rest: 14", "rest: 14", "written like 36h or 30d"),
        ("  attempts: 3", "  attempts: three", "attempts: three", "whole number"),
        ("then: reject}", "then: forget}", "then: forget", "'recycle' or 'reject'"),
        ("version: 1\n", "version: 1\nversion: 1\n", "version: 1", "stands here again"),
        ("title: Agreement", "title: &a Agreement", "title: &a", "anchors"),
        ("stage: mql, per: month", "stage: mqi, per: month", "stage: mqi", "no stage 'mqi'"),
    ],
)
def test_a_problem_has_its_line(old: str, new: str, at: str, message: str) -> None:
    """And says what would be valid."""
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    with pytest.raises(MappingError) as wrong:
        loads(text, "agreement.yaml")
    found = str(wrong.value)
    assert message in found
    lines = {problem.line for problem in wrong.value.problems}
    assert lines & {line_of(text, at), line_of(text, at) + 1}, found


def test_all_problems_are_told_at_once() -> None:
    """Nobody mends a file one message at a time."""
    text = TEXT.replace("deals.open > 0", "deal.open > 0").replace("  to: lead", "  to: leed")
    with pytest.raises(MappingError) as wrong:
        loads(text)
    assert len(wrong.value.problems) == 2


def test_the_shipped_agreement_says_what_the_words_mean() -> None:
    """Every stage and the words around it are in plain sentences; sales and marketing share them."""
    agreement = shipped()
    assert [s.name for s in agreement.stages] == ["prospect", "lead", "mql", "sql", "opportunity", "client", "lapsed"]
    for term in ("client", "prospect", "lead", "marketing lead", "sales-ready lead", "MQL", "SAL", "SQL", "lapsed"):
        assert len(agreement.spec.glossary[term]) > 20
    assert all(len(s.means) > 5 for s in agreement.stages)
    assert {r.ends for r in agreement.reasons.values()} == {True, False}


def test_a_comment_is_no_new_version() -> None:
    """What it says counts, not how it is laid out; any other word does count."""
    assert loads(TEXT + "\n# a remark\n").digest == shipped().digest
    assert changed(("rest: 14d", "rest: 15d")).digest != shipped().digest


def test_custom_fields_of_the_mappings_are_facts() -> None:
    """With their types; unknown ones are refused."""
    text = TEXT.replace("deals.open > 0", "contact.custom.plan == 'gold' && contact.custom.seats > 3.0")
    customs = {"plan": Type.TEXT, "seats": Type.NUMBER}
    assert loads(text, customs=customs).stages[4].when is not None
    with pytest.raises(MappingError, match=r"there is no fact 'contact\.custom\.plan'"):
        loads(text)
    assert facts.of_field("custom.seats", "4", customs) == ("contact.custom.seats", 4.0)


def test_what_differs_between_two_versions() -> None:
    """By its place in the file."""
    other = changed(("contact.lead_score >= 50\n", "contact.lead_score >= 60\n"), ("rest: 14d", "rest: 15d"))
    found = {d.path: (d.before, d.after) for d in looking.differences(shipped(), other)}
    assert found["reasons.not_reached.rest"] == (14 * 86_400_000, 15 * 86_400_000)
    assert "60" in found["stages.mql.when"][1]
    assert len(found) == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The message says how to get one."""
    with pytest.raises(ConfigError, match="tandem agreement init"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("sales", "marketing", "wished", "first", "since"),
    [
        (1, None, None, True, None),
        (None, 2, 1, True, None),
        (1, 2, None, True, 2),
        (5, 2, None, False, 5),
        (5, 2, 9, False, 9),
        (5, 2, 1, False, 5),
        (5, 2, 1, True, 1),
    ],
)
def test_both_have_to_sign(
    sales: int | None, marketing: int | None, wished: int | None, first: bool, since: int | None
) -> None:
    """A version holds from the second signature or later; only the first one may reach back."""
    assert in_force(sales, marketing, wished, first=first) == since


def test_the_version_in_force_on_a_date() -> None:
    """The latest that had begun."""
    found = Versions([Version(shipped(), 10, 1), Version(changed(("rest: 14d", "rest: 15d")), 20, 2)])
    assert [v.number if (v := found.at(m)) is not None else None for m in (9, 10, 19, 20, 99)] == [None, 1, 1, 2, 2]
    assert [found.next(m) for m in (5, 10, 20)] == [10, 20, None]
