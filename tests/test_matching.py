"""Matching: exact keys, never a guess."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.words import Fact
from app.sync import matching


def facts(**values: Any) -> dict[str, Fact]:
    return {n: Fact(v, "hub", 1, "r") for n, v in values.items()}


ANN = facts(email="ann@x.org", given_name="Ann", family_name="Lee", phone="+4930123")
BEN = facts(email="ben@x.org", given_name="Ben", family_name="Lee", phone="+4930123", email_alternates=["b@y.org"])
EVA = facts(given_name="Eva", family_name="Roth", phone="+4930999")
TOM = facts(email="t***@x.org", given_name="Tom", email_alternates=["tom@y.org", "o•@y.org"])
KNOWN = {1: ANN, 2: BEN, 3: EVA, 4: TOM}


def owners() -> dict[tuple[str, str], list[tuple[int, bool]]]:
    found: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    for contact_id, known in KNOWN.items():
        for key in matching.keys_of({n: f.value for n, f in known.items()}):
            found.setdefault((key.key, key.value), []).append((contact_id, key.strong))
    return found


@pytest.mark.parametrize(
    ("claim", "contact"),
    [
        pytest.param({"email": "ann@x.org"}, 1, id="the same address"),
        pytest.param({"email": "b@y.org"}, 2, id="a further address of the contact"),
        pytest.param(
            {"email": "new@x.org", "email_alternates": ["ann@x.org"]}, 1, id="a further address of the record"
        ),
        pytest.param({"email": "Ann@x.org"}, None, id="upper case is kept apart unless the mapping folds it"),
        pytest.param({"email": "an.n@x.org"}, None, id="dots are kept apart unless the mapping folds them"),
        pytest.param({"email": "ann+news@x.org"}, None, id="plus tags are kept apart unless the mapping folds them"),
        pytest.param({"phone": "+4930123"}, None, id="a shared phone identifies nobody"),
        pytest.param({"phone": "+4930999"}, None, id="a phone alone identifies nobody"),
        pytest.param(
            {"phone": "+4930999", "given_name": "eva", "family_name": "ROTH"}, None, id="likeness is not for exact keys"
        ),
        pytest.param({"email": "t***@x.org"}, None, id="a masked address is that of many"),
        pytest.param({"email": "o•@y.org"}, None, id="a masked further address of the contact"),
        pytest.param({"email_alternates": ["t***@x.org"]}, None, id="a masked further address of the record"),
        pytest.param({"email": "tom@y.org"}, 4, id="an address beside a masked one"),
        pytest.param({}, None, id="nothing to go by"),
        pytest.param({"email": None, "phone": ""}, None, id="blanks match nobody"),
    ],
)
def test_whose_record(claim: dict[str, Any], contact: int | None) -> None:
    """A record without a link goes to the contact with its key, or is new."""
    match = matching.choose(claim, owners())
    assert (match.contact, match.conflict) == (contact, None)


def test_two_contacts_for_one_record_is_a_conflict() -> None:
    """Where further addresses point at two people, a person decides."""
    match = matching.choose({"email_alternates": ["ann@x.org", "ben@x.org"]}, owners())
    assert match.conflict == "its further addresses belong to 2 contacts"
