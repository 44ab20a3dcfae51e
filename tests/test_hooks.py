"""Subscriptions at the vendors: seen, made, armed again when a vendor switched them off, removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import httpx
import pytest
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database
from app.core.errors import NotPossible
from app.core.words import Mode
from app.main import Tandem
from app.records import alarms
from app.repair import hooks
from app.repair.hooks import Hooks
from app.sync.connection import Connections
from connectors.contract import Can, Hook, Hooked, Side, TryLater
from sandbox.serve import Sandbox
from tests import sandboxed, test_erasure_sandbox
from tests.world import World

running, sandbox, mc, receiver = sandboxed.running, sandboxed.sandbox, sandboxed.mc, sandboxed.receiver
tandem = test_erasure_sandbox.tandem

DOOR = "https://tandem.example"
URL = f"{DOOR}/webhooks/crm"


class Subscriptions:
    """Lets a world's CRM have subscriptions."""

    def __init__(self, made: World, *there: Hook) -> None:
        self.there = list(there)
        self.armed = 0
        self.away = False
        vendor = made.vendors["crm"]
        vendor.can = vendor.can | {Can.HOOKS}  # type: ignore[misc]
        vendor.hooks = self.listed  # type: ignore[method-assign]
        vendor.hook = self.hook  # type: ignore[method-assign]
        self.made = made
        self.station = Hooks(made.database, made.connections, DOOR)

    def listed(self) -> Sequence[Hook]:
        if self.away:
            raise TryLater("no answer")
        return list(self.there)

    def hook(self, url: str) -> Hooked:
        self.armed += 1
        self.there = [dataclasses.replace(h, on=True, lacks=()) if h.url == url else h for h in self.there]
        return Hooked(tuple(h for h in self.there if h.url == url))

    def look(self) -> list[str]:
        with self.made.database.write() as db:
            db.execute(update(t.rhythm).values(hooks_due_at=0))
        assert self.station.step() == 1
        assert self.station.step() == 0  # its time has not come again
        with self.made.database.read() as db:
            return [a["words"] for a in alarms.listed(db) if a["kind"] == alarms.Kind.WEBHOOK]


@pytest.mark.parametrize(
    ("there", "armed", "said"),
    [
        ([Hook("h1", URL)], 0, None),
        ([Hook("h1", URL), Hook("h2", "https://elsewhere.example/", on=False)], 0, None),
        ([Hook("h1", URL, on=False)], 1, None),
        ([Hook("h1", URL, lacks=("events.cleaned",))], 1, None),
        ([Hook("h1", URL, on=None)], 0, None),
        ([Hook("h1", URL, on=False), Hook("h3", URL, missing=("x.delete",))], 0, "no webhook for x.delete"),
        ([], 0, "tandem webhooks install crm"),
        ([Hook("h2", "https://elsewhere.example/")], 0, "tandem webhooks install crm"),
    ],
)
def test_what_a_vendor_switched_off_is_armed_again(
    database: Database, there: list[Hook], armed: int, said: str | None
) -> None:
    """Off or incomplete: at once; gone or missing: only a person makes it; those of others are left alone."""
    made = World(database, {"crm": Side.CRM})
    subscriptions = Subscriptions(made, *there)
    words = subscriptions.look()
    assert subscriptions.armed == armed
    assert [said is not None and said in w for w in words] == ([True] if said is not None else [])


def test_where_nothing_is_written_it_only_says_so(database: Database) -> None:
    """An observed connection is not changed at its vendor; nor is one that does not answer called broken."""
    made = World(database, {"crm": Side.CRM})
    observed = dataclasses.replace(made.connections["crm"], mode=Mode.OBSERVE)
    made.connections = Connections({"crm": observed})
    subscriptions = Subscriptions(made, Hook("h1", URL, on=False))
    (words,) = subscriptions.look()
    assert "h1 is switched off" in words
    assert subscriptions.armed == 0
    subscriptions.away = True
    assert subscriptions.look() == []


def test_silence_makes_it_arm_what_the_vendor_does_not_tell(database: Database) -> None:
    """Some vendors do not say which they switched off: while it is silent, it is armed again."""
    made = World(database, {"crm": Side.CRM})
    subscriptions = Subscriptions(made, Hook("h1", URL, on=None))
    with database.write() as db:
        alarms.raised(db, alarms.Kind.SILENCE, "crm", "", "quiet")
    subscriptions.look()
    assert subscriptions.armed == 1


def test_a_watch_that_only_looks_is_caught(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: nothing is ever found wrong."""
    monkeypatch.setattr(hooks, "wrong", lambda _: [])
    with pytest.raises(AssertionError):
        test_what_a_vendor_switched_off_is_armed_again(database, [Hook("h1", URL, on=False)], 1, None)


def test_without_a_public_url_nobody_can_say(database: Database) -> None:
    """The message names the key; a connector without the interface names its page."""
    made = World(database, {"crm": Side.CRM})
    with pytest.raises(NotPossible, match=r"docs/vendors/vendor\.md"):
        hooks.install(made.connections["crm"], DOOR)
    Subscriptions(made)
    with pytest.raises(NotPossible, match="public_url"):
        hooks.install(made.connections["crm"], None)
    assert Hooks(database, made.connections, None).step() == 0


def test_mailchimp_over_the_wire(
    sandbox: Sandbox, mc: httpx.Client, tandem: Tandem, receiver: sandboxed.Receiver
) -> None:
    """Made with its secret in the URL, told once, completed when it tells too little, removed; others stay."""
    one = tandem.connections["mailchimp"]
    door = receiver.url
    assert hooks.ours(one, door) == ([], [])
    made = hooks.install(one, door)
    assert made.secret is not None
    assert made.secret not in repr(made)
    assert receiver.take().url.endswith("/webhooks/mailchimp?secret=hook-secret")  # Mailchimp asks the URL first
    again = hooks.install(one, door)
    assert ([h.id for h in again.hooks], again.secret) == ([h.id for h in made.hooks], None)
    (hook,) = hooks.ours(one, door)[0]
    assert (hook.on, hook.lacks, "secret" in hook.url) == (None, (), False)
    path = f"/lists/{sandbox.mailchimp.audience.id}/webhooks"
    mc.patch(f"{path}/{hook.id}", json={"events": {"subscribe": True}})
    assert "events.unsubscribe" in hooks.ours(one, door)[0][0].lacks
    sandbox.mailchimp.webhooks.targets[hook.id].enabled = False
    hooks.install(one, door)
    assert sandbox.mailchimp.webhooks.targets[hook.id].enabled
    assert hooks.ours(one, door)[0][0].lacks == ()
    assert mc.post(path, json={"url": f"{receiver.url}/elsewhere"}).status_code == 200
    assert hooks.remove(one, door) == [hook.id]
    assert [len(part) for part in hooks.ours(one, door)] == [0, 1]
