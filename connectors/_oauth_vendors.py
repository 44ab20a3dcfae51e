"""The authorization servers of vendors, a fact each with its source.  What is unconfirmed is said so, and fails safe.

Those that depend on where an installation is are functions of its address.
"""

from __future__ import annotations

from typing import Final

from connectors._oauth_facts import ClientAuth, Grant, OAuth, Rotation

DAY: Final = 86_400

HUBSPOT_LOGIN: Final = "https://app.hubspot.com"
MAILCHIMP_LOGIN: Final = "https://login.mailchimp.com"
SALESFORCE_LOGIN: Final = "https://login.salesforce.com"


def hubspot(api: str, login: str = HUBSPOT_LOGIN) -> OAuth:
    """HubSpot, "Working with OAuth" and the contract of its v3 token endpoint.

    ``api``: where the API is, which answers for tokens too.  Refresh tokens do not end by time; whether they rotate is
    not documented.  A 401 alone is no sign that a token ran out ("Usage guidelines"): ``expires_in`` counts.
    """
    return OAuth(
        authorize_url=f"{login}/oauth/authorize",
        token_url=f"{api}/oauth/v3/token",
        revoke_url=f"{api}/oauth/v3/token/revoke",
        scopes=(
            "oauth",
            "crm.objects.contacts.read",
            "crm.objects.contacts.write",
            "crm.schemas.contacts.read",
            "communication_preferences.read_write",
        ),
        rotates=Rotation.UNKNOWN,
        lives=1800,
        account="hub_id",
    )


def mailchimp(login: str = MAILCHIMP_LOGIN) -> OAuth:
    """Mailchimp, "Access data on behalf of other users with OAuth 2": no scopes, no refresh, no expiry.

    A token that is not taken any more was revoked: only a person can mend that.
    """
    return OAuth(
        authorize_url=f"{login}/oauth2/authorize",
        token_url=f"{login}/oauth2/token",
        refreshes=False,
        rotates=Rotation.NEVER,
        lives=None,
        instead_of="api_key",
    )


def salesforce(login: str = SALESFORCE_LOGIN) -> OAuth:
    """Salesforce, "OAuth authorization flows".  ``login``: login.salesforce.com, test.salesforce.com, or My Domain.

    Answers have no ``expires_in``: a token lives as long as the org's session time-out (two hours by default, which is
    unconfirmed; half of it is taken).  Rotation is an option of the app; a second use of an old refresh token then
    revokes the whole family.  The answer to a JWT or client credentials has no refresh token.
    """
    return OAuth(
        authorize_url=f"{login}/services/oauth2/authorize",
        token_url=f"{login}/services/oauth2/token",
        revoke_url=f"{login}/services/oauth2/revoke",
        grants=(Grant.CODE, Grant.JWT, Grant.CLIENT),
        scopes=("api", "refresh_token"),
        rotates=Rotation.UNKNOWN,
        lives=3600,
        place="instance_url",
        account="id",  # https://login.salesforce.com/id/<org>/<user>
        audience=login,
        undone=True,  # INVALID_SESSION_ID is found before anything is done
    )


def mautic(instance: str) -> OAuth:
    """Mautic 4 and later, "Authorization" and ApiBundle's configuration: an hour, and 14 days for refresh tokens."""
    return OAuth(
        authorize_url=f"{instance}/oauth/v2/authorize",
        token_url=f"{instance}/oauth/v2/token",
        grants=(Grant.CLIENT, Grant.CODE),  # a consent only where `grant` says so
        rotates=Rotation.ALWAYS,
        lives=3600,
        idle=14 * DAY,
    )


PIPEDRIVE: Final = OAuth(  # "OAuth authorization"; that a token unused for 60 days ends is second-hand
    authorize_url="https://oauth.pipedrive.com/oauth/authorize",
    token_url="https://oauth.pipedrive.com/oauth/token",  # noqa: S106 - an address
    revoke_url="https://oauth.pipedrive.com/oauth/revoke",
    client=ClientAuth.BASIC,
    rotates=Rotation.UNKNOWN,
    lives=3600,
    idle=60 * DAY,
    place="api_domain",
    account="api_domain",
    instead_of="api_token",
)

KLAVIYO: Final = OAuth(  # "Set up OAuth": an hour; refresh tokens end when unused for 90 days
    authorize_url="https://www.klaviyo.com/oauth/authorize",
    token_url="https://a.klaviyo.com/oauth/token",  # noqa: S106 - an address
    revoke_url="https://a.klaviyo.com/oauth/revoke",
    scopes=(
        "accounts:read",
        "profiles:read",
        "profiles:write",
        "lists:read",
        "lists:write",
        "subscriptions:read",
        "subscriptions:write",
        "webhooks:read",
        "webhooks:write",
        "data-privacy:write",
    ),
    client=ClientAuth.BASIC,
    rotates=Rotation.UNKNOWN,
    lives=3600,
    idle=90 * DAY,
    instead_of="api_key",
)
