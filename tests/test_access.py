"""Tokens are kept sealed, renewed once for all, in time, and never lost for want of care."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from app.core import tables as t
from app.core.db import Database
from app.core.sealing import Keys, new_key
from app.records import alarms, tokens
from app.records.access import Access
from app.repair.connecting import Connecting
from connectors._oauth import Authority
from connectors._oauth_facts import Client, Grant, Rotation
from connectors._oauth_vendors import hubspot
from connectors.contract import NeedsHuman, Problem, TryLater
from sandbox.hubspot import SECRET, HubSpotSim
from sandbox.oauth import CLIENT, Server
from sandbox.serve import Sandbox
from tests.authority import FACTS, PUBLIC, Acme, Clock, consented
from tests.test_duties import holder
from tests.test_replicas import said, tell

k = t.token.c


@pytest.fixture
def acme(database: Database) -> Acme:
    it = Acme(database)
    it.connect()
    it.server.asked.clear()
    return it


def age(database: Database, ms: int) -> None:
    """The token in the store is so much older."""
    with database.write() as db:
        db.execute(update(t.token).values(expires_at=k.expires_at - ms, refreshed_at=k.refreshed_at - ms))


def words(database: Database) -> list[str]:
    with database.read() as db:
        return [row["words"] for row in alarms.listed(db)]


def problem(call: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        call()
    return caught.value


def test_a_good_token_is_used_as_it_is(acme: Acme) -> None:
    """No call, and after the first time no look into the store."""
    first = acme.access.current()
    assert acme.server.opens(first.header.removeprefix("Bearer "))
    with acme.database.write() as db:
        db.execute(t.token.delete())
    assert acme.access.current() == first
    assert acme.server.asked == []


def test_a_token_is_renewed_before_it_ends(acme: Acme) -> None:
    """A tenth of its life before, so that a call never begins with one that ends on the way."""
    age(acme.database, 1_600_000)
    assert acme.process().current().number == 1
    age(acme.database, 30_000)
    assert acme.process().current().number == 2
    assert acme.server.asked == ["refresh_token"]


def test_one_that_is_held_is_renewed_in_time_too(acme: Acme) -> None:
    """By this process's own measure of time, which never runs backwards."""
    time = Clock()
    access = acme.process(now=time)
    first = access.current()
    time.now += 1_610
    age(acme.database, 1_610_000)
    assert access.current() == first
    time.now += 20
    age(acme.database, 20_000)
    assert access.current().number == 2


def test_a_refused_token_is_renewed_once_for_all(acme: Acme) -> None:
    """Who comes with the same refused token gets the one that another got."""
    one, other = acme.process(), acme.process()
    first = one.current()
    assert other.current() == first
    newer = one.current(refused=first)
    assert newer.number == 2
    assert other.current(refused=first) == newer
    assert one.current(refused=first) == newer
    assert acme.server.asked == ["refresh_token"]


def asked_by_sixteen(database: Database, **env: str) -> tuple[list[str], set[str]]:
    """Two processes of eight threads meet a HubSpot token that was refused; what the simulator was asked for."""
    with Sandbox(HubSpotSim()) as box:
        server = box.hubspot.oauth
        assert server is not None
        facts = hubspot(box.hubspot_url, box.hubspot_url)
        keys = new_key()
        authority = Authority(facts, Grant.CODE, Client(CLIENT, SECRET), now=Clock())
        own = Access(database, "hubspot", authority, Keys([keys]), "me")
        connecting = Connecting(database, {"hubspot": own}, public_url=PUBLIC)
        connecting.finish("hubspot", consented(server, connecting.begin("hubspot", "Kim").url))
        server.expire()
        server.asked.clear()
        box.hubspot.faults.add({"kind": "slow", "match": "/oauth/v3/token", "delay": 0.3})
        env |= {"TANDEM_ENCRYPTION_KEYS": keys, "HUBSPOT": box.hubspot_url}
        with holder(database, "token", env=env) as one, holder(database, "token", env=env) as other:
            assert [said(one), said(other)] == ["ready", "ready"]
            tell(one)
            tell(other)
            ended = {said(one), said(other)}
        authority.close()
        return server.asked, ended


def test_two_processes_of_eight_threads_refresh_once(database: Database) -> None:
    """Sixteen requests are refused at once; the vendor is asked for one new token, and all go on with it."""
    assert asked_by_sixteen(database) == (["refresh_token"], {"200 with token 2"})


def test_without_the_flight_they_would_not(database: Database) -> None:
    """Saboteur: each process renews for itself, and the second one revokes what the first one got."""
    asked, ended = asked_by_sixteen(database, SABOTEUR="yes")
    assert len(asked) > 1
    assert ended != {"200 with token 2"}


def test_the_store_has_no_secret_in_the_clear(acme: Acme, database: Database) -> None:
    """Neither as a value, nor in the bytes; a row in another's place is of no use."""
    acme.access.current(refused=acme.access.current())
    with acme.database.read() as db:
        rows = repr([list(row) for table in (t.token, t.flight, t.consenting) for row in db.execute(select(table))])
    assert "access-" not in rows
    assert "refresh-" not in rows
    if database.dialect == "sqlite":
        files = Path(str(database.url.database)).parent.glob("tandem*.db*")
        assert not re.search(rb"access-[0-9]|refresh-[0-9]", b"".join(f.read_bytes() for f in files))
    with acme.database.write() as db:
        db.execute(update(t.token).values(connection="other"))
    other = Access(acme.database, "other", acme.authority(), acme.keys, "worker")
    assert "the row was moved" in str(problem(other.current))


def test_no_repr_shows_a_secret(acme: Acme) -> None:
    """Whatever of it a traceback or a log may print."""
    token = acme.access.current()
    with acme.database.read() as db:
        kept = tokens.kept(db, acme.keys, "acme")
    assert kept is not None
    shown = " ".join(map(repr, (token, kept, acme.access, acme.access.authority, acme.keys, acme.client)))
    for secret in (kept.access, kept.refresh, acme.client.secret):
        assert secret is not None
        assert secret not in shown


def test_a_token_in_a_repr_would_be_seen(acme: Acme) -> None:
    """Saboteur: the test above finds a value that shows itself."""
    token = acme.access.current()
    leaky = replace(acme.access.current())
    shown = f"Token(header={leaky.header!r})"
    assert token.header.removeprefix("Bearer ") in shown


def test_a_lost_refresh_token_needs_a_human(acme: Acme) -> None:
    """Who is told what to do; nobody asks the vendor again with it, in no process."""
    acme.server.uninstall()
    age(acme.database, 1_800_000)
    error = problem(acme.process().current)
    assert isinstance(error, NeedsHuman)
    assert "`tandem connect acme`" in str(error)
    assert isinstance(problem(acme.process().current), NeedsHuman)
    assert acme.server.asked == ["refresh_token"]
    (told,) = words(acme.database)
    assert "`tandem connect acme`" in told


def test_connecting_again_mends_it(acme: Acme) -> None:
    """The alarm is over, and every process takes the new token without a restart."""
    acme.server.uninstall()
    process = acme.process()
    first = process.current()
    problem(lambda: process.current(refused=first))
    acme.connect()
    assert acme.server.opens(process.current().header.removeprefix("Bearer "))
    assert words(acme.database) == []


def test_a_vendor_that_is_away_leaves_the_old_token_in_use(acme: Acme) -> None:
    """While it is good; after that the call waits, and nobody is called."""
    time = Clock()
    access = acme.process(now=time)
    first = access.current()
    acme.wire.before = lambda _: httpx.Response(503)
    time.now += 1_700
    age(acme.database, 1_700_000)
    assert access.current() == first
    assert access.current() == first
    assert len([r for r in acme.wire.sent if r.url.path == "/oauth/token"]) == 2, "not tried again at once"
    time.now += 100
    age(acme.database, 100_000)
    assert isinstance(problem(access.current), TryLater)
    assert words(acme.database) == []


def test_a_refused_app_is_told_and_the_tokens_stay(acme: Acme) -> None:
    """A wrong client secret says nothing about the refresh token: once corrected it goes on without a person."""
    right, acme.server.client_secret = acme.server.client_secret, "rotated"
    age(acme.database, 1_800_000)
    assert "invalid_client" in str(problem(acme.process().current))
    assert len(words(acme.database)) == 1
    acme.server.client_secret = right
    assert acme.process().current().number == 2
    assert words(acme.database) == []


def test_an_answer_is_stored_however_stubborn_the_store(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new refresh token that was not stored is held, and stored before anything else is asked."""
    age(acme.database, 1_800_000)
    access = acme.process(now=itertools.count(step=15).__next__)
    whole = tokens.keep

    def fail(*_: Any, **__: Any) -> int:
        raise OperationalError("INSERT", {}, Exception("disk full"))

    monkeypatch.setattr(tokens, "keep", fail)
    assert isinstance(problem(access.current), TryLater)
    monkeypatch.setattr(tokens, "keep", whole)
    assert access.current().number == 2
    assert acme.server.asked == ["refresh_token"]
    assert acme.server.opens(access.current().header.removeprefix("Bearer "))


def test_a_crash_before_it_is_stored_is_told_as_that(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no order of steps can save: the vendor made a new token, and whoever got it is gone."""
    age(acme.database, 1_800_000)

    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Access, "_store", killed)
        with pytest.raises(Killed):
            acme.process().current()
    assert "cut off before its answer was stored" in str(problem(acme.process().current))


def overtaken(acme: Acme) -> str:
    """A renewal ends after somebody connected anew; the refresh token that is kept."""
    age(acme.database, 1_800_000)
    process = acme.process()

    def meanwhile(response: httpx.Response) -> httpx.Response:
        acme.wire.after = lambda answer: answer
        acme.connect()
        return response

    acme.wire.after = meanwhile
    process.current()
    with acme.database.read() as db:
        kept = tokens.kept(db, acme.keys, "acme")
    assert kept is not None
    return str(kept.refresh)


def test_a_renewal_is_not_put_over_a_new_consent(acme: Acme) -> None:
    """The consent is newer than the token that the renewal came from."""
    assert overtaken(acme) == acme.server.consents[-1].refresh


def test_without_the_comparison_it_would_be(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: stored without a look at what is there, the test above fails."""

    def blind(self: Access, before: Any, granted: Any) -> None:
        with self._database.write() as db:
            tokens.keep(db, self.keys, self.name, granted, grant=str(Grant.CODE), before=before, by=None)

    monkeypatch.setattr(Access, "_store", blind)
    assert overtaken(acme) != acme.server.consents[-1].refresh


def test_a_token_without_an_end_is_kept_until_it_is_refused(database: Database) -> None:
    """As Mailchimp's: nothing renews it, so a refusal needs a human, once and for all."""
    facts = replace(FACTS, refreshes=False, rotates=Rotation.NEVER, lives=None)
    acme = Acme(database, facts, server=Server("Acme", clock=Clock(), lives=None, refreshes=False, rotates=False))
    acme.connect()
    token = acme.access.current()
    assert acme.process().current() == token
    error = problem(lambda: acme.access.current(refused=token))
    assert isinstance(error, NeedsHuman)
    assert "cannot be renewed" in str(error)
    assert isinstance(problem(acme.process().current), NeedsHuman)
    assert acme.server.asked == ["authorization_code"]


def test_tokens_that_need_no_person_are_had_when_needed(database: Database) -> None:
    """Client credentials: the first one, the next one, and all processes share it."""
    acme = Acme(database, replace(FACTS, grants=(Grant.CLIENT,)), Grant.CLIENT)
    token = acme.access.current()
    assert acme.process().current() == token
    assert acme.process().current(refused=token).number == 2
    assert acme.server.asked == ["client_credentials"] * 2


def test_a_key_that_is_gone_is_named(acme: Acme) -> None:
    """By its id; the tokens stay for when it is put back."""
    other = Access(acme.database, "acme", acme.authority(), Keys([new_key()]), "worker")
    error = problem(other.current)
    assert isinstance(error, NeedsHuman)
    assert acme.keys.id in str(error)
    assert acme.process().current().number == 1


def test_who_never_connected_is_told_how(database: Database) -> None:
    """At the first call, without one."""
    acme = Acme(database)
    assert "not connected yet; connect it with `tandem connect acme`" in str(problem(acme.access.current))
    assert acme.wire.sent == []


def test_a_vendor_that_gives_no_new_refresh_token_keeps_the_old(database: Database) -> None:
    """Where tokens do not rotate the answer has none."""
    acme = Acme(database, server=Server("Acme", clock=Clock(), rotates=False, extra={"hub_id": 7}))
    acme.connect()
    for number in (2, 3):
        age(database, 1_800_000)
        assert acme.process().current().number == number
