"""Who lost what, who doubled what.  In: what HubSpot holds, what Mailchimp holds, every write.  Out: counts.

One checker for all that are compared; it knows nothing of who wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Write(NamedTuple):
    """One write to one member.  ``time``: seconds since 1970, when it took effect.  ``town``: ``""`` = not named."""

    time: float
    email: str
    town: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out of some edits.

    ``lost``: members that do not show what HubSpot holds.  ``doubled``: writes beyond one for each edit of a member.
    ``unasked``: writes to members that nobody edited.  ``landed_at``: when the last edited member took the value that
    it has to show (seconds since 1970); None while one is missing.
    """

    lost: int
    doubled: int
    unasked: int
    landed_at: float | None


def judge(
    wanted: Mapping[str, str], shown: Mapping[str, str], edits: Mapping[str, int], writes: Iterable[Write]
) -> Verdict:
    """``wanted``: town by address at HubSpot, ``shown``: at Mailchimp; ``edits``: how often each address was edited.

    A member may be written less often than it was edited: two edits that land as one are both there.
    """
    counted: Counter[str] = Counter()
    landed: dict[str, float] = {}
    for write in writes:
        counted[write.email] += 1
        if write.email in edits and write.town == wanted[write.email]:
            landed.setdefault(write.email, write.time)
    lost = sum(1 for email, town in wanted.items() if shown.get(email) != town)
    whole = len(landed) == len(edits)
    return Verdict(
        lost=lost,
        doubled=sum(max(0, counted[email] - times) for email, times in edits.items()),
        unasked=sum(times for email, times in counted.items() if email not in edits),
        landed_at=max(landed.values(), default=None) if whole else None,
    )
