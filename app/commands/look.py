"""Commands that only look, at the store of the configuration: status, replicas, events."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text
from sqlalchemy import select

import connectors
from app.commands.base import (
    PROBLEM,
    AsJson,
    ConfigFile,
    age,
    configuration,
    known,
    moment,
    print_json,
    print_table,
    store,
)
from app.console import standing
from app.core import tables as t
from app.core.settings import ConnectionConfig
from app.core.words import Mode
from app.ops import replicas as shared

STYLES = {"ok": "green", "paused": "yellow", "failing": "bold red"}
STATUSES = ("pending", "done", "ignored", "parked", "dead")

Connection = Annotated[str | None, typer.Option("--connection", help="Only this connection.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]

events = typer.Typer(no_args_is_help=True, help="What vendors said happened.")


def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show connections, backlog, freshness.

    Reads the database, so the service need not run.  The oldest dirty link is how stale the other side is right now.
    Ends with 1 where a connection rests or fails, a brake is on, or something waits and no worker is alive.

    ```console
    tandem status
    tandem status --json
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        now = standing.standings(db, [c.name for c in loaded.connections])
        workers = standing.workers(db)
    waiting = any(now[c.name].events or (now[c.name].links and c.mode is not Mode.OBSERVE) for c in loaded.connections)
    good = all(s.state == "ok" and not s.brakes for s in now.values()) and (
        not waiting or any(w.alive for w in workers)
    )
    if as_json:
        print_json(
            {
                "ok": good,
                "connections": [
                    {"name": c.name, "connector": c.connector, "side": _side(c), "mode": c.mode, **asdict(now[c.name])}
                    for c in loaded.connections
                ],
                "workers": [asdict(w) for w in workers],
            }
        )
    else:
        columns = ("connection", "state", "mode", "events", "oldest", "dirty links", "oldest", "dead", "heard", "wrote")
        rows = [
            (
                c.name,
                Text(s.state if s.why is None else f"{s.state}: {s.why}", STYLES[s.state]),
                c.mode if s.walked else f"{c.mode}, first walk not finished",
                s.events,
                age(s.events_oldest),
                s.links,
                age(s.links_oldest),
                s.dead,
                age(s.heard),
                age(s.wrote),
            )
            for c, s in ((c, now[c.name]) for c in loaded.connections)
        ]
        print_table("", columns, rows, empty="no connection is configured; `tandem init` writes a first configuration")
        for name, stopped in ((c.name, brake) for c in loaded.connections for brake in now[c.name].brakes):
            typer.echo(
                f"brake on for {stopped.kind} at {name}, {stopped.waiting} wait: {stopped.why}; "
                f"`tandem brake show {name} {stopped.kind}`"
            )
        alive = sum(w.alive for w in workers)
        typer.echo(f"{alive} worker process{'' if alive == 1 else 'es'} alive")
    if not good:
        raise typer.Exit(PROBLEM)


def _side(config: ConnectionConfig) -> str | None:
    if config.side is not None:
        return config.side
    kind = connectors.named(config.connector)
    return None if kind is None else str(kind.side)


def replicas(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the processes that share the database, and what they share.

    Who is alive, what each does alone (a lease), and how many calls to each vendor all of them have made together
    within the vendor's windows.  Calls are counted together on PostgreSQL, or with TANDEM_SHARED_BUDGET.

    ```console
    tandem replicas
    tandem replicas --json
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        found = shared.replicas(db)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    seen = [(w.id, w.host, w.pid, "alive" if w.alive else "silent", w.started_at, w.beat_at) for w in found.workers]
    print_table("Workers", ("id", "host", "process", "state", "since", "last sign"), seen, empty="no worker")
    rights = [(r.name, r.worker if r.worker is not None else "rests", r.until) for r in found.rights]
    print_table("What one does at a time", ("what", "worker", "until"), rights, empty="nothing is leased")
    calls = [
        (c.connection, u.family if u.family else "all calls", u.lane, f"{u.seconds:g} s", u.calls, c.closed_until)
        for c in found.calls
        for u in c.rates
    ]
    columns = ("connection", "of", "lane", "window", "calls", "closed until")
    print_table("Calls of all together", columns, calls, empty="no calls are counted together")


@events.command("list")
def events_list(
    config: ConfigFile = None,
    connection: Connection = None,
    status: Annotated[str | None, typer.Option(help=f"Only these: {', '.join(STATUSES)}.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List events, the newest first.

    Shows what was told and what became of it, never what a record holds.

    ```console
    tandem events list --connection hubspot --status parked
    ```
    """
    settings, loaded = configuration(config)
    i = t.inbox.c
    columns = (i.id, i.connection, i.action, i.status, i.received_at, i.occurred_at, i.done_at, i.attempts, i.error)
    query = select(*columns).order_by(i.id.desc()).limit(limit)
    if connection is not None:
        query = query.where(i.connection == known(loaded, connection))
    if status is not None:
        if status not in STATUSES:
            raise typer.BadParameter(f"one of {', '.join(STATUSES)}", param_hint="--status")
        query = query.where(i.status == status)
    with store(settings, loaded) as database, database.read() as db:
        rows = [dict(row) for row in db.execute(query).mappings()]
    for row in rows:
        row.update({name: moment(row[name]) for name in ("received_at", "occurred_at", "done_at")})
    if as_json:
        print_json(rows)
        return
    names = ("id", "connection", "action", "status", "received_at", "done_at", "attempts", "error")
    print_table("", names, [[row[n] for n in names] for row in rows], empty="no such event")
