"""How a lead stands.  In: everything dated that happened, in any order, and the versions of the agreement.  Out: Lead.

A pure fold over the happenings in their total order (time, kind, content), so that it does not matter in which order
they arrived: a late one is folded in at its place.  Between them the fold stops where time alone may turn a condition,
where a new version comes into force, and where a lead that was given back has rested.

A stage is reached by its condition, or by the word of a team that may say it.  Back leads only what the agreement
names: ``from``, and giving back.  What a vendor's field says is a claim, judged like any other word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.agreement import facts, judging
from app.agreement.attempts import Touch, Working
from app.agreement.conditions import Condition
from app.agreement.enrolling import Enrolling
from app.agreement.judging import Move
from app.agreement.load import Agreement, Stage, Who
from app.agreement.terms import Need
from app.agreement.versions import Version, Versions
from app.agreement.words import OPEN, Entered, Finding, Happening, Judgement, Kind, Lead, Standing, Step, What, Word

HORIZON: Final = 2**62
OWED: Final = Need(1, unknown=True)
"""Whom nobody calls a machine counts as a person where a lead is given back: the doubt is not held against sales."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Everything that the fold knows at a moment, so that it can be gone on with where older rows are removed."""

    at: int
    made: int  # when it was made: what came here later is not in it
    standing: Mapping[str, Any] = field(repr=False)
    known: Mapping[str, Any] = field(repr=False)
    truth: Mapping[str, bool] = field(repr=False)
    stale: Sequence[str] = field(repr=False)  # stages whose condition has to be looked at again
    entries: Sequence[Entered] = field(default=(), repr=False)  # what its clocks began and ended by
    programmes: Mapping[str, Any] = field(default_factory=dict, repr=False)  # app.agreement.enrolling

    def to_json(self) -> dict[str, Any]:
        """The form at rest."""
        parts = {"standing": dict(self.standing), "known": dict(self.known), "truth": dict(self.truth)}
        entries = [dataclasses.asdict(entry) for entry in self.entries]
        more = {"stale": sorted(self.stale), "entries": entries, "programmes": dict(self.programmes)}
        return {"at": self.at, "made": self.made, **parts, **more}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Seal:
        """The seal of a form at rest."""
        entries = [Entered(**{**e, "what": What(e["what"]), "clocks": tuple(e["clocks"])}) for e in data["entries"]]
        parts = (data["standing"], data["known"], data["truth"], data["stale"])
        return cls(data["at"], data["made"], *parts, entries, data["programmes"])


def fold(
    happenings: Iterable[Happening], versions: Versions, until: int, seal: Seal | None = None, *, since: int = 0
) -> Lead:
    """How the lead stands at ``until`` (ms since 1970), and every step on the way.

    ``Lead.turns_at`` is the next moment at which it may stand otherwise although nothing happens.  ``seal``: go on from
    there; what is older counts no more, but for what a field holds, for consent, and for words that came here after it
    was made.  ``since``: nobody is enrolled in a programme before.
    """
    done = _Fold(versions, seal, since)
    lead = done.run(_ordered(happenings, seal), until)
    done.describe(until)
    return lead


def known_at(
    happenings: Iterable[Happening], versions: Versions, until: int, seal: Seal | None = None, *, since: int = 0
) -> tuple[Lead, Mapping[str, Any]]:
    """How the lead stands at ``until``, and the facts that conditions ask for, as they are then."""
    done = _Fold(versions, seal, since)
    lead = done.run(_ordered(happenings, seal), until)
    done.describe(until)
    return lead, done.known


def sealed(
    happenings: Iterable[Happening],
    versions: Versions,
    at: int,
    made: int,
    seal: Seal | None = None,
    *,
    since: int = 0,
) -> Seal:
    """All that is known of a moment at ``made``.  An earlier seal stays where the moment is before it."""
    if seal is not None and seal.at >= at:
        return seal
    done = _Fold(versions, seal, since)
    done.run(_ordered(happenings, seal), at)
    return done.seal(at, made)


def _ordered(happenings: Iterable[Happening], seal: Seal | None) -> list[Happening]:
    if seal is None:
        return sorted(happenings, key=lambda h: h.order)
    new: list[Happening] = []
    last: dict[str, Any] = {}
    for one in sorted(happenings, key=lambda h: h.order):
        if one.at > seal.at:
            new.append(one)
        elif one.said is not None and one.said.received > seal.made:
            new.append(replace(one, at=seal.at + 1))
        elif one.kind in {Kind.FACT, Kind.CONSENT}:
            last.update(one.values)
    late = {name: value for name, value in last.items() if seal.known.get(name) != value}
    if late:
        new.append(Happening(seal.at + 1, Kind.FACT, (), late))
    return sorted(new, key=lambda h: h.order)


class _Fold:
    def __init__(self, versions: Versions, seal: Seal | None = None, since: int = 0) -> None:
        self._versions = versions
        self._version: Version | None = None
        self._known: dict[str, Any] = facts.beginning()
        self._truth: dict[str, bool] = {}
        self._stale: set[str] = set()  # stages whose condition has to be looked at again
        self._flipping: set[str] = set()  # stages whose condition time alone may turn
        self._readers: dict[str, set[str]] = {}  # fact → stages whose condition reads it
        self._lead = Lead()
        self._working: Working | None = None  # on the lead since it was handed over last
        self._enrolling = Enrolling(since, seal.programmes if seal is not None else None)
        self._from = -HORIZON
        if seal is not None:
            self._from = seal.at
            self._under(versions.at(seal.at), again=True)
            self._known |= seal.known
            self._truth |= seal.truth
            self._stale = set(seal.stale)
            status = seal.standing["status"]
            self._lead = Lead(
                **{
                    **seal.standing,
                    "status": Standing(status) if status is not None else None,
                    "channels": tuple(seal.standing["channels"]),
                    "entries": list(seal.entries),
                }
            )

    @property
    def known(self) -> Mapping[str, Any]:
        """The facts, as far as it ran."""
        return self._known

    def seal(self, at: int, made: int) -> Seal:
        """All that is known at ``at``, up to where it ran."""
        parts = (self._lead.standing(), self._known, self._truth, sorted(self._stale))
        return Seal(at, made, *parts, self._lead.entries, self._enrolling.seal(at))

    def run(self, happenings: list[Happening], until: int) -> Lead:
        i, last = 0, self._from
        while True:
            upcoming = happenings[i].at if i < len(happenings) else HORIZON
            moment = min(upcoming, self._turns(last))
            if moment > until or moment == HORIZON:
                break
            self._enter(moment)
            touched: set[str] = set()
            while i < len(happenings) and happenings[i].at == moment:
                one = happenings[i]
                i += 1
                if one.said is None:
                    touched |= self._happen(one)
                    continue
                self._judge(moment, touched)
                touched = set()
                self._say(one, moment)
            self._judge(moment, touched)
            self._enrolling.look(self._known, moment)
            last = moment
        self._lead.memberships = tuple(self._enrolling.memberships)
        self._lead.turns_at = turns if (turns := self._turns(until)) < HORIZON else None
        return self._lead

    def _turns(self, after: int) -> int:
        """The next moment at which something may turn without a happening."""
        found = [HORIZON]
        new = self._versions.next(after)
        if new is not None:
            found.append(new)
        if self._lead.rest_until is not None and self._lead.rest_until > after:
            found.append(self._lead.rest_until)
        if self._version is not None:
            for stage in self._version.agreement.stages:
                for condition in (stage.when, stage.again):
                    if condition is not None and condition.flips:
                        turns = condition.turns(self._known, after)
                        if turns is not None:
                            found.append(turns)
        return min(*found, *self._enrolling.turns(self._known, after), HORIZON)

    def _enter(self, moment: int) -> None:
        """Be at a moment: under its version, with every condition to be looked at anew that time may have turned."""
        version = self._versions.at(moment)
        if version is not self._version:
            self._under(version)
        elif version is not None:
            self._stale |= self._flipping
            self._enrolling.passed()
        rest = self._lead.rest_until
        if rest is not None and rest <= moment and version is not None:
            self._stale.add(version.agreement.handover.at)

    def _under(self, version: Version | None, *, again: bool = False) -> None:
        """Judge by this version from now on; nothing is known of its conditions yet, unless it is so ``again``."""
        self._version = version
        self._enrolling.under(version.agreement if version is not None else None, again=again)
        self._truth.clear()
        self._readers.clear()
        if version is not None:
            for stage in version.agreement.stages:
                for path in _paths(stage.when, stage.again):
                    self._readers.setdefault(path, set()).add(stage.name)
            self._stale = {s.name for s in version.agreement.stages}
            self._flipping = {s.name for s in version.agreement.stages if _flips(s)}

    def _happen(self, happening: Happening) -> set[str]:
        """Let it happen to the facts; the stages whose conditions read what it may have changed."""
        if happening.act is not None and happening.act.kind in facts.OURS | {"reply"}:
            self._work(happening)
        changed = facts.apply(self._known, happening)
        self._enrolling.touch(changed)
        stages: set[str] = set()
        for path in changed:
            stages |= self._readers.get(path, set())
        self._stale |= stages
        return stages

    def _work(self, happening: Happening) -> None:
        """Count what was done about a lead that is with sales."""
        lead = self._lead
        if lead.status not in OPEN or lead.handed_at is None or happening.at < lead.handed_at:
            return
        if self._working is None:
            self._working = Working(
                OWED,
                attempts=lead.attempts,
                channels=lead.channels,
                machine=lead.by_machine,
                contact_at=lead.reached_at,
            )
        self._working.take(touch_of(happening))
        lead.attempts, lead.channels = self._working.attempts, self._working.channels
        lead.by_machine, lead.reached_at = self._working.machine, self._working.contact_at
        self._tell()

    # --- by conditions ------------------------------------------------------------------------------------------------

    def _judge(self, moment: int, touched: set[str]) -> None:
        """Move on as far as conditions allow, one stage after the other.  ``touched``: a fact of theirs changed."""
        if self._version is None:
            return
        agreement = self._version.agreement
        entered: set[str] = set()
        for _ in agreement.stages:
            moved = False
            for stage in agreement.stages:
                if stage.name in entered or not self._reachable(agreement, stage, moment):
                    continue
                condition = judging.condition_of(agreement, stage, self._lead)
                if condition is None:
                    continue
                before, now = self._truth.get(stage.name), self._true(stage, condition, moment)
                here = agreement.stage(self._lead.stage)
                if not now or (
                    here is not None and stage.rank < here.rank and before is not False and stage.name not in touched
                ):
                    continue
                why = condition.because(self._known, moment)
                self._move(Move(stage, moment, judging.told(why), facts=why))
                entered.add(stage.name)
                moved = True
                break
            if not moved:
                return

    def _reachable(self, agreement: Agreement, stage: Stage, moment: int) -> bool:
        here = agreement.stage(self._lead.stage)
        if here is stage or not stage.follows(here):
            return False
        return stage.name != agreement.handover.at or judging.rested(self._lead, moment)

    def _true(self, stage: Stage, condition: Condition, moment: int) -> bool:
        if stage.name in self._stale or stage.name not in self._truth or condition is stage.again:
            self._truth[stage.name] = condition.holds(self._known, moment)
            self._stale.discard(stage.name)
        return self._truth[stage.name]

    # --- by a word ----------------------------------------------------------------------------------------------------

    def _say(self, happening: Happening, moment: int) -> None:
        said = happening.said
        if said is None:
            return
        if self._version is None:
            ruling = judging.NOBODY_AGREED
        else:
            ruling = judging.judge(self._version.agreement, self._lead, said, self._known, moment)
        if said.number:
            self._lead.judgements[said.number] = ruling.judgement
        if said.word is Word.REASON and ruling.judgement.finding is not Finding.REFUSED:
            self._lead.offered = said.value
        if ruling.flag is not None:
            self._flag(ruling.flag, ruling.judgement, moment, said.by if said.by is not None else said.source)
        if ruling.move is not None:
            self._move(ruling.move)
            self._judge(moment, set())

    # --- steps --------------------------------------------------------------------------------------------------------

    def _move(self, move: Move) -> None:
        """Be at another stage, have another standing, or both; with one line of history for each."""
        if self._version is None:
            return
        lead, agreement = self._lead, self._version.agreement
        moment = move.at
        standing = move.status if move.status is not None else judging.standing_at(agreement, lead, move.stage)
        if move.stage is not None and move.stage.name != lead.stage:
            self._step(What.STAGE, lead.stage, move.stage.name, move)
            self._enrolling.moved(lead.stage, move.stage.name, moment)
            lead.stage, lead.since, lead.reason = move.stage.name, moment, move.why
            self._entered(What.STAGE, move.stage.name, moment)
        if standing is not None and standing is not lead.status:
            self._step(What.STATUS, lead.status, standing, move)
            self._stand(standing, move)
        if lead.flag is not None:
            self._step(What.FLAG, lead.flag, None, move)
            lead.flag = lead.flag_why = None
        self._tell()

    def _stand(self, standing: Standing, move: Move) -> None:
        lead, moment = self._lead, move.at
        if standing is Standing.NEW:
            lead.requalified += lead.recycled > 0
            lead.handed_at, lead.accepted_at, lead.given_reason, lead.rest_until = moment, None, None, None
            lead.attempts, lead.channels, lead.offered = 0, (), None
            lead.by_machine, lead.reached_at, self._working = 0, None, None
        elif standing in OPEN:
            lead.accepted_at = moment if lead.accepted_at is None else lead.accepted_at
            lead.handed_at = moment if lead.handed_at is None else lead.handed_at
        elif standing in {Standing.RECYCLED, Standing.REJECTED}:
            lead.recycled += 1
            lead.recycled_at = moment
            lead.given_reason = move.reason
            lead.rest_until = moment + move.rest if move.rest is not None else None
        lead.status, lead.status_since = standing, moment
        self._entered(What.STATUS, standing, moment)

    def _entered(self, what: What, name: str, moment: int) -> None:
        """Keep what clocks begin and end by, where the agreement has any."""
        if self._version is None or self._version.agreement.promises is None:
            return
        agreement = self._version.agreement
        clocks: tuple[str, ...] = ()
        if what is What.STAGE and agreement.promises is not None:
            of_stage = [c.name for c in agreement.promises.sla.clocks.values() if c.begins == name]
            held = agreement.clocks
            clocks = tuple(n for n in of_stage if n not in held or held[n].holds(self._known, moment))
        owner = self._known.get("contact.owner_email")
        self._lead.entries.append(Entered(moment, what, str(name), agreement.digest, owner, clocks))

    def _flag(self, flag: str, judgement: Judgement, moment: int, by: str) -> None:
        lead = self._lead
        if lead.flag != flag:
            self._step(What.FLAG, lead.flag, flag, Move(None, moment, judgement.why, by=by))
        lead.flag, lead.flag_why = flag, judgement.why

    def _step(self, what: What, before: str | None, after: str | None, move: Move) -> None:
        version = self._version.agreement.digest if self._version is not None else ""
        self._lead.version = version
        before, after = (str(v) if v is not None else None for v in (before, after))
        self._lead.steps.append(Step(move.at, what, before, after, move.why, move.facts, move.by, version))

    def _tell(self) -> None:
        """Let conditions see how the lead stands."""
        lead = self._lead
        for name in facts.LEAD:
            value = getattr(lead, name)
            path = f"lead.{name}"
            value = str(value) if isinstance(value, Standing) else value
            if self._known.get(path) != value:
                if value is None:
                    self._known.pop(path, None)
                else:
                    self._known[path] = value
                self._stale |= self._readers.get(path, set())
                self._enrolling.touch((path,))

    def describe(self, until: int) -> None:
        """Which persona and profile the person is at the end."""
        if self._version is None:
            return
        agreement = self._version.agreement
        self._lead.persona = _first(agreement.personas, self._known, until)
        self._lead.profile = _first(agreement.profiles, self._known, until)


def touch_of(happening: Happening) -> Touch:
    """An engagement as attempts are counted by.  Raises ValueError for what is none."""
    act = happening.act
    if act is None:
        raise ValueError(f"no engagement: {happening.kind}")
    return Touch("\0".join(happening.key), happening.at, act.kind, act.human, act.by, act.channel, act.outcome)


def _first(of: Iterable[Who], known: Mapping[str, Any], now: int) -> str | None:
    return next((who.name for who in of if who.when.holds(known, now)), None)


def _paths(*conditions: Condition | None) -> set[str]:
    return {path for c in conditions if c is not None for path in c.paths}


def _flips(stage: Stage) -> bool:
    return any(c is not None and c.flips for c in (stage.when, stage.again))
