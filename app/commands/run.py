"""Commands that run: serve, work, demo, migrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import structlog
import typer

from app import serving
from app.commands.base import (
    PROBLEM,
    AsJson,
    ConfigFile,
    built,
    configuration,
    print_json,
    say,
    settings_of,
)
from app.commands.signals import stoppable, told
from app.core.db import Database
from app.core.settings import database_url
from app.records import migrate as migrations

log = structlog.get_logger(__name__)


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Where to listen.  Default: TANDEM_HOST, else 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 = a free one.  Default: TANDEM_PORT, else 8000.")
    ] = None,
    no_workers: Annotated[
        bool, typer.Option("--no-workers", help="Only the door and the API; `tandem work` does the rest elsewhere.")
    ] = False,
) -> None:
    """Run the service: door, API and workers.

    Takes webhooks in, reads, merges and writes until SIGTERM or Ctrl-C.  It then takes no more requests, stores what
    waits at the door, finishes what the workers have in hand, and ends.

    ```console
    tandem serve --host 0.0.0.0 --port 8080
    ```
    """
    settings = settings_of(config, quiet=False)
    with stoppable():
        tandem = built(settings)
        tandem.prepare()  # here, not in the server's start-up: a database that is away is a sentence, not a traceback
        listening = serving.bind(settings.host if host is None else host, settings.port if port is None else port)
        if not tandem.connections:
            log.warning("serve.no_connections", configuration=str(settings.config))
        log.info("serve.listening", at=serving.url_of(listening))
        server = serving.server(tandem.app(workers=not no_workers))
        server.run(sockets=[listening])
        if not server.started:
            say("the service did not start; the lines above say why")
            raise typer.Exit(PROBLEM)


def work(config: ConfigFile = None) -> None:
    """Run workers only, no door.

    For a second process beside `tandem serve --no-workers`, on the same database.  Ends in good order at SIGTERM or
    Ctrl-C.

    ```console
    tandem work
    ```
    """
    settings = settings_of(config, quiet=False)
    with stoppable():
        tandem = built(settings)
        tandem.prepare()
        with told() as wait:
            tandem.start(door=False)
            wait()
            tandem.stop(door=False)


def migrate(
    contract: Annotated[
        bool,
        typer.Option("--contract", help="Also take away what only older versions use.  None of them may run any more."),
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring the database up to date.

    `tandem serve` and `tandem work` do the same when they start; run it on its own to see that it works first.  It only
    adds, so processes of the version before go on meanwhile.  What takes away waits for `--contract`.

    ```console
    tandem migrate
    tandem migrate --contract
    ```
    """
    settings, loaded = configuration(config)
    database = Database(database_url(settings, loaded), pool=1)
    try:
        before = migrations.current(database)
        found = migrations.upgrade(database, contract=contract)
    finally:
        database.close()
    after = found.current
    if as_json:
        print_json({"before": before, "after": after, "changed": before != after, "waiting": found.waiting})
        return
    typer.echo(f"{database!r}: {'already at' if before == after else 'now at'} version {after}")
    if found.why is not None:
        say(found.why)


def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the demo listens; 0 = a free port.")] = 8000,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the data here.  Default: a directory that is removed at the end.")
    ] = None,
    people: Annotated[int, typer.Option(min=0, max=100_000, help="How many people the two vendors begin with.")] = 200,
    empty: Annotated[bool, typer.Option("--empty", help="Begin without people.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when everything is ready, and nothing else.")
    ] = False,
) -> None:
    """Show it all on this machine, no accounts needed.

    Starts a simulated HubSpot, a simulated Mailchimp and Tandem between them, and a page that shows both sides next
    to the contact.  Change somebody on one side and watch the other.  Ctrl-C ends everything.

    ```console
    tandem demo --people 50
    ```
    """
    from app import demo as demo_run  # loads all there is, which most commands do not need

    with stoppable():
        demo_run.run(port=port, data_dir=data_dir, people=0 if empty else people, as_json=as_json)
