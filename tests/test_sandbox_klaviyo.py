"""Klaviyo's simulator: its rules, as Klaviyo's document and guides have them."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.klaviyo import KlaviyoSim, fill
from sandbox.klaviyo_account import DOUBLE, KEY, SINGLE
from sandbox.klaviyo_limits import Windows
from sandbox.people import people
from sandbox.serve import Sandbox
from tests.examples.klaviyo import FakeKlaviyo
from tests.sandboxed import PATIENCE, PLAIN, Receiver

HEADERS = {
    "authorization": f"Klaviyo-API-Key {KEY}",
    "revision": "2026-07-15",
    "content-type": "application/vnd.api+json",
}


@pytest.fixture
def api() -> FakeKlaviyo:
    return FakeKlaviyo()


def call(api: FakeKlaviyo, method: str, path: str, body: Any = None, **headers: str | None) -> httpx.Response:
    given = {k: v for k, v in {**HEADERS, **{n.replace("_", "-"): v for n, v in headers.items()}}.items() if v}
    content = {} if body is None else {"content": json.dumps(body).encode()}
    return api(httpx.Request(method, f"https://a.klaviyo.com{path}", headers=given, **content))


def job(kind: str, *rows: dict[str, Any], list_id: str | None = None, **more: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"type": kind, "attributes": {"profiles": {"data": list(rows)}, **more}}
    if list_id is not None:
        data["relationships"] = {"list": {"data": {"type": "list", "id": list_id}}}
    return {"data": data}


def asked(email: str, consent: str, channel: str = "email", **more: Any) -> dict[str, Any]:
    subscriptions = {channel: {"marketing": {"consent": consent, **more}}}
    return {"type": "profile", "attributes": {"email": email, "subscriptions": subscriptions}}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"authorization": None}, 401, "not_authenticated"),
        ({"authorization": "Bearer x"}, 401, "not_authenticated"),
        ({"revision": None}, 400, "invalid"),
        ({"revision": "2022-10-17"}, 410, "gone"),
        ({"content_type": "text/plain"}, 415, "unsupported_media_type"),
        ({}, 400, "invalid"),
    ],
)
def test_what_every_call_needs(api: FakeKlaviyo, headers: dict[str, str | None], status: int, code: str) -> None:
    """Key, revision, content type; an error document says which of them is wrong."""
    answer = call(api, "POST", "/api/profiles", {"data": {"type": "profile", "attributes": {}}}, **headers)
    assert answer.status_code == status
    (error,) = answer.json()["errors"]
    assert (error["code"], error["status"]) == (code, status)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ('filter=any(email,["p0@a.example","P1@a.example"])', 2),
        ('filter=equals(email,"p0@a.example")', 1),
        ("filter=greater-than(updated,2026-08-13T10:15:00Z)", 0),
        ("filter=less-than(updated,2026-08-13T10:15:01Z),greater-than(created,2026-08-13T10:14:59Z)", 3),
        ("filter=and(less-than(updated,2026-08-13T10:15:01Z),greater-than(created,2026-08-13T10:14:59Z))", 3),
        ("filter=greater-or-equal(updated,2026-08-13T10:15:00Z)", None),
        ("filter=greater-than(updated,2026-08-13T10:15:00%2B00:00)", None),
        ('filter=equals(first_name,"Ada")', None),
        ("filter=any(email,p0)", None),
        ("filter=nonsense", None),
        ("sort=first_name", None),
        ("page[size]=0", None),
        ("page[size]=101", None),
        ("page[cursor]=x", None),
    ],
)
def test_lists(api: FakeKlaviyo, query: str, count: int | None) -> None:
    """Filters and orders that the document lists, and no others."""
    for n in range(3):
        api.add(email=f"p{n}@a.example")
    answer = call(api, "GET", f"/api/profiles?{query}")
    if count is None:
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["source"]["parameter"]
    else:
        assert len(answer.json()["data"]) == count


def test_pages_lead_to_the_end(api: FakeKlaviyo) -> None:
    """``links.next`` is a whole URL, null at the end; subscriptions come on request."""
    ids = {api.add(email=f"p{n}@a.example") for n in range(7)}
    url, seen = "/api/profiles?page[size]=3&sort=id", []
    while url is not None:
        page = call(api, "GET", url.removeprefix("https://a.klaviyo.com")).json()
        assert all("subscriptions" not in row["attributes"] for row in page["data"])
        seen += [row["id"] for row in page["data"]]
        url = page["links"]["next"]
    assert seen == sorted(ids)


def test_identifiers_belong_to_one_profile(api: FakeKlaviyo) -> None:
    """A second one is 409 with the id of the first; addresses are kept in lower case."""
    id_ = api.add(email="Ada@A.example", phone_number="+4915112345678")
    for about in ({"email": "ADA@a.example"}, {"email": "b@a.example", "phone_number": "+4915112345678"}):
        answer = call(api, "POST", "/api/profiles", {"data": {"type": "profile", "attributes": about}})
        assert answer.status_code == 409
        assert answer.json()["errors"][0]["meta"] == {"duplicate_profile_id": id_}
    shown = call(api, "GET", f"/api/profiles/{id_}").json()["data"]["attributes"]
    assert shown["email"] == "ada@a.example"
    body = {"data": {"type": "profile", "attributes": {"email": "ada@a.example", "first_name": "Ada"}}}
    assert call(api, "POST", "/api/profile-import", body).status_code == 200
    assert api.people.find(id_).about["first_name"] == "Ada"


@pytest.mark.parametrize(
    ("list_id", "more", "consent"),
    [
        (SINGLE, {}, "SUBSCRIBED"),
        (DOUBLE, {}, "NEVER_SUBSCRIBED"),
        (None, {}, "NEVER_SUBSCRIBED"),
        (DOUBLE, {"historical_import": True}, "SUBSCRIBED"),
    ],
)
def test_what_a_list_asks(api: FakeKlaviyo, list_id: str | None, more: dict[str, Any], consent: str) -> None:
    """Double opt-in changes nothing until the person confirms; an import of old consent does."""
    id_ = api.add(email="ada@a.example")
    at = {"consented_at": "2020-01-01T00:00:00Z"} if more else {}
    body = job("profile-subscription-bulk-create-job", asked("ada@a.example", "SUBSCRIBED", **at), **more)
    if list_id is not None:
        body["data"]["relationships"] = {"list": {"data": {"type": "list", "id": list_id}}}
    answer = call(api, "POST", "/api/profile-subscription-bulk-create-jobs", body)
    assert (answer.status_code, answer.content) == (202, b"")
    assert api.people.find(id_).email_consent == consent


def test_what_a_subscription_lifts(api: FakeKlaviyo) -> None:
    """An objection, a complaint and a suppression by hand; never a bounce."""
    found = api.people.find(api.add(email="ada@a.example"))
    for reason in ("UNSUBSCRIBE", "SPAM_COMPLAINT", "USER_SUPPRESSED", "HARD_BOUNCE"):
        api.people.suppress(found, reason)
    row = asked("ada@a.example", "SUBSCRIBED")
    body = job("profile-subscription-bulk-create-job", row, list_id=SINGLE)
    call(api, "POST", "/api/profile-subscription-bulk-create-jobs", body)
    assert set(found.suppressed) == {"HARD_BOUNCE"}
    assert SINGLE in found.lists


def test_unsubscribing_from_a_list_that_somebody_is_not_on(api: FakeKlaviyo) -> None:
    """Takes them off everything; whoever is on it leaves only that."""
    on, off = (api.people.find(api.add(email=f"{name}@a.example")) for name in ("on", "off"))
    on.lists[SINGLE] = 0.0
    rows = [asked(f"{name}@a.example", "UNSUBSCRIBED") for name in ("on", "off")]
    body = job("profile-subscription-bulk-delete-job", *rows, list_id=SINGLE)
    assert call(api, "POST", "/api/profile-subscription-bulk-delete-jobs", body).status_code == 202
    assert (on.email_consent, set(on.list_suppressed)) == ("NEVER_SUBSCRIBED", {SINGLE})
    assert (off.email_consent, set(off.suppressed)) == ("UNSUBSCRIBED", {"UNSUBSCRIBE"})


def test_a_job_can_be_asked_how_it_went(api: FakeKlaviyo) -> None:
    """Queued, then complete, with counts; lifting takes only what was suppressed by hand."""
    found = api.people.find(api.add(email="ada@a.example"))
    api.held = []
    row = {"type": "profile", "attributes": {"email": "ada@a.example"}}
    made = call(
        api, "POST", "/api/profile-suppression-bulk-create-jobs", job("profile-suppression-bulk-create-job", row)
    ).json()["data"]
    assert made["attributes"]["status"] == "queued"
    api.held.pop()()
    told = call(api, "GET", f"/api/profile-suppression-bulk-create-jobs/{made['id']}").json()["data"]["attributes"]
    assert (told["status"], told["completed_count"]) == ("complete", 1)
    api.people.suppress(found, "HARD_BOUNCE")
    lifted = job("profile-suppression-bulk-delete-job", row)
    call(api, "POST", "/api/profile-suppression-bulk-delete-jobs", lifted)
    api.held.pop()()
    assert set(found.suppressed) == {"HARD_BOUNCE"}
    assert call(api, "GET", f"/api/profile-bulk-import-jobs/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("kind", "rows", "more"),
    [
        ("profile-subscription-bulk-delete-job", [asked("a@a.example", "SUBSCRIBED")], {}),
        ("profile-subscription-bulk-delete-job", [asked(f"p{n}@a.example", "UNSUBSCRIBED") for n in range(101)], {}),
        ("profile-subscription-bulk-delete-job", [asked("a@a.example", "UNSUBSCRIBED", "sms")], {}),
        ("profile-subscription-bulk-create-job", [asked("a@a.example", "SUBSCRIBED", consented_at="2020")], {}),
        ("profile-subscription-bulk-create-job", [asked("a@a.example", "SUBSCRIBED")], {"historical_import": True}),
        ("profile-suppression-bulk-create-job", [{"type": "profile", "attributes": {}}], {}),
        ("profile-bulk-import-job", [], {}),
    ],
)
def test_jobs_that_are_refused(api: FakeKlaviyo, kind: str, rows: list[Any], more: dict[str, Any]) -> None:
    """400, and nothing happens."""
    assert call(api, "POST", f"/api/{kind}s", job(kind, *rows, **more)).status_code == 400
    assert not api.people.profiles


def test_a_merge_and_a_deletion_leave_nobody_behind(api: FakeKlaviyo) -> None:
    """The source fills the gaps of the destination and is no more; a deletion wants exactly one identifier."""
    into, what = api.add(email="a@a.example"), api.add(email="b@a.example", first_name="Bea")
    related = {"profiles": {"data": [{"type": "profile", "id": what}]}}
    body = {"data": {"type": "profile-merge", "id": into, "relationships": related}}
    assert call(api, "POST", "/api/profile-merge", body).status_code == 201
    assert (call(api, "GET", f"/api/profiles/{what}").status_code, api.people.find(into).about["first_name"]) == (
        404,
        "Bea",
    )
    for about, status in (({"email": "a@a.example", "phone_number": "+49151"}, 400), ({"email": "a@a.example"}, 202)):
        profile = {"data": {"type": "profile", "attributes": about}}
        data = {"type": "data-privacy-deletion-job", "attributes": {"profile": profile}}
        assert call(api, "POST", "/api/data-privacy-deletion-jobs", {"data": data}).status_code == status
    assert not api.people.profiles


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_webhooks_are_signed_and_tried_again(receiver: Receiver) -> None:
    """Made over the API, told of what a person does, signed over body and time, sent again after a 500."""
    receiver.answers = [500]
    with (
        Sandbox(klaviyo=(sim := KlaviyoSim(retry_span=0.2))) as sandbox,
        httpx.Client(base_url=sandbox.url("klaviyo"), headers=HEADERS, timeout=PATIENCE, verify=PLAIN) as client,
    ):
        topic = "event:klaviyo.unsubscribed_from_email_marketing"
        data = {
            "type": "webhook",
            "attributes": {"name": "t", "endpoint_url": f"{receiver.url}/klaviyo", "secret_key": "s" * 16},
            "relationships": {"webhook-topics": {"data": [{"type": "webhook-topic", "id": topic}]}},
        }
        made = client.post("/api/webhooks", json={"data": data})
        assert made.status_code == 201, made.text
        profile = sandbox.call(lambda: sim.edit({"action": "create", "fields": {"email": "ada@a.example"}}))
        sandbox.call(lambda: sim.edit({"action": "subscribe", "id": profile["id"]}))
        sandbox.call(lambda: sim.edit({"action": "unsubscribe", "id": profile["id"]}))
        receiver.take()
        taken = receiver.take()
        moment = taken.headers["klaviyo-timestamp"]
        proof = hmac.new(b"s" * 16, taken.body + moment.encode(), hashlib.sha256).hexdigest()
        assert taken.headers["klaviyo-signature"] == proof
        (event,) = json.loads(taken.body)["data"]
        assert event["topic"] == topic
        assert event["payload"]["data"]["relationships"]["profile"]["data"]["id"] == profile["id"]
        assert client.delete(f"/api/webhooks/{made.json()['data']['id']}").status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "fits"),
    [
        ("GET", "/api/accounts", 1),
        ("POST", "/api/data-privacy-deletion-jobs", 3),
        ("POST", "/api/profile-merge", 10),
        ("PATCH", "/api/profiles/P1", 75),
    ],
)
def test_each_endpoint_has_windows_of_its_own(method: str, path: str, fits: int) -> None:
    """A second and a minute, counted for themselves; full ones say how long to stay away."""
    windows = Windows()
    assert [windows.take(method, path, 600.0) for _ in range(fits + 1)] == [*[0] * fits, 1]
    assert windows.take("DELETE", path, 600.0) == 0
    assert windows.take(method, path, 601.0) == 0


def test_the_minute_counts_too() -> None:
    """The sixteenth call of a minute waits for the next, however far apart they were."""
    windows = Windows()
    assert [windows.take("GET", "/api/accounts", 600.0 + n) for n in range(16)] == [*[0] * 15, 45]
    assert windows.take("GET", "/api/accounts", 660.0) == 0


def test_limits_are_kept_to_on_request() -> None:
    """429 with the seconds to wait, in the document that errors have."""
    with (
        Sandbox(klaviyo=KlaviyoSim(limits=True, clock=lambda: 600.0)) as sandbox,
        httpx.Client(base_url=sandbox.url("klaviyo"), headers=HEADERS, timeout=PATIENCE, verify=PLAIN) as client,
    ):
        first, second = client.get("/api/accounts"), client.get("/api/accounts")
        assert (first.status_code, second.status_code, second.headers["retry-after"]) == (200, 429, "1")
        assert second.json()["errors"][0]["code"] == "throttled"


def test_a_crowd_is_there_at_once() -> None:
    """Filled with people of whom some are subscribed and some have left."""
    sim = KlaviyoSim()
    fill(sim, [own for _, own in people(60, 1) if own is not None])
    consents = {p.email_consent for p in sim.account.people.profiles.values()}
    assert consents == {"SUBSCRIBED", "NEVER_SUBSCRIBED", "UNSUBSCRIBED"}


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("filter=equals(metric_id,%22M%22)", 2),
        ("filter=and(equals(metric_id,%22M%22),greater-or-equal(datetime,2026-08-13T10:15:00Z))", 1),
        ("filter=equals(metric_id,%22none%22)", 0),
        ("", 3),
        ("page[size]=1000&sort=-timestamp&include=attributions,profile", 3),
        ("page[size]=1001", None),
        ("sort=uuid", None),
        ("include=campaign", None),
        ("filter=any(metric_id,[%22M%22])", None),
        ("filter=equals(name,%22Opened%20Email%22)", None),
    ],
)
def test_lists_of_events(api: FakeKlaviyo, query: str, count: int | None) -> None:
    """Filters and sizes as in Klaviyo's document; who is gone has none."""
    feed, now = api.account.feed, api.now.timestamp()
    ada, bea = api.add(email="ada@people.example"), api.add(email="bea@people.example")
    for who, metric, at in (
        (ada, "Opened Email", now),
        (ada, "Opened Email", now - 60),
        (ada, "x", now),
        (bea, "x", now),
    ):
        feed.did(metric, who, at, {}, campaign="C1")
    api.people.delete("id", bea)
    path = f"/api/events?{query}".replace("%22M%22", f"%22{feed.metrics['Opened Email']}%22")
    answer = call(api, "GET", path)
    assert answer.status_code == (400 if count is None else 200)
    if count is not None:
        assert len(answer.json()["data"]) == count
        assert len(answer.json().get("included", ())) == (3 if "include" in query else 0)


def test_events_that_programs_send(api: FakeKlaviyo) -> None:
    """Once per id, profile and metric; without an id once a second; whoever is unknown by address is made."""
    who = api.add(email="ada@people.example")

    def send(profile: dict[str, Any], **more: Any) -> int:
        about = {"properties": {}, "metric": {"data": {"type": "metric", "attributes": {"name": "Called"}}}, **more}
        data = {"type": "event", "attributes": {**about, "profile": {"data": {"type": "profile", **profile}}}}
        return call(api, "POST", "/api/events", {"data": data}).status_code

    known, new = {"id": who, "attributes": {}}, {"attributes": {"email": "new@people.example"}}
    sent = [
        send(known, unique_id="a"),
        send(known, unique_id="a"),
        send(known, unique_id="b"),
        send(known),
        send(known),
    ]
    assert [*sent, send(new), send({"id": "nobody", "attributes": {}})] == [202] * 7
    assert send({"attributes": {}}) == 400
    assert send(known, properties="none") == 400
    assert len(api.account.feed.events) == 4
    assert api.emails() == ["ada@people.example", "new@people.example"]
