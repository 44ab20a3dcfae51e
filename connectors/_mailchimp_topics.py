"""Consent per topic at Mailchimp: interests (of its groups) and GDPR marketing permissions.  No I/O.

Each is a yes or no about one member, named by an id of the audience: ``interests.<id>``,
``marketing_permissions.<id>``.  A request holds only those that are to change; none of them says anything about the
member's status.  Sources: the Marketing API's contract 3.0.55 and 3.0.91, the member resource; in neither does a batch
call know permissions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from connectors.contract import Fields, Record, Refused

INTEREST: Final = "interests."
PERMISSION: Final = "marketing_permissions."
INTERESTS: Final = "interests"  # in a member: id -> bool
PERMISSIONS: Final = "marketing_permissions"  # in a member: a list of objects
PERMISSION_ID: Final = "marketing_permission_id"

_WORDS: Final[Mapping[str, bool]] = {"true": True, "false": False}  # a mapping may say them as texts


def is_topic(name: str) -> bool:
    """Whether a field is an interest or a permission."""
    return name.startswith((INTEREST, PERMISSION)) and name.partition(".")[2] != ""


def yes(name: str, value: object) -> bool:
    """The value as sent; None takes the topic away.  Refused for what is neither true nor false."""
    if value is None:
        return False
    found = value if isinstance(value, bool) else _WORDS.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise Refused(f"mailchimp: {name} takes true or false", code="invalid", field=name)
    return found


def add(sent: dict[str, Any], name: str, value: object) -> None:
    """Put one topic into a member that is to be sent.  Refused as ``yes``."""
    on = yes(name, value)
    if name.startswith(INTEREST):
        sent.setdefault(INTERESTS, {})[name.removeprefix(INTEREST)] = on
    else:
        row = {PERMISSION_ID: name.removeprefix(PERMISSION), "enabled": on}
        sent.setdefault(PERMISSIONS, []).append(row)


def permissions(row: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The permissions that a member shows, as (field, value); an audience without GDPR fields shows none."""
    shown = row.get(PERMISSIONS)
    for one in shown if isinstance(shown, list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("enabled"), bool) and one.get(PERMISSION_ID):
            yield f"{PERMISSION}{one[PERMISSION_ID]}", one["enabled"]


def withdrawals(sent: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each topic that a member to be sent takes away, as a request of its own."""
    gone: list[dict[str, Any]] = [{INTERESTS: {id_: on}} for id_, on in sent.get(INTERESTS, {}).items() if not on]
    return [*gone, *({PERMISSIONS: [row]} for row in sent.get(PERMISSIONS, ()) if not row["enabled"])]


def missing(wanted: Iterable[str], found: Record) -> str | None:
    """The first of these topics that the answer does not show: the audience does not have it.

    Whether Mailchimp refuses an unknown permission or passes it over is not documented, so the answer is looked at.
    """
    return next((name for name in wanted if name not in found.fields), None)


def named(text: str, wanted: Fields) -> str | None:
    """The topic among these fields whose id a text of the vendor's holds."""
    for name in wanted:
        if is_topic(name) and re.search(rf"(?<!\w){re.escape(name.partition('.')[2])}(?!\w)", text):
            return name
    return None
