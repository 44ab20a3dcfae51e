"""What the tables have in common: their base, and the columns that come again and again."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import JSON, BigInteger, Column, Integer, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

Big = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts rows by INTEGER PRIMARY KEY only
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(SQLModel):
    """Base of every table."""

    metadata = MetaData(naming_convention=CONVENTION)


def row_id() -> Any:
    """A number that grows with each row."""
    return Field(default=None, sa_column=Column(Big, primary_key=True, autoincrement=True))


def big(*, null: bool = False) -> Any:
    """A whole number, or a moment."""
    return Field(default=None, sa_type=BigInteger, nullable=null)


def json(*, null: bool = False) -> Any:
    """JSON."""
    return Field(default=None, sa_type=cast("Any", Json), nullable=null)


def words(*, null: bool = False) -> Any:
    """Text."""
    return Field(default=None, sa_type=Text, nullable=null)
