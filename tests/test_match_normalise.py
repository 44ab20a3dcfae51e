"""Records as evidence: what is made comparable, and what carries no evidence at all."""

from __future__ import annotations

from typing import Any

import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.fields import Unfit
from app.match import reach
from app.match.employers import company_name, site_of
from app.match.fold import fold, said
from app.match.normalise import evidence
from app.match.people import Birth, Name, birth_of, name_of
from app.match.places import postcode_of, street_of, town_of
from app.match.reach import Phone, email_of, is_plain, is_shared, phone_of
from app.sync._transforms_texts import lower_email


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"given_name": "Ann", "family_name": "Lee"}, Name("ann", (), "lee")),
        ({"given_name": " ZOË ", "family_name": "O'Brien"}, Name("zoe", (), "obrien")),
        ({"given_name": "Łukasz", "family_name": "Świątek"}, Name("lukasz", (), "swiatek")),
        ({"given_name": "Анна", "family_name": "Жукова"}, Name("anna", (), "zhukova")),
        ({"given_name": "Jean-Pierre", "family_name": "Dupont"}, Name("jean", ("pierre",), "dupont")),
        ({"given_name": "Mary", "middle_name": "J.", "family_name": "Hill"}, Name("mary", ("j",), "hill")),
        ({"given_name": "Martin", "family_name": "King Jr."}, Name("martin", (), "king", "jr")),
        ({"given_name": "Martin", "family_name": "King, III"}, Name("martin", (), "king", "3")),
        ({"given_name": "Dr. Anna", "family_name": "Berg"}, Name("anna", (), "berg")),
        ({"full_name": "Juan Q. de la Vega"}, Name("juan", ("q",), "de la vega")),
        ({"full_name": "Hill, Mary"}, Name("mary", (), "hill")),
        ({"given_name": "Mary Ann Hill"}, Name("mary", ("ann",), "hill")),
        ({"given_name": "Unknown", "family_name": "n/a"}, Name()),
        ({"given_name": "Mother", "family_name": "Hill"}, Name("", (), "hill")),
        ({"given_name": "xxx", "family_name": "???"}, Name()),
        ({"given_name": "Na", "family_name": "Li"}, Name("na", (), "li")),
        ({}, Name()),
        ({"given_name": ["Ann"], "family_name": 7}, Name()),
    ],
)
def test_a_name_is_folded(values: dict[str, Any], name: Name) -> None:
    """Accents, titles, suffixes and placeholders go; what is left is the name."""
    assert name_of(values) == name


@pytest.mark.parametrize(
    ("text", "country", "birth"),
    [
        ("1990-02-03", None, Birth(1990, 2, 3)),
        ("02-29", None, Birth(0, 2, 29)),
        ("03.02.1990", None, Birth(1990, 2, 3)),
        ("02/03/1990", "US", Birth(1990, 2, 3)),
        ("02/03/1990", "GB", Birth(1990, 3, 2)),
        ("02/13/1990", None, Birth(1990, 2, 13)),
        ("02/03/1990", None, None),
        ("19900203", None, Birth(1990, 2, 3)),
        ("0005-02-03", None, Birth(0, 2, 3)),
        ("1970-01-01", None, None),
        ("1900-01-01", None, None),
        ("1990-13-45", None, None),
        ("soon", None, None),
        ("", None, None),
    ],
)
def test_a_birth_date_is_read(text: str, country: str | None, birth: Birth | None) -> None:
    """In its own country's way; not where two readings are possible or a form has filled it in."""
    assert birth_of(text, country) == birth


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("Ann.Lee@Example.COM", "ann.lee@example.com"),
        ("A.n.n+news@gmail.com", "ann@gmail.com"),
        ("ann@googlemail.com", "ann@gmail.com"),
        ("ann+news@outlook.com", "ann@outlook.com"),
        ("ann.lee+news@acme.com", "ann.lee+news@acme.com"),
        ("ann@bücher.example", "ann@bücher.example"),
        ("ann@xn--bcher-kva.example", "ann@bücher.example"),
    ],
)
def test_dots_and_tags_go_only_where_the_provider_ignores_them(text: str, mailbox: str) -> None:
    """Elsewhere they tell people apart."""
    email = email_of(text)
    assert email is not None
    assert (email.mailbox, email.valid) == (mailbox, True)


@pytest.mark.parametrize("text", ["test@acme.com", "none@none.com", "n.a@x.org", "acme", "@acme.com", "", "+49 171 5"])
def test_a_placeholder_is_no_address(text: str) -> None:
    """Nor is what has no mailbox."""
    assert email_of(text) is None


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("info@acme.com", True),
        ("sales-emea@acme.com", True),
        ("office2@acme.com", True),
        ("no-reply@acme.com", True),
        ("buchhaltung@acme.de", True),
        ("ann.sales@acme.com", False),
        ("infante@acme.com", False),
        ("ann@acme.com", False),
    ],
)
def test_a_mailbox_of_a_function_is_told_from_a_person_s(text: str, shared: bool) -> None:
    """By its name; its people are told apart by other things."""
    email = email_of(text)
    assert email is not None
    assert is_shared(email) is shared


@pytest.mark.parametrize(
    ("text", "country", "number", "digits"),
    [
        ("+49 171 5550166", None, "+491715550166", "491715550166"),
        ("0171 5550166", "DE", "+491715550166", "491715550166"),
        ("(206) 555-0100", "US", "+12065550100", "12065550100"),
        ("+1-206-555-0100 x12", None, "+12065550100", "1206555010012"),
        ("20 65 55 01 00 99 88", None, "", "20655501009988"),
    ],
)
def test_a_phone_is_e164_where_a_plan_explains_it(text: str, country: str | None, number: str, digits: str) -> None:
    """Otherwise its digits."""
    phone = phone_of(text, country)
    assert phone is not None
    assert (phone.number, phone.digits) == (number, digits)


@pytest.mark.parametrize("text", ["000-0000", "0000000000", "+1 111 111 1111", "1234567", "12345", "none", ""])
def test_a_placeholder_is_no_phone(text: str) -> None:
    """Zeros, sequences and short codes are nobody's."""
    assert phone_of(text, "US") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 North Main Street", "12 N. Main St"),
        ("12 Main St, Apartment 4", "12 main st apt 4"),
        ("Hauptstraße 12a", "Hauptstr. 12a"),
        ("Haupt Strasse 12A", "hauptstrasse 12a"),
        ("5 Sunset Boulevard", "5 SUNSET BLVD"),
        ("12, rue de la Paix", "12 Rue De La Paix"),
    ],
)
def test_one_street_has_one_form(one: str, other: str) -> None:
    """However its words are shortened."""
    assert street_of(one) == street_of(other) is not None


@pytest.mark.parametrize(
    ("function", "text"),
    [(street_of, "n/a"), (street_of, "12"), (town_of, "Anytown"), (postcode_of, "00000"), (postcode_of, "none")],
)
def test_a_placeholder_is_no_place(function: Any, text: str) -> None:
    """A bare house number neither."""
    assert not function(text)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("Acme GmbH & Co. KG", "acme"),
        ("ACME S.à r.l.", "acme"),
        ("Acme, Inc.", "acme"),
        ("Acme Pty. Ltd.", "acme"),
        ("The Acme Company", "acme"),
        ("ООО Ромашка", "romashka"),
        ("Acme Holdings", "acme holdings"),
        ("Inc", "inc"),
        ("n/a", ""),
        ("Self-employed", ""),
        (None, ""),
    ],
)
def test_a_company_is_named_without_its_legal_form(name: Any, base: str) -> None:
    """Unless nothing would be left."""
    assert company_name(name) == base


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("https://www.acme.co.uk/about?x=1", "acme.co.uk"),
        ("mail.acme.com", "acme.com"),
        ("http://ann:pw@acme.de:8080", "acme.de"),
        ("acme", ""),
        ("co.uk", ""),
        (None, ""),
        ("shop.acme.example.com", "acme.example.com"),
        ("acme.example.net", "acme.example.net"),
        ("example.org", ""),
    ],
)
def test_a_site_is_the_domain_that_somebody_registered(address: Any, site: str) -> None:
    """By the public suffix list."""
    assert site_of(address) == site


def test_the_employer_shows_in_an_address_but_not_at_a_free_provider() -> None:
    """Also in that of a shared mailbox."""
    assert [evidence({"email": e}).site for e in ("ann@acme.com", "info@mail.acme.com", "ann@gmail.com")] == [
        "acme.com",
        "acme.com",
        "",
    ]


def test_the_record_s_country_goes_before_the_default() -> None:
    """For its phone and for its dates."""
    e = evidence({"phone": "0171 5550166", "country": "DE", "birth_date": "05/04/1990"}, "US")
    assert (e.phones[0].number, e.birth) == ("+491715550166", Birth(1990, 4, 5))


def test_evidence_shows_nobody_s_data() -> None:
    """A log line with evidence in it gives nobody away."""
    values = {
        "given_name": "Xanthe",
        "family_name": "Quill",
        "email": "xanthe@quill.example",
        "phone": "+491715550166",
        "birthday": "1990-02-03",
        "street": "Elmway 7",
        "city": "Dorking",
        "postal_code": "50667",
        "company_name": "Zebedee",
        "website": "https://quill.example",
    }
    shown = repr(evidence(values)).lower()
    assert not [
        v for v in ("xanthe", "quill", "1715550166", "1990", "elm", "dorking", "50667", "zebedee") if v in shown
    ]


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    """Nor does saying what was folded."""
    assert fold(fold(text)) == fold(text)
    assert said(said(text)) == said(text)


@given(st.text(alphabet="abc &.,'GmbHInctdSARL", max_size=30))
def test_a_stripped_company_name_stays_as_it_is(text: str) -> None:
    """Nothing more comes off the second time."""
    assert company_name(company_name(text)) == company_name(text)


_ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text(), max_size=3))


@given(
    st.dictionaries(st.sampled_from([*evidence.__annotations__, "given_name", "email", "phone", "street"]), _ANYTHING)
)
def test_no_value_is_an_error(values: dict[str, Any]) -> None:
    """What has a wrong shape is no evidence."""
    evidence(values, "DE")


# What stands beside the libraries for the usual case has to agree with them on every input that it takes on.

_PIECE = st.text("ab1x-n_+.*'@", max_size=6)
_LABELS = st.lists(st.one_of(st.text("abn1x-", max_size=5), st.sampled_from(["xn--a", "ab--c", "a" * 63, "a" * 64])))
_TOPS = st.sampled_from(["com", "de", "c", "1", "c1", "1c", "test", "local", "arpa", "onion", "xn--p1ai", "c-", ""])
_ADDRESSES = st.one_of(
    st.emails().map(str.lower),
    st.builds(lambda a, b, c: f"{a}@{'.'.join([*b, c])}", _PIECE, _LABELS, _TOPS),
    st.text("ab.@1-", max_size=12),
)


def library_says(text: str) -> tuple[str, str] | None:
    try:
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return None
    return found.local_part, found.domain


@given(_ADDRESSES)
@example("a" * 190 + "@" + "b" * 60 + ".de")
@example("a" * 180 + "@" + ".".join(["b" * 40] * 3))
@example("ann@mail.localhost")
@example("ann@b.de\n")
@example("ann@-b.de")
@example("a..b@c.de")
def test_a_usual_address_is_one_for_the_library_too(text: str) -> None:
    """What is taken for valid without asking is valid, and comes back as it was."""
    if is_plain(text):
        assert library_says(text) == tuple(text.split("@"))


@given(st.builds(lambda a, b, c: f"{a}@{b}.{c}", *(st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True),) * 2, _TOPS))
def test_an_address_is_read_as_the_library_reads_it(text: str) -> None:
    """Also those that go the short way: letters and digits, and tops of all kinds."""
    found, email = library_says(text), email_of(text)
    if email is not None and not email.masked:
        assert email.valid == (found is not None)
        assert found is None or (email.local, email.domain) == found


@given(_ADDRESSES.flatmap(lambda a: st.sampled_from([a, a.upper(), a.title()])))
@example("ann@b.com\N{KELVIN SIGN}")
@example("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}nfo@b.com")
def test_an_address_is_mapped_as_the_library_writes_it(text: str) -> None:
    """In any spelling: the short way of the transform is one of the library's, too."""
    try:
        mapped = lower_email(text)
    except Unfit:
        mapped = None
    found = library_says(text)
    whole = found is not None and "." in found[1]
    assert mapped == ("@".join(found).lower() if found is not None and whole else None)


def test_usual_addresses_do_not_ask_the_library() -> None:
    """Or it would be for nothing."""
    for text in ("ann.lee@example.com", "a@b.de", "ann+news@mail.example.co.uk", "x_1@a-b.de", "0.a@1.org"):
        assert is_plain(text)
    for text in ("ann@xn--mnchen-3ya.de", "ann@b.test", "o'neil@b.de", "ann@ab--c.de", "ann@b", "ann@b.c1", "@b.de"):
        assert not is_plain(text)


def library_reads(value: str) -> Phone | None:
    """What ``phone_of`` makes of it without its short way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "_plain_phone", lambda _: None)
        return phone_of(value, None)


_CODES = st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))


@given(st.builds(lambda code, rest: f"+{code}{rest}", _CODES, st.text("0123456789", min_size=2, max_size=14)))
@example("+390612345678")
@example("+4930123456")
@example("+5491123456789")
@example("+5215512345678")
@example("+78005553535")
@example("+18005550199")
@example("+80012345678")
@example("+999123456789")
def test_a_number_in_e164_is_read_as_the_library_reads_it(value: str) -> None:
    """Whatever its plan strips, fills in or refuses."""
    assert phone_of(value, None) == library_reads(value)


def test_usual_numbers_do_not_ask_the_library() -> None:
    """Or it would be for nothing."""
    for code in (1, 33, 44, 49):
        number = phonenumbers.example_number(phonenumbers.region_code_for_country_code(code))
        value = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        assert reach._plain_phone(value) == Phone(value[1:], value)
    assert [reach._plain_phone(v) for v in ("030 123456", "+49 30 123456", "+0123456789", "+49301")] == [None] * 4
