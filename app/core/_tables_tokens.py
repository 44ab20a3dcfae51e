"""Tables of access to vendors.  Secrets are sealed (``app.core.sealing``); no people's data."""

from __future__ import annotations

from sqlalchemy import Table

from app.core._tables_base import big, json, key, metadata, small, words

# The OAuth tokens of one connection.
token = Table(
    "token",
    metadata,
    key("connection"),
    big("version"),  # + 1 with every new token
    words("sealed"),  # access and refresh token
    words("key_id"),  # of the key that sealed them
    words("grant"),
    small("renews", default=0),  # whether there is a refresh token
    big("expires_at", null=True),  # of the access token; null = it does not expire
    json("scopes"),
    words("place", null=True),  # where the vendor says the API is
    words("account", null=True),  # whose account it is, in the vendor's words
    big("connected_at"),
    words("connected_by", null=True),
    big("refreshed_at"),
    big("trying_at", null=True),  # a refresh began and its answer is not stored yet
    big("lost_at", null=True),  # the vendor takes the refresh token no more
)

# One try to connect: a person was sent to the vendor and is expected back.
consenting = Table(
    "consenting",
    metadata,
    key("state"),  # its SHA-256
    words("connection"),
    words("verifier"),  # sealed
    words("redirect_uri"),
    words("by", null=True),
    big("expires_at"),
)
