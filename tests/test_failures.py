"""The failures that users of other syncs report, each with its name; what must happen instead is the docstring."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core import tables as t
from app.core.db import Database
from app.sync import mapping
from connectors._http import Http
from connectors.contract import Event, Failed, Kind, Order, TryLater, Verb
from connectors.hubspot import HubSpot
from sandbox.serve import Sandbox
from tests.test_chain import ANN, TWO, count
from tests.world import World

MAPPINGS = Path(__file__).parents[1] / "mappings"


def settled(database: Database) -> World:
    """Ann on both sides."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.settle()
    return world


def test_duplicate_creates(database: Database) -> None:
    """Webhooks of one create arrive together, and twice, and the vendor times out after it created: one record."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.deliver("hub", [e for e in world.vendors["hub"].events for _ in range(3)])
    world.vendors["chimp"].fail_next = ["after"]
    world.settle()
    assert (len(world.vendors["chimp"].records), count(world, t.contact)) == (1, 1)


def test_ping_pong(database: Database) -> None:
    """Our own write comes back as a change and ends there: no write to the origin, none after the first."""
    world = settled(database)
    world.vendors["hub"].put("hub1", {"town": "Bonn"})
    writes = world.settle()
    assert (writes, world.settle(), len(world.vendors["hub"].calls)) == (1, 0, 0)


@pytest.mark.parametrize("blank", [None, "", "  ", "Unknown", "n/a"])
def test_blank_overwrite(database: Database, blank: str | None) -> None:
    """A blank or a placeholder never overwrites a good value where clearing is not allowed."""
    world = settled(database)
    world.vendors["chimp"].put("chimp1", {"first": blank})
    world.settle()
    assert world.people("hub")["ann@x.org"]["first"] == "Ann"


@pytest.mark.parametrize("cleared", [None, ""])
def test_true_clearing(database: Database, cleared: str | None) -> None:
    """A deliberate clearing travels where the mapping allows it."""
    world = settled(database)
    world.vendors["hub"].put("hub1", {"last": cleared})
    world.settle()
    assert world.people("chimp")["ann@x.org"]["last"] is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_out_of_order_events(database: Database, order: tuple[int, ...]) -> None:
    """In whatever order the events of three edits arrive: the newest state stands, once."""
    world = settled(database)
    hub = world.vendors["hub"]
    for n in range(3):
        hub.put("hub1", {"town": f"Town {n}"})
    events: list[Event] = [hub.events[n] for n in order]
    hub.events.clear()
    for event in events:
        world.deliver("hub", [event])
        world.settle()
    assert world.people("chimp")["ann@x.org"]["town"] == "Town 2"
    assert len(world.vendors["chimp"].calls) == 2


def test_bad_row_in_a_batch(database: Database) -> None:
    """The bad row is set aside with its reason and next step; the others of its batch arrive."""
    world = World(database, TWO)
    for n in range(4):
        world.vendors["hub"].put(None, {"mail": f"p{n}@x.org", "last": "REFUSE" if n == 2 else "Lee"})
    world.settle()
    (letter,) = world.rows(t.dead)
    assert (sorted(world.people("chimp")), letter.code) == (["p0@x.org", "p1@x.org", "p3@x.org"], "invalid")
    assert letter.reason
    assert letter.next_step


@pytest.fixture
def sandbox() -> Any:
    with Sandbox() as running:
        yield running


@pytest.fixture
def hubspot(sandbox: Sandbox) -> Iterator[HubSpot]:
    settings = {
        "access_token": sandbox.hubspot.token,
        "client_secret": sandbox.hubspot.secret,
        "base_url": sandbox.hubspot_url,
        "properties": "email,firstname",
    }
    http = Http(
        base_url=HubSpot.base_url(settings),
        hosts=HubSpot.hosts,
        limits=HubSpot.limits,
        headers=HubSpot.headers(settings),
        share=1.0,
        reserve=0.0,
        patience=60,
    )
    yield HubSpot(settings, http)
    http.close()


def test_rate_limit_storm(sandbox: Sandbox, hubspot: HubSpot) -> None:
    """A storm of 429: nothing is hammered, nothing is lost, and the vendor's own wish is what we wait."""
    fault = {"match": "/crm/v3/objects/contacts/batch/create", "kind": "status", "status": 429, "retry_after": 7}
    httpx.post(f"{sandbox.hubspot_url}/_sandbox/faults", json={**fault, "rate": 1, "count": 50}).raise_for_status()
    orders = [
        Order(f"k{n}", Kind.CONTACT, Verb.CREATE, {"email": f"p{n}@example.org", "firstname": "P"}) for n in range(50)
    ]
    for _ in range(5):
        receipts = hubspot.write(orders)
        problems = [r.problem for r in receipts if isinstance(r, Failed)]
        assert len(problems) == 50
        assert all(isinstance(p, TryLater) and p.after is not None and p.after.total_seconds() > 6 for p in problems)
    calls = httpx.get(f"{sandbox.hubspot_url}/_sandbox/calls").json()["calls"]
    assert len([c for c in calls if "batch/create" in c["path"]]) == 1, "the closed budget lets nothing out"


def test_paging_past_10000_and_equal_timestamps(sandbox: Sandbox, hubspot: HubSpot) -> None:
    """A search ends at 10,000 results and thousands share one timestamp: the walk still sees everybody."""
    hub = sandbox.hubspot
    first = hubspot.changed(Kind.CONTACT, None)
    cursor = first.cursor
    headers = {"authorization": f"Bearer {hub.token}"}
    with httpx.Client(base_url=sandbox.hubspot_url, headers=headers, timeout=60) as api:
        for start in range(0, 10_400, 100):
            inputs = [
                {"properties": {"email": f"p{n}@example.org"}, "objectWriteTraceId": str(n)}
                for n in range(start, start + 100)
            ]
            api.post("/crm/v3/objects/contacts/batch/create", json={"inputs": inputs}).raise_for_status()
    seen: set[str] = set()
    for _ in range(400):
        page = hubspot.changed(Kind.CONTACT, cursor)
        seen |= {str(r.fields["email"]) for r in page.records}
        cursor = page.cursor
        if not page.more:
            break
    assert len(seen) == 10_400


@pytest.mark.parametrize(
    ("one", "other", "contacts"),
    [
        pytest.param("ann@x.org", "ann@x.org", 1, id="the same"),
        pytest.param("ann@x.org", "ANN@X.ORG", 1, id="upper case: the shipped mappings fold it"),
        pytest.param("ann.lee@gmail.com", "annlee@gmail.com", 2, id="gmail dots stay apart"),
        pytest.param("ann@gmail.com", "ann+news@gmail.com", 2, id="plus tags stay apart"),
    ],
)
def test_upper_case_and_gmail_style_addresses(database: Database, one: str, other: str, contacts: int) -> None:
    """Case is folded because the mapping says so; what only one provider ignores is kept apart."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, {"mail": one})
    world.vendors["chimp"].put(None, {"mail": other})
    world.walk()
    world.settle(webhooks=False)
    assert count(world, t.contact) == contacts


@pytest.mark.parametrize(
    ("raw", "country", "said"),
    [
        ("+49 (0)30 901820", "DE", "+4930901820"),
        ("030 901820", "DE", "+4930901820"),
        ("(020) 7946 0958", "GB", "+442079460958"),
        ("call me", "DE", None),
        ("12", "DE", None),
    ],
)
def test_phone_not_e164(raw: str, country: str, said: str | None) -> None:
    """Any notation becomes E.164 by the connection's country; what is no number drops the field, not the record."""
    for name, theirs in (("hubspot", "phone"), ("mailchimp", "merge_fields.PHONE")):
        map_ = mapping.load(MAPPINGS / f"{name}.yaml", default_country=country)
        mail = {"hubspot": "email", "mailchimp": "email_address"}[name]
        reading = map_.read({mail: "ann@x.org", theirs: raw})
        assert reading.claim["email"] == "ann@x.org"
        assert reading.claim.get("phone") == said
        assert bool(reading.warnings) is (said is None)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "UTC", "America/Los_Angeles", "Asia/Kolkata"])
@pytest.mark.parametrize(
    ("transform", "theirs"),
    [("iso_date", "2026-03-29"), ("iso_date", "2026-03-29T00:00:00Z"), ("epoch_date", 1774742400000)],
)
def test_date_slipping_a_day(zone: str, transform: str, theirs: Any) -> None:
    """A date is a date, in whatever zone the vendor's account lies and however it writes midnight."""
    write = f", write: [{transform}]" if transform == "epoch_date" else ""
    text = f"""
version: 1
connector: hubspot
time_zone: {zone}
custom: {{renewal: {{type: date}}}}
fields:
  email: {{theirs: email}}
  custom.renewal: {{theirs: renewal_date, read: [{transform}]{write}}}
"""
    map_ = mapping.loads(text)
    assert map_.read({"renewal_date": theirs}).claim["custom.renewal"] == "2026-03-29"
    back = map_.write({"custom.renewal": "2026-03-29"}).fields["renewal_date"]
    assert map_.read({"renewal_date": back}).claim["custom.renewal"] == "2026-03-29"


def test_unmapped_picklist_value() -> None:
    """A value that the map does not know drops that field with a warning, never the record, in both directions."""
    map_ = mapping.loads("""
version: 1
connector: hubspot
fields:
  email: {theirs: email}
  lifecycle_stage: {theirs: stage, values: {lead: lead, customer: customer}}
""")
    reading = map_.read({"email": "ann@x.org", "stage": "wizard"})
    assert (dict(reading.claim), [w.field for w in reading.warnings]) == ({"email": "ann@x.org"}, ["lifecycle_stage"])
    writing = map_.write({"email": "ann@x.org", "lifecycle_stage": "wizard"})
    assert (dict(writing.fields), [w.field for w in writing.warnings]) == ({"email": "ann@x.org"}, ["lifecycle_stage"])
