"""ActiveCampaign's webhook events: what a change is told as, and how a delivery is written.

Source: developers.activecampaign.com/page/webhooks: a form with bracket names, one event each, unsigned, never tried
again; 410 switches the webhook off.  ``contact[fields]`` comes as a list without names, the worse of its two shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from sandbox.webhooks import Happening, Policy, Target

EVENTS = (
    *("bounce", "click", "contact_tag_added", "contact_tag_removed", "deal_add", "deal_update", "forward", "list_add"),
    *("open", "reply", "sent", "share", "sms_reply", "sms_sent", "sms_unsub", "subscribe", "subscriber_note"),
    *("unsubscribe", "update"),
)
SOURCES = ("public", "admin", "api", "system")
POLICY = Policy(
    batch=1,
    window=0.05,
    timeout=10.0,  # not published; ours
    waits=(1,),  # only after no answer at all; the vendor would not try at all
    final=frozenset({410}),
    retried=frozenset(),
)


def happening(kind: str, source: str, at: str, contact: Mapping[str, Any], **more: str) -> Happening:
    """One event about one contact.  ``source``: one of SOURCES.  ``more``: further pairs, by their bracket names."""
    said = {
        "type": kind,
        "date_time": at,
        "initiated_from": source,
        "initiated_by": source,
        "contact[id]": contact["id"],
        "contact[email]": contact["email"],
        "contact[first_name]": contact["firstName"],
        "contact[last_name]": contact["lastName"],
        "contact[phone]": contact["phone"],
        "contact[fields][]": "",
        **more,
    }
    return Happening(kind, source, said)


def encode(_target: Target, happenings: Sequence[Happening], _attempt: int) -> tuple[bytes, dict[str, str]]:
    """A form; nothing proves where it comes from."""
    return urlencode(happenings[0].data).encode(), {"content-type": "application/x-www-form-urlencoded"}
