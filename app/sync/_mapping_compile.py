"""From the words of a mapping file to functions: one reader and one writer per field, built once.

Notes every problem that the grammar cannot see: unknown fields and transforms, chains that do not fit, value maps that
are not one to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.fields import (
    CUSTOM_NAME,
    CUSTOM_PREFIX,
    FIELDS,
    NORMAL,
    Field,
    Type,
    Unfit,
    normal_list,
    normal_text,
)
from app.core.words import Winner
from app.sync._mapping_chains import chain, each, fits, lists, shortened, value_map
from app.sync._mapping_entries import Entry, Policy, Way
from app.sync._mapping_grammar import CustomSpec, FieldSpec, FileSpec, Parsed, ReadSpec, maybe
from app.sync._mapping_yaml import Path, Problem
from app.sync.transforms import DEFAULT_READ, TRANSFORMS, Context, Function, Raw, Shape

_ORDERED = frozenset({Type.NUMBER, Type.DATE, Type.DATETIME})


def compile_entries(parsed: Parsed, context: Context) -> tuple[list[Entry], list[Problem]]:
    """The entries of a mapping in the order of the file, and what is wrong with them."""
    problems: list[Problem] = []
    fields = canonical(parsed.spec)
    entries: list[Entry] = []
    for name, about in parsed.spec.fields.items():
        field = fields.get(name)
        if field is None:
            own = name.startswith(CUSTOM_PREFIX)
            hint = f"; declare {name.removeprefix(CUSTOM_PREFIX)!r} under custom" if own else ""
            message = f"no canonical field{maybe(name, list(fields))}{hint}"
            problems.append(parsed.source.problem(("fields", name), message, list(fields)))
            continue
        builder = _Builder(parsed, context, field, about)
        entry = builder.entry()
        problems.extend(builder.problems)
        if entry is not None:
            entries.append(entry)
    return entries, problems


def compile_readers(
    parsed: Parsed,
    context: Context,
    under: str,
    specs: Mapping[str, ReadSpec],
    custom: Mapping[str, CustomSpec],
    fields: Mapping[str, Field],
) -> tuple[list[Entry], list[Problem]]:
    """The entries of the section ``under``, whose records are only read, and what is wrong with them."""
    problems: list[Problem] = []
    own: dict[str, Field] = {}
    for name, declared in custom.items():
        if not CUSTOM_NAME.fullmatch(name):
            message = "not a name: lower-case letters, digits and _, beginning with a letter"
            problems.append(parsed.source.problem((under, "custom", name), message))
        own[CUSTOM_PREFIX + name] = Field(CUSTOM_PREFIX + name, Type(declared.type), declared.about)
    known = {**fields, **own}
    entries: list[Entry] = []
    for name, spec in specs.items():
        if name not in known:
            message = f"no canonical field of a {under}{maybe(name, list(known))}"
            problems.append(parsed.source.problem((under, "fields", name), message, list(known)))
            continue
        about = FieldSpec(
            theirs=spec.theirs, way="in", read=spec.read, values=spec.values, default=spec.default, winner="newest"
        )
        builder = _Builder(parsed, context, known[name], about, (under, "fields"))
        entry = builder.entry()
        problems.extend(builder.problems)
        if entry is not None:
            entries.append(entry)
    return entries, problems


def canonical(spec: FileSpec) -> dict[str, Field]:
    """The canonical fields that this mapping may use: the common ones and its own."""
    own = {
        CUSTOM_PREFIX + name: Field(CUSTOM_PREFIX + name, Type(c.type), c.about)
        for name, c in spec.custom.items()
        if CUSTOM_NAME.fullmatch(name)
    }
    return {**FIELDS, **own}


def place(spec: FileSpec, theirs: str) -> tuple[str, str | None]:
    """The key in a record's fields, and the key inside it where the field is a declared object."""
    for name in spec.objects:
        if theirs.startswith(f"{name}.") and len(theirs) > len(name) + 1:
            return name, theirs[len(name) + 1 :]
    return theirs, None


class _Builder:
    """Builds one entry and notes what is wrong with it."""

    def __init__(
        self, parsed: Parsed, context: Context, field: Field, about: FieldSpec, under: Path = ("fields",)
    ) -> None:
        self.problems: list[Problem] = []
        self._parsed = parsed
        self._context = context
        self._field = field
        self._about = about
        self._at: Path = (*under, field.name)
        self._many = field.type is Type.LIST
        self._item: Shape = field.form if field.form is not None else Type.TEXT if self._many else field.type
        own = about.placeholders
        listed = parsed.spec.placeholders if own is None else own
        # What `values` lists is meant, and a tag may be called anything.
        said = about.values is None and not self._many
        self._placeholders = frozenset(p.strip().casefold() for p in listed) if said else frozenset()

    def entry(self) -> Entry | None:
        """The entry, or None where it cannot be built."""
        about = self._about
        self._check()
        forth, back = self._values()
        read, write = self._reader(forth), self._writer(back)
        if self.problems or read is None or write is None:
            return None
        theirs, part = place(self._parsed.spec, about.theirs)
        policy = Policy(Way(about.way), Winner(about.winner), about.clear == "allowed")
        return Entry(
            self._field,
            theirs,
            part,
            policy,
            about.required,
            read,
            write,
            words=None if about.values is None else frozenset(about.values),
            keeps=about.default == "keep",
            converted=about.read is not None or about.write is not None,
            reads=self._reads(),
            writes=() if about.write is None else tuple(about.write),
        )

    def _problem(self, key: str | tuple[str | int, ...], message: str, valid: Sequence[str] = ()) -> None:
        path = (key,) if isinstance(key, str) else key
        self.problems.append(self._parsed.source.problem((*self._at, *path), message, valid))

    def _check(self) -> None:
        about, what = self._about, f"{self._field.name} is a {self._field.type}"
        if self._field.derived and about.way != "out":
            self._problem("way", f"{self._field.name} is made by Tandem, so it is only written", ("out",))
        if about.winner == "union" and not self._many:
            self._problem("winner", f"union is for lists; {what}")
        if about.winner == "max" and self._field.type not in _ORDERED:
            self._problem("winner", f"max is for numbers, dates and datetimes; {what}")
        if about.required and about.way == "in":
            self._problem("required", "a field of way: in is not written, so nothing can require it")
        if about.write is not None and about.way == "in":
            self._problem("write", "a field of way: in is not written")
        if about.default == "keep" and about.values is None:
            self._problem("default", "says what becomes of a word that `values` does not list; there are no values")
        if about.default == "keep" and self._field.type not in {Type.TEXT, Type.LIST}:
            self._problem("default", f"keep is for texts; {what}")
        if about.max_length is not None and self._field.type not in {Type.TEXT, Type.LIST}:
            self._problem("max_length", f"is for texts; {what}")

    # --- value maps ---------------------------------------------------------------------------------------------------

    def _values(self) -> tuple[Function | None, Function | None]:
        """Their word → ours, and back."""
        about = self._about
        if about.values is None:
            return None, None
        forth: dict[str, Any] = {}
        for theirs, ours in about.values.items():
            try:
                value = self._canonical(ours)
            except Unfit as error:
                self._problem(("values", theirs), f"{ours!r}: {error}")
                continue
            if value in forth.values():
                other = next(k for k, v in forth.items() if v == value)
                message = f"{ours!r} stands for {other!r} already; each word of ours can stand for one of theirs"
                self._problem(("values", theirs), message)
            forth[theirs] = value
        return value_map(forth, keep=about.default == "keep")

    def _canonical(self, ours: Any) -> Any:
        """One of our words in its normal form; Unfit where it is not in the form that the field has."""
        value = normal_text(ours) if self._many else NORMAL[self._field.type](ours)
        if self._field.form is not None:
            (name,) = DEFAULT_READ[self._field.form]
            step = TRANSFORMS[name].read
            formed = value if step is None else step.make(self._context)(value)
            if formed != value:
                raise Unfit("form", f"has to be in canonical form, {formed!r}")
        if value == "":
            raise Unfit("form", "is empty; leave the word out instead")
        return value

    # --- chains -------------------------------------------------------------------------------------------------------

    def _reads(self) -> tuple[str, ...]:
        """The transforms to read with: the file's, or those of the field's form."""
        about = self._about
        if about.read is not None:
            return tuple(about.read)
        return () if about.values is not None else tuple(DEFAULT_READ[self._item])

    def _reader(self, values: Function | None) -> Function | None:
        names = self._reads()
        built = self._steps(names, "read", Raw.ANY, many=self._many and not lists(names))
        if built is None:
            return None
        steps, end, many = built
        if many != self._many:
            self._problem("read", f"gives {'a list' if many else 'one value'}; {self._what()}")
            return None
        want = Type.TEXT if values is not None else self._item
        if not fits(want, end) and not (end is Raw.ANY and want is Type.TEXT):
            ends = [t.name for t in TRANSFORMS.values() if t.read is not None and fits(want, t.read.gives)]
            self._problem("read", f"ends in {end}; {self._what()} of {want}: end with one of these", ends)
            return None
        if values is not None:
            steps.append(each(values) if many else values)
        finish = normal_list if many else normal_text if self._field.type is Type.TEXT else None
        if finish is None:
            return self._guarded(chain(steps))
        read = chain([*steps, finish])

        def or_nothing(raw: Any) -> Any:
            value = read(raw)
            return None if len(value) == 0 else value

        return self._guarded(or_nothing)

    def _guarded(self, read: Function) -> Function:
        """Refuses placeholders before reading."""
        placeholders = self._placeholders
        if not placeholders:
            return read
        longest = max(map(len, placeholders))

        def reader(raw: Any) -> Any:
            if raw.__class__ is str:
                raw = raw.strip()
                if len(raw) <= longest and raw.casefold() in placeholders:
                    raise Unfit("placeholder", "a placeholder, which says nothing")
            return read(raw)

        return reader

    def _writer(self, values: Function | None) -> Function | None:
        about = self._about
        built = self._steps(
            () if about.write is None else about.write,
            "write",
            Type.TEXT if values is not None else self._item,
            many=self._many,
        )
        if built is None:
            return None
        first = [NORMAL[self._field.type]]
        if values is not None:
            first.append(each(values) if self._many else values)
        write = chain([*first, *built[0]])
        limit = about.max_length
        cut = self._field.form is None and self._field.type is Type.TEXT and values is None

        def writer(value: Any) -> Any:
            said = write(value)
            if said is None or said == "" or said == []:
                raise Unfit("empty", "nothing is left of it in the vendor's words")
            if limit is not None and said.__class__ is str and len(said) * 4 > limit:  # at most 4 bytes a character
                return shortened(said, limit, cut=cut)
            return said

        return writer

    def _steps(
        self, names: Sequence[str], key: str, start: Shape, *, many: bool
    ) -> tuple[list[Function], Shape, bool] | None:
        """The functions of a chain, what is at its end, and whether that is a list."""
        functions: list[Function] = []
        shape = start
        for index, name in enumerate(names):
            transform = TRANSFORMS.get(name)
            step = None if transform is None else transform.read if key == "read" else transform.write
            if step is None:
                offered = [n for n, t in TRANSFORMS.items() if getattr(t, key) is not None]
                self._problem((key, index), f"{name!r} is no transform to {key} with{maybe(name, offered)}", offered)
                return None
            function = step.make(self._context)
            if key == "read" and shape is Raw.ANY and step.takes is Type.TEXT:
                function = chain([normal_text, function])  # the vendor may say a number where a text is meant
            elif not (many if step.takes is Type.LIST else step.takes is Raw.ANY or fits(step.takes, shape)):
                given = shape if step.takes is not Type.LIST else f"one {shape}"
                self._problem((key, index), f"{name} takes a {step.takes}, but is given {given}")
                return None
            if Type.LIST in {step.takes, step.gives}:
                functions.append(function)
                many, shape = step.gives is Type.LIST, Type.TEXT
            else:
                functions.append(each(function) if many else function)
                shape = step.gives
        return functions, shape, many

    def _what(self) -> str:
        return f"{self._field.name} is a {self._field.type}"
