"""What the agreement makes of a word about a lead: taken, agreed, refused or flagged, and what moves by it.  Pure.

The same for a person's word, given here, and for a claim that a vendor's field makes; who speaks counts by team.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.agreement.conditions import Condition
from app.agreement.load import Agreement, Reason, Stage
from app.agreement.words import OPEN, Finding, Judgement, Lead, Said, Standing, Team, Word
from app.core.clock import from_ms

NO_REASON: Final = "no_reason"
UNKNOWN_REASON: Final = "unknown_reason"
TOO_EARLY: Final = "too_early"
LONGEST: Final = 200  # characters of a reason, which has to fit into a vendor's field


@dataclass(frozen=True, slots=True)
class Move:
    """What changes at a moment: the stage, the standing, or both."""

    stage: Stage | None
    at: int
    why: str
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    by: str | None = field(default=None, repr=False)
    status: Standing | None = None  # None: what the stage brings
    reason: str | None = None  # for giving back
    rest: int | None = None  # ms; None = for ever


@dataclass(frozen=True, slots=True)
class Ruling:
    """What follows from a word."""

    judgement: Judgement
    move: Move | None = None
    flag: str | None = None


def rested(lead: Lead, moment: int) -> bool:
    """Whether it may be handed over (again)."""
    return lead.status is not Standing.REJECTED and (lead.rest_until is None or lead.rest_until <= moment)


def condition_of(agreement: Agreement, stage: Stage, lead: Lead) -> Condition | None:
    """What makes the stage true for this lead: the handover asks for more from one that was given back."""
    if stage.name == agreement.handover.at and lead.recycled and stage.again is not None:
        return stage.again
    return stage.when


def standing_at(agreement: Agreement, lead: Lead, stage: Stage | None) -> Standing | None:
    """The standing that a stage brings; None: as before."""
    if stage is None:
        return None
    if stage.name == agreement.handover.at:
        return Standing.NEW
    if stage.rank < agreement.names[agreement.handover.qualified].rank:
        return None
    if stage.team is Team.SALES:
        return Standing.QUALIFIED
    return Standing.DONE if lead.status is not None else None


def judge(agreement: Agreement, lead: Lead, said: Said, known: Mapping[str, Any], now: int) -> Ruling:
    """What follows from what was said at ``now`` about a lead that stands so."""
    return _Judge(agreement, lead, said, known, now).ruling()


def told(facts: Mapping[str, Any]) -> str:
    """The facts that made a stage true, in one line."""
    return _cut("; ".join(f"{_short(name)}: {_plain(name, value)}" for name, value in facts.items()) or "as agreed")


def _short(name: str) -> str:
    return name.removeprefix("contact.").removeprefix("engagement.").replace("_", " ").replace(".", " ")


def _plain(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int) and abs(value) > 10**10 and name.rsplit(".", 1)[-1] not in {"count", "human"}:
        return from_ms(value).date().isoformat()
    return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


class _Judge:
    def __init__(self, agreement: Agreement, lead: Lead, said: Said, known: Mapping[str, Any], now: int) -> None:
        self._agreement = agreement
        self._lead = lead
        self._said = said
        self._known = known
        self._now = now
        self._here = agreement.stage(lead.stage)
        self._who = said.by if said.by is not None else said.source

    def ruling(self) -> Ruling:
        match self._said.word:
            case Word.STAGE:
                return self._stage(self._said.value)
            case Word.STATUS:
                return self._status(self._said.value)
            case Word.REASON:
                return self._reason(self._said.value)
            case Word.ACCEPT:
                return self._accept()
            case Word.REJECT:
                return self._give_back(self._said.reason)
            case Word.RECYCLE:
                return self._take_back(self._said.reason)

    def _move(self, stage: Stage | None, why: str, **more: Any) -> Ruling:
        move = Move(stage, self._now, _cut(why), by=self._who, **more)
        return Ruling(Judgement(Finding.TAKEN, why), move)

    def _stage(self, name: str | None) -> Ruling:
        agreement, here, team = self._agreement, self._here, self._said.team
        stage = agreement.stage(name)
        if name is None:
            return refused("an emptied field changes no stage")
        if stage is None:
            return refused(f"there is no stage {name!r}; there are: {', '.join(s.name for s in agreement.stages)}")
        if stage is here:
            return agreed(f"it is at {stage.name} already")
        back = here is not None and stage.rank < here.rank
        if back and stage.name == agreement.rejection.to and self._lead.status in OPEN and team is Team.SALES:
            return self._give_back(self._said.reason)
        if not stage.follows(here):
            at = here.name if here is not None else "no stage"
            how = "a lead goes back by being given back with a reason" if back else "the agreement has no such move"
            return refused(f"from {at} to {stage.name}: {how}")
        if team not in stage.said:
            return refused(f"{stage.name} is not reached by a word of {team}: {_how(stage)}")
        if stage.provided is not None and not stage.provided.holds(self._known, self._now):
            return refused(f"{stage.name} needs more than a word: {stage.provided.text}")
        if stage.name == agreement.handover.at and not rested(self._lead, self._now):
            return refused(f"it was given back: {self._lead.given_reason}; {_rests(self._lead)}")
        facts = stage.provided.because(self._known, self._now) if stage.provided is not None else {}
        return self._move(stage, f"{team} said so", facts=facts)

    def _status(self, value: str | None) -> Ruling:
        lead = self._lead
        if value is None:
            return refused("an emptied field changes no standing")
        if lead.status is not None and value == lead.status:
            return agreed(f"it is {value} already")
        if value == Standing.ACCEPTED:
            return self._accept()
        if value in {Standing.REJECTED, Standing.RECYCLED}:
            return self._give_back(self._said.reason)
        if value == Standing.QUALIFIED:
            return self._stage(self._agreement.handover.qualified)
        if value in set(Standing):
            return refused(f"a lead does not become {value} by a field")
        return refused(f"there is no standing {value!r}; there are: {', '.join(Standing)}")

    def _reason(self, value: str | None) -> Ruling:
        if value is None:
            return agreed("no reason is given")
        if value not in self._agreement.reasons:
            return refused(self._no_such_reason(value))
        if self._lead.flag in {NO_REASON, UNKNOWN_REASON}:  # it was given back before the reason was said
            return self._give_back(value)
        return Ruling(Judgement(Finding.TAKEN, "kept for when it is given back"))

    def _accept(self) -> Ruling:
        if self._said.team is not Team.SALES:
            return refused("sales accepts what marketing hands over")
        if self._lead.status is Standing.NEW:
            return self._move(
                self._agreement.stage(self._agreement.handover.accepted), "sales accepted", status=Standing.ACCEPTED
            )
        if self._lead.status in OPEN:
            return agreed(f"it is {self._lead.status} already")
        return refused("it is not handed over at present")

    def _give_back(self, reason: str | None) -> Ruling:
        agreement, lead = self._agreement, self._lead
        qualified = agreement.names[agreement.handover.qualified]
        if self._said.team is not Team.SALES:
            return refused("sales gives back; marketing takes back")
        if lead.status in {Standing.RECYCLED, Standing.REJECTED}:
            return agreed("it was given back already")
        if lead.status not in OPEN:
            return refused("it is not handed over at present")
        if self._here is not None and self._here.rank > qualified.rank:
            return refused(f"it is at {self._here.name}: the deal is won or lost in the CRM, not the lead given back")
        reason = reason if reason is not None else lead.offered
        if reason is None:
            why = f"given back without a reason; say one of: {', '.join(agreement.reasons)}"
            return Ruling(Judgement(Finding.FLAGGED, why), flag=NO_REASON)
        known = agreement.reasons.get(reason)
        if known is None:
            return Ruling(Judgement(Finding.FLAGGED, self._no_such_reason(reason)), flag=UNKNOWN_REASON)
        owed = agreement.rejection
        tried = lead.attempts >= owed.attempts and len(lead.channels) >= owed.channels
        if known.attempts and not tried and lead.reached_at is None:
            machine = f" (a machine's {lead.by_machine} do not count)" if lead.by_machine else ""
            why = (
                f"given back ({reason}) after {_number(lead.attempts, 'attempt')} on "
                f"{_number(len(lead.channels), 'channel')}{machine}; agreed were {owed.attempts} on {owed.channels}"
            )
            return Ruling(Judgement(Finding.FLAGGED, why), flag=TOO_EARLY)
        return self._back(known, f"sales gave it back: {known.means}")

    def _take_back(self, reason: str | None) -> Ruling:
        if self._said.team is Team.SALES:
            return self._give_back(reason)
        if self._lead.status not in OPEN:
            return refused("it is not with sales")
        known = self._agreement.reasons.get(reason) if reason is not None else None
        if reason is not None and known is None:
            return refused(self._no_such_reason(reason))
        if known is not None:
            return self._back(known, f"marketing took it back: {known.means}")
        rest = self._agreement.rejection.rest
        return self._back(Reason("", "", ends=False, attempts=False, rest=rest), "marketing took it back")

    def _back(self, reason: Reason, why: str) -> Ruling:
        stage = self._agreement.names[self._agreement.rejection.to]
        return self._move(
            stage,
            why,
            facts={"lead.attempts": self._lead.attempts},
            status=Standing.REJECTED if reason.ends else Standing.RECYCLED,
            reason=reason.name if reason.name else None,
            rest=None if reason.ends else reason.rest,
        )

    def _no_such_reason(self, value: str) -> str:
        return f"{value!r} is no reason of the agreement; there are: {', '.join(self._agreement.reasons)}"


NOBODY_AGREED: Final = Ruling(Judgement(Finding.REFUSED, "no agreement was in force at that time"))


def refused(why: str) -> Ruling:
    """Not as agreed, and changes nothing."""
    return Ruling(Judgement(Finding.REFUSED, why))


def agreed(why: str) -> Ruling:
    """It is so already."""
    return Ruling(Judgement(Finding.AGREED, why))


def _how(stage: Stage) -> str:
    ways = [f"when {stage.when.text}"] if stage.when is not None else []
    ways += [f"{team} says so" for team in sorted(stage.said)]
    return " or ".join(ways) if ways else "by being given back"


def _rests(lead: Lead) -> str:
    if lead.rest_until is None:
        return "for good"
    return f"it rests until {from_ms(lead.rest_until).date().isoformat()}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
