"""ActiveCampaign's connector beyond the conformance suite: deliveries, consent, conflicts, the walk, webhooks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from connectors import _activecampaign_consent as consent
from connectors import _activecampaign_hooks as hooks
from connectors import _activecampaign_walk as walk
from connectors._activecampaign_wire import time
from connectors.activecampaign import ActiveCampaign
from connectors.contract import (
    Done,
    Exists,
    Failed,
    Gone,
    Kind,
    NeedsHuman,
    Order,
    Receipt,
    Refused,
    TryLater,
    Unreadable,
    Verb,
)
from tests.conformance import conformance
from tests.examples.activecampaign import ACTIVECAMPAIGN, NOW, SECRET, FakeActiveCampaign, connect, form, sign

C = Kind.CONTACT
OUT, IN = {"consent.email": "unsubscribed"}, {"consent.email": "subscribed"}


@pytest.fixture
def api() -> FakeActiveCampaign:
    return FakeActiveCampaign()


@pytest.fixture
def it(api: FakeActiveCampaign) -> ActiveCampaign:
    return connect(api)


def update(id_: str, fields: dict[str, Any], known: dict[str, Any] | None = None) -> Order:
    return Order("k", C, Verb.UPDATE, fields, id=id_, known=known if known is not None else {})


def create(email: str, *, again: bool = False, **fields: Any) -> Order:
    return Order("k", C, Verb.CREATE, {"email": email, "firstName": "Ada", **fields}, again=again)


def one(it: ActiveCampaign, order: Order) -> Receipt:
    (receipt,) = it.write([order])
    return receipt


def code(receipt: Receipt) -> tuple[str, str | None]:
    assert isinstance(receipt, Failed), receipt
    assert isinstance(receipt.problem, Refused), receipt.problem
    return receipt.problem.code, receipt.problem.field


def writes(api: FakeActiveCampaign) -> list[str]:
    return [f"{method} {path}" for method, path, _ in api.calls if method != "GET"]


def word(it: ActiveCampaign, id_: str) -> Any:
    (found,) = it.read(C, [id_])
    return found.fields["consent.email"]


# --- deliveries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "ref", "urgent"),
    [
        (form("update"), ("id", "42"), False),
        (form("sms_unsub"), ("id", "42"), True),
        (form("bounce", **{"bounce[type]": "hard"}), ("id", "42"), False),
        (form("update", **{"contact[fields][]": "red", "contact[tags]": "a, b"}), ("id", "42"), False),
        (form("update", **{"contact[id]": ""}), ("email", "ada@people.example"), False),
        (form("unsubscribe", "yesterday"), ("id", "42"), True),
    ],
)
def test_a_delivery_names_whom_to_read(it: ActiveCampaign, body: bytes, ref: tuple[str, str], urgent: bool) -> None:
    """By id, or by address where there is none; whatever shape custom fields and lists have."""
    (event,) = it.receive(sign(body, NOW, SECRET)).events
    assert (event.ref.key, event.ref.value, event.urgent) == (*ref, urgent)
    assert event.record is None, "nothing in an unsigned delivery is believed"


@pytest.mark.parametrize("body", [form("update", **{"contact[id]": "x", "contact[email]": ""}), b"type=", b"\xff"])
def test_a_delivery_without_sense(it: ActiveCampaign, body: bytes) -> None:
    """Trusted nonsense is Unreadable."""
    with pytest.raises(Unreadable):
        it.receive(sign(body, NOW, SECRET))


def test_a_url_without_its_secret_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a connector that trusts every URL breaks the promise of the suite."""
    monkeypatch.setattr(hooks, "verify", lambda *_: None)
    judge: Any = conformance(ActiveCampaign, ACTIVECAMPAIGN)()
    with pytest.raises(AssertionError):
        judge.test_a_spoiled_proof_is_untrusted()


# --- consent ----------------------------------------------------------------------------------------------------------

READINGS = [
    ({}, 0, "none"),
    ({"1": "1"}, 0, "subscribed"),
    ({"1": "0"}, 0, "unconfirmed"),
    ({"1": "2"}, 0, "unsubscribed"),
    ({"1": "2", "2": "1"}, 0, "unsubscribed"),
    ({"1": "3"}, 0, "bounced"),
    ({"1": "1"}, 1, "bounced"),
    ({"1": "9"}, 0, "unconfirmed"),
    ({"2": "1"}, 0, "none"),
    ({"2": "2"}, 0, "unsubscribed"),
    ({"2": "0"}, 0, "none"),
    ({"3": "1"}, 0, "none"),
]


@pytest.mark.parametrize(("lists", "bounced", "wanted"), READINGS)
def test_what_lists_say(
    api: FakeActiveCampaign, it: ActiveCampaign, lists: dict[str, str], bounced: int, wanted: str
) -> None:
    """The list that speaks for e-mail counts; other lists are no consent, and an unknown state is none either."""
    id_ = api.add(email="ada@people.example", lists=lists)
    api.people.find(id_).bounced_hard = bounced
    assert word(it, id_) == wanted


def test_an_unknown_state_taken_for_consent_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a connector that takes whatever it does not know, or any list, for a subscription fails the table."""
    monkeypatch.setattr(
        consent, "words", lambda stands, *_: {"consent.email": "subscribed" if stands.lists else "none"}
    )
    caught = 0
    for lists, bounced, wanted in READINGS:
        try:
            api = FakeActiveCampaign()
            test_what_lists_say(api, connect(api), lists, bounced, wanted)
        except AssertionError:
            caught += 1
    assert caught >= 8


@pytest.mark.parametrize(
    ("lists", "fields", "wanted"),
    [
        ({}, OUT, {"1": "2"}),
        ({"1": "1", "2": "0", "3": "1"}, OUT, {"1": "2", "2": "2", "3": "1"}),
        ({"2": "1"}, OUT, {"1": "2", "2": "2"}),
        ({"1": "3"}, OUT, {"1": "3"}),
        ({"1": "2"}, OUT, {"1": "2"}),
        ({"1": "1", "3": "1"}, {"consent.sms": "unsubscribed"}, {"1": "1", "3": "2"}),
        ({"1": "1", "2": "1"}, {"lists.2": "unsubscribed"}, {"1": "1", "2": "2"}),
        ({}, IN, {"1": "1"}),
        ({"2": "1"}, IN, {"1": "1", "2": "1"}),
    ],
)
def test_consent_is_written(
    api: FakeActiveCampaign, it: ActiveCampaign, lists: dict[str, str], fields: dict[str, str], wanted: dict[str, str]
) -> None:
    """A withdrawal takes off every list of its channel and stands on one; done again, nothing is sent."""
    id_ = api.add(email="ada@people.example", lists=lists)
    for _ in range(2):
        api.calls.clear()
        receipt = one(it, update(id_, fields))
        assert isinstance(receipt, Done), receipt
        assert api.people.find(id_).lists == wanted
    assert not writes(api), "the second time nothing is left to say"


@pytest.mark.parametrize(
    ("lists", "bounced", "known", "taken"),
    [
        ({"1": "2"}, 0, {}, False),
        ({"1": "2"}, 0, {"consent.email": "subscribed"}, False),
        ({"1": "2"}, 0, OUT, True),
        ({"2": "2"}, 0, {"consent.email": "none"}, False),
        ({"1": "0"}, 0, {"consent.email": "unconfirmed"}, False),
        ({"1": "3"}, 0, {"consent.email": "bounced"}, False),
        ({}, 1, {"consent.email": "bounced"}, False),
    ],
)
def test_nobody_is_subscribed_against_their_word(
    api: FakeActiveCampaign, it: ActiveCampaign, lists: dict[str, str], bounced: int, known: dict[str, str], taken: bool
) -> None:
    """The vendor would subscribe all of them; only an objection that the order knows of is lifted."""
    id_ = api.add(email="ada@people.example", lists=lists)
    api.people.find(id_).bounced_hard = bounced
    receipt = one(it, update(id_, IN, known))
    if taken:
        assert isinstance(receipt, Done)
        (_, _, body) = next(call for call in api.calls if call[1] == "/contactLists")
        assert body["contactList"]["sourceid"] == "4"
    else:
        assert code(receipt) == ("compliance", "consent.email")
        assert not writes(api)


def test_a_subscription_against_an_objection_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a connector that subscribes as the vendor lets it fails."""
    monkeypatch.setattr(
        consent, "_grant", lambda _act, _stands, list_id, _known: [consent.Step(list_id, consent.ACTIVE)]
    )
    api = FakeActiveCampaign()
    with pytest.raises(AssertionError):
        test_nobody_is_subscribed_against_their_word(api, connect(api), {"1": "2"}, 0, {}, False)


def test_a_withdrawal_is_held_up_by_nothing(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """Where the rest of an order is refused, the person is off all the same."""
    api.add(email="bea@people.example")
    id_ = api.add(email="ada@people.example", lists={"1": "1"})
    assert code(one(it, update(id_, {**OUT, "email": "bea@people.example"}))) == ("conflict", "email")
    assert word(it, id_) == "unsubscribed"


def test_a_state_that_is_not_taken_is_refused(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """The vendor answers 200 and leaves the state: the order is not done."""
    id_ = api.add(email="ada@people.example", lists={"1": "1"})
    kept = {"contactList": {"list": "1", "contact": id_, "status": "1"}}
    api.trouble = lambda r: httpx.Response(200, json=kept) if r.url.path.endswith("contactLists") else None
    assert code(one(it, update(id_, OUT))) == ("kept", "consent.email")


def test_a_new_objector_is_made_once(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """The contact is made and its objection lost on the way: it has landed, and the next try only says the rest."""
    api.trouble = lambda r: httpx.Response(503) if r.url.path.endswith("contactLists") else None
    receipt = one(it, create("ada@people.example", **OUT))
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, TryLater)
    assert receipt.problem.landed
    api.trouble = lambda _: None
    receipt = one(it, create("ada@people.example", again=True, **OUT))
    assert isinstance(receipt, Done)
    assert word(it, receipt.id) == "unsubscribed"
    assert len(api.emails()) == 1


# --- writing ----------------------------------------------------------------------------------------------------------


def test_custom_fields(api: FakeActiveCampaign) -> None:
    """By personalization tag, several values between bars; None clears; an unknown one and tags are refused."""
    it = connect(api, read="fields.JOB_TITLE,fields.INTERESTS,tags")
    id_ = api.add(email="ada@people.example")
    sent = {"fields.JOB_TITLE": "Baker", "fields.INTERESTS": ["bread", "cake"]}
    assert isinstance(one(it, update(id_, sent)), Done)
    assert api.people.find(id_).values == {"1": "Baker", "3": "||bread||cake||"}
    api.people.tag(api.people.find(id_), "vip, gold")
    (found,) = it.read(C, [id_])
    assert {name: found.fields[name] for name in (*sent, "tags")} == {**sent, "tags": ["vip, gold"]}
    assert isinstance(one(it, update(id_, {"fields.JOB_TITLE": None})), Done)
    (found,) = it.read(C, [id_])
    assert found.fields["fields.JOB_TITLE"] is None
    for name in ("fields.NOBODY", "tags", "bounced_hard"):
        assert code(one(it, update(id_, {name: "x"}))) == ("read_only", name)


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (404, {"message": "No Result found for Subscriber with id 1"}, Gone),
        (404, None, TryLater),
        (422, {"errors": [{"title": "Email address already exists", "code": "duplicate"}]}, Refused),
        (400, {"message": "no"}, Refused),
        (403, {"message": "no"}, NeedsHuman),
        (429, {"message": "slow down"}, TryLater),
        (502, None, TryLater),
    ],
)
def test_errors_lead_to_one_step(
    api: FakeActiveCampaign, it: ActiveCampaign, status: int, body: Any, wanted: type[object]
) -> None:
    """A 404 counts only in the vendor's own words."""
    id_ = api.add(email="ada@people.example")
    api.trouble = lambda _: httpx.Response(status, json=body) if body is not None else httpx.Response(status, html="x")
    receipt = one(it, update(id_, {"firstName": "Bea"}))
    assert isinstance(receipt.problem if isinstance(receipt, Failed) else receipt, wanted), receipt


def test_a_taken_address_exists_however_the_refusal_is_spelled(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """The address is looked up after a refused create; without anybody there it is refused."""
    id_ = api.add(email="ada@people.example")
    api.trouble = lambda r: httpx.Response(400, json={"message": "?"}) if r.method == "POST" else None
    receipt = one(it, create("Ada@People.example"))
    assert isinstance(receipt, Exists)
    assert receipt.ref.value == id_
    assert code(one(it, create("new@people.example")))[0] == "http_400"


@pytest.mark.parametrize(("body", "wanted"), [({}, Done), ({"succeeded": 0}, Failed), ({"succeeded": "1"}, Done)])
def test_a_deletion_that_deleted_nobody(
    api: FakeActiveCampaign, it: ActiveCampaign, body: dict[str, Any], wanted: type[Receipt]
) -> None:
    """A 200 is looked into."""
    api.trouble = lambda _: httpx.Response(200, json=body)
    assert isinstance(one(it, Order("k", C, Verb.ERASE, {}, id="7")), wanted)


def test_a_field_that_was_not_cleared_is_refused(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """That an empty text clears is not documented, so the answer is looked at."""
    id_ = api.add(email="ada@people.example", firstName="Ada")
    kept = {"contact": api.people.show(api.people.find(id_))}
    api.trouble = lambda _: httpx.Response(200, json=kept)
    assert code(one(it, update(id_, {"firstName": None}))) == ("kept", "firstName")


# --- the walk ---------------------------------------------------------------------------------------------------------


def polled(it: ActiveCampaign, cursor: str | None) -> tuple[list[str], str]:
    found: list[str] = []
    while True:
        page = it.changed(C, cursor)
        found, cursor = [*found, *(r.id for r in page.records)], page.cursor
        if not page.more:
            return found, cursor


@pytest.mark.parametrize("people", [0, 3])
def test_the_bound_holds_whichever_zone_counts(api: FakeActiveCampaign, it: ActiveCampaign, people: int) -> None:
    """The simulator overlooks the offset of the filter: a change comes all the same, with a known zone and without."""
    for n in range(people):
        api.add(email=f"{n}@people.example")
    _, cursor = polled(it, None)
    api.now += timedelta(minutes=1)
    late = api.add(email="late@people.example")
    found, _ = polled(it, cursor)
    assert late in found


def test_a_bound_in_utc_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a bound written in UTC misses what changed, since the account's time is behind it."""
    monkeypatch.setattr(
        walk,
        "bound",
        lambda state: (at - walk.OVERLAP).isoformat() if (at := time(state.since)) is not None else "",
    )
    api = FakeActiveCampaign()
    with pytest.raises(AssertionError):
        test_the_bound_holds_whichever_zone_counts(api, connect(api), 3)


def test_silent_objections_come_with_the_sweep(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """An objection that moves no time and whose webhook was lost comes within hours; before, nobody is asked again."""
    ids = [api.add(NOW - timedelta(days=1), email=f"{n}@people.example", lists={"1": "1"}) for n in range(3)]

    def answer(request: httpx.Request) -> httpx.Response:
        response = api.answer(request)
        response.headers["date"] = format_datetime(api.now, usegmt=True)
        return response

    api.trouble = answer
    _, cursor = polled(it, None)
    api.people.find(ids[0]).lists["1"] = "2"
    api.people.find(ids[1]).lists["1"] = "3"
    for wanted in ([], ids[:2], []):
        api.now += timedelta(hours=4)
        found, cursor = polled(it, cursor)
        assert found == wanted


@pytest.mark.parametrize("order", [["2", "1"], ["1", "1"], ["0", "1"]])
def test_a_list_out_of_order_is_not_believed(api: FakeActiveCampaign, it: ActiveCampaign, order: list[str]) -> None:
    """Where id_greater or the order is overlooked, some would never come: the walk stops instead."""
    shown = api.people.show(api.people.find(api.add(email="ada@people.example")))
    body = {"contacts": [{**shown, "id": id_} for id_ in order], "meta": {"total": "2"}}
    api.trouble = lambda _: httpx.Response(200, json=body)
    with pytest.raises(TryLater):
        it.changed(C, None)


@pytest.mark.parametrize("total", ["3", "150", None])
def test_pages_smaller_than_asked(api: FakeActiveCampaign, it: ActiveCampaign, total: str | None) -> None:
    """A page that is shorter than asked is not the last one unless the total says so, whatever it counts."""
    for n in range(150):
        api.add(email=f"{n}@people.example")

    def short(request: httpx.Request) -> httpx.Response:
        small = request.url.copy_set_param("limit", "20")
        response = api.answer(httpx.Request("GET", small, headers=request.headers))
        body = json.loads(response.content)
        if total is None:
            del body["meta"]
        elif total != "3":
            body["meta"]["total"] = total
        return httpx.Response(200, json=body, headers={"date": "Thu, 13 Aug 2026 10:15:00 GMT"})

    api.trouble = short
    found, _ = polled(it, None)
    assert sorted(map(int, found)) == list(range(1, 151))


@pytest.mark.parametrize("cursor", ["", "[]", "{}", '{"part": "x"}', '{"part": "changes"}', '{"since": "never"}'])
def test_a_strange_cursor_is_refused(it: ActiveCampaign, cursor: str) -> None:
    """Not ours, so nothing is asked."""
    with pytest.raises(Refused):
        it.changed(C, cursor)


def test_contacts_that_a_list_hides_are_asked_for_alone(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """A list that leaves somebody out, or overlooks the ids, makes nobody look gone."""
    ids = [api.add(email=f"{n}@people.example") for n in range(3)]
    empty = {"contacts": [], "contactLists": [], "meta": {"total": "0"}}
    api.trouble = lambda r: httpx.Response(200, json=empty) if r.url.path.endswith("/contacts") else None
    assert sorted(r.id for r in it.read(C, [*ids, "999"])) == ids


# --- webhooks, settings -----------------------------------------------------------------------------------------------

URL = "https://tandem.example/webhooks/mine"


def test_webhooks_are_completed_and_made_anew(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """Two, one of them without API writes; one with missing events is completed, one that is off is made anew."""
    first = it.hook(URL)
    stops, changes = (api.account.webhooks[hook.id] for hook in first.hooks)
    assert "api" in stops["sources"]
    assert "api" not in changes["sources"]
    assert stops["url"] == f"{URL}?secret={SECRET}"
    stops["events"] = ["unsubscribe"]
    assert [hook.lacks for hook in it.hooks()] == [("bounce", "sms_unsub"), ()]
    api.account._targets[first.hooks[1].id].enabled = False
    assert [hook.on for hook in it.hooks()] == [True, False]
    again = it.hook(URL)
    assert [(hook.on, hook.lacks) for hook in again.hooks] == [(True, ()), (True, ())]
    assert again.hooks[0].id == first.hooks[0].id
    assert again.hooks[1].id != first.hooks[1].id
    with pytest.raises(Refused, match="https"):
        it.hook("http://tandem.example/webhooks/mine")


@pytest.mark.parametrize(
    ("settings", "says"), [({"list_id": "Newsletter"}, "list_id is a number"), ({"webhook_secret": " , "}, "secret")]
)
def test_settings_that_make_no_sense(api: FakeActiveCampaign, settings: dict[str, str], says: str) -> None:
    """Refused by name."""
    with pytest.raises(ValueError, match=says):
        connect(api, **settings)


def test_a_list_that_is_not_there_needs_a_human(api: FakeActiveCampaign) -> None:
    """``check`` says which setting to correct."""
    with pytest.raises(NeedsHuman, match="correct list_id"):
        connect(api, list_id="77").check()


def test_times_without_a_zone() -> None:
    """UTC where it is said to be; the vendor's zero is none."""
    assert time("2026-08-13 10:15:00") == datetime(2026, 8, 13, 10, 15, tzinfo=UTC)
    assert time("0000-00-00 00:00:00") is None
