"""What somebody agreed to and objected to, and an operator's word about it, through the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.core.words import Channel, Entry, Reason, Status
from app.ops import consents
from app.records import ledger
from tests.apihelp import Api, add, add_contacts, rows_of, token
from tests.test_consent_travels import ANN, mailing
from tests.test_consent_travels import world as travels
from tests.test_deciding import plain

VALUES = {"email": "ann@x.org", "email_alternates": ["anna@y.org"], "phone": "+4930901820", "mobile_phone": "+491511"}


def say(database: Database, address: str, status: str, reason: str, at: int, **more: Any) -> None:
    channel = Channel(more.pop("channel", "email"))
    entry = Entry(address, channel, more.pop("purpose", ""), Status(status), Reason(reason), "chimp", at, **more)
    with database.write() as db:
        ledger.append(db, [(entry, 7)], at + 1)


def ann(database: Database) -> Api:
    """Contact 1, with addresses of every channel, and an API whose mappings know e-mail and news."""
    (number,) = add_contacts(database, {"values": VALUES})
    for key, value, strong in (("email", "ann@x.org", 1), ("email", "anna@y.org", 0), ("phone", "+4930901820", 0)):
        add(database, t.contact_key, {"key": key, "value": value, "contact_id": number, "strong": strong})
    return Api(database, plain(database).connections)


def test_what_holds_is_said_for_each_channel_and_purpose(database: Database) -> None:
    """With why, since when and by whom; what mappings know and nobody has spoken of is there as well."""
    api = ann(database)
    say(database, "ann@x.org", "granted", "form", 1_000, evidence={"form": "ip"})
    say(database, "ann@x.org", "withdrawn", "unsubscribe", 2_000, purpose="offers")
    say(database, "anna@y.org", "suppressed", "hard_bounce", 3_000)
    say(database, "+491511", "granted", "sync", 4_000, channel="sms")
    say(database, "other@x.org", "withdrawn", "complaint", 5_000)
    shown = api.get("/contacts/1/consent")
    assert (shown["contact_id"], shown["merged_into"], shown["next"]) == (1, None, None)
    keys = ("address", "channel", "purpose", "status", "allowed", "proven", "reason")
    assert [tuple(h[k] for k in keys) for h in shown["holds"]] == [
        ("ann@x.org", "email", "", "granted", True, True, "form"),
        ("ann@x.org", "email", "news", "none", False, False, None),
        ("ann@x.org", "email", "offers", "withdrawn", False, False, "unsubscribe"),
        ("anna@y.org", "email", "", "suppressed", False, False, "hard_bounce"),
        ("+491511", "sms", "", "granted", True, False, "sync"),
    ]
    first = shown["holds"][0]
    assert (first["source"], first["since"], first["actor"]) == ("chimp", "1970-01-01T00:00:01.000Z", None)
    assert [n["address"] for n in shown["lines"]] == ["+491511", "anna@y.org", "ann@x.org", "ann@x.org"]
    oldest = shown["lines"][-1]
    assert (oldest["evidence"], oldest["event"], oldest["received_at"]) == (
        {"form": "ip"},
        7,
        "1970-01-01T00:00:01.001Z",
    )


def test_the_ledger_is_paged(database: Database) -> None:
    """The last stored first, each line once; what holds is the same on every page."""
    api = ann(database)
    for n in range(5):
        say(database, "ann@x.org", "granted", "sync", n)
    seen: list[int] = []
    after = None
    while True:
        page = api.get("/contacts/1/consent", limit=2, after=after)
        assert page["holds"][0]["since"] == "1970-01-01T00:00:00.004Z"
        seen += [line["id"] for line in page["lines"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


def test_whose_consent_it_is(database: Database) -> None:
    """A contact that was merged says so; one that is not there is a 404."""
    api = ann(database)
    (winner,) = add_contacts(database, {})
    with database.write() as db:
        db.execute(t.contact.update().where(t.contact.c.id == 1).values(merged_into=winner))
    assert api.get("/contacts/1/consent")["merged_into"] == winner
    assert api.get("/contacts/9/consent", 404)["detail"] == "there is no contact 9"
    assert api("GET", "/contacts/1/consent", client=("192.0.2.1", 5)).status_code == 403


def test_an_operators_word_travels(database: Database) -> None:
    """Written down with who said it, shown at once, and held by every vendor afterwards."""
    w = travels(database)
    w.vendors["hub"].put(None, {**ANN, "mailing": "never"})
    w.settle()
    api = Api(database, w.connections)
    shown = api.post("/contacts/1/consent", {"by": "Kim", "status": "withdrawn", "evidence": "on the phone"}, 200)
    assert api.woken == 1
    assert [(h["status"], h["actor"], h["source"]) for h in shown["holds"]] == [("withdrawn", "Kim", "operator")]
    assert (shown["lines"][0]["evidence"], shown["lines"][0]["reason"]) == ({"operator": "on the phone"}, "manual")
    w.settle()
    assert (mailing(w, "hub"), mailing(w, "chimp")) == ("no", "no")
    shown = api.post("/contacts/1/consent", {"by": "Lou", "status": "granted", "evidence": "signed form"}, 200)
    assert [(h["status"], h["allowed"], h["proven"]) for h in shown["holds"]] == [("granted", True, True)]
    w.settle()
    assert (mailing(w, "hub"), mailing(w, "chimp")) == ("yes", "yes")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"by": "Kim"}, 422, "Field required"),
        ({"status": "withdrawn"}, 422, "Field required"),
        ({"by": " ", "status": "withdrawn"}, 422, "at least 1 character"),
        ({"by": "Kim", "status": "pending"}, 422, "'granted' or 'withdrawn'"),
        ({"by": "Kim", "status": "withdrawn", "channel": "post"}, 422, "'email', 'phone' or 'sms'"),
        ({"by": "Kim", "status": "withdrawn", "purpose": "The News"}, 422, "match pattern"),
        ({"by": "Kim", "status": "withdrawn", "proof": "x"}, 422, "Extra inputs"),
        ({"by": "Kim", "status": "granted", "evidence": "  "}, 422, "at least 1 character"),
        ({"by": "Kim", "status": "granted"}, 422, "a grant needs evidence"),
        (
            {"by": "Kim", "status": "withdrawn", "purpose": "newz"},
            409,
            "nobody knows this purpose of email; known: news",
        ),
        ({"by": "Kim", "status": "granted", "evidence": "form", "purpose": "news"}, 409, "it would lift nothing"),
    ],
)
def test_a_word_that_cannot_be_taken_is_said(
    database: Database, body: Mapping[str, Any], status: int, said: str
) -> None:
    """And is not written down."""
    api = ann(database)
    say(database, "ann@x.org", "withdrawn", "unsubscribe", 1_000)
    answer = api("POST", "/contacts/1/consent", json=body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert len(rows_of(database, t.consent)) == 1
    assert api.woken == 0


def test_without_an_address_there_is_nothing_to_keep_it_under(database: Database) -> None:
    """A conflict with what the contact is, not with the request."""
    api = ann(database)
    add_contacts(database, {})
    body = {"by": "Kim", "status": "withdrawn"}
    assert "there is no address for email" in api.post("/contacts/2/consent", body, 409)["detail"]
    assert api.post("/contacts/3/consent", body, 404)["detail"] == "there is no contact 3"


def test_a_word_is_for_those_with_the_token(database: Database) -> None:
    """Nobody else grants anything."""
    api = Api(database, token=token("a-token-of-some-length"))
    add_contacts(database, {"values": VALUES})
    assert api("POST", "/contacts/1/consent", json={"by": "Eve", "status": "withdrawn"}).status_code == 401
    assert rows_of(database, t.consent) == []


@pytest.mark.parametrize(
    ("address", "channel", "status", "expected"),
    [
        ("Ann@X.org", "email", "granted", ["ann@x.org"]),
        ("anna@y.org", "email", "granted", ["anna@y.org"]),
        ("anna@y.org", "email", "withdrawn", ["ann@x.org", "anna@y.org"]),
        ("ann@x.org", "sms", "granted", ["+491511"]),
        ("+4930901820", "phone", "withdrawn", ["+4930901820"]),
        ("+4930901820", "email", "withdrawn", ["ann@x.org", "anna@y.org"]),
        ("New@x.org", "email", "withdrawn", ["new@x.org"]),
        ("new@x.org", "sms", "withdrawn", []),
        ("+49999", "sms", "withdrawn", ["+49999"]),
        ("+49999", "email", "granted", []),
    ],
)
def test_whom_an_address_means(
    database: Database, address: str, channel: str, status: str, expected: list[str]
) -> None:
    """A person's other channel by any of their addresses; somebody unknown by what was typed."""
    api = ann(database)
    with database.read() as db:
        found = consents.meant(db, api.connections, address, Channel(channel), Status(status))
    assert found == expected


def test_an_address_that_two_share_means_itself_alone(database: Database) -> None:
    """Nobody's own address is bound by a word about it; what is kept under it is shown."""
    api = ann(database)
    (other,) = add_contacts(database, {"values": {"email": "bob@x.org", "email_alternates": ["anna@y.org"]}})
    add(database, t.contact_key, {"key": "email", "value": "anna@y.org", "contact_id": other, "strong": 0})
    say(database, "anna@y.org", "withdrawn", "unsubscribe", 1_000)
    with database.read() as db:
        assert consents.meant(db, api.connections, "anna@y.org", Channel.EMAIL, Status.WITHDRAWN) == ["anna@y.org"]
        shown = consents.of_address(db, api.connections, "anna@y.org", limit=5)
    assert (shown.contact_id, len(shown.lines)) == (None, 1)
