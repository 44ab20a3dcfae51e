"""A walk by cursor to its end, whatever is walked over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar


class _Paged(Protocol):
    @property
    def cursor(self) -> str: ...

    @property
    def more(self) -> bool: ...


P = TypeVar("P", bound=_Paged)


def to_the_end(ask: Callable[[str | None], P], cursor: str | None, most: int) -> tuple[list[P], str]:
    """All pages from this cursor on, and where to go on.  Fails where there are more than ``most``."""
    pages: list[P] = []
    for _ in range(most):
        page = ask(cursor)
        pages.append(page)
        cursor = page.cursor
        if not page.more:
            return pages, cursor
    raise AssertionError("the walk does not end")
