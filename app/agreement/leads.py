"""Work out leads anew and keep them: rows in, the fold, rows out.  Level-triggered, by a duty in small batches.

Whatever changes a contact marks it (``app.records.leads.mark``) in the same transaction.  The duty takes marked
contacts, those whose time has come, and, after a new version came into force, all contacts by their number.  It gathers
everything that happened to them, folds it, and keeps what is other than before: how the lead stands, its steps, what
became of each word, and the governed fields as facts of the source ``agreement``, which the mappings carry to the
vendors like any others.  Contacts are held locked from before they are read until they are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import structlog
from sqlalchemy import Connection as Db

from app.agreement import enrolling, gathering, memberships, scores, timing
from app.agreement.gathering import Wanted
from app.agreement.lifecycle import Seal, fold, known_at, sealed
from app.agreement.load import Agreement, loads
from app.agreement.versions import Version, Versions
from app.agreement.words import SOURCE, Happening, Lead, Standing, Step
from app.core import tables as t
from app.core.clock import from_ms
from app.core.db import Database, clock_of
from app.core.duties import Duty
from app.core.fields import GOVERNED, Type, normal_list
from app.core.words import Decision, Fact, Outcome
from app.push import work
from app.records import clocks, leads, merges, programmes
from app.records import contacts as people
from app.records.contacts import Contact
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

BATCH: Final = 100  # contacts worked out in one transaction
NAME: Final = "leads"
RULE: Final = "agreement"
WRITTEN: Final = tuple(sorted(GOVERNED - {"vendor_stage"}))


class Leads:
    """The station.  One worker works out leads at a time; a step does one batch."""

    def __init__(self, database: Database, connections: Connections, worker: str, *, lease_ms: int) -> None:
        self._database = database
        self._connections = connections
        self._known = Known()
        self._duty = Duty(database, NAME, worker, self._batch, every_ms=1, lease_ms=lease_ms)

    def step(self) -> int:
        """Work out one batch; how many contacts, 0 = nothing to do now."""
        with self._database.read() as db:  # look before a lease is taken: most looks find nothing
            if not leads.busy(db):
                return 0
        return self._duty.step()

    def _batch(self, db: Db) -> int:
        now = clock_of(db)
        versions = self._known.versions(db)
        marked = leads.due(db, BATCH)
        ids = list(marked)
        if len(ids) < BATCH:
            ids += leads.turning(db, now, BATCH - len(ids))
        if ids:
            refold(db, self._connections, versions, ids, now)
            leads.done(db, marked)
            return len(ids)
        return self._sweep(db, versions, now)

    def _sweep(self, db: Db, versions: Judges, now: int) -> int:
        """Judge the next contacts by the version that came into force last."""
        sweeping = leads.sweeping(db, now)
        if sweeping is None:
            return 0
        number, after = sweeping
        ids = leads.some_contacts(db, after, BATCH)
        refold(db, self._connections, versions, ids, now)
        leads.swept(db, number, ids[-1] if len(ids) == BATCH else None)
        return max(1, len(ids))


class Judges:
    """The versions that both signed, and what their conditions ask for."""

    def __init__(self, versions: Versions, customs: Mapping[str, Type]) -> None:
        self.versions = versions
        self.wanted = Wanted(versions, customs)


class Known:
    """The versions of the store, each compiled once."""

    def __init__(self) -> None:
        self._compiled: dict[str, Agreement] = {}
        self._judges: tuple[tuple[tuple[str, int], ...], Judges] | None = None

    def versions(self, db: Db) -> Judges:
        """All versions that hold, held or will hold."""
        rows = [row for row in leads.versions(db) if row["in_force"] is not None]
        key = tuple((row["digest"], row["in_force"]) for row in rows)
        if self._judges is None or self._judges[0] != key:
            versions = Versions(
                Version(
                    self.agreement(dict(row)), row["in_force"], row["id"], max(row["sales_at"], row["marketing_at"])
                )
                for row in rows
            )
            customs = {name: Type(kind) for row in rows for name, kind in row["customs"].items()}
            self._judges = (key, Judges(versions, customs))
        return self._judges[1]

    def agreement(self, row: Mapping[str, Any]) -> Agreement:
        """The agreement of a row."""
        digest = str(row["digest"])
        if digest not in self._compiled:
            customs = {name: Type(kind) for name, kind in row["customs"].items()}
            self._compiled[digest] = loads(row["text"], f"version {row['id']}", customs)
        return self._compiled[digest]


def refold(db: Db, connections: Connections, judges: Judges, ids: Collection[int], now: int) -> dict[int, Lead]:
    """Work out these contacts' leads and keep them, in the caller's transaction; contact → lead."""
    held = people.load(db, ids, lock=True)
    roots = {i: c for i, c in held.items() if c.merged_into is None}
    lost = set(held) - set(roots)
    leads.remove(db, lost, now)
    scores.remove(db, lost)
    clocks.forget(db, lost, now)
    programmes.forget(db, lost)
    # Another one stands for them: what happened to them happened to that one.
    leads.mark(db, {merges.standing_for(db, i) for i in lost} - set(roots))
    happened = gathered(db, connections, judges, roots)
    seals = _seals(db, roots)
    found = {
        i: fold(happened[i], judges.versions, now, seals.get(i), since=_since(judges, c)) for i, c in roots.items()
    }
    kept = {i: s.at for i, s in seals.items()}
    timing.keep(db, judges.versions, roots, found, happened, kept, now)
    memberships.keep(db, judges.versions, found, kept, now)
    _keep(db, connections, judges.versions, roots, found, now)
    scores.keep(db, judges.versions, list(roots))
    return found


def fold_all(
    db: Db, connections: Connections, judges: Judges, contacts: Mapping[int, Contact], now: int
) -> dict[int, Lead]:
    """How these contacts' leads stand now, kept nowhere."""
    happened = gathered(db, connections, judges, contacts)
    seals = _seals(db, contacts)
    return {
        i: fold(happened[i], judges.versions, now, seals.get(i), since=_since(judges, c)) for i, c in contacts.items()
    }


def _since(judges: Judges, contact: Contact) -> int:
    """From when on a contact can be in programmes: it is known here, and both teams have signed."""
    return max(contact.created_at, judges.versions.signed)


def looked(
    db: Db, connections: Connections, judges: Judges, contact: Contact, now: int
) -> tuple[Lead, Mapping[str, Any], list[Happening]]:
    """How a contact's lead stands now, the facts by which it does, and what happened; kept nowhere."""
    happened = gathered(db, connections, judges, {contact.id: contact})[contact.id]
    seal_ = _seals(db, [contact.id]).get(contact.id)
    lead, facts = known_at(happened, judges.versions, now, seal_, since=_since(judges, contact))
    return lead, facts, happened


def gathered(
    db: Db, connections: Connections, judges: Judges, contacts: Mapping[int, Contact]
) -> dict[int, list[Happening]]:
    """Everything that happened to these contacts, and to those for which they stand."""
    # Most stand for nobody else: one question for all of them, before one for each.
    absorbed = {i: sorted(merges.absorbed(db, [i])) for i in contacts} if merges.absorbed(db, list(contacts)) else {}
    return gathering.gather(db, connections, judges.wanted, contacts, absorbed)


def _seals(db: Db, contacts: Collection[int]) -> dict[int, Seal]:
    rows = leads.load(db, contacts)
    return {i: Seal.from_json(row["seal"]) for i, row in rows.items() if row["seal"] is not None}


def seal(db: Db, connections: Connections, judges: Judges, ids: Collection[int], at: int, now: int) -> None:
    """Keep all that is known of these contacts' leads at a moment, since what is older is about to be removed."""
    contacts = {i: c for i, c in people.load(db, ids, lock=True).items() if c.merged_into is None}
    happened = gathered(db, connections, judges, contacts)
    seals = _seals(db, contacts)
    rows = {
        i: sealed(happened[i], judges.versions, at, now, seals.get(i), since=_since(judges, c)).to_json()
        for i, c in contacts.items()
    }
    leads.seal(db, rows)


def _keep(
    db: Db,
    connections: Connections,
    versions: Versions,
    contacts: Mapping[int, Contact],
    found: Mapping[int, Lead],
    now: int,
) -> None:
    before, steps, unjudged = leads.load(db, found), leads.steps(db, found), leads.unjudged(db, found)
    rows, added, void, findings = [], [], [], {}
    for number, lead in found.items():
        row = _row(contacts[number], lead, now)
        old = before.get(number)
        other = old is None or any(old[name] != value for name, value in row.items() if name != "judged_at")
        if other and (lead.steps or old is not None or lead.turns_at is not None):
            rows.append(row)
        kept = old["seal"]["at"] if old is not None and old["seal"] is not None else 0
        new, gone = _difference(number, [step for step in steps[number] if step["at"] > kept], lead.steps)
        added += new
        void += gone
        findings.update({n: (str(j.finding), j.why) for n, j in lead.judgements.items()})
    leads.save(db, rows)
    leads.add_steps(db, added, void, now)
    said = leads.said(db, [i for i, lead in found.items() if lead.judgements])
    known = {row["id"]: (row["finding"], row["why"]) for row in said}
    leads.found_out(db, {n: f for n, f in findings.items() if known.get(n) != f})
    _tell(db, connections, versions, contacts, found, unjudged, now)


def _row(contact: Contact, lead: Lead, now: int) -> dict[str, Any]:
    """The row of a lead."""
    standing = {n: v for n, v in lead.standing().items() if n in t.lead.c}
    return {
        **standing,
        "status": str(lead.status) if lead.status is not None else None,
        "channels": list(lead.channels) if lead.channels else None,
        "contact_id": contact.id,
        "owner_email": contact.value("owner_email"),
        "judged_at": now,
    }


def _difference(contact: int, old: list[Any], new: list[Step]) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows of steps to add, and numbers of rows that are void: all behind the first that is another one."""
    same = 0
    for row, step in zip(old, new, strict=False):
        if (row["at"], row["what"], row["before"], row["after"]) != (step.at, step.what, step.before, step.after):
            break
        same += 1
    rows = [
        {
            "contact_id": contact,
            "at": step.at,
            "what": str(step.what),
            "before": step.before,
            "after": step.after,
            "why": step.why,
            "facts": dict(step.facts) if step.facts else None,
            "by": step.by,
            "version": step.version,
        }
        for step in new[same:]
    ]
    return rows, [row["id"] for row in old[same:]]


def _tell(
    db: Db,
    connections: Connections,
    versions: Versions,
    contacts: Mapping[int, Contact],
    found: Mapping[int, Lead],
    unjudged: Mapping[int, set[str]],
    now: int,
) -> None:
    """Let the governed fields hold what the agreement decided, and every vendor be compared whom it concerns."""
    changed: list[Contact] = []
    marks: dict[str, set[int]] = {name: set() for name in connections}
    for number, lead in found.items():
        contact = contacts[number]
        mine, every = enrolling.tags(versions, lead, number, now)
        more = {"tags": (tagged(contact, mine, every), now)} if every else {}
        for name, (value, at) in (decided(lead, now) | more).items():
            if contact.value(name) == value:
                continue
            fact = Fact(value, SOURCE, at, RULE)
            contact.changes.append((Decision(name, Outcome.TAKEN, RULE, contact.value(name), value), fact))
            contact.facts[name] = fact
        names = {decision.field for decision, _ in contact.changes}
        for one in connections.values():
            # Who claims something that is not so has to be told again, though nothing changed here.
            if one.map.out_fields & (names if one.name not in unjudged.get(number, ()) else GOVERNED):
                marks[one.name].add(number)
        if contact.changes:
            contact.version += 1
            changed.append(contact)
    people.save(db, changed, now)
    people.write_history(db, changed, now)
    for contact in changed:
        contact.changes.clear()
    for name in sorted(marks):
        work.mark(db, name, dict.fromkeys(marks[name], now))


def tagged(contact: Contact, mine: Collection[str], every: Collection[str]) -> list[str] | None:
    """The tags of a contact: those that it has, but of the tags of programmes just the ones that it is to have."""
    held = contact.value("tags")
    before = held if isinstance(held, list) else []
    wanted = normal_list([*(tag for tag in before if tag not in every), *mine])
    return wanted if wanted else None


def decided(lead: Lead, now: int) -> dict[str, tuple[Any, int]]:
    """The governed fields as the agreement decides them, each with since when."""
    at = min(lead.since, now) if lead.since is not None else now
    status_at = min(lead.status_since, now) if lead.status_since is not None else now
    since = (
        from_ms(lead.since).replace(tzinfo=None, microsecond=0).isoformat() + "Z" if lead.since is not None else None
    )
    back = lead.status in {Standing.RECYCLED, Standing.REJECTED}
    return {
        "lifecycle_stage": (lead.stage, at),
        "lifecycle_since": (since, at),
        "lifecycle_reason": (lead.reason, at),
        "lead_status": (str(lead.status) if lead.status is not None else None, status_at),
        "lead_reason": (lead.given_reason if back else lead.offered, status_at),
        "lead_flag": (lead.flag_why if lead.flag_why is not None else lead.overdue, now),
    }
