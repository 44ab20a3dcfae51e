"""The score of two records: bands, contradictions, reasons, and what it is independent of."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.match.choosing import choose, rank
from app.match.normalise import evidence
from app.match.score import CORRECTIONS, Band, Score, compare, plainly_two
from app.match.weights import from_json, shipped
from app.match.wording import FIELDS, LEVELS

HOME = {"street": "12 Elm Road", "city": "Dorking", "postal_code": "RH4 1AB", "phone": "+44 1306 496000"}
ANN = {**HOME, "given_name": "Ann", "family_name": "Quillfeather", "email": "ann.quillfeather@gmail.com"}
BORN = {"birthday": "1980-05-17"}


def scored(a: dict[str, Any], b: dict[str, Any]) -> Score:
    return compare(evidence(a, "GB"), evidence(b, "GB"))


@pytest.mark.parametrize(
    ("a", "b", "band"),
    [
        (ANN, ANN, Band.LINK),
        (ANN, {"given_name": "Ann", "email": "ANN.quillfeather@gmail.com"}, Band.LINK),
        ({**ANN, **BORN}, {"email": "ann.quillfeather@gmail.com", **BORN}, Band.LINK),
        (ANN, {"email": "ann.quillfeather@gmail.com"}, Band.REVIEW),
        (ANN, {**ANN, **HOME, "phone": None, "email": "annquillfeather+x@googlemail.com"}, Band.REVIEW),
        ({**ANN, **BORN, "email": None}, {**ANN, **BORN, "phone": None}, Band.LINK),
        ({**ANN, "email": None}, {**ANN, "email": None}, Band.REVIEW),  # mother and daughter may share all of it
        ({**ANN, "email": None}, {**HOME, "given_name": "Ann"}, Band.REVIEW),
        (ANN, {"given_name": "Ann", "family_name": "Quillfeather"}, Band.REVIEW),
        (ANN, {"given_name": "Ann"}, Band.CREATE),
        (ANN, {"city": "Dorking"}, Band.CREATE),
        (HOME, HOME, Band.REVIEW),
        ({}, {}, Band.CREATE),
        ({"email": "info@acme.example"}, {"email": "info@acme.example"}, Band.CREATE),
        ({"given_name": "John", "family_name": "Smith"}, {"given_name": "John", "family_name": "Smith"}, Band.CREATE),
    ],
)
def test_each_pair_has_its_band(a: dict[str, Any], b: dict[str, Any], band: Band) -> None:
    """Linked only where one person is all but certain, and a person is asked only where there is something to see."""
    assert scored(a, b).band == band


@pytest.mark.parametrize(
    ("a", "b", "said", "band"),
    [
        (ANN, {**ANN, "given_name": "Mark", "email": None}, "a household or an office", Band.CREATE),
        (ANN, {**ANN, "given_name": "Mark"}, "a household or an office", Band.CREATE),
        ({**ANN, **BORN}, {**ANN, **BORN, "given_name": "Mark", "email": None}, "twins", Band.CREATE),
        ({**ANN, **BORN}, {**ANN, "birthday": "2008-11-02"}, "two dates of birth", Band.REVIEW),
        ({**ANN, **BORN}, {**ANN, "birthday": "1950-05-17"}, "two dates of birth", Band.REVIEW),
        (
            {**ANN, "family_name": "Quillfeather Jr"},
            {**ANN, "family_name": "Quillfeather Sr"},
            "two generations",
            Band.REVIEW,
        ),
        ({**ANN, "given_name": "Ann J"}, {**ANN, "given_name": "Ann M"}, "two middle names", Band.REVIEW),
        (ANN, {**ANN, "family_name": "Okonjo"}, "two family names", Band.REVIEW),
    ],
)
def test_what_contradicts_is_said_and_never_linked(a: dict[str, Any], b: dict[str, Any], said: str, band: Band) -> None:
    """However much else agrees."""
    score = scored(a, b)
    assert score.contradiction is not None
    assert said in score.contradiction
    assert score.band == band


@pytest.mark.parametrize(
    "b",
    [
        {**ANN, "email": "aq@work.example"},
        {**ANN, "given_name": "Anne"},
        {**ANN, "given_name": "Annie"},
        {**ANN, "given_name": "Quillfeather", "family_name": "Ann"},
        {**ANN, "phone": "+44 1306 496999"},
        {**ANN, "birthday": "05-17", "city": "Leeds"},
    ],
)
def test_what_one_person_may_have_two_of_contradicts_nothing(b: dict[str, Any]) -> None:
    """Addresses, phones, homes, and the ways to write a name."""
    assert scored({**ANN, **BORN}, b).contradiction is None


@pytest.mark.parametrize(
    ("more", "less"),
    [
        (("given_name", "Xanthe"), ("given_name", "Mary")),
        (("family_name", "Featherstonehaugh"), ("family_name", "Smith")),
        (("city", "Dorking"), ("city", "London")),
    ],
)
def test_a_rare_value_says_more_than_a_common_one(more: tuple[str, str], less: tuple[str, str]) -> None:
    """By how common it is."""
    rare, common = (scored(dict([pair]), dict([pair])).log_odds for pair in (more, less))
    assert rare > common + 1


def test_a_nickname_says_less_than_the_name_and_more_than_another() -> None:
    """Bob is Robert, but not for sure."""
    bob = {"given_name": "Bob"}
    same, nick, other = (scored({"given_name": n}, bob).log_odds for n in ("Bob", "Robert", "Walter"))
    assert same > nick > other


def test_what_a_crowd_shares_says_less() -> None:
    """A line that fifty records have is a switchboard."""
    a, b = (evidence({"given_name": n, "family_name": "Hill", "phone": "+44 1306 496000"}) for n in ("Ann", "Ann"))
    alone, crowded = compare(a, b), compare(a, b, crowds={"p:441306496000": 50, "q:6496000": 50})
    assert crowded.log_odds < alone.log_odds - 2


def test_reasons_are_words_and_numbers_without_data() -> None:
    """The heaviest first; with the prior they add up to the score."""
    score = scored(ANN, {**ANN, "city": "Hull"})
    assert sum(r.weight for r in score.reasons) + shipped().prior == pytest.approx(score.log_odds)
    assert [abs(r.weight) for r in score.reasons] == sorted((abs(r.weight) for r in score.reasons), reverse=True)
    text = " · ".join(r.words for r in score.reasons)
    assert "e-mail address: the same" in text
    assert "town: different" in text
    assert "quillfeather" not in text.lower()
    assert "quillfeather" not in repr(score).lower()


def test_every_level_has_its_words() -> None:
    """Also those that the examples do not reach."""
    assert shipped().levels.keys() <= FIELDS.keys()
    assert {level for levels in shipped().levels.values() for level in levels} | CORRECTIONS <= LEVELS.keys()


def test_an_address_used_by_two_given_names_links_nobody() -> None:
    """A couple's mailbox shows only beside the other of the couple."""
    ann, mark = evidence(ANN), evidence({**ANN, "given_name": "Mark"})
    [alone] = rank(ann, [ann])
    beside, _ = rank(ann, [ann, mark])
    assert (alone.band, beside.band) == (Band.LINK, Band.REVIEW)


@pytest.mark.parametrize(
    ("apart", "link", "review"),
    [(True, None, (1, 2)), (False, 1, (2,))],
)
def test_where_two_contacts_could_take_a_record_a_person_decides(
    apart: bool, link: int | None, review: tuple[int, ...]
) -> None:
    """Unless they are sure to be one person too."""
    score = scored(ANN, ANN)
    choice = choose([(1, score), (2, score)], lambda a, b: apart)
    assert (choice.link, choice.review) == (link, review)


def test_a_contact_that_one_of_its_records_contradicts_takes_nothing() -> None:
    """What is known of it counts as a whole."""
    good, bad = scored(ANN, ANN), scored({**ANN, **BORN}, {**ANN, "birthday": "2008-11-02"})
    assert choose([(1, good), (1, bad)]).link is None
    assert choose([(1, good), (2, scored(ANN, HOME))]).link == 1


def test_weights_survive_their_file() -> None:
    """Written and read again they are the same."""
    assert from_json(shipped().to_json()) == shipped()


def test_the_shipped_weights_are_small_and_name_nobody() -> None:
    """Single names and towns with their shares: no addresses, no numbers, no file that outgrows its use."""
    file = resources.files("app.match").joinpath("weights.json").read_bytes()
    assert 50_000 < len(file) <= 200_000
    tables = shipped().frequencies
    assert tables.keys() == {"first", "last", "city"}
    assert not [v for f in ("first", "last") for v in tables[f] if not v.isalpha()]
    assert not [share for table in tables.values() for share in table.values() if not 0 < share < 0.06]


def test_levels_are_shares() -> None:
    """Of each field they add up to one, on both sides (a date may know no year; order and generation are asides)."""
    for field, levels in shipped().levels.items():
        for side in (0, 1):
            total = sum(mu[side] for name, mu in levels.items() if name != "no_year")
            assert field == "order" or total == pytest.approx(1, abs=0.05), field


_NAME = st.sampled_from(
    ["Ann", "Anne", "Bob", "Robert", "Li", "Hill", "Hall", "O'Hara", "Hill Jr", "Smith-Hill", "A", ""]
)
_RECORD = st.fixed_dictionaries(
    {},
    optional={
        "given_name": _NAME,
        "family_name": _NAME,
        "middle_name": _NAME,
        "email": st.sampled_from(
            ["a.hill@gmail.com", "ahill@gmail.com", "annhill9@gmx.de", "annhill8@gmx.de", "an***@gmx.de"]
        ),
        "phone": st.sampled_from(["+491715550166", "+491715550167", "0171 5550166 x9", "12 34 56 78 90"]),
        "birthday": st.sampled_from(["1990-02-03", "1990-03-02", "1990-02-04", "1960-02-03", "02-03"]),
        "street": st.sampled_from(["12 Elm Rd", "12 Elm Road", "21 Elm Road", "Elm Road", "12 Oak Ave"]),
        "city": st.sampled_from(["London", "Lodnon", "Leeds"]),
        "company_name": st.sampled_from(["Acme", "Acme Ltd", "Acme Robotics", "Zebedee"]),
    },
)


@given(_RECORD, _RECORD)
def test_a_score_is_symmetric(a: dict[str, str], b: dict[str, str]) -> None:
    """Whoever comes first."""
    one, other = scored(a, b), scored(b, a)
    assert one.log_odds == pytest.approx(other.log_odds)
    assert (one.band, one.contradiction) == (other.band, other.contradiction)
    assert sorted(r.field for r in one.reasons) == sorted(r.field for r in other.reasons)
    assert 0 <= one.probability <= 1


@given(_RECORD, _RECORD)
@settings(max_examples=500)
def test_who_is_plainly_another_is_so_in_full(a: dict[str, str], b: dict[str, str]) -> None:
    """Names alone never turn away whom all of the evidence would propose."""
    assert not plainly(a, b) or scored(a, b).band is Band.CREATE


def plainly(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """As it is asked: of two who have no address in common."""
    one, other = evidence(a), evidence(b)
    ours, theirs = ({e.text for e in e.emails} for e in (one, other))
    return ours.isdisjoint(theirs) and plainly_two(one.name, other.name, shipped(), addresses=bool(ours and theirs))


MARY = {"given_name": "Mary", "family_name": "Smith"}
_SAME = {
    "phone": "+491715550166",
    "birthday": "1990-02-03",
    "street": "12 Elm Road",
    "postal_code": "SW1A 1AA",
    "city": "London",
    "company_name": "Acme",
    "website": "https://acme.example",
}


@pytest.mark.parametrize(
    ("a", "b", "two"),
    [
        (MARY, {**MARY, "given_name": "James"}, True),  # a household, and no more than that
        (MARY, {**MARY, "given_name": "James", "family_name": "Zubrowka"}, True),
        (MARY, {**MARY, "given_name": "Mary Ann"}, False),
        (MARY, {"family_name": "Smith"}, False),  # nothing is said that differs
        ({**MARY, "middle_name": "Lee", "family_name": "Smith Jr"},
         {**MARY, "given_name": "James", "middle_name": "Lee", "family_name": "Smith Jr"}, False),
        ({**MARY, "given_name": "Qwexa", "email": "smith.q1@gmx.de"},
         {**MARY, "given_name": "Boltu", "email": "smith.q1@gmx.net"}, False),  # nobody's names, and nearly one address
        ({**MARY, "given_name": "Smith", "family_name": "Mary"}, MARY, False),  # the one for the other
    ],
)  # fmt: skip
def test_what_names_alone_tell(a: dict[str, Any], b: dict[str, Any], two: bool) -> None:
    """Among people who have all else in common."""
    one, other = {**_SAME, **a}, {**_SAME, **b}
    assert plainly(one, other) is plainly(other, one) is two
    assert not two or scored(one, other).band is Band.CREATE


@given(_RECORD)
def test_nothing_contradicts_itself(record: dict[str, str]) -> None:
    """A record is its own person."""
    assert scored(record, record).contradiction is None
