"""Commands about the brake: what it stops, what waits, and how a named person ends it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from app.commands.base import (
    AsJson,
    By,
    ConfigFile,
    configuration,
    listed,
    moment,
    named,
    print_json,
    print_table,
    store,
    whole,
)
from app.commands.look import Limit
from app.core.db import dumps
from app.core.words import Writes
from app.ops import brakes
from app.ops.brakes import WaitingShown
from app.push import brake, ending

app = typer.Typer(no_args_is_help=True, help="Mass changes that were stopped and wait for a person.")

Name = Annotated[str, typer.Argument(help="Where it is on.", metavar="CONNECTION")]
Kind = Annotated[Writes, typer.Argument(help="What it stops.", metavar="KIND")]


@app.command("list")
def brake_list(
    ended: Annotated[bool, typer.Option("--ended", help="Also those that a person ended.")] = False,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List brakes that are on, the newest first.

    Each says why, and how many links wait.

    ```console
    tandem brake list
    tandem brake list --ended
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        rows: list[dict[str, Any]] = brake.listed(db, ended=ended, limit=limit)
    for row in rows:
        row.update({name: moment(row[name]) for name in ("since", "ended_at")})
    if as_json:
        print_json(rows)
        return
    names: tuple[str, ...] = ("connection", "kind", "since", "waiting", "why")
    if ended:
        names += ("ending", "ended_by", "ended_at")
    print_table("", names, listed(rows, names), empty="no brake is on")


@app.command("show")
def brake_show(
    connection: Name,
    kind: Kind,
    after: Annotated[int, typer.Option(min=0, help="Only contacts with a higher number.", metavar="ID")] = 0,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show what waits for a brake.

    Contact by contact: what would be written, old and new.  These are personal data.

    ```console
    tandem brake show mailchimp creates
    tandem brake show mailchimp overwrites --after 4711 --limit 200
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        rows = brakes.waiting(db, tandem.connections, connection, kind, limit, after)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    names = ("contact", "since", "action", "field", "old", "new")
    print_table("", names, [cells for row in rows for cells in _cells(row)], empty="nothing waits")


def _cells(row: WaitingShown) -> list[tuple[Any, ...]]:
    """One line for each field, or one that says what becomes of the record."""
    since = row.since.isoformat(timespec="seconds").replace("+00:00", "Z")
    head = (row.contact_id, since, row.action if row.action is not None else "nothing any more")
    return [(*head, f.field, _text(f.old), _text(f.new)) for f in row.fields] or [(*head, "", "", "")]


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else dumps(value)


@app.command("release")
def brake_release(connection: Name, kind: Kind, by: By, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Let through what waits.

    All of it is written, in the order of its age and at the vendor's pace; counting begins anew.

    ```console
    tandem brake release mailchimp creates --by Kim
    ```
    """
    by = named(by)
    settings, loaded = configuration(config)
    with store(settings, loaded) as database:
        links = database.transact(lambda db: ending.release(db, connection, kind, by))
    _said(connection, kind, ending.RELEASED, links, as_json=as_json)


@app.command("discard")
def brake_discard(connection: Name, kind: Kind, by: By, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Decide that what waits is not written.

    The vendor keeps what it has, until a contact says something new.  May take minutes; cut off, it is gone on with by
    the same command.

    ```console
    tandem brake discard mailchimp deletes --by Kim
    ```
    """
    by = named(by)
    with whole(config) as tandem:
        with tandem.database.read() as db:
            brake.one(db, connection, kind)
            total = brake.held_back(db).get((connection, str(kind)), 0)
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("links", total=total)
            links = ending.discard(
                tandem.database,
                tandem.connections,
                connection,
                kind,
                by,
                lambda done: progress.update(task, completed=done),
            )
    _said(connection, kind, ending.DISCARDED, links, as_json=as_json)


def _said(connection: str, kind: Writes, how: str, links: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"connection": connection, "kind": str(kind), "ending": how, "links": links})
        return
    what = "are written now" if how == ending.RELEASED else "are not written"
    typer.echo(f"the brake for {kind} at {connection} is off: {links} links {what}")
