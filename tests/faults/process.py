"""One process of the service as the campaign runs it: the real command, with its waits shortened.

``SABOTEUR=name`` in the environment breaks the engine in one known way before it starts, see ``SABOTEURS``.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy import delete

from app import cli, main, worker
from app.core import tables as t
from app.core.settings import Settings
from app.entry.commit import GroupCommit
from app.push import push, work
from app.records import links as pairs
from app.sync import consent, fetch
from connectors._http import Http
from connectors.hubspot import HubSpot
from connectors.mailchimp import Mailchimp

LEASE_SECONDS = 2.0
CALL_SECONDS = 0.8  # below the lease, as in the real settings
BEAT_SECONDS = 0.4


def shorten() -> None:
    """The waits of the service, each a hundredth or so of what it is; their order is kept."""
    worker.BEAT = BEAT_SECONDS
    worker.TROUBLE = 0.2
    fetch.MISSING_DELAYS_MS = (200, 600, 1_500)
    push.EXISTS_DELAY_MS = 200
    HubSpot.timeout = Mailchimp.timeout = CALL_SECONDS
    main.Http = functools.partial(Http, breaker_seconds=0.5, patience=0.5)  # type: ignore[misc, assignment]
    real = main.Tandem.__init__

    def built(self: main.Tandem, settings: Settings, *rest: Any, **named: Any) -> None:
        # Not by the environment: an operator who sets so short a lease is told that it is a mistake.
        real(self, settings.model_copy(update={"lease_seconds": LEASE_SECONDS}), *rest, **named)

    main.Tandem.__init__ = built  # type: ignore[method-assign]


def lease_without_fencing() -> None:
    """Whoever comes back finishes the row, whether it is still its own or not, and whatever changed meanwhile."""
    real = work.complete

    def complete(db: Any, connection: str, token: str, done: Any, failed: Any, held: Any, *rest: Any) -> frozenset[int]:
        if done:
            w = t.work.c
            db.execute(delete(t.work).where(w.connection == connection, w.contact_id.in_(sorted(done))))
        real(db, connection, token, (), failed, held, *rest)
        return frozenset()

    work.complete = complete  # type: ignore[assignment]


def acknowledge_before_store() -> None:
    """The door answers at once and stores when it comes to it."""
    real = GroupCommit.store
    under_way: set[asyncio.Task[None]] = set()

    async def quietly(self: GroupCommit, arrived: Any) -> None:
        try:
            await real(self, arrived)
        except Exception:  # noqa: BLE001 - it was acknowledged already, that is the point
            return

    async def store(self: GroupCommit, arrived: Any) -> None:
        task = asyncio.get_running_loop().create_task(quietly(self, arrived))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    GroupCommit.store = store  # type: ignore[method-assign]


def shadow_before_success() -> None:
    """What is about to be sent counts as held by the vendor, whatever becomes of the call."""
    real = push.Push._send

    def send(self: push.Push, batch: Any) -> Any:
        planned = {p.contact.id: p for p in batch.planned}

        def note(db: Any) -> None:
            links = pairs.of_contacts(db, batch.connection.name, batch.connection.kind, list(planned), lock=True)
            for contact, link in links.items():
                link.shadow = {**link.shadow, **planned[contact].sent}
            pairs.save(db, links.values())

        self._database.transact(note)
        return real(self, batch)

    push.Push._send = send  # type: ignore[method-assign]


def ratchet_off() -> None:
    """Whoever says "subscribed" last is believed, without evidence and whoever it is."""
    consent.lifts = lambda grant, withdrawal, _may_grant: grant.at >= withdrawal.at
    consent._proven = lambda entry: entry.status is consent.Status.GRANTED


SABOTEURS: dict[str, Callable[[], None]] = {
    f.__name__: f for f in (lease_without_fencing, acknowledge_before_store, shadow_before_success, ratchet_off)
}


def run(arguments: list[str], env: dict[str, str], log: str) -> None:
    """``tandem`` with these arguments, in a process that was forked after all imports: that is what starting costs."""
    os.environ.clear()
    os.environ.update(env)
    with open(log, "ab", buffering=0) as file:  # noqa: PTH123 - nothing may be between this and the descriptors
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    shorten()
    if named := env.get("SABOTEUR"):
        SABOTEURS[named]()
    sys.argv = ["tandem", *arguments]
    cli.main()
