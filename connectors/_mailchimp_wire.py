"""Mailchimp's JSON.  In: answers and values.  Out: records, request bodies and the name of the next step.  No I/O.

Sources: the Marketing API's own contract, versions 3.0.55 and 3.0.91 (mailchimp/mailchimp-client-lib-codegen,
``spec/marketing.json``), called "contract" below; mailchimp.com/developer/marketing/docs/{errors,merge-fields}.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from connectors._wording import masked, values
from connectors.contract import Fields, Kind, NeedsHuman, Property, Record, Refused, Schema, TryLater

EMAIL = "email_address"
STATUS = "status"
TAGS = "tags"
MERGE = "merge_fields."
INTEREST = "interests."

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")  # contract, as read
CREATABLE = frozenset(STATUSES) - {"archived"}  # contract, POST /lists/{list_id}
SETTABLE = CREATABLE - {"transactional"}  # contract, PATCH /lists/{list_id}/members/{subscriber_hash}

# Contract, the member resource.  What is read-only here the vendor computes, or sets by other means than a member.
_MEMBER = (
    Property(EMAIL, "email", "Email address", required=True),
    Property(STATUS, "string", "Email marketing status", options=STATUSES),
    Property("email_type", "string", "Kind of email", options=("html", "text")),
    Property("language", "string", "Language code"),
    Property("vip", "boolean", "VIP"),
    Property("ip_signup", "ip", "IP address of the sign-up"),
    Property("timestamp_signup", "date-time", "Time of the sign-up"),
    Property("ip_opt", "ip", "IP address of the opt-in"),
    Property("timestamp_opt", "date-time", "Time of the opt-in"),
    Property(TAGS, "tags", "Names of the tags"),
    Property("id", "string", "MD5 of the address: changes with it", read_only=True),
    Property("contact_id", "string", "Contact id, for ever", read_only=True),
    Property("unique_email_id", "string", "Id of the address in all audiences", read_only=True),
    Property("web_id", "integer", "Id in the web address of the profile", read_only=True),
    Property("full_name", "string", "Full name", read_only=True),
    Property("unsubscribe_reason", "string", "Reason of the unsubscription", read_only=True),
    Property("member_rating", "integer", "Stars, 1 to 5", read_only=True),
    Property("last_changed", "date-time", "Last change", read_only=True),
    Property("source", "string", "Where the member came from", read_only=True),
    Property("sms_phone_number", "phone", "SMS number", read_only=True),
    Property(
        "sms_subscription_status",
        "string",
        "SMS marketing status",
        read_only=True,
        options=("subscribed", "unsubscribed", "nonsubscribed", "pending"),
    ),
    Property("stats.avg_open_rate", "number", "Share of mails opened", read_only=True),
    Property("stats.avg_click_rate", "number", "Share of mails clicked", read_only=True),
)
MEMBER: Mapping[str, Property] = {p.name: p for p in _MEMBER}

_NESTED = ("merge_fields", "interests", "stats")  # objects that are read and written flat, with a dot
# What a member is asked for.  Mailchimp refuses a name that it does not know, so nothing newer than the contract.
ASKED = (*dict.fromkeys(name.partition(".")[0] for name in MEMBER), "merge_fields", "interests", "tags_count")

_CLEARED: Mapping[str, object] = {"language": "", "vip": False}  # what None is in a request, besides merge fields
_THROTTLED = timedelta(hours=6)  # stackoverflow.com/questions/41160763: a day later it worked, five minutes may too

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_ADDRESS = re.compile(r"[^\s\"'<>()\[\]{},;:]+@[^\s\"'<>()\[\]{},;:]+")
_PLACE = re.compile(r"members\.item:(\d+)(?:\.(.+))?")


@dataclass(frozen=True, slots=True)
class Reason:
    """What one of the vendor's refusals means.  ``wait``: not a refusal but a later try."""

    code: str
    says: str
    field: str | None = None
    wait: timedelta | None = None


EXISTS = Reason("conflict", "the address is a member already", EMAIL)
FORGOTTEN = Reason("forgotten", "permanently deleted: only the person can come back, by a Mailchimp form", EMAIL)
COMPLIANCE = Reason("compliance", "unsubscribed, bounced or under review: only the person can subscribe again", STATUS)

# Texts and titles, in lower case, the narrower first.  `title` is said to be stable, `type` and `detail` are not
# (docs/errors), but inside a batch answer there is only a text.  Wordings as in public reports:
# ibericode/mailchimp-for-wordpress#673 and #798, DrewM/mailchimp-api ErrorHandler, hull-mailchimp's live tests.
# Some come in the language of the account; such a one is refused under the general code, with its text.
REASONS: Sequence[tuple[str, Reason]] = (
    ("error_contact_exists", EXISTS),
    ("member exists", EXISTS),
    ("already a list member", EXISTS),
    ("already in this list", EXISTS),  # a change of address (brandonseydel/MailChimp.Net#201)
    ("forgotten email", FORGOTTEN),
    ("permanently deleted", FORGOTTEN),
    ("compliance state", COMPLIANCE),
    ("signed up to a lot of lists", Reason("throttled", "signed up too often lately", EMAIL, wait=_THROTTLED)),
    ("looks fake or invalid", Reason("fake_address", "the address looks fake or invalid to Mailchimp", EMAIL)),
    ("portion of the email address is invalid", Reason("invalid_address", "the address is not valid", EMAIL)),
    ("valid email address", Reason("invalid_address", "the address is not valid", EMAIL)),
    ("merge fields were invalid", Reason("merge_field", "a merge field was refused")),
    ("complete address", Reason("merge_field", "a postal address needs addr1, city, state and zip")),
    ("invalid interest id", Reason("interest", "an interest does not exist in this audience")),
)


# --- records ----------------------------------------------------------------------------------------------------------


def record(row: Mapping[str, Any], *, known_as: str | None = None) -> Record:
    """One member as a record.  ``known_as``: its contact id, where the answer may not hold it.

    ``tags`` is left out (not said) where the answer holds only some of them.  TryLater where the answer is no member.
    """
    contact = row.get("contact_id")
    id_ = contact if isinstance(contact, str) and contact else known_as
    if id_ is None:
        # Never the md5 in its place: it changes with the address, and would pair one person twice.
        raise TryLater("mailchimp: a member without contact_id")
    return Record(
        kind=Kind.CONTACT,
        id=id_,
        fields=_flat(row),
        modified=time(row.get("last_changed")),
        archived=row.get(STATUS) == "archived",
    )


def rows(answer: object, name: str) -> list[Mapping[str, Any]]:
    """The objects in a list of the answer; TryLater where it has no such list."""
    found = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        raise TryLater(f"mailchimp: an answer without {name!r}")
    return [row for row in found if isinstance(row, Mapping)]


def number(answer: object, name: str) -> int | None:
    """A whole number in the answer."""
    found = answer.get(name) if isinstance(answer, Mapping) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def short_of_tags(row: Mapping[str, Any]) -> bool:
    """Whether the member has more tags than it shows (it shows at most 50)."""
    count, shown = number(row, "tags_count"), row.get(TAGS)
    return count is not None and count > (len(shown) if isinstance(shown, list) else 0)


def fold(address: object) -> str:
    """An address as Mailchimp compares it: without case."""
    return address.strip().lower() if isinstance(address, str) else ""


def subscriber_hash(address: str) -> str:
    """MD5 of the lower-cased address, in hex (contract; vector in docs/…/import-and-export-contacts)."""
    return hashlib.md5(fold(address).encode(), usedforsecurity=False).hexdigest()


def time(value: object) -> datetime | None:
    """ISO 8601 as an aware time in UTC; None where there is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Mailchimp writes "" where there is no value."""
    fields: dict[str, Any] = {}
    for name, value in row.items():
        if name in _NESTED:
            for key, inner in value.items() if isinstance(value, Mapping) else ():
                fields[f"{name}.{key}"] = None if inner == "" else inner
        elif name == TAGS:
            if not short_of_tags(row):
                fields[TAGS] = [str(tag["name"]) for tag in rows(row, TAGS) if "name" in tag]
        elif name in MEMBER:
            fields[name] = None if value == "" else value
    return fields


# --- writing ----------------------------------------------------------------------------------------------------------


def body(fields: Fields, *, fresh: bool) -> dict[str, Any]:
    """The fields as a member in a request, without tags.  ``fresh``: for a new member, which has nothing to clear.

    Refused for a field that cannot be written or cannot be cleared.
    """
    sent: dict[str, Any] = {}
    for name, value in fields.items():
        if name == TAGS or (fresh and value is None and name != EMAIL):
            continue
        if name.startswith(MERGE):
            sent.setdefault("merge_fields", {})[name.removeprefix(MERGE)] = "" if value is None else value
        elif name.startswith(INTEREST):
            if not isinstance(value, bool | None):
                raise Refused(f"mailchimp: {name} takes true or false", code="invalid", field=name)
            sent.setdefault("interests", {})[name.removeprefix(INTEREST)] = value is True
        elif name not in MEMBER or MEMBER[name].read_only:
            known = name in MEMBER
            raise Refused(
                f"mailchimp: {name!r} {'is read-only' if known else 'is not a field'}; writable are {_WRITABLE}",
                code="read_only" if known else "unknown_field",
                field=name,
            )
        elif value is not None:
            sent[name] = value
        elif name in _CLEARED:
            sent[name] = _CLEARED[name]
        else:
            raise Refused(f"mailchimp: {name} cannot be cleared", code="required", field=name)
    return sent


_WRITABLE = ", ".join([*(p.name for p in _MEMBER if not p.read_only), f"{MERGE}TAG", f"{INTEREST}ID"])


def tag_names(value: object) -> list[str]:
    """The names in a ``tags`` value; None is none."""
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise Refused("mailchimp: tags takes a list of names", code="invalid", field=TAGS)
    return list(dict.fromkeys(str(name) for name in value))


def holds(found: Record, wanted: Fields) -> bool:
    """Whether the record has all these values; case in an address and order of tags do not count."""
    return all(_same(name, found.fields.get(name), value) for name, value in wanted.items())


def _same(name: str, theirs: object, ours: object) -> bool:
    if name == EMAIL:
        return fold(theirs) == fold(ours)
    if name == TAGS:
        return isinstance(theirs, list) and set(theirs) == set(tag_names(ours))
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):  # a postal address; the vendor adds parts to it
        return all(_same("", theirs.get(key), value) for key, value in ours.items())
    if theirs in (None, "") or ours in (None, ""):
        return theirs in (None, "") and ours in (None, "")
    if isinstance(theirs, bool) or isinstance(ours, bool):
        return theirs is ours
    return str(theirs) == str(ours)  # a number field may come back as text


# --- errors -----------------------------------------------------------------------------------------------------------


def forbidden(response: httpx.Response) -> NeedsHuman | TryLater:
    """A 403: with a problem document the user lacks the right, without one it is throttling (docs, fundamentals)."""
    problem = document(response)
    if "title" in problem or "status" in problem:
        return NeedsHuman(f"mailchimp: forbidden ({masked(str(problem.get('title', '')))})")
    return TryLater("mailchimp: throttled (403 without a problem document)")


def document(response: httpx.Response) -> Mapping[str, Any]:
    """The problem document; empty where the answer is none."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def reason(error: Mapping[str, Any]) -> Reason | None:
    """What an error in a batch answer, or a problem document, means; None for one that is not in the table."""
    texts = [error.get(key) for key in ("error_code", "title", "error", "detail", "field_message")]
    texts += [e.get("message") for e in _errors(error)]
    # Without the address that most texts begin with: it could hold any of the words.
    text = _ADDRESS.sub("", "\n".join(t for t in texts if isinstance(t, str))).lower()
    return next((found for words, found in REASONS if words in text), None)


def fault(error: Mapping[str, Any], sent: Fields, secrets: Collection[str]) -> Refused | TryLater:
    """The error as the next step.  ``sent``: the order's fields, to name the one that it was and repeat no value."""
    found = reason(error)
    named = _field(error, sent)
    if found is None:
        # The narrowest text there is: `detail` often just says that there are `errors`.
        said = [error.get("field_message"), *(e.get("message") for e in _errors(error))]
        said += [error.get(key) for key in ("error", "detail", "title")]
        text = next((t for t in said if isinstance(t, str) and t), "no reason")
        text = masked(_QUOTED.sub("***", text), {*secrets, *values(sent)})
        return Refused(f"mailchimp: {text}", field=named)
    if found.wait is not None:
        return TryLater(f"mailchimp: {found.says}", after=found.wait)
    field = named if found.field is None else found.field
    return Refused(f"mailchimp: {found.says}{f' ({field})' if field else ''}", code=found.code, field=field)


def places(problem: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Which members of a refused batch are named as bad (``members.item:3.status``), each with its error."""
    found: dict[int, Mapping[str, Any]] = {}
    for error in _errors(problem):
        if (place := _PLACE.match(str(error.get("field", "")))) is not None:
            inner = {"field": place[2] if place[2] is not None else "", "error": error.get("message")}
            found.setdefault(int(place[1]), inner)
    return found


def _errors(problem: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = problem.get("errors")
    return [e for e in found if isinstance(e, Mapping)] if isinstance(found, list) else []


def _field(error: Mapping[str, Any], sent: Fields) -> str | None:
    """The field that an error names: bare for a merge field (``ADDRESS``), as a path elsewhere."""
    for one in (error, *_errors(error)):
        name = one.get("field")
        if isinstance(name, str) and name:
            # In words for the member's own ("email address"), by tag for merge fields.
            return next((n for n in (name, MERGE + name, name.replace(" ", "_")) if n in sent), name)
    return None


# --- schema -----------------------------------------------------------------------------------------------------------


def schema(merge_fields: Iterable[Mapping[str, Any]], interests: Iterable[tuple[str, str]]) -> Schema:
    """The fields of a member: fixed ones, merge fields, and interests as (id, label)."""
    properties = dict(MEMBER)
    for merge in merge_fields:
        options = merge.get("options")
        choices = options.get("choices") if isinstance(options, Mapping) else None
        name = f"{MERGE}{merge.get('tag')}"
        properties[name] = Property(
            name,
            str(merge.get("type", "")),
            str(merge.get("name", "")),
            required=merge.get("required") is True,
            # Only these types hold to their choices (docs/merge-fields); others carry none.
            options=tuple(map(str, choices))
            if merge.get("type") in {"dropdown", "radio"} and isinstance(choices, list)
            else None,
        )
    for id_, label in interests:
        properties[INTEREST + id_] = Property(INTEREST + id_, "boolean", label)
    return Schema(Kind.CONTACT, properties)
