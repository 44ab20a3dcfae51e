"""Consent at HubSpot, of all e-mail and of one subscription type: read, said, refused, and said in part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.core import tables as t
from app.core.db import clock_of
from app.core.settings import Config, Settings
from app.core.words import OPERATOR, Channel, Entry, Reason, Status
from app.main import Tandem
from app.push import work
from app.records import ledger
from app.sync.mapping import Map, loads
from connectors.contract import Delivery, Done, Failed, Kind, Order, Receipt, TryLater, Verb
from connectors.hubspot import HubSpot
from sandbox.hubspot import HubSpotSim
from sandbox.serve import Sandbox
from tests import sandboxed
from tests.examples.hubspot import connect, error
from tests.examples.hubspot_contract import CONTRACT, Line
from tests.sandboxed import CONTACTS, PLAIN, Receiver
from tests.speccheck import folder, load
from tests.test_erasure_sandbox import settle
from tests.test_hubspot_write import brief

running, sandbox, receiver = sandboxed.running, sandboxed.sandbox, sandboxed.receiver  # the fixtures
SHIPPED = Path(__file__).parents[1] / "mappings" / "hubspot.yaml"
ANN = "ann@example.com"
TOPIC, ALL = "hs_email_optout_1001", "hs_email_optout"
GRANT = "CONSENT_WITH_NOTICE: signed up for the newsletter on our website"


# --- the stage --------------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """The connector before an account of the simulator."""

    box: Sandbox
    line: Line
    it: HubSpot

    def write(self, *orders: Order) -> list[Receipt]:
        """What becomes of them; no receipt tells an address."""
        receipts = list(self.it.write(orders))
        assert [r.key for r in receipts] == [o.key for o in orders]
        assert not re.search(r"example\.com|signed up", f"{receipts} {[getattr(r, 'problem', '') for r in receipts]}")
        return receipts

    def states(self, email: str = ANN) -> dict[int, str]:
        """What the account knows of an address by now."""
        return {row["subscriptionId"]: row["status"] for row in self.box.hubspot.consent.statuses(email)}

    def people(self) -> list[str]:
        """The addresses of all contacts."""
        return [c.values["email"] for c in self.box.hubspot.portal.live()]

    def edit(self, **act: Any) -> dict[str, Any]:
        """Somebody does this in HubSpot."""
        return self.box.call(lambda: self.box.hubspot.edit(act))

    def add(self, email: str = ANN, **properties: str) -> str:
        """A contact that is there already."""
        return str(self.edit(action="create", properties={"email": email, **properties})["id"])


def staged(box: Sandbox, inner: httpx.BaseTransport, specification: dict[str, Any] = CONTRACT) -> Stage:
    url = box.hubspot_url
    line = Line(inner, url, specification)
    properties = f"firstname,{ALL},{TOPIC}"
    return Stage(box, line, connect(line, base_url=url, access_token=box.hubspot.token, properties=properties))


@pytest.fixture
def stage(sandbox: Sandbox) -> Iterator[Stage]:
    with httpx.HTTPTransport(verify=PLAIN) as inner:
        yield staged(sandbox, inner)


def create(key: str = "k", email: str = ANN, *, again: bool = False, **fields: Any) -> Order:
    return Order(key, Kind.CONTACT, Verb.CREATE, {"email": email, **fields}, again=again)


def update(id_: str, key: str = "k", known: dict[str, Any] | None = None, **fields: Any) -> Order:
    return Order(key, Kind.CONTACT, Verb.UPDATE, fields, id=id_, known={"email": ANN, **(known if known else {})})


def uncommented(*, granting: bool = False) -> str:
    """The shipped mapping with the example of a subscription type that stands in it as a comment."""
    text = SHIPPED.read_text(encoding="utf-8")
    found = re.search(r'^  # "email:newsletter":\n(?:  #   .*\n)+', text, re.MULTILINE)
    assert found, "the example is gone"
    lines = [re.sub(r"^  # ", "  ", line) for line in found[0].splitlines()]
    if granting:
        lines = [line for line in lines if not line.startswith("    write:")]
        lines = [re.sub(r"^    # (?=write:)", "    ", line) for line in lines]
    return text.replace(found[0], "\n".join(lines) + "\n")


def example(*, granting: bool = False) -> Map:
    """That mapping, compiled."""
    return loads(uncommented(granting=granting), "example")


# --- the example in the mapping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("granting", [False, True])
def test_the_example_in_the_mapping_compiles(granting: bool) -> None:
    """What stands in the shipped file as a comment is a rule for one purpose, and its property is read."""
    rule = {r.name: r for r in example(granting=granting).consents}["consent:email:newsletter"]
    assert (rule.theirs, rule.purpose) == (TOPIC, "newsletter")
    assert rule.said(Status.WITHDRAWN) == ("true", Status.WITHDRAWN)
    assert rule.said(Status.GRANTED) == ((GRANT, Status.GRANTED) if granting else None)
    assert TOPIC in HubSpot.from_mapping(example().theirs())["properties"].split(",")


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        ([], {}),
        ([{"action": "unsubscribe", "subscription": 1001}], {"email:newsletter": "withdrawn"}),
        ([{"action": "unsubscribe", "subscription": 1002}], {}),
        ([{"action": "subscribe", "subscription": 1001}], {"email:newsletter": "none"}),  # a "false" is no consent
        ([{"action": "unsubscribe"}], {"email": "withdrawn", "email:newsletter": "withdrawn"}),
        ([{"action": "unsubscribe"}, {"action": "subscribe"}], {"email:newsletter": "none"}),
    ],
)
def test_what_hubspot_says_is_read(stage: Stage, acts: list[dict[str, Any]], said: dict[str, str]) -> None:
    """Read, found or walked over, the record says what the person chose; what nobody chose says nothing."""
    id_ = stage.add()
    for act in acts:
        stage.edit(id=id_, **act)
    records = [*stage.it.read(Kind.CONTACT, [id_]), *stage.it.find(Kind.CONTACT, "email", [ANN])]
    records += stage.it.changed(Kind.CONTACT, None).records
    assert len(records) == 3
    for record in records:
        claims = example(granting=True).read_consent(record.fields)
        assert {c.name.removeprefix("consent:"): str(c.status) for c in claims} == said


@pytest.mark.parametrize("verb", [Verb.CREATE, Verb.UPDATE])
@pytest.mark.parametrize(("status", "state"), [(Status.WITHDRAWN, "UNSUBSCRIBED"), (Status.GRANTED, "SUBSCRIBED")])
def test_what_the_mapping_says_is_written(stage: Stage, verb: Verb, status: Status, state: str) -> None:
    """One type is said, the others are left; the contact shows it, and reading it back says nothing new."""
    (rule,) = (r for r in example(granting=True).consents if r.purpose == "newsletter")
    said = rule.said(status)
    assert said is not None
    fields = {"firstname": "Ann", rule.theirs: said[0]}
    order = create(**fields) if verb is Verb.CREATE else update(stage.add(), **fields)
    (receipt,) = stage.write(order)
    assert isinstance(receipt, Done)
    assert stage.states() == {1001: state, 1002: "NOT_SPECIFIED", 1003: "NOT_SPECIFIED"}
    (found,) = stage.it.read(Kind.CONTACT, [receipt.id])
    assert (found.fields["firstname"], found.fields[ALL]) == ("Ann", None)
    assert found.fields[TOPIC] == ("true" if status is Status.WITHDRAWN else "false")
    assert stage.line.checked.seen, "guards the guard"


# --- what can be said -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({TOPIC: "true"}, "done"),
        ({TOPIC: True}, "done"),
        ({TOPIC: " TRUE "}, "done"),
        ({ALL: "true"}, "done"),
        ({TOPIC: GRANT}, "done"),
        ({TOPIC: "NON_GDPR :x"}, "done"),
        ({TOPIC: "false"}, ("consent", TOPIC)),
        ({TOPIC: False}, ("consent", TOPIC)),
        ({TOPIC: None}, ("consent", TOPIC)),
        ({TOPIC: ""}, ("consent", TOPIC)),
        ({TOPIC: "SUBSCRIBED"}, ("consent", TOPIC)),
        ({TOPIC: "CONSENT_WITH_NOTICE"}, ("consent", TOPIC)),
        ({TOPIC: "CONSENT_WITH_NOTICE: "}, ("consent", TOPIC)),
        ({TOPIC: "BECAUSE: we like to"}, ("consent", TOPIC)),
        ({TOPIC: "true", "hs_email_optout_1002": "false"}, ("consent", "hs_email_optout_1002")),
        ({ALL: "false"}, ("consent", ALL)),
        ({ALL: GRANT}, ("consent", ALL)),
        ({TOPIC: "true", "email": None}, "done"),  # the one that it had
        ({"hs_email_optout_77": "true"}, ("VALIDATION_ERROR", None)),
        ({"hs_email_optout_77": GRANT}, ("VALIDATION_ERROR", None)),
        ({"hs_email_optout_reason": "true"}, ("PROPERTY_DOESNT_EXIST", "hs_email_optout_reason")),
    ],
)
def test_what_can_be_said(stage: Stage, fields: dict[str, Any], outcome: Any) -> None:
    """The word true opts out, a legal basis with an explanation opts in to a type; nothing else is sent."""
    id_ = stage.add()
    (receipt,) = stage.write(update(id_, **{"firstname": "Ann", **fields}))
    assert brief(receipt) == (id_ if outcome == "done" else outcome)
    if isinstance(outcome, tuple) and outcome[0] == "consent":
        assert stage.line.calls == []


def test_without_an_address_nobody_is_meant(stage: Stage) -> None:
    """Consent belongs to an address: an order that knows none is refused before it is sent."""
    order = Order("k", Kind.CONTACT, Verb.CREATE, {"firstname": "Ann", TOPIC: "true"})
    assert brief(stage.write(order)[0]) == ("consent", "email")
    assert stage.line.calls == []


@pytest.mark.parametrize("word", ["true", GRANT])
def test_accounts_with_data_privacy_settings_get_a_legal_basis(word: str) -> None:
    """Opting out must not fail for what only opting in needs."""
    sim = HubSpotSim(data_privacy=True)
    with Sandbox(hubspot=sim) as one, httpx.HTTPTransport(verify=PLAIN) as inner:
        stage = staged(one, inner)
        assert isinstance(stage.write(create(**{TOPIC: word}))[0], Done)
        assert stage.states()[1001] == ("UNSUBSCRIBED" if word == "true" else "SUBSCRIBED")


# --- opting in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [Verb.CREATE, Verb.UPDATE])
@pytest.mark.parametrize(
    ("before", "known", "resubscribes", "outcome"),
    [
        (None, None, True, "SUBSCRIBED"),
        (("subscribe", 1001), None, True, "SUBSCRIBED"),
        (("unsubscribe", 1002), None, True, "SUBSCRIBED"),
        (("unsubscribe", 1001), "true", True, "SUBSCRIBED"),  # taken back on purpose
        (("unsubscribe", 1001), "true", False, "compliance"),  # HubSpot refuses
        (("unsubscribe", 1001), None, True, "compliance"),  # news to whoever wrote the order
        (("unsubscribe", 1001), "false", True, "compliance"),
        (("unsubscribe", None), None, True, "compliance"),
        (("unsubscribe", None), "true", True, "compliance"),  # all e-mail is more than this type
    ],
)
def test_nobody_is_opted_in_against_their_word(
    verb: Verb, before: tuple[str, int | None] | None, known: str | None, resubscribes: bool, outcome: str
) -> None:
    """Who opted out stays so, unless the order knows and HubSpot agrees; else it is refused as compliance."""
    sim = HubSpotSim(resubscribes=resubscribes)
    with Sandbox(hubspot=sim) as one, httpx.HTTPTransport(verify=PLAIN) as inner:
        stage = staged(one, inner)
        id_ = stage.add()
        if before is not None:
            act, topic = before
            stage.edit(action=act, id=id_, **({"subscription": topic} if topic else {}))
        states = stage.states()
        if verb is Verb.CREATE:  # what was said outlives the contact
            stage.edit(action="erase", id=id_)
            order = Order("k", Kind.CONTACT, verb, {"email": ANN, TOPIC: GRANT}, known={TOPIC: known})
        else:
            order = update(id_, known={TOPIC: known}, **{TOPIC: GRANT})
        (receipt,) = stage.write(order)
        if outcome == "compliance":
            assert brief(receipt) == ("compliance", TOPIC)
            assert stage.states() == states
        else:
            assert isinstance(receipt, Done)
            assert stage.states() == {**states, 1001: outcome}
            (row,) = (r for r in sim.consent.statuses(ANN) if r["subscriptionId"] == 1001)
            if before != ("subscribe", 1001) or "legalBasis" in row:
                assert (row["legalBasis"], row["legalBasisExplanation"]) == tuple(GRANT.split(": "))


def test_an_opt_out_of_all_mail_is_looked_up_by_itself(stage: Stage) -> None:
    """It stands although nothing is known of the type, and no opt-in of the type is even tried."""
    id_ = stage.add()
    stage.edit(action="unsubscribe", id=id_)
    undecided = {"channel": "EMAIL", "subscriptionId": 1001, "statusState": "NOT_SPECIFIED"}
    stage.box.call(lambda: stage.box.hubspot.consent.set(ANN, undecided, "test"))
    assert brief(stage.write(update(id_, **{TOPIC: GRANT}))[0]) == ("compliance", TOPIC)
    assert stage.line.said() == []


def test_a_person_met_by_a_create_keeps_their_word(stage: Stage) -> None:
    """A create that meets somebody else's record opts nobody in; what it withdraws it withdraws, which protects."""
    id_ = stage.add(firstname="Bob")
    (receipt,) = stage.write(create(firstname="Ann", **{TOPIC: GRANT, "hs_email_optout_1002": "true"}))
    assert brief(receipt).value == id_
    assert stage.states() == {1001: "NOT_SPECIFIED", 1002: "UNSUBSCRIBED", 1003: "NOT_SPECIFIED"}


# --- in part ----------------------------------------------------------------------------------------------------------


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("", request=request)


def page(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, html="<title>Sign in</title>")


def on(ending: str, answer: Callable[[httpx.Request], httpx.Response]) -> Callable[[httpx.Request], Any]:
    """A script: just calls that change something under this path are answered so."""
    return lambda r: answer(r) if r.method in {"POST", "PATCH"} and re.search(ending, r.url.path) else None


PREFERENCES, RECORDS = "^/communication-preferences", f"{CONTACTS}(/batch/(create|update)|/[0-9]+)$"


@pytest.mark.parametrize("answer", [lost, page, lambda _: error(500), lambda _: error(429, "x", policyName="SECONDLY")])
@pytest.mark.parametrize(("word", "first"), [("true", True), (GRANT, False)], ids=["out comes first", "in comes last"])
@pytest.mark.parametrize("again", [False, True])
def test_a_create_that_is_said_in_part_is_finished_by_the_next_try(
    sandbox: Sandbox, answer: Any, word: str, first: bool, again: bool
) -> None:
    """Where the call about consent fails, it is not Done; nobody is made before an opt-out, and nobody twice."""
    with httpx.HTTPTransport(verify=PLAIN) as inner:
        stage = staged(sandbox, inner)
        stage.line.script = on(PREFERENCES, answer)
        (receipt,) = stage.write(create(firstname="Ann", again=again, **{TOPIC: word}))
        assert isinstance(receipt, Failed)
        assert isinstance(receipt.problem, TryLater)
        assert receipt.problem.landed is (again or not first)
        assert stage.people() == ([] if first else [ANN])
        stage = staged(sandbox, inner)  # later
        (receipt,) = stage.write(create(firstname="Ann", again=True, **{TOPIC: word}))
        assert isinstance(receipt, Done)
        assert stage.people() == [ANN]
        assert stage.states()[1001] == ("UNSUBSCRIBED" if first else "SUBSCRIBED")


@pytest.mark.parametrize("word", ["true", GRANT])
@pytest.mark.parametrize("where", [PREFERENCES, RECORDS])
def test_an_update_that_is_said_in_part_is_finished_by_the_next_try(stage: Stage, word: str, where: str) -> None:
    """Whichever of the two calls fails, the order failed, and sent again it says what is missing, to the same end."""
    id_ = stage.add()
    order = update(id_, firstname="Ann", **{TOPIC: word})
    stage.line.script = on(where, lambda _: error(500))
    assert brief(stage.write(order)[0]) == "TryLater"
    stage.line.script = lambda _: None
    assert brief(stage.write(order)[0]) == id_
    assert stage.box.hubspot.portal.by_id(id_).get("firstname") == "Ann"
    assert stage.states()[1001] == ("UNSUBSCRIBED" if word == "true" else "SUBSCRIBED")


def test_a_refused_record_is_opted_out_and_not_in(stage: Stage) -> None:
    """HubSpot takes no such stage: who is to be opted out is so all the same, and nobody is opted in on the way."""
    order = update(stage.add(), lifecyclestage="nonsense", **{TOPIC: GRANT, "hs_email_optout_1002": "true"})
    assert brief(stage.write(order)[0]) == ("INVALID_OPTION", "lifecyclestage")
    assert stage.states() == {1001: "NOT_SPECIFIED", 1002: "UNSUBSCRIBED", 1003: "NOT_SPECIFIED"}


def test_opt_outs_first_then_records_then_opt_ins(stage: Stage) -> None:
    """One bad opt-out holds nobody else's; the records share their batch as ever."""
    ids = [stage.add(f"{n}@example.com") for n in range(3)]

    def order(n: int, **fields: Any) -> Order:
        return update(ids[n], f"k{n}", {"email": f"{n}@example.com"}, firstname="Ann", **fields)

    receipts = stage.write(
        order(0, **{TOPIC: GRANT}),
        order(1, **{TOPIC: "true", ALL: "true"}),
        order(2),
        create("k3", "3@example.com", hs_email_optout_77="true"),
        create("k4", "4@example.com", **{TOPIC: "true"}),
    )
    assert [isinstance(r, Done) for r in receipts] == [True, True, True, False, True]
    assert brief(receipts[3]) == ("VALIDATION_ERROR", None)
    assert stage.line.said() == [
        "POST /statuses/1@example.com",
        "POST /statuses/1@example.com/unsubscribe-all",
        "POST /statuses/3@example.com",
        "POST /statuses/4@example.com",
        "POST /batch/update",
        "POST /batch/create",
        "POST /statuses/0@example.com",
    ]
    assert sorted(stage.people()) == [f"{n}@example.com" for n in (0, 1, 2, 4)]


def row(status: str, reason: str = "NO_STATUS_CHANGE") -> dict[str, Any]:
    return {"subscriptionId": 1001, "status": status, "setStatusSuccessReason": reason}


@pytest.mark.parametrize(
    ("answer", "out", "in_"),
    [
        ({"results": [row("SUBSCRIBED")]}, "TryLater", "done"),
        ({"results": [row("UNSUBSCRIBED")]}, "done", ("compliance", TOPIC)),
        ({"results": [row("UNSUBSCRIBED", "RESUBSCRIBE_OCCURRED")]}, "done", "done"),  # as the guide shows it
        ({"results": []}, "done", "done"),  # said without `verbose`
        ({"results": [{"subscriptionId": 1002, "status": "SUBSCRIBED"}]}, "done", "done"),
        ({"errors": [{"category": "VALIDATION_ERROR", "message": f"no {ANN}"}]}, ("VALIDATION_ERROR", None), None),
        ({"errors": [{"category": "RATE_LIMITS", "message": "slow"}]}, "TryLater", None),
    ],
)
def test_an_answer_is_read_before_it_is_believed(stage: Stage, answer: Any, out: Any, in_: Any) -> None:
    """A 200 may hold an error, or show that nothing changed."""
    id_ = stage.add()
    stage.line.script = on(PREFERENCES, lambda _: httpx.Response(200, json=answer))
    for word, outcome in (("true", out), (GRANT, in_ if in_ is not None else out)):
        assert brief(stage.write(update(id_, **{TOPIC: word}))[0]) == (id_ if outcome == "done" else outcome)


@pytest.mark.parametrize(("status", "outcome"), [(401, "NeedsHuman"), (403, "NeedsHuman"), (500, "TryLater")])
def test_a_missing_scope_needs_a_person(stage: Stage, status: int, outcome: str) -> None:
    """What the account refuses is not the record's fault, at whichever call."""
    id_ = stage.add()
    for method in ("GET", "POST"):
        stage.line.script = lambda r, m=method: (
            error(status, "MISSING_SCOPES") if r.method == m and "/statuses/" in r.url.path else None
        )
        assert brief(stage.write(update(id_, **{TOPIC: GRANT}))[0]) == outcome
    assert brief(stage.write(update(id_, **{TOPIC: "true"}))[0]) == outcome


# --- on the way in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "urgent"),
    [
        ({"action": "unsubscribe", "subscription": 1001}, True),
        ({"action": "unsubscribe"}, True),
        ({"properties": {"city": "Bonn"}}, False),
    ],
)
def test_a_withdrawal_comes_urgently(stage: Stage, receiver: Receiver, act: dict[str, Any], urgent: bool) -> None:
    """Whatever shows an opt-out, of all mail or of one type, is looked at before all others."""
    id_ = stage.add()
    stage.box.call(lambda: stage.box.hubspot.deliver_to(f"{receiver.url}/hook"))
    stage.edit(id=id_, **act)
    got = receiver.take()
    at = datetime.fromtimestamp(int(got.headers["x-hubspot-request-timestamp"]) / 1000, UTC)
    hubspot = connect(stage.line, base_url="https://api.hubapi.com", client_secret=stage.box.hubspot.secret)
    found = hubspot.receive(Delivery(got.method, got.url, got.headers, got.body, at)).events
    assert {(e.ref.value, e.urgent) for e in found} == {(id_, urgent)}


def test_the_requests_keep_hubspots_own_specification(sandbox: Sandbox) -> None:
    """Where the specification is at hand (it may not be copied here), what is said keeps it, too."""
    given = load("hubspot", "subscriptions.json")
    with httpx.HTTPTransport(verify=PLAIN) as inner:
        stage = staged(sandbox, inner, given)
        assert isinstance(stage.write(create(**{TOPIC: "true", "hs_email_optout_1002": GRANT}))[0], Done)
        assert isinstance(stage.write(create("k2", "b@example.com", **{ALL: "true"}))[0], Done)
        assert len(set(stage.line.checked.seen)) == 4, folder()


# --- the whole way ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tandem(sandbox: Sandbox, tmp_path: Path) -> Iterator[Tandem]:
    """Everything before the simulator, live and stepped by hand, with the mapping's example as it stands there."""
    (tmp_path / "ours.yaml").write_text(uncommented(granting=True), encoding="utf-8")
    hub = {"name": "hubspot", "connector": "hubspot", "mode": "live", "settings": {"base_url": sandbox.hubspot_url}}
    config = Config.model_validate({"connections": [{**hub, "mapping": str(tmp_path / "ours.yaml")}]})
    env = {
        "TANDEM_HUBSPOT_ACCESS_TOKEN": sandbox.hubspot.token,
        "TANDEM_HUBSPOT_CLIENT_SECRET": sandbox.hubspot.secret,
    }
    made = Tandem(Settings(database=f"sqlite:///{tmp_path / 'tandem.db'}"), config, env)
    made.prepare()
    yield made
    for client in made.clients.values():
        client.close()
    made.database.close()


def say(tandem: Tandem, record: str, address: str, status: str) -> None:
    """An operator says so of the newsletter."""
    with tandem.database.write() as db:
        now = clock_of(db)
        evidence = {OPERATOR: "letter of today"} if status == "granted" else {}
        line = (address, Channel.EMAIL, "newsletter", Status(status), Reason.MANUAL, OPERATOR, now)
        ledger.append(db, [(Entry(*line, evidence=evidence, actor="Kim"), None)], now)
        contact = db.execute(select(t.link.c.contact_id).where(t.link.c.remote_id == record)).scalar_one()
        work.mark(db, "hubspot", {contact: now})


def test_a_topic_goes_the_whole_way(stage: Stage, tandem: Tandem) -> None:
    """An opt-out of one type is written into the ledger under its purpose; an operator's word comes back to HubSpot."""
    ann, bob = stage.add(), stage.add("bob@example.com")
    settle(tandem)
    stage.edit(action="unsubscribe", id=ann, subscription=1001)
    settle(tandem)
    with tandem.database.read() as db:
        lines = db.execute(select(t.consent.c.address, t.consent.c.purpose, t.consent.c.status)).all()
    assert {tuple(line) for line in lines} == {(ANN, "newsletter", "withdrawn")}
    for act, state in (("granted", "SUBSCRIBED"), ("withdrawn", "UNSUBSCRIBED")):
        say(tandem, bob, "bob@example.com", act)
        settle(tandem)
        assert stage.states("bob@example.com") == {1001: state, 1002: "NOT_SPECIFIED", 1003: "NOT_SPECIFIED"}
    assert stage.states()[1001] == "UNSUBSCRIBED"
    assert stage.it.read(Kind.CONTACT, [bob])[0].fields[TOPIC] == "true"
