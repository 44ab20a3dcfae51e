"""Pipedrive's connector beyond the conformance suite: deliveries, lists, consent, doubts, limits, walks, settings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors import _pipedrive_walk as walk
from connectors import _pipedrive_wire as wire
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
    Refused,
    TryLater,
    Unreadable,
    Untrusted,
    Verb,
)
from connectors.pipedrive import PLANS, Pipedrive
from sandbox.pipedrive_store import LEVEL, NICK, SCORE, TOPICS
from tests.examples.pipedrive import NOW, PASSWORD, SETTINGS, TEXT, URL, FakePipedrive, connect, refused, sign, told

C = Kind.CONTACT
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def api() -> FakePipedrive:
    return FakePipedrive()


@pytest.fixture
def it(api: FakePipedrive) -> Pipedrive:
    return connect(api)


def create(key: str, email: str | None, *, again: bool = False, **fields: Any) -> Order:
    said = {"name": "Ada Byron", **fields, **({} if email is None else {"emails.primary": email})}
    return Order(key, C, Verb.CREATE, said, again=again)


def update(id_: str, fields: dict[str, Any], known: str = "") -> Order:
    return Order("k", C, Verb.UPDATE, fields, id=id_, known={"emails.primary": known} if known else {})


def writes(api: FakePipedrive) -> list[str]:
    return [f"{method} {path}" for method, path, _ in api.calls if method != "GET"]


def problem(receipt: Receipt) -> Refused | TryLater | NeedsHuman:
    assert isinstance(receipt, Failed), receipt
    return receipt.problem


def mails(api: FakePipedrive, id_: str) -> list[tuple[str, bool]]:
    return [(e["value"], e["primary"]) for e in api.row(id_)["emails"]]


# --- deliveries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meta", "action", "ref", "losers"),
    [
        ({"action": "create"}, Action.CHANGED, "8", ()),
        ({"action": "delete"}, Action.DELETED, "8", ()),
        ({"action": "delete", "merged_to_id": "9"}, Action.MERGED, "9", ("8",)),
        ({"action": "change", "merged_from_id": 7}, Action.MERGED, "8", ("7",)),
        ({"action": "change", "merged_from_id": "nonsense"}, Action.CHANGED, "8", ()),
        ({"action": "change", "merged_to_id": "8"}, Action.CHANGED, "8", ()),
    ],
)
def test_what_a_delivery_says(
    it: Pipedrive, meta: dict[str, Any], action: Action, ref: str, losers: tuple[str]
) -> None:
    """A merge is told by both of its records; each leads from the lost id to the one that lives on."""
    (event,) = it.receive(sign(told(meta), AT, PASSWORD)).events
    assert (event.action, event.ref.value, event.losers) == (action, ref, losers)


@pytest.mark.parametrize(
    ("parts", "urgent"),
    [
        ({"data": {"marketing_status": "unsubscribed"}}, True),
        ({"data": {}, "previous": {"custom_fields": {LEVEL: {"type": "enum", "id": 21}}}}, True),
        ({"data": {}, "previous": {"custom_fields": {SCORE: None}}}, False),
        ({"data": {"marketing_status": "subscribed"}, "previous": {"custom_fields": "nonsense"}}, False),
        ({"data": None, "previous": None}, False),
    ],
)
def test_what_may_be_an_objection_is_urgent(it: Pipedrive, parts: dict[str, Any], urgent: bool) -> None:
    """The status, or a custom field that the mapping reads: whatever may withdraw consent is looked at first."""
    assert [e.urgent for e in it.receive(sign(told(**parts), AT, PASSWORD)).events] == [urgent]


@pytest.mark.parametrize(
    "body",
    [
        b'{"v":1,"meta":{"id":5,"action":"updated","object":"person"},"current":{"id":5}}',  # version 1.0
        b'{"meta":{"entity":"person","action":"change"}}',
        b'{"meta":{"entity":"person","action":"change","entity_id":true}}',
        b"[]",
    ],
)
def test_a_delivery_of_another_kind_is_unreadable(it: Pipedrive, body: bytes) -> None:
    """An old webhook, or no id: kept and parked, with a word on what to do."""
    with pytest.raises(Unreadable):
        it.receive(sign(body, AT, PASSWORD))


@pytest.mark.parametrize("header", ["", "Bearer x", "Basic", "Basic x", f"Basic tandem:{PASSWORD}"])
def test_a_delivery_needs_user_and_password(it: Pipedrive, header: str) -> None:
    """Pipedrive signs nothing: without the password everybody could say anything."""
    with pytest.raises(Untrusted):
        it.receive(Delivery("POST", URL, {"authorization": header}, told(), AT))


def test_an_event_without_an_id_is_told_from_its_copy_by_what_it_says(it: Pipedrive) -> None:
    """The counter of tries does not count, the time does; and the key holds nobody's data."""

    def key(**meta: Any) -> str:
        (event,) = it.receive(sign(told({"id": None, **meta}), AT, PASSWORD)).events
        return event.dedupe

    assert key() == key(attempt=3) != key(timestamp="2022-11-24T15:19:00Z")
    assert "Sample" not in key()


# --- lists ------------------------------------------------------------------------------------------------------------


def entry(value: str, label: str, *, primary: bool = False) -> dict[str, Any]:
    return {"value": value, "label": label, "primary": primary}


WORK, HOME, CELL = entry("1", "work", primary=True), entry("2", "home"), entry("3", "mobile")


@pytest.mark.parametrize(
    ("phones", "said", "sent"),
    [
        ([], {"phones.primary": "9"}, [entry("9", "work", primary=True)]),
        ([WORK, HOME], {"phones.primary": "9"}, [entry("9", "work", primary=True), HOME]),
        ([WORK, HOME], {"phones.primary": "2"}, [entry("2", "home", primary=True)]),
        ([WORK, HOME], {"phones.primary": None}, [entry("2", "home", primary=True)]),
        ([WORK], {"phones.primary": None}, []),
        ([WORK, HOME], {"phones.mobile": "9"}, [WORK, HOME, entry("9", "mobile")]),
        ([WORK, HOME, CELL], {"phones.mobile": "9"}, [WORK, HOME, entry("9", "mobile")]),
        ([WORK, CELL, HOME], {"phones.mobile": None}, [WORK, HOME]),
        ([], {"phones.mobile": "9"}, [entry("9", "mobile", primary=True)]),
        ([WORK], {"phones.primary": "8", "phones.mobile": "9"}, [{**WORK, "value": "8"}, entry("9", "mobile")]),
        ([entry("3", "mobile", primary=True)], {"phones.primary": "9"}, [entry("9", "mobile", primary=True)]),
    ],
)
def test_a_number_is_written_among_the_others(phones: list[Any], said: dict[str, Any], sent: list[Any]) -> None:
    """A write replaces the whole list: what it does not name stays in it."""
    assert wire.lists(said, {"phones": phones}) == {"phones": sent}


def test_an_address_changes_and_the_others_stay(api: FakePipedrive, it: Pipedrive) -> None:
    """Read, put together, written; an update of something else sends no list and reads nothing."""
    id_ = api.add("ada@one.example", "ada@two.example")
    assert isinstance(it.write([update(id_, {"emails.primary": "ada@three.example"}, "ada@one.example")])[0], Done)
    assert mails(api, id_) == [("ada@three.example", True), ("ada@two.example", False)]
    api.calls.clear()
    it.write([update(id_, {"name": "Ada King"})])
    assert [(m, b) for m, _, b in api.calls] == [("PATCH", {"name": "Ada King"})]


def test_an_address_is_not_given_to_a_second_person(api: FakePipedrive, it: Pipedrive) -> None:
    """Pipedrive would let both have it: refused, and nothing is sent; another spelling of the own one is no move."""
    api.add("taken@one.example")
    id_ = api.add("ada@one.example")
    why = problem(it.write([update(id_, {"emails.primary": "Taken@one.example"}, "ada@one.example")])[0])
    assert isinstance(why, Refused)
    assert (why.code, why.field, writes(api)) == ("conflict", "emails.primary", [])
    assert isinstance(it.write([update(id_, {"emails.primary": "ADA@one.example"}, "ada@one.example")])[0], Done)


def test_a_name_that_is_an_address_is_none(api: FakePipedrive, it: Pipedrive) -> None:
    """Nobody is made without a name: the address stands in, and never comes back as somebody's given name."""
    (receipt,) = it.write([Order("k", C, Verb.CREATE, {"emails.primary": "ada@one.example", "name": None})])
    assert isinstance(receipt, Done)
    assert api.row(receipt.id)["name"] == "ada@one.example"
    assert it.read(C, [receipt.id])[0].fields["name"] is None


def test_an_organization_is_read_by_its_name(api: FakePipedrive, it: Pipedrive) -> None:
    """One call for all of a page; no organization is none, one that the user may not see says nothing."""
    api.people.orgs |= {7: "Example GmbH", 8: "Hidden"}
    ids = [api.add(f"p{n}@one.example", org_id=org) for n, org in enumerate([7, 7, None, 8])]
    del api.people.orgs[8]
    found = {r.id: r.fields.get("org_name", "unsaid") for r in it.read(C, ids)}
    assert [found[i] for i in ids] == ["Example GmbH", "Example GmbH", None, "unsaid"]
    assert [path for _, path, _ in api.calls].count("/v2/organizations") == 1


@pytest.mark.parametrize(
    ("key", "said", "sent"),
    [
        (LEVEL, "22", 22),
        (LEVEL, None, None),
        (TOPICS, ["31", "32"], [31, 32]),
        (TOPICS, "31,32", [31, 32]),
        (TOPICS, [], None),
        (SCORE, "4.5", 4.5),
        (NICK, "0123", "0123"),
        (LEVEL, "Gold", Refused),
    ],
)
def test_a_custom_field_is_sent_in_the_form_of_its_type(api: FakePipedrive, key: str, said: Any, sent: Any) -> None:
    """Options by their ids, figures as figures, a text of digits as the text that it is."""
    id_ = api.add("ada@one.example")
    (receipt,) = connect(api).write([update(id_, {f"custom_fields.{key}": said})])
    if sent is Refused:
        assert isinstance(problem(receipt), Refused)
        assert not writes(api)
    else:
        assert isinstance(receipt, Done), receipt
        assert api.calls[-1][2] == {"custom_fields": {key: sent}}


@pytest.mark.parametrize("name", ["first_name", "emails.others", "org_name", "doi_status", "nonsense"])
def test_what_cannot_be_written_is_refused_by_name(api: FakePipedrive, it: Pipedrive, name: str) -> None:
    """Before anything is sent."""
    why = problem(it.write([update(api.add("ada@one.example"), {name: "x"})])[0])
    assert isinstance(why, Refused)
    assert (why.field, writes(api)) == (name, [])


# --- consent ----------------------------------------------------------------------------------------------------------


def test_a_withdrawal_is_written_and_looked_at(api: FakePipedrive) -> None:
    """Unsubscribed is what the answer has to show; asked for where the answer does not."""
    id_ = api.add("ada@one.example")
    vendor = api.__call__

    def silent(request: httpx.Request) -> httpx.Response:
        response = vendor(request)
        if request.method == "PATCH":
            body = json.loads(response.content)
            del body["data"]["marketing_status"]
            return httpx.Response(200, json=body)
        return response

    (receipt,) = connect(silent).write([update(id_, {"marketing_status": "unsubscribed"})])
    assert isinstance(receipt, Done)
    assert api.row(id_)["marketing_status"] == "unsubscribed"


@pytest.mark.parametrize("campaigns", [True, False])
def test_a_status_that_was_not_taken_is_no_success(campaigns: bool) -> None:
    """Pipedrive answers 200 and leaves a forbidden status as it is: whoever believes the 200 loses an objection."""
    api = FakePipedrive()
    api.people.campaigns = campaigns
    id_ = api.add("ada@one.example")
    if campaigns:
        api.people.update(id_, {"marketing_status": "unsubscribed"}, "user")
    it = connect(api, fields="marketing_status" if campaigns else "")
    wanted = "subscribed" if campaigns else "unsubscribed"
    why = problem(it.write([update(id_, {"marketing_status": wanted})])[0])
    assert isinstance(why, Refused)
    assert (why.code, why.field) == ("consent", "marketing_status")


def test_an_account_without_campaigns_is_told_what_to_do() -> None:
    """Asking for the status may be refused: the error says why, and which mapping to take."""
    api = FakePipedrive()
    api.people.campaigns = False
    with pytest.raises(Refused, match="Campaigns take a mapping"):
        connect(api).changed(C, None)
    assert connect(api, fields="").changed(C, None).records == ()


# --- who is there -----------------------------------------------------------------------------------------------------


def test_the_search_lags_and_nobody_is_made_twice() -> None:
    """Who was made a moment ago is not in the search yet: those who changed last are looked at, too."""
    api = FakePipedrive(lag=3600)
    it = connect(api)
    (first,) = it.write([create("a", "ada@one.example")])
    assert isinstance(first, Done)
    (second,) = it.write([create("b", "ADA@one.example", name="Somebody Else")])
    assert isinstance(second, Exists)
    assert second.ref.value == first.id
    assert it.find(C, "email", ["ada@one.example"]) == [], "the search alone would have made a second one"
    (again,) = it.write([create("a", "ada@one.example", again=True)])
    assert isinstance(again, Done)
    assert again.id == first.id


def test_two_orders_for_one_address_make_one_person(api: FakePipedrive, it: Pipedrive) -> None:
    """Within one write, too."""
    receipts = it.write([create("a", "ada@one.example"), create("b", "Ada@One.example")])
    assert [type(r) for r in receipts] == [Done, Exists]
    assert len(api.people.rows) == 1


def test_secondary_addresses_find_their_person(api: FakePipedrive, it: Pipedrive) -> None:
    """By any address; the others come as a list."""
    id_ = api.add("ada@one.example", "Ada@two.example")
    (found,) = it.find(C, "email", ["ADA@two.example"])
    assert (found.id, found.fields["emails.others"]) == (id_, ["Ada@two.example"])


def test_a_create_without_address_is_recognised_after_a_time_out(api: FakePipedrive, it: Pipedrive) -> None:
    """By all its values, and only if it was made just now."""
    api.add(at=NOW - timedelta(days=2), custom_fields={NICK: "Countess"})
    young = api.add(custom_fields={NICK: "Countess"})
    api.add(custom_fields={NICK: "Other"})
    (receipt,) = it.write([create("k", None, again=True, **{TEXT: "Countess"})])
    assert isinstance(receipt, Done)
    assert receipt.id == young


@pytest.mark.parametrize("verb", [Verb.UPDATE, Verb.ARCHIVE, Verb.ERASE])
@pytest.mark.parametrize("status", [404, 410])
def test_a_404_alone_makes_nobody_gone(api: FakePipedrive, it: Pipedrive, verb: Verb, status: int) -> None:
    """Something else may say 404: a person whom a list still shows is not gone."""
    id_ = api.add("ada@one.example")
    api.trouble = lambda r: refused(status) if r.method in {"PATCH", "DELETE"} else None
    order = Order("k", C, verb, {"name": "A"} if verb is Verb.UPDATE else {}, id=id_)
    assert isinstance(problem(it.write([order])[0]), TryLater)
    api.people.remove(id_, "user")
    assert isinstance(it.write([order])[0], Gone)


def test_erasing_overwrites_before_it_removes(api: FakePipedrive, it: Pipedrive) -> None:
    """A removed person keeps everything for 30 days, so what is personal goes first, custom fields too."""
    id_ = api.add("ada@one.example", custom_fields={NICK: "Countess"})
    (receipt,) = it.write([Order("k", C, Verb.ERASE, {}, id=id_)])
    assert isinstance(receipt, Done)
    row = api.row(id_)
    assert (row["name"], row["emails"], set(row["custom_fields"].values()), row["is_deleted"]) == (
        "Erased",
        [],
        {None},
        True,
    )


def test_merges_are_refused_without_a_call(api: FakePipedrive, it: Pipedrive) -> None:
    """Nothing that can be read would lead from the lost id to the survivor."""
    (receipt,) = it.write([Order("k", C, Verb.MERGE, {}, id="1", loser="2")])
    assert isinstance(problem(receipt), Refused)
    assert not api.calls


def test_what_was_never_sent_has_not_landed(api: FakePipedrive, it: Pipedrive) -> None:
    """After the first create without an answer no other is sent, and only that one may have landed."""

    def gone(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST":
            raise httpx.ReadTimeout("", request=request)
        return None

    api.trouble = gone
    problems = [problem(r) for r in it.write([create(f"k{n}", f"p{n}@one.example") for n in range(12)])]
    landed = [p.landed for p in problems if isinstance(p, TryLater)]
    assert len(landed) == 12
    assert 1 <= sum(landed) == sum(w.startswith("POST") for w in writes(api)) < 12


# --- errors and limits ------------------------------------------------------------------------------------------------

HTML = {"html": "<title>Access denied</title>"}
JSON = {"json": {"success": False, "error": "over the limit", "code": "feature_capping_deals_limit"}}


@pytest.mark.parametrize(
    ("status", "headers", "body", "wanted", "after"),
    [
        (429, {"x-ratelimit-reset": "2"}, {}, TryLater, timedelta(seconds=2)),
        (429, {"retry-after": "9", "x-ratelimit-reset": "2"}, {}, TryLater, timedelta(seconds=9)),
        (429, {"x-daily-ratelimit-token-remaining": "0"}, {}, TryLater, timedelta(hours=1)),
        (429, {"x-daily-requests-left": "0", "x-ratelimit-reset": "2"}, {}, TryLater, timedelta(hours=1)),
        (429, {"x-ratelimit-reset": "soon"}, {}, TryLater, None),
        (403, {}, HTML, TryLater, timedelta(hours=1)),
        (403, {}, JSON, Refused, None),
        (403, {}, {"json": {"success": False, "error": "Forbidden"}}, NeedsHuman, None),
        (402, {}, {}, NeedsHuman, None),
        (400, {}, {"json": {"success": False, "error": "Validation failed: name: x"}}, Refused, None),
        (410, {}, {}, TryLater, None),
    ],
)
def test_an_error_leads_to_its_next_step(
    status: int, headers: dict[str, str], body: dict[str, Any], wanted: type, after: timedelta | None
) -> None:
    """Too many calls, today's budget, the block page, the plan, a right: each has its own; waits are kept to."""
    api = FakePipedrive()
    id_ = api.add("ada@one.example")
    api.trouble = lambda r: httpx.Response(status, headers=headers, **body) if r.method == "PATCH" else None
    it = connect(api)
    why = problem(it.write([update(id_, {"name": "A"})])[0])
    assert type(why) is wanted
    assert getattr(why, "after", None) == after
    if after is not None:
        assert it._http.paused_for > timedelta(seconds=1), "the next call would go out at once"


def test_a_refusal_names_the_field_and_no_value(api: FakePipedrive, it: Pipedrive) -> None:
    """Pipedrive's own words, without what was sent."""
    said = refused(400, "Validation failed: emails: ada@one.example of Zuzanaq is no good", "ERR_X")
    api.trouble = lambda r: said if r.method == "POST" else None
    why = problem(it.write([create("k", "ada@one.example", name="Zuzanaq")])[0])
    assert isinstance(why, Refused)
    assert (why.code, why.field) == ("validation", "emails")
    assert not {"zuzanaq", "ada@one"} & set(str(why).lower().split())


# --- walking ----------------------------------------------------------------------------------------------------------


def pages(it: Pipedrive, cursor: str | None, most: int = 50) -> tuple[list[str], str]:
    seen: list[str] = []
    for _ in range(most):
        page = it.changed(C, cursor)
        seen += [r.id for r in page.records]
        cursor = page.cursor
        if not page.more:
            return seen, cursor
    raise AssertionError("the walk does not end")


@pytest.mark.parametrize("polling", [False, True])
def test_a_cursor_that_the_vendor_refuses_starts_its_walk_again(polling: bool) -> None:
    """Everybody comes all the same; where it happens every time, a person is asked instead of walking for ever."""
    api = FakePipedrive(most=3)
    it = connect(api)
    ids = [api.add(f"p{n}@one.example", at=NOW + timedelta(minutes=n)) for n in range(10)]
    start = pages(it, None)[1] if polling else None
    for id_ in ids:
        api.touch(id_, NOW + timedelta(days=1, minutes=int(id_)))
    left = [1]  # how often a cursor is refused

    def stale(request: httpx.Request) -> httpx.Response | None:
        if "cursor" not in request.url.params or left[0] == 0:
            return None
        left[0] -= 1
        return refused(400, "Validation failed: cursor: invalid cursor")

    api.trouble = stale
    assert set(pages(it, start)[0]) == set(ids)
    left[0] = 1000
    with pytest.raises(Refused):
        pages(it, start)


def test_a_poll_asks_from_what_is_known_and_a_quiet_one_is_one_call(api: FakePipedrive, it: Pipedrive) -> None:
    """Five minutes are read again; without a clock the newest change is where it goes on."""
    api.add("a@one.example", at=NOW - timedelta(days=9))
    _, cursor = pages(it, None)
    api.add("b@one.example")
    api.dates = False
    seen, cursor = pages(it, cursor)
    assert seen == ["1", "2"] or seen == ["2"], seen
    api.calls.clear()
    api.queries.clear()
    page = it.changed(C, cursor)
    assert (page.more, len(api.calls)) == (False, 1)
    assert api.queries[0]["updated_since"] == "2026-08-13T10:10:00Z"


def test_a_removed_person_in_a_list_is_said_to_be_gone(it: Pipedrive, api: FakePipedrive) -> None:
    """No list shows them, by the documents; should one do, it is no record."""
    row = {"id": 5, "name": "A", "emails": [], "update_time": "2026-08-13T10:10:00Z", "is_deleted": True}
    api.trouble = lambda _: httpx.Response(200, json={"success": True, "data": [row]})
    page = it.changed(C, None)
    assert (page.records, page.deleted) == ((), ("5",))
    assert it.read(C, ["5"]) == []


def test_a_list_that_ignores_the_ids_is_never_believed(it: Pipedrive, api: FakePipedrive) -> None:
    """Nobody is taken for somebody else."""
    rows = [{"id": 5, "name": "A", "emails": [{"value": "x@one.example", "primary": True}]}]
    api.trouble = lambda _: httpx.Response(200, json={"success": True, "data": rows})
    assert it.read(C, ["6"]) == []


@pytest.mark.parametrize("cursor", ["", "{", "null", "[]", '{"poll":{"x":1}}', '{"list":5}'])
def test_a_strange_cursor_is_refused(it: Pipedrive, cursor: str) -> None:
    """With a word on what to do."""
    with pytest.raises(Refused, match="start again"):
        it.changed(C, cursor)


def test_a_walk_that_forgets_when_it_began_loses_what_changed_meanwhile() -> None:
    """The saboteur: polling from the end of the first walk misses a change of somebody who had come by then."""
    began = datetime(2026, 8, 13, 10, 0, tzinfo=UTC)
    state: walk.Listing | walk.Poll = walk.Listing()
    for page in range(3):
        state, more = walk.advance(state, [began], "on" if page < 2 else None, began + timedelta(hours=page))
    assert not more
    assert isinstance(state, walk.Poll)
    changed = began + timedelta(minutes=30)
    assert str(walk.query(walk.begin(state))["updated_since"]) <= changed.strftime(walk.STAMP)
    naive = walk.begin(walk.Poll((began + timedelta(hours=2)).strftime(walk.STAMP)))
    assert str(walk.query(naive)["updated_since"]) > changed.strftime(walk.STAMP)


# --- webhooks as subscriptions, settings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "kept"),
    [
        ({"event_action": "*", "event_object": "person", "http_auth_user": "tandem"}, True),
        ({"event_action": "*", "event_object": "*", "http_auth_user": "tandem"}, True),
        ({"event_action": "change", "event_object": "person", "http_auth_user": "tandem"}, False),
        ({"event_action": "*", "event_object": "person", "http_auth_user": "tandem", "version": "1.0"}, False),
        ({"event_action": "*", "event_object": "person"}, False),
    ],
)
def test_a_webhook_that_lacks_something_is_made_anew(
    api: FakePipedrive, it: Pipedrive, there: dict[str, str], kept: bool
) -> None:
    """Events, version or password; what is whole stays, and there is one of ours in the end."""
    api.api.answer("POST", "/v1/webhooks", {}, {"subscription_url": URL, "name": "T", **there})
    other = {"subscription_url": "https://other.example", "name": "O", "event_action": "*", "event_object": "deal"}
    api.api.answer("POST", "/v1/webhooks", {}, other)
    (hook,) = it.hook(URL).hooks
    assert (hook.id == "1") is kept
    assert [h.id for h in it.hooks() if h.url == URL] == [hook.id]
    assert len(it.hooks()) == 2
    if not kept:
        body = next(b for m, p, b in api.calls if (m, p) == ("POST", "/v1/webhooks"))
        assert (body["http_auth_user"], body["http_auth_password"], body["version"]) == ("tandem", PASSWORD, "2.0")


def test_a_refused_url_is_told_without_the_password(it: Pipedrive) -> None:
    """The vendor's words may repeat what was sent; ours do not."""
    with pytest.raises(Refused) as caught:
        it.hook("ftp://nowhere.example")
    assert PASSWORD not in str(caught.value)
    assert caught.value.field == "subscription_url"


@pytest.mark.parametrize("url", ["https://x.pipedrive.com", "https://x.pipedrive.com/", "https://x.pipedrive.com/api"])
def test_the_base_url_is_that_of_the_account(url: str) -> None:
    """With or without the API's path; the version is in each path."""
    assert Pipedrive.base_url({**SETTINGS, "base_url": url}) == "https://x.pipedrive.com/api"


@pytest.mark.parametrize(("name", "value"), [("plan", "gold"), ("fields", "a b"), ("webhook_password", " , ")])
def test_settings_that_make_no_sense_are_refused(name: str, value: str) -> None:
    """Before anything is called."""
    with pytest.raises(ValueError, match=r"plan|fields|secret"):
        connect(FakePipedrive(), **{name: value})


def test_the_plan_sets_the_rate() -> None:
    """The smallest where none is said; searches have a rate of their own."""
    for plan, calls in {**PLANS, "": 20, " Premium ": 100}.items():
        limits = Pipedrive.limits_for({**SETTINGS, "plan": plan})
        assert (limits.rates[0].calls, limits.keys["search"][0].calls) == (calls, 10)


def test_who_is_no_administrator_is_told_so(api: FakePipedrive, it: Pipedrive) -> None:
    """Persons that a user may not see are missing without a word."""
    assert "administrator" not in it.check()
    api.api._admin = False
    assert "no administrator" in it.check()


def test_more_custom_fields_than_can_be_picked_are_all_read(api: FakePipedrive) -> None:
    """Sixteen keys in a request would be refused."""
    names = [f"custom_fields.{n:040x}" for n in range(15)]
    it = connect(api, fields=",".join([TEXT, *names]))
    id_ = api.add("ada@one.example", custom_fields={NICK: "Countess"})
    assert it.read(C, [id_])[0].fields[TEXT] == "Countess"
    assert "custom_fields" not in json.dumps(api.queries)
