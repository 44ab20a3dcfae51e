"""Does a mapping fit the fields that an account has?  In: a mapping, a schema.  Out: problems.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from app.core.fields import Form, Type
from app.sync._mapping_consent import PREFIX
from app.sync._mapping_entries import Entry, Way
from app.sync._mapping_grammar import maybe
from app.sync._mapping_yaml import Problem
from connectors.contract import Property, Schema

if TYPE_CHECKING:
    from app.sync.mapping import Map

# Vendors' words for types that hold one kind of value only, and the canonical types that cannot live there.  A word
# that is not listed passes: a vendor's free text holds anything.  HubSpot: "Properties" guide, `type`; Mailchimp:
# "Merge fields", `type`; Salesforce: describe, `type`; JSON Schema words.
_NOT: Final[Mapping[str, frozenset[Type]]] = {
    **dict.fromkeys(
        ("number", "integer", "int", "double", "currency", "percent"),
        frozenset({Type.TEXT, Type.BOOL, Type.DATE, Type.DATETIME, Type.LIST}),
    ),
    **dict.fromkeys(("bool", "boolean"), frozenset({Type.TEXT, Type.NUMBER, Type.DATE, Type.DATETIME, Type.LIST})),
    "date": frozenset({Type.TEXT, Type.NUMBER, Type.BOOL, Type.LIST}),
    **dict.fromkeys(("datetime", "date-time"), frozenset({Type.TEXT, Type.NUMBER, Type.BOOL, Type.LIST})),
    "birthday": frozenset({Type.NUMBER, Type.BOOL, Type.DATETIME, Type.LIST}),
    "email": frozenset({Type.NUMBER, Type.BOOL, Type.DATE, Type.DATETIME}),
    **dict.fromkeys(
        ("phone", "phone_number", "url", "imageurl", "zip"),
        frozenset({Type.NUMBER, Type.BOOL, Type.DATE, Type.DATETIME, Type.LIST}),
    ),
}
_OBJECTS: Final = frozenset({"address", "object"})


def check_against(map: Map, schema: Schema) -> list[Problem]:  # noqa: A002
    """What will not work between this mapping and this account: errors first, then warnings."""
    found = [p for entry in map.entries.values() for p in _entry(map, entry, schema)]
    for theirs in map.composed:
        found.extend(_target(map, f"compose.{theirs}", theirs, schema, written=True))
    for rule in map.consents:
        for theirs in rule.fields:
            found.extend(_consent(map, f"consent.{rule.name.removeprefix(PREFIX)}", theirs, schema))
    written = {e.theirs for e in map.entries.values() if e.policy.way is not Way.IN} | set(map.composed)
    for name, property_ in schema.properties.items():
        if property_.required and not property_.read_only and name not in written:
            found.append(_problem(map, name, "the account requires it, and nothing writes it"))
    return sorted(found, key=lambda p: p.level != "error")


def _consent(map_: Map, path: str, theirs: str, schema: Schema) -> Iterator[Problem]:
    """A topic that the account does not have; read-only is fine, since consent is written by calls of its own."""
    if theirs in schema.properties:
        return
    family = theirs.rpartition(".")[0]
    valid = [f"{n} ({p.label})" for n, p in schema.properties.items() if family and n.rpartition(".")[0] == family]
    yield _problem(map_, path, f"the account has no field {theirs!r}", tuple(valid))


def _entry(map_: Map, entry: Entry, schema: Schema) -> Iterator[Problem]:
    path = f"fields.{entry.name}"
    written = entry.policy.way is not Way.IN
    yield from _target(map_, path, entry.theirs, schema, written=written)
    property_ = schema.properties.get(entry.theirs)
    if property_ is None:
        return
    word = property_.type.lower()
    if entry.part is None and word in _OBJECTS:
        message = f"{entry.theirs} is an object at the account: declare it under `objects`, map {entry.theirs}.<part>"
        yield _problem(map_, path, message)
    elif entry.part is not None and word not in _OBJECTS:
        yield _problem(map_, path, f"{entry.theirs} has no parts at the account: it is of type {property_.type}")
    elif entry.part is None and _unlike(entry, word):
        what = entry.field.form if entry.field.form is not None else entry.field.type
        yield _problem(map_, path, f"{what} does not go into {entry.theirs}, of type {property_.type}")
    yield from _options(map_, path, entry, property_, written=written)


def _unlike(entry: Entry, word: str) -> bool:
    if entry.words is not None or entry.converted:
        return False  # a value map or a transform says how it is written there
    if entry.field.form is Form.BIRTHDAY and word == "date":
        return False
    return entry.field.type in _NOT.get(word, frozenset())


def _options(map_: Map, path: str, entry: Entry, property_: Property, *, written: bool) -> Iterator[Problem]:
    if entry.words is None or property_.options is None:
        return
    options = set(property_.options)
    for word in sorted(entry.words - options):
        message = f"{word!r} under `values` is no option of {entry.theirs}{maybe(word, property_.options)}"
        yield _problem(map_, path, message, property_.options, level="error" if written else "warning")
    left = sorted(options - entry.words)
    if left and not entry.keeps:
        message = f"`values` does not list {', '.join(map(repr, left))}: such a record loses this field"
        yield _problem(map_, path, message, level="warning")


def _target(map_: Map, path: str, theirs: str, schema: Schema, *, written: bool) -> Iterator[Problem]:
    property_ = schema.properties.get(theirs)
    if property_ is None:
        message = f"the account has no field {theirs!r}{maybe(theirs, list(schema.properties))}"
        yield _problem(map_, path, f"{message}; create it there or take it out of the mapping")
    elif property_.read_only and written:
        yield _problem(map_, path, f"{theirs} is read-only at the account", ("way: in",))


def _problem(map_: Map, path: str, message: str, valid: tuple[str, ...] = (), *, level: str = "error") -> Problem:
    return Problem(map_.file, map_.lines.get(path), path, message, valid, level)
