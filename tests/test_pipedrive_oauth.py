"""Pipedrive by OAuth: somebody agrees, calls go where the answer says, and a token that ends is renewed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.core.sealing import new_key
from app.core.settings import Config, Settings
from app.main import Tandem
from connectors._oauth_vendors import PIPEDRIVE
from connectors.contract import Kind
from connectors.pipedrive import Pipedrive
from sandbox.oauth import CLIENT, CLIENT_SECRET
from sandbox.pipedrive import PipedriveSim
from sandbox.serve import Sandbox
from tests.authority import consented
from tests.examples.pipedrive import SETTINGS


def test_somebody_agrees_and_a_token_that_ends_is_renewed(tmp_path: Path) -> None:
    """Without an API token; the API is below the account that the vendor names."""
    sim = PipedriveSim(lag=0.0)
    with Sandbox(pipedrive=sim) as sandbox:
        url = sandbox.url("pipedrive")
        assert sim.oauth is not None
        sim.oauth.extra = {"api_domain": "{}://{}".format(*urlsplit(url)[:2])}
        settings = {"base_url": url, "login_url": url, "client_id": CLIENT}
        audience = {"base_url": sandbox.mailchimp_url, "list_id": "x"}
        config = Config.model_validate(
            {
                "public_url": "https://tandem.example.com",
                "connections": [
                    {"name": "pipedrive", "connector": "pipedrive", "settings": settings},
                    {"name": "mailchimp", "connector": "mailchimp", "settings": audience},
                ],
            }
        )
        env = {
            "TANDEM_PIPEDRIVE_CLIENT_SECRET": CLIENT_SECRET,
            "TANDEM_PIPEDRIVE_WEBHOOK_PASSWORD": "0123456789abcdef0123456789abcdef",
            "TANDEM_MAILCHIMP_API_KEY": "k" * 20,
            "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
        }
        database = f"sqlite:///{tmp_path / 'tandem.db'}"
        made = Tandem(Settings(_env_file=None, database=database, encryption_keys=new_key()), config, env)  # type: ignore[call-arg]
        made.prepare()
        try:
            begun = made.connecting.begin("pipedrive", "Kim")
            assert "scope=" not in begun.url, "what an app may do is said where it is registered"
            made.connecting.finish("pipedrive", sandbox.call(lambda: consented(sim.oauth, begun.url)))
            it = made.connections["pipedrive"].connector
            assert "persons readable" in it.check()
            sandbox.call(sim.oauth.expire)
            assert it.read(Kind.CONTACT, ["1"]) == []
            assert sim.oauth.asked == ["authorization_code", "refresh_token"]
        finally:
            made.close()


@pytest.mark.parametrize(("more", "calls"), [({}, 20), ({"client_id": "an-app", "plan": "growth"}, 160)])
def test_an_app_may_call_more_often(more: dict[str, str], calls: int) -> None:
    """Four times as often as a user's token, by plan."""
    assert Pipedrive.limits_for({**SETTINGS, **more}).rates[0].calls == calls


def test_the_server_is_pipedrives_own_unless_said() -> None:
    """All of its addresses move together."""
    assert Pipedrive.oauth_for(SETTINGS) == PIPEDRIVE
    facts = Pipedrive.oauth_for({**SETTINGS, "login_url": "https://login.example/"})
    assert facts is not None
    assert {facts.authorize_url, facts.token_url, facts.revoke_url} == {
        f"https://login.example/oauth/{name}" for name in ("authorize", "token", "revoke")
    }
