"""Keep the clocks of leads: how they stand out of the fold, rows and notices in the store; and what people do to them.

Clocks are worked out with their lead (``app.agreement.leads``), whatever the reason, and ``Lead.turns_at`` is moved to
the next moment at which one of them changes by itself: one duty wakes for all that time alone does.  A notice (a
reminder, a breach, an escalation) is stored once for each moment of a clock, however often it is worked out anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.agreement.clocks import Alert, Reading, What, next_change
from app.agreement.running import Word, overdue, readings
from app.agreement.versions import Versions
from app.agreement.words import SOURCE, Happening, Lead
from app.core.db import clock_of
from app.records import alarms, clocks, merges
from app.records.alarms import Kind
from app.records.contacts import Contact


def keep(
    db: Db,
    versions: Versions,
    contacts: Mapping[int, Contact],
    found: Mapping[int, Lead],
    happened: Mapping[int, Sequence[Happening]],
    sealed: Mapping[int, int],
    now: int,
) -> None:
    """Work out the clocks of these leads and keep them; moves each lead's ``turns_at`` and says what is ``overdue``.

    ``sealed``: contact → moment before which what happened may be gone: a round that had ended by then stays as it is.
    """
    if not any(v.agreement.promises is not None for v in versions):
        return
    before, known = clocks.load(db, contacts), clocks.notices(db, contacts)
    teams = _teams(db, found, happened)
    words = _words(db, contacts)
    rows: list[dict[str, Any]] = []
    gone: list[tuple[int, str, int]] = []
    new: list[dict[str, Any]] = []
    void: list[int] = []
    turned = False
    for number, lead in found.items():
        until = sealed.get(number, -1)
        old = {(r["name"], r["started_at"]): r for r in before.get(number, ()) if not _final(r, until)}
        final = {(r["name"], r["started_at"]) for r in before.get(number, ()) if _final(r, until)}
        of = [
            r
            for r in readings(lead, happened[number], versions, teams, words[number], now)
            if (r.clock, r.started_at) not in final
        ]
        lead.overdue = overdue(of)
        moments = [m for m in (lead.turns_at, next_change(of)) if m is not None]
        lead.turns_at = min(moments, default=None)
        made = {(r.clock, r.started_at): row(number, r, teams) for r in of}
        changed = [r for key, r in made.items() if key not in old or any(old[key][n] != v for n, v in r.items())]
        rows += changed
        gone += [(number, *key) for key in old if key not in made]
        more, less = _notices(number, of, [n for n in known.get(number, ()) if _key(n)[:2] not in final])
        new += more
        void += less
        turned = turned or bool(changed)
    clocks.remove(db, gone)
    clocks.save(db, rows)
    clocks.notice(db, new, void, now)
    if turned or gone:
        _alarm(db)


def _final(row: RowMapping, until: int) -> bool:
    return row["ended_at"] is not None and row["ended_at"] <= until


def row(contact: int, r: Reading, teams: Mapping[str, str]) -> dict[str, Any]:
    """The row of a round.  ``elapsed`` is that of its last mark while it runs: it does not change between them."""
    standing = [p.reason for p in r.pauses if p.until is None]
    return {
        "contact_id": contact,
        "name": r.clock,
        "started_at": r.started_at,
        "round": r.round,
        "owner": r.owner,
        "team": teams.get(r.owner) if r.owner is not None else None,
        "state": str(r.state),
        "version": r.version,
        "calendar": r.calendar,
        "due_at": r.due_at,
        "rank_at": r.due_at if r.due_at is not None else clocks.NEVER,
        "next_at": r.next_at,
        "breached_at": r.breached_at,
        "ended_at": r.ended_at,
        "elapsed": r.elapsed if r.ended_at is not None else max((a.elapsed for a in r.alerts), default=0),
        "target": r.target,
        "paused": sum(p.business for p in r.pauses if p.until is not None),
        "paused_for": standing if standing else None,
    }


def _notices(
    contact: int, of: Collection[Reading], known: Sequence[RowMapping]
) -> tuple[list[dict[str, Any]], list[int]]:
    """Notices to add, and the numbers of those that are not so."""
    came = {_identity(r, a): (r, a) for r in of for a in r.alerts}
    held = {_key(n): n for n in known}
    new = [
        {
            "contact_id": contact,
            "name": r.clock,
            "started_at": r.started_at,
            "leg": a.leg,
            "mark": str(a.mark),
            "planned": a.planned,
            "to": a.to if a.to is not None else "",
            "at": a.at,
            "owner": a.owner,
            "reassign": int(a.reassign),
            "void_at": None,
        }
        for key, (r, a) in came.items()
        if key not in held or held[key]["void_at"] is not None or held[key]["at"] != a.at
    ]
    return new, [n["id"] for key, n in held.items() if key not in came and n["void_at"] is None]


def _identity(r: Reading, a: Alert) -> tuple[Any, ...]:
    return r.clock, r.started_at, a.leg, str(a.mark), a.planned, a.to if a.to is not None else ""


def _key(n: RowMapping) -> tuple[Any, ...]:
    return n["name"], n["started_at"], n["leg"], n["mark"], n["planned"], n["to"]


def _alarm(db: Db) -> None:
    late = clocks.breached(db)
    words = {
        name: f"{count} lead{'s wait' if count > 1 else ' waits'} longer than agreed ({name}); `tandem sla board "
        "--state breached` lists them"
        for name, count in late.items()
    }
    alarms.kept(db, Kind.SLA, SOURCE, words)


def _teams(db: Db, found: Mapping[int, Lead], happened: Mapping[int, Sequence[Happening]]) -> dict[str, str]:
    owners = {e.owner for lead in found.values() for e in lead.entries if e.owner is not None}
    for number, lead in found.items():
        if lead.entries:
            values = (h.values.get("contact.owner_email") for h in happened[number])
            owners |= {v for v in values if v is not None}
    return clocks.teams(db, owners) if owners else {}


def _words(db: Db, contacts: Collection[int]) -> dict[int, list[Word]]:
    found: dict[int, list[Word]] = defaultdict(list)
    whose = {i: i for i in contacts}
    if merges.absorbed(db, list(contacts)):
        whose |= {loser: i for i in contacts for loser in merges.absorbed(db, [i])}
    for line in clocks.said(db, whose):
        what = What(line["what"])
        if what is not What.REASSIGNED:  # which the contact's own history tells, whoever did it
            word = Word(line["at"], what, line["clock"], line["reason"], line["by"])
            found[whose[line["contact_id"]]].append(word)
    return found


def live(db: Db, versions: Versions, lead: Lead, happened: Sequence[Happening], contact: int) -> tuple[Reading, ...]:
    """The clocks of one lead at this moment, kept nowhere."""
    now = clock_of(db)
    teams = _teams(db, {contact: lead}, {contact: happened})
    return readings(lead, happened, versions, teams, _words(db, [contact])[contact], now)
