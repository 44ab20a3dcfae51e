"""A world with companies, deals, colleagues and acts: vendors that live in dicts, and what there is to look at."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.objects import NOT_YET
from app.core.words import Fact
from app.records import engagements
from app.sync import summarising
from app.sync.connection import Connections
from connectors.contract import (
    Act,
    Action,
    ActPage,
    Can,
    Doing,
    Done,
    Event,
    Failed,
    Gone,
    Kind,
    Note,
    Page,
    Receipt,
    Record,
    Ref,
    Side,
    Tie,
    TryLater,
)
from tests.world import MAPPING, START, Vendor, World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
AROUND = (
    MAPPING
    + """
  engagement_score: {{theirs: points, way: out, clear: allowed}}
  last_touch_at: {{theirs: touched, way: out, clear: allowed}}
  emails_opened: {{theirs: opens, way: out, clear: allowed}}
  company_domain: {{theirs: domain, way: out, clear: allowed}}
  deal_status: {{theirs: deal, way: out, clear: allowed}}
  deal_amount: {{theirs: worth, way: out, clear: allowed}}
company:
  fields:
    name: {{theirs: title}}
    domain: {{theirs: web}}
    industry: {{theirs: branch}}
deal:
  fields:
    name: {{theirs: title}}
    stage: {{theirs: stage}}
    amount: {{theirs: worth}}
    currency: {{theirs: money}}
    owner: {{theirs: owner}}
    lost_reason: {{theirs: why}}
  stages: {{closed: won, dropped: lost}}
  currency: EUR
engagement:
  timeline: [click, form]
"""
)
OBJECTS = (Kind.COMPANY, Kind.DEAL, Kind.COLLEAGUE)


class Full(Vendor):
    """A vendor that has all of it.  ``quiet``: a change of ties moves no modified time and tells no event."""

    can = Vendor.can | {Can.COMPANIES, Can.DEALS, Can.COLLEAGUES, Can.ENGAGEMENT, Can.TIMELINE}

    def __init__(self, label: str, clock: itertools.count[int]) -> None:
        super().__init__(label, clock)
        self.others: dict[Kind, dict[str, Record]] = {kind: {} for kind in OBJECTS}
        self.done: list[Act] = []
        self.entries: dict[str, tuple[str, str]] = {}
        self.note_next: list[str] = []  # "before", "after": how the next notes end
        self.trouble: list[Exception] = []  # what the next calls for objects raise

    def have(
        self,
        kind: Kind,
        id_: str,
        fields: Mapping[str, Any] | None = None,
        ties: Mapping[Kind, Sequence[Tie | str]] | None = None,
        *,
        quiet: bool = False,
        former: Sequence[str] = (),
    ) -> None:
        """Change or create a company, a deal or a colleague, as a person there would."""
        before = self.others[kind].get(id_)
        moment = before.modified if quiet and before is not None else START + timedelta(seconds=next(self.clock))
        all_ties = dict(before.ties) if before is not None else {}
        all_ties |= {k: tuple(Tie(x) if isinstance(x, str) else x for x in v) for k, v in (ties or {}).items()}
        all_fields = {**(before.fields if before is not None else {}), **(fields or {})}
        for one in former:
            self.others[kind].pop(one, None)
        record = Record(kind, id_, all_fields, moment, former_ids=tuple(former), ties=all_ties)
        self.others[kind][id_] = record
        if not quiet:
            self.events.append(
                Event(kind, Action.CHANGED, Ref(id_), f"{self.label}:{kind}:{id_}:{moment}", moment, tuple(former))
            )

    def lose(self, kind: Kind, id_: str) -> None:
        """Delete one."""
        del self.others[kind][id_]
        moment = START + timedelta(seconds=next(self.clock))
        self.events.append(Event(kind, Action.DELETED, Ref(id_), f"{self.label}:{kind}:{id_}:gone", moment))

    def did(self, id_: str, kind: Doing, who: str, at: datetime | None = None, **said: Any) -> Act:
        """Somebody does something, or it is told otherwise."""
        ref = Ref(who, "email") if "@" in who else Ref(who)
        act = Act(id_, ref, kind, at if at is not None else START + timedelta(seconds=next(self.clock)), **said)
        self.done.append(act)
        return act

    def _trouble(self) -> None:
        if self.trouble:
            raise self.trouble.pop(0)

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        if kind is Kind.CONTACT:
            return super().read(kind, ids)
        self._trouble()
        assert len(ids) <= self.limits.read_batch
        return [self.others[kind][i] for i in ids if i in self.others[kind]]

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        if kind is Kind.CONTACT:
            return super().changed(kind, cursor)
        self._trouble()
        rows = sorted(self.others[kind].values(), key=lambda r: (r.modified, r.id))
        since = datetime.min.replace(tzinfo=UTC) if cursor is None else datetime.fromisoformat(cursor)
        rows = [r for r in rows if r.modified > since]
        page = rows[: self.page]
        after = page[-1].modified if page else since
        return Page(tuple(page), after.isoformat(), len(rows) > self.page)

    def acts(self, cursor: str | None) -> ActPage:
        self._trouble()
        start = 0 if cursor is None else int(cursor)
        page = self.done[start : start + self.page]
        return ActPage(tuple(page), str(start + len(page)), start + self.page < len(self.done))

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        ending = self.note_next.pop(0) if self.note_next else "ok"
        if ending == "before":
            raise TryLater("no answer")
        receipts: list[Receipt] = []
        for note in notes:
            if note.id not in self.records:
                receipts.append(Gone(note.key, "no such record"))
                continue
            if note.again or note.key not in self.entries:
                self.entries.setdefault(note.key, (note.id, note.text))
            else:
                self.entries[f"{note.key} again"] = (note.id, note.text)
            receipts.append(Done(note.key, note.key))
        if ending == "after":
            problem = TryLater("no answer", landed=True)
            return [Failed(note.key, problem) for note in notes]
        return receipts


class Around(World):
    """A world of such vendors."""

    vendors: dict[str, Full]  # type: ignore[assignment]

    def __init__(self, database: Database, *, mapping_text: str = AROUND, **more: Any) -> None:
        super().__init__(database, TWO, mapping_text=mapping_text, vendor=Full, **more)

    def due(self) -> None:
        """As in the world, and the rounds and entries too."""
        super().due()
        with self.database.write() as db:
            db.execute(update(t.survey).values(due_at=0))
            db.execute(update(t.timeline_entry).where(t.timeline_entry.c.due_at.is_not(None)).values(due_at=0))

    def rest(self, *, whole: bool = False) -> int:
        """Read all kinds everywhere once, then step until nothing is left; how many write calls it took."""
        if whole:
            with self.database.write() as db:
                db.execute(update(t.survey).values(cursor=None))
        calls = self.settle()
        with self.database.write() as db:
            db.execute(update(t.survey).values(due_at=0))
        for _ in range(200):
            if not self.rounds.step() and not self._rounds_due():
                break
        else:
            raise AssertionError("the rounds do not end")
        self.summed()
        calls += self.settle()
        with self.database.write() as db:
            db.execute(update(t.timeline_entry).where(t.timeline_entry.c.due_at.is_not(None)).values(due_at=0))
        while self.timeline.step():
            pass
        return calls

    def _rounds_due(self) -> bool:
        with self.database.read() as db:
            now = clock_of(db)
            return db.execute(select(t.survey.c.kind).where(t.survey.c.due_at <= now)).first() is not None

    def summed(self) -> int:
        """Make all summaries that are due; how many steps it took."""
        steps = 0
        while self.database.transact(lambda db: summarising.summarise(db, self.connections)):
            steps += 1
        return steps

    def contact(self, mail: str) -> dict[str, Any]:
        """The values of a contact by its address."""
        return self.facts_of(mail)[1]

    def facts_of(self, mail: str) -> tuple[int, dict[str, Any]]:
        for row in self.rows(t.contact):
            values = {name: Fact.from_json(data).value for name, data in row.facts.items()}
            if values.get("email") == mail and row.merged_into is None:
                return row.id, values
        raise AssertionError(f"nobody has {mail}")

    def replaced(self, connections: Mapping[str, Any]) -> None:
        """Other connections, as after a restart."""
        self.connections = Connections(connections, likeness=self.likeness)
        self.start()

    def sums(self, mail: str) -> dict[tuple[str, int], int]:
        """How often a contact did what: (kind, human) → number."""
        number, _ = self.facts_of(mail)
        rows = [r for r in self.rows(t.engagement_sum) if r.contact_id == number]
        return {(r.kind, r.human): r.number for r in rows}

    def counted_anew(self) -> dict[tuple[int, str, int], tuple[int, int, int]]:
        """What the sums have to be, by the rows."""
        found: dict[tuple[int, str, int], list[int]] = {}
        for row in self.rows(t.engagement):
            if row.contact_id is not None and row.outcome not in NOT_YET:
                human = engagements.UNSAID if row.human is None else row.human
                found.setdefault((row.contact_id, row.kind, human), []).append(row.at)
        return {key: (len(times), min(times), max(times)) for key, times in found.items()}

    def kept_sums(self) -> dict[tuple[int, str, int], tuple[int, int, int]]:
        """The sums as they are kept."""
        rows = self.rows(t.engagement_sum)
        return {(r.contact_id, r.kind, r.human): (r.number, r.first_at, r.last_at) for r in rows}
