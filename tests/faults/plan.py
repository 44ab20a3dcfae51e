"""What one schedule does.  In: a seed and a number.  Out: people, acts and injections with their times.  Pure.

Each field of each person belongs to one side, and only that side edits it: so the last edit of a field is what all
sides have to show in the end, and no rule about double edits is needed to say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

HUBSPOT, MAILCHIMP = "hubspot", "mailchimp"
SIDES = (HUBSPOT, MAILCHIMP)
FIELDS = ("given_name", "job_title", "company_name", "city", "phone")
CLEARABLE = frozenset({"job_title", "company_name", "city", "phone"})

PEOPLE = 20
FIRST = 14  # of them are there, and in step, before the trouble begins
ACTS = 60
SPAN = 3.0  # seconds in which acts and injections begin

# kind -> the seconds for which it lasts
PROCESSES = {
    "kill_web": 0.2,
    "kill_worker": 0.2,
    "kill_workers": 0.3,
    "kill_all": 0.3,
    "stop_web": 1.2,
    "stop_worker": 2.6,
    "stop_workers": 2.6,
}
DATABASE = {"pg_immediate": 0.3, "pg_fast": 0.3, "pg_kill_backend": 0.1, "pg_cut": 0.1, "pg_clock": 1.0}
OUTSIDE = {"disk_full": 0.8, "clock": 1.2}
CALLS = {
    "calls_429": 1.0,
    "calls_5xx": 1.0,
    "calls_html": 0.8,
    "calls_reset_before": 1.0,
    "calls_reset_after": 1.0,
    "calls_timeout_before": 1.0,
    "calls_timeout_after": 1.0,
    "calls_slow": 1.5,
    "token_revoked": 0.6,
}
WEBHOOKS = {
    "webhooks_dropped": 1.5,
    "webhooks_doubled": 1.5,
    "webhooks_reordered": 1.5,
    "webhooks_delayed": 1.5,
    "webhooks_unheard": 1.5,
}
KINDS = {**PROCESSES, **DATABASE, **OUTSIDE, **CALLS, **WEBHOOKS}
# What makes no sense where nothing but webhooks says what changed.
NEEDS_POLL = frozenset({"webhooks_dropped"})


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person does at one side.  ``at``: seconds from the beginning."""

    at: float
    what: str  # create, set, clear, move (to another address), withdraw, lift (without evidence), delete
    person: int
    side: str
    field: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault.  ``which``: of the workers.  ``side``: of the vendors.  ``size``: of a jump of the clock, seconds."""

    at: float
    kind: str
    seconds: float
    side: str
    which: int
    size: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One schedule."""

    number: int
    owner: Mapping[tuple[int, str], str]  # (person, field) -> the side that edits it
    poll: bool  # whether the safety net is there; without it each acknowledged delivery has to count
    first: tuple[Act, ...]
    acts: tuple[Act, ...]
    injections: tuple[Injection, ...]


def polled(number: int, block: int) -> bool:
    """Every second block of schedules goes without the poll."""
    return number // block % 2 == 0


def make(seed: int, number: int, *, poll: bool, without: frozenset[str] = frozenset()) -> Plan:
    """The schedule of this seed and number, the same each time.  ``without``: kinds that cannot be had here."""
    dice = Random(f"{seed}:{number}")
    owner = {(p, f): dice.choice(SIDES) for p in range(PEOPLE) for f in FIELDS}
    home = {p: dice.choice((*SIDES, "both")) for p in range(PEOPLE)}
    first = [Act(0, "create", p, s) for p in range(FIRST) for s in SIDES if home[p] in {s, "both"}]
    acts: list[Act] = []
    for p in range(FIRST, PEOPLE):
        at = dice.uniform(0, SPAN * 0.6)
        acts += [Act(at + dice.uniform(0, 0.3), "create", p, s) for s in SIDES if home[p] in {s, "both"}]
    last = dict.fromkeys(range(PEOPLE), SPAN)
    busy = dice.sample(range(PEOPLE), 8)  # most edits are about few people, so that they meet each other
    for n in range(ACTS):
        p = dice.choice(busy) if dice.random() < 0.7 else dice.randrange(PEOPLE)
        field = dice.choice(FIELDS)
        clear = field in CLEARABLE and dice.random() < 0.1
        acts.append(
            Act(dice.uniform(0, SPAN), "clear" if clear else "set", p, owner[p, field], field, "" if clear else f"{n}")
        )
    for p in dice.sample(range(FIRST), 3):
        at = dice.uniform(0, SPAN * 0.7)
        acts.append(Act(at, "withdraw", p, dice.choice(SIDES)))
        if dice.random() < 0.7:
            acts.append(Act(at + dice.uniform(0.1, 1), "lift", p, dice.choice(SIDES)))
    for p in dice.sample(range(FIRST), 2):
        acts.append(Act(dice.uniform(0, SPAN), "move", p, HUBSPOT))
    for p in dice.sample(range(FIRST), 1):
        last[p] = dice.uniform(SPAN * 0.3, SPAN)
        acts.append(Act(last[p], "delete", p, HUBSPOT))
    acts = [a for a in acts if a.at < last[a.person] or a.what == "delete" or last[a.person] == SPAN]
    kinds = sorted(set(KINDS) - without - (frozenset() if poll else NEEDS_POLL))
    chosen = dice.sample(kinds, dice.randint(2, 6))
    if poll and dice.random() < 0.15 and not NEEDS_POLL & set(chosen):  # as often as the others, in half the schedules
        chosen[0] = dice.choice(sorted(NEEDS_POLL))
    injections = [
        Injection(
            dice.uniform(0, SPAN * 0.8),
            kind,
            KINDS[kind] * dice.uniform(0.8, 1.2),
            dice.choice(SIDES),
            dice.randrange(3),
            dice.choice((-1, 1)) * dice.uniform(0.5, 1),
        )
        for kind in chosen
    ]
    return Plan(
        number,
        owner,
        poll,
        tuple(first),
        tuple(sorted(acts, key=lambda a: a.at)),
        tuple(sorted(injections, key=lambda i: i.at)),
    )
