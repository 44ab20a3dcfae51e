"""ActiveCampaign by example: what stands around contacts, in the simulator's accounts, deals, tasks, notes, lists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.contract import Act, Doing, Ending, Ref
from sandbox.activecampaign_crm import Crm
from tests.stage import COLLEAGUE, COMPANY, Around

AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
_STAMP = AT.isoformat()


def around(vendor: Any) -> Around:
    """Two accounts, a deal with two contacts, users, tasks, and states on lists that came about in each way."""
    crm: Crm = vendor.account.crm
    one, two = vendor.ids[:2]
    other = crm.put("accounts", name="Other")
    company = crm.put("accounts", name=COMPANY, accountUrl="https://suite.example", owner="2")
    crm.put("accountContacts", account=company, contact=one, jobTitle="Buyer")
    crm.put("accountContacts", account=company, contact=two)
    crm.put("accountContacts", account=other, contact=vendor.ids[2])
    kim = crm.put("users", username="kim", firstName="Kim", lastName="Doe", email=COLLEAGUE)
    money = {"value": "1872151", "currency": "usd"}
    where = {"stage": "2", "group": "1", "status": "0"}
    deal = crm.put("deals", title="Big", contact=one, account=company, owner=kim, **money, **where)
    crm.put("contactDeals", deal=deal, contact=two)
    return Around(
        company=company, deal=deal, colleague=kim, acts=_acts(vendor, crm, deal, kim), later=lambda: _later(crm, one)
    )


def _acts(vendor: Any, crm: Crm, deal: str, kim: str) -> tuple[Act, ...]:
    one, two, three = vendor.ids[:3]
    crm.put("campaigns", name="Spring", split_type="")
    crm.put("campaigns", name="Test", split_type="subject")
    crm.put("forms", name="Ask us")
    people, now = vendor.people, vendor.now
    vendor.now = AT
    people.put_on(people.find(one), "1", "1", form="1")
    people.put_on(people.find(one), "2", "2", campaign="1", unsubreason="too many")
    people.put_on(people.find(two), "1", "2", campaign="2", message="7")
    people.put_on(people.find(two), "2", "2")  # by the API, as we do it: no word of the person's
    people.put_on(people.find(three), "1", "1")
    people.bounce(people.find(three))
    vendor.now = now
    said = {"duedate": _STAMP, "assignee": kim}
    call = crm.put("dealTasks", title="First call", reltype="Subscriber", relid=one, dealTasktype="1", status=1, **said)
    mail = crm.put("dealTasks", reltype="Deal", relid=deal, dealTasktype="2", status=0, **said)
    todo = crm.put("dealTasks", reltype="Subscriber", relid=two, dealTasktype="3", status=1, duedate=_STAMP, user="1")
    crm.put(
        "dealTasks", reltype="Deal", relid="999", dealTasktype="3", status=0, duedate=_STAMP
    )  # of a deal that is gone
    by, first, second, third = Ref(kim), Ref(one), Ref(two), Ref(three)
    mailed: dict[str, Any] = {"channel": "email"}
    return (
        Act(f"contactList:{one}1:form", first, Doing.FORM, AT, channel="web", detail={"title": "Ask us"}),
        Act(
            *(f"contactList:{one}2:2:{_STAMP}", first, Doing.UNSUBSCRIBE, AT),
            **mailed,
            campaign="Spring",
            detail={"reason": "too many"},
        ),
        Act(f"contactList:{two}1:2:{_STAMP}", second, Doing.UNSUBSCRIBE, AT, **mailed, campaign="Test", variant="7"),
        Act(f"contactList:{three}1:3:{_STAMP}", third, Doing.BOUNCE, AT, **mailed, outcome=Ending.HARD),
        Act(
            *(f"dealTask:{call}", first, Doing.CALL, AT, True, by),
            channel="phone",
            outcome=Ending.HELD,
            detail={"title": "First call"},
        ),
        Act(f"dealTask:{mail}", first, Doing.MAIL, AT, True, by, **mailed, outcome=Ending.PLANNED, deal=deal),
        Act(f"dealTask:{todo}", second, Doing.TASK, AT, None, Ref("1"), outcome=Ending.DONE),
    )


def _later(crm: Crm, one: str) -> str:
    due = "2026-08-14T10:00:00+00:00"
    return f"dealTask:{crm.put('dealTasks', reltype='Subscriber', relid=one, dealTasktype='1', status=0, duedate=due)}"


def notes(vendor: Any, id_: str) -> list[str]:
    """The texts of a contact's notes."""
    return [note["note"] for note in vendor.account.crm.rows["notes"].values() if note["relid"] == id_]
