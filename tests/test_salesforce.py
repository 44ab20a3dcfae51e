"""Salesforce's connector beyond the conformance suite: messages, merges, conversions, opt-outs, errors, feeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.core import tables as t
from app.core.db import Database
from app.entry.door import Door
from connectors import _salesforce_walk as walk
from connectors._salesforce_wire import full_id, quoted
from connectors.contract import (
    Action,
    Done,
    Exists,
    Failed,
    Gone,
    Kind,
    NeedsHuman,
    Order,
    Page,
    Receipt,
    Refused,
    TryLater,
    Unreadable,
    Untrusted,
    Verb,
)
from connectors.salesforce import Salesforce
from tests.examples.salesforce import (
    ACK,
    ADA,
    BEA,
    DATA,
    NOW,
    SECRET,
    SETTINGS,
    FakeSalesforce,
    connect,
    message,
    note,
    refused,
    sign,
)
from tests.test_door import AtTheDoor

C = Kind.CONTACT
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def api() -> FakeSalesforce:
    return FakeSalesforce()


@pytest.fixture
def it(api: FakeSalesforce) -> Salesforce:
    return connect(api)


def create(key: str, email: str | None, *, again: bool = False, **fields: Any) -> Order:
    said = {"FirstName": "Ada", "LastName": "Byron", **fields, **({} if email is None else {"Email": email})}
    return Order(key, C, Verb.CREATE, said, again=again)


def update(key: str, id_: str, known: str = "", **fields: Any) -> Order:
    return Order(key, C, Verb.UPDATE, fields, id=id_, known={"Email": known} if known else {})


def writes(api: FakeSalesforce) -> list[tuple[str, Any]]:
    return [(method, body) for method, path, body in api.calls if method != "GET"]


def problem(receipt: Receipt) -> Refused | TryLater | NeedsHuman:
    assert isinstance(receipt, Failed), receipt
    return receipt.problem


def polls(it: Salesforce, cursor: str | None) -> tuple[list[Page], str]:
    """All pages of one walk, and the cursor after it."""
    pages: list[Page] = []
    for _ in range(30):
        pages.append(it.changed(C, cursor))
        cursor = pages[-1].cursor
        if not pages[-1].more:
            return pages, cursor
    raise AssertionError("the walk does not end")


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entity", "id_", "fields", "action", "ref", "losers"),
    [
        ("Contact", ADA, "", Action.CHANGED, ADA, ()),
        ("Contact", ADA, "<sf:IsDeleted>true</sf:IsDeleted>", Action.DELETED, ADA, ()),
        ("Lead", BEA, "<sf:IsConverted>false</sf:IsConverted>", Action.CHANGED, BEA, ()),
        (
            "Lead",
            BEA,
            f"<sf:IsConverted>true</sf:IsConverted><sf:ConvertedContactId>{ADA}</sf:ConvertedContactId>",
            Action.MERGED,
            ADA,
            (full_id(BEA),),
        ),
        ("Lead", BEA, "<sf:IsConverted>true</sf:IsConverted>", Action.CHANGED, BEA, ()),
    ],
)
def test_a_message_says_what_happened(
    it: Salesforce, entity: str, id_: str, fields: str, action: Action, ref: str, losers: tuple[str, ...]
) -> None:
    """A conversion leads to the contact that the lead lives on in; ids have 18 characters; the Ack is answered."""
    received = it.receive(sign(message(note(1, id_, fields, entity)), AT, SECRET))
    (event,) = received.events
    assert (event.action, event.ref.value, event.losers) == (action, full_id(ref), losers)
    assert received.answer.body == ACK


def test_another_org_and_hostile_xml_are_turned_away(it: Salesforce) -> None:
    """Whoever knows the URL but is another org is not trusted; entities that grow or read files are not expanded."""
    with pytest.raises(Untrusted):
        it.receive(sign(message(note(1, ADA), org="00D000000000001EAA"), AT, SECRET))
    bomb = b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c SYSTEM "file:///etc/passwd">]>' + message(note(1, "&c;"))
    for body in (
        bomb.replace(b'<?xml version="1.0" encoding="UTF-8"?>', b""),
        b"<a/>",
        message(),
        message(note(1, "x")),
    ):
        with pytest.raises(Unreadable):
            it.receive(sign(body, AT, SECRET))


@pytest.mark.parametrize("name", ["HasOptedOutOfEmail", "DoNotCall", "HasOptedOutOfFax"])
@pytest.mark.parametrize("value", ["true", "false"])
def test_objections_are_urgent(it: Salesforce, name: str, value: str) -> None:
    """Whatever may withdraw consent is looked at first."""
    (event,) = it.receive(sign(message(note(1, ADA, f"<sf:{name}>{value}</sf:{name}>")), AT, SECRET)).events
    assert event.urgent is (value == "true")


# --- leads, contacts, merges ------------------------------------------------------------------------------------------


def test_a_converted_lead_is_answered_by_its_contact(api: FakeSalesforce, it: Salesforce) -> None:
    """By id, in a poll and through a later merge; by address only the contact is found."""
    lead = api.add("Lead", Email="ada@one.example", City="Berlin")
    _, cursor = polls(it, None)
    (before,) = it.read(C, [lead])
    assert (before.id, before.fields["MailingCity"], before.fields["Company"]) == (lead, "Berlin", "Example GmbH")
    contact = str(api.org.convert(lead, "user")["Id"])
    (record,) = it.read(C, [lead])
    assert (record.id, record.former_ids, record.fields["Company"]) == (contact, (lead,), "Example GmbH")
    for found_by in (it.read(C, [contact]), it.find(C, "email", ["ADA@one.example"])):
        assert [(r.id, r.former_ids) for r in found_by] == [(contact, (lead,))], "it would be taken for somebody new"
    pages, cursor = polls(it, cursor)
    found = {r.id: r.former_ids for page in pages for r in page.records}
    assert found == {contact: (lead,)}
    assert not [i for page in pages for i in page.deleted], "a conversion was taken for a deletion"
    other = api.add(Email="other@one.example")
    api.org.merge("Contact", other, [contact], "user")
    (record,) = it.read(C, [lead])
    assert (record.id, set(record.former_ids)) == (other, {lead, contact})
    pages, _ = polls(it, cursor)
    found = {r.id: r.former_ids for page in pages for r in page.records}
    assert found[other] == (contact,) or set(found[other]) == {lead, contact}
    assert not [i for page in pages for i in page.deleted], "a merge was taken for a deletion"


@pytest.mark.parametrize("purged", [False, True])
def test_removals_come_with_the_poll(api: FakeSalesforce, it: Salesforce, purged: bool) -> None:
    """From the recycle bin, and from the delete log when it has left even that; who was restored is not deleted."""
    gone, back, lead = api.add(Email="a@one.example"), api.add(Email="b@one.example"), api.add("Lead")
    _, cursor = polls(it, None)
    for entity, id_ in (("Contact", gone), ("Contact", back), ("Lead", lead)):
        api.org.remove(entity, id_)
    api.org.restore("Contact", back, "user")
    if purged:
        api.org.purge("Contact", gone)
    pages, cursor = polls(it, cursor)
    assert sorted(i for page in pages for i in page.deleted) == sorted([gone, lead])
    assert back in {r.id for page in pages for r in page.records}
    assert it.read(C, [gone, lead]) == []


def test_a_feed_that_does_not_go_back_so_far_is_no_error(api: FakeSalesforce, it: Salesforce) -> None:
    """The rows in the recycle bin still tell; another refusal is one."""
    id_ = api.add(Email="a@one.example")
    _, cursor = polls(it, None)
    api.org.remove("Contact", id_)
    for code, fails in (("INVALID_REPLICATION_DATE", False), ("EXCEEDED_ID_LIMIT", False), ("UNKNOWN_EXCEPTION", True)):
        api.trouble = lambda r, c=code: refused(400, c, "no") if "/deleted/" in r.url.path else None  # type: ignore[misc]
        if fails:
            with pytest.raises(Refused):
                polls(it, cursor)
        else:
            pages, _ = polls(it, cursor)
            assert [i for page in pages for i in page.deleted] == [id_]


def test_the_feed_is_asked_within_its_bounds() -> None:
    """At least a minute, at most 14 days, never from a clock that nobody told."""
    now = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)
    for back in (timedelta(), timedelta(hours=1), timedelta(days=400)):
        span = walk.feed(walk.Poll(walk.stamp(now - back), began=walk.stamp(now)))
        assert span is not None
        assert timedelta(minutes=1) <= span[1] - span[0] <= walk.FEED
    assert walk.feed(walk.Poll(walk.stamp(now))) is None


def test_equal_times_at_a_page_border(api: FakeSalesforce, it: Salesforce) -> None:
    """Four hundred records of one second, pages of a hundred: each comes once in a poll."""
    _, cursor = polls(it, None)
    ids = [api.add(Email=f"p{n}@one.example", at=NOW + timedelta(hours=1)) for n in range(400)]
    pages, _ = polls(it, cursor)
    found = [r.id for page in pages for r in page.records]
    assert sorted(found) == sorted(ids)


@pytest.mark.parametrize("cursor", ["", "{}", "x", '{"poll":{"since":"x","entity":7}}', '{"list":{"a":1}}'])
def test_a_foreign_cursor_is_refused(it: Salesforce, cursor: str) -> None:
    """Not guessed at."""
    with pytest.raises(Refused):
        it.changed(C, cursor)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_new_people_become_what_the_setting_says(api: FakeSalesforce) -> None:
    """A lead has a company, or says that it has none, which is read as none."""
    it = connect(api, create_as="Lead")
    (receipt,) = it.write([create("k", "ada@one.example", MailingCity="Berlin")])
    assert isinstance(receipt, Done)
    assert (api.row(receipt.id)["Company"], api.row(receipt.id)["City"]) == ("[not provided]", "Berlin")
    (record,) = it.read(C, [receipt.id])
    assert (record.fields["Company"], record.fields["MailingCity"]) == (None, "Berlin")


def test_a_lead_is_somebody_who_is_there(api: FakeSalesforce, it: Salesforce) -> None:
    """A create meets leads as well as contacts, and an address is not given to a second record."""
    lead = api.add("Lead", Email="ada@one.example")
    mine = api.add(Email="mine@one.example")
    (first, second) = it.write(
        [create("k", "ADA@one.example"), update("u", mine, "mine@one.example", Email="Ada@one.example")]
    )
    assert isinstance(first, Exists)
    assert first.ref.value == lead
    assert isinstance(refusal := problem(second), Refused)
    assert (refusal.code, refusal.field) == ("conflict", "Email")
    assert writes(api) == []


def test_an_opt_out_reaches_all_who_have_the_address(api: FakeSalesforce, it: Salesforce) -> None:
    """It belongs to the record, so the lead and the second contact of that address are opted out as well."""
    mine, twin = api.add(Email="ada@one.example"), api.add(Email="Ada@one.example")
    lead, other = api.add("Lead", Email="ada@one.example"), api.add(Email="other@one.example")
    (receipt,) = it.write([update("k", mine, HasOptedOutOfEmail="true", DoNotCall="true")])
    assert isinstance(receipt, Done)
    assert [api.row(i)["HasOptedOutOfEmail"] for i in (mine, twin, lead, other)] == [True, True, True, False]
    assert [api.row(i)["DoNotCall"] for i in (mine, twin)] == [True, False]
    api.org.locked.add(twin)
    api.row(twin)["HasOptedOutOfEmail"] = False
    (receipt,) = it.write([update("k", mine, HasOptedOutOfEmail="true")])
    assert isinstance(problem(receipt), TryLater), "an opt-out that did not reach everybody counts as done"


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        ("UNABLE_TO_LOCK_ROW", TryLater, ""),
        ("REQUEST_RUNNING_TOO_LONG", TryLater, ""),
        ("REQUIRED_FIELD_MISSING", Refused, "validation"),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", Refused, "validation"),
        ("INSUFFICIENT_ACCESS_OR_READONLY", Refused, "access"),
        ("DUPLICATE_VALUE", Refused, "conflict"),
        ("nonsense", Refused, "validation"),
    ],
)
def test_each_record_has_its_own_next_step(
    api: FakeSalesforce, it: Salesforce, code: str, kind: type[Exception], word: str
) -> None:
    """What Salesforce says of one record, without its words, which may hold a value; the others are done."""
    ids = [api.add(Email=f"p{n}@one.example") for n in range(2)]

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.method == "GET":
            return None
        no = {"statusCode": code, "message": "Zuzanaq is wrong", "fields": ["Title"]}
        return httpx.Response(
            200, json=[{"success": False, "errors": [no]}, {"id": ids[1], "success": True, "errors": []}]
        )

    api.trouble = answer
    first, second = it.write([update(str(n), id_, Title="Zuzanaq") for n, id_ in enumerate(ids)])
    assert isinstance(found := problem(first), kind)
    assert "Zuzanaq" not in str(found)
    assert getattr(found, "code", "") == word
    assert isinstance(second, Done)


def test_one_bad_field_costs_none_of_the_others(api: FakeSalesforce, it: Salesforce) -> None:
    """A field that is not there refuses the whole call: halves are tried until it stands alone."""
    ids = [api.add(Email=f"p{n}@one.example") for n in range(7)]
    orders = [update(str(n), id_, **({"Nope__c": "x"} if n == 4 else {"Title": "CTO"})) for n, id_ in enumerate(ids)]
    receipts = it.write(orders)
    assert [type(r) for r in receipts] == [Done] * 4 + [Failed] + [Done] * 2
    assert isinstance(found := problem(receipts[4]), Refused)
    assert found.field == "Nope__c"


@pytest.mark.parametrize("how", ["converted", "merged"])
def test_who_lives_on_elsewhere_is_not_gone(api: FakeSalesforce, it: Salesforce, how: str) -> None:
    """An update of a lead that was converted, or a contact that was merged, waits until the new record was read."""
    if how == "converted":
        id_ = api.add("Lead", Email="ada@one.example")
        api.org.convert(id_, "user")
    else:
        id_ = api.add(Email="ada@one.example")
        api.org.merge("Contact", api.add(Email="other@one.example"), [id_], "user")
    (receipt,) = it.write([update("k", id_, Title="CTO")])
    assert isinstance(found := problem(receipt), TryLater)
    assert not found.landed
    api.org.remove("Contact", next(iter(r["Id"] for r in api.org.all("Contact"))))
    (receipt,) = it.write([update("k", id_, Title="CTO")])
    assert isinstance(receipt, Gone)


@pytest.mark.parametrize(("rule", "kind"), [("off", Done), ("alert", Done), ("block", Failed)])
def test_duplicate_rules(rule: str, kind: type[Receipt]) -> None:
    """An alert is for people at a screen; what blocks is refused, and who came meanwhile exists."""
    api = FakeSalesforce(duplicates=rule)
    it = connect(api)
    api.add(FirstName="Ada", Email="ada@one.example")
    (receipt,) = it.write([create("k", "ada@two.example")])
    assert isinstance(receipt, kind)
    if isinstance(receipt, Failed):
        assert getattr(receipt.problem, "code", "") == "conflict"
        blind = [True]

        def first_look_is_blind(request: httpx.Request) -> httpx.Response | None:
            if request.method == "GET" and blind and "Contact" in str(request.url):
                blind.clear()
                return httpx.Response(200, json={"totalSize": 0, "done": True, "records": []})
            return None

        api.trouble = first_look_is_blind
        (receipt,) = it.write([create("k", "ada@one.example")])
        assert isinstance(receipt, Exists)


def test_without_an_address_a_second_try_makes_nobody(api: FakeSalesforce, it: Salesforce) -> None:
    """Nothing tells whether the first one landed: a person looks."""
    (receipt,) = it.write([create("k", None, again=True)])
    assert getattr(problem(receipt), "code", "") == "unsure"
    assert writes(api) == []


def test_erasing_overwrites_before_it_removes(api: FakeSalesforce, it: Salesforce) -> None:
    """The recycle bin keeps an empty row; the lead that became the contact goes too; a second try is done."""
    lead = api.add("Lead", Email="ada@one.example", FirstName="Ada")
    contact = str(api.org.convert(lead, "user")["Id"])
    order = Order("k", C, Verb.ERASE, {}, id=contact)
    for _ in range(2):
        (receipt,) = it.write([order])
        assert isinstance(receipt, Done)
    row = api.row(contact)
    assert (row["FirstName"], row["LastName"], row["Email"], row["IsDeleted"]) == (None, "Erased", None, True)
    assert api.row(lead)["IsDeleted"]
    binned = api.add(Email="bin@one.example")
    api.org.remove("Contact", binned)
    (receipt,) = it.write([Order("k", C, Verb.ERASE, {}, id=binned)])
    assert getattr(problem(receipt), "code", "") == "erase", "a full row in the recycle bin counts as erased"


def test_merges_are_refused_without_a_call(api: FakeSalesforce, it: Salesforce) -> None:
    """REST cannot merge."""
    (receipt,) = it.write([Order("k", C, Verb.MERGE, {}, id=ADA, loser=BEA)])
    assert getattr(problem(receipt), "code", "") == "unsupported"
    assert not api.calls


# --- when Salesforce says no ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "INVALID_SESSION_ID", NeedsHuman),
        (403, "REQUEST_LIMIT_EXCEEDED", TryLater),
        (403, "API_DISABLED_FOR_ORG", NeedsHuman),
        (400, "INVALID_FIELD", NeedsHuman),
        (400, "MALFORMED_QUERY", Refused),
        (420, "EDGE", TryLater),
        (503, "SERVER_UNAVAILABLE", TryLater),
    ],
)
def test_errors_lead_to_their_next_step(
    api: FakeSalesforce, it: Salesforce, status: int, code: str, kind: type[Exception]
) -> None:
    """A used-up quota waits, a hidden field and a lost session call for a person."""
    api.trouble = lambda _: refused(status, code, "No such column 'Zip__c' on entity 'Contact'.")
    with pytest.raises(kind) as found:
        it.read(C, [ADA])
    if code == "INVALID_FIELD":
        assert "Zip__c of Contact" in str(found.value)
    if code == "REQUEST_LIMIT_EXCEEDED":
        assert found.value.after == timedelta(minutes=15)  # type: ignore[attr-defined]


def test_what_a_query_holds_is_quoted() -> None:
    """An address is no SOQL."""
    assert quoted("o'neil\\@x.example' OR Id != '") == "'o\\'neil\\\\@x.example\\' OR Id != \\''"
    api = FakeSalesforce()
    mine = api.add(Email="o'neil@one.example")
    api.add(Email="other@one.example")
    assert [r.id for r in connect(api).find(C, "email", ["O'Neil@one.example", "x' OR Email != '"])] == [mine]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"org_id": "12"}, "org_id"),
        ({"org_id": ADA}, "org_id"),
        ({"create_as": "Account"}, "create_as"),
        ({"fields": "First Name"}, "fields"),
        ({"fields": "Id FROM User"}, "fields"),
        ({"version": "67"}, "version"),
        ({"daily_calls": "many"}, "daily_calls"),
        ({"page_size": "1"}, "page_size"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, str], complaint: str) -> None:
    """By name."""
    with pytest.raises(ValueError, match=complaint):
        connect(FakeSalesforce(), **settings)


# --- saboteurs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("test_a_converted_lead_is_answered_by_its_contact", lambda r: replace(r, into=None)),
        ("test_removals_come_with_the_poll", lambda r: replace(r, deleted=False)),
    ],
)
def test_the_tests_bite(
    api: FakeSalesforce, it: Salesforce, monkeypatch: pytest.MonkeyPatch, name: str, spoil: Callable[[Any], Any]
) -> None:
    """A connector that does not see conversions, or the recycle bin, is caught."""
    from connectors import _salesforce_calls as calls

    honest = calls.row
    monkeypatch.setattr(calls, "row", lambda *given, **said: spoil(honest(*given, **said)))
    more = {"purged": False} if name.startswith("test_removals") else {}
    with pytest.raises((AssertionError, ValueError)):
        globals()[name](api, it, **more)


def test_an_opt_out_that_stays_with_one_record_is_caught(
    api: FakeSalesforce, it: Salesforce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saboteur of the promise that all who have the address are opted out."""
    from connectors import _salesforce_write as writing

    monkeypatch.setattr(writing._Run, "_spread", lambda *_: None)
    with pytest.raises(AssertionError):
        test_an_opt_out_reaches_all_who_have_the_address(api, it)


def test_the_conformance_settings_are_ours() -> None:
    """Guards the guard: the path that the Example names is the one of the version that is used."""
    assert SETTINGS["org_id"] == full_id(SETTINGS["org_id"])
    assert DATA.endswith("v67.0")


def test_the_door_answers_with_the_ack(database: Database) -> None:
    """A message goes into the inbox once, however often it comes; a wrong secret is 401 and leaves nothing."""
    at = AtTheDoor(database)
    at.door = Door({"salesforce": connect(FakeSalesforce())}, at.writer, lambda: AT)
    body = message(note(1, ADA), note(2, BEA, entity="Lead"))
    good = ("POST", f"/webhooks/salesforce?secret={SECRET}", body)
    answers = at.call(good, good, ("POST", "/webhooks/salesforce?secret=guessed", message(note(3, ADA))))
    assert [a.status_code for a in answers] == [200, 200, 401]
    assert answers[0].content == ACK
    assert answers[0].headers["content-type"].startswith("text/xml")
    assert at.count(t.inbox) == 2
