"""What only Odoo does around contacts: companies as partners, ends of opportunities, messages, meetings that ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.sync import mapping
from connectors import _odoo_acts as acts
from connectors import _odoo_around as around
from connectors import _odoo_walk as walk
from connectors.contract import Act, Action, Doing, Done, Ending, Gone, Kind, Note, Page, Ref, Refused, Tie
from connectors.odoo import Odoo
from sandbox.odoo_store import BOT, EVENT, LEAD, MESSAGE, PARTNER, PERSON, USERS
from tests.examples.odoo import JSONRPC, NOW, SECRET, FakeOdoo, connect, refused, said, sign
from tests.speccheck import ROOT
from tests.walking import to_the_end

C, COMPANY, DEAL = Kind.CONTACT, Kind.COMPANY, Kind.DEAL
OBJECTS = {
    "company_fields": "name,website,country_id.code,state_id.name,industry_id.name,user_id",
    "deal_fields": "name,stage_id.name,team_id.name,expected_revenue,company_currency.name,user_id,lost_reason_id.name,"
    "source_id.name,create_date,close.date",
}


@pytest.fixture
def api() -> FakeOdoo:
    return FakeOdoo()


@pytest.fixture
def it(api: FakeOdoo) -> Odoo:
    return connect(api, **OBJECTS)


def whole(it: Odoo, kind: Kind, cursor: str | None = None) -> tuple[list[Page], str]:
    return to_the_end(lambda at: it.changed(kind, at), cursor, 50)


def every(it: Odoo, cursor: str | None = None) -> tuple[dict[str, Act], str]:
    pages, end = to_the_end(it.acts, cursor, 50)
    return {a.id: a for page in pages for a in page.acts}, end


# --- companies and opportunities --------------------------------------------------------------------------------------


def test_a_company_in_words(api: FakeOdoo, it: Odoo) -> None:
    """Links by what they are called, the country by its code; people are no companies and companies no people."""
    linked = {"country_id": 56, "state_id": 1350, "industry_id": 2, "user_id": PERSON}
    company = str(api.put(PARTNER, name="One", is_company=True, website="https://one.example", **linked))
    person = api.add(email="a@one.example", parent_id=int(company))
    (record,) = it.read(COMPANY, [company, person])
    assert record.fields == {
        "name": "One",
        "website": "https://one.example",
        "country_id.code": "DE",
        "state_id.name": "Bavaria",
        "industry_id.name": "Manufacturing",
        "user_id": PERSON,
    }
    (contact,) = it.read(C, [company, person])
    assert contact.ties == {COMPANY: (Tie(company, main=True),)}
    assert it.read(C, [api.add(email="b@one.example")])[0].ties == {COMPANY: ()}
    assert connect(api).read(C, [person])[0].ties == {}


def test_a_company_that_is_archived_is_gone_until_it_is_not(api: FakeOdoo, it: Odoo) -> None:
    """And comes back with the poll."""
    company = api.put(PARTNER, name="One", is_company=True)
    pages, cursor = whole(it, COMPANY)
    assert [r.id for p in pages for r in p.records] == [str(company)]
    for active, here, gone in ((False, [], [str(company)]), (True, [str(company)], [])):
        api.now += timedelta(hours=1)
        api.store.write(PARTNER, [company], {"active": active}, PERSON)
        pages, cursor = whole(it, COMPANY, cursor)
        assert ([r.id for p in pages for r in p.records], [i for p in pages for i in p.deleted]) == (here, gone)


@pytest.mark.parametrize("status", [True, False])  # whether this version says won_status
@pytest.mark.parametrize(
    ("changes", "stage", "close"),
    [
        ({}, "New", None),
        ({"stage_id": 3, "date_deadline": "2026-10-01"}, "Proposition", "2026-10-01"),
        ({"stage_id": 5}, "lost (stage 5)", None),  # a stage that somebody called so is no end
        ({"stage_id": 4, "date_deadline": "2026-10-01"}, "won", "2026-08-13"),
        ({"active": False, "lost_reason_id": 1}, "lost", "2026-08-13"),
    ],
)
def test_where_an_opportunity_stands(
    api: FakeOdoo, it: Odoo, changes: dict[str, Any], stage: str, close: str | None, status: bool
) -> None:
    """Won by the stage, lost by being archived, with reason and the company's currency; read and walked alike."""
    deal = api.put(LEAD, name="Big", expected_revenue=10.5, team_id=1, source_id=2, user_id=PERSON)
    api.put(LEAD, name="A lead", type="lead")
    if changes:
        api.store.write(LEAD, [deal], changes, PERSON)
    if not status:
        it = connect(Old(api), **OBJECTS)
    (read,) = it.read(DEAL, [str(deal)])
    (walked,) = [r for page in whole(it, DEAL)[0] for r in page.records]
    assert read == walked
    assert not read.archived, "a record that is archived would not be stored"
    f = read.fields
    assert (f["stage_id.name"], f["close.date"]) == (stage, close)
    assert f["lost_reason_id.name"] == ("Too expensive" if "lost_reason_id" in changes else None)
    assert (f["expected_revenue"], f["company_currency.name"], f["user_id"]) == (10.5, "EUR", PERSON)
    assert (f["team_id.name"], f["source_id.name"]) == ("Sales", "Newsletter")


class Old:
    """An Odoo that does not know ``won_status``."""

    def __init__(self, api: FakeOdoo) -> None:
        self._api = api

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert b"won_status" not in request.content
        answer = self._api(request)
        if request.url.path.endswith("crm.lead/fields_get"):
            found = {n: about for n, about in answer.json().items() if n != "won_status"}
            return httpx.Response(200, json=found)
        return answer


@pytest.mark.parametrize(
    ("row", "stage"),
    [
        ({"won_status": "pending", "active": False, "probability": 50.0}, "archived"),
        ({"active": False, "probability": 50.0}, "archived"),
        ({"active": False, "probability": 100.0}, "won"),
        ({"active": True, "probability": 0.0, "stage_id": [1, "New"]}, "New"),
        ({"active": True, "stage_id": False}, None),
    ],
)
def test_what_was_only_put_away_is_not_lost(row: dict[str, Any], stage: str | None) -> None:
    """Lost is archived with no chance left; the saboteur would be to take every archived one for lost."""
    assert around._stage(row) == stage


def test_whose_an_opportunity_is(api: FakeOdoo, it: Odoo) -> None:
    """Person and company, a company alone, a further address, a colleague, nobody; one who is hidden says nothing."""
    company = api.put(PARTNER, name="One", is_company=True)
    person = int(api.add(email="a@one.example", parent_id=company))
    address = api.put(PARTNER, name="Stock", type="delivery", parent_id=company)
    main = (Tie(str(company), main=True),)
    cases: list[tuple[int | bool, dict[Kind, tuple[Tie, ...]]]] = [
        (person, {C: (Tie(str(person), main=True),), COMPANY: main}),
        (company, {C: (), COMPANY: main}),
        (address, {C: (), COMPANY: main}),
        (api.put(PARTNER, name="Kim", partner_share=False), {C: (), COMPANY: ()}),
        (False, {C: (), COMPANY: ()}),
    ]
    deals = [str(api.put(LEAD, name="Big", partner_id=partner)) for partner, _ in cases]
    found = {r.id: r.ties for r in it.read(DEAL, deals)}
    assert [found[d] for d in deals] == [ties for _, ties in cases]
    assert around._ties({"partner_id": [99, "Hidden"]}, {}) == {}


def test_a_page_of_opportunities_is_two_calls(api: FakeOdoo, it: Odoo) -> None:
    """Their partners are looked up together."""
    for n in range(20):
        api.put(LEAD, name="Big", partner_id=int(api.add(email=f"p{n}@one.example")))
    whole(it, DEAL)
    api.calls.clear()
    _, cursor = whole(it, DEAL)
    assert [path for path, _ in api.calls] == ["/json/2/crm.lead/search_read", "/json/2/res.partner/search_read"]
    api.calls.clear()
    api.now += timedelta(hours=1)
    api.put(USERS, name="The clock moves", login="x")
    whole(it, DEAL, cursor)
    whole(it, DEAL, whole(it, DEAL, cursor)[1])
    assert len(api.calls) <= 5, "a quiet poll is one call"


def test_the_directory_goes_by_id_and_leaves_out_portal_users(api: FakeOdoo, it: Odoo) -> None:
    """The login where it is the address; who was switched off is not active."""
    api.put(USERS, name="Kim", login="kim@one.example", sale_team_id=2)
    api.put(USERS, name="Lee", login="lee", email="lee@one.example", active=False)
    api.put(USERS, name="Max", login="max", share=True)
    api.put(USERS, name="Bot", login="bot")
    it._around._partners._page = 2  # type: ignore[misc]
    pages, _ = whole(it, Kind.COLLEAGUE)
    rows = [r.fields for p in pages for r in p.records]
    assert [(f["email"], f["team"], f["active"]) for f in rows] == [
        ("kim@one.example", "Partners", True),
        ("lee@one.example", None, False),
        (None, None, True),
    ]
    with pytest.raises(Refused, match="cursor"):
        it.changed(Kind.COLLEAGUE, "x")


def test_the_fields_around_are_described(it: Odoo) -> None:
    """Odoo's, what links are called, and ours; read only."""
    company, deal = it.describe(COMPANY).properties, it.describe(DEAL).properties
    assert {"name", "country_id.code", "industry_id.name", "user_id"} <= company.keys()
    assert {"stage_id.name", "close.date", "lost_reason_id.name", "company_currency.name"} <= deal.keys()
    assert all(p.read_only for p in (*company.values(), *deal.values()))


@pytest.mark.parametrize("name", ["company_fields", "deal_fields"])
@pytest.mark.parametrize("value", ["a b", "name.given", "stage_id.is_won"])
def test_fields_that_are_none_are_refused(name: str, value: str) -> None:
    """Before anything is called."""
    with pytest.raises(ValueError, match=name):
        connect(FakeOdoo(), **{name: value})


def test_the_shipped_mapping_understands_all_of_it(api: FakeOdoo) -> None:
    """Every field that it names is there and described, and says what it is in canonical words."""
    objects = mapping.load(ROOT / "mappings" / "odoo.yaml").objects
    it = connect(api, **Odoo.from_objects(objects.theirs()))
    firm = api.put(PARTNER, name="One", is_company=True, country_id=56, state_id=1350, industry_id=2, zip="10117")
    deal = api.put(LEAD, name="Big", expected_revenue=10.5, source_id=2, user_id=PERSON)
    api.store.write(LEAD, [deal], {"active": False, "lost_reason_id": 1}, PERSON)
    (company,), (lost,) = it.read(COMPANY, [str(firm)]), it.read(DEAL, [str(deal)])
    assert objects.company is not None
    assert objects.deal is not None
    said_ = objects.company.read(company.fields)
    assert (said_["country"], said_["region"], said_["industry"]) == ("DE", "Bavaria", "Manufacturing")
    said_ = objects.deal.read(lost.fields)
    assert (said_["amount"], said_["currency"], said_["lost_reason"]) == ("10.5", "EUR", "Too expensive")
    assert (said_["created_at"], said_["close_date"]) == ("2026-08-13T10:15:00Z", "2026-08-13")
    assert objects.deal.status(said_["stage"]) == "lost"
    for kind, names in objects.theirs().items():
        assert set(names) <= it.describe(kind).properties.keys()


# --- webhooks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "fields", "kind"),
    [
        (LEAD, {"type": "opportunity"}, DEAL),
        (LEAD, {}, DEAL),
        (LEAD, {"type": "lead"}, None),
        (PARTNER, {"is_company": True, "is_blacklisted": True}, COMPANY),
        (PARTNER, {"is_company": False}, C),
        (PARTNER, {}, C),
    ],
)
def test_what_a_rule_tells_of(it: Odoo, model: str, fields: dict[str, Any], kind: Kind | None) -> None:
    """Of opportunities and companies too, as far as the rule says what it is; only contacts are urgent."""
    events = it.receive(sign(said(model, 5, **fields), NOW, SECRET)).events
    assert [(e.kind, e.action, e.ref, e.urgent) for e in events] == (
        [] if kind is None else [(kind, Action.CHANGED, Ref("5"), False)]
    )


# --- acts -------------------------------------------------------------------------------------------------------------

DAY = "2026-02-03 04:05:06"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"message_type": "email", "author": "theirs"}, (Doing.REPLY, "email", Ending.RECEIVED, True)),
        ({"message_type": "email"}, (Doing.MAIL, "email", Ending.SENT, True)),
        ({"message_type": "email_outgoing"}, (Doing.MAIL, "email", Ending.SENT, None)),
        ({"message_type": "comment"}, (Doing.MAIL, "email", Ending.SENT, True)),
        ({"message_type": "comment", "subtype_id": 2}, (Doing.NOTE, None, None, None)),
        ({"message_type": "comment", "author": "theirs"}, (Doing.REPLY, "web", Ending.RECEIVED, True)),
        ({"message_type": "sms"}, (Doing.MESSAGE, "sms", Ending.SENT, None)),
        ({"message_type": "notification"}, None),
        ({"message_type": "auto_comment"}, None),
        ({"message_type": "notification", "mail_activity_type_id": 1}, (Doing.MAIL, "email", Ending.SENT, True)),
        ({"message_type": "notification", "mail_activity_type_id": 2}, (Doing.CALL, "phone", Ending.HELD, True)),
        ({"message_type": "notification", "mail_activity_type_id": 3}, (Doing.MEETING, "meeting", Ending.HELD, True)),
        ({"message_type": "notification", "mail_activity_type_id": 4}, (Doing.TASK, None, Ending.DONE, None)),
        ({"message_type": "comment", "body": "Clicked (Tandem 0123456789abcdef)"}, None),
    ],
)
def test_what_a_message_was(api: FakeOdoo, it: Odoo, fields: dict[str, Any], wanted: tuple[Any, ...] | None) -> None:
    """By activity, type, author and subtype; on a contact and on an opportunity of theirs; our own are left out."""
    who = int(api.add(email="a@one.example"))
    own = api.put(PARTNER, name="Kim", partner_share=False)
    deal = api.put(LEAD, name="Big", partner_id=who)
    author = who if fields.pop("author", "") == "theirs" else own
    for model, res in ((PARTNER, who), (LEAD, deal)):
        api.put(MESSAGE, model=model, res_id=res, date=DAY, author_id=author, **fields)
    found = sorted(every(it)[0].values(), key=lambda a: a.deal is not None)
    assert [(a.kind, a.channel, a.outcome, a.human) for a in found] == ([] if wanted is None else [wanted] * 2)
    assert {a.who for a in found} <= {Ref(str(who))}
    assert [a.deal for a in found] == ([] if wanted is None else [None, str(deal)])


def test_messages_of_companies_and_colleagues_are_nobodys(api: FakeOdoo, it: Odoo) -> None:
    """Nor are those on an opportunity without a contact."""
    company = api.put(PARTNER, name="One", is_company=True)
    for model, res in ((PARTNER, company), (LEAD, api.put(LEAD, name="Big")), (PARTNER, 9999)):
        api.put(MESSAGE, model=model, res_id=res, date=DAY, message_type="email_outgoing")
    assert every(it)[0] == {}


def test_a_short_page_of_messages_is_not_the_last(api: FakeOdoo, it: Odoo) -> None:
    """Odoo takes out what the user may not see after it has counted the page."""
    who = int(api.add(email="a@one.example"))
    ids = [api.put(MESSAGE, model=PARTNER, res_id=who, date=DAY) for _ in range(12)]
    it._partners._page = 5
    hidden = set(ids[2:4])
    plain = api.answer

    async def answer(request: httpx.Request) -> httpx.Response:
        found = await plain(request)
        if not request.url.path.endswith("mail.message/search_read"):
            return found
        return httpx.Response(200, json=[row for row in found.json() if row["id"] not in hidden])

    api.answer = answer  # type: ignore[method-assign]
    assert every(it)[0].keys() == {f"messages:{i}" for i in ids if i not in hidden}


def test_a_quiet_poll_looks_at_the_newest_messages_only(
    api: FakeOdoo, it: Odoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many polls were quiet: the bound stays, and a late one below the last id is found."""
    monkeypatch.setattr(acts, "BACK", 3)
    who = int(api.add(email="a@one.example"))
    api.now -= timedelta(days=1)
    ids = [api.put(MESSAGE, model=PARTNER, res_id=who, date=DAY) for _ in range(9)]
    api.now += timedelta(days=1)
    api.put(USERS, name="The clock moves", login="x")
    late = api.store.tables[MESSAGE].pop(ids[-2])
    _, cursor = every(it)
    for _ in range(3):
        api.now += timedelta(hours=1)
        api.put(USERS, name="The clock moves", login="x")
        api.calls.clear()
        told, cursor = every(it, cursor)
        assert told == {}
        first = next(body for path, body in api.calls if path.endswith("mail.message/search_read"))
        assert ["id", ">", ids[-1] - 3] in first["domain"]
    late["write_date"] = api.now.timestamp()
    api.store.tables[MESSAGE] |= {ids[-2]: late}
    assert every(it, cursor)[0].keys() == {f"messages:{ids[-2]}"}


def test_a_meeting_is_told_again_once_it_is_over(api: FakeOdoo, it: Odoo) -> None:
    """Nobody changes an event because it took place; one that is archived is cancelled."""
    who = int(api.add(email="a@one.example"))
    start = NOW + timedelta(hours=5)
    hours = {"start": start.timestamp(), "stop": (start + timedelta(hours=1)).timestamp()}
    event = api.put(EVENT, name="Demo", partner_ids=[who], **hours)
    told, cursor = every(it)
    (act,) = told.values()
    assert (act.outcome, act.at) == (Ending.PLANNED, start)
    ends: list[Ending | None] = []
    for _ in range(9):
        api.now += timedelta(hours=1)
        api.put(USERS, name="The clock moves", login="x")
        told, cursor = every(it, cursor)
        assert set(told) <= {act.id}
        ends += [a.outcome for a in told.values()]
    assert ends[-1:] == [Ending.HELD]
    assert set(ends[:-1]) <= {Ending.PLANNED, Ending.HELD}
    api.store.write(EVENT, [event], {"active": False}, PERSON)
    assert [a.outcome for a in every(it, cursor)[0].values()] == [Ending.CANCELLED]


def test_a_walk_by_changes_alone_would_leave_meetings_planned() -> None:
    """The saboteur: by the time of its change an event that ended is never asked for again."""
    state = around.alone(walk.Poll("2026-08-13 20:00:00"))
    assert walk.query(state)[0] == ["write_date", ">=", "2026-08-13 19:50:00"]
    assert ["stop", ">=", state.start] not in walk.query(state)


# --- notes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, JSONRPC])
def test_a_note_is_internal_and_holds_no_markup(api: FakeOdoo, more: dict[str, str]) -> None:
    """The same as text and as HTML; over either API it is known again."""
    who = api.add(email="a@one.example")
    it = connect(api, **more)
    notes = [Note("k", who, NOW, "Filled in <Form> & more", again=again) for again in (False, True)]
    first, second = (r for note in notes for r in it.note([note]))
    assert isinstance(first, Done)
    assert first == second
    (row,) = api.store.tables[MESSAGE].values()
    assert row["body"].startswith("Filled in \u2039Form\u203a & more (Tandem ")
    assert (row["subtype_id"], row["message_type"], row["create_uid"]) == (2, "comment", BOT)


def test_a_note_on_a_company_or_nobody_is_not_written(api: FakeOdoo, it: Odoo) -> None:
    """It is gone for us; the next one is written all the same."""
    company = str(api.put(PARTNER, name="One", is_company=True))
    who = api.add(email="a@one.example")
    receipts = it.note([Note(i, i, NOW, "Clicked") for i in (company, "9999", "x", who)])
    assert [type(r) for r in receipts] == [Gone, Gone, Gone, Done]
    assert len(api.store.tables[MESSAGE]) == 1
    missing = refused(404, "Record does not exist", "odoo.exceptions.MissingError")
    api.trouble = lambda r: missing if r.url.path.endswith("message_post") else None
    assert isinstance(it.note([Note("k", who, NOW, "Clicked")])[0], Gone)


def test_a_cursor_of_somebody_else_is_refused(it: Odoo) -> None:
    """So that the rounds begin anew."""
    for cursor in ("{}", "[9,{}]", '[0,{"messages":{"x":1}}]', "junk"):
        with pytest.raises(Refused, match="cursor"):
            it.acts(cursor)
