"""Pipedrive's simulator over real sockets: what it answers, what it refuses, what it tells by webhook."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.control import BadEdit
from sandbox.people import people
from sandbox.pipedrive import PASSWORD, PipedriveSim, fill
from sandbox.pipedrive_api import KEYS
from sandbox.pipedrive_store import LEVEL, NICK, TOPICS
from sandbox.serve import Sandbox
from tests.sandboxed import PLAIN, Receiver


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[PipedriveSim, Sandbox]]:
    sim = PipedriveSim(retry_span=0.2, lag=0.0)
    with Sandbox(pipedrive=sim) as sandbox:
        yield sim, sandbox


@pytest.fixture
def sim(running: tuple[PipedriveSim, Sandbox]) -> PipedriveSim:
    sim, sandbox = running
    sandbox.call(sim.reset)
    sandbox.call(lambda: sim.deliver_to(None))
    return sim


@pytest.fixture
def api(sim: PipedriveSim, running: tuple[PipedriveSim, Sandbox]) -> Iterator[httpx.Client]:
    base = f"{running[1].url('pipedrive')}/api"
    with httpx.Client(base_url=base, headers={"x-api-token": sim.token}, verify=PLAIN) as client:
        yield client


def new(api: httpx.Client, name: str = "Ada Byron", **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = api.post("/v2/persons", json={"name": name, **fields}).raise_for_status().json()["data"]
    return found


MAIL = [{"value": "ada@one.example"}]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("POST", "/v2/persons", {}, 400, "name is a required field"),
        ("POST", "/v2/persons", {"name": "A", "first_name": "A"}, 400, "first_name"),
        ("POST", "/v2/persons", {"name": "A", "emails": ["a@b.example"]}, 400, "emails"),
        ("POST", "/v2/persons", {"name": "A", "job_title": "CTO"}, 403, "contact sync"),
        ("POST", "/v2/persons", {"name": "A", "org_id": 99}, 400, "org_id"),
        ("POST", "/v2/persons", {"name": "A", "custom_fields": {TOPICS: []}}, 400, TOPICS),
        ("POST", "/v2/persons", {"name": "A", "custom_fields": {LEVEL: "22"}}, 400, LEVEL),
        ("POST", "/v2/persons", {"name": "A", "custom_fields": {"f" * 40: 1}}, 400, "f" * 40),
        ("PATCH", "/v2/persons/999", {"name": "A"}, 404, "not found"),
        ("DELETE", "/v2/persons/999", None, 404, "not found"),
        ("GET", "/v2/persons?limit=501", None, 400, "limit"),
        ("GET", f"/v2/persons?ids={','.join(map(str, range(1, 102)))}", None, 400, "ids"),
        ("GET", f"/v2/persons?custom_fields={','.join(['a'] * (KEYS + 1))}", None, 400, "custom_fields"),
        ("GET", "/v2/persons?cursor=nonsense", None, 400, "cursor"),
        ("GET", "/v2/persons?updated_since=yesterday", None, 400, "updated_since"),
        ("GET", "/v2/persons/search?term=", None, 400, "term"),
        ("GET", "/v1/persons", None, 404, "Unknown method"),
        ("POST", "/v1/webhooks", {"subscription_url": "https://a.example"}, 400, "event_action"),
    ],
)
def test_what_it_refuses(api: httpx.Client, method: str, path: str, body: Any, status: int, word: str) -> None:
    """As an error is worded: success, error, data, additional_data."""
    new(api)
    answer = api.request(method, path, **({} if body is None else {"json": body}))
    said = answer.json()
    assert (answer.status_code, said["success"], said["data"]) == (status, False, None)
    assert word in said["error"]


def test_a_wrong_token_is_unauthorized(api: httpx.Client) -> None:
    """In the header only."""
    answer = api.get("/v1/users/me", headers={"x-api-token": "wrong"})
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized access")


def test_lists_go_on_behind_the_last_person(api: httpx.Client) -> None:
    """A cursor names the last one; who changes meanwhile pushes nobody over the border; removed ones are in no list."""
    ids = [new(api, f"P{n}")["id"] for n in range(5)]
    first = api.get("/v2/persons", params={"limit": 2}).json()
    assert [r["id"] for r in first["data"]] == ids[:2]
    api.delete(f"/v2/persons/{ids[0]}").raise_for_status()
    cursor = first["additional_data"]["next_cursor"]
    rest = api.get("/v2/persons", params={"limit": 9, "cursor": cursor}).json()
    assert ([r["id"] for r in rest["data"]], rest["additional_data"]["next_cursor"]) == (ids[2:], None)
    assert api.get("/v2/persons", params={"ids": f"{ids[0]},{ids[4]}"}).json()["data"][0]["id"] == ids[4]
    assert api.get(f"/v2/persons/{ids[0]}").json()["data"]["is_deleted"] is True


def test_the_marketing_status_changes_only_where_it_may(api: httpx.Client) -> None:
    """Not without an address, and never back from unsubscribed; each time the answer is 200."""
    bare = new(api, marketing_status="subscribed")
    assert bare["marketing_status"] == "no_consent"
    id_ = new(api, emails=MAIL, marketing_status="subscribed")["id"]
    for wanted, kept in (("unsubscribed", "unsubscribed"), ("subscribed", "unsubscribed")):
        answer = api.patch(f"/v2/persons/{id_}", json={"marketing_status": wanted})
        assert (answer.status_code, answer.json()["data"]["marketing_status"]) == (200, kept)
    assert "marketing_status" not in api.get("/v2/persons").json()["data"][0], "it comes only when asked for"


def test_a_search_shows_a_change_late(api: httpx.Client, sim: PipedriveSim) -> None:
    """Until the index has heard of it."""
    new(api, emails=MAIL)
    query = {"term": "ADA@one.example", "fields": "email", "exact_match": "true"}
    assert len(api.get("/v2/persons/search", params=query).json()["data"]["items"]) == 1
    sim.api._lag = 3600
    try:
        assert api.get("/v2/persons/search", params=query).json()["data"]["items"] == []
    finally:
        sim.api._lag = 0.0


def test_webhooks_tell_what_happened(api: httpx.Client, sim: PipedriveSim) -> None:
    """One event each, with user and password: what there is now, what changed, and both ends of a merge."""
    with contextlib.closing(Receiver()) as receiver:
        body = {"event_action": "*", "event_object": "person", "name": "T", "subscription_url": receiver.url}
        proof = {"http_auth_user": "tandem", "http_auth_password": PASSWORD}
        made = api.post("/v1/webhooks", json={**body, **proof}).raise_for_status().json()["data"]

        def told(count: int) -> list[dict[str, Any]]:
            got = [receiver.inbox.get(timeout=10) for _ in range(count)]
            wanted = "Basic " + base64.b64encode(f"tandem:{PASSWORD}".encode()).decode()
            assert {g.headers.get("authorization", g.headers.get("Authorization")) for g in got} == {wanted}
            return [json.loads(g.body) for g in got]

        first = new(api, emails=MAIL)["id"]
        (event,) = told(1)
        assert (event["meta"]["action"], event["previous"], event["data"]["id"]) == ("create", None, first)
        assert event["meta"]["entity_id"] == str(first)
        assert event["meta"]["change_source"] == "api"
        receiver.answers.append(500)
        api.patch(f"/v2/persons/{first}", json={"custom_fields": {NICK: "Countess", LEVEL: 22}})
        one, two = told(2)
        assert [e["meta"]["attempt"] for e in (one, two)] == [1, 2]
        assert one["meta"]["id"] == two["meta"]["id"]
        assert one["data"]["custom_fields"][LEVEL] == {"type": "enum", "id": 22}
        assert set(one["previous"]) == {"custom_fields"}
        assert set(one["previous"]["custom_fields"]) == {NICK, LEVEL}
        second = new(api)["id"]
        told(1)
        merged = api.put(f"/v1/persons/{second}/merge", json={"merge_with_id": first}).json()["data"]
        assert (merged["id"], merged["merge_what_id"]) == (first, second)
        both = {e["meta"]["action"]: e for e in told(2)}
        assert both["delete"]["meta"]["merged_to_id"] == str(first)
        assert (both["delete"]["data"], both["delete"]["previous"]["id"]) == (None, second)
        assert both["change"]["meta"]["merged_from_id"] == str(second)
        api.delete(f"/v1/webhooks/{made['id']}").raise_for_status()
        assert api.get("/v1/webhooks").json()["data"] == []


def test_limits_are_kept_on_request(api: httpx.Client, sim: PipedriveSim) -> None:
    """The burst, the day's budget, and the block page for who goes on after it."""
    sim._rate = 3
    try:
        statuses = [api.get("/v1/users/me").status_code for _ in range(5)]
    finally:
        sim._rate = None
    assert statuses[-1] == 429
    sim.left = 15
    try:
        assert api.get("/v2/persons").status_code == 200
        over = api.get("/v2/persons")
        assert (over.status_code, over.headers["x-daily-ratelimit-token-remaining"]) == (429, "0")
        last = [api.get("/v2/persons") for _ in range(10)][-1]
        assert (last.status_code, last.headers["content-type"].partition(";")[0]) == (403, "text/html")
    finally:
        sim.left = None


def test_people_of_the_sandbox(api: httpx.Client, sim: PipedriveSim, running: tuple[PipedriveSim, Sandbox]) -> None:
    """They come as if over the years, and a person's edit is told as one."""
    crowd = [crm for crm, _ in people(20, 1) if crm is not None]
    running[1].call(lambda: fill(sim, crowd))
    rows = api.get("/v2/persons", params={"limit": 500}).json()["data"]
    assert len(rows) == len(crowd)
    assert {e["value"] for r in rows for e in r["emails"]} == {p.email for p in crowd}
    with httpx.Client(base_url=running[1].url("pipedrive"), verify=PLAIN) as control:
        edit = {"id": rows[0]["id"], "fields": {"name": "New Name"}}
        assert control.post("/_sandbox/edit", json=edit).json()["name"] == "New Name"
        assert control.post("/_sandbox/edit", json={"action": "dance"}).status_code == 400


def test_a_person_makes_what_stands_around(sim: PipedriveSim, api: httpx.Client) -> None:
    """By the sandbox's own edits: made, changed, shown by the API; what makes no sense is refused."""
    made = sim.edit({"action": "put", "list": "deals", "fields": {"title": "Big", "status": "won"}})
    sim.edit({"action": "put", "list": "deals", "id": made["id"], "fields": {"is_archived": True}})
    assert api.get("/v2/deals").json()["data"] == []
    (deal,) = api.get("/v2/deals/archived").json()["data"]
    assert (deal["title"], deal["status"], deal["close_time"] is not None) == ("Big", "won", True)
    for wrong in ({"list": "leads"}, {"list": "deals", "id": "x"}, {"list": "deals", "fields": {"colour": 1}}):
        with pytest.raises(BadEdit):
            sim.edit({"action": "put", **wrong})
