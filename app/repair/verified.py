"""Is a complete read to be believed?  In: counts.  Out: why not, in words, or None.  Pure.

What a list lacks is reported as missing only where this finds nothing to say: a vendor that answers half of its pages
looks exactly like one from which half of the people were deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

MISSING_LEAST: Final = 5  # so many may be missing whatever share of the known records that is; ours
MISSING_SHARE: Final = 0.05  # more than this share missing at once is a broken list before it is a fact; ours
LAG: Final = 0.01  # a total may come from an index that lags behind the list by so much; ours
HIDDEN_LEAST: Final = 10  # records known to have a value, before "none of them shows it" means more than chance; ours


def short(seen: int, totals: Collection[int], left: int) -> str | None:
    """A list that holds fewer records than its vendor says there are.

    ``totals``: how many the vendor said there are, at the first and at the last page.  ``left``: records known to have
    been taken away meanwhile.
    """
    if totals and seen + left < min(totals) * (1 - LAG):
        return f"its list held {seen:,} records, and it says that there are {min(totals):,}"
    return None


def too_many(missing: int, known: int) -> str | None:
    """So many records missing that the list is doubted first."""
    if missing > MISSING_LEAST and missing > MISSING_SHARE * known:
        return f"its list lacked {missing:,} or more of {known:,} known records"
    return None


def hidden(held: Mapping[str, int], shown: Mapping[str, int]) -> dict[str, int]:
    """Fields of which no record shows a value any more, though so many are known to have one."""
    return {name: n for name, n in held.items() if n >= HIDDEN_LEAST and not shown.get(name, 0)}
