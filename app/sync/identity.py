"""Whom a record may belong to when no link and no address says it: the candidates that its keys find, scored.

A bounded number of index reads: at most ``keys.MOST`` keys, ``keys.BLOCK`` contacts of each, and of all these the
``CANDIDATES`` that share most with the record are compared.  What a score means is ``app.match``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection as Db

from app.core.words import Claim, Likeness, Value
from app.match import keys, rules
from app.match.choosing import choose, rank
from app.match.normalise import FIELDS, Evidence, evidence
from app.match.people import name_of
from app.match.reach import is_placeholder, plain_texts
from app.match.score import Band, Score, compare, plainly_two
from app.match.weights import Weights, shipped
from app.records import blocks
from app.records.proposals import Proposal
from app.sync.connection import Connections

Values: TypeAlias = Mapping[str, Value]

CANDIDATES: Final = 12
"""Contacts compared with one record: those that share most with it.  True pairs share several keys, others one."""

_TELLS: Final = tuple((1 + many) ** -0.5 for many in range(keys.BLOCK + 2))
"""What a key counts for that so many contacts have.  Measured on the labelled sets: the twelve that are found so hold
all true pairs but one in five thousand, which twice as many by the mere number of keys do not."""

LEAST: Final = 0.25
"""What the shared keys have to count for together: one that fifteen have does alone, one of a larger crowd does not.

Measured beside 60,000 strangers: of 11,347 true pairs of the labelled sets none is lost, and a record of a store of
60,000 is compared with a third fewer people; at 0.3 three are lost."""

READ: Final = frozenset(FIELDS)


def read(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """What facts at rest say about who it is."""
    return {name: fact["v"] for name, fact in facts.items() if name in READ}


def hashed(e: Evidence) -> dict[str, int]:
    """The keys of a record, the most telling first, each with the number under which it is filed."""
    return {key: blocks.hashed(key) for key in keys.blocking(e)}


def filed(values: Mapping[str, Value]) -> frozenset[int]:
    """The hashed keys under which a contact with these values is found."""
    return frozenset(hashed(evidence(values)).values())


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose record it is: ``link``, or nobody's yet; ``proposals``: who it may be, for a person to decide.

    ``score``: of the link.
    """

    link: int | None
    proposals: tuple[tuple[int, Score], ...] = ()
    score: Score | None = None


@dataclass(slots=True)
class Likely:
    """What one batch knows of whom its records may be."""

    values: Mapping[int, Values] = field(default_factory=dict, repr=False)  # of contacts that may be compared
    evidence: dict[int, Evidence] = field(default_factory=dict, repr=False)  # of contacts, where it was worked out
    keyed: dict[int, dict[str, int]] = field(default_factory=dict, repr=False)  # of claims: key -> as it is filed
    near: dict[int, list[int]] = field(default_factory=dict)  # of claims: whom to compare, while nobody was learnt
    under: dict[int, list[int]] = field(default_factory=dict)  # key -> contacts, the newest first
    apart: set[tuple[int, int]] = field(default_factory=set)  # pairs that a person said are two people
    # What was worked out already: a claim, the contact made of it and what is filed are mostly the same values.
    worked: dict[str, tuple[Evidence, dict[str, int]]] = field(default_factory=dict, repr=False)

    def of(self, values: Mapping[str, Value]) -> tuple[Evidence, dict[str, int]]:
        """The evidence in these values, and their keys: key -> as it is filed."""
        said = repr([(name, values[name]) for name in FIELDS if name in values])
        found = self.worked.get(said)
        if found is None:
            e = evidence(values)
            found = self.worked[said] = e, hashed(e)
        return found

    def about(self, contact: int) -> Evidence:
        """The evidence of a contact that may be compared."""
        found = self.evidence.get(contact)
        if found is None:
            found = self.evidence[contact] = evidence(self.values[contact])
        return found

    def plainly_another(self, mine: Evidence, contact: int, weights: Weights) -> bool:
        """Whether names and addresses show already that comparing the two would make nothing of it."""
        known = self.evidence.get(contact)
        addresses: set[str] | None
        if known is not None:
            name, addresses = known.name, {e.text for e in known.emails}
        else:
            values = self.values[contact]
            name, addresses = name_of(values), plain_texts(values)
        if addresses is None or not addresses.isdisjoint(e.text for e in mine.emails):
            return False  # an address in common says something about everybody else who has it, too
        return plainly_two(mine.name, name, weights, addresses=bool(addresses and mine.emails))

    def likeliest(self, claims: Iterable[Claim], weights: Weights | None) -> set[int]:
        """Of each claim the nearest contact, but for those that are plainly somebody else."""
        w = shipped() if weights is None else weights
        nearest = [(self.of(claim)[0], near[0]) for claim in claims if (near := self.near.get(id(claim)))]
        return {c for mine, c in nearest if c in self.values and not self.plainly_another(mine, c, w)}

    def learn(self, contact: int, values: Mapping[str, Value]) -> None:
        """A contact that this batch made or changed: later records of the batch may be the same person."""
        self.near.clear()
        self.evidence[contact], keyed = self.of(values)
        for key in keyed.values():
            having = self.under.setdefault(key, [])
            if contact not in having:
                having.insert(0, contact)

    def shared(self, hashes: Iterable[int]) -> list[int]:
        """The contacts that share most of the keys, the likeliest first."""
        return nearest(self.under, hashes)


def nearest(under: Mapping[int, Sequence[int]], hashes: Iterable[int]) -> list[int]:
    """The contacts that share most of these keys, the likeliest first; a key that few have counts for more.

    ``under``: key → contacts, the newest first.  Whoever shares only what a crowd has is left out.
    """
    near: dict[int, float] = {}
    for key in hashes:
        having = under.get(key, ())
        tells = _TELLS[min(len(having), keys.BLOCK + 1)]
        for contact in having[: keys.BLOCK]:
            near[contact] = near.get(contact, 0.0) + tells
    ordered = sorted((-tells, -contact) for contact, tells in near.items() if tells >= LEAST)
    return [-contact for _, contact in ordered[:CANDIDATES]]


def gather(db: Db, claims: Sequence[Claim]) -> Likely:
    """Everything that deciding about these claims may need; two statements, however many they are."""
    found = Likely()
    for claim in claims:
        found.keyed[id(claim)] = found.of(claim)[1]
    wanted = {key for of in found.keyed.values() for key in of.values()}
    if not wanted:
        return found
    found.under = blocks.of(db, wanted, keys.BLOCK + 1)
    found.near = {claim: found.shared(of.values()) for claim, of in found.keyed.items()}
    near = {contact for of in found.near.values() for contact in of}
    found.values, found.apart = blocks.known(db, near, READ)
    return found


def decide(claim: Claim, likely: Likely, weights: Weights | None = None) -> Verdict:
    """Link only on strong evidence without contradiction; otherwise ask, or make somebody new."""
    mine, keyed = likely.of(claim)
    shared = likely.near.get(id(claim))
    if shared is None:
        shared = likely.shared(keyed.values())
    w = shipped() if weights is None else weights
    known = [c for c in shared if c in likely.evidence or c in likely.values]
    near = [c for c in known if not likely.plainly_another(mine, c, w)]
    if not near:
        return Verdict(None)
    crowds = {name: len(likely.under.get(key, ())) for name, key in keyed.items()}
    scores = rank(mine, [likely.about(c) for c in near], weights, crowds)
    scored = list(zip(near, scores, strict=True))
    choice = choose(scored, lambda a, b: _apart(likely, a, b, weights))
    by_contact = dict(scored)
    score = by_contact[choice.link] if choice.link is not None else None
    return Verdict(choice.link, tuple((c, by_contact[c]) for c in choice.review), score)


def _apart(likely: Likely, a: int, b: int, weights: Weights | None) -> bool:
    if (min(a, b), max(a, b)) in likely.apart:
        return True
    score = compare(likely.about(a), likely.about(b), weights)
    return score.band is Band.CREATE or score.contradiction is not None


def likeness(one: Values, other: Values, weights: Weights | None = None) -> Score:
    """How like two contacts are, or two records."""
    return compare(evidence(one), evidence(other), weights)


def against(claim: Claim, values: Mapping[str, Value], weights: Weights | None = None) -> Score | None:
    """The score of a record and the contact that has its address, where they are plainly two people; else None.

    A mailbox of a function (info@, sales@) and one made up to fill a field (noemail@) identify nobody who has another
    name.
    """
    mine = evidence(claim)
    score = compare(mine, evidence(values), weights)
    levels = score.levels
    others = [levels.get(name) in rules.OTHER for name in ("first", "last")]
    two = (
        all(others)
        or levels.get("first") in rules.TWO_NAMES
        or levels.get("generation") == "different"
        or (levels.get("generation") == "one_sided" and levels.get("birth") != "exact")  # the mailbox of father and son
        or levels.get("birth") in {"decade", "different"}
    )
    if two:
        return score
    address = claim.get("email")
    nobodys = bool(mine.shared) or (isinstance(address, str) and is_placeholder(address))
    return score if nobodys and any(others) else None


def proposal(older: int, newer: int, score: Score, source: str = "record") -> Proposal:
    """The proposal that two contacts are one, with its reasons."""
    return Proposal(older, newer, round(score.log_odds, 2), explained(score), source, score.contradiction)


def refile(db: Db, connections: Connections, before: Mapping[int, Values], after: Mapping[int, Values]) -> None:
    """File contacts anew whose values changed other than through the chain; a contact without values is taken out."""
    if connections.likeness is not Likeness.OFF:
        blocks.refile(db, {i: filed(v) for i, v in before.items()}, {i: filed(v) for i, v in after.items()})


def explained(score: Score) -> list[dict[str, Any]]:
    """The reasons of a score, the heaviest first; weights in bits, above zero for one person."""
    return [{"field": r.field, "level": r.level, "weight": round(r.weight, 2), "words": r.words} for r in score.reasons]
