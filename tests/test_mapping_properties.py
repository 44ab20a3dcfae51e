"""Laws of the mapping room, over generated values; and saboteurs that break them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.core.fields import FIELDS, NORMAL, Unfit, normal_list, normal_number, normal_text
from app.core.words import MISSING
from app.sync import _mapping_chains as chains
from app.sync import _mapping_compile as compiled
from app.sync import _transforms_dates as dates
from app.sync.mapping import Map, MappingError, Way, differences, loads

COMMON = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Every reading transform, every writing one, each type and form, an object, a composed text, value maps.
KITCHEN = """version: 1
connector: kitchen
default_country: DE
time_zone: Europe/Berlin
custom:
  upper: {type: text}
  domain: {type: text}
  short: {type: text}
  score: {type: number}
  exact: {type: number}
  truth: {type: bool}
  truth_text: {type: bool}
  truth_word: {type: bool}
  day: {type: date}
  us_day: {type: date}
  epoch_day: {type: date}
  midnight: {type: date}
  seen: {type: datetime}
  clock: {type: datetime}
  stamp: {type: datetime}
  commas: {type: list}
  picks: {type: list}
  named: {type: list}
objects: {address: {required: [street]}}
fields:
  email: {theirs: mail, read: [strip, lower_email], write: [lower_email]}
  email_alternates: {theirs: mails, way: in, read: [split_semicolon, gmail_email]}
  given_name: {theirs: first, clear: allowed}
  family_name: {theirs: last, read: [lower]}
  custom.upper: {theirs: upper, read: [upper], write: [strip]}
  custom.domain: {theirs: domain, read: [domain], write: [domain]}
  custom.short: {theirs: short, max_length: 24}
  phone: {theirs: phone, write: [national_phone]}
  mobile_phone: {theirs: mobile}
  website: {theirs: web, read: [url], write: [url]}
  country: {theirs: country, write: [country_name]}
  region: {theirs: nation, way: in, read: [country]}
  language: {theirs: language, read: [language_underscore], write: [language_underscore]}
  birthday: {theirs: birthday}
  lead_score: {theirs: number}
  custom.score: {theirs: score, winner: max, read: [json_number], write: [json_number]}
  custom.truth: {theirs: truth}
  custom.truth_text: {theirs: truth_text, read: [bool_text], write: [bool_text]}
  custom.truth_word: {theirs: truth_word, values: {Ja: true, Nein: false}}
  created_on: {theirs: created, read: [local_date]}
  custom.day: {theirs: day}
  custom.us_day: {theirs: us_day, read: [us_date], write: [us_date]}
  custom.epoch_day: {theirs: epoch_day, read: [epoch_date], write: [epoch_date]}
  custom.midnight: {theirs: midnight, read: [midnight], write: [midnight]}
  custom.seen: {theirs: seen}
  custom.clock: {theirs: clock, read: [wall_clock], write: [wall_clock]}
  custom.stamp: {theirs: stamp, read: [epoch_ms], write: [epoch_ms]}
  tags: {theirs: tags, clear: allowed}
  custom.commas: {theirs: commas, read: [split_comma], write: [join_comma]}
  custom.picks: {theirs: picks, read: [split_semicolon], write: [join_semicolon], values: {a: one, b: two}}
  custom.named: {theirs: named, read: [names]}
  lifecycle_stage: {theirs: stage, values: {suspect: lead, client: customer}}
  lead_status: {theirs: status, values: {New: new}, default: keep}
  street: {theirs: address.street, clear: allowed}
  city: {theirs: address.town, clear: allowed}
compose: {label: "{given_name} {family_name} ({city})"}
"""
MAP = loads(KITCHEN, "kitchen.yaml")

at = datetime.fromisoformat  # without a zone: hypothesis asks for its bounds so
texts = st.text(max_size=12)
days = st.dates().map(date.isoformat)
moments = st.datetimes(min_value=at("0001-01-03"), max_value=at("9999-12-29"), timezones=st.just(UTC)).map(
    lambda m: m.replace(microsecond=0).isoformat()
)
clocks = st.datetimes(min_value=at("1900-01-01"), max_value=at("2100-01-01")).map(
    lambda m: m.replace(microsecond=0).isoformat(sep=" ")
)
millis = st.integers(-(10**12), 10**13)
scalars = st.one_of(
    st.none(), st.booleans(), texts, st.integers(), st.floats(allow_nan=True), days, moments, millis, millis.map(str)
)
junk = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(texts, scalars, max_size=2))
words = st.sampled_from(
    [
        *(
            "a;b",
            "a, b",
            "yes",
            "0",
            "client",
            "New",
            "x",
            "N/A",
            "Ja",
            "030 901820",
            "+1 202-555-0123",
            "Ann@B.example",
        ),
        *(
            "Deutschland",
            "usa",
            "pt_BR",
            "German",
            "EXAMPLE.com/",
            "www.example.com",
            "--02-29",
            "5/17/1980",
            "ßẞ",
            "ΑΣ",
        ),
    ]
)
people = st.one_of(words, texts, junk)
FREE = dict.fromkeys(MAP.theirs(), people)
# What the vendor can hold: its clock shows no zone, and it keeps birthdays and short texts as it keeps them.
HELD = {
    **FREE,
    "clock": clocks,
    "short": st.text(max_size=6),
    "address": st.fixed_dictionaries({"street": people, "town": people}),
}
records = st.fixed_dictionaries({}, optional=HELD)
anything = st.fixed_dictionaries({}, optional=FREE)
names = st.sampled_from(sorted(MAP.entries))


def is_unicode(text: str) -> bool:
    """Half a surrogate pair is none."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


# --- the laws ---------------------------------------------------------------------------------------------------------


@COMMON
@given(records)
def test_what_is_read_written_and_read_again_is_the_same(record: dict[str, Any]) -> None:
    """``read(write(read(x))) == read(x)``, for what the vendor can hold and can be said at all."""
    claim = MAP.read(record, all=True).claim
    writing = MAP.write(claim)
    again = MAP.read(writing.fields, all=True).claim
    assert {n: claim[n] for n in writing.said} == {n: again[n] for n in again if n in writing.said} | {
        n: None for n in writing.said if n not in again
    }
    assert writing.said == {n: claim[n] for n in writing.said}
    excused = {w.field for w in writing.warnings} | {"street", "city"}  # parts wait for each other
    owed = {n for n, v in claim.items() if v is not None and n in MAP.out_fields}
    assert owed - excused <= writing.said.keys()


@COMMON
@given(names, st.one_of(people, words, moments, st.lists(texts, max_size=3)))
@example("custom.short", "x" * 23 + " \u200bß")
@example("custom.clock", "2026-10-25T01:30:00Z")
@example("given_name", "e\0\u0301")
def test_projecting_twice_is_projecting_once(name: str, value: Any) -> None:
    """``project(project(x)) == project(x)``: what the vendor would say of what it says is what it says."""
    once = MAP.project(name, value)
    assert once is MISSING or once == MAP.project(name, once)


@COMMON
@given(anything)
def test_reading_never_fails_and_says_only_what_was_there(record: dict[str, Any]) -> None:
    """Any JSON gives a claim of mapped fields in normal form; what is absent stays absent."""
    reading = MAP.read(record, all=True)
    there = {n for n, e in MAP.entries.items() if e.theirs in record}
    assert set(reading.claim) | {w.field for w in reading.warnings} <= there
    assert not set(reading.claim) & {w.field for w in reading.warnings}
    for name, value in reading.claim.items():
        assert value is None or NORMAL[MAP.entries[name].field.type](value) == value
    assert orjson.loads(orjson.dumps(reading.claim)) == reading.claim


@COMMON
@given(records, records)
def test_after_a_write_nothing_differs(one: dict[str, Any], other: dict[str, Any]) -> None:
    """No mapping loops: the shadow after a write equals what would be written next."""
    values = MAP.read(one, all=True).claim
    shadow = MAP.read(other, all=True).claim
    different = differences(MAP, values, shadow)
    writing = MAP.write(values, sorted(different))
    assert different.keys() <= writing.said.keys()
    assert different == {n: writing.said[n] for n in different}
    assert differences(MAP, values, {**shadow, **writing.said}) == {}


@COMMON
@given(st.dictionaries(names, people, max_size=6))
def test_what_is_said_is_what_is_sent(values: dict[str, Any]) -> None:
    """Every field that is said is in the fields, and reading the fields gives what is said; any values at all."""
    writing = MAP.write(values)
    back = MAP.read(writing.fields, all=True)
    assert back.warnings == ()
    assert {n: v for n, v in writing.said.items() if v is not None} == {
        n: v for n, v in back.claim.items() if v is not None
    }
    targets = {MAP.entries[n].theirs for n in writing.said} | set(MAP.composed)
    assert set(writing.fields) <= targets


@COMMON
@given(st.dates(), st.integers(-18 * 60, 18 * 60), st.sampled_from(["", ":00", ":00.000"]))
def test_a_date_never_slips_a_day(day: date, minutes: int, tail: str) -> None:
    """However a vendor writes midnight, and in whatever zone this process runs."""
    iso = day.isoformat()
    sign, hours = "-" if minutes < 0 else "+", f"{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    spellings = [iso, f"{iso}T00:00{tail}", f"{iso}T00:00{tail}Z", f"{iso} 00:00{tail}{sign}{hours}"]
    for name in ("day", "us_day", "epoch_day", "midnight"):
        read = [MAP.read({name: s}).claim.get(f"custom.{name}") for s in spellings]
        assert read == [iso] * len(spellings)
    stamp = (day - date(1970, 1, 1)).days * 86_400_000
    assert (
        MAP.read({"epoch_day": stamp}).claim == MAP.read({"epoch_day": str(stamp)}).claim == {"custom.epoch_day": iso}
    )
    for name in ("custom.day", "custom.us_day", "custom.epoch_day", "custom.midnight", "created_on"):
        assert MAP.project(name, iso) == iso


@COMMON
@given(st.datetimes(min_value=at("1900-01-01"), max_value=at("2100-01-01")), st.integers(-14 * 60, 14 * 60))
def test_an_instant_stays_the_instant(moment: datetime, minutes: int) -> None:
    """Whatever offset the vendor writes it with."""
    utc = moment.replace(microsecond=0, tzinfo=UTC)
    written = utc.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    wanted = utc.isoformat().replace("+00:00", "Z")
    assert MAP.read({"seen": written, "clock": written}).claim == {"custom.seen": wanted, "custom.clock": wanted}
    assert MAP.read({"stamp": int(utc.timestamp()) * 1000}).claim == {"custom.stamp": wanted}


@COMMON
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=9))
def test_a_number_is_exact(number: Any) -> None:
    """Its normal form is equal in value, and the normal form of itself."""
    text = normal_number(number)
    assert type(number)(text) == number
    assert normal_number(text) == text
    assert "E" not in text.upper()


@COMMON
@given(st.text(), st.lists(st.text(max_size=4)))
def test_normal_forms_are_normal(text: str, items: list[str]) -> None:
    """The normal form of a normal form is itself; a set does not depend on order or repetition."""
    try:
        assert normal_text(normal_text(text)) == normal_text(text)
        assert normal_list(normal_list(items)) == normal_list(items) == normal_list([*reversed(items), *items])
    except Unfit:
        assert not is_unicode(text) or not all(is_unicode(item) for item in items)


@COMMON
@given(st.text(max_size=40), st.integers(1, 30))
def test_a_cut_text_fits_and_is_a_beginning(text: str, limit: int) -> None:
    """Whole characters, at most the bytes that the vendor keeps."""
    try:
        short = chains.shortened(text, limit, cut=True)
    except (Unfit, UnicodeEncodeError):
        return
    assert len(short.encode()) <= limit
    assert text.startswith(short)


def test_the_kitchen_has_every_type_and_way() -> None:
    """Guards the guard."""
    assert {e.field.type for e in MAP.entries.values()} == {f.type for f in FIELDS.values()} | set(NORMAL)
    assert {e.policy.way for e in MAP.entries.values()} == {Way.IN, Way.BOTH}


# --- saboteurs: the laws above can be broken --------------------------------------------------------------------------


def must_break(law: Callable[[], None]) -> None:
    """The law finds a counter-example.  Hypothesis may group several."""
    with pytest.raises((AssertionError, ExceptionGroup)):
        law()


def test_a_law_breaks_when_dates_go_through_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual mistake: parse the midnight, convert it, take the date."""

    def slipping(value: Any) -> str:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None or moment.tzinfo is None:
            return real(value)
        return moment.astimezone(timezone(timedelta(hours=-5))).date().isoformat()

    real = dates.iso_date
    monkeypatch.setattr(dates, "iso_date", slipping)  # us_date and epoch_date fall back on it
    must_break(test_a_date_never_slips_a_day)


def test_a_law_breaks_when_numbers_go_through_floating_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1 + 0.2 and ids of 20 digits are what gets lost."""
    real = normal_number
    monkeypatch.setattr(f"{__name__}.normal_number", lambda value: real(float(value)))
    must_break(test_a_number_is_exact)


def test_a_cut_that_grows_with_every_round_is_refused_at_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark at the end of a cut text is cut and marked again: the samples of the loader find it."""
    monkeypatch.setattr(compiled, "shortened", lambda text, limit, cut: text[:limit] + "…")
    with pytest.raises(MappingError, match="does not stay what it is"):
        loads(KITCHEN)


def test_a_law_breaks_when_an_incomplete_object_counts_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that was never written must not enter the shadow."""
    real = Map.write

    def boasting(self: Map, values: Any, fields: Any = None) -> Any:
        writing = real(self, values, fields)
        writing.said.update({n: values[n] for n in ("street", "city") if n in values})
        return writing

    monkeypatch.setattr(Map, "write", boasting)
    must_break(test_what_is_said_is_what_is_sent)


def test_dates_and_instants_do_not_depend_on_the_zone_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two laws again, in Honolulu and on Kiritimati."""
    before = os.environ.get("TZ")
    try:
        for zone in ("Pacific/Honolulu", "Pacific/Kiritimati"):
            os.environ["TZ"] = zone
            time.tzset()
            test_a_date_never_slips_a_day()
            test_an_instant_stays_the_instant()
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()
