"""HubSpot's deliveries: the published signatures, what is not trusted, and every type of event."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors import _hubspot_hooks as hooks
from connectors.contract import (
    Action,
    Delivery,
    Kind,
    Ref,
    Unreadable,
    Untrusted,
)
from connectors.hubspot import HubSpot
from tests.examples.hubspot import NOW, ms
from tests.examples.hubspot import connect as plain

SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"  # HubSpot's own, in the published examples
URL = "https://www.example.com/webhook_uri"


def connect(client_secret: str = SECRET) -> HubSpot:
    """Nothing is called."""
    return plain(client_secret=client_secret)


BODY = b"{'example_field':'example_value'}"
EVENT = (
    b'[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":'
    b'"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]'
)


@pytest.mark.parametrize(
    ("version", "method", "body", "stamp", "expected"),
    [  # github.com/HubSpot/hubspot-api-python and hubspot-api-php, tests of the signature class
        ("v1", "POST", BODY, "", "69fc6631a867edd4f9e9e627fc5c1148e3fbdd8b21837b6d2b8901c1fa57f750"),
        ("v2", "POST", BODY, "", "4fe4e3a7d3cf09db53be39d0a58130e2aaba074ec123a9e355b876a689a1c383"),
        ("v2", "GET", b"", "", "eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e"),
        ("v3", "POST", BODY, "1693657560000", "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="),
        (
            "v2",
            "POST",
            b'{"example_field":"example_value"}',
            "",
            "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900",
        ),
        ("v1", "POST", EVENT, "", "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de"),
    ],
)
def test_published_signatures_hold(version: str, method: str, body: bytes, stamp: str, expected: str) -> None:
    """Every signature that HubSpot publishes is made, and accepted, here."""
    assert hooks.sign(version, SECRET, method, URL, body, stamp) == expected
    received = datetime.fromtimestamp(int(stamp) / 1000, UTC) if stamp else NOW
    headers = (
        {"x-hubspot-signature-v3": expected, "x-hubspot-request-timestamp": stamp}
        if version == "v3"
        else {"x-hubspot-signature": expected, "x-hubspot-signature-version": version}
    )
    hooks.verify(Delivery(method, URL, headers, body, received), [SECRET])
    for spoiled in (Delivery(method, URL, headers, body + b" ", received),):
        with pytest.raises(Untrusted):
            hooks.verify(spoiled, [SECRET])


def delivery(
    body: bytes | list[Any] | dict[str, Any],
    *,
    secret: str = SECRET,
    version: str = "v3",
    url: str = URL,
    signed_url: str | None = None,
    age: timedelta = timedelta(0),
    **headers: str | None,
) -> Delivery:
    """A delivery signed as HubSpot would; headers override (None takes one away), underscores for dashes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stamp = str(ms(NOW - age))
    signature = hooks.sign(version, secret, "POST", signed_url if signed_url is not None else url, raw, stamp)
    own: dict[str, str | None] = (
        {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": stamp}
        if version == "v3"
        else {"x-hubspot-signature": signature, "x-hubspot-signature-version": version}
    )
    own |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Delivery("POST", url, {k: v for k, v in own.items() if v is not None}, raw, NOW)


@pytest.mark.parametrize(
    "good",
    [
        pytest.param(delivery(EVENT), id="v3"),
        pytest.param(delivery(EVENT, version="v1"), id="v1 alone"),
        pytest.param(delivery(EVENT, version="v2"), id="v2 alone"),
        pytest.param(delivery(EVENT, age=timedelta(seconds=300)), id="five minutes old"),
        pytest.param(delivery(EVENT, age=timedelta(seconds=-300)), id="five minutes ahead"),
        pytest.param(delivery(EVENT, version="v1", age=timedelta(days=9)), id="v1 carries no time"),
        pytest.param(delivery(EVENT, secret="old"), id="the old secret while rotating"),
        pytest.param(
            delivery(EVENT, url=URL + "?to=a%40b%2Fc&x=1%2c2%20", signed_url=URL + "?to=a@b/c&x=1,2%20"),
            id="signed over the decoded URL",
        ),
        pytest.param(delivery(EVENT, url=URL + "?to=a%40b"), id="signed over the URL as called"),
    ],
)
def test_what_hubspot_signed_is_accepted(good: Delivery) -> None:
    """A good signature of any version, with any of the secrets, lets the event in."""
    received = connect(client_secret=f"{SECRET}, old").receive(good)
    assert [e.ref for e in received.events] == [Ref("123")]
    assert 200 <= received.answer.status < 300


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(delivery(EVENT, secret="wrong"), id="another secret"),
        pytest.param(delivery(EVENT, secret=f"{SECRET}, old"), id="the setting taken as one secret"),
        pytest.param(delivery(EVENT, age=timedelta(seconds=301)), id="too old"),
        pytest.param(delivery(EVENT, age=timedelta(seconds=-301)), id="from the future"),
        pytest.param(delivery(EVENT, x_hubspot_request_timestamp=None), id="no timestamp"),
        pytest.param(delivery(EVENT, x_hubspot_request_timestamp="now"), id="timestamp of words"),
        pytest.param(delivery(EVENT, x_hubspot_request_timestamp="9" * 40), id="timestamp of another age"),
        pytest.param(delivery(EVENT, x_hubspot_request_timestamp=str(ms(NOW) + 1)), id="timestamp not the signed one"),
        pytest.param(delivery(EVENT, x_hubspot_signature_v3=None), id="no signature"),
        pytest.param(delivery(EVENT, x_hubspot_signature_v3=""), id="empty signature"),
        pytest.param(delivery(EVENT, x_hubspot_signature_v3="ü\udce4"), id="signature outside ASCII"),
        pytest.param(delivery(EVENT, url=URL + "2", signed_url=URL), id="another URL"),
        pytest.param(delivery(EVENT, version="v2", url=URL + "2", signed_url=URL), id="another URL, v2"),
        pytest.param(delivery(EVENT, version="v1", x_hubspot_signature_version="v9"), id="unknown version"),
        pytest.param(delivery(EVENT, version="v1", x_hubspot_signature_version=None), id="no version"),
        pytest.param(delivery(EVENT, version="v1", x_hubspot_signature_version="v2"), id="v1 called v2"),
        pytest.param(
            delivery(EVENT, version="v1", x_hubspot_signature_v3="x", x_hubspot_request_timestamp=str(ms(NOW))),
            id="v3 decides alone where it is present",
        ),
    ],
)
def test_what_hubspot_did_not_sign_is_untrusted(bad: Delivery) -> None:
    """Anything spoiled or missing is Untrusted, never another error, and says no secret."""
    with pytest.raises(Untrusted) as caught:
        connect(client_secret=f"{SECRET}, old").receive(bad)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"", b"{", b"7", b'"x"', b"[1]", b'[{"a":1}]', b"{}", b"[" * 99_999])
def test_signed_nonsense_is_unreadable(body: bytes) -> None:
    """What is trusted but makes no sense is Unreadable."""
    with pytest.raises(Unreadable):
        connect().receive(delivery(body))


def event(type_: str, **more: Any) -> dict[str, Any]:
    common = {"eventId": 7, "subscriptionId": 25, "portalId": 33, "appId": 11, "occurredAt": 1735689600123}
    return {**common, "subscriptionType": type_, "attemptNumber": 0, "changeSource": "CRM_UI", **more}


@pytest.mark.parametrize(
    ("row", "action", "id_", "losers"),
    [
        (event("contact.creation", objectId=1), Action.CHANGED, "1", ()),
        (event("contact.propertyChange", objectId="2", propertyName="a", propertyValue="b"), Action.CHANGED, "2", ()),
        (event("contact.deletion", objectId=3), Action.DELETED, "3", ()),
        (event("contact.restore", objectId=4), Action.RESTORED, "4", ()),
        (event("contact.privacyDeletion", objectId=5), Action.ERASED, "5", ()),
        (
            event("contact.merge", primaryObjectId=6, mergedObjectIds=[7, 8], newObjectId=6),
            Action.MERGED,
            "6",
            ("7", "8"),
        ),
        (event("contact.merge", primaryObjectId=6, mergedObjectIds=[7], newObjectId=9), Action.MERGED, "9", ("7", "6")),
        (event("contact.merge", primaryObjectId=6, mergedObjectIds=[7]), Action.MERGED, "6", ("7",)),
        (
            event("contact.associationChange", associationType="CONTACT_TO_COMPANY", fromObjectId=10, toObjectId=20),
            Action.CHANGED,
            "10",
            (),
        ),
        (
            event("company.associationChange", associationType="COMPANY_TO_CONTACT", fromObjectId=20, toObjectId=10),
            None,
            "",
            (),
        ),
        (
            event("contact.associationChange", associationType="COMPANY_TO_CONTACT", fromObjectId=20, toObjectId=10),
            Action.CHANGED,
            "10",
            (),
        ),
        (event("object.creation", objectTypeId="0-1", objectId=11), Action.CHANGED, "11", ()),
        (event("object.deletion", objectTypeId="0-2", objectId=11), None, "", ()),
        (
            event(
                "object.associationChange", fromObjectTypeId="0-2", toObjectTypeId="0-1", fromObjectId=1, toObjectId=2
            ),
            Action.CHANGED,
            "2",
            (),
        ),
        (
            event(
                "object.associationChange", fromObjectTypeId="0-2", toObjectTypeId="0-3", fromObjectId=1, toObjectId=2
            ),
            None,
            "",
            (),
        ),
        (
            {**event("x", objectId=12), "subscriptionType": None, "eventType": "contact.creation"},
            Action.CHANGED,
            "12",
            (),
        ),
        (event("company.creation", objectId=13), None, "", ()),
        (event("contact.somethingNew", objectId=13), None, "", ()),
        (event("conversation.newMessage", objectId=13), None, "", ()),
    ],
    ids=lambda v: v.get("subscriptionType") if isinstance(v, dict) else None,
)
def test_events(row: dict[str, Any], action: Action | None, id_: str, losers: tuple[str, ...]) -> None:
    """Each event type says what happened to which contact; what is not about contacts says nothing."""
    for body in ([row], row):
        found = [e for e in connect().receive(delivery(body)).events if e.kind is Kind.CONTACT]
        assert [(e.action, e.ref, e.losers) for e in found] == ([(action, Ref(id_), losers)] if action else [])
        assert all(
            e.occurred_at == datetime(2025, 1, 1, 0, 0, 0, 123_000, UTC) and e.kind is Kind.CONTACT for e in found
        )


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (event("company.creation", objectId=13), [(Kind.COMPANY, "13", Action.CHANGED, ())]),
        (event("deal.propertyChange", objectId=7, propertyName="amount"), [(Kind.DEAL, "7", Action.CHANGED, ())]),
        (event("company.deletion", objectId=13), [(Kind.COMPANY, "13", Action.DELETED, ())]),
        (
            event("company.merge", primaryObjectId=1, mergedObjectIds=[2], newObjectId=1),
            [(Kind.COMPANY, "1", Action.MERGED, ("2",))],
        ),
        (
            event("contact.associationChange", associationType="CONTACT_TO_COMPANY", fromObjectId=10, toObjectId=5),
            [(Kind.COMPANY, "5", Action.CHANGED, ()), (Kind.CONTACT, "10", Action.CHANGED, ())],
        ),
        (
            event("deal.associationChange", associationType="DEAL_TO_COMPANY", fromObjectId=7, toObjectId=5),
            [(Kind.DEAL, "7", Action.CHANGED, ()), (Kind.COMPANY, "5", Action.CHANGED, ())],
        ),
        (event("object.deletion", objectTypeId="0-3", objectId=7), [(Kind.DEAL, "7", Action.DELETED, ())]),
        (event("ticket.creation", objectId=13), []),
    ],
    ids=lambda v: v.get("subscriptionType") if isinstance(v, dict) else None,
)
def test_events_of_companies_and_deals(
    row: dict[str, Any], told: list[tuple[Kind, str, Action, tuple[str, ...]]]
) -> None:
    """Each says which company or deal to look at; an association is news for both of its ends."""
    found = connect().receive(delivery([row])).events
    assert [(e.kind, e.ref.value, e.action, e.losers) for e in found] == told
    assert len({e.dedupe for e in found}) == len(found)


def test_an_object_of_ones_own_stands_for_deals() -> None:
    """Its events, its reading, its associations go by its type."""
    it = plain(client_secret=SECRET, deal_object="2-1234567")
    row = event("object.creation", objectTypeId="2-1234567", objectId=7)
    assert [(e.kind, e.ref.value) for e in it.receive(delivery([row])).events] == [(Kind.DEAL, "7")]
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        found = {"id": "7", "properties": {}, "updatedAt": "2026-01-01T00:00:00Z"}
        results = [found] if request.url.path.endswith("objects/2-1234567/batch/read") else []
        return httpx.Response(200, json={"results": results})

    (record,) = plain(httpx.MockTransport(answer), deal_object="2-1234567").read(Kind.DEAL, ["7"])
    assert record.ties == {Kind.CONTACT: (), Kind.COMPANY: ()}
    assert asked == [
        "/crm/v3/objects/2-1234567/batch/read",
        "/crm/v4/associations/2-1234567/contacts/batch/read",
        "/crm/v4/associations/2-1234567/companies/batch/read",
    ]


def test_a_malformed_entry_does_not_hold_the_others() -> None:
    """Of a hundred entries, the readable ones come through."""
    rows = [event("contact.creation", objectId=i) for i in range(97)]
    rows += [event("contact.creation", objectId=True), event("contact.creation"), "junk"]
    assert len(connect().receive(delivery(rows)).events) == 97


def test_copies_share_a_dedupe_key() -> None:
    """Retries and renumbered copies are the same happening; another value, time, property or record is another."""
    base = event("contact.propertyChange", objectId=1, propertyName="email", propertyValue="a@example.com")
    keys = [
        connect().receive(delivery([{**base, **change}])).events[0].dedupe
        for change in (
            {},
            {"attemptNumber": 3},
            {"eventId": 8},
            {"propertyValue": "b@example.com"},
            {"occurredAt": 1},
            {"propertyName": "phone"},
            {"objectId": 2},
            {"subscriptionId": 26},
            {"subscriptionType": "contact.creation"},
        )
    ]
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys[2:])) == 7
    assert "example.com" not in "".join(keys)
