"""Mautic's connector beyond the conformance suite: deliveries, silent merges, do-not-contact, polls, credentials."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

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
    Problem,
    Receipt,
    Refused,
    TryLater,
    Unreadable,
    Untrusted,
    Verb,
)
from connectors.mautic import Mautic
from tests.examples.mautic import AT, BASE, NOW, SECRET, SETTINGS, FakeMautic, connect, contact, php, refused, sign
from tests.speccheck import folder

C = Kind.CONTACT
WHEN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def api() -> FakeMautic:
    return FakeMautic()


@pytest.fixture
def it(api: FakeMautic) -> Mautic:
    return connect(api)


def create(key: str, email: str | None, *, again: bool = False, **fields: Any) -> Order:
    said = {"firstname": "Ada", **fields, **({} if email is None else {"email": email})}
    return Order(key, C, Verb.CREATE, said, again=again)


def update(key: str, id_: str, known: dict[str, Any] | None = None, **fields: Any) -> Order:
    return Order(key, C, Verb.UPDATE, fields, id=id_, known=known if known is not None else {})


def says(name: str, value: Any) -> dict[str, Any]:
    """A field whose name is no word of Python."""
    return {name: value}


def problem(receipt: Receipt) -> Problem:
    assert isinstance(receipt, Failed), receipt
    return receipt.problem


def why(receipt: Receipt) -> tuple[str, str | None]:
    found = problem(receipt)
    assert isinstance(found, Refused), found
    return found.code, found.field


def sent(api: FakeMautic) -> list[Any]:
    """What batches carried, contact by contact."""
    return [one for method, _, body in api.calls if method != "GET" and isinstance(body, list) for one in body]


# --- deliveries -------------------------------------------------------------------------------------------------------


def test_the_signature_is_that_of_an_independent_computation() -> None:
    """Over a known body, computed elsewhere by the documented steps."""
    points = '{"mautic.lead_points_change":[{"points":{"old_points":5,"new_points":10},'
    body = (points + '"timestamp":"2024-05-01T10:00:00+00:00"}]}').encode()
    headers = {"webhook-signature": "NS/TmIXoR760dad17HFR9Jz4pCpOSLjs4Zu5qRC6B4o="}
    it = connect(FakeMautic(), webhook_secrets="mySuperWebhookSecretKey")
    with pytest.raises(Unreadable, match="names a contact"):  # trusted: the vector is about nobody
        it.receive(Delivery("POST", "https://tandem.example/", headers, body, WHEN))
    with pytest.raises(Untrusted):
        it.receive(Delivery("POST", "https://tandem.example/", headers, body + b" ", WHEN))


def test_recorded_deliveries_of_a_real_installation_are_read() -> None:
    """What version 5.2.0 sent is trusted and read: the contact's id, an aware time, a key of its own for each."""
    file = folder().parent / "data" / "deliveries" / "self-hosted.jsonl"
    if not file.is_file():
        pytest.skip(f"no recorded deliveries in {file.parent} (set TANDEM_SPECS)")
    recorded = [r for line in file.read_text().splitlines() if (r := json.loads(line))["system"] == "mautic"]
    assert recorded
    real = connect(FakeMautic(), webhook_secrets="s3cret")
    keys = set()
    for one in recorded:
        headers = {name.lower(): value for name, value in one["headers"].items()}
        delivery = Delivery("POST", "https://tandem.example/", headers, one["body"].encode(), WHEN)
        (event,) = real.receive(delivery).events
        shown = json.loads(one["body"])["mautic.lead_post_save_new"][0]
        assert event.ref.value == str(shown["contact"]["id"])
        assert event.occurred_at == datetime.fromisoformat(shown["timestamp"])
        keys.add(event.dedupe)
        with pytest.raises(Untrusted):
            real.receive(Delivery("POST", delivery.url, headers, delivery.body + b" ", WHEN))
    assert len(keys) == len(recorded)


@pytest.mark.parametrize(
    ("kind", "more", "action", "urgent"),
    [
        ("lead_post_save_new", {}, Action.CHANGED, False),
        ("lead_post_save_update", {}, Action.CHANGED, False),
        ("lead_points_change", {"points": {"old_points": 1, "new_points": 2}}, Action.CHANGED, False),
        ("lead_company_change", {"added": True}, Action.CHANGED, False),
        ("lead_channel_subscription_changed", {"new_status": "unsubscribed"}, Action.CHANGED, True),
        ("lead_channel_subscription_changed", {"new_status": "bounced"}, Action.CHANGED, True),
        ("lead_channel_subscription_changed", {"new_status": "contactable"}, Action.CHANGED, False),
        ("lead_channel_subscription_changed", {}, Action.CHANGED, True),
        ("lead_post_delete", {"id": 47}, Action.DELETED, False),
        ("email_on_send", {}, None, False),
        ("nonsense", {}, None, False),
    ],
)
def test_kinds_of_events(it: Mautic, kind: str, more: dict[str, Any], action: Action | None, urgent: bool) -> None:
    """What may withdraw consent is looked at first; what is not about contacts is no event."""
    item = {"contact": contact(47, "ada@people.example"), "timestamp": AT, **more}
    found = it.receive(sign(php({f"mautic.{kind}": [item]}), WHEN, SECRET)).events
    assert [(e.action, e.urgent, e.ref.value) for e in found] == ([] if action is None else [(action, urgent, "47")])


def test_visitors_whom_nobody_knows_are_no_events(it: Mautic) -> None:
    """They live in the same table; a deletion is told all the same, since it says nothing of the person."""
    visitor = {**contact(47, ""), "dateIdentified": None}
    body = {
        "mautic.lead_points_change": [{"contact": visitor, "timestamp": AT}],
        "mautic.lead_post_delete": [{"id": "48", "contact": {**visitor, "id": None}, "timestamp": AT}],
    }
    assert [e.ref.value for e in it.receive(sign(php(body), WHEN, SECRET)).events] == ["48"]


def test_items_without_an_id_are_left_out(it: Mautic) -> None:
    """One bad item costs none of the others; only bad ones are unreadable."""
    good = {"contact": contact(47, "ada@people.example"), "timestamp": AT}
    name = "mautic.lead_post_save_update"
    for bad in ("x", None, {}, {"contact": {"id": "-1"}}, {"contact": {"id": True}}):
        found = it.receive(sign(php({name: [good, bad]}), WHEN, SECRET)).events
        assert [e.ref.value for e in found] == ["47"]
        with pytest.raises(Unreadable):
            it.receive(sign(php({name: [bad]}), WHEN, SECRET))


# --- who is there: unique fields --------------------------------------------------------------------------------------


def test_an_address_is_not_given_to_a_second_contact(it: Mautic, api: FakeMautic) -> None:
    """Mautic would make one of the two: refused, and nothing is sent.  The saboteur sends it, and somebody is lost."""
    theirs = api.add(email="taken@one.example", firstname="Bea")
    mine = api.add(email="ada@one.example", firstname="Ada")
    order = update("k", mine, {"email": "ada@one.example"}, email="Taken@one.example")
    (receipt,) = it.write([order])
    assert why(receipt) == ("conflict", "email")
    assert not api.writes()
    (receipt,) = it.write([update("k", mine, {"email": "ada@one.example"}, email="ADA@one.example")])
    assert isinstance(receipt, Done), "another spelling of its own address is no move"
    it._contacts.holding = lambda *_: []  # type: ignore[method-assign]
    (receipt,) = it.write([order])
    assert isinstance(receipt, Done)
    assert int(theirs) not in api.rows, "the simulator does not merge in silence, so this test shows nothing"


def test_every_unique_field_is_looked_up(it: Mautic, api: FakeMautic) -> None:
    """Not only the address: whatever the instance marks as unique would merge two contacts."""
    api.add(email="bea@one.example", customer_number="C-7")
    mine = api.add(email="ada@one.example")
    receipts = it.write(
        [update("a", mine, customer_number="c-7"), create("b", "new@one.example", customer_number="C-7")]
    )
    assert [why(r) for r in receipts] == [("conflict", "customer_number"), ("conflict", "email")]
    assert not api.writes()
    (receipt,) = it.write([update("k", mine, customer_number="C-8")])
    assert isinstance(receipt, Done)


@pytest.mark.parametrize("stranger", ["renée@one.example", "RENÉE@one.example"])
def test_addresses_that_differ_by_an_accent_are_two_people(it: Mautic, api: FakeMautic, stranger: str) -> None:
    """Mautic's database takes é for e, and its create would change the other one: refused, and nothing is sent."""
    api.add(email="renee@one.example", firstname="Renee")
    (receipt,) = it.write([create("k", stranger)])
    assert why(receipt) == ("conflict", "email")
    assert not api.writes()
    assert it.find(C, "email", [stranger]) == []


def test_somebody_who_came_meanwhile_exists(it: Mautic, api: FakeMautic) -> None:
    """Mautic's 200 instead of 201: whoever came between the look-up and the create is nobody new."""
    hidden = api.add(email="ada@one.example", firstname="Ada")
    blind = [True]

    def trouble(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/contacts") and blind:
            blind.clear()
            return httpx.Response(200, json={"total": "0", "contacts": []})
        return None

    api.trouble = trouble
    (receipt,) = it.write([create("k", "ADA@one.example")])
    assert isinstance(receipt, Exists)
    assert receipt.ref.value == hidden
    assert len(api.rows) == 1


def test_two_orders_for_one_address_make_one_contact(it: Mautic, api: FakeMautic) -> None:
    """Within one write, too."""
    receipts = it.write([create("a", "ada@one.example"), create("b", "Ada@One.example", firstname="A.")])
    assert [type(r) for r in receipts] == [Done, Exists]
    assert len(api.rows) == 1
    mine, yours = api.add(email="x@one.example"), api.add(email="y@one.example")
    orders = [update("a", mine, email="new@one.example"), update("b", yours, email="new@one.example")]
    done, taken = it.write(orders)
    assert isinstance(done, Done)
    assert why(taken) == ("conflict", "email")


# --- merged and deleted ids -------------------------------------------------------------------------------------------


def merged(api: FakeMautic) -> tuple[str, str]:
    """A contact, and the id of one that was merged into it."""
    kept, lost = api.add(email="ada@one.example", firstname="Ada"), api.add(email="old@one.example")
    api.sim.contacts.merge(api.rows[int(kept)], api.rows[int(lost)], "user")
    return kept, lost


def test_a_merged_id_leads_to_the_contact_that_it_lives_on_in(it: Mautic, api: FakeMautic) -> None:
    """By itself, and together with that contact's own id; a deleted one leads nowhere."""
    kept, lost = merged(api)
    gone = api.add(email="bea@one.example")
    api.sim.contacts.delete(api.rows[int(gone)], "user")
    for asked in ([lost], [lost, kept], [kept, lost, gone]):
        (found,) = it.read(C, asked)
        assert (found.id, found.former_ids) == (kept, (lost,))
    assert it.read(C, [gone, "0", "x", ""]) == []


@pytest.mark.parametrize("verb", [Verb.UPDATE, Verb.ERASE])
def test_nothing_that_is_meant_for_a_merged_id_meets_the_survivor(it: Mautic, api: FakeMautic, verb: Verb) -> None:
    """Mautic's calls on one id follow merges: an erasure would delete somebody else's record."""
    kept, lost = merged(api)
    before = dict(api.rows[int(kept)].values)
    (receipt,) = it.write([Order("k", C, verb, {"firstname": "X"} if verb is Verb.UPDATE else {}, id=lost)])
    assert isinstance(receipt, Gone)
    assert api.rows[int(kept)].values == before


def test_the_saboteur_erases_the_survivor(it: Mautic, api: FakeMautic) -> None:
    """Without the look-up the simulator deletes, as Mautic does, the contact that the id lives on in."""
    kept, lost = merged(api)
    assert it._contacts.remove(lost).status_code == 200
    assert int(kept) not in api.rows


def test_a_404_that_is_not_mautic_s_erases_nobody(it: Mautic, api: FakeMautic) -> None:
    """What stands before Mautic answers 404 as well: a contact that a list still shows is not gone."""
    id_ = api.add(email="ada@one.example")
    api.trouble = lambda request: refused(404) if request.method == "DELETE" else None
    (receipt,) = it.write([Order("k", C, Verb.ERASE, {}, id=id_)])
    assert isinstance(problem(receipt), TryLater)
    api.trouble = lambda request: refused(403) if request.method == "DELETE" else None
    (receipt,) = it.write([Order("k", C, Verb.ERASE, {}, id=id_)])
    assert isinstance(problem(receipt), NeedsHuman)


@pytest.mark.parametrize("verb", [Verb.ARCHIVE, Verb.MERGE])
def test_what_mautic_cannot_do_is_refused_without_a_call(it: Mautic, api: FakeMautic, verb: Verb) -> None:
    """There is no archive, and its merge drops objections."""
    (receipt,) = it.write([Order("k", C, verb, {}, id="1", loser="2")])
    assert why(receipt) == ("unsupported", None)
    assert not api.calls


def test_a_merge_there_does_drop_objections(api: FakeMautic) -> None:
    """Why MERGE is not claimed: whom nobody may write to lives on in somebody whom everybody may."""
    kept, lost = api.add(email="ada@one.example"), api.add(email="old@one.example")
    api.sim.contacts.object(api.rows[int(lost)], "email", 1, "", "user")
    api.sim.contacts.merge(api.rows[int(kept)], api.rows[int(lost)], "user")
    assert api.rows[int(kept)].dnc == {}


# --- do not contact ---------------------------------------------------------------------------------------------------


def test_an_objection_is_part_of_the_call_that_makes_the_contact(it: Mautic, api: FakeMautic) -> None:
    """No moment in which somebody who objected can be written to."""
    order = create(
        "k", "ada@one.example", **says("doNotContact.email", "unsubscribed"), **says("doNotContact.sms", None)
    )
    (receipt,) = it.write([order])
    assert isinstance(receipt, Done)
    assert receipt.record is not None
    assert receipt.record.fields["doNotContact.email"] == "unsubscribed"
    assert receipt.record.fields["doNotContact.sms"] == "contactable"
    (body,) = sent(api)
    assert [(d["channel"], d["reason"]) for d in body["doNotContact"]] == [("email", 1)]
    assert api.writes() == ["POST /contacts/batch/new"]


@pytest.mark.parametrize("verb", [Verb.CREATE, Verb.UPDATE])
def test_an_objection_that_the_answer_does_not_show_is_said_again(it: Mautic, api: FakeMautic, verb: Verb) -> None:
    """By its own call; where that fails too the order has failed, and a create may have landed."""
    id_ = api.add(email="old@one.example")
    loud = api.sim.contacts.object
    deaf: Callable[..., bool] = lambda *_a, **_k: False  # noqa: E731
    stop = says("doNotContact.email", "unsubscribed")
    order = create("k", "ada@one.example", **stop) if verb is Verb.CREATE else update("k", id_, **stop)

    def hear(request: httpx.Request) -> httpx.Response | None:
        own = request.url.path.endswith("/dnc/email/add")
        api.sim.contacts.object = loud if own else deaf  # type: ignore[method-assign]
        return None

    api.trouble = hear
    (receipt,) = it.write([order])
    assert isinstance(receipt, Done), receipt
    assert api.rows[int(receipt.id)].dnc["email"][1] == 1
    api.rows[int(receipt.id)].dnc.clear()
    api.trouble = lambda r: refused(404) if r.url.path.endswith("/dnc/email/add") else hear(r)
    order = create("k2", "bea@one.example", **stop) if verb is Verb.CREATE else order
    trouble = problem(it.write([order])[0])
    assert isinstance(trouble, TryLater)
    assert trouble.landed is (verb is Verb.CREATE)


@pytest.mark.parametrize(
    ("stands", "known", "code"),
    [
        (0, "unsubscribed", None),
        (1, "unsubscribed", None),
        (1, "contactable", "compliance"),
        (1, None, "compliance"),
        (1, "bounced", "compliance"),
        (2, "bounced", None),
        (3, "contactable", "compliance"),
    ],
)
def test_an_objection_that_the_order_does_not_know_of_stays(
    it: Mautic, api: FakeMautic, stands: int, known: str | None, code: str | None
) -> None:
    """Mautic's API would take back what the person said; only what the order goes by may be lifted."""
    id_ = api.add(email="ada@one.example")
    api.sim.contacts.object(api.rows[int(id_)], "email", stands, "", "user")
    knows = {} if known is None else says("doNotContact.email", known)
    (receipt,) = it.write([update("k", id_, knows, firstname="A", **says("doNotContact.email", "contactable"))])
    if code is None:
        assert isinstance(receipt, Done)
        assert api.rows[int(id_)].dnc == {}
    else:
        assert why(receipt) == (code, "doNotContact.email")
        assert api.rows[int(id_)].dnc["email"][1] == stands
        assert not api.writes()


@pytest.mark.parametrize("value", ["yes", "true", 1, "none"])
def test_words_that_are_none_are_refused(it: Mautic, api: FakeMautic, value: Any) -> None:
    """A word that Mautic does not know must not pass for contactable."""
    (receipt,) = it.write([update("k", "1", **says("doNotContact.email", value))])
    assert why(receipt) == ("consent", "doNotContact.email")
    assert not api.calls


@pytest.mark.parametrize(
    ("entries", "state"),
    [
        ([], "contactable"),
        ({}, "contactable"),
        ([{"channel": "email", "reason": 1}], "unsubscribed"),
        ([{"channel": "email", "reason": "2"}], "bounced"),
        ({"0": {"channel": "email", "reason": 3}}, "manual"),
        ([{"channel": "email", "reason": 0}], "contactable"),
        ([{"channel": "email", "reason": 9}], "manual"),
        ([{"channel": "email", "reason": 2}, {"channel": "email", "reason": 1, "channelId": 5}], "unsubscribed"),
        ([{"channel": "sms", "reason": 1}, "nonsense", {"reason": 1}], "contactable"),
    ],
)
def test_reasons_are_read_per_channel(entries: Any, state: str) -> None:
    """Of several the person's own word; a reason that is unknown here stops all the same."""
    row = contact(47, "ada@people.example", doNotContact=entries)
    answer = httpx.Response(200, json={"total": 1, "contacts": {"47": row}})
    (found,) = connect(lambda _: answer).read(C, ["47"])
    assert found.fields["doNotContact.email"] == state


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_zero_that_mautic_drops_is_no_success(it: Mautic, api: FakeMautic) -> None:
    """0 and no are dropped without a word: the answer shows it, and a person is told; where it stays all is well."""
    id_ = api.add(email="ada@one.example", attribution=5, vip=1)
    orders = [update("a", id_, attribution=0), update("b", id_, vip=False), update("c", id_, attribution="0.0")]
    assert [why(r) for r in it.write(orders)] == [("zero", "attribution"), ("zero", "vip"), ("zero", "attribution")]
    (receipt,) = it.write([update("d", id_, attribution=7)])
    assert isinstance(receipt, Done)
    api.rows[int(id_)].values["attribution"] = 0
    (receipt,) = it.write([update("e", id_, attribution=0)])
    assert isinstance(receipt, Done)


def test_blanks_are_asked_for_only_where_something_is_cleared(it: Mautic, api: FakeMautic) -> None:
    """Each contact of a batch has its own word on blanks; a new contact has nothing to clear."""
    a, b = api.add(email="a@one.example", city="Bonn"), api.add(email="b@one.example", city="Bonn")
    new = create("c", "c@one.example", city=None)
    receipts = it.write([update("a", a, city=None), update("b", b, firstname="B"), new])
    assert [type(r) for r in receipts] == [Done, Done, Done]
    assert [body.get("overwriteWithBlank") for body in sent(api)] == [True, None, None]
    assert "city" not in sent(api)[2]
    assert [api.rows[int(i)].values.get("city") for i in (a, b)] == [None, "Bonn"]


def test_tags_are_added_and_taken_away_by_what_is_known(it: Mautic, api: FakeMautic) -> None:
    """Tags that others put there stay; a tag that begins with a dash would remove another."""
    id_ = api.add(email="ada@one.example", tags=["old", "vip", "other"])
    (receipt,) = it.write([update("k", id_, {"tags": ["old", "vip"]}, tags=["vip", "new"])])
    assert isinstance(receipt, Done)
    assert sorted(api.rows[int(id_)].tags) == ["new", "other", "vip"]
    assert sent(api)[0]["tags"] == ["new", "-old"]
    for bad in (["-vip"], 5, [5]):
        assert why(it.write([update("k", id_, tags=bad)])[0]) == ("invalid", "tags")
    (receipt,) = it.write([update("k", id_, {"tags": ["vip"]}, tags=["vip"])])
    assert isinstance(receipt, Done)
    assert len(sent(api)) == 1, "nothing to say, nothing to send"


@pytest.mark.parametrize("name", ["points", "stage", "id", "owner", "dateModified"])
def test_what_mautic_alone_decides_is_not_written(it: Mautic, api: FakeMautic, name: str) -> None:
    """Points and stage are read, never written."""
    (receipt,) = it.write([update("k", "1", **says(name, 5))])
    assert why(receipt) == ("read_only", name)
    assert not api.calls


def test_a_contact_without_address_is_not_made(it: Mautic, api: FakeMautic) -> None:
    """Each try would make another one."""
    for email in (None, "", " "):
        (receipt,) = it.write([create("k", email)])
        assert why(receipt) == ("required", "email")
    assert not api.calls


def test_each_of_a_batch_has_its_own_answer(it: Mautic, api: FakeMautic) -> None:
    """Good, refused and gone in one call; PHP writes a map with the keys 0, 1, 2 as a list."""
    a = api.add(email="a@one.example")
    orders = [update("a", a, country="Atlantis"), update("b", "999", firstname="X"), update("c", a, firstname="Y")]
    bad, gone, done = it.write(orders)
    assert why(bad) == ("validation", "country")
    assert "Atlantis" not in str(problem(bad))
    assert isinstance(gone, Gone)
    assert isinstance(done, Done)
    assert api.writes() == ["PATCH /contacts/batch/edit"] * 2, "two orders for one contact, one after the other"


@pytest.mark.parametrize(("code", "kind"), [(403, Refused), (409, Refused), (429, TryLater), (500, TryLater)])
def test_an_error_for_one_of_a_batch(it: Mautic, api: FakeMautic, code: int, kind: type[Problem]) -> None:
    """Leads to that one's next step; the batch itself answers 200."""
    id_ = api.add(email="ada@one.example")
    answer = {"contacts": [], "statusCodes": [code], "errors": [{"code": code, "message": "no", "details": []}]}
    api.trouble = lambda r: httpx.Response(200, json=answer) if r.method == "PATCH" else None
    assert isinstance(problem(it.write([update("k", id_, firstname="X")])[0]), kind)


def test_a_lost_answer_is_looked_up(it: Mautic, api: FakeMautic) -> None:
    """All creates of the batch may have landed; the next try finds them, and those that did not land are made."""
    made = []

    def lost(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST":
            made.append(api.add(email="p0@one.example", firstname="Ada"))  # one of them landed
            raise httpx.ReadTimeout("", request=request)
        return None

    api.trouble = lost
    receipts = it.write([create(f"k{n}", f"p{n}@one.example") for n in range(3)])
    assert all(isinstance(p := problem(r), TryLater) and p.landed for r in receipts)
    api.trouble = lambda _: None
    receipts = it.write([create(f"k{n}", f"p{n}@one.example", again=True) for n in range(3)])
    assert [type(r) for r in receipts] == [Done, Done, Done]
    assert isinstance(receipts[0], Done)
    assert receipts[0].id == made[0]
    (receipt,) = it.write([create("x", "p1@one.example", again=True, firstname="Somebody else")])
    assert isinstance(receipt, Exists), "whoever holds other values was not made by us"


def test_an_answer_that_makes_no_sense_may_have_landed(it: Mautic, api: FakeMautic) -> None:
    """Of a create; an update can be sent again."""
    api.trouble = lambda r: httpx.Response(201, json={}) if r.method in {"POST", "PATCH"} else None
    found = problem(it.write([create("k", "ada@one.example")])[0])
    assert isinstance(found, TryLater)
    assert found.landed
    id_ = api.add(email="bea@one.example")
    found = problem(it.write([update("k", id_, firstname="X")])[0])
    assert isinstance(found, TryLater)
    assert not found.landed


# --- polling ----------------------------------------------------------------------------------------------------------


def walk(it: Mautic, cursor: str | None) -> tuple[list[str], list[str], str]:
    """A whole walk: who came, who is gone, and where to go on."""
    seen: list[str] = []
    gone: list[str] = []
    for _ in range(20):
        page = it.changed(C, cursor)
        seen += [r.id for r in page.records]
        gone += page.deleted
        cursor = page.cursor
        if not page.more:
            return seen, gone, cursor
    raise AssertionError("the walk does not end")


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200])
def test_a_walk_ends_at_any_border(it: Mautic, api: FakeMautic, count: int) -> None:
    """Nobody twice and nobody missing, in the first walk and in a poll; visitors are left out."""
    ids = [api.add(email=f"p{n}@one.example") for n in range(count)]
    api.add()  # a visitor
    seen, _, cursor = walk(it, None)
    assert seen == ids
    later = NOW + timedelta(days=1)
    for id_ in ids:
        api.touch(id_, later)
    assert walk(it, cursor)[0] == ids


def test_a_quiet_poll_is_three_calls(it: Mautic, api: FakeMautic) -> None:
    """One list for each table; the window follows the server's clock, so an import is read once."""
    for n in range(20):
        api.add(email=f"p{n}@one.example")
    _, _, cursor = walk(it, None)
    api.add(NOW + timedelta(hours=1))  # a visitor: only the clock moves on
    _, _, cursor = walk(it, cursor)
    api.calls.clear()
    assert walk(it, cursor)[:2] == ([], [])
    paths = [path.removeprefix("/api") for _, path, _ in api.calls]
    assert paths == ["/contacts", "/stats/lead_donotcontact", "/stats/audit_log"]


def test_deletions_are_polled(it: Mautic, api: FakeMautic) -> None:
    """By the audit log: a webhook that was lost is made up for; merges are deletions that lead somewhere."""
    api.add(email="zoe@one.example")
    _, _, cursor = walk(it, None)
    kept, lost = merged(api)
    gone = api.add(email="bea@one.example")
    api.sim.contacts.delete(api.rows[int(gone)], "user")
    _, deleted, cursor = walk(it, cursor)
    assert deleted == [lost, gone]
    assert [r.id for r in it.read(C, deleted)] == [kept]


def test_an_objection_is_polled_though_the_contact_does_not_show_a_change(it: Mautic, api: FakeMautic) -> None:
    """By the table of do-not-contact, since a bounce need not move the contact's time."""
    id_ = api.add(NOW - timedelta(days=1), email="ada@one.example")
    other = api.add(email="bea@one.example")
    _, _, cursor = walk(it, None)
    api.now = NOW + timedelta(hours=1)
    api.sim.contacts.object(api.rows[int(id_)], "email", 2, "", "user")
    api.rows[int(id_)].modified = None
    api.touch(other, NOW + timedelta(hours=2))
    assert [r.id for r in it.changed(C, cursor).records] == [other], "the list of contacts alone does not show it"
    assert walk(it, cursor)[0] == [other, id_]


def test_tables_that_the_user_may_not_see_stop_no_poll(it: Mautic, api: FakeMautic) -> None:
    """What remains is the webhook; ``check`` says so."""
    id_ = api.add(email="ada@one.example")
    assert "not readable" not in it.check()
    api.sim.hidden |= {"audit_log", "lead_donotcontact"}
    _, _, cursor = walk(it, None)
    api.touch(id_, NOW + timedelta(days=1))
    seen, gone, _ = walk(it, cursor)
    assert (seen, gone) == ([id_], [])
    assert "not readable: audit_log, lead_donotcontact" in it.check()


def test_a_server_that_ignores_conditions_is_never_believed(it: Mautic, api: FakeMautic) -> None:
    """Whoever answers everybody is not taken for somebody else, and the walk calls for a person."""
    ids = [api.add(email=f"p{n}@one.example") for n in range(3)]

    def deaf(request: httpx.Request) -> httpx.Response:
        kept = [(k, v) for k, v in request.url.params.multi_items() if not k.startswith("where")]
        return api(httpx.Request(request.method, request.url.copy_with(params=kept), headers=request.headers))

    it = connect(deaf)
    assert {r.id for r in it.read(C, ids[:1])} == {ids[0]}
    assert [r.id for r in it.find(C, "email", ["p1@one.example"])] == [ids[1]]
    cursor = json.dumps({"list": {"since": "2026-08-13 10:15:00", "after": 2, "begun": True}})
    with pytest.raises(NeedsHuman, match="ignores conditions"):
        it.changed(C, cursor)


@pytest.mark.parametrize(
    "cursor", ["", "{", "null", "[]", '{"poll":{"x":1}}', '{"list":5}', '{"poll":{"since":"x","phase":"y"}}']
)
def test_a_strange_cursor_is_refused(it: Mautic, cursor: str) -> None:
    """With a word on what to do."""
    with pytest.raises(Refused, match="start again"):
        it.changed(C, cursor)


def test_points_stage_and_lists_of_words_are_read(it: Mautic, api: FakeMautic) -> None:
    """Beside the fields, as they are called there."""
    id_ = api.add(email="ada@one.example", interests=["news", "events"], tags=["vip", "a"])
    api.rows[int(id_)].points, api.rows[int(id_)].stage = 12, "Lead"
    (found,) = it.read(C, [id_])
    named = ("points", "stage", "tags", "interests")
    assert [found.fields[n] for n in named] == [12, "Lead", ["a", "vip"], ["news", "events"]]


# --- credentials and settings -----------------------------------------------------------------------------------------

CLIENT = {"username": "", "password": "", "client_id": "1_sandboxclient", "client_secret": "sandbox-client-secret-1"}


def test_a_token_is_fetched_once_and_anew_when_it_has_expired(api: FakeMautic) -> None:
    """Client credentials: one token for all calls, another one after a 401, and no third."""
    it = connect(api, **CLIENT)
    id_ = api.add(email="ada@one.example")
    assert it.read(C, [id_])
    assert it.read(C, [id_])
    assert api.writes().count("POST /oauth/v2/token") == 1
    api.sim.tokens.clear()
    assert it.read(C, [id_])
    assert api.writes().count("POST /oauth/v2/token") == 2
    api.trouble = lambda r: refused(401) if "oauth" not in r.url.path else None
    with pytest.raises(NeedsHuman):
        it.read(C, [id_])
    assert api.writes().count("POST /oauth/v2/token") == 3


def test_credentials_that_get_no_token_need_a_human(api: FakeMautic) -> None:
    """And are not repeated."""
    it = connect(api, **{**CLIENT, "client_secret": "another-secret-99"})
    with pytest.raises(NeedsHuman, match="get no token") as error:
        it.check()
    assert "another-secret-99" not in str(error.value)


def test_a_token_that_is_given_is_sent_as_it_is(api: FakeMautic) -> None:
    """Where something else renews it."""
    api.sim.tokens.add("a-given-token-123456")
    it = connect(api, username="", password="", access_token="a-given-token-123456")
    assert "'tandem'" in it.check()
    assert not api.writes()


@pytest.mark.parametrize(
    "given",
    [
        {"username": "", "password": ""},
        {"password": ""},
        {"username": ""},
        {"access_token": "a-given-token-123456"},
        {**CLIENT, "client_secret": ""},
        {"webhook_secrets": " , "},
    ],
)
def test_credentials_are_of_one_kind_and_whole(given: dict[str, str]) -> None:
    """None, half of one, or two of them are refused before anything is called."""
    with pytest.raises(ValueError, match=r"set username and password|secret"):
        connect(FakeMautic(), **given)


@pytest.mark.parametrize("given", [BASE, f"{BASE}/", f"{BASE}/api", f"{BASE}/api/"])
def test_the_base_url_is_that_of_the_product(given: str) -> None:
    """With or without the API's path; below a path, too."""
    assert Mautic.base_url({**SETTINGS, "base_url": given}) == f"{BASE}/api"
    assert Mautic.base_url({**SETTINGS, "base_url": f"{BASE}/m"}) == f"{BASE}/m/api"


def test_a_webhook_that_was_switched_off_is_switched_on_again(it: Mautic) -> None:
    """Completed, and with our secret; Mautic switches one off after a hundred failures, or one 410."""
    url = "https://tandem.example/webhooks/mautic"
    (made,) = it.hook(url).hooks
    it._contacts.save_hook(made.id, {"isPublished": False, "triggers": ["mautic.lead_post_save_new"], "secret": "x"})
    (found,) = it.hooks()
    assert found.on is False
    assert "mautic.lead_post_delete" in found.lacks
    (again,) = it.hook(url).hooks
    assert (again.id, again.on, again.lacks) == (made.id, True, ())
    assert it._contacts.hooks()[0]["secret"] == SECRET
    with pytest.raises(Refused):
        it.hook("no url")
