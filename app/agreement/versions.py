"""Which version of the agreement holds when.  Pure.

A version holds from the moment that it names, or from the second signature, until the next one does.  It never holds
from before both have signed, but for the very first: what happened before there was any agreement is judged by that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.agreement.load import Agreement


@dataclass(frozen=True, slots=True)
class Version:
    """An agreement that both signed, and from when on it holds (ms since 1970)."""

    agreement: Agreement
    since: int
    number: int = 0  # of its row
    signed: int = 0  # when the second signature was given


class Versions:
    """All versions that were ever in force."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self._all = sorted(versions, key=lambda v: (v.since, v.agreement.digest))
        self._since = [v.since for v in self._all]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Version]:
        return iter(self._all)

    @property
    def first(self) -> int:
        """When the first one came into force; far in the future where there is none."""
        return self._since[0] if self._since else 2**62

    @property
    def signed(self) -> int:
        """When the first one was signed by both, which may be later than the day from which it holds."""
        return min((v.signed for v in self._all), default=0)

    def at(self, moment: int) -> Version | None:
        """The version in force at a moment; None before the first."""
        i = bisect_right(self._since, moment)
        return self._all[i - 1] if i else None

    def next(self, after: int) -> int | None:
        """When the next one comes into force."""
        i = bisect_right(self._since, after)
        return self._since[i] if i < len(self._since) else None

    def stages(self) -> set[str]:
        """The names of all stages."""
        return {stage.name for v in self._all for stage in v.agreement.stages}


def in_force(sales_at: int | None, marketing_at: int | None, wished: int | None, *, first: bool) -> int | None:
    """From when on a version holds; None while a signature is missing.

    ``wished``: the moment that was agreed; ``first``: there is none before it.
    """
    if sales_at is None or marketing_at is None:
        return None
    both = max(sales_at, marketing_at)
    if wished is None:
        return both
    return wished if first else max(both, wished)
