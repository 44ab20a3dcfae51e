"""Pairs of vendors, and a hub of four: all say the same in the end, whatever is lost, doubled or killed on the way.

Real processes, real sockets, the vendors' simulators.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app.core.db import Database
from sandbox.serve import Sandbox
from tests.crash import STATIONS
from tests.several import EspoCrm, HubSpot, Klaviyo, Mailchimp, Mautic, Salesforce, Several, Vendor, sims
from tests.test_journey import SECONDS, until

SETS: dict[str, tuple[type[Vendor], ...]] = {
    "salesforce and klaviyo": (Salesforce, Klaviyo),
    "espocrm and mautic": (EspoCrm, Mautic),
    "hubspot and mailchimp": (HubSpot, Mailchimp),
    "a hub of four": (HubSpot, Salesforce, Mailchimp, Klaviyo),
}
# Unlike each other: of people who may be one, only the first is created before a person has decided.
FAMILIES = ("Brandt", "Okafor", "Silva", "Yilmaz", "Novak", "Hughes", "Petrov", "Tanaka")
CALLS = 15  # of a vendor: two or three polls of all that is read there
USUAL = "a hub of four"  # the others, of which each is as long, are in ``make test-long``

pytestmark = pytest.mark.heavy


def mail(family: str) -> str:
    return f"{family.lower()}@{family.lower()}-family.example.org"


@pytest.fixture
def several(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Iterator[Several]:
    vendors = [kind() for kind in SETS[request.param]]
    with Sandbox(**sims(vendors)) as sandbox:
        made = Several(sandbox, vendors, database, tmp_path)
        try:
            yield made
        finally:
            made.close()


def entered(vendors: Sequence[Vendor]) -> dict[str, Vendor]:
    """Everybody is entered at one of the vendors, in turn."""
    where = {family: vendors[n % len(vendors)] for n, family in enumerate(FAMILIES)}
    for family, vendor in where.items():
        vendor.add(mail(family), f"Given {family}", family)
    return where


def everybody(several: Several) -> bool:
    """Paired, not only there: before that an edit is a first disagreement, in which the CRM's value wins."""
    return several.paired() == len(FAMILIES) * len(several.vendors)


def equal(several: Several, moved: dict[str, str], out: set[str]) -> bool:
    told = {mail(f): (f"Given {f}", f, moved.get(f, "")) for f in FAMILIES}
    return all(one.people() == told and one.out() == {mail(f) for f in out} for one in several.vendors)


def quiet(several: Several) -> bool:
    """Whether nobody writes while every vendor is asked for what is new a few times."""
    before = [one.writes() for one in several.vendors]
    last = [one.sim.calls.since(0)[-1]["n"] for one in several.vendors]
    until(lambda: all(len(v.sim.calls.since(n)) >= CALLS for v, n in zip(several.vendors, last, strict=True)))
    return [one.writes() for one in several.vendors] == before


@pytest.mark.parametrize(
    "several", [pytest.param(s, marks=() if s == USUAL else pytest.mark.slow) for s in SETS], indirect=True
)
@pytest.mark.timeout(300)
def test_all_agree_in_the_end(several: Several) -> None:
    """Webhooks and answers lost and doubled, edits and objections at each vendor: all equal, nobody twice, peace."""
    call = several.sandbox.call
    for one in several.vendors:
        call(lambda sim=one.sim: sim.faults.add({"kind": "drop_webhook", "rate": 0.4}))
        call(lambda sim=one.sim: sim.faults.add({"kind": "duplicate_webhook", "rate": 0.3}))
        lost = {"kind": "reset", "after": True, "match": one.lost, "method": one.lost_method, "count": 1}
        call(lambda sim=one.sim, lost=lost: sim.faults.add(lost))
    where = entered(several.vendors)
    with several.service():
        until(lambda: everybody(several), 2 * SECONDS)
        # Each vendor edits who came from another one.
        moved = {family: f"Town {family}" for family in FAMILIES[1:]}
        for n, family in enumerate(moved):
            others = [one for one in several.vendors if one is not where[family]]
            others[n % len(others)].move(mail(family), moved[family])
        out = set(FAMILIES[: len(several.vendors)])
        for one, family in zip(several.vendors, FAMILIES, strict=False):
            one.object(mail(family))
        until(lambda: equal(several, moved, out), 2 * SECONDS)
        # What was done is told in the timelines of the CRMs after all agree; in the end nobody writes any more.
        until(lambda: quiet(several), 2 * SECONDS)
    assert equal(several, moved, out)


@pytest.mark.slow
@pytest.mark.parametrize("several", sorted(SETS), indirect=True)
@pytest.mark.parametrize("station", sorted(set(STATIONS) - {"nowhere"}))
@pytest.mark.timeout(300)
def test_killed_on_the_way_nothing_is_lost_or_doubled(several: Several, station: str) -> None:
    """Killed between any two stations: everybody arrives everywhere, once."""
    with several.service(station) as process:
        entered(several.vendors)
        assert process.wait(SECONDS) == -signal.SIGKILL
    with several.service():
        until(lambda: everybody(several), 2 * SECONDS)
        until(lambda: equal(several, {}, set()), 2 * SECONDS)
