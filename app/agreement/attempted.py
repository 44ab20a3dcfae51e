"""What counts as an attempt of sales to reach a person, for the question whether a lead may be given back.  Pure.

An attempt is an act of a colleague that is meant to reach the person, after the handover: a call (answered or not), a
meeting that was not called off, a mail, a message.  What a machine sent by itself is none.
"""

from __future__ import annotations

from typing import Final

from app.agreement.facts import OURS
from app.agreement.words import OPEN, Act, Lead

NONE: Final = frozenset({"planned", "cancelled", "failed", "received"})
"""Outcomes of what did not take place, or came from the person."""


def counts(act: Act, at: int, lead: Lead) -> bool:
    """Whether it is an attempt for this lead as it stands."""
    return (
        act.kind in OURS
        and act.human is not False
        and act.outcome not in NONE
        and lead.status in OPEN
        and lead.handed_at is not None
        and at >= lead.handed_at
    )


def channels(act: Act, lead: Lead) -> tuple[str, ...]:
    """The channels that were tried so far, this one included.  A call without a channel was made by phone."""
    channel = act.channel if act.channel is not None else {"call": "phone", "mail": "email"}.get(act.kind, act.kind)
    return tuple(sorted({*lead.channels, channel}))
