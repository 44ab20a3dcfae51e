"""Every vendor's connector keeps the promises of the suite.  One line per vendor."""

from __future__ import annotations

import connectors
from connectors.activecampaign import ActiveCampaign
from connectors.brevo import Brevo
from connectors.espocrm import EspoCrm
from connectors.hubspot import HubSpot
from connectors.klaviyo import Klaviyo
from connectors.mailchimp import Mailchimp
from connectors.mautic import Mautic
from connectors.odoo import Odoo
from connectors.pipedrive import Pipedrive
from connectors.salesforce import Salesforce
from tests.acme import ACME, Acme
from tests.conformance import conformance
from tests.examples.activecampaign import ACTIVECAMPAIGN
from tests.examples.brevo import BREVO
from tests.examples.espocrm import ESPOCRM
from tests.examples.hubspot import HUBSPOT
from tests.examples.klaviyo import KLAVIYO
from tests.examples.mailchimp import MAILCHIMP
from tests.examples.mautic import MAUTIC
from tests.examples.odoo import ODOO
from tests.examples.pipedrive import PIPEDRIVE
from tests.examples.salesforce import SALESFORCE

TestAcme = conformance(Acme, ACME)  # a vendor that does not exist: proves the suite
TestBrevo = conformance(Brevo, BREVO)
TestActiveCampaign = conformance(ActiveCampaign, ACTIVECAMPAIGN)
TestEspoCrm = conformance(EspoCrm, ESPOCRM)
TestHubSpot = conformance(HubSpot, HUBSPOT)
TestKlaviyo = conformance(Klaviyo, KLAVIYO)
TestMailchimp = conformance(Mailchimp, MAILCHIMP)
TestMautic = conformance(Mautic, MAUTIC)
TestSalesforce = conformance(Salesforce, SALESFORCE)
TestOdoo = conformance(Odoo, ODOO)
TestPipedrive = conformance(Pipedrive, PIPEDRIVE)


def test_every_connector_has_joined() -> None:
    """A connector that is found but is not judged here fails this."""
    joined = {value.kind for name, value in globals().items() if name.startswith("Test")}
    missing = [f"Test{kind.__name__} ({name})" for name, kind in connectors.find().items() if kind not in joined]
    assert not missing, f"add to {__file__}: {', '.join(missing)}; how: docs/add-a-connector.md"
