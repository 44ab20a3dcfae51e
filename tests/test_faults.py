"""The fault campaign itself: its plans, its checker, and a few schedules of it.  The whole: ``make test-faults``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults import plan as plans
from tests.faults.campaign import Campaign
from tests.faults.check import WRONGS, wrongs
from tests.faults.inject import RULES
from tests.faults.people import Expected
from tests.faults.plan import HUBSPOT, KINDS, MAILCHIMP, NEEDS_POLL
from tests.faults.process import SABOTEURS
from tests.faults.saboteurs import caught


def test_a_seed_is_a_plan() -> None:
    """The same seed and number, the same schedule; another number, another."""
    one = plans.make(1, 7, poll=True)
    assert one == plans.make(1, 7, poll=True)
    assert one != plans.make(1, 8, poll=True)
    assert one != plans.make(2, 7, poll=True)


def test_each_field_is_edited_at_one_side() -> None:
    """Otherwise the last edit would not say what has to hold in the end."""
    for number in range(50):
        plan = plans.make(3, number, poll=True)
        for act in plan.acts:
            if act.field:
                assert plan.owner[act.person, act.field] == act.side
        assert all(i.seconds > 0 and 0 <= i.at < plans.SPAN for i in plan.injections)
        assert 2 <= len(plan.injections) <= 6


def test_every_kind_of_fault_comes() -> None:
    """Over two hundred schedules each kind is there some ten times, and what needs the poll only beside it."""
    seen: dict[str, int] = dict.fromkeys(KINDS, 0)
    for number in range(200):
        poll = plans.polled(number, 10)
        for injection in plans.make(1, number, poll=poll).injections:
            seen[injection.kind] += 1
            assert poll or injection.kind not in NEEDS_POLL
    assert min(seen.values()) >= 8, seen
    assert set(RULES) <= set(KINDS)


FINE = {"given_name": "Ann", "job_title": None, "company_name": None, "city": "Bonn", "phone": None}
ROW: dict[str, Any] = {**FINE, "family_name": "Lee", "email": "lee@example.org", "stopped": False}
CASES: list[tuple[str, dict[str, Any], list[dict[str, Any]], list[dict[str, Any]], set[str]]] = [
    ("all is well", {}, [ROW], [ROW], set()),
    ("an edit is missing at one side", {}, [ROW], [{**ROW, "city": "Ulm"}], {"lost", "diverged"}),
    ("an edit was overwritten everywhere", {}, [{**ROW, "city": "Ulm"}], [{**ROW, "city": "Ulm"}], {"lost"}),
    ("a clearing came back", {"values": {"given_name": "Ann", "city": ""}}, [ROW], [ROW], {"lost"}),
    ("a side says what nobody wrote", {}, [{**ROW, "phone": "+1"}], [ROW], {"lost", "diverged"}),
    ("nobody is there", {}, [ROW], [], {"lost"}),
    ("twice there", {}, [ROW, ROW], [ROW], {"doubled"}),
    (
        "withdrawn, and mailable at one side",
        {"withdrawn": True},
        [{**ROW, "stopped": True}],
        [ROW],
        {"resurrected", "diverged"},
    ),
    ("withdrawn everywhere", {"withdrawn": True}, [{**ROW, "stopped": True}], [{**ROW, "stopped": True}], set()),
    ("deleted and gone", {"deleted": True}, [], [], set()),
    ("deleted and back", {"deleted": True}, [], [ROW], {"resurrected"}),
    ("never made", {"sides": set()}, [], [], set()),
]


@pytest.mark.parametrize(("what", "expected", "hubspot", "mailchimp", "kinds"), CASES, ids=[c[0] for c in CASES])
def test_the_checker_sees(
    what: str, expected: dict[str, Any], hubspot: list[Any], mailchimp: list[Any], kinds: set[str]
) -> None:
    """What must not be is found and named, and nothing else is."""
    given = {"values": {"given_name": "Ann", "city": "Bonn"}, "sides": {HUBSPOT}, **expected}
    who = Expected("Lee", "lee@example.org", **given)
    assert {w.kind for w in wrongs([who], {"Lee": {HUBSPOT: hubspot, MAILCHIMP: mailchimp}})} == kinds
    assert kinds <= set(WRONGS)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sqlite", [False, True], ids=["postgresql", "sqlite"])
def test_a_few_schedules(sqlite: bool) -> None:
    """Real processes, killed, stopped and cut off: all sides agree in the end."""
    campaign = Campaign(5, sqlite=sqlite, block=2)
    campaign.run(range(4))
    assert not campaign.failed, "\n".join(campaign.report())
    assert campaign.schedules == 4
    assert campaign.acknowledged > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(SABOTEURS))
def test_a_saboteur_is_caught(name: str) -> None:
    """An engine that breaks one promise does not pass."""
    assert caught(name).failed
