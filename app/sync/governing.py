"""What a vendor's field says of stage, standing and reason, once an agreement is in force: a claim to be judged.

Such a field never becomes a fact by itself: it is written down as something that was said, with its time, and the
agreement judges it (``app.agreement``).  So no field sync moves a lead, neither forward nor back.  The shadow moves, as
for any claim: what the agreement decides differs from it then, and is written back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection as Db

from app.core.fields import GOVERNED
from app.core.words import MISSING, Claim
from app.records import leads
from app.records.contacts import Contact
from app.sync.connection import Connection

WORDS: Final[Mapping[str, str]] = {
    "lifecycle_stage": "stage",
    "vendor_stage": "stage",
    "lead_status": "status",
    "lead_reason": "reason",
}
"""Field → what is said by it (``app.agreement.words.Word``).  Of the other governed fields nothing is taken."""
TEAMS: Final[Mapping[str, str]] = {"crm": "sales", "marketing": "marketing"}


def apart(claim: Claim) -> tuple[Claim, Claim]:
    """A claim without what the agreement decides, and that."""
    governed = {n: v for n, v in claim.items() if n in GOVERNED}
    return ({n: v for n, v in claim.items() if n not in GOVERNED}, governed) if governed else (claim, governed)


def keep(db: Db, told: Sequence[tuple[Contact, Mapping[str, Any]]], changed: Iterable[Contact], now: int) -> None:
    """Write down what was said about leads, and let all leads be worked out anew that may stand otherwise now."""
    leads.say(db, [{**line, "contact_id": contact.id} for contact, line in told], now)
    leads.mark(db, {c.id for c in changed} | {contact.id for contact, _ in told})


def words(
    connection: Connection,
    contact: Contact,
    governed: Claim,
    shadow: Mapping[str, Any],
    at: int,
    event: int | None,
) -> tuple[list[dict[str, Any]], bool]:
    """What a record says anew, as lines to write down; and whether ours has to be said to it again."""
    lines = []
    differs = False
    for name, theirs in governed.items():
        before = shadow.get(name, MISSING)
        if before is not MISSING and before == theirs:
            continue
        ours = contact.value(name)
        held = connection.map.project(name, ours)
        if held is not MISSING and held == theirs:
            continue
        if theirs is None and before is MISSING:  # a record seen for the first time says nothing by an empty field
            continue
        word = WORDS.get(name)
        differs |= word is None
        if word is not None:
            team = TEAMS.get(str(connection.side))
            lines.append(
                {"word": word, "value": theirs, "team": team, "source": connection.name, "at": at, "event": event}
            )
    return lines, differs
