"""Whatever happens: who has objected is stopped on every side, until newer evidence says otherwise."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.words import Channel
from app.push.plan import _Said
from app.records import ledger
from app.sync import consent
from connectors.contract import Side
from tests import migrated
from tests.test_consent_travels import CONSENT
from tests.test_convergence import act
from tests.world import MAPPING, World

SIDES = {"hub": Side.CRM, "chimp": Side.MARKETING, "desk": Side.CRM}
NAMES = sorted(SIDES)
STOPS = {"no", "bounced"}
MAILS = ["p0@x.org", "p1@x.org", "p2@x.org"]
WORDS = st.sampled_from(["yes", "no", "asked", "never", "bounced", None, ""])

acts = st.one_of(
    st.tuples(
        st.just("new"),
        st.sampled_from(NAMES),
        st.sampled_from(MAILS),
        st.fixed_dictionaries({}, optional={"mailing": WORDS}),
    ),
    st.tuples(st.just("edit"), st.sampled_from(NAMES), st.integers(0, 3), st.fixed_dictionaries({"mailing": WORDS})),
    st.tuples(
        st.just("edit"),
        st.sampled_from(NAMES),
        st.integers(0, 3),
        st.fixed_dictionaries({"town": st.sampled_from(["Bonn", "Ulm"])}),
    ),
    st.tuples(st.just("sign up"), st.sampled_from(NAMES), st.integers(0, 3), st.none()),
    st.tuples(st.just("rename"), st.sampled_from(NAMES), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("deliver"), st.sampled_from(NAMES), st.integers(0, 9), st.none()),
    st.tuples(st.sampled_from(["fetch", "push", "restart", "walk"]), st.none(), st.none(), st.none()),
    st.tuples(st.just("fail"), st.sampled_from(NAMES), st.sampled_from(["before", "after"]), st.none()),
)


def more(w: World, what: str, name: Any, which: Any, how: Any) -> None:
    """The acts that ``tests.test_convergence`` does not know."""
    vendor = w.vendors[name] if name is not None else None
    if what == "walk":
        w.walk()
    elif vendor is None or not vendor.records or what not in {"sign up", "rename"}:
        act(w, what, name, which, how)
    else:
        record_id = sorted(vendor.records)[which % len(vendor.records)]
        if what == "sign up":
            moment = next(w.clock)
            when = f"2026-01-01T{moment // 3600:02}:{moment // 60 % 60:02}:{moment % 60:02}+00:00"
            vendor.put(record_id, {"mailing": "yes", "signed_up_from": "192.0.2.1", "signed_up_at": when})
        elif vendor.holder(f"n{how}@x.org") is None:
            vendor.put(record_id, {"mail": f"n{how}@x.org"})


def run(plan: list[tuple[Any, ...]]) -> None:
    """Carry out a plan, come to rest, and look whether anybody who objected can be written to."""
    print(plan)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        database = migrated.new(Path(folder) / "w.db")
        try:
            w = World(database, SIDES, mapping_text=MAPPING + CONSENT)
            w.grant("chimp")
            for one in plan:
                more(w, *one)
            for vendor in w.vendors.values():
                vendor.fail_next.clear()
            w.settle()
            w.walk()
            w.settle()
            assert w.settle() == 0, "writes after quiescence"
            look(w)
        finally:
            database.close()


def look(w: World) -> None:
    for name, vendor in w.vendors.items():
        for record in vendor.records.values():
            mail = str(record.fields["mail"]).lower()
            with w.database.read() as db:
                entries = ledger.of_addresses(db, [mail]).get(mail, [])
            held = consent.state([e for e in entries if e.channel is Channel.EMAIL], w.connections.may_grant)
            if held.stops:
                assert record.fields.get("mailing") in STOPS, f"{name} may write to somebody who objected"
            elif record.fields.get("mailing") in STOPS:
                assert consent.proven(held), f"{name} stops somebody of whom nobody knows why"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(acts, min_size=1, max_size=20))
def test_nobody_who_objected_can_be_written_to(plan: list[tuple[Any, ...]]) -> None:
    """Objections, blanks, subscriptions with and without evidence, new addresses, in any order and broken anyhow."""
    run(plan)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(acts, min_size=1, max_size=50))
def test_nobody_who_objected_can_be_written_to_at_length(plan: list[tuple[Any, ...]]) -> None:
    """The same, longer and oftener."""
    run(plan)


FORGOTTEN: list[tuple[Any, ...]] = [
    ("new", "hub", "p0@x.org", {"mailing": "no"}),
    ("new", "chimp", "p0@x.org", {"mailing": "yes"}),
    ("walk", None, None, None),
]


@pytest.mark.parametrize("sabotage", ["not marked", "not planned"])
def test_an_objection_that_does_not_travel_is_noticed(sabotage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteurs: a withdrawal that marks nobody, and a push that leaves consent out."""
    run(FORGOTTEN)
    if sabotage == "not marked":
        monkeypatch.setattr("app.sync.consenting.mark", lambda *_: None)
        plan = [("new", "chimp", "p0@x.org", {}), ("walk", None, None, None), ("fetch", None, None, None)]
        plan += [("push", None, None, None)] * 2 + [("deliver", n, 0, None) for n in ("hub", "desk")]
        plan += [("fetch", None, None, None)] * 2 + [("edit", "hub", 0, {"mailing": "no"})]
    else:
        monkeypatch.setattr("app.push.plan._consent", lambda *_: _Said({}, {}, frozenset(), None, {}, ()))
        plan = FORGOTTEN
    with pytest.raises(AssertionError):
        run(plan)
