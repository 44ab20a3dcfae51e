"""Every vendor's connector keeps the promises of the suite.  One line per vendor."""

from __future__ import annotations

import pytest

for _module in ("promise", "promises_changed", "promises_read", "promises_receive", "promises_self", "promises_write"):
    pytest.register_assert_rewrite(f"tests.{_module}")  # else a failure says only "AssertionError"

import connectors  # noqa: E402
from connectors.hubspot import HubSpot  # noqa: E402
from connectors.mailchimp import Mailchimp  # noqa: E402
from tests.acme import ACME, Acme  # noqa: E402
from tests.conformance import conformance  # noqa: E402
from tests.examples.hubspot import HUBSPOT  # noqa: E402
from tests.examples.mailchimp import MAILCHIMP  # noqa: E402

TestAcme = conformance(Acme, ACME)  # a vendor that does not exist: proves the suite
TestHubSpot = conformance(HubSpot, HUBSPOT)
TestMailchimp = conformance(Mailchimp, MAILCHIMP)


def test_every_connector_has_joined() -> None:
    """A connector that is found but is not judged here fails this."""
    joined = {value.kind for name, value in globals().items() if name.startswith("Test")}
    missing = [f"Test{kind.__name__} ({name})" for name, kind in connectors.find().items() if kind not in joined]
    assert not missing, f"add to {__file__}: {', '.join(missing)}; how: docs/add-a-connector.md"
