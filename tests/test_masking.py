"""What a viewer sees of people: that they are there, and not who they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.core.fields import FIELDS
from app.ops.access import masking
from app.ops.access.masking import DOTS, OPEN, PERSONAL, document, text
from app.ops.access.permissions import ROUTES, Permission, Role
from tests.apihelp import add, add_contacts
from tests.signin import House

ANN = {
    "email": "ann.quill@example.org",
    "given_name": "Annabel",
    "family_name": "Quillfeather",
    "phone": "+4917012345678",
    "street": "Elm Row 12",
    "birthday": "1980-02-29",
    "job_title": "Buyer",
    "city": "Ulm",
    "custom.shoe": "Oxford brogue",
    "lead_score": 7,
}
SHOW_PEOPLE = ("/console/contacts", "/console/leads", "/console/review", "/console/sla", "/demo")
SECRETS = ("ann.quill", "Annabel", "Quillfeather", "17012345678", "Elm Row", "1980-02-29", "Oxford brogue")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    from app.core import tables as t

    it = House(tmp_path_factory.mktemp("masking"))
    add_contacts(it.database, {"values": ANN})
    add(
        it.database,
        t.link,
        {
            "connection": "hub",
            "kind": "contact",
            "remote_id": "ann.quill@example.org",
            "contact_id": 1,
            "rev": 1,
            "shadow": ANN,
            "written_at": 0,
            "created_at": 0,
        },
    )
    add(
        it.database,
        t.history,
        {
            "contact_id": 1,
            "version": 1,
            "field": "given_name",
            "old": "Quillfeather",
            "new": "Annabel",
            "source": "hub",
            "rule": "only they changed it",
            "at": 1,
            "stored_at": 1,
        },
    )
    add(
        it.database,
        t.conflict,
        {
            "contact_id": 1,
            "field": "family_name",
            "connection": "hub",
            "ours": "Quillfeather",
            "theirs": "Elm Row",
            "at": 1,
        },
    )
    yield it
    it.close()


def test_every_canonical_field_is_judged() -> None:
    """A new field is masked or open because somebody said so."""
    assert sorted(FIELDS) == sorted([*(PERSONAL & set(FIELDS)), *OPEN])
    assert {
        "email",
        "given_name",
        "family_name",
        "full_name",
        "phone",
        "mobile_phone",
        "street",
        "birthday",
    } <= PERSONAL
    # What is not personal is listed here once more: whoever adds a field comes by.
    assert len(OPEN) == 37


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("path", ["/contacts", "/contacts/1", "/contacts/1/history", "/conflicts", "/conflicts/1"])
def test_a_role_sees_what_its_line_says(house: House, role: Role, path: str) -> None:
    """Names, addresses and numbers are dots for viewer and analyst; town and score are what they are for all."""
    plain = role not in {Role.VIEWER, Role.ANALYST}
    _, token = house.token(f"{role} {path}", role)
    answer = house.browser()("GET", path, headers={"authorization": f"Bearer {token}", "accept": "*/*"})
    assert answer.status_code == 200
    shown = [secret for secret in SECRETS if secret in answer.text]
    assert bool(shown) is plain, shown
    if path.startswith("/contacts") and "history" not in path:
        assert "Ulm" in answer.text
        assert "Buyer" in answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_masked_answers_still_fit_their_description(house: House) -> None:
    """Same keys, same kinds of values."""
    _, viewer = house.token("shape viewer", Role.VIEWER)
    _, admin = house.token("shape admin", Role.ADMIN)
    it = house.browser()
    for path in ("/contacts/1", "/conflicts/1"):
        masked, plain = (
            it("GET", path, headers={"authorization": f"Bearer {token}", "accept": "*/*"}).json()
            for token in (viewer, admin)
        )
        assert shape(masked) == shape(plain)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    return [shape(one) for one in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize(
    ("given", "masked"),
    [
        ("write to ann@example.org now", f"write to {DOTS}@example.org now"),
        ("a.b+c@x.example, d@y.example", f"{DOTS}@x.example, {DOTS}@y.example"),
        ("call +49 170 1234567", f"call {DOTS}"),
        ("call +1 (202) 555-0172!", f"call {DOTS}!"),
        ("2026-01-31T08:00:00.000Z", "2026-01-31T08:00:00.000Z"),
        ("2 + 2 = 4", "2 + 2 = 4"),
        ("version 17012345678", "version 17012345678"),
        ("/contacts/170123456789", "/contacts/170123456789"),
        ("ünï@exämple.org", f"{DOTS}@exämple.org"),
    ],
)
def test_addresses_and_numbers_in_texts(given: str, masked: str) -> None:
    """Wherever they stand; what only looks a little like one stays."""
    assert text(given) == masked


@pytest.mark.parametrize(
    ("given", "masked"),
    [
        ({"field": "city", "old": "Ulm", "new": "Bern"}, {"field": "city", "old": "Ulm", "new": "Bern"}),
        ({"field": "phone", "old": None, "new": "1"}, {"field": "phone", "old": None, "new": DOTS}),
        ({"field": "custom.x", "value": ["a", "b"], "n": 3}, {"field": "custom.x", "value": [DOTS, DOTS], "n": 3}),
        (
            {"field": "given_name", "ours_by": {"value": "Ann", "source": "hub"}},
            {"field": "given_name", "ours_by": {"value": DOTS, "source": "hub"}},
        ),
        (
            {"values": {"name": "ACME", "industry": "x"}, "domain": "a.example"},
            {"values": {"name": "ACME", "industry": "x"}, "domain": "a.example"},
        ),
        ({"values": {"name": "Deal with Ann"}, "status": "open"}, {"values": {"name": DOTS}, "status": "open"}),
        ({"detail": {"answer": "I am Ann"}}, {"detail": {"answer": DOTS}}),
        ({"values": {"tags": ["a"], "email": ""}}, {"values": {"tags": ["a"], "email": ""}}),
        ([{"full_name": "Ann"}], [{"full_name": DOTS}]),
    ],
)
def test_values_beside_the_name_of_their_field(given: Any, masked: Any) -> None:
    """The shapes in which the API says a field's value."""
    assert document(given) == masked


def test_a_page_shows_a_viewer_no_addresses(house: House) -> None:
    """Whatever a template lets through."""
    house.account("vic", "viewer")
    it = house.browser()
    it.sign_in("vic")
    house.app.api.add_api_route("/robots.html", _page)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.ops.auth.needed", lambda *_: Permission.STATUS)
            answer = it("GET", "/robots.html")
    finally:
        house.app.api.router.routes.pop()
    assert answer.text == f"<p>{DOTS}@example.org</p>"


def _page() -> Any:
    from fastapi.responses import HTMLResponse

    return HTMLResponse("<p>ann@example.org</p>")


def test_pages_of_people_are_not_for_who_sees_them_masked() -> None:
    """A page is not masked name by name, so those that show people ask for more than a viewer has."""
    pages = {path: need for (method, path), need in ROUTES.items() if path.startswith(SHOW_PEOPLE)}
    assert Permission.PEOPLE not in pages.values()
    assert pages


def test_without_the_mask_a_viewer_reads_names(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard."""
    monkeypatch.setattr(masking, "document", lambda value: value)
    _, token = house.token("unmasked", Role.VIEWER)
    answer = house.browser()("GET", "/contacts/1", headers={"authorization": f"Bearer {token}", "accept": "*/*"})
    assert "Quillfeather" in answer.text
