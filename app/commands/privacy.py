"""Commands about one person's data: tombstones, erasure, subject access."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.base import (
    PROBLEM,
    AsJson,
    By,
    ConfigFile,
    configuration,
    moment,
    named,
    print_json,
    print_table,
    say,
    store,
    whole,
)
from app.commands.look import Limit
from app.commands.person import page
from app.records import tombstones
from app.repair import erasing, subject

tombstone = typer.Typer(no_args_is_help=True, help="Who is not made again after a deletion or an erasure.")


@tombstone.command("list")
def tombstone_list(
    address: Annotated[
        str | None, typer.Option("--address", help="Only those that stand against this address.", metavar="ADDRESS")
    ] = None,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List tombstones, the newest first.

    ```console
    tandem tombstone list
    tandem tombstone list --address ann@example.org
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.write() as db:
        if address is None:
            rows = tombstones.listed(db, limit)
        else:
            key = tombstones.secret(db, settings.erasure_key)
            rows = tombstones.listed(db, limit, key_hash=tombstones.digest(key, address))
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
    by = named(by)
    with store(settings, loaded) as database, database.write() as db:
        lifted = tombstones.lift(db, number, by)
    if as_json:
        print_json({"tombstone": number, "lifted": lifted})
    elif lifted:
        typer.echo(f"tombstone {number} is lifted")
    if not lifted:
        say(f"tombstone {number} was lifted before")
        raise typer.Exit(PROBLEM)


def erase(
    address: Annotated[str, typer.Argument(help="Any address of the person.", metavar="ADDRESS")],
    by: By,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person at every vendor and here.

    It cannot be undone.  The workers of `tandem serve` or `tandem work` carry it out; `tandem erasure` shows how far
    they are.  Nobody with the address is taken in any more.

    ```console
    tandem erase ann@example.org --by Kim
    ```
    """
    by = named(by)
    if "@" not in address:
        raise typer.BadParameter("give an e-mail address", param_hint="ADDRESS")
    with whole(config) as tandem:
        if not yes:
            with tandem.database.read() as db:
                who = subject.find(db, tandem.connections, address)
            records = ", ".join(f"{len(ids)} at {name}" for name, ids in sorted(who.records.items()))
            say(f"contacts here: {len(who.contacts)}; records: {records if records else 'none known'}")
            typer.confirm("Erase for good?", abort=True, err=True)
        number = tandem.database.transact(lambda db: erasing.start(db, tandem.connections, address, by))
    if as_json:
        print_json({"erasure": number})
    else:
        typer.echo(f"erasure {number} has begun; `tandem erasure {number}` shows how far it is")


def erasure(
    number: Annotated[int, typer.Argument(help="Which one.", metavar="ID", min=1)], config: ConfigFile = None
) -> None:
    """Show how far an erasure is, as JSON, with the proof once it is through.

    The proof is signed and names nobody.

    ```console
    tandem erasure 3
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        print_json(erasing.shown(db, number))


def export_person(
    address: Annotated[str, typer.Argument(help="Any address of the person.", metavar="ADDRESS")],
    html: Annotated[Path | None, typer.Option("--html", help="Write a page to read there.", metavar="FILE")] = None,
    config: ConfigFile = None,
) -> None:
    """Give everything that is held about one person.

    As JSON; with `--html` as a page for the person instead.  Both are personal data: mind where they go.

    ```console
    tandem export-person ann@example.org --html ann.html
    ```
    """
    if "@" not in address:
        raise typer.BadParameter("give an e-mail address", param_hint="ADDRESS")
    with whole(config) as tandem:
        found = subject.everything(tandem.database, tandem.connections, address)
    if html is None:
        print_json(found)
        return
    html.touch(mode=0o600)  # readable by nobody else
    html.write_text(page(found), encoding="utf-8")
    say(f"{html}: written; it is personal data")
