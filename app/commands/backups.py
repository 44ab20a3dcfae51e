"""Commands that copy the store and put a copy back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from app.commands.base import AsJson, ConfigFile, configuration, moment, print_json, require_current, say
from app.core.db import Database
from app.core.errors import ConfigError
from app.core.settings import database_url
from app.repair import backup as copying
from app.repair.backup import Copy


@contextmanager
def _store(config: Path | None) -> Iterator[Database]:
    settings, loaded = configuration(config)
    database = Database(database_url(settings, loaded), pool=2)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _progress(what: str) -> Iterator[copying.Progress]:
    """Shown on a terminal only."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, all_: bar.update(task, completed=done, total=all_)


def _tell(found: Copy, as_json: bool, **more: object) -> None:
    said = {
        "file": str(found.path),
        "bytes": found.bytes,
        "version": found.revision,
        "contacts": found.contacts,
        "newest_event": moment(found.newest_event_at),
    }
    if as_json:
        print_json({**said, **more})
        return
    newest = moment(found.newest_event_at)
    typer.echo(
        f"{found.path}: {found.contacts:,} contacts, {found.bytes / 1e6:,.1f} MB, version {found.revision}, "
        f"newest event {newest if newest is not None else 'none'}"
    )


def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy goes; with --check, the one to look at.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only look whether that file is whole, and what it holds.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy the store while it is in use (SQLite).

    The copy is the store at one moment, is checked before it gets its name, and is readable for you only.  It holds
    people's data: keep it as safe as the store, and no longer than you have to.  PostgreSQL has pg_dump.

    ```console
    tandem backup /var/backups/tandem-monday.db
    tandem backup --check /var/backups/tandem-monday.db
    ```
    """
    if check:
        _tell(copying.check(file), as_json)
        return
    with _store(config) as database:
        require_current(database)
        with _progress("copying") as told:
            found = copying.back_up(database, file, told)
    _tell(found, as_json)


def restore(
    file: Annotated[
        Path | None, typer.Argument(help="A file of `tandem backup`.  What the store holds now is lost.")
    ] = None,
    done: Annotated[
        bool, typer.Option("--done", help="The database was restored already, by pg_restore or the like.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look whether it could be done.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of the store.

    No process may run on it.  Afterwards the vendors are ahead of the store: `tandem serve` and `tandem work` read
    every connection up to the present before they write to any.  Erasures since the backup have to be asked for again.

    ```console
    tandem restore /var/backups/tandem-monday.db --dry-run
    tandem restore /var/backups/tandem-monday.db
    tandem restore --done
    ```
    """
    if (file is None) is not done:
        raise ConfigError("say which file to restore, or --done where the database was restored by other means")
    with _store(config) as database:
        if file is None:
            require_current(database)
            copying.require_rest(database)
            if not dry_run:
                copying.done(database)
            if as_json:
                print_json({"dry_run": dry_run, "done": not dry_run})
        else:
            with _progress("restoring") as told:
                found = copying.check(file) if dry_run else copying.restore(database, file, told)
            if dry_run:
                copying.require_rest(database)
            _tell(found, as_json, dry_run=dry_run)
    if not dry_run:
        say("nothing is written to a vendor until every connection was read; `tandem status` shows how far it is")
