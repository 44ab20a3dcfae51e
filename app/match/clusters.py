"""Groups of records that are one person, from scored pairs.  In: pairs.  Out: groups, without chains of weak links.

Two groups become one only when the pairs between them support it on average, pairs nobody scored counting against,
and none of them contradicts.  So A–B and B–C do not make A–C one person when A and C are plainly two.  The order of the
pairs does not matter.  Pure.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

UNSEEN: Final = -6.0
"""Log-odds of a pair that no key found: most such pairs are two people."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A scored pair."""

    a: str
    b: str
    log_odds: float
    contradicted: bool = False


@dataclass(slots=True)
class _Between:
    """What the scored pairs between two groups say together."""

    total: float = 0.0
    scored: int = 0
    contradicted: bool = False

    def add(self, other: _Between) -> None:
        self.total += other.total
        self.scored += other.scored
        self.contradicted = self.contradicted or other.contradicted


def clusters(edges: Iterable[Edge], threshold: float, unseen: float = UNSEEN) -> tuple[tuple[str, ...], ...]:
    """Groups of two or more, each sorted, by their first member.

    ``threshold``: log-odds that the pairs between two groups must reach on average; ``unseen``: what a pair that is
    not among the edges counts for.
    """
    members, between = _start(edges)
    heap = [(-b.total, x, y, 1, 1) for x, near in between.items() for y, b in near.items() if x < y]
    heapq.heapify(heap)
    while heap:
        minus, x, y, size_x, size_y = heapq.heappop(heap)
        if -minus < threshold:
            break
        if x not in members or y not in members or (len(members[x]), len(members[y])) != (size_x, size_y):
            continue  # one of them has grown since
        if between[x][y].contradicted:
            continue
        _merge(x, y, members, between)
        for z, b in between[x].items():
            pairs = len(members[x]) * len(members[z])
            average = (b.total + unseen * (pairs - b.scored)) / pairs
            first, second = min(x, z), max(x, z)
            heapq.heappush(heap, (-average, first, second, len(members[first]), len(members[second])))
    return tuple(sorted(tuple(sorted(group)) for group in members.values() if len(group) > 1))


def _start(edges: Iterable[Edge]) -> tuple[dict[str, list[str]], dict[str, dict[str, _Between]]]:
    members: dict[str, list[str]] = {}
    between: dict[str, dict[str, _Between]] = defaultdict(dict)
    for edge in sorted(edges, key=lambda e: (min(e.a, e.b), max(e.a, e.b), e.log_odds, e.contradicted)):
        if edge.a == edge.b:
            continue
        said = _Between(edge.log_odds, 1, edge.contradicted)
        between[edge.a][edge.b] = between[edge.b][edge.a] = said  # a pair said twice: the later, stronger one
        members[edge.a], members[edge.b] = [edge.a], [edge.b]
    return members, between


def _merge(x: str, y: str, members: dict[str, list[str]], between: dict[str, dict[str, _Between]]) -> None:
    members[x].extend(members.pop(y))
    del between[x][y]
    for z, b in between.pop(y).items():
        if z == x:
            continue
        del between[z][y]
        joint = between[x].get(z)
        if joint is None:
            between[x][z] = between[z][x] = b
        else:
            joint.add(b)
