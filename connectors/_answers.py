"""What an answer leads to.  In: status and headers.  Out: the next step, and when to come back.

Knowledge as tables; no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum

import httpx


class Step(StrEnum):
    """What an answer leads to."""

    TAKE = "take"  # hand it to the connector
    REFUSED = "refused"
    TRY_LATER = "try_later"
    NEEDS_HUMAN = "needs_human"


# Status -> next step; a status that is not here goes with the first of its hundred (RFC 9110 section 15).  Meanings
# from there unless noted.
STEPS: Mapping[int, Step] = {
    200: Step.TAKE,
    300: Step.NEEDS_HUMAN,  # never followed: the base URL is wrong, or a login page is in the way
    400: Step.REFUSED,
    401: Step.NEEDS_HUMAN,  # credentials missing, expired or revoked
    402: Step.NEEDS_HUMAN,  # reserved; vendors use it for an account that is not paid for
    403: Step.NEEDS_HUMAN,  # known, but not allowed: a scope is missing
    404: Step.REFUSED,
    405: Step.REFUSED,
    407: Step.NEEDS_HUMAN,  # our own proxy wants credentials
    408: Step.TRY_LATER,  # the server tired of waiting for the request
    409: Step.REFUSED,  # conflict: what it means the vendor's connector knows, which may `take` it
    410: Step.REFUSED,
    413: Step.REFUSED,
    414: Step.REFUSED,
    415: Step.REFUSED,
    421: Step.TRY_LATER,  # reached a server that is not responsible: over another connection it may be right
    422: Step.REFUSED,
    423: Step.TRY_LATER,  # locked, RFC 4918 11.3: somebody else is writing
    425: Step.TRY_LATER,  # too early, RFC 8470 5.2
    429: Step.TRY_LATER,  # too many requests, RFC 6585 4
    477: Step.TRY_LATER,  # HubSpot, "Error handling": the account moves between data centres
    500: Step.TRY_LATER,
}

GATEWAY = frozenset({502, 503, 504})  # a second try a moment later often succeeds (RFC 9110 15.6.3 to 15.6.5)
SAFE = frozenset({"GET", "HEAD"})  # RFC 9110 9.2.1
PAUSES = frozenset({429, 503})  # with Retry-After these speak about the client as a whole (RFC 6585 4, RFC 9110 15.6.4)
LONGEST_WAIT = timedelta(hours=24)  # ours: what asks for more is mistaken, or a matter for people

_SECONDS = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,9})?")


def step(status: int, steps: Mapping[int, Step] = STEPS) -> Step:
    """The next step after this status; what no table knows needs a human."""
    return steps.get(status, steps.get(status // 100 * 100, Step.NEEDS_HUMAN))


def retry_after(response: httpx.Response) -> timedelta | None:
    """How long the answer asks to wait (RFC 9110 10.2.3), at most ``LONGEST_WAIT``; None where it says nothing usable.

    A date is read against the answer's own Date header, so that our clock does not matter; without that it is ignored.
    """
    value = response.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        until, sent = _date(value), _date(response.headers.get("date", ""))
        if until is None or sent is None:
            return None
        seconds = (until - sent).total_seconds()
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST_WAIT.total_seconds()))


def _date(text: str) -> datetime | None:
    """An HTTP date; all its forms are in GMT, whatever they say (RFC 9110 5.6.7)."""
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
