"""The clocks of leads in the store: worked out with the lead, kept, told once, paused by people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from app.agreement import clocks, keeping, leads
from app.agreement.clocks import Reading, What
from app.agreement.lifecycle import fold
from app.agreement.running import Word, overdue, readings
from app.agreement.words import Happening
from app.agreement.words import Word as Said
from app.core import tables as t
from app.core.db import Database
from app.repair.prune import Retention, everything
from tests.agreed import DAY, HOUR, act, at, fact, put_in_force, said, versions
from tests.apihelp import Api, add_contacts

MQL = fact(1, email="ann@example.org", lead_score=72.0, owner_email="kim@example.org")
TEAMS = {"lou@example.org": "north"}

events = st.one_of(
    st.builds(
        lambda day, kind, human, outcome: act(day, kind, human=human, outcome=outcome, by="kim"),
        st.integers(1, 40).map(lambda n: n / 2),
        st.sampled_from(["call", "mail", "reply", "note"]),
        st.sampled_from([True, False, None]),
        st.sampled_from([None, "no_answer", "connected", "planned"]),
    ),
    st.builds(
        lambda day, owner: fact(day, owner_email=owner),
        st.integers(2, 30),
        st.sampled_from(["kim@example.org", "lou@example.org"]),
    ),
    st.builds(
        lambda day, reason: said(day, Said.REJECT, reason=reason), st.integers(2, 30), st.sampled_from([None, "no_fit"])
    ),
)
words = st.builds(
    lambda day, what: Word(at(day), what, None, "asked to wait" if what is What.PAUSED else None, "Kim"),
    st.integers(1, 30),
    st.sampled_from([What.PAUSED, What.RESUMED]),
)


def stand(happened: Sequence[Happening], by_people: Sequence[Word] = (), until: float = 40) -> tuple[Reading, ...]:
    """The clocks of a lead under the shipped agreement."""
    held = versions()
    lead = fold(happened, held, at(until))
    return readings(lead, happened, held, TEAMS, by_people, at(until))


@given(st.data(), st.lists(events, max_size=8), st.lists(words, max_size=4))
def test_the_order_of_arrival_changes_no_clock(data: Any, more: list[Happening], by_people: list[Word]) -> None:
    """Whatever is known last, the clocks are those of what happened."""
    happened = [MQL, *more]
    shuffled = data.draw(st.permutations(happened)), data.draw(st.permutations(by_people))
    assert stand(*shuffled) == stand(happened, by_people)


def test_clocks_by_the_order_of_arrival_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The saboteur takes happenings as they come."""
    by_people = [Word(at(2), What.PAUSED, None, "asked to wait"), Word(at(5), What.RESUMED)]
    right = stand([MQL], by_people)
    monkeypatch.setattr(clocks, "in_order", list)
    assert stand([MQL], by_people[::-1]) != right


@pytest.mark.parametrize(
    ("more", "states"),
    [
        ([], {"first_touch": "breached", "attempts": "breached", "decision": "breached"}),
        ([act(1.3, "call", human=True)], {"first_touch": "met", "attempts": "breached", "decision": "breached"}),
        ([act(1.3, "call", human=False)], {"first_touch": "breached", "attempts": "breached", "decision": "breached"}),
        (
            [act(1.3, "call", human=True, outcome="connected"), said(2, Said.REJECT, reason="no_need")],
            {"first_touch": "met", "attempts": "met", "decision": "met"},
        ),
        (
            [said(1.2, Said.REJECT, reason="no_fit")],
            {"first_touch": "cancelled", "attempts": "cancelled", "decision": "met"},
        ),
        (
            [said(8, Said.STAGE, "sql")],
            {"first_touch": "cancelled", "attempts": "cancelled", "decision": "met"},
        ),
    ],
)
def test_what_sales_did_ends_its_clocks(more: list[Happening], states: dict[str, str]) -> None:
    """A touch, a proper answer, or that nothing is owed any more; a machine's call ends nothing."""
    found = stand([MQL, *more])
    assert {r.clock: str(r.state) for r in found} == states
    late = [r for r in found if r.breached_at is not None]
    assert (overdue(found) is not None) == any(r.state == "breached" for r in late)


def test_a_lead_that_comes_again_has_a_new_round() -> None:
    """The first one keeps what it was."""
    again = [
        act(1.3, "call", human=True, outcome="connected"),
        said(2, Said.REJECT, reason="no_need"),
        act(120, "form", form="demo"),
    ]
    found = [r for r in stand([MQL, *again], until=121) if r.clock == "first_touch"]
    assert (len(found), found[0].round, str(found[0].state)) == (2, 1, "met")


# --- in the store -----------------------------------------------------------------------------------------------------


@pytest.fixture
def api(database: Database) -> Api:
    """Two MQLs of this moment."""
    made = Api(database)
    add_contacts(database, *({"values": {"email": f"p{n}@example.org"}} for n in range(2)))
    put_in_force(database, made.connections, 1, 2)
    return made


def later(api: Api, days: float, *, contacts: Sequence[int] = (1, 2)) -> int:
    """Work both out as if so many days had gone by; the moment."""
    with api.database.write() as db:
        handed: int = db.execute(select(t.lead.c.handed_at).where(t.lead.c.contact_id == 1)).scalar_one()
        now = handed + int(days * DAY)
        leads.refold(db, api.connections, leads.Known().versions(db), contacts, now)
    return now


def rows(api: Api, table: Any, *columns: str) -> list[tuple[Any, ...]]:
    with api.database.read() as db:
        return [tuple(r) for r in db.execute(select(*(table.c[c] for c in columns)).order_by(*table.primary_key))]


def live(api: Api) -> list[tuple[Any, ...]]:
    """The notices that hold."""
    found = rows(api, t.clock_notice, "contact_id", "name", "mark", "to", "void_at")
    return sorted(n[:4] for n in found if n[4] is None)


def test_who_waits_is_told_once_and_late_news_takes_it_back(api: Api) -> None:
    """A breach stands on the lead's flag and in the alarms; a call that is known later makes it undone."""
    with api.database.read() as db:
        turns = db.execute(select(t.lead.c.turns_at)).scalars().all()
    assert all(at_ is not None for at_ in turns), "the duty wakes by itself"
    later(api, 12)
    first = live(api)
    assert [n[1:] for n in first if n[0] == 1 and n[1] == "first_touch"] == [
        ("first_touch", "at_risk", ""),
        ("first_touch", "breach", ""),
        ("first_touch", "escalation", "head of sales"),
        ("first_touch", "reminder", ""),
    ]
    count = len(rows(api, t.clock_notice, "id"))
    later(api, 12)  # not half a day on: whether another clock turns by then depends on the hour that it is now
    assert (live(api), len(rows(api, t.clock_notice, "id"))) == (first, count)
    with api.database.read() as db:
        facts = db.execute(select(t.contact.c.facts).where(t.contact.c.id == 1)).scalar_one()
        (alarm,) = db.execute(select(t.alarm.c.subject, t.alarm.c.words).where(t.alarm.c.cleared_at.is_(None))).all()
        handed = db.execute(select(t.lead.c.handed_at).where(t.lead.c.contact_id == 1)).scalar_one()
    assert facts["lead_flag"]["v"].startswith("first_touch overdue since 20")
    assert alarm.subject == "first_touch"
    assert alarm.words.startswith("2 leads wait longer than agreed")

    call = {"connection": "hub", "kind": "call", "human": 1, "at": handed + HOUR // 6, "received_at": handed}
    with api.database.write() as db:
        for contact in (1, 2):
            named = {"remote_id": str(contact), "contact_id": contact, "who_key": "id", "who": str(contact)}
            db.execute(insert(t.engagement).values(**call, **named))
    later(api, 12.6)
    assert not [n for n in live(api) if n[1] == "first_touch"]
    with api.database.read() as db:
        facts = db.execute(select(t.contact.c.facts).where(t.contact.c.id == 1)).scalar_one()
        open_ = db.execute(select(t.alarm.c.id).where(t.alarm.c.cleared_at.is_(None))).all()
    assert (facts.get("lead_flag", {}).get("v"), open_) == (None, [])


def test_the_board_is_paged_and_clocks_are_paused_and_given_away(api: Api) -> None:
    """Each clock once, by state and owner; a reason that the agreement does not know is refused with those it does."""
    pages = api.walk("/sla", 2)
    assert sorted((c["contact_id"], c["clock"]) for page in pages for c in page) == [
        (contact, clock) for contact in (1, 2) for clock in ("attempts", "decision", "first_touch")
    ]

    def do(what: str, **more: str) -> Any:
        return api("POST", f"/sla/1/{what}", json={"by": "Kim", **more})

    refused = do("pause", reason="no time")
    assert (refused.status_code, "asked to wait, owner is ill" in refused.json()["detail"]) == (409, True)
    assert {c["clock"]: c["state"] for c in do("pause", reason="owner is ill").json()["clocks"]} == {
        "attempts": "paused",
        "decision": "running",
        "first_touch": "paused",
    }
    pages = api.walk("/sla", 1)
    assert len([c for page in pages for c in page]) == 6, "those that stand together are each listed"
    assert len(api.get("/sla?state=paused")["items"]) == 2
    assert do("resume", reason="asked to wait").status_code == 409
    assert {c["state"] for c in do("resume").json()["clocks"]} == {"running"}
    given = do("reassign", owner="lou@example.org", reason="on leave").json()["clocks"]
    assert {c["owner"] for c in given} == {"lou@example.org"}
    assert len(api.get("/sla?owner=lou@example.org")["items"]) == 3
    assert do("reassign", owner="lou@example.org", reason="on leave").status_code == 409
    (leads_, quality) = api.get("/sla/promises")["items"]
    assert (leads_["promise"], leads_["leads"], quality["judgement"]) == ("leads", 2, "nothing")
    later(api, 12)
    assert {n["mark"] for n in api.get("/sla/notices")["items"]} >= {"breach", "escalation"}
    everything(api.database, Retention(history=0), api.connections)


def test_a_round_that_ended_stays_when_its_acts_are_gone(api: Api) -> None:
    """Without the seal, who was called in time would not have been called."""
    with api.database.write() as db:
        (handed,) = db.execute(select(t.lead.c.handed_at).where(t.lead.c.contact_id == 1)).one()
        act = {"connection": "hub", "remote_id": "1", "contact_id": 1, "who_key": "id", "who": "1"}
        db.execute(insert(t.engagement).values(**act, kind="call", human=1, at=handed + 1, received_at=handed))
    later(api, 12)
    with api.database.write() as db:
        keeping.before(db, api.connections, {1}, handed + HOUR)
        db.execute(delete(t.engagement))
    later(api, 12.1)
    held = rows(api, t.clock, "contact_id", "name", "state")
    assert (1, "first_touch", "met") in held
    assert (2, "first_touch", "breached") in held
