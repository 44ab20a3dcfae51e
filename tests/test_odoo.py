"""Odoo: its traps, one by one.  What every connector promises is in the conformance suite."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors import _odoo_hooks as hooks
from connectors import _odoo_walk as walk
from connectors._odoo_wire import FAMILY, GIVEN, join_name, split
from connectors.contract import (
    Action,
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
from sandbox.odoo_store import BLACKLIST, PARTNER
from tests.examples.odoo import AT, FIELDS, JSONRPC, KEY, NOW, SECRET, FakeOdoo, connect, refused, said, sign

C = Kind.CONTACT
ADA = {"name.given": "Ada", "name.family": "Byron", "email": "ada@one.example"}
WHEN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def api() -> FakeOdoo:
    return FakeOdoo()


def create(key: str = "k", *, again: bool = False, **fields: Any) -> Order:
    return Order(key, C, Verb.CREATE, {**ADA, **fields}, again=again)


def update(id_: str, fields: dict[str, Any], known: dict[str, Any] | None = None) -> Order:
    return Order("k", C, Verb.UPDATE, fields, id=id_, known=known if known is not None else {})


def one(vendor: FakeOdoo, order: Order, **settings: str) -> Receipt:
    (receipt,) = connect(vendor, **settings).write([order])
    return receipt


def problem(receipt: Receipt) -> Problem:
    assert isinstance(receipt, Failed), receipt
    return receipt.problem


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Ada Lovelace", ("Ada", "Lovelace")),
        ("  Ada   Lovelace ", ("Ada", "Lovelace")),
        ("Ada van der Berg", ("Ada", "van der Berg")),
        ("María José García López", None),  # which of the four are the family's nobody can tell
        ("Lovelace, Ada", None),
        ("Dr. Lovelace", None),
        ("Ada", None),
        ("Ada van", None),
        ("ada@one.example", None),
        ("Ada <ada@one.example>", None),
        (False, None),
    ],
)
def test_names_are_split_only_where_there_is_no_doubt(name: object, parts: tuple[str, str] | None) -> None:
    """What is not certain says nothing, so it overwrites nobody's name; what is split is joined to the same."""
    found = split(name, "ada@one.example")
    assert found == ({} if parts is None else dict(zip((GIVEN, FAMILY), parts, strict=True)))
    if found:
        assert found[GIVEN] + " " + found[FAMILY] == " ".join(str(name).split())


@pytest.mark.parametrize(
    ("verb", "fields", "known", "name"),
    [
        (Verb.CREATE, ADA, {}, "Ada Byron"),
        (Verb.CREATE, {**ADA, "name.family": None}, {}, "Ada"),
        (Verb.CREATE, {"email": "ada@one.example"}, {}, "ada@one.example"),
        (Verb.UPDATE, {"name.given": "A."}, {"name.family": "Byron"}, "A. Byron"),
        (Verb.UPDATE, {"city": "Bonn"}, {}, None),
    ],
)
def test_a_name_is_written_as_one(verb: Verb, fields: dict[str, Any], known: dict[str, Any], name: str | None) -> None:
    """Of the part that does not change what is known is taken; who has no name is called by the address."""
    assert join_name(Order("k", C, verb, fields, id="1", known=known)) == name


def test_half_a_name_is_not_written_over_a_whole_one(api: FakeOdoo) -> None:
    """Where the parts are not known, a given name alone would drop the rest: refused, nothing is sent."""
    id_ = api.add(name="María José García López")
    found = problem(one(api, update(id_, {"name.given": "Maria"})))
    assert isinstance(found, Refused)
    assert (found.code, found.field) == ("name", "name.family")
    assert api.writes() == []


# --- deliveries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "more", "action", "ref", "urgent"),
    [
        (said(PARTNER, 42, is_blacklisted=True), "", Action.CHANGED, ("42", "id"), True),
        (said(PARTNER, 42, is_blacklisted=False), "", Action.CHANGED, ("42", "id"), False),
        (said(PARTNER, 42, is_blacklisted=True), "&event=deleted", Action.DELETED, ("42", "id"), False),
        (said(BLACKLIST, 5, email="A@b.example", active=True), "", Action.CHANGED, ("a@b.example", "email"), True),
        (said(BLACKLIST, 5, email="A@b.example", active=False), "", Action.CHANGED, ("a@b.example", "email"), False),
        (said(BLACKLIST, 5), "", None, None, False),
        (said("crm.lead", 5), "&event=deleted", Action.DELETED, ("5", "id"), False),
        (said("sale.order", 5), "", None, None, False),
    ],
)
def test_a_delivery_is_a_hint(
    api: FakeOdoo, body: bytes, more: str, action: Action | None, ref: tuple[str, str] | None, urgent: bool
) -> None:
    """What a rule is about its URL says; an entry of the blacklist leads to whoever has the address."""
    delivery = sign(body, WHEN, SECRET)
    events = connect(api).receive(replace(delivery, url=delivery.url + more)).events
    assert [(e.action, (e.ref.value, e.ref.key), e.urgent) for e in events] == ([(action, ref, urgent)] if ref else [])


@pytest.mark.parametrize("id_", [0, -1, True, "42", None])
def test_a_delivery_that_names_no_record_is_unreadable(api: FakeOdoo, id_: Any) -> None:
    """Trusted, but of no use."""
    with pytest.raises(Unreadable):
        connect(api).receive(sign(json.dumps({"_model": PARTNER, "_id": id_}).encode(), WHEN, SECRET))


def test_the_secret_counts_wherever_it_stands_in_the_query(api: FakeOdoo) -> None:
    """Behind other parameters too; in the path or a header it is none."""
    delivery = sign(said(PARTNER, 42), WHEN, SECRET)
    url = f"https://tandem.example/webhooks/odoo?event=x&secret={SECRET}"
    assert connect(api).receive(replace(delivery, url=url)).events
    bare = replace(delivery, url=f"https://tandem.example/webhooks/{SECRET}", headers={"secret": SECRET})
    with pytest.raises(Untrusted):
        connect(api).receive(bare)


def test_an_equal_body_is_a_copy_only_for_a_while(api: FakeOdoo) -> None:
    """Out, in and out again makes equal bodies, unless they say their time."""

    def key(body: bytes, after: timedelta) -> str:
        (event,) = connect(api).receive(sign(body, WHEN + after, SECRET)).events
        return event.dedupe

    bare, timed = said(PARTNER, 42, is_blacklisted=True), said(PARTNER, 42, write_date=AT)
    assert key(bare, timedelta()) == key(bare, timedelta(minutes=9))
    assert key(bare, timedelta()) != key(bare, hooks.COPIES)
    assert key(timed, timedelta()) == key(timed, timedelta(days=1))


# --- who is a contact -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [{"is_company": True}, {"type": "invoice"}, {"partner_share": False}])
def test_only_people_are_contacts(api: FakeOdoo, other: dict[str, Any]) -> None:
    """Companies, further addresses and colleagues come by no way; nobody is made twice beside them."""
    id_ = api.add(email="ada@one.example", **other)
    it = connect(api)
    cursor = it.changed(C, None)
    assert (cursor.records, cursor.total) == ((), 0)
    assert it.changed(C, cursor.cursor).records == ()
    assert it.read(C, [id_]) == []
    assert it.find(C, "email", ["ada@one.example"]) == []
    found = problem(one(api, create()))
    assert isinstance(found, Refused)
    assert found.code == "conflict"
    assert len(api.rows) == 1


def test_a_contact_may_share_its_companys_address(api: FakeOdoo) -> None:
    """As is usual in Odoo; another contact's it may not."""
    api.add(email="info@one.example", is_company=True)
    api.add(email="taken@one.example")
    id_ = api.add(email="ada@one.example")
    assert isinstance(one(api, update(id_, {"email": "info@one.example"}, {"email": "ada@one.example"})), Done)
    found = problem(one(api, update(id_, {"email": "Taken@one.example"}, {"email": "info@one.example"})))
    assert isinstance(found, Refused)
    assert (found.code, found.field) == ("conflict", "email")
    assert api.rows[int(id_)]["email"] == "info@one.example"


def test_who_is_archived_does_not_stand_in_the_way(api: FakeOdoo) -> None:
    """They are read by id and told by the poll, and found by no address."""
    it = connect(api)
    cursor = it.changed(C, None).cursor
    id_ = api.add(email="ada@one.example", active=False)
    assert [(r.id, r.archived) for r in it.changed(C, cursor).records] == [(id_, True)]
    assert [r.archived for r in it.read(C, [id_])] == [True]
    assert it.find(C, "email", ["ada@one.example"]) == []
    assert isinstance(one(api, create()), Done)


# --- consent ----------------------------------------------------------------------------------------------------------


def test_an_objection_is_said_before_anything_else(api: FakeOdoo) -> None:
    """So that nobody can be written to in between; twice said is once said."""
    assert isinstance(one(api, create(is_blacklisted="true")), Done)
    assert api.writes() == ["mail.blacklist/create", "res.partner/load"]
    id_ = str(max(api.rows))
    for _ in range(2):
        assert isinstance(one(api, update(id_, {"is_blacklisted": "true"})), Done)
    assert api.blacklisted() == ["ada@one.example"]


def test_an_entry_that_was_switched_off_is_switched_on(api: FakeOdoo) -> None:
    """Odoo answers a create with the old entry and leaves it off: that would lose the objection."""
    api.blacklist("ada@one.example", active=False)
    id_ = api.add(email="ada@one.example")
    assert isinstance(one(api, update(id_, {"is_blacklisted": True})), Done)
    assert api.blacklisted() == ["ada@one.example"]


def test_an_objection_moves_with_the_address_that_we_change(api: FakeOdoo) -> None:
    """The blacklist is by address: the new one would be free."""
    api.blacklist("ada@one.example")
    id_ = api.add(email="ada@one.example")
    known = {"email": "ada@one.example", "is_blacklisted": True}
    assert isinstance(one(api, update(id_, {"email": "ada@two.example"}, known)), Done)
    assert api.blacklisted() == ["ada@one.example", "ada@two.example"]
    assert api.writes() == ["mail.blacklist/create", "res.partner/write"]


@pytest.mark.parametrize(
    ("known", "lifted"), [({}, False), ({"is_blacklisted": False}, False), ({"is_blacklisted": True}, True)]
)
def test_nothing_lifts_an_objection_that_it_does_not_know(api: FakeOdoo, known: dict[str, Any], lifted: bool) -> None:
    """And only a mapping that says so lifts one at all."""
    api.blacklist("ada@one.example")
    id_ = api.add(email="ada@one.example")
    receipt = one(api, update(id_, {"is_blacklisted": "false"}, known))
    assert isinstance(receipt, Done if lifted else Failed)
    assert api.blacklisted() == ([] if lifted else ["ada@one.example"])


def test_a_mark_that_says_nothing_objects_and_lifts_nothing(api: FakeOdoo) -> None:
    """Whatever else is written under the name of the mark."""
    api.blacklist("ada@one.example")
    id_ = api.add(email="ada@one.example")
    for value in (None, "", "maybe", 0):
        assert isinstance(one(api, update(id_, {"is_blacklisted": value}, {"is_blacklisted": True})), Done)
    assert api.blacklisted() == ["ada@one.example"]


def test_an_objection_without_an_address_is_refused(api: FakeOdoo) -> None:
    """There is nowhere to keep it."""
    id_ = api.add()
    found = problem(one(api, update(id_, {"is_blacklisted": "true"})))
    assert isinstance(found, Refused)
    assert found.code == "required"


def test_the_poll_sees_objections_that_move_no_contact(api: FakeOdoo) -> None:
    """is_blacklisted is computed: the contact's time stays as it was.  Off again it comes, too."""
    it = connect(api)
    id_ = api.add(NOW - timedelta(days=9), email="Ada@one.example")
    api.add(email="clock@one.example")  # the server's time is far from the contact's
    cursor = it.changed(C, None).cursor
    for active in (True, False):
        api.now += timedelta(days=1)
        api.touch(api.add(email=f"clock{active}@one.example"), api.now)
        api.blacklist("ada@one.example", active=active)
        seen: list[Any] = []
        while True:
            page = it.changed(C, cursor)
            seen += [r.fields["is_blacklisted"] for r in page.records if r.id == id_]
            cursor = page.cursor
            if not page.more:
                break
        assert seen == [active]


def test_a_user_who_may_not_see_the_blacklist_is_no_user_for_this(api: FakeOdoo) -> None:
    """Objections would be missed in silence: doctor and poll call for a person."""
    api.store.hidden.add(BLACKLIST)
    it = connect(api)
    with pytest.raises(NeedsHuman, match=r"mail\.blacklist"):
        it.check()
    page = it.changed(C, it.changed(C, None).cursor)
    with pytest.raises(NeedsHuman, match=r"mail\.blacklist"):
        it.changed(C, page.cursor)


# --- errors, time-outs, versions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "name", "kind", "code"),
    [
        (422, "odoo.exceptions.ValidationError", Refused, "validation"),
        (500, "odoo.exceptions.ValidationError", Refused, "validation"),  # whatever status a version gives it
        (422, "odoo.exceptions.UserError", Refused, "refused"),
        (500, "psycopg2.errors.NotNullViolation", Refused, "validation"),
        (500, "builtins.ValueError", Refused, "refused"),
        (403, "odoo.exceptions.AccessError", NeedsHuman, ""),
        (500, "odoo.exceptions.AccessDenied", NeedsHuman, ""),
        (401, "werkzeug.exceptions.Unauthorized", NeedsHuman, ""),
        (404, "werkzeug.exceptions.NotFound", NeedsHuman, ""),
        (500, "psycopg2.errors.SerializationFailure", TryLater, ""),
        (500, "psycopg2.errors.LockNotAvailable", TryLater, ""),
        (502, "odoo.exceptions.ValidationError", TryLater, ""),  # a gateway's page, whatever it says
        (500, "builtins.KeyError", TryLater, ""),
    ],
)
@pytest.mark.parametrize("api_name", ["json2", "jsonrpc"])
def test_an_exception_leads_to_its_next_step(
    api: FakeOdoo, status: int, name: str, kind: type[Problem], code: str, api_name: str
) -> None:
    """By its name; JSON-RPC answers all of them with 200.  No traceback, key or value is repeated."""
    id_ = api.add()
    words = f"Zuzanaq is no value, {KEY} is a key"

    def trouble(request: httpx.Request) -> httpx.Response | None:
        if b'"write"' not in request.content and not request.url.path.endswith("/write"):
            return None
        if api_name == "json2" or status == 502:
            return refused(status, words, name)
        data = {"name": name, "message": words, "debug": "Traceback Zuzanaq"}
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": 1, "error": {"code": 200, "data": data}})

    api.trouble = trouble
    settings = JSONRPC if api_name == "jsonrpc" else {}
    found = problem(one(api, update(id_, {"function": "Zuzanaq"}), **settings))
    assert isinstance(found, kind), found
    assert getattr(found, "code", "") == code
    assert not any(word in str(found) for word in ("Zuzanaq", KEY, "Traceback"))


def test_an_older_odoo_is_told_what_to_do(api: FakeOdoo) -> None:
    """JSON-2 is a page that is not found there."""
    api.sim.json2 = False
    with pytest.raises(NeedsHuman, match="set api to jsonrpc"):
        connect(api).check()
    assert "0 contacts" in connect(api, **JSONRPC).check()


def test_json_rpc_does_the_same(api: FakeOdoo) -> None:
    """Whole: made, found, changed, blacklisted, polled, archived, erased; who we are is asked once."""
    it = connect(api, **JSONRPC)
    (made,) = it.write([create(is_blacklisted="true")])
    assert isinstance(made, Done)
    assert [r.id for r in it.find(C, "email", ["ADA@one.example"])] == [made.id]
    assert [type(r) for r in it.write([update(made.id, {"city": "Bonn"})])] == [Done]
    (found,) = it.read(C, [made.id])
    assert (found.fields["city"], found.fields["is_blacklisted"]) == ("Bonn", True)
    assert [r.id for r in it.changed(C, None).records] == [made.id]
    assert isinstance(it.write([update("99", {"city": "Bonn"})])[0], Gone)
    for verb in (Verb.ARCHIVE, Verb.ERASE):
        assert isinstance(it.write([Order("k", C, verb, {}, id=made.id)])[0], Done)
    assert sum("authenticate" in json.dumps(body) for _, body in api.calls) == 1
    with pytest.raises(NeedsHuman, match="login"):
        connect(api, **{**JSONRPC, "login": "nobody"}).check()


def test_a_create_whose_answer_is_lost_and_that_no_look_up_shows_is_not_made_twice(api: FakeOdoo) -> None:
    """Its transaction may still be open when we look: the External ID of the order keeps it one."""
    first = [True]

    def lost(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/load") and first:
            first.clear()
            api.sim.call(PARTNER, "load", json.loads(request.content), 7)
            raise httpx.ReadTimeout("", request=request)
        return None

    api.trouble = lost
    found = problem(one(api, create()))
    assert isinstance(found, TryLater)
    assert found.landed
    blind = [True]

    def unseen(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/res.partner/search_read") and blind:
            blind.clear()
            return httpx.Response(200, json=[])
        return None

    api.trouble = unseen
    assert isinstance(one(api, create(again=True)), Done)
    assert len(api.rows) == 1
    api.trouble = lambda _request: None
    assert isinstance(one(api, create("other", again=False)), Exists)
    api.trouble, blind[:] = unseen, [True]
    assert isinstance(one(api, create("saboteur", again=True)), Done)
    assert len(api.rows) == 2, "an External ID that does not come from the order makes a second one"


def test_creates_over_one_address_in_one_write_make_one(api: FakeOdoo) -> None:
    """The second is looked up after the first was sent."""
    receipts = connect(api).write([create("a"), create("b", email="ADA@one.example")])
    assert [type(r) for r in receipts] == [Done, Exists]


def test_a_refused_row_names_its_field(api: FakeOdoo) -> None:
    """``load`` answers 200 with messages; no value is repeated."""
    for order, field in ((create(lang="Zuzanaq"), "lang"), (create(**{"country_id.code": "XX"}), "country_id.code")):
        found = problem(one(api, order))
        assert isinstance(found, Refused)
        assert (found.code, found.field) == ("validation", field)
        assert "Zuzanaq" not in str(found)
    assert not api.rows


def test_a_field_that_this_odoo_lacks_is_not_read_and_not_written(api: FakeOdoo) -> None:
    """``mobile`` went with version 19."""
    id_ = api.add()
    assert [r.id for r in connect(api, fields="mobile,city").read(C, [id_])] == [id_]
    found = problem(one(api, update(id_, {"mobile": "+49"})))
    assert isinstance(found, Refused)
    assert (found.code, found.field) == ("unknown_field", "mobile")


def test_a_country_is_written_and_cleared_by_its_number(api: FakeOdoo) -> None:
    """Read by its code."""
    it = connect(api)
    (made,) = it.write([create(**{"country_id.code": "de"})])
    assert isinstance(made, Done)
    assert [r.fields["country_id.code"] for r in it.read(C, [made.id])] == ["DE"]
    it.write([update(made.id, {"country_id.code": None})])
    assert [r.fields["country_id.code"] for r in it.read(C, [made.id])] == [None]


def test_what_others_rest_on_is_not_erased(api: FakeOdoo) -> None:
    """An invoice, say: refused, and a person has to look."""
    id_ = api.add(email="ada@one.example")
    api.store.linked.add(int(id_))
    found = problem(one(api, Order("k", C, Verb.ERASE, {}, id=id_)))
    assert isinstance(found, Refused)
    assert found.code == "linked"
    assert int(id_) in api.rows


def test_an_objection_outlives_an_erasure(api: FakeOdoo) -> None:
    """The entry of the blacklist is by address, and stays."""
    api.blacklist("ada@one.example")
    id_ = api.add(email="ada@one.example")
    assert isinstance(one(api, Order("k", C, Verb.ERASE, {}, id=id_)), Done)
    assert (len(api.rows), api.blacklisted()) == (0, ["ada@one.example"])


def test_a_missing_record_that_a_list_shows_is_not_gone(api: FakeOdoo) -> None:
    """Nothing is unlinked over one odd answer."""
    id_ = api.add()
    trouble = refused(404, "no", "odoo.exceptions.MissingError")
    api.trouble = lambda request: trouble if request.url.path.endswith("/write") else None
    assert isinstance(problem(one(api, update(id_, {"city": "Bonn"}))), TryLater)


# --- walking ----------------------------------------------------------------------------------------------------------


def test_a_walk_by_equal_times_would_lose_people(api: FakeOdoo) -> None:
    """The saboteur: Odoo keeps microseconds and tells seconds, so "= the last time" finds nobody of that second."""
    at = NOW + timedelta(days=1, microseconds=678901)
    ids = [api.add(at, email=f"p{n}@one.example") for n in range(5)]
    it = connect(api)
    (first, *_) = it.changed(C, None).records
    told = first.fields["write_date"]
    naive = ["|", ["write_date", ">", told], "&", ["write_date", "=", told], ["id", ">", int(first.id)]]
    later = ["&", ["write_date", "=", told], ["id", ">", int(first.id)]]
    assert len(api.sim.call(PARTNER, "search", {"domain": naive}, 7)) == 5, "the same again and again"
    assert api.sim.call(PARTNER, "search", {"domain": later}, 7) == [], "or nobody"
    poll = walk.dump(walk.Poll(walk.stamp(at)))
    assert [r.id for r in it.changed(C, poll).records] == ids


def test_lists_that_ignore_their_conditions_are_not_believed(api: FakeOdoo) -> None:
    """A page that does not go on from where it was asked to would go round for ever."""
    ids = [api.add(email=f"p{n}@one.example") for n in range(3)]
    it = connect(api)
    state = walk.dump(walk.Listing("", after=int(ids[1]), begun=True))
    rows = api.sim.call(PARTNER, "search_read", {"domain": []}, 7)
    api.trouble = lambda r: httpx.Response(200, json=rows) if r.url.path.endswith("partner/search_read") else None
    with pytest.raises(NeedsHuman, match="ignores"):
        it.changed(C, state)


def test_without_a_clock_the_newest_change_is_where_it_goes_on(api: FakeOdoo) -> None:
    """A server that tells no time: the overlap is read again, nobody is lost."""
    api.dates = False
    it = connect(api)
    first = api.add(email="a@one.example")
    cursor = it.changed(C, it.changed(C, None).cursor).cursor
    cursor = it.changed(C, cursor).cursor
    second = api.add(NOW + timedelta(hours=1), email="b@one.example")
    assert [r.id for r in it.changed(C, cursor).records] == [first, second]


@pytest.mark.parametrize("cursor", ["", "{", "null", "[]", '{"poll":{"x":1}}', '{"list":5}'])
def test_a_strange_cursor_is_refused(api: FakeOdoo, cursor: str) -> None:
    """With a word on what to do."""
    with pytest.raises(Refused, match="start again"):
        connect(api).changed(C, cursor)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"api": "soap"}, "api"),
        ({"api": "jsonrpc"}, "login"),
        ({"fields": "a b"}, "fields"),
        ({"fields": "a.b"}, "fields"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(api: FakeOdoo, settings: dict[str, str], match: str) -> None:
    """Before anything is called."""
    with pytest.raises(ValueError, match=match):
        connect(api, **settings)
    assert not api.calls


def test_merges_are_refused_without_a_call(api: FakeOdoo) -> None:
    """Nothing at Odoo would lead from the lost id to the survivor."""
    assert isinstance(problem(one(api, Order("k", C, Verb.MERGE, {}, id="1", loser="2"))), Refused)
    assert not api.calls


def test_every_field_of_the_mapping_is_described(api: FakeOdoo) -> None:
    """Ours too, so that a check of the mapping knows them."""
    assert set(FIELDS) <= connect(api).describe(C).properties.keys()
