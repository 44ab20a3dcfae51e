"""Weights from a store's own records, without labels.  In: evidence of many records.  Out: ``Weights``.

u comes from random pairs, which are nearly all two people.  m and the prior come by expectation maximisation over the
pairs that keys find (Dempster, Laird & Rubin 1977; Winkler 1988 for linkage).  Both are drawn towards the weights one
starts from by as much as ``TRUST`` pairs weigh, so a small sample changes little.  Pure, and repeatable by its seed.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import comb
from typing import Final

from app.match.compare import Finding, findings
from app.match.keys import BLOCK, blocking
from app.match.normalise import Evidence
from app.match.score import judge
from app.match.weights import Weights, shipped

TRUST: Final = 200
"""Pairs that the weights one starts from count for."""

LEAST: Final = 5
"""Records that bear a value before it is told from others: what fewer bear may be a typo, and would name people."""

PRIORS: Final = (-26.0, -6.0)
"""Log-odds between which a prior is believed: a pair in 67 million, and one in 64."""

Counts = Mapping[str, Counter[str]]


def train(
    records: Sequence[Evidence],
    start: Weights | None = None,
    *,
    seed: int = 0,
    random_pairs: int = 20_000,
    most_pairs: int = 20_000,
    rounds: int = 8,
) -> Weights:
    """Weights estimated from records.  ``start``: where to begin, and what to lean on; by default the shipped ones.

    ``random_pairs``, ``most_pairs``: how many pairs are looked at for u and for m.  Fewer than two records: ``start``.
    """
    w = shipped() if start is None else start
    if len(records) < 2:
        return w
    chance = random.Random(seed)  # noqa: S311  a sample, no secret
    w = replace(w, frequencies=_frequencies(records, w))
    w = replace(w, levels=_levels(w.levels, _random(records, w, random_pairs, chance), side=1))
    pairs = _candidates(records)
    sample = pairs if len(pairs) <= most_pairs else sorted(chance.sample(pairs, most_pairs))
    scale = len(pairs) / len(sample) if sample else 0.0
    found = [(records[i], records[j], findings(records[i], records[j], w)) for i, j in sample]
    for _ in range(rounds):
        believed = [(f, judge(a, b, f, w, None).probability) for a, b, f in found]
        same = _count(believed)
        matches = scale * sum(p for _, p in believed)
        prior = math.log2(max(matches, 1.0) / comb(len(records), 2))
        prior = min(max(prior, PRIORS[0]), PRIORS[1])
        w = replace(w, levels=_levels(w.levels if start is None else start.levels, same, side=0), prior=prior)
    return w


def _candidates(records: Sequence[Evidence]) -> list[tuple[int, int]]:
    index: dict[str, list[int]] = defaultdict(list)
    pairs: set[tuple[int, int]] = set()
    for j, e in enumerate(records):
        for key in blocking(e):
            pairs.update((i, j) for i in index[key][-BLOCK:])
            index[key].append(j)
    return sorted(pairs)


def _random(records: Sequence[Evidence], w: Weights, many: int, chance: random.Random) -> Counts:
    drawn = (chance.sample(range(len(records)), 2) for _ in range(many))
    pairs = ((records[i], records[j]) for i, j in drawn)
    judged = ((found, judge(a, b, found, w, None)) for a, b in pairs for found in (findings(a, b, w),))
    return _count((found, 1.0 - score.probability) for found, score in judged)


def _count(weighted: Iterable[tuple[Sequence[Finding], float]]) -> Counts:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for found, weight in weighted:
        for f in found:
            counts[f.field][f.level] += weight  # type: ignore[assignment]  # a Counter adds fractions too
    return counts


def _levels(
    levels: Mapping[str, Mapping[str, tuple[float, float]]], counts: Counts, side: int
) -> dict[str, dict[str, tuple[float, float]]]:
    """The levels with one side (0: m, 1: u) drawn towards what was counted."""
    drawn: dict[str, dict[str, tuple[float, float]]] = {}
    for field, table in levels.items():
        seen = counts.get(field, Counter())
        total = sum(seen.values()) + TRUST
        drawn[field] = {}
        for level, mu in table.items():
            expected = mu[side] * (total - TRUST)
            rare = side == 1 and max(seen[level], expected) < LEAST  # a few hits in a sample say nothing about u
            value = ((expected if rare else seen[level]) + TRUST * mu[side]) / total
            drawn[field][level] = (value, mu[1]) if side == 0 else (mu[0], value)
    return drawn


def _frequencies(records: Sequence[Evidence], w: Weights) -> Mapping[str, Mapping[str, float]]:
    """How common names and towns are here; what is not seen here keeps the share it had."""
    values = {
        "first": Counter(e.name.first for e in records if e.name.first),
        "last": Counter(e.name.last for e in records if e.name.last),
        "city": Counter(e.city for e in records if e.city),
    }
    tables = {}
    for field, table in w.frequencies.items():
        total = sum(values[field].values())
        here = {v: n / total for v, n in values[field].items() if n >= LEAST}
        tables[field] = {**table, **here}
    return tables
