"""The vendors that are simulated on request, beside HubSpot and Mailchimp: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox import (
    activecampaign,
    activecampaign_account,
    brevo,
    espocrm,
    klaviyo,
    klaviyo_account,
    mautic,
    odoo,
    pipedrive,
    salesforce,
    salesforce_org,
)
from sandbox.control import Simulator
from sandbox.people import Person


@dataclass(frozen=True, slots=True)
class Start:
    """What the command line says about one of them."""

    secrets: Mapping[str, str]
    webhook: str | None
    limits: bool
    retry_span: float
    seed: int


@dataclass(frozen=True, slots=True)
class Further:
    """A vendor on request.

    ``secrets``: option, as ``kind`` names it too → (default, what it is).  ``kind``: makes the simulator.  ``opens``:
    what a connection needs as its credentials.
    """

    title: str
    side: str  # crm, marketing
    secrets: Mapping[str, tuple[str, str]]
    kind: Callable[..., Simulator]
    fill: Callable[[Any, Sequence[Person]], None]
    opens: Callable[[Any], Mapping[str, str]]
    told: str = ""  # what is special about its webhooks
    takes: tuple[str, ...] = ("retry_span",)  # of ``Start``, besides what all simulators take

    def make(self, start: Start) -> Simulator:
        """The simulator, without people."""
        taken = {name: getattr(start, name) for name in self.takes}
        return self.kind(**start.secrets, webhook=start.webhook, seed=start.seed, **taken)


FURTHER: Final[Mapping[str, Further]] = {
    "brevo": Further(
        "Brevo",
        "marketing",
        {"key": (brevo.KEY, "API key"), "secret": (brevo.SECRET, "bearer token of its webhooks")},
        brevo.BrevoSim,
        brevo.fill,
        lambda sim: {"api_key": sim.key, "webhook_secrets": sim.secret},
        takes=("limits", "retry_span"),
    ),
    "activecampaign": Further(
        "ActiveCampaign",
        "marketing",
        {
            "key": (activecampaign_account.KEY, "API key"),
            "secret": (activecampaign.SECRET, "what its webhooks' URL ends in"),
        },
        activecampaign.CampaignSim,
        activecampaign.fill,
        lambda sim: {"api_key": sim.key, "webhook_secret": sim.secret, "list_id": activecampaign.LIST},
        "; ?secret= is added",
        takes=("limits", "retry_span"),
    ),
    "espocrm": Further(
        "EspoCRM",
        "crm",
        {"key": (espocrm.KEY, "API key"), "secret": (espocrm.SECRET, "secret key of its webhooks")},
        espocrm.EspoSim,
        espocrm.fill,
        lambda sim: {"api_key": sim.key, "webhook_secrets": sim.secret},
        "; ?event= is added",
    ),
    "klaviyo": Further(
        "Klaviyo",
        "marketing",
        {"key": (klaviyo_account.KEY, "private API key"), "secret": (klaviyo.SECRET, "what signs its webhooks")},
        klaviyo.KlaviyoSim,
        klaviyo.fill,
        lambda sim: {"api_key": sim.key, "webhook_secret": sim.secret},
        takes=("limits", "retry_span"),
    ),
    "mautic": Further(
        "Mautic",
        "marketing",
        {
            "user": (mautic.USER, "user of the API"),
            "password": (mautic.PASSWORD, "the user's password"),
            "secret": (mautic.SECRET, "secret of its webhooks"),
        },
        mautic.MauticSim,
        mautic.fill,
        lambda sim: {"username": sim.user, "password": sim.password, "webhook_secrets": sim.secret},
    ),
    "salesforce": Further(
        "Salesforce",
        "crm",
        {
            "token": (salesforce.TOKEN, "access token"),
            "secret": (salesforce.SECRET, "goes as ?secret= into the URL of its outbound messages"),
        },
        salesforce.SalesforceSim,
        salesforce.fill,
        lambda sim: {"access_token": sim.token, "webhook_secrets": sim.secret, "org_id": salesforce_org.ORG},
        "; ?secret= is added",
    ),
    "odoo": Further(
        "Odoo",
        "crm",
        {"key": (odoo.KEY, "API key"), "secret": (odoo.SECRET, "secret in the URL of its webhooks")},
        odoo.OdooSim,
        odoo.fill,
        lambda sim: {"api_key": sim.key, "webhook_secrets": sim.secret},
        "; ?secret= is added",
        takes=(),
    ),
    "pipedrive": Further(
        "Pipedrive",
        "crm",
        {"token": (pipedrive.TOKEN, "API token"), "password": (pipedrive.PASSWORD, "password of its webhooks")},
        pipedrive.PipedriveSim,
        pipedrive.fill,
        lambda sim: {"api_token": sim.token, "webhook_password": sim.password},
    ),
}
"""By the connector's name."""
