"""Salesforce's connector on what stands around people: accounts, opportunities, users, activities, completed tasks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.sync.mapping import load
from connectors import _salesforce_acts as acts
from connectors import _salesforce_around as around
from connectors.contract import (
    Act,
    Action,
    Doing,
    Done,
    Ending,
    Failed,
    Gone,
    Kind,
    NeedsHuman,
    Note,
    Record,
    Refused,
    Tie,
    TryLater,
)
from connectors.salesforce import Salesforce
from tests.examples.salesforce import NOW, SECRET, FakeSalesforce, connect, message, note, notes, sign
from tests.walking import to_the_end

C, D = Kind.COMPANY, Kind.DEAL
FIELDS = {
    "company_fields": "Name,AnnualRevenue",
    "deal_fields": "Name,StageName,Amount,CurrencyIsoCode,OwnerId,Loss_Reason__c,Outcome",
}
CLOSED = {"Status": "Completed"}
CALL = {"TaskSubtype": "Call"}
FROM, TO = ("us", "FromAddress"), ("ada", "ToAddress")


@pytest.fixture
def api() -> FakeSalesforce:
    return FakeSalesforce()


@pytest.fixture
def it(api: FakeSalesforce) -> Salesforce:
    return connect(api, **FIELDS)


def walk(it: Salesforce, kind: Kind, cursor: str | None = None) -> tuple[dict[str, Record], list[str], str]:
    """All pages: records by id, deleted ids, the cursor afterwards."""
    pages, end = to_the_end(lambda at: it.changed(kind, at), cursor, 50)
    return {r.id: r for page in pages for r in page.records}, [i for page in pages for i in page.deleted], end


def told(it: Salesforce, cursor: str | None = None) -> tuple[dict[str, Act], str]:
    """All pages of acts, by id."""
    pages, end = to_the_end(it.acts, cursor, 50)
    return {a.id: a for page in pages for a in page.acts}, end


def pass_time(api: FakeSalesforce) -> None:
    """So much that what was read is not read again for its time alone."""
    api.add("Lead", Email="time@one.example", at=api.clock() + timedelta(hours=1))


def people(record: Record) -> dict[str, tuple[bool, str | None]]:
    return {t.id: (t.main, t.role) for t in record.ties[Kind.CONTACT]}


def account(api: FakeSalesforce, name: str = "Acme", **fields: Any) -> str:
    return api.add("Account", Name=name, **fields)


def deal(api: FakeSalesforce, **fields: Any) -> str:
    return api.add("Opportunity", **{"Name": "Big", "StageName": "Prospecting", "CloseDate": "2026-12-01", **fields})


# --- companies --------------------------------------------------------------------------------------------------------


def test_a_changed_relation_alone_tells_the_account(api: FakeSalesforce, it: Salesforce) -> None:
    """Somebody related, with roles, not active any more, removed: told each time, though the account does not move."""
    acme, ada, bea = account(api), api.add(Email="ada@one.example"), api.add(Email="bea@one.example")
    api.org.update("Contact", ada, {"AccountId": acme}, "user")
    found, _, cursor = walk(it, C)
    assert people(found[acme]) == {ada: (True, None)}
    pass_time(api)
    _, _, cursor = walk(it, C, cursor)
    relation = api.org.create("AccountContactRelation", {"AccountId": acme, "ContactId": bea}, "user")["Id"]
    for fields, ties in (
        ({"Roles": "Decision Maker;Influencer"}, {bea: (False, "Decision Maker, Influencer")}),
        ({"IsActive": False}, {}),
        ({"IsActive": True, "Roles": None}, {bea: (False, None)}),
        (None, {}),
    ):
        if fields is None:
            api.org.remove("AccountContactRelation", relation)
        else:
            api.org.update("AccountContactRelation", relation, fields, "user")
        found, _, cursor = walk(it, C, cursor)
        pass_time(api)
        _, _, cursor = walk(it, C, cursor)
        assert people(found[acme]) == {ada: (True, None), **ties}, f"after {fields}"


def test_who_moves_is_told_by_both_accounts(api: FakeSalesforce, it: Salesforce) -> None:
    """The one that lost somebody, too; with relations by its own record, without them by the person's."""
    old, new, ada = account(api, "Old"), account(api, "New"), api.add(Email="ada@one.example")
    api.org.update("Contact", ada, {"AccountId": old}, "user")
    pass_time(api)
    _, _, cursor = walk(it, C)
    api.org.update("Contact", ada, {"AccountId": new}, "user")
    found, _, _ = walk(it, C, cursor)
    assert (people(found[old]), people(found[new])) == ({}, {ada: (True, None)})


def test_without_relations_a_person_says_its_account(api: FakeSalesforce, it: Salesforce) -> None:
    """Most orgs: a contact is of one account, which its own record says whole; the accounts say it, too."""
    api.org.absent.add("AccountContactRelation")
    acme, ada, bea = account(api), api.add(Email="ada@one.example"), api.add(Email="bea@one.example")
    lead = api.add("Lead", Email="leo@one.example")
    api.org.update("Contact", ada, {"AccountId": acme}, "user")
    assert people(walk(it, C)[0][acme]) == {ada: (True, None)}
    said = {r.id: r.ties for r in it.read(Kind.CONTACT, [ada, bea, lead])}
    assert said == {ada: {C: (Tie(acme, main=True),)}, bea: {C: ()}, lead: {}}
    api.org.hidden.add("AccountId")
    assert connect(api, **FIELDS).read(Kind.CONTACT, [ada])[0].ties == {}, "people are read without it"


def test_where_relations_are_kept_a_person_says_nothing(api: FakeSalesforce, it: Salesforce) -> None:
    """Its own account is not all that it belongs to; nor is anything asked for where no mapping reads companies."""
    ada = api.add(Email="ada@one.example", AccountId=account(api))
    for one in (it, connect(api)):
        assert one.read(Kind.CONTACT, [ada])[0].ties == {}
    before = len(api.calls)
    connect(api).read(Kind.CONTACT, [ada])
    assert [path.rpartition("/")[2] for _, path, _ in api.calls[before:]] == ["queryAll", "query"]


def test_removed_and_merged_accounts_come_with_the_poll(api: FakeSalesforce, it: Salesforce) -> None:
    """In the recycle bin, out of it, and living on as another."""
    ids = [account(api, name) for name in ("bin", "purged", "loser", "winner", "stays")]
    _, _, cursor = walk(it, C)
    for id_ in ids[:2]:
        api.org.remove("Account", id_)
    api.org.purge("Account", ids[1])
    api.org.merge("Account", ids[3], [ids[2]], "user")
    found, deleted, _ = walk(it, C, cursor)
    assert set(deleted) == set(ids[:2])
    assert found[ids[3]].former_ids == (ids[2],)
    assert [r.id for r in it.read(C, [ids[0], ids[2]])] == [ids[3]]


def test_people_who_are_accounts_are_no_companies(api: FakeSalesforce, it: Salesforce) -> None:
    """Person accounts."""
    api.org.hidden.discard("IsPersonAccount")
    acme, ann = account(api), account(api, "Ann Lee")
    api.org.rows["Account"][ann]["IsPersonAccount"] = True
    assert set(walk(it, C)[0]) == {acme}
    assert it.read(C, [ann]) == []


def test_a_field_that_is_not_seen_is_named_until_it_is(api: FakeSalesforce, it: Salesforce) -> None:
    """The kind rests with the field's name; what the org has is asked for again afterwards."""
    acme = account(api)
    walk(it, C)
    api.org.hidden.add("AnnualRevenue")
    with pytest.raises(NeedsHuman, match="AnnualRevenue of Account"):
        it.changed(C, None)
    api.org.hidden.discard("AnnualRevenue")
    assert set(walk(it, C)[0]) == {acme}


# --- deals ------------------------------------------------------------------------------------------------------------


def test_a_changed_role_alone_tells_the_deal(api: FakeSalesforce, it: Salesforce) -> None:
    """One alone is the main one; of several the primary one; two roles of one person are told once; removed."""
    big, ada, bea = deal(api), api.add(Email="ada@one.example"), api.add(Email="bea@one.example")
    found, _, cursor = walk(it, D)
    assert (people(found[big]), found[big].ties[C]) == ({}, ())
    pass_time(api)
    _, _, cursor = walk(it, D, cursor)

    def role(who: str, **more: Any) -> str:
        body = {"OpportunityId": big, "ContactId": who, **more}
        return str(api.org.create("OpportunityContactRole", body, "user")["Id"])

    first = role(ada, Role="Evaluator")
    for act, ties in (
        (lambda: None, {ada: (True, "Evaluator")}),
        (lambda: role(bea, IsPrimary=True), {ada: (False, "Evaluator"), bea: (True, None)}),
        (lambda: role(ada, Role="Influencer"), {ada: (False, "Evaluator, Influencer"), bea: (True, None)}),
        (
            lambda: api.org.remove("OpportunityContactRole", first),
            {ada: (False, "Influencer"), bea: (True, None)},
        ),
    ):
        act()
        found, _, cursor = walk(it, D, cursor)
        assert people(found[big]) == ties
        pass_time(api)
        _, _, cursor = walk(it, D, cursor)


def test_links_that_are_not_walked_are_caught(
    api: FakeSalesforce, it: Salesforce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saboteur: polls of accounts and opportunities only."""
    monkeypatch.setattr(around.Around, "order", property(lambda self: (self.entity,)))
    for test in (
        test_a_changed_relation_alone_tells_the_account,
        test_who_moves_is_told_by_both_accounts,
        test_a_changed_role_alone_tells_the_deal,
    ):
        with pytest.raises((AssertionError, KeyError)):
            test(api, it)


@pytest.mark.parametrize(
    ("several", "only", "own", "currency"),
    [(False, "EUR", None, "EUR"), (False, None, None, "unsaid"), (True, "EUR", "USD", "USD"), (True, None, None, None)],
)
def test_a_deal_has_its_currency(
    api: FakeSalesforce, it: Salesforce, several: bool, only: str | None, own: str | None, currency: str | None
) -> None:
    """Its own in an org with several, else the org's, else none is said and the mapping's default holds."""
    api.org.currency = only
    if several:
        api.org.hidden.discard("CurrencyIsoCode")
    big = deal(api, Amount=10, **({"CurrencyIsoCode": own} if several else {}))
    assert it.read(D, [big])[0].fields.get("CurrencyIsoCode", "unsaid") == currency
    assert "CurrencyIsoCode" in it.describe(D).properties


@pytest.mark.parametrize(
    ("said", "amount"),
    [("1234.56", "1234.56"), ("9007199254740993.25", "9007199254740993.25"), ("1.395E8", "139500000"), ("7", 7)],
)
def test_amounts_are_exact(api: FakeSalesforce, it: Salesforce, said: str, amount: str | int) -> None:
    """As Salesforce writes them: as fractions that floating point would round, or with an exponent."""
    big = deal(api, Amount=1)

    def exactly(request: httpx.Request) -> httpx.Response | None:
        body = api.answer(request).text
        return httpx.Response(200, text=body.replace('"Amount":1', f'"Amount":{said}')) if "Amount" in body else None

    api.trouble = exactly
    assert it.read(D, [big])[0].fields["Amount"] == amount


def test_won_and_lost_with_a_reason(api: FakeSalesforce, it: Salesforce) -> None:
    """By the stage's name, or by Salesforce's own flags, through the shipped mapping and a reason of the org's own."""
    text = (Path(__file__).parents[1] / "mappings" / "salesforce.yaml").read_text(encoding="utf-8")
    shipped = load(Path(__file__).parents[1] / "mappings" / "salesforce.yaml").objects.deal
    assert shipped is not None
    assert "Loss_Reason__c" in text
    made = [
        deal(api, StageName=stage, Amount=99.5, Loss_Reason__c=why)
        for stage, why in (("Prospecting", None), ("Closed Won", None), ("Closed Lost", "Price"))
    ]
    records = {r.id: r for r in it.read(D, made)}
    claims = [shipped.read(records[i].fields) for i in made]
    assert [shipped.status(c["stage"]) for c in claims] == ["open", "won", "lost"]
    assert [(c["amount"], c["currency"]) for c in claims] == [("99.5", "EUR")] * 3
    assert [records[i].fields["Outcome"] for i in made] == ["open", "won", "lost"]
    assert records[made[2]].fields["Loss_Reason__c"] == "Price"


def test_removed_deals_come_with_the_poll(api: FakeSalesforce, it: Salesforce) -> None:
    """Also those that have left the recycle bin."""
    first, second = deal(api), deal(api)
    _, _, cursor = walk(it, D)
    api.org.remove("Opportunity", second)
    api.org.purge("Opportunity", second)
    api.org.remove("Opportunity", first)
    found, deleted, _ = walk(it, D, cursor)
    assert (set(deleted), found) == ({first, second}, {})


# --- users, messages --------------------------------------------------------------------------------------------------


def test_the_directory(api: FakeSalesforce, it: Salesforce) -> None:
    """Who has left, whose team is a role or a department; nobody of a portal."""
    api.add("User", Name="Kim", Email="kim@us.example", Department="Sales", **{"UserRole.Name": "West"})
    api.add("User", Name="Lou", Email="lou@us.example", Department="Sales", IsActive=False)
    api.add("User", Name="Guest", Email="guest@us.example", UserType="Guest")
    said = {str(r.fields["name"]): (r.fields["team"], r.fields["active"]) for r in walk(it, Kind.COLLEAGUE)[0].values()}
    assert said == {"Kim": ("West", True), "Lou": ("Sales", False)}
    with pytest.raises(Refused, match="cursor"):
        it.changed(Kind.COLLEAGUE, "not ours")


@pytest.mark.parametrize(
    ("entity", "id_", "more", "kind", "action"),
    [
        ("Account", "0015f00000AAAAA", "", C, Action.CHANGED),
        ("Opportunity", "0065f00000AAAAA", "<sf:IsDeleted>true</sf:IsDeleted>", D, Action.DELETED),
    ],
)
def test_messages_about_other_objects(
    it: Salesforce, entity: str, id_: str, more: str, kind: Kind, action: Action
) -> None:
    """Accounts and opportunities; one that calls a contact so is none."""
    (event,) = it.receive(sign(message(note(1, id_, more, entity)), NOW, SECRET)).events
    assert (event.kind, event.action, event.ref.value[:15], event.urgent) == (kind, action, id_, False)


# --- acts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind", "outcome", "channel", "human"),
    [
        ({**CALL, **CLOSED}, Doing.CALL, Ending.HELD, "phone", True),
        (CALL, Doing.CALL, Ending.PLANNED, "phone", True),
        ({**CALL, "CallDisposition": " Left voicemail", **CLOSED}, Doing.CALL, Ending.LEFT_MESSAGE, "phone", True),
        ({**CALL, "CallDisposition": "Besetzt", **CLOSED}, Doing.CALL, None, "phone", True),
        ({**CALL, "CallType": "Inbound", **CLOSED}, Doing.REPLY, Ending.HELD, "phone", True),
        ({"Type": "Call", **CLOSED}, Doing.CALL, Ending.HELD, "phone", True),
        ({"Type": "Meeting", **CLOSED}, Doing.MEETING, Ending.HELD, "meeting", True),
        ({"TaskSubtype": "Email", **CLOSED}, Doing.MAIL, Ending.SENT, "email", None),
        ({"TaskSubtype": "ListEmail", **CLOSED}, Doing.SEND, Ending.SENT, "email", None),
        ({"TaskSubtype": "LinkedIn", **CLOSED}, Doing.MESSAGE, Ending.SENT, "social", None),
        ({"Type": "Other", **CLOSED}, Doing.TASK, Ending.DONE, None, None),
        ({"ActivityDate": "2026-02-03"}, Doing.TASK, Ending.OPEN, None, None),
    ],
)  # fmt: skip
def test_what_a_task_is(
    api: FakeSalesforce,
    it: Salesforce,
    fields: dict[str, Any],
    kind: Doing,
    outcome: Ending | None,
    channel: str | None,
    human: bool | None,
) -> None:
    """By its subtype, its type, its status, and how a call ended."""
    (act,) = told_of(api, it, api.add("Lead", Email="leo@one.example"), **fields)
    assert (act.kind, act.outcome, act.channel, act.human) == (kind, outcome, channel, human)
    assert act.by is None


def told_of(api: FakeSalesforce, it: Salesforce, who: str, **fields: Any) -> list[Act]:
    api.add("Task", WhoId=who, OwnerId="00G5f00000QUEUEAAA", **fields)
    return list(told(it)[0].values())


def test_a_meeting_ahead_is_planned_and_told_again_once_it_has_begun(api: FakeSalesforce, it: Salesforce) -> None:
    """Nobody touches the event in between; who declined does not count, and a series is told by its events."""
    ada, bea = api.add(Email="ada@one.example"), api.add(Email="bea@one.example")
    begin = api.clock() + timedelta(hours=2)
    said = {"WhoId": ada, "StartDateTime": begin.strftime("%Y-%m-%dT%H:%M:%S.000+0000")}
    event = api.add("Event", **said)
    api.add("Event", **said, IsRecurrence=True)
    api.add("EventRelation", EventId=event, RelationId=bea, Status="Declined")
    first, cursor = told(it)
    other = f"Event:{event}:{bea}"
    assert {i: a.outcome for i, a in first.items()} == {f"Event:{event}": Ending.PLANNED, other: Ending.CANCELLED}
    assert {a.at for a in first.values()} == {begin}
    pass_time(api)
    again, cursor = told(it, cursor)
    assert {a.outcome for a in again.values()} <= {Ending.PLANNED, Ending.CANCELLED}
    api.add(Email="cyd@one.example", at=begin + timedelta(hours=1))  # the clock moves on
    later, cursor = told(connect(api, **FIELDS), cursor)
    assert {i: a.outcome for i, a in later.items()} == {f"Event:{event}": None, other: Ending.CANCELLED}
    api.add(Email="dee@one.example", at=begin + timedelta(hours=3))
    assert told(it, cursor)[0] == {}


def test_a_meeting_that_is_told_once_is_caught(
    api: FakeSalesforce, it: Salesforce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saboteur: no walk by the beginning."""
    silent = replace(acts._WALKS["Begun"], tell=lambda *_: [])
    monkeypatch.setattr(acts, "_WALKS", {**acts._WALKS, "Begun": silent})
    with pytest.raises((AssertionError, KeyError)):
        test_a_meeting_ahead_is_planned_and_told_again_once_it_has_begun(api, it)


@pytest.mark.parametrize(
    ("fields", "related", "expected"),
    [
        ({}, [FROM, TO, ("bea", "CcAddress")], {"ada": Ending.SENT, "bea": Ending.SENT}),
        ({"IsBounced": True}, [FROM, TO], {"ada": Ending.FAILED}),
        ({"Incoming": True}, [("ada", "FromAddress"), ("bea", "CcAddress")], {"ada": Ending.RECEIVED}),
        ({"Status": "5"}, [FROM, TO], {}),
        ({}, [FROM, (None, "ToAddress")], {}),
    ],
)  # fmt: skip
def test_what_a_mail_is(
    api: FakeSalesforce,
    it: Salesforce,
    fields: dict[str, Any],
    related: list[tuple[str | None, str]],
    expected: dict[str, Ending],
) -> None:
    """To whom it went or from whom it came, once, though a task stands for it; drafts and strangers are not told."""
    ids: dict[str | None, str | None] = {name: api.add(Email=f"{name}@one.example") for name in ("ada", "bea")}
    ids |= {"us": api.add("User", Name="Kim", Email="kim@us.example"), None: None}
    task = api.add("Task", TaskSubtype="Email", WhoId=ids["ada"], **CLOSED)
    mail = api.add("EmailMessage", ActivityId=task, MessageDate="2026-02-03T04:05:06.000+0000", **fields)
    for who, how in related:
        api.add("EmailMessageRelation", EmailMessageId=mail, RelationId=ids[who], RelationType=how)
    found = told(it)[0].values()
    assert {(a.who.value, a.outcome) for a in found} == {(ids[n], outcome) for n, outcome in expected.items()}
    assert {a.kind for a in found} <= {Doing.REPLY if fields.get("Incoming") else Doing.MAIL}
    assert {a.by.value for a in found if a.by is not None} <= {ids["us"]}
    assert all(a.by is not None for a in found) or "Incoming" in fields


def test_a_note_of_theirs_is_told(api: FakeSalesforce, it: Salesforce) -> None:
    """To whom it is linked; what is linked to a company only is about nobody."""
    ada, leo = api.add(Email="ada@one.example"), api.add("Lead", Email="leo@one.example")
    one, two = (api.add("ContentNote", Title=title) for title in ("Wants a price", "Of the company"))
    for to, who in ((one, ada), (one, leo), (two, account(api))):
        api.add("ContentDocumentLink", ContentDocumentId=to, LinkedEntityId=who, ShareType="V")
    found, _ = told(it)
    assert {i: (a.who.value, a.kind, a.at) for i, a in found.items()} == {
        f"ContentNote:{one}:{who}": (who, Doing.NOTE, NOW) for who in (ada, leo)
    }
    assert {a.detail["title"] for a in found.values()} == {"Wants a price"}


def test_an_org_without_the_newer_objects(api: FakeSalesforce, it: Salesforce) -> None:
    """Mails by their tasks, events without invited people, tasks with one person."""
    newer = {"EmailMessage", "EmailMessageRelation", "TaskRelation", "EventRelation", "ContentNote"}
    api.org.absent |= newer
    ada = api.add(Email="ada@one.example")
    task = api.add("Task", TaskSubtype="Email", WhoId=ada, **CLOSED)
    event = api.add("Event", WhoId=ada, StartDateTime="2026-02-03T04:05:06.000+0000")
    assert set(told(it)[0]) == {f"Task:{task}", f"Event:{event}"}


def test_what_the_org_has_is_asked_for_with_each_whole_walk(api: FakeSalesforce, it: Salesforce) -> None:
    """Relations that are switched on later; tasks that the user may not see stop the activities by name."""
    api.org.absent |= {"AccountContactRelation", "Task"}
    acme, ada, bea = account(api), api.add(Email="ada@one.example"), api.add(Email="bea@one.example")
    api.org.update("Contact", ada, {"AccountId": acme}, "user")
    api.org.create("AccountContactRelation", {"AccountId": acme, "ContactId": bea}, "user")
    assert people(walk(it, C)[0][acme]) == {ada: (True, None)}
    with pytest.raises(NeedsHuman, match="cannot see Task"):
        it.acts(None)
    api.org.absent.clear()
    assert people(walk(it, C)[0][acme]) == {ada: (True, None), bea: (False, None)}
    assert told(it)[0] == {}


def test_what_a_poll_over_nothing_costs(api: FakeSalesforce, it: Salesforce) -> None:
    """As docs/vendors/salesforce.md counts it: people 4, companies 3, deals 3, activities 5."""
    api.add(Email="ada@one.example", AccountId=account(api))
    deal(api)
    told_, cursors = told(it)[1], {kind: walk(it, kind)[2] for kind in (Kind.CONTACT, C, D)}
    pass_time(api)
    told_, cursors = told(it, told_)[1], {kind: walk(it, kind, at)[2] for kind, at in cursors.items()}
    pass_time(api)
    walk(it, Kind.CONTACT, cursors.pop(Kind.CONTACT))
    costs = []
    for again in (lambda: told(it, told_), *(lambda k=k, at=at: walk(it, k, at) for k, at in cursors.items())):
        before = len(api.calls)
        again()
        costs.append(len(api.calls) - before)
    assert costs == [5, 3, 3]


def test_a_task_with_several_people_is_an_act_of_each(api: FakeSalesforce, it: Salesforce) -> None:
    """Shared activities; the company that it is about is nobody."""
    ada, bea = api.add(Email="ada@one.example"), api.add(Email="bea@one.example")
    acme = account(api)
    task = api.add("Task", TaskSubtype="Call", WhoId=ada, WhatId=acme, **CLOSED)
    for who in (ada, bea, acme):
        api.add("TaskRelation", TaskId=task, RelationId=who)
    found = {i: a.who.value for i, a in told(it)[0].items()}
    assert found == {f"Task:{task}": ada, f"Task:{task}:{bea}": bea}


def test_what_happens_after_a_page_of_the_same_second_is_not_lost(api: FakeSalesforce) -> None:
    """More tasks of one moment than a page holds."""
    ada = api.add(Email="ada@one.example")
    ids = [api.add("Task", TaskSubtype="Call", WhoId=ada, **CLOSED) for _ in range(230)]
    assert set(told(connect(api, **FIELDS))[0]) == {f"Task:{i}" for i in ids}


# --- notes ------------------------------------------------------------------------------------------------------------


def an(key: str, who: str, text: str = "Clicked in Spring", at: datetime = NOW, *, again: bool = False) -> Note:
    return Note(key, who, at, text, again=again)


def test_a_note_is_a_completed_task(api: FakeSalesforce, it: Salesforce) -> None:
    """Its first line and a mark as the subject, all of it below, on its day, with the org's word for completed."""
    ada = api.add(Email="ada@one.example")
    text = "Filled in a form: " + "long " * 80 + "\nand more"
    (receipt,) = it.note([an("k", ada, text)])
    (row,) = api.org.all("Task")
    assert isinstance(receipt, Done)
    assert (row["Id"], row["WhoId"], row["IsClosed"], row["ActivityDate"]) == (receipt.id, ada, True, "2026-08-13")
    assert row["Description"] == text.strip()
    assert len(row["Subject"]) <= 80
    assert row["Subject"].startswith("Filled in a form: long")
    assert told(it)[0] == {}, "our own entry comes back as an act"
    assert notes(api, ada) == [text]


def test_notes_have_a_receipt_each(api: FakeSalesforce, it: Salesforce) -> None:
    """Somebody removed or merged away is gone, a locked record is tried again, the others are written."""
    ada, bea, gone = (api.add(Email=f"{n}@one.example") for n in ("ada", "bea", "gone"))
    api.org.remove("Contact", gone)
    found = it.note([an("1", ada), an("2", gone), an("3", "0015f00000AAAAA"), an("4", bea)])
    assert [type(r) for r in found] == [Done, Gone, Gone, Done]
    assert [r.key for r in found] == ["1", "2", "3", "4"]
    assert len([p for method, p, _ in api.calls if method == "POST"]) == 1


def test_a_task_that_went_with_a_converted_lead_is_found(api: FakeSalesforce, it: Salesforce) -> None:
    """The first try landed, its answer was lost, and the lead became a contact meanwhile; the act lies ahead."""
    lead, ahead = api.add("Lead", Email="leo@one.example"), NOW + timedelta(days=60)
    it.note([an("k", lead, at=ahead)])
    contact = api.org.convert(lead, "user")["Id"]
    (task,) = api.org.all("Task")
    api.org.rows["Task"][task["Id"]]["WhoId"] = contact
    (receipt,) = it.note([an("k", contact, at=ahead, again=True)])
    assert isinstance(receipt, Done)
    assert len(api.org.all("Task")) == 1


def test_a_note_that_is_not_looked_up_is_caught(
    api: FakeSalesforce, it: Salesforce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saboteur."""
    monkeypatch.setattr(acts.Notes, "_standing", lambda *_: {})
    with pytest.raises(AssertionError):
        test_a_task_that_went_with_a_converted_lead_is_found(api, it)


@pytest.mark.parametrize(
    ("code", "problem"), [("UNABLE_TO_LOCK_ROW", TryLater), ("FIELD_CUSTOM_VALIDATION_EXCEPTION", Refused)]
)
def test_what_a_refused_note_leads_to(api: FakeSalesforce, it: Salesforce, code: str, problem: type[Exception]) -> None:
    """By its code."""
    ada = api.add(Email="ada@one.example")
    body = [{"success": False, "errors": [{"statusCode": code, "message": "ada@one.example", "fields": []}]}]

    def answer(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(200, text=json.dumps(body)) if request.method == "POST" else None

    api.trouble = answer
    (receipt,) = it.note([an("k", ada)])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, problem)
    assert "ada" not in str(receipt.problem)
