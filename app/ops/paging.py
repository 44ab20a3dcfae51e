"""Pages by keyset: a page begins behind the last row of the one before, whatever was added meanwhile.

No request looks at more than ``MOST`` rows, whatever it filters by: where an index does not serve the filter, a page
may be short, or empty, while ``next`` still leads on.  The end is where ``next`` is null.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Generic, TypeAlias, TypeVar

import orjson
from fastapi import Query
from pydantic import Field
from sqlalchemy import ColumnElement, RowMapping, and_, or_

from app.core.db import BIGGEST
from app.ops.problems import invalid
from app.ops.shapes import Shape

T = TypeVar("T")

MOST: Final = 5_000  # rows; some ms on both databases

Position: TypeAlias = tuple[int, ...]

Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
After = Annotated[
    str | None, Query(max_length=200, description="`next` of the page before; leave it out for the first page.")
]


class Page(Shape, Generic[T]):
    """Some of them, and where to go on."""

    items: list[T]
    next: str | None = Field(
        description="Pass it as `after` for the next page; null at the end.  A page may be short before the end.",
        examples=["WyJldmVudHMiLDE3Njk4NDY0MDAwMDAsN10"],
    )


def encode(of: str, position: Position | None) -> str | None:
    """A position in the list ``of`` as an opaque cursor; None for None."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(orjson.dumps([of, *position])).rstrip(b"=").decode()


def decode(of: str, cursor: str | None, numbers: int) -> Position | None:
    """The position of a cursor; None for None.  Raises RequestValidationError for one that is not of this list."""
    if cursor is None:
        return None
    try:
        data = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        data = None
    if isinstance(data, list) and len(data) == numbers + 1 and data[0] == of:
        position = tuple(n for n in data[1:] if type(n) is int and -BIGGEST <= n <= BIGGEST)
        if len(position) == numbers:
            return position
    raise invalid("query", "after", "not a cursor of this list: pass `next` of its last page, unchanged")


def older(moment: ColumnElement[int], number: ColumnElement[int], position: Position) -> ColumnElement[bool]:
    """Rows behind a position of (moment, number), the newest first.

    The first condition, though implied, is the one that an index on the moment alone can use.
    """
    at, last = position
    return and_(moment <= at, or_(moment < at, number < last))


def cut(
    rows: Sequence[RowMapping],
    key: Callable[[RowMapping], Position],
    keep: Callable[[RowMapping], bool],
    *,
    limit: int,
    looked_at: int,
) -> tuple[list[RowMapping], Position | None]:
    """One page out of ordered rows that may be more, or other, than what was asked for.

    ``rows`` were cut after ``looked_at`` of them (at least ``limit + 1``).  The rows that ``keep`` lets pass, at most
    ``limit``, and behind which position to go on; None at the end.
    """
    kept = [row for row in rows if keep(row)]
    if len(kept) > limit:
        return kept[:limit], key(kept[limit - 1])
    return kept, key(rows[-1]) if len(rows) >= looked_at else None
