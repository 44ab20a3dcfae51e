"""What a mapping file is refused for, and the reference page, which cannot lie."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.core.fields import FIELDS
from app.core.words import Winner
from app.sync import _mapping_grammar as grammar
from app.sync.mapping import MappingError, Way, load, loads
from app.sync.transforms import TRANSFORMS

DOCS = Path(__file__).parents[1] / "docs" / "mapping.md"

HEAD = """version: 1
connector: acme
"""


def field(line: str, extra: str = "") -> str:
    """A mapping with one more field."""
    return f"{HEAD}fields:\n  email: {{theirs: mail}}\n  {line}\n{extra}"


REFUSED = {
    "unknown key": (f"{HEAD}fieldz: {{}}\nfields: {{email: {{theirs: m}}}}", 3, "fieldz", "did you mean 'fields'"),
    "unknown key of a field": (field("city: {theirs: c, winer: crm}"), 5, "fields.city.winer", "'winner'"),
    "unknown winner": (field("city: {theirs: c, winner: crn}"), 5, "fields.city.winner", "did you mean 'crm'"),
    "unknown way": (field("city: {theirs: c, way: up}"), 5, "fields.city.way", "valid: in, out, both"),
    "another version": ("version: 2\nconnector: a\nfields: {email: {theirs: m}}", 1, "version", "valid: 1"),
    "no version": ("connector: a\nfields: {email: {theirs: m}}", 1, "version", "is missing"),
    "no theirs": (field("city: {way: in}"), 5, "fields.city.theirs", "is missing"),
    "not a list": (field("city: {theirs: c, read: lower}"), 5, "fields.city.read", "has to be a list"),
    "not a truth value": (field("city: {theirs: c, required: 'yes'}"), 5, "fields.city.required", "true or false"),
    "unknown field": (field("citi: {theirs: c}"), 5, "fields.citi", "did you mean 'city'"),
    "undeclared custom field": (field("custom.x: {theirs: c}"), 5, "fields.custom.x", "declare 'x' under custom"),
    "bad custom name": (field("city: {theirs: c}", "custom: {Bad-Name: {type: text}}"), 6, "custom.Bad-Name", "name"),
    "custom name taken": (field("city: {theirs: c}", "custom: {city: {type: text}}"), 6, "custom.city", "already"),
    "unknown transform": (field("city: {theirs: c, read: [lowr]}"), 5, "fields.city.read.0", "did you mean 'lower'"),
    "read-only transform": (
        field("city: {theirs: c, write: [e164]}"),
        5,
        "fields.city.write.0",
        "no transform to write",
    ),
    "chain that ends elsewhere": (field("phone: {theirs: c, read: [lower]}"), 5, "fields.phone.read", "valid: e164"),
    "chain that does not fit": (
        field("city: {theirs: c, write: [bool_text]}"),
        5,
        "fields.city.write.0",
        "takes a bool",
    ),
    "one value for a list": (
        field("tags: {theirs: c, write: [join_comma, join_comma]}"),
        5,
        "fields.tags.write.1",
        "one",
    ),
    "list for one value": (field("city: {theirs: c, read: [split_comma]}"), 5, "fields.city.read", "gives a list"),
    "no way back": (field("created_on: {theirs: c, write: [us_date]}"), 5, "fields.created_on.write", "read that back"),
    "values not one to one": (
        field("city: {theirs: c, values: {a: x, b: x}}"),
        5,
        "fields.city.values.b",
        "stands for 'a' already",
    ),
    "values not canonical": (
        field("country: {theirs: c, values: {a: Deutschland}}"),
        5,
        "fields.country.values.a",
        "'DE'",
    ),
    "values of another type": (
        field("lead_score: {theirs: c, values: {a: x}}"),
        5,
        "fields.lead_score.values.a",
        "'x'",
    ),
    "keep without values": (field("city: {theirs: c, default: keep}"), 5, "fields.city.default", "no values"),
    "union of one value": (field("city: {theirs: c, winner: union}"), 5, "fields.city.winner", "for lists"),
    "max of texts": (field("city: {theirs: c, winner: max}"), 5, "fields.city.winner", "for numbers"),
    "written, but only read": (
        field("city: {theirs: c, way: in, write: [lower]}"),
        5,
        "fields.city.write",
        "not written",
    ),
    "required, but only read": (
        field("city: {theirs: c, way: in, required: true}"),
        5,
        "fields.city.required",
        "require",
    ),
    "one target, two sources": (field("city: {theirs: mail}"), 5, "fields.city.theirs", "email writes it already"),
    "key that is not mapped": (
        f"{HEAD}keys: [phone]\nfields: {{email: {{theirs: m}}}}",
        3,
        "keys.0",
        "not under `fields`",
    ),
    "key that is not read": (f"{HEAD}fields: {{email: {{theirs: m, way: out}}}}", 1, "keys.0", "is read"),
    "object without parts": (field("city: {theirs: c}", "objects: {adr: {}}"), 6, "objects.adr", "adr.<part>"),
    "object as a whole": (
        field("city: {theirs: adr}\n  street: {theirs: adr.s, clear: allowed}", "objects: {adr: {}}"),
        5,
        "fields.city.theirs",
        "part by part",
    ),
    "part that cannot be cleared": (
        field("city: {theirs: adr.c}", "objects: {adr: {}}"),
        5,
        "fields.city.clear",
        "clear: allowed",
    ),
    "part that is only read": (
        field("city: {theirs: adr.c, way: in}\n  street: {theirs: adr.s, clear: allowed}", "objects: {adr: {}}"),
        5,
        "fields.city.way",
        "written together",
    ),
    "required part without a field": (
        field("city: {theirs: adr.c, clear: allowed}", "objects: {adr: {required: [zip]}}"),
        6,
        "objects.adr.required.0",
        "never be written",
    ),
    "compose without fields": (field("city: {theirs: c}", "compose: {n: hello}"), 6, "compose.n", "{canonical}"),
    "compose of an unknown field": (field("city: {theirs: c}", "compose: {n: '{cty}'}"), 6, "compose.n", "'city'"),
    "compose over a field": (
        field("city: {theirs: c}", "compose: {c: '{city}'}"),
        5,
        "fields.city.theirs",
        "compose.c",
    ),
    "no country": (
        f"{HEAD}default_country: Germany\nfields: {{email: {{theirs: m}}}}",
        3,
        "default_country",
        "like DE",
    ),
    "no time zone": (f"{HEAD}time_zone: Berlin\nfields: {{email: {{theirs: m}}}}", 3, "time_zone", "Europe/Berlin"),
    "example that reads otherwise": (
        field("city: {theirs: c}", "examples:\n  - {theirs: {c: Bonn}, ours: {city: Köln}, only: read}"),
        7,
        "examples.0.theirs",
        "'Bonn' instead of 'Köln'",
    ),
    "example that writes otherwise": (
        field("city: {theirs: c}", "examples:\n  - {theirs: {c: Bonn}, ours: {city: Köln}, only: write}"),
        7,
        "examples.0.ours",
        "'Köln' instead of 'Bonn'",
    ),
    "example with an unmapped field": (
        field("city: {theirs: c}", "examples:\n  - {theirs: {c: Bonn}, ours: {region: x}}"),
        7,
        "examples.0.ours.region",
        "not under `fields`",
    ),
    "a key twice": (
        f"{HEAD}fields:\n  email: {{theirs: a}}\n  email: {{theirs: b}}",
        5,
        "fields.email",
        "first on line 4",
    ),
    "an alias": (f"{HEAD}fields:\n  email: &x {{theirs: a}}\n  phone: *x", 4, "", "anchors and aliases"),
    "a merge": (f"{HEAD}fields: {{email: {{theirs: a, <<: {{way: in}}}}}}", 3, "fields.email.<<", "unknown key"),
    "a tag": (f"{HEAD}fields: !!python/object:os.system {{email: {{theirs: a}}}}", 3, "", "tags are not read"),
    "two documents": (f"{HEAD}fields: {{email: {{theirs: a}}}}\n---\nversion: 1", 4, "", "second document"),
    "nested too deep": (f"{HEAD}fields: {'[' * 40}{']' * 40}", 3, "", "nested more than"),
    "too large": (f"{HEAD}# {'x' * 300_000}", None, "", "has at most"),
    "broken YAML": (f"{HEAD}fields: {{email: [}}", 3, "", "not valid YAML"),
    "not a mapping": ("- a", 1, "", "keys and values"),
    "empty": ("", 1, "", "keys and values"),
}


@pytest.mark.parametrize(("text", "line", "path", "hint"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_refused_with_its_place_and_what_would_be_valid(
    text: str, line: int | None, path: str, hint: str
) -> None:
    """File, line, dotted path and a hint."""
    with pytest.raises(MappingError) as caught:
        loads(text, "acme.yaml")
    problem = caught.value.problems[0]
    assert ("acme.yaml", line, path) == (problem.file, problem.line, problem.path), str(problem)
    assert hint in str(problem)


def test_all_mistakes_are_told_at_once() -> None:
    """A person mends a file in one go."""
    text = f"{HEAD}x: 1\nfields:\n  email: {{theirs: m, way: up}}\n  city: {{theirs: c, y: 1}}"
    with pytest.raises(MappingError) as caught:
        loads(text)
    assert [p.path for p in caught.value.problems] == ["x", "fields.email.way", "fields.city.y"]
    text = (
        f"{HEAD}fields:\n  email: {{theirs: m, read: [x]}}\n  citi: {{theirs: c}}\n  phone: {{theirs: p, winner: max}}"
    )
    with pytest.raises(MappingError) as caught:
        loads(text)
    assert [p.path for p in caught.value.problems] == ["fields.email.read.0", "fields.citi", "fields.phone.winner"]


def test_a_missing_file_is_a_mapping_error(tmp_path: Path) -> None:
    """So is one that is no text."""
    with pytest.raises(MappingError, match="not found"):
        load(tmp_path / "none.yaml")
    (tmp_path / "raw.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MappingError, match="cannot be read"):
        load(tmp_path / "raw.yaml")


def test_yaml_takes_words_for_words() -> None:
    """``no``, ``on`` and dates are text: Norway is a country, not a refusal."""
    text = field("country: {theirs: c, values: {no: NO, on: DE, 2024-01-01: FR, 1: GB}}")
    map_ = loads(text)
    assert [map_.read({"c": w}).claim["country"] for w in ("no", "on", "2024-01-01", 1)] == ["NO", "DE", "FR", "GB"]


# --- the reference page -----------------------------------------------------------------------------------------------

BLOCKS = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_examples_to_run() -> None:
    """Guards the guard."""
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("text", BLOCKS)
def test_the_examples_of_the_reference_hold(text: str) -> None:
    """Loading a mapping runs its examples."""
    assert loads(text).entries
    assert grammar.read_file(text, "").spec.examples


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of the reference."""
    part = DOCS.read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1]
    lines = [line for line in re.split(r"\n#", part, maxsplit=1)[0].splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("| field |")
    ]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("## Keys of the file", [f"`{k}`" for k in grammar.keys_of(grammar.FileSpec)]),
        ("## Keys of a field", [f"`{k}`" for k in grammar.keys_of(grammar.FieldSpec)]),
        ("### `way`", [f"`{w}`" for w in Way]),
        ("### `winner`", [f"`{w}`" for w in Winner]),
        ("### `clear`", ["`allowed`", "`ignored`"]),
        ("### Types", [f"`{w}`" for w in ("text", "number", "bool", "date", "datetime", "list")]),
    ],
)
def test_the_reference_lists_every_key_and_policy(heading: str, expected: list[str]) -> None:
    """In the order of the code, and nothing else."""
    assert expected == [row[0] for row in rows(heading) if row[0].startswith("`")]


def test_the_reference_lists_every_field_and_transform() -> None:
    """With the words of the code."""
    assert [[f"`{f.name}`", str(f.type), f.about] for f in FIELDS.values()] == rows("## Canonical fields")
    yes = {True: "yes", False: "no"}
    expected = [
        [f"`{t.name}`", yes[t.read is not None], yes[t.write is not None], t.about] for t in TRANSFORMS.values()
    ]
    assert expected == rows("## Transforms")[1:]


def test_the_reference_lists_every_placeholder() -> None:
    """The default list is in the text."""
    text = DOCS.read_text(encoding="utf-8")
    assert [p for p in grammar.PLACEHOLDERS if f"`{p}`" not in text] == []
