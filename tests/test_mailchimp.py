"""Mailchimp's connector against its signature scheme, a small fake of its member API, its error texts and its contract.

Every request and answer of these tests also passes the vendor's own specification, where it is at hand (speccheck).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import respx

from connectors import _mailchimp_hooks as hooks
from connectors._http import Http
from connectors._mailchimp_write import SPLITS
from connectors.contract import (
    Action,
    Delivery,
    Done,
    Exists,
    Failed,
    Kind,
    NeedsHuman,
    Order,
    Page,
    Receipt,
    Record,
    Ref,
    Refused,
    TryLater,
    Unreadable,
    Untrusted,
    Verb,
)
from connectors.mailchimp import Mailchimp
from tests.examples.mailchimp import COMPLIANCE, LIST, NOT_VALIDATED, NOW, SECRET, FakeAudience, iso, problem
from tests.speccheck import SpecCheck, folder, load

KEY = "0123456789abcdef-us21"
URL_SECRET = "unguessable-42"
SETTINGS = {"api_key": KEY, "list_id": LIST, "signing_secret": SECRET}
SPECS = ("mailchimp-list-id-api-openapi.yml.gz", "mailchimp-root-api-openapi.yml")
URL = "https://sync.example.com/webhooks/mailchimp"

# Computed from the published algorithm; the vendor prints no complete vector.
VECTOR_AT = datetime.fromtimestamp(1786616100, UTC)
VECTOR_BODY = (
    b"type=unsubscribe&fired_at=2026-08-13+10%3A15%3A00&data%5Bemail%5D=ada%40example.com&data%5Blist_id%5D=a6b5da1054"
)
VECTOR = "14a11d8c4e3b3059e0ca73a425c05086897143f5cceaa58aa474d034af5e3888"

FORGOTTEN = "was permanently deleted and cannot be re-imported. The contact must re-subscribe to get back on the list."
LISTS = "has signed up to a lot of lists very recently; we're not allowing more signups for now"


@cache
def specification() -> dict[str, Any] | None:
    return load("mailchimp", *SPECS) if all((folder() / "mailchimp" / n).is_file() for n in SPECS) else None


@cache
def checker() -> SpecCheck | None:
    found = specification()
    return None if found is None else SpecCheck(found, httpx.MockTransport(lambda _r: httpx.Response(500)))


def connect(transport: httpx.BaseTransport, **settings: str) -> Mailchimp:
    own = {**SETTINGS, **settings}
    http = Http(
        base_url=Mailchimp.base_url(own),
        hosts=Mailchimp.hosts,
        limits=Mailchimp.limits,
        headers=Mailchimp.headers(own),
        transport=transport,
        sleep=lambda _seconds: None,
    )
    return Mailchimp(own, http)


@pytest.fixture
def api() -> FakeAudience:
    return FakeAudience()


@pytest.fixture
def wire(api: FakeAudience) -> Iterator[httpx.BaseTransport]:
    """The fake behind respx, and behind the specification where there is one."""
    router = respx.MockRouter(assert_all_called=False)
    router.route(host="us21.api.mailchimp.com").mock(side_effect=api)
    inner = httpx.MockTransport(router.handler)
    checked = checker()
    if checked is None:
        yield inner
    else:
        checked._inner = inner
        yield checked


@pytest.fixture
def it(wire: httpx.BaseTransport) -> Mailchimp:
    return connect(wire)


def update(contact: str, email: str | None, key: str = "k", **how: Any) -> Order:
    fields = how.pop("fields", {"merge_fields.FNAME": "Ada"})
    known = {} if email is None else {"email_address": email}
    return Order(key, Kind.CONTACT, Verb.UPDATE, fields, id=contact, known={**known, **how.pop("known", {})}, **how)


def create(email: str, key: str = "k", *, again: bool = False, **fields: Any) -> Order:
    return Order(key, Kind.CONTACT, Verb.CREATE, {"email_address": email, **fields}, again=again)


def outcome(receipt: Receipt) -> str:
    """One word: done, exists, gone, or what went wrong."""
    match receipt:
        case Failed(problem=Refused() as refused):
            return refused.code if refused.field is None else f"{refused.code} {refused.field}"
        case Failed(problem=problem_):
            return type(problem_).__name__
    return type(receipt).__name__.lower()


# --- deliveries -------------------------------------------------------------------------------------------------------


def form(type_: str, fired_at: str = "2026-08-13 10:15:00", **data: str) -> bytes:
    pairs = {"list_id": LIST, **data}
    return urlencode({"type": type_, "fired_at": fired_at, **{f"data[{k}]": v for k, v in pairs.items()}}).encode()


def signed(body: bytes, secret: str = SECRET, at: datetime = NOW, url: str = URL, **headers: str) -> Delivery:
    stamp = str(int(at.timestamp()))
    header = {"x-mailchimp-signature": f"t={stamp},v1={hooks.sign(secret, stamp, body)}"}
    return Delivery("POST", url, {**header, **headers}, body, NOW)


def idle(**settings: str) -> Mailchimp:
    """A connector that must not call out."""
    return connect(httpx.MockTransport(lambda r: pytest.fail(f"called {r.url}")), **settings)


def test_the_signature_is_that_of_the_published_algorithm() -> None:
    """HMAC-SHA256 over time, dot and raw body, in lower hex."""
    assert hooks.sign(SECRET, "1786616100", VECTOR_BODY) == VECTOR
    header = {"x-mailchimp-signature": f"t=1786616100,v1={VECTOR}"}
    received = idle().receive(Delivery("POST", URL, header, VECTOR_BODY, VECTOR_AT))
    assert [(e.action, e.ref) for e in received.events] == [(Action.CHANGED, Ref("ada@example.com", "email"))]


ODD = form("profile", email="ada@example.com")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=,v1=",
        f"t=x,v1={'0' * 64}",
        f"v1={'0' * 64}",
        "t=1786616100",
        f"t=1786616100,v1={'0' * 64}",
        f"t=99999999999999999999,v1={'0' * 64}",
        f"t=1786616100,t=1,v1={VECTOR}",
        "t=1786616100,v1=é" + "0" * 63,
        f"t=1786616100,v1={VECTOR.upper()}",
    ],
)
def test_a_spoiled_signature_is_not_trusted(header: str) -> None:
    """Whatever the header holds, the answer is Untrusted and nothing else."""
    with pytest.raises(Untrusted):
        idle().receive(Delivery("POST", URL, {"x-mailchimp-signature": header}, VECTOR_BODY, VECTOR_AT))


def test_a_changed_body_is_not_trusted() -> None:
    """One byte more breaks the signature."""
    delivery = signed(ODD)
    with pytest.raises(Untrusted):
        idle().receive(Delivery("POST", URL, delivery.headers, ODD + b"&", NOW))


@pytest.mark.parametrize(("seconds", "good"), [(-300, True), (-301, False), (300, True), (301, False), (10**14, False)])
def test_a_signature_ages(seconds: int, good: bool) -> None:
    """Three hundred seconds either way, by the time of receipt."""
    stamp = str(int(NOW.timestamp()) + seconds)
    header = {"x-mailchimp-signature": f"t={stamp},v1={hooks.sign(SECRET, stamp, ODD)}"}
    delivery = Delivery("POST", URL, header, ODD, NOW)
    if good:
        assert idle().receive(delivery).events
    else:
        with pytest.raises(Untrusted, match="holds, but"):
            idle().receive(delivery)


def test_both_secrets_of_a_rotation_hold() -> None:
    """Ours may be two, and Mailchimp may send two v1 parts."""
    both = idle(signing_secret="new, old")
    for secret in ("new", "old"):
        assert both.receive(signed(ODD, secret)).events
    stamp = str(int(NOW.timestamp()))
    two = f"t={stamp},v1={'0' * 64},v1={hooks.sign(SECRET, stamp, ODD)}"
    assert idle().receive(Delivery("POST", URL, {"x-mailchimp-signature": two}, ODD, NOW)).events


@pytest.mark.parametrize(
    ("settings", "query", "header", "good"),
    [
        ({"signing_secret": "", "webhook_secret": URL_SECRET}, f"?secret={URL_SECRET}", False, True),
        ({"signing_secret": "", "webhook_secret": URL_SECRET}, "?secret=wrong", False, False),
        ({"signing_secret": "", "webhook_secret": URL_SECRET}, "?secret=%C3%A9", False, False),
        ({"signing_secret": "", "webhook_secret": URL_SECRET}, "", False, False),
        ({"signing_secret": "", "webhook_secret": URL_SECRET}, f"?other={URL_SECRET}", True, False),
        ({"webhook_secret": URL_SECRET}, f"?secret={URL_SECRET}", True, True),
        ({"webhook_secret": URL_SECRET}, f"?secret={URL_SECRET}", False, False),
        ({"webhook_secret": URL_SECRET}, "", True, False),
        ({"signing_secret": ""}, "", True, False),
        ({"signing_secret": " , "}, "?secret=", True, False),
    ],
)
def test_every_configured_proof_is_needed(settings: dict[str, str], query: str, header: bool, good: bool) -> None:
    """Secret in the URL, signature, both; with neither nothing is trusted."""
    delivery = signed(ODD, url=URL + query)
    delivery = Delivery("POST", delivery.url, delivery.headers if header else {}, ODD, NOW)
    if good:
        assert idle(**settings).receive(delivery).events
    else:
        with pytest.raises(Untrusted):
            idle(**settings).receive(delivery)


@pytest.mark.parametrize(
    ("settings", "query", "good"),
    [
        ({}, "", True),
        ({"webhook_secret": URL_SECRET}, f"?secret={URL_SECRET}", True),
        ({"webhook_secret": URL_SECRET}, "?secret=wrong", False),
        ({"webhook_secret": URL_SECRET}, "", False),
        ({"signing_secret": ""}, "", False),
    ],
)
def test_the_validator_gets_its_answer(settings: dict[str, str], query: str, good: bool) -> None:
    """The GET by which Mailchimp tries a URL is unsigned, wants 200 and brings no event."""
    delivery = Delivery("GET", URL + query, {"user-agent": "MailChimp.com WebHook Validator"}, b"", NOW)
    if good:
        received = idle(**settings).receive(delivery)
        assert (received.events, received.answer.status) == ((), 200)
    else:
        with pytest.raises(Untrusted):
            idle(**settings).receive(delivery)


PERSON = {"id": "8a25ff1d98", "email": "Ada@Example.com", "merges][FNAME": "Ada"}


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        ("subscribe", PERSON, (Action.CHANGED, "ada@example.com")),
        ("unsubscribe", {**PERSON, "action": "unsub", "reason": "manual"}, (Action.CHANGED, "ada@example.com")),
        ("unsubscribe", {**PERSON, "reason": "manual"}, (Action.CHANGED, "ada@example.com")),
        ("unsubscribe", {**PERSON, "action": "delete"}, (Action.DELETED, "ada@example.com")),
        ("profile", PERSON, (Action.CHANGED, "ada@example.com")),
        ("cleaned", {"email": "ADA@example.com", "reason": "hard"}, (Action.CHANGED, "ada@example.com")),
        (
            "upemail",
            {"new_id": "51da8c3259", "new_email": "Ada@New.com", "old_email": "ada@example.com"},
            (Action.CHANGED, "ada@new.com"),
        ),
        ("campaign", {"id": "5aa2102003", "status": "sent"}, None),
        ("sms_subscribe", {"phone": "+15550100"}, None),
        ("something_new", {}, None),
        ("profile", {**PERSON, "list_id": "another"}, None),
    ],
)
def test_a_delivery_says_who_to_look_at(type_: str, data: dict[str, str], expected: tuple[Action, str] | None) -> None:
    """Each type becomes one event by address; other audiences and other types are ignored with 200."""
    received = idle().receive(signed(form(type_, **data)))
    assert received.answer.status == 200
    if expected is None:
        assert received.events == ()
    else:
        (event,) = received.events
        assert (event.action, event.ref, event.occurred_at) == (expected[0], Ref(expected[1], "email"), NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"type": "profile"}',
        b"type=",
        b"type=profile&data%5Blist_id%5D=a6b5da1054",
        b"type=profile&data%5Bemail%5D=a%40b.c",
        b"type=upemail&data%5Blist_id%5D=a6b5da1054&data%5Bemail%5D=a%40b.c",
        b"\xff\xfe",
        b"type=profile&data%5Bemail%5D=%FF",
        b"&".join(b"a%d=1" % n for n in range(1001)),
    ],
)
def test_a_trusted_delivery_without_sense_is_unreadable(body: bytes) -> None:
    """It is kept and parked, not refused as forged."""
    with pytest.raises(Unreadable):
        idle().receive(signed(body))


def test_an_unreadable_time_is_no_time() -> None:
    """The event is a hint: it is looked at all the same."""
    (event,) = idle().receive(signed(form("profile", fired_at="yesterday", email="ada@example.com"))).events
    assert event.occurred_at is None


def test_copies_are_the_same_happening() -> None:
    """The dedupe key is equal for a retry with a fresh signature, and different for anything else; it tells nobody."""
    base = {"id": "8a25ff1d98", "email": "ada@example.com"}

    def dedupe(body: bytes, at: datetime = NOW) -> str:
        return idle().receive(signed(body, at=at)).events[0].dedupe

    first = dedupe(form("profile", **base))
    assert dedupe(form("profile", **base), at=NOW + timedelta(seconds=60)) == first
    others = [
        form("subscribe", **base),
        form("profile", **{**base, "email": "eve@example.com"}),
        form("profile", **{**base, "id": "another"}),
        form("profile", fired_at="2026-08-13 10:15:01", **base),
        form("profile", **{**base, "merges][CITY": "Bonn"}),  # another edit, in the same second
        form("upemail", new_email="a@b.c", old_email="ada@example.com", new_id="1"),
        form("upemail", new_email="a@b.c", old_email="eve@example.com", new_id="1"),
    ]
    keys = {dedupe(body) for body in others} | {first}
    assert len(keys) == len(others) + 1
    assert not any("ada" in key for key in keys)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"api_key": "abc-us21"}, "https://us21.api.mailchimp.com/3.0"),
        ({"api_key": "abc"}, "https://api.mailchimp.com/3.0"),
        ({"api_key": "us21"}, "https://api.mailchimp.com/3.0"),
        ({"api_key": "abc-evil.example/"}, "https://api.mailchimp.com/3.0"),
        ({"api_key": "abc-us21", "base_url": "http://127.0.0.1:9"}, "http://127.0.0.1:9/3.0"),
        ({"api_key": "abc-us21", "base_url": "http://127.0.0.1:9/"}, "http://127.0.0.1:9/3.0"),
        ({"api_key": "abc-us21", "base_url": "http://127.0.0.1:9/3.0/"}, "http://127.0.0.1:9/3.0"),
    ],
)
def test_the_key_says_where_the_api_is(settings: dict[str, str], expected: str) -> None:
    """Data centre in the key, the global host without, and a base URL of one's own before both."""
    assert Mailchimp.base_url(settings) == expected


@pytest.mark.parametrize("settings", [{"new_member_status": "cleaned"}, {"list_id": ""}, {"api_key": ""}])
def test_wrong_settings_are_named(settings: dict[str, str]) -> None:
    """A connector with a wrong setting is not made."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        Mailchimp(
            {**SETTINGS, **settings}, Http(base_url="https://api.mailchimp.com", hosts=(), limits=Mailchimp.limits)
        )


def test_check_says_who_and_where(it: Mailchimp, api: FakeAudience) -> None:
    """One line with the account, the audience and its double opt-in; the key is not in it."""
    line = it.check()
    assert line == "Mailchimp account 'Ada Ltd' as owner; audience 'Customers', 3 subscribed, double opt-in on"
    assert KEY not in line + repr(it)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_member_is_read_flat(it: Mailchimp, api: FakeAudience) -> None:
    """Dotted names, tags by name, "" is no value, the contact id is the id."""
    home = {"addr1": "1 High St", "city": "Paris", "state": "", "zip": "75001"}
    contact = api.add("Ada@Example.com", FNAME="Ada", ADDRESS=home, AGE=0)
    api.tags[contact] = ["VIP", "Paris"]
    (record,) = it.read(Kind.CONTACT, [contact])
    assert (record.id, record.modified, record.archived) == (contact, NOW, False)
    wanted = {
        "email_address": "Ada@Example.com",
        "status": "subscribed",
        "merge_fields.FNAME": "Ada",
        "merge_fields.LNAME": None,
        "merge_fields.AGE": 0,
        "merge_fields.ADDRESS": home,
        "interests.9143cf3bd1": False,
        "stats.avg_open_rate": 0.5,
        "stats.avg_click_rate": 0,
        "language": None,
        "vip": False,
        "tags": ["VIP", "Paris"],
        "last_changed": iso(NOW),
    }
    assert {name: record.fields[name] for name in wanted} == wanted
    assert not {"merge_fields", "_links", "list_id", "tags_count"} & set(record.fields)


def test_reading_leaves_out_who_is_not_there(it: Mailchimp, api: FakeAudience) -> None:
    """Unknown ids are left out, an archived member is read as archived."""
    ada, eve = api.add("ada@example.com"), api.add("eve@example.com", "archived")
    found = it.read(Kind.CONTACT, [ada, "nobody", eve, ada])
    assert [(r.id, r.archived) for r in found] == [(ada, False), (eve, True)]


def test_a_wrong_audience_does_not_make_everybody_gone(wire: httpx.BaseTransport) -> None:
    """When nobody is found the audience itself is asked for."""
    with pytest.raises(NeedsHuman, match="audience"):
        connect(wire, list_id="wrong").read(Kind.CONTACT, ["c0001"])


def test_nobody_found_is_nobody(it: Mailchimp, api: FakeAudience) -> None:
    """An existing audience without these members answers with an empty list."""
    assert it.read(Kind.CONTACT, ["c0001"]) == []
    assert it.read(Kind.CONTACT, []) == []
    assert api.said() == [f"GET /lists/{LIST}/members/c0001", f"GET /lists/{LIST}"]


@pytest.mark.parametrize(
    "answer", [httpx.Response(404, text="<html>"), httpx.Response(404), httpx.Response(404, json=[])]
)
def test_a_404_of_somebody_else_is_no_word_about_a_member(answer: httpx.Response) -> None:
    """Without a problem document it is not Mailchimp that says so."""
    with pytest.raises(TryLater):
        connect(httpx.MockTransport(lambda _r: answer)).read(Kind.CONTACT, ["c0001"])


@pytest.mark.parametrize("key", ["email", "email_address"])
def test_find_by_address_goes_by_its_hash(it: Mailchimp, api: FakeAudience, key: str) -> None:
    """Case and blanks do not count; who is not there is left out; the address is in no URL."""
    ada = api.add("ada.lovelace@example.com")
    found = it.find(Kind.CONTACT, key, [" Ada.Lovelace@Example.com", "nobody@example.com", ""])
    assert [r.id for r in found] == [ada]
    assert f"GET /lists/{LIST}/members/2b9150605ac374d671a306b5fcee60a0" in api.said()  # the vendor's own vector
    assert not any("@" in said for said in api.said())


def test_find_by_id_and_nothing_else(it: Mailchimp, api: FakeAudience) -> None:
    """Mailchimp has no other unique key."""
    ada = api.add("ada@example.com")
    assert [r.id for r in it.find(Kind.CONTACT, "id", [ada])] == [ada]
    with pytest.raises(Refused, match="phone"):
        it.find(Kind.CONTACT, "phone", ["1"])


def test_all_tags_are_read(it: Mailchimp, api: FakeAudience) -> None:
    """A member shows fifty; with more of them the rest is asked for, everywhere."""
    ada = api.add("ada@example.com")
    api.tags[ada] = [f"t{n}" for n in range(51)]
    for records in (it.read(Kind.CONTACT, [ada]), it.changed(Kind.CONTACT, None).records):
        assert records[0].fields["tags"] == api.tags[ada]


def test_no_more_than_eight_calls_at_once(api: FakeAudience) -> None:
    """Mailchimp allows ten connections per user; two are left to others.  Eight do meet, and never a ninth."""
    ids = [api.add(f"p{n}@example.com") for n in range(48)]
    inside, most, lock = 0, 0, threading.Lock()
    eight = threading.Barrier(8, timeout=30)

    def enter(_request: httpx.Request) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        eight.wait()
        with lock:
            inside -= 1

    api.after = enter
    plain = connect(httpx.MockTransport(api))  # without the checker, which lets one through at a time
    assert len(plain.read(Kind.CONTACT, ids)) == 48
    assert most == 8


def test_urgent_calls_stay_urgent_in_threads(it: Mailchimp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Withdrawals may use the reserved part of the rate, from whichever thread they are sent."""
    urgent = ContextVar("urgent", default=False)
    seen: list[bool] = []
    monkeypatch.setattr(it._audience, "get", lambda _slot: seen.append(urgent.get()))
    monkeypatch.setattr(it._audience, "about", dict)
    urgent.set(True)
    it.read(Kind.CONTACT, ["a", "b", "c"])
    assert seen == [True] * 3


def test_describe_knows_merge_fields_and_interests(it: Mailchimp, api: FakeAudience) -> None:
    """The fixed fields, the audience's own with their choices, and its interests."""
    properties = it.describe(Kind.CONTACT).properties
    told = {name: (p.type, p.required, p.read_only, p.options) for name, p in properties.items()}
    assert told["merge_fields.FNAME"] == ("text", True, False, None)
    assert told["merge_fields.TIER"] == ("dropdown", False, False, ("Gold", "Iron"))
    assert told["interests.9143cf3bd1"] == ("boolean", False, False, None)
    assert told["email_address"] == ("email", True, False, None)
    assert told["last_changed"][2] is True
    assert told["status"][3] is not None
    assert "transactional" in told["status"][3]


# --- changes ----------------------------------------------------------------------------------------------------------


def walk(it: Mailchimp, cursor: str | None = None) -> tuple[list[Record], Page]:
    seen: list[Record] = []
    for _ in range(20):
        page = it.changed(Kind.CONTACT, cursor)
        seen += page.records
        cursor = page.cursor
        if not page.more:
            return seen, page
    pytest.fail("the walk does not end")


def windows(api: FakeAudience, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What each page was asked for."""
    asked: list[dict[str, str]] = []
    page = api.page

    def spy(query: Mapping[str, str]) -> httpx.Response:
        asked.append({k: v for k, v in query.items() if k in {"since_last_changed", "before_last_changed", "offset"}})
        return page(query)

    monkeypatch.setattr(api, "page", spy)
    return asked


def test_a_full_walk_has_no_since_and_a_fixed_end(
    it: Mailchimp, api: FakeAudience, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a page, many of them changed in the same second: each once, oldest first, by the vendor's clock."""
    asked = windows(api, monkeypatch)
    for n in range(2200):
        api.add(f"p{n}@example.com", changed=NOW - timedelta(days=400 if n < 700 else 3 if n < 1900 else 1))
    seen, last = walk(it)
    assert len(seen) == 2200
    assert len({r.id for r in seen}) == 2200
    times = [r.modified for r in seen if r.modified is not None]
    assert times == sorted(times)
    assert last.total == 2200
    assert asked == [
        {"offset": "0"},
        {"offset": "1000", "before_last_changed": iso(NOW)},
        {"offset": "2000", "before_last_changed": iso(NOW)},
    ]


def test_the_next_walk_looks_back_five_minutes(
    it: Mailchimp, api: FakeAudience, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the vendor's clock at the walk's first page, in whole seconds."""
    api.add("old@example.com", changed=NOW - timedelta(minutes=6))
    _, last = walk(it)
    asked = windows(api, monkeypatch)
    late = api.add("late@example.com", changed=NOW - timedelta(minutes=4))
    seen, last = walk(it, last.cursor)
    assert [r.id for r in seen] == [late]
    assert asked == [{"offset": "0", "since_last_changed": "2026-08-13T10:10:00+00:00"}]
    assert json.loads(last.cursor) == {"since": NOW.isoformat()}


def test_nobody_is_skipped_when_members_change_during_the_walk(it: Mailchimp, api: FakeAudience) -> None:
    """Who changes leaves the window, and the rest moves forward: the walk steps back by as many."""
    ids = [api.add(f"p{n}@example.com", changed=NOW - timedelta(days=1)) for n in range(2500)]
    pages = 0

    def edit(request: httpx.Request) -> None:
        nonlocal pages
        pages += 1
        for contact in ids[pages * 10 : pages * 10 + 5] if pages < 4 else ():
            api.members[contact]["last_changed"] = iso(NOW + timedelta(minutes=pages))

    api.after = edit
    seen, last = walk(it)
    api.after = lambda _request: None
    api.date = "Thu, 13 Aug 2026 10:30:00 GMT"
    more, _ = walk(it, last.cursor)
    assert {r.id for r in seen} | {r.id for r in more} == set(ids)
    assert len({r.id for r in more}) == 15


def test_a_page_does_not_depend_on_what_became_of_the_last(it: Mailchimp, api: FakeAudience) -> None:
    """The same cursor gives the same page."""
    for n in range(1500):
        api.add(f"p{n}@example.com", changed=NOW - timedelta(days=1))
    cursor = it.changed(Kind.CONTACT, None).cursor
    first, second = (it.changed(Kind.CONTACT, cursor) for _ in range(2))
    assert [r.id for r in first.records] == [r.id for r in second.records]
    assert first.cursor == second.cursor


def test_without_a_date_the_newest_change_is_the_clock(it: Mailchimp, api: FakeAudience) -> None:
    """A proxy may drop the Date header."""
    api.date = None
    for n in range(1001):
        api.add(f"p{n}@example.com", changed=NOW - timedelta(days=2, seconds=-n))
    seen, last = walk(it)
    assert len(seen) == 1001
    assert json.loads(last.cursor) == {"since": (NOW - timedelta(days=2, seconds=-1000)).isoformat()}


def test_an_empty_audience_is_a_complete_walk(it: Mailchimp) -> None:
    """No records, no more, and a cursor to go on from."""
    page = it.changed(Kind.CONTACT, None)
    assert (page.records, page.more, page.total) == ((), False, 0)
    assert not it.changed(Kind.CONTACT, page.cursor).more


def test_an_empty_page_ends_the_walk(it: Mailchimp, api: FakeAudience) -> None:
    """Whatever the total says: a walk that cannot go on must not go round."""
    api.trouble = lambda _request: httpx.Response(200, json={"members": [], "total_items": 5})
    assert not it.changed(Kind.CONTACT, None).more


def test_a_cursor_of_another_is_refused(it: Mailchimp) -> None:
    """Not taken for a fresh start."""
    for cursor in ("", "x", "[]", '{"offset": []}'):
        with pytest.raises(Refused, match="cursor"):
            it.changed(Kind.CONTACT, cursor)


# --- creating ---------------------------------------------------------------------------------------------------------


def test_creates_are_one_call_and_never_mailable_by_themselves(it: Mailchimp, api: FakeAudience) -> None:
    """Without a status of ours a member is transactional; what is empty or cleared is not sent."""
    orders = [
        create(f"P{n}@Example.com", f"k{n}", **{"merge_fields.FNAME": "Ada", "merge_fields.LNAME": None, "vip": True})
        for n in range(100)
    ]
    receipts = it.write(orders)
    assert [r.key for r in receipts] == [o.key for o in orders]
    assert all(isinstance(r, Done) for r in receipts)
    assert api.said() == [f"POST /lists/{LIST}"]
    body = api.calls[0][2]
    assert body["update_existing"] is False
    assert body["members"][0] == {
        "email_address": "P0@Example.com",
        "status": "transactional",
        "vip": True,
        "merge_fields": {"FNAME": "Ada"},
    }
    first = receipts[0]
    assert isinstance(first, Done)
    assert first.record is not None
    assert (first.id, first.modified, first.record.fields["merge_fields.FNAME"]) == ("c0001", NOW, "Ada")


@pytest.mark.parametrize(
    ("setting", "field", "expected"),
    [
        ("pending", None, "pending"),
        ("", None, "transactional"),
        ("subscribed", "unsubscribed", "unsubscribed"),
        ("", "subscribed", "subscribed"),
    ],
)
def test_the_status_of_a_new_member(
    wire: httpx.BaseTransport, api: FakeAudience, setting: str, field: str | None, expected: str
) -> None:
    """The order's own before the setting before the safe default."""
    order = create("ada@example.com", **({} if field is None else {"status": field}))
    connect(wire, new_member_status=setting).write([order])
    assert api.calls[0][2]["members"][0]["status"] == expected


def test_the_contact_id_is_read_back_where_the_answer_lacks_it(it: Mailchimp, api: FakeAudience) -> None:
    """The older contract's batch answer knows the hash only, which is never used as an id."""
    api.tells_contact_id = False
    receipts = it.write([create("ada@example.com", "a"), create("eve@example.com", "b")])
    assert [r.id for r in receipts if isinstance(r, Done)] == ["c0001", "c0002"]
    assert len(api.calls) == 3


def test_who_is_there_is_not_overwritten(it: Mailchimp, api: FakeAudience) -> None:
    """A create that meets a member says where to look, and the others are created."""
    ada = api.add("ada@example.com", FNAME="Old")
    receipts = it.write(
        [create("Ada@Example.com", "a", **{"merge_fields.FNAME": "New"}), create("eve@example.com", "b")]
    )
    assert receipts[0] == Exists("a", Ref("ada@example.com", "email"))
    assert isinstance(receipts[1], Done)
    assert api.members[ada]["merge_fields"]["FNAME"] == "Old"


def test_one_address_twice_in_a_batch(it: Mailchimp, api: FakeAudience) -> None:
    """Mailchimp would refuse the whole batch: the second goes in a batch of its own, and meets the first."""
    receipts = it.write(
        [create("ada@example.com", "a"), create("eve@example.com", "b"), create("ADA@example.com", "c")]
    )
    assert [outcome(r) for r in receipts] == ["done", "done", "exists"]
    assert [len(body["members"]) for _, _, body in api.calls] == [2, 1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (f"a@example.com {COMPLIANCE}", "compliance status"),
        (f"a@example.com {FORGOTTEN}", "forgotten email_address"),
        (f"a@example.com {LISTS}", "TryLater"),
        ("a@example.com looks fake or invalid, please enter a real email address.", "fake_address email_address"),
        ("Please provide a valid email address.", "invalid_address email_address"),
        (
            "The domain portion of the email address is invalid (the portion after the @)",
            "invalid_address email_address",
        ),
        ("Your merge fields were invalid.", "merge_field merge_fields.FNAME"),
        ("Invalid interest ID: 'abc'.", "interest merge_fields.FNAME"),
        ("Something new.", "refused merge_fields.FNAME"),
        ("error_contact_exists@example.com looks fake or invalid", "fake_address email_address"),
    ],
)
def test_each_refusal_of_a_new_member_has_its_next_step(
    it: Mailchimp, api: FakeAudience, error: str, expected: str
) -> None:
    """Partial failure: the text decides, the other member is created, and no address is in the reason."""
    api.errors["a@example.com"] = {"error": error, "error_code": "ERROR_GENERIC", "field": "FNAME"}
    fields = {"merge_fields.FNAME": "A"}
    bad, good = it.write([create("a@example.com", "a", **fields), create("b@example.com", "b", **fields)])
    assert outcome(bad) == expected
    assert isinstance(good, Done)
    assert isinstance(bad, Failed)
    assert "example.com" not in str(bad.problem)


def test_a_throttled_address_waits_for_hours(it: Mailchimp, api: FakeAudience) -> None:
    """It is the address that is throttled, not the connection: the next batch goes out."""
    api.errors["a@example.com"] = {"error": f"a@example.com {LISTS}", "error_code": "ERROR_GENERIC"}
    first, second = it.write([create("a@example.com", "a"), create("A@example.com", "b")])
    assert isinstance(first, Failed)
    assert isinstance(first.problem, TryLater)
    assert first.problem.after is not None
    assert first.problem.after >= timedelta(hours=1)
    assert outcome(second) == "TryLater"
    assert len(api.calls) == 2


def test_unknown_texts_are_told_without_a_persons_data(it: Mailchimp, api: FakeAudience) -> None:
    """Addresses, quoted values and numbers are masked."""
    text = "Value 'Secret' of a@example.com at +1 555 010 0199 is odd"
    api.errors["a@example.com"] = {"error": text, "error_code": "ERROR_GENERIC"}
    (receipt,) = it.write([create("a@example.com")])
    assert isinstance(receipt, Failed)
    assert str(receipt.problem) == "mailchimp: Value *** of *** at *** is odd"


def test_an_answer_that_spells_the_address_otherwise(it: Mailchimp, api: FakeAudience) -> None:
    """What the answer does not name is sent alone, where any word is about it."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.method != "POST":
            return None
        members = json.loads(request.content)["members"]
        error = {"email_address": '"odd"', "error": f"odd {FORGOTTEN}", "error_code": "ERROR_GENERIC"}
        new = [api.out(api.add(m["email_address"])) for m in members if not m["email_address"].startswith("o")]
        return httpx.Response(200, json={"new_members": new, "updated_members": [], "errors": [error]})

    api.trouble = answer
    receipts = it.write([create("o@example.com", "a"), create("b@example.com", "b")])
    assert [outcome(r) for r in receipts] == ["forgotten email_address", "done"]


def test_an_answer_without_a_word_about_a_member(it: Mailchimp, api: FakeAudience) -> None:
    """It is looked up before anything is sent again: here it was made, and is ours."""

    def forget(request: httpx.Request) -> httpx.Response | None:
        answer = api.answer(request)
        if request.method == "POST":
            told = json.loads(answer.content)
            return httpx.Response(200, json={**told, "new_members": told["new_members"][1:]})
        return answer

    api.trouble = forget
    receipts = it.write([create("a@example.com", "a"), create("b@example.com", "b")])
    assert [(r.key, r.id) for r in receipts if isinstance(r, Done)] == [("a", "c0001"), ("b", "c0002")]
    assert [method for method, _, _ in api.calls] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (None, "done"),
        ({"FNAME": "Ada"}, "done"),
        ({"FNAME": "Eve"}, "exists"),
        ({"FNAME": "Ada", "LNAME": "L"}, "done"),
    ],
)
def test_a_create_that_may_have_landed_is_looked_up_first(
    it: Mailchimp, api: FakeAudience, there: dict[str, str] | None, expected: str
) -> None:
    """Found as sent it is done, found otherwise it exists, not found it is created."""
    if there is not None:
        api.add("ada@example.com", "transactional", **there)
    (receipt,) = it.write([create("Ada@example.com", again=True, **{"merge_fields.FNAME": "Ada"})])
    assert outcome(receipt) == expected
    assert api.said()[0].startswith("GET")
    assert len(api.calls) == (2 if there is None else 1)
    if expected == "exists":
        assert receipt == Exists("k", Ref("c0001"))


def test_found_with_another_status_is_not_ours(it: Mailchimp, api: FakeAudience) -> None:
    """Somebody subscribed under this address meanwhile: look, do not claim it."""
    api.add("ada@example.com", "subscribed")
    assert outcome(it.write([create("ada@example.com", again=True)])[0]) == "exists"


def test_a_time_out_leaves_everything_open(it: Mailchimp, api: FakeAudience) -> None:
    """One call, no retry of our own, and the receipt says that it may have landed."""

    def drop(_request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    api.trouble = drop
    receipts = it.write([create("a@example.com", "a"), create("A@example.com", "b")])
    problems = [r.problem for r in receipts if isinstance(r, Failed)]
    assert [(type(p), getattr(p, "landed", None)) for p in problems] == [(TryLater, True)] * 2
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, json=[]), httpx.Response(200, json={"new_members": []}), httpx.Response(200, text="")],
)
def test_a_success_without_sense_may_have_landed(answer: httpx.Response) -> None:
    """The next try looks first."""
    (receipt,) = connect(httpx.MockTransport(lambda _r: answer)).write([create("a@example.com")])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, TryLater)
    assert receipt.problem.landed


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_that_gave_up_is_not_asked_again(it: Mailchimp, api: FakeAudience, status: int) -> None:
    """The call may go on behind it and hold a connection: no second try at once, not even for reading."""
    api.trouble = lambda _request: httpx.Response(status, text="<html>", headers={"retry-after": "7"})
    with pytest.raises(TryLater) as read:
        it.read(Kind.CONTACT, ["c0001"])
    (made,) = it.write([create("a@example.com")])
    assert isinstance(made, Failed)
    assert isinstance(made.problem, TryLater)
    assert (read.value.landed, made.problem.landed, made.problem.after) == (False, True, timedelta(seconds=7))
    assert len(api.calls) == 2


# --- updating ---------------------------------------------------------------------------------------------------------


def test_updates_are_one_call_without_a_status(it: Mailchimp, api: FakeAudience) -> None:
    """A hundred plain updates are one call, by the address we know, and say nothing about consent."""
    ids = [api.add(f"p{n}@example.com", "unsubscribed") for n in range(100)]
    receipts = it.write([update(c, f"p{n}@example.com", f"k{n}") for n, c in enumerate(ids)])
    assert [(type(r), r.id, r.modified) for r in receipts if isinstance(r, Done)] == [(Done, c, NOW) for c in ids]
    assert api.said() == [f"POST /lists/{LIST}"]
    body = api.calls[0][2]
    assert body["update_existing"] is True
    assert all(set(m) == {"email_address", "merge_fields"} for m in body["members"])
    assert {m["status"] for m in api.members.values()} == {"unsubscribed"}


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"merge_fields.FNAME": None}, {"merge_fields": {"FNAME": ""}}),
        ({"merge_fields.FNAME": ""}, {"merge_fields": {"FNAME": ""}}),
        ({"merge_fields.AGE": 0}, {"merge_fields": {"AGE": 0}}),
        ({"merge_fields.ADDRESS": None, "language": None}, {"merge_fields": {"ADDRESS": ""}, "language": ""}),
        ({"vip": None}, {"vip": False}),
        ({"vip": False}, {"vip": False}),
    ],
)
def test_cleared_is_sent_and_absent_is_not(
    it: Mailchimp, api: FakeAudience, fields: dict[str, Any], sent: dict[str, Any]
) -> None:
    """None clears, absent leaves, zero and false are values."""
    contact = api.add("ada@example.com", FNAME="Ada", LNAME="L")
    it.write([update(contact, "ada@example.com", fields=fields)])
    assert api.calls[0][2]["members"] == [{"email_address": "ada@example.com", **sent}]
    assert api.members[contact]["merge_fields"]["LNAME"] == "L"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"email_address": None}, "required email_address"),
        ({"email_address": " "}, "required email_address"),
        ({"status": None}, "required status"),
        ({"status": "transactional"}, "status status"),
        ({"status": "archived"}, "status status"),
        ({"last_changed": "x"}, "read_only last_changed"),
        ({"FNAME": "Ada"}, "unknown_field FNAME"),
        ({"interests.1": "yes"}, "invalid interests.1"),
        ({"marketing_permissions.1": 1}, "invalid marketing_permissions.1"),
        ({"marketing_permissions.": True}, "unknown_field marketing_permissions."),
        ({"tags": "vip"}, "invalid tags"),
    ],
)
def test_what_cannot_be_said_is_refused_without_a_call(
    it: Mailchimp, api: FakeAudience, fields: dict[str, Any], expected: str
) -> None:
    """The order is refused with its field, the others go out."""
    contact = api.add("ada@example.com")
    bad, good = it.write(
        [update(contact, "ada@example.com", "a", fields=fields), update(contact, "ada@example.com", "b")]
    )
    assert (outcome(bad), outcome(good)) == (expected, "done")
    assert len(api.calls) == 1


def test_an_address_is_needed_to_create(it: Mailchimp, api: FakeAudience) -> None:
    """No address, no call."""
    order = Order("k", Kind.CONTACT, Verb.CREATE, {"merge_fields.FNAME": "Ada"})
    assert outcome(it.write([order])[0]) == "required email_address"
    assert api.calls == []


@pytest.mark.parametrize("status", ["unsubscribed", "subscribed", "pending", "cleaned"])
def test_consent_travels_alone_and_by_id(it: Mailchimp, api: FakeAudience, status: str) -> None:
    """It reaches the person although the address is another by now, and can create nobody."""
    contact = api.add("new@example.com", "subscribed")
    receipt, gone = it.write(
        [
            update(contact, "old@example.com", "a", fields={"status": status}),
            update("c9999", "nobody@example.com", "b", fields={"status": status}),
        ]
    )
    assert (outcome(receipt), outcome(gone)) == ("done", "gone")
    assert api.members[contact]["status"] == status
    assert {m["email_address"] for m in api.members.values()} == {"new@example.com"}


def test_a_withdrawal_is_not_undone(it: Mailchimp, api: FakeAudience) -> None:
    """Mailchimp's refusal to subscribe again is final and named."""
    contact = api.add("ada@example.com", "unsubscribed")
    (receipt,) = it.write([update(contact, "ada@example.com", fields={"status": "subscribed"})])
    assert outcome(receipt) == "compliance status"


@pytest.mark.parametrize("known", ["old@example.com", None])
def test_an_address_changes_by_contact_id(it: Mailchimp, api: FakeAudience, known: str | None) -> None:
    """One member stays one member, with the rest of the order in the same call."""
    contact = api.add("old@example.com")
    order = update(contact, known, fields={"email_address": "New@example.com", "merge_fields.FNAME": "Ada"})
    (receipt,) = it.write([order])
    assert isinstance(receipt, Done)
    assert receipt.record is not None
    assert receipt.record.fields["email_address"] == "New@example.com"
    assert api.calls == [
        (
            "PATCH",
            f"/3.0/lists/{LIST}/members/{contact}",
            {"email_address": "New@example.com", "merge_fields": {"FNAME": "Ada"}},
        )
    ]
    assert [m["email_address"] for m in api.members.values()] == ["New@example.com"]


def test_a_change_to_anothers_address_is_a_conflict(it: Mailchimp, api: FakeAudience) -> None:
    """Two members cannot have one address."""
    contact = api.add("old@example.com")
    api.add("taken@example.com")
    (receipt,) = it.write([update(contact, "old@example.com", fields={"email_address": "taken@example.com"})])
    assert outcome(receipt) == "conflict email_address"


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([{"field": "LNAME", "message": "Bitte gib einen Wert ein."}], "refused LNAME: Bitte gib einen Wert ein."),
        (
            [{"field": "email address", "message": "'x@y.z' is odd"}],
            "refused email_address: *** is odd",
        ),
        ([{"field": "ADDRESS", "message": "Please enter a complete address"}], "merge_field merge_fields.ADDRESS"),
        ([], f"refused: {NOT_VALIDATED}".replace("'errors'", "***")),
    ],
)
def test_a_refused_update_names_field_and_reason(
    it: Mailchimp, api: FakeAudience, errors: list[dict[str, str]], expected: str
) -> None:
    """The narrowest text of the answer, in any language, and the field in our words."""
    api.trouble = lambda _request: problem(400, "Invalid Resource", NOT_VALIDATED, errors=errors)
    fields = {"email_address": "new@example.com", "merge_fields.ADDRESS": {"addr1": "1 High St"}}
    (receipt,) = it.write([update("c0001", "old@example.com", fields=fields)])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    said = str(receipt.problem).removeprefix("mailchimp: ")
    assert f"{outcome(receipt)}: {said}".startswith(expected)


def test_a_stale_address_finds_its_member_by_id(it: Mailchimp, api: FakeAudience) -> None:
    """The address was changed at Mailchimp: no second member is born, the update lands, a vanished one is gone."""
    moved = api.add("new@example.com")
    steady = api.add("eve@example.com")
    receipts = it.write(
        [
            update(moved, "old@example.com", "a"),
            update(steady, "eve@example.com", "b"),
            update("c9999", "gone@example.com", "c"),
        ]
    )
    assert [outcome(r) for r in receipts] == ["done", "done", "gone"]
    assert api.members[moved]["merge_fields"]["FNAME"] == "Ada"
    assert len(api.members) == 2


def test_an_unknown_address_is_no_obstacle(it: Mailchimp, api: FakeAudience) -> None:
    """Without an address to send in a batch the update goes by id."""
    contact = api.add("ada@example.com")
    assert outcome(it.write([update(contact, None)])[0]) == "done"
    assert api.said() == [f"PATCH /lists/{LIST}/members/{contact}"]


@pytest.mark.parametrize("error", [f"old@example.com {FORGOTTEN}", f"old@example.com {COMPLIANCE}", "Something new."])
def test_a_refused_address_is_no_word_about_the_member(it: Mailchimp, api: FakeAudience, error: str) -> None:
    """The old address may have been purged while the person goes on under another: the id decides."""
    contact = api.add("new@example.com")
    api.errors["old@example.com"] = {"error": error, "error_code": "ERROR_GENERIC"}
    receipts = it.write([update(contact, "old@example.com", "a"), update("c9999", "OLD@example.com", "b")])
    assert [outcome(r) for r in receipts] == ["done", "gone"]


def test_an_address_that_is_anothers_by_now(it: Mailchimp, api: FakeAudience) -> None:
    """The answer's contact id tells: ours is then written by id."""
    ours = api.add("new@example.com")
    api.add("old@example.com")
    (receipt,) = it.write([update(ours, "old@example.com")])
    assert isinstance(receipt, Done)
    assert receipt.id == ours
    assert api.members[ours]["merge_fields"]["FNAME"] == "Ada"


def test_a_member_that_an_update_made_is_put_away(it: Mailchimp, api: FakeAudience) -> None:
    """Should Mailchimp ever create a member without a status: it is archived at once and the order is gone."""
    api.resurrects = True
    (receipt,) = it.write([update("c9999", "ada@example.com")])
    assert outcome(receipt) == "gone"
    assert [m["status"] for m in api.members.values()] == ["archived"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [("Your merge fields were invalid.", "merge_field merge_fields.FNAME"), (f"a@example.com {LISTS}", "TryLater")],
)
def test_a_bad_value_in_an_update_is_not_sent_twice(
    it: Mailchimp, api: FakeAudience, error: str, expected: str
) -> None:
    """It is about the value, not about who it is."""
    contact = api.add("a@example.com")
    api.errors["a@example.com"] = {"error": error, "field": "FNAME", "error_code": "ERROR_GENERIC"}
    assert outcome(it.write([update(contact, "a@example.com")])[0]) == expected
    assert len(api.calls) == 1


def test_nothing_to_say_is_no_call(it: Mailchimp, api: FakeAudience) -> None:
    """An update without a field is done; the same address in other letters is no change of it."""
    contact = api.add("ada@example.com")
    receipts = it.write(
        [
            update(contact, "ada@example.com", "a", fields={}),
            update(contact, "ada@example.com", "b", fields={"email_address": "ADA@example.com"}),
        ]
    )
    assert [outcome(r) for r in receipts] == ["done", "done"]
    assert api.calls == []


# --- a batch that is refused as a whole -------------------------------------------------------------------------------


def refuse(api: FakeAudience, bad: set[str], *, named: bool = False) -> None:
    """Batches with these addresses are refused with 400, as a schema error is."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.method != "POST":
            return None
        members = json.loads(request.content)["members"]
        at = [n for n, m in enumerate(members) if m["email_address"] in bad]
        errors = [{"field": f"members.item:{n}.merge_fields", "message": "Data presented is odd"} for n in at]
        return problem(400, "Invalid Resource", NOT_VALIDATED, errors=errors if named else []) if at else None

    api.trouble = answer


@pytest.mark.parametrize(("named", "calls"), [(True, 2), (False, 13)])
def test_a_bad_member_is_isolated(it: Mailchimp, api: FakeAudience, named: bool, calls: int) -> None:
    """By its place where the answer names it, else by halves; the others are written."""
    refuse(api, {"p37@example.com"}, named=named)
    receipts = it.write([create(f"p{n}@example.com", f"k{n}") for n in range(64)])
    assert [r.key for r in receipts if not isinstance(r, Done)] == ["k37"]
    assert outcome(receipts[37]) == ("refused merge_fields" if named else "refused")
    assert len(api.calls) == calls


def test_the_search_for_bad_members_ends(it: Mailchimp, api: FakeAudience) -> None:
    """With everything refused the calls are bounded, and who was not tried alone is not condemned."""
    refuse(api, {f"p{n}@example.com" for n in range(200)})
    receipts = it.write([create(f"p{n}@example.com", f"k{n}") for n in range(200)])
    assert len(api.calls) == SPLITS + 1
    assert {outcome(r) for r in receipts} == {"refused", "TryLater"}
    assert sum(outcome(r) == "refused" for r in receipts) < 32


def test_a_batch_too_large_is_cut(it: Mailchimp, api: FakeAudience) -> None:
    """A 413 is about the batch: halves are tried."""
    small = 3

    def answer(request: httpx.Request) -> httpx.Response | None:
        large = request.method == "POST" and len(json.loads(request.content)["members"]) > small
        return problem(413, "Request Entity Too Large", "too large") if large else None

    api.trouble = answer
    receipts = it.write([create(f"p{n}@example.com", f"k{n}") for n in range(8)])
    assert {outcome(r) for r in receipts} == {"done"}


# --- tags -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "known", "before", "after"),
    [
        (["a", "b"], {"tags": ["b", "c"]}, ["b", "c", "theirs"], ["a", "b", "theirs"]),
        (None, {"tags": ["b", "c"]}, ["b", "c", "theirs"], ["theirs"]),
        ([], {"tags": ["b"]}, ["b"], []),
        (["a"], {}, ["b"], ["a", "b"]),
        (["b"], {"tags": ["b"]}, ["b"], ["b"]),
    ],
)
def test_tags_become_what_we_say(
    it: Mailchimp, api: FakeAudience, wanted: Any, known: dict[str, Any], before: list[str], after: list[str]
) -> None:
    """Ours are added, those we knew of and no longer want are taken away, those of others stay."""
    contact = api.add("ada@example.com")
    api.tags[contact] = before
    (receipt,) = it.write([update(contact, "ada@example.com", fields={"tags": wanted}, known=known)])
    assert outcome(receipt) == "done"
    assert sorted(api.tags[contact]) == after
    assert len(api.calls) == (0 if before == after else 1)


def test_tags_come_after_the_member(it: Mailchimp, api: FakeAudience) -> None:
    """For a new member, and for an update whose record shows what is there now."""
    old = api.add("eve@example.com")
    api.tags[old] = ["x", "theirs"]
    fields = {"tags": ["a"], "merge_fields.FNAME": "Eve"}
    made, changed = it.write(
        [
            create("ada@example.com", "a", tags=["vip"]),
            update(old, "eve@example.com", "b", fields=fields, known={"tags": ["x"]}),
        ]
    )
    assert isinstance(made, Done)
    assert api.tags[made.id] == ["vip"]
    assert isinstance(changed, Done)
    assert changed.record is not None
    assert changed.record.fields["tags"] == ["theirs", "a"] == api.tags[old]


def test_a_part_of_the_tags_is_not_told_as_all(it: Mailchimp, api: FakeAudience) -> None:
    """A write's answer shows fifty: with more of them, nothing is said about tags."""
    contact = api.add("ada@example.com")
    api.tags[contact] = [f"t{n}" for n in range(51)]
    (receipt,) = it.write([update(contact, "ada@example.com")])
    assert isinstance(receipt, Done)
    assert receipt.record is not None
    assert "tags" not in receipt.record.fields


def test_tags_find_a_member_whose_address_changed(it: Mailchimp, api: FakeAudience) -> None:
    """The endpoint goes by address: a stale one is looked up by id, and who is not there is gone."""
    moved = api.add("new@example.com")
    receipts = it.write(
        [
            update(moved, "old@example.com", "a", fields={"tags": ["vip"]}),
            update("c9999", "gone@example.com", "b", fields={"tags": ["vip"]}),
            update(moved, None, "c", fields={"tags": ["late"]}),
        ]
    )
    assert [outcome(r) for r in receipts] == ["done", "gone", "done"]
    assert sorted(api.tags[moved]) == ["late", "vip"]


def test_tags_that_do_not_land_are_not_done(it: Mailchimp, api: FakeAudience) -> None:
    """The member was written, the order was not finished: it comes again."""
    api.trouble = lambda r: httpx.Response(503) if r.url.path.endswith("/tags") else None
    (receipt,) = it.write([create("ada@example.com", tags=["vip"])])
    assert outcome(receipt) == "TryLater"


# --- archiving --------------------------------------------------------------------------------------------------------


def test_archiving(it: Mailchimp, api: FakeAudience) -> None:
    """204 is done; nobody of that id (404), and who is archived already (405), are gone."""
    contact, away = api.add("ada@example.com"), api.add("eve@example.com", "archived")
    orders = [Order(c, Kind.CONTACT, Verb.ARCHIVE, {}, id=c) for c in (contact, "nobody", away)]
    assert [outcome(r) for r in it.write(orders)] == ["done", "gone", "gone"]
    assert api.members[contact]["status"] == "archived"


# --- what the connection is told --------------------------------------------------------------------------------------

ANSWERS = [
    (httpx.Response(403), TryLater),
    (httpx.Response(403, text="<html>Forbidden</html>"), TryLater),
    (problem(403, "Forbidden", "no"), NeedsHuman),
    (problem(403, "User Disabled", "no"), NeedsHuman),
    (problem(401, "API Key Invalid", "no"), NeedsHuman),
    (httpx.Response(429), TryLater),
    (problem(429, "Too Many Requests", "You have exceeded the limit of 10 simultaneous connections."), TryLater),
    (problem(500, "Internal Server Error", "no"), TryLater),
    (httpx.Response(502, text="<html>Bad gateway</html>"), TryLater),
    (httpx.Response(200, text="<html>Login</html>"), TryLater),
    (httpx.Response(200, json=[]), TryLater),
]


@pytest.mark.parametrize(("answer", "expected"), ANSWERS)
def test_each_answer_leads_to_one_next_step(answer: httpx.Response, expected: type[Exception]) -> None:
    """The same for reading, walking, finding, describing and checking."""
    for call in (
        lambda it: it.read(Kind.CONTACT, ["c1"]),
        lambda it: it.changed(Kind.CONTACT, None),
        lambda it: it.find(Kind.CONTACT, "email", ["a@b.c"]),
        lambda it: it.describe(Kind.CONTACT),
        lambda it: it.check(),
    ):
        with pytest.raises(expected):
            call(connect(httpx.MockTransport(lambda _r: answer)))


@pytest.mark.parametrize(("answer", "expected"), ANSWERS)
def test_each_answer_to_a_write_is_a_receipt(answer: httpx.Response, expected: type[Exception]) -> None:
    """One receipt per order in their order, whatever happened; a problem of the connection ends the run."""
    calls: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        return answer

    orders = [
        create("a@example.com", "a"),
        update("c1", "b@example.com", "b"),
        update("c2", "c@example.com", "c", fields={"status": "unsubscribed"}),
        Order("d", Kind.CONTACT, Verb.ARCHIVE, {}, id="c3"),
        create("d@example.com", "e", again=True),
    ]
    receipts = connect(httpx.MockTransport(respond)).write(orders)
    assert [r.key for r in receipts] == ["a", "b", "c", "d", "e"]
    if answer.status_code != 200:
        assert {type(r.problem) for r in receipts if isinstance(r, Failed)} == {expected}
        assert len(calls) == 1
    assert not any(isinstance(r, Done) for r in receipts)


def test_secrets_are_in_no_url_and_no_error(it: Mailchimp, api: FakeAudience) -> None:
    """The key travels in a header."""
    seen: list[httpx.Request] = []
    api.after = seen.append
    api.add("ada@example.com")
    it.find(Kind.CONTACT, "email", ["ada@example.com"])
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(seen[0].url)


# --- the specification ------------------------------------------------------------------------------------------------


def test_the_specification_was_met(it: Mailchimp, api: FakeAudience) -> None:
    """Guards the guard: the other tests ran behind the vendor's own contract, and each endpoint is in it."""
    load("mailchimp", *SPECS)  # skips where there is none
    checked = checker()
    assert checked is not None
    checked.seen.clear()
    contact = api.add("ada@example.com")
    api.tags[contact] = [f"t{n}" for n in range(51)]
    it.check()
    it.describe(Kind.CONTACT)
    it.read(Kind.CONTACT, [contact])
    it.changed(Kind.CONTACT, json.dumps({"since": NOW.isoformat(), "before": NOW.isoformat()}))
    it.write(
        [
            create("eve@example.com", "a", tags=["vip"]),
            update(contact, "ada@example.com", "b"),
            update(contact, "ada@example.com", "c", fields={"email_address": "ada@new.com"}),
            Order("d", Kind.CONTACT, Verb.ARCHIVE, {}, id=contact),
        ]
    )
    assert set(checked.seen) == {
        "GET /",
        "GET /lists/{list_id}",
        "POST /lists/{list_id}",
        "GET /lists/{list_id}/merge-fields",
        "GET /lists/{list_id}/interest-categories",
        "GET /lists/{list_id}/interest-categories/{interest_category_id}/interests",
        "GET /lists/{list_id}/members",
        "GET /lists/{list_id}/members/{subscriber_hash}",
        "PATCH /lists/{list_id}/members/{subscriber_hash}",
        "DELETE /lists/{list_id}/members/{subscriber_hash}",
        "GET /lists/{list_id}/members/{subscriber_hash}/tags",
        "POST /lists/{list_id}/members/{subscriber_hash}/tags",
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "complaint"),
    [
        ("POST", f"/lists/{LIST}", {"members": [{"email": "a@b.c"}]}, "email"),
        ("POST", f"/lists/{LIST}", {"update_existing": True}, "members"),
        ("POST", f"/lists/{LIST}", {"members": [{"status": "asleep"}]}, "asleep"),
        ("GET", f"/lists/{LIST}/members?cuont=1", None, "cuont"),
        ("GET", f"/lists/{LIST}/members?count=x", None, "count"),
        ("PUT", f"/lists/{LIST}", {}, "not in the specification"),
        ("GET", "/nothing", None, "not in the specification"),
        ("DELETE", f"/lists/{LIST}/members/x", {"a": 1}, "takes no body"),
    ],
)
def test_the_checker_finds_what_is_wrong(method: str, path: str, body: Any, complaint: str) -> None:
    """A checker that lets everything pass is worse than none."""
    checked = SpecCheck(load("mailchimp", *SPECS), httpx.MockTransport(lambda _r: httpx.Response(204)))
    request = httpx.Request(
        method,
        f"https://us21.api.mailchimp.com/3.0{path}",
        headers={"authorization": "x"},
        **({} if body is None else {"json": body}),
    )
    with pytest.raises(AssertionError, match=complaint):
        checked.handle_request(request)


def test_the_checker_judges_answers_and_credentials() -> None:
    """A wrong type in an answer, and a request without a key."""
    document = load("mailchimp", *SPECS)
    wrong = httpx.MockTransport(lambda _r: httpx.Response(200, json={"total_items": "many"}))
    request = httpx.Request("GET", f"https://x/3.0/lists/{LIST}/members", headers={"authorization": "x"})
    with pytest.raises(AssertionError, match="answer to"):
        SpecCheck(document, wrong).handle_request(request)
    with pytest.raises(AssertionError, match="authorization"):
        SpecCheck(document, wrong).handle_request(httpx.Request("GET", f"https://x/3.0/lists/{LIST}/members"))
