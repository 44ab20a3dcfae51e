"""Tables of access to vendors.  Secrets are sealed (``app.core.sealing``); no people's data."""

from __future__ import annotations

from sqlalchemy import Text
from sqlmodel import Field

from app.core._tables_base import Base, big, json, words


class Token(Base, table=True):
    """The OAuth tokens of one connection."""

    __tablename__ = "token"
    connection: str = Field(primary_key=True, sa_type=Text)
    version: int = big()  # + 1 with every new token
    sealed: str = words()  # access and refresh token
    key_id: str = words()  # of the key that sealed them
    grant: str = words()
    renews: int = Field(default=0)  # whether there is a refresh token
    expires_at: int | None = big(null=True)  # of the access token; null = it does not expire
    scopes: list[str] = json()
    place: str | None = words(null=True)  # where the vendor says the API is
    account: str | None = words(null=True)  # whose account it is, in the vendor's words
    connected_at: int = big()
    connected_by: str | None = words(null=True)
    refreshed_at: int = big()
    trying_at: int | None = big(null=True)  # a refresh began and its answer is not stored yet
    lost_at: int | None = big(null=True)  # the vendor takes the refresh token no more


class Consenting(Base, table=True):
    """One try to connect: a person was sent to the vendor and is expected back."""

    __tablename__ = "consenting"
    state: str = Field(primary_key=True, sa_type=Text)  # its SHA-256
    connection: str = words()
    verifier: str = words()  # sealed
    redirect_uri: str = words()
    by: str | None = words(null=True)
    expires_at: int = big()
