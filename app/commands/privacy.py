"""Commands about one person's data: tombstones."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.commands.base import PROBLEM, AsJson, ConfigFile, configuration, moment, print_json, print_table, say, store
from app.commands.look import Limit
from app.records import tombstones

tombstone = typer.Typer(no_args_is_help=True, help="Who is not made again after a deletion or an erasure.")

By = Annotated[str, typer.Option("--by", help="Your name; it is kept.", metavar="NAME")]


@tombstone.command("list")
def tombstone_list(config: ConfigFile = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List tombstones, the newest first.

    ```console
    tandem tombstone list
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        rows = tombstones.listed(db, limit)
    names = ("id", "at", "connection", "remote_id", "reason", "actor", "lifted_at", "lifted_by")
    shown: list[dict[str, Any]] = [
        {n: moment(row[n]) if n in {"at", "lifted_at"} else row[n] for n in names} for row in rows
    ]
    if as_json:
        print_json(shown)
        return
    print_table("", names, [[row[n] for n in names] for row in shown], empty="no tombstone")


@tombstone.command("lift")
def tombstone_lift(
    number: Annotated[int, typer.Argument(help="Which one.", metavar="ID", min=1)],
    by: By,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a person be made again.

    A new record is taken from then on; what was refused meanwhile comes again by `tandem replay --status ignored`.

    ```console
    tandem tombstone lift 7 --by Kim
    ```
    """
    settings, loaded = configuration(config)
    named(by)
    with store(settings, loaded) as database, database.write() as db:
        lifted = tombstones.lift(db, number, by.strip())
    if as_json:
        print_json({"tombstone": number, "lifted": lifted})
    elif lifted:
        typer.echo(f"tombstone {number} is lifted")
    if not lifted:
        say(f"tombstone {number} was lifted before")
        raise typer.Exit(PROBLEM)


def named(by: str) -> None:
    """Raises BadParameter for a blank name."""
    if not by.strip():
        raise typer.BadParameter("say who you are", param_hint="--by")
