"""The mappings that Tandem ships: they load, keep their promises, fit their vendors, and agree with each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.words import MISSING
from app.sync.mapping import Map, Way, check_against, differences, json_schema, load, write_schema
from connectors import _mailchimp_wire as mailchimp
from connectors.contract import Kind, Property, Schema

SHIPPED = sorted((Path(__file__).parents[1] / "mappings").glob("*.yaml"))
MAPPINGS = [p for p in SHIPPED if "connector" in yaml.safe_load(p.read_text(encoding="utf-8"))]
MAPS = {p.stem: load(p, default_country="DE") for p in MAPPINGS}
SCHEMA = Path(__file__).parents[1] / "mappings" / "schema.json"

# HubSpot's default contact properties with their types: "Properties" guide, developers.hubspot.com, April 2026.
HUBSPOT = {
    **dict.fromkeys(("email", "firstname", "lastname", "jobtitle", "company", "website", "address", "city"), "string"),
    **dict.fromkeys(("state", "zip", "country", "hs_additional_emails"), "string"),
    **dict.fromkeys(("phone", "mobilephone"), "phone_number"),
    **dict.fromkeys(("lifecyclestage", "hs_lead_status", "hs_language"), "enumeration"),
    "hs_email_optout": "bool",
}
STOCK = ("FNAME", "LNAME", "PHONE", "ADDRESS", "BIRTHDAY")  # merge fields of a new audience
EXTRA = ("COMPANY", "JOBTITLE", "CITY", "COUNTRY")


def test_there_are_mappings_to_check() -> None:
    """Guards the guard."""
    assert {"hubspot", "mailchimp"} <= MAPS.keys()


@pytest.mark.parametrize("path", MAPPINGS, ids=lambda p: p.stem)
def test_a_shipped_mapping_keeps_the_published_schema(path: Path) -> None:
    """What editors are told is what the loader takes."""
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(published)
    data = yaml.safe_load(path.read_text(encoding="utf-8").replace("no: no", '"no": "no"'))
    jsonschema.Draft202012Validator(published).validate(data)
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=schema.json\n")


def test_the_published_schema_is_the_grammars(tmp_path: Path) -> None:
    """Where this fails: ``python -c "from pathlib import Path; from app.sync.mapping import write_schema;
    write_schema(Path('mappings/schema.json'))"`` (``make docs`` does it)."""
    write_schema(tmp_path / "schema.json")
    assert SCHEMA.read_text(encoding="utf-8") == (tmp_path / "schema.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        {"fields": {"citi": {"theirs": "c"}}},
        {"fields": {"city": {"theirs": "c", "winer": "crm"}}},
        {"fields": {"city": {"theirs": "c", "read": ["country_name"]}}},
        {"fields": {"city": {"theirs": "c", "way": "up"}}},
        {"extra": 1},
    ],
)
def test_the_published_schema_refuses_mistakes(change: dict[str, Any]) -> None:
    """A schema that takes everything would help nobody."""
    data = {"version": 1, "connector": "a", "fields": {"email": {"theirs": "m"}}}
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(data)
    assert not validator.is_valid({**data, **change})


@pytest.mark.parametrize("map_", MAPS.values(), ids=MAPS)
def test_a_shipped_mapping_has_examples_in_both_directions(map_: Map) -> None:
    """Loading runs them; here they must exist, and every field must occur in one."""
    examples = yaml.safe_load(Path(map_.file).read_text(encoding="utf-8"))["examples"]
    assert {e.get("only") for e in examples} == {None, "read", "write"}
    assert set(map_.entries) == {name for e in examples for name in e["ours"]}


def test_shipped_mappings_agree_on_who_wins() -> None:
    """A field whose winner depended on the side that speaks first would not come to rest."""
    seen: dict[str, Any] = {}
    shared = 0
    for map_ in MAPS.values():
        for name, entry in map_.entries.items():
            rule = (entry.policy.winner, entry.policy.clearable)
            shared += name in seen
            assert seen.setdefault(name, rule) == rule, name
    assert shared >= 8


@pytest.mark.parametrize("map_", MAPS.values(), ids=MAPS)
def test_names_and_addresses_are_never_emptied(map_: Map) -> None:
    """A blank must not wipe what people are known by."""
    for name in ("email", "given_name", "family_name"):
        assert not map_.policy(name).clearable
    assert map_.keys == ("email",)
    # EspoCRM and Salesforce make nobody without a last name.
    strict = map_.connector in {"espocrm", "salesforce"}
    assert map_.required == (("email", "family_name") if strict else ("email",))


def test_sales_words_come_from_the_crm_only() -> None:
    """Stage and status are read from HubSpot, and written to nobody's field."""
    for name in ("lifecycle_stage", "lead_status"):
        assert MAPS["hubspot"].policy(name).way is Way.IN
        assert name not in MAPS["mailchimp"].entries


def hubspot_schema() -> Schema:
    return Schema(Kind.CONTACT, {n: Property(n, t) for n, t in HUBSPOT.items()})


def audience(*tags: str) -> Schema:
    types = {"PHONE": "phone", "ADDRESS": "address", "BIRTHDAY": "birthday"}
    return mailchimp.schema([{"tag": t, "name": t, "type": types.get(t, "text")} for t in tags], [])


def test_the_hubspot_mapping_fits_a_new_account() -> None:
    """Default properties only."""
    assert check_against(MAPS["hubspot"], hubspot_schema()) == []
    assert set(MAPS["hubspot"].theirs()) == set(HUBSPOT)


def test_the_mailchimp_mapping_says_what_an_audience_lacks() -> None:
    """A new audience lacks four merge fields; with them everything fits."""
    assert check_against(MAPS["mailchimp"], audience(*STOCK, *EXTRA)) == []
    lacking = check_against(MAPS["mailchimp"], audience(*STOCK))
    assert {p.message.split("'")[1] for p in lacking} == {f"merge_fields.{t}" for t in EXTRA}
    assert all(p.line is not None for p in lacking)


# --- the laws, on what these vendors hold -----------------------------------------------------------------------------

names = st.sampled_from(["Ann", " Zoë ", "O'Neil", "n/a", "", "李", "x" * 300, "ß" * 200, "-", "Null"]) | st.text(
    max_size=8
)
PLACES = ["Germany", "Deutschland", "US", "Atlantis", "", "Türkiye"]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "email": st.sampled_from(["Ann@Example.com", "ann+x@example.com", "no address", "é@example.com"]),
    "phone": st.sampled_from(["030 901820", "+49 30 901820", "+1 202 555 0123", "911", "", "+493090182x"]),
    "country": st.sampled_from(PLACES),
    "website": st.sampled_from(["example.com", "HTTPS://Example.com/", "nowhere", ""]),
    "language": st.sampled_from(["de", "pt-br", "fr_CA", "xx", ""]),
    "email_alternates": st.sampled_from(["a@example.com;B@example.com", "", "x"]),
    "tags": st.lists(names, max_size=4),
}
VALUES["mobile_phone"] = VALUES["phone"]


def records(map_: Map) -> st.SearchStrategy[dict[str, Any]]:
    by_field = {e.theirs: VALUES.get(n, names) for n, e in map_.entries.items()}
    return st.fixed_dictionaries({}, optional={n: st.none() | s for n, s in by_field.items()})


def holds(map_: Map, name: str, value: Any) -> bool:
    """Whether a vendor holds the value as it is: not the ones longer than its fields."""
    return not isinstance(value, str) or len(value.encode()) <= 255 or map_.project(name, value) == value


LAW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@LAW
@given(st.data())
def test_reading_writing_and_reading_again_changes_nothing(data: st.DataObject) -> None:
    """Both vendors, all fields."""
    for map_ in MAPS.values():
        claim = map_.read(data.draw(records(map_))).claim
        claim = {n: v for n, v in claim.items() if holds(map_, n, v)}
        writing = map_.write(claim)
        again = map_.read(writing.fields).claim
        assert {n: v for n, v in claim.items() if n in writing.said} == again
        assert differences(map_, claim, writing.said) == {}


@LAW
@given(records(MAPS["hubspot"]), records(MAPS["mailchimp"]))
def test_both_vendors_come_to_rest(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """What HubSpot says goes to Mailchimp and comes back as no change, whatever Mailchimp cuts or cannot say."""
    hubspot, chimp = MAPS["hubspot"], MAPS["mailchimp"]
    contact = hubspot.read(ours).claim
    shadow = chimp.read(theirs).claim
    writing = chimp.write(contact, sorted(differences(chimp, contact, shadow)))
    member = {**theirs, **writing.fields}
    shadow |= writing.said
    echo = chimp.read(member).claim
    assert {n: v for n, v in echo.items() if shadow.get(n, MISSING) != v} == {}
    assert differences(chimp, contact, shadow) == {}
    assert differences(hubspot, contact, hubspot.read(ours).claim) == {}
