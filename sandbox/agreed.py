"""The fields that a company makes at HubSpot and Mailchimp for its agreement between sales and marketing.

They are those of ``mappings/agreed``; HubSpot: "Properties" guide, Mailchimp: "Merge fields" reference.
"""

from __future__ import annotations

from typing import Final

from sandbox.hubspot import HubSpotSim
from sandbox.hubspot_rules import Property
from sandbox.mailchimp import MailchimpSim
from sandbox.mailchimp_rules import MergeField

PROPERTIES: Final = (
    *("tandem_stage", "tandem_stage_since", "tandem_stage_reason"),
    *("tandem_lead_status", "tandem_lead_reason", "tandem_lead_flag", "tandem_tags"),
)
MERGE_FIELDS: Final = ("STAGE", "STAGESINCE", "STAGEWHY", "LEADSTATUS", "LEADREASON", "LEADFLAG")


def make_fields(hubspot: HubSpotSim, mailchimp: MailchimpSim) -> None:
    """Make them where they are missing; edits of them at HubSpot are told like others."""
    for name in PROPERTIES:
        label = name.removeprefix("tandem_").replace("_", " ").capitalize()
        hubspot.portal.schema.setdefault(name, Property(name, label, "string", "text", custom=True))
    schema = mailchimp.audience.schema
    for tag in MERGE_FIELDS:
        number = max(field.merge_id for field in schema.values()) + 1
        schema.setdefault(tag, MergeField(number, tag, tag.capitalize()))
