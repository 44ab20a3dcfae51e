"""Consent per topic at Mailchimp, against the simulator: interests, marketing permissions, and the status beside them.

Every request and answer also passes the vendor's own specification, where it is at hand (speccheck).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from connectors import _mailchimp_hooks as hooks
from connectors._http import Http
from connectors.contract import (
    Delivery,
    Done,
    Exists,
    Failed,
    Kind,
    Order,
    Receipt,
    Ref,
    Refused,
    TryLater,
    Verb,
)
from connectors.mailchimp import Mailchimp
from sandbox.mailchimp_groups import Questions
from sandbox.serve import Sandbox
from tests import sandboxed as stage
from tests.sandboxed import join
from tests.speccheck import SpecCheck, folder, load

running, sandbox, mc, members = stage.running, stage.sandbox, stage.mc, stage.members  # the fixtures

SPECS = ("mailchimp-list-id-api-openapi.yml.gz", "mailchimp-root-api-openapi.yml")
SECRET = "sign-me-please-42"
ANN = "ann@example.com"
NOBODY = "0123456789"  # an id that no audience has


@dataclass
class Wire(httpx.BaseTransport):
    """Real sockets; ``said`` are the calls that change something."""

    inner: httpx.BaseTransport
    said: list[tuple[str, str, Any]] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "GET":
            request.read()
            body = stage.json.loads(request.content) if request.content else None
            self.said.append((request.method, request.url.path.rpartition("/lists/")[2].partition("/")[2], body))
        return self.inner.handle_request(request)


@pytest.fixture(scope="module")
def line() -> Iterator[httpx.BaseTransport]:
    """The way to the simulator, through the specification where there is one."""
    sockets = httpx.HTTPTransport(verify=False)
    there = all((folder() / "mailchimp" / name).is_file() for name in SPECS)
    yield SpecCheck(lax(load("mailchimp", *SPECS)), sockets) if there else sockets
    sockets.close()


def lax(document: Any) -> Any:
    """The specification without the form of times: an empty one, as Mailchimp has it, is against its own contract."""
    if isinstance(document, dict):
        return {k: lax(v) for k, v in document.items() if (k, v) != ("format", "date-time")}
    return [lax(v) for v in document] if isinstance(document, list) else document


@pytest.fixture
def wire(line: httpx.BaseTransport) -> Wire:
    return Wire(line)


@pytest.fixture
def asks(sandbox: Sandbox) -> Iterator[Questions]:
    """What the audience asks; as it was afterwards."""
    questions = sandbox.mailchimp.audience.questions
    yield questions
    questions.gdpr, questions.lenient = True, False


def connect(sandbox: Sandbox, transport: httpx.BaseTransport, **more: str) -> Mailchimp:
    settings = {
        "api_key": sandbox.mailchimp.key,
        "list_id": sandbox.mailchimp.audience.id,
        "base_url": sandbox.mailchimp_url,
        "signing_secret": SECRET,
        **more,
    }
    http = Http(
        base_url=Mailchimp.base_url(settings),
        hosts=Mailchimp.hosts,
        limits=Mailchimp.limits,
        headers=Mailchimp.headers(settings),
        transport=transport,
        sleep=lambda _seconds: None,
    )
    return Mailchimp(settings, http)


@pytest.fixture
def it(sandbox: Sandbox, wire: Wire) -> Mailchimp:
    return connect(sandbox, wire)


def update(contact: str, email: str | None, fields: Mapping[str, Any], key: str = "k") -> Order:
    known = {} if email is None else {"email_address": email}
    return Order(key, Kind.CONTACT, Verb.UPDATE, fields, id=contact, known=known)


def create(email: str, key: str = "k", *, again: bool = False, **fields: Any) -> Order:
    return Order(key, Kind.CONTACT, Verb.CREATE, {"email_address": email, **fields}, again=again)


def outcome(receipt: Receipt) -> str:
    """One word: done, exists, gone, or what went wrong."""
    match receipt:
        case Failed(problem=Refused() as refused):
            return refused.code
        case Failed(problem=problem):
            return type(problem).__name__
    return type(receipt).__name__.lower()


def chosen(mc: httpx.Client, members: str, slot: str) -> set[str]:
    """The names of the topics that are on."""
    found = mc.get(f"{members}/{slot}").json()
    on = {i for i, yes in found.get("interests", {}).items() if yes}
    on |= {p["marketing_permission_id"] for p in found.get("marketing_permissions", []) if p["enabled"]}
    return on


def status(mc: httpx.Client, members: str, slot: str) -> str:
    return str(mc.get(f"{members}/{slot}").json()["status"])


def become(mc: httpx.Client, members: str, state: str, email: str = ANN) -> str:
    """A member in this state; its contact id."""
    first = {"transactional": "transactional", "pending": "pending", "bound pending": "subscribed"}
    contact = str(join(mc, members, email, status=first.get(state, "subscribed"))["contact_id"])
    acts = {
        "unsubscribed": [{"action": "unsubscribe"}],
        "by admin": [{"action": "unsubscribe", "source": "admin"}],
        "cleaned": [{"action": "clean", "source": "admin"}],
        "archived": [{"action": "archive", "source": "admin"}],
        "bound archived": [{"action": "unsubscribe"}, {"action": "archive", "source": "admin"}],
        "bound pending": [{"action": "unsubscribe"}, {"member": {"status": "pending"}, "source": "api"}],
        "forgotten": [{"action": "delete", "source": "admin"}],
    }
    for act in acts.get(state, []):
        assert mc.post("/_sandbox/edit", json={"email": email, **act}).status_code == 200
    return contact


STATES = [
    "subscribed", "pending", "transactional", "unsubscribed", "by admin", "cleaned", "archived", "bound archived",
    "bound pending", "forgotten",
]  # fmt: skip
AWAY = {"archived", "bound archived", "forgotten"}


# --- reading ----------------------------------------------------------------------------------------------------------


def test_topics_are_read_flat(it: Mailchimp, asks: Questions, mc: httpx.Client, members: str) -> None:
    """By id, true or false, wherever a member is read: by id, by address, in a walk."""
    events, email = asks.interest("Events"), asks.permission("Email")
    permissions = [{"marketing_permission_id": email, "enabled": True}]
    ann = join(mc, members, ANN, interests={events: True}, marketing_permissions=permissions)
    found = [
        *it.read(Kind.CONTACT, [ann["contact_id"]]),
        *it.find(Kind.CONTACT, "email", [ANN]),
        *it.changed(Kind.CONTACT, None).records,
    ]
    assert len(found) == 3
    for record in found:
        told = {n: v for n, v in record.fields.items() if n.startswith(("interests", "marketing_permissions"))}
        assert told == {
            **{f"interests.{i}": i == events for i in asks.interests},
            **{f"marketing_permissions.{i}": i == email for i in asks.permissions},
        }


def test_without_gdpr_fields_nothing_is_said(it: Mailchimp, asks: Questions, mc: httpx.Client, members: str) -> None:
    """Not said is not false."""
    asks.gdpr = False
    join(mc, members, ANN)
    (record,) = it.find(Kind.CONTACT, "email", [ANN])
    assert not [name for name in record.fields if name.startswith("marketing_permissions")]


UNKNOWN: list[object] = [
    None,
    "x",
    [],
    [{}],
    [{"marketing_permission_id": "a"}],
    [{"enabled": True}],
    [{"marketing_permission_id": "a", "enabled": "no"}],
]


@pytest.mark.parametrize("shown", UNKNOWN)
def test_odd_permissions_say_nothing(sandbox: Sandbox, shown: object) -> None:
    """A permission without an id or without true or false is not guessed."""
    row = {"contact_id": "c1", "email_address": ANN, "marketing_permissions": shown, "tags_count": 0, "tags": []}
    answer = httpx.MockTransport(lambda _r: httpx.Response(200, json=row))
    (record,) = connect(sandbox, answer).read(Kind.CONTACT, ["c1"])
    assert record.fields == {"contact_id": "c1", "email_address": ANN, "tags": []}


def test_describe_lists_topics_in_words(it: Mailchimp, asks: Questions, mc: httpx.Client, members: str) -> None:
    """Group and interest, the text of a permission: so that a mapping can be written, and checked."""
    join(mc, members, ANN)
    properties = it.describe(Kind.CONTACT).properties
    told = {
        n: (p.type, p.label, p.read_only) for n, p in properties.items() if n.startswith(("interests", "marketing"))
    }
    assert told == {
        **{f"interests.{i}": ("boolean", f"Interests: {name}", False) for i, name in asks.interests.items()},
        **{
            f"marketing_permissions.{i}": ("boolean", f"Marketing permission: {text}", False)
            for i, text in asks.permissions.items()
        },
    }


@pytest.mark.parametrize(
    ("state", "gdpr", "count"),
    [("subscribed", True, 3), ("archived", True, 3), ("forgotten", True, 0), ("subscribed", False, 0)],
)
def test_permissions_are_those_that_a_member_shows(
    it: Mailchimp, asks: Questions, mc: httpx.Client, members: str, state: str, gdpr: bool, count: int
) -> None:
    """No endpoint lists them; an archived member will do, an empty audience shows none."""
    asks.gdpr = gdpr
    become(mc, members, state)
    properties = it.describe(Kind.CONTACT).properties
    assert sum(name.startswith("marketing_permissions.") for name in properties) == count


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "on"),
    [("true", True), ("TRUE", True), (True, True), ("false", False), (False, False), (None, False)],
)
@pytest.mark.parametrize("kind", ["interest", "permission"])
def test_a_topic_is_written_and_nothing_else(
    it: Mailchimp, wire: Wire, asks: Questions, mc: httpx.Client, members: str, kind: str, said: object, on: bool
) -> None:
    """By contact id, without a status and without the other topics, which stay as they are."""
    events, email = asks.interest("Events"), asks.permission("Email")
    others = {asks.interest("Offers"), asks.permission("Direct Mail")}
    permissions = [{"marketing_permission_id": i, "enabled": True} for i in (asks.permission("Direct Mail"), email)]
    interests = {events: True, asks.interest("Offers"): True}
    ann = join(mc, members, ANN, interests=interests, marketing_permissions=permissions)
    topic = events if kind == "interest" else email
    name = f"interests.{topic}" if kind == "interest" else f"marketing_permissions.{topic}"
    (receipt,) = it.write([update(ann["contact_id"], "old@example.com", {name: said})])
    assert isinstance(receipt, Done)
    assert receipt.record is not None
    assert receipt.record.fields[name] is on
    sent = {"interests": {topic: on}}
    if kind == "permission":
        sent = {"marketing_permissions": [{"marketing_permission_id": topic, "enabled": on}]}  # type: ignore[dict-item]
    assert wire.said == [("PATCH", f"members/{ann['contact_id']}", sent)]
    assert chosen(mc, members, ann["contact_id"]) - {events, email} == others
    assert (topic in chosen(mc, members, ann["contact_id"])) is on
    assert status(mc, members, ann["contact_id"]) == "subscribed"


@pytest.mark.parametrize("said", ["true", "false"])
@pytest.mark.parametrize("state", STATES)
def test_a_topic_changes_no_status(
    it: Mailchimp, wire: Wire, asks: Questions, mc: httpx.Client, members: str, state: str, said: str
) -> None:
    """Whatever state somebody is in, he is in it afterwards, and who is not there is not made."""
    contact = become(mc, members, state)
    before = mc.get(f"{members}/{contact}").json().get("status")
    fields = {f"interests.{asks.interest('Events')}": said, f"marketing_permissions.{asks.permission('Email')}": said}
    (receipt,) = it.write([update(contact, ANN, fields)])
    assert outcome(receipt) == ("gone" if state in AWAY else "done")
    assert mc.get(f"{members}/{contact}").json().get("status") == before
    assert not any("status" in body for _, _, body in wire.said)
    if state not in AWAY:
        assert chosen(mc, members, contact) == (
            {asks.interest("Events"), asks.permission("Email")} if said == "true" else set()
        )


@pytest.mark.parametrize("state", [*STATES, "nobody"])
def test_nobody_is_subscribed_again(
    it: Mailchimp, wire: Wire, asks: Questions, mc: httpx.Client, members: str, state: str
) -> None:
    """A create that meets somebody changes nothing; a forgotten address is refused for good, with one call."""
    contact = become(mc, members, state) if state != "nobody" else ""
    before = mc.get(f"{members}/{contact}").json().get("status") if contact else None
    fields = {f"marketing_permissions.{asks.permission('Email')}": "true", "status": "subscribed"}
    (receipt,) = it.write([create("Ann@Example.com", **fields)])
    assert outcome(receipt) == {"forgotten": "forgotten", "nobody": "done"}.get(state, "exists")
    if isinstance(receipt, Exists):
        assert receipt.ref == Ref(ANN, "email")
        assert (status(mc, members, contact), chosen(mc, members, contact)) == (before, set())
    assert [(method, path) for method, path, _ in wire.said] == [("POST", "members")]


@pytest.mark.parametrize(
    ("state", "wanted", "expected", "after"),
    [
        ("unsubscribed", "subscribed", "compliance", "unsubscribed"),
        ("cleaned", "subscribed", "compliance", "cleaned"),
        ("bound pending", "subscribed", "compliance", "pending"),
        ("by admin", "subscribed", "done", "subscribed"),
        ("unsubscribed", "pending", "done", "pending"),
        ("cleaned", "unsubscribed", "done", "unsubscribed"),
        ("subscribed", "unsubscribed", "done", "unsubscribed"),
        ("pending", "unsubscribed", "done", "unsubscribed"),
        ("transactional", "unsubscribed", "done", "unsubscribed"),
        ("archived", "subscribed", "gone", "archived"),
        ("bound archived", "subscribed", "gone", "archived"),
        ("forgotten", "subscribed", "gone", None),
    ],
)
def test_each_state_answers_to_a_status(
    it: Mailchimp,
    wire: Wire,
    mc: httpx.Client,
    members: str,
    state: str,
    wanted: str,
    expected: str,
    after: str | None,
) -> None:
    """Who left or bounced is asked at most; nothing is tried a second time."""
    contact = become(mc, members, state)
    (receipt,) = it.write([update(contact, ANN, {"status": wanted})])
    assert outcome(receipt) == expected
    assert mc.get(f"{members}/{contact}").json().get("status") in {after, 404}
    assert len(wire.said) == 1


# --- creating ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["true", "false", True, False])
@pytest.mark.parametrize("kinds", [("interest",), ("permission",), ("interest", "permission")])
def test_a_member_is_born_with_topics(
    it: Mailchimp, wire: Wire, asks: Questions, mc: httpx.Client, members: str, kinds: tuple[str, ...], said: object
) -> None:
    """Withdrawn from the first moment: one call, a batch for interests, its own where a permission is said."""
    topics = {"interest": f"interests.{asks.interest('Events')}"}
    topics["permission"] = f"marketing_permissions.{asks.permission('Email')}"
    fields = {**{topics[k]: said for k in kinds}, "merge_fields.FNAME": "Ann", "status": "subscribed"}
    (receipt,) = it.write([create(ANN, **fields)])
    assert isinstance(receipt, Done)
    ((method, path, body),) = wire.said
    assert (method, path) == ("POST", "members" if "permission" in kinds else "")
    (sent,) = body["members"] if path == "" else [body]
    on = said in (True, "true")
    if "interest" in kinds:
        assert sent["interests"] == {asks.interest("Events"): on}
    if "permission" in kinds:
        assert sent["marketing_permissions"] == [{"marketing_permission_id": asks.permission("Email"), "enabled": on}]
    assert chosen(mc, members, receipt.id) == ({topics[k].partition(".")[2] for k in kinds} if on else set())


def test_one_call_for_all_who_have_no_permission(
    it: Mailchimp, wire: Wire, asks: Questions, mc: httpx.Client, members: str
) -> None:
    """A batch does not know permissions: those who have one go alone, the others together, receipts in their order."""
    name = f"marketing_permissions.{asks.permission('Email')}"
    orders = [create(f"p{n}@example.com", f"k{n}", **({name: "false"} if n % 3 == 0 else {})) for n in range(9)]
    receipts = it.write([*orders, create("P0@example.com", "twice", **{name: "true"})])
    assert [r.key for r in receipts] == [*(f"k{n}" for n in range(9)), "twice"]
    assert sorted(outcome(r) for r in receipts) == [*["done"] * 9, "exists"]
    batches = [body["members"] for _, path, body in wire.said if path == ""]
    assert [len(batch) for batch in batches] == [6]
    assert not any("marketing_permissions" in one for one in batches[0])
    assert mc.get(members).json()["total_items"] == 9


@pytest.mark.parametrize(("said", "expected"), [("true", "done"), (True, "done"), ("false", "exists")])
def test_a_create_that_may_have_landed_knows_its_topics(
    it: Mailchimp, wire: Wire, asks: Questions, mc: httpx.Client, members: str, said: object, expected: str
) -> None:
    """Found as sent it is ours; found otherwise it is looked at."""
    events, email = asks.interest("Events"), asks.permission("Email")
    permissions = [{"marketing_permission_id": email, "enabled": True}]
    join(mc, members, ANN, interests={events: True}, marketing_permissions=permissions)
    fields = {f"interests.{events}": "true", f"marketing_permissions.{email}": said, "status": "subscribed"}
    (receipt,) = it.write([create(ANN, again=True, **fields)])
    assert outcome(receipt) == expected
    assert wire.said == []


def test_an_answer_that_never_came_may_have_landed(
    it: Mailchimp, wire: Wire, sandbox: Sandbox, asks: Questions, mc: httpx.Client, members: str
) -> None:
    """One try; the next looks first, and finds the member as it was to be."""
    fault = {"kind": "reset", "after": True, "count": 1, "method": "POST", "match": "members$"}
    assert mc.post("/_sandbox/faults", json=fault).status_code == 201
    fields = {f"marketing_permissions.{asks.permission('Email')}": "false"}
    (receipt,) = it.write([create(ANN, **fields)])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, TryLater)
    assert receipt.problem.landed
    (receipt,) = it.write([create(ANN, again=True, **fields)])
    assert outcome(receipt) == "done"
    assert len(wire.said) == 1


# --- topics that are not there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "code", "says"),
    [
        (f"interests.{NOBODY}", "interest", "no such interest"),
        (f"marketing_permissions.{NOBODY}", "permission", "no such marketing permission"),
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("gdpr", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_topic_that_is_not_there_is_that_order_s_refusal(
    it: Mailchimp,
    wire: Wire,
    asks: Questions,
    mc: httpx.Client,
    members: str,
    topic: str,
    code: str,
    says: str,
    lenient: bool,
    gdpr: bool,
    fresh: bool,
) -> None:
    """Refused or passed over without a word: the field is named and what to do about it; the neighbours are written."""
    asks.lenient, asks.gdpr, said = lenient, gdpr, "false"
    events = {f"interests.{asks.interest('Events')}": said}
    if fresh:
        orders = [create("p0@example.com", "0", **events), create("p1@example.com", "1", **{topic: said})]
        orders += [create("p2@example.com", "2", **events)]
    else:
        ids = [join(mc, members, f"p{n}@example.com")["contact_id"] for n in range(3)]
        wanted = [events, {topic: said, "merge_fields.FNAME": "Ann"}, events]
        orders = [update(i, f"p{n}@example.com", f, str(n)) for n, (i, f) in enumerate(zip(ids, wanted, strict=True))]
    receipts = it.write(orders)
    assert [outcome(r) for r in receipts] == ["done", code, "done"]
    problem = getattr(receipts[1], "problem", None)
    assert isinstance(problem, Refused)
    assert problem.field == topic
    assert says in str(problem)
    assert topic in str(problem)
    assert "tandem mapping check" in str(problem)
    assert "p1@example.com" not in str(problem)


def test_a_known_permission_needs_gdpr_fields(it: Mailchimp, asks: Questions, mc: httpx.Client, members: str) -> None:
    """Switched off, the audience shows no permission: that is told, not taken for done."""
    asks.gdpr, asks.lenient = False, True
    contact = join(mc, members, ANN)["contact_id"]
    (receipt,) = it.write([update(contact, ANN, {f"marketing_permissions.{asks.permission('Email')}": "false"})])
    assert outcome(receipt) == "permission"
    assert "GDPR fields" in str(getattr(receipt, "problem", ""))


def test_a_bad_interest_in_a_whole_batch_is_found_at_once(sandbox: Sandbox) -> None:
    """Should Mailchimp refuse all for one: who sent that id is refused, and the others go with one more call."""
    calls: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent = stage.json.loads(request.content)["members"]
        calls.append(len(sent))
        if any("bad" in m.get("interests", {}) for m in sent):
            body = {"title": "Invalid Resource", "status": 400, "detail": "Invalid interest ID: 'bad'."}
            return httpx.Response(400, json=body, headers={"content-type": "application/problem+json"})
        made = [{**m, "contact_id": f"c-{m['email_address']}"} for m in sent]
        return httpx.Response(200, json={"new_members": made, "updated_members": [], "errors": []})

    orders = [
        create(f"p{n}@example.com", f"k{n}", **{f"interests.{'bad' if n % 2 else 'ok'}": "true"}) for n in range(8)
    ]
    receipts = connect(sandbox, httpx.MockTransport(answer)).write(orders)
    assert [outcome(r) for r in receipts] == ["done", "interest"] * 4
    assert calls == [8, 4]


@pytest.mark.parametrize(
    ("error", "code", "field"),
    [
        ({"detail": "Invalid marketing permission ID: 'p2'."}, "permission", "marketing_permissions.p2"),
        ({"detail": "The marketing permission is unknown."}, "permission", None),
        (
            {"errors": [{"field": "marketing_permissions.item:0.marketing_permission_id", "message": "Unbekannt: p1"}]},
            "permission",
            "marketing_permissions.p1",
        ),
        ({"detail": "Invalid interest ID: 'i1'."}, "interest", "interests.i1"),
        ({"detail": "Invalid interest ID."}, "interest", "interests.i1"),
        ({"detail": f"{ANN} is in a compliance state due to unsubscribe."}, "compliance", "status"),
    ],
)
def test_a_refusal_names_the_topic(sandbox: Sandbox, error: dict[str, Any], code: str, field: str | None) -> None:
    """By the id in the text, in any language; the only one of its kind is meant where none is named."""
    told = {"title": "Invalid Resource", "status": 400, "detail": "not valid", **error}
    answer = httpx.Response(400, json=told, headers={"content-type": "application/problem+json"})
    fields = {"marketing_permissions.p1": "true", "marketing_permissions.p2": "true", "interests.i1": "true"}
    connector = connect(sandbox, httpx.MockTransport(lambda _r: answer))
    (receipt,) = connector.write([update("c1", ANN, fields)])
    problem = getattr(receipt, "problem", None)
    assert isinstance(problem, Refused)
    assert (problem.code, problem.field) == (code, field)


# --- a withdrawal is not held up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected", "after", "left"),
    [
        ({"status": "unsubscribed", f"interests.{NOBODY}": "false"}, "interest", "unsubscribed", 2),
        ({"status": "unsubscribed", f"marketing_permissions.{NOBODY}": "true"}, "permission", "unsubscribed", 2),
        ({"status": "unsubscribed", "merge_fields.TIER": "Tin"}, "merge_field", "unsubscribed", 2),
        ({"status": "subscribed", "interests.EVENTS": "false"}, "compliance", "unsubscribed", 1),
        ({"interests.EVENTS": "false", f"interests.{NOBODY}": "true"}, "interest", "unsubscribed", 1),
        ({"marketing_permissions.EMAIL": "false", "email_address": "bea@example.com"}, "conflict", "unsubscribed", 1),
        ({"marketing_permissions.EMAIL": "false", "interests.EVENTS": "false"}, "done", "unsubscribed", 0),
        ({"interests.EVENTS": "true", f"interests.{NOBODY}": "true"}, "interest", "unsubscribed", 2),
    ],
)
def test_a_withdrawal_goes_though_the_rest_is_refused(
    it: Mailchimp,
    wire: Wire,
    asks: Questions,
    mc: httpx.Client,
    members: str,
    fields: dict[str, str],
    expected: str,
    after: str,
    left: int,
) -> None:
    """A mistake in the mapping, or a status that cannot be, must not keep somebody from leaving; it is told all the
    same, and a grant beside it waits.
    """
    events, email = asks.interest("Events"), asks.permission("Email")
    permissions = [{"marketing_permission_id": email, "enabled": True}]
    ann = join(mc, members, ANN, interests={events: True}, marketing_permissions=permissions)
    join(mc, members, "bea@example.com")
    if "status" not in fields or fields["status"] == "subscribed":
        mc.post("/_sandbox/edit", json={"action": "unsubscribe", "email": ANN})
    named = {n.replace("EVENTS", events).replace("EMAIL", email): v for n, v in fields.items()}
    (receipt,) = it.write([update(ann["contact_id"], ANN, named)])
    assert outcome(receipt) == expected
    assert status(mc, members, ann["contact_id"]) == after
    assert len(chosen(mc, members, ann["contact_id"])) == left
    assert not any(body.get("status") == "subscribed" for _, _, body in wire.said[1:])


# --- leaving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*STATES, "nobody"])
def test_archiving_by_state(it: Mailchimp, wire: Wire, mc: httpx.Client, members: str, state: str) -> None:
    """Bounced and pending members are not archived: that is told, not taken for nobody."""
    contact = become(mc, members, state) if state != "nobody" else "nobody"
    (receipt,) = it.write([Order("k", Kind.CONTACT, Verb.ARCHIVE, {}, id=contact)])
    expected = {"cleaned": "state", "pending": "state", "bound pending": "state"}
    gone = {**dict.fromkeys(AWAY, "gone"), "nobody": "gone"}
    assert outcome(receipt) == {**expected, **gone}.get(state, "done")
    if state in expected:
        assert state.removeprefix("bound ") in str(getattr(receipt, "problem", ""))


@pytest.mark.parametrize(
    ("there", "expected"),
    [("subscribed", "state"), ("archived", "state"), (None, "gone")],
)
def test_an_erasure_that_did_not_happen_is_not_claimed(sandbox: Sandbox, there: str | None, expected: str) -> None:
    """A 405 is nobody only if nobody can be read."""

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "application/problem+json"}
        if request.method == "POST":
            return httpx.Response(405, json={"title": "Method Not Allowed", "status": 405}, headers=headers)
        if there is None:
            return httpx.Response(404, json={"title": "Resource Not Found", "status": 404}, headers=headers)
        return httpx.Response(200, json={"contact_id": "c1", "status": there, "tags_count": 0, "tags": []})

    order = Order("k", Kind.CONTACT, Verb.ERASE, {}, id="c1")
    (receipt,) = connect(sandbox, httpx.MockTransport(answer)).write([order])
    assert outcome(receipt) == expected


def test_members_are_not_merged(it: Mailchimp, wire: Wire) -> None:
    """Mailchimp has no such call."""
    (receipt,) = it.write([Order("k", Kind.CONTACT, Verb.MERGE, {}, id="c1", loser="c2")])
    assert (outcome(receipt), wire.said) == ("unsupported", [])


# --- webhooks ---------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)
LISTED = "data[merges][INTERESTS]"


def grouped(*groups: str) -> dict[str, str]:
    """As Mailchimp writes an audience's categories: each with the names chosen in it."""
    return {f"data[merges][GROUPINGS][{n}][groups]": names for n, names in enumerate(groups)}


def received(sandbox: Sandbox, type_: str, fields: Mapping[str, str], **settings: str) -> Any:
    address = {"upemail": {"data[new_email]": ANN}}.get(type_, {"data[email]": ANN})
    pairs = {"type": type_, "fired_at": "2026-08-13 10:15:00", "data[list_id]": sandbox.mailchimp.audience.id}
    body = urlencode({**pairs, **address, **fields}).encode()
    stamp = str(int(NOW.timestamp()))
    header = {"x-mailchimp-signature": f"t={stamp},v1={hooks.sign(SECRET, stamp, body)}"}
    quiet = httpx.MockTransport(lambda r: pytest.fail(f"called {r.url}"))
    delivery = Delivery("POST", "https://sync.example.com/webhooks/mailchimp", header, body, NOW)
    (event,) = connect(sandbox, quiet, **settings).receive(delivery).events
    return event


@pytest.mark.parametrize(
    ("type_", "topics", "told", "urgent"),
    [
        ("unsubscribe", "", {}, True),
        ("cleaned", "", {}, True),
        ("profile", "", {LISTED: ""}, False),
        ("profile", "a,b", {}, False),
        ("profile", "a", {LISTED: ""}, True),
        ("profile", "a", {LISTED: "News"}, False),
        ("profile", "a,b", {LISTED: "News"}, True),
        ("profile", "a,b", {LISTED: "News, Events"}, False),
        ("profile", "a,b", {LISTED: "News\\, Events"}, True),
        ("profile", "a,b", {LISTED: "News", **grouped("News", "Events")}, False),
        ("profile", "a,b", {LISTED: "News", **grouped("News", "")}, True),
        ("profile", "a, a ,", {LISTED: "News"}, False),
        ("subscribe", "a", {LISTED: ""}, False),
        ("upemail", "a", {LISTED: ""}, False),
    ],
)
def test_a_profile_is_urgent_only_where_it_shows_a_topic_off(
    sandbox: Sandbox, type_: str, topics: str, told: dict[str, str], urgent: bool
) -> None:
    """That is: the mapping names interests, and the member is in fewer groups than that."""
    assert received(sandbox, type_, told, topics=topics).urgent is urgent


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"email_address", "status"}, {}),
        ({"interests.b", "interests.a", "marketing_permissions.p", "status"}, {"topics": "a,b"}),
        ({"marketing_permissions.p"}, {}),
    ],
)
def test_the_mapping_says_which_interests_matter(theirs: set[str], expected: dict[str, str]) -> None:
    """No webhook tells of permissions, so only interests count."""
    assert Mailchimp.from_mapping(theirs) == expected


def test_a_group_left_in_the_same_second_is_another_happening(sandbox: Sandbox) -> None:
    """Two edits of one profile in one second differ by their groups; a retry does not."""
    keys = [received(sandbox, "profile", t).dedupe for t in ({LISTED: "News"}, {LISTED: ""}, {}, grouped("News", ""))]
    assert len(set(keys)) == 4
    assert received(sandbox, "profile", {LISTED: "News"}).dedupe == keys[0]


def test_what_the_simulator_tells_is_understood(
    sandbox: Sandbox, asks: Questions, mc: httpx.Client, members: str
) -> None:
    """Leaving a group fires a profile that is urgent; an edit of somebody with all topics is not; a permission fires
    nothing and is found by the next poll.
    """
    topics = ",".join([asks.interest("Events"), asks.interest("Offers")])
    ann = join(mc, members, ANN, interests=dict.fromkeys(topics.split(","), True))
    member = sandbox.mailchimp.audience.members[ann["web_id"]]
    told: list[dict[str, str]] = []
    for change in ({"merge_fields": {"FNAME": "Ann"}}, {"interests": {topics.split(",")[0]: False}}):
        mc.post("/_sandbox/edit", json={"email": ANN, "member": change})
        merges = sandbox.mailchimp.audience._told("profile", member, "user").data["data"]["merges"]
        told.append({LISTED: merges["INTERESTS"], **grouped(*(g["groups"] for g in merges["GROUPINGS"].values()))})
    assert [received(sandbox, "profile", t, topics=topics).urgent for t in told] == [False, True]


def test_a_changed_permission_is_polled(it: Mailchimp, asks: Questions, mc: httpx.Client, members: str) -> None:
    """It moves the time of the last change, as every edit of a member does."""
    contact = join(mc, members, ANN)["contact_id"]
    cursor = it.changed(Kind.CONTACT, None).cursor
    permission = asks.permission("Email")
    change = {"marketing_permissions": [{"marketing_permission_id": permission, "enabled": True}]}
    mc.post("/_sandbox/edit", json={"email": ANN, "member": change})
    found = {r.id: r for r in it.changed(Kind.CONTACT, cursor).records}
    assert found[contact].fields[f"marketing_permissions.{permission}"] is True
    assert mc.get("/_sandbox/webhooks").json()["deliveries"] == []


# --- the specification ------------------------------------------------------------------------------------------------


def test_the_specification_was_met(it: Mailchimp, wire: Wire, asks: Questions, mc: httpx.Client, members: str) -> None:
    """Guards the guard: the tests ran behind the vendor's contract, which knows permissions where we send them."""
    load("mailchimp", *SPECS)  # skips where there is none
    assert isinstance(wire.inner, SpecCheck)
    wire.inner.seen.clear()
    name = f"marketing_permissions.{asks.permission('Email')}"
    (receipt,) = it.write([create(ANN, **{name: "true"})])
    assert isinstance(receipt, Done)
    it.write([update(receipt.id, ANN, {name: "false"})])
    assert wire.inner.seen == ["POST /lists/{list_id}/members", "PATCH /lists/{list_id}/members/{subscriber_hash}"]
    list_ = members.removesuffix("/members")
    row = {"email_address": ANN, "marketing_permissions": []}
    url = f"{str(mc.base_url).rstrip('/')}{list_}"
    request = httpx.Request("POST", url, headers={"authorization": "x"}, json={"members": [row]})
    with pytest.raises(AssertionError, match="marketing_permissions"):
        wire.inner.handle_request(request)
