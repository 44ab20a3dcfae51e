"""EspoCRM's connector beyond the conformance suite: deliveries, doubts about 404 and 409, the walk, settings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors import _espocrm_hooks as hooks
from connectors import _espocrm_walk as walk
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
    Record,
    Refused,
    TryLater,
    Unreadable,
    Untrusted,
    Verb,
)
from connectors.espocrm import EspoCrm
from tests.examples.espocrm import BASE, HOOK, NOW, SECRET, SETTINGS, FakeEspo, connect, refused
from tests.speccheck import folder

C = Kind.CONTACT


@pytest.fixture
def api() -> FakeEspo:
    return FakeEspo()


@pytest.fixture
def it(api: FakeEspo) -> EspoCrm:
    return connect(api)


def create(key: str, email: str | None, *, again: bool = False, **fields: Any) -> Order:
    said = {"firstName": "Ada", "lastName": "Byron", **fields, **({} if email is None else {"emailAddress": email})}
    return Order(key, C, Verb.CREATE, said, again=again)


def update(key: str, id_: str, known: str = "", **fields: Any) -> Order:
    return Order(key, C, Verb.UPDATE, fields, id=id_, known={"emailAddress": known} if known else {})


def writes(api: FakeEspo) -> list[str]:
    return [f"{method} {path}" for method, path, _ in api.calls if method != "GET"]


# --- deliveries -------------------------------------------------------------------------------------------------------

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def delivery(rows: Any, event: str | None = "Contact.update", *, at: datetime = AT, old: bool = False) -> Delivery:
    body = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
    url = "https://tandem.example/webhooks/espocrm" + ("" if event is None else f"?event={event}")
    proof = (
        {"x-signature": hooks.sign_old(HOOK, SECRET, body)} if old else {"signature": hooks.sign(HOOK, SECRET, body)}
    )
    return Delivery("POST", url, proof, body, at)


def test_the_signature_is_that_of_an_independent_computation() -> None:
    """Both headers over a known body, computed elsewhere by the documented steps."""
    body = b'[{"id":"abc123","firstName":"Ada"}]'
    assert hooks.sign(HOOK, SECRET, body) == (
        "NjVmMGMxZDJlM2E0YjVjNmQ6YzY5NzgyYzY5OTYyNjU5YWY2NWRiOTRhNjk4N2JjMGRiOWJmY2EyZGExNzcxMjI4YjVhMDU3YzgzNTgxZjc4NQ=="
    )
    assert hooks.sign_old(HOOK, SECRET, body) == "NjVmMGMxZDJlM2E0YjVjNmQ6xpeCxpliZZr2XblKaYe8Dbm/yi2hdxIotaBXyDWB94U="


def test_recorded_deliveries_of_a_real_installation_are_read() -> None:
    """What version 9.1.7 sent is trusted by either header, and each row is one event."""
    file = folder().parent / "data" / "deliveries" / "self-hosted.jsonl"
    if not file.is_file():
        pytest.skip(f"no recorded deliveries in {file.parent} (set TANDEM_SPECS)")
    recorded = [r for line in file.read_text().splitlines() if (r := json.loads(line))["system"] == "espo"]
    assert recorded
    real = connect(FakeEspo(), webhook_secrets="aad0329ec8af45f8dbb3b989c30f1ffe")
    url = "https://tandem.example/webhooks/espocrm?event=Contact.create"
    keys: set[str] = set()
    for one in recorded:
        headers = {name.lower(): value for name, value in one["headers"].items()}
        at = datetime.fromtimestamp(one["received_at"], UTC)
        for unsaid in ("x-signature", "signature"):
            proof = {name: value for name, value in headers.items() if name != unsaid}
            events = real.receive(Delivery("POST", url, proof, one["body"].encode(), at)).events
        rows = json.loads(one["body"])
        assert [e.ref.value for e in events] == [row["id"] for row in rows]
        assert all(e.action is Action.CHANGED and e.occurred_at is not None for e in events)
        keys |= {e.dedupe for e in events}
        with pytest.raises(Untrusted):
            real.receive(Delivery("POST", url, headers, one["body"].encode() + b" ", at))
    assert len(keys) == sum(len(json.loads(one["body"])) for one in recorded)


def test_a_wrong_new_signature_is_not_saved_by_the_old_one(it: EspoCrm) -> None:
    """Where both headers are there, the new one decides."""
    good = delivery([{"id": "a1"}], old=True)
    assert it.receive(good).events
    both = Delivery("POST", good.url, {**good.headers, "signature": "x"}, good.body, AT)
    with pytest.raises(Untrusted):
        it.receive(both)


@pytest.mark.parametrize(
    ("event", "action"),
    [
        ("Contact.create", Action.CHANGED),
        ("Contact.update", Action.CHANGED),
        ("Contact.fieldUpdate.emailAddress", Action.CHANGED),
        ("Contact.delete", Action.DELETED),
        (None, Action.CHANGED),
        ("Contact.merge", None),
        ("Lead.update", None),
        ("nonsense", None),
    ],
)
def test_the_url_says_the_event(it: EspoCrm, event: str | None, action: Action | None) -> None:
    """One webhook, one URL; without a word it is about changes, and what is not ours is no event."""
    found = it.receive(delivery([{"id": "a1"}], event)).events
    assert [e.action for e in found] == ([] if action is None else [action])


@pytest.mark.parametrize(
    ("row", "urgent"),
    [
        ({"emailAddressIsOptedOut": True}, True),
        ({"doNotCall": True}, True),
        ({"emailAddressData": [{"emailAddress": "a@b.example", "optOut": True}]}, True),
        ({"emailAddressData": [{"emailAddress": "a@b.example", "optOut": False}, "nonsense"]}, False),
        ({"emailAddressIsOptedOut": False}, False),
        ({"title": "CTO"}, False),
    ],
)
def test_objections_are_urgent(it: EspoCrm, row: dict[str, Any], urgent: bool) -> None:
    """Whatever may withdraw consent is looked at first."""
    assert [e.urgent for e in it.receive(delivery([{"id": "a1", **row}])).events] == [urgent]


def test_an_equal_body_is_a_copy_only_for_a_while(it: EspoCrm) -> None:
    """Out, in and out again makes two equal bodies: the second is a happening of its own, unless it says its time."""
    row = {"id": "a1", "emailAddressIsOptedOut": True}

    def key(row: dict[str, Any], after: timedelta) -> str:
        (event,) = it.receive(delivery([row], at=AT + after)).events
        return event.dedupe

    first = key(row, timedelta())
    assert key(row, timedelta(minutes=9)) == first
    assert key(row, hooks.COPIES) != first
    assert key(row, timedelta(days=1)) != first
    timed = {**row, "modifiedAt": "2026-03-02 09:29:58"}
    assert key(timed, timedelta()) == key(timed, timedelta(days=1))


def test_rows_without_an_id_are_left_out(it: EspoCrm) -> None:
    """One bad row costs none of the others; only bad rows are unreadable."""
    assert [e.ref.value for e in it.receive(delivery([{"id": "a1"}, {"id": 5}, "x", {}])).events] == ["a1"]
    assert it.receive(delivery([])).events == ()
    for rows in ([{"id": None}], b"{", b'"text"'):
        with pytest.raises(Unreadable):
            it.receive(delivery(rows))


# --- who is there -----------------------------------------------------------------------------------------------------


def test_another_person_of_the_same_name_is_made(it: EspoCrm, api: FakeEspo) -> None:
    """EspoCRM's look for duplicates answers 409 for a name; the address decides."""
    api.add(firstName="Ada", lastName="Byron", emailAddress="ada@one.example")
    (receipt,) = it.write([create("k", "ada@two.example")])
    assert isinstance(receipt, Done)
    assert sorted(api.emails()) == ["ada@one.example", "ada@two.example"]


def test_somebody_who_came_meanwhile_exists(it: EspoCrm, api: FakeEspo) -> None:
    """The 409 of the second net: whoever came between the look-up and the create is not made twice."""
    hidden = api.add(firstName="Ada", lastName="King", emailAddress="ada@one.example")
    first = [True]

    def blind(request: httpx.Request) -> httpx.Response | None:
        if request.method == "GET" and first:
            first.clear()
            return httpx.Response(200, json={"total": -1, "list": []})
        return None

    api.trouble = blind
    (receipt,) = it.write([create("k", "ADA@one.example")])
    assert isinstance(receipt, Exists)
    assert receipt.ref.value == hidden
    assert len(api.rows) == 1


def test_two_orders_for_one_address_make_one_record(it: EspoCrm, api: FakeEspo) -> None:
    """Within one write, too."""
    receipts = it.write([create("a", "ada@one.example"), create("b", "Ada@One.example", firstName="A.")])
    assert [type(r) for r in receipts] == [Done, Exists]
    assert len(api.rows) == 1


def test_an_address_is_not_given_to_a_second_record(it: EspoCrm, api: FakeEspo) -> None:
    """EspoCRM would let both have it, and hand on the opt-out: refused, and nothing is sent."""
    api.add(lastName="King", emailAddress="taken@one.example")
    mine = api.add(lastName="Byron", emailAddress="ada@one.example")
    order = update("k", mine, "ada@one.example", emailAddress="Taken@one.example")
    (receipt,) = it.write([order])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    assert (receipt.problem.code, receipt.problem.field) == ("conflict", "emailAddress")
    assert writes(api) == []
    (receipt,) = it.write([update("k", mine, "ada@one.example", emailAddress="ADA@one.example")])
    assert isinstance(receipt, Done), "another spelling of its own address is no move"


def test_secondary_addresses_find_their_record(it: EspoCrm, api: FakeEspo) -> None:
    """By any address; the others come as a list."""
    id_ = api.add(lastName="Byron", emailAddress="ada@one.example")
    api.more[id_] = ["Ada@two.example"]
    (found,) = it.find(C, "email", ["ADA@two.example"])
    assert (found.id, found.fields["emailAddressData.others"]) == (id_, ["Ada@two.example"])


def test_a_create_without_address_is_recognised_after_a_time_out(it: EspoCrm, api: FakeEspo) -> None:
    """By all its values, and only if it was made just now."""
    order = create("k", None, title="Countess")
    api.add(firstName="Ada", lastName="Byron", title="Countess", at=NOW - timedelta(days=2))
    young = api.add(firstName="Ada", lastName="Byron", title="Countess")
    api.add(firstName="Ada", lastName="Byron", title="Other")
    (receipt,) = it.write([Order("k", C, Verb.CREATE, order.fields, again=True)])
    assert isinstance(receipt, Done)
    assert receipt.id == young


# --- 404, 403, erasure ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [Verb.UPDATE, Verb.ARCHIVE])
def test_a_404_that_is_not_espocrm_s_makes_nobody_gone(api: FakeEspo, it: EspoCrm, verb: Verb) -> None:
    """What stands before EspoCRM answers 404 as well: a record that a list still shows is not gone."""
    id_ = api.add(lastName="Byron")
    api.trouble = lambda request: refused(404) if request.method in {"PATCH", "DELETE"} else None
    (receipt,) = it.write([Order("k", C, verb, {"firstName": "A"} if verb is Verb.UPDATE else {}, id=id_)])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, TryLater)
    del api.rows[id_]
    (receipt,) = it.write([Order("k", C, verb, {"firstName": "A"} if verb is Verb.UPDATE else {}, id=id_)])
    assert isinstance(receipt, Gone)


def test_erasing_overwrites_before_it_removes(api: FakeEspo, it: EspoCrm) -> None:
    """A removed row keeps everything, so personal data goes first, also in fields that the instance marks."""
    id_ = api.add(firstName="Ada", lastName="Byron", emailAddress="ada@one.example")
    (receipt,) = it.write([Order("k", C, Verb.ERASE, {}, id=id_)])
    assert isinstance(receipt, Done)
    assert writes(api) == ["POST /DataPrivacy/action/erase", f"DELETE /Contact/{id_}"]
    ((erased, fields),) = api.erased
    assert erased == id_
    assert {"firstName", "lastName", "emailAddress", "phoneNumber", "cHobby"} <= set(fields)
    assert not {"createdAt", "account", "address"} & set(fields), "a field that is not there, or not about the person"


def test_a_server_that_cannot_erase_is_no_proof(api: FakeEspo, it: EspoCrm) -> None:
    """Where the endpoint is missing the order is refused, and the record stays to be erased by hand."""
    id_ = api.add(lastName="Byron")
    api.trouble = lambda request: refused(404) if "DataPrivacy" in request.url.path else None
    (receipt,) = it.write([Order("k", C, Verb.ERASE, {}, id=id_)])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    assert receipt.problem.code == "erase"
    assert id_ in api.rows


def test_merges_are_refused_without_a_call(api: FakeEspo, it: EspoCrm) -> None:
    """Nothing at EspoCRM would lead from the lost id to the survivor."""
    (receipt,) = it.write([Order("k", C, Verb.MERGE, {}, id="a1", loser="b1")])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    assert not api.calls


def test_consent_words_become_marks(api: FakeEspo, it: EspoCrm) -> None:
    """The mapping's word true is written as a mark, not as a text."""
    id_ = api.add(lastName="Byron", emailAddress="ada@one.example")
    (receipt,) = it.write([update("k", id_, emailAddressIsOptedOut="true", doNotCall="true")])
    assert isinstance(receipt, Done)
    assert api.calls[-1][2] == {"emailAddressIsOptedOut": True, "doNotCall": True}
    assert api.opt_outs == {"ada@one.example": True}


def test_a_refusal_names_the_field_and_no_value(api: FakeEspo, it: EspoCrm) -> None:
    """From the header or the body; values are masked."""
    (receipt,) = it.write([create("k", "ada@one.example", salutationName="Zuzanaq")])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    assert (receipt.problem.code, receipt.problem.field) == ("validation", "salutationName")
    assert "Zuzanaq" not in str(receipt.problem)


def test_what_was_never_sent_has_not_landed(api: FakeEspo, it: EspoCrm) -> None:
    """After the first create without an answer no other is sent, and only that one may have landed."""

    def gone(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST":
            raise httpx.ReadTimeout("", request=request)
        return None

    api.trouble = gone
    orders = [create(f"k{n}", f"p{n}@one.example") for n in range(12)]
    problems = [r.problem for r in it.write(orders) if isinstance(r, Failed)]
    landed = [p.landed for p in problems if isinstance(p, TryLater)]
    assert len(landed) == 12
    assert 1 <= sum(landed) == sum(w.startswith("POST") for w in writes(api)) < 12


# --- reading and walking ----------------------------------------------------------------------------------------------


def test_a_server_that_ignores_conditions_is_never_believed(api: FakeEspo, it: EspoCrm) -> None:
    """Old versions answer everybody: nobody is taken for somebody else, and the poll calls for a person."""
    ids = [api.add(lastName=f"L{n}", emailAddress=f"p{n}@one.example", at=NOW + timedelta(days=n)) for n in range(5)]
    page = it.changed(C, None)
    api.deaf = True
    assert [r.id for r in it.find(C, "email", ["p3@one.example"])] == [ids[3]]
    assert it.find(C, "email", ["nobody@one.example"]) == []
    assert [r.id for r in it.read(C, [ids[1]])] == [ids[1]]
    with pytest.raises(NeedsHuman, match="whereGroup"):
        it.changed(C, page.cursor)
    small = connect(api, page_size="2")
    with pytest.raises(NeedsHuman, match="whereGroup"):
        small.read(C, [ids[1], ids[2]])


@pytest.mark.parametrize(("count", "size"), [(7, "2"), (6, "3"), (1, "2"), (0, "2"), (9, "200")])
def test_one_second_with_more_records_than_a_page(count: int, size: str) -> None:
    """A second that fills pages is walked by id; all come once, and the poll ends."""
    api = FakeEspo()
    it = connect(api, page_size=size)
    cursor = it.changed(C, None).cursor
    ids = [api.add(lastName=f"L{n}", at=NOW + timedelta(days=1)) for n in range(count)]
    seen: list[str] = []
    for _ in range(3 * count + 3):
        page = it.changed(C, cursor)
        seen += [r.id for r in page.records]
        cursor = page.cursor
        if not page.more:
            break
    else:
        raise AssertionError("the poll does not end")
    assert sorted(seen) == sorted(ids), "somebody is missing, or came twice within a poll"


def test_a_quiet_poll_is_one_call(api: FakeEspo, it: EspoCrm) -> None:
    """The window follows the server's clock: an import is not read again at every poll after it."""
    for n in range(20):
        api.add(lastName=f"L{n}")
    api.dates = False
    clock = {"date": "Thu, 13 Aug 2026 12:00:00 GMT"}
    vendor = api.__call__

    def dated(request: httpx.Request) -> httpx.Response:
        response = vendor(request)
        response.headers.update(clock)
        return response

    it = connect(dated)
    cursor = it.changed(C, None).cursor
    cursor = it.changed(C, cursor).cursor
    api.calls.clear()
    page = it.changed(C, cursor)
    assert (page.records, page.more, len(api.calls)) == ((), False, 1)


def test_without_a_clock_the_newest_change_is_where_it_goes_on(api: FakeEspo, it: EspoCrm) -> None:
    """A server that tells no time: the overlap is read again, nobody is lost."""
    api.dates = False
    first = api.add(lastName="A")
    cursor = it.changed(C, None).cursor
    cursor = it.changed(C, cursor).cursor
    second = api.add(lastName="B", at=NOW + timedelta(hours=1))
    page = it.changed(C, cursor)
    assert {r.id for r in page.records} == {first, second}


@pytest.mark.parametrize("cursor", ["", "{", "null", "[]", '{"poll":{"x":1}}', '{"list":5}'])
def test_a_strange_cursor_is_refused(it: EspoCrm, cursor: str) -> None:
    """With a word on what to do."""
    with pytest.raises(Refused, match="start again"):
        it.changed(C, cursor)


def test_a_walk_by_time_alone_loses_people() -> None:
    """The saboteur: without the walk by id within a second, a full page of one second is read for ever or skipped."""
    page = [Record(C, f"i{n}", {"modifiedAt": "2026-08-13 10:15:00"}) for n in range(2)]
    state = walk.Poll("2026-08-13 10:15:00", start="2026-08-13 10:15:00")
    tied, more = walk.advance(state, page, full=True, now=None)
    assert (tied.tie, more) == ("", True)
    assert [w[0] for w in walk.query(tied)[0]] == ["greaterThanOrEquals", "lessThanOrEquals"]
    naive = walk.Poll(state.since, start=state.start, edge=("i0", "i1"))  # what the next list would be without it
    assert walk.query(naive) == walk.query(state), "the same list again: no end"


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (BASE, f"{BASE}/api/v1"),
        (f"{BASE}/", f"{BASE}/api/v1"),
        (f"{BASE}/crm", f"{BASE}/crm/api/v1"),
        (f"{BASE}/api/v1/", f"{BASE}/api/v1"),
    ],
)
def test_the_base_url_is_that_of_the_product(given: str, url: str) -> None:
    """With or without the API's path."""
    assert EspoCrm.base_url({**SETTINGS, "base_url": given}) == url


@pytest.mark.parametrize(
    ("name", "value"), [("entity", "Account"), ("page_size", "0"), ("page_size", "201"), ("attributes", "a b")]
)
def test_settings_that_make_no_sense_are_refused_by_name(name: str, value: str) -> None:
    """Before anything is called."""
    with pytest.raises(ValueError, match=name):
        connect(FakeEspo(), **{name: value})


def test_a_smaller_limit_of_the_instance_is_kept(api: FakeEspo) -> None:
    """recordListMaxSizeLimit: refused with 403 by default, fine with page_size."""
    api.limit = 50
    api.add(lastName="Byron")
    with pytest.raises(NeedsHuman, match="page_size"):
        connect(api).changed(C, None)
    assert len(connect(api, page_size="50").changed(C, None).records) == 1


def test_leads_are_a_connection_of_their_own() -> None:
    """The same calls to another entity; contacts' webhooks are none of its."""
    asked: list[str] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        return httpx.Response(200, json={"total": 0, "list": []})

    it = connect(vendor, entity="Lead")
    it.changed(C, None)
    assert asked == ["GET /api/v1/Lead"]
    assert it.receive(delivery([{"id": "a1"}], "Lead.update")).events
    assert it.receive(delivery([{"id": "a1"}], "Contact.update")).events == ()
