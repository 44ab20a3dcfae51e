"""How the promises of marketing stand in their period: versions and steps of leads in, standings out."""

from __future__ import annotations

from sqlalchemy import Connection as Db

from app.agreement.hours import reach
from app.agreement.quotas import Count, Standing, period, standing
from app.agreement.versions import Versions
from app.records import clocks


def standings(db: Db, versions: Versions, now: int, at: int | None = None) -> list[Standing]:
    """Each promise of the version in force at ``now``, in the period that ``at`` (None: now) lies in.  Reads only.

    The leads are those that came to the stage in the period; accepted or decided they may be later.
    """
    version = versions.at(now)
    promises = version.agreement.promises if version is not None else None
    if promises is None or not reach(now if at is None else at):
        return []
    calendar = promises.calendars[promises.sla.calendar]
    found = []
    for quota in promises.sla.marketing.values():
        span = period(calendar, quota.per, now if at is None else at)
        accepted = quota.accepted if quota.accepted is not None else "accepted"
        count = Count(*clocks.cohort(db, quota.counts, accepted, span.start, span.end))
        found.append(standing(quota, count, calendar, span, now))
    return found
