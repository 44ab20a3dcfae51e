"""Mailchimp's webhook deliveries.  In: bytes, headers, URL, secrets.  Out: events in Mailchimp's words.  No I/O.

Sources: github.com/mailchimp/fern-marketing-api-docs, ``pages/api-concepts/webhooks.mdx`` (signature, samples), and the
older guide developer.mailchimp.com/documentation/mailchimp/guides/about-webhooks (handshake, secret in the URL, types).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from connectors import _signing as signing
from connectors._mailchimp_wire import fold
from connectors.contract import Action, Delivery, Event, Kind, Received, Ref, Unreadable, Untrusted

TOLERANCE = timedelta(seconds=300)  # webhooks.mdx: the sample refuses older or younger ones
HEADER = "x-mailchimp-signature"
PARAMETER = "secret"  # the query parameter of the webhook's URL, our choice

_FIELDS = 1000  # form fields in one delivery; an audience has at most some 80 merge fields

# Event type -> the key under ``data`` that holds the address to look at (about-webhooks).  Every other type (campaign,
# sms_*, what may come) is ignored.  An address change names no stable id: the member is found by its new address, and
# its contact_id then leads to the old link.
_TYPES: Mapping[str, str] = {
    "subscribe": "email",
    "unsubscribe": "email",
    "profile": "email",
    "cleaned": "email",
    "upemail": "new_email",
}

_GROUPS = re.compile(r"data\[merges\]\[GROUPINGS\]\[[^\]]*\]\[groups\]")
_NAME = re.compile(r"(?:\\.|[^,\\])+")  # of a group, in a list with commas; one in a name has a backslash before it


def sign(secret: str, stamp: str, body: bytes) -> str:
    """The digest that Mailchimp would send: HMAC-SHA256 of ``<t>.<raw body>``, lower hex."""
    return signing.hmac_sha256_hex(secret, stamp, ".", body)


def verify(delivery: Delivery, *, url_secret: str, signing_secrets: Sequence[str]) -> None:
    """Raise Untrusted unless every configured proof holds; with none configured nothing is trusted.

    A GET is the check that Mailchimp makes when a webhook is saved: it is not signed.
    """
    if not url_secret and not signing_secrets:
        raise Untrusted("mailchimp: neither webhook_secret nor signing_secret is set")
    if url_secret:
        _verify_url(delivery.url, url_secret)
    if signing_secrets and delivery.method.upper() != "GET":
        _verify_signature(delivery, signing_secrets)


def received(delivery: Delivery, *, list_id: str, topics: int = 0) -> Received:
    """The event of one verified delivery; none for a handshake, another audience or a type that is not ours.

    ``topics``: how many interests speak of consent.  A profile is urgent only if it shows that the member lacks one of
    them.
    """
    method = delivery.method.upper()
    if method == "GET":
        return Received()
    if method != "POST":
        raise Unreadable(f"mailchimp: a delivery by {method[:10]!r}")
    form = _form(delivery.body)
    type_ = form.get("type")
    if not type_:
        raise Unreadable("mailchimp: a delivery without a type")
    key = _TYPES.get(type_)
    if key is None:
        return Received()
    audience = form.get("data[list_id]")
    if not audience:
        raise Unreadable(f"mailchimp: {type_} without data[list_id]")
    if audience != list_id:
        return Received()
    email = fold(form.get(f"data[{key}]"))
    if not email:
        raise Unreadable(f"mailchimp: {type_} without data[{key}]")
    # `action` may be missing altogether (mailchimp/mc-magento#169): then it is not taken for a deletion.
    deleted = type_ == "unsubscribe" and form.get("data[action]") == "delete"
    return Received(
        (
            Event(
                kind=Kind.CONTACT,
                action=Action.DELETED if deleted else Action.CHANGED,
                ref=Ref(email, key="email"),
                dedupe=_dedupe(form),
                occurred_at=_fired_at(form.get("fired_at", "")),
                urgent=type_ in {"unsubscribe", "cleaned"} or (type_ == "profile" and _lacks(form, topics)),
            ),
        )
    )


def _verify_url(url: str, secret: str) -> None:
    try:
        given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=50)).get(PARAMETER, "")
    except ValueError:
        given = ""
    if not signing.same(given, secret):
        raise Untrusted(f"mailchimp: the query parameter {PARAMETER!r} is missing or wrong")


def _verify_signature(delivery: Delivery, secrets: Sequence[str]) -> None:
    parts = signing.named(delivery.headers.get(HEADER))
    stamps = parts.get("t", [])
    if len(stamps) != 1:
        raise Untrusted("mailchimp: a signature without one time")
    # Several v1 parts come while a secret is rotated.
    signing.require(parts.get("v1", []), [sign(secret, stamps[0], delivery.body) for secret in secrets])
    # Only then the time: whether a retry of Mailchimp's carries a fresh one is not documented, and "holds, but is old"
    # in the log would tell.
    try:
        signing.within(TOLERANCE, delivery.received_at, stamps[0])
    except Untrusted as stale:
        raise Untrusted(f"mailchimp: the signature holds, but {stale}") from None


def _form(body: bytes) -> Mapping[str, str]:
    """The form fields by their PHP-style names, ``data[merges][FNAME]``; of a repeated name the last counts."""
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS))
    except ValueError as error:  # UnicodeDecodeError is one
        raise Unreadable(f"mailchimp: the body is not a form in UTF-8 ({type(error).__name__})") from None


def _fired_at(text: str) -> datetime | None:
    """``YYYY-MM-DD HH:MM:SS`` without a zone.  Taken as UTC, which Mailchimp does not say: only a hint."""
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _groups(form: Mapping[str, str]) -> list[str] | None:
    """What the payload says about groups: lists of names, "" for none.  None where it says nothing about them.

    ``GROUPINGS`` holds each category of the audience, ``INTERESTS`` perhaps only the first (deliveries quoted in public
    code); neither holds ids, and nothing tells of marketing permissions.
    """
    told = [text for key, text in form.items() if _GROUPS.fullmatch(key) is not None]
    alone = form.get("data[merges][INTERESTS]")
    return told if told else None if alone is None else [alone]


def _lacks(form: Mapping[str, str], topics: int) -> bool:
    """Whether the member is in fewer groups than there are topics: then at least one of these is not chosen."""
    groups = _groups(form)
    return groups is not None and sum(len(_NAME.findall(text)) for text in groups) < topics


def _dedupe(form: Mapping[str, str]) -> str:
    """Hashed, because it holds addresses.  With all that it says, groups as a set.

    Mailchimp advises type, ``data[id]`` and ``fired_at``, which has whole seconds: a second edit within the second of
    the first would be taken for its copy, and be lost until the next poll.
    """
    groups = _groups(form)
    said = sorted(item for item in form.items() if item[0].startswith("data[") and _GROUPS.fullmatch(item[0]) is None)
    same = [form.get("type"), form.get("fired_at"), said, groups]
    return hashlib.sha256(json.dumps(same).encode()).hexdigest()
