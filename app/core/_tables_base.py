"""What the tables have in common: their metadata, and the columns that come again and again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Integer, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

Big = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts rows by INTEGER PRIMARY KEY only
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


metadata = MetaData(naming_convention=CONVENTION)


def column(name: str, of: Any, **options: Any) -> Column[Any]:
    """A column whose name is a plain ``str``: SQLAlchemy's own kind of ``str`` is no key that orjson would write."""
    made = Column(name, of, **options)
    made.name = made.key = name
    return made


def row_id() -> Column[Any]:
    """``id``: a number that grows with each row."""
    return column("id", Big, primary_key=True, autoincrement=True)


def key(name: str, of: type[TypeEngine[Any]] = Text) -> Column[Any]:
    """The primary key, or a part of it."""
    return column(name, of, primary_key=True)


def big(name: str, *, null: bool = False, default: int | None = None) -> Column[Any]:
    """A whole number, or a moment."""
    return column(name, BigInteger, nullable=null, default=default)


def small(name: str, *, null: bool = False, default: int | None = None) -> Column[Any]:
    """A count, or 0 and 1."""
    return column(name, Integer, nullable=null, default=default)


def json(name: str, *, null: bool = False) -> Column[Any]:
    """JSON."""
    return column(name, Json, nullable=null)


def words(name: str, *, null: bool = False) -> Column[Any]:
    """Text."""
    return column(name, Text, nullable=null)
