"""From stages, acts and dispositions to clocks: the whole way of a lead, whatever the order in which it is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agreement import promises
from app.agreement.attempts import Touch
from app.agreement.clocks import Happening, What, read_all
from app.agreement.owed import Entry, happenings
from tests.wallclock import at

AGREED = promises.loads(
    """
calendars:
  berlin: {zone: Europe/Berlin, week: {mon-fri: "09:00-17:00"}}
  denver: {zone: America/Denver, week: {mon-fri: "09:00-17:00"}}
sla:
  calendar: berlin
  teams: {west: denver}
  clocks:
    first_touch: {begins: mql, ends: first_touch, within: 4 hours}
    demo: {begins: mql, ends: first_touch, within: 1 hour, when: "contact.demo"}
    attempts: {begins: mql, ends: attempts, within: 2 working days, need: {attempts: 2, channels: 2}}
    decision: {begins: mql, ends: disposition, within: 3 working days}
    qualified: {begins: sal, ends: sql, within: 5 working days}
""",
    "agreement.yaml",
)
CLOCKS = tuple(AGREED.sla.clocks)
USUAL = frozenset(CLOCKS) - {"demo"}


def berlin(text: str) -> int:
    return at(text, "Europe/Berlin")


ENTRIES = [
    Entry(berlin("2026-11-23 10:00"), "e1", "mql", "v1", owner="ann", clocks=USUAL),
    Entry(berlin("2026-11-24 12:00"), "e2", "sal", "v1", owner="ann"),
    Entry(berlin("2026-12-07 10:00"), "e3", "mql", "v1", team="west", owner="bob"),  # recycled, and here again
]
TOUCHES = [
    Touch("t1", berlin("2026-11-23 11:00"), "call", True, "ann", None, "no_answer"),
    Touch("t2", berlin("2026-11-23 12:00"), "mail", False, "ann", None, "sent"),
    Touch("t3", berlin("2026-11-25 17:30"), "mail", True, "ann", None, "sent"),
    Touch("t4", berlin("2026-12-07 18:30"), "call", True, "bob", None, "connected"),
]
DECIDED = [berlin("2026-11-24 12:00")]
OTHERS = [Happening(berlin("2026-11-26 10:00"), What.CANCELLED, "x1", clock="qualified", reason="recycled")]
NOW = berlin("2026-12-08 12:00")


def stood(
    entries: list[Entry], touches: list[Touch], decided: list[int], others: list[Happening]
) -> dict[str, list[tuple[str, int, str, str | None]]]:
    found = happenings({"v1": AGREED}, entries, touches, decided, others, NOW)
    readings = read_all(CLOCKS, found, {"v1": AGREED.terms}, NOW)
    return {n: [(str(r.state), r.elapsed // 60_000, r.calendar, r.owner) for r in rs] for n, rs in readings.items()}


def test_the_way_of_a_lead() -> None:
    """Two rounds, by two teams: what each clock made of it, in business minutes."""
    assert stood(ENTRIES, TOUCHES, DECIDED, OTHERS) == {
        "first_touch": [("met", 60, "berlin", "ann"), ("met", 90, "denver", "bob")],
        "demo": [("met_late", 90, "denver", "bob")],  # only the second time was one asked for
        # The mail came after the second day had closed; the call that connected ends the second round.
        "attempts": [("met_late", 23 * 60, "berlin", "ann"), ("met", 90, "denver", "bob")],
        "decision": [("met", 10 * 60, "berlin", "ann"), ("running", 8 * 60, "denver", "bob")],
        "qualified": [("cancelled", 14 * 60, "berlin", "ann")],
    }


def test_what_was_done_before_it_was_taken_back_does_not_count_again() -> None:
    """One attempt, taken back, handed over anew, one attempt: each round has one of two."""
    others = [Happening(berlin("2026-11-24 10:00"), What.CANCELLED, "x1", reason="by mistake")]
    entries = [ENTRIES[0], Entry(berlin("2026-11-24 11:00"), "e4", "mql", "v1", owner="ann", clocks=USUAL)]
    found = stood(entries, [TOUCHES[0], TOUCHES[2]], [], others)
    assert [state for state, *_ in found["attempts"]] == ["cancelled", "breached"]


@given(st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(seed: Any) -> None:
    """All four kinds shuffled, some of them told twice."""
    told: list[list[Any]] = [[*rows, *rows[:1]] for rows in (ENTRIES, TOUCHES, DECIDED, OTHERS)]
    for rows in told:
        seed.shuffle(rows)
    assert stood(*told) == stood(ENTRIES, TOUCHES, DECIDED, OTHERS)


def test_a_version_that_is_not_there() -> None:
    """Is said by name."""
    with pytest.raises(LookupError, match="no version 'v9' of the agreement; there are v1"):
        happenings({"v1": AGREED}, [Entry(0, "e", "mql", "v9")], [], [], [], NOW)
