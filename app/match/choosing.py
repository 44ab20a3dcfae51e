"""Which of the candidates is it?  In: a record and what its keys found.  Out: whom to link, whom to propose.

What a pair cannot know, its neighbours show: an address used by two given names is nobody's own, and where two contacts
could take a record a person decides.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.match import rules
from app.match.normalise import Evidence
from app.match.score import Band, Score, compare
from app.match.weights import Weights


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do with a record: ``link`` to this contact, or None; ``review``: whom to propose, the likeliest first."""

    link: int | None
    review: tuple[int, ...]


def rank(
    record: Evidence,
    candidates: Sequence[Evidence],
    weights: Weights | None = None,
    crowds: Mapping[str, int] | None = None,
) -> list[Score]:
    """The score of a record with each of its candidates, in their order.

    Links that lean on an address that somebody with another given name uses too become proposals.
    """
    scores = [compare(record, candidate, weights, crowds) for candidate in candidates]
    if not any(score.band is Band.LINK for score in scores) or not any(map(_used_by_another, scores)):
        return scores
    return [
        replace(score, band=Band.REVIEW)
        if score.band is Band.LINK and not rules.is_sure({**score.levels, "email": "different"})
        else score
        for score in scores
    ]


def _used_by_another(score: Score) -> bool:
    levels = score.levels
    return levels.get("email") == "exact" and levels.get("first") in rules.OTHER


def choose(scored: Sequence[tuple[int, Score]], apart: Callable[[int, int], bool] | None = None) -> Choice:
    """What to do, from (contact, score) pairs; a contact may come several times, once per record it is made of.

    Linked to a contact that nothing known of it contradicts.  ``apart``: may two contacts be two people (always, where
    it is not given)?  Where one of those that could be linked may be another person than the best, none is.
    """
    best: dict[int, float] = {}
    linkable: set[int] = set()
    spoiled = {contact for contact, score in scored if score.contradiction is not None}
    for contact, score in scored:
        if score.band is not Band.CREATE:
            best[contact] = max(best.get(contact, score.log_odds), score.log_odds)
        if score.band is Band.LINK and contact not in spoiled:
            linkable.add(contact)
    ordered = sorted(best, key=lambda contact: (-best[contact], contact))
    able = [contact for contact in ordered if contact in linkable]
    link = able[0] if able and not any(apart is None or apart(able[0], other) for other in able[1:]) else None
    return Choice(link, tuple(contact for contact in ordered if contact != link))
