"""Blocking keys: few, short, and shared by what should be compared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.match.evaluate import Index
from app.match.keys import LONGEST, MOST, blocking
from app.match.normalise import evidence

FULL = {
    "given_name": "Maximiliane",
    "family_name": "Featherstonehaugh",
    "email": "maximiliane.featherstonehaugh@a-very-long-name-for-a-company.example",
    "email_alternates": ["max1@gmail.com", "max2@gmail.com", "max3@gmail.com"],
    "phone": "+44 113 496 0000",
    "mobile_phone": "+44 7700 900123",
    "birthday": "1990-02-03",
    "street": "12 Sunset Boulevard",
    "city": "Leeds",
    "postal_code": "LS1 1AB",
    "company_name": "A Very Long Name For A Company Ltd",
    "website": "https://a-very-long-name-for-a-company.example",
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"email": "other@else.example"}, "another address"),
        ({"family_name": "Fetherstonhaugh", "email": None}, "a typo in the name"),
        ({"given_name": "Featherstonehaugh", "family_name": "Maximiliane", "email": None}, "names crossed"),
        ({"phone": "+44 113 496 0009", "mobile_phone": None, "email": None}, "a typo in the phone"),
        ({"email": "maximiliane.featherstonehaugh@gmail.com", "phone": None}, "another provider"),
        ({"street": None, "city": "Hull", "email": None, "phone": None, "mobile_phone": None}, "moved"),
        ({"family_name": "Smith", "email": None}, "married"),
    ],
)
def test_records_of_one_person_share_a_key(change: dict[str, Any], why: str) -> None:
    """Whatever one of the two systems has wrong."""
    assert set(blocking(evidence(FULL))) & set(blocking(evidence({**FULL, **change}))), why


def test_a_crowd_is_also_found_one_by_one() -> None:
    """Of a hundred namesakes each is found by what else is known, although the block of the name is cut."""
    index = Index(block=50)
    people = [
        evidence({"given_name": "John", "family_name": "Smith", "email": f"john{n}@smith{n}.example", "city": "London"})
        for n in range(100)
    ]
    for n, person in enumerate(people):
        index.add(blocking(person), n)
    assert [n for n, person in enumerate(people) if n not in index.candidates(blocking(person))] == []


def test_a_shared_mailbox_is_no_key() -> None:
    """Else the whole office would be compared with each of its letters."""
    assert not [k for k in blocking(evidence({"email": "info@acme.example", "family_name": "Hill"})) if "info" in k]


def test_what_says_nothing_has_no_keys() -> None:
    """Nor do placeholders."""
    assert blocking(evidence({})) == blocking(evidence({"given_name": "n/a", "phone": "000-0000"})) == ()


_VALUES = st.fixed_dictionaries(
    {}, optional={name: st.text(max_size=90) for name in FULL if name != "email_alternates"}
)


@given(_VALUES)
def test_keys_are_few_and_short(values: dict[str, str]) -> None:
    """However much a record says."""
    for keys in (blocking(evidence(values)), blocking(evidence({**FULL, **values}))):
        assert len(keys) == len(set(keys)) <= MOST
        assert all(0 < len(key) <= LONGEST for key in keys)
