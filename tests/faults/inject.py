"""Carry out one injection.  In: what the plan says.  Out: how often it struck, where that can be counted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from tests.faults.people import AGENT
from tests.faults.plan import CALLS, DATABASE, OUTSIDE, WEBHOOKS, Injection
from tests.faults.stage import WORKERS, Stage

NOT_PEOPLE = f"^(?!{AGENT})"
CLOCK_SECONDS = 600.0  # by how much the service's clock is wrong: beyond the age at which a signature is refused
DATABASE_CLOCK_SECONDS = 4.0  # the engine's own clock: twice the lease

# Injection -> a rule of the simulator, see sandbox/faults.py.
RULES: Mapping[str, Mapping[str, Any]] = {
    "calls_429": {"kind": "status", "status": 429, "retry_after": 1},
    "calls_5xx": {"kind": "status", "status": 503, "rate": 0.7},
    "calls_html": {"kind": "html", "status": 200, "rate": 0.7},
    "calls_reset_before": {"kind": "reset", "rate": 0.5},
    "calls_reset_after": {"kind": "reset", "rate": 0.5, "after": True},
    "calls_timeout_before": {"kind": "timeout_before", "rate": 0.5},
    "calls_timeout_after": {"kind": "timeout_after", "rate": 0.5},
    "calls_slow": {"kind": "slow", "delay": 0.5},
    "token_revoked": {"kind": "status", "status": 401, "rate": 0.5},
    # A deletion that no webhook tells is not seen by a poll at HubSpot: its search leaves the archive out.
    "webhooks_dropped": {
        "kind": "drop_webhook",
        "rate": 0.5,
        "match": "propertyChange|creation|profile|upemail|^subscr",
    },
    "webhooks_doubled": {"kind": "duplicate_webhook", "rate": 0.7},
    "webhooks_reordered": {"kind": "reorder_webhooks"},
    "webhooks_delayed": {"kind": "delay_webhook", "rate": 0.5, "delay": 1.0},
    "webhooks_unheard": {"kind": "deaf_webhook", "rate": 0.6},
}


def inject(stage: Stage, injection: Injection) -> int:
    """Do it, let it last, undo it; how many calls, events or processes were struck."""
    if injection.kind in CALLS or injection.kind in WEBHOOKS:
        return _rule(stage, injection)
    if injection.kind in DATABASE:
        return _database(stage, injection)
    if injection.kind in OUTSIDE:
        return _outside(stage, injection)
    return _process(stage, injection)


def _rule(stage: Stage, injection: Injection) -> int:
    url = f"{stage.sandbox(injection.side)}/faults"
    rule = {**RULES[injection.kind], **({"agent": NOT_PEOPLE} if injection.kind in CALLS else {})}
    id_ = httpx.post(url, json=rule).raise_for_status().json()["id"]
    time.sleep(injection.seconds)
    listed = httpx.get(url).json()["faults"]
    httpx.delete(url, params={"id": id_})
    return next((int(f["struck"]) for f in listed if f["id"] == id_), 0)


def _process(stage: Stage, injection: Injection) -> int:
    workers = tuple(f"worker{n}" for n in range(WORKERS))
    names: Mapping[str, tuple[str, ...]] = {
        "web": ("web",),
        "worker": (workers[injection.which],),
        "workers": workers,
        "all": ("web", *workers),
    }
    verb, _, who = injection.kind.partition("_")
    if verb == "kill":
        stage.kill(*names[who])
    else:
        # Of all workers one goes on: otherwise nobody would take what the others hold.
        chosen = tuple(n for n in names[who] if who != "workers" or n != workers[injection.which])
        stage.signal(signal.SIGSTOP, *chosen)
        time.sleep(injection.seconds)
        stage.signal(signal.SIGCONT, *chosen)
        return len(chosen)
    time.sleep(injection.seconds)
    return len(names[who])


def _database(stage: Stage, injection: Injection) -> int:
    def down(how: int) -> Callable[[], None]:
        def go() -> None:
            with stage.pg_down(how):
                time.sleep(injection.seconds)

        return go

    def kill_backend() -> None:
        """The server then ends all its processes and recovers, as it must."""
        backends = stage.pg_backends()
        if backends:
            os.kill(backends[injection.which % len(backends)], signal.SIGKILL)
        assert stage.pg is not None
        stage.until(stage.pg.answers, "the database did not recover")

    def clock() -> None:
        stage.pg_knob.clock(injection.size * DATABASE_CLOCK_SECONDS)
        time.sleep(injection.seconds)
        stage.pg_knob.clock(0)

    acts: Mapping[str, Callable[[], None]] = {
        "pg_immediate": down(signal.SIGQUIT),
        "pg_fast": down(signal.SIGINT),
        "pg_kill_backend": kill_backend,
        "pg_cut": stage.pg_cut,
        "pg_clock": clock,
    }
    acts[injection.kind]()
    return 1


def _outside(stage: Stage, injection: Injection) -> int:
    # The store grows where PostgreSQL runs, and on SQLite in the service's own processes.
    knob = stage.pg_knob if stage.pg is not None else stage.knob
    if injection.kind == "disk_full":
        knob.full(True)
        time.sleep(injection.seconds)
        knob.full(False)
    else:
        # On SQLite the service's clock is the engine's clock too.
        size = CLOCK_SECONDS if stage.pg is not None else DATABASE_CLOCK_SECONDS
        stage.knob.clock(injection.size * size)
        time.sleep(injection.seconds)
        stage.knob.clock(0)
    return 1
