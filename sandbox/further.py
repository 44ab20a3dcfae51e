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

    ``secrets``: option → (default, what it is).  ``make``: the simulator, without people.  ``opens``: what a connection
    needs as its credentials.
    """

    title: str
    side: str  # crm, marketing
    secrets: Mapping[str, tuple[str, str]]
    make: Callable[[Start], Simulator]
    fill: Callable[[Any, Sequence[Person]], None]
    opens: Callable[[Any], Mapping[str, str]]
    told: str = ""  # what is special about its webhooks


def _brevo(start: Start) -> Simulator:
    return brevo.BrevoSim(
        key=start.secrets["key"],
        secret=start.secrets["secret"],
        webhook=start.webhook,
        limits=start.limits,
        retry_span=start.retry_span,
        seed=start.seed,
    )


def _activecampaign(start: Start) -> Simulator:
    return activecampaign.CampaignSim(
        key=start.secrets["key"],
        secret=start.secrets["secret"],
        webhook=start.webhook,
        limits=start.limits,
        retry_span=start.retry_span,
        seed=start.seed,
    )


def _espocrm(start: Start) -> Simulator:
    return espocrm.EspoSim(
        key=start.secrets["key"],
        secret=start.secrets["secret"],
        webhook=start.webhook,
        retry_span=start.retry_span,
        seed=start.seed,
    )


def _klaviyo(start: Start) -> Simulator:
    return klaviyo.KlaviyoSim(
        key=start.secrets["key"],
        secret=start.secrets["secret"],
        webhook=start.webhook,
        limits=start.limits,
        retry_span=start.retry_span,
        seed=start.seed,
    )


def _mautic(start: Start) -> Simulator:
    return mautic.MauticSim(
        user=start.secrets["user"],
        password=start.secrets["password"],
        secret=start.secrets["secret"],
        webhook=start.webhook,
        retry_span=start.retry_span,
        seed=start.seed,
    )


def _salesforce(start: Start) -> Simulator:
    return salesforce.SalesforceSim(
        token=start.secrets["token"],
        secret=start.secrets["secret"],
        webhook=start.webhook,
        retry_span=start.retry_span,
        seed=start.seed,
    )


def _odoo(start: Start) -> Simulator:
    return odoo.OdooSim(
        key=start.secrets["key"], secret=start.secrets["secret"], webhook=start.webhook, seed=start.seed
    )


def _pipedrive(start: Start) -> Simulator:
    return pipedrive.PipedriveSim(
        token=start.secrets["token"],
        password=start.secrets["password"],
        webhook=start.webhook,
        retry_span=start.retry_span,
        seed=start.seed,
    )


FURTHER: Final[Mapping[str, Further]] = {
    "brevo": Further(
        "Brevo",
        "marketing",
        {"key": (brevo.KEY, "API key"), "secret": (brevo.SECRET, "bearer token of its webhooks")},
        _brevo,
        brevo.fill,
        lambda sim: {"api_key": sim.key, "webhook_secrets": sim.secret},
    ),
    "activecampaign": Further(
        "ActiveCampaign",
        "marketing",
        {
            "key": (activecampaign_account.KEY, "API key"),
            "secret": (activecampaign.SECRET, "what its webhooks' URL ends in"),
        },
        _activecampaign,
        activecampaign.fill,
        lambda sim: {"api_key": sim.key, "webhook_secret": sim.secret, "list_id": activecampaign.LIST},
        "; ?secret= is added",
    ),
    "espocrm": Further(
        "EspoCRM",
        "crm",
        {"key": (espocrm.KEY, "API key"), "secret": (espocrm.SECRET, "secret key of its webhooks")},
        _espocrm,
        espocrm.fill,
        lambda sim: {"api_key": sim.key, "webhook_secrets": sim.secret},
        "; ?event= is added",
    ),
    "klaviyo": Further(
        "Klaviyo",
        "marketing",
        {"key": (klaviyo_account.KEY, "private API key"), "secret": (klaviyo.SECRET, "what signs its webhooks")},
        _klaviyo,
        klaviyo.fill,
        lambda sim: {"api_key": sim.key, "webhook_secret": sim.secret},
    ),
    "mautic": Further(
        "Mautic",
        "marketing",
        {
            "user": (mautic.USER, "user of the API"),
            "password": (mautic.PASSWORD, "the user's password"),
            "secret": (mautic.SECRET, "secret of its webhooks"),
        },
        _mautic,
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
        _salesforce,
        salesforce.fill,
        lambda sim: {"access_token": sim.token, "webhook_secrets": sim.secret, "org_id": salesforce_org.ORG},
        "; ?secret= is added",
    ),
    "odoo": Further(
        "Odoo",
        "crm",
        {"key": (odoo.KEY, "API key"), "secret": (odoo.SECRET, "secret in the URL of its webhooks")},
        _odoo,
        odoo.fill,
        lambda sim: {"api_key": sim.key, "webhook_secrets": sim.secret},
        "; ?secret= is added",
    ),
    "pipedrive": Further(
        "Pipedrive",
        "crm",
        {"token": (pipedrive.TOKEN, "API token"), "password": (pipedrive.PASSWORD, "password of its webhooks")},
        _pipedrive,
        pipedrive.fill,
        lambda sim: {"api_token": sim.token, "webhook_password": sim.password},
    ),
}
"""By the connector's name."""
