"""Connecting an account: who comes back, when, how often, to what, and what he is shown."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from sqlalchemy import select, update

from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.errors import NotFound, NotPossible
from app.core.sealing import CannotOpen, Keys, new_key
from app.records import alarms, state, tokens
from app.repair import connecting as flow
from app.repair import prune
from app.repair.connecting import DAY_MS, NotExpected
from connectors._oauth_facts import Grant
from connectors.contract import NeedsHuman
from sandbox.oauth import Server
from tests.apihelp import Api, token
from tests.authority import BACK, FACTS, Acme, Clock, consented

k, c = t.token.c, t.consenting.c
KEY = new_key()
CALLBACK = "/connections/acme/callback"


@pytest.fixture
def acme(database: Database) -> Acme:
    with database.write() as db:
        state.ensure(db, ["acme"])
    return Acme(database, keys=Keys([KEY]))


def back(acme: Acme, *, allow: bool = True) -> dict[str, str]:
    """What a person who was sent to the vendor comes back with."""
    return consented(acme.server, acme.connecting.begin("acme", "Kim").url, allow=allow)


def words(database: Database) -> list[str]:
    with database.read() as db:
        return [row["words"] for row in alarms.listed(db)]


def test_a_consent_connects(acme: Acme) -> None:
    """By whom, to which account, with which scopes; and it works."""
    found = acme.connecting.finish("acme", back(acme))
    assert (found.account, found.scopes, found.renews) == ("7", ("people", "offline"), True)
    assert acme.server.opens(acme.access.current().header.removeprefix("Bearer "))
    with acme.database.read() as db:
        (row,) = tokens.listed(db)
    assert (row["connected_by"], row["version"], row["key_id"]) == ("Kim", 1, acme.keys.id)
    assert acme.wire.form(0)["redirect_uri"] == BACK


def twice(acme: Acme) -> int:
    """The same return, two times; how often the vendor was asked."""
    query = back(acme)
    acme.connecting.finish("acme", query)
    with pytest.raises(NotPossible):
        acme.connecting.finish("acme", query)
    return len(acme.server.asked)


def test_a_state_is_good_once(acme: Acme) -> None:
    """Who comes a second time is turned away before the vendor hears of it."""
    assert twice(acme) == 1


def test_a_state_that_stays_would_be_used_again(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: not removed when it is used, the same link asks the vendor again."""

    def lenient(db: Any, keys: Any, name: str, given: str) -> Any:
        row = db.execute(select(t.consenting)).one()
        return tokens.Expected(name, keys.open(row.state, row.verifier), row.redirect_uri, row.by)

    monkeypatch.setattr(tokens, "returned", lenient)
    assert twice(acme) == 2


@pytest.mark.parametrize("wrong", ["made up", "late", "of another connection", "absent"])
def test_a_state_is_bound_to_its_time_and_connection(acme: Acme, wrong: str) -> None:
    """Ten minutes, this connection, and nothing that was not made here; the vendor hears of none."""
    query = back(acme)
    match wrong:
        case "made up":
            query["state"] = query["state"][:-1] + "x"
        case "late":
            with acme.database.write() as db:
                db.execute(update(t.consenting).values(expires_at=c.expires_at - tokens.STATE_MS))
        case "of another connection":
            with acme.database.write() as db:
                db.execute(update(t.consenting).values(connection="other"))
        case "absent":
            del query["state"]
    with pytest.raises(NotExpected, match="begin again"):
        acme.connecting.finish("acme", query)
    assert acme.server.asked == []


def test_the_store_keeps_no_state(acme: Acme) -> None:
    """Its hash only, and the verifier sealed: who reads the store cannot come back in somebody's place."""
    url = acme.connecting.begin("acme", "Kim").url
    given = dict(parse_qsl(urlsplit(url).query))["state"]
    with acme.database.read() as db:
        row = db.execute(select(t.consenting)).one()
        now = clock_of(db)
    assert given not in repr(row)
    assert 0 < row.expires_at - now <= 10 * 60_000


def test_what_nobody_came_back_from_is_removed(acme: Acme) -> None:
    """When the next one begins, and by retention."""
    acme.connecting.begin("acme", "Kim")
    with acme.database.write() as db:
        db.execute(update(t.consenting).values(expires_at=0))
        prune.prune(db, prune.Retention())
    with acme.database.read() as db:
        assert db.execute(select(t.consenting)).all() == []


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"error": "access_denied"}, "told not to allow it"),
        ({"error": "server_error"}, "try again later"),
        ({"error": "<script>", "error_description": "geheim"}, "the vendor said no"),
        ({}, "the vendor said no"),
    ],
)
def test_a_no_is_told_in_our_words(acme: Acme, query: dict[str, str], told: str) -> None:
    """A redirect's own words can be anybody's."""
    with pytest.raises(NotPossible, match=told) as caught:
        acme.connecting.finish("acme", {"state": back(acme, allow=False)["state"], **query})
    assert "script" not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_another_account_is_refused(acme: Acme) -> None:
    """Links would point at somebody else's records; unless the tokens are forgotten first."""
    acme.connect()
    acme.server.extra = {"hub_id": 8}
    with pytest.raises(NotPossible, match=r"another account \(8\) than before \(7\)"):
        acme.connect()
    assert acme.process().current().number == 1
    assert acme.connecting.forget("acme", "Kim")
    acme.connect()
    assert acme.process().current().number == 1


def test_forgetting_takes_it_back_at_the_vendor_too(acme: Acme) -> None:
    """The connection rests; a vendor that does not answer does not keep the tokens here."""
    acme.connect()
    token = acme.access.current().header.removeprefix("Bearer ")
    assert acme.connecting.forget("acme", "Kim")
    assert not acme.server.opens(token)
    with acme.database.read() as db:
        assert state.paused(db) == {"acme"}
        assert db.execute(select(t.token)).all() == []
    acme.connect()
    acme.wire.before = lambda _: httpx.Response(500)
    assert acme.connecting.forget("acme", "Kim")
    assert not acme.connecting.forget("acme", "Kim")


def test_what_rested_for_want_of_a_token_goes_on(acme: Acme) -> None:
    """What an operator let rest does not."""
    with acme.database.write() as db:
        state.pause(db, "acme", "its token was refused")
    assert acme.connecting.finish("acme", back(acme)).resumed
    with acme.database.write() as db:
        state.pause(db, "acme", "holidays", by="operator")
    assert not acme.connecting.finish("acme", back(acme)).resumed


def test_the_pasted_address_does_as_well(acme: Acme) -> None:
    """Copied from a browser that could not reach us; what is none is told so."""
    query = back(acme)
    assert acme.connecting.finish_pasted("acme", f"  {BACK}?{urlencode(query)}\n").account == "7"
    with pytest.raises(NotPossible, match="`code` and `state`"):
        acme.connecting.finish_pasted("acme", "https://login.acme.test/")


def test_only_those_that_need_a_person_send_one(database: Database) -> None:
    """And a connection with a static key has nothing to connect."""
    acme = Acme(database, grant=Grant.CLIENT)
    with pytest.raises(NotPossible, match="by itself"):
        acme.connecting.begin("acme", "Kim")
    assert acme.connecting.obtain("acme", "Kim").renews
    with pytest.raises(NotFound, match="those that do: acme"):
        acme.connecting.begin("hubspot", "Kim")


ENDS: list[tuple[dict[str, int], dict[str, int], str | None]] = [
    # facts, what the vendor said when it was connected, days until now; what the alarm says
    ({}, {"days": 0}, None),
    ({}, {"days": 300}, None),  # renewed whenever it is used
    ({"refreshes": 0}, {"days": 0}, "cannot be renewed: `tandem connect acme`"),
    ({"refreshes": 0, "lives": 0}, {"days": 300}, None),  # does not expire
    ({"refreshes": 0, "lives": 60}, {"days": 52}, None),
    ({"refreshes": 0, "lives": 60}, {"days": 54}, "cannot be renewed: `tandem connect acme`"),
    ({"idle": 14}, {"days": 6}, None),
    ({"idle": 14}, {"days": 8}, "was not used for long"),
]


@pytest.mark.parametrize(("facts", "now", "told"), ENDS)
def test_an_end_that_nobody_can_put_off_is_told_before(
    database: Database, facts: dict[str, int], now: dict[str, int], told: str | None
) -> None:
    """A week before; once it is connected again the alarm is over."""
    lives = facts["lives"] * 86_400 if "lives" in facts else 1800
    known = replace(FACTS, idle=facts["idle"] * 86_400 if "idle" in facts else None)
    renews = "refreshes" not in facts
    server = Server("Acme", clock=Clock(), lives=lives if lives else None, refreshes=renews, rotates=renews)
    acme = Acme(database, replace(known, lives=lives if lives else None), server=server)
    acme.connect()
    with database.write() as db:
        passed = now["days"] * DAY_MS
        db.execute(update(t.token).values(expires_at=k.expires_at - passed, refreshed_at=k.refreshed_at - passed))
        flow.judge(db, {"acme": acme.access})
    assert [told is not None and told in one for one in words(database)] == [True] * (told is not None)
    acme.connect()
    assert words(database) == []


def test_who_never_connected_has_an_alarm(acme: Acme) -> None:
    """Raised once; over once somebody has."""
    for new in (["acme"], []):
        with acme.database.write() as db:
            assert flow.judge(db, {"acme": acme.access}) == new
    assert words(acme.database) == ["acme: not connected: `tandem connect acme`"]
    acme.connect()
    assert words(acme.database) == []


def test_reencrypting(acme: Acme) -> None:
    """All tokens move to the newest key; one whose key is gone stops it before anything is changed."""
    acme.connect()
    new = new_key()
    both = Keys([new, KEY])
    with acme.database.write() as db:
        with pytest.raises(CannotOpen, match=Keys([KEY]).id):
            tokens.reseal(db, Keys([new]))
        assert tokens.by_key(db) == {Keys([KEY]).id: 1}
        assert tokens.reseal(db, both) == 1
        assert tokens.reseal(db, both) == 0
        assert tokens.by_key(db) == {both.id: 1}
        kept = tokens.kept(db, Keys([new]), "acme")
    assert kept is not None
    assert acme.server.opens(kept.access)


# --- over HTTP --------------------------------------------------------------------------------------------------------


def api(acme: Acme, **options: Any) -> Api:
    return Api(acme.database, connecting=acme.connecting, **options)


def test_the_whole_way_over_http(acme: Acme) -> None:
    """Authorize, agree, come back: a page that says so, and holds nothing that was given."""
    tandem = api(acme, token=token("a-token-of-some-length"))
    allowed = {"authorization": "Bearer a-token-of-some-length"}
    asked = tandem("GET", "/connections/acme/authorize?by=Kim", headers=allowed)
    assert asked.status_code == 200
    assert asked.json()["redirect_uri"] == BACK
    query = consented(acme.server, asked.json()["url"])
    answer = tandem("GET", CALLBACK, params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "acme is connected to account 7" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    secret = acme.access.current().header.removeprefix("Bearer ")
    for hidden in (secret, query["code"], query["state"]):
        assert hidden not in answer.text
    assert tandem.woken == 1
    standing = tandem("GET", "/ops/tokens", headers=allowed).json()
    assert standing["items"][0]["connected_by"] == "Kim"
    assert not re.search(r"access-|refresh-", str(standing))


def test_no_log_has_a_secret(acme: Acme, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither when it goes well nor when it does not; an empty log must not pass."""
    query = back(acme)
    tandem = api(acme)
    with caplog.at_level("DEBUG"):
        for sent in (query, query, {"state": query["state"][:-1] + "x", "code": "a-code"}):
            tandem("GET", CALLBACK, params=sent)
        token = acme.access.current()
        acme.access.current(refused=token)
        acme.server.uninstall()
        with pytest.raises(NeedsHuman):
            acme.access.current(refused=acme.access.current())
    said = "".join(capfd.readouterr()) + caplog.text
    assert "access.lost" in said
    assert not re.search(r"access-[0-9]|refresh-[0-9]|code-[0-9]", said)
    for secret in (query["state"], query["code"], KEY, str(acme.client.secret)):
        assert secret not in said


def test_a_browser_is_sent_on(acme: Acme) -> None:
    """From our own pages or its address bar, and from no other site's page."""
    tandem = api(acme)
    html = {"accept": "text/html,application/xhtml+xml"}
    answer = tandem("GET", "/connections/acme/authorize", headers=html)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("https://login.acme.test/oauth/authorize?")
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 303), ("none", 303)):
        headers = {**html, "sec-fetch-site": site}
        assert tandem("GET", "/connections/acme/authorize", headers=headers).status_code == status, site


def test_who_begins_has_to_be_allowed(acme: Acme) -> None:
    """Who comes back need not be: the state lets him in."""
    tandem = api(acme, token=token("a-token-of-some-length"))
    assert tandem("GET", "/connections/acme/authorize").status_code == 401
    assert tandem("GET", "/ops/tokens").status_code == 401
    assert tandem("GET", CALLBACK).status_code == 400
    with acme.database.read() as db:
        assert db.execute(select(t.consenting)).all() == []


@pytest.mark.parametrize(
    ("path", "query", "status", "told"),
    [
        (CALLBACK, {"state": "made up", "code": "x"}, 400, "was not made here"),
        (CALLBACK, {"state": "x" * 5000}, 400, "was not made here"),
        ("/connections/hubspot/callback", {"state": "x"}, 404, "does not use OAuth"),
        ("/connections/%3Cscript%3E/callback", {}, 422, None),
    ],
)
def test_a_wrong_return_is_a_plain_page(
    acme: Acme, path: str, query: dict[str, str], status: int, told: str | None
) -> None:
    """That repeats nothing of what came."""
    answer = api(acme)("GET", path, params=query)
    assert answer.status_code == status
    assert "<script>" not in answer.text
    if told is not None:
        assert told in answer.text


def test_a_vendor_that_does_not_answer_is_told(acme: Acme) -> None:
    """As its fault, with the advice to begin again."""
    tandem = api(acme)
    query = back(acme)
    acme.wire.before = lambda _: httpx.Response(503)
    answer = tandem("GET", CALLBACK, params=query)
    assert (answer.status_code, "begin again" in answer.text) == (502, True)
    query = back(acme)
    acme.wire.before = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    assert tandem("GET", CALLBACK, params=query).status_code == 400
