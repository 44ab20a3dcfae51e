"""Each transform does what its name says, and refuses what it cannot do exactly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pycountry
import pytest

from app.core.fields import Type, Unfit
from app.sync import transforms
from app.sync.transforms import TRANSFORMS, Context

TABLE = [
    ("lower_email", "read", "Ann.Lee+x@Example.COM", "ann.lee+x@example.com"),
    ("lower_email", "read", "ann@sales.test", "ann@sales.test"),
    ("lower_email", "read", "ann@xn--mnchen-3ya.de", "ann@münchen.de"),
    ("lower_email", "read", "ann@localhost", "not_email"),
    ("lower_email", "read", "ann", "not_email"),
    ("gmail_email", "read", "A.n.n+news@GoogleMail.com", "ann@gmail.com"),
    ("gmail_email", "read", "a.n.n+news@example.com", "a.n.n+news@example.com"),
    ("gmail_email", "read", "+x@gmail.com", "not_email"),
    ("e164", "read", "(030) 90 18 20", "+4930901820"),
    ("e164", "read", "00 1 202 555 0123", "+12025550123"),
    ("e164", "read", "123", "not_phone"),
    ("national_phone", "write", "+4930901820", "030 901820"),
    ("national_phone", "write", "+12025550123", "+1 202-555-0123"),
    ("number", "read", " 1e3 ", "1000"),
    ("number", "read", 0.1, "0.1"),
    ("number", "read", "-0.0", "0"),
    ("number", "read", True, "not_number"),
    ("number", "read", float("nan"), "not_number"),
    ("number", "read", "1e999", "not_number"),
    ("number", "read", 10**5000, "not_number"),
    ("json_number", "write", "42", 42),
    ("json_number", "write", "-0.5", -0.5),
    ("json_number", "write", "0.12345678901234567890", "not_number"),
    ("bool", "read", "Yes", True),
    ("bool", "read", 0, False),
    ("bool_text", "write", False, "false"),
    ("iso_date", "read", "2024-02-29", "2024-02-29"),
    ("iso_date", "read", "2024-02-29T00:00:00.000+14:00", "2024-02-29"),
    ("iso_date", "read", "2024-02-29 00:00:00", "2024-02-29"),
    ("iso_date", "read", 1709164800000, "not_date"),
    ("us_date", "read", "2/29/2024", "2024-02-29"),
    ("us_date", "read", "29/02/2024", "not_date"),
    ("us_date", "write", "2024-02-29", "02/29/2024"),
    ("epoch_date", "read", "1709164800000", "2024-02-29"),
    ("epoch_date", "read", -86400000, "1969-12-31"),
    ("epoch_date", "read", 0, "1970-01-01"),
    ("epoch_date", "read", 1709164800001, "has_time"),
    ("epoch_date", "read", 86_400_000 * 10**9, "not_date"),
    ("epoch_date", "write", "1969-12-31", -86400000),
    ("midnight", "write", "2024-02-29", "2024-02-29T00:00:00Z"),
    ("local_date", "read", "2024-02-29T23:30:00Z", "2024-03-01"),
    ("local_date", "read", "2024-02-29", "2024-02-29"),
    ("local_date", "read", 1709249400000, "2024-03-01"),
    ("iso_datetime", "read", "2024-07-01 12:00", "2024-07-01T10:00:00Z"),
    ("iso_datetime", "read", "2024-10-27 02:30:00", "2024-10-27T00:30:00Z"),
    ("iso_datetime", "read", "0001-01-01T00:00:00+14:00", "not_datetime"),
    ("wall_clock", "write", "2024-07-01T10:00:00Z", "2024-07-01 12:00:00"),
    ("epoch_ms", "read", -1, "1969-12-31T23:59:59Z"),
    ("epoch_ms", "write", "1970-01-01T00:00:01Z", 1000),
    ("birthday", "read", "--02-29", "02-29"),
    ("birthday", "read", "02-30", "not_date"),
    ("birthday_mmdd", "read", "2/29", "02-29"),
    ("birthday_mmdd", "write", "1980-02-29", "02/29"),
    ("country", "read", "U.S.A.", "US"),
    ("country", "read", "ÖSTERREICH", "AT"),
    ("country", "read", "Suisse", "CH"),
    ("country", "read", "deu", "DE"),
    ("country", "read", "Korea", "not_country"),
    ("country_name", "write", "KR", "South Korea"),
    ("country_alpha3", "write", "DE", "DEU"),
    ("language", "read", "PT_br", "pt-BR"),
    ("language", "read", "German", "de"),
    ("language", "read", "deu", "de"),
    ("language", "read", "zh-hant-tw", "zh-Hant-TW"),
    ("language", "read", "en-XX", "not_language"),
    ("language_lower", "write", "pt-BR", "pt-br"),
    ("language_underscore", "write", "pt-BR", "pt_BR"),
    ("split_comma", "read", "a, b,,", ["a", "b"]),
    ("join_comma", "write", ["a", "b"], "a,b"),
    ("split_semicolon", "read", 5, ["5"]),
    ("names", "read", [{"id": 1, "name": "a"}, "b"], ["a", "b"]),
    ("names", "read", [{"id": 1}], "not_list"),
    ("given_of_name", "read", "Dr. Anna Maria von Berg", "Anna Maria"),
    ("given_of_name", "read", "Berg, Ann", "Ann"),
    ("family_of_name", "read", "Dr. Anna Maria von Berg", "von Berg"),
    ("family_of_name", "read", "x" * 501, "too_long"),
    ("domain", "read", "https://www.Example.com/a?b", "example.com"),
    ("domain", "read", "ann@example.com", "example.com"),
    ("url", "read", "EXAMPLE.com/", "https://example.com"),
    ("url", "read", "http://example.com:8080/A?b=C#d", "http://example.com:8080/A?b=C#d"),
    ("url", "read", "https://user:secret@example.com", "not_url"),
    ("url", "read", "javascript:alert(1)", "not_url"),
    ("lower", "read", "ÄB", "äb"),
    ("upper", "write", "äb", "ÄB"),
    ("strip", "read", "\u200b x\ufeff", "x"),
]


@pytest.mark.parametrize(
    ("name", "direction", "value", "expected"), TABLE, ids=[f"{r[0]}-{r[1]}-{i}" for i, r in enumerate(TABLE)]
)
def test_a_transform_does_what_its_name_says(name: str, direction: str, value: Any, expected: Any) -> None:
    """Expected is the value, or the code of the refusal.  Context: Germany, Berlin."""
    step = getattr(TRANSFORMS[name], direction)
    function: Callable[[Any], Any] = step.make(Context("DE", ZoneInfo("Europe/Berlin")))
    try:
        got = function(value)
    except Unfit as error:
        got = error.code
    assert (type(expected), expected) == (type(got), got)


def test_every_transform_has_its_line_in_the_table() -> None:
    """Each direction of each transform is tried at least once; those that pass a value through need no line."""
    tried = {(name, direction) for name, direction, _, _ in TABLE}
    there = {(n, d) for n, t in TRANSFORMS.items() for d in ("read", "write") if getattr(t, d) is not None}
    twins = {  # the same function as another line's
        *(("strip", "write"), ("lower", "write"), ("upper", "read"), ("lower_email", "write"), ("json_number", "read")),
        *(("bool_text", "read"), ("midnight", "read"), ("language_lower", "read"), ("language_underscore", "read")),
        *(("domain", "write"), ("url", "write"), ("wall_clock", "read"), ("join_semicolon", "write")),
    }
    assert set() == there - tried - twins
    assert set() == twins - there


def test_a_country_can_be_read_back_from_each_of_its_names() -> None:
    """All 249 of them, by English name and by alpha-3."""
    read = TRANSFORMS["country"].read
    assert read is not None
    codes = [c.alpha_2 for c in pycountry.countries]
    assert len(codes) > 200
    for way in ("country_name", "country_alpha3"):
        step = TRANSFORMS[way].write
        assert step is not None
        assert codes == [read.make(Context())(step.make(Context())(code)) for code in codes]


def test_the_tables_catch_a_date_in_a_local_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A midnight that is moved to UTC is another day; the table of transforms notices."""
    row = ("iso_date", "read", "2024-02-29T00:00:00.000+14:00", "2024-02-29")
    assert row in TABLE
    test_a_transform_does_what_its_name_says(*row)
    moved = transforms.Step(
        transforms.Raw.ANY,
        Type.DATE,
        lambda _: lambda v: datetime.fromisoformat(v).astimezone(UTC).date().isoformat(),
    )
    monkeypatch.setitem(TRANSFORMS, "iso_date", transforms.Transform("iso_date", "", moved))
    with pytest.raises(AssertionError):
        test_a_transform_does_what_its_name_says(*row)
