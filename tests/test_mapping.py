"""The mapping room: what is read, what is written, what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from app.core.words import MISSING, Winner
from app.sync.mapping import (
    Map,
    MappingError,
    Policy,
    Reading,
    Way,
    Writing,
    check_against,
    differences,
    loads,
)
from connectors.contract import Kind, Property, Schema

HEAD = """version: 1
connector: acme
"""

ACME = (
    HEAD
    + """default_country: DE
custom: {tier: {type: text}, member: {type: bool}, seen: {type: datetime}, plan: {type: number}, renews: {type: date}}
objects: {address: {required: [street, town]}}
fields:
  email: {theirs: mail, winner: crm, required: true}
  given_name: {theirs: first}
  family_name: {theirs: last, clear: allowed}
  company_name: {theirs: firm, max_length: 10}
  phone: {theirs: phone, clear: allowed}
  job_title: {theirs: job, way: out}
  lifecycle_stage: {theirs: stage, way: in, winner: crm, values: {suspect: lead, client: customer}}
  lead_status: {theirs: status, values: {"1": new, "2": won, none: open}, clear: allowed}
  tags: {theirs: labels, winner: union, read: [split_semicolon], write: [join_semicolon], clear: allowed}
  birthday: {theirs: birthday, read: [birthday_mmdd], write: [birthday_mmdd]}
  street: {theirs: address.street, clear: allowed}
  city: {theirs: address.town, clear: allowed}
  region: {theirs: address.state, clear: allowed}
  custom.tier: {theirs: tier, values: {Gold: gold}, default: keep}
  custom.member: {theirs: member}
  custom.seen: {theirs: seen}
  custom.plan: {theirs: plan}
  custom.renews: {theirs: renews}
"""
)


@pytest.fixture(scope="module")
def acme() -> Map:
    return loads(ACME, "acme.yaml")


# --- reading ----------------------------------------------------------------------------------------------------------

READ = {
    "plain": ({"mail": " Ann@B.example ", "first": " Ann "}, {"email": "ann@b.example", "given_name": "Ann"}, []),
    "absent stays absent": ({"mail": "ann@b.example"}, {"email": "ann@b.example"}, []),
    "blank is cleared": (
        {"first": "", "last": None, "phone": "  "},
        {"given_name": None, "family_name": None, "phone": None},
        [],
    ),
    "zero and false are values": (
        {"first": 0, "plan": 0, "member": False, "status": None},
        {"given_name": "0", "custom.plan": "0", "custom.member": False, "lead_status": None},
        [],
    ),
    "text zero is a value": ({"plan": "0", "member": "0"}, {"custom.plan": "0", "custom.member": False}, []),
    "national phone": ({"phone": "030 901820"}, {"phone": "+4930901820"}, []),
    "bad phone": ({"phone": "call me", "first": "Ann"}, {"given_name": "Ann"}, [("phone", "not_phone")]),
    "phone with extension": ({"phone": "+49 30 901820 ext. 5"}, {}, [("phone", "phone_extension")]),
    "listed word": ({"stage": "client"}, {"lifecycle_stage": "customer"}, []),
    "number for a listed word": ({"status": 2}, {"lead_status": "won"}, []),
    "unlisted word": ({"stage": "x", "first": "Ann"}, {"given_name": "Ann"}, [("lifecycle_stage", "unmapped")]),
    "kept word": ({"tier": "Silver"}, {"custom.tier": "Silver"}, []),
    "kept word of ours": ({"tier": "gold"}, {}, [("custom.tier", "unmapped")]),
    "placeholder": (
        {"first": " N/A ", "last": "-"},
        {},
        [("given_name", "placeholder"), ("family_name", "placeholder")],
    ),
    "placeholder among tags": ({"labels": "test;a"}, {"tags": ["a", "test"]}, []),
    "placeholder for a tag": ({"labels": "test"}, {"tags": ["test"]}, []),
    "placeholder that is listed": ({"status": "none"}, {"lead_status": "open"}, []),
    "list is a set": ({"labels": "b;a; b ;"}, {"tags": ["a", "b"]}, []),
    "list as a list": ({"labels": ["b", "a"]}, {"tags": ["a", "b"]}, []),
    "empty list": ({"labels": []}, {"tags": None}, []),
    "only written": ({"job": "CEO"}, {}, []),
    "object": ({"address": {"street": "A 1", "town": "Bonn"}}, {"street": "A 1", "city": "Bonn"}, []),
    "object with a blank part": ({"address": {"street": "", "town": "Bonn"}}, {"street": None, "city": "Bonn"}, []),
    "empty object": ({"address": {}}, {"street": None, "city": None, "region": None}, []),
    "no object": ({"address": ""}, {"street": None, "city": None, "region": None}, []),
    "text for an object": (
        {"address": "A 1"},
        {},
        [("street", "not_object"), ("city", "not_object"), ("region", "not_object")],
    ),
    "object for a text": ({"first": {"a": 1}}, {}, [("given_name", "not_text")]),
    "text for a number": ({"plan": "many"}, {}, [("custom.plan", "not_number")]),
    "number with a thousands separator": ({"plan": "1,234"}, {}, [("custom.plan", "not_number")]),
    "exact number": ({"plan": "0.10"}, {"custom.plan": "0.1"}, []),
    "no truth": ({"member": "maybe"}, {}, [("custom.member", "not_bool")]),
    "bad date": ({"renews": "2023-02-29"}, {}, [("custom.renews", "not_date")]),
    "date with a time": ({"renews": "2024-02-29T12:00:00Z"}, {}, [("custom.renews", "has_time")]),
    "time without a zone": ({"seen": "2024-02-29 12:00"}, {}, [("custom.seen", "no_time_zone")]),
    "time": ({"seen": "2024-02-29T12:00:00.9+02:00"}, {"custom.seen": "2024-02-29T10:00:00Z"}, []),
    "half a surrogate": ({"first": "\ud800"}, {}, [("given_name", "not_text")]),
    "NUL": ({"first": "\0", "last": "L\0ee"}, {"given_name": None, "family_name": "Lee"}, []),
    "NUL between a letter and its accent": ({"first": "e\0\u0301"}, {"given_name": "é"}, []),
    "composed and decomposed": ({"first": "Zoe\u0308"}, {"given_name": "Zoë"}, []),
    "longer than the vendor holds": ({"firm": "Example GmbH & Co"}, {"company_name": "Example GmbH & Co"}, []),
}


@pytest.mark.parametrize(("fields", "claim", "warnings"), READ.values(), ids=READ)
def test_a_record_is_read(
    acme: Map, fields: dict[str, Any], claim: dict[str, Any], warnings: list[tuple[str, str]]
) -> None:
    """What can be read is read; what cannot is left out with a warning, and never takes the rest with it."""
    reading = acme.read(fields)
    assert claim == reading.claim
    assert warnings == [(w.field, w.code) for w in reading.warnings]


def test_fields_that_are_only_written_can_be_read_to_compare(acme: Map) -> None:
    """``all`` reads them too."""
    assert acme.read({"job": "CEO"}, all=True).claim == {"job_title": "CEO"}


def test_warnings_and_texts_of_objects_do_not_show_values(acme: Map) -> None:
    """A person's data is in no message and no repr."""
    reading = acme.read({"first": "Secretname", "phone": "Secretphone", "stage": "Secretstage", "plan": "Secretplan"})
    writing = acme.write({"given_name": "Secretname", "lead_status": "Secretstatus"})
    assert len(reading.warnings) == 3
    assert "Secret" not in repr([reading, writing, acme, *reading.warnings, *writing.warnings])


# --- writing ----------------------------------------------------------------------------------------------------------

WRITE = {
    "plain": ({"email": "ann@b.example", "job_title": "CEO"}, {"mail": "ann@b.example", "job": "CEO"}, []),
    "cleared": ({"family_name": None, "phone": None, "tags": None}, {"last": None, "phone": None, "labels": None}, []),
    "clearing ignored": ({"given_name": None, "email": None}, {}, []),
    "zero and false are values": (
        {"given_name": "0", "custom.plan": "0", "custom.member": False},
        {"first": "0", "plan": "0", "member": False},
        [],
    ),
    "only read": ({"lifecycle_stage": "customer"}, {}, []),
    "not mapped": ({"website": "https://example.com"}, {}, []),
    "listed word": ({"lead_status": "won"}, {"status": "2"}, []),
    "unlisted word": ({"lead_status": "lost", "given_name": "Ann"}, {"first": "Ann"}, [("lead_status", "unmapped")]),
    "kept word": ({"custom.tier": "Silver"}, {"tier": "Silver"}, []),
    "kept word of theirs": ({"custom.tier": "Gold"}, {}, [("custom.tier", "unmapped")]),
    "cut": ({"company_name": "Example GmbH"}, {"firm": "Example Gm"}, [("company_name", "lossy")]),
    "cut between bytes": ({"company_name": "Exampleßßß"}, {"firm": "Exampleß"}, [("company_name", "lossy")]),
    "cut at a blank": ({"company_name": "Example G mbH"}, {"firm": "Example G"}, [("company_name", "lossy")]),
    "list": ({"tags": ["b", "a"]}, {"labels": "a;b"}, []),
    "list with the separator": ({"tags": ["a;b"]}, {}, [("tags", "separator")]),
    "placeholder": ({"given_name": "Unknown"}, {}, [("given_name", "placeholder")]),
    "birthday": ({"birthday": "1980-05-17"}, {"birthday": "05/17"}, [("birthday", "lossy")]),
    "object": (
        {"street": "A 1", "city": "Bonn", "region": None},
        {"address": {"street": "A 1", "town": "Bonn"}},
        [],
    ),
    "object without a required part": ({"city": "Bonn"}, {}, [("city", "incomplete")]),
    "object with a part that cannot be said": (
        {"street": "A 1", "city": "Bonn", "region": "n/a"},
        {},
        [("region", "placeholder")],
    ),
    "object emptied": ({"street": None, "city": None, "region": None}, {"address": None}, []),
}


@pytest.mark.parametrize(("values", "fields", "warnings"), WRITE.values(), ids=WRITE)
def test_values_are_written(
    acme: Map, values: dict[str, Any], fields: dict[str, Any], warnings: list[tuple[str, str]]
) -> None:
    """What can be said is said; the rest is left out with a warning."""
    writing = acme.write(values)
    assert fields == writing.fields
    assert warnings == [(w.field, w.code) for w in writing.warnings]


def test_only_the_asked_fields_are_written(acme: Map) -> None:
    """Of an object all parts go along, since vendors replace it."""
    values = {"given_name": "Ann", "family_name": "Lee", "street": "A 1", "city": "Bonn"}
    writing = acme.write(values, ["family_name", "city"])
    assert writing.fields == {"last": "Lee", "address": {"street": "A 1", "town": "Bonn"}}
    assert writing.said == {"family_name": "Lee", "street": "A 1", "city": "Bonn"}


def test_what_was_said_is_what_would_be_read_back(acme: Map) -> None:
    """``said`` is the shadow after the write: lossy values as the vendor keeps them, what was left out is not in it."""
    writing = acme.write(
        {"company_name": "Example GmbH", "birthday": "1980-05-17", "lead_status": "lost", "city": "Bonn", "phone": None}
    )
    assert writing.said == {"company_name": "Example Gm", "birthday": "05-17", "phone": None}


NAMES = """fields:
  email: {theirs: mail}
  given_name: {theirs: name, way: in, read: [given_of_name]}
  family_name: {theirs: name, way: in, read: [family_of_name]}
compose: {name: "{given_name} {family_name}", label: "{family_name}, {city}"}
"""


@pytest.mark.parametrize(
    ("values", "names", "fields"),
    [
        ({"given_name": "Ann", "family_name": "Lee"}, None, {"name": "Ann Lee", "label": "Lee"}),
        ({"given_name": "Ann", "family_name": None}, None, {"name": "Ann"}),
        ({"given_name": "Ann", "family_name": "Lee", "city": "Bonn"}, ["city"], {"label": "Lee, Bonn"}),
        ({"given_name": None, "family_name": None}, None, {}),
        ({"email": "ann@b.example", "given_name": "Ann"}, ["email"], {"mail": "ann@b.example"}),
    ],
)
def test_a_text_is_composed_of_several_fields(
    values: dict[str, Any], names: list[str] | None, fields: dict[str, Any]
) -> None:
    """It is written whole when one of its fields is asked for; what is missing leaves no gap."""
    map_ = loads(HEAD + NAMES)
    assert fields == map_.write(values, names).fields
    assert {"email", "given_name", "family_name", "city"} == map_.out_fields


def test_a_composed_text_is_not_written_again() -> None:
    """After the write nothing differs, and a change of one part does."""
    map_ = loads(HEAD + NAMES)
    values = {"email": "ann@b.example", "given_name": "Ann", "family_name": "Lee", "city": "Bonn"}
    said = map_.write(values).said
    assert differences(map_, values, said) == {}
    assert differences(map_, {**values, "family_name": "Berg"}, said) == {"family_name": "Berg"}
    assert map_.read({"name": "Ann Maria Lee"}).claim == {"given_name": "Ann Maria", "family_name": "Lee"}


def test_a_text_of_which_nothing_is_left_is_not_emptied() -> None:
    """Its fields do not differ either: what is not written must not enter the shadow."""
    map_ = loads(HEAD + NAMES.replace("[given_of_name]", "[given_of_name], clear: allowed"))
    shadow = {"given_name": "Ann", "family_name": None}
    assert differences(map_, {"given_name": None, "family_name": None}, shadow) == {}
    assert differences(map_, {"given_name": None, "family_name": "Lee"}, shadow) == {
        "given_name": None,
        "family_name": "Lee",
    }


# --- comparing --------------------------------------------------------------------------------------------------------

DIFFER = {
    "equal": ({"given_name": "Ann"}, {"given_name": "Ann"}, {}),
    "changed": ({"given_name": "Ann"}, {"given_name": "Eve"}, {"given_name": "Ann"}),
    "never said": ({"given_name": "Ann"}, {}, {"given_name": "Ann"}),
    "not known to us": ({}, {"given_name": "Eve"}, {}),
    "cut, and the vendor has the cut text": ({"company_name": "Example GmbH"}, {"company_name": "Example Gm"}, {}),
    "whole at the vendor": ({"company_name": "Example GmbH"}, {"company_name": "Example GmbH"}, {}),
    "year lost": ({"birthday": "1980-05-17"}, {"birthday": "05-17"}, {}),
    "year lost and day changed": ({"birthday": "1980-05-18"}, {"birthday": "05-17"}, {"birthday": "05-18"}),
    "cleared": ({"phone": None}, {"phone": "+4930901820"}, {"phone": None}),
    "cleared on both sides": ({"phone": None}, {"phone": None}, {}),
    "cleared, and never said": ({"phone": None}, {}, {}),
    "clearing ignored": ({"given_name": None}, {"given_name": "Ann"}, {}),
    "cannot be said": ({"lead_status": "lost"}, {"lead_status": "won"}, {}),
    "only read": ({"lifecycle_stage": "customer"}, {"lifecycle_stage": "lead"}, {}),
    "object that is incomplete": ({"city": "Bonn"}, {"city": "Köln"}, {}),
    "object": ({"city": "Bonn", "street": "A 1"}, {"city": "Köln", "street": "A 1"}, {"city": "Bonn"}),
}


@pytest.mark.parametrize(("values", "shadow", "different"), DIFFER.values(), ids=DIFFER)
def test_only_what_would_change_the_vendors_word_differs(
    acme: Map, values: dict[str, Any], shadow: dict[str, Any], different: dict[str, Any]
) -> None:
    """A lossy field differs only where its rest does; what cannot be written never does."""
    assert different == differences(acme, values, shadow)


PROJECT = {
    "as it is": ("given_name", "Ann", "Ann"),
    "none": ("given_name", None, None),
    "cut": ("company_name", "Example GmbH", "Example Gm"),
    "unlisted": ("lead_status", "lost", MISSING),
    "only read, as it is": ("lifecycle_stage", "anything", "anything"),
    "not mapped": ("website", "https://example.com", MISSING),
    "placeholder": ("given_name", "n/a", MISSING),
    "false": ("custom.member", False, False),
    "part of an object": ("city", "Bonn", "Bonn"),
}


@pytest.mark.parametrize(("name", "value", "projected"), PROJECT.values(), ids=PROJECT)
def test_a_value_is_projected_to_what_the_vendor_would_say(acme: Map, name: str, value: Any, projected: Any) -> None:
    """MISSING where the vendor cannot hold it."""
    assert projected == acme.project(name, value)


def test_what_would_be_read_as_nothing_is_not_written() -> None:
    """A vendor that keeps only the given name of a text cannot hold a bare title."""
    map_ = loads(HEAD + "fields: {email: {theirs: mail}, given_name: {theirs: first, read: [given_of_name]}}")
    assert map_.write({"given_name": "Dr."}).fields == {}
    assert map_.project("given_name", "Dr.") is MISSING
    assert map_.project("given_name", "Dr. Ann Lee") == "Ann"


def test_only_plain_texts_are_cut() -> None:
    """Half an address is another address."""
    map_ = loads(HEAD + "fields: {email: {theirs: mail, max_length: 16}, country: {theirs: c, values: {Germany: DE}}}")
    writing = map_.write({"email": "ann.lee@example.com", "country": "DE"})
    assert writing.fields == {"c": "Germany"}
    assert [(w.field, w.code) for w in writing.warnings] == [("email", "too_long")]


# --- what a mapping tells of itself -----------------------------------------------------------------------------------


def test_a_mapping_tells_ways_policies_and_names(acme: Map) -> None:
    """What the other rooms ask for."""
    assert ("email",) == acme.keys == acme.required
    assert "job_title" in acme.out_fields - acme.in_fields
    assert "lifecycle_stage" in acme.in_fields - acme.out_fields
    assert Policy(Way.BOTH, Winner.CRM, clearable=False) == acme.policy("email")
    assert Policy(Way.BOTH, Winner.UNION, clearable=True) == acme.policy("tags")
    assert acme.theirs(["email", "city", "street"]) == ("mail", "address")
    assert set(acme.theirs()) >= {"mail", "job", "stage", "address"}
    with pytest.raises(KeyError):
        acme.policy("website")


def test_the_connections_country_and_zone_come_first() -> None:
    """Examples still run by the file's own."""
    text = HEAD + (
        "default_country: DE\ntime_zone: Europe/Berlin\ncustom: {seen: {type: datetime}}\n"
        "fields: {email: {theirs: m}, phone: {theirs: p}, custom.seen: {theirs: s}}\n"
        'examples: [{theirs: {p: "030 901820"}, ours: {phone: "+4930901820"}, only: read}]\n'
    )
    fields = {"p": "01 53 63 10 00", "s": "2024-07-01 12:00"}
    map_ = loads(text, default_country="FR", time_zone="America/New_York")
    assert map_.read(fields).claim == {"phone": "+33153631000", "custom.seen": "2024-07-01T16:00:00Z"}
    assert loads(text).read(fields).claim["custom.seen"] == "2024-07-01T10:00:00Z"
    with pytest.raises(MappingError, match="no country"):
        loads(text, default_country="XX")


# --- against an account -----------------------------------------------------------------------------------------------


def schema(**changes: Property | None) -> Schema:
    properties = {n: Property(n, "string") for n in loads(ACME).theirs()}
    properties["address"] = Property("address", "address")
    found = {**properties, **changes}
    return Schema(Kind.CONTACT, {n: p for n, p in found.items() if p is not None})


AGAINST: Mapping[str, tuple[dict[str, Property | None], list[tuple[str, str, str]]]] = {
    "it fits": ({}, []),
    "missing": ({"first": None}, [("error", "fields.given_name", "no field 'first'")]),
    "read-only, but written": (
        {"first": Property("first", "string", read_only=True)},
        [("error", "fields.given_name", "read-only")],
    ),
    "read-only, and only read": ({"stage": Property("stage", "string", read_only=True)}, []),
    "text into a number": ({"last": Property("last", "number")}, [("error", "fields.family_name", "type number")]),
    "text into an object": ({"last": Property("last", "address")}, [("error", "fields.family_name", "`objects`")]),
    "object into a text": (
        {"address": Property("address", "text")},
        [("error", f"fields.{n}", "no parts") for n in ("street", "city", "region")],
    ),
    "date into a datetime": ({"renews": Property("renews", "datetime")}, []),
    "words that are no options": (
        {"status": Property("status", "enumeration", options=("1", "02", "none"))},
        [("error", "fields.lead_status", "'2'"), ("warning", "fields.lead_status", "'02'")],
    ),
    "options that are not listed": (
        {"stage": Property("stage", "enumeration", options=("suspect", "client", "lost"))},
        [("warning", "fields.lifecycle_stage", "'lost'")],
    ),
    "kept options": ({"tier": Property("tier", "enumeration", options=("Gold", "Silver"))}, []),
    "required there, written by nothing": (
        {"zip": Property("zip", "string", required=True)},
        [("error", "zip", "nothing writes it")],
    ),
}


@pytest.mark.parametrize(("changes", "problems"), AGAINST.values(), ids=AGAINST)
def test_a_mapping_is_checked_against_the_accounts_fields(
    acme: Map, changes: dict[str, Property | None], problems: list[tuple[str, str, str]]
) -> None:
    """Missing, read-only, of another type, with other options: told before the first record."""
    found = check_against(acme, schema(**changes))
    assert [(level, path) for level, path, _ in problems] == [(p.level, p.path) for p in found], list(map(str, found))
    assert all(hint in str(p) for p, (_, _, hint) in zip(found, problems, strict=True)), list(map(str, found))
    assert all(p.file == "acme.yaml" and p.line for p in found if p.path.startswith("fields."))


def test_a_transform_says_how_a_value_goes_into_a_field_of_another_type() -> None:
    """A date as milliseconds in a number is no mistake; a bare one is."""
    chains = ", read: [epoch_date], write: [epoch_date]"
    text = HEAD + f"fields:\n  email: {{theirs: mail}}\n  created_on: {{theirs: made{chains}}}"
    account = Schema(Kind.CONTACT, {n: Property(n, t) for n, t in (("mail", "email"), ("made", "number"))})
    assert check_against(loads(text), account) == []
    bare = loads(text.replace(chains, ""))
    assert [p.path for p in check_against(bare, account)] == ["fields.created_on"]


# --- saboteurs: the tests above can fail ------------------------------------------------------------------------------


def read_with_or(self: Map, fields: Mapping[str, Any], all: bool = False) -> Reading:  # noqa: A002
    """`a or b` on data: 0, False and "" are lost."""
    real = REAL_READ(self, fields, all)
    return Reading({n: v or None for n, v in real.claim.items()}, real.warnings)


def read_absent_as_cleared(self: Map, fields: Mapping[str, Any], all: bool = False) -> Reading:  # noqa: A002
    """What is not said is taken for cleared."""
    real = REAL_READ(self, fields, all)
    return Reading({**dict.fromkeys(self.in_fields), **real.claim}, real.warnings)


def read_all_or_nothing(self: Map, fields: Mapping[str, Any], all: bool = False) -> Reading:  # noqa: A002
    """One value that cannot be read takes the record with it."""
    real = REAL_READ(self, fields, all)
    return Reading({}, real.warnings) if real.warnings else real


def write_blank_as_blank(self: Map, values: Mapping[str, Any], fields: Any = None) -> Writing:
    """A cleared field is always sent."""
    real = REAL_WRITE(self, values, fields)
    blank = {self.entries[n].theirs: None for n, v in values.items() if v is None and n in self.entries}
    return Writing({**blank, **real.fields}, real.said, real.warnings)


REAL_READ, REAL_WRITE = Map.read, Map.write


@pytest.mark.parametrize(
    ("method", "sabotage", "case"),
    [
        ("read", read_with_or, READ["zero and false are values"]),
        ("read", read_with_or, READ["text zero is a value"]),
        ("read", read_absent_as_cleared, READ["absent stays absent"]),
        ("read", read_all_or_nothing, READ["unlisted word"]),
        ("read", read_all_or_nothing, READ["bad phone"]),
        ("write", write_blank_as_blank, WRITE["clearing ignored"]),
    ],
)
def test_the_tables_catch_a_saboteur(
    acme: Map, monkeypatch: pytest.MonkeyPatch, method: str, sabotage: Callable[..., Any], case: Any
) -> None:
    """A broken variant fails where the real one passes."""
    check = test_a_record_is_read if method == "read" else test_values_are_written
    check(acme, *case)
    monkeypatch.setattr(Map, method, sabotage)
    with pytest.raises(AssertionError):
        check(acme, *case)


def test_the_tables_catch_a_comparison_that_forgets_the_projection(acme: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing our whole value with the vendor's cut one would write for ever."""
    case = DIFFER["cut, and the vendor has the cut text"]
    monkeypatch.setattr(Map, "project", lambda self, name, value: value)
    with pytest.raises(AssertionError):
        test_only_what_would_change_the_vendors_word_differs(acme, *case)
