"""Mailchimp's simulator over real sockets: what it answers, what it refuses, what it tells by webhook."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sandbox.mailchimp import MailchimpSim
from sandbox.mailchimp_events import sign as mailchimp_sign
from sandbox.serve import Sandbox
from tests import sandboxed as stage
from tests.sandboxed import Receiver, join, md5, settled

running, sandbox, mc, members, receiver = (
    stage.running,
    stage.sandbox,
    stage.mc,
    stage.members,
    stage.receiver,
)  # the fixtures

NEW = {"email_address": "new@example.com", "status": "subscribed"}
ARCHIVED = "archived@example.com"


# --- Mailchimp: the gate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "headers", "status", "title"),
    [
        (None, {}, 401, "API Key Missing"),
        (("x", "wrong"), {}, 401, "API Key Invalid"),
        (("x", "KEY"), {}, 200, None),
        (None, {"authorization": "Bearer KEY"}, 200, None),
        (("x", "KEY"), {"x-trigger-error": "Forbidden"}, 403, "Forbidden"),
        (("x", "KEY"), {"x-trigger-error": "APIKeyMissing"}, 401, "API Key Missing"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/3.0"])
def test_mailchimp_wants_its_key(
    sandbox: Sandbox, auth: tuple[str, str] | None, headers: dict[str, str], status: int, title: str | None, prefix: str
) -> None:
    """Basic or bearer, with or without the version in the path; errors are problem documents, also those asked for."""
    key = sandbox.mailchimp.key
    headers = {k: v.replace("KEY", key) for k, v in headers.items()}
    auth = None if auth is None else (auth[0], auth[1].replace("KEY", key))
    url = sandbox.mailchimp_url.removesuffix("/3.0") + prefix
    answer = httpx.get(f"{url}/ping", auth=auth, headers=headers)
    assert answer.status_code == status
    if title is not None:
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert answer.headers["x-request-id"]
        assert (answer.json()["title"], answer.json()["status"]) == (title, status)


def test_mailchimp_takes_ten_calls_at_once(sandbox: Sandbox, mc: httpx.Client) -> None:
    """The eleventh simultaneous call is turned away until another has ended."""
    mc.post("/_sandbox/faults", json={"kind": "timeout_before", "count": 10, "delay": 60})
    parts = urlsplit(sandbox.mailchimp_url)
    held = [socket.create_connection((parts.hostname, parts.port)) for _ in range(10)]
    for connection in held:
        connection.sendall(b"GET /3.0/ping HTTP/1.1\r\nhost: x\r\n\r\n")
    while len(mc.get("/_sandbox/calls").json()["calls"]) < 10:
        pass
    assert (mc.get("/ping").status_code, mc.get("/ping").json()["title"]) == (429, "Too Many Requests")
    for connection in held:
        connection.close()
    answers = {mc.get("/ping").status_code for _ in range(200)}
    assert 200 in answers


# --- Mailchimp: members -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", ["md5", "email", "contact_id"])
def test_mailchimp_finds_a_member_by_three_names(mc: httpx.Client, members: str, slot: str) -> None:
    """MD5 of the address in lower case, the address itself, or the contact id."""
    made = join(mc, members, "Urist.McVankab@freddiesjokes.com")
    assert made["id"] == "62eeb292278cc15f5817cb78f7790b08"  # Mailchimp's published example
    name = {"md5": made["id"], "email": "urist.mcvankab@freddiesjokes.com", "contact_id": made["contact_id"]}[slot]
    assert mc.get(f"{members}/{name}").json()["web_id"] == made["web_id"]


@pytest.mark.parametrize(
    ("body", "status", "title"),
    [
        (NEW, 200, None),
        ({"email_address": "ANN@example.com", "status": "subscribed"}, 400, "Member Exists"),
        ({"email_address": "gone@example.com", "status": "subscribed"}, 400, "Forgotten Email Not Subscribed"),
        ({"email_address": "archived@example.com", "status": "subscribed"}, 400, "Member Exists"),
        ({"email_address": "nonsense", "status": "subscribed"}, 400, "Invalid Resource"),
        ({"email_address": "test@test.com", "status": "subscribed"}, 400, "Invalid Resource"),
        ({"status": "subscribed"}, 400, "Invalid Resource"),
        ({"email_address": "new@example.com"}, 400, "Invalid Resource"),
        ({"email_address": "new@example.com", "status": "archived"}, 400, "Invalid Resource"),
        ({**NEW, "ip_opt": "here"}, 400, "Invalid Resource"),
        ({**NEW, "interests": {"nope": True}}, 400, "Invalid Resource"),
        ({**NEW, "merge_fields": {"FNAME": None}}, 400, "Invalid Resource"),
    ],
)  # fmt: skip
def test_mailchimp_creates_whom_it_does_not_know(
    mc: httpx.Client, members: str, body: dict[str, Any], status: int, title: str | None
) -> None:
    """POST only creates; known, forgotten and malformed members are refused each in its way."""
    for name in ("ann", "gone", "archived"):
        join(mc, members, f"{name}@example.com")
    mc.post(f"{members}/{md5('gone@example.com')}/actions/delete-permanent")
    mc.delete(f"{members}/{md5('archived@example.com')}")
    answer = mc.post(members, json=body)
    assert (answer.status_code, answer.json().get("title")) == (status, title)


@pytest.mark.parametrize(
    ("email", "body", "status", "becomes"),
    [
        ("new@example.com", {"email_address": "new@example.com", "status_if_new": "pending"}, 200, "pending"),
        ("new@example.com", {"email_address": "new@example.com", "status": "subscribed"}, 200, "subscribed"),
        ("new@example.com", {"email_address": "new@example.com"}, 400, None),
        ("ann@example.com", {"email_address": "ann@example.com", "status_if_new": "pending"}, 200, "subscribed"),
        ("ann@example.com", {"email_address": "ann@example.com", "status": "unsubscribed"}, 200, "unsubscribed"),
        ("ann@example.com", {"status": "unsubscribed"}, 400, None),
        ("ANN@example.com", {"email_address": "ann@example.com", "status_if_new": "pending"}, 200, "subscribed"),
        (ARCHIVED, {"email_address": ARCHIVED, "status": "subscribed"}, 200, "subscribed"),
        (ARCHIVED, {"email_address": ARCHIVED, "status_if_new": "subscribed"}, 200, "archived"),
        ("other@example.com", {"email_address": "ann@example.com", "status_if_new": "subscribed"}, 400, None),
    ],
)  # fmt: skip
def test_mailchimp_puts(
    mc: httpx.Client, members: str, email: str, body: dict[str, Any], status: int, becomes: str | None
) -> None:
    """PUT creates or updates; ``status_if_new`` counts for the new, ``status`` for all."""
    for name in ("ann", "archived"):
        join(mc, members, f"{name}@example.com")
    mc.delete(f"{members}/{md5('archived@example.com')}")
    answer = mc.put(f"{members}/{md5(email)}", json=body)
    assert answer.status_code == status, answer.text
    assert status != 200 or answer.json()["status"] == becomes


def test_mailchimp_changes_the_address_of_a_member(mc: httpx.Client, members: str) -> None:
    """The hash changes, the contact id stays; an address that another member has is refused, archived ones too."""
    ann = join(mc, members, "ann@example.com")
    join(mc, members, "bea@example.com")
    moved = mc.patch(f"{members}/{ann['id']}", json={"email_address": "ann@example.org"}).json()
    assert (moved["id"], moved["contact_id"]) == (md5("ann@example.org"), ann["contact_id"])
    assert mc.get(f"{members}/{ann['id']}").status_code == 404
    mc.delete(f"{members}/{md5('bea@example.com')}")
    taken = mc.patch(f"{members}/{moved['id']}", json={"email_address": "bea@example.com"})
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (400, "email address")
    assert mc.patch(f"{members}/{md5('nobody@example.com')}", json={"language": "de"}).status_code == 404
    assert mc.patch(f"{members}/{moved['id']}", json={"status": "transactional"}).status_code == 400


@pytest.mark.parametrize(
    ("left", "wanted", "status"),
    [
        ({"action": "unsubscribe", "source": "user"}, "subscribed", 400),
        ({"action": "unsubscribe", "source": "user"}, "pending", 200),
        ({"action": "unsubscribe", "source": "user"}, "unsubscribed", 200),
        ({"action": "unsubscribe", "source": "admin"}, "subscribed", 200),
        ({"action": "clean", "source": "admin"}, "subscribed", 400),
        ({"action": "clean", "source": "admin"}, "pending", 200),
    ],
)
def test_mailchimp_holds_to_the_word_of_the_person(
    mc: httpx.Client, members: str, left: dict[str, str], wanted: str, status: int
) -> None:
    """Who left by their own hand, or bounced, is not subscribed by anybody else: not by PATCH, PUT, batch, or later."""
    email = "ann@example.com"
    join(mc, members, email)
    mc.post("/_sandbox/edit", json={**left, "email": email})
    list_ = members.removesuffix("/members")
    answers = [
        mc.patch(f"{members}/{md5(email)}", json={"status": wanted}),
        mc.put(f"{members}/{md5(email)}", json={"email_address": email, "status_if_new": wanted, "status": wanted}),
    ]
    assert {a.status_code for a in answers} == {status}
    batch = mc.post(list_, json={"members": [{"email_address": email, "status": wanted}], "update_existing": True})
    assert batch.json()["error_count"] == (0 if status == 200 else 1)
    if status == 400:
        assert answers[0].json()["title"] == "Member In Compliance State"
        assert batch.json()["errors"][0]["error_code"] == "ERROR_GENERIC"
        for change in ("archive", "pending"):  # neither sets the person free
            if change == "archive":
                mc.delete(f"{members}/{md5(email)}")
            else:
                mc.put(f"{members}/{md5(email)}", json={"email_address": email, "status": "pending"})
            again = mc.put(f"{members}/{md5(email)}", json={"email_address": email, "status": "subscribed"})
            assert again.json()["title"] == "Member In Compliance State"
    mc.post("/_sandbox/edit", json={"action": "subscribe", "email": email})  # the person comes back
    assert mc.get(f"{members}/{md5(email)}").json()["status"] == "subscribed"


@pytest.mark.parametrize(("source", "status"), [("user", 400), ("admin", 200), ("api", 200)])
def test_mailchimp_knows_whose_act_a_call_stands_for(mc: httpx.Client, members: str, source: str, status: int) -> None:
    """A header says that the person, or somebody in Mailchimp, did what the call does."""
    join(mc, members, "ann@example.com")
    ann = f"{members}/{md5('ann@example.com')}"
    mc.patch(ann, json={"status": "unsubscribed"}, headers={"x-sandbox-source": source})
    assert mc.patch(ann, json={"status": "subscribed"}).status_code == status


def test_mailchimp_archives_and_deletes(mc: httpx.Client, members: str) -> None:
    """Archived members can be read and come back; deleted ones cannot be read, nor ever imported."""
    join(mc, members, "ann@example.com")
    ann = f"{members}/{md5('ann@example.com')}"
    assert mc.delete(ann).status_code == 204
    assert mc.get(ann).json()["status"] == "archived"
    assert mc.delete(ann).status_code == 405
    assert mc.get(members).json()["total_items"] == 0
    assert mc.get(members, params={"status": "archived"}).json()["total_items"] == 1
    assert mc.post(f"{ann}/actions/delete-permanent").status_code == 204
    assert (mc.get(ann).status_code, mc.delete(ann).status_code) == (404, 404)
    body = {"email_address": "ann@example.com", "status_if_new": "subscribed"}
    assert mc.put(ann, json=body).json()["title"] == "Forgotten Email Not Subscribed"


@pytest.mark.parametrize(
    ("tag", "sent", "kept"),
    [
        ("FNAME", "x" * 300, "x" * 255),
        ("FNAME", "é" * 200, "é" * 127),
        ("FNAME", "", ""),
        ("fname", "Ann", "Ann"),
        ("SCORE", "7", 7),
        ("SCORE", 7.5, 7.5),
        ("RENEWAL", "02/01/2026", "2026-02-01"),
        ("RENEWAL", "01-02-2026", "2026-02-01"),
        ("RENEWAL", "2026/02/01", "2026-02-01"),
        ("BIRTHDAY", "02/29", "02/29"),
        ("TIER", "Gold", "Gold"),
        ("ADDRESS", {"addr1": "A 1", "city": "B", "state": "C", "zip": "1"}, "US"),
        ("SCORE", "many", "Please enter a number"),
        ("RENEWAL", "2026-02-30", "Please enter a valid date"),
        ("BIRTHDAY", "13/01", "Please enter a valid date"),
        ("TIER", "gold", "Value must be one of: Bronze, Silver, Gold"),
        ("ADDRESS", {"addr1": "A 1"}, "Please enter a complete address"),
        ("WEBSITE", "nowhere", "Please enter a valid URL"),
    ],
)
def test_mailchimp_keeps_merge_fields_in_their_forms(
    mc: httpx.Client, members: str, tag: str, sent: Any, kept: Any
) -> None:
    """Values are cut, converted, or refused with the field's name."""
    join(mc, members, "ann@example.com")
    answer = mc.patch(f"{members}/{md5('ann@example.com')}", json={"merge_fields": {tag: sent, "UNKNOWN": "x"}})
    if answer.status_code == 400:
        assert answer.json()["errors"] == [{"field": tag, "message": kept}]
    else:
        found = answer.json()["merge_fields"][tag.upper()]
        assert (found["country"] if isinstance(found, dict) else found) == kept
        assert "UNKNOWN" not in answer.json()["merge_fields"]


def test_mailchimp_takes_own_merge_fields(mc: httpx.Client, members: str) -> None:
    """A field can be added once; a required one is then asked for unless the call says otherwise."""
    fields = members.replace("/members", "/merge-fields")
    join(mc, members, "ann@example.com")
    own = {
        "tag": "SHOES",
        "name": "Shoe size",
        "type": "dropdown",
        "required": True,
        "options": {"choices": ["S", "L"]},
    }
    assert [mc.post(fields, json=own).status_code for _ in range(2)] == [200, 400]
    found = {m["tag"]: m for m in mc.get(fields, params={"count": 100}).json()["merge_fields"]}
    assert found["SHOES"]["options"]["choices"] == ["S", "L"]
    ann = f"{members}/{md5('ann@example.com')}"
    assert mc.patch(ann, json={"language": "de"}).json()["errors"] == [
        {"field": "SHOES", "message": "Please enter a value"}
    ]
    assert mc.patch(ann, json={"language": "de"}, params={"skip_merge_validation": "true"}).status_code == 200
    assert mc.patch(ann, json={"merge_fields": {"SHOES": "L"}}).status_code == 200


def test_mailchimp_keeps_tags_apart(mc: httpx.Client, members: str) -> None:
    """Tags have an endpoint of their own; a member shows at most fifty, a PUT ignores them, ``last_changed`` stays."""
    ann = f"{members}/{md5('ann@example.com')}"
    changed = join(mc, members, "ann@example.com", tags=["first"])["last_changed"]
    tags = [{"name": f"t{i}", "status": "active"} for i in range(60)] + [{"name": "first", "status": "inactive"}]
    assert mc.post(f"{ann}/tags", json={"tags": tags, "is_syncing": True}).status_code == 204
    mc.put(ann, json={"email_address": "ann@example.com", "tags": ["ignored"]})
    found = mc.get(ann).json()
    assert (found["tags_count"], len(found["tags"]), found["last_changed"]) == (60, 50, changed)
    assert mc.get(f"{ann}/tags").json()["total_items"] == 60
    assert len(mc.get(f"{ann}/tags").json()["tags"]) == 10
    assert mc.get(members.replace("/members", "/tag-search"), params={"name": "t5"}).json()["total_items"] == 11
    assert mc.post(f"{ann}/tags", json={"tags": [{"name": "x", "status": "maybe"}]}).status_code == 400


# --- Mailchimp: lists -------------------------------------------------------------------------------------------------


def aged(sandbox: Sandbox, *times: int) -> None:
    """Members m0, m1, ... that changed at these seconds."""
    for i, at in enumerate(times):
        body = {"email_address": f"m{i}@example.com", "status": "subscribed"}
        sandbox.call(lambda body=body, at=at: sandbox.mailchimp.audience.create(body, "api", lax=True, at=at))  # type: ignore[misc]


T = 1_767_225_600  # 2026-01-01


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"sort_field": "last_changed", "sort_dir": "ASC"}, [1, 0, 2, 3]),
        ({"sort_field": "last_changed", "sort_dir": "DESC"}, [3, 2, 0, 1]),
        ({"sort_field": "last_changed", "count": 2, "offset": 1}, [0, 2]),
        ({"sort_field": "last_changed", "since_last_changed": "2026-01-01T00:00:01+00:00"}, [2, 3]),
        ({"sort_field": "last_changed", "since_last_changed": "2026-01-01T01:00:00+01:00"}, [0, 2, 3]),
        ({"sort_field": "last_changed", "since_last_changed": "2026-01-01T00:00:01.0000000Z"}, [1, 0, 2, 3]),
        ({"sort_field": "last_changed", "before_last_changed": "2026-01-01T00:00:02Z"}, [1, 0]),
        ({"status": "unsubscribed"}, []),
        ({"count": 0}, []),
    ],
)
def test_mailchimp_lists(
    sandbox: Sandbox, mc: httpx.Client, members: str, params: dict[str, Any], found: list[int]
) -> None:
    """Both ends of a window of changes are outside it; too fine a fraction makes the filter be ignored."""
    aged(sandbox, T + 1, T, T + 2, T + 2)
    answer = mc.get(members, params={k: str(v) for k, v in params.items()})
    assert answer.status_code == 200, answer.text
    assert [int(m["email_address"][1]) for m in answer.json()["members"]] == found


def test_mailchimp_shows_ten_of_a_list_by_itself(sandbox: Sandbox, mc: httpx.Client, members: str) -> None:
    """Without a count a page has ten rows, and the total says how many there are; times have no fraction."""
    aged(sandbox, *range(T, T + 12))
    page = mc.get(members).json()
    assert (len(page["members"]), page["total_items"]) == (10, 12)
    assert page["members"][0]["last_changed"] == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "params",
    [
        {"count": "1001"},
        {"count": "many"},
        {"status": "happy"},
        {"since_last_changed": "yesterday"},
        {"unsubscribed_since": "2026-01-01"},
        {"since_last_campaign": "false"},
        {"sort_field": "email_address"},
        {"fields": "members.nope"},
        {"fields": "nope"},
        {"fields": "members.id", "exclude_fields": "members.email_address"},
    ],
)
def test_mailchimp_refuses_wrong_queries(mc: httpx.Client, members: str, params: dict[str, str]) -> None:
    """Unknown fields, statuses and sizes are a 400."""
    assert mc.get(members, params=params).status_code == 400


@pytest.mark.parametrize(
    ("params", "keys"),
    [
        ({"fields": "id,merge_fields.FNAME"}, {"id": None, "merge_fields": {"FNAME"}}),
        ({"fields": "tags.name"}, {"tags": None}),
        (
            {"exclude_fields": "stats,merge_fields,interests,location,marketing_permissions,tags"},
            {"email_address": None},
        ),
    ],
)
def test_mailchimp_cuts_answers_down_to_fields(
    mc: httpx.Client, members: str, params: dict[str, str], keys: dict[str, Any]
) -> None:
    """``fields`` keeps, ``exclude_fields`` drops, both by dotted names."""
    join(mc, members, "ann@example.com", merge_fields={"FNAME": "Ann", "LNAME": "Lee"}, tags=["x"])
    found = mc.get(f"{members}/{md5('ann@example.com')}", params=params).json()
    if "fields" in params:
        assert found.keys() == keys.keys()
        assert all(inner is None or found[key].keys() == inner for key, inner in keys.items())
    else:
        assert not found.keys() & set(params["exclude_fields"].split(","))
        assert "email_address" in found


def test_mailchimp_takes_five_hundred_members(mc: httpx.Client, members: str) -> None:
    """One call creates and updates; each refusal stands beside the rest; the wrong shape refuses all."""
    list_ = members.removesuffix("/members")
    join(mc, members, "ann@example.com", tags=["old"])
    new = {"email_address": "new@example.com", "status": "subscribed"}
    old = {"email_address": "ann@example.com", "status": "subscribed", "language": "de", "tags": ["fresh"]}
    bad = {"email_address": "bad@example.com", "status": "subscribed", "merge_fields": {"TIER": "Tin"}}
    said = mc.post(list_, json={"members": [new, old, bad, new]}).json()
    assert (said["total_created"], said["total_updated"], said["error_count"]) == (1, 0, 3)
    errors = {e["email_address"]: (e["error_code"], e["field"]) for e in said["errors"]}
    assert errors["ann@example.com"] == ("ERROR_CONTACT_EXISTS", "")
    assert errors["bad@example.com"] == ("ERROR_GENERIC", "TIER")
    again = mc.post(
        list_,
        json={"members": [new, old, new], "update_existing": True, "sync_tags": True},
        params={"skip_duplicate_check": "true"},
    ).json()
    assert (again["total_created"], again["total_updated"], again["error_count"]) == (0, 2, 0)
    ann = mc.get(f"{members}/{md5('ann@example.com')}").json()
    assert (ann["language"], [t["name"] for t in ann["tags"]]) == ("de", ["fresh"])
    whole = mc.post(list_, json={"members": [{**new, "status": "archived"}]})
    assert (whole.status_code, whole.json()["errors"][0]["field"]) == (400, "members.item:0.status")
    assert mc.post(list_, json={"members": [new] * 501}).status_code == 400


def test_mailchimp_keeps_groups(mc: httpx.Client, members: str) -> None:
    """Categories and interests are made, renamed and taken away; a member shows those there are, each on or off."""
    categories = members.replace("/members", "/interest-categories")
    ann = f"{members}/{md5('ann@example.com')}"
    stock = join(mc, members, "ann@example.com")["interests"]
    made = mc.post(categories, json={"title": "Topics", "type": "checkboxes"}).json()
    category = f"{categories}/{made['id']}"
    try:
        assert mc.post(categories, json={"title": "Topics"}).json()["errors"][0]["field"] == "type"
        assert mc.post(f"{category}/interests", json={}).json()["errors"][0]["field"] == "name"
        news = mc.post(f"{category}/interests", json={"name": "News"}).json()["id"]
        assert mc.post(f"{category}/interests", json={"name": "News"}).status_code == 400
        assert mc.patch(ann, json={"interests": {news: True}}).json()["interests"] == {**stock, news: True}
        assert mc.patch(f"{category}/interests/{news}", json={"name": "Letters"}).json()["subscriber_count"] == "1"
        assert mc.get(f"{category}/interests").json()["interests"][0]["name"] == "Letters"
        assert mc.get(f"{category}/interests/{news}").json()["category_id"] == made["id"]
        assert mc.patch(category, json={"title": "Themes", "type": "hidden"}).json()["title"] == "Themes"
        hidden = mc.get(categories, params={"type": "hidden"}).json()
        assert ([c["id"] for c in hidden["categories"]], hidden["total_items"]) == ([made["id"]], 1)
        assert mc.delete(f"{category}/interests/{news}").status_code == 204
        assert mc.get(ann).json()["interests"] == stock
        assert mc.patch(ann, json={"interests": {news: True}}).json()["detail"] == f"Invalid interest ID: '{news}'."
    finally:
        assert mc.delete(category).status_code == 204
    assert {mc.get(category).status_code, mc.get(f"{category}/interests/{news}").status_code} == {404}


def test_mailchimp_keeps_permissions_behind_a_switch(mc: httpx.Client, members: str) -> None:
    """With GDPR fields a member shows them all; without, none, and one that is sent is refused; a batch knows none."""
    list_ = members.removesuffix("/members")
    ann = f"{members}/{md5('ann@example.com')}"
    shown = join(mc, members, "ann@example.com")["marketing_permissions"]
    assert [(p["text"], p["enabled"]) for p in shown] == [
        ("Email", False),
        ("Direct Mail", False),
        ("Customized Online Advertising", False),
    ]
    first = {"marketing_permission_id": shown[0]["marketing_permission_id"], "enabled": True}
    after = mc.patch(ann, json={"marketing_permissions": [first]}).json()["marketing_permissions"]
    assert [p["enabled"] for p in after] == [True, False, False]  # what is not named stays
    for wrong in ([{**first, "enabled": "yes"}], {"a": 1}, [{**first, "marketing_permission_id": "x"}]):
        assert mc.patch(ann, json={"marketing_permissions": wrong}).status_code == 400
    one = {"email_address": "ann@example.com", "marketing_permissions": [{**first, "enabled": False}]}
    batch = mc.post(list_, json={"members": [one], "update_existing": True}).json()
    assert (batch["total_updated"], "marketing_permissions" in batch["updated_members"][0]) == (1, False)
    assert mc.get(ann).json()["marketing_permissions"] == after
    assert mc.get(list_).json()["marketing_permissions"] is True
    try:
        assert mc.patch(list_, json={"marketing_permissions": False}).json()["marketing_permissions"] is False
        assert "marketing_permissions" not in mc.get(ann).json()
        assert mc.patch(ann, json={"marketing_permissions": [first]}).status_code == 400
    finally:
        mc.patch(list_, json={"marketing_permissions": True})
    assert mc.get(ann).json()["marketing_permissions"] == after


@pytest.mark.parametrize("list_id", ["0123456789", "9876543210"])
def test_mailchimp_s_ids_belong_to_the_audience(list_id: str) -> None:
    """Another audience has other ids for the same names, and the same ones the next time."""
    first, again, other = (MailchimpSim(list_id=i).audience.questions for i in (list_id, list_id, "another"))
    assert (first.interests, first.permissions) == (again.interests, again.permissions)
    assert not first.interests.keys() & other.interests.keys()
    assert not first.permissions.keys() & other.permissions.keys()
    assert list(first.interests.values()) == list(other.interests.values())


@pytest.mark.parametrize(
    ("act", "archived"),
    [
        ({"action": "unsubscribe"}, 204),
        ({"member": {"status": "transactional"}}, 204),
        ({"action": "clean"}, 405),
        ({"member": {"status": "pending"}}, 405),
        ({"action": "archive"}, 405),
    ],
)
def test_mailchimp_archives_neither_bounced_nor_pending(
    mc: httpx.Client, members: str, act: dict[str, Any], archived: int
) -> None:
    """Nor is an archived member changed by PATCH."""
    email = "ann@example.com"
    join(mc, members, email)
    mc.post("/_sandbox/edit", json={"email": email, **act})
    ann = f"{members}/{md5(email)}"
    assert mc.delete(ann).status_code == archived
    there = mc.get(ann).json()["status"] == "archived"
    assert mc.patch(ann, json={"language": "de"}).status_code == (405 if there else 200)


def test_mailchimp_has_groups_segments_and_search(mc: httpx.Client, members: str) -> None:
    """Interests, static segments, the activity feed, the search and the list itself answer in their shapes."""
    list_ = members.removesuffix("/members")
    category = mc.get(f"{list_}/interest-categories").json()["categories"][0]["id"]
    interest = mc.get(f"{list_}/interest-categories/{category}/interests").json()["interests"][0]["id"]
    join(mc, members, "ann@example.com", interests={interest: True}, tags=["vip"], merge_fields={"FNAME": "Ann"})
    assert mc.get(f"{members}/ann@example.com").json()["interests"][interest] is True
    segment = mc.get(f"{list_}/segments").json()["segments"][0]
    assert (segment["name"], segment["member_count"], segment["type"]) == ("vip", 1, "static")
    change = {"members_to_remove": ["ann@example.com", "nobody@example.com"]}
    assert mc.post(f"{list_}/segments/{segment['id']}", json=change).json()["total_removed"] == 1
    assert mc.get("/search-members", params={"query": "ANN@example.com"}).json()["exact_matches"]["total_items"] == 1
    assert mc.get("/search-members", params={"query": "ann"}).json()["full_search"]["total_items"] == 1
    assert mc.post(f"{members}/ann@example.com/events", json={"name": "visited"}).status_code == 204
    mc.post("/_sandbox/edit", json={"action": "unsubscribe", "email": "ann@example.com", "reason": "too many"})
    feed = mc.get(f"{members}/ann@example.com/activity-feed").json()["activity"]
    assert [a["activity_type"] for a in feed] == ["unsub", "event"]
    assert feed[0]["is_admin_unsubscribed"] is False
    stats = mc.get(list_).json()["stats"]
    assert (stats["member_count"], stats["unsubscribe_count"]) == (0, 1)
    assert mc.get("/lists/other").status_code == 404


# --- Mailchimp: webhooks ----------------------------------------------------------------------------------------------


def test_mailchimp_signs_by_its_scheme() -> None:
    """A vector computed apart from this code, from the documented algorithm."""
    body = (
        b"type=unsubscribe&fired_at=2026-08-13+10%3A15%3A00&data%5Bemail%5D=ada%40example.com"
        b"&data%5Blist_id%5D=a6b5da1054"
    )
    expected = "14a11d8c4e3b3059e0ca73a425c05086897143f5cceaa58aa474d034af5e3888"
    assert mailchimp_sign("mc_test_signing_secret", "1786616100", body) == expected


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ({"action": "create", "member": {"email_address": "n@example.com"}}, {"subscribe": "n@example.com"}),
        ({"member": {"merge_fields": {"FNAME": "Ann"}}}, {"profile": "a@example.com"}),
        ({"member": {"merge_fields": {"FNAME": ""}}}, {}),
        ({"member": {"email_address": "b@example.com"}}, {"upemail": "b@example.com"}),
        (
            {"member": {"email_address": "b@example.com", "merge_fields": {"FNAME": "Bea"}}},
            {"profile": "b@example.com", "upemail": "b@example.com"},
        ),
        ({"action": "unsubscribe"}, {"unsubscribe": "a@example.com"}),
        ({"action": "clean"}, {"cleaned": "a@example.com"}),
        ({"action": "archive"}, {"unsubscribe": "a@example.com"}),
        ({"action": "delete"}, {"unsubscribe": "a@example.com"}),
        ({"action": "tag", "tags": {"x": True}}, {}),
    ],
)
def test_mailchimp_tells_what_happened(
    mc: httpx.Client, members: str, receiver: Receiver, act: dict[str, Any], told: dict[str, str]
) -> None:
    """Each act is told by its types, one event in a form of PHP's brackets, with the secret in the URL, signed."""
    join(mc, members, "a@example.com")
    hook = {"url": f"{receiver.url}/hook", "secret": "a b", "signing_secret": "sign"}
    mc.post("/_sandbox/webhooks", json=hook)
    assert mc.post("/_sandbox/edit", json={"email": "a@example.com", **act}).status_code == 200
    join(mc, members, "last@example.com")  # so that something is told in any case
    found = {}
    for _ in range(len(told) + 1):
        delivery = receiver.take()
        form = delivery.form
        if form.get("data[email]") != "last@example.com":
            found[form["type"]] = form.get("data[email]", form.get("data[new_email]"))
        stamp = delivery.headers["x-mailchimp-signature"].partition(",")[0].removeprefix("t=")
        signature = f"t={stamp},v1={mailchimp_sign('sign', stamp, delivery.body)}"
        assert delivery.headers["x-mailchimp-signature"] == signature
        assert delivery.url.endswith("/hook?secret=a+b")
        assert len(form["fired_at"]) == len("2026-01-01 00:00:00")
    assert found == told


def test_mailchimp_tells_groups_by_name(mc: httpx.Client, members: str, receiver: Receiver) -> None:
    """Each category with the names chosen in it; a comma in a name has a backslash; nothing tells of permissions."""
    email = "ann@example.com"
    shown = join(mc, members, email)
    categories = members.replace("/members", "/interest-categories")
    made = mc.post(categories, json={"title": "Topics", "type": "checkboxes"}).json()
    try:
        news = mc.post(f"{categories}/{made['id']}/interests", json={"name": "News, weekly"}).json()["id"]
        mc.post("/_sandbox/webhooks", json={"url": receiver.url})
        permission = {**shown["marketing_permissions"][0], "enabled": True}
        mc.post("/_sandbox/edit", json={"email": email, "member": {"marketing_permissions": [permission]}})
        interests = {next(iter(shown["interests"])): True, news: True}
        mc.post("/_sandbox/edit", json={"email": email, "member": {"interests": interests}})
        form = receiver.take().form
    finally:
        mc.delete(f"{categories}/{made['id']}")
    assert (form["type"], form["data[merges][INTERESTS]"]) == ("profile", "Products")
    assert form["data[merges][GROUPINGS][0][groups]"] == "Products"
    assert form["data[merges][GROUPINGS][1][groups]"] == "News\\, weekly"
    assert form["data[merges][GROUPINGS][1][unique_id]"] == made["id"]
    assert settled(mc)["delivered"] == 1


def test_mailchimp_webhooks_are_made_by_the_api(mc: httpx.Client, members: str, receiver: Receiver) -> None:
    """The URL must answer a GET; the signing secret is told once; events and sources can be switched off."""
    hooks = members.replace("/members", "/webhooks")
    receiver.answers = [404]
    body = {"url": receiver.url, "events": {"subscribe": True}, "sources": {"api": True}}
    assert mc.post(hooks, json=body).status_code == 400
    made = mc.post(hooks, json=body).json()
    assert receiver.take().headers["user-agent"] == "MailChimp.com WebHook Validator"
    assert receiver.take().method == "GET"
    assert made["signing_secret"]
    assert "signing_secret" not in mc.get(f"{hooks}/{made['id']}").json()
    assert mc.get(hooks).json()["total_items"] == 1
    email = "a@example.com"
    join(mc, members, email, status="pending")
    mc.post("/_sandbox/edit", json={"action": "subscribe", "email": email})  # by the person: not wanted
    mc.patch(f"{members}/{md5(email)}", json={"status": "unsubscribed"})  # not wanted
    mc.patch(f"{members}/{md5(email)}", json={"status": "subscribed"})
    assert receiver.take().form["type"] == "subscribe"
    assert settled(mc)["delivered"] == 1
    assert mc.delete(f"{hooks}/{made['id']}").status_code == 204
    assert mc.get(f"{hooks}/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("answers", "tries", "outcome"),
    [([500, 404], 3, "delivered"), ([500] * 6, 6, "failed"), ([410], 1, "failed")],
)
def test_mailchimp_tries_again(
    mc: httpx.Client, members: str, receiver: Receiver, answers: list[int], tries: int, outcome: str
) -> None:
    """At increasing intervals, then no more; 410 ends the webhook at once."""
    mc.post("/_sandbox/webhooks", json={"url": receiver.url})
    receiver.answers = list(answers)
    join(mc, members, "a@example.com")
    for _ in range(tries):
        receiver.take()
    delivery = settled(mc)["deliveries"][0]
    assert (delivery["status"], delivery["attempts"]) == (outcome, tries)
    assert mc.get("/_sandbox/webhooks").json()["targets"] == ([] if answers == [410] else [receiver.url])
