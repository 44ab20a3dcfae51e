"""Every vendor's connector keeps the promises of the suite.  One line per vendor."""

from __future__ import annotations

import connectors
from connectors.brevo import Brevo
from connectors.espocrm import EspoCrm
from connectors.hubspot import HubSpot
from connectors.mailchimp import Mailchimp
from tests.acme import ACME, Acme
from tests.conformance import conformance
from tests.examples.brevo import BREVO
from tests.examples.espocrm import ESPOCRM
from tests.examples.hubspot import HUBSPOT
from tests.examples.mailchimp import MAILCHIMP

TestAcme = conformance(Acme, ACME)  # a vendor that does not exist: proves the suite
TestBrevo = conformance(Brevo, BREVO)
TestEspoCrm = conformance(EspoCrm, ESPOCRM)
TestHubSpot = conformance(HubSpot, HUBSPOT)
TestMailchimp = conformance(Mailchimp, MAILCHIMP)


def test_every_connector_has_joined() -> None:
    """A connector that is found but is not judged here fails this."""
    joined = {value.kind for name, value in globals().items() if name.startswith("Test")}
    missing = [f"Test{kind.__name__} ({name})" for name, kind in connectors.find().items() if kind not in joined]
    assert not missing, f"add to {__file__}: {', '.join(missing)}; how: docs/add-a-connector.md"
