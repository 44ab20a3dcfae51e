"""Subscriptions to webhooks at the vendors: is ours there and on; making, arming again and removing it.

Looked at on the schedule of the poll.  At a connection that is written to, a subscription that is off or tells too
little is armed again at once; one that is gone or missing beside others is made by a person only, since most vendors
tell a new secret then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.db import Database, clock_of, now_ms, upsert
from app.core.errors import NotPossible
from app.records import alarms, state
from app.sync.connection import Connection, Connections
from connectors.contract import Can, Hook, Hooked, NeedsHuman, Refused, TryLater

log = structlog.get_logger(__name__)

SOON_MS: Final = 300_000  # at least between two looks

NOW = now_ms()
h = t.rhythm.c


def url_of(door: str | None, connection: str) -> str:
    """Where a connection's webhooks have to go.  Raises NotPossible where nobody has said how vendors reach us."""
    if door is None:
        raise NotPossible("public_url is not set in tandem.yml: it says how vendors reach this service")
    return f"{door.rstrip('/')}/webhooks/{connection}"


def able(connection: Connection) -> None:
    """Raise NotPossible where the connector cannot look at subscriptions, with what to do instead."""
    if Can.HOOKS not in connection.connector.can:
        raise NotPossible(
            f"{connection.name}: {connection.connector.name} has no interface for its subscriptions that this key may "
            f"use; docs/vendors/{connection.connector.name}.md says where to make them by hand"
        )


def ours(connection: Connection, door: str | None) -> tuple[list[Hook], list[Hook]]:
    """The subscriptions that lead here, and the others.  Raises what the vendor's call raises, and NotPossible."""
    able(connection)
    url = url_of(door, connection.name)
    every = connection.connector.hooks()
    return [hook for hook in every if hook.url == url], [hook for hook in every if hook.url != url]


def install(connection: Connection, door: str | None) -> Hooked:
    """Let the vendor tell us everything.  Raises what the vendor's call raises, and NotPossible."""
    able(connection)
    return connection.connector.hook(url_of(door, connection.name))


def remove(connection: Connection, door: str | None) -> list[str]:
    """Remove our subscriptions; their ids.  Those of others stay."""
    here, _ = ours(connection, door)
    for hook in here:
        connection.connector.unhook(hook.id)
    return [hook.id for hook in here]


def wrong(hooks: Sequence[Hook]) -> list[str]:
    """What is wrong with our subscriptions, in words."""
    found = []
    for hook in hooks:
        name = hook.about if hook.about else hook.id
        if hook.on is False:
            found.append(f"{name} is switched off")
        if hook.lacks:
            found.append(f"{name} does not tell {', '.join(hook.lacks)}")
        if hook.missing:
            found.append(f"no webhook for {', '.join(hook.missing)}")
    return found


class Hooks:
    """Looks at subscriptions, each on the schedule of its connection's poll."""

    def __init__(self, database: Database, connections: Connections, door: str | None) -> None:
        self._database = database
        self._connections = connections
        self._door = door

    def step(self) -> int:
        """Look at one connection whose time has come; 0 = none has, or nobody knows how vendors reach us."""
        if self._door is None:
            return 0
        with self._database.read() as db:
            now = clock_of(db)
            resting = state.paused(db)
            due = {row.connection: row.hooks_due_at for row in db.execute(select(h.connection, h.hooks_due_at))}
        for one in self._connections.values():
            if Can.HOOKS in one.connector.can and one.name not in resting and due.get(one.name, 0) <= now:
                self.look(one)
                return 1
        return 0

    def look(self, connection: Connection) -> None:
        """Look at a connection's subscriptions now, and arm again what is off."""
        name = connection.name
        problem: str | None = None
        try:
            here, _ = ours(connection, self._door)
            with self._database.read() as db:
                silent = (str(alarms.Kind.SILENCE), name) in alarms.counts(db)
            # A vendor that does not say what it switched off is asked again while it is silent.
            off = wrong(here) or (silent and any(hook.on is None for hook in here))
            if here and off and connection.writes and not any(hook.missing for hook in here):
                here = list(install(connection, self._door).hooks)
                log.warning("webhook.armed_again", connection=name, hooks=[hook.id for hook in here])
            if not here:
                problem = f"nothing at the vendor leads here: `tandem webhooks install {name}`"
            elif wrong(here):
                problem = f"{'; '.join(wrong(here))}: `tandem webhooks install {name}` arms them"
        except (TryLater, Refused, NeedsHuman) as error:
            log.warning("webhook.look_failed", connection=name, reason=str(error))
            problem = f"its subscriptions cannot be looked at or armed: {error}"
            if isinstance(error, TryLater):
                problem = None
        gap = max(SOON_MS, int(connection.poll_seconds * 1000))

        def work(db: Db) -> None:
            statement = upsert(db.dialect.name, t.rhythm).values(
                connection=name, state={}, read_to=0, missed=0, hooks_due_at=NOW + gap
            )
            after = {"hooks_due_at": NOW + gap}
            db.execute(statement.on_conflict_do_update(index_elements=["connection"], set_=after))
            found = {} if problem is None else {"": f"{name}: {problem}.  Changes are found by polls meanwhile"}
            alarms.kept(db, alarms.Kind.WEBHOOK, name, found)

        self._database.transact(work)
