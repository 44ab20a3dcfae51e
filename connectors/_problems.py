"""The errors that a connector raises, each named by what happens next.  ``connectors.contract`` hands them on."""

from __future__ import annotations

from datetime import timedelta


class Problem(Exception):
    """Base of the errors that a connector raises, each named by what happens next."""


class TryLater(Problem):
    """The vendor could not answer now; the same request may succeed later.

    ``after`` is the least time to wait as the vendor asked (None: ours to choose).  ``landed`` says whether the request
    may have taken effect although no answer came (a time-out after sending).
    """

    def __init__(self, message: str, *, after: timedelta | None = None, landed: bool = False) -> None:
        super().__init__(message)
        self.after = after
        self.landed = landed


class Refused(Problem):
    """The vendor refused this request for what it contains; sending it again unchanged is useless."""

    def __init__(self, message: str, *, code: str = "refused", field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class NeedsHuman(Problem):
    """The connection as a whole is refused (key revoked, scope missing): it pauses and raises an alarm."""


class Untrusted(Problem):
    """The delivery's signature or secret does not hold: 401, nothing is stored."""


class Unreadable(Problem):
    """The delivery is trusted but makes no sense: it is kept, parked and answered with 400."""


class Unsupported(Problem):
    """The connector does not claim this capability."""
