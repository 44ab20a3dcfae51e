"""Commands that act on the store of the configuration: dead letters, replay, pause, resume.

They do what the operations API does, by the same functions; a service that runs notices within a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, Select, func, select

from app.commands import replaying
from app.commands.base import (
    PROBLEM,
    AsJson,
    ConfigFile,
    configuration,
    known,
    moment,
    print_json,
    print_table,
    say,
    store,
    whole,
)
from app.commands.look import Connection, Limit
from app.core import tables as t
from app.core.errors import NotFound
from app.ops.connections import rest
from app.ops.deadletters import BATCH, retry
from app.ops.replay import CLOSED
from app.records import state

if TYPE_CHECKING:
    from app.main import Tandem

dead = typer.Typer(no_args_is_help=True, help="What was given up, and trying it again.")

Code = Annotated[str | None, typer.Option("--code", help="Only with this code.")]
Name = Annotated[str, typer.Argument(help="The connection.", metavar="NAME")]

d = t.dead.c


@dead.command("list")
def dead_list(
    config: ConfigFile = None,
    connection: Connection = None,
    code: Code = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest first.

    Each says why it was given up and what would help.

    ```console
    tandem dead list --connection mailchimp --code conflict
    ```
    """
    settings, loaded = configuration(config)
    query = select(t.dead).order_by(d.id.desc()).limit(limit)
    if connection is not None:
        query = query.where(d.connection == known(loaded, connection))
    if code is not None:
        query = query.where(d.code == code)
    with store(settings, loaded) as database, database.read() as db:
        rows: list[dict[str, Any]] = [dict(row) for row in db.execute(query).mappings()]
    for row in rows:
        row["at"] = moment(row["at"])
    if as_json:
        print_json(rows)
        return
    names = ("id", "at", "station", "connection", "contact_id", "code", "field", "reason", "next_step")
    print_table("", names, [[row[n] for n in names] for row in rows], empty="no dead letter")


@dead.command("retry")
def dead_retry(
    number: Annotated[int | None, typer.Argument(help="Which one.", metavar="ID", min=1)] = None,
    everything: Annotated[bool, typer.Option("--all", help="All, or all that the other options leave.")] = False,
    connection: Connection = None,
    code: Code = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Try again what was given up.

    Mend the cause first.  Ends with 1 where something cannot be tried again, and says why.

    ```console
    tandem dead retry 42
    tandem dead retry --all --code exhausted
    ```
    """
    if (number is None) is not everything:
        raise typer.BadParameter("give an ID, or --all")
    query = select(t.dead).order_by(d.id).limit(BATCH)
    for column, wanted in ((d.id, number), (d.connection, connection), (d.code, code)):
        if wanted is not None:
            query = query.where(column == wanted)
    with whole(config) as tandem:
        if connection is not None:
            tandem.connections[connection]  # raises NotFound, which lists those there are
        retried, stuck = _retry(tandem, query)
    if number is not None and not retried and not stuck:
        raise NotFound(f"there is no dead letter {number}; it goes once it is tried again or settled")
    if as_json:
        print_json({"retried": retried, "kept": [{"id": n, "reason": why} for n, why in sorted(stuck.items())]})
    else:
        typer.echo(f"{retried} dead letter{'' if retried == 1 else 's'} tried again")
        for n, why in sorted(stuck.items()):
            say(f"dead letter {n} cannot be tried again: {why}")
    if stuck:
        raise typer.Exit(PROBLEM)


def _retry(tandem: Tandem, query: Select[Any]) -> tuple[int, dict[int, str]]:
    """How many letters of a query were tried again, batch by batch; and those that cannot be, with why."""
    stuck: dict[int, str] = {}
    retried, last = 0, 0
    with tandem.database.read() as db:
        newest = db.execute(select(func.coalesce(func.max(d.id), 0))).scalar_one()  # what fails anew is left alone
    while True:

        def batch(db: Db, last: int = last) -> tuple[Sequence[RowMapping], dict[int, str]]:
            rows = db.execute(query.where(d.id > last, d.id <= newest)).mappings().all()
            return rows, retry(db, tandem.connections, rows)

        rows, reasons = tandem.database.transact(batch)
        stuck.update(reasons)
        retried += len(rows) - len(reasons)
        if len(rows) < BATCH:
            return retried, stuck
        last = rows[-1]["id"]


def utc(text: str) -> datetime:
    """A moment as people write it (ISO 8601), aware; UTC where it names no zone."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write it like 2026-03-01 or 2026-03-01T08:00:00Z") from None
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)


def replay(
    connection: Connection = None,
    since: Annotated[
        datetime | None, typer.Option(parser=utc, metavar="MOMENT", help="Received then or later; UTC unless it says.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(parser=utc, metavar="MOMENT", help="Received before it.")] = None,
    status: Annotated[
        list[str] | None, typer.Option(help=f"Only these, repeat it: {', '.join(CLOSED)}.  Default: all of them.")
    ] = None,
    contact: Annotated[
        int | None, typer.Option("--contact", help="Only of this contact's records.", metavar="ID", min=1)
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--mapping", help="With --dry-run: as this mapping would read.", metavar="FILE")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be others by the mapping; needs --connection.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Read the records of past events again.

    Makes closed events pending; the workers do the rest.  Harmless: a record that did not change ends as an echo.

    After a mapping was changed, or before: `--dry-run` reads the records and shows each value that would be another
    one, and writes nothing, here or there.

    ```console
    tandem replay --connection hubspot --since 2026-03-01T00:00:00Z --status dead
    tandem replay --connection hubspot --mapping mappings/hubspot.yaml --dry-run
    ```
    """
    chosen = tuple(CLOSED) if not status else tuple(status)
    strange = sorted(set(chosen) - set(CLOSED))
    if strange:
        raise typer.BadParameter(f"{', '.join(strange)}: one of {', '.join(CLOSED)}", param_hint="--status")
    if (dry_run or mapping is not None) and connection is None:
        raise typer.BadParameter("is needed for a dry run and a mapping", param_hint="--connection")
    if dry_run and status:
        raise typer.BadParameter("a dry run is about what was processed", param_hint="--status")
    if connection is not None and dry_run:
        replaying.rehearse(config, connection, mapping, since, until, contact, as_json=as_json)
        return
    r = t.run.c
    with whole(config) as tandem:
        if connection is not None and mapping is not None:
            replaying.in_place(tandem.connections[connection], mapping)
        number = tandem.replay.start(connection=connection, since=since, until=until, status=chosen, contact=contact)
        while tandem.replay.step():  # what it leaves, since a backlog is in the way, a worker takes up
            pass
        with tandem.database.read() as db:
            run = db.execute(select(r.status, r.done, r.total).where(r.id == number)).one()
    if as_json:
        print_json({"run": number, "status": run.status, "done": run.done, "total": run.total})
    elif run.status == "done":
        typer.echo(f"run {number}: {run.done} event{'' if run.done == 1 else 's'} pending again; the workers read on")
    else:
        typer.echo(f"run {number}: {run.done} of {run.total} events pending again; the workers go on with the rest")


def pause(
    name: Name,
    why: Annotated[str | None, typer.Option("--why", help="Shown to everybody who wonders.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a connection rest.

    Nothing is read from it or written to it until `tandem resume`, restarts included.  Webhooks are taken and wait.

    ```console
    tandem pause mailchimp --why "moving audiences"
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.write() as db:
        rest(db, known(loaded, name), why)
    _said({"connection": name, "paused": True}, f"{name} rests", as_json=as_json)


def resume(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Go on with a connection that rests.

    ```console
    tandem resume mailchimp
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.write() as db:
        rested = state.resume(db, known(loaded, name))
    _said(
        {"connection": name, "paused": False, "rested": rested},
        f"{name} goes on" if rested else f"{name} did not rest",
        as_json=as_json,
    )


def _said(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(data)
    else:
        typer.echo(text)
