"""Salesforce by JWT bearer: tokens are had without a person, and a session that ended is renewed once."""

from __future__ import annotations

from pathlib import Path

from cryptography.fernet import Fernet
from joserfc.jwk import RSAKey

from app.core.settings import Config, Settings
from app.main import Tandem
from connectors.contract import Done, Kind, Order, Verb
from sandbox.salesforce import CLIENT_ID, USER, SalesforceSim
from sandbox.salesforce_org import ORG
from sandbox.serve import Sandbox


def test_a_jwt_opens_the_org_and_a_lost_session_is_renewed(tmp_path: Path) -> None:
    """One token for many calls; after the session ended one more, also for a write."""
    key = RSAKey.generate_key(2048, private=True)
    sim = SalesforceSim(certificate=key.as_pem(private=False).decode())
    with Sandbox(salesforce=sim) as sandbox:
        url = sandbox.salesforce_url
        sim.login.audience = url
        settings = {"base_url": url, "login_url": url, "org_id": ORG, "client_id": CLIENT_ID, "username": USER}
        one = {"name": "salesforce", "connector": "salesforce", "settings": settings}
        audience = {"base_url": sandbox.mailchimp_url, "list_id": "x"}
        other = {"name": "mailchimp", "connector": "mailchimp", "settings": audience}
        env = {
            "TANDEM_SALESFORCE_PRIVATE_KEY": key.as_pem(private=True).decode(),
            "TANDEM_SALESFORCE_WEBHOOK_SECRETS": sim.secret,
            "TANDEM_MAILCHIMP_API_KEY": "k" * 20,
            "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
        }
        config = Config.model_validate({"connections": [one, other]})
        database = f"sqlite:///{tmp_path / 'tandem.db'}"
        made = Tandem(Settings(database=database, encryption_keys=Fernet.generate_key().decode()), config, env)
        made.prepare()
        it = made.connections["salesforce"].connector
        order = Order("k", Kind.CONTACT, Verb.CREATE, {"LastName": "Lee", "Email": "ann@example.org"})
        assert "0 Contacts" in it.check()
        assert sim.login.asked == 1
        sim.login.expire()
        (receipt,) = it.write([order])
        assert isinstance(receipt, Done), receipt
        assert sim.login.asked == 2
        sim.login.expire()
        (receipt,) = it.write([Order("u", Kind.CONTACT, Verb.UPDATE, {"Title": "CTO"}, id=receipt.id)])
        assert isinstance(receipt, Done), receipt
        assert sim.login.asked == 3
        for client in made.clients.values():
            client.close()
        made.access["salesforce"].authority.close()
        made.database.close()
