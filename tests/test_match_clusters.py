"""Groups from scored pairs: no chains of weak links, no matter the order."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.match.clusters import Edge, clusters


def edge(pair: str, log_odds: float, contradicted: bool = False) -> Edge:
    return Edge(pair[0], pair[1], log_odds, contradicted)


@pytest.mark.parametrize(
    ("edges", "groups"),
    [
        ([], ""),
        ([edge("ab", 9)], "ab"),
        ([edge("ab", -9)], ""),
        ([edge("ab", 9), edge("bc", 8), edge("ac", 7)], "abc"),
        ([edge("ab", 9), edge("bc", 8), edge("ac", -20)], "ab"),  # a–c are two people, whatever b says
        ([edge("ab", 9), edge("bc", 8), edge("ac", 3, contradicted=True)], "ab"),
        ([edge("ab", 9), edge("bc", 2)], "ab"),  # nobody found a–c: that counts against
        ([edge("ab", 9), edge("bc", 8)], "abc"),
        ([edge("ab", 9), edge("cd", 9), edge("bc", 5)], "ab cd"),
        ([edge("ab", 9), edge("cd", 9), edge("bc", 5), edge("ac", 4), edge("bd", 3), edge("ad", 1)], "abcd"),
        ([edge("ab", 9), edge("ba", 9), edge("aa", 9)], "ab"),
    ],
)
def test_groups_hold_together(edges: list[Edge], groups: str) -> None:
    """Each group is supported by its pairs on average, and contradicted by none."""
    assert " ".join("".join(g) for g in clusters(edges, threshold=0)) == groups


def test_the_order_of_pairs_does_not_matter() -> None:
    """Also where the first to come would take all."""
    edges = [edge("ab", 9), edge("bc", 8), edge("cd", 8), edge("ad", -3, contradicted=True)]
    assert len({clusters(order, threshold=0) for order in permutations(edges)}) == 1


_EDGES = st.lists(
    st.builds(Edge, st.sampled_from("abcdef"), st.sampled_from("abcdef"), st.floats(-20, 20), st.booleans()),
    max_size=12,
)


@given(_EDGES, st.floats(-5, 10))
def test_no_group_holds_a_contradiction(edges: list[Edge], threshold: float) -> None:
    """Every record is in one group at most, and no two of a group contradict."""
    groups = clusters(edges, threshold)
    members = [m for g in groups for m in g]
    assert len(members) == len(set(members))
    said = {frozenset((e.a, e.b)): e for e in sorted(edges, key=lambda e: (e.log_odds, e.contradicted))}
    assert not [e for e in said.values() if e.contradicted and e.a != e.b and any({e.a, e.b} <= set(g) for g in groups)]
