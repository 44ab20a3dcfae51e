"""The simulators as the vendors' own published client libraries see them: a wire format judged by foreign software."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import hubspot
import hubspot.communication_preferences as preferences
import hubspot.crm.contacts as contacts
import hubspot.crm.properties as properties
import mailchimp_marketing
import pytest
from hubspot.crm.contacts.exceptions import ApiException
from hubspot.utils.signature import Signature
from mailchimp_marketing.api_client import ApiClientError

from sandbox.mailchimp import KEY, LIST
from sandbox.serve import Sandbox
from tests import sandboxed as stage
from tests.sandboxed import CONTACTS, Receiver, md5
from tests.speccheck import SpecCheck, load

running, sandbox, receiver = stage.running, stage.sandbox, stage.receiver  # the fixtures

pytestmark = [
    # Generated code: it asks whether Python is that of 2015.
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:hubspot.*"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:mailchimp_marketing.*"),
    pytest.mark.filterwarnings("ignore:HTTPResponse.getheader:DeprecationWarning"),
]


# --- HubSpot ----------------------------------------------------------------------------------------------------------


POOLS: list[Any] = []


@pytest.fixture
def hub(sandbox: Sandbox) -> Iterator[hubspot.Client]:
    yield hubspot.Client.create(access_token=sandbox.hubspot.token)
    while POOLS:
        POOLS.pop().clear()  # the library leaves its connections open


def at(sandbox: Sandbox, api: Any) -> Any:
    """The part of the library with its base URL set: each part has its own."""
    api.api_client.configuration.host = sandbox.hubspot_url
    POOLS.append(api.api_client.rest_client.pool_manager)
    return api


def made(api: Any, **values: str) -> str:
    body = contacts.SimplePublicObjectInputForCreate(associations=[], properties=values)
    return str(api.create(body).id)


def test_hubspot_client_goes_through_a_contact_s_life(sandbox: Sandbox, hub: hubspot.Client) -> None:
    """Create, read by id and by address, update, list, archive."""
    api = at(sandbox, hub.crm.contacts.basic_api)
    id_ = made(api, email="Ada@example.com", firstname="Ada")
    found = api.get_by_id(id_, properties=["email", "city"])
    assert (found.properties["email"], found.properties["city"]) == ("ada@example.com", None)
    assert isinstance(found.updated_at, datetime)
    assert api.get_by_id("ada@example.com", id_property="email").id == id_
    updated = api.update(id_, contacts.SimplePublicObjectInput(properties={"city": "Bonn"}))
    assert updated.properties["city"] == "Bonn"
    made(api, email="bea@example.com")
    page = api.get_page(limit=1, properties=["email"], archived=False)
    assert page.results[0].id == id_
    rest = api.get_page(limit=1, after=page.paging.next.after, archived=False)
    assert (len(rest.results), rest.paging) == (1, None)
    api.archive(id_)
    archived = api.get_page(archived=True).results
    assert [(c.id, c.archived) for c in archived] == [(id_, True)]
    assert archived[0].archived_at is not None


def test_hubspot_client_merges_and_erases(sandbox: Sandbox, hub: hubspot.Client) -> None:
    """Merge answers with the winner, a privacy deletion with nothing."""
    api = at(sandbox, hub.crm.contacts.basic_api)
    a, b = made(api, email="a@example.com"), made(api, email="b@example.com")
    merged = api.merge(contacts.PublicMergeInput(primary_object_id=a, object_id_to_merge=b))
    assert merged.id == a
    assert api.get_by_id(b).id == a
    api.purge(contacts.PublicGdprDeleteInput(object_id=a))
    with pytest.raises(ApiException) as error:
        api.get_by_id(a)
    assert error.value.status == 404


def test_hubspot_client_works_in_batches(sandbox: Sandbox, hub: hubspot.Client) -> None:
    """Create with trace ids, read, update, upsert and archive, in part where in part."""
    api = at(sandbox, hub.crm.contacts.batch_api)
    rows = [
        contacts.SimplePublicObjectBatchInputForCreate(
            associations=[], object_write_trace_id=f"t{i}", properties={"email": e}
        )
        for i, e in enumerate(("a@example.com", "b@example.com", "a@example.com"))
    ]
    answer = api.create(contacts.BatchInputSimplePublicObjectBatchInputForCreate(rows))
    assert (answer.status, answer.num_errors, len(answer.results)) == ("COMPLETE", 1, 2)
    assert answer.errors[0].context == {"objectWriteTraceId": ["t2"]}
    ids = [c.id for c in answer.results]
    wanted = [contacts.SimplePublicObjectId(id=i) for i in [*ids, "7"]]
    read = api.read(
        contacts.BatchReadInputSimplePublicObjectId(
            properties_with_history=["email"], inputs=wanted, properties=["email"]
        )
    )
    assert ({c.id for c in read.results}, read.errors[0].category) == (set(ids), "OBJECT_NOT_FOUND")
    assert read.results[0].properties_with_history["email"][0].value == "a@example.com"
    update = [contacts.SimplePublicObjectBatchInput(id=ids[0], properties={"city": "Bonn"})]
    assert api.update(contacts.BatchInputSimplePublicObjectBatchInput(update)).results[0].properties["city"] == "Bonn"
    upsert = [
        contacts.SimplePublicObjectBatchInputUpsert(id=e, id_property="email", properties={"city": "Kiel"})
        for e in ("b@example.com", "c@example.com")
    ]
    said = api.upsert(contacts.BatchInputSimplePublicObjectBatchInputUpsert(upsert))
    assert [c.new for c in said.results] == [False, True]
    api.archive(contacts.BatchInputSimplePublicObjectId([contacts.SimplePublicObjectId(id=ids[0])]))
    assert sandbox.hubspot.portal.exact(ids[0]) is None


def test_hubspot_client_searches(sandbox: Sandbox, hub: hubspot.Client) -> None:
    """The answer has a total, rows and the next page."""
    basic, api = at(sandbox, hub.crm.contacts.basic_api), at(sandbox, hub.crm.contacts.search_api)
    for name in ("a", "b"):
        made(basic, email=f"{name}@example.com", city="Bonn")
    group = contacts.FilterGroup(filters=[contacts.Filter(property_name="city", operator="EQ", value="Bonn")])
    found = api.do_search(
        contacts.PublicObjectSearchRequest(
            filter_groups=[group], sorts=["-createdate"], properties=["email"], limit=1, after="0"
        )
    )
    assert (found.total, len(found.results), found.paging.next.after) == (2, 1, "1")


@pytest.mark.parametrize(
    ("values", "status", "category"),
    [
        ({"email": "a@example.com"}, 409, "CONFLICT"),
        ({"email": "nonsense"}, 400, "VALIDATION_ERROR"),
        ({"email": "b@example.com", "nope": "1"}, 400, "VALIDATION_ERROR"),
    ],
)
def test_hubspot_client_reads_our_errors(
    sandbox: Sandbox, hub: hubspot.Client, values: dict[str, str], status: int, category: str
) -> None:
    """Errors arrive as the library's exception, with HubSpot's body."""
    api = at(sandbox, hub.crm.contacts.basic_api)
    made(api, email="a@example.com")
    with pytest.raises(ApiException) as error:
        made(api, **values)
    assert (error.value.status, json.loads(error.value.body)["category"]) == (status, category)


@pytest.mark.usefixtures("hub")
def test_hubspot_client_needs_the_token(sandbox: Sandbox) -> None:
    """A wrong token is the library's 401."""
    api = at(sandbox, hubspot.Client.create(access_token="wrong").crm.contacts.basic_api)
    with pytest.raises(ApiException) as error:
        api.get_page()
    assert error.value.status == 401


def test_hubspot_client_describes(sandbox: Sandbox, hub: hubspot.Client) -> None:
    """Properties and owners fit the library's models, required fields included."""
    api = at(sandbox, hub.crm.properties.core_api)
    found = {p.name: p for p in api.get_all("contacts").results}
    assert [o.value for o in found["customer_tier"].options] == ["bronze", "silver", "gold"]
    assert found["createdate"].modification_metadata.read_only_value is True
    body = properties.PropertyCreate(name="own", label="Own", type="string", field_type="text", group_name="x")
    assert api.create("contacts", body).hubspot_defined is False
    owners = at(sandbox, hub.crm.owners.owners_api)
    first = owners.get_page().results[0]
    assert owners.get_by_id(first.id).email == first.email


def test_hubspot_client_keeps_consent(sandbox: Sandbox, hub: hubspot.Client) -> None:
    """The v3 preferences fit the library's models."""
    definitions = at(sandbox, hub.communication_preferences.definition_api)
    id_ = definitions.get_page().subscription_definitions[0].id
    api = at(sandbox, hub.communication_preferences.status_api)
    body = preferences.PublicUpdateSubscriptionStatusRequest(email_address="a@example.com", subscription_id=id_)
    assert api.subscribe(body).status == "SUBSCRIBED"
    assert api.get_email_status("a@example.com").subscription_statuses[0].status == "SUBSCRIBED"
    assert api.unsubscribe(body).status == "NOT_SUBSCRIBED"


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_hubspot_client_trusts_our_deliveries(receiver: Receiver, version: Any) -> None:
    """The library's own check of signatures accepts what the simulator sends."""
    from sandbox.hubspot import HubSpotSim

    sim = HubSpotSim(signature=version, secret="s3cret", webhook=f"{receiver.url}/hook")
    with Sandbox(hubspot=sim) as one:
        one.call(lambda: sim.edit({"action": "create", "properties": {"email": "a@example.com"}}))
        delivery = receiver.take()
    name = "x-hubspot-signature-v3" if version == "v3" else "x-hubspot-signature"
    assert Signature.is_valid(
        signature=delivery.headers[name],
        client_secret="s3cret",
        request_body=delivery.body.decode(),
        http_uri=delivery.url,
        http_method="POST",
        signature_version=version,
        timestamp=delivery.headers.get("x-hubspot-request-timestamp"),
    )


# --- Mailchimp --------------------------------------------------------------------------------------------------------


@pytest.fixture
def chimp(sandbox: Sandbox) -> mailchimp_marketing.Client:
    client = mailchimp_marketing.Client()
    client.set_config({"api_key": KEY, "server": "us0"})
    client.api_client.host = sandbox.mailchimp_url
    return client


NEW = {"email_address": "ann@example.com", "status": "subscribed", "merge_fields": {"FNAME": "Ann"}}


def test_mailchimp_client_goes_through_a_member_s_life(chimp: mailchimp_marketing.Client) -> None:
    """Ping, create, read by all three names, upsert, change the address, tag, archive, delete."""
    assert chimp.ping.get() == {"health_status": "Everything's Chimpy!"}
    assert chimp.root.get_root()["role"] == "owner"
    lists = chimp.lists
    made = lists.add_list_member(LIST, NEW)
    for name in (made["id"], made["contact_id"], "ann@example.com"):
        assert lists.get_list_member(LIST, name)["merge_fields"]["FNAME"] == "Ann"
    body = {"email_address": "ann@example.com", "status_if_new": "pending", "language": "de"}
    assert lists.set_list_member(LIST, made["id"], body)["status"] == "subscribed"
    moved = lists.update_list_member(LIST, made["id"], {"email_address": "ann@example.org"})
    assert (moved["id"], moved["contact_id"]) == (md5("ann@example.org"), made["contact_id"])
    lists.update_list_member_tags(LIST, moved["id"], {"tags": [{"name": "vip", "status": "active"}]})
    assert [t["name"] for t in lists.get_list_member_tags(LIST, moved["id"])["tags"]] == ["vip"]
    assert lists.delete_list_member(LIST, moved["id"]).status_code == 204
    assert lists.get_list_member(LIST, moved["id"])["status"] == "archived"
    assert lists.delete_list_member_permanent(LIST, moved["id"]).status_code == 204


def test_mailchimp_client_works_in_batches(chimp: mailchimp_marketing.Client) -> None:
    """New, updated and refused members, each in their list."""
    body = {"members": [NEW, {"email_address": "bea@example.com", "status": "pending"}]}
    assert chimp.lists.batch_list_members(LIST, body)["total_created"] == 2
    said = chimp.lists.batch_list_members(LIST, body)
    assert [e["error_code"] for e in said["errors"]] == ["ERROR_CONTACT_EXISTS"] * 2
    assert chimp.lists.batch_list_members(LIST, {**body, "update_existing": True})["total_updated"] == 2
    page = chimp.lists.get_list_members_info(
        LIST,
        count=1,
        offset=1,
        sort_field="last_changed",
        sort_dir="ASC",
        fields=["members.email_address", "total_items"],
    )
    assert page == {"members": [{"email_address": "bea@example.com"}], "total_items": 2}
    assert chimp.searchMembers.search("bea@example.com")["exact_matches"]["total_items"] == 1


@pytest.mark.parametrize(
    ("act", "status", "title"),
    [
        (lambda c: c.lists.add_list_member(LIST, NEW), 400, "Member Exists"),
        (
            lambda c: c.lists.update_list_member(LIST, md5("bea@example.com"), {"status": "subscribed"}),
            400,
            "Member In Comp",
        ),
        (
            lambda c: c.lists.set_list_member(LIST, md5("x@example.com"), {"email_address": "x@example.com"}),
            400,
            "Invalid",
        ),
        (lambda c: c.lists.get_list_member(LIST, md5("nobody@example.com")), 404, "Resource Not Found"),
        (lambda c: c.lists.get_list("other"), 404, "Resource Not Found"),
        (lambda c: (c.set_config({"api_key": "wrong-us0"}), c.ping.get()), 401, "API Key Invalid"),
    ],
)
def test_mailchimp_client_reads_our_errors(
    sandbox: Sandbox, chimp: mailchimp_marketing.Client, act: Any, status: int, title: str
) -> None:
    """Errors arrive as the library's exception, with the problem document as text."""
    chimp.lists.add_list_member(LIST, NEW)
    chimp.lists.add_list_member(LIST, {**NEW, "email_address": "bea@example.com"})
    sandbox.call(lambda: sandbox.mailchimp.edit({"action": "unsubscribe", "email": "bea@example.com"}))
    with pytest.raises(ApiClientError) as error:
        act(chimp)
    assert error.value.status_code == status
    assert json.loads(error.value.text)["title"].startswith(title)


def test_mailchimp_client_manages_the_audience(chimp: mailchimp_marketing.Client, receiver: Receiver) -> None:
    """Merge fields, groups, segments and webhooks fit what the library expects."""
    lists = chimp.lists
    body = {"name": "Own", "type": "radio", "options": {"choices": ["a", "b"]}}
    tag = lists.add_list_merge_field(LIST, body)["tag"]
    assert tag in {m["tag"] for m in lists.get_list_merge_fields(LIST, count=50)["merge_fields"]}
    category = lists.get_list_interest_categories(LIST)["categories"][0]["id"]
    assert lists.list_interest_category_interests(LIST, category)["total_items"] == 3
    segment = lists.create_segment(LIST, {"name": "Fair", "static_segment": []})
    assert lists.list_segments(LIST)["segments"][0]["id"] == segment["id"]
    hook = lists.create_list_webhook(LIST, {"url": receiver.url, "events": {"profile": True}})
    assert lists.get_list_webhooks(LIST)["total_items"] == 1
    assert lists.delete_list_webhook(LIST, hook["id"]).status_code == 204


# --- the vendor's specification ---------------------------------------------------------------------------------------


def test_mailchimp_answers_fit_the_published_contract(sandbox: Sandbox) -> None:
    """Every answer to these calls, good or bad, has the shape of Mailchimp's own machine-readable contract."""
    contract = load("mailchimp", "mailchimp-list-id-api-openapi.yml.gz", "mailchimp-root-api-openapi.yml")
    contract["servers"] = [{"url": sandbox.mailchimp_url}]
    list_ = f"/lists/{LIST}"
    ann = f"{list_}/members/{md5('ann@example.com')}"
    at_ = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    new = {**NEW, "timestamp_signup": at_}  # an empty time, as Mailchimp has it, is against its own contract
    with httpx.HTTPTransport() as inner:
        checked = SpecCheck(contract, inner, closed=False)
        mc = httpx.Client(base_url=sandbox.mailchimp_url, transport=checked, auth=("x", KEY))
        calls = [
            mc.get("/"),
            mc.get(list_),
            mc.post(f"{list_}/members", json={**new, "tags": ["vip"]}),
            mc.post(f"{list_}/members", json=new),
            mc.get(ann),
            mc.put(ann, json={"email_address": "ann@example.com", "status_if_new": "subscribed", "vip": True}),
            mc.patch(ann, json={"merge_fields": {"TIER": "Tin"}}),
            mc.get(f"{list_}/members", params={"count": "5", "sort_field": "last_changed", "since_last_changed": at_}),
            mc.get(f"{list_}/members", params={"status": "archived"}),
            mc.post(f"{ann}/tags", json={"tags": [{"name": "x", "status": "active"}]}),
            mc.get(f"{ann}/tags"),
            mc.get(f"{ann}/activity-feed"),
            mc.post(list_, json={"members": [new, {**new, "email_address": "b@example.com"}]}),
            mc.get(f"{list_}/merge-fields"),
            mc.get(f"{list_}/interest-categories"),
            mc.get(f"{list_}/segments"),
            mc.get(f"{list_}/webhooks"),
            mc.delete(ann),
            mc.post(f"{ann}/actions/delete-permanent"),
            mc.get(ann),
        ]
    expected = [200, 200, 200, 400, 200, 200, 400, 200, 200, 204, 200, 200, 200, 200, 200, 200, 200, 204, 204, 404]
    assert [c.status_code for c in calls] == expected
    assert len(checked.seen) == len(calls)


def test_the_clients_were_really_used(sandbox: Sandbox, hub: hubspot.Client, chimp: mailchimp_marketing.Client) -> None:
    """Guards the guard: the simulators saw the libraries by their own names."""
    at(sandbox, hub.crm.contacts.basic_api).get_page()
    chimp.ping.get()
    agents = [sim.calls.since(0)[-1]["user_agent"] for sim in (sandbox.hubspot, sandbox.mailchimp)]
    assert "hubspot" in agents[0].lower()
    assert agents[1].startswith("Swagger-Codegen/")
    assert sandbox.hubspot.calls.since(0)[-1]["path"] == CONTACTS
