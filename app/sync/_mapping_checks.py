"""What a mapping must hold as a whole, beyond each field by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

import phonenumbers

from app.core.fields import CUSTOM_NAME, FIELDS, Form, Type, Unfit
from app.sync._mapping_compile import canonical, place
from app.sync._mapping_entries import Entry, Way
from app.sync._mapping_grammar import Parsed, maybe
from app.sync._mapping_yaml import Problem
from app.sync.transforms import Context, Shape

HOLE: Final = re.compile(r"\{([^{}]*)\}")


def context_of(
    parsed: Parsed, default_country: str | None = None, time_zone: str | None = None
) -> tuple[Context, list[Problem]]:
    """What holds for all fields; the connection's word before the file's."""
    spec, problems = parsed.spec, []
    country = spec.default_country if default_country is None else default_country
    zone_name = spec.time_zone if time_zone is None else time_zone
    if country is not None and country not in phonenumbers.SUPPORTED_REGIONS:
        known = sorted(phonenumbers.SUPPORTED_REGIONS)
        message = f"{country!r} is no country with phone numbers{maybe(country.upper(), known)}"
        problems.append(parsed.source.problem(("default_country",), message, ("an ISO 3166-1 alpha-2 code, like DE",)))
        country = None
    zone = None
    if zone_name is not None:
        try:
            zone = ZoneInfo(zone_name)
        except (ValueError, OSError, LookupError):
            message = f"{zone_name!r} is no time zone"
            problems.append(parsed.source.problem(("time_zone",), message, ("an IANA name, like Europe/Berlin",)))
    return Context(country, zone), problems


def whole(parsed: Parsed, entries: Sequence[Entry]) -> Iterator[Problem]:
    """What is wrong with the mapping as a whole."""
    spec, problem = parsed.spec, parsed.source.problem
    by_name = {e.name: e for e in entries}
    for name in spec.custom:
        if not CUSTOM_NAME.fullmatch(name):
            yield problem(("custom", name), "not a name: lower-case letters, digits and _, beginning with a letter")
        elif name in FIELDS:
            yield problem(("custom", name), f"there is a canonical field {name!r} already; use that")
    for index, key in enumerate(spec.keys):
        entry = by_name.get(key)
        if key not in spec.fields:
            yield problem(("keys", index), f"{key!r} is not under `fields`", list(spec.fields))
        elif entry is not None and (entry.policy.way is Way.OUT or entry.field.type is not Type.TEXT):
            yield problem(("keys", index), f"{key!r} has to be a text that is read (way: in or both)")
    yield from _targets(parsed, entries)
    yield from _objects(parsed, entries)
    yield from _compose(parsed)


def _targets(parsed: Parsed, entries: Sequence[Entry]) -> Iterator[Problem]:
    """No vendor field is written from two sides."""
    owner: dict[tuple[str, str | None], str] = {(name, None): f"compose.{name}" for name in parsed.spec.compose}
    for entry in entries:
        if entry.policy.way is Way.IN:
            continue
        target = (entry.theirs, entry.part)
        if target in owner:
            message = f"{owner[target]} writes it already; give one of the two way: in"
            yield parsed.source.problem(("fields", entry.name, "theirs"), message)
        owner.setdefault(target, entry.name)


def _objects(parsed: Parsed, entries: Sequence[Entry]) -> Iterator[Problem]:
    spec, problem = parsed.spec, parsed.source.problem
    for name, about in spec.objects.items():
        parts = [e for e in entries if e.theirs == name and e.part is not None]
        written = [e for e in parts if e.policy.way is not Way.IN]
        mapped = {e.part for e in parts}
        if not any(place(spec, f.theirs)[0] == name and place(spec, f.theirs)[1] for f in spec.fields.values()):
            yield problem(("objects", name), f"no field has theirs: {name}.<part>")
        for index, part in enumerate(about.required):
            if written and part not in mapped:
                at = ("objects", name, "required", index)
                yield problem(at, f"no field has theirs: {name}.{part}, so it could never be written")
        for entry in parts if written else []:
            if entry.policy.way is Way.IN:
                message = f"the parts of {name} are written together, so each needs way: both or out"
                yield problem(("fields", entry.name, "way"), message)
            elif not entry.policy.clearable:
                message = f"the parts of {name} are written together, so an empty one goes along: clear: allowed"
                yield problem(("fields", entry.name, "clear"), message)
            if entry.part is not None and "." in entry.part:
                yield problem(
                    ("fields", entry.name, "theirs"), f"{entry.part!r} is no part of an object: one level only"
                )
    for entry in entries:
        if entry.part is None and entry.theirs in spec.objects:
            message = "an object is mapped part by part"
            yield problem(("fields", entry.name, "theirs"), message, (f"{entry.theirs}.<part>",))


def _compose(parsed: Parsed) -> Iterator[Problem]:
    spec, problem = parsed.spec, parsed.source.problem
    texts = [name for name, field in canonical(spec).items() if field.type in {Type.TEXT, Type.NUMBER, Type.DATE}]
    for theirs, template in spec.compose.items():
        holes = HOLE.findall(template)
        if not holes or "{" in HOLE.sub("", template) or "}" in HOLE.sub("", template):
            yield problem(("compose", theirs), "has to be a text with {canonical} fields, like '{given_name} {city}'")
        for hole in holes:
            if hole not in texts:
                yield problem(("compose", theirs), f"{hole!r} is no canonical text{maybe(hole, texts)}", texts)
        if theirs in spec.objects:
            yield problem(("compose", theirs), "is an object, which is written part by part")


# --- does it come back? -----------------------------------------------------------------------------------------------

# Values of each form and type, to try a field with when the mapping is loaded.
_SAMPLES: Final[Mapping[Shape, tuple[Any, ...]]] = {
    Form.EMAIL: ("ann@example.com",),
    Form.PHONE: ("+4930901820", "+12025550123"),
    Form.COUNTRY: ("DE", "US"),
    Form.LANGUAGE: ("de", "pt-BR"),
    Form.URL: ("https://example.com/about",),
    Form.BIRTHDAY: ("1980-02-29", "12-31"),
    Type.TEXT: ("Ann", "example.com"),
    Type.NUMBER: ("42.5", "0"),
    Type.BOOL: (True, False),
    Type.DATE: ("1980-02-29", "2026-12-31"),
    Type.DATETIME: ("2026-12-31T23:59:59Z",),
    Type.LIST: ("a", "b"),
}


def probe(parsed: Parsed, entries: Sequence[Entry]) -> Iterator[Problem]:
    """What is written has to be readable, and has to stay what it is when it goes round again."""
    for entry in entries:
        about, field = parsed.spec.fields[entry.name], entry.field
        if entry.policy.way is Way.IN:
            continue
        values: Sequence[Any] = _SAMPLES[field.form if field.form is not None else field.type]
        if about.values is not None:
            values = tuple(about.values.values())
        at = ("fields", entry.name, "write" if about.write is not None else "read")
        for value in values:
            wrong = _round(entry, [value] if field.type is Type.LIST else value)
            if wrong is not None:
                yield parsed.source.problem(at, wrong)
                break


def _round(entry: Entry, value: Any) -> str | None:
    try:
        said = entry.write(value)
    except Unfit:
        return None  # this vendor cannot say it; that is no mistake
    try:
        back = entry.read(said)
        again = None if back is None else entry.read(entry.write(back))
    except Unfit as error:
        return f"writes {value!r} as {said!r} and cannot read that back ({error}); `read` and `write` do not match"
    if back is None or again != back:
        return f"{value!r} does not stay what it is: written {said!r}, read {back!r}, after another round {again!r}"
    return None
