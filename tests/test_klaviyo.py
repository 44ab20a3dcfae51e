"""Klaviyo's connector beyond the conformance suite: deliveries, consent, conflicts, the walk, settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import orjson
import pytest

from connectors import _klaviyo_consent as consent
from connectors import _klaviyo_hooks as hooks
from connectors import _klaviyo_walk as walk
from connectors._klaviyo_wire import record
from connectors.contract import (
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
    Untrusted,
    Verb,
)
from connectors.klaviyo import Klaviyo
from sandbox.klaviyo_account import DOUBLE, SINGLE
from tests.examples.klaviyo import ADA, HOOK, SECRET, URL, FakeKlaviyo, connect, delivery, refused, row, sign

C = Kind.CONTACT
ADVANCE = walk.advance
OUT, IN = {"consent.email": "unsubscribed"}, {"consent.email": "subscribed"}
KNOWN_OUT = {"consent.email": "unsubscribed"}


@pytest.fixture
def api() -> FakeKlaviyo:
    return FakeKlaviyo()


@pytest.fixture
def it(api: FakeKlaviyo) -> Klaviyo:
    return connect(api, list_id=SINGLE)


def create(key: str, email: str | None, *, again: bool = False, **fields: Any) -> Order:
    said = {"first_name": "Ada", **fields, **({} if email is None else {"email": email})}
    return Order(key, C, Verb.CREATE, said, again=again)


def update(key: str, id_: str, fields: dict[str, Any], known: dict[str, Any] | None = None) -> Order:
    return Order(key, C, Verb.UPDATE, fields, id=id_, known=known if known is not None else {})


def writes(api: FakeKlaviyo) -> list[str]:
    return [f"{method} {path.removeprefix('/api/')}" for method, path, _ in api.calls if method != "GET"]


def code(receipt: Receipt) -> tuple[str, str | None]:
    assert isinstance(receipt, Failed), receipt
    assert isinstance(receipt.problem, Refused), receipt.problem
    return receipt.problem.code, receipt.problem.field


def shown(it: Klaviyo, id_: str) -> dict[str, Any]:
    (found,) = it.read(C, [id_])
    return dict(found.fields)


# --- deliveries -------------------------------------------------------------------------------------------------------

AT = datetime(2026, 4, 14, 3, 50, 12, tzinfo=UTC)


def test_the_signature_is_that_of_an_independent_computation() -> None:
    """A known body and time, computed elsewhere by the documented steps: the body, then the header's text."""
    body = (
        b'{"data":[{"external_id":"4kEvT3stAbc","topic":"event:klaviyo.unsubscribed_from_email_marketing","payload":'
        b'{"data":{"type":"event","id":"4kEvT3stAbc"}}}],"meta":{"klaviyo_account_id":"AbC123","klaviyo_webhook_id":'
        b'"01HTESTWEBHOOKID0000000000","timestamp":"2026-04-14T03:50:12.101159+00:00","version":"2024-06-28"}}'
    )
    proof = "88b8dde209a6214e6a4986fa3fa3ac3f178535b5160cbae50efde71117ff7889"
    assert hooks.sign(SECRET, "Tue, 14 Apr 2026 03:50:12 GMT", body) == proof


@pytest.mark.parametrize(
    ("stamp", "off", "good"),
    [
        (format_datetime(AT, usegmt=True), 0, True),
        (AT.isoformat(), 0, True),
        (AT.isoformat().replace("+00:00", "Z"), 60, True),
        (format_datetime(AT, usegmt=True), 7100, True),
        (format_datetime(AT, usegmt=True), 7300, False),
        (format_datetime(AT, usegmt=True), -7300, False),
        ("yesterday", 0, False),
    ],
)
def test_the_time_of_a_signature(it: Klaviyo, stamp: str, off: int, good: bool) -> None:
    """An HTTP date or ISO; an hour of retries has room, a day-old copy has not."""
    body = delivery(row("unsubscribed_from_email_marketing", ADA, "e1"))
    headers = {"klaviyo-timestamp": stamp, "klaviyo-signature": hooks.sign(SECRET, stamp, body)}
    given = Delivery("POST", URL, headers, body, AT + timedelta(seconds=off))
    if good:
        assert [e.urgent for e in it.receive(given).events] == [True]
    else:
        with pytest.raises(Untrusted, match="time of the signature"):
            it.receive(given)


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (delivery(), 0),
        (delivery(row("bounced_email", ADA, "e1"), row("marked_email_as_spam", "not an id!", "e2")), 1),
        (delivery(row("marked_email_as_spam", "not an id!", "e2")), None),
        (b'{"data":[{"topic":1}]}', None),
        (b'{"data":{}}', None),
    ],
)
def test_what_is_in_a_delivery(it: Klaviyo, body: bytes, events: int | None) -> None:
    """A row without a profile is left out; a delivery without any that makes sense is unreadable."""
    given = sign(body, AT, SECRET)
    if events is None:
        with pytest.raises(Unreadable):
            it.receive(given)
    else:
        assert len(it.receive(given).events) == events


def test_a_delivery_of_another_webhook_is_untrusted(it: Klaviyo) -> None:
    """The header is not signed, the body is: they have to name the same webhook."""
    given = sign(delivery(row("bounced_email", ADA, "e1")), AT, SECRET)
    forged = dataclasses.replace(given, headers={**given.headers, "klaviyo-webhook-id": f"{HOOK}X"})
    with pytest.raises(Untrusted, match="different webhooks"):
        it.receive(forged)


# --- consent as read --------------------------------------------------------------------------------------------------


def marketing(consent_: str, *reasons: str, may: bool | None = None, **more: Any) -> dict[str, Any]:
    suppression = [{"reason": r, "timestamp": "2026-01-01T00:00:00+00:00"} for r in reasons]
    able = not reasons if may is None else may
    return {"consent": consent_, "can_receive_email_marketing": able, "suppression": suppression, **more}


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (marketing("SUBSCRIBED"), "subscribed"),
        (marketing("NEVER_SUBSCRIBED"), "never_subscribed"),
        (marketing("UNSUBSCRIBED", "UNSUBSCRIBE"), "unsubscribed"),
        (marketing("UNSUBSCRIBED"), "unsubscribed"),
        (marketing("SUBSCRIBED", "UNSUBSCRIBE"), "unsubscribed"),
        (marketing("SUBSCRIBED", "USER_SUPPRESSED"), "suppressed"),
        (marketing("UNSUBSCRIBED", "USER_SUPPRESSED"), "unsubscribed"),
        (marketing("SUBSCRIBED", "HARD_BOUNCE"), "bounced"),
        (marketing("SUBSCRIBED", "INVALID_EMAIL", "UNSUBSCRIBE"), "bounced"),
        (marketing("UNSUBSCRIBED", "UNSUBSCRIBE", "SPAM_COMPLAINT", "HARD_BOUNCE"), "complained"),
        (marketing("SUBSCRIBED", "SOMETHING_NEW"), "suppressed"),
        (marketing("SUBSCRIBED", may=False), "suppressed"),
        (marketing("NEVER_SUBSCRIBED", may=False), "suppressed"),
        (marketing("SOMETHING_NEW"), "never_subscribed"),
        ({}, "never_subscribed"),
        (None, "never_subscribed"),
    ],
)
def test_what_a_profile_says_about_email(said: dict[str, Any] | None, word: str) -> None:
    """The hardest to lift speaks first, and nothing unknown ever counts as a subscription."""
    about = {"email": "a@b.example", "subscriptions": {"email": {"marketing": said}}}
    assert record({"id": "P1", "attributes": about}, ()).fields["consent.email"] == word


@pytest.mark.parametrize(
    ("said", "proof"),
    [
        (marketing("SUBSCRIBED", double_optin=True, consent_timestamp="2026-01-02T03:04:05+00:00"), True),
        (marketing("SUBSCRIBED", double_optin=True, consent_timestamp="2026-01-02T03:04:05.123456"), True),
        (marketing("SUBSCRIBED", double_optin=True, consent_timestamp=None), False),
        (marketing("SUBSCRIBED", double_optin=False, consent_timestamp="2026-01-02T03:04:05+00:00"), False),
        (marketing("UNSUBSCRIBED", "UNSUBSCRIBE", double_optin=True, consent_timestamp="2026-01-02T03:04:05Z"), False),
    ],
)
def test_only_a_confirmation_with_its_time_is_evidence(said: dict[str, Any], proof: bool) -> None:
    """A subscription by API or import is none; times without a zone are UTC."""
    fields = record({"id": "P1", "attributes": {"subscriptions": {"email": {"marketing": said}}}}, ()).fields
    assert ("consent.email.confirmed" in fields) is proof
    assert fields.get("consent.email.at", "2026-01-02T03:04:05+00:00")[:19] == "2026-01-02T03:04:05"


def test_what_is_not_shown_is_not_said() -> None:
    """A profile read without its subscriptions, or one of an account without SMS, says nothing of them."""
    assert not [n for n in record({"id": "P1", "attributes": {"email": "a@b.example"}}, ()).fields if "consent" in n]
    shown = record({"id": "P1", "attributes": {"subscriptions": {"email": {"marketing": None}}}}, ()).fields
    assert "consent.sms" not in shown


# --- consent as written -----------------------------------------------------------------------------------------------


def test_a_withdrawal_is_done_once_the_profile_shows_it(api: FakeKlaviyo, it: Klaviyo) -> None:
    """The job is answered before it has happened: until it shows, the order waits, and nothing else says it is done."""
    id_, api.held = api.add(email="ada@people.example"), []
    (first,) = it.write([update("k", id_, OUT)])
    assert isinstance(first, Failed)
    assert isinstance(first.problem, TryLater)
    assert first.problem.after is None, "the connection would rest for it"
    (run,) = api.held
    run()
    api.calls.clear()
    (second,) = it.write([update("k", id_, OUT)])
    assert isinstance(second, Done)
    assert second.record is not None
    assert second.record.fields["consent.email"] == "unsubscribed"
    assert writes(api) == [], "it was sent again, although it shows"


class Credulous(consent.Act):
    """The saboteur: what was sent is taken for done."""

    def holds(self, found: Any, *, sent: bool) -> bool:
        return sent or super().holds(found, sent=sent)


def test_a_connector_that_believes_the_job_is_caught(
    api: FakeKlaviyo, it: Klaviyo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above looks for is found: with this variant a withdrawal is Done that never happened."""
    monkeypatch.setattr(consent, "Act", Credulous)
    id_, api.held = api.add(email="ada@people.example"), []
    (receipt,) = it.write([update("k", id_, OUT)])
    assert isinstance(receipt, Done)
    assert shown(it, id_)["consent.email"] == "never_subscribed"


def test_withdrawals_travel_together_and_first(api: FakeKlaviyo, it: Klaviyo) -> None:
    """One job for all of them, before any profile is changed; never with a list."""
    ids = [api.add(email=f"p{n}@people.example") for n in range(3)]
    orders = [update(f"k{n}", id_, {**OUT, "first_name": "New"}) for n, id_ in enumerate(ids)]
    assert [type(r) for r in it.write(orders)] == [Done] * 3
    job, *rest = writes(api)
    assert job == "POST profile-subscription-bulk-delete-jobs"
    assert sorted(rest) == sorted(f"PATCH profiles/{id_}" for id_ in ids)
    (body,) = [b for _, path, b in api.calls if path.endswith("bulk-delete-jobs")]
    assert "relationships" not in body["data"]
    assert len(body["data"]["attributes"]["profiles"]["data"]) == 3


def test_a_withdrawal_is_not_held_up_by_the_rest(api: FakeKlaviyo, it: Klaviyo) -> None:
    """The number is refused, the objection arrives all the same, and so does the name."""
    id_ = api.add(email="ada@people.example")
    (receipt,) = it.write([update("k", id_, {**OUT, "phone_number": "nonsense", "first_name": "Ann"})])
    assert code(receipt) == ("invalid", "phone_number")
    assert shown(it, id_)["consent.email"] == "unsubscribed"
    assert shown(it, id_)["first_name"] == "Ann"


def test_one_bad_address_holds_up_no_other_withdrawal(api: FakeKlaviyo, it: Klaviyo) -> None:
    """A job that is refused is cut until the one that spoils it stands alone."""
    ids = [api.add(email=f"p{n}@people.example") for n in range(5)]

    def spoilt(request: httpx.Request) -> httpx.Response | None:
        bad = request.url.path.endswith("bulk-delete-jobs") and b"p3@" in request.content
        return refused(400, "p3@people.example is not valid") if bad else None

    api.trouble = spoilt
    receipts = it.write([update(f"k{n}", id_, OUT) for n, id_ in enumerate(ids)])
    assert [type(r) for r in receipts] == [Done, Done, Done, Failed, Done]
    assert code(receipts[3]) == ("invalid", "consent.email")
    assert "p3@" not in repr(receipts[3])


def test_who_objects_is_created_objecting(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Profile and objection in one order; until it shows, the order waits as one that may have landed."""
    (receipt,) = it.write([create("k", "ada@people.example", **OUT)])
    assert isinstance(receipt, Done)
    assert shown(it, receipt.id)["consent.email"] == "unsubscribed"
    api.held = []
    (late,) = it.write([create("k2", "bea@people.example", **OUT)])
    assert isinstance(late, Failed)
    assert isinstance(late.problem, TryLater)
    assert late.problem.landed
    api.held.pop()()
    (again,) = it.write([create("k2", "bea@people.example", again=True, **OUT)])
    assert isinstance(again, Done)
    assert len(api.emails()) == 2


def test_a_profile_that_was_made_may_be_there_whatever_fails_after_it(api: FakeKlaviyo, it: Klaviyo) -> None:
    """The job of its objection gets no answer: the next try has to look."""
    api.trouble = lambda r: httpx.Response(503) if r.url.path.endswith("bulk-delete-jobs") else None
    (receipt,) = it.write([create("k", "ada@people.example", **OUT)])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, TryLater)
    assert receipt.problem.landed
    assert api.emails() == ["ada@people.example"]


def test_a_refused_subscription_holds_up_no_objection(api: FakeKlaviyo) -> None:
    """Of a new person too: the SMS objection is said although the list for e-mail asks twice."""
    it = connect(api, list_id=DOUBLE)
    number = {"phone_number": "+4915112345678"}
    (receipt,) = it.write([create("k", "ada@people.example", **number, **IN, **{"consent.sms": "unsubscribed"})])
    assert code(receipt) == ("consent", "consent.email")
    (found,) = api.people.profiles.values()
    assert (found.sms_consent, found.email_consent) == ("UNSUBSCRIBED", "NEVER_SUBSCRIBED")


def test_the_new_address_of_somebody_who_objects(api: FakeKlaviyo, it: Klaviyo) -> None:
    """The objection is said of the address that the profile has, again where that changed meanwhile."""
    id_ = api.add(email="old@people.example")
    (receipt,) = it.write([update("k", id_, {**OUT, "email": "new@people.example"})])
    assert isinstance(receipt, Done)
    assert (shown(it, id_)["email"], shown(it, id_)["consent.email"]) == ("new@people.example", "unsubscribed")


@pytest.mark.parametrize(
    ("before", "known", "settings", "result"),
    [
        ("never", {}, SINGLE, "subscribed"),
        ("unsubscribed", KNOWN_OUT, SINGLE, "subscribed"),
        ("unsubscribed", {}, SINGLE, ("compliance", "consent.email")),
        ("suppressed", {}, SINGLE, ("compliance", "consent.email")),
        ("suppressed", KNOWN_OUT, SINGLE, "subscribed"),
        ("bounced", KNOWN_OUT, SINGLE, ("compliance", "consent.email")),
        ("complained", KNOWN_OUT, SINGLE, ("compliance", "consent.email")),
        ("never", {}, "", ("consent", "consent.email")),
        ("never", {}, DOUBLE, ("consent", "consent.email")),
    ],
)
def test_when_somebody_is_subscribed(
    api: FakeKlaviyo, before: str, known: dict[str, Any], settings: str, result: object
) -> None:
    """Never over a stop that we did not know of, a bounce or a complaint; never so that a confirmation is mailed."""
    it = connect(api, list_id=settings)
    found = api.people.find(api.add(email="ada@people.example"))
    match before:
        case "unsubscribed":
            api.people.unsubscribe(found, "email")
        case "suppressed":
            api.people.suppress(found)
        case "bounced":
            api.people.suppress(found, "HARD_BOUNCE")
        case "complained":
            api.people.suppress(found, "SPAM_COMPLAINT")
    (receipt,) = it.write([update("k", found.id, IN, known)])
    if isinstance(result, str):
        assert isinstance(receipt, Done)
        assert shown(it, found.id)["consent.email"] == result
        assert SINGLE in found.lists
    else:
        assert code(receipt) == result
        assert found.email_consent != "SUBSCRIBED"


def test_sms_is_about_the_number_only(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Said of the number, not of the address with it; without a number there is nothing to stop."""
    both = api.add(email="ada@people.example", phone_number="+4915112345678")
    none = api.add(email="bea@people.example")
    sms = {"consent.sms": "unsubscribed"}
    receipts = it.write([update("k1", both, sms), update("k2", none, sms)])
    assert [type(r) for r in receipts] == [Done, Done]
    (body,) = [b for _, path, b in api.calls if path.endswith("bulk-delete-jobs")]
    (one,) = body["data"]["attributes"]["profiles"]["data"]
    assert one["attributes"] == {
        "phone_number": "+4915112345678",
        "subscriptions": {"sms": {"marketing": {"consent": "UNSUBSCRIBED"}}},
    }
    assert shown(it, both)["consent.sms"] == "unsubscribed"
    assert shown(it, both)["consent.email"] == "never_subscribed"
    (receipt,) = it.write([update("k3", none, {"consent.sms": "subscribed"})])
    assert code(receipt) == ("consent", "consent.sms")


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"consent.email": "suppressed"}, None),
        ({"consent.email": "never_subscribed"}, ("consent", "consent.email")),
        ({"consent.email": None}, ("consent", "consent.email")),
        ({"consent.sms": "suppressed"}, ("consent", "consent.sms")),
        ({"consent.push": "unsubscribed"}, ("consent", "consent.push")),
        ({"consent.email.at": "2026"}, ("consent", "consent.email.at")),
        ({"updated": "2026"}, ("read_only", "updated")),
    ],
)
def test_words_that_can_be_written(
    api: FakeKlaviyo, it: Klaviyo, fields: dict[str, Any], result: tuple[str, str] | None
) -> None:
    """What cannot be said is refused before anything is sent."""
    id_ = api.add(email="ada@people.example")
    (receipt,) = it.write([update("k", id_, fields)])
    if result is None:
        assert isinstance(receipt, Done)
        assert writes(api) == ["POST profile-suppression-bulk-create-jobs"]
    else:
        assert code(receipt) == result
        assert writes(api) == []


def test_consent_of_nobody_is_gone(it: Klaviyo) -> None:
    """No job is started for a profile that is not there."""
    (receipt,) = it.write([update("k", "01GDDKASAP8TKDDA2GRZDSVXXX", OUT)])
    assert isinstance(receipt, Gone)


# --- identifiers ------------------------------------------------------------------------------------------------------

NUMBER = "+4915112345678"


def test_a_number_that_somebody_else_has_is_left_out(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Klaviyo answers 409 for a shared number as for a shared address; it makes nobody the same person."""
    other = api.add(email="other@people.example", phone_number=NUMBER)
    id_ = api.add(email="ada@people.example")
    made, changed = it.write(
        [
            create("k1", "bea@people.example", phone_number=NUMBER),
            update("k2", id_, {"phone_number": NUMBER, "title": "CTO"}),
        ]
    )
    assert isinstance(made, Done)
    assert isinstance(changed, Done)
    for receipt in (made, changed):
        assert receipt.record is not None
        assert receipt.id != other
        assert receipt.record.fields["phone_number"] is None, "the receipt hides what is not there"
    assert shown(it, id_)["title"] == "CTO"


def test_an_address_that_somebody_else_has_is_a_conflict(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Nobody is given another's address, and nothing else of the order is written."""
    api.add(email="other@people.example")
    id_ = api.add(email="ada@people.example")
    (receipt,) = it.write([update("k", id_, {"email": "other@people.example", "title": "CTO"})])
    assert code(receipt) == ("conflict", "email")
    assert shown(it, id_)["title"] is None


def test_an_address_that_stays_is_not_sent(api: FakeKlaviyo, it: Klaviyo) -> None:
    """It may answer 409 for one that differs in case."""
    id_, mail = api.add(email="ada@people.example"), "ada@people.example"
    it.write([update("k", id_, {"email": mail, "title": "CTO"}, {"email": mail})])
    (body,) = [b for method, _, b in api.calls if method == "PATCH"]
    assert body["data"]["attributes"] == {"title": "CTO"}


def test_two_orders_for_one_address_make_one_profile(api: FakeKlaviyo, it: Klaviyo) -> None:
    """The second meets what the first has made; so does one that lost a race."""
    first, second = it.write([create("k1", "ada@people.example"), create("k2", "Ada@People.example")])
    assert isinstance(first, Done)
    assert isinstance(second, Exists)
    assert second.ref.value == first.id
    api.trouble = lambda r: (
        httpx.Response(200, json={"data": []}) if r.url.path == "/api/profiles" and (r.method == "GET") else None
    )
    (raced,) = it.write([create("k3", "ada@people.example", first_name="Eve")])
    assert isinstance(raced, Exists)
    assert raced.ref.value == first.id


def test_custom_properties_are_set_and_taken_away(api: FakeKlaviyo) -> None:
    """None takes a property away, others stay; what is not mapped is not read."""
    it = connect(api, properties="tier,score")
    id_ = api.add(email="ada@people.example", properties={"tier": "gold", "secret": "x"})
    assert shown(it, id_)["properties.tier"] == "gold"
    assert shown(it, id_)["properties.score"] is None
    assert "properties.secret" not in shown(it, id_)
    it.write([update("k", id_, {"properties.tier": None, "properties.score": 0})])
    assert api.people.find(id_).about["properties"] == {"secret": "x", "score": 0}


def test_parts_of_a_place_are_written_by_themselves(api: FakeKlaviyo, it: Klaviyo) -> None:
    """A city does not take the street away."""
    id_ = api.add(email="ada@people.example", location={"address1": "Main St 1", "city": "Bonn"})
    it.write([update("k", id_, {"location.city": None, "location.zip": "10117"})])
    assert api.people.find(id_).about["location"] == {"address1": "Main St 1", "city": None, "zip": "10117"}


@pytest.mark.parametrize("verb", [Verb.ARCHIVE, Verb.MERGE])
def test_what_klaviyo_cannot_do_is_refused(api: FakeKlaviyo, it: Klaviyo, verb: Verb) -> None:
    """No archive, no merge that could be told from a failure; nothing is called."""
    (receipt,) = it.write([Order("k", C, verb, {}, id=ADA, loser="P2")])
    assert code(receipt) == ("unsupported", None)
    assert api.calls == []


# --- deletion ---------------------------------------------------------------------------------------------------------


def test_an_erasure_is_done_once_the_profile_is_gone(api: FakeKlaviyo, it: Klaviyo) -> None:
    """The deletion is queued: it is asked for again, and done when nobody is there."""
    id_, api.held = api.add(email="ada@people.example"), []
    order = Order("k", C, Verb.ERASE, {}, id=id_)
    (first,) = it.write([order])
    assert isinstance(first, Failed)
    assert isinstance(first.problem, TryLater)
    for run in api.held:
        run()
    (second,) = it.write([order])
    assert isinstance(second, Gone)
    assert api.emails() == []


# --- errors of the connection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (refused(410, "retired"), NeedsHuman, "revision 2026-07-15"),
        (httpx.Response(404, html="<p>not here</p>"), TryLater, "without an error document"),
        (httpx.Response(200, json={"data": "x"}), TryLater, "no list"),
        (httpx.Response(200, json={"data": [{"id": 1}]}), TryLater, "no profile"),
        (httpx.Response(200, json={"data": [], "links": {"next": "https://a.klaviyo.com/x"}}), TryLater, "cursor"),
    ],
)
def test_answers_that_make_no_sense(
    api: FakeKlaviyo, it: Klaviyo, answer: httpx.Response, kind: type[Exception], says: str
) -> None:
    """What does not come from Klaviyo makes nobody look gone; a retired revision calls for a person."""
    id_ = api.add(email="ada@people.example")
    api.trouble = lambda _: httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
    with pytest.raises(kind, match=says):
        it.read(C, [id_])


def test_a_proxys_404_makes_nobody_gone(api: FakeKlaviyo, it: Klaviyo) -> None:
    """An update that meets it waits."""
    id_ = api.add(email="ada@people.example")
    api.trouble = lambda _: httpx.Response(404, html="<p>not here</p>")
    (receipt,) = it.write([update("k", id_, {"title": "CTO"})])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, TryLater)


def test_an_id_that_lives_on_under_another_is_followed(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Should Klaviyo answer the id of a merged profile with the survivor, that is what it is read as."""
    id_ = api.add(email="ada@people.example")

    def survivor(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/api/profiles/LOST01":
            return None
        return httpx.Response(200, json={"data": api.people.show(api.people.find(id_))})

    api.trouble = survivor
    (found,) = it.read(C, ["LOST01"])
    assert (found.id, found.former_ids) == (id_, ("LOST01",))


# --- the walk ---------------------------------------------------------------------------------------------------------


def walked(it: Klaviyo, cursor: str | None = None) -> tuple[list[str], str]:
    found: list[str] = []
    for _ in range(60):
        page = it.changed(C, cursor)
        found += [r.id for r in page.records]
        cursor = page.cursor
        if not page.more:
            return found, cursor
    raise AssertionError("no end")


def test_a_stop_that_moves_no_time_is_found(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Whether consent moves ``updated`` is not documented; here it does not, and the poll finds it."""
    ids = [api.add(api.now - timedelta(days=30 - n), email=f"p{n}@people.example") for n in range(5)]
    _, cursor = walked(it)
    api.now += timedelta(hours=1)
    api.people.unsubscribe(api.people.find(ids[1]), "email")
    api.people.suppress(api.people.find(ids[3]), "HARD_BOUNCE")
    found, _ = walked(it, cursor)
    assert {ids[1], ids[3]} <= set(found)


def test_a_second_with_more_profiles_than_a_page(api: FakeKlaviyo, it: Klaviyo) -> None:
    """An import changes 250 in one second: followed by Klaviyo's cursor, all come, each about once."""
    ids = [api.add(api.now - timedelta(days=1), email=f"p{n}@people.example") for n in range(250)]
    late = [api.add(api.now, email=f"late{n}@people.example") for n in range(3)]
    found, cursor = walked(it)
    assert set(found) == {*ids, *late}
    assert len(found) <= 260
    again, _ = walked(it, cursor)
    assert set(again) == set(late), "only what is within the overlap comes again"


def naive(
    state: walk.Walk, page: Sequence[Record], following: str | None, now: datetime | None
) -> tuple[walk.Walk, bool]:
    """The saboteur: trusts that a cursor is a place."""
    if state.part == "changes" and following is not None:
        return dataclasses.replace(state, cursor=following), True
    return ADVANCE(state, page, following, now)


@pytest.mark.parametrize("sabotaged", [False, True])
def test_what_moves_to_the_end_pushes_nobody_out_of_sight(
    api: FakeKlaviyo, it: Klaviyo, monkeypatch: pytest.MonkeyPatch, sabotaged: bool
) -> None:
    """Three of the first page change while the walk is under way; a connector that follows the cursor loses three."""
    if sabotaged:
        monkeypatch.setattr(walk, "advance", naive)
    ids = [api.add(api.now - timedelta(minutes=300 - n), email=f"p{n}@people.example") for n in range(250)]
    first = it.changed(C, None)
    for record_ in first.records[:3]:
        api.touch(record_.id, api.now)
    rest, _ = walked(it, first.cursor)
    missing = {*ids} - {r.id for r in first.records} - {*rest}
    assert len(missing) == (3 if sabotaged else 0)


@pytest.mark.parametrize("cursor", ["", "x", "[]", "{}", '{"since":"x"}', '{"part":"else"}', '{"poll":1}'])
def test_a_foreign_cursor_is_refused(it: Klaviyo, cursor: str) -> None:
    """By name."""
    with pytest.raises(Refused, match="cursor"):
        it.changed(C, cursor)


def test_a_page_that_follows_itself_ends_nothing(api: FakeKlaviyo, it: Klaviyo) -> None:
    """TryLater instead of a walk without end."""
    for n in range(3):
        api.add(email=f"p{n}@people.example")
    row = api.people.show(next(iter(api.people.profiles.values())))
    same = {"data": [row], "links": {"next": "https://a.klaviyo.com/api/profiles?page%5Bcursor%5D=same"}}
    api.trouble = lambda _: httpx.Response(200, json=same)
    with pytest.raises(TryLater, match="this page"):
        walked(it)


# --- finding, describing, settings ------------------------------------------------------------------------------------


def test_addresses_that_a_filter_cannot_hold(api: FakeKlaviyo, it: Klaviyo) -> None:
    """A quotation mark would end the text: such an address finds nobody, and the others are found."""
    id_ = api.add(email="ada@people.example", phone_number=NUMBER)
    found = it.find(C, "email", ['"a b"@people.example', "ADA@people.example", "a\\@people.example"])
    assert [r.id for r in found] == [id_]
    assert [r.id for r in it.find(C, "phone_number", [NUMBER])] == [id_]
    with pytest.raises(Refused, match="cannot find by"):
        it.find(C, "name", ["Ada"])


def test_long_addresses_are_asked_for_in_portions(api: FakeKlaviyo, it: Klaviyo) -> None:
    """No URL grows beyond what web servers take."""
    mails = [f"{'a' * 60}{n}@{'b' * 150}.example" for n in range(40)]
    assert it.find(C, "email", mails) == []
    assert len(api.calls) > 1


def test_custom_properties_are_described_as_they_are_seen(api: FakeKlaviyo) -> None:
    """Klaviyo declares none; what is mapped is described all the same."""
    it = connect(api, properties="tier")
    api.add(email="a@people.example", properties={"score": 4.5, "vip": False, "tags": ["a"], "name": "x", "none": None})
    types = {n: p.type for n, p in it.describe(C).properties.items() if n.startswith("properties.")}
    assert types == {
        "properties.tier": "any",
        "properties.score": "number",
        "properties.vip": "boolean",
        "properties.tags": "array",
        "properties.name": "string",
    }


def test_settings_that_make_no_sense() -> None:
    """A list's name instead of its id."""
    with pytest.raises(ValueError, match="list_id"):
        connect(FakeKlaviyo(), list_id="My newsletter")


def test_without_a_secret_nobody_is_trusted() -> None:
    """The poll alone is a good connection; a delivery is not."""
    it = connect(FakeKlaviyo(), webhook_secret="")
    with pytest.raises(Untrusted, match="no webhook_secret"):
        it.receive(sign(delivery(row("bounced_email", ADA, "e1")), AT, SECRET))


# --- webhooks as subscriptions ----------------------------------------------------------------------------------------

MINE = "https://tandem.example/webhooks/klaviyo"


def test_a_webhook_is_known_again_though_its_url_is_cut(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Klaviyo shows the beginning of the URL only; ours is told by its description, and armed when it is off."""
    (made,) = it.hook(MINE).hooks
    assert (made.url, made.on, made.lacks) == (MINE, True, ())
    hook = api.account._hooks[made.id]
    hook["enabled"], hook["topics"] = False, hook["topics"][:1]
    (off,) = it.hooks()
    assert off.on is False
    assert off.lacks
    (armed,) = it.hook(MINE).hooks
    assert (armed.id, armed.on, armed.lacks) == (made.id, True, ())


@pytest.mark.parametrize(
    ("url", "secret", "webhooks", "says"),
    [
        ("http://tandem.example/webhooks/klaviyo", SECRET, True, "https"),
        (MINE, "short", True, "16 characters"),
        (MINE, "", True, "webhook_secret"),
        (MINE, SECRET, False, "Advanced KDP"),
    ],
)
def test_why_a_webhook_is_not_made(url: str, secret: str, webhooks: bool, says: str) -> None:
    """Each reason says what to do; an account without system webhooks stops nothing else."""
    api = FakeKlaviyo()
    api.account.system_webhooks = webhooks
    with pytest.raises(Refused, match=says):
        connect(api, webhook_secret=secret).hook(url)
    assert not [w for w in writes(api) if w.startswith("POST")]


def test_check_says_who_we_are(it: Klaviyo) -> None:
    """Account, organisation, whether it is a test account."""
    said = it.check()
    assert "SaNdBx" in said
    assert "test account" in said


def test_nothing_that_was_sent_is_told(api: FakeKlaviyo, it: Klaviyo) -> None:
    """The detail of an error repeats the number: ours does not."""
    id_ = api.add(email="ada@people.example")
    api.trouble = lambda r: (
        refused(
            400,
            f"{orjson.loads(r.content)['data']['attributes']['title']} is too odd",
            pointer="/data/attributes/title",
        )
        if r.method == "PATCH"
        else None
    )
    (receipt,) = it.write([update("k", id_, {"title": "Secretive"})])
    assert code(receipt) == ("invalid", "title")
    assert "Secretive" not in repr(receipt)
