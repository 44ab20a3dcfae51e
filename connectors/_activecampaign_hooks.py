"""ActiveCampaign's webhook deliveries.  In: bytes, URL, secrets.  Out: events in its words.  No I/O, no clock.

Nothing is signed.  What proves a delivery is a secret in the URL that only the vendor was told, and nothing in it is
believed: it names a contact, who is then read.  One event per delivery, without an id of its own; a form with bracket
names, in which ``contact[fields]`` comes in more than one shape and ``list`` now as a text, now as ``list[0][id]``.
Source: developers.activecampaign.com/page/webhooks; shapes of ``fields`` as quoted at
blog.minimacode.com/using-active-campaign-webhooks (2023).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

from connectors._activecampaign_wire import fold, is_id
from connectors._signing import require
from connectors.contract import Action, Delivery, Event, Kind, Ref, Unreadable, Untrusted

PARAMETER: Final = "secret"  # the query parameter of the webhook's URL, our choice
STOPS: Final = ("unsubscribe", "bounce", "sms_unsub")
CHANGES: Final = ("subscribe", "update", "contact_tag_added", "contact_tag_removed")
_URGENT: Final = frozenset({"unsubscribe", "sms_unsub"})  # may withdraw consent
_FIELDS: Final = 2000  # form fields in one delivery


def verify(delivery: Delivery, secrets: Sequence[str]) -> None:
    """Untrusted unless the URL holds one of the secrets."""
    try:
        given = parse_qs(urlsplit(delivery.url).query, max_num_fields=50).get(PARAMETER, [])
    except ValueError:
        given = []
    if len(given) != 1:
        raise Untrusted(f"activecampaign: the query parameter {PARAMETER!r} of the URL is missing")
    require(given, secrets)


def events(delivery: Delivery) -> tuple[Event, ...]:
    """The event of one trusted delivery; none for a type that concerns nobody."""
    form = _form(delivery.body)
    type_ = form.get("type")
    if not type_:
        raise Unreadable("activecampaign: a delivery without a type")
    if type_ not in {*STOPS, *CHANGES}:
        return ()
    ref = _ref(form)
    if ref is None:
        raise Unreadable(f"activecampaign: {type_} without contact[id]")
    return (
        Event(
            Kind.CONTACT,
            Action.CHANGED,
            ref,
            hashlib.sha256(delivery.body).hexdigest(),
            occurred_at=_moment(form.get("date_time", "")),
            urgent=type_ in _URGENT,
        ),
    )


def _ref(form: Mapping[str, str]) -> Ref | None:
    id_ = form.get("contact[id]", "").strip()
    if is_id(id_):
        return Ref(id_)
    email = fold(form.get("contact[email]"))
    return Ref(email, key="email") if email else None


def _form(body: bytes) -> Mapping[str, str]:
    """The form fields by name; of a repeated name the last counts."""
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS))
    except ValueError as error:  # UnicodeDecodeError is one
        raise Unreadable(f"activecampaign: the body is not a form in UTF-8 ({type(error).__name__})") from None


def _moment(text: str) -> datetime | None:
    """ISO 8601 with an offset; without one it would be in the account's unknown zone, so it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo is not None else None
