"""Clocks of the agreement: what one question costs, beside the same question asked day by day.

A lead's clock is worked out from its happenings each time, so its price is what a list of leads pays for each.  The
baseline of the same run walks over the days between two moments with aware datetimes, as is often done.  Pure
computation: one process, no database.

``python -m bench.clocks [--rounds 2000]``
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from app.agreement.clocks import Happening, What, read
from app.agreement.hours import DAY, HOUR, MINUTE, Calendar, Holidays, Window
from app.agreement.terms import Clock, Escalation, Span, Terms

START = 1_767_225_600_000  # 2026 begins
ZONE = "Europe/Berlin"
WEEK = ((Window(540, 750), Window(810, 1050)),) * 5 + ((), ())
BATCH = 200


def day_by_day(a: int, b: int, free: frozenset[object]) -> int:
    """Business time between two moments, a day at a time."""
    zone, total = ZoneInfo(ZONE), 0
    one, other = (datetime.fromtimestamp(t / 1000, UTC) for t in (a, b))
    day = one.astimezone(zone).date()
    while day <= other.astimezone(zone).date():
        if day not in free:
            for window in WEEK[day.weekday()]:
                edges = []
                for minute in (window.start, window.end):
                    wall = datetime(day.year, day.month, day.day, *divmod(minute, 60), tzinfo=zone)
                    edges.append(wall.astimezone(UTC))
                opens, closes = max(one, edges[0]), min(other, edges[1])
                total += max(0, (closes - opens) // timedelta(milliseconds=1))
        day += timedelta(days=1)
    return total


def each(question: Callable[[int], object], rounds: int) -> dict[str, float]:
    """µs of one question: the median and the 95th percentile of batches; processor time."""
    took = []
    for start in range(0, rounds, BATCH):
        began = time.process_time_ns()
        for n in range(start, start + BATCH):
            question(n)
        took.append((time.process_time_ns() - began) / BATCH / 1000)
    return {"p50_us": round(statistics.median(took), 2), "p95_us": round(statistics.quantiles(took, n=20)[-1], 2)}


def main() -> None:
    """Measure, and print JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=4_000)
    rounds = options.parse_args().rounds
    dice = random.Random(1)
    moments = [START + dice.randrange(330 * DAY) for _ in range(rounds + BATCH)]
    public = Holidays("DE", "BE")
    calendar = Calendar("berlin", ZONE, WEEK, public)
    free = frozenset(public.of(2026)) | frozenset(public.of(2027))
    clock = Clock(
        name="touch",
        begins="mql",
        ends="first_touch",
        within=Span(4 * HOUR),
        remind=(HOUR,),
        escalate=(Escalation("manager"), Escalation("head", 8 * HOUR)),
        pause_for=("asked to wait",),
    )
    versions = {"v1": Terms({"touch": clock}, {"berlin": calendar})}
    for n in range(100):
        a = moments[n]
        if calendar.elapsed(a, a + 30 * DAY) != day_by_day(a, a + 30 * DAY, free):
            raise SystemExit("the two ways disagree; nothing was measured")

    began = time.process_time_ns()
    Calendar("fresh", ZONE, WEEK, public).elapsed(START, START + HOUR)
    first = (time.process_time_ns() - began) / 1e6

    def life(n: int) -> list[Happening]:
        a = moments[n]
        return [
            Happening(a, What.STARTED, "a", version="v1", owner="ann"),
            Happening(a + 2 * HOUR, What.PAUSED, "b", reason="asked to wait"),
            Happening(a + DAY, What.RESUMED, "c"),
            Happening(a + 9 * DAY + 7 * MINUTE, What.SATISFIED, "d"),
        ]

    lives = [life(n) for n in range(len(moments))]
    print(
        json.dumps(
            {
                "bench": "clocks",
                "first_question_of_a_year_ms": round(first, 2),
                "elapsed_30_days": each(lambda n: calendar.elapsed(moments[n], moments[n] + 30 * DAY), rounds),
                "elapsed_5_years": each(lambda n: calendar.elapsed(moments[n], moments[n] + 1826 * DAY), rounds),
                "add_40_hours": each(lambda n: calendar.add(moments[n], 40 * HOUR), rounds),
                "baseline_day_by_day_30_days": each(lambda n: day_by_day(moments[n], moments[n] + 30 * DAY, free), 400),
                "clock_running": each(
                    lambda n: read("touch", lives[n][:1], versions, moments[n] + HOUR, team="berlin"), rounds
                ),
                "clock_paused_breached_done": each(
                    lambda n: read("touch", lives[n], versions, moments[n] + 20 * DAY, team="berlin"), rounds
                ),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
