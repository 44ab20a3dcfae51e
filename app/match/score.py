"""Are these two one person?  In: two pieces of evidence.  Out: a ``Score``: log-odds, band, reasons, contradiction.

Weights of the fields are added up (Fellegi & Sunter 1969).  What a household shares is counted together and only up
to the point where it makes one person as likely as two.  LINK needs strong evidence that no fact contradicts; it is the
same function online and in batches.  Pure and symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from app.match import keys, rules
from app.match.compare import Finding, findings, first_level, named
from app.match.normalise import Evidence
from app.match.people import Name
from app.match.weights import Weights, shipped
from app.match.wording import words_of

CORRECTIONS: Final = frozenset({"counted once", "shared by many"})
"""Levels that are no findings but take something back."""


class Band(StrEnum):
    """What to do about two records."""

    LINK = "link"
    REVIEW = "review"
    CREATE = "create"


class Reason(NamedTuple):
    """What one field says: ``weight`` in bits, above zero for one person."""

    field: str
    level: str
    weight: float
    words: str


@dataclass(frozen=True, slots=True)
class Score:
    """How likely two records are one person, and why."""

    log_odds: float
    band: Band
    contradiction: str | None  # a sentence, without anybody's data
    weighed: tuple[tuple[str, str, float], ...] = field(repr=False)

    @property
    def levels(self) -> dict[str, str]:
        """Field → level; of findings, not of corrections."""
        return {f: level for f, level, _ in self.weighed if level not in CORRECTIONS}

    @property
    def probability(self) -> float:
        """The log-odds (base 2) as a probability, 0 to 1."""
        if self.log_odds > 60:
            return 1.0
        odds = math.exp2(self.log_odds)
        return odds / (1.0 + odds)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The evidence, the heaviest first."""
        ordered = sorted(self.weighed, key=lambda item: (-abs(item[2]), item[0]))
        return tuple(Reason(f, level, weight, words_of(f, level, weight)) for f, level, weight in ordered)


HOUSEHOLD: Final = 1.0
"""Log-odds that being of one household or office brings at most: about as many of its pairs are one person as two."""

CROWDED: Final = MappingProxyType(
    {
        "email": (keys.of_mailboxes, 6),
        "phone": (keys.of_phones, 6),
        "street": (keys.of_street, 12),
        "last": (keys.of_names, 6),
    }
)
"""Field → its keys, and how many records may have the same one without being a crowd."""

_IN_COMMON: Final = frozenset({"exact", "mailbox", "office"})


def compare(a: Evidence, b: Evidence, weights: Weights | None = None, crowds: Mapping[str, int] | None = None) -> Score:
    """The score of two records.  Without ``weights``: the shipped ones.

    ``crowds``: key (as in ``keys.blocking``) → how many records have it, where the caller knows: what many records
    share says less about any two of them.
    """
    w = shipped() if weights is None else weights
    return judge(a, b, findings(a, b, w), w, crowds)


def plainly_two(a: Name, b: Name, w: Weights, *, addresses: bool) -> bool:
    """Whether names alone show that ``compare`` would say CREATE, whatever else the two have in common.

    For who is compared with many: it costs a fraction.  ``addresses``: both have e-mail addresses, none in common.
    """
    if not a.first or not b.first or first_level(a.first, b.first, w) not in rules.OTHER:
        return False
    found = list(named(a, b, w))
    levels = {f.field: f.level for f in found}
    if levels.get("first") not in rules.OTHER:  # a middle name, or the family name in its place
        return False
    fields = rules.shared(levels)
    most = HOUSEHOLD  # all that a household shares, and whatever is counted with it
    for f in found:
        bits = w.weight(*f)
        if bits < 0 or f.field not in fields:
            most += bits
    if addresses and "email" not in fields:
        most += max(bits for level, bits in w.bits["email"].items() if level != "exact")
    return most < w.review


def judge(a: Evidence, b: Evidence, found: Sequence[Finding], w: Weights, crowds: Mapping[str, int] | None) -> Score:
    """The score of findings that are known already."""
    weighed = [(f.field, f.level, w.weight(*f)) for f in found]
    levels = {f.field: f.level for f in found}
    fields = rules.shared(levels)
    excess = sum(item[2] for item in weighed if item[0] in fields and item[2] > 0) - (HOUSEHOLD - w.prior)
    if excess > 0:
        weighed.append(("household", "counted once", -excess))
    if crowds:
        weighed.extend(_crowding(a, b, levels, crowds))
    return score_of(weighed, rules.contradiction(levels), rules.is_sure(levels), w)


def score_of(weighed: Sequence[tuple[str, str, float]], against: str | None, sure: bool, w: Weights) -> Score:
    """Adds the weights up and says the band."""
    total = w.prior + sum(item[2] for item in weighed)
    if total >= w.link and sure and against is None:
        band = Band.LINK
    else:
        band = Band.REVIEW if total >= w.review else Band.CREATE
    return Score(total, band, against, tuple(weighed))


def _crowding(
    a: Evidence, b: Evidence, levels: Mapping[str, str], crowds: Mapping[str, int]
) -> Iterator[tuple[str, str, float]]:
    for field_, (keys_of, usual) in CROWDED.items():
        if levels.get(field_) not in _IN_COMMON:
            continue
        both = keys.short(keys_of(a)) & keys.short(keys_of(b))
        many = max((crowds.get(key, 0) for key in both), default=0)
        if many > usual:
            yield field_, "shared by many", -math.log2(many / usual)
