"""EspoCRM's webhook deliveries.  In: bytes, headers, URL, secrets.  Out: events in EspoCRM's words.  No I/O, no clock.

A body is a list of records of one webhook.  It names neither event nor time nor author, so the webhook's URL says which
event it is for (``?event=Contact.update``), and a happening is told from its copy by content and by when it came.

Sources: github.com/espocrm/documentation, ``docs/administration/webhooks.md``; the sender's code
(``Espo/Core/Webhook/Sender.php``); github.com/espocrm/espocrm/issues/3220 (``Signature`` beside ``X-Signature``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson

from connectors._espocrm_wire import DATA, MODIFIED, OPT_OUTS, is_id, time
from connectors._signing import hmac_sha256_hex, require
from connectors.contract import Action, Delivery, Event, Kind, Ref, Unreadable, Untrusted

SIGNATURE: Final = "signature"
OLD_SIGNATURE: Final = "x-signature"  # until version 11; the digest is raw bytes in it
PARAMETER: Final = "event"  # query parameter of the webhook's URL, our choice

# A body that says no time is the same happening as an equal one only for so long: somebody who opts out, in and out
# again makes two equal bodies.  A second try comes after ten minutes and only where the first was not taken.  Ours.
COPIES: Final = timedelta(minutes=10)

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_ACTIONS: Final[Mapping[str, Action]] = {  # the part after the entity
    "create": Action.CHANGED,
    "update": Action.CHANGED,
    "fieldUpdate": Action.CHANGED,
    "delete": Action.DELETED,
}
_HOOK: Final = re.compile(rb"([0-9A-Za-z-]{1,36}):")


def sign(webhook: str, secret: str, body: bytes) -> str:
    """The header ``Signature`` that EspoCRM would send: base64 of the webhook's id and the hex digest."""
    return base64.b64encode(f"{webhook}:{hmac_sha256_hex(secret, body)}".encode()).decode()


def sign_old(webhook: str, secret: str, body: bytes) -> str:
    """The header ``X-Signature``: base64 of the webhook's id and the raw digest."""
    digest = hmac.digest(secret.encode(), body, "sha256")
    return base64.b64encode(webhook.encode() + b":" + digest).decode()


def verify(delivery: Delivery, secrets: Sequence[str]) -> str:
    """The id of the webhook; Untrusted unless one of the secrets signed these bytes."""
    new = delivery.headers.get(SIGNATURE)
    if not secrets:
        raise Untrusted("espocrm: webhook_secrets is not set: `tandem webhooks install` makes and tells them")
    given = new if new is not None else delivery.headers.get(OLD_SIGNATURE)
    if given is None:
        raise Untrusted("espocrm: no signature")
    try:
        hook = _HOOK.match(base64.b64decode(given, validate=True))
    except ValueError:
        hook = None
    if hook is None:
        raise Untrusted("espocrm: the signature is malformed")
    webhook = hook[1].decode()
    make = sign if new is not None else sign_old
    require([given], [make(webhook, secret, delivery.body) for secret in secrets])
    return webhook


def events(delivery: Delivery, webhook: str, kinds: Mapping[str, Kind]) -> tuple[Event, ...]:
    """The events of one verified delivery; none for another entity than ``kinds`` or an event that is not ours.

    A row without an id is left out (the raw bytes are kept, and the poll finds the record); Unreadable only if no row
    has one.
    """
    action, kind = about(delivery.url, kinds)
    if action is None or kind is None:
        return ()
    try:
        rows = orjson.loads(delivery.body)
    except ValueError as error:
        raise Unreadable(f"espocrm: the body is not JSON in UTF-8 ({type(error).__name__})") from None
    if isinstance(rows, Mapping):
        rows = [rows]
    if not isinstance(rows, list):
        raise Unreadable("espocrm: the body is no list of records")
    good = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str) and is_id(row["id"])]
    if rows and not good:
        raise Unreadable(f"espocrm: none of {len(rows)} rows has an id")
    span = (delivery.received_at - _EPOCH) // COPIES
    told = [_event(row, action, (webhook, str(action)), span, kind) for row in good]
    if kind is Kind.CONTACT:  # the account has somebody more now; whom it lost is seen with its next whole walk
        moved = [{"id": row["accountId"], "of": row["id"]} for row in good if is_id(_text(row.get("accountId")))]
        told += [_event(row, Action.CHANGED, (webhook, "account"), span, Kind.COMPANY) for row in moved]
    return tuple(told)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def about(url: str, kinds: Mapping[str, Kind]) -> tuple[Action | None, Kind | None]:
    """What the URL says, and of which kind; one that says nothing is about changes of the connection's entity."""
    try:
        named = dict(parse_qsl(urlsplit(url).query, max_num_fields=50)).get(PARAMETER)
    except ValueError:
        named = None
    if named is None:
        return Action.CHANGED, Kind.CONTACT
    entity, _, what = named.partition(".")
    return _ACTIONS.get(what.partition(".")[0]), kinds.get(entity)


def _event(row: Mapping[str, Any], action: Action, hook: tuple[str, str], span: int, kind: Kind) -> Event:
    at = time(row.get(MODIFIED))
    # Hashed, because it holds a person's data.
    same = orjson.dumps([hook, row, None if at is not None else span], option=orjson.OPT_SORT_KEYS)
    return Event(kind, action, Ref(row["id"]), hashlib.sha256(same).hexdigest(), occurred_at=at, urgent=_objects(row))


def _objects(row: Mapping[str, Any]) -> bool:
    """Whether the row says that somebody objects."""
    data = row.get(DATA)
    marks = [r.get("optOut") for r in data if isinstance(r, Mapping)] if isinstance(data, list) else []
    return any(mark is True for mark in (*marks, *(row.get(name) for name in OPT_OUTS)))
