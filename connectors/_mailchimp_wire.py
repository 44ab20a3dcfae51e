"""Mailchimp's JSON.  In: answers and values.  Out: records, request bodies and the schema.  No I/O.

Sources: the Marketing API's own contract, versions 3.0.55 and 3.0.91 (mailchimp/mailchimp-client-lib-codegen,
``spec/marketing.json``), called "contract" below; mailchimp.com/developer/marketing/docs/{errors,merge-fields}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from connectors import _mailchimp_topics as topics
from connectors.contract import Fields, Kind, Property, Record, Refused, Schema, TryLater

EMAIL = "email_address"
STATUS = "status"
TAGS = "tags"
MERGE = "merge_fields."

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
ASKED = (
    *dict.fromkeys(name.partition(".")[0] for name in MEMBER),
    "merge_fields",
    topics.INTERESTS,
    topics.PERMISSIONS,
    "tags_count",
)

_CLEARED: Mapping[str, object] = {"language": "", "vip": False}  # what None is in a request, besides merge fields


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
        elif name == topics.PERMISSIONS:
            fields.update(topics.permissions(row))
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
        elif topics.is_topic(name):
            topics.add(sent, name, value)
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


_WRITABLE = ", ".join(
    [*(p.name for p in _MEMBER if not p.read_only), f"{MERGE}TAG", f"{topics.INTEREST}ID", f"{topics.PERMISSION}ID"]
)


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
    if topics.is_topic(name):
        return theirs is topics.yes(name, ours)
    if name == TAGS:
        return isinstance(theirs, list) and set(theirs) == set(tag_names(ours))
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):  # a postal address; the vendor adds parts to it
        return all(_same("", theirs.get(key), value) for key, value in ours.items())
    if theirs in (None, "") or ours in (None, ""):
        return theirs in (None, "") and ours in (None, "")
    if isinstance(theirs, bool) or isinstance(ours, bool):
        return theirs is ours
    return str(theirs) == str(ours)  # a number field may come back as text


# --- schema -----------------------------------------------------------------------------------------------------------


def schema(
    merge_fields: Iterable[Mapping[str, Any]],
    interests: Iterable[tuple[str, str]],
    permissions: Iterable[tuple[str, str]] = (),
) -> Schema:
    """The fields of a member: fixed ones, merge fields, interests and marketing permissions as (id, label)."""
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
    named = [(topics.INTEREST + id_, label) for id_, label in interests]
    named += [(topics.PERMISSION + id_, label) for id_, label in permissions]
    for name, label in named:
        properties[name] = Property(name, "boolean", label)
    return Schema(Kind.CONTACT, properties)
