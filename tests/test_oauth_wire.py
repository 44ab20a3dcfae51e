"""What is sent to an authorization server, and what its answers lead to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from connectors import _oauth_vendors as vendors
from connectors._oauth import JWT_SECONDS, Authority, GrantLost, challenge, new_secret
from connectors._oauth_facts import Client, ClientAuth, Grant, OAuth, grant_of
from connectors.contract import NeedsHuman, Problem, TryLater
from sandbox.oauth import CLIENT, CLIENT_SECRET, JWT_GRANT, Server
from tests.authority import BACK, FACTS, Clock, Wire, consented, rsa

pytest.importorskip("authlib.deprecate")  # its own filter of warnings, set when it is loaded, is not to be the last
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B


def authority(wire: httpx.BaseTransport, facts: OAuth = FACTS, grant: Grant = Grant.CODE, **client: Any) -> Authority:
    known = Client(**{"id": CLIENT, "secret": CLIENT_SECRET, **client})
    return Authority(facts, grant, known, now=Clock(), transport=wire)


def server(**how: Any) -> Server:
    return Server(**{"vendor": "Acme", "clock": Clock(), **how})


def answering(status: int, body: Any) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(status, json=body))


def test_the_challenge_is_the_one_of_the_standard() -> None:
    """RFC 7636, appendix B; a fresh secret is long enough to be a verifier and never the same."""
    assert challenge(VERIFIER) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert len(new_secret()) >= 43
    assert new_secret() != new_secret()


def test_the_authorize_url_says_who_asks_for_what() -> None:
    """Everything in the query, and no secret of the app."""
    url = authority(Wire(server()), replace(FACTS, extra={"prompt": "consent"})).url(
        state="a state", verifier=VERIFIER, redirect_uri=BACK
    )
    assert url.startswith("https://login.acme.test/oauth/authorize?")
    assert dict(parse_qsl(urlsplit(url).query)) == {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": BACK,
        "scope": "people offline",
        "state": "a state",
        "code_challenge": challenge(VERIFIER),
        "code_challenge_method": "S256",
        "prompt": "consent",
    }
    assert CLIENT_SECRET not in url
    assert VERIFIER not in url


@pytest.mark.parametrize("client", ClientAuth)
def test_a_code_becomes_tokens_and_tokens_new_ones(client: ClientAuth) -> None:
    """With either proof of who the app is; the old refresh token is worth nothing afterwards."""
    it = server(basic=client is ClientAuth.BASIC, extra={"hub_id": 7, "instance_url": "https://eu.acme.test"})
    wire = Wire(it)
    one = authority(wire, replace(FACTS, client=client, place="instance_url"))
    back = consented(it, one.url(state="s", verifier=VERIFIER, redirect_uri=BACK))
    granted = one.exchange(back["code"], verifier=VERIFIER, redirect_uri=BACK)
    assert it.opens(granted.access)
    assert (granted.lives, granted.account, granted.place) == (1800, "7", "https://eu.acme.test")
    assert granted.scopes == ("people", "offline")
    assert granted.refresh is not None
    renewed = one.refresh(granted.refresh)
    assert renewed.access != granted.access
    assert it.opens(renewed.access)
    with pytest.raises(GrantLost):
        one.refresh(granted.refresh)
    assert {request.url.host for request in wire.sent} == {"api.acme.test"}
    assert ("client_secret" in wire.form()) == (client is ClientAuth.POST)


def test_a_code_is_bound_to_its_verifier_and_good_once() -> None:
    """Somebody who saw the code alone has nothing."""
    it = server()
    one = authority(Wire(it))
    url = one.url(state="s", verifier=VERIFIER, redirect_uri=BACK)
    with pytest.raises(GrantLost):
        one.exchange(consented(it, url)["code"], verifier="another", redirect_uri=BACK)
    code = consented(it, url)["code"]
    one.exchange(code, verifier=VERIFIER, redirect_uri=BACK)
    with pytest.raises(GrantLost):
        one.exchange(code, verifier=VERIFIER, redirect_uri=BACK)


@pytest.mark.filterwarnings("ignore:The httpx module")
def test_a_client_of_another_make_gets_its_tokens_from_the_simulator() -> None:
    """The simulator is driven by Authlib's client: with PKCE, a refresh and a revocation."""
    client_of = pytest.importorskip("authlib.integrations.httpx_client").OAuth2Client
    it = server()
    with client_of(
        CLIENT, CLIENT_SECRET, redirect_uri=BACK, code_challenge_method="S256", transport=Wire(it), scope="people"
    ) as client:
        url, state = client.create_authorization_url(FACTS.authorize_url, code_verifier=VERIFIER)
        back = consented(it, url)
        assert back["state"] == state
        token = client.fetch_token(FACTS.token_url, code=back["code"], code_verifier=VERIFIER)
        assert it.opens(token["access_token"])
        newer = client.refresh_token(FACTS.token_url, refresh_token=token["refresh_token"])
        assert it.opens(newer["access_token"])
        client.revoke_token(FACTS.revoke_url, newer["refresh_token"])
        assert not it.opens(newer["access_token"])


def test_a_signed_assertion_is_a_grant() -> None:
    """RFC 7523: who signs, for whom, to whom, and for how long at most."""
    private, public = rsa()
    it = server(public_key=public, audience="https://login.acme.test", tells=False)
    facts = replace(FACTS, grants=(Grant.JWT,), audience="https://login.acme.test")
    wire = Wire(it)
    granted = authority(wire, facts, Grant.JWT, secret=None, key=private.replace("\n", "\\n"), subject="ops").obtain()
    assert it.opens(granted.access)
    assert (granted.refresh, granted.lives) == (None, 1800)
    assert it.asked == [JWT_GRANT]
    claims = jwt.decode(wire.form()["assertion"], RSAKey.import_key(public), algorithms=["RS256"]).claims
    assert (claims["iss"], claims["sub"], claims["exp"] - claims["iat"]) == (CLIENT, "ops", JWT_SECONDS)
    assert set(wire.form()) == {"grant_type", "assertion"}


@pytest.mark.parametrize(
    ("grant", "client", "told"),
    [
        (Grant.CODE, {"secret": None}, "client_secret is not set"),
        (Grant.JWT, {"key": None}, "private_key and username"),
        (Grant.JWT, {"key": "no key", "subject": "ops"}, "no RSA key"),
    ],
)
def test_an_app_that_lacks_something_is_told_so(grant: Grant, client: dict[str, Any], told: str) -> None:
    """Before any call."""
    with pytest.raises(ValueError, match=told):
        authority(answering(200, {}), FACTS, grant, **client)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid_grant"}, GrantLost),
        (400, {"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token"}, GrantLost),
        (401, {"error": "invalid_grant"}, GrantLost),
        (401, {"error": "invalid_client"}, NeedsHuman),
        (400, {"error": "unauthorized_client"}, NeedsHuman),
        (400, {"error": "invalid_scope"}, NeedsHuman),
        (403, {}, NeedsHuman),
        (404, {}, NeedsHuman),
        (302, {}, NeedsHuman),
        (200, {"error": "invalid_client"}, NeedsHuman),  # Zoho says no with a 200
        (200, {"error": "access_denied"}, GrantLost),
        (400, {"error": "temporarily_unavailable"}, TryLater),
        (429, {}, TryLater),
        (500, {}, TryLater),
        (503, {"error": "x"}, TryLater),
        (200, {}, TryLater),
        (200, [], TryLater),
        (200, {"access_token": ""}, TryLater),
    ],
)
def test_a_no_is_told_from_a_not_now(status: int, body: Any, kind: type[Problem]) -> None:
    """Only what a person can mend asks for one; a lost refresh token is told apart."""
    with pytest.raises(Problem) as caught:
        authority(answering(status, body)).refresh("refresh-1-secret")
    assert type(caught.value) is kind


def test_no_error_repeats_a_secret() -> None:
    """Not the app's, not the token, not a description that quotes them."""
    sent = {
        "error": f"refresh-1-secret {CLIENT_SECRET}",
        "error_description": "refresh-1-secret",
        "message": CLIENT_SECRET,
    }
    for status in (200, 400, 401, 429, 500):
        with pytest.raises(Problem) as caught:
            authority(answering(status, sent)).refresh("refresh-1-secret")
        assert "refresh-1-secret" not in str(caught.value)
        assert CLIENT_SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "lives"),
    [
        ({"expires_in": 60}, 60),
        ({"expires_in": "60"}, 60),
        ({}, 1800),
        ({"expires_in": "soon"}, 1800),
        ({"expires_in": 0}, None),
    ],
)
def test_how_long_a_token_lives(said: dict[str, Any], lives: int | None) -> None:
    """As the answer says, also as text; else as the vendor's documents do; 0 stands for no end."""
    assert authority(answering(200, {"access_token": "a", **said})).obtain().lives == lives


def test_a_grant_is_chosen_by_the_settings() -> None:
    """The vendor's usual one, or as is said; a key means JWT."""
    facts = vendors.salesforce()
    assert grant_of(facts, {}) is Grant.CODE
    assert grant_of(facts, {"private_key": "x"}) is Grant.JWT
    assert grant_of(facts, {"grant": "client_credentials", "private_key": "x"}) is Grant.CLIENT
    assert grant_of(facts, {"grant": "jwt_bearer"}) is Grant.JWT
    with pytest.raises(ValueError, match="known: authorization_code, jwt_bearer, client_credentials"):
        grant_of(facts, {"grant": "password"})


VENDORS = {
    "hubspot": vendors.hubspot("https://api.hubapi.com"),
    "mailchimp": vendors.mailchimp(),
    "salesforce": vendors.salesforce(),
    "mautic": vendors.mautic("https://mautic.example.com"),
    "pipedrive": vendors.PIPEDRIVE,
    "klaviyo": vendors.KLAVIYO,
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_each_vendor_can_be_spoken_to_by_its_facts(vendor: str) -> None:
    """The whole way against a server that behaves as its documents say, paths included."""
    facts = VENDORS[vendor]
    paths = {name: urlsplit(url).path for name, url in (("authorize", facts.authorize_url), ("token", facts.token_url))}
    it = server(
        **paths,
        revoke=urlsplit(facts.revoke_url).path if facts.revoke_url is not None else None,
        basic=facts.client is ClientAuth.BASIC,
        lives=facts.lives,
        tells=vendor != "salesforce",
        refreshes=facts.refreshes,
        extra={key: "https://eu.acme.test" for key in (facts.place, facts.account) if key is not None},
    )
    one = authority(Wire(it), facts)
    back = consented(it, one.url(state="s", verifier=VERIFIER, redirect_uri=BACK))
    granted = one.exchange(back["code"], verifier=VERIFIER, redirect_uri=BACK)
    assert (granted.lives, granted.refresh is not None) == (facts.lives, facts.refreshes)
    assert (granted.place is not None) == (facts.place is not None)
    if granted.refresh is not None:
        granted = one.refresh(granted.refresh)
    assert it.opens(granted.access)
    assert one.revoke(granted.access) == (facts.revoke_url is not None)
    assert it.opens(granted.access) == (facts.revoke_url is None)
    for url in (facts.authorize_url, facts.token_url):
        assert urlsplit(url).scheme == "https"
        assert not urlsplit(url).query
