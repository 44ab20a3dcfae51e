"""Mautic's JSON.  In: rows, field definitions, errors.  Out: records, schemas, problems.  Pure.

PHP writes an empty object as ``[]`` and an object whose keys are 0, 1, 2 as a list, so each collection may be either.

Sources: github.com/mautic/developer-documentation-new, ``docs/rest_api/contacts.rst`` and ``fields.rst``;
github.com/mautic/mautic at 24271492 (5.2) and 6.0.3, ``LeadBundle/Entity/DoNotContact.php`` (reasons),
``LeadBundle/Controller/Api/CustomFieldsApiControllerTrait.php`` (zeros, blanks).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson

from connectors._wording import masked, values
from connectors.contract import Kind, Property, Record, Refused, Schema, TryLater

EMAIL: Final = "email"
TAGS: Final = "tags"
DNC: Final = "doNotContact."
"""Ours: ``doNotContact.email`` and the like, the state of one channel as one of ``STATES``."""

CONTACTABLE: Final = "contactable"
REASONS: Final[Mapping[str, int]] = {"unsubscribed": 1, "bounced": 2, "manual": 3}  # Entity/DoNotContact.php
STATES: Final = (CONTACTABLE, *REASONS)
CHANNELS: Final = ("email", "sms", "notification")  # those that every record says something about
READ_ONLY: Final = ("id", "points", "stage", "owner", "dateAdded", "dateModified", "dateIdentified", "lastActive")

STAMP: Final = "%Y-%m-%d %H:%M:%S"  # of conditions, in UTC; the database keeps UTC
_NAMES: Final[Mapping[int, str]] = {number: name for name, number in REASONS.items()}
_NOT_A_FIELD: Final = frozenset({*READ_ONLY, TAGS})
_CHANNEL: Final = re.compile(r"[a-z][a-z0-9_]{0,49}")


def is_id(text: object) -> bool:
    """Whether this may be the id of a contact: ASCII digits, as a text."""
    return isinstance(text, str) and text.isascii() and text.isdigit() and text[0] != "0" and len(text) < 19


def time(value: object) -> datetime | None:
    """A time, ISO 8601 with an offset or a database's in UTC; None where it is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def clock(response: httpx.Response) -> datetime | None:
    """When the server answered, by its own clock."""
    try:
        at = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def fold(address: object) -> str:
    """An address as it is compared; empty for what is none."""
    return address.strip().lower() if isinstance(address, str) else ""


def alike(value: object) -> str:
    """A value as Mautic's database compares it, which takes é for e; two that are alike are one to a unique field."""
    if value is None or isinstance(value, bool):
        return ""
    spread = unicodedata.normalize("NFKD", str(value).strip())
    return "".join(c for c in spread if not unicodedata.combining(c)).casefold()


def rows(body: object, name: str) -> list[Mapping[str, Any]]:
    """The rows of a collection, in its order, whether it came as a list or keyed.  TryLater for what is none."""
    found = body.get(name) if isinstance(body, Mapping) else None
    if isinstance(found, Mapping):
        found = list(found.values())
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise TryLater(f"mautic: the answer holds no {name}")
    return found


def keyed(found: object) -> dict[int, Any]:
    """A collection that is keyed by place, whether it came as a list or as an object."""
    if isinstance(found, list):
        return dict(enumerate(found))
    if isinstance(found, Mapping):
        return {int(k): v for k, v in found.items() if isinstance(k, str) and k.isascii() and k.isdigit()}
    return {}


def number(row: Mapping[str, Any], name: str) -> int | None:
    """A whole number, which may come as a text."""
    value = row.get(name)
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) else None


def yes(row: Mapping[str, Any], name: str) -> bool:
    """Whether a flag is set, which tables show as 1 and the API as true, as a text or not."""
    return row.get(name) is True or number(row, name) == 1


def anonymous(row: Mapping[str, Any]) -> bool:
    """Whether this is a visitor whom nobody knows; such live in the same table."""
    return row.get("dateIdentified") is None and not fold(flat(row).get(EMAIL))


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by alias.  Lists of words (``a|b``) as lists."""
    found: dict[str, Any] = {}
    groups = row.get("fields")
    if not isinstance(groups, Mapping):
        return found
    every = groups.get("all")
    if isinstance(every, Mapping):
        found |= every
    for name, group in groups.items():
        if name == "all" or not isinstance(group, Mapping):
            continue
        for alias, about in group.items():
            if isinstance(about, Mapping) and "value" in about:
                value = about["value"]
                words = about.get("type") == "multiselect" and isinstance(value, str)
                found[alias] = [w for w in value.split("|") if w] if words else value
    return {alias: value for alias, value in found.items() if alias not in _NOT_A_FIELD}


def record(row: object, asked: str | None = None) -> Record:
    """One contact.  ``asked``: the id that was asked for, where it may have been merged.  TryLater for no contact."""
    id_ = number(row, "id") if isinstance(row, Mapping) else None
    if not isinstance(row, Mapping) or id_ is None or "fields" not in row:
        raise TryLater("mautic: a contact without id or fields")
    fields = flat(row)
    points, stage = number(row, "points"), row.get("stage")
    if points is not None:
        fields["points"] = points
    if "stage" in row:
        fields["stage"] = stage.get("name") if isinstance(stage, Mapping) else None
    if isinstance(row.get(TAGS), (list, Mapping)):
        tags = row[TAGS].values() if isinstance(row[TAGS], Mapping) else row[TAGS]
        fields[TAGS] = sorted(t["tag"] for t in tags if isinstance(t, Mapping) and isinstance(t.get("tag"), str))
    if isinstance(row.get("doNotContact"), (list, Mapping)):
        fields |= {f"{DNC}{channel}": state for channel, state in _states(row["doNotContact"]).items()}
    modified = time(row.get("dateModified"))
    at = modified if modified is not None else time(row.get("dateAdded"))
    former = (asked,) if asked is not None and asked != str(id_) else ()
    return Record(Kind.CONTACT, str(id_), fields, at, former_ids=former)


def _states(entries: Any) -> dict[str, str]:
    """The state of each channel; of several entries the person's own word, then a bounce."""
    found = dict.fromkeys(CHANNELS, CONTACTABLE)
    for one in entries.values() if isinstance(entries, Mapping) else entries:
        reason = number(one, "reason") if isinstance(one, Mapping) else None
        channel = one.get("channel") if isinstance(one, Mapping) else None
        if reason is None or reason == 0 or not isinstance(channel, str):
            continue
        state = _NAMES.get(reason, "manual")  # a reason that is unknown here stops all the same
        before = found.get(channel, CONTACTABLE)
        if before == CONTACTABLE or REASONS[state] < REASONS[before]:
            found[channel] = state
    return found


def objects(row: Mapping[str, Any]) -> bool:
    """Whether somebody may not be written to over some channel."""
    entries = row.get("doNotContact")
    return isinstance(entries, (list, Mapping)) and any(s != CONTACTABLE for s in _states(entries).values())


# --- writing ----------------------------------------------------------------------------------------------------------


def states(fields: Mapping[str, Any]) -> dict[str, str]:
    """What an order says about channels.  Refused for a word that is none."""
    found = {}
    for name, value in fields.items():
        if not name.startswith(DNC):
            continue
        channel, word = name.removeprefix(DNC), CONTACTABLE if value is None else str(value).strip().lower()
        if word not in STATES or not _CHANNEL.fullmatch(channel):
            raise Refused(f"mautic: {name} takes one of {', '.join(STATES)}", code="consent", field=name)
        found[channel] = word
    return found


def names(value: object) -> list[str]:
    """The tags of an order; None is none.  Refused for what is no list of names, or cannot be said."""
    found = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(tag, str) for tag in found):
        raise Refused("mautic: tags takes a list of names", code="invalid", field=TAGS)
    tags = [tag.strip() for tag in found if tag.strip()]
    if any(tag.startswith("-") for tag in tags):  # would remove the tag of that name without the dash
        raise Refused("mautic: a tag cannot begin with a dash, which removes it", code="invalid", field=TAGS)
    return list(dict.fromkeys(tags))


def wire(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The plain fields of an order as Mautic takes them; None is sent as a blank, which clears.

    Refused for what Mautic alone decides.
    """
    fixed = [name for name in fields if name in READ_ONLY]
    if fixed:
        raise Refused(f"mautic: {fixed[0]} is read only", code="read_only", field=fixed[0])
    return {
        name: "" if value is None else value
        for name, value in fields.items()
        if name != TAGS and not name.startswith(DNC)
    }


def zeros(sent: Mapping[str, Any]) -> list[str]:
    """The fields whose value Mautic may drop without a word: 0, in any spelling, and no."""
    return [name for name, value in sent.items() if value is False or (value != "" and _is_zero(value))]


def _is_zero(value: object) -> bool:
    try:
        return int(float(value)) == 0 if isinstance(value, (int, float, str)) else False
    except (ValueError, OverflowError):
        return False


def same(mine: Any, theirs: Any) -> bool:
    """Whether a value that was sent is the one that is shown: numbers come as texts, and yes as 1."""
    if isinstance(mine, (list, tuple)):
        shown = theirs if isinstance(theirs, (list, tuple)) else str(theirs if theirs is not None else "").split("|")
        return sorted(map(str, mine)) == sorted(str(v) for v in shown if v != "")
    if theirs is None or theirs == "":
        return mine is None or mine == ""
    if isinstance(mine, bool):
        mine = int(mine)
    try:
        return float(mine) == float(theirs)
    except (TypeError, ValueError):
        return str(mine) == str(theirs)


def holds(found: Record, sent: Mapping[str, Any]) -> bool:
    """Whether the record has all these values."""
    return all(
        fold(found.fields.get(name)) == fold(value) if name == EMAIL else same(value, found.fields.get(name))
        for name, value in sent.items()
    )


# --- errors -----------------------------------------------------------------------------------------------------------


def refusal(fault: object, sent: object, secrets: Iterable[str]) -> Refused:
    """Why Mautic refused, by one ``{code, message, details}``.  No value that was sent is told."""
    about = fault if isinstance(fault, Mapping) else {}
    code, details = about.get("code"), about.get("details")
    field = next(iter(details), None) if isinstance(details, Mapping) else None
    named = field if isinstance(field, str) and re.fullmatch(r"[A-Za-z]\w{0,99}", field) else None
    told = about.get("message")
    said = masked(" ".join(told.split()), {*secrets, *values(sent)}) if isinstance(told, str) else ""
    text = f"mautic: {code if isinstance(code, int) else 400}" + (f", {said}" if said else "")
    if named is not None and named not in said:
        text += f"; {named}: not valid"
    word = "forbidden" if code == 403 else "validation" if named is not None else "refused"
    return Refused(text, code=word, field=named)


def fault(response: httpx.Response) -> object:
    """The first error of an answer, with its status as the code."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    found = body.get("errors", body.get("error")) if isinstance(body, Mapping) else None
    first = found[0] if isinstance(found, list) and found else found
    return {**(first if isinstance(first, Mapping) else {}), "code": response.status_code}


# --- describing -------------------------------------------------------------------------------------------------------


def schema(definitions: Sequence[Mapping[str, Any]]) -> Schema:
    """The fields of contacts.  ``definitions``: the rows of ``/fields/contact``."""
    found = {name: Property(name, "system", read_only=True) for name in READ_ONLY}
    found[TAGS] = Property(TAGS, "tags", "Names of the tags")
    found |= {f"{DNC}{c}": Property(f"{DNC}{c}", "dnc", "Do not contact", options=STATES) for c in CHANNELS}
    return Schema(Kind.CONTACT, {**found, **properties(definitions)})


def properties(definitions: Iterable[Mapping[str, Any]]) -> dict[str, Property]:
    """The fields that Mautic describes."""
    found: dict[str, Property] = {}
    for row in definitions:
        alias, type_ = row.get("alias"), row.get("type")
        if not isinstance(alias, str) or not isinstance(type_, str) or row.get("isPublished") is False:
            continue
        if alias in _NOT_A_FIELD:
            continue
        label = row.get("label")
        found[alias] = Property(
            alias,
            type_,
            label if isinstance(label, str) else "",
            required=row.get("isRequired") is True,
            options=_options(row) if type_ in {"select", "multiselect"} else None,
        )
    return found


def unique(definitions: Iterable[Mapping[str, Any]]) -> Collection[str]:
    """The fields by which Mautic takes two contacts for one.  The word is misspelt in its API; both are read."""
    marks = ("isUniqueIdentifer", "isUniqueIdentifier")
    return {
        row["alias"]
        for row in definitions
        if isinstance(row.get("alias"), str) and any(row.get(mark) in {True, "1"} for mark in marks)
    }


def _options(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    properties = row.get("properties")
    listed = properties.get("list") if isinstance(properties, Mapping) else None
    if isinstance(listed, str):  # as old versions kept it
        return tuple(listed.split("|")) or None
    return tuple(_words(listed)) or None


def _words(listed: object) -> Iterator[str]:
    for one in listed if isinstance(listed, list) else []:
        value = one.get("value") if isinstance(one, Mapping) else one
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            yield str(value)
