"""Translate between one vendor's words and the canonical ones, both ways, as a mapping file says.

In: a record's fields, or canonical values.  Out: a claim, or fields for an order; with warnings for what could not be
said.  A claim is a plain mapping: absent = not said, None = there is none.  Pure: no database, no clock; ``load`` reads
one file.  The grammar is in docs/mapping.md.

Laws, tested: ``read(write(read(x))) == read(x)`` for what the vendor can hold, and ``project(project(x)) ==
project(x)``.  What cannot be translated is left out with a warning and never takes the record with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from app.core.fields import NORMAL, Unfit
from app.core.words import MISSING, Shadow, Value, Winner
from app.sync._mapping_against import check_against
from app.sync._mapping_checks import HOLE, context_of, probe, whole
from app.sync._mapping_compile import canonical, compile_entries
from app.sync._mapping_consent import Claimed, rule
from app.sync._mapping_consent import Rule as ConsentRule
from app.sync._mapping_entries import Entry, Policy, Way
from app.sync._mapping_examples import broken
from app.sync._mapping_grammar import FileSpec, Parsed, json_schema, read_file, write_schema
from app.sync._mapping_objects import ObjectMap, Objects, compile_objects
from app.sync._mapping_yaml import MappingError, Problem, Source
from connectors.contract import Fields

__all__ = [
    "Map",
    "MappingError",
    "ObjectMap",
    "Policy",
    "Problem",
    "Reading",
    "Warn",
    "Way",
    "Writing",
    "check_against",
    "differences",
    "json_schema",
    "load",
    "loads",
    "write_schema",
]

_BETWEEN = " ,;/-"


@dataclass(frozen=True, slots=True)
class Warn:
    """Something that could not be translated and was left out.  Never contains the value."""

    field: str  # canonical
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A record in canonical words."""

    claim: dict[str, Value] = field(repr=False)
    warnings: tuple[Warn, ...] = ()


@dataclass(frozen=True, slots=True)
class Writing:
    """Canonical values in the vendor's words.

    ``said``: the canonical fields that ``fields`` really says, each as it would be read back (what a shadow has to hold
    once the write has landed).
    """

    fields: dict[str, Any] = field(repr=False)
    said: dict[str, Value] = field(repr=False)
    warnings: tuple[Warn, ...] = ()


@dataclass(frozen=True, slots=True)
class _Composed:
    """A vendor field made of several of ours."""

    theirs: str
    template: str
    sources: tuple[str, ...]

    def text(self, values: Mapping[str, Value]) -> str:
        """The text; what is missing leaves no gap.  ``""`` where all is missing."""
        known = {n: v for n in self.sources if (v := values.get(n)) is not None}
        if not known:
            return ""
        said = HOLE.split(self.template)  # the template's own texts, with names between them
        for at in range(1, len(said), 2):
            said[at] = str(known.get(said[at], ""))
        filled = [at for at in range(1, len(said), 2) if said[at]]
        if not filled:
            return ""
        # What stands between two values is no use beside one that is missing; what belongs to a value stays.
        before = "".join(said[: filled[0]]).lstrip(_BETWEEN)
        after = "".join(said[filled[-1] + 1 :]).rstrip(_BETWEEN)
        return " ".join("".join([before, *said[filled[0] : filled[-1] + 1], after]).split())


class Map:
    """A compiled mapping.  Immutable; safe to share between threads."""

    def __init__(
        self,
        spec: FileSpec,
        entries: Iterable[Entry],
        source: Source,
        objects: Objects = Objects(),  # noqa: B008
    ) -> None:
        self.connector = spec.connector
        self.objects = objects  # companies, deals, engagement
        self.file = source.file
        self.digest = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:16]  # another one: other rules
        self.lines: Mapping[str, int] = MappingProxyType(source.lines())  # dotted path → line of the file
        self.keys: tuple[str, ...] = tuple(spec.keys)
        self.consents: tuple[ConsentRule, ...] = tuple(rule(name, about) for name, about in spec.consent.items())
        self._entries = {e.name: e for e in entries}
        mine = self._entries.values()
        readable = [(e.name, e.theirs, e.part, e.read, e.policy.way) for e in mine]
        self._readers_all = tuple(row[:4] for row in readable)
        self._readers = tuple(row[:4] for row in readable if row[4] is not Way.OUT)
        self._writers = {e.name: e for e in mine if e.policy.way is not Way.IN}
        self._composed = tuple(
            _Composed(theirs, template, tuple(dict.fromkeys(HOLE.findall(template))))
            for theirs, template in spec.compose.items()
        )
        sources = {name for c in self._composed for name in c.sources}
        self._indirect = {  # written as a part of a text only
            name: field for name, field in canonical(spec).items() if name in sources and name not in self._writers
        }
        self._parts: dict[str, tuple[Entry, ...]] = {
            name: tuple(e for e in self._writers.values() if e.theirs == name and e.part is not None)
            for name in spec.objects
        }
        self._needs = {name: frozenset(about.required) for name, about in spec.objects.items()}
        self.in_fields: frozenset[str] = frozenset(e.name for e in mine if e.policy.way is not Way.OUT)
        self.out_fields: frozenset[str] = frozenset(self._writers) | frozenset(self._indirect)
        self.required: tuple[str, ...] = tuple(e.name for e in mine if e.required)
        self._order = tuple(n for n in canonical(spec) if n in self.out_fields)
        indirect = Policy(Way.OUT, Winner.NEWEST, clearable=False)
        self.asks = any(e.policy.winner is Winner.ASK for e in mine)  # whether a person has to decide double edits
        self._policies = {**dict.fromkeys(self._indirect, indirect), **{e.name: e.policy for e in mine}}

    def __repr__(self) -> str:
        return f"<mapping {self.file or self.connector}: {len(self._entries)} fields>"

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The compiled fields by canonical name, in the order of the file."""
        return MappingProxyType(self._entries)

    @property
    def composed(self) -> Mapping[str, tuple[str, ...]]:
        """Vendor fields that are made of several of ours, and of which."""
        return {c.theirs: c.sources for c in self._composed}

    def policy(self, name: str) -> Policy:
        """How a field travels.  Raises KeyError for a field that is not mapped."""
        return self._policies[name]

    def without(self, theirs: Collection[str]) -> Map:
        """The same mapping without these vendor fields: neither read nor written.  Keys and consent stay."""
        left = frozenset(theirs)
        if not left:
            return self
        lost = {name for name, entry in self._entries.items() if entry.theirs in left}
        writers = {name: entry for name, entry in self._writers.items() if name not in lost}
        composed = tuple(c for c in self._composed if c.theirs not in left)
        sources = {name for c in composed for name in c.sources}
        indirect = {name: field for name, field in self._indirect.items() if name in sources}
        out = frozenset(writers) | frozenset(indirect)
        made = copy(self)
        vars(made).update(
            _readers_all=tuple(row for row in self._readers_all if row[0] not in lost),
            _readers=tuple(row for row in self._readers if row[0] not in lost),
            _writers=writers,
            _composed=composed,
            _indirect=indirect,
            _parts={name: parts for name, parts in self._parts.items() if name not in left},
            _order=tuple(name for name in self._order if name in out),
            in_fields=self.in_fields - lost,
            out_fields=out,
        )
        return made

    def theirs(self, names: Collection[str] | None = None) -> tuple[str, ...]:
        """The vendor's fields to ask for when these canonical fields (None: all mapped ones) are to be read."""
        found = [e.theirs for n, e in self._entries.items() if names is None or n in names]
        if names is None:
            found += [f for r in self.consents for f in r.fields]
        return tuple(dict.fromkeys(found))

    def read_consent(self, fields: Fields) -> list[Claimed]:
        """What a record says about consent; a blank and an unknown word say nothing."""
        return [claimed for r in self.consents if (claimed := r.claim(fields)) is not None]

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, fields: Fields, all: bool = False) -> Reading:  # noqa: A002
        """A record's fields as a claim.  ``all``: fields of way: out too, to compare what the vendor holds.

        A field that the record does not have stays absent; None, ``""`` and white space are None.
        """
        claim: dict[str, Value] = {}
        warnings: list[Warn] = []
        for name, theirs, part, read in self._readers_all if all else self._readers:
            raw = fields.get(theirs, MISSING)
            if raw is MISSING:
                continue
            if part is not None and raw is not None and raw != "":
                if not isinstance(raw, Mapping):
                    warnings.append(Warn(name, "not_object", "a plain value where an object is expected"))
                    continue
                raw = raw.get(part, MISSING) if len(raw) > 0 else None
                if raw is MISSING:
                    continue
            if raw is None or (raw.__class__ is str and (raw == "" or raw.isspace())):
                claim[name] = None
                continue
            try:
                claim[name] = read(raw)
            except Unfit as error:
                warnings.append(Warn(name, error.code, str(error)))
        return Reading(claim, tuple(warnings))

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, values: Mapping[str, Value], fields: Collection[str] | None = None) -> Writing:
        """These canonical fields (None: all that are written) of ``values`` in the vendor's words.

        ``values`` should be the whole contact: parts of an object and composed texts need their siblings.  Left out:
        what ``values`` does not have, None where clearing is not allowed, and, with a warning, what cannot be said.
        """
        out: dict[str, Any] = {}
        said: dict[str, Value] = {}
        warnings: list[Warn] = []
        objects: dict[str, None] = {}
        names = self._order if fields is None else fields
        for name in names:
            entry = self._writers.get(name)
            value = values.get(name, MISSING)
            if entry is None or value is MISSING:
                continue
            if entry.part is not None:
                objects[entry.theirs] = None
            elif value is None:
                if entry.policy.clearable:
                    out[entry.theirs] = said[name] = None
            else:
                try:
                    out[entry.theirs], said[name] = entry.say(value)
                except Unfit as error:
                    warnings.append(Warn(name, error.code, str(error)))
                    continue
                if said[name] != value and entry.normal(value) != said[name]:
                    warnings.append(Warn(name, "lossy", "the vendor keeps less of it than we do"))
        for theirs in objects:
            made, parts = self._object(theirs, values, warnings)
            if made is not MISSING:
                out[theirs] = made
                said.update(parts)
        if self._composed:
            self._compose(values, names, out, said)
        return Writing(out, said, tuple(warnings))

    def _object(self, theirs: str, values: Mapping[str, Value], warnings: list[Warn]) -> tuple[Any, dict[str, Value]]:
        """A vendor's object from all its parts, MISSING where it cannot be said; and what each part says."""
        made: dict[str, Any] = {}
        said: dict[str, Value] = {}
        for entry in self._parts[theirs]:
            value = values.get(entry.name, MISSING)
            if value is MISSING:
                continue
            if value is None:
                said[entry.name] = None
                continue
            try:
                made[str(entry.part)], said[entry.name] = entry.say(value)
            except Unfit as error:  # to leave out one part would empty it at the vendor
                warnings.append(Warn(entry.name, error.code, f"{error}; so {theirs} is left out as a whole"))
                return MISSING, {}
        if not made:
            return (None, said) if said else (MISSING, {})
        lacking = self._needs[theirs] - made.keys()
        if lacking:
            some = next(iter(said))
            missing = ", ".join(sorted(lacking))
            warnings.append(Warn(some, "incomplete", f"{theirs} needs {missing} too, so it is left out"))
            return MISSING, {}
        return made, said

    def _compose(
        self, values: Mapping[str, Value], names: Collection[str], out: dict[str, Any], said: dict[str, Value]
    ) -> None:
        for composed in self._composed:
            touched = [n for n in composed.sources if n in names and n in values]
            if touched and (text := composed.text(values)):
                out[composed.theirs] = text
                for name in composed.sources:
                    if name in self._indirect and (value := self._projected(name, values)) is not MISSING:
                        said[name] = value

    def _projected(self, name: str, values: Mapping[str, Value]) -> Any:
        return self.project(name, values[name]) if name in values else MISSING

    # --- comparing ----------------------------------------------------------------------------------------------------

    def project(self, name: str, value: Value) -> Any:
        """What this vendor would say back of our value; MISSING where it cannot hold it.  None stays None.

        A field that is only read, or written only as a part of a text, is compared as it is.
        """
        if value is None:
            return None
        entry = self._writers.get(name)
        try:
            if entry is not None:
                return entry.say(value)[1]
            if name in self._entries:
                return self._entries[name].normal(value)
            if name in self._indirect:
                return NORMAL[self._indirect[name].type](value)
        except Unfit:
            return MISSING
        return MISSING

    def _unsaid(self, name: str, values: Mapping[str, Value]) -> bool:
        """Whether a field is written only as a part of texts of which nothing is left: an empty text is not written."""
        return name in self._indirect and not any(c.text(values) for c in self._composed if name in c.sources)

    def differs(self, values: Mapping[str, Value], shadow: Shadow) -> dict[str, Value]:
        """See ``differences``."""
        found: dict[str, Value] = {}
        objects: set[str] = set()
        for name in self._order:
            value = values.get(name, MISSING)
            before = shadow.get(name, MISSING)
            if value is MISSING or (before is not MISSING and value == before):
                continue
            if value is None:
                if before is MISSING or not self._policies[name].clearable or self._unsaid(name, values):
                    continue  # an emptied field that does not travel, or one of which the vendor never spoke
            else:
                value = self.project(name, value)
                if value is MISSING or (before is not MISSING and value == before):
                    continue
            found[name] = value
            entry = self._writers.get(name)
            if entry is not None and entry.part is not None:
                objects.add(entry.theirs)
        for theirs in objects:
            if self._object(theirs, values, [])[0] is MISSING:
                for entry in self._parts[theirs]:
                    found.pop(entry.name, None)
        return found


def differences(map: Map, values: Mapping[str, Value], shadow: Shadow) -> dict[str, Value]:  # noqa: A002
    """What has to be written so that the vendor says what we say: canonical name → what it will say back.

    Only what can be written: way out or both, sayable there, and, if empty, allowed to be cleared.  A value of which
    the vendor keeps less (shorter, without a year) differs only if what it keeps would differ, so that it cannot loop.
    """
    return map.differs(values, shadow)


# --- loading ----------------------------------------------------------------------------------------------------------


def load(path: Path, *, default_country: str | None = None, time_zone: str | None = None) -> Map:
    """The mapping of a file.  ``default_country``, ``time_zone``: the connection's own, before the file's.

    Raises MappingError with every problem: file, line, dotted path, what is wrong, what would be valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MappingError([Problem(str(path), None, "", "not found")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError([Problem(str(path), None, "", f"cannot be read: {type(error).__name__}")]) from None
    return loads(text, str(path), default_country=default_country, time_zone=time_zone)


def loads(text: str, file: str = "<text>", *, default_country: str | None = None, time_zone: str | None = None) -> Map:
    """The mapping of a YAML text; ``file`` is what problems call it.  Raises MappingError."""
    parsed = read_file(text, file)
    map_ = _build(parsed, None, None)
    # Examples are the file's, so they run by the file's country; the connection's may be another.
    wrong = list(broken(parsed, map_))
    if wrong:
        raise MappingError(wrong)
    return map_ if default_country is None and time_zone is None else _build(parsed, default_country, time_zone)


def _build(parsed: Parsed, default_country: str | None, time_zone: str | None) -> Map:
    context, problems = context_of(parsed, default_country, time_zone)
    entries, found = compile_entries(parsed, context)
    objects, unclear = compile_objects(parsed, context)
    problems = [*problems, *found, *unclear, *whole(parsed, entries)]
    if not problems:
        problems = list(probe(parsed, entries))
    if problems:
        raise MappingError(problems)
    return Map(parsed.spec, entries, parsed.source, objects)
