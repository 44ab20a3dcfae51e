"""The simulator of Salesforce: its own rules, Salesforce's Python client, tokens, messages over a real line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceResourceNotFound,
)

from connectors.contract import Action, Delivery
from sandbox.salesforce import CLIENT_ID, CLIENT_SECRET, USER, SalesforceSim
from sandbox.salesforce_login import JWT
from sandbox.salesforce_soql import SoqlError, parse
from sandbox.serve import Sandbox
from tests import sandboxed as stage
from tests.examples.salesforce import SECRET, FakeSalesforce, connect
from tests.sandboxed import Receiver

receiver = stage.receiver

DATA = "/services/data/v67.0"


@pytest.fixture
def sim() -> Iterator[tuple[SalesforceSim, str]]:
    org = SalesforceSim()
    with Sandbox(salesforce=org) as sandbox:
        yield org, sandbox.url("salesforce")


@pytest.fixture
def client(sim: tuple[SalesforceSim, str]) -> Salesforce:
    """Salesforce's client in Python, which knows https only, turned to the simulator."""
    org, url = sim
    made = Salesforce(instance="sandbox.example.com", session_id=org.token, version="67.0")
    made.base_url = f"{url}{DATA}/"
    return made


def at(client: Salesforce, entity: str) -> Any:
    found = getattr(client, entity)
    found.base_url = f"{client.base_url}sobjects/{entity}/"
    return found


def test_the_python_client_goes_through_a_contact_s_life(client: Salesforce) -> None:
    """Create, get, update, upsert by address, query in several batches, feeds, delete: as the library expects."""
    contacts = at(client, "Contact")
    made = contacts.create({"LastName": "Lee", "Email": "ann@example.com"})
    assert made["success"] is True
    assert contacts.update(made["id"], {"Title": "CTO", "HasOptedOutOfEmail": True}) == 204
    assert contacts.get(made["id"][:15])["HasOptedOutOfEmail"] is True
    assert contacts.upsert("Email/ANN@example.com", {"LastName": "Lee-Smith"}) == 204
    assert contacts.get_by_custom_id("Email", "ann@example.com")["LastName"] == "Lee-Smith"
    assert any(f["name"] == "Email" for f in contacts.describe()["fields"])
    contacts.create({"LastName": "Lee", "Email": "ann@example.com"})
    with pytest.raises(SalesforceMoreThanOneRecord):
        contacts.upsert("Email/ann@example.com", {"LastName": "Lee"})
    found = client.query("SELECT Id, Account.Name FROM Contact WHERE LastName IN ('lee-smith', 'x') LIMIT 5")
    assert [(r["Id"], r["Account"]) for r in found["records"]] == [(made["id"], None)]
    assert contacts.delete(made["id"]) == 204
    assert client.query("SELECT COUNT() FROM Contact")["totalSize"] == 1
    assert client.query("SELECT Id, IsDeleted FROM Contact", include_deleted=True)["totalSize"] == 2
    now = datetime.now(UTC)
    feed = contacts.deleted(now - timedelta(hours=1), now + timedelta(minutes=1))
    assert [r["id"] for r in feed["deletedRecords"]] == [made["id"]]


def test_the_python_client_reads_pages_and_errors(sim: tuple[SalesforceSim, str], client: Salesforce) -> None:
    """Batches by their locator; errors arrive as the library's exceptions."""
    org, _ = sim
    org.api.page = 3
    for n in range(8):
        org.org.create("Lead", {"LastName": f"L{n}", "Company": "C"}, "user", at=1.0 + n)
    first = client.query("SELECT Id FROM Lead ORDER BY Id")
    assert (first["totalSize"], first["done"], len(first["records"])) == (8, False, 3)
    rest = client._call_salesforce("GET", client.base_url + first["nextRecordsUrl"].partition(DATA)[2][1:], name="q")
    assert len(rest.json()["records"]) == 3
    with pytest.raises(SalesforceMalformedRequest, match="MALFORMED_QUERY"):
        client.query("SELECT FROM Contact")
    with pytest.raises(SalesforceMalformedRequest, match="REQUIRED_FIELD_MISSING"):
        at(client, "Lead").create({"LastName": "Lee"})
    with pytest.raises(SalesforceResourceNotFound):
        at(client, "Contact").get("0035f00000ZZZZZ")
    org.login.expire()
    with pytest.raises(SalesforceExpiredSession):
        client.query("SELECT Id FROM Contact")


@pytest.mark.parametrize(
    ("condition", "hits"),
    [
        ("Email = 'ADA@one.example'", "a"),
        ("Email != 'ada@one.example'", "bc"),
        ("Email IN ('ada@one.example', 'BEA@one.example')", "ab"),
        ("Email = null", "c"),
        ("DoNotCall = true OR (Email = 'ada@one.example' AND DoNotCall = false)", "ab"),
        ("SystemModstamp >= 2026-03-01T00:00:02Z AND SystemModstamp < 2026-03-01T00:00:03.000Z", "b"),
        ("LastName = 'O\\'Neil'", "c"),
    ],
)
def test_conditions(condition: str, hits: str) -> None:
    """Texts without case, times, null, brackets, escapes."""
    rows = {
        "a": {"Email": "ada@one.example", "DoNotCall": False, "SystemModstamp": "2026-03-01T00:00:01.000+0000"},
        "b": {"Email": "bea@one.example", "DoNotCall": True, "SystemModstamp": "2026-03-01T00:00:02.000+0000"},
        "c": {"Email": None, "DoNotCall": False, "SystemModstamp": None, "LastName": "O'Neil"},
    }
    asked = parse(f"SELECT Id FROM Contact WHERE {condition} ORDER BY SystemModstamp DESC, Id LIMIT 7")
    assert "".join(name for name, row in rows.items() if asked.test(row)) == hits
    assert (asked.order, asked.limit) == ((("SystemModstamp", True), ("Id", False)), 7)


def test_the_days_of_a_condition() -> None:
    """Counted back from the clock that is given."""
    asked = parse("SELECT Id FROM Task WHERE CreatedDate = LAST_N_DAYS:30", datetime(2026, 3, 31, tzinfo=UTC))
    at = {day: {"CreatedDate": f"2026-03-{day}T00:00:00.000+0000"} for day in ("01", "02")}
    assert [day for day, row in at.items() if asked.test(row)] == ["01", "02"]
    assert not asked.test({"CreatedDate": "2026-02-28T00:00:00.000+0000"})
    assert not asked.test({"CreatedDate": None})


def test_a_contact_s_account_is_a_relation() -> None:
    """Made with the account, replaced with it, gone with it; one that was there becomes the direct one."""
    api = FakeSalesforce()
    one, two = (api.add("Account", Name=name) for name in ("One", "Two"))
    ada = api.add(Email="ada@one.example", AccountId=one)
    api.add("AccountContactRelation", AccountId=two, ContactId=ada)

    def relations() -> list[tuple[str, bool]]:
        return [(r["AccountId"], r["IsDirect"]) for r in api.org.all("AccountContactRelation")]

    assert relations() == [(one, True), (two, False)]
    api.org.update("Contact", ada, {"AccountId": two}, "user")
    assert relations() == [(two, True)]
    api.org.update("Contact", ada, {"AccountId": None}, "user")
    assert relations() == []


@pytest.mark.parametrize(
    "text", ["", "SELECT", "SELECT Id FROM", "SELECT Id FROM A WHERE", "SELECT Id FROM A LIMIT x", "{"]
)
def test_what_is_no_query(text: str) -> None:
    """MALFORMED_QUERY."""
    with pytest.raises(SoqlError):
        parse(text)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"records": [{"attributes": {"type": "Contact"}, "LastNme": "x"}]}, 400, "INVALID_FIELD"),
        (
            {"records": [{"attributes": {"type": "Contact"}, "LastName": "x", "DoNotCall": "true"}]},
            400,
            "JSON_PARSER_ERROR",
        ),
        ({"records": [{"LastName": "x"}]}, 400, "INVALID_TYPE"),
        ({"records": [{"attributes": {"type": "Contact"}}] * 201}, 400, "EXCEEDED_ID_LIMIT"),
        ({"records": [{"attributes": {"type": t}} for t in ("Contact", "Lead") * 6]}, 400, "INVALID_INPUT"),
        ({}, 400, "JSON_PARSER_ERROR"),
    ],
)
def test_wrong_requests_are_caught(body: dict[str, Any], status: int, code: str) -> None:
    """The saboteurs of a connector: a wrong name, a wrong type, too many; the simulator refuses each."""
    import orjson

    reply = FakeSalesforce().api.call("POST", f"{DATA}/composite/sobjects", {}, orjson.dumps(body), {}, "api")
    assert (reply.status, reply.body[0]["errorCode"]) == (status, code)


def test_tokens(sim: tuple[SalesforceSim, str]) -> None:
    """A JWT that the certificate proves opens the org; a refresh token that is used twice revokes its family."""
    _, url = sim
    key = RSAKey.generate_key(2048, private=True)
    org = SalesforceSim(certificate=key.as_pem(private=False).decode())
    now = int(org.clock())
    claims = {"iss": CLIENT_ID, "sub": USER, "aud": "https://login.salesforce.com", "exp": now + 150}

    def ask(**wrong: Any) -> int:
        assertion = jwt.encode({"alg": "RS256"}, {**claims, **wrong}, key)
        return org.login.answer({"grant_type": JWT, "assertion": assertion}, url)[0]

    assert ask() == 200
    wrongs: tuple[dict[str, Any], ...] = (
        {"exp": now - 1},
        {"exp": now + 900},
        {"aud": url},
        {"sub": "x"},
        {"iss": "x"},
    )
    assert [ask(**wrong) for wrong in wrongs] == [400] * 5
    form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    (first,) = org.login.refresh
    status, said = org.login.answer({**form, "refresh_token": first}, url)
    assert (status, said["instance_url"]) == (200, url)
    assert org.login.takes(f"Bearer {said['access_token']}")
    assert org.login.answer({**form, "refresh_token": first}, url)[0] == 400
    assert not org.login.takes(f"Bearer {said['access_token']}")
    assert org.login.answer({**form, "refresh_token": said["refresh_token"]}, url)[0] == 400


def test_messages_are_read_by_the_connector(receiver: Receiver) -> None:
    """What the simulator sends over a line is trusted and understood; another secret is not."""
    org = SalesforceSim(secret=SECRET, webhook=f"{receiver.url}/hook")
    with Sandbox(salesforce=org) as sandbox:
        body = {"LastName": "Lee & Söhne", "Email": "ann@example.com", "Company": "C", "HasOptedOutOfEmail": True}
        lead = sandbox.call(lambda: org.edit({"action": "create", "entity": "Lead", "fields": body}))
        taken = receiver.take()
        delivery = Delivery("POST", taken.url, {}, taken.body, datetime.now(UTC))
        (event,) = connect(FakeSalesforce()).receive(delivery).events
        assert (event.action, event.ref.value, event.urgent) == (Action.CHANGED, lead["Id"], True)
        contact = sandbox.call(lambda: org.edit({"action": "convert", "id": lead["Id"]}))
        taken = receiver.take()
        delivery = Delivery("POST", taken.url, {}, taken.body, datetime.now(UTC))
        events = connect(FakeSalesforce()).receive(delivery).events
        assert {(e.action, e.ref.value, e.losers) for e in events} == {
            (Action.CHANGED, contact["Id"], ()),
            (Action.MERGED, contact["Id"], (lead["Id"],)),
        }


def test_a_call_without_a_token_is_turned_away(sim: tuple[SalesforceSim, str]) -> None:
    """401 in Salesforce's words; the list of versions is open; the quota is told."""
    _, url = sim
    with httpx.Client(base_url=url, verify=stage.PLAIN) as plain:
        answer = plain.get(f"{DATA}/limits")
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
        assert answer.headers["sforce-limit-info"].startswith("api-usage=")
        assert plain.get("/services/data/").json()[0]["version"] == "67.0"
