"""Keep who is in which programme: memberships out of the fold, rows in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.agreement.enrolling import final, held_out, share_of
from app.agreement.versions import Versions
from app.agreement.words import Lead, Membership
from app.records import programmes


def keep(db: Db, versions: Versions, found: Mapping[int, Lead], sealed: Mapping[int, int], now: int) -> None:
    """Let the store have just these memberships of these leads.

    ``sealed``: contact → moment before which what happened may be gone: what was over by then stays as it is.
    """
    if not any(v.agreement.programmes for v in versions):
        return
    before = programmes.load(db, found)
    rows: list[dict[str, Any]] = []
    gone: list[int] = []
    for contact, lead in found.items():
        made = {(one.programme, one.round): row(contact, one, versions) for one in lead.memberships}
        until = sealed.get(contact, -1)
        old = {(kept["programme"], kept["round"]): kept for kept in before[contact] if not _final(kept, until)}
        gone += [kept["id"] for key, kept in old.items() if key not in made]
        for key, one in made.items():
            kept = old.get(key)
            if kept is None or any(kept[name] != value for name, value in one.items()):
                # One that began at another moment than was thought is another one.
                other = kept is not None and kept["enrolled_at"] != one["enrolled_at"]
                gone += [kept["id"]] if kept is not None and other else []
                rows.append({**one, "stored_at": now})
    programmes.save(db, rows, gone)


def _final(kept: RowMapping, at: int) -> bool:
    return final(kept["ended_at"], kept["until"], kept["reached_at"], at)


def row(contact: int, one: Membership, versions: Versions) -> dict[str, Any]:
    """The row of a membership."""
    return {
        "contact_id": contact,
        "programme": one.programme,
        "round": one.round,
        "version": one.version,
        "enrolled_at": one.at,
        "why": one.why,
        "ended_at": one.ended_at,
        "ended_why": one.ended_why,
        "held_out": int(held_out(one.programme, contact, share_of(versions, one))),
        "stage": one.stage,
        "until": one.until,
        "reached_at": one.reached_at,
    }
