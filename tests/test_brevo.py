"""Brevo's own traps: what it ignores in silence, marks that get lost, lists that move, deliveries without an id."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors import _brevo_hooks as hooks
from connectors import _brevo_walk as walk
from connectors._brevo_wire import Attribute, record, value_for
from connectors.brevo import Brevo
from connectors.contract import (
    Action,
    Delivery,
    Done,
    Exists,
    Failed,
    Gone,
    Kind,
    NeedsHuman,
    Order,
    Receipt,
    Record,
    Refused,
    TryLater,
    Unreadable,
    Verb,
)
from tests.examples.brevo import LEFT, NOW, SECRET, UPDATED, FakeBrevo, connect, over, refused, sign

C = Kind.CONTACT
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def api() -> FakeBrevo:
    return FakeBrevo()


@pytest.fixture
def it(api: FakeBrevo) -> Brevo:
    return connect(api)


def update(id_: str, /, *, known: dict[str, Any] | None = None, **fields: Any) -> Order:
    named = {
        n if n in {"email", "emailBlacklisted", "smsBlacklisted"} else f"attributes.{n}": v for n, v in fields.items()
    }
    return Order("k", C, Verb.UPDATE, named, id=id_, known={} if known is None else known)


def create(email: str | None, /, **attributes: Any) -> Order:
    named = {f"attributes.{n}": v for n, v in attributes.items()}
    return Order("k", C, Verb.CREATE, named if email is None else {"email": email, **named})


def one(it: Brevo, order: Order) -> Receipt:
    (receipt,) = it.write([order])
    return receipt


def refusal(receipt: Receipt) -> Refused:
    assert isinstance(receipt, Failed), receipt
    assert isinstance(receipt.problem, Refused), receipt.problem
    return receipt.problem


def delivery(*items: Any, at: datetime = AT) -> Delivery:
    return sign(json.dumps(items[0] if len(items) == 1 else items).encode(), at, SECRET)


def marked(api: FakeBrevo, id_: str) -> tuple[bool, bool]:
    marks = api.account.rows[int(id_)].marks
    return marks["emailBlacklisted"], marks["smsBlacklisted"]


# --- the blocklist ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgets", [0, 1])
@pytest.mark.parametrize("change", [{"email": "new@one.example"}, {"SMS": "+491701234567"}])
def test_a_changed_identifier_lifts_no_mark(api: FakeBrevo, it: Brevo, change: dict[str, Any], forgets: int) -> None:
    """Brevo subscribes whoever changes the address again: what was marked before is marked after."""
    id_ = api.add("ada@one.example", SMS="+491701111111")
    api.account.rows[int(id_)].marks |= {"emailBlacklisted": True, "smsBlacklisted": True}
    api.account.forgets = forgets
    assert isinstance(one(it, update(id_, known={"email": "ada@one.example"}, **change)), Done)
    assert marked(api, id_) == (True, True)


def test_a_connector_that_does_not_look_again_lifts_it(api: FakeBrevo, it: Brevo, monkeypatch: Any) -> None:
    """The saboteur: without the look before, the simulated account subscribes the person again."""
    id_ = api.add("ada@one.example")
    api.account.rows[int(id_)].marks["emailBlacklisted"] = True
    monkeypatch.setattr("connectors._brevo_write.FLAGS", ())
    one(it, update(id_, known={"email": "ada@one.example"}, email="new@one.example"))
    assert marked(api, id_) == (False, False)


def test_a_mark_that_gets_lost_is_set_again(api: FakeBrevo, it: Brevo) -> None:
    """Seen in use: 204, and the contact is not blocked.  Twice lost, the order is tried again later."""
    id_ = api.add("ada@one.example")
    api.account.forgets = 1
    assert isinstance(one(it, update(id_, emailBlacklisted="true")), Done)
    assert marked(api, id_) == (True, False)
    other = api.add("bea@one.example")
    api.account.forgets = 2
    receipt = one(it, update(other, emailBlacklisted="true"))
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, TryLater)


@pytest.mark.parametrize("bad", [{"SMS": "nonsense"}, {"NOPE": "x"}, {"BIRTHDAY": "soon"}])
def test_a_withdrawal_is_not_held_up(api: FakeBrevo, it: Brevo, bad: dict[str, Any]) -> None:
    """Whatever else is wrong with the order: the mark is set, and the order is refused all the same."""
    id_ = api.add("ada@one.example")
    assert refusal(one(it, update(id_, emailBlacklisted="true", **bad))).field == f"attributes.{next(iter(bad))}"
    assert marked(api, id_) == (True, False)


def test_no_order_lifts_a_mark_that_it_does_not_know_of(api: FakeBrevo, it: Brevo) -> None:
    """What the person said after the order was made stands."""
    id_ = api.add("ada@one.example")
    api.account.rows[int(id_)].marks["emailBlacklisted"] = True
    assert refusal(one(it, update(id_, emailBlacklisted="false"))).code == "compliance"
    assert marked(api, id_) == (True, False)
    known = {"emailBlacklisted": True}
    assert isinstance(one(it, update(id_, known=known, emailBlacklisted="false")), Done)
    assert marked(api, id_) == (False, False)


def test_nothing_is_said_about_marks_unasked(api: FakeBrevo, it: Brevo) -> None:
    """``emailBlacklisted: false`` beside other fields would subscribe somebody again."""
    id_ = api.add("ada@one.example")
    it.write([update(id_, FIRSTNAME="Ada"), create("bea@one.example", FIRSTNAME="Bea")])
    assert not any("Blacklisted" in json.dumps(body) for _, _, body in api.calls)


def test_a_new_contact_is_blocked_from_the_first_moment(api: FakeBrevo, it: Brevo) -> None:
    """The mark travels in the call that makes the contact, and is looked for."""
    api.account.forgets = 1
    fields = {"email": "ada@one.example", "emailBlacklisted": "true"}
    receipt = one(it, Order("k", C, Verb.CREATE, fields))
    assert isinstance(receipt, Done)
    assert marked(api, receipt.id) == (True, False)
    assert api.calls[0][2]["emailBlacklisted"] is True


# --- what Brevo ignores -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "value", "sent"),
    [
        ("text", "x", "x"),
        ("text", 5, "5"),
        ("text", ["a"], None),
        ("float", "42.5", 42.5),
        ("float", "7", 7),
        ("float", 0, 0),
        ("float", "many", None),
        ("float", True, None),
        ("boolean", "true", True),
        ("boolean", False, False),
        ("boolean", "perhaps", None),
        ("date", "2026-02-28", "2026-02-28"),
        ("date", "2026-02-30", None),
        ("date", "28.02.2026", None),
        ("multiple-choice", ["News"], ["News"]),
        ("multiple-choice", ["Newts"], None),
        ("category", "Gold", "Gold"),
        ("category", "1", "1"),
        ("category", "Tin", None),
    ],
)
def test_values_of_another_type_are_not_sent(type_: str, value: Any, sent: Any) -> None:
    """Brevo would ignore them with success: refused by name, and without the value."""
    options = {"multiple-choice": ("News", "Fairs"), "category": ("Gold", "Iron")}.get(type_)
    about = Attribute("X", "normal", type_, options, frozenset({"1", "2"} if type_ == "category" else ()))
    if sent is None:
        with pytest.raises(Refused) as caught:
            value_for(about, value)
        assert caught.value.field == "attributes.X"
        assert not isinstance(value, str) or f"{value!r}" not in str(caught.value)
    else:
        made = value_for(about, value)
        assert (made, type(made)) == (sent, type(sent))


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("attributes.NOPE", "unknown_field"),
        ("attributes.SPENT", "read_only"),
        ("listIds", "read_only"),
        ("listUnsubscribed.2", "read_only"),
        ("whatsappBlacklisted", "read_only"),
        ("firstname", "unknown_field"),
    ],
)
def test_fields_that_cannot_be_written_are_refused(api: FakeBrevo, it: Brevo, field: str, code: str) -> None:
    """One record is refused, the others of the write go on."""
    id_, other = api.add("ada@one.example"), api.add("bea@one.example")
    receipts = it.write([Order("a", C, Verb.UPDATE, {field: "x"}, id=id_), update(other, FIRSTNAME="Bea")])
    assert (refusal(receipts[0]).code, refusal(receipts[0]).field) == (code, field)
    assert isinstance(receipts[1], Done)


def test_an_attribute_made_meanwhile_is_known(api: FakeBrevo, it: Brevo) -> None:
    """The account is asked again before anybody is refused."""
    id_ = api.add("ada@one.example")
    assert refusal(one(it, update(id_, HOBBY="Chess"))).code == "unknown_field"
    api.account.answer("POST", "/contacts/attributes/normal/HOBBY", [], {"type": "text"}, "user")
    assert isinstance(one(it, update(id_, HOBBY="Chess")), Done)


def test_what_was_ignored_is_not_done(api: FakeBrevo, it: Brevo) -> None:
    """An attribute that went away since it was asked for: 204, and nothing changed; the next try says why."""
    id_ = api.add("ada@one.example", CITY="Bonn")
    assert isinstance(one(it, update(id_, CITY="Ulm")), Done)
    del api.account.attributes["CITY"]
    receipt = one(it, update(id_, known={"attributes.CITY": "Ulm"}, CITY="Kiel"))
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, TryLater)
    assert "attributes.CITY" in str(receipt.problem)
    assert refusal(one(it, update(id_, CITY="Kiel"))).code == "unknown_field"


# --- who is there -----------------------------------------------------------------------------------------------------


def test_a_number_that_another_contact_has_is_a_conflict(api: FakeBrevo, it: Brevo) -> None:
    """It makes nobody Exist, and names the field."""
    api.add("ada@one.example", SMS="+491701234567")
    other = api.add("bea@one.example")
    for order in (create("new@one.example", SMS="+49 170 1234567"), update(other, SMS="0049170 1234567")):
        problem = refusal(one(it, order))
        assert (problem.code, problem.field) == ("conflict", "attributes.SMS")
    problem = refusal(one(it, update(other, known={"email": "bea@one.example"}, email="ADA@one.example")))
    assert (problem.code, problem.field) == ("conflict", "email")


def test_an_address_that_is_freed_in_the_same_write_can_be_taken(api: FakeBrevo, it: Brevo) -> None:
    """Whichever of the two is sent first."""
    ids = [api.add("ada@one.example"), api.add("bea@one.example")]
    moves = [(ids[1], "bea@one.example", "ada@one.example"), (ids[0], "ada@one.example", "new@one.example")]
    for order in (moves, moves[::-1]):
        api.account.rows[int(ids[0])].email, api.account.rows[int(ids[1])].email = "ada@one.example", "bea@one.example"
        receipts = it.write([update(id_, known={"email": old}, email=new) for id_, old, new in order])
        assert [type(r) for r in receipts] == [Done, Done]
        assert sorted(api.emails()) == ["ada@one.example", "new@one.example"]


def test_an_unchanged_address_is_not_sent(api: FakeBrevo, it: Brevo) -> None:
    """Older servers refuse it as taken: neither what we know nor what Brevo shows is sent again."""
    id_ = api.add("ada@one.example")
    assert isinstance(one(it, update(id_, known={"email": "Ada@one.example"}, email="ADA@one.example")), Done)
    assert isinstance(one(it, update(id_, known={"email": "old@one.example"}, email="ada@one.example")), Done)
    assert api.writes() == []


def test_nobody_is_made_without_an_address(it: Brevo, api: FakeBrevo) -> None:
    """Brevo would take a telephone number alone, and another one at each try."""
    assert refusal(one(it, create(None, SMS="+491701234567"))).field == "email"
    assert refusal(one(it, update("7", email=None))).field == "email"
    assert not api.writes()


def test_who_has_no_address_is_read(api: FakeBrevo, it: Brevo) -> None:
    """A contact known by telephone only; its number has its plus again."""
    id_ = api.add(None, SMS="0049 170 1234567")
    (found,) = it.read(C, [id_])
    assert found.fields["attributes.SMS"] == "+491701234567"
    assert found.fields.get("email") is None


def test_a_batch_is_read_back(api: FakeBrevo, it: Brevo) -> None:
    """204 says nothing of anybody: who is gone is Gone, a bad one is refused alone, the others are done."""
    ids = [api.add(f"p{n}@one.example") for n in range(30)]
    orders = [Order(f"k{n}", C, Verb.UPDATE, {"attributes.CITY": f"Town {n}"}, id=id_) for n, id_ in enumerate(ids)]
    orders[3] = Order("k3", C, Verb.UPDATE, {"attributes.CITY": "X"}, id="4711")
    receipts = it.write(orders)
    assert [type(r) for r in receipts] == [Done] * 3 + [Gone] + [Done] * 26
    assert api.writes() == ["POST /contacts/batch"]
    api.calls.clear()
    api.trouble = lambda request: refused(400) if request.url.path.endswith("/batch") else None
    assert [type(r) for r in it.write(orders)] == [Done] * 3 + [Gone] + [Done] * 26
    assert api.writes().count("POST /contacts/batch") == 1


def test_a_server_that_ignores_ids_makes_nobody_gone(api: FakeBrevo, it: Brevo) -> None:
    """Whom the list does not show is asked for alone; strangers in it are left out."""
    ids = [api.add(f"p{n}@one.example") for n in range(60)]
    api.account.deaf = True
    assert [r.id for r in it.read(C, [ids[3], "4711", ids[59]])] == [ids[3], ids[59]]


@pytest.mark.parametrize("verb", [Verb.UPDATE, Verb.ERASE])
def test_a_404_that_is_not_brevos_makes_nobody_gone(api: FakeBrevo, it: Brevo, verb: Verb) -> None:
    """What stands before Brevo answers 404 as well, without Brevo's code."""
    id_ = api.add("ada@one.example")
    api.trouble = lambda request: httpx.Response(404, text="nope") if request.method != "GET" else None
    fields = {"attributes.CITY": "Ulm"} if verb is Verb.UPDATE else {}
    receipt = one(it, Order("k", C, verb, fields, id=id_))
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, TryLater)


def test_what_brevo_cannot_do_is_refused_without_a_call(api: FakeBrevo, it: Brevo) -> None:
    """No archive, no merge that could be trusted; the account's own address cannot be erased."""
    for verb in (Verb.ARCHIVE, Verb.MERGE):
        assert refusal(one(it, Order("k", C, verb, {}, id="1", loser="2"))).code == "unsupported"
    assert not api.calls
    owner = api.add("owner@account.example")
    assert refusal(one(it, Order("k", C, Verb.ERASE, {}, id=owner))).code == "method_not_allowed"


def test_a_create_that_landed_is_recognised(api: FakeBrevo, it: Brevo) -> None:
    """Found with just these values it is ours; with others it Exists."""
    api.add("ada@one.example", FIRSTNAME="Ada", CITY="Bonn")
    for town, kind in (("Bonn", Done), ("Ulm", Exists)):
        fields = {"email": "ADA@one.example", "attributes.CITY": town}
        assert isinstance(one(it, Order("k", C, Verb.CREATE, fields, again=True)), kind)
    assert not api.writes()


# --- the next step ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-sib-ratelimit-reset": "12"}, 12),
        ({"x-sib-ratelimit-reset": "1790000000"}, 60),
        ({"x-sib-ratelimit-reset": "soon"}, 60),
        ({}, 60),
        ({"retry-after": "9", "x-sib-ratelimit-reset": "30"}, 9),
    ],
)
def test_429_waits_as_brevo_says_it(api: FakeBrevo, headers: dict[str, str], seconds: int) -> None:
    """In a header of its own; what makes no sense is a minute.  All calls to contacts wait, not only this one."""
    api.trouble = lambda _: httpx.Response(429, headers=headers, json={"code": "too_many_requests", "message": ""})
    it = connect(api)
    with pytest.raises(TryLater) as caught:
        it.read(C, ["1"])
    assert caught.value.after == timedelta(seconds=seconds)
    assert it._http.paused_for > timedelta(seconds=seconds - 2)


def test_the_hourly_rate_of_webhooks_holds_up_no_contact(api: FakeBrevo, it: Brevo) -> None:
    """A hundred an hour for everything but contacts: used up, contacts go on."""
    api.trouble = lambda r: refused(429) if "webhooks" in r.url.path else None
    with pytest.raises(TryLater):
        it.hooks()
    assert it.read(C, ["1"]) == []


def test_an_unknown_ip_address_needs_a_person(api: FakeBrevo, it: Brevo) -> None:
    """Accounts may allow keys from some addresses only: the connection pauses."""
    api.trouble = lambda _: refused(401, "We have detected you are using an unrecognised IP address", "unauthorized")
    with pytest.raises(NeedsHuman, match="unrecognised IP"):
        it.check()


@pytest.mark.parametrize(
    ("plan", "calls"), [("", (10, 36_000)), ("general", (10, 36_000)), ("Professional", (20, 72_000))]
)
def test_the_plan_says_the_rates(plan: str, calls: tuple[int, int]) -> None:
    """As published; an unknown plan is refused by name."""
    assert tuple(rate.calls for rate in Brevo.limits_for({"plan": plan}).rates) == calls
    for name, value in (("plan", "gold"), ("page_size", "5"), ("page_size", "1001")):
        with pytest.raises(ValueError, match=name):
            connect(FakeBrevo(), **{name: value})


# --- deliveries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "action", "address", "urgent"),
    [
        (UPDATED, Action.CHANGED, "ada@people.example", False),
        ({**UPDATED, "content": {"email": "ada@people.example"}}, Action.CHANGED, "ada@people.example", False),
        (
            {**UPDATED, "content": [{"email": "a@b.example", "emailBlacklist": True}]},
            Action.CHANGED,
            "a@b.example",
            True,
        ),
        (
            {**UPDATED, "content": [{"email": "a@b.example", "emailBlacklist": False}]},
            Action.CHANGED,
            "a@b.example",
            False,
        ),
        (
            {**UPDATED, "event": "contactUpdated", "content": None, "email": ["A@b.example"]},
            Action.CHANGED,
            "a@b.example",
            False,
        ),
        ({"event": "contact_deleted", "email": "a@b.example", "ts": 1}, Action.DELETED, "a@b.example", False),
        ({"event": "contact_deleted", "email": ["a@b.example"]}, Action.DELETED, "a@b.example", False),
        ({"event": "list_addition", "email": "a@b.example", "list_id": [2]}, Action.CHANGED, "a@b.example", False),
        ({**LEFT, "event": "hard_bounce"}, Action.CHANGED, "bea@people.example", True),
        ({**LEFT, "event": "hardBounce"}, Action.CHANGED, "bea@people.example", True),
        ({**LEFT, "event": "spam", "reason": "undesired"}, Action.CHANGED, "bea@people.example", True),
    ],
)
def test_every_shape_of_a_delivery_names_its_contact(
    it: Brevo, item: dict[str, Any], action: Action, address: str, urgent: bool
) -> None:
    """Documents and deliveries disagree on shapes and names: all of them are understood."""
    (event,) = it.receive(delivery(item)).events
    assert (event.action, event.ref.value, event.urgent) == (action, address, urgent)


def test_a_moved_address_is_looked_up_under_both(it: Brevo) -> None:
    """The delivery may name the old one beside it."""
    content = [{"email": "old@b.example", "attributes": {"EMAIL": "New@b.example"}}]
    found = it.receive(delivery({**UPDATED, "content": content})).events
    assert [e.ref.value for e in found] == ["old@b.example", "new@b.example"]


def test_copies_have_one_key(it: Brevo) -> None:
    """The id is the webhook's: a second webhook tells the same.  Without any time, only for a while."""

    def key(item: dict[str, Any], after: timedelta = timedelta()) -> str:
        (event,) = it.receive(delivery(item, at=AT + after)).events
        return event.dedupe

    assert key(UPDATED) == key({**UPDATED, "id": 11}, timedelta(days=2))
    assert key(UPDATED) != key({**UPDATED, "date": "2026-03-02 10:00:00"})
    timeless = {"event": "contact_deleted", "email": "a@b.example"}
    assert key(timeless) == key(timeless, timedelta(minutes=9))
    assert key(timeless) != key(timeless, hooks.COPIES)


def test_one_bad_event_costs_no_other(it: Brevo) -> None:
    """Only what holds nothing readable is unreadable."""
    assert len(it.receive(delivery({"event": 5}, "x", {"event": "contact_updated"}, LEFT)).events) == 1
    for items in ([{"event": "contact_updated"}], [{"email": "a@b.example"}], ["x"]):
        with pytest.raises(Unreadable):
            it.receive(delivery(*items))


# --- the walk ---------------------------------------------------------------------------------------------------------


def walked(it: Brevo, cursor: str | None, between: Callable[[int], None] = lambda _: None) -> tuple[list[str], str]:
    seen: list[str] = []
    for n in range(60):
        page = it.changed(C, cursor)
        seen += [r.id for r in page.records]
        cursor = page.cursor
        if not page.more:
            return seen, cursor
        between(n)
    raise AssertionError("the walk does not end")


@pytest.mark.parametrize("gone", [1, 3, 9, 25, 60])
def test_deletions_during_a_walk_hide_nobody(gone: int) -> None:
    """Whoever is deleted moves the rest back over the border of a page; the walk goes back until it meets its end."""
    api = FakeBrevo()
    ids = [api.add(f"p{n}@one.example", at=NOW + timedelta(seconds=n)) for n in range(95)]
    it = connect(api, page_size="10")

    def drop(page: int) -> None:
        if page == 6:
            for id_ in ids[:gone]:
                del api.account.rows[int(id_)]

    seen, _ = walked(it, None, drop)
    assert set(seen) >= set(ids[gone:])


def test_a_walk_by_offset_alone_hides_people() -> None:
    """The saboteur: without the overlap of pages, those who move over the border are never seen."""
    api = FakeBrevo()
    ids = [api.add(f"p{n}@one.example", at=NOW + timedelta(seconds=n)) for n in range(40)]
    it = connect(api, page_size="10")
    first = it.changed(C, None)
    for id_ in ids[:5]:
        del api.account.rows[int(id_)]
    naive = json.dumps({**json.loads(first.cursor), "offset": 10, "last": []})
    assert not {r.id for r in first.records} | set(walked(it, naive)[0]) >= set(ids[5:])
    assert {r.id for r in first.records} | set(walked(it, first.cursor)[0]) >= set(ids[5:])


def test_a_quiet_poll_is_one_call_and_the_window_moves(api: FakeBrevo) -> None:
    """By the vendor's clock; without one, by the newest change."""
    for dates in (True, False):
        api.dates = dates
        it = connect(api)
        for n in range(3):
            api.add(f"p{n}{dates}@one.example")
        _, cursor = walked(it, None)
        api.now += timedelta(hours=1)
        late = api.add(f"late{dates}@one.example")
        seen, cursor = walked(it, cursor)
        assert late in seen
        api.calls.clear()
        assert walked(it, cursor)[0] == [late], "an import is read again at every poll after it"
        assert len(api.calls) == 1


@pytest.mark.parametrize("counted", [None, 7, 1_000_000])
def test_a_count_that_means_something_else_harms_nothing(counted: int | None) -> None:
    """Whether it counts what the filter lets through is not documented: neither too early nor never is the end."""
    page = [Record(C, str(n), {}) for n in range(10)]
    state, more = walk.advance(walk.Walk(), page, size=10, count=counted, now=NOW)
    assert (more, state.offset) == (True, 5)
    last, more = walk.advance(state, page[5:], size=10, count=counted, now=NOW)
    assert (more, last.since) == (False, NOW.isoformat())


@pytest.mark.parametrize("cursor", ["", "{", "null", "[]", '{"since": "soon"}', '{"offset": "x"}'])
def test_a_strange_cursor_is_refused(it: Brevo, cursor: str) -> None:
    """With a word on what to do."""
    with pytest.raises(Refused, match="start again"):
        it.changed(C, cursor)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_lists_that_somebody_left_are_answers_by_topic() -> None:
    """Left is true, inside is false, and a list that says neither is not said; attributes may be a PHP list."""
    row = {"id": 7, "email": "a@b.example", "listIds": [2], "listUnsubscribed": [5], "attributes": []}
    fields = record({**row, "modifiedAt": "2026-04-14T05:50:12.000+02:00"}).fields
    assert (fields["listUnsubscribed.2"], fields["listUnsubscribed.5"]) == (False, True)
    assert "listUnsubscribed.9" not in fields
    assert record({**row, "listUnsubscribed": None}).fields["listUnsubscribed.2"] is False
    with pytest.raises(TryLater):
        record({"email": "a@b.example"})


def test_a_webhook_that_does_not_take_a_change_is_made_anew(api: FakeBrevo, it: Brevo) -> None:
    """The page on changing one lists fewer events than the page on making it; doubles are removed."""
    url = "https://tandem.example/webhooks/brevo"
    for _ in range(2):
        body = {"type": "marketing", "url": url, "events": ["opened"]}
        api.account.answer("POST", "/webhooks", [], body, "user")
    api.trouble = lambda r: httpx.Response(204) if r.method == "PUT" else None
    (made,) = it.hook(url).hooks
    assert made.lacks == ()
    (kept,) = api.account.hooks.values()
    assert kept["auth"] == {"type": "bearer", "token": SECRET}


def test_the_base_url_is_brevos_own() -> None:
    """Unless a setting says otherwise."""
    assert Brevo.base_url({}) == "https://api.brevo.com/v3"
    asked: list[str] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"contacts": [], "count": 0})

    over(httpx.MockTransport(vendor), base_url="http://localhost:1/v3/").changed(C, None)
    over(httpx.MockTransport(vendor), base_url="http://localhost:1").changed(C, None)
    assert asked == ["http://localhost:1/v3/contacts?limit=50&offset=0&sort=asc"] * 2
