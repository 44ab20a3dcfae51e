"""Salesforce by example: the simulator's org without a network, and what the conformance suite needs to judge by it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

from connectors._http import Http
from connectors.contract import Act, Action, Answer, Delivery, Doing, Ending, Event, Kind, Limits, Ref
from connectors.salesforce import Salesforce
from sandbox.salesforce_api import Api, error
from sandbox.salesforce_fields import FIELDS, SALUTATIONS
from sandbox.salesforce_org import ORG, Org, stamp
from sandbox.salesforce_soql import moment
from tests.stage import COLLEAGUE, COMPANY, Around, Example, Seed

TOKEN = "00D5f000000ABCD!AQEAQExampleSession"
SECRET = "9b1c2d3e4f5a6b7c8d9e"
BASE = "https://acme.my.salesforce.com"
SETTINGS = {
    "base_url": BASE,
    "access_token": TOKEN,
    "webhook_secrets": SECRET,
    "org_id": ORG,
    "fields": "FirstName,LastName,Title,DoNotCall,HasOptedOutOfEmail,Company,MailingCity,Salutation",
}
NOW = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)
DATA = "/services/data/v67.0"


class FakeSalesforce:
    """One org, in pages of a hundred rows; its clock stands a second after the latest change."""

    def __init__(self, seeds: Sequence[Seed] = (), *, duplicates: str = "off") -> None:
        self.org = Org(lambda: self.clock().timestamp(), lambda _: None, duplicates=duplicates)
        self.api = Api(self.org)
        self.api.page = 100
        self.calls: list[tuple[str, str, Any]] = []
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self.dates = True
        self.lock = threading.RLock()
        self.ids = [self.add(at=s.modified, Email=s.email, FirstName=s.text, LastName=s.other) for s in seeds]

    def clock(self) -> datetime:
        rows = [r for entity, rows in self.org.rows.items() if entity != "TaskStatus" for r in rows.values()]
        return max((moment(r["SystemModstamp"]) for r in rows), default=NOW) + timedelta(seconds=1)

    # --- what the suite asks ---

    def emails(self) -> Sequence[str]:
        rows = [r for entity in FIELDS for r in self.org.all(entity)]
        return [r["Email"] for r in rows if r["Email"] and not r.get("IsConverted")]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002 - as the suite's protocol names it
        self.org.rows[self.org.entity(id)][id]["SystemModstamp"] = stamp(at.timestamp())

    # --- the store ---

    def add(self, entity: str = "Contact", at: datetime = NOW, **fields: Any) -> str:
        given = {**({"LastName": "Byron"} if entity in FIELDS else {}), **fields}
        if entity == "Lead":
            given.setdefault("Company", "Example GmbH")
        with self.lock:
            return str(self.org.create(entity, given, "user", save=True, at=at.timestamp())["Id"])

    def row(self, id_: str) -> dict[str, Any]:
        return self.org.rows[self.org.entity(id_)][id_]

    # --- the wire ---

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.calls.append((request.method, request.url.path, orjson.loads(request.content or b"null")))
            troubled = self.trouble(request)
            response = self.answer(request) if troubled is None else troubled
            if self.dates:
                response.headers["date"] = self.clock().strftime("%a, %d %b %Y %H:%M:%S GMT")
            return response

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return refused(401, "INVALID_SESSION_ID", "Session expired or invalid")
        query, headers = dict(request.url.params), dict(request.headers)
        reply = self.api.call(request.method, request.url.path, query, request.content, headers, "api")
        return httpx.Response(reply.status, json=reply.body) if reply.body is not None else httpx.Response(reply.status)


def refused(status: int, code: str, text: str) -> httpx.Response:
    return httpx.Response(status, json=error(status, code, text).body)


# --- what stands around people ----------------------------------------------------------------------------------------

_AT = "2026-02-03T04:05:06.000+0000"
_MOMENT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def around(vendor: FakeSalesforce) -> Around:
    """An account, an opportunity, a user, and what was done."""
    add, (one, two) = vendor.add, vendor.ids[:2]
    account = add("Account", Name=COMPANY)
    vendor.org.update("Contact", one, {"AccountId": account}, "user")
    add("AccountContactRelation", AccountId=account, ContactId=two, Roles="Decision Maker")
    add("Account", Name="Other")
    deal = add("Opportunity", Name="Big", AccountId=account, StageName="Prospecting", CloseDate="2026-12-01")
    add("OpportunityContactRole", OpportunityId=deal, ContactId=one, IsPrimary=True)
    add("OpportunityContactRole", OpportunityId=deal, ContactId=two, Role="Evaluator")
    add("User", Name="The portal", Email="portal@suite.example", UserType="CspLitePortal")
    kim = add("User", Name="Kim Doe", Email=COLLEAGUE)

    def did(entity: str, **fields: Any) -> str:
        return add(entity, OwnerId=kim, **fields)

    call = did("Task", Subject="Hello", TaskSubtype="Call", CallDisposition="No Answer", WhoId=one, **_CLOSED)
    back = did("Task", TaskSubtype="Call", CallType="Inbound", WhoId=one, WhatId=deal, **_CLOSED)
    task = did("Task", ActivityDate="2026-02-03", WhoId=one)
    meeting = did("Event", Subject="Demo", StartDateTime=_AT, WhoId=one)
    add("EventRelation", EventId=meeting, RelationId=two, Status="Accepted")
    add("EventRelation", EventId=meeting, RelationId=kim)
    did("Event", StartDateTime=_AT, WhoId=one, IsChild=True)  # the copy of somebody invited
    shadow = did("Task", TaskSubtype="Email", WhoId=one, **_CLOSED)
    mail = add("EmailMessage", Subject="Offer", MessageDate=_AT, ActivityId=shadow, RelatedToId=deal)
    for who, how in ((kim, "FromAddress"), (one, "ToAddress")):
        add("EmailMessageRelation", EmailMessageId=mail, RelationId=who, RelationType=how)
    add("Task", Subject="Clicked (Tandem 0123456789abcdef)", WhoId=one, **_CLOSED)  # an entry of ours
    by, ada, bea, at = Ref(kim), Ref(one), Ref(two), _MOMENT
    hello, demo, offer = ({"title": title} for title in ("Hello", "Demo", "Offer"))
    acts = (
        Act(f"Task:{call}", ada, Doing.CALL, NOW, True, by, None, None, "phone", Ending.NO_ANSWER, None, hello),
        Act(f"Task:{back}", ada, Doing.REPLY, NOW, True, by, channel="phone", outcome=Ending.HELD, deal=deal),
        Act(f"Task:{task}", ada, Doing.TASK, at.replace(hour=0, minute=0, second=0), None, by, outcome=Ending.OPEN),
        Act(f"Event:{meeting}", ada, Doing.MEETING, at, True, by, channel="meeting", detail=demo),
        Act(f"Event:{meeting}:{two}", bea, Doing.MEETING, at, True, by, channel="meeting", detail=demo),
        Act(f"EmailMessage:{mail}:{one}", ada, Doing.MAIL, at, None, by, None, None, "email", Ending.SENT, deal, offer),
    )
    return Around(
        company=account,
        deal=deal,
        colleague=kim,
        acts=acts,
        later=lambda: f"Task:{add('Task', TaskSubtype='Call', WhoId=two, at=vendor.clock(), **_CLOSED)}",
    )


_CLOSED = {"Status": "Completed"}


def notes(vendor: FakeSalesforce, id_: str) -> list[str]:
    """The texts of somebody's completed tasks."""
    return [str(r["Description"]) for r in vendor.org.all("Task") if r["WhoId"] == id_ and r["IsClosed"]]


def connect(vendor: Callable[[httpx.Request], httpx.Response], **settings: str) -> Salesforce:
    """A connector before this vendor; nothing waits."""
    return over(httpx.MockTransport(vendor), **settings)


def over(transport: httpx.BaseTransport, **settings: str) -> Salesforce:
    """A connector over this transport."""
    own = {**SETTINGS, **settings}
    http = Http(
        base_url=Salesforce.base_url(own),
        hosts=Salesforce.hosts,
        limits=Limits(concurrency=4),
        headers=Salesforce.headers(own),
        transport=transport,
        breaker_failures=1000,
        sleep=lambda _: None,
    )
    return Salesforce(own, http)


# --- deliveries -------------------------------------------------------------------------------------------------------

URL = "https://tandem.example/webhooks/salesforce"


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A message: the secret stands in the URL."""
    return Delivery("POST", f"{URL}?{urlencode({'secret': secret})}", {"content-type": "text/xml"}, body, at)


def note(number: int, id_: str, more: str = "", entity: str = "Contact") -> str:
    """A notification, as on Salesforce's page."""
    return (
        f"<Notification><Id>04l5f00000{number:05d}AAA</Id>"
        f'<sObject xsi:type="sf:{entity}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        f' xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>{id_}</sf:Id>{more}</sObject></Notification>'
    )


def message(*notes: str, org: str = ORG) -> bytes:
    """An outbound message, as on Salesforce's page."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
        '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{org}</OrganizationId><ActionId>04k000000000001AAA</ActionId><SessionId/>"
        "<EnterpriseUrl>https://acme.my.salesforce.com/services/Soap/c/67.0/00D</EnterpriseUrl>"
        "<PartnerUrl>https://acme.my.salesforce.com/services/Soap/u/67.0/00D</PartnerUrl>"
        f"{''.join(notes)}</notifications></soapenv:Body></soapenv:Envelope>"
    ).encode()


ADA, BEA = "0035f00000AAAAA", "00Q5f00000AAAAA"
ACK = (
    b'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    b'<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    b"</soapenv:Body></soapenv:Envelope>"
)
BODY = message(
    note(1, ADA, "<sf:Email>ada@people.example</sf:Email>"),
    note(2, BEA, "<sf:HasOptedOutOfEmail>true</sf:HasOptedOutOfEmail>", "Lead"),
)


def _event(number: int, id_: str, *, urgent: bool) -> Event:
    # The last three characters tell which letters of the first fifteen are capitals: none, so AAA.
    key = hashlib.sha256(f"{ORG}:04l5f00000{number:05d}AAA".encode()).hexdigest()
    return Event(Kind.CONTACT, Action.CHANGED, Ref(id_), key, None, urgent=urgent)


SALESFORCE = Example(
    settings={**{name: value for name, value in SETTINGS.items() if name != "fields"}, "company_fields": "Name"},
    vendor=FakeSalesforce,
    email_field="Email",
    text_field="FirstName",
    other_field="LastName",
    secret="webhook_secrets",
    sign=sign,
    body=BODY,
    # Ids of 18 characters, worked out by hand: of "AAAAA" all five are capitals (31 = "5"), of "00Q5f" the third ("E").
    events=(_event(1, ADA + "AA5", urgent=False), _event(2, BEA + "EA5", urgent=True)),
    unknown=message(note(3, "5005f00000AAAAA", entity="Case")),
    other=message(note(4, ADA, "<sf:Email>ada@people.example</sf:Email>")),
    answer=Answer(200, ACK, "text/xml; charset=utf-8"),
    proof=("?secret",),
    body_is_signed=False,
    secrets_apart=",",
    missing="0035f00000ZZZZZAA5",
    bad={"Salutation": "nonsense"},
    falsy={"DoNotCall": False},
    error=lambda status, text: refused(status, "UNKNOWN_EXCEPTION", text),
    wire=lambda id_: [
        (
            "PATCH",
            f"{DATA}/composite/sobjects",
            {
                "allOrNone": False,
                "records": [{"attributes": {"type": "Contact"}, "id": id_, "FirstName": "Changed"}],
            },
        )
    ],
    options={"Salutation": SALUTATIONS},
    around=around,
    company_name="Name",
    notes=notes,
)
