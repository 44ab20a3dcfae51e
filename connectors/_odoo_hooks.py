"""Odoo's webhooks.  In: bytes, URL, secrets.  Out: events in Odoo's words.  No I/O, no clock.

An automation rule posts one record.  Odoo signs nothing and sends no header of ours, so the proof is a secret in the
URL, and a body is never more than a hint to look: whoever has the URL can cause a read, nothing else.  The body does
not say what the rule is about, so the URL does (``&event=deleted``).

Source: github.com/odoo/odoo, ``odoo/addons/base/models/ir_actions.py`` (the action "Send Webhook Notification": body,
one second, no second try).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson

from connectors._odoo_wire import EMAIL, MODIFIED, OPT_OUT, fold, is_id, time
from connectors._signing import require
from connectors.contract import Action, Delivery, Event, Kind, Ref, Unreadable, Untrusted

PARAMETER: Final = "secret"  # query parameter of the URL, our choice
EVENT: Final = "event"  # query parameter: "deleted" for a rule on deletion, our choice
DELETED: Final = "deleted"
PARTNER, BLACKLIST, LEAD = "res.partner", "mail.blacklist", "crm.lead"
COMPANY: Final = "is_company"

# An equal body without the time of the change is the same happening only for so long.  Ours.
COPIES: Final = timedelta(minutes=10)
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def verify(delivery: Delivery, secrets: Sequence[str]) -> None:
    """Untrusted unless the URL holds one of the secrets."""
    given = _query(delivery.url).get(PARAMETER)
    if not given:
        raise Untrusted(f"odoo: the query parameter {PARAMETER!r} is missing")
    require([given], secrets)


def events(delivery: Delivery) -> tuple[Event, ...]:
    """The event of one trusted delivery; none for models that are not ours.  Unreadable for what names no record."""
    try:
        body = orjson.loads(delivery.body)
    except ValueError as error:
        raise Unreadable(f"odoo: the body is not JSON in UTF-8 ({type(error).__name__})") from None
    if not isinstance(body, Mapping) or not isinstance(body.get("_model"), str):
        raise Unreadable("odoo: the body names no model; is the action a Webhook Notification?")
    if body["_model"] == BLACKLIST:
        return _objection(delivery, body)
    if body["_model"] not in {PARTNER, LEAD} or body.get("type") == "lead":
        return ()
    id_ = body.get("_id")
    if not isinstance(id_, int) or isinstance(id_, bool) or not is_id(str(id_)):
        raise Unreadable("odoo: the body names no record")
    gone = _query(delivery.url).get(EVENT) == DELETED
    action = Action.DELETED if gone else Action.CHANGED
    # Whether a partner is a person or a company is known where the rule sends it.
    kind = Kind.DEAL if body["_model"] == LEAD else Kind.COMPANY if body.get(COMPANY) is True else Kind.CONTACT
    urgent = body.get(OPT_OUT) is True and not gone and kind is Kind.CONTACT
    return (_event(delivery, body, action, Ref(str(id_)), urgent=urgent, kind=kind),)


def _objection(delivery: Delivery, body: Mapping[str, Any]) -> tuple[Event, ...]:
    """An entry of the blacklist is about whoever has the address; without one the poll has to find it."""
    mail = fold(body.get(EMAIL))
    if not mail:
        return ()
    return (_event(delivery, body, Action.CHANGED, Ref(mail, key="email"), urgent=body.get("active") is not False),)


def _event(
    delivery: Delivery,
    body: Mapping[str, Any],
    action: Action,
    ref: Ref,
    *,
    urgent: bool,
    kind: Kind = Kind.CONTACT,
) -> Event:
    at = time(body.get(MODIFIED))
    span = None if at is not None else (delivery.received_at - _EPOCH) // COPIES
    # Hashed, because it holds a person's data.
    same = orjson.dumps([action, body, span], option=orjson.OPT_SORT_KEYS)
    return Event(kind, action, ref, hashlib.sha256(same).hexdigest(), occurred_at=at, urgent=urgent)


def _query(url: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(urlsplit(url).query, max_num_fields=50))
    except ValueError:
        return {}
