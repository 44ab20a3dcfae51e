"""A lead's way from the first touch to the won deal and what came after, as the scorecard counts it.  Pure.

In: the lead's steps, what it and colleagues did, its deals.  Out: a ``Journey``.  The same whatever the order in which
these became known.  What is worked out:

- **source**: the first touch, by whoever (``app.agreement.attribution``), with its team and channel; the first
  campaign that a touch names; the first variant of an A/B test in anything sent to the person, or done by it.
- **rounds**: a round begins with a handover to sales and ends when the lead is given back, comes again, or its deals
  are lost.  Who comes again begins another round, so handovers, not people, are what rates are over.  A lead that sales
  found itself begins its round where it is first seen: qualified, or with its deal.
- **dates**: a milestone that was skipped counts as passed when a later one was: sales that qualified it took it on.
- **deals**: a deal is counted with one person, its main contact.  What any of its people did before it was opened
  counts for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.agreement.attribution import Touch
from app.agreement.facts import OURS
from app.agreement.words import Team
from app.core.objects import NOT_YET

TOUCHING: Final = frozenset({"click", "reply", "form", "page_visit", "survey", "event"})
"""What a person does by which they come closer."""
RECEIVED: Final = "received"
"""The person called or wrote: no attempt of sales."""
_CHANNELS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("send", "open", "click", "reply", "bounce", "unsubscribe", "mail"), "email"),
    **dict.fromkeys(("form", "page_visit", "survey"), "web"),
    "call": "phone",
    "message": "sms",
}
STAGES: Final = ("lead", "mql", "sal", "sql", "opportunity", "won")
"""The milestones in their order.  ``mql``: handed over; ``sal``: accepted by sales; ``sql``: sales found a need;
``opportunity``: a deal was opened."""


@dataclass(frozen=True, slots=True, order=True)
class Done:
    """One engagement, as far as it is counted."""

    at: int
    kind: str
    human: int = -1  # 1 a person, 0 a machine, -1 not said
    channel: str = ""  # as said; see ``way``
    campaign: str = ""
    variant: str = ""
    outcome: str = ""

    @property
    def way(self) -> str:
        """The channel, or the usual one of its kind."""
        return self.channel if self.channel else _CHANNELS.get(self.kind, self.kind)

    @property
    def counts(self) -> bool:
        """Whether it took place, and not by a machine alone."""
        return self.human != 0 and self.outcome not in NOT_YET


@dataclass(frozen=True, slots=True, order=True)
class Passed:
    """One step of a lead, in the words of the scorecard.

    ``what``: lead (came to the stage of a lead, or further), stage (came to the stage ``name``), mql, sal, sql,
    recycled, rejected.
    """

    at: int
    rank: int  # of steps at one moment
    what: str
    name: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Sale:
    """One deal."""

    opened_at: int
    key: int  # tells deals of one moment apart
    status: str  # open, won, lost
    closed_at: int | None = None
    amount: int | None = None  # ten thousandths
    currency: str = ""
    touches: tuple[Touch, ...] = field(default=(), repr=False)  # of all its people until it was opened, in order


@dataclass(slots=True)
class Round:
    """One way from a handover to a deal; moments in ms since 1970, None = not (yet) passed."""

    number: int
    begins: str
    at: dict[str, int] = field(default_factory=dict)  # milestone → when
    ended_at: int | None = None
    ended: str | None = None  # recycled, rejected, lost, again
    why: str | None = None
    sales: list[Sale] = field(default_factory=list)
    feedback_at: int | None = None
    tried_at: int | None = None
    tries: int = 0
    channels: int = 0
    kept: bool | None = None  # as many attempts as agreed; None: nothing to judge by
    did: set[str] = field(default_factory=set)  # kinds of engagement before it was decided

    def over(self, moment: int) -> bool:
        """Whether it was decided by then."""
        if self.ended_at is not None and self.ended_at <= moment:
            return True
        return bool(self.sales) and all(s.closed_at is not None and s.closed_at <= moment for s in self.sales)

    @property
    def open(self) -> bool:
        """Whether it may still go on."""
        return "won" not in self.at and self.ended is None

    def decided_at(self) -> int | None:
        """When it was won or ended."""
        return self.at.get("won", self.ended_at)


@dataclass(slots=True)
class Journey:
    """All of it."""

    team: str = ""
    channel: str = ""
    campaign: str = ""
    variant: str = ""
    first_touch_at: int | None = None
    last_touch_at: int | None = None
    rounds: list[Round] = field(default_factory=list)
    steps: Sequence[Passed] = ()
    acts: Sequence[Done] = ()
    sales: Sequence[Sale] = ()


@dataclass(frozen=True, slots=True)
class Owed:
    """How often sales has to try before it gives a lead back."""

    attempts: int
    channels: int


def touch(act: Done) -> Touch | None:
    """The touch that an act is; None for what is none."""
    if not act.counts:
        return None
    if act.kind in TOUCHING:
        return Touch(act.at, Team.MARKETING, act.way, act.campaign)
    return Touch(act.at, Team.SALES, act.way, act.campaign) if act.kind in OURS else None


def travel(steps: Iterable[Passed], acts: Iterable[Done], sales: Iterable[Sale], owed: Owed | None = None) -> Journey:
    """The journey of a lead.  ``sales``: the deals that are counted with it."""
    made = Journey(steps=sorted(steps), acts=sorted(acts), sales=sorted(sales))
    touches = [one for act in made.acts if (one := touch(act)) is not None]
    if touches:
        made.team, made.channel = touches[0].team, touches[0].channel
        made.first_touch_at, made.last_touch_at = touches[0].at, touches[-1].at
    made.campaign = next((t.campaign for t in touches if t.campaign), "")
    made.variant = next((variant(a) for a in made.acts if a.variant), "")
    made.rounds = _rounds(made.steps, made.sales)
    begins = [one.at[one.begins] for one in made.rounds]
    for i, this in enumerate(made.rounds):
        _finish(this, made.acts, begins[i + 1] if i + 1 < len(begins) else None, owed)
    return made


def variant(act: Done) -> str:
    """A variant by its full name: that of a test says nothing without the campaign."""
    return f"{act.campaign} · {act.variant}" if act.campaign else act.variant


def _rounds(steps: Sequence[Passed], sales: Sequence[Sale]) -> list[Round]:
    # A deal that is opened at the moment of a step goes before it: a stage that a deal makes true comes of the deal.
    events: list[tuple[int, int, Any]] = [(one.opened_at, 0, one) for one in sales]
    events += [(one.at, 1, one) for one in steps]
    rounds: list[Round] = []
    lead_at: int | None = None
    for at, _, one in sorted(events):
        now = rounds[-1] if rounds and not rounds[-1].over(at) else None
        if isinstance(one, Sale):
            if now is None:
                now = _begin(rounds, "opportunity", at)
            now.at.setdefault("opportunity", at)
            now.sales.append(one)
        elif one.what == "lead":
            lead_at = at if lead_at is None else lead_at
        elif one.what == "mql":
            if now is not None:
                now.ended, now.ended_at = "again", at
            _begin(rounds, "mql", at)
        elif one.what in {"sal", "sql"}:
            if now is None:
                now = _begin(rounds, "sql", at)
            if STAGES.index(one.what) >= STAGES.index(now.begins):
                now.at.setdefault(one.what, at)
        elif one.what in {"recycled", "rejected"} and now is not None:
            now.ended, now.ended_at, now.why = one.what, at, one.why
    if lead_at is not None and not rounds:
        _begin(rounds, "lead", lead_at)
    elif rounds:
        first = rounds[0]
        begin = first.at[first.begins]
        first.at["lead"] = begin if lead_at is None else min(lead_at, begin)
    return rounds


def _begin(rounds: list[Round], begins: str, at: int) -> Round:
    made = Round(len(rounds) + 1, begins, {begins: at})
    rounds.append(made)
    return made


def _finish(this: Round, acts: Sequence[Done], until: int | None, owed: Owed | None) -> None:
    """What became of its deals, its skipped milestones, and what was done meanwhile.  ``until``: the next one began."""
    won = [s.closed_at for s in this.sales if s.status == "won" and s.closed_at is not None]
    if won:
        this.at["won"] = min(won)
        if this.ended is not None and this.ended_at is not None and this.ended_at >= this.at["won"]:
            this.ended = this.ended_at = this.why = None
    elif this.sales and this.ended is None and all(s.status == "lost" for s in this.sales):
        this.ended, this.ended_at = "lost", max(s.closed_at for s in this.sales if s.closed_at is not None)
    if this.begins == "lead":
        return
    order = STAGES[STAGES.index(this.begins) :]
    later: int | None = None
    for name in reversed(order):
        when = this.at.get(name)
        later = when if later is None else later if when is None else min(when, later)
        if later is not None:
            this.at[name] = later
    begin = this.at[this.begins]
    decided = this.decided_at()
    end = min((m for m in (decided, until) if m is not None), default=None)
    channels: set[str] = set()
    for act in acts:
        if "won" in this.at and act.kind == "survey" and act.counts and act.at >= this.at["won"]:
            this.feedback_at = act.at if this.feedback_at is None else this.feedback_at
        if not act.counts or (end is not None and act.at > end):
            continue
        if this.number == 1 or act.at >= begin:
            this.did.add(act.kind)
        if act.kind in OURS and act.outcome != RECEIVED and act.at >= begin:
            this.tries += 1
            channels.add(act.way)
            this.tried_at = act.at if this.tried_at is None else this.tried_at
    this.channels = len(channels)
    if owed is not None and this.begins == "mql":
        this.kept = this.tries >= owed.attempts and this.channels >= owed.channels
