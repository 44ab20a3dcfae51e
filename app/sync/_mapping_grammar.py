"""The grammar of a mapping file: what may stand where.  Text in, checked data out, or every problem at once.

This is the border: pydantic refuses what the grammar does not know; what only the whole file can tell (does the field
exist, does the chain fit) is ``app.sync._mapping_compile``'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from app.core.fields import CUSTOM_NAME, CUSTOM_PREFIX, FIELDS
from app.core.objects import COMPANY_FIELDS, DEAL_FIELDS
from app.sync._mapping_yaml import MappingError, Problem, Source, parse
from app.sync.transforms import TRANSFORMS

WayWord = Literal["in", "out", "both"]
WinnerWord = Literal["crm", "marketing", "newest", "fill", "max", "union", "ask"]
ConsentWord = Literal["granted", "pending", "none", "withdrawn", "hard_bounce", "complaint", "compliance"]
OBJECT_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
CONSENT_NAME: Final = r"^(email|phone|sms|post)(:[a-z0-9][a-z0-9_.-]{0,60})?$"
TypeWord = Literal["text", "number", "bool", "date", "datetime", "list"]

# Texts by which people and import tools say that they do not know.  A vendor field that holds one says nothing.
# Not listed, since people are called so: Null, Na, No, Nil.
PLACEHOLDERS: Final = (
    *("-", "--", "---", ".", "?", "n/a", "none", "(none)", "unknown", "(unknown)", "undefined", "not provided"),
    *("not specified", "(null)", "tbd", "test"),
)

Scalar: TypeAlias = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean"]})]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FieldSpec(_Model):
    """How one canonical field stands at the vendor."""

    theirs: Name = Field(description="the vendor's name of the field, or object.part of an object under `objects`")
    way: WayWord = Field("both", description="in: only read; out: only written; both")
    winner: WinnerWord = Field("newest", description="who wins when both sides changed the field")
    clear: Literal["allowed", "ignored"] = Field("ignored", description="whether an emptied field travels")
    read: list[str] | None = Field(None, description="transforms from theirs to ours, in order")
    write: list[str] | None = Field(None, description="transforms from ours to theirs, in order")
    values: dict[str, Scalar] | None = Field(None, min_length=1, description="their word: our word; one to one")
    default: Literal["drop", "keep"] = Field("drop", description="what becomes of a word that `values` does not list")
    required: bool = Field(default=False, description="the vendor creates no record without it")
    max_length: int | None = Field(None, ge=1, le=1_000_000, description="bytes of UTF-8 that the vendor keeps")
    placeholders: list[str] | None = Field(None, description="instead of the file's placeholders, for this field")


class CustomSpec(_Model):
    """A canonical field of your own."""

    type: TypeWord = Field(description="its type")
    about: str = Field("", description="what it means, for people")


class EvidenceSpec(_Model):
    """The vendor's fields that prove a grant."""

    form: Name | None = Field(None, description="field whose value proves that the person filled in a form")
    double_opt_in: Name | None = Field(None, description="field whose value proves that the person confirmed")
    at: Name = Field(description="field that says when; a proof without its time proves nothing")


class ConsentSpec(_Model):
    """How consent for one channel (or channel:purpose) stands at the vendor."""

    theirs: Name = Field(description="the vendor's field")
    read: dict[str, ConsentWord] = Field(min_length=1, description="their word: what it says; others say nothing")
    write: dict[Literal["granted", "withdrawn"], Scalar] = Field(
        default_factory=dict, description="how it is said there"
    )
    evidence: EvidenceSpec | None = Field(None, description="what proves a grant")


class ObjectSpec(_Model):
    """A vendor field that is an object; its parts are written together."""

    required: list[Name] = Field(default_factory=list, description="parts without which it is not written")


class ReadSpec(_Model):
    """How one canonical field of a company or a deal is read; such records are not written."""

    theirs: Name = Field(description="the vendor's name of the field")
    read: list[str] | None = Field(None, description="transforms from theirs to ours, in order")
    values: dict[str, Scalar] | None = Field(None, min_length=1, description="their word: our word; one to one")
    default: Literal["drop", "keep"] = Field("drop", description="what becomes of a word that `values` does not list")


class CompanySpec(_Model):
    """Companies at the vendor."""

    object: Annotated[str, Field(pattern=OBJECT_NAME)] | None = Field(
        None, description="the vendor's kind of object that is meant, where it is one of your own"
    )
    fields: dict[str, ReadSpec] = Field(min_length=1, description="canonical field: how it is read")
    custom: dict[str, CustomSpec] = Field(default_factory=dict, description="fields of your own")


class DealSpec(_Model):
    """Deals at the vendor."""

    object: Annotated[str, Field(pattern=OBJECT_NAME)] | None = Field(
        None, description="the vendor's kind of object that is meant, where it is one of your own"
    )
    fields: dict[str, ReadSpec] = Field(min_length=1, description="canonical field: how it is read")
    custom: dict[str, CustomSpec] = Field(default_factory=dict, description="fields of your own")
    stages: dict[str, Literal["open", "won", "lost"]] = Field(
        default_factory=dict, description="their stage: what it means; others are open"
    )
    currency: str | None = Field(None, description="ISO 4217; of amounts whose record names none")


DoingWord = Literal[
    "send",
    "open",
    "click",
    "bounce",
    "unsubscribe",
    "complaint",
    "reply",
    "form",
    "page_visit",
    "survey",
    "event",
    "call",
    "meeting",
    "mail",
    "message",
    "note",
    "task",
]


class EngagementSpec(_Model):
    """What people did there, and what of others' acts is shown there."""

    take: list[DoingWord] | None = Field(None, description="kinds of act to take; left out: all that it tells")
    timeline: list[DoingWord] = Field(
        default_factory=list, description="kinds of act of the other connections that become entries of its timeline"
    )


class ExampleSpec(_Model):
    """A record in both words; run whenever the mapping is loaded."""

    theirs: dict[str, Any] = Field(description="fields in the vendor's words")
    ours: dict[str, Any] = Field(description="the same in canonical words")
    only: Literal["read", "write"] | None = Field(None, description="run in one direction only")


class FileSpec(_Model):
    """A mapping between one vendor's contact fields and Tandem's."""

    version: Literal[1] = Field(description="of this grammar")
    connector: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")] = Field(description="the connector it is for")
    default_country: str | None = Field(None, description="alpha-2; of phone numbers written without a country")
    time_zone: str | None = Field(None, description="IANA name; of the vendor's times written without a zone")
    keys: list[str] = Field(["email"], min_length=1, description="canonical fields that belong to one person only")
    placeholders: list[str] = Field(list(PLACEHOLDERS), description="texts that count as not said, in any case")
    custom: dict[str, CustomSpec] = Field(default_factory=dict, description="canonical fields of your own")
    objects: dict[str, ObjectSpec] = Field(default_factory=dict, description="vendor fields that are objects")
    fields: dict[str, FieldSpec] = Field(min_length=1, description="canonical field: how it stands at the vendor")
    consent: dict[Annotated[str, Field(pattern=CONSENT_NAME)], ConsentSpec] = Field(
        default_factory=dict, description="channel, or channel:purpose: how consent stands at the vendor"
    )
    compose: dict[str, str] = Field(default_factory=dict, description="vendor field: text of {canonical} fields")
    company: CompanySpec | None = Field(None, description="companies; left out: they are not read")
    deal: DealSpec | None = Field(None, description="deals; left out: they are not read")
    engagement: EngagementSpec | None = Field(None, description="acts; left out: they are not read")
    examples: list[ExampleSpec] = Field(default_factory=list, description="records in both words")


# Where in a path which model's keys stand: for "valid:" in messages.  None = any key.
_MODELS: Final[Mapping[tuple[str | None, ...], type[_Model]]] = {
    (): FileSpec,
    ("fields", None): FieldSpec,
    ("custom", None): CustomSpec,
    ("consent", None): ConsentSpec,
    ("consent", None, "evidence"): EvidenceSpec,
    ("objects", None): ObjectSpec,
    ("examples", None): ExampleSpec,
    ("company",): CompanySpec,
    ("company", "fields", None): ReadSpec,
    ("company", "custom", None): CustomSpec,
    ("deal",): DealSpec,
    ("deal", "fields", None): ReadSpec,
    ("deal", "custom", None): CustomSpec,
    ("engagement",): EngagementSpec,
}

_MESSAGES: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "string_type": "has to be a text",
    "int_type": "has to be a whole number",
    "bool_type": "has to be true or false",
    "list_type": "has to be a list",
    "dict_type": "has to hold keys and values",
    "model_type": "has to hold keys and values",
    "string_too_short": "is empty",
    "too_short": "is empty",
}


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file that keeps the grammar."""

    spec: FileSpec
    source: Source


def read_file(text: str, file: str) -> Parsed:
    """The checked data of a mapping file.  Raises MappingError with all problems."""
    source = parse(text, file)
    if not isinstance(source.data, dict):
        raise MappingError([source.problem((), "has to hold keys and values", keys_of(FileSpec))])
    try:
        return Parsed(FileSpec.model_validate(source.data), source)
    except ValidationError as error:
        raise MappingError([_explain(source, e) for e in error.errors()]) from None


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys that a part of the file may have."""
    return tuple(model.model_fields)


def _explain(source: Source, error: Mapping[str, Any]) -> Problem:
    kind, path = error["type"], tuple(error["loc"])
    message = _MESSAGES.get(kind, error["msg"])
    if kind == "extra_forbidden":
        valid = keys_of(_model_at(path[:-1]))
        return source.problem(path, message + maybe(str(path[-1]), valid), valid)
    if kind == "missing":
        model = _model_at(path[:-1])
        return source.problem(path, message, (model.model_fields[str(path[-1])].description or "",))
    if kind == "literal_error":
        valid = _words_at(path)
        return source.problem(path, f"{error['input']!r} is not valid{maybe(str(error['input']), valid)}", valid)
    # Inside unions pydantic adds words of its own to the path; people look for what stands in the file.
    return source.problem(source.known(path) if kind != "missing" else path, message)


def _model_at(path: Sequence[str | int]) -> type[_Model]:
    for pattern, model in _MODELS.items():
        if len(pattern) == len(path) and all(p is None or p == q for p, q in zip(pattern, path, strict=True)):
            return model
    return FileSpec


def _words_at(path: Sequence[str | int]) -> tuple[str, ...]:
    annotation = _model_at(path[:-1]).model_fields[str(path[-1])].annotation
    found = [word for part in (annotation, *get_args(annotation)) for word in get_args(part)]
    return tuple(str(word) for word in found if isinstance(word, (str, int)))


def maybe(word: str, valid: Sequence[str]) -> str:
    """The hint at a valid word that is close, with its comma; ``""`` where none is."""
    close = get_close_matches(word, valid, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


# --- the schema for editors -------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a mapping file: the grammar, with the names of fields and transforms filled in."""
    schema = FileSpec.model_json_schema()
    names = {
        "anyOf": [
            {"enum": list(FIELDS)},
            {"type": "string", "pattern": f"^{CUSTOM_PREFIX.replace('.', '[.]')}{CUSTOM_NAME.pattern}$"},
        ]
    }
    schema["properties"]["fields"]["propertyNames"] = names
    schema["properties"]["keys"]["items"] = names
    schema["properties"]["custom"]["propertyNames"] = {"pattern": f"^{CUSTOM_NAME.pattern}$"}
    properties = schema["$defs"]["FieldSpec"]["properties"]
    for direction in ("read", "write"):
        words = [name for name, t in TRANSFORMS.items() if getattr(t, direction) is not None]
        properties[direction]["anyOf"][0]["items"] = {"enum": words}
    schema["$defs"]["ReadSpec"]["properties"]["read"]["anyOf"][0]["items"] = properties["read"]["anyOf"][0]["items"]
    own = {"type": "string", "pattern": f"^{CUSTOM_PREFIX.replace('.', '[.]')}{CUSTOM_NAME.pattern}$"}
    for name, fields in (("CompanySpec", COMPANY_FIELDS), ("DealSpec", DEAL_FIELDS)):
        schema["$defs"][name]["properties"]["fields"]["propertyNames"] = {"anyOf": [{"enum": list(fields)}, own]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Tandem mapping"}


def write_schema(path: Path) -> None:
    """Write the schema to a file, for ``mappings/schema.json``."""
    path.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
