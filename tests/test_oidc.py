"""Signing in by way of an identity provider, and all that could be sent instead of its word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc import jwt
from pydantic import SecretStr, ValidationError
from sqlalchemy import select

from app.core import tables as t
from app.core._settings_login import OidcConfig
from app.core.clock import now, to_ms
from app.core.settings import Config
from app.ops.access import oidc
from app.records import accounts
from tests.identity import CLIENT, ISSUER, SECRET, Provider
from tests.signin import HOME, Browser, House

CONFIG = Config.model_validate(
    {
        "public_url": HOME,
        "login": {
            "oidc": {
                "issuer": ISSUER,
                "client_id": CLIENT,
                "roles": {"crm-admins": "admin", "marketing": "analyst", "sales": "steward"},
            }
        },
    }
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    it = House(tmp_path_factory.mktemp("oidc"), CONFIG, oidc_client_secret=SECRET)
    yield it
    it.close()


@pytest.fixture
def there(house: House) -> Provider:
    """The provider, anew for each test, and what Tandem knew of it forgotten."""
    made, ours = Provider(), house.tandem.provider
    assert ours is not None
    ours._http._transport, ours._http._mounts = made.transport, {}
    ours._about = ours._keys = None
    return made


def sign_in(it: Browser, there: Provider, target: str = "/console", **instead: str) -> Any:
    left = it("GET", "/login/provider", params={"next": target})
    assert left.status_code == 303
    return it("GET", "/login/callback", params={**there.authorize(left.headers["location"]), **instead})


def test_the_way_there_and_back(house: House, there: Provider) -> None:
    """The person gets where it wanted to go, under its name there, with the role of its groups."""
    it = house.browser()
    assert "Sign in with your company" in it("GET", "/login").text
    done = sign_in(it, there, "/console?a=1")
    assert (done.status_code, done.headers["location"]) == (303, "/console?a=1")
    me = it("GET", "/me").json()
    assert (me["kind"], me["name"], me["role"]) == ("person", "ann", "admin")
    with house.database.read() as db:
        kept = accounts.known(db, "ann")
    assert (kept["issuer"], kept["subject"], kept["password"]) == (ISSUER, "u-1", None)
    # Its cookie for the way is gone, and the provider's answer is good once.
    assert "tandem-away" not in it.cookies


def test_what_is_sent_there_says_enough(house: House, there: Provider) -> None:
    """State, nonce and challenge differ from login to login; the verifier and the secret stay here."""
    seen = []
    for _ in range(2):
        url = house.browser()("GET", "/login/provider").headers["location"]
        asked = dict(parse_qsl(urlsplit(url).query))
        assert asked["redirect_uri"] == f"{HOME}/login/callback"
        assert asked["realm"] == "acme"
        assert SECRET not in url
        seen.append({asked["state"], asked["nonce"], asked["code_challenge"]})
    assert len(seen[0] | seen[1]) == 6
    assert there.asked == ["/realms/acme/.well-known/openid-configuration"]  # kept for the second


@pytest.mark.parametrize(
    ("groups", "role"),
    [(["marketing"], "analyst"), (["marketing", "sales"], "steward"), ("sales", "steward"), ([], None), ([7], None)],
)
def test_groups_give_the_role_at_each_login(house: House, there: Provider, groups: Any, role: str | None) -> None:
    """Of several the one that may most; nobody gets in without one; and what was before counts no more."""
    there.claims["groups"] = ["crm-admins"]
    it = house.browser()
    assert sign_in(it, there).status_code == 303
    there.claims["groups"] = groups
    answer = sign_in(it, there)
    assert answer.status_code == (303 if role is not None else 400)
    if role is not None:
        assert it("GET", "/me").json()["role"] == role
    else:
        assert "none of your groups" in answer.text


@pytest.mark.parametrize(
    "said",
    [
        {"iss": "https://login.example/realms/other"},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another-client"]},
        {"aud": None},
        {"azp": "another-client"},
        {"exp": to_ms(now()) // 1000 - 3600},
        {"exp": None},
        {"exp": "soon"},
        {"iat": to_ms(now()) // 1000 + 3600},
        {"nonce": "of another login"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
    ids=lambda said: " ".join(
        f"{n} {v}" if n not in {"exp", "iat"} else f"{n} {type(v).__name__}" for n, v in said.items()
    ),
)
def test_an_id_token_for_something_else_is_refused(house: House, there: Provider, said: dict[str, Any]) -> None:
    """Everything that OpenID Connect Core 3.1.3.7 asks for, one by one."""
    there.said = said
    it = house.browser()
    answer = sign_in(it, there)
    assert answer.status_code == 400
    assert "Not signed in" in answer.text
    assert "tandem" not in it.cookies


@pytest.mark.parametrize("how", ["signed_by_secret", "signed_by_other", "unsigned"])
def test_a_forged_id_token_is_refused(house: House, there: Provider, how: str) -> None:
    """By the public key as a secret, by another key of the same id, by nobody."""
    there.sign = getattr(there, how)
    assert sign_in(house.browser(), there).status_code == 400
    there.sign = lambda _: "not.a.token"
    assert sign_in(house.browser(), there).status_code == 400


@pytest.mark.parametrize(
    "instead", [{"state": "made up"}, {"state": ""}, {"code": "made up"}, {"code": ""}, {"iss": "https://evil.example"}]
)
def test_what_comes_back_changed_is_refused(house: House, there: Provider, instead: dict[str, str]) -> None:
    """A state or a code that nobody gave, or another provider's answer (RFC 9207)."""
    it = house.browser()
    assert sign_in(it, there, **instead).status_code == 400
    assert "tandem" not in it.cookies


def test_another_browsers_answer_is_refused(house: House, there: Provider) -> None:
    """An attacker's own answer signs no victim in as the attacker (login CSRF), and a stolen one signs nobody in."""
    attacker, victim = house.browser(), house.browser()
    answer = there.authorize(attacker("GET", "/login/provider").headers["location"])
    assert victim("GET", "/login/callback", params=answer).status_code == 400
    victim("GET", "/login/provider")  # on its own way there
    assert victim("GET", "/login/callback", params=answer).status_code == 400
    assert attacker("GET", "/login/callback", params=answer).status_code == 303
    assert attacker("GET", "/login/callback", params=answer).status_code == 400, "an answer is good once"


def test_a_login_that_took_too_long_is_refused(house: House, there: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes; the browser cannot make its own cookie younger, as the state is bound to it."""
    it = house.browser()
    left = it("GET", "/login/provider").headers["location"]
    answer = there.authorize(left)
    began, _, rest = it.cookies["tandem-away"].strip('"').partition(".")
    it.http.cookies.set("tandem-away", f"{int(began) + 60}.{rest}", domain="tandem.example", path="/")
    assert "not begun in this browser" in it("GET", "/login/callback", params=answer).text
    it = house.browser()
    answer = there.authorize(it("GET", "/login/provider").headers["location"])
    assert house.tandem.provider is not None
    later = to_ms(now()) / 1000 + oidc.AWAY_SECONDS + 2
    monkeypatch.setattr(house.tandem.provider, "_now", lambda: later)
    assert "took too long" in it("GET", "/login/callback", params=answer).text


def test_a_name_takes_over_no_account(house: House, there: Provider) -> None:
    """Who is called like a colleague at the provider gets an account of his own; a disabled one stays shut."""
    house.account("kim", "operator")
    there.claims |= {"sub": "u-2", "preferred_username": "KIM", "groups": ["marketing"]}
    it = house.browser()
    assert sign_in(it, there).status_code == 303
    me = it("GET", "/me").json()
    assert (me["name"], me["role"]) == ("kim (u-2)", "analyst")
    with house.database.write() as db:
        accounts.change(db, accounts.known(db, "kim (u-2)")["id"], disabled_at=1)
        kept = db.execute(select(t.account).where(t.account.c.name == "kim")).mappings().one()
    assert (kept["role"], kept["subject"]) == ("operator", None)
    answer = sign_in(it, there)
    assert answer.status_code == 400
    assert "disabled" in answer.text


def test_keys_that_changed_are_fetched_and_made_up_ones_are_not(house: House, there: Provider) -> None:
    """Once a minute at most, whoever makes up key ids."""
    assert sign_in(house.browser(), there).status_code == 303
    there.sign = there.signed_by_other
    for _ in range(3):
        assert sign_in(house.browser(), there).status_code == 400
    assert there.asked.count("/keys") == 1


@pytest.mark.parametrize(
    "about",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": "http://login.example/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://169.254.169.254/latest"},
        {"authorization_endpoint": None},
        {"token_endpoint": "http://127.0.0.1:8000/ops/replay"},
        {"jwks_uri": "file:///etc/passwd"},
    ],
    ids=str,
)
def test_a_provider_leads_to_https_alone(house: House, there: Provider, about: dict[str, Any]) -> None:
    """What its document names is called only where it is https, and the issuer is ours to the letter."""
    there.about = about
    it = house.browser()
    left = it("GET", "/login/provider")
    if left.status_code == 303:
        answer = it("GET", "/login/callback", params=there.authorize(left.headers["location"]))
        assert answer.status_code == 400
    else:
        assert left.status_code == 400
    assert "tandem" not in it.cookies


def test_a_provider_that_is_away_is_said_so(house: House, there: Provider) -> None:
    """Not a defect; and nothing of it stands in the page."""
    there.down = True
    answer = house.browser()("GET", "/login/provider")
    assert answer.status_code == 400
    assert "cannot be reached" in answer.text
    assert "login.example" not in answer.text


@pytest.mark.parametrize(
    ("check", "sabotage"),
    [("nonce", {"nonce": "of another login"}), ("aud", {"aud": "another-client"})],
)
def test_the_checks_are_what_refuses(
    house: House, there: Provider, check: str, sabotage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the guard: a provider object that skips the checks lets the same tokens in."""
    there.said = sabotage
    assert check in sign_in(house.browser(), there).text

    def careless(_: Any, token: str, _nonce: str) -> dict[str, Any]:
        return dict(jwt.decode(token, there.key, algorithms=["RS256"]).claims)

    monkeypatch.setattr(oidc.Provider, "_claims", careless)
    assert sign_in(house.browser(), there).status_code == 303


@pytest.mark.parametrize(
    "issuer", ["http://login.example", "https://login.example?x=1", "https://u@login.example", "login.example", ""]
)
def test_an_issuer_is_an_https_url(issuer: str) -> None:
    """Refused as the configuration is read; on this machine http may do."""
    with pytest.raises(ValidationError):
        OidcConfig(issuer=issuer, client_id="x")
    assert OidcConfig(issuer="http://127.0.0.1:9000", client_id="x", scopes=("email",)).scopes == ("openid", "email")


def test_the_secret_is_in_no_repr(house: House) -> None:
    """Nor what the browser carries."""
    provider = oidc.Provider(OidcConfig(issuer=ISSUER, client_id="x"), SecretStr(SECRET), HOME, now=lambda: 0.0)
    assert SECRET not in repr(provider) + repr(vars(provider))
    assert "cookie" not in repr(oidc.Left("u", "cookie-secret"))
    provider.close()
    assert house.tandem.provider is not None
