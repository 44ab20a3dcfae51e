"""The scorecard kept up with each lead: its journey is worked out anew, what it added is taken away, what it adds is
added.

All in the transaction in which the lead is worked out (``app.agreement.leads.refold``), so a counter is never ahead of
its lead or behind it.  Nothing depends on the order in which things became known, and ``check`` shows that: it counts
everything from the beginning, and compares.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, delete, select

from app.agreement.attribution import PARTS, Touch
from app.agreement.counting import Cell, counts, packed, unpacked
from app.agreement.facts import OURS
from app.agreement.journey import TOUCHING, Done, Journey, Owed, Passed, Sale, touch, travel
from app.agreement.load import Agreement
from app.agreement.versions import Versions
from app.agreement.words import Standing, What
from app.core import tables as t
from app.core.db import Database
from app.records import leads, merges, scores

BATCH: Final = 200  # contacts counted in one go
_WHAT: Final[Mapping[str, tuple[int, str]]] = {
    Standing.NEW: (2, "mql"),
    Standing.ACCEPTED: (3, "sal"),
    Standing.QUALIFIED: (4, "sql"),
    Standing.RECYCLED: (5, "recycled"),
    Standing.REJECTED: (5, "rejected"),
}
MOMENTS: Final = ("lead", "mql", "sal", "sql", "opportunity", "won")


def keep(db: Db, versions: Versions, contacts: Collection[int]) -> None:
    """Count these contacts anew, in the caller's transaction, which holds them locked."""
    before = scores.load(db, contacts)
    made = journeys(db, versions, contacts, before)
    people = leads.load(db, contacts)
    difference: Counter[Cell] = Counter()
    rows, rounds, changed = [], [], []
    for number, journey in made.items():
        lead, old = people.get(number), before.get(number)
        persona, profile = (lead["persona"], lead["profile"]) if lead is not None else (None, None)
        new = counts(journey, persona, profile)
        data = packed(new)
        row = _row(number, journey, persona, profile, data)
        if old is None and not new:
            continue
        if old is None or any(old[name] != value for name, value in row.items()):
            rows.append(row)
            if old is None or old["counted"] != data:
                difference.update(new)
                difference.subtract(unpacked(old["counted"] if old is not None else None))
        changed.append(number)
        rounds += [_round(number, one) for one in journey.rounds]
    held = scores.rounds(db, changed)
    fresh: dict[int, list[dict[str, Any]]] = {number: [] for number in changed}
    for one in rounds:
        fresh[one["contact_id"]].append(one)
    other = {number for number in changed if held[number] != fresh[number]}
    scores.save(db, rows)
    scores.replace_rounds(db, other, [one for one in rounds if one["contact_id"] in other])
    scores.add(db, difference)
    _tell(db, {row["contact_id"] for row in rows})


def _tell(db: Db, changed: Collection[int]) -> None:
    """Whose deals are counted with somebody else: what they did counts there, so that one is counted anew."""
    others = set()
    for crowd in scores.people_of(db, scores.deals_of(db, changed)).values():
        main = _main(crowd)
        if main not in changed and any(contact in changed for contact, _ in crowd):
            others.add(main)
    leads.mark(db, others)


def remove(db: Db, contacts: Collection[int]) -> None:
    """These contacts are nobody's lead any more: take away what they added."""
    gone: Counter[Cell] = Counter()
    for row in scores.load(db, contacts).values():
        gone.subtract(unpacked(row["counted"]))
    scores.add(db, gone)
    scores.remove(db, contacts)


def shorten(db: Db, contacts: Collection[int], cutoff: int) -> None:
    """Keep what the scorecard needs of acts before ``cutoff`` (ms since 1970), since they are about to be removed.

    Kept are moment, kind, channel, campaign, variant, outcome: no address, no page, no answer.
    """
    owner = {i: merges.standing_for(db, i) for i in contacts}
    before = scores.load(db, set(owner.values()))
    whole = _acts(db, {i: i for i in before} | owner, before, None)
    kept = {}
    for number, row in before.items():
        to: int = max(cutoff, row["kept_to"] if row["kept_to"] is not None else cutoff)
        short = [(a.at, a.kind, a.human, a.channel, a.campaign, a.variant, a.outcome) for a in sorted(whole[number])]
        text = json.dumps([a for a in short if a[0] < to], ensure_ascii=False, separators=(",", ":"))
        kept[number] = (zlib.compress(text.encode(), 6), to)
    scores.keep(db, kept)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A counter that is not what counting everything gives."""

    cell: Cell
    kept: int
    right: int


def check(database: Database, versions: Versions) -> list[Wrong]:
    """Count everything from the beginning and compare; the counters that differ, none where all is well.

    Leads that change meanwhile would look wrong: it reads from one transaction, which sees one moment.
    """
    with database.read() as db:
        right = counted(db, versions)
        kept = scores.everything(db)
    cells = sorted(kept.keys() | right.keys())
    return [Wrong(c, kept.get(c, 0), right.get(c, 0)) for c in cells if kept.get(c, 0) != right.get(c, 0)]


def counted(db: Db, versions: Versions) -> dict[Cell, int]:
    """All counters, counted from the beginning."""
    right: Counter[Cell] = Counter()
    after = 0
    while ids := _leads(db, after):
        before = scores.load(db, ids)
        people = leads.load(db, ids)
        for number, journey in journeys(db, versions, ids, before).items():
            lead = people.get(number)
            persona, profile = (lead["persona"], lead["profile"]) if lead is not None else (None, None)
            right.update(counts(journey, persona, profile))
        after = ids[-1]
    return {cell: n for cell, n in right.items() if n}


def rebuild(database: Database, versions: Versions) -> int:
    """Make all counters anew from the leads, a batch in each transaction; how many leads were counted.

    Until it ends the scorecard shows too little.  Leads that change meanwhile are counted right in any case.
    """
    with database.write() as db:
        db.execute(delete(t.score))
        db.execute(t.journey.update().values(counted=packed({})))
    after = count = 0
    while True:
        with database.write() as db:
            ids = _leads(db, after)
            if not ids:
                return count
            held = db.execute(select(t.contact.c.id).where(t.contact.c.id.in_(ids)).with_for_update()).scalars()
            keep(db, versions, list(held))
        after = ids[-1]
        count += len(ids)


def _leads(db: Db, after: int) -> list[int]:
    c = t.contact.c
    query = select(c.id).where(c.id > after, c.merged_into.is_(None)).order_by(c.id).limit(BATCH)
    return list(db.execute(query).scalars())


# --- from rows to journeys --------------------------------------------------------------------------------------------


def journeys(
    db: Db, versions: Versions, contacts: Collection[int], kept: Mapping[int, RowMapping]
) -> dict[int, Journey]:
    """The journey of each of these contacts, from what is stored."""
    owner = {i: i for i in contacts}
    if merges.absorbed(db, contacts):  # most stand for nobody else: one question for all of them first
        for number in contacts:
            owner |= dict.fromkeys(merges.absorbed(db, [number]), number)
    acts = _acts(db, owner, kept, None)
    sales = _sales(db, owner)
    agreements = {v.agreement.digest: v.agreement for v in versions}
    steps = leads.steps(db, contacts)
    made = {}
    for number in contacts:
        passed = [one for row in steps[number] for one in _passed(row, agreements.get(row["version"]))]
        made[number] = travel(passed, acts[number], sales.get(number, ()), _owed(versions, passed))
    return made


def _passed(row: RowMapping, agreement: Agreement | None) -> Iterable[Passed]:
    if row["what"] == What.STATUS and row["after"] in _WHAT:
        rank, what = _WHAT[row["after"]]
        yield Passed(row["at"], rank, what, "", row["why"] if rank == 5 else "")
    elif row["what"] == What.STAGE and row["after"] is not None:
        yield Passed(row["at"], 1, "stage", row["after"])
        stage = agreement.stage(row["after"]) if agreement is not None else None
        if agreement is not None and stage is not None and stage.rank >= agreement.names[agreement.rejection.to].rank:
            yield Passed(row["at"], 0, "lead")


def _owed(versions: Versions, passed: Sequence[Passed]) -> Owed | None:
    handed = min((one.at for one in passed if one.what == "mql"), default=None)
    version = versions.at(handed) if handed is not None else None
    if version is None:
        return None
    return Owed(version.agreement.rejection.attempts, version.agreement.rejection.channels)


def _acts(
    db: Db,
    owner: Mapping[int, int],
    kept: Mapping[int, RowMapping],
    kinds: Collection[str] | None,
) -> dict[int, list[Done]]:
    """What these contacts did, and colleagues with them.  ``owner``: contact → the one that stands for it."""
    found: dict[int, list[Done]] = {i: [] for i in owner.values()}
    until: dict[int, int] = {}
    for number, row in kept.items():
        if row["kept"] is not None and number in found:
            found[number] = [Done(*one) for one in json.loads(zlib.decompress(row["kept"]))]
            until[number] = row["kept_to"]
    for act in scores.acts(db, owner, kinds):
        number = owner[act["contact_id"]]
        if act["at"] >= until.get(number, act["at"]):
            found[number].append(_done(act))
    return found


def _done(row: RowMapping) -> Done:
    said = {n: row[n] if row[n] is not None else "" for n in ("channel", "campaign", "variant", "outcome")}
    return Done(row["at"], row["kind"], row["human"] if row["human"] is not None else -1, **said)


def _sales(db: Db, owner: Mapping[int, int]) -> dict[int, list[Sale]]:
    """The deals that are counted with each of these contacts."""
    crowds = scores.people_of(db, scores.deals_of(db, owner))
    mine = {deal: main for deal, crowd in crowds.items() if (main := owner.get(_main(crowd))) is not None}
    if not mine:
        return {}
    crew = {contact for deal in mine for contact, _ in crowds[deal]}
    standing = {i: owner.get(i, i) for i in crew}
    kept = scores.load(db, set(standing.values()))
    done = _acts(db, standing, kept, TOUCHING | OURS)
    touches = {i: [one for act in acts if (one := touch(act)) is not None] for i, acts in done.items()}
    found: dict[int, list[Sale]] = defaultdict(list)
    for row in scores.deals(db, mine):
        people = {standing[contact] for contact, _ in crowds[row["id"]]}
        before = sorted(one for i in people for one in touches[i] if one.at <= row["created_at"])
        found[mine[row["id"]]].append(_sale(row, tuple(before)))
    return found


def _main(crowd: Iterable[tuple[int, int]]) -> int:
    """With whom a deal is counted: its main contact, else the one known for longest."""
    return min(crowd, key=lambda one: (-one[1], one[0]))[0]


def _sale(row: RowMapping, touches: tuple[Touch, ...]) -> Sale:
    closed = None
    if row["status"] != "open":
        known = (row["closed_at"], row["last"], row["updated_at"])
        closed = max(row["created_at"], next(moment for moment in known if moment is not None))
    currency = row["currency"] if row["currency"] is not None else ""
    return Sale(row["created_at"], row["id"], row["status"], closed, _money(row["amount"]), currency, touches)


def _money(text: str | None) -> int | None:
    """An amount in ten thousandths; None where there is none, or nothing that is a number."""
    try:
        return int((Decimal(text) * PARTS).to_integral_value()) if text is not None else None
    except InvalidOperation:
        return None


def _row(number: int, journey: Journey, persona: str | None, profile: str | None, data: bytes) -> dict[str, Any]:
    named = {n: getattr(journey, n) for n in ("team", "channel", "campaign", "variant")}
    return {
        "contact_id": number,
        **{n: str(v) if v else None for n, v in named.items()},
        "persona": persona,
        "profile": profile,
        "first_touch_at": journey.first_touch_at,
        "last_touch_at": journey.last_touch_at,
        "counted": data,
    }


def _round(number: int, one: Any) -> dict[str, Any]:
    return {
        "contact_id": number,
        "number": one.number,
        "begins": one.begins,
        **{f"{name}_at": one.at.get(name) for name in MOMENTS},
        "feedback_at": one.feedback_at,
        "ended_at": one.ended_at,
        "ended": one.ended,
        "why": one.why,
        "tried_at": one.tried_at,
        "tries": one.tries,
        "channels": one.channels,
        "kept": None if one.kept is None else int(one.kept),
    }
