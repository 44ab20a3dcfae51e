"""Tables of what watches over the rest: alarms, drift, fields that are suspended, freshness, the rhythm of webhooks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, Text, text
from sqlmodel import Field

from app.core._tables_base import Base, big, json, row_id, words


class Alarm(Base, table=True):
    """Something that a person should look at.  Open until what raised it finds it mended."""

    __tablename__ = "alarm"
    __table_args__ = (
        Index(
            "uq_alarm_open",
            "kind",
            "connection",
            "subject",
            unique=True,
            sqlite_where=text("cleared_at IS NULL"),
            postgresql_where=text("cleared_at IS NULL"),
        ),
    )
    id: int = row_id()
    kind: str = words()
    connection: str = words()
    subject: str = words()  # what it is about, e.g. a vendor's field; "" = the connection; never a person
    since: int = big()
    last_seen: int = big()
    cleared_at: int | None = big(null=True)
    words: str = words()  # what is wrong, and what to do


class AlarmNotice(Base, table=True):
    """What one sink was told about one alarm, or is to be told; gone when it was told that the alarm is over."""

    __tablename__ = "alarm_notice"
    sink: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(primary_key=True, sa_type=Text)
    connection: str = Field(primary_key=True, sa_type=Text)
    subject: str = Field(primary_key=True, sa_type=Text)
    told_at: int | None = big(null=True)  # last; None: no message got through yet
    attempts: int = Field(default=0)  # since the last one that got through
    due_at: int = big()
    error: str | None = words(null=True)


class Suspended(Base, table=True):
    """A vendor's field that is neither read nor written until it is back, or a person says so."""

    __tablename__ = "suspended"
    connection: str = Field(primary_key=True, sa_type=Text)
    field: str = Field(primary_key=True, sa_type=Text)  # in the vendor's words
    why: str = words()
    since: int = big()
    resumed_at: int | None = big(null=True)  # a person's word: the same reason does not suspend it again
    resumed_by: str | None = words(null=True)


class Described(Base, table=True):
    """The fields of a connection as its vendor last described them: what a later description is compared with."""

    __tablename__ = "described"
    connection: str = Field(primary_key=True, sa_type=Text)
    properties: dict[str, Any] = json()
    at: int = big()
    due_at: int = big()


class Disagreement(Base, table=True):
    """One field of one record of which a vendor and Tandem say different things; or a record that one of them lacks."""

    __tablename__ = "disagreement"
    __table_args__ = (
        Index("uq_disagreement_field", "connection", "remote_id", "field", unique=True),
        Index("ix_disagreement_contact", "contact_id"),
        Index("ix_disagreement_field", "connection", "field", "first_seen"),
    )
    id: int = row_id()
    connection: str = words()
    remote_id: str = words()
    field: str = words()  # canonical; "" = the record itself
    why: str = words()
    contact_id: int | None = big(null=True)
    first_seen: int = big()
    last_seen: int = big()
    run: int = big()


class Sighting(Base, table=True):
    """A record that the run under way has seen; gone when the run ends."""

    __tablename__ = "sighting"
    connection: str = Field(primary_key=True, sa_type=Text)
    remote_id: str = Field(primary_key=True, sa_type=Text)


class Drift(Base, table=True):
    """What the last complete compare of a connection found, by field."""

    __tablename__ = "drift"
    connection: str = Field(primary_key=True, sa_type=Text)
    field: str = Field(primary_key=True, sa_type=Text)
    compared: int = big()
    mismatched: int = big()
    run: int = big()
    at: int = big()


class Landed(Base, table=True):
    """How many changes landed at a connection within one slice of time, by how old they were."""

    __tablename__ = "landed"
    connection: str = Field(primary_key=True, sa_type=Text)
    slice: int = Field(primary_key=True, sa_type=BigInteger)
    bucket: int = Field(primary_key=True, sa_type=BigInteger)
    n: int = Field(default=0)


class Rhythm(Base, table=True):
    """How often the webhooks of a connection usually come, and how often it is polled."""

    __tablename__ = "rhythm"
    connection: str = Field(primary_key=True, sa_type=Text)
    state: dict[str, Any] = json()  # app.repair.rhythm
    read_to: int = big()  # deliveries up to this id are counted
    poll_gap: int | None = big(null=True)  # ms between polls, as adapted
    missed: int = Field(default=0)  # changes that a poll found and no webhook had told
    hooks_due_at: int = big()  # when the vendor's subscription is looked at next
