"""HubSpot and Mailchimp by OAuth through everything: connected, read, written to, renewed, lost and connected again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.core import tables as t
from app.core.db import Database
from app.core.sealing import new_key
from app.core.settings import Config, ConnectionConfig, Settings
from app.core.words import Mode
from app.main import Tandem
from app.records import alarms, state
from connectors.contract import Kind, NeedsHuman, Order, TryLater, Verb
from sandbox.oauth import CLIENT, CLIENT_SECRET, Server
from sandbox.serve import Sandbox
from tests import sandboxed as stage
from tests.authority import consented

running, sandbox, hs = stage.running, stage.sandbox, stage.hs


@pytest.fixture
def tandem(sandbox: Sandbox, database: Database) -> Iterator[Tandem]:
    login, lists = sandbox.mailchimp_url.removesuffix("/3.0"), sandbox.mailchimp.audience.id
    both = (
        ("hubspot", {"base_url": sandbox.hubspot_url, "login_url": sandbox.hubspot_url}),
        (
            "mailchimp",
            {"base_url": sandbox.mailchimp_url, "login_url": login, "list_id": lists},
        ),
    )
    config = Config(
        public_url="https://tandem.example.com",
        connections=tuple(
            ConnectionConfig(name=name, connector=name, mode=Mode.LIVE, settings={**settings, "client_id": CLIENT})
            for name, settings in both
        ),
    )
    secrets: dict[str, Any] = {"encryption_keys": new_key()}
    url = database.url.render_as_string(hide_password=False)
    settings_ = Settings(_env_file=None, database=url, **secrets)  # type: ignore[call-arg]
    env = {"TANDEM_HUBSPOT_CLIENT_SECRET": sandbox.hubspot.secret, "TANDEM_MAILCHIMP_CLIENT_SECRET": CLIENT_SECRET}
    found = Tandem(settings_, config, env)
    found.prepare()
    yield found
    found.close()


def server(sandbox: Sandbox, name: str) -> Server:
    found = (sandbox.hubspot if name == "hubspot" else sandbox.mailchimp).oauth
    assert found is not None
    found.asked.clear()
    return found


def connect(tandem: Tandem, sandbox: Sandbox, name: str) -> None:
    """Somebody agrees."""
    begun = tandem.connecting.begin(name, "Kim")
    tandem.connecting.finish(name, sandbox.call(lambda: consented(server(sandbox, name), begun.url)))


def order(email: str) -> Order:
    return Order("k1", Kind.CONTACT, Verb.CREATE, {"email": email, "firstname": "Ann"})


def test_a_token_that_ends_is_no_event(tandem: Tandem, sandbox: Sandbox, hs: httpx.Client) -> None:
    """Reads go on with the next one; a write comes back as one that may have landed, and is looked up, not doubled."""
    connect(tandem, sandbox, "hubspot")
    it, hub = server(sandbox, "hubspot"), tandem.connections["hubspot"].connector
    assert "contacts readable" in hub.check()
    stage.create(hs, email="ann@example.org")
    sandbox.call(it.expire)
    assert [r.fields["email"] for r in hub.find(Kind.CONTACT, "email", ["ann@example.org"])] == ["ann@example.org"]
    assert it.asked == ["refresh_token"]
    sandbox.call(it.expire)
    (receipt,) = hub.write([order("bob@example.org")])
    problem = getattr(receipt, "problem", None)
    assert isinstance(problem, TryLater)
    assert problem.landed
    assert it.asked == ["refresh_token"] * 2
    (receipt,) = hub.write([order("bob@example.org")])
    assert getattr(receipt, "problem", None) is None


def test_an_app_that_was_removed_pauses_its_connection(tandem: Tandem, sandbox: Sandbox) -> None:
    """The poll rests, the alarm names the command, the other connection goes on; connected again, it goes on itself."""
    for name in ("hubspot", "mailchimp"):
        connect(tandem, sandbox, name)
    sandbox.call(server(sandbox, "hubspot").uninstall)
    for _ in range(4):
        tandem.poll.step()
    with tandem.database.read() as db:
        assert state.paused(db) == {"hubspot"}
        (alarm,) = [row for row in alarms.listed(db) if row["kind"] == "access"]
        walked = dict(db.execute(select(t.connection_state.c.name, t.connection_state.c.walked_at)).all())  # type: ignore[arg-type]
    assert "`tandem connect hubspot`" in alarm["words"]
    assert walked["mailchimp"] is not None
    connect(tandem, sandbox, "hubspot")
    with tandem.database.read() as db:
        assert state.paused(db) == set()
    tandem.poll.step()
    with tandem.database.read() as db:
        assert state.paused(db) == set()


def test_mailchimps_token_is_for_good_until_it_is_revoked(tandem: Tandem, sandbox: Sandbox) -> None:
    """Nothing is asked for again; once revoked, only a person helps."""
    connect(tandem, sandbox, "mailchimp")
    it, chimp = server(sandbox, "mailchimp"), tandem.connections["mailchimp"].connector
    assert chimp.check()
    sandbox.call(it.uninstall)
    with pytest.raises(NeedsHuman, match="`tandem connect mailchimp`"):
        chimp.check()
    assert it.asked == []


def test_a_connection_that_nobody_connected_says_so(tandem: Tandem) -> None:
    """In the watch's alarms too, for each of them."""
    with pytest.raises(NeedsHuman, match="`tandem connect hubspot`"):
        tandem.connections["hubspot"].connector.check()
    tandem.watch.step()
    with tandem.database.read() as db:
        told = [row["words"] for row in alarms.listed(db) if row["kind"] == "access"]
    assert sorted(told) == [
        "hubspot: not connected: `tandem connect hubspot`",
        "mailchimp: not connected: `tandem connect mailchimp`",
    ]
