"""The topics that the shipped Mailchimp mapping offers in comments: they compile, and work in both directions.

Two audiences, each with ids of its own: whoever leaves a topic in one has left it in the other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from app.core import tables as t
from app.core.settings import Config, Settings
from app.core.words import Status
from app.main import Tandem
from app.sync import mapping
from connectors.contract import Kind
from sandbox.mailchimp import MailchimpSim
from sandbox.serve import Sandbox
from tests.sandboxed import PATIENCE, join

SHIPPED = Path(__file__).parents[1] / "mappings" / "mailchimp.yaml"
ANN = "ann@example.com"


def uncommented(text: str) -> str:
    """The mapping with its offer taken up, as it says: without the "# " of the lines indented under ``consent``."""
    consent, fields, rest = text.partition("\nfields:\n")
    return re.sub(r"^  # ", "  ", consent, flags=re.MULTILINE) + fields + rest


@dataclass
class Audience:
    """One audience of one account."""

    sandbox: Sandbox
    client: httpx.Client

    @property
    def members(self) -> str:
        return f"/lists/{self.sandbox.mailchimp.audience.id}/members"

    @property
    def ids(self) -> dict[str, str]:
        """Of the two topics."""
        asks = self.sandbox.mailchimp.audience.questions
        return {"events": asks.interest("Events"), "advertising": asks.permission("Customized Online Advertising")}

    def join(self, email: str, *on: str) -> str:
        permission = {"marketing_permission_id": self.ids["advertising"], "enabled": "advertising" in on}
        interests = {self.ids["events"]: "events" in on}
        shown = join(self.client, self.members, email, interests=interests, marketing_permissions=[permission])
        return str(shown["contact_id"])

    def set(self, email: str, topic: str, on: bool) -> None:
        """The person does it."""
        permission = {"marketing_permissions": [{"marketing_permission_id": self.ids["advertising"], "enabled": on}]}
        member = {"interests": {self.ids["events"]: on}} if topic == "events" else permission
        assert self.client.post("/_sandbox/edit", json={"email": email, "member": member}).status_code == 200

    def on(self, email: str) -> set[str]:
        """The topics that are on."""
        found = self.client.get(f"{self.members}/{email}").json()
        shown = {p["marketing_permission_id"] for p in found["marketing_permissions"] if p["enabled"]}
        shown |= {i for i, on in found["interests"].items() if on}
        return {topic for topic, id_ in self.ids.items() if id_ in shown}

    def status(self, email: str) -> str:
        return str(self.client.get(f"{self.members}/{email}").json()["status"])

    def writes(self) -> list[str]:
        """The calls so far that change something, and forget them."""
        calls = self.client.get("/_sandbox/calls").json()["calls"]
        return [f"{c['method']} {c['path']}" for c in calls if c["method"] != "GET" and "_sandbox" not in c["path"]]


class Watch:
    """The vendor's clock: each look is a second later, since it counts no fractions; never behind its answers' own."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture(scope="module")
def running() -> Iterator[list[Sandbox]]:
    """The sandbox as it comes, and one whose audience has another id."""
    watch = Watch()
    sims = [MailchimpSim(clock=watch), MailchimpSim(list_id="0ther11st2", clock=watch)]
    with Sandbox(mailchimp=sims[0]) as here, Sandbox(mailchimp=sims[1]) as there:
        yield [here, there]


@pytest.fixture
def audiences(running: list[Sandbox]) -> Iterator[list[Audience]]:
    made = []
    for sandbox in running:
        sandbox.call(sandbox.mailchimp.reset)
        auth = ("anybody", sandbox.mailchimp.key)
        client = httpx.Client(base_url=sandbox.mailchimp_url, auth=auth, timeout=PATIENCE, verify=False)
        made.append(Audience(sandbox, client))
    yield made
    for audience in made:
        audience.client.close()


@pytest.fixture
def tandem(audiences: list[Audience], tmp_path: Path) -> Iterator[Tandem]:
    """Live at both.  ``here`` has the shipped words; ``there`` everybody was asked, so "false" is an objection."""
    text = uncommented(SHIPPED.read_text(encoding="utf-8"))
    here, there = audiences
    (tmp_path / "here.yaml").write_text(text, encoding="utf-8")
    for topic, id_ in there.ids.items():
        text = text.replace(here.ids[topic], id_)
    text = text.replace('"false": none', '"false": withdrawn')
    (tmp_path / "there.yaml").write_text(text, encoding="utf-8")
    connections = [
        {
            "name": name,
            "connector": "mailchimp",
            "mode": "live",
            "side": side,
            "mapping": str(tmp_path / f"{name}.yaml"),
            "settings": {"base_url": a.sandbox.mailchimp_url, "list_id": a.sandbox.mailchimp.audience.id},
        }
        for name, side, a in (("here", "marketing", here), ("there", "crm", there))
    ]
    env = {"TANDEM_HERE_API_KEY": here.sandbox.mailchimp.key, "TANDEM_THERE_API_KEY": there.sandbox.mailchimp.key}
    env |= {"TANDEM_HERE_WEBHOOK_SECRET": "one-secret", "TANDEM_THERE_WEBHOOK_SECRET": "two-secret"}
    config = Config.model_validate({"connections": connections})
    made = Tandem(Settings(database=f"sqlite:///{tmp_path / 'tandem.db'}"), config, env)
    made.prepare()
    yield made
    for client in made.clients.values():
        client.close()
    made.database.close()


def settle(tandem: Tandem) -> None:
    """Look at both and step until nothing is left to do."""
    with tandem.database.write() as db:
        db.execute(update(t.connection_state).values(poll_due_at=0))
    for _ in tandem.connections:
        tandem.poll.step()  # one connection each, also where nothing is new
    for _ in range(200):
        with tandem.database.write() as db:
            db.execute(update(t.connection_state).values(next_at=0))
            for table in (t.work, t.inbox):
                db.execute(update(table).values(due_at=0))
        if not sum(station.step() for station in (tandem.poll, tandem.fetch, tandem.push)):
            return
    raise AssertionError("it does not come to rest")


def test_the_offer_is_of_the_sandbox(audiences: list[Audience]) -> None:
    """The ids in the comment are those of the audience that `tandem demo` shows."""
    text = SHIPPED.read_text(encoding="utf-8")
    for theirs in (
        "interests." + audiences[0].ids["events"],
        "marketing_permissions." + audiences[0].ids["advertising"],
    ):
        assert f"  #   theirs: {theirs}\n" in text


def test_the_offer_compiles() -> None:
    """Loading runs the mapping's examples too; without the offer there is the status alone."""
    text = SHIPPED.read_text(encoding="utf-8")
    assert [r.name for r in mapping.loads(text).consents] == ["consent:email"]
    found = mapping.loads(uncommented(text))
    assert [r.name for r in found.consents] == ["consent:email", "consent:email:events", "consent:email:advertising"]
    for rule in found.consents[1:]:
        told = {word: rule.claim({rule.theirs: word}) for word in (True, False, "true", "false", None, "maybe")}
        words = {w: c.status if c is not None else None for w, c in told.items()}
        yes, no = Status.GRANTED, Status.NONE
        assert words == {True: yes, False: no, "true": yes, "false": no, None: None, "maybe": None}
        assert rule.said(Status.WITHDRAWN) == ("false", Status.NONE)
        assert rule.said(Status.GRANTED) == ("true", Status.GRANTED)


def test_the_offer_is_found_in_the_account(tandem: Tandem, audiences: list[Audience]) -> None:
    """Every field of both mappings is there, with a readable label; those of the other audience are not."""
    schemas = {}
    for audience, name in zip(audiences, ("here", "there"), strict=True):
        audience.join(ANN)
        schemas[name] = tandem.connections[name].connector.describe(Kind.CONTACT).properties
    for name, other in (("here", "there"), ("there", "here")):
        for rule in tandem.connections[name].map.consents[1:]:
            assert schemas[name][rule.theirs].label in {
                "Interests: Events",
                "Marketing permission: Customized Online Advertising",
            }
            assert rule.theirs not in schemas[other]


@pytest.mark.parametrize("topic", ["events", "advertising"])
def test_an_objection_to_a_topic_travels(tandem: Tandem, audiences: list[Audience], topic: str) -> None:
    """There it is withdrawn: here the topic goes, and nothing else; then there is rest."""
    here, there = audiences
    for audience in audiences:
        audience.join(ANN, "events", "advertising")
    settle(tandem)
    assert here.on(ANN) == there.on(ANN) == {"events", "advertising"}
    there.set(ANN, topic, on=False)
    settle(tandem)
    assert here.on(ANN) == there.on(ANN) == {"events", "advertising"} - {topic}
    assert (here.status(ANN), there.status(ANN)) == ("subscribed", "subscribed")
    before = here.writes()
    settle(tandem)
    assert here.writes() == before


@pytest.mark.parametrize("topic", ["events", "advertising"])
def test_to_leave_a_group_where_that_says_none_stops_nobody_else(
    tandem: Tandem, audiences: list[Audience], topic: str
) -> None:
    """Here "false" is no objection: the other audience keeps what the person chose there."""
    here, there = audiences
    for audience in audiences:
        audience.join(ANN, "events", "advertising")
    settle(tandem)
    here.set(ANN, topic, on=False)
    settle(tandem)
    assert here.on(ANN) == {"events", "advertising"} - {topic}
    assert there.on(ANN) == {"events", "advertising"}


@pytest.mark.parametrize("topic", ["events", "advertising"])
def test_a_tick_does_not_lift_an_objection(tandem: Tandem, audiences: list[Audience], topic: str) -> None:
    """A field is no evidence: the objection made there holds here too."""
    here, there = audiences
    for audience in audiences:
        audience.join(ANN, "events", "advertising")
    settle(tandem)
    there.set(ANN, topic, on=False)
    settle(tandem)
    here.set(ANN, topic, on=True)
    settle(tandem)
    assert topic not in here.on(ANN) | there.on(ANN)


@pytest.mark.parametrize("topics", [(), ("events",), ("advertising",)])
def test_a_member_is_made_without_what_was_objected_to(
    tandem: Tandem, audiences: list[Audience], topics: tuple[str, ...]
) -> None:
    """In the call that makes it; the status stays that of new members."""
    here, there = audiences
    there.join(ANN, *topics)
    settle(tandem)
    made = [c for c in here.writes() if c.startswith("POST")]
    assert len(made) == 1
    assert here.on(ANN) == set()
    assert here.status(ANN) == "transactional"


@pytest.mark.parametrize("left", ["unsubscribe", "clean"])
def test_a_topic_brings_nobody_back(tandem: Tandem, audiences: list[Audience], left: str) -> None:
    """Who has left here stays so, whatever happens to topics there."""
    here, there = audiences
    for audience in audiences:
        audience.join(ANN, "events", "advertising")
    settle(tandem)
    here.client.post("/_sandbox/edit", json={"action": left, "email": ANN})
    settle(tandem)
    there.set(ANN, "events", on=True)
    settle(tandem)
    assert here.status(ANN) == {"unsubscribe": "unsubscribed", "clean": "cleaned"}[left]


def test_no_letter_is_dead(tandem: Tandem, audiences: list[Audience]) -> None:
    """Nothing of all this is refused."""
    audiences[1].join(ANN, "events")
    settle(tandem)
    with tandem.database.read() as db:
        letters: list[Any] = list(db.execute(select(t.dead)))
    assert letters == []
