"""The campaign.  In: a seed and numbers of schedules.  Out: what went wrong, and how often each fault was there."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.faults import plan as plans
from tests.faults.check import WRONGS, Vendors, Wrong, wrongs
from tests.faults.inject import inject
from tests.faults.people import Expected, People, clients
from tests.faults.plan import DATABASE, OUTSIDE, Injection, Plan
from tests.faults.stage import Stage

BLOCK = 10  # schedules that share processes and a store
BOUND = 60.0  # seconds after the last fault within which all sides have to agree
FIRST_BOUND = 60.0  # seconds for the people who are there before the trouble
LOOK = 0.15
NOTED = 0.5  # seconds in which the service notes what the vendors show already


class Campaign:
    """All schedules of one run."""

    def __init__(
        self,
        seed: int,
        *,
        sqlite: bool = False,
        saboteur: str | None = None,
        log: Path | None = None,
        block: int = BLOCK,
    ) -> None:
        self.seed, self._block = seed, block
        self._sqlite, self._saboteur, self._log = sqlite, saboteur, log
        self.verbose = False
        self.schedules = 0
        self.wrong: Counter[str] = Counter()
        self.details: list[str] = []
        self.injected: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.of_schedules: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.settled: list[float] = []
        self.acknowledged = self.unanswered = self.restarts = 0
        self._began = time.monotonic()
        self._said = 0  # of the details

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began

    @property
    def failed(self) -> bool:
        return bool(self.wrong)

    def run(self, numbers: Iterable[int]) -> None:
        """Run these schedules; with a saboteur only until it is caught."""
        self._began = time.monotonic()
        blocks: dict[int, list[int]] = {}
        for number in numbers:
            blocks.setdefault(number // self._block, []).append(number)
        with Stage(sqlite=self._sqlite, saboteur=self._saboteur, log=self._log) as stage:
            for members in blocks.values():
                self._run_block(stage, members)
                if self._saboteur is not None and self.failed:
                    break
                self.restarts = stage.restarts

    def _run_block(self, stage: Stage, numbers: list[int]) -> None:
        poll = plans.polled(numbers[0], self._block)
        without = frozenset() if stage.outside else frozenset({*OUTSIDE, "pg_clock"})
        without |= frozenset(DATABASE) if stage.pg is None else frozenset()
        stage.begin_block(poll=poll)
        hubspot, mailchimp = (stage.vendors[n]["credentials"] for n in ("hubspot", "mailchimp"))
        with clients(stage.urls, hubspot["access_token"], mailchimp["api_key"]) as (at_hubspot, at_mailchimp):
            vendors = Vendors(at_hubspot, at_mailchimp, stage.list_id)
            everybody: dict[int, list[Expected]] = {}
            for number in numbers:
                plan = plans.make(self.seed, number, poll=poll, without=without)
                people = People(self.seed, plan, at_hubspot, at_mailchimp, stage.list_id)
                bad = self._schedule(stage, plan, people, vendors)
                self._note(number, bad)
                self.schedules += 1
                if not bad:  # what is wrong once is not counted again
                    everybody[number] = list(people.expected.values())
                elif self._saboteur is not None:
                    return
            # Whatever came late, over all the schedules of the block, changed nothing.
            with contextlib.suppress(TimeoutError):
                stage.until(lambda: not any(s["pending"] for s in stage.pending().values()), "webhooks", BOUND)
            found = vendors.read()
            for number, expected in everybody.items():
                self._note(number, wrongs(expected, found), late=True)
            for said in stage.pending().values():
                self.acknowledged += said["delivered"]
                self.unanswered += said["failed"]

    def _schedule(self, stage: Stage, plan: Plan, people: People, vendors: Vendors) -> list[Wrong]:
        began = time.monotonic()
        for act in plan.first:
            people.act(act)
        first = list(people.expected.values())
        bad = self._agreed(stage, plan, first, vendors, FIRST_BOUND)
        if bad:
            return bad
        time.sleep(NOTED)
        ready = time.monotonic()
        threads = [threading.Thread(target=self._inject, args=(stage, i, ready)) for i in plan.injections]
        for thread in threads:
            thread.start()
        for act in plan.acts:
            time.sleep(max(0.0, ready + act.at - time.monotonic()))
            people.act(act)
        for thread in threads:
            thread.join()
        stage.whole()
        quiet = time.monotonic()
        bad = self._agreed(stage, plan, list(people.expected.values()), vendors, BOUND)
        now = time.monotonic()
        self.settled.append(now - quiet)
        self.done += people.done
        self.left += people.left
        self.of_schedules.update({i.kind for i in plan.injections})
        if self.verbose:
            kinds = " ".join(i.kind for i in plan.injections)
            sys.stdout.write(
                f"{plan.number}: {'poll' if plan.poll else 'webhooks only'}; {kinds}; "
                f"ready {ready - began:.1f} s, trouble {quiet - ready:.1f} s, settled {now - quiet:.1f} s\n"
            )
            sys.stdout.flush()
        return bad

    def _inject(self, stage: Stage, injection: Injection, began: float) -> None:
        time.sleep(max(0.0, began + injection.at - time.monotonic()))
        try:
            with stage.exclusively(injection.kind):
                self.struck[injection.kind] += inject(stage, injection)
                self.injected[injection.kind] += 1
        except Exception as error:  # noqa: BLE001 - a fault that could not be injected is no finding, but has to be seen
            self.details.append(f"# {injection.kind} could not be injected: {type(error).__name__}: {error}")

    def _agreed(
        self, stage: Stage, plan: Plan, expected: list[Expected], vendors: Vendors, seconds: float
    ) -> list[Wrong]:
        """What is still wrong when the time is over; nothing as soon as nothing is wrong."""
        end = time.monotonic() + seconds
        looks = 0
        while True:
            looks += 1
            if looks % 4 == 1 and any(i.kind == "token_revoked" for i in plan.injections):
                stage.resume()
            bad = wrongs(expected, vendors.read())
            if not bad:
                return []
            if time.monotonic() > end:
                some = sorted({w.name for w in bad})[:3]
                self.details += [f"# inside: {line}" for line in stage.inside(some)]
                self.details += [f"# outside: {line}" for line in stage.noted(some)]
                return bad
            time.sleep(LOOK)

    def _note(self, number: int, bad: list[Wrong], *, late: bool = False) -> None:
        for wrong in bad:
            self.wrong[wrong.kind] += 1
            when = " late" if late else ""
            self.details.append(f"seed={self.seed} schedule={number}{when} {wrong.kind}: {wrong.name} {wrong.what}")
        if bad and self.verbose:
            sys.stdout.write("\n".join(self.details[self._said :]) + "\n")
            sys.stdout.flush()
            self._said = len(self.details)

    def report(self) -> list[str]:
        """What to print; the last line is for programs."""
        kinds: dict[str, Any] = {
            kind: {"injected": self.injected[kind], "schedules": self.of_schedules[kind], "struck": self.struck[kind]}
            for kind in sorted(plans.KINDS)
            if self.of_schedules[kind]
        }
        settled = sorted(self.settled)
        figures = {
            "faults": kinds,
            "acts": dict(sorted(self.done.items())),
            "acts_left_out": dict(sorted(self.left.items())),
            "events_acknowledged": self.acknowledged,
            "events_given_up_by_the_vendor": self.unanswered,
            "restarts": self.restarts,
            "settled_seconds": {
                "p50": round(settled[len(settled) // 2], 1) if settled else None,
                "max": round(settled[-1], 1) if settled else None,
            },
        }
        counts = " ".join(f"{kind}={self.wrong[kind]}" for kind in WRONGS)
        return [
            *self.details,
            json.dumps(figures),
            f"schedules={self.schedules} {counts} seconds={self.seconds:.0f}",
        ]
